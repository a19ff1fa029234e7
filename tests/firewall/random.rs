//! Whatever comes: nothing panics, nothing grows without bound, nothing is changed that need not be.

use crate::support::*;
use proptest::prelude::*;
use std::net::SocketAddr;
use tidegate::buf::Frame;
use tidegate::firewall::{Action, Fate, Forward, Nat, Protocol, Settings, Side, StaticNat};
use tidegate::time::Duration;
use tidegate::wire::parse_ip;

fn host(n: u8, v6: bool, port: u16) -> SocketAddr {
    // A few hosts on either side, and names of ours among them.
    let v4 =
        [[10, 0, 0, 5], [10, 0, 0, 9], [198, 51, 100, 7], [203, 0, 113, 1], [203, 0, 113, 9], [10, 0, 0, 6]];
    if v6 {
        SocketAddr::from(([0x2001, 0xdb8, u16::from(n % 3), 0, 0, 0, 0, 1], port))
    } else {
        SocketAddr::from((v4[usize::from(n) % v4.len()], port))
    }
}

fn packet() -> impl Strategy<Value = (bool, Vec<u8>)> {
    let port = prop_oneof![Just(21u16), Just(2121), Just(5000), any::<u16>()];
    let ends = (any::<u8>(), any::<u8>(), any::<bool>(), port.clone(), port);
    let data = prop::collection::vec(any::<u8>(), 0..60);
    let what = (0u8..5, any::<u8>(), any::<u32>(), any::<u32>(), data);
    (any::<bool>(), ends, what).prop_map(
        |(inside, (s, d, v6, sport, dport), (kind, flags, seq, ack, data))| {
            let (src, dst) = (host(s, v6, sport), host(d, v6, dport));
            let plain = match kind {
                0 => udp(src, dst, &data),
                1 => echo(&src.ip().to_string(), &dst.ip().to_string(), sport % 4, flags & 1 == 1),
                2 => {
                    let about = seg(dst, src, ACK, seq, ack, &data);
                    error(
                        &src.ip().to_string(),
                        if v6 { (1, 4) } else { (3, 1) },
                        [0; 4],
                        &about,
                        28 + data.len(),
                    )
                }
                _ => seg(src, dst, flags & 0x1F, seq % 8, ack % 8, &data),
            };
            (inside, plain)
        },
    )
}

fn everything() -> Settings {
    let forwards = vec![
        Forward {
            protocol: Protocol::Tcp,
            outside: "203.0.113.1:2121".parse().unwrap(),
            inside: "10.0.0.9:21".parse().unwrap(),
        },
        Forward {
            protocol: Protocol::Udp,
            outside: "203.0.113.1:5000".parse().unwrap(),
            inside: "10.0.0.9:53".parse().unwrap(),
        },
    ];
    let one_to_one =
        vec![StaticNat { inside: "10.0.0.6".parse().unwrap(), outside: "203.0.113.9".parse().unwrap() }];
    Settings {
        nat: Nat { forwards, one_to_one, ..masquerade() },
        hop: true,
        services: vec![service(vec![21])],
        ..settings(Action::Allow, vec![])
    }
}

proptest! {
    #[test]
    fn where_nothing_is_to_change_nothing_does(packets in prop::collection::vec(packet(), 1..60)) {
        let mut rig = Rig::new(settings(Action::Allow, vec![]));
        for (inside, packet) in packets {
            let got = rig.send(if inside { IN } else { OUT }, &packet);
            prop_assert_eq!(got.fate, Fate::Forward);
            prop_assert_eq!(got.packet, packet);
        }
    }

    #[test]
    fn right_checksums_stay_right_and_no_inside_name_leaves(packets in prop::collection::vec(packet(), 1..80)) {
        let mut rig = Rig::new(everything());
        for (inside, packet) in packets {
            let from = if inside { IN } else { OUT };
            // The rig looks at every checksum.
            let got = rig.send(from, &packet);
            let mut left: Vec<_> = got.out.iter().map(|e| (e.to, e.packet.clone())).collect();
            if got.fate == Fate::Forward {
                left.push((from.other(), got.packet));
            }
            for (to, packet) in left.iter().filter(|(to, _)| *to == Side::Outside) {
                let (src, _) = ends(packet);
                let own = got.fate == Fate::Forward && *to == from.other();
                prop_assert!(!own || !src.ip().to_string().starts_with("10."), "{src} leaves");
            }
        }
    }

    #[test]
    fn no_bytes_are_too_strange(
        packets in prop::collection::vec((packet(), prop::collection::vec((any::<usize>(), any::<u8>()), 0..6), any::<u8>()), 1..60)
    ) {
        let mut rig = Rig::new(everything());
        for ((inside, mut packet), changes, cut) in packets {
            for (at, value) in changes {
                let at = at % packet.len();
                packet[at] = value;
            }
            packet.truncate(packet.len() - usize::from(cut % 24).min(packet.len() - 20));
            // Headers are made to agree again, or nothing behind them would be looked at.
            if packet[0] >> 4 == 4 {
                packet[0] = 0x45;
                let len = packet.len() as u16;
                packet[2..4].copy_from_slice(&len.to_be_bytes());
                packet[10..12].fill(0);
                let sum = tidegate::wire::checksum::Sum::new().bytes(&packet[..20]).checksum();
                packet[10..12].copy_from_slice(&sum.to_be_bytes());
            } else if packet.len() >= 40 {
                let len = packet.len() as u16 - 40;
                packet[4..6].copy_from_slice(&len.to_be_bytes());
            }
            let Ok(ip) = parse_ip(&packet, 0) else { continue };
            let mut frame = Frame::from_bytes(&packet).unwrap();
            let mut out = vec![];
            let from = if inside { IN } else { OUT };
            rig.fw.packet(rig.now, from, 7, &mut frame, &ip, &mut out);
            rig.wait(Duration::from_millis(u64::from(cut) * 20));
        }
        rig.wait(Duration::from_secs(20_000));
        prop_assert_eq!(rig.flows.len(), 0);
        let left: Vec<_> = rig.fw.occupied().into_iter().filter(|(_, n)| *n > 0).collect();
        prop_assert!(left.is_empty(), "{left:?}");
    }
}
