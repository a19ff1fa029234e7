//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! Sums are over big-endian 16-bit words and are kept *not* inverted; the value in a header is the
//! inverted sum. One's-complement arithmetic has two zeros: a full computation over a header that is
//! not all zeros never gives the sum 0x0000, so the field is never 0xFFFF; an incremental update may
//! give either. Receivers accept both; comparisons of packets must as well.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A running sum. Every part added but the last must have an even length.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// Zero.
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds a slice; an odd last byte counts as the high half of a word.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        // Eight bytes a step as two 32-bit words: 2^32 such additions fit into 64 bits.
        let (chunks, rest) = bytes.as_chunks::<8>();
        let mut acc = self.0;
        for c in chunks {
            let v = u64::from_be_bytes(*c);
            acc += (v >> 32) + (v & 0xFFFF_FFFF);
        }
        let (words, last) = rest.as_chunks::<2>();
        for w in words {
            acc += u64::from(u16::from_be_bytes(*w));
        }
        if let [b] = last {
            acc += u64::from(*b) << 8;
        }
        self.0 = (acc & 0xFFFF_FFFF) + (acc >> 32);
        self
    }

    /// Adds one 16-bit word.
    #[must_use]
    pub const fn word(mut self, w: u16) -> Self {
        self.0 += w as u64;
        self
    }

    /// Adds a 32-bit value as two words.
    #[must_use]
    pub const fn long(mut self, v: u32) -> Self {
        self.0 += (v >> 16) as u64 + (v & 0xFFFF) as u64;
        self
    }

    /// Adds the pseudo header of TCP, UDP (RFC 9293 3.1) or ICMPv6 (RFC 8200 8.1).
    #[must_use]
    pub fn pseudo(self, src: IpAddr, dst: IpAddr, proto: u8, len: usize) -> Self {
        let s = match (src, dst) {
            (IpAddr::V4(s), IpAddr::V4(d)) => self.v4(s).v4(d),
            (IpAddr::V6(s), IpAddr::V6(d)) => self.v6(s).v6(d),
            // Families never mix in one packet; an impossible sum makes a bad checksum, not a panic.
            _ => self,
        };
        s.word(u16::from(proto)).long(len as u32)
    }

    fn v4(self, a: Ipv4Addr) -> Self {
        self.long(a.to_bits())
    }

    fn v6(self, a: Ipv6Addr) -> Self {
        self.bytes(&a.octets())
    }

    /// The sum folded to 16 bits.
    pub const fn fold(self) -> u16 {
        let mut v = self.0;
        while v >> 16 != 0 {
            v = (v & 0xFFFF) + (v >> 16);
        }
        v as u16
    }

    /// The checksum field: the inverted sum.
    pub const fn checksum(self) -> u16 {
        !self.fold()
    }
}

/// `!old + new` for a word that changed: what [`patch`] adds.
pub const fn delta16(old: u16, new: u16) -> u16 {
    add(!old, new)
}

/// The same for a 32-bit value.
pub const fn delta32(old: u32, new: u32) -> u16 {
    add(delta16((old >> 16) as u16, (new >> 16) as u16), delta16(old as u16, new as u16))
}

/// One's-complement sum of two words; deltas are put together with it.
pub const fn add(a: u16, b: u16) -> u16 {
    let (s, carry) = a.overflowing_add(b);
    s + carry as u16
}

/// The new checksum field after a change whose delta this is (RFC 1624, equation 3).
pub const fn patch(checksum: u16, delta: u16) -> u16 {
    !add(!checksum, delta)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(bytes: &[u8]) -> u16 {
        let mut s = 0u32;
        for c in bytes.chunks(2) {
            s += u32::from(c[0]) << 8 | u32::from(*c.get(1).unwrap_or(&0));
            s = (s & 0xFFFF) + (s >> 16);
        }
        s as u16
    }

    #[test]
    fn rfc1624_example() {
        // RFC 1624 section 4: checksum 0xDD2F, a word goes from 0x5555 to 0x3285, result 0x0000.
        assert_eq!(patch(0xDD2F, delta16(0x5555, 0x3285)), 0x0000);
    }

    proptest! {
        #[test]
        fn the_wide_sum_equals_the_plain_one(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Sum::new().bytes(&bytes).fold(), naive(&bytes));
        }

        #[test]
        fn a_patched_checksum_verifies(
            mut words in proptest::collection::vec(any::<u8>(), 40..=40), at in 0usize..18, new in any::<u32>()
        ) {
            words[38] = 0; words[39] = 0;
            let c = Sum::new().bytes(&words).checksum();
            let at = at * 2;
            let old = super::super::be32(&words, at);
            super::super::put32(&mut words, at, new);
            words[38..40].copy_from_slice(&if at > 34 { c } else { patch(c, delta32(old, new)) }.to_be_bytes());
            if at <= 34 {
                let total = Sum::new().bytes(&words).fold();
                prop_assert!(total == 0xFFFF || total == 0);
            }
        }
    }
}
