//! Answers of ours to a client that asks on and acknowledges nothing.

use crate::rig::{Rig, ToServer, to_client, to_server};
use crate::support::{ACK, Rule, Table};
use tidegate::alg::What;

const ASK: &str = "EPRT\r\n";
const NO: &str = "500 no\r\n";

fn rig() -> Rig {
    let table = Table::new(&[(ASK, Rule::Swallow(NO.into()))]);
    Rig::with((1000, 5000), 60_000, &[2, 4, 5, 180, 1, 1, 4, 2], table)
}

/// One question more, with nothing acknowledged.
fn ask(rig: &mut Rig, asked: &mut i64) {
    rig.put(ToServer, *asked, 1, ACK, ASK.as_bytes());
    *asked += ASK.len() as i64;
}

/// A gateway that is asked again at once, for ever, would do nothing else.
#[test]
fn a_line_that_is_late_while_the_log_is_full_waits_for_an_acknowledgement() {
    let (mut rig, mut asked) = (rig(), 1);
    // The begin of a line of the server's that is held, and answers of ours in front of it.
    assert_eq!(to_client(&rig.down(1, 1, "22")), []);
    for _ in 0..256 {
        ask(&mut rig, &mut asked);
    }
    assert_eq!(rig.notes, []);
    while rig.now < 31_000 {
        rig.wait();
        assert!(rig.alg.next_deadline().is_some_and(|at| at.as_millis() > rig.now), "a deadline that stays");
    }
    let answers = 256 * NO.len() as i64;
    let got = rig.put(ToServer, asked, 1 + answers, ACK, b"");
    assert_eq!(to_client(&got), [(1 + answers, asked, "22")]);
}

#[test]
fn who_asks_without_end_and_acknowledges_nothing_costs_bounded_memory() {
    let (mut rig, mut asked) = (rig(), 1);
    for _ in 0..5000 {
        ask(&mut rig, &mut asked);
        assert!(rig.alg.memory() <= 64 << 10, "{}", rig.alg.memory());
    }
    assert_eq!(rig.notes.len(), 5000 - 256);
    assert!(rig.notes.iter().all(|n| *n == What::AnswerLost));
    // Long ones.
    let long = "x".repeat(4000);
    let table = Table::new(&[(ASK, Rule::Swallow(long.into_bytes()))]);
    let mut rig = Rig::with((1000, 5000), 60_000, &[2, 4, 5, 180], table);
    asked = 1;
    for _ in 0..200 {
        ask(&mut rig, &mut asked);
        assert!(rig.alg.memory() <= 600 << 10, "{}", rig.alg.memory());
    }
    assert!(rig.notes.contains(&What::AnswerLost));
    assert_eq!(to_server(&rig.put(ToServer, asked, 1, ACK, b"NOOP\r\n")), [(1, "NOOP\r\n")]);
}
