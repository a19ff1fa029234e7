//! Segments as they come and go, and what is told besides.

use super::options::OptionList;
use crate::wire::Segment;

/// Congestion window reduced (RFC 3168).
pub const CWR: u8 = 0x80;

/// Which way a segment goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

impl Direction {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::ToServer, Self::ToClient];

    /// The other way.
    #[must_use]
    pub const fn back(self) -> Self {
        match self {
            Self::ToServer => Self::ToClient,
            Self::ToClient => Self::ToServer,
        }
    }
}

/// A segment that came, its checksums known to be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Incoming<'a> {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags, the low eight.
    pub flags: u8,
    /// Window, unscaled.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Options.
    pub options: OptionList,
    /// Payload.
    pub payload: &'a [u8],
}

impl<'a> Incoming<'a> {
    /// Of a parsed segment and the bytes that it was parsed from.
    pub fn new(bytes: &'a [u8], seg: &Segment) -> Self {
        let header = bytes.get(seg.start..seg.payload).unwrap_or_default();
        let urgent = header.get(18..20).map_or(0, |p| u16::from_be_bytes([p[0], p[1]]));
        Self {
            seq: seg.seq,
            ack: seg.ack,
            flags: seg.flags,
            window: seg.window,
            urgent,
            options: OptionList::new(header.get(20..).unwrap_or_default()),
            payload: bytes.get(seg.payload..seg.end).unwrap_or_default(),
        }
    }
}

/// A segment to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Which way.
    pub dir: Direction,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags.
    pub flags: u8,
    /// Window, unscaled.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Options.
    pub options: OptionList,
    /// Payload.
    pub payload: Vec<u8>,
    /// It is the segment that came, in every field: its frame may go as it is.
    pub verbatim: bool,
}

impl Outgoing {
    /// Whether it says what `seg` says.
    pub(super) fn is(&self, seg: &Incoming<'_>) -> bool {
        (self.seq, self.ack, self.flags, self.window) == (seg.seq, seg.ack, seg.flags, seg.window)
            && (self.urgent, self.options) == (seg.urgent, seg.options)
            && self.payload == seg.payload
    }
}

/// Something that a person may want to know, and a strict rule may act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// The direction whose stream it is about.
    pub dir: Direction,
    /// Where: bytes of the stream before it.
    pub at: u64,
    /// What.
    pub what: What,
}

/// What a [`Note`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// Bytes were sent again, and were others. The first ones stand.
    Conflict,
    /// A segment beyond the receiver's window; its part beyond is dropped.
    OutOfWindow,
    /// A segment older than one before it; nothing new of it is taken.
    OldTimestamp,
    /// Too much came before its turn; the segment is dropped.
    LateFull,
    /// Too much waits for the receiver; what is beyond is dropped.
    Full,
    /// An acknowledgement of what was not sent; the segment is dropped.
    BadAck,
    /// Urgent data that is no Synch; the mark is taken off, the byte stays.
    UrgentCleared,
    /// An answer of ours found no place.
    AnswerLost,
    /// The receiver did not take what we answer for; both ends are reset.
    GaveUp,
    /// The segments are signed: nothing is read or changed.
    Signed,
    /// Data in a SYN was dropped.
    SynData,
    /// Multipath or fast open was taken out of a SYN.
    Stripped,
    /// The connection's begin was not seen, or makes no sense: nothing is read or changed.
    Unknown,
}

/// What a call gives, to be sent and told in this order. The caller empties it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Segments.
    pub segments: Vec<Outgoing>,
    /// Notes.
    pub notes: Vec<Note>,
}
