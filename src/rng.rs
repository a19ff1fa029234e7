//! Numbers that look random and are functions of (seed, purpose, what they are for).
//!
//! A sequential generator would make every number depend on all numbers drawn before it, so that one
//! more session would change the sequence numbers of all later ones and a recording could not be
//! compared after an unrelated change. Here each number is a keyed hash (SipHash-2-4) of what it is for.

use core::hash::Hasher;
use siphasher::sip::SipHasher24;

/// What a number is for; two purposes never share a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// Initial sequence numbers (RFC 6528).
    Isn = 1,
    /// IP identification fields.
    IpId = 2,
    /// Source ports that we choose.
    Port = 3,
    /// Hash salts.
    Salt = 4,
    /// The seed of an embedded stack's own generator.
    Stack = 5,
    /// Impairment in the lab.
    Impair = 6,
    /// Which worker owns an address pair.
    Owner = 7,
}

/// A keyed source of numbers. Cheap to copy.
#[derive(Debug, Clone, Copy)]
pub struct Keyed {
    k0: u64,
    k1: u64,
}

impl Keyed {
    /// A source with this 128-bit seed.
    pub fn new(seed: [u8; 16]) -> Self {
        let s = u128::from_le_bytes(seed);
        Self { k0: s as u64, k1: (s >> 64) as u64 }
    }

    /// The number for `purpose` and the bytes of `what`; equal arguments give equal numbers.
    pub fn value(&self, purpose: Purpose, what: &[u8], ordinal: u64) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.k0, self.k1);
        hasher.write_u8(purpose as u8);
        hasher.write(what);
        hasher.write_u64(ordinal);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_arguments_give_equal_numbers_and_others_differ() {
        let k = Keyed::new([7; 16]);
        assert_eq!(k.value(Purpose::Isn, b"a", 1), k.value(Purpose::Isn, b"a", 1));
        assert_ne!(k.value(Purpose::Isn, b"a", 1), k.value(Purpose::Isn, b"a", 2));
        assert_ne!(k.value(Purpose::Isn, b"a", 1), k.value(Purpose::Port, b"a", 1));
        assert_ne!(k.value(Purpose::Isn, b"a", 1), Keyed::new([8; 16]).value(Purpose::Isn, b"a", 1));
    }
}
