//! 227, 228, 229.

use crate::rig::{Profile, Rig, WAYS, plain, settings, text, within};
use tidegate::alg::rules::{Ends, NoDoor};
use tidegate::time::Duration;

/// A server behind a translation.
fn translated(profile: Profile, run: impl Fn(Rig)) {
    let server_told = "203.0.113.9:21".parse().unwrap();
    for way in WAYS {
        let rig = Rig::new(settings(profile), Ends { server_told, ..plain() }, way);
        run(rig.outside("198.51.100.7:51210", "203.0.113.9:2020").logged_in());
    }
}

const P227: &str = "227 Entering Passive Mode (203,0,113,9,7,228).\\r\\n";
const R227: &[u8] = b"227 Entering Passive Mode (198,51,100,7,200,10).\r\n";
const P229: &str = "229 Entering Extended Passive Mode (|||2020|)\\r\\n";

#[test]
fn every_form_is_read_and_one_is_written() {
    for (asked, said, written) in [
        ("PASV", "227 Entering Passive Mode (198,51,100,7,200,10).\r\n", P227),
        ("PASV", "227 Entering passive mode. 198,51,100,7,200,10\r\n", P227),
        ("PASV", "227 =198,51,100,7,200,10\r\n", P227),
        ("PASV", "227 198,51,100,7,200,10\r\n", P227),
        ("PASV", "227 IPv4 v2 (198,51,100,7,200,10)\r\n", P227),
        ("PASV", "227 Entering Passive Mode( 198, 51,100,7 ,200,10).\r\n", P227),
        ("PASV", "227-hello\r\n227 (0,0,0,0,200,10)\r\n", P227),
        ("PASV", "227-(198,51,100,7,200,10)\r\n227 ok\r\n", P227),
        ("PASV", "227 (172,16,1,69,200,10)\n", P227),
        ("PASV", "229 x (|||51210|)\r\n", P227),
        ("EPSV", "229 x (|||51210|)\r\n", P229),
        ("EPSV", "229 x (!!!51210!).\r\n", P229),
        ("EPSV", "229 x (||51210|)\r\n", P229),
        ("EPSV", "229 x (|1|10.9.9.9|51210|)\r\n", P229),
        ("EPSV 1", "227 x (198,51,100,7,200,10)\r\n", P229),
        (
            "LPSV",
            "228 x (4,4,198,51,100,7,2,200,10)\r\n",
            "228 Entering Long Passive Mode (4,4,203,0,113,9,2,7,228)\\r\\n",
        ),
    ] {
        translated(Profile::Standard, |mut rig| {
            rig.passes(format!("{asked}\r\n").as_bytes());
            rig.server(said.as_bytes());
            assert_eq!(text(&rig.at_client()), written, "{said:?}");
            assert_eq!(rig.doors.story(), ["listen 198.51.100.7:51210"]);
            assert_eq!(rig.rules.memory(), 0);
        });
    }
}

#[test]
fn what_every_client_reads_stays() {
    for (asked, said, stays) in [
        ("PASV", "227 Entering Passive Mode (198,51,100,7,200,10).\r\n", true),
        ("PASV", "227 hi(198,51,100,7,200,10)\r\n", true),
        ("PASV", "227-a\r\n b\r\n227 (198,51,100,7,200,10)\r\n", false),
        ("PASV", "227 ok (198,51,100,7,200,10)\n", true),
        ("PASV", "227 198,51,100,7,200,10\r\n", false),
        ("PASV", "227 IPv4 (198,51,100,7,200,10)\r\n", false),
        ("PASV", "227 ( 198,51,100,7,200,10)\r\n", false),
        // Another host: the client is not to go there.
        ("PASV", "227 x (198,51,100,8,200,10)\r\n", false),
        ("PASV", "229 x (|||51210|)\r\n", false),
        ("EPSV", "229 x (|||51210|)\r\n", true),
        ("EPSV", "229 x (!!!51210!).\r\n", true),
        ("EPSV", "229 x (||51210|)\r\n", false),
        ("EPSV", "229 x (|1|10.9.9.9|51210|)\r\n", false),
        ("EPSV", "227 x (198,51,100,7,200,10)\r\n", false),
        ("LPSV", "228 x (4,4,198,51,100,7,2,200,10)\r\n", true),
    ] {
        for profile in [Profile::Standard, Profile::Compat] {
            within(profile, |mut rig| {
                rig.client(format!("{asked}\r\n").as_bytes());
                rig.server(said.as_bytes());
                assert_eq!(rig.at_client() == said.as_bytes(), stays, "{profile:?} {said:?}");
                assert_eq!(rig.doors.story(), ["listen 198.51.100.7:51210"]);
            });
        }
    }
}

#[test]
fn what_names_nothing_that_may_be_used_is_a_425() {
    for (asked, said) in [
        ("PASV", "227 Entering Passive Mode (\r\n"),
        ("PASV", "227 Logout.\r\n"),
        ("PASV", "227 (198,51,100,7,0,0)\r\n"),
        ("PASV", "227 (198,51,100,7,0,22)\r\n"),
        ("PASV", "227 (198,51,100,7,12,234)\r\n"),
        ("PASV", "227-(198,51,100,7,200,10\r\n227-x\r\n227 (198,51,100,7,0,21)\r\n"),
        ("EPSV", "229 x (|||70000|)\r\n"),
        ("EPSV", "229 x (|||0|)\r\n"),
    ] {
        for profile in [Profile::Compat, Profile::Standard] {
            within(profile, |mut rig| {
                rig.client(format!("{asked}\r\n").as_bytes());
                rig.server(said.as_bytes());
                let got = text(&rig.at_client());
                assert!(got.starts_with("425 Refused by rule ") && got.matches("\\n").count() == 1, "{got}");
                assert!(rig.doors.story().is_empty());
                assert_eq!(rig.doors.refused.len(), 1, "{said}");
                assert_eq!(rig.told().last().map(String::as_str), Some("425 [edited]"));
                rig.at_server();
                rig.passes(b"NOOP\r\n");
            });
        }
    }
}

#[test]
fn nobody_asked_for_it() {
    for profile in [Profile::Compat, Profile::Standard] {
        within(profile, |mut rig| {
            rig.replies(b"227 Logout.\r\n227 (198,51,100,7,200,10)\r\n");
            // An error that repeats what it was given.
            rig.passes(b"CWD 227 Entering Passive Mode (198,51,100,7,200,10)\r\n");
            rig.replies(b"550 227 Entering Passive Mode (198,51,100,7,200,10): no\r\n");
            rig.passes(b"CWD x\r\n");
            rig.replies(b"227 Entering Passive Mode (198,51,100,7,200,10)\r\n");
            // Said by the wrong end.
            rig.replies(b"PORT 10,0,0,5,19,137\r\n");
            rig.passes(b"227 Entering Passive Mode (10,0,0,5,200,10)\r\n");
            assert!(rig.doors.story().is_empty());
            assert!(rig.log.counters.unasked_addresses >= 2 && rig.log.counters.strays == 1);
        });
    }
}

#[test]
fn other_replies_open_nothing_and_stay() {
    within(Profile::Standard, |mut rig| {
        for reply in ["500 no\r\n", "202 OK\r\n", "425-a\r\n (198,51,100,7,200,10)\r\n425 b\r\n", "502 x\r\n"]
        {
            rig.client(b"EPSV\r\n");
            rig.replies(reply.as_bytes());
        }
        assert!(rig.doors.story().is_empty());
    });
}

#[test]
fn only_the_second_of_two_stands() {
    within(Profile::Standard, |mut rig| {
        rig.passes(b"PASV\r\nPASV\r\n");
        rig.replies(b"227 a (198,51,100,7,200,10)\r\n227 b (198,51,100,7,200,11)\r\n");
        assert_eq!(rig.doors.story(), ["listen 198.51.100.7:51210", "listen 198.51.100.7:51211"]);
    });
}

#[test]
fn no_room_is_told_and_may_be_waited_for() {
    for no in [NoDoor::Ports, NoDoor::Client, NoDoor::Full, NoDoor::Policy("x")] {
        within(Profile::Standard, |mut rig| {
            rig.client(b"PASV\r\n");
            rig.doors.no = Some(no);
            rig.server(b"227-a\r\n227 (198,51,100,7,200,10)\r\n");
            assert!(text(&rig.at_client()).starts_with("425"), "{no:?}");
        });
    }
    for reply in [&b"227 (198,51,100,7,200,10)\r\n"[..], b"227-a\r\n227-b\r\n227 (198,51,100,7,200,10)\r\n"] {
        within(Profile::Standard, |mut rig| {
            rig.client(b"PASV\r\n");
            rig.doors.no = Some(NoDoor::Wait);
            rig.server(reply);
            assert_eq!(text(&rig.at_client()), "");
            rig.client(b"NOOP\r\n");
            assert_eq!(text(&rig.at_client()), "");
            rig.doors.no = None;
            rig.server(b"200 noop\r\n");
            let lines = reply.iter().filter(|b| **b == b'\n').count();
            let told = if lines == 1 { text(reply) } else { text(R227) };
            assert_eq!(text(&rig.at_client()), told + "200 noop\\r\\n");
            assert_eq!(rig.rules.memory(), 0);
        });
        within(Profile::Standard, |mut rig| {
            rig.client(b"PASV\r\n");
            rig.doors.no = Some(NoDoor::Wait);
            rig.server(reply);
            rig.wait(Duration::from_secs(40));
            assert_eq!(text(&rig.at_client()), "425 Refused by rule data-ports: No data port is free.\\r\\n");
        });
    }
}
