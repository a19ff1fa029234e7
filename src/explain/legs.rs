//! The same packet seen at two places, or in two files: counted once.

use super::decode::Segment;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash as _, Hasher as _};

/// Packets that are remembered.
const REMEMBERED: usize = 65_536;
/// Places at which one packet is counted.
const PLACES: usize = 8;
/// How long one packet takes from place to place, at most, in nanoseconds; clocks of two machines may differ.
const APART: u64 = 5_000_000_000;
/// Copies at one place, as `-i any` has them, come together; no retransmission is as fast (RFC 6298 asks for 1 s,
/// Linux waits 200 ms).
const TOGETHER: u64 = 50_000_000;

/// What was seen of packets that look alike.
#[derive(Debug, Default)]
struct Sight {
    first: u64,
    last: u64,
    /// How often at each place.
    counts: Vec<(u64, u32)>,
}

/// Remembers packets.
#[derive(Debug, Default)]
pub(super) struct Legs {
    seen: BTreeMap<u64, Sight>,
    order: VecDeque<u64>,
}

impl Legs {
    /// Whether this packet was seen before at another place, rather than being sent again. `source` tells
    /// files and interfaces apart.
    pub(super) fn is_copy(&mut self, seg: &Segment<'_>, source: u64, at: u64) -> bool {
        let mut hasher = DefaultHasher::new();
        (seg.src, seg.dst, seg.seq, seg.ack, seg.flags, seg.window).hash(&mut hasher);
        (seg.len, seg.id).hash(&mut hasher);
        // Checksums are not compared: a sender's own capture has those that its card was to write.
        seg.payload.get(..seg.payload.len().min(64)).hash(&mut hasher);
        let key = hasher.finish();
        let place = source ^ u64::from(seg.place) << 24;
        let sight = self.seen.entry(key).or_insert_with(|| {
            self.order.push_back(key);
            Sight { first: at, last: at, counts: Vec::new() }
        });
        if at.abs_diff(sight.first) > APART && at.abs_diff(sight.last) > APART {
            *sight = Sight { first: at, last: at, counts: Vec::new() };
        }
        let known = !sight.counts.is_empty();
        let others = sight.counts.iter().filter(|(p, _)| *p != place).map(|(_, n)| *n).max().unwrap_or(0);
        if !sight.counts.iter().any(|(p, _)| *p == place) && sight.counts.len() < PLACES {
            sight.counts.push((place, 0));
        }
        let here = sight.counts.iter_mut().find(|(p, _)| *p == place).map_or(1, |(_, n)| {
            *n = n.saturating_add(1);
            *n
        });
        let twin = known && seg.id != 0 && at.abs_diff(sight.last) < TOGETHER;
        sight.last = at;
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        here <= others || twin
    }
}
