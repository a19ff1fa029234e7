//! Replies of the server: passed on, or judged whole and written anew.

use super::logins::Guess;
use super::passive::Told;
use super::refusal;
use super::{Ftps, HeldReply, Tag, Why, With, cleaned};
use crate::alg::editor::{End, Line, Verdict};
use crate::ftp::feat::{self, Policy};
use crate::ftp::lossy;
use crate::ftp::pending::{Entry, Match};
use crate::ftp::reply::{self, Class, Part, ReplyLine};
use crate::ftp::telnet::Stripped;
use crate::ftp::verb::Verb;
use crate::time::Instant;

impl With<'_> {
    pub(super) fn wants_reply(&self) -> bool {
        let rules = &*self.rules;
        let matters = |t: &Tag| match t {
            Tag::Passive | Tag::Auth | Tag::System | Tag::Local(_) => true,
            Tag::Feat => self.hides_features(),
            Tag::Plain | Tag::Active | Tag::Transfer | Tag::Prot(_) => false,
        };
        self.is_strict() || self.may_be_late() || rules.held.is_some() || rules.awaits(matters)
    }

    /// A line that went by unread.
    pub(super) fn reply_passed(&mut self, now: Instant, line: &Line<'_>) {
        let (clean, _) = cleaned(line);
        let awaited = self.rules.pending.awaited();
        let l = self.rules.replies.push(&clean.text, awaited);
        if let Err(verdict) = self.odd(now, &l) {
            if let Verdict::Replace(said) = verdict {
                self.rules.farewell = Some(said.into());
            }
            return;
        }
        if l.part.ends() {
            if self.is_refused_login(&l) && self.guessed(now) == Guess::Last {
                // It went before anybody knew that it was the last one.
                self.rules.farewell = Some(self.last_guess(now).into());
                return;
            }
            if matches!(self.rules.pending.whose(l.code).map(|e| &e.tag), Some(Tag::Passive))
                && matches!(l.code, 227..=229)
            {
                self.log.counters.unread += 1;
            }
            self.replied(now, &l, None);
        }
    }

    pub(super) fn reply_line(&mut self, now: Instant, line: &Line<'_>) -> Verdict {
        match line.end {
            End::Whole => {}
            End::Closed => return Verdict::Keep,
            End::Overlong | End::Late => return self.unfinished_reply(now, line),
        }
        let (clean, crlf) = cleaned(line);
        let before = self.rules.replies.clone();
        let awaited = self.rules.pending.awaited();
        let l = self.rules.replies.push(&clean.text, awaited);
        if self.is_strict()
            && let Some(why) = self.broken(&l, &clean, crlf)
        {
            return self.violation(now, why);
        }
        if let Err(verdict) = self.odd(now, &l) {
            return verdict;
        }
        if l.part == Part::Stray {
            return Verdict::Keep;
        }
        if let Some(verdict) = self.refused_login(now, &l, line) {
            if matches!(verdict, Verdict::Until(_)) {
                // It is asked about again.
                self.rules.replies = before;
            }
            return verdict;
        }
        if self.holds(&l) {
            if !l.part.ends() {
                let held = self.rules.held.get_or_insert_default();
                if !held.push(line.bytes, &l) {
                    self.log.counters.long_replies += 1;
                    let why = "a reply of the server too long to judge";
                    return Verdict::Replace(self.farewell(now, refusal::REPLY_LENGTH, why));
                }
                return Verdict::Swallow(Vec::new());
            }
            return self.whole(now, line, &l, before);
        }
        if !l.part.ends() {
            return Verdict::Keep;
        }
        self.replied(now, &l, Some(line.bytes))
    }

    /// Whether a line belongs to a reply that is judged whole.
    fn holds(&self, l: &ReplyLine<'_>) -> bool {
        if self.rules.held.is_some() {
            return true;
        }
        match self.rules.pending.whose(l.code).map(|e| &e.tag) {
            Some(Tag::Passive) => matches!(l.code, 227..=229),
            Some(Tag::Feat) => l.code == 211 && self.hides_features() && l.part != Part::Whole,
            Some(Tag::System) => is_masked(l.code),
            _ => false,
        }
    }

    /// The last line of a reply that is judged whole.
    fn whole(
        &mut self,
        now: Instant,
        line: &Line<'_>,
        l: &ReplyLine<'_>,
        before: reply::ReplyReader,
    ) -> Verdict {
        let mut held = self.rules.held.take().unwrap_or_default();
        let entry = self.rules.pending.whose(l.code).map(|e| (e.verb, matches!(e.tag, Tag::Passive)));
        let texts = || held.lines.lines().chain(std::iter::once(l.text));
        let said: Vec<&[u8]> = texts().collect();
        let told = match entry {
            Some((asked, true)) if matches!(l.code, 227..=229) => {
                self.announced(now, asked, l.code, said.iter().copied(), line.due)
            }
            Some((Verb::Feat, _)) if l.code == 211 => self.features(&said),
            _ => Told::Same,
        };
        drop(said);
        let (bytes, code, text) = match told {
            Told::Wait => {
                // It is asked about again.
                self.rules.replies = before;
                if !held.raw.is_empty() {
                    self.rules.held = Some(held);
                }
                return self.wait();
            }
            Told::Broken(why) => return self.violation(now, why),
            Told::Same => {
                held.raw.extend_from_slice(line.bytes);
                return self.replied(now, l, Some(&held.raw)).or_whole(held.raw, line.bytes);
            }
            Told::New(bytes) => (bytes, l.code, None),
            Told::Nothing(no) => {
                self.doors.close(now, Why::Superseded);
                (no.line(), no.code, Some(no.said()))
            }
        };
        let code = if text.is_none() { first_code(&bytes).unwrap_or(code) } else { code };
        let text = text.unwrap_or_else(|| lossy(bytes.get(4..).unwrap_or_default()).trim_end().to_owned());
        self.completed(now, l);
        self.told(code, text, "edited");
        Verdict::Replace(self.with_answers(bytes))
    }

    /// A reply has ended, and its last line (all of it, if `bytes` are given) may be added to.
    fn replied(&mut self, now: Instant, l: &ReplyLine<'_>, bytes: Option<&[u8]>) -> Verdict {
        let entry = self.completed(now, l);
        if entry == Some(Tag::System) && is_masked(l.code) {
            let masked: Vec<u8> =
                l.text.iter().map(|b| if b.is_ascii_whitespace() { *b } else { b'X' }).collect();
            let mut new = Vec::new();
            reply::write(&mut new, l.code, &masked);
            self.told(l.code, lossy(&masked), "edited");
            return Verdict::Replace(self.with_answers(new));
        }
        self.log.counters.replies += 1;
        self.told(l.code, lossy(l.text), "server");
        match bytes {
            Some(bytes) if matches!(self.rules.pending.front().map(|e| &e.tag), Some(Tag::Local(_))) => {
                Verdict::Replace(self.with_answers(bytes.to_vec()))
            }
            _ => Verdict::Keep,
        }
    }

    /// What the end of a reply means for us. The tag of the command that it answers.
    fn completed(&mut self, now: Instant, l: &ReplyLine<'_>) -> Option<Tag> {
        if !self.rules.greeted {
            self.greeted(now, l.code);
            if self.rules.pending.is_empty() {
                return None;
            }
        }
        self.log.counters.reply_anomalies += u64::from(l.mismatched);
        // A reply while only answers of ours wait is nobody's.
        let ours = matches!(self.rules.pending.front().map(|e| &e.tag), Some(Tag::Local(_)));
        if ours {
            self.log.counters.unsolicited += 1;
            return None;
        }
        let outcome = self.rules.pending.on_reply(l.code);
        if outcome.skipped.is_some_and(|e| e.tag == Tag::Transfer) {
            self.doors.transfer_over(now, 426);
        }
        let tag = match outcome.what {
            Match::Done(entry) => Some(self.done(now, entry, l.code)),
            Match::Preliminary => {
                if matches!(self.rules.pending.front().map(|e| &e.tag), Some(Tag::Transfer)) {
                    self.doors.transfer_begun(now);
                }
                None
            }
            Match::Extra | Match::Closing => None,
            Match::Unsolicited => {
                self.log.counters.unsolicited += 1;
                self.log.counters.unasked_addresses += u64::from(matches!(l.code, 227..=229));
                None
            }
        };
        if self.rules.pending.is_empty() {
            self.rules.pending.release();
        }
        tag
    }

    /// A command has its answer.
    fn done(&mut self, now: Instant, entry: Entry<Tag>, code: u16) -> Tag {
        let success = Class::of(code) == Some(Class::Success);
        match &entry.tag {
            Tag::Active => {
                // Only the last announcement stands, and its own answer opens it. What is reserved is the last PORT's.
                let (active, passive) =
                    (self.rules.awaits(|t| *t == Tag::Active), self.rules.awaits(|t| *t == Tag::Passive));
                match (active, passive, success) {
                    (true, _, _) => {}
                    (false, true, _) => self.doors.close(now, Why::Superseded),
                    (false, false, true) => self.doors.open(now),
                    (false, false, false) => self.doors.close(now, Why::Unused),
                }
            }
            // What was announced before went with the question, but not what was asked for since.
            Tag::Passive if !matches!(code, 227..=229) && !self.rules.awaits(|t| *t == Tag::Active) => {
                self.doors.close(now, Why::Superseded);
            }
            Tag::Transfer => self.doors.transfer_over(now, code),
            Tag::Prot(protected) if success => self.rules.protected = *protected,
            Tag::Auth if matches!(code, 234 | 334) => self.agreed(now, code),
            _ => {}
        }
        if entry.verb == Verb::User {
            // What was asked for before, and announced since, was another user's.
            self.doors.close(now, Why::Over);
        }
        match entry.verb {
            // Not only 230 and 232: 202 where a password was superfluous, and plain 200 from small servers.
            Verb::User | Verb::Pass | Verb::Acct if success => {
                self.rules.logged_in = true;
                self.rules.pace.logged_in();
            }
            Verb::User if Class::of(code) == Some(Class::Intermediate) => self.rules.logged_in = false,
            Verb::Rein if success => {
                let rules = &mut *self.rules;
                (rules.logged_in, rules.epsv_all, rules.protected) = (false, false, false);
                self.doors.close(now, Why::Over);
            }
            _ => {}
        }
        entry.tag
    }

    fn greeted(&mut self, now: Instant, code: u16) {
        // 120 announces the 220. A refusal is a greeting too: the client may want to say QUIT.
        self.rules.greeted = Class::of(code).is_some_and(Class::completes);
        if self.rules.greeted {
            self.starts(now);
        }
    }

    /// Behind a reply, our own answers whose turn has come.
    fn with_answers(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        while matches!(self.rules.pending.front().map(|e| &e.tag), Some(Tag::Local(_))) {
            let Some(Tag::Local(said)) = self.rules.pending.pop().map(|e| e.tag) else { break };
            bytes.extend_from_slice(&said);
            let text = lossy(said.get(4..).unwrap_or_default()).trim_end().to_owned();
            self.told(first_code(&said).unwrap_or(0), text, "gateway");
        }
        if self.rules.pending.is_empty() {
            self.rules.pending.release();
        }
        bytes
    }

    /// What ends a session, or its reading, whatever the profile. The error is the verdict.
    fn odd(&mut self, now: Instant, l: &ReplyLine<'_>) -> Result<(), Verdict> {
        match l.part {
            Part::TooLong => {
                self.log.counters.long_replies += 1;
                let why = "a reply of the server beyond the limit";
                Err(Verdict::Replace(self.farewell(now, refusal::REPLY_LENGTH, why)))
            }
            Part::Stray if !self.rules.greeted && !self.is_compat() => {
                self.log.counters.strays += 1;
                self.log.counters.not_ftp += 1;
                self.session_event("refused", "the server does not speak FTP");
                self.blind(now);
                Err(Verdict::Keep)
            }
            Part::Stray => {
                self.log.counters.strays += 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Which strict rule a line breaks.
    fn broken(&self, l: &ReplyLine<'_>, line: &Stripped<'_>, crlf: bool) -> Option<&'static str> {
        let names = |word: &[u8]| l.text.windows(word.len()).any(|w| w.eq_ignore_ascii_case(word));
        let asked = matches!(self.rules.pending.whose(l.code).map(|e| &e.tag), Some(Tag::Passive));
        match l.part {
            Part::Stray => Some("the server sent what is no reply"),
            Part::TooLong => None,
            _ if line.commands => Some("Telnet commands within a reply"),
            _ if !crlf => Some("a line of the server's that does not end in CR LF"),
            _ if line.text.iter().any(|b| matches!(b, 0 | b'\r')) => Some("NUL or CR within a reply"),
            _ if l.mismatched => Some("a reply closed with another code"),
            _ if matches!(l.code, 227..=229) && !asked => Some("an announcement that nobody asked for"),
            _ if l.code >= 400 && (names(b"227 ") || names(b"PORT ")) => {
                Some("an announcement within an error")
            }
            _ => None,
        }
    }

    /// A line that had to be looked at, and has no end.
    fn unfinished_reply(&mut self, now: Instant, line: &Line<'_>) -> Verdict {
        if line.end == End::Late {
            self.log.counters.late += 1;
        } else {
            self.log.counters.overlong += 1;
        }
        if self.is_strict() || self.rules.held.is_some() {
            return self.violation(now, "a reply without an end");
        }
        // It is judged as it went by, when its end comes.
        self.rules.passing.set(true);
        Verdict::Keep
    }

    fn hides_features(&self) -> bool {
        self.settings.ftps == Ftps::Refuse || self.is_strict()
    }

    /// A list of features without those that are refused.
    fn features(&self, lines: &[&[u8]]) -> Told {
        let hide = if self.settings.ftps == Ftps::Refuse { feat::FTPS } else { &[] };
        let policy = Policy { hide, add: &[] };
        let inner = lines.get(1..lines.len().saturating_sub(1)).unwrap_or_default();
        let hidden = |line: &&[u8]| {
            // The long forms are no harm where strict rules do not refuse them.
            if self.is_strict() { feat::is_hidden(line, &policy) } else { feat::is_named(line, hide) }
        };
        if !inner.iter().any(hidden) {
            return Told::Same;
        }
        let mut new = Vec::new();
        feat::rewrite(&mut new, lines.iter().copied(), &policy);
        Told::New(new)
    }
}

impl HeldReply {
    /// Keeps a line. False if it is too much.
    fn push(&mut self, raw: &[u8], line: &ReplyLine<'_>) -> bool {
        if self.raw.len() + raw.len() > 2 * reply::MAX_HELD || !self.lines.push(line) {
            return false;
        }
        self.raw.extend_from_slice(raw);
        true
    }
}

impl Verdict {
    /// Of a reply whose lines before the last were held: to keep it is to give them all back.
    fn or_whole(self, all: Vec<u8>, last: &[u8]) -> Self {
        match self {
            Self::Keep if all.len() > last.len() => Self::Replace(all),
            other => other,
        }
    }
}

/// Whether a reply to SYST says what the server is.
fn is_masked(code: u16) -> bool {
    Class::of(code) == Some(Class::Success)
}

fn first_code(line: &[u8]) -> Option<u16> {
    line.get(..3).and_then(|c| std::str::from_utf8(c).ok()).and_then(|c| c.parse().ok())
}
