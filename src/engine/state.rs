//! The engine where routers redirect packets to us: one interface, sessions that end here.

use super::drops::Drops;
use super::guard::LoopGuard;
use super::icmp::Paths;
use super::inspect::Inspect;
use super::link::{Link, Out};
use super::local::LONGEST_DATAGRAM;
use super::place::Core;
use super::routers::Routers;
use super::settings::{Control, RedirectedSettings};
use super::turn::Turn;
use crate::event::{Event, What};
use crate::flow::FlowTable;
use crate::frag::Reassembly;
use crate::rng::{Keyed, Purpose};
use crate::session::Registry;
use crate::time::{Duration, Instant, Pace};
use crate::wccp;
use std::sync::Arc;

/// The core of a worker to which packets are redirected.
pub(super) struct Redirected {
    pub(super) link: Link,
    pub(super) flows: Arc<FlowTable>,
    pub(super) sessions: Registry,
    pub(super) inspect: Option<Inspect>,
    /// The service groups' state machine; one worker has it.
    pub(super) wccp: Option<wccp::Client>,
    /// Nothing is negotiated: what comes to our MAC address was sent by a router's policy.
    pub(super) by_policy: bool,
    pub(super) routers: Routers,
    /// The MSS of translated connections toward redirected clients.
    pub(super) clamp: u16,
    pub(super) drops: Drops,
    pub(super) fragments: Reassembly,
    /// How large packets to routers may be.
    pub(super) paths: Paths,
    /// Errors about translated connections that went on to the end that they mean.
    pub(super) errors_mapped: u64,
    /// Bounds the ICMP errors that we send of our own.
    pub(super) errors: Pace,
    pub(super) keyed: Keyed,
    pub(super) owner_salt: u64,
    pub(super) worker: u16,
    pub(super) workers: u16,
    pub(super) returned: u64,
    pub(super) ip_id: u64,
    pub(super) backlog: bool,
    announced: bool,
}

impl Redirected {
    pub(super) fn new(
        settings: RedirectedSettings,
        keyed: Keyed,
        flows: Arc<FlowTable>,
    ) -> Result<Self, wccp::SettingsError> {
        let (worker, workers) = (settings.session.worker, settings.session.workers);
        let by_policy = settings.wccp.is_none();
        let routers = Routers::new(settings.wccp.as_ref().map_or(&[], |w| &w.routers));
        // Of several services the most careful one decides: a flow does not tell its service.
        let clamps = settings.session.services.iter().filter_map(|s| s.mss_clamp);
        let clamp = clamps.min().unwrap_or(u16::MAX);
        let wccp = settings.wccp.filter(|_| worker == 0).map(wccp::Client::new).transpose()?;
        let mut link = Link::new(settings.interface, LoopGuard::new(keyed));
        routers.all().iter().for_each(|r| link.neighbours.keep(r.address.into()));
        Ok(Self {
            link,
            sessions: Registry::new(settings.session, flows.clone(), keyed),
            inspect: settings.inspect.map(|i| Inspect::new(i, flows.clone(), keyed)),
            flows,
            wccp,
            by_policy,
            routers,
            errors: Pace::default(),
            clamp,
            drops: Drops::default(),
            fragments: Reassembly::new(LONGEST_DATAGRAM),
            paths: Paths::default(),
            errors_mapped: 0,
            owner_salt: keyed.value(Purpose::Owner, b"owner", 0),
            keyed,
            worker,
            workers,
            returned: 0,
            ip_id: 0,
            backlog: false,
            announced: false,
        })
    }

    fn timeouts(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        self.pieces_expire(now);
        let Some(tx) = turn.tx.first_mut() else { return };
        let mut out = Out { now, link: &mut self.link, tx, drops: &mut self.drops };
        self.sessions.serve_touched(now, &mut out);
        self.sessions.handle_timeout(now, &mut out);
        let _ = out.neighbours();
        self.backlog = out.backlog();
        if let Some(w) = &mut self.wccp
            && w.poll_timeout().is_some_and(|due| due.0 <= now)
        {
            w.handle_timeout(now, turn.events);
            self.tell_routers(turn);
        }
        self.send_wccp(turn);
    }
}

impl Core for Redirected {
    fn turn(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        if !self.announced {
            self.announced = true;
            // Everybody on the link learns where our address is, above all a router that knew a dead
            // predecessor's MAC (gratuitous ARP, RFC 5227 section 3).
            if self.worker == 0 {
                self.announce(turn);
            }
        }
        for control in turn.control {
            match control {
                Control::Drain => {
                    self.sessions.drain();
                    self.inspect.iter_mut().for_each(Inspect::drain);
                    let what = What::Gateway { state: "draining", text: String::new() };
                    turn.events.push(Event { at: now, what });
                }
                Control::Leave => {
                    if let Some(w) = &mut self.wccp {
                        w.shutdown(now, turn.events);
                    }
                }
            }
        }
        for interface in 0..turn.rx.len() {
            let mut burst = std::mem::take(&mut turn.rx[interface]);
            for frame in burst.drain() {
                self.frame(turn, interface, frame);
            }
            turn.rx[interface] = burst;
        }
        for item in std::mem::take(turn.handoff_in) {
            self.handed(turn, item);
        }
        self.inspect_timeout(turn);
        self.timeouts(turn);
        self.sessions.take_events(turn.events);
        if let Some(inspect) = &mut self.inspect {
            inspect.take_events(turn.events);
        }
        while let Some(what) = self.link.neighbours.poll_event() {
            turn.events.push(Event { at: now, what });
        }
        self.drops.tell(now, turn.events);
    }

    fn presume_l2(&mut self, return_l2: bool) {
        self.routers.presume_l2(return_l2);
    }

    fn poll_timeout(&self, now: Instant) -> Option<(Instant, &'static str)> {
        let backlog = self.backlog.then_some((now + Duration::from_millis(1), "packets wait for room"));
        let wccp = self.wccp.as_ref().and_then(wccp::Client::poll_timeout);
        let pieces = self.fragments.poll_timeout().map(|at| (at, "pieces of a packet do not come"));
        let inspect = self.inspect.as_ref().and_then(Inspect::poll_timeout);
        [backlog, wccp, pieces, inspect, self.sessions.poll_timeout(), self.link.neighbours.poll_timeout()]
            .into_iter()
            .flatten()
            .min_by_key(|t| t.0)
    }

    fn sessions(&self) -> usize {
        self.sessions.len() + self.inspect.as_ref().map_or(0, Inspect::sessions)
    }

    fn busy(&self) -> usize {
        let inspected = self.inspect.as_ref().map_or(0, Inspect::busy);
        self.sessions.len() + self.sessions.remains().0 + self.sessions.live_flows() + inspected
    }

    fn registry(&self) -> Option<&Registry> {
        Some(&self.sessions)
    }

    fn occupied(&self) -> Vec<(&'static str, usize)> {
        let mut all = self.sessions.occupied().to_vec();
        all.extend([
            ("entries of the flow table", self.flows.len()),
            ("fragmented packets", self.fragments.len()),
            ("packets that wait for a neighbour", self.link.waiting()),
        ]);
        all.extend(self.inspect.iter().flat_map(Inspect::occupied));
        all
    }

    fn has_left(&self) -> bool {
        self.wccp.as_ref().is_none_or(wccp::Client::is_left)
    }

    fn counters(&self) -> Vec<(String, u64)> {
        let c = self.sessions.counters();
        let mut all: Vec<(String, u64)> = vec![
            ("returned".into(), self.returned),
            ("syns".into(), c.syns),
            ("sessions".into(), c.sessions),
            ("sessions_refused".into(), c.sessions_refused),
            ("half_open_evicted".into(), c.half_open_evicted),
            ("translated".into(), c.translated),
            ("relayed".into(), c.relayed),
            ("steered".into(), c.steered),
            ("waited".into(), c.waited),
            ("refused".into(), c.refused),
            ("not_ftp".into(), c.not_ftp),
            ("foreign_addresses".into(), c.foreign_addresses),
            ("denied_ports".into(), c.denied_ports),
            ("unasked_addresses".into(), c.unasked_addresses),
            ("runaways".into(), c.runaways),
            ("flows_refused".into(), c.flows_refused),
            ("late_syns".into(), c.late_syns),
            ("table_full".into(), c.table_full),
            ("service_cut".into(), c.service_cut),
            ("torn".into(), c.torn),
            ("errors_mapped".into(), self.errors_mapped),
            ("neighbours_untold".into(), self.link.neighbours.untold()),
        ];
        all.push(("reassembled".into(), self.fragments.counts().0));
        for &reason in super::DropReason::ALL {
            all.push((format!("drop_{}", reason.name()), self.drops.of(reason)));
        }
        for (name, n) in self.inspect.iter().flat_map(Inspect::counters) {
            // Of sessions that are counted alike, both kinds.
            match all.iter_mut().find(|c| c.0 == name) {
                Some(c) => c.1 += n,
                None => all.push((name, n)),
            }
        }
        if let Some(w) = &self.wccp {
            all.extend(w.counters().map(|(name, n)| (format!("wccp_{name}"), n)));
        }
        all
    }
}
