//! What has a limit.

use crate::rig::{Profile, Way, each_way, settings, text, within};
use tidegate::alg::Direction;
use tidegate::time::Duration;

#[test]
fn a_line_beyond_the_limit_is_refused_once_and_the_next_one_is_read() {
    let long = [b"STOR ".as_slice(), &[b'a'; 5000], b"\r\nNOOP\r\n"].concat();
    for profile in [Profile::Compat, Profile::Standard] {
        within(profile, |mut rig| {
            rig.client(&long);
            assert_eq!(text(&rig.at_server()), "NOOP\\r\\n");
            assert_eq!(
                text(&rig.at_client()),
                "500 Refused by rule line-length: The line is too long.\\r\\n"
            );
            rig.passes(b"PASV\r\n");
            rig.replies(b"200 noop\r\n227 (198,51,100,7,200,10)\r\n");
            assert_eq!(rig.doors.story(), ["listen 198.51.100.7:51210"]);
            assert_eq!(rig.rules.memory(), 0);
        });
    }
    within(Profile::Strict, |mut rig| {
        rig.client(&long);
        assert!(rig.is_reset());
    });
}

#[test]
fn a_command_must_end_in_time() {
    for profile in [Profile::Compat, Profile::Standard] {
        within(profile, |mut rig| {
            rig.client(b"PORT 10,0");
            rig.wait(Duration::from_secs(31));
            assert_eq!(
                text(&rig.at_client()),
                "421 Closed by rule line-time: A command must end in time.\\r\\n"
            );
            assert_eq!(rig.why(), Some("a command without an end"));
        });
    }
}

#[test]
fn no_more_than_so_many_commands_are_without_an_answer() {
    within(Profile::Standard, |mut rig| {
        let commands: Vec<u8> = (0..100).flat_map(|i| format!("CWD {i}\r\n").into_bytes()).collect();
        rig.client(&commands);
        assert_eq!(rig.at_server().iter().filter(|b| **b == b'\n').count(), 64);
        for i in 0..100 {
            rig.replies(format!("250 {i}\r\n").as_bytes());
        }
        assert_eq!(rig.at_server().iter().filter(|b| **b == b'\n').count(), 36);
        assert_eq!(rig.rules.memory(), 0);
    });
    within(Profile::Standard, |mut rig| {
        let commands: Vec<u8> = (0..65).flat_map(|i| format!("CWD {i}\r\n").into_bytes()).collect();
        rig.client(&commands);
        rig.wait(Duration::from_secs(31));
        assert_eq!(rig.why(), Some("too many commands without an answer"));
        assert!(rig.rules.memory() < 64 << 10);
    });
}

#[test]
fn a_banner_streams_and_has_an_end() {
    each_way(&settings(Profile::Standard), |mut rig| {
        if rig.way() == Way::Bytes {
            rig.settings.reply = 1 << 12;
            rig.rules = tidegate::alg::rules::Rules::new(
                tidegate::event::SessionId(7),
                crate::rig::plain(),
                &rig.settings,
            );
        }
        let line = [b"220-".as_slice(), &[b'x'; 200], b"\r\n"].concat();
        let mut sent = 0;
        while rig.why().is_none() {
            rig.server(&line);
            sent += line.len();
            assert!(rig.rules.memory() < 1000 && sent < 1 << 20);
        }
        assert!(sent >= rig.settings.reply);
        rig.client(b"QUIT\r\n");
        assert!(
            text(&rig.at_client())
                .ends_with("421 Closed by rule reply-length: The server's reply is too long.\\r\\n")
        );
    });
}

#[test]
fn a_reply_that_is_judged_whole_is_bounded() {
    within(Profile::Standard, |mut rig| {
        rig.client(b"PASV\r\n");
        let line = [b"227-".as_slice(), &[b'x'; 1000], b"\r\n"].concat();
        let mut most = 0;
        for _ in 0..200 {
            rig.server(&line);
            most = most.max(rig.rules.memory());
            if rig.why().is_some() {
                break;
            }
        }
        assert!(rig.why().is_some() && most < 512 << 10, "{most}");
        assert_eq!(
            text(&rig.at_client()),
            "421 Closed by rule reply-length: The server's reply is too long.\\r\\n"
        );
    });
}

#[test]
fn names_are_not_touched() {
    within(Profile::Standard, |mut rig| {
        for name in [
            &b"CWD a\r\0b\r\n"[..],
            b"CWD \xff\xffa\r\n",
            b"CWD \xe4\xff\r\n",
            "CWD \u{20ac} \r\n".as_bytes(),
            b"NOOP\n",
            b"MKD  a\r\n",
        ] {
            rig.passes(name);
            rig.replies(b"250 ok\r\n");
        }
        for (bad, code) in [(&b"CWD a\0b\r\n"[..], "501"), (b"MKD a\rb\r\n", "500")] {
            rig.client(bad);
            assert_eq!(text(&rig.at_server()), "");
            assert!(text(&rig.at_client()).starts_with(code));
        }
    });
    within(Profile::Compat, |mut rig| {
        for name in [&b"CWD a\0b\r\n"[..], b"MKD a\rb\r\n", b"CWD x\n"] {
            rig.passes(name);
            rig.replies(b"250 ok\r\n");
        }
    });
}

#[test]
fn empty_lines_ask_nothing() {
    within(Profile::Standard, |mut rig| {
        rig.client(b"\r\n \r\n\nPASV\r\n");
        assert_eq!(text(&rig.at_server()), "PASV\\r\\n");
        rig.replies(b"227 (198,51,100,7,200,10)\r\n");
        assert_eq!(rig.doors.story().len(), 1);
    });
}

#[test]
fn abor_keeps_its_synch() {
    within(Profile::Standard, |mut rig| {
        rig.client(b"PASV\r\n");
        rig.server(b"227 (198,51,100,7,200,10)\r\n");
        rig.client(b"RETR a\r\n");
        rig.server(b"150 x\r\n");
        rig.at_server();
        rig.passes(b"\xff\xf4\xff\xf2ABOR\r\n");
        rig.server(b"426 cut\r\n226 gone\r\n");
        assert_eq!(rig.doors.story().last(), Some(&"over 426"));
        assert_eq!(rig.rules.memory(), 0);
    });
}

#[test]
fn an_end_without_a_line_end_announces_nothing() {
    within(Profile::Standard, |mut rig| {
        rig.client(b"PORT 10,0,0,5,19,137");
        rig.fin(Direction::ToServer);
        assert_eq!(text(&rig.at_server()), "");
        assert!(rig.doors.story().is_empty());
    });
}

#[test]
fn a_runaway_of_telnet_is_an_overlong_line() {
    within(Profile::Standard, |mut rig| {
        rig.client(&[b"\xff\xfa".as_slice(), &[b'x'; 6000]].concat());
        assert_eq!(text(&rig.at_server()), "");
        assert_eq!(rig.log.counters.overlong, 1);
    });
}
