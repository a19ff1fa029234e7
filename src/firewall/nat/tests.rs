//! What the doors ask for: outside ports of inside listeners.

use super::*;
use crate::firewall::settings::{Forward, Masquerade, Protocol, StaticNat};
use proptest::prelude::*;
use std::collections::BTreeMap;

const TOLD: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));

fn nat(ports: std::ops::RangeInclusive<u16>) -> Nat {
    let address = Ipv4Addr::new(203, 0, 113, 1);
    let settings = settings::Nat {
        masquerade: Some(Masquerade { sources: vec![], address, ports }),
        one_to_one: vec![StaticNat { inside: [10, 0, 0, 9].into(), outside: [203, 0, 113, 9].into() }],
        forwards: vec![Forward {
            protocol: Protocol::Tcp,
            outside: SocketAddrV4::new(address, 2121),
            inside: "10.0.0.9:21".parse().unwrap(),
        }],
    };
    Nat::new(settings, Keyed::new([3; 16]))
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn remote(n: u8) -> IpAddr {
    [198, 51, 100, n].into()
}

fn secs(s: u64) -> Instant {
    Instant::from_millis(s * 1000)
}

#[test]
fn a_listener_keeps_its_port_if_it_may_and_is_alone_with_it_toward_its_remote() {
    let mut n = nat(50_000..=50_009);
    let first = n.take(secs(0), at("10.0.0.5:5001"), TOLD, remote(7));
    assert_eq!(first, Some(at("203.0.113.1:5001")));
    let second = n.take(secs(0), at("10.0.0.6:5001"), TOLD, remote(7)).unwrap();
    assert!((50_000..=50_009).contains(&second.port()));
    // Toward another remote it is free; a forward's never is, nor one that only the privileged have.
    assert_eq!(n.take(secs(0), at("10.0.0.6:5001"), TOLD, remote(8)), Some(at("203.0.113.1:5001")));
    for own in [2121, 20, 1023] {
        let got = n.take(secs(0), SocketAddr::new([10, 0, 0, 6].into(), own), TOLD, remote(7)).unwrap();
        assert!((50_000..=50_009).contains(&got.port()), "{own}: {got}");
    }
    // No connection gets a listener's port, whatever the remote end's.
    for port in [20, 21, 40_000] {
        let to = SocketAddr::new(remote(7), port);
        let (name, _) = n.source(secs(0), proto::TCP, at("10.0.0.8:5001"), TOLD, to).unwrap();
        assert_ne!(name.port(), 5001);
    }
    // And no listener one where a connection is.
    let (name, _) = n.source(secs(0), proto::TCP, at("10.0.0.8:6001"), TOLD, at("198.51.100.7:21")).unwrap();
    assert_eq!(name.port(), 6001);
    assert_ne!(n.take(secs(0), at("10.0.0.5:6001"), TOLD, remote(7)).unwrap().port(), 6001);
}

#[test]
fn what_needs_no_other_name_gets_none() {
    let mut n = nat(50_000..=50_009);
    for end in ["10.0.0.9:5001", "[2001:db8::5]:5001", "10.0.0.5:80"] {
        let told = match end {
            "10.0.0.9:5001" => [203, 0, 113, 9].into(),
            _ => at(end).ip(),
        };
        let got = n.take(secs(0), at(end), told, remote(7));
        assert_eq!(got, Some(SocketAddr::new(told, at(end).port())));
        n.give_back(secs(0), got.unwrap(), remote(7));
    }
    assert_eq!(n.occupied(), (0, 0));
}

#[test]
fn a_port_that_was_given_back_rests_for_all_but_who_had_it() {
    let mut n = nat(50_000..=50_000);
    let name = n.take(secs(0), at("10.0.0.5:5001"), TOLD, remote(7)).unwrap();
    n.give_back(secs(10), name, remote(7));
    // Said twice it is nothing.
    n.give_back(secs(10), name, remote(7));
    assert_eq!(n.occupied(), (0, 1));
    assert_eq!(n.take(secs(11), at("10.0.0.6:5001"), TOLD, remote(7)), Some(at("203.0.113.1:50000")));
    assert_eq!(n.take(secs(11), at("10.0.0.8:5001"), TOLD, remote(7)), None);
    assert_eq!(n.take(secs(11), at("10.0.0.5:5001"), TOLD, remote(7)), Some(name));
    n.give_back(secs(100), name, remote(7));
    // Its rest began anew.
    assert_eq!(n.take(secs(140), at("10.0.0.8:5001"), TOLD, remote(7)), None);
    assert_eq!(n.take(secs(221), at("10.0.0.8:5001"), TOLD, remote(7)), Some(name));
    assert_eq!(n.exhausted(), 2);
}

proptest! {
    #[test]
    fn no_name_is_ever_two_ends(
        steps in prop::collection::vec((0u8..4, 5u8..9, 1u8..3, 0u16..4, 0u64..100, any::<prop::sample::Index>()), 1..150)
    ) {
        let mut n = nat(50_000..=50_003);
        let mut now = 0;
        let mut listeners: BTreeMap<(SocketAddr, IpAddr), SocketAddr> = BTreeMap::new();
        let mut conns: BTreeMap<(SocketAddr, SocketAddr), (SocketAddr, Lease)> = BTreeMap::new();
        for (what, host, far, port, ahead, which) in steps {
            now += ahead;
            let inside = SocketAddr::new([10, 0, 0, host].into(), 50_000 + port);
            let far_end = SocketAddr::new(remote(far), 20 + port);
            match what {
                0 => if let Some(name) = n.take(secs(now), inside, TOLD, remote(far)).filter(|n| n.ip() == TOLD) {
                    prop_assert!(listeners.insert((name, remote(far)), inside).is_none());
                    prop_assert!(!conns.keys().any(|(c, f)| *c == name && f.ip() == remote(far)));
                },
                1 => if let Ok((name, Some(lease))) = n.source(secs(now), proto::TCP, inside, TOLD, far_end) {
                    prop_assert!(conns.insert((name, far_end), (inside, lease)).is_none());
                    prop_assert!(!listeners.contains_key(&(name, remote(far))));
                },
                2 if !listeners.is_empty() => {
                    let key = *listeners.keys().nth(which.index(listeners.len())).unwrap();
                    listeners.remove(&key);
                    n.give_back(secs(now), key.0, key.1);
                }
                3 if !conns.is_empty() => {
                    let key = *conns.keys().nth(which.index(conns.len())).unwrap();
                    let (_, lease) = conns.remove(&key).unwrap();
                    n.release(secs(now), &lease, which.index(2) == 0);
                }
                _ => {}
            }
            prop_assert_eq!(n.occupied().0, listeners.len() + conns.len());
        }
        for ((name, far), _) in listeners {
            n.give_back(secs(now), name, far);
        }
        for (_, (_, lease)) in conns {
            n.release(secs(now), &lease, true);
        }
        n.expire(secs(now + 121));
        prop_assert_eq!((n.occupied(), n.toward.len(), n.poll_timeout()), ((0, 0), 0, None));
    }
}
