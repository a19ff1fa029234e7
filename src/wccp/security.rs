//! The shared password and the MD5 digest over a message (draft-wilson-wrec-wccp-v2, 4.7 and 5.6.1).
//!
//! ```text
//!  Digest = MD5( password, zero-padded to 8 bytes ‖ message, digest bytes zeroed )
//! ```
//! It is a plain MD5 with the key in front, not an HMAC. Only Receive IDs guard against replay.

use md5::{Digest, Md5};

/// Bytes of a digest.
pub const DIGEST_LEN: usize = 16;

/// A password of 1 to 8 bytes. Its `Debug` form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password {
    key: [u8; 8],
    len: usize,
}

/// The password is empty or longer than 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a WCCP password has 1 to 8 bytes, this one has {0}")]
pub struct PasswordError(pub usize);

impl Password {
    /// Takes 1 to 8 bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, PasswordError> {
        let mut key = [0; 8];
        match key.get_mut(..bytes.len()) {
            Some(place) if !bytes.is_empty() => {
                place.copy_from_slice(bytes);
                Ok(Self { key, len: bytes.len() })
            }
            _ => Err(PasswordError(bytes.len())),
        }
    }

    /// It has all 8 bytes: some peers use only the first 7 and would never agree.
    pub const fn is_longest(&self) -> bool {
        self.len == 8
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(****)")
    }
}

/// The digest of `message`, taking the 16 bytes from `digest_at` as zero.
pub(super) fn digest(message: &[u8], digest_at: usize, password: &Password) -> [u8; DIGEST_LEN] {
    let (before, rest) = message.split_at_checked(digest_at).unwrap_or((message, &[]));
    let after = rest.get(DIGEST_LEN..).unwrap_or(&[]);
    let mut md5 = Md5::new();
    md5.update(password.key);
    md5.update(before);
    md5.update([0; DIGEST_LEN]);
    md5.update(after);
    md5.finalize().into()
}

/// Compares without telling by its duration where the first difference is.
pub(super) fn same(a: &[u8; DIGEST_LEN], b: &[u8; DIGEST_LEN]) -> bool {
    let difference = a.iter().zip(b).fold(0, |all, (x, y)| std::hint::black_box(all | (x ^ y)));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n16_passwords_of_one_to_eight_bytes_only() {
        assert_eq!(Password::new(b""), Err(PasswordError(0)));
        assert_eq!(Password::new(b"123456789"), Err(PasswordError(9)));
        for length in 1..=8 {
            let password = Password::new(&b"12345678"[..length]).unwrap();
            assert_eq!(password.is_longest(), length == 8);
            assert_eq!(format!("{password:?}"), "Password(****)");
        }
    }

    #[test]
    fn every_bit_counts_in_the_comparison() {
        let zero = [0; DIGEST_LEN];
        assert!(same(&zero, &zero));
        for bit in 0..DIGEST_LEN * 8 {
            let mut other = zero;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!same(&zero, &other), "bit {bit}");
        }
    }
}
