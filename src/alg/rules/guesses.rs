//! Logins that servers refused, by who asked: one that guesses passwords waits longer and longer for the answer, and at
//! last gets none (RFC 2577 section 5). To begin anew, in another session or with another server, does not help.

use crate::time::{Duration, Instant};
use crate::wire::Network;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// So many are known; the one that was refused longest ago gives way.
const MOST: usize = 4096;
/// So long after the last refusal they are as any other.
const MEMORY: Duration = Duration::from_secs(15 * 60);
/// The first refusal that is late is so late; each one after is twice as late.
const FIRST: Duration = Duration::from_secs(1);
/// None is later.
const LATEST: Duration = Duration::from_secs(5);

/// Refused logins of clients. An IPv6 client is its /64, of which a host takes as many addresses as it likes.
#[derive(Debug, Default)]
pub struct Guesses {
    known: BTreeMap<Network, Known>,
    by_age: BTreeSet<(Instant, Network)>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    count: u32,
    last: Instant,
}

impl Guesses {
    /// A client's login was refused. How many were, this one among them.
    pub fn refused(&mut self, now: Instant, client: IpAddr) -> u32 {
        let count = self.count(now, client).saturating_add(1);
        let client = Network::of_client(client);
        if let Some(before) = self.known.remove(&client) {
            self.by_age.remove(&(before.last, client));
        } else if self.known.len() >= MOST
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.known.remove(&oldest);
        }
        self.known.insert(client, Known { count, last: now });
        self.by_age.insert((now, client));
        count
    }

    /// How many logins of a client were refused.
    #[must_use]
    pub fn count(&self, now: Instant, client: IpAddr) -> u32 {
        let known = self.known.get(&Network::of_client(client)).filter(|k| now.since(k.last) < MEMORY);
        known.map_or(0, |k| k.count)
    }

    /// Likewise, if it was just now: never fewer.
    pub(super) fn at_most(&self, client: IpAddr) -> u32 {
        if self.known.is_empty() {
            return 0;
        }
        self.known.get(&Network::of_client(client)).map_or(0, |k| k.count)
    }

    /// How many clients are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

/// How late a refusal is told; the first one that is late has the number 1.
pub(super) fn delay(number: u32) -> Duration {
    (1..number.min(8)).fold(FIRST, |time, _| time + time).min(LATEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    fn ip(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn each_client_has_its_own_count_and_time_ends_it() {
        let mut guesses = Guesses::default();
        let (one, other) = (ip(1), ip(2));
        let mut now = Instant::from_millis(1);
        for n in 1..=3 {
            now += MEMORY - Duration::from_secs(1);
            assert_eq!(guesses.refused(now, one), n);
        }
        assert_eq!((guesses.count(now, one), guesses.count(now, other)), (3, 0));
        now += MEMORY;
        assert_eq!((guesses.count(now, one), guesses.refused(now, one), guesses.len()), (0, 1, 1));
        let six = |host: u128| IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | host));
        guesses.refused(now, six(1));
        assert_eq!(guesses.refused(now, six(1 << 63)), 2);
        assert_eq!(guesses.refused(now, six(1 << 64)), 1);
    }

    #[test]
    fn the_oldest_gives_way() {
        let mut guesses = Guesses::default();
        let time = |n: u32| Instant::from_millis(u64::from(n));
        for n in 0..5000 {
            guesses.refused(time(n), ip(n));
            // Who goes on is not forgotten.
            guesses.refused(time(n), ip(u32::MAX));
            assert!(guesses.len() <= MOST && guesses.by_age.len() == guesses.known.len());
        }
        let now = time(5000);
        assert_eq!((guesses.count(now, ip(u32::MAX)), guesses.count(now, ip(4999))), (5000, 1));
        assert_eq!((guesses.count(now, ip(0)), guesses.len()), (0, MOST));
    }

    #[test]
    fn delays_grow_to_a_bound() {
        let seconds: Vec<u64> =
            [1, 2, 3, 4, 5, 45, u32::MAX].map(|n| delay(n).as_millis() as u64 / 1000).to_vec();
        assert_eq!(seconds, [1, 2, 4, 5, 5, 5, 5]);
    }
}
