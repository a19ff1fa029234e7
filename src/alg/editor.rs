//! Who decides what becomes of a line.

use super::segment::Direction;
use crate::time::Instant;

/// How a line ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With its LF.
    Whole,
    /// The sender closed without a LF.
    Closed,
    /// It is longer than [`Limits::line`](super::Limits::line), and goes on.
    Overlong,
    /// Its end did not come within [`Limits::line_time`](super::Limits::line_time).
    Late,
}

/// A line as its sender wrote it, Telnet sequences and its end included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Where it begins: bytes of the stream before it.
    pub at: u64,
    /// How it ended.
    pub end: End,
    /// It waited as long as a line may: [`Verdict::Hold`] is no answer any more.
    pub due: bool,
}

/// What becomes of a line. A decision is made once and stands, however often the line is sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on as it is. One that is overlong or late goes on, whatever it is, up to the next LF.
    Keep,
    /// These bytes go on instead. Not for a line that is overlong or late.
    Replace(Vec<u8>),
    /// Nothing goes on, and its sender gets these bytes in its own direction, between two lines. Of one that is
    /// overlong or late nothing goes on up to the next LF.
    Swallow(Vec<u8>),
    /// It waits, and what follows it. The question is asked again after every segment of either direction, at last
    /// when [`Limits::line_time`](super::Limits::line_time) is over: then ([`Line::due`]) it must be answered.
    Hold,
    /// Likewise, but at last at this time, which may be sooner.
    Until(Instant),
    /// Both ends are reset. Whatever else does not fit a line counts as this.
    Reset,
}

/// What bytes that may be no lines are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raw {
    /// Raw, all of them.
    All,
    /// So many are raw; behind them a line begins. They may be none, or all that were shown.
    LinesAfter(usize),
    /// Both ends are reset, and none of them goes on.
    Reset,
}

/// Rules for the lines of one control connection.
pub trait Editor {
    /// Whether a line that begins with `start`, and is not whole yet, may become one that is not kept. If not, its
    /// bytes go on as they come, and [`passed`](Self::passed) tells of it at its end.
    fn wants(&self, dir: Direction, start: &[u8]) -> bool;

    /// Decides. Lines of a direction come in their order, each once but for [`Verdict::Hold`].
    fn line(&mut self, now: Instant, dir: Direction, line: Line<'_>) -> Verdict;

    /// A line went on while it came, and ended: its first bytes, at most [`Limits::line`](super::Limits::line).
    /// Not told of one that its sender closed in the midst of.
    fn passed(&mut self, now: Instant, dir: Direction, line: Line<'_>);

    /// Whether a direction's bytes are no lines now, but raw: encrypted. Asked where a line would begin, and so of
    /// use right behind one that is decided, of either direction; one that is passing ends first.
    fn is_raw(&self, dir: Direction) -> bool {
        let _ = dir;
        false
    }

    /// What the client is to be told of the editor's own accord, by now. Asked whenever
    /// [`Alg::timeout`](super::Alg::timeout) is called, which whoever owns the editor does when it is due; lines that
    /// [hold](Verdict::Hold) are asked about again.
    fn due(&mut self, now: Instant) -> Option<Vec<u8>> {
        let _ = now;
        None
    }

    /// Whether what is decided means anything: if not, urgent marks stay as they are.
    fn reads(&self, dir: Direction) -> bool {
        let _ = dir;
        true
    }

    /// Raw bytes, in order, each shown once, and before it goes on. What is raw goes on as it is; what is behind it
    /// is a line's begin, and nothing of that has left.
    fn raw(&mut self, now: Instant, dir: Direction, bytes: &[u8]) -> Raw {
        let _ = (now, dir, bytes);
        Raw::All
    }

    /// Whether an answer of ours may stand behind the raw bytes that were shown last. If not it waits until it may, or
    /// the direction has lines again.
    fn takes_answer(&self, dir: Direction) -> bool {
        let _ = dir;
        false
    }
}
