//! Routers on both sides of the firewall whose next link carries less, and hosts that heed what those say
//! (RFC 1191, RFC 8201). They are made and read by etherparse, as all packets here.

use crate::host::Host;
use crate::net::Net;
use crate::packet::Packet;
use etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded;
use etherparse::{
    Icmpv4Type, Icmpv6Type, Ipv4Header, Ipv6Header, NetSlice, PacketBuilder, SlicedPacket, TransportSlice,
};
use std::net::{IpAddr, SocketAddr};
use tidegate::firewall::Side;

/// What the links behind the firewall carry.
#[derive(Debug)]
pub(crate) struct Paths {
    /// Bytes of a packet that still pass, inside and outside.
    mtu: [usize; 2],
    /// How much of a packet a router quotes.
    pub(crate) quotes: usize,
    /// Errors that reached the hosts, in order.
    pub(crate) told: Vec<Told>,
}

/// An error as it reaches a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) mtu: usize,
    /// The ends and the number of the quoted segment.
    pub(crate) src: SocketAddr,
    pub(crate) dst: SocketAddr,
    pub(crate) seq: u32,
}

impl Default for Paths {
    fn default() -> Self {
        Self { mtu: [usize::MAX; 2], quotes: 548, told: Vec::new() }
    }
}

impl Paths {
    pub(crate) fn narrow(&mut self, side: Side, mtu: usize) {
        self.mtu[index(side)] = mtu;
    }

    /// What the router at this side says to a packet that leaves the firewall there; none if it passes on.
    ///
    /// # Panics
    /// The packet would be cut on this path, or was.
    pub(crate) fn refuses(&self, side: Side, bytes: &[u8]) -> Option<Vec<u8>> {
        let mtu = self.mtu[index(side)];
        if mtu == usize::MAX {
            return None;
        }
        let sliced = SlicedPacket::from_ip(bytes).unwrap();
        assert!(!sliced.is_ip_payload_fragmented(), "a fragment");
        if let Some(NetSlice::Ipv4(v4)) = &sliced.net {
            assert!(v4.header().dont_fragment(), "DF is lost");
        }
        let p = (bytes.len() > mtu).then(|| Packet::parse(bytes).expect("only TCP is that large"))?;
        Some(too_big(router(side, p.src.is_ipv4()), p.src.ip(), mtu, &bytes[..self.quotes.min(bytes.len())]))
    }
}

impl Net {
    /// A packet that is not TCP came out at this side; whether it was an error that a host took.
    pub(crate) fn hears(&mut self, side: Side, bytes: &[u8]) -> bool {
        let Some(told) = Told::parse(bytes) else { return false };
        for c in &mut self.conns {
            let (host, ends) = if side == c.sides[0] && told.to == c.near[0].ip() {
                (&mut c.client, (c.near[0], c.near[1]))
            } else if side == c.sides[1] && told.to == c.far[1].ip() {
                (&mut c.server, (c.far[1], c.far[0]))
            } else {
                continue;
            };
            assert_eq!((told.src, told.dst), ends, "the {} has no such connection", host.name);
            let headers = 20 + if told.to.is_ipv4() { Ipv4Header::MIN_LEN } else { Ipv6Header::LEN };
            host.too_big(told.seq, told.mtu - headers);
            self.paths.told.push(told);
            return true;
        }
        false
    }
}

impl Host {
    /// An error says that what it sent at `seq` may have this many bytes of options and payload. Of what is acknowledged
    /// already it does not believe that (RFC 5927 section 4.1); all else goes again, smaller.
    fn too_big(&mut self, seq: u32, most: usize) {
        let away = seq.wrapping_sub(self.manner.isn.wrapping_add(self.nxt as u32)) as i32;
        assert!(away < 0, "{}: an error about what it has not sent", self.name);
        let at = self.nxt.checked_sub(u64::from(away.unsigned_abs())).expect("in front of the SYN");
        let most = most - if self.manner.stamps { 12 } else { 0 };
        if at >= self.una && most < self.manner.piece {
            self.manner.piece = most;
            self.again = true;
        }
    }
}

impl Told {
    /// None if it does not say that a packet is too big.
    ///
    /// # Panics
    /// A checksum of it, or of what it quotes as far as that is whole, is wrong.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let sliced = SlicedPacket::from_ip(bytes).unwrap();
        let (from, to): (IpAddr, IpAddr) = match sliced.net.as_ref()? {
            NetSlice::Ipv4(v4) => {
                let h = v4.header().to_header();
                assert_eq!(h.header_checksum, h.calc_header_checksum(), "header checksum");
                assert_eq!(usize::from(h.total_len), bytes.len(), "total length");
                (h.source.into(), h.destination.into())
            }
            NetSlice::Ipv6(v6) => (v6.header().source_addr().into(), v6.header().destination_addr().into()),
            NetSlice::Arp(_) => return None,
        };
        let (mtu, quote) = match (&sliced.transport, from, to) {
            (Some(TransportSlice::Icmpv4(m)), ..) => {
                let kind = m.icmp_type();
                assert_eq!(m.checksum(), kind.calc_checksum(m.payload()), "ICMP checksum");
                let Icmpv4Type::DestinationUnreachable(FragmentationNeeded { next_hop_mtu }) = kind else {
                    return None;
                };
                (usize::from(next_hop_mtu), m.payload())
            }
            (Some(TransportSlice::Icmpv6(m)), IpAddr::V6(s), IpAddr::V6(d)) => {
                assert!(m.is_checksum_valid(s.octets(), d.octets()), "ICMPv6 checksum");
                let Icmpv6Type::PacketTooBig { mtu } = m.icmp_type() else { return None };
                (mtu as usize, m.payload())
            }
            _ => return None,
        };
        let (src, dst, whole, tcp): (IpAddr, IpAddr, usize, &[u8]) = if to.is_ipv4() {
            let (h, tcp) = Ipv4Header::from_slice(quote).unwrap();
            assert_eq!(h.header_checksum, h.calc_header_checksum(), "quoted header checksum");
            (h.source.into(), h.destination.into(), usize::from(h.total_len), tcp)
        } else {
            let (h, tcp) = Ipv6Header::from_slice(quote).unwrap();
            (h.source.into(), h.destination.into(), Ipv6Header::LEN + usize::from(h.payload_length), tcp)
        };
        if quote.len() == whole {
            // This looks at the checksum of the segment too.
            Packet::parse(quote).expect("a segment");
        }
        let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let seq = u32::from_be_bytes(tcp[4..8].try_into().unwrap());
        let (src, dst) = (SocketAddr::new(src, port(0)), SocketAddr::new(dst, port(2)));
        Some(Self { from, to, mtu, src, dst, seq })
    }
}

/// The router at this side, as it calls itself.
pub(crate) fn router(side: Side, v4: bool) -> IpAddr {
    match (side, v4) {
        (Side::Inside, true) => "10.0.7.1",
        (Side::Outside, true) => "192.0.2.254",
        (Side::Inside, false) => "2001:db8:1:7::1",
        (Side::Outside, false) => "2001:db8:3::1",
    }
    .parse()
    .unwrap()
}

/// The error about a packet of which this is quoted.
pub(crate) fn too_big(from: IpAddr, to: IpAddr, mtu: usize, quote: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    match (from, to) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            let kind = Icmpv4Type::DestinationUnreachable(FragmentationNeeded { next_hop_mtu: mtu as u16 });
            PacketBuilder::ipv4(s.octets(), d.octets(), 60).icmpv4(kind).write(&mut bytes, quote).unwrap();
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            let kind = Icmpv6Type::PacketTooBig { mtu: mtu as u32 };
            PacketBuilder::ipv6(s.octets(), d.octets(), 60).icmpv6(kind).write(&mut bytes, quote).unwrap();
        }
        _ => panic!("two families"),
    }
    bytes
}

fn index(side: Side) -> usize {
    usize::from(side == Side::Outside)
}
