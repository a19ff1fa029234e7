//! One service group: what it does with its routers' messages and when its timers fire.
//!
//! T is the HERE_I_AM interval. Every T a HERE_I_AM goes to each router; three of them unanswered over 3 T
//! make it silent. The designated cache, that is the lowest address among the caches that all routers list,
//! sends an assignment when nothing has changed for 1.5 T, and again after T while a router does not show it.

use super::client::{Common, Status};
use super::component::{Command, Service};
use super::element::{AssignmentKey, CacheData, CacheIdentity};
use super::error::Ignored;
use super::farm::Farm;
use super::message::{ISeeYou, RemovalQuery};
use super::negotiate::{Methods, choose, second_choices};
use super::peer::{Burst, Leaving, Member, Peer, Redirected, State};
use super::settings::{Assignment, Settings};
use super::table::{Share, Table};
use crate::event::{Event, What};
use crate::time::{Duration, Instant};
use std::net::Ipv4Addr;

/// Where a group's actions go to, and what they depend on.
pub(super) struct Outcome<'a> {
    pub now: Instant,
    pub settings: &'a Settings,
    pub common: &'a mut Common,
    pub events: &'a mut Vec<Event>,
}

/// One service group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) service: Service,
    pub(super) peers: Vec<Peer>,
    pub(super) farm: Farm,
}

impl Group {
    pub(super) fn new(service: Service, routers: &[Ipv4Addr]) -> Self {
        let peers = routers.iter().map(|&address| Peer::new(address)).collect();
        Self { service, peers, farm: Farm::default() }
    }

    /// A group is named by kind and number.
    pub(super) fn is_about(&self, service: &Service) -> bool {
        (self.service.kind, self.service.id) == (service.kind, service.id)
    }

    pub(super) const fn id(&self) -> u8 {
        self.service.id
    }

    pub(super) fn router_id(&self, router: usize) -> Option<Ipv4Addr> {
        // A router that calls itself 0.0.0.0 cannot be reached by that name.
        self.peers.get(router)?.router_id.filter(|id| !id.is_unspecified())
    }

    pub(super) fn router_called(&self, id: Ipv4Addr) -> Option<usize> {
        self.peers.iter().position(|peer| peer.router_id == Some(id))
    }

    pub(super) fn table(&self) -> Option<&Table> {
        self.farm.table()
    }

    pub(super) fn is_left(&self) -> bool {
        self.peers.iter().all(|peer| peer.state == State::Left)
    }

    pub(super) fn timeout(&self, t: Duration) -> Option<(Instant, &'static str)> {
        let assign = self.farm.assign_at().map(|at| (at, "wccp: assignment due"));
        let peers = self.peers.iter().filter_map(|peer| peer.timeout(t));
        peers.chain(assign).min_by_key(|timer| timer.0)
    }

    pub(super) fn status(&self) -> impl Iterator<Item = Status<'_>> {
        self.peers.iter().map(|peer| Status {
            group: self.service.id,
            router: peer.address,
            router_id: peer.router_id,
            state: peer.state,
            reason: &peer.reason,
            methods: peer.methods,
            caches: peer.members.len(),
            assigned: peer.share.count(),
            of: peer.share.of(),
            receive_id: peer.receive_id,
            designated: self.farm.is_designated(),
            messages: peer.counters,
        })
    }

    pub(super) fn i_see_you(&mut self, router: usize, message: &ISeeYou, out: &mut Outcome<'_>) {
        if let Err(cause) = self.acceptable(router, message, out) {
            return out.common.ignore(cause);
        }
        let id = message.identity.router;
        let agreed = self.agreed_with_others(router);
        let Some(peer) = self.peers.get_mut(router) else { return };
        peer.counters.i_see_you += 1;
        peer.unanswered = 0;
        peer.since = Some(out.now);
        if peer.leaving.is_some() {
            peer.receive_id = id.receive_id;
            if message.commands.contains(&Command::ShutdownResponse(out.settings.own_address)) {
                peer.leaving = None;
                self.change(router, State::Left, "the router confirmed", out);
            }
            return;
        }
        let fresh = !peer.state.is_heard() || peer.router_id != Some(id.router_id);
        if !fresh && serial_less(id.receive_id, peer.receive_id) {
            let (group, address, old) = (self.service.id, peer.address, peer.receive_id);
            out.warn("receive_id_back", address, || {
                format!(
                    "group {group}: the Receive ID of router {address} went back from {old} to {}: it was \
                     restarted, or someone replays its messages (a password does not prevent that)",
                    id.receive_id
                )
            });
        }
        if fresh {
            peer.forget();
            peer.router_id = Some(id.router_id);
            match choose(out.settings, peer.address, &message.capabilities, agreed) {
                Ok(methods) => peer.methods = Some(methods),
                Err(why) => return self.reject(router, &why, out),
            }
            self.tell_methods(router, out);
        } else if peer.methods.is_some_and(|methods| !methods.are_in(&message.capabilities)) {
            return self.reject(router, "the router no longer offers what was agreed", out);
        }
        let Some(peer) = self.peers.get_mut(router) else { return };
        peer.negotiates = !message.capabilities.is_empty();
        peer.receive_id = id.receive_id;
        peer.member_change = message.view.change;
        peer.key = message.view.key;
        peer.members = message.view.caches.iter().map(member).collect();
        peer.map = message.map.clone().filter(|sets| !sets.is_empty());
        self.farm.note_key(peer, &self.service, out);
        let lost = self.progress(router, fresh, message, out);
        self.review(out);
        if fresh || lost {
            self.send_extra(router, out);
        }
        self.send_assignment_if_due(router, out);
    }

    pub(super) fn removal_query(&mut self, router: usize, message: &RemovalQuery, out: &mut Outcome<'_>) {
        let query = &message.query;
        let taken = self.is_taken(query.router.router_id, router);
        let Some(peer) = self.peers.get_mut(router) else { return };
        let cause = if query.target != out.settings.own_address {
            Some(Ignored::NotForUs)
        } else if query.router.receive_id == 0 {
            Some(Ignored::ReceiveIdZero)
        } else if peer.leaving.is_some() || peer.state == State::Left {
            Some(Ignored::Left)
        } else if peer.quiet_until.is_some_and(|until| out.now < until) {
            Some(Ignored::Quiet)
        } else if peer.burst.is_some() {
            Some(Ignored::QueryBusy)
        } else if taken {
            Some(Ignored::RouterIdTaken)
        } else {
            None
        };
        if let Some(cause) = cause {
            return out.common.ignore(cause);
        }
        peer.counters.removal_query += 1;
        peer.router_id = Some(query.router.router_id);
        peer.receive_id = query.router.receive_id;
        if let Some(payload) = self.here_i_am(router, Vec::new(), out.settings)
            && let Some(peer) = self.peers.get_mut(router)
        {
            peer.burst = Some(Burst { payload, left: 3, at: out.now });
            self.continue_burst(router, out);
        }
    }

    pub(super) fn handle_timeout(&mut self, tables: &[Table], out: &mut Outcome<'_>) {
        for router in 0..self.peers.len() {
            let Some(peer) = self.peers.get(router) else { return };
            if peer.leaving.is_some() {
                self.continue_leaving(router, out);
                continue;
            }
            if peer.state == State::Left {
                continue;
            }
            if peer.since.is_none() {
                self.announce(router, State::Init, "joining", out);
            }
            self.check_silence(router, out);
            self.continue_burst(router, out);
            self.send_in_turn(router, out);
            let t = out.settings.here_i_am;
            if let Some(peer) = self.peers.get_mut(router)
                && peer.resend_at(t).is_some_and(|at| at <= out.now)
            {
                peer.redirected = Redirected::Due;
            }
            self.send_assignment_if_due(router, out);
        }
        self.assign_if_due(tables, out);
    }

    pub(super) fn shutdown(&mut self, out: &mut Outcome<'_>) {
        self.farm.stop();
        for router in 0..self.peers.len() {
            let Some(peer) = self.peers.get_mut(router) else { return };
            if peer.leaving.is_some() || peer.state == State::Left {
                continue;
            }
            peer.burst = None;
            peer.redirected = Redirected::Idle;
            if peer.state.is_heard() {
                let until = out.now + out.settings.here_i_am * 3;
                peer.leaving = Some(Leaving { sent: 0, next: out.now, until });
                self.continue_leaving(router, out);
            } else {
                self.change(router, State::Left, "the router did not know us", out);
            }
        }
    }

    /// What must hold before an I_SEE_YOU may change anything.
    fn acceptable(&self, router: usize, message: &ISeeYou, out: &mut Outcome<'_>) -> Result<(), Ignored> {
        let Some(peer) = self.peers.get(router) else { return Err(Ignored::UnknownRouter) };
        let (group, address) = (self.service.id, peer.address);
        if message.service != self.service {
            out.warn("group_conflict", address, || {
                format!(
                    "group {group}: router {address} has another description of it than we do (ports, flags, \
                     priority or protocol): all caches of a group must be set up alike; choose another number \
                     or the same ports"
                )
            });
            return Err(Ignored::ServiceDiffers);
        }
        if !message.identity.received_from.contains(&out.settings.own_address) {
            return Err(Ignored::NotForUs);
        }
        if peer.state == State::Left {
            return Err(Ignored::Left);
        }
        let id = message.identity.router;
        if id.receive_id == 0 {
            out.warn("receive_id_zero", address, || {
                format!("group {group}: router {address} sends Receive ID 0, which is not allowed")
            });
            return Err(Ignored::ReceiveIdZero);
        }
        if self.is_taken(id.router_id, router) {
            out.warn("router_id_conflict", address, || {
                format!(
                    "group {group}: router {address} calls itself {} as another router does: give each \
                     router its own ID, or list it only once",
                    id.router_id
                )
            });
            return Err(Ignored::RouterIdTaken);
        }
        if peer.quiet_until.is_some_and(|until| out.now < until) {
            return Err(Ignored::Quiet);
        }
        Ok(())
    }

    /// Whether a router other than this one answers to the ID.
    fn is_taken(&self, id: Ipv4Addr, router: usize) -> bool {
        let taken = |other: &Peer| other.state.is_heard() && other.router_id == Some(id);
        self.peers.iter().enumerate().any(|(index, other)| index != router && taken(other))
    }

    /// Moves the state after an I_SEE_YOU; true if we were usable and are not any more.
    fn progress(&mut self, router: usize, fresh: bool, message: &ISeeYou, out: &mut Outcome<'_>) -> bool {
        let own = out.settings.own_address;
        let Some(peer) = self.peers.get_mut(router) else { return false };
        let was_usable = peer.state.is_usable() && !fresh;
        let Some(listed) = peer.members.iter().find(|member| member.address == own) else {
            let reason = match peer.methods {
                _ if was_usable => "the router no longer lists us".to_owned(),
                Some(methods) if methods != Methods::PLAIN => format!("the router answered: {methods}"),
                _ => "the router answered".to_owned(),
            };
            peer.share = Share::NONE;
            if peer.state != State::Seen || fresh {
                self.change(router, State::Seen, &reason, out);
            }
            return was_usable;
        };
        let reported = message.assignment.as_ref().map(|info| Share::Buckets(info.table.buckets_of(own)));
        peer.share = match (&peer.map, self.farm.share_under(peer.key, own)) {
            _ if peer.key == AssignmentKey::NONE => Share::NONE,
            // A router that tells what it does is believed before what we asked of it.
            (Some(map), _) => Share::of_map(map, own),
            (None, Some(share)) => share,
            (None, None) => reported.unwrap_or(listed.share),
        };
        if !was_usable {
            peer.usable_since = out.now;
        }
        let share = peer.share;
        if share.count() > 0 && peer.state != State::Assigned {
            self.change(router, State::Assigned, &share.to_string(), out);
        } else if share.count() == 0 && peer.state != State::Usable {
            let withdrawn = peer.state == State::Assigned;
            if withdrawn {
                peer.usable_since = out.now;
            }
            let reason = match (withdrawn, peer.methods.map(|methods| methods.assignment)) {
                (false, _) => "the router lists us",
                (true, Some(Assignment::Mask)) => "no value is ours any more",
                (true, _) => "no bucket is ours any more",
            };
            self.change(router, State::Usable, reason, out);
        }
        false
    }

    /// How the group's packets are shared out at the other routers: all must do it one way, or an address
    /// would come to different caches by different routers.
    fn agreed_with_others(&self, router: usize) -> Option<Assignment> {
        let others =
            self.peers.iter().enumerate().filter(|(index, peer)| *index != router && peer.state.is_heard());
        others.filter_map(|(_, peer)| peer.methods).map(|methods| methods.assignment).next()
    }

    /// Says so where the router does not offer what we would have liked best.
    fn tell_methods(&self, router: usize, out: &mut Outcome<'_>) {
        let group = self.service.id;
        let Some(peer) = self.peers.get(router) else { return };
        if let Some(told) = peer.methods.and_then(|methods| second_choices(out.settings, methods)) {
            out.warn("second_choice", peer.address, || {
                format!(
                    "group {group}: router {} does not offer what is preferred: {told}; allow it there, or put \
                     what is used first in wccp.forward, wccp.return and wccp.assignment",
                    peer.address
                )
            });
        }
    }

    /// Declares a router silent, or meets it anew after we slept ourselves.
    fn check_silence(&mut self, router: usize, out: &mut Outcome<'_>) {
        let t = out.settings.here_i_am;
        let Some(peer) = self.peers.get_mut(router) else { return };
        let stale = peer.is_stale(out.now, t);
        if !stale && peer.silent_at(t).is_none_or(|at| at > out.now) {
            return;
        }
        peer.forget();
        peer.unanswered = 0;
        if stale {
            // The router has dropped us by now, so it is met as if new.
            peer.since = Some(out.now);
            if peer.state != State::Init {
                self.change(router, State::Init, "we were not running for a while: joining again", out);
            }
        } else {
            let address = peer.address;
            self.change(router, State::Silent, "three HERE_I_AMs without an answer", out);
            self.warn_silent(address, out);
        }
        self.review(out);
    }

    fn reject(&mut self, router: usize, why: &str, out: &mut Outcome<'_>) {
        let t = out.settings.here_i_am;
        let group = self.service.id;
        let Some(peer) = self.peers.get_mut(router) else { return };
        let address = peer.address;
        peer.forget();
        // Methods change only by leaving, and a router takes 3 T to forget us.
        let until = out.now + t * 7 / 2;
        peer.quiet_until = Some(until);
        peer.next = until;
        if peer.state != State::Rejected {
            self.change(router, State::Rejected, why, out);
        }
        out.warn("router_rejected", address, || {
            format!(
                "group {group}: no common method with router {address}: {why}; set wccp.forward, wccp.return \
                 and wccp.assignment to what the router can do"
            )
        });
        self.review(out);
    }

    fn send_in_turn(&mut self, router: usize, out: &mut Outcome<'_>) {
        let t = out.settings.here_i_am;
        let group = self.service.id;
        let Some(peer) = self.peers.get_mut(router) else { return };
        if peer.next > out.now {
            return;
        }
        let in_step = peer.since.map(|_| peer.next + t).filter(|&next| next > out.now);
        peer.next = in_step.unwrap_or(out.now + t);
        if peer.state == State::Rejected {
            peer.next = out.now + t * 7 / 2;
        }
        let (address, state, usable_for) = (peer.address, peer.state, out.now.since(peer.usable_since));
        let method = match peer.methods.map(|methods| methods.assignment) {
            Some(Assignment::Mask) => "mask",
            _ => "hash",
        };
        match state {
            State::Silent => self.warn_silent(address, out),
            State::Usable if usable_for >= t * 5 => out.warn("no_assignment", address, || {
                format!(
                    "router {address} lists us in group {group} but assigns nothing to us: check that the \
                     cache with the lowest address of the group works and gives us a share, and that the \
                     router accepts {method} assignment; trying on"
                )
            }),
            _ => {}
        }
        self.send_here_i_am(router, out);
    }

    fn warn_silent(&self, address: Ipv4Addr, out: &mut Outcome<'_>) {
        let group = self.service.id;
        out.warn("router_silent", address, || {
            format!(
                "router {address} does not answer HERE_I_AMs of group {group}: check that it is reachable, \
                 that `ip wccp {group}` is set there and that both ends have the same password; trying on"
            )
        });
    }

    /// A HERE_I_AM out of turn, at most one every T: each causes an I_SEE_YOU.
    fn send_extra(&mut self, router: usize, out: &mut Outcome<'_>) {
        let t = out.settings.here_i_am;
        let Some(peer) = self.peers.get_mut(router) else { return };
        if peer.leaving.is_some() || peer.extra.is_some_and(|last| out.now.since(last) < t) {
            return;
        }
        peer.extra = Some(out.now);
        self.send_here_i_am(router, out);
    }

    fn send_here_i_am(&mut self, router: usize, out: &mut Outcome<'_>) {
        let Some(payload) = self.here_i_am(router, Vec::new(), out.settings) else { return };
        let Some(peer) = self.peers.get_mut(router) else { return };
        peer.since.get_or_insert(out.now);
        peer.sent = out.now;
        peer.quiet_until = None;
        peer.unanswered = peer.unanswered.saturating_add(1);
        peer.counters.here_i_am += 1;
        out.common.send(peer.address, payload);
    }

    fn continue_burst(&mut self, router: usize, out: &mut Outcome<'_>) {
        let step = out.settings.here_i_am / 10;
        let Some(peer) = self.peers.get_mut(router) else { return };
        let Some(burst) = peer.burst.as_mut().filter(|burst| burst.at <= out.now) else { return };
        out.common.send(peer.address, burst.payload.clone());
        peer.counters.here_i_am += 1;
        burst.left -= 1;
        burst.at = out.now + step;
        if burst.left == 0 {
            peer.burst = None;
        }
    }

    fn continue_leaving(&mut self, router: usize, out: &mut Outcome<'_>) {
        let step = out.settings.here_i_am / 10;
        let Some(leaving) = self.peers.get(router).and_then(|peer| peer.leaving) else { return };
        if leaving.until <= out.now {
            if let Some(peer) = self.peers.get_mut(router) {
                peer.leaving = None;
            }
            return self.change(router, State::Left, "the router did not confirm in time", out);
        }
        if leaving.sent >= 3 || leaving.next > out.now {
            return;
        }
        let command = Command::Shutdown(out.settings.own_address);
        let payload = self.here_i_am(router, vec![command], out.settings);
        let Some(peer) = self.peers.get_mut(router) else { return };
        peer.leaving = Some(Leaving { sent: leaving.sent + 1, next: out.now + step, ..leaving });
        if let Some(payload) = payload {
            peer.counters.here_i_am += 1;
            out.common.send(peer.address, payload);
        }
    }

    /// Sets the state and tells of it.
    fn change(&mut self, router: usize, state: State, reason: &str, out: &mut Outcome<'_>) {
        self.announce(router, state, reason, out);
        if state == State::Left
            && let Some(peer) = self.peers.get_mut(router)
        {
            peer.share = Share::NONE;
        }
    }

    fn announce(&mut self, router: usize, state: State, reason: &str, out: &mut Outcome<'_>) {
        let group = self.service.id;
        let Some(peer) = self.peers.get_mut(router) else { return };
        peer.state = state;
        reason.clone_into(&mut peer.reason);
        let what = What::Wccp { group, router: peer.address, state: state.name(), reason: reason.to_owned() };
        out.events.push(Event { at: out.now, what });
    }
}

impl Outcome<'_> {
    pub(super) fn warn(&mut self, kind: &'static str, router: Ipv4Addr, text: impl FnOnce() -> String) {
        self.common.warn(self.now, kind, router, self.events, text);
    }
}

/// Whether `a` lies before `b`, over the wrap from the highest number to 1.
const fn serial_less(a: u32, b: u32) -> bool {
    a != b && b.wrapping_sub(a) < 1 << 31
}

fn member(identity: &CacheIdentity) -> Member {
    let address = identity.address;
    let (weight, share) = match &identity.data {
        CacheData::Hash { buckets, weight, .. } => (*weight, Share::Buckets(*buckets)),
        CacheData::Mask { sets, weight, .. } => (*weight, Share::of_map(sets, address)),
        CacheData::None | CacheData::Extended { .. } => (0, Share::NONE),
    };
    Member { address, weight, share: if identity.historical { Share::NONE } else { share } }
}
