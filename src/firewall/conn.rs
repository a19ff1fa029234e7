//! TCP connections: what is known of each, and how its segments move it on.

use super::nat::Plan;
use super::packet::Side;
use super::settings::Timers;
use crate::alg::Direction;
use crate::flow::{ByteMeter, FlowKey, FlowView, Leg, SlotRef, Sticky, TimerId};
use crate::time::{Duration, Instant};
use crate::wire::Segment;
use crate::wire::tcp::{ACK, FIN, RST, SYN};
use std::net::SocketAddr;

/// How long a connection that has ended stays known: segments may still come, and its ports rest meanwhile.
pub(super) const TIME_WAIT: Duration = Duration::from_secs(120);
/// What ended by a reset is over as its receiver believed that, which nobody here sees: if more comes, it did not.
pub(super) const RESET: &str = "reset";
/// How long nobody may have said anything after a reset for the same ends to begin anew, and for what can be had again to
/// be given back. Who lives mostly says something by then, be it that the reset has the wrong number (RFC 5961 3.2); but
/// who finds it beyond the window, or unsigned, says nothing, so it is no end yet.
const DOUBT: Duration = Duration::from_secs(1);
/// How often a data connection is looked at. At 100 Gbit/s the bytes between two looks stay below what the meter can
/// tell apart.
const LOOK: Duration = Duration::from_millis(250);
/// How far a reset's number may be from what is known to make us doubt. What is known is the first segment of a tenth of
/// a second, and data connections are the fast ones. It is from anybody, so it proves nothing.
const RST_SLACK: u32 = 1 << 20;
const RST_SLACK_DATA: u32 = 1 << 24;
/// The same of a FIN: one that is forged only makes us wait.
const FIN_SLACK: u32 = 1 << 30;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// A SYN came, with this number.
    Asked(u32),
    /// It was answered.
    Answered,
    /// And that acknowledged.
    Open,
    /// One end has closed.
    Closing,
    /// It is over since then.
    Over(Instant, &'static str),
}

/// What a connection is for.
#[derive(Debug)]
pub(super) enum Kind {
    /// Anything.
    Plain,
    /// An inspected control connection; the session's number as long as it lives.
    Control(Option<u32>),
    /// A data connection.
    Data(Box<Data>),
}

/// A data connection.
#[derive(Debug)]
pub(super) struct Data {
    /// As the sessions count.
    pub(super) number: u32,
    /// Which way its payload may go is to be asked.
    pub(super) one_way: bool,
    /// Who opened it is the client.
    pub(super) by_client: bool,
    /// It was answered at all.
    pub(super) answered: bool,
    /// Its end was told.
    pub(super) told: bool,
    /// Of who opened it, and of the other.
    pub(super) meters: [ByteMeter; 2],
}

impl Data {
    /// Which way a segment of end `end` (0: who opened it) goes.
    pub(super) const fn direction(&self, end: usize) -> Direction {
        if (end == 0) == self.by_client { Direction::ToServer } else { Direction::ToClient }
    }

    /// Payload bytes toward the server, toward the client.
    pub(super) fn bytes(&self) -> [u64; 2] {
        let [a, b] = self.meters.map(|m| m.bytes());
        if self.by_client { [a, b] } else { [b, a] }
    }
}

/// A TCP connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) from: Side,
    /// Its two ends as they are known where it comes from.
    pub(super) src: SocketAddr,
    pub(super) dst: SocketAddr,
    pub(super) plan: Plan,
    /// Segments of who opened it, and of the other.
    pub(super) slots: [SlotRef; 2],
    pub(super) state: State,
    pub(super) kind: Kind,
    /// The service, of a control connection.
    pub(super) service: Option<usize>,
    pub(super) timer: Option<TimerId>,
    /// A reset may have ended it then; nobody has said anything since.
    pub(super) doubt: Option<Instant>,
    /// Who opened it signs its segments, the other does, and takes only signed ones.
    pub(super) signs: [bool; 2],
    /// Its client is told that there is no room, in a place that is kept for that.
    pub(super) turned: bool,
    /// It counts as its source's.
    pub(super) held: bool,
    /// Tells connections of one number apart.
    pub(super) ordinal: u64,
}

/// What a segment made of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// Nothing that matters elsewhere.
    No,
    /// Another state.
    On,
    /// A reset came that may have ended it.
    Doubted,
    /// It ended with this segment.
    Ended,
    /// It had ended, or was never answered, and is opened anew.
    Anew,
}

/// The key of segments that come from `side`. The side tells one connection's segments on both sides of a bridge apart,
/// should they come back another way.
pub(super) fn key(side: Side, src: SocketAddr, dst: SocketAddr) -> Option<FlowKey> {
    FlowKey::tcp(src, dst, Leg::Direct, if side == Side::Inside { 1 } else { 2 })
}

impl Conn {
    /// The keys of its two directions.
    pub(super) fn keys(from: Side, src: SocketAddr, dst: SocketAddr, plan: &Plan) -> Option<[FlowKey; 2]> {
        Some([key(from, src, dst)?, key(plan.to, plan.dst, plan.src)?])
    }

    /// Takes in a segment of end `end` whose checksum is right; `view` is what is known of that end.
    pub(super) fn segment(&mut self, now: Instant, end: usize, seg: &Segment, view: &FlowView) -> Moved {
        let syn = seg.flags & (SYN | ACK | RST);
        let before = self.state;
        self.state = match before {
            State::Over(..) if syn == SYN => return Moved::Anew,
            State::Over(..) => before,
            State::Asked(isn) => match (end, seg.has(RST)) {
                (0, false) if syn == SYN && seg.seq != isn => return Moved::Anew,
                (1, false) if syn == SYN || syn == SYN | ACK && seg.ack == isn.wrapping_add(1) => {
                    State::Answered
                }
                (0, true) if seg.seq == isn.wrapping_add(1) => State::Over(now, "aborted"),
                (1, true) if seg.has(ACK) && seg.ack == isn.wrapping_add(1) => State::Over(now, RESET),
                _ => before,
            },
            _ if seg.has(RST) => {
                let slack = if matches!(self.kind, Kind::Data(_)) { RST_SLACK_DATA } else { RST_SLACK };
                return if near(seg.seq, view, slack) { Moved::Doubted } else { Moved::No };
            }
            State::Answered if end == 0 && syn == ACK => State::Open,
            _ => before,
        };
        if closes(seg, view) && !matches!(self.state, State::Asked(_) | State::Over(..)) {
            self.state = State::Closing;
        }
        match (before, self.state) {
            (a, b) if a == b => Moved::No,
            (_, State::Over(..)) => Moved::Ended,
            _ => Moved::On,
        }
    }

    /// Whether a reset came, and then nobody said anything for long enough to be asked whether it is over.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        self.doubt.is_some_and(|at| now.since(at) >= DOUBT)
    }

    /// How it ended, if it is forgotten now; `otherwise` if nothing tells.
    pub(super) fn verdict(&self, otherwise: &'static str) -> &'static str {
        match (self.state, self.doubt) {
            (State::Over(_, verdict), _) => verdict,
            (_, Some(_)) => RESET,
            _ => otherwise,
        }
    }

    /// Both ends have closed.
    pub(super) fn closed(&mut self, now: Instant, views: &[FlowView; 2]) -> bool {
        let both = self.state == State::Closing && views.iter().all(|v| v.live.sticky.has(Sticky::FIN));
        if both {
            self.state = State::Over(now, "complete");
        }
        both
    }

    /// When it is to be looked at, if its last segment came `idle` ago.
    pub(super) fn next_look(&self, now: Instant, idle: Duration, timers: &Timers) -> Instant {
        let patience = match (self.state, &self.kind) {
            (State::Over(_, RESET), _) => return now + TIME_WAIT.saturating_sub(idle),
            (State::Over(at, _), _) => return at + TIME_WAIT,
            (_, Kind::Data(_)) => return now + LOOK,
            _ => self.patience(timers),
        };
        now + patience.saturating_sub(idle)
    }

    /// How long it may be silent.
    pub(super) fn patience(&self, timers: &Timers) -> Duration {
        let stands = self.state == State::Open && self.doubt.is_none();
        if stands { timers.established } else { timers.transitory }
    }

    /// Whether its handshake is under way, so that nothing can have been said in it.
    pub(super) const fn is_half_open(&self) -> bool {
        matches!(self.state, State::Asked(_) | State::Answered)
    }

    pub(super) const fn is_asked(&self) -> bool {
        matches!(self.state, State::Asked(_))
    }

    pub(super) const fn is_over(&self) -> bool {
        matches!(self.state, State::Over(..))
    }
}

/// Whether a segment's end closes with it, as far as can be told.
pub(super) fn closes(seg: &Segment, view: &FlowView) -> bool {
    seg.has(FIN) && near(seg.seq, view, FIN_SLACK)
}

fn near(seq: u32, view: &FlowView, slack: u32) -> bool {
    view.live.first_seq.is_some() && (seq.wrapping_sub(view.live.last_seq) as i32).unsigned_abs() < slack
}
