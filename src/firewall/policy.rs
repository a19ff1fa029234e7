//! Rules: who may begin what. The first that fits decides.

use super::packet::Side;
use super::settings::{Action, Filter, Protocol, Rule};
use crate::wire::{proto, within};
use std::net::SocketAddr;
use std::ops::RangeInclusive;

/// What begins something, as it came. Where the protocol has no ports they are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Begin {
    pub(super) from: Side,
    pub(super) proto: u8,
    pub(super) src: SocketAddr,
    pub(super) dst: SocketAddr,
}

impl Begin {
    /// What would have begun the connection that this answers in.
    pub(super) const fn reversed(&self) -> Self {
        Self { from: self.from.other(), proto: self.proto, src: self.dst, dst: self.src }
    }
}

/// What was decided, and by which rule; none: by the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) action: Action,
    pub(super) rule: Option<usize>,
}

impl Filter {
    /// What becomes of it.
    pub(super) fn decide(&self, it: &Begin) -> Decision {
        match self.rules.iter().position(|r| r.fits(it)) {
            Some(at) => Decision { action: self.rules[at].action, rule: Some(at) },
            None => Decision { action: self.default, rule: None },
        }
    }

    /// Whether packets of connections whose begin was not seen pass: one way or the other it would have been allowed.
    pub(super) fn passes_unknown(&self, it: &Begin) -> bool {
        self.default == Action::Allow
            && [*it, it.reversed()].iter().any(|it| self.decide(it).action == Action::Allow)
    }
}

impl Rule {
    fn fits(&self, it: &Begin) -> bool {
        let ported = matches!(it.proto, proto::TCP | proto::UDP);
        self.from.is_none_or(|from| from == it.from)
            && self.protocol.is(it.proto)
            && (self.source.is_empty() || self.source.iter().any(|n| within(it.src.ip(), n)))
            && (self.destination.is_empty() || self.destination.iter().any(|n| within(it.dst.ip(), n)))
            && (self.ports.is_empty() || ported && holds(&self.ports, it.dst.port()))
    }
}

impl Protocol {
    /// Whether it is this one.
    pub(super) const fn is(self, number: u8) -> bool {
        match self {
            Self::Any => true,
            Self::Tcp => number == proto::TCP,
            Self::Udp => number == proto::UDP,
            Self::Icmp => matches!(number, proto::ICMP | proto::ICMPV6),
            Self::Number(n) => number == n,
        }
    }
}

fn holds(ports: &[RangeInclusive<u16>], port: u16) -> bool {
    ports.iter().any(|p| p.contains(&port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Net;

    fn net(text: &str) -> Net {
        let (a, len) = text.split_once('/').unwrap();
        (a.parse().unwrap(), len.parse().unwrap())
    }

    fn rule(name: &str, action: Action, ports: Vec<RangeInclusive<u16>>) -> Rule {
        Rule {
            name: name.to_owned(),
            action,
            from: None,
            protocol: Protocol::Any,
            source: vec![],
            destination: vec![],
            ports,
        }
    }

    fn begin(proto: u8, from: Side, port: u16) -> Begin {
        Begin {
            from,
            proto,
            src: "10.0.0.1:1025".parse().unwrap(),
            dst: SocketAddr::new("192.0.2.1".parse().unwrap(), port),
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = vec![
            rule("a", Action::Drop, vec![21..=21, 2000..=3000]),
            rule("b", Action::Allow, vec![]),
            rule("c", Action::Reject, vec![]),
        ];
        let filter = Filter { default: Action::Drop, rules, data: vec![] };
        let decide = |it| (filter.decide(&it).action, filter.decide(&it).rule);
        assert_eq!(decide(begin(6, Side::Inside, 21)), (Action::Drop, Some(0)));
        assert_eq!(decide(begin(17, Side::Inside, 2500)), (Action::Drop, Some(0)));
        assert_eq!(decide(begin(6, Side::Inside, 22)), (Action::Allow, Some(1)));
        // What has no ports fits no rule about ports.
        assert_eq!(decide(begin(1, Side::Inside, 21)), (Action::Allow, Some(1)));
    }

    #[test]
    fn every_part_of_a_rule_must_fit() {
        let one = |change: &dyn Fn(&mut Rule)| {
            let mut r = rule("r", Action::Allow, vec![]);
            change(&mut r);
            let filter = Filter { default: Action::Drop, rules: vec![r], data: vec![] };
            filter.decide(&begin(6, Side::Outside, 21)).rule == Some(0)
        };
        assert!(one(&|_| ()));
        assert!(one(&|r| r.from = Some(Side::Outside)) && !one(&|r| r.from = Some(Side::Inside)));
        assert!(one(&|r| r.protocol = Protocol::Tcp) && !one(&|r| r.protocol = Protocol::Udp));
        assert!(one(&|r| r.protocol = Protocol::Number(6)) && !one(&|r| r.protocol = Protocol::Icmp));
        assert!(
            one(&|r| r.source = vec![net("10.0.0.0/24")]) && !one(&|r| r.source = vec![net("10.0.1.0/24")])
        );
        assert!(one(&|r| r.destination = vec![net("::/0"), net("192.0.2.0/24")]));
        assert!(!one(&|r| r.destination = vec![net("10.0.0.0/24")]));
        assert!(one(&|r| r.ports = vec![1..=2, 20..=21]) && !one(&|r| r.ports = vec![22..=22]));
    }

    #[test]
    fn unknown_connections_pass_where_either_way_would_have_been_allowed() {
        let mut filter = Filter { default: Action::Allow, rules: vec![], data: vec![] };
        let it = begin(6, Side::Outside, 1025);
        assert!(filter.passes_unknown(&it));
        filter.rules = vec![Rule { from: Some(Side::Outside), ..rule("r", Action::Drop, vec![]) }];
        assert!(filter.passes_unknown(&it), "inside may have begun it");
        filter.rules = vec![rule("r", Action::Drop, vec![])];
        assert!(!filter.passes_unknown(&it));
        filter =
            Filter { default: Action::Drop, rules: vec![rule("r", Action::Allow, vec![])], data: vec![] };
        assert!(!filter.passes_unknown(&it), "what is not allowed by default must be seen to begin");
    }
}
