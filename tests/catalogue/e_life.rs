//! E: how long an announced data connection may come, and from where.

use crate::g_setup::{PORT, PORT_OUT};
use crate::net::Net;
use crate::setup::{
    CLIENT, OTHER_CLIENT, OTHER_SERVER, OUTSIDE, SERVER, STRANGER, Setup, at, case, case_with,
};
use tidegate::alg::rules::Profile::{Standard, Strict};
use tidegate::firewall::Side;

pub(crate) const R227: &str = "227 Entering Passive Mode (198,51,100,7,200,10).\r\n";
const R227_NEXT: &str = "227 Entering Passive Mode (198,51,100,7,200,11).\r\n";
const P: u16 = 51_210;

/// The client asks for a port, and the server has this one.
#[track_caller]
pub(crate) fn pasv(net: &mut Net, reply: &str) {
    net.c("PASV\r\n");
    net.server_gets("PASV\r\n");
    net.s(reply);
    net.client_gets(reply);
}

/// The client says where it listens, and the server accepts.
#[track_caller]
pub(crate) fn port(net: &mut Net) {
    net.c(PORT);
    net.server_gets(PORT_OUT);
    net.s("200 ok\r\n");
    net.client_gets("200 ok\r\n");
}

/// A command passes, and so does its reply.
#[track_caller]
pub(crate) fn says(net: &mut Net, command: &str, reply: &str) {
    net.c(command);
    net.server_gets(command);
    net.s(reply);
    net.client_gets(reply);
}

#[test]
fn e01_the_client_connects_at_once() {
    case(Standard, |net| {
        pasv(net, R227);
        net.now += 1;
        net.passive_comes_once(P);
    });
}

#[test]
fn e02_another_host_is_refused_and_takes_nothing_away() {
    case(Standard, |net| {
        pasv(net, R227);
        assert_eq!(net.syn(Side::Inside, at(OTHER_CLIENT, 50_001), at(SERVER, P)), None);
        assert_eq!(net.syn(Side::Inside, at(CLIENT, 50_001), at(OTHER_SERVER, P)), None);
        assert_eq!(net.syn(Side::Outside, at(STRANGER, 50_001), at(OUTSIDE, P)), None);
        net.passive_comes_once(P);
    });
    case(Standard, |net| {
        port(net);
        assert_eq!(net.syn(Side::Outside, at(STRANGER, 20), at(OUTSIDE, 5001)), None);
        assert_eq!(net.syn(Side::Outside, at(OTHER_SERVER, 20), at(OUTSIDE, 5001)), None);
        assert_eq!(net.syn(Side::Outside, at(SERVER, 20), at(OUTSIDE, 5002)), None);
        assert_eq!(net.syn(Side::Outside, at(SERVER, 20), at(CLIENT, 5001)), None, "past the translation");
        net.active_comes_once(5001, 5001);
    });
}

#[test]
fn e03_the_second_connection_is_refused() {
    case(Standard, |net| {
        pasv(net, R227);
        net.passive_comes_once(P);
        assert_eq!(net.passive(50_003, P), None);
        net.wait(100);
        assert_eq!(net.passive(50_004, P), None);
    });
}

#[test]
fn e04_a_syn_sent_again_is_the_same_connection() {
    case(Standard, |net| {
        pasv(net, R227);
        let first = net.passive(50_001, P).expect("the first");
        net.wait(1000);
        let again = net.passive(50_001, P).expect("the second");
        assert_eq!((again.src, again.dst), (first.src, first.dst));
        net.establish(Side::Inside, (at(CLIENT, 50_001), at(SERVER, P)), &again);
        assert_eq!(net.passive(50_002, P), None);
    });
}

#[test]
fn e05_a_syn_that_was_reset_may_be_tried_again() {
    case(Standard, |net| {
        pasv(net, R227);
        let there = net.passive(50_001, P).expect("the first");
        net.refuse_syn(&there, Side::Inside);
        net.wait(20_000);
        net.passive_comes_once_from(50_002, P);
    });
    case(Standard, |net| {
        port(net);
        let there = net.active(20, 5001).expect("the first");
        net.refuse_syn(&there, Side::Outside);
        net.wait(20_000);
        let there = net.active(2020, 5001).expect("the second");
        assert_eq!(there.dst, at(CLIENT, 5001));
    });
}

#[test]
fn e06_after_a_minute_it_is_too_late() {
    for (wait, passes) in [(59_000, true), (61_000, false)] {
        case(Standard, |net| {
            pasv(net, R227);
            net.wait(wait);
            assert_eq!(net.passive(50_001, P).is_some(), passes, "{wait}");
            if !passes {
                let told =
                    net.events().iter().any(|e| e["event"] == "expectation" && e["state"] == "expired");
                assert!(told, "an event tells of it");
            }
        });
        case(Standard, |net| {
            port(net);
            net.wait(wait);
            assert_eq!(net.active(20, 5001).is_some(), passes, "{wait}");
        });
    }
}

#[test]
fn e07_the_last_announcement_stands() {
    case(Standard, |net| {
        pasv(net, R227);
        pasv(net, R227_NEXT);
        assert_eq!(net.passive(50_001, P), None);
        net.passive_comes_once(P + 1);
    });
    case(Standard, |net| {
        pasv(net, R227);
        port(net);
        assert_eq!(net.passive(50_001, P), None);
        net.active_comes_once(5001, 5001);
    });
}

#[test]
fn e08_a_refused_port_opens_nothing() {
    case(Standard, |net| {
        net.c(PORT);
        net.server_gets(PORT_OUT);
        net.s("500 Illegal PORT command.\r\n");
        net.client_gets("500 Illegal PORT command.\r\n");
        net.nothing_is_open(&[5001]);
        // A 200 to something else does not open it afterwards.
        net.lives();
        net.nothing_is_open(&[5001]);
    });
}

#[test]
fn e09_the_200_of_another_command_opens_nothing() {
    case(Standard, |net| {
        net.c(format!("TYPE I\r\n{PORT}"));
        let mut there = net.server_got();
        net.s("200 type\r\n");
        net.client_gets("200 type\r\n");
        net.nothing_is_open(&[5001]);
        there.extend(net.server_got());
        assert_eq!(there, format!("TYPE I\r\n{PORT_OUT}").as_bytes());
        net.s("200 port\r\n");
        net.client_gets("200 port\r\n");
        net.active_comes_once(5001, 5001);
    });
}

#[test]
fn e10_a_file_that_is_not_there_leaves_the_port() {
    case(Standard, |net| {
        pasv(net, R227);
        says(net, "RETR a\r\n", "550 no\r\n");
        net.wait(20_000);
        says(net, "RETR b\r\n", "150 here\r\n");
        net.passive_comes_once(P);
    });
    case(Standard, |net| {
        pasv(net, R227);
        says(net, "RETR a\r\n", "550 no\r\n");
        net.wait(60_000);
        assert_eq!(net.passive(50_001, P), None);
    });
}

#[test]
fn e11_a_reset_control_connection_takes_the_announcement_with_it() {
    for by_client in [true, false] {
        case(Standard, |net| {
            pasv(net, R227);
            net.reset(by_client);
            assert_eq!(net.passive(50_001, P), None);
        });
        case(Standard, |net| {
            port(net);
            net.reset(by_client);
            assert_eq!(net.active(20, 5001), None);
        });
    }
}

#[test]
fn e12_a_transfer_goes_on_behind_quit() {
    case(Standard, |net| {
        pasv(net, R227);
        says(net, "RETR f\r\n", "150 here\r\n");
        let ends = (at(CLIENT, 50_001), at(SERVER, P));
        let there = net.passive(50_001, P).expect("the data connection");
        net.establish(Side::Inside, ends, &there);
        assert!(net.data(Side::Outside, (there.dst, there.src), 99_001, 77_001, "one"));
        net.c("QUIT\r\n");
        net.server_gets("QUIT\r\n");
        net.conns[0].client.closes = true;
        net.settle();
        assert!(net.data(Side::Outside, (there.dst, there.src), 99_004, 77_001, "two"));
        net.s("226 done\r\n221 bye\r\n");
        net.conns[0].server.closes = true;
        net.settle();
        net.client_gets("226 done\r\n221 bye\r\n");
        net.wait(30_000);
        assert!(net.data(Side::Outside, (there.dst, there.src), 99_007, 77_001, "three"), "30 s later");
        assert!(net.data(Side::Inside, ends, 77_001, 99_012, ""), "its acknowledgement");
    });
}

#[test]
fn e13_active_data_from_any_port_unless_told_otherwise() {
    for from in [20, 40_000] {
        case(Standard, |net| {
            port(net);
            assert!(net.active(from, 5001).is_some(), "{from}");
        });
        case_with(
            Standard,
            |s| s.service().active_source_ports = vec![20],
            |net| {
                port(net);
                assert_eq!(net.active(from, 5001).is_some(), from == 20, "{from}");
                if from != 20 {
                    net.active_comes_once(5001, 5001);
                }
            },
        );
    }
}

#[test]
fn e14_a_transfer_without_an_announcement() {
    for line in ["RETR f\r\n", "STOR f\r\n", "LIST\r\n", "NLST\r\n", "MLSD\r\n", "APPE f\r\n", "STOU\r\n"] {
        case(Standard, |net| {
            net.c(line);
            net.server_gets("");
            net.client_gets_code(&["425"]);
            net.lives();
            net.nothing_is_open(&[40_001]);
        });
    }
    for translated in [false, true] {
        let change = |s: &mut Setup| {
            s.rules().default_data_port = true;
            s.settings.nat.masquerade.take_if(|_| !translated);
        };
        case_with(Standard, change, |net| {
            says(net, "RETR f\r\n", "150 here\r\n");
            let outside = net.client_outside();
            assert_eq!(outside.ip() != at(CLIENT, 0).ip(), translated);
            assert_eq!(net.syn(Side::Outside, at(SERVER, 2020), outside), None, "from another port");
            let there = net.syn(Side::Outside, at(SERVER, 20), outside).expect("the default data connection");
            assert_eq!(there.dst, at(CLIENT, 40_001));
            net.establish(Side::Outside, (at(SERVER, 20), outside), &there);
            assert_eq!(net.syn(Side::Outside, at(SERVER, 2020), outside), None, "a second one");
            net.s("226 done\r\n");
            net.client_gets("226 done\r\n");
            net.lives();
        });
    }
}

/// The data connection of a download that is not protected carries nothing to the server.
#[test]
fn e25_bytes_against_a_download_do_not_pass_in_strict() {
    for (profile, passes) in [(Strict, false), (Standard, true)] {
        case(profile, |net| {
            pasv(net, R227);
            says(net, "RETR f\r\n", "150 here\r\n");
            let ends = (at(CLIENT, 50_001), at(SERVER, P));
            let there = net.passive(50_001, P).expect("the data connection");
            net.establish(Side::Inside, ends, &there);
            assert!(net.data(Side::Outside, (there.dst, there.src), 99_001, 77_001, "the file"));
            assert!(net.data(Side::Inside, ends, 77_001, 99_009, ""), "an acknowledgement");
            assert_eq!(net.data(Side::Inside, ends, 77_001, 99_009, "smuggled"), passes, "{profile:?}");
        });
    }
    // Uploads go that way.
    case(Strict, |net| {
        pasv(net, R227);
        says(net, "STOR f\r\n", "150 here\r\n");
        let ends = (at(CLIENT, 50_001), at(SERVER, P));
        let there = net.passive(50_001, P).expect("the data connection");
        net.establish(Side::Inside, ends, &there);
        assert!(net.data(Side::Inside, ends, 77_001, 99_001, "the file"));
        assert!(!net.data(Side::Outside, (there.dst, there.src), 99_001, 77_009, "smuggled"));
    });
}

#[test]
fn e26_a_command_pipelined_behind_pasv_does_not_hide_its_reply() {
    case(Standard, |net| {
        net.c("PASV\r\nNOOP\r\n");
        let mut there = net.server_got();
        net.s("227 =198,51,100,7,200,10\r\n");
        there.extend(net.server_got());
        assert_eq!(there, b"PASV\r\nNOOP\r\n");
        net.s("200 noop\r\n");
        net.client_gets(format!("{R227}200 noop\r\n"));
        net.passive_comes_once(P);
    });
}

/// The 200 passes the gateway and is lost behind it, for ten seconds; the minute runs from the first one.
#[test]
fn e27_a_200_that_is_sent_again_opens_once() {
    for (wait, passes) in [(48_000, true), (51_000, false)] {
        case(Standard, |net| {
            net.c(PORT);
            net.server_gets(PORT_OUT);
            net.cut[0] = true;
            net.conns[0].server.stream.extend(b"200 ok\r\n");
            net.wait(10_000);
            net.cut[0] = false;
            net.wait(20_000);
            net.client_gets("200 ok\r\n");
            net.wait(wait - 20_000);
            assert_eq!(net.active(20, 5001).is_some(), passes, "{wait}");
            let opened =
                net.events().iter().filter(|e| e["event"] == "expectation" && e["state"] == "opened");
            assert_eq!(opened.count(), 1);
        });
    }
}
