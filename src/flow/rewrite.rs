//! What a flow changes in a TCP segment's headers, with the checksum differences computed beforehand.
//!
//! Checksums are patched, never recomputed: RFC 1624 equation 3, `HC' = ~(~HC + ~m + m')`. The sum of
//! `~m + m'` over all words that a flow changes is a constant of the flow, so a frame costs one addition
//! and one fold for each checksum. A sum of minus zero (0xFFFF) is stored as zero: nothing to change then
//! leaves every byte as it was, and a changed checksum is exactly what a full computation gives (RFC 1624
//! section 3 tells why equation 3 never yields the wrong zero). A checksum that was wrong on arrival stays
//! wrong by the same amount.

use super::key::FlowKey;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Length of a TCP header without options, the part that is edited.
pub const TCP_HEADER: usize = 20;

/// New addresses and ports of one direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewrite {
    /// For an IPv4 flow.
    V4(RewriteV4),
    /// For an IPv6 flow.
    V6(RewriteV6),
}

/// New IPv4 addresses and ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RewriteV4 {
    pub(crate) src: Ipv4Addr,
    pub(crate) dst: Ipv4Addr,
    pub(crate) ports: Ports,
}

/// New IPv6 addresses and ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RewriteV6 {
    pub(crate) src: Ipv6Addr,
    pub(crate) dst: Ipv6Addr,
    pub(crate) ports: Ports,
}

/// New ports and the checksum differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) sport: u16,
    pub(crate) dport: u16,
    /// Of the IPv4 header checksum: the addresses. Zero in IPv6.
    pub(crate) l3: u16,
    /// Of the TCP checksum: the addresses (pseudo header) and the ports.
    pub(crate) l4: u16,
}

impl Rewrite {
    /// Turns segments of `key` into segments from `src` to `dst`; none unless all are of one family.
    pub fn new(key: &FlowKey, src: SocketAddr, dst: SocketAddr) -> Option<Self> {
        let (sport, dport) = (src.port(), dst.port());
        match (key, src.ip(), dst.ip()) {
            (FlowKey::V4(k), IpAddr::V4(s), IpAddr::V4(d)) => {
                let l3 = Delta::default().bytes(&k.src.octets(), &s.octets());
                let l3 = l3.bytes(&k.dst.octets(), &d.octets());
                let l4 = l3.word(k.sport, sport).word(k.dport, dport);
                let ports = Ports { sport, dport, l3: l3.folded(), l4: l4.folded() };
                Some(Self::V4(RewriteV4 { src: s, dst: d, ports }))
            }
            (FlowKey::V6(k), IpAddr::V6(s), IpAddr::V6(d)) => {
                let l4 = Delta::default().bytes(&k.src.octets(), &s.octets());
                let l4 = l4.bytes(&k.dst.octets(), &d.octets());
                let l4 = l4.word(k.sport, sport).word(k.dport, dport);
                let ports = Ports { sport, dport, l3: 0, l4: l4.folded() };
                Some(Self::V6(RewriteV6 { src: s, dst: d, ports }))
            }
            _ => None,
        }
    }

    /// Changes nothing.
    pub fn identity(key: &FlowKey) -> Self {
        match key {
            FlowKey::V4(k) => {
                let ports = Ports { sport: k.sport, dport: k.dport, l3: 0, l4: 0 };
                Self::V4(RewriteV4 { src: k.src, dst: k.dst, ports })
            }
            FlowKey::V6(k) => {
                let ports = Ports { sport: k.sport, dport: k.dport, l3: 0, l4: 0 };
                Self::V6(RewriteV6 { src: k.src, dst: k.dst, ports })
            }
        }
    }

    /// The source that segments get.
    pub const fn src(&self) -> SocketAddr {
        match self {
            Self::V4(r) => SocketAddr::new(IpAddr::V4(r.src), r.ports.sport),
            Self::V6(r) => SocketAddr::new(IpAddr::V6(r.src), r.ports.sport),
        }
    }

    /// The destination that segments get.
    pub const fn dst(&self) -> SocketAddr {
        match self {
            Self::V4(r) => SocketAddr::new(IpAddr::V4(r.dst), r.ports.dport),
            Self::V6(r) => SocketAddr::new(IpAddr::V6(r.dst), r.ports.dport),
        }
    }
}

impl RewriteV4 {
    /// Writes the new addresses and ports into an unfragmented segment's headers and patches both checksums.
    ///
    /// `ip` is the fixed part of the IPv4 header, `tcp` the fixed part of the TCP header. With `hop` the
    /// TTL is decremented; a TTL that would reach zero changes nothing and gives false (RFC 1812 5.3.1).
    #[inline]
    #[must_use = "false means that the frame may not be forwarded"]
    pub fn apply(&self, ip: &mut [u8; 20], tcp: &mut [u8; TCP_HEADER], hop: bool) -> bool {
        if hop {
            if ip[8] <= 1 {
                return false;
            }
            ip[8] -= 1;
            // The TTL is the high byte of its word: ~m + (m - 0x0100) is this for every m.
            patch(ip, 10, 0xFEFF);
        }
        patch(ip, 10, self.ports.l3);
        ip[12..16].copy_from_slice(&self.src.octets());
        ip[16..20].copy_from_slice(&self.dst.octets());
        self.ports.apply(tcp);
        true
    }
}

impl RewriteV6 {
    /// Writes the new addresses and ports into an unfragmented segment's headers and patches the checksum.
    ///
    /// `ip` is the fixed IPv6 header, `tcp` the fixed part of the TCP header, wherever extension headers
    /// put it. With `hop` the hop limit is decremented; one that would reach zero changes nothing and gives
    /// false (RFC 8200 section 3).
    #[inline]
    #[must_use = "false means that the frame may not be forwarded"]
    pub fn apply(&self, ip: &mut [u8; 40], tcp: &mut [u8; TCP_HEADER], hop: bool) -> bool {
        if hop {
            if ip[7] <= 1 {
                return false;
            }
            ip[7] -= 1;
        }
        ip[8..24].copy_from_slice(&self.src.octets());
        ip[24..40].copy_from_slice(&self.dst.octets());
        self.ports.apply(tcp);
        true
    }
}

impl Ports {
    #[inline]
    fn apply(&self, tcp: &mut [u8; TCP_HEADER]) {
        tcp[0..2].copy_from_slice(&self.sport.to_be_bytes());
        tcp[2..4].copy_from_slice(&self.dport.to_be_bytes());
        patch(tcp, 16, self.l4);
    }
}

/// A sum of `~old + new` over 16-bit words, not folded yet.
#[derive(Debug, Clone, Copy, Default)]
struct Delta(u32);

impl Delta {
    /// At most a few thousand words fit; a flow changes eighteen.
    fn word(self, old: u16, new: u16) -> Self {
        Self(self.0 + u32::from(!old) + u32::from(new))
    }

    fn bytes<const N: usize>(self, old: &[u8; N], new: &[u8; N]) -> Self {
        let words = old.as_chunks::<2>().0.iter().zip(new.as_chunks::<2>().0);
        words.fold(self, |sum, (o, n)| sum.word(u16::from_be_bytes(*o), u16::from_be_bytes(*n)))
    }

    fn folded(self) -> u16 {
        let once = (self.0 & 0xFFFF) + (self.0 >> 16);
        let twice = ((once & 0xFFFF) + (once >> 16)) as u16;
        if twice == 0xFFFF { 0 } else { twice }
    }
}

/// Adds a flow's difference to the checksum at `at`.
#[inline]
fn patch<const N: usize>(header: &mut [u8; N], at: usize, delta: u16) {
    let sum = !u16::from_be_bytes([header[at], header[at + 1]]);
    let (sum, carry) = sum.overflowing_add(delta);
    let [high, low] = (!(sum + u16::from(carry))).to_be_bytes();
    header[at] = high;
    header[at + 1] = low;
}

#[cfg(test)]
mod tests {
    use super::super::key::Leg;
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071, from the text, sharing nothing with the code above.
    fn checksum(parts: &[&[u8]]) -> u16 {
        let bytes: Vec<u8> = parts.concat();
        let mut sum: u64 = 0;
        for pair in bytes.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
        }
        while sum > 0xFFFF {
            sum = (sum & 0xFFFF) + (sum >> 16);
        }
        !(sum as u16)
    }

    fn segment_v4(
        src: SocketAddr,
        dst: SocketAddr,
        ttl: u8,
        rest: [u8; 12],
        data: &[u8],
    ) -> ([u8; 20], Vec<u8>) {
        let (IpAddr::V4(s), IpAddr::V4(d)) = (src.ip(), dst.ip()) else { panic!("IPv4 only") };
        let mut tcp =
            [&src.port().to_be_bytes()[..], &dst.port().to_be_bytes(), &rest, &[0; 4], data].concat();
        let mut ip = [0u8; 20];
        ip[0] = 0x45;
        ip[2..4].copy_from_slice(&(20 + tcp.len() as u16).to_be_bytes());
        ip[8] = ttl;
        ip[9] = 6;
        ip[12..16].copy_from_slice(&s.octets());
        ip[16..20].copy_from_slice(&d.octets());
        let sum = checksum(&[&ip]).to_be_bytes();
        ip[10..12].copy_from_slice(&sum);
        let sum = l4_sum_v4(&ip, &tcp).to_be_bytes();
        tcp[16..18].copy_from_slice(&sum);
        (ip, tcp)
    }

    fn l4_sum_v4(ip: &[u8; 20], tcp: &[u8]) -> u16 {
        checksum(&[&ip[12..20], &[0, 6], &(tcp.len() as u16).to_be_bytes(), tcp])
    }

    fn l4_sum_v6(ip: &[u8; 40], tcp: &[u8]) -> u16 {
        checksum(&[&ip[8..40], &(tcp.len() as u32).to_be_bytes(), &[0, 0, 0, 6], tcp])
    }

    fn v4(rewrite: Rewrite) -> RewriteV4 {
        let Rewrite::V4(r) = rewrite else { panic!("an IPv4 rewrite") };
        r
    }

    fn addr_v4() -> impl Strategy<Value = SocketAddr> {
        (prop_oneof![any::<u32>(), 0u32..3, 0xFFFF_FFFDu32..=0xFFFF_FFFF], any::<u16>())
            .prop_map(|(a, p)| (Ipv4Addr::from(a), p).into())
    }

    fn addr_v6() -> impl Strategy<Value = SocketAddr> {
        (any::<u128>(), any::<u16>()).prop_map(|(a, p)| (Ipv6Addr::from(a), p).into())
    }

    proptest! {
        #[test]
        fn a_rewritten_v4_segment_equals_one_built_anew(
            ends in (addr_v4(), addr_v4(), addr_v4(), addr_v4()), ttl in 2u8.., hop: bool, rest: [u8; 12],
            data in proptest::collection::vec(any::<u8>(), 0..33),
        ) {
            let (src, dst, new_src, new_dst) = ends;
            let key = FlowKey::tcp(src, dst, Leg::Redirected, 0).expect("one family");
            let rewrite = v4(Rewrite::new(&key, new_src, new_dst).expect("one family"));
            let (mut ip, mut tcp) = segment_v4(src, dst, ttl, rest, &data);
            let (want_ip, want_tcp) = segment_v4(new_src, new_dst, ttl - u8::from(hop), rest, &data);
            let head = tcp.first_chunk_mut().expect("a whole header");
            prop_assert!(rewrite.apply(&mut ip, head, hop));
            prop_assert_eq!(ip, want_ip);
            prop_assert_eq!(tcp, want_tcp);
        }

        #[test]
        fn valid_v6_checksums_stay_valid(
            ends in (addr_v6(), addr_v6(), addr_v6(), addr_v6()), hops in 2u8.., hop: bool,
            mut tcp in proptest::collection::vec(any::<u8>(), 20..54),
        ) {
            let (src, dst, new_src, new_dst) = ends;
            let key = FlowKey::tcp(src, dst, Leg::Direct, 3).expect("one family");
            let (FlowKey::V6(k), Rewrite::V6(rewrite)) =
                (key, Rewrite::new(&key, new_src, new_dst).expect("one family")) else { panic!("IPv6") };
            let mut ip = [0u8; 40];
            ip[7] = hops;
            ip[8..24].copy_from_slice(&k.src.octets());
            ip[24..40].copy_from_slice(&k.dst.octets());
            tcp[0..4].copy_from_slice(&[src.port().to_be_bytes(), dst.port().to_be_bytes()].concat());
            tcp[16..18].copy_from_slice(&[0, 0]);
            let sum = l4_sum_v6(&ip, &tcp).to_be_bytes();
            tcp[16..18].copy_from_slice(&sum);
            prop_assert!(rewrite.apply(&mut ip, tcp.first_chunk_mut().expect("a whole header"), hop));
            prop_assert_eq!(l4_sum_v6(&ip, &tcp), 0);
            prop_assert_eq!(ip[7], hops - u8::from(hop));
            prop_assert_eq!(Rewrite::V6(rewrite).src(), new_src);
            prop_assert_eq!(&tcp[2..4], &new_dst.port().to_be_bytes()[..]);
        }

        #[test]
        fn no_change_leaves_every_byte_even_in_either_zero(
            src in addr_v4(), dst in addr_v4(), ip_sum in prop_oneof![Just(0u16), Just(0xFFFF), any::<u16>()],
            tcp_sum in prop_oneof![Just(0u16), Just(0xFFFF), any::<u16>()], rest: [u8; 12],
        ) {
            let key = FlowKey::tcp(src, dst, Leg::Redirected, 0).expect("one family");
            let same = Rewrite::new(&key, src, dst).expect("one family");
            prop_assert_eq!(same, Rewrite::identity(&key));
            let (mut ip, mut tcp) = segment_v4(src, dst, 64, rest, b"");
            ip[10..12].copy_from_slice(&ip_sum.to_be_bytes());
            tcp[16..18].copy_from_slice(&tcp_sum.to_be_bytes());
            let before = (ip, tcp.clone());
            prop_assert!(v4(same).apply(&mut ip, tcp.first_chunk_mut().expect("a whole header"), false));
            prop_assert_eq!((ip, tcp), before);
        }
    }

    #[test]
    fn the_example_of_rfc_1624_gives_plus_zero() {
        let mut header = [0xDD, 0x2F];
        patch(&mut header, 0, Delta::default().word(0x5555, 0x3285).folded());
        assert_eq!(header, [0, 0]);
    }

    #[test]
    fn a_ttl_of_one_is_refused_and_nothing_written() {
        let (src, dst) = ("10.0.0.1:7".parse().expect("literal"), "10.0.0.2:21".parse().expect("literal"));
        let key = FlowKey::tcp(src, dst, Leg::Redirected, 0).expect("one family");
        let rewrite = v4(Rewrite::new(&key, dst, src).expect("one family"));
        let (mut ip, mut tcp) = segment_v4(src, dst, 1, [0; 12], b"");
        let before = (ip, tcp.clone());
        assert!(!rewrite.apply(&mut ip, tcp.first_chunk_mut().expect("a whole header"), true));
        assert_eq!((ip, tcp), before);
        assert!(Rewrite::new(&key, dst, "[::1]:1".parse().expect("literal")).is_none());
    }
}
