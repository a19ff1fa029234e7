//! What sessions hold of their lines, and who of them goes when all together hold too much.

use crate::time::{Duration, Instant};
use std::collections::BTreeSet;

/// What a session may always hold: its commands that wait for answers, and a line that is not whole. However small an
/// equal share is, nobody has to go for that.
const LITTLE: usize = 4 << 10;
/// Who holds more than a share and has said nothing for so long goes before who speaks, and before newcomers do.
const PATIENCE: Duration = Duration::from_secs(10);
/// How exactly it is known when they spoke: the order is not made anew with each of their segments.
const GRAIN: Duration = Duration::from_secs(1);

/// The size that somebody holds, as a power of two, and when he spoke last.
type Rank = (u32, Instant);

/// What one session holds.
#[derive(Debug, Default)]
pub(super) struct Part {
    bytes: usize,
    /// Its place among those who hold more than a share.
    rank: Option<Rank>,
}

impl Part {
    /// Whether that is more than a share.
    pub(super) const fn is_much(&self) -> bool {
        self.rank.is_some()
    }
}

/// What all of them hold.
#[derive(Debug)]
pub(super) struct Held {
    total: usize,
    most: usize,
    share: usize,
    /// Those who hold more than a share.
    much: BTreeSet<(u32, Instant, u32)>,
}

impl Held {
    /// So many sessions may hold `most` bytes, or what is [always](LITTLE) theirs if that is more.
    pub(super) fn new(most: usize, sessions: usize) -> Self {
        let sessions = sessions.max(1);
        let share = (most / sessions).max(LITTLE);
        Self { total: 0, most: most.max(share.saturating_mul(sessions)), share, much: BTreeSet::new() }
    }

    /// Bytes.
    pub(super) const fn total(&self) -> usize {
        self.total
    }

    /// Whether it is more than it may be.
    pub(super) const fn is_spent(&self) -> bool {
        self.total > self.most
    }

    /// A session holds so much now, and spoke then. One that is over holds what it holds, but need not go.
    pub(super) fn count(&mut self, number: u32, part: &mut Part, bytes: usize, spoke: Instant, over: bool) {
        self.total = self.total + bytes - part.bytes;
        part.bytes = bytes;
        let rank = (bytes > self.share && !over).then(|| (bytes.ilog2(), spoke));
        let stays = match (part.rank, rank) {
            (Some(old), Some(new)) => old.0 == new.0 && new.1.since(old.1) < GRAIN,
            (old, new) => old == new,
        };
        if stays {
            return;
        }
        if let Some((size, at)) = std::mem::replace(&mut part.rank, rank) {
            self.much.remove(&(size, at, number));
        }
        if let Some((size, at)) = rank {
            self.much.insert((size, at, number));
        }
    }

    /// A session is gone.
    pub(super) fn forget(&mut self, number: u32, mut part: Part) {
        self.count(number, &mut part, 0, Instant::ZERO, true);
    }

    /// Who is to go so that there is room: of those who hold more than a share and have been silent for long, one of the
    /// size of the biggest. There are few sizes, and of each only who has been silent for longest is looked at.
    pub(super) fn goes_first(&self, now: Instant) -> Option<u32> {
        let mut bigger = u32::MAX;
        while let Some(&(size, ..)) = self.much.range(..(bigger, Instant::ZERO, 0)).next_back() {
            let (_, spoke, number) = *self.much.range((size, Instant::ZERO, 0)..).next()?;
            if now.since(spoke) >= PATIENCE {
                return Some(number);
            }
            bigger = size;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sessions that hold this much each, and spoke then (in seconds); 100 may hold 1000 KiB.
    fn held(all: &[(usize, u64)]) -> (Held, Vec<Part>) {
        let mut held = Held::new(1000 << 10, 100);
        let mut parts = Vec::new();
        for (n, (kib, at)) in all.iter().enumerate() {
            let mut part = Part::default();
            held.count(n as u32, &mut part, kib << 10, Instant::from_millis(at * 1000), false);
            parts.push(part);
        }
        (held, parts)
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    #[test]
    fn who_goes_holds_much_and_has_been_silent_for_long() {
        let (mut held, mut parts) = held(&[(10, 0), (11, 0), (300, 20), (400, 21), (200, 3), (150, 2)]);
        assert!(held.is_spent());
        assert_eq!(
            parts.iter().map(Part::is_much).collect::<Vec<_>>(),
            [false, true, true, true, true, true]
        );
        assert_eq!(held.goes_first(at(9)), None);
        let mut gone = Vec::new();
        for now in [12, 12, 13, 13, 29, 30, 31, 100] {
            let Some(n) = held.goes_first(at(now)) else {
                gone.push((now, None));
                continue;
            };
            gone.push((now, Some(n)));
            held.count(n, &mut parts[n as usize], 0, at(0), true);
        }
        // Of the two of one size (128 to 255 KiB) the one that spoke earlier; who holds no more than a share never.
        let order = [
            (12, Some(5)),
            (12, Some(1)),
            (13, Some(4)),
            (13, None),
            (29, None),
            (30, Some(2)),
            (31, Some(3)),
            (100, None),
        ];
        assert_eq!(gone, order);
        assert_eq!(held.total(), 10 << 10);
        held.forget(0, parts.swap_remove(0));
        assert_eq!((held.total(), held.much.len()), (0, 0));
    }

    #[test]
    fn one_silent_session_is_found_among_however_many_that_speak() {
        let mut all = vec![(500, 100); 5000];
        all[3210] = (20, 80);
        let (held, _) = held(&all);
        assert_eq!(held.goes_first(at(95)), Some(3210));
    }

    #[test]
    fn who_speaks_or_lets_go_does_not_go() {
        let (mut held, mut parts) = held(&[(500, 0), (600, 0)]);
        for s in 1..60 {
            held.count(0, &mut parts[0], 500 << 10, at(s), false);
            assert_eq!(held.much.len(), 2);
        }
        held.count(1, &mut parts[1], 10 << 10, at(0), false);
        assert_eq!((held.goes_first(at(68)), held.goes_first(at(69))), (None, Some(0)));
    }

    #[test]
    fn however_many_may_be_there_a_little_is_everybodys() {
        let mut held = Held::new(256 << 20, 1_000_000);
        let mut part = Part::default();
        held.count(0, &mut part, LITTLE, at(0), false);
        assert!(!part.is_much());
        held.count(0, &mut part, LITTLE * 999_999, at(0), false);
        assert!(part.is_much() && !held.is_spent());
    }
}
