//! What must hold for every frame that the engine sends, by parsers that are not the engine's.

use super::world::{GATEWAY, GW_MAC, ROUTER_MAC, Tcp};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use std::net::SocketAddrV4;

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
    if frame[12..14] == [8, 6] {
        assert!(frame[..6] == ROUTER_MAC || frame[..6] == [0xFF; 6], "ARP to {:x?}", &frame[..6]);
        assert_eq!(frame[22..28], GW_MAC);
        assert_eq!(frame[28..32], GATEWAY.octets());
        return;
    }
    assert_eq!(frame[..6], ROUTER_MAC, "to a wrong MAC address");
    ip(&frame[14..], checksums);
}

/// Panics if an IPv4 packet is malformed or has a wrong checksum.
fn ip(packet: &[u8], checksums: bool) {
    let sliced = SlicedPacket::from_ip(packet).unwrap_or_else(|e| panic!("{e}: {packet:x?}"));
    let Some(NetSlice::Ipv4(v4)) = sliced.net else { panic!("no IPv4: {packet:x?}") };
    let h = v4.header();
    assert_eq!(h.to_header().calc_header_checksum(), h.header_checksum(), "IP checksum");
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
