//! IP packets as hosts make and read them, by etherparse: nothing of the gateway's own packet code is in here.

use crate::support::{ACK, FIN, PSH, RST, SYN, Seg, URG};
use etherparse::{
    IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, NetSlice, SlicedPacket, TcpHeader, TransportSlice,
};
use std::net::{IpAddr, SocketAddr};

/// A TCP segment with its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) src: SocketAddr,
    pub(crate) dst: SocketAddr,
    pub(crate) seg: Seg,
    pub(crate) ttl: u8,
}

impl Packet {
    pub(crate) fn new(src: SocketAddr, dst: SocketAddr, seg: Seg) -> Self {
        Self { src, dst, seg, ttl: 60 }
    }

    /// The TCP header and payload, checksum right.
    fn tcp(&self) -> Vec<u8> {
        let (seg, flags) = (&self.seg, self.seg.flags);
        let mut h = TcpHeader::new(self.src.port(), self.dst.port(), seg.seq, seg.window);
        h.acknowledgment_number = seg.ack;
        h.urgent_pointer = seg.urgent;
        (h.fin, h.syn, h.rst) = (flags & FIN != 0, flags & SYN != 0, flags & RST != 0);
        (h.psh, h.ack, h.urg) = (flags & PSH != 0, flags & ACK != 0, flags & URG != 0);
        h.set_options_raw(&seg.options).unwrap();
        h.checksum = match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(s), IpAddr::V4(d)) => {
                h.calc_checksum_ipv4_raw(s.octets(), d.octets(), &seg.payload).unwrap()
            }
            (IpAddr::V6(s), IpAddr::V6(d)) => {
                h.calc_checksum_ipv6_raw(s.octets(), d.octets(), &seg.payload).unwrap()
            }
            _ => panic!("two families"),
        };
        let mut bytes = h.to_bytes().to_vec();
        bytes.extend(&seg.payload);
        bytes
    }

    /// The whole packet.
    pub(crate) fn build(&self, id: u16) -> Vec<u8> {
        ip(self.src.ip(), self.dst.ip(), IpNumber::TCP, self.ttl, id, &self.tcp())
    }

    /// The packet in pieces of at most `size` payload bytes each (a multiple of 8), with the extension headers of
    /// `hop` in front if it is one of IPv6.
    pub(crate) fn pieces(&self, id: u16, size: usize, hop: bool) -> Vec<Vec<u8>> {
        let whole = self.tcp();
        let count = whole.len().div_ceil(size);
        let piece = |n: usize| {
            let part = &whole[n * size..((n + 1) * size).min(whole.len())];
            piece(self, id, n * size, part, n + 1 < count, hop)
        };
        (0..count).map(piece).collect()
    }

    /// What a packet says; none if it is not TCP.
    ///
    /// # Panics
    /// Something about it is wrong: a host would not take it.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let sliced = SlicedPacket::from_ip(bytes).unwrap_or_else(|e| panic!("{e}: {bytes:02x?}"));
        let (src, dst, ttl): (IpAddr, IpAddr, u8) = match sliced.net.as_ref()? {
            NetSlice::Ipv4(v4) => {
                let h = v4.header().to_header();
                assert_eq!(h.header_checksum, h.calc_header_checksum(), "header checksum");
                assert_eq!(usize::from(h.total_len), bytes.len(), "total length");
                (h.source.into(), h.destination.into(), h.time_to_live)
            }
            NetSlice::Ipv6(v6) => {
                let h = v6.header().to_header();
                assert_eq!(usize::from(h.payload_length) + 40, bytes.len(), "payload length");
                (h.source.into(), h.destination.into(), h.hop_limit)
            }
            NetSlice::Arp(_) => return None,
        };
        let Some(TransportSlice::Tcp(t)) = &sliced.transport else { return None };
        let h = t.to_header();
        let sum = match (src, dst) {
            (IpAddr::V4(s), IpAddr::V4(d)) => {
                h.calc_checksum_ipv4_raw(s.octets(), d.octets(), t.payload()).unwrap()
            }
            (IpAddr::V6(s), IpAddr::V6(d)) => {
                h.calc_checksum_ipv6_raw(s.octets(), d.octets(), t.payload()).unwrap()
            }
            _ => return None,
        };
        assert_eq!(h.checksum, sum, "TCP checksum of {src}:{} → {dst}:{}", h.source_port, h.destination_port);
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        let flags = flag(h.fin, FIN)
            | flag(h.syn, SYN)
            | flag(h.rst, RST)
            | flag(h.psh, PSH)
            | flag(h.ack, ACK)
            | flag(h.urg, URG);
        let seg = Seg {
            seq: h.sequence_number,
            ack: h.acknowledgment_number,
            flags,
            window: h.window_size,
            urgent: h.urgent_pointer,
            options: h.options.as_slice().to_vec(),
            payload: t.payload().to_vec(),
        };
        let (src, dst) = (SocketAddr::new(src, h.source_port), SocketAddr::new(dst, h.destination_port));
        Some(Self { src, dst, seg, ttl })
    }
}

/// The pieces of a datagram that have come so far.
#[derive(Debug, Default)]
pub(crate) struct Pieces(Vec<(usize, Vec<u8>, bool)>);

impl Pieces {
    /// Takes a packet; gives it if it is whole, or what it completes.
    ///
    /// # Panics
    /// The pieces do not fit each other.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let sliced = SlicedPacket::from_ip(bytes).unwrap_or_else(|e| panic!("{e}: {bytes:02x?}"));
        if !sliced.is_ip_payload_fragmented() {
            return Some(bytes.to_vec());
        }
        let part = sliced.ip_payload()?.payload.to_vec();
        let (src, dst, ttl, at, more): (IpAddr, IpAddr, u8, usize, bool) = match sliced.net.as_ref()? {
            NetSlice::Ipv4(v4) => {
                let h = v4.header().to_header();
                let at = usize::from(h.fragment_offset.value()) * 8;
                (h.source.into(), h.destination.into(), h.time_to_live, at, h.more_fragments)
            }
            NetSlice::Ipv6(v6) => {
                let h = v6.header().to_header();
                let head = bytes.len() - part.len() - 8;
                let word = u16::from_be_bytes([bytes[head + 2], bytes[head + 3]]);
                (h.source.into(), h.destination.into(), h.hop_limit, usize::from(word & !7), word & 1 == 1)
            }
            NetSlice::Arp(_) => return None,
        };
        self.0.push((at, part, more));
        self.0.sort();
        let mut whole = Vec::new();
        for (at, part, _) in &self.0 {
            if *at != whole.len() {
                return None;
            }
            whole.extend(part);
        }
        if self.0.last()?.2 {
            return None;
        }
        self.0.clear();
        Some(ip(src, dst, IpNumber::TCP, ttl, 0, &whole))
    }
}

/// An IP packet with this payload.
pub(crate) fn ip(src: IpAddr, dst: IpAddr, proto: IpNumber, ttl: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = match (src, dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            let mut h = Ipv4Header::new(payload.len() as u16, ttl, proto, s.octets(), d.octets()).unwrap();
            h.identification = id;
            h.header_checksum = h.calc_header_checksum();
            h.to_bytes().to_vec()
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            let h = Ipv6Header {
                traffic_class: 0,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: payload.len() as u16,
                next_header: proto,
                hop_limit: ttl,
                source: s.octets(),
                destination: d.octets(),
            };
            h.to_bytes().to_vec()
        }
        _ => panic!("two families"),
    };
    bytes.extend(payload);
    bytes
}

/// A piece of a datagram, `at` bytes into its payload.
pub(crate) fn piece(p: &Packet, id: u16, at: usize, part: &[u8], more: bool, hop: bool) -> Vec<u8> {
    assert!(at.is_multiple_of(8));
    match (p.src.ip(), p.dst.ip()) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            let mut h =
                Ipv4Header::new(part.len() as u16, p.ttl, IpNumber::TCP, s.octets(), d.octets()).unwrap();
            h.identification = id;
            h.dont_fragment = false;
            h.more_fragments = more;
            h.fragment_offset = ((at / 8) as u16).try_into().unwrap();
            h.header_checksum = h.calc_header_checksum();
            let mut bytes = h.to_bytes().to_vec();
            bytes.extend(part);
            bytes
        }
        (s, d) => {
            let mut inner = Vec::new();
            if hop {
                // Hop-by-hop options: padding only.
                inner.extend([44, 0, 1, 4, 0, 0, 0, 0]);
            }
            let offset = (at as u16) | u16::from(more);
            inner.extend([6, 0]);
            inner.extend(offset.to_be_bytes());
            inner.extend(u32::from(id).to_be_bytes());
            inner.extend(part);
            ip(s, d, if hop { IpNumber::IPV6_HEADER_HOP_BY_HOP } else { IpNumber(44) }, p.ttl, id, &inner)
        }
    }
}
