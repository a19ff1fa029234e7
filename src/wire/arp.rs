//! ARP for IPv4 over Ethernet (RFC 826).
//!
//! ```text
//! | hw 1 | proto 0x0800 | 6 | 4 | op | sender MAC | sender IP | target MAC | target IP |   28 bytes
//! ```

use super::eth::Mac;
use super::{be16, put16};
use std::net::Ipv4Addr;

/// Length of a packet.
pub const LEN: usize = 28;

/// An ARP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// Whether it is a request (else a reply).
    pub request: bool,
    /// The sender's MAC address.
    pub sender_mac: Mac,
    /// The sender's address.
    pub sender: Ipv4Addr,
    /// The target's MAC address, zero in a request.
    pub target_mac: Mac,
    /// The target's address.
    pub target: Ipv4Addr,
}

/// Reads a packet; `None` for anything but IPv4 over Ethernet.
pub fn parse(bytes: &[u8]) -> Option<Arp> {
    let (b, _) = bytes.split_first_chunk::<LEN>()?;
    if be16(b, 0) != 1 || be16(b, 2) != 0x0800 || b[4] != 6 || b[5] != 4 {
        return None;
    }
    let request = match be16(b, 6) {
        1 => true,
        2 => false,
        _ => return None,
    };
    let mac = |at: usize| [b[at], b[at + 1], b[at + 2], b[at + 3], b[at + 4], b[at + 5]];
    let ip = |at: usize| Ipv4Addr::new(b[at], b[at + 1], b[at + 2], b[at + 3]);
    Some(Arp { request, sender_mac: mac(8), sender: ip(14), target_mac: mac(18), target: ip(24) })
}

/// The packet's bytes.
pub fn emit(a: &Arp) -> [u8; LEN] {
    let mut b = [0; LEN];
    put16(&mut b, 0, 1);
    put16(&mut b, 2, 0x0800);
    b[4] = 6;
    b[5] = 4;
    put16(&mut b, 6, if a.request { 1 } else { 2 });
    b[8..14].copy_from_slice(&a.sender_mac);
    b[14..18].copy_from_slice(&a.sender.octets());
    b[18..24].copy_from_slice(&a.target_mac);
    b[24..28].copy_from_slice(&a.target.octets());
    b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_emitted_is_read_back() {
        let a = Arp {
            request: true,
            sender_mac: [1, 2, 3, 4, 5, 6],
            sender: Ipv4Addr::new(10, 9, 0, 2),
            target_mac: [0; 6],
            target: Ipv4Addr::new(10, 9, 0, 1),
        };
        let mut b = emit(&a);
        assert_eq!(parse(&b), Some(a));
        assert_eq!(parse(&b[..27]), None);
        b[7] = 3;
        assert_eq!(parse(&b), None);
    }
}
