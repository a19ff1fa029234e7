//! S: lines that are to be taken for others.

use crate::e_life::{pasv, says};
use crate::g_setup::{PORT, PORT_OUT, accepted};
use crate::net::{Net, shown_text};
use crate::packet::Packet;
use crate::setup::{Setup, WAYS, Way, bare, case};
use crate::support::{ACK, PSH, Seg};
use tidegate::alg::rules::Profile::{Compat, Standard, Strict};
use tidegate::firewall::Side;

/// The client's stack is handmade: it acknowledges up to the byte before `227`, and so makes the server's
/// retransmission begin there.
#[test]
fn s01_an_echoed_227_at_the_start_of_a_segment_opens_nothing() {
    for way in WAYS {
        for tuple in ["198,51,100,7,0,80", "198,51,100,7,195,80"] {
            let mut net = Net::new(&Setup::new(Standard).way(way));
            net.log_in();
            pasv(&mut net, "227 Entering Passive Mode (198,51,100,7,200,10).\r\n");
            net.c(format!("NLST 227 Entering Passive Mode ({tuple})\r\n"));
            net.server_gets(format!("NLST 227 Entering Passive Mode ({tuple})\r\n"));
            let text = format!("227 Entering Passive Mode ({tuple}): no such file\r\n");
            // Nothing that the gateway passes on reaches the client's own stack.
            net.cut[0] = true;
            let at = net.conns[0].server.stream.len();
            net.conns[0].server.stream.extend(format!("550 {text}").bytes());
            net.wait(50);
            net.acknowledges(at + 4);
            net.lost.clear();
            net.wait(20_000);
            net.nothing_is_open(&[80, 50_000]);
            // It was sent again, from there, and passed as it was.
            let seq = net.conns[0].server.manner.isn.wrapping_add(1 + at as u32 + 4);
            let again = net.lost.iter().find(|s| s.seq == seq && !s.payload.is_empty()).expect("sent again");
            assert!(text.as_bytes().starts_with(&again.payload));
            net.acknowledges(at + 4 + text.len());
            net.nothing_is_open(&[80, 50_000]);
            net.finish();
        }
    }
}

#[test]
fn s02_a_227_that_nobody_asked_for_opens_nothing() {
    for profile in [Compat, Standard] {
        case(profile, |net| {
            net.s("227 Entering Passive Mode (198,51,100,7,200,10).\r\n");
            net.client_gets("227 Entering Passive Mode (198,51,100,7,200,10).\r\n");
            net.nothing_is_open(&[51_210]);
            net.lives();
        });
    }
    case(Strict, |net| {
        net.s("227 Entering Passive Mode (198,51,100,7,200,10).\r\n");
        net.nothing_is_open(&[51_210]);
        net.ended();
    });
}

#[test]
fn s03_a_command_that_looks_like_a_reply_and_the_reverse() {
    let reply = "227 Entering Passive Mode (10,0,0,5,200,10).\r\n";
    let command = "PORT 198,51,100,7,200,10\r\n";
    case(Standard, |net| {
        net.c(reply);
        net.server_gets(reply);
        net.s("500 what\r\n");
        net.client_gets("500 what\r\n");
        net.s(command);
        net.client_gets(command);
        net.nothing_is_open(&[51_210]);
        net.lives();
    });
    case(Strict, |net| {
        net.c(reply);
        net.ended();
        net.nothing_is_open(&[51_210]);
    });
    case(Strict, |net| {
        net.s(command);
        net.ended();
        net.nothing_is_open(&[51_210]);
    });
}

const HTTP: &str = "POST / HTTP/1.1\r\nHost: 198.51.100.7:21\r\nContent-Length: 22\r\n\r\n";
const HTTP_PORT: &str = "PORT 10,0,0,5,195,80\r\n";

/// A browser is made to send lines of FTP, one of them at the start of a segment.
fn slipstream(replies: &[&str]) {
    for profile in [Compat, Standard, Strict] {
        bare(
            profile,
            |s| {
                if s.client_manner.piece > 5 {
                    s.client_manner.piece = HTTP.len()
                }
            },
            |net| {
                if let Some(greeting) = replies.first() {
                    net.s(greeting);
                }
                net.c(HTTP.to_owned() + HTTP_PORT);
                for reply in replies.iter().skip(1) {
                    net.s(reply);
                    net.nothing_is_open(&[50_000]);
                }
                net.s("200 PORT ok\r\n");
                net.nothing_is_open(&[50_000]);
                let there = shown_text(&net.server_got());
                assert!(!there.contains("203,0,113,9"), "rewritten: {there}");
                // Once not FTP, it stays so.
                net.c(PORT);
                net.s("200 ok\r\n");
                net.nothing_is_open(&[50_000, 5001]);
            },
        );
    }
}

#[test]
fn s04_http_that_carries_a_port_opens_nothing() {
    slipstream(&[]);
}

#[test]
fn s05_nor_does_it_with_a_server_that_plays_along() {
    slipstream(&["220 come in\r\n", "331 password\r\n", "230 welcome\r\n", "200 ok\r\n", "200 ok\r\n"]);
}

#[test]
fn s06_a_client_that_speaks_first_waits_for_the_greeting() {
    bare(
        Standard,
        |_| {},
        |net| {
            net.c("USER anna\r\n");
            net.server_gets("");
            net.s("220 ready\r\n");
            net.client_gets("220 ready\r\n");
            net.server_gets("USER anna\r\n");
            net.s("331 password\r\n");
            net.client_gets("331 password\r\n");
        },
    );
    for line in ["GET / HTTP/1.1\r\n", "SSH-2.0-x\r\n", "EHLO x\r\n"] {
        bare(
            Standard,
            |_| {},
            |net| {
                net.c(line);
                net.server_gets("");
                net.s("220 ready\r\n");
                net.server_gets("");
                net.ended();
            },
        );
    }
}

const ALL_AT_ONCE: &str = "USER a\r\nPASS geheim\r\nPORT 10,0,0,5,19,137\r\nLIST\r\n";

#[test]
fn s07_a_login_and_a_port_in_one_segment_go_step_by_step() {
    // The login is refused, so is PORT.
    bare(
        Standard,
        |_| {},
        |net| {
            net.s("220 ready\r\n");
            net.c(ALL_AT_ONCE);
            net.server_gets("USER a\r\n");
            net.s("331 password\r\n");
            net.server_gets("PASS geheim\r\n");
            net.s("530 no\r\n");
            net.server_gets("");
            let got = shown_text(&net.client_got());
            let lines: Vec<&str> = got.split_terminator("\\r\\n").collect();
            assert_eq!(&lines[..3], ["220 ready", "331 password", "530 no"]);
            assert!(lines.len() == 5 && lines[3].starts_with("530 "), "{got}");
            assert!(lines[4].starts_with("530 ") || lines[4].starts_with("425 "), "{got}");
            net.nothing_is_open(&[5001]);
        },
    );
    // The login is accepted, and PORT's turn comes.
    for profile in [Standard, Strict] {
        bare(
            profile,
            |_| {},
            |net| {
                net.s("220 ready\r\n");
                net.c(ALL_AT_ONCE);
                for (line, reply) in [
                    ("USER a\r\n", "331 password\r\n"),
                    ("PASS geheim\r\n", "230 in\r\n"),
                    (PORT_OUT, "200 ok\r\n"),
                    ("LIST\r\n", "150 here\r\n"),
                ] {
                    net.server_gets(line);
                    if line != "LIST\r\n" {
                        net.nothing_is_open(&[5001]);
                    }
                    net.s(reply);
                }
                net.active_comes_once(5001, 5001);
            },
        );
    }
}

#[test]
fn s08_no_port_before_a_login() {
    for line in [PORT, "EPRT |1|10.0.0.5|5001|\r\n"] {
        bare(
            Standard,
            |_| {},
            |net| {
                net.s("220 ready\r\n");
                net.client_gets("220 ready\r\n");
                net.c(line);
                net.server_gets("");
                net.client_gets_code(&["530"]);
                net.nothing_is_open(&[5001]);
                says(net, "USER a\r\n", "331 password\r\n");
                net.c(line);
                net.server_gets("");
                net.client_gets_code(&["530"]);
                net.nothing_is_open(&[5001]);
            },
        );
    }
}

#[test]
fn s09_a_telnet_command_within_a_verb_does_not_hide_it() {
    let line = b"PO\xFF\xF1RT 10,0,0,5,19,137\r\n";
    for profile in [Compat, Standard] {
        case(profile, |net| {
            net.c(line);
            net.server_gets(PORT_OUT);
            accepted(net);
        });
    }
    case(Strict, |net| {
        net.c(line);
        net.server_gets("");
        let got = shown_text(&net.client_got());
        assert!(got.starts_with("500 "), "{got}");
        net.nothing_is_open(&[5001]);
    });
}

#[test]
fn s10_erasing_does_not_make_a_port() {
    let line = b"XXXX\xFF\xF7\xFF\xF7\xFF\xF7\xFF\xF7PORT 10,0,0,5,19,137\r\n";
    case(Standard, |net| {
        net.c(line);
        let got = shown_text(&net.server_got());
        assert!(!got.contains("203,0,113,9"), "taken for a PORT: {got}");
        if !got.is_empty() {
            net.s("200 ok\r\n");
        }
        assert!(!net.client_got().is_empty());
        net.nothing_is_open(&[5001]);
        net.lives();
    });
    case(Strict, |net| {
        net.c(line);
        net.server_gets("");
        net.ended();
        net.nothing_is_open(&[5001]);
    });
}

/// A megabyte whole; 16 KiB in small pieces, which is far beyond any bound as well.
#[test]
fn s11_a_telnet_option_without_end_ends_the_session() {
    for way in WAYS {
        let mut net = Net::new(&Setup::new(Standard).way(way));
        net.log_in();
        let bytes = if matches!(way, Way::Whole | Way::Duplicated) { 1 << 20 } else { 16 << 10 };
        let mut text = b"\xFF\xFA\x18".to_vec();
        text.resize(bytes, b'x');
        net.conns[0].client.stream.extend(text);
        for _ in 0..50 {
            net.wait(100);
        }
        net.ended();
        assert!(net.server_got().len() < 8192, "{way:?}: it went on");
        net.finish();
    }
}

#[test]
fn s12_a_lone_cr_ends_no_line() {
    for profile in [Compat, Standard] {
        case(profile, |net| {
            net.c("NOOP\rPORT 10,0,0,5,19,137\n");
            let got = shown_text(&net.server_got());
            assert!(!got.contains("203,0,113,9"), "taken for a PORT: {got}");
            assert!(
                !got.contains("10,0,0,5"),
                "who takes the CR for an end is told an inside address: {got}"
            );
            if !got.is_empty() {
                net.s("500 what\r\n");
            }
            net.client_gets_code(&["500", "501"]);
            net.nothing_is_open(&[5001]);
            // It was one line: the next reply is the next command's.
            pasv(net, "227 Entering Passive Mode (198,51,100,7,200,10).\r\n");
            net.passive_comes_once(51_210);
        });
    }
}

/// Whatever a line begins with, and however it is cut: nobody is told an inside address, whichever bytes he takes for an end.
#[test]
fn s12_what_may_hide_an_announcement_hides_it_in_no_segmentation() {
    for line in [
        "\x0bPORT 10,0,0,5,19,137\r\n",
        "\x0c EPRT |1|10.0.0.5|5001|\r\n",
        "\0PORT 10,0,0,5,19,137\r\n",
        "NOOP\0PORT 10,0,0,5,19,137\r\n",
        "NOOP\0\x0bPORT 10,0,0,5,19,137\r\n",
        "NOOP\r\x0bPORT 10,0,0,5,19,137\r\n",
        "NOOP x\rPORT 10,0,0,5,19,137\r\n",
        "STAT \r\tEPRT |1|10.0.0.5|5001|\r\n",
        &format!("PORT 10,0,0,5,19,137{}\r\n", " ".repeat(5000)),
    ] {
        for profile in [Compat, Standard, Strict] {
            case(profile, |net| {
                net.c(line);
                let got = shown_text(&net.server_got());
                assert!(!got.contains("10,0,0,5") && !got.contains("10.0.0.5"), "{line:?}: {got}");
                net.nothing_is_open(&[5001]);
            });
        }
    }
    // A last line without its end.
    for line in ["\x0bPORT 10,0,0,5,19,137", "NOOP\rPORT 10,0,0,5,19,137", "\0EPRT |1|10.0.0.5|5001|"] {
        for profile in [Compat, Standard, Strict] {
            case(profile, |net| {
                net.conns[0].client.stream.extend(line.as_bytes());
                net.conns[0].client.closes = true;
                net.wait(1000);
                let got = shown_text(&net.server_got());
                assert!(!got.contains("10,0,0,5") && !got.contains("10.0.0.5"), "{line:?}: {got}");
            });
        }
    }
}

/// Half a minute after its first byte, however many came since. The client is told and both ends are reset a second later;
/// compat lets go what there is, strict resets.
#[test]
fn s13_a_line_that_drips_is_given_up() {
    for profile in [Compat, Standard, Strict] {
        case(profile, |net| {
            let begin = net.now;
            let upto = |net: &mut Net, at: u64| net.wait(begin + at - net.now);
            for (n, byte) in PORT.bytes().take(3).enumerate() {
                upto(net, 1 + 10_000 * n as u64);
                net.c([byte]);
            }
            upto(net, 29_990);
            net.server_gets("");
            net.client_gets("");
            assert!(net.resets() == [false; 2], "too early");
            upto(net, 30_050);
            match profile {
                Compat | Standard => {
                    net.client_gets("421 Closed by rule line-time: A command must end in time.\r\n")
                }
                Strict => {}
            }
            assert_eq!(net.resets(), [profile == Strict; 2]);
            upto(net, 30_900);
            assert_eq!(net.resets(), [profile == Strict; 2], "the 421 is still to be read");
            upto(net, 31_100);
            assert_eq!(net.resets(), [true; 2]);
            net.client_got();
            net.server_gets("");
            net.nothing_is_open(&[5001]);
        });
    }
}

impl Net {
    /// Whether client, server were reset.
    fn resets(&self) -> [bool; 2] {
        let c = &self.conns[self.on];
        [c.client.reset, c.server.reset]
    }

    /// The client acknowledges the server's stream up to here, by a segment of its own making.
    fn acknowledges(&mut self, upto: usize) {
        let c = &self.conns[0];
        let seg = Seg {
            seq: c.client.manner.isn.wrapping_add(1 + c.client.stream.len() as u32),
            ack: c.server.manner.isn.wrapping_add(1 + upto as u32),
            flags: ACK | PSH,
            window: 30_000,
            ..Seg::default()
        };
        let (src, dst) = self.near();
        self.give(Side::Inside, &Packet::new(src, dst, seg));
    }
}
