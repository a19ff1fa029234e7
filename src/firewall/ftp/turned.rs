//! Clients that are turned away: the server's greeting is replaced.

use crate::alg::{Direction, Editor, End, Line, Verdict};
use crate::ftp::reply;
use crate::ftp::verb::Verb;
use crate::time::{Duration, Instant};

/// How long a client may take to read why, and to close.
const TIME: Duration = Duration::from_secs(10);

/// An editor that lets a server say nothing but why not.
#[derive(Debug)]
pub(super) struct Turned {
    why: &'static str,
    until: Option<Instant>,
}

impl Turned {
    pub(super) fn new(why: &'static str) -> Self {
        Self { why, until: None }
    }

    /// Why.
    pub(super) fn why(&self) -> &'static str {
        self.why
    }

    /// When both ends are to be reset, unless they have closed before.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }
}

impl Editor for Turned {
    fn wants(&self, _dir: Direction, _start: &[u8]) -> bool {
        true
    }

    fn line(&mut self, now: Instant, dir: Direction, line: Line<'_>) -> Verdict {
        match (dir, line.end) {
            (_, End::Overlong | End::Late) => Verdict::Reset,
            (Direction::ToClient, _) if self.until.is_none() => {
                self.until = Some(now + TIME);
                let mut text = Vec::new();
                reply::write(&mut text, 421, format!("{}; try again later.", self.why).as_bytes());
                Verdict::Replace(text)
            }
            // A server that is left in order closes in order.
            (Direction::ToServer, _) if self.until.is_some() && is_quit(line.bytes) => Verdict::Keep,
            (Direction::ToServer, _) if self.until.is_none() && !line.due => Verdict::Hold,
            _ => Verdict::Swallow(Vec::new()),
        }
    }

    fn passed(&mut self, _now: Instant, _dir: Direction, _line: Line<'_>) {}
}

fn is_quit(line: &[u8]) -> bool {
    Verb::of(line.trim_ascii()) == Verb::Quit
}
