//! A small stream with two edits, cut in every way into up to four segments, which come in every order, with
//! each one lost (on the way to the core, or behind it), each one twice at every place, and a receiver that
//! acknowledges up to every offset.

use crate::support::raw_of;
use crate::support::{ACK, PSH, SYN, Seg};
use tidegate::alg::{Alg, Direction, Editor, Limits, Line, Output, Raw, Verdict};
use tidegate::time::Instant;

/// Lines of the first two kinds are edited.
const STREAM: &[u8] = b"P1\nP2\nN\n";
/// Behind the first line it is raw, up to and with the 4, whatever is written there.
const WITH_RAW: &[u8] = b"R\nP1\n\x04P2\n";

#[derive(Clone)]
struct Two {
    stream: &'static [u8],
    new: [&'static [u8]; 2],
    raw: bool,
}

impl Editor for Two {
    fn wants(&self, _: Direction, start: &[u8]) -> bool {
        start.starts_with(b"P")
    }

    fn line(&mut self, _: Instant, _: Direction, line: Line<'_>) -> Verdict {
        self.raw = line.bytes == b"R\n";
        match line.bytes {
            b"P1\n" => Verdict::Replace(self.new[0].to_vec()),
            b"P2\n" => Verdict::Replace(self.new[1].to_vec()),
            _ => Verdict::Keep,
        }
    }

    fn is_raw(&self, _: Direction) -> bool {
        self.raw
    }

    fn raw(&mut self, _: Instant, _: Direction, bytes: &[u8]) -> Raw {
        let raw = raw_of(bytes);
        self.raw = raw == Raw::All;
        raw
    }

    fn passed(&mut self, _: Instant, _: Direction, line: Line<'_>) {
        self.raw = line.bytes == b"R\n";
    }
}

/// A receiver of a few bytes.
#[derive(Default)]
struct Receiver {
    got: [Option<u8>; 32],
    limit: usize,
    told: usize,
}

impl Receiver {
    fn has(&self) -> usize {
        self.got.iter().take_while(|b| b.is_some()).count()
    }
}

struct Run {
    alg: Alg,
    editor: Two,
    receiver: Receiver,
    /// What the sender was told that arrived.
    acked: usize,
    now: Instant,
    /// The segment of that number from the core is lost.
    lose: Option<usize>,
    left: usize,
}

impl Run {
    fn new(start: &Alg, editor: Two, limit: usize, lose: Option<usize>) -> Self {
        let receiver = Receiver { limit, ..Receiver::default() };
        let now = Instant::from_millis(1);
        Self { alg: start.clone(), editor, receiver, acked: 0, now, lose, left: 0 }
    }

    fn send(&mut self, from: usize, to: usize) {
        let payload = self.editor.stream[from..to].to_vec();
        let seg =
            Seg { seq: 1 + from as u32, ack: 501, flags: ACK | PSH, window: 99, payload, ..Seg::default() };
        let mut out = Output::default();
        self.alg.segment(self.now, Direction::ToServer, &seg.incoming(), &mut self.editor, &mut out);
        self.deliver(out);
    }

    fn deliver(&mut self, mut out: Output) {
        assert!(out.notes.is_empty(), "{:?}", out.notes);
        // Answers of the receiver's lead to more; they come in turn.
        while !out.segments.is_empty() {
            let mut next = Output::default();
            for o in out.segments.drain(..) {
                if o.dir == Direction::ToClient {
                    let ack = o.ack as usize - 1;
                    assert!(ack <= self.editor.stream.len());
                    self.acked = self.acked.max(ack);
                    continue;
                }
                if o.payload.is_empty() {
                    continue;
                }
                self.left += 1;
                if self.lose == Some(self.left) {
                    continue;
                }
                let at = o.seq as usize - 1;
                for (i, byte) in o.payload.iter().enumerate() {
                    let place = &mut self.receiver.got[at + i];
                    assert!(place.is_none_or(|b| b == *byte), "other bytes");
                    *place = Some(*byte);
                }
                let ack = self.receiver.has().min(self.receiver.limit).max(self.receiver.told);
                self.receiver.told = ack;
                self.acknowledge(ack, &mut next);
            }
            out = next;
        }
    }

    fn acknowledge(&mut self, ack: usize, out: &mut Output) {
        let seg = Seg { seq: 501, ack: 1 + ack as u32, flags: ACK, window: 99, ..Seg::default() };
        self.alg.segment(self.now, Direction::ToClient, &seg.incoming(), &mut self.editor, out);
        assert!(out.notes.is_empty());
    }

    /// The sender sends again what it was not told of, the receiver acknowledges all, the timers run.
    fn finish(&mut self, want: &[u8]) {
        self.receiver.limit = usize::MAX;
        for _ in 0..4 {
            let mut out = Output::default();
            self.acknowledge(self.receiver.has(), &mut out);
            self.receiver.told = self.receiver.has();
            self.deliver(out);
            let end = self.editor.stream.len();
            if self.acked < end {
                self.send(self.acked, end);
            }
            if let Some(at) = self.alg.next_deadline() {
                self.now = at;
                let mut out = Output::default();
                self.alg.timeout(self.now, &mut self.editor, &mut out);
                self.deliver(out);
            }
        }
        let got: Vec<u8> = self.receiver.got.iter().map_while(|b| *b).collect();
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(want));
        assert!(self.receiver.got[want.len()..].iter().all(Option::is_none));
        assert_eq!((self.acked, self.alg.memory()), (self.editor.stream.len(), 0));
        assert_eq!(self.alg.next_deadline(), None);
    }
}

fn started() -> Alg {
    let mut alg = Alg::new(Limits::default());
    let syn = Seg { seq: 0, flags: SYN, window: 99, ..Seg::default() };
    let answer = Seg { seq: 500, ack: 1, flags: SYN | ACK, window: 99, ..Seg::default() };
    let mut editor = Two { stream: b"", new: [b"", b""], raw: false };
    for (dir, seg) in [(Direction::ToServer, syn), (Direction::ToClient, answer)] {
        alg.segment(Instant::ZERO, dir, &seg.incoming(), &mut editor, &mut Output::default());
    }
    alg
}

/// Every way to cut the stream into up to four segments.
fn cuts(end: usize) -> Vec<Vec<(usize, usize)>> {
    (0u32..1 << (end - 1))
        .filter(|mask| mask.count_ones() <= 3)
        .map(|mask| {
            let mut at = 0;
            let mut parts = Vec::new();
            for cut in (1..end).filter(|c| mask >> (c - 1) & 1 == 1).chain([end]) {
                parts.push((at, cut));
                at = cut;
            }
            parts
        })
        .collect()
}

fn orders(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![vec![]];
    }
    let shorter = orders(n - 1);
    shorter
        .iter()
        .flat_map(|o| {
            (0..n).map(move |at| {
                let mut o = o.clone();
                o.insert(at, n - 1);
                o
            })
        })
        .collect()
}

fn all(stream: &'static [u8], new: [&'static [u8]; 2], want: &[u8]) {
    let editor = Two { stream, new, raw: false };
    let start = started();
    let mut runs = 0u64;
    for parts in cuts(stream.len()) {
        for order in orders(parts.len()) {
            // Nothing lost, one before the core, one behind it.
            let n = order.len();
            let losses = (0..=n).map(|l| (l.checked_sub(1), None)).chain((1..=n).map(|l| (None, Some(l))));
            for (before, behind) in losses {
                let twice = (0..n).flat_map(|d| (d + 1..=n).map(move |at| Some((d, at)))).chain([None]);
                for twice in twice {
                    for limit in 0..=want.len() {
                        let mut run = Run::new(&start, editor.clone(), limit, behind);
                        let mut sent: Vec<usize> = order.clone();
                        if let Some((which, at)) = twice {
                            sent.insert(at, order[which]);
                        }
                        for (i, part) in sent.iter().enumerate() {
                            if before != Some(i) {
                                run.send(parts[*part].0, parts[*part].1);
                            }
                        }
                        run.finish(want);
                        runs += 1;
                    }
                }
            }
        }
    }
    assert!(runs > 500_000, "{runs}");
}

#[test]
fn every_small_case_with_a_growing_and_a_shrinking_edit() {
    all(STREAM, [b"P111\n", b"\n"], b"P111\n\nN\n");
}

#[test]
fn every_small_case_with_a_deleted_line_and_a_growing_one() {
    all(STREAM, [b"", b"P2222\n"], b"P2222\nN\n");
}

#[test]
fn every_small_case_with_a_raw_stretch_and_an_edit_right_behind_it() {
    all(WITH_RAW, [b"!", b"P2222\n"], b"R\nP1\n\x04P2222\n");
}
