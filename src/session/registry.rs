//! A worker's sessions: what the engine calls.

use super::control::Session;
use super::data::Side;
use super::half::{Halves, LEG_HALF_CLIENT, LEG_HALF_SERVER};
use super::settings::{OverLimit, Settings};
use super::shared::{ById, Counters, Shared, Timer, reset};
use crate::event::{Event, SessionId, What};
use crate::flow::Shares;
use crate::flow::{ExpectKey, FlowTable, Leg, Pair, Salted, Slab, SlotRef, SteerEvent, Steering};
use crate::rng::{Keyed, Purpose};
use crate::tcp::Outlet;
use crate::time::{Duration, Instant};
use crate::wire::icmp::{self, Icmp};
use crate::wire::tcp::{Segment, SynOptions};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

/// What a SYN that no flow owns turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SynVerdict {
    /// A data connection that was announced: its flow is in the table now, forward the SYN by it.
    Forward,
    /// Taken: answered, held, or reset.
    Taken,
    /// Not ours: back to where it came from.
    NotOurs,
}

/// All sessions of one worker.
pub struct Registry {
    pub(super) shared: Shared,
    halves: Halves,
    sessions: Slab<Box<Session>>,
    by_id: ById,
    clients: Shares,
    ordinal: u64,
    draining: bool,
    refused_told: Option<Instant>,
    fired: Vec<Timer>,
    /// Sessions with segments that have not been served yet.
    touched: Vec<u32>,
    /// Nothing has gone on since memory was given back.
    rests: bool,
}

impl Registry {
    /// No sessions yet.
    pub fn new(settings: Settings, table: Arc<FlowTable>, keyed: Keyed) -> Self {
        let salt = keyed.value(Purpose::Salt, b"registry", 0);
        Self {
            shared: Shared::new(settings, table, keyed),
            halves: Halves::new(salt),
            sessions: Slab::default(),
            by_id: HashMap::with_hasher(Salted::new(salt)),
            clients: Shares::new(salt),
            ordinal: 0,
            draining: false,
            refused_told: None,
            fired: Vec::new(),
            touched: Vec::new(),
            rests: true,
        }
    }

    /// A SYN without ACK that hits no flow. `redirected` tells how it came. Its checksums are right.
    pub fn syn(
        &mut self,
        now: Instant,
        seg: &Segment,
        options: SynOptions,
        redirected: bool,
        out: &mut dyn Outlet,
    ) -> SynVerdict {
        self.shared.now = now;
        let leg = if redirected { Leg::Redirected } else { Leg::Direct };
        let key = ExpectKey { client: seg.src.ip(), server: seg.dst.ip(), port: seg.dst.port(), leg };
        if let Some(e) = self.shared.expectations.take(&key, now) {
            return self.data_syn(e.session, e.detail, seg, options, out);
        }
        if !redirected {
            return SynVerdict::NotOurs;
        }
        let pair = Pair { client: seg.src.ip(), server: seg.dst.ip() };
        let late = (0..self.shared.steering.len())
            .any(|i| self.shared.steering[i].is_quarantined(pair, seg.dst.port(), now));
        if late {
            self.shared.counters.late_syns += 1;
            reset(seg, out);
            return SynVerdict::Taken;
        }
        let Some(service) = self.shared.settings.service(seg.dst.port()) else { return SynVerdict::NotOurs };
        if !is_host(seg.src.ip()) || !is_host(seg.dst.ip()) {
            return SynVerdict::NotOurs;
        }
        if self.shared.settings.own.is(seg.dst.ip()) {
            // We are no FTP server, and would look for ourselves on the wire.
            reset(seg, out);
            return SynVerdict::Taken;
        }
        self.shared.counters.syns += 1;
        self.rests = false;
        if self.draining {
            self.refused(service, seg, "draining");
            return SynVerdict::NotOurs;
        }
        if self.shared.settings.own.for_peer(seg.dst.ip()).is_none() {
            let family = if seg.dst.is_ipv4() { "IPv4" } else { "IPv6" };
            let why = format!("no {family} address of ours; add one, and a next_hop, to [[interface]]");
            self.refused(service, seg, &why);
            return SynVerdict::NotOurs;
        }
        let why = match self.at_limit(seg.src.ip()) {
            Some(why) => why,
            None if self.shared.half_open(&mut self.halves, service, seg, options, out) => {
                return SynVerdict::Taken;
            }
            None => "no port or flow entry is free",
        };
        self.refused(service, seg, why);
        match self.shared.settings.limits.over_limit {
            OverLimit::Return => SynVerdict::NotOurs,
            OverLimit::Reset => {
                reset(seg, out);
                SynVerdict::Taken
            }
        }
    }

    /// Which limit keeps another session of this client out.
    fn at_limit(&self, client: IpAddr) -> Option<&'static str> {
        let limits = &self.shared.settings.limits;
        if self.sessions.len() >= limits.sessions {
            Some("limit `sessions` reached")
        } else if self.clients.of(client) >= limits.per_client {
            Some("limit `per_client` reached")
        } else {
            None
        }
    }

    /// Counts a session that was not made; tells of one a second, for a flood must not fill the disk.
    fn refused(&mut self, service: usize, seg: &Segment, why: &str) {
        self.shared.counters.sessions_refused += 1;
        let now = self.shared.now;
        if self.refused_told.is_none_or(|at| now.since(at) >= Duration::from_secs(1)) {
            self.refused_told = Some(now);
            self.session_event(None, "refused", service, seg, why);
        }
    }

    fn session_event(
        &mut self,
        session: Option<SessionId>,
        state: &'static str,
        service: usize,
        seg: &Segment,
        why: &str,
    ) {
        let service = self.shared.settings.services.get(service).map_or_else(String::new, |s| s.name.clone());
        let (client, server, reason) = (seg.src, seg.dst, why.to_owned());
        self.shared.event(What::Session { session, state, client, server, service, reason });
    }

    fn data_syn(
        &mut self,
        id: SessionId,
        side: Side,
        seg: &Segment,
        options: SynOptions,
        out: &mut dyn Outlet,
    ) -> SynVerdict {
        let index = self.by_id.get(&id).copied();
        let Some((index, session)) = index.and_then(|i| Some((i, self.sessions.get_mut(i)?))) else {
            reset(seg, out);
            return SynVerdict::Taken;
        };
        let verdict = session.ctl.data_syn(&mut self.shared, side, seg, options, out);
        if verdict == SynVerdict::Taken {
            self.touch(index);
        }
        verdict
    }

    /// Has a session served at the end of the turn.
    fn touch(&mut self, index: u32) {
        if let Some(s) = self.sessions.get_mut(index)
            && !std::mem::replace(&mut s.ctl.waits_for_service, true)
        {
            self.touched.push(index);
        }
    }

    /// A segment that the table gave to a session of ours. `packet` is the whole IP packet (its
    /// acknowledgement may be changed); its checksums are right.
    pub fn segment(
        &mut self,
        now: Instant,
        id: u32,
        leg: u8,
        seg: &Segment,
        packet: &mut [u8],
        out: &mut dyn Outlet,
    ) {
        self.shared.now = now;
        match leg {
            LEG_HALF_CLIENT => {
                let options = seg.syn_options(packet);
                let halves = &mut self.halves;
                if let Some(opened) = self.shared.half_from_client(halves, id, seg, options, out) {
                    // Others may have come first while this one was half open.
                    match self.at_limit(opened.client.ip()) {
                        Some(why) => {
                            self.refused(opened.service, seg, why);
                            self.shared.half_refuse(&opened, out);
                        }
                        None => self.open(&opened, packet, out),
                    }
                }
            }
            LEG_HALF_SERVER => {
                let options = seg.syn_options(packet);
                self.shared.half_from_server(&mut self.halves, id, seg, options, out);
            }
            _ => {
                if let Some(s) = self.sessions.get_mut(id) {
                    s.ctl.stack.receive(now, packet, out);
                    self.touch(id);
                }
            }
        }
    }

    /// Whether a redirected segment that the table gave to a session is one that we sent ourselves, on its other
    /// leg. With the client's address toward servers both legs show the same ends: a router that redirects what
    /// comes from us brings it back as the other peer's.
    pub fn is_ours(&self, id: u32, leg: u8, seg: &Segment) -> bool {
        match leg {
            LEG_HALF_CLIENT | LEG_HALF_SERVER => self.halves.is_ours(id, leg, seg),
            _ => self.sessions.get(id).is_some_and(|s| s.ctl.is_ours(leg, seg)),
        }
    }

    /// Serves the sessions that got segments since the last call: once each, however many these were.
    pub fn serve_touched(&mut self, now: Instant, out: &mut dyn Outlet) {
        self.shared.now = now;
        let mut touched = std::mem::take(&mut self.touched);
        for id in touched.drain(..) {
            self.serve(id, out);
        }
        self.touched = touched;
        self.make_way(out);
    }

    /// Ends the relays that gave their places to others.
    fn make_way(&mut self, out: &mut dyn Outlet) {
        while let Some(id) = self.shared.outdone.first().copied() {
            if let Some(index) = self.by_id.get(&id).copied()
                && let Some(s) = self.sessions.get_mut(index)
            {
                s.ctl.relay_outdone(&mut self.shared);
                self.serve(index, out);
            }
            // If it is not gone yet, it goes with its transfer.
            self.shared.outdone.retain(|other| *other != id);
        }
    }

    /// A segment for a connection in TIME-WAIT. True if it opens a new connection: treat it as a miss.
    pub fn wait_segment(
        &mut self,
        now: Instant,
        id: u32,
        slot: SlotRef,
        seg: &Segment,
        out: &mut dyn Outlet,
    ) -> bool {
        self.shared.now = now;
        self.shared.wait_segment(id, slot, seg, out)
    }

    /// An ICMP error about a segment that a session of ours sent.
    pub fn icmp(&mut self, now: Instant, id: u32, leg: u8, from: IpAddr, error: &Icmp, out: &mut dyn Outlet) {
        self.shared.now = now;
        let Icmp::TcpError { kind, seq, src, dst, mtu, .. } = *error else { return };
        match leg {
            LEG_HALF_SERVER => self.shared.half_icmp(&mut self.halves, id, from, kind, seq, out),
            LEG_HALF_CLIENT => {}
            _ if matches!(kind, icmp::TOO_BIG_V4 | icmp::TOO_BIG_V6) => {
                if let Some(s) = self.sessions.get_mut(id) {
                    s.ctl.stack.too_big((src, dst), seq, mtu as usize);
                }
            }
            // An established connection is not ended by what anybody could have sent (RFC 5927 section 5.2).
            _ => {}
        }
    }

    /// The client's SYN hit translated flow `id` of ours. True if that flow had ended and is gone now: treat
    /// the SYN as a miss.
    pub fn flow_reopened(&mut self, now: Instant, id: u32, slot: SlotRef) -> bool {
        self.shared.now = now;
        self.shared.flow_reopened(id, slot)
    }

    /// A FIN or RST was forwarded by translated flow `id`.
    pub fn flow_marked(&mut self, now: Instant, id: u32) {
        self.shared.now = now;
        self.shared.flow_look(id, None);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut dyn Outlet) {
        self.shared.now = now;
        let mut fired = std::mem::take(&mut self.fired);
        self.shared.wheel.expire(now, |t| fired.push(t));
        for timer in fired.drain(..) {
            match timer {
                Timer::Half(id) => self.shared.half_end(&mut self.halves, id, out),
                Timer::Session(id) => {
                    if let Some(s) = self.sessions.get_mut(id) {
                        s.ctl.timer = None;
                        self.serve(id, out);
                    }
                }
                Timer::Flow(id) => {
                    if let Some(u) = self.shared.flow_look(id, Some(out))
                        && let Some(index) = self.by_id.get(&u.session).copied()
                        && let Some(s) = self.sessions.get_mut(index)
                    {
                        s.ctl.data_unanswered(&mut self.shared, id, u.via, u.client);
                        self.serve(index, out);
                    }
                }
                Timer::Wait(id) => self.shared.wait_over(id),
            }
        }
        self.fired = fired;
        self.shared.leases.expire(now);
        self.shared.torn.expire(now);
        for service in 0..self.shared.steering.len() {
            let active = &self.shared.active;
            self.shared.steering[service]
                .handle_timeout(now, |pair, port| active.contains_key(&(*pair, port)));
            while let Some(event) = self.shared.steering[service].poll_event() {
                self.steer_event(event, out);
            }
        }
        self.make_way(out);
        self.rest();
    }

    /// When the last connection is forgotten, so is how many there were: a gateway that has seen a bad day does
    /// not keep its memory.
    fn rest(&mut self) {
        let s = &mut self.shared;
        let none = self.sessions.len() + self.halves.len() + s.flows.len() + s.waits.len() == 0;
        if self.rests || !none {
            return;
        }
        self.rests = true;
        self.sessions.shrink();
        self.halves.shrink();
        self.by_id.shrink_to_fit();
        self.clients.shrink();
        (self.fired, self.touched) = (Vec::new(), Vec::new());
        s.flows.shrink();
        s.waits.shrink();
        s.wheel.shrink();
        s.expectations.shrink();
        s.relays.shrink();
        (s.unasked, s.outdone) = (VecDeque::new(), Vec::new());
        s.active.shrink_to_fit();
        s.steering.iter_mut().for_each(Steering::shrink);
        s.events.shrink_to_fit();
    }

    fn steer_event(&mut self, event: SteerEvent, out: &mut dyn Outlet) {
        let (id, port) = match event {
            SteerEvent::Granted { session, port, .. } => (session, Some(port)),
            SteerEvent::Refused { session, .. } => (session, None),
            SteerEvent::TimedOut { session, port, .. } => {
                let index = self.by_id.get(&session).copied();
                if let Some(s) = index.and_then(|i| self.sessions.get_mut(i)) {
                    s.ctl.steered_out(&mut self.shared, port);
                }
                return;
            }
        };
        if let Some(index) = self.by_id.get(&id).copied()
            && let Some(s) = self.sessions.get_mut(index)
        {
            s.ctl.steered(&mut self.shared, port);
            self.serve(index, out);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next due, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let timer = self.shared.wheel.next_deadline().map(|at| (at, "session timer"));
        let ports = self.shared.leases.next_deadline().map(|at| (at, "port rest"));
        let steering = self.shared.steering.iter().filter_map(|s| s.poll_timeout());
        let torn = self.shared.torn.next_deadline().map(|at| (at, "look at unknown connections"));
        steering.chain(timer).chain(ports).chain(torn).min_by_key(|t| t.0)
    }

    /// Events since the last call, in order.
    pub fn take_events(&mut self, into: &mut Vec<Event>) {
        into.append(&mut self.shared.events);
    }

    /// From now on no session begins.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Sessions that live.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether none lives.
    pub fn is_empty(&self) -> bool {
        self.sessions.len() == 0
    }

    /// Half-open connections, data flows and TIME-WAITs that live.
    pub fn remains(&self) -> (usize, usize, usize) {
        (self.halves.len(), self.shared.flows.len(), self.shared.waits.len())
    }

    /// What is in use of everything that has a limit, by name: all 0 when nothing goes on. Looks at each
    /// session, so not for every turn.
    pub fn occupied(&self) -> [(&'static str, usize); 11] {
        let s = &self.shared;
        [
            ("sessions", self.sessions.len()),
            ("sockets", self.sessions.iter().map(|s| s.ctl.stack.sockets()).sum()),
            ("clients", self.clients.clients()),
            ("half-open connections", self.halves.len()),
            ("data flows", s.flows.len()),
            ("relays", s.relays.total()),
            ("active data connections", s.active.len()),
            ("expectations", s.expectations.len()),
            ("own ports", s.leases.in_use()),
            ("TIME-WAITs", s.waits.len()),
            ("timers", s.wheel.len()),
        ]
    }

    /// Translated data connections that have not ended.
    pub fn live_flows(&self) -> usize {
        self.shared.flows.iter().filter(|f| f.is_live()).count()
    }

    /// Counts so far.
    pub fn counters(&self) -> Counters {
        let mut c = self.shared.counters;
        for s in &self.shared.steering {
            c.steered += s.stats().steered;
            c.waited += s.stats().waited;
            c.refused += s.stats().refused;
        }
        c
    }

    fn open(&mut self, opened: &super::half::Opened, packet: &mut [u8], out: &mut dyn Outlet) {
        self.ordinal += 1;
        let shared = &mut self.shared;
        // Numbers of two workers never meet.
        let settings = &shared.settings;
        let id = SessionId(self.ordinal * u64::from(settings.workers.max(1)) + u64::from(settings.worker));
        let index = self.sessions.next_index();
        let Some(session) = Session::new(shared, id, index, opened) else {
            shared.half_refuse(opened, out);
            return;
        };
        let index = self.sessions.insert(Box::new(session));
        let keys = [
            (super::shared::redirected(opened.client, opened.server), opened.client_slot, 0),
            (shared.upstream_key(opened.service, opened.server, opened.own), opened.server_slot, 1),
        ];
        for (key, slot, leg) in keys {
            if let Some(key) = key {
                shared.table.update(slot, &shared.session_entry(&key, leg, index));
            }
        }
        shared.counters.sessions += 1;
        self.by_id.insert(id, index);
        self.clients.take(opened.client.ip());
        let service =
            shared.settings.services.get(opened.service).map_or_else(String::new, |s| s.name.clone());
        shared.event(What::Session {
            session: Some(id),
            state: "open",
            client: opened.client,
            server: opened.server,
            service,
            reason: String::new(),
        });
        if let Some(s) = self.sessions.get_mut(index) {
            s.ctl.stack.receive(self.shared.now, packet, out);
        }
        self.serve(index, out);
    }

    fn serve(&mut self, index: u32, out: &mut dyn Outlet) {
        let Some(s) = self.sessions.get_mut(index) else { return };
        s.ctl.waits_for_service = false;
        if s.service(&mut self.shared, out) {
            let at = s.ctl.next_timeout(&self.shared);
            let armed = s.ctl.timer.is_some_and(|t| self.shared.wheel.rearm(t, at));
            if !armed {
                s.ctl.timer = self.shared.wheel.insert(at, Timer::Session(index));
            }
            return;
        }
        s.ctl.finish(&mut self.shared);
        // Resets of what was cut short.
        s.ctl.stack.poll(self.shared.now, out);
        let (id, client) = (s.ctl.id, s.ctl.client.ip());
        self.sessions.remove(index);
        self.by_id.remove(&id);
        self.clients.give(client);
    }
}

/// Whether a host beyond our link may have this address. Connections of others are no business of ours: a
/// group's or nobody's is a fraud, and a link-local one means another host here (RFC 4291 section 2.5.6).
fn is_host(a: IpAddr) -> bool {
    let odd = match a {
        IpAddr::V4(a) => a.is_broadcast() || a.is_link_local(),
        IpAddr::V6(a) => a.is_unicast_link_local() || a.to_ipv4_mapped().is_some(),
    };
    !(odd || a.is_unspecified() || a.is_loopback() || a.is_multicast())
}
