//! The configuration as the program uses it: every value has a type that cannot be wrong.

mod firewall;
mod interface;
mod limits;
mod service;

pub use firewall::{
    DataRule, Firewall, FirewallRule, IpProtocol, Masquerade, Nat, PortForward, RuleAction, StaticNat,
};
pub use interface::{Driver, Interface, Mode, Network, NicProfileName, Route, Side};
pub use limits::{Limits, OverLimit, Timers};
pub use service::{
    Ccc, ClientMode, DataSource, Ftps, Inspected, MssClamp, Profile, ServerMode, Service, UpstreamSource,
};

use crate::time::Duration;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// Outer IPv4 header, GRE header, redirect header.
const GRE_OVERHEAD: u16 = 28;

/// A whole configuration, all defaults filled in. Made by [`load`](super::load) and
/// [`parse`](super::parse) only, so whoever holds one need not check it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file that it came from.
    pub file: PathBuf,
    /// How packets come to us.
    pub deployment: Deployment,
    /// The interface that frames come and go by; of a bridge or route the inside one.
    pub interface: Interface,
    /// The other one; there if and only if the deployment is [in line](Deployment::in_line).
    pub outside: Option<Interface>,
    /// The service groups; there if and only if the deployment is [`Deployment::Wccp`].
    pub wccp: Option<Wccp>,
    /// The services whose control connections end here; none of a bridge or route. With those that are inspected there
    /// is at least one, and no name and no port belongs to two of them.
    pub services: Vec<Service>,
    /// The services whose control connections pass through.
    pub inspected: Vec<Inspected>,
    /// The packet filter; there if and only if the deployment is in line.
    pub firewall: Option<Firewall>,
    /// Address translation; of a route only.
    pub nat: Nat,
    /// Upper bounds of tables and buffers.
    pub limits: Limits,
    /// How long things may take.
    pub timers: Timers,
    /// The worker's core and manners.
    pub worker: WorkerSettings,
    /// Where events go.
    pub events: EventTarget,
    /// What is allowed but probably not meant, a line each, for the operator.
    pub notes: Vec<String>,
}

impl Config {
    /// The proxied service whose control port this is.
    pub fn service_for_port(&self, port: u16) -> Option<&Service> {
        self.services.iter().find(|s| s.ports.contains(&port))
    }

    /// All interfaces, the inside one first.
    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        std::iter::once(&self.interface).chain(&self.outside)
    }

    /// All control ports.
    pub fn control_ports(&self) -> impl Iterator<Item = u16> {
        let proxied = self.services.iter().flat_map(|s| &s.ports);
        proxied.chain(self.inspected.iter().flat_map(|s| &s.ports)).copied()
    }

    /// Whether packets are redirected to the interface's MAC address, so that what comes there may be for
    /// anybody.
    pub fn by_mac(&self) -> bool {
        match &self.wccp {
            Some(w) => w.forward.contains(&Method::L2),
            None => self.deployment == Deployment::Static,
        }
    }

    /// Bytes that redirection puts around a packet on its way to us.
    pub fn redirect_overhead(&self) -> u16 {
        match &self.wccp {
            Some(w) if w.forward.contains(&Method::Gre) => GRE_OVERHEAD,
            _ => 0,
        }
    }

    /// Bytes that redirection puts around a packet on its way to us or back: what is inspected goes both ways.
    pub fn return_overhead(&self) -> u16 {
        match &self.wccp {
            Some(w) if w.return_method.contains(&Method::Gre) => GRE_OVERHEAD,
            _ => self.redirect_overhead(),
        }
    }
}

/// How packets come to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deployment {
    /// Routers redirect what WCCP has told them to.
    Wccp,
    /// A router's policy sends packets to our MAC address; nothing is negotiated.
    Static,
    /// Frames pass from one interface to the other, as through a wire.
    Bridge,
    /// We are the router between two networks.
    Route,
}

impl Deployment {
    /// The word in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wccp => "wccp",
            Self::Static => "static",
            Self::Bridge => "bridge",
            Self::Route => "route",
        }
    }

    /// Whether everything between an inside and an outside passes through us, by two interfaces.
    pub const fn in_line(self) -> bool {
        matches!(self, Self::Bridge | Self::Route)
    }
}

/// Most routers of a group.
pub(super) const MAX_ROUTERS: usize = 32;

/// WCCP; it needs an IPv4 address of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wccp {
    /// The routers that redirect to us, 1 to 32, none of them our own address.
    pub routers: Vec<Ipv4Addr>,
    /// The password of all groups; `None` for no security.
    pub password: Option<Password>,
    /// How redirected packets may come, in order of preference; at least one.
    pub forward: Vec<Method>,
    /// How declined packets may go back, likewise.
    pub return_method: Vec<Method>,
    /// How packets may be shared out among gateways, likewise.
    pub assignment: Vec<Assignment>,
    /// The bits of the client's address that mask assignment looks at, 1 to 7 of them; `None` if mask
    /// assignment is not among the possible.
    pub mask: Option<u32>,
    /// Time between two HERE_I_AM messages, 100 ms to 60 s.
    pub here_i_am: Duration,
    /// At least one group; ids and ports are unique.
    pub groups: Vec<Group>,
}

impl Wccp {
    /// The group that brings us what clients send to this port.
    pub fn group_for_port(&self, port: u16) -> Option<&Group> {
        self.groups.iter().find(|g| g.role == GroupRole::Forward && g.ports.contains(&port))
    }
}

/// How packets travel between a router and us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// In GRE.
    Gre,
    /// By MAC address, on our own network.
    L2,
}

impl Method {
    /// The word in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gre => "gre",
            Self::L2 => "l2",
        }
    }
}

/// How packets are shared out among gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assignment {
    /// By a hash of the client's address.
    Hash,
    /// By some bits of the client's address.
    Mask,
}

impl Assignment {
    /// The word in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Mask => "mask",
        }
    }
}

/// A dynamic service group on TCP. Either role hashes the client's address, so that both directions of a
/// client's connections come to the same gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The service id, 51 to 255.
    pub id: u8,
    /// Which direction it redirects.
    pub role: GroupRole,
    /// The priority; routers try higher ones first.
    pub priority: u8,
    /// Up to eight ports, each once (the list of a service group has room for eight). None: every port, which
    /// only a reverse group may say.
    pub ports: Vec<u16>,
}

/// Which direction a group redirects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupRole {
    /// From clients: destination ports, hashed on the source address.
    Forward,
    /// To clients: source ports, hashed on the destination address.
    Reverse,
}

impl GroupRole {
    /// The word in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Reverse => "reverse",
        }
    }
}

/// A WCCP password: 1 to 8 bytes of printable ASCII. It does not show when printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password {
    pub(super) bytes: Vec<u8>,
    /// The file it was read from; `None` if it stood in the configuration itself.
    pub file: Option<PathBuf>,
}

impl Password {
    /// The bytes, unpadded.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(****)")
    }
}

/// The worker's core and manners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerSettings {
    /// The core to pin to; `None`: the last one that the process may use.
    pub cpu: Option<usize>,
    /// What it does when there is nothing to do.
    pub idle: Idle,
    /// Seed of sequence numbers, ports and IP ids; `None`: a fresh random one each start.
    pub seed: Option<[u8; 16]>,
}

/// What a worker does when no frame is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// Waits longer and longer, up to a bound; an idle gateway costs nearly nothing.
    Adaptive,
    /// Polls without end: lowest latency, a whole core.
    Spin,
}

impl Idle {
    /// The word in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::Spin => "spin",
        }
    }
}

/// Where events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventTarget {
    /// Standard output (`-`).
    Stdout,
    /// Appended to this file; relative paths start at the configuration file's directory.
    File(PathBuf),
}
