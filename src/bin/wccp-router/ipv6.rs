//! Bytes of IPv6 (RFC 8200), ICMPv6 (RFC 4443) and neighbour discovery (RFC 4861): just what a router reads and writes.

use crate::arp::Mac;
use crate::packet::{PROTO_TCP, PROTO_UDP, be16, checksum};
use std::net::Ipv6Addr;

/// Length of the fixed header.
pub const IPV6_LEN: usize = 40;
/// Next header of ICMPv6.
pub const PROTO_ICMPV6: u8 = 58;
/// The least MTU that a link of IPv6 has (RFC 8200 section 5); no error message is longer.
const LEAST_MTU: usize = 1280;
/// Extension headers that are walked through.
const MAX_EXTENSIONS: usize = 8;

/// What a router needs of an IPv6 header.
#[derive(Debug, Clone, Copy)]
pub struct Ipv6 {
    /// Where the upper-layer payload begins, in bytes.
    pub header: usize,
    /// Length of the packet, header included, in bytes.
    pub total: usize,
    /// Hop limit.
    pub hops: u8,
    /// Protocol of the payload, behind the extension headers.
    pub proto: u8,
    /// A fragment that is not the first: the payload has no header.
    pub later_fragment: bool,
    /// Source.
    pub src: Ipv6Addr,
    /// Destination.
    pub dst: Ipv6Addr,
}

impl Ipv6 {
    /// Reads a header and its extensions; lengths are checked against `packet`.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let head = packet.first_chunk::<IPV6_LEN>()?;
        let total = IPV6_LEN + usize::from(be16(head, 4));
        if head[0] >> 4 != 6 || packet.len() < total {
            return None;
        }
        let (mut proto, mut at, mut later_fragment) = (head[6], IPV6_LEN, false);
        for _ in 0..MAX_EXTENSIONS {
            if !matches!(proto, 0 | 43 | 44 | 60) || later_fragment {
                break;
            }
            let extension = packet.get(at..at + 8).filter(|_| at + 8 <= total)?;
            at += match proto {
                44 => {
                    later_fragment = be16(extension, 2) >> 3 != 0;
                    8
                }
                _ => (usize::from(extension[1]) + 1) * 8,
            };
            proto = extension[0];
        }
        if at > total {
            return None;
        }
        let (src, dst) = (addr6_at(packet, 8), addr6_at(packet, 24));
        Some(Self { header: at, total, hops: head[7], proto, later_fragment, src, dst })
    }

    /// Source and destination port, if this packet shows them (TCP and UDP, not in later fragments).
    pub fn ports(&self, packet: &[u8]) -> Option<(u16, u16)> {
        let has = matches!(self.proto, PROTO_TCP | PROTO_UDP)
            && !self.later_fragment
            && self.total >= self.header + 4;
        has.then(|| (be16(packet, self.header), be16(packet, self.header + 2)))
    }
}

/// The address at `at`; `::` beyond the end.
pub fn addr6_at(bytes: &[u8], at: usize) -> Ipv6Addr {
    let octets = bytes.get(at..).and_then(|b| b.first_chunk::<16>());
    octets.map_or(Ipv6Addr::UNSPECIFIED, |o| Ipv6Addr::from(*o))
}

/// Takes one off the hop limit.
pub fn decrement_hops(packet: &mut [u8]) {
    if let Some(hops) = packet.get_mut(7) {
        *hops = hops.saturating_sub(1);
    }
}

/// A fixed header for `payload` bytes of payload.
pub fn ipv6_header(src: Ipv6Addr, dst: Ipv6Addr, proto: u8, payload: usize, hops: u8) -> [u8; IPV6_LEN] {
    let mut h = [0u8; IPV6_LEN];
    h[0] = 0x60;
    h[4..6].copy_from_slice(&u16::try_from(payload).unwrap_or(u16::MAX).to_be_bytes());
    h[6] = proto;
    h[7] = hops;
    h[8..24].copy_from_slice(&src.octets());
    h[24..40].copy_from_slice(&dst.octets());
    h
}

/// A whole ICMPv6 packet: type, code, the 32-bit second word, body.
pub fn icmp6(src: Ipv6Addr, dst: Ipv6Addr, what: (u8, u8, u32), body: &[u8], hops: u8) -> Vec<u8> {
    let mut m = vec![what.0, what.1, 0, 0];
    m.extend_from_slice(&what.2.to_be_bytes());
    m.extend_from_slice(body);
    let sum = pseudo_checksum(src, dst, PROTO_ICMPV6, &m);
    m[2..4].copy_from_slice(&sum.to_be_bytes());
    [&ipv6_header(src, dst, PROTO_ICMPV6, m.len(), hops), &m[..]].concat()
}

/// What an error message about `packet` quotes: as much as fits into the least MTU (RFC 4443 section 2.4 c).
pub fn quote(packet: &[u8]) -> &[u8] {
    &packet[..packet.len().min(LEAST_MTU - IPV6_LEN - 8)]
}

/// The checksum of an upper layer with its pseudo header (RFC 8200 section 8.1); zero if `payload` holds a good one.
pub fn pseudo_checksum(src: Ipv6Addr, dst: Ipv6Addr, proto: u8, payload: &[u8]) -> u16 {
    let len = (payload.len() as u32).to_be_bytes();
    checksum(&[&src.octets(), &dst.octets(), &len, &[0, 0, 0, proto], payload])
}

/// A message of neighbour discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Discovery {
    /// A solicitation, not an advertisement.
    pub solicitation: bool,
    /// Whom it is about.
    pub target: Ipv6Addr,
    /// Its link-layer address option: the source's in a solicitation, the target's in an advertisement.
    pub mac: Option<Mac>,
}

impl Discovery {
    /// Reads a message whose packet is `packet`; hop limit, code, length and checksum are checked (RFC 4861 7.1).
    pub fn parse(packet: &[u8], ip: &Ipv6) -> Option<Self> {
        let m = packet.get(ip.header..ip.total).filter(|_| ip.proto == PROTO_ICMPV6 && ip.hops == 255)?;
        let solicitation = match m.first_chunk::<24>()? {
            [135, 0, ..] => true,
            [136, 0, ..] => false,
            _ => return None,
        };
        if pseudo_checksum(ip.src, ip.dst, PROTO_ICMPV6, m) != 0 {
            return None;
        }
        let wanted = if solicitation { 1 } else { 2 };
        let mut options = &m[24..];
        let mut mac = None;
        while let [kind, units, ..] = options {
            if *units == 0 {
                return None;
            }
            let (option, rest) = options.split_at_checked(usize::from(*units) * 8)?;
            if *kind == wanted {
                mac = option[2..].first_chunk().copied();
            }
            options = rest;
        }
        Some(Self { solicitation, target: addr6_at(m, 8), mac })
    }

    /// The whole packet, from `src` to `dst`. An advertisement says that a router answers what it was asked.
    pub fn packet(&self, src: Ipv6Addr, dst: Ipv6Addr) -> Vec<u8> {
        let mut body = self.target.octets().to_vec();
        if let Some(mac) = self.mac {
            body.extend_from_slice(&[if self.solicitation { 1 } else { 2 }, 1]);
            body.extend_from_slice(&mac);
        }
        let what = if self.solicitation { (135, 0, 0) } else { (136, 0, 0xe000_0000) };
        icmp6(src, dst, what, &body, 255)
    }
}

/// The multicast address on which the owner of `addr` hears solicitations, and its MAC address (RFC 4291 2.7.1, RFC 2464 7).
pub fn solicited_node(addr: Ipv6Addr) -> (Ipv6Addr, Mac) {
    let [.., a, b, c] = addr.octets();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    (group, [0x33, 0x33, 0xff, a, b, c])
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x10);
    const B: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 9, 0, 0, 0x12, 0x3456);

    #[test]
    fn extensions_are_walked_to_the_ports() {
        let tcp = [0u8, 21, 0x9c, 0x40, 0, 0, 0, 0];
        let plain = [&ipv6_header(A, B, PROTO_TCP, 8, 64)[..], &tcp].concat();
        let ip = Ipv6::parse(&plain).unwrap();
        assert_eq!((ip.header, ip.src, ip.dst, ip.ports(&plain)), (40, A, B, Some((21, 40000))));
        let hop = [60u8, 0, 1, 4, 0, 0, 0, 0];
        let dest = [44u8, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for (offset, ports) in [(0u16, Some((21, 40000))), (8, None)] {
            let [hi, lo] = (offset | 1).to_be_bytes();
            let fragment = [PROTO_TCP, 0, hi, lo, 1, 2, 3, 4];
            let p = [&ipv6_header(A, B, 0, 40, 64)[..], &hop, &dest, &fragment, &tcp].concat();
            let ip = Ipv6::parse(&p).unwrap();
            assert_eq!((ip.proto, ip.header, ip.ports(&p)), (PROTO_TCP, 72, ports));
            for len in 0..p.len() {
                assert!(Ipv6::parse(&p[..len]).is_none(), "cut at {len}");
            }
        }
        let mut long = [&ipv6_header(A, B, 0, 16, 64)[..], &hop, &tcp].concat();
        long[41] = 9;
        assert!(Ipv6::parse(&long).is_none(), "an extension longer than the packet");
    }

    #[test]
    fn discovery_survives_its_packet_and_only_from_this_link() {
        let m = Discovery { solicitation: true, target: B, mac: Some([2, 0, 0, 0, 0, 9]) };
        let (group, mac) = solicited_node(B);
        assert_eq!(
            (group.to_string(), mac),
            ("ff02::1:ff12:3456".into(), [0x33, 0x33, 0xff, 0x12, 0x34, 0x56])
        );
        for m in [m, Discovery { solicitation: false, ..m }, Discovery { mac: None, ..m }] {
            let mut p = m.packet(A, group);
            let ip = Ipv6::parse(&p).unwrap();
            assert_eq!(Discovery::parse(&p, &ip), Some(m));
            assert_eq!(Discovery::parse(&p, &Ipv6 { hops: 254, ..ip }), None, "came through a router");
            p[50] ^= 1;
            assert_eq!(Discovery::parse(&p, &ip), None, "damaged");
        }
        let mut zero = m.packet(A, group);
        zero[65] = 0;
        let ip = Ipv6::parse(&zero).unwrap();
        zero[42..44].fill(0);
        let sum = pseudo_checksum(A, group, PROTO_ICMPV6, &zero[40..]);
        zero[42..44].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(Discovery::parse(&zero, &ip), None, "an option of length 0");
    }
}
