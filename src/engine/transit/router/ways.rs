//! Which networks are on which side, and by which neighbour they are reached.

use super::super::super::link::Link;
use super::super::super::settings::Route;
use super::index;
use crate::firewall::Side;
use crate::wire::{self, within};
use std::net::IpAddr;

/// Networks behind routers, the narrowest first.
#[derive(Debug)]
pub(super) struct Ways(Vec<Route>);

impl Ways {
    pub(super) fn new(mut routes: Vec<Route>) -> Self {
        routes.sort_by_key(|r| std::cmp::Reverse(r.to.1));
        Self(routes)
    }

    /// The neighbour on `side` that `dst` is reached by; itself, if it is on the link. The link's next hop for
    /// everything else counts only if `anything`.
    pub(super) fn hop(&self, links: &[Link; 2], side: Side, dst: IpAddr, anything: bool) -> Option<IpAddr> {
        let here = links[index(side)].hop(dst);
        if here == Some(dst) {
            return here;
        }
        // A narrower network of the other side is not here.
        let best = self.0.iter().find(|r| within(dst, &r.to));
        match best {
            Some(route) => (route.side == side).then_some(route.next_hop),
            None if links[index(side.other())].hop(dst) == Some(dst) => None,
            None => here.filter(|_| anything),
        }
    }
}

/// Whether `a` means all hosts of a link's network (RFC 1812 5.3.5.2, RFC 2644), or its network itself.
pub(super) fn means_all(link: &Link, a: IpAddr) -> bool {
    let (IpAddr::V4(a), Some(net)) = (a, link.settings.v4) else { return false };
    // Networks of two hosts have no such addresses (RFC 3021).
    let hosts = u32::MAX.checked_shr(u32::from(net.prefix)).unwrap_or(0);
    let (here, host) = (a.to_bits() & !hosts == net.address.to_bits() & !hosts, a.to_bits() & hosts);
    hosts > 1 && here && (host == hosts || host == 0)
}

/// Whether a router takes this for a host's address: "this network" (RFC 1122 3.2.1.3) goes no further than its link.
pub(super) fn is_routable(a: IpAddr) -> bool {
    wire::is_host(a) && !matches!(a, IpAddr::V4(a) if a.octets()[0] == 0)
}

/// Whether an address is good on its link only (RFC 3927 2.7, RFC 4291 2.5.6), or for nobody (RFC 4291 2.5.5.2).
pub(super) fn stays(a: IpAddr) -> bool {
    match a {
        IpAddr::V4(a) => a.is_link_local(),
        IpAddr::V6(a) => a.is_unicast_link_local() || a.to_ipv4_mapped().is_some(),
    }
}
