//! Urgent marks: a receiver may take a marked byte out of its stream, and what it reads then is what was parsed all the same.

use crate::host::Manner;
use crate::rig::{LONGER, PORT, Rig, ToClient, ToServer, one, to_server};
use crate::support::{ACK, FIN, Faults, PSH, Rule, Seg, Table, URG, World};
use crate::ways::{NAT, TUPLE};
use tidegate::alg::{Direction, What};

const ABORT: &[u8] = b"\xff\xf4\xff\xf2ABOR\r\n";

/// A segment with the urgent mark, `urgent` bytes from `at`.
fn urgent_of(rig: &mut Rig, dir: Direction, at: i64, urgent: u16, payload: &[u8]) -> Seg {
    let seg = rig.seg(dir, at, 1, ACK | PSH | URG, payload);
    Seg { urgent, ..seg }
}

fn urgent(rig: &mut Rig, at: i64, urgent: u16, payload: &[u8]) -> Seg {
    urgent_of(rig, ToServer, at, urgent, payload)
}

#[test]
fn p29_an_urgent_byte_within_an_edit_is_one_like_others() {
    let mut rig = Rig::new(&[(TUPLE, NAT)]);
    let seg = urgent(&mut rig, 1, 9, TUPLE.as_bytes());
    let got = one(rig.give(ToServer, &seg));
    assert_eq!((&got.text[..], got.flags, got.urgent), (NAT, ACK | PSH, 0));
    assert_eq!(rig.notes, [What::UrgentCleared]);
    assert_eq!(rig.editor.seen[0].1, TUPLE.as_bytes());
}

#[test]
fn p30_the_urgent_mark_moves_with_what_grew_before_it() {
    let mut rig = Rig::new(&[(PORT, LONGER)]);
    rig.up(1, PORT);
    let seg = urgent(&mut rig, 28, 4, ABORT);
    let got = one(rig.give(ToServer, &seg));
    assert_eq!((got.at, got.urgent, got.flags), (31, 4, ACK | PSH | URG));
    // An edit in the same segment: the mark is three bytes further.
    let mut rig = Rig::new(&[(PORT, LONGER)]);
    let seg = urgent(&mut rig, 1, 31, &[PORT.as_bytes(), ABORT].concat());
    let got = one(rig.give(ToServer, &seg));
    assert_eq!((got.at, got.urgent), (1, 34));
    // Without an edit nothing changes.
    for line in
        [ABORT, b"\xff\xf4\xff\xf2abor\r\n", b"\xff\xf4\xff\xf2STAT\r\n", b"\xff\xf4\xff\xf2STAT a\r\n"]
    {
        let mut rig = Rig::new(&[]);
        let seg = urgent(&mut rig, 1, 4, line);
        assert!(one(rig.give(ToServer, &seg)).verbatim);
        assert!(one(rig.give(ToServer, &seg)).verbatim, "and again");
        assert_eq!(rig.notes, []);
    }
}

/// Programs mark the IAC before the DM, which is the DM to those who read the pointer as RFC 1122 has it. What leaves
/// is marked for those who do not.
#[test]
fn p30_either_way_to_read_the_pointer_marks_the_dm() {
    let mut rig = Rig::new(&[]);
    let seg = urgent(&mut rig, 1, 3, ABORT);
    assert_eq!(one(rig.give(ToServer, &seg)).urgent, 4);
    for pointer in [0, 1, 2, 5, 6, 11] {
        let mut rig = Rig::new(&[]);
        let seg = urgent(&mut rig, 1, pointer, ABORT);
        let got = one(rig.give(ToServer, &seg));
        assert_eq!((got.urgent, got.flags), (0, ACK | PSH), "{pointer}");
    }
    // As clients do it: three bytes with the mark, then the rest without.
    let mut rig = Rig::new(&[]);
    let seg = urgent(&mut rig, 1, 3, &ABORT[..3]);
    assert_eq!(to_server(&rig.give(ToServer, &seg)), []);
    let got = one(rig.put(ToServer, 4, 1, ACK | PSH, &ABORT[3..]));
    assert_eq!((got.at, got.urgent, got.seg.payload.as_slice()), (1, 4, ABORT));
    // By the timer as well, and no more once it is there.
    assert_eq!(rig.wait()[0].urgent, 4);
    rig.acked(5);
    let seg = urgent(&mut rig, 1, 3, ABORT);
    assert_eq!(one(rig.give(ToServer, &seg)).flags & URG, 0);
}

#[test]
fn lines_that_only_look_like_a_synch_lose_their_mark() {
    for line in [
        &b"\xff\xf4\xff\xf2PORT 1\r\n"[..],
        b"\xff\xf4\xff\xf2ABORT\r\n",
        b"\xff\xf4\xff\xf2 ABOR\r\n",
        b"\xff\xf1\xff\xf2ABOR\r\n",
        b"X\xff\xf4\xff\xf2ABOR\r\n",
        b"ABOR\r\n",
    ] {
        for pointer in 0..=line.len() as u16 + 1 {
            let mut rig = Rig::new(&[]);
            let seg = urgent(&mut rig, 1, pointer, line);
            assert_eq!(one(rig.give(ToServer, &seg)).flags & URG, 0, "{pointer} {line:?}");
        }
    }
    // A server has no command to overtake.
    let mut rig = Rig::new(&[]);
    let seg = urgent_of(&mut rig, ToClient, 1, 4, ABORT);
    assert_eq!(rig.give(ToClient, &seg).iter().filter(|g| g.flags & URG != 0).count(), 0);
    // Nor is a Synch one that went on as something else.
    let line = "\u{7f}";
    let mut editor = Table::replace(&[(line, line)]);
    editor.rules.insert(ABORT.to_vec(), Rule::Replace(b"ABOR\r\n".to_vec()));
    let mut rig = Rig::with((1, 2), 60_000, &[], editor);
    let seg = urgent(&mut rig, 1, 4, ABORT);
    let got = one(rig.give(ToServer, &seg));
    assert_eq!((&got.text[..], got.urgent, &rig.notes[..]), ("ABOR\r\n", 0, &[What::UrgentCleared][..]));
}

/// The mark in a segment of its own, before or behind the bytes, ahead, with a FIN, or with what comes early.
#[test]
fn a_mark_waits_for_the_decision_about_its_byte() {
    let mut rig = Rig::new(&[]);
    let seg = urgent(&mut rig, 1, 2, b"");
    let got = one(rig.give(ToServer, &seg));
    assert_eq!((got.flags, got.urgent), (ACK | PSH, 0));
    assert_eq!(one(rig.up(1, "PXORT 1\r\n")).flags, ACK | PSH);
    assert_eq!(rig.notes, [What::UrgentCleared]);
    // Told once, however often it comes.
    let seg = urgent(&mut rig, 1, 2, b"PXORT 1\r\n");
    assert_eq!(one(rig.give(ToServer, &seg)).flags, ACK | PSH);
    assert_eq!(rig.notes.len(), 1);
    // Ahead of its line, and kept where that is a Synch.
    let mut rig = Rig::new(&[]);
    let seg = urgent(&mut rig, 1, 10, b"NOOP\r\n");
    assert_eq!(one(rig.give(ToServer, &seg)).flags, ACK | PSH);
    let got = one(rig.put(ToServer, 7, 1, ACK | PSH, ABORT));
    assert_eq!((got.at, got.urgent, got.flags), (7, 4, ACK | PSH | URG));
    // What comes again in front of it may tell of it now.
    let seg = urgent(&mut rig, 1, 10, b"NOOP\r\n");
    assert_eq!(one(rig.give(ToServer, &seg)).urgent, 10);
    let seg = urgent(&mut rig, 7, 4, b"");
    assert_eq!(one(rig.give(ToServer, &seg)).urgent, 4);
    assert_eq!(rig.notes, []);
    // With a FIN.
    let mut rig = Rig::new(&[]);
    let mut seg = urgent(&mut rig, 1, 4, ABORT);
    seg.flags |= FIN;
    assert!(one(rig.give(ToServer, &seg)).verbatim);
    // Early.
    let mut rig = Rig::new(&[]);
    let seg = urgent(&mut rig, 7, 4, ABORT);
    assert_eq!(to_server(&rig.give(ToServer, &seg)), []);
    let got = rig.up(1, "NOOP\r\n");
    let got: Vec<_> = got.iter().filter(|g| g.dir == ToServer).map(|g| (g.at, g.urgent)).collect();
    assert_eq!(got, [(1, 0), (7, 4)]);
    // Beyond what anybody may send: nothing is kept of it.
    let mut rig = Rig::new(&[]);
    let seg = urgent(&mut rig, 90_000, 9, b"");
    rig.give(ToServer, &seg);
    let seg = urgent(&mut rig, 1, 4, ABORT);
    assert!(one(rig.give(ToServer, &seg)).verbatim);
}

/// What nobody reads keeps its marks, but not ahead of it, where lines may begin again.
#[test]
fn raw_bytes_keep_their_marks() {
    let open = "RAW 1\r\n";
    let mut rig = Rig::with((1, 2), 60_000, &[], Table::new(&[(open, Rule::Raw([true, false]))]));
    rig.up(1, open);
    let seg = urgent(&mut rig, 8, 3, b"abcdef");
    assert!(one(rig.give(ToServer, &seg)).verbatim);
    assert!(one(rig.give(ToServer, &seg)).verbatim, "and again");
    let seg = urgent(&mut rig, 14, 6, b"gh\x04");
    assert_eq!(one(rig.give(ToServer, &seg)).flags, ACK | PSH);
    assert_eq!(one(rig.up(17, "PXORT 1\r\n")).flags, ACK | PSH);
    assert_eq!(rig.notes, [What::UrgentCleared]);
}

/// Every byte of a dialogue marked, told ahead or not, the stream cut in every way.
#[test]
fn what_a_receiver_reads_is_what_was_parsed_whichever_byte_is_marked() {
    let up = [b"NOOP\r\nPXORT 1\r\n", TUPLE.as_bytes(), ABORT, b"QUIT\r\n"].concat();
    let dm = up.len() - b"QUIT\r\n".len() - ABORT.len() + 4;
    for behind in 2..=up.len() as u64 + 2 {
        for (piece, swap, duplicate, foretells) in [
            (1460, false, 0, false),
            (1460, false, 100, true),
            (1, false, 0, false),
            (1, true, 0, true),
            (7, true, 0, false),
            (7, false, 100, true),
        ] {
            let manner = Manner { piece, ..Manner::default() };
            let server = Manner { isn: 77, ..manner.clone() };
            let faults = Faults { duplicate, swap, until: u64::MAX, ..Faults::default() };
            let editor = Table::replace(&[(TUPLE, NAT)]);
            let mut world = World::new((manner, server), (&up, b"200 ok\r\n"), editor, faults, 7);
            world.client.urgent = Some(behind);
            world.client.foretells = foretells;
            world.run();
            let mut want = world.editor.expected(&up).0;
            assert_eq!(world.server.got, want, "{behind}");
            let marked = [dm as u64, dm as u64 + 1].contains(&behind);
            if marked {
                let dm = want.iter().rposition(|b| *b == 0xf2).unwrap();
                want.remove(dm);
            }
            assert_eq!(world.server.read_apart(), want, "{behind} {piece} {swap} {duplicate} {foretells}");
        }
    }
}
