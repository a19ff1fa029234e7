//! The ways in: L2 redirection, a router's policy, mixed methods, and what goes back by each.

use crate::support::*;
use std::net::{Ipv4Addr, SocketAddrV4};
use tidegate::engine::Control;
use tidegate::event::What;
use tidegate::time::Duration;

const STRANGER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 77), 4000);

fn options(way: Way) -> Options {
    let mut o = Options { way, ..Options::default() };
    o.server.files.insert("f".into(), content());
    o
}

fn content() -> Vec<u8> {
    (0..50_000u32).flat_map(u32::to_be_bytes).collect()
}

fn gre(w: &World, hop: Hop) -> Vec<Vec<u8>> {
    let seen = w.seen.iter().flatten().filter(|(h, p)| *h == hop && p[9] == 47);
    seen.map(|(_, p)| p.clone()).collect()
}

/// A session with transfers of both modes, and a packet that is not ours: all of it by this way.
fn works(way: Way) -> World {
    let mut w = World::new(options(way));
    w.watch();
    let mut c = w.login(0, 5001);
    assert!(w.fetch(&mut c, "PASV", "RETR f") == content());
    assert!(w.fetch(&mut c, "EPSV", "RETR f") == content());
    let d = w.active(&mut c, "PORT");
    assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
    assert!(w.read_all(&c, d) == content());
    assert_eq!(&w.reply(&mut c)[..3], "226");
    assert_eq!(&w.cmd(&mut c, "QUIT")[..3], "221");
    assert!(w.segments(Hop::ToHost(0)).iter().all(|t| *t.src.ip() == SERVER), "a client sees the gateway");
    w.seen = Some(Vec::new());
    w.host_sends(0, &segment(STRANGER, SocketAddrV4::new(SERVER, 21), 1, 1, 0x10));
    w.settle();
    let sent = w.segments(Hop::FromHost(0));
    assert_eq!((sent.len(), w.segments(Hop::ToHost(1))), (1, sent), "what is not ours did not pass");
    assert_eq!(w.counter("returned"), 1);
    for name in ["not_for_us", "loop", "unhandled", "strange_router"] {
        assert_eq!(w.counter(&format!("drop_{name}")), 0, "{name}");
    }
    w
}

#[test]
fn l2_redirection_serves_sessions_and_returns_by_mac_address() {
    let w = works(Way::L2);
    assert_eq!(gre(&w, Hop::ToGateway).len() + gre(&w, Hop::FromGateway).len(), 0);
    let (came, went) = (passed(&w, Hop::ToGateway), passed(&w, Hop::FromGateway));
    assert_eq!(came, went, "the packet goes back as it came, its time to live too");
}

/// The stranger's packets at this hop.
fn passed(w: &World, hop: Hop) -> Vec<Vec<u8>> {
    let own = |p: &[u8]| tcp_of(p).is_some_and(|t| t.src == STRANGER);
    let seen = w.seen.iter().flatten().filter(|(h, p)| *h == hop && own(p));
    seen.map(|(_, p)| p.clone()).collect()
}

#[test]
fn with_l2_forward_and_gre_return_the_packet_goes_back_in_gre_under_an_empty_header() {
    let w = works(Way::L2ReturnGre);
    assert!(gre(&w, Hop::ToGateway).is_empty());
    let back = gre(&w, Hop::FromGateway);
    assert_eq!(back.len(), 1);
    assert_eq!(
        (&back[0][16..20], &back[0][20..28]),
        (&ROUTER.octets()[..], &[0, 0, 0x88, 0x3E, 0, 0, 0, 0][..])
    );
    assert_eq!(vec![back[0][28..].to_vec()], passed(&w, Hop::ToGateway));
}

#[test]
fn with_gre_forward_and_l2_return_the_packet_goes_back_bare() {
    let w = works(Way::GreReturnL2);
    assert_eq!(gre(&w, Hop::ToGateway).len(), 1);
    assert_eq!(gre(&w, Hop::FromGateway).len(), 0);
    assert_eq!(passed(&w, Hop::FromGateway), [gre(&w, Hop::ToGateway)[0][28..].to_vec()]);
}

#[test]
fn without_l2_agreed_a_frame_for_somebody_else_is_nobodys() {
    let mut w = World::new(options(Way::Gre));
    let packet = segment(STRANGER, SocketAddrV4::new(SERVER, 21), 1, 0, 2);
    w.watch();
    w.gateway_gets(&[&GW_MAC[..], &ROUTER_MAC, &[8, 0], &packet].concat());
    w.settle();
    assert_eq!(w.counter("drop_not_for_us"), 1);
    assert!(w.seen.as_ref().unwrap().is_empty(), "{:?}", w.seen);
}

#[test]
fn a_routers_policy_brings_sessions_without_any_negotiation() {
    let w = works(Way::Policy);
    let (came, went) = (passed(&w, Hop::ToGateway), passed(&w, Hop::FromGateway));
    assert_eq!((went[0][8], &went[0][20..]), (came[0][8] - 1, &came[0][20..]), "we are one hop more");
    let wccp = w.events.iter().filter(|e| matches!(e.what, What::Wccp { .. }));
    assert_eq!(wccp.count(), 0);
}

#[test]
fn a_packet_whose_time_is_up_is_answered_from_our_own_address_and_not_without_bound() {
    let mut w = World::new(options(Way::Policy));
    w.gateway_shows = true;
    w.watch();
    let packet = |seq| last_hop(segment(STRANGER, SocketAddrV4::new(SERVER, 2020), seq, 1, 0x10));
    let p = packet(0);
    for seq in 0..500 {
        w.gateway_gets(&[&GW_MAC[..], &ROUTER_MAC, &[8, 0], &packet(seq)].concat());
    }
    w.settle();
    let errors: Vec<&Vec<u8>> =
        w.strays.iter().filter(|(leg, p)| *leg == 0 && p[9] == 1).map(|(_, p)| p).collect();
    assert_eq!(errors.len(), 50, "the burst that is allowed");
    assert_eq!((&errors[0][12..16], &errors[0][20..22]), (&GATEWAY.octets()[..], &[11, 0][..]));
    assert_eq!(errors[0][28..68], p[..40], "it quotes the packet");
    assert_eq!((w.counter("drop_ttl_exceeded"), w.counter("returned")), (500, 0));
    // Errors about errors, and about what no host sent, there are none.
    w.strays.clear();
    w.pass(Duration::from_secs(5));
    let error = last_hop(errors_about(&p));
    w.gateway_gets(&[&GW_MAC[..], &ROUTER_MAC, &[8, 0], &error].concat());
    w.settle();
    assert!(w.strays.is_empty(), "{:x?}", w.strays);
    assert_eq!(w.counter("drop_ttl_exceeded"), 501);
}

/// A segment of a translated connection whose time is up, from either end.
#[test]
fn a_translated_segment_whose_time_is_up_is_answered_as_it_came() {
    for way in [Way::Gre, Way::Policy] {
        let mut w = World::new(options(way));
        w.gateway_shows = true;
        let mut c = w.login(0, 5001);
        let to = w.passive(&mut c, "PASV");
        let d = w.data(&mut c, to);
        w.pass(Duration::from_secs(1));
        w.watch();
        w.hosts[0].write(d, b"upload");
        w.pass(Duration::from_secs(1));
        let up = w.segments(Hop::FromHost(0)).into_iter().find(|t| t.payload == b"upload").unwrap();
        let own = w.segments(Hop::FromGateway).into_iter().find(|t| t.payload == b"upload").unwrap();
        let up = last_hop(segment(up.src, up.dst, up.seq, up.ack, 0x10));
        let down = last_hop(segment(own.dst, own.src, own.ack, own.seq, 0x10));
        let before = w.counter("drop_ttl_exceeded");
        for (n, (leg, packet)) in [(0, up), (1, down)].into_iter().enumerate() {
            let came = match (leg, way) {
                (0, Way::Gre) => {
                    let mut outer = [&[0; 28][..], &packet].concat();
                    let header = tidegate::wire::gre::Redirect([1, 61, 0, 9]);
                    tidegate::wire::build::gre_v4(&mut outer, ROUTER, GATEWAY, 9, header);
                    outer
                }
                _ => packet.clone(),
            };
            w.seen = Some(vec![]);
            w.gateway_gets(&[&GW_MAC[..], &ROUTER_MAC, &[8, 0], &came].concat());
            w.settle();
            let sent: Vec<_> = w.seen.iter().flatten().filter(|(h, _)| *h == Hop::FromGateway).collect();
            assert_eq!(sent.len(), 1, "{way:?}, leg {leg}");
            let e = &sent[0].1;
            assert_eq!(
                (&e[12..16], &e[16..20]),
                (&GATEWAY.octets()[..], &packet[12..16]),
                "{way:?}, leg {leg}"
            );
            assert_eq!((&e[20..22], &e[28..]), (&[11, 0][..], &packet[..]));
            assert_eq!(w.counter("drop_ttl_exceeded") - before, n as u64 + 1);
        }
    }
}

/// The packet with a time to live of 1.
fn last_hop(mut p: Vec<u8>) -> Vec<u8> {
    p[8] = 1;
    p[10..12].fill(0);
    let c = !sum(&[&p[..20]]);
    p[10..12].copy_from_slice(&c.to_be_bytes());
    p
}

/// An ICMP error from the stranger to the server.
fn errors_about(p: &[u8]) -> Vec<u8> {
    tidegate::wire::icmp::error_v4(*STRANGER.ip(), SERVER, (3, 1), [0; 4], p).unwrap()
}

#[test]
fn a_drained_gateway_on_policy_returns_new_connections_and_is_done_at_once() {
    let mut w = World::new(options(Way::Policy));
    let mut c = w.login(0, 5001);
    w.control(&[Control::Drain]);
    assert_eq!(w.gates[0].engine.busy(), 1, "the session lives on");
    w.watch();
    let direct = w.connect(0, 5002);
    w.pass(Duration::from_secs(1));
    assert!(w.state(&direct) == smoltcp::socket::tcp::State::Established, "it reached the server itself");
    let syns: Vec<Tcp> = w.segments(Hop::ToHost(1)).into_iter().filter(|t| t.flags == 2).collect();
    assert!(syns.iter().all(|t| *t.src.ip() == CLIENT) && syns.len() == 1, "{syns:?}");
    assert_eq!(&w.cmd(&mut c, "QUIT")[..3], "221");
    let socket = c.socket;
    w.host(&c).socket(socket).close();
    w.pass(Duration::from_secs(2));
    w.control(&[Control::Leave]);
    assert!(w.gates[0].engine.has_left() && w.gates[0].engine.busy() == 0);
}

/// A router that redirects what comes from the gateway too.
fn without_exclusion(way: Way) -> World {
    World::new(Options { way, exclude_in: false, ..options(way) })
}

#[test]
fn a_router_without_an_exclusion_makes_no_storm_of_what_we_return() {
    for way in [Way::L2, Way::GreReturnL2, Way::Policy] {
        let mut w = without_exclusion(way);
        w.watch();
        let packet = segment(STRANGER, SocketAddrV4::new(SERVER, 21), 1, 1, 0x10);
        for repeated in 1..=3 {
            // The host says it again: each time it goes around once and is dropped then.
            w.host_sends(0, &packet);
            w.pass(Duration::from_millis(300));
            assert_eq!(passed(&w, Hop::FromGateway).len(), repeated, "{way:?}");
            assert_eq!(w.counter("drop_loop"), repeated as u64, "{way:?}");
        }
        assert_eq!(w.counter("returned"), 3);
        w.pass(Duration::from_secs(2));
        let told = w.told(|e| match e {
            What::Drop { reason: "loop", count, text } => Some((*count, *text)),
            _ => None,
        });
        assert_eq!(told.iter().map(|t| t.0).sum::<u64>(), 3);
        assert!(told.len() <= 2 && told[0].1.contains("exclude"), "once a second, with the remedy: {told:?}");
    }
}

#[test]
fn a_router_without_an_exclusion_makes_no_storm_of_a_session() {
    for way in [Way::Gre, Way::L2, Way::Policy] {
        let mut w = without_exclusion(way);
        w.watch();
        w.connect(0, 5001);
        w.pass(Duration::from_secs(5));
        let frames = w.seen.as_ref().unwrap().iter().filter(|(h, _)| *h == Hop::FromGateway).count();
        // A handshake, its repetitions, and WCCP.
        assert!(frames < 40, "{way:?}: {frames} frames in five seconds");
    }
}

#[test]
fn our_own_segment_that_comes_redirected_is_known_and_a_hosts_like_it_is_not() {
    let mut w = World::new(options(Way::L2));
    w.watch();
    w.login(0, 5001);
    let greeting = |(h, p): &&(Hop, Vec<u8>)| {
        *h == Hop::FromGateway && tcp_of(p).is_some_and(|t| t.payload.starts_with(b"220"))
    };
    let ours = w.seen.as_ref().unwrap().iter().find(greeting).unwrap().1.clone();
    assert_eq!(ours[12..16], SERVER.octets(), "it speaks as the server");
    let again = |w: &mut World, hops: u8| {
        let mut p = ours.clone();
        p[8] = hops;
        p[10..12].fill(0);
        let c = !sum(&[&p[..20]]);
        p[10..12].copy_from_slice(&c.to_be_bytes());
        w.gateway_gets(&[&GW_MAC[..], &ROUTER_MAC, &[8, 0], &p].concat());
        w.settle();
        (w.counter("drop_loop"), w.counter("returned"))
    };
    assert_eq!(again(&mut w, ours[8] - 1), (1, 0));
    assert_eq!(again(&mut w, ours[8]), (1, 1), "nobody counted a hop: it is not known for ours");
    w.pass(Duration::from_secs(2));
    assert_eq!(again(&mut w, ours[8] - 1), (1, 2), "long ago");
}
