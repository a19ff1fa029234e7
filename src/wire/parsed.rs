//! An IP packet inside a slice: where its parts begin and end, proven once.

use super::{be16, be32, proto};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why a packet is not what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Fewer bytes than the header or its length field say.
    Short,
    /// A version, header length or option that cannot be.
    Header,
    /// The IPv4 header checksum is wrong.
    Checksum,
    /// More IPv6 extension headers than we walk, or one that hides the payload.
    Extension,
}

/// Whether a packet is a piece of a larger one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fragment {
    /// It is whole.
    None,
    /// The first piece: the transport header is there.
    First,
    /// A later piece: there is no transport header.
    Later,
}

/// Offsets and addresses of one IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpPacket {
    /// Where the IP header begins.
    pub start: usize,
    /// Where the transport header begins (behind options and extension headers).
    pub l4: usize,
    /// Where the packet ends; padding of the frame lies behind.
    pub end: usize,
    /// The transport protocol.
    pub proto: u8,
    /// Whether it is a fragment.
    pub fragment: Fragment,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
}

/// The most extension headers walked: more is evasion, not networking.
const MAX_EXTENSIONS: usize = 8;
/// Next-header value of a fragment header.
const FRAGMENT_HEADER: u8 = 44;

/// Reads the IPv4 (RFC 791) or IPv6 (RFC 8200) packet that begins at `start`.
///
/// # Errors
/// [`Malformed`], if lengths, version or the IPv4 header checksum are wrong.
pub fn parse_ip(bytes: &[u8], start: usize) -> Result<IpPacket, Malformed> {
    let b = bytes.get(start..).ok_or(Malformed::Short)?;
    match b.first().map(|v| v >> 4) {
        Some(4) => parse_v4(b, start),
        Some(6) => parse_v6(b, start),
        Some(_) => Err(Malformed::Header),
        None => Err(Malformed::Short),
    }
}

fn parse_v4(b: &[u8], start: usize) -> Result<IpPacket, Malformed> {
    let (h, _) = b.split_first_chunk::<20>().ok_or(Malformed::Short)?;
    let header = usize::from(h[0] & 0x0F) * 4;
    let total = usize::from(be16(h, 2));
    if header < 20 || total < header {
        return Err(Malformed::Header);
    }
    if b.len() < total {
        return Err(Malformed::Short);
    }
    if super::checksum::Sum::new().bytes(&b[..header]).fold() != 0xFFFF {
        return Err(Malformed::Checksum);
    }
    Ok(packet_v4(h, start, header, total))
}

/// Reads as much of an IP packet as an ICMP error quotes in `bytes[start..end]`: it is cut off by design, so its
/// own length does not hold, nor can its payload be checked. It ends where the quotation does. None if not even
/// the headers in front of the payload are there.
pub fn parse_quoted(bytes: &[u8], start: usize, end: usize) -> Option<IpPacket> {
    let b = bytes.get(start..end)?;
    match b.first()? >> 4 {
        4 => {
            let (h, _) = b.split_first_chunk::<20>()?;
            let header = usize::from(h[0] & 0x0F) * 4;
            (20..=b.len()).contains(&header).then(|| packet_v4(h, start, header, b.len()))
        }
        6 => {
            let (h, _) = b.split_first_chunk::<40>()?;
            packet_v6(b, h, start, b.len()).ok()
        }
        _ => None,
    }
}

fn packet_v4(h: &[u8; 20], start: usize, header: usize, total: usize) -> IpPacket {
    let frag = be16(h, 6);
    let fragment = match (frag & 0x1FFF, frag & 0x2000 != 0) {
        (0, false) => Fragment::None,
        (0, true) => Fragment::First,
        _ => Fragment::Later,
    };
    IpPacket {
        start,
        l4: start + header,
        end: start + total,
        proto: h[9],
        fragment,
        src: IpAddr::V4(Ipv4Addr::new(h[12], h[13], h[14], h[15])),
        dst: IpAddr::V4(Ipv4Addr::new(h[16], h[17], h[18], h[19])),
    }
}

fn parse_v6(b: &[u8], start: usize) -> Result<IpPacket, Malformed> {
    let (h, _) = b.split_first_chunk::<40>().ok_or(Malformed::Short)?;
    let end = 40 + usize::from(be16(h, 4));
    if b.len() < end {
        return Err(Malformed::Short);
    }
    packet_v6(b, h, start, end)
}

/// Walks the extension headers of the packet that is `b[..end]`.
fn packet_v6(b: &[u8], h: &[u8; 40], start: usize, end: usize) -> Result<IpPacket, Malformed> {
    let addr = |at: usize| {
        let mut o = [0; 16];
        o.copy_from_slice(&h[at..at + 16]);
        IpAddr::V6(Ipv6Addr::from(o))
    };
    let whole = |at: usize, proto: u8, fragment: Fragment| {
        let (src, dst) = (addr(8), addr(24));
        Ok(IpPacket { start, l4: start + at, end: start + end, proto, fragment, src, dst })
    };
    let (mut at, mut next, mut fragment, mut pieces) = (40, h[6], Fragment::None, false);
    for _ in 0..=MAX_EXTENSIONS {
        let len = match next {
            // Hop-by-hop, destination options, mobility, HIP, shim6.
            0 | 60 | 135 | 139 | 140 => extension_len(b, at)?,
            // With hops to come the destination is not the end host's (RFC 8200 section 4.4): whatever
            // follows is not a segment that its checksum, or we, could know.
            43 if b.get(at + 3).is_some_and(|left| *left != 0) => return whole(at, next, fragment),
            43 => extension_len(b, at)?,
            // Behind the header of a fragment stands a piece, whatever it looks like; and nobody cuts a packet
            // twice, not even into one piece.
            FRAGMENT_HEADER if pieces => return whole(at, next, fragment),
            FRAGMENT_HEADER => {
                pieces = true;
                let e = b.get(at..at + 8).ok_or(Malformed::Short)?;
                let off = be16(e, 2);
                fragment = match (off >> 3, off & 1 != 0) {
                    // An atomic fragment (RFC 6946) is a whole packet.
                    (0, false) => Fragment::None,
                    (0, true) => Fragment::First,
                    _ => Fragment::Later,
                };
                8
            }
            // A transport, nothing (59), or what only the ends can read: ESP (50) hides what follows, and
            // authentication (51) forbids to change it.
            _ => return whole(at, next, fragment),
        };
        if at + len > end {
            return Err(Malformed::Short);
        }
        next = b[at];
        at += len;
        if fragment == Fragment::Later {
            // What follows is the middle of something, not a header.
            return whole(at, next, fragment);
        }
    }
    Err(Malformed::Extension)
}

/// Length of the extension header at `at`, but for fragment headers (RFC 8200 section 4.2 and following).
fn extension_len(b: &[u8], at: usize) -> Result<usize, Malformed> {
    let units = b.get(at + 1).ok_or(Malformed::Short)?;
    Ok((usize::from(*units) + 1) * 8)
}

/// Where a fragment of an IPv6 packet belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FragmentV6 {
    /// Where the fragment header begins; what stands before it is in every piece.
    pub at: usize,
    /// Where the field stands that announces the fragment header.
    pub announced: usize,
    /// What follows it: good in the first piece.
    pub next: u8,
    /// Identification.
    pub id: u32,
    /// Offset of the piece in bytes.
    pub offset: usize,
    /// Whether more pieces follow.
    pub more: bool,
}

/// The fragment header (RFC 8200 section 4.5) of a parsed IPv6 packet.
pub fn fragment_v6(bytes: &[u8], ip: &IpPacket) -> Option<FragmentV6> {
    let b = bytes.get(ip.start..ip.end)?;
    let (mut at, mut announced) = (40, 6);
    for _ in 0..=MAX_EXTENSIONS {
        if *b.get(announced)? == FRAGMENT_HEADER {
            let h = b.get(at..at + 8)?;
            let word = be16(h, 2);
            return Some(FragmentV6 {
                at: ip.start + at,
                announced: ip.start + announced,
                next: h[0],
                id: be32(h, 4),
                offset: usize::from(word & 0xFFF8),
                more: word & 1 != 0,
            });
        }
        (announced, at) = (at, at + extension_len(b, at).ok()?);
    }
    None
}

impl IpPacket {
    /// The bytes behind the IP header.
    pub fn payload<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.l4..self.end]
    }

    /// The whole packet without the padding behind it.
    pub fn bytes<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.start..self.end]
    }

    /// Whether it is IPv4.
    pub fn is_v4(&self) -> bool {
        self.src.is_ipv4()
    }

    /// Time to live or hop limit.
    pub fn ttl(&self, bytes: &[u8]) -> u8 {
        bytes[self.start + if self.is_v4() { 8 } else { 7 }]
    }

    /// Whether the IPv4 header forbids fragmentation; true for IPv6.
    pub fn dont_fragment(&self, bytes: &[u8]) -> bool {
        !self.is_v4() || bytes[self.start + 6] & 0x40 != 0
    }

    /// Whether the transport checksum is right. Fragments and protocols without one count as right.
    pub fn transport_checksum_ok(&self, bytes: &[u8]) -> bool {
        if self.fragment != Fragment::None {
            return true;
        }
        let p = self.payload(bytes);
        let field = match self.proto {
            proto::TCP => 16,
            proto::UDP => 6,
            proto::ICMP => return super::checksum::Sum::new().bytes(p).fold() == 0xFFFF,
            proto::ICMPV6 => 2,
            _ => return true,
        };
        if p.len() < field + 2 {
            return false;
        }
        if self.proto == proto::UDP && be16(p, field) == 0 {
            return self.is_v4();
        }
        // A datagram says itself how long it is; what the packet holds behind it is not summed (RFC 768).
        let len = if self.proto == proto::UDP { usize::from(be16(p, 4)) } else { p.len() };
        let Some(p) = p.get(..len) else { return false };
        super::checksum::Sum::new().pseudo(self.src, self.dst, self.proto, p.len()).bytes(p).fold() == 0xFFFF
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// IPv4 with a router-alert option, TCP, 3 bytes of padding behind.
    const V4: [u8; 31] = [
        0x46, 0, 0, 28, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x94, 4, 0, 0, // header
        1, 2, 3, 4, // payload
        0, 0, 0, // padding
    ];

    #[test]
    fn ipv4_options_and_padding() {
        let mut b = V4;
        assert_eq!(parse_ip(&b, 0), Err(Malformed::Checksum));
        let c = crate::wire::checksum::Sum::new().bytes(&b[..24]).checksum();
        b[10..12].copy_from_slice(&c.to_be_bytes());
        let p = parse_ip(&b, 0).unwrap();
        assert_eq!((p.l4, p.end, p.proto, p.fragment), (24, 28, 6, Fragment::None));
        assert_eq!(p.payload(&b), [1, 2, 3, 4]);
        assert!(p.dont_fragment(&b));
        assert_eq!(parse_ip(&b[..27], 0), Err(Malformed::Short));
        b[0] = 0x44;
        assert_eq!(parse_ip(&b, 0), Err(Malformed::Header));
        b[0] = 0x56;
        assert_eq!(parse_ip(&b, 0), Err(Malformed::Header));
        assert_eq!(parse_ip(&[], 0), Err(Malformed::Short));
        assert_eq!(parse_ip(&[], 9), Err(Malformed::Short));
    }

    #[test]
    fn ipv6_extension_headers_are_walked_and_bounded() {
        let mut b = vec![0x60, 0, 0, 0, 0, 28, 0, 64];
        b.extend([0; 32]);
        b.extend([60, 0, 1, 4, 0, 0, 0, 0]); // hop-by-hop, then destination options
        b.extend([44, 0, 1, 4, 0, 0, 0, 0]); // destination options, then fragment
        b.extend([6, 0, 0, 0, 0, 0, 0, 9]); // atomic fragment
        b.extend([1, 2, 3, 4]);
        let p = parse_ip(&b, 0).unwrap();
        assert_eq!((p.l4, p.end, p.proto, p.fragment), (64, 68, 6, Fragment::None));
        b[40 + 16 + 3] = 1; // more fragments
        assert_eq!(parse_ip(&b, 0).unwrap().fragment, Fragment::First);
        b[40 + 16 + 3] = 8; // offset 1
        assert_eq!(parse_ip(&b, 0).unwrap().fragment, Fragment::Later);
        b[40 + 1] = 200;
        assert_eq!(parse_ip(&b, 0), Err(Malformed::Short));

        let mut many = vec![0x60, 0, 0, 0, 0, 80, 60, 64];
        many.extend([0; 32]);
        for _ in 0..10 {
            many.extend([60, 0, 1, 4, 0, 0, 0, 0]);
        }
        assert_eq!(parse_ip(&many, 0), Err(Malformed::Extension));
    }

    #[test]
    fn a_second_fragment_header_is_no_header_of_ours() {
        let mut b = vec![0x60, 0, 0, 0, 0, 36, 44, 64];
        b.extend([0; 32]);
        b.extend([44, 0, 0, 0, 0, 0, 0, 9]); // atomic fragment
        b.extend([6, 0, 0, 8, 0, 0, 0, 9]); // offset 8
        b.extend([0; 20]);
        let p = parse_ip(&b, 0).unwrap();
        assert_eq!((p.l4, p.proto, p.fragment), (48, 44, Fragment::None));
    }

    #[test]
    fn a_quotation_ends_where_it_is_cut_off() {
        let mut four = V4;
        four[2..4].copy_from_slice(&1500u16.to_be_bytes());
        let p = parse_quoted(&four, 0, 28).unwrap();
        assert_eq!((p.l4, p.end, p.proto), (24, 28, 6));
        let mut six = vec![0xEE, 0x60, 0, 0, 0, 5, 220, 0, 64];
        six.extend([0; 32]);
        six.extend([60, 0, 1, 4, 0, 0, 0, 0]);
        six.extend([6, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        six.extend([1, 2, 3, 4]);
        let p = parse_quoted(&six, 1, six.len()).unwrap();
        assert_eq!((p.start, p.l4, p.end, p.proto), (1, 65, 69, 6));
        for (b, start, headers) in [(&four[..], 0, 24), (&six[..], 1, 65)] {
            for end in 0..=b.len() {
                assert_eq!(parse_quoted(b, start, end).is_some(), end >= headers, "{end}");
            }
        }
        assert_eq!(parse_quoted(&six, 1, 100), None);
    }

    #[test]
    fn what_hides_or_guards_its_payload_is_no_segment() {
        let with = |next: u8, header: [u8; 8]| {
            let mut b = vec![0x60, 0, 0, 0, 0, 28, next, 64];
            b.extend([0; 32]);
            b.extend(header);
            b.extend([0; 20]);
            b
        };
        for (next, header, want) in [
            (43, [6, 0, 0, 0, 0, 0, 0, 0], (48, 6)),  // routing, done with
            (43, [6, 0, 0, 1, 0, 0, 0, 0], (40, 43)), // routing, a hop to come
            (51, [6, 0, 0, 0, 0, 0, 0, 0], (40, 51)), // authentication
            (50, [0; 8], (40, 50)),                   // ESP
            (59, [0; 8], (40, 59)),                   // nothing
            (253, [0; 8], (40, 253)),                 // an experiment
        ] {
            let p = parse_ip(&with(next, header), 0).unwrap();
            assert_eq!((p.l4, p.proto), want);
        }
    }

    #[test]
    fn a_datagram_shorter_than_its_packet_is_summed_as_long_as_it_says() {
        let mut b = vec![7; 28 + 5];
        crate::wire::build::udp_v4(&mut b, (Ipv4Addr::LOCALHOST, 1), (Ipv4Addr::LOCALHOST, 2), 9);
        b.extend([1, 2, 3]);
        let packet = IpPacket { end: b.len(), ..parse_ip(&b, 0).unwrap() };
        assert!(packet.transport_checksum_ok(&b));
        b[30] ^= 1;
        assert!(!packet.transport_checksum_ok(&b));
        b[30] ^= 1;
        b[25] = 200;
        assert!(!packet.transport_checksum_ok(&b), "longer than the packet");
        // No checksum at all is a right of IPv4 (RFC 768), and none of IPv6 (RFC 8200 section 8.1).
        b[25] = 13;
        b[26..28].fill(0);
        assert!(packet.transport_checksum_ok(&b));
        let six = IpAddr::V6(Ipv6Addr::LOCALHOST);
        assert!(!IpPacket { src: six, dst: six, ..packet }.transport_checksum_ok(&b));
    }

    #[test]
    fn a_fragment_header_is_found_behind_others() {
        let mut b = vec![9, 9, 0x60, 0, 0, 0, 0, 24, 0, 64];
        b.extend([0; 32]);
        b.extend([44, 0, 1, 4, 0, 0, 0, 0]); // hop-by-hop, then fragment
        b.extend([58, 0, 0x01, 0x09, 1, 2, 3, 4]); // offset 264, more
        b.extend([0; 8]);
        let p = parse_ip(&b, 2).unwrap();
        let want = FragmentV6 { at: 50, announced: 42, next: 58, id: 0x0102_0304, offset: 264, more: true };
        assert_eq!((p.fragment, fragment_v6(&b, &p)), (Fragment::Later, Some(want)));
        b[8] = 60;
        b[42] = 59;
        let p = parse_ip(&b, 2).unwrap();
        assert_eq!(fragment_v6(&b, &p), None);
    }
}
