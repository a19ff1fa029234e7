//! One control connection.

use super::doors::State;
use super::held::Part;
use super::turned::{TIME, Turned};
use super::wire::Style;
use super::{Path, Shared, Side};
use crate::alg::rules::Rules;
use crate::alg::{Alg, Direction};
use crate::event::SessionId;
use crate::flow::TimerId;
use crate::time::{Duration, Instant};

/// How long the numbers of an ended connection are remembered: a FIN whose acknowledgement was lost comes again.
pub(super) const LINGER: Duration = Duration::from_secs(10);

/// Who decides about lines.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "those that are turned away are few")]
pub(super) enum Mind {
    /// FTP's rules.
    Rules(Rules),
    /// Nobody is served.
    Turned(Turned),
}

/// How far a control connection has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// The client has not answered the server's SYN.
    Opening,
    /// The server has not said anything.
    Ungreeted,
    /// It has.
    Live,
    /// It has ended, then.
    Over(Instant),
    /// It was given up, and the firewall is to be told.
    Gone,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Session<W> {
    pub(super) id: SessionId,
    pub(super) service: usize,
    pub(super) path: Path,
    pub(super) alg: Alg,
    pub(super) mind: Mind,
    pub(super) doors: State,
    styles: [Option<Style<W>>; 2],
    pub(super) life: Life,
    pub(super) begun: Instant,
    /// When the last segment came, or the last data ended.
    pub(super) last: Instant,
    pub(super) timer: Option<TimerId>,
    /// When a segment came last: unlike [`last`](Self::last), no data moves it.
    pub(super) spoke: Instant,
    /// What [`memory`](Self::memory) was when it was counted last.
    pub(super) held: Part,
    /// Packets of ours so far.
    pub(super) packets: u32,
    /// Which directions have closed, as far as anybody can tell who does not read them.
    fins: [bool; 2],
    /// When it was last told of data that was refused.
    pub(super) told: Option<Instant>,
    /// No data may pass between its ends now, whatever a rule says; noted by [`Shared::bar`].
    pub(super) bars: bool,
}

const fn index(dir: Direction) -> usize {
    match dir {
        Direction::ToServer => 0,
        Direction::ToClient => 1,
    }
}

impl Path {
    /// Where a direction's packets go.
    pub(super) fn side(&self, dir: Direction) -> Side {
        match dir {
            Direction::ToServer => self.server_side,
            Direction::ToClient => self.client_side,
        }
    }
}

impl<W: Copy> Session<W> {
    pub(super) fn new(now: Instant, id: SessionId, service: usize, path: Path, alg: Alg, mind: Mind) -> Self {
        Self {
            id,
            service,
            path,
            alg,
            mind,
            doors: State::default(),
            styles: [None, None],
            life: Life::Opening,
            begun: now,
            last: now,
            timer: None,
            spoke: now,
            held: Part::default(),
            packets: 0,
            fins: [false; 2],
            told: None,
            bars: false,
        }
    }

    pub(super) fn style(&self, dir: Direction) -> Option<&Style<W>> {
        self.styles[index(dir)].as_ref()
    }

    /// Takes the style of a packet that came. False if the packet is one that will not arrive.
    pub(super) fn wears(&mut self, dir: Direction, style: Style<W>) -> bool {
        let old = self.styles[index(dir)];
        if style.dies_early(old.as_ref()) {
            return false;
        }
        self.styles[index(dir)] = Some(style.after(old.as_ref()));
        true
    }

    /// Notes a FIN; whether both directions have closed.
    pub(super) fn closes(&mut self, dir: Direction) -> bool {
        self.fins[index(dir)] = true;
        self.fins == [true; 2]
    }

    /// Bytes held of its lines, beyond the value itself.
    pub(super) fn memory(&self) -> usize {
        let rules = if let Mind::Rules(rules) = &self.mind { rules.memory() } else { 0 };
        self.alg.memory() + rules
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.life, Life::Over(_) | Life::Gone)
    }

    /// Whether nothing that is said can be read.
    pub(super) fn is_opaque(&self) -> bool {
        self.alg.is_opaque() || matches!(&self.mind, Mind::Rules(r) if r.is_opaque())
    }

    /// When both ends are to be reset, unless they are over before, and why.
    pub(super) fn ended(&self) -> Option<(Instant, &'static str)> {
        match &self.mind {
            Mind::Rules(rules) => rules.ended(),
            Mind::Turned(turned) => turned.until().map(|at| (at, turned.why())),
        }
    }

    /// When its rules want to be asked.
    pub(super) fn rules_due(&self) -> Option<Instant> {
        if let Mind::Rules(rules) = &self.mind { rules.next_deadline() } else { None }
    }

    /// When it is over for want of a word.
    pub(super) fn patience(&self, shared: &Shared) -> Instant {
        match self.life {
            // There are few places for those that are turned away, and nobody needs one who does not come.
            Life::Opening if matches!(self.mind, Mind::Turned(_)) => self.begun + TIME,
            Life::Opening | Life::Ungreeted => self.begun + shared.timers.greeting,
            Life::Live => self.last + shared.timers.control_idle,
            Life::Over(at) => at + LINGER,
            Life::Gone => Instant::FAR_FUTURE,
        }
    }

    /// When something is due.
    pub(super) fn deadline(&self, shared: &Shared) -> Instant {
        let patience = self.patience(shared);
        if self.is_over() {
            return patience;
        }
        let ended = self.ended().map(|(at, _)| at);
        let others = [self.alg.next_deadline(), self.rules_due(), self.doors.until(), ended];
        others.into_iter().flatten().fold(patience, Instant::min)
    }

    /// Whether data is under way, so that silence on the control connection is no idleness.
    pub(super) fn moves_data(&self, shared: &Shared) -> bool {
        self.doors.datas.iter().any(|d| shared.datas.get(*d).is_some_and(|d| !d.is_ended()))
    }
}
