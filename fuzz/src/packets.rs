//! Packets as an input wants them: any bytes, or ones whose checksums are right.

use super::input::Input;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use tidegate::wire::checksum::Sum;
use tidegate::wire::tcp::SynOptions;
use tidegate::wire::{Fragment, IpPacket, build, eth, gre, parse_ip, proto};

/// Who there is: clients, servers, us, a router.
const HOSTS: [&str; 8] = [
    "10.0.0.10",
    "10.0.0.11",
    "198.51.100.7",
    "192.0.2.9",
    "10.9.0.2",
    "10.9.0.1",
    "2001:db8:a::10",
    "2001:db8:7::7",
];
const PORTS: [u16; 8] = [21, 20, 2020, 40_001, 40_002, 49_999, 50_000, 7];
/// What control connections say.
const LINES: [&[u8]; 16] = [
    b"220 hi\r\n",
    b"USER u\r\n",
    b"331 go on\r\n",
    b"PASS p\r\n",
    b"230 in\r\n",
    b"PASV\r\n",
    b"227 Entering Passive Mode (198,51,100,7,195,80).\r\n",
    b"EPSV\r\n",
    b"229 ok (|||50000|)\r\n",
    b"PORT 10,0,0,10,156,66\r\n",
    b"200 ok\r\n",
    b"EPRT |1|10.0.0.10|40002|\r\n",
    b"RETR f\r\n",
    b"150 here\r\n",
    b"226 done\r\n",
    b"AUTH TLS\r\n234 go\r\n\x16\x03\x01",
];

/// A packet: some segment with few bytes of input, or the bytes themselves.
pub(crate) fn packet(input: &mut Input<'_>) -> Vec<u8> {
    let kind = input.u8();
    if kind & 1 == 0 {
        let mut packet = input.counted().to_vec();
        if kind & 2 == 0 {
            seal(&mut packet);
        }
        return packet;
    }
    let (ends, ports) = (input.u8(), input.u8());
    let at = |host: u8, port: u8| {
        let ip: std::net::IpAddr = HOSTS[usize::from(host % 8)].parse().unwrap();
        SocketAddr::new(ip, PORTS[usize::from(port % 8)])
    };
    let (src, dst) = (at(ends, ports), at(ends >> 4, ports >> 4));
    if src.is_ipv4() != dst.is_ipv4() {
        return Vec::new();
    }
    let numbers = input.u8();
    let head = build::Tcp {
        src,
        dst,
        seq: 1000 + u32::from(numbers & 15) * 4,
        ack: 1000 + u32::from(numbers >> 4) * 4,
        flags: input.u8(),
        window: 0xffff,
        options: if kind & 4 == 0 {
            SynOptions::default()
        } else {
            SynOptions { mss: Some(1460), window_scale: Some(7), sack: true, ..SynOptions::default() }
        },
        ttl: 64,
        ip_id: 0,
    };
    let mut packet = vec![0; head.len()];
    head.emit(&mut packet);
    match kind >> 6 {
        0 => {}
        1 => packet.extend_from_slice(input.counted()),
        _ => packet.extend_from_slice(LINES[usize::from(kind >> 3 & 7) + usize::from(kind >> 6 & 1) * 8]),
    }
    build::finish(&mut packet);
    packet
}

/// What came in: what is sent on must be that, byte for byte, or be whole.
#[derive(Default)]
pub(crate) struct Came {
    packets: BTreeSet<Vec<u8>>,
    /// What checksums that were wrong add up to. A patched one stays wrong by as much (RFC 1624).
    wrong: BTreeSet<u16>,
}

impl Came {
    pub(crate) fn take(&mut self, frame: &[u8]) {
        let Some((_, mut rest)) = network(frame) else { return };
        loop {
            self.packets.insert(rest.to_vec());
            let Ok(ip) = parse_ip(rest, 0) else { return };
            self.packets.insert(ip.bytes(rest).to_vec());
            self.wrong.insert(sum(rest, &ip));
            let Some(inner) = redirected(rest, &ip) else { return };
            rest = inner;
        }
    }

    /// Looks whether a frame that is sent is right.
    pub(crate) fn explain(&self, frame: &[u8]) {
        let (ethertype, mut rest) = network(frame).unwrap();
        if !matches!(ethertype, eth::TYPE_IPV4 | eth::TYPE_IPV6) {
            return;
        }
        while !self.packets.contains(rest) {
            let ip = parse_ip(rest, 0).unwrap_or_else(|e| panic!("{e:?} {rest:x?}"));
            if self.packets.contains(ip.bytes(rest)) {
                return;
            }
            let sum = sum(rest, &ip);
            assert!(sum == RIGHT || self.wrong.contains(&sum), "a wrong checksum: {rest:x?}");
            let Some(inner) = redirected(rest, &ip) else { return };
            rest = inner;
        }
    }
}

/// What is behind the Ethernet header, and its type.
fn network(frame: &[u8]) -> Option<(u16, &[u8])> {
    let l2 = eth::parse(frame)?;
    Some((l2.ethertype, frame.get(l2.len..)?))
}

/// The packet that came, or goes back, in GRE.
fn redirected<'a>(packet: &'a [u8], ip: &IpPacket) -> Option<&'a [u8]> {
    let payload = ip.payload(packet);
    let (_, at) =
        (ip.proto == proto::GRE && ip.fragment == Fragment::None).then(|| gre::parse(payload).ok())??;
    payload.get(at..)
}

/// What a transport checksum that is right adds up to.
const RIGHT: u16 = 0xFFFF;

/// What the transport checksum adds up to; as if right where there is none, zero where it is cut off.
fn sum(packet: &[u8], ip: &IpPacket) -> u16 {
    if ip.transport_checksum_ok(packet) {
        return RIGHT;
    }
    let payload = ip.payload(packet);
    let len = match ip.proto {
        proto::UDP => payload.get(4..6).map_or(usize::MAX, |l| usize::from(u16::from_be_bytes([l[0], l[1]]))),
        _ => payload.len(),
    };
    let Some(summed) = payload.get(..len) else { return 0 };
    let start =
        if ip.proto == proto::ICMP { Sum::new() } else { Sum::new().pseudo(ip.src, ip.dst, ip.proto, len) };
    start.bytes(summed).fold()
}

/// Makes the checksums right, as far as there are any.
fn seal(packet: &mut [u8]) {
    if packet.first().is_some_and(|b| b >> 4 == 4) {
        let len = usize::from(packet[0] & 15) * 4;
        if len < 20 || packet.len() < len {
            return;
        }
        packet[10..12].fill(0);
        let sum = Sum::new().bytes(&packet[..len]).checksum();
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    let Ok(ip) = parse_ip(packet, 0) else { return };
    let (at, pseudo) = match ip.proto {
        proto::TCP => (16, true),
        proto::UDP => (6, true),
        proto::ICMP => (2, false),
        proto::ICMPV6 => (2, true),
        _ => return,
    };
    if ip.fragment != Fragment::None || ip.end < ip.l4 + at + 2 {
        return;
    }
    packet[ip.l4 + at..ip.l4 + at + 2].fill(0);
    let mut sum = Sum::new();
    if pseudo {
        sum = sum.pseudo(ip.src, ip.dst, ip.proto, ip.end - ip.l4);
    }
    let sum = sum.bytes(&packet[ip.l4..ip.end]).checksum();
    packet[ip.l4 + at..ip.l4 + at + 2].copy_from_slice(&sum.to_be_bytes());
}
