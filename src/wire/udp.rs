//! UDP (RFC 768): source port, destination port, length, checksum.

use super::{IpPacket, be16};

/// Length of the header.
pub const HEADER: usize = 8;

/// A datagram inside a parsed packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Where the payload begins.
    pub payload: usize,
    /// Where it ends.
    pub end: usize,
}

/// Reads the header; `None` if it is cut off or its length does not fit the packet.
pub fn parse(bytes: &[u8], ip: &IpPacket) -> Option<Datagram> {
    let p = ip.payload(bytes);
    if p.len() < HEADER {
        return None;
    }
    let len = usize::from(be16(p, 4));
    if len < HEADER || len > p.len() {
        return None;
    }
    Some(Datagram { src_port: be16(p, 0), dst_port: be16(p, 2), payload: ip.l4 + HEADER, end: ip.l4 + len })
}
