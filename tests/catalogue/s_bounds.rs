//! S: floods, secrets, encryption, and replies that are none.

use crate::e_life::{R227, pasv, says};
use crate::g_setup::PORT;
use crate::host::Manner;
use crate::net::{Conn, Net, shown_text};
use crate::packet::Packet;
use crate::setup::{CLIENT, SERVER, Setup, Way, at, bare, case, case_with};
use crate::support::{ACK, SYN, Seg};
use std::net::SocketAddr;
use tidegate::alg::rules::Profile::{Compat, Standard, Strict};
use tidegate::firewall::Side;

/// A handshake of a client that does nothing more; whether its SYN passed.
fn knock(net: &mut Net, client: SocketAddr) -> bool {
    let server = at(SERVER, 21);
    let syn = Seg { seq: 5, flags: SYN, window: 1000, ..Seg::default() };
    let Some((_, there)) = net.give(Side::Inside, &Packet::new(client, server, syn)).pop() else {
        return false;
    };
    if there.seg.flags & SYN == 0 || there.dst != server {
        return false;
    }
    let answer = Seg { seq: 9, ack: 6, flags: SYN | ACK, window: 1000, ..Seg::default() };
    net.give(Side::Outside, &Packet::new(server, there.src, answer));
    let third = Seg { seq: 6, ack: 10, flags: ACK, window: 1000, ..Seg::default() };
    net.give(Side::Inside, &Packet::new(client, server, third));
    true
}

#[test]
fn s14_ten_thousand_connections_meet_their_bounds() {
    flood(Way::Whole, 10_000, 500);
    // The one whose lines are looked at sends in other ways, amid fewer.
    for way in crate::setup::WAYS {
        flood(way, 500, 50);
    }
}

/// So many connections of one client and so many clients, where there is room for so many sessions.
fn flood(way: Way, count: u16, sessions: usize) {
    let mut setup = Setup::new(Standard).way(way);
    setup.settings.limits.sessions = sessions;
    setup.settings.limits.sessions_per_client = sessions / 5;
    let mut net = Net::new(&setup);
    net.log_in();
    // One client.
    for n in 0..count {
        knock(&mut net, at("10.0.0.66", 10_000 + n));
    }
    // Some more are there for a moment, to be told that they are too many.
    assert!(net.fw.sessions() < sessions + 100, "{}", net.fw.sessions());
    pasv(&mut net, R227);
    net.passive_comes_once(51_210);
    // Another one is let in.
    assert!(knock(&mut net, at("10.0.0.67", 10_000)));
    // As many clients.
    for n in 0..u32::from(count) {
        net.now += u64::from(n % 2);
        knock(&mut net, at(&format!("10.1.{}.{}", n / 250, n % 250), 10_000));
    }
    assert!(net.fw.sessions() < sessions + 100, "{}", net.fw.sessions());
    says(&mut net, "NOOP\r\n", "200 still here\r\n");
    pasv(&mut net, "227 Entering Passive Mode (198,51,100,7,200,11).\r\n");
    assert!(net.passive(50_600, 51_211).is_some());
    net.finish();
}

#[test]
fn s15_too_many_ports_a_second_end_the_session() {
    case(Standard, |net| {
        let begin = net.now;
        for n in 0..100 {
            net.c(PORT);
            let got = shown_text(&net.client_got());
            if got.contains("421 ") {
                assert!(n >= 10, "after {n} in {} ms", net.now - begin);
                net.wait(10_000);
                net.ended();
                net.nothing_is_open(&[5001]);
                return;
            }
            assert_eq!(got, "", "{n}");
            net.s("200 ok\r\n");
            net.client_gets("200 ok\r\n");
        }
        panic!("a hundred PORTs in {} ms", net.now - begin);
    });
}

#[test]
fn s17_clear_text_behind_auth_does_not_reach_the_server() {
    case(Standard, |net| {
        net.c("AUTH TLS\r\nUSER x\r\n");
        let got = shown_text(&net.server_got());
        assert!(got.is_empty() || got == "AUTH TLS\\r\\n", "{got}");
        if !got.is_empty() {
            net.s("234 go\r\n");
        }
        net.server_gets("");
        net.wait(10_000);
        net.server_gets("");
    });
}

#[test]
fn s18_a_reply_behind_the_234_ends_the_session() {
    case(Standard, |net| {
        net.c("AUTH TLS\r\n");
        net.server_gets("AUTH TLS\r\n");
        net.s("234 go\r\n331 password\r\n");
        let got = shown_text(&net.client_got());
        assert!(!got.contains("331"), "{got}");
        net.wait(10_000);
        net.ended();
    });
}

#[test]
fn s22_control_characters_are_escaped_where_they_are_told() {
    bare(
        Standard,
        |_| {},
        |net| {
            net.s("220 ready\r\n");
            net.c(b"USER a\x1b[2J\r\n");
            net.server_gets(b"USER a\x1b[2J\r\n");
            net.s("331 \x1b[2Jpassword\r\n");
            let log: Vec<String> = net.events().iter().map(ToString::to_string).collect();
            assert!(log.iter().any(|e| e.contains("\"USER\"")), "{log:?}");
            assert!(!log.iter().any(|e| e.contains('\x1b')), "{log:?}");
        },
    );
}

#[test]
fn s23_a_password_of_any_form_is_masked() {
    let long = format!("PASS %s%n%{}\r\n", "geheim%".repeat(570));
    let plain = ["PASS %geheim%s\r\n", "pass  geheim\r\n", "PaSs geheim\n", " PASS geheim\r\n"];
    // What some server may take for a PASS, and we do not.
    let odd = [
        "PASS ge\0heim\r\n",
        "PASS geheim\0\r\n",
        "\u{feff}PASS geheim\r\n",
        "P\0ASS geheim\r\n",
        "PASS\0geheim\r\n",
        "NOOP\rPASS geheim\r\n",
        "NOOP x\rPASS geheim\r\n",
    ];
    for line in plain.into_iter().chain(odd).chain([&*long]) {
        for profile in [Compat, Standard, Strict] {
            bare(
                profile,
                |_| {},
                |net| {
                    net.s("220 ready\r\n");
                    says_loosely(net, "USER anna\r\n");
                    net.s("331 password\r\n");
                    says_loosely(net, line);
                    net.s("230 in\r\n");
                    let log = format!("{:?}", net.events());
                    assert!(!log.contains("heim"), "{log}");
                },
            );
        }
    }
}

fn says_loosely(net: &mut Net, line: &str) {
    net.c(line);
    net.server_got();
}

#[test]
fn s25_a_reply_with_no_code_counts_for_nothing() {
    for line in ["999 x\r\n", "2 x\r\n", "22x\r\n"] {
        for profile in [Compat, Standard] {
            case(profile, |net| {
                net.c("PASV\r\n");
                net.server_gets("PASV\r\n");
                net.s(line);
                net.client_gets(line);
                net.s(R227);
                net.client_gets(R227);
                net.passive_comes_once(51_210);
            });
        }
        case(Strict, |net| {
            net.s(line);
            net.ended();
        });
    }
}

/// The fiftieth 530 in a row, and no other, becomes a 421; a second later both ends are reset.
#[test]
fn s26_passwords_cannot_be_tried_for_ever() {
    case(Standard, |net| {
        let mut refused = 0;
        // Ten a session, as if to begin anew helped.
        for session in 0..5 {
            arrive(net, 41_000 + session);
            net.client_gets("220 ready\r\n");
            for _ in 0..10 {
                refused += 1;
                net.c("USER anna\r\n");
                net.server_gets("USER anna\r\n");
                net.s("331 password\r\n");
                net.client_gets("331 password\r\n");
                net.c("PASS falsch\r\n");
                net.server_gets("PASS falsch\r\n");
                net.s("530 no\r\n");
                let told = shown_text(&net.client_got());
                if refused == 50 {
                    assert_eq!(told, "421 Closed by rule failed-logins: Too many failed logins.\\r\\n");
                    let ended = |c: &Conn| (c.client.reset, c.server.reset);
                    net.wait(900);
                    assert_eq!(ended(&net.conns[net.on]), (false, false), "it is still to be read");
                    net.c("USER anna\r\n");
                    net.server_gets("");
                    net.wait(200);
                    assert_eq!(ended(&net.conns[net.on]), (true, true));
                    continue;
                }
                if refused <= 5 {
                    assert_eq!(told, "530 no\\r\\n", "{refused}");
                    continue;
                }
                // The later the more there were, and not lost.
                assert_eq!(told, "", "{refused}");
                net.wait(if refused < 9 { 4_100 } else { 5_100 });
                net.client_gets("530 no\r\n");
            }
        }
        assert_eq!(refused, 50);
        // Nor does coming back.
        arrive(net, 42_000);
        net.client_gets_code(&["421"]);
        net.wait(11_000);
        net.ended();
        // It is this client's matter.
        crate::e_ports::join(net, at("10.0.0.77", 40_000), at(SERVER, 21));
        net.lives();
        // And some minutes later no more.
        net.wait(15 * 60_000);
        arrive(net, 43_000);
        net.client_gets("220 ready\r\n");
    });
}

/// The client connects once more, and the server greets.
fn arrive(net: &mut Net, port: u16) {
    let manner = net.conns[0].client.manner.clone();
    let manners = (Manner { isn: u32::from(port), ..manner.clone() }, Manner { isn: 99, ..manner });
    assert!(net.open((Side::Inside, at(CLIENT, port)), (Side::Outside, at(SERVER, 21)), manners));
    net.s("220 ready\r\n");
}

/// The bound is the client's: another one logs in as ever.
#[test]
fn a_flood_of_one_client_leaves_the_others_alone() {
    case_with(
        Standard,
        |s| s.settings.limits.sessions_per_client = 2,
        |net| {
            assert!(knock(net, at(CLIENT, 10_000)));
            // The third of one client is told so.
            let manner = net.conns[0].client.manner.clone();
            let manners = (manner.clone(), Manner { isn: 99, ..manner });
            let ends = ((Side::Inside, at(CLIENT, 40_002)), (Side::Outside, at(SERVER, 21)));
            assert!(net.open(ends.0, ends.1, manners));
            net.s("220 ready\r\n");
            net.client_gets_code(&["421"]);
            net.wait(10_000);
            net.ended();
            crate::e_ports::join(net, at("10.0.0.77", 40_000), at(SERVER, 21));
            net.lives();
        },
    );
}

/// What was left out of the ways for its size is run here in pieces of another size.
#[test]
fn a_long_password_goes_on_byte_for_byte() {
    for way in [Way::Whole, Way::Swapped] {
        let mut net = Net::new(&Setup::new(Standard).way(way));
        net.s("220 ready\r\n");
        net.c("USER anna\r\n");
        net.s("331 password\r\n");
        net.server_gets("USER anna\r\n");
        let line = format!("PASS {}\r\n", "geheim%".repeat(570));
        net.c(&line);
        net.server_gets(&line);
        net.finish();
    }
}
