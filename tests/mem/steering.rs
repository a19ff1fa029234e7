//! Which port a 227 names, and what becomes of a port whose connection does not come.

use crate::support::*;
use smoltcp::socket::tcp::State;
use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use tidegate::event::What;
use tidegate::session::ServerMode;
use tidegate::time::Duration;

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// Sessions of client 0, each with an announced port of its own.
fn all_busy(w: &mut World, n: u16) -> Vec<(Ctl, SocketAddrV4)> {
    (0..n)
        .map(|i| {
            let mut c = w.login(0, 5201 + i);
            let to = w.passive(&mut c, if i % 2 == 0 { "PASV" } else { "EPSV" });
            (c, to)
        })
        .collect()
}

#[test]
fn each_pairs_ports_are_busy_until_their_syn_and_then_whoever_waits_gets_one() {
    let mut w = World::new(Options { clients: 2, ..Options::default() });
    let mut busy = all_busy(&mut w, 6);
    let ports: BTreeSet<u16> = busy.iter().map(|(_, to)| to.port()).collect();
    assert_eq!(ports, PORTS[2..].iter().copied().collect());
    let mut seventh = w.login(0, 5100);
    w.send(&seventh, b"PASV\r\nNOOP\r\n");
    w.pass(secs(2));
    assert_eq!(w.poll_reply(&mut seventh), None, "the reply waits, and those behind it");
    // Another client is another pair.
    let mut other = w.login(1, 5101);
    w.passive(&mut other, "PASV");
    let (mut first, to) = busy.remove(2);
    let d = w.data(&mut first, to);
    let granted = w.reply(&mut seventh);
    assert!(
        granted.starts_with(&format!(
            "227 Entering Passive Mode (10,1,0,10,{},{})",
            to.port() >> 8,
            to.port() & 255
        )),
        "{granted}"
    );
    assert_eq!(&w.reply(&mut seventh)[..3], "200");
    assert_eq!(&w.cmd(&mut first, "LIST")[..3], "150");
    w.read_all(&first, d);
    let d = w.data(&mut seventh, to);
    assert_eq!(&w.cmd(&mut seventh, "LIST")[..3], "150");
    w.read_all(&seventh, d);
    assert_eq!((w.counter("steered"), w.counter("waited"), w.counter("refused")), (8, 1, 0));
}

#[test]
fn who_waits_in_vain_gets_425_and_may_use_port() {
    let mut w = World::new(Options::default());
    let _busy = all_busy(&mut w, 6);
    let mut c = w.login(0, 5100);
    let asked = w.now;
    let reply = w.cmd(&mut c, "EPSV");
    assert!(reply.starts_with("425 "), "{reply}");
    let took = w.now.since(asked);
    assert!((secs(5)..secs(6)).contains(&took), "{took:?}");
    let d = w.active(&mut c, "PORT");
    assert_eq!(&w.cmd(&mut c, "LIST")[..3], "150");
    w.read_all(&c, d);
    assert_eq!(&w.reply(&mut c)[..3], "226");
    assert_eq!((w.counter("steered"), w.counter("waited"), w.counter("refused")), (6, 1, 1));
}

#[test]
fn a_server_that_connects_is_waited_for_from_the_announcement_on_however_late_that_is() {
    for by in Meeting::ALL {
        let mut o = by.options();
        o.service.server_mode = ServerMode::Active;
        o.server.files.insert("f".into(), vec![7; 5000]);
        (o.timers.data_wait, o.timers.quarantine) = (secs(3), Duration::from_millis(2500));
        let mut w = World::new(o);
        let mut busy: Vec<Ctl> = (0..6).map(|n| w.login(0, 5201 + n)).collect();
        for c in &mut busy {
            w.passive_any(c, by.passive());
        }
        let mut c = w.login(0, 5100);
        w.pass(secs(2));
        // The others' announcements expire in a second, and their ports rest: longer than a server is waited for.
        let asked = w.now;
        let to = w.passive_any(&mut c, by.passive());
        let took = w.now.since(asked);
        assert!((Duration::from_millis(3400)..secs(4)).contains(&took), "{by:?} {took:?}");
        w.pass(secs(1));
        let d = w.data(&mut c, to);
        assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150", "{by:?}");
        assert!(w.read_all(&c, d) == vec![7; 5000]);
        assert_eq!(&w.reply(&mut c)[..3], "226");
        assert_eq!((w.counter("waited"), w.counter("refused")), (1, 0));
    }
}

#[test]
fn waiters_are_served_in_order() {
    let mut w = World::new(Options::default());
    let mut busy = all_busy(&mut w, 6);
    let (mut a, mut b) = (w.login(0, 5100), w.login(0, 5101));
    w.send(&a, b"PASV\r\n");
    w.settle();
    w.send(&b, b"PASV\r\n");
    w.settle();
    for n in 0..2 {
        let (mut c, to) = busy.remove(0);
        w.data(&mut c, to);
        w.pass(Duration::from_millis(100));
        let got = (w.poll_reply(&mut a).is_some(), w.poll_reply(&mut b).is_some());
        assert_eq!(got, (n == 0, n == 1));
        busy.push((c, to));
    }
}

#[test]
fn a_superseded_ports_late_syn_is_reset_and_never_anothers() {
    let mut w = World::new(Options::default());
    let mut c = w.login(0, 5001);
    let old = w.passive(&mut c, "PASV");
    let new = w.passive(&mut c, "PASV");
    assert_ne!(old.port(), new.port());
    w.watch();
    let late = w.data(&mut c, old);
    w.pass(secs(1));
    assert_eq!(w.hosts[0].state(late), State::Closed);
    let rst = w.segments(Hop::ToHost(0)).into_iter().find(|t| t.flags & 4 != 0).unwrap();
    assert_eq!((rst.src, rst.flags), (old, 0x14));
    assert_eq!(w.counter("late_syns"), 1);
    assert!(w.segments(Hop::ToHost(1)).iter().all(|t| t.flags != 2), "the SYN went on");
    // Nobody is told that port while it rests; five others are.
    let told: BTreeSet<u16> = all_busy(&mut w, 4).iter().map(|(_, to)| to.port()).collect();
    assert!(!told.contains(&old.port()) && told.len() == 4);
    let d = w.data(&mut c, new);
    assert_eq!(&w.cmd(&mut c, "LIST")[..3], "150");
    w.read_all(&c, d);
}

#[test]
fn a_port_whose_syn_does_not_come_expires_rests_and_comes_back() {
    let mut w = World::new(Options::default());
    let mut c = w.login(0, 5001);
    let to = w.passive(&mut c, "PASV");
    w.pass(secs(16));
    let told = w.told(|e| match e {
        What::Expectation { state: "expired", client_side, .. } => Some(*client_side),
        _ => None,
    });
    assert_eq!(told, [std::net::SocketAddr::V4(to)]);
    let late = w.data(&mut c, to);
    w.pass(secs(1));
    assert_eq!(
        (w.hosts[0].state(late), w.counter("late_syns"), w.counter("returned")),
        (State::Closed, 1, 0)
    );
    w.pass(secs(60));
    let unknown = w.data(&mut c, to);
    w.pass(secs(1));
    assert_eq!(
        (w.hosts[0].state(unknown), w.counter("late_syns"), w.counter("returned")),
        (State::Closed, 1, 1)
    );
    assert_eq!(&w.cmd(&mut c, "NOOP")[..3], "200");
}

#[test]
fn abor_port_and_the_sessions_end_withdraw_an_announcement() {
    let mut w = World::new(Options::default());
    let mut late = 0;
    for (n, line) in ["ABOR", "PORT 10,0,0,10,100,1", "EPSV", "QUIT"].into_iter().enumerate() {
        let mut c = w.login(0, 5001 + n as u16);
        let to = w.passive(&mut c, "PASV");
        w.cmd(&mut c, line);
        if line == "QUIT" {
            let s = c.socket;
            w.hosts[0].socket(s).close();
            w.pass(secs(1));
        }
        let d = w.data(&mut c, to);
        w.pass(Duration::from_millis(200));
        late += 1;
        assert_eq!((w.hosts[0].state(d), w.counter("late_syns")), (State::Closed, late), "{line}");
    }
}

#[test]
fn the_least_recently_used_port_comes_first() {
    let mut w = World::new(Options::default());
    let mut c = w.login(0, 5001);
    let mut used = Vec::new();
    for _ in 0..8 {
        let to = w.passive(&mut c, "EPSV");
        let d = w.data(&mut c, to);
        assert_eq!(&w.cmd(&mut c, "LIST")[..3], "150");
        w.read_all(&c, d);
        assert_eq!(&w.reply(&mut c)[..3], "226");
        used.push(to.port());
    }
    assert_eq!(used[..2], used[6..]);
    assert_eq!(used.iter().collect::<BTreeSet<_>>().len(), 6);
}

#[test]
fn counters_are_of_all_services() {
    let mut o = Options::default();
    o.service.data_ports = vec![2020, 2021];
    o.more = vec![tidegate::session::Service {
        name: "second".into(),
        ports: vec![2025],
        data_ports: vec![2022],
        ..o.service.clone()
    }];
    o.server.second_port = Some(2025);
    let mut w = World::new(o);
    let mut c = w.login(0, 5001);
    let first = [w.passive(&mut c, "PASV").port(), w.passive(&mut c, "PASV").port()];
    assert_eq!(first, [2020, 2021]);
    let mut c = w.connect_to(0, 5002, 2025);
    assert_eq!(&w.reply(&mut c)[..3], "220");
    w.cmd(&mut c, "USER u");
    w.cmd(&mut c, "PASS p");
    assert_eq!(w.passive(&mut c, "PASV").port(), 2022);
    assert_eq!((w.counter("steered"), w.counter("refused")), (3, 0));
}

#[test]
fn a_strangers_syn_to_an_announced_port_opens_nothing() {
    let mut w = World::new(Options { clients: 2, ..Options::default() });
    let (mut a, mut b) = (w.login(0, 5001), w.login(1, 5002));
    let to = w.passive(&mut a, "PASV");
    let theirs = w.data(&mut b, to);
    w.pass(secs(1));
    assert_eq!(w.hosts[1].state(theirs), State::Closed);
    assert_eq!((w.counter("translated"), w.counter("returned")), (0, 1));
    let d = w.data(&mut a, to);
    assert_eq!(&w.cmd(&mut a, "LIST")[..3], "150");
    w.read_all(&a, d);
}
