//! Ethernet II with 802.1Q and 802.1ad tags.
//!
//! ```text
//!  0       6       12      14
//! | dst   | src   | type  | payload            type 0x8100 / 0x88A8: a tag of 4 bytes, then the next type
//! ```

use super::{be16, put16};

/// IPv4.
pub const TYPE_IPV4: u16 = 0x0800;
/// IPv6.
pub const TYPE_IPV6: u16 = 0x86DD;
/// ARP.
pub const TYPE_ARP: u16 = 0x0806;
/// 802.1Q tag.
pub const TYPE_VLAN: u16 = 0x8100;
/// 802.1ad (outer) tag.
pub const TYPE_QINQ: u16 = 0x88A8;
/// Length of a header without tags.
pub const HEADER: usize = 14;
/// Most tags that we look behind.
pub const MAX_TAGS: usize = 2;

/// A MAC address.
pub type Mac = [u8; 6];
/// The broadcast address.
pub const BROADCAST: Mac = [0xFF; 6];

/// What stands in front of the payload of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct L2 {
    /// Length of header and tags: 14, 18 or 22.
    pub len: usize,
    /// Type of the payload behind the tags.
    pub ethertype: u16,
}

/// A header's tags, to be put on frames that answer it: 0 to 8 bytes as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Tags {
    bytes: [u8; 8],
    len: u8,
}

impl Tags {
    /// No tag.
    pub const NONE: Self = Self { bytes: [0; 8], len: 0 };

    /// The tags as on the wire.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Tags of these VLAN ids, the outer one first: 802.1Q for one, 802.1ad around 802.1Q for two, of no
    /// priority. Ids beyond the first two are left out.
    pub fn of_ids(ids: &[u16]) -> Self {
        let mut tags = Self::default();
        let types: &[u16] = if ids.len() > 1 { &[TYPE_QINQ, TYPE_VLAN] } else { &[TYPE_VLAN] };
        for (n, (kind, id)) in types.iter().zip(ids).enumerate() {
            put16(&mut tags.bytes, 4 * n, *kind);
            put16(&mut tags.bytes, 4 * n + 2, *id & 0x0FFF);
            tags.len += 4;
        }
        tags
    }

    /// The VLAN ids, the outer one first.
    pub fn ids(&self) -> impl Iterator<Item = u16> + '_ {
        self.bytes().chunks_exact(4).map(|tag| be16(tag, 2) & 0x0FFF)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Reads the header; `None` if the frame is too short or has more than two tags.
pub fn parse(frame: &[u8]) -> Option<L2> {
    let mut len = HEADER;
    loop {
        if frame.len() < len {
            return None;
        }
        let ethertype = be16(frame, len - 2);
        if !matches!(ethertype, TYPE_VLAN | TYPE_QINQ) {
            return Some(L2 { len, ethertype });
        }
        if len == HEADER + 4 * MAX_TAGS {
            return None;
        }
        len += 4;
    }
}

/// Destination address. The frame must have been [`parse`]d.
pub fn dst(frame: &[u8]) -> Mac {
    [frame[0], frame[1], frame[2], frame[3], frame[4], frame[5]]
}

/// Source address. The frame must have been [`parse`]d.
pub fn src(frame: &[u8]) -> Mac {
    [frame[6], frame[7], frame[8], frame[9], frame[10], frame[11]]
}

/// The tags of a parsed frame.
pub fn tags(frame: &[u8], l2: L2) -> Tags {
    let mut t = Tags::default();
    let n = l2.len - HEADER;
    t.bytes[..n].copy_from_slice(&frame[12..12 + n]);
    t.len = n as u8;
    t
}

/// Length of a header with these tags.
pub fn header_len(tags: &Tags) -> usize {
    HEADER + tags.bytes().len()
}

/// Writes a header into the front of `out`, which must be at least [`header_len`] long.
pub fn emit(out: &mut [u8], dst: Mac, src: Mac, tags: &Tags, ethertype: u16) {
    let n = tags.bytes().len();
    out[..6].copy_from_slice(&dst);
    out[6..12].copy_from_slice(&src);
    out[12..12 + n].copy_from_slice(tags.bytes());
    put16(out, 12 + n, ethertype);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_ids_have_these_ids() {
        assert!(Tags::of_ids(&[]).is_empty());
        assert_eq!(Tags::of_ids(&[100]).bytes(), [0x81, 0, 0, 100]);
        let two = Tags::of_ids(&[0xFFF, 7]);
        assert_eq!(two.bytes(), [0x88, 0xA8, 0x0F, 0xFF, 0x81, 0, 0, 7]);
        assert!(two.ids().eq([0xFFF, 7]));
        assert_eq!(Tags::of_ids(&[1, 2, 3]).bytes().len(), 8);
    }

    #[test]
    fn tags_are_kept_and_a_third_is_refused() {
        let mut f = vec![0u8; 12];
        f.extend([0x88, 0xA8, 0, 5, 0x81, 0x00, 0, 6, 0x08, 0x00]);
        let l2 = parse(&f).unwrap();
        assert_eq!(l2, L2 { len: 22, ethertype: TYPE_IPV4 });
        let t = tags(&f, l2);
        assert_eq!(t.bytes(), &f[12..20]);
        let mut out = vec![0; header_len(&t)];
        emit(&mut out, [0; 6], [0; 6], &t, TYPE_IPV4);
        assert_eq!(out, f);
        f.splice(12..12, [0x81, 0, 0, 1]);
        assert_eq!(parse(&f), None);
        assert_eq!(parse(&f[..13]), None);
    }
}
