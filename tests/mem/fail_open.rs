//! The gateway dies, begins anew, or has too much to do: nothing hangs, and what can go on does.

use crate::support::*;
use smoltcp::socket::tcp::State;
use tidegate::event::What;
use tidegate::session::{OverLimit, UpstreamSource};
use tidegate::time::Duration;

fn content() -> Vec<u8> {
    (0..50_000u32).flat_map(u32::to_be_bytes).collect()
}

/// Ways of redirection, and whether clients use IPv6.
const WAYS: [(Way, bool); 4] =
    [(Way::Gre, false), (Way::L2, false), (Way::Policy, false), (Way::Policy, true)];

fn passive(six: bool) -> &'static str {
    if six { "EPSV" } else { "PASV" }
}

#[test]
fn after_a_restart_in_mid_session_old_segments_are_returned_and_nothing_hangs() {
    for (way, six) in WAYS {
        let options = || {
            let mut o = Options { way, six, ..Options::default() };
            o.server.files.insert("f".into(), content());
            o
        };
        let mut w = World::new(options());
        let mut c = w.login(0, 5001);
        let to = w.passive_any(&mut c, passive(six));
        let d = w.data(&mut c, to);
        assert_eq!(&w.cmd(&mut c, "STOR g")[..3], "150");
        w.hosts[0].write(d, &content()[..60_000]);
        // A program that begins anew has another seed, so other ports.
        w.restart(&Options { seed: 2, ..options() });
        w.pass(Duration::from_secs(8));
        // The client goes on; the server, which gets what is returned, knows neither connection.
        w.hosts[0].write(c.socket, b"NOOP\r\n");
        w.hosts[0].write(d, b"more");
        w.until(Duration::from_secs(30), "end of the old connections", |w| {
            (w.state(&c) == State::Closed && w.hosts[0].state(d) == State::Closed).then_some(())
        });
        assert!(w.counter("returned") > 0, "{way:?} {six}");
        assert_eq!(w.sessions(), 0);
        let mut c = w.login(0, 5002);
        assert!(w.fetch(&mut c, passive(six), "RETR f") == content());
        assert!(!w.server.conf.files.contains_key("g") || w.server.conf.files["g"].len() <= 60_000);
    }
}

/// Options of a service that keeps the client's address toward servers.
fn in_the_clients_name((way, six): (Way, bool)) -> Options {
    // The stack of these hosts is silent about one half of all acknowledgements that it cannot have asked for, where
    // RFC 9293 3.10.7.4 wants an answer to any segment out of its window. With these seeds both ends answer.
    let seed = if six { 1 } else { 2 };
    let mut o = Options { seed, way, six, reverse: Some(vec![]), ..Options::default() };
    o.service.upstream_source = UpstreamSource::Client;
    o.server.files.insert("f".into(), content());
    o
}

#[test]
fn after_a_restart_a_session_in_the_clients_name_ends_at_both_ends_and_makes_no_storm() {
    for way in WAYS {
        for server_speaks in [false, true] {
            let at = format!("{way:?}, the server speaks: {server_speaks}");
            let mut w = World::new(in_the_clients_name(way));
            let mut c = w.login(0, 5001);
            assert_eq!(&w.cmd(&mut c, "NOOP")[..3], "200");
            w.restart(&Options { seed: 102, ..in_the_clients_name(way) });
            w.pass(Duration::from_secs(8));
            w.watch();
            if server_speaks {
                w.server.say(0, b"421 Timeout.\r\n");
            } else {
                w.hosts[0].write(c.socket, b"NOOP\r\n");
            }
            w.until(Duration::from_secs(8), "end of the old connections", |w| {
                let ends = (w.state(&c), w.server.live(&mut w.hosts[w.server_host]));
                (ends == (State::Closed, 0)).then_some(())
            });
            let spoken = [Hop::FromHost(0), Hop::FromHost(1)].map(|hop| w.segments_any(hop).len());
            assert!(spoken.iter().all(|n| *n < 20), "{at}: a storm: {spoken:?}");
            let shown = w.told(|e| match e {
                What::Session { state: "torn", session: None, client, .. } => Some(client.port()),
                _ => None,
            });
            assert_eq!((w.counter("torn"), shown), (1, vec![5001]), "{at}");
            // The same port again, by the new gateway.
            w.pass(Duration::from_secs(1));
            let mut c = w.login(0, 5001);
            assert!(w.fetch(&mut c, passive(way.1), "RETR f") == content(), "{at}");
            w.pass(Duration::from_secs(120));
            assert_eq!(w.counter("torn"), 1, "{at}");
        }
    }
}

#[test]
fn a_connection_that_was_made_past_the_gateway_goes_on_past_it() {
    for way in [(Way::Gre, false), (Way::Policy, false), (Way::Policy, true)] {
        let mut o = in_the_clients_name(way);
        o.limits.sessions = 0;
        let mut w = World::new(o);
        // Returned from its SYN on.
        let mut c = w.login(0, 5001);
        w.restart(&Options { seed: 102, ..in_the_clients_name(way) });
        w.pass(Duration::from_secs(8));
        for n in 0..50 {
            let (mut passed, every) = (0, n % 5 + 2);
            w.loss = Some(Box::new(move |hop, _| {
                passed += i32::from(matches!(hop, Hop::ToHost(_)));
                matches!(hop, Hop::ToHost(_)) && passed % every == 0
            }));
            assert_eq!(&w.cmd(&mut c, "NOOP")[..3], "200", "{way:?} {n}");
        }
        w.loss = None;
        // What a stranger says in between ends nothing, as long as the ends themselves speak.
        let (client, server) = (w.at(0, 5001), w.at(w.server_host, 21));
        for n in 0..20 {
            w.host_sends(0, &segment(client, server, 7 << 20, 9 << 20, 0x10));
            assert_eq!(&w.cmd(&mut c, "NOOP")[..3], "200", "{way:?} {n}");
        }
        assert_eq!((w.counter("torn"), w.sessions()), (0, 0));
    }
}

#[test]
fn beyond_the_limits_a_client_is_reset_where_that_is_configured() {
    for limit in ["sessions", "per_client"] {
        let mut o = Options::default();
        o.limits.over_limit = OverLimit::Reset;
        match limit {
            "sessions" => o.limits.sessions = 2,
            _ => o.limits.per_client = 2,
        }
        let mut w = World::new(o);
        let (mut one, _two) = (w.login(0, 5001), w.login(0, 5002));
        let third = w.connect(0, 5003);
        w.pass(Duration::from_millis(500));
        assert_eq!(w.state(&third), State::Closed, "{limit}: it was reset at once");
        assert_eq!((w.counter("returned"), w.counter("sessions_refused"), w.server.accepted), (0, 1, 2));
        // A place that is free is given again.
        assert_eq!(&w.cmd(&mut one, "QUIT")[..3], "221");
        let socket = one.socket;
        w.host(&one).socket(socket).close();
        w.pass(Duration::from_secs(1));
        w.login(0, 5004);
    }
}
