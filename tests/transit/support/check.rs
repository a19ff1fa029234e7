//! What must hold for every frame that the engine sends, by a parser that is not the engine's.

use etherparse::{EtherType, NetSlice, SlicedPacket, TransportSlice};

/// The IP packet of a frame with at most two tags.
pub(crate) fn ip_of(frame: &[u8]) -> Option<&[u8]> {
    let mut at = 12;
    while matches!(frame.get(at..at + 2)?, [0x81, 0] | [0x88, 0xA8]) {
        at += 4;
    }
    matches!(frame.get(at..at + 2)?, [8, 0] | [0x86, 0xDD]).then(|| &frame[at + 2..])
}

/// Panics if a frame's IP packet has a wrong checksum. (What is no IP, or damaged, is not looked at.)
pub(crate) fn frame(frame: &[u8]) {
    assert!(frame.len() >= 14);
    let Some(packet) = ip_of(frame) else { return };
    let Ok(sliced) = SlicedPacket::from_ip(packet) else { return };
    let whole = match &sliced.net {
        Some(NetSlice::Ipv4(v4)) => {
            let h = v4.header().to_header();
            assert_eq!(h.calc_header_checksum(), h.header_checksum, "{packet:x?}");
            !h.is_fragmenting_payload()
        }
        Some(NetSlice::Ipv6(v6)) => !v6.is_payload_fragmented(),
        _ => return,
    };
    if !whole {
        return;
    }
    let sum = |proto: u8, payload: &[u8], field: u16| match &sliced.net {
        Some(NetSlice::Ipv4(v4)) => {
            let h = v4.header();
            fold(&[
                &h.source(),
                &h.destination(),
                &[0, proto],
                &(payload.len() as u16).to_be_bytes(),
                payload,
            ])
        }
        Some(NetSlice::Ipv6(v6)) => {
            let h = v6.header();
            fold(&[
                &h.source(),
                &h.destination(),
                &(payload.len() as u32).to_be_bytes(),
                &[0, 0, 0, proto],
                payload,
            ])
        }
        _ => field,
    };
    match &sliced.transport {
        Some(TransportSlice::Tcp(t)) => assert_eq!(sum(6, t.slice(), 0), 0xFFFF, "TCP: {packet:x?}"),
        Some(TransportSlice::Udp(u)) if u.checksum() != 0 => {
            assert_eq!(sum(17, u.slice(), 0), 0xFFFF, "UDP: {packet:x?}");
        }
        Some(TransportSlice::Icmpv4(i)) => assert_eq!(fold(&[i.slice()]), 0xFFFF, "ICMP: {packet:x?}"),
        Some(TransportSlice::Icmpv6(i)) => assert_eq!(sum(58, i.slice(), 0), 0xFFFF, "ICMPv6: {packet:x?}"),
        _ => {}
    }
}

/// The ones' complement sum, folded.
fn fold(parts: &[&[u8]]) -> u16 {
    let all: Vec<u8> = parts.concat();
    let mut sum = 0u64;
    for pair in all.chunks(2) {
        sum += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum as u16
}

/// A frame's ethertype behind its tags.
pub(crate) fn kind(frame: &[u8]) -> EtherType {
    let mut at = 12;
    while matches!(frame[at..at + 2], [0x81, 0] | [0x88, 0xA8]) {
        at += 4;
    }
    EtherType(u16::from_be_bytes([frame[at], frame[at + 1]]))
}

/// A frame in a few words.
pub(crate) fn show(frame: &[u8]) -> String {
    let Some(Ok(p)) = ip_of(frame).map(SlicedPacket::from_ip) else { return format!("{:x?}", &frame[..14]) };
    match p.transport {
        Some(TransportSlice::Tcp(t)) => format!(
            "{}>{} seq {} ack {} {}{}{}{} win {} {:?}",
            t.source_port(),
            t.destination_port(),
            t.sequence_number(),
            t.acknowledgment_number(),
            if t.syn() { "S" } else { "" },
            if t.fin() { "F" } else { "" },
            if t.rst() { "R" } else { "" },
            if t.ack() { "A" } else { "" },
            t.window_size(),
            String::from_utf8_lossy(&t.payload()[..t.payload().len().min(40)])
        ),
        other => format!("{other:x?}"),
    }
}
