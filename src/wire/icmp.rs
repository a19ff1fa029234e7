//! ICMP (RFC 792, RFC 4443): echo, and errors that quote a packet.
//!
//! ```text
//! | type | code | checksum | 4 bytes of the type's own | quoted packet (errors): IP header + 8 bytes or more
//! ```

use super::{Fragment, IpPacket, be16, be32, gre, parse_quoted, parsed, proto};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The least MTU of IPv6 links (RFC 8200 section 5); errors do not exceed it.
const MIN_MTU_V6: usize = 1280;
/// Fragmentation needed and DF set: type and code (RFC 792, RFC 1191 section 4).
pub const TOO_BIG_V4: (u8, u8) = (3, 4);
/// Packet too big: type and code (RFC 4443 3.2).
pub const TOO_BIG_V6: (u8, u8) = (2, 0);
/// Time exceeded in transit: type and code (RFC 792).
pub const TIME_EXCEEDED_V4: (u8, u8) = (11, 0);
/// Hop limit exceeded in transit: type and code (RFC 4443 3.3).
pub const TIME_EXCEEDED_V6: (u8, u8) = (3, 0);
/// No way to the destination's network: type and code (RFC 792, RFC 4443 3.1), and so on.
pub const NO_ROUTE_V4: (u8, u8) = (3, 0);
/// No way to the destination's network.
pub const NO_ROUTE_V6: (u8, u8) = (1, 0);
/// The destination itself does not answer on its link.
pub const NO_HOST_V4: (u8, u8) = (3, 1);
/// The destination itself does not answer on its link.
pub const NO_HOST_V6: (u8, u8) = (1, 3);
/// Nobody speaks the protocol.
pub const NO_PROTOCOL_V4: (u8, u8) = (3, 2);
/// Nobody listens at the port.
pub const NO_PORT_V4: (u8, u8) = (3, 3);
/// Nobody listens at the port.
pub const NO_PORT_V6: (u8, u8) = (1, 4);

/// A message that we understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Icmp {
    /// A ping.
    EchoRequest,
    /// An error about a TCP segment that somebody sent.
    TcpError {
        /// Type and code as on the wire.
        kind: (u8, u8),
        /// Where the quoted packet begins.
        quoted: usize,
        /// Source of the quoted segment.
        src: SocketAddr,
        /// Its destination.
        dst: SocketAddr,
        /// Its sequence number.
        seq: u32,
        /// The next hop's MTU (`fragmentation needed`, `packet too big`), else 0.
        mtu: u32,
    },
    /// An error about a GRE packet over IPv4 that somebody sent.
    GreError {
        /// Type and code as on the wire.
        kind: (u8, u8),
        /// Who sent the quoted packet.
        src: Ipv4Addr,
        /// Whom it was for.
        dst: Ipv4Addr,
        /// How long it was, in bytes.
        len: u16,
        /// Whether its GRE header is one that we write: of WCCP, without any flag.
        wccp: bool,
        /// The next hop's MTU (`fragmentation needed`), else 0.
        mtu: u32,
    },
    /// Anything else.
    Other,
}

/// Reads the message in a parsed packet; `None` if it is cut off.
pub fn parse(bytes: &[u8], ip: &IpPacket) -> Option<Icmp> {
    if ip.fragment != Fragment::None {
        return Some(Icmp::Other);
    }
    let p = ip.payload(bytes);
    if p.len() < 8 {
        return None;
    }
    let kind = (p[0], p[1]);
    match (ip.proto, kind.0) {
        (proto::ICMP, 8) | (proto::ICMPV6, 128) => Some(Icmp::EchoRequest),
        // Unreachable, time exceeded, parameter problem.
        (proto::ICMP, 3 | 11 | 12) => {
            let mtu = if kind == (3, 4) { u32::from(be16(p, 6)) } else { 0 };
            Some(quoted(bytes, ip, kind, mtu))
        }
        (proto::ICMPV6, 1..=4) => {
            let mtu = if kind.0 == 2 { be32(p, 4) } else { 0 };
            Some(quoted(bytes, ip, kind, mtu))
        }
        _ => Some(Icmp::Other),
    }
}

fn quoted(bytes: &[u8], ip: &IpPacket, kind: (u8, u8), mtu: u32) -> Icmp {
    let at = ip.l4 + 8;
    let Some(q) = parse_quoted(bytes, at, ip.end).filter(|q| q.fragment != Fragment::Later) else {
        return Icmp::Other;
    };
    match (q.proto, q.src, q.dst, q.payload(bytes).first_chunk::<8>()) {
        (proto::GRE, IpAddr::V4(src), IpAddr::V4(dst), t) => {
            let wccp = t.is_some_and(|t| be16(t, 0) == 0 && be16(t, 2) == gre::PROTO_WCCP);
            Icmp::GreError { kind, src, dst, len: be16(bytes, at + 2), wccp, mtu }
        }
        (proto::TCP, src, dst, Some(t)) => Icmp::TcpError {
            kind,
            quoted: at,
            src: SocketAddr::new(src, be16(t, 0)),
            dst: SocketAddr::new(dst, be16(t, 2)),
            seq: be32(t, 4),
            mtu,
        },
        _ => Icmp::Other,
    }
}

/// What an error about a packet that was translated says of it, as its sender knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restated {
    /// Source of the quoted packet: who the error goes to. Of an echo request the port is its identifier.
    pub src: SocketAddr,
    /// Its destination. Of an echo reply the port is its identifier.
    pub dst: SocketAddr,
    /// Who the error is from.
    pub from: IpAddr,
    /// The quoted TCP sequence number, if it is another.
    pub seq: Option<u32>,
}

/// Turns an error about a segment that was rewritten on its way into one about the segment as its sender
/// knows it: the quoted headers get `src` and `dst`, and the error goes to `src`. `quoted` is where the quoted
/// packet begins; it must be of the error's own family. Checksums in it that were right are right again, as
/// far as they are quoted; the error's own are computed. False, and nothing is changed, if that cannot be.
pub fn requote(b: &mut [u8], ip: &IpPacket, quoted: usize, src: SocketAddr, dst: SocketAddr) -> bool {
    let tcp = parse_quoted(b, quoted, ip.end.min(b.len())).is_some_and(|q| q.proto == proto::TCP);
    tcp && restate(b, ip, quoted, &Restated { src, dst, from: ip.src, seq: None })
}

/// As [`requote`], for a quoted packet of any protocol: ports of TCP and UDP and identifiers of ICMP queries are
/// changed as far as they are quoted, of others the addresses.
pub fn restate(b: &mut [u8], ip: &IpPacket, quoted: usize, what: &Restated) -> bool {
    use super::checksum::Sum;
    let Restated { src, dst, from, seq } = *what;
    let end = ip.end.min(b.len());
    let Some(q) = parse_quoted(b, quoted, end).filter(|q| q.is_v4() == ip.is_v4()) else { return false };
    if [src.ip(), dst.ip(), from].iter().any(|a| a.is_ipv4() != ip.is_v4()) {
        return false;
    }
    let ported = matches!(q.proto, proto::TCP | proto::UDP);
    if ported && q.l4 + 4 > end {
        return false;
    }
    // Where addresses stand in either header.
    let (at, width) = if ip.is_v4() { (12, 4) } else { (8, 16) };
    let mut addresses = Changes::default();
    addresses.write(b, quoted + at, &octets(src.ip())[..width]);
    addresses.write(b, quoted + at + width, &octets(dst.ip())[..width]);
    if ip.is_v4() {
        addresses.patch(b, quoted + 10);
    }
    let mut all = addresses;
    match q.proto {
        proto::TCP | proto::UDP => {
            all.write(b, q.l4, &src.port().to_be_bytes());
            all.write(b, q.l4 + 2, &dst.port().to_be_bytes());
            if let Some(seq) = seq.filter(|_| q.proto == proto::TCP && q.l4 + 8 <= end) {
                all.write(b, q.l4 + 4, &seq.to_be_bytes());
            }
            let field = if q.proto == proto::TCP { 16 } else { 6 };
            // UDP without a checksum has a zero there.
            if q.l4 + field + 2 <= end && (q.proto == proto::TCP || be16(b, q.l4 + field) != 0) {
                all.patch(b, q.l4 + field);
            }
        }
        // The sum of ICMP for IPv4 is over itself alone.
        proto::ICMP if q.l4 + 6 <= end => {
            let id = match b[q.l4] {
                8 | 13 | 15 | 17 => Some(src.port()),
                0 | 14 | 16 | 18 => Some(dst.port()),
                _ => None,
            };
            if let Some(id) = id {
                let mut own = Changes::default();
                own.write(b, q.l4 + 4, &id.to_be_bytes());
                own.patch(b, q.l4 + 2);
            }
        }
        _ => {}
    }
    b[ip.start + at..ip.start + at + width].copy_from_slice(&octets(from)[..width]);
    b[ip.start + at + width..ip.start + at + 2 * width].copy_from_slice(&octets(src.ip())[..width]);
    super::put16(b, ip.l4 + 2, 0);
    let sum = Sum::new().bytes(&b[ip.l4..end]);
    let sum = if ip.is_v4() { sum } else { sum.pseudo(from, src.ip(), proto::ICMPV6, end - ip.l4) };
    super::put16(b, ip.l4 + 2, sum.checksum());
    if ip.is_v4() {
        super::put16(b, ip.start + 10, 0);
        let c = Sum::new().bytes(&b[ip.start..ip.l4]).checksum();
        super::put16(b, ip.start + 10, c);
    }
    true
}

/// The difference that writes at even places make to a checksum.
#[derive(Debug, Clone, Copy, Default)]
struct Changes(u16);

impl Changes {
    fn write(&mut self, b: &mut [u8], at: usize, new: &[u8]) {
        use super::checksum::{add, delta16};
        for (i, pair) in new.as_chunks::<2>().0.iter().enumerate() {
            let new = u16::from_be_bytes(*pair);
            self.0 = add(self.0, delta16(be16(b, at + 2 * i), new));
            super::put16(b, at + 2 * i, new);
        }
    }

    fn patch(self, b: &mut [u8], at: usize) {
        let c = be16(b, at);
        super::put16(b, at, super::checksum::patch(c, self.0));
    }
}

/// An address's bytes; those of an IPv4 address come first.
fn octets(a: IpAddr) -> [u8; 16] {
    match a {
        IpAddr::V4(a) => {
            let [b, c, d, e] = a.octets();
            [b, c, d, e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(a) => a.octets(),
    }
}

/// Builds an error that quotes `original`, a packet of the addresses' family, as [`error_v4`] or
/// [`error_v6`] does; `None` if the families differ or `original` is malformed.
pub fn error(src: IpAddr, dst: IpAddr, kind: (u8, u8), rest: [u8; 4], original: &[u8]) -> Option<Vec<u8>> {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => error_v4(src, dst, kind, rest, original),
        (IpAddr::V6(src), IpAddr::V6(dst)) => error_v6(src, dst, kind, rest, original),
        _ => None,
    }
}

/// Builds an ICMPv6 error (RFC 4443 section 2.4) that quotes `original` (an IPv6 packet), as much of it as
/// fits the least MTU. `rest` are the four bytes of the type's own.
pub fn error_v6(
    src: Ipv6Addr,
    dst: Ipv6Addr,
    kind: (u8, u8),
    rest: [u8; 4],
    original: &[u8],
) -> Option<Vec<u8>> {
    let o = parsed::parse_ip(original, 0).ok().filter(|o| !o.is_v4())?;
    let take = o.end.min(MIN_MTU_V6 - 48);
    let mut b = vec![0; 48 + take];
    b[48..].copy_from_slice(&original[..take]);
    b[40] = kind.0;
    b[41] = kind.1;
    b[44..48].copy_from_slice(&rest);
    super::build::icmpv6(&mut b, src, dst, super::build::TTL);
    Some(b)
}

/// Builds an ICMPv4 error that quotes `original` (an IPv4 packet): its header and up to 28 bytes behind.
/// `rest` are the four bytes of the type's own (zero, or an MTU in the last two).
pub fn error_v4(
    src: Ipv4Addr,
    dst: Ipv4Addr,
    kind: (u8, u8),
    rest: [u8; 4],
    original: &[u8],
) -> Option<Vec<u8>> {
    let o = parsed::parse_ip(original, 0).ok().filter(IpPacket::is_v4)?;
    let take = o.end.min(o.l4 + 28);
    let total = 28 + take;
    let mut b = vec![0; total];
    b[28..].copy_from_slice(&original[..take]);
    b[20] = kind.0;
    b[21] = kind.1;
    b[24..28].copy_from_slice(&rest);
    let c = super::checksum::Sum::new().bytes(&b[20..]).checksum();
    super::put16(&mut b, 22, c);
    b[0] = 0x45;
    super::put16(&mut b, 2, total as u16);
    b[8] = super::build::TTL;
    b[9] = proto::ICMP;
    b[12..16].copy_from_slice(&src.octets());
    b[16..20].copy_from_slice(&dst.octets());
    let c = super::checksum::Sum::new().bytes(&b[..20]).checksum();
    super::put16(&mut b, 10, c);
    Some(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{build, parse_ip, tcp};

    /// The segment 77 of a connection.
    fn segment(src: SocketAddr, dst: SocketAddr) -> Vec<u8> {
        let options = tcp::SynOptions::default();
        let t =
            build::Tcp { src, dst, seq: 77, ack: 5, flags: tcp::ACK, window: 1, options, ttl: 64, ip_id: 9 };
        let mut b = vec![0; t.len()];
        t.emit(&mut b);
        b
    }

    #[test]
    fn an_error_gives_back_the_segment_it_quotes() {
        let (src, dst) = ("10.9.0.2:40000".parse().unwrap(), "10.1.0.10:21".parse().unwrap());
        let o = segment(src, dst);
        let e = error_v4(Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2), (3, 4), [0, 0, 5, 0], &o)
            .unwrap();
        let ip = parse_ip(&e, 0).unwrap();
        assert!(ip.transport_checksum_ok(&e));
        let want = Icmp::TcpError { kind: (3, 4), quoted: 28, src, dst, seq: 77, mtu: 1280 };
        assert_eq!(parse(&e, &ip), Some(want));
        for cut in 20..e.len() {
            let mut short = e[..cut].to_vec();
            super::super::put16(&mut short, 2, cut as u16);
            super::super::put16(&mut short, 10, 0);
            let c = crate::wire::checksum::Sum::new().bytes(&short[..20]).checksum();
            super::super::put16(&mut short, 10, c);
            let ip = parse_ip(&short, 0).unwrap();
            let _ = parse(&short, &ip);
        }
    }

    #[test]
    fn a_segment_behind_extension_headers_is_found_and_turned_back() {
        let end = |s: &str| -> SocketAddr { s.parse().unwrap() };
        let (src, dst) = (end("[fd00::2]:40000"), end("[fd00:1::10]:3333"));
        let (was_src, was_dst) = (end("[fd00::a]:5001"), end("[fd00:1::10]:2020"));
        let behind = |src, dst| {
            let mut b = segment(src, dst);
            // Destination options, then an atomic fragment.
            b.splice(40..40, [44, 0, 1, 4, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 9]);
            b[5] += 16;
            b[6] = 60;
            b
        };
        let from: IpAddr = "fd00:1::1".parse().unwrap();
        let mut e = error(from, src.ip(), TOO_BIG_V6, [0, 0, 5, 0], &behind(src, dst)).unwrap();
        let ip = parse_ip(&e, 0).unwrap();
        let want = Icmp::TcpError { kind: TOO_BIG_V6, quoted: 48, src, dst, seq: 77, mtu: 1280 };
        assert_eq!(parse(&e, &ip), Some(want));
        assert!(requote(&mut e, &ip, 48, was_src, was_dst));
        assert_eq!(
            e,
            error(from, was_src.ip(), TOO_BIG_V6, [0, 0, 5, 0], &behind(was_src, was_dst)).unwrap()
        );
    }

    #[test]
    fn a_quoted_segment_gets_its_old_addresses_back_and_every_checksum_is_right() {
        let six = |s: &str| -> (SocketAddr, SocketAddr) {
            let (a, b) = s.split_once(' ').unwrap();
            (a.parse().unwrap(), b.parse().unwrap())
        };
        for (sent, was, from) in [
            ("10.9.0.2:40000 10.1.0.10:3333", "10.0.0.10:5001 10.1.0.10:2020", "10.1.0.1"),
            ("[fd00::2]:40000 [fd00:1::10]:3333", "[fd00::a]:5001 [fd00:1::10]:2020", "fd00:1::1"),
        ] {
            let ((src, dst), (old_src, old_dst)) = (six(sent), six(was));
            let kind = if src.is_ipv4() { TOO_BIG_V4 } else { TOO_BIG_V6 };
            let from: IpAddr = from.parse().unwrap();
            let mut e = error(from, src.ip(), kind, [0, 0, 5, 0], &segment(src, dst)).unwrap();
            let ip = parse_ip(&e, 0).unwrap();
            let quoted = ip.l4 + 8;
            assert!(requote(&mut e, &ip, quoted, old_src, old_dst));
            let want = error(from, old_src.ip(), kind, [0, 0, 5, 0], &segment(old_src, old_dst)).unwrap();
            assert_eq!(e, want);
            let end = e.len();
            for cut in quoted..end {
                let cut = IpPacket { end: cut, ..ip };
                let _ = requote(&mut e.clone(), &cut, quoted, old_src, old_dst);
            }
            assert!(!requote(&mut e, &ip, quoted, old_src, "1.2.3.4:5".parse().unwrap()) || src.is_ipv4());
            assert!(!requote(&mut e, &ip, end, old_src, old_dst));
        }
    }
}
