//! E: ports and addresses of announced data connections.

use crate::g_setup::{PORT, PORT_OUT, refused};
use crate::host::Manner;
use crate::net::{Net, shown_text};
use crate::setup::{
    CLIENT, OTHER_CLIENT, OTHER_SERVER, OUTSIDE, SERVER, STRANGER, Setup, WAYS, at, case, case_with,
};
use std::net::SocketAddr;
use tidegate::alg::rules::Profile::Standard;
use tidegate::firewall::{Action, Forward, Protocol, Rule, Side};

pub(crate) const INSIDE_SERVER: &str = "10.0.0.80";
/// The same server, as it is known outside.
pub(crate) const PUBLISHED: &str = "203.0.113.80";

/// One more client inside is logged in.
pub(crate) fn join(net: &mut Net, client: SocketAddr, server: SocketAddr) {
    join_at(net, client, (Side::Outside, server));
}

/// Likewise, with a server on either side.
pub(crate) fn join_at(net: &mut Net, client: SocketAddr, server: (Side, SocketAddr)) {
    let manner = net.conns[0].client.manner.clone();
    let manners = (Manner { isn: 123_456, ..manner.clone() }, Manner { isn: 654_321, ..manner });
    assert!(net.open((Side::Inside, client), server, manners));
    net.log_in();
}

/// What the PORT that the server got names, and the address is ours.
#[track_caller]
fn named(net: &mut Net) -> u16 {
    let got = shown_text(&net.server_got());
    let rest = got.strip_prefix("PORT 203,0,113,9,").unwrap_or_else(|| panic!("{got}"));
    let (high, low) = rest.strip_suffix("\\r\\n").unwrap().split_once(',').unwrap();
    high.parse::<u16>().unwrap() * 256 + low.parse::<u16>().unwrap()
}

#[test]
fn e15_a_port_that_is_taken_is_another_one_outside() {
    case(Standard, |net| {
        net.c(PORT);
        net.server_gets(PORT_OUT);
        net.s("200 ok\r\n");
        join(net, at(OTHER_CLIENT, 40_002), at(SERVER, 21));
        net.c("PORT 10,0,0,6,19,137\r\n");
        let port = named(net);
        assert!(port >= 49_152, "{port}");
        net.s("200 ok\r\n");
        net.client_gets("200 ok\r\n");
        let there = net.active(20, port).expect("the second client's");
        assert_eq!(there.dst, at(OTHER_CLIENT, 5001));
        let there = net.active(20, 5001).expect("the first client's");
        assert_eq!(there.dst, at(CLIENT, 5001));
    });
}

#[test]
fn e16_no_port_left_is_a_425() {
    let few = |s: &mut Setup| s.settings.nat.masquerade.as_mut().unwrap().ports = 60_000..=60_001;
    case_with(Standard, few, |net| {
        net.c(PORT);
        net.server_gets(PORT_OUT);
        net.s("200 ok\r\n");
        for n in 6..=7 {
            join(net, at(&format!("10.0.0.{n}"), 40_000 + n), at(SERVER, 21));
            net.c(format!("PORT 10,0,0,{n},19,137\r\n"));
            assert!((60_000..=60_001).contains(&named(net)));
            net.s("200 ok\r\n");
        }
        join(net, at("10.0.0.8", 40_008), at(SERVER, 21));
        net.c("PORT 10,0,0,8,19,137\r\n");
        net.server_gets("");
        net.client_gets_code(&["425"]);
        net.lives();
        // Another port of its own is free.
        net.c("PORT 10,0,0,8,19,138\r\n");
        net.server_gets("PORT 203,0,113,9,19,138\r\n");
    });
}

#[test]
fn e17_one_outside_port_serves_two_servers() {
    case(Standard, |net| {
        net.c(PORT);
        net.server_gets(PORT_OUT);
        net.s("200 ok\r\n");
        join(net, at(OTHER_CLIENT, 40_002), at(OTHER_SERVER, 21));
        net.c("PORT 10,0,0,6,19,137\r\n");
        net.server_gets(PORT_OUT);
        net.s("200 ok\r\n");
        let there = net.syn(Side::Outside, at(OTHER_SERVER, 20), at(OUTSIDE, 5001)).expect("the second's");
        assert_eq!(there.dst, at(OTHER_CLIENT, 5001));
        let there = net.active(20, 5001).expect("the first's");
        assert_eq!(there.dst, at(CLIENT, 5001));
    });
}

#[test]
fn e18_the_65th_announcement_of_one_client_is_refused() {
    for way in WAYS {
        let mut setup = Setup::new(Standard).way(way);
        setup.settings.limits.sessions_per_client = 100;
        let mut net = Net::new(&setup);
        net.log_in();
        for n in 0..65 {
            if n > 0 {
                join(&mut net, at(CLIENT, 41_000 + n), at(SERVER, 21));
            }
            net.c("PASV\r\n");
            net.server_gets("PASV\r\n");
            net.s(format!("227 Entering Passive Mode (198,51,100,7,200,{n}).\r\n"));
            if n < 64 {
                net.client_gets(format!("227 Entering Passive Mode (198,51,100,7,200,{n}).\r\n"));
            } else {
                net.client_gets_code(&["425"]);
                assert_eq!(net.passive(50_000, 51_200 + n), None);
                net.lives();
            }
            net.conns[net.on].client.closes = false;
        }
        for n in 0..64 {
            assert!(net.passive(50_100 + n, 51_200 + n).is_some(), "{n}");
        }
        // One of the others is gone, so there is room.
        net.c("PASV\r\n");
        net.server_gets("PASV\r\n");
        net.s("227 Entering Passive Mode (198,51,100,7,201,1).\r\n");
        net.client_gets("227 Entering Passive Mode (198,51,100,7,201,1).\r\n");
    }
}

#[test]
fn e19_ports_of_other_services_are_denied() {
    for port in [3306_u16, 22, 80, 1023, 8080, 5905] {
        let line = format!("PORT 10,0,0,5,{},{}\r\n", port >> 8, port & 255);
        case(Standard, |net| {
            _ = refused(net, &line, &["504"]);
            net.nothing_is_open(&[port]);
        });
    }
}

#[test]
fn e20_a_server_that_names_such_a_port_has_none() {
    for port in [22_u16, 3306, 1023] {
        case(Standard, |net| {
            net.c("PASV\r\n");
            net.server_gets("PASV\r\n");
            net.s(format!("227 Entering Passive Mode (198,51,100,7,{},{}).\r\n", port >> 8, port & 255));
            net.client_gets_code(&["425"]);
            net.nothing_is_open(&[port]);
            net.lives();
        });
        case(Standard, |net| {
            net.c("EPSV\r\n");
            net.server_gets("EPSV\r\n");
            net.s(format!("229 Entering Extended Passive Mode (|||{port}|)\r\n"));
            net.client_gets_code(&["425"]);
            net.nothing_is_open(&[port]);
            net.lives();
        });
    }
}

#[test]
fn e21_another_hosts_address_is_refused_and_counted() {
    for line in ["PORT 192,0,2,99,19,137\r\n", "EPRT |1|192.0.2.99|5001|\r\n"] {
        case(Standard, |net| {
            let before: u64 = net.fw.counters().iter().map(|c| c.1).sum();
            _ = refused(net, line, &["501", "504"]);
            assert_eq!(net.syn(Side::Outside, at(STRANGER, 20), at(OUTSIDE, 5001)), None);
            assert_eq!(net.syn(Side::Outside, at(SERVER, 20), at(STRANGER, 5001)), None);
            let after: u64 = net.fw.counters().iter().map(|c| c.1).sum();
            assert!(after > before);
            assert!(net.counter("foreign") > 0 || net.counter("bounce") > 0, "{:?}", net.fw.counters());
        });
    }
}

/// A server inside has an outside address, which everybody may connect to.
pub(crate) fn published(s: &mut Setup) {
    let (SocketAddr::V4(outside), SocketAddr::V4(inside)) = (at(PUBLISHED, 21), at(INSIDE_SERVER, 21)) else {
        unreachable!()
    };
    s.settings.nat.forwards.push(Forward { protocol: Protocol::Tcp, outside, inside });
    s.settings.filter.rules.push(Rule {
        name: "inside".into(),
        action: Action::Allow,
        from: None,
        protocol: Protocol::Tcp,
        source: Vec::new(),
        destination: Vec::new(),
        ports: vec![21..=21],
    });
}

/// A client and a server inside, by an outside address of the server: the server is told the client's inside address,
/// and reaches it without us.
#[test]
fn e23_both_ends_inside() {
    for way in WAYS {
        let mut setup = Setup::new(Standard).way(way);
        published(&mut setup);
        let mut net = Net::empty(&setup);
        let manners = (setup.client_manner.clone(), setup.server_manner.clone());
        assert!(
            net.open((Side::Inside, setup.client), (Side::Inside, at(PUBLISHED, 21)), manners),
            "the hairpin"
        );
        net.log_in();
        net.c(PORT);
        net.server_gets(PORT);
        net.s("200 ok\r\n");
        net.client_gets("200 ok\r\n");
        net.finish();
    }
}
