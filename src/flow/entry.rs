//! What the flow table says about a frame, and what it has seen of a flow.

use super::key::FlowKey;
use super::rewrite::Rewrite;
use super::table::SlotRef;

/// What becomes of a frame that hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Rewritten in place and forwarded, by whichever worker has it.
    Translate,
    /// Handed to session [`Entry::id`] at its owner.
    Session {
        /// Which connection of the session, 0 to 15 (the session layer numbers them).
        leg: u8,
    },
    /// The connection is over; a late segment goes to its owner to be acknowledged, and makes no new flow.
    TimeWait,
    /// Segments are answered with a reset by the owner.
    Reset,
}

/// Properties of a flow, four bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u8);

impl Flags {
    /// None.
    pub const NONE: Self = Self(0);
    /// Only the owner may forward: the flow is limited, scanned or hashed.
    pub const OWNER_ONLY: Self = Self(1);
    /// We are a router hop for this flow: decrement the TTL.
    pub const HOP: Self = Self(2);
    /// Clamp the MSS option of SYN and SYN-ACK.
    pub const CLAMP_MSS: Self = Self(4);

    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self(bits & 0xF)
    }

    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What was decided about one direction of a flow. Only its owner changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The worker that owns the flow.
    pub owner: u16,
    /// Index into the epoch's table of next hops.
    pub next_hop: u16,
    /// Number of the session or flow, as its owner counts.
    pub id: u32,
    /// Policy epoch of the decision, modulo 2^16; compare for equality only.
    pub epoch: u16,
    /// What becomes of frames.
    pub action: Action,
    /// Properties.
    pub flags: Flags,
    /// New addresses and ports; [`Rewrite::identity`] where frames are not translated.
    pub rewrite: Rewrite,
}

/// Events in a flow that whoever forwards a segment marks, and that stay marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sticky(u8);

impl Sticky {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// A FIN passed.
    pub const FIN: Self = Self(1);
    /// A RST passed; its sequence number is kept for the owner to judge.
    pub const RST: Self = Self(2);

    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self(bits & 0x3)
    }

    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are marked.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What has been seen of one direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Live {
    /// Tick of the last segment, or of the insertion.
    pub tick: u32,
    /// Ticks since then; 0 if another worker's clock is ahead of the asker's.
    pub idle: u32,
    /// First sequence number after the SYN; none before the first segment.
    pub first_seq: Option<u32>,
    /// Highest sequence number at the end of a segment as of the first segment of `tick`, or of a FIN.
    /// Meaningless before the first segment.
    pub last_seq: u32,
    /// Sequence number of the last RST.
    pub rst_seq: Option<u32>,
    /// Marks.
    pub sticky: Sticky,
}

/// One entry as a sweep shows it.
#[derive(Debug, Clone, Copy)]
pub struct FlowView {
    /// Where it is.
    pub slot: SlotRef,
    /// Its key.
    pub key: FlowKey,
    /// What was decided.
    pub entry: Entry,
    /// What was seen.
    pub live: Live,
}

/// Payload bytes of one direction, from what sweeps see of its sequence numbers.
///
/// Sequence numbers wrap every 4 GiB; the owner must show this meter every live flow before 4 GiB less
/// 16 MiB have passed since the last time (at 100 Gbit/s every third of a second). Smaller than that, a
/// step back is the reordering of the very first segments and counts as nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ByteMeter {
    at: Option<u32>,
    sum: u64,
    fin: bool,
}

impl ByteMeter {
    /// Takes in what a sweep saw and gives the payload bytes up to it.
    pub fn advance(&mut self, live: &Live) -> u64 {
        if let Some(first) = live.first_seq {
            let step = live.last_seq.wrapping_sub(*self.at.get_or_insert(first));
            if step < u32::MAX - (1 << 24) {
                self.sum += u64::from(step);
                self.at = Some(live.last_seq);
            }
            self.fin = live.sticky.has(Sticky::FIN);
        }
        self.bytes()
    }

    /// Payload bytes so far; the FIN's own sequence number is not one.
    pub fn bytes(&self) -> u64 {
        self.sum.saturating_sub(u64::from(self.fin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(first: u32, last: u32, sticky: Sticky) -> Live {
        Live { tick: 0, idle: 0, first_seq: Some(first), last_seq: last, rst_seq: None, sticky }
    }

    #[test]
    fn bytes_are_counted_across_wraps_and_without_the_fin() {
        let first = u32::MAX - 9;
        let mut meter = ByteMeter::default();
        assert_eq!(meter.advance(&live(first, first, Sticky::NONE)), 0);
        let mut seq = first;
        for step in 1..=6u64 {
            seq = seq.wrapping_add(0xC000_0000);
            assert_eq!(meter.advance(&live(first, seq, Sticky::NONE)), step * 0xC000_0000);
        }
        assert_eq!(meter.advance(&live(first, seq.wrapping_add(8), Sticky::FIN)), 6 * 0xC000_0000 + 7);
    }

    #[test]
    fn a_step_back_and_an_unseen_flow_count_nothing() {
        let mut meter = ByteMeter::default();
        let mut unseen = live(0, 77, Sticky::NONE);
        unseen.first_seq = None;
        assert_eq!(meter.advance(&unseen), 0);
        assert_eq!(meter.advance(&live(5, 4, Sticky::NONE)), 0);
        assert_eq!(meter.advance(&live(5, 105, Sticky::NONE)), 100);
        assert_eq!(meter.advance(&live(5, 106, Sticky::FIN)), 100);
    }
}
