//! IPv4 fragments (RFC 791 2.3): cutting what is too long, joining what is for the router itself.

use crate::packet::{Ipv4, checksum};
use std::net::Ipv4Addr;
use tidegate::time::{Duration, Instant};

const MAX_PACKETS: usize = 64;
const MAX_PIECES: usize = 16;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Cuts `packet` into fragments of at most `mtu` bytes and gives each, whole, to `emit`.
pub fn fragment(packet: &[u8], ip: &Ipv4, mtu: usize, mut emit: impl FnMut(&[u8])) {
    let room = mtu.saturating_sub(ip.header) & !7;
    let payload = &packet[ip.header..ip.total];
    if room == 0 {
        return;
    }
    let mut piece = Vec::with_capacity(mtu);
    for (n, chunk) in payload.chunks(room).enumerate() {
        let more = n * room + chunk.len() < payload.len() || ip.frag & 0x2000 != 0;
        let offset = (ip.frag_offset() + n * room) / 8;
        let frag = (ip.frag & 0xc000) | if more { 0x2000 } else { 0 } | offset as u16;
        piece.clear();
        piece.extend_from_slice(&packet[..ip.header]);
        piece.extend_from_slice(chunk);
        let total = piece.len() as u16;
        piece[2..4].copy_from_slice(&total.to_be_bytes());
        piece[6..8].copy_from_slice(&frag.to_be_bytes());
        piece[10..12].fill(0);
        let sum = checksum(&[&piece[..ip.header]]);
        piece[10..12].copy_from_slice(&sum.to_be_bytes());
        emit(&piece);
    }
}

#[derive(Debug)]
struct Partial {
    key: (Ipv4Addr, Ipv4Addr, u16, u8),
    until: Instant,
    header: Vec<u8>,
    pieces: Vec<(usize, Vec<u8>)>,
    length: Option<usize>,
}

/// Packets of which some fragments have come.
#[derive(Debug, Default)]
pub struct Reassembly {
    partial: Vec<Partial>,
    /// Packets given up: too many at a time, too many pieces, overlapping, too late.
    pub lost: u64,
}

impl Reassembly {
    /// Takes a fragment; returns the whole packet when this was the last one missing.
    pub fn push(&mut self, packet: &[u8], ip: &Ipv4, now: Instant) -> Option<Vec<u8>> {
        let before = self.partial.len();
        self.partial.retain(|p| now < p.until);
        self.lost += (before - self.partial.len()) as u64;
        let key = (ip.src, ip.dst, ip.id, ip.proto);
        let at = self.partial.iter().position(|p| p.key == key).unwrap_or_else(|| {
            if self.partial.len() >= MAX_PACKETS {
                self.partial.remove(0);
                self.lost += 1;
            }
            let until = now + TIMEOUT;
            self.partial.push(Partial { key, until, header: vec![], pieces: vec![], length: None });
            self.partial.len() - 1
        });
        let payload = &packet[ip.header..ip.total];
        let offset = ip.frag_offset();
        let entry = &mut self.partial[at];
        if offset == 0 {
            entry.header = packet[..ip.header].to_vec();
        }
        if ip.frag & 0x2000 == 0 {
            entry.length = Some(offset + payload.len());
        }
        let end = offset + payload.len();
        let overlaps = entry.pieces.iter().any(|(o, b)| offset < o + b.len() && *o < end);
        if overlaps || entry.pieces.len() >= MAX_PIECES || end > 0xffff - 60 {
            self.partial.swap_remove(at);
            self.lost += 1;
            return None;
        }
        entry.pieces.push((offset, payload.to_vec()));
        let have: usize = entry.pieces.iter().map(|(_, b)| b.len()).sum();
        if entry.length != Some(have) || entry.header.is_empty() {
            return None;
        }
        let mut done = self.partial.swap_remove(at);
        done.pieces.sort_by_key(|(o, _)| *o);
        let mut whole = done.header;
        let header = whole.len();
        for (_, bytes) in &done.pieces {
            whole.extend_from_slice(bytes);
        }
        let total = whole.len() as u16;
        whole[2..4].copy_from_slice(&total.to_be_bytes());
        whole[6..8].fill(0);
        whole[10..12].fill(0);
        let sum = checksum(&[&whole[..header]]);
        whole[10..12].copy_from_slice(&sum.to_be_bytes());
        Some(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{PROTO_GRE, ipv4_header};

    fn packet(len: usize) -> Vec<u8> {
        let (a, b) = (Ipv4Addr::new(10, 9, 0, 2), Ipv4Addr::new(10, 9, 0, 1));
        let mut p = ipv4_header(a, b, PROTO_GRE, len, 9, 64, 0).to_vec();
        p.extend((0..len).map(|i| (i * 7) as u8));
        p
    }

    fn cut(p: &[u8], mtu: usize) -> Vec<Vec<u8>> {
        let mut out = vec![];
        fragment(p, &Ipv4::parse(p).unwrap(), mtu, |f| out.push(f.to_vec()));
        out
    }

    #[test]
    fn what_was_cut_joins_again_in_any_order() {
        let p = packet(3003);
        for mtu in [1500, 576, 300] {
            let mut pieces = cut(&p, mtu);
            assert!(pieces.iter().all(|f| f.len() <= mtu && Ipv4::parse(f).is_some()));
            pieces.reverse();
            let mut r = Reassembly::default();
            let mut whole = None;
            for f in &pieces {
                assert!(whole.is_none());
                whole = r.push(f, &Ipv4::parse(f).unwrap(), Instant::ZERO);
            }
            assert_eq!(whole.as_deref(), Some(&p[..]), "mtu {mtu}");
            assert!(r.partial.is_empty());
        }
    }

    #[test]
    fn a_fragment_can_be_cut_again() {
        let p = packet(2000);
        let again: Vec<_> = cut(&p, 1500).iter().flat_map(|f| cut(f, 700)).collect();
        let mut r = Reassembly::default();
        let whole = again.iter().filter_map(|f| r.push(f, &Ipv4::parse(f).unwrap(), Instant::ZERO)).last();
        assert_eq!(whole.as_deref(), Some(&p[..]));
    }

    #[test]
    fn floods_overlaps_and_late_pieces_are_given_up() {
        let p = packet(2000);
        let pieces = cut(&p, 1500);
        let mut r = Reassembly::default();
        assert!(r.push(&pieces[0], &Ipv4::parse(&pieces[0]).unwrap(), Instant::ZERO).is_none());
        assert!(r.push(&pieces[0], &Ipv4::parse(&pieces[0]).unwrap(), Instant::ZERO).is_none());
        assert_eq!((r.lost, r.partial.len()), (1, 0), "an overlap ends it");
        r.push(&pieces[0], &Ipv4::parse(&pieces[0]).unwrap(), Instant::ZERO);
        let late = Instant::ZERO + TIMEOUT;
        assert!(r.push(&pieces[1], &Ipv4::parse(&pieces[1]).unwrap(), late).is_none());
        for id in 0..1000u16 {
            let mut f = pieces[0].clone();
            f[4..6].copy_from_slice(&id.to_be_bytes());
            f[10..12].fill(0);
            let sum = checksum(&[&f[..20]]);
            f[10..12].copy_from_slice(&sum.to_be_bytes());
            r.push(&f, &Ipv4::parse(&f).unwrap(), late);
        }
        assert!(r.partial.len() <= MAX_PACKETS);
    }
}
