//! Control connections that become encrypted (RFC 4217) and that we do not read: `ftps = "opaque"`.
//!
//! Behind the 234 to AUTH both legs are joined as bytes. What a client sends behind AUTH before that answer, or a
//! server behind its 234 at once, would be taken for protected by its receiver while anybody on the way may have
//! put it there (the class of CVE-2011-0411): the session ends instead.

use super::control::{CLIENT, Control, SERVER, Session, Tag};
use super::shared::Shared;
use crate::event::What;
use crate::ftp::command::Command;
use crate::ftp::lossy;
use crate::ftp::verb::Verb;
use crate::time::Duration;

/// An idle time for connections whose use cannot be seen (RFC 5382 REQ-5): data connections go past us.
pub(super) const OPAQUE_IDLE: Duration = Duration::from_secs(124 * 60);

/// How far a session is with its encryption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cover {
    /// Lines are read.
    Clear,
    /// The server has agreed in these words; the client does not know yet.
    Agreed(Vec<u8>),
    /// Bytes are passed on.
    Opaque,
}

impl Control {
    /// AUTH, where it is allowed.
    pub(super) fn auth(&mut self, shared: &mut Shared, command: &Command<'_>) -> &'static str {
        let mechanism = command.argument.to_ascii_uppercase();
        if !matches!(mechanism.as_slice(), b"TLS" | b"TLS-C" | b"SSL" | b"TLS-P") {
            return self.refuse(shared, Verb::Auth, 504, "Refused by policy: only AUTH TLS is passed on.");
        }
        self.forward(command, Tag::Auth)
    }

    /// Whether AUTH has to wait: what comes before it is to be done first, or answers would be mixed up with it.
    pub(super) fn auth_too_early(&self) -> bool {
        !self.greeted || !self.pending.is_empty() || self.sets_up_too_early()
    }

    /// Whether the answer to AUTH is awaited.
    pub(super) fn awaits_auth(&self) -> bool {
        self.pending.iter().any(|e| matches!(e.tag, Tag::Auth))
    }

    pub(super) fn is_opaque(&self) -> bool {
        self.cover == Cover::Opaque
    }

    /// How long an encrypted control connection may be silent.
    pub(super) fn opaque_idle(&self, shared: &Shared) -> Duration {
        OPAQUE_IDLE.max(shared.settings.timers.control_idle)
    }

    /// Copies both ways. True if something moved.
    pub(super) fn opaque_service(&mut self, shared: &Shared) -> bool {
        if self.ending.is_some() || !self.to_client.is_empty() || !self.to_server.is_empty() {
            // The 234 goes first.
            return false;
        }
        let moved = self.stack.pump(CLIENT, SERVER) + self.stack.pump(SERVER, CLIENT);
        if moved > 0 {
            self.activity = shared.now;
        }
        moved > 0
    }

    fn injected(&mut self, shared: &mut Shared, by: &'static str) {
        self.to_server.clear();
        self.farewell(shared, b"421 Bytes behind AUTH before TLS: the connection is closed.\r\n", by);
    }
}

impl Session {
    /// What a client sent behind AUTH and before its answer ends the session.
    pub(super) fn watch_client(&mut self, shared: &mut Shared) {
        let c = &self.ctl;
        if !c.awaits_auth() || c.ending.is_some() {
            return;
        }
        if !self.client_unread.is_empty() || self.client_lines.is_mid_line() || c.stack.readable(CLIENT) > 0 {
            self.client_unread.clear();
            self.ctl.injected(shared, "the client sent bytes behind AUTH before its answer");
        }
    }

    /// The server has agreed: from here on bytes are passed on, if nothing lies between.
    pub(super) fn cover(&mut self, shared: &mut Shared, server_rest: bool) {
        let Cover::Agreed(said) = &mut self.ctl.cover else { return };
        let said = std::mem::take(said);
        self.ctl.cover = Cover::Clear;
        let c = &self.ctl;
        if !self.client_unread.is_empty() || self.client_lines.is_mid_line() || c.stack.readable(CLIENT) > 0 {
            return self.ctl.injected(shared, "the client sent bytes behind AUTH before its answer");
        }
        if server_rest || self.server_lines.is_mid_line() || c.stack.readable(SERVER) > 0 {
            return self.ctl.injected(shared, "the server sent bytes behind its answer to AUTH");
        }
        self.ctl.data_covered(shared);
        self.ctl.say(&said);
        let text = lossy(said.get(4..).unwrap_or_default()).trim_end().to_owned();
        shared.event(What::Reply { session: self.ctl.id, code: 234, text, source: "server" });
        self.ctl.cover = Cover::Opaque;
        self.ctl.session_event(shared, "encrypted", "control channel encrypted");
    }
}
