//! What one client may have of what all share: beyond it that client goes without, and nobody else.

use crate::support::*;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use tidegate::event::What;
use tidegate::session::{ServerMode, UpstreamSource};
use tidegate::time::Duration;

fn content() -> Vec<u8> {
    vec![7; 3_000_000]
}

/// Four relays in all, two of them for one client.
fn few_relays(mode: ServerMode) -> Options {
    let mut o = Options { clients: 4, ..Options::default() };
    o.service.server_mode = mode;
    (o.limits.relays, o.limits.relays_per_client) = (4, 2);
    o.server.files.insert("f".into(), content());
    o
}

/// Sets up what this server mode relays, and connects.
#[track_caller]
fn open(w: &mut World, c: &mut Ctl, mode: ServerMode) -> SocketHandle {
    if mode == ServerMode::Passive {
        return w.active(c, "PORT");
    }
    let to = w.passive(c, "EPSV");
    w.data(c, to)
}

/// A download that is begun and not read: a relay that lives.
#[track_caller]
fn begin(w: &mut World, client: usize, port: u16, mode: ServerMode) -> (Ctl, SocketHandle) {
    let mut c = w.login(client, port);
    let d = open(w, &mut c, mode);
    assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
    (c, d)
}

/// What a client hears that wants one more.
#[track_caller]
fn one_more(w: &mut World, client: usize, port: u16, mode: ServerMode) -> String {
    let mut c = w.login(client, port);
    let reply = match mode {
        ServerMode::Passive => {
            w.active(&mut c, "PORT");
            w.cmd(&mut c, "RETR f")
        }
        _ => w.cmd(&mut c, "EPSV"),
    };
    assert_eq!(&w.cmd(&mut c, "NOOP")[..3], "200", "the session lives");
    reply
}

#[test]
fn a_client_that_holds_its_relays_gets_425_and_others_go_on() {
    for mode in [ServerMode::Passive, ServerMode::Active] {
        let mut w = World::new(few_relays(mode));
        let mut first = begin(&mut w, 0, 5001, mode);
        let _second = begin(&mut w, 0, 5002, mode);
        let reply = one_more(&mut w, 0, 5003, mode);
        assert!(reply.starts_with("425 ") && reply.contains("of this client"), "{mode:?}: {reply}");
        let (c, d) = begin(&mut w, 1, 5001, mode);
        let _fourth = begin(&mut w, 2, 5001, mode);
        // Now there are four.
        let reply = one_more(&mut w, 3, 5001, mode);
        assert!(reply.starts_with("425 ") && !reply.contains("client"), "{mode:?}: {reply}");
        assert!(w.read_all(&c, d) == content(), "{mode:?}");
        // What ends is free for whoever may have it.
        assert!(w.read_all(&first.0, first.1) == content(), "{mode:?}");
        assert_eq!(&w.reply(&mut first.0)[..3], "226");
        w.pass(Duration::from_secs(1));
        begin(&mut w, 0, 5004, mode);
    }
}

#[test]
fn a_client_that_opens_relays_and_asks_for_nothing_holds_its_own_only() {
    let mode = ServerMode::Active;
    let mut w = World::new(few_relays(mode));
    let mut idle: Vec<Ctl> = (0..4).map(|n| w.login(0, 5001 + n)).collect();
    let to: Vec<_> = idle.iter_mut().map(|c| w.passive(c, "EPSV")).collect();
    // All were announced while there was room; two find it.
    for (c, to) in idle.iter_mut().zip(to) {
        w.data(c, to);
    }
    w.pass(Duration::from_secs(1));
    let refused = w.told(|e| match e {
        What::Expectation { state: "refused", reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(refused, ["too many relayed transfers of this client"; 2]);
    for client in [1, 2] {
        let (c, d) = begin(&mut w, client, 5001, mode);
        assert!(w.read_all(&c, d) == content());
    }
}

#[test]
fn relays_that_nothing_was_asked_of_give_way_the_oldest_first() {
    let mode = ServerMode::Active;
    let mut w = World::new(few_relays(mode));
    let mut idle = Vec::new();
    for (client, port) in [(0, 5001), (0, 5002), (1, 5001), (1, 5002)] {
        let mut c = w.login(client, port);
        let d = open(&mut w, &mut c, mode);
        w.pass(Duration::from_millis(10));
        assert_eq!(w.hosts[client].state(d), State::Established);
        idle.push((c, d));
    }
    // All places are taken.
    let (c, d) = begin(&mut w, 2, 5001, mode);
    let states = |w: &mut World| -> Vec<bool> {
        idle.iter().map(|(c, d)| w.hosts[c.host].state(*d) == State::Established).collect()
    };
    assert_eq!(states(&mut w), [false, true, true, true]);
    assert!(w.read_all(&c, d) == content());
    // The others are as good as ever, and one that was asked for something stays.
    let (mut c, d) = idle.remove(1);
    assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
    let _more = (begin(&mut w, 2, 5002, mode), begin(&mut w, 3, 5001, mode));
    assert!(w.read_all(&c, d) == content());
    assert_eq!(&w.reply(&mut c)[..3], "226");
    let outdone = w.told(|e| match e {
        What::Expectation { state: "expired", reason, .. } => Some(reason.contains("others want the place")),
        _ => None,
    });
    assert!(outdone.len() <= 2 && outdone.iter().all(|o| *o), "{outdone:?}");
    // The session lives, and hears that its connection is gone when it asks.
    let (mut c, _) = idle.remove(0);
    assert_eq!(&w.cmd(&mut c, "NOOP")[..3], "200");
    let to = w.passive(&mut c, "EPSV");
    w.data(&mut c, to);
    assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
}

#[test]
fn a_network_of_ipv6_is_one_client_and_an_address_of_ipv4_is() {
    for six in [false, true] {
        let mut o = Options { clients: 2, six, ..Options::default() };
        if six {
            o.way = Way::Policy;
        }
        o.limits.per_client = 2;
        let mut w = World::new(o);
        let _two = (w.login(0, 5001), w.login(1, 5001));
        // Both hosts have addresses of one /64, and of one /24.
        let _third = w.login(1, 5002);
        let (sessions, refused) = if six { (2, 1) } else { (3, 0) };
        assert_eq!((w.sessions(), w.counter("sessions_refused")), (sessions, refused), "IPv6: {six}");
    }
}

#[test]
fn a_client_that_burns_ports_gets_425_and_another_of_the_same_server_goes_on() {
    for source in [UpstreamSource::Own, UpstreamSource::Client] {
        let mut o = Options { clients: 2, ..Options::default() };
        o.service.server_mode = ServerMode::Active;
        o.service.upstream_source = source;
        o.reverse = (source == UpstreamSource::Client).then(Vec::new);
        o.server.files.insert("f".into(), vec![1; 1000]);
        let mut w = World::new(o);
        let (mut c, mut other) = (w.login(0, 5001), w.login(1, 5001));
        let line = "EPRT |1|10.0.0.10|40001|\r\n";
        let mut burnt = 0;
        let refusal = loop {
            w.send(&c, line.repeat(30).as_bytes());
            let replies: Vec<String> = (0..30).map(|_| w.reply(&mut c)).collect();
            burnt += replies.iter().filter(|r| r.starts_with("200")).count();
            w.forget_events();
            w.server.log.clear();
            if let Some(no) = replies.iter().find(|r| !r.starts_with("200")) {
                break no.clone();
            }
        };
        assert!(refusal.starts_with("425 ") && refusal.contains("one client may"), "{refusal}");
        let share = if source == UpstreamSource::Own { 13_823 } else { 22_528 };
        assert_eq!(burnt, share, "{source:?}");
        // It lives, and so does everybody else's.
        assert_eq!(&w.cmd(&mut c, "NOOP")[..3], "200");
        let d = w.active(&mut other, "PORT");
        assert_eq!(&w.cmd(&mut other, "RETR f")[..3], "150");
        assert_eq!(w.read_all(&other, d).len(), 1000);
        assert_eq!(&w.reply(&mut other)[..3], "226");
        // When its ports have rested it may again.
        w.pass(Duration::from_secs(62));
        let d = w.active(&mut c, "PORT");
        assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
        assert_eq!(w.read_all(&c, d).len(), 1000);
    }
}
