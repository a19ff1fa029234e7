//! Fragments: what is decided about a datagram needs its ports, so its pieces wait until it is whole. Then they go on as
//! they came, or the datagram does, translated.

use super::packet::Side;
use crate::flow::rewrite::TCP_HEADER;
use crate::frag::{Reassembly, Whole};
use crate::time::Instant;
use crate::wire::{Fragment, IpPacket, proto, udp};

/// What became of a piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Its datagram is whole.
    Whole { packet: Vec<u8>, pieces: Vec<Vec<u8>> },
    /// Others are still to come.
    Waits,
    /// It makes no sense, nor does what came of its datagram before.
    Bad,
}

/// Datagrams under way, of each side and each link apart: one side's flood costs the other nothing.
#[derive(Debug)]
pub(super) struct Pieces {
    inside: Reassembly,
    outside: Reassembly,
}

impl Pieces {
    pub(super) fn new() -> Self {
        Self { inside: Reassembly::through(), outside: Reassembly::through() }
    }

    pub(super) fn add(&mut self, now: Instant, from: Side, link: u32, bytes: &[u8], ip: &IpPacket) -> Taken {
        if is_tiny(bytes, ip) {
            return Taken::Bad;
        }
        let room = match from {
            Side::Inside => &mut self.inside,
            Side::Outside => &mut self.outside,
        };
        let spoilt = room.spoilt();
        match room.add_through(now, link, bytes, ip) {
            Some(Whole { packet, pieces }) => Taken::Whole { packet, pieces },
            None if room.spoilt() > spoilt => Taken::Bad,
            None => Taken::Waits,
        }
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.inside.expire(now);
        self.outside.expire(now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.inside.poll_timeout().into_iter().chain(self.outside.poll_timeout()).min()
    }

    pub(super) fn len(&self) -> usize {
        self.inside.len() + self.outside.len()
    }

    /// (Datagrams put together, datagrams given up.)
    pub(super) fn counts(&self) -> (u64, u64) {
        let ((a, b), (c, d)) = (self.inside.counts(), self.outside.counts());
        (a + c, b + d)
    }
}

/// Whether a piece leaves its transport header to others, or reaches into it: nobody cuts so but to hide something
/// (RFC 1858 section 3, RFC 3128).
fn is_tiny(bytes: &[u8], ip: &IpPacket) -> bool {
    let len = ip.payload(bytes).len();
    match (ip.fragment, ip.proto) {
        (Fragment::First, proto::TCP) => {
            let header = ip.payload(bytes).get(12).map_or(0, |b| usize::from(b >> 4) * 4);
            len < header.max(TCP_HEADER)
        }
        (Fragment::First, proto::UDP | proto::ICMP | proto::ICMPV6) => len < udp::HEADER,
        (Fragment::Later, proto::TCP) if ip.is_v4() => {
            let word = bytes.get(ip.start + 6..ip.start + 8).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
            usize::from(word & 0x1FFF) * 8 < TCP_HEADER
        }
        _ => false,
    }
}
