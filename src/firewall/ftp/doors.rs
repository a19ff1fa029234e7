//! What one session announced: who may open a data connection to whom, from when, until when.
//!
//! ```text
//!            PORT            200              SYN                 final reply, end of data
//!   none ──────────▶ reserved ──▶ open ──────────────────▶ used ───────────────────────────▶ none
//!     │    PASV's 227             ▲  │ superseded, expired   │
//!     ├───────────────────────────┤  ▼                       │ its SYN met nobody
//!     │  no port free             │ none                     │
//!     └────────▶ waiting ─────────┘◀─────────────────────────┘
//! ```
//! What another server listens for is reserved and opened likewise; see [`exchange`](super::exchange).

use super::exchange::Offer;
use super::shared::{Expect, Shared, expect_key};
use super::{Path, Ports, Side};
use crate::alg::rules::{Doors, NoDoor, Transfer, Why};
use crate::event::SessionId;
use crate::flow::{ExpectKey, Expected, Pair};
use crate::time::Instant;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// A listener that somebody was told of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Announced {
    /// The client listens, or another server in its place.
    pub(super) active: bool,
    /// The listener as it knows itself.
    pub(super) at: SocketAddr,
    /// The side that it is on.
    pub(super) to: Side,
    /// As it is known to who connects.
    pub(super) told: SocketAddr,
    /// The one who connects, and the side it is on.
    pub(super) opener: std::net::IpAddr,
    pub(super) side: Side,
    /// The listener's other name, where both ends are on one side and the name was not said.
    pub(super) also: Option<SocketAddr>,
    /// [`Ports`] gave `told`.
    pub(super) leased: bool,
    /// What it is of another server's.
    pub(super) of: Option<Offer>,
    /// Until when a SYN is taken.
    pub(super) until: Instant,
}

impl Announced {
    /// What events show: the client's side, the server's.
    pub(super) fn shown(&self) -> (SocketAddr, Option<SocketAddr>) {
        if self.active { (self.at, Some(self.told)) } else { (self.told, Some(self.at)) }
    }

    /// The port that is to be given back.
    pub(super) fn lease(&self) -> Option<SocketAddr> {
        self.leased.then_some(self.told)
    }

    fn keys(&self) -> impl Iterator<Item = ExpectKey> {
        let (side, opener) = (self.side, self.opener);
        std::iter::once(self.told).chain(self.also).map(move |told| expect_key(side, opener, told))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) enum Door {
    /// Nothing is announced.
    #[default]
    None,
    /// The server was told of it, and has not accepted it.
    Reserved(Box<Announced>),
    /// Its SYN may come.
    Open(Box<Announced>),
    /// The server listens there; the client will be told when a port is free.
    Waiting(SocketAddr),
    /// This one is.
    Granted(SocketAddr, u16),
    /// None was.
    InVain(SocketAddr),
    /// It was announced and does not come here.
    Elsewhere,
    /// Its SYN came: the data connection's number.
    Used(u32),
}

/// A transfer whose final reply is awaited.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) transfer: Transfer,
    /// Its data connection, if it came.
    pub(super) data: Option<u32>,
    /// The client listens, or was to.
    pub(super) active: bool,
}

/// A session's data connections and what is to become some.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) door: Door,
    pub(super) running: VecDeque<Running>,
    /// Data connections that live or whose final reply is awaited.
    pub(super) datas: Vec<u32>,
    /// The one of them that came last, or came last and is told of.
    pub(super) newest: Option<u32>,
    /// The names under which what the server listens for is offered to others.
    pub(super) offered: Option<[SocketAddr; 2]>,
}

impl State {
    /// Until when a SYN is taken, if one is.
    pub(super) fn until(&self) -> Option<Instant> {
        if let Door::Open(a) = &self.door { Some(a.until) } else { None }
    }
}

/// A session at its doors.
pub(super) struct Doorman<'a> {
    pub(super) shared: &'a mut Shared,
    pub(super) state: &'a mut State,
    pub(super) ports: &'a mut dyn Ports,
    pub(super) session: u32,
    pub(super) id: SessionId,
    pub(super) service: usize,
    pub(super) path: &'a Path,
}

impl Path {
    /// Client and server are on one side: they reach each other by their own addresses.
    pub(super) fn is_hairpin(&self) -> bool {
        self.client_side == self.server_side
    }

    /// The port that active data comes from unless something else was agreed (RFC 959 5.2).
    pub(super) fn active_port(&self) -> u16 {
        self.server.port().wrapping_sub(1)
    }

    /// The ends of passive data connections.
    pub(super) fn pair(&self) -> Pair {
        Pair { client: self.client.ip(), server: self.server_told.ip() }
    }
}

/// The session's name in tables that are emptied of it before the number is used again.
pub(super) fn name(session: u32) -> SessionId {
    SessionId(session.into())
}

impl Doorman<'_> {
    pub(super) fn tell(&mut self, now: Instant, state: &'static str, a: &Announced, reason: &str) {
        self.shared.expectation(now, self.id, state, a.shown(), reason);
    }

    /// There is no door, and that is told.
    pub(super) fn refuse(&mut self, now: Instant, at: SocketAddr, active: bool, why: NoDoor) -> NoDoor {
        let reason = match why {
            NoDoor::Wait | NoDoor::Ports => "no port is free",
            NoDoor::Client => "the client has too many announced",
            NoDoor::Full => "too many are announced",
            NoDoor::Flows => NO_PLACE,
            NoDoor::Policy(reason) => reason,
        };
        self.tell_refused(now, at, active, reason);
        why
    }

    fn tell_refused(&mut self, now: Instant, at: SocketAddr, active: bool, reason: &str) {
        let ends = if active { (at, None) } else { (self.path.client, Some(at)) };
        self.shared.expectation(now, self.id, "refused", ends, reason);
    }

    /// Whether there is room for one more.
    pub(super) fn room(&self) -> Result<(), NoDoor> {
        let limits = &self.shared.limits;
        if self.shared.announced.total() >= limits.expectations {
            Err(NoDoor::Full)
        } else if self.shared.announced.of(self.path.client.ip()) >= limits.expectations_per_client {
            Err(NoDoor::Client)
        } else {
            Ok(())
        }
    }

    /// Whether there is, and a place for the connection itself.
    pub(super) fn place(&self, active: bool) -> Result<(), NoDoor> {
        self.room()?;
        if self.shared.full[usize::from(active)] { Err(NoDoor::Flows) } else { Ok(()) }
    }

    /// Puts it where SYNs are looked up.
    pub(super) fn expect(&mut self, a: &Announced, open: bool) -> Result<(), NoDoor> {
        self.room()?;
        for key in a.keys() {
            let detail = Expect { session: self.session, open };
            let expected = Expected { session: name(self.session), deadline: a.until, detail };
            if self.shared.expected.insert(key, expected).is_err() {
                self.shared.expected.remove_session(name(self.session));
                return Err(NoDoor::Ports);
            }
        }
        self.shared.announced.take(self.path.client.ip());
        Ok(())
    }

    /// Takes it out again.
    pub(super) fn unexpect(&mut self) {
        if self.shared.expected.remove_session(name(self.session)) > 0 {
            self.shared.announced.give(self.path.client.ip());
        }
    }

    /// Gives its port back.
    pub(super) fn release(&mut self, now: Instant, a: &Announced) {
        if a.leased {
            self.ports.give_back(now, a.told, a.opener);
        }
    }

    /// Announces `at`; where it is known as `told`, or as a port is given.
    fn announce(
        &mut self,
        now: Instant,
        at: SocketAddr,
        active: bool,
        told: Option<SocketAddr>,
    ) -> Result<Announced, NoDoor> {
        self.place(active)?;
        let path = self.path;
        let (opener, side, to, known) = if active {
            (path.server.ip(), path.server_side, path.client_side, path.client_told.ip())
        } else {
            (path.client.ip(), path.client_side, path.server_side, path.server_told.ip())
        };
        let timers = &self.shared.timers;
        let until = now + if told.is_some() { timers.steer_timeout } else { timers.expectation };
        let hairpin = path.is_hairpin() && told.is_none();
        let also = Some(SocketAddr::new(known, at.port())).filter(|a| hairpin && *a != at);
        let leased = told.is_none() && !hairpin;
        let told = match told {
            Some(told) => told,
            None if hairpin => at,
            None => self.ports.take(now, at, known, opener).ok_or(NoDoor::Ports)?,
        };
        let a = Announced { active, at, to, told, opener, side, also, leased, of: None, until };
        // What the server has not accepted nobody may use, but its place is taken.
        match self.expect(&a, !active) {
            Ok(()) => Ok(a),
            Err(why) => {
                self.release(now, &a);
                Err(why)
            }
        }
    }

    fn opened(&mut self, now: Instant, a: Announced) {
        self.tell(now, "opened", &a, if a.of.is_some() { BETWEEN } else { "" });
        self.state.door = Door::Open(Box::new(a));
    }

    /// Ends what was announced and not used.
    pub(super) fn drop_door(&mut self, now: Instant, state: &'static str, reason: &str) {
        self.withdraw_offer();
        match std::mem::take(&mut self.state.door) {
            Door::None | Door::Elsewhere => {}
            Door::Used(data) => self.forget_unused(data),
            Door::Waiting(at) | Door::Granted(at, _) | Door::InVain(at) => {
                self.withdraw(now);
                let ends = (self.path.client, Some(at));
                self.shared.expectation(now, self.id, state, ends, reason);
            }
            Door::Reserved(a) => {
                self.unexpect();
                self.release(now, &a);
                let state = if reason == SERVER_REFUSED { "refused" } else { state };
                self.tell(now, state, &a, reason);
            }
            Door::Open(a) => {
                self.unexpect();
                self.release(now, &a);
                self.withdraw(now);
                self.tell(now, state, &a, reason);
            }
        }
    }

    /// A data connection that ended and that nothing was asked of is nothing to tell of.
    fn forget_unused(&mut self, data: u32) {
        if self.shared.datas.get(data).is_some_and(|d| d.is_ended() && !d.has_transfer()) {
            self.shared.datas.remove(data);
            self.state.datas.retain(|d| *d != data);
        }
    }

    /// The time of what is announced is up.
    pub(super) fn expire(&mut self, now: Instant) {
        let Door::Open(a) = &self.state.door else { return };
        if a.until <= now {
            let who = if a.active { "server" } else { "client" };
            self.drop_door(now, "expired", &format!("no SYN of the {who} came"));
        }
    }

    /// The SYN of what was announced met nobody: it may come again, until the same deadline. False if not.
    pub(super) fn reopen(&mut self, now: Instant, a: &Announced) -> bool {
        let mut a = *a;
        if a.until == Instant::FAR_FUTURE && self.state.running.is_empty() {
            a.until = now + self.shared.timers.expectation;
        }
        if a.until <= now || self.expect(&a, true).is_err() {
            return false;
        }
        self.tell(now, "reopened", &a, "the connection met nobody, and may come again");
        self.state.door = Door::Open(Box::new(a));
        true
    }
}

const NO_PLACE: &str = "the table of connections is full";
const SUPERSEDED: &str = "replaced by a new one";
pub(super) const BETWEEN: &str = "between two servers";
const SERVER_REFUSED: &str = "the server refused it";

impl Doors for Doorman<'_> {
    fn reserve(&mut self, now: Instant, at: SocketAddr) -> Result<SocketAddr, NoDoor> {
        self.close(now, Why::Superseded);
        self.shared.counters.expectations_announced += 1;
        let a = if at.ip() == self.path.client.ip() {
            self.announce(now, at, true, None)
        } else {
            self.take_offer(now, at)
        };
        let a = a.map_err(|why| self.refuse(now, at, true, why))?;
        self.state.door = Door::Reserved(Box::new(a));
        Ok(a.told)
    }

    fn default_port(&mut self, now: Instant) -> Result<(), NoDoor> {
        self.close(now, Why::Superseded);
        self.shared.counters.expectations_announced += 1;
        let Path { client, client_told, server, client_side, server_side, .. } = *self.path;
        // Its name outside is taken already: by the control connection, from another port of the server's.
        let until = now + self.shared.timers.expectation;
        let a = Announced {
            active: true,
            at: client,
            to: client_side,
            told: client_told,
            opener: server.ip(),
            side: server_side,
            also: None,
            leased: false,
            of: None,
            until,
        };
        let opened = self.place(true).and_then(|()| self.expect(&a, true));
        opened.map_err(|why| self.refuse(now, client, true, why))?;
        self.opened(now, a);
        Ok(())
    }

    fn open(&mut self, now: Instant) {
        match std::mem::take(&mut self.state.door) {
            Door::Reserved(mut a) => {
                self.unexpect();
                a.until = now + self.shared.timers.expectation;
                if let Some(offer) = a.of {
                    if !self.accept(&offer) {
                        self.release(now, &a);
                        self.refuse(
                            now,
                            a.at,
                            true,
                            NoDoor::Policy("the other server's port is used already"),
                        );
                        return;
                    }
                    if a.side == a.to {
                        self.tell(now, "elsewhere", &a, BETWEEN);
                        self.state.door = Door::Elsewhere;
                        return;
                    }
                }
                match self.expect(&a, true) {
                    Ok(()) => self.opened(now, *a),
                    Err(why) => {
                        self.release(now, &a);
                        self.refuse(now, a.at, true, why);
                    }
                }
            }
            other => self.state.door = other,
        }
    }

    fn listen(&mut self, now: Instant, at: SocketAddr) -> Result<SocketAddr, NoDoor> {
        let known = self.path.server_told.ip();
        if !self.is_asked_again(at) {
            self.shared.counters.expectations_announced += 1;
        }
        let granted = match self.state.door {
            Door::Waiting(asked) if asked == at => return Err(NoDoor::Wait),
            Door::InVain(asked) if asked == at => {
                self.state.door = Door::None;
                return Err(self.refuse(now, at, false, NoDoor::Ports));
            }
            Door::Granted(asked, port) if asked == at => {
                self.state.door = Door::None;
                Some(port)
            }
            // Replies come in the order of the commands: the client has asked for something else since.
            Door::Reserved(_) => {
                let told = SocketAddr::new(known, at.port());
                self.shared.expectation(now, self.id, "superseded", (told, Some(at)), SUPERSEDED);
                return Ok(told);
            }
            _ => {
                self.close(now, Why::Superseded);
                None
            }
        };
        let Some(service) = self.shared.services.get(self.service) else { return Err(NoDoor::Ports) };
        if service.data_bypasses {
            self.shared.counters.not_redirected += 1;
            let told = SocketAddr::new(known, at.port());
            let ends = (told, Some(at));
            self.shared.expectation(now, self.id, "elsewhere", ends, "data not redirected");
            self.state.door = Door::Elsewhere;
            return Ok(told);
        }
        if let Err(why) = self.place(false) {
            self.withdraw(now);
            return Err(self.refuse(now, at, false, why));
        }
        let port = match granted {
            Some(port) => Some(port),
            None => self.steer(now, at)?,
        };
        let told = port.map(|p| SocketAddr::new(known, p));
        match self.announce(now, at, false, told) {
            Ok(a) => {
                self.opened(now, a);
                Ok(a.told)
            }
            Err(why) => {
                self.withdraw(now);
                Err(self.refuse(now, at, false, why))
            }
        }
    }

    fn offer(&mut self, now: Instant, at: SocketAddr, told: SocketAddr) {
        self.make_offer(now, at, told);
    }

    fn is_offered(&self, now: Instant, at: SocketAddr) -> bool {
        self.offer_at(now, at).is_some()
    }

    fn refused(&mut self, now: Instant, at: SocketAddr, active: bool, why: &'static str) {
        if !active && self.is_asked_again(at) {
            self.withdraw(now);
            self.state.door = Door::None;
        } else {
            self.shared.counters.expectations_announced += 1;
        }
        self.tell_refused(now, at, active, why);
    }

    fn close(&mut self, now: Instant, why: Why) {
        let reason = match why {
            Why::Superseded => SUPERSEDED,
            Why::Unused if matches!(self.state.door, Door::Reserved(_)) => SERVER_REFUSED,
            Why::Unused => "the transfer ended without it",
            Why::Over => "the client left, or logs in anew",
            Why::Opaque => "the control channel is not read any more",
        };
        self.drop_door(now, "superseded", reason);
    }

    fn transfer(&mut self, _now: Instant, transfer: &Transfer) {
        let (data, active) = match &self.state.door {
            Door::Used(data) => (Some(*data), self.shared.datas.get(*data).is_some_and(|d| d.active)),
            Door::Reserved(a) | Door::Open(a) => (None, a.active),
            _ => (None, false),
        };
        // One data connection, one transfer: the next one needs its own.
        let free = |d: &u32| self.state.running.iter().all(|r| r.data != Some(*d));
        let data = data.filter(|d| free(d) && self.shared.datas.get(*d).is_some_and(|d| !d.has_reply()));
        if let Some(conn) = data.and_then(|d| self.shared.datas.get_mut(d)) {
            conn.begins(transfer);
        }
        self.state.running.push_back(Running { transfer: transfer.clone(), data, active });
    }

    fn transfer_begun(&mut self, _now: Instant) {
        // Its own listener is waited at for as long as the server waits; the session's end is the end of that as well.
        if self.state.running.front().is_some_and(|r| r.data.is_none()) {
            self.wait_until(Instant::FAR_FUTURE);
        }
    }

    fn transfer_over(&mut self, now: Instant, code: u16) {
        match &self.state.door {
            Door::Open(_) if (200..300).contains(&code) => self.close(now, Why::Unused),
            // Some servers go on listening, and clients try again.
            Door::Open(a) if a.until == Instant::FAR_FUTURE => {
                self.wait_until(now + self.shared.timers.expectation);
            }
            _ => {}
        }
        let Some(running) = self.state.running.pop_front() else { return };
        match running.data {
            Some(data) => self.replied(now, data, code),
            None => self.shared.tell_unmet(now, self.id, &running, code),
        }
    }

    fn is_elsewhere(&self) -> bool {
        matches!(self.state.door, Door::Elsewhere)
    }

    fn has_door(&self) -> bool {
        match &self.state.door {
            Door::None | Door::InVain(_) => false,
            Door::Used(data) => self.shared.datas.get(*data).is_some_and(|d| !d.is_ended() && !d.has_reply()),
            _ => true,
        }
    }
}

impl Doorman<'_> {
    /// Whether the server's listener `at` is one that a line was held for already.
    fn is_asked_again(&self, at: SocketAddr) -> bool {
        let door = &self.state.door;
        matches!(door, Door::Waiting(of) | Door::Granted(of, _) | Door::InVain(of) if *of == at)
    }

    /// Takes the SYN of what is open until then. A port that is steered to is scarce, and has a time of its own.
    fn wait_until(&mut self, until: Instant) {
        let steers = self.steering().is_some();
        if let Door::Open(a) = &mut self.state.door
            && (a.active || !steers)
        {
            a.until = until;
            self.shared.expected.put_off(name(self.session), until);
        }
    }
}
