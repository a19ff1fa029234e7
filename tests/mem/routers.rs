//! Two routers in one group: packets come by either, and go back to the one that sent them.

use crate::support::*;
use std::net::{Ipv4Addr, SocketAddrV4};
use tidegate::event::What;
use tidegate::time::Duration;

const STRANGER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 77), 4000);

fn world(second: Way) -> World {
    let mut o = Options { second: Some(second), ..Options::default() };
    o.server.files.insert("f".into(), content());
    let mut w = World::new(o);
    let joined = w.second.as_ref().unwrap().router.wccp.groups()[0].table().is_some();
    assert!(joined, "the second router assigned nothing: {:?}", w.events);
    w.by_second = odd;
    w
}

fn content() -> Vec<u8> {
    (0..50_000u32).flat_map(u32::to_be_bytes).collect()
}

/// Packets from odd ports go by the second router.
fn odd(packet: &[u8]) -> bool {
    tcp_of(packet).is_some_and(|t| t.src.port() % 2 == 1)
}

/// Each packet by another router than the one before it.
fn in_turn(packet: &[u8]) -> bool {
    tcp_of(packet).is_some_and(|t| (t.seq / 100 + t.ack / 100) % 2 == 1)
}

fn transfers(w: &mut World, port: u16) {
    let mut c = w.login(0, port);
    assert!(w.fetch(&mut c, "PASV", "RETR f") == content());
    w.store(&mut c, "EPSV", "STOR g", &content());
    let d = w.active(&mut c, "PORT");
    assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
    assert!(w.read_all(&c, d) == content());
    assert_eq!(&w.reply(&mut c)[..3], "226");
    assert_eq!(&w.cmd(&mut c, "QUIT")[..3], "221");
    assert!(w.server.conf.files["g"] == content());
}

/// What each router has redirected and taken back.
fn counts(w: &World) -> [(u64, u64); 2] {
    let of = |r: &crate::router::Router| (r.counters.redirected, r.counters.returned + r.counters.excluded);
    [of(&w.router), of(&w.second.as_ref().unwrap().router)]
}

#[test]
fn sessions_come_by_either_router_or_by_both_at_once() {
    for second in [Way::Gre, Way::L2] {
        let mut w = world(second);
        transfers(&mut w, 5001);
        transfers(&mut w, 5002);
        let [first, other] = counts(&w);
        assert!(first.0 > 50 && other.0 > 50, "{first:?} {other:?}");
        w.by_second = in_turn;
        transfers(&mut w, 5003);
        let [a, b] = counts(&w);
        assert!(a.0 > first.0 + 20 && b.0 > other.0 + 20, "{a:?} {b:?}");
    }
}

#[test]
fn what_is_not_ours_goes_back_to_the_router_that_sent_it_as_it_takes_it() {
    for second in [Way::Gre, Way::L2, Way::L2ReturnGre, Way::GreReturnL2] {
        let mut w = world(second);
        let before = counts(&w);
        w.watch();
        for (port, times) in [(4000, 2u64), (4001, 3)] {
            for n in 0..times {
                let from = SocketAddrV4::new(*STRANGER.ip(), port);
                w.host_sends(0, &segment(from, SocketAddrV4::new(SERVER, 21), n as u32, 1, 0x10));
            }
        }
        w.settle();
        let after = counts(&w);
        assert_eq!((after[0].0 - before[0].0, after[1].0 - before[1].0), (2, 3), "{second:?}: redirected");
        let strangers: Vec<Tcp> =
            w.segments(Hop::ToHost(1)).into_iter().filter(|t| t.src.ip() == STRANGER.ip()).collect();
        assert_eq!(strangers.len(), 5, "{second:?}");
        let gre = |to: Ipv4Addr| {
            let seen = w.seen.as_ref().unwrap().iter();
            seen.filter(|(h, p)| *h == Hop::FromGateway && p[9] == 47 && p[16..20] == to.octets()).count()
        };
        let in_gre = matches!(second, Way::Gre | Way::L2ReturnGre);
        assert_eq!((gre(ROUTER), gre(second::ADDRESS)), (2, if in_gre { 3 } else { 0 }), "{second:?}");
        assert_eq!(w.counter("returned"), 5);
    }
}

#[test]
fn when_a_router_dies_the_other_serves_on() {
    let mut w = world(Way::Gre);
    let mut c = w.login(0, 5001);
    // The client's network finds the other router, in the middle of a session.
    w.second.as_mut().unwrap().alive = false;
    w.by_second = |_| false;
    assert!(w.fetch(&mut c, "PASV", "RETR f") == content());
    w.pass(Duration::from_secs(10));
    let silent = w.told(|e| match e {
        What::Wccp { state: "silent", router, .. } => Some(*router),
        _ => None,
    });
    assert_eq!(silent, [second::ADDRESS]);
    transfers(&mut w, 5002);
    w.host_sends(0, &segment(STRANGER, SocketAddrV4::new(SERVER, 21), 1, 1, 0x10));
    w.settle();
    assert_eq!(w.counter("returned"), 1);
    // It comes back, and is used again.
    w.second.as_mut().unwrap().alive = true;
    w.by_second = odd;
    w.pass(Duration::from_secs(10));
    let before = counts(&w)[1].0;
    transfers(&mut w, 5003);
    assert!(counts(&w)[1].0 > before + 50);
}
