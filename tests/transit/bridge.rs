//! The bump in the wire.

use crate::support::check;
use crate::support::craft::{ends, fragmentable, frame, ping, syn, udp, who_has};
use crate::support::net::{IN, Network, OUT};
use crate::support::options::{BRIDGED, CLIENT, bridge};
use proptest::prelude::*;
use tidegate::firewall::{Action, Protocol, Rule, Side};

const A: [u8; 6] = [2, 0, 0, 0, 0, 0xA];
const B: [u8; 6] = [2, 0, 0, 0, 1, 0xB];
const ONE_TAG: &[u8] = &[0x81, 0, 0x60, 5];
const TWO_TAGS: &[u8] = &[0x88, 0xA8, 0, 7, 0x81, 0, 0xE0, 5];
const THREE_TAGS: &[u8] = &[0x88, 0xA8, 0, 7, 0x81, 0, 0, 6, 0x81, 0, 0, 5];

/// What comes out for a frame: nothing at its own side.
fn through(n: &mut Network, from: usize, frame: &[u8]) -> Vec<Vec<u8>> {
    let [inside, outside] = n.exchange(from, frame);
    let (back, on) = if from == IN { (inside, outside) } else { (outside, inside) };
    assert!(back.is_empty(), "{frame:x?} came back as {back:x?}");
    on
}

proptest! {
    #[test]
    fn any_frame_comes_out_as_it_went_in_where_all_is_allowed(
        bytes in proptest::collection::vec(any::<u8>(), 14..1600),
        kind in prop::sample::select(vec![None, Some(0x0800u16), Some(0x86DD), Some(0x0806), Some(0x88CC), Some(0x8847)]),
        tags in prop::sample::select(vec![&[][..], ONE_TAG, TWO_TAGS, THREE_TAGS]),
        from in 0usize..2,
    ) {
        let mut f = bytes;
        if let Some(kind) = kind {
            f[12..14].copy_from_slice(&kind.to_be_bytes());
        }
        f.splice(12..12, tags.iter().copied());
        f.truncate(1522);
        let mut n = Network::empty(&bridge(Action::Allow));
        prop_assert_eq!(through(&mut n, from, &f), vec![f]);
    }

    #[test]
    fn any_packet_comes_out_as_it_went_in_with_what_stands_behind_it(
        payload in proptest::collection::vec(any::<u8>(), 0..1400),
        behind in proptest::collection::vec(any::<u8>(), 0..40),
        ports in any::<(u16, u16)>(),
        tags in prop::sample::select(vec![&[][..], ONE_TAG, TWO_TAGS]),
        six in any::<bool>(),
        form in 0u8..3,
    ) {
        let (src, dst): (std::net::IpAddr, std::net::IpAddr) = if six {
            ("fd00::a".parse().unwrap(), "fd00::14".parse().unwrap())
        } else {
            (CLIENT.into(), BRIDGED.into())
        };
        let (src, dst) = ((src, ports.0.max(1)).into(), (dst, ports.1.max(1)).into());
        let packet = match form {
            0 => udp(src, dst, 1, &payload),
            1 => syn(src, dst, 7),
            _ => ping(src.ip(), dst.ip(), 255, &payload),
        };
        let mut f = frame(B, A, tags, &packet);
        f.extend(&behind);
        let mut n = Network::empty(&bridge(Action::Allow));
        prop_assert_eq!(through(&mut n, IN, &f), vec![f]);
    }
}

#[test]
fn what_is_no_packet_passes_where_nothing_is_allowed() {
    let mut n = Network::empty(&bridge(Action::Drop));
    let to = |mac: [u8; 6], kind: [u8; 2]| [&mac[..], &A, &kind, &[0x42; 50]].concat();
    let spanning_tree = [&[1, 0x80, 0xC2, 0, 0, 0][..], &A, &[0, 38], &[0x42, 0x42, 3], &[0; 43]].concat();
    for f in [
        who_has(BRIDGED, CLIENT, A),
        spanning_tree,
        to([1, 0x80, 0xC2, 0, 0, 0x0E], [0x88, 0xCC]),
        to([1, 0x80, 0xC2, 0, 0, 1], [0x88, 0x08]),
        to(B, [0x88, 0x47]),
    ] {
        for from in [IN, OUT] {
            assert_eq!(through(&mut n, from, &f), std::slice::from_ref(&f), "{f:x?}");
        }
    }
    assert_eq!(n.counter("forwarded_out") + n.counter("forwarded_in"), 10);
}

#[test]
fn what_could_hide_a_packet_does_not_pass_where_nothing_is_allowed() {
    let mut n = Network::empty(&bridge(Action::Drop));
    let hidden = frame(B, A, THREE_TAGS, &ping(CLIENT.into(), BRIDGED.into(), 64, b"x"));
    assert!(through(&mut n, IN, &hidden).is_empty());
    let mut damaged = frame(B, A, &[], &ping(CLIENT.into(), BRIDGED.into(), 64, b"x"));
    damaged[24] ^= 1;
    assert!(through(&mut n, IN, &damaged).is_empty());
    assert_eq!((n.counter("drop_hidden_tags"), n.counter("drop_bad_ip")), (1, 1));
    let short = [0; 13];
    assert!(through(&mut n, IN, &short).is_empty());
    assert_eq!(n.counter("drop_ethernet"), 1);
}

/// A DHCPv6 message with one option.
const SOLICIT: [u8; 10] = [1, 9, 9, 9, 0, 1, 0, 2, 5, 5];

/// A message of a DHCP client or server, which offers 10.0.0.9.
fn dhcp(src: &str, dst: &str, op: u8) -> Vec<u8> {
    let mut m = [&[op, 1, 6][..], &[0; 233], &[99, 130, 83, 99, 53, 1, op, 255], &[0; 60]].concat();
    m[16..20].copy_from_slice(&[10, 0, 0, 9]);
    udp(src.parse().unwrap(), dst.parse().unwrap(), 64, &m)
}

#[test]
fn what_has_the_ports_of_dhcp_and_is_something_else_does_not_pass() {
    let mut n = Network::empty(&bridge(Action::Drop));
    let offer = dhcp("198.51.100.7:67", "10.0.0.9:68", 2);
    let f = frame(B, A, &[], &offer);
    assert_eq!(through(&mut n, OUT, &f), std::slice::from_ref(&f));
    for (src, dst, payload) in [
        ("198.51.100.7:67", "10.0.0.9:68", &[b'x'; 300][..]),
        ("198.51.100.7:67", "10.0.0.8:68", &offer[28..]),
        ("198.51.100.7:68", "255.255.255.255:67", &offer[28..]),
        ("[fe80::9]:547", "[fd00::14]:546", &[7, 9, 9, 9, 0, 1, 0, 2, 5, 5]),
        ("[fe80::9]:547", "[fe80::14]:546", &[b'x'; 300]),
    ] {
        let packet = udp(src.parse().unwrap(), dst.parse().unwrap(), 64, payload);
        assert!(through(&mut n, OUT, &frame(B, A, &[], &packet)).is_empty(), "{src} {dst}");
    }
    assert_eq!(n.counter("drop_policy"), 5);
}

#[test]
fn a_rule_about_dhcp_decides() {
    let offer = frame(B, A, &[], &dhcp("198.51.100.7:67", "10.0.0.9:68", 2));
    let discover = frame([0xFF; 6], A, &[], &dhcp("0.0.0.0:68", "255.255.255.255:67", 1));
    for (action, passes) in [(Action::Drop, false), (Action::Allow, true)] {
        for default in [Action::Drop, Action::Allow] {
            let mut o = bridge(default);
            o.firewall.filter.rules = vec![Rule {
                name: "servers".to_owned(),
                action,
                from: Some(Side::Outside),
                protocol: Protocol::Udp,
                source: vec![],
                destination: vec![],
                ports: vec![68..=68],
            }];
            let mut n = Network::empty(&o);
            assert_eq!(through(&mut n, OUT, &offer).len(), usize::from(passes), "{action:?} {default:?}");
            assert_eq!(n.counter("rule:servers"), 1);
            assert_eq!(through(&mut n, IN, &discover).len(), 1, "no rule is about it");
        }
    }
}

#[test]
fn links_work_where_nothing_is_allowed_and_nothing_else_passes() {
    use std::net::Ipv6Addr;
    use tidegate::wire::nd;
    let mut n = Network::empty(&bridge(Action::Drop));
    let (a, b): (Ipv6Addr, Ipv6Addr) = ("fe80::1".parse().unwrap(), "fd00::14".parse().unwrap());
    let group = nd::group_mac(nd::solicited_node(b));
    let discover = dhcp("0.0.0.0:68", "255.255.255.255:67", 1);
    let solicit = udp("[fe80::1]:546".parse().unwrap(), "[ff02::1:2]:547".parse().unwrap(), 1, &SOLICIT);
    for f in [
        frame(group, A, &[], &nd::solicit(A, a, b)),
        frame(B, A, ONE_TAG, &nd::advert(A, a, b, true)),
        frame([0xFF; 6], A, &[], &discover),
        frame([0x33, 0x33, 0, 1, 0, 2], A, &[], &solicit),
    ] {
        assert_eq!(through(&mut n, OUT, &f), std::slice::from_ref(&f));
    }
    let query = udp("10.0.0.10:68".parse().unwrap(), "10.0.0.20:53".parse().unwrap(), 64, b"?");
    for packet in [query, ping(CLIENT.into(), BRIDGED.into(), 64, b"x")] {
        assert!(through(&mut n, IN, &frame(B, A, &[], &packet)).is_empty());
    }
    assert_eq!(n.counter("drop_policy"), 2);
    assert!(n.events.iter().any(|e| format!("{e:?}").contains("policy")), "{:?}", n.events);
}

#[test]
fn what_the_firewall_says_itself_goes_the_way_of_its_connection() {
    let mut n = Network::empty(&bridge(Action::Reject));
    for tags in [&[][..], ONE_TAG, TWO_TAGS] {
        let f = frame(B, A, tags, &syn((CLIENT, 40_000).into(), (BRIDGED, 80).into(), 7));
        let [inside, outside] = n.exchange(IN, &f);
        assert!(outside.is_empty());
        let [reset] = &inside[..] else { panic!("{inside:x?}") };
        assert_eq!(ends(reset), (B, A), "in the server's name");
        assert_eq!(&reset[12..12 + tags.len()], tags);
        let packet = check::ip_of(reset).unwrap();
        assert_eq!((&packet[12..16], &packet[16..20]), (&BRIDGED.octets()[..], &CLIENT.octets()[..]));
        assert_eq!(packet[33] & 4, 4, "a reset");
    }
}

#[test]
fn a_full_ring_loses_frames_and_counts_them() {
    let mut o = bridge(Action::Allow);
    o.room = 8;
    let mut n = Network::empty(&o);
    for round in 0..3 {
        for i in 0..8u8 {
            n.push(IN, &frame(B, A, &[], &ping(CLIENT.into(), BRIDGED.into(), 64, &[round, i])));
        }
        n.turn();
    }
    assert_eq!(n.counter("forwarded_out"), 8);
    assert_eq!(n.counter("drop_tx_full"), 16);
    let held: i64 = n.worker.ports_mut().iter_mut().map(|p| tidegate::io::Port::stats(&mut **p).held).sum();
    assert!(held >= 0);
    assert_eq!(n.worker.frames_held(), 0);
}

#[test]
fn pieces_of_different_vlans_are_of_different_datagrams() {
    let mut n = Network::empty(&bridge(Action::Allow));
    let whole = |byte: u8| {
        let packet = udp((CLIENT, 5000).into(), (BRIDGED, 53).into(), 64, &[byte; 1600]);
        fragmentable(&packet, true)
    };
    let pieces = |tags: &[u8], byte: u8| {
        let mut first = whole(byte);
        let rest = tidegate::wire::build::split_v4(&mut first, 1000).unwrap();
        [first, rest].map(|piece| frame(B, A, tags, &piece))
    };
    let other: &[u8] = &[0x81, 0, 0, 6];
    let [a, b, c] = [(ONE_TAG, 1), (other, 2), (&[][..], 3)].map(|(tags, byte)| pieces(tags, byte));
    for first in [&a[0], &b[0], &c[0]] {
        assert!(through(&mut n, IN, first).is_empty());
    }
    for of in [b, a, c] {
        assert_eq!(through(&mut n, IN, &of[1]), of);
    }
    // What a priority says is no matter.
    let [first, mut rest] = pieces(ONE_TAG, 4);
    rest[14] = 0;
    assert!(through(&mut n, IN, &first).is_empty());
    assert_eq!(through(&mut n, IN, &rest).len(), 2);
}
