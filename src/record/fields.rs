//! What two frames differ in, by the name of the field (names as Wireshark's, `inner.` in front of what a
//! GRE packet carries).

use etherparse::{ArpPacketSlice, Ethernet2Header, Ipv4Header, SingleVlanHeader, TcpHeader, UdpHeader};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// What follows from other fields is named last: it differs wherever they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Own,
    Length,
    Checksum,
}

#[derive(Default)]
struct Fields<'a> {
    list: Vec<(String, String, Rank)>,
    /// What no header told, with the name of the layer that carries it.
    rest: (String, &'a [u8]),
}

/// One difference of two frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Differs {
    pub(super) field: String,
    pub(super) is: String,
    pub(super) expected: String,
}

/// The first field in which `is` differs from `expected`: fields that stand for themselves before the
/// payload, then lengths, then checksums. `None` if they are equal.
pub(super) fn difference(is: &[u8], expected: &[u8]) -> Option<Differs> {
    if is == expected {
        return None;
    }
    let (a, b) = (dissect(is), dissect(expected));
    let by_rank = |rank| listed(&a, &b, rank);
    by_rank(Rank::Own)
        .or_else(|| (a.rest.0 == b.rest.0).then(|| bytes(&a.rest.0, a.rest.1, b.rest.1)).flatten())
        .or_else(|| by_rank(Rank::Length))
        .or_else(|| by_rank(Rank::Checksum))
        .or_else(|| bytes("frame", is, expected))
}

fn listed(a: &Fields<'_>, b: &Fields<'_>, rank: Rank) -> Option<Differs> {
    let value = |of: &Fields<'_>, name: &str| {
        of.list.iter().find(|f| f.0 == name).map_or_else(|| "absent".to_owned(), |f| f.1.clone())
    };
    let names = b.list.iter().chain(&a.list).filter(|f| f.2 == rank).map(|f| &f.0);
    names
        .map(|n| Differs { field: n.clone(), is: value(a, n), expected: value(b, n) })
        .find(|d| d.is != d.expected)
}

/// The first byte in which two strings of bytes differ, or their lengths.
fn bytes(name: &str, is: &[u8], expected: &[u8]) -> Option<Differs> {
    if let Some(at) = is.iter().zip(expected).position(|(a, b)| a != b) {
        let show = |b: &[u8]| b.get(at).map_or_else(String::new, |b| format!("{b:#04x}"));
        return Some(Differs { field: format!("{name}[{at}]"), is: show(is), expected: show(expected) });
    }
    let show = |b: &[u8]| format!("{} bytes", b.len());
    (is.len() != expected.len()).then(|| Differs {
        field: format!("{name} length"),
        is: show(is),
        expected: show(expected),
    })
}

/// A frame in a few words.
pub(super) fn summary(frame: &[u8]) -> String {
    let fields = dissect(frame);
    let get = |name: &str| fields.list.iter().find(|f| f.0 == name).map(|f| f.1.as_str());
    let mut text = format!("{} bytes", frame.len());
    for prefix in ["", "inner."] {
        let name = |n: &str| format!("{prefix}{n}");
        let Some((src, dst)) = get(&name("ip.src")).zip(get(&name("ip.dst"))) else { continue };
        let port = |p: &str, which: &str| get(&name(&format!("{p}.{which}"))).map(|n| format!(":{n}"));
        let either = |which: &str| port("tcp", which).or_else(|| port("udp", which)).unwrap_or_default();
        let _ = write!(text, ", {prefix}{src}{} to {dst}{}", either("srcport"), either("dstport"));
        if let Some(flags) = get(&name("tcp.flags")) {
            let _ = write!(text, " {flags}");
        }
    }
    text
}

fn dissect(frame: &[u8]) -> Fields<'_> {
    let mut f = Fields { list: Vec::new(), rest: ("frame".to_owned(), frame) };
    let Ok((eth, mut rest)) = Ethernet2Header::from_slice(frame) else { return f };
    f.own("eth.dst", mac(&eth.destination));
    f.own("eth.src", mac(&eth.source));
    let mut kind = eth.ether_type;
    for _ in 0..2 {
        if !matches!(kind.0, 0x8100 | 0x88a8) {
            break;
        }
        f.own("vlan.tpid", format!("{:#06x}", kind.0));
        let Ok((tag, inner)) = SingleVlanHeader::from_slice(rest) else { break };
        f.own("vlan.priority", tag.pcp.value());
        f.own("vlan.dei", u8::from(tag.drop_eligible_indicator));
        f.own("vlan.id", tag.vlan_id.value());
        (kind, rest) = (tag.ether_type, inner);
    }
    f.own("eth.type", format!("{:#06x}", kind.0));
    f.rest = ("eth.payload".to_owned(), rest);
    match kind.0 {
        0x0800 => f.ip("", rest),
        0x0806 => f.arp(rest),
        _ => {}
    }
    f
}

impl<'a> Fields<'a> {
    fn add(&mut self, name: impl Into<String>, value: impl ToString, rank: Rank) {
        self.list.push((name.into(), value.to_string(), rank));
    }

    fn own(&mut self, name: impl Into<String>, value: impl ToString) {
        self.add(name, value, Rank::Own);
    }

    fn arp(&mut self, bytes: &'a [u8]) {
        let Ok(arp) = ArpPacketSlice::from_slice(bytes) else { return };
        let arp = arp.to_packet();
        self.own("arp.opcode", arp.operation.0);
        self.own("arp.src.hw_mac", mac(arp.sender_hw_addr()));
        self.own("arp.src.proto_ipv4", address(arp.sender_protocol_addr()));
        self.own("arp.dst.hw_mac", mac(arp.target_hw_addr()));
        self.own("arp.dst.proto_ipv4", address(arp.target_protocol_addr()));
    }

    fn ip(&mut self, prefix: &str, bytes: &'a [u8]) {
        let Ok((ip, rest)) = Ipv4Header::from_slice(bytes) else { return };
        let name = |n: &str| format!("{prefix}ip.{n}");
        self.own(name("src"), Ipv4Addr::from(ip.source));
        self.own(name("dst"), Ipv4Addr::from(ip.destination));
        self.own(name("proto"), ip.protocol.0);
        self.own(name("dsfield"), format!("{:#04x}", ip.dscp.value() << 2 | ip.ecn.value()));
        self.own(name("id"), format!("{:#06x}", ip.identification));
        self.own(
            name("flags"),
            format!("df {} mf {}", u8::from(ip.dont_fragment), u8::from(ip.more_fragments)),
        );
        self.own(name("frag_offset"), ip.fragment_offset.value());
        self.own(name("ttl"), ip.time_to_live);
        self.own(name("options"), hex(ip.options.as_slice()));
        self.add(name("len"), ip.total_len, Rank::Length);
        self.add(name("checksum"), format!("{:#06x}", ip.header_checksum), Rank::Checksum);
        // Behind the packet's end there may be padding, which the whole frame's comparison sees.
        let len = usize::from(ip.total_len).saturating_sub(ip.header_len());
        let payload = rest.get(..len).unwrap_or(rest);
        self.rest = (name("payload"), payload);
        if ip.fragment_offset.value() != 0 {
            return;
        }
        match ip.protocol.0 {
            1 => self.icmp(prefix, payload),
            6 => self.tcp(prefix, payload),
            17 => self.udp(prefix, payload),
            47 if prefix.is_empty() => self.gre(payload),
            _ => {}
        }
    }

    fn icmp(&mut self, prefix: &str, bytes: &'a [u8]) {
        let Some((&[kind, code, c0, c1], rest)) = bytes.split_first_chunk::<4>() else { return };
        self.own(format!("{prefix}icmp.type"), kind);
        self.own(format!("{prefix}icmp.code"), code);
        self.add(format!("{prefix}icmp.checksum"), hex(&[c0, c1]), Rank::Checksum);
        self.rest = (format!("{prefix}icmp.payload"), rest);
    }

    fn tcp(&mut self, prefix: &str, bytes: &'a [u8]) {
        let Ok((tcp, rest)) = TcpHeader::from_slice(bytes) else { return };
        let name = |n: &str| format!("{prefix}tcp.{n}");
        self.own(name("srcport"), tcp.source_port);
        self.own(name("dstport"), tcp.destination_port);
        let flags = [
            (tcp.syn, "SYN"),
            (tcp.fin, "FIN"),
            (tcp.rst, "RST"),
            (tcp.psh, "PSH"),
            (tcp.ack, "ACK"),
            (tcp.urg, "URG"),
            (tcp.ece, "ECE"),
            (tcp.cwr, "CWR"),
            (tcp.ns, "NS"),
        ];
        let flags: Vec<&str> = flags.iter().filter(|f| f.0).map(|f| f.1).collect();
        self.own(name("flags"), flags.join("+"));
        self.own(name("seq"), format!("{:#010x}", tcp.sequence_number));
        self.own(name("ack"), format!("{:#010x}", tcp.acknowledgment_number));
        self.own(name("window_size"), tcp.window_size);
        self.own(name("urgent_pointer"), tcp.urgent_pointer);
        self.own(name("options"), hex(tcp.options.as_slice()));
        self.add(name("checksum"), format!("{:#06x}", tcp.checksum), Rank::Checksum);
        self.rest = (name("payload"), rest);
    }

    fn udp(&mut self, prefix: &str, bytes: &'a [u8]) {
        let Ok((udp, rest)) = UdpHeader::from_slice(bytes) else { return };
        let name = |n: &str| format!("{prefix}udp.{n}");
        self.own(name("srcport"), udp.source_port);
        self.own(name("dstport"), udp.destination_port);
        self.add(name("length"), udp.length, Rank::Length);
        self.add(name("checksum"), format!("{:#06x}", udp.checksum), Rank::Checksum);
        self.rest = (name("payload"), rest);
    }

    /// As we send it: without optional words (RFC 2784), the redirect header behind it.
    fn gre(&mut self, bytes: &'a [u8]) {
        let Some((head, rest)) = bytes.split_first_chunk::<8>() else { return };
        let (flags, kind, redirect) = (&head[..2], &head[2..4], &head[4..]);
        self.own("gre.flags", hex(flags));
        self.own("gre.proto", hex(kind));
        self.rest = ("gre.payload".to_owned(), bytes);
        if flags == [0, 0] && kind == [0x88, 0x3e] {
            self.own("gre.wccp.redirect", hex(redirect));
            self.rest = ("gre.payload".to_owned(), rest);
            self.ip("inner.", rest);
        }
    }
}

fn mac(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":")
}

fn address(bytes: &[u8]) -> String {
    <[u8; 4]>::try_from(bytes).map_or_else(|_| hex(bytes), |a| Ipv4Addr::from(a).to_string())
}

fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        "none".to_owned()
    } else {
        format!("0x{}", bytes.iter().map(|b| format!("{b:02x}")).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    fn tcp() -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, 1, 0, 10], [10, 0, 0, 10], 64)
            .tcp(21, 40000, 0x0102_0304, 8192)
            .ack(7);
        let mut frame = Vec::new();
        builder.write(&mut frame, b"220 lab\r\n").unwrap();
        frame
    }

    fn gre(inner: &[u8]) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 9, 0, 2], [10, 9, 0, 1], 64);
        let payload = [&[0, 0, 0x88, 0x3e, 1, 61, 0, 3][..], inner].concat();
        let mut frame = Vec::new();
        builder.write(&mut frame, etherparse::IpNumber(47), &payload).unwrap();
        frame
    }

    #[test]
    fn every_byte_of_a_frame_belongs_to_a_field_with_a_name() {
        for (what, frame) in [("tcp", tcp()), ("gre", gre(&tcp()[14..]))] {
            assert_eq!(difference(&frame, &frame), None);
            for at in 0..frame.len() {
                for bit in 0..8 {
                    let mut other = frame.clone();
                    other[at] ^= 1 << bit;
                    let d = difference(&other, &frame).unwrap();
                    assert_ne!(d.is, d.expected, "{what} byte {at} bit {bit}: {d:?}");
                }
            }
        }
    }

    #[test]
    fn causes_are_named_before_what_follows_from_them() {
        let (a, name) = (tcp(), |at: usize, bit: u8, of: &[u8]| {
            let mut b = of.to_vec();
            b[at] ^= bit;
            difference(&b, of).unwrap().field
        });
        let fields: Vec<String> = [
            (0, 1),
            (6, 1),
            (18, 1),
            (22, 1),
            (24, 1),
            (26, 1),
            (34, 1),
            (38, 1),
            (42, 1),
            (47, 1),
            (48, 1),
            (50, 1),
            (54, 1),
            (62, 1),
        ]
        .map(|(at, bit)| name(at, bit, &a))
        .into();
        assert_eq!(
            fields,
            [
                "eth.dst",
                "eth.src",
                "ip.id",
                "ip.ttl",
                "ip.checksum",
                "ip.src",
                "tcp.srcport",
                "tcp.seq",
                "tcp.ack",
                "tcp.flags",
                "tcp.window_size",
                "tcp.checksum",
                "tcp.payload[0]",
                "tcp.payload[8]"
            ]
        );
        let g = gre(&a[14..]);
        let d = |at| name(at, 1, &g);
        assert_eq!(
            [d(34), d(38), d(42 + 12), d(42 + 40)],
            ["gre.flags", "gre.wccp.redirect", "inner.ip.src", "inner.tcp.payload[0]"]
        );
        // A shorter reply: its length and checksums differ as well.
        let mut short = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, 1, 0, 10], [10, 0, 0, 10], 64)
            .tcp(21, 40000, 0x0102_0304, 8192)
            .ack(7)
            .write(&mut short, b"220 la\r\n")
            .unwrap();
        assert_eq!(difference(&short, &a).unwrap().field, "tcp.payload[6]");
        assert_eq!(summary(&a), "63 bytes, 10.1.0.10:21 to 10.0.0.10:40000 ACK");
    }
}
