//! Packets that do not fit: GRE's share of them, and what routers say about sizes.

use crate::support::*;
use std::net::{Ipv4Addr, SocketAddrV4};
use tidegate::event::What;
use tidegate::time::Duration;
use tidegate::wire::icmp;

fn content() -> Vec<u8> {
    (0..50_000u32).flat_map(u32::to_be_bytes).collect()
}

/// A frame of the router's to the gateway.
fn to_gateway(packet: &[u8]) -> Vec<u8> {
    [&GW_MAC[..], &ROUTER_MAC, &[8, 0], packet].concat()
}

/// "Fragmentation needed" from `from` about a packet, as the router at hand would send it to `to`.
fn too_big(from: Ipv4Addr, to: Ipv4Addr, mtu: u16, about: &[u8]) -> Vec<u8> {
    let [h, l] = mtu.to_be_bytes();
    icmp::error_v4(from, to, (3, 4), [0, 0, h, l], about).unwrap()
}

#[test]
fn with_the_clamp_off_a_router_that_cuts_makes_us_put_together_and_uploads_are_identical() {
    let mut o = Options { oversize: Oversize::Fragment, ..Options::default() };
    o.service.mss_clamp = None;
    let mut w = World::new(o);
    let mut c = w.login(0, 5001);
    w.store(&mut c, "PASV", "STOR translated", &content());
    let d = w.active(&mut c, "PORT");
    assert_eq!(&w.cmd(&mut c, "STOR relayed")[..3], "150");
    w.write_all(&c, d, &content());
    assert_eq!(&w.reply(&mut c)[..3], "226");
    assert!(w.server.conf.files["translated"] == content() && w.server.conf.files["relayed"] == content());
    assert!(w.counter("reassembled") > 200, "{}", w.counter("reassembled"));
    assert_eq!(w.counter("drop_outer_fragment"), 0);
}

#[test]
fn with_the_clamp_on_nothing_has_to_be_put_together() {
    for oversize in [Oversize::Fragment, Oversize::Icmp] {
        let mut w = World::new(Options { oversize, ..Options::default() });
        let mut c = w.login(0, 5001);
        w.store(&mut c, "PASV", "STOR f", &content());
        assert!(w.server.conf.files["f"] == content());
        assert_eq!((w.counter("reassembled"), w.router.counters.fragmented), (0, 0));
        assert_eq!(w.router.counters.drop_too_big, 0);
    }
}

#[test]
fn with_l2_there_is_nothing_to_clamp_for() {
    let mut o = Options { way: Way::L2, oversize: Oversize::Fragment, ..Options::default() };
    o.service.mss_clamp = None;
    let mut w = World::new(o);
    let mut c = w.login(0, 5001);
    w.watch();
    w.store(&mut c, "PASV", "STOR f", &content());
    let longest = w.segments(Hop::ToGateway).iter().map(|t| t.payload.len()).max();
    assert_eq!((longest, w.counter("reassembled")), (Some(1460), 0));
    assert!(w.server.conf.files["f"] == content());
}

/// A packet of the stranger's of so many bytes that is not ours.
fn large(len: usize) -> Vec<u8> {
    let from = SocketAddrV4::new([10, 0, 0, 77].into(), 4000);
    let mut p = segment(from, SocketAddrV4::new(SERVER, 21), 1, 1, 0x10);
    p.resize(len, 7);
    tidegate::wire::build::finish(&mut p);
    p
}

#[test]
fn what_a_router_says_about_our_gre_packets_makes_them_go_in_pieces_for_a_time() {
    let mut w = World::new(Options::default());
    w.watch();
    let back = |w: &mut World, len: usize| {
        let p = large(len);
        w.seen = Some(vec![]);
        w.host_sends(0, &p);
        w.settle();
        let seen = w.seen.as_ref().unwrap();
        let arrived = seen.iter().any(|(h, q)| *h == Hop::ToHost(1) && q[20..] == p[20..]);
        assert!(arrived, "{len} bytes did not come back whole");
        let sizes = seen.iter().filter(|(h, q)| *h == Hop::FromGateway && q[9] == 47).map(|(_, q)| q.len());
        (sizes.collect::<Vec<_>>(), seen.iter().find(|(h, _)| *h == Hop::FromGateway).unwrap().1.clone())
    };
    let (sizes, outer) = back(&mut w, 1400);
    assert_eq!(sizes, [1428]);
    // What we cannot have sent: to no router, from another, no GRE of WCCP's, short enough, longer than our link.
    type Forgery = (u16, fn(&mut Vec<u8>));
    let forgeries: [Forgery; 8] = [
        (700, |p| p[19] = 77),
        (700, |p| p[15] = 77),
        (700, |p| p[22] = 8),
        (700, |p| p[20] = 0x20),
        (1428, |_| ()),
        (700, |p| p[2..4].copy_from_slice(&700u16.to_be_bytes())),
        (300, |p| p[2..4].copy_from_slice(&500u16.to_be_bytes())),
        (700, |p| p[2..4].copy_from_slice(&1501u16.to_be_bytes())),
    ];
    for (n, (mtu, change)) in forgeries.iter().enumerate() {
        let mut error = too_big([10, 9, 0, 7].into(), GATEWAY, *mtu, &outer);
        let mut quoted = error.split_off(28);
        change(&mut quoted);
        error.extend_from_slice(&quoted);
        error[22..24].fill(0);
        let c = !sum(&[&error[20..]]);
        error[22..24].copy_from_slice(&c.to_be_bytes());
        w.gateway_gets(&to_gateway(&error));
        assert_eq!(back(&mut w, 1400).0, [1428], "forgery {n}");
        assert_eq!(w.counter("drop_strange_error"), n as u64 + 1);
    }
    w.gateway_gets(&to_gateway(&too_big([10, 9, 0, 7].into(), GATEWAY, 1000, &outer)));
    let (sizes, _) = back(&mut w, 1400);
    assert!(sizes.len() == 2 && sizes.iter().all(|s| *s <= 1000), "{sizes:?}");
    w.gateway_gets(&to_gateway(&too_big([10, 9, 0, 7].into(), GATEWAY, 68, &outer)));
    let (sizes, _) = back(&mut w, 1401);
    assert!(sizes.len() == 3 && sizes.iter().all(|s| *s <= 576), "{sizes:?}");
    let told = w.told(|e| match e {
        What::Warning { kind: "path_mtu", subject, .. } => Some(subject.clone()),
        _ => None,
    });
    assert_eq!((told, w.counter("drop_strange_error")), (vec!["10.9.0.1".into(); 2], 8));
    w.pass(Duration::from_secs(601));
    assert_eq!(back(&mut w, 1402).0, [1430]);
}

#[test]
fn too_big_about_a_translated_segment_goes_to_who_sent_it_as_it_knows_it() {
    for way in [Way::Gre, Way::Policy] {
        let mut w = World::new(Options { way, ..Options::default() });
        let mut c = w.login(0, 5001);
        w.watch();
        w.store(&mut c, "PASV", "STOR f", &content());
        let full = |(h, p): &&(Hop, Vec<u8>)| {
            *h == Hop::FromGateway && p.len() > 1400 && p[12..16] == GATEWAY.octets()
        };
        let sent = w.seen.as_ref().unwrap().iter().find(full).unwrap().1.clone();
        let segment = tcp_of(&sent).unwrap();
        let before = w.segments(Hop::FromHost(0)).into_iter().find(|t| t.seq == segment.seq).unwrap();
        w.seen = Some(vec![]);
        w.gateway_gets(&to_gateway(&too_big([10, 1, 0, 1].into(), GATEWAY, 1200, &sent)));
        w.settle();
        let got: Vec<_> =
            w.seen.as_ref().unwrap().iter().filter(|(h, p)| *h == Hop::ToHost(0) && p[9] == 1).collect();
        assert_eq!(got.len(), 1, "{way:?}");
        let e = &got[0].1;
        assert_eq!(
            (&e[12..20], &e[20..22], &e[24..28]),
            (&[10, 1, 0, 1, 10, 0, 0, 10][..], &[3, 4][..], &[0, 0, 4, 176][..])
        );
        assert_eq!(sum(&[&e[28..48]]), 0xFFFF, "the quoted header's checksum");
        let port = |at: usize| u16::from_be_bytes([e[at], e[at + 1]]);
        let end = |a: usize, p: usize| {
            SocketAddrV4::new(<[u8; 4]>::try_from(&e[a..a + 4]).unwrap().into(), port(p))
        };
        assert_eq!((end(40, 48), end(44, 50)), (before.src, before.dst), "as the client sent it");
        assert_eq!(e[52..56], before.seq.to_be_bytes());
        assert_eq!(w.counter("errors_mapped"), 1);
        // About a segment that nobody sent it goes nowhere.
        let mut other = sent.clone();
        other[21] ^= 1;
        w.gateway_gets(&to_gateway(&too_big([10, 1, 0, 1].into(), GATEWAY, 1200, &other)));
        w.settle();
        assert_eq!(w.counter("errors_mapped"), 1);
    }
}

#[test]
fn an_error_on_its_way_to_the_server_about_a_download_finds_it_by_policy() {
    let mut o = Options { way: Way::Policy, ..Options::default() };
    o.server.files.insert("f".into(), content());
    let mut w = World::new(o);
    let mut c = w.login(0, 5001);
    w.watch();
    assert!(w.fetch(&mut c, "PASV", "RETR f") == content());
    let full = |(h, p): &&(Hop, Vec<u8>)| *h == Hop::ToHost(0) && p.len() > 1400;
    let got = w.seen.as_ref().unwrap().iter().find(full).unwrap().1.clone();
    let segment = tcp_of(&got).unwrap();
    let before =
        w.segments(Hop::FromHost(1)).into_iter().find(|t| t.seq == segment.seq && !t.payload.is_empty());
    let before = before.unwrap();
    w.seen = Some(vec![]);
    w.gateway_gets(&to_gateway(&too_big([10, 0, 0, 1].into(), SERVER, 1200, &got)));
    w.settle();
    let e =
        w.seen.as_ref().unwrap().iter().find(|(h, p)| *h == Hop::ToHost(1) && p[9] == 1).unwrap().1.clone();
    let end = |a: usize, p: usize| {
        SocketAddrV4::new(
            <[u8; 4]>::try_from(&e[a..a + 4]).unwrap().into(),
            u16::from_be_bytes([e[p], e[p + 1]]),
        )
    };
    assert_eq!((end(40, 48), end(44, 50)), (before.src, before.dst), "as the server sent it");
}

#[test]
fn too_big_about_a_sessions_own_segment_makes_its_segments_fit() {
    let mut w = World::new(Options::default());
    let mut c = w.login(0, 5001);
    // A path that takes 1,000 bytes and says so once, for a segment that is lost.
    w.loss = Some(Box::new(|h, p| h == Hop::ToHost(1) && p.len() > 1000));
    w.watch();
    let d = w.active(&mut c, "PORT");
    assert_eq!(&w.cmd(&mut c, "STOR f")[..3], "150");
    w.hosts[0].write(d, &content()[..8000]);
    w.pass(Duration::from_millis(200));
    let long = |(h, p): &&(Hop, Vec<u8>)| *h == Hop::FromGateway && p.len() > 1000;
    let lost = w.seen.as_ref().unwrap().iter().find(long).unwrap().1.clone();
    // Somebody who guesses is not believed: the number is of no segment on its way.
    let mut guessed = lost.clone();
    guessed[24] ^= 0x80;
    w.gateway_gets(&to_gateway(&too_big([10, 1, 0, 1].into(), GATEWAY, 600, &guessed)));
    w.gateway_gets(&to_gateway(&too_big([10, 1, 0, 1].into(), GATEWAY, 1000, &lost)));
    w.settle();
    w.seen = Some(vec![]);
    w.write_all(&c, d, &content()[8000..]);
    assert_eq!(&w.reply(&mut c)[..3], "226");
    assert!(w.server.conf.files["f"] == content());
    let sizes: Vec<usize> =
        w.seen.as_ref().unwrap().iter().filter(|(h, _)| *h == Hop::ToHost(1)).map(|(_, p)| p.len()).collect();
    assert_eq!(sizes.iter().max(), Some(&1000), "as large as they may be");
}
