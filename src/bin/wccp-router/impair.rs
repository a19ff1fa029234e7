//! A bad line on purpose: what enters a leg may get lost, come twice, late, after others, or in small pieces.
//!
//! All by a seed: the same frames in the same order meet the same fate.

use crate::ipv6::{IPV6_LEN, Ipv6};
use crate::packet::{ETH_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ipv4, PROTO_TCP, be16, checksum};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tidegate::rng::{Keyed, Purpose};
use tidegate::time::{Duration, Instant};

/// Frames held back at a time on one leg; beyond that they are lost.
const MAX_HELD: usize = 4096;

/// What may happen on one leg. Fractions are of frames, from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Impairment {
    /// Lost.
    pub drop: f64,
    /// Come twice.
    pub duplicate: f64,
    /// Held back for `reorder_ms`, so that later ones overtake them.
    pub reorder: f64,
    /// How long, in milliseconds.
    pub reorder_ms: u64,
    /// How late every frame comes, in milliseconds.
    pub delay_ms: u64,
    /// TCP segments with more payload than this many bytes are cut; 0: none are.
    pub segment: usize,
    /// Where the numbers come from.
    pub seed: u64,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ImpairStats {
    /// Frames lost on purpose.
    pub dropped: u64,
    /// Frames doubled.
    pub duplicated: u64,
    /// Frames held back.
    pub reordered: u64,
    /// Segments cut.
    pub cut: u64,
    /// Frames lost because too many were held back.
    pub overflow: u64,
}

/// The line into one leg.
#[derive(Debug)]
pub struct Line {
    what: Impairment,
    numbers: Keyed,
    seen: u64,
    held: BTreeMap<(Instant, u64), Vec<u8>>,
    ordinal: u64,
    /// Counters.
    pub stats: ImpairStats,
}

impl Line {
    /// A line that behaves like this.
    pub fn new(what: Impairment) -> Self {
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&what.seed.to_be_bytes());
        Self {
            what,
            numbers: Keyed::new(seed),
            seen: 0,
            held: BTreeMap::new(),
            ordinal: 0,
            stats: ImpairStats::default(),
        }
    }

    /// Takes a frame that came in; what comes of it now or later is given by [`due`](Self::due).
    pub fn push(&mut self, frame: &[u8], now: Instant) {
        self.seen += 1;
        if self.chance(0) < self.what.drop {
            self.stats.dropped += 1;
            return;
        }
        let mut at = now + Duration::from_millis(self.what.delay_ms);
        if self.chance(1) < self.what.reorder {
            self.stats.reordered += 1;
            at += Duration::from_millis(self.what.reorder_ms);
        }
        let pieces = match self.what.segment {
            0 => None,
            size => cut(frame, size),
        };
        self.stats.cut += u64::from(pieces.is_some());
        let pieces = pieces.unwrap_or_else(|| vec![frame.to_vec()]);
        let twice = self.chance(2) < self.what.duplicate;
        self.stats.duplicated += u64::from(twice);
        for _ in 0..=usize::from(twice) {
            for piece in &pieces {
                self.hold(at, piece.clone());
            }
        }
    }

    /// The next frame whose time has come.
    pub fn due(&mut self, now: Instant) -> Option<Vec<u8>> {
        let first = self.held.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// When the next frame is due.
    pub fn poll_timeout(&self) -> Instant {
        self.held.first_key_value().map_or(Instant::FAR_FUTURE, |((at, _), _)| *at)
    }

    fn hold(&mut self, at: Instant, frame: Vec<u8>) {
        if self.held.len() >= MAX_HELD {
            self.stats.overflow += 1;
            return;
        }
        self.ordinal += 1;
        self.held.insert((at, self.ordinal), frame);
    }

    fn chance(&self, which: u8) -> f64 {
        let n = self.numbers.value(Purpose::Impair, &[which], self.seen);
        (n >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Cuts the TCP segment in a frame (not in GRE, not behind IPv6 extensions) into pieces of at most `size`
/// payload bytes.
fn cut(frame: &[u8], size: usize) -> Option<Vec<Vec<u8>>> {
    let packet = frame.get(ETH_LEN..)?;
    // Length of the IP header, of the packet, and where the addresses are.
    let (header, total, addresses) = match be16(frame, 12) {
        ETHERTYPE_IPV4 => {
            let ip = Ipv4::parse(packet).filter(|ip| ip.proto == PROTO_TCP && !ip.is_fragment())?;
            (ip.header, ip.total, 12..20)
        }
        ETHERTYPE_IPV6 => {
            let ip = Ipv6::parse(packet).filter(|ip| packet[6] == PROTO_TCP && ip.header == IPV6_LEN)?;
            (ip.header, ip.total, 8..40)
        }
        _ => return None,
    };
    let tcp = packet.get(header..total)?;
    let head = usize::from(*tcp.get(12)? >> 4) * 4;
    let payload = tcp.get(head..).filter(|p| head >= 20 && p.len() > size)?;
    let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
    let last = payload.len().div_ceil(size) - 1;
    let pieces = payload.chunks(size).enumerate().map(|(n, chunk)| {
        let mut f = frame[..ETH_LEN + header + head].to_vec();
        f.extend_from_slice(chunk);
        let (ip_head, segment) = f[ETH_LEN..].split_at_mut(header);
        if header == IPV6_LEN && ip_head[0] >> 4 == 6 {
            ip_head[4..6].copy_from_slice(&(segment.len() as u16).to_be_bytes());
        } else {
            ip_head[2..4].copy_from_slice(&((header + segment.len()) as u16).to_be_bytes());
            ip_head[10..12].fill(0);
            let sum = checksum(&[&ip_head[..]]);
            ip_head[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        segment[4..8].copy_from_slice(&sequence.wrapping_add((n * size) as u32).to_be_bytes());
        if n != last {
            // FIN and PSH belong to the last byte.
            segment[13] &= !0x09;
        }
        segment[16..18].fill(0);
        let len = (segment.len() as u16).to_be_bytes();
        let sum = checksum(&[&ip_head[addresses.clone()], &[0, PROTO_TCP, len[0], len[1]], segment]);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        f
    });
    Some(pieces.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipv6::{ipv6_header, pseudo_checksum};
    use crate::packet::ipv4_header;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const NOW: Instant = Instant::from_millis(1000);

    fn all(line: &mut Line, now: Instant) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| line.due(now)).collect()
    }

    fn fate(what: Impairment) -> (ImpairStats, Vec<Vec<u8>>) {
        let mut line = Line::new(what);
        for n in 0..1000u16 {
            line.push(&n.to_be_bytes(), NOW);
        }
        let frames = all(&mut line, NOW + Duration::from_secs(1));
        (line.stats, frames)
    }

    #[test]
    fn a_good_line_changes_nothing() {
        let (stats, frames) = fate(Impairment::default());
        assert_eq!(stats, ImpairStats::default());
        assert!(
            frames.iter().enumerate().all(|(n, f)| *f == (n as u16).to_be_bytes()) && frames.len() == 1000
        );
    }

    #[test]
    fn fractions_are_kept_and_the_seed_decides() {
        let what =
            Impairment { drop: 0.1, duplicate: 0.1, reorder: 0.1, reorder_ms: 5, ..Impairment::default() };
        let (stats, frames) = fate(what);
        for count in [stats.dropped, stats.duplicated, stats.reordered] {
            assert!((60..140).contains(&count), "{stats:?}");
        }
        assert_eq!(frames.len() as u64, 1000 - stats.dropped + stats.duplicated);
        assert!(!frames.is_sorted());
        assert_eq!(fate(what), (stats, frames.clone()));
        assert_ne!(fate(Impairment { seed: 1, ..what }).1, frames);
    }

    #[test]
    fn late_frames_come_when_they_are_due_and_too_many_are_lost() {
        let mut line = Line::new(Impairment { delay_ms: 5, ..Impairment::default() });
        line.push(b"late", NOW);
        assert_eq!((line.due(NOW), line.poll_timeout()), (None, NOW + Duration::from_millis(5)));
        assert_eq!(line.due(NOW + Duration::from_millis(5)).as_deref(), Some(&b"late"[..]));
        assert_eq!(line.poll_timeout(), Instant::FAR_FUTURE);
        for _ in 0..MAX_HELD + 7 {
            line.push(b"x", NOW);
        }
        assert_eq!((line.stats.overflow, line.held.len()), (7, MAX_HELD));
    }

    #[test]
    fn cut_segments_carry_the_same_bytes_with_good_checksums() {
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 1, 0, 1));
        let payload: Vec<u8> = (0..100).collect();
        let mut tcp =
            vec![0x12, 0x34, 0, 21, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 9, 0x60, 0x19, 1, 0, 0, 0, 0, 0];
        tcp.extend_from_slice(&[1, 1, 1, 0]);
        tcp.extend_from_slice(&payload);
        let mut frame = vec![0; 12];
        frame.extend_from_slice(&[8, 0]);
        frame.extend_from_slice(&ipv4_header(a, b, PROTO_TCP, tcp.len(), 1, 64, 0));
        frame.extend_from_slice(&tcp);
        let mut line = Line::new(Impairment { segment: 33, ..Impairment::default() });
        line.push(&frame, NOW);
        let pieces = all(&mut line, NOW);
        assert_eq!((pieces.len(), line.stats.cut), (4, 1));
        let mut whole = vec![];
        for (n, piece) in pieces.iter().enumerate() {
            let packet = &piece[ETH_LEN..];
            let ip = Ipv4::parse(packet).unwrap();
            let tcp = &packet[20..ip.total];
            let len = (tcp.len() as u16).to_be_bytes();
            assert_eq!(checksum(&[&packet[12..20], &[0, PROTO_TCP, len[0], len[1]], tcp]), 0);
            let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
            assert_eq!(sequence, 0xffff_fff0u32.wrapping_add(33 * n as u32));
            assert_eq!(tcp[13], if n == 3 { 0x19 } else { 0x10 }, "FIN and PSH on the last only");
            whole.extend_from_slice(&tcp[24..]);
        }
        assert_eq!(whole, payload);
        line.push(&frame[..40], NOW);
        assert_eq!(all(&mut line, NOW), [frame[..40].to_vec()], "what is no whole segment stays as it is");
    }

    #[test]
    fn segments_of_ipv6_are_cut_as_well() {
        let (a, b) = (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 1));
        let mut tcp = vec![0, 20, 0x12, 0x34, 0, 0, 0, 9, 0, 0, 0, 9, 0x50, 0x18, 1, 0, 0, 0, 0, 0];
        tcp.extend(0..100);
        let packet = [&ipv6_header(a, b, PROTO_TCP, tcp.len(), 64)[..], &tcp].concat();
        let frame = [&[0; 12][..], &[0x86, 0xdd], &packet].concat();
        let mut line = Line::new(Impairment { segment: 64, ..Impairment::default() });
        line.push(&frame, NOW);
        let pieces = all(&mut line, NOW);
        let mut whole = vec![];
        for piece in &pieces {
            let packet = &piece[ETH_LEN..];
            let ip = Ipv6::parse(packet).unwrap();
            assert_eq!((ip.total, pseudo_checksum(a, b, PROTO_TCP, &packet[40..])), (packet.len(), 0));
            assert_eq!(packet[47], 9 + whole.len() as u8);
            whole.extend_from_slice(&packet[60..]);
        }
        assert_eq!((pieces.len(), &whole[..]), (2, &tcp[20..]));
    }
}
