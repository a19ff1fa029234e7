//! The routers, as frames need to know them: by which names, and what was agreed with them.

use crate::wccp::{self, Method};
use std::net::Ipv4Addr;

/// A router of the service groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Router {
    /// Its configured address.
    pub address: Ipv4Addr,
    /// What it calls itself, once it has: its ID, which is where packets are returned to in GRE.
    pub id: Option<Ipv4Addr>,
    /// It forwards by rewriting the MAC address, in some group.
    pub forward_l2: bool,
    /// It takes back by MAC address, in every group.
    pub return_l2: bool,
}

/// All of them; the worker that speaks WCCP tells the others what changes.
#[derive(Debug)]
pub(super) struct Routers {
    all: Vec<Router>,
    /// What holds of a router that has agreed to nothing: `forward_l2` and `return_l2`.
    presumed: (bool, bool),
}

impl Routers {
    pub(super) fn new(addresses: &[Ipv4Addr]) -> Self {
        let router = |&address| Router { address, id: None, forward_l2: false, return_l2: false };
        Self { all: addresses.iter().map(router).collect(), presumed: (false, false) }
    }

    /// See [`Engine::presume_l2`](super::Engine::presume_l2).
    pub(super) fn presume_l2(&mut self, return_l2: bool) {
        self.presumed = (true, return_l2);
        for router in &mut self.all {
            (router.forward_l2, router.return_l2) = self.presumed;
        }
    }

    /// Routers are known by their configured address; their packets may show their Router ID.
    pub(super) fn find(&self, address: Ipv4Addr) -> Option<&Router> {
        let configured = self.all.iter().find(|r| r.address == address);
        configured.or_else(|| self.all.iter().find(|r| r.id == Some(address)))
    }

    pub(super) fn all(&self) -> &[Router] {
        &self.all
    }

    /// Whether some router forwards by MAC address: only then a packet for somebody else is one of its.
    pub(super) fn forward_l2(&self) -> bool {
        self.all.iter().any(|r| r.forward_l2)
    }

    /// Takes over what another worker tells.
    pub(super) fn put(&mut self, news: Router) {
        if let Some(r) = self.all.iter_mut().find(|r| r.address == news.address) {
            *r = news;
        }
    }

    /// Takes over what was agreed since, and calls `tell` with every router that changed.
    pub(super) fn refresh(&mut self, client: &wccp::Client, mut tell: impl FnMut(Router)) {
        for known in &mut self.all {
            let mut now = Router { id: None, forward_l2: false, return_l2: false, ..*known };
            let (mut groups, mut by_mac) = (0, 0);
            for status in client.status().filter(|s| s.router == known.address) {
                now.id = now.id.or(status.router_id);
                let Some(methods) = status.methods else { continue };
                now.forward_l2 |= methods.forward == Method::L2;
                groups += 1;
                by_mac += usize::from(methods.return_method == Method::L2);
            }
            now.return_l2 = groups > 0 && groups == by_mac;
            if groups == 0 {
                (now.forward_l2, now.return_l2) = self.presumed;
            }
            if now != *known {
                *known = now;
                tell(now);
            }
        }
    }
}
