//! The way back of packets that are not ours: to the router that sent them, as they came.

use super::classify::Arrived;
use super::drops::DropReason;
use super::link::Out;
use super::local::ip_id;
use super::origin::Origin;
use super::state::Engine;
use super::turn::Turn;
use crate::wire::build;
use crate::wire::eth::{self, Mac};
use crate::wire::gre::{self, Redirect};
use std::net::Ipv4Addr;

impl Engine {
    /// Returns a packet that is not ours to the router that sent it.
    pub(super) fn give_back(&mut self, turn: &mut Turn<'_>, a: Arrived) {
        let Some(origin) = a.origin else {
            return self.drop(turn, a.interface, a.frame, DropReason::Unhandled);
        };
        if !self.guard.may_return(turn.now, a.frame.bytes()) {
            return self.drop(turn, a.interface, a.frame, DropReason::Loop);
        }
        match origin {
            Origin::Gre { router, redirect } => self.return_gre(turn, a, router, redirect),
            Origin::L2 { router: mac } | Origin::Static { from: mac } => self.return_l2(turn, a, mac),
        }
    }

    /// In GRE, its redirect header with it.
    fn return_gre(&mut self, turn: &mut Turn<'_>, mut a: Arrived, router: Ipv4Addr, redirect: Redirect) {
        let named = self.router_ids.iter().find(|r| r.0 == router || r.1 == router).map(|r| r.1);
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
        let mtu = usize::from(self.link.settings.mtu);
        let Some(tx) = turn.tx.get_mut(a.interface) else { return };
        self.returned += 1;
        let mut out = Out { now: turn.now, link: &mut self.link, tx, drops: &mut self.drops };
        if a.frame.len() > mtu {
            // What came in pieces goes back in pieces: it does not fit with the headers around it.
            let mut first = a.frame.bytes().to_vec();
            if let Some(rest) = build::split_v4(&mut first, mtu)
                && let Some(mut second) = out.spare()
            {
                if second.set(&rest) {
                    a.frame.truncate(first.len());
                    a.frame.bytes_mut().copy_from_slice(&first);
                    out.ip(a.frame, to.into());
                    return out.ip(second, to.into());
                }
                out.tx.done.push(second);
            }
            return out.drop(a.frame, DropReason::TooBig);
        }
        out.ip(a.frame, to.into());
    }

    /// By the router's MAC, the packet as it came (draft-wilson-wrec-wccp-v2, 4.13).
    fn return_l2(&mut self, turn: &mut Turn<'_>, mut a: Arrived, router: Mac) {
        let own = self.link.settings.mac;
        let six = a.frame.bytes().first().is_some_and(|b| b >> 4 == 6);
        let Some(room) = a.frame.push_front(eth::header_len(&a.tags)) else {
            return self.drop(turn, a.interface, a.frame, DropReason::TooBig);
        };
        eth::emit(room, router, own, &a.tags, if six { eth::TYPE_IPV6 } else { eth::TYPE_IPV4 });
        let Some(tx) = turn.tx.get_mut(a.interface) else { return };
        self.returned += 1;
        Out { now: turn.now, link: &mut self.link, tx, drops: &mut self.drops }.raw(a.frame);
    }
}
