//! Our ends of connections with servers: ports of our own address, or of the client's where servers are to
//! see that; and how a server's answers to them reach us.

use super::settings::{Settings, UpstreamSource};
use super::shared::{EXPECTATIONS, Shared, own_ports};
use crate::flow::{FlowKey, Leg, PortAllocator};
use crate::rng::Keyed;
use crate::time::Instant;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Ports of a client's address that are named to servers or opened from. Clients choose their own ports above
/// these: Linux from 32768, others from 49152 (RFC 6335 section 6).
const BORROWED_PORTS: (u16, u16) = (10_240, 32_767);

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
    pool: Pool,
}

/// The ports of data connections.
pub(super) struct Leases {
    /// Of our own address, for connections that we open. Control connections share it.
    pub(super) own: PortAllocator,
    /// Of our own address, that servers and clients connect to: of one allocator, as one host can be both. An
    /// announcement that ended unused may still be answered late, so these rest longer.
    awaited: PortAllocator,
    /// Of clients' addresses, both ways; kept apart for each server, so that no two clients' ever meet.
    borrowed: PortAllocator,
}

impl Leases {
    pub(super) fn new(settings: &Settings, keyed: Keyed) -> Self {
        let own: Vec<IpAddr> = settings.own.iter().collect();
        let anybody = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        let (t, range) = (&settings.timers, own_ports(settings));
        let long = t.time_wait.max(t.quarantine);
        let borrowed = BORROWED_PORTS.0..=BORROWED_PORTS.1;
        Self {
            own: PortAllocator::new(&own, range.clone(), t.time_wait, EXPECTATIONS, keyed),
            awaited: PortAllocator::new(&own, range, long, EXPECTATIONS, keyed),
            borrowed: PortAllocator::new(&anybody, borrowed, long, EXPECTATIONS, keyed),
        }
    }

    /// Forgets what has rested.
    pub(super) fn expire(&mut self, now: Instant) {
        self.own.expire(now);
        self.awaited.expire(now);
        self.borrowed.expire(now);
    }

    /// When [`expire`](Self::expire) may have something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let all = [&self.own, &self.awaited, &self.borrowed];
        all.into_iter().filter_map(PortAllocator::next_deadline).min()
    }

    fn borrow(&mut self, client: IpAddr, server: IpAddr, now: Instant) -> Option<Lease> {
        let remote = SocketAddr::new(server, 0);
        let port = self.borrowed.allocate(remote, now)?.port();
        Some(Lease { end: SocketAddr::new(client, port), remote, pool: Pool::Borrowed })
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

    /// An end to open a connection to `remote` from, on behalf of `client`.
    pub(super) fn lease_to_open(
        &mut self,
        service: usize,
        client: IpAddr,
        remote: SocketAddr,
    ) -> Option<Lease> {
        match self.upstream_leg(service) {
            Leg::Redirected => self.leases.borrow(client, remote.ip(), self.now),
            Leg::Direct => {
                let end = self.leases.own.allocate(remote, self.now)?;
                Some(Lease { end, remote, pool: Pool::Own })
            }
        }
    }

    /// An end that `server` can connect to, on behalf of `client`.
    pub(super) fn lease_to_name(&mut self, service: usize, client: IpAddr, server: IpAddr) -> Option<Lease> {
        match self.upstream_leg(service) {
            Leg::Redirected => self.leases.borrow(client, server, self.now),
            Leg::Direct => {
                let remote = SocketAddr::new(server, 0);
                let end = self.leases.awaited.allocate(remote, self.now)?;
                Some(Lease { end, remote, pool: Pool::Awaited })
            }
        }
    }

    /// A port of our own address that this client can connect to (`data_source = "own"`).
    pub(super) fn lease_to_announce(&mut self, client: IpAddr) -> Option<Lease> {
        let remote = SocketAddr::new(client, 0);
        let end = self.leases.awaited.allocate(remote, self.now)?;
        Some(Lease { end, remote, pool: Pool::Awaited })
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
            Leg::Direct => self.leases.own.allocate(server, self.now),
        }
    }

    /// Gives a control connection's source back; nothing if it is the client's.
    pub(super) fn release_control(&mut self, server: SocketAddr, own: SocketAddr) {
        self.leases.own.release(server, own, self.now);
    }

    /// As [`release_control`](Self::release_control), for a connection that was never established.
    pub(super) fn release_control_unused(&mut self, server: SocketAddr, own: SocketAddr) {
        self.leases.own.release_unused(server, own, self.now);
    }

    /// Gives a port back.
    pub(super) fn give_back(&mut self, lease: &Lease) {
        self.give_back_since(lease, self.now);
    }

    /// Gives a port back that nothing was sent from: if nobody was told of it either, it need not rest.
    pub(super) fn give_back_unused(&mut self, lease: &Lease) {
        match lease.pool {
            Pool::Own => {
                self.leases.own.release_unused(lease.remote, lease.end, self.now);
            }
            Pool::Awaited | Pool::Borrowed => self.give_back(lease),
        }
    }

    /// Gives a port back whose connection ended at `since`.
    pub(super) fn give_back_since(&mut self, lease: &Lease, since: Instant) {
        let Lease { end, remote, pool } = *lease;
        match pool {
            Pool::Own => self.leases.own.release(remote, end, since),
            Pool::Awaited => self.leases.awaited.release(remote, end, since),
            Pool::Borrowed => {
                let anybody: IpAddr = match end {
                    SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                self.leases.borrowed.release(remote, SocketAddr::new(anybody, end.port()), since)
            }
        };
    }
}
