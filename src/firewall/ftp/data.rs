//! Data connections of inspected sessions, and what is told of the transfers that they carry.

use super::doors::{Announced, Doorman, Running};
use super::shared::{Shared, Timer};
use super::{Over, Ports, Sessions};
use crate::alg::rules::Transfer;
use crate::event::{Direction, Path, SessionId, What};
use crate::flow::{Pair, TimerId};
use crate::ftp::reply;
use crate::time::{Duration, Instant};
use std::net::{IpAddr, SocketAddr};

/// A data connection that was admitted.
#[derive(Debug)]
pub(super) struct DataConn {
    /// Whose it is, while that lives.
    pub(super) session: Option<u32>,
    pub(super) id: SessionId,
    /// The client listens.
    pub(super) active: bool,
    /// What it came of; nothing if a static rule let it in.
    pub(super) announced: Option<Box<Announced>>,
    /// Who opened it, as its SYN shows it.
    pub(super) opener: IpAddr,
    /// Its port as the other end knows the listener, to be given back.
    pub(super) lease: Option<SocketAddr>,
    /// The pair, and the port of a service's list that it leaves from.
    pub(super) leaving: Option<(Pair, u16)>,
    /// No reply about it can be read.
    pub(super) blind: bool,
    pub(super) timer: Option<TimerId>,
    transfer: Option<Transfer>,
    code: Option<u16>,
    started: Instant,
    ended: Option<Over>,
}

impl DataConn {
    pub(super) fn new(session: u32, id: SessionId, active: bool, opener: IpAddr, started: Instant) -> Self {
        Self {
            session: Some(session),
            id,
            active,
            announced: None,
            opener,
            lease: None,
            leaving: None,
            blind: false,
            timer: None,
            transfer: None,
            code: None,
            started,
            ended: None,
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended.is_some()
    }

    pub(super) fn has_transfer(&self) -> bool {
        self.transfer.is_some()
    }

    /// Its transfer's final reply came.
    pub(super) fn has_reply(&self) -> bool {
        self.code.is_some()
    }

    /// What it is for.
    pub(super) fn begins(&mut self, transfer: &Transfer) {
        self.transfer = Some(transfer.clone());
    }

    /// The only way that payload may go; both if none.
    pub(super) fn one_way(&self) -> Option<crate::alg::Direction> {
        use crate::alg::Direction::{ToClient, ToServer};
        let transfer = self.transfer.as_ref().filter(|t| t.one_way)?;
        transfer.verb.direction().map(|d| if d == Direction::Upload { ToServer } else { ToClient })
    }

    /// What is to be told once all is known that will be; nothing if nothing was asked for and nothing came.
    fn told(&self) -> Option<What> {
        let over = self.ended?;
        let [up, down] = over.bytes;
        let verb = self.transfer.as_ref().map(|t| t.verb);
        if verb.is_none() && up + down == 0 {
            return None;
        }
        let larger = if up > down { Direction::Upload } else { Direction::Download };
        let direction = verb.and_then(|v| v.direction()).unwrap_or(larger);
        let bytes = if direction == Direction::Upload { up } else { down };
        let code = self.code.unwrap_or(0);
        Some(What::Transfer {
            session: self.id,
            verb: verb.map_or_else(String::new, |v| v.name().to_owned()),
            name: self.transfer.as_ref().map_or_else(String::new, |t| t.name.clone()),
            direction,
            path: Path::Translated,
            client_mode: if self.active { "active" } else { "passive" },
            bytes,
            duration_ms: over.at.since(self.started).as_millis() as u64,
            verdict: reply::verdict(over.verdict, code, bytes),
            code,
        })
    }
}

impl Shared {
    /// Tells of a data connection that is over, and forgets it.
    pub(super) fn tell_data(&mut self, now: Instant, data: u32) {
        let Some(conn) = self.datas.remove(data) else { return };
        if let Some(what) = conn.told() {
            self.event(now, what);
        }
    }

    /// Reports a transfer that had no data connection.
    pub(super) fn tell_unmet(&mut self, now: Instant, session: SessionId, running: &Running, code: u16) {
        let verb = running.transfer.verb;
        self.event(
            now,
            What::Transfer {
                session,
                verb: verb.name().to_owned(),
                name: running.transfer.name.clone(),
                direction: verb.direction().unwrap_or(Direction::Download),
                path: Path::Translated,
                client_mode: if running.active { "active" } else { "passive" },
                bytes: 0,
                duration_ms: 0,
                verdict: reply::verdict("complete", code, 0),
                code,
            },
        );
    }

    /// What a data connection holds goes back.
    pub(super) fn free_data(&mut self, now: Instant, data: u32, ports: &mut dyn Ports) {
        if let Some(timer) = self.datas.get_mut(data).and_then(|conn| conn.timer.take()) {
            self.wheel.cancel(timer);
        }
        self.free_ports(now, data, ports);
    }

    /// The ports that it holds do.
    fn free_ports(&mut self, now: Instant, data: u32, ports: &mut dyn Ports) {
        let Some(conn) = self.datas.get_mut(data) else { return };
        if let Some(told) = conn.lease.take() {
            ports.give_back(now, told, conn.opener);
        }
        if let Some(leaving) = conn.leaving.take()
            && let Some(n) = self.leaving.get_mut(&leaving)
        {
            *n -= 1;
            if *n == 0 {
                self.leaving.remove(&leaving);
            }
        }
    }

    /// A data connection whose control connection was reset, or whose transfer was aborted, has not long to live.
    pub(super) fn doom_data(&mut self, now: Instant, data: u32) {
        let at = now + self.timers.orphan;
        let Some(conn) = self.datas.get_mut(data).filter(|c| c.ended.is_none()) else { return };
        let mut timer = conn.timer.take();
        self.arm(&mut timer, at, Timer::Data(data));
        if let Some(conn) = self.datas.get_mut(data) {
            conn.timer = timer;
        }
    }

    /// A data connection of a session that is gone is over.
    pub(super) fn orphan_over(&mut self, now: Instant, data: u32, over: Over, ports: &mut dyn Ports) {
        self.free_data(now, data, ports);
        if let Some(conn) = self.datas.get_mut(data) {
            conn.ended = Some(over);
        }
        self.tell_data(now, data);
    }
}

impl<W: Copy> Sessions<W> {
    /// A data connection, one end of which may have closed, is silent for so long since a reset came that may have ended it:
    /// others get its ports. Whether it is over. It is if its server said so, if nothing more is to be heard of it and its
    /// client went on to another one or an end has closed, or after a while if its session is over. Else it may live yet, and
    /// what is told of its transfer must not be wrong.
    pub(in crate::firewall) fn data_silent(
        &mut self,
        now: Instant,
        data: u32,
        (silent, closing): (Duration, bool),
        ports: &mut dyn Ports,
    ) -> bool {
        self.shared.free_ports(now, data, ports);
        let Some(conn) = self.shared.datas.get(data) else { return true };
        let Some(session) = conn.session.and_then(|number| self.slots.get(number)) else {
            return silent >= self.shared.timers.orphan;
        };
        let went_on = session.doors.newest != Some(data);
        match conn.code {
            Some(400..) => true,
            Some(_) => went_on || closing,
            None => went_on && (conn.blind || !conn.has_transfer()),
        }
    }
}

impl Doorman<'_> {
    /// The final reply to a transfer whose data connection came.
    pub(super) fn replied(&mut self, now: Instant, data: u32, code: u16) {
        let Some(conn) = self.shared.datas.get_mut(data) else { return };
        conn.code = Some(code);
        if conn.is_ended() {
            self.tell_over(now, data);
        } else if code == 426 {
            self.shared.doom_data(now, data);
        }
    }

    /// A data connection of this session is over.
    pub(super) fn data_over(&mut self, now: Instant, data: u32, over: Over) {
        let is_door = matches!(self.state.door, super::doors::Door::Used(d) if d == data);
        let Some(conn) = self.shared.datas.get_mut(data) else { return };
        if over.unanswered
            && is_door
            && let Some(announced) = conn.announced.take()
            && self.reopen(now, &announced)
        {
            return self.undo(now, data);
        }
        self.shared.free_data(now, data, self.ports);
        let Some(conn) = self.shared.datas.get_mut(data) else { return };
        conn.ended = Some(over);
        let awaited = conn.has_transfer() && conn.code.is_none() && !conn.blind;
        // What nobody asked for yet may be asked for, as long as it is what is announced.
        let may_be_asked = is_door && !conn.has_transfer() && !conn.blind;
        if !(awaited || may_be_asked) {
            self.tell_over(now, data);
        }
    }

    /// A data connection was none. Its port stays taken.
    fn undo(&mut self, now: Instant, data: u32) {
        if let Some(conn) = self.shared.datas.get_mut(data) {
            conn.lease = None;
        }
        self.shared.free_data(now, data, self.ports);
        self.shared.datas.remove(data);
        self.state.datas.retain(|d| *d != data);
        for running in &mut self.state.running {
            running.data = running.data.filter(|d| *d != data);
        }
    }

    fn tell_over(&mut self, now: Instant, data: u32) {
        self.shared.tell_data(now, data);
        self.state.datas.retain(|d| *d != data);
        if matches!(self.state.door, super::doors::Door::Used(d) if d == data) {
            self.state.door = super::doors::Door::None;
        }
    }

    /// The session ends: what is under way goes on by itself, or not for long.
    pub(super) fn leave_datas(&mut self, now: Instant, reset: bool) {
        for data in std::mem::take(&mut self.state.datas) {
            let Some(conn) = self.shared.datas.get_mut(data) else { continue };
            conn.session = None;
            if conn.is_ended() {
                self.shared.tell_data(now, data);
            } else if reset {
                self.shared.doom_data(now, data);
            }
        }
    }
}
