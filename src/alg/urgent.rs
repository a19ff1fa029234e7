//! Urgent data: which byte of a direction's stream may leave with TCP's urgent mark.
//!
//! A receiver takes the marked byte out of the stream, or leaves it where it is: programs choose (`SO_OOBINLINE`), and
//! nobody on the way knows which. So with a mark on one of its bytes a line is two lines, one of them not the one that
//! was decided about: `PXORT` is `PORT` to some. Marks are taken off, then, with one exception: the DM of a Synch
//! before ABOR or STAT (RFC 959 4.1.3), which means nothing to the line whether it is there or not.
//!
//! A pointer is read in two ways: as behind the last urgent byte (RFC 793 3.1, and every stack that there is) or as
//! at it (RFC 1122 4.2.2.4). Programs mark the DM, or the IAC before it, which in the other way is the same; both
//! are taken for the DM. What leaves is the first way's.
//!
//! A mark may come before its byte, and say nothing of what that will be. It leaves when the byte is decided, not earlier.

use super::half::Half;
use super::log::Round;
use super::segment::{Direction, Note, Output, What};
use crate::ftp::telnet::{SYNCH, SYNCH_URGENT};

/// So many bytes of a line tell whether it is a Synch, its verb's end included.
pub(super) const SYNCH_LINE: usize = SYNCH.len() + 5;

/// One direction's marks. Positions are of the sent stream, but for `marked`; 0 is none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Urgent {
    /// Behind a marked byte of which nothing is decided yet.
    waits: u64,
    /// The DM of the latest Synch.
    synch: u64,
    /// From here on, up to what is decided, the stream is not read.
    unread: u64,
    /// Behind the marked byte, in the delivered stream.
    marked: u64,
    /// Behind the furthest byte whose mark was taken off.
    cleared: u64,
}

impl Urgent {
    /// Notes a line that goes on as it is, begins at `at`, and is a [Synch](is_synch).
    pub(super) fn synch(&mut self, at: u64) {
        self.synch = at + SYNCH_URGENT as u64;
    }
}

impl Half {
    /// Takes in a segment's mark: it stands at `at`, and its pointer is `pointer`.
    pub(super) fn mark(&mut self, dir: Direction, at: u64, pointer: u16, out: &mut Output) {
        // A pointer of 0 is the first byte to those who would have it one further, and to the others.
        let urgent = at + u64::from(pointer.max(1));
        let Urgent { synch, unread, .. } = self.urgent;
        if self.is_synch(urgent) {
            self.set(synch + 1);
        } else if unread > 0 && urgent > unread && urgent <= self.decided {
            self.set(urgent);
        } else if urgent >= self.decided {
            // Or the byte behind it, the other way, may be a DM.
            self.urgent.waits = self.urgent.waits.max(urgent);
        } else {
            self.clear(dir, urgent, out);
        }
    }

    /// Decides about a mark that came before its byte, which may be decided now: what was decided last begins at `from`,
    /// and somebody `reads` it or not. True if the mark was taken off.
    pub(super) fn settle_mark(&mut self, from: u64, reads: bool) -> bool {
        match (reads, self.urgent.unread) {
            (true, _) => self.urgent.unread = 0,
            (false, 0) => self.urgent.unread = from,
            (false, _) => {}
        }
        let Urgent { waits, synch, unread, cleared, .. } = self.urgent;
        if waits == 0 {
            return false;
        }
        let mut off = false;
        if self.is_synch(waits) {
            self.set(synch + 1);
        } else if unread > 0 && waits > unread && waits <= self.decided {
            self.set(waits);
        } else if waits < self.decided {
            off = waits > cleared;
            self.urgent.cleared = cleared.max(waits);
        } else {
            return false;
        }
        self.urgent.waits = 0;
        off
    }

    /// Forgets what the receiver has acknowledged.
    pub(super) fn forget_mark(&mut self) {
        if self.urgent.marked <= self.una {
            self.urgent.marked = 0;
        }
    }

    /// The urgent pointer of a segment of `len` bytes at `at` of the delivered stream; 0 for none. Where the mark lies
    /// ahead, only if it is `asked` for.
    pub(super) fn pointer(&self, at: u64, len: usize, asked: bool) -> u16 {
        let marked = self.urgent.marked;
        if marked <= at || !(asked || marked <= at + len as u64) {
            return 0;
        }
        u16::try_from(marked - at).unwrap_or(0)
    }

    /// Whether a mark is the one of a Synch, in either way to read it.
    fn is_synch(&self, urgent: u64) -> bool {
        let synch = self.urgent.synch;
        synch > 0 && (urgent == synch || urgent == synch + 1)
    }

    fn set(&mut self, urgent: u64) {
        let marked = self.log.fwd(urgent - 1, Round::Floor) + 1;
        if marked > self.una {
            self.urgent.marked = self.urgent.marked.max(marked);
        }
    }

    fn clear(&mut self, dir: Direction, urgent: u64, out: &mut Output) {
        // The same mark comes with each segment before it, and again with what is sent again.
        if urgent > self.urgent.cleared {
            self.urgent.cleared = urgent;
            out.notes.push(Note { dir, at: urgent.saturating_sub(2), what: What::UrgentCleared });
        }
    }
}

/// Whether a line, of a client's, is ABOR or STAT behind a whole Synch.
pub(super) fn is_synch(line: &[u8]) -> bool {
    line.strip_prefix(&SYNCH).and_then(|rest| rest.split_at_checked(4)).is_some_and(|(verb, rest)| {
        let ends = rest.first().is_some_and(|b| matches!(b, b' ' | b'\r' | b'\n'));
        ends && (verb.eq_ignore_ascii_case(b"ABOR") || verb.eq_ignore_ascii_case(b"STAT"))
    })
}
