//! ARP (RFC 826), and for one leg who of either family has which MAC address, and the packets that wait for an answer.

use crate::packet::{ETHERTYPE_ARP, addr_at, be16};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use tidegate::time::{Duration, Instant};

const MAX_NEIGHBOURS: usize = 1024;
const MAX_WAITING: usize = 32;
const FRESH: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_millis(500);
const MAX_TRIES: u8 = 4;

/// A MAC address.
pub type Mac = [u8; 6];
/// Everyone.
pub const BROADCAST: Mac = [0xff; 6];

/// What to do for a packet to a neighbour.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Send it there.
    Known(Mac),
    /// Send it there and ask again, the knowledge is old.
    Stale(Mac),
    /// Keep it with [`Neighbours::hold`]; `ask` if a request is to be sent now.
    Unknown { ask: bool },
    /// No room for one more neighbour.
    Full,
}

/// What the passing of time brings about.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Addresses to ask for.
    pub ask: Vec<IpAddr>,
    /// Packets whose neighbour does not answer.
    pub failed: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Neighbour {
    mac: Option<Mac>,
    fresh_until: Instant,
    next_try: Instant,
    tries: u8,
    waiting: Vec<Vec<u8>>,
}

/// The neighbours of one leg.
#[derive(Debug, Default)]
pub struct Neighbours {
    known: BTreeMap<IpAddr, Neighbour>,
    /// Packets dropped because too many waited for one neighbour.
    pub overflow: u64,
}

impl Neighbours {
    /// Where `addr` is.
    pub fn lookup(&mut self, addr: IpAddr, now: Instant) -> Lookup {
        if let Some(n) = self.known.get_mut(&addr) {
            let due = n.next_try <= now;
            return match n.mac {
                Some(mac) if now < n.fresh_until || !due => Lookup::Known(mac),
                Some(mac) => {
                    n.tries += 1;
                    n.next_try = now + RETRY;
                    Lookup::Stale(mac)
                }
                None => Lookup::Unknown { ask: false },
            };
        }
        if self.known.len() >= MAX_NEIGHBOURS {
            return Lookup::Full;
        }
        let fresh =
            Neighbour { mac: None, fresh_until: now, next_try: now + RETRY, tries: 1, waiting: vec![] };
        self.known.insert(addr, fresh);
        Lookup::Unknown { ask: true }
    }

    /// The MAC address of `addr`, if it is known, however old the knowledge is.
    pub fn mac_of(&self, addr: IpAddr) -> Option<Mac> {
        self.known.get(&addr)?.mac
    }

    /// Keeps `packet` until `addr` answers.
    pub fn hold(&mut self, addr: IpAddr, packet: Vec<u8>) {
        match self.known.get_mut(&addr) {
            Some(n) if n.waiting.len() < MAX_WAITING => n.waiting.push(packet),
            _ => self.overflow += 1,
        }
    }

    /// Notes that `addr` is at `mac` and gives back what waited for it. Strangers are noted only if `create`.
    pub fn learn(&mut self, addr: IpAddr, mac: Mac, create: bool, now: Instant) -> Vec<Vec<u8>> {
        let room = self.known.len() < MAX_NEIGHBOURS;
        let fresh = Neighbour { mac: None, fresh_until: now, next_try: now, tries: 0, waiting: vec![] };
        let entry = match self.known.get_mut(&addr) {
            Some(n) => n,
            None if create && room => self.known.entry(addr).or_insert(fresh),
            None => return vec![],
        };
        entry.mac = Some(mac);
        entry.fresh_until = now + FRESH;
        entry.tries = 0;
        std::mem::take(&mut entry.waiting)
    }

    /// Asks again where nobody answered, and gives up after a few times.
    pub fn tick(&mut self, now: Instant) -> Due {
        let mut due = Due::default();
        self.known.retain(|addr, n| {
            if n.tries == 0 || now < n.next_try {
                return true;
            }
            if n.tries >= MAX_TRIES {
                due.failed.append(&mut n.waiting);
                return false;
            }
            n.tries += 1;
            n.next_try = now + RETRY;
            due.ask.push(*addr);
            true
        });
        due
    }
}

/// An ARP message of IPv4 over Ethernet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Request, not reply.
    pub request: bool,
    /// Who speaks.
    pub sender: (Mac, Ipv4Addr),
    /// Who is meant.
    pub target: (Mac, Ipv4Addr),
}

impl Message {
    /// Reads a message (without Ethernet header).
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let b = bytes.first_chunk::<28>()?;
        let kind = be16(b, 6);
        if b[..6] != [0, 1, 8, 0, 6, 4] || !matches!(kind, 1 | 2) {
            return None;
        }
        let mac = |at: usize| [b[at], b[at + 1], b[at + 2], b[at + 3], b[at + 4], b[at + 5]];
        Some(Self { request: kind == 1, sender: (mac(8), addr_at(b, 14)), target: (mac(18), addr_at(b, 24)) })
    }

    /// The whole frame, to be sent to `to`.
    pub fn frame(&self, to: Mac) -> [u8; 42] {
        let mut f = [0u8; 42];
        f[0..6].copy_from_slice(&to);
        f[6..12].copy_from_slice(&self.sender.0);
        f[12..14].copy_from_slice(&ETHERTYPE_ARP.to_be_bytes());
        f[14..20].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
        f[21] = if self.request { 1 } else { 2 };
        f[22..28].copy_from_slice(&self.sender.0);
        f[28..32].copy_from_slice(&self.sender.1.octets());
        f[32..38].copy_from_slice(&self.target.0);
        f[38..42].copy_from_slice(&self.target.1.octets());
        f
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
    const ADDR: IpAddr = IpAddr::V4(V4);
    const MAC: Mac = [2, 0, 0, 0, 0, 9];

    #[test]
    fn packets_wait_for_the_answer_and_come_back_in_order() {
        let mut n = Neighbours::default();
        let t = Instant::from_millis(5);
        assert_eq!(n.lookup(ADDR, t), Lookup::Unknown { ask: true });
        n.hold(ADDR, vec![1]);
        assert_eq!(n.lookup(ADDR, t), Lookup::Unknown { ask: false });
        n.hold(ADDR, vec![2]);
        assert_eq!(n.learn(ADDR, MAC, false, t), vec![vec![1], vec![2]]);
        assert_eq!(n.lookup(ADDR, t), Lookup::Known(MAC));
    }

    #[test]
    fn silence_fails_the_waiting_packets_after_a_few_requests() {
        let mut n = Neighbours::default();
        let mut t = Instant::ZERO;
        assert_eq!(n.lookup(ADDR, t), Lookup::Unknown { ask: true });
        n.hold(ADDR, vec![1]);
        for _ in 1..MAX_TRIES {
            t += RETRY;
            assert_eq!(n.tick(t), Due { ask: vec![ADDR], failed: vec![] });
        }
        t += RETRY;
        assert_eq!(n.tick(t), Due { ask: vec![], failed: vec![vec![1]] });
        assert_eq!(n.lookup(ADDR, t), Lookup::Unknown { ask: true }, "a later packet tries anew");
    }

    #[test]
    fn an_old_entry_serves_while_it_is_asked_for_again() {
        let mut n = Neighbours::default();
        n.learn(ADDR, MAC, true, Instant::ZERO);
        let t = Instant::ZERO + FRESH;
        assert_eq!(n.lookup(ADDR, t), Lookup::Stale(MAC));
        assert_eq!(n.lookup(ADDR, t), Lookup::Known(MAC), "one request at a time");
        n.learn(ADDR, [4; 6], false, t);
        assert_eq!(n.lookup(ADDR, t), Lookup::Known([4; 6]));
    }

    #[test]
    fn strangers_are_bounded() {
        let mut n = Neighbours::default();
        for i in 0..MAX_NEIGHBOURS as u32 {
            n.learn(Ipv4Addr::from_bits(i).into(), MAC, true, Instant::ZERO);
        }
        assert_eq!(n.lookup(ADDR, Instant::ZERO), Lookup::Full);
        assert!(n.learn(ADDR, MAC, true, Instant::ZERO).is_empty());
        assert_eq!(n.known.len(), MAX_NEIGHBOURS);
    }

    #[test]
    fn a_message_survives_its_frame() {
        let m = Message { request: true, sender: (MAC, V4), target: ([0; 6], Ipv4Addr::new(10, 9, 0, 1)) };
        assert_eq!(Message::parse(&m.frame(BROADCAST)[14..]), Some(m));
        assert_eq!(Message::parse(&m.frame(BROADCAST)[15..]), None);
    }
}
