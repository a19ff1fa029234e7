//! The loop guard: packets of ours that come back redirected.
//!
//! A router that redirects what it gets from us would make a storm of one packet, and would show us our own
//! segments as an end host's. What we return, and what we send in others' names, is remembered by a hash of
//! what routers do not change on the way. A packet like it that comes redirected, its time to live lower, is
//! ours and is dropped.
//!
//! One that is returned again with the time to live it had is a host's repetition (IPv6 has no
//! identification: acknowledgements of one number are alike byte for byte), or goes around at a router that
//! counts no hops. Looks do not tell them apart, a loss does: of a loop nothing comes any more, of a host the
//! next repetition does. So of a packet that keeps coming one copy in many is dropped, the earlier the more
//! its rhythm is that of a link's round trip.

use crate::rng::{Keyed, Purpose};
use crate::time::{Duration, Instant};

/// Places; a collision forgets the older packet, which only makes the guard milder.
const PLACES: usize = 4096;
/// Of so many returns of the same packet that follow each other within [`TRIP`], the next copy is dropped.
const TRIPS: u16 = 32;
/// The longest that a packet takes to a router of our link and back. What comes in one turn has not been
/// there: none of that turn's frames has left yet.
const TRIP: Duration = Duration::from_millis(2);
/// Of so many returns of the same packet, however slow, the next copy is dropped.
const RETURNS: u16 = 256;
/// How long a packet is remembered after it was seen last.
const WINDOW: Duration = Duration::from_secs(1);
/// Bytes that are looked at: all headers of a usual segment, and some of what it carries.
const LOOK: usize = 80;

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    hash: u64,
    /// When it left last.
    left: Instant,
    /// Returns since a copy was dropped, and those of them that followed within a round trip.
    returns: u16,
    trips: u16,
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
        *self.place(hash) = Place { hash, left: now, hops, ..Place::default() };
    }

    /// Whether this packet, which came redirected, left us a moment ago.
    pub(super) fn is_ours(&mut self, now: Instant, packet: &[u8]) -> bool {
        let (hash, hops) = self.hash(packet);
        let place = self.place(hash);
        place.hash == hash && hops < place.hops && now.since(place.left) < WINDOW
    }

    /// Whether this packet may be returned (once more); it is remembered.
    pub(super) fn may_return(&mut self, now: Instant, packet: &[u8]) -> bool {
        if self.is_ours(now, packet) {
            return false;
        }
        let (hash, hops) = self.hash(packet);
        let place = self.place(hash);
        let away = now.since(place.left);
        if place.hash != hash || away >= WINDOW {
            *place = Place { hash, left: now, returns: 1, trips: 0, hops };
            return true;
        }
        place.returns += 1;
        place.trips = match away {
            Duration::ZERO => place.trips,
            short if short <= TRIP => place.trips + 1,
            _ => 0,
        };
        place.left = now;
        if place.trips < TRIPS && place.returns <= RETURNS {
            return true;
        }
        (place.returns, place.trips) = (0, 0);
        false
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

    /// Sends one packet `copies` times around a link that takes `trip` microseconds, until nothing comes any
    /// more: (how often it was returned, when the last copy was gone).
    fn around(copies: u64, trip: u64) -> (usize, Duration) {
        let mut g = LoopGuard::new(Keyed::new([1; 16]));
        let mut under_way: Vec<Instant> = (0..copies).map(|n| Instant::from_nanos(n * 7000)).collect();
        let (mut returns, mut last) = (0, Instant::ZERO);
        while let Some(next) = (0..under_way.len()).min_by_key(|n| under_way[*n]) {
            last = under_way[next];
            if g.may_return(last, &packet(false, 60)) {
                returns += 1;
                under_way[next] = last + Duration::from_micros(trip);
            } else {
                under_way.swap_remove(next);
            }
        }
        (returns, last.since(Instant::ZERO))
    }

    #[test]
    fn a_router_that_counts_no_hops_makes_no_storm() {
        assert_eq!(around(1, 100), (32, Duration::from_micros(3200)));
        assert!(around(1, 20).1 < Duration::from_millis(1));
        let (returns, gone) = around(10, 100);
        assert!(returns <= 320 && gone < Duration::from_millis(10), "{returns} {gone:?}");
        // A link slower than any that we know.
        assert_eq!(around(1, 5000).0, 256);
    }

    #[test]
    fn a_host_may_say_the_same_as_often_as_it_likes() {
        let returned = |apart: u64, at_a_time: u64| {
            let mut g = LoopGuard::new(Keyed::new([1; 16]));
            let at = |n: u64| Instant::from_nanos(n / at_a_time * at_a_time * apart * 1000);
            (0..200).filter(|n| g.may_return(at(*n), &packet(true, 60))).count()
        };
        assert_eq!(returned(5000, 1), 200, "spread over a second");
        assert_eq!(returned(10, 64), 200, "in bursts");
        assert!(returned(50, 1) >= 193, "as fast as a loop: few are lost");
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
