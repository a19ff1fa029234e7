//! What passes, what is answered, in which order.

use crate::rig::{PROFILES, Profile, Way, each_way, settings, text, within};
use tidegate::time::Duration;

#[test]
fn an_ordinary_session_goes_by_as_it_is() {
    PROFILES.iter().for_each(|profile| {
        each_way(&settings(*profile), |mut rig| {
            for (client, server) in [
                ("", "220-Welcome\r\n to this\r\n220 server\r\n"),
                ("USER a\r\n", "331 more\r\n"),
                ("PASS b\r\n", "230-hi\r\n200 files\r\n230 in\r\n"),
                ("FEAT\r\n", "211-Features:\r\n EPSV\r\n UTF8\r\n211 End\r\n"),
                ("TYPE I\r\n", "200 ok\r\n"),
                ("CWD \u{fc}b\u{20ac}r\r\n", "250 ok\r\n"),
                ("EPSV\r\n", "229 Ext (|||51210|)\r\n"),
                ("RETR a file \r\n", "150 here\r\n226 done\r\n"),
                ("PASV\r\n", "227 Entering Passive Mode (198,51,100,7,200,10).\r\n"),
                ("LIST\r\n", "125 here\r\n250 done\r\n"),
                ("PORT 10,0,0,5,19,137\r\n", "200 ok\r\n"),
                ("STOR x\r\n", "150 send\r\n226 done\r\n"),
                ("EPRT |1|10.0.0.5|5002|\r\n", "200 ok\r\n"),
                ("APPE x\r\n", "550 no\r\n"),
                ("QUIT\r\n", "221 bye\r\n"),
            ] {
                if !client.is_empty() {
                    rig.passes(client.as_bytes());
                }
                rig.replies(server.as_bytes());
            }
            assert!(rig.only_verbatim() || !matches!(rig.way(), Way::Whole));
            let one_way = if rig.settings.profile == Profile::Strict { " one way" } else { "" };
            let want = [
                "listen 198.51.100.7:51210".to_owned(),
                format!("transfer RETR a file {one_way}").trim_end().to_owned(),
                "over 226".to_owned(),
                "listen 198.51.100.7:51210".to_owned(),
                format!("transfer LIST{one_way}").replace("LIST one", "LIST  one"),
                "over 250".to_owned(),
                "reserve 10.0.0.5:5001".to_owned(),
                "open".to_owned(),
                format!("transfer STOR x{one_way}"),
                "over 226".to_owned(),
                "reserve 10.0.0.5:5002".to_owned(),
                "open".to_owned(),
                format!("transfer APPE x{one_way}"),
                "over 550".to_owned(),
            ];
            assert_eq!(rig.doors.story(), want);
            assert_eq!((rig.rules.memory(), rig.why()), (0, None));
            let commands = rig.told().iter().filter(|t| t.ends_with("[forwarded]")).count();
            let replies = rig.told().iter().filter(|t| t.ends_with("[server]")).count();
            assert_eq!((commands, replies), (14, 18));
        })
    });
}

#[test]
fn refusals_take_their_turn() {
    within(Profile::Standard, |mut rig| {
        rig.client(b"CWD a\r\nPORT 1,2\r\nPWD\r\nEPSV 3\r\nNOOP\r\n");
        assert_eq!(text(&rig.at_server()), "CWD a\\r\\nPWD\\r\\nNOOP\\r\\n");
        assert_eq!(text(&rig.at_client()), "");
        rig.server(b"250 ok\r\n");
        assert_eq!(
            text(&rig.at_client()),
            "250 ok\\r\\n501 Refused by rule argument: Syntax error in parameters.\\r\\n"
        );
        rig.server(b"257 \"/\"\r\n200 ok\r\n");
        let want = "257 \"/\"\\r\\n522 Refused by rule family: Network protocol not supported, use (1,2)\\r\\n200 ok\\r\\n";
        assert_eq!(text(&rig.at_client()), want);
        let told = [
            "CWD a [forwarded]",
            "PORT 1,2 [refused, argument]",
            "PWD [forwarded]",
            "EPSV 3 [refused, family]",
            "NOOP [forwarded]",
            "250 [server]",
            "501 [gateway]",
            "257 [server]",
            "522 [gateway]",
            "200 [server]",
        ];
        assert_eq!(rig.told(), told);
        assert_eq!(rig.rules.memory(), 0);
    });
}

#[test]
fn a_reply_is_matched_to_its_command_by_order() {
    // TYPE's 200 opens nothing; PORT's own does, if it is one.
    within(Profile::Standard, |mut rig| {
        rig.client(b"TYPE I\r\nPORT 10,0,0,5,19,137\r\n");
        assert_eq!(rig.doors.story(), ["reserve 10.0.0.5:5001"]);
        rig.server(b"200 type\r\n");
        assert_eq!(rig.doors.story(), ["reserve 10.0.0.5:5001"]);
        rig.server(b"200 port\r\n");
        assert_eq!(rig.doors.story(), ["reserve 10.0.0.5:5001", "open"]);
    });
    within(Profile::Standard, |mut rig| {
        rig.client(b"PORT 10,0,0,5,19,137\r\nTYPE I\r\n");
        rig.server(b"500 no\r\n200 type\r\n");
        assert_eq!(rig.doors.asked, ["reserve 10.0.0.5:5001", "close Unused"]);
    });
}

#[test]
fn of_two_announcements_the_last_one_stands() {
    within(Profile::Standard, |mut rig| {
        rig.passes(b"PORT 10,0,0,5,19,137\r\nPORT 10,0,0,5,19,138\r\n");
        rig.server(b"200 one\r\n");
        assert_eq!(rig.doors.story(), ["reserve 10.0.0.5:5001", "reserve 10.0.0.5:5002"]);
        rig.server(b"200 two\r\n");
        assert_eq!(rig.doors.story().last(), Some(&"open"));
    });
    within(Profile::Standard, |mut rig| {
        // PORT waits for the 227, so that it is the later one for us too.
        rig.client(b"PASV\r\nPORT 10,0,0,5,19,137\r\n");
        assert_eq!(text(&rig.at_server()), "PASV\\r\\n");
        rig.server(b"227 ok (198,51,100,7,200,10)\r\n");
        assert_eq!(text(&rig.at_server()), "PORT 10,0,0,5,19,137\\r\\n");
        rig.server(b"200 ok\r\n");
        assert_eq!(rig.doors.story(), ["listen 198.51.100.7:51210", "reserve 10.0.0.5:5001", "open"]);
    });
}

#[test]
fn other_commands_do_not_come_between() {
    within(Profile::Standard, |mut rig| {
        rig.passes(b"PASV\r\nNOOP\r\n");
        rig.replies(b"227 ok (198,51,100,7,200,10)\r\n200 ok\r\n");
        assert_eq!(rig.doors.story(), ["listen 198.51.100.7:51210"]);
    });
    within(Profile::Standard, |mut rig| {
        rig.passes(b"REST 100\r\nPWD\r\n");
        rig.replies(b"350 ok\r\n257 /\r\n");
        assert!(rig.doors.story().is_empty());
    });
}

#[test]
fn a_transfer_is_that_of_its_own_replies() {
    within(Profile::Standard, |mut rig| {
        rig.client(b"PASV\r\n");
        rig.server(b"227 ok (198,51,100,7,200,10)\r\n");
        rig.at_server();
        rig.passes(b"RETR a\r\nNOOP\r\n");
        rig.at_client();
        rig.replies(b"150 here\r\n200 noop\r\n");
        assert_eq!(rig.doors.story().last(), Some(&"transfer RETR a"));
        assert_eq!(rig.doors.begun, 1);
        rig.replies(b"226 done\r\n");
        assert_eq!(rig.doors.story().last(), Some(&"over 226"));
        // A welcome text that another server's file ends.
        rig.client(b"PASV\r\n");
        rig.server(b"227 ok (198,51,100,7,200,11)\r\n");
        rig.client(b"RETR b\r\n");
        rig.server(b"150 here\r\n230- warn\r\n text\r\n226 done\r\n");
        assert_eq!(rig.doors.story().last(), Some(&"over 226"));
        assert_eq!(rig.log.counters.reply_anomalies, 1);
    });
}

#[test]
fn an_announcement_waits_for_the_transfer_before() {
    within(Profile::Standard, |mut rig| {
        rig.client(b"PASV\r\n");
        rig.server(b"227 ok (198,51,100,7,200,10)\r\n");
        rig.client(b"RETR a\r\nPASV\r\n");
        assert_eq!(text(&rig.at_server()), "PASV\\r\\nRETR a\\r\\n");
        rig.server(b"150 here\r\n");
        assert_eq!(text(&rig.at_server()), "");
        rig.server(b"226 done\r\n");
        assert_eq!(text(&rig.at_server()), "PASV\\r\\n");
        // One that ended with its ABOR only is waited for no longer.
        rig.server(b"227 ok (198,51,100,7,200,10)\r\n");
        rig.client(b"RETR a\r\n");
        rig.server(b"150 here\r\n");
        rig.client(b"ABOR\r\n");
        rig.server(b"225 gone\r\n");
        rig.at_server();
        rig.passes(b"PASV\r\n");
        rig.server(b"227 ok (198,51,100,7,200,10)\r\n");
        assert!(rig.doors.story().contains(&"over 426"));
    });
}

#[test]
fn a_transfer_that_no_answer_ends_is_over_all_the_same() {
    within(Profile::Standard, |mut rig| {
        let aborted = |rig: &mut crate::rig::Rig| {
            rig.client(b"PASV\r\n");
            rig.server(b"227 ok (198,51,100,7,200,10)\r\n");
            rig.client(b"RETR a\r\n");
            rig.server(b"150 here\r\n");
            rig.client(b"ABOR\r\n");
            rig.server(b"225 gone\r\n");
            rig.forget();
            assert!(!rig.doors.story().contains(&"over 426"));
        };
        // An answer of ours waits for what the server may still say of the transfer, but not for ever.
        aborted(&mut rig);
        rig.client(b"PORT 203,0,113,9,19,137\r\n");
        assert_eq!(text(&rig.at_client()), "");
        rig.wait(Duration::from_secs(60));
        assert_eq!(
            text(&rig.at_client()),
            "504 Refused by rule own-address: The address is not yours.\\r\\n"
        );
        assert_eq!(rig.doors.story(), ["over 426"]);
        // Behind AUTH nothing is read that could end it.
        rig.forget();
        aborted(&mut rig);
        rig.passes(b"AUTH TLS\r\n");
        rig.replies(b"234 go\r\n");
        assert_eq!(rig.doors.story(), ["over 426"]);
    });
}

#[test]
fn a_421_and_a_greeting_in_two_parts() {
    each_way(&settings(Profile::Standard), |mut rig| {
        rig.replies(b"120 soon\r\n");
        rig.client(b"USER a\r\n");
        assert_eq!(text(&rig.at_server()), "");
        rig.replies(b"220 now\r\n");
        assert_eq!(text(&rig.at_server()), "USER a\\r\\n");
        rig.replies(b"421 going\r\n");
        rig.replies(b"230 in\r\n");
        rig.passes(b"PASV\r\n");
    });
}

#[test]
fn epsv_all_is_ours_and_stays() {
    within(Profile::Standard, |mut rig| {
        rig.answered(b"EPSV ALL\r\n", "200 EPSV ALL ok.\\r\\n");
        for refused in
            [&b"PASV\r\n"[..], b"PORT 10,0,0,5,19,137\r\n", b"EPRT |1|10.0.0.5|5001|\r\n", b"LPSV\r\n"]
        {
            rig.answered(refused, "500 Refused by rule epsv-all: EPSV ALL was sent.\\r\\n");
        }
        rig.passes(b"EPSV\r\n");
        assert_eq!(rig.told()[0], "EPSV ALL [answered]");
    });
}

#[test]
fn features_are_hidden_where_they_are_refused() {
    let list = b"211-Features:\r\n MODE Z\r\n AUTH TLS\r\n211-EPSV\r\n\r\n211 End\r\n";
    within(Profile::Standard, |mut rig| {
        rig.client(b"FEAT\r\n");
        rig.replies(list);
    });
    let refuse = crate::rig::Settings { ftps: crate::rig::Ftps::Refuse, ..settings(Profile::Standard) };
    each_way(&refuse, |rig| {
        let mut rig = rig.logged_in();
        rig.client(b"FEAT\r\n");
        rig.server(list);
        let want = "211-Features:\\r\\n MODE Z\\r\\n EPSV\\r\\n211 End\\r\\n";
        assert_eq!(text(&rig.at_client()), want);
        // Nothing to hide: as it was.
        rig.client(b"FEAT\r\n");
        rig.replies(b"211-x\r\n    EPSV\r\n\r\n211 y\r\n");
        rig.client(b"FEAT\r\n");
        rig.replies(b"530 log in\r\n");
        assert_eq!(rig.rules.memory(), 0);
    });
}
