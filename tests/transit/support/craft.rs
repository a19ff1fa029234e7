//! Frames made by hand.

use etherparse::{Ethernet2Header, IpFragOffset, Ipv4Header, PacketBuilder};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// An IP packet in a frame from one MAC address to another, behind these bytes of tags.
pub(crate) fn frame(to: [u8; 6], from: [u8; 6], tags: &[u8], packet: &[u8]) -> Vec<u8> {
    let kind: [u8; 2] = if packet[0] >> 4 == 6 { [0x86, 0xDD] } else { [8, 0] };
    [&to[..], &from, tags, &kind, packet].concat()
}

/// An echo request.
pub(crate) fn ping(src: IpAddr, dst: IpAddr, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match (src, dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            let b = PacketBuilder::ipv4(s.octets(), d.octets(), ttl).icmpv4_echo_request(7, 1);
            b.write(&mut out, payload).unwrap();
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            let b = PacketBuilder::ipv6(s.octets(), d.octets(), ttl).icmpv6_echo_request(7, 1);
            b.write(&mut out, payload).unwrap();
        }
        _ => panic!("of two families"),
    }
    out
}

/// A UDP datagram.
pub(crate) fn udp(src: SocketAddr, dst: SocketAddr, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match (src, dst) {
        (SocketAddr::V4(s), SocketAddr::V4(d)) => {
            PacketBuilder::ipv4(s.ip().octets(), d.ip().octets(), ttl)
                .udp(s.port(), d.port())
                .write(&mut out, payload)
                .unwrap();
        }
        (SocketAddr::V6(s), SocketAddr::V6(d)) => {
            PacketBuilder::ipv6(s.ip().octets(), d.ip().octets(), ttl)
                .udp(s.port(), d.port())
                .write(&mut out, payload)
                .unwrap();
        }
        _ => panic!("of two families"),
    }
    out
}

/// A SYN.
pub(crate) fn syn(src: SocketAddr, dst: SocketAddr, seq: u32) -> Vec<u8> {
    let mut out = Vec::new();
    match (src, dst) {
        (SocketAddr::V4(s), SocketAddr::V4(d)) => {
            PacketBuilder::ipv4(s.ip().octets(), d.ip().octets(), 64)
                .tcp(s.port(), d.port(), seq, 8192)
                .syn()
                .write(&mut out, &[])
                .unwrap();
        }
        (SocketAddr::V6(s), SocketAddr::V6(d)) => {
            PacketBuilder::ipv6(s.ip().octets(), d.ip().octets(), 64)
                .tcp(s.port(), d.port(), seq, 8192)
                .syn()
                .write(&mut out, &[])
                .unwrap();
        }
        _ => panic!("of two families"),
    }
    out
}

/// An IPv4 packet with the fragment bit forbidden or not.
pub(crate) fn fragmentable(packet: &[u8], may: bool) -> Vec<u8> {
    let (mut h, rest) = Ipv4Header::from_slice(packet).unwrap();
    h.dont_fragment = !may;
    h.fragment_offset = IpFragOffset::ZERO;
    h.identification = 0x1234;
    h.header_checksum = h.calc_header_checksum();
    let mut out = Vec::new();
    h.write(&mut out).unwrap();
    out.extend(rest);
    out
}

/// An ARP request.
pub(crate) fn who_has(target: Ipv4Addr, sender: Ipv4Addr, mac: [u8; 6]) -> Vec<u8> {
    let head = [&[0xFF; 6][..], &mac, &[8, 6], &[0, 1, 8, 0, 6, 4, 0, 1]].concat();
    [&head[..], &mac, &sender.octets(), &[0; 6], &target.octets()].concat()
}

/// Source and destination MAC address of a frame.
pub(crate) fn ends(frame: &[u8]) -> ([u8; 6], [u8; 6]) {
    let (h, _) = Ethernet2Header::from_slice(frame).unwrap();
    (h.source, h.destination)
}
