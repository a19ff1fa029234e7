//! AUTH, what is behind it, and CCC.

use crate::rig::{Ccc, Ftps, Profile, Rig, Settings, Way, each_way, settings, text, within};

fn record(kind: u8, text: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3, 0, text.len() as u8], text].concat()
}

/// Encrypted, with a login nobody saw.
fn covered(ccc: Ccc, run: impl Fn(Rig)) {
    each_way(&Settings { ccc, ..settings(Profile::Standard) }, |mut rig| {
        rig.server(b"220 x\r\n");
        rig.passes(b"AUTH TLS\r\n");
        rig.at_client();
        rig.replies(b"234 go\r\n");
        assert!(rig.rules.is_opaque());
        rig.passes(&record(22, b"hello\nPASV\r\n"));
        rig.replies(&record(22, b"\r\n227 (198,51,100,7,200,10)\r\n"));
        rig.passes(&record(23, b"\r\nPORT 10,0,0,5,19,137\r\n"));
        rig.replies(&record(23, b"200 ok\r\n"));
        assert!(rig.doors.story().is_empty());
        run(rig);
    });
}

#[test]
fn auth_is_refused_where_that_is_the_policy() {
    let refuse = Settings { ftps: Ftps::Refuse, ..settings(Profile::Standard) };
    each_way(&refuse, |rig| {
        let mut rig = rig.logged_in();
        for command in ["AUTH TLS", "AUTH SSL", "PBSZ 0", "PROT P", "CCC"] {
            let answer = "534 Refused by rule ftps: Policy: ftps = \"refuse\".\\r\\n";
            rig.answered(format!("{command}\r\n").as_bytes(), answer);
        }
        assert!(!rig.rules.is_opaque());
    });
    within(Profile::Standard, |mut rig| {
        rig.answered(
            b"AUTH GSSAPI\r\n",
            "504 Refused by rule auth-mechanism: Only AUTH TLS is passed on.\\r\\n",
        );
        rig.passes(b"AUTH TLS\r\n");
        rig.replies(b"500 no\r\n");
        rig.passes(b"PASV\r\n");
        assert!(!rig.rules.is_opaque());
    });
}

#[test]
fn auth_stands_alone() {
    within(Profile::Standard, |mut rig| {
        rig.client(b"NOOP\r\nAUTH TLS\r\n");
        assert_eq!(text(&rig.at_server()), "NOOP\\r\\n");
        rig.server(b"200 ok\r\n");
        assert_eq!(text(&rig.at_server()), "AUTH TLS\\r\\n");
    });
    for behind in [&b"USER x\r\n"[..], b"USER x", b"\x16\x03\x01\x00\x01\n"] {
        within(Profile::Standard, |mut rig| {
            rig.client(&[b"AUTH TLS\r\n", behind].concat());
            rig.server(b"234 go\r\n");
            let told = text(&rig.at_client()).starts_with("421");
            assert!(rig.why().is_some() && (told || rig.is_reset()), "{:?}", text(behind));
            assert_eq!(text(&rig.at_server()), "AUTH TLS\\r\\n");
            assert_eq!(rig.log.counters.injected, 1);
        });
    }
    // What a server says behind its 234 is not the server's.
    for behind in [&b"331 x\r\n"[..], b"3", b"\x16\x03\x03\x00\x01x"] {
        within(Profile::Standard, |mut rig| {
            rig.client(b"AUTH TLS\r\n");
            rig.server(&[b"234 go\r\n", behind].concat());
            assert!(rig.is_reset());
            let got = text(&rig.at_client());
            assert!(got.is_empty() || (rig.way() != Way::Whole && got == "234 go\\r\\n"), "{got}");
        });
    }
}

#[test]
fn ccc_is_followed() {
    covered(Ccc::Allow, |mut rig| {
        // Each direction for itself, the alert in one of them only.
        rig.passes(&record(21, b"closed"));
        rig.client(b"PASV\r\n");
        assert_eq!(text(&rig.at_server()), "PASV\\r\\n");
        rig.server(b"227 ( 198,51,100,7,200,10)\r\n");
        assert_eq!(text(&rig.at_client()), "227 Entering Passive Mode (198,51,100,7,200,10).\\r\\n");
        assert_eq!(rig.doors.story(), ["listen 198.51.100.7:51210"]);
        assert!(!rig.rules.is_opaque() && !rig.rules.admits_nothing(&rig.settings));
        assert_eq!(rig.rules.memory(), 0);
    });
    covered(Ccc::Allow, |mut rig| {
        // The alert and the first line in one segment. A refusal may stand between the server's records: the client
        // has read its last one.
        rig.client(&[record(21, b"closed").as_slice(), b"PORT 1,2\r\nNOOP\r\n"].concat());
        assert!(text(&rig.at_server()).ends_with("closedNOOP\\r\\n"));
        assert_eq!(text(&rig.at_client()), "501 Refused by rule argument: Syntax error in parameters.\\r\\n");
        rig.server(&[record(21, b"x").as_slice(), b"200 ok\r\n"].concat());
        assert!(text(&rig.at_client()).ends_with("200 ok\\r\\n"));
    });
}

#[test]
fn ccc_is_denied() {
    covered(Ccc::Deny, |mut rig| {
        rig.passes(&record(21, b"closed"));
        assert!(!rig.is_reset());
        rig.client(b"P");
        assert!(rig.is_reset());
        assert_eq!((text(&rig.at_server()), rig.why()), (String::new(), Some("ccc denied")));
        assert!(rig.told().contains(&"refused: ccc denied".to_owned()));
    });
}

#[test]
fn ccc_is_required() {
    covered(Ccc::Require, |mut rig| {
        assert!(rig.rules.admits_nothing(&rig.settings));
        assert!(rig.told().iter().any(|t| t.starts_with("encrypted: ccc required")));
        rig.client(b"NOOP\r\n");
        assert!(rig.rules.admits_nothing(&rig.settings));
        rig.server(b"200 ok\r\n");
        assert!(!rig.rules.admits_nothing(&rig.settings));
        assert!(rig.told().iter().any(|t| t.starts_with("clear: ccc")));
    });
    within(Profile::Standard, |rig| assert!(!rig.rules.admits_nothing(&rig.settings)));
}

#[test]
fn what_is_no_tls_is_not_followed() {
    covered(Ccc::Allow, |mut rig| {
        rig.passes(b"\x80\x01garbage\r\nPORT 10,0,0,5,19,137\r\n");
        rig.replies(b"\x90200 ok\r\n");
        assert!(rig.rules.is_opaque() && rig.doors.story().is_empty() && !rig.is_reset());
    });
}
