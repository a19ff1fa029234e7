//! Cases of the catalogue about SYNs, quoted segments and paths; lines without an end; lines that are answered.

use crate::rig::{LONGER, PORT, Rig, ToClient, ToServer, one, to_client, to_server};
use crate::support::{ACK, PSH, RST, Rule, SYN, Seg, Table, URG};
use crate::ways::{N227, NAT, R227, TUPLE};
use tidegate::alg::{Alg, Direction, End, Limits, Outgoing, Output, What};
use tidegate::time::Instant;

#[test]
fn p39_quoted_numbers_are_those_of_the_sender() {
    let mut rig = Rig::new(&[(PORT, LONGER), (R227, N227)]);
    rig.down(1, 1, R227);
    rig.put(ToServer, 1, 1 + N227.len() as i64, ACK, PORT.as_bytes());
    rig.up(28, "NOOP\r\n");
    let (old, new) = (R227.len() as u32, N227.len() as u32);
    let quote = |n: u32, ack: u32| rig.alg.icmp_quote(ToServer, 1000 + n, Some(5000 + ack));
    assert_eq!(quote(31, 1 + old), Some((1028, Some(5001 + new))));
    assert_eq!(quote(1, 1 + old), Some((1001, Some(5001 + new))));
    assert_eq!(quote(13, 1), Some((1001, Some(5001))));
    // Never sent: somebody made it up.
    assert_eq!(quote(38, 1), None);
    let mut alg = rig.alg.clone();
    alg.path_limit(ToServer, 10);
    assert_eq!(alg.icmp_quote(ToClient, 5001, None), Some((5001, None)));
}

#[test]
fn p18_a_path_that_carries_less_makes_smaller_segments() {
    let mut rig = Rig::new(&[]);
    rig.alg.path_limit(ToServer, 536);
    let got = rig.up(1, &"x".repeat(1200));
    assert_eq!(got.iter().map(|g| g.text.len()).collect::<Vec<_>>(), [536, 536, 128]);
}

fn syn_of(options: &[u8], payload: &[u8]) -> (Alg, Vec<Outgoing>, Vec<What>) {
    let mut alg = Alg::new(Limits::default());
    let seg = Seg {
        seq: 1000,
        flags: SYN,
        window: 1000,
        options: options.to_vec(),
        payload: payload.to_vec(),
        ..Default::default()
    };
    let mut out = Output::default();
    let now = Instant::ZERO;
    alg.segment(now, Direction::ToServer, &seg.incoming(), &mut Table::default(), &mut out);
    (alg, out.segments, out.notes.iter().map(|n| n.what).collect())
}

#[test]
fn p40_p41_data_and_multipath_are_taken_out_of_a_syn() {
    let (_, out, notes) = syn_of(&[2, 4, 5, 180, 34, 6, 1, 2, 3, 4, 1, 1], TUPLE.as_bytes());
    assert_eq!((out.len(), out[0].payload.len(), out[0].verbatim), (1, 0, false));
    assert_eq!(out[0].options.as_slice(), [2, 4, 5, 180, 1, 1, 1, 1, 1, 1, 1, 1]);
    assert_eq!(notes, [What::Stripped, What::SynData]);
    let (alg, out, notes) = syn_of(&[30, 4, 0, 1, 4, 2, 1, 1], b"");
    assert_eq!(
        (out[0].options.as_slice(), &notes[..]),
        (&[1, 1, 1, 1, 4, 2, 1, 1][..], &[What::Stripped][..])
    );
    assert!(!alg.is_opaque());
}

/// What was lost behind us comes again, also when the other end's answer has already passed.
#[test]
fn p40_p41_so_it_is_with_a_syn_that_comes_again() {
    let say = |alg: &mut Alg, dir, seg: &Seg| {
        let mut out = Output::default();
        alg.segment(Instant::ZERO, dir, &seg.incoming(), &mut Table::default(), &mut out);
        out.segments
    };
    let options = |o: &Outgoing| o.options.as_slice().to_vec();
    let (odd, bare) = (vec![30, 4, 0, 1, 34, 4, 9, 9], vec![1; 8]);
    let syn = Seg {
        seq: 1000,
        flags: SYN,
        window: 1000,
        options: odd.clone(),
        payload: TUPLE.into(),
        ..Seg::default()
    };
    let answer =
        Seg { seq: 5000, ack: 1001, flags: SYN | ACK, payload: b"220 hello".to_vec(), ..syn.clone() };
    let mut alg = Alg::new(Limits::default());
    for (dir, seg) in
        [(ToServer, &syn), (ToServer, &syn), (ToClient, &answer), (ToServer, &syn), (ToClient, &answer)]
    {
        let got = say(&mut alg, dir, seg);
        assert_eq!((got.len(), got[0].seq, got[0].ack, got[0].flags), (1, seg.seq, seg.ack, seg.flags));
        assert_eq!((options(&got[0]), got[0].payload.len()), (bare.clone(), 0));
    }
    // A server that begins anew while nobody has taken its first answer: the newest counts.
    let anew = Seg { seq: 9000, ..answer.clone() };
    assert_eq!(say(&mut alg, ToClient, &anew)[0].seq, 9000);
    let ack = Seg { seq: 1001, ack: 9001, flags: ACK, window: 1000, ..Seg::default() };
    assert_eq!(say(&mut alg, ToServer, &ack).len(), 1);
    let mut editor = Table::replace(&[(TUPLE, NAT)]);
    let mut out = Output::default();
    let line = Seg { payload: TUPLE.into(), ..ack.clone() };
    alg.segment(Instant::ZERO, ToServer, &line.incoming(), &mut editor, &mut out);
    assert!(out.segments.len() == 1 && out.segments[0].payload == NAT.as_bytes());
    // Once it is taken, another is for the client to question, and its bytes are not the stream's.
    let got = say(&mut alg, ToClient, &Seg { seq: 7000, ..answer.clone() });
    assert_eq!((got[0].seq, got[0].payload.len()), (7000, 0));
    let reply = Seg {
        seq: 9001,
        ack: 1001,
        flags: ACK,
        window: 1000,
        payload: b"220 x\r\n".to_vec(),
        ..Seg::default()
    };
    assert_eq!(say(&mut alg, ToClient, &reply)[0].payload, b"220 x\r\n");
}

#[test]
fn p42_signed_connections_pass_as_they_are() {
    for kind in [19, 29] {
        let (mut alg, out, notes) = syn_of(&[kind, 4, 1, 2, 30, 4, 0, 1], b"");
        assert!(out[0].verbatim && alg.is_opaque() && notes == [What::Signed]);
        // Whole, a byte at a time, with neighbours swapped, everything twice: as it comes it goes, urgent marks too.
        let cut = |size: usize| {
            let part = |(i, p): (usize, &[u8])| Seg {
                seq: 1001 + (i * size) as u32,
                flags: ACK | URG,
                urgent: 2,
                payload: p.into(),
                ..Default::default()
            };
            TUPLE.as_bytes().chunks(size).enumerate().map(part).collect::<Vec<_>>()
        };
        let mut swapped = cut(5);
        swapped.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1));
        for segs in [cut(1460), cut(1), swapped, [cut(7), cut(7)].concat()] {
            for seg in segs {
                let (mut out, mut editor) = (Output::default(), Table::replace(&[(TUPLE, NAT)]));
                alg.segment(Instant::ZERO, ToServer, &seg.incoming(), &mut editor, &mut out);
                assert!(out.segments.len() == 1 && out.segments[0].verbatim && editor.seen.is_empty());
            }
        }
    }
}

#[test]
fn p47_a_connection_whose_begin_nobody_saw_passes() {
    let mut alg = Alg::new(Limits::default());
    let mut editor = Table::replace(&[(TUPLE, NAT)]);
    for n in 0..3 {
        let seg = Seg { seq: n, ack: 9, flags: ACK, payload: TUPLE.into(), ..Default::default() };
        let mut out = Output::default();
        alg.segment(Instant::ZERO, ToServer, &seg.incoming(), &mut editor, &mut out);
        assert!(out.segments.len() == 1 && out.segments[0].verbatim);
    }
    assert!(alg.is_opaque() && editor.seen.is_empty());
}

/// A client could ask twice, or send early, so that what it says next is not looked at.
#[test]
fn the_opening_cannot_be_used_to_get_past() {
    let say = |alg: &mut Alg, dir, seg: Seg| {
        let mut out = Output::default();
        alg.segment(Instant::ZERO, dir, &seg.incoming(), &mut Table::default(), &mut out);
        out
    };
    let syn = |seq| Seg { seq, flags: SYN, window: 1000, ..Seg::default() };
    let answer = |ack| Seg { seq: 5000, ack, flags: SYN | ACK, window: 1000, ..Seg::default() };
    let mut alg = Alg::new(Limits::default());
    say(&mut alg, ToServer, syn(1000));
    let early = Seg { seq: 1001, ack: 7, flags: ACK, payload: TUPLE.into(), ..Seg::default() };
    assert!(say(&mut alg, ToServer, early).segments[0].verbatim && !alg.is_opaque());
    say(&mut alg, ToServer, syn(2000));
    let out = say(&mut alg, ToClient, answer(1001));
    assert_eq!(out.segments.len(), 1);
    let reset = &out.segments[0];
    assert_eq!((reset.dir, reset.seq, reset.flags), (ToServer, 1001, RST));
    // The one that is answered counts, and is read.
    assert!(say(&mut alg, ToClient, answer(2001)).segments[0].verbatim);
    let mut editor = Table::replace(&[(TUPLE, NAT)]);
    let seg = Seg { seq: 2001, ack: 5001, flags: ACK, window: 1000, payload: TUPLE.into(), ..Seg::default() };
    let mut out = Output::default();
    alg.segment(Instant::ZERO, ToServer, &seg.incoming(), &mut editor, &mut out);
    assert_eq!(out.segments[0].payload, NAT.as_bytes());
}

#[test]
fn a_held_line_goes_when_the_other_direction_speaks() {
    let mut rig = Rig::with((1, 2), 60_000, &[], Table::new(&[(TUPLE, Rule::Hold(4))]));
    let got = rig.up(1, &format!("{TUPLE}NOOP\r\n"));
    assert_eq!((to_server(&got), to_client(&got)), (vec![], vec![(1, 29, "")]));
    let got = rig.down(1, 1, "200 ok\r\n");
    assert_eq!(to_server(&got).iter().map(|s| s.1).collect::<String>(), format!("{TUPLE}NOOP\r\n"));
    // One that is held beyond its time must be answered for; else both ends are told.
    let mut rig = Rig::with((1, 2), 60_000, &[], Table::new(&[(TUPLE, Rule::Never)]));
    rig.up(1, TUPLE);
    let got = rig.wait();
    assert!(rig.now == 30_001 && got.iter().all(|g| g.flags & RST != 0) && rig.alg.is_over());
}

#[test]
fn lines_that_do_not_end_have_their_limits() {
    // Overlong, and late: the editor is asked, and keeps; or ends it.
    for reset in [false, true] {
        let long = format!("PORT {}", "1".repeat(5000));
        let table = |line| if reset { Table::new(&[(line, Rule::Reset)]) } else { Table::default() };
        let mut rig = Rig::with((1, 2), 60_000, &[2, 4, 5, 180], table(&long));
        let got = rig.up(1, &long);
        assert_eq!(rig.editor.seen[0].2, End::Overlong);
        if reset {
            assert!(got.iter().all(|g| g.flags & RST != 0) && rig.alg.is_over());
        } else {
            assert_eq!(to_server(&got).iter().map(|s| s.1).collect::<String>(), long);
            assert_eq!(to_server(&rig.up(5006, "2\r\nNOOP\r\n")).len(), 1);
            assert_eq!(rig.editor.passed.last().unwrap().len(), 4096);
        }
        let mut rig = Rig::with((1, 2), 60_000, &[], table("PORT 1"));
        rig.up(1, "PORT 1");
        let got = rig.wait();
        assert_eq!((rig.now, rig.editor.seen[0].2), (30_001, End::Late));
        if reset {
            assert!(got.iter().all(|g| g.flags & RST != 0));
        } else {
            assert_eq!(to_server(&got), [(1, "PORT 1")]);
        }
    }
}

#[test]
fn a_swallowed_line_is_answered_and_acknowledged() {
    let mut rig =
        Rig::with((1, 2), 60_000, &[], Table::new(&[(TUPLE, Rule::Swallow(b"500 no\r\n".to_vec()))]));
    let got = rig.up(1, TUPLE);
    assert_eq!(to_server(&got), []);
    assert!(
        to_client(&got).contains(&(1, 1, "500 no\r\n")) || to_client(&got).contains(&(1, 23, "500 no\r\n"))
    );
    assert!(to_client(&got).iter().any(|g| g.1 == 23));
    // It is ours to bring: again at the timer, until the client has it.
    assert_eq!(to_client(&rig.wait()).first().unwrap().2, "500 no\r\n");
    rig.put(ToServer, 23, 9, ACK, b"");
    assert_eq!(rig.alg.next_deadline(), None);
    // Both streams go on, each shifted by what it does not know of.
    let got = one(rig.put(ToServer, 23, 9, ACK | PSH, b"NOOP\r\n"));
    assert_eq!((got.at, got.ack), (1, 1));
    let got = one(rig.down(1, 7, "200 ok\r\n"));
    assert_eq!((got.at, got.ack), (9, 29));
}

#[test]
fn a_quiet_connection_is_small() {
    assert!(size_of::<Alg>() <= 1200, "{}", size_of::<Alg>());
    let mut rig = Rig::new(&[(PORT, LONGER)]);
    let fresh = rig.alg.memory();
    rig.up(1, PORT);
    assert!(rig.alg.memory() > 0);
    rig.acked(31);
    assert_eq!((fresh, rig.alg.memory()), (0, 0));
}
