//! One safe wrapper around the processor's prefetch instruction.
#![allow(unsafe_code)]

/// Asks for the cache line that holds the start of `target`; a hint without visible effect.
#[inline(always)]
pub fn prefetch_read<T>(target: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch of any address has no architectural effect; this one is a valid reference.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(target).cast());
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: `prfm` has no architectural effect, and the address comes from a valid reference.
    unsafe {
        core::arch::asm!(
            "prfm pldl1keep, [{}]",
            in(reg) core::ptr::from_ref(target),
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(not(any(all(target_arch = "x86_64", not(miri)), all(target_arch = "aarch64", not(miri)))))]
    let _ = target;
}
