//! The four rings of an AF_XDP socket: single producer, single consumer, shared with the kernel.
//!
//! Both indexes run freely over 32 bits and wrap; an entry's place is its index under the mask. Each
//! side keeps a copy of both and touches the shared ones once a batch: an acquire load to see what the
//! other side did, a release store to show what this side did.
//! (Linux Documentation/networking/af_xdp.rst, include/uapi/linux/if_xdp.h.)

use super::sys::Mapping;
use rustix::net::xdp::XdpRingOffset;
use std::marker::PhantomData;
use std::num::Wrapping;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// `XDP_RING_NEED_WAKEUP` of linux/if_xdp.h.
const NEED_WAKEUP: u32 = 1;

/// Where both sides of one ring are, as this side knows it.
#[derive(Debug)]
struct Cursor {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: Option<NonNull<AtomicU32>>,
    cached_producer: Wrapping<u32>,
    cached_consumer: Wrapping<u32>,
    size: u32,
    _memory: Arc<Mapping>,
}

// SAFETY: the pointers lead into `_memory`, which the cursor keeps mapped, and to atomics.
unsafe impl Send for Cursor {}

impl Cursor {
    fn shared(&self, word: NonNull<AtomicU32>) -> &AtomicU32 {
        // SAFETY: checked at construction to be aligned and inside `_memory`, which lives as long as self.
        unsafe { word.as_ref() }
    }

    fn load_producer(&mut self) {
        self.cached_producer = Wrapping(self.shared(self.producer).load(Ordering::Acquire));
    }

    fn load_consumer(&mut self) {
        self.cached_consumer = Wrapping(self.shared(self.consumer).load(Ordering::Acquire));
    }

    fn store_producer(&self) {
        self.shared(self.producer).store(self.cached_producer.0, Ordering::Release);
    }

    fn store_consumer(&self) {
        self.shared(self.consumer).store(self.cached_consumer.0, Ordering::Release);
    }

    /// Entries between the two indexes. Never more than the ring holds, whatever the other side wrote.
    fn filled(&self) -> u32 {
        (self.cached_producer - self.cached_consumer).0.min(self.size)
    }

    fn place(&self, index: Wrapping<u32>) -> usize {
        (index.0 & (self.size - 1)) as usize
    }

    fn needs_wakeup(&self) -> bool {
        // A kernel without the flags word (before 5.4) has to be woken always.
        self.flags.is_none_or(|f| self.shared(f).load(Ordering::Relaxed) & NEED_WAKEUP != 0)
    }
}

/// One ring with entries of type `T`, mapped.
#[derive(Debug)]
struct Ring<T> {
    cursor: Cursor,
    entries: NonNull<T>,
    _entries: PhantomData<T>,
}

// SAFETY: as for `Cursor`; the entries are plain data in the same memory.
unsafe impl<T: Copy + Send> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    /// `None` if the size is no power of two, or something would lie outside of the memory or unaligned.
    ///
    /// # Safety
    /// `memory` holds a ring with entries of type `T` at these offsets, any bytes are a valid `T`, and
    /// nobody else in this process is on this side of it.
    unsafe fn over(memory: Arc<Mapping>, at: &XdpRingOffset, size: u32) -> Option<Self> {
        if !size.is_power_of_two() {
            return None;
        }
        let entries = inside(&memory, at.desc, size_of::<T>().checked_mul(size as usize)?, align_of::<T>())?;
        let word = |offset| inside(&memory, offset, 4, 4).map(NonNull::cast::<AtomicU32>);
        let (producer, consumer) = (word(at.producer)?, word(at.consumer)?);
        let flags = match at.flags {
            Some(offset) => Some(word(offset)?),
            None => None,
        };
        let zero = Wrapping(0);
        let mut cursor = Cursor {
            producer,
            consumer,
            flags,
            cached_producer: zero,
            cached_consumer: zero,
            size,
            _memory: memory,
        };
        cursor.load_producer();
        cursor.load_consumer();
        Some(Self { cursor, entries: entries.cast(), _entries: PhantomData })
    }

    fn entry(&self, index: Wrapping<u32>) -> NonNull<T> {
        // SAFETY: the place is below size, and size entries were checked to lie inside the memory.
        unsafe { self.entries.add(self.cursor.place(index)) }
    }
}

/// A ring that we put entries into: fill and transmit.
#[derive(Debug)]
pub(super) struct Producer<T>(Ring<T>);

impl<T: Copy> Producer<T> {
    /// # Safety
    /// As [`Ring::over`].
    pub(super) unsafe fn over(memory: Arc<Mapping>, at: &XdpRingOffset, size: u32) -> Option<Self> {
        // SAFETY: the caller's promise.
        unsafe { Ring::over(memory, at, size) }.map(Self)
    }

    /// Looks at how far the kernel is, and says how many entries fit.
    pub(super) fn room(&mut self) -> u32 {
        self.0.cursor.load_consumer();
        self.0.cursor.size - self.0.cursor.filled()
    }

    /// Writes an entry, which the kernel sees after [`publish`](Self::publish); false if the ring is full.
    pub(super) fn push(&mut self, entry: T) -> bool {
        let cursor = &self.0.cursor;
        if cursor.filled() == cursor.size {
            return false;
        }
        let place = self.0.entry(cursor.cached_producer);
        // SAFETY: an entry of ours between the indexes: the kernel reads it only after it was published.
        unsafe { place.write(entry) };
        self.0.cursor.cached_producer += 1;
        true
    }

    /// Shows the kernel what was pushed.
    pub(super) fn publish(&mut self) {
        self.0.cursor.store_producer();
    }

    /// Entries that the kernel has not taken yet.
    pub(super) fn pending(&mut self) -> u32 {
        self.0.cursor.load_consumer();
        self.0.cursor.filled()
    }

    /// Whether the kernel asks for a system call before it looks at the ring.
    pub(super) fn needs_wakeup(&self) -> bool {
        self.0.cursor.needs_wakeup()
    }
}

/// A ring that we take entries from: receive and completion.
#[derive(Debug)]
pub(super) struct Consumer<T>(Ring<T>);

impl<T: Copy> Consumer<T> {
    /// # Safety
    /// As [`Ring::over`].
    pub(super) unsafe fn over(memory: Arc<Mapping>, at: &XdpRingOffset, size: u32) -> Option<Self> {
        // SAFETY: the caller's promise.
        unsafe { Ring::over(memory, at, size) }.map(Self)
    }

    /// Looks at what the kernel put in, and says how many entries there are.
    pub(super) fn available(&mut self) -> u32 {
        self.0.cursor.load_producer();
        self.0.cursor.filled()
    }

    /// The next of the entries that [`available`](Self::available) saw.
    pub(super) fn pop(&mut self) -> Option<T> {
        let cursor = &self.0.cursor;
        if cursor.filled() == 0 {
            return None;
        }
        let place = self.0.entry(cursor.cached_consumer);
        // SAFETY: published by the kernel (acquire load in `available`) and not released by us yet.
        let entry = unsafe { place.read() };
        self.0.cursor.cached_consumer += 1;
        Some(entry)
    }

    /// Gives the places of the popped entries back to the kernel.
    pub(super) fn release(&mut self) {
        self.0.cursor.store_consumer();
    }
}

/// The place `offset` of `memory` if `len` bytes from there are inside and it is aligned.
fn inside(memory: &Mapping, offset: u64, len: usize, align: usize) -> Option<NonNull<u8>> {
    let offset = usize::try_from(offset).ok()?;
    if offset.checked_add(len)? > memory.len() || !offset.is_multiple_of(align) {
        return None;
    }
    // SAFETY: just checked to be inside of the mapping, whose start is page-aligned.
    Some(unsafe { memory.base().add(offset) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const LAYOUT: XdpRingOffset = XdpRingOffset { producer: 0, consumer: 64, desc: 192, flags: Some(128) };

    /// Both sides of a ring in our own memory, with the indexes at `start`.
    fn pair(size: u32, start: u32) -> (Producer<u64>, Consumer<u64>) {
        let memory = Arc::new(Mapping::anonymous(4096).unwrap());
        for offset in [0, 64] {
            // SAFETY: both words are inside the mapping, and nobody else has it yet.
            unsafe { memory.base().add(offset).cast::<u32>().write(start) };
        }
        // SAFETY: the layout above, one producer and one consumer.
        unsafe {
            (
                Producer::over(Arc::clone(&memory), &LAYOUT, size).unwrap(),
                Consumer::over(memory, &LAYOUT, size).unwrap(),
            )
        }
    }

    #[test]
    fn entries_come_out_in_order_across_the_wrap() {
        let (mut tx, mut rx) = pair(8, u32::MAX - 20);
        let mut oracle = VecDeque::new();
        let mut next = 0u64;
        for turn in 0..200u64 {
            let want = turn % 11;
            let room = tx.room();
            assert_eq!(room as usize, 8 - oracle.len());
            for _ in 0..want {
                let fits = oracle.len() < 8;
                assert_eq!(tx.push(next), fits);
                if fits {
                    oracle.push_back(next);
                    next += 1;
                }
            }
            tx.publish();
            assert_eq!(rx.available() as usize, oracle.len());
            for _ in 0..turn % 7 {
                assert_eq!(rx.pop(), oracle.pop_front());
            }
            rx.release();
            assert_eq!(tx.pending() as usize, oracle.len());
        }
        assert!(next > 400, "the indexes passed the wrap many times over: {next}");
    }

    #[test]
    fn nothing_is_seen_before_it_is_published_or_reused_before_it_is_released() {
        let (mut tx, mut rx) = pair(4, u32::MAX);
        for entry in 0..4 {
            assert!(tx.push(entry));
        }
        assert_eq!((rx.available(), rx.pop()), (0, None));
        tx.publish();
        assert_eq!((rx.available(), rx.pop()), (4, Some(0)));
        assert_eq!(tx.room(), 0);
        assert!(!tx.push(9));
        rx.release();
        assert_eq!(tx.room(), 1);
    }

    #[test]
    fn the_wakeup_flag_is_read_from_shared_memory() {
        let (tx, rx) = pair(4, 0);
        assert!(!tx.needs_wakeup());
        tx.0.cursor.shared(rx.0.cursor.flags.unwrap()).store(NEED_WAKEUP, Ordering::Relaxed);
        assert!(tx.needs_wakeup());
    }

    #[test]
    fn a_ring_must_lie_inside_its_memory() {
        let memory = Arc::new(Mapping::anonymous(4096).unwrap());
        let over = |at: XdpRingOffset, size| {
            // SAFETY: zeroed memory of our own; the rings are dropped at once.
            unsafe { Producer::<u64>::over(Arc::clone(&memory), &at, size) }.is_some()
        };
        assert!(over(LAYOUT, 256));
        assert!(!over(LAYOUT, 512));
        assert!(!over(LAYOUT, 3));
        assert!(!over(XdpRingOffset { desc: 196, ..LAYOUT }, 4));
        assert!(!over(XdpRingOffset { producer: 4094, ..LAYOUT }, 4));
        assert!(!over(XdpRingOffset { flags: Some(u64::MAX), ..LAYOUT }, 4));
    }

    #[test]
    fn two_threads_lose_nothing() {
        let (mut tx, mut rx) = pair(16, u32::MAX - 100);
        const N: u64 = 50_000;
        std::thread::scope(|s| {
            s.spawn(move || {
                let mut next = 0;
                while next < N {
                    if tx.room() == 0 {
                        std::thread::yield_now();
                    }
                    while next < N && tx.push(next) {
                        next += 1;
                    }
                    tx.publish();
                }
            });
            let mut want = 0;
            while want < N {
                if rx.available() == 0 {
                    std::thread::yield_now();
                }
                while let Some(got) = rx.pop() {
                    assert_eq!(got, want);
                    want += 1;
                }
                rx.release();
            }
        });
    }
}
