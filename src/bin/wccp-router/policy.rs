//! Policy routing: what a rule picks goes to its next hop while that one answers, and straight on when it does not.

use crate::packet::PROTO_TCP;
use serde::Serialize;
use std::net::IpAddr;
use tidegate::time::{Duration, Instant};

/// A network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// An address in it.
    pub addr: IpAddr,
    /// Bits that all its addresses share.
    pub len: u8,
}

impl Prefix {
    /// Whether `other` is in it.
    pub fn has(&self, other: IpAddr) -> bool {
        let same = |a: u128, b: u128, width: u32| {
            let free = width.saturating_sub(u32::from(self.len));
            a.checked_shr(free) == b.checked_shr(free)
        };
        match (self.addr, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }
}

impl std::str::FromStr for Prefix {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (addr, len) = text.split_once('/').ok_or(())?;
        let addr: IpAddr = addr.parse().map_err(|_| ())?;
        let len = len.parse().map_err(|_| ())?;
        let most = if addr.is_ipv4() { 32 } else { 128 };
        (len <= most).then_some(Self { addr, len }).ok_or(())
    }
}

/// One rule. It is about TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Legs by index on which packets enter; none: any.
    pub in_legs: Vec<usize>,
    /// Where they come from.
    pub from: Option<Prefix>,
    /// Where they go.
    pub to: Option<Prefix>,
    /// Destination ports; none: any.
    pub ports: Vec<u16>,
    /// Source ports; none: any.
    pub source_ports: Vec<u16>,
    /// Whom they are given to.
    pub next_hop: IpAddr,
    /// How long the next hop may be silent before packets go straight on.
    pub dead_after: Duration,
}

/// What of a packet a rule looks at.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Protocol.
    pub proto: u8,
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// Source and destination port, where the packet shows them.
    pub ports: Option<(u16, u16)>,
}

impl Rule {
    fn wants(&self, packet: &Seen, in_leg: usize) -> bool {
        let port = |list: &[u16], which: fn((u16, u16)) -> u16| {
            list.is_empty() || packet.ports.is_some_and(|p| list.contains(&which(p)))
        };
        (self.in_legs.is_empty() || self.in_legs.contains(&in_leg))
            && packet.proto == PROTO_TCP
            && self.next_hop.is_ipv4() == packet.src.is_ipv4()
            && self.from.is_none_or(|p| p.has(packet.src))
            && self.to.is_none_or(|p| p.has(packet.dst))
            && port(&self.ports, |p| p.1)
            && port(&self.source_ports, |p| p.0)
    }
}

/// What a rule did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RuleStats {
    /// Packets given to the next hop.
    pub redirected: u64,
    /// Packets that went straight on because the next hop is silent.
    pub straight: u64,
}

/// A rule with its next hop's state.
#[derive(Debug)]
pub struct Policy {
    /// The rule.
    pub rule: Rule,
    /// Counters.
    pub stats: RuleStats,
    heard: Option<Instant>,
    ask_at: Instant,
}

impl Policy {
    /// A rule whose next hop has not answered yet.
    pub fn new(rule: Rule) -> Self {
        Self { rule, stats: RuleStats::default(), heard: None, ask_at: Instant::ZERO }
    }

    /// Whether the next hop has been heard lately.
    pub fn alive(&self, now: Instant) -> bool {
        self.heard.is_some_and(|at| now < at + self.rule.dead_after)
    }
}

/// All rules, in order.
#[derive(Debug, Default)]
pub struct Policies(pub Vec<Policy>);

impl Policies {
    /// The next hop for a packet; the first rule that wants it decides.
    pub fn next_hop(&mut self, packet: &Seen, in_leg: usize, now: Instant) -> Option<IpAddr> {
        let policy = self.0.iter_mut().find(|p| p.rule.wants(packet, in_leg))?;
        if policy.alive(now) {
            policy.stats.redirected += 1;
            return Some(policy.rule.next_hop);
        }
        policy.stats.straight += 1;
        None
    }

    /// Notes that `addr` spoke.
    pub fn heard(&mut self, addr: IpAddr, now: Instant) {
        for policy in self.0.iter_mut().filter(|p| p.rule.next_hop == addr) {
            policy.heard = Some(now);
        }
    }

    /// The next hops to ask for now: each three times in the time after which it would be dead.
    pub fn due(&mut self, now: Instant) -> Vec<IpAddr> {
        let mut ask = vec![];
        for policy in self.0.iter_mut().filter(|p| p.ask_at <= now) {
            policy.ask_at = now + policy.rule.dead_after / 3;
            if !ask.contains(&policy.rule.next_hop) {
                ask.push(policy.rule.next_hop);
            }
        }
        ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Rule {
        Rule {
            in_legs: vec![0],
            from: "10.0.0.0/24".parse().ok(),
            to: None,
            ports: vec![21, 2020],
            source_ports: vec![],
            next_hop: [10, 9, 0, 2].into(),
            dead_after: Duration::from_millis(900),
        }
    }

    fn seen(src: [u8; 4], ports: (u16, u16)) -> Seen {
        Seen { proto: PROTO_TCP, src: src.into(), dst: [10, 1, 0, 10].into(), ports: Some(ports) }
    }

    #[test]
    fn prefixes_hold_their_addresses_only() {
        let p = |text: &str| text.parse::<Prefix>();
        assert!(p("10.0.0.0/24").unwrap().has([10, 0, 0, 255].into()));
        assert!(!p("10.0.0.0/24").unwrap().has([10, 0, 1, 0].into()));
        assert!(p("0.0.0.0/0").unwrap().has([192, 0, 2, 1].into()));
        assert!(!p("0.0.0.0/0").unwrap().has("fd00::1".parse().unwrap()));
        assert!(p("::/0").unwrap().has("fd00::1".parse().unwrap()));
        assert!(!p("fd00:0:0:1::/64").unwrap().has("fd00::1".parse().unwrap()));
        assert!(p("fd00::1/128").unwrap().has("fd00::1".parse().unwrap()));
        for bad in ["10.0.0.0", "10.0.0.0/33", "::/129", "x/8", "10.0.0.0/"] {
            assert!(p(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rule_picks_by_leg_address_and_port() {
        let r = rule();
        let client = [10, 0, 0, 10];
        assert!(r.wants(&seen(client, (4000, 21)), 0) && r.wants(&seen(client, (4000, 2020)), 0));
        assert!(!r.wants(&seen(client, (21, 4000)), 0), "a source port");
        assert!(!r.wants(&seen([10, 2, 0, 1], (4000, 21)), 0) && !r.wants(&seen(client, (4000, 21)), 1));
        assert!(!r.wants(&Seen { proto: 17, ..seen(client, (4000, 21)) }, 0));
        assert!(!r.wants(&Seen { ports: None, ..seen(client, (4000, 21)) }, 0), "a later fragment");
        let back = Rule { ports: vec![], source_ports: vec![21], in_legs: vec![], ..r };
        assert!(back.wants(&seen(client, (21, 4000)), 1) && !back.wants(&seen(client, (4000, 21)), 1));
    }

    #[test]
    fn a_silent_next_hop_is_passed_by() {
        let mut all = Policies(vec![Policy::new(rule())]);
        let (hop, packet) = (IpAddr::from([10, 9, 0, 2]), seen([10, 0, 0, 10], (4000, 21)));
        let mut now = Instant::from_millis(10);
        assert_eq!(all.due(now), [hop]);
        assert_eq!(all.next_hop(&packet, 0, now), None, "not before it was heard");
        all.heard(hop, now);
        assert_eq!((all.next_hop(&packet, 0, now), all.due(now)), (Some(hop), vec![]));
        now += Duration::from_millis(899);
        assert_eq!((all.next_hop(&packet, 0, now), all.due(now)), (Some(hop), vec![hop]));
        now += Duration::from_millis(1);
        assert_eq!(all.next_hop(&packet, 0, now), None);
        all.heard([10, 9, 0, 3].into(), now);
        assert!(!all.0[0].alive(now), "that was another");
        assert_eq!(all.0[0].stats, RuleStats { redirected: 2, straight: 2 });
    }
}
