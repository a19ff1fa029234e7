//! One router in one group, as we see it.

use super::element::{AssignmentKey, MaskValueSet};
use super::negotiate::Methods;
use super::table::Share;
use crate::time::{Duration, Instant};
use std::net::Ipv4Addr;

/// How far we have come with a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has not answered yet, or must be met anew.
    Init,
    /// It answered; methods are chosen, our next HERE_I_AM echoes its Receive ID.
    Seen,
    /// It lists us among the usable caches.
    Usable,
    /// It redirects packets to us.
    Assigned,
    /// It has not answered three HERE_I_AMs.
    Silent,
    /// We have left.
    Left,
    /// It offers nothing that we can work with.
    Rejected,
}

impl State {
    /// The name in events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Seen => "seen",
            Self::Usable => "usable",
            Self::Assigned => "assigned",
            Self::Silent => "silent",
            Self::Left => "left",
            Self::Rejected => "rejected",
        }
    }

    /// The router answers us.
    pub(super) const fn is_heard(self) -> bool {
        matches!(self, Self::Seen | Self::Usable | Self::Assigned)
    }

    /// The router counts us among its caches.
    pub(super) const fn is_usable(self) -> bool {
        matches!(self, Self::Usable | Self::Assigned)
    }
}

/// Messages exchanged with one router in one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerCounters {
    /// HERE_I_AMs sent.
    pub here_i_am: u64,
    /// I_SEE_YOUs taken.
    pub i_see_you: u64,
    /// REDIRECT_ASSIGNs sent.
    pub redirect_assign: u64,
    /// REMOVAL_QUERYs answered.
    pub removal_query: u64,
}

/// A cache in a router's view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    pub address: Ipv4Addr,
    pub weight: u16,
    /// What is assigned to it now, as far as the router tells.
    pub share: Share,
}

/// Where our REDIRECT_ASSIGN is with one router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Redirected {
    /// None is to be sent.
    Idle,
    /// To be sent as soon as no HERE_I_AM is under way: its answer would make the Receive ID stale.
    Due,
    /// Sent at `at`; `answered`: an I_SEE_YOU came since and did not show our key.
    Sent { at: Instant, answered: bool },
    /// The router shows our key.
    Shown,
}

/// The same HERE_I_AM several times, in answer to a REMOVAL_QUERY.
#[derive(Debug, Clone)]
pub(super) struct Burst {
    pub payload: Vec<u8>,
    pub left: u8,
    pub at: Instant,
}

/// Our leave-taking.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaving {
    pub sent: u8,
    pub next: Instant,
    pub until: Instant,
}

/// One router in one group.
#[derive(Debug)]
pub(super) struct Peer {
    /// The configured address: where we send to.
    pub address: Ipv4Addr,
    /// What the router calls itself; kept when it falls silent, so that packets still find back.
    pub router_id: Option<Ipv4Addr>,
    /// Of its last message; 0: we do not list it in our view.
    pub receive_id: u32,
    pub state: State,
    /// Reason of the last change of state.
    pub reason: String,
    pub member_change: u32,
    pub key: AssignmentKey,
    /// The usable caches that it lists.
    pub members: Vec<Member>,
    pub methods: Option<Methods>,
    /// It sent capabilities: so do we.
    pub negotiates: bool,
    /// When the next HERE_I_AM is due.
    pub next: Instant,
    /// HERE_I_AMs since its last message.
    pub unanswered: u32,
    /// Its silence is counted from here; `None` before the first HERE_I_AM.
    pub since: Option<Instant>,
    /// When the last HERE_I_AM was sent.
    pub sent: Instant,
    /// The last HERE_I_AM that was sent out of turn.
    pub extra: Option<Instant>,
    /// Until then it is left alone, after a rejection.
    pub quiet_until: Option<Instant>,
    pub usable_since: Instant,
    pub burst: Option<Burst>,
    pub leaving: Option<Leaving>,
    pub redirected: Redirected,
    /// What it redirects to us, as far as we can tell.
    pub share: Share,
    /// The mask assignment in force, if it told one.
    pub map: Option<Vec<MaskValueSet>>,
    pub counters: PeerCounters,
}

impl Peer {
    pub(super) fn new(address: Ipv4Addr) -> Self {
        Self {
            address,
            router_id: None,
            receive_id: 0,
            state: State::Init,
            reason: String::new(),
            member_change: 0,
            key: AssignmentKey::NONE,
            members: Vec::new(),
            methods: None,
            negotiates: false,
            next: Instant::ZERO,
            unanswered: 0,
            since: None,
            sent: Instant::ZERO,
            extra: None,
            quiet_until: None,
            usable_since: Instant::ZERO,
            burst: None,
            leaving: None,
            redirected: Redirected::Idle,
            share: Share::NONE,
            map: None,
            counters: PeerCounters::default(),
        }
    }

    /// Forgets what only holds while the router answers.
    pub(super) fn forget(&mut self) {
        self.share = Share::NONE;
        self.map = None;
        self.receive_id = 0;
        self.member_change = 0;
        self.key = AssignmentKey::NONE;
        self.members.clear();
        self.methods = None;
        self.negotiates = false;
        self.burst = None;
        self.redirected = Redirected::Idle;
    }

    /// When it counts as silent: 3 T after it was heard, and three HERE_I_AMs are unanswered of which the
    /// last had T/10 to be answered.
    pub(super) fn silent_at(&self, t: Duration) -> Option<Instant> {
        let since = self.since.filter(|_| self.is_awaited() && self.unanswered >= 3)?;
        Some((since + t * 3).max(self.sent + t / 10))
    }

    /// Whether 3 T passed without us: the process was suspended, or the clock jumped. The silence of that
    /// time was ours.
    pub(super) fn is_stale(&self, now: Instant, t: Duration) -> bool {
        let long = self.since.is_some_and(|since| now.since(since) >= t * 3);
        self.is_awaited() && long && self.unanswered < 3 && now.since(self.next) >= t
    }

    fn is_awaited(&self) -> bool {
        (self.state == State::Init || self.state.is_heard()) && self.leaving.is_none()
    }

    /// When an assignment that the router does not show is sent again.
    pub(super) fn resend_at(&self, t: Duration) -> Option<Instant> {
        match self.redirected {
            Redirected::Sent { at, answered: true } => Some(at + t),
            _ => None,
        }
    }

    /// The earliest of its timers.
    pub(super) fn timeout(&self, t: Duration) -> Option<(Instant, &'static str)> {
        if self.state == State::Left {
            return None;
        }
        if let Some(leaving) = self.leaving {
            let next = if leaving.sent < 3 { leaving.next.min(leaving.until) } else { leaving.until };
            return Some((next, "wccp: leaving the group"));
        }
        let timers = [
            Some((self.next, "wccp: HERE_I_AM")),
            self.silent_at(t).map(|at| (at, "wccp: router silent")),
            self.burst.as_ref().map(|burst| (burst.at, "wccp: answer to a query")),
            self.resend_at(t).map(|at| (at, "wccp: assignment not shown")),
        ];
        timers.into_iter().flatten().min_by_key(|timer| timer.0)
    }
}
