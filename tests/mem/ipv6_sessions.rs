//! Sessions over IPv6, that a router's policy brings.

use crate::support::*;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use tidegate::event::What;
use tidegate::session::{ClientMode, DataSource, Service};
use tidegate::time::Duration;
use tidegate::wire::icmp;

fn options() -> Options {
    let mut o = Options { way: Way::Policy, six: true, ..Options::default() };
    o.service.mss_clamp = None;
    o.server.files.insert("f".into(), content());
    o
}

fn content() -> Vec<u8> {
    (0..50_000u32).flat_map(u32::to_be_bytes).collect()
}

fn six(host: Ipv6Addr, port: u16) -> SocketAddr {
    SocketAddrV6::new(host, port, 0, 0).into()
}

/// Transfers of every kind; gives the world, watched.
fn plays(o: Options) -> World {
    let mut w = World::new(o);
    w.watch();
    let mut c = w.login(0, 5001);
    assert!(w.fetch(&mut c, "EPSV", "RETR f") == content());
    assert!(w.fetch(&mut c, "EPSV 2", "RETR f") == content());
    w.store(&mut c, "EPSV", "STOR up", &content());
    assert!(w.server.conf.files["up"] == content());
    assert_eq!(w.fetch(&mut c, "EPSV", "LIST"), b"f\r\nup\r\n");
    let d = w.active(&mut c, "EPRT");
    assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
    assert!(w.read_all(&c, d) == content());
    assert_eq!(&w.reply(&mut c)[..3], "226");
    let d = w.active(&mut c, "EPRT");
    assert_eq!(&w.cmd(&mut c, "STOR up2")[..3], "150");
    w.write_all(&c, d, &content());
    assert_eq!(&w.reply(&mut c)[..3], "226");
    assert!(w.server.conf.files["up2"] == content());
    assert_eq!(&w.cmd(&mut c, "QUIT")[..3], "221");
    let socket = c.socket;
    w.host(&c).socket(socket).close();
    w
}

#[test]
fn every_data_mode_brings_the_same_bytes() {
    let mut w = plays(options());
    let client = w.segments6(Hop::ToHost(0));
    assert!(client.len() > 100 && client.iter().all(|t| t.src.ip() == IpAddr::V6(SERVER6)));
    // Passive data is steered to listed ports, active data comes from port 20.
    let ports: Vec<u16> =
        PORTS.iter().copied().filter(|p| client.iter().any(|t| t.src.port() == *p)).collect();
    assert!(ports.len() >= 3 && ports[..2] == [21, 20], "{ports:?}");
    let server = w.segments6(Hop::ToHost(1));
    assert!(server.iter().all(|t| t.src.ip() == IpAddr::V6(GATEWAY6)), "the server meets us, over IPv6");
    assert!(w.segments(Hop::FromGateway).is_empty(), "families do not mix");
    let asked: Vec<String> = w.server.lines(0).iter().map(|l| l[..4].to_owned()).collect();
    assert!(!asked.iter().any(|v| v == "PASV" || v == "PORT" || v == "EPRT"), "{asked:?}");
    assert_eq!(asked.iter().filter(|v| *v == "EPSV").count(), 6);
    assert_eq!((w.counter("translated"), w.counter("relayed"), w.counter("steered")), (4, 2, 4));
    w.pass(Duration::from_secs(30));
    assert_eq!((w.sessions(), w.remains()), (0, (0, 0, 0)));
    let told = w.told(|e| match e {
        What::Transfer { bytes, verdict, .. } => Some((*bytes, *verdict)),
        _ => None,
    });
    assert_eq!(told.iter().filter(|t| **t == (200_000, "complete")).count(), 5, "{told:?}");
}

#[test]
fn segments_fit_the_larger_header() {
    let w = plays(options());
    let mss = |hop: Hop, flags: u8| -> Vec<u16> {
        w.segments6(hop).iter().filter(|t| t.flags == flags).filter_map(|t| t.mss).collect()
    };
    assert!(mss(Hop::ToHost(1), 2).iter().all(|m| *m == 1440), "{:?}", mss(Hop::ToHost(1), 2));
    let answers = mss(Hop::ToHost(0), 0x12);
    assert!(answers.len() > 4 && answers.iter().all(|m| *m == 1440), "{answers:?}");
    assert!(w.segments6(Hop::FromGateway).iter().all(|t| t.payload.len() <= 1440));
}

#[test]
fn both_workers_serve_it() {
    let mut o = options();
    o.workers = 2;
    let mut w = World::new(o);
    w.spread = |frame, n| frame.iter().rev().take(9).fold(3, |h: usize, b| h * 31 + usize::from(*b)) % n;
    let mut c = w.login(0, 5001);
    assert!(w.fetch(&mut c, "EPSV", "RETR f") == content());
    let d = w.active(&mut c, "EPRT");
    assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
    assert!(w.read_all(&c, d) == content());
    assert!(w.gates.iter().all(|g| g.crossed > 0), "nothing was handed over");
}

#[test]
fn losses_change_no_byte() {
    let mut w = World::new(options());
    let mut n = 0u32;
    w.loss = Some(Box::new(move |hop, packet| {
        n = n.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        matches!(hop, Hop::FromGateway | Hop::ToGateway) && packet[6] == 6 && (n >> 16).is_multiple_of(50)
    }));
    let mut c = w.login(0, 5001);
    assert!(w.fetch(&mut c, "EPSV", "RETR f") == content());
    w.store(&mut c, "EPSV", "STOR up", &content());
    assert!(w.server.conf.files["up"] == content());
    let d = w.active(&mut c, "EPRT");
    assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
    assert!(w.read_all(&c, d) == content());
}

#[test]
fn commands_that_name_ipv4_are_refused_and_the_session_lives() {
    let mut w = World::new(options());
    let mut c = w.login(0, 5001);
    for (line, reply) in [
        ("PASV", "502 PASV names an IPv4 address; use EPSV."),
        ("PORT 10,0,0,10,200,10", "501 PORT names an IPv4 address; use EPRT."),
        ("EPRT |1|10.0.0.10|51210|", "522 Network protocol not supported, use (2)"),
        ("EPRT |2|::ffff:10.0.0.10|51210|", "522 Network protocol not supported, use (2)"),
        ("EPRT |3|fd00::a|51210|", "522 Network protocol not supported, use (1,2)"),
        ("EPSV 1", "522 Network protocol not supported, use (2)"),
        ("EPRT |2|fd00::b|51210|", "504 Refused: the address is not yours."),
        ("EPRT |2|fd00::a|22|", "504 Port not allowed for data connections."),
        ("EPRT |2|fd00::a%eth0|51210|", "501 Syntax error in parameters."),
        ("EPSV ALL", "200 EPSV ALL ok."),
        ("EPRT |2|fd00::a|51210|", "500 Refused: EPSV ALL was sent."),
    ] {
        assert_eq!(w.cmd(&mut c, line).trim_end(), reply, "{line}");
    }
    assert!(w.fetch(&mut c, "EPSV", "RETR f") == content());
    assert_eq!(w.server.lines(0), ["USER u", "PASS p", "EPSV", "RETR f"]);
}

#[test]
fn over_ipv4_the_other_family_is_refused_as_well() {
    let mut w = World::new(Options { way: Way::Policy, ..Options::default() });
    let mut c = w.login(0, 5001);
    assert_eq!(w.cmd(&mut c, "EPRT |2|fd00::a|51210|"), "522 Network protocol not supported, use (1)\r\n");
    assert_eq!(w.cmd(&mut c, "EPSV 2"), "522 Network protocol not supported, use (1)\r\n");
}

#[test]
fn a_server_without_epsv_is_not_asked_in_the_old_way() {
    let mut o = options();
    o.server.epsv = false;
    let mut w = World::new(o);
    let mut c = w.login(0, 5001);
    assert_eq!(w.cmd(&mut c, "EPSV"), "500 EPSV not understood.\r\n");
    assert_eq!(w.cmd(&mut c, "EPRT |2|fd00::a|51210|"), "500 EPSV not understood.\r\n");
    assert_eq!(w.server.lines(0), ["USER u", "PASS p", "EPSV", "EPSV"]);
}

#[test]
fn with_our_own_address_as_data_source_ipv6_clients_are_active() {
    let mut o = options();
    o.service.data_source = DataSource::Own;
    let mut w = World::new(o);
    w.gateway_shows = true;
    w.watch();
    let mut c = w.login(0, 5001);
    let refused = w.cmd(&mut c, "EPSV");
    assert_eq!(refused, "502 Refused by policy: data_source = \"own\"; use EPRT.\r\n");
    let d = w.active(&mut c, "EPRT");
    assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
    assert!(w.read_all(&c, d) == content());
    assert!(w.segments6(Hop::ToHost(0)).iter().any(|t| t.src == six(GATEWAY6, 20)));
}

#[test]
fn a_reset_of_the_servers_is_the_clients_and_an_aborted_transfer_ends() {
    let mut o = options();
    o.server.reset_after = Some(30_000);
    let mut w = World::new(o);
    let mut c = w.login(0, 5001);
    let to = w.passive_any(&mut c, "EPSV");
    let d = w.data(&mut c, to);
    assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
    assert_eq!(&w.reply(&mut c)[..3], "426");
    w.pass(Duration::from_secs(1));
    assert_eq!(w.hosts[0].state(d), smoltcp::socket::tcp::State::Closed);
    // And of the control connection.
    let server = w.server_host;
    let mut host = w.hosts.remove(server);
    w.server.abort(&mut host, 0);
    w.hosts.push(host);
    w.pass(Duration::from_secs(1));
    assert!(w.state(&c) != smoltcp::socket::tcp::State::Established);
}

/// A client and a server without stacks.
const C: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x77);
const S: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 0x99);

/// Segments that came for hosts without a stack, by leg; they are taken out.
fn taken(w: &mut World) -> (Vec<Tcp6>, Vec<Tcp6>) {
    let of =
        |w: &World, leg| w.strays.iter().filter(|(l, _)| *l == leg).filter_map(|(_, p)| tcp6_of(p)).collect();
    let both = (of(w, 0), of(w, 1));
    w.strays.clear();
    both
}

fn syn(w: &mut World) -> Tcp6 {
    w.host_sends(0, &segment(six(C, 4000), six(S, 21), 1000, 0, 2));
    w.settle();
    let (client, mut server) = taken(w);
    assert!(client.is_empty() && server.len() == 1, "{client:?} {server:?}");
    server.remove(0)
}

#[test]
fn a_half_open_connection_is_made_refused_and_reset_as_over_ipv4() {
    let mut w = World::new(options());
    let ours = syn(&mut w);
    assert_eq!((ours.src.ip(), ours.dst, ours.flags, ours.hops), (GATEWAY6.into(), six(S, 21), 2, 63));
    assert_eq!(syn(&mut w), ours, "repeated with the client's");
    w.host_sends(1, &segment(six(S, 21), ours.src, 70_000, ours.seq.wrapping_add(1), 0x12));
    w.settle();
    let (client, server) = taken(&mut w);
    assert!(server.is_empty(), "the last ACK waits for the client's");
    assert_eq!((client[0].src, client[0].flags, client[0].ack), (six(S, 21), 0x12, 1001));
    w.host_sends(0, &segment(six(C, 4000), six(S, 21), 1001, client[0].seq.wrapping_add(1), 0x10));
    w.settle();
    let (_, server) = taken(&mut w);
    assert_eq!((server[0].flags, server[0].ack, w.sessions()), (0x10, 70_001, 1));
    // Another that the server resets.
    w.host_sends(0, &segment(six(C, 4001), six(S, 21), 5, 0, 2));
    w.settle();
    let ours = taken(&mut w).1.remove(0);
    w.host_sends(1, &segment(six(S, 21), ours.src, 0, ours.seq.wrapping_add(1), 0x14));
    w.settle();
    let (client, _) = taken(&mut w);
    assert_eq!((client[0].src, client[0].flags, client[0].ack), (six(S, 21), 0x14, 6));
    assert_eq!(w.remains().0, 0);
}

#[test]
fn an_icmp_error_about_our_syn_is_told_to_the_client_about_its_own() {
    let mut w = World::new(options());
    for (port, kind, ends) in [(4000, (1, 0), false), (4001, (1, 4), true), (4002, (1, 1), true)] {
        w.host_sends(0, &segment(six(C, port), six(S, 21), 1000, 0, 2));
        w.settle();
        let ours = taken(&mut w).1.remove(0);
        let quoted = segment(ours.src, ours.dst, ours.seq, 0, 2);
        let error = icmp::error_v6(ROUTER6, GATEWAY6, kind, [0; 4], &quoted).unwrap();
        let halves = w.remains().0;
        w.gateway_gets(&[&GW_MAC[..], &ROUTER_MAC, &[0x86, 0xDD], &error].concat());
        w.settle();
        let told: Vec<Vec<u8>> = w.strays.drain(..).filter(|(leg, _)| *leg == 0).map(|(_, p)| p).collect();
        assert_eq!(told.len(), 1, "{kind:?}");
        let p = &told[0];
        assert_eq!(
            (&p[8..24], &p[24..40], p[40], p[41]),
            (&ROUTER6.octets()[..], &C.octets()[..], kind.0, kind.1)
        );
        let about = tcp6_of(&p[48..]).unwrap();
        assert_eq!((about.src, about.dst, about.seq), (six(C, port), six(S, 21), 1000));
        assert_eq!(halves - w.remains().0, usize::from(ends), "{kind:?}");
    }
}

#[test]
fn a_flood_costs_places_of_its_own_network_only() {
    let mut w = World::new(options());
    let kept = syn(&mut w);
    for n in 0..300u16 {
        let from = Ipv6Addr::new(0xfd00, 0, 0, 0x55, n, 1, 2, n);
        let syn = segment(six(from, 4000), six(S, 21), 1, 0, 2);
        w.gateway_gets(&[&GW_MAC[..], &ROUTER_MAC, &[0x86, 0xDD], &syn].concat());
    }
    w.settle();
    assert_eq!((w.remains().0, w.counter("half_open_evicted")), (65, 300 - 64), "one /64 has 64 places");
    w.strays.clear();
    w.host_sends(1, &segment(six(S, 21), kept.src, 70_000, kept.seq.wrapping_add(1), 0x12));
    w.settle();
    assert_eq!(taken(&mut w).0.len(), 1, "the one that was there first goes on");
    w.pass(Duration::from_secs(10));
    assert_eq!(w.remains(), (0, 0, 0));
}

#[test]
fn nobodys_addresses_begin_no_session() {
    let mut w = World::new(options());
    for from in ["fe80::9", "::ffff:10.0.0.10", "::1", "ff02::5", "::"] {
        let syn = segment(six(from.parse().unwrap(), 4000), six(S, 21), 1, 0, 2);
        w.gateway_gets(&[&GW_MAC[..], &ROUTER_MAC, &[0x86, 0xDD], &syn].concat());
    }
    w.settle();
    assert_eq!((w.remains().0, w.counter("syns")), (0, 0));
}

#[test]
fn services_differ_by_port_in_both_families() {
    let mut o = options();
    o.more = vec![Service {
        name: "active".into(),
        ports: vec![2020],
        client_mode: ClientMode::Active,
        data_ports: vec![],
        ..o.service.clone()
    }];
    o.service.data_ports = vec![2021, 2022];
    o.server.second_port = Some(2020);
    let mut w = World::new(o);
    let mut c = w.connect_to(0, 5001, 2020);
    assert_eq!(&w.reply(&mut c)[..3], "220");
    w.cmd(&mut c, "USER u");
    assert_eq!(&w.cmd(&mut c, "PASS p")[..3], "230");
    assert_eq!(
        w.cmd(&mut c, "EPSV"),
        "502 Refused by policy: client_mode = \"active\"; use PORT or EPRT.\r\n"
    );
}

/// "Packet too big" from the router before the server.
fn too_big(to: Ipv6Addr, mtu: u32, about: &[u8]) -> Vec<u8> {
    let from = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 1);
    let error = icmp::error_v6(from, to, (2, 0), mtu.to_be_bytes(), about).unwrap();
    [&GW_MAC[..], &ROUTER_MAC, &[0x86, 0xDD], &error].concat()
}

#[test]
fn too_big_about_a_translated_segment_goes_to_who_sent_it_as_it_knows_it() {
    let mut w = World::new(options());
    let mut c = w.login(0, 5001);
    w.watch();
    w.store(&mut c, "EPSV", "STOR up", &content());
    let full = |(h, p): &&(Hop, Vec<u8>)| *h == Hop::FromGateway && p.len() > 1400;
    let sent = w.seen.as_ref().unwrap().iter().find(full).unwrap().1.clone();
    let ours = tcp6_of(&sent).unwrap();
    let before = w.segments6(Hop::FromHost(0)).into_iter().find(|t| t.seq == ours.seq).unwrap();
    w.watch();
    w.gateway_gets(&too_big(GATEWAY6, 1300, &sent));
    w.settle();
    let seen = w.seen.as_ref().unwrap();
    let got: Vec<_> = seen.iter().filter(|(h, p)| *h == Hop::ToHost(0) && p[6] == 58).collect();
    assert_eq!(got.len(), 1);
    let e = &got[0].1;
    assert_eq!(
        (&e[24..40], &e[40..42], &e[44..48]),
        (&CLIENT6.octets()[..], &[2, 0][..], &[0, 0, 5, 20][..])
    );
    assert_eq!((&e[56..72], &e[72..88]), (&CLIENT6.octets()[..], &SERVER6.octets()[..]));
    let port = |at: usize| u16::from_be_bytes([e[at], e[at + 1]]);
    assert_eq!((port(88), port(90)), (before.src.port(), before.dst.port()), "as the client sent it");
    assert_eq!(e[92..96], before.seq.to_be_bytes());
}

#[test]
fn too_big_about_a_sessions_own_segment_makes_its_segments_fit() {
    let mut w = World::new(options());
    let mut c = w.login(0, 5001);
    w.loss = Some(Box::new(|h, p| h == Hop::ToHost(1) && p.len() > 1300));
    w.watch();
    let d = w.active(&mut c, "EPRT");
    assert_eq!(&w.cmd(&mut c, "STOR up")[..3], "150");
    w.hosts[0].write(d, &content()[..8000]);
    w.pass(Duration::from_millis(200));
    let long = |(h, p): &&(Hop, Vec<u8>)| *h == Hop::FromGateway && p.len() > 1300;
    let lost = w.seen.as_ref().unwrap().iter().find(long).unwrap().1.clone();
    w.gateway_gets(&too_big(GATEWAY6, 1300, &lost));
    w.settle();
    w.watch();
    w.write_all(&c, d, &content()[8000..]);
    assert_eq!(&w.reply(&mut c)[..3], "226");
    assert!(w.server.conf.files["up"] == content());
    let seen = w.seen.as_ref().unwrap();
    let largest = seen.iter().filter(|(h, _)| *h == Hop::ToHost(1)).map(|(_, p)| p.len()).max();
    assert_eq!(largest, Some(1300), "as large as they may be");
}
