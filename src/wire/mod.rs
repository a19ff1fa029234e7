//! Bytes of packets: offsets proven once, fields read and edited in place, checksums.
//!
//! [`parsed`] turns a slice into a small table of offsets that cannot be wrong; everything else reads
//! and edits at these offsets. A function that takes an [`IpPacket`] or [`Segment`] must be given the
//! slice that it was parsed from; with another slice it may panic, never misread memory.

pub mod address;
pub mod arp;
pub mod build;
pub mod checksum;
pub mod eth;
pub mod gre;
pub mod icmp;
pub mod nd;
pub mod parsed;
pub mod tcp;
pub mod udp;

pub use address::{Net, Network, is_host, within};
pub use parsed::{Fragment, FragmentV6, IpPacket, Malformed, fragment_v6, parse_ip, parse_quoted};
pub use tcp::Segment;

/// IP protocol numbers that we know.
pub mod proto {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// Generic routing encapsulation.
    pub const GRE: u8 = 47;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
}

pub(crate) fn be16(b: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([b[at], b[at + 1]])
}

pub(crate) fn be32(b: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

pub(crate) fn put16(b: &mut [u8], at: usize, v: u16) {
    b[at..at + 2].copy_from_slice(&v.to_be_bytes());
}

pub(crate) fn put32(b: &mut [u8], at: usize, v: u32) {
    b[at..at + 4].copy_from_slice(&v.to_be_bytes());
}
