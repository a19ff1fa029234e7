//! One direction: what came from its sender, what is decided, what the receiver has not acknowledged yet.
//!
//! ```text
//!  sent stream       acknowledged │ decided: kept, edited │ held or passing │ a gap │ came early
//!                                 │ └─ log                │ └─ tail         │       │ └─ late
//!  delivered stream  acknowledged │ sent │ waits: window  │
//!                                una    nxt              end
//! ```
//! Bytes that are decided stay here until the receiver acknowledged them. Whatever part of them the sender sends
//! again, in whatever pieces, the bytes that go out are these.

use super::log::{Log, Part, Round};
use super::rto::Rto;
use super::segment::{Direction, Incoming, Note, Output, What};
use super::urgent::Urgent;
use super::window::Window;
use super::{Limits, options::OptionList};
use crate::time::{Duration, Instant};
use crate::wire::tcp::{FIN, before};
use std::collections::VecDeque;

/// A timestamp older than this says nothing any more (RFC 7323 5.5).
const TIMESTAMP_AGE: Duration = Duration::from_secs(24 * 24 * 3600);

/// What is known of the line that is not whole yet.
#[derive(Debug, Clone, Default)]
pub(super) enum Tail {
    /// Nothing.
    #[default]
    Fresh,
    /// Its begin went out as it came; so does the rest. What it was is shown when it ends.
    Passing(Vec<u8>),
    /// It stays here, at most until then.
    Held(Instant),
    /// It is none: what comes is raw. Whether an answer of ours may stand here.
    Raw(bool),
    /// Its begin was taken out; so is the rest.
    Skipping,
}

/// A segment that came before its turn.
#[derive(Debug, Clone)]
pub(super) struct Late {
    /// Where its payload begins in the sent stream.
    pub(super) at: u64,
    pub(super) flags: u8,
    pub(super) urgent: u16,
    payload: Vec<u8>,
}

impl Late {
    /// The segment as it would be had it come now.
    pub(super) fn segment(&self, ack: u32, window: u16, options: OptionList) -> Incoming<'_> {
        let (flags, urgent) = (self.flags, self.urgent);
        Incoming { seq: 0, ack, flags, window, urgent, options, payload: &self.payload }
    }
}

/// What became of a segment's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It begins behind a gap, and waits.
    Early,
    /// It begins where we are, or before.
    InOrder,
    /// It may not be looked at.
    Refused,
}

/// One direction.
#[derive(Debug, Clone, Default)]
pub(super) struct Half {
    pub(super) isn: u32,
    pub(super) log: Log,
    /// Up to here, in the sent stream, it is decided what becomes of it.
    pub(super) decided: u64,
    /// What came in order behind that.
    pub(super) tail: Vec<u8>,
    pub(super) state: Tail,
    pub(super) late: VecDeque<Late>,
    /// Where the sender's FIN is, if everything before it came.
    pub(super) fin: Option<u64>,
    /// Delivered bytes from `kept_at` on; what is acknowledged goes.
    pub(super) kept: Vec<u8>,
    pub(super) kept_at: u64,
    /// Up to here the delivered stream was sent, a FIN included.
    pub(super) nxt: u64,
    /// Up to here the receiver acknowledged it.
    pub(super) una: u64,
    /// Up to here the delivered stream has answers of ours, which no sender will send again.
    pub(super) answered: u64,
    /// How far we have acknowledged to the sender ourselves.
    pub(super) own_ack: u64,
    /// The furthest acknowledgement that the sender got.
    pub(super) acked: u64,
    pub(super) window: Window,
    pub(super) rto: Rto,
    /// Answers of ours that wait for the end of a passing line.
    pub(super) answers: VecDeque<Vec<u8>>,
    /// Largest payload and options together that the receiver takes.
    pub(super) mss: usize,
    /// Urgent marks.
    pub(super) urgent: Urgent,
    /// The sender's latest timestamp in order, and when it came.
    pub(super) stamp: Option<(u32, Instant)>,
    /// Its latest timestamp of all: what went on with it makes older ones unbelievable.
    pub(super) newest: Option<u32>,
}

impl Half {
    /// The next position that the sender has not filled.
    pub(super) fn next_in(&self) -> u64 {
        self.decided + self.tail.len() as u64 + u64::from(self.fin.is_some())
    }

    /// Behind the last delivered byte that is decided.
    pub(super) fn end(&self) -> u64 {
        self.kept_at + self.kept.len() as u64
    }

    /// Where the FIN stands in the delivered stream, once everything before it is decided.
    pub(super) fn fin_out(&self) -> Option<u64> {
        self.fin.filter(|_| self.tail.is_empty() && self.answers.is_empty()).map(|_| self.end())
    }

    /// Whether the receiver has everything, the FIN too.
    pub(super) fn is_done(&self) -> bool {
        self.fin_out().is_some_and(|fin| self.una > fin)
    }

    /// Bytes of memory held beyond the half itself.
    pub(super) fn memory(&self) -> usize {
        let late: usize = self.late.iter().map(|l| l.payload.capacity() + size_of::<Late>()).sum();
        let passing = if let Tail::Passing(head) = &self.state { head.capacity() } else { 0 };
        let answers: usize = self.answers.iter().map(Vec::capacity).sum();
        self.kept.capacity() + self.tail.capacity() + self.log.capacity() + late + passing + answers
    }

    /// Takes in a segment's payload that begins at `at`.
    pub(super) fn take(
        &mut self,
        now: Instant,
        dir: Direction,
        at: u64,
        seg: &Incoming<'_>,
        limits: &Limits,
        out: &mut Output,
    ) -> Taken {
        let len = seg.payload.len() as u64;
        let fin = seg.flags & FIN != 0;
        let next = self.next_in();
        let note = |out: &mut Output, what| out.notes.push(Note { dir, at: at.saturating_sub(1), what });
        if !self.stamp_ok(now, at, seg.options.timestamps()) {
            // A repetition of what is known may go on; nothing new is learnt from it.
            if at + len + u64::from(fin) <= next {
                return Taken::InOrder;
            }
            note(out, What::OldTimestamp);
            return Taken::Refused;
        }
        // One byte beyond the window is a probe, and a receiver that has room takes it.
        let limit = self.window.given().max(next + 1);
        if at >= limit && (len > 0 || fin) {
            note(out, What::OutOfWindow);
            return Taken::Refused;
        }
        if at > next {
            return self.keep_late(dir, at, seg, limits, out);
        }
        self.compare(dir, at, seg.payload, out);
        let skip = ((next - at) as usize).min(seg.payload.len());
        let mut new = if self.fin.is_some() { &[] } else { &seg.payload[skip..] };
        let room = (limit - next) as usize;
        let room = room.min(limits.kept.saturating_sub(self.tail.len() + self.kept.len() + self.log.old()));
        let cut = new.len() > room;
        if cut {
            new = &new[..room];
            note(out, if (limit - next) as usize == room { What::OutOfWindow } else { What::Full });
        }
        self.tail.extend_from_slice(new);
        if fin && !cut && self.fin.is_none() && at + len == self.next_in() {
            self.fin = Some(at + len);
        }
        Taken::InOrder
    }

    /// Whether a segment that begins at `at` is beyond all that the sender was told it may send; a probe is not.
    pub(super) fn is_beyond(&self, at: u64) -> bool {
        at > self.window.given().max(self.next_in() + 1)
    }

    /// Up to here, in the delivered stream, it is ours to see that it arrives: the sender was told that it did, or
    /// never sent it.
    pub(super) fn owned(&self) -> u64 {
        let mut own = self.log.fwd(self.own_ack.min(self.decided), Round::Ceil);
        if self.own_ack > self.decided && self.fin_out().is_some() {
            own += 1;
        }
        own.max(self.answered)
    }

    /// Acknowledges to the sender what came in order, and owns it.
    pub(super) fn own(&mut self) {
        self.own_ack = self.own_ack.max(self.next_in());
        self.acked = self.acked.max(self.own_ack);
    }

    /// Ranges that came early, as blocks of the sent stream, the newest first as RFC 2018 section 4 has it.
    pub(super) fn early(&self, newest: u64) -> Vec<(u64, u64)> {
        let mut blocks: Vec<(u64, u64)> = Vec::new();
        for late in &self.late {
            let end = late.at + late.payload.len() as u64;
            match blocks.last_mut() {
                Some(last) if late.at <= last.1 => last.1 = last.1.max(end),
                _ => blocks.push((late.at, end)),
            }
        }
        blocks.retain(|b| b.0 < b.1);
        if let Some(at) = blocks.iter().position(|b| b.0 <= newest && newest < b.1) {
            blocks[..=at].rotate_right(1);
        }
        blocks
    }

    fn keep_late(
        &mut self,
        dir: Direction,
        at: u64,
        seg: &Incoming<'_>,
        limits: &Limits,
        out: &mut Output,
    ) -> Taken {
        if seg.payload.is_empty() && seg.flags & FIN == 0 {
            return Taken::InOrder;
        }
        if self.late.iter().any(|l| l.at == at && l.payload.len() >= seg.payload.len()) {
            return Taken::Early;
        }
        let bytes: usize = self.late.iter().map(|l| l.payload.len()).sum();
        if self.late.len() >= limits.late_segments || bytes + seg.payload.len() > limits.late_bytes {
            out.notes.push(Note { dir, at: at - 1, what: What::LateFull });
            return Taken::Refused;
        }
        let place = self.late.partition_point(|l| l.at <= at);
        let (flags, urgent) = (seg.flags, seg.urgent);
        self.late.insert(place, Late { at, flags, urgent, payload: seg.payload.to_vec() });
        Taken::Early
    }

    /// The early segment whose turn has come.
    pub(super) fn ripe(&mut self) -> Option<Late> {
        let next = self.next_in();
        if self.late.front().is_some_and(|l| l.at <= next) {
            let late = self.late.pop_front();
            if self.late.is_empty() {
                self.late = VecDeque::new();
            }
            return late;
        }
        None
    }

    /// Compares what came again with what came first.
    fn compare(&self, dir: Direction, at: u64, payload: &[u8], out: &mut Output) {
        let known = self.log.rev(self.kept_at, Round::Floor).max(self.log.plain_from());
        let (from, to) = (at.max(known), (at + payload.len() as u64).min(self.next_in()));
        if from >= to {
            return;
        }
        let again = |o: u64, len: u64| payload.get((o - at) as usize..(o - at + len) as usize);
        let mut same = true;
        for part in self.log.parts(from, to.min(self.decided)) {
            same &= match part {
                Part::Kept { o, n, len } => {
                    let first = n.saturating_sub(self.kept_at) as usize;
                    self.kept.get(first..first + len as usize) == again(o, len)
                }
                Part::Edited { o, old } => Some(old) == again(o, old.len() as u64),
            };
        }
        let from = from.max(self.decided);
        if from < to {
            let first = (from - self.decided) as usize;
            same &= self.tail.get(first..first + (to - from) as usize) == again(from, to - from);
        }
        if !same {
            out.notes.push(Note { dir, at: at.saturating_sub(1), what: What::Conflict });
        }
    }

    /// Notes a timestamp, of a segment that begins at `at`.
    pub(super) fn see(&mut self, at: u64, stamp: Option<(u32, u32)>) {
        let within = at <= self.window.given().max(self.next_in());
        if let (true, Some((value, _)), Some(newest)) = (within, stamp, self.newest)
            && before(newest, value)
        {
            self.newest = Some(value);
        }
    }

    /// False for a segment older than one that came in order (PAWS, RFC 7323 5.3).
    fn stamp_ok(&mut self, now: Instant, at: u64, stamp: Option<(u32, u32)>) -> bool {
        let Some((value, _)) = stamp else { return true };
        match self.stamp {
            Some((last, when)) if before(value, last) && now.since(when) < TIMESTAMP_AGE => false,
            _ => {
                if at <= self.next_in() {
                    self.stamp = Some((value, now));
                }
                true
            }
        }
    }
}
