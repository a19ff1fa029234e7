//! Reassembly of IPv4 fragments to our own address (RFC 791, RFC 815), bounded in number, size and time.
//!
//! Redirection makes packets larger than they were; a router whose link is as wide as the client's cuts
//! what it redirects. Overlapping pieces are never honest (RFC 5722 says so for IPv6, and it holds here):
//! the datagram is dropped as a whole.

use crate::time::{Duration, Instant};
use crate::wire::checksum::Sum;
use crate::wire::{Fragment, IpPacket};
use std::net::IpAddr;

/// Datagrams under way at a time; the oldest gives way.
const DATAGRAMS: usize = 64;
/// Pieces of one datagram.
const PIECES: usize = 8;
/// How long a datagram waits for its pieces.
const LIFE: Duration = Duration::from_secs(5);

#[derive(Debug, PartialEq, Eq)]
struct Key {
    src: IpAddr,
    dst: IpAddr,
    id: u16,
    proto: u8,
}

#[derive(Debug)]
struct Datagram {
    key: Key,
    since: Instant,
    /// Header of the first piece, empty until it came.
    header: Vec<u8>,
    payload: Vec<u8>,
    /// What is there, as (start, end), in order.
    have: Vec<(usize, usize)>,
    total: Option<usize>,
}

/// Datagrams that are not whole yet.
#[derive(Debug)]
pub struct Reassembly {
    datagrams: Vec<Datagram>,
    limit: usize,
    whole: u64,
    failed: u64,
}

impl Reassembly {
    /// For datagrams of up to `limit` bytes, header included.
    pub fn new(limit: usize) -> Self {
        Self { datagrams: Vec::new(), limit, whole: 0, failed: 0 }
    }

    /// Takes a piece; gives the datagram when it is whole. `bytes` is what `ip` was parsed from.
    pub fn add(&mut self, now: Instant, bytes: &[u8], ip: &IpPacket) -> Option<Vec<u8>> {
        let header = bytes.get(ip.start..ip.l4).filter(|h| ip.is_v4() && h.len() >= 20)?;
        let before = self.datagrams.len();
        self.datagrams.retain(|d| now.since(d.since) < LIFE);
        self.failed += (before - self.datagrams.len()) as u64;
        let word = u16::from_be_bytes([header[6], header[7]]);
        let (start, more) = (usize::from(word & 0x1FFF) * 8, word & 0x2000 != 0);
        let piece = ip.payload(bytes);
        let end = start + piece.len();
        let key =
            Key { src: ip.src, dst: ip.dst, id: u16::from_be_bytes([header[4], header[5]]), proto: ip.proto };
        let at = match self.datagrams.iter().position(|d| d.key == key) {
            Some(at) => at,
            None => {
                if self.datagrams.len() == DATAGRAMS {
                    self.datagrams.remove(0);
                    self.failed += 1;
                }
                let (header, payload, have) = (Vec::new(), Vec::new(), Vec::new());
                self.datagrams.push(Datagram { key, since: now, header, payload, have, total: None });
                self.datagrams.len() - 1
            }
        };
        // A piece that is empty, misaligned, too far out or says what cannot be spoils its datagram.
        let d = &mut self.datagrams[at];
        let fits = end + 60 <= self.limit && !piece.is_empty() && (!more || piece.len().is_multiple_of(8));
        let again = d.have.contains(&(start, end)) && d.payload.get(start..end) == Some(piece);
        let overlaps = d.have.iter().any(|&(s, e)| start < e && s < end);
        let beyond = d.total.is_some_and(|t| end > t || (!more && end != t))
            || (!more && d.have.last().is_some_and(|&(_, e)| e > end));
        if fits && again {
            return None;
        }
        if !fits || overlaps || beyond || d.have.len() == PIECES {
            self.datagrams.remove(at);
            self.failed += 1;
            return None;
        }
        if d.payload.len() < end {
            d.payload.resize(end, 0);
        }
        d.payload[start..end].copy_from_slice(piece);
        let place = d.have.partition_point(|&(s, _)| s < start);
        d.have.insert(place, (start, end));
        if !more {
            d.total = Some(end);
        }
        if ip.fragment == Fragment::First {
            d.header = header.to_vec();
        }
        let mut reached = 0;
        for &(s, e) in &d.have {
            if s != reached {
                return None;
            }
            reached = e;
        }
        if d.total != Some(reached) || d.header.is_empty() {
            return None;
        }
        let d = self.datagrams.remove(at);
        self.whole += 1;
        Some(join(d))
    }

    /// (Datagrams put together, datagrams given up) so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.whole, self.failed)
    }
}

fn join(d: Datagram) -> Vec<u8> {
    let mut packet = d.header;
    let header = packet.len();
    packet.extend_from_slice(&d.payload);
    let total = packet.len() as u16;
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    packet[6..8].fill(0);
    packet[10..12].fill(0);
    let c = Sum::new().bytes(&packet[..header]).checksum();
    packet[10..12].copy_from_slice(&c.to_be_bytes());
    packet
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::build::{split_v4, udp_v4};
    use crate::wire::parse_ip;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn datagram(len: usize) -> Vec<u8> {
        let mut b: Vec<u8> = (0..28 + len).map(|i| i as u8).collect();
        udp_v4(&mut b, (Ipv4Addr::new(10, 9, 0, 1), 1), (Ipv4Addr::new(10, 9, 0, 2), 2), 77);
        b
    }

    fn pieces(mtu: usize, packet: &[u8]) -> Vec<Vec<u8>> {
        let mut first = packet.to_vec();
        let mut out = Vec::new();
        while let Some(rest) = split_v4(&mut first, mtu) {
            out.push(std::mem::replace(&mut first, rest));
        }
        out.push(first);
        out
    }

    fn feed(r: &mut Reassembly, at: u64, piece: &[u8]) -> Option<Vec<u8>> {
        let ip = parse_ip(piece, 0).unwrap();
        r.add(Instant::from_millis(at), piece, &ip)
    }

    #[test]
    fn pieces_in_any_order_and_twice_make_the_datagram_again() {
        let whole = datagram(1500);
        let cut = pieces(600, &whole);
        assert_eq!(cut.len(), 3);
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
            let mut r = Reassembly::new(1800);
            assert_eq!(feed(&mut r, 0, &cut[order[0]]), None);
            assert_eq!(feed(&mut r, 0, &cut[order[0]]), None);
            assert_eq!(feed(&mut r, 1, &cut[order[1]]), None);
            let joined = feed(&mut r, 2, &cut[order[2]]).unwrap();
            assert_eq!(joined[20..], whole[20..]);
            assert!(parse_ip(&joined, 0).unwrap().transport_checksum_ok(&joined));
            assert_eq!(r.counts(), (1, 0));
        }
    }

    #[test]
    fn overlaps_oversize_and_silence_give_nothing() {
        let cut = pieces(600, &datagram(1500));
        let other = pieces(400, &datagram(1500));
        let mut r = Reassembly::new(1800);
        feed(&mut r, 0, &cut[0]);
        assert_eq!(feed(&mut r, 0, &other[1]), None);
        assert_eq!(r.counts(), (0, 1));
        assert!(feed(&mut r, 0, &cut[0]).is_none() && feed(&mut r, 6000, &cut[1]).is_none());
        assert_eq!(feed(&mut r, 6000, &cut[2]), None);
        let mut small = Reassembly::new(1000);
        assert!(pieces(600, &datagram(1500)).iter().all(|p| feed(&mut small, 0, p).is_none()));
    }

    proptest! {
        #[test]
        fn memory_is_bounded_whatever_comes(
            words in proptest::collection::vec((any::<u16>(), any::<u16>(), 1usize..80), 0..300)
        ) {
            let mut r = Reassembly::new(1800);
            for (id, word, len) in words {
                let mut b = vec![7; 20 + len];
                b[..20].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
                b[2..4].copy_from_slice(&((20 + len) as u16).to_be_bytes());
                b[4..6].copy_from_slice(&id.to_be_bytes());
                b[6..8].copy_from_slice(&word.to_be_bytes());
                let c = Sum::new().bytes(&b[..20]).checksum();
                b[10..12].copy_from_slice(&c.to_be_bytes());
                if let Ok(ip) = parse_ip(&b, 0) && ip.fragment != Fragment::None {
                    r.add(Instant::ZERO, &b, &ip);
                }
            }
            prop_assert!(r.datagrams.len() <= DATAGRAMS);
            prop_assert!(r.datagrams.iter().all(|d| d.payload.len() <= 1800 && d.have.len() <= PIECES));
        }
    }
}
