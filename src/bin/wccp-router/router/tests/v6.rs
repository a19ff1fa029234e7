//! IPv6 and policies in the router.

use super::super::*;
use super::{NOW, Net, mac};
use crate::ipv6::{Discovery, IPV6_LEN, Ipv6, icmp6, ipv6_header, pseudo_checksum, solicited_node};
use crate::packet::PROTO_TCP;
use crate::policy::{Policy, Rule};

const CLIENT: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x10);
const SERVER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 0x10);
const GATEWAY: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 99, 0, 0, 0, 2);
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);

fn tcp(src: Ipv6Addr, dst: Ipv6Addr, ports: (u16, u16), payload: usize, hops: u8) -> Vec<u8> {
    let mut p = ipv6_header(src, dst, PROTO_TCP, 20 + payload, hops).to_vec();
    p.extend_from_slice(&ports.0.to_be_bytes());
    p.extend_from_slice(&ports.1.to_be_bytes());
    p.extend((0..16 + payload).map(|i| i as u8));
    p
}

/// A router that knows the neighbours of IPv6, too.
fn net() -> Net {
    let mut net = Net::plain();
    for (leg, addr) in [(0, CLIENT), (1, SERVER), (2, GATEWAY)] {
        net.router.neighbours[leg].learn(addr.into(), mac(0x10 + leg as u8), true, NOW);
    }
    net
}

/// The ICMPv6 message of a packet: (destination, type, code, second word, body).
fn message(packet: &[u8]) -> (Ipv6Addr, u8, u8, u32, Vec<u8>) {
    let ip = Ipv6::parse(packet).unwrap();
    let m = &packet[IPV6_LEN..];
    assert_eq!(pseudo_checksum(ip.src, ip.dst, 58, m), 0);
    (ip.dst, m[0], m[1], u32::from_be_bytes([m[4], m[5], m[6], m[7]]), m[8..].to_vec())
}

#[test]
fn a_packet_is_forwarded_with_one_hop_less() {
    let mut net = net();
    let out = net.pass(0, &tcp(CLIENT, SERVER, (1, 21), 3, 64));
    assert_eq!(out, [(1, mac(0x11), tcp(CLIENT, SERVER, (1, 21), 3, 63))]);
    let sent = tcp(CLIENT, SERVER, (1, 21), 0, 64);
    for len in 0..sent.len() {
        assert!(net.pass(0, &sent[..len]).is_empty(), "cut at {len}");
    }
}

#[test]
fn errors_are_told_to_the_sender() {
    let mut net = net();
    let dying = tcp(CLIENT, SERVER, (1, 21), 0, 1);
    let out = net.pass(0, &dying);
    assert_eq!((out[0].0, message(&out[0].2)), (0, (CLIENT, 3, 0, 0, dying)));
    let long = tcp(CLIENT, SERVER, (1, 21), 1441, 64);
    let (to, kind, code, mtu, quoted) = message(&net.pass(0, &long)[0].2);
    assert_eq!((to, kind, code, mtu), (CLIENT, 2, 0, 1500));
    assert_eq!(quoted, long[..1232], "no message is longer than the least MTU");
    let lost = tcp(CLIENT, "fd99::1".parse().unwrap(), (1, 21), 0, 64);
    assert_eq!(message(&net.pass(0, &lost)[0].2).1, 1);
    let of_error = icmp6(CLIENT, "fd99::1".parse().unwrap(), (1, 0, 0), b"quote", 64);
    assert!(net.pass(0, &of_error).is_empty(), "no error about an error");
    for _ in 0..300 {
        net.pass(0, &lost);
    }
    assert!(net.pass(0, &lost).is_empty(), "errors are limited");
}

#[test]
fn it_answers_discovery_and_ping_for_its_own_addresses_only() {
    let mut net = Net::plain();
    let ask = |target| {
        let m = Discovery { solicitation: true, target, mac: Some(mac(0x10)) };
        m.packet(CLIENT, solicited_node(target).0)
    };
    assert!(net.pass(0, &ask(SERVER)).is_empty());
    let out = net.pass(0, &ask(ROUTER));
    let answer = Discovery::parse(&out[0].2, &Ipv6::parse(&out[0].2).unwrap()).unwrap();
    assert_eq!((out[0].0, out[0].1), (0, mac(0x10)));
    assert_eq!(answer, Discovery { solicitation: false, target: ROUTER, mac: Some(mac(0)) });
    let far = Ipv6Addr::new(0xfd00, 0, 0, 99, 0, 0, 0, 1);
    let ping = icmp6(CLIENT, far, (128, 0, 0x1234_0001), b"payload", 64);
    let out = net.pass(0, &ping);
    assert_eq!(message(&out[0].2), (CLIENT, 129, 0, 0x1234_0001, b"payload".to_vec()));
}

#[test]
fn packets_wait_for_an_unknown_neighbour() {
    let mut net = Net::plain();
    let out = net.pass(0, &tcp(CLIENT, SERVER, (1, 21), 0, 64));
    let (group, group_mac) = solicited_node(SERVER);
    let ip = Ipv6::parse(&out[0].2).unwrap();
    assert_eq!((out[0].0, out[0].1, ip.dst), (1, group_mac, group));
    assert_eq!(Discovery::parse(&out[0].2, &ip).map(|m| m.target), Some(SERVER));
    let answer = Discovery { solicitation: false, target: SERVER, mac: Some(mac(0x77)) };
    let own = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 1);
    let out = net.pass(1, &answer.packet(SERVER, own));
    assert_eq!(out, [(1, mac(0x77), tcp(CLIENT, SERVER, (1, 21), 0, 63))]);
}

#[test]
fn a_policy_gives_packets_to_its_next_hop_while_it_answers() {
    for (four, hop) in [(true, IpAddr::from([10, 99, 0, 2])), (false, GATEWAY.into())] {
        let mut net = net();
        let rule = Rule {
            in_legs: vec![],
            from: None,
            to: None,
            ports: vec![21],
            source_ports: vec![],
            next_hop: hop,
            dead_after: Duration::from_millis(300),
        };
        net.router.policies.0.push(Policy::new(rule));
        let to = |port| match four {
            true => super::tcp(super::CLIENT, super::SERVER, (1, port), 0, true),
            false => tcp(CLIENT, SERVER, (1, port), 0, 64),
        };
        assert_eq!(net.pass(0, &to(21))[0].0, 1, "not before it has answered");
        net.router.handle_timeout(NOW, &mut net.out);
        let asked = net.taken();
        assert_eq!((asked.len(), asked[0].0), (1, 2), "the next hop is asked for");
        net.router.learn(2, hop, mac(0x12), false, NOW, &mut net.out);
        let out = net.pass(0, &to(21));
        assert_eq!((out[0].0, out[0].1, out[0].2.len()), (2, mac(0x12), to(21).len()));
        assert_eq!(net.pass(0, &to(22))[0].0, 1, "another port");
        assert_eq!(net.pass(2, &to(21))[0].0, 1, "what the next hop sends is not given to it again");
        let counters = net.router.counters;
        assert_eq!((counters.policy_routed, counters.excluded), (1, 1));
        net.router.legs[2].exclude_in = false;
        assert_eq!(net.pass(2, &to(21))[0].0, 2, "unless it is told to");
    }
}
