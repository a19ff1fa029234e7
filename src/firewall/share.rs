//! How much of a table one source may have.
//!
//! Whoever begins connections may have seven times as many as there is room for yet: one alone gets seven eighths of a
//! table, two seven fifteenths each, and something is always left for who has none (dynamic thresholds, as switches share
//! the memory for their queues by).

use crate::flow::Shares;
use std::net::IpAddr;

/// How many times what is free.
const TIMES: usize = 7;

/// Whether there is room for one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// There is.
    Free,
    /// There is none for anybody.
    Full,
    /// There is none for this source: it has its share.
    Taken,
}

/// A table of a size, and what each source has of it: an IPv4 address, or an IPv6 /64.
#[derive(Debug)]
pub(super) struct Shared {
    size: usize,
    held: Shares,
}

impl Shared {
    pub(super) fn new(size: usize, salt: u64) -> Self {
        Self { size, held: Shares::new(salt) }
    }

    pub(super) fn room(&self, source: IpAddr) -> Room {
        let (free, held) = (self.size.saturating_sub(self.held.total()), self.held.of(source));
        match free {
            _ if held > 0 && held >= TIMES.saturating_mul(free) => Room::Taken,
            0 => Room::Full,
            _ => Room::Free,
        }
    }

    pub(super) fn take(&mut self, source: IpAddr) {
        self.held.take(source);
    }

    pub(super) fn give(&mut self, source: IpAddr) {
        self.held.give(source);
    }

    /// Gives memory back while nobody has anything.
    pub(super) fn shrink(&mut self) {
        self.held.shrink();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    /// How much each of these gets if they take in turn, as much as they can.
    fn greedy(size: usize, hosts: u8) -> (Shared, Vec<usize>) {
        let mut all = Shared::new(size, 7);
        let mut got = vec![0; usize::from(hosts)];
        for n in (0..hosts).cycle().take(size * usize::from(hosts)) {
            if all.room(host(n)) == Room::Free {
                all.take(host(n));
                got[usize::from(n)] += 1;
            }
        }
        (all, got)
    }

    #[test]
    fn greedy_sources_leave_room_for_one_that_has_nothing() {
        for (hosts, each) in [(1, 700), (2, 373), (7, 112)] {
            let (mut all, got) = greedy(800, hosts);
            let fits = got.iter().all(|n| n.abs_diff(each) <= 1);
            assert!(fits, "{hosts}: {got:?}");
            assert_eq!((all.room(host(0)), all.room(host(200))), (Room::Taken, Room::Free));
            // What one gives back another can have.
            all.give(host(0));
            assert_eq!(all.room(host(0)), Room::Free);
        }
    }

    #[test]
    fn who_has_nothing_finds_no_room_only_where_there_is_none() {
        let mut all = Shared::new(4, 7);
        for n in 0..4 {
            assert_eq!(all.room(host(n)), Room::Free);
            all.take(host(n));
        }
        assert_eq!((all.room(host(0)), all.room(host(9))), (Room::Taken, Room::Full));
    }
}
