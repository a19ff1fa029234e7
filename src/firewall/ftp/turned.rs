//! Clients that are turned away: the server's greeting is replaced.

use crate::alg::{Direction, Editor, End, Line, Verdict};
use crate::ftp::reply;
use crate::ftp::verb::Verb;
use crate::time::{Duration, Instant};

/// How long a client may take to read why, and to close.
pub(super) const TIME: Duration = Duration::from_secs(10);

/// What a client is told, by the name of the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reason {
    rule: &'static str,
    why: &'static str,
}

/// As many sessions as one client may have.
pub(super) const TOO_MANY_OF_CLIENT: Reason =
    Reason { rule: "sessions-per-client", why: "Too many sessions of this client" };
/// As many as there may be.
pub(super) const TOO_MANY: Reason = Reason { rule: "sessions", why: "Too many sessions" };
/// As much as may be held of all sessions' lines.
pub(super) const TOO_MUCH_HELD: Reason = Reason { rule: "held", why: "Too much is held for other sessions" };
/// As many connections, of whatever kind, as the table has places for, or as one client may have of them.
pub(super) const TOO_MANY_CONNECTIONS: Reason = Reason { rule: "connections", why: "Too many connections" };
pub(super) const TOO_MANY_CONNECTIONS_OF_CLIENT: Reason =
    Reason { rule: "connections", why: "Too many connections of this client" };
/// It has tried too many passwords.
pub(super) const GUESSER: Reason = Reason { rule: "failed-logins", why: "Too many failed logins" };

/// An editor that lets a server say nothing but why not.
#[derive(Debug)]
pub(super) struct Turned {
    reason: Reason,
    until: Option<Instant>,
}

impl Turned {
    pub(super) fn new(reason: Reason) -> Self {
        Self { reason, until: None }
    }

    /// Why.
    pub(super) fn why(&self) -> &'static str {
        self.reason.why
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
                let Reason { rule, why } = self.reason;
                let said = format!("Closed by rule {rule}: {why}; try again later.");
                reply::write(&mut text, 421, said.as_bytes());
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
