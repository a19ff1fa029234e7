//! GRE (RFC 2784, RFC 2890) as WCCP uses it: protocol 0x883E and the redirect header.
//!
//! ```text
//!  0   2        4                 optional: checksum+reserved 4, key 4, sequence 4
//! |flags| proto |…| redirect header 4 | inner packet
//! redirect header: flags (0x01 dynamic service, 0x02 alternate bucket), service, alternate bucket, bucket
//! ```

use super::{be16, put16};

/// The protocol number of WCCP.
pub const PROTO_WCCP: u16 = 0x883E;
/// Length of GRE and redirect header as we send them.
pub const WCCP_HEADER: usize = 8;
/// What WCCP redirection by GRE adds to a packet over IPv4: outer IP, GRE, redirect header.
pub const OVERHEAD: usize = 20 + WCCP_HEADER;

/// The WCCP redirect header: kept and echoed as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Redirect(pub [u8; 4]);

impl Redirect {
    /// The service number in it, a hint only.
    pub fn service(&self) -> u8 {
        self.0[1]
    }
}

/// Why a GRE payload is not WCCP's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GreError {
    /// Cut off.
    Short,
    /// Routing present, a version other than 0, or a bit of RFC 1701 that we do not know.
    Flags,
    /// The GRE checksum is wrong.
    Checksum,
    /// Another protocol than WCCP.
    Protocol,
    /// No IPv4 packet behind the redirect header (WCCPv1's form has none, IPv6 is not redirected over IPv4).
    Inner,
}

/// The protocol that any GRE header announces, and the length of the header with the fields that its flags name
/// (RFC 2784, RFC 2890; version 1 of RFC 2637 has one more). Nothing is verified. `None` if it is cut off, or
/// holds source routes.
pub fn header(bytes: &[u8]) -> Option<(u16, usize)> {
    let flags = be16(bytes.get(..4)?, 0);
    if flags & 0x4000 != 0 {
        return None;
    }
    let fields = [0x8000, 0x2000, 0x1000].iter().filter(|f| flags & **f != 0).count();
    let acknowledged = usize::from(flags & 0x0087 == 0x0081);
    let len = 4 + 4 * (fields + acknowledged);
    (bytes.len() >= len).then(|| (be16(bytes, 2), len))
}

/// Reads a GRE header of WCCP at the front of `bytes` (the outer packet's payload).
/// Gives the redirect header and the length of all that stands in front of the inner packet.
///
/// # Errors
/// [`GreError`].
pub fn parse(bytes: &[u8]) -> Result<(Redirect, usize), GreError> {
    if bytes.len() < 4 {
        return Err(GreError::Short);
    }
    let flags = be16(bytes, 0);
    // C 0x8000, K 0x2000, S 0x1000 may be set. Routing 0x4000, RFC 1701's bits up to the fifth and the version may
    // not; the others are ignored (RFC 2784 2.3).
    if flags & 0x4C07 != 0 {
        return Err(GreError::Flags);
    }
    if be16(bytes, 2) != PROTO_WCCP {
        return Err(GreError::Protocol);
    }
    let mut at = 4;
    if flags & 0x8000 != 0 {
        if super::checksum::Sum::new().bytes(bytes).fold() != 0xFFFF {
            return Err(GreError::Checksum);
        }
        at += 4;
    }
    at += if flags & 0x2000 != 0 { 4 } else { 0 };
    at += if flags & 0x1000 != 0 { 4 } else { 0 };
    let r = bytes.get(at..at + 4).ok_or(GreError::Short)?;
    let redirect = Redirect([r[0], r[1], r[2], r[3]]);
    at += 4;
    match bytes.get(at) {
        Some(b) if b >> 4 == 4 && b & 0x0F >= 5 => Ok((redirect, at)),
        Some(_) => Err(GreError::Inner),
        None => Err(GreError::Short),
    }
}

/// Writes GRE and redirect header into the first [`WCCP_HEADER`] bytes of `out`.
pub fn emit(out: &mut [u8], redirect: Redirect) {
    put16(out, 0, 0);
    put16(out, 2, PROTO_WCCP);
    out[4..8].copy_from_slice(&redirect.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_words_are_skipped() {
        let plain = [0, 0, 0x88, 0x3E, 1, 61, 0, 9, 0x45];
        assert_eq!(parse(&plain), Ok((Redirect([1, 61, 0, 9]), 8)));
        let keyed = [0x30, 0, 0x88, 0x3E, 0, 0, 0, 7, 0, 0, 0, 1, 1, 61, 0, 9, 0x45];
        assert_eq!(parse(&keyed), Ok((Redirect([1, 61, 0, 9]), 16)));
        let mut summed = vec![0x80, 0, 0x88, 0x3E, 0, 0, 0, 0, 1, 61, 0, 9, 0x45, 1];
        assert_eq!(parse(&summed), Err(GreError::Checksum));
        let c = crate::wire::checksum::Sum::new().bytes(&summed).checksum();
        summed[4..6].copy_from_slice(&c.to_be_bytes());
        assert_eq!(parse(&summed), Ok((Redirect([1, 61, 0, 9]), 12)));
        let mut out = [0; 8];
        emit(&mut out, Redirect([1, 61, 0, 9]));
        assert_eq!(out, plain[..8]);
    }

    #[test]
    fn n47_n48_what_is_not_wccp_over_gre() {
        assert_eq!(parse(&[0, 0, 0x08, 0x00, 0x45, 0, 0, 0]), Err(GreError::Protocol));
        assert_eq!(parse(&[0, 0, 0x88]), Err(GreError::Short));
        assert_eq!(parse(&[0, 0, 0x88, 0x3E, 1, 61, 0]), Err(GreError::Short));
        assert_eq!(parse(&[0x40, 0, 0x88, 0x3E, 1, 61, 0, 9, 0x45]), Err(GreError::Flags));
        assert_eq!(parse(&[0, 1, 0x88, 0x3E, 1, 61, 0, 9, 0x45]), Err(GreError::Flags));
        assert_eq!(parse(&[0x08, 0, 0x88, 0x3E, 1, 61, 0, 9, 0x45]), Err(GreError::Flags));
        assert_eq!(parse(&[0x03, 0xF8, 0x88, 0x3E, 1, 61, 0, 9, 0x45]), Ok((Redirect([1, 61, 0, 9]), 8)));
        // IPv6 behind the redirect header.
        assert_eq!(parse(&[0, 0, 0x88, 0x3E, 1, 61, 0, 9, 0x60]), Err(GreError::Inner));
        // WCCPv1: IPv4 at once. Byte 4 of it is the high byte of the identification.
        assert_eq!(parse(&[0, 0, 0x88, 0x3E, 0x45, 0, 0, 40, 0x12, 0x34]), Err(GreError::Inner));
    }
}
