//! Which data connection belongs to which announcement, and which announcement to which transfer.

use super::conn::{Connection, Connections, Role};
use super::dialogue::{Said, Session, Setup};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// A data connection may begin this long after its session's last packet, in nanoseconds.
const AFTER: u64 = 5_000_000_000;

/// What is judged: a transfer, or an announcement without one, with the connections that came of it.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub(super) transfer: Option<usize>,
    pub(super) setup: Option<usize>,
    /// Numbers of connections, by their beginning.
    pub(super) conns: Vec<usize>,
    /// The announcement could not be read: these connections are between the same hosts, that is all.
    pub(super) guessed: bool,
}

/// Connections by where they go.
pub(super) struct Finder<'a> {
    conns: &'a Connections,
    by_target: BTreeMap<SocketAddr, Vec<usize>>,
    used: BTreeSet<usize>,
}

impl<'a> Finder<'a> {
    pub(super) fn new(conns: &'a Connections) -> Self {
        let mut by_target: BTreeMap<SocketAddr, Vec<usize>> = BTreeMap::new();
        for (id, c) in conns.iter().filter(|(_, c)| !matches!(c.role, Role::Control(_))) {
            by_target.entry(c.b).or_default().push(id);
            if !c.opener_known() {
                by_target.entry(c.a).or_default().push(id);
            }
        }
        Self { conns, by_target, used: BTreeSet::new() }
    }

    /// All units of a session in order.
    pub(super) fn units(&mut self, session: &Session, control: &Connection) -> Vec<Unit> {
        let (client, server) = ends(session, control);
        let mut of_setup: Vec<Vec<usize>> = Vec::with_capacity(session.setups.len());
        for (i, setup) in session.setups.iter().enumerate() {
            let peer = if setup.passive() { server } else { client };
            // A port that is announced again is another's from then on.
            let next = session.setups.get(i + 1..).unwrap_or_default().iter();
            let until = next
                .clone()
                .find(|s| s.port == setup.port && s.passive() == setup.passive())
                .and_then(|s| s.answered.filter(|_| s.passive()).or(Some(s.asked)))
                .map_or(u64::MAX, |s| s.order);
            let mut found = Vec::new();
            if let Some(port) = setup.port {
                let named = setup.address.map(|a| SocketAddr::new(a, port));
                let peer = SocketAddr::new(peer.ip(), port);
                for target in [Some(peer), named.filter(|n| *n != peer)].into_iter().flatten() {
                    found.extend(self.going_to(target, setup.asked.order, until, control.last.at));
                }
            } else if matches!(setup.said, Said::Cut | Said::Asked) {
                let until = next.clone().next().map_or(u64::MAX, |s| s.asked.order);
                found = self.between(client, server, setup.asked.order, until, control.last.at);
                found.truncate(1);
            }
            found.sort_unstable();
            self.used.extend(&found);
            of_setup.push(found);
        }
        let mut units = Self::of_transfers(session, &mut of_setup, self.conns);
        for (i, conns) in of_setup.into_iter().enumerate() {
            let named = session.transfers.iter().any(|t| t.setup == Some(i));
            if !named {
                units.push(Unit { transfer: None, setup: Some(i), conns, guessed: false });
            }
        }
        let opaque = session.encrypted.or(session.lost_at);
        if let Some(from) = opaque {
            for id in self.between(client, server, from.order, u64::MAX, control.last.at) {
                self.used.insert(id);
                units.push(Unit { transfer: None, setup: None, conns: vec![id], guessed: true });
            }
        }
        let began = |u: &Unit| {
            let transfer = u.transfer.and_then(|t| session.transfers.get(t)).map(|t| t.asked.order);
            let setup = u.setup.and_then(|s| session.setups.get(s)).map(|s| s.asked.order);
            let conn = u.conns.first().and_then(|c| self.conns.get(*c)).map(|c| c.first.order);
            transfer.or(setup).or(conn).unwrap_or(0)
        };
        units.sort_by_key(began);
        units
    }

    /// One for each transfer: it gets the connections that began before it was over.
    fn of_transfers(session: &Session, of_setup: &mut [Vec<usize>], conns: &Connections) -> Vec<Unit> {
        let mut units: Vec<Unit> = Vec::new();
        for (i, transfer) in session.transfers.iter().enumerate() {
            let mut mine = Vec::new();
            if let Some(all) = transfer.setup.and_then(|s| of_setup.get_mut(s)) {
                let rest = session.transfers.get(i + 1..).unwrap_or_default();
                let last = rest.iter().all(|t| t.setup != transfer.setup);
                let done = transfer.done.as_ref().map_or(u64::MAX, |d| d.spot.order);
                let is_mine = |id: &usize| last || conns.get(*id).is_some_and(|c| c.first.order < done);
                mine = all.iter().copied().filter(is_mine).collect();
                all.retain(|id| !mine.contains(id));
            }
            units.push(Unit { transfer: Some(i), setup: transfer.setup, conns: mine, guessed: false });
        }
        units
    }

    fn going_to(&self, target: SocketAddr, from: u64, until: u64, last: u64) -> Vec<usize> {
        let all = self.by_target.get(&target).map_or(&[][..], Vec::as_slice);
        let fits = |id: &usize| {
            !self.used.contains(id)
                && self.conns.get(*id).is_some_and(|c| {
                    c.first.order > from && c.first.order < until && c.first.at <= last.saturating_add(AFTER)
                })
        };
        all.iter().copied().filter(fits).collect()
    }

    /// Connections between these hosts that may be data connections.
    fn between(
        &self,
        client: SocketAddr,
        server: SocketAddr,
        from: u64,
        until: u64,
        last: u64,
    ) -> Vec<usize> {
        let hosts = |c: &Connection| {
            let (a, b) = (c.a.ip(), c.b.ip());
            (a, b) == (client.ip(), server.ip()) || (b, a) == (client.ip(), server.ip())
        };
        self.conns
            .iter()
            .filter(|(id, c)| {
                let free = !self.used.contains(id) && !matches!(c.role, Role::Control(_));
                let then = c.first.order > from && c.first.order < until;
                free && then && hosts(c) && c.b.port() >= 1024 && c.first.at <= last.saturating_add(AFTER)
            })
            .map(|(id, _)| id)
            .collect()
    }
}

/// Client and server of a control connection.
pub(super) fn ends(session: &Session, control: &Connection) -> (SocketAddr, SocketAddr) {
    if session.client == 0 { (control.a, control.b) } else { (control.b, control.a) }
}

/// Where the text says that the data connection goes to.
pub(super) fn announced(setup: &Setup, session: &Session, control: &Connection) -> Option<SocketAddr> {
    let (client, server) = ends(session, control);
    let peer = if setup.passive() { server } else { client };
    setup.port.map(|port| SocketAddr::new(setup.address.unwrap_or(peer.ip()), port))
}
