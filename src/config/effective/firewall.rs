//! Packet filter and address translation, shown.

use super::{Block, Entry, many, noted, one, plain};
use crate::config::checked::{Firewall, IpProtocol, Nat, RuleAction};
use crate::config::units::Cidr;
use serde_json::{Value, json};
use std::ops::RangeInclusive;

pub(super) fn firewall(f: &Firewall) -> Vec<Block> {
    let default = match f.default {
        RuleAction::Allow => "what no rule is about passes",
        _ => "only rules and announced data connections open it",
    };
    let refuse = match f.refuse_with {
        RuleAction::Reject => "a reset, or an ICMP error",
        _ => "without a word",
    };
    let mut blocks = vec![one(
        "firewall",
        vec![noted("default", f.default.name(), default), noted("refuse_with", f.refuse_with.name(), refuse)],
    )];
    for r in &f.rules {
        let mut entries = vec![plain("name", r.name.as_str()), plain("action", r.action.name())];
        entries.extend(r.from.map(|side| plain("from", side.name())));
        entries.push(protocol(r.protocol));
        entries.extend(unless_any("source", &r.source));
        entries.extend(unless_any("destination", &r.destination));
        if !r.ports.is_empty() {
            entries.push(plain("ports", ports(&r.ports)));
        }
        blocks.push(many("firewall.rule", entries));
    }
    for d in &f.data {
        let (session, comment) = if d.needs_session {
            ("needed", "clients without a control connection are refused")
        } else {
            ("any", "anybody may connect")
        };
        blocks.push(many(
            "firewall.data",
            vec![
                plain("name", d.name.as_str()),
                plain("servers", networks(&d.servers)),
                plain("ports", ports(&d.ports)),
                noted("session", session, comment),
            ],
        ));
    }
    blocks
}

pub(super) fn nat(nat: &Nat) -> Vec<Block> {
    let mut blocks = Vec::new();
    if let Some(m) = &nat.masquerade {
        let mut entries =
            vec![noted("masquerade", m.address.to_string(), "what sources inside are called outside")];
        entries.extend(unless_any("sources", &m.sources));
        entries.push(noted("ports", range(&m.ports), "where the original one is taken"));
        blocks.push(one("nat", entries));
    }
    for s in &nat.one_to_one {
        let entries = vec![plain("inside", s.inside.to_string()), plain("outside", s.outside.to_string())];
        blocks.push(many("nat.static", entries));
    }
    for f in &nat.forwards {
        let (outside, inside) = (f.outside.to_string(), f.inside.to_string());
        let entries = vec![protocol(f.protocol), plain("outside", outside), plain("inside", inside)];
        blocks.push(many("nat.forward", entries));
    }
    blocks
}

fn protocol(p: IpProtocol) -> Entry {
    match p {
        IpProtocol::Any => plain("protocol", "any"),
        IpProtocol::Tcp => plain("protocol", "tcp"),
        IpProtocol::Udp => plain("protocol", "udp"),
        IpProtocol::Icmp => plain("protocol", "icmp"),
        IpProtocol::Number(n) => plain("protocol", n),
    }
}

fn unless_any(key: &'static str, list: &[Cidr]) -> Option<Entry> {
    (!list.is_empty()).then(|| plain(key, networks(list)))
}

pub(super) fn networks(list: &[Cidr]) -> Value {
    json!(list.iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// Ports as numbers, ranges as texts.
pub(super) fn ports(list: &[RangeInclusive<u16>]) -> Value {
    list.iter().map(|r| if r.start() == r.end() { json!(r.start()) } else { range(r) }).collect()
}

fn range(r: &RangeInclusive<u16>) -> Value {
    json!(format!("{}-{}", r.start(), r.end()))
}
