//! TCP: segments of known connections, and what begins one. Connections are in the flow table; one that stands costs a
//! segment a look there, and no more.

use super::conn::{Conn, Data, Kind, Moved, RESET, State, closes, key};
use super::ftp::{Admitted, Over, Path, Syn};
use super::nat::Plan;
use super::packet::{Emit, Fate, Refused, Side};
use super::policy::Begin;
use super::settings::Action as Rule;
use super::state::{Firewall, Timer, Went};
use super::table::{ANSWERS, KILLED, OUT_OUTSIDE};
use crate::alg::{Direction, OptionList};
use crate::flow::{Action, Entry, Flags, Lookup, Rewrite, SlotRef, Sticky};
use crate::time::{Duration, Instant};
use crate::wire::tcp::{self, FIN, RST, SYN, Segment};
use crate::wire::{IpPacket, proto};
use std::fmt::Debug;
use std::net::SocketAddr;

/// A packet under way.
pub(super) struct Passing<'a, W> {
    pub(super) now: Instant,
    pub(super) from: Side,
    pub(super) way: W,
    pub(super) bytes: &'a mut [u8],
    pub(super) ip: &'a IpPacket,
}

impl<W: Copy + Eq + Debug> Firewall<W> {
    /// A TCP segment.
    pub(super) fn tcp(&mut self, p: &mut Passing<'_, W>, out: &mut Vec<Emit<W>>) -> Went {
        let Some(seg) = tcp::parse(p.bytes, p.ip) else { return Went::Refuse(Refused::Malformed) };
        let Some(key) = key(p.from, seg.src, seg.dst) else { return Went::Refuse(Refused::Malformed) };
        match self.flows.lookup(&key) {
            Lookup::Hit(slot, entry) => self.hit(p, &seg, slot, &entry, out),
            Lookup::Miss => self.begins(p, &seg, out),
            // An entry of ours that is being written: it is said again.
            Lookup::Busy => Went::Refuse(Refused::Full),
        }
    }

    fn hit(
        &mut self,
        p: &mut Passing<'_, W>,
        seg: &Segment,
        slot: SlotRef,
        entry: &Entry,
        out: &mut Vec<Emit<W>>,
    ) -> Went {
        let end = usize::from(entry.next_hop & ANSWERS != 0);
        let control = matches!(entry.action, Action::Session { .. });
        let checked = control || entry.flags.has(Flags::OWNER_ONLY) || seg.flags & (SYN | FIN | RST) != 0;
        if !checked {
            self.flows.touch(slot, p.now.tick(), seg.seq_end(), Sticky::NONE);
            return rewrite(p, seg, entry);
        }
        if seg.is_first() && self.is_doubted_data(entry.id) {
            return self.comes_again(p, seg, entry.id, out);
        }
        let stands =
            self.conns.get(entry.id).is_some_and(|c| matches!(c.state, State::Open | State::Closing));
        let judged = self.session_of(entry).map(|(session, _)| session).filter(|session| {
            let begun = self.conns.get(entry.id).is_some_and(|c| !c.is_asked());
            seg.has(RST) && begun && self.sessions.is_read(*session)
        });
        let again = seg.is_first() && self.session_of(entry).is_some_and(|(s, _)| self.sessions.is_over(s));
        let moved = if again {
            Moved::Anew
        } else if !control && stands && seg.flags & (SYN | FIN | RST) == 0 {
            self.flows.touch(slot, p.now.tick(), seg.seq_end(), Sticky::NONE);
            if self.is_doubted(entry.id) && p.ip.transport_checksum_ok(p.bytes) {
                self.reassure(entry.id);
            }
            Moved::No
        } else if p.ip.transport_checksum_ok(p.bytes) {
            let signed = seg.flags & (SYN | RST) != 0 && is_signed(p.bytes, seg);
            // What a reset ends is for the session to say: it knows the one number that its receiver believes.
            if judged.is_some() { Moved::No } else { self.moved(p.now, entry.id, end, slot, seg, signed) }
        } else if control {
            return Went::Refuse(Refused::Checksum);
        } else {
            // What its receiver will not believe moves nothing.
            Moved::No
        };
        if moved == Moved::Anew {
            self.forget(p.now, entry.id);
            return self.begins(p, seg, out);
        }
        let mut clamped = false;
        if seg.has(SYN)
            && entry.flags.has(Flags::CLAMP_MSS)
            && let Some(mss) = self.clamp_of(entry.id)
        {
            clamped = tcp::clamp_mss(p.bytes, seg, mss);
        }
        let went = match self.conns.get(entry.id) {
            // Ended by us: who has not heard of it does now.
            Some(Conn { state: State::Over(_, KILLED), .. } | Conn { kind: Kind::Control(None), .. }) => {
                self.reset(p, out);
                return Went::Refuse(Refused::NoConnection);
            }
            // Of what is told to be over nobody knows the way any more.
            Some(Conn { state, kind: Kind::Data(data), .. })
                if data.one_way
                    && !seg.is_empty()
                    && (matches!(state, State::Over(_, RESET))
                        || self.sessions.one_way(data.number).is_some_and(|d| d != data.direction(end))) =>
            {
                self.counters.one_way += 1;
                Went::Refuse(Refused::Ftp)
            }
            Some(Conn { kind: Kind::Control(Some(session)), .. }) => {
                let session = *session;
                self.control(p, seg, entry, session, end, out)
            }
            _ => rewrite(p, seg, entry),
        };
        if moved == Moved::Ended
            || judged.is_some_and(|session| self.reset_by_an_end(p.now, entry.id, session))
        {
            self.ended(p.now, entry.id);
        }
        self.gone(p.now, out);
        match went {
            // Pieces that it came in are not to go on as they were.
            Went::Pass { to, changed } => Went::Pass { to, changed: changed || clamped },
            other => other,
        }
    }

    /// Whether a reset has ended a session; its connection is over then.
    fn reset_by_an_end(&mut self, now: Instant, id: u32, session: u32) -> bool {
        // One that was over before stays what it is, however many resets come.
        let ends = self.conns.get_mut(id).filter(|c| !c.is_over() && self.sessions.is_over(session));
        ends.map(|conn| conn.state = State::Over(now, RESET)).is_some()
    }

    /// Notes a segment, and what it makes of its connection.
    fn moved(
        &mut self,
        now: Instant,
        id: u32,
        end: usize,
        slot: SlotRef,
        seg: &Segment,
        signed: bool,
    ) -> Moved {
        let tick = now.tick();
        let (Some(conn), Some(view)) = (self.conns.get_mut(id), self.flows.view(slot, tick)) else {
            return Moved::No;
        };
        // Who signs has the key, and drops what is not signed (RFC 2385 2, RFC 5925 7.4). Both do, or neither.
        if seg.has(RST) && !signed && conn.signs[1 - end] && (conn.is_asked() || conn.signs[end]) {
            return Moved::No;
        }
        let asked = conn.is_asked();
        let mut moved = conn.segment(now, end, seg, &view);
        // A SYN, and the answer to it, which knows its number; not what anybody else says in their names.
        conn.signs[end] |= signed && seg.has(SYN) && asked && (end == 0 || !conn.is_asked());
        // After a reset and silence the same ends may begin anew; before, a SYN is for its receiver to judge.
        if moved == Moved::Anew || seg.is_first() && conn.is_silent(now) {
            return Moved::Anew;
        }
        if moved == Moved::Doubted {
            self.doubt(now, id);
            return moved;
        }
        // A SYN is nothing of a connection that stands: it may be of the next one.
        if seg.flags & (RST | SYN) == 0 {
            self.reassure(id);
        }
        let Some(conn) = self.conns.get_mut(id) else { return Moved::No };
        if let Kind::Data(data) = &mut conn.kind {
            data.answered |= matches!(conn.state, State::Answered | State::Open);
        }
        if !seg.has(RST) {
            let marks = if closes(seg, &view) { Sticky::FIN } else { Sticky::NONE };
            self.flows.touch(slot, tick, seg.seq_end(), marks);
        }
        let views = conn.slots.map(|s| self.flows.view(s, tick));
        if let [Some(a), Some(b)] = views {
            let over = conn.is_over();
            if let Kind::Data(data) = &mut conn.kind
                && (seg.has(FIN) || over)
            {
                data.meters[0].advance(&a.live);
                data.meters[1].advance(&b.live);
            }
            if conn.closed(now, &[a, b]) {
                moved = Moved::Ended;
            }
        }
        match (moved, conn.state) {
            (Moved::On, State::Open) => self.settled(id),
            (Moved::On, State::Answered) => self.doubtful(now, id),
            _ => {}
        }
        if moved != Moved::No {
            self.look_at(now, id, Duration::ZERO);
        }
        moved
    }

    /// A reset came that may have ended a connection. Until somebody says something, all of it is seen.
    fn doubt(&mut self, now: Instant, id: u32) {
        let Some(conn) = self.conns.get_mut(id).filter(|c| c.doubt.is_none()) else { return };
        conn.doubt = Some(now);
        self.watch(id);
        self.doubtful(now, id);
        self.look_at(now, id, Duration::ZERO);
    }

    fn is_doubted(&self, id: u32) -> bool {
        self.conns.get(id).is_some_and(|c| c.doubt.is_some())
    }

    /// Somebody said something, so that no reset before it was the end.
    fn reassure(&mut self, id: u32) {
        let Some(conn) = self.conns.get_mut(id).filter(|c| c.doubt.is_some()) else { return };
        conn.doubt = None;
        if matches!(conn.state, State::Open | State::Closing) {
            self.settled(id);
        }
    }

    /// From now on nothing of a connection goes by the table alone.
    pub(super) fn watch(&mut self, id: u32) {
        let Some(conn) = self.conns.get(id) else { return };
        for slot in conn.slots {
            if let Some(view) = self.flows.view(slot, 0) {
                let flags = view.entry.flags.with(Flags::OWNER_ONLY);
                self.flows.update(slot, &Entry { flags, ..view.entry });
            }
        }
    }

    /// A connection stands: from now on its segments go by the table alone, if nothing else is to be seen to.
    fn settled(&mut self, id: u32) {
        let Some(conn) = self.conns.get(id) else { return };
        let watched = matches!(&conn.kind, Kind::Data(d) if d.one_way);
        for slot in conn.slots {
            if let Some(view) = self.flows.view(slot, 0).filter(|_| !watched) {
                let flags =
                    if view.entry.flags.has(Flags::CLAMP_MSS) { Flags::CLAMP_MSS } else { Flags::NONE };
                self.flows.update(slot, &Entry { flags, ..view.entry });
            }
        }
    }

    /// A segment of an inspected control connection.
    fn control(
        &mut self,
        p: &mut Passing<'_, W>,
        seg: &Segment,
        entry: &Entry,
        session: u32,
        end: usize,
        out: &mut Vec<Emit<W>>,
    ) -> Went {
        let dir = if end == 0 { Direction::ToServer } else { Direction::ToClient };
        let before = out.len();
        // Who would open what a line announces.
        let openers = if seg.is_empty() { [None; 2] } else { self.sessions.openers(session) };
        let full = openers.map(|end| end.is_some_and(|end| !self.has_room(p.now, end)));
        self.sessions.set_full(full);
        let fate = self.sessions.segment(p.now, session, dir, p.way, p.bytes, p.ip, seg, &mut self.nat, out);
        self.counters.emitted += (out.len() - before) as u64;
        match fate {
            Fate::Forward => rewrite(p, seg, entry),
            Fate::Taken => Went::Taken,
            Fate::Refuse(why) => Went::Refuse(why),
        }
    }

    /// What a SYN is to the sessions.
    fn expected(&mut self, now: Instant, it: &Begin) -> Syn {
        let reached = self.nat.reached(it.dst);
        self.sessions.expected(now, it.from, it.src, it.dst, reached)
    }

    /// A segment of no known connection.
    fn begins(&mut self, p: &mut Passing<'_, W>, seg: &Segment, out: &mut Vec<Emit<W>>) -> Went {
        let it = Begin { from: p.from, proto: proto::TCP, src: seg.src, dst: seg.dst };
        // No host asks so, but some take it for a SYN: then it is not to come past the rules.
        let odd = seg.has(SYN) && seg.flags & (FIN | RST) != 0;
        if odd && self.settings.filter.decide(&it).action != Rule::Allow {
            return Went::Refuse(Refused::NoConnection);
        }
        if odd || !seg.is_first() {
            return self.unknown(&it);
        }
        match self.expected(p.now, &it) {
            Syn::Admitted(admitted) => return self.data_begins(p, seg, &it, &admitted, out),
            Syn::Refused => {
                self.reset(p, out);
                return Went::Refuse(Refused::Ftp);
            }
            Syn::Allowed => {}
            Syn::Unknown => {
                let decision = self.settings.filter.decide(&it);
                self.rules.hit(decision.rule);
                if decision.action != Rule::Allow {
                    self.sessions.refused(p.now, it.src, it.dst);
                    return self.refuse(p, &it, decision, out);
                }
            }
        }
        let plan = match self.nat.plan(p.now, &it) {
            Ok(plan) => plan,
            Err(why) => {
                // As any host answers for a port where nobody listens.
                self.reset(p, out);
                return Went::Refuse(why);
            }
        };
        let service =
            self.settings.services.iter().position(|s| {
                s.alg && (s.ports.contains(&it.dst.port()) || s.ports.contains(&plan.dst.port()))
            });
        let kind = match service {
            None => Kind::Plain,
            Some(_) if !p.ip.transport_checksum_ok(p.bytes) => {
                self.give_back(p.now, &plan);
                return Went::Refuse(Refused::Checksum);
            }
            Some(service) => {
                let path = Path {
                    client: it.src,
                    client_told: plan.src,
                    server: plan.dst,
                    server_told: it.dst,
                    client_side: it.from,
                    server_side: plan.to,
                };
                let full = self.way_for(p.now, it.src.ip()).err();
                if let Some(why) = full {
                    self.no_room(why);
                }
                let before = out.len();
                let session = self.sessions.begin(p.now, service, path, full, &mut self.nat, out);
                self.counters.emitted += (out.len() - before) as u64;
                if session.is_none() {
                    self.give_back(p.now, &plan);
                    self.reset(p, out);
                    return Went::Refuse(Refused::Full);
                }
                Kind::Control(session)
            }
        };
        self.open(p, seg, &it, plan, kind, service, out)
    }

    /// The SYN of an announced data connection, or of one that a static rule lets pass.
    fn data_begins(
        &mut self,
        p: &mut Passing<'_, W>,
        seg: &Segment,
        it: &Begin,
        admitted: &Admitted,
        out: &mut Vec<Emit<W>>,
    ) -> Went {
        let source = self.nat.source(p.now, proto::TCP, it.src, admitted.src.ip(), admitted.dst);
        let planned = source.map(|(src, lease)| Plan { src, dst: admitted.dst, to: admitted.to, lease });
        let Admitted { data: number, service, one_way, by_client, .. } = *admitted;
        match planned {
            Ok(plan) => {
                let (answered, told, meters) = (false, false, Default::default());
                let data = Data { number, one_way, by_client, answered, told, meters };
                self.open(p, seg, it, plan, Kind::Data(Box::new(data)), Some(service), out)
            }
            Err(why) => {
                self.unused(p.now, number);
                Went::Refuse(why)
            }
        }
    }

    fn is_doubted_data(&self, id: u32) -> bool {
        let is = |c: &Conn| c.doubt.is_some() && !c.is_over() && matches!(c.kind, Kind::Data(_));
        self.conns.get(id).is_some_and(is)
    }

    /// A SYN where a reset may have ended a data connection: only what was announced anew comes in a second time.
    fn comes_again(
        &mut self,
        p: &mut Passing<'_, W>,
        seg: &Segment,
        id: u32,
        out: &mut Vec<Emit<W>>,
    ) -> Went {
        let it = Begin { from: p.from, proto: proto::TCP, src: seg.src, dst: seg.dst };
        let Syn::Admitted(admitted) = self.expected(p.now, &it) else {
            return Went::Refuse(Refused::Ftp);
        };
        if let Some(conn) = self.conns.get_mut(id) {
            conn.state = State::Over(p.now, RESET);
        }
        self.ended(p.now, id);
        self.forget(p.now, id);
        self.data_begins(p, seg, &it, &admitted, out)
    }

    fn unused(&mut self, now: Instant, data: u32) {
        let over = Over { at: now, bytes: [0; 2], verdict: "failed", unanswered: true };
        self.sessions.data_over(now, data, over, &mut self.nat);
    }

    /// A connection that may pass enters the tables; its SYN goes on.
    #[allow(clippy::too_many_arguments, reason = "what a connection is made from")]
    fn open(
        &mut self,
        p: &mut Passing<'_, W>,
        seg: &Segment,
        it: &Begin,
        plan: Plan,
        kind: Kind,
        service: Option<usize>,
        out: &mut Vec<Emit<W>>,
    ) -> Went {
        let clamp = service.and_then(|s| self.settings.services.get(s)).and_then(|s| s.mss_clamp).is_some();
        let (control, turned) = match kind {
            Kind::Control(session) => (true, session.is_some_and(|s| self.sessions.is_turned(s))),
            _ => (false, false),
        };
        let claimed = self.claim(p.now, it, &plan, control, turned, clamp);
        let timer = claimed.ok().and_then(|(id, _)| self.wheel.insert(p.now, Timer::Conn(id)));
        let (Ok((id, slots)), Some(timer)) = (claimed, timer) else {
            for slot in claimed.into_iter().flat_map(|(_, slots)| slots) {
                self.flows.remove(slot);
            }
            let why = claimed.err().unwrap_or(Refused::Full);
            self.no_room(why);
            self.give_back(p.now, &plan);
            match kind {
                // Where answers pass by themselves nobody misses what is not remembered.
                Kind::Plain if self.passes_unread(it) => return Went::Pass { to: plan.to, changed: false },
                Kind::Plain => {}
                Kind::Control(session) => {
                    if let Some(session) = session {
                        self.sessions.end(p.now, session, "table full", &mut self.nat);
                    }
                    self.reset(p, out);
                }
                Kind::Data(d) => {
                    self.sessions.no_place(p.now, d.number);
                    self.unused(p.now, d.number);
                    self.reset(p, out);
                }
            }
            return Went::Refuse(why);
        };
        match &kind {
            Kind::Control(Some(session)) => {
                self.by_session.insert(*session, id);
            }
            Kind::Data(d) => {
                self.by_data.insert(d.number, (id, p.way));
                self.counters.data += 1;
            }
            _ => {}
        }
        let (from, src, dst) = (it.from, it.src, it.dst);
        let conn = Conn {
            from,
            src,
            dst,
            plan,
            slots,
            state: State::Asked(seg.seq),
            kind,
            service,
            timer: Some(timer),
            doubt: None,
            signs: [false; 2],
            turned,
            held: !turned,
            ordinal: 0,
        };
        self.conns.insert(conn);
        if !turned {
            self.shared[usize::from(src.is_ipv6())].take(src.ip());
        }
        self.counters.connections += 1;
        self.doubtful(p.now, id);
        self.look_at(p.now, id, Duration::ZERO);
        match key(from, src, dst).map(|key| self.flows.lookup(&key)) {
            Some(Lookup::Hit(slot, entry)) => self.hit(p, seg, slot, &entry, out),
            _ => Went::Refuse(Refused::Full),
        }
    }

    fn give_back(&mut self, now: Instant, plan: &Plan) {
        if let Some(lease) = &plan.lease {
            self.nat.release(now, lease, true);
        }
    }

    fn clamp_of(&self, id: u32) -> Option<u16> {
        let service = self.conns.get(id)?.service?;
        self.settings.services.get(service)?.mss_clamp
    }

    /// Where a connection's entry for packets of `src` to `dst` from `side` is, and its other end's names.
    pub(super) fn known(&self, side: Side, src: SocketAddr, dst: SocketAddr) -> Option<Entry> {
        match self.flows.lookup(&key(side, src, dst)?) {
            Lookup::Hit(_, entry) => Some(entry),
            _ => None,
        }
    }

    /// The inspected session of an entry, and which way segments that hit it go.
    pub(super) fn session_of(&self, entry: &Entry) -> Option<(u32, Direction)> {
        let Some(Kind::Control(Some(session))) = self.conns.get(entry.id).map(|c| &c.kind) else {
            return None;
        };
        let dir = if entry.next_hop & ANSWERS == 0 { Direction::ToServer } else { Direction::ToClient };
        Some((*session, dir))
    }
}

/// The side that segments of an entry leave by.
pub(super) const fn out_side(entry: &Entry) -> Side {
    if entry.next_hop & OUT_OUTSIDE == 0 { Side::Inside } else { Side::Outside }
}

/// Whether a segment has a signature, be it right or wrong (RFC 2385, RFC 5925).
fn is_signed(bytes: &[u8], seg: &Segment) -> bool {
    let options = bytes.get(seg.start + 20..seg.payload).unwrap_or_default();
    OptionList::new(options).strip_syn().signed
}

/// Gives a segment the addresses and ports of where it goes.
fn rewrite<W>(p: &mut Passing<'_, W>, seg: &Segment, entry: &Entry) -> Went {
    let (head, rest) = p.bytes.split_at_mut(seg.start);
    let done = match (&entry.rewrite, rest.first_chunk_mut::<20>()) {
        (Rewrite::V4(r), Some(tcp)) => head.first_chunk_mut().is_some_and(|ip| r.apply(ip, tcp, false)),
        (Rewrite::V6(r), Some(tcp)) => head.first_chunk_mut().is_some_and(|ip| r.apply(ip, tcp, false)),
        _ => false,
    };
    if !done {
        return Went::Refuse(Refused::Malformed);
    }
    let changed = entry.rewrite.src() != seg.src || entry.rewrite.dst() != seg.dst;
    Went::Pass { to: out_side(entry), changed }
}
