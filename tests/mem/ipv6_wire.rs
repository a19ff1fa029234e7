//! IPv6 packets of every kind: extension headers, fragments, neighbours, hop limits.

use crate::support::*;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use tidegate::event::What;
use tidegate::time::Duration;
use tidegate::wire::build::icmpv6;
use tidegate::wire::nd;

const C: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x77);
/// Another neighbour, with a MAC address of its own.
const OTHER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 9, 0, 0, 0, 0x66);
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x66];

fn world() -> World {
    let mut o = Options { way: Way::Policy, six: true, ..Options::default() };
    o.server.files.insert("f".into(), vec![7; 30_000]);
    World::new(o)
}

fn six(host: Ipv6Addr, port: u16) -> SocketAddr {
    SocketAddrV6::new(host, port, 0, 0).into()
}

fn frame(to: [u8; 6], packet: &[u8]) -> Vec<u8> {
    [&to[..], &ROUTER_MAC, &[0x86, 0xDD], packet].concat()
}

/// The packet with extension headers behind its fixed one: (next header, bytes without it).
fn behind(packet: &[u8], headers: &[(u8, &[u8])]) -> Vec<u8> {
    let mut p = packet[..40].to_vec();
    let kinds: Vec<u8> = headers.iter().map(|h| h.0).chain([packet[6]]).collect();
    p[6] = kinds[0];
    for (i, (_, rest)) in headers.iter().enumerate() {
        p.push(kinds[i + 1]);
        p.extend_from_slice(rest);
    }
    p.extend_from_slice(&packet[40..]);
    let len = (p.len() - 40) as u16;
    p[4..6].copy_from_slice(&len.to_be_bytes());
    p
}

const PADDING: &[u8] = &[0, 1, 4, 0, 0, 0, 0];

/// What the engine sends to hand packets of others on, and what it sends itself.
fn sent(w: &World) -> Vec<Vec<u8>> {
    let seen = w.seen.iter().flatten().filter(|(h, _)| *h == Hop::FromGateway);
    seen.map(|(_, p)| p.clone()).collect()
}

/// A client without a stack whose packets all have extension headers.
#[test]
fn a_session_behind_extension_headers_is_a_session() {
    let mut w = world();
    let chains: [&[(u8, &[u8])]; 4] = [
        &[(0, PADDING)],
        &[(60, PADDING), (60, &[1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])],
        // Routing, done with; then an atomic fragment.
        &[(43, &[0, 0, 0, 0, 0, 0, 0]), (44, &[0, 0, 0, 0, 0, 0, 9])],
        &[(0, PADDING), (60, PADDING), (43, &[0, 0, 0, 0, 0, 0, 0]), (60, PADDING)],
    ];
    for (n, chain) in chains.into_iter().enumerate() {
        let (from, to) = (six(C, 4000 + n as u16), six(SERVER6, 21));
        let send = |w: &mut World, seq: u32, ack: u32, flags: u8, payload: &[u8]| {
            let mut p = segment(from, to, seq, ack, flags);
            p.extend_from_slice(payload);
            tidegate::wire::build::finish(&mut p);
            w.host_sends(0, &behind(&p, chain));
            w.settle();
        };
        w.strays.clear();
        send(&mut w, 1000, 0, 2, b"");
        let answer = w.strays.iter().find_map(|(_, p)| tcp6_of(p)).expect("a SYN-ACK");
        assert_eq!((answer.flags, answer.ack), (0x12, 1001), "{chain:?}");
        send(&mut w, 1001, answer.seq.wrapping_add(1), 0x10, b"");
        send(&mut w, 1001, answer.seq.wrapping_add(1), 0x18, b"USER behind\r\n");
        w.pass(Duration::from_secs(1));
        assert_eq!(w.server.lines(n), ["USER behind"], "{chain:?}");
        let said: Vec<u8> = w.strays.iter().filter_map(|(_, p)| tcp6_of(p)).flat_map(|t| t.payload).collect();
        assert!(said.starts_with(b"220 scripted\r\n"), "{chain:?}");
    }
    assert_eq!((w.sessions(), w.counter("returned")), (4, 0));
}

#[test]
fn translated_segments_keep_their_extension_headers() {
    let mut w = world();
    let mut c = w.login(0, 5001);
    let to = w.passive_any(&mut c, "EPSV");
    w.watch();
    let syn = segment(six(CLIENT6, 6001), to, 1000, 0, 2);
    w.host_sends(0, &behind(&syn, &[(60, PADDING), (60, PADDING)]));
    w.settle();
    let out = sent(&w);
    let came = w.seen.iter().flatten().find(|(h, _)| *h == Hop::ToGateway).unwrap().1.clone();
    assert_eq!((&out[0][40..56], out[0].len()), (&came[40..56], came.len()), "headers pass as they are");
    assert_eq!((out[0][6], out[0][7]), (60, came[7] - 1), "and we are one hop");
    let t = tcp6_of(&out[0]).unwrap();
    assert_eq!((t.src.ip(), t.dst.ip(), t.flags, t.seq), (GATEWAY6.into(), SERVER6.into(), 2, 1000));
}

/// What is not a whole segment goes on to where it is going.
#[test]
fn what_hides_its_payload_or_is_a_piece_passes() {
    let mut w = world();
    let syn = segment(six(C, 4000), six(SERVER6, 21), 1, 0, 2);
    let hidden: [&[(u8, &[u8])]; 6] = [
        // A routing header with a hop to come.
        &[(43, &[0, 4, 1, 0, 0, 0, 0])],
        // ESP, authentication, nothing, an experiment.
        &[(50, &[0; 7])],
        &[(51, &[4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])],
        &[(59, &[0; 7])],
        // The first piece of a segment, and a later one.
        &[(44, &[0, 0, 1, 0, 0, 0, 9])],
        &[(60, PADDING), (44, &[0, 0, 0x20, 0, 0, 0, 9])],
    ];
    for (n, chain) in hidden.into_iter().enumerate() {
        let p = behind(&syn, chain);
        w.watch();
        w.gateway_gets(&frame(GW_MAC, &p));
        w.settle();
        let mut wanted = p.clone();
        wanted[7] -= 1;
        assert_eq!(sent(&w), [wanted], "{chain:?}");
        assert_eq!(w.counter("returned"), n as u64 + 1);
    }
    // A packet of another transport.
    let mut udp = syn.clone();
    udp[6] = 17;
    w.watch();
    w.gateway_gets(&frame(GW_MAC, &udp));
    w.settle();
    assert_eq!(sent(&w).len(), 1);
    assert_eq!((w.remains().0, w.counter("syns")), (0, 0));
    // Chains without an end, and beyond the packet, are nobody's.
    let endless: Vec<(u8, &[u8])> = vec![(60, PADDING); 20];
    let mut beyond = behind(&syn, &[(60, PADDING)]);
    beyond[41] = 200;
    w.watch();
    w.gateway_gets(&frame(GW_MAC, &behind(&syn, &endless)));
    w.gateway_gets(&frame(GW_MAC, &beyond));
    w.settle();
    assert_eq!((sent(&w).len(), w.counter("drop_bad_ip")), (0, 2));
}

#[test]
fn a_packet_at_its_last_hop_is_answered_and_does_not_pass() {
    let mut w = world();
    w.gateway_shows = true;
    for port in [2020, 21] {
        let mut p = segment(six(C, 4000), six(SERVER6, port), 1, 1, 0x10);
        p[7] = 1;
        w.strays.clear();
        w.gateway_gets(&frame(GW_MAC, &p));
        w.settle();
        let told: Vec<&Vec<u8>> = w.strays.iter().filter(|(leg, _)| *leg == 0).map(|(_, p)| p).collect();
        assert_eq!(told.len(), 1);
        assert_eq!((&told[0][8..24], told[0][40], told[0][41]), (&GATEWAY6.octets()[..], 3, 0));
        assert_eq!(told[0][48..], p);
    }
    assert_eq!((w.counter("drop_ttl_exceeded"), w.counter("returned")), (2, 0));
}

#[test]
fn a_translated_segment_at_its_last_hop_is_answered_from_our_address() {
    let mut w = world();
    w.gateway_shows = true;
    let mut c = w.login(0, 5001);
    let to = w.passive_any(&mut c, "EPSV");
    let mut syn = segment(six(CLIENT6, 6001), to, 1000, 0, 2);
    w.host_sends(0, &syn);
    w.settle();
    assert_eq!(w.counter("translated"), 1);
    w.watch();
    syn[7] = 1;
    w.gateway_gets(&frame(GW_MAC, &syn));
    w.settle();
    let told = sent(&w);
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0][8..24], &told[0][24..40]), (&GATEWAY6.octets()[..], &CLIENT6.octets()[..]));
    assert_eq!((told[0][40], told[0][41], &told[0][48..]), (3, 0, &syn[..]));
    assert_eq!(w.counter("drop_ttl_exceeded"), 1);
}

/// A gateway that has no IPv6 address, and clients that use it.
#[test]
fn without_an_address_of_its_family_a_client_passes_and_the_remedy_is_named() {
    let mut w = World::new(Options { way: Way::Policy, ..Options::default() });
    w.watch();
    let syn = segment(six(C, 4000), six(SERVER6, 21), 1, 0, 2);
    w.gateway_gets(&frame(GW_MAC, &syn));
    w.settle();
    let mut wanted = syn.clone();
    wanted[7] -= 1;
    assert_eq!(sent(&w), [wanted], "it goes on");
    assert_eq!((w.counter("sessions_refused"), w.counter("drop_no_neighbour")), (1, 0));
    let told = w.told(|e| match e {
        What::Session { state: "refused", reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert!(
        told.len() == 1 && told[0].contains("no IPv6 address") && told[0].contains("[[interface]]"),
        "{told:?}"
    );
}

#[test]
fn gre_over_ipv6_is_nobodys() {
    let mut w = world();
    w.watch();
    let mut p = segment(six(C, 4000), six(GATEWAY6, 21), 1, 0, 2);
    p[6] = 47;
    w.gateway_gets(&frame(GW_MAC, &p));
    w.settle();
    assert_eq!((sent(&w).len(), w.counter("drop_bad_gre")), (0, 1));
}

#[test]
fn a_packet_that_keeps_coming_back_is_stopped() {
    let mut w = world();
    w.watch();
    for hops in 0..20 {
        let mut p = segment(six(C, 4000), six(SERVER6, 21), 1, 1, 0x10);
        p[7] = 60 - hops;
        w.gateway_gets(&frame(GW_MAC, &p));
    }
    w.settle();
    assert_eq!((sent(&w).len(), w.counter("drop_loop")), (1, 19));
}

fn solicit(mac: [u8; 6], from: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    nd::solicit(mac, from, target).to_vec()
}

fn group() -> [u8; 6] {
    nd::group_mac(nd::solicited_node(GATEWAY6))
}

/// The packet with a change, its checksum right again.
fn changed(packet: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut p = packet.to_vec();
    change(&mut p);
    let at = |i: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&p[i..i + 16]).unwrap());
    let (src, dst, hops) = (at(8), at(24), p[7]);
    icmpv6(&mut p, src, dst, hops);
    p
}

/// The same to our address, not to its group.
fn to_us(packet: &[u8]) -> Vec<u8> {
    changed(packet, |p| p[24..40].copy_from_slice(&GATEWAY6.octets()))
}

#[test]
fn the_address_is_told_at_the_start_and_to_who_asks() {
    let mut w = world();
    assert!(w.announced6, "no unsolicited advertisement");
    w.watch();
    w.gateway_gets(&frame(group(), &solicit(ROUTER_MAC, ROUTER6, GATEWAY6)));
    w.gateway_gets(&frame(GW_MAC, &to_us(&solicit(ROUTER_MAC, ROUTER6, GATEWAY6))));
    w.settle();
    let answers = sent(&w);
    assert_eq!(answers.len(), 2, "to the group and to us alone");
    for a in answers {
        assert_eq!((&a[8..24], &a[24..40]), (&GATEWAY6.octets()[..], &ROUTER6.octets()[..]));
        assert_eq!((a[7], a[40], a[44], &a[48..64]), (255, 136, 0x60, &GATEWAY6.octets()[..]));
        assert_eq!(a[64..72], [&[2, 1][..], &GW_MAC].concat());
    }
    // Who looks whether the address is free hears it with all others (RFC 4862 5.4.3).
    let probe = changed(&solicit(ROUTER_MAC, ROUTER6, GATEWAY6), |p| {
        p[8..24].fill(0);
        p[64] = 14;
    });
    w.watch();
    w.gateway_gets(&frame(group(), &probe));
    w.settle();
    let all = sent(&w);
    assert_eq!((all.len(), &all[0][24..40], all[0][44]), (1, &nd::ALL_NODES.octets()[..], 0x20));
}

#[test]
fn what_may_not_be_believed_of_neighbours_is_not_answered() {
    let mut w = world();
    let good = solicit(ROUTER_MAC, ROUTER6, GATEWAY6);
    w.watch();
    let piece = behind(&good, &[(44, &[0, 0, 0, 0, 0, 0, 9])]);
    let mut damaged = good.clone();
    damaged[70] ^= 1;
    for p in [
        changed(&good, |p| p[7] = 254),
        changed(&good, |p| p[41] = 1),
        changed(&good, |p| p[65] = 0),
        changed(&good, |p| p[8..24].fill(0)),
        changed(&good, |p| p[48] = 0xff),
        piece,
        damaged,
        solicit(ROUTER_MAC, ROUTER6, OTHER),
    ] {
        w.gateway_gets(&frame(group(), &p));
    }
    w.settle();
    assert_eq!(sent(&w), Vec::<Vec<u8>>::new());
    assert_eq!(w.counter("drop_bad_transport"), 1);
}

/// Where the next packet for a neighbour goes: the MAC address, or none while it is asked for.
fn reaches(w: &mut World, neighbour: Ipv6Addr) -> bool {
    w.watch();
    // A ping whose answer goes to it; answers elsewhere make `check` panic, for only the router is there.
    w.gateway_gets(&frame(GW_MAC, &ping(neighbour, 8)));
    w.settle();
    sent(w).iter().any(|p| p[40] == 129)
}

fn ping(from: Ipv6Addr, len: usize) -> Vec<u8> {
    let mut p = vec![0; 48 + len];
    p[40] = 128;
    icmpv6(&mut p, from, GATEWAY6, 64);
    p
}

#[test]
fn neighbours_are_learnt_from_what_was_asked_only() {
    let mut w = world();
    // A stranger's advertisement makes no entry: its packet has to wait for the answer to our question.
    w.gateway_gets(&frame(GW_MAC, &nd::advert(ROUTER_MAC, OTHER, GATEWAY6, true)));
    w.settle();
    assert!(!reaches(&mut w, OTHER));
    let asked = sent(&w);
    assert_eq!((asked.len(), asked[0][40], &asked[0][48..64]), (1, 135, &OTHER.octets()[..]));
    assert_eq!(asked[0][24..40], nd::solicited_node(OTHER).octets());
    // An answer from beyond the link is none.
    w.watch();
    let far = changed(&nd::advert(ROUTER_MAC, OTHER, GATEWAY6, true), |p| p[7] = 64);
    w.gateway_gets(&frame(GW_MAC, &far));
    w.settle();
    assert_eq!(sent(&w).len(), 0);
    w.watch();
    w.gateway_gets(&frame(GW_MAC, &nd::advert(ROUTER_MAC, OTHER, GATEWAY6, true)));
    w.settle();
    assert_eq!(sent(&w).iter().filter(|p| p[40] == 129).count(), 1, "the ping that waited is answered");
    // An advertisement that does not say that it replaces what is known does not (RFC 4861 7.2.5): the frame
    // would go to another MAC address.
    let adds = changed(&nd::advert(OTHER_MAC, OTHER, GATEWAY6, true), |p| p[44] = 0x40);
    w.gateway_gets(&frame(GW_MAC, &adds));
    // Nor does one with a group's MAC address, and our own address is nobody else's.
    let group = nd::advert([0x33, 0x33, 0, 0, 0, 1], OTHER, GATEWAY6, true);
    w.gateway_gets(&frame(GW_MAC, &group));
    w.gateway_gets(&frame(GW_MAC, &nd::advert(OTHER_MAC, GATEWAY6, nd::ALL_NODES, false)));
    w.settle();
    assert!(reaches(&mut w, OTHER));
}

#[test]
fn a_flood_of_neighbours_does_not_cost_the_router() {
    let mut w = world();
    let mut c = w.login(0, 5001);
    w.watch();
    for n in 0..5000u32 {
        let from = Ipv6Addr::from(OTHER.to_bits() + 0x1_0000 + u128::from(n));
        w.gateway_gets(&frame(group(), &solicit(ROUTER_MAC, from, GATEWAY6)));
        if n % 500 == 0 {
            w.settle();
            assert_eq!(&w.cmd(&mut c, "NOOP")[..3], "200");
        }
    }
    w.settle();
    assert_eq!(&w.cmd(&mut c, "NOOP")[..3], "200");
    let asked = sent(&w).iter().filter(|p| p[6] == 58 && p[40] == 135).count();
    assert_eq!(asked, 0, "the router was forgotten for a flood of neighbours");
}

#[test]
fn a_silent_neighbour_is_named_and_asked_again() {
    let mut w = world();
    let asked = |w: &World| sent(w).iter().filter(|p| p[40] == 135 && p[48..64] == OTHER.octets()).count();
    w.watch();
    w.gateway_gets(&frame(GW_MAC, &ping(OTHER, 8)));
    w.pass(Duration::from_secs(5));
    assert_eq!(asked(&w), 3);
    let lost = w.told(|e| match e {
        What::Neighbour { address: IpAddr::V6(a), state: "unreachable" } => Some(*a),
        _ => None,
    });
    assert_eq!((lost, w.counter("drop_no_neighbour")), (vec![OTHER], 1));
    w.pass(Duration::from_secs(5));
    assert!(!reaches(&mut w, OTHER));
    assert_eq!(asked(&w), 1);
}

/// A packet in pieces, each at most `room` bytes.
fn pieces(packet: &[u8], room: usize, id: u8) -> Vec<Vec<u8>> {
    let body = &packet[40..];
    let cut = |(i, part): (usize, &[u8])| {
        let word = (i * room) as u16 | u16::from((i + 1) * room < body.len());
        let piece = [&packet[..40], part].concat();
        behind(&piece, &[(44, &[0, (word >> 8) as u8, word as u8, 0, 0, 0, id])])
    };
    body.chunks(room).enumerate().map(cut).collect()
}

#[test]
fn pings_are_answered_in_one_piece_or_several() {
    let mut w = world();
    w.watch();
    w.gateway_gets(&frame(GW_MAC, &ping(ROUTER6, 56)));
    for p in pieces(&ping(ROUTER6, 1200), 512, 1) {
        w.gateway_gets(&frame(GW_MAC, &p));
    }
    // Pieces that overlap are no packet (RFC 5722), and a question of neighbours in pieces is none (RFC 6980).
    let (a, b) = (pieces(&ping(ROUTER6, 1000), 512, 2), pieces(&ping(ROUTER6, 1000), 256, 2));
    for p in [&a[0], &b[1], &a[1]] {
        w.gateway_gets(&frame(GW_MAC, p));
    }
    for p in pieces(&to_us(&solicit(ROUTER_MAC, ROUTER6, GATEWAY6)), 16, 3) {
        w.gateway_gets(&frame(GW_MAC, &p));
    }
    w.settle();
    let got: Vec<(u8, usize, u8)> = sent(&w).iter().map(|p| (p[40], p.len(), p[7])).collect();
    assert_eq!(got, [(129, 104, 64), (129, 1248, 64)]);
    assert_eq!((w.counter("reassembled"), w.counter("drop_outer_fragment")), (2, 1));
}

#[test]
fn our_own_address_resets_strangers_and_reads_no_wccp() {
    let mut w = world();
    w.watch();
    w.host_sends(1, &segment(six(SERVER6, 9), six(GATEWAY6, 21), 7, 9, 0x10));
    w.settle();
    let got: Vec<Tcp6> = w.segments6(Hop::FromGateway);
    assert_eq!((got.len(), got[0].flags, got[0].seq, got[0].dst), (1, 4, 9, six(SERVER6, 9)));
}
