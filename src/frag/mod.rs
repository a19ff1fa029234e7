//! Reassembly of fragments to our own address, or of what we have to understand before it passes (RFC 791, RFC 815;
//! RFC 8200 section 4.5), bounded in number, size and time.
//!
//! Redirection makes packets larger than they were; a router whose link is as wide as the client's cuts
//! what it redirects. Overlapping pieces are never honest (RFC 5722 says so for IPv6, and it holds here):
//! the datagram is dropped as a whole.

use crate::time::{Duration, Instant};
use crate::wire::build::IPV6_HEADER;
use crate::wire::checksum::Sum;
use crate::wire::{Fragment, IpPacket, Network, fragment_v6};
use std::net::IpAddr;

/// Datagrams under way at a time. If there are more, one of the same source gives way, or else one of a source that has
/// others as well: the oldest, a stranger's before a router's.
const DATAGRAMS: usize = 64;
/// Pieces of one datagram: as many as the longest message is cut into where a packet may have 576 bytes.
const PIECES: usize = 16;
/// The same of what passes through: the longest datagram over links of 1,280 bytes.
const PIECES_THROUGH: usize = 64;
/// The longest datagram.
const LONGEST: usize = 65_535;
/// How long a datagram waits for its pieces.
const LIFE: Duration = Duration::from_secs(5);

#[derive(Debug, PartialEq, Eq)]
struct Key {
    /// The link that it is on, where there are several.
    link: u32,
    src: IpAddr,
    dst: IpAddr,
    id: u32,
    /// 0 in IPv6, where it is no part of what names a datagram.
    proto: u8,
}

/// One piece, as its packet tells.
struct Piece<'a> {
    key: Key,
    start: usize,
    more: bool,
    /// What the datagram begins with if this is its first piece: no fragment header in it any more.
    header: Vec<u8>,
    bytes: &'a [u8],
}

impl<'a> Piece<'a> {
    fn of(link: u32, bytes: &'a [u8], ip: &IpPacket) -> Option<Self> {
        if !ip.is_v4() {
            let f = fragment_v6(bytes, ip)?;
            let mut header = bytes.get(ip.start..f.at)?.to_vec();
            *header.get_mut(f.announced.checked_sub(ip.start)?)? = f.next;
            let key = Key { link, src: ip.src, dst: ip.dst, id: f.id, proto: 0 };
            let (start, more, bytes) = (f.offset, f.more, bytes.get(f.at + 8..ip.end)?);
            return Some(Self { key, start, more, header, bytes });
        }
        let h = bytes.get(ip.start..ip.l4).filter(|h| h.len() >= 20)?;
        let word = u16::from_be_bytes([h[6], h[7]]);
        let id = u32::from(u16::from_be_bytes([h[4], h[5]]));
        Some(Self {
            key: Key { link, src: ip.src, dst: ip.dst, id, proto: ip.proto },
            start: usize::from(word & 0x1FFF) * 8,
            more: word & 0x2000 != 0,
            header: h.to_vec(),
            bytes: ip.payload(bytes),
        })
    }
}

#[derive(Debug)]
struct Datagram {
    key: Key,
    since: Instant,
    /// It is a router's.
    router: bool,
    /// Header of the first piece, empty until it came.
    header: Vec<u8>,
    payload: Vec<u8>,
    /// What is there, as (start, end), in order.
    have: Vec<(usize, usize)>,
    total: Option<usize>,
    /// The pieces as they came, where they are kept.
    pieces: Vec<Vec<u8>>,
}

/// A datagram that is whole, and what it came in.
#[derive(Debug, PartialEq, Eq)]
pub struct Whole {
    /// The datagram.
    pub packet: Vec<u8>,
    /// Its pieces, in the order in which they came; none unless they are kept.
    pub pieces: Vec<Vec<u8>>,
}

/// Datagrams that are not whole yet.
#[derive(Debug)]
pub struct Reassembly {
    datagrams: Vec<Datagram>,
    limit: usize,
    most: usize,
    keep: bool,
    whole: u64,
    failed: u64,
    spoilt: u64,
}

impl Reassembly {
    /// For datagrams of up to `limit` bytes, header included.
    pub fn new(limit: usize) -> Self {
        Self { datagrams: Vec::new(), limit, most: PIECES, keep: false, whole: 0, failed: 0, spoilt: 0 }
    }

    /// For datagrams of any length that pass through: their pieces are kept as they came.
    #[must_use]
    pub fn through() -> Self {
        Self { most: PIECES_THROUGH, keep: true, ..Self::new(LONGEST) }
    }

    /// Datagrams that are held in pieces.
    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Gives up what has waited for its pieces for too long.
    pub fn expire(&mut self, now: Instant) {
        let before = self.datagrams.len();
        self.datagrams.retain(|d| now.since(d.since) < LIFE);
        self.failed += (before - self.datagrams.len()) as u64;
    }

    /// When [`expire`](Self::expire) has something to do next: the oldest stands first.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.datagrams.first().map(|d| d.since + LIFE)
    }

    /// Takes a piece; gives the datagram when it is whole. `bytes` is what `ip` was parsed from. `router` tells
    /// that it is a router's: anybody can send pieces, and theirs must not cost us what is redirected.
    pub fn add(&mut self, now: Instant, bytes: &[u8], ip: &IpPacket, router: bool) -> Option<Vec<u8>> {
        self.piece(now, 0, bytes, ip, router).map(|whole| whole.packet)
    }

    /// Takes a piece of what passes through; gives the datagram when it is whole, and its pieces. `link` tells networks
    /// apart that may have the same addresses.
    pub fn add_through(&mut self, now: Instant, link: u32, bytes: &[u8], ip: &IpPacket) -> Option<Whole> {
        self.piece(now, link, bytes, ip, false)
    }

    fn piece(&mut self, now: Instant, link: u32, bytes: &[u8], ip: &IpPacket, router: bool) -> Option<Whole> {
        let Piece { key, start, more, header, bytes: piece } = Piece::of(link, bytes, ip)?;
        self.expire(now);
        let end = start + piece.len();
        let at = match self.datagrams.iter().position(|d| d.key == key) {
            Some(at) => at,
            None => {
                if self.datagrams.len() == DATAGRAMS {
                    self.failed += 1;
                    let gives_way = self.gives_way(key.src, router)?;
                    self.datagrams.remove(gives_way);
                }
                let (payload, have) = (Vec::new(), Vec::new());
                let header = Vec::new();
                let (since, total, pieces) = (now, None, Vec::new());
                self.datagrams.push(Datagram { key, since, router, header, payload, have, total, pieces });
                self.datagrams.len() - 1
            }
        };
        // A piece that is empty, misaligned, too far out or says what cannot be spoils its datagram.
        let d = &mut self.datagrams[at];
        let fits = end + header.len().max(60) <= self.limit
            && !piece.is_empty()
            && (!more || piece.len().is_multiple_of(8));
        let again = d.have.contains(&(start, end)) && d.payload.get(start..end) == Some(piece);
        let overlaps = d.have.iter().any(|&(s, e)| start < e && s < end);
        let beyond = d.total.is_some_and(|t| end > t || (!more && end != t))
            || (!more && d.have.last().is_some_and(|&(_, e)| e > end));
        if fits && again {
            return None;
        }
        if !fits || overlaps || beyond || d.have.len() == self.most {
            self.datagrams.remove(at);
            self.failed += 1;
            self.spoilt += 1;
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
        if self.keep {
            d.pieces.push(ip.bytes(bytes).to_vec());
        }
        if ip.fragment == Fragment::First {
            d.header = header;
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
        let mut d = self.datagrams.remove(at);
        self.whole += 1;
        let pieces = std::mem::take(&mut d.pieces);
        Some(Whole { packet: join(d), pieces })
    }

    /// Which datagram gives way to one of this source. Who floods us takes his own places only, once he has any; who has
    /// none gets one of somebody's who has several.
    fn gives_way(&self, source: IpAddr, router: bool) -> Option<usize> {
        let all = &self.datagrams;
        let strangers = all.iter().any(|d| !d.router);
        let may = |d: &Datagram| !d.router || router && !strangers;
        let of = |d: &Datagram| Network::of_client(d.key.src);
        let source = Network::of_client(source);
        let own = all.iter().position(|d| may(d) && of(d) == source);
        let several = || {
            let mut places: Vec<_> =
                (0..all.len()).filter(|at| may(&all[*at])).map(|at| (of(&all[at]), at)).collect();
            // The oldest of each source is the first of its own, and neighbours are of one source.
            places.sort_unstable();
            let next = places.iter().skip(1);
            places.iter().zip(next).filter(|(a, b)| a.0 == b.0).map(|(a, _)| a.1).min()
        };
        own.or_else(several).or_else(|| all.iter().position(may))
    }

    /// Datagrams given up for a piece that made no sense, so far.
    pub fn spoilt(&self) -> u64 {
        self.spoilt
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
    if d.key.dst.is_ipv6() {
        let payload = (packet.len() - IPV6_HEADER) as u16;
        packet[4..6].copy_from_slice(&payload.to_be_bytes());
        return packet;
    }
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
    use crate::wire::build::{icmpv6, split_v4, udp_v4};
    use crate::wire::parse_ip;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

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
        r.add(Instant::from_millis(at), piece, &ip, false)
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

    #[test]
    fn what_waits_in_vain_is_given_up_by_time_alone() {
        let cut = pieces(600, &datagram(1500));
        let other = ping(1500, 600).1;
        let mut r = Reassembly::new(1800);
        assert_eq!(r.poll_timeout(), None);
        feed(&mut r, 100, &cut[0]);
        feed(&mut r, 400, &other[0]);
        // A later piece gives a datagram no new time.
        feed(&mut r, 900, &cut[1]);
        for (until, next, left) in [(5099, Some(5100), 2), (5100, Some(5400), 1), (5400, None, 0)] {
            r.expire(Instant::from_millis(until));
            assert_eq!((r.poll_timeout(), r.len()), (next.map(Instant::from_millis), left), "{until}");
            assert_eq!(r.counts(), (0, 2 - left as u64));
        }
        assert!(r.is_empty());
    }

    #[test]
    fn a_long_message_over_a_narrow_link_is_put_together() {
        let whole = datagram(8000);
        let cut = pieces(576, &whole);
        assert_eq!(cut.len(), 15);
        let mut r = Reassembly::new(8192);
        let joined = cut.iter().filter_map(|p| feed(&mut r, 0, p)).last().unwrap();
        assert_eq!(joined[20..], whole[20..]);
    }

    #[test]
    fn a_flood_of_strangers_pieces_costs_a_router_none_of_its_own() {
        let mut r = Reassembly::new(1800);
        let cut = pieces(600, &datagram(1000));
        let add =
            |r: &mut Reassembly, p: &[u8], router| r.add(Instant::ZERO, p, &parse_ip(p, 0).unwrap(), router);
        let of = |id: u16| {
            let mut p = cut[0].clone();
            p[4..6].copy_from_slice(&id.to_be_bytes());
            p[10..12].fill(0);
            let c = Sum::new().bytes(&p[..20]).checksum();
            p[10..12].copy_from_slice(&c.to_be_bytes());
            p
        };
        assert_eq!(add(&mut r, &cut[0], true), None);
        for id in 1000..1500 {
            add(&mut r, &of(id), false);
        }
        assert!(add(&mut r, &cut[1], true).is_some());
        // All are routers': a stranger has to wait, and among routers the oldest goes.
        for id in 2000..2100 {
            add(&mut r, &of(id), true);
        }
        add(&mut r, &of(3000), false);
        let ids: Vec<u32> = r.datagrams.iter().map(|d| d.key.id).collect();
        assert_eq!(ids, (2036..2100).collect::<Vec<_>>());
    }

    const US: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 2);
    const ROUTER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1);

    /// An echo request, and its pieces of at most `room` bytes behind a hop-by-hop and a fragment header.
    fn ping(len: usize, room: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
        let mut b = vec![0; 48];
        b.extend((0..len).map(|i| i as u8));
        b[40] = 128;
        icmpv6(&mut b, ROUTER, US, 64);
        let cuts = b[40..].chunks(room).enumerate().map(|(i, part)| {
            let more = u16::from((i + 1) * room < b.len() - 40);
            let mut p = b[..40].to_vec();
            p[4..6].copy_from_slice(&((16 + part.len()) as u16).to_be_bytes());
            p[6] = 0;
            p.extend([44, 0, 1, 4, 0, 0, 0, 0]);
            let word = (i * room) as u16 | more;
            p.extend([58, 0, (word >> 8) as u8, word as u8, 0xDE, 0xAD, 0, 1]);
            p.extend(part);
            p
        });
        let cuts = cuts.collect();
        (b, cuts)
    }

    #[test]
    fn ipv6_pieces_make_the_datagram_again_without_the_fragment_header() {
        let (whole, cut) = ping(1500, 600);
        assert_eq!(cut.len(), 3);
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let mut r = Reassembly::new(1800);
            assert_eq!(feed(&mut r, 0, &cut[order[0]]), None);
            assert_eq!(feed(&mut r, 0, &cut[order[0]]), None);
            assert_eq!(feed(&mut r, 1, &cut[order[1]]), None);
            let joined = feed(&mut r, 2, &cut[order[2]]).unwrap();
            assert_eq!((&joined[40..48], &joined[48..]), (&[58, 0, 1, 4, 0, 0, 0, 0][..], &whole[40..]));
            let ip = parse_ip(&joined, 0).unwrap();
            assert!(ip.fragment == Fragment::None && ip.proto == 58 && ip.transport_checksum_ok(&joined));
            assert_eq!(r.counts(), (1, 0));
        }
    }

    #[test]
    fn ipv6_pieces_that_overlap_kill_their_datagram() {
        let ((_, cut), (_, other)) = (ping(1500, 600), ping(1500, 400));
        let mut r = Reassembly::new(1800);
        feed(&mut r, 0, &cut[0]);
        assert_eq!(feed(&mut r, 0, &other[1]), None);
        assert_eq!(r.counts(), (0, 1));
        assert!(cut[1..].iter().all(|p| feed(&mut r, 0, p).is_none()), "RFC 5722: nor with what comes later");
        // The same place with other bytes is an overlap, too.
        let mut r = Reassembly::new(1800);
        feed(&mut r, 0, &cut[0]);
        let mut changed = cut[0].clone();
        changed[100] ^= 1;
        assert_eq!((feed(&mut r, 0, &changed), r.counts()), (None, (0, 1)));
    }

    proptest! {
        #[test]
        fn ipv6_memory_is_bounded_whatever_comes(
            words in proptest::collection::vec((any::<u32>(), any::<u16>(), 0usize..80), 0..300)
        ) {
            let mut r = Reassembly::new(1800);
            for (id, word, len) in words {
                let mut b = ping(0, 600).1.remove(0);
                b.truncate(56);
                b.extend(vec![7; len]);
                b[4..6].copy_from_slice(&((16 + len) as u16).to_be_bytes());
                b[50..52].copy_from_slice(&(word & 0xFFF9).to_be_bytes());
                b[52..56].copy_from_slice(&(id % 100).to_be_bytes());
                if let Ok(ip) = parse_ip(&b, 0) && ip.fragment != Fragment::None {
                    r.add(Instant::ZERO, &b, &ip, id % 3 == 0);
                }
            }
            prop_assert!(r.datagrams.len() <= DATAGRAMS);
            prop_assert!(r.datagrams.iter().all(|d| d.payload.len() <= 1800 && d.have.len() <= PIECES));
        }

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
                    r.add(Instant::ZERO, &b, &ip, id % 3 == 0);
                }
            }
            prop_assert!(r.datagrams.len() <= DATAGRAMS);
            prop_assert!(r.datagrams.iter().all(|d| d.payload.len() <= 1800 && d.have.len() <= PIECES));
        }
    }
}
