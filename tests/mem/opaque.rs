//! Control connections that become encrypted and are passed on unread.

use crate::support::*;
use smoltcp::socket::tcp::State;
use tidegate::event::What;
use tidegate::session::{Ftps, ServerMode, UpstreamSource};
use tidegate::time::Duration;

fn options() -> Options {
    let mut o = Options::default();
    o.service.upstream_source = UpstreamSource::Client;
    o.service.server_mode = ServerMode::Active;
    o.service.server_ports = vec![20];
    o.service.ftps = Ftps::Opaque;
    o.reverse = Some(vec![21, 20]);
    o.server.tls = true;
    o
}

fn covered(w: &World) -> usize {
    let told = w.told(|e| match e {
        What::Session { state: "encrypted", reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert!(told.iter().all(|r| r == "control channel encrypted"));
    told.len()
}

/// A record of these bytes, without zeros, and what comes back for it.
fn record(n: usize) -> (Vec<u8>, Vec<u8>) {
    let mut there: Vec<u8> = (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 | 1).collect();
    there.push(0);
    let back = there.iter().rev().copied().collect();
    (there, back)
}

#[track_caller]
fn exchange(w: &mut World, c: &mut Ctl, n: usize) {
    let (there, back) = record(n);
    let mut at = 0;
    let (host, socket) = (c.host, c.socket);
    w.until(Duration::from_secs(30), "what was sent", |w| {
        at += w.hosts[host].write(socket, &there[at..]);
        c.input.extend(w.hosts[host].read(socket));
        (c.input.len() >= back.len()).then_some(())
    });
    assert!(c.input == back, "{n} bytes came back otherwise");
    c.input.clear();
}

#[test]
fn behind_the_234_every_byte_passes_both_ways_and_nothing_is_read() {
    let mut w = World::new(options());
    let mut c = w.connect(0, 5001);
    assert_eq!(&w.reply(&mut c)[..3], "220");
    assert!(w.cmd(&mut c, "FEAT").contains("AUTH TLS"));
    assert_eq!(w.cmd(&mut c, "AUTH TLS"), "234 Go on.\r\n");
    assert_eq!(covered(&w), 1);
    let before = w.events.len();
    for n in [1, 5, 1023, 1024, 60_000] {
        exchange(&mut w, &mut c, n);
    }
    // What looks like commands and replies is neither.
    w.send(&c, b"EPSV\r\nUSER x\r\nPORT 10,0,0,10,100,1\r\n\xff\xf4\xff\xf2ABOR\r\n\0");
    let socket = c.socket;
    let back = w.until(Duration::from_secs(5), "an answer", |w| {
        c.input.extend(w.hosts[0].read(socket));
        c.input.ends_with(b"VSPE").then(|| std::mem::take(&mut c.input))
    });
    assert_eq!(back[..8], *b"\0\n\rROBA\xf2");
    assert_eq!(w.events.len(), before, "{:#?}", &w.events[before..]);
    // Silence is longer than any idle time of ours.
    w.pass(Duration::from_secs(3600));
    exchange(&mut w, &mut c, 100);
}

#[test]
fn an_end_is_passed_on_each_way_by_itself() {
    let mut w = World::new(options());
    let mut c = w.connect(0, 5001);
    assert_eq!(&w.reply(&mut c)[..3], "220");
    assert_eq!(&w.cmd(&mut c, "AUTH SSL")[..3], "234");
    let (there, back) = record(3000);
    let socket = c.socket;
    w.send(&c, &there);
    w.hosts[0].socket(socket).close();
    // The server answers all of it after our end.
    w.until(Duration::from_secs(20), "the rest", |w| {
        c.input.extend(w.hosts[0].read(socket));
        (c.input.len() == back.len()).then_some(())
    });
    assert!(c.input == back);
    w.pass(Duration::from_secs(12));
    assert!(matches!(w.hosts[0].state(socket), State::Closed));
    assert_eq!((w.remains(), w.sessions(), w.table.len()), ((0, 0, 0), 0, 0));
}

#[test]
fn a_refused_auth_leaves_the_session_clear() {
    let mut o = options();
    o.server.tls = false;
    o.server.answers = vec![("AUTH", b"502 No.\r\n".to_vec())];
    o.server.files.insert("f".into(), b"content".to_vec());
    let mut w = World::new(o);
    let mut c = w.connect(0, 5001);
    assert_eq!(&w.reply(&mut c)[..3], "220");
    assert_eq!(w.cmd(&mut c, "AUTH TLS"), "502 No.\r\n");
    assert_eq!(&w.cmd(&mut c, "AUTH GSSAPI")[..3], "504", "not TLS, and not the server's word");
    assert_eq!(&w.cmd(&mut c, "USER u")[..3], "331");
    assert_eq!(&w.cmd(&mut c, "PASS p")[..3], "230");
    assert_eq!(w.fetch(&mut c, "EPSV", "RETR f"), b"content");
    assert_eq!(covered(&w), 0);
    assert_eq!(w.server.lines(0)[..2], ["AUTH TLS", "USER u"].map(String::from));
}

#[test]
fn what_a_client_sends_behind_auth_before_its_answer_ends_the_session_unread() {
    for parts in [
        &[&b"AUTH TLS\r\nUSER injected\r\n"[..]][..],
        &[b"AUTH TLS\r\nU"],
        &[b"AUTH TLS\r\n\x16\x03\x01"],
        &[b"NOOP\r\nAUTH TLS\r\nUSER injected\r\n"],
        &[b"AUTH TLS\r\n", b"USER injected\r\n"],
        &[b"NOOP\r\nAUTH TLS\r\n", b"U"],
    ] {
        let mut w = World::new(options());
        let mut c = w.connect(0, 5001);
        assert_eq!(&w.reply(&mut c)[..3], "220");
        // The server's answer is on its way for as long as the client takes.
        w.loss = Some(Box::new(|hop, p| {
            hop == Hop::FromHost(1) && tcp_of(p).is_some_and(|t| t.payload.starts_with(b"234"))
        }));
        for part in parts {
            w.send(&c, part);
            w.pass(Duration::from_millis(20));
        }
        w.loss = None;
        let mut last = String::new();
        let socket = c.socket;
        w.until(Duration::from_secs(20), "an end", |w| {
            while let Some(reply) = w.poll_reply(&mut c) {
                last = reply;
            }
            w.hosts[0].at_end(socket).then_some(())
        });
        assert!(last.starts_with("421 "), "{parts:?}: {last}");
        assert_eq!(covered(&w), 0, "{parts:?}");
        assert!(w.server.lines(0).iter().all(|l| !l.contains("USER")), "{parts:?}: {:?}", w.server.lines(0));
        w.hosts[0].socket(socket).close();
        w.pass(Duration::from_secs(15));
        assert_eq!((w.remains(), w.sessions(), w.table.len()), ((0, 0, 0), 0, 0), "{parts:?}");
    }
}

#[test]
fn what_a_server_sends_behind_its_234_at_once_ends_the_session() {
    for more in [&b"230 In.\r\n"[..], b"2", b"\x16"] {
        let mut o = options();
        o.server.tls = false;
        o.server.answers = vec![("AUTH", [b"234 Go on.\r\n", more].concat())];
        let mut w = World::new(o);
        let mut c = w.connect(0, 5001);
        assert_eq!(&w.reply(&mut c)[..3], "220");
        let reply = w.cmd(&mut c, "AUTH TLS");
        assert!(reply.starts_with("421 "), "{reply}");
        assert_eq!(covered(&w), 0);
    }
}

#[test]
fn auth_waits_for_what_comes_before_it() {
    let mut w = World::new(options());
    let mut c = w.connect(0, 5001);
    assert_eq!(&w.reply(&mut c)[..3], "220");
    w.send(&c, b"NOOP\r\nSYST\r\nAUTH TLS\r\n");
    let codes: Vec<String> = (0..3).map(|_| w.reply(&mut c)[..3].to_owned()).collect();
    assert_eq!(codes, ["200", "200", "234"]);
    exchange(&mut w, &mut c, 10);
}

#[test]
fn what_was_announced_in_clear_text_is_expected_no_more_and_data_goes_past_us() {
    for verb in ["EPSV", "PORT"] {
        let mut w = World::new(options());
        let mut c = w.login(0, 5001);
        if verb == "PORT" {
            w.active(&mut c, verb);
        } else {
            w.passive(&mut c, verb);
        }
        assert_eq!(&w.cmd(&mut c, "AUTH TLS")[..3], "234");
        let told = w.told(|e| match e {
            What::Expectation { state: "superseded", reason, .. } => Some(reason.clone()),
            _ => None,
        });
        assert_eq!(told, ["the control channel is encrypted"], "{verb}");
        // What the ends agree upon unseen: the server listens anywhere, or connects from its port 20.
        let server = w.server_host;
        let there = w.hosts[server].listen(41_000);
        let d = w.data(&mut c, std::net::SocketAddrV4::new(SERVER, 41_000));
        let here = w.hosts[0].listen(42_000);
        let back = w.hosts[server].connect(20, std::net::SocketAddrV4::new(CLIENT, 42_000));
        w.pass(Duration::from_secs(1));
        for (host, socket) in [(server, there), (0, d), (0, here), (server, back)] {
            assert_eq!(w.hosts[host].state(socket), State::Established, "{verb}");
        }
        assert_eq!((w.counter("translated"), w.counter("relayed")), (0, 0));
    }
}

#[test]
fn with_the_policy_refuse_nothing_of_this_happens() {
    let mut o = options();
    o.service.ftps = Ftps::Refuse;
    let mut w = World::new(o);
    let mut c = w.connect(0, 5001);
    assert_eq!(&w.reply(&mut c)[..3], "220");
    let reply = w.cmd(&mut c, "AUTH TLS");
    assert!(reply.starts_with("534 ") && reply.contains("ftps = \"refuse\""), "{reply}");
    assert!(!w.cmd(&mut c, "FEAT").contains("AUTH"));
    assert_eq!(covered(&w), 0);
}
