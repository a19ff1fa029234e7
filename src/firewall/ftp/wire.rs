//! Packets of ours that travel among those of a control connection.

use crate::alg::Outgoing;
use crate::wire::build::{self, IPV4_HEADER, IPV6_HEADER, TTL};
use crate::wire::{IpPacket, proto};
use std::net::{IpAddr, SocketAddr};

/// How the packets of one direction look, and which way they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style<W> {
    /// The way that the last one came.
    pub(super) way: W,
    /// Its time to live as it leaves us.
    pub(super) ttl: u8,
    /// The largest that one had.
    pub(super) most: u8,
    /// Its type of service or traffic class, the congestion bits among them.
    tos: u8,
    /// It may not be cut. Always so in IPv6.
    keep_whole: bool,
    /// IPv6's flow label.
    label: u32,
}

/// Differences below this are those of paths: routes change.
const TTL_SLACK: u8 = 8;
/// What is left of the time to live of a segment that is meant for us and not for the end.
const TTL_SPENT: u8 = 2;
/// The bits of the type of service that are about congestion (RFC 3168 5).
const ECN: u8 = 0x03;

impl<W: Copy> Style<W> {
    /// Of a packet as it came; `hop` if we count one.
    pub(super) fn of(way: W, packet: &[u8], ip: &IpPacket, hop: bool) -> Self {
        let ttl = ip.ttl(packet).saturating_sub(u8::from(hop)).max(1);
        let byte = |at: usize| packet.get(ip.start + at).copied().unwrap_or(0);
        let (tos, label) = if ip.is_v4() {
            (byte(1), 0)
        } else {
            (byte(0) << 4 | byte(1) >> 4, u32::from_be_bytes([0, byte(1) & 0x0F, byte(2), byte(3)]))
        };
        Self { way, ttl, most: ttl, tos, keep_whole: ip.dont_fragment(packet), label }
    }

    /// Whether a packet of this style is one that is made to die behind us, so that we take for heard what the
    /// end never gets.
    pub(super) fn dies_early(&self, before: Option<&Self>) -> bool {
        self.ttl <= TTL_SPENT && before.is_some_and(|b| b.most > self.ttl + TTL_SLACK)
    }

    /// This one behind `before`.
    pub(super) fn after(self, before: Option<&Self>) -> Self {
        Self { most: before.map_or(self.ttl, |b| b.most.max(self.ttl)), ..self }
    }
}

/// What a packet of ours needs besides its segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) src: SocketAddr,
    pub(super) dst: SocketAddr,
    pub(super) ttl: u8,
    pub(super) tos: u8,
    pub(super) keep_whole: bool,
    pub(super) label: u32,
    /// IPv4's identification.
    pub(super) id: u16,
}

impl Header {
    /// In the style of a direction; plain if nothing came in that yet. `carries` says whether it stands for the packet
    /// that came last: congestion that was marked there is then told here as well, and else nowhere.
    pub(super) fn new<W>(src: SocketAddr, dst: SocketAddr, style: Option<&Style<W>>, carries: bool) -> Self {
        let mask = if carries { 0xFF } else { !ECN };
        let (ttl, tos, keep_whole, label) =
            style.map_or((TTL, 0, true, 0), |s| (s.ttl, s.tos & mask, s.keep_whole, s.label));
        Self { src, dst, ttl, tos, keep_whole, label, id: 0 }
    }

    /// The whole packet, checksums right.
    pub(super) fn packet(&self, o: &Outgoing) -> Vec<u8> {
        let options = o.options.as_slice();
        let padded = (options.len() + 3) & !3;
        let ip = if self.src.is_ipv4() { IPV4_HEADER } else { IPV6_HEADER };
        let mut b = Vec::with_capacity(ip + 20 + padded + o.payload.len());
        match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                b.extend([0x45, self.tos, 0, 0]);
                b.extend(self.id.to_be_bytes());
                b.extend([if self.keep_whole { 0x40 } else { 0 }, 0, self.ttl, proto::TCP, 0, 0]);
                b.extend(src.octets());
                b.extend(dst.octets());
            }
            (src, dst) => {
                let six = |a: IpAddr| match a {
                    IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
                    IpAddr::V6(a) => a.octets(),
                };
                b.extend((6 << 28 | u32::from(self.tos) << 20 | self.label).to_be_bytes());
                b.extend([0, 0, proto::TCP, self.ttl]);
                b.extend(six(src));
                b.extend(six(dst));
            }
        }
        b.extend(self.src.port().to_be_bytes());
        b.extend(self.dst.port().to_be_bytes());
        b.extend(o.seq.to_be_bytes());
        b.extend(o.ack.to_be_bytes());
        b.extend([((20 + padded) / 4 * 16) as u8, o.flags]);
        b.extend(o.window.to_be_bytes());
        b.extend([0, 0]);
        b.extend(o.urgent.to_be_bytes());
        b.extend(options);
        b.resize(ip + 20 + padded, 0);
        b.extend(&o.payload);
        build::finish(&mut b);
        b
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alg::{Direction, OptionList};
    use crate::wire::{parse_ip, tcp};

    fn outgoing() -> Outgoing {
        Outgoing {
            dir: Direction::ToServer,
            seq: 7,
            ack: 9,
            flags: tcp::ACK | tcp::PSH,
            window: 100,
            urgent: 3,
            options: OptionList::new(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]),
            payload: b"NOOP\r\n".to_vec(),
            verbatim: false,
        }
    }

    #[test]
    fn a_packet_looks_as_those_before_it() {
        for (src, dst) in [("10.0.0.5:40000", "198.51.100.7:21"), ("[2001:db8::5]:40000", "[2001:db8::7]:21")]
        {
            let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
            let mut header = Header::new::<()>(src, dst, None, true);
            (header.ttl, header.tos, header.keep_whole, header.label, header.id) =
                (61, 0xBB, true, 0xABCDE, 77);
            let b = header.packet(&outgoing());
            let ip = parse_ip(&b, 0).unwrap();
            assert!(ip.transport_checksum_ok(&b) && ip.dont_fragment(&b));
            let seg = tcp::parse(&b, &ip).unwrap();
            assert_eq!((seg.src, seg.dst, seg.seq, seg.ack, seg.window), (src, dst, 7, 9, 100));
            assert_eq!(&b[seg.payload..seg.end], b"NOOP\r\n");
            assert_eq!(crate::alg::Incoming::new(&b, &seg).options, outgoing().options);
            let style = Style::of((), &b, &ip, true);
            assert_eq!((style.ttl, style.tos, style.keep_whole), (60, 0xBB, true));
            assert_eq!(style.label, if ip.is_v4() { 0 } else { 0xABCDE });
            assert_eq!(Header::new(src, dst, Some(&style), false).tos, 0xB8);
            assert_eq!(Header::new(src, dst, Some(&style), true).tos, 0xBB);
        }
    }

    #[test]
    fn a_segment_that_dies_behind_us_is_told_from_a_short_path() {
        let style = |ttl| Style { way: (), ttl, most: ttl, tos: 0, keep_whole: true, label: 0 };
        assert!(!style(1).dies_early(None));
        assert!(!style(2).dies_early(Some(&style(2))));
        assert!(style(2).dies_early(Some(&style(60))));
        assert!(!style(40).dies_early(Some(&style(60))));
        assert!(style(1).dies_early(Some(&style(10).after(Some(&style(60))))));
    }
}
