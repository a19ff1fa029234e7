//! Redirected connections that stay between their ends, read and edited on their way: by every way in, both data modes.

use crate::support::*;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use tidegate::config;
use tidegate::engine::{Control, Place};
use tidegate::event::What;
use tidegate::io::PortInfo;
use tidegate::runtime::settings;
use tidegate::time::Duration;
use tidegate::wccp::Method;

const WCCP: &str = r#"version = 1
[deployment]
kind = "wccp"
[[interface]]
name = "mem0"
address = ["10.9.0.2/24"]
next_hop = "10.9.0.1"
[wccp]
routers = ["10.9.0.1"]
forward = ["FORWARD"]
return = ["RETURN"]
password = "secret1"
[[wccp.group]]
id = 61
ports = [21, 20, 2020, 2021, 2022, 2023, 2024, 2025]
[[wccp.group]]
id = 62
role = "reverse"
ports = REVERSE
[[service]]
name = "ftp"
ports = [21]
handling = "inspect"
"#;

/// A world whose gateway obeys a configuration file. `reverse`: ports of the servers' group, none for all of them.
fn world(way: Way, reverse: Option<&[u16]>, keys: &str) -> World {
    let list = reverse.map_or("\"all\"".to_owned(), |p| format!("{p:?}"));
    let name = |methods: Vec<Method>| if methods == [Method::L2] { "l2" } else { "gre" };
    let (forward, back) = (name(way.forward()), name(way.back()));
    let mut text = WCCP.replace("REVERSE", &list).replace("FORWARD", forward).replace("RETURN", back);
    if way == Way::Policy {
        let (head, _) = text.split_once("[wccp]").unwrap();
        let (_, tail) = text.split_once("[[service]]").unwrap();
        text = format!("{head}[[service]]{tail}").replace("\"wccp\"", "\"static\"");
    }
    let config = config::parse(&format!("{text}{keys}\n"), Path::new("t.toml")).unwrap();
    let mac = GW_MAC;
    let port =
        PortInfo { name: "mem0".into(), driver: "mem", mac, mtu: 1500, attach: None, zero_copy: false };
    let Place::Redirected(engine) = settings::engine(&config, &[port], [1; 16]).unwrap().place else {
        panic!("not redirected");
    };
    let inspect = engine.inspect.map(|i| i.firewall);
    assert!(inspect.is_some(), "nothing is inspected");
    let mut o = Options { way, inspect, ..Options::default() };
    o.reverse = Some(reverse.unwrap_or_default().to_vec());
    o.server.files.insert("f".into(), content());
    World::new(o)
}

const STEER: &str = "data_ports = [2020, 2021, 2022, 2023, 2024, 2025]";

fn content() -> Vec<u8> {
    (0..50_000u32).flat_map(u32::to_be_bytes).collect()
}

/// Expectations' states, in order.
fn expectations(w: &World) -> Vec<&'static str> {
    w.told(|e| match e {
        What::Expectation { state, .. } => Some(*state),
        _ => None,
    })
}

/// An active download; the server's data connection passed the gateway both ways.
fn active(w: &mut World, c: &mut Ctl, verb: &str) {
    let d = w.active(c, verb);
    assert_eq!(&w.cmd(c, "RETR f")[..3], "150");
    assert!(w.read_all(c, d) == content());
    assert_eq!(&w.reply(c)[..3], "226");
}

/// How many segments (to, from) this port were at a hop, redirected or not.
fn at(w: &World, hop: Hop, port: u16) -> (usize, usize) {
    let (mut to, mut from) = (0, 0);
    for (_, p) in w.seen.iter().flatten().filter(|(h, _)| *h == hop) {
        if let Some(t) = tcp_of(if p[9] == 47 { &p[28..] } else { p }) {
            to += usize::from(t.dst.port() == port);
            from += usize::from(t.src.port() == port);
        }
    }
    (to, from)
}

/// The same at the gateway, which left the port as it is.
fn through(w: &World, port: u16) -> (usize, usize) {
    let (came, went) = (at(w, Hop::ToGateway, port), at(w, Hop::FromGateway, port));
    assert_eq!(came, went, "of port {port}");
    went
}

#[test]
fn with_all_ports_redirected_passive_data_is_steered_by_editing_the_reply() {
    for way in [Way::Gre, Way::L2, Way::L2ReturnGre, Way::GreReturnL2, Way::Policy] {
        let mut w = world(way, None, STEER);
        w.watch();
        let mut c = w.login(0, 5001);
        for verb in ["PASV", "EPSV"] {
            let to = w.passive(&mut c, verb);
            assert_eq!(*to.ip(), SERVER, "{way:?}");
            assert!(PORTS[2..].contains(&to.port()), "{way:?}: {to}");
            let d = w.data(&mut c, to);
            assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150", "{way:?}");
            assert!(w.read_all(&c, d) == content(), "{way:?}");
            assert_eq!(&w.reply(&mut c)[..3], "226");
            // The client knows the one port, the server the other.
            let real = w.server.ports;
            let (up, down) = (at(&w, Hop::ToGateway, to.port()), at(&w, Hop::ToGateway, real));
            assert!(up.0 > 1 && up.1 == 0 && down.0 == 0 && down.1 > 100, "{way:?}: {up:?} {down:?}");
            assert_eq!(at(&w, Hop::FromGateway, real), (up.0, 0));
            assert_eq!(at(&w, Hop::FromGateway, to.port()), (0, down.1));
            w.watch();
        }
        active(&mut w, &mut c, "PORT");
        active(&mut w, &mut c, "EPRT");
        assert_eq!(&w.cmd(&mut c, "QUIT")[..3], "221");
        assert_eq!(expectations(&w), ["opened", "used"].repeat(4), "{way:?}");
        assert!(w.server.lines(0).contains(&"PASV".to_owned()), "TCP is between the ends");
        let ends = [CLIENT, SERVER];
        for hop in [Hop::ToHost(0), Hop::ToHost(1)] {
            let all = w.segments(hop);
            assert!(all.iter().all(|t| ends.contains(t.src.ip()) && ends.contains(t.dst.ip())), "{way:?}");
        }
    }
}

#[test]
fn with_a_list_of_ports_passive_data_goes_past_us_and_an_event_says_so() {
    for way in [Way::Gre, Way::L2, Way::GreReturnL2] {
        let mut w = world(way, Some(&[21, 20]), "");
        let mut c = w.login(0, 5001);
        w.watch();
        let to = w.passive(&mut c, "PASV");
        assert_eq!((*to.ip(), to.port()), (SERVER, w.server.ports), "the reply is not edited");
        let d = w.data(&mut c, to);
        assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
        assert!(w.read_all(&c, d) == content());
        assert_eq!(&w.reply(&mut c)[..3], "226");
        assert_eq!(through(&w, to.port()), (0, 0), "{way:?}");
        let told = w.told(|e| match e {
            What::Expectation { state, reason, .. } => Some((*state, reason.clone())),
            _ => None,
        });
        assert!(told.iter().any(|(_, r)| r.contains("data not redirected")), "{told:?}");
        let before = w.events.len();
        active(&mut w, &mut c, "PORT");
        let (_, from) = through(&w, 20);
        assert!(from > 100, "{way:?}: active data passes us");
        w.events.drain(..before);
        assert_eq!(expectations(&w), ["opened", "used"], "{way:?}");
    }
}

#[test]
fn under_gre_both_directions_are_told_of_the_smaller_room() {
    let mut w = world(Way::Gre, None, STEER);
    w.watch();
    let mut c = w.login(0, 5001);
    assert!(w.fetch(&mut c, "PASV", "RETR f") == content());
    active(&mut w, &mut c, "PORT");
    let syns = |hop| -> Vec<Option<u16>> {
        w.segments(hop).iter().filter(|t| t.flags & 2 != 0).map(|t| t.mss).collect()
    };
    // Control, passive and active data, each with one SYN of either end.
    assert_eq!(syns(Hop::ToHost(1)), [Some(1432); 3]);
    assert_eq!(syns(Hop::ToHost(0)), [Some(1432); 3]);
    let longest = w.seen.iter().flatten().filter(|(h, _)| *h == Hop::ToGateway).map(|(_, p)| p.len()).max();
    assert!(longest <= Some(1500), "{longest:?}");
}

#[test]
fn what_is_nobodys_goes_back_as_it_came() {
    for way in [Way::Gre, Way::L2] {
        let mut w = world(way, None, STEER);
        w.watch();
        let stranger = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 77), 4000);
        for (leg, p) in [
            (0, segment(stranger, SocketAddrV4::new(SERVER, 21), 1, 1, 0x10)),
            (0, segment(stranger, SocketAddrV4::new(SERVER, 2021), 7, 0, 2)),
            (1, segment(SocketAddrV4::new(SERVER, 7777), stranger, 9, 1, 0x18)),
        ] {
            w.host_sends(leg, &p);
            w.settle();
        }
        let bare = |hop: Hop| -> Vec<Vec<u8>> {
            let seen = w.seen.iter().flatten().filter(|(h, _)| *h == hop);
            seen.map(|(_, p)| if p[9] == 47 { p[28..].to_vec() } else { p.clone() })
                .filter(|p| tcp_of(p).is_some())
                .collect()
        };
        let came = bare(Hop::ToGateway);
        assert!(came.len() >= 3);
        assert_eq!(came, bare(Hop::FromGateway), "{way:?}");
        let headers = |hop: Hop| -> Vec<Vec<u8>> {
            let seen = w.seen.iter().flatten().filter(|(h, p)| *h == hop && p[9] == 47);
            seen.map(|(_, p)| p[20..28].to_vec()).collect()
        };
        assert_eq!(headers(Hop::ToGateway), headers(Hop::FromGateway), "the redirect header is echoed");
    }
}

#[test]
fn a_drained_gateway_lets_new_sessions_pass_unread() {
    let mut w = world(Way::Gre, None, STEER);
    let mut c = w.login(0, 5001);
    w.control(&[Control::Drain]);
    let mut second = w.login(0, 5002);
    let to = w.passive(&mut second, "PASV");
    assert_eq!(to.port(), w.server.ports, "nobody edits it");
    let to = w.passive(&mut c, "PASV");
    assert!(PORTS[2..].contains(&to.port()), "who was there is still served");
    assert_eq!(&w.cmd(&mut c, "QUIT")[..3], "221");
    let socket = c.socket;
    w.host(&c).socket(socket).close();
    w.pass(Duration::from_secs(200));
    assert_eq!(w.gates[0].engine.busy(), 0);
}
