//! G: replies in all their forms.

use crate::g_setup::{PORT, PORT_OUT, accepted};
use crate::net::{Net, shown_text};
use crate::setup::{Way, bare, case, case_with};
use tidegate::alg::rules::Ftps;
use tidegate::alg::rules::Profile::{Compat, Standard, Strict};

const CANONICAL: &str = "227 Entering Passive Mode (198,51,100,7,200,10).\r\n";
const EXTENDED: &str = "229 Entering Extended Passive Mode (|||51210|)\r\n";

/// The server answers `command` with this.
#[track_caller]
fn answered(net: &mut Net, command: &str, reply: &str) {
    net.c(command);
    net.server_gets(command);
    net.s(reply);
}

/// The client connects to where it was told, once, and the session goes on.
#[track_caller]
fn opened(net: &mut Net) {
    net.passive_comes_once(51210);
    net.lives();
}

/// The client was told that there is no data connection; the session goes on.
#[track_caller]
fn failed(net: &mut Net, codes: &[&str]) {
    net.client_gets_code(codes);
    net.nothing_is_open(&[51210, 0, 22]);
    net.lives();
}

/// Every form that has one meaning reaches the client in the one form that all programs understand.
fn canonical(forms: &[&str]) {
    for form in forms {
        case(Standard, |net| {
            answered(net, "PASV\r\n", form);
            net.client_gets(CANONICAL);
            opened(net);
        });
    }
}

#[test]
fn g18_the_usual_227() {
    for profile in [Compat, Standard, Strict] {
        case(profile, |net| {
            answered(net, "PASV\r\n", CANONICAL);
            net.client_gets(CANONICAL);
            opened(net);
        });
    }
}

#[test]
fn g19_a_227_without_parentheses() {
    canonical(&["227 Entering passive mode. 198,51,100,7,200,10\r\n"]);
}

#[test]
fn g20_a_227_of_hardly_more_than_numbers() {
    canonical(&["227 =198,51,100,7,200,10\r\n", "227 198,51,100,7,200,10\r\n"]);
}

#[test]
fn g21_a_227_with_other_digits_first() {
    canonical(&[
        "227 IPv4 v2 (198,51,100,7,200,10)\r\n",
        "227 IPv4 v2 (10,1,2,3,200,10)\r\n",
        "227 IPv4 v2 198,51,100,7,200,10\r\n",
    ]);
}

#[test]
fn g22_a_227_with_blanks_among_the_numbers() {
    canonical(&["227 Entering Passive Mode( 198, 51,100,7 ,200,10).\r\n"]);
}

/// One reply, whatever its earlier lines; its last one is canonical.
#[track_caller]
fn one_reply(net: &mut Net) {
    let got = net.client_got();
    let text = shown_text(&got);
    let lines: Vec<&[u8]> = got.split_inclusive(|b| *b == b'\n').collect();
    let (last, before) = lines.split_last().expect("no reply");
    assert_eq!(shown_text(last), shown_text(CANONICAL.as_bytes()), "{text}");
    if let Some((first, rest)) = before.split_first() {
        assert!(first.starts_with(b"227-"), "{text}");
        assert!(rest.iter().all(|l| !l.starts_with(b"227 ")), "{text}");
    }
}

#[test]
fn g23_a_227_of_two_lines_with_no_address() {
    case(Standard, |net| {
        answered(net, "PASV\r\n", "227-hello\r\n227 (0,0,0,0,200,10)\r\n");
        one_reply(net);
        opened(net);
    });
}

#[test]
fn g24_a_227_whose_numbers_are_in_its_first_line() {
    case(Standard, |net| {
        answered(net, "PASV\r\n", "227-(198,51,100,7,200,10)\r\n227 ok\r\n");
        one_reply(net);
        opened(net);
    });
}

#[test]
fn g25_a_227_that_breaks_off() {
    case(Standard, |net| {
        answered(net, "PASV\r\n", "227 Entering Passive Mode (\r\n");
        failed(net, &["425", "502"]);
    });
}

#[test]
fn g26_a_227_that_nobody_asked_for_passes() {
    for (profile, command) in [(Compat, "QUIT\r\n"), (Standard, "QUIT\r\n"), (Standard, "NOOP\r\n")] {
        case(profile, |net| {
            answered(net, command, "227 Logout.\r\n");
            net.client_gets("227 Logout.\r\n");
        });
    }
}

#[test]
fn g27_port_0_is_no_port() {
    case(Standard, |net| {
        answered(net, "PASV\r\n", "227 Entering Passive Mode (198,51,100,7,0,0).\r\n");
        failed(net, &["425"]);
    });
}

/// The client is told of port 51210, in a line that every program reads.
#[track_caller]
fn extended(net: &mut Net) {
    let got = net.client_gets_code(&["229 "]);
    assert!(got.contains("(|||51210|)"), "{got}");
    opened(net);
}

#[test]
fn g28_a_229_with_another_delimiter_or_a_dot() {
    for text in ["(|||51210|)", "(!!!51210!)", "(|||51210|)."] {
        case(Standard, |net| {
            answered(net, "EPSV\r\n", &format!("229 Ext {text}\r\n"));
            let got = net.client_gets_code(&["229 "]);
            assert!(got.contains("(|||51210|)") || got.contains("(!!!51210!)"), "{got}");
            opened(net);
        });
    }
}

/// Strict: the client is told that it failed, and falls back to PASV by itself.
#[test]
fn g29_a_229_with_a_delimiter_missing() {
    for profile in [Compat, Standard] {
        case(profile, |net| {
            answered(net, "EPSV\r\n", "229 Ext (||51210|)\r\n");
            extended(net);
        });
    }
    case(Strict, |net| {
        answered(net, "EPSV\r\n", "229 Ext (||51210|)\r\n");
        net.client_gets_code(&["4", "5"]);
        net.nothing_is_open(&[51210]);
        answered(net, "PASV\r\n", CANONICAL);
        net.client_gets(CANONICAL);
        opened(net);
    });
}

#[test]
fn g30_an_address_in_a_229_is_ignored() {
    case(Standard, |net| {
        answered(net, "EPSV\r\n", "229 Ext (|1|10.9.9.9|51210|)\r\n");
        extended(net);
    });
}

#[test]
fn g31_each_gets_the_answer_to_what_it_asked() {
    case(Standard, |net| {
        answered(net, "EPSV\r\n", CANONICAL);
        net.client_gets(EXTENDED);
        opened(net);
    });
    case(Standard, |net| {
        answered(net, "PASV\r\n", EXTENDED);
        net.client_gets(CANONICAL);
        opened(net);
    });
}

#[test]
fn g35_greetings_of_several_lines_and_of_no_text() {
    for greeting in ["220-a\r\n220-b\r\n220 c\r\n", "220\r\n", "220-a\r\nb\r\n 220 c\r\n220 d\r\n"] {
        bare(
            Standard,
            |_| {},
            |net| {
                net.s(greeting);
                net.client_gets(greeting);
                for (command, reply) in [("USER anna\r\n", "331 more\r\n"), ("PASS geheim\r\n", "230 in\r\n")]
                {
                    answered(net, command, reply);
                    net.client_gets(reply);
                }
                net.c(PORT);
                net.server_gets(PORT_OUT);
                accepted(net);
            },
        );
    }
}

#[test]
fn g36_a_reply_ended_by_another_code_ends_the_transfer() {
    case(Standard, |net| {
        answered(net, "EPSV\r\n", EXTENDED);
        net.client_gets(EXTENDED);
        answered(net, "RETR f\r\n", "150 here\r\n");
        net.client_gets("150 here\r\n");
        net.s("230- warn\r\n text\r\n226 done\r\n");
        net.client_gets("230- warn\r\n text\r\n226 done\r\n");
        // The replies are matched from here on: PASV's is PASV's.
        answered(net, "PASV\r\n", "227 =198,51,100,7,200,20\r\n");
        net.client_gets("227 Entering Passive Mode (198,51,100,7,200,20).\r\n");
        net.passive_comes_once(51220);
        assert!(net.counter("reply_anomalies") == 1, "{:?}", net.fw.counters());
    });
}

/// A greeting of 1 MiB, where the bound is the default; of 64 KiB with a bound of 16 KiB where it comes in small
/// pieces.
#[test]
fn g37_a_greeting_without_end_passes_up_to_its_bound() {
    for (way, bound, lines) in [
        (Way::Whole, 256 << 10, 65_536),
        (Way::Duplicated, 256 << 10, 65_536),
        (Way::Bytes, 16 << 10, 4096),
        (Way::Swapped, 16 << 10, 4096),
    ] {
        let mut setup = crate::setup::Setup::new(Standard).way(way);
        setup.rules().reply = bound;
        setup.client_manner.room = 60_000;
        let mut net = Net::new(&setup);
        net.conns[0].server.stream = b"220-0123456789\r\n".repeat(lines);
        for _ in 0..200 {
            net.wait(100);
        }
        let got = net.client_got();
        let end = got.windows(4).rposition(|w| w == b"421 ").expect("a 421");
        assert!(end > bound / 2 && end <= bound + 4096, "{way:?}: {end} bytes of a greeting");
        assert_eq!(got[end..].iter().filter(|b| **b == b'\n').count(), 1, "the 421 is the last line");
        net.ended();
    }
}

/// `AUTH` goes where it is refused; what we neither read nor convert (MODE Z, an absent EPSV) is the server's.
#[test]
fn g42_features_that_are_refused_are_not_offered() {
    let feat = "211-Features:\r\n MODE Z\r\n AUTH TLS\r\n PBSZ\r\n PROT\r\n SIZE\r\n211 End\r\n";
    case_with(
        Standard,
        |s| s.rules().ftps = Ftps::Refuse,
        |net| {
            answered(net, "FEAT\r\n", feat);
            let got = String::from_utf8(net.client_got()).unwrap();
            for gone in ["AUTH", "PBSZ", "PROT"] {
                assert!(!got.contains(gone), "{got:?}");
            }
            assert!(got.starts_with("211-") && got.ends_with("211 End\r\n"), "{got:?}");
            assert!(got.contains("\r\n SIZE\r\n"), "{got:?}");
            net.lives();
        },
    );
    case(Standard, |net| {
        answered(net, "FEAT\r\n", feat);
        let got = String::from_utf8(net.client_got()).unwrap();
        assert!(got.contains("\r\n AUTH TLS\r\n"), "{got:?}");
        net.lives();
    });
}

#[test]
fn g43_features_in_odd_forms_are_understood_and_made_clean() {
    for feat in [
        "211-Features:\r\n211-EPSV\r\n211-AUTH TLS\r\n211-SIZE\r\n211 End\r\n",
        "211-Features:\r\n EPSV\r\n\r\n AUTH TLS\r\n SIZE\r\n211 End\r\n",
        "211-Features:\r\n    EPSV\r\n    AUTH TLS\r\n    SIZE\r\n211 End\r\n",
    ] {
        case_with(
            Standard,
            |s| s.rules().ftps = Ftps::Refuse,
            |net| {
                answered(net, "FEAT\r\n", feat);
                net.client_gets("211-Features:\r\n EPSV\r\n SIZE\r\n211 End\r\n");
                net.lives();
            },
        );
    }
}

#[test]
fn g47_the_name_that_the_server_chose_is_told() {
    case(Standard, |net| {
        answered(net, "EPSV\r\n", EXTENDED);
        net.client_gets(EXTENDED);
        answered(net, "STOU\r\n", "150 FILE: chosen.name\r\n");
        net.client_gets("150 FILE: chosen.name\r\n");
        net.passive_comes_once(51210);
        net.s("226 done\r\n");
        net.client_gets("226 done\r\n");
        let transfers = net.events().iter().filter(|e| e["verb"] == "STOU");
        let told = format!("{:?}", transfers.collect::<Vec<_>>());
        assert!(net.events().iter().any(|e| e.to_string().contains("chosen.name")), "{told}");
    });
}
