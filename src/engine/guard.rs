//! The loop guard: a packet that we returned and that comes back redirected, again and again.
//!
//! A router that redirects what it gets back from us would make a storm of one packet. Returned packets
//! are remembered by a hash of what a router does not change; one that was returned as often as a host
//! would plausibly repeat it, within a second, is dropped.

use crate::rng::{Keyed, Purpose};
use crate::time::{Duration, Instant};

/// Places; a collision forgets the older packet, which only makes the guard milder.
const PLACES: usize = 1024;
/// Returns of the same packet within [`WINDOW`] that are still believed.
const RETURNS: u8 = 4;
const WINDOW: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    hash: u64,
    since: Instant,
    count: u8,
}

/// Remembers returned packets.
#[derive(Debug)]
pub(super) struct LoopGuard {
    keyed: Keyed,
    places: Vec<Place>,
}

impl LoopGuard {
    pub(super) fn new(keyed: Keyed) -> Self {
        Self { keyed, places: vec![Place::default(); PLACES] }
    }

    /// Whether this IPv4 packet may be returned once more.
    pub(super) fn may_return(&mut self, now: Instant, packet: &[u8]) -> bool {
        let mut head = [0; 60];
        let n = packet.len().min(head.len());
        head[..n].copy_from_slice(&packet[..n]);
        // Time to live and header checksum change at each hop.
        head[8] = 0;
        head[10..12].fill(0);
        let hash = self.keyed.value(Purpose::Salt, &head[..n], packet.len() as u64);
        let place = &mut self.places[hash as usize % PLACES];
        if place.hash != hash || now.since(place.since) >= WINDOW {
            *place = Place { hash, since: now, count: 1 };
            return true;
        }
        place.count = place.count.saturating_add(1);
        place.count <= RETURNS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_that_keeps_coming_back_is_stopped_and_others_are_not() {
        let mut g = LoopGuard::new(Keyed::new([1; 16]));
        let mut p = [0x45; 40];
        let mut passed = 0;
        for ttl in 0..20 {
            p[8] = 60 - ttl;
            p[11] = ttl;
            passed += usize::from(g.may_return(Instant::from_millis(u64::from(ttl)), &p));
        }
        assert_eq!(passed, 4);
        p[20] = 1;
        assert!(g.may_return(Instant::from_millis(21), &p));
        p[20] = 0x45;
        assert!(g.may_return(Instant::from_millis(1100), &p));
    }
}
