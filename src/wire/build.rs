//! Packets that we make: TCP segments without payload, UDP, GRE, ICMP.

use super::checksum::Sum;
use super::tcp::SynOptions;
use super::{be16, gre, proto, put16, put32, tcp, udp};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Length of an IPv4 header without options.
pub const IPV4_HEADER: usize = 20;
/// Length of an IPv6 header.
pub const IPV6_HEADER: usize = 40;
/// Hop limit of what we originate (the recommended default of the assigned numbers).
pub const TTL: u8 = 64;

/// A TCP segment without payload: what answers or opens a connection outside a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcp {
    /// Source; both addresses must be of one family.
    pub src: SocketAddr,
    /// Destination.
    pub dst: SocketAddr,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags.
    pub flags: u8,
    /// Window, unscaled.
    pub window: u16,
    /// Options, sent as given (timestamps are never sent).
    pub options: SynOptions,
    /// Time to live.
    pub ttl: u8,
    /// IPv4 identification; the packet has DF set, so 0 is fine (RFC 6864).
    pub ip_id: u16,
}

impl Tcp {
    fn options_len(&self) -> usize {
        let o = &self.options;
        let n = o.mss.map_or(0, |_| 4) + o.window_scale.map_or(0, |_| 3) + if o.sack { 2 } else { 0 };
        (n + 3) & !3
    }

    fn ip_len(&self) -> usize {
        if self.src.is_ipv4() { IPV4_HEADER } else { IPV6_HEADER }
    }

    /// Length of the whole packet.
    pub fn len(&self) -> usize {
        self.ip_len() + 20 + self.options_len()
    }

    /// Never: a segment has a header.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Writes the packet to the front of `out` (at least [`len`](Self::len) bytes); gives its length.
    pub fn emit(&self, out: &mut [u8]) -> usize {
        let len = self.len();
        let b = &mut out[..len];
        let at = ip_header(b, self.src.ip(), self.dst.ip(), proto::TCP, self.ttl, self.ip_id, true);
        let t = &mut b[at..];
        t.fill(0);
        put16(t, 0, self.src.port());
        put16(t, 2, self.dst.port());
        put32(t, 4, self.seq);
        put32(t, 8, self.ack);
        t[12] = ((20 + self.options_len()) / 4 * 16) as u8;
        t[13] = self.flags;
        put16(t, 14, self.window);
        let mut o = 20;
        if let Some(mss) = self.options.mss {
            t[o] = 2;
            t[o + 1] = 4;
            put16(t, o + 2, mss);
            o += 4;
        }
        if let Some(shift) = self.options.window_scale {
            t[o..o + 3].copy_from_slice(&[3, 3, shift]);
            o += 3;
        }
        if self.options.sack {
            t[o..o + 2].copy_from_slice(&[4, 2]);
        }
        let c = Sum::new().pseudo(self.src.ip(), self.dst.ip(), proto::TCP, t.len()).bytes(t).checksum();
        put16(t, 16, c);
        len
    }
}

/// The RST that answers a segment as its destination would (RFC 9293 3.10.7.1).
pub fn reset_for(seg: &tcp::Segment) -> Option<Tcp> {
    if seg.has(tcp::RST) {
        return None;
    }
    let (seq, ack, flags) =
        if seg.has(tcp::ACK) { (seg.ack, 0, tcp::RST) } else { (0, seg.seq_end(), tcp::RST | tcp::ACK) };
    Some(Tcp {
        src: seg.dst,
        dst: seg.src,
        seq,
        ack,
        flags,
        window: 0,
        options: SynOptions::default(),
        ttl: TTL,
        ip_id: 0,
    })
}

/// Writes an IP header for a packet that fills `b`; gives its length.
fn ip_header(b: &mut [u8], src: IpAddr, dst: IpAddr, protocol: u8, ttl: u8, id: u16, df: bool) -> usize {
    let total = b.len();
    match (src, dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            ipv4_header(b, s, d, protocol, ttl, id, df, total);
            IPV4_HEADER
        }
        (s, d) => {
            let v6 = |a: IpAddr| match a {
                IpAddr::V4(a) => a.to_ipv6_mapped(),
                IpAddr::V6(a) => a,
            };
            b[..IPV6_HEADER].fill(0);
            b[0] = 0x60;
            put16(b, 4, (total - IPV6_HEADER) as u16);
            b[6] = protocol;
            b[7] = ttl;
            b[8..24].copy_from_slice(&v6(s).octets());
            b[24..40].copy_from_slice(&v6(d).octets());
            IPV6_HEADER
        }
    }
}

#[allow(clippy::too_many_arguments)] // the fields of one header
fn ipv4_header(
    b: &mut [u8],
    s: Ipv4Addr,
    d: Ipv4Addr,
    protocol: u8,
    ttl: u8,
    id: u16,
    df: bool,
    total: usize,
) {
    let h = &mut b[..IPV4_HEADER];
    h.fill(0);
    h[0] = 0x45;
    put16(h, 2, total as u16);
    put16(h, 4, id);
    h[6] = if df { 0x40 } else { 0 };
    h[8] = ttl;
    h[9] = protocol;
    h[12..16].copy_from_slice(&s.octets());
    h[16..20].copy_from_slice(&d.octets());
    let c = Sum::new().bytes(h).checksum();
    put16(h, 10, c);
}

/// Writes IPv4 and UDP headers in front of a payload that already stands at `out[28..]`; `out` ends with
/// the payload. DF is clear and `ip_id` should not be 0: some routers drop datagrams with both as repeats.
pub fn udp_v4(out: &mut [u8], src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16), ip_id: u16) {
    let total = out.len();
    ipv4_header(out, src.0, dst.0, proto::UDP, TTL, ip_id, false, total);
    let u = &mut out[IPV4_HEADER..];
    put16(u, 0, src.1);
    put16(u, 2, dst.1);
    put16(u, 4, u.len() as u16);
    put16(u, 6, 0);
    let c = Sum::new().pseudo(src.0.into(), dst.0.into(), proto::UDP, u.len()).bytes(u).checksum();
    put16(u, 6, if c == 0 { 0xFFFF } else { c });
}

/// Length of what [`udp_v4`] writes in front of the payload.
pub const UDP_V4: usize = IPV4_HEADER + udp::HEADER;

/// Writes the outer IPv4, GRE and redirect headers ([`gre::OVERHEAD`] bytes) in front of an inner packet
/// that already stands behind them; `out` ends with the inner packet.
pub fn gre_v4(out: &mut [u8], src: Ipv4Addr, dst: Ipv4Addr, ip_id: u16, redirect: gre::Redirect) {
    let total = out.len();
    ipv4_header(out, src, dst, proto::GRE, TTL, ip_id, false, total);
    gre::emit(&mut out[IPV4_HEADER..], redirect);
}

/// Writes the IPv6 header in front of an ICMPv6 message that already stands at `out[40..]`, and the message's
/// checksum; `out` ends with the message.
pub fn icmpv6(out: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr, hop_limit: u8) {
    let at = ip_header(out, src.into(), dst.into(), proto::ICMPV6, hop_limit, 0, true);
    let m = &mut out[at..];
    put16(m, 2, 0);
    let c = Sum::new().pseudo(src.into(), dst.into(), proto::ICMPV6, m.len()).bytes(m).checksum();
    put16(m, 2, c);
}

/// A whole IPv6 packet without its extension headers, its transport header behind the fixed one; `None` if it
/// has none, is a fragment, or no IPv6 packet.
pub fn without_extensions(packet: &[u8]) -> Option<Vec<u8>> {
    if packet.first()? >> 4 != 6 || packet.get(6) == Some(&proto::TCP) {
        return None;
    }
    let ip = super::parse_ip(packet, 0).ok()?;
    if ip.l4 == IPV6_HEADER || ip.fragment != super::Fragment::None {
        return None;
    }
    let payload = ip.payload(packet);
    let mut plain = packet[..IPV6_HEADER].to_vec();
    put16(&mut plain, 4, payload.len() as u16);
    plain[6] = ip.proto;
    plain.extend_from_slice(payload);
    Some(plain)
}

/// Cuts an IPv4 packet without DF that is longer than `mtu` (RFC 791 3.2): `packet` becomes the first piece,
/// what follows comes back as a packet of its own, perhaps still too long. `None` if it is short enough or
/// may not be cut.
pub fn split_v4(packet: &mut Vec<u8>, mtu: usize) -> Option<Vec<u8>> {
    let header = usize::from(packet.first()? & 0x0F) * 4;
    if packet.len() <= mtu || packet.len() < header || header < IPV4_HEADER || packet[6] & 0x40 != 0 {
        return None;
    }
    let room = mtu.checked_sub(header)? & !7;
    if room == 0 {
        return None;
    }
    let word = be16(packet, 6);
    let mut rest = packet[..header].to_vec();
    rest.extend_from_slice(&packet[header + room..]);
    packet.truncate(header + room);
    put16(packet, 6, word | 0x2000);
    put16(&mut rest, 6, word + (room / 8) as u16);
    for p in [packet, &mut rest] {
        let total = p.len() as u16;
        put16(p, 2, total);
        put16(p, 10, 0);
        let c = Sum::new().bytes(&p[..header]).checksum();
        put16(p, 10, c);
    }
    Some(rest)
}

/// Counts one hop in a parsed packet's header. False if it may not go on: the TTL or hop limit is used up,
/// and nothing is changed (RFC 1812 5.3.1, RFC 8200 section 3).
#[must_use = "false means that the packet may not be forwarded"]
pub fn hop(bytes: &mut [u8], ip: &super::IpPacket) -> bool {
    use super::checksum::patch;
    let at = ip.start + if ip.is_v4() { 8 } else { 7 };
    if bytes[at] <= 1 {
        return false;
    }
    bytes[at] -= 1;
    if ip.is_v4() {
        // The TTL is the high byte of its word: ~m + (m - 0x0100) is this for every m.
        let c = be16(bytes, ip.start + 10);
        put16(bytes, ip.start + 10, patch(c, 0xFEFF));
    }
    true
}

/// Turns an ICMP or ICMPv6 echo request in place into its reply: addresses and type are swapped.
/// The packet must be a parsed one whose checksum is right.
pub fn echo_reply(bytes: &mut [u8], ip: &super::IpPacket) {
    use super::checksum::{delta16, patch};
    let (s, n) = if ip.is_v4() { (ip.start + 12, 4) } else { (ip.start + 8, 16) };
    for i in 0..n {
        bytes.swap(s + i, s + n + i);
    }
    let old = be16(bytes, ip.l4);
    let new = if ip.is_v4() { old & 0xFF } else { 0x8100 | (old & 0xFF) };
    put16(bytes, ip.l4, new);
    let c = be16(bytes, ip.l4 + 2);
    put16(bytes, ip.l4 + 2, patch(c, delta16(old, new)));
    // A reply starts its own way: the full hop count.
    let at = ip.start + if ip.is_v4() { 8 } else { 7 };
    if ip.is_v4() {
        let old = be16(bytes, at);
        let new = u16::from(TTL) << 8 | (old & 0xFF);
        put16(bytes, at, new);
        let c = be16(bytes, ip.start + 10);
        put16(bytes, ip.start + 10, patch(c, delta16(old, new)));
    } else {
        bytes[at] = TTL;
    }
}

/// Takes the FIN off a TCP segment that carries bytes as well, in a packet without extension headers: the rest of it stays,
/// and the FIN comes as a segment of its own. None if there is no FIN, or nothing else.
pub fn fin_apart(packet: &mut [u8]) -> Option<Vec<u8>> {
    let ip = super::parse_ip(packet, 0).ok()?;
    let seg = tcp::parse(packet, &ip).filter(|s| s.has(tcp::FIN) && !s.is_empty() && !s.has(tcp::SYN))?;
    let mut fin = packet[..seg.payload].to_vec();
    let number = seg.seq.wrapping_add(seg.len() as u32);
    fin[seg.start + 4..seg.start + 8].copy_from_slice(&number.to_be_bytes());
    finish(&mut fin);
    packet[seg.start + 13] &= !tcp::FIN;
    finish(&mut packet[..seg.end]);
    Some(fin)
}

/// Computes all checksums and the length of an IPv4 or IPv6 packet with TCP that fills `b` anew.
pub fn finish(b: &mut [u8]) {
    let total = b.len();
    let at = if b[0] >> 4 == 4 {
        put16(b, 2, total as u16);
        put16(b, 10, 0);
        let header = usize::from(b[0] & 0x0F) * 4;
        let c = Sum::new().bytes(&b[..header]).checksum();
        put16(b, 10, c);
        header
    } else {
        put16(b, 4, (total - IPV6_HEADER) as u16);
        IPV6_HEADER
    };
    let Ok(ip) = super::parse_ip(b, 0) else { return };
    put16(b, at + 16, 0);
    let c = Sum::new().pseudo(ip.src, ip.dst, proto::TCP, total - at).bytes(&b[at..]).checksum();
    put16(b, at + 16, c);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{parse_ip, tcp::SYN};
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    #[test]
    fn an_independent_parser_reads_what_we_build() {
        for (src, dst) in [("10.0.0.1:1025", "10.0.0.2:21"), ("[2001:db8::1]:1025", "[2001:db8::2]:21")] {
            let t = Tcp {
                src: src.parse().unwrap(),
                dst: dst.parse().unwrap(),
                seq: 0xDEAD_BEEF,
                ack: 0,
                flags: SYN,
                window: 4096,
                options: SynOptions { mss: Some(1432), window_scale: Some(3), sack: true, timestamps: false },
                ttl: 64,
                ip_id: 9,
            };
            let mut b = vec![0xAA; t.len()];
            assert_eq!(t.emit(&mut b), b.len());
            let p = SlicedPacket::from_ip(&b).unwrap();
            let Some(TransportSlice::Tcp(s)) = p.transport else { panic!() };
            assert_eq!((s.sequence_number(), s.syn(), s.window_size()), (0xDEAD_BEEF, true, 4096));
            match p.net.unwrap() {
                NetSlice::Ipv4(v) => {
                    assert_eq!(v.header().to_header().calc_header_checksum(), v.header().header_checksum());
                    assert_eq!(
                        s.calc_checksum_ipv4(v.header().source(), v.header().destination()).unwrap(),
                        s.checksum()
                    );
                }
                NetSlice::Ipv6(v) => assert_eq!(
                    s.calc_checksum_ipv6(v.header().source(), v.header().destination()).unwrap(),
                    s.checksum()
                ),
                NetSlice::Arp(_) => panic!(),
            }
            let ip = parse_ip(&b, 0).unwrap();
            assert!(ip.transport_checksum_ok(&b));
            let seg = tcp::parse(&b, &ip).unwrap();
            assert_eq!(seg.syn_options(&b), t.options);
            let r = reset_for(&seg).unwrap();
            assert_eq!((r.seq, r.ack, r.flags), (0, 0xDEAD_BEEF + 1, tcp::RST | tcp::ACK));
        }
    }

    #[test]
    fn udp_and_gre_headers_verify() {
        let mut b = vec![0; UDP_V4 + 5];
        b[UDP_V4..].copy_from_slice(b"hello");
        udp_v4(&mut b, (Ipv4Addr::new(10, 9, 0, 2), 2048), (Ipv4Addr::new(10, 9, 0, 1), 2048), 7);
        let ip = parse_ip(&b, 0).unwrap();
        assert!(ip.transport_checksum_ok(&b) && !ip.dont_fragment(&b));
        let d = udp::parse(&b, &ip).unwrap();
        assert_eq!(&b[d.payload..d.end], b"hello");

        let mut g = vec![0; gre::OVERHEAD];
        g.extend(&b);
        gre_v4(
            &mut g,
            Ipv4Addr::new(10, 9, 0, 2),
            Ipv4Addr::new(10, 9, 0, 1),
            7,
            gre::Redirect([1, 61, 0, 3]),
        );
        let ip = parse_ip(&g, 0).unwrap();
        assert_eq!(gre::parse(ip.payload(&g)), Ok((gre::Redirect([1, 61, 0, 3]), 8)));
    }

    #[test]
    fn echo_replies_verify() {
        let mut b = vec![0x45, 0, 0, 32, 0, 1, 0, 0, 3, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        b.extend([8, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4]);
        let c = Sum::new().bytes(&b[..20]).checksum();
        put16(&mut b, 10, c);
        let c = Sum::new().bytes(&b[20..]).checksum();
        put16(&mut b, 22, c);
        let ip = parse_ip(&b, 0).unwrap();
        echo_reply(&mut b, &ip);
        let ip = parse_ip(&b, 0).unwrap();
        assert!(ip.transport_checksum_ok(&b));
        assert_eq!((ip.src, b[20], ip.ttl(&b)), ("10.0.0.2".parse().unwrap(), 0, TTL));
    }
}
