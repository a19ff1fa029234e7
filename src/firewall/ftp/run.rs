//! Sessions at work: what is called for them, what comes of it, and how they end.

use super::doors::Doorman;
use super::session::{Life, Mind, Session};
use super::shared::Timer;
use super::wire::{Header, Style};
use super::{Gone, Ports, Sessions, turned};
use crate::alg::{Alg, Direction, Editor, Output};
use crate::event::{Event, SessionId, What};
use crate::firewall::packet::{Along, Emit, Fate};
use crate::flow::SteerEvent;
use crate::rng::Purpose;
use crate::time::{Duration, Instant};
use crate::wire::Segment;
use crate::wire::tcp::{ACK, FIN, RST, SYN};
use std::net::IpAddr;

/// Places beyond the limit of sessions at least.
const SPARE: usize = 64;
/// Sessions of one client that are turned away at a time.
const TURNED_OF_CLIENT: usize = 16;
/// Sessions that end at a time so that all together hold no more than they may: nobody's packet is to wait for more.
const ENDS: usize = 8;
/// Sessions that are turned away are told so often.
const TELL_AGAIN: Duration = Duration::from_secs(1);

impl<W: Copy> Sessions<W> {
    /// Calls into the core with whoever decides for this session.
    pub(super) fn run(
        &mut self,
        now: Instant,
        number: u32,
        ports: &mut dyn Ports,
        call: impl FnOnce(&mut Alg, &mut dyn Editor, &mut Output),
    ) {
        let Some(session) = self.slots.get_mut(number) else { return };
        let over = session.is_over();
        let Session { id, service, path, alg, mind, doors, bars, .. } = &mut **session;
        let before = self.shared.events.len();
        match mind {
            Mind::Turned(turned) => {
                call(alg, turned, &mut self.output);
                self.output.notes.clear();
            }
            Mind::Rules(rules) => {
                let Some(settings) = self.rule_sets.get(*service) else { return };
                let (shared, id, service) = (&mut self.shared, *id, *service);
                let mut doorman = Doorman { shared, state: doors, ports, session: number, id, service, path };
                call(
                    alg,
                    &mut rules.with(settings, &mut doorman, &mut self.log, &mut self.guesses),
                    &mut self.output,
                );
                let mut ends = false;
                for note in self.output.notes.drain(..) {
                    ends |= rules.note(settings, &note, &mut self.log);
                }
                if ends {
                    alg.end(&mut self.output);
                }
                let admits_nothing = !over && rules.admits_nothing(settings);
                if std::mem::replace(bars, admits_nothing) != admits_nothing {
                    self.shared.bar(path, number, admits_nothing);
                }
            }
        }
        // What was said comes before what became of it.
        let said = self.log.events.drain(..).map(|what| Event { at: now, what });
        self.shared.events.splice(before..before, said);
        while let Some(lender) = self.shared.lent.pop() {
            self.at_doors(lender, ports, |doors| doors.lend(now));
            self.arm(lender);
        }
    }

    /// Calls a session's doors.
    pub(super) fn at_doors<R>(
        &mut self,
        number: u32,
        ports: &mut dyn Ports,
        call: impl FnOnce(&mut Doorman<'_>) -> R,
    ) -> Option<R> {
        let session = self.slots.get_mut(number)?;
        let Session { id, service, path, doors, .. } = &mut **session;
        let (shared, id, service) = (&mut self.shared, *id, *service);
        Some(call(&mut Doorman { shared, state: doors, ports, session: number, id, service, path }))
    }

    /// Turns what the core gave into packets. The frame that came may go as it is if it is all that goes its way: the
    /// order of a stream is kept.
    pub(super) fn emit(&mut self, number: u32, came: Option<Direction>, out: &mut Vec<Emit<W>>) -> Fate {
        let Some(session) = self.slots.get_mut(number) else { return Fate::Taken };
        let alone = self.output.segments.iter().filter(|o| Some(o.dir) == came).count() == 1;
        let mut fate = Fate::Taken;
        for o in self.output.segments.drain(..) {
            if o.verbatim && alone {
                fate = Fate::Forward;
                continue;
            }
            let path = &session.path;
            let (src, dst) = match o.dir {
                Direction::ToServer => (path.client_told, path.server),
                Direction::ToClient => (path.server_told, path.client),
            };
            let (to, style) = (path.side(o.dir), session.style(o.dir));
            let mut header = Header::new(src, dst, style, came == Some(o.dir));
            let along = match (style, session.style(o.dir.back())) {
                (Some(Style { way, .. }), _) => Along::Same(*way),
                (None, Some(Style { way, .. })) => Along::Reverse(*way),
                (None, None) => Along::Routed,
            };
            session.packets = session.packets.wrapping_add(1);
            let (name, ordinal) = (session.id.0.to_le_bytes(), session.packets.into());
            header.id = self.shared.keyed.value(Purpose::IpId, &name, ordinal) as u16;
            out.push(Emit { to, along, packet: header.packet(&o) });
        }
        fate
    }

    /// Notes how far the connection has got by this segment.
    pub(super) fn opens(&mut self, now: Instant, number: u32, dir: Direction, seg: &Segment) {
        let Some(session) = self.slots.get_mut(number) else { return };
        match (session.life, dir) {
            (Life::Opening, Direction::ToServer) if seg.flags & (SYN | ACK | RST) == ACK => {
                session.life = Life::Ungreeted;
                self.tell_open(now, number);
            }
            (Life::Ungreeted, Direction::ToClient) if !seg.is_empty() => session.life = Life::Live,
            _ => {}
        }
    }

    fn tell_open(&mut self, now: Instant, number: u32) {
        let Some(session) = self.slots.get(number) else { return };
        match &session.mind {
            Mind::Rules(_) => {
                let id = session.id;
                self.tell_session(now, number, Some(id), "open", "");
            }
            Mind::Turned(turned) => {
                if self.turned_told.is_none_or(|at| now.since(at) >= TELL_AGAIN) {
                    let why = turned.why();
                    self.turned_told = Some(now);
                    self.tell_session(now, number, None, "refused", why);
                }
            }
        }
    }

    fn tell_session(
        &mut self,
        now: Instant,
        number: u32,
        id: Option<SessionId>,
        state: &'static str,
        reason: &str,
    ) {
        let Some(session) = self.slots.get(number) else { return };
        let service = self.shared.services.get(session.service).map_or_else(String::new, |s| s.name.clone());
        let (client, server, reason) = (session.path.client, session.path.server_told, reason.to_owned());
        self.shared.event(now, What::Session { session: id, state, client, server, service, reason });
    }

    /// Ends the session if the connection is over by this segment.
    pub(super) fn closes(
        &mut self,
        now: Instant,
        number: u32,
        dir: Direction,
        seg: &Segment,
        ports: &mut dyn Ports,
    ) {
        let Some(session) = self.slots.get_mut(number).filter(|s| !s.is_over()) else { return };
        let reset = seg.flags & RST != 0;
        let over = if session.alg.is_opaque() {
            // Which reset counts the connection's own entry knows.
            seg.flags & FIN != 0 && session.closes(dir)
        } else {
            session.alg.is_over() || (reset && session.life == Life::Opening && dir == Direction::ToClient)
        };
        if !over {
            return;
        }
        let (why, reset) = match (session.ended(), reset, dir) {
            (_, true, Direction::ToServer) => ("reset by the client", true),
            (_, true, Direction::ToClient) => ("reset by the server", true),
            (Some((_, why)), false, _) => (why, true),
            (None, false, _) => ("closed", false),
        };
        self.finish(now, number, why, reset, ports);
    }

    /// The session is over: nothing is expected any more. What is under way goes on, after a reset not for long.
    pub(super) fn finish(
        &mut self,
        now: Instant,
        number: u32,
        why: &'static str,
        reset: bool,
        ports: &mut dyn Ports,
    ) {
        let Some(session) = self.slots.get_mut(number).filter(|s| !s.is_over()) else { return };
        let was = std::mem::replace(&mut session.life, Life::Over(now));
        let (id, path) = (session.id, session.path);
        if std::mem::take(&mut session.bars) {
            self.shared.bar(&path, number, false);
        }
        let served = if let Mind::Rules(rules) = &mut session.mind {
            // Nobody waits for it any more.
            rules.let_go();
            true
        } else {
            self.turned.give(path.client.ip());
            false
        };
        self.at_doors(number, ports, |doors| {
            doors.drop_door(now, "superseded", "the session ended");
            doors.leave_datas(now, reset);
        });
        if served {
            self.clients.give(path.client.ip());
            self.shared.pair(&path, number, false);
            if was != Life::Opening {
                self.tell_session(now, number, Some(id), "closed", why);
            }
        }
        self.closing.push_back((number, id));
    }

    /// Ends a connection that would not end by itself.
    fn cut(
        &mut self,
        now: Instant,
        number: u32,
        why: &'static str,
        ports: &mut dyn Ports,
        out: &mut Vec<Emit<W>>,
    ) {
        let Some(session) = self.slots.get_mut(number) else { return };
        session.alg.end(&mut self.output);
        self.emit(number, None, out);
        self.finish(now, number, why, true, ports);
    }

    /// What is due of one session.
    pub(super) fn session_due(
        &mut self,
        now: Instant,
        number: u32,
        ports: &mut dyn Ports,
        out: &mut Vec<Emit<W>>,
    ) {
        let Some(session) = self.slots.get_mut(number) else { return };
        session.timer = None;
        let asks = [session.alg.next_deadline(), session.rules_due()];
        if !session.is_over() && asks.into_iter().flatten().any(|at| at <= now) {
            self.run(now, number, ports, |alg, editor, output| alg.timeout(now, editor, output));
            self.emit(number, None, out);
        }
        self.at_doors(number, ports, |doors| doors.expire(now));
        let moves = self.slots.get(number).is_some_and(|s| s.moves_data(&self.shared));
        let Some(session) = self.slots.get_mut(number) else { return };
        let impatient = session.patience(&self.shared) <= now;
        match session.life {
            Life::Over(_) if impatient => return self.give_up(number),
            Life::Over(_) | Life::Gone => {}
            _ if session.alg.is_over() => {
                let why = session.ended().map_or("an end does not answer", |(_, why)| why);
                self.finish(now, number, why, true, ports);
            }
            _ if let Some((at, why)) = session.ended()
                && at <= now =>
            {
                self.cut(now, number, why, ports, out);
            }
            Life::Live if impatient && moves => session.last = now,
            Life::Live if impatient => {
                self.shared.counters.idle_timeouts += 1;
                self.cut(now, number, "idle", ports, out);
            }
            _ if impatient => {
                self.shared.counters.greeting_timeouts += 1;
                self.cut(now, number, "no greeting came", ports, out);
            }
            _ => {}
        }
        self.arm(number);
    }

    /// What steering gave, or did not: the line that waits for it goes on.
    pub(super) fn steered(&mut self, now: Instant, ports: &mut dyn Ports, out: &mut Vec<Emit<W>>) {
        let mut events = Vec::new();
        for steering in &mut self.shared.steering {
            while let Some(event) = steering.poll_event() {
                events.push(event);
            }
        }
        for event in events {
            let (SteerEvent::Granted { session, .. }
            | SteerEvent::Refused { session, .. }
            | SteerEvent::TimedOut { session, .. }) = event;
            let number = session.0 as u32;
            let waits = self.at_doors(number, ports, |doors| doors.steered(now, event));
            if waits == Some(true) {
                self.run(now, number, ports, |alg, editor, output| alg.timeout(now, editor, output));
                self.emit(number, None, out);
            }
            self.arm(number);
        }
    }

    /// Sets a session's timer to what is due next.
    pub(super) fn arm(&mut self, number: u32) {
        let Some(session) = self.slots.get_mut(number) else { return };
        if session.life == Life::Gone {
            return;
        }
        let at = session.deadline(&self.shared);
        self.shared.arm(&mut session.timer, at, Timer::Session(number));
    }

    /// Lets the firewall forget a session.
    fn give_up(&mut self, number: u32) {
        let Some(session) = self.slots.get_mut(number) else { return };
        if session.life != Life::Gone {
            session.life = Life::Gone;
            self.shared.gone.push_back(Gone::Control(number));
        }
    }

    /// Forgets a session that is over.
    pub(super) fn forget(&mut self, number: u32) {
        let Some(session) = self.slots.remove(number) else { return };
        self.held.forget(number, session.held);
        if let Some(timer) = session.timer {
            self.shared.wheel.cancel(timer);
        }
    }

    /// Counts what a session holds now.
    pub(super) fn count(&mut self, number: u32) {
        if let Some(session) = self.slots.get_mut(number) {
            let (bytes, spoke, over) = (session.memory(), session.spoke, session.is_over());
            self.held.count(number, &mut session.held, bytes, spoke, over);
        }
    }

    /// Likewise. If all together hold too much, those who keep it and are silent end, else this one, if it holds much.
    pub(super) fn weigh(&mut self, now: Instant, number: u32, ports: &mut dyn Ports, out: &mut Vec<Emit<W>>) {
        self.count(number);
        self.lighten(now, ports, out);
        if self.held.is_spent() && self.slots.get(number).is_some_and(|s| s.held.is_much()) {
            self.end_for_others(now, number, ports, out);
        }
    }

    /// Ends some of those who hold much and have been silent for long, if all together hold too much.
    fn lighten(&mut self, now: Instant, ports: &mut dyn Ports, out: &mut Vec<Emit<W>>) {
        for _ in 0..ENDS {
            let goes = if self.held.is_spent() { self.held.goes_first(now) } else { None };
            let Some(number) = goes else { return };
            self.end_for_others(now, number, ports, out);
        }
    }

    fn end_for_others(&mut self, now: Instant, number: u32, ports: &mut dyn Ports, out: &mut Vec<Emit<W>>) {
        self.shared.counters.held_ended += 1;
        self.cut(now, number, "inspected sessions hold too much", ports, out);
        self.count(number);
        self.arm(number);
    }

    /// Why a client's session cannot be served, if it cannot; a place of one that its client never confirmed is taken
    /// for it, if need be.
    pub(super) fn crowded(
        &mut self,
        now: Instant,
        client: IpAddr,
        ports: &mut dyn Ports,
        out: &mut Vec<Emit<W>>,
    ) -> Option<turned::Reason> {
        let limits = &self.shared.limits;
        let (limit, of_client) = (limits.sessions, limits.sessions_per_client);
        self.trim();
        if self.slots.len() >= limit + 2 * spare(limit)
            && let Some((number, _)) = self.closing.pop_front()
        {
            self.give_up(number);
        }
        if self.clients.of(client) >= of_client {
            return Some(turned::TOO_MANY_OF_CLIENT);
        }
        self.lighten(now, ports, out);
        if self.held.is_spent() {
            return Some(turned::TOO_MUCH_HELD);
        }
        if self.clients.total() < limit {
            return None;
        }
        let Some((number, _)) = self.opening.pop_front() else { return Some(turned::TOO_MANY) };
        self.shared.counters.half_open_evicted += 1;
        self.finish(now, number, "half open", false, ports);
        self.give_up(number);
        None
    }

    /// Whether a client can be turned away with a word: there are places for that too, and an end of them.
    pub(super) fn may_turn(&self, client: IpAddr) -> bool {
        self.turned.of(client) < TURNED_OF_CLIENT && self.turned.total() < spare(self.shared.limits.sessions)
    }

    /// Drops from the heads of the lists what is not what it was when it came there.
    fn trim(&mut self) {
        let slots = &self.slots;
        let is = |number: u32, id: SessionId, what: fn(Life) -> bool| {
            slots.get(number).is_some_and(|s| s.id == id && what(s.life))
        };
        let over = |l| matches!(l, Life::Over(_));
        while self.closing.front().is_some_and(|&(n, id)| !is(n, id, over)) {
            self.closing.pop_front();
        }
        let opening = |l| l == Life::Opening;
        while self.opening.front().is_some_and(|&(n, id)| !is(n, id, opening)) {
            self.opening.pop_front();
        }
        // Within, they stay as short as there are sessions.
        if self.opening.len() > 64 + 2 * slots.len() {
            self.opening.retain(|&(n, id)| is(n, id, opening));
        }
        if self.closing.len() > 64 + 2 * slots.len() {
            self.closing.retain(|&(n, id)| is(n, id, over));
        }
    }
}

/// Places beyond the limit, for those that are turned away, and as many for those that have just ended.
pub(super) fn spare(limit: usize) -> usize {
    SPARE.max(limit / 8)
}
