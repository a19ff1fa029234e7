//! Which data connection belongs to which announcement, and which announcement to which transfer.

use super::conn::{Connection, Connections, Role};
use super::dialogue::{Said, Session, Setup};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// A data connection may begin this long after its session's last packet, in nanoseconds.
const AFTER: u64 = 5_000_000_000;

/// Connections that are looked at in all, at most.
const LOOKS: usize = 20_000_000;

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

/// Connections by where they go, and by their hosts. Each list is in the order in which they began.
pub(super) struct Finder<'a> {
    conns: &'a Connections,
    by_target: BTreeMap<SocketAddr, Vec<usize>>,
    by_hosts: BTreeMap<(IpAddr, IpAddr), Vec<usize>>,
    used: BTreeSet<usize>,
    /// Connections that may still be looked at: a capture made for it could ask for all of them again and again.
    looks: usize,
}

/// Where and when to look for connections: behind `from`, before `until` (orders), and not long after `last`.
#[derive(Clone, Copy)]
struct Span {
    from: u64,
    until: u64,
    last: u64,
}

impl<'a> Finder<'a> {
    pub(super) fn new(conns: &'a Connections) -> Self {
        let mut by_target: BTreeMap<SocketAddr, Vec<usize>> = BTreeMap::new();
        let mut by_hosts: BTreeMap<(IpAddr, IpAddr), Vec<usize>> = BTreeMap::new();
        for (id, c) in conns.iter().filter(|(_, c)| !matches!(c.role, Role::Control(_))) {
            by_target.entry(c.b).or_default().push(id);
            if !c.opener_known() && c.a != c.b {
                by_target.entry(c.a).or_default().push(id);
            }
            by_hosts.entry(hosts(c.a.ip(), c.b.ip())).or_default().push(id);
        }
        Self { conns, by_target, by_hosts, used: BTreeSet::new(), looks: LOOKS }
    }

    /// All units of a session in order.
    pub(super) fn units(&mut self, session: &Session, control: &Connection) -> Vec<Unit> {
        let (client, server) = ends(session, control);
        let last = control.last.at;
        let mut of_setup: Vec<Vec<usize>> = Vec::with_capacity(session.setups.len());
        for (setup, (same_port, next)) in session.setups.iter().zip(ends_of_setups(&session.setups)) {
            let peer = if setup.passive() { server } else { client };
            let mut found = Vec::new();
            if let Some(port) = setup.port {
                let named = setup.address.map(|a| SocketAddr::new(a, port));
                let peer = SocketAddr::new(peer.ip(), port);
                let span = Span { from: setup.asked.order, until: same_port, last };
                for target in [Some(peer), named.filter(|n| *n != peer)].into_iter().flatten() {
                    let all = self.by_target.get(&target).map_or(&[][..], Vec::as_slice);
                    found.extend(look(self.conns, &self.used, &mut self.looks, all, span, usize::MAX));
                }
            } else if matches!(setup.said, Said::Cut | Said::Asked) {
                found = self.between(client, server, Span { from: setup.asked.order, until: next, last }, 4);
                found.truncate(1);
            }
            // Where an address translator is between two legs, the same server is called from both: each leg has its own.
            let own = |id: &usize| self.conns.get(*id).is_some_and(|c| c.a.ip() == client.ip());
            if setup.passive() && found.iter().any(own) {
                found.retain(own);
            }
            found.sort_unstable();
            self.used.extend(&found);
            of_setup.push(found);
        }
        let mut units = self.of_transfers(session, &mut of_setup);
        let named: BTreeSet<usize> = session.transfers.iter().filter_map(|t| t.setup).collect();
        for (i, conns) in of_setup.into_iter().enumerate() {
            if !named.contains(&i) {
                units.push(Unit { transfer: None, setup: Some(i), conns, guessed: false });
            }
        }
        let unread = session.hidden.iter().map(|h| (h.from.order, h.until.map_or(u64::MAX, |u| u.order)));
        let lost = session.lost_at.filter(|_| session.hidden.is_empty()).map(|at| (at.order, u64::MAX));
        for (from, until) in unread.chain(lost) {
            let span = Span { from, until, last };
            for id in self.between(client, server, span, usize::MAX) {
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

    /// One for each transfer: it gets the connections that began before it was over, the last one the rest.
    fn of_transfers(&self, session: &Session, of_setup: &mut [Vec<usize>]) -> Vec<Unit> {
        let mut last_of: BTreeMap<usize, usize> = BTreeMap::new();
        for (i, transfer) in session.transfers.iter().enumerate() {
            last_of.extend(transfer.setup.map(|s| (s, i)));
        }
        let mut units: Vec<Unit> = Vec::new();
        for (i, transfer) in session.transfers.iter().enumerate() {
            let mut mine = Vec::new();
            if let Some((s, all)) = transfer.setup.and_then(|s| Some((s, of_setup.get_mut(s)?))) {
                let done = transfer.done.as_ref().map_or(u64::MAX, |d| d.spot.order);
                let until = if last_of.get(&s) == Some(&i) { u64::MAX } else { done };
                let begin = |id: &usize| self.conns.get(*id).map_or(0, |c| c.first.order);
                let rest = all.split_off(all.partition_point(|id| begin(id) < until));
                mine = std::mem::replace(all, rest);
            }
            units.push(Unit { transfer: Some(i), setup: transfer.setup, conns: mine, guessed: false });
        }
        units
    }

    /// Connections between these hosts that may be data connections.
    fn between(&mut self, client: SocketAddr, server: SocketAddr, span: Span, most: usize) -> Vec<usize> {
        let all = self.by_hosts.get(&hosts(client.ip(), server.ip())).map_or(&[][..], Vec::as_slice);
        look(self.conns, &self.used, &mut self.looks, all, span, most)
            .into_iter()
            .filter(|id| self.conns.get(*id).is_some_and(|c| c.b.port() >= 1024))
            .collect()
    }
}

/// Those of a list, in order, that are free and in the span; as many as are wanted.
fn look(
    conns: &Connections,
    used: &BTreeSet<usize>,
    looks: &mut usize,
    all: &[usize],
    span: Span,
    most: usize,
) -> Vec<usize> {
    let begin = |id: &usize| conns.get(*id).map_or(0, |c| c.first.order);
    let start = all.partition_point(|id| begin(id) <= span.from);
    let mut found = Vec::new();
    for id in all.get(start..).unwrap_or_default() {
        let Some(c) = conns.get(*id) else { continue };
        let late = c.first.order >= span.until || c.first.at > span.last.saturating_add(AFTER);
        if late || *looks == 0 || found.len() == most {
            break;
        }
        *looks -= 1;
        if !used.contains(id) {
            found.push(*id);
        }
    }
    found
}

/// For each announcement, the order at which the same port is announced again (it is another's from then on), and
/// at which any is.
fn ends_of_setups(setups: &[Setup]) -> Vec<(u64, u64)> {
    let mut of_port: BTreeMap<(Option<u16>, bool), u64> = BTreeMap::new();
    let mut any = u64::MAX;
    let mut ends: Vec<(u64, u64)> = setups
        .iter()
        .rev()
        .map(|s| {
            let announced = s.answered.filter(|_| s.passive()).unwrap_or(s.asked).order;
            let port = of_port.insert((s.port, s.passive()), announced).unwrap_or(u64::MAX);
            (port, std::mem::replace(&mut any, s.asked.order))
        })
        .collect();
    ends.reverse();
    ends
}

/// Both directions have one key.
fn hosts(a: IpAddr, b: IpAddr) -> (IpAddr, IpAddr) {
    if a <= b { (a, b) } else { (b, a) }
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
