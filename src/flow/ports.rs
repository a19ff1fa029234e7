//! Own ports for connections that we originate, for each remote end apart; or ports of
//! clients' addresses, for each pair of client and server.
//!
//! A connection's 4-tuple must be free at the remote end as well, where it may be in TIME-WAIT. So a port
//! rests for `hold` after its release, and the port that has rested longest is given next: first those
//! never given (to this remote, as far as it is remembered), beginning at a place that a keyed hash of the
//! remote chooses (as RFC 6056 section 3.3.3 does), then those released, oldest first. Control and data
//! connections share one allocator. A remote is forgotten when all its ports have rested.
//!
//! A port whose connection was never established owes no rest: neither end is in TIME-WAIT. Such ports are
//! used again in the order of their release, after [`SPARE`] others, so that a flood of connections that come
//! to nothing neither uses the range up nor grows what is remembered of it.

use super::key::Salted;
use super::steer::Pair;
use crate::rng::{Keyed, Purpose};
use crate::time::{Duration, Instant};
use core::hash::Hash;
use core::ops::RangeInclusive;
use hashbrown::{HashMap, HashSet};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// How many forgotten-remote candidates an allocation looks at in passing.
const TIDY: usize = 4;

/// Ports of connections that came to nothing are left alone until there are so many toward their remote.
pub const SPARE: usize = 1024;

/// Counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortStats {
    /// Ports given.
    pub given: u64,
    /// Refused because all ports toward the remote are in use or rest.
    pub exhausted: u64,
    /// Refused because there are too many remotes.
    pub remotes_full: u64,
}

/// What ports are kept apart for.
pub trait Remote: Copy + Eq + Hash {
    /// Whether its connections are IPv6.
    fn is_ipv6(&self) -> bool;
    /// What the first port depends on.
    fn bytes(&self) -> Vec<u8>;
}

impl Remote for SocketAddr {
    fn is_ipv6(&self) -> bool {
        Self::is_ipv6(self)
    }

    fn bytes(&self) -> Vec<u8> {
        [&octets(self.ip())[..], &self.port().to_be_bytes()].concat()
    }
}

/// For ports of a client's own address: two clients' never meet.
impl Remote for Pair {
    fn is_ipv6(&self) -> bool {
        self.server.is_ipv6()
    }

    fn bytes(&self) -> Vec<u8> {
        [octets(self.client), octets(self.server)].concat()
    }
}

fn octets(a: IpAddr) -> Vec<u8> {
    match a {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// Gives ports of one range of one or several own addresses.
#[derive(Debug)]
pub struct PortAllocator<R = SocketAddr> {
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
    first: u16,
    /// How many ports the range has.
    span: u32,
    hold: Duration,
    limit: usize,
    keyed: Keyed,
    salt: Salted,
    remotes: HashMap<R, Ports, Salted>,
    /// Remotes that had nothing in use, with the time when all may have rested; each at most once.
    idle: VecDeque<(Instant, R)>,
    /// Ports in use, toward all remotes.
    used: usize,
    stats: PortStats,
}

/// The ports toward one remote.
#[derive(Debug)]
struct Ports {
    /// How many ports were never given.
    fresh: u32,
    start: u32,
    used: HashSet<u32, Salted>,
    released: VecDeque<(Instant, u32)>,
    /// Released without a connection, oldest first.
    spare: VecDeque<u32>,
    queued: bool,
}

impl<R: Remote> PortAllocator<R> {
    /// Gives ports of `range` of each of `addresses`, at most toward `limit` remotes at a time; a released port
    /// rests for `hold`.
    pub fn new(
        addresses: &[IpAddr],
        range: RangeInclusive<u16>,
        hold: Duration,
        limit: usize,
        keyed: Keyed,
    ) -> Self {
        let of = |v6: bool| addresses.iter().copied().filter(|a| a.is_ipv6() == v6).collect();
        let salt = Salted::new(keyed.value(Purpose::Salt, b"ports", 0));
        Self {
            v4: of(false),
            v6: of(true),
            first: *range.start(),
            span: range.len() as u32,
            hold,
            limit,
            keyed,
            salt,
            remotes: HashMap::with_hasher(salt),
            idle: VecDeque::new(),
            used: 0,
            stats: PortStats::default(),
        }
    }

    /// An own address and port for a connection to `remote`; none, counted, if there is none.
    pub fn allocate(&mut self, remote: R, now: Instant) -> Option<SocketAddr> {
        self.tidy(now, TIDY);
        let total = self.own(remote).len() as u32 * self.span;
        if total == 0 {
            self.stats.exhausted += 1;
            return None;
        }
        if !self.remotes.contains_key(&remote) {
            if self.remotes.len() >= self.limit {
                self.stats.remotes_full += 1;
                return None;
            }
            let start = (self.start_of(remote) % u64::from(total)) as u32;
            let used = HashSet::with_hasher(self.salt);
            let (released, spare) = (VecDeque::new(), VecDeque::new());
            let fresh = Ports { fresh: total, start, used, released, spare, queued: false };
            self.remotes.insert(remote, fresh);
        }
        let entry = self.remotes.get_mut(&remote)?;
        let Some(number) = entry.next(total, now, self.hold) else {
            self.stats.exhausted += 1;
            return None;
        };
        entry.used.insert(number);
        self.used += 1;
        self.stats.given += 1;
        self.address_of(remote, number)
    }

    /// Takes back what [`Self::allocate`] gave, to rest from `now` on; false if it was not in use.
    pub fn release(&mut self, remote: R, own: SocketAddr, now: Instant) -> bool {
        let Some(number) = self.number_of(remote, own) else { return false };
        let Some(entry) = self.remotes.get_mut(&remote) else { return false };
        if !entry.used.remove(&number) {
            return false;
        }
        self.used -= 1;
        entry.released.push_back((now, number));
        self.note_idle(remote, now);
        true
    }

    /// As [`Self::release`], for a port whose connection was never established: it need not rest.
    pub fn release_unused(&mut self, remote: R, own: SocketAddr, now: Instant) -> bool {
        let Some(number) = self.number_of(remote, own) else { return false };
        let Some(entry) = self.remotes.get_mut(&remote) else { return false };
        if !entry.used.remove(&number) {
            return false;
        }
        self.used -= 1;
        if entry.used.is_empty() && entry.released.is_empty() {
            // Or connections to ever other remotes would fill the table.
            self.remotes.remove(&remote);
        } else {
            entry.spare.push_back(number);
            self.note_idle(remote, now);
        }
        true
    }

    /// Forgets remotes all of whose ports have rested.
    pub fn expire(&mut self, now: Instant) {
        self.tidy(now, self.idle.len());
        if self.remotes.is_empty() {
            self.remotes.shrink_to_fit();
            self.idle.shrink_to_fit();
        }
    }

    /// When [`Self::expire`] may have something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.idle.front().map(|(at, _)| *at)
    }

    /// How many ports are in use toward a remote.
    pub fn in_use(&self, remote: R) -> usize {
        self.remotes.get(&remote).map_or(0, |entry| entry.used.len())
    }

    /// How many ports are in use toward all remotes together; those that rest are not.
    pub const fn all_in_use(&self) -> usize {
        self.used
    }

    /// How many remotes are remembered.
    pub fn remotes(&self) -> usize {
        self.remotes.len()
    }

    /// Counts since the start.
    pub const fn stats(&self) -> PortStats {
        self.stats
    }

    /// A remote toward which nothing is in use is looked at when its ports may have rested.
    fn note_idle(&mut self, remote: R, now: Instant) {
        if let Some(entry) = self.remotes.get_mut(&remote)
            && entry.used.is_empty()
            && !entry.queued
        {
            entry.queued = true;
            self.idle.push_back((now + self.hold, remote));
        }
    }

    fn tidy(&mut self, now: Instant, at_most: usize) {
        for _ in 0..at_most {
            let Some((_, remote)) = self.idle.pop_front_if(|(at, _)| *at <= now) else { return };
            let Some(entry) = self.remotes.get_mut(&remote) else { continue };
            entry.queued = false;
            let rested = entry.released.back().map(|(at, _)| *at + self.hold);
            match rested {
                _ if !entry.used.is_empty() => {}
                Some(at) if at > now => {
                    entry.queued = true;
                    self.idle.push_back((at, remote));
                }
                _ => {
                    self.remotes.remove(&remote);
                }
            }
        }
    }

    fn own(&self, remote: R) -> &[IpAddr] {
        if remote.is_ipv6() { &self.v6 } else { &self.v4 }
    }

    /// Neighbouring numbers are of different addresses, so that all are used.
    fn address_of(&self, remote: R, number: u32) -> Option<SocketAddr> {
        let own = self.own(remote);
        let count = own.len() as u32;
        let address = own.get(number.checked_rem(count)? as usize)?;
        Some(SocketAddr::new(*address, self.first + (number / count) as u16))
    }

    fn number_of(&self, remote: R, own: SocketAddr) -> Option<u32> {
        let addresses = self.own(remote);
        let which = addresses.iter().position(|a| *a == own.ip())? as u32;
        let port = u32::from(own.port().checked_sub(self.first)?);
        (port < self.span).then_some(port * addresses.len() as u32 + which)
    }

    fn start_of(&self, remote: R) -> u64 {
        self.keyed.value(Purpose::Port, &remote.bytes(), 0)
    }
}

impl Ports {
    /// The number that has been unused longest, as far as it may be used.
    fn next(&mut self, total: u32, now: Instant, hold: Duration) -> Option<u32> {
        if self.spare.len() >= SPARE {
            return self.spare.pop_front();
        }
        if self.fresh > 0 {
            let given = total - self.fresh;
            self.fresh -= 1;
            return Some((self.start + given) % total);
        }
        let rested = self.released.pop_front_if(|(at, _)| now >= *at + hold).map(|(_, number)| number);
        rested.or_else(|| self.spare.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const HOLD: Duration = Duration::from_secs(60);

    fn remote(n: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, n], 21))
    }

    fn allocator(addresses: u8, ports: u16, limit: usize) -> PortAllocator {
        let own: Vec<IpAddr> = (1..=addresses).map(|n| IpAddr::from([10, 9, 0, n])).collect();
        PortAllocator::new(&own, 40000..=40000 + (ports - 1), HOLD, limit, Keyed::new([5; 16]))
    }

    fn secs(s: u64) -> Instant {
        Instant::from_millis(s * 1000)
    }

    #[test]
    fn all_ports_of_all_addresses_are_given_once_then_the_oldest_rested() {
        let mut ports = allocator(2, 3, 9);
        let mut given: Vec<_> = (0..6).map(|_| ports.allocate(remote(1), secs(0)).expect("free")).collect();
        assert_eq!(ports.allocate(remote(1), secs(0)), None);
        assert_eq!(ports.stats().exhausted, 1);
        assert!(ports.allocate(remote(2), secs(0)).is_some(), "another remote has its own");
        assert!(ports.release(remote(1), given[4], secs(1)));
        assert!(ports.release(remote(1), given[2], secs(2)));
        assert!(!ports.release(remote(1), given[2], secs(2)));
        assert_eq!(ports.allocate(remote(1), secs(60)), None);
        assert_eq!(ports.allocate(remote(1), secs(62)), Some(given[4]));
        assert_eq!(ports.allocate(remote(1), secs(62)), Some(given[2]));
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), 6);
        assert!(!ports.release(remote(1), SocketAddr::from(([10, 9, 0, 9], 40000)), secs(3)));
        assert!(!ports.release(remote(1), SocketAddr::from(([10, 9, 0, 1], 39999)), secs(3)));
    }

    #[test]
    fn remotes_are_bounded_and_forgotten_when_rested() {
        let mut ports = allocator(1, 4, 2);
        let a = ports.allocate(remote(1), secs(0)).expect("free");
        ports.allocate(remote(2), secs(0)).expect("free");
        assert_eq!(ports.allocate(remote(3), secs(0)), None);
        assert_eq!(ports.stats().remotes_full, 1);
        assert!(ports.release(remote(1), a, secs(10)));
        assert_eq!(ports.next_deadline(), Some(secs(70)));
        ports.expire(secs(69));
        assert_eq!(ports.remotes(), 2);
        ports.expire(secs(70));
        assert_eq!((ports.remotes(), ports.next_deadline()), (1, None));
        assert!(ports.allocate(remote(3), secs(70)).is_some());
        assert_eq!(ports.allocate("[::1]:21".parse().expect("literal"), secs(70)), None);
    }

    #[test]
    fn a_remote_used_again_while_it_rests_is_not_forgotten() {
        let mut ports = allocator(1, 4, 2);
        for t in 0..100 {
            let a = ports.allocate(remote(1), secs(t * 30)).expect("four ports, two rest");
            assert!(ports.release(remote(1), a, secs(t * 30 + 1)));
            ports.expire(secs(t * 30 + 2));
            assert_eq!((ports.remotes(), ports.idle.len()), (1, 1));
        }
    }

    #[test]
    fn what_came_to_nothing_owes_no_rest_and_is_not_remembered_without_end() {
        let mut ports = allocator(1, 4000, 2);
        let kept = ports.allocate(remote(1), secs(0)).expect("free");
        let mut given = vec![];
        for _ in 0..20_000 {
            let own = ports.allocate(remote(1), secs(1)).expect("free");
            given.push(own);
            assert!(ports.release_unused(remote(1), own, secs(1)));
            assert!(!ports.release_unused(remote(1), own, secs(1)));
        }
        for (at, own) in given.iter().enumerate() {
            assert!(*own != kept, "given twice");
            let again = given[at + 1..].iter().position(|o| o == own);
            assert!(again.is_none_or(|n| n + 1 >= SPARE), "used again after {again:?} others");
        }
        // Beside it a port that had a connection rests.
        assert!(ports.release(remote(1), kept, secs(2)));
        assert!((0..4000).all(|_| ports.allocate(remote(1), secs(3)) != Some(kept)));
        assert_eq!(ports.allocate(remote(1), secs(62)), Some(kept));
        // A remote to which nothing came about is forgotten.
        for n in 3..100 {
            let own = ports.allocate(remote(n), secs(62)).expect("there is place for one more remote");
            assert!(ports.release_unused(remote(n), own, secs(62)));
        }
        assert_eq!(ports.remotes(), 1);
    }

    #[test]
    fn a_small_range_is_used_up_by_connections_only() {
        let mut ports = allocator(1, 3, 2);
        let kept = ports.allocate(remote(1), secs(0)).expect("free");
        for _ in 0..10 {
            let two = [1, 2].map(|_| ports.allocate(remote(1), secs(1)).expect("free"));
            assert_eq!(ports.allocate(remote(1), secs(1)), None);
            assert!(two.iter().all(|own| ports.release_unused(remote(1), *own, secs(1))));
        }
        let last = ports.allocate(remote(1), secs(1)).expect("free");
        assert!(ports.release(remote(1), kept, secs(1)) && ports.release_unused(remote(1), last, secs(2)));
        ports.expire(secs(61));
        ports.expire(secs(62));
        assert_eq!(ports.remotes(), 0);
    }

    proptest! {
        #[test]
        fn no_port_is_given_twice_or_before_it_has_rested(
            steps in prop::collection::vec((0u8..5, 1u8..4, 0u64..20, any::<prop::sample::Index>()), 1..200)
        ) {
            let mut ports = allocator(2, 4, 2);
            let mut used: Vec<(SocketAddr, SocketAddr)> = Vec::new();
            let mut rested: BTreeMap<(SocketAddr, SocketAddr), Instant> = BTreeMap::new();
            let mut now = Instant::ZERO;
            for (take, n, ahead, which) in steps {
                now += Duration::from_secs(ahead);
                if take < 3 {
                    if let Some(own) = ports.allocate(remote(n), now) {
                        prop_assert!(!used.contains(&(remote(n), own)));
                        if let Some(at) = rested.get(&(remote(n), own)) {
                            prop_assert!(now >= *at + HOLD);
                        }
                        used.push((remote(n), own));
                    }
                } else if !used.is_empty() {
                    let (to, own) = used.swap_remove(which.index(used.len()));
                    if take == 3 {
                        prop_assert!(ports.release(to, own, now));
                        rested.insert((to, own), now);
                    } else {
                        prop_assert!(ports.release_unused(to, own, now));
                    }
                }
                prop_assert!(ports.remotes() <= 2);
            }
        }
    }
}
