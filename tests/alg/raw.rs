//! Stretches of bytes that are no lines.

use crate::rig::{LONGER, PORT, Rig, ToClient, ToServer, one, to_client, to_server};
use crate::support::{ACK, FIN, PSH, RST, Rule, Table, sack};
use tidegate::alg::What;

const RAW: &str = "RAW\r\n";

/// `RAW` from either end makes what follows it raw, in the directions given.
fn rig(which: [bool; 2]) -> Rig {
    let new = |text: &str| Rule::Replace(text.as_bytes().to_vec());
    let swallow = Rule::Swallow(b"500 no\r\n".to_vec());
    let table = Table::new(&[
        (RAW, Rule::Raw(which)),
        (PORT, new(LONGER)),
        ("227 x\r\n", new("227 longer\r\n")),
        ("EPRT\r\n", swallow),
    ]);
    Rig::with((1000, 5000), 60_000, &[2, 4, 5, 180, 1, 1, 4, 2], table)
}

#[test]
fn raw_bytes_go_as_they_come_and_lines_begin_where_they_end() {
    let mut rig = rig([true, false]);
    assert!(one(rig.up(1, RAW)).verbatim);
    // What would be edited is not, nor held where it is not whole.
    let got = one(rig.up(6, PORT));
    assert_eq!((&got.text[..], got.verbatim), (PORT, true));
    assert!(one(rig.up(33, "PO")).verbatim);
    // The end, a line behind it, and one that is not whole: nothing of that leaves unread.
    let got = rig.up(35, &format!("x\u{4}{PORT}PO"));
    assert_eq!(to_server(&got), [(35, &format!("x\u{4}{LONGER}")[..])]);
    assert_eq!(rig.editor.seen.len(), 2);
    assert_eq!(rig.editor.shown[0], format!("{PORT}POx\u{4}").as_bytes());
    assert_eq!(to_client(&got), [(1, 66, "")]);
    assert_eq!(to_server(&rig.up(66, "RT y\r\n")), [(67, "PORT y\r\n")]);
}

#[test]
fn a_line_makes_the_other_direction_raw_as_well() {
    let mut rig = rig([true, true]);
    rig.up(1, "AUTH TLS\r\n");
    assert_eq!(to_client(&rig.down(1, 11, &format!("{RAW}PORT"))), [(1, 11, &format!("{RAW}PORT")[..])]);
    assert!(one(rig.up(11, PORT)).verbatim);
    // Each ends for itself.
    assert_eq!(to_client(&rig.down(10, 38, "\u{4}227 x\r\n")), [(10, 38, "\u{4}227 longer\r\n")]);
    let got = one(rig.put(ToServer, 38, 23, ACK | PSH, PORT.as_bytes()));
    assert_eq!((got.ack, &got.text[..]), (18, PORT));
}

#[test]
fn a_direction_in_the_midst_of_a_line_ends_it_first() {
    let mut rig = rig([true, true]);
    rig.up(1, "QUI");
    rig.down(1, 4, RAW);
    let got = rig.up(4, &format!("T\r\n{PORT}"));
    assert_eq!(to_server(&got), [(4, &format!("T\r\n{PORT}")[..])]);
    assert_eq!(rig.editor.passed, [b"QUIT\r\n"]);
    // One that is held counts as not begun: the bytes are of the raw stretch.
    let mut rig = self::rig([true, true]);
    let got = rig.up(1, "PO");
    assert_eq!((to_server(&got), to_client(&got)), (vec![], vec![(1, 3, "")]));
    assert_eq!(to_server(&rig.down(1, 1, RAW)), [(1, "PO")]);
    assert_eq!(rig.editor.shown[0], b"PO");
}

#[test]
fn what_comes_again_early_or_as_other_bytes_is_as_with_lines() {
    let mut rig = rig([true, false]);
    rig.up(1, RAW);
    rig.up(6, "abcdef");
    let again = one(rig.up(6, "abcdef"));
    assert_eq!((again.at, &again.text[..]), (6, "abcdef"));
    assert_eq!(to_server(&rig.up(8, "XYef")), [(8, "cdef")]);
    assert_eq!(rig.notes, [What::Conflict]);
    // Behind a gap it waits: where it ends is not known before.
    let got = one(rig.up(14, PORT));
    assert_eq!((got.dir, got.ack, got.seg.options), (ToClient, 1, sack(1000, &[(14, 41)])));
    assert_eq!(to_server(&rig.up(12, "x\u{4}")), [(12, "x\u{4}"), (14, LONGER)]);
    // Across the end, in other pieces: whole edits, and the raw bytes as they were.
    assert_eq!(
        to_server(&rig.up(11, &format!("fx\u{4}{}", &PORT[..9]))),
        [(11, &format!("fx\u{4}{LONGER}")[..])]
    );
    assert_eq!(
        (rig.acked(12).ack, rig.acked(13).ack, rig.acked(20).ack, rig.acked(44).ack),
        (12, 13, 14, 41)
    );
    assert_eq!(rig.alg.memory(), 0);
}

#[test]
fn an_edit_in_front_of_a_raw_stretch_keeps_its_numbers() {
    let mut rig = rig([true, false]);
    rig.up(1, &format!("{PORT}{RAW}"));
    let got = one(rig.up(33, "zzz"));
    assert_eq!((got.at, &got.text[..]), (36, "zzz"));
    assert_eq!(one(rig.put(ToServer, 36, 1, ACK | FIN, b"")).at, 39);
    assert_eq!((rig.acked(37).ack, rig.acked(40).ack), (34, 37));
    assert_eq!(rig.alg.memory(), 0);
}

#[test]
fn an_answer_waits_for_the_end_of_what_is_raw() {
    let mut rig = rig([false, true]);
    rig.down(1, 1, RAW);
    rig.down(6, 1, "abc");
    let got = rig.up(1, "EPRT\r\n");
    assert_eq!((to_server(&got), to_client(&got)), (vec![], vec![(9, 7, "")]));
    assert_eq!(to_client(&rig.down(9, 1, "d\u{4}")), [(9, 7, "d\u{4}500 no\r\n")]);
    // It never comes if the stream closes before.
    let mut rig = self::rig([false, true]);
    rig.down(1, 1, RAW);
    rig.up(1, "EPRT\r\n");
    let fin = rig.put(ToClient, 6, 1, ACK | FIN, b"x");
    assert_eq!(to_client(&fin), [(6, 7, "x")]);
    assert_eq!(rig.notes, [What::AnswerLost]);
}

#[test]
fn a_long_raw_stretch_holds_no_memory() {
    let mut rig = rig([true, false]);
    rig.up(1, RAW);
    let mut at = 6;
    for _ in 0..2000 {
        let got = one(rig.up(at, &"r".repeat(1000)));
        assert!(got.verbatim);
        at += 1000;
        assert!(rig.alg.memory() <= 4096, "{}", rig.alg.memory());
        rig.acked(at);
        assert_eq!(rig.alg.memory(), 0);
    }
    // Unacknowledged it is bounded, as lines are.
    for _ in 0..50 {
        rig.window = u16::MAX;
        rig.up(at, &"r".repeat(1000));
        at += 1000;
    }
    assert!(rig.alg.memory() <= 128 << 10);
}

#[test]
fn a_rule_may_end_it() {
    let mut rig = rig([true, false]);
    rig.editor.rules.insert(b"NEVER\r\n".to_vec(), Rule::Reset);
    rig.up(1, RAW);
    rig.up(6, "abc");
    let got = rig.up(9, "\u{4}NEVER\r\n");
    assert!(got.iter().all(|g| g.flags & RST != 0 && g.text.is_empty()));
    assert_eq!((to_server(&got).len(), to_client(&got).len()), (2, 1));
}

/// An editor that says nonsense costs its own connection's order, not a loop.
#[test]
fn an_end_before_its_begin_is_a_line() {
    struct Mad;
    impl tidegate::alg::Editor for Mad {
        fn wants(&self, _: tidegate::alg::Direction, _: &[u8]) -> bool {
            true
        }
        fn line(
            &mut self,
            _: tidegate::time::Instant,
            _: tidegate::alg::Direction,
            _: tidegate::alg::Line<'_>,
        ) -> tidegate::alg::Verdict {
            tidegate::alg::Verdict::Hold
        }
        fn passed(
            &mut self,
            _: tidegate::time::Instant,
            _: tidegate::alg::Direction,
            _: tidegate::alg::Line<'_>,
        ) {
        }
        fn is_raw(&self, _: tidegate::alg::Direction) -> bool {
            true
        }
        fn raw(
            &mut self,
            _: tidegate::time::Instant,
            _: tidegate::alg::Direction,
            _: &[u8],
        ) -> tidegate::alg::Raw {
            tidegate::alg::Raw::LinesAfter(0)
        }
    }
    let mut rig = rig([false, false]);
    let seg = rig.seg(ToServer, 1, 1, ACK | PSH, b"a\r\nb\r\nc");
    let mut out = tidegate::alg::Output::default();
    let now = tidegate::time::Instant::from_millis(5);
    rig.alg.segment(now, ToServer, &seg.incoming(), &mut Mad, &mut out);
    assert!(out.segments.iter().all(|s| s.payload.is_empty()));
}
