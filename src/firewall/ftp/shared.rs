//! What all inspected sessions share.

use super::super::packet::Side;
use super::super::settings::{Data, Limits, Service, Settings, Timers};
use super::data::DataConn;
use super::exchange::Offer;
use super::{Gone, Path};
use crate::event::{Event, SessionId, What};
use crate::flow::{
    ExpectKey, Expectations, Leg, Pair, Salted, Shares, Slab, SteerConfig, Steering, TimerId, Wheel,
};
use crate::rng::{Keyed, Purpose};
use crate::time::{Duration, Instant};
use hashbrown::HashMap;
use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

/// Data connections of one session that live, or whose final reply is awaited.
pub(super) const DATA_PER_SESSION: usize = 16;
/// Timers in all.
const TIMERS: usize = 1 << 20;

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// A session's next deadline.
    Session(u32),
    /// The end of a data connection whose control connection was reset.
    Data(u32),
}

/// What an expectation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expect {
    /// Whose.
    pub(super) session: u32,
    /// It may be used: the server accepted it.
    pub(super) open: bool,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counts since the start.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub(super) struct Counters {
            $($(#[$doc])* pub(super) $name: u64,)*
        }

        impl Counters {
            /// By name, in a fixed order.
            pub(super) fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

counters! {
    /// Sessions that began.
    sessions,
    /// Those that were told that there are too many.
    sessions_refused,
    /// Half-open ones that gave way to newer ones.
    half_open_evicted,
    /// Announcements: what names an address and port for a data connection, or should.
    expectations_announced,
    /// Expectations that were opened.
    expectations_opened,
    /// Those that were opened again, since their SYN met nobody.
    expectations_reopened,
    /// Those that their SYN used.
    expectations_used,
    /// Those whose SYN did not come in time.
    expectations_expired,
    /// Those that ended before, and announcements that ended before one was opened.
    expectations_superseded,
    /// Announcements that got none: a rule or the server refused them, or a limit, or for want of a port.
    expectations_refused,
    /// Announcements that wait, or waited, for a port to be steered to.
    expectations_waited,
    /// Announcements whose data goes another way than through here.
    expectations_elsewhere,
    /// SYNs whose announcement had ended, refused.
    late_syns,
    /// SYNs from a source port that active data does not come from, refused.
    source_ports_refused,
    /// SYNs that a static data rule admitted.
    static_admitted,
    /// Data connections refused because their control connection is encrypted.
    encrypted_refused,
    /// Data connections between the ends of a session that had announced no such thing, refused.
    unannounced_refused,
    /// Data connections refused because their session had too many, or for want of a place among all connections.
    data_refused,
    /// Announcements whose data does not come here.
    not_redirected,
    /// Data connections that were ended after their control connection was reset.
    orphans_ended,
    /// Segments that were to be heard here and nowhere else.
    dying_segments,
    /// Sessions that nobody greeted in time.
    greeting_timeouts,
    /// Sessions without a segment for too long.
    idle_timeouts,
    /// Sessions that held more than their share when all together held too much.
    held_ended,
}

/// The parts that sessions reach beside their own state.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) services: Vec<Service>,
    pub(super) rules: Vec<Data>,
    pub(super) limits: Limits,
    pub(super) timers: Timers,
    pub(super) hop: bool,
    pub(super) keyed: Keyed,
    pub(super) expected: Expectations<Expect>,
    /// Expectations of each client.
    pub(super) announced: Shares,
    pub(super) steering: Vec<Steering>,
    /// Live active data connections by pair and the port that they leave from.
    pub(super) leaving: HashMap<(Pair, u16), u32, Salted>,
    /// What servers listen for that may be named to others, by client and name.
    pub(super) offers: HashMap<(IpAddr, SocketAddr), Offer, Salted>,
    /// Sessions whose offer another one took.
    pub(super) lent: Vec<u32>,
    pub(super) datas: Slab<DataConn>,
    /// Whether there is no room for a passive data connection, an active one, of the session at work.
    pub(super) full: [bool; 2],
    /// Sessions by who may open a data connection to whom, as the SYN shows them.
    pub(super) pairs: BTreeSet<(IpAddr, IpAddr, u32)>,
    /// The same of sessions that [bar](super::session::Session::bars) data, by who the ends are.
    pub(super) barred: BTreeSet<(IpAddr, IpAddr, u32)>,
    pub(super) wheel: Wheel<Timer>,
    pub(super) counters: Counters,
    pub(super) events: Vec<Event>,
    pub(super) gone: VecDeque<Gone>,
}

impl Shared {
    pub(super) fn new(settings: &Settings, keyed: Keyed) -> Self {
        let salt = keyed.value(Purpose::Salt, b"inspected sessions", 0);
        let t = &settings.timers;
        let steering = |s: &Service| {
            Steering::new(SteerConfig {
                timeout: t.steer_timeout,
                wait: t.steer_wait,
                quarantine: t.quarantine,
                // Every session that a client may have can wait, each for one port.
                waiters: settings.limits.sessions_per_client,
                ..SteerConfig::new(s.data_ports.clone())
            })
        };
        Self {
            // Where client and server are on one side, both names of the server's are expected.
            expected: Expectations::new(settings.limits.expectations.saturating_mul(2), 2, salt),
            announced: Shares::new(salt),
            steering: settings.services.iter().map(steering).collect(),
            leaving: HashMap::with_hasher(Salted::new(salt)),
            offers: HashMap::with_hasher(Salted::new(salt)),
            lent: Vec::new(),
            datas: Slab::default(),
            full: [false; 2],
            pairs: BTreeSet::new(),
            barred: BTreeSet::new(),
            wheel: Wheel::new(Duration::from_millis(5), 4096, TIMERS),
            counters: Counters::default(),
            events: Vec::new(),
            gone: VecDeque::new(),
            services: settings.services.clone(),
            rules: settings.filter.data.clone(),
            limits: settings.limits.clone(),
            timers: settings.timers.clone(),
            hop: settings.hop,
            keyed,
        }
    }

    pub(super) fn event(&mut self, at: Instant, what: What) {
        self.events.push(Event { at, what });
    }

    /// Tells what became of an announcement, and counts it: nowhere else is either done.
    pub(super) fn expectation(
        &mut self,
        now: Instant,
        session: SessionId,
        state: &'static str,
        ends: (SocketAddr, Option<SocketAddr>),
        reason: &str,
    ) {
        let c = &mut self.counters;
        let counter = match state {
            "opened" => &mut c.expectations_opened,
            "reopened" => &mut c.expectations_reopened,
            "used" => &mut c.expectations_used,
            "expired" => &mut c.expectations_expired,
            "superseded" => &mut c.expectations_superseded,
            "waiting" => &mut c.expectations_waited,
            "elsewhere" => &mut c.expectations_elsewhere,
            _ => &mut c.expectations_refused,
        };
        *counter += 1;
        self.data_event(now, session, state, ends, reason);
    }

    /// Tells of a data connection that was announced by nobody: a static rule admitted it, or it was refused.
    pub(super) fn data_event(
        &mut self,
        now: Instant,
        session: SessionId,
        state: &'static str,
        ends: (SocketAddr, Option<SocketAddr>),
        reason: &str,
    ) {
        let (client_side, server_side) = ends;
        let reason = reason.to_owned();
        self.event(now, What::Expectation { session, state, client_side, server_side, reason });
    }

    /// Sets a timer, or sets it anew.
    pub(super) fn arm(&mut self, timer: &mut Option<TimerId>, at: Instant, what: Timer) {
        if !timer.is_some_and(|t| self.wheel.rearm(t, at)) {
            *timer = self.wheel.insert(at, what);
        }
    }

    /// Notes who may open data connections of a session, or no more.
    pub(super) fn pair(&mut self, path: &Path, session: u32, lives: bool) {
        let there = (path.client.ip(), path.server_told.ip(), session);
        let back = (path.server.ip(), path.client_told.ip(), session);
        for pair in [there, back] {
            if lives {
                self.pairs.insert(pair);
            } else {
                self.pairs.remove(&pair);
            }
        }
    }

    /// Notes that no data may pass between a session's ends, or that it may.
    pub(super) fn bar(&mut self, path: &Path, session: u32, bars: bool) {
        let (client, server) = (path.client.ip(), path.server.ip());
        // The name that the client has for the server leads there by a static data rule only.
        for (src, dst) in [(client, server), (client, path.server_told.ip()), (server, client)] {
            if bars {
                self.barred.insert((src, dst, session));
            } else {
                self.barred.remove(&(src, dst, session));
            }
        }
    }

    /// A session that lets no data pass from `src` to `dst`.
    pub(super) fn barred(&self, src: IpAddr, dst: IpAddr) -> Option<u32> {
        self.barred.range((src, dst, 0)..=(src, dst, u32::MAX)).next().map(|(_, _, session)| *session)
    }

    /// Sessions whose ends, as a SYN shows them, are these; at most a few are looked at.
    pub(super) fn sessions_of(&self, src: IpAddr, dst: IpAddr) -> impl Iterator<Item = u32> {
        self.pairs.range((src, dst, 0)..=(src, dst, u32::MAX)).map(|(_, _, session)| *session).take(64)
    }
}

/// What a SYN from `from` is looked up by.
pub(super) fn expect_key(from: Side, src: IpAddr, dst: SocketAddr) -> ExpectKey {
    // The two sides are the two ways that a SYN can come.
    let leg = match from {
        Side::Inside => Leg::Redirected,
        Side::Outside => Leg::Direct,
    };
    ExpectKey { client: src, server: dst.ip(), port: dst.port(), leg }
}
