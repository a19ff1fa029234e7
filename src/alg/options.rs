//! TCP options: what a control connection's SYN may not agree on, acknowledged ranges mapped, timestamps.

use crate::wire::tcp;

const NOP: u8 = 1;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;
/// MD5 signatures (RFC 2385) and the authentication option (RFC 5925).
const SIGNED: [u8; 2] = [19, 29];
const MPTCP: u8 = 30;
const FAST_OPEN: u8 = 34;
/// Options under trial and fast open's number among them (RFC 6994, RFC 7413 appendix B).
const TRIAL: [u8; 2] = [253, 254];
const TRIAL_FAST_OPEN: [u8; 2] = [0xF9, 0x89];

/// An option list, at most 40 bytes, padded as on the wire.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OptionList {
    bytes: [u8; 40],
    len: u8,
}

impl std::fmt::Debug for OptionList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_slice().fmt(f)
    }
}

impl Default for OptionList {
    fn default() -> Self {
        Self { bytes: [NOP; 40], len: 0 }
    }
}

/// What stands in a SYN that matters to an editor of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stripped {
    /// The segments are signed: nothing may be changed, and nothing was.
    pub signed: bool,
    /// Multipath TCP (RFC 8684): its mappings count the stream's bytes. Taken out.
    pub multipath: bool,
    /// Fast open (RFC 7413): data before the connection stands. Taken out.
    pub fast_open: bool,
}

impl OptionList {
    /// A copy of a list; what is beyond 40 bytes is cut off, which no TCP header can hold.
    pub fn new(list: &[u8]) -> Self {
        let mut o = Self::default();
        o.put(list);
        o
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// How many.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Timestamp value and echo (RFC 7323 3.2).
    pub fn timestamps(&self) -> Option<(u32, u32)> {
        let list = self.as_slice();
        let (_, at, _) = tcp::Options::of(list).find(|&(kind, _, len)| kind == TIMESTAMPS && len == 10)?;
        Some((be32(list, at + 2)?, be32(list, at + 6)?))
    }

    /// Options of a segment of ours: timestamps and acknowledged ranges, as many as fit.
    pub(super) fn ours(timestamps: Option<(u32, u32)>, sack: &[(u32, u32)]) -> Self {
        let mut o = Self::default();
        if let Some((value, echo)) = timestamps {
            o.put(&[NOP, NOP, TIMESTAMPS, 10]);
            o.put(&value.to_be_bytes());
            o.put(&echo.to_be_bytes());
        }
        let fit = (40 - o.len() - 4) / 8;
        if let Some(blocks) = sack.get(..sack.len().min(fit)).filter(|b| !b.is_empty()) {
            o.put(&[NOP, NOP, SACK, 2 + 8 * blocks.len() as u8]);
            for (left, right) in blocks {
                o.put(&left.to_be_bytes());
                o.put(&right.to_be_bytes());
            }
        }
        o
    }

    /// Maps the acknowledged ranges; those that `map` gives nothing for go, with the option if none is left. The
    /// list keeps its length.
    pub(super) fn map_sack(&mut self, mut map: impl FnMut(u32, u32) -> Option<(u32, u32)>) {
        let list = *self;
        let list = list.as_slice();
        for (_, at, len) in tcp::Options::of(list).filter(|&(kind, ..)| kind == SACK) {
            let mut to = at + 2;
            for from in (at + 2..at + len).step_by(8).take_while(|from| from + 8 <= at + len) {
                let (Some(left), Some(right)) = (be32(list, from), be32(list, from + 4)) else { continue };
                if let Some((left, right)) = map(left, right) {
                    self.bytes[to..to + 4].copy_from_slice(&left.to_be_bytes());
                    self.bytes[to + 4..to + 8].copy_from_slice(&right.to_be_bytes());
                    to += 8;
                }
            }
            if to == at + 2 {
                to = at;
            } else {
                self.bytes[at + 1] = (to - at) as u8;
            }
            self.bytes[to..at + len].fill(NOP);
        }
    }

    /// Takes out of a SYN what would not survive an edit, unless it is signed.
    pub fn strip_syn(&mut self) -> Stripped {
        let mut found = Stripped::default();
        let list = *self;
        let list = list.as_slice();
        if tcp::Options::of(list).any(|(kind, ..)| SIGNED.contains(&kind)) {
            found.signed = true;
            return found;
        }
        for (kind, at, len) in tcp::Options::of(list) {
            let trial = TRIAL.contains(&kind) && list.get(at + 2..at + 4) == Some(&TRIAL_FAST_OPEN);
            if kind == MPTCP {
                found.multipath = true;
            } else if kind == FAST_OPEN || trial {
                found.fast_open = true;
            } else {
                continue;
            }
            self.bytes[at..at + len].fill(NOP);
        }
        found
    }

    fn put(&mut self, bytes: &[u8]) {
        let at = self.len();
        let room = bytes.len().min(40 - at);
        self.bytes[at..at + room].copy_from_slice(&bytes[..room]);
        self.len += room as u8;
    }
}

fn be32(list: &[u8], at: usize) -> Option<u32> {
    list.get(at..at + 4)?.first_chunk().map(|b| u32::from_be_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_mapped_and_empty_ones_taken_out() {
        let mut o = OptionList::ours(Some((7, 8)), &[(1, 5), (10, 20), (30, 40)]);
        assert_eq!(o.len(), 12 + 4 + 24);
        o.map_sack(|l, r| (l != 10).then_some((l + 100, r + 100)));
        let want = OptionList::ours(Some((7, 8)), &[(101, 105), (130, 140)]);
        assert_eq!((&o.as_slice()[..32], &o.as_slice()[32..]), (want.as_slice(), &[NOP; 8][..]));
        o.map_sack(|_, _| None);
        assert_eq!(o.as_slice(), [&want.as_slice()[..12], &[NOP; 28]].concat());
        assert_eq!(o.timestamps(), Some((7, 8)));
    }

    #[test]
    fn no_more_ranges_than_fit() {
        assert_eq!(OptionList::ours(Some((1, 2)), &[(1, 2); 9]).len(), 40);
        assert_eq!(OptionList::ours(None, &[(1, 2); 9]).len(), 36);
        assert!(OptionList::ours(None, &[]).is_empty());
    }

    #[test]
    fn syn_options_that_edits_would_break_are_taken_out() {
        let mut o = OptionList::new(&[
            2, 4, 5, 180, 30, 4, 0, 1, 34, 4, 9, 9, 254, 4, 0xF9, 0x89, 253, 4, 1, 1, 4, 2, 1, 1,
        ]);
        let found = o.strip_syn();
        assert_eq!(found, Stripped { signed: false, multipath: true, fast_open: true });
        let want = [&[2, 4, 5, 180][..], &[1; 12], &[253, 4, 1, 1, 4, 2, 1, 1]].concat();
        assert_eq!(o.as_slice(), want);
        assert_eq!(o.strip_syn(), Stripped::default());
        for kind in SIGNED {
            let mut o = OptionList::new(&[kind, 4, 0, 0, 30, 4, 0, 1]);
            let before = o;
            assert_eq!((o.strip_syn().signed, o), (true, before));
        }
    }

    proptest! {
        #[test]
        fn any_list_is_walked(list in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut o = OptionList::new(&list);
            let len = o.len();
            o.map_sack(|l, r| (l < r).then_some((l, r)));
            o.strip_syn();
            o.timestamps();
            prop_assert_eq!(o.len(), len);
        }
    }
}
