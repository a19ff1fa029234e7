//! Strict rules.

use crate::rig::{Profile, Rig, each_way, settings, text, within};
use tidegate::alg::What;
use tidegate::time::Duration;

fn strict(run: impl Fn(Rig)) {
    within(Profile::Strict, run);
}

#[test]
fn a_command_waits_for_the_answer_before() {
    strict(|mut rig| {
        rig.client(b"PWD\r\nNOOP\r\nTYPE I\r\n");
        assert_eq!(text(&rig.at_server()), "PWD\\r\\n");
        rig.server(b"257 /\r\n");
        assert_eq!(text(&rig.at_server()), "NOOP\\r\\n");
        rig.server(b"200 ok\r\n");
        assert_eq!(text(&rig.at_server()), "TYPE I\\r\\n");
        rig.server(b"200 ok\r\n");
        // A transfer's 1xx is an answer.
        rig.client(b"PASV\r\n");
        rig.server(b"227 (198,51,100,7,200,10)\r\n");
        rig.client(b"RETR a\r\nNOOP\r\nABOR\r\n");
        assert_eq!(text(&rig.at_server()), "PASV\\r\\nRETR a\\r\\n");
        rig.server(b"150 x\r\n");
        assert_eq!(text(&rig.at_server()), "NOOP\\r\\nABOR\\r\\n");
    });
    strict(|mut rig| {
        rig.client(b"PWD\r\nNOOP\r\n");
        rig.wait(Duration::from_secs(31));
        rig.server(b"257 /\r\n");
        let got = text(&rig.at_client());
        assert!(got.starts_with("257 /\\r\\n503 Refused"), "{got}");
    });
}

#[test]
fn what_is_refused() {
    for (said, code) in [
        (&b"XYZZY\r\n"[..], "502"),
        (b"REIN\r\n", "502"),
        (b"SSCN ON\r\n", "502"),
        (b"LPSV\r\n", "502"),
        (b"LPRT 4,4,10,0,0,5,2,19,137\r\n", "502"),
        (b" NOOP\r\n", "500"),
        (b"\r\n", "500"),
        (b"CWD a\0b\r\n", "500"),
        (b"PO\xff\xf1RT 10,0,0,5,19,137\r\n", "500"),
        (b"PORT 10,0,0,5,12,234\r\n", "504"),
        (b"PORT 192,0,2,99,19,137\r\n", "504"),
        (b"RETR a\r\n", "425"),
    ] {
        strict(|mut rig| {
            rig.client(said);
            assert_eq!(text(&rig.at_server()), "", "{:?}", text(said));
            let got = text(&rig.at_client());
            assert!(got.starts_with(code) && !got.contains("421"), "{:?} {got}", text(said));
            rig.passes(b"NOOP\r\n");
        });
    }
}

#[test]
fn what_is_refused_and_ends_the_session() {
    for (said, code) in [
        (&b"NOOP\n"[..], "500"),
        (b"CWD a\rb\r\n", "500"),
        (b"PORT 10,0,0,5,19\r\n", "501"),
        (b"PORT 10,0,0,5,19,137,1\r\n", "501"),
        (b"EPRT |1|10.0.0.5|5001\r\n", "501"),
        (b"PORT 10,0,0,5,0,22\r\n", "504"),
    ] {
        strict(|mut rig| {
            rig.client(said);
            let got = text(&rig.at_client());
            assert!(got.starts_with(code) && got.contains("\\r\\n421 "), "{:?} {got}", text(said));
            assert!(rig.why().is_some() && text(&rig.at_server()).is_empty());
            assert!(rig.doors.story().is_empty());
        });
    }
    strict(|mut rig| {
        for i in 0..3 {
            assert_eq!(rig.why(), None, "{i}");
            rig.client(b"PORT 192,0,2,99,19,137\r\n");
        }
        assert!(rig.why().is_some());
        assert_eq!(rig.log.counters.foreign_addresses, 3);
    });
}

#[test]
fn what_is_reset() {
    for said in [&b"227 (10,0,0,5,200,10)\r\n"[..], b"XXXX\xff\xf7\xff\xf7PORT 10,0,0,5,19,137\r\n"] {
        strict(|mut rig| {
            rig.client(said);
            assert!(rig.is_reset() && text(&rig.at_server()).is_empty(), "{:?}", text(said));
        });
    }
    for said in [
        &b"999 x\r\n"[..],
        b"2 x\r\n",
        b"22x\r\n",
        b"PORT 10,0,0,5,19,137\r\n",
        b"227 (198,51,100,7,200,10)\r\n",
        b"550 PORT 10,0,0,5,19,137\r\n",
        b"550-x\r\n 227 (198,51,100,7,200,10)\r\n",
        b"200 a\rb\r\n",
        b"200 a\0b\r\n",
        b"2\xff\xf100 a\r\n",
    ] {
        strict(|mut rig| {
            rig.client(b"NOOP\r\n");
            rig.server(said);
            assert!(rig.is_reset(), "{:?}", text(said));
            assert!(rig.doors.story().is_empty());
        });
        // Others let it pass, and take it for what it is.
        within(Profile::Standard, |mut rig| {
            rig.client(b"NOOP\r\n");
            rig.replies(said);
            assert!(!rig.is_reset() && rig.doors.story().is_empty());
        });
    }
    for said in ["227 (198,51,100,7,0,22)\r\n", "227 (198,51,100,7,200,10) and more\r\n"] {
        strict(|mut rig| {
            rig.client(b"PASV\r\n");
            rig.server(said.as_bytes());
            assert!(rig.is_reset(), "{said}");
        });
    }
    strict(|mut rig| {
        rig.client(b"PASV\r\n");
        rig.server(b"227 (198,51,100,7,200,10)\r\n");
        rig.client(b"RETR a\r\n");
        rig.server(b"150 x\r\n230-a\r\n226 done\r\n");
        assert!(rig.is_reset());
    });
}

#[test]
fn a_229_that_is_none_leads_back_to_pasv() {
    strict(|mut rig| {
        rig.client(b"EPSV\r\n");
        rig.server(b"229 x (||51210|)\r\n");
        assert_eq!(text(&rig.at_client()), "500 EPSV was not answered well; use PASV.\\r\\n");
    });
}

#[test]
fn the_system_is_masked() {
    strict(|mut rig| {
        rig.client(b"SYST\r\n");
        rig.server(b"215 UNIX Type: L8\r\n");
        assert_eq!(text(&rig.at_client()), "215 XXXX XXXXX XX\\r\\n");
    });
}

#[test]
fn other_bytes_at_the_same_place_end_it() {
    for profile in [Profile::Standard, Profile::Strict] {
        each_way(&settings(profile), |rig| {
            let mut rig = rig.logged_in();
            rig.mute = true;
            rig.client(b"PORT 10,0,0,5,19,137\r\n");
            rig.again(b"PORT 10,0,0,6,19,137\r\n");
            assert!(rig.notes.iter().any(|n| n.what == What::Conflict));
            assert_eq!(rig.is_reset(), profile == Profile::Strict);
            assert_eq!(text(&rig.at_server()), "PORT 10,0,0,5,19,137\\r\\n");
            assert_eq!(rig.doors.story(), ["reserve 10.0.0.5:5001"]);
        });
    }
}
