//! The tables of TCP connections: how they enter, are looked at, end, and go.

use super::conn::{Conn, Kind, RESET, State, TIME_WAIT};
use super::ftp::{Gone, Over};
use super::nat::Plan;
use super::other::same_source;
use super::packet::{Along, Emit, Refused, Side};
use super::policy::Begin;
use super::share::Room;
use super::state::{Firewall, Timer};
use crate::flow::{Action, Entry, Flags, InsertError, Live, Lookup, Rewrite, SlotRef};
use crate::time::{Duration, Instant};
use crate::wire::build::{TTL, Tcp};
use crate::wire::tcp::{ACK, RST, SynOptions};
use std::fmt::Debug;
use std::net::IpAddr;

/// Half-open connections whose last step is younger do not give way to newer ones.
const YOUNG: Duration = Duration::from_secs(3);
/// How a connection is said to have ended that we ended.
pub(super) const KILLED: &str = "aborted by us";
/// How many of those that may give way are tried for a new one: the table's neighbourhoods are bounded.
const TRIES: usize = 8;

/// What an entry of the table says beside its action: the side that segments leave by, and whose they are.
pub(super) const OUT_OUTSIDE: u16 = 1;
pub(super) const ANSWERS: u16 = 2;

impl<W: Copy + Eq + Debug> Firewall<W> {
    /// Both directions enter the table, under the number that the connection is to have; or none does. What is over gives
    /// way, then what has stood half open for long; for a source that has its share only what is its own.
    pub(super) fn claim(
        &mut self,
        now: Instant,
        it: &Begin,
        plan: &Plan,
        control: bool,
        turned: bool,
        clamp: bool,
    ) -> Result<(u32, [SlotRef; 2]), Refused> {
        let keys = Conn::keys(it.from, it.src, it.dst, plan).ok_or(Refused::Full)?;
        let ends = [(plan.src, plan.dst), (it.dst, it.src)];
        if !turned {
            self.make_room(now, it.src.ip())?;
        }
        for _ in 0..TRIES {
            // What gives way gives its number as well.
            let id = self.conns.next_index();
            let entry = |end: usize| {
                let out = if end == 0 { plan.to } else { it.from };
                let side = if out == Side::Outside { OUT_OUTSIDE } else { 0 };
                Some(Entry {
                    owner: 0,
                    next_hop: side | if end == 0 { 0 } else { ANSWERS },
                    id,
                    epoch: 0,
                    action: if control { Action::Session { leg: end as u8 } } else { Action::Translate },
                    flags: if clamp { Flags::OWNER_ONLY.with(Flags::CLAMP_MSS) } else { Flags::OWNER_ONLY },
                    rewrite: Rewrite::new(&keys[end], ends[end].0, ends[end].1)?,
                })
            };
            let (Some(there), Some(back)) = (entry(0), entry(1)) else { return Err(Refused::Full) };
            let why = match self.flows.insert(&keys[0], &there, now.tick()) {
                Ok(first) => match self.flows.insert(&keys[1], &back, now.tick()) {
                    Ok(second) => return Ok((id, [first, second])),
                    Err(why) => {
                        self.flows.remove(first);
                        (why, &keys[1])
                    }
                },
                Err(why) => (why, &keys[0]),
            };
            match why {
                (InsertError::Full, _) => {
                    let mut found = if turned { self.over_gives_way(true) } else { None };
                    found = found.or_else(|| self.over_gives_way(false));
                    found = found.or_else(|| self.half_open_gives_way(now, None));
                    // Many that were turned away one after the other may have taken more than their places.
                    found = found.or_else(|| self.over_gives_way(true));
                    self.gives_way(now, found.ok_or(Refused::Full)?);
                }
                // Where a translated connection's answers would come another has been; if it is over, it goes.
                (InsertError::Exists, key) => match self.flows.lookup(key) {
                    Lookup::Hit(_, old) if self.conns.get(old.id).is_some_and(Conn::is_over) => {
                        self.forget(now, old.id);
                    }
                    _ => return Err(Refused::Full),
                },
                (InsertError::Family, _) => return Err(Refused::Full),
            }
        }
        Err(Refused::Full)
    }

    /// Who has to go so that a source may have one more connection; nobody, mostly.
    pub(super) fn way_for(&mut self, now: Instant, source: IpAddr) -> Result<Option<u32>, Refused> {
        // What is over counts as nobody's, so that it goes makes no room here.
        match self.shared[usize::from(source.is_ipv6())].room(source) {
            Room::Free => Ok(None),
            Room::Full => self.half_open_gives_way(now, None).map(Some).ok_or(Refused::Full),
            Room::Taken => self.half_open_gives_way(now, Some(source)).map(Some).ok_or(Refused::Share),
        }
    }

    /// Whether a source may have one more connection; another one goes for it, if need be.
    fn make_room(&mut self, now: Instant, source: IpAddr) -> Result<(), Refused> {
        if let Some(id) = self.way_for(now, source)? {
            self.gives_way(now, id);
        }
        Ok(())
    }

    /// Whether a source could have one more.
    pub(super) fn has_room(&mut self, now: Instant, source: IpAddr) -> bool {
        self.way_for(now, source).is_ok()
    }

    /// The connection that has been over for longest; of those that were turned away, or of the others.
    fn over_gives_way(&mut self, turned: bool) -> Option<u32> {
        loop {
            let list = if turned { &mut self.over_turned } else { &mut self.over };
            let (id, ordinal) = list.pop_front()?;
            if self.is_still(id, ordinal, Conn::is_over) {
                return Some(id);
            }
        }
    }

    /// A connection that does not stand yet and gives its place to a new one; of this source, or of any. Once it is gone
    /// there is another.
    fn half_open_gives_way(&mut self, now: Instant, of: Option<IpAddr>) -> Option<u32> {
        while let Some(&(at, id, ordinal)) = self.half_open.front() {
            if self.is_doubtful(id, ordinal) {
                let own = |c: &Conn| of.is_none_or(|of| same_source(of, c.src.ip()));
                if now.since(at) < YOUNG || !self.conns.get(id).is_some_and(own) {
                    return None;
                }
                return Some(id);
            }
            self.half_open.pop_front();
        }
        None
    }

    fn gives_way(&mut self, now: Instant, id: u32) {
        self.counters.gave_way += 1;
        self.forget(now, id);
    }

    /// A handshake has come a step further, or a reset came: from now on it counts how long nothing more happens.
    pub(super) fn doubtful(&mut self, now: Instant, id: u32) {
        self.ordinal += 1;
        let ordinal = self.ordinal;
        if let Some(conn) = self.conns.get_mut(id) {
            conn.ordinal = ordinal;
            self.half_open.push_back((now, id, ordinal));
            self.trim();
        }
    }

    /// A connection counts as its source's no more.
    fn let_go(&mut self, id: u32) {
        if let Some(conn) = self.conns.get_mut(id).filter(|c| c.held) {
            conn.held = false;
            let source = conn.src.ip();
            self.shared[usize::from(source.is_ipv6())].give(source);
        }
    }

    /// A connection has ended; it stays known for a while.
    pub(super) fn ended(&mut self, now: Instant, id: u32) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let State::Over(_, verdict) = conn.state else { return };
        let (at, ordinal) = (conn.doubt.unwrap_or(now), conn.ordinal);
        let mut unanswered = false;
        match &mut conn.kind {
            Kind::Plain => {}
            Kind::Control(session) => {
                // After its regular end the session has still to see the last acknowledgements.
                if verdict != "complete"
                    && let Some(session) = session.take()
                {
                    self.by_session.remove(&session);
                    self.sessions.end(now, session, verdict, &mut self.nat);
                }
            }
            Kind::Data(data) => {
                unanswered = !data.answered;
                if !std::mem::replace(&mut data.told, true) {
                    let verdict = if verdict == KILLED { "aborted" } else { verdict };
                    let over = Over { at, bytes: data.bytes(), verdict, unanswered };
                    let number = data.number;
                    self.by_data.remove(&number);
                    self.sessions.data_over(now, number, over, &mut self.nat);
                }
            }
        }
        if unanswered {
            // It may come again, and is to be asked about anew then.
            return self.forget(now, id);
        }
        self.let_go(id);
        if self.conns.get(id).is_some_and(|conn| conn.turned) {
            self.over_turned.push_back((id, ordinal));
        } else {
            self.over.push_back((id, ordinal));
        }
        self.look_at(now, id, Duration::ZERO);
    }

    /// What sessions say is over.
    pub(super) fn gone(&mut self, now: Instant, out: &mut Vec<Emit<W>>) {
        while let Some(gone) = self.sessions.poll_gone() {
            match gone {
                Gone::Control(session) => {
                    let Some(id) = self.by_session.remove(&session) else { continue };
                    let Some(conn) = self.conns.get_mut(id) else { continue };
                    conn.kind = Kind::Control(None);
                    if !conn.is_over() {
                        conn.state = State::Over(now, KILLED);
                        self.ended(now, id);
                    }
                }
                Gone::Data(data) => {
                    let Some((id, way)) = self.by_data.get(&data).copied() else { continue };
                    if let Some(conn) = self.conns.get_mut(id).filter(|c| !c.is_over()) {
                        conn.state = State::Over(now, KILLED);
                        self.watch(id);
                        self.reset_both(now, id, way, out);
                    }
                    self.ended(now, id);
                }
            }
        }
    }

    /// Tells both ends of a connection that it is over, as each other.
    fn reset_both(&mut self, now: Instant, id: u32, way: W, out: &mut Vec<Emit<W>>) {
        let Some(conn) = self.conns.get(id) else { return };
        let [there, back] = conn.slots.map(|s| self.flows.view(s, now.tick()).map(|v| v.live));
        let plan = &conn.plan;
        let ends = [
            (plan.to, Along::Same(way), plan.src, plan.dst, there, back),
            (conn.from, Along::Reverse(way), conn.dst, conn.src, back, there),
        ];
        for (to, along, src, dst, own, other) in ends {
            let known = |l: Option<Live>| l.filter(|l| l.first_seq.is_some()).map(|l| l.last_seq);
            // Who did not answer has nothing to be told.
            let (Some(seq), Some(ack)) = (known(own), known(other)) else { continue };
            let (options, flags) = (SynOptions::default(), RST | ACK);
            let reset = Tcp { src, dst, seq, ack, flags, window: 0, options, ttl: TTL, ip_id: 0 };
            let mut packet = vec![0; reset.len()];
            reset.emit(&mut packet);
            let along = if plan.to == conn.from { Along::Routed } else { along };
            out.push(Emit { to, along, packet });
        }
    }

    /// Takes a connection out of all tables.
    pub(super) fn forget(&mut self, now: Instant, id: u32) {
        self.let_go(id);
        let Some(conn) = self.conns.remove(id) else { return };
        let (verdict, why) = (conn.verdict("failed"), conn.verdict("idle"));
        let at = conn.doubt.unwrap_or(now);
        if let Some(timer) = conn.timer {
            self.wheel.cancel(timer);
        }
        for slot in conn.slots {
            self.flows.remove(slot);
        }
        let rested = matches!(conn.state, State::Over(at, _) if now.since(at) >= TIME_WAIT);
        if let Some(lease) = &conn.plan.lease {
            self.nat.release(now, lease, rested);
        }
        match conn.kind {
            Kind::Plain => {}
            Kind::Control(Some(session)) => {
                self.by_session.remove(&session);
                self.sessions.end(now, session, why, &mut self.nat);
            }
            Kind::Control(None) => {}
            Kind::Data(data) => {
                if !data.told {
                    self.by_data.remove(&data.number);
                    let over = Over { at, bytes: data.bytes(), verdict, unanswered: !data.answered };
                    self.sessions.data_over(now, data.number, over, &mut self.nat);
                }
            }
        }
    }

    /// A connection's time has come: it is over, silent for too long, or only to be looked at.
    pub(super) fn look(&mut self, now: Instant, id: u32) {
        let tick = now.tick();
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.timer = None;
        let [Some(a), Some(b)] = conn.slots.map(|s| self.flows.view(s, tick)) else {
            return self.forget(now, id);
        };
        let silent = Duration::from_millis(u64::from(a.live.idle.min(b.live.idle)) * 100);
        // A reset is the last word until another comes.
        let idle = conn.doubt.map_or(silent, |at| silent.min(now.since(at)));
        let mut busy = false;
        let mut over = None;
        match &mut conn.kind {
            Kind::Data(data) => {
                data.meters[0].advance(&a.live);
                data.meters[1].advance(&b.live);
                over = Some(data.number);
            }
            // The session knows how long it waits: a transfer keeps it. After a reset it would wait for nobody.
            Kind::Control(session) => busy = session.is_some() && conn.doubt.is_none(),
            Kind::Plain => {}
        }
        let over = over.filter(|_| !conn.is_over() && conn.is_silent(now));
        let closing = conn.state == State::Closing;
        if over.is_some_and(|data| self.sessions.data_silent(now, data, (idle, closing), &mut self.nat)) {
            if let Some(conn) = self.conns.get_mut(id) {
                conn.state = State::Over(now, RESET);
            }
            return self.ended(now, id);
        }
        let Some(conn) = self.conns.get(id) else { return };
        let over = match conn.state {
            State::Over(_, RESET) => idle >= TIME_WAIT,
            State::Over(at, _) => now.since(at) >= TIME_WAIT,
            _ => !busy && idle >= conn.patience(&self.settings.timers),
        };
        if over {
            return self.forget(now, id);
        }
        self.look_at(now, id, if busy { Duration::ZERO } else { idle });
    }

    /// Sets a connection's timer.
    pub(super) fn look_at(&mut self, now: Instant, id: u32, idle: Duration) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let at = conn.next_look(now, idle, &self.settings.timers);
        if conn.timer.is_none_or(|t| !self.wheel.rearm(t, at)) {
            conn.timer = self.wheel.insert(at, Timer::Conn(id));
        }
        if conn.timer.is_none() {
            // It would never go.
            self.forget(now, id);
        }
    }

    /// Whether what a list says of a connection is true yet.
    fn is_still(&self, id: u32, ordinal: u64, what: impl Fn(&Conn) -> bool) -> bool {
        self.conns.get(id).is_some_and(|c| c.ordinal == ordinal && what(c))
    }

    /// Whether a connection is half open yet, or silent since its reset.
    fn is_doubtful(&self, id: u32, ordinal: u64) -> bool {
        self.is_still(id, ordinal, |c| c.is_half_open() || c.doubt.is_some())
    }

    /// Keeps the lists of those that may give way as short as there are connections.
    fn trim(&mut self) {
        let most = 64 + 2 * self.conns.len();
        let [mut over, mut turned] = [&mut self.over, &mut self.over_turned].map(std::mem::take);
        for list in [&mut over, &mut turned].into_iter().filter(|list| list.len() > most) {
            list.retain(|(id, ordinal)| self.is_still(*id, *ordinal, Conn::is_over));
        }
        (self.over, self.over_turned) = (over, turned);
        let mut half = std::mem::take(&mut self.half_open);
        if half.len() > most {
            half.retain(|(_, id, ordinal)| self.is_doubtful(*id, *ordinal));
        }
        self.half_open = half;
    }
}
