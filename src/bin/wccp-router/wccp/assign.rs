//! From a packet to a cache: does the service want it, and which bucket is it in.

use super::codec::{Assignment, BUCKETS, Bits, MaskSet, Part, Service, UNASSIGNED};
use std::net::Ipv4Addr;

const PORTS_DEFINED: u32 = 0x0010;
const PORTS_SOURCE: u32 = 0x0020;

/// What of a packet decides on its redirection.
#[derive(Debug, Clone, Copy)]
pub struct PacketKey {
    /// IP protocol.
    pub proto: u8,
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Source and destination port, where the packet has them.
    pub ports: Option<(u16, u16)>,
}

/// A network: an address in it and the length of its prefix in bits.
pub type Network = (Ipv4Addr, u8);

/// The access list of a group.
#[derive(Debug, Clone, Default)]
pub struct RedirectList {
    /// Networks that packets must come from; none: any.
    pub permit_from: Vec<Network>,
    /// Networks that packets must go to; none: any.
    pub permit_to: Vec<Network>,
    /// Ports, at either end, that are left out.
    pub deny_ports: Vec<u16>,
}

impl RedirectList {
    /// Whether a packet that the service is about may be redirected.
    pub fn permits(&self, packet: &PacketKey) -> bool {
        let within = |list: &[Network], addr| list.is_empty() || list.iter().any(|n| contains(*n, addr));
        let denied = packet.ports.is_some_and(|(s, d)| self.deny_ports.iter().any(|p| *p == s || *p == d));
        !denied && within(&self.permit_from, packet.src) && within(&self.permit_to, packet.dst)
    }
}

/// Whether `network` has this address.
pub fn contains(network: Network, addr: Ipv4Addr) -> bool {
    let shift = 32 - u32::from(network.1.min(32));
    (u64::from(network.0.to_bits()) >> shift) == (u64::from(addr.to_bits()) >> shift)
}

/// Whether `service` is about this packet.
pub fn matches(service: &Service, packet: &PacketKey) -> bool {
    if service.protocol() != packet.proto {
        return false;
    }
    let flags = service.flags();
    if flags & PORTS_DEFINED == 0 {
        return true;
    }
    packet.ports.is_some_and(|(src, dst)| {
        let port = if flags & PORTS_SOURCE != 0 { src } else { dst };
        service.ports().any(|p| p == port)
    })
}

/// The bucket of a packet by the hash flags (low four bits of `flags`): all octets of the chosen fields,
/// one after the other, joined by exclusive or.
pub fn bucket(flags: u32, packet: &PacketKey) -> u8 {
    let mut key = 0u32;
    let (src_port, dst_port) = packet.ports.unwrap_or_default();
    let fields = [packet.src.to_bits(), packet.dst.to_bits(), u32::from(src_port), u32::from(dst_port)];
    for (bit, field) in fields.into_iter().enumerate() {
        if flags & (1 << bit) != 0 {
            key ^= field;
        }
    }
    key ^= key >> 16;
    key ^= key >> 8;
    key as u8
}

/// Where a packet goes, and what the redirect header says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The cache.
    pub cache: Ipv4Addr,
    /// The bucket by the primary hash; 0 where a mask decided.
    pub primary: u8,
    /// The bucket by the alternate hash, if it was used.
    pub alternate: Option<u8>,
}

/// The cache for a packet by masks: the first set with a value that equals the packet's bits decides.
fn by_mask(sets: &[MaskSet], packet: &PacketKey) -> Option<Ipv4Addr> {
    let (src_port, dst_port) = packet.ports.unwrap_or_default();
    sets.iter().find_map(|set| {
        let seen = Bits {
            src: packet.src.to_bits() & set.mask.src,
            dst: packet.dst.to_bits() & set.mask.dst,
            ports: (src_port & set.mask.ports.0, dst_port & set.mask.ports.1),
        };
        set.values.iter().find(|(bits, _)| *bits == seen).map(|(_, cache)| *cache)
    })
}

/// An assignment in force, whose indexes were checked.
#[derive(Debug, Clone)]
pub struct Table(pub Assignment);

impl Table {
    /// The cache for a packet of `service`, if its bucket or value has one.
    pub fn choose(&self, service: &Service, packet: &PacketKey) -> Option<Choice> {
        let (caches, buckets) = match &self.0 {
            Assignment::Hash { caches, buckets } => (caches, buckets),
            Assignment::Mask(sets) => {
                let cache = by_mask(sets, packet)?;
                return Some(Choice { cache, primary: 0, alternate: None });
            }
        };
        let flags = service.flags();
        let primary = bucket(flags, packet);
        let entry = buckets[usize::from(primary)];
        if entry == UNASSIGNED {
            return None;
        }
        let alternate = (entry & 0x80 != 0).then(|| bucket(flags >> 8, packet));
        let entry = alternate.map_or(entry, |b| buckets[usize::from(b)]);
        if entry == UNASSIGNED {
            return None;
        }
        let cache = *caches.get(usize::from(entry & 0x7f))?;
        Some(Choice { cache, primary, alternate })
    }

    /// Takes everything away from `cache`.
    pub fn purge(&mut self, cache: Ipv4Addr) {
        match &mut self.0 {
            Assignment::Hash { caches, buckets } => {
                for b in buckets.iter_mut().filter(|b| has(caches, **b, cache)) {
                    *b = UNASSIGNED;
                }
            }
            Assignment::Mask(sets) => sets.iter_mut().for_each(|s| s.values.retain(|v| v.1 != cache)),
        }
    }

    /// What is `cache`'s: its buckets as a bitmap (bucket b is bit b % 8 of byte b / 8), or its values.
    pub fn part(&self, cache: Ipv4Addr) -> Part {
        match &self.0 {
            Assignment::Hash { caches, buckets } => {
                let mut map = [0u8; 32];
                for (n, _) in buckets.iter().enumerate().filter(|(_, b)| has(caches, **b, cache)) {
                    map[n / 8] |= 1 << (n % 8);
                }
                Part::Buckets(Some(map))
            }
            Assignment::Mask(sets) => {
                let own = |s: &MaskSet| {
                    let values = s.values.iter().copied().filter(|v| v.1 == cache).collect();
                    MaskSet { mask: s.mask, values }
                };
                Part::Values(Some(sets.iter().map(own).collect()))
            }
        }
    }

    /// How many buckets or values `cache` has, and how many there are.
    pub fn share(&self, cache: Ipv4Addr) -> (usize, usize) {
        match &self.0 {
            Assignment::Hash { caches, buckets } => {
                (buckets.iter().filter(|b| has(caches, **b, cache)).count(), BUCKETS)
            }
            Assignment::Mask(sets) => {
                let all = || sets.iter().flat_map(|s| &s.values);
                (all().filter(|v| v.1 == cache).count(), all().count())
            }
        }
    }
}

/// Whether a bucket's entry names this cache.
fn has(caches: &[Ipv4Addr], entry: u8, cache: Ipv4Addr) -> bool {
    entry != UNASSIGNED && caches.get(usize::from(entry & 0x7f)) == Some(&cache)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(src: [u8; 4], dst: [u8; 4], ports: (u16, u16)) -> PacketKey {
        PacketKey { proto: 6, src: src.into(), dst: dst.into(), ports: Some(ports) }
    }

    fn service(flags: u32, ports: &[u16]) -> Service {
        let mut b = [0u8; 24];
        b[..4].copy_from_slice(&[1, 61, 240, 6]);
        b[4..8].copy_from_slice(&flags.to_be_bytes());
        for (i, p) in ports.iter().enumerate() {
            b[8 + 2 * i..10 + 2 * i].copy_from_slice(&p.to_be_bytes());
        }
        Service(b)
    }

    #[test]
    fn the_hash_gives_the_published_buckets() {
        for (addr, expected) in
            [([192, 0, 2, 1], 195), ([198, 51, 100, 2], 147), ([10, 0, 0, 1], 11), ([203, 0, 113, 200], 114)]
        {
            let p = packet(addr, [9, 9, 9, 9], (1, 2));
            assert_eq!(bucket(0x1, &p), expected, "{addr:?} as source");
            let p = packet([9, 9, 9, 9], addr, (1, 2));
            assert_eq!(bucket(0x2, &p), expected, "{addr:?} as destination");
        }
        assert_eq!(bucket(0x3, &packet([192, 0, 2, 1], [198, 51, 100, 2], (0, 0))), 80);
        assert_eq!(bucket(0, &packet([192, 0, 2, 1], [198, 51, 100, 2], (3, 4))), 0);
        assert_eq!(bucket(0xc, &packet([0; 4], [0; 4], (0x1234, 0x0021))), 0x12 ^ 0x34 ^ 0x21);
    }

    #[test]
    fn ports_are_looked_for_on_the_side_that_the_flags_say() {
        let out = packet([10, 0, 0, 10], [10, 1, 0, 10], (40000, 21));
        let back = packet([10, 1, 0, 10], [10, 0, 0, 10], (21, 40000));
        let dst = service(0x11, &[21, 20, 2020]);
        assert!(matches(&dst, &out) && !matches(&dst, &back));
        let src = service(0x32, &[21, 20]);
        assert!(!matches(&src, &out) && matches(&src, &back));
        let any = service(0x01, &[]);
        assert!(matches(&any, &out) && matches(&any, &back));
        assert!(!matches(&any, &PacketKey { proto: 17, ..out }));
        assert!(!matches(&dst, &PacketKey { ports: None, ..out }), "a later fragment shows no ports");
        assert!(matches(&Service([0; 24]), &PacketKey { ports: Some((4, 80)), ..out }), "standard service 0");
    }

    #[test]
    fn the_redirect_list_looks_at_networks_and_ports() {
        let out = packet([10, 0, 0, 10], [10, 1, 0, 10], (40000, 21));
        let back = packet([10, 1, 0, 10], [10, 0, 0, 10], (2020, 40000));
        assert!(RedirectList::default().permits(&out));
        let clients: Vec<Network> = vec![([10, 0, 0, 0].into(), 24), ([192, 0, 2, 1].into(), 32)];
        let to_clients = RedirectList { permit_to: clients.clone(), ..RedirectList::default() };
        assert!(to_clients.permits(&back) && !to_clients.permits(&out));
        let from_clients = RedirectList { permit_from: clients, ..RedirectList::default() };
        assert!(from_clients.permits(&out) && !from_clients.permits(&back));
        let no_data = RedirectList { deny_ports: vec![2020], ..from_clients };
        assert!(no_data.permits(&out));
        let data = PacketKey { ports: Some((40000, 2020)), ..out };
        assert!(!no_data.permits(&data), "a listed network, but a denied port");
        assert!(contains(([10, 0, 0, 0].into(), 0), [203, 0, 113, 1].into()));
        assert!(!contains(([10, 0, 0, 0].into(), 31), [10, 0, 0, 2].into()));
    }

    #[test]
    fn buckets_lead_to_caches_also_by_the_alternate_hash() {
        let (a, b) = (Ipv4Addr::new(10, 9, 0, 2), Ipv4Addr::new(10, 9, 0, 3));
        let mut buckets = Box::new([UNASSIGNED; BUCKETS]);
        buckets[11] = 0; // of source 10.0.0.1
        buckets[12] = 0x80 | 1; // of source 10.0.0.6: look again, by destination
        buckets[147] = 1; // of destination 198.51.100.2
        let mut table = Table(Assignment::Hash { caches: vec![a, b], buckets });
        let s = service(0x0211, &[21]);
        let to = |src, dst| packet(src, dst, (1, 21));
        let direct = table.choose(&s, &to([10, 0, 0, 1], [192, 0, 2, 1]));
        assert_eq!(direct, Some(Choice { cache: a, primary: 11, alternate: None }));
        let again = table.choose(&s, &to([10, 0, 0, 6], [198, 51, 100, 2]));
        assert_eq!(again, Some(Choice { cache: b, primary: 12, alternate: Some(147) }));
        assert_eq!(table.choose(&s, &to([10, 0, 0, 6], [192, 0, 2, 1])), None, "alternate bucket has none");
        assert_eq!(table.choose(&s, &to([10, 0, 0, 7], [192, 0, 2, 1])), None);
        let Part::Buckets(Some(bitmap)) = table.part(a) else { panic!() };
        assert_eq!((bitmap[1], table.share(a), table.share(b)), (1 << 3, (1, 256), (2, 256)));
        table.purge(a);
        assert_eq!(table.choose(&s, &to([10, 0, 0, 1], [192, 0, 2, 1])), None);
        assert_eq!((table.share(a), table.share(b)), ((0, 256), (2, 256)));
    }

    #[test]
    fn masked_bits_lead_to_caches_in_the_order_of_the_sets() {
        let (a, b) = (Ipv4Addr::new(10, 9, 0, 2), Ipv4Addr::new(10, 9, 0, 3));
        let src = |src| Bits { src, ..Bits::default() };
        let ports = |ports| Bits { ports, ..Bits::default() };
        let sets = vec![
            MaskSet { mask: src(0x0001), values: vec![(src(1), a), (src(1), b)] },
            MaskSet { mask: ports((0, 0xffff)), values: vec![(ports((0, 21)), b)] },
        ];
        let mut table = Table(Assignment::Mask(sets));
        let s = service(0x11, &[21]);
        let to = |last, port| packet([10, 0, 0, last], [192, 0, 2, 1], (1, port));
        let choice = |cache| Some(Choice { cache, primary: 0, alternate: None });
        assert_eq!(table.choose(&s, &to(7, 21)), choice(a), "the first value, the first set");
        assert_eq!(table.choose(&s, &to(6, 21)), choice(b), "the second set");
        assert_eq!(table.choose(&s, &to(6, 20)), None);
        assert_eq!((table.share(a), table.share(b)), ((1, 3), (2, 3)));
        table.purge(a);
        assert_eq!(table.choose(&s, &to(7, 20)), choice(b));
        assert_eq!(table.share(a), (0, 2));
    }
}
