//! The sections `[firewall]` and `[nat]`.

use super::{is_host, section_name};
use crate::config::checked::{
    DataRule, Firewall, FirewallRule, IpProtocol, PortForward, RuleAction, Side, StaticNat,
};
use crate::config::reader::Choice::Is;
use crate::config::reader::{At, Item, Place, Section};
use crate::config::units::Cidr;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;

pub(in crate::config) struct RawNat {
    pub(in crate::config) masquerade: Option<RawMasquerade>,
    pub(in crate::config) one_to_one: Vec<At<StaticNat>>,
    pub(in crate::config) forwards: Vec<At<PortForward>>,
}

pub(in crate::config) struct RawMasquerade {
    pub(in crate::config) place: Place,
    /// None: the outside interface's.
    pub(in crate::config) address: Option<Ipv4Addr>,
    pub(in crate::config) sources: Vec<Cidr>,
    pub(in crate::config) ports: RangeInclusive<u16>,
}

const NETWORKS: &str = "a list of networks, as [\"10.0.0.0/24\"]";
const RANGES: &str = "a list of ports, as [21, \"8000-8100\"]";
/// RFC 6335 section 6: ports that nobody is assigned.
const DYNAMIC_PORTS: RangeInclusive<u16> = 49_152..=65_535;

pub(super) fn firewall(s: &mut Section<'_, '_>) -> Firewall {
    let d = Firewall::default();
    let default = s.or("default", d.default, |i| {
        i.choice(&[RuleAction::Deny, RuleAction::Allow].map(|a| (a.name(), Is(a))))
    });
    let refuse_with = s.or("refuse_with", d.refuse_with, |i| {
        i.choice(&[RuleAction::Drop, RuleAction::Reject].map(|a| (a.name(), Is(a))))
    });
    let mut names = Vec::new();
    let rules = s.or("rule", Vec::new(), Item::sections);
    let rules = rules.into_iter().filter_map(|r| rule(r, &mut names)).collect();
    let mut names = Vec::new();
    let data = s.or("data", Vec::new(), Item::sections);
    let data = data.into_iter().filter_map(|r| data_rule(r, &mut names)).collect();
    Firewall { default, refuse_with, rules, data }
}

fn rule(mut s: Section<'_, '_>, names: &mut Vec<String>) -> Option<FirewallRule> {
    let name =
        s.need("name", "write a name for events, as name = \"web\"", |i| unique(i, names, section_name));
    let actions = [RuleAction::Allow, RuleAction::Deny, RuleAction::Drop, RuleAction::Reject]
        .map(|a| (a.name(), Is(a)));
    let action = s.need("action", "write action = \"allow\" or \"deny\"", |i| i.choice(&actions));
    let from = s.take("from").and_then(side);
    let protocol = s.or("protocol", IpProtocol::Any, protocol);
    let source = s.or("source", Vec::new(), networks);
    let destination = s.or("destination", Vec::new(), networks);
    let ports = s.or("ports", Vec::new(), |i| {
        if !matches!(protocol, IpProtocol::Tcp | IpProtocol::Udp) {
            let remedy = "write protocol = \"tcp\" or \"udp\" beside it, or take the key out";
            return i.wrong("ports are of TCP and UDP", remedy);
        }
        ranges(&i)
    });
    let four = |list: &[Cidr]| list.iter().any(|c| c.address.is_ipv4());
    let six = |list: &[Cidr]| list.iter().any(|c| !c.address.is_ipv4());
    let both = !source.is_empty() && !destination.is_empty();
    if both && !(four(&source) && four(&destination)) && !(six(&source) && six(&destination)) {
        let what = "no packet fits: source and destination are of different families";
        s.wrong(what, "write networks of one family, or two rules");
    }
    s.finish();
    Some(FirewallRule { name: name?, action: action?, from, protocol, source, destination, ports })
}

fn data_rule(mut s: Section<'_, '_>, names: &mut Vec<String>) -> Option<DataRule> {
    let name =
        s.need("name", "write a name for events, as name = \"ftps\"", |i| unique(i, names, section_name));
    let servers = s.need("servers", "write the servers, as servers = [\"198.51.100.7\"]", networks);
    let remedy = "write the ports that the servers give to data, as ports = [\"50000-50100\"]";
    let ports = s.need("ports", remedy, |i| ranges(&i));
    let session = s.or("session", true, |i| i.choice(&[("needed", Is(true)), ("any", Is(false))]));
    s.finish();
    Some(DataRule { name: name?, servers: servers?, ports: ports?, needs_session: session })
}

pub(super) fn nat(s: &mut Section<'_, '_>) -> RawNat {
    let mut masquerade_place = s.place_of("masquerade");
    // None: none; Some(None): under the interface's address.
    let masquerade = s.or("masquerade", None, |i| {
        masquerade_place = i.place.clone();
        if i.is_boolean() {
            i.boolean().map(|on| on.then_some(None))
        } else {
            host_v4(i).map(|a| Some(Some(a)))
        }
    });
    let (mut sources, mut ports) = (Vec::new(), DYNAMIC_PORTS);
    if masquerade.is_some() {
        sources = s.or("sources", sources, |i| {
            let place = i.place.clone();
            let source = i.source();
            let list = networks(i)?;
            if let Some(six) = list.iter().find(|c| !c.address.is_ipv4()) {
                let what = format!("{six} is of IPv6, which is not translated");
                source.error(&place, what, "take it out");
            }
            Some(list)
        });
        ports = s.or("ports", ports, port_range);
    } else {
        let remedy = "write masquerade = true, or take the key out";
        s.refuse(&["sources", "ports"], "is for masquerading", remedy);
    }
    let masquerade =
        masquerade.map(|address| RawMasquerade { place: masquerade_place, address, sources, ports });
    let list = s.or("static", Vec::new(), Item::sections);
    let one_to_one = list.into_iter().filter_map(static_nat).collect();
    let list = s.or("forward", Vec::new(), Item::sections);
    let forwards = list.into_iter().filter_map(forward).collect();
    RawNat { masquerade, one_to_one, forwards }
}

fn static_nat(mut s: Section<'_, '_>) -> Option<At<StaticNat>> {
    let place = s.place().clone();
    let inside = s.need("inside", "write the inside address, as inside = \"10.0.0.80\"", host_v4);
    let outside = s.need("outside", "write its outside address, as outside = \"203.0.113.80\"", host_v4);
    s.finish();
    Some(At { value: StaticNat { inside: inside?, outside: outside? }, place })
}

fn forward(mut s: Section<'_, '_>) -> Option<At<PortForward>> {
    let place = s.place().clone();
    let protocols = [("tcp", Is(IpProtocol::Tcp)), ("udp", Is(IpProtocol::Udp))];
    let protocol = s.or("protocol", IpProtocol::Tcp, |i| i.choice(&protocols));
    let remedy = "write address and port, as outside = \"203.0.113.9:2121\"";
    let outside = s.need("outside", remedy, socket);
    let inside = s.need("inside", "write address and port, as inside = \"10.0.0.21:21\"", socket);
    s.finish();
    Some(At { value: PortForward { protocol, outside: outside?, inside: inside? }, place })
}

/// A name that none of `names` is, which it joins.
fn unique(
    item: Item<'_, '_>,
    names: &mut Vec<String>,
    read: impl FnOnce(Item<'_, '_>) -> Option<String>,
) -> Option<String> {
    let (place, source) = (item.place.clone(), item.source());
    let name = read(item)?;
    if names.contains(&name) {
        source.error(&place, format!("{name:?} is there already"), "give each rule a name of its own");
    }
    names.push(name.clone());
    Some(name)
}

pub(super) fn side(item: Item<'_, '_>) -> Option<Side> {
    item.choice(&[Side::Inside, Side::Outside].map(|s| (s.name(), Is(s))))
}

fn protocol(item: Item<'_, '_>) -> Option<IpProtocol> {
    if item.is_integer() {
        return item.number(0..=255).map(|n| match n {
            6 => IpProtocol::Tcp,
            17 => IpProtocol::Udp,
            n => IpProtocol::Number(n),
        });
    }
    let words = [
        ("tcp", Is(IpProtocol::Tcp)),
        ("udp", Is(IpProtocol::Udp)),
        ("icmp", Is(IpProtocol::Icmp)),
        ("any", Is(IpProtocol::Any)),
    ];
    item.choice(&words)
}

pub(super) fn networks(item: Item<'_, '_>) -> Option<Vec<Cidr>> {
    let list = item.set(NETWORKS, network)?;
    if item.items(NETWORKS)?.is_empty() {
        return item.wrong("the list is empty", format!("write {NETWORKS}"));
    }
    Some(list.into_iter().map(|n| n.value).collect())
}

/// A network, or one address.
pub(super) fn network(item: Item<'_, '_>) -> Option<Cidr> {
    let text = item.string("a network, as \"10.0.0.0/24\"")?;
    let alone = || {
        let address: IpAddr = text.parse().ok()?;
        Some(Cidr { address, prefix: if address.is_ipv4() { 32 } else { 128 } })
    };
    let Some(network) = Cidr::parse(&text).or_else(alone) else {
        return item
            .wrong(format!("{text:?} is no network"), "write it as \"10.0.0.0/24\" or \"2001:db8::/64\"");
    };
    if network.first() != network {
        return item.wrong(format!("{text:?} has a host part"), format!("write \"{}\"", network.first()));
    }
    Some(network)
}

fn ranges(item: &Item<'_, '_>) -> Option<Vec<RangeInclusive<u16>>> {
    let list = item.set(RANGES, port_range)?;
    if item.items(RANGES)?.is_empty() {
        return item.wrong("the list is empty", format!("write {RANGES}"));
    }
    Some(list.into_iter().map(|p| p.value).collect())
}

/// A port, or as `"8000-8100"`.
pub(super) fn port_range(item: Item<'_, '_>) -> Option<RangeInclusive<u16>> {
    if item.is_integer() {
        return item.number(1..=65_535).map(|p| p..=p);
    }
    let text = item.string("a port, or ports as \"8000-8100\"")?;
    let number = |t: &str| t.bytes().all(|b| b.is_ascii_digit()).then(|| t.parse().ok()).flatten();
    let ends = text.split_once('-').and_then(|(a, b)| Some((number(a)?, number(b)?)));
    match ends {
        Some((first, last)) if first > 0 && first <= last => Some(first..=last),
        _ => item.wrong(format!("{text:?} is no range of ports"), "write it as \"8000-8100\""),
    }
}

fn host_v4(item: Item<'_, '_>) -> Option<Ipv4Addr> {
    let text = item.string("an IPv4 address, as \"203.0.113.9\"")?;
    match text.parse().ok().filter(|a: &Ipv4Addr| is_host((*a).into())) {
        None => item.wrong(format!("{text:?} is no host's IPv4 address"), "write it as \"203.0.113.9\""),
        a => a,
    }
}

fn socket(item: Item<'_, '_>) -> Option<SocketAddrV4> {
    let text = item.string("an IPv4 address and a port, as \"203.0.113.9:2121\"")?;
    let good = |a: &SocketAddrV4| is_host((*a.ip()).into()) && a.port() != 0;
    match text.parse().ok().filter(good) {
        None => {
            item.wrong(format!("{text:?} is no IPv4 address with a port"), "write it as \"203.0.113.9:2121\"")
        }
        a => a,
    }
}
