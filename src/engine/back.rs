//! The way back of packets that are not ours: to the router that sent them, as they came.

use super::classify::Arrived;
use super::drops::DropReason;
use super::link::Out;
use super::local::ip_id;
use super::origin::Origin;
use super::routers::Router;
use super::state::Redirected;
use super::turn::Turn;
use crate::neigh::Resolution;
use crate::time::Instant;
use crate::wire::eth::{self, Mac};
use crate::wire::gre::{self, Redirect};
use crate::wire::{IpPacket, build, parse_ip};
use std::net::{IpAddr, Ipv4Addr};

impl Redirected {
    /// Returns a packet that is not ours to the router that sent it, if it may pass.
    pub(super) fn give_back(&mut self, turn: &mut Turn<'_>, a: Arrived, ip: &IpPacket) {
        if let Some(a) = self.inspect(turn, a, ip) {
            self.send_back(turn, a);
        }
        self.inspect_emits(turn);
    }

    /// Sends a packet to the router that its like came from.
    pub(super) fn send_back(&mut self, turn: &mut Turn<'_>, a: Arrived) {
        let Some(origin) = a.origin else {
            return self.drop(turn, a.interface, a.frame, DropReason::Unhandled);
        };
        if !self.link.guard.may_return(turn.now, a.frame.bytes()) {
            return self.drop(turn, a.interface, a.frame, DropReason::Loop);
        }
        match origin {
            Origin::Gre { router, redirect } => {
                match self.routers.find(router).map(|r| (r, r.address.into())) {
                    Some((r, address)) if r.return_l2 && self.link.is_neighbour(address) => {
                        self.return_by_address(turn, a, address);
                    }
                    _ => self.return_gre(turn, a, router, redirect),
                }
            }
            Origin::L2 { router: mac } => match self.router_at(turn.now, mac) {
                // It came without a redirect header, so there is none to echo (four zero bytes).
                Some(r) if !r.return_l2 => self.return_gre(turn, a, r.address, Redirect::default()),
                _ => self.return_l2(turn, a, mac),
            },
            Origin::Static { from } => self.pass_on(turn, a, from),
        }
    }

    /// The router whose MAC address this is. Where it shows another than it answers for (a virtual one), the
    /// only router there is must be it.
    fn router_at(&mut self, now: Instant, mac: Mac) -> Option<Router> {
        let known = self.routers.all().iter().filter(|r| r.forward_l2);
        let neighbours = &mut self.link.neighbours;
        let mut at = known.clone().filter(
            |r| matches!(neighbours.resolve(now, r.address.into()), Resolution::Known(m, _) if m == mac),
        );
        let only = || known.clone().next().filter(|_| known.clone().count() == 1);
        at.next().or_else(only).copied()
    }

    /// In GRE, its redirect header with it.
    fn return_gre(&mut self, turn: &mut Turn<'_>, mut a: Arrived, router: Ipv4Addr, redirect: Redirect) {
        let named = self.routers.find(router).and_then(|r| r.id);
        let told = self.wccp.as_ref().and_then(|w| w.return_to(redirect.service(), router));
        let to = told.or(named).unwrap_or(router);
        let Some(own) = self.link.settings.v4.map(|n| n.address) else {
            return self.drop(turn, a.interface, a.frame, DropReason::NoNeighbour);
        };
        let id = ip_id(&self.keyed, to, &mut self.ip_id);
        if a.frame.push_front(gre::OVERHEAD).is_none() {
            return self.drop(turn, a.interface, a.frame, DropReason::TooBig);
        }
        build::gre_v4(a.frame.bytes_mut(), own, to, id, redirect);
        let mtu = usize::from(self.paths.mtu(turn.now, to, self.link.settings.mtu));
        let Some(tx) = turn.tx.get_mut(a.interface) else { return };
        self.returned += 1;
        let mut out = Out { now: turn.now, link: &mut self.link, tx, drops: &mut self.drops };
        if a.frame.len() > mtu {
            return out.in_pieces(a.frame, to.into(), mtu);
        }
        out.ip(a.frame, to.into());
    }

    /// By the router's MAC, the packet as it came (draft-wilson-wrec-wccp-v2, 4.13).
    fn return_l2(&mut self, turn: &mut Turn<'_>, a: Arrived, router: Mac) {
        let six = a.frame.bytes().first().is_some_and(|b| b >> 4 == 6);
        let kind = if six { eth::TYPE_IPV6 } else { eth::TYPE_IPV4 };
        let Some(tx) = turn.tx.get_mut(a.interface) else { return };
        self.returned += 1;
        let mut out = Out { now: turn.now, link: &mut self.link, tx, drops: &mut self.drops };
        out.at_mac(a.frame, router, a.tags, kind);
    }

    /// By MAC address, to a router that forwards in GRE but takes back so.
    fn return_by_address(&mut self, turn: &mut Turn<'_>, a: Arrived, router: IpAddr) {
        let Some(tx) = turn.tx.get_mut(a.interface) else { return };
        self.returned += 1;
        Out { now: turn.now, link: &mut self.link, tx, drops: &mut self.drops }.ip(a.frame, router);
    }

    /// To where a router would send it on: to a router's policy we are a hop on the way, so the time to live
    /// counts (RFC 1812 5.3.1). Of a family that we have no address of we know no hop: the router has to.
    fn pass_on(&mut self, turn: &mut Turn<'_>, mut a: Arrived, from: Mac) {
        let Ok(ip) = parse_ip(a.frame.bytes(), 0) else {
            return self.drop(turn, a.interface, a.frame, DropReason::BadIp);
        };
        if !build::hop(a.frame.bytes_mut(), &ip) {
            return self.expired(turn, a, &ip);
        }
        if self.link.hop(ip.dst).is_none() {
            return self.return_l2(turn, a, from);
        }
        let Some(tx) = turn.tx.get_mut(a.interface) else { return };
        self.returned += 1;
        Out { now: turn.now, link: &mut self.link, tx, drops: &mut self.drops }.ip(a.frame, ip.dst);
    }
}
