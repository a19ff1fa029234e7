//! What must hold for every frame that the engine sends, by parsers that are not the engine's.

use super::world::{GATEWAY, GATEWAY6, GW_MAC, Hop, ROUTER_MAC, World};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use std::net::{SocketAddr, SocketAddrV4};
use tidegate::wire::build;
use tidegate::wire::tcp::SynOptions;

/// A TCP segment as an independent parser saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tcp {
    pub(crate) src: SocketAddrV4,
    pub(crate) dst: SocketAddrV4,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) mss: Option<u16>,
    pub(crate) payload: Vec<u8>,
}

/// A segment over IPv6 as an independent parser saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tcp6 {
    pub(crate) src: SocketAddr,
    pub(crate) dst: SocketAddr,
    pub(crate) hops: u8,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) mss: Option<u16>,
    pub(crate) payload: Vec<u8>,
}

/// The ones' complement sum of a byte string, folded; 0xFFFF over anything whose checksum is right.
pub(crate) fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
        }
    }
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum as u16
}

/// Panics if a frame of the engine's is not fit for the wire.
pub(crate) fn frame(frame: &[u8], checksums: bool) {
    assert!(frame.len() <= 1514, "a frame of {} bytes", frame.len());
    assert_eq!(frame[6..12], GW_MAC, "sent from another MAC address");
    let router = frame[..6] == ROUTER_MAC || frame[..6] == super::second::MAC;
    if frame[12..14] == [8, 6] {
        assert!(router || frame[..6] == [0xFF; 6], "ARP to {:x?}", &frame[..6]);
        assert_eq!(frame[22..28], GW_MAC);
        assert_eq!(frame[28..32], GATEWAY.octets());
        return;
    }
    let six = frame[12..14] == [0x86, 0xDD];
    let group =
        six && frame[38..40] == [0xFF, 0x02] && frame[..2] == [0x33, 0x33] && frame[2..6] == frame[50..54];
    assert!(router || group, "to a wrong MAC address: {:x?}", &frame[..6]);
    if six { ip6(&frame[14..], checksums) } else { ip(&frame[14..], checksums) }
}

/// Panics if an IPv6 packet is malformed or has a wrong checksum.
fn ip6(packet: &[u8], checksums: bool) {
    let sliced = match SlicedPacket::from_ip(packet) {
        Ok(sliced) => sliced,
        // What is returned may have any extension headers; ours has none.
        Err(e) => {
            assert!(!matches!(packet[6], 6 | 58) && packet[8..24] != GATEWAY6.octets(), "{e}: {packet:x?}");
            assert!(packet[24..40] != GATEWAY6.octets() && packet[7] > 0);
            return;
        }
    };
    let Some(NetSlice::Ipv6(v6)) = sliced.net else { panic!("no IPv6: {packet:x?}") };
    let h = v6.header();
    assert!(h.destination_addr() != GATEWAY6, "to ourselves");
    assert!(h.hop_limit() > 0);
    assert_eq!(packet.len(), 40 + usize::from(h.payload_length()));
    match sliced.transport {
        Some(TransportSlice::Tcp(_)) if !checksums => {}
        Some(TransportSlice::Tcp(t)) => {
            let calc = t.calc_checksum_ipv6(h.source(), h.destination()).unwrap();
            assert!(calc == t.checksum() || (calc ^ t.checksum()) == 0xFFFF, "TCP checksum: {packet:x?}");
        }
        // As it came from somebody else.
        Some(TransportSlice::Icmpv6(_)) if !checksums && h.source_addr() != GATEWAY6 => {}
        Some(TransportSlice::Icmpv6(_)) => {
            let pseudo =
                [&h.source()[..], &h.destination(), &[0, 0], &h.payload_length().to_be_bytes(), &[0, 58]];
            assert_eq!(sum(&[&pseudo.concat(), &packet[40..]]), 0xFFFF, "ICMPv6 checksum");
            assert!(!matches!(packet[40], 133..=137) || h.hop_limit() == 255, "neighbours are no hop away");
        }
        // What is returned may be anything.
        _ => {}
    }
}

/// The TCP segment in an IPv6 packet, if that is what it is.
pub(crate) fn tcp6_of(packet: &[u8]) -> Option<Tcp6> {
    let sliced = SlicedPacket::from_ip(packet).ok()?;
    let (Some(NetSlice::Ipv6(v6)), Some(TransportSlice::Tcp(t))) = (&sliced.net, &sliced.transport) else {
        return None;
    };
    let mss = t.options_iterator().find_map(|o| match o {
        Ok(etherparse::TcpOptionElement::MaximumSegmentSize(m)) => Some(m),
        _ => None,
    });
    Some(Tcp6 {
        src: SocketAddr::new(v6.header().source_addr().into(), t.source_port()),
        dst: SocketAddr::new(v6.header().destination_addr().into(), t.destination_port()),
        hops: packet[7],
        seq: t.sequence_number(),
        ack: t.acknowledgment_number(),
        flags: t.header_slice()[13],
        mss,
        payload: t.payload().to_vec(),
    })
}

/// Panics if an IPv4 packet is malformed or has a wrong checksum.
fn ip(packet: &[u8], checksums: bool) {
    let sliced = SlicedPacket::from_ip(packet).unwrap_or_else(|e| panic!("{e}: {packet:x?}"));
    let Some(NetSlice::Ipv4(v4)) = sliced.net else { panic!("no IPv4: {packet:x?}") };
    let h = v4.header();
    assert_eq!(sum(&[&packet[..usize::from(h.ihl()) * 4]]), 0xFFFF, "IP checksum");
    assert!(h.destination_addr() != GATEWAY, "to ourselves");
    assert!(h.ttl() > 0);
    let total = usize::from(h.total_len());
    match sliced.transport {
        // A translated segment is not verified on its way: what was wrong stays wrong.
        Some(TransportSlice::Tcp(_)) if !checksums => {}
        Some(TransportSlice::Tcp(t)) => {
            let calc = t.calc_checksum_ipv4(h.source(), h.destination()).unwrap();
            assert!(calc == t.checksum() || (calc ^ t.checksum()) == 0xFFFF, "TCP checksum: {packet:x?}");
            assert!(!(t.urg() && t.urgent_pointer() == 0 && !t.syn()), "URG without pointer");
        }
        Some(TransportSlice::Udp(u)) => {
            let calc = u.to_header().calc_checksum_ipv4(&h.to_header(), u.payload()).unwrap();
            assert_eq!(calc, u.checksum(), "UDP checksum");
        }
        Some(TransportSlice::Icmpv4(_)) => {
            assert_eq!(sum(&[&packet[usize::from(h.ihl()) * 4..total]]), 0xFFFF, "ICMP checksum");
        }
        // What is returned as it came, where frames are damaged, may be anything.
        _ if !checksums && h.source_addr() != GATEWAY => {}
        // A piece of a long datagram; whoever joins the pieces verifies the whole.
        _ if h.is_fragmenting_payload() => {
            assert!(matches!(packet[9], 17 | 47), "only WCCP and what goes back are in pieces");
        }
        _ => assert_eq!(packet[9], 47, "neither TCP, UDP, ICMP nor GRE"),
    }
}

/// The TCP segment in an IPv4 packet, if that is what it is.
pub(crate) fn tcp_of(packet: &[u8]) -> Option<Tcp> {
    let sliced = SlicedPacket::from_ip(packet).ok()?;
    let (Some(NetSlice::Ipv4(v4)), Some(TransportSlice::Tcp(t))) = (&sliced.net, &sliced.transport) else {
        return None;
    };
    let mss = t.options_iterator().find_map(|o| match o {
        Ok(etherparse::TcpOptionElement::MaximumSegmentSize(m)) => Some(m),
        _ => None,
    });
    Some(Tcp {
        src: SocketAddrV4::new(v4.header().source_addr(), t.source_port()),
        dst: SocketAddrV4::new(v4.header().destination_addr(), t.destination_port()),
        seq: t.sequence_number(),
        ack: t.acknowledgment_number(),
        flags: packet[usize::from(v4.header().ihl()) * 4 + 13],
        mss,
        payload: t.payload().to_vec(),
    })
}

/// The TCP segment in a packet of either family.
pub(crate) fn tcp_any_of(packet: &[u8]) -> Option<Tcp6> {
    let four = tcp_of(packet).map(|t| Tcp6 {
        src: t.src.into(),
        dst: t.dst.into(),
        hops: packet[8],
        seq: t.seq,
        ack: t.ack,
        flags: t.flags,
        mss: t.mss,
        payload: t.payload,
    });
    four.or_else(|| tcp6_of(packet))
}

impl World {
    /// TCP segments of either family that passed a hop since `watch`.
    pub(crate) fn segments_any(&self, hop: Hop) -> Vec<Tcp6> {
        let seen = self.seen.iter().flatten().filter(|(h, _)| *h == hop);
        seen.filter_map(|(_, p)| tcp_any_of(p)).collect()
    }

    /// TCP segments over IPv6 that passed a hop since `watch`.
    pub(crate) fn segments6(&self, hop: Hop) -> Vec<Tcp6> {
        let seen = self.seen.iter().flatten().filter(|(h, _)| *h == hop);
        seen.filter_map(|(_, p)| tcp6_of(p)).collect()
    }
}

/// A TCP segment as an IP packet, for hosts without a stack.
pub(crate) fn segment(
    src: impl Into<SocketAddr>,
    dst: impl Into<SocketAddr>,
    seq: u32,
    ack: u32,
    flags: u8,
) -> Vec<u8> {
    let options = if flags & 2 != 0 {
        SynOptions { mss: Some(1460), window_scale: None, sack: true, timestamps: false }
    } else {
        SynOptions::default()
    };
    let (src, dst) = (src.into(), dst.into());
    let t = build::Tcp { src, dst, seq, ack, flags, window: 8192, options, ttl: 60, ip_id: 7 };
    let mut b = vec![0; t.len()];
    t.emit(&mut b);
    b
}
