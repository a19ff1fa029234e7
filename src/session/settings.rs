//! What a session obeys: plain values, checked by whoever made them.

use crate::time::Duration;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which data modes the client may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientMode {
    /// Both.
    Any,
    /// PORT and EPRT only.
    Active,
    /// PASV and EPSV only.
    Passive,
}

/// Whose address the client's data connections show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataSource {
    /// The server's.
    Server,
    /// Ours.
    Own,
}

/// Which data mode the server's leg uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerMode {
    /// The server listens, whatever the client does.
    Passive,
    /// The server connects, whatever the client does.
    Active,
    /// As the client.
    Same,
}

/// Whose address the server sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamSource {
    /// Ours; its answers come to us directly.
    Own,
    /// The client's, and its port; the server's answers are redirected to us.
    Client,
}

/// What becomes of control connections that want to be encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ftps {
    /// AUTH is refused.
    Refuse,
    /// AUTH TLS is passed on, and then the connection's bytes.
    Opaque,
}

/// One service.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name, for people.
    pub name: String,
    /// Control ports.
    pub ports: Vec<u16>,
    /// Which data modes the client may use.
    pub client_mode: ClientMode,
    /// Which data mode the server's leg uses.
    pub server_mode: ServerMode,
    /// Whose address the server sees.
    pub upstream_source: UpstreamSource,
    /// The source ports of servers' data connections that reach us; none if all do. Only a reverse group's
    /// list limits them.
    pub server_ports: Vec<u16>,
    /// Whose address data connections show.
    pub data_source: DataSource,
    /// Ports that passive data connections are steered to.
    pub data_ports: Vec<u16>,
    /// Source port of active data connections.
    pub active_source_port: u16,
    /// What becomes of AUTH.
    pub ftps: Ftps,
    /// The largest MSS offered to redirected clients; none for no limit.
    pub mss_clamp: Option<u16>,
}

/// What becomes of a SYN that would be one session too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverLimit {
    /// It goes back to where it came from.
    Return,
    /// It is answered with a reset, as the server.
    Reset,
}

/// Bounds. Each has a defined result when it is reached.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Sessions; of a SYN beyond becomes what [`over_limit`](Self::over_limit) says.
    pub sessions: usize,
    /// Half-open connections in all; the oldest goes.
    pub half_open: usize,
    /// Half-open connections of one /24; its oldest goes.
    pub half_open_per_source: usize,
    /// Sessions of one client, which is an IPv4 address or an IPv6 /64; of a SYN beyond becomes the same.
    pub per_client: usize,
    /// What becomes of a client that there is no session for.
    pub over_limit: OverLimit,
    /// Bytes of a line.
    pub line: usize,
    /// Bytes of a reply; a server that says more is given up.
    pub reply: usize,
    /// Commands of a session without an answer; then no more are read. At most 64.
    pub commands: usize,
    /// Bytes of a relay's bulk buffer.
    pub relay_buffer: usize,
    /// Relays at a time; a transfer beyond gets 425.
    pub relays: usize,
    /// Those of one client, counted as sessions are; likewise.
    pub relays_per_client: usize,
}

/// Times.
#[derive(Debug, Clone)]
pub struct Timers {
    /// For a connection toward the server or client to be made.
    pub connect: Duration,
    /// For the server's greeting.
    pub greeting: Duration,
    /// For the login.
    pub login: Duration,
    /// Without command, reply or data.
    pub control_idle: Duration,
    /// A data connection without progress.
    pub data_stall: Duration,
    /// An announced data connection that does not come.
    pub data_wait: Duration,
    /// The final reply behind the end of data, and the delivery of relayed data before the final reply.
    pub final_reply: Duration,
    /// A steered port's wait for its SYN.
    pub steer_timeout: Duration,
    /// An announcement's wait for a port.
    pub steer_wait: Duration,
    /// The rest of a steered port whose SYN did not come.
    pub quarantine: Duration,
    /// TIME-WAIT.
    pub time_wait: Duration,
}

/// Our addresses, at most one of a family. A peer meets us in its own family only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Own {
    /// The IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// The IPv6 address.
    pub v6: Option<Ipv6Addr>,
}

impl Own {
    /// What a peer with this address knows us by; none if we have no address of its family.
    pub fn for_peer(self, peer: IpAddr) -> Option<IpAddr> {
        match peer {
            IpAddr::V4(_) => self.v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.v6.map(IpAddr::V6),
        }
    }

    /// Whether `address` is ours.
    pub fn is(self, address: IpAddr) -> bool {
        self.for_peer(address) == Some(address)
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = IpAddr> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Our addresses.
    pub own: Own,
    /// MTU of our interface in bytes.
    pub mtu: u16,
    /// The services.
    pub services: Vec<Service>,
    /// Bounds.
    pub limits: Limits,
    /// Times.
    pub timers: Timers,
    /// This worker's number.
    pub worker: u16,
    /// How many workers there are.
    pub workers: u16,
}

impl Settings {
    /// The largest segment that fits our link toward a peer with this address: the MTU less an IP header
    /// without options and a TCP header (RFC 6691).
    pub fn mss(&self, peer: IpAddr) -> u16 {
        let headers = if peer.is_ipv4() { 40 } else { 60 };
        self.mtu.saturating_sub(headers)
    }

    /// The service with this control port.
    pub fn service(&self, port: u16) -> Option<usize> {
        self.services.iter().position(|s| s.ports.contains(&port))
    }
}
