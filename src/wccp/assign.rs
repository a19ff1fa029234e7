//! Which cache gets a packet, and how buckets are dealt to a farm (draft-wilson-wrec-wccp-v2, 4.11.1, 5.6.2).
//!
//! The hash folds the selected fields by exclusive or down to one byte, so it equals the exclusive or of all
//! their bytes, whatever their order.

use super::component::{Bucket, HashTable, Service, ServiceFlags, ServiceKind};
use super::{MAX_MEMBERS, element::Bitmap};
use std::net::Ipv4Addr;

/// The fields of a packet that a service may hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fields {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Source port, 0 if the protocol has none.
    pub source_port: u16,
    /// Destination port, 0 if the protocol has none.
    pub destination_port: u16,
}

/// The cache for a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Who gets it.
    pub cache: Ipv4Addr,
    /// Whether the alternate hash decided.
    pub alternate: bool,
}

impl Service {
    /// The bucket of a packet. The standard service has no flags on the wire and hashes the destination.
    pub fn primary_bucket(&self, fields: &Fields) -> u8 {
        match self.kind {
            ServiceKind::Standard => hash(ServiceFlags::DESTINATION, fields),
            ServiceKind::Dynamic => hash(self.flags.0, fields),
        }
    }

    /// The bucket by the alternate flags; 0 if there are none.
    pub fn alternate_bucket(&self, fields: &Fields) -> u8 {
        hash(self.flags.0 >> ServiceFlags::ALTERNATE_SHIFT, fields)
    }
}

impl HashTable {
    /// Nobody gets anything.
    pub fn empty() -> Self {
        Self { caches: Vec::new(), buckets: Box::new([Bucket::Unassigned; 256]) }
    }

    /// The cache for these two buckets; `None`: the router forwards the packet itself.
    pub fn lookup(&self, primary: u8, alternate: u8) -> Option<Choice> {
        match self.bucket(primary) {
            Bucket::Unassigned => None,
            Bucket::Cache { index, alternate: false } => self.choice(index, false),
            Bucket::Cache { alternate: true, .. } => match self.bucket(alternate) {
                Bucket::Unassigned => None,
                // A second request for the alternate hash would have no end: its index counts.
                Bucket::Cache { index, .. } => self.choice(index, true),
            },
        }
    }

    /// The buckets of one cache.
    pub fn buckets_of(&self, cache: Ipv4Addr) -> Bitmap {
        let mut bitmap = Bitmap::default();
        for bucket in 0..=u8::MAX {
            if let Bucket::Cache { index, .. } = self.bucket(bucket)
                && self.caches.get(usize::from(index)) == Some(&cache)
            {
                bitmap.insert(bucket);
            }
        }
        bitmap
    }

    /// Deals the buckets to `farm`, (address, weight) each, in proportion to the weights (all 0: equally).
    ///
    /// Only the buckets move that must: those of caches that are gone, and those above a cache's share. At
    /// most 32 caches are used, lowest addresses first.
    pub fn deal(&self, farm: &[(Ipv4Addr, u16)]) -> Self {
        let mut farm = farm.to_vec();
        farm.sort_unstable();
        farm.dedup_by_key(|member| member.0);
        farm.truncate(MAX_MEMBERS);
        let caches: Vec<Ipv4Addr> = farm.iter().map(|member| member.0).collect();
        // By position in the new list, who has each bucket now.
        let holder: Vec<Option<usize>> = (0..=u8::MAX)
            .map(|bucket| match self.bucket(bucket) {
                Bucket::Unassigned => None,
                Bucket::Cache { index, .. } => {
                    let cache = self.caches.get(usize::from(index))?;
                    caches.iter().position(|c| c == cache)
                }
            })
            .collect();
        let weights: Vec<u16> = farm.iter().map(|member| member.1).collect();
        let dealt = redeal(holder, &weights);
        let mut table = Self { caches, buckets: Box::new([Bucket::Unassigned; 256]) };
        for (bucket, index) in table.buckets.iter_mut().zip(dealt) {
            if let Some(index) = index.and_then(|index| u8::try_from(index).ok()) {
                *bucket = Bucket::Cache { index, alternate: false };
            }
        }
        table
    }

    /// The table that caches' own bitmaps describe; a bucket that two claim goes to the first.
    pub fn from_bitmaps<'a>(members: impl Iterator<Item = (Ipv4Addr, &'a Bitmap)>) -> Self {
        let mut table = Self::empty();
        for (cache, bitmap) in members.take(MAX_MEMBERS) {
            let Ok(index) = u8::try_from(table.caches.len()) else { break };
            table.caches.push(cache);
            for (number, bucket) in (0..=u8::MAX).zip(table.buckets.iter_mut()) {
                if *bucket == Bucket::Unassigned && bitmap.contains(number) {
                    *bucket = Bucket::Cache { index, alternate: false };
                }
            }
        }
        table
    }

    fn bucket(&self, number: u8) -> Bucket {
        self.buckets[usize::from(number)]
    }

    fn choice(&self, index: u8, alternate: bool) -> Option<Choice> {
        self.caches.get(usize::from(index)).map(|&cache| Choice { cache, alternate })
    }
}

/// The bucket for the fields that the low four bits of `flags` select.
fn hash(flags: u32, fields: &Fields) -> u8 {
    let fold = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum ^ byte);
    let mut bucket = 0;
    if flags & ServiceFlags::SOURCE != 0 {
        bucket ^= fold(&fields.source.octets());
    }
    if flags & ServiceFlags::DESTINATION != 0 {
        bucket ^= fold(&fields.destination.octets());
    }
    if flags & ServiceFlags::SOURCE_PORT != 0 {
        bucket ^= fold(&fields.source_port.to_be_bytes());
    }
    if flags & ServiceFlags::DESTINATION_PORT != 0 {
        bucket ^= fold(&fields.destination_port.to_be_bytes());
    }
    bucket
}

/// Deals places, each held by a cache (by position) or by none, in proportion to the caches' weights (all 0:
/// equally). Only those places change hands that must.
pub(super) fn redeal(holder: Vec<Option<usize>>, weights: &[u16]) -> Vec<Option<usize>> {
    let mut room = shares(weights, &holder);
    let mut dealt: Vec<Option<usize>> =
        holder.into_iter().map(|h| h.filter(|&index| take(&mut room, index))).collect();
    let mut turn = 0;
    for place in dealt.iter_mut().filter(|place| place.is_none()) {
        *place = next_with_room(&mut room, &mut turn);
    }
    dealt
}

/// How many of the places each gets. Where the division leaves a rest, those that hold most keep it, so
/// that nothing moves for the rest's sake.
fn shares(weights: &[u16], holder: &[Option<usize>]) -> Vec<u32> {
    let all_zero = weights.iter().all(|weight| *weight == 0);
    let weights: Vec<u32> = weights.iter().map(|&w| if all_zero { 1 } else { u32::from(w) }).collect();
    let places = u32::try_from(holder.len()).unwrap_or(0);
    let total: u32 = weights.iter().sum::<u32>().max(1);
    let mut shares: Vec<u32> = weights.iter().map(|weight| weight * places / total).collect();
    let mut order: Vec<usize> =
        (0..weights.len()).filter(|&i| weights.get(i).is_some_and(|&w| w > 0)).collect();
    let rest = |i: usize| weights.get(i).map_or(0, |weight| weight * places % total);
    let held = |i: usize| holder.iter().filter(|h| **h == Some(i)).count();
    order.sort_by_key(|&i| std::cmp::Reverse((rest(i), held(i), std::cmp::Reverse(i))));
    let left = places - shares.iter().sum::<u32>().min(places);
    for index in order.into_iter().take(usize::try_from(left).unwrap_or(0)) {
        if let Some(share) = shares.get_mut(index) {
            *share += 1;
        }
    }
    shares
}

fn take(room: &mut [u32], index: usize) -> bool {
    match room.get_mut(index) {
        Some(left) if *left > 0 => {
            *left -= 1;
            true
        }
        _ => false,
    }
}

fn next_with_room(room: &mut [u32], turn: &mut usize) -> Option<usize> {
    for _ in 0..room.len() {
        let index = *turn % room.len();
        *turn = index + 1;
        if take(room, index) {
            return Some(index);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    fn service(flags: u32) -> Service {
        Service {
            kind: ServiceKind::Dynamic,
            id: 61,
            priority: 240,
            protocol: 6,
            flags: ServiceFlags(flags),
            ports: [0; 8],
        }
    }

    fn fields(source: &str, destination: &str) -> Fields {
        Fields { source: ip(source), destination: ip(destination), source_port: 0x1234, destination_port: 21 }
    }

    fn count(table: &HashTable, cache: &str) -> u32 {
        table.buckets_of(ip(cache)).count()
    }

    #[test]
    fn known_buckets() {
        let by_source = service(ServiceFlags::SOURCE);
        for (address, bucket) in
            [("192.0.2.1", 195), ("198.51.100.2", 147), ("10.0.0.1", 11), ("203.0.113.200", 114)]
        {
            assert_eq!(by_source.primary_bucket(&fields(address, "1.2.3.4")), bucket, "{address}");
        }
        let both = service(ServiceFlags::SOURCE | ServiceFlags::DESTINATION);
        assert_eq!(both.primary_bucket(&fields("192.0.2.1", "198.51.100.2")), 80);
        let ports = service(ServiceFlags::SOURCE_PORT | ServiceFlags::DESTINATION_PORT);
        assert_eq!(ports.primary_bucket(&fields("1.2.3.4", "1.2.3.4")), 0x12 ^ 0x34 ^ 21);
        assert_eq!(service(0x0100).alternate_bucket(&fields("192.0.2.1", "9.9.9.9")), 195);
        let standard = Service { kind: ServiceKind::Standard, ..service(0) };
        assert_eq!(standard.primary_bucket(&fields("9.9.9.9", "192.0.2.1")), 195);
    }

    #[test]
    fn n33_unassigned_is_forwarded_and_the_alternate_hash_is_asked_once() {
        let flow = fields("192.0.2.1", "1.2.3.4");
        let by_source = service(ServiceFlags::SOURCE);
        let mut table = HashTable::empty();
        assert_eq!(table.lookup(by_source.primary_bucket(&flow), by_source.alternate_bucket(&flow)), None);
        table.caches = vec![ip("10.0.0.1"), ip("10.0.0.2")];
        table.buckets[195] = Bucket::Cache { index: 0, alternate: true };
        assert_eq!(table.lookup(195, 0), None);
        table.buckets[0] = Bucket::Cache { index: 1, alternate: true };
        assert_eq!(table.lookup(195, 0), Some(Choice { cache: ip("10.0.0.2"), alternate: true }));
    }

    #[test]
    fn one_cache_gets_all_and_none_gets_none() {
        let all = HashTable::empty().deal(&[(ip("10.0.0.1"), 0)]);
        assert_eq!(count(&all, "10.0.0.1"), 256);
        let none = all.deal(&[]);
        assert!(none.buckets.iter().all(|bucket| *bucket == Bucket::Unassigned));
        assert!(none.caches.is_empty());
    }

    #[test]
    fn shares_follow_weights() {
        let table = HashTable::empty().deal(&[(ip("10.0.0.1"), 3), (ip("10.0.0.2"), 1), (ip("10.0.0.3"), 0)]);
        assert_eq!(
            ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|cache| count(&table, cache)),
            [192, 64, 0],
            "a weight of 0 beside others gets nothing"
        );
        let three = HashTable::empty().deal(&[(ip("10.0.0.3"), 7), (ip("10.0.0.1"), 7), (ip("10.0.0.2"), 7)]);
        assert_eq!(["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|cache| count(&three, cache)), [86, 85, 85]);
        assert!(three.caches.is_sorted(), "addresses in order, whatever order they came in");
    }

    #[test]
    fn only_needed_buckets_move() {
        let [a, b, c] = ["10.0.0.1", "10.0.0.2", "10.0.0.9"].map(|address| (ip(address), 0));
        let two = HashTable::empty().deal(&[a, c]);
        let three = two.deal(&[a, b, c]);
        let moved = |old: &HashTable, new: &HashTable| -> Vec<(Option<Choice>, Option<Choice>)> {
            (0..=u8::MAX)
                .map(|n| (old.lookup(n, 0), new.lookup(n, 0)))
                .filter(|(before, after)| before.map(|c| c.cache) != after.map(|c| c.cache))
                .collect()
        };
        let joins = moved(&two, &three);
        assert_eq!(joins.len(), 85, "exactly the newcomer's share");
        assert!(joins.iter().all(|(_, after)| after.unwrap().cache == b.0));
        let again = three.deal(&[a, c]);
        assert_eq!(moved(&three, &again).len(), 85);
        assert!(moved(&three, &again).iter().all(|(before, _)| before.unwrap().cache == b.0));
        assert_eq!(three.deal(&[a, b, c]), three);
    }

    #[test]
    fn a_table_comes_back_from_its_bitmaps() {
        let farm: Vec<(Ipv4Addr, u16)> = (1..=32).map(|n| (Ipv4Addr::new(10, 0, 0, n), 0)).collect();
        let table = HashTable::empty().deal(&farm);
        let bitmaps: Vec<(Ipv4Addr, Bitmap)> = farm.iter().map(|m| (m.0, table.buckets_of(m.0))).collect();
        assert_eq!(HashTable::from_bitmaps(bitmaps.iter().map(|(cache, bitmap)| (*cache, bitmap))), table);
        assert!(bitmaps.iter().all(|(_, bitmap)| bitmap.count() == 8));
    }
}
