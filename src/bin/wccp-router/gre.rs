//! GRE as WCCP uses it (RFC 2784 with protocol 0x883E and a four-byte redirect header).

use crate::packet::{Ipv4, PROTO_GRE, be16, ipv4_header};
use std::net::Ipv4Addr;

/// What the encapsulation costs in bytes: outer IPv4, GRE, redirect header.
pub const OVERHEAD: usize = 28;
const PROTOCOL: u16 = 0x883e;

/// The 28 bytes to put in front of an inner packet of `inner` bytes. Don't-fragment is clear, so that
/// the router may cut what gets too long; `id` must not be zero.
pub fn encapsulation(
    src: Ipv4Addr,
    cache: Ipv4Addr,
    inner: usize,
    id: u16,
    tos: u8,
    redirect: [u8; 4],
) -> [u8; OVERHEAD] {
    let mut h = [0u8; OVERHEAD];
    h[..20].copy_from_slice(&ipv4_header(src, cache, PROTO_GRE, inner + 8, id, 255, tos));
    h[22..24].copy_from_slice(&PROTOCOL.to_be_bytes());
    h[24..28].copy_from_slice(&redirect);
    h
}

/// Why a GRE packet was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Flags or version other than zero: a key, sequence number or checksum.
    Options,
    /// Not 0x883E.
    Protocol,
    /// No whole IPv4 packet behind the redirect header.
    Inner,
}

/// Splits a GRE payload (behind the outer IPv4 header) into redirect header and inner packet.
///
/// # Errors
/// What [`Refused`] lists.
pub fn decapsulate(gre: &[u8]) -> Result<([u8; 4], &[u8], Ipv4), Refused> {
    let Some((head, inner)) = gre.split_first_chunk::<8>() else { return Err(Refused::Inner) };
    if head[..2] != [0, 0] {
        return Err(Refused::Options);
    }
    if be16(head, 2) != PROTOCOL {
        return Err(Refused::Protocol);
    }
    let ip = Ipv4::parse(inner).ok_or(Refused::Inner)?;
    Ok(([head[4], head[5], head[6], head[7]], &inner[..ip.total], ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encapsulated_packet_comes_out_as_it_went_in() {
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 10), Ipv4Addr::new(10, 1, 0, 10));
        let mut inner = ipv4_header(a, b, 6, 3, 1, 64, 0).to_vec();
        inner.extend_from_slice(b"abc");
        let mut outer = encapsulation(a, b, inner.len(), 5, 0, [1, 61, 0, 17]).to_vec();
        outer.extend_from_slice(&inner);
        let ip = Ipv4::parse(&outer).unwrap();
        assert_eq!((ip.proto, ip.total, ip.frag, ip.id), (PROTO_GRE, outer.len(), 0, 5));
        let (redirect, packet, _) = decapsulate(&outer[20..]).unwrap();
        assert_eq!((redirect, packet), ([1, 61, 0, 17], &inner[..]));

        let mut bad = outer.clone();
        bad[20] = 0x20;
        assert_eq!(decapsulate(&bad[20..]).unwrap_err(), Refused::Options);
        let mut bad = outer.clone();
        bad[22] = 0x08;
        assert_eq!(decapsulate(&bad[20..]).unwrap_err(), Refused::Protocol);
        assert_eq!(decapsulate(&outer[20..outer.len() - 1]).unwrap_err(), Refused::Inner);
        assert_eq!(decapsulate(&outer[20..27]).unwrap_err(), Refused::Inner);
    }
}
