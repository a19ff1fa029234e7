//! What is for the gateway itself, and what is for nobody.

use crate::frag::{Reassembly, fragment};
use crate::packet::Ipv4;
use crate::support::*;
use std::net::{Ipv4Addr, SocketAddrV4};
use tidegate::time::Duration;
use tidegate::wire::build;
use tidegate::wire::gre::Redirect;

fn frame(ethertype: [u8; 2], payload: &[u8]) -> Vec<u8> {
    [&GW_MAC[..], &ROUTER_MAC, &ethertype, payload].concat()
}

/// A frame as the router's GRE redirection makes it, with optional words behind the GRE flags.
fn gre(from: Ipv4Addr, inner: &[u8], header: [u8; 4], key: bool) -> Vec<u8> {
    let mut outer = vec![0; 28 + if key { 4 } else { 0 }];
    outer.extend_from_slice(inner);
    build::gre_v4(&mut outer, from, GATEWAY, 9, Redirect(header));
    if key {
        outer[20] = 0x20;
        outer[24..28].copy_from_slice(&[0, 0, 0, 7]);
        outer[28..32].copy_from_slice(&header);
    }
    frame([8, 0], &outer)
}

/// What the gateway sent since watching began.
fn sent(w: &World) -> Vec<Vec<u8>> {
    let seen = w.seen.iter().flatten().filter(|(h, p)| *h == Hop::FromGateway && p[0] == 0x45);
    seen.map(|(_, p)| p.clone()).filter(|p| p[9] != 17).collect()
}

fn unknown() -> Vec<u8> {
    let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 77), 4000);
    let mut p = segment(from, SocketAddrV4::new(SERVER, 21), 5, 6, 0x18);
    p.extend_from_slice(b"middle of a flow");
    build::finish(&mut p);
    p
}

#[test]
fn n50_returned_packets_are_the_same_inside_and_the_redirect_header_is_echoed() {
    for (header, key) in [([1, 61, 0, 9], false), ([3, 61, 7, 255], false), ([1, 200, 0, 0], true)] {
        let mut w = World::new(Options::default());
        w.watch();
        let inner = unknown();
        w.gateway_gets(&gre(ROUTER, &inner, header, key));
        w.settle();
        let sent = sent(&w);
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0][16..20], ROUTER.octets());
        assert_eq!((&sent[0][22..24], &sent[0][24..28]), (&[0x88, 0x3E][..], &header[..]));
        assert_eq!(sent[0][28..], inner);
    }
}

#[test]
fn what_is_no_tcp_or_a_fragment_or_damaged_goes_back_as_well() {
    let mut udp = vec![0; 28 + 5];
    build::udp_v4(&mut udp, (CLIENT, 53), (SERVER, 21), 7);
    let mut piece = unknown();
    piece[6] = 0x20;
    piece[10..12].fill(0);
    let c = !sum(&[&piece[..20]]);
    piece[10..12].copy_from_slice(&c.to_be_bytes());
    let mut damaged = unknown();
    *damaged.last_mut().unwrap() ^= 1;
    for inner in [udp, piece, damaged] {
        let mut w = World::new(Options::default());
        w.watch();
        w.gateway_gets(&gre(ROUTER, &inner, [1, 61, 0, 9], false));
        w.settle();
        let sent = sent(&w);
        assert!(sent.len() == 1 && sent[0][28..] == inner, "{inner:x?}");
    }
}

#[test]
fn n47_n48_gre_that_is_not_what_it_says_is_dropped_and_counted() {
    let good = gre(ROUTER, &unknown(), [1, 61, 0, 9], false);
    // The Ethernet header takes 14 bytes, the outer IP header 20.
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut outer = good[14..].to_vec();
        change(&mut outer);
        let total = outer.len() as u16;
        outer[2..4].copy_from_slice(&total.to_be_bytes());
        outer[10..12].fill(0);
        let c = !sum(&[&outer[..20]]);
        outer[10..12].copy_from_slice(&c.to_be_bytes());
        let mut w = World::new(Options::default());
        w.watch();
        w.gateway_gets(&frame([8, 0], &outer));
        w.settle();
        (w.counter("drop_bad_gre"), w.counter("drop_bad_ip"), sent(&w))
    };
    let dropped = |change: &dyn Fn(&mut Vec<u8>)| {
        let (gre, ip, sent) = with(change);
        assert!(sent.is_empty());
        (gre, ip)
    };
    assert_eq!(dropped(&|p| p[22..24].copy_from_slice(&[8, 0])), (1, 0), "another protocol");
    assert_eq!(dropped(&|p| p.truncate(20 + 4 + 3)), (1, 0), "three bytes");
    assert_eq!(dropped(&|p| p[21] = 1), (1, 0), "version 1");
    assert_eq!(dropped(&|p| p[28] = 0x65), (1, 0), "IPv6 in an IPv4 group");
    assert_eq!(dropped(&|p| p[30] = 0xFF), (0, 1), "an inner packet longer than the outer one");
    // Of the first version: no redirect header. What lies four bytes further is no packet.
    assert_eq!(dropped(&|p| drop(p.drain(24..28))), (1, 0));
    // A redirect header that begins like an IPv4 packet is still one: the packet behind it comes back whole.
    let (_, _, back) = with(&|p| p[24] = 0x45);
    assert_eq!((&back[0][24..28], &back[0][28..]), (&[0x45, 61, 0, 9][..], &unknown()[..]));
}

/// A full packet with GRE around it is longer than the link, and the router cuts it.
#[test]
fn n51_a_redirected_packet_in_outer_fragments_is_put_together_and_goes_back_whole() {
    let mut inner = unknown();
    inner.resize(1500, 0x5A);
    build::finish(&mut inner);
    let outer = gre(ROUTER, &inner, [1, 61, 0, 9], false)[14..].to_vec();
    let whole = Ipv4::parse(&outer).unwrap();
    let mut pieces = vec![];
    fragment(&outer, &whole, 1500, |p| pieces.push(frame([8, 0], p)));
    assert_eq!(pieces.len(), 2);
    for reversed in [false, true] {
        let mut w = World::new(Options::default());
        w.watch();
        pieces.reverse();
        pieces.iter().for_each(|p| w.gateway_gets(p));
        w.settle();
        assert_eq!((w.counter("reassembled"), w.counter("returned")), (1, 1), "{reversed}");
        let mut r = Reassembly::default();
        let back = sent(&w);
        assert_eq!(back.len(), 2, "in pieces as it came");
        let joined = back.iter().filter_map(|p| r.push(p, &Ipv4::parse(p).unwrap(), w.now)).last().unwrap();
        assert!(joined[28..] == inner, "the same inside");
    }
    // A piece alone comes to nothing and is not kept, though no other one comes and nothing else happens.
    for way in [Way::Gre, Way::Policy] {
        let mut w = World::new(Options { way, ..Options::default() });
        let held = |w: &World| {
            let all = w.gates[0].engine.occupied();
            all.into_iter().find(|(name, _)| *name == "fragmented packets").unwrap().1
        };
        w.pass(Duration::from_millis(1));
        w.gateway_gets(&pieces[0]);
        w.gateway_gets(&pieces[0]);
        w.settle();
        let due = w.now + Duration::from_secs(5);
        assert!(w.gates[0].engine.poll_timeout(w.now).is_some_and(|(at, _)| at <= due));
        w.pass(Duration::from_millis(4999));
        assert_eq!((held(&w), w.counter("drop_outer_fragment")), (1, 0), "{way:?}");
        w.pass(Duration::from_millis(1));
        assert_eq!((held(&w), w.counter("drop_outer_fragment")), (0, 1), "{way:?}");
        assert_eq!((w.counter("reassembled"), w.counter("returned")), (0, 0));
    }
}

#[test]
fn what_a_host_repeats_is_returned_as_often_as_it_comes() {
    let mut w = World::new(Options::default());
    w.watch();
    for _ in 0..200 {
        w.gateway_gets(&gre(ROUTER, &unknown(), [1, 61, 0, 9], false));
        w.pass(Duration::from_millis(5));
    }
    assert_eq!((sent(&w).len(), w.counter("drop_loop")), (200, 0));
}

/// A router that redirects what it gets from us and counts no hops.
#[test]
fn a_packet_that_keeps_coming_back_is_stopped() {
    let mut w = World::new(Options::default());
    for turn in 1..=2 {
        w.gateway_gets(&gre(ROUTER, &unknown(), [1, 61, 0, 9], false));
        let (since, mut returned) = (w.now, 0);
        while w.counter("drop_loop") < turn {
            w.watch();
            w.settle();
            for back in sent(&w) {
                returned += 1;
                w.gateway_gets(&gre(ROUTER, &back[28..], [1, 61, 0, 9], false));
            }
            w.now += Duration::from_micros(100);
        }
        assert!(returned <= 32 && w.now.since(since) < Duration::from_millis(5), "{returned}");
        w.pass(Duration::from_secs(2));
    }
    assert_eq!(w.counter("drop_loop"), 2);
}

#[test]
fn n49_our_own_packets_redirected_to_us_are_dropped() {
    let mut w = World::new(Options::default());
    w.watch();
    let inner = segment(SocketAddrV4::new(GATEWAY, 12_000), SocketAddrV4::new(SERVER, 21), 1, 0, 2);
    w.gateway_gets(&gre(ROUTER, &inner, [1, 61, 0, 9], false));
    w.settle();
    assert_eq!((sent(&w).len(), w.counter("drop_loop"), w.sessions()), (0, 1, 0));
}

#[test]
fn a_stranger_cannot_redirect() {
    let mut w = World::new(Options::default());
    w.watch();
    let syn = segment(SocketAddrV4::new(CLIENT, 5001), SocketAddrV4::new(SERVER, 21), 1, 0, 2);
    w.gateway_gets(&gre(Ipv4Addr::new(10, 9, 0, 66), &syn, [1, 61, 0, 9], false));
    w.settle();
    assert_eq!((sent(&w).len(), w.counter("drop_strange_router"), w.remains().0), (0, 1, 0));
}

#[test]
fn arp_and_ping_are_answered() {
    let mut w = World::new(Options::default());
    let asks = |target: Ipv4Addr| {
        let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &ROUTER_MAC, &ROUTER.octets(), &[0; 6], &target.octets()]
            .concat();
        [&[0xFF; 6][..], &ROUTER_MAC, &[8, 6], &arp].concat()
    };
    w.watch();
    w.gateway_gets(&asks(GATEWAY));
    w.gateway_gets(&asks(Ipv4Addr::new(10, 9, 0, 3)));
    w.settle();
    let replies: Vec<Vec<u8>> =
        w.seen.take().unwrap().into_iter().filter(|(h, _)| *h == Hop::FromGateway).map(|(_, p)| p).collect();
    assert_eq!(replies.len(), 1);
    assert_eq!(
        replies[0],
        [&[0, 1, 8, 0, 6, 4, 0, 2][..], &GW_MAC, &GATEWAY.octets(), &ROUTER_MAC, &ROUTER.octets()].concat()
    );

    let mut ping = vec![0x45, 0, 0, 48, 0, 1, 0, 0, 9, 1, 0, 0];
    ping.extend(ROUTER.octets());
    ping.extend(GATEWAY.octets());
    ping.extend([8, 0, 0, 0, 1, 2, 3, 4]);
    ping.extend(*b"twenty bytes of echo");
    let c = !sum(&[&ping[..20]]);
    ping[10..12].copy_from_slice(&c.to_be_bytes());
    let c = !sum(&[&ping[20..]]);
    ping[22..24].copy_from_slice(&c.to_be_bytes());
    w.watch();
    w.gateway_gets(&frame([8, 0], &ping));
    *ping.last_mut().unwrap() ^= 1;
    w.gateway_gets(&frame([8, 0], &ping));
    w.settle();
    let sent = sent(&w);
    assert_eq!(sent.len(), 1, "one ping was damaged");
    assert_eq!(
        (sent[0][20], &sent[0][24..28], &sent[0][28..]),
        (0, &[1, 2, 3, 4][..], &b"twenty bytes of echo"[..])
    );
    assert_eq!(w.counter("drop_bad_transport"), 1);
}

#[test]
fn nobody_is_answered_who_says_that_it_is_us_or_a_crowd() {
    let mut w = World::new(Options::default());
    let ping = |from: Ipv4Addr| {
        let mut p =
            [&[0x45, 0, 0, 28, 0, 1, 0, 0, 9, 1, 0, 0][..], &[0; 8], &[8, 0, 0, 0, 1, 2, 3, 4]].concat();
        p[12..16].copy_from_slice(&from.octets());
        p[16..20].copy_from_slice(&GATEWAY.octets());
        for at in [10..12, 22..24] {
            let c = if at.start == 10 { !sum(&[&p[..20]]) } else { !sum(&[&p[20..]]) };
            p[at].copy_from_slice(&c.to_be_bytes());
        }
        frame([8, 0], &p)
    };
    for from in
        [GATEWAY, [255; 4].into(), [224, 0, 0, 1].into(), [0; 4].into(), [127, 0, 0, 1].into(), ROUTER]
    {
        w.watch();
        w.gateway_gets(&ping(from));
        w.settle();
        let all = w.seen.iter().flatten().filter(|(h, _)| *h == Hop::FromGateway).count();
        assert_eq!(all, usize::from(from == ROUTER), "{from}");
    }
    assert_eq!(w.counter("drop_bad_source"), 5);
    // An ARP answer to a group would reach everybody.
    let group = [3, 0, 0, 0, 0, 1];
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &group, &ROUTER.octets(), &[0; 6], &GATEWAY.octets()].concat();
    w.watch();
    w.gateway_gets(&[&[0xFF; 6][..], &ROUTER_MAC, &[8, 6], &arp].concat());
    w.settle();
    assert_eq!(w.seen.iter().flatten().filter(|(h, _)| *h == Hop::FromGateway).count(), 0);
}

/// A router whose gratuitous ARP we did not get, as on an interface that the kernel shares.
#[test]
fn a_router_that_moved_is_found_by_its_first_frame() {
    for way in [Way::Gre, Way::L2, Way::Policy] {
        let mut w = World::new(Options { way, ..Options::default() });
        // The router is known, for something was sent to it, and does not ask itself.
        let syn = segment(SocketAddrV4::new(SERVER, 9), SocketAddrV4::new(GATEWAY, 45), 1, 9, 2);
        w.gateway_gets(&frame([8, 0], &syn));
        w.settle();
        w.loss = Some(Box::new(|h, p| h == Hop::ToGateway && p[..8] == [0, 1, 8, 0, 6, 4, 0, 1]));
        w.pass(Duration::from_secs(2));
        let new = [2, 7, 7, 7, 7, 7];
        // Redirected, or a server's by the next hop.
        let server = segment(SocketAddrV4::new(SERVER, 9), SocketAddrV4::new(GATEWAY, 45), 1, 9, 0x10);
        let from = |mac: [u8; 6]| {
            let redirected = gre(ROUTER, &unknown(), [1, 61, 0, 9], false);
            let mut f = if way == Way::Gre { redirected } else { frame([8, 0], &server) };
            f[6..12].copy_from_slice(&mac);
            f
        };
        let arps = |w: &World| {
            let seen = w.seen.iter().flatten();
            seen.filter(|(h, p)| *h == Hop::FromGateway && p[..8] == [0, 1, 8, 0, 6, 4, 0, 1]).count()
        };
        // The router of the test answers from its old place: what one frame said is not believed.
        w.watch();
        w.gateway_gets(&from(new));
        w.settle();
        assert_eq!(arps(&w), 1, "{way:?}: asked at once");
        w.gateway_gets(&from(ROUTER_MAC));
        w.settle();
        assert_eq!(w.last_mac, ROUTER_MAC);
        // It has moved: it answers from there, and what we send goes there.
        w.pass(Duration::from_secs(2));
        w.watch();
        let newer = SECOND_MAC;
        w.gateway_gets(&from(newer));
        let reply =
            [&[0, 1, 8, 0, 6, 4, 0, 2][..], &newer, &ROUTER.octets(), &GW_MAC, &GATEWAY.octets()].concat();
        w.settle();
        assert_eq!(arps(&w), 1, "{way:?}");
        w.gateway_gets(&[&GW_MAC[..], &newer, &[8, 6], &reply].concat());
        w.settle();
        w.gateway_gets(&[&GW_MAC[..], &newer, &[8, 0], &server].concat());
        w.settle();
        assert_eq!(w.last_mac, newer, "{way:?}");
    }
}

#[test]
fn tcp_to_our_own_address_that_nobody_expects_is_reset() {
    let mut w = World::new(Options::default());
    let from = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 99), 4000);
    for (flags, want) in [(2, (0, 8, 0x14)), (0x10, (9, 0, 4)), (4, (0, 0, 0))] {
        for port in [21, 22, 12_345] {
            w.watch();
            w.host_sends(1, &segment(from, SocketAddrV4::new(GATEWAY, port), 7, 9, flags));
            w.settle();
            let got: Vec<Tcp> = w.segments(Hop::FromGateway);
            if flags == 4 {
                assert_eq!(got, []);
                continue;
            }
            assert_eq!(got.len(), 1);
            assert_eq!((got[0].seq, got[0].ack, got[0].flags), want);
            assert_eq!((got[0].src, got[0].dst), (SocketAddrV4::new(GATEWAY, port), from));
        }
    }
    assert_eq!(w.remains(), (0, 0, 0));
}

#[test]
fn frames_for_others_are_left_alone() {
    let mut w = World::new(Options::default());
    w.watch();
    let syn = segment(SocketAddrV4::new(CLIENT, 5001), SocketAddrV4::new(SERVER, 21), 1, 0, 2);
    w.gateway_gets(&frame([8, 0], &syn));
    let mut other = frame([8, 0], &syn);
    other[5] = 0x77;
    w.gateway_gets(&other);
    let six = [&[0x60, 0, 0, 0, 0, 0, 59, 64][..], &[0x20; 32]].concat();
    w.gateway_gets(&frame([0x86, 0xDD], &six));
    w.gateway_gets(&frame([8, 0], &six));
    w.gateway_gets(&frame([8, 0], &[0x45; 3]));
    w.gateway_gets(&[1, 2, 3]);
    w.settle();
    assert_eq!(sent(&w).len(), 0);
    assert_eq!((w.counter("drop_not_for_us"), w.counter("drop_bad_ip")), (3, 2));
}

#[test]
fn a_full_transmit_ring_loses_nothing_that_matters() {
    let mut w = World::new(Options::default());
    w.server.conf.files.insert("f".into(), vec![7; 30_000]);
    w.slots = 2;
    let mut c = w.login(0, 5001);
    let d = w.active(&mut c, "PORT");
    assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
    assert!(w.read_all(&c, d) == vec![7; 30_000]);
    assert_eq!(&w.reply(&mut c)[..3], "226");
}
