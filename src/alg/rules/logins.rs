//! Logins that the server refuses: told late, the more of them there were, and at last no more.

use super::guesses::delay;
use super::{With, refusal};
use crate::alg::editor::{Line, Verdict};
use crate::event::What;
use crate::ftp::reply::{Part, ReplyLine};
use crate::ftp::verb::Verb;
use crate::time::Instant;

/// What comes of a refused login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guess {
    /// It is told.
    Told,
    /// It is told then.
    Late(Instant),
    /// It was the last one of this client.
    Last,
}

impl With<'_> {
    /// Whether the reply to come may be one that is told late, or not at all: then it is not to pass unread.
    pub(super) fn may_be_late(&self) -> bool {
        let Some(most) = self.settings.most_failed_logins() else { return false };
        let next = self.guesses.at_most(self.rules.ends.client.ip()).saturating_add(1);
        let matters = next > self.settings.prompt_refusals || next >= most;
        matters && self.rules.pending.iter().any(|e| is_login(e.verb))
    }

    /// Whether a reply says that a login failed.
    pub(super) fn is_refused_login(&self, l: &ReplyLine<'_>) -> bool {
        l.code == 530 && l.part.ends() && self.rules.pending.whose(530).is_some_and(|e| is_login(e.verb))
    }

    /// What is to become of a reply that says so; nothing special if none.
    pub(super) fn refused_login(
        &mut self,
        now: Instant,
        l: &ReplyLine<'_>,
        line: &Line<'_>,
    ) -> Option<Verdict> {
        if !self.is_refused_login(l) {
            return None;
        }
        if let Some(at) = self.rules.tells_at {
            if now < at && !line.due {
                return Some(Verdict::Until(at));
            }
            self.rules.tells_at = None;
            return None;
        }
        match self.guessed(now) {
            Guess::Told => None,
            Guess::Late(at) => {
                self.rules.tells_at = Some(at);
                Some(Verdict::Until(at))
            }
            Guess::Last => {
                // A reply that has begun is ended before ours.
                let mut said = if l.part == Part::Last { line.bytes.to_vec() } else { Vec::new() };
                said.extend(self.last_guess(now));
                Some(Verdict::Replace(said))
            }
        }
    }

    /// Counts a refused login.
    pub(super) fn guessed(&mut self, now: Instant) -> Guess {
        self.log.counters.failed_logins += 1;
        let Some(most) = self.settings.most_failed_logins() else { return Guess::Told };
        let client = self.rules.ends.client.ip();
        let count = self.guesses.refused(now, client);
        if count >= most {
            return Guess::Last;
        }
        let late = count.saturating_sub(self.settings.prompt_refusals);
        if late == 0 {
            return Guess::Told;
        }
        if late == 1 {
            self.event(What::Warning {
                kind: "failed_logins",
                subject: client.to_string(),
                text: format!("{count} logins of this client were refused; it is told late of more, and turned away at {most}"),
            });
        }
        self.log.counters.late_refusals += 1;
        Guess::Late(now + delay(late))
    }

    pub(super) fn last_guess(&mut self, now: Instant) -> Vec<u8> {
        self.farewell(now, refusal::FAILED_LOGINS, "too many failed logins")
    }
}

/// Verbs of a login.
pub(super) fn is_login(verb: Verb) -> bool {
    matches!(verb, Verb::User | Verb::Pass | Verb::Acct)
}
