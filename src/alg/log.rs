//! The log of edits of one direction, and the maps between the stream as sent and the stream as delivered.
//!
//! ```text
//!  sent       ────────[ old ]──────────┬──────[ old old ]────────
//!                 delta 0 \   delta -2  \ in     \    delta +3
//!  delivered  ────────[ne]────────[ inserted ]──[ new ]──────────
//! ```
//! Outside of edits a position maps by adding the deltas of the edits in front of it. Inside of one there is no
//! answer, so every map rounds to one of its ends, and its callers say to which.

use std::collections::VecDeque;

/// A replaced range of the stream. One side may be empty: an insertion, a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Where the old bytes began.
    pub(super) o: u64,
    /// Where the new ones begin.
    pub(super) n: u64,
    o_len: u32,
    n_len: u32,
}

impl Bounds {
    pub(super) fn o_end(&self) -> u64 {
        self.o + u64::from(self.o_len)
    }

    pub(super) fn n_end(&self) -> u64 {
        self.n + u64::from(self.n_len)
    }
}

/// To which end of an edit a position inside of it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    Floor,
    Ceil,
}

/// What the sender's bytes of a range became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// They stand as they are, from this position of the delivered stream on.
    Kept { o: u64, n: u64, len: u64 },
    /// They were these, and something else stands for them.
    Edited { o: u64, old: &'a [u8] },
}

/// The log. Empty, it is a few words and no memory besides.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    /// In front of this pair of positions nothing is known any more.
    horizon: (u64, u64),
    /// The newest edit that was acknowledged: its bytes are gone, its bounds serve late D-SACKs.
    last: Option<Bounds>,
    edits: VecDeque<(Bounds, Box<[u8]>)>,
    /// Bytes of what they replaced.
    old: usize,
}

impl Log {
    /// Edits in flight.
    pub(super) fn len(&self) -> usize {
        self.edits.len()
    }

    /// Bytes of memory held beyond the log itself.
    pub(super) fn capacity(&self) -> usize {
        self.edits.capacity() * size_of::<(Bounds, Box<[u8]>)>() + self.old
    }

    /// Bytes of what edits in flight replaced.
    pub(super) fn old(&self) -> usize {
        self.old
    }

    /// Notes that the `old` bytes at `o` are delivered as `n_len` bytes at `n`. `o` and `n` must be the ends of
    /// what is decided so far.
    pub(super) fn push(&mut self, o: u64, old: &[u8], n: u64, n_len: usize) {
        let bounds = Bounds { o, n, o_len: old.len() as u32, n_len: n_len as u32 };
        debug_assert!(self.bounds().last().is_none_or(|b| b.o_end() <= o && b.n_end() <= n));
        self.old += old.len();
        self.edits.push_back((bounds, old.into()));
    }

    /// Where a position of the sent stream is in the delivered one.
    pub(super) fn fwd(&self, pos: u64, round: Round) -> u64 {
        let (mut o, mut n) = self.horizon;
        let pos = pos.max(o);
        for b in self.bounds() {
            if pos >= b.o_end() {
                (o, n) = (b.o_end(), b.n_end());
            } else if pos <= b.o {
                break;
            } else {
                return if round == Round::Floor { b.n } else { b.n_end() };
            }
        }
        n + (pos - o)
    }

    /// Where a position of the delivered stream is in the sent one.
    pub(super) fn rev(&self, pos: u64, round: Round) -> u64 {
        let (mut o, mut n) = self.horizon;
        let pos = pos.max(n);
        for b in self.bounds() {
            if pos >= b.n_end() {
                (o, n) = (b.o_end(), b.n_end());
            } else if pos <= b.n {
                break;
            } else {
                return if round == Round::Floor { b.o } else { b.o_end() };
            }
        }
        o + (pos - n)
    }

    /// A position of the delivered stream, moved to the begin of the edit that it lies in, if it does.
    pub(super) fn whole(&self, pos: u64) -> u64 {
        self.bounds().find(|b| b.n < pos && pos < b.n_end()).map_or(pos, |b| b.n)
    }

    /// Whether the byte of the sent stream at `pos` was replaced.
    pub(super) fn is_edited(&self, pos: u64) -> bool {
        self.bounds().any(|b| b.o <= pos && pos < b.o_end())
    }

    /// From here on, in the sent stream, up to what is acknowledged, nothing is edited.
    pub(super) fn plain_from(&self) -> u64 {
        self.last.map_or(self.horizon.0, |b| b.o_end())
    }

    /// Forgets what the receiver has acknowledged whole.
    pub(super) fn prune(&mut self, acked: u64) {
        while let Some((bounds, _)) = self.edits.front()
            && bounds.n_end() <= acked
        {
            if let Some(last) = self.last.replace(*bounds) {
                self.horizon = (last.o_end(), last.n_end());
            }
            self.old -= self.edits.pop_front().map_or(0, |(_, old)| old.len());
        }
        if self.edits.is_empty() {
            self.edits = VecDeque::new();
        }
    }

    /// The parts of `from..to` of the sent stream, in order. `from` must not be before [`Self::plain_from`], nor
    /// `to` behind what is decided.
    pub(super) fn parts(&self, from: u64, to: u64) -> Vec<Part<'_>> {
        let mut parts = Vec::new();
        let mut at = from;
        for (b, old) in &self.edits {
            if b.o_end() <= at {
                continue;
            }
            if b.o >= to {
                break;
            }
            if b.o > at {
                parts.push(Part::Kept { o: at, n: self.fwd(at, Round::Floor), len: b.o - at });
                at = b.o;
            }
            let end = b.o_end().min(to);
            let range = (at - b.o) as usize..(end - b.o) as usize;
            if end > at {
                parts.push(Part::Edited { o: at, old: old.get(range).unwrap_or_default() });
            }
            at = end;
        }
        if at < to {
            parts.push(Part::Kept { o: at, n: self.fwd(at, Round::Floor), len: to - at });
        }
        parts
    }

    fn bounds(&self) -> impl Iterator<Item = &Bounds> {
        self.last.iter().chain(self.edits.iter().map(|(b, _)| b))
    }
}

#[cfg(test)]
mod tests {
    use super::Round::{Ceil, Floor};
    use super::*;

    /// 30 bytes at 100 became 24 (delta -6), 5 at 200 became 9 (+4), 3 were put in at 300.
    fn log() -> Log {
        let mut log = Log::default();
        log.push(100, &[b'a'; 30], 100, 24);
        log.push(200, &[b'b'; 5], 194, 9);
        log.push(300, &[], 298, 3);
        log
    }

    #[test]
    fn forward_is_exact_outside_and_rounds_inside() {
        let log = log();
        for (o, floor, ceil) in [
            (0, 0, 0),
            (99, 99, 99),
            (100, 100, 100),
            (101, 100, 124),
            (129, 100, 124),
            (130, 124, 124),
            (200, 194, 194),
            (204, 194, 203),
            (205, 203, 203),
            (299, 297, 297),
            (300, 301, 301),
            (301, 302, 302),
        ] {
            assert_eq!((log.fwd(o, Floor), log.fwd(o, Ceil)), (floor, ceil), "{o}");
        }
    }

    #[test]
    fn reverse_is_exact_outside_and_rounds_inside() {
        let log = log();
        for (n, floor, ceil) in [
            (99, 99, 99),
            (100, 100, 100),
            (101, 100, 130),
            (123, 100, 130),
            (124, 130, 130),
            (194, 200, 200),
            (195, 200, 205),
            (203, 205, 205),
            (298, 300, 300),
            (299, 300, 300),
            (301, 300, 300),
            (302, 301, 301),
        ] {
            assert_eq!((log.rev(n, Floor), log.rev(n, Ceil)), (floor, ceil), "{n}");
        }
    }

    /// Nothing of a deleted line is left to acknowledge: its whole is acknowledged with what is in front of it.
    #[test]
    fn a_deletion_is_acknowledged_with_what_is_before_it() {
        let mut log = Log::default();
        log.push(10, b"NOOP\r\n", 10, 0);
        assert_eq!((log.rev(9, Floor), log.rev(10, Floor), log.rev(11, Floor)), (9, 16, 17));
        assert_eq!(
            (log.fwd(10, Floor), log.fwd(13, Floor), log.fwd(13, Ceil), log.fwd(16, Floor)),
            (10, 10, 10, 10)
        );
        log.prune(10);
        assert_eq!((log.len(), log.rev(10, Floor)), (0, 16));
    }

    #[test]
    fn pruning_keeps_the_maps_of_what_can_still_come() {
        let (full, mut log) = (log(), log());
        log.prune(123);
        assert_eq!(log.len(), 3);
        log.prune(124);
        assert_eq!((log.len(), log.plain_from()), (2, 130));
        for p in 0..400 {
            for round in [Floor, Ceil] {
                assert_eq!(
                    (log.fwd(p, round), log.rev(p, round)),
                    (full.fwd(p, round), full.rev(p, round)),
                    "{p}"
                );
            }
        }
        log.prune(203);
        // The second edit is the last known one; what is before the first one's end is before the horizon.
        assert_eq!((log.len(), log.plain_from()), (1, 205));
        for p in 130..400 {
            assert_eq!(log.fwd(p, Floor), full.fwd(p, Floor), "{p}");
        }
        assert_eq!((log.fwd(7, Floor), log.rev(7, Floor)), (124, 130));
        log.prune(u64::MAX);
        assert_eq!((log.len(), log.capacity()), (0, 0));
        assert_eq!((log.fwd(1000, Floor), log.rev(1001, Floor)), (1001, 1000));
    }

    #[test]
    fn parts_show_the_originals() {
        let log = log();
        assert_eq!(
            log.parts(98, 203),
            [
                Part::Kept { o: 98, n: 98, len: 2 },
                Part::Edited { o: 100, old: &[b'a'; 30] },
                Part::Kept { o: 130, n: 124, len: 70 },
                Part::Edited { o: 200, old: b"bbb" },
            ]
        );
        assert_eq!(log.parts(110, 112), [Part::Edited { o: 110, old: b"aa" }]);
        let (before, after) = (Part::Kept { o: 299, n: 297, len: 1 }, Part::Kept { o: 300, n: 301, len: 2 });
        assert_eq!(log.parts(299, 302), [before, after]);
    }

    #[test]
    fn whole_moves_to_the_begin_of_an_edit() {
        let log = log();
        assert_eq!(
            [99, 100, 101, 124, 195, 300, 301].map(|n| log.whole(n)),
            [99, 100, 100, 124, 194, 298, 301]
        );
        assert!(log.is_edited(100) && log.is_edited(129) && !log.is_edited(130) && !log.is_edited(300));
    }
}
