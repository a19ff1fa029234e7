//! The control connection: what passes, what is answered, and how it ends.

use crate::support::*;
use smoltcp::socket::tcp::State;
use tidegate::engine::Control;
use tidegate::event::What;
use tidegate::time::Duration;

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

#[test]
fn replies_of_several_lines_and_unknown_verbs_pass_byte_exact() {
    let mut o = Options::default();
    o.server.greeting = b"220-Hello\r\n 220 not yet\r\n   indented\r\n220 now\r\n".to_vec();
    o.server.answers.push(("XYZZY", b"299-odd \t\r\n\x01\x7f\r\n299  spaced  out \r\n".to_vec()));
    let mut w = World::new(o);
    let mut c = w.connect(0, 5001);
    assert_eq!(w.reply(&mut c), "220-Hello\r\n 220 not yet\r\n   indented\r\n220 now\r\n");
    assert_eq!(w.cmd(&mut c, "HELP"), "214-Help\r\n 226 not an end\r\nmore\r\n214 Done\r\n");
    assert_eq!(w.cmd(&mut c, "XYZZY  a  b \x01"), "299-odd \t\r\n\x01\x7f\r\n299  spaced  out \r\n");
    assert_eq!(w.cmd(&mut c, "sItE chmod 644 \u{e4}\u{f6}"), "200 Got sItE chmod 644 \u{e4}\u{f6}\r\n");
    assert_eq!(w.server.log[1].1, b"XYZZY  a  b \x01");
}

#[test]
fn protection_is_refused_by_name_and_not_offered() {
    let mut w = World::new(Options::default());
    let mut c = w.login(0, 5001);
    for line in ["AUTH TLS", "AUTH SSL", "auth tls-c", "PBSZ 0", "PROT P", "CCC"] {
        let reply = w.cmd(&mut c, line);
        assert!(reply.starts_with("534 ") && reply.contains("ftps = \"refuse\""), "{line}: {reply}");
    }
    let features = w.cmd(&mut c, "FEAT");
    assert_eq!(features, "211-Features:\r\n EPSV\r\n SIZE\r\n211 End\r\n");
    assert_eq!(w.server.lines(0), ["USER u", "PASS p", "FEAT"], "the server heard of it");
}

#[test]
fn passwords_are_masked_in_events() {
    let mut w = World::new(Options::default());
    let mut c = w.login(0, 5001);
    w.cmd(&mut c, "ACCT hush");
    let said = w.told(|e| match e {
        What::Command { verb, argument, .. } => Some(format!("{verb} {argument}")),
        _ => None,
    });
    assert_eq!(said, ["USER u", "PASS ****", "ACCT ****"]);
}

#[test]
fn port_names_the_clients_own_address_and_an_unprivileged_port() {
    let mut w = World::new(Options::default());
    let mut c = w.login(0, 5001);
    for (line, code) in [
        ("PORT 10,0,0,11,100,1", "504"),
        ("EPRT |1|10.0.0.11|25601|", "504"),
        ("PORT 10,9,0,2,100,1", "504"),
        ("PORT 10,0,0,10,0,22", "5"),
        ("EPRT |1|10.0.0.10|1023|", "5"),
        ("PORT 10,0,0,10,100", "501"),
        ("PORT 10,0,0,10,256,1", "501"),
        ("EPRT |2|::1|25601|", "5"),
        ("EPRT |1|10.0.0.10|70000|", "501"),
    ] {
        let reply = w.cmd(&mut c, line);
        assert!(reply.starts_with(code), "{line}: {reply}");
    }
    assert_eq!(w.server.lines(0), ["USER u", "PASS p"], "the server was asked to listen");
    assert_eq!(&w.cmd(&mut c, "PORT 10,0,0,10,100,1")[..3], "200");
}

#[test]
fn after_epsv_all_nothing_else_is_taken() {
    let mut w = World::new(Options::default());
    let mut c = w.login(0, 5001);
    assert_eq!(&w.cmd(&mut c, "EPSV ALL")[..3], "200");
    for line in ["PASV", "PORT 10,0,0,10,100,1", "EPRT |1|10.0.0.10|25601|", "LPSV"] {
        assert_eq!(&w.cmd(&mut c, line)[..1], "5", "{line}");
    }
    assert!(w.fetch(&mut c, "EPSV", "LIST").is_empty());
}

/// A dialogue; everything that comes back.
fn dialogue(w: &mut World, byte_by_byte: bool) -> Vec<u8> {
    let mut c = w.connect(0, 5001);
    let script =
        b"USER u\r\nPASS p\r\nFEAT\r\nAUTH TLS\r\nHELP\r\nSYST\r\nPORT 1,2,3,4,5,6\r\nXX yy\r\nQUIT\r\n";
    let mut all = Vec::new();
    if byte_by_byte {
        for b in script {
            w.send(&c, &[*b]);
            w.pass(Duration::from_millis(1));
        }
    } else {
        w.send(&c, script);
    }
    let (host, socket) = (c.host, c.socket);
    w.until(secs(30), "end of the dialogue", |w| {
        all.extend(w.hosts[host].read(socket));
        w.hosts[host].at_end(socket).then_some(())
    });
    c.input.clear();
    assert_eq!(w.state(&c), State::CloseWait);
    all
}

#[test]
fn one_byte_a_segment_both_ways_gives_the_same_dialogue() {
    let whole = dialogue(&mut World::new(Options::default()), false);
    let mut w = World::new(Options::default());
    w.server.trickle = true;
    w.watch();
    let bytes = dialogue(&mut w, true);
    assert_eq!(String::from_utf8_lossy(&bytes), String::from_utf8_lossy(&whole));
    assert!(String::from_utf8_lossy(&whole).ends_with("200 Got XX yy\r\n221 Bye.\r\n"));
    let single = w.segments(Hop::FromHost(1)).iter().filter(|t| t.payload.len() == 1).count();
    assert!(single > 100, "the server's bytes came in {single} small segments");
}

#[test]
fn a_hundred_commands_in_one_segment_are_answered_in_order() {
    let mut w = World::new(Options::default());
    let mut c = w.login(0, 5001);
    let mut all = String::new();
    for n in 0..100 {
        all += &if n % 10 == 7 { "PBSZ 0\r\n".to_owned() } else { format!("X{n}\r\n") };
    }
    w.send(&c, all.as_bytes());
    for n in 0..100 {
        let reply = w.reply(&mut c);
        let want = if n % 10 == 7 { "534 ".to_owned() } else { format!("200 Got X{n}\r\n") };
        assert!(reply.starts_with(&want), "{n}: {reply}");
    }
}

#[test]
fn a_reset_of_one_leg_is_a_reset_of_the_other() {
    let mut w = World::new(Options::default());
    let c = w.login(0, 5001);
    w.watch();
    let s = c.socket;
    w.hosts[0].socket(s).abort();
    w.pass(secs(1));
    let to_server = w.segments(Hop::ToHost(1));
    assert!(to_server.iter().any(|t| t.flags & 4 != 0) && to_server.iter().all(|t| t.flags & 1 == 0));
    assert_eq!(w.sessions(), 0);
    let c = w.login(0, 5002);
    w.watch();
    let host = w.server_host;
    w.server.abort(&mut w.hosts[host], 1);
    w.pass(secs(1));
    let to_client = w.segments(Hop::ToHost(0));
    assert!(to_client.iter().any(|t| t.flags & 4 != 0) && to_client.iter().all(|t| t.flags & 1 == 0));
    assert_eq!((w.state(&c), w.sessions()), (State::Closed, 0));
}

#[test]
fn a_client_that_half_closes_still_gets_its_answers() {
    let mut w = World::new(Options::default());
    let mut c = w.login(0, 5001);
    w.send(&c, b"SYST\r\nQUIT\r\n");
    let s = c.socket;
    w.hosts[0].socket(s).close();
    assert_eq!(w.reply(&mut c), "200 Got SYST\r\n");
    assert_eq!(w.reply(&mut c), "221 Bye.\r\n");
    w.pass(secs(1));
    assert_eq!((w.sessions(), w.server.accepted), (0, 1));
}

#[test]
fn a_new_session_is_returned_while_draining_and_old_ones_go_on() {
    let mut w = World::new(Options::default());
    let mut c = w.login(0, 5001);
    // The router still redirects when the SYN comes: its packet meets a draining gateway.
    w.control(&[Control::Drain, Control::Leave]);
    let syn = segment(
        std::net::SocketAddr::from((CLIENT, 5002)),
        std::net::SocketAddr::from((SERVER, 21)),
        1,
        0,
        2,
    );
    let frame = redirected(&syn, [1, 61, 0, 3]);
    w.watch();
    w.gateway_gets(&frame);
    w.settle();
    assert_eq!(w.counter("returned"), 1);
    assert_eq!(w.sessions(), 1);
    // Old sessions' packets would come on until the router lets go; here it has at once.
    let direct = segment(at("10.0.0.10:5001"), at("10.1.0.10:21"), 1, 0, 0x10);
    w.gateway_gets(&redirected(&direct, [1, 61, 0, 3]));
    w.settle();
    assert_eq!(w.counter("returned"), 1, "a segment of a live session was returned");
    assert_eq!(w.poll_reply(&mut c), None);
    w.pass(secs(2));
    assert!(w.gates[0].engine.has_left());
}

/// A frame as the router's GRE redirection makes it.
fn redirected(inner: &[u8], header: [u8; 4]) -> Vec<u8> {
    let mut outer = vec![0; 28];
    outer.extend_from_slice(inner);
    tidegate::wire::build::gre_v4(&mut outer, ROUTER, GATEWAY, 9, tidegate::wire::gre::Redirect(header));
    [&GW_MAC[..], &ROUTER_MAC, &[8, 0], &outer].concat()
}

#[test]
fn sessions_beyond_the_limit_are_returned_and_reach_the_server_without_us() {
    for limit in ["sessions", "per_client"] {
        let mut o = Options::default();
        match limit {
            "sessions" => o.limits.sessions = 2,
            _ => o.limits.per_client = 2,
        }
        let mut w = World::new(o);
        let _two = (w.login(0, 5001), w.login(0, 5002));
        let mut third = w.connect(0, 5003);
        // The return goes to the server, whose answer passes us by; all its packets are returned.
        assert_eq!(&w.reply(&mut third)[..3], "220");
        assert!(w.cmd(&mut third, "XX yy").starts_with("200 Got XX"));
        assert_eq!(w.sessions(), 2);
        assert_eq!(w.counter("sessions_refused"), 1);
        assert!(w.counter("returned") >= 3);
        let told = w.told(|e| match e {
            What::Session { state: "refused", reason, .. } => Some(reason.clone()),
            _ => None,
        });
        assert!(told.len() == 1 && told[0].contains(limit), "{told:?}");
    }
}

#[test]
fn handshakes_that_race_do_not_pass_the_limit() {
    for limit in ["sessions", "per_client"] {
        let mut o = Options::default();
        match limit {
            "sessions" => o.limits.sessions = 2,
            _ => o.limits.per_client = 2,
        }
        let mut w = World::new(o);
        let all: Vec<Ctl> = (0..6).map(|n| w.connect(0, 5001 + n)).collect();
        w.pass(secs(1));
        assert_eq!(w.sessions(), 2, "{limit}");
        let open = all.iter().filter(|c| w.hosts[0].state(c.socket) == State::Established).count();
        assert_eq!(open, 2, "those beyond were reset");
        assert_eq!(w.remains().0, 0);
    }
}

#[test]
fn an_idle_session_is_told_and_goes_even_if_the_client_never_closes() {
    let mut o = Options::default();
    o.timers.control_idle = secs(30);
    let mut w = World::new(o);
    let mut c = w.login(0, 5001);
    w.pass(secs(29));
    assert_eq!(w.sessions(), 1);
    w.pass(secs(3));
    assert_eq!(&w.poll_reply(&mut c).unwrap()[..3], "421");
    assert_eq!(w.state(&c), State::CloseWait);
    w.pass(secs(120));
    assert_eq!(w.sessions(), 0, "a client that does not close keeps its session");
}

#[test]
fn a_server_that_closes_takes_the_session_with_it_even_if_the_client_never_closes() {
    let mut o = Options::default();
    o.timers.control_idle = secs(30);
    let mut w = World::new(o);
    let mut c = w.login(0, 5001);
    assert_eq!(&w.cmd(&mut c, "QUIT")[..3], "221");
    w.pass(secs(1));
    assert_eq!((w.state(&c), w.sessions()), (State::CloseWait, 1));
    w.pass(secs(120));
    assert_eq!(w.sessions(), 0);
}

#[test]
fn a_server_without_greeting_is_given_up_with_421() {
    let mut o = Options::default();
    o.server.greeting = vec![];
    let mut w = World::new(o);
    let mut c = w.connect(0, 5001);
    w.send(&c, b"USER early\r\n");
    w.pass(secs(29));
    assert_eq!(w.server.log.len(), 0, "a command went before the greeting");
    w.pass(secs(3));
    assert_eq!(&w.poll_reply(&mut c).unwrap()[..3], "421");
}

#[test]
fn a_line_without_end_is_refused_and_costs_no_memory() {
    let mut w = World::new(Options::default());
    let mut c = w.login(0, 5001);
    let long = [&b"A".repeat(60_000)[..], b"\r\nNOOP\r\n"].concat();
    w.send(&c, &long);
    assert_eq!(&w.reply(&mut c)[..3], "500");
    assert_eq!(w.reply(&mut c), "200 Got NOOP\r\n");
}

#[test]
fn what_is_not_ftp_is_reset() {
    for first in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"]
    {
        let mut w = World::new(Options::default());
        let mut c = w.connect(0, 5001);
        assert_eq!(&w.reply(&mut c)[..3], "220");
        w.send(&c, first);
        w.pass(secs(1));
        assert_eq!((w.state(&c), w.sessions()), (State::Closed, 0));
        assert_eq!(w.server.log.len(), 0);
    }
}

#[test]
fn a_synch_before_abor_reaches_the_server_as_urgent_data() {
    let mut w = World::new(Options::default());
    w.server.conf.files.insert("f".into(), vec![1; 1_000_000]);
    let mut c = w.login(0, 5001);
    let to = w.passive(&mut c, "PASV");
    w.data(&mut c, to);
    assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
    w.watch();
    w.send(&c, b"\xff\xf4\xff\xf2ABOR\r\n");
    assert_eq!(&w.reply(&mut c)[..3], "426");
    assert_eq!(&w.reply(&mut c)[..3], "226");
    let sent: Vec<Tcp> = w.segments(Hop::FromGateway).into_iter().filter(|t| t.dst.port() == 21).collect();
    let bytes: Vec<u8> = sent.iter().flat_map(|t| t.payload.clone()).collect();
    assert_eq!(bytes, b"\xff\xf4\xff\xf2ABOR\r\n");
    let urgent: Vec<&Tcp> = sent.iter().filter(|t| t.flags & 0x20 != 0).collect();
    assert!(urgent.len() == 1 && urgent[0].payload.starts_with(b"\xff\xf4\xff\xf2"), "{sent:?}");
}

#[test]
fn a_control_connection_that_is_quiet_lives_as_long_as_it_may() {
    let mut w = World::new(Options::default());
    let mut c = w.login(0, 5001);
    for _ in 0..3 {
        w.pass(secs(290));
        assert_eq!(&w.cmd(&mut c, "NOOP")[..3], "200");
    }
    assert_eq!(w.sessions(), 1);
}

fn at(text: &str) -> std::net::SocketAddr {
    text.parse().unwrap()
}
