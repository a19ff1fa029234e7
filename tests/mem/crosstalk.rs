//! Sessions of one client with one server share a handful of data ports: none ever gets another's connection.

use crate::support::*;
use smoltcp::socket::tcp::State;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use tidegate::session::{ServerMode, UpstreamSource};
use tidegate::time::Duration;

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// Two sessions of one client, a file for each, and a bystander of another client.
fn two(by: Meeting) -> (World, Ctl, Ctl, Bystander) {
    let mut o = Options { clients: 2, ..by.options() };
    o.server.files.insert("a".into(), b"what A wants".repeat(300));
    o.server.files.insert("b".into(), b"B's own text".repeat(300));
    let mut w = World::new(o);
    let (a, b) = (w.login(0, 5001), w.login(0, 5002));
    let mut other = Bystander::new(&mut w, 1, 5003);
    while !other.reads() {
        w.settle();
        other.step(&mut w);
    }
    (w, a, b, other)
}

/// A late connection of A's is reset as the server's port, at once, and nothing else happens.
fn late(w: &mut World, a: &mut Ctl, to: SocketAddr) {
    let (late, returned) = (w.counter("late_syns"), w.counter("returned"));
    w.watch();
    let d = w.data(a, to);
    w.settle();
    assert_eq!(w.hosts[0].state(d), State::Closed);
    let resets: Vec<Tcp6> = w.segments_any(Hop::ToHost(0)).into_iter().filter(|t| t.flags & 4 != 0).collect();
    assert_eq!((resets.len(), resets[0].src, resets[0].flags), (1, to, 0x14));
    let heard = w.segments_any(Hop::ToHost(1)).iter().any(|t| t.dst.port() == to.port());
    assert!(!heard, "the server heard of it");
    assert_eq!((w.counter("late_syns"), w.counter("returned")), (late + 1, returned));
}

/// B's transfer, from the announcement that it has, with A's late connection in its very middle.
fn undisturbed(w: &mut World, a: &mut Ctl, old: SocketAddr, b: &mut Ctl, to: SocketAddr) {
    assert_ne!(old.port(), to.port(), "B was given what A may still use");
    late(w, a, old);
    let d = w.data(b, to);
    w.settle();
    late(w, a, old);
    assert_eq!(&w.cmd(b, "RETR b")[..3], "150");
    late(w, a, old);
    assert_eq!(w.read_all(b, d), b"B's own text".repeat(300));
    assert_eq!(&w.reply(b)[..3], "226");
}

#[test]
fn a_connection_that_comes_when_its_time_is_over_is_reset_and_not_anothers() {
    for by in Meeting::ALL {
        let (mut w, mut a, mut b, mut other) = two(by);
        let old = w.passive_any(&mut a, by.passive());
        for _ in 0..20 {
            w.pass(Duration::from_millis(800));
            other.step(&mut w);
        }
        let to = w.passive_any(&mut b, "EPSV");
        undisturbed(&mut w, &mut a, old, &mut b, to);
        // A itself is well, too.
        assert_eq!(w.fetch(&mut a, by.passive(), "RETR a"), b"what A wants".repeat(300));
        other.finish(&mut w);
    }
}

#[test]
fn a_superseded_announcement_is_not_anothers_either() {
    for by in Meeting::ALL {
        let (mut w, mut a, mut b, mut other) = two(by);
        let old = w.passive_any(&mut a, by.passive());
        let new = w.passive_any(&mut a, "EPSV");
        let to = w.passive_any(&mut b, by.passive());
        assert_eq!(BTreeSet::from([old, new, to]).len(), 3);
        other.step(&mut w);
        undisturbed(&mut w, &mut a, old, &mut b, to);
        let d = w.data(&mut a, new);
        assert_eq!(&w.cmd(&mut a, "RETR a")[..3], "150");
        assert_eq!(w.read_all(&a, d), b"what A wants".repeat(300));
        assert_eq!(&w.reply(&mut a)[..3], "226");
        other.finish(&mut w);
    }
}

#[test]
fn a_session_that_ended_leaves_its_announcement_to_nobody() {
    for (by, end) in Meeting::ALL.into_iter().flat_map(|by| ["QUIT", "reset"].map(|end| (by, end))) {
        let (mut w, mut a, mut b, mut other) = two(by);
        let old = w.passive_any(&mut a, by.passive());
        match end {
            "QUIT" => assert_eq!(&w.cmd(&mut a, "QUIT")[..3], "221"),
            _ => w.hosts[0].socket(a.socket).abort(),
        }
        let socket = a.socket;
        w.hosts[0].socket(socket).close();
        w.pass(secs(1));
        assert_eq!(w.sessions(), 2, "{end}");
        let to = w.passive_any(&mut b, by.passive());
        undisturbed(&mut w, &mut a, old, &mut b, to);
        other.finish(&mut w);
    }
}

#[test]
fn when_every_port_of_a_pair_is_abandoned_active_works_and_passive_comes_back_and_others_notice_nothing() {
    for by in Meeting::ALL {
        let mut o = Options { clients: 2, ..by.options() };
        o.server.files.insert("b".into(), b"B's own text".repeat(300));
        let mut w = World::new(o);
        let mut other = Bystander::new(&mut w, 1, 5300);
        let evil = w.hosts.len();
        w.hosts.push(Host::new(EVIL, 1, 66));
        let mut b = w.login(0, 5100);
        let abandoned = w.now;
        let mut silent: Vec<Ctl> = (0..6).map(|n| w.login(0, 5200 + n)).collect();
        let ports: Vec<SocketAddr> = silent.iter_mut().map(|c| w.passive_any(c, by.passive())).collect();
        assert_eq!(
            ports.iter().map(|p| p.port()).collect::<BTreeSet<_>>(),
            PORTS[2..].iter().copied().collect()
        );
        // While they are announced, and when their time is over: 425 after `steer_wait`, and PORT works.
        for silence in [1, 16] {
            for _ in 0..silence * 10 {
                w.pass(Duration::from_millis(100));
                other.step(&mut w);
            }
            let asked = w.now;
            let reply = w.cmd(&mut b, by.passive());
            assert!(
                reply.starts_with("425 No data connection: all data ports of this pair are busy"),
                "{reply}"
            );
            let took = w.now.since(asked);
            assert!((secs(5)..Duration::from_millis(5300)).contains(&took), "{took:?}");
            let d = w.active(&mut b, "PORT");
            assert_eq!(&w.cmd(&mut b, "RETR b")[..3], "150");
            assert_eq!(w.read_all(&b, d), b"B's own text".repeat(300));
            assert_eq!(&w.reply(&mut b)[..3], "226");
            // The same client with another server, and another client with this one, are other pairs.
            let (asked, done) = (w.now, other.done);
            let s = w.hosts[evil].listen(21);
            let mut c = w.connect_at(0, 5400 + silence as u16, w.at(evil, 21));
            w.settle();
            w.hosts[evil].write(s, b"220 hi\r\n");
            assert_eq!(w.reply(&mut c), "220 hi\r\n");
            w.send(&c, b"USER u\r\n");
            w.settle();
            w.hosts[evil].write(s, b"230 in\r\n");
            assert_eq!(w.reply(&mut c), "230 in\r\n");
            w.send(&c, format!("{}\r\n", by.passive()).as_bytes());
            w.settle();
            w.hosts[evil].write(s, b"229 (|||51210|)\r\n");
            assert!(w.reply(&mut c).starts_with(by.told_passive()));
            other.pace = usize::MAX;
            while other.done < done + 2 {
                w.pass(Duration::from_micros(100));
                other.step(&mut w);
            }
            assert!(w.now.since(asked) < Duration::from_millis(500));
            w.hosts[0].socket(c.socket).abort();
        }
        // Every late connection is reset as long as its port rests.
        for (c, to) in silent.iter_mut().zip(&ports) {
            late(&mut w, c, *to);
        }
        // Passive works again when they have rested: within `steer_timeout` and `quarantine`, and the wait for it.
        let again = loop {
            let reply = w.cmd(&mut b, by.passive());
            if let Some(to) = passive_of(&reply) {
                break to;
            }
            assert!(reply.starts_with("425"), "{reply}");
            other.step(&mut w);
            assert!(w.now.since(abandoned) < secs(15 + 60 + 1), "passive does not come back");
        };
        let after = w.now.since(abandoned);
        assert!((secs(74)..secs(76)).contains(&after), "{after:?}");
        let to = w.at(w.server_host, again.port());
        let d = w.data(&mut b, to);
        assert_eq!(&w.cmd(&mut b, "RETR b")[..3], "150");
        assert_eq!(w.read_all(&b, d), b"B's own text".repeat(300));
        other.finish(&mut w);
    }
}

/// A world where servers see clients, with two files.
fn spoofed(mode: ServerMode) -> World {
    let mut o = Meeting::Spoofed.options();
    o.service.server_mode = mode;
    o.server.files.insert("a".into(), b"what A wants".repeat(3000));
    o.server.files.insert("b".into(), b"B's own text".repeat(3000));
    World::new(o)
}

/// The last SYN at a hop but those of control connections.
fn last_syn(w: &World, hop: Hop) -> Tcp {
    let all = w.segments(hop);
    all.into_iter().rfind(|t| t.flags == 2 && t.dst.port() != 21).unwrap()
}

#[test]
fn both_legs_of_a_data_connection_may_show_the_same_ends() {
    for line in ["RETR a", "STOR up"] {
        let mut w = spoofed(ServerMode::Passive);
        // The server listens where the client is told to connect, and we speak from the client's own port.
        w.server.ports = PORTS[2] - 1;
        w.watch();
        let mut c = w.login(0, 5001);
        let to = w.passive(&mut c, "PASV");
        let d = w.data(&mut c, to);
        assert_eq!(&w.cmd(&mut c, line)[..3], "150");
        if line == "RETR a" {
            assert!(w.read_all(&c, d) == b"what A wants".repeat(3000));
        } else {
            w.write_all(&c, d, &b"and gives".repeat(4000));
        }
        assert_eq!(&w.reply(&mut c)[..3], "226");
        let (first, second) = (last_syn(&w, Hop::FromHost(0)), last_syn(&w, Hop::ToHost(1)));
        assert_eq!((first.src, first.dst), (second.src, second.dst));
        assert_eq!(w.counter("translated"), 1);
        if line == "STOR up" {
            assert!(w.server.conf.files["up"] == b"and gives".repeat(4000));
        }
        w.pass(secs(30));
        assert_eq!((w.remains(), w.table.len()), ((0, 0, 0), 2), "nothing but the control connection");
    }
}

#[test]
fn an_active_client_may_listen_where_the_server_was_told_to_connect() {
    let mut named = 5900;
    for chosen in [false, true] {
        let mut w = spoofed(ServerMode::Active);
        w.watch();
        let mut c = w.login(0, 5001);
        let (host, port) = (c.host, if chosen { named } else { c.fresh_port() });
        let d = w.hosts[host].listen(port);
        let line = w.names(host, port);
        assert_eq!(&w.cmd(&mut c, &line)[..3], "200");
        assert_eq!(&w.cmd(&mut c, "RETR a")[..3], "150");
        assert!(w.read_all(&c, d) == b"what A wants".repeat(3000));
        assert_eq!(&w.reply(&mut c)[..3], "226");
        let (first, second) = (last_syn(&w, Hop::FromHost(1)), last_syn(&w, Hop::ToHost(0)));
        assert_eq!((first.src, first.dst) == (second.src, second.dst), chosen, "{first:?} {second:?}");
        named = first.dst.port();
    }
}

#[test]
fn one_sessions_client_leg_may_show_the_ends_of_anothers_server_leg() {
    // We speak for A with the server's own port from a port of the client's, from which B connects to the same.
    let mut from = None;
    for chosen in [false, true] {
        let mut w = spoofed(ServerMode::Passive);
        w.server.ports = PORTS[2];
        w.watch();
        let (mut a, mut b) = (w.login(0, 5001), w.login(0, 5002));
        let (to_a, to_b) = (w.passive(&mut a, "PASV"), w.passive(&mut b, "PASV"));
        let da = w.data(&mut a, to_a);
        w.settle();
        let server_leg = last_syn(&w, Hop::ToHost(1));
        assert_eq!(server_leg.dst, to_b, "B is told to connect where A is connected to");
        let port = from.unwrap_or_else(|| b.fresh_port());
        let db = w.hosts[0].connect(port, to_b);
        w.settle();
        let client_leg = last_syn(&w, Hop::FromHost(0));
        assert_eq!(client_leg.src == server_leg.src, chosen);
        from = Some(server_leg.src.port());
        assert_eq!(&w.cmd(&mut b, "RETR b")[..3], "150");
        assert_eq!(&w.cmd(&mut a, "RETR a")[..3], "150");
        assert!(w.read_all(&b, db) == b"B's own text".repeat(3000));
        assert!(w.read_all(&a, da) == b"what A wants".repeat(3000));
        assert_eq!((&w.reply(&mut a)[..3], &w.reply(&mut b)[..3]), ("226", "226"));
    }
}

#[test]
fn a_server_that_comes_late_meets_no_other_session() {
    for source in [UpstreamSource::Own, UpstreamSource::Client] {
        let mut o = if source == UpstreamSource::Own { Meeting::Gre } else { Meeting::Spoofed }.options();
        o.service.server_mode = ServerMode::Active;
        let mut d = Duel::logged_in_with(o);
        let named = |d: &mut Duel| -> SocketAddr {
            d.line("PASV");
            let heard = d.heard();
            let n: Vec<u16> = heard.trim_end()[5..].split(',').map(|n| n.parse().unwrap()).collect();
            d.server(b"200 ok\r\n");
            let own = if source == UpstreamSource::Own { GATEWAY.into() } else { d.w.at(1, 0).ip() };
            (own, n[4] << 8 | n[5]).into()
        };
        let old = named(&mut d);
        d.told();
        let new = named(&mut d);
        let to = d.told_where();
        assert_ne!(old, new, "a port was named again at once");
        let evil = d.evil;
        let data = d.w.hosts[1].connect(7000, to);
        d.pass(secs(1));
        d.w.watch();
        let late = d.w.hosts[evil].connect(20, old);
        d.pass(secs(1));
        assert_eq!(d.w.hosts[evil].state(late), State::Closed, "{source:?}");
        let from = d.evil_at(20);
        assert!(
            d.w.segments_any(Hop::FromGateway)
                .iter()
                .all(|t| t.src != from || t.flags & 2 == 0 || t.dst == old)
        );
        // The one that is waited for is the newer one's.
        d.line("RETR f");
        let here = d.w.hosts[evil].connect(20, new);
        d.server(b"150 here\r\n");
        d.pass(secs(1));
        assert_eq!(d.w.hosts[evil].write(here, b"of the newer one"), 16);
        d.pass(secs(1));
        assert_eq!(d.w.hosts[1].read(data), b"of the newer one", "{source:?}");
        d.w.hosts[evil].socket(here).close();
        d.w.hosts[1].socket(data).close();
        d.server(b"226 done\r\n");
        d.pass(secs(1));
        d.over();
    }
}

#[test]
fn what_we_say_on_one_leg_is_not_heard_on_the_other_however_late_it_comes_around() {
    let mut w = spoofed(ServerMode::Passive);
    w.watch();
    let mut c = w.login(0, 5001);
    let said = |w: &World, what: &[u8]| {
        let ours = |(h, p): &&(Hop, Vec<u8>)| {
            *h == Hop::FromGateway && tcp_of(p).is_some_and(|t| t.payload.starts_with(what))
        };
        w.seen.iter().flatten().find(ours).unwrap().1.clone()
    };
    // As the client, and as the server; a router brings it back when we have long forgotten the packet itself.
    let around = [(0, said(&w, b"PASS")), (1, said(&w, b"230"))];
    w.pass(secs(3));
    for (n, (leg, packet)) in around.into_iter().enumerate() {
        w.watch();
        w.host_sends(leg, &packet);
        w.settle();
        assert_eq!(w.counter("drop_loop"), n as u64 + 1, "leg {leg}");
        assert!(w.segments(Hop::FromGateway).is_empty(), "leg {leg}: it was answered");
    }
    assert_eq!(w.fetch(&mut c, "PASV", "RETR a"), b"what A wants".repeat(3000));
}
