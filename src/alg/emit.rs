//! One direction's segments toward its receiver, made of what is decided.

use super::half::Half;
use super::log::Round;
use super::offset::wire;
use super::options::OptionList;
use super::segment::{CWR, Direction, Incoming, Outgoing, Output};
use crate::time::Instant;
use crate::wire::tcp::{ACK, FIN, PSH, URG};

/// At most so many segments leave when the timer fires (RFC 6928).
const BURST: usize = 10;

/// What a segment says beside its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) ack: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
    pub(super) options: OptionList,
}

/// A range of the delivered stream.
#[derive(Debug, Clone, Copy)]
struct Range {
    from: u64,
    to: u64,
    fin: bool,
}

/// Where a segment's payload begins in the sent stream, and how things stood before it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    pub(super) at: u64,
    pub(super) decided: u64,
    /// Behind the last delivered byte that was sent.
    pub(super) nxt: u64,
}

/// What the sender's payload led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Went {
    /// Something left.
    Sent,
    /// Nothing of it may leave now.
    Waits,
    /// The receiver acknowledged all of it long ago, and what it became is forgotten.
    Old,
}

impl Half {
    /// Behind the last delivered byte that was sent.
    fn data_nxt(&self) -> u64 {
        self.nxt.min(self.end())
    }

    /// How things stand, for a segment that begins at `at`.
    pub(super) fn before(&self, at: u64) -> Before {
        Before { at, decided: self.decided, nxt: self.data_nxt() }
    }

    /// Sends what a segment of the sender's stands for: what is known of its range once more, rounded outward to
    /// whole edits, and all that was decided with it.
    pub(super) fn forward(
        &mut self,
        now: Instant,
        dir: Direction,
        seg: &Incoming<'_>,
        Before { at, decided, nxt }: Before,
        head: Head,
        out: &mut Output,
    ) -> Went {
        let to = at + seg.payload.len() as u64;
        let plain = self.log.plain_from();
        let old = to <= plain && !seg.payload.is_empty();
        let (from, again_to) = (at.max(plain), to.min(decided));
        let fresh = Range { from: nxt, to: self.end().min(self.window.right().max(nxt)), fin: true };
        let mut went = if old { Went::Old } else { Went::Waits };
        let mut rest = fresh;
        if from < again_to {
            let start = self.log.fwd(from, Round::Floor);
            let end = self.log.fwd(again_to, Round::Ceil).min(nxt);
            // Bytes that the receiver has acknowledged are not kept here; it will not look at them either.
            let own = (start, seg.payload.get((from - at) as usize..).unwrap_or_default());
            let range = if end == nxt {
                rest.from = rest.to;
                Range { from: start, to: fresh.to, fin: seg.flags & FIN != 0 || fresh.to > nxt }
            } else {
                Range { from: start, to: end, fin: false }
            };
            if range.from < range.to {
                self.rto.again();
                self.send(now, dir, range, head, own, out);
                went = Went::Sent;
            }
        }
        let fin_due =
            self.fin_out().is_some_and(|fin| rest.to == fin && (self.nxt <= fin || seg.flags & FIN != 0));
        if rest.from < rest.to || (fin_due && went != Went::Sent) {
            self.send(now, dir, rest, head, (0, &[]), out);
            went = Went::Sent;
        }
        went
    }

    /// Sends what is decided, was not sent yet, and fits the window.
    pub(super) fn pump(&mut self, now: Instant, dir: Direction, head: Head, out: &mut Output) {
        let from = self.data_nxt();
        let to = self.end().min(self.window.right().max(from));
        let fin = self.fin_out().is_some_and(|fin| to == fin && self.nxt <= fin);
        if from < to || fin {
            self.send(now, dir, Range { from, to, fin: true }, head, (0, &[]), out);
        }
    }

    /// Sends again, at the timer, what is ours to bring: a few segments, or if there is no room a question.
    pub(super) fn again(&mut self, now: Instant, dir: Direction, mut head: Head, out: &mut Output) {
        let to = self.owned().min(self.data_nxt());
        let from = self.una;
        self.rto.again();
        let fin = self.fin_out().is_some_and(|fin| self.owned() > fin && self.nxt > fin);
        if from < to || fin {
            let most = (BURST * self.piece(head)) as u64;
            let range = Range { from: from.min(to), to: to.min(from + most), fin };
            self.send(now, dir, range, head, (0, &[]), out);
        } else {
            head.flags = ACK;
            self.probe(dir, head, out);
        }
    }

    /// Asks the receiver how it stands, with a segment that it must answer: its number is acknowledged already
    /// (RFC 9293 3.8.4, 3.10.7.4).
    pub(super) fn probe(&mut self, dir: Direction, head: Head, out: &mut Output) {
        self.bare(dir, self.una - 1, head, &[], out);
    }

    /// Sends a segment without anything of the stream.
    pub(super) fn bare(&mut self, dir: Direction, at: u64, head: Head, payload: &[u8], out: &mut Output) {
        let pointer = self.pointer(at, 0, head.flags & URG != 0);
        out.segments.push(Outgoing {
            dir,
            seq: wire(self.isn, at),
            ack: head.ack,
            flags: if pointer == 0 { head.flags & !URG } else { head.flags },
            window: head.window,
            urgent: pointer,
            options: head.options,
            payload: payload.to_vec(),
            verbatim: false,
        });
    }

    /// Where a segment without payload stands in the delivered stream.
    pub(super) fn place(&self, at: u64) -> u64 {
        let next = self.next_in();
        if at >= next {
            // Behind a gap: not beyond the window, where it would not be heard.
            (self.nxt + (at - next)).min(self.window.right().max(self.nxt))
        } else if at <= self.decided {
            self.log.fwd(at, Round::Floor).min(self.nxt)
        } else {
            self.nxt
        }
    }

    /// Where a reset stands: exactly where the receiver expects it, or it will be asked about (RFC 5961 3.2).
    pub(super) fn place_reset(&self, at: u64) -> u64 {
        let acked = at == self.acked && self.log.rev(self.una, Round::Floor) == at;
        if acked && at != self.next_in() { self.una } else { self.place(at) }
    }

    /// The most payload beside these options (RFC 6691).
    fn piece(&self, head: Head) -> usize {
        self.mss.saturating_sub(head.options.len()).max(1)
    }

    fn send(
        &mut self,
        now: Instant,
        dir: Direction,
        range: Range,
        head: Head,
        own: (u64, &[u8]),
        out: &mut Output,
    ) {
        let fin = range.fin && self.fin_out() == Some(range.to);
        let own_len = self.kept_at.min(range.to).saturating_sub(range.from.max(own.0)) as usize;
        let own_at = range.from.saturating_sub(own.0) as usize;
        let mut bytes = own.1.get(own_at..own_at + own_len).unwrap_or_default().to_vec();
        let first = range.from.max(self.kept_at);
        let (from, to) = (first - self.kept_at, range.to.saturating_sub(self.kept_at));
        bytes.extend_from_slice(self.kept.get(from as usize..to as usize).unwrap_or_default());
        let start = range.to - bytes.len() as u64;
        let size = self.piece(head);
        let mut at = start;
        loop {
            let len = size.min((range.to - at) as usize);
            let (is_first, is_last) = (at == start, at + len as u64 == range.to);
            let mut flags = (head.flags | ACK) & !(FIN | URG);
            if !is_last {
                flags &= !PSH;
            }
            if !is_first {
                flags &= !CWR;
            }
            if is_last && fin {
                flags |= FIN;
            }
            let pointer = self.pointer(at, len, head.flags & URG != 0);
            if pointer != 0 {
                flags |= URG;
            }
            let skip = (at - start) as usize;
            out.segments.push(Outgoing {
                dir,
                seq: wire(self.isn, at),
                ack: head.ack,
                flags,
                window: head.window,
                urgent: pointer,
                options: head.options,
                payload: bytes[skip..skip + len].to_vec(),
                verbatim: false,
            });
            at += len as u64;
            if is_last {
                break;
            }
        }
        let end = range.to + u64::from(fin);
        if end > self.nxt {
            self.nxt = end;
            self.rto.sent(now, end);
        }
    }
}
