//! Sessions of one client with one server share a handful of data ports: none ever gets another's connection.

use crate::support::*;
use smoltcp::socket::tcp::State;
use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use tidegate::time::Duration;

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// Two sessions of one client, a file for each, and a bystander of another client.
fn two() -> (World, Ctl, Ctl, Bystander) {
    let mut o = Options { clients: 2, ..Options::default() };
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
fn late(w: &mut World, a: &mut Ctl, to: SocketAddrV4) {
    let (late, returned) = (w.counter("late_syns"), w.counter("returned"));
    w.watch();
    let d = w.data(a, to);
    w.settle();
    assert_eq!(w.hosts[0].state(d), State::Closed);
    let resets: Vec<Tcp> = w.segments(Hop::ToHost(0)).into_iter().filter(|t| t.flags & 4 != 0).collect();
    assert_eq!((resets.len(), resets[0].src, resets[0].flags), (1, to, 0x14));
    let heard = w.segments(Hop::ToHost(1)).iter().any(|t| t.dst.port() == to.port());
    assert!(!heard, "the server heard of it");
    assert_eq!((w.counter("late_syns"), w.counter("returned")), (late + 1, returned));
}

/// B's transfer, from the announcement that it has, with A's late connection in its very middle.
fn undisturbed(w: &mut World, a: &mut Ctl, old: SocketAddrV4, b: &mut Ctl, to: SocketAddrV4) {
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
    let (mut w, mut a, mut b, mut other) = two();
    let old = w.passive(&mut a, "PASV");
    for _ in 0..20 {
        w.pass(Duration::from_millis(800));
        other.step(&mut w);
    }
    let to = w.passive(&mut b, "EPSV");
    undisturbed(&mut w, &mut a, old, &mut b, to);
    // A itself is well, too.
    assert_eq!(w.fetch(&mut a, "PASV", "RETR a"), b"what A wants".repeat(300));
    other.finish(&mut w);
}

#[test]
fn a_superseded_announcement_is_not_anothers_either() {
    let (mut w, mut a, mut b, mut other) = two();
    let old = w.passive(&mut a, "PASV");
    let new = w.passive(&mut a, "EPSV");
    let to = w.passive(&mut b, "PASV");
    assert_eq!(BTreeSet::from([old, new, to]).len(), 3);
    other.step(&mut w);
    undisturbed(&mut w, &mut a, old, &mut b, to);
    let d = w.data(&mut a, new);
    assert_eq!(&w.cmd(&mut a, "RETR a")[..3], "150");
    assert_eq!(w.read_all(&a, d), b"what A wants".repeat(300));
    assert_eq!(&w.reply(&mut a)[..3], "226");
    other.finish(&mut w);
}

#[test]
fn a_session_that_ended_leaves_its_announcement_to_nobody() {
    for end in ["QUIT", "reset"] {
        let (mut w, mut a, mut b, mut other) = two();
        let old = w.passive(&mut a, "PASV");
        match end {
            "QUIT" => assert_eq!(&w.cmd(&mut a, "QUIT")[..3], "221"),
            _ => w.hosts[0].socket(a.socket).abort(),
        }
        let socket = a.socket;
        w.hosts[0].socket(socket).close();
        w.pass(secs(1));
        assert_eq!(w.sessions(), 2, "{end}");
        let to = w.passive(&mut b, "PASV");
        undisturbed(&mut w, &mut a, old, &mut b, to);
        other.finish(&mut w);
    }
}

#[test]
fn when_every_port_of_a_pair_is_abandoned_active_works_and_passive_comes_back_and_others_notice_nothing() {
    let mut o = Options { clients: 2, ..Options::default() };
    o.server.files.insert("b".into(), b"B's own text".repeat(300));
    let mut w = World::new(o);
    let mut other = Bystander::new(&mut w, 1, 5300);
    let evil = w.hosts.len();
    w.hosts.push(Host::new(EVIL, 1, 66));
    let mut b = w.login(0, 5100);
    let abandoned = w.now;
    let mut silent: Vec<Ctl> = (0..6).map(|n| w.login(0, 5200 + n)).collect();
    let ports: Vec<SocketAddrV4> = silent.iter_mut().map(|c| w.passive(c, "PASV")).collect();
    assert_eq!(ports.iter().map(|p| p.port()).collect::<BTreeSet<_>>(), PORTS[2..].iter().copied().collect());
    // While they are announced, and when their time is over: 425 after `steer_wait`, and PORT works.
    for silence in [1, 16] {
        for _ in 0..silence * 10 {
            w.pass(Duration::from_millis(100));
            other.step(&mut w);
        }
        let asked = w.now;
        let reply = w.cmd(&mut b, "PASV");
        assert!(reply.starts_with("425 No data connection: all data ports of this pair are busy"), "{reply}");
        let took = w.now.since(asked);
        assert!((secs(5)..Duration::from_millis(5300)).contains(&took), "{took:?}");
        let d = w.active(&mut b, "PORT");
        assert_eq!(&w.cmd(&mut b, "RETR b")[..3], "150");
        assert_eq!(w.read_all(&b, d), b"B's own text".repeat(300));
        assert_eq!(&w.reply(&mut b)[..3], "226");
        // The same client with another server, and another client with this one, are other pairs.
        let (asked, done) = (w.now, other.done);
        let s = w.hosts[evil].listen(21);
        let mut c = w.connect_at(0, 5400 + silence as u16, SocketAddrV4::new(EVIL, 21));
        w.settle();
        w.hosts[evil].write(s, b"220 hi\r\n");
        assert_eq!(w.reply(&mut c), "220 hi\r\n");
        w.send(&c, b"USER u\r\n");
        w.settle();
        w.hosts[evil].write(s, b"230 in\r\n");
        assert_eq!(w.reply(&mut c), "230 in\r\n");
        w.send(&c, b"PASV\r\n");
        w.settle();
        w.hosts[evil].write(s, b"229 (|||51210|)\r\n");
        assert!(w.reply(&mut c).starts_with("227 Entering Passive Mode (10,1,0,66,"));
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
        let reply = w.cmd(&mut b, "PASV");
        if let Some(to) = passive_of(&reply) {
            break to;
        }
        assert!(reply.starts_with("425"), "{reply}");
        other.step(&mut w);
        assert!(w.now.since(abandoned) < secs(15 + 60 + 1), "passive does not come back");
    };
    let after = w.now.since(abandoned);
    assert!((secs(74)..secs(76)).contains(&after), "{after:?}");
    let d = w.data(&mut b, again);
    assert_eq!(&w.cmd(&mut b, "RETR b")[..3], "150");
    assert_eq!(w.read_all(&b, d), b"B's own text".repeat(300));
    other.finish(&mut w);
}
