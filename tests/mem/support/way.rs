//! The ways in which the router brings packets to the gateway.

use super::options::Options;
use super::world::PORTS;
use crate::policy::{Policies, Policy, Rule};
use crate::wccp::codec::{Capabilities, GRE, HASH, L2};
use std::net::IpAddr;
use tidegate::wccp::Method;

/// How the router redirects, and how it takes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Gre,
    L2,
    /// Forwards by MAC address, takes back in GRE.
    L2ReturnGre,
    /// Forwards in GRE, takes back by MAC address.
    GreReturnL2,
    /// No WCCP: the router's policy.
    Policy,
}

impl Way {
    fn bits(self) -> (u32, u32) {
        match self {
            Self::Gre | Self::Policy => (GRE, GRE),
            Self::L2 => (L2, L2),
            Self::L2ReturnGre => (L2, GRE),
            Self::GreReturnL2 => (GRE, L2),
        }
    }

    pub(crate) fn offer(self) -> Capabilities {
        let all = if self == Self::Gre { GRE } else { GRE | L2 };
        Capabilities { forward: all, assignment: HASH, packet_return: all }
    }

    /// What a router offers that knows this way and no other, but for what a first HERE_I_AM takes for granted.
    pub(crate) fn only(self) -> Capabilities {
        let (forward, packet_return) = self.bits();
        Capabilities { forward, assignment: HASH, packet_return }
    }

    /// What a gateway asks for that has several routers.
    pub(crate) fn either() -> Vec<Method> {
        vec![Method::Gre, Method::L2]
    }

    pub(crate) fn forward(self) -> Vec<Method> {
        method(self.bits().0)
    }

    /// The rule of a router that sends FTP's ports to the gateway: those from clients, or without `exclude_in`
    /// those from everywhere. Source ports of servers' in `reverse` go there as well, empty for all.
    pub(crate) fn policies(o: &Options, next_hop: IpAddr) -> Policies {
        let rule = |leg, ports: &[u16], source_ports: &[u16]| Rule {
            in_legs: if o.exclude_in { vec![leg] } else { vec![] },
            from: None,
            to: None,
            ports: ports.to_vec(),
            source_ports: source_ports.to_vec(),
            next_hop,
            dead_after: o.here_i_am * 3,
        };
        let mut rules = vec![Policy::new(rule(0, &PORTS, &[]))];
        rules.extend(o.reverse.iter().map(|ports| Policy::new(rule(1, &[], ports))));
        Policies(rules)
    }

    pub(crate) fn back(self) -> Vec<Method> {
        method(self.bits().1)
    }
}

fn method(bits: u32) -> Vec<Method> {
    vec![if bits == L2 { Method::L2 } else { Method::Gre }]
}
