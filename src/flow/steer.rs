//! Steering: which port of the service group's own list a passive data connection is told to use.
//!
//! A router redirects only the ports that a service group lists, so the 227 or 229 that a client receives
//! names one of those, at the server's address. The client's SYN to it then tells only the two addresses
//! and that port; which session announced it must follow from these alone. Hence, for each address pair:
//!
//! ```text
//!           announce              SYN: its 4-tuple is unique from here on
//!   idle ────────────▶ announced ───────────────────────────────────────▶ idle
//!    ▲                     │ timeout, superseded, aborted, session ended
//!    │     quarantine      ▼
//!    └──────────────── quarantined    a late SYN gets a reset and never reaches another session
//! ```
//!
//! Of the idle ports the least recently used is taken. When there is none, announcements wait in order, and
//! are refused after a time.
//!
//! Order of calls: inputs ([`Steering::announce`], [`Steering::withdraw`], [`Steering::syn`],
//! [`Steering::handle_timeout`]), then [`Steering::poll_event`] until it gives none, then
//! [`Steering::poll_timeout`].

use crate::event::SessionId;
use crate::time::{Duration, Instant};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

/// While announcements wait only for ports that the caller says are in use, it is asked again this often.
const RETRY: Duration = Duration::from_millis(100);

/// The ends of a passive data connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    /// The client's address.
    pub client: IpAddr,
    /// The server's address, as the client knows it.
    pub server: IpAddr,
}

/// Ports, times and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SteerConfig {
    /// The ports (`data_ports`).
    pub ports: Vec<u16>,
    /// How long an announced port waits for its SYN (`steer_timeout`).
    pub timeout: Duration,
    /// How long a port rests whose SYN did not come.
    pub quarantine: Duration,
    /// How long an announcement waits for a port (`steer_wait`).
    pub wait: Duration,
    /// At most this many pairs at a time.
    pub pairs: usize,
    /// At most this many waiting announcements for each pair.
    pub waiters: usize,
}

impl SteerConfig {
    /// These ports, with the usual times: 15 s for a SYN, 60 s of quarantine, 5 s of waiting.
    pub fn new(ports: Vec<u16>) -> Self {
        Self {
            ports,
            timeout: Duration::from_secs(15),
            quarantine: Duration::from_secs(60),
            wait: Duration::from_secs(5),
            pairs: 65_536,
            waiters: 64,
        }
    }
}

/// The answer to an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announced {
    /// Name this port.
    Port(u16),
    /// Hold the reply back until [`SteerEvent::Granted`] or [`SteerEvent::Refused`].
    Waiting,
    /// Refuse (425): a limit was reached.
    Refused,
}

/// What a SYN to a listed port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SteerSyn {
    /// The data connection that this session announced; the port is free for the next.
    Used(SessionId),
    /// Of an announcement that has ended: answer with a reset.
    Quarantined,
    /// Not announced.
    Unknown,
}

/// What happened by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SteerEvent {
    /// A waiting announcement got a port.
    Granted {
        /// Whose.
        session: SessionId,
        /// The ends.
        pair: Pair,
        /// The port.
        port: u16,
    },
    /// A waiting announcement got none in time.
    Refused {
        /// Whose.
        session: SessionId,
        /// The ends.
        pair: Pair,
    },
    /// An announced port's SYN did not come in time.
    TimedOut {
        /// Whose.
        session: SessionId,
        /// The ends.
        pair: Pair,
        /// The port.
        port: u16,
    },
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SteerStats {
    /// Announcements that got a port, at once or later.
    pub steered: u64,
    /// Announcements that had to wait.
    pub waited: u64,
    /// Announcements that got none.
    pub refused: u64,
    /// Ports that went into quarantine.
    pub quarantined: u64,
}

/// The steering of one service.
#[derive(Debug)]
pub struct Steering {
    config: SteerConfig,
    pools: BTreeMap<Pair, Pool>,
    deadlines: BTreeSet<(Instant, Pair)>,
    events: VecDeque<SteerEvent>,
    /// Ordinal of the next use.
    uses: u64,
    stats: SteerStats,
}

#[derive(Debug)]
struct Pool {
    ports: Vec<Port>,
    waiters: VecDeque<(SessionId, Instant)>,
    /// Kept at least until then, for the order of use.
    keep: Instant,
    armed: Option<Instant>,
}

#[derive(Debug)]
struct Port {
    number: u16,
    last_use: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Announced { session: SessionId, until: Instant },
    Quarantined { until: Instant },
}

impl Steering {
    /// With nothing announced. Of a port listed twice one is used.
    pub fn new(mut config: SteerConfig) -> Self {
        let mut seen = BTreeSet::new();
        config.ports.retain(|port| seen.insert(*port));
        Self {
            config,
            pools: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            events: VecDeque::new(),
            uses: 0,
            stats: SteerStats::default(),
        }
    }

    /// Asks for a port for a passive data connection; supersedes what the session announced for this pair.
    ///
    /// `in_use` says whether a port cannot be named now because a flow of this pair has a 4-tuple with it.
    pub fn announce(
        &mut self,
        pair: Pair,
        session: SessionId,
        now: Instant,
        mut in_use: impl FnMut(&Pair, u16) -> bool,
    ) -> Announced {
        self.withdraw(pair, session, now);
        if !self.pools.contains_key(&pair) {
            if self.config.ports.is_empty() || self.pools.len() >= self.config.pairs {
                self.stats.refused += 1;
                return Announced::Refused;
            }
            let port = |number: &u16| Port { number: *number, last_use: 0, state: State::Idle };
            let ports = self.config.ports.iter().map(port).collect();
            self.pools.insert(pair, Pool { ports, waiters: VecDeque::new(), keep: now, armed: None });
        }
        self.serve(pair, now, &mut in_use);
        let (timeout, wait, limit) = (self.config.timeout, self.config.wait, self.config.waiters);
        let uses = self.next_use();
        let Some(pool) = self.pools.get_mut(&pair) else { return Announced::Refused };
        let free = if pool.waiters.is_empty() { pool.least_used(|port| in_use(&pair, port)) } else { None };
        let answer = if let Some(port) = free {
            port.give(session, now + timeout, uses);
            self.stats.steered += 1;
            Announced::Port(port.number)
        } else if pool.waiters.len() < limit {
            pool.waiters.push_back((session, now + wait));
            self.stats.waited += 1;
            Announced::Waiting
        } else {
            self.stats.refused += 1;
            Announced::Refused
        };
        self.settle(pair, now, now + RETRY);
        answer
    }

    /// Takes back what a session announced for a pair, or waits for: superseded, aborted, or ended.
    pub fn withdraw(&mut self, pair: Pair, session: SessionId, now: Instant) {
        self.advance(pair, now);
        let quarantine = self.config.quarantine;
        let Some(pool) = self.pools.get_mut(&pair) else { return };
        pool.waiters.retain(|(who, _)| *who != session);
        for port in &mut pool.ports {
            if matches!(port.state, State::Announced { session: who, .. } if who == session) {
                port.state = State::Quarantined { until: now + quarantine };
                self.stats.quarantined += 1;
            }
        }
        self.settle(pair, now, now);
    }

    /// Takes a SYN from the client to a listed port of the server.
    pub fn syn(&mut self, pair: Pair, port: u16, now: Instant) -> SteerSyn {
        self.advance(pair, now);
        let uses = self.next_use();
        let Some(pool) = self.pools.get_mut(&pair) else { return SteerSyn::Unknown };
        let Some(port) = pool.ports.iter_mut().find(|p| p.number == port) else { return SteerSyn::Unknown };
        let answer = match port.state {
            State::Idle => SteerSyn::Unknown,
            State::Quarantined { .. } => SteerSyn::Quarantined,
            State::Announced { session, .. } => {
                port.state = State::Idle;
                port.last_use = uses;
                SteerSyn::Used(session)
            }
        };
        self.settle(pair, now, now);
        answer
    }

    /// Whether a SYN to this port must be answered with a reset.
    pub fn is_quarantined(&self, pair: Pair, port: u16, now: Instant) -> bool {
        let Some(pool) = self.pools.get(&pair) else { return false };
        pool.ports.iter().filter(|p| p.number == port).any(|p| match p.state {
            State::Idle => false,
            State::Announced { until, .. } => until <= now && now < until + self.config.quarantine,
            State::Quarantined { until } => now < until,
        })
    }

    /// Ends what is due and gives freed ports to those that wait. `in_use` as in [`Self::announce`].
    pub fn handle_timeout(&mut self, now: Instant, mut in_use: impl FnMut(&Pair, u16) -> bool) {
        // A pair may be due again at once only through an input, so each is taken once.
        let due: Vec<Pair> =
            self.deadlines.iter().take_while(|(at, _)| *at <= now).map(|(_, pair)| *pair).collect();
        for pair in due {
            self.serve(pair, now, &mut in_use);
            self.settle(pair, now, now + RETRY);
        }
    }

    /// What happened by itself.
    pub fn poll_event(&mut self) -> Option<SteerEvent> {
        self.events.pop_front()
    }

    /// When to call [`Self::handle_timeout`], and what for.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.deadlines.first().map(|(at, _)| (*at, "steering"))
    }

    /// Gives memory back that a burst of events has taken.
    pub fn shrink(&mut self) {
        self.events.shrink_to_fit();
    }

    /// How many pairs are remembered.
    pub fn pairs(&self) -> usize {
        self.pools.len()
    }

    /// Counts since the start.
    pub const fn stats(&self) -> SteerStats {
        self.stats
    }

    fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }

    /// Ends announcements and quarantines that are over.
    fn advance(&mut self, pair: Pair, now: Instant) {
        let Some(pool) = self.pools.get_mut(&pair) else { return };
        for port in &mut pool.ports {
            if let State::Announced { session, until } = port.state
                && until <= now
            {
                port.state = State::Quarantined { until: until + self.config.quarantine };
                self.stats.quarantined += 1;
                self.events.push_back(SteerEvent::TimedOut { session, pair, port: port.number });
            }
            if matches!(port.state, State::Quarantined { until } if until <= now) {
                port.state = State::Idle;
            }
        }
    }

    /// Gives idle ports to those that wait, in order, and refuses those that waited too long.
    fn serve(&mut self, pair: Pair, now: Instant, in_use: &mut impl FnMut(&Pair, u16) -> bool) {
        self.advance(pair, now);
        let timeout = self.config.timeout;
        let Some(pool) = self.pools.get_mut(&pair) else { return };
        while let Some((session, until)) = pool.waiters.front().copied() {
            if until <= now {
                self.stats.refused += 1;
                self.events.push_back(SteerEvent::Refused { session, pair });
            } else if let Some(port) = pool.least_used(|port| in_use(&pair, port)) {
                self.uses += 1;
                port.give(session, now + timeout, self.uses);
                self.stats.steered += 1;
                self.events.push_back(SteerEvent::Granted { session, pair, port: port.number });
            } else {
                return;
            }
            pool.waiters.pop_front();
        }
    }

    /// Forgets the pair if nothing holds it, and otherwise notes when it is due: at `serve` if announcements
    /// wait while a port is idle.
    fn settle(&mut self, pair: Pair, now: Instant, serve: Instant) {
        let Some(pool) = self.pools.get_mut(&pair) else { return };
        let mut due: Option<Instant> = None;
        let mut at = |when: Instant| due = Some(due.map_or(when, |d| d.min(when)));
        let mut idle = true;
        for port in &pool.ports {
            match port.state {
                State::Idle if pool.waiters.is_empty() => {}
                State::Idle => at(serve),
                State::Announced { until, .. } | State::Quarantined { until } => {
                    idle = false;
                    at(until);
                }
            }
        }
        if let Some((_, until)) = pool.waiters.front() {
            idle = false;
            at(*until);
        }
        if !idle {
            // Ports that rest in the order of their use are worth remembering as long as a quarantine.
            pool.keep = now + self.config.quarantine;
        }
        let due = due.unwrap_or(pool.keep);
        if let Some(old) = pool.armed {
            self.deadlines.remove(&(old, pair));
        }
        if idle && pool.keep <= now {
            self.pools.remove(&pair);
        } else {
            pool.armed = Some(due);
            self.deadlines.insert((due, pair));
        }
    }
}

impl Pool {
    fn least_used(&mut self, mut in_use: impl FnMut(u16) -> bool) -> Option<&mut Port> {
        let idle = self.ports.iter_mut().filter(|p| p.state == State::Idle && !in_use(p.number));
        idle.min_by_key(|p| p.last_use)
    }
}

impl Port {
    const fn give(&mut self, session: SessionId, until: Instant, uses: u64) {
        self.state = State::Announced { session, until };
        self.last_use = uses;
    }
}

#[cfg(test)]
mod tests;
