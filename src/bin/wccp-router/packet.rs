//! Bytes of Ethernet and IPv4: just what a router reads and writes.

use std::net::Ipv4Addr;

/// Length of an Ethernet header without a VLAN tag.
pub const ETH_LEN: usize = 14;
/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// EtherType of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// IP protocol numbers that are looked at.
pub const PROTO_ICMP: u8 = 1;
/// TCP.
pub const PROTO_TCP: u8 = 6;
/// UDP.
pub const PROTO_UDP: u8 = 17;
/// GRE.
pub const PROTO_GRE: u8 = 47;

/// Big-endian 16-bit word at `at`; zero beyond the end.
pub fn be16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]))
}

/// Big-endian IPv4 address at `at`; 0.0.0.0 beyond the end.
pub fn addr_at(bytes: &[u8], at: usize) -> Ipv4Addr {
    bytes.get(at..at + 4).map_or(Ipv4Addr::UNSPECIFIED, |b| Ipv4Addr::new(b[0], b[1], b[2], b[3]))
}

/// The EtherType of an IP packet, as on the wire, by its first byte.
pub fn ethertype(packet: &[u8]) -> [u8; 2] {
    match packet.first() {
        Some(first) if first >> 4 == 6 => ETHERTYPE_IPV6.to_be_bytes(),
        _ => ETHERTYPE_IPV4.to_be_bytes(),
    }
}

/// The Internet checksum (RFC 1071) over `parts` laid end to end; all but the last must have even length.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        let mut words = part.chunks_exact(2);
        for w in &mut words {
            sum += u64::from(u16::from_be_bytes([w[0], w[1]]));
        }
        if let [last] = words.remainder() {
            sum += u64::from(*last) << 8;
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// What a router needs of an IPv4 header.
#[derive(Debug, Clone, Copy)]
pub struct Ipv4 {
    /// Header length in bytes.
    pub header: usize,
    /// Length of the packet, header included, in bytes.
    pub total: usize,
    /// Identification.
    pub id: u16,
    /// Flags and fragment offset as on the wire.
    pub frag: u16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol of the payload.
    pub proto: u8,
    /// Source.
    pub src: Ipv4Addr,
    /// Destination.
    pub dst: Ipv4Addr,
}

impl Ipv4 {
    /// Reads and checks a header: version, lengths against `packet`, header checksum.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let first = *packet.first()?;
        let header = usize::from(first & 0xf) * 4;
        let total = usize::from(be16(packet, 2));
        if first >> 4 != 4 || header < 20 || total < header || packet.len() < total {
            return None;
        }
        if checksum(&[&packet[..header]]) != 0 {
            return None;
        }
        Some(Self {
            header,
            total,
            id: be16(packet, 4),
            frag: be16(packet, 6),
            ttl: packet[8],
            proto: packet[9],
            src: addr_at(packet, 12),
            dst: addr_at(packet, 16),
        })
    }

    /// Whether the packet must not be fragmented.
    pub fn dont_fragment(&self) -> bool {
        self.frag & 0x4000 != 0
    }

    /// Whether this is one of several fragments.
    pub fn is_fragment(&self) -> bool {
        self.frag & 0x3fff != 0
    }

    /// Offset of the fragment's payload in the whole payload, in bytes.
    pub fn frag_offset(&self) -> usize {
        usize::from(self.frag & 0x1fff) * 8
    }

    /// Source and destination port, if this packet shows them (TCP and UDP, not in later fragments).
    pub fn ports(&self, packet: &[u8]) -> Option<(u16, u16)> {
        let has = matches!(self.proto, PROTO_TCP | PROTO_UDP)
            && self.frag_offset() == 0
            && self.total >= self.header + 4;
        has.then(|| (be16(packet, self.header), be16(packet, self.header + 2)))
    }
}

/// Takes one off the time to live and mends the header checksum (RFC 1624).
pub fn decrement_ttl(packet: &mut [u8]) {
    let Some(header) = packet.first_chunk_mut::<20>() else { return };
    let old = u32::from(u16::from_be_bytes([header[8], header[9]]));
    header[8] = header[8].saturating_sub(1);
    let new = u32::from(u16::from_be_bytes([header[8], header[9]]));
    let sum = u32::from(u16::from_be_bytes([header[10], header[11]]));
    let mut fresh = (!sum & 0xffff) + (!old & 0xffff) + new;
    while fresh > 0xffff {
        fresh = (fresh & 0xffff) + (fresh >> 16);
    }
    header[10..12].copy_from_slice(&(!(fresh as u16)).to_be_bytes());
}

/// A 20-byte IPv4 header for `payload` bytes of payload.
pub fn ipv4_header(
    src: Ipv4Addr,
    dst: Ipv4Addr,
    proto: u8,
    payload: usize,
    id: u16,
    ttl: u8,
    tos: u8,
) -> [u8; 20] {
    let mut h = [0u8; 20];
    h[0] = 0x45;
    h[1] = tos;
    h[2..4].copy_from_slice(&u16::try_from(payload + 20).unwrap_or(u16::MAX).to_be_bytes());
    h[4..6].copy_from_slice(&id.to_be_bytes());
    h[8] = ttl;
    h[9] = proto;
    h[12..16].copy_from_slice(&src.octets());
    h[16..20].copy_from_slice(&dst.octets());
    let sum = checksum(&[&h]);
    h[10..12].copy_from_slice(&sum.to_be_bytes());
    h
}

/// An 8-byte UDP header with its checksum over `payload`.
pub fn udp_header(src: Ipv4Addr, dst: Ipv4Addr, ports: (u16, u16), payload: &[u8]) -> [u8; 8] {
    let len = u16::try_from(payload.len() + 8).unwrap_or(u16::MAX).to_be_bytes();
    let mut h = [0u8; 8];
    h[0..2].copy_from_slice(&ports.0.to_be_bytes());
    h[2..4].copy_from_slice(&ports.1.to_be_bytes());
    h[4..6].copy_from_slice(&len);
    let pseudo = [0, PROTO_UDP, len[0], len[1]];
    let sum = match checksum(&[&src.octets(), &dst.octets(), &pseudo, &h, payload]) {
        0 => 0xffff,
        sum => sum,
    };
    h[6..8].copy_from_slice(&sum.to_be_bytes());
    h
}

/// An ICMP message (RFC 792): type, code, the 32-bit second word, body.
pub fn icmp(kind: u8, code: u8, word: u32, body: &[u8]) -> Vec<u8> {
    let mut m = Vec::with_capacity(8 + body.len());
    m.extend_from_slice(&[kind, code, 0, 0]);
    m.extend_from_slice(&word.to_be_bytes());
    m.extend_from_slice(body);
    let sum = checksum(&[&m]);
    m[2..4].copy_from_slice(&sum.to_be_bytes());
    m
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);

    #[test]
    fn a_built_header_parses_and_sums_to_zero() {
        let mut packet = ipv4_header(A, B, PROTO_TCP, 5, 7, 64, 0).to_vec();
        packet.extend_from_slice(b"hello");
        let ip = Ipv4::parse(&packet).unwrap();
        assert_eq!((ip.src, ip.dst, ip.total, ip.ttl), (A, B, 25, 64));
        packet[10] ^= 1;
        assert!(Ipv4::parse(&packet).is_none(), "a damaged header must not pass");
    }

    #[test]
    fn the_checksum_stays_right_when_the_ttl_falls_to_zero() {
        for id in [0u16, 1, 0x7fff, 0xfffe, 0xffff] {
            let mut packet = ipv4_header(A, B, PROTO_UDP, 0, id, 255, 0x10).to_vec();
            for ttl in (0..255u8).rev() {
                decrement_ttl(&mut packet);
                assert_eq!(Ipv4::parse(&packet).map(|ip| ip.ttl), Some(ttl), "id {id}");
            }
        }
    }

    #[test]
    fn lengths_beyond_the_bytes_are_refused() {
        let packet = ipv4_header(A, B, PROTO_TCP, 100, 7, 64, 0);
        assert!(Ipv4::parse(&packet).is_none());
        assert!(Ipv4::parse(&packet[..19]).is_none());
        assert!(Ipv4::parse(&[]).is_none());
    }

    #[test]
    fn udp_over_an_odd_payload_verifies() {
        let payload = b"odd";
        let h = udp_header(A, B, (2048, 2048), payload);
        let pseudo = [0, PROTO_UDP, 0, 11];
        assert_eq!(checksum(&[&A.octets(), &B.octets(), &pseudo, &h, payload]), 0);
    }
}
