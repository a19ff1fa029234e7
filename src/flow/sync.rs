//! The atomics of the flow table, replaced by modelled ones under `cfg(loom)`.

#[cfg(loom)]
pub(crate) use loom::hint::spin_loop;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU64, Ordering, fence};

#[cfg(not(loom))]
pub(crate) use core::hint::spin_loop;
#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU8, AtomicU64, Ordering, fence};

/// A statistics counter: never decides anything about another field, so it is not modelled.
#[derive(Debug, Default)]
pub(crate) struct Counter(core::sync::atomic::AtomicU64);

impl Counter {
    /// Adds `n` and returns the value before.
    pub(crate) fn add(&self, n: u64) -> u64 {
        self.0.fetch_add(n, core::sync::atomic::Ordering::Relaxed)
    }

    /// Subtracts `n`, which was added before.
    pub(crate) fn sub(&self, n: u64) {
        self.0.fetch_sub(n, core::sync::atomic::Ordering::Relaxed);
    }

    /// The value.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(core::sync::atomic::Ordering::Relaxed)
    }
}
