//! One service group as the router keeps it: who is in, what was assigned, what to send when.
//!
//! ```text
//!  first HERE_I_AM ──► pending ── echo of the Receive ID, methods agreed ──► usable
//!                        ▲                                                     │ 2.5 T of silence
//!                        └── HERE_I_AM that knows no Receive ID ◄── usable ◄── queried ── 3 T ──► gone
//! ```

use super::assign::{Choice, PacketKey, RedirectList, Table, matches};
use super::codec::{
    Assignment, Capabilities, HereIAm, ISeeYou, Listed, MASK, MAX_CACHES, Part, RedirectAssign,
    RouterElement, Service, ServiceKey, i_see_you, removal_query,
};
use serde::Serialize;
use std::net::Ipv4Addr;
use tidegate::time::{Duration, Instant};

/// What is configured for a group.
#[derive(Debug, Clone)]
pub struct GroupConf {
    /// Which group.
    pub key: ServiceKey,
    /// Password, 1 to 8 bytes.
    pub password: Option<Vec<u8>>,
    /// Methods that the router offers.
    pub offer: Capabilities,
    /// What of the service's packets is redirected; the rest is forwarded.
    pub redirect_list: RedirectList,
    /// Legs by index: what enters here is redirected.
    pub redirect_in: Vec<usize>,
    /// Legs by index: what would leave here is redirected.
    pub redirect_out: Vec<usize>,
    /// T: the interval of HERE_I_AM that all other times are multiples of.
    pub interval: Duration,
    /// This router's ID.
    pub router_id: Ipv4Addr,
    /// Faults, for tests of the other end.
    pub faults: Faults,
}

/// What a group of this router does wrong on purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Answers messages whatever their digest, and signs the answers with its own password.
    pub trust_all: bool,
    /// Never takes an assignment.
    pub assign_nothing: bool,
    /// Answers with a service description of its own, in which the priority is another one.
    pub describe_otherwise: bool,
}

/// A datagram to be sent from port 2048 to port 2048.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// From which of the router's addresses.
    pub from: Ipv4Addr,
    /// To whom.
    pub to: Ipv4Addr,
    /// Payload.
    pub bytes: Vec<u8>,
}

/// What became of messages and packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct GroupStats {
    /// HERE_I_AMs accepted.
    pub here_i_am: u64,
    /// of these first contacts (router not listed, or Receive ID 0).
    pub first_contact: u64,
    /// I_SEE_YOUs sent.
    pub i_see_you: u64,
    /// REMOVAL_QUERYs sent.
    pub removal_query: u64,
    /// Assignments taken.
    pub assigned: u64,
    /// of these with the Receive ID plus one.
    pub assigned_ahead: u64,
    /// Messages with wrong or missing digest.
    pub bad_security: u64,
    /// HERE_I_AMs that describe the service differently.
    pub conflict: u64,
    /// Messages with an old Receive ID.
    pub stale: u64,
    /// HERE_I_AMs that ask for a method not offered.
    pub unsupported: u64,
    /// HERE_I_AMs beyond the 32nd cache.
    pub too_many: u64,
    /// Assignments from a stranger, for other routers, or with an old change number.
    pub refused_assign: u64,
    /// Times the table was emptied because no assignment came.
    pub flushed: u64,
    /// Packets redirected.
    pub redirected: u64,
    /// Their bytes, without encapsulation.
    pub redirected_bytes: u64,
    /// Packets given back by a cache.
    pub returned: u64,
    /// Packets that matched but have no cache: forwarded.
    pub unassigned: u64,
    /// Packets that the redirect list leaves out: forwarded.
    pub denied: u64,
}

/// How far a cache has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Answered once.
    Pending,
    /// Echoed the Receive ID.
    Usable,
    /// Usable, but silent for 2.5 T.
    Queried,
}

/// One cache.
#[derive(Debug)]
pub struct Cache {
    /// Its identity.
    pub addr: Ipv4Addr,
    /// How far it has come.
    pub state: State,
    /// What it asked for.
    pub methods: Capabilities,
    weight: (u16, u16),
    routers: Vec<Ipv4Addr>,
    last_sent_id: u32,
    sent_to: Ipv4Addr,
    source: Ipv4Addr,
    heard: Instant,
    queried: bool,
}

impl Cache {
    /// Whether packets may be sent to it.
    pub fn usable(&self) -> bool {
        matches!(self.state, State::Usable | State::Queried)
    }
}

/// A group.
#[derive(Debug)]
pub struct Group {
    /// Its configuration.
    pub conf: GroupConf,
    /// Counters.
    pub stats: GroupStats,
    service: Option<Service>,
    caches: Vec<Cache>,
    receive_id: u32,
    member_change: u32,
    key: (Ipv4Addr, u32),
    table: Option<Table>,
    assign_by: Option<Instant>,
}

impl Group {
    /// An empty group.
    pub fn new(conf: GroupConf) -> Self {
        Self {
            conf,
            stats: GroupStats::default(),
            service: None,
            caches: vec![],
            receive_id: 0,
            member_change: 1,
            key: (Ipv4Addr::UNSPECIFIED, 0),
            table: None,
            assign_by: None,
        }
    }

    /// The description in force, from the first cache.
    pub fn service(&self) -> Option<&Service> {
        self.service.as_ref()
    }

    /// The caches.
    pub fn caches(&self) -> &[Cache] {
        &self.caches
    }

    /// The assignment key last accepted.
    pub fn assignment_key(&self) -> (Ipv4Addr, u32) {
        self.key
    }

    /// The table in force.
    pub fn table(&self) -> Option<&Table> {
        self.table.as_ref()
    }

    /// Member change number.
    pub fn member_change(&self) -> u32 {
        self.member_change
    }

    /// Takes a HERE_I_AM whose digest held; `source` and `sent_to` are the datagram's addresses.
    pub fn handle_here_i_am(
        &mut self,
        m: &HereIAm,
        source: Ipv4Addr,
        sent_to: Ipv4Addr,
        now: Instant,
    ) -> Option<Datagram> {
        if self.service.is_some_and(|s| s != m.service) {
            self.stats.conflict += 1;
            return None;
        }
        let asked = m.capabilities.unwrap_or_default();
        let mine = [self.conf.router_id, sent_to];
        let echo = m.routers.iter().find(|r| mine.contains(&r.id)).map_or(0, |r| r.receive_id);
        // Who has not heard the offer yet may be silent about what he wants; who has asks for the defaults so.
        let first = echo == 0 && m.capabilities.is_none();
        let others = self.caches.iter().filter(|c| c.addr != m.cache && c.usable());
        let one_way = others.map(|c| c.methods.assignment).all(|a| a == asked.assignment);
        let acceptable = offered(asked, self.conf.offer) && one_way;
        if !(first || acceptable) {
            self.stats.unsupported += 1;
            return None;
        }
        let known = self.caches.iter().position(|c| c.addr == m.cache);
        let expected = known.map(|at| self.caches[at].last_sent_id);
        if echo != 0 && expected != Some(echo) {
            // An echo of what was never said: old, forged, or from before this router's restart. A cache
            // that is not known is answered all the same, as it could never learn a valid ID otherwise.
            self.stats.stale += 1;
            if known.is_some() {
                return None;
            }
        }
        if m.shutdown == Some(m.cache) {
            return Some(self.handle_shutdown(m, known, source, sent_to, now));
        }
        let at = match known {
            Some(at) => at,
            None if self.caches.len() >= MAX_CACHES => {
                self.stats.too_many += 1;
                return None;
            }
            None => {
                self.service = Some(m.service);
                self.caches.push(Cache::new(m, source, sent_to, now));
                self.caches.len() - 1
            }
        };
        let valid = echo != 0 && known.is_some();
        let cache = &mut self.caches[at];
        let was_usable = cache.usable();
        cache.heard = now;
        cache.queried = false;
        cache.source = source;
        cache.sent_to = sent_to;
        cache.methods = asked;
        cache.weight = m.weight;
        cache.routers = m.routers.iter().map(|r| r.id).take(MAX_CACHES).collect();
        cache.state = if valid { State::Usable } else { State::Pending };
        self.stats.here_i_am += 1;
        self.stats.first_contact += u64::from(!valid);
        if was_usable != valid {
            self.membership_changed(now);
        }
        let answer = self.answer(m.cache, source, sent_to, None);
        self.caches[at].last_sent_id = self.receive_id;
        Some(answer)
    }

    /// Takes a REDIRECT_ASSIGN whose digest held, from `source`.
    pub fn handle_assign(&mut self, m: RedirectAssign, source: Ipv4Addr) {
        let sender = self.caches.iter().find(|c| c.usable() && (c.source == source || c.addr == source));
        let (Some(sender), Some(true)) = (sender, self.service.map(|s| s == m.service)) else {
            self.stats.refused_assign += 1;
            return;
        };
        let mine = [self.conf.router_id, sender.sent_to];
        let Some((router, change)) = m.routers.iter().find(|(r, _)| mine.contains(&r.id)) else {
            // The designated cache does not see this router: nothing may be redirected here.
            self.stats.refused_assign += 1;
            self.flush();
            return;
        };
        let last = sender.last_sent_id;
        if router.receive_id != last && router.receive_id != next_id(last) {
            self.stats.stale += 1;
            return;
        }
        if *change != self.member_change || m.assignment.method() != sender.methods.assignment {
            self.stats.refused_assign += 1;
            return;
        }
        if self.conf.faults.assign_nothing {
            self.stats.refused_assign += 1;
            return;
        }
        self.stats.assigned += 1;
        self.stats.assigned_ahead += u64::from(router.receive_id != last);
        self.key = m.key;
        self.table = Some(Table(m.assignment));
        self.assign_by = None;
    }

    /// Queries and removes silent caches, and empties a table that nobody renewed.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Datagram> {
        let t = self.conf.interval;
        let mut out = vec![];
        for at in (0..self.caches.len()).rev() {
            let cache = &mut self.caches[at];
            let silent = now.since(cache.heard);
            if silent >= t * 3 {
                let gone = self.caches.remove(at);
                self.forget(&gone, now);
            } else if silent >= t * 5 / 2 && !cache.queried {
                cache.queried = true;
                if cache.usable() {
                    cache.state = State::Queried;
                }
                let Some(service) = self.service else { continue };
                let router = RouterElement { id: self.conf.router_id, receive_id: cache.last_sent_id };
                let password = self.conf.password.as_deref();
                let bytes = removal_query(service, router, cache.sent_to, cache.addr, password);
                out.push(Datagram { from: cache.sent_to, to: cache.source, bytes });
                self.stats.removal_query += 1;
            }
        }
        if self.assign_by.is_some_and(|by| by <= now) {
            self.flush();
        }
        out
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do next.
    pub fn poll_timeout(&self) -> Instant {
        let t = self.conf.interval;
        let silence = self.caches.iter().map(|c| c.heard + if c.queried { t * 3 } else { t * 5 / 2 });
        silence.chain(self.assign_by).min().unwrap_or(Instant::FAR_FUTURE)
    }

    /// Whether the group wants this packet, by leg, protocol and ports.
    pub fn wants(&self, packet: &PacketKey, in_leg: usize, out_leg: usize) -> bool {
        let here = self.conf.redirect_in.contains(&in_leg) || self.conf.redirect_out.contains(&out_leg);
        here && self.service.as_ref().is_some_and(|s| matches(s, packet))
    }

    /// The cache for a packet that the group wants; `None`: forward it.
    pub fn choose(&mut self, packet: &PacketKey) -> Option<(Choice, Capabilities)> {
        if !self.conf.redirect_list.permits(packet) {
            self.stats.denied += 1;
            return None;
        }
        if self.caches.iter().any(|c| c.addr == packet.src) {
            return None;
        }
        let found = self.table.as_ref().zip(self.service.as_ref()).and_then(|(table, service)| {
            let choice = table.choose(service, packet)?;
            let cache = self.caches.iter().find(|c| c.addr == choice.cache && c.usable())?;
            Some((choice, cache.methods))
        });
        self.stats.unassigned += u64::from(found.is_none());
        found
    }

    fn handle_shutdown(
        &mut self,
        m: &HereIAm,
        known: Option<usize>,
        source: Ipv4Addr,
        sent_to: Ipv4Addr,
        now: Instant,
    ) -> Datagram {
        self.stats.here_i_am += 1;
        let service = *self.service.get_or_insert(m.service);
        if let Some(at) = known {
            let gone = self.caches.remove(at);
            self.forget(&gone, now);
        }
        // A farewell is answered also when the cache is gone already: the first answer may have been lost.
        let kept = self.service.replace(service);
        let answer = self.answer(m.cache, source, sent_to, Some(m.cache));
        self.service = kept.filter(|_| !self.caches.is_empty());
        answer
    }

    fn answer(
        &mut self,
        cache: Ipv4Addr,
        source: Ipv4Addr,
        sent_to: Ipv4Addr,
        shutdown: Option<Ipv4Addr>,
    ) -> Datagram {
        self.receive_id = next_id(self.receive_id);
        let mut routers: Vec<_> = self.caches.iter().flat_map(|c| c.routers.iter().copied()).collect();
        routers.sort_unstable();
        routers.dedup();
        routers.truncate(MAX_CACHES);
        let usable: Vec<_> = self
            .caches
            .iter()
            .filter(|c| c.usable())
            .map(|c| Listed {
                addr: c.addr,
                part: match &self.table {
                    Some(table) => table.part(c.addr),
                    None if c.methods.assignment == MASK => Part::Values(None),
                    None => Part::Buckets(None),
                },
                weight: c.weight,
            })
            .collect();
        let mut service = self.service.unwrap_or(Service([0; 24]));
        service.0[2] ^= u8::from(self.conf.faults.describe_otherwise);
        let message = ISeeYou {
            service,
            router: RouterElement { id: self.conf.router_id, receive_id: self.receive_id },
            sent_to,
            cache,
            member_change: self.member_change,
            key: self.key,
            routers: &routers,
            caches: &usable,
            map: match &self.table {
                Some(Table(Assignment::Mask(sets))) => Some(sets),
                _ => None,
            },
            offer: self.conf.offer,
            shutdown,
        };
        self.stats.i_see_you += 1;
        let bytes = i_see_you(&message, self.conf.password.as_deref());
        Datagram { from: sent_to, to: source, bytes }
    }

    fn forget(&mut self, gone: &Cache, now: Instant) {
        if let Some(table) = &mut self.table {
            table.purge(gone.addr);
        }
        if gone.usable() {
            self.membership_changed(now);
        }
        if self.caches.is_empty() {
            // The next cache may describe the service anew.
            self.service = None;
            self.flush();
        }
    }

    /// Forwards everything from now on. The key goes too, or the designated cache would believe that its
    /// assignment is in force.
    fn flush(&mut self) {
        self.stats.flushed += u64::from(self.table.is_some());
        self.table = None;
        self.assign_by = None;
        self.key = (Ipv4Addr::UNSPECIFIED, 0);
    }

    fn membership_changed(&mut self, now: Instant) {
        self.member_change = next_id(self.member_change);
        self.assign_by = Some(now + self.conf.interval * 5);
    }
}

impl Cache {
    fn new(m: &HereIAm, source: Ipv4Addr, sent_to: Ipv4Addr, now: Instant) -> Self {
        Self {
            addr: m.cache,
            state: State::Pending,
            methods: m.capabilities.unwrap_or_default(),
            weight: m.weight,
            routers: vec![],
            last_sent_id: 0,
            sent_to,
            source,
            heard: now,
            queried: false,
        }
    }
}

fn next_id(id: u32) -> u32 {
    id.wrapping_add(1).max(1)
}

/// One offered bit for each method.
fn offered(asked: Capabilities, offer: Capabilities) -> bool {
    [
        (asked.forward, offer.forward),
        (asked.assignment, offer.assignment),
        (asked.packet_return, offer.packet_return),
    ]
    .iter()
    .all(|(a, o)| a.count_ones() == 1 && a & o == *a)
}

#[cfg(test)]
pub(crate) mod tests;
