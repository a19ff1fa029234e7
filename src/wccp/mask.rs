//! Mask assignment: a few bits of the client's address choose the cache (draft-wilson-wrec-wccp-v2, 4.11.2,
//! 5.7.6 to 5.7.8). Hardware routers do this where they cannot hash.
//!
//! ```text
//!  mask 0x1741 on the client's address ─▶ 6 bits ─▶ 64 values, in order ─▶ one cache each
//! ```

use super::assign::{Fields, redeal};
use super::component::{Service, ServiceFlags};
use super::element::{Mask, MaskValueSet, Value};
use super::{MAX_MEMBERS, settings};
use std::net::Ipv4Addr;

/// Where the clients' addresses are in the packets of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Clients send them.
    Source,
    /// Clients receive them.
    Destination,
}

impl Side {
    /// By the hash flags, which name the same field.
    pub const fn of(service: &Service) -> Self {
        if service.flags.has(ServiceFlags::SOURCE) { Self::Source } else { Self::Destination }
    }

    /// These bits of the client's address and nothing else.
    pub const fn mask(self, bits: u32) -> Mask {
        let (source, destination) = match self {
            Self::Source => (bits, 0),
            Self::Destination => (0, bits),
        };
        Mask { source, destination, source_port: 0, destination_port: 0 }
    }
}

/// Caches and the values of one mask that are dealt to them: for either direction, so that groups of both
/// directions can have the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskTable {
    mask: u32,
    caches: Vec<Ipv4Addr>,
    /// For each value in rising order the cache's position.
    holders: Vec<Option<usize>>,
}

impl MaskTable {
    /// Deals the values of `mask`, 1 to 7 bits of it, in equal shares to `caches` (at most 32 are used, lowest
    /// addresses first). `before` tells which cache has a value now: only those values move that must.
    pub fn deal(mask: u32, caches: &[Ipv4Addr], before: impl Fn(u32) -> Option<Ipv4Addr>) -> Self {
        let mut caches = caches.to_vec();
        caches.sort_unstable();
        caches.dedup();
        caches.truncate(MAX_MEMBERS);
        let holder = |value| before(value).and_then(|cache| caches.iter().position(|c| *c == cache));
        let now: Vec<Option<usize>> = values(mask).map(holder).collect();
        let holders = redeal(now, &vec![1; caches.len()]);
        Self { mask, caches, holders }
    }

    /// Who gets values.
    pub fn caches(&self) -> &[Ipv4Addr] {
        &self.caches
    }

    /// The bits that are looked at.
    pub const fn mask(&self) -> u32 {
        self.mask
    }

    /// Whether `sets` give every value to the cache that has it here.
    pub fn agrees_with(&self, sets: &[MaskValueSet], side: Side) -> bool {
        values(self.mask).zip(&self.holders).all(|(bits, index)| {
            let cache = index.and_then(|index| self.caches.get(index).copied());
            holder(sets, side, bits) == cache
        })
    }

    /// As it is sent.
    pub fn sets(&self, side: Side) -> Vec<MaskValueSet> {
        let value = |(bits, holder): (u32, &Option<usize>)| {
            let cache = self.caches.get((*holder)?).copied()?;
            Some(Value { bits: side.mask(bits), cache })
        };
        let values = values(self.mask).zip(&self.holders).filter_map(value).collect();
        vec![MaskValueSet { mask: side.mask(self.mask), values }]
    }
}

/// The cache for a packet: of the first mask under which some value equals the packet's bits.
pub fn lookup(sets: &[MaskValueSet], fields: &Fields) -> Option<Ipv4Addr> {
    sets.iter().find_map(|set| {
        let bits = Mask {
            source: fields.source.to_bits() & set.mask.source,
            destination: fields.destination.to_bits() & set.mask.destination,
            source_port: fields.source_port & set.mask.source_port,
            destination_port: fields.destination_port & set.mask.destination_port,
        };
        set.values.iter().find(|value| value.bits == bits).map(|value| value.cache)
    })
}

/// The cache that gets what has these bits in the client's address and zeros everywhere else.
pub(super) fn holder(sets: &[MaskValueSet], side: Side, bits: u32) -> Option<Ipv4Addr> {
    let Mask { source, destination, .. } = side.mask(bits);
    let (source, destination) = (Ipv4Addr::from(source), Ipv4Addr::from(destination));
    lookup(sets, &Fields { source, destination, source_port: 0, destination_port: 0 })
}

/// How many values are a cache's, and how many there are.
pub(super) fn share(sets: &[MaskValueSet], cache: Ipv4Addr) -> (u32, u32) {
    let values = || sets.iter().flat_map(|set| &set.values);
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    (count(values().filter(|value| value.cache == cache).count()), count(values().count()))
}

/// Whether a mask has a number of bits that we deal.
pub(super) const fn is_dealable(mask: u32) -> bool {
    matches!(mask.count_ones(), 1..=settings::MASK_BITS)
}

/// Every combination of the mask's bits in rising order.
fn values(mask: u32) -> impl Iterator<Item = u32> {
    let mut next = Some(0u32);
    std::iter::from_fn(move || {
        let value = next?;
        // Subtracting the mask carries through the bits that are not in it.
        next = Some(value.wrapping_sub(mask) & mask).filter(|&value| value != 0);
        Some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CISCO: u32 = 0x1741;

    fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 9, 0, last)
    }

    #[test]
    fn values_are_all_combinations_in_order() {
        assert_eq!(values(0b101).collect::<Vec<_>>(), [0, 1, 4, 5]);
        let all: Vec<u32> = values(CISCO).collect();
        assert_eq!((all.len(), all[63]), (64, CISCO));
        assert!(all.is_sorted() && all.iter().all(|value| value & !CISCO == 0));
        assert_eq!(values(0x8000_0000).collect::<Vec<_>>(), [0, 0x8000_0000]);
    }

    #[test]
    fn every_address_finds_one_cache_and_shares_are_equal() {
        let table = MaskTable::deal(CISCO, &[ip(4), ip(2), ip(3), ip(2)], |_| None);
        let sets = table.sets(Side::Source);
        assert_eq!(table.caches(), [ip(2), ip(3), ip(4)]);
        assert_eq!([2, 3, 4].map(|n| share(&sets, ip(n))), [(22, 64), (21, 64), (21, 64)]);
        let back = table.sets(Side::Destination);
        for n in 0..5_000u32 {
            let (client, server) = (Ipv4Addr::from(n.wrapping_mul(2_654_435_761)), ip(77));
            let out = Fields { source: client, destination: server, source_port: 4000, destination_port: 21 };
            let reply =
                Fields { source: server, destination: client, source_port: 21, destination_port: 4000 };
            let cache = lookup(&sets, &out);
            assert!(cache.is_some() && cache == lookup(&back, &reply), "{client}");
            assert_eq!(cache, holder(&sets, Side::Source, client.to_bits() & CISCO));
        }
    }

    #[test]
    fn only_needed_values_move() {
        let two = MaskTable::deal(CISCO, &[ip(2), ip(9)], |_| None);
        let sets = two.sets(Side::Source);
        let three = MaskTable::deal(CISCO, &[ip(2), ip(5), ip(9)], |v| holder(&sets, Side::Source, v));
        let moved = |a: &MaskTable, b: &MaskTable| {
            let (a, b) = (a.sets(Side::Source), b.sets(Side::Source));
            values(CISCO).filter(|&v| holder(&a, Side::Source, v) != holder(&b, Side::Source, v)).count()
        };
        assert_eq!(moved(&two, &three), 21, "exactly the newcomer's share");
        let sets = three.sets(Side::Source);
        let again = MaskTable::deal(CISCO, &[ip(2), ip(9)], |v| holder(&sets, Side::Source, v));
        assert_eq!(moved(&three, &again), 21);
        let same = MaskTable::deal(CISCO, &[ip(2), ip(5), ip(9)], |v| holder(&sets, Side::Source, v));
        assert_eq!(same, three);
    }

    #[test]
    fn more_caches_than_values_leave_some_without() {
        let table = MaskTable::deal(1, &[ip(1), ip(2), ip(3)], |_| None);
        assert_eq!([1, 2, 3].map(|n| share(&table.sets(Side::Source), ip(n)).0), [1, 1, 0]);
        assert!(MaskTable::deal(1, &[], |_| None).sets(Side::Source)[0].values.is_empty());
    }

    #[test]
    fn the_first_set_that_matches_decides() {
        let value = |bits, cache| Value { bits: Side::Source.mask(bits), cache };
        let sets = [
            MaskValueSet { mask: Side::Source.mask(0xFF), values: vec![value(7, ip(2))] },
            // Traffic Server's: no bits, so everything.
            MaskValueSet { mask: Side::Source.mask(0), values: vec![value(0, ip(3)), value(0, ip(4))] },
        ];
        assert_eq!(holder(&sets, Side::Source, 7), Some(ip(2)));
        assert_eq!(holder(&sets, Side::Source, 8), Some(ip(3)));
        assert_eq!(holder(&sets[..1], Side::Source, 8), None);
        assert_eq!(
            lookup(&[], &Fields { source: ip(1), destination: ip(2), source_port: 1, destination_port: 2 }),
            None
        );
    }
}
