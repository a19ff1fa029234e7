//! S: clients that say too much at once, or nothing.

use crate::e_life::says;
use crate::g_setup::{PORT, PORT_OUT};
use crate::net::{Net, shown_text};
use crate::setup::{bare, case, case_with};
use tidegate::alg::rules::Profile::{Compat, Standard, Strict};

const LINES: usize = 60;

fn noops() -> String {
    (0..LINES).map(|n| format!("NOOP {n}\r\n")).collect()
}

/// Lines that the server got since it was looked at last.
fn count(net: &mut Net) -> usize {
    net.server_got().iter().filter(|b| **b == b'\n').count()
}

#[test]
fn commands_that_come_too_fast_wait_and_none_is_lost() {
    case_with(
        Standard,
        |s| s.rules().commands_per_second = 20,
        |net| {
            let (begin, before) = (net.now, net.conns[0].server.got.len());
            net.c(noops());
            let mut got = 0;
            while net.now < begin + 5000 {
                got += count(net);
                // A second's worth at once, then one in 50 ms.
                let most = 21 + (net.now - begin) / 50;
                assert!(got as u64 <= most, "{got} after {} ms", net.now - begin);
                net.wait(100);
            }
            assert_eq!(shown_text(&net.conns[0].server.got[before..]), shown_text(noops().as_bytes()));
            assert!(net.counter("slowed") >= 30);
            net.s("200 ok\r\n".repeat(LINES));
            net.client_gets("200 ok\r\n".repeat(LINES));
            net.lives();
        },
    );
}

const RECORD: &str = "\u{17}\u{3}\u{3}\0\u{9}\r\n200 ok\n";
const ALERT: &str = "\u{15}\u{3}\u{3}\0\u{2}ab";

fn encrypted(net: &mut Net) {
    let hello = "\u{16}\u{3}\u{3}\0\u{5}hello";
    says(net, "AUTH TLS\r\n", "234 go\r\n");
    says(net, hello, hello);
}

/// The client has closed TLS and says a lot at once; the server is still at it.
#[test]
fn commands_that_wait_between_the_halves_of_a_ccc_go_on_one_by_one() {
    case_with(
        Standard,
        |s| s.rules().commands_per_second = 20,
        |net| {
            encrypted(net);
            let (begun, rest) = RECORD.split_at(7);
            net.s(begun);
            net.client_gets(begun);
            let (begin, before) = (net.now, net.conns[0].server.got.len());
            net.c([ALERT, &noops(), PORT].concat());
            while net.now < begin + 5000 {
                let got = &net.conns[0].server.got[before..];
                let lines = got.iter().filter(|b| **b == b'\n').count() as u64;
                assert!(lines <= 21 + (net.now - begin) / 50, "{lines} after {} ms", net.now - begin);
                net.wait(100);
            }
            let all = [ALERT, &noops(), PORT_OUT].concat();
            assert_eq!(shown_text(&net.conns[0].server.got[before..]), shown_text(all.as_bytes()));
            assert!(net.counter("slowed") >= 30);
            net.client_gets("");
            let replies = "200 ok\r\n".repeat(LINES + 1);
            net.s([rest, ALERT, &replies].concat());
            net.client_gets([rest, ALERT, &replies].concat());
            net.active_comes_once(5001, 5001);
            _ = net.server_got();
            net.lives();
        },
    );
}

/// Likewise, and each of them is answered here: between the server's records, never within one.
#[test]
fn what_they_are_answered_here_stands_between_records() {
    case_with(
        Standard,
        |s| s.rules().commands_per_second = 20,
        |net| {
            encrypted(net);
            let (begun, rest) = RECORD.split_at(7);
            net.s(begun);
            net.client_gets(begun);
            // Nothing is announced that these could use.
            net.c([ALERT, &"RETR f\r\n".repeat(LINES)].concat());
            net.wait(2000);
            net.server_gets(ALERT);
            net.client_gets("");
            net.s(rest);
            for _ in 0..10 {
                // The time of some has come when a record is half there.
                net.wait(100);
                net.s(begun);
                net.wait(100);
                net.s(rest);
            }
            net.s(ALERT);
            net.wait(5000);
            let got = String::from_utf8(net.client_got()).unwrap();
            let (mut left, mut whole, mut answers) = (got.strip_prefix(rest).unwrap(), 0, 0);
            while !left.is_empty() {
                if let Some(behind) = left.strip_prefix(RECORD).or_else(|| left.strip_prefix(ALERT)) {
                    (left, whole) = (behind, whole + 1);
                } else {
                    let (line, behind) = left.split_once("\r\n").unwrap();
                    assert!(line.starts_with("503 ") || line.starts_with("425 "), "{got:?}");
                    (left, answers) = (behind, answers + 1);
                }
            }
            assert_eq!((whole, answers), (11, LINES));
            assert!(net.counter("slowed") >= 10);
            net.server_gets("");
            net.lives();
        },
    );
}

#[test]
fn strict_rules_end_a_session_whose_commands_come_too_fast() {
    case_with(
        Strict,
        |s| s.rules().commands_per_second = 20,
        |net| {
            for n in 0..LINES {
                net.c("NOOP\r\n");
                let got = shown_text(&net.client_got());
                if got.contains("421 ") {
                    assert!(n >= 18, "after {n}");
                    net.wait(5000);
                    return net.ended();
                }
                net.server_gets("NOOP\r\n");
                net.s("200 ok\r\n");
                net.client_gets("200 ok\r\n");
            }
            panic!("{LINES} commands in no time");
        },
    );
}

#[test]
fn compat_lets_commands_come_as_fast_as_they_will() {
    case_with(
        Compat,
        |s| s.rules().commands_per_second = 1,
        |net| {
            net.c(noops());
            assert_eq!(count(net), LINES);
            assert_eq!(net.counter("slowed"), 0);
        },
    );
}

/// The session is over: the client was told so, both ends are reset, and the event says why.
#[track_caller]
fn was_told(net: &mut Net, why: &str) {
    let got = shown_text(&net.client_got());
    assert!(got.ends_with("\\r\\n") && got.contains("421 "), "{got}");
    net.wait(2000);
    net.ended();
    let told = net.events().iter().any(|e| e["state"] == "closed" && e["reason"] == why);
    assert!(told, "{why}: {:?}", net.log);
}

#[test]
fn a_client_that_says_nothing_is_given_up_after_a_minute() {
    for profile in [Compat, Standard, Strict] {
        bare(
            profile,
            |_| {},
            |net| {
                net.s("220 ready\r\n");
                net.client_gets("220 ready\r\n");
                net.wait(55_000);
                net.client_gets("");
                net.wait(6000);
                was_told(net, "no command from the client");
            },
        );
        // Half a line is none.
        bare(
            profile,
            |_| {},
            |net| {
                net.s("220 ready\r\n");
                net.client_gets("220 ready\r\n");
                net.wait(50_000);
                net.c("US");
                net.wait(11_000);
                was_told(net, "no command from the client");
                net.server_gets("");
            },
        );
    }
}

#[test]
fn a_login_takes_five_minutes_at_most() {
    for profile in [Compat, Standard, Strict] {
        bare(
            profile,
            |_| {},
            |net| {
                net.s("220 ready\r\n");
                net.client_gets("220 ready\r\n");
                says(net, "USER anna\r\n", "331 password\r\n");
                for _ in 0..4 {
                    net.wait(60_000);
                    says(net, "PASS falsch\r\n", "530 no\r\n");
                }
                net.wait(50_000);
                net.client_gets("");
                net.wait(11_000);
                was_told(net, "no login in time");
            },
        );
        // Who is in stays in, and may log in anew.
        case(profile, |net| {
            net.wait(400_000);
            net.lives();
            says(net, "USER otto\r\n", "331 password\r\n");
            net.wait(400_000);
            net.lives();
        });
    }
}
