//! The flow table: what to do with a frame, found by its addresses and ports, shared by all workers.
//!
//! Any worker looks up, inserts and notes segments; only an entry's owner updates and removes it. The
//! protocol between them is described at the head of `slots.rs`.

use super::entry::{Action, Entry, Flags, FlowView, Live, Sticky};
use super::key::{FlowKey, KeyHasher, KeyV4, KeyV6};
use super::rewrite::{Ports, Rewrite, RewriteV4, RewriteV6};
use super::slots::{At, Copied, Found, Head, LIVE, Note, Refused, Seen, Slots};
use super::sync::Counter;
use std::collections::TryReserveError;

/// How far from its home an entry may be put, unless said otherwise.
pub const DEFAULT_PROBES: usize = 64;

/// Names an entry from its insertion to its removal, through updates; a later entry in the same slot has
/// another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlotRef {
    /// The top bit tells IPv6.
    index: u32,
    generation: u32,
}

/// What a lookup found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// The entry, whole.
    Hit(SlotRef, Entry),
    /// There is none.
    Miss,
    /// There is one, and it kept changing while it was read: give the frame to the pair's owner
    /// ([`super::key::owner`]), never treat it as a miss.
    Busy,
}

/// Why an entry was not put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// The table, or the neighbourhood of the key's home, is full.
    #[error("the flow table is full")]
    Full,
    /// The key is in the table, or another worker is putting it in at this moment.
    #[error("the flow is in the table already")]
    Exists,
    /// Key and rewrite are of different address families.
    #[error("key and rewrite differ in address family")]
    Family,
}

/// What a sweep does with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Keep,
    /// It is removed.
    Remove,
}

/// Where a sweep goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SweepCursor(usize);

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Slots looked at.
    pub examined: usize,
    /// Entries removed.
    pub removed: usize,
    /// Whether the end of the table was reached: the next sweep begins a new lap.
    pub lap: bool,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableStats {
    /// Entries put in.
    pub inserted: u64,
    /// Entries removed.
    pub removed: u64,
    /// Insertions refused: full.
    pub full: u64,
    /// Insertions refused: exists.
    pub exists: u64,
    /// Lookups that ended busy.
    pub busy: u64,
    /// Touches, updates and removals of entries that were gone.
    pub stale: u64,
}

#[derive(Default)]
struct Counters {
    inserted: Counter,
    removed: Counter,
    full: Counter,
    exists: Counter,
    busy: Counter,
    stale: Counter,
}

/// The table. Fixed size, shared by reference.
pub struct FlowTable {
    v4: Slots<2, 3>,
    v6: Slots<5, 6>,
    hasher: KeyHasher,
    counters: Counters,
}

const V6: u32 = 1 << 31;

impl FlowTable {
    /// A table of this many slots of each family (rounded up to powers of two, at least one and at most
    /// 2^30 each), of which three quarters can be filled. A slot takes 81 bytes for IPv4, 145 for IPv6.
    ///
    /// # Errors
    /// There is not so much memory.
    pub fn try_new(v4_slots: usize, v6_slots: usize, salt: u64) -> Result<Self, TryReserveError> {
        Self::with_probes(v4_slots, v6_slots, salt, DEFAULT_PROBES)
    }

    /// Like [`Self::try_new`], for tables so small that nobody asks whether they fit.
    ///
    /// # Panics
    /// They do not.
    pub fn new(v4_slots: usize, v6_slots: usize, salt: u64) -> Self {
        let table = Self::try_new(v4_slots, v6_slots, salt);
        table.unwrap_or_else(|e| panic!("no memory for {v4_slots} and {v6_slots} slots: {e}"))
    }

    /// Like [`Self::try_new`], with entries at most `probes` slots (1 to 255) from home.
    ///
    /// # Errors
    /// Likewise.
    pub fn with_probes(
        v4_slots: usize,
        v6_slots: usize,
        salt: u64,
        probes: usize,
    ) -> Result<Self, TryReserveError> {
        Ok(Self {
            v4: Slots::new(v4_slots, probes)?,
            v6: Slots::new(v6_slots, probes)?,
            hasher: KeyHasher::new(salt),
            counters: Counters::default(),
        })
    }

    /// Hashes a key and fetches what [`Self::lookup_hashed`] will read; first pass over a burst.
    #[inline]
    pub fn prefetch(&self, key: &FlowKey) -> u64 {
        let hash = self.hasher.key(key);
        match key {
            FlowKey::V4(_) => self.v4.prefetch(hash),
            FlowKey::V6(_) => self.v6.prefetch(hash),
        }
        hash
    }

    /// The entry of a key.
    #[inline]
    pub fn lookup(&self, key: &FlowKey) -> Lookup {
        self.lookup_hashed(key, self.hasher.key(key))
    }

    /// The entry of a key whose hash [`Self::prefetch`] gave; second pass over a burst.
    #[inline]
    pub fn lookup_hashed(&self, key: &FlowKey, hash: u64) -> Lookup {
        match key {
            FlowKey::V4(k) => self.answer(self.v4.lookup(hash, &k.words()), 0, entry_v4),
            FlowKey::V6(k) => self.answer(self.v6.lookup(hash, &k.words()), V6, entry_v6),
        }
    }

    /// Puts an entry in; of several workers at once with one key, one succeeds.
    ///
    /// After [`InsertError::Exists`] a lookup may still miss for the moment that the other worker needs to
    /// publish its entry.
    pub fn insert(&self, key: &FlowKey, entry: &Entry, tick: u32) -> Result<SlotRef, InsertError> {
        let (hash, meta) = (self.hasher.key(key), meta(entry));
        let (result, family) = match (key, &entry.rewrite) {
            (FlowKey::V4(k), Rewrite::V4(r)) => {
                (self.v4.insert(hash, &k.words(), &data_v4(entry, r), meta, tick), 0)
            }
            (FlowKey::V6(k), Rewrite::V6(r)) => {
                (self.v6.insert(hash, &k.words(), &data_v6(entry, r), meta, tick), V6)
            }
            _ => return Err(InsertError::Family),
        };
        match result {
            Ok(at) => {
                self.counters.inserted.add(1);
                Ok(slot_ref(at, family))
            }
            Err(Refused::Full) => {
                self.counters.full.add(1);
                Err(InsertError::Full)
            }
            Err(Refused::Exists) => {
                self.counters.exists.add(1);
                Err(InsertError::Exists)
            }
        }
    }

    /// Notes a forwarded segment: that the flow lives, how far its sequence numbers got, and what passed.
    ///
    /// `seq_end` is the sequence number after the segment, SYN and FIN counted; for a RST its sequence
    /// number, which is kept apart and moves nothing. The first segment noted fixes
    /// [`Live::first_seq`], so the SYN must be noted before the data. Costs two loads unless the tick is new
    /// or a FIN or RST passes. False if the entry is gone: look up again.
    #[inline]
    pub fn touch(&self, slot: SlotRef, tick: u32, seq_end: u32, sticky: Sticky) -> bool {
        let rst = sticky.has(Sticky::RST);
        let note = Note { end: (!rst).then_some(seq_end), rst: rst.then_some(seq_end), marks: sticky.bits() };
        let (at, v6) = at(slot);
        let held = if v6 { self.v6.touch(at, tick, note) } else { self.v4.touch(at, tick, note) };
        self.held(held)
    }

    /// Replaces what was decided, keeping key and marks. Owner only. False, and nothing done, if the entry
    /// is gone or `entry` is of the other address family.
    pub fn update(&self, slot: SlotRef, entry: &Entry) -> bool {
        let (at, v6) = at(slot);
        let held = match (&entry.rewrite, v6) {
            (Rewrite::V4(r), false) => self.v4.update(at, &data_v4(entry, r), meta(entry)),
            (Rewrite::V6(r), true) => self.v6.update(at, &data_v6(entry, r), meta(entry)),
            _ => return false,
        };
        self.held(held)
    }

    /// Removes an entry. Owner only. False if it is gone.
    pub fn remove(&self, slot: SlotRef) -> bool {
        let (at, v6) = at(slot);
        let held = if v6 { self.v6.remove(at) } else { self.v4.remove(at) };
        if held {
            self.counters.removed.add(1);
        }
        self.held(held)
    }

    /// What has been seen of an entry; none if it is gone. Owner only.
    pub fn view(&self, slot: SlotRef, now_tick: u32) -> Option<FlowView> {
        let (at, v6) = at(slot);
        let index = at.index as usize;
        let view = if v6 { self.view_v6(index, now_tick) } else { self.view_v4(index, now_tick) };
        view.filter(|view| view.slot == slot)
    }

    /// Shows the owner's entries among the next `budget` slots and removes those that it says.
    ///
    /// One lap should take less time than [`super::entry::ByteMeter`] asks for.
    pub fn sweep(
        &self,
        owner: u16,
        cursor: &mut SweepCursor,
        budget: usize,
        now_tick: u32,
        mut visit: impl FnMut(&FlowView) -> Verdict,
    ) -> Swept {
        let (v4, total) = (self.v4.count(), self.v4.count() + self.v6.count());
        let mut swept = Swept::default();
        while swept.examined < budget && !swept.lap {
            let index = cursor.0;
            let view =
                if index < v4 { self.view_v4(index, now_tick) } else { self.view_v6(index - v4, now_tick) };
            if let Some(view) = view.filter(|view| view.entry.owner == owner)
                && visit(&view) == Verdict::Remove
                && self.remove(view.slot)
            {
                swept.removed += 1;
            }
            swept.examined += 1;
            swept.lap = index + 1 >= total;
            cursor.0 = if swept.lap { 0 } else { index + 1 };
        }
        swept
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        (self.v4.used() + self.v6.used()) as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries fit at most, of both families.
    pub fn capacity(&self) -> usize {
        (self.v4.limit() + self.v6.limit()) as usize
    }

    /// How many entries of one family fit.
    pub fn room(&self, six: bool) -> usize {
        (if six { self.v6.limit() } else { self.v4.limit() }) as usize
    }

    /// Counts since the start.
    pub fn stats(&self) -> TableStats {
        let c = &self.counters;
        TableStats {
            inserted: c.inserted.get(),
            removed: c.removed.get(),
            full: c.full.get(),
            exists: c.exists.get(),
            busy: c.busy.get(),
            stale: c.stale.get(),
        }
    }

    #[inline]
    fn answer<const D: usize>(
        &self,
        found: Found<D>,
        family: u32,
        entry: impl Fn(&Copied<D>) -> Entry,
    ) -> Lookup {
        match found {
            Found::Hit(copied) => Lookup::Hit(slot_ref(copied.at, family), entry(&copied)),
            Found::Miss => Lookup::Miss,
            Found::Busy => {
                self.counters.busy.add(1);
                Lookup::Busy
            }
        }
    }

    #[inline]
    fn held(&self, held: bool) -> bool {
        if !held {
            self.counters.stale.add(1);
        }
        held
    }

    fn view_v4(&self, index: usize, now_tick: u32) -> Option<FlowView> {
        let (copied, seen) = self.v4.view(index)?;
        let key = FlowKey::V4(KeyV4::from_words(seen.key));
        let live = live(&seen, copied.head, now_tick);
        Some(FlowView { slot: slot_ref(copied.at, 0), key, entry: entry_v4(&copied), live })
    }

    fn view_v6(&self, index: usize, now_tick: u32) -> Option<FlowView> {
        let (copied, seen) = self.v6.view(index)?;
        let key = FlowKey::V6(KeyV6::from_words(seen.key));
        let live = live(&seen, copied.head, now_tick);
        Some(FlowView { slot: slot_ref(copied.at, V6), key, entry: entry_v6(&copied), live })
    }
}

impl core::fmt::Debug for FlowTable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("FlowTable").field("len", &self.len()).field("capacity", &self.capacity()).finish()
    }
}

const fn slot_ref(at: At, family: u32) -> SlotRef {
    SlotRef { index: at.index | family, generation: at.generation }
}

const fn at(slot: SlotRef) -> (At, bool) {
    (At { index: slot.index & !V6, generation: slot.generation }, slot.index & V6 != 0)
}

fn live<const K: usize>(seen: &Seen<K>, head: Head, now_tick: u32) -> Live {
    let ago = now_tick.wrapping_sub(seen.tick);
    Live {
        tick: seen.tick,
        idle: if ago as i32 > 0 { ago } else { 0 },
        first_seq: seen.first_seq,
        last_seq: seen.last_seq,
        rst_seq: seen.rst_seq,
        sticky: Sticky::from_bits(head.marks()),
    }
}

const fn meta(entry: &Entry) -> u64 {
    let (state, leg) = match entry.action {
        Action::Translate => (LIVE, 0),
        Action::Session { leg } => (LIVE + 1, leg),
        Action::TimeWait => (LIVE + 2, 0),
        Action::Reset => (LIVE + 3, 0),
    };
    Head::meta(entry.flags.bits(), leg, state, entry.epoch)
}

const fn ident(entry: &Entry) -> u64 {
    (entry.id as u64) << 32 | (entry.owner as u64) << 16 | entry.next_hop as u64
}

const fn ports_word(p: &Ports) -> u64 {
    (p.sport as u64) << 48 | (p.dport as u64) << 32 | (p.l3 as u64) << 16 | p.l4 as u64
}

const fn word_ports(w: u64) -> Ports {
    Ports { sport: (w >> 48) as u16, dport: (w >> 32) as u16, l3: (w >> 16) as u16, l4: w as u16 }
}

fn data_v4(entry: &Entry, r: &RewriteV4) -> [u64; 3] {
    let addresses = u64::from(u32::from(r.src)) << 32 | u64::from(u32::from(r.dst));
    [ident(entry), addresses, ports_word(&r.ports)]
}

fn data_v6(entry: &Entry, r: &RewriteV6) -> [u64; 6] {
    let (s, d) = (u128::from(r.src), u128::from(r.dst));
    [ident(entry), (s >> 64) as u64, s as u64, (d >> 64) as u64, d as u64, ports_word(&r.ports)]
}

#[inline]
fn entry_v4(copied: &Copied<3>) -> Entry {
    let [ident, addresses, ports] = copied.data;
    let (src, dst) = (((addresses >> 32) as u32).into(), (addresses as u32).into());
    entry(ident, copied.head, Rewrite::V4(RewriteV4 { src, dst, ports: word_ports(ports) }))
}

fn entry_v6(copied: &Copied<6>) -> Entry {
    let [ident, s1, s0, d1, d0, ports] = copied.data;
    let wide = |high, low| u128::from(high) << 64 | u128::from(low);
    let (src, dst) = (wide(s1, s0).into(), wide(d1, d0).into());
    entry(ident, copied.head, Rewrite::V6(RewriteV6 { src, dst, ports: word_ports(ports) }))
}

#[inline]
const fn entry(ident: u64, head: Head, rewrite: Rewrite) -> Entry {
    let action = match head.state() - LIVE {
        0 => Action::Translate,
        1 => Action::Session { leg: head.leg() },
        2 => Action::TimeWait,
        _ => Action::Reset,
    };
    Entry {
        owner: (ident >> 16) as u16,
        next_hop: ident as u16,
        id: (ident >> 32) as u32,
        epoch: head.epoch(),
        action,
        flags: Flags::from_bits(head.flags()),
        rewrite,
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
