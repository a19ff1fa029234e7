//! What names one direction of a flow, its hash, and which worker owns an address pair.
//!
//! Keys are directional and never normalised: when the client's address is kept toward the server, both
//! legs of a session carry the same 4-tuple and only [`Leg`] tells them apart.

use core::hash::{BuildHasher, Hasher};
use siphasher::sip::SipHasher13;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// IP protocol number of TCP.
pub const TCP: u8 = 6;

/// Where a frame came from, as far as its addresses cannot tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Leg {
    /// Redirected to us by a router: addressed to somebody else.
    Redirected = 0,
    /// Plainly routed or bridged to us.
    Direct = 1,
}

/// One direction of an IPv4 flow as seen on arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct KeyV4 {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// How it reached us.
    pub leg: Leg,
    /// IP protocol number.
    pub proto: u8,
    /// Zone: which interface group it belongs to; 0 if there is one.
    pub zone: u16,
}

/// One direction of an IPv6 flow as seen on arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct KeyV6 {
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// How it reached us.
    pub leg: Leg,
    /// IP protocol number.
    pub proto: u8,
    /// Zone: which interface group it belongs to; 0 if there is one.
    pub zone: u16,
}

const _: () = assert!(size_of::<KeyV4>() == 16 && size_of::<KeyV6>() == 40);

/// One direction of a flow as seen on arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FlowKey {
    /// IPv4.
    V4(KeyV4),
    /// IPv6.
    V6(KeyV6),
}

impl FlowKey {
    /// The key of a TCP flow from `src` to `dst`; none if the families differ.
    pub fn tcp(src: SocketAddr, dst: SocketAddr, leg: Leg, zone: u16) -> Option<Self> {
        let (sport, dport, proto) = (src.port(), dst.port(), TCP);
        match (src.ip(), dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                Some(Self::V4(KeyV4 { src, dst, sport, dport, leg, proto, zone }))
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                Some(Self::V6(KeyV6 { src, dst, sport, dport, leg, proto, zone }))
            }
            _ => None,
        }
    }

    /// Source address and port.
    pub const fn src(&self) -> SocketAddr {
        match self {
            Self::V4(k) => SocketAddr::new(IpAddr::V4(k.src), k.sport),
            Self::V6(k) => SocketAddr::new(IpAddr::V6(k.src), k.sport),
        }
    }

    /// Destination address and port.
    pub const fn dst(&self) -> SocketAddr {
        match self {
            Self::V4(k) => SocketAddr::new(IpAddr::V4(k.dst), k.dport),
            Self::V6(k) => SocketAddr::new(IpAddr::V6(k.dst), k.dport),
        }
    }
}

impl KeyV4 {
    pub(crate) fn words(&self) -> [u64; 2] {
        [
            pair(self.src.into(), self.dst.into()),
            tail(self.sport, self.dport, self.leg, self.proto, self.zone),
        ]
    }

    pub(crate) fn from_words(w: [u64; 2]) -> Self {
        let (sport, dport, leg, proto, zone) = untail(w[1]);
        Self { src: ((w[0] >> 32) as u32).into(), dst: (w[0] as u32).into(), sport, dport, leg, proto, zone }
    }
}

impl KeyV6 {
    pub(crate) fn words(&self) -> [u64; 5] {
        let (s, d) = (u128::from(self.src), u128::from(self.dst));
        let tail = tail(self.sport, self.dport, self.leg, self.proto, self.zone);
        [(s >> 64) as u64, s as u64, (d >> 64) as u64, d as u64, tail]
    }

    pub(crate) fn from_words(w: [u64; 5]) -> Self {
        let (sport, dport, leg, proto, zone) = untail(w[4]);
        Self { src: wide(w[0], w[1]).into(), dst: wide(w[2], w[3]).into(), sport, dport, leg, proto, zone }
    }
}

/// A keyed hash of words: per pair of words one 64×64→128 bit multiplication whose halves are folded.
///
/// Not cryptographic. The salt keeps a stranger from computing collisions beforehand, and the table's
/// bounded probing bounds what collisions can cost; a SipHash would take several times as long for the
/// sixteen bytes of an IPv4 key, on every frame.
#[derive(Debug, Clone, Copy)]
pub struct KeyHasher {
    keys: [u64; 4],
}

impl KeyHasher {
    /// A hash with this salt.
    pub fn new(salt: u64) -> Self {
        let mut state = salt;
        let mut next = || {
            // The expansion of SplitMix64: full period, so the four keys differ for every salt.
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        };
        Self { keys: [next(), next(), next(), next()] }
    }

    /// The hash of `words`.
    #[inline]
    pub(crate) fn words<const N: usize>(&self, words: &[u64; N]) -> u64 {
        let [k0, k1, k2, k3] = self.keys;
        let mut acc = k2 ^ N as u64;
        for chunk in words.chunks(2) {
            match *chunk {
                [a, b] => acc = fold(a ^ k0 ^ acc, b ^ k1),
                [a] => acc = fold(a ^ k0 ^ acc, k1),
                _ => {}
            }
        }
        fold(acc ^ k3, k2 | 1)
    }

    /// The hash of a key.
    #[inline]
    pub fn key(&self, key: &FlowKey) -> u64 {
        match key {
            FlowKey::V4(k) => self.words(&k.words()),
            FlowKey::V6(k) => self.words(&k.words()),
        }
    }
}

/// The worker, below `workers`, that owns the sessions of an address pair; the order of the two addresses
/// does not matter, so a control connection and its data connections agree whoever opens them.
///
/// `workers` of zero counts as one. The salt must be the same in all workers.
pub fn owner(client: IpAddr, server: IpAddr, salt: u64, workers: usize) -> usize {
    let (low, high) = if client <= server { (client, server) } else { (server, client) };
    let (l, h) = (bits(low), bits(high));
    let family = u64::from(low.is_ipv6()) << 1 | u64::from(high.is_ipv6());
    let hash =
        KeyHasher::new(salt).words(&[(l >> 64) as u64, l as u64, (h >> 64) as u64, h as u64, family, 0]);
    // The high half of a product spreads evenly over any count, not only powers of two.
    ((u128::from(hash) * workers as u128) >> 64) as usize
}

/// A keyed `BuildHasher` for slow-path maps whose keys a peer chooses (SipHash-1-3).
#[derive(Debug, Clone, Copy)]
pub struct Salted(u64, u64);

impl Salted {
    /// With this salt.
    pub fn new(salt: u64) -> Self {
        Self(salt, salt.rotate_left(32) ^ 0x5851_F42D_4C95_7F2D)
    }
}

impl BuildHasher for Salted {
    type Hasher = SaltedHasher;
    fn build_hasher(&self) -> SaltedHasher {
        SaltedHasher(SipHasher13::new_with_keys(self.0, self.1))
    }
}

/// The hasher of [`Salted`].
#[derive(Debug, Clone, Copy)]
pub struct SaltedHasher(SipHasher13);

impl Hasher for SaltedHasher {
    fn finish(&self) -> u64 {
        self.0.finish()
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

fn bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    }
}

const fn wide(high: u64, low: u64) -> u128 {
    (high as u128) << 64 | low as u128
}

const fn pair(high: u32, low: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

const fn tail(sport: u16, dport: u16, leg: Leg, proto: u8, zone: u16) -> u64 {
    (sport as u64) << 48 | (dport as u64) << 32 | (leg as u64) << 24 | (proto as u64) << 16 | zone as u64
}

const fn untail(w: u64) -> (u16, u16, Leg, u8, u16) {
    let leg = if w >> 24 & 0xFF == 0 { Leg::Redirected } else { Leg::Direct };
    ((w >> 48) as u16, (w >> 32) as u16, leg, (w >> 16) as u8, w as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_key() -> impl Strategy<Value = FlowKey> {
        let leg = prop_oneof![Just(Leg::Redirected), Just(Leg::Direct)];
        (any::<bool>(), any::<u128>(), any::<u128>(), any::<(u16, u16, u8, u16)>(), leg).prop_map(
            |(v6, s, d, (sport, dport, proto, zone), leg)| {
                if v6 {
                    FlowKey::V6(KeyV6 { src: s.into(), dst: d.into(), sport, dport, leg, proto, zone })
                } else {
                    let (src, dst) = ((s as u32).into(), (d as u32).into());
                    FlowKey::V4(KeyV4 { src, dst, sport, dport, leg, proto, zone })
                }
            },
        )
    }

    proptest! {
        #[test]
        fn words_hold_every_field(key in any_key()) {
            let back = match &key {
                FlowKey::V4(k) => FlowKey::V4(KeyV4::from_words(k.words())),
                FlowKey::V6(k) => FlowKey::V6(KeyV6::from_words(k.words())),
            };
            prop_assert_eq!(back, key);
        }

        #[test]
        fn owner_is_symmetric_and_in_range(a: u32, b: u32, salt: u64, workers in 1usize..65) {
            let (a, b) = (IpAddr::from(a.to_be_bytes()), IpAddr::from(b.to_be_bytes()));
            let it = owner(a, b, salt, workers);
            prop_assert_eq!(it, owner(b, a, salt, workers));
            prop_assert!(it < workers);
        }
    }

    #[test]
    fn owners_and_hashes_spread_over_neighbouring_addresses() {
        let mut owners = [0u32; 4];
        let mut homes = [0u32; 64];
        let hasher = KeyHasher::new(1);
        for i in 0..4096u32 {
            let client = Ipv4Addr::from(0x0A00_0000 + i);
            let server = Ipv4Addr::new(192, 0, 2, 1);
            owners[owner(client.into(), server.into(), 1, 4)] += 1;
            let key = FlowKey::tcp((client, 1024).into(), (server, 21).into(), Leg::Redirected, 0);
            homes[(hasher.key(&key.expect("one family")) & 63) as usize] += 1;
        }
        assert!(owners.iter().all(|n| (900..1150).contains(n)), "{owners:?}");
        assert!(homes.iter().all(|n| (30..110).contains(n)), "{homes:?}");
    }

    #[test]
    fn the_salt_and_the_leg_change_the_hash() {
        let (a, b) = ("10.0.0.1:5".parse().expect("literal"), "10.0.0.2:21".parse().expect("literal"));
        let near = FlowKey::tcp(a, b, Leg::Redirected, 0).expect("one family");
        let far = FlowKey::tcp(a, b, Leg::Direct, 0).expect("one family");
        let back = FlowKey::tcp(b, a, Leg::Redirected, 0).expect("one family");
        let h = KeyHasher::new(1);
        assert_ne!(h.key(&near), KeyHasher::new(2).key(&near));
        assert_ne!(h.key(&near), h.key(&far));
        assert_ne!(h.key(&near), h.key(&back));
        assert!(FlowKey::tcp(a, "[::1]:1".parse().expect("literal"), Leg::Direct, 0).is_none());
    }
}
