//! The sections `[[interface]]` and `[[route]]`.

use super::firewall::{network, side};
use super::{IN_LINE, host, interface_name, one_a_family, own_address, relative};
use crate::config::checked::{Deployment, Driver, Mode, NicProfileName, Side};
use crate::config::reader::Choice::Is;
use crate::config::reader::{At, Item, Place, Section, Source};
use crate::config::units::Cidr;
use std::net::IpAddr;

pub(in crate::config) struct RawInterface {
    pub(in crate::config) name: Option<At<String>>,
    /// Of a bridge or route only.
    pub(in crate::config) role: Option<At<Side>>,
    pub(in crate::config) driver: Driver,
    pub(in crate::config) mode: At<Mode>,
    pub(in crate::config) vlan: Option<Vec<u16>>,
    /// Those that could be read.
    pub(in crate::config) addresses: Vec<At<Cidr>>,
    pub(in crate::config) next_hops: Vec<At<IpAddr>>,
    /// All that was written was right, value by value.
    pub(in crate::config) sound: bool,
    pub(in crate::config) nic_profile: NicProfileName,
}

pub(in crate::config) struct RawRoute {
    pub(in crate::config) network: Option<At<Cidr>>,
    pub(in crate::config) via: Option<At<IpAddr>>,
}

/// All interfaces; those of a bridge or route with their roles, one each.
pub(super) fn interfaces(
    source: &Source<'_>,
    root: &mut Section<'_, '_>,
    kind: Option<Deployment>,
    wccp: bool,
) -> Vec<RawInterface> {
    let in_line = kind.is_some_and(Deployment::in_line);
    let remedy = if in_line {
        "add two [[interface]] sections, one with role = \"inside\" and one with role = \"outside\""
    } else {
        "add an [[interface]] section with name, address and next_hop"
    };
    let place = root.place_of("interface");
    let Some(mut all) = root.need("interface", remedy, Item::sections) else { return Vec::new() };
    if all.is_empty() {
        source.error(&place, "the list is empty", remedy);
        return Vec::new();
    }
    // Of what kind the deployment is meant to be is not known: the other fault has been told.
    let unknown = kind.is_none() && !wccp;
    let most = if in_line || unknown { 2 } else { 1 };
    for extra in all.drain(most.min(all.len())..) {
        if in_line {
            extra.wrong(
                "a third interface",
                "keep one with role = \"inside\" and one with role = \"outside\"",
            );
        } else {
            source.error(
                extra.place(),
                "several interfaces are not built yet",
                "possible now: one [[interface]]",
            );
        }
    }
    let all: Vec<RawInterface> = all.into_iter().map(|s| interface(s, kind, unknown)).collect();
    if in_line {
        roles(source, &all, &place);
    }
    all
}

/// One inside, one outside, of two names.
fn roles(source: &Source<'_>, all: &[RawInterface], place: &Place) {
    let [first, second] = all else {
        let what = "one interface, where packets pass from one to another";
        return source.error(place, what, "add the other [[interface]], with its role");
    };
    if let (Some(a), Some(b)) = (&first.role, &second.role)
        && a.value == b.value
    {
        let what = format!("both interfaces have the role {:?}", a.value.name());
        source.error(&b.place, what, "write \"inside\" at the one and \"outside\" at the other");
    }
    if let (Some(a), Some(b)) = (&first.name, &second.name)
        && a.value == b.value
    {
        let what = format!("{:?} is the other interface already", a.value);
        source.error(&b.place, what, "write the names of two interfaces");
    }
}

fn interface(mut s: Section<'_, '_>, kind: Option<Deployment>, unknown: bool) -> RawInterface {
    let in_line = kind.is_some_and(Deployment::in_line);
    let bridge = kind == Some(Deployment::Bridge);
    let name = s.need("name", "write the interface's name, as name = \"eth1\"", |i| i.at(interface_name));
    let mut role = None;
    if in_line {
        role = s.need("role", "write role = \"inside\" or \"outside\"", |i| i.at(side));
    } else if let Some(item) = s.take("role").filter(|_| !unknown) {
        let why = format!("inside and outside belong to bridge and route; {IN_LINE}");
        item.wrong::<()>(why, "take the key out");
    }
    let driver = s.or("driver", Driver::AfXdp, |i| {
        i.choice(&[("af_xdp", Is(Driver::AfXdp)), ("pnet", Is(Driver::Pnet))])
    });
    let default = At { value: Mode::Dedicated, place: s.place_of("mode") };
    let mode = s.or("mode", default, |i| {
        if in_line && i.is_string("shared") {
            let what = "a bridge or route takes every frame of its interfaces";
            return i.wrong(what, "write mode = \"dedicated\", or take the key out");
        }
        i.at(|i| i.choice(&[Mode::Dedicated, Mode::Shared].map(|m| (m.name(), Is(m)))))
    });
    let (mut vlan, mut addresses, mut next_hops) = (None, Some(Vec::new()), Some(Vec::new()));
    if bridge {
        s.refuse(&["address", "next_hop"], "a bridge has no address of its own", "take the key out");
        s.refuse(&["vlan"], "a bridge leaves every frame its own tags", "take the key out");
    } else {
        vlan = s.take("vlan").and_then(self::vlan);
        let remedy = "write our own address and prefix, as address = [\"10.9.0.2/24\"]";
        let read = |i: Item<'_, '_>| one_a_family(&i, own_address, |c| c.address);
        addresses = if unknown {
            s.or("address", Some(Vec::new()), |i| read(i).map(Some))
        } else {
            s.need("address", remedy, read)
        };
        let remedy = "write the router's address on this network, as next_hop = \"10.9.0.1\"";
        let read = |i: Item<'_, '_>| {
            if i.is_array() { one_a_family(&i, host, |a| *a) } else { i.at(host).map(|a| vec![a]) }
        };
        let inside = role.as_ref().is_some_and(|r| r.value == Side::Inside);
        next_hops = match s.take("next_hop") {
            Some(item) => read(item),
            None if inside || unknown => Some(Vec::new()),
            None => s.need("next_hop", remedy, read),
        };
    }
    let nic_profile = s.or("nic_profile", NicProfileName::Generic, |i| {
        let text = i.string("\"generic\", \"veth\" or the path of a profile")?;
        Some(match text.as_str() {
            "generic" => NicProfileName::Generic,
            "veth" => NicProfileName::Veth,
            path => NicProfileName::File(relative(i.source(), path)),
        })
    });
    s.finish();
    let sound = addresses.is_some() && next_hops.is_some();
    let (addresses, next_hops) = (addresses.unwrap_or_default(), next_hops.unwrap_or_default());
    RawInterface { name, role, driver, mode, vlan, addresses, next_hops, sound, nic_profile }
}

pub(super) fn routes(root: &mut Section<'_, '_>, kind: Option<Deployment>) -> Vec<RawRoute> {
    let Some(item) = root.take("route") else { return Vec::new() };
    if kind.is_some_and(|k| k != Deployment::Route) {
        let remedy = "take these sections out, or write deployment.kind = \"route\"";
        item.wrong::<()>("other networks are known to deployments of kind = \"route\" only", remedy);
        return Vec::new();
    }
    item.sections().unwrap_or_default().into_iter().map(route).collect()
}

fn route(mut s: Section<'_, '_>) -> RawRoute {
    let network = s.need("network", "write the network, as network = \"10.1.0.0/16\"", |i| i.at(network));
    let via = s.need("via", "write its router's address, as via = \"10.0.0.254\"", |i| i.at(host));
    s.finish();
    RawRoute { network, via }
}

/// One id, or two of which the first is the outer tag's.
fn vlan(item: Item<'_, '_>) -> Option<Vec<u16>> {
    const WANTED: &str = "a list of one or two VLAN ids, as [100]";
    let items = item.items(WANTED)?;
    if items.is_empty() {
        return item.wrong("the list is empty", "take the key out, or write the id of the VLAN, as [100]");
    }
    if items.len() > 2 {
        return item.wrong("more than two tags", "write the outer and the inner tag's id, as [100, 200]");
    }
    // A list with a wrong id would be another VLAN.
    items.into_iter().map(|i| i.number(1..=4094)).collect()
}
