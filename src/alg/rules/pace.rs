//! How fast commands may come, and how long the first one and the login may take.
//!
//! A command costs the server work and us a look, so many a second are what one client may have. Those that come faster
//! wait here, and with them what is behind them: the sender's window closes. What announces a data connection has a rate
//! of its own and does not wait, but counts, so that the two cannot be played against each other.

use super::{Rules, With, refusal};
use crate::alg::editor::{Line, Verdict};
use crate::time::{Duration, Instant};

/// So much of the rate may come at once.
const BURST: Duration = Duration::from_secs(1);

/// What a session waits for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// When the next command is due, by the rate (a leaky bucket).
    next: Instant,
    /// When the line that waits for its time has it.
    wakes: Instant,
    /// The client's line at hand is paid for.
    pub(super) paid: bool,
    /// When the client is to have said something.
    first: Instant,
    /// When it is to have logged in.
    login: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        let never = Instant::FAR_FUTURE;
        Self { next: Instant::ZERO, wakes: never, paid: false, first: never, login: never }
    }
}

impl Pace {
    /// A line is looked at: what it waited for is over, or will be found again.
    pub(super) fn wake(&mut self) {
        self.wakes = Instant::FAR_FUTURE;
    }

    /// The client has logged in, once and for all.
    pub(super) fn logged_in(&mut self) {
        self.login = Instant::FAR_FUTURE;
    }
}

impl Rules {
    /// When [`Alg::timeout`](crate::alg::Alg::timeout) is to be called for the rules' sake.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.ended.is_some() {
            return None;
        }
        let Pace { wakes, first, login, .. } = self.pace;
        if !self.cover.is_clear() {
            // One direction may be clear before the other, and its lines wait as any.
            return Some(wakes).filter(|at| *at < Instant::FAR_FUTURE);
        }
        let first = if self.spoke { Instant::FAR_FUTURE } else { first };
        Some(wakes.min(first).min(login)).filter(|at| *at < Instant::FAR_FUTURE)
    }
}

impl With<'_> {
    /// The server has greeted.
    pub(super) fn starts(&mut self, now: Instant) {
        let pace = &mut self.rules.pace;
        (pace.first, pace.login) = (now + self.settings.first_command, now + self.settings.login);
    }

    /// Whether a command comes faster than is allowed.
    pub(super) fn paced(&mut self, now: Instant, line: &Line<'_>, setup: bool) -> Option<Verdict> {
        if self.is_compat() || self.rules.pace.paid {
            return None;
        }
        let step = Duration::from_nanos(1_000_000_000 / u64::from(self.settings.commands_per_second.max(1)));
        let due = self.rules.pace.next.max(now);
        let early = due.since(now).saturating_sub(BURST);
        if !early.is_zero() && self.is_strict() {
            self.log.counters.too_fast += 1;
            return Some(self.end(now, refusal::COMMAND_RATE, "commands too fast"));
        }
        if !early.is_zero() && !setup && !line.due {
            self.log.counters.slowed += u64::from(!self.rules.waiting);
            // Not until then, as it may have to wait for answers besides, as long as a line may.
            self.rules.pace.wakes = now + early;
            return Some(Verdict::Hold);
        }
        (self.rules.pace.next, self.rules.pace.paid) = (due + step, true);
        None
    }

    /// The client's 421, if it took too long.
    pub(super) fn impatient(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.rules.ended.is_some() || !self.rules.cover.is_clear() {
            return None;
        }
        let Pace { first, login, .. } = self.rules.pace;
        let (refusal, why) = match () {
            () if !self.rules.spoke && first <= now => (refusal::FIRST_COMMAND, "no command from the client"),
            () if login <= now => (refusal::LOGIN_TIME, "no login in time"),
            () => return None,
        };
        self.log.counters.impatient += 1;
        Some(self.farewell(now, refusal, why))
    }
}
