//! Who is in the group, who assigns, and what: the part of a group that looks at all routers together.

use super::MAX_MEMBERS;
use super::component::{CacheView, Capability, Command, HashTable, Service};
use super::element::{
    AssignmentKey, CacheData, CacheIdentity, MaskValueSet, RouterAssignment, RouterIdElement,
};
use super::group::{Group, Outcome};
use super::mask::{MaskTable, Side, holder};
use super::message::{HereIAm, Message, RedirectAssign};
use super::negotiate::Methods;
use super::peer::{Peer, Redirected, State};
use super::settings::{Assignment, Settings};
use super::table::{Share, Table};
use crate::time::Instant;
use std::net::Ipv4Addr;

/// The weight that we ask buckets for; Squid's default, so that a mixed farm shares equally.
const WEIGHT: u16 = 10_000;
/// How often a foreign assignment may replace ours before we say so.
const FLAPS: u32 = 3;

/// What all routers together tell.
#[derive(Debug, Default)]
pub(super) struct Farm {
    /// Number of our own view; another one whenever a list changes.
    change: u32,
    /// Our view: routers heard.
    routers: Vec<Ipv4Addr>,
    /// Our view: caches that they list, in order.
    caches: Vec<Ipv4Addr>,
    /// What an assignment depends on.
    basis: Basis,
    designated: bool,
    stopped: bool,
    /// When the basis will have been the same for 1.5 T.
    assign_at: Option<Instant>,
    /// The assignment that we made last: its number and table.
    made: Option<(u32, Table)>,
    /// Our part of the assignment before, which routers show for a moment longer.
    before: Option<(u32, Share)>,
    /// The number to go on from.
    key_change: u32,
    flaps: u32,
}

/// An assignment is made anew when this changes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Basis {
    /// Routers that count us as usable, by position, with their Member Change Numbers.
    routers: Vec<(usize, u32)>,
    /// Caches that all of them list, in order.
    caches: Vec<Ipv4Addr>,
}

impl Farm {
    pub(super) const fn assign_at(&self) -> Option<Instant> {
        self.assign_at
    }

    pub(super) const fn is_designated(&self) -> bool {
        self.designated
    }

    /// The table that we made, while it is ours to make one.
    pub(super) fn table(&self) -> Option<&Table> {
        self.made.as_ref().filter(|_| self.designated).map(|made| &made.1)
    }

    /// No more assignments: we are leaving.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.assign_at = None;
    }

    /// Our part of the assignment with this key, if it is our own making.
    pub(super) fn share_under(&self, key: AssignmentKey, own: Ipv4Addr) -> Option<Share> {
        if key.address != own {
            return None;
        }
        match (&self.made, &self.before) {
            (Some((change, table)), _) if *change == key.change => Some(table.share_of(own)),
            (_, Some((change, share))) if *change == key.change => Some(*share),
            _ => None,
        }
    }

    /// Compares the key that a router shows with ours.
    pub(super) fn note_key(&mut self, peer: &mut Peer, service: &Service, out: &mut Outcome<'_>) {
        let (own, group) = (out.settings.own_address, service.id);
        let Some((change, table)) = &self.made else {
            // An assignment that we made in an earlier life: ours must not get the same number.
            if peer.key.address == own {
                self.key_change = peer.key.change;
            }
            return;
        };
        if peer.key == (AssignmentKey { address: own, change: *change }) {
            if is_mapped_otherwise(table, peer, Side::of(service)) {
                peer.redirected = match peer.redirected {
                    Redirected::Sent { at, .. } => Redirected::Sent { at, answered: true },
                    Redirected::Shown => Redirected::Sent { at: out.now, answered: true },
                    still => still,
                };
                let address = peer.address;
                return out.warn("assignment_differs", address, || {
                    format!(
                        "group {group}: router {address} shows our assignment's number with other values than \
                         we sent; sending it again"
                    )
                });
            }
            if matches!(peer.redirected, Redirected::Sent { .. } | Redirected::Shown) {
                peer.redirected = Redirected::Shown;
            }
            return;
        }
        let foreign = peer.key != AssignmentKey::NONE && peer.key.address != own;
        peer.redirected = match peer.redirected {
            Redirected::Sent { at, .. } => Redirected::Sent { at, answered: true },
            Redirected::Shown if foreign => Redirected::Sent { at: out.now, answered: true },
            Redirected::Shown => Redirected::Due,
            still => return peer.redirected = still,
        };
        if !foreign {
            return;
        }
        self.flaps = self.flaps.saturating_add(1);
        let (other, address) = (peer.key.address, peer.address);
        let listed = |wanted: &dyn Fn(Ipv4Addr) -> bool| peer.members.iter().any(|m| wanted(m.address));
        let senior = other < own && listed(&|member| member == other);
        let lower = listed(&|member| member < own);
        if senior || (lower && self.flaps > FLAPS) {
            peer.redirected = Redirected::Idle;
        }
        if self.flaps > FLAPS {
            out.warn("assignment_conflict", address, || {
                format!(
                    "group {group}: cache {other} assigns as well and router {address} takes its word: \
                     caches of different makes may disagree about which address is the lowest"
                )
            });
        }
    }

    fn next_key(&mut self, own: Ipv4Addr, table: Table) {
        self.before = self.made.take().map(|(change, table)| (change, table.share_of(own)));
        self.key_change = next(self.key_change);
        self.made = Some((self.key_change, table));
    }
}

impl Group {
    /// Draws the conclusions from what the routers' views are now.
    pub(super) fn review(&mut self, out: &mut Outcome<'_>) {
        let heard = || self.peers.iter().filter(|peer| peer.state.is_heard());
        let routers: Vec<Ipv4Addr> = heard().filter_map(|peer| peer.router_id).collect();
        let mut caches: Vec<Ipv4Addr> =
            heard().flat_map(|peer| peer.members.iter().map(|member| member.address)).collect();
        caches.sort_unstable();
        caches.dedup();
        caches.truncate(MAX_MEMBERS);
        if (&routers, &caches) != (&self.farm.routers, &self.farm.caches) {
            self.farm.change = next(self.farm.change);
            self.farm.routers = routers;
            self.farm.caches = caches;
        }
        let basis = self.basis();
        if basis == self.farm.basis || self.farm.stopped {
            return;
        }
        let farm = &mut self.farm;
        farm.basis = basis;
        farm.flaps = 0;
        farm.designated = farm.basis.caches.first() == Some(&out.settings.own_address);
        farm.assign_at = farm.designated.then(|| out.now + out.settings.here_i_am * 3 / 2);
        for peer in &mut self.peers {
            peer.redirected = Redirected::Idle;
        }
    }

    /// Makes an assignment when its time has come. `tables` are those of all groups: groups with the same
    /// caches must have the same table, or the two directions of a connection would part.
    pub(super) fn assign_if_due(&mut self, tables: &[Table], out: &mut Outcome<'_>) {
        if self.farm.assign_at.is_none_or(|at| at > out.now) {
            return;
        }
        self.farm.assign_at = None;
        self.tell_left_out(out);
        let (caches, method) = (&self.farm.basis.caches, self.method(out.settings));
        let alike = |table: &&Table| table.caches() == *caches && table.method() == method;
        let made = self.farm.made.as_ref().map(|made| &made.1);
        let table = match made.filter(alike).or_else(|| tables.iter().find(alike)) {
            Some(table) => table.clone(),
            None => match method {
                Assignment::Hash => Table::Hash(self.deal_buckets(made)),
                Assignment::Mask => Table::Mask(self.deal_values(made, out.settings.mask)),
            },
        };
        self.farm.next_key(out.settings.own_address, table);
        for router in 0..self.peers.len() {
            if let Some(peer) = self.peers.get_mut(router).filter(|peer| peer.state.is_usable()) {
                peer.redirected = Redirected::Due;
            }
            self.send_assignment_if_due(router, out);
        }
    }

    pub(super) fn send_assignment_if_due(&mut self, router: usize, out: &mut Outcome<'_>) {
        let Some(peer) = self.peers.get(router) else { return };
        let at_rest = peer.unanswered == 0 && peer.burst.is_none();
        if peer.redirected != Redirected::Due || !at_rest || !peer.state.is_usable() {
            return;
        }
        let address = peer.address;
        let Some(payload) = self.redirect_assign(out.settings) else { return };
        if let Some(peer) = self.peers.get_mut(router) {
            peer.redirected = Redirected::Sent { at: out.now, answered: false };
            peer.counters.redirect_assign += 1;
        }
        out.common.send(address, payload);
    }

    /// A HERE_I_AM as of now. `None` only if it would not fit into a datagram, which our limits exclude.
    pub(super) fn here_i_am(
        &self,
        router: usize,
        commands: Vec<Command>,
        settings: &Settings,
    ) -> Option<Vec<u8>> {
        let peer = self.peers.get(router)?;
        let capabilities: Vec<Capability> = match &peer.methods {
            Some(methods) if peer.negotiates => methods.capabilities(),
            _ => Vec::new(),
        };
        let identity = CacheIdentity {
            address: settings.own_address,
            hash_revision: 0,
            historical: peer.state != State::Assigned,
            data: match peer.methods {
                Some(Methods { assignment: Assignment::Mask, .. }) => {
                    let mask = Side::of(&self.service).mask(settings.mask);
                    // The mask that we would assign: some routers take only caches that agree about it.
                    let sets = vec![MaskValueSet { mask, values: Vec::new() }];
                    CacheData::Mask { sets, weight: 0, status: 0 }
                }
                _ => CacheData::Hash { buckets: peer.share.bitmap(), weight: WEIGHT, status: 0 },
            },
        };
        let view = CacheView {
            change: self.farm.change,
            routers: self.peers.iter().filter_map(element).collect(),
            caches: self.farm.caches.clone(),
        };
        let message =
            Message::HereIAm(HereIAm { service: self.service, identity, view, capabilities, commands });
        message.emit(settings.password.as_ref()).ok()
    }

    fn redirect_assign(&self, settings: &Settings) -> Option<Vec<u8>> {
        let (change, table) = self.farm.made.as_ref()?;
        let usable = self.peers.iter().filter(|peer| peer.state.is_usable());
        let routers = usable
            .filter_map(|peer| Some(RouterAssignment { router: element(peer)?, change: peer.member_change }));
        let key = AssignmentKey { address: settings.own_address, change: *change };
        let assignment = table.redirect(key, routers.collect(), Side::of(&self.service));
        let message = Message::RedirectAssign(RedirectAssign { service: self.service, assignment });
        message.emit(settings.password.as_ref()).ok()
    }

    fn basis(&self) -> Basis {
        let usable = || self.peers.iter().enumerate().filter(|(_, peer)| peer.state.is_usable());
        let lists = |peer: &Peer, cache: Ipv4Addr| peer.members.iter().any(|m| m.address == cache);
        let first = usable().next().map(|(_, peer)| peer.members.as_slice()).unwrap_or_default();
        let mut caches: Vec<Ipv4Addr> = first
            .iter()
            .map(|member| member.address)
            .filter(|&cache| usable().all(|(_, peer)| lists(peer, cache)))
            .collect();
        caches.sort_unstable();
        caches.dedup();
        Basis { routers: usable().map(|(index, peer)| (index, peer.member_change)).collect(), caches }
    }

    /// How packets are shared out, which is one way with all routers.
    fn method(&self, settings: &Settings) -> Assignment {
        let agreed = self.peers.iter().filter(|peer| peer.state.is_heard()).find_map(|peer| peer.methods);
        let preferred = settings.assignment.first().copied();
        agreed.map(|methods| methods.assignment).or(preferred).unwrap_or(Assignment::Hash)
    }

    /// The router whose view a new assignment starts from.
    fn first_router(&self) -> Option<&Peer> {
        self.farm.basis.routers.first().and_then(|&(index, _)| self.peers.get(index))
    }

    /// Says which caches get nothing because not every router lists them.
    fn tell_left_out(&self, out: &mut Outcome<'_>) {
        let group = self.service.id;
        for peer in self.peers.iter().filter(|peer| peer.state.is_usable()) {
            let missing: Vec<String> = self
                .farm
                .caches
                .iter()
                .filter(|cache| peer.members.iter().all(|member| member.address != **cache))
                .map(Ipv4Addr::to_string)
                .collect();
            if !missing.is_empty() {
                let (address, list) = (peer.address, missing.join(", "));
                out.warn("cache_left_out", address, || {
                    format!(
                        "group {group}: router {address} does not list {list}, which other routers do: such a \
                         cache gets nothing until all routers list it; check that it knows this router"
                    )
                });
            }
        }
    }

    /// New values for the caches of the basis, as near as possible to what the routers use now.
    fn deal_values(&self, made: Option<&Table>, mask: u32) -> MaskTable {
        let side = Side::of(&self.service);
        let made = match made {
            Some(Table::Mask(table)) => table.sets(side),
            _ => Vec::new(),
        };
        let shown = self.first_router().and_then(|peer| peer.map.as_deref()).unwrap_or(&made);
        MaskTable::deal(mask, &self.farm.basis.caches, |value| holder(shown, side, value))
    }

    /// A new table for the caches of the basis, as near as possible to what the routers use now.
    fn deal_buckets(&self, made: Option<&Table>) -> HashTable {
        let members = self.first_router().map(|peer| peer.members.as_slice()).unwrap_or_default();
        let caches = &self.farm.basis.caches;
        let farm: Vec<(Ipv4Addr, u16)> =
            members.iter().filter(|m| caches.contains(&m.address)).map(|m| (m.address, m.weight)).collect();
        let bitmaps: Vec<_> = members.iter().map(|m| (m.address, m.share.bitmap())).collect();
        let assigned = bitmaps.iter().any(|(_, bitmap)| bitmap.count() > 0);
        match made {
            _ if assigned => HashTable::from_bitmaps(bitmaps.iter().map(|(c, b)| (*c, b))).deal(&farm),
            Some(Table::Hash(made)) => made.deal(&farm),
            _ => HashTable::empty().deal(&farm),
        }
    }
}

/// Whether a router that tells its masks and values tells others than were sent.
fn is_mapped_otherwise(table: &Table, peer: &Peer, side: Side) -> bool {
    match (table, &peer.map) {
        (Table::Mask(table), Some(map)) => !table.agrees_with(map, side),
        _ => false,
    }
}

/// A router with its Receive ID, if it has told us.
fn element(peer: &Peer) -> Option<RouterIdElement> {
    let router_id = peer.router_id.filter(|_| peer.receive_id != 0)?;
    Some(RouterIdElement { router_id, receive_id: peer.receive_id })
}

/// The number after this one; never 0, which stands for none.
const fn next(number: u32) -> u32 {
    match number.wrapping_add(1) {
        0 => 1,
        number => number,
    }
}
