//! What is not TCP: UDP, ICMP queries, and other protocols, as long as both ends, or one, have something to say.

use super::nat::Plan;
use super::packet::{Emit, Refused, Side};
use super::policy::Begin;
use super::settings::{Action, Timers};
use super::share::{Room, Shared};
use super::state::{Firewall, Timer, Went};
use super::tcp::Passing;
use crate::flow::{Salted, Slab, TimerId};
use crate::time::{Duration, Instant};
use crate::wire::checksum::{add, delta16, patch};
use crate::wire::{IpPacket, Network, proto, udp};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};

/// A connection.
#[derive(Debug)]
struct Other {
    begin: Begin,
    plan: Plan,
    timer: TimerId,
    /// The other end has said something as well.
    answered: bool,
    /// Tells connections of one number apart.
    ordinal: u64,
}

/// Packets of one direction, as they come.
type Key = (Side, u8, SocketAddr, SocketAddr);

/// Connections that are not TCP.
#[derive(Debug)]
pub(super) struct Others {
    items: Slab<Other>,
    /// By what comes of who began it, and of the other end.
    keys: HashMap<Key, (u32, bool), Salted>,
    /// What each source has of them.
    shared: Shared,
    /// Such as nobody answered, oldest first; they may have gone since, or been answered.
    unanswered: VecDeque<(u32, u64)>,
    ordinal: u64,
}

impl Others {
    pub(super) fn new(limit: usize, salt: u64) -> Self {
        Self {
            items: Slab::default(),
            keys: HashMap::with_hasher(Salted::new(salt)),
            shared: Shared::new(limit, salt),
            unanswered: VecDeque::new(),
            ordinal: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Where packets of this direction go, and the ends that they get.
    pub(super) fn find(
        &self,
        from: Side,
        proto: u8,
        src: SocketAddr,
        dst: SocketAddr,
    ) -> Option<(u32, Side, SocketAddr, SocketAddr)> {
        let (id, answers) = *self.keys.get(&(from, proto, src, dst))?;
        let it = self.items.get(id)?;
        Some(if answers {
            (id, it.begin.from, it.begin.dst, it.begin.src)
        } else {
            (id, it.plan.to, it.plan.src, it.plan.dst)
        })
    }

    /// The oldest that nobody answered, if it is of this source, or of any.
    fn may_give_way(&mut self, of: Option<IpAddr>) -> Option<u32> {
        while let Some((id, ordinal)) = self.unanswered.front().copied() {
            let waits = self.items.get(id).filter(|it| it.ordinal == ordinal && !it.answered);
            let own = |it: &Other| of.is_none_or(|a| same_source(a, it.begin.src.ip()));
            match waits {
                Some(it) if !own(it) => return None,
                waits => {
                    let found = waits.is_some();
                    self.unanswered.pop_front();
                    if found {
                        return Some(id);
                    }
                }
            }
        }
        None
    }

    /// Keeps the list of the unanswered as short as there are connections.
    fn trim(&mut self) {
        if self.unanswered.len() > 64 + 2 * self.items.len() {
            let items = &self.items;
            self.unanswered.retain(|(id, ordinal)| {
                items.get(*id).is_some_and(|it| it.ordinal == *ordinal && !it.answered)
            });
        }
    }
}

/// Whether two addresses are one source to the tables.
pub(super) fn same_source(a: IpAddr, b: IpAddr) -> bool {
    Network::of_client(a) == Network::of_client(b)
}

impl<W: Copy + Eq + Debug> Firewall<W> {
    /// A packet that is neither TCP nor ICMP.
    pub(super) fn other(&mut self, p: &mut Passing<'_, W>, out: &mut Vec<Emit<W>>) -> Went {
        let (it, readable) = begins(p.from, p.bytes, p.ip);
        if !readable && self.nat.concerns(&it) {
            return Went::Refuse(Refused::Malformed);
        }
        self.exchange(p, &it, true, out)
    }

    /// Whether a rule, not the default, is about a packet that is neither TCP nor ICMP.
    pub fn is_ruled(&self, from: Side, bytes: &[u8], ip: &IpPacket) -> bool {
        self.settings.filter.decide(&begins(from, bytes, ip).0).rule.is_some()
    }

    /// A packet whose ends are known; `begins` tells whether it may begin something.
    pub(super) fn exchange(
        &mut self,
        p: &mut Passing<'_, W>,
        it: &Begin,
        begins: bool,
        out: &mut Vec<Emit<W>>,
    ) -> Went {
        if let Some((id, to, src, dst)) = self.others.find(it.from, it.proto, it.src, it.dst) {
            let until = p.now + patience(it.proto, &self.settings.timers);
            if let Some(known) = self.others.items.get_mut(id) {
                known.answered |= known.begin != *it;
                self.wheel.rearm(known.timer, until);
            }
            return Went::Pass { to, changed: translate(p.bytes, p.ip, it, src, dst) };
        }
        if !begins {
            return self.unknown(it);
        }
        let decision = self.settings.filter.decide(it);
        self.rules.hit(decision.rule);
        if decision.action != Action::Allow {
            return self.refuse(p, it, decision, out);
        }
        let plan = match self.nat.plan(p.now, it) {
            Ok(plan) => plan,
            Err(why) => return Went::Refuse(why),
        };
        let why = match self.remember(p.now, it, plan) {
            Ok(()) => {
                let changed = translate(p.bytes, p.ip, it, plan.src, plan.dst);
                return Went::Pass { to: plan.to, changed };
            }
            Err(why) => why,
        };
        self.no_room(why);
        if let Some(lease) = &plan.lease {
            self.nat.release(p.now, lease, true);
        }
        // Where answers pass by themselves nobody misses what is not remembered.
        if self.passes_unread(it) {
            return Went::Pass { to: plan.to, changed: false };
        }
        Went::Refuse(why)
    }

    /// A connection enters the table. If that is full, what nobody answered gives way, the oldest first; for a source that
    /// has its share only what is its own.
    fn remember(&mut self, now: Instant, it: &Begin, plan: Plan) -> Result<(), Refused> {
        let there = (it.from, it.proto, it.src, it.dst);
        let back = (plan.to, it.proto, plan.dst, plan.src);
        if there == back || self.others.keys.contains_key(&back) {
            return Err(Refused::Full);
        }
        let source = it.src.ip();
        let gives_way = match self.others.shared.room(source) {
            Room::Free => None,
            Room::Full => Some(self.others.may_give_way(None).ok_or(Refused::Full)?),
            Room::Taken => Some(self.others.may_give_way(Some(source)).ok_or(Refused::Share)?),
        };
        if let Some(id) = gives_way {
            self.counters.gave_way += 1;
            self.other_ends(now, id);
        }
        let others = &mut self.others;
        let id = others.items.next_index();
        let until = now + patience(it.proto, &self.settings.timers);
        let Some(timer) = self.wheel.insert(until, Timer::Other(id)) else { return Err(Refused::Full) };
        others.ordinal += 1;
        let ordinal = others.ordinal;
        others.items.insert(Other { begin: *it, plan, timer, answered: false, ordinal });
        others.keys.insert(there, (id, false));
        others.keys.insert(back, (id, true));
        others.shared.take(source);
        others.unanswered.push_back((id, ordinal));
        others.trim();
        self.counters.others += 1;
        Ok(())
    }

    /// A connection was silent for long enough, or gives its place to another.
    pub(super) fn other_ends(&mut self, now: Instant, id: u32) {
        let Some(it) = self.others.items.remove(id) else { return };
        let Other { begin, plan, timer, .. } = it;
        self.wheel.cancel(timer);
        self.others.shared.give(begin.src.ip());
        self.others.keys.remove(&(begin.from, begin.proto, begin.src, begin.dst));
        self.others.keys.remove(&(plan.to, begin.proto, plan.dst, plan.src));
        if let Some(lease) = &plan.lease {
            self.nat.release(now, lease, true);
        }
        if self.others.items.is_empty() {
            self.others.items.shrink();
            self.others.keys.shrink_to_fit();
            self.others.shared.shrink();
            self.others.unanswered = VecDeque::new();
        }
    }
}

/// What a packet begins if it begins something, and whether its ports could be read.
fn begins(from: Side, bytes: &[u8], ip: &IpPacket) -> (Begin, bool) {
    let ports = match ip.proto {
        proto::UDP => udp::parse(bytes, ip).map(|d| (d.src_port, d.dst_port)),
        _ => Some((0, 0)),
    };
    let (sport, dport) = ports.unwrap_or_default();
    let (src, dst) = (SocketAddr::new(ip.src, sport), SocketAddr::new(ip.dst, dport));
    (Begin { from, proto: ip.proto, src, dst }, ports.is_some())
}

const fn patience(protocol: u8, timers: &Timers) -> Duration {
    match protocol {
        proto::ICMP | proto::ICMPV6 => timers.icmp,
        _ => timers.udp,
    }
}

/// Gives a packet other ends; false if they are the same. Ports are where UDP has them; of ICMP queries the identifier
/// stands for the port of who asks. Only IPv4 is ever translated.
fn translate(bytes: &mut [u8], ip: &IpPacket, it: &Begin, src: SocketAddr, dst: SocketAddr) -> bool {
    if (src, dst) == (it.src, it.dst) {
        return false;
    }
    let (IpAddr::V4(s), IpAddr::V4(d)) = (src.ip(), dst.ip()) else { return false };
    let mut put = |at: usize, new: [u8; 2]| {
        let Some(old) = bytes.get_mut(at..at + 2) else { return 0 };
        let delta = delta16(u16::from_be_bytes([old[0], old[1]]), u16::from_be_bytes(new));
        old.copy_from_slice(&new);
        delta
    };
    let mut addresses = 0;
    for (at, new) in [(12, s.octets()), (16, d.octets())] {
        for half in 0..2 {
            let delta = put(ip.start + at + 2 * half, [new[2 * half], new[2 * half + 1]]);
            addresses = add(addresses, delta);
        }
    }
    let (field, delta) = match it.proto {
        proto::UDP => {
            let ports = add(put(ip.l4, src.port().to_be_bytes()), put(ip.l4 + 2, dst.port().to_be_bytes()));
            (Some(ip.l4 + 6), add(addresses, ports))
        }
        proto::ICMP if (src.port(), dst.port()) != (it.src.port(), it.dst.port()) => {
            let id = if src.port() == it.src.port() { dst.port() } else { src.port() };
            (Some(ip.l4 + 2), put(ip.l4 + 4, id.to_be_bytes()))
        }
        _ => (None, 0),
    };
    let sums = [Some((ip.start + 10, addresses)), field.map(|at| (at, delta))];
    for (at, delta) in sums.into_iter().flatten() {
        let Some(sum) = bytes.get_mut(at..at + 2) else { continue };
        let old = u16::from_be_bytes([sum[0], sum[1]]);
        let udp = it.proto == proto::UDP && Some(at) == field;
        if udp && old == 0 {
            // None was computed (RFC 768).
            continue;
        }
        let new = patch(old, delta);
        sum.copy_from_slice(&if udp && new == 0 { 0xFFFF } else { new }.to_be_bytes());
    }
    true
}
