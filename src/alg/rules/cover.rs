//! Control connections that become encrypted (RFC 4217), and clear again (CCC).
//!
//! Behind the 234 both directions are records, whose ends are known without their keys. What a client sends behind
//! AUTH before that answer, or a server behind its 234 before the client's first record, would be taken for protected
//! by its receiver while anybody on the way may have put it there (the class of CVE-2011-0411): the session ends
//! instead.

use super::refusal;
use super::tls::{Encrypted, Turn};
use super::{Ccc, Ftps, Tag, Why, With};
use crate::alg::editor::{Line, Raw, Verdict};
use crate::alg::segment::Direction;
use crate::ftp::command::Command;
use crate::ftp::pending::Pending;
use crate::ftp::telnet::Stripped;
use crate::time::Instant;

/// Whether lines are read.
#[derive(Debug, Clone, Default)]
pub(super) enum Cover {
    /// They are.
    #[default]
    Clear,
    /// One direction at least is encrypted.
    Tls(Box<Tls>),
    /// They are not, for good.
    Blind,
}

/// What is known of an encrypted connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Tls {
    records: Encrypted,
    /// The client has begun.
    begun: bool,
}

impl Cover {
    pub(super) fn is_clear(&self) -> bool {
        matches!(self, Self::Clear)
    }

    pub(super) fn is_blind(&self) -> bool {
        matches!(self, Self::Blind)
    }

    pub(super) fn is_raw(&self, dir: Direction) -> bool {
        if let Self::Tls(tls) = self { tls.records.is_raw(dir) } else { false }
    }

    pub(super) fn takes_reply(&self) -> bool {
        if let Self::Tls(tls) = self { tls.records.takes_reply() } else { false }
    }

    pub(super) fn memory(&self) -> usize {
        if let Self::Tls(_) = self { size_of::<Tls>() } else { 0 }
    }
}

impl With<'_> {
    /// AUTH: it stands alone, with no command before it unanswered and none behind it.
    pub(super) fn auth(
        &mut self,
        now: Instant,
        command: &Command<'_>,
        clean: &Stripped<'_>,
        line: &Line<'_>,
        dirty: bool,
    ) -> Verdict {
        if self.settings.ftps == Ftps::Refuse {
            return self.refuse(now, clean, line, refusal::FTPS);
        }
        let mechanism = command.argument.trim_ascii().to_ascii_uppercase();
        let tls = matches!(mechanism.as_slice(), b"TLS" | b"TLS-C" | b"SSL" | b"TLS-P");
        if !tls && !self.is_compat() {
            return self.refuse(now, clean, line, refusal::AUTH_MECHANISM);
        }
        self.forward(command, Tag::Auth, dirty)
    }

    /// The server agrees to AUTH. 334: to a mechanism whose lines are wrapped (RFC 2228).
    pub(super) fn agreed(&mut self, now: Instant, code: u16) {
        self.doors.close(now, Why::Opaque);
        self.log.counters.encrypted += 1;
        self.unanswered(now, |_| true);
        let rules = &mut *self.rules;
        rules.pending = Pending::default();
        let mut tls = Tls::default();
        tls.records.begin();
        rules.cover = if code == 234 { Cover::Tls(Box::new(tls)) } else { Cover::Blind };
        let text = match self.settings.ccc {
            Ccc::Require => "ccc required: no data connection before the control channel is clear again",
            Ccc::Allow | Ccc::Deny => "control channel encrypted",
        };
        self.session_event("encrypted", text);
    }

    /// Bytes of an encrypted connection.
    pub(super) fn covered(&mut self, now: Instant, dir: Direction, bytes: &[u8]) -> Raw {
        if self.rules.ended.is_some() {
            return Raw::Reset;
        }
        let Cover::Tls(tls) = &mut self.rules.cover else { return Raw::All };
        if dir == Direction::ToClient && !tls.begun {
            return self.injected(now, "the server sent bytes behind its answer to AUTH");
        }
        let (raw, turn) = tls.records.take(dir, bytes, self.settings.ccc);
        tls.begun = true;
        match turn {
            Turn::Same => {}
            // Who has logged in went by unseen.
            Turn::Half => {
                self.rules.logged_in = true;
                self.rules.pace.logged_in();
            }
            Turn::Clear => self.clear_again(),
            Turn::Lost => self.rules.cover = Cover::Blind,
            Turn::Injected => return self.injected(now, "bytes behind AUTH that are no TLS"),
            Turn::Denied => {
                self.log.counters.clear_again += 1;
                self.session_event("refused", "ccc denied");
                self.over(now, "ccc denied");
            }
        }
        raw
    }

    /// Both directions are read again. Whether data is protected went by unseen.
    fn clear_again(&mut self) {
        self.log.counters.clear_again += 1;
        let rules = &mut *self.rules;
        rules.cover = Cover::Clear;
        (rules.logged_in, rules.protected) = (true, true);
        rules.pace.logged_in();
        let text = if self.settings.ccc == Ccc::Require { "ccc: the requirement is met" } else { "ccc" };
        self.session_event("clear", text);
    }

    fn injected(&mut self, now: Instant, why: &'static str) -> Raw {
        self.log.counters.injected += 1;
        self.violation(now, why);
        Raw::Reset
    }
}
