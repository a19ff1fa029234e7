//! The first lines, and the login.

use crate::rig::{Profile, Rig, Way, each_way, plain, settings, text, within};
use tidegate::time::Duration;

const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: x\r\n\r\nUSER a\r\nPASS b\r\nPORT 10,0,0,5,19,137\r\n";

#[test]
fn what_is_not_ftp_opens_nothing_for_ever() {
    // The server plays along.
    each_way(&settings(Profile::Standard), |mut rig| {
        rig.server(b"220 hello\r\n");
        rig.client(POST);
        rig.server(b"331 more\r\n230 in\r\n200 ok\r\n227 (198,51,100,7,200,10)\r\n");
        rig.client(b"PORT 10,0,0,5,19,137\r\nPASV\r\n");
        rig.server(b"200 ok\r\n227 (198,51,100,7,200,10)\r\n");
        assert!(rig.doors.story().is_empty() && rig.rules.is_opaque());
        assert_eq!(rig.log.counters.not_ftp, 1);
        assert!(text(&rig.at_server()).starts_with("POST"));
    });
    // It speaks before the greeting, as FTP's clients do not.
    each_way(&settings(Profile::Standard), |mut rig| {
        rig.client(POST);
        assert!(rig.is_reset() && rig.doors.story().is_empty());
        assert_eq!(
            (text(&rig.at_server()), rig.why()),
            (String::new(), Some("the client does not speak FTP"))
        );
    });
    each_way(&settings(Profile::Compat), |mut rig| {
        rig.client(POST);
        rig.server(b"220 x\r\n230 in\r\n230 in\r\n200 ok\r\n");
        assert!(!rig.is_reset() && rig.doors.story().is_empty() && rig.rules.is_opaque());
    });
    each_way(&settings(Profile::Strict), |mut rig| {
        rig.server(b"220 x\r\n");
        rig.client(POST);
        assert!(rig.is_reset());
    });
}

#[test]
fn a_client_that_is_early_waits_for_the_greeting() {
    each_way(&settings(Profile::Standard), |mut rig| {
        rig.client(b"USER a\r\n");
        assert_eq!(text(&rig.at_server()), "");
        rig.server(b"220-x\r\n");
        assert_eq!(text(&rig.at_server()), "");
        rig.server(b"220 y\r\n");
        assert_eq!(text(&rig.at_server()), "USER a\\r\\n");
        assert_eq!(rig.log.counters.early, 1);
    });
    each_way(&settings(Profile::Standard), |mut rig| {
        rig.client(b"USER a\r\n");
        rig.wait(Duration::from_secs(40));
        assert_eq!(text(&rig.at_client()), "421 Closed by rule greeting: The server did not greet.\\r\\n");
        assert_eq!(rig.why(), Some("no greeting from the server"));
    });
    // A refusal is a greeting, too.
    each_way(&settings(Profile::Standard), |mut rig| {
        rig.server(b"530 not you\r\n");
        rig.passes(b"QUIT\r\n");
    });
}

#[test]
fn servers_of_other_protocols_are_not_read() {
    each_way(&settings(Profile::Standard), |mut rig| {
        rig.replies(b"SSH-2.0-x\r\n");
        rig.passes(b"SSH-2.0-y\r\nPORT 10,0,0,5,19,137\r\n");
        rig.replies(b"220 x\r\n200 ok\r\n");
        assert!(rig.rules.is_opaque() && rig.doors.story().is_empty());
    });
}

#[test]
fn tls_from_the_first_byte() {
    let hello = b"\x16\x03\x01\x00\x05abc\nd";
    let mut rig = Rig::new(settings(Profile::Compat), plain(), Way::Bytes);
    rig.passes(hello);
    rig.replies(b"\x16\x03\x03\x00\x02xy\n");
    assert!(rig.rules.is_opaque() && !rig.is_reset());
    each_way(&settings(Profile::Standard), |mut rig| {
        rig.client(hello);
        assert!(rig.is_reset());
        assert_eq!(text(&rig.at_server()), "");
    });
}

#[test]
fn nothing_is_announced_before_the_login() {
    for announcement in ["PORT 10,0,0,5,19,137", "EPRT |1|10.0.0.5|5001|", "PASV", "EPSV", "LIST"] {
        each_way(&settings(Profile::Standard), |mut rig| {
            rig.server(b"220 x\r\n");
            rig.at_client();
            rig.answered(
                format!("{announcement}\r\n").as_bytes(),
                "530 Refused by rule login-first: Log in first.\\r\\n",
            );
            assert!(rig.doors.story().is_empty());
        });
    }
    // All at once: it waits to be known.
    for (login, refused) in [("230 in\r\n", false), ("530 no\r\n", true)] {
        each_way(&settings(Profile::Standard), |mut rig| {
            rig.server(b"220 x\r\n");
            rig.client(b"USER a\r\nPASS b\r\nPORT 10,0,0,5,19,137\r\nLIST\r\n");
            assert_eq!(text(&rig.at_server()), "USER a\\r\\n");
            rig.server(b"331 x\r\n");
            assert_eq!(text(&rig.at_server()), "PASS b\\r\\n");
            rig.at_client();
            rig.server(login.as_bytes());
            let (server, client) = (text(&rig.at_server()), text(&rig.at_client()));
            if refused {
                let want = "530 no\\r\\n530 Refused by rule login-first: Log in first.\\r\\n530 Refused by rule login-first: Log in first.\\r\\n";
                assert_eq!((server.as_str(), client.as_str()), ("", want));
                assert!(rig.doors.story().is_empty());
            } else {
                assert_eq!(server, "PORT 10,0,0,5,19,137\\r\\n");
                rig.server(b"200 ok\r\n");
                assert_eq!(text(&rig.at_server()), "LIST\\r\\n");
            }
        });
    }
}

#[test]
fn a_new_login_begins_anew() {
    within(Profile::Standard, |mut rig| {
        rig.passes(b"USER b\r\n");
        rig.replies(b"331 x\r\n");
        rig.answered(b"PASV\r\n", "530 Refused by rule login-first: Log in first.\\r\\n");
        rig.passes(b"PASS x\r\n");
        rig.replies(b"230 in\r\n");
        rig.answered(b"EPSV ALL\r\n", "200 EPSV ALL ok.\\r\\n");
        rig.passes(b"REIN\r\n");
        rig.replies(b"220 x\r\n");
        rig.answered(b"PASV\r\n", "530 Refused by rule login-first: Log in first.\\r\\n");
        rig.passes(b"USER b\r\n");
        rig.replies(b"230 x\r\n");
        rig.passes(b"PASV\r\n");
    });
}
