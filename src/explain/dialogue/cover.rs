//! Where a control connection is encrypted: behind AUTH, up to CCC.

use super::{LINE, Part, Session};
use crate::explain::Spot;
use crate::ftp::pending::Pending;
use crate::ftp::reader::Reader;
use crate::ftp::reply::{Held, ReplyReader};
use crate::ftp::tls::{Records, Seen};

/// Stretches that are told apart; what is encrypted more often is taken for encrypted to its end.
const STRETCHES: usize = 64;

/// A part of a session that nobody can read.
#[derive(Debug, Clone, Copy)]
pub(in crate::explain) struct Hidden {
    /// Its begin.
    pub(in crate::explain) from: Spot,
    /// Its end, if it has one.
    pub(in crate::explain) until: Option<Spot>,
    /// It began with AUTH, not with the connection.
    pub(in crate::explain) by_auth: bool,
}

impl Session {
    /// Where the connection was encrypted first.
    pub(in crate::explain) fn first_hidden(&self) -> Option<Spot> {
        self.hidden.first().map(|h| h.from)
    }

    /// Where it was clear again last.
    pub(in crate::explain) fn clear_again(&self) -> Option<Spot> {
        self.hidden.iter().rev().find_map(|h| h.until)
    }

    /// Where it was encrypted first behind this place.
    pub(in crate::explain) fn hidden_behind(&self, place: Spot) -> Option<Spot> {
        self.hidden.iter().find(|h| h.from.order > place.order).map(|h| h.from)
    }

    /// The answer to AUTH since which this place is encrypted.
    pub(in crate::explain) fn auth_before(&self, place: Spot) -> Option<Spot> {
        let holds = |h: &&Hidden| {
            h.by_auth && h.from.order < place.order && h.until.is_none_or(|until| until.order > place.order)
        };
        self.hidden.iter().find(holds).map(|h| h.from)
    }

    /// From here on both directions are encrypted.
    pub(super) fn hide(&mut self, from: Spot, by_auth: bool) {
        for side in &mut self.sides {
            side.records = Some(Records::default());
        }
        if self.hidden.len() < STRETCHES {
            self.hidden.push(Hidden { from, until: None, by_auth });
        }
        // What is said under cover answers and supersedes what was said before.
        (self.pending, self.current) = (Pending::default(), None);
        (self.replies_in, self.held) = (ReplyReader::default(), Held::default());
    }

    /// The server agrees to AUTH.
    pub(super) fn covered(&mut self, code: u16, part: &Part<'_>) {
        self.hide(part.spot, true);
        if code != 234 {
            // Not TLS: lines, whose text is wrapped.
            for side in &mut self.sides {
                side.records = Some(Records::lost());
            }
        }
        self.note(part, "from here on the control connection is encrypted");
    }

    /// Bytes of a side that is encrypted.
    pub(super) fn encrypted(&mut self, side: usize, bytes: &[u8], part: &Part<'_>) {
        let Some(records) = &mut self.sides[side].records else { return };
        let Seen::Clear(at) = records.next(bytes) else { return };
        if records.count() == 0 {
            // Nothing was encrypted yet: somebody else's text.
            *records = Records::lost();
            return;
        }
        let one = &mut self.sides[side];
        (one.records, one.reader, one.torn) = (None, Reader::new(LINE), false);
        if self.sides.iter().all(|s| s.records.is_none())
            && let Some(last) = self.hidden.last_mut().filter(|h| h.until.is_none())
        {
            last.until = Some(part.spot);
            self.note(part, "from here on the control connection is clear again (CCC)");
        }
        self.bytes(side, bytes.get(at..).unwrap_or_default(), part);
    }
}
