//! Strict rules.

use crate::rig::{Profile, Rig, each_way, settings, text, within};
use std::cell::RefCell;
use tidegate::alg::What;
use tidegate::time::Duration;

fn strict(run: impl Fn(Rig)) {
    within(Profile::Strict, run);
}

/// Who says what.
enum Say {
    /// The client.
    C(&'static [u8]),
    /// The server.
    S(&'static [u8]),
    /// The client, where its last bytes were.
    Again(&'static [u8]),
}

/// What becomes of it.
#[derive(Debug)]
enum Comes {
    /// Both ends are reset.
    Reset,
    /// The client is told so, and 421.
    Closed(&'static str),
    /// The server got this, and the session lives.
    AtServer(&'static str),
    /// The client got this, and the session lives.
    AtClient(&'static str),
}

/// Cisco's list for `inspect ftp strict`, rule by rule, each with what is just not against it.
#[test]
fn the_strict_list() {
    use Comes::{AtClient, AtServer, Closed, Reset};
    use Say::{Again, C, S};
    const PASV: Say = C(b"PASV\r\n");
    const GOOD: Say = S(b"227 (198,51,100,7,200,10)\r\n");
    const OPEN: &str = "227 (198,51,100,7,200,10)\\r\\n";
    let long = |verb: &str, len: usize| {
        let line = format!("{verb} {}\r\n", "a".repeat(len));
        C(Box::leak(line.into_bytes().into_boxed_slice()))
    };
    let name: &str = Box::leak(format!("PASV\\r\\nRETR {}\\r\\n", "a".repeat(256)).into_boxed_str());
    let rows = [
        ("a command is acknowledged before the next", vec![C(b"PWD\r\nNOOP\r\n")], AtServer("PWD\\r\\n")),
        (
            "and then the next goes",
            vec![C(b"PWD\r\nNOOP\r\n"), S(b"257 /\r\n")],
            AtServer("PWD\\r\\nNOOP\\r\\n"),
        ),
        ("227 in an error", vec![C(b"NLST x\r\n"), PASV, S(b"550 227 (198,51,100,7,200,10)\r\n")], Reset),
        ("PORT in an error", vec![C(b"CWD x\r\n"), S(b"550 PORT 10,0,0,5,19,137\r\n")], Reset),
        ("neither", vec![C(b"CWD x\r\n"), S(b"550 no\r\n")], AtClient("550 no\\r\\n")),
        ("four commas in PORT", vec![C(b"PORT 10,0,0,5,19\r\n")], Closed("501")),
        ("six commas in PORT", vec![C(b"PORT 10,0,0,5,19,137,1\r\n")], Closed("501")),
        ("four commas in 227", vec![PASV, S(b"227 (198,51,100,7,200)\r\n")], Reset),
        ("six commas in 227", vec![PASV, S(b"227 (198,51,100,7,200,10,1)\r\n")], Reset),
        ("six commas in a 227's text", vec![PASV, S(b"227 Yes, (198,51,100,7,200,10)\r\n")], Reset),
        ("no comma in 227", vec![PASV, S(b"227 Entering Passive Mode\r\n")], Reset),
        ("five, and no address", vec![PASV, S(b"227 (198,51,100,7,200,256)\r\n")], Reset),
        ("five commas in 227", vec![PASV, GOOD], AtClient(OPEN)),
        ("a command ends in LF", vec![C(b"NOOP\n")], Closed("500")),
        ("a reply ends in LF", vec![C(b"NOOP\r\n"), S(b"200 ok\n")], Reset),
        ("a 227 ends in LF", vec![PASV, S(b"227 (198,51,100,7,200,10)\n")], Reset),
        ("a line within a reply ends in LF", vec![C(b"STAT\r\n"), S(b"211-a\n211 b\r\n")], Reset),
        ("RETR of 257 bytes", vec![PASV, GOOD, long("RETR", 257)], Closed(OPEN)),
        ("STOR of 257 bytes", vec![PASV, GOOD, long("STOR", 257)], Closed(OPEN)),
        ("APPE of 257 bytes", vec![PASV, GOOD, long("APPE", 257)], Closed(OPEN)),
        ("RETR of 256 bytes", vec![PASV, GOOD, long("RETR", 256)], AtServer(name)),
        ("PORT from the server", vec![C(b"NOOP\r\n"), S(b"PORT 10,0,0,5,19,137\r\n")], Reset),
        ("227 from the client", vec![C(b"227 (10,0,0,5,200,10)\r\n")], Reset),
        ("227 without PASV", vec![C(b"NOOP\r\n"), S(b"227 (198,51,100,7,200,10)\r\n")], Reset),
        ("an edited stream", vec![C(b"CWD a\r\n"), Again(b"CWD b\r\n")], Reset),
        ("the same again", vec![C(b"CWD a\r\n"), Again(b"CWD a\r\n")], AtServer("CWD a\\r\\n")),
        ("PORT to 1023", vec![C(b"PORT 10,0,0,5,3,255\r\n")], Closed("504")),
        ("PORT to 1024", vec![C(b"PORT 10,0,0,5,4,0\r\n")], Closed("504")),
        ("EPRT to 1024", vec![C(b"EPRT |1|10.0.0.5|1024|\r\n")], Closed("504")),
        ("PORT to 1025", vec![C(b"PORT 10,0,0,5,4,1\r\n")], AtServer("PORT 10,0,0,5,4,1\\r\\n")),
        ("227 of port 0", vec![PASV, S(b"227 (198,51,100,7,0,0)\r\n")], Reset),
        ("227 of 1024", vec![PASV, S(b"227 (198,51,100,7,4,0)\r\n")], Reset),
        ("229 of 1024", vec![C(b"EPSV\r\n"), S(b"229 x (|||1024|)\r\n")], Reset),
        (
            "227 of 1025",
            vec![PASV, S(b"227 (198,51,100,7,4,1)\r\n")],
            AtClient("227 (198,51,100,7,4,1)\\r\\n"),
        ),
        ("9 bytes behind PORT", vec![C(b"PORT 10,0,0,5,19,137         \r\n")], Closed("501")),
        (
            "8 bytes behind PORT",
            vec![C(b"PORT 10,0,0,5,19,137        \r\n")],
            AtServer("PORT 10,0,0,5,19,137\\r\\n"),
        ),
        ("9 bytes behind 227", vec![PASV, S(b"227 (198,51,100,7,200,10).abcdefg\r\n")], Reset),
        ("9, the last one a digit", vec![PASV, S(b"227 (198,51,100,7,200,10) abcdef1\r\n")], Reset),
        ("9, and a line behind", vec![PASV, S(b"227-(198,51,100,7,200,10) and more\r\n227 end\r\n")], Reset),
        (
            "8 bytes behind 227",
            vec![PASV, S(b"227 (198,51,100,7,200,10) abcdef\r\n")],
            AtClient("227 (198,51,100,7,200,10) abcdef\\r\\n"),
        ),
        ("SYST", vec![C(b"SYST\r\n"), S(b"215 UNIX Type: L8\r\n")], AtClient("215 XXXX XXXXX XX\\r\\n")),
        ("SYST in two lines", vec![C(b"SYST\r\n"), S(b"215-UNIX\r\n215 L8\r\n")], AtClient("215 XX\\r\\n")),
        ("another code for SYST", vec![C(b"SYST\r\n"), S(b"200 UNIX\r\n")], AtClient("200 XXXX\\r\\n")),
    ];
    let wrong = RefCell::new(Vec::new());
    for (rule, said, comes) in rows {
        strict(|mut rig| {
            // What is acknowledged cannot be compared any more.
            rig.mute = said.iter().any(|say| matches!(say, Again(_)));
            for say in &said {
                match say {
                    C(bytes) => rig.client(bytes),
                    S(bytes) => rig.server(bytes),
                    Again(bytes) => rig.again(bytes),
                }
            }
            let (server, client) = (text(&rig.at_server()), text(&rig.at_client()));
            let over = rig.why().is_some() || rig.is_reset();
            let right = match comes {
                Reset => rig.is_reset() && rig.doors.story().is_empty(),
                Closed(first) => {
                    let told = client.starts_with(first) && client.contains("\\r\\n421 ");
                    told && over && rig.log.counters.refused == 1
                }
                AtServer(want) => server == want && !over,
                AtClient(want) => client == want && !over,
            };
            if !right {
                let what = format!("{rule}, {:?}: to the server {server}, to the client {client}", rig.way());
                wrong.borrow_mut().push(what);
            }
        });
    }
    assert_eq!(wrong.into_inner(), [""; 0]);
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
        assert_eq!(
            text(&rig.at_client()),
            "500 Refused by rule announcement: EPSV was not answered well; use PASV.\\r\\n"
        );
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
