//! Addresses and ports outside for those inside (RFC 4787, RFC 5382, RFC 5508). IPv4 only: IPv6 is never translated.
//!
//! A connection's outside port need only be its own toward its remote end; so one port serves many. A port that an
//! inside end listens at is its own toward the remote address, whatever the port there. What was used rests before
//! somebody else gets it: segments may still be under way, and the remote end may be in TIME-WAIT.

use super::ftp::Ports;
use super::packet::{Refused, Side};
use super::policy::Begin;
use super::settings;
use crate::flow::Salted;
use crate::rng::{Keyed, Purpose};
use crate::time::{Duration, Instant};
use crate::wire::{proto, within};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

/// How long a port rests: twice the longest life of a segment, as everybody has it.
const REST: Duration = Duration::from_secs(120);
/// Ports that rest at a time; beyond that the first ones are rested enough.
const RESTING: usize = 1 << 16;
/// Random ports that are tried, and then as many in a row as [`IN_A_ROW`] says.
const RANDOM: u64 = 128;
const IN_A_ROW: u32 = 1024;
/// What listens has no port below (RFC 6335 section 6).
const FIRST_USER_PORT: u16 = 1024;

/// An outside port toward a remote end; a remote port of 0 stands for all of a listening end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Lease {
    proto: u8,
    inside: SocketAddrV4,
    outside: SocketAddrV4,
    remote: SocketAddrV4,
}

/// Where a connection goes, and under which names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// Its source as it is known there.
    pub(super) src: SocketAddr,
    /// Its destination as it knows itself.
    pub(super) dst: SocketAddr,
    /// The side that it goes to: the one that it came from, if an inside host named another by its outside address.
    pub(super) to: Side,
    /// To be given back at its end.
    pub(super) lease: Option<Lease>,
}

/// What an outside port is used for toward one remote address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Toward {
    connections: u32,
    listener: bool,
    resting: u32,
}

/// The outside port of an inside end that has one toward all (RFC 4787 REQ-1).
#[derive(Debug, Clone, Copy)]
struct Endpoint {
    port: u16,
    connections: u32,
}

type Tuple = (u8, SocketAddrV4, SocketAddrV4);

/// Ports that are used.
#[derive(Debug)]
pub(super) struct Nat {
    settings: settings::Nat,
    keyed: Keyed,
    /// Connections that live.
    used: HashMap<Tuple, (), Salted>,
    /// Ports that rest: whose they were, and until when. Who had one may have it again at once.
    resting: HashMap<Tuple, (SocketAddrV4, Instant), Salted>,
    /// The same in their order; some have been put off since.
    rests: VecDeque<(Instant, Tuple)>,
    toward: HashMap<(u8, SocketAddrV4, Ipv4Addr), Toward, Salted>,
    /// By protocol, inside end and outside address.
    endpoints: HashMap<(u8, SocketAddrV4, Ipv4Addr), Endpoint, Salted>,
    /// Who has an outside port toward all, and for how many connections.
    owners: HashMap<(u8, SocketAddrV4), (SocketAddrV4, u32), Salted>,
    /// Who listens, by outside end and remote address.
    listeners: HashMap<(SocketAddrV4, Ipv4Addr), SocketAddrV4, Salted>,
    ordinal: u64,
    exhausted: u64,
}

impl Nat {
    pub(super) fn new(settings: settings::Nat, keyed: Keyed) -> Self {
        let salt = Salted::new(keyed.value(Purpose::Salt, b"nat", 0));
        Self {
            settings,
            keyed,
            used: HashMap::with_hasher(salt),
            resting: HashMap::with_hasher(salt),
            toward: HashMap::with_hasher(salt),
            endpoints: HashMap::with_hasher(salt),
            owners: HashMap::with_hasher(salt),
            rests: VecDeque::new(),
            listeners: HashMap::with_hasher(salt),
            ordinal: 0,
            exhausted: 0,
        }
    }

    /// Where what begins now goes; what is taken for it is given back by [`release`](Self::release).
    pub(super) fn plan(&mut self, now: Instant, it: &Begin) -> Result<Plan, Refused> {
        let straight = Plan { src: it.src, dst: it.dst, to: it.from.other(), lease: None };
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (it.src.ip(), it.dst.ip()) else { return Ok(straight) };
        let inside = self.inside_of(it.proto, SocketAddrV4::new(dst, it.dst.port()));
        if inside.is_none() && self.is_outside(dst) {
            // An address of ours, and nobody's behind it.
            return Err(Refused::NoConnection);
        }
        match (it.from, inside) {
            (Side::Outside, Some(dst)) => Ok(Plan { dst: dst.into(), to: Side::Inside, ..straight }),
            // Its answers would leave under another address than the one that was asked.
            (Side::Outside, None) if self.outside_of(dst).is_some() => Err(Refused::Policy),
            (Side::Outside, None) => Ok(straight),
            (Side::Inside, inside) => {
                let told = self.outside_of(src).or(inside.map(|_| dst));
                let Some(told) = told else { return Ok(straight) };
                let (to, dst) = match inside {
                    Some(dst) => (Side::Inside, dst.into()),
                    None => (Side::Outside, it.dst),
                };
                let (src, lease) = self.source(now, it.proto, it.src, told.into(), dst)?;
                Ok(Plan { src, dst, to, lease })
            }
        }
    }

    /// What `src` is called by `remote`, where its host is known as `told`.
    pub(super) fn source(
        &mut self,
        now: Instant,
        protocol: u8,
        src: SocketAddr,
        told: IpAddr,
        remote: SocketAddr,
    ) -> Result<(SocketAddr, Option<Lease>), Refused> {
        let (SocketAddr::V4(inside), IpAddr::V4(told), SocketAddr::V4(remote)) = (src, told, remote) else {
            return Ok((src, None));
        };
        if self.keeps_ports(*inside.ip(), told) {
            return Ok((SocketAddr::new(told.into(), src.port()), None));
        }
        self.expire(now);
        let lease = |port| Lease { proto: protocol, inside, outside: SocketAddrV4::new(told, port), remote };
        let found =
            self.endpoints.get(&(protocol, inside, told)).map(|e| e.port).into_iter().chain([src.port()]);
        let found = found.map(lease).find(|l| self.is_free(l));
        // What has no ports has one name toward each remote address, and one inside host has it.
        let ported = protocol == proto::TCP || is_shared(protocol);
        let found = match found {
            None if ported => {
                self.random(inside, remote, |nat, port| Some(lease(port)).filter(|l| nat.is_free(l)))
            }
            found => found,
        };
        let Some(lease) = found else {
            self.exhausted += 1;
            return Err(Refused::NoPort);
        };
        self.used.insert((protocol, lease.outside, remote), ());
        self.toward.entry((protocol, lease.outside, *remote.ip())).or_default().connections += 1;
        if is_shared(protocol) {
            self.owners.entry((protocol, lease.outside)).or_insert((inside, 0)).1 += 1;
            let fresh = Endpoint { port: lease.outside.port(), connections: 0 };
            self.endpoints.entry((protocol, inside, told)).or_insert(fresh).connections += 1;
        }
        Ok((lease.outside.into(), Some(lease)))
    }

    /// A connection is over. `rested`: it has stood in the tables since its end as long as a port is to rest.
    pub(super) fn release(&mut self, now: Instant, lease: &Lease, rested: bool) {
        let Lease { proto, inside, outside, remote } = *lease;
        if self.used.remove(&(proto, outside, remote)).is_none() {
            return;
        }
        self.change(proto, outside, *remote.ip(), |t| t.connections -= 1);
        if is_shared(proto) {
            let endpoint = (proto, inside, *outside.ip());
            if let Some(e) = self.endpoints.get_mut(&endpoint) {
                e.connections -= 1;
                if e.connections == 0 {
                    self.endpoints.remove(&endpoint);
                }
            }
            if let Some((_, connections)) = self.owners.get_mut(&(proto, outside)) {
                *connections -= 1;
                if *connections == 0 {
                    self.owners.remove(&(proto, outside));
                }
            }
        } else if !rested {
            self.rest(now, (proto, outside, remote), inside);
        }
    }

    /// The address outside that an inside one has.
    pub(super) fn outside_of(&self, inside: Ipv4Addr) -> Option<Ipv4Addr> {
        let fixed = self.settings.one_to_one.iter().find(|s| s.inside == inside).map(|s| s.outside);
        let many = self
            .settings
            .masquerade
            .as_ref()
            .filter(|m| m.sources.is_empty() || m.sources.iter().any(|n| within(inside.into(), n)));
        fixed.or(many.map(|m| m.address))
    }

    /// What a TCP connection to `dst` reaches, as that knows itself.
    pub(super) fn reached(&self, dst: SocketAddr) -> SocketAddr {
        let inside = if let SocketAddr::V4(v4) = dst { self.inside_of(proto::TCP, v4) } else { None };
        inside.map_or(dst, SocketAddr::from)
    }

    /// Whether an address is one that inside ones are known by.
    pub(super) fn is_outside(&self, a: Ipv4Addr) -> bool {
        self.settings.masquerade.as_ref().is_some_and(|m| m.address == a)
            || self.settings.one_to_one.iter().any(|s| s.outside == a)
            || self.settings.forwards.iter().any(|f| *f.outside.ip() == a)
    }

    /// Whether all ports of an address are the same where it is known as `told`.
    fn keeps_ports(&self, inside: Ipv4Addr, told: Ipv4Addr) -> bool {
        inside == told || self.settings.one_to_one.iter().any(|s| (s.inside, s.outside) == (inside, told))
    }

    /// Whether a packet of an unknown connection would have to be translated.
    pub(super) fn concerns(&self, it: &Begin) -> bool {
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (it.src.ip(), it.dst.ip()) else { return false };
        let inside = if it.from == Side::Inside { src } else { dst };
        self.outside_of(inside).is_some() || self.is_outside(dst)
    }

    /// Ends the rest of those that have rested.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((at, tuple)) = self.rests.pop_front_if(|(at, _)| *at <= now) {
            self.rested(at, tuple);
        }
        if self.rests.is_empty() && self.used.is_empty() && self.toward.is_empty() {
            self.rests.shrink_to_fit();
            self.resting.shrink_to_fit();
            self.used.shrink_to_fit();
            self.toward.shrink_to_fit();
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.rests.front().map(|(at, _)| *at)
    }

    /// (Outside ports in use, those that rest.)
    pub(super) fn occupied(&self) -> (usize, usize) {
        (self.used.len() + self.listeners.len(), self.resting.len())
    }

    /// Refused because no port was left.
    pub(super) const fn exhausted(&self) -> u64 {
        self.exhausted
    }

    /// Who is behind an outside address and port.
    fn inside_of(&self, proto: u8, outside: SocketAddrV4) -> Option<SocketAddrV4> {
        let forward = self.settings.forwards.iter().find(|f| f.protocol.is(proto) && f.outside == outside);
        let fixed = || self.settings.one_to_one.iter().find(|s| s.outside == *outside.ip());
        forward.map(|f| f.inside).or_else(|| fixed().map(|s| SocketAddrV4::new(s.inside, outside.port())))
    }

    fn is_free(&self, lease: &Lease) -> bool {
        let Lease { proto, inside, outside, remote } = *lease;
        let toward = self.toward.get(&(proto, outside, *remote.ip()));
        self.may_be_used(proto, outside)
            && !self.used.contains_key(&(proto, outside, remote))
            && toward.is_none_or(|t| !t.listener)
            && [remote, SocketAddrV4::new(*remote.ip(), 0)].iter().all(|remote| {
                self.resting.get(&(proto, outside, *remote)).is_none_or(|(whose, _)| *whose == inside)
            })
            && (!is_shared(proto) || self.owners.get(&(proto, outside)).is_none_or(|(o, _)| *o == inside))
    }

    /// Whether a port is one that can be given at all.
    fn may_be_used(&self, proto: u8, outside: SocketAddrV4) -> bool {
        let ported = matches!(proto, proto::TCP | proto::UDP);
        (outside.port() != 0 || !ported)
            && !self.settings.forwards.iter().any(|f| f.protocol.is(proto) && f.outside == outside)
    }

    /// A port that nobody can foretell (RFC 6056), of those that `take` takes.
    fn random<T>(
        &mut self,
        inside: SocketAddrV4,
        remote: SocketAddrV4,
        take: impl Fn(&Self, u16) -> Option<T>,
    ) -> Option<T> {
        let range = self.settings.masquerade.as_ref().map_or(49152..=65535, |m| m.ports.clone());
        let (first, count) = (*range.start(), range.len() as u32);
        if count == 0 {
            return None;
        }
        let what = [&inside.ip().octets()[..], &inside.port().to_be_bytes(), &remote.ip().octets()].concat();
        let mut at = 0;
        for _ in 0..RANDOM {
            self.ordinal += 1;
            let number = self.keyed.value(Purpose::Port, &what, self.ordinal);
            at = ((u128::from(number) * u128::from(count)) >> 64) as u32;
            if let Some(it) = take(self, first + at as u16) {
                return Some(it);
            }
        }
        (1..=count.min(IN_A_ROW)).find_map(|n| take(self, first + ((at + n) % count) as u16))
    }

    fn rest(&mut self, now: Instant, tuple: Tuple, whose: SocketAddrV4) {
        if self.rests.len() >= RESTING
            && let Some((at, first)) = self.rests.pop_front()
        {
            self.rested(at, first);
        }
        let until = now + REST;
        self.rests.push_back((until, tuple));
        if self.resting.insert(tuple, (whose, until)).is_none() {
            self.toward.entry((tuple.0, tuple.1, *tuple.2.ip())).or_default().resting += 1;
        }
    }

    fn rested(&mut self, at: Instant, tuple: Tuple) {
        if self.resting.get(&tuple).is_some_and(|(_, until)| *until <= at) {
            self.resting.remove(&tuple);
            self.change(tuple.0, tuple.1, *tuple.2.ip(), |t| t.resting -= 1);
        }
    }

    fn change(&mut self, proto: u8, outside: SocketAddrV4, remote: Ipv4Addr, how: impl FnOnce(&mut Toward)) {
        if let Some(t) = self.toward.get_mut(&(proto, outside, remote)) {
            how(t);
            if *t == Toward::default() {
                self.toward.remove(&(proto, outside, remote));
            }
        }
    }
}

impl Ports for Nat {
    fn take(&mut self, now: Instant, end: SocketAddr, told: IpAddr, remote: IpAddr) -> Option<SocketAddr> {
        let (SocketAddr::V4(inside), IpAddr::V4(told), IpAddr::V4(remote)) = (end, told, remote) else {
            return Some(end);
        };
        if self.keeps_ports(*inside.ip(), told) {
            return Some(SocketAddr::new(told.into(), end.port()));
        }
        self.expire(now);
        let free = |nat: &Self, port: u16| {
            let outside = SocketAddrV4::new(told, port);
            // What rests is free for who had it: nothing can go astray that way.
            let own = nat.resting.get(&(proto::TCP, outside, SocketAddrV4::new(remote, 0)));
            let own = u32::from(own.is_some_and(|(whose, _)| *whose == inside));
            let free = nat.toward.get(&(proto::TCP, outside, remote)).is_none_or(|t| {
                let Toward { connections, listener, resting } = *t;
                connections == 0 && !listener && resting == own
            });
            (free && nat.may_be_used(proto::TCP, outside)).then_some(outside)
        };
        let own = if end.port() >= FIRST_USER_PORT { free(self, end.port()) } else { None };
        let Some(outside) = own.or_else(|| self.random(inside, SocketAddrV4::new(remote, 0), free)) else {
            self.exhausted += 1;
            return None;
        };
        self.toward.entry((proto::TCP, outside, remote)).or_default().listener = true;
        self.listeners.insert((outside, remote), inside);
        Some(outside.into())
    }

    fn give_back(&mut self, now: Instant, told: SocketAddr, remote: IpAddr) {
        let (SocketAddr::V4(outside), IpAddr::V4(remote)) = (told, remote) else { return };
        let Some(toward) = self.toward.get_mut(&(proto::TCP, outside, remote)).filter(|t| t.listener) else {
            return;
        };
        toward.listener = false;
        if let Some(inside) = self.listeners.remove(&(outside, remote)) {
            self.rest(now, (proto::TCP, outside, SocketAddrV4::new(remote, 0)), inside);
        }
    }
}

/// Whether an inside end has one outside port toward all.
const fn is_shared(proto: u8) -> bool {
    matches!(proto, proto::UDP | proto::ICMP)
}

#[cfg(test)]
mod tests;
