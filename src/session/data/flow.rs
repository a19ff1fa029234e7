//! Translated data connections: both directions in the flow table, no stack between.

use super::super::control::Transfer;
use super::super::shared::{Shared, Timer, send};
use super::{Lease, Side};
use crate::event::{Direction, Path, SessionId, What};
use crate::flow::{
    Action, ByteMeter, Entry, Flags, FlowKey, FlowView, Lookup, Pair, Rewrite, SlotRef, Sticky, TimerId,
};
use crate::ftp::reply;
use crate::ftp::verb::Verb;
use crate::tcp::Outlet;
use crate::time::{Duration, Instant};
use crate::wire::build::{TTL, Tcp};
use crate::wire::tcp::{ACK, RST, SynOptions};
use std::net::SocketAddr;

/// How often the owner looks at a translated flow that nobody reported anything of. At 100 Gbit/s the
/// bytes between two looks stay below what the meter can tell apart.
const LOOK: Duration = Duration::from_millis(250);
/// How far a reset's number may be from the flow's to count (RFC 5961 wants it exact at the end host; we
/// only shorten a life by it).
const RST_SLACK: u32 = 1 << 20;

/// The four ends: `client` speaks with `via`, `ours` with `remote`, which is the server's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) client: SocketAddr,
    pub(super) via: SocketAddr,
    pub(super) ours: SocketAddr,
    pub(super) remote: SocketAddr,
}

/// What a translated data connection is made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opening {
    pub(super) ends: Ends,
    /// Whose SYN it was.
    pub(super) opener: Side,
    /// What is to be given back at its end.
    pub(super) leases: [Option<Lease>; 2],
}

/// A translated data connection.
pub(in crate::session) struct DataFlow {
    session: SessionId,
    transfer: Option<Transfer>,
    /// The session is gone: no final reply will come.
    orphan: bool,
    /// From the client, from the server.
    slots: Option<(SlotRef, SlotRef)>,
    from_client: ByteMeter,
    from_server: ByteMeter,
    started: Instant,
    ended: Option<(Instant, &'static str)>,
    told: bool,
    pair: Pair,
    opening: Opening,
    timer: Option<TimerId>,
}

/// A flow that the server opened and the client does not answer.
#[derive(Debug, Clone, Copy)]
pub(in crate::session) struct Unanswered {
    pub(in crate::session) session: SessionId,
    pub(in crate::session) client: SocketAddr,
    pub(in crate::session) via: SocketAddr,
}

impl DataFlow {
    /// Whether bytes may still pass.
    pub(in crate::session) fn is_live(&self) -> bool {
        self.ended.is_none()
    }

    pub(super) fn is_told(&self) -> bool {
        self.told
    }

    /// A transfer's verb was sent.
    pub(super) fn begins(&mut self, transfer: Option<&Transfer>) {
        if self.transfer.is_none() {
            self.transfer = transfer.cloned();
        }
    }
}

impl Shared {
    /// Flow `id`, if it is still this session's: numbers are used again.
    pub(super) fn flow_of(&mut self, id: u32, session: SessionId) -> Option<&mut DataFlow> {
        self.flows.get_mut(id).filter(|f| f.session == session)
    }

    /// Whether bytes may still pass in flow `id`, if it is this session's.
    pub(super) fn flow_moves(&self, id: u32, session: SessionId) -> bool {
        self.flows.get(id).is_some_and(|f| f.session == session && f.is_live())
    }

    /// The final reply to a flow's transfer. False if the flow is gone or was reported before.
    pub(super) fn flow_replied(&mut self, id: u32, session: SessionId, transfer: &Transfer) -> bool {
        let Some(flow) = self.flow_of(id, session).filter(|f| !f.told) else { return false };
        flow.transfer = Some(transfer.clone());
        self.tell_flow(id);
        true
    }

    /// The session ends before its flow.
    pub(super) fn flow_orphaned(&mut self, id: u32, session: SessionId, transfer: &mut Option<Transfer>) {
        let Some(flow) = self.flow_of(id, session) else { return };
        flow.orphan = true;
        if flow.transfer.is_none() {
            flow.transfer = transfer.take();
        }
        self.tell_flow(id);
    }

    /// The announced data connection's SYN: both directions enter the table before it goes on.
    pub(super) fn flow_open(
        &mut self,
        session: SessionId,
        service: usize,
        pair: Pair,
        opening: Opening,
    ) -> Option<u32> {
        let Ends { client, via, ours, remote } = opening.ends;
        let from_client = FlowKey::tcp(client, via, self.client_leg(via), 0)?;
        let from_server = self.upstream_key(service, remote, ours)?;
        let id = self.flows.insert(DataFlow {
            session,
            transfer: None,
            orphan: false,
            slots: None,
            from_client: ByteMeter::default(),
            from_server: ByteMeter::default(),
            started: self.now,
            ended: None,
            told: false,
            pair,
            opening,
            timer: None,
        });
        let slots = self.flow_slots(id, service, &opening.ends, &from_client, &from_server);
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
        if opening.opener == Side::Server {
            *self.active.entry((pair, via.port())).or_insert(0) += 1;
        }
        self.counters.translated += 1;
        Some(id)
    }

    fn flow_slots(
        &mut self,
        id: u32,
        service: usize,
        ends: &Ends,
        from_client: &FlowKey,
        from_server: &FlowKey,
    ) -> Option<(SlotRef, SlotRef)> {
        let there = Rewrite::new(from_client, ends.ours, ends.remote)?;
        let back = Rewrite::new(from_server, ends.via, ends.client)?;
        let entry = |shared: &Self, rewrite, flags| Entry {
            owner: shared.settings.worker,
            next_hop: 0,
            id,
            epoch: 0,
            action: Action::Translate,
            flags,
            rewrite,
        };
        // What a redirected sender may send is told by the other end's SYN.
        let flags = |clamp: bool| if clamp { Flags::HOP.with(Flags::CLAMP_MSS) } else { Flags::HOP };
        let there_flags = flags(self.upstream_clamp(service).is_some());
        let back_flags = flags(self.settings.services.get(service).is_some_and(|s| s.mss_clamp.is_some()));
        self.flow_make_room(from_client);
        let c = self.claim(from_client, &entry(self, there, there_flags))?;
        match self.claim(from_server, &entry(self, back, back_flags)) {
            Some(s) => Some((c, s)),
            None => {
                self.table.remove(c);
                None
            }
        }
    }

    /// A flow of ours that has ended gives its place to a new connection (RFC 9293 3.6.1).
    pub(super) fn flow_make_room(&mut self, key: &FlowKey) {
        if let Lookup::Hit(slot, old) = self.table.lookup(key)
            && old.owner == self.settings.worker
            && old.action == Action::Translate
        {
            self.flow_reopened(old.id, slot);
        }
    }

    /// An end opens a connection where a flow is. If that flow has ended, it makes room (RFC 9293 3.6.1):
    /// true, and the SYN is one that hits no flow.
    pub(in crate::session) fn flow_reopened(&mut self, id: u32, slot: SlotRef) -> bool {
        self.flow_look(id, None);
        let over = |f: &DataFlow| f.ended.is_some() && f.slots.is_some_and(|(c, s)| c == slot || s == slot);
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

    /// Looks at a flow: has it ended, is it stalled, is its time over? Called by its timer (then with a way
    /// out) and when a FIN or RST was forwarded.
    pub(in crate::session) fn flow_look(
        &mut self,
        id: u32,
        by_timer: Option<&mut dyn Outlet>,
    ) -> Option<Unanswered> {
        let tick = self.now.tick();
        let flow = self.flows.get_mut(id)?;
        let views = flow.slots.map(|(c, s)| (self.table.view(c, tick), self.table.view(s, tick)));
        let Some((Some(c), Some(s))) = views else {
            self.flow_remove(id);
            return None;
        };
        flow.from_client.advance(&c.live);
        flow.from_server.advance(&s.live);
        let fin = c.live.sticky.has(Sticky::FIN) && s.live.sticky.has(Sticky::FIN);
        let reset = plausible_reset(&c) || plausible_reset(&s);
        let stall = (self.settings.timers.data_stall.as_millis() / 100) as u32;
        let idle = c.live.idle.min(s.live.idle);
        // A server that never answers is not waited for as long as one that pauses, however often it is asked.
        let unanswered = flow.opening.opener == Side::Client
            && s.live.first_seq.is_none()
            && self.now.since(flow.started) >= self.settings.timers.connect;
        if flow.ended.is_none() {
            let verdict = match (fin, reset) {
                (true, _) => Some("complete"),
                (false, true) => Some("reset"),
                _ => (unanswered || idle > stall).then_some("failed"),
            };
            flow.ended = verdict.map(|v| (self.now, v));
        }
        let over = flow.ended.is_some_and(|(at, _)| self.now.since(at) >= self.settings.timers.time_wait);
        let ended = flow.ended.is_some();
        if over {
            self.flow_remove(id);
            return None;
        }
        if let Some(out) = by_timer {
            flow.timer = None;
            let unanswered = flow.opening.opener == Side::Server
                && !ended
                && c.live.first_seq.is_none()
                && self.now.since(flow.started) >= self.settings.timers.connect;
            if unanswered {
                let (session, ends) = (flow.session, flow.opening.ends);
                if let Some(transfer) = &mut flow.transfer {
                    // What the client will be told.
                    transfer.code.get_or_insert(425);
                }
                if let Some(next) = s.live.first_seq {
                    send(out, &refusal(&ends, next));
                }
                self.flow_remove(id);
                return Some(Unanswered { session, client: ends.client, via: ends.via });
            }
            let timer = self.wheel.insert(self.now + LOOK, Timer::Flow(id));
            match (timer, self.flows.get_mut(id)) {
                (Some(t), Some(f)) => f.timer = Some(t),
                _ => {
                    self.flow_remove(id);
                    return None;
                }
            }
        }
        if ended {
            self.tell_flow(id);
        }
        None
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
        // Its ports have rested while it stood in the table.
        let since = flow.ended.map_or(self.now, |(at, _)| at);
        for lease in flow.opening.leases.iter().flatten() {
            self.give_back_since(lease, since);
        }
        if flow.opening.opener == Side::Server {
            self.active_ends(flow.pair, flow.opening.ends.via.port());
        }
    }

    /// One connection less from this port of the server's toward the client.
    pub(super) fn active_ends(&mut self, pair: Pair, port: u16) {
        if let Some(n) = self.active.get_mut(&(pair, port)) {
            *n -= 1;
            if *n == 0 {
                self.active.remove(&(pair, port));
            }
        }
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
            client_mode: if flow.opening.opener == Side::Server { "active" } else { "passive" },
            bytes,
            duration_ms: at.since(flow.started).as_millis() as u64,
            verdict: reply::verdict(end, code, bytes),
            code,
        };
        self.event(what);
    }
}

/// The reset that a server gets as from a host that does not listen; `next` is behind its SYN.
fn refusal(ends: &Ends, next: u32) -> Tcp {
    let (src, dst) = (ends.ours, ends.remote);
    let (options, flags) = (SynOptions::default(), RST | ACK);
    Tcp { src, dst, seq: 0, ack: next, flags, window: 0, options, ttl: TTL, ip_id: 0 }
}

fn plausible_reset(v: &FlowView) -> bool {
    v.live.rst_seq.is_some_and(|seq| (seq.wrapping_sub(v.live.last_seq) as i32).unsigned_abs() < RST_SLACK)
}
