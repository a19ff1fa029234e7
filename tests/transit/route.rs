//! The router between two networks.

use crate::support::check;
use crate::support::craft::{ends, fragmentable, frame, ping, syn, udp, who_has};
use crate::support::net::{IN, Network, OUT};
use crate::support::options::{
    BEYOND, CLIENT, INSIDE, INSIDE_MAC, INSIDE6, OUTSIDE, OUTSIDE_MAC, ROUTED, host6, masquerade, route,
};
use etherparse::Icmpv4Slice;
use std::net::{IpAddr, Ipv4Addr};
use tidegate::engine::Route;
use tidegate::firewall::{Action, Side, StaticNat};
use tidegate::time::Duration;
use tidegate::wire::nd;

/// The client's packet to us.
fn from_client(n: &Network, packet: &[u8]) -> Vec<u8> {
    frame(INSIDE_MAC, n.nodes[0].mac, &[], packet)
}

fn from_server(n: &Network, packet: &[u8]) -> Vec<u8> {
    frame(OUTSIDE_MAC, n.nodes[1].mac, &[], packet)
}

/// A network whose hosts know each other: both sides' neighbours are resolved.
fn known(o: &crate::support::options::Options) -> Network {
    let mut n = Network::new(o);
    for side in [IN, OUT] {
        let (mac, own) = ([INSIDE_MAC, OUTSIDE_MAC][side], [INSIDE, OUTSIDE][side]);
        let node = &n.nodes[side];
        let asks = who_has(own, node.host.address, node.mac);
        n.push(side, &asks);
        let ping6 = ping(host6(side, 10), host6(side, 1), 64, b"hello");
        let f = frame(mac, n.nodes[side].mac, &[], &ping6);
        n.push(side, &f);
    }
    n.run(Duration::from_millis(10));
    let beyond = who_has(OUTSIDE, BEYOND, [2, 0, 0, 0, 1, 0xFE]);
    n.push(OUT, &beyond);
    n.run(Duration::from_millis(10));
    n.seen.clear();
    n
}

/// The only frame, as an IP packet.
fn only(frames: &[Vec<u8>]) -> Vec<u8> {
    let [f] = frames else { panic!("{frames:x?}") };
    check::ip_of(f).unwrap().to_vec()
}

/// Type and code of an ICMP packet.
fn icmp(packet: &[u8]) -> (u8, u8) {
    let at = if packet[0] >> 4 == 4 { 20 } else { 40 };
    (packet[at], packet[at + 1])
}

#[test]
fn it_says_where_it_is_and_answers_who_asks_on_either_side() {
    let mut n = Network::empty(&route(Action::Allow));
    n.turn();
    let all = [IN, OUT].map(|side| std::iter::from_fn(|| n.wires[side].take()).collect::<Vec<_>>());
    for (side, own, mac) in [(IN, INSIDE, INSIDE_MAC), (OUT, OUTSIDE, OUTSIDE_MAC)] {
        let told = &all[side];
        assert_eq!(told.len(), 2, "gratuitous ARP, and an advertisement");
        assert_eq!((&told[0][28..32], &told[0][38..42]), (&own.octets()[..], &own.octets()[..]));
        let asker = [2, 0, 0, 0, 9, 9];
        let sender = Ipv4Addr::from_bits(own.to_bits() + 98);
        let answer = &n.exchange(side, &who_has(own, sender, asker))[side];
        assert_eq!(ends(&answer[0]), (mac, asker));
        assert_eq!((&answer[0][20..22], &answer[0][28..32]), (&[0, 2][..], &own.octets()[..]));
        let others = n.exchange(side, &who_has(sender, Ipv4Addr::from_bits(own.to_bits() + 97), asker));
        assert!(others.concat().is_empty(), "not for others");
        let IpAddr::V6(own6) = host6(side, 1) else { panic!() };
        let IpAddr::V6(asks6) = host6(side, 77) else { panic!() };
        let f = frame(nd::group_mac(nd::solicited_node(own6)), asker, &[], &nd::solicit(asker, asks6, own6));
        let answer = only(&n.exchange(side, &f)[side]);
        assert_eq!((icmp(&answer), &answer[48..64]), ((136, 0), &own6.octets()[..]));
    }
}

#[test]
fn it_finds_who_packets_are_for_and_counts_one_hop() {
    let mut n = Network::new(&route(Action::Allow));
    n.run(Duration::from_millis(5));
    n.seen.clear();
    let packet = ping(CLIENT.into(), ROUTED.into(), 64, b"hello");
    let f = from_client(&n, &packet);
    n.push(IN, &f);
    n.run(Duration::from_millis(5));
    let first = n.seen.iter().find(|s| s.sent).unwrap();
    assert_eq!(
        (&first.frame[12..14], &first.frame[38..42]),
        (&[8, 6][..], &ROUTED.octets()[..]),
        "asks first"
    );
    // A second to the whole network behind the next hop.
    let far = udp((CLIENT, 5000).into(), "203.0.113.9:53".parse().unwrap(), 9, b"?");
    let f = from_client(&n, &far);
    n.push(IN, &f);
    n.run(Duration::from_millis(5));
    let sent: Vec<&Vec<u8>> = n
        .seen
        .iter()
        .filter(|s| s.sent && s.side == OUT)
        .map(|s| &s.frame)
        .filter(|f| f[12..14] == [8, 0])
        .collect();
    assert_eq!(sent.len(), 2);
    assert_eq!(ends(sent[0]), (OUTSIDE_MAC, n.nodes[1].mac));
    assert_eq!(ends(sent[1]), (OUTSIDE_MAC, [2, 0, 0, 0, 1, 0xFE]), "by the next hop");
    assert_eq!((sent[0][14 + 8], sent[1][14 + 8]), (63, 8));
    assert_eq!(sent[0][14 + 20..], packet[20..]);
    assert_eq!((n.counter("forwarded_out"), n.counter("forwarded_in")), (2, 0));
}

#[test]
fn both_families_have_connections_through_it() {
    for o in [route(Action::Allow), masquerade(Action::Allow)] {
        let mut n = Network::new(&o);
        for server in [IpAddr::from(ROUTED), host6(OUT, 10)] {
            let mut c = n.login(0, 40_000 + u16::from(server.is_ipv6()), (server, 21).into());
            assert!(n.cmd(&mut c, "QUIT").starts_with("221"));
        }
        assert!(n.counter("forwarded_out") > 10);
    }
}

#[test]
fn a_packet_without_hops_is_told_of() {
    let mut n = known(&route(Action::Allow));
    for (packet, from, kind) in [
        (udp((CLIENT, 5000).into(), (ROUTED, 33434).into(), 1, b"x"), IpAddr::from(INSIDE), (11, 0)),
        (
            udp((host6(IN, 10), 5000).into(), (host6(OUT, 10), 33434).into(), 1, b"x"),
            IpAddr::from(INSIDE6),
            (3, 0),
        ),
    ] {
        let f = from_client(&n, &packet);
        let [inside, outside] = n.exchange(IN, &f);
        assert!(outside.is_empty());
        let e = only(&inside);
        assert_eq!(icmp(&e), kind);
        let (src, quoted) = if from.is_ipv4() { (&e[12..16], &e[28..]) } else { (&e[8..24], &e[48..]) };
        match from {
            IpAddr::V4(a) => assert_eq!(src, a.octets()),
            IpAddr::V6(a) => assert_eq!(src, a.octets()),
        }
        assert_eq!(quoted, &packet[..quoted.len()], "as it was when it came");
    }
    assert_eq!(n.counter("drop_ttl_exceeded"), 2);
}

#[test]
fn what_is_too_long_is_cut_or_told_of() {
    let mut o = route(Action::Allow);
    o.mtu = [1500, 1280];
    let mut n = known(&o);
    let long = udp((CLIENT, 5000).into(), (ROUTED, 7).into(), 64, &[7; 1400]);
    let f = from_client(&n, &fragmentable(&long, true));
    let [inside, outside] = n.exchange(IN, &f);
    assert!(inside.is_empty());
    let pieces: Vec<&[u8]> = outside.iter().map(|f| check::ip_of(f).unwrap()).collect();
    assert_eq!(pieces.len(), 2);
    assert!(pieces.iter().all(|p| p.len() <= 1280));
    assert_eq!([&pieces[0][20..], &pieces[1][20..]].concat(), long[20..]);
    // With DF, and of IPv6, the sender has to know.
    let f = from_client(&n, &fragmentable(&long, false));
    let [inside, outside] = n.exchange(IN, &f);
    assert!(outside.is_empty());
    let e = only(&inside);
    let sliced = Icmpv4Slice::from_slice(&e[20..]).unwrap();
    assert_eq!((sliced.type_u8(), sliced.code_u8(), sliced.bytes5to8()), (3, 4, [0, 0, 5, 0]));
    let long6 = udp((host6(IN, 10), 5000).into(), (host6(OUT, 10), 7).into(), 64, &[7; 1400]);
    let f = from_client(&n, &long6);
    let e = only(&n.exchange(IN, &f)[IN]);
    assert_eq!((icmp(&e), &e[44..48]), ((2, 0), &[0, 0, 5, 0][..]));
    assert_eq!(n.counter("drop_too_big"), 2);
}

#[test]
fn a_piece_that_is_too_long_is_told_of() {
    let mut o = route(Action::Allow);
    o.mtu = [1500, 1280];
    let mut n = known(&o);
    let whole = udp((host6(IN, 10), 5000).into(), (host6(OUT, 10), 7).into(), 64, &[7; 2000]);
    // Two pieces behind a fragment header each.
    let piece = |from: usize, to: usize, more: u8| {
        let mut p = whole[..40].to_vec();
        p[4..6].copy_from_slice(&((8 + to - from) as u16).to_be_bytes());
        p[6] = 44;
        let offset = (from as u16).to_be_bytes();
        p.extend([17, 0, offset[0], offset[1] | more, 0, 0, 0, 9]);
        p.extend(&whole[40 + from..40 + to]);
        p
    };
    let len = whole.len() - 40;
    let f = from_client(&n, &piece(0, 1400, 1));
    assert!(n.exchange(IN, &f).concat().is_empty(), "it waits for the rest");
    let f = from_client(&n, &piece(1400, len, 0));
    let [inside, outside] = n.exchange(IN, &f);
    let e = only(&inside);
    assert_eq!((icmp(&e), &e[44..48]), ((2, 0), &[0, 0, 5, 0][..]));
    assert_eq!(outside.len(), 1, "the piece that fits");
}

#[test]
fn nobody_is_told_under_a_translated_address() {
    let mut o = masquerade(Action::Allow);
    o.mtu = [1500, 1280];
    let mut n = known(&o);
    let long = fragmentable(&udp((CLIENT, 5000).into(), (ROUTED, 7).into(), 64, &[7; 1400]), false);
    let f = from_client(&n, &long);
    let e = only(&n.exchange(IN, &f)[IN]);
    assert_eq!((icmp(&e), &e[28..56]), ((3, 4), &long[..28]), "quoted as the client sent it");
}

#[test]
fn it_answers_pings_and_refuses_all_else() {
    let mut n = known(&route(Action::Allow));
    let to = |n: &Network, packet: &[u8]| from_client(n, packet);
    let f = to(&n, &ping(CLIENT.into(), INSIDE.into(), 1, b"hello"));
    let e = only(&n.exchange(IN, &f)[IN]);
    assert_eq!((icmp(&e), e[8], &e[28..]), ((0, 0), 64, &b"hello"[..]));
    let f = to(&n, &ping(host6(IN, 10), INSIDE6.into(), 64, b"hello"));
    assert_eq!(icmp(&only(&n.exchange(IN, &f)[IN])), (129, 0));
    // The other side's address is ours as well.
    let f = to(&n, &ping(CLIENT.into(), OUTSIDE.into(), 64, b"hello"));
    assert_eq!(icmp(&only(&n.exchange(IN, &f)[IN])), (0, 0));
    let f = to(&n, &syn((CLIENT, 5000).into(), (INSIDE, 22).into(), 7));
    let reset = only(&n.exchange(IN, &f)[IN]);
    assert_eq!((reset[33], &reset[28..32]), (0x14, &8u32.to_be_bytes()[..]));
    let f = to(&n, &udp((CLIENT, 5000).into(), (INSIDE, 53).into(), 64, b"?"));
    assert_eq!(icmp(&only(&n.exchange(IN, &f)[IN])), (3, 3));
    let f = to(&n, &udp((host6(IN, 10), 5000).into(), (host6(IN, 1), 53).into(), 64, b"?"));
    assert_eq!(icmp(&only(&n.exchange(IN, &f)[IN])), (1, 4));
    let f = from_server(&n, &ping(ROUTED.into(), OUTSIDE.into(), 64, b"hello"));
    assert_eq!(icmp(&only(&n.exchange(OUT, &f)[OUT])), (0, 0));
}

#[test]
fn a_ping_in_pieces_is_answered() {
    let mut n = known(&route(Action::Allow));
    let whole = fragmentable(&ping(CLIENT.into(), INSIDE.into(), 64, &[9; 1400]), true);
    let mut first = whole.clone();
    let second = tidegate::wire::build::split_v4(&mut first, 800).unwrap();
    let f = from_client(&n, &second);
    assert!(n.exchange(IN, &f).concat().is_empty());
    let f = from_client(&n, &first);
    let e = only(&n.exchange(IN, &f)[IN]);
    assert_eq!((icmp(&e), e.len()), ((0, 0), whole.len()));
}

#[test]
fn what_nobody_stands_behind_is_for_us_where_our_address_is_others_too() {
    let mut n = known(&masquerade(Action::Allow));
    let f = from_server(&n, &ping(ROUTED.into(), OUTSIDE.into(), 1, b"hello"));
    assert_eq!(icmp(&only(&n.exchange(OUT, &f)[OUT])), (0, 0));
    let f = from_server(&n, &udp((ROUTED, 9).into(), (OUTSIDE, 53).into(), 64, b"?"));
    assert_eq!(icmp(&only(&n.exchange(OUT, &f)[OUT])), (3, 3));
    let f = from_server(&n, &syn((ROUTED, 9).into(), (OUTSIDE, 22).into(), 7));
    assert_eq!(only(&n.exchange(OUT, &f)[OUT])[33], 0x14, "one reset");
    let f = from_client(&n, &ping(CLIENT.into(), OUTSIDE.into(), 64, b"hello"));
    assert_eq!(icmp(&only(&n.exchange(IN, &f)[IN])), (0, 0));
}

#[test]
fn outside_nothing_answers_where_nothing_is_allowed() {
    for o in [route(Action::Drop), masquerade(Action::Drop)] {
        let mut n = known(&o);
        let translated = o.firewall.nat.masquerade.is_some();
        for packet in [
            syn((ROUTED, 5000).into(), (OUTSIDE, 22).into(), 7),
            udp((ROUTED, 5000).into(), (OUTSIDE, 53).into(), 64, b"?"),
            ping(ROUTED.into(), OUTSIDE.into(), 64, b"x"),
        ] {
            let f = from_server(&n, &packet);
            let out = n.exchange(OUT, &f).concat();
            assert_eq!(out.is_empty(), translated, "{out:x?}");
        }
        let f = from_server(&n, &syn((ROUTED, 5000).into(), (CLIENT, 22).into(), 7));
        assert!(n.exchange(OUT, &f).concat().is_empty());
        let f = from_client(&n, &ping(CLIENT.into(), INSIDE.into(), 64, b"x"));
        assert_eq!(n.exchange(IN, &f)[IN].len(), 1, "inside it does");
    }
}

#[test]
fn addresses_of_the_other_side_and_of_nobody_are_not_believed() {
    let mut n = known(&route(Action::Allow));
    let dst = (ROUTED, 7).into();
    for (src, reason) in [
        ("198.51.100.77", "spoofed"),
        ("127.0.0.1", "bad_source"),
        ("224.0.0.1", "bad_source"),
        ("0.1.2.3", "bad_source"),
        ("255.255.255.255", "bad_source"),
        ("10.0.0.1", "bad_source"),
        ("169.254.7.7", "spoofed"),
        ("8.8.8.8", "spoofed"),
    ] {
        let src: Ipv4Addr = src.parse().unwrap();
        let before = n.counter(&format!("drop_{reason}"));
        let f = from_client(&n, &udp((src, 9).into(), dst, 64, b"x"));
        assert!(n.exchange(IN, &f).concat().is_empty(), "{src}");
        assert_eq!(n.counter(&format!("drop_{reason}")), before + 1, "{src}");
    }
    let f = from_server(&n, &udp((CLIENT, 9).into(), (ROUTED, 7).into(), 64, b"x"));
    assert!(n.exchange(OUT, &f).concat().is_empty());
    let f = from_server(&n, &udp((host6(IN, 9), 9).into(), (host6(IN, 10), 7).into(), 64, b"x"));
    assert!(n.exchange(OUT, &f).concat().is_empty());
    assert_eq!(n.counter("drop_spoofed"), 5);
}

#[test]
fn nothing_goes_to_all_or_back() {
    let mut n = known(&route(Action::Allow));
    for dst in ["10.0.0.77", "255.255.255.255", "224.0.0.5", "127.0.0.1", "169.254.1.1"] {
        let dst: Ipv4Addr = dst.parse().unwrap();
        let f = from_client(&n, &udp((CLIENT, 9).into(), (dst, 7).into(), 64, b"x"));
        assert!(n.exchange(IN, &f).concat().is_empty(), "{dst}");
    }
    // To all of the network on the other side.
    let f = from_server(&n, &udp((ROUTED, 9).into(), "10.0.0.255:7".parse().unwrap(), 64, b"x"));
    assert!(n.exchange(OUT, &f).concat().is_empty());
    let f = from_client(&n, &udp((host6(IN, 10), 9).into(), "[ff02::5]:7".parse().unwrap(), 64, b"x"));
    assert!(n.exchange(IN, &f).concat().is_empty());
    let f = from_client(&n, &udp((host6(IN, 10), 9).into(), "[fe80::5]:7".parse().unwrap(), 64, b"x"));
    assert!(n.exchange(IN, &f).concat().is_empty());
    assert_eq!(n.counter("drop_no_route"), 8);
}

#[test]
fn frames_for_others_are_left_alone() {
    let mut n = known(&route(Action::Allow));
    let packet = udp((CLIENT, 9).into(), (ROUTED, 7).into(), 64, b"x");
    for to in [[2, 0, 0, 0, 7, 7], [0xFF; 6]] {
        let f = frame(to, n.nodes[0].mac, &[], &packet);
        assert!(n.exchange(IN, &f).concat().is_empty());
    }
    assert_eq!(n.counter("drop_not_for_us"), 2);
}

#[test]
fn who_is_not_there_is_told_of_also_under_a_translated_address() {
    for o in [route(Action::Allow), masquerade(Action::Allow)] {
        let mut n = known(&o);
        let packet = udp((CLIENT, 5000).into(), "198.51.100.77:7".parse().unwrap(), 64, b"x");
        let f = from_client(&n, &packet);
        n.push(IN, &f);
        n.run(Duration::from_secs(4));
        let told: Vec<Vec<u8>> =
            n.seen.iter().filter(|s| s.sent && s.side == IN).map(|s| s.frame.clone()).collect();
        let e = only(&told);
        assert_eq!(icmp(&e), (3, 1));
        assert_eq!(e[28 + 12..28 + 28], packet[12..28], "as the client knows it");
        // Asked again, it is told at once.
        let f = from_client(&n, &packet);
        assert_eq!(icmp(&only(&n.exchange(IN, &f)[IN])), (3, 1));
    }
}

#[test]
fn networks_behind_routers_are_reached_by_them() {
    let mut o = route(Action::Allow);
    let router: Ipv4Addr = "10.0.0.30".parse().unwrap();
    o.routes =
        vec![Route { to: ("10.7.0.0".parse().unwrap(), 16), side: Side::Inside, next_hop: router.into() }];
    let mut n = known(&o);
    n.add(IN, router, None);
    let f = from_server(&n, &udp((ROUTED, 9).into(), "10.7.3.3:7".parse().unwrap(), 64, b"x"));
    n.push(OUT, &f);
    n.run(Duration::from_millis(5));
    let last = n.seen.iter().rfind(|s| s.sent && s.side == IN).unwrap();
    assert_eq!(ends(&last.frame), (INSIDE_MAC, n.nodes[2].mac));
    // It is inside, so nobody outside has its addresses.
    let f = from_server(&n, &udp("10.7.3.3:9".parse().unwrap(), (CLIENT, 7).into(), 64, b"x"));
    assert!(n.exchange(OUT, &f).concat().is_empty());
    assert_eq!(n.counter("drop_spoofed"), 1);
    // Where no network is, inside has no next hop.
    let f = from_server(&n, &udp((ROUTED, 9).into(), "172.16.0.1:7".parse().unwrap(), 64, b"x"));
    let [inside, outside] = n.exchange(OUT, &f);
    assert_eq!((inside.len(), icmp(&only(&outside))), (0, (3, 0)));
}

#[test]
fn translated_addresses_are_answered_for_and_lead_inside() {
    let mut o = route(Action::Allow);
    let outside: Ipv4Addr = "198.51.100.50".parse().unwrap();
    o.firewall.nat.one_to_one = vec![StaticNat { inside: CLIENT, outside }];
    let mut n = known(&o);
    let asker = n.nodes[1].mac;
    let answer = &n.exchange(OUT, &who_has(outside, ROUTED, asker))[OUT];
    assert_eq!((ends(&answer[0]), &answer[0][28..32]), ((OUTSIDE_MAC, asker), &outside.octets()[..]));
    assert!(n.exchange(IN, &who_has(outside, CLIENT, asker)).concat().is_empty(), "outside only");
    let f = from_server(&n, &ping(ROUTED.into(), outside.into(), 64, b"hello"));
    let e = only(&n.exchange(OUT, &f)[IN]);
    assert_eq!((&e[16..20], e[8]), (&CLIENT.octets()[..], 63));
    let mut reply = ping(CLIENT.into(), ROUTED.into(), 64, b"hello");
    reply[20] = 0;
    reply[22..24].fill(0);
    let sum = tidegate::wire::checksum::Sum::new().bytes(&reply[20..]).checksum();
    reply[22..24].copy_from_slice(&sum.to_be_bytes());
    let f = from_client(&n, &reply);
    let e = only(&n.exchange(IN, &f)[OUT]);
    assert_eq!(e[12..16], outside.octets());
}

#[test]
fn errors_and_resets_of_ours_are_bounded() {
    let mut n = known(&route(Action::Allow));
    let mut answers = 0;
    for i in 0..1000u16 {
        let f = from_client(&n, &udp((CLIENT, 1000 + i).into(), (ROUTED, 33434).into(), 1, b"x"));
        answers += n.exchange(IN, &f)[IN].len();
    }
    assert_eq!(answers, 50);
}
