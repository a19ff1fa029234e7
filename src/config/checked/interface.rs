//! Interfaces and what we are on them.

use crate::config::units::Cidr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// One interface and what we are on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's name for it, 1 to 15 bytes.
    pub name: String,
    /// What carries its frames.
    pub driver: Driver,
    /// Whether the host uses it as well.
    pub mode: Mode,
    /// The VLAN ids of our frames' tags, outer first, one or two; `None` for whatever tags come in.
    pub vlan: Option<Vec<u16>>,
    /// Our IPv4 network; there is one of at least one family, but on a bridge.
    pub v4: Option<Network<Ipv4Addr>>,
    /// Our IPv6 network.
    pub v6: Option<Network<Ipv6Addr>>,
    /// Networks behind other routers of this side; of a route only.
    pub routes: Vec<Route>,
    /// What is known about the card.
    pub nic_profile: NicProfileName,
}

/// What we are in one address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network<A> {
    /// Our own address, never the kernel's.
    pub address: A,
    /// Length of its network's prefix in bits.
    pub prefix: u8,
    /// The router that all goes to that is for no other host of this network and no [`Route`] leads to; on our
    /// network (in IPv6 perhaps by its link-local address), not our address. Inside a route there may be none.
    pub next_hop: Option<A>,
}

/// A network that is reached by a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The network; its address has no host part.
    pub network: Cidr,
    /// The router, on the interface's own network.
    pub via: IpAddr,
}

/// A side of what passes through us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The protected one.
    Inside,
    /// The other.
    Outside,
}

impl Side {
    /// The word in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inside => "inside",
            Self::Outside => "outside",
        }
    }
}

impl Interface {
    /// The largest IP packet, in bytes, on an interface of this MTU. Drivers keep room for one tag of a VLAN
    /// beyond the MTU, but for no two, so these have to fit into it.
    pub fn mtu(&self, of_link: u16) -> u16 {
        match self.vlan.as_deref() {
            Some([_, _]) => of_link.saturating_sub(8),
            _ => of_link,
        }
    }

    /// Our addresses with the lengths of their prefixes.
    pub fn addresses(&self) -> Vec<(IpAddr, u8)> {
        let v4 = self.v4.map(|n| (n.address.into(), n.prefix));
        v4.into_iter().chain(self.v6.map(|n| (n.address.into(), n.prefix))).collect()
    }

    /// The routers' addresses, in the same order.
    pub fn next_hops(&self) -> Vec<IpAddr> {
        let v4 = self.v4.and_then(|n| n.next_hop).map(IpAddr::from);
        v4.into_iter().chain(self.v6.and_then(|n| n.next_hop).map(IpAddr::from)).collect()
    }
}

/// What carries frames between an interface and us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// AF_XDP rings.
    AfXdp,
    /// AF_PACKET by the pnet crate.
    Pnet,
}

/// Who uses an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// We alone: every frame is taken.
    Dedicated,
    /// The host as well: what is not for us is the kernel's.
    Shared,
}

impl Mode {
    /// The word in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dedicated => "dedicated",
            Self::Shared => "shared",
        }
    }
}

impl Driver {
    /// The word in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AfXdp => "af_xdp",
            Self::Pnet => "pnet",
        }
    }
}

/// Which NIC profile to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NicProfileName {
    /// Any card (`nic-profiles/generic.toml`).
    Generic,
    /// One end of a veth pair (`nic-profiles/veth.toml`).
    Veth,
    /// A file of one's own, relative to the configuration file.
    File(PathBuf),
}
