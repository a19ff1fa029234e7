//! The gateway dies, begins anew, or has too much to do: nothing hangs, and what can go on does.

use crate::support::*;
use smoltcp::socket::tcp::State;
use tidegate::session::OverLimit;
use tidegate::time::Duration;

fn content() -> Vec<u8> {
    (0..50_000u32).flat_map(u32::to_be_bytes).collect()
}

#[test]
fn after_a_restart_in_mid_session_old_segments_are_returned_and_nothing_hangs() {
    for way in [Way::Gre, Way::L2, Way::Policy] {
        let options = || {
            let mut o = Options { way, ..Options::default() };
            o.server.files.insert("f".into(), content());
            o
        };
        let mut w = World::new(options());
        let mut c = w.login(0, 5001);
        let to = w.passive(&mut c, "PASV");
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
        assert!(w.counter("returned") > 0, "{way:?}");
        assert_eq!(w.sessions(), 0);
        let mut c = w.login(0, 5002);
        assert!(w.fetch(&mut c, "PASV", "RETR f") == content());
        assert!(!w.server.conf.files.contains_key("g") || w.server.conf.files["g"].len() <= 60_000);
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
