//! Neighbours: which MAC address an on-link address has, by ARP or neighbour discovery. Bounded, retried,
//! sans-IO; who sends and reads the packets is told what to ask for.
//!
//! ```text
//!            ask                    reply
//!  unknown ──────▶ asked (3 × 1 s) ──────▶ known (60 s) ──▶ asked again while still used
//!                    └─ no reply, nor 0.1 s later: unreachable for 5 s
//! ```
//!
//! Where others share the interface, what a neighbour tells all the link is not for us to hear. One that has moved
//! is known by its own frames: they come from another MAC address, and it is asked at once.

use crate::event::What;
use crate::time::{Duration, Instant};
use crate::wire::eth::{Mac, Tags};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

/// How often an address is asked for before it is given up.
const TRIES: u8 = 3;
/// Time between two of these.
const RETRY: Duration = Duration::from_secs(1);
/// How long an answer to the last one is waited for besides, from when its time was seen to be over. After a standstill
/// (a paused machine) that is seen before the answer is read, if it stands behind a burst of other frames.
const GRACE: Duration = Duration::from_millis(100);
/// How long an answer is good; then it is asked again while the old one is used.
const FRESH: Duration = Duration::from_secs(60);
/// How long an address that did not answer is not asked again.
const REST: Duration = Duration::from_secs(5);

/// Changes of neighbours that are not kept that are told in a [`PERIOD`]: a link of IPv6 has more of them than
/// anybody reads.
const TOLD: u32 = 10;
const PERIOD: Duration = Duration::from_secs(1);

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

/// How a neighbour's MAC address was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It asks for us and is on the link: worth an entry of its own.
    Asks,
    /// It says so: good for an address that is known or asked for.
    Says,
    /// It says so, but what is known stands (an advertisement without the override flag, RFC 4861 7.2.5).
    Adds,
}

/// MAC addresses that a neighbour's frames came from, other than the one that it is known by; the latest ones.
#[derive(Debug, Clone, Copy, Default)]
struct Doubts([Option<Mac>; 8]);

impl Doubts {
    fn any(self) -> bool {
        self.0[0].is_some()
    }

    fn has(self, mac: Mac) -> bool {
        self.0.contains(&Some(mac))
    }

    fn with(mut self, mac: Mac) -> Self {
        self.0.rotate_right(1);
        self.0[0] = Some(mac);
        self
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    known: Option<(Mac, Tags, Instant)>,
    /// How often it was asked for without an answer, and one more in its grace; 0 unless it is being asked for.
    tries: u8,
    next: Instant,
    gave_up: bool,
    /// Those that it was asked for the sake of, since it was last asked anyway: it is not asked again for them.
    doubted: Doubts,
}

impl Entry {
    fn asked(known: Option<(Mac, Tags, Instant)>, now: Instant, doubted: Doubts) -> Self {
        Self { known, tries: 1, next: now + RETRY, gave_up: false, doubted }
    }
}

/// The table.
#[derive(Debug)]
pub struct Neighbours {
    /// A tree, because it is small and needs no hash, whose key would have to come from the seed.
    entries: BTreeMap<IpAddr, Entry>,
    limit: usize,
    requests: VecDeque<IpAddr>,
    events: VecDeque<What>,
    /// When the present [`PERIOD`] began, and what was told in it.
    told: (Instant, u32),
    untold: u64,
    /// Entries that are being asked for, so that a look at the time is cheap.
    asking: Vec<IpAddr>,
    /// Addresses that never make room for others.
    kept: Vec<IpAddr>,
}

impl Neighbours {
    /// A table of at most `limit` addresses, and those that are [kept](Self::keep); when it is full, the one heard of longest ago goes.
    pub fn new(limit: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            limit,
            requests: VecDeque::new(),
            events: VecDeque::new(),
            told: (Instant::ZERO, 0),
            untold: 0,
            asking: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// This address, a router's, has a place beyond the limit and never makes room for others: a next hop must not
    /// fall to a flood of neighbours, of which a link of IPv6 has room for more than any table (RFC 6583).
    pub fn keep(&mut self, address: IpAddr) {
        if !self.is_kept(address) {
            self.kept.push(address);
        }
    }

    /// Whether it is kept.
    pub fn is_kept(&self, address: IpAddr) -> bool {
        self.kept.contains(&address)
    }

    /// How to reach `address`, which must be on the link; asks for it if need be.
    pub fn resolve(&mut self, now: Instant, address: IpAddr) -> Resolution {
        if let Some(e) = self.entries.get_mut(&address) {
            if let Some((mac, tags, at)) = e.known {
                if now.since(at) >= FRESH && e.tries == 0 {
                    *e = Entry::asked(e.known, now, Doubts::default());
                    self.ask(address);
                }
                return Resolution::Known(mac, tags);
            }
            if !e.gave_up {
                return Resolution::Asked;
            }
            if now < e.next {
                return Resolution::Unreachable;
            }
        } else if !self.make_room(address) {
            return Resolution::Unreachable;
        }
        self.entries.insert(address, Entry::asked(None, now, Doubts::default()));
        self.ask(address);
        Resolution::Asked
    }

    /// Takes in that a frame of `address`, or one that had to come by it, came from `mac`. If it is known by another
    /// MAC address, it is asked, at most once a second, and the old answer used meanwhile. Where several routers
    /// share the work, frames come from others for good: each of these is a reason once, until it is asked anyway.
    pub fn seen(&mut self, now: Instant, address: IpAddr, mac: Mac) {
        let Some(e) = self.entries.get_mut(&address) else { return };
        let Some((.., at)) = e.known.filter(|k| k.0 != mac && !e.doubted.has(mac)) else { return };
        if e.tries == 0 && now.since(at) >= RETRY {
            *e = Entry::asked(e.known, now, e.doubted.with(mac));
            self.ask(address);
        }
    }

    fn ask(&mut self, address: IpAddr) {
        self.requests.push_back(address);
        self.asking.push(address);
    }

    /// Takes in that `address` is at `mac`. Only addresses that we asked for or that ask for us are learnt.
    pub fn learn(&mut self, now: Instant, address: IpAddr, mac: Mac, tags: Tags, heard: Heard) {
        let known = Some((mac, tags, now));
        if mac[0] & 1 != 0 || address.is_unspecified() {
            return;
        }
        let stranger = !self.entries.contains_key(&address);
        let room = stranger && heard == Heard::Asks && self.make_room(address);
        let before = match self.entries.get_mut(&address) {
            Some(e) => {
                if heard == Heard::Adds && e.known.is_some_and(|(m, ..)| m != mac) {
                    return;
                }
                let before = e.known;
                let same = before.is_some_and(|k| k.0 == mac);
                let doubted = if same { e.doubted } else { Doubts::default() };
                *e = Entry { known, tries: 0, next: now, gave_up: false, doubted };
                self.asking.retain(|a| *a != address);
                before
            }
            None if room => {
                let e = Entry { known, tries: 0, next: now, gave_up: false, doubted: Doubts::default() };
                self.entries.insert(address, e);
                None
            }
            None => return,
        };
        match before {
            None => self.tell(now, address, "resolved"),
            Some((old, ..)) if old != mac => self.tell(now, address, "moved"),
            Some(_) => {}
        }
    }

    fn tell(&mut self, now: Instant, address: IpAddr, state: &'static str) {
        if !self.is_kept(address) {
            if now.since(self.told.0) >= PERIOD {
                self.told = (now, 0);
            }
            if self.told.1 == TOLD {
                self.untold += 1;
                return;
            }
            self.told.1 += 1;
        }
        self.events.push_back(What::Neighbour { address, state });
    }

    /// Changes that were too many to be told.
    pub fn untold(&self) -> u64 {
        self.untold
    }

    /// Makes room for `address`: whoever was heard of longest ago goes, for it can be asked again. False if all
    /// are being asked for.
    fn make_room(&mut self, address: IpAddr) -> bool {
        if self.entries.len() < self.limit || self.is_kept(address) {
            return true;
        }
        let heard = |e: &Entry| e.known.map_or(Instant::ZERO, |k| k.2);
        let oldest = self
            .entries
            .iter()
            .filter(|(a, e)| e.tries == 0 && !self.is_kept(**a))
            .min_by_key(|(_, e)| heard(e))
            .map(|(a, _)| *a);
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
            if e.tries <= TRIES {
                let last = e.tries == TRIES;
                e.tries += 1;
                e.next = now + if last { GRACE } else { RETRY };
                if !last {
                    self.requests.push_back(address);
                }
                i += 1;
                continue;
            }
            self.asking.swap_remove(i);
            if e.doubted.any() {
                // One odd frame is no reason to give up who may not have heard us: its time comes.
                e.tries = 0;
                continue;
            }
            *e = Entry { known: None, tries: 0, next: now + REST, gave_up: true, doubted: Doubts::default() };
            self.tell(now, address, "unreachable");
        }
    }

    /// The next address to send a request for, and the tags that reach it if it is known.
    pub fn poll_request(&mut self) -> Option<(IpAddr, Option<Tags>)> {
        let address = self.requests.pop_front()?;
        let known = self.entries.get(&address).and_then(|e| e.known);
        Some((address, known.map(|k| k.1)))
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<What> {
        self.events.pop_front()
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

    use std::net::Ipv4Addr;

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1));
    const MAC: Mac = [2, 0, 0, 0, 0, 7];
    /// A request for A, which is known without tags.
    const KNOWN: Option<(IpAddr, Option<Tags>)> = Some((A, Some(Tags::NONE)));
    const OTHER: Mac = [2, 0, 0, 0, 0, 8];

    fn says(n: &mut Neighbours, now: Instant, mac: Mac, heard: Heard) {
        n.learn(now, A, mac, Tags::default(), heard);
    }

    #[test]
    fn asked_three_times_then_unreachable_then_asked_again() {
        let mut n = Neighbours::new(4);
        let mut now = Instant::ZERO;
        assert_eq!(n.resolve(now, A), Resolution::Asked);
        assert_eq!(n.poll_timeout(), Some((Instant::ZERO, "neighbour request")), "to be sent at once");
        for _ in 0..3 {
            assert_eq!(n.poll_request(), Some((A, None)));
            assert_eq!(n.poll_request(), None);
            now = n.poll_timeout().unwrap().0;
            n.handle_timeout(now);
        }
        assert_eq!((n.resolve(now, A), n.poll_request()), (Resolution::Asked, None));
        assert_eq!(n.poll_timeout().unwrap().0, now + GRACE);
        now += GRACE;
        n.handle_timeout(now);
        assert_eq!(n.resolve(now, A), Resolution::Unreachable);
        assert_eq!(n.poll_event(), Some(What::Neighbour { address: A, state: "unreachable" }));
        assert_eq!(n.poll_timeout(), None);
        assert_eq!(n.resolve(now + REST, A), Resolution::Asked);
        says(&mut n, now + REST, MAC, Heard::Says);
        assert!(matches!(n.resolve(now + REST, A), Resolution::Known(MAC, _)));
    }

    #[test]
    fn an_old_answer_is_used_while_it_is_asked_again_and_strangers_are_not_learnt() {
        let mut n = Neighbours::new(1);
        says(&mut n, Instant::ZERO, MAC, Heard::Says);
        assert_eq!(n.resolve(Instant::ZERO, A), Resolution::Asked);
        says(&mut n, Instant::ZERO, MAC, Heard::Says);
        let later = Instant::ZERO + FRESH;
        n.poll_request();
        assert!(matches!(n.resolve(later, A), Resolution::Known(..)));
        assert_eq!(n.poll_request(), KNOWN);
        assert_eq!(n.resolve(later, Ipv4Addr::new(10, 9, 0, 9).into()), Resolution::Unreachable);
        for i in 1..=3u64 {
            n.handle_timeout(later + RETRY * i as u32);
        }
        assert!(
            matches!(n.resolve(later + RETRY * 3, A), Resolution::Known(..)),
            "its answer may wait to be read"
        );
        n.handle_timeout(later + RETRY * 3 + GRACE);
        assert_eq!(n.resolve(later + RETRY * 3 + GRACE, A), Resolution::Unreachable);
    }

    #[test]
    fn what_is_known_gives_way_to_the_word_of_its_owner_only() {
        let mut n = Neighbours::new(4);
        says(&mut n, Instant::ZERO, MAC, Heard::Asks);
        says(&mut n, Instant::ZERO, OTHER, Heard::Adds);
        assert!(matches!(n.resolve(Instant::ZERO, A), Resolution::Known(MAC, _)));
        says(&mut n, Instant::ZERO, [1, 0, 0, 0, 0, 1], Heard::Says);
        assert!(matches!(n.resolve(Instant::ZERO, A), Resolution::Known(MAC, _)), "a group's MAC");
        says(&mut n, Instant::ZERO, OTHER, Heard::Says);
        assert!(matches!(n.resolve(Instant::ZERO, A), Resolution::Known(OTHER, _)));
        // An address of the other family is another address.
        let v6: IpAddr = "2001:db8:9::1".parse().unwrap();
        n.learn(Instant::ZERO, v6, MAC, Tags::default(), Heard::Adds);
        assert_eq!(n.resolve(Instant::ZERO, v6), Resolution::Asked);
        n.learn(Instant::ZERO, v6, MAC, Tags::default(), Heard::Adds);
        assert!(matches!(n.resolve(Instant::ZERO, v6), Resolution::Known(MAC, _)));
    }

    #[test]
    fn each_of_several_routers_is_a_reason_once() {
        let mut n = Neighbours::new(4);
        n.keep(A);
        let at = Instant::from_millis;
        says(&mut n, at(0), MAC, Heard::Asks);
        let mut asked = 0;
        for i in 2..60 {
            for third in [8, 9, 10] {
                n.seen(at(i * 1000), A, [2, 0, 0, 0, 0, third]);
            }
            while n.poll_request().is_some() {
                asked += 1;
                says(&mut n, at(i * 1000 + 1), MAC, Heard::Says);
            }
        }
        assert_eq!(asked, 3);
    }

    #[test]
    fn who_sends_from_another_mac_address_is_asked_at_once_and_believed_only_by_its_answer() {
        let mut n = Neighbours::new(4);
        n.keep(A);
        let at = Instant::from_millis;
        says(&mut n, at(0), MAC, Heard::Asks);
        n.seen(at(100), A, OTHER);
        n.seen(at(2000), A, MAC);
        assert_eq!(n.poll_request(), None, "it has only just said where it is; it is where it said");
        n.seen(at(2000), A, OTHER);
        n.seen(at(2001), A, OTHER);
        assert_eq!((n.poll_request(), n.poll_request()), (KNOWN, None));
        assert!(matches!(n.resolve(at(2001), A), Resolution::Known(MAC, _)), "frames alone prove nothing");
        says(&mut n, at(2002), OTHER, Heard::Says);
        assert!(matches!(n.resolve(at(2002), A), Resolution::Known(OTHER, _)));
        let told: Vec<_> = std::iter::from_fn(|| n.poll_event()).collect();
        let event = |state| What::Neighbour { address: A, state };
        assert_eq!(told, [event("resolved"), event("moved")]);
        // It goes back; then two routers share the work, and one of them stays where it is.
        n.seen(at(4000), A, MAC);
        assert_eq!(n.poll_request(), KNOWN);
        says(&mut n, at(4001), OTHER, Heard::Says);
        for i in 5..60 {
            n.seen(at(i * 1000), A, MAC);
        }
        assert_eq!(n.poll_request(), None, "that is known");
        assert!(matches!(n.resolve(at(64_001), A), Resolution::Known(..)));
        assert_eq!(n.poll_request(), KNOWN, "time for the usual question");
        says(&mut n, at(64_002), OTHER, Heard::Says);
        n.seen(at(66_000), A, MAC);
        assert_eq!(n.poll_request(), KNOWN);
        // Nobody answers: the doubt is over, and what was known stands until its time.
        for i in 0..5 {
            n.handle_timeout(at(67_000 + i * 1000));
        }
        assert!(matches!(n.resolve(at(72_000), A), Resolution::Known(OTHER, _)));
        while n.poll_request().is_some() {}
        n.seen(at(72_000), "10.9.0.9".parse().unwrap(), MAC);
        assert_eq!(n.poll_request(), None, "of a stranger");
    }

    #[test]
    fn a_flood_of_changes_is_not_told_line_by_line_and_a_routers_are() {
        let mut n = Neighbours::new(64);
        n.keep(A);
        for i in 0..2000u32 {
            let at = Instant::from_millis(u64::from(i));
            let a = IpAddr::from(Ipv4Addr::from_bits(i + 1));
            n.learn(at, a, OTHER, Tags::default(), Heard::Asks);
            if i % 100 == 50 {
                says(&mut n, at, if i % 200 == 50 { MAC } else { OTHER }, Heard::Asks);
            }
        }
        let all: Vec<_> = std::iter::from_fn(|| n.poll_event()).collect();
        let kept = all.iter().filter(|e| matches!(e, What::Neighbour { address: A, .. })).count();
        assert_eq!((kept, all.len() - kept, n.untold()), (20, 20, 1980));
    }

    #[test]
    fn a_router_has_a_place_when_all_are_being_asked_for() {
        let mut n = Neighbours::new(8);
        n.keep(A);
        for i in 0..100u32 {
            n.resolve(Instant::ZERO, Ipv4Addr::from_bits(i + 1).into());
        }
        assert_eq!(n.resolve(Instant::ZERO, A), Resolution::Asked);
        assert_eq!(n.entries.len(), 9);
    }

    #[test]
    fn a_flood_takes_no_place_of_a_next_hop() {
        let mut n = Neighbours::new(8);
        n.keep(A);
        says(&mut n, Instant::ZERO, MAC, Heard::Asks);
        for i in 0..1000u32 {
            let (at, a) = (Instant::from_millis(u64::from(i)), IpAddr::from(Ipv4Addr::from_bits(i + 1)));
            if i % 2 == 0 {
                n.learn(at, a, OTHER, Tags::default(), Heard::Asks);
            } else {
                n.resolve(at, a);
            }
            assert!(n.entries.len() <= 8);
        }
        assert!(matches!(n.resolve(Instant::from_millis(1000), A), Resolution::Known(MAC, _)));
    }
}
