//! Cases of the catalogue about edits in flight, by their number. Those that do not fix how the stream is cut run
//! whole, one byte a segment, with neighbours swapped, and everything twice.

use crate::host::Manner;
use crate::rig::{LONGER, PORT, Rig, SHORTER, ToClient, ToServer, one, to_client, to_server};
use crate::support::{ACK, FIN, PSH, Table, sack};
use crate::ways::{N227, NAT, R227, SMALL, TUPLE, every_way, ten};

#[test]
fn p1_a_growing_port_shifts_all_that_follows() {
    let up = format!("{TUPLE}{}", ten("NOOP"));
    every_way(&up, &ten("200"), &[(TUPLE, NAT)], &Manner::default());
    let mut rig = Rig::new(&[(PORT, LONGER)]);
    assert_eq!(to_server(&rig.up(1, PORT)), [(1, LONGER)]);
    let reply = one(rig.down(1, 31, "200 OK\r\n"));
    assert_eq!((reply.ack, reply.at), (28, 1));
    let next = one(rig.put(ToServer, 28, 9, ACK | PSH, b"NOOP\r\n"));
    assert_eq!((next.at, next.ack, &next.text[..]), (31, 9, "NOOP\r\n"));
    assert_eq!(one(rig.down(9, 37, "200 OK\r\n")).ack, 34);
}

#[test]
fn p2_a_shrinking_port_shifts_all_that_follows() {
    let up = format!("{TUPLE}{}", ten("NOOP"));
    every_way(&up, &ten("200"), &[(TUPLE, SMALL)], &Manner::default());
    let mut rig = Rig::new(&[(PORT, SHORTER)]);
    assert_eq!(to_server(&rig.up(1, PORT)), [(1, SHORTER)]);
    assert_eq!(one(rig.down(1, 22, "200 OK\r\n")).ack, 28);
    assert_eq!(to_server(&rig.up(28, "NOOP\r\n")), [(22, "NOOP\r\n")]);
    assert_eq!(one(rig.down(9, 28, "200 OK\r\n")).ack, 34);
}

#[test]
fn p3_both_directions_are_edited_independently() {
    every_way(
        &format!("{TUPLE}RETR a\r\n"),
        &format!("{R227}226 done\r\n"),
        &[(TUPLE, NAT), (R227, N227)],
        &Manner::default(),
    );
    let mut rig = Rig::new(&[(PORT, LONGER), (R227, N227)]);
    rig.up(1, PORT);
    let reply = one(rig.down(1, 31, R227));
    assert_eq!((reply.ack, &reply.text[..]), (28, N227));
    let (old, new) = (R227.len() as i64, N227.len() as i64);
    let next = one(rig.put(ToServer, 28, 1 + new, ACK, b"NOOP\r\n"));
    assert_eq!((next.at, next.ack), (31, 1 + old));
    assert_eq!(one(rig.down(1 + old, 37, "200\r\n")).at, 1 + new);
}

#[test]
fn p4_a_thousand_ports_leave_a_short_log() {
    let mut rig = Rig::new(&[(PORT, LONGER)]);
    let (mut o, mut n) = (1, 1);
    for _ in 0..1000 {
        assert_eq!(to_server(&rig.up(o, PORT)), [(n, LONGER)]);
        assert!(rig.alg.edits_in_flight(ToServer) <= 2);
        (o, n) = (o + 27, n + 30);
        assert_eq!(rig.acked(n).ack, o);
    }
    assert_eq!((rig.alg.edits_in_flight(ToServer), rig.alg.memory()), (0, 0));
    every_way(&TUPLE.repeat(100), "", &[(TUPLE, NAT)], &Manner::default());
}

#[test]
fn p5_a_retransmission_gives_the_same_bytes() {
    let mut rig = Rig::new(&[(PORT, LONGER)]);
    let first = rig.up(1, PORT);
    assert_eq!(rig.up(1, PORT), first);
    assert_eq!(to_server(&rig.up(28, "NOOP\r\n")), [(31, "NOOP\r\n")]);
    assert_eq!(rig.up(1, PORT), first);
    assert_eq!(rig.editor.seen.len(), 2);
}

#[test]
fn p6_a_retransmission_from_within_an_edit_gives_all_of_it() {
    let mut rig = Rig::new(&[(PORT, SHORTER)]);
    rig.up(1, PORT);
    for at in 1..28 {
        assert_eq!(to_server(&rig.up(at, &PORT[at as usize - 1..])), [(1, SHORTER)], "{at}");
        assert_eq!(to_server(&rig.up(at, &PORT[at as usize - 1..at as usize])), [(1, SHORTER)], "{at}");
    }
    assert!(rig.notes.is_empty());
}

#[test]
fn p7_a_retransmission_of_a_line_and_an_edit_together() {
    let mut rig = Rig::new(&[(PORT, LONGER)]);
    rig.up(1, "NOOP\r\n");
    rig.up(7, PORT);
    assert_eq!(to_server(&rig.up(1, &format!("NOOP\r\n{PORT}"))), [(1, &format!("NOOP\r\n{LONGER}")[..])]);
    assert_eq!(
        to_server(&rig.up(3, &format!("OP\r\n{}", &PORT[..4]))),
        [(3, &format!("OP\r\n{LONGER}")[..])]
    );
    let with_new = rig.up(7, &format!("{PORT}PWD\r\n"));
    assert_eq!(to_server(&with_new), [(7, &format!("{LONGER}PWD\r\n")[..])]);
}

#[test]
fn p8_a_partial_ack_inside_a_shrinking_edit_acknowledges_none_of_it() {
    let mut rig = Rig::new(&[(PORT, SHORTER)]);
    rig.up(1, PORT);
    for n in 1..22 {
        assert_eq!(rig.acked(n).ack, 1, "{n}");
        assert_eq!(to_server(&rig.up(1, PORT)), [(1, SHORTER)], "{n}");
    }
    assert_eq!(rig.acked(22).ack, 28);
}

#[test]
fn p9_a_partial_ack_inside_a_growing_edit_acknowledges_none_of_it() {
    let mut rig = Rig::new(&[(PORT, LONGER)]);
    rig.up(1, "NOOP\r\n");
    rig.up(7, PORT);
    assert_eq!(rig.acked(4).ack, 4);
    for n in 7..37 {
        assert_eq!(rig.acked(n).ack, 7, "{n}");
    }
    assert_eq!(rig.acked(37).ack, 34);
}

#[test]
fn p10_the_first_of_two_edits_in_flight_is_lost() {
    let mut rig = Rig::new(&[(PORT, LONGER)]);
    rig.up(1, PORT);
    assert_eq!(to_server(&rig.up(28, PORT)), [(31, LONGER)]);
    rig.options = sack(1000, &[(31, 61)]);
    let told = rig.acked(1);
    assert_eq!((told.ack, told.seg.options), (1, sack(1000, &[(28, 55)])));
    assert_eq!(to_server(&rig.up(1, PORT)), [(1, LONGER)]);
    assert_eq!(rig.acked(61).ack, 55);
}

#[test]
fn p11_selective_edges_round_inward_and_empty_ranges_go() {
    for (new, n) in [(LONGER, 30), (SHORTER, 21)] {
        let mut rig = Rig::new(&[(PORT, new)]);
        rig.up(1, "NOOP\r\n");
        rig.up(7, PORT);
        rig.up(34, "PWD\r\n");
        let cases = [
            ((7, 7 + n), Some((7, 34))),
            ((8, 7 + n), None),
            ((7, 6 + n), None),
            ((8, 6 + n), None),
            ((3, 9), Some((3, 7))),
            ((6 + n, 9 + n), Some((34, 36))),
            ((7 + n, 12 + n), Some((34, 39))),
        ];
        for (block, want) in cases {
            rig.options = sack(1000, &[block]);
            let told = rig.acked(1).seg.options;
            let none = vec![1; 12];
            assert_eq!(told, want.map_or(none, |w| sack(1000, &[w])), "{block:?}");
        }
        rig.options = sack(1000, &[(8, 9), (7 + n, 12 + n)]);
        let told = rig.acked(1).seg.options;
        assert_eq!(told, [&sack(1000, &[(34, 39)])[..], &[1; 8]].concat());
    }
}

#[test]
fn p12_a_repeated_range_below_the_acknowledgement_is_mapped() {
    let mut rig = Rig::new(&[(PORT, LONGER)]);
    rig.up(1, PORT);
    rig.acked(31);
    rig.up(1, PORT);
    rig.options = sack(1000, &[(1, 31)]);
    let told = rig.acked(31);
    assert_eq!((told.ack, told.seg.options), (28, sack(1000, &[(1, 28)])));
    // Ranges of nothing, or beyond all that was sent, say nothing.
    for block in [(31, 31), (900, 950), (40, 31), (0x8000_0000, 5)] {
        rig.options = sack(1000, &[block]);
        assert_eq!(rig.acked(31).seg.options, vec![1; 12], "{block:?}");
    }
}

#[test]
fn p13_a_keep_alive_after_an_edit_is_no_line() {
    for garbage in [&b""[..], b"P"] {
        let mut rig = Rig::new(&[(PORT, SHORTER)]);
        rig.up(1, PORT);
        rig.acked(22);
        let probe = one(rig.put(ToServer, 27, 1, ACK, garbage));
        assert_eq!((probe.dir, probe.at, &probe.text[..]), (ToServer, 21, ""));
        assert_eq!(rig.acked(22).ack, 28);
        assert_eq!(to_server(&rig.up(28, "NOOP\r\n")), [(22, "NOOP\r\n")]);
        // Behind a line that was not edited it goes as it is.
        rig.acked(28);
        let probe = one(rig.put(ToServer, 33, 1, ACK, garbage));
        assert_eq!((probe.at, probe.text.as_bytes(), probe.verbatim), (27, garbage, false));
    }
    let mut rig = Rig::new(&[]);
    rig.up(1, "NOOP\r\n");
    rig.acked(7);
    assert!(one(rig.put(ToServer, 6, 1, ACK, b"x")).verbatim);
}

#[test]
fn p14_probes_of_a_closed_window_deliver_the_line_once() {
    let manner = Manner { room: 24, read_every: 700, ..Manner::default() };
    every_way(&TUPLE.repeat(3), &R227.repeat(2), &[(TUPLE, NAT), (R227, N227)], &manner);
    let mut rig = Rig::new(&[(PORT, LONGER)]);
    rig.window = 0;
    rig.acked(1);
    // The bytes of probes stay; the receiver is asked, and not overrun. A window once given stands.
    let mut rig2 = Rig::with((1000, 5000), 0, &[], Table::replace(&[(PORT, LONGER)]));
    for (at, byte) in PORT.char_indices() {
        let got = rig2.up(at as i64 + 1, &byte.to_string());
        assert!(to_server(&got).iter().all(|s| *s == (0, "")), "{got:?}");
        assert_eq!(to_client(&got), if at == 26 { vec![] } else { vec![(1, at as i64 + 2, "")] }, "{at}");
    }
    rig2.window = 100;
    let got = rig2.put(ToClient, 1, 1, ACK, b"");
    assert_eq!(to_server(&got), [(1, LONGER)]);
    assert_eq!(rig2.acked(31).ack, 28);
}

#[test]
fn p15_growth_beyond_the_window_waits() {
    let short = "PORT 1,2,3,4,5,6\r\n";
    let long = "PORT 10,20,30,40,50,60,7890\r\n";
    let mut rig = Rig::with((1000, 5000), 20, &[], Table::replace(&[(short, long)]));
    assert_eq!(to_server(&rig.up(1, short)), [(1, &long[..20])]);
    // Part of the edit: nothing is acknowledged; what the window now has room for goes.
    let got = rig.put(ToClient, 1, 21, ACK, b"");
    assert_eq!((to_client(&got), to_server(&got)), (vec![(1, 1, "")], vec![(21, &long[20..])]));
    let window = got.iter().find(|g| g.dir == ToClient).unwrap().window;
    assert_eq!(window, 20 + 20 - (long.len() - short.len()) as u16);
    assert_eq!(rig.acked(1 + long.len() as i64).ack, 1 + short.len() as i64);
    let manner = Manner { room: 20, ..Manner::default() };
    every_way(&short.repeat(4), "", &[(short, long)], &manner);
}

#[test]
fn p16_a_window_scaled_by_fourteen() {
    let scale = [2, 4, 5, 180, 1, 3, 3, 14];
    let mut rig = Rig::with((1000, 5000), 3, &scale, Table::replace(&[(PORT, LONGER)]));
    // A SYN's own window is not scaled.
    rig.acked(1);
    rig.up(1, PORT);
    assert_eq!(rig.acked(31).window, 3);
    assert_eq!(rig.acked(31).window, 3);
    for window in [0, 1, 65535] {
        rig.window = window;
        assert_eq!(rig.acked(31).window, window);
    }
    let manner = Manner { scale: Some(14), ..Manner::default() };
    every_way(&TUPLE.repeat(5), R227, &[(TUPLE, NAT), (R227, N227)], &manner);
}

#[test]
fn p17_an_edit_beyond_the_mss_makes_two_segments() {
    let line = format!("PORT {}\r\n", "1".repeat(41));
    let new = format!("PORT {}\r\n", "2".repeat(60));
    let mut rig = Rig::with((1000, 5000), 60_000, &[2, 4, 0, 48], Table::replace(&[(&line, &new)]));
    let got = rig.put(ToServer, 1, 1, ACK | PSH | FIN, line.as_bytes());
    assert_eq!(to_server(&got), [(1, &new[..48]), (49, &new[48..])]);
    assert_eq!(got.iter().map(|g| g.flags).collect::<Vec<_>>(), [ACK, ACK | PSH | FIN]);
    every_way(&line.repeat(3), "", &[(&line, &new)], &Manner { mss: 48, ..Manner::default() });
}
