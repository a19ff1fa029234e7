//! Control connections that become encrypted and are passed on unread.

use crate::support::*;
use smoltcp::socket::tcp::State;
use std::net::SocketAddr;
use tidegate::event::What;
use tidegate::session::{Ftps, ServerMode, UpstreamSource};
use tidegate::time::Duration;

/// How packets of both directions reach the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// A forward and a reverse group.
    Wccp,
    /// A router's policy for FTP's ports of both ends.
    Policy,
    /// The same over IPv6.
    Policy6,
    /// Everything that servers send comes to us.
    PolicyAll,
    /// The same over IPv6.
    PolicyAll6,
}

const ALL: [By; 5] = [By::Wccp, By::Policy, By::Policy6, By::PolicyAll, By::PolicyAll6];

impl By {
    fn is_six(self) -> bool {
        matches!(self, Self::Policy6 | Self::PolicyAll6)
    }

    fn takes_all(self) -> bool {
        matches!(self, Self::PolicyAll | Self::PolicyAll6)
    }
}

fn options(by: By) -> Options {
    let mut o = Options::default();
    o.service.upstream_source = UpstreamSource::Client;
    o.service.server_mode = ServerMode::Active;
    o.service.ftps = Ftps::Opaque;
    o.server.tls = true;
    o.reverse = Some(if by.takes_all() { vec![] } else { vec![21, 20] });
    if by == By::Wccp {
        o.service.server_ports = vec![20];
        // Hosts whose stack heeds no ICMP: what is not ours has no MSS of ours.
        o.oversize = Oversize::Fragment;
    } else {
        o.way = Way::Policy;
    }
    if by.is_six() {
        o.six = true;
        o.service.mss_clamp = None;
    }
    o
}

/// What a TCP segment of either family carries.
fn payload(packet: &[u8]) -> Vec<u8> {
    tcp_of(packet).map(|t| t.payload).or_else(|| tcp6_of(packet).map(|t| t.payload)).unwrap_or_default()
}

/// Whether a hop saw a segment from this port, of either family.
fn seen_from(w: &World, hop: Hop, port: u16) -> bool {
    w.segments(hop).iter().any(|t| t.src.port() == port)
        || w.segments6(hop).iter().any(|t| t.src.port() == port)
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
    for by in ALL {
        let mut w = World::new(options(by));
        let mut c = w.connect(0, 5001);
        assert_eq!(&w.reply(&mut c)[..3], "220");
        assert!(w.cmd(&mut c, "FEAT").contains("AUTH TLS"));
        assert_eq!(w.cmd(&mut c, "AUTH TLS"), "234 Go on.\r\n");
        assert_eq!(covered(&w), 1, "{by:?}");
        let before = w.events.len();
        for n in [1, 5, 1023, 1024, 60_000] {
            exchange(&mut w, &mut c, n);
        }
        // What looks like commands and replies is neither.
        w.send(
            &c,
            b"EPSV\r\nUSER x\r\nPORT 10,0,0,10,100,1\r\nEPRT |2|fd00::a|25601|\r\n\xff\xf4\xff\xf2ABOR\r\n\0",
        );
        let socket = c.socket;
        let back = w.until(Duration::from_secs(5), "an answer", |w| {
            c.input.extend(w.hosts[0].read(socket));
            c.input.ends_with(b"VSPE").then(|| std::mem::take(&mut c.input))
        });
        assert_eq!(back[..8], *b"\0\n\rROBA\xf2");
        assert_eq!(w.events.len(), before, "{by:?}: {:#?}", &w.events[before..]);
        // Silence is longer than any idle time of ours.
        w.pass(Duration::from_secs(3600));
        exchange(&mut w, &mut c, 100);
    }
}

#[test]
fn an_end_is_passed_on_each_way_by_itself() {
    for by in ALL {
        let mut w = World::new(options(by));
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
        assert_eq!((w.remains(), w.sessions(), w.table.len()), ((0, 0, 0), 0, 0), "{by:?}");
    }
}

#[test]
fn a_refused_auth_leaves_the_session_clear() {
    for by in ALL {
        let mut o = options(by);
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
        assert_eq!(w.fetch(&mut c, "EPSV", "RETR f"), b"content", "{by:?}");
        assert_eq!(covered(&w), 0);
        assert_eq!(w.server.lines(0)[..2], ["AUTH TLS", "USER u"].map(String::from));
    }
}

#[test]
fn what_a_client_sends_behind_auth_before_its_answer_ends_the_session_unread() {
    let cases = [
        &[&b"AUTH TLS\r\nUSER injected\r\n"[..]][..],
        &[b"AUTH TLS\r\nU"],
        &[b"AUTH TLS\r\n\x16\x03\x01"],
        &[b"NOOP\r\nAUTH TLS\r\nUSER injected\r\n"],
        &[b"AUTH TLS\r\n", b"USER injected\r\n"],
        &[b"NOOP\r\nAUTH TLS\r\n", b"U"],
    ];
    for (parts, by) in cases.into_iter().flat_map(|parts| [By::Wccp, By::Policy6].map(|by| (parts, by))) {
        let mut w = World::new(options(by));
        let mut c = w.connect(0, 5001);
        assert_eq!(&w.reply(&mut c)[..3], "220");
        // The server's answer is on its way for as long as the client takes.
        w.loss = Some(Box::new(|hop, p| hop == Hop::FromHost(1) && payload(p).starts_with(b"234")));
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
        let mut o = options(By::Policy);
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
    let mut w = World::new(options(By::Wccp));
    let mut c = w.connect(0, 5001);
    assert_eq!(&w.reply(&mut c)[..3], "220");
    w.send(&c, b"NOOP\r\nSYST\r\nAUTH TLS\r\n");
    let codes: Vec<String> = (0..3).map(|_| w.reply(&mut c)[..3].to_owned()).collect();
    assert_eq!(codes, ["200", "200", "234"]);
    exchange(&mut w, &mut c, 10);
}

#[test]
fn what_was_announced_in_clear_text_is_expected_no_more_and_data_goes_past_us() {
    for (by, verb) in ALL.into_iter().flat_map(|by| ["EPSV", "EPRT"].map(|verb| (by, verb))) {
        let mut w = World::new(options(by));
        let mut c = w.login(0, 5001);
        if verb == "EPRT" {
            w.active(&mut c, verb);
        } else {
            w.passive(&mut c, verb);
        }
        assert_eq!(&w.cmd(&mut c, "AUTH TLS")[..3], "234");
        let told = w.told(|e| match e {
            What::Expectation { state: "superseded", reason, .. } => Some(reason.clone()),
            _ => None,
        });
        assert_eq!(told, ["the control channel is encrypted"], "{by:?} {verb}");
        // What the ends agree upon unseen: the server listens anywhere, or connects from its port 20.
        let (before, returned) = (w.events.len(), w.counter("returned"));
        w.watch();
        let (client, server) = (0, w.server_host);
        let at = |w: &World, host: usize, port| -> SocketAddr {
            let h = &w.hosts[host];
            if by.is_six() { (h.address6, port).into() } else { (h.address, port).into() }
        };
        let there = w.hosts[server].listen(41_000);
        let to = at(&w, server, 41_000);
        let d = w.data(&mut c, to);
        let here = w.hosts[client].listen(42_000);
        let to = at(&w, client, 42_000);
        let back = w.hosts[server].connect(20, to);
        w.pass(Duration::from_secs(1));
        for (from, to, left, right) in [(client, server, d, there), (server, client, back, here)] {
            for (from, to, left, right) in [(from, to, left, right), (to, from, right, left)] {
                assert_eq!(w.hosts[from].write(left, &[7; 20_000]), 20_000);
                let mut got = vec![];
                w.until(Duration::from_secs(5), "data that goes past us", |w| {
                    got.extend(w.hosts[to].read(right));
                    (got.len() == 20_000).then_some(())
                });
            }
        }
        assert_eq!((w.counter("translated"), w.counter("relayed")), (0, 0), "{by:?} {verb}");
        assert_eq!(w.events.len(), before, "{by:?} {verb}: {:#?}", &w.events[before..]);
        // What the router sends us of it all the same goes back as it was: all from a port of the lists.
        assert!(w.counter("returned") > returned, "{by:?} {verb}");
        assert_eq!(seen_from(&w, Hop::ToGateway, 41_000), by.takes_all(), "{by:?} {verb}");
        exchange(&mut w, &mut c, 10);
    }
}

#[test]
fn with_the_policy_refuse_nothing_of_this_happens() {
    for by in [By::Wccp, By::Policy, By::Policy6] {
        let mut o = options(by);
        o.service.ftps = Ftps::Refuse;
        let mut w = World::new(o);
        let mut c = w.connect(0, 5001);
        assert_eq!(&w.reply(&mut c)[..3], "220");
        let reply = w.cmd(&mut c, "AUTH TLS");
        assert!(reply.starts_with("534 ") && reply.contains("ftps = \"refuse\""), "{by:?}: {reply}");
        assert!(!w.cmd(&mut c, "FEAT").contains("AUTH"), "{by:?}");
        assert_eq!(covered(&w), 0);
        assert!(w.server.lines(0).iter().all(|l| !l.starts_with("AUTH")), "{by:?}");
    }
}
