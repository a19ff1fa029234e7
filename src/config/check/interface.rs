//! Interfaces: addresses, routers and networks that fit each other.

use crate::config::checked::{Deployment, Interface, Network, Route, Side};
use crate::config::raw::{RawInterface, RawRoute};
use crate::config::reader::{At, Source};
use crate::config::units::Cidr;
use std::net::{IpAddr, Ipv4Addr};

/// The interfaces, the inside one (or the only one) first.
pub(super) fn interfaces(
    source: &Source<'_>,
    raw: Vec<RawInterface>,
    routes: &[RawRoute],
    routers: &[At<Ipv4Addr>],
    kind: Option<Deployment>,
) -> Option<(Interface, Option<Interface>)> {
    let in_line = kind.is_some_and(Deployment::in_line);
    if in_line {
        apart(source, &raw);
    }
    let outside_first =
        raw.first().and_then(|i| i.role.as_ref()).is_some_and(|role| role.value == Side::Outside);
    let whole = raw.len() == if in_line { 2 } else { 1 };
    let mut all: Vec<Option<Interface>> = raw.into_iter().map(|i| interface(source, i, routers)).collect();
    if outside_first {
        all.reverse();
    }
    let mut all = all.into_iter().collect::<Option<Vec<_>>>()?.into_iter();
    let (mut inside, mut outside) = (all.next()?, all.next());
    if let Some(outside) = &mut outside {
        for route in routes {
            lead(source, route, &mut inside, outside);
        }
    }
    whole.then_some((inside, outside))
}

/// Both sides of a route have networks of their own.
fn apart(source: &Source<'_>, raw: &[RawInterface]) {
    let [first, second] = raw else { return };
    for a in &second.addresses {
        if let Some(other) = first.addresses.iter().find(|b| b.value.overlaps(a.value)) {
            let what = format!("{} is on the network of the other interface, {}", a.value, other.value);
            source.error(
                &a.place,
                what,
                "give each side a network of its own, or deploy with kind = \"bridge\"",
            );
        }
    }
}

/// Puts a network to the side that its router is on.
fn lead(source: &Source<'_>, raw: &RawRoute, inside: &mut Interface, outside: &mut Interface) {
    let (Some(network), Some(via)) = (&raw.network, &raw.via) else { return };
    if network.value.address.is_ipv4() != via.value.is_ipv4() {
        let what = format!("{} and {} are of different families", via.value, network.value);
        return source.error(&via.place, what, "write a router of the network's family");
    }
    let known = inside.routes.iter().chain(&outside.routes).any(|r| r.network == network.value);
    if known {
        let what = format!("{} is there already", network.value);
        return source.error(&network.place, what, "list each network once");
    }
    let of = |i: &Interface| {
        let mut own = i.addresses().into_iter().map(|(address, prefix)| Cidr { address, prefix });
        own.find(|c| c.contains(via.value))
    };
    let (own, side) = match (of(inside), of(outside)) {
        (Some(own), _) => (own, inside),
        (None, Some(own)) => (own, outside),
        (None, None) => {
            let what = format!("{} is on the network of neither interface", via.value);
            return source.error(&via.place, what, "write the address of a router on one of them");
        }
    };
    if own.address == via.value || own.is_edge(via.value) {
        let what = format!("{} is no other host on the network of {own}", via.value);
        return source.error(&via.place, what, "write the router's address");
    }
    if own.contains(network.value.address) && network.value.prefix >= own.prefix {
        let what = format!("{} is a part of our own network {own}", network.value);
        return source.error(&network.place, what, "take it out");
    }
    side.routes.push(Route { network: network.value, via: via.value });
}

/// The interface, if nothing is wrong with it.
fn interface(source: &Source<'_>, raw: RawInterface, routers: &[At<Ipv4Addr>]) -> Option<Interface> {
    let ours = |router: &&At<Ipv4Addr>| raw.addresses.iter().any(|a| a.value.address == router.value);
    for router in routers.iter().filter(ours) {
        let what = format!("{} is our own address", router.value);
        source.error(&router.place, what, "write the router's address, or another interface.address");
    }
    let (mut v4, mut v6) = (None, None);
    for At { value: cidr, .. } in &raw.addresses {
        let of_family = |a: &&At<IpAddr>| a.value.is_ipv4() == cidr.address.is_ipv4();
        let inside = raw.role.as_ref().is_some_and(|r| r.value == Side::Inside);
        let next_hop = raw.next_hops.iter().find(of_family);
        if next_hop.is_none() && !inside {
            if let Some(other) = raw.next_hops.first().filter(|_| raw.sound) {
                let family = if cidr.address.is_ipv4() { "IPv4" } else { "IPv6" };
                let what = format!("no {family} router for {cidr}");
                let remedy = "list one of each family, as next_hop = [\"10.9.0.1\", \"2001:db8:9::1\"]";
                source.error(&other.place, what, remedy);
            }
            continue;
        }
        if let Some(next_hop) = next_hop {
            next_hop_fits(source, *cidr, next_hop);
        }
        let prefix = cidr.prefix;
        match (cidr.address, next_hop.map(|h| h.value)) {
            (IpAddr::V4(address), Some(IpAddr::V4(hop))) => {
                v4 = Some(Network { address, prefix, next_hop: Some(hop) });
            }
            (IpAddr::V6(address), Some(IpAddr::V6(hop))) => {
                v6 = Some(Network { address, prefix, next_hop: Some(hop) });
            }
            (IpAddr::V4(address), _) => v4 = Some(Network { address, prefix, next_hop: None }),
            (IpAddr::V6(address), _) => v6 = Some(Network { address, prefix, next_hop: None }),
        }
    }
    for lone in &raw.next_hops {
        if raw.sound && !raw.addresses.iter().any(|a| a.value.address.is_ipv4() == lone.value.is_ipv4()) {
            let what = format!("we have no address of the family of {}", lone.value);
            source.error(&lone.place, what, "take it out, or add an own address to interface.address");
        }
    }
    if !raw.sound {
        return None;
    }
    Some(Interface {
        name: raw.name?.value,
        driver: raw.driver,
        mode: raw.mode.value,
        vlan: raw.vlan,
        v4,
        v6,
        routes: Vec::new(),
        nic_profile: raw.nic_profile,
    })
}

/// A router is another host of our network; in IPv6 it may be known by its link-local address.
fn next_hop_fits(source: &Source<'_>, cidr: Cidr, next_hop: &At<IpAddr>) {
    let a = next_hop.value;
    let link_local = matches!(a, IpAddr::V6(a) if a.is_unicast_link_local());
    let remedy = "write the router's address on this network";
    if a == cidr.address {
        source.error(&next_hop.place, format!("{a} is our own address"), remedy);
    } else if !link_local && (!cidr.contains(a) || cidr.is_edge(a)) {
        source.error(&next_hop.place, format!("{a} is no host on the network of {cidr}"), remedy);
    }
}
