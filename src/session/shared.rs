//! What all sessions of a worker share.

use super::data::{DataFlow, Side};
use super::lease::Leases;
use super::settings::Settings;
use super::torn::Torn;
use super::wait::Waits;
use crate::event::{Event, SessionId, What};
use crate::flow::Shares;
use crate::flow::{
    Action, Entry, Expectations, Flags, FlowKey, FlowTable, InsertError, Leg, Pair, Rewrite, Salted, Slab,
    SlotRef, SteerConfig, Steering, Wheel,
};
use crate::ftp::hostport::{ArgError, DEFAULT_DENIED_PORTS, check_port};
use crate::rng::{Keyed, Purpose};
use crate::tcp::Outlet;
use crate::time::{Duration, Instant};
use crate::wire::build;
use crate::wire::tcp::Segment;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// A half-open connection's end.
    Half(u32),
    /// A session's next poll.
    Session(u32),
    /// A look at a translated data flow.
    Flow(u32),
    /// The end of a TIME-WAIT.
    Wait(u32),
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// SYNs for a service.
    pub syns: u64,
    /// Half-open connections that gave way to newer ones.
    pub half_open_evicted: u64,
    /// Sessions that began.
    pub sessions: u64,
    /// Sessions refused for a limit.
    pub sessions_refused: u64,
    /// Data connections translated in the flow table.
    pub translated: u64,
    /// Data connections relayed.
    pub relayed: u64,
    /// Announcements that got a port of the group's list.
    pub steered: u64,
    /// Announcements that waited for one.
    pub waited: u64,
    /// Announcements that got none.
    pub refused: u64,
    /// Sessions ended because the client does not speak FTP.
    pub not_ftp: u64,
    /// PORT or EPRT with an address that is not the client's.
    pub foreign_addresses: u64,
    /// Ports in PORT, EPRT, 227 or 229 that data connections are not opened to.
    pub denied_ports: u64,
    /// Replies that named an address and that nobody had asked for; the address was taken out.
    pub unasked_addresses: u64,
    /// Sessions ended for a server's line or reply without end, or Telnet negotiation without end.
    pub runaways: u64,
    /// Data connections refused because a session had too many that live.
    pub flows_refused: u64,
    /// Late SYNs answered with a reset.
    pub late_syns: u64,
    /// Entries that the flow table had no room for.
    pub table_full: u64,
    /// Control connections of an earlier run, both ends of which were reset.
    pub torn: u64,
    /// Loops cut short in a session's service; it goes on in the next turn.
    pub service_cut: u64,
}

/// The parts that sessions reach beside their own state.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) table: Arc<FlowTable>,
    pub(super) keyed: Keyed,
    pub(super) leases: Leases,
    pub(super) steering: Vec<Steering>,
    pub(super) expectations: Expectations<Side>,
    pub(super) wheel: Wheel<Timer>,
    pub(super) flows: Slab<DataFlow>,
    pub(super) waits: Waits,
    pub(super) torn: Torn,
    pub(super) relays: Shares,
    /// Sessions whose relay no transfer was asked of yet, oldest first.
    pub(super) unasked: VecDeque<SessionId>,
    /// Those of them whose relay has to go.
    pub(super) outdone: Vec<SessionId>,
    /// Live active data connections by (pair, port that they leave from).
    pub(super) active: HashMap<(Pair, u16), u32, Salted>,
    pub(super) counters: Counters,
    pub(super) events: Vec<Event>,
    pub(super) now: Instant,
}

/// Ports that connections of ours leave from, cut into one range for each worker.
const OWN_PORTS: (u16, u16) = (10_240, 65_535);
/// Expected data connections in all; a session has one at a time.
pub(super) const EXPECTATIONS: usize = 65_536;
/// Timers in all: sessions, half-open connections, data flows, TIME-WAITs.
const TIMERS: usize = 1 << 20;

fn port_span(workers: u16) -> u16 {
    (OWN_PORTS.1 - OWN_PORTS.0) / workers.max(1)
}

/// The ports of our own address that a worker gives out.
pub(super) fn own_ports(settings: &Settings) -> RangeInclusive<u16> {
    let span = port_span(settings.workers);
    let first = OWN_PORTS.0 + span * settings.worker;
    first..=first + span - 1
}

/// The worker that gives out this port of our own address; none if none does.
pub fn port_owner(port: u16, workers: u16) -> Option<u16> {
    let worker = port.checked_sub(OWN_PORTS.0)? / port_span(workers).max(1);
    (worker < workers).then_some(worker)
}

impl Shared {
    pub(super) fn new(settings: Settings, table: Arc<FlowTable>, keyed: Keyed) -> Self {
        let salt = keyed.value(Purpose::Salt, b"session", 0);
        let t = &settings.timers;
        let steering = settings
            .services
            .iter()
            .map(|s| {
                Steering::new(SteerConfig {
                    // Every session that a client may have can wait, each for one port.
                    waiters: settings.limits.per_client,
                    timeout: t.steer_timeout,
                    quarantine: t.quarantine,
                    wait: t.steer_wait,
                    ..SteerConfig::new(s.data_ports.clone())
                })
            })
            .collect();
        Self {
            leases: Leases::new(&settings, keyed),
            expectations: Expectations::new(EXPECTATIONS, 4, salt),
            wheel: Wheel::new(Duration::from_millis(5), 4096, TIMERS),
            steering,
            flows: Slab::default(),
            waits: Waits::default(),
            torn: Torn::new(salt),
            relays: Shares::new(salt),
            unasked: VecDeque::new(),
            outdone: Vec::new(),
            active: HashMap::with_hasher(Salted::new(salt)),
            counters: Counters::default(),
            events: Vec::new(),
            now: Instant::ZERO,
            settings,
            table,
            keyed,
        }
    }

    pub(super) fn event(&mut self, what: What) {
        self.events.push(Event { at: self.now, what });
    }

    /// An initial sequence number for a connection of ours (RFC 6528: keyed hash plus a 4 µs clock).
    pub(super) fn isn(&self, local: SocketAddr, remote: SocketAddr) -> u32 {
        let hash = self.keyed.value(Purpose::Isn, &tuple_bytes(local, remote), 0);
        (hash as u32).wrapping_add((self.now.as_nanos() / 4000) as u32)
    }

    /// An entry that hands segments to a session of this worker.
    pub(super) fn session_entry(&self, key: &FlowKey, leg: u8, id: u32) -> Entry {
        Entry {
            owner: self.settings.worker,
            next_hop: 0,
            id,
            epoch: 0,
            action: Action::Session { leg },
            flags: Flags::NONE,
            rewrite: Rewrite::identity(key),
        }
    }

    /// Puts an entry into the table, if need be in the place of a connection that is over.
    pub(super) fn claim(&mut self, key: &FlowKey, entry: &Entry) -> Option<SlotRef> {
        let tick = self.now.tick();
        match self.table.insert(key, entry, tick) {
            Ok(slot) => return Some(slot),
            Err(InsertError::Full) => self.counters.table_full += 1,
            Err(InsertError::Exists | InsertError::Family) => {}
        }
        // A new connection may take the place of one in TIME-WAIT (RFC 9293 3.6.1).
        if let crate::flow::Lookup::Hit(slot, old) = self.table.lookup(key)
            && old.owner == self.settings.worker
            && old.action == Action::TimeWait
        {
            if let Some(timer) = self.waits.forget(old.id) {
                self.wheel.cancel(timer);
            }
            self.table.remove(slot);
            if let Ok(slot) = self.table.insert(key, entry, tick) {
                return Some(slot);
            }
        }
        None
    }

    /// Whether data connections may be opened to this port: neither a well-known one nor another's service, nor
    /// a control port, where it would be a session that nobody looks at.
    pub(super) fn allows_port(&mut self, port: u16) -> Result<(), ArgError> {
        let control = self.settings.services.iter().any(|s| s.ports.contains(&port));
        let allowed = if control { Err(ArgError::Port) } else { check_port(port, DEFAULT_DENIED_PORTS) };
        self.counters.denied_ports += u64::from(allowed.is_err());
        allowed
    }

    /// Why there is no room for another relay of this client, if there is none.
    pub(super) fn relay_room(&self, client: IpAddr) -> Result<(), &'static str> {
        let limits = &self.settings.limits;
        if self.relays.of(client) >= limits.relays_per_client {
            Err("too many relayed transfers of this client")
        } else if self.relays_full() && self.unasked.is_empty() {
            Err("too many relayed transfers")
        } else {
            Ok(())
        }
    }

    /// Takes a place for a relay of this client; if there is none, that of the oldest relay that nothing was
    /// asked of.
    pub(super) fn relay_take(&mut self, client: IpAddr) -> Result<(), &'static str> {
        self.relay_room(client)?;
        if self.relays_full() {
            self.outdone.extend(self.unasked.pop_front());
        }
        self.relays.take(client);
        Ok(())
    }

    /// Gives it back.
    pub(super) fn relay_give(&mut self, client: IpAddr, session: SessionId) {
        self.relays.give(client);
        self.relay_asked(session);
        self.outdone.retain(|id| *id != session);
    }

    /// A session's relay, if it has one, is wanted.
    pub(super) fn relay_asked(&mut self, session: SessionId) {
        self.unasked.retain(|id| *id != session);
    }

    /// Whether all places are taken by relays that stay.
    fn relays_full(&self) -> bool {
        self.relays.total() - self.outdone.len() >= self.settings.limits.relays
    }
}

pub(super) fn tuple_bytes(local: SocketAddr, remote: SocketAddr) -> [u8; 36] {
    let mut b = [0; 36];
    let mut put = |at: usize, a: SocketAddr| {
        match a.ip() {
            IpAddr::V4(v) => b[at..at + 4].copy_from_slice(&v.octets()),
            IpAddr::V6(v) => b[at..at + 16].copy_from_slice(&v.octets()),
        }
        b[at + 16..at + 18].copy_from_slice(&a.port().to_be_bytes());
    };
    put(0, local);
    put(18, remote);
    b
}

/// The key of segments that the client sends and the router redirects.
pub(super) fn redirected(client: SocketAddr, server: SocketAddr) -> Option<FlowKey> {
    FlowKey::tcp(client, server, Leg::Redirected, 0)
}

/// Sends a segment that no stack makes.
pub(super) fn send(out: &mut dyn Outlet, segment: &build::Tcp) {
    out.send(segment.len(), &mut |b| {
        segment.emit(b);
        true
    });
}

/// Answers a segment with a reset, as its destination.
pub(super) fn reset(seg: &Segment, out: &mut dyn Outlet) {
    if let Some(r) = build::reset_for(seg) {
        send(out, &r);
    }
}

/// Sessions by number.
pub(super) type ById = HashMap<SessionId, u32, Salted>;
