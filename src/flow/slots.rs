//! The slots under the flow table: one array of one key width, shared, lock-free, all fields atomic.
//!
//! A slot's first word, its *head*, says everything about its state:
//!
//! ```text
//!  63    60 59   56 55    52 51   48 47        32 31              8 7          0
//! +--------+-------+--------+-------+------------+-----------------+------------+
//! | flags  |  leg  | state  | marks |   epoch    |   generation    |  updates   |
//! +--------+-------+--------+-------+------------+-----------------+------------+
//!                                                 '---- version, odd: in change -'
//!
//!   free ──claim──▶ claimed ──▶ pending ──▶ live ◀──▶ live, in update
//!    ▲  generation+1            │ (lost to a twin)     │
//!    └──────────────────────────┴──────────────────────┘ remove
//! ```
//!
//! - *Claim*: a CAS from free to an odd version makes the slot one thread's own. It writes key and data, and
//!   shows them as *pending*. Then it looks for twins, live or pending entries of the same key: a live one, or
//!   a pending one nearer to the key's home, and it gives up; a pending one farther from home is freed by CAS.
//!   Then a CAS from pending to live publishes, and fails if a twin freed it. Each thread shows its own
//!   entry before it looks for others, with a sequentially consistent fence between, so of two twins at
//!   least one sees the other, and never do both become live.
//! - *Read*: head, key, data, head again. Another version means that the data may be torn; after a few
//!   tries the answer is busy, never a miss. Keys are constant while a generation is pending or live.
//! - *Update*: only by the owner, odd version while the data change.
//! - *Remove*: one CAS. A live entry never moves, so a reader on its way along a probe path cannot miss it.
//!
//! Each home position remembers how far from it an entry was ever put (`reach`); lookups go no farther, so
//! most misses touch no slot at all and freed slots cost nothing. It grows only; the load limit (three
//! quarters) keeps it small.
//!
//! Generations have 24 bits: a reference to a slot would be taken for valid again after 2^24 reuses of that
//! one slot, during which its holder would have to stand still.

use super::sync::{AtomicU8, AtomicU64, Counter, Ordering, fence, spin_loop};
use std::collections::TryReserveError;

/// How often a reader tries again before it says busy.
const READ_TRIES: u32 = if cfg!(loom) { 1 } else { 8 };

const UPDATES: u64 = 0xFF;
const VERSION: u64 = 0xFFFF_FFFF;
const MARKS_AT: u32 = 48;
const STATE_AT: u32 = 52;
const MARKS: u64 = 0xF << MARKS_AT;
const FREE: u64 = 0;
const CLAIMED: u64 = 1;
const PENDING: u64 = 2;
/// The lowest state that counts as live.
pub(crate) const LIVE: u64 = 3;

/// A head word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head(u64);

impl Head {
    /// The upper half of a live entry's head: what a caller chooses.
    pub(crate) const fn meta(flags: u8, leg: u8, state: u64, epoch: u16) -> u64 {
        (flags as u64 & 0xF) << 60 | (leg as u64 & 0xF) << 56 | state << STATE_AT | (epoch as u64) << 32
    }
    pub(crate) const fn flags(self) -> u8 {
        (self.0 >> 60) as u8
    }
    pub(crate) const fn leg(self) -> u8 {
        (self.0 >> 56) as u8 & 0xF
    }
    pub(crate) const fn state(self) -> u64 {
        self.0 >> STATE_AT & 0xF
    }
    pub(crate) const fn marks(self) -> u8 {
        (self.0 >> MARKS_AT) as u8 & 0xF
    }
    pub(crate) const fn epoch(self) -> u16 {
        (self.0 >> 32) as u16
    }
    pub(crate) const fn generation(self) -> u32 {
        (self.0 as u32) >> 8
    }
    const fn is_live(self) -> bool {
        self.state() >= LIVE
    }
    const fn is_odd(self) -> bool {
        self.0 & 1 != 0
    }
    const fn same_version(self, other: Self) -> bool {
        (self.0 ^ other.0) & VERSION == 0
    }
    /// Of the next generation, free.
    const fn freed(self) -> Self {
        Self((self.0 & VERSION & !UPDATES).wrapping_add(UPDATES + 1) & VERSION)
    }
    /// Of this generation, in `state`, its update count one higher.
    const fn stepped(self, meta: u64) -> Self {
        let updates = (self.0 & UPDATES).wrapping_add(1) & UPDATES;
        Self(self.0 & (VERSION & !UPDATES) | updates | meta)
    }
    const fn with_state(self, state: u64) -> Self {
        Self(self.0 & !(0xF << STATE_AT) | state << STATE_AT)
    }
}

/// A slot: key of `K` words, data of `D` words. The words left to the next multiple of 64 bytes are kept for
/// the sequence deltas of spliced connections.
#[repr(C, align(64))]
struct Slot<const K: usize, const D: usize> {
    head: AtomicU64,
    /// Tick and last sequence number.
    live: AtomicU64,
    key: [AtomicU64; K],
    data: [AtomicU64; D],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Slot<2, 3>>() == 64 && size_of::<Slot<5, 6>>() == 128);

/// What is rarely needed, apart from the slots: generation, valid bit and sequence number in each word.
struct Cold {
    first_seq: AtomicU64,
    rst_seq: AtomicU64,
}

/// A slot and its generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// A consistent copy of an entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copied<const D: usize> {
    pub(crate) at: At,
    pub(crate) head: Head,
    pub(crate) data: [u64; D],
}

pub(crate) enum Found<const D: usize> {
    Hit(Copied<D>),
    Miss,
    Busy,
}

/// Why an entry was not put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Exists,
}

/// What was seen of an entry: its head's marks are with it, sequence numbers are none until seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<const K: usize> {
    pub(crate) key: [u64; K],
    pub(crate) tick: u32,
    pub(crate) last_seq: u32,
    pub(crate) first_seq: Option<u32>,
    pub(crate) rst_seq: Option<u32>,
}

/// The array.
pub(crate) struct Slots<const K: usize, const D: usize> {
    slots: Box<[Slot<K, D>]>,
    cold: Box<[Cold]>,
    reach: Box<[AtomicU8]>,
    mask: usize,
    probes: usize,
    limit: u64,
    used: Counter,
}

fn boxed<T>(count: usize, make: impl Fn(usize) -> T) -> Result<Box<[T]>, TryReserveError> {
    let mut all = Vec::new();
    all.try_reserve_exact(count)?;
    all.extend((0..count).map(make));
    Ok(all.into_boxed_slice())
}

impl<const K: usize, const D: usize> Slots<K, D> {
    /// At least `slots` slots (rounded up to a power of two, 1 to 2^30), entries at most `probes` (1 to 255)
    /// from home.
    ///
    /// # Errors
    /// There is not so much memory.
    pub(crate) fn new(slots: usize, probes: usize) -> Result<Self, TryReserveError> {
        let count = slots.clamp(1, 1 << 30).next_power_of_two();
        let words = |_| AtomicU64::new(0);
        let slot = |_| Slot {
            head: AtomicU64::new(0),
            live: AtomicU64::new(0),
            key: core::array::from_fn(words),
            data: core::array::from_fn(words),
        };
        let cold = |_| Cold { first_seq: AtomicU64::new(0), rst_seq: AtomicU64::new(0) };
        let all = Self {
            slots: boxed(count, slot)?,
            cold: boxed(count, cold)?,
            reach: boxed(count, |_| AtomicU8::new(0))?,
            mask: count - 1,
            probes: probes.clamp(1, 255).min(count),
            limit: (count - count / 4) as u64,
            used: Counter::default(),
        };
        all.take_memory();
        Ok(all)
    }

    /// Has the system give the memory now. An array of zeros is a promise that is kept page by page, as it is
    /// first written to: that would be in the midst of traffic, and the process would grow for hours.
    fn take_memory(&self) {
        self.slots.iter().for_each(|s| s.head.store(0, Ordering::Relaxed));
        self.cold.iter().for_each(|c| c.first_seq.store(0, Ordering::Relaxed));
        self.reach.iter().for_each(|r| r.store(0, Ordering::Relaxed));
    }

    /// How many slots there are.
    pub(crate) fn count(&self) -> usize {
        self.slots.len()
    }

    /// How many entries fit.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// How many entries there are or are being made.
    pub(crate) fn used(&self) -> u64 {
        self.used.get()
    }

    /// Fetches what a lookup with this hash will read.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        let home = hash as usize & self.mask;
        super::prefetch::prefetch_read(&self.reach[home]);
        super::prefetch::prefetch_read(&self.slots[home]);
    }

    /// The entry of `key`.
    #[inline]
    pub(crate) fn lookup(&self, hash: u64, key: &[u64; K]) -> Found<D> {
        let home = hash as usize & self.mask;
        let reach = usize::from(self.reach[home].load(Ordering::Acquire));
        for distance in 0..reach {
            let index = (home + distance) & self.mask;
            let slot = &self.slots[index];
            let mut tries = 0;
            loop {
                let head = Head(slot.head.load(Ordering::Acquire));
                if !head.is_live() || !slot.has_key(key) {
                    break;
                }
                if !head.is_odd()
                    && let Some(data) = slot.copy(head)
                {
                    let at = At { index: index as u32, generation: head.generation() };
                    return Found::Hit(Copied { at, head, data });
                }
                if tries == READ_TRIES {
                    return Found::Busy;
                }
                tries += 1;
                spin_loop();
            }
        }
        Found::Miss
    }

    /// Makes an entry: `meta` as from [`Head::meta`].
    pub(crate) fn insert(
        &self,
        hash: u64,
        key: &[u64; K],
        data: &[u64; D],
        meta: u64,
        tick: u32,
    ) -> Result<At, Refused> {
        if !matches!(self.lookup(hash, key), Found::Miss) {
            return Err(Refused::Exists);
        }
        if self.used.add(1) >= self.limit {
            self.used.sub(1);
            return Err(Refused::Full);
        }
        let placed = self.place(hash as usize & self.mask, key, data, meta, tick);
        if placed.is_err() {
            self.used.sub(1);
        }
        placed
    }

    fn place(
        &self,
        home: usize,
        key: &[u64; K],
        data: &[u64; D],
        meta: u64,
        tick: u32,
    ) -> Result<At, Refused> {
        for distance in 0..self.probes {
            let index = (home + distance) & self.mask;
            let slot = &self.slots[index];
            let Some(head) = slot.claim() else { continue };
            let generation = head.generation();
            // These three words may still be the target of a late touch of the slot's last entry, by CAS:
            // a swap stands in one order with those, for readers as well as for the models. Until a segment
            // is seen the sequence number is a value that differs between generations, so that such a touch
            // cannot find the word it compares with.
            self.cold[index].first_seq.swap(unset(generation), Ordering::Relaxed);
            self.cold[index].rst_seq.swap(unset(generation), Ordering::Relaxed);
            slot.live.swap(word(tick, generation), Ordering::Relaxed);
            for (to, from) in slot.key.iter().zip(key) {
                to.store(*from, Ordering::Relaxed);
            }
            for (to, from) in slot.data.iter().zip(data) {
                to.store(*from, Ordering::Relaxed);
            }
            // Before the entry can be found: who sees it must also reach it.
            self.reach[home].fetch_max(distance as u8 + 1, Ordering::AcqRel);
            let pending = head.with_state(PENDING);
            slot.head.store(pending.0, Ordering::Release);
            // Shown first, looked second: one of two twins must see the other.
            fence(Ordering::SeqCst);
            if self.yields_to_twin(home, distance, key) {
                // A nearer twin may have freed it meanwhile, which is as good.
                let _ = slot.swap_head(pending, pending.freed());
                return Err(Refused::Exists);
            }
            if !slot.swap_head(pending, pending.stepped(meta)) {
                return Err(Refused::Exists);
            }
            return Ok(At { index: index as u32, generation });
        }
        Err(Refused::Full)
    }

    /// Whether a pending entry `distance` from home must give up; frees pending twins farther away.
    fn yields_to_twin(&self, home: usize, distance: usize, key: &[u64; K]) -> bool {
        let reach = usize::from(self.reach[home].load(Ordering::Acquire));
        for other in (0..reach).filter(|other| *other != distance) {
            let slot = &self.slots[(home + other) & self.mask];
            loop {
                let head = Head(slot.head.load(Ordering::Acquire));
                if head.state() < PENDING || !slot.has_key(key) {
                    break;
                }
                if head.state() == PENDING && other > distance {
                    if slot.swap_head(head, head.freed()) {
                        break;
                    }
                } else {
                    fence(Ordering::Acquire);
                    // The key words belong to this generation only if it still stands.
                    if Head(slot.head.load(Ordering::Relaxed)).generation() == head.generation() {
                        return true;
                    }
                }
            }
        }
        false
    }

    /// Frees the entry; false if it is gone, or is being updated.
    pub(crate) fn remove(&self, at: At) -> bool {
        let Some(slot) = self.slots.get(at.index as usize) else { return false };
        loop {
            let head = Head(slot.head.load(Ordering::Acquire));
            if head.generation() != at.generation || !head.is_live() || head.is_odd() {
                return false;
            }
            if slot.swap_head(head, head.freed()) {
                self.used.sub(1);
                return true;
            }
        }
    }

    /// Gives the entry other data and meta, keeping key and marks; false if it is gone. Owner only.
    pub(crate) fn update(&self, at: At, data: &[u64; D], meta: u64) -> bool {
        let Some(slot) = self.slots.get(at.index as usize) else { return false };
        let locked = loop {
            let head = Head(slot.head.load(Ordering::Acquire));
            if head.generation() != at.generation || !head.is_live() || head.is_odd() {
                return false;
            }
            let odd = head.stepped(head.0 & !VERSION);
            if slot.swap_head(head, odd) {
                break odd;
            }
        };
        // Readers that see any of the new data must also see that the version is odd.
        fence(Ordering::Release);
        for (to, from) in slot.data.iter().zip(data) {
            to.store(*from, Ordering::Relaxed);
        }
        let mut head = locked;
        while !slot.swap_head(head, head.stepped(meta | head.0 & MARKS)) {
            head = Head(slot.head.load(Ordering::Relaxed));
        }
        true
    }

    /// Notes a segment at `tick`; `end` is where its sequence space ends, none if that is not to be kept,
    /// `rst` a RST's number, `marks` are set, with `seen` once a first sequence number is known. False if the
    /// entry is gone.
    #[inline]
    pub(crate) fn touch(&self, at: At, tick: u32, note: Note) -> bool {
        let Some(slot) = self.slots.get(at.index as usize) else { return false };
        // Acquire, and before the head: a word of a later generation comes with that generation's head.
        let live = slot.live.load(Ordering::Acquire);
        let head = Head(slot.head.load(Ordering::Relaxed));
        if head.generation() != at.generation || !head.is_live() {
            return false;
        }
        let quiet = note.marks == 0 && head.marks() & Note::SEEN != 0;
        if quiet && (live >> 32) as u32 == tick {
            return true;
        }
        self.touch_slow(slot, at, tick, note)
    }

    #[cold]
    #[inline(never)]
    fn touch_slow(&self, slot: &Slot<K, D>, at: At, tick: u32, note: Note) -> bool {
        let cold = &self.cold[at.index as usize];
        if let Some(seq) = note.rst {
            let mut old = cold.rst_seq.load(Ordering::Relaxed);
            while (old >> 40) as u32 == at.generation {
                match cold.rst_seq.compare_exchange(
                    old,
                    set(at.generation, seq),
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => break,
                    Err(now) => old = now,
                }
            }
        }
        let mut marks = note.marks;
        loop {
            let live = slot.live.load(Ordering::Acquire);
            let head = Head(slot.head.load(Ordering::Relaxed));
            if head.generation() != at.generation || !head.is_live() {
                return false;
            }
            let mut seq = live as u32;
            if let Some(end) = note.end {
                let seen = head.marks() & Note::SEEN != 0;
                if !seen {
                    // Fails if it is set already, or of another generation.
                    let _ = cold.first_seq.compare_exchange(
                        unset(at.generation),
                        set(at.generation, end),
                        Ordering::AcqRel,
                        Ordering::Relaxed,
                    );
                    marks |= Note::SEEN;
                }
                if !seen || end.wrapping_sub(seq) as i32 > 0 {
                    seq = end;
                }
            }
            let old_tick = (live >> 32) as u32;
            let later = if tick.wrapping_sub(old_tick) as i32 > 0 { tick } else { old_tick };
            let next = word(later, seq);
            if slot.live.compare_exchange(live, next, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                break;
            }
        }
        slot.mark(at.generation, marks)
    }

    /// The entry in slot `index`, if there is a live one that stands still.
    pub(crate) fn view(&self, index: usize) -> Option<(Copied<D>, Seen<K>)> {
        let slot = self.slots.get(index)?;
        let head = Head(slot.head.load(Ordering::Acquire));
        if !head.is_live() || head.is_odd() {
            return None;
        }
        let key = core::array::from_fn(|i| slot.key[i].load(Ordering::Relaxed));
        let live = slot.live.load(Ordering::Relaxed);
        let cold = &self.cold[index];
        let seq = |word: u64| (word >> 32 & 1 != 0).then_some(word as u32);
        let first_seq = seq(cold.first_seq.load(Ordering::Relaxed));
        let rst_seq = seq(cold.rst_seq.load(Ordering::Relaxed));
        let data = slot.copy(head)?;
        let at = At { index: index as u32, generation: head.generation() };
        let seen = Seen { key, tick: (live >> 32) as u32, last_seq: live as u32, first_seq, rst_seq };
        Some((Copied { at, head, data }, seen))
    }
}

/// What a segment brings to [`Slots::touch`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Note {
    pub(crate) end: Option<u32>,
    pub(crate) rst: Option<u32>,
    pub(crate) marks: u8,
}

impl Note {
    /// The mark for "a first sequence number is known".
    pub(crate) const SEEN: u8 = 4;
}

impl<const K: usize, const D: usize> Slot<K, D> {
    /// Makes a free slot the caller's own.
    fn claim(&self) -> Option<Head> {
        let head = Head(self.head.load(Ordering::Relaxed));
        if head.state() != FREE || head.is_odd() {
            return None;
        }
        let claimed = head.stepped(CLAIMED << STATE_AT);
        let won = self.head.compare_exchange(head.0, claimed.0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        // Readers that see any word written from here on must also see that the slot is claimed.
        fence(Ordering::Release);
        won.then_some(claimed)
    }

    fn swap_head(&self, from: Head, to: Head) -> bool {
        self.head.compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Whether the key words, which may belong to another generation than a head read before, are `key`.
    #[inline]
    fn has_key(&self, key: &[u64; K]) -> bool {
        self.key.iter().zip(key).all(|(have, want)| have.load(Ordering::Relaxed) == *want)
    }

    /// The data, if the version of `head` stood all the while.
    #[inline]
    fn copy(&self, head: Head) -> Option<[u64; D]> {
        let data = core::array::from_fn(|i| self.data[i].load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        Head(self.head.load(Ordering::Relaxed)).same_version(head).then_some(data)
    }

    fn mark(&self, generation: u32, marks: u8) -> bool {
        let mut head = Head(self.head.load(Ordering::Relaxed));
        loop {
            if head.generation() != generation || !head.is_live() {
                return false;
            }
            let marked = Head(head.0 | u64::from(marks) << MARKS_AT);
            if marked == head {
                return true;
            }
            match self.head.compare_exchange(head.0, marked.0, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => head = Head(now),
            }
        }
    }
}

const fn word(tick: u32, seq: u32) -> u64 {
    (tick as u64) << 32 | seq as u64
}

const fn unset(generation: u32) -> u64 {
    (generation as u64) << 40
}

const fn set(generation: u32, seq: u32) -> u64 {
    unset(generation) | 1 << 32 | seq as u64
}
