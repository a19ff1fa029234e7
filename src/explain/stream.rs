//! One direction of a TCP connection, as the capture has it: what was seen, what was missed, what was sent again;
//! and, for control connections, the bytes in order.

use super::Spot;
use std::collections::{BTreeMap, VecDeque};

/// Holes that are known one by one; older ones are only counted.
const MAX_HOLES: usize = 64;
/// Segments whose size is remembered until they are acknowledged.
const MAX_FLYING: usize = 64;
/// Bytes that wait for others before them, and how many pieces they may be in.
const MAX_HELD: usize = 64 * 1024;
const MAX_PIECES: usize = 64;
/// Bytes of the past that repetitions are compared with.
const PAST: usize = 2048;

/// A segment that its sender keeps sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeat {
    /// Where in the stream it ends.
    pub(super) end: u64,
    /// Bytes of payload.
    pub(super) len: u32,
    /// How often it was sent again.
    pub(super) times: u32,
    pub(super) first: Spot,
    pub(super) last: Spot,
}

/// One direction. Offsets count from the first byte behind the SYN, or from the first that was seen.
#[derive(Debug, Default)]
pub(super) struct Flow {
    base: Option<u32>,
    high: u64,
    holes: Vec<(u64, u64)>,
    flying: VecDeque<(u64, u32)>,
    /// Different bytes of payload that were seen.
    pub(super) bytes: u64,
    /// Segments, those with payload, and those that held nothing new.
    pub(super) segments: u64,
    pub(super) data_segments: u64,
    pub(super) repeated: u64,
    pub(super) first: Option<Spot>,
    pub(super) last: Option<Spot>,
    pub(super) first_data: Option<Spot>,
    pub(super) last_data: Option<Spot>,
    pub(super) fin: Option<Spot>,
    fin_at: u64,
    /// What the peer acknowledged of it, and by which frame last.
    pub(super) acked: u64,
    pub(super) acked_last: Option<Spot>,
    /// The largest segment that was acknowledged, in bytes.
    pub(super) largest_acked: u32,
    /// The segment that is being repeated, not acknowledged yet.
    pub(super) repeat: Option<Repeat>,
    /// Since when this end takes nothing.
    pub(super) closed_window: Option<Spot>,
    /// Payload that the capture cut off.
    pub(super) cut: u64,
}

impl Flow {
    /// Where in the stream this number is: negative before its begin. The begin is fixed by the first call.
    fn offset(&mut self, seq: u32) -> i64 {
        let base = *self.base.get_or_insert(seq);
        let near = base.wrapping_add(self.high as u32);
        self.high as i64 + i64::from(seq.wrapping_sub(near) as i32)
    }

    /// The number fits what was seen so far: within 32 MiB, or nothing was seen.
    pub(super) fn distance(&self, seq: u32) -> Option<u32> {
        let near = self.base?.wrapping_add(self.high as u32);
        Some((seq.wrapping_sub(near) as i32).unsigned_abs())
    }

    /// The stream begins behind this SYN.
    pub(super) fn begin(&mut self, isn: u32) {
        if self.base.is_none() {
            self.base = Some(isn.wrapping_add(1));
        }
    }

    /// The number with which it began, if that was seen.
    pub(super) fn isn(&self) -> Option<u32> {
        self.base.map(|b| b.wrapping_sub(1))
    }

    /// A segment of this direction; gives where its payload begins.
    pub(super) fn sent(&mut self, spot: Spot, seq: u32, len: u32, captured: usize) -> i64 {
        self.segments += 1;
        self.first.get_or_insert(spot);
        self.last = Some(spot);
        let at = self.offset(seq);
        if len == 0 {
            return at;
        }
        self.data_segments += 1;
        let end = at + i64::from(len);
        // A keepalive's byte lies before what was seen, and is nobody's.
        if end <= 0 || (len == 1 && end == self.high as i64 && self.acked == self.high) {
            return at;
        }
        self.first_data.get_or_insert(spot);
        self.last_data = Some(spot);
        let (from, to) = (at.max(0) as u64, end as u64);
        let fresh = self.cover(from, to);
        self.bytes += fresh;
        if fresh > 0 {
            self.cut += u64::from(len).saturating_sub(captured as u64).min(fresh);
            if self.flying.len() == MAX_FLYING {
                self.flying.pop_front();
            }
            self.flying.push_back((to, len));
        } else {
            self.repeated += 1;
            self.repeats(spot, to, len);
        }
        at
    }

    fn repeats(&mut self, spot: Spot, end: u64, len: u32) {
        if end <= self.acked {
            return;
        }
        match &mut self.repeat {
            Some(r) if r.end == end => {
                r.times = r.times.saturating_add(1);
                r.last = spot;
            }
            // The oldest one is the one that matters.
            Some(r) if r.end < end => {}
            _ => self.repeat = Some(Repeat { end, len, times: 1, first: spot, last: spot }),
        }
    }

    /// Marks a range as seen; gives how much of it was new.
    fn cover(&mut self, from: u64, to: u64) -> u64 {
        let mut fresh = to.saturating_sub(self.high.max(from));
        if from > self.high {
            if self.holes.len() == MAX_HOLES {
                self.holes.remove(0);
            }
            self.holes.push((self.high, from));
        } else if from < self.high && !self.holes.is_empty() {
            let mut left = Vec::with_capacity(self.holes.len() + 1);
            for &(a, b) in &self.holes {
                let (x, y) = (a.max(from), b.min(to));
                if x >= y {
                    left.push((a, b));
                    continue;
                }
                fresh += y - x;
                left.extend([(a, x), (y, b)].into_iter().filter(|(a, b)| a < b));
            }
            left.truncate(MAX_HOLES);
            self.holes = left;
        }
        self.high = self.high.max(to);
        fresh
    }

    /// The peer acknowledges up to `ack`; gives the offset.
    pub(super) fn acknowledged(&mut self, spot: Spot, ack: u32) -> u64 {
        let at = self.offset(ack).max(0) as u64;
        if at > self.acked {
            self.acked = at;
            self.acked_last = Some(spot);
            while let Some(&(end, len)) = self.flying.front().filter(|(end, _)| *end <= at) {
                self.largest_acked = self.largest_acked.max(len);
                let _ = (end, self.flying.pop_front());
            }
            if self.repeat.is_some_and(|r| r.end <= at) {
                self.repeat = None;
            }
        }
        at
    }

    /// A FIN stands at this place of the stream.
    pub(super) fn finished(&mut self, spot: Spot, at: i64) {
        if self.fin.is_none() {
            (self.fin, self.fin_at) = (Some(spot), at.max(0) as u64);
        }
    }

    /// Whether the peer acknowledged everything, the FIN too.
    pub(super) fn fin_acked(&self) -> bool {
        self.fin.is_some() && self.acked > self.fin_at
    }

    /// Bytes that were sent but not captured.
    pub(super) fn missed(&self) -> u64 {
        let holes: u64 = self.holes.iter().map(|(a, b)| b - a).sum();
        let unseen = self.acked.saturating_sub(u64::from(self.fin.is_some())).saturating_sub(self.high);
        holes + unseen
    }

    /// Bytes that were sent and that the peer never acknowledged.
    pub(super) fn unacked(&self) -> u64 {
        self.high.saturating_sub(self.acked)
    }
}

/// A part of a stream, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Bytes(Vec<u8>),
    /// So many bytes were not captured.
    Lost(u64),
}

/// Puts a direction's payload in order.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    next: Option<u64>,
    /// By offset: the bytes, and how many follow that were cut off.
    held: BTreeMap<u64, (Vec<u8>, u64)>,
    size: usize,
    /// The last bytes that were given out, which end at `next`.
    past: VecDeque<u8>,
    /// A repetition said something else than the first copy.
    pub(super) conflict: bool,
}

impl Assembler {
    /// Takes the payload of a segment at `at`; `len` is its length on the wire.
    pub(super) fn push(&mut self, at: i64, payload: &[u8], len: u32) {
        let mut payload = payload;
        let (mut at, mut len) = (at, i64::from(len));
        if len == 0 {
            return;
        }
        if at < 0 {
            let skip = (-at).min(len);
            payload = payload.get(skip as usize..).unwrap_or_default();
            (at, len) = (at + skip, len - skip);
        }
        let start = at.max(0) as u64;
        let next = *self.next.get_or_insert(start);
        self.compare(start, next, payload);
        let old = next.saturating_sub(start).min(len as u64);
        let payload = payload.get(old as usize..).unwrap_or_default();
        let (start, len) = (start + old, len as u64 - old);
        if len == 0 {
            return;
        }
        let cut = len - (payload.len() as u64).min(len);
        if self.held.get(&start).is_some_and(|(b, c)| b.len() as u64 + c >= len) {
            return;
        }
        self.size += payload.len();
        if let Some((before, _)) = self.held.insert(start, (payload.to_vec(), cut)) {
            self.size -= before.len();
        }
    }

    /// The stream is known to begin here.
    pub(super) fn begin(&mut self) {
        self.next.get_or_insert(0);
    }

    /// The next part; what waits for bytes that the peer has acknowledged (up to `acked`) waits in vain.
    pub(super) fn next(&mut self, acked: u64, end_of_capture: bool) -> Option<Piece> {
        let next = self.next?;
        let (&start, _) = self.held.first_key_value()?;
        if start > next {
            let vain = acked >= start || end_of_capture;
            if !vain && self.size <= MAX_HELD && self.held.len() <= MAX_PIECES {
                return None;
            }
            self.advance(start, &[]);
            return Some(Piece::Lost(start - next));
        }
        let (start, (bytes, cut)) = self.held.pop_first()?;
        self.size -= bytes.len();
        let old = (next - start) as usize;
        let fresh = bytes.get(old..).unwrap_or_default().to_vec();
        let end = start + bytes.len() as u64 + cut;
        if !fresh.is_empty() {
            self.advance(next + fresh.len() as u64, &fresh);
            if cut > 0 {
                self.held.insert(end - cut, (Vec::new(), cut));
            }
            return Some(Piece::Bytes(fresh));
        }
        if end <= next {
            return self.next(acked, end_of_capture);
        }
        self.advance(end, &[]);
        Some(Piece::Lost(end - next))
    }

    fn advance(&mut self, to: u64, bytes: &[u8]) {
        self.next = Some(to);
        if bytes.is_empty() {
            self.past.clear();
        }
        self.past.extend(bytes);
        let excess = self.past.len().saturating_sub(PAST);
        self.past.drain(..excess);
    }

    /// Compares what came again with what came first.
    fn compare(&mut self, start: u64, next: u64, payload: &[u8]) {
        let begin = next - self.past.len() as u64;
        let from = start.max(begin);
        let ours = self.past.iter().skip((from - begin) as usize);
        let theirs = payload.get((from - start) as usize..).unwrap_or_default();
        // A keepalive's byte is garbage.
        if payload.len() > 1 && from < next && ours.zip(theirs).any(|(a, b)| a != b) {
            self.conflict = true;
        }
    }

    /// Where the next byte would stand.
    pub(super) fn position(&self) -> u64 {
        self.next.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spot(n: u64) -> Spot {
        Spot { order: n, file: 0, frame: n, at: n }
    }

    #[test]
    fn bytes_are_counted_once_and_holes_are_missed() {
        let mut f = Flow::default();
        f.begin(u32::MAX - 10);
        assert_eq!(f.sent(spot(1), u32::MAX - 9, 20, 20), 0);
        f.sent(spot(2), 30, 5, 5);
        assert_eq!((f.bytes, f.missed(), f.high), (25, 20, 45));
        f.sent(spot(3), 15, 10, 10);
        assert_eq!((f.bytes, f.missed()), (35, 10));
        f.sent(spot(4), 15, 10, 10);
        assert_eq!((f.bytes, f.repeated, f.repeat.unwrap().times), (35, 1, 1));
        assert_eq!(f.acknowledged(spot(5), 25), 40 - 5);
        assert_eq!((f.repeat, f.largest_acked), (None, 20));
    }

    #[test]
    fn what_is_acknowledged_and_not_there_is_lost() {
        let mut a = Assembler::default();
        a.begin();
        a.push(4, b"efgh", 4);
        assert_eq!(a.next(0, false), None);
        assert_eq!(a.next(4, false), Some(Piece::Lost(4)));
        assert_eq!(a.next(4, false), Some(Piece::Bytes(b"efgh".to_vec())));
        a.push(8, b"ij", 5);
        assert_eq!(a.next(0, false), Some(Piece::Bytes(b"ij".to_vec())));
        assert_eq!(a.next(0, false), Some(Piece::Lost(3)));
        a.push(13, b"n", 1);
        assert_eq!(a.next(0, false), Some(Piece::Bytes(b"n".to_vec())));
    }

    #[test]
    fn a_copy_that_says_something_else_is_noticed() {
        let mut a = Assembler::default();
        a.push(0, b"PORT 1,2", 8);
        while a.next(0, false).is_some() {}
        a.push(0, b"PORT 1,2", 8);
        assert!(!a.conflict);
        a.push(0, b"PORT 9,9", 8);
        assert!(a.conflict);
    }

    proptest! {
        #[test]
        fn any_order_gives_the_stream(text in proptest::collection::vec(any::<u8>(), 1..300),
                                      cuts in proptest::collection::vec((0usize..300, 1usize..40), 1..60)) {
            let mut a = Assembler::default();
            let mut f = Flow::default();
            f.begin(99);
            a.begin();
            let mut got = Vec::new();
            let whole = (0..text.len()).step_by(13).map(|i| (i, 13));
            for (n, (from, len)) in cuts.into_iter().chain(whole).enumerate() {
                let from = from.min(text.len() - 1);
                let part = &text[from..(from + len).min(text.len())];
                let at = f.sent(spot(n as u64), 100 + from as u32, part.len() as u32, part.len());
                a.push(at, part, part.len() as u32);
                while let Some(piece) = a.next(0, false) {
                    let Piece::Bytes(b) = piece else { panic!("nothing is lost") };
                    got.extend(b);
                }
            }
            prop_assert_eq!(&got, &text);
            prop_assert_eq!((f.bytes, f.missed(), a.conflict), (text.len() as u64, 0, false));
        }

        #[test]
        fn nothing_that_is_sent_panics(parts in proptest::collection::vec((any::<u32>(), 0u32..70_000, 0usize..30, any::<bool>()), 1..200)) {
            let mut a = Assembler::default();
            let mut f = Flow::default();
            for (n, (seq, len, captured, ack)) in parts.into_iter().enumerate() {
                let captured = captured.min(len as usize);
                let at = f.sent(spot(n as u64), seq, len, captured);
                a.push(at, &[7; 30][..captured], len);
                let acked = if ack { f.acknowledged(spot(n as u64), seq) } else { 0 };
                while a.next(acked, false).is_some() {}
                prop_assert!(a.size <= MAX_HELD + 70_000 && a.held.len() <= MAX_PIECES + 1);
            }
            while a.next(0, true).is_some() {}
            prop_assert!(a.held.is_empty());
            f.missed();
        }
    }
}
