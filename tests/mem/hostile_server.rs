//! Servers that mean harm or are broken. Beside each, other sessions transfer and must not notice.

use crate::support::*;
use smoltcp::socket::tcp::State;
use tidegate::time::Duration;

#[test]
fn a_line_of_112_kb_ends_the_session_with_421() {
    for by in Meeting::ALL {
        let mut d = Duel::logged_in(by);
        d.client(b"NOOP\r\n");
        d.server(&[&b"200 "[..], &b"x".repeat(112 * 1024), b"\r\n"].concat());
        d.pass(Duration::from_secs(1));
        assert_eq!(d.told(), "421 Connection closed: line of the server too long.\r\n");
        assert_eq!(d.states(), (State::CloseWait, State::Closed));
        assert_eq!(d.w.counter("runaways"), 1);
        d.over();
    }
}

/// The limit of a reply is as usual in one meeting, and less in the others, which takes less time; the limit.
fn shortened(by: Meeting) -> (Options, usize) {
    let mut o = by.options();
    if by != Meeting::Gre {
        o.limits.reply = 65_536;
    }
    let limit = o.limits.reply;
    (o, limit)
}

#[test]
fn replies_and_strays_without_end_are_cut_off_with_421() {
    for by in Meeting::ALL {
        let feat = b" FEATURE\r\n".repeat(20_000);
        let cases = [
            (
                "multi-line reply",
                &b"HELP\r\n"[..],
                &b"214-Help\r\n"[..],
                b"214-more of it\r\n".repeat(40_000),
            ),
            ("lines without a code", b"NOOP\r\n", b"", b"no code here\r\n".repeat(40_000)),
            ("held reply", b"FEAT\r\n", b"211-Features\r\n", feat),
            ("unasked multi-line reply", b"", b"299-What\r\n", b"ever\r\n".repeat(80_000)),
        ];
        for (name, command, first, more) in cases {
            let (o, limit) = shortened(by);
            let mut d = Duel::logged_in_with(o);
            d.client(command);
            d.server(first);
            d.server(&more);
            d.pass(Duration::from_secs(1));
            let told = d.told();
            assert!(
                told.ends_with(".\r\n") && told.contains("421 Connection closed: reply of the server"),
                "{name}"
            );
            assert!(told.len() < limit + 1000, "{name}: {} bytes passed", told.len());
            assert_eq!((d.states().1, d.w.counter("runaways")), (State::Closed, 1), "{name}");
            d.over();
        }
    }
}

#[test]
fn a_greeting_without_end_is_cut_off_with_421() {
    for by in Meeting::ALL {
        let mut d = Duel::with(shortened(by).0);
        d.server(&b"220-x\r\n".repeat(150_000));
        d.pass(Duration::from_secs(1));
        let told = d.told();
        assert!(told.ends_with("421 Connection closed: reply of the server too long.\r\n"));
        assert_eq!(d.w.counter("runaways"), 1);
        d.over();
    }
}

#[test]
fn a_greeting_that_trickles_does_not_outlast_its_time() {
    for by in Meeting::ALL {
        let mut d = Duel::new(by);
        for _ in 0..35 {
            d.server(b"220-one more line, a second later\r\n");
            d.pass(Duration::from_secs(1));
        }
        assert!(d.told().ends_with("421 The server gave no greeting.\r\n"));
        assert_eq!(d.ended().as_deref(), None, "the client may still take its last words");
        d.over();
    }
}

#[test]
fn a_server_that_asks_for_patience_gets_it() {
    for by in Meeting::ALL {
        let mut d = Duel::new(by);
        d.server(b"120 In half a minute.\r\n");
        d.pass(Duration::from_secs(25));
        d.server(b"120 And another.\r\n");
        d.pass(Duration::from_secs(25));
        d.server(b"220 evil\r\n");
        d.client(b"NOOP\r\n");
        assert_eq!(d.told(), "120 In half a minute.\r\n120 And another.\r\n220 evil\r\n");
        assert_eq!(d.heard(), "NOOP\r\n");
        d.over();
    }
}

#[test]
fn nul_and_cr_do_not_reach_the_client_where_they_could_begin_a_reply() {
    for by in Meeting::ALL {
        let mut d = Duel::logged_in(by);
        d.client(b"NOOP\r\n");
        d.server(b"200 a\rb\0c\r\r\n");
        assert_eq!(d.told(), "200 a b c \r\n");
        d.line(by.passive());
        // Before the answer to PASV: who takes CR for an end of line sees a 227 of the attacker's.
        d.server(b"\r227 Entering Passive Mode (10,0,0,99,200,10)\r\n");
        let told = d.told();
        assert!(
            !told.contains('\r') || told.ends_with("\r\n") && told.matches('\r').count() == 1,
            "{told:?}"
        );
        d.server(b"229 Entering (|||51210|)\r\n");
        assert!(d.told().starts_with(by.told_passive()));
        d.over();
    }
}

#[test]
fn garbage_is_no_greeting() {
    for by in Meeting::ALL {
        let mut d = Duel::new(by);
        d.client(b"USER u\r\n");
        d.server(b"\x00\x01\xff\xfe\xfd\xfc\xfb\xfa\xff\xf0\x80garbage\r\nHTTP/1.1 400 Bad Request\r\n\r\n999 x\r\n22x\r\n");
        d.pass(Duration::from_secs(29));
        assert_eq!(d.heard(), "", "nothing of the client's goes before a greeting");
        d.pass(Duration::from_secs(2));
        assert!(d.told().ends_with("421 The server gave no greeting.\r\n"));
        d.over();
    }
}

#[test]
fn replies_that_nobody_asked_for_pass_and_mean_nothing() {
    for by in Meeting::ALL {
        let mut d = Duel::logged_in(by);
        d.server(
            b"200 unasked\r\n230 again\r\n150 begun\r\n226 done\r\n331 more\r\nPORT 10,0,0,11,200,10\r\n",
        );
        assert_eq!(
            d.told(),
            "200 unasked\r\n230 again\r\n150 begun\r\n226 done\r\n331 more\r\nPORT 10,0,0,11,200,10\r\n"
        );
        d.client(b"NOOP\r\nSYST\r\n");
        d.server(b"215 first\r\n200 second\r\n200 third\r\n");
        assert_eq!(d.told(), "215 first\r\n200 second\r\n200 third\r\n");
        d.line(by.passive());
        d.server(b"229 (|||51210|)\r\n");
        assert!(d.told().starts_with(by.told_passive()));
        d.over();
    }
}

#[test]
fn an_address_that_nobody_asked_for_does_not_reach_the_client() {
    for by in Meeting::ALL {
        let cases = [
            ("", "227 Entering Passive Mode (10,0,0,99,0,22).\r\n", "227 Nobody asked for an address.\r\n"),
            ("", "229 Entering Extended Passive Mode (|||22|)\r\n", "229 Nobody asked for an address.\r\n"),
            ("", "227-(10,0,0,99,200,10)\r\n227 ok\r\n", "227-Nobody asked for an address.\r\n227 ok\r\n"),
            (
                "NOOP",
                "227 Entering Passive Mode (10,0,0,99,200,10)\r\n",
                "227 Nobody asked for an address.\r\n",
            ),
            (
                "NOOP",
                "200 ok\r\n228 (4,4,10,0,0,9,2,9,9)\r\n",
                "200 ok\r\n228 Nobody asked for an address.\r\n",
            ),
            ("FEAT", "227 (10,0,0,99,200,10)\r\n", "227 Nobody asked for an address.\r\n"),
            ("QUIT", "227 Logout.\r\n", "227 Logout.\r\n"),
        ];
        for (command, said, told) in cases {
            let mut d = Duel::logged_in(by);
            let steered = d.w.counter("steered");
            if !command.is_empty() {
                d.client(format!("{command}\r\n").as_bytes());
            }
            d.server(said.as_bytes());
            assert_eq!(d.told(), told, "{said}");
            assert_eq!(d.w.counter("unasked_addresses"), u64::from(command != "QUIT"));
            // The bystanders go on; the duel has opened nothing.
            let others = d.w.told(|e| match e {
                tidegate::event::What::Expectation { state: "opened", server_side: Some(s), .. }
                    if *s == d.evil_at(s.port()) =>
                {
                    Some(())
                }
                _ => None,
            });
            assert!(others.is_empty() && d.w.counter("steered") >= steered);
            d.over();
        }
    }
}

#[test]
fn an_echo_of_an_argument_opens_nothing() {
    for by in Meeting::ALL {
        // CERT VU#328867: the error text holds what the client sent.
        for trap in
            ["227 Entering Passive Mode (10,1,0,66,200,10)", "229 Entering Extended Passive Mode (|||51210|)"]
        {
            let mut d = Duel::logged_in(by);
            d.client(format!("NLST {trap}\r\n").as_bytes());
            d.server(format!("550 {trap}: no such file\r\n").as_bytes());
            assert_eq!(d.told(), format!("550 {trap}: no such file\r\n"));
            assert_eq!(d.w.counter("unasked_addresses"), 0);
            let there = d.evil_at(51_210);
            let data = d.w.hosts[1].connect(7000, there);
            d.pass(Duration::from_secs(1));
            assert_eq!(
                d.w.hosts[1].state(data),
                State::Closed,
                "nobody listens there and nothing leads there"
            );
            d.over();
        }
    }
}

#[test]
fn a_close_in_mid_reply_ends_the_session_and_nothing_hangs() {
    for by in Meeting::ALL {
        for (command, said) in [
            ("FEAT", "211-Features:\r\n EPSV\r\n"),
            ("NOOP", "200"),
            ("HELP", "214-Help\r\n more"),
            (by.passive(), "229 Entering Extended Pas"),
            ("RETR f", "150 Here\r\n"),
        ] {
            for abort in [false, true] {
                let mut d = Duel::logged_in(by);
                d.client(format!("{command}\r\n").as_bytes());
                d.server(said.as_bytes());
                let (evil, s) = (d.evil, d.s);
                match abort {
                    true => d.w.hosts[evil].socket(s).abort(),
                    false => d.w.hosts[evil].socket(s).close(),
                }
                d.pass(Duration::from_secs(2));
                let ended = if abort { State::Closed } else { State::CloseWait };
                assert_eq!(d.states().0, ended, "{command} {abort}");
                d.over();
            }
        }
    }
}

/// What a server may say to the gateway's EPSV, and what the client then gets to its PASV.
#[test]
fn nonsense_for_a_passive_reply_is_a_425_and_the_session_lives() {
    for by in Meeting::ALL {
        let refused = [
            ("229 Entering (|||0|)", 0),
            ("229 Entering (|||70000|)", 0),
            ("229 Entering (||||)", 0),
            ("229 Entering ()", 0),
            ("229 Entering (|||-1|)", 0),
            ("229", 0),
            ("227 Entering Passive Mode (", 0),
            ("227 Entering Passive Mode (10,1,0,66,0,0)", 0),
            ("227 (10,1,0,66,200)", 0),
            ("227 (10,1,0,66,200,10,11)", 0),
            ("227 (10,1,0,66,256,10)", 0),
            ("227 (999999999999999999999,1,0,66,1,10)", 0),
            ("228 (4,4,10,1,0,66,2,0,0)", 0),
            ("200 ok", 0),
            ("250 (|||51210|)", 0),
            // Well known and other people's services, and a control port.
            ("229 Entering (|||22|)", 1),
            ("229 Entering (|||21|)", 1),
            ("227 (10,1,0,66,0,25)", 1),
            ("227 (10,1,0,66,12,234)", 1),
            ("229 Entering (|||6000|)", 1),
            ("229 Entering (|||1023|)", 1),
        ];
        for (said, denied) in refused {
            let mut d = Duel::logged_in(by);
            d.line(by.passive());
            assert_eq!(d.heard(), "EPSV\r\n");
            d.server(format!("{said}\r\n").as_bytes());
            let told = d.told();
            assert!(
                told.starts_with("425 No data connection: the server") && told.matches('\n').count() == 1,
                "{said}: {told}"
            );
            assert_eq!(d.w.counter("denied_ports"), denied, "{said}");
            d.client(b"NOOP\r\n");
            assert_eq!(d.heard(), "NOOP\r\n", "{said}");
            d.server(b"200 ok\r\n");
            assert_eq!(d.told(), "200 ok\r\n", "{said}");
            d.over();
        }
    }
}

#[test]
fn an_address_in_a_passive_reply_is_never_connected_to() {
    for by in Meeting::ALL {
        for said in [
            "227 Entering Passive Mode (10,0,0,10,200,10)",
            "227 Entering Passive Mode (10,9,0,2,200,10)",
            "227 Entering Passive Mode (0,0,0,0,200,10)",
            "227 127,0,0,1,200,10",
            "227-hello\r\n227 (192,168,1,1,200,10)",
            "227-(169,254,169,254,200,10)\r\n227 ok",
            "229 Ext (|1|10.0.0.10|51210|)",
            "228 Long (4,4,10,0,0,10,2,200,10)",
        ] {
            let mut d = Duel::logged_in(by);
            let evil = d.evil;
            let listening = d.w.hosts[evil].listen(51_210);
            d.line(by.passive());
            d.server(format!("{said}\r\n").as_bytes());
            let to = d.told_where();
            d.w.watch();
            let data = d.w.hosts[1].connect(7000, to);
            d.pass(Duration::from_secs(1));
            assert_eq!(
                (d.w.hosts[1].state(data), d.w.hosts[evil].state(listening)),
                (State::Established, State::Established)
            );
            let syns = d.w.segments_any(Hop::FromGateway);
            let there = syns.iter().find(|t| t.flags == 2 && t.dst.port() == 51_210).unwrap();
            assert_eq!(there.dst, d.evil_at(51_210), "{said}");
            d.over();
        }
    }
}

#[test]
fn a_server_that_negotiates_without_end_is_heard_no_further_than_it_listens() {
    for by in Meeting::ALL {
        let mut d = Duel::logged_in(by);
        // It asks and asks, and reads none of our refusals: what waits for it is bounded, and the rest is not read.
        for _ in 0..400 {
            let (evil, s) = (d.evil, d.s);
            let socket = d.w.hosts[evil].socket(s);
            if socket.send_capacity() - socket.send_queue() >= 600 {
                d.w.hosts[evil].write(s, &b"\xff\xfd\x01\xff\xfb\x03".repeat(100));
            }
            d.w.pass(Duration::from_millis(1));
        }
        d.server(b"\xff\xfa\x18subnegotiation without end, and more of it, and more of it, and yet more of it than anybody would send\r\n");
        d.pass(Duration::from_secs(1));
        let told = d.told();
        assert!(told.ends_with("421 Connection closed: telnet subnegotiation without end.\r\n"), "{told}");
        d.over();
    }
}

#[test]
fn a_code_where_none_belongs_is_text() {
    for by in Meeting::ALL {
        let mut d = Duel::logged_in(by);
        d.client(b"HELP\r\n");
        // Inside another reply, and with more digits than a code has: some clients look at three of them.
        d.server(b"214-Help\r\n227 Entering Passive Mode (10,0,0,99,200,10)\r\n  a\r\n214-b\r\n214 c\r\n");
        assert_eq!(
            d.told(),
            "214-Help\r\n 227 Entering Passive Mode (10,0,0,99,200,10)\r\n  a\r\n214-b\r\n214 c\r\n"
        );
        d.line(by.passive());
        d.server(b"2270 (10,0,0,99,200,10)\r\n227(10,0,0,99,200,10)\r\n229 (|||51210|)\r\n");
        let told = d.told();
        assert!(
            told.starts_with(" 2270 (10,0,0,99,200,10)\r\n 227(10,0,0,99,200,10)\r\n")
                && told.contains(&format!("\r\n{}", by.told_passive())),
            "{told}"
        );
        d.over();
    }
}
