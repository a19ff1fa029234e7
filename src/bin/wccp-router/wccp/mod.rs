//! The router's side of WCCP version 2: all its service groups.

pub mod assign;
pub mod codec;
#[cfg(test)]
mod golden;
pub mod group;
#[cfg(test)]
mod joint;
#[cfg(test)]
mod negative;

use assign::PacketKey;
use codec::{Message, Security, ServiceKey, digest_holds, parse};
pub use group::{Datagram, Faults, Group, GroupConf};
use std::net::Ipv4Addr;
use tidegate::time::Instant;

/// Where a packet is redirected to, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redirection {
    /// Index of the group.
    pub group: usize,
    /// The cache.
    pub cache: Ipv4Addr,
    /// By MAC address instead of GRE.
    pub l2: bool,
    /// The redirect header: D 0x01, A 0x02; service; alternate bucket; primary bucket.
    pub header: [u8; 4],
}

/// The groups of a router.
#[derive(Debug)]
pub struct Wccp {
    groups: Vec<Group>,
    order: Vec<usize>,
    /// Datagrams that are no messages.
    pub malformed: u64,
    /// Messages about services that are not configured.
    pub unknown_service: u64,
}

impl Wccp {
    /// The groups as configured.
    pub fn new(groups: Vec<GroupConf>) -> Self {
        let groups: Vec<_> = groups.into_iter().map(Group::new).collect();
        Self { order: (0..groups.len()).collect(), groups, malformed: 0, unknown_service: 0 }
    }

    /// The groups.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Takes a datagram to port 2048.
    pub fn handle_datagram(
        &mut self,
        payload: &[u8],
        source: Ipv4Addr,
        sent_to: Ipv4Addr,
        now: Instant,
    ) -> Option<Datagram> {
        let Ok((security, message)) = parse(payload) else {
            self.malformed += 1;
            return None;
        };
        let service = match &message {
            Message::HereIAm(m) => m.service,
            Message::RedirectAssign(m) => m.service,
        };
        let Some(group) = self.groups.iter_mut().find(|g| g.conf.key == service.key()) else {
            self.unknown_service += 1;
            return None;
        };
        let trusted = match (security, group.conf.password.as_deref()) {
            (Security::None, None) => true,
            (Security::Md5(digest), Some(password)) => digest_holds(payload, &digest, password),
            _ => false,
        };
        if !trusted {
            group.stats.bad_security += 1;
            if !group.conf.faults.trust_all {
                return None;
            }
        }
        let answer = match message {
            Message::HereIAm(m) => group.handle_here_i_am(&m, source, sent_to, now),
            Message::RedirectAssign(m) => {
                group.handle_assign(m, source);
                None
            }
        };
        // The description, and with it the priority, comes with the first cache.
        let groups = &self.groups;
        let rank = |at: &usize| groups.get(*at).and_then(Group::service).map_or(0, codec::Service::priority);
        self.order.sort_by_key(|at| std::cmp::Reverse(rank(at)));
        answer
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Datagram> {
        self.groups.iter_mut().flat_map(|g| g.handle_timeout(now)).collect()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn poll_timeout(&self) -> Instant {
        self.groups.iter().map(Group::poll_timeout).min().unwrap_or(Instant::FAR_FUTURE)
    }

    /// Where a packet of `bytes` bytes goes instead of its destination. The first group that wants it decides.
    pub fn redirect(
        &mut self,
        packet: &PacketKey,
        in_leg: usize,
        out_leg: usize,
        bytes: usize,
    ) -> Option<Redirection> {
        let groups = &mut self.groups;
        let at = self.order.iter().copied().find(|at| groups[*at].wants(packet, in_leg, out_leg))?;
        let group = &mut groups[at];
        let (choice, methods) = group.choose(packet)?;
        group.stats.redirected += 1;
        group.stats.redirected_bytes += bytes as u64;
        let ServiceKey { kind, id } = group.conf.key;
        let flags = u8::from(kind == 1) | if choice.alternate.is_some() { 2 } else { 0 };
        Some(Redirection {
            group: at,
            cache: choice.cache,
            l2: methods.forward == codec::L2,
            header: [flags, id, choice.alternate.unwrap_or(0), choice.primary],
        })
    }

    /// Notes a packet that `cache` gave back; false if there is no such cache.
    pub fn returned(&mut self, cache: Ipv4Addr, header: [u8; 4]) -> bool {
        let key = ServiceKey { kind: header[0] & 1, id: header[1] };
        let has = |g: &Group| g.caches().iter().any(|c| c.addr == cache);
        let named = self.groups.iter().position(|g| g.conf.key == key && has(g));
        let Some(at) = named.or_else(|| self.groups.iter().position(has)) else { return false };
        self.groups[at].stats.returned += 1;
        true
    }
}
