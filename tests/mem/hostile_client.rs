//! Clients that mean harm or are broken. Beside each, other sessions transfer and must not notice.

use crate::support::*;
use smoltcp::socket::tcp::State;
use tidegate::event::What;
use tidegate::time::Duration;

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

#[test]
fn what_does_not_begin_as_ftp_is_reset_and_the_server_hears_nothing() {
    for by in Meeting::ALL {
        let long = b"A".repeat(6000);
        let cases: [&[u8]; 14] = [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"get /ftp HTTP/1.0\n\n",
            b"POST /PORT HTTP/1.1\r\n\r\nPORT 10,0,0,11,13,61\r\n",
            b"OPTIONS sip:a@b SIP/2.0\r\n",
            b"SSH-2.0-OpenSSH_9.9\r\n",
            b"EHLO me\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"\x16",
            b"227 Entering Passive Mode (10,0,0,11,200,10)\r\n",
            b"\x00\x01\x00\x08\x21\x12\xa4\x42 binary\r\n",
            b"US\0ER u\r\n",
            b"NOOP\rPORT 10,0,0,11,200,10\r\n",
            b"\r\n \r\nM-SEARCH * HTTP/1.1\r\n",
            &long,
        ];
        for first in cases {
            for early in [true, false] {
                let mut d = Duel::new(by);
                if early {
                    // What comes before the greeting waits for it.
                    d.client(first);
                    d.server(b"220 evil\r\n");
                } else {
                    d.server(b"220 evil\r\n");
                    d.client(first);
                }
                d.pass(secs(1));
                let name = String::from_utf8_lossy(&first[..first.len().min(20)]).into_owned();
                assert_eq!(d.states(), (State::Closed, State::Closed), "{name}");
                assert_eq!((d.heard(), d.w.counter("not_ftp")), (String::new(), 1), "{name}");
                assert_eq!(d.ended().as_deref(), Some("the client does not speak FTP"), "{name}");
                d.over();
            }
        }
    }
}

#[test]
fn slipstreaming_with_a_server_that_plays_along_opens_nothing() {
    for by in Meeting::ALL {
        // A browser is made to POST to port 21; the body begins a segment, and the server answers as if it were FTP.
        let mut d = Duel::new(by);
        d.server(b"220 come\r\n331 in\r\n230 and\r\n200 open\r\n");
        d.client(b"POST /x HTTP/1.1\r\nContent-Length: 1\r\n\r\n");
        let named = d.w.names(1, 3389);
        d.line(&named);
        d.pass(secs(1));
        assert_eq!((d.states().0, d.heard()), (State::Closed, String::new()));
        // The hole that it wanted: no SYN from outside reaches the client.
        let (evil, inside) = (d.evil, d.w.hosts[1].listen(3389));
        let hole = d.w.at(1, 3389);
        d.w.hosts[evil].connect(20, hole);
        d.w.watch();
        d.pass(secs(1));
        let there = |hop| {
            let all = d.w.segments_any(hop).into_iter().filter(|t| t.dst.port() == 3389);
            all.map(|t| (t.src, t.dst, t.seq, t.ack, t.flags)).collect::<Vec<_>>()
        };
        // What a policy brings of somebody else's goes back as it came, and is seen doing so.
        let back = if by == Meeting::SixSpoofed { there(Hop::ToGateway) } else { vec![] };
        assert_eq!(there(Hop::FromGateway), back, "the gateway connects to the client");
        assert!(d.w.counter("returned") >= back.len() as u64);
        let expected = d.w.told(|e| match e {
            What::Expectation { client_side, .. } if client_side.port() == 3389 => Some(()),
            _ => None,
        });
        assert!(expected.is_empty());
        d.w.hosts[1].socket(inside).abort();
        d.over();
    }
}

#[test]
fn no_data_connection_is_set_up_before_a_login() {
    for by in Meeting::ALL {
        let mut d = Duel::new(by);
        let named = d.w.names(1, 51_210);
        let setup = [&named[..], "PORT 10,0,0,11,200,10", "EPRT |1|10.0.0.11|51210|", "PASV", "EPSV"];
        d.server(b"220 evil\r\n");
        d.told();
        for line in setup {
            d.client(format!("{line}\r\n").as_bytes());
            assert_eq!((d.told(), d.heard()), ("530 Log in first.\r\n".into(), String::new()), "{line}");
        }
        // In one segment, and a login that fails.
        d.client(format!("USER a\r\nPASS b\r\n{named}\r\nLIST\r\n").as_bytes());
        assert_eq!(d.heard(), "USER a\r\nPASS b\r\n", "PORT waits for the login's answer, and LIST for PORT");
        d.server(b"331 go on\r\n");
        assert_eq!(d.heard(), "");
        d.server(b"530 no\r\n");
        assert_eq!(d.told(), "331 go on\r\n530 no\r\n530 Log in first.\r\n");
        assert_eq!(d.heard(), "LIST\r\n");
        d.server(b"530 no\r\n");
        // And one that succeeds.
        d.client(format!("USER a\r\nPASS b\r\n{}\r\n", by.passive()).as_bytes());
        d.server(b"331 go on\r\n230 in\r\n");
        assert_eq!(d.heard(), "USER a\r\nPASS b\r\nEPSV\r\n");
        d.server(b"229 (|||51210|)\r\n");
        assert!(d.told().contains(&format!("230 in\r\n{}", by.told_passive())));
        d.over();
    }
}

#[test]
fn a_bounce_is_refused_by_rule_and_the_server_never_hears_of_it() {
    let four: [(&str, &str, (u64, u64)); 31] = [
        // Another client, the gateway, the server itself, loopback, nobody.
        ("PORT 10,0,0,10,200,10", "504 Refused: the address is not yours.\r\n", (1, 0)),
        ("PORT 10,9,0,2,200,10", "504 Refused: the address is not yours.\r\n", (1, 0)),
        ("PORT 10,1,0,66,200,10", "504 Refused: the address is not yours.\r\n", (1, 0)),
        ("PORT 127,0,0,1,200,10", "504 Refused: the address is not yours.\r\n", (1, 0)),
        ("PORT 0,0,0,0,200,10", "504 Refused: the address is not yours.\r\n", (1, 0)),
        ("EPRT |1|10.0.0.10|51210|", "504 Refused: the address is not yours.\r\n", (1, 0)),
        ("EPRT |2|::ffff:10.0.0.10|51210|", "504 Refused: the address is not yours.\r\n", (1, 0)),
        // Of the other family (RFC 2428 section 2), which comes before whose it is.
        ("EPRT |2|fe80::1|51210|", "522 Network protocol not supported, use (1)\r\n", (0, 0)),
        // Privileged, other people's services, the control port.
        ("PORT 10,0,0,11,0,25", "504 ", (0, 1)),
        ("PORT 10,0,0,11,3,255", "504 ", (0, 1)),
        ("PORT 10,0,0,11,12,234", "504 ", (0, 1)),
        ("EPRT |1|10.0.0.11|6379|", "504 ", (0, 1)),
        ("EPRT |2|::ffff:10.0.0.11|21|", "504 ", (0, 1)),
        // No address at all.
        ("PORT 10,0,0,11,0,0", "501 ", (0, 0)),
        ("PORT 10,0,0,11,19,393", "501 ", (0, 0)),
        ("PORT 10,0,0,11,,22", "501 ", (0, 0)),
        ("PORT ,,,,,", "501 ", (0, 0)),
        ("PORT 10,0,0,11,200,10,1", "501 ", (0, 0)),
        ("PORT", "501 ", (0, 0)),
        ("EPRT |3|x|1|", "522 ", (0, 0)),
        ("EPRT |1|fe80::1|5001|", "501 ", (0, 0)),
        ("EPRT |1|10.0.0.11|65536|", "501 ", (0, 0)),
        ("EPRT |1|10.0.0.11|0|", "501 ", (0, 0)),
        ("EPRT 11110.0.0.1115150011", "501 ", (0, 0)),
        ("EPRT |2|fe80::1%eth0|5001|", "501 ", (0, 0)),
        ("EPSV 3", "522 ", (0, 0)),
        ("EPSV xyz", "501 ", (0, 0)),
        ("LPRT 4,4,10,0,0,10,2,200,10", "502 ", (0, 0)),
        ("CPSV", "502 ", (0, 0)),
        ("SSCN ON", "502 ", (0, 0)),
        ("REIN", "502 ", (0, 0)),
    ];
    const NOT_YOURS: &str = "504 Refused: the address is not yours.\r\n";
    let six = [
        // Another client, the gateway, the server, loopback, nobody, a group, an address of one link.
        ("EPRT |2|fd00::a|51210|", NOT_YOURS, (1, 0)),
        ("EPRT |2|fd00:0:0:9::2|51210|", NOT_YOURS, (1, 0)),
        ("EPRT |2|fd00:0:0:1::42|51210|", NOT_YOURS, (1, 0)),
        ("EPRT |2|::1|51210|", NOT_YOURS, (1, 0)),
        ("EPRT |2|::|51210|", NOT_YOURS, (1, 0)),
        ("EPRT |2|ff02::1|51210|", NOT_YOURS, (1, 0)),
        ("EPRT |2|fe80::b|51210|", NOT_YOURS, (1, 0)),
        ("EPRT |2|fe80::b%eth0|51210|", "501 ", (0, 0)),
        ("EPRT |2|::ffff:10.0.0.11|51210|", "522 Network protocol not supported, use (2)\r\n", (0, 0)),
        ("EPRT |1|10.0.0.11|51210|", "522 Network protocol not supported, use (2)\r\n", (0, 0)),
        ("EPRT |2|10.0.0.11|51210|", "501 ", (0, 0)),
        ("PORT 10,0,0,11,200,10", "501 PORT names an IPv4 address; use EPRT.\r\n", (0, 0)),
        ("EPRT |2|fd00::b|25|", "504 ", (0, 1)),
        ("EPRT |2|fd00::b|1023|", "504 ", (0, 1)),
        ("EPRT |2|fd00::b|6379|", "504 ", (0, 1)),
        ("EPRT |2|fd00::b|21|", "504 ", (0, 1)),
        ("EPRT |2|fd00::b|0|", "501 ", (0, 0)),
        ("EPRT |2|fd00::b|65536|", "501 ", (0, 0)),
        ("EPRT |2|fd00::b::1|51210|", "501 ", (0, 0)),
        ("EPSV 1", "522 ", (0, 0)),
        ("LPRT 6,16,253,0,0,0,0,0,0,0,0,0,0,0,0,0,0,11,2,200,10", "502 ", (0, 0)),
    ];
    for (by, (line, reply, counted)) in Meeting::ALL.into_iter().flat_map(|by| {
        let cases = if by.six() { &six[..] } else { &four };
        cases.iter().map(move |case| (by, *case))
    }) {
        let mut d = Duel::logged_in(by);
        d.line(line);
        let told = d.told();
        assert!(told.starts_with(reply) && told.matches('\n').count() == 1, "{line}: {told}");
        assert_eq!(d.heard(), "", "{line}");
        assert_eq!((d.w.counter("foreign_addresses"), d.w.counter("denied_ports")), counted, "{line}");
        d.client(b"NOOP\r\n");
        d.server(b"200 ok\r\n");
        assert_eq!(d.told(), "200 ok\r\n", "{line}");
        d.over();
    }
}

#[test]
fn a_command_hidden_behind_another_is_no_command() {
    for by in Meeting::ALL {
        let cases: [(&[u8], &str, &str); 9] = [
            // Where a line ends, and what is in it.
            (b"PORT\r\nNOOP 10,0,0,11,200,10\r\n", "501 ", "NOOP 10,0,0,11,200,10\r\n"),
            (b"PORTX 10,0,0,11,200,10\r\n", "", "PORTX 10,0,0,11,200,10\r\n"),
            (b"STOR a\rPORT 10,0,0,10,0,25\r\n", "500 CR", ""),
            (b"STOR a\0PORT 10,0,0,10,0,25\r\n", "501 NUL", ""),
            (b"STOR a\r\0b\r\n", "", "STOR a\r\0b\r\n"),
            (b"NOOP\n", "", "NOOP\r\n"),
            (b"NOOP\r\r\n", "500 ", ""),
            (b"PO\0RT 10,0,0,11,200,10\r\n", "501 NUL", ""),
            (b"227 Entering Passive Mode (10,0,0,11,200,10)\r\n", "500 ", ""),
        ];
        for (said, told, heard) in cases {
            let mut d = Duel::logged_in(by);
            d.client(said);
            let name = String::from_utf8_lossy(said).into_owned();
            let got = d.told();
            assert!(got.starts_with(told) && (got.is_empty() == told.is_empty()), "{name}: {got}");
            assert_eq!(d.heard(), heard, "{name}");
            d.over();
        }
    }
}

#[test]
fn telnet_is_taken_out_before_a_command_is_looked_at() {
    for by in Meeting::ALL {
        let cases: [(&[u8], &[u8], &[u8]); 8] = [
            // A NOP, a GA and a refusal inside the verb: PORT is PORT, and refused.
            (
                b"PO\xff\xf1R\xff\xf9T\xff\xfc\x01 10,0,0,10,200,10\r\n",
                b"504 Refused: the address is not yours.\r\n",
                b"",
            ),
            // What some erase is not erased: no PORT.
            (b"XXXX\xff\xf7\xff\xf7\xff\xf7\xff\xf7PORT\r\n", b"", b"XXXXPORT\r\n"),
            (b"XX\r\xff\xf8PORT 1,2,3,4,5,6\r\n", b"500 Command not understood.\r\n", b""),
            (b"\xff\xfb\x01\xff\xfd\x03NOOP\r\n", b"\xff\xfe\x01\xff\xfc\x03", b"NOOP\r\n"),
            (b"\xff\xfc\x01\xff\xfe\x03NOOP\r\n", b"", b"NOOP\r\n"),
            (b"NO\xff\xfa\x18x\xff\xff\xf0y\xff\xf0OP\r\n", b"", b"NOOP\r\n"),
            (b"CWD \xff\xff\r\n", b"", b"CWD \xff\xff\r\n"),
            (b"\xff\xf4\xff\xf2ABOR\r\n", b"", b"\xff\xf4\xff\xf2ABOR\r\n"),
        ];
        for (said, told, heard) in cases {
            let mut d = Duel::logged_in(by);
            let told = if by.six() && told.starts_with(b"504") {
                b"501 PORT names an IPv4 address; use EPRT.\r\n"
            } else {
                told
            };
            d.client(said);
            assert_eq!((&d.told[..], &d.heard[..]), (told, heard), "{:?}", String::from_utf8_lossy(said));
            d.over();
        }
    }
}

#[test]
fn telnet_without_end_is_bounded_or_ends() {
    for by in Meeting::ALL {
        let mut d = Duel::logged_in(by);
        d.client(&b"\xff\xfd\x01\xff\xfb\x03".repeat(20_000));
        d.client(b"NOOP\r\n");
        assert_eq!(d.heard(), "NOOP\r\n");
        assert_eq!(d.told.len(), 20_000 * 6);
        d.told();
        d.client(&[&b"\xff\xfa\x18"[..], &b"x".repeat(1_000_000)].concat());
        d.pass(secs(1));
        assert_eq!(d.told(), "421 Connection closed: telnet subnegotiation without end.\r\n");
        assert_eq!((d.heard(), d.w.counter("runaways")), (String::new(), 1));
        d.over();
    }
}

#[test]
fn a_line_over_the_limit_is_refused_once_and_the_next_one_counts() {
    for by in Meeting::ALL {
        let mut d = Duel::logged_in(by);
        d.client(&[&b"CWD "[..], &b"x".repeat(1_000_000), b"\r\nCWD "].concat());
        d.client(&[&b"y".repeat(4092 - 4)[..], b"\r\n"].concat());
        assert_eq!(d.told(), "500 Line too long.\r\n");
        d.pass(secs(1));
        assert_eq!(d.heard.len(), 4094);
        assert_eq!(d.heard(), format!("CWD {}\r\n", "y".repeat(4088)));
        d.over();
    }
}

#[test]
fn a_client_that_asks_and_asks_waits_for_its_answers() {
    for by in Meeting::ALL {
        let mut d = Duel::logged_in(by);
        d.client(&b"NOOP\r\n".repeat(500));
        assert_eq!(d.heard(), "NOOP\r\n".repeat(64), "no more than the limit `commands` is asked");
        d.server(&b"200 ok\r\n".repeat(10));
        assert_eq!(d.heard(), "NOOP\r\n".repeat(10));
        for _ in 0..49 {
            d.server(&b"200 ok\r\n".repeat(10));
        }
        d.pass(secs(1));
        assert_eq!((d.told.len(), d.heard.len()), (500 * 8, 426 * 6));
        d.over();
    }
}

#[test]
fn one_byte_a_segment_is_the_same_dialogue() {
    for by in Meeting::ALL {
        let mut d = Duel::logged_in(by);
        for b in [b"NO\xff\xf1OP\r\n", by.passive().as_bytes(), b"\r\n"].concat() {
            d.client(&[b]);
        }
        assert_eq!(d.heard(), "NOOP\r\nEPSV\r\n");
        for b in b"200-a\r\n200 b\r\n229 (|||51210|)\r\n" {
            d.server(&[*b]);
        }
        let told = d.told();
        assert!(told.starts_with(&format!("200-a\r\n200 b\r\n{}", by.told_passive())), "{told}");
        d.over();
    }
}

#[test]
fn ports_asked_for_again_and_again_leave_nothing_behind() {
    for by in Meeting::ALL {
        let mut d = Duel::logged_in(by);
        for n in 0..600u16 {
            let (verb, answer) = match n % 2 {
                0 => (d.w.names(1, 51_210), "229 (|||51210|)"),
                _ if d.w.six => (d.w.names(1, 51_211), "229 (|||51211|)"),
                _ => ("EPRT |1|10.0.0.11|51211|".to_owned(), "229 (|||51211|)"),
            };
            d.client(format!("{verb}\r\n").as_bytes());
            d.server(format!("{answer}\r\n").as_bytes());
            assert!(d.told().starts_with("200 "), "{n}");
            d.heard.clear();
        }
        let opened = d.w.told(|e| match e {
            What::Expectation { state: "opened", client_side, .. } if client_side.port() > 51_000 => Some(()),
            _ => None,
        });
        assert_eq!(opened.len(), 600);
        d.over();
    }
}

#[test]
fn data_connections_that_nobody_closes_have_their_limit_for_each_session() {
    for by in Meeting::ALL {
        let mut d = Duel::logged_in(by);
        let mut sockets = vec![];
        for n in 0..20u16 {
            let (evil, port) = (d.evil, 51_000 + n);
            d.w.hosts[evil].listen(port);
            d.client(b"EPSV\r\n");
            d.server(format!("229 (|||{port}|)\r\n").as_bytes());
            let to = d.told_where();
            sockets.push(d.w.hosts[1].connect(8000 + n, to));
            d.pass(Duration::from_millis(500));
        }
        let open = |d: &mut Duel, s: &[_]| {
            s.iter().filter(|s| d.w.hosts[1].state(**s) == State::Established).count()
        };
        assert_eq!((open(&mut d, &sockets), d.w.counter("flows_refused")), (16, 4));
        // Whoever closes one may open one.
        d.w.hosts[1].socket(sockets[0]).abort();
        d.pass(secs(1));
        d.client(b"EPSV\r\n");
        d.server(b"229 (|||51000|)\r\n");
        let evil = d.evil;
        d.w.hosts[evil].listen(51_000);
        let to = d.told_where();
        let again = d.w.hosts[1].connect(8100, to);
        d.pass(secs(1));
        assert_eq!(d.w.hosts[1].state(again), State::Established);
        sockets.iter().chain([&again]).for_each(|s| d.w.hosts[1].socket(*s).abort());
        d.over();
    }
}

#[test]
fn a_data_connection_that_the_server_never_answers_goes_after_connect() {
    for by in Meeting::ALL {
        let mut w = World::new(by.options());
        let mut c = w.login(0, 5001);
        let to = w.passive_any(&mut c, by.passive());
        w.loss = Some(Box::new(|hop, p| {
            hop == Hop::ToHost(1) && tcp_any_of(p).is_some_and(|t| t.dst.port() != 21)
        }));
        w.data(&mut c, to);
        w.pass(secs(4));
        let live = |w: &World| w.gates[0].engine.registry().unwrap().live_flows();
        assert_eq!(live(&w), 1, "it may still be answered");
        w.pass(secs(2));
        assert_eq!((live(&w), w.sessions()), (0, 1));
    }
}

#[test]
fn a_reset_from_nowhere_ends_no_transfer() {
    for (by, off) in Meeting::ALL.into_iter().flat_map(|by| [1 << 30, 1 << 31].map(|off| (by, off))) {
        let mut o = by.options();
        let file = b"what is wanted".repeat(20_000);
        o.server.files.insert("f".into(), file.clone());
        let mut w = World::new(o);
        let mut c = w.login(0, 5001);
        let to = w.passive_any(&mut c, by.passive());
        w.watch();
        let d = w.data(&mut c, to);
        assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
        // Its sender knows the ports but not the numbers, so no end takes it, as far off as a number can be.
        let own = w.segments_any(Hop::FromHost(0)).into_iter().rfind(|t| t.dst == to).unwrap();
        w.host_sends(0, &segment(own.src, to, own.seq.wrapping_add(off), 0, 4));
        w.settle();
        let told = w.segments_any(Hop::ToHost(1)).into_iter().filter(|t| t.flags & 4 != 0).count();
        assert_eq!(told, 1, "it passes");
        // The client takes its time, as long as what is over keeps its place and longer.
        w.pass(secs(20));
        assert!(w.read_all(&c, d) == file);
        assert_eq!(&w.reply(&mut c)[..3], "226");
        w.pass(secs(1));
        let verdicts = w.told(|e| match e {
            What::Transfer { bytes, verdict, .. } => Some((*bytes, *verdict)),
            _ => None,
        });
        assert_eq!(verdicts, [(file.len() as u64, "complete")]);
    }
}

/// Sessions that send a byte a minute, in every stage of a session: their times end them.
#[test]
fn slow_loris_is_ended_by_the_timers_and_kept_out_by_the_limit_of_each_client() {
    for by in Meeting::ALL {
        let mut o = Options { clients: 3, ..by.options() };
        o.limits.per_client = 30;
        o.server.backlog = 64;
        o.timers.control_idle = secs(300);
        let mut w = World::new(o);
        let mut good = Bystander::new(&mut w, 0, 5001);
        let mut slow: Vec<Ctl> = (0..40).map(|n| w.connect(1, 6001 + n)).collect();
        // Ten log in, and ten more are on their way to.
        for c in slow.iter_mut().take(20) {
            assert_eq!(&w.reply(c)[..3], "220");
            assert_eq!(&w.cmd(c, "USER u")[..3], "331");
        }
        for c in slow.iter_mut().take(10) {
            assert_eq!(&w.cmd(c, "PASS p")[..3], "230");
        }
        // Some SYNs were lost while the router was looked for, and come again.
        w.pass(secs(2));
        let of_gateway = |w: &World| w.sessions() - 1;
        // All clients of IPv6 here are of one /64, whose limit is shared with the good one.
        let most = if by.six() { 29 } else { 30 };
        assert_eq!(of_gateway(&w), most, "the rest went to the server without us");
        assert!(w.counter("sessions_refused") >= 10);
        let mut alive = vec![];
        for minute in 0..7 {
            for c in &slow[..30] {
                let (host, socket) = (c.host, c.socket);
                w.hosts[host].write(socket, b"N");
            }
            for _ in 0..600 {
                w.pass(Duration::from_millis(100));
                good.step(&mut w);
            }
            alive.push(of_gateway(&w));
            assert!(minute < 6 || of_gateway(&w) == 0);
        }
        // The login's minute is over for all that had not logged in; the others were idle, whatever bytes they sent.
        assert_eq!(alive[1..], [10, 10, 10, 10, 0, 0], "{alive:?}");
        good.finish(&mut w);
        // A newcomer of that client has its place again.
        let mut c = w.login(1, 7001);
        assert_eq!(&w.cmd(&mut c, "NOOP")[..3], "200");
        assert_eq!(w.sessions(), 2);
    }
}
