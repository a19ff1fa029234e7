//! The loop guard: packets of ours that come back redirected.
//!
//! A router that redirects what it gets from us would make a storm of one packet, and would show us our own
//! segments as an end host's. What we return, and what we send in others' names, is remembered by a hash of
//! what routers do not change on the way. A packet like it that comes redirected, its time to live lower, is
//! ours and is dropped. One that is returned again with the time to live it had is a host's repetition; a
//! router that does not count hops could make a storm of those, so there is a bound to them too.

use crate::rng::{Keyed, Purpose};
use crate::time::{Duration, Instant};

/// Places; a collision forgets the older packet, which only makes the guard milder.
const PLACES: usize = 4096;
/// Returns of the same packet within [`WINDOW`] that are still believed.
const RETURNS: u8 = 4;
const WINDOW: Duration = Duration::from_secs(1);
/// Bytes that are looked at: all headers of a usual segment, and some of what it carries.
const LOOK: usize = 80;

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    hash: u64,
    since: Instant,
    count: u8,
    hops: u8,
}

/// Remembers what was sent.
#[derive(Debug)]
pub(super) struct LoopGuard {
    keyed: Keyed,
    places: Vec<Place>,
}

impl LoopGuard {
    pub(super) fn new(keyed: Keyed) -> Self {
        Self { keyed, places: vec![Place::default(); PLACES] }
    }

    /// Remembers a packet that leaves in somebody else's name.
    pub(super) fn sent(&mut self, now: Instant, packet: &[u8]) {
        let (hash, hops) = self.hash(packet);
        *self.place(hash) = Place { hash, since: now, count: 0, hops };
    }

    /// Whether this packet, which came redirected, left us a moment ago.
    pub(super) fn is_ours(&mut self, now: Instant, packet: &[u8]) -> bool {
        let (hash, hops) = self.hash(packet);
        let place = self.place(hash);
        place.hash == hash && hops < place.hops && now.since(place.since) < WINDOW
    }

    /// Whether this packet may be returned (once more); it is remembered.
    pub(super) fn may_return(&mut self, now: Instant, packet: &[u8]) -> bool {
        if self.is_ours(now, packet) {
            return false;
        }
        let (hash, hops) = self.hash(packet);
        let place = self.place(hash);
        if place.hash != hash || now.since(place.since) >= WINDOW {
            *place = Place { hash, since: now, count: 1, hops };
            return true;
        }
        place.count = place.count.saturating_add(1);
        place.count <= RETURNS
    }

    fn place(&mut self, hash: u64) -> &mut Place {
        &mut self.places[hash as usize % PLACES]
    }

    /// The hash of what stays the same on the way, and the time to live or hop limit.
    fn hash(&self, packet: &[u8]) -> (u64, u8) {
        let mut head = [0; LOOK];
        let n = packet.len().min(LOOK);
        head[..n].copy_from_slice(&packet[..n]);
        let six = head[0] >> 4 == 6;
        let hops = if six { head[7] } else { head[8] };
        // Routers count hops, and may mark a class of service.
        if six {
            head[..4].fill(0);
            head[7] = 0;
        } else {
            head[1] = 0;
            head[8] = 0;
            head[10..12].fill(0);
        }
        (self.keyed.value(Purpose::Salt, &head[..n], packet.len() as u64), hops)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(six: bool, hops: u8) -> [u8; 60] {
        let mut p = [if six { 0x60 } else { 0x45 }; 60];
        p[if six { 7 } else { 8 }] = hops;
        p
    }

    #[test]
    fn a_returned_packet_that_comes_back_is_stopped_at_once_and_a_repeated_one_is_not() {
        for six in [false, true] {
            let mut g = LoopGuard::new(Keyed::new([1; 16]));
            let at = Instant::from_millis;
            assert!(g.may_return(at(0), &packet(six, 60)));
            assert!(!g.may_return(at(1), &packet(six, 59)), "it was around");
            assert!(g.may_return(at(2), &packet(six, 60)), "the host says it again");
            assert!(g.may_return(at(1500), &packet(six, 59)), "the route is another one now");
            let mut other = packet(six, 59);
            other[50] = 1;
            assert!(g.may_return(at(3), &other));
        }
    }

    #[test]
    fn a_router_that_counts_no_hops_makes_no_storm() {
        let mut g = LoopGuard::new(Keyed::new([1; 16]));
        let passed = (0..50).filter(|i| g.may_return(Instant::from_millis(*i), &packet(false, 60))).count();
        assert_eq!(passed, 4);
        assert!(g.may_return(Instant::from_millis(1100), &packet(false, 60)));
    }

    #[test]
    fn what_we_sent_is_ours_also_when_it_was_marked_on_its_way() {
        let mut g = LoopGuard::new(Keyed::new([1; 16]));
        g.sent(Instant::from_millis(0), &packet(false, 64));
        let mut p = packet(false, 63);
        p[1] = 0xb8;
        p[10] = 1;
        assert!(g.is_ours(Instant::from_millis(5), &p));
        assert!(!g.is_ours(Instant::from_millis(5), &packet(false, 64)), "nobody was between");
        assert!(!g.is_ours(Instant::from_millis(1005), &p));
        p[40] ^= 1;
        assert!(!g.is_ours(Instant::from_millis(5), &p));
    }
}
