//! Logins that the server refuses.

use crate::rig::{Profile, Rig, Settings, ToClient, each_way, plain, settings, text};
use std::net::IpAddr;
use tidegate::alg::rules::Rules;
use tidegate::event::{SessionId, What};
use tidegate::time::{Duration, Instant};

const LAST: &str = "421 Closed by rule failed-logins: Too many failed logins.\\r\\n";

fn client() -> IpAddr {
    plain().client.ip()
}

/// The greeted client tries a password. How long it waited for the answer, and the answer.
fn guess(rig: &mut Rig, reply: &str) -> (u64, String) {
    rig.client(b"USER a\r\n");
    rig.server(b"331 more\r\n");
    rig.client(b"PASS b\r\n");
    rig.forget();
    let begin = rig.now;
    rig.server(reply.as_bytes());
    let mut got = text(&rig.at_client());
    for _ in 0..100 {
        if !got.is_empty() {
            break;
        }
        rig.wait(Duration::from_millis(100));
        got = text(&rig.at_client());
    }
    (rig.now - begin, got)
}

#[test]
fn refusals_are_told_later_and_later_and_the_fiftieth_not_at_all() {
    for profile in [Profile::Standard, Profile::Strict] {
        each_way(&settings(profile), |mut rig| {
            rig.server(b"220 x\r\n");
            for n in 1..=49 {
                let (millis, got) = guess(&mut rig, "530 no\r\n");
                assert_eq!(got, "530 no\\r\\n", "{n}");
                let want = [0, 0, 0, 0, 0, 1000, 2000, 4000].get(n - 1).copied().unwrap_or(5000);
                assert!((want..want + 300).contains(&millis), "the {n}th after {millis} ms");
                assert_eq!(
                    (rig.why(), rig.guesses.count(Instant::from_millis(rig.now), client())),
                    (None, n as u32)
                );
            }
            assert_eq!(rig.log.counters.late_refusals, 44);
            let (millis, got) = guess(&mut rig, "530 no\r\n");
            assert_eq!((got.as_str(), rig.why()), (LAST, Some("too many failed logins")));
            assert!(millis < 300, "{millis}");
            assert_eq!(rig.log.counters.failed_logins, 50);
        });
    }
}

/// What waits is neither lost nor overtaken, and nothing but time lets it go.
#[test]
fn a_late_refusal_keeps_its_place() {
    each_way(&settings(Profile::Standard), |mut rig| {
        rig.server(b"220 x\r\n");
        for _ in 0..5 {
            guess(&mut rig, "530 no\r\n");
        }
        rig.client(b"USER a\r\n");
        rig.forget();
        rig.server(b"530-no\r\n530 never\r\n421 and away\r\n");
        rig.fin(ToClient);
        rig.client(b"NOOP\r\n");
        rig.wait(Duration::from_millis(900));
        let early = text(&rig.at_client());
        assert!(early.is_empty() || early == "530-no\\r\\n", "{early}");
        rig.wait(Duration::from_millis(200));
        assert_eq!(early + &text(&rig.at_client()), "530-no\\r\\n530 never\\r\\n421 and away\\r\\n");
        assert!(!rig.is_reset() && rig.why().is_none());
        // It is told to people once.
        let warned =
            rig.log.events.iter().filter(|e| matches!(e, What::Warning { kind: "failed_logins", .. }));
        assert_eq!(warned.count(), 1);
    });
}

/// Another session of the same client goes on where the one before ended, and a login that succeeds buys none off.
#[test]
fn beginning_anew_does_not_help() {
    let rules = settings(Profile::Standard);
    let mut rig = Rig::new(rules.clone(), plain(), crate::rig::Way::Whole);
    rig.server(b"220 x\r\n");
    for _ in 0..30 {
        guess(&mut rig, "530 no\r\n");
    }
    assert_eq!(guess(&mut rig, "230 in\r\n").1, "230 in\\r\\n");
    let mut other = Rig::new(rules.clone(), plain(), crate::rig::Way::Whole);
    (other.guesses, other.now) = (std::mem::take(&mut rig.guesses), rig.now);
    other.rules = Rules::new(SessionId(8), plain(), &rules);
    other.server(b"220 x\r\n");
    for n in 31..=49 {
        let (millis, got) = guess(&mut other, "530 no\r\n");
        assert!(millis >= 5000 && got == "530 no\\r\\n", "{n} {millis} {got}");
    }
    assert_eq!(guess(&mut other, "530-a\r\n530 b\r\n").1, format!("530-a\\r\\n530 b\\r\\n{LAST}"));
    // Time does.
    other.now += 15 * 60_000;
    assert_eq!(other.guesses.count(Instant::from_millis(other.now), client()), 0);
}

#[test]
fn what_is_no_refused_login_counts_for_nothing() {
    let off = Settings { failed_logins: 0, ..settings(Profile::Standard) };
    for rules in [settings(Profile::Compat), off] {
        each_way(&rules, |mut rig| {
            rig.server(b"220 x\r\n");
            for n in 0..60 {
                let (millis, got) = guess(&mut rig, "530 no\r\n");
                assert!(millis < 300 && got == "530 no\\r\\n" && rig.why().is_none(), "{n} {millis} {got}");
            }
            assert!(rig.guesses.is_empty());
        });
    }
    each_way(&settings(Profile::Standard), |mut rig| {
        rig.server(b"220 x\r\n");
        for _ in 0..60 {
            rig.client(b"PWD\r\n");
            rig.forget();
            rig.replies(b"530 log in\r\n");
        }
        assert!(rig.why().is_none() && rig.guesses.is_empty());
    });
}
