//! What an engine obeys: plain values, checked by whoever made them.

use crate::wire::eth::{Mac, Tags};
use crate::{firewall, session, wccp};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One interface, as the engine needs to know it.
#[derive(Debug, Clone)]
pub struct Interface {
    /// Its name, for people.
    pub name: String,
    /// Its MAC address.
    pub mac: Mac,
    /// MTU in bytes.
    pub mtu: u16,
    /// The tags of our frames; frames of other VLANs are not for us. None: frames have whatever tags those
    /// had that came in last. A bridge does not look at it.
    pub vlan: Option<Tags>,
    /// Our IPv4 network, if we have one. A bridge has none.
    pub v4: Option<Net<Ipv4Addr>>,
    /// Our IPv6 network, if we have one. A bridge has none.
    pub v6: Option<Net<Ipv6Addr>>,
}

/// What we are in one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Net<A> {
    /// Our address.
    pub address: A,
    /// Length of the address's prefix in bits.
    pub prefix: u8,
    /// Where packets to other networks go; none: there are no others there.
    pub next_hop: Option<A>,
}

impl Interface {
    /// Our addresses.
    pub fn own(&self) -> session::Own {
        session::Own { v4: self.v4.map(|n| n.address), v6: self.v6.map(|n| n.address) }
    }
}

/// What an engine is made from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it stands.
    pub place: Place,
    /// Where all numbers come from that look random.
    pub seed: [u8; 16],
}

/// Where an engine stands among the others of the network.
#[derive(Debug, Clone)]
pub enum Place {
    /// At a router's side: packets are redirected to it, and those that are not for it go back.
    Redirected(Box<RedirectedSettings>),
    /// In line, between two interfaces.
    Transit(Box<TransitSettings>),
}

/// An engine to which packets are redirected.
#[derive(Debug, Clone)]
pub struct RedirectedSettings {
    /// The interface; one is served.
    pub interface: Interface,
    /// The service groups; none if a router sends packets to our MAC address by its policy alone.
    pub wccp: Option<wccp::Settings>,
    /// The services whose control connections end here.
    pub session: session::Settings,
    /// What goes on to its ends; none if all that is not ours goes back unread.
    pub inspect: Option<InspectSettings>,
}

/// The firewall that redirected packets go through: clients are inside, servers outside.
#[derive(Debug, Clone)]
pub struct InspectSettings {
    /// What passes. What no rule is about has to, for routers let it through; [`firewall::Settings::hop`] is not set.
    pub firewall: firewall::Settings,
    /// Ids of the service groups by which servers' packets come.
    pub reverse: Vec<u8>,
}

/// An engine in line. Its turns have the inside interface first, then the outside one.
#[derive(Debug, Clone)]
pub struct TransitSettings {
    /// How frames get from one interface to the other.
    pub kind: Transit,
    /// The interface to the protected side.
    pub inside: Interface,
    /// The interface to the other side.
    pub outside: Interface,
    /// What passes. [`firewall::Settings::hop`] is that of the kind: set for [`Transit::Route`] only.
    pub firewall: firewall::Settings,
}

/// How frames get from one interface to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transit {
    /// Unchanged, but for what the firewall edits or holds back: a bump in the wire, without an address.
    Bridge,
    /// As a router does, from address to address.
    Route {
        /// Networks that are not on a link and not behind its next hop.
        routes: Vec<Route>,
    },
}

/// A network behind a router of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The network: address, and length of its prefix in bits.
    pub to: (IpAddr, u8),
    /// On which side.
    pub side: firewall::Side,
    /// The router, of the network's family, on the link of that side.
    pub next_hop: IpAddr,
}

/// What the operator wants of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Begin no session; SYNs for new ones are returned to the router. What lives goes on.
    Drain,
    /// Leave the service groups: the router redirects nothing any more.
    Leave,
}
