//! A connection between AUTH's 234 and the first clear bytes behind CCC.
//!
//! While it is encrypted nobody here knows what was asked, answered and announced. When it is clear again the dialogue
//! begins anew, but not as a new connection's: nothing is outstanding, since CCC's own reply is encrypted, and a client
//! that sent more before it would have been answered under the same key; the greeting is long past; and a client that
//! may speak clear text now has logged in under cover of what it asked for. PROT stands as it was, which nobody saw.

use super::settings::Ccc;
use crate::alg::Direction;
use crate::alg::editor::Raw;
use crate::ftp::tls::{Records, Seen};

/// What encrypted bytes led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing new.
    Same,
    /// The direction is clear from here on; the other one is still encrypted.
    Half,
    /// Both directions are clear.
    Clear,
    /// Clear text, which is not allowed: both ends are reset.
    Denied,
    /// Clear bytes where the first record should begin: somebody put them behind AUTH, or behind the 234, to be taken for
    /// protected (RFC 4217 section 15). Both ends are reset.
    Injected,
    /// Neither TLS nor text, told once: what becomes of the direction will not be known.
    Lost,
}

/// The two directions.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Encrypted {
    to_server: Option<Records>,
    to_client: Option<Records>,
}

impl Encrypted {
    /// Behind the lines that are decided, both directions are encrypted.
    pub(super) fn begin(&mut self) {
        *self = Self { to_server: Some(Records::default()), to_client: Some(Records::default()) };
    }

    /// Whether this direction's bytes are no lines.
    pub(super) fn is_raw(&self, dir: Direction) -> bool {
        match dir {
            Direction::ToServer => self.to_server.is_some(),
            Direction::ToClient => self.to_client.is_some(),
        }
    }

    /// Whether either is.
    pub(super) fn is_any(&self) -> bool {
        Direction::BOTH.into_iter().any(|dir| self.is_raw(dir))
    }

    /// Whether a reply of ours may stand where the server's records are now. A client that speaks clear text has done
    /// with TLS, and takes what comes between records for text; the server may still owe it an alert.
    pub(super) fn takes_reply(&self) -> bool {
        self.to_server.is_none() && self.to_client.is_some_and(|r| r.is_between())
    }

    /// Takes bytes of a direction that is raw.
    pub(super) fn take(&mut self, dir: Direction, bytes: &[u8], ccc: Ccc) -> (Raw, Turn) {
        let half = match dir {
            Direction::ToServer => &mut self.to_server,
            Direction::ToClient => &mut self.to_client,
        };
        let Some(records) = half else { return (Raw::LinesAfter(0), Turn::Same) };
        let was_lost = records.is_lost();
        match records.next(bytes) {
            Seen::Records => (Raw::All, Turn::Same),
            Seen::Clear(_) if records.count() == 0 => (Raw::Reset, Turn::Injected),
            Seen::Clear(_) | Seen::Lost if ccc == Ccc::Deny => (Raw::Reset, Turn::Denied),
            Seen::Lost => (Raw::All, if was_lost { Turn::Same } else { Turn::Lost }),
            Seen::Clear(raw) => {
                *half = None;
                let turn = if self.is_any() { Turn::Half } else { Turn::Clear };
                (Raw::LinesAfter(raw), turn)
            }
        }
    }
}
