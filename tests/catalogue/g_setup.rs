//! G: commands that announce data connections.

use crate::net::{Net, shown_text};
use crate::setup::{Setup, bare, case, case_with};
use tidegate::alg::rules::Profile::{Compat, Standard, Strict};

pub(crate) const PORT: &str = "PORT 10,0,0,5,19,137\r\n";
pub(crate) const PORT_OUT: &str = "PORT 203,0,113,9,19,137\r\n";
pub(crate) const EPRT: &str = "EPRT |1|10.0.0.5|5001|\r\n";
pub(crate) const EPRT_OUT: &str = "EPRT |1|203.0.113.9|5001|\r\n";

/// The server accepts, and only then, and only once, its connection comes.
#[track_caller]
pub(crate) fn accepted(net: &mut Net) {
    net.nothing_is_open(&[5001]);
    net.s("200 ok\r\n");
    net.client_gets("200 ok\r\n");
    net.active_comes_once(5001, 5001);
}

/// The command is answered by us, with one of these codes; the server gets nothing of it, nothing is opened, and the
/// session goes on.
#[track_caller]
pub(crate) fn refused(net: &mut Net, command: &str, codes: &[&str]) -> String {
    net.c(command);
    net.server_gets("");
    let answer = net.client_gets_code(codes);
    net.nothing_is_open(&[5001, 22, 137]);
    net.lives();
    net.nothing_is_open(&[5001]);
    answer
}

/// A strict refusal: an answer of ours with this code; whether the session goes on is not said.
#[track_caller]
fn strictly_refused(net: &mut Net, command: &str, code: &str) {
    net.c(command);
    net.server_gets("");
    let got = shown_text(&net.client_got());
    assert!(got.starts_with(code), "to the client: {got}");
    net.nothing_is_open(&[5001]);
}

#[test]
fn g01_port_is_rewritten_and_opens_with_the_200() {
    for profile in [Compat, Standard, Strict] {
        case(profile, |net| {
            net.c(PORT);
            net.server_gets(PORT_OUT);
            accepted(net);
            net.lives();
        });
    }
}

#[test]
fn g02_lower_case_and_a_bare_lf_go_on_in_canonical_form() {
    for profile in [Compat, Standard] {
        case(profile, |net| {
            net.c("port 10,0,0,5,19,137\n");
            net.server_gets(PORT_OUT);
            accepted(net);
        });
    }
    case(Strict, |net| strictly_refused(net, "port 10,0,0,5,19,137\n", "500"));
}

#[test]
fn g03_a_field_beyond_255_is_no_number() {
    case(Standard, |net| _ = refused(net, "PORT 10,0,0,5,19,393\r\n", &["501"]));
}

#[test]
fn g04_empty_fields_are_no_numbers() {
    for line in ["PORT 10,0,0,5,,22\r\n", "PORT ,,,,,\r\n"] {
        case(Standard, |net| _ = refused(net, line, &["501"]));
    }
}

#[test]
fn g05_leading_zeros_are_decimal() {
    case(Standard, |net| {
        net.c("PORT 010,0,0,005,019,137\r\n");
        net.server_gets(PORT_OUT);
        accepted(net);
    });
}

#[test]
fn g06_a_seventh_field_is_refused_and_blanks_behind_are_not() {
    case(Standard, |net| _ = refused(net, "PORT 10,0,0,5,19,137,1\r\n", &["501"]));
    case(Standard, |net| {
        net.c("PORT 10,0,0,5,19,137  \r\n");
        net.server_gets(PORT_OUT);
        accepted(net);
    });
}

#[test]
fn g07_a_line_ends_before_the_next_one_is_read() {
    case(Standard, |net| {
        net.c("PORT\r\nNOOP 10,0,0,5,19,137\r\n");
        net.server_gets("NOOP 10,0,0,5,19,137\r\n");
        net.s("200 ok\r\n");
        let got = shown_text(&net.client_got());
        assert!(got.starts_with("501 ") && got.ends_with("\\r\\n200 ok\\r\\n"), "{got}");
        assert_eq!(got.matches("\\r\\n").count(), 2, "{got}");
        net.nothing_is_open(&[5001]);
    });
}

#[test]
fn g08_a_longer_verb_is_another_verb() {
    case(Standard, |net| {
        net.c("PORTX 10,0,0,5,19,137\r\n");
        net.server_gets("PORTX 10,0,0,5,19,137\r\n");
        net.s("200 what\r\n");
        net.client_gets("200 what\r\n");
        net.nothing_is_open(&[5001]);
    });
    case(Strict, |net| strictly_refused(net, "PORTX 10,0,0,5,19,137\r\n", "502"));
}

/// Whether empty lines go on is not said; what they must not do is hide the PORT behind them.
#[test]
fn g09_blanks_and_empty_lines_in_front_hide_nothing() {
    for profile in [Compat, Standard] {
        for line in [" PORT 10,0,0,5,19,137\r\n", "\r\n\r\n PORT 10,0,0,5,19,137\r\n"] {
            case(profile, |net| {
                net.c(line);
                let got = shown_text(&net.server_got());
                assert_eq!(got.trim_start_matches("\\r\\n"), shown_text(PORT_OUT.as_bytes()));
                accepted(net);
            });
        }
    }
    case(Strict, |net| strictly_refused(net, " PORT 10,0,0,5,19,137\r\n", "500"));
}

#[test]
fn g10_eprt_is_rewritten_and_opens_with_the_200() {
    for profile in [Compat, Standard, Strict] {
        case(profile, |net| {
            net.c(EPRT);
            net.server_gets(EPRT_OUT);
            accepted(net);
        });
    }
}

#[test]
fn g11_eprt_may_have_another_delimiter() {
    case(Standard, |net| {
        net.c("EPRT !1!10.0.0.5!5001!\r\n");
        let got = shown_text(&net.server_got());
        let pipes = shown_text(EPRT_OUT.as_bytes());
        assert!(got == pipes || got == pipes.replace('|', "!"), "{got}");
        accepted(net);
    });
}

#[test]
fn g12_the_last_delimiter_may_be_missing() {
    for profile in [Compat, Standard] {
        case(profile, |net| {
            net.c("EPRT |1|10.0.0.5|5001\r\n");
            net.server_gets(EPRT_OUT);
            accepted(net);
        });
    }
    case(Strict, |net| strictly_refused(net, "EPRT |1|10.0.0.5|5001\r\n", "501"));
}

#[test]
fn g13_family_and_address_must_agree() {
    for line in ["EPRT |2|10.0.0.5|5001|\r\n", "EPRT |1|fe80::1|5001|\r\n"] {
        case(Standard, |net| _ = refused(net, line, &["501", "522"]));
    }
}

#[test]
fn g14_an_unknown_family_is_told_the_known_ones() {
    case(Standard, |net| {
        let answer = refused(net, "EPRT |3|x|1|\r\n", &["522"]);
        assert!(answer.contains("(1,2)") || answer.contains("(1)"), "{answer}");
    });
}

#[test]
fn g15_an_ipv4_address_in_ipv6_is_not_foreign() {
    case(Standard, |net| {
        net.c("EPRT |2|::ffff:10.0.0.5|5001|\r\n");
        let got = shown_text(&net.server_got());
        if got.is_empty() {
            net.client_gets_code(&["522"]);
        } else {
            assert_eq!(got, shown_text(EPRT_OUT.as_bytes()));
            accepted(net);
        }
    });
}

#[test]
fn g16_ports_that_are_none_and_ports_that_are_denied() {
    for (port, code) in [("65536", "501"), ("0", "501"), ("22", "504")] {
        let line = format!("EPRT |1|10.0.0.5|{port}|\r\n");
        case(Standard, |net| _ = refused(net, &line, &[code]));
    }
}

#[test]
fn g17_a_digit_is_no_delimiter() {
    case(Standard, |net| _ = refused(net, "EPRT 11110.0.0.5150011\r\n", &["501"]));
}

#[test]
fn g32_epsv_all_is_answered_here_and_kept() {
    case(Standard, |net| {
        net.c("EPSV ALL\r\n");
        net.client_gets_code(&["200"]);
        net.c("PASV\r\n");
        net.client_gets_code(&["500"]);
        for line in [PORT, EPRT] {
            net.c(line);
            net.client_gets_code(&["500", "503"]);
        }
        net.server_gets("");
        // EPSV itself goes on.
        net.c("EPSV\r\n");
        net.server_gets("EPSV\r\n");
        net.s("229 Entering Extended Passive Mode (|||51210|)\r\n");
        net.client_gets("229 Entering Extended Passive Mode (|||51210|)\r\n");
        net.passive_comes_once(51210);
    });
}

#[test]
fn g33_epsv_of_another_family_or_none() {
    case(Standard, |net| _ = refused(net, "EPSV 3\r\n", &["522"]));
    case(Standard, |net| _ = refused(net, "EPSV xyz\r\n", &["501"]));
}

/// Rewritten or refused; with an inside address to the server it never goes.
#[test]
fn g34_lprt_never_shows_the_inside_address() {
    for profile in [Compat, Standard, Strict] {
        case(profile, |net| {
            net.c("LPRT 4,4,10,0,0,5,2,19,137\r\n");
            let got = shown_text(&net.server_got());
            if got.is_empty() {
                net.client_gets_code(&["502"]);
            } else {
                assert!(profile != Strict, "strict answers 502");
                assert_eq!(got, "LPRT 4,4,203,0,113,9,2,19,137\\r\\n");
                accepted(net);
            }
        });
    }
}

/// The line may go on to the server, which answers it; or it is answered here. One answer it is.
#[test]
fn g38_a_line_that_is_too_long_is_one_bad_line() {
    for profile in [Compat, Standard] {
        case(profile, |net| {
            net.c(format!("STOR {}\r\n", "a".repeat(5000)));
            if !net.server_got().is_empty() {
                net.s("500 too long\r\n");
            }
            net.client_gets_code(&["500"]);
            net.c(PORT);
            net.server_gets(PORT_OUT);
            accepted(net);
        });
    }
}

#[test]
fn g39_no_more_than_64_commands_are_out_and_their_replies_are_in_order() {
    // At the usual rate they wait for that, long before they are 64.
    let fast = |s: &mut Setup| s.rules().commands_per_second = 1000;
    case_with(Standard, fast, |net| {
        let all: String = (0..100).map(|n| format!("NOOP {n:02}\r\n")).collect();
        net.c(&all);
        let mut there = net.server_got();
        assert_eq!(shown_text(&there), shown_text(&all.as_bytes()[..64 * 9]));
        for n in 0..100 {
            net.s(format!("200 {n:02}\r\n"));
            net.client_gets(format!("200 {n:02}\r\n"));
            there.extend(net.server_got());
        }
        assert_eq!(shown_text(&there), shown_text(all.as_bytes()));
    });
}

/// A name goes on byte for byte.
#[track_caller]
fn stored(net: &mut Net, line: &[u8]) {
    net.c("EPSV\r\n");
    net.server_gets("EPSV\r\n");
    net.s("229 Entering Extended Passive Mode (|||51210|)\r\n");
    net.client_gets("229 Entering Extended Passive Mode (|||51210|)\r\n");
    net.c(line);
    net.server_gets(line);
    net.s("150 go\r\n226 done\r\n");
    net.client_gets("150 go\r\n226 done\r\n");
}

#[test]
fn g40_cr_nul_in_a_name_stays() {
    case(Standard, |net| stored(net, b"STOR a\r\0b\r\n"));
}

#[test]
fn g41_a_nul_in_a_name_is_refused() {
    case(Standard, |net| {
        net.c("EPSV\r\n");
        net.server_gets("EPSV\r\n");
        net.s("229 Entering Extended Passive Mode (|||51210|)\r\n");
        net.client_gets("229 Entering Extended Passive Mode (|||51210|)\r\n");
        net.c(b"STOR a\0b\r\n");
        net.server_gets("");
        net.client_gets_code(&["501"]);
        net.lives();
    });
}

#[test]
fn g44_rest_and_retr_stay_in_order() {
    case(Standard, |net| {
        net.c("EPSV\r\n");
        net.server_gets("EPSV\r\n");
        net.s("229 Entering Extended Passive Mode (|||51210|)\r\n");
        net.client_gets("229 Entering Extended Passive Mode (|||51210|)\r\n");
        net.c("REST 100\r\nRETR f\r\n");
        let mut there = net.server_got();
        net.s("350 restarting\r\n");
        there.extend(net.server_got());
        assert_eq!(shown_text(&there), "REST 100\\r\\nRETR f\\r\\n");
        net.s("150 here\r\n226 done\r\n");
        net.client_gets("350 restarting\r\n150 here\r\n226 done\r\n");
    });
}

#[test]
fn g48_names_of_any_alphabet_stay() {
    case(Standard, |net| stored(net, "STOR größe-файл-文件\r\n".as_bytes()));
    case(Standard, |net| stored(net, b"STOR gr\xF6\xDFe \xE9t\xE9 \r\n"));
    case(Standard, |net| stored(net, b"STOR  two  blanks \r\n"));
}

/// Not a case of the catalogue, but what all of them rest on: where nothing is translated and every line is as it
/// should be, every segment goes as it came.
#[test]
fn nothing_to_change_changes_nothing() {
    bare(
        Standard,
        |s| s.settings.nat.masquerade = None,
        |net| {
            net.log_in();
            net.c(PORT);
            net.server_gets(PORT);
            net.s("200 ok\r\n");
            net.client_gets("200 ok\r\n");
            net.c("EPSV\r\n");
            net.server_gets("EPSV\r\n");
            net.s("229 Entering Extended Passive Mode (|||51210|)\r\n");
            net.client_gets("229 Entering Extended Passive Mode (|||51210|)\r\n");
        },
    );
    case_with(
        Standard,
        |s| s.service().alg = false,
        |net| {
            net.c(PORT);
            net.server_gets(PORT);
            net.s("200 ok\r\n");
            net.client_gets("200 ok\r\n");
            net.nothing_is_open(&[5001]);
        },
    );
}
