//! Data connections: announced, then translated in the flow table or relayed.
//!
//! The entry exists before the line that announces it is released; a flow lives on when its session ends.

use super::control::{Control, Transfer};
use super::relay::Relay;
use super::reply::Gate;
use super::settings::DataSource;
use super::shared::{Shared, Timer, direct, redirected};
use crate::event::{Direction, Path, SessionId, What};
use crate::flow::{
    Action, Announced, ByteMeter, Entry, ExpectKey, Expected, Flags, FlowKey, FlowView, Leg, Rewrite,
    SlotRef, Sticky, TimerId,
};
use crate::ftp::verb::Verb;
use crate::ftp::{hostport, reply};
use crate::time::{Duration, Instant};
use std::net::{IpAddr, SocketAddr};

/// How often the owner looks at a translated flow that nobody reported anything of. At 100 Gbit/s the
/// bytes between two looks stay below what the meter can tell apart.
const LOOK: Duration = Duration::from_millis(250);
/// How far a reset's number may be from the flow's to count (RFC 5961 wants it exact at the end host; we
/// only shorten a life by it).
const RST_SLACK: i32 = 1 << 20;

/// What an expectation's SYN becomes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Where the client connects to.
    pub(super) announced: SocketAddr,
    /// Where our side of it leaves from.
    pub(super) own: SocketAddr,
    /// Where the server listens.
    pub(super) remote: SocketAddr,
}

/// A session's data connection, as far as it has got.
pub(super) enum Data {
    /// None is set up.
    None,
    /// The server listens; a port to announce is awaited.
    Waiting {
        /// What the client asked.
        asked: Verb,
        /// Ours toward the server.
        own: SocketAddr,
        /// The server's.
        remote: SocketAddr,
    },
    /// Announced to the client.
    Expected {
        /// The expectation.
        key: ExpectKey,
        /// What it leads to.
        plan: Plan,
        /// Until when it is good.
        until: Instant,
    },
    /// Translated; the flow's number.
    Flow(u32),
    /// The client listens, and the server does.
    Listening {
        /// Where the client listens.
        client: SocketAddr,
        /// Ours toward the server.
        own: SocketAddr,
        /// The server's.
        remote: SocketAddr,
    },
    /// Relayed.
    Relay(Box<Relay>),
}

impl Data {
    /// Whether a reply to the client waits for a port.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self, Self::Waiting { .. })
    }
}

/// A translated data connection.
pub(super) struct DataFlow {
    session: SessionId,
    transfer: Option<Transfer>,
    /// The session is gone: no final reply will come.
    orphan: bool,
    client: IpAddr,
    /// Toward the server, toward the client.
    slots: Option<(SlotRef, SlotRef)>,
    from_client: ByteMeter,
    from_server: ByteMeter,
    started: Instant,
    ended: Option<(Instant, &'static str)>,
    told: bool,
    plan: Plan,
    timer: Option<TimerId>,
}

impl DataFlow {
    /// Whether bytes may still pass.
    pub(super) fn is_live(&self) -> bool {
        self.ended.is_none()
    }
}

impl Control {
    /// The server listens for a passive client.
    pub(super) fn passive_ready(&mut self, shared: &mut Shared, asked: Verb, port: u16) {
        let remote = SocketAddr::new(self.server.ip(), port);
        let Some(own) = shared.ports.allocate(remote, shared.now) else {
            return self.no_data(shared, "no port of ours is free");
        };
        if shared.settings.services[self.service].data_source == DataSource::Own {
            // A port of ours that no other connection with this client uses.
            let client = SocketAddr::new(self.client.ip(), 0);
            let Some(announced) = shared.ports.allocate(client, shared.now) else {
                shared.ports.release(remote, own, shared.now);
                return self.no_data(shared, "no port of ours is free");
            };
            return self.announce(shared, asked, Plan { announced, own, remote });
        }
        let pair = self.pair();
        let active = &shared.active;
        let answer = shared.steering[self.service]
            .announce(pair, self.id, shared.now, |pair, port| active.contains_key(&(*pair, port)));
        match answer {
            Announced::Port(port) => {
                let announced = SocketAddr::new(self.server.ip(), port);
                self.announce(shared, asked, Plan { announced, own, remote });
            }
            Announced::Waiting => {
                self.data = Data::Waiting { asked, own, remote };
                self.expectation(
                    shared,
                    "waiting",
                    self.server,
                    Some(remote),
                    "all data ports of this pair are busy",
                );
            }
            Announced::Refused => {
                shared.ports.release(remote, own, shared.now);
                self.no_data(shared, "all data ports of this pair are busy");
            }
        }
    }

    /// A port came free for an announcement that waited, or none did (`None`).
    pub(super) fn steered(&mut self, shared: &mut Shared, port: Option<u16>) {
        let Data::Waiting { asked, own, remote } = self.data else { return };
        self.data = Data::None;
        match port {
            Some(port) => {
                let announced = SocketAddr::new(self.server.ip(), port);
                self.announce(shared, asked, Plan { announced, own, remote });
            }
            None => {
                shared.ports.release(remote, own, shared.now);
                self.no_data(shared, "all data ports of this pair are busy");
            }
        }
    }

    fn announce(&mut self, shared: &mut Shared, asked: Verb, plan: Plan) {
        let steered = plan.announced.ip() == self.server.ip();
        let leg = if steered { Leg::Redirected } else { Leg::Direct };
        let (client, server) = (self.client.ip(), plan.announced.ip());
        let key = ExpectKey { client, server, port: plan.announced.port(), leg };
        let t = &shared.settings.timers;
        let deadline = shared.now + if steered { t.steer_timeout } else { t.data_wait };
        let expected = Expected { session: self.id, deadline, detail: plan };
        if let Err(e) = shared.expectations.insert(key, expected) {
            shared.steering[self.service].withdraw(self.pair(), self.id, shared.now);
            self.unplan(shared, &plan);
            return self.no_data(shared, &e.to_string());
        }
        self.data = Data::Expected { key, plan, until: deadline };
        self.expectation(shared, "opened", plan.announced, Some(plan.remote), "");
        let mut line = Vec::new();
        match (asked, plan.announced) {
            (Verb::Pasv, SocketAddr::V4(at)) => hostport::write_227(&mut line, at),
            _ => hostport::write_229(&mut line, plan.announced.port()),
        }
        self.say_reply(shared, &line, "edited");
    }

    /// A refusal of a data connection.
    fn no_data(&mut self, shared: &mut Shared, why: &str) {
        self.expectation(shared, "refused", self.server, None, why);
        let mut line = Vec::new();
        reply::write(&mut line, 425, format!("No data connection: {why}.").as_bytes());
        self.say_reply(shared, &line, "gateway");
    }

    /// The server listens for a client that listens, too.
    pub(super) fn active_ready(&mut self, shared: &mut Shared, asked: Verb, client: SocketAddr, port: u16) {
        let remote = SocketAddr::new(self.server.ip(), port);
        let Some(own) = shared.ports.allocate(remote, shared.now) else {
            return self.no_data(shared, "no port of ours is free");
        };
        self.data = Data::Listening { client, own, remote };
        self.expectation(shared, "opened", client, Some(remote), "");
        let mut line = Vec::new();
        reply::write(&mut line, 200, format!("{} command successful.", asked.name()).as_bytes());
        self.say_reply(shared, &line, "gateway");
    }

    /// Says a whole reply of one line and reports it.
    pub(super) fn say_reply(&mut self, shared: &mut Shared, line: &[u8], source: &'static str) {
        self.say(line);
        let code = line.get(..3).and_then(|c| std::str::from_utf8(c).ok()).and_then(|c| c.parse().ok());
        let text = super::shared::lossy(line.get(4..).unwrap_or_default()).trim_end().to_owned();
        shared.event(What::Reply { session: self.id, code: code.unwrap_or(0), text, source });
    }

    pub(super) fn expectation(
        &mut self,
        shared: &mut Shared,
        state: &'static str,
        client_side: SocketAddr,
        server_side: Option<SocketAddr>,
        reason: &str,
    ) {
        let reason = reason.to_owned();
        shared.event(What::Expectation { session: self.id, state, client_side, server_side, reason });
    }

    /// A transfer's verb was sent. False if it cannot be served.
    pub(super) fn data_begins(&mut self, shared: &mut Shared) -> bool {
        match self.data {
            Data::Flow(id) => {
                match shared.flow_of(id, self.id).filter(|f| !f.told) {
                    Some(flow) if flow.transfer.is_none() => flow.transfer = self.transfer.clone(),
                    _ => self.data = Data::None,
                }
                true
            }
            Data::Listening { client, own, remote } => self.relay_start(shared, client, own, remote),
            _ => true,
        }
    }

    /// The final reply to a transfer came (or will never).
    pub(super) fn transfer_replied(&mut self, shared: &mut Shared, code: u16) {
        let Some(mut transfer) = self.transfer.take() else { return };
        transfer.code = Some(code);
        match &self.data {
            Data::Flow(id) => {
                let id = *id;
                if let Some(flow) = shared.flow_of(id, self.id).filter(|f| !f.told) {
                    flow.transfer = Some(transfer);
                    shared.tell_flow(id);
                    return;
                }
                self.data = Data::None;
            }
            Data::Relay(_) => {
                self.transfer = Some(transfer);
                return self.relay_replied(shared, code);
            }
            _ => {}
        }
        let verdict = verdict("complete", code, 0);
        let direction = transfer.verb.direction().unwrap_or(Direction::Download);
        shared.event(What::Transfer {
            session: self.id,
            verb: transfer.verb.name().to_owned(),
            name: transfer.name,
            direction,
            path: Path::Translated,
            client_mode: if matches!(self.data, Data::Listening { .. }) { "active" } else { "passive" },
            bytes: 0,
            duration_ms: 0,
            verdict,
            code,
        });
    }

    /// A new PASV, EPSV, PORT or EPRT replaces what was set up.
    pub(super) fn data_supersede(&mut self, shared: &mut Shared) {
        self.data_drop(shared, "superseded", "replaced by a new one");
    }

    /// ABOR: what is not connected yet will not be.
    pub(super) fn data_abort(&mut self, shared: &mut Shared) {
        match self.data {
            Data::Waiting { .. } => {
                self.data_drop(shared, "superseded", "aborted");
                self.no_data(shared, "aborted");
            }
            Data::Expected { .. } => self.data_drop(shared, "superseded", "aborted"),
            Data::Relay(_) => self.relay_abort(shared),
            _ => {}
        }
    }

    /// The session ends; a connected flow goes on by itself.
    pub(super) fn data_session_ends(&mut self, shared: &mut Shared) {
        if let Data::Flow(id) = self.data
            && let Some(flow) = shared.flow_of(id, self.id)
        {
            flow.orphan = true;
            if flow.transfer.is_none() {
                flow.transfer = self.transfer.take();
            }
            shared.tell_flow(id);
        }
        self.data_drop(shared, "superseded", "the session ended");
    }

    fn data_drop(&mut self, shared: &mut Shared, state: &'static str, why: &str) {
        match std::mem::replace(&mut self.data, Data::None) {
            Data::None | Data::Flow(_) => {}
            Data::Waiting { own, remote, .. } => {
                shared.steering[self.service].withdraw(self.pair(), self.id, shared.now);
                shared.ports.release(remote, own, shared.now);
            }
            Data::Expected { key, plan, .. } => {
                shared.expectations.remove(&key);
                shared.steering[self.service].withdraw(self.pair(), self.id, shared.now);
                self.unplan(shared, &plan);
                self.expectation(shared, state, plan.announced, Some(plan.remote), why);
            }
            Data::Listening { client, own, remote } => {
                shared.ports.release(remote, own, shared.now);
                self.expectation(shared, state, client, Some(remote), why);
            }
            Data::Relay(relay) => self.relay_drop(shared, relay),
        }
    }

    /// The announced port's time is up.
    pub(super) fn data_expired(&mut self, shared: &mut Shared) {
        if let Data::Expected { key, plan, .. } = self.data {
            self.data = Data::None;
            shared.expectations.remove(&key);
            shared.steering[self.service].withdraw(self.pair(), self.id, shared.now);
            self.unplan(shared, &plan);
            let text = "no SYN came; is the port in the router's redirect list?";
            self.expectation(shared, "expired", plan.announced, Some(plan.remote), text);
        }
    }

    fn unplan(&mut self, shared: &mut Shared, plan: &Plan) {
        shared.release_plan(plan, self.client.ip());
    }

    /// Whether data is under way, so that silence on the control connection is no idleness.
    pub(super) fn data_moving(&self, shared: &Shared) -> bool {
        match &self.data {
            Data::Flow(id) => {
                shared.flows.get(*id).is_some_and(|f| f.session == self.id && f.ended.is_none())
            }
            Data::Relay(r) => r.is_live(),
            _ => false,
        }
    }

    /// When something about data is due.
    pub(super) fn data_deadline(&self, shared: &Shared) -> Option<Instant> {
        match &self.data {
            Data::Relay(r) => Some(match self.gate {
                Gate::Delivering(until) => until.min(r.deadline(shared)),
                _ => r.deadline(shared),
            }),
            Data::Expected { until, .. } => Some(*until),
            _ => None,
        }
    }
}

impl Shared {
    /// Flow `id`, if it is still this session's: numbers are used again.
    fn flow_of(&mut self, id: u32, session: SessionId) -> Option<&mut DataFlow> {
        self.flows.get_mut(id).filter(|f| f.session == session)
    }

    pub(super) fn release_plan(&mut self, plan: &Plan, client: IpAddr) {
        self.ports.release(plan.remote, plan.own, self.now);
        if self.settings.own.is(plan.announced.ip()) {
            self.ports.release(SocketAddr::new(client, 0), plan.announced, self.now);
        }
    }

    /// The announced data connection's SYN: both directions enter the table before it goes on.
    /// `clamp` lowers the MSS that the server offers.
    pub(super) fn flow_open(
        &mut self,
        session: SessionId,
        client: SocketAddr,
        plan: Plan,
        clamp: bool,
    ) -> Option<u32> {
        let steered = !self.settings.own.is(plan.announced.ip());
        let from_client =
            if steered { redirected(client, plan.announced) } else { direct(client, plan.announced) }?;
        let from_server = direct(plan.remote, plan.own)?;
        let id = self.flows.insert(DataFlow {
            session,
            transfer: None,
            orphan: false,
            client: client.ip(),
            slots: None,
            from_client: ByteMeter::default(),
            from_server: ByteMeter::default(),
            started: self.now,
            ended: None,
            told: false,
            plan,
            timer: None,
        });
        let slots = self.flow_slots(id, client, &plan, &from_client, &from_server, clamp);
        let timer = slots.and_then(|_| self.wheel.insert(self.now + LOOK, Timer::Flow(id)));
        let (Some((c, s)), Some(timer), Some(flow)) = (slots, timer, self.flows.get_mut(id)) else {
            if let Some((c, s)) = slots {
                self.table.remove(c);
                self.table.remove(s);
            }
            self.flows.remove(id);
            return None;
        };
        (flow.slots, flow.timer) = (Some((c, s)), Some(timer));
        self.counters.translated += 1;
        Some(id)
    }

    fn flow_slots(
        &mut self,
        id: u32,
        client: SocketAddr,
        plan: &Plan,
        from_client: &FlowKey,
        from_server: &FlowKey,
        clamp: bool,
    ) -> Option<(SlotRef, SlotRef)> {
        let there = Rewrite::new(from_client, plan.own, plan.remote)?;
        let back = Rewrite::new(from_server, plan.announced, client)?;
        let entry = |shared: &Self, rewrite, flags| Entry {
            owner: shared.settings.worker,
            next_hop: 0,
            id,
            epoch: 0,
            action: Action::Translate,
            flags,
            rewrite,
        };
        let c = self.claim(from_client, &entry(self, there, Flags::HOP))?;
        let back_flags = if clamp { Flags::HOP.with(Flags::CLAMP_MSS) } else { Flags::HOP };
        match self.claim(from_server, &entry(self, back, back_flags)) {
            Some(s) => Some((c, s)),
            None => {
                self.table.remove(c);
                None
            }
        }
    }

    /// The client opens a connection where a flow is. If that flow has ended, it makes room (RFC 9293 3.6.1):
    /// true, and the SYN is one that hits no flow.
    pub(super) fn flow_reopened(&mut self, id: u32, slot: SlotRef) -> bool {
        self.flow_look(id, false);
        let over = |f: &DataFlow| f.ended.is_some() && f.slots.is_some_and(|(c, _)| c == slot);
        let over = self.flows.get(id).is_some_and(over);
        if over {
            self.flow_remove(id);
        }
        over
    }

    /// Attaches what the client asked for before its data connection came.
    pub(super) fn flow_transfer(&mut self, id: u32, transfer: Option<Transfer>) {
        if let Some(flow) = self.flows.get_mut(id) {
            flow.transfer = transfer;
        }
    }

    /// Looks at a flow: has it ended, is it stalled, is its time over? Called by its timer and when a
    /// FIN or RST was forwarded.
    pub(super) fn flow_look(&mut self, id: u32, by_timer: bool) {
        let tick = self.now.tick();
        let Some(flow) = self.flows.get_mut(id) else { return };
        let views = flow.slots.map(|(c, s)| (self.table.view(c, tick), self.table.view(s, tick)));
        let Some((Some(c), Some(s))) = views else { return self.flow_remove(id) };
        flow.from_client.advance(&c.live);
        flow.from_server.advance(&s.live);
        let fin = c.live.sticky.has(Sticky::FIN) && s.live.sticky.has(Sticky::FIN);
        let reset = plausible_reset(&c) || plausible_reset(&s);
        let stall = (self.settings.timers.data_stall.as_millis() / 100) as u32;
        let idle = c.live.idle.min(s.live.idle);
        if flow.ended.is_none() {
            let verdict = match (fin, reset) {
                (true, _) => Some("complete"),
                (false, true) => Some("reset"),
                _ => (idle > stall).then_some("failed"),
            };
            flow.ended = verdict.map(|v| (self.now, v));
        }
        let over = flow.ended.is_some_and(|(at, _)| self.now.since(at) >= self.settings.timers.time_wait);
        let ended = flow.ended.is_some();
        if over {
            return self.flow_remove(id);
        }
        if by_timer {
            flow.timer = None;
            let timer = self.wheel.insert(self.now + LOOK, Timer::Flow(id));
            match (timer, self.flows.get_mut(id)) {
                (Some(t), Some(f)) => f.timer = Some(t),
                _ => return self.flow_remove(id),
            }
        }
        if ended {
            self.tell_flow(id);
        }
    }

    fn flow_remove(&mut self, id: u32) {
        if let Some(flow) = self.flows.get_mut(id) {
            flow.orphan = true;
            flow.ended.get_or_insert((self.now, "failed"));
        }
        self.tell_flow(id);
        let Some(flow) = self.flows.remove(id) else { return };
        if let Some(t) = flow.timer {
            self.wheel.cancel(t);
        }
        if let Some((c, s)) = flow.slots {
            self.table.remove(c);
            self.table.remove(s);
        }
        self.release_plan(&flow.plan, flow.client);
    }

    /// Reports a flow's transfer once it has ended and its final reply is in (or none will come).
    fn tell_flow(&mut self, id: u32) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        let Some((at, end)) = flow.ended else { return };
        let code = flow.transfer.as_ref().and_then(|t| t.code);
        if flow.told || (code.is_none() && !flow.orphan) {
            return;
        }
        flow.told = true;
        let (up, down) = (flow.from_client.bytes(), flow.from_server.bytes());
        let verb = flow.transfer.as_ref().map(|t| t.verb);
        let direction = verb.and_then(Verb::direction).unwrap_or(if up > down {
            Direction::Upload
        } else {
            Direction::Download
        });
        let code = code.unwrap_or(0);
        if verb.is_none() && up + down == 0 {
            // Connected and closed again, and nothing asked for: no transfer.
            return;
        }
        let bytes = if direction == Direction::Upload { up } else { down };
        let what = What::Transfer {
            session: flow.session,
            verb: verb.map_or_else(String::new, |v| v.name().to_owned()),
            name: flow.transfer.as_ref().map_or_else(String::new, |t| t.name.clone()),
            direction,
            path: Path::Translated,
            client_mode: "passive",
            bytes,
            duration_ms: at.since(flow.started).as_millis() as u64,
            verdict: self::verdict(end, code, bytes),
            code,
        };
        self.event(what);
    }
}

/// What became of a transfer, from how its data connection ended (`complete`, `reset`, `aborted`, `failed`,
/// `refused`) and its final reply's code (0 if none came). What the server says outranks what was seen.
pub(super) fn verdict(end: &'static str, code: u16, bytes: u64) -> &'static str {
    match code {
        426 | 451 => "aborted",
        400.. if bytes == 0 && code != 425 => "refused",
        400.. => "failed",
        _ => end,
    }
}

fn plausible_reset(v: &FlowView) -> bool {
    v.live.rst_seq.is_some_and(|seq| (seq.wrapping_sub(v.live.last_seq) as i32).abs() < RST_SLACK)
}
