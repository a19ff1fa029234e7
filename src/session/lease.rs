//! Our ends of connections with servers: ports of our own address, or of the client's where servers are to
//! see that; and how a server's answers to them reach us.

use super::settings::{Settings, UpstreamSource};
use super::shared::{EXPECTATIONS, Shared, own_ports};
use crate::flow::Shares;
use crate::flow::{FlowKey, Leg, Pair, PortAllocator, Remote};
use crate::rng::{Keyed, Purpose};
use crate::time::{Duration, Instant};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Ports of a client's address that are named to servers or opened from. Clients choose their own ports above
/// these: Linux from 32768, others from 49152 (RFC 6335 section 6).
const BORROWED_PORTS: (u16, u16) = (10_240, 32_767);

/// One client's part of an allocator is one of so many.
const PARTS: usize = 4;
/// Leases of one allocator in all, those that rest included.
const LEASES: usize = 1 << 20;
/// Why there is no lease.
const NONE_FREE: &str = "no port of ours is free";
const NONE_LEFT: &str = "this client has used as many ports as one client may";

/// Which allocator a port is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pool {
    Own,
    Awaited,
    Borrowed,
}

/// A port that was given to a data connection, to be given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lease {
    /// Our end.
    pub(super) end: SocketAddr,
    remote: SocketAddr,
    /// The client that it is for.
    client: IpAddr,
    pool: Pool,
}

impl Lease {
    /// What a borrowed port is kept apart for: the client's address is part of what makes a connection.
    const fn pair(&self) -> Pair {
        Pair { client: self.client, server: self.remote.ip() }
    }
}

/// An allocator, and what each client has of it.
struct Stock<R> {
    ports: PortAllocator<R>,
    /// In use or at rest, by client.
    held: Shares,
    /// Whose ports rest, and until when.
    resting: VecDeque<(Instant, IpAddr)>,
    /// How many one client may hold.
    share: usize,
    rest: Duration,
}

impl<R: Remote> Stock<R> {
    /// `room` is how many there are for those who compete.
    fn new(ports: PortAllocator<R>, room: usize, rest: Duration, salt: u64) -> Self {
        Self { ports, held: Shares::new(salt), resting: VecDeque::new(), share: room / PARTS, rest }
    }

    fn take(&mut self, client: IpAddr, remote: R, now: Instant) -> Result<SocketAddr, &'static str> {
        self.rested(now);
        if self.held.of(client) >= self.share {
            return Err(NONE_LEFT);
        }
        if self.held.total() >= LEASES {
            return Err(NONE_FREE);
        }
        let end = self.ports.allocate(remote, now).ok_or(NONE_FREE)?;
        self.held.take(client);
        Ok(end)
    }

    fn give(&mut self, client: IpAddr, remote: R, end: SocketAddr, since: Instant) {
        if self.ports.release(remote, end, since) {
            self.resting.push_back((since + self.rest, client));
        }
    }

    fn give_unused(&mut self, client: IpAddr, remote: R, end: SocketAddr, now: Instant) {
        if self.ports.release_unused(remote, end, now) {
            self.held.give(client);
        }
    }

    fn rested(&mut self, now: Instant) {
        while let Some((_, client)) = self.resting.pop_front_if(|(until, _)| *until <= now) {
            self.held.give(client);
        }
    }

    fn expire(&mut self, now: Instant) {
        self.ports.expire(now);
        self.rested(now);
        self.held.shrink();
        if self.resting.is_empty() {
            self.resting.shrink_to_fit();
        }
    }

    /// When what has rested may be forgotten: what lies in front, as [`rested`](Self::rested) goes no further.
    fn next_deadline(&self) -> Option<Instant> {
        let rested = self.resting.front().map(|(until, _)| *until);
        self.ports.next_deadline().into_iter().chain(rested).min()
    }
}

/// The ports of data connections.
///
/// None may be in two connections with the same other end. Of our own address that is a matter between us and
/// each server, whoever the client is, so clients share these ports; of a client's address it is one
/// between that client and each server. Either way a client that uses its share up goes without, alone.
pub(super) struct Leases {
    /// Of our own address, for connections that we open. Control connections take from it as well; they are
    /// bounded by the sessions of each client, and in no share.
    own: Stock<SocketAddr>,
    /// Of our own address, that servers and clients connect to: of one allocator, as one host can be both. An
    /// announcement that ended unused may still be answered late, so these rest longer.
    awaited: Stock<SocketAddr>,
    /// Of clients' addresses, both ways.
    borrowed: Stock<Pair>,
}

impl Leases {
    pub(super) fn new(settings: &Settings, keyed: Keyed) -> Self {
        let own: Vec<IpAddr> = settings.own.iter().collect();
        let anybody = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        let (t, range) = (&settings.timers, own_ports(settings));
        let long = t.time_wait.max(t.quarantine);
        let salt = keyed.value(Purpose::Salt, b"leases", 0);
        let borrowed = BORROWED_PORTS.0..=BORROWED_PORTS.1;
        // Each pair has all of the range; a client may use as many with all of its servers together.
        let pairs = PARTS * borrowed.len();
        let opens = PortAllocator::new(&own, range.clone(), t.time_wait, EXPECTATIONS, keyed);
        let awaits = PortAllocator::new(&own, range.clone(), long, EXPECTATIONS, keyed);
        let borrows = PortAllocator::new(&anybody, borrowed, long, pairs, keyed);
        Self {
            own: Stock::new(opens, EXPECTATIONS, t.time_wait, salt),
            awaited: Stock::new(awaits, range.len(), long, salt),
            borrowed: Stock::new(borrows, pairs, long, salt),
        }
    }

    /// How many ports are in use; those that rest are not.
    pub(super) fn in_use(&self) -> usize {
        self.own.ports.all_in_use() + self.awaited.ports.all_in_use() + self.borrowed.ports.all_in_use()
    }

    /// Forgets what has rested.
    pub(super) fn expire(&mut self, now: Instant) {
        self.own.expire(now);
        self.awaited.expire(now);
        self.borrowed.expire(now);
    }

    /// When [`expire`](Self::expire) may have something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let all = [self.own.next_deadline(), self.awaited.next_deadline(), self.borrowed.next_deadline()];
        all.into_iter().flatten().min()
    }

    fn open(&mut self, client: IpAddr, remote: SocketAddr, now: Instant) -> Result<Lease, &'static str> {
        let end = self.own.take(client, remote, now)?;
        Ok(Lease { end, remote, client, pool: Pool::Own })
    }

    fn await_from(&mut self, client: IpAddr, from: IpAddr, now: Instant) -> Result<Lease, &'static str> {
        let remote = SocketAddr::new(from, 0);
        let end = self.awaited.take(client, remote, now)?;
        Ok(Lease { end, remote, client, pool: Pool::Awaited })
    }

    fn borrow(&mut self, client: IpAddr, server: IpAddr, now: Instant) -> Result<Lease, &'static str> {
        let port = self.borrowed.take(client, Pair { client, server }, now)?.port();
        let (end, remote) = (SocketAddr::new(client, port), SocketAddr::new(server, 0));
        Ok(Lease { end, remote, client, pool: Pool::Borrowed })
    }

    fn give(&mut self, lease: &Lease, since: Instant) {
        let Lease { end, remote, client, pool } = *lease;
        match pool {
            Pool::Own => self.own.give(client, remote, end, since),
            Pool::Awaited => self.awaited.give(client, remote, end, since),
            Pool::Borrowed => {
                let anybody: IpAddr = match end {
                    SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                self.borrowed.give(client, lease.pair(), SocketAddr::new(anybody, end.port()), since);
            }
        }
    }
}

impl Shared {
    /// How a server's segments to our end of a connection reach us.
    pub(super) fn upstream_leg(&self, service: usize) -> Leg {
        match self.settings.services.get(service).map(|s| s.upstream_source) {
            Some(UpstreamSource::Client) => Leg::Redirected,
            _ => Leg::Direct,
        }
    }

    /// The key of segments that a server sends to `ours`.
    pub(super) fn upstream_key(
        &self,
        service: usize,
        server: SocketAddr,
        ours: SocketAddr,
    ) -> Option<FlowKey> {
        FlowKey::tcp(server, ours, self.upstream_leg(service), 0)
    }

    /// The MSS that servers are told, where what they send is redirected as well.
    pub(super) fn upstream_clamp(&self, service: usize) -> Option<u16> {
        let service = self.settings.services.get(service)?;
        service.mss_clamp.filter(|_| service.upstream_source == UpstreamSource::Client)
    }

    /// An end to open a connection to `remote` from, on behalf of `client`; or why there is none.
    pub(super) fn lease_to_open(
        &mut self,
        service: usize,
        client: IpAddr,
        remote: SocketAddr,
    ) -> Result<Lease, &'static str> {
        match self.upstream_leg(service) {
            Leg::Redirected => self.leases.borrow(client, remote.ip(), self.now),
            Leg::Direct => self.leases.open(client, remote, self.now),
        }
    }

    /// An end that `server` can connect to, on behalf of `client`; or why there is none.
    pub(super) fn lease_to_name(
        &mut self,
        service: usize,
        client: IpAddr,
        server: IpAddr,
    ) -> Result<Lease, &'static str> {
        match self.upstream_leg(service) {
            Leg::Redirected => self.leases.borrow(client, server, self.now),
            Leg::Direct => self.leases.await_from(client, server, self.now),
        }
    }

    /// A port of our own address that this client can connect to (`data_source = "own"`); or why there is none.
    pub(super) fn lease_to_announce(&mut self, client: IpAddr) -> Result<Lease, &'static str> {
        self.leases.await_from(client, client, self.now)
    }

    /// The source of a control connection with `server`, on behalf of `client`.
    pub(super) fn lease_control(
        &mut self,
        service: usize,
        client: SocketAddr,
        server: SocketAddr,
    ) -> Option<SocketAddr> {
        match self.upstream_leg(service) {
            // The client's own: the server sees the same four numbers, only the sequence differs.
            Leg::Redirected => Some(client),
            Leg::Direct => self.leases.own.ports.allocate(server, self.now),
        }
    }

    /// Gives a control connection's source back; nothing if it is the client's.
    pub(super) fn release_control(&mut self, server: SocketAddr, own: SocketAddr) {
        self.leases.own.ports.release(server, own, self.now);
    }

    /// As [`release_control`](Self::release_control), for a connection that was never established.
    pub(super) fn release_control_unused(&mut self, server: SocketAddr, own: SocketAddr) {
        self.leases.own.ports.release_unused(server, own, self.now);
    }

    /// Gives a port back.
    pub(super) fn give_back(&mut self, lease: &Lease) {
        self.give_back_since(lease, self.now);
    }

    /// Gives a port back that nothing was sent from: if nobody was told of it either, it need not rest.
    pub(super) fn give_back_unused(&mut self, lease: &Lease) {
        match lease.pool {
            Pool::Own => {
                self.leases.own.give_unused(lease.client, lease.remote, lease.end, self.now);
            }
            Pool::Awaited | Pool::Borrowed => self.give_back(lease),
        }
    }

    /// Gives a port back whose connection ended at `since`.
    pub(super) fn give_back_since(&mut self, lease: &Lease, since: Instant) {
        self.leases.give(lease, since);
    }
}

#[cfg(test)]
mod tests;
