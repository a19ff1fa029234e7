//! Every pair of data modes, with either address toward the server and either reverse group.

use crate::support::*;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use tidegate::event::{Direction, Path, What};
use tidegate::session::{DataSource, ServerMode, UpstreamSource};
use tidegate::time::Duration;

pub(crate) fn bytes(n: usize) -> Vec<u8> {
    (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// How servers' answers reach the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Back {
    /// They are sent to its own address.
    Own,
    /// A reverse group of ports 21 and 20.
    List,
    /// A reverse group of all ports.
    All,
    /// A router's policy for ports 21 and 20.
    PolicyList,
    /// A router's policy for all ports.
    PolicyAll,
}

fn options(back: Back, mode: ServerMode) -> Options {
    let mut o = Options::default();
    o.service.server_mode = mode;
    if back != Back::Own {
        o.service.upstream_source = UpstreamSource::Client;
    }
    match back {
        Back::Own => {}
        Back::List => {
            o.reverse = Some(vec![21, 20]);
            o.service.server_ports = vec![20];
        }
        Back::All => o.reverse = Some(vec![]),
        Back::PolicyList | Back::PolicyAll => {
            o.way = Way::Policy;
            o.reverse = Some(if back == Back::PolicyAll { vec![] } else { vec![21, 20] });
        }
    }
    o
}

/// All that can be, with the verbs that the client may use.
fn all() -> Vec<(Back, ServerMode, &'static [&'static str])> {
    let any: &[&str] = &["PASV", "EPSV", "PORT", "EPRT"];
    let mut all = Vec::new();
    for mode in [ServerMode::Passive, ServerMode::Active, ServerMode::Same] {
        all.push((Back::Own, mode, any));
        all.push((Back::All, mode, any));
        all.push((Back::PolicyAll, mode, any));
    }
    for back in [Back::List, Back::PolicyList] {
        all.push((back, ServerMode::Active, any));
        // What needs a passive server is not redirected then.
        all.push((back, ServerMode::Same, &any[2..]));
    }
    all
}

fn is_active(verb: &str) -> bool {
    matches!(verb, "PORT" | "EPRT")
}

/// Sets a data connection up and, for a passive client, connects it.
#[track_caller]
pub(crate) fn open(w: &mut World, c: &mut Ctl, verb: &str) -> SocketHandle {
    if is_active(verb) {
        return w.active(c, verb);
    }
    let to = w.passive_any(c, verb);
    w.data(c, to)
}

pub(crate) fn server_opens(mode: ServerMode, verb: &str) -> bool {
    mode == ServerMode::Active || mode == ServerMode::Same && is_active(verb)
}

/// Logs in, and carries `n` bytes down and up, and a listing, with each verb; each is reported as it went.
#[track_caller]
pub(crate) fn carries(w: &mut World, mode: ServerMode, verbs: &[&str], n: usize, at: &str) -> Ctl {
    let mut c = w.login(0, 5001);
    let mut want = Vec::new();
    for verb in verbs {
        let d = open(w, &mut c, verb);
        assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150", "{at} {verb}");
        assert!(w.read_all(&c, d) == bytes(n), "{at} {verb}");
        assert_eq!(&w.reply(&mut c)[..3], "226", "{at} {verb}");
        let d = open(w, &mut c, verb);
        assert_eq!(&w.cmd(&mut c, "STOR g")[..3], "150", "{at} {verb}");
        w.write_all(&c, d, &bytes(n));
        assert_eq!(&w.reply(&mut c)[..3], "226", "{at} {verb}");
        assert!(w.server.conf.files.remove("g") == Some(bytes(n)), "{at} {verb}");
        let d = open(w, &mut c, verb);
        assert_eq!(&w.cmd(&mut c, "LIST")[..3], "150", "{at} {verb}");
        assert!(w.read_all(&c, d) == b"f\r\n", "{at} {verb}");
        assert_eq!(&w.reply(&mut c)[..3], "226", "{at} {verb}");
        let (client, server) = (is_active(verb), server_opens(mode, verb));
        // One opens and the other listens: no stack is needed between them.
        let path = if client == server { Path::Translated } else { Path::Relayed };
        let client = if client { "active" } else { "passive" };
        want.push((Direction::Download, path, client, n as u64, "complete", 226));
        want.push((Direction::Upload, path, client, n as u64, "complete", 226));
        want.push((Direction::Download, path, client, 3, "complete", 226));
    }
    w.pass(Duration::from_secs(2));
    let told = w.told(|e| match e {
        What::Transfer { direction, path, client_mode, bytes, verdict, code, .. } => {
            Some((*direction, *path, *client_mode, *bytes, *verdict, *code))
        }
        _ => None,
    });
    assert_eq!(told, want, "{at}");
    c
}

/// Ends the session; nothing of it stays behind.
#[track_caller]
pub(crate) fn leaves_nothing(w: &mut World, mut c: Ctl, at: &str) {
    w.cmd(&mut c, "QUIT");
    let s = c.socket;
    w.hosts[0].socket(s).close();
    w.pass(Duration::from_secs(12));
    let left = (w.remains(), w.sessions(), w.table.len());
    assert_eq!(left, ((0, 0, 0), 0, 0), "{at}: something stayed behind");
}

#[test]
fn every_pair_of_modes_carries_every_size_both_ways_and_is_reported_so() {
    for (back, mode, verbs) in all() {
        for n in [0, 1, 1432, 200_000] {
            let at = format!("{back:?} {mode:?} {n}");
            let mut o = options(back, mode);
            o.server.files.insert("f".into(), bytes(n));
            let mut w = World::new(o);
            let c = carries(&mut w, mode, verbs, n, &at);
            let sent = w.server.lines(0);
            for verb in verbs {
                let asked = if server_opens(mode, verb) { "PORT " } else { "EPSV" };
                assert!(sent.iter().any(|l| l.starts_with(asked)), "{at} {verb}: {sent:?}");
            }
            leaves_nothing(&mut w, c, &at);
        }
    }
}

#[test]
fn the_server_sees_the_clients_own_address_and_port_and_the_client_the_servers() {
    for (back, mode, verbs) in all().into_iter().filter(|(back, ..)| *back != Back::Own) {
        let mut o = options(back, mode);
        o.server.files.insert("f".into(), bytes(5000));
        let mut w = World::new(o);
        w.watch();
        let mut c = w.login(0, 5001);
        for verb in verbs {
            let d = open(&mut w, &mut c, verb);
            assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
            w.read_all(&c, d);
            assert_eq!(&w.reply(&mut c)[..3], "226");
        }
        let at = format!("{back:?} {mode:?}");
        let to_server = w.segments(Hop::ToHost(1));
        assert!(to_server.iter().all(|t| *t.src.ip() == CLIENT && *t.dst.ip() == SERVER), "{at}");
        assert!(to_server.iter().any(|t| t.src.port() == 5001 && t.dst.port() == 21 && t.flags == 2), "{at}");
        let to_client = w.segments(Hop::ToHost(0));
        assert!(to_client.iter().all(|t| *t.src.ip() == SERVER && *t.dst.ip() == CLIENT), "{at}");
        // Its own numbers on each leg.
        let isn = |s: &[Tcp], flags| s.iter().find(|t| t.flags == flags && t.dst.port() != 20).unwrap().seq;
        assert_ne!(isn(&to_server, 2), isn(&w.segments(Hop::FromHost(0)), 2), "{at}");
        assert_ne!(isn(&to_client, 0x12), isn(&w.segments(Hop::FromHost(1)), 0x12), "{at}");
        // What the router redirects toward us needs room for its headers, from servers as well.
        let offers = to_server.iter().chain(&to_client).filter_map(|t| t.mss);
        assert!(offers.clone().count() > 2 && offers.max() == Some(1432), "{at}");
    }
}

#[test]
fn a_server_that_connects_from_elsewhere_past_the_list_gives_425_and_a_line_that_names_it() {
    for verb in ["PASV", "EPSV", "PORT", "EPRT"] {
        let mut o = options(Back::List, ServerMode::Active);
        o.server.files.insert("f".into(), bytes(10));
        o.server.data_from = None;
        let mut w = World::new(o);
        let mut c = w.login(0, 5001);
        let d = open(&mut w, &mut c, verb);
        assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "425", "{verb}");
        w.pass(Duration::from_secs(1));
        let state = w.hosts[0].state(d);
        assert!(matches!(state, State::Listen | State::Closed), "{verb}: {state:?}");
        let told = w.told(|e| match e {
            What::Expectation { state: "expired", reason, .. } => Some(reason.clone()),
            _ => None,
        });
        assert!(told.len() == 1 && told[0].contains("only those from port 20 "), "{verb}: {told:?}");
        // With the right port it works in the same session.
        w.server.conf.data_from = Some(20);
        let d = open(&mut w, &mut c, verb);
        assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150", "{verb}");
        assert_eq!(w.read_all(&c, d), bytes(10));
        assert_eq!(&w.reply(&mut c)[..3], "226");
    }
}

#[test]
fn a_server_may_connect_from_anywhere_where_all_comes_to_us() {
    for back in [Back::Own, Back::All] {
        for verb in ["EPSV", "PORT"] {
            let mut o = options(back, ServerMode::Active);
            o.server.files.insert("f".into(), bytes(10));
            o.server.data_from = None;
            let mut w = World::new(o);
            let mut c = w.login(0, 5001);
            let d = open(&mut w, &mut c, verb);
            assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150", "{back:?} {verb}");
            assert_eq!(w.read_all(&c, d), bytes(10));
            assert_eq!(&w.reply(&mut c)[..3], "226");
        }
    }
}

#[test]
fn abor_stops_a_transfer_in_every_pair_of_modes() {
    for (back, mode, verbs) in all() {
        for verb in verbs {
            let at = format!("{back:?} {mode:?} {verb}");
            let mut o = options(back, mode);
            o.server.files.insert("f".into(), bytes(1_000_000));
            let mut w = World::new(o);
            let mut c = w.login(0, 5001);
            let d = open(&mut w, &mut c, verb);
            assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150", "{at}");
            w.pass(Duration::from_millis(50));
            assert_eq!(&w.cmd(&mut c, "ABOR")[..3], "426", "{at}");
            assert_eq!(&w.reply(&mut c)[..3], "226", "{at}");
            w.pass(Duration::from_secs(1));
            w.hosts[0].read(d);
            w.pass(Duration::from_secs(1));
            assert_eq!(w.hosts[0].state(d), State::Closed, "{at}");
            let verdicts = w.told(|e| match e {
                What::Transfer { verdict, .. } => Some(*verdict),
                _ => None,
            });
            assert_eq!(verdicts, ["aborted"], "{at}");
            let d = open(&mut w, &mut c, verb);
            assert_eq!(&w.cmd(&mut c, "LIST")[..3], "150", "{at}");
            assert_eq!(w.read_all(&c, d), b"f\r\n", "{at}");
            assert_eq!(&w.reply(&mut c)[..3], "226", "{at}");
        }
    }
}

#[test]
fn a_new_announcement_takes_the_place_of_the_one_before() {
    for (back, mode, verbs) in all() {
        let at = format!("{back:?} {mode:?}");
        let mut o = options(back, mode);
        o.server.files.insert("f".into(), bytes(3000));
        let mut w = World::new(o);
        let mut c = w.login(0, 5001);
        for first in verbs {
            for second in verbs {
                let old = open(&mut w, &mut c, first);
                let new = open(&mut w, &mut c, second);
                assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150", "{at} {first} {second}");
                assert!(w.read_all(&c, new) == bytes(3000), "{at} {first} {second}");
                assert_eq!(&w.reply(&mut c)[..3], "226", "{at} {first} {second}");
                assert!(w.hosts[0].read(old).is_empty(), "{at} {first} {second}");
                w.hosts[0].socket(old).abort();
            }
        }
        w.cmd(&mut c, "QUIT");
        let s = c.socket;
        w.hosts[0].socket(s).close();
        w.pass(Duration::from_secs(90));
        assert_eq!((w.remains(), w.sessions(), w.table.len()), ((0, 0, 0), 0, 0), "{at}");
    }
}

#[test]
fn two_sessions_of_one_client_never_meet_in_any_pair_of_modes() {
    for (back, mode, verbs) in all() {
        for verb in verbs {
            let at = format!("{back:?} {mode:?} {verb}");
            let mut o = options(back, mode);
            o.server.files.insert("a".into(), vec![b'a'; 70_000]);
            o.server.files.insert("b".into(), vec![b'b'; 70_000]);
            let mut w = World::new(o);
            let mut a = w.login(0, 5001);
            let mut b = w.login(0, 5002);
            for _ in 0..3 {
                let (da, db) = (open(&mut w, &mut a, verb), open(&mut w, &mut b, verb));
                assert_eq!(&w.cmd(&mut b, "RETR b")[..3], "150", "{at}");
                assert_eq!(&w.cmd(&mut a, "RETR a")[..3], "150", "{at}");
                assert!(w.read_all(&a, da).iter().all(|&x| x == b'a'), "{at}");
                assert!(w.read_all(&b, db).iter().all(|&x| x == b'b'), "{at}");
                assert_eq!(&w.reply(&mut a)[..3], "226", "{at}");
                assert_eq!(&w.reply(&mut b)[..3], "226", "{at}");
            }
        }
    }
}

#[test]
fn a_passive_client_that_never_connects_costs_the_transfer_and_nothing_else() {
    for back in [Back::Own, Back::List, Back::All] {
        for n in [10, 1_000_000] {
            let at = format!("{back:?} {n}");
            let mut o = options(back, ServerMode::Active);
            o.server.files.insert("f".into(), bytes(n));
            let mut w = World::new(o);
            let mut c = w.login(0, 5001);
            w.passive(&mut c, "EPSV");
            assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150", "{at}");
            let asked = w.now;
            let code = w.reply(&mut c)[..3].to_owned();
            // What the server said of a short file was not true for the client.
            assert_eq!(code, if n == 10 { "425" } else { "426" }, "{at}");
            assert!(w.now.since(asked) < Duration::from_secs(16), "{at}");
            assert_eq!(&w.cmd(&mut c, "NOOP")[..3], "200", "{at}");
            let d = open(&mut w, &mut c, "PASV");
            assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150", "{at}");
            assert!(w.read_all(&c, d) == bytes(n), "{at}");
            assert_eq!(&w.reply(&mut c)[..3], "226", "{at}");
        }
    }
}

#[test]
fn a_passive_client_may_connect_after_the_server() {
    for back in [Back::Own, Back::List, Back::All] {
        for (what, n) in [("RETR f", 200_000), ("RETR f", 0)] {
            let mut o = options(back, ServerMode::Active);
            o.server.files.insert("f".into(), bytes(n));
            let mut w = World::new(o);
            let mut c = w.login(0, 5001);
            let to = w.passive(&mut c, "EPSV");
            assert_eq!(&w.cmd(&mut c, what)[..3], "150");
            w.pass(Duration::from_secs(2));
            let d = w.data(&mut c, to);
            assert!(w.read_all(&c, d) == bytes(n));
            assert_eq!(&w.reply(&mut c)[..3], "226");
            let to = w.passive(&mut c, "EPSV");
            assert_eq!(&w.cmd(&mut c, "STOR g")[..3], "150");
            w.pass(Duration::from_secs(2));
            let d = w.data(&mut c, to);
            w.write_all(&c, d, &bytes(n));
            assert_eq!(&w.reply(&mut c)[..3], "226");
            assert!(w.server.conf.files.remove("g") == Some(bytes(n)));
        }
    }
}

#[test]
fn an_active_client_that_does_not_answer_gives_425_with_the_port_in_time() {
    for back in [Back::Own, Back::List, Back::All] {
        let at = format!("{back:?}");
        let mut o = options(back, ServerMode::Active);
        o.server.files.insert("f".into(), bytes(10));
        o.denied = vec![20];
        let mut w = World::new(o);
        let mut c = w.login(0, 5001);
        w.active(&mut c, "PORT");
        // What goes past the gateway, a real server answers with a reset; ours here says nothing.
        w.loss = Some(Box::new(|hop, p| {
            hop == Hop::ToHost(1) && tcp_of(p).is_some_and(|t| t.flags & 4 != 0 || t.dst.port() == 20)
        }));
        let asked = w.now;
        let reply = w.cmd(&mut c, "RETR f");
        assert!(reply.starts_with("425 ") && reply.contains("port 20 "), "{at}: {reply}");
        assert!(w.now.since(asked) < Duration::from_secs(6), "{at}");
        w.loss = None;
        w.pass(Duration::from_secs(25));
        assert_eq!(w.poll_reply(&mut c), None, "{at}: the server's own word on it came, too");
        let told = w.told(|e| match e {
            What::Transfer { verdict, code, client_mode, .. } => Some((*verdict, *code, *client_mode)),
            _ => None,
        });
        assert_eq!(told, [("failed", 425, "active")], "{at}");
        assert_eq!(&w.cmd(&mut c, "NOOP")[..3], "200", "{at}");
    }
}

#[test]
fn a_server_that_does_not_connect_gives_425_in_time() {
    for (back, verb) in [(Back::Own, "EPSV"), (Back::Own, "PORT"), (Back::List, "EPSV"), (Back::List, "PORT")]
    {
        let at = format!("{back:?} {verb}");
        let mut o = options(back, ServerMode::Active);
        o.server.files.insert("f".into(), bytes(10));
        o.timers.data_wait = Duration::from_secs(8);
        let mut w = World::new(o);
        let mut c = w.login(0, 5001);
        open(&mut w, &mut c, verb);
        w.loss =
            Some(Box::new(|hop, p| hop == Hop::FromHost(1) && tcp_of(p).is_some_and(|t| t.src.port() == 20)));
        w.pass(Duration::from_secs(5));
        let asked = w.now;
        let reply = w.cmd(&mut c, "RETR f");
        assert!(reply.starts_with("425 ") && reply.contains("no connection of the server"), "{at}: {reply}");
        let took = w.now.since(asked);
        assert!((Duration::from_secs(7)..Duration::from_secs(9)).contains(&took), "{at}: {took:?}");
        // It comes late: nobody gets it.
        w.loss = None;
        w.pass(Duration::from_secs(30));
        assert_eq!(w.poll_reply(&mut c), None, "{at}: the server's own word on it came, too");
        let d = open(&mut w, &mut c, verb);
        assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150", "{at}");
        assert_eq!(w.read_all(&c, d), bytes(10), "{at}");
        assert_eq!(&w.reply(&mut c)[..3], "226", "{at}");
    }
}

#[test]
fn a_late_connection_of_the_server_reaches_no_other_session() {
    for back in [Back::Own, Back::List, Back::All] {
        for verb in ["EPSV", "PORT"] {
            let at = format!("{back:?} {verb}");
            let mut o = options(back, ServerMode::Active);
            o.server.files.insert("a".into(), vec![b'a'; 1000]);
            o.server.files.insert("b".into(), vec![b'b'; 1000]);
            let mut w = World::new(o);
            let mut a = w.login(0, 5001);
            let mut b = w.login(0, 5002);
            open(&mut w, &mut a, verb);
            w.loss = Some(Box::new(|hop, p| {
                hop == Hop::FromHost(1) && tcp_of(p).is_some_and(|t| t.src.port() == 20)
            }));
            w.send(&a, b"RETR a\r\n");
            w.settle();
            // The announcement ends; the server's SYN is on its way.
            assert_eq!(&w.cmd(&mut a, "ABOR")[..1], "4", "{at}");
            w.send(&b, b"NOOP\r\n");
            w.pass(Duration::from_secs(11));
            w.poll_reply(&mut b);
            w.loss = None;
            let d = open(&mut w, &mut b, verb);
            assert_eq!(&w.cmd(&mut b, "RETR b")[..3], "150", "{at}");
            assert!(w.read_all(&b, d).iter().all(|&x| x == b'b'), "{at}");
            assert_eq!(&w.reply(&mut b)[..3], "226", "{at}");
        }
    }
}

#[test]
fn a_session_that_ends_in_a_transfer_lets_it_go_on_in_every_pair_of_modes() {
    for (back, mode, verbs) in all() {
        for verb in verbs {
            let at = format!("{back:?} {mode:?} {verb}");
            let mut o = options(back, mode);
            o.server.files.insert("f".into(), bytes(300_000));
            let mut w = World::new(o);
            let mut c = w.login(0, 5001);
            let d = open(&mut w, &mut c, verb);
            assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150", "{at}");
            w.send(&c, b"QUIT\r\n");
            assert!(w.read_all(&c, d) == bytes(300_000), "{at}");
            let s = c.socket;
            w.hosts[0].socket(s).close();
            w.pass(Duration::from_secs(30));
            assert_eq!((w.remains(), w.sessions(), w.table.len()), ((0, 0, 0), 0, 0), "{at}");
        }
    }
}

#[test]
fn a_server_that_knows_no_port_is_told_by_eprt_and_then_at_once() {
    for verb in ["EPSV", "PORT"] {
        let mut o = options(Back::Own, ServerMode::Active);
        o.server.files.insert("f".into(), bytes(10));
        o.server.port = false;
        let mut w = World::new(o);
        let mut c = w.login(0, 5001);
        for _ in 0..2 {
            let d = open(&mut w, &mut c, verb);
            assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
            assert_eq!(w.read_all(&c, d), bytes(10));
            assert_eq!(&w.reply(&mut c)[..3], "226");
        }
        let verbs: Vec<String> = w.server.lines(0)[2..].iter().map(|l| l[..4].to_owned()).collect();
        assert_eq!(verbs, ["PORT", "EPRT", "RETR", "EPRT", "RETR"]);
    }
}

#[test]
fn a_server_that_refuses_port_is_heard_by_the_client_and_nothing_is_expected() {
    for verb in ["EPSV", "PORT 10,0,0,10,100,1"] {
        let mut o = options(Back::Own, ServerMode::Active);
        o.server.answers = vec![("PORT", b"550 Permission denied.\r\n".to_vec())];
        let mut w = World::new(o);
        let mut c = w.login(0, 5001);
        assert_eq!(w.cmd(&mut c, verb), "550 Permission denied.\r\n");
        assert_eq!(&w.cmd(&mut c, "NOOP")[..3], "200");
        let told = w.told(|e| match e {
            What::Expectation { state, .. } => Some(*state),
            _ => None,
        });
        assert_eq!(told, ["refused"]);
        w.cmd(&mut c, "QUIT");
        let s = c.socket;
        w.hosts[0].socket(s).close();
        w.pass(Duration::from_secs(12));
        assert_eq!((w.remains(), w.sessions(), w.table.len()), ((0, 0, 0), 0, 0));
    }
}

#[test]
fn with_our_own_address_in_the_227_a_relay_takes_the_clients_connection_there() {
    let mut o = options(Back::Own, ServerMode::Active);
    o.service.data_source = DataSource::Own;
    o.server.files.insert("f".into(), bytes(5000));
    let mut w = World::new(o);
    w.gateway_shows = true;
    let mut c = w.login(0, 5001);
    let d = open(&mut w, &mut c, "PASV");
    assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
    assert!(w.read_all(&c, d) == bytes(5000));
    assert_eq!(&w.reply(&mut c)[..3], "226");
    let d = open(&mut w, &mut c, "PORT");
    assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
    assert!(w.read_all(&c, d) == bytes(5000));
    assert_eq!(&w.reply(&mut c)[..3], "226");
}

#[test]
fn what_the_router_redirects_again_of_ours_is_dropped_as_a_loop_and_opens_nothing() {
    let mut w = World::new(options(Back::All, ServerMode::Passive));
    w.again = true;
    let c = w.connect(0, 5001);
    w.pass(Duration::from_secs(3));
    assert!(w.counter("drop_loop") > 0);
    assert_eq!((w.sessions(), w.server.accepted), (0, 0));
    w.pass(Duration::from_secs(10));
    assert_eq!(w.remains().0, 0);
    let s = c.socket;
    w.hosts[0].socket(s).abort();
    // In the middle of a session.
    w.again = false;
    let mut c = w.login(0, 5002);
    let before = w.counter("drop_loop");
    w.again = true;
    w.send(&c, b"NOOP\r\n");
    w.pass(Duration::from_secs(3));
    assert!(w.counter("drop_loop") > before);
    assert!(w.counter("drop_loop") < before + 100, "a storm");
    w.again = false;
    assert_eq!(&w.reply(&mut c)[..3], "200", "the session outlives it");
}
