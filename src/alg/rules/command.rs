//! Commands of the client: passed on, written anew, answered, or refused.

use super::logins::is_login;
use super::refusal::{self, Refusal};
use super::{Ftps, Tag, Transfer, Why, With, cleaned};
use crate::alg::editor::{End, Line, Verdict};
use crate::event::What;
use crate::ftp::command::{Command, Fault, Foreign, Verb, first_word, foreign_first_line, starts_tls};
use crate::ftp::pending::Entry;
use crate::ftp::telnet::Stripped;
use crate::ftp::{self, line, lossy, reply, secret};
use crate::time::Instant;

/// Most bytes of the name in RETR, STOR and their like, by strict rules: what names a file is no place for a program.
const NAME: usize = 256;

impl With<'_> {
    pub(super) fn wants_command(&self, start: &[u8]) -> bool {
        // Implicit FTPS has no lines, and nobody could read it. All else waits for its end, whatever it begins with: some
        // servers take a NUL or CR within it for an end, and what stands behind would have gone by.
        self.rules.spoke || !starts_tls(start) || !self.is_compat()
    }

    /// What is no line went by.
    pub(super) fn command_passed(&mut self, now: Instant) {
        self.log.counters.not_ftp += 1;
        self.session_event("refused", "the client does not speak FTP");
        self.blind(now);
    }

    pub(super) fn command_line(&mut self, now: Instant, line: &Line<'_>) -> Verdict {
        match line.end {
            End::Whole => {}
            End::Closed => return self.unfinished(line),
            End::Overlong => return self.overlong(now, line),
            End::Late => return self.late(now),
        }
        let (clean, crlf) = cleaned(line);
        let whole = line::Line { bytes: &clean.text, crlf, synch: clean.synch };
        let parsed = Command::parse(&whole, self.mode());
        let synch_only = clean.synch
            && !clean.erases
            && matches!(&parsed, Ok(Some(c)) if matches!(c.verb, Verb::Abor | Verb::Stat | Verb::Quit))
            && line.bytes.ends_with(if crlf { b"\r\n" } else { b"\n" });
        let dirty = clean.commands && !synch_only;
        if matches!(parsed, Ok(None)) {
            // Servers differ in whether they answer it.
            return Verdict::Swallow(Vec::new());
        }
        if !self.rules.spoke
            && let Some(verdict) = self.first(now, &clean, &parsed)
        {
            return verdict;
        }
        if !self.rules.greeted {
            return self.too_early(now, line);
        }
        if self.rules.awaits(|t| *t == Tag::Auth) {
            self.log.counters.injected += 1;
            let why = "the client sent bytes behind AUTH before its answer";
            return self.end(now, refusal::AUTH_BOUNDARY, why);
        }
        if self.rules.pending.len() >= self.settings.commands.min(ftp::pending::MAX) {
            let why = "too many commands without an answer";
            return if line.due { self.end(now, refusal::COMMANDS, why) } else { self.wait() };
        }
        let setup = matches!(&parsed, Ok(Some(c)) if c.verb.is_data_setup());
        if let Some(verdict) = self.paced(now, line, setup) {
            return verdict;
        }
        if self.is_strict() && clean.commands && !synch_only {
            self.log.counters.telnet += 1;
            if clean.erases || clean.open {
                return self.violation(now, "Telnet commands within a command");
            }
            return self.refuse(now, &clean, line, refusal::TELNET);
        }
        let command = match parsed {
            Ok(Some(command)) => command,
            Ok(None) => return Verdict::Swallow(Vec::new()),
            Err(fault) => return self.fault(now, fault, &clean, line),
        };
        if whole.has_bare_cr() && (!self.is_compat() || sets_up_anywhere(&clean.text)) {
            return self.fault(now, Fault::BareCr, &clean, line);
        }
        if let Some(verdict) = self.lock_step(now, &command, &clean, line) {
            return verdict;
        }
        self.log.counters.telnet += u64::from(dirty);
        let plain = !dirty && crlf && line.bytes.first().is_some_and(u8::is_ascii_alphabetic);
        self.act(now, &command, &clean, line, dirty, plain)
    }

    fn act(
        &mut self,
        now: Instant,
        command: &Command<'_>,
        clean: &Stripped<'_>,
        line: &Line<'_>,
        dirty: bool,
        plain: bool,
    ) -> Verdict {
        let strict = self.is_strict();
        match command.verb {
            verb if verb.is_data_setup() => self.setup(now, command, clean, line, plain),
            verb if verb.is_transfer() => self.transfer(now, command, clean, line, dirty),
            Verb::Auth => self.auth(now, command, clean, line, dirty),
            Verb::Adat | Verb::Mic | Verb::Conf | Verb::Enc if !self.is_compat() => {
                self.refuse(now, clean, line, refusal::WRAPPED)
            }
            Verb::Pbsz | Verb::Prot | Verb::Ccc if self.settings.ftps == Ftps::Refuse => {
                self.refuse(now, clean, line, refusal::FTPS)
            }
            Verb::Prot => {
                let protected = command.argument.trim_ascii().eq_ignore_ascii_case(b"P");
                self.forward(command, Tag::Prot(protected), dirty)
            }
            Verb::Feat => self.forward(command, Tag::Feat, dirty),
            Verb::Syst if strict => self.forward(command, Tag::System, dirty),
            Verb::Rein if strict => self.refuse(now, clean, line, refusal::REIN),
            Verb::Sscn if strict && self.settings.fxp.is_empty() => {
                self.refuse(now, clean, line, refusal::BETWEEN_SERVERS)
            }
            Verb::Other if strict => self.refuse(now, clean, line, refusal::VERB),
            Verb::User | Verb::Rein | Verb::Quit => {
                // QUIT lets a transfer end (RFC 959 4.1.1).
                if !self.rules.awaits(|t| *t == Tag::Transfer) {
                    self.doors.close(now, Why::Over);
                }
                self.forward(command, Tag::Plain, dirty)
            }
            _ => self.forward(command, Tag::Plain, dirty),
        }
    }

    fn transfer(
        &mut self,
        now: Instant,
        command: &Command<'_>,
        clean: &Stripped<'_>,
        line: &Line<'_>,
        dirty: bool,
    ) -> Verdict {
        if !self.rules.logged_in && !self.is_compat() {
            self.log.counters.before_login += 1;
            return self.refuse(now, clean, line, refusal::LOGIN_FIRST);
        }
        let names = matches!(command.verb, Verb::Retr | Verb::Stor | Verb::Stou | Verb::Appe);
        if self.is_strict() && names && command.argument.len() > NAME {
            if self.cannot_answer() && !line.due {
                return Verdict::Hold;
            }
            self.log.counters.long_names += 1;
            return self.refuse_for_good(
                now,
                clean,
                line,
                refusal::NAME_LENGTH,
                "the name of a file is too long",
            );
        }
        let coming = self.rules.awaits(|t| matches!(t, Tag::Active | Tag::Passive));
        let default = self.settings.default_data_port;
        if !(coming || self.doors.has_door() || default && self.doors.default_port(now).is_ok()) {
            self.log.counters.no_setup += 1;
            return self.refuse(now, clean, line, refusal::SETUP_FIRST);
        }
        let one_way = self.is_strict() && !self.rules.protected;
        let transfer = Transfer { verb: command.verb, name: lossy(command.argument), one_way };
        self.doors.transfer(now, &transfer);
        self.forward(command, Tag::Transfer, dirty)
    }

    /// The first line decides what the connection is. `None`: FTP.
    fn first(
        &mut self,
        now: Instant,
        clean: &Stripped<'_>,
        parsed: &Result<Option<Command<'_>>, Fault>,
    ) -> Option<Verdict> {
        let odd = |fault: &Fault| *fault == Fault::Verb;
        let foreign = match foreign_first_line(&clean.text) {
            Some(Foreign::Unknown) => !self.is_compat() || parsed.as_ref().is_err_and(odd),
            Some(_) => true,
            None => parsed.as_ref().is_err_and(odd),
        };
        if foreign {
            return Some(self.not_ftp(now, "the client does not speak FTP"));
        }
        if self.rules.greeted {
            self.rules.spoke = true;
        }
        None
    }

    /// A client that does not wait for the greeting.
    fn too_early(&mut self, now: Instant, line: &Line<'_>) -> Verdict {
        if !self.rules.waiting {
            self.log.counters.early += 1;
        }
        if line.due {
            return self.end(now, refusal::GREETING, "no greeting from the server");
        }
        Verdict::Hold
    }

    /// Whether a command has to wait for the answers to others, or cannot wait any longer.
    fn lock_step(
        &mut self,
        now: Instant,
        command: &Command<'_>,
        clean: &Stripped<'_>,
        line: &Line<'_>,
    ) -> Option<Verdict> {
        let (rules, verb) = (&*self.rules, command.verb);
        let data = verb.is_data_setup() || verb.is_transfer();
        let unknown = data && rules.pending.iter().any(|e| is_login(e.verb) && !e.is_loose());
        // Also what a person made a program say (a URL with line ends in it) goes step by step until the login.
        let strict = (self.is_strict() || !(rules.logged_in || self.is_compat()))
            && !matches!(verb, Verb::Abor | Verb::Quit | Verb::Stat)
            && rules.pending.iter().any(|e| !e.begun && !e.is_loose());
        let auth = verb == Verb::Auth && !rules.pending.iter().all(Entry::is_loose);
        // The server is to answer in the order that was asked, so that the last announcement is the one that stands.
        let crossed = verb.is_active_setup() && rules.awaits(|t| *t == Tag::Passive);
        // The announcement before is still to be used by the transfer before.
        let busy =
            verb.is_data_setup() && rules.pending.iter().any(|e| e.tag == Tag::Transfer && !e.is_loose());
        // Whether there is a data connection to use is not known yet.
        let open = verb.is_transfer()
            && !self.is_compat()
            && rules.awaits(|t| matches!(t, Tag::Active | Tag::Passive));
        if !(unknown || strict || auth || crossed || busy || open) {
            return None;
        }
        if !line.due {
            return Some(self.wait());
        }
        if unknown {
            self.log.counters.before_login += 1;
            return Some(self.refuse(now, clean, line, refusal::LOGIN_FIRST));
        }
        // A transfer may take hours.
        if (busy || open) && !(strict || crossed) {
            return None;
        }
        Some(self.refuse(now, clean, line, refusal::LOCK_STEP))
    }

    pub(super) fn wait(&mut self) -> Verdict {
        if !self.rules.waiting {
            self.log.counters.waited += 1;
        }
        Verdict::Hold
    }

    fn fault(&mut self, now: Instant, fault: Fault, clean: &Stripped<'_>, line: &Line<'_>) -> Verdict {
        let c = &mut self.log.counters;
        match fault {
            Fault::Nul => c.nul += 1,
            Fault::BareCr => c.bare_cr += 1,
            Fault::BareLf => c.bare_lf += 1,
            Fault::Blank | Fault::Verb => {}
        }
        let refusal = Refusal::fault(fault);
        let digits = clean.text.get(..3).is_some_and(|d| d.iter().all(u8::is_ascii_digit));
        if self.is_strict() {
            return match fault {
                // A client that says what servers say.
                Fault::Verb if digits => self.violation(now, "the client sent a reply"),
                Fault::BareCr | Fault::BareLf => {
                    self.refuse_for_good(now, clean, line, refusal, "lines must end in CR LF")
                }
                _ => self.refuse(now, clean, line, Refusal { code: 500, ..refusal }),
            };
        }
        // It is no verb of ours: the server says so itself. What it would be to a server that takes a NUL or CR for
        // the end of a line, we cannot tell.
        let goes = fault == Fault::Verb && !clean.commands && !clean.text.contains(&b'\r');
        if goes || (self.is_compat() && !sets_up_anywhere(&clean.text)) {
            let shown = secret::shown(&clean.text);
            self.command_event(&shown, String::new(), "forwarded", None);
            self.log.counters.commands += 1;
            return match self.rules.pending.push(Verb::Other, Tag::Plain) {
                Ok(()) => Verdict::Keep,
                Err(_) => Verdict::Reset,
            };
        }
        self.refuse(now, clean, line, refusal)
    }

    /// A last line without its end is no command; but some servers take it for one.
    fn unfinished(&mut self, line: &Line<'_>) -> Verdict {
        let (clean, _) = cleaned(line);
        let matters = |v: Verb| v.is_data_setup() || v.is_transfer() || is_turning(v);
        let may_matter = clean.commands || has_anywhere(&clean.text, matters);
        if may_matter { Verdict::Swallow(Vec::new()) } else { Verdict::Keep }
    }

    fn overlong(&mut self, now: Instant, line: &Line<'_>) -> Verdict {
        self.log.counters.overlong += 1;
        if cleaned(line).0.open {
            self.log.counters.telnet += 1;
            return self.end(now, refusal::TELNET_OPTION, "a Telnet option without an end");
        }
        if self.is_strict() {
            return self.violation(now, "a command beyond the limit");
        }
        if !self.rules.spoke {
            return self.not_ftp(now, "the client does not speak FTP");
        }
        if self.rules.awaits(|t| *t == Tag::Auth) {
            self.log.counters.injected += 1;
            let why = "the client sent bytes behind AUTH before its answer";
            return self.end(now, refusal::AUTH_BOUNDARY, why);
        }
        self.command_event("", String::new(), "refused", Some(refusal::LINE_LENGTH.rule));
        self.log.counters.refused += 1;
        self.answer(now, refusal::LINE_LENGTH.code, &refusal::LINE_LENGTH.said())
    }

    fn late(&mut self, now: Instant) -> Verdict {
        self.log.counters.late += 1;
        match () {
            () if self.is_compat() && !self.rules.spoke => self.not_ftp(now, "the client does not speak FTP"),
            () if self.is_strict() => self.violation(now, "a command without an end"),
            () => self.end(now, refusal::LINE_TIME, "a command without an end"),
        }
    }

    /// Passes a command on, in its canonical form if it is `dirty`.
    pub(super) fn forward(&mut self, command: &Command<'_>, tag: Tag, dirty: bool) -> Verdict {
        let new = dirty.then(|| {
            let mut text = Vec::new();
            command.write(&mut text);
            let mut wire = Vec::with_capacity(text.len());
            ftp::telnet::escape_into(&mut wire, &text);
            self.log.counters.repaired += 1;
            wire
        });
        self.forward_as(command, tag, new)
    }

    /// Passes a command on, as it is or as these bytes.
    pub(super) fn forward_as(&mut self, command: &Command<'_>, tag: Tag, new: Option<Vec<u8>>) -> Verdict {
        let action = if new.is_some() { "converted" } else { "forwarded" };
        self.command_event(&lossy(command.verb_text), command.shown(), action, None);
        self.log.counters.commands += 1;
        // There is room: no command is looked at while there is none.
        let _ = self.rules.pending.push(command.verb, tag);
        new.map_or(Verdict::Keep, Verdict::Replace)
    }

    /// Refuses a command. Waits while the answer could not be put in its place.
    pub(super) fn refuse(
        &mut self,
        now: Instant,
        clean: &Stripped<'_>,
        line: &Line<'_>,
        refusal: Refusal,
    ) -> Verdict {
        if self.cannot_answer() && !line.due {
            return Verdict::Hold;
        }
        self.refused_event(clean, refusal.rule);
        self.answer(now, refusal.code, &refusal.said())
    }

    /// Refuses a command, and ends the session for it.
    pub(super) fn refuse_for_good(
        &mut self,
        now: Instant,
        clean: &Stripped<'_>,
        line: &Line<'_>,
        refusal: Refusal,
        why: &'static str,
    ) -> Verdict {
        let Verdict::Swallow(mut said) = self.refuse(now, clean, line, refusal) else { return Verdict::Hold };
        // What waits for its turn is told now: there will be no other.
        for entry in self.rules.pending.iter() {
            if let Tag::Local(text) = &entry.tag {
                said.extend_from_slice(text);
            }
        }
        said.extend(self.farewell(now, refusal.closing(why), why));
        Verdict::Swallow(said)
    }

    /// Whether an answer of ours has no place yet: the reply that it has to follow is going by and cannot be added to,
    /// or may never come.
    pub(super) fn cannot_answer(&self) -> bool {
        let rules = &*self.rules;
        let passing = rules.passing.get() && (!rules.pending.is_empty() || rules.replies.is_open());
        passing || rules.pending.iter().any(Entry::is_loose)
    }

    fn refused_event(&mut self, clean: &Stripped<'_>, rule: &'static str) {
        self.log.counters.refused += 1;
        let whole = line::Line { bytes: &clean.text, crlf: true, synch: false };
        let parsed = Command::parse(&whole, ftp::Mode::Lenient);
        let (verb, argument) = match parsed {
            Ok(Some(c)) => (lossy(c.verb_text), c.shown()),
            _ => (secret::shown(&clean.text), String::new()),
        };
        self.command_event(&verb, argument, "refused", Some(rule));
    }

    /// `rule`: the one that refused it.
    pub(super) fn command_event(
        &mut self,
        verb: &str,
        argument: String,
        action: &'static str,
        rule: Option<&'static str>,
    ) {
        let (session, verb) = (self.rules.session, verb.to_owned());
        self.event(What::Command { session, verb, argument, action, rule });
    }

    /// Waits no longer for the answers to such commands. A transfer among them is over all the same: the next one's reply
    /// is not to be taken for its.
    pub(super) fn unanswered(&mut self, now: Instant, which: impl Fn(&Entry<Tag>) -> bool) {
        let transfers = self.rules.pending.drop_such(which, |e| e.tag == Tag::Transfer);
        for _ in 0..transfers {
            self.doors.transfer_over(now, 426);
        }
    }

    /// Answers the client's line ourselves, in its turn.
    pub(super) fn answer(&mut self, now: Instant, code: u16, text: &str) -> Verdict {
        let said = reply_line(code, text);
        // It was waited for as long as could be.
        self.unanswered(now, Entry::is_loose);
        if self.rules.pending.is_empty() && !self.rules.replies.is_open() {
            self.told(code, text.to_owned(), "gateway");
            return Verdict::Swallow(said);
        }
        // A verb that is answered in the order of the commands only.
        match self.rules.pending.push(Verb::Other, Tag::Local(said.into())) {
            Ok(()) => Verdict::Swallow(Vec::new()),
            Err(_) => Verdict::Reset,
        }
    }
}

pub(super) fn reply_line(code: u16, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    reply::write(&mut out, code, text.as_bytes());
    out
}

/// Whether there is such a command in what somebody might take for a line of its own within this text: some servers take a
/// NUL or CR for the end of one.
fn has_anywhere(text: &[u8], such: impl Fn(Verb) -> bool) -> bool {
    text.split(|b| matches!(b, 0 | b'\r')).any(|part| such(Verb::of(first_word(part))))
}

/// Whether there is an announcement, or what ends all reading.
fn sets_up_anywhere(text: &[u8]) -> bool {
    has_anywhere(text, |v| v.is_data_setup() || v == Verb::Auth)
}

/// Verbs that change what may come, beside those about data connections.
fn is_turning(verb: Verb) -> bool {
    matches!(
        verb,
        Verb::Auth
            | Verb::Adat
            | Verb::Mic
            | Verb::Conf
            | Verb::Enc
            | Verb::Pbsz
            | Verb::Prot
            | Verb::Ccc
            | Verb::Rein
    )
}
