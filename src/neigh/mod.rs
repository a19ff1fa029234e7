//! Neighbours: which MAC address an on-link address has. Bounded, retried, sans-IO.
//!
//! ```text
//!            ask                    reply
//!  unknown ──────▶ asked (3 × 1 s) ──────▶ known (60 s) ──▶ asked again while still used
//!                    └─ no reply: unreachable for 5 s
//! ```

use crate::event::What;
use crate::time::{Duration, Instant};
use crate::wire::arp::Arp;
use crate::wire::eth::{Mac, Tags};
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

/// How often an address is asked for before it is given up.
const TRIES: u8 = 3;
/// Time between two of these.
const RETRY: Duration = Duration::from_secs(1);
/// How long an answer is good; then it is asked again while the old one is used.
const FRESH: Duration = Duration::from_secs(60);
/// How long an address that did not answer is not asked again.
const REST: Duration = Duration::from_secs(5);

/// What is known of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Send there, with these tags.
    Known(Mac, Tags),
    /// An answer is awaited: keep the packet or drop it.
    Asked,
    /// It does not answer.
    Unreachable,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    known: Option<(Mac, Tags, Instant)>,
    tries: u8,
    next: Instant,
    gave_up: bool,
}

/// The table.
#[derive(Debug)]
pub struct Neighbours {
    /// A tree, because it is small and needs no hash, whose key would have to come from the seed.
    entries: BTreeMap<Ipv4Addr, Entry>,
    limit: usize,
    requests: VecDeque<Ipv4Addr>,
    events: Vec<What>,
    /// Entries that are being asked for, so that a look at the time is cheap.
    asking: Vec<Ipv4Addr>,
}

impl Neighbours {
    /// A table of at most `limit` addresses; when it is full, the one heard of longest ago goes.
    pub fn new(limit: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            limit,
            requests: VecDeque::new(),
            events: Vec::new(),
            asking: Vec::new(),
        }
    }

    /// How to reach `address`, which must be on the link; asks for it if need be.
    pub fn resolve(&mut self, now: Instant, address: Ipv4Addr) -> Resolution {
        if let Some(e) = self.entries.get_mut(&address) {
            if let Some((mac, tags, at)) = e.known {
                if now.since(at) >= FRESH && e.tries == 0 {
                    e.tries = 1;
                    e.next = now + RETRY;
                    self.requests.push_back(address);
                    self.asking.push(address);
                }
                return Resolution::Known(mac, tags);
            }
            if !e.gave_up {
                return Resolution::Asked;
            }
            if now < e.next {
                return Resolution::Unreachable;
            }
        } else if !self.make_room() {
            return Resolution::Unreachable;
        }
        self.entries.insert(address, Entry { known: None, tries: 1, next: now + RETRY, gave_up: false });
        self.requests.push_back(address);
        self.asking.push(address);
        Resolution::Asked
    }

    /// Takes in an ARP packet. Only addresses that we asked for or that ask for us are learnt; `asks_for_us`
    /// must be false for senders that are not on the link.
    pub fn learn(&mut self, now: Instant, arp: &Arp, tags: Tags, asks_for_us: bool) {
        let known = Some((arp.sender_mac, tags, now));
        if arp.sender_mac[0] & 1 != 0 || arp.sender.is_unspecified() {
            return;
        }
        let stranger = !self.entries.contains_key(&arp.sender);
        let room = stranger && asks_for_us && self.make_room();
        match self.entries.get_mut(&arp.sender) {
            Some(e) => {
                if e.known.is_none() {
                    self.events.push(What::Neighbour { address: arp.sender.into(), state: "resolved" });
                }
                *e = Entry { known, tries: 0, next: now, gave_up: false };
                self.asking.retain(|a| *a != arp.sender);
            }
            None if room => {
                self.entries.insert(arp.sender, Entry { known, tries: 0, next: now, gave_up: false });
                self.events.push(What::Neighbour { address: arp.sender.into(), state: "resolved" });
            }
            None => {}
        }
    }

    /// Makes room for one: whoever was heard of longest ago goes, for it can be asked again. False if all are
    /// being asked for.
    fn make_room(&mut self) -> bool {
        if self.entries.len() < self.limit {
            return true;
        }
        let heard = |e: &Entry| e.known.map_or(Instant::ZERO, |k| k.2);
        let asked = |a: &Ipv4Addr| self.asking.contains(a);
        let oldest =
            self.entries.iter().filter(|(a, _)| !asked(a)).min_by_key(|(_, e)| heard(e)).map(|(a, _)| *a);
        oldest.is_some_and(|address| self.entries.remove(&address).is_some())
    }

    /// Repeats requests that are due and gives up those that have been repeated enough.
    pub fn handle_timeout(&mut self, now: Instant) {
        let mut i = 0;
        while let Some(&address) = self.asking.get(i) {
            let Some(e) = self.entries.get_mut(&address) else {
                self.asking.swap_remove(i);
                continue;
            };
            if e.next > now {
                i += 1;
                continue;
            }
            if e.tries < TRIES {
                e.tries += 1;
                e.next = now + RETRY;
                self.requests.push_back(address);
                i += 1;
                continue;
            }
            *e = Entry { known: None, tries: 0, next: now + REST, gave_up: true };
            self.events.push(What::Neighbour { address: address.into(), state: "unreachable" });
            self.asking.swap_remove(i);
        }
    }

    /// The next address to send a request for.
    pub fn poll_request(&mut self) -> Option<Ipv4Addr> {
        self.requests.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<What> {
        (!self.events.is_empty()).then(|| self.events.remove(0))
    }

    /// When [`handle_timeout`](Self::handle_timeout) or [`poll_request`](Self::poll_request) is next due.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        if !self.requests.is_empty() {
            return Some((Instant::ZERO, "neighbour request"));
        }
        let at = self.asking.iter().filter_map(|a| self.entries.get(a)).map(|e| e.next).min()?;
        Some((at, "neighbour request"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

    fn reply(mac: u8) -> Arp {
        Arp { request: false, sender_mac: [2, 0, 0, 0, 0, mac], sender: A, target_mac: [0; 6], target: A }
    }

    #[test]
    fn asked_three_times_then_unreachable_then_asked_again() {
        let mut n = Neighbours::new(4);
        let mut now = Instant::ZERO;
        assert_eq!(n.resolve(now, A), Resolution::Asked);
        assert_eq!(n.poll_timeout(), Some((Instant::ZERO, "neighbour request")), "to be sent at once");
        for _ in 0..3 {
            assert_eq!(n.poll_request(), Some(A));
            assert_eq!(n.poll_request(), None);
            now = n.poll_timeout().unwrap().0;
            n.handle_timeout(now);
        }
        assert_eq!(n.resolve(now, A), Resolution::Unreachable);
        assert_eq!(n.poll_event(), Some(What::Neighbour { address: A.into(), state: "unreachable" }));
        assert_eq!(n.poll_timeout(), None);
        assert_eq!(n.resolve(now + REST, A), Resolution::Asked);
        n.learn(now + REST, &reply(7), Tags::default(), false);
        assert!(matches!(n.resolve(now + REST, A), Resolution::Known([2, 0, 0, 0, 0, 7], _)));
    }

    #[test]
    fn an_old_answer_is_used_while_it_is_asked_again_and_strangers_are_not_learnt() {
        let mut n = Neighbours::new(1);
        n.learn(Instant::ZERO, &reply(7), Tags::default(), false);
        assert_eq!(n.resolve(Instant::ZERO, A), Resolution::Asked);
        n.learn(Instant::ZERO, &reply(7), Tags::default(), false);
        let later = Instant::ZERO + FRESH;
        n.poll_request();
        assert!(matches!(n.resolve(later, A), Resolution::Known(..)));
        assert_eq!(n.poll_request(), Some(A));
        assert_eq!(n.resolve(later, Ipv4Addr::new(10, 9, 0, 9)), Resolution::Unreachable);
        for i in 1..=3u64 {
            n.handle_timeout(later + RETRY * i as u32);
        }
        assert_eq!(n.resolve(later + RETRY * 3, A), Resolution::Unreachable);
    }
}
