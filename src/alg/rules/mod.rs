//! FTP's rules for a connection that is edited in flight: what each line means, and what becomes of it.

mod doors;
mod log;
mod settings;
mod tls;

pub use doors::{Doors, NoDoor, Transfer, Why};
pub use log::{Counters, Log};
pub use settings::{Ccc, Ends, Ftps, Profile, Settings};

use super::editor::{Editor, Line, Verdict};
use super::segment::{Direction, Note};
use crate::event::SessionId;
use crate::time::Instant;

/// The rules' knowledge of one control connection.
#[derive(Debug)]
pub struct Rules {
    session: SessionId,
    ends: Ends,
    ended: Option<(Instant, &'static str)>,
}

/// The rules at work: an [`Editor`] for one call into the core.
pub struct With<'a> {
    rules: &'a mut Rules,
    settings: &'a Settings,
    doors: &'a mut dyn Doors,
    log: &'a mut Log,
}

impl Rules {
    /// Of a connection whose first SYN is still to come.
    #[must_use]
    pub fn new(session: SessionId, ends: Ends, settings: &Settings) -> Self {
        let _ = settings;
        Self { session, ends, ended: None }
    }

    /// The editor for one call into the core.
    pub fn with<'a>(
        &'a mut self,
        settings: &'a Settings,
        doors: &'a mut dyn Doors,
        log: &'a mut Log,
    ) -> With<'a> {
        With { rules: self, settings, doors, log }
    }

    /// Takes a note of the core. True: both ends are to be reset ([`Alg::end`](super::Alg::end)), for the reason that
    /// [`ended`](Self::ended) gives.
    pub fn note(&mut self, settings: &Settings, note: &Note, log: &mut Log) -> bool {
        let _ = (settings, note, log);
        false
    }

    /// A rule has ended the session: from this time on both ends are to be reset
    /// ([`Alg::end`](super::Alg::end)), unless they are over before, and why. The client may be reading its 421 until then.
    #[must_use]
    pub fn ended(&self) -> Option<(Instant, &'static str)> {
        self.ended
    }

    /// Whether no data connection is to be admitted, static rules' included: `ccc = "require"`, and the connection is
    /// encrypted.
    #[must_use]
    pub fn admits_nothing(&self, settings: &Settings) -> bool {
        let _ = settings;
        false
    }

    /// Whether the connection is not read: encrypted, or not FTP.
    #[must_use]
    pub fn is_opaque(&self) -> bool {
        false
    }

    /// Bytes of memory held beyond the value itself; none while no command is without its answer.
    #[must_use]
    pub fn memory(&self) -> usize {
        0
    }
}

impl Editor for With<'_> {
    fn wants(&self, _dir: Direction, _start: &[u8]) -> bool {
        false
    }

    fn line(&mut self, _now: Instant, _dir: Direction, _line: Line<'_>) -> Verdict {
        let _ = (&self.rules.session, &self.rules.ends, &self.settings, &self.doors, &self.log);
        Verdict::Keep
    }

    fn passed(&mut self, _now: Instant, _dir: Direction, _line: Line<'_>) {}
}
