//! What the firewall obeys: plain values, checked by whoever made them.

use super::packet::Side;
use crate::alg;
use crate::time::Duration;
use crate::wire::Net;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;

/// What becomes of a packet that begins something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It passes.
    Allow,
    /// It is dropped without a word.
    Drop,
    /// It is answered with a reset (TCP) or an ICMP error (RFC 1812 5.2.7.1, administratively prohibited).
    Reject,
}

/// Which protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Every.
    Any,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP and ICMPv6 requests (errors follow the connection that they are about).
    Icmp,
    /// Another, by its number.
    Number(u8),
}

/// A rule for what begins a connection. The first that fits decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name in events.
    pub name: String,
    /// What becomes of it.
    pub action: Action,
    /// Where it comes from; both if none.
    pub from: Option<Side>,
    /// Which protocol.
    pub protocol: Protocol,
    /// Sources; any if empty.
    pub source: Vec<Net>,
    /// Destinations, as they stand in the packet when it comes; any if empty.
    pub destination: Vec<Net>,
    /// Destination ports; any if empty.
    pub ports: Vec<RangeInclusive<u16>>,
}

/// Data connections of control connections that cannot be read: "ports A to B of server S".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    /// Its name in events.
    pub name: String,
    /// Servers.
    pub servers: Vec<Net>,
    /// Ports that they listen at.
    pub ports: Vec<RangeInclusive<u16>>,
    /// A control connection of the same client with the same server must live; else anybody may connect.
    pub needs_session: bool,
}

/// The filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// What becomes of what no rule is about. With [`Action::Allow`] packets of unknown connections pass too.
    pub default: Action,
    /// Rules, in order.
    pub rules: Vec<Rule>,
    /// Static rules for data connections.
    pub data: Vec<Data>,
}

/// Sources inside get this address outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masquerade {
    /// Inside sources that are masqueraded; all IPv4 if empty.
    pub sources: Vec<Net>,
    /// The outside address.
    pub address: Ipv4Addr,
    /// Ports to choose from where the original one is taken.
    pub ports: RangeInclusive<u16>,
}

/// An inside address has an outside one of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StaticNat {
    /// Inside.
    pub inside: Ipv4Addr,
    /// Outside.
    pub outside: Ipv4Addr,
}

/// A port of an outside address leads to an inside one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Outside.
    pub outside: SocketAddrV4,
    /// Inside.
    pub inside: SocketAddrV4,
}

/// Translation of IPv4 addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nat {
    /// One address for many.
    pub masquerade: Option<Masquerade>,
    /// One for one.
    pub one_to_one: Vec<StaticNat>,
    /// Ports that lead inside. They are reached if a rule or [`Filter::default`] allows the outside address and port.
    pub forwards: Vec<Forward>,
}

/// An FTP service: control connections that are read and edited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name in events.
    pub name: String,
    /// Control ports, as they stand in the packet that begins the connection, and behind port forwards.
    pub ports: Vec<u16>,
    /// Lines are read and edited; else the connection is one as any other.
    pub alg: bool,
    /// FTP's rules.
    pub rules: alg::rules::Settings,
    /// Source ports that active data connections must have; any if empty.
    pub active_source_ports: Vec<u16>,
    /// What passive data connections are steered to by editing the 227 or 229 (a router redirects only these); none: the
    /// server's own port is told.
    pub data_ports: Vec<u16>,
    /// Passive data connections do not come here: the 227 and 229 stay as they are, and an event tells of it.
    pub data_bypasses: bool,
    /// The MSS that is let through in SYNs.
    pub mss_clamp: Option<u16>,
}

/// What is usual for [`Limits::held`].
pub const HELD: usize = 256 << 20;

/// Bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections that are not TCP, and TCP ones that are not in the flow table.
    pub connections: usize,
    /// Inspected control connections.
    pub sessions: usize,
    /// Those of one client: an IPv4 address or an IPv6 /64.
    pub sessions_per_client: usize,
    /// Bytes that all of them together may hold of their lines ([`HELD`]). Beyond, those who hold more than an equal share
    /// end: at once if they speak, else as soon as somebody needs room. So twice as much is the most that there can be.
    pub held: usize,
    /// Expectations in all.
    pub expectations: usize,
    /// Those of one client.
    pub expectations_per_client: usize,
    /// Of one direction of a control connection.
    pub alg: alg::Limits,
}

/// Times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timers {
    /// TCP connections without a segment (RFC 5382 REQ-5: at least 2 h 4 min).
    pub established: Duration,
    /// TCP connections that are not established, or are closing (REQ-5: at least 4 min).
    pub transitory: Duration,
    /// UDP (RFC 4787 REQ-5: 2 min at least, 5 min recommended).
    pub udp: Duration,
    /// ICMP queries (RFC 5508 REQ-2: at least 60 s).
    pub icmp: Duration,
    /// An expectation.
    pub expectation: Duration,
    /// A data connection after its control connection was reset.
    pub orphan: Duration,
    /// An announced port waits for a free one to be steered to.
    pub steer_wait: Duration,
    /// A steered announcement.
    pub steer_timeout: Duration,
    /// How long a port is kept back whose steered announcement ended without its SYN.
    pub quarantine: Duration,
    /// A control connection before its greeting.
    pub greeting: Duration,
    /// A control connection without a segment.
    pub control_idle: Duration,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The filter.
    pub filter: Filter,
    /// Address translation.
    pub nat: Nat,
    /// FTP services.
    pub services: Vec<Service>,
    /// We are a router hop: the time to live counts.
    pub hop: bool,
    /// Bounds.
    pub limits: Limits,
    /// Times.
    pub timers: Timers,
}
