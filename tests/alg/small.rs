//! A small stream with two edits, in every interleaving: not runs by chance, but every state that can be reached is
//! looked at once, and whatever can happen next is tried from it.
//!
//! The stream is cut in every way into up to four segments. From each state on
//! - any segment that is under way may reach the core, in any order;
//! - one segment in all may be lost: one of the sender's, the second copy of the doubled one among them, or one that the
//!   core sends, for whatever reason it sends it, whole or from any byte of it on (so that the receiver acknowledges a
//!   part for it has no more);
//! - the sender may send again, once, all that it was not told of, in one segment: it begins wherever what it was told
//!   ends, and its old segments are still under way;
//! - one in all may be doubled, and the copy comes at any time, or is the one that is lost;
//! - the receiver's acknowledgement of any offset that it has got to may reach the core, any number of times, between
//!   any two other events. So there is no acknowledgement that is late, lost, doubled, overtaken by another or by data,
//!   or that acknowledges a part only, that is left out: one that is lost does not come, one that is late comes when the
//!   receiver has more.
//!
//! What the core sends is at the receiver at once. That it comes late, twice or out of order changes nothing of what the
//! core sees but which acknowledgements there can be, and those can be any.
//!
//! From every state, as if all the rest were lost, the sender sends again what it was not told of, the receiver
//! acknowledges what it has, and the timers run: the receiver must then have the edited stream, the sender must have
//! been told so, and the core must hold nothing. At no time may another byte reach the receiver.
//!
//! States are the same if the core (all that it says of itself), what the receiver has, what the sender was told and
//! what is under way are the same; which events led there does not matter. Times are not part of it: all this takes no
//! time, and timers run at the end only. Windows do not close, and no selective acknowledgements are sent.

use crate::support::raw_of;
use crate::support::{ACK, PSH, SYN, Seg};
use std::collections::HashSet;
use std::fmt::Write;
use tidegate::alg::{Alg, Direction, Editor, Limits, Line, Output, Raw, Verdict};
use tidegate::time::Instant;

/// Lines of the first two kinds are edited.
const STREAM: &[u8] = b"P1\nP2\nN\n";
/// Behind the first line it is raw, up to and with the 4, whatever is written there.
const WITH_RAW: &[u8] = b"R\nP1\n\x04P2\n";

#[derive(Clone, Copy)]
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

/// Everything that there is, at one moment.
#[derive(Clone)]
struct Moment {
    alg: Alg,
    editor: Two,
    /// What the receiver is to get, and which bytes of it are there.
    want: &'static [u8],
    got: u32,
    /// What the sender was told that arrived.
    acked: usize,
    now: Instant,
    /// Segments under way, from where to where; the doubled one twice.
    way: Vec<(usize, usize)>,
    /// One was lost, one was doubled, the rest was sent again.
    lost: bool,
    doubled: bool,
    again: bool,
}

impl Moment {
    /// How much the receiver has without a gap.
    fn has(&self) -> usize {
        self.got.trailing_ones() as usize
    }

    /// A segment of the sender's comes to the core. Of all bytes that the core sends, those from this one on are lost, to
    /// the end of its segment; gives how many there were.
    fn data(&mut self, (from, to): (usize, usize), lose: Option<usize>) -> usize {
        let payload = self.editor.stream[from..to].to_vec();
        let seg =
            Seg { seq: 1 + from as u32, ack: 501, flags: ACK | PSH, window: 99, payload, ..Seg::default() };
        let mut out = Output::default();
        self.alg.segment(self.now, Direction::ToServer, &seg.incoming(), &mut self.editor, &mut out);
        self.deliver(&out, lose)
    }

    /// An acknowledgement of the receiver's does.
    fn ack(&mut self, upto: usize, lose: Option<usize>) -> usize {
        let seg = Seg { seq: 501, ack: 1 + upto as u32, flags: ACK, window: 99, ..Seg::default() };
        let mut out = Output::default();
        self.alg.segment(self.now, Direction::ToClient, &seg.incoming(), &mut self.editor, &mut out);
        self.deliver(&out, lose)
    }

    fn deliver(&mut self, out: &Output, lose: Option<usize>) -> usize {
        assert!(out.notes.is_empty(), "{:?}", out.notes);
        let mut left = 0;
        for o in &out.segments {
            if o.dir == Direction::ToClient {
                let ack = o.ack as usize - 1;
                assert!(ack <= self.editor.stream.len());
                self.acked = self.acked.max(ack);
                continue;
            }
            if o.payload.is_empty() {
                continue;
            }
            let (at, len) = (o.seq as usize - 1, o.payload.len());
            assert_eq!(self.want.get(at..at + len), Some(&o.payload[..]), "other bytes at {at}");
            let lost = lose.filter(|lose| (left..left + len).contains(lose));
            self.lost |= lost.is_some();
            self.got |= ((1 << lost.map_or(len, |lose| lose - left)) - 1) << at;
            left += len;
        }
        left
    }

    /// The sender sends again what it was not told of, the receiver acknowledges all, the timers run.
    fn finish(&mut self) {
        let end = self.editor.stream.len();
        for _ in 0..4 {
            self.ack(self.has(), None);
            if self.acked < end {
                self.data((self.acked, end), None);
                self.ack(self.has(), None);
            }
            if let Some(at) = self.alg.next_deadline() {
                self.now = at;
                let mut out = Output::default();
                self.alg.timeout(self.now, &mut self.editor, &mut out);
                self.deliver(&out, None);
            }
        }
        assert_eq!(self.got, (1 << self.want.len()) - 1, "the receiver has not all");
        assert_eq!((self.acked, self.alg.memory()), (end, 0));
        assert_eq!(self.alg.next_deadline(), None);
    }

    /// What two moments have in common only if they are the same: but for what is still under way, and with it.
    fn prints(&self) -> [u64; 2] {
        let mut print = Print(0xCBF2_9CE4_8422_2325);
        write!(print, "{:?}{:?}", self.alg, (self.got, self.acked, self.editor.raw)).unwrap();
        let without = print.0;
        write!(print, "{:?}", (&self.way, [self.lost, self.doubled, self.again])).unwrap();
        [without, print.0]
    }

    /// Whatever can come of it by one event.
    fn next(&self, mut each: impl FnMut(Self)) {
        // And with each byte of what the core sends as the first that is lost.
        let mut with = |before: &Self, event: &dyn Fn(&mut Self, Option<usize>) -> usize| {
            let mut after = before.clone();
            let left = event(&mut after, None);
            each(after);
            for lose in (0..left).filter(|_| !before.lost) {
                let mut after = before.clone();
                event(&mut after, Some(lose));
                each(after);
            }
        };
        for place in 0..self.way.len() {
            let segment = self.way[place];
            // The second copy is like the first.
            if self.way[..place].contains(&segment) {
                continue;
            }
            let mut gone = self.clone();
            gone.way.remove(place);
            with(&gone, &|m, lose| m.data(segment, lose));
            if !self.lost {
                gone.lost = true;
                with(&gone, &|_, _| 0);
            }
            if !self.doubled {
                let mut again = self.clone();
                again.doubled = true;
                with(&again, &|m, lose| m.data(segment, lose));
            }
        }
        let end = self.editor.stream.len();
        if !self.again && self.acked < end {
            let mut again = self.clone();
            again.again = true;
            with(&again, &|m, lose| m.data((m.acked, end), lose));
        }
        for upto in 0..=self.has() {
            with(self, &|m, lose| m.ack(upto, lose));
        }
    }
}

/// FNV-1a of what is written.
struct Print(u64);

impl Write for Print {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for b in text.bytes() {
            self.0 = (self.0 ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3);
        }
        Ok(())
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

fn all(stream: &'static [u8], new: [&'static [u8]; 2], want: &'static [u8], least: usize) {
    let editor = Two { stream, new, raw: false };
    let alg = started();
    let (mut seen, mut ends) = (HashSet::new(), HashSet::new());
    let mut events = 0u64;
    for way in cuts(stream.len()) {
        let now = Instant::from_millis(1);
        let alg = alg.clone();
        let start = Moment {
            alg,
            editor,
            want,
            got: 0,
            acked: 0,
            now,
            way,
            lost: false,
            doubled: false,
            again: false,
        };
        let mut todo = vec![start];
        while let Some(moment) = todo.pop() {
            moment.next(|after| {
                events += 1;
                let [without, with] = after.prints();
                if seen.insert(with) {
                    if ends.insert(without) {
                        after.clone().finish();
                    }
                    todo.push(after);
                }
            });
        }
    }
    assert!(seen.len() > least, "{} states, {events} events, {} ends", seen.len(), ends.len());
}

#[test]
fn every_small_case_with_a_growing_and_a_shrinking_edit() {
    all(STREAM, [b"P111\n", b"\n"], b"P111\n\nN\n", 80_000);
}

#[test]
fn every_small_case_with_a_deleted_line_and_a_growing_one() {
    all(STREAM, [b"", b"P2222\n"], b"P2222\nN\n", 65_000);
}

#[test]
fn every_small_case_with_a_raw_stretch_and_an_edit_right_behind_it() {
    all(WITH_RAW, [b"!", b"P2222\n"], b"R\nP1\n\x04P2222\n", 200_000);
}
