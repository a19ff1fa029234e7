//! TCP (RFC 9293): fields of a segment, options, and edits in place.
//!
//! ```text
//!  0        2        4     8     12       13      14       16         18      20
//! | source | dest   | seq | ack | offset | flags | window | checksum | urgent | options … | payload
//! ```

use super::checksum::{add, delta16, delta32, patch};
use super::{Fragment, IpPacket, be16, be32, proto, put16, put32};
use std::net::SocketAddr;

/// FIN: no more data.
pub const FIN: u8 = 0x01;
/// SYN: synchronise sequence numbers.
pub const SYN: u8 = 0x02;
/// RST: reset.
pub const RST: u8 = 0x04;
/// PSH: push.
pub const PSH: u8 = 0x08;
/// ACK: the acknowledgement field counts.
pub const ACK: u8 = 0x10;
/// URG: the urgent pointer counts.
pub const URG: u8 = 0x20;

/// A TCP segment inside a parsed packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Source address and port.
    pub src: SocketAddr,
    /// Destination address and port.
    pub dst: SocketAddr,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number (counts with [`ACK`] only).
    pub ack: u32,
    /// Flags, the low eight.
    pub flags: u8,
    /// Window as on the wire, unscaled.
    pub window: u16,
    /// Where the TCP header begins.
    pub start: usize,
    /// Where the payload begins.
    pub payload: usize,
    /// Where it ends.
    pub end: usize,
}

/// Options of a SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SynOptions {
    /// Maximum segment size.
    pub mss: Option<u16>,
    /// Window scale shift, at most 14 (RFC 7323 2.3).
    pub window_scale: Option<u8>,
    /// Selective acknowledgements permitted.
    pub sack: bool,
    /// A timestamp option is there.
    pub timestamps: bool,
}

/// Reads the segment; `None` if it is no TCP, a fragment, or its header does not fit.
pub fn parse(bytes: &[u8], ip: &IpPacket) -> Option<Segment> {
    if ip.proto != proto::TCP || ip.fragment != Fragment::None {
        return None;
    }
    let p = ip.payload(bytes);
    let (h, _) = p.split_first_chunk::<20>()?;
    let header = usize::from(h[12] >> 4) * 4;
    if header < 20 || header > p.len() {
        return None;
    }
    Some(Segment {
        src: SocketAddr::new(ip.src, be16(h, 0)),
        dst: SocketAddr::new(ip.dst, be16(h, 2)),
        seq: be32(h, 4),
        ack: be32(h, 8),
        flags: h[13],
        window: be16(h, 14),
        start: ip.l4,
        payload: ip.l4 + header,
        end: ip.end,
    })
}

impl Segment {
    /// Bytes of payload.
    pub fn len(&self) -> usize {
        self.end - self.payload
    }

    /// Whether there is no payload.
    pub fn is_empty(&self) -> bool {
        self.end == self.payload
    }

    /// Sequence space that it takes: payload, SYN and FIN.
    pub fn seq_len(&self) -> u32 {
        self.len() as u32 + u32::from(self.flags & SYN != 0) + u32::from(self.flags & FIN != 0)
    }

    /// The sequence number behind it.
    pub fn seq_end(&self) -> u32 {
        self.seq.wrapping_add(self.seq_len())
    }

    /// Whether all of these flags are set.
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Whether it is a connection's first segment: SYN without ACK and RST.
    pub fn is_first(&self) -> bool {
        self.flags & (SYN | ACK | RST) == SYN
    }

    /// Options that matter in a SYN. A malformed list ends where it stops making sense.
    pub fn syn_options(&self, bytes: &[u8]) -> SynOptions {
        bytes.get(self.start + 20..self.payload).map(syn_options).unwrap_or_default()
    }

    /// Options as (kind, offset of the option in `bytes`, its whole length), without padding.
    pub fn options<'a>(&self, bytes: &'a [u8]) -> Options<'a> {
        Options { bytes, at: self.start + 20, end: self.payload }
    }
}

/// Options of a SYN that matter, from an option list that stands alone.
pub fn syn_options(list: &[u8]) -> SynOptions {
    let mut o = SynOptions::default();
    for (kind, at, len) in Options::of(list) {
        match (kind, len) {
            (2, 4) => o.mss = Some(be16(list, at + 2)),
            (3, 3) => o.window_scale = Some(list[at + 2].min(14)),
            (4, 2) => o.sack = true,
            (8, 10) => o.timestamps = true,
            _ => {}
        }
    }
    o
}

/// Walks the options of a segment; stops at the first that does not fit.
#[derive(Debug)]
pub struct Options<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Options<'a> {
    /// Walks an option list that stands alone.
    pub fn of(list: &'a [u8]) -> Self {
        Options { bytes: list, at: 0, end: list.len() }
    }
}

impl Iterator for Options<'_> {
    type Item = (u8, usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.end {
            let kind = self.bytes[self.at];
            match kind {
                0 => break,
                1 => self.at += 1,
                _ => {
                    if self.at + 2 > self.end {
                        break;
                    }
                    let len = usize::from(self.bytes[self.at + 1]);
                    if len < 2 || self.at + len > self.end {
                        break;
                    }
                    let item = (kind, self.at, len);
                    self.at += len;
                    return Some(item);
                }
            }
        }
        self.at = self.end;
        None
    }
}

/// Adds to the sequence number and to the acknowledgement (if its flag is set), SACK edges included.
pub fn shift(bytes: &mut [u8], seg: &mut Segment, seq_add: u32, ack_add: u32) {
    let mut delta = 0u16;
    if seq_add != 0 {
        let new = seg.seq.wrapping_add(seq_add);
        delta = add(delta, delta32(seg.seq, new));
        put32(bytes, seg.start + 4, new);
        seg.seq = new;
    }
    if ack_add != 0 && seg.has(ACK) {
        let new = seg.ack.wrapping_add(ack_add);
        delta = add(delta, delta32(seg.ack, new));
        put32(bytes, seg.start + 8, new);
        seg.ack = new;
        // At most four blocks fit into 40 bytes of options (RFC 2018 3).
        let mut edges = [0usize; 8];
        let mut n = 0;
        for (kind, at, len) in seg.options(bytes) {
            if kind == 5 {
                for e in (at + 2..at + len).step_by(4).take_while(|e| e + 4 <= at + len) {
                    if n < edges.len() {
                        edges[n] = e;
                        n += 1;
                    }
                }
            }
        }
        for &e in &edges[..n] {
            let old = be32(bytes, e);
            let new = old.wrapping_add(ack_add);
            put32(bytes, e, new);
            // An edge at an odd offset lies across the words of the sum: swap the delta's bytes.
            let d = delta32(old, new);
            delta = add(delta, if (e - seg.start).is_multiple_of(2) { d } else { d.swap_bytes() });
        }
    }
    fix(bytes, seg, delta);
}

/// Lowers the MSS option to at most `mss`; true if it was larger.
pub fn clamp_mss(bytes: &mut [u8], seg: &Segment, mss: u16) -> bool {
    let Some((_, at, _)) = seg.options(bytes).find(|&(kind, _, len)| kind == 2 && len == 4) else {
        return false;
    };
    let old = be16(bytes, at + 2);
    if old <= mss {
        return false;
    }
    put16(bytes, at + 2, mss);
    let d = delta16(old, mss);
    fix(bytes, seg, if (at - seg.start).is_multiple_of(2) { d } else { d.swap_bytes() });
    true
}

/// Sets URG with a pointer to `offset` bytes behind the sequence number (RFC 6093: the byte behind the
/// urgent one, as everybody implements it).
pub fn set_urgent(bytes: &mut [u8], seg: &mut Segment, offset: u16) {
    let old_flags = be16(bytes, seg.start + 12);
    let old_pointer = be16(bytes, seg.start + 18);
    put16(bytes, seg.start + 12, old_flags | u16::from(URG));
    put16(bytes, seg.start + 18, offset);
    seg.flags |= URG;
    let d = add(delta16(old_flags, old_flags | u16::from(URG)), delta16(old_pointer, offset));
    fix(bytes, seg, d);
}

fn fix(bytes: &mut [u8], seg: &Segment, delta: u16) {
    if delta != 0 {
        let c = be16(bytes, seg.start + 16);
        put16(bytes, seg.start + 16, patch(c, delta));
    }
}

/// Whether sequence number `a` is before `b` (RFC 9293 3.4, modulo 2^32).
pub const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{build, parse_ip};
    use proptest::prelude::*;

    fn sample(options: &[u8], payload: &[u8]) -> Vec<u8> {
        let head = build::Tcp {
            src: "10.0.0.1:1025".parse().unwrap(),
            dst: "10.0.0.2:21".parse().unwrap(),
            seq: 0xFFFF_FFF0,
            ack: 0x7FFF_FFFF,
            flags: ACK | PSH,
            window: 1000,
            options: SynOptions::default(),
            ttl: 64,
            ip_id: 1,
        };
        let mut b = vec![0; head.len() + options.len() + payload.len()];
        let n = head.emit(&mut b);
        b[n..n + options.len()].copy_from_slice(options);
        b[n + options.len()..].copy_from_slice(payload);
        b[n - 20 + 12] = ((20 + options.len()) / 4 * 16) as u8;
        build::finish(&mut b);
        b
    }

    proptest! {
        #[test]
        fn valid_stays_valid_after_every_edit(
            seq_add in any::<u32>(), ack_add in any::<u32>(), urgent in any::<u16>(), odd in any::<bool>(),
            edges in proptest::collection::vec(any::<u32>(), 4..=4),
            payload in proptest::collection::vec(any::<u8>(), 0..40)
        ) {
            let mut o = if odd { vec![1, 5, 18] } else { vec![1, 1, 5, 18] };
            for e in &edges { o.extend(e.to_be_bytes()); }
            o.resize(24, 1);
            let mut b = sample(&o, &payload);
            let ip = parse_ip(&b, 0).unwrap();
            prop_assert!(ip.transport_checksum_ok(&b));
            let mut seg = parse(&b, &ip).unwrap();
            shift(&mut b, &mut seg, seq_add, ack_add);
            set_urgent(&mut b, &mut seg, urgent);
            prop_assert!(ip.transport_checksum_ok(&b));
            let again = parse(&b, &ip).unwrap();
            prop_assert_eq!(again, seg);
            let (_, at, len) = again.options(&b).find(|o| o.0 == 5).unwrap();
            prop_assert_eq!(len, 18);
            for (i, e) in edges.iter().enumerate() {
                prop_assert_eq!(be32(&b, at + 2 + 4 * i), e.wrapping_add(ack_add));
            }
        }

        #[test]
        fn any_options_are_walked_within_the_header(options in proptest::collection::vec(any::<u8>(), 40..=40)) {
            let b = sample(&options, b"x");
            let ip = parse_ip(&b, 0).unwrap();
            let seg = parse(&b, &ip).unwrap();
            for (_, at, len) in seg.options(&b) {
                prop_assert!(at + len <= seg.payload);
            }
            seg.syn_options(&b);
        }
    }

    #[test]
    fn mss_is_lowered_and_never_raised() {
        for options in [&[2, 4, 5, 180][..], &[1, 2, 4, 5, 180, 1, 1, 1]] {
            let mut b = sample(options, b"");
            let ip = parse_ip(&b, 0).unwrap();
            let seg = parse(&b, &ip).unwrap();
            assert!(!clamp_mss(&mut b, &seg, 1460));
            assert!(clamp_mss(&mut b, &seg, 1432));
            assert!(ip.transport_checksum_ok(&b));
            assert_eq!(seg.syn_options(&b).mss, Some(1432));
        }
    }

    #[test]
    fn order_is_modulo_2_to_32() {
        assert!(before(0xFFFF_FFFF, 0));
        assert!(!before(0, 0xFFFF_FFFF));
        assert!(!before(5, 5));
    }
}
