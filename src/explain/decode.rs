//! What a captured frame carries: VLAN tags, GRE and IP in IP are taken off until TCP or a complaint about TCP shows.
//!
//! Captures are kinder than networks: offloading leaves lengths and checksums empty, and `tcpdump -s` cuts
//! packets. Both are read as far as they go.

use crate::wire::icmp::{self, Icmp};
use crate::wire::{IpPacket, Malformed, eth, gre, parse_ip, parse_quoted, proto, tcp};
use std::net::{IpAddr, SocketAddr};

/// Bridged Ethernet in GRE.
const BRIDGED: u16 = 0x6558;
/// ERSPAN in GRE: copies of frames that a switch sends.
const ERSPAN: u16 = 0x88BE;
/// An old type of outer tags.
const QINQ_OLD: u16 = 0x9100;
/// Most headers that are taken off one frame.
const MAX_LAYERS: usize = 12;

/// A TCP segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment<'a> {
    pub(super) src: SocketAddr,
    pub(super) dst: SocketAddr,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
    /// The payload as far as it was captured.
    pub(super) payload: &'a [u8],
    /// Bytes of payload on the wire.
    pub(super) len: u32,
    /// What tells this packet from a repetition: the identification; 0 is none.
    pub(super) id: u16,
    /// What tells this place of capture from another: time to live and what was around the packet.
    pub(super) place: u32,
}

impl Segment<'_> {
    pub(super) fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Whether it opens a connection.
    pub(super) fn is_first(&self) -> bool {
        self.flags & (tcp::SYN | tcp::ACK | tcp::RST) == tcp::SYN
    }

    /// Sequence number of the first byte of payload.
    pub(super) fn data_seq(&self) -> u32 {
        self.seq.wrapping_add(u32::from(self.has(tcp::SYN)))
    }
}

/// An ICMP error about a TCP segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Complaint {
    pub(super) from: IpAddr,
    /// Ends of the segment that is complained about.
    pub(super) src: SocketAddr,
    pub(super) dst: SocketAddr,
    pub(super) kind: (u8, u8),
    pub(super) v6: bool,
    pub(super) mtu: u32,
}

/// What a frame is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Decoded<'a> {
    Tcp(Segment<'a>),
    Complaint(Complaint),
    /// A piece of an IP packet: not put together here.
    Piece,
    /// TCP whose header the capture cut off.
    Cut,
    /// A header that cannot be.
    Damaged,
    /// Something else.
    Other,
}

/// `missing`: bytes that the capture cut off the end.
pub(super) fn decode(mut ethertype: u16, mut bytes: &[u8], mut missing: usize) -> Decoded<'_> {
    let mut place = 0u32;
    for _ in 0..MAX_LAYERS {
        match ethertype {
            eth::TYPE_VLAN | eth::TYPE_QINQ | QINQ_OLD => {
                let Some(tag) = bytes.first_chunk::<4>() else { return Decoded::Other };
                place = mix(place, u32::from(u16::from_be_bytes([tag[0], tag[1]]) & 0x0FFF) + 1);
                ethertype = u16::from_be_bytes([tag[2], tag[3]]);
                bytes = bytes.get(4..).unwrap_or_default();
            }
            eth::TYPE_IPV4 | eth::TYPE_IPV6 => {
                let Ok((ip, end)) = ip(bytes, missing) else { return Decoded::Damaged };
                if ip.fragment != crate::wire::Fragment::None {
                    return Decoded::Piece;
                }
                place = mix(place, u32::from(ip.ttl(bytes)) + 0x1_0000);
                match ip.proto {
                    proto::TCP => return segment(bytes, &ip, end, place),
                    proto::ICMP | proto::ICMPV6 => return complaint(bytes, &ip),
                    proto::GRE => {
                        let inside = ip.payload(bytes);
                        let Some((kind, len)) = gre::header(inside) else { return Decoded::Other };
                        let Some((kind, len)) = behind_gre(inside, kind, len) else { return Decoded::Other };
                        missing = end - ip.end;
                        bytes = inside.get(len..).unwrap_or_default();
                        ethertype = kind;
                        place = mix(place, 0x2_0000);
                    }
                    4 | 41 => {
                        missing = end - ip.end;
                        ethertype = if ip.proto == 4 { eth::TYPE_IPV4 } else { eth::TYPE_IPV6 };
                        bytes = ip.payload(bytes);
                        place = mix(place, 0x3_0000);
                    }
                    _ => return Decoded::Other,
                }
            }
            BRIDGED => {
                let Some(head) = bytes.first_chunk::<14>() else { return Decoded::Other };
                ethertype = u16::from_be_bytes([head[12], head[13]]);
                bytes = bytes.get(14..).unwrap_or_default();
            }
            _ => return Decoded::Other,
        }
    }
    Decoded::Other
}

/// The type of what GRE carries as an EtherType, and where it begins.
fn behind_gre(inside: &[u8], kind: u16, len: usize) -> Option<(u16, usize)> {
    match kind {
        gre::PROTO_WCCP => {
            // WCCPv1 has no redirect header; no service's first byte looks like a version.
            let first = inside.get(len)?;
            let head = if matches!(first >> 4, 4 | 6) { 0 } else { 4 };
            let version = inside.get(len + head)? >> 4;
            Some((if version == 6 { eth::TYPE_IPV6 } else { eth::TYPE_IPV4 }, len + head))
        }
        // Type II has a header of its own, and is known by GRE's sequence number.
        ERSPAN => Some((BRIDGED, len + if inside.first()? & 0x10 != 0 { 8 } else { 0 })),
        kind => Some((kind, len)),
    }
}

/// The packet as far as it is here, and where it ends on the wire (an offset into `bytes`, maybe behind them).
fn ip(bytes: &[u8], missing: usize) -> Result<(IpPacket, usize), Malformed> {
    let whole = bytes.len() + missing;
    let word = |at: usize| bytes.get(at..at + 2).map_or(0, |b| usize::from(u16::from_be_bytes([b[0], b[1]])));
    let v4 = bytes.first().is_some_and(|b| b >> 4 == 4);
    let declared = if v4 { word(2) } else { 40 + word(4) };
    let quoted = |end: usize| parse_quoted(bytes, 0, end.min(bytes.len()));
    match parse_ip(bytes, 0) {
        Ok(ip) => Ok((ip, ip.end)),
        // Cut by the capture.
        Err(Malformed::Short) if declared <= whole => {
            quoted(declared).map(|ip| (ip, declared)).ok_or(Malformed::Short)
        }
        // Left to the card: a length or a header checksum that is not written yet.
        Err(Malformed::Header) if v4 && declared == 0 => {
            quoted(whole).map(|ip| (ip, whole)).ok_or(Malformed::Header)
        }
        Err(Malformed::Checksum) if word(10) == 0 => {
            quoted(declared).map(|ip| (ip, declared)).ok_or(Malformed::Checksum)
        }
        Err(error) => Err(error),
    }
}

fn segment<'a>(bytes: &'a [u8], ip: &IpPacket, end: usize, place: u32) -> Decoded<'a> {
    let Some(seg) = tcp::parse(bytes, ip) else {
        return if end > ip.end { Decoded::Cut } else { Decoded::Damaged };
    };
    let word = |at: usize| bytes.get(at..at + 2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
    Decoded::Tcp(Segment {
        src: seg.src,
        dst: seg.dst,
        seq: seg.seq,
        ack: seg.ack,
        flags: seg.flags,
        window: seg.window,
        payload: bytes.get(seg.payload..seg.end).unwrap_or_default(),
        len: u32::try_from(end - seg.payload).unwrap_or(u32::MAX),
        id: if ip.is_v4() { word(ip.start + 4) } else { 0 },
        place,
    })
}

fn complaint<'a>(bytes: &[u8], ip: &IpPacket) -> Decoded<'a> {
    match icmp::parse(bytes, ip) {
        Some(Icmp::TcpError { kind, src, dst, mtu, .. }) => {
            Decoded::Complaint(Complaint { from: ip.src, src, dst, kind, v6: !ip.is_v4(), mtu })
        }
        _ => Decoded::Other,
    }
}

fn mix(state: u32, value: u32) -> u32 {
    (state ^ value).wrapping_mul(0x0100_0193).rotate_left(7)
}
