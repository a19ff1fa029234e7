//! What passes between inside and outside, and under which addresses.

use super::Side;
use crate::config::units::Cidr;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;

/// The packet filter of a bridge or route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firewall {
    /// What becomes of connections that no rule is about: [`RuleAction::Allow`] or [`RuleAction::Deny`].
    pub default: RuleAction,
    /// What [`RuleAction::Deny`] means: [`RuleAction::Drop`] or [`RuleAction::Reject`].
    pub refuse_with: RuleAction,
    /// The rules in their order, the first that fits decides; their names are unique.
    pub rules: Vec<FirewallRule>,
    /// Static rules for data connections; their names are unique.
    pub data: Vec<DataRule>,
}

impl Default for Firewall {
    fn default() -> Self {
        Self { default: RuleAction::Deny, refuse_with: RuleAction::Drop, rules: Vec::new(), data: Vec::new() }
    }
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleAction {
    /// It may be.
    Allow,
    /// As [`Firewall::refuse_with`] says.
    Deny,
    /// What begins it is dropped.
    Drop,
    /// It is answered with a reset or an ICMP error.
    Reject,
}

impl RuleAction {
    /// The word in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Drop => "drop",
            Self::Reject => "reject",
        }
    }
}

/// Which protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpProtocol {
    /// Every.
    Any,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP and ICMPv6.
    Icmp,
    /// Another, by its number.
    Number(u8),
}

/// A rule for what begins a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirewallRule {
    /// Its name in events.
    pub name: String,
    /// What becomes of it.
    pub action: RuleAction,
    /// Where it comes from; both sides if none.
    pub from: Option<Side>,
    /// Which protocol.
    pub protocol: IpProtocol,
    /// Sources, without host parts; any if empty.
    pub source: Vec<Cidr>,
    /// Destinations, likewise.
    pub destination: Vec<Cidr>,
    /// Destination ports; any if empty, as for protocols without ports.
    pub ports: Vec<RangeInclusive<u16>>,
}

/// Data connections of control connections that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataRule {
    /// Its name in events.
    pub name: String,
    /// Servers, without host parts; at least one.
    pub servers: Vec<Cidr>,
    /// Ports that they listen at; at least one.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Only for clients that have a control connection with the server.
    pub needs_session: bool,
}

/// Translation of IPv4 addresses on a route.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nat {
    /// One address for many.
    pub masquerade: Option<Masquerade>,
    /// One for one; inside and outside addresses are unique.
    pub one_to_one: Vec<StaticNat>,
    /// Ports that lead inside; protocol and outside are unique.
    pub forwards: Vec<PortForward>,
}

impl Nat {
    /// Nothing is translated.
    pub fn is_empty(&self) -> bool {
        self.masquerade.is_none() && self.one_to_one.is_empty() && self.forwards.is_empty()
    }
}

/// Sources inside get one address outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masquerade {
    /// That address.
    pub address: Ipv4Addr,
    /// IPv4 sources, without host parts; all if empty.
    pub sources: Vec<Cidr>,
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
pub struct PortForward {
    /// [`IpProtocol::Tcp`] or [`IpProtocol::Udp`].
    pub protocol: IpProtocol,
    /// Outside.
    pub outside: SocketAddrV4,
    /// Inside.
    pub inside: SocketAddrV4,
}
