//! PORT, EPRT, LPRT.

use crate::rig::{PROFILES, Profile, Rig, Settings, WAYS, each_way, plain, settings, text, within};
use tidegate::alg::rules::{ClientMode, Ends, NoDoor};
use tidegate::time::Duration;

const TOLD: &str = "203.0.113.9:49999";

/// A client behind a translation.
fn translated(profile: Profile, run: impl Fn(Rig)) {
    let ends = Ends { client_told: "203.0.113.9:40000".parse().unwrap(), ..plain() };
    for way in WAYS {
        run(Rig::new(settings(profile), ends, way).outside("10.0.0.5:5001", TOLD).logged_in());
    }
}

#[test]
fn every_form_is_read_and_one_is_written() {
    for (said, written) in [
        (&b"PORT 10,0,0,5,19,137\r\n"[..], "PORT 203,0,113,9,195,79"),
        (b"port 10,0,0,5,19,137\n", "PORT 203,0,113,9,195,79"),
        (b"PORT 010,0,0,005,019,137\r\n", "PORT 203,0,113,9,195,79"),
        (b"PORT 10,0,0,5,19,137  \r\n", "PORT 203,0,113,9,195,79"),
        (b"\r\n  PORT 10,0,0,5,19,137\r\n", "PORT 203,0,113,9,195,79"),
        (b"PO\xff\xf1RT 10,0,0,5,19,137\r\n", "PORT 203,0,113,9,195,79"),
        (b"EPRT |1|10.0.0.5|5001|\r\n", "EPRT |1|203.0.113.9|49999|"),
        (b"EPRT !1!10.0.0.5!5001!\r\n", "EPRT |1|203.0.113.9|49999|"),
        (b"EPRT |1|10.0.0.5|5001\r\n", "EPRT |1|203.0.113.9|49999|"),
        (b"EPRT |2|::ffff:10.0.0.5|5001|\r\n", "EPRT |1|203.0.113.9|49999|"),
        (b"LPRT 4,4,10,0,0,5,2,19,137\r\n", "LPRT 4,4,203,0,113,9,2,195,79"),
    ] {
        translated(Profile::Standard, |mut rig| {
            rig.client(said);
            assert_eq!(text(&rig.at_server()), format!("{written}\\r\\n"), "{:?}", text(said));
            rig.replies(b"200 ok\r\n");
            assert_eq!(rig.doors.story(), ["reserve 10.0.0.5:5001", "open"]);
        });
    }
}

#[test]
fn what_means_the_same_to_everybody_stays() {
    for (said, stays) in [
        (&b"PORT 10,0,0,5,19,137\r\n"[..], true),
        (b"port 10,0,0,5,19,137\r\n", true),
        (b"EPRT |1|10.0.0.5|5001|\r\n", true),
        (b"EPRT !1!10.0.0.5!5001!\r\n", true),
        (b"EPRT |1|10.0.0.5|5001\r\n", false),
        (b"EPRT |1|10.0.0.5|05001|\r\n", false),
        (b"PORT 010,0,0,5,19,137\r\n", false),
        (b"PORT 10,0,0,5,19,137 \r\n", false),
        (b"PORT 10,0,0,5,19,137\n", false),
        (b" PORT 10,0,0,5,19,137\r\n", false),
        (b"LPRT 4,4,10,0,0,5,2,19,137\r\n", true),
    ] {
        for profile in [Profile::Standard, Profile::Compat] {
            within(profile, |mut rig| {
                rig.client(said);
                let came = rig.at_server();
                assert_eq!(came == said, stays, "{profile:?} {:?}", text(said));
                assert!(came.ends_with(if came == said { b"\n" } else { b"\r\n" }));
                assert_eq!(rig.doors.story(), ["reserve 10.0.0.5:5001"]);
            });
        }
    }
}

#[test]
fn what_is_no_announcement_is_refused_and_opens_nothing() {
    for (said, code) in [
        (&b"PORT 10,0,0,5,19,393\r\n"[..], 501),
        (b"PORT 10,0,0,5,,22\r\n", 501),
        (b"PORT ,,,,,\r\n", 501),
        (b"PORT 10,0,0,5,19,137,1\r\n", 501),
        (b"PORT\r\n", 501),
        (b"PORT 10,0,0,5,0,0\r\n", 501),
        (b"PORT 10,0,0,5,0,22\r\n", 504),
        (b"PORT 10,0,0,5,12,234\r\n", 504),
        (b"PORT 192,0,2,99,19,137\r\n", 504),
        (b"PORT 0,0,0,0,19,137\r\n", 504),
        (b"EPRT |2|10.0.0.5|5001|\r\n", 501),
        (b"EPRT |1|fe80::1|5001|\r\n", 501),
        (b"EPRT |2|2001:db8::1|5001|\r\n", 522),
        (b"EPRT |3|x|1|\r\n", 522),
        (b"EPRT |1|10.0.0.5|65536|\r\n", 501),
        (b"EPRT |1|10.0.0.5|0|\r\n", 501),
        (b"EPRT |1|10.0.0.5|22|\r\n", 504),
        (b"EPRT 11110.0.0.5150011\r\n", 501),
        (b"LPRT 6,16,32,1,13,184,0,0,0,0,0,0,0,0,0,0,0,1,2,19,137\r\n", 521),
        (b"LPRT 5,4,10,0,0,5,2,19,137\r\n", 521),
        (b"PORT 10,0,0,5,19,137\0\r\n", 501),
        (b"PORT 10,0,0,5,19,137\rx\n", 500),
    ] {
        for profile in [Profile::Standard, Profile::Compat] {
            within(profile, |mut rig| {
                rig.client(said);
                assert_eq!(text(&rig.at_server()), "", "{profile:?} {:?}", text(said));
                let answer = text(&rig.at_client());
                assert!(answer.starts_with(&code.to_string()), "{profile:?} {:?}: {answer}", text(said));
                assert!(rig.doors.story().is_empty() && rig.log.counters.refused == 1);
                rig.passes(b"NOOP\r\n");
            });
        }
    }
}

#[test]
fn a_port_without_a_line_of_its_own_is_none() {
    within(Profile::Standard, |mut rig| {
        rig.client(b"PORT\r\nNOOP 10,0,0,5,19,137\r\n");
        assert_eq!(text(&rig.at_server()), "NOOP 10,0,0,5,19,137\\r\\n");
        rig.passes(b"PORTX 10,0,0,5,19,137\r\n");
        rig.passes(b"RETR2 PORT 10,0,0,5,19,137\r\n");
        assert!(rig.doors.story().is_empty());
    });
    // Whatever a server makes of it.
    within(Profile::Standard, |mut rig| {
        rig.client(b"XXXX\xff\xf7\xff\xf7\xff\xf7\xff\xf7PORT 10,0,0,5,19,137\r\n");
        assert_eq!(text(&rig.at_server()), "XXXXPORT 10,0,0,5,19,137\\r\\n");
        assert!(rig.doors.story().is_empty());
    });
    within(Profile::Standard, |mut rig| {
        rig.client(b"NOOP\rPORT 10,0,0,5,19,137\r\n");
        assert_eq!(text(&rig.at_server()), "");
        assert!(text(&rig.at_client()).starts_with("500"));
    });
}

#[test]
fn no_room_is_told_and_may_be_waited_for() {
    for (no, code) in
        [(NoDoor::Ports, 425), (NoDoor::Client, 425), (NoDoor::Full, 425), (NoDoor::Policy("x"), 504)]
    {
        within(Profile::Standard, |mut rig| {
            rig.doors.no = Some(no);
            rig.client(b"PORT 10,0,0,5,19,137\r\n");
            assert!(text(&rig.at_client()).starts_with(&code.to_string()), "{no:?}");
            assert_eq!(text(&rig.at_server()), "");
        });
    }
    within(Profile::Standard, |mut rig| {
        rig.doors.no = Some(NoDoor::Wait);
        rig.client(b"PORT 10,0,0,5,19,137\r\nPWD\r\n");
        assert_eq!(text(&rig.at_server()), "");
        rig.doors.no = None;
        rig.server(b"214 x\r\n");
        assert_eq!(text(&rig.at_server()), "PORT 10,0,0,5,19,137\\r\\nPWD\\r\\n");
    });
    within(Profile::Standard, |mut rig| {
        rig.doors.no = Some(NoDoor::Wait);
        rig.client(b"PORT 10,0,0,5,19,137\r\nPWD\r\n");
        rig.wait(Duration::from_secs(40));
        assert_eq!(text(&rig.at_client()), "425 Refused by rule data-ports: No data port is free.\\r\\n");
        assert_eq!(text(&rig.at_server()), "PWD\\r\\n");
        assert_eq!(rig.log.counters.waited, 1);
    });
}

#[test]
fn a_transfer_needs_a_data_connection() {
    within(Profile::Standard, |mut rig| {
        rig.answered(b"RETR a\r\n", "425 Refused by rule setup-first: Use PORT or PASV first.\\r\\n");
        // Until one is announced, and the server agrees.
        rig.client(b"PORT 10,0,0,5,19,137\r\nRETR a\r\n");
        assert_eq!(text(&rig.at_server()), "PORT 10,0,0,5,19,137\\r\\n");
        rig.server(b"500 no\r\n");
        assert_eq!(
            text(&rig.at_client()),
            "500 no\\r\\n425 Refused by rule setup-first: Use PORT or PASV first.\\r\\n"
        );
        rig.client(b"PORT 10,0,0,5,19,137\r\nRETR a\r\n");
        rig.server(b"200 ok\r\n");
        assert_eq!(text(&rig.at_server()), "PORT 10,0,0,5,19,137\\r\\nRETR a\\r\\n");
        rig.server(b"150 x\r\n226 done\r\n");
        rig.at_client();
        rig.answered(b"RETR a\r\n", "425 Refused by rule setup-first: Use PORT or PASV first.\\r\\n");
    });
    let mut default = settings(Profile::Standard);
    default.default_data_port = true;
    each_way(&default, |rig| {
        let mut rig = rig.logged_in();
        rig.passes(b"RETR a\r\n");
        assert_eq!(rig.doors.story(), ["default port", "transfer RETR a"]);
    });
    each_way(&default, |rig| {
        let mut rig = rig.logged_in();
        rig.doors.no = Some(NoDoor::Full);
        rig.answered(b"RETR a\r\n", "425 Refused by rule setup-first: Use PORT or PASV first.\\r\\n");
    });
}

#[test]
fn announcements_have_a_rate() {
    within(Profile::Standard, |mut rig| {
        let mut refused = 0;
        for i in 0..300 {
            rig.client(b"PORT 10,0,0,5,19,137\r\n");
            if text(&rig.at_client()).starts_with("421") {
                refused = i;
                break;
            }
            rig.server(b"200 ok\r\n");
            rig.at_client();
        }
        assert!((20..200).contains(&refused), "{refused}");
        assert_eq!(rig.why(), Some("announcements too fast"));
        rig.at_server();
        // Nothing goes on any more, either way.
        rig.client(b"NOOP\r\n");
        rig.server(b"200 ok\r\n");
        assert_eq!((text(&rig.at_server()), text(&rig.at_client())), (String::new(), String::new()));
    });
    within(Profile::Standard, |mut rig| {
        for _ in 0..100 {
            rig.passes(b"PORT 10,0,0,5,19,137\r\n");
            rig.server(b"200 ok\r\n");
            rig.wait(Duration::from_millis(60));
        }
        assert_eq!(rig.why(), None);
    });
}

#[test]
fn ipv6() {
    let (client, server) = ("[2001:db8::5]:40000".parse().unwrap(), "[2001:db8:1::7]:21".parse().unwrap());
    let ends = Ends { client, client_told: client, server, server_told: server };
    for way in WAYS {
        let mut rig = Rig::new(settings(Profile::Standard), ends, way).logged_in();
        rig.passes(b"EPRT |2|2001:DB8::0:5|5001|\r\n");
        rig.replies(b"200 ok\r\n");
        rig.passes(b"EPSV 2\r\n");
        rig.replies(b"229 x (|||51210|)\r\n");
        // Whoever asks this over IPv6 uses the port only.
        rig.passes(b"PASV\r\n");
        rig.replies(b"227 OK (127,0,0,1,200,10)\r\n");
        assert_eq!(
            rig.doors.story(),
            [
                "reserve [2001:db8::5]:5001",
                "open",
                "listen [2001:db8:1::7]:51210",
                "listen [2001:db8:1::7]:51210"
            ]
        );
        rig.answered(
            b"EPSV 1\r\n",
            "522 Refused by rule family: Network protocol not supported, use (2)\\r\\n",
        );
        rig.answered(
            b"PORT 10,0,0,5,19,137\r\n",
            "501 Refused by rule family: PORT names an IPv4 address; use EPRT.\\r\\n",
        );
        rig.answered(
            b"EPRT |1|10.0.0.5|5001|\r\n",
            "522 Refused by rule family: Network protocol not supported, use (2)\\r\\n",
        );
    }
}

#[test]
fn a_mode_can_be_refused() {
    for profile in PROFILES {
        let with = |client_mode| Settings { client_mode, ..settings(profile) };
        each_way(&with(ClientMode::Passive), |rig| {
            let mut rig = rig.logged_in();
            let no =
                "502 Refused by rule client-mode: Policy: client_mode = \"passive\"; use PASV or EPSV.\\r\\n";
            rig.answered(b"PORT 10,0,0,5,19,137\r\n", no);
            rig.answered(b"EPRT |1|10.0.0.5|5001|\r\n", no);
            if profile != Profile::Strict {
                rig.answered(b"LPRT 4,4,10,0,0,5,2,19,137\r\n", no);
            }
            assert_eq!(rig.doors.story(), [""; 0]);
            assert!(rig.told().contains(&"PORT 10,0,0,5,19,137 [refused, client-mode]".to_owned()));
            rig.passes(b"PASV\r\n");
            rig.replies(b"227 (198,51,100,7,200,10)\r\n");
            assert_eq!(rig.doors.story(), ["listen 198.51.100.7:51210"]);
        });
        each_way(&with(ClientMode::Active), |rig| {
            let mut rig = rig.logged_in();
            let no =
                "502 Refused by rule client-mode: Policy: client_mode = \"active\"; use PORT or EPRT.\\r\\n";
            rig.answered(b"PASV\r\n", no);
            rig.answered(b"EPSV\r\n", no);
            assert_eq!(rig.doors.story(), [""; 0]);
            rig.passes(b"PORT 10,0,0,5,19,137\r\n");
            assert_eq!(rig.doors.story(), ["reserve 10.0.0.5:5001"]);
        });
    }
}
