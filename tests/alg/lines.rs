//! Cases of the catalogue about lines over several segments, what comes again or in disorder, ends and resets.

use crate::host::Manner;
use crate::rig::{LONGER, PORT, Rig, ToClient, ToServer, one, to_client, to_server};
use crate::support::{ACK, FIN, PSH, RST, Table, sack};
use crate::ways::{N227, NAT, R227, SMALL, TUPLE, every_way};
use tidegate::alg::What;

#[test]
fn p19_a_sender_that_waits_for_an_ack_is_not_kept_waiting() {
    let mut rig = Rig::new(&[(TUPLE, NAT)]);
    let got = rig.up(1, "PO");
    assert_eq!((to_client(&got), to_server(&got)), (vec![(1, 3, "")], vec![]));
    assert_eq!(to_server(&rig.up(3, &TUPLE[2..])), [(1, NAT)]);
    assert_eq!(rig.acked(1 + NAT.len() as i64).ack, 1 + TUPLE.len() as i64);
    // What was acknowledged for the receiver is brought to it, whatever is lost.
    let mut rig = Rig::new(&[(TUPLE, NAT)]);
    rig.up(1, "PO");
    rig.up(3, &TUPLE[2..]);
    assert_eq!(to_server(&rig.wait()), [(1, NAT)]);
    assert_eq!(to_server(&rig.wait()), [(1, NAT)]);
    rig.acked(5);
    assert_eq!(to_server(&rig.wait()), [(5, &NAT[4..])]);
    rig.acked(1 + NAT.len() as i64);
    assert_eq!(rig.alg.next_deadline(), None);
}

#[test]
fn p19_a_receiver_that_never_answers_ends_both() {
    let mut rig = Rig::new(&[(TUPLE, NAT)]);
    rig.up(1, "PO");
    rig.up(3, &TUPLE[2..]);
    for _ in 0..8 {
        assert_eq!(to_server(&rig.wait()), [(1, NAT)]);
    }
    let ends = rig.wait();
    assert!(ends.iter().all(|g| g.flags & RST != 0));
    assert_eq!(
        (to_server(&ends), to_client(&ends)),
        (vec![(1 + NAT.len() as i64, ""), (1, "")], vec![(1, 3, "")])
    );
    assert_eq!(rig.notes, [What::GaveUp]);
    assert!(rig.alg.is_over() && rig.alg.memory() == 0 && rig.alg.next_deadline().is_none());
    // Who still speaks is told, with the number that it expects.
    let told = one(rig.up(23, "NOOP\r\n"));
    assert_eq!((told.dir, told.at, told.flags), (ToClient, 1, RST));
}

#[test]
fn p20_p21_p22_p23_lines_however_cut() {
    for (up, down) in [
        (TUPLE.to_owned(), R227.to_owned()),
        (format!("NOOP\r\n{TUPLE}QUIT\r\n"), format!("220-hi\r\n220 yes\r\n{R227}221 bye\r\n")),
        (TUPLE.repeat(2), R227.repeat(2)),
        (format!("PO\r\nPORT\r\nPORTA\r\n{TUPLE}"), format!("22\r\n227\r\n2270\r\n{R227}")),
    ] {
        every_way(&up, &down, &[(TUPLE, NAT), (R227, N227)], &Manner::default());
    }
    let mut rig = Rig::new(&[(R227, N227)]);
    let (a, b) = (R227.split_at(7).0, R227.split_at(7).1);
    assert_eq!(to_client(&rig.down(1, 1, a)), []);
    assert_eq!(to_client(&rig.down(8, 1, &b[..b.len() - 1])), []);
    assert_eq!(to_client(&rig.down(R227.len() as i64, 1, "\n")), [(1, 1, N227)]);
    // The end of one line, a whole one, the begin of the next.
    let mut rig = Rig::new(&[(TUPLE, NAT)]);
    rig.up(1, "NO");
    let got = rig.up(3, &format!("OP\r\n{TUPLE}RE"));
    assert_eq!(to_server(&got), [(3, &format!("OP\r\n{NAT}RE")[..])]);
}

#[test]
fn p24_what_comes_early_waits_and_is_told_of() {
    let mut rig = Rig::new(&[(TUPLE, NAT)]);
    let got = rig.up(10, &TUPLE[9..]);
    assert_eq!(to_server(&got), []);
    let told = one(got);
    assert_eq!((told.dir, told.ack, told.seg.options), (ToClient, 1, sack(1000, &[(10, 23)])));
    let got = rig.up(1, &TUPLE[..9]);
    assert_eq!(to_server(&got), [(1, NAT)]);
    // The queue has an end, and what is beyond comes again.
    let mut rig = Rig::new(&[]);
    for n in 0..20 {
        assert_eq!(to_server(&rig.up(100 + 2 * n, "x")), []);
    }
    assert_eq!(rig.notes, [What::LateFull; 4]);
    assert!(rig.alg.memory() < 10_000);
    let mut rig = Rig::new(&[]);
    for n in 0..10 {
        rig.up(100 + n * 10_000, &"x".repeat(10_000));
    }
    assert!(rig.notes.contains(&What::OutOfWindow) && rig.alg.memory() <= 70_000);
}

#[test]
fn p25_the_first_copy_stands() {
    let evil = TUPLE.replace("10,0", "99,9");
    let mut rig = Rig::new(&[(TUPLE, NAT)]);
    let first = rig.up(1, TUPLE);
    assert_eq!(to_server(&rig.up(1, &evil)), to_server(&first));
    assert_eq!(rig.notes, [What::Conflict]);
    // Half a line, which nobody has yet.
    let mut rig = Rig::new(&[(TUPLE, NAT)]);
    rig.up(1, &TUPLE[..15]);
    assert_eq!(to_server(&rig.up(1, &evil)), [(1, NAT)]);
    assert_eq!(rig.notes, [What::Conflict]);
    // A line that is not edited, lost behind us, and another one in its place.
    let mut rig = Rig::new(&[(TUPLE, NAT)]);
    rig.up(1, "NOOP 10,0,0,5,19,137\r\n");
    assert_eq!(to_server(&rig.up(1, TUPLE)), [(1, "NOOP 10,0,0,5,19,137\r\n")]);
    assert_eq!(rig.notes, [What::Conflict]);
    // Early ones that overlap: what goes on is what was looked at, and the disagreement is told.
    let mut rig = Rig::new(&[(TUPLE, NAT)]);
    rig.up(10, &TUPLE[9..]);
    rig.up(7, &TUPLE.replace("137", "138")[6..]);
    let got = rig.up(1, &TUPLE[..6]);
    let got = to_server(&got)[0].1;
    assert_eq!(rig.editor.seen[0].1, got.as_bytes());
    assert_eq!(rig.notes, [What::Conflict]);
}

#[test]
fn beyond_the_window_no_acknowledgement_is_believed() {
    let mut rig = Rig::new(&[(R227, N227)]);
    rig.down(1, 1, R227);
    // Forged: it acknowledges what the client has not got, and takes its window away.
    rig.window = 0;
    let got = rig.put(ToServer, 200_000, 1 + N227.len() as i64, ACK, b"");
    assert_eq!(to_server(&got), []);
    assert_eq!(to_client(&got), [(1 + N227.len() as i64, 1, "")]);
    assert_eq!(rig.notes, [What::OutOfWindow]);
    rig.window = 60_000;
    assert_eq!(to_client(&rig.down(1, 1, R227)), [(1, 1, N227)]);
}

#[test]
fn p27_what_the_receiver_will_not_take_is_not_read() {
    let mut rig = Rig::with((1000, 5000), 40, &[], Table::replace(&[(TUPLE, NAT)]));
    assert_eq!(to_server(&rig.up(60, TUPLE)), []);
    assert_eq!(rig.notes, [What::OutOfWindow]);
    assert_eq!(
        to_server(&rig.up(1, &format!("{}{TUPLE}", "x".repeat(38)))),
        [(1, &format!("{}PO", "x".repeat(38))[..])]
    );
    assert_eq!((rig.notes.len(), rig.editor.seen.len()), (2, 0));
    let stamp = |t: u8| vec![1, 1, 8, 10, 0, 0, 0, t, 0, 0, 0, 1];
    let mut rig = Rig::with((1000, 5000), 60_000, &stamp(50), Table::replace(&[(TUPLE, NAT)]));
    rig.options = stamp(60);
    rig.up(1, "NOOP\r\n");
    rig.options = stamp(59);
    assert_eq!(to_server(&rig.up(7, TUPLE)), []);
    assert_eq!((&rig.notes[..], rig.editor.seen.len()), (&[What::OldTimestamp][..], 1));
    rig.options = stamp(61);
    assert_eq!(to_server(&rig.up(7, TUPLE)), [(7, NAT)]);
}

#[test]
fn p31_the_fin_is_on_the_last_piece() {
    // Every host closes with its last bytes.
    every_way(TUPLE, R227, &[(TUPLE, NAT), (R227, N227)], &Manner::default());
    let mut rig = Rig::new(&[(PORT, LONGER)]);
    let got = one(rig.put(ToServer, 1, 1, ACK | PSH | FIN, PORT.as_bytes()));
    assert_eq!((got.at, &got.text[..], got.flags), (1, LONGER, ACK | PSH | FIN));
    assert_eq!(rig.acked(30).ack, 1);
    assert_eq!(rig.acked(31).ack, 28);
    assert_eq!(rig.acked(32).ack, 29);
    assert_eq!(one(rig.put(ToServer, 29, 1, ACK, b"")).at, 32);
    // Alone, and again.
    let mut rig = Rig::new(&[(PORT, LONGER)]);
    rig.up(1, PORT);
    for _ in 0..2 {
        let fin = one(rig.put(ToServer, 28, 1, ACK | FIN, b""));
        assert_eq!((fin.at, fin.flags, &fin.text[..]), (31, ACK | FIN, ""));
    }
}

#[test]
fn p32_p33_a_reset_is_where_it_is_believed() {
    let rig = || {
        let mut rig = Rig::new(&[(R227, N227), (PORT, LONGER)]);
        rig.down(1, 1, R227);
        rig.put(ToServer, 1, 1 + N227.len() as i64, ACK, PORT.as_bytes());
        rig
    };
    let (old, new) = (R227.len() as i64, N227.len() as i64);
    let got = one(rig().put(ToClient, 1 + old, 31, RST | ACK, b""));
    assert_eq!((got.at, got.ack, got.flags), (1 + new, 28, RST | ACK));
    let mut seg = rig().seg(ToClient, 1 + old, 0, RST, b"");
    seg.ack = 77;
    let got = one(rig().give(ToClient, &seg));
    assert_eq!((got.at, got.seg.ack, got.flags), (1 + new, 77, RST));
    // One that answers an acknowledgement within an edit has the number that was acknowledged.
    let mut rig = rig();
    rig.put(ToClient, 1 + old, 15, ACK, b"");
    assert_eq!(one(rig.put(ToServer, 1, 0, RST, b"")).at, 15);
    assert!(rig.alg.is_over());
}

#[test]
fn p34_sequence_numbers_wrap_within_an_edit() {
    for back in 0..40 {
        let isn = u32::MAX - back;
        every_way(
            &format!("{TUPLE}NOOP\r\n"),
            R227,
            &[(TUPLE, NAT), (R227, N227)],
            &Manner { isn, ..Manner::default() },
        );
        let mut rig = Rig::with((isn, isn / 2), 60_000, &[], Table::replace(&[(PORT, LONGER)]));
        rig.up(1, PORT);
        assert_eq!(to_server(&rig.up(1, PORT)), [(1, LONGER)]);
        assert_eq!((rig.acked(17).ack, rig.acked(31).ack), (1, 28));
    }
}

#[test]
fn p35_a_large_frame_of_many_lines_is_cut_to_the_mss() {
    let lines: String = (0..300).map(|n| format!("{TUPLE}NOOP {n:04} {}\r\n", "x".repeat(33))).collect();
    assert!(lines.len() > 20_000);
    let mut rig = Rig::new(&[(TUPLE, SMALL)]);
    let mut got = rig.up(1, &lines);
    let mut all = String::new();
    let mut at = 1;
    while !got.iter().all(|g| g.dir == ToClient) {
        for g in got.iter().filter(|g| g.dir == ToServer) {
            assert_eq!((g.at, g.text.len() <= 1460), (at, true));
            all.push_str(&g.text);
            at += g.text.len() as i64;
        }
        // More edits than the log takes at once wait for the first ones.
        got = rig.put(ToClient, 1, at, ACK, b"");
    }
    assert_eq!(all, lines.replace(TUPLE, SMALL));
    assert_eq!((rig.acked(at).ack, rig.alg.memory()), (1 + lines.len() as i64, 0));
    // Fewer of them, cut by their sender already.
    let some: String = lines.split_inclusive('\n').take(60).collect();
    every_way(&some, "", &[(TUPLE, SMALL)], &Manner { mss: 536, ..Manner::default() });
    // Nothing to change, and still cut.
    let mut rig = Rig::new(&[]);
    assert!(rig.up(1, &lines).iter().all(|g| g.text.len() <= 1460));
}
