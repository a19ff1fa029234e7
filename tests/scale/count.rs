//! An allocator that counts the bytes that the engine allocated and that live, whoever frees them.
//!
//! Each allocation has a head in front of it that says whether it was made within a turn of an engine.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static WITHIN: Cell<bool> = const { Cell::new(false) };
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static MADE: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// From now on what this thread allocates is the engine's, or is not.
pub(crate) fn within(engine: bool) {
    WITHIN.with(|w| w.set(engine));
}

/// How often engines allocated on this thread.
pub(crate) fn made() -> usize {
    MADE.with(Cell::get)
}

/// Bytes that live of what engines allocated on this thread.
pub(crate) fn live() -> isize {
    LIVE.with(Cell::get)
}

/// The allocation with its head, and how long that is.
fn headed(layout: Layout) -> Option<(Layout, usize)> {
    let head = layout.align().max(16);
    Some((Layout::from_size_align(layout.size().checked_add(head)?, head).ok()?, head))
}

// SAFETY: every block comes from `System` with `head` bytes in front, a multiple of its alignment; `dealloc`
// gets the same layout as `alloc` did and so finds the same head. The last byte of the head is ours.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((whole, head)) = headed(layout) else { return std::ptr::null_mut() };
        // SAFETY: `whole` is not of size 0.
        let base = unsafe { System.alloc(whole) };
        if base.is_null() {
            return base;
        }
        let engine = WITHIN.try_with(Cell::get).unwrap_or(false);
        if engine {
            let _ = LIVE.try_with(|l| l.set(l.get() + layout.size() as isize));
            let _ = MADE.try_with(|m| m.set(m.get() + 1));
        }
        // SAFETY: the block has `head + size` bytes.
        unsafe {
            base.add(head - 1).write(u8::from(engine));
            base.add(head)
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some((whole, head)) = headed(layout) else { return };
        // SAFETY: `alloc` gave this block, `head` bytes behind the beginning of what `System` gave.
        let engine = unsafe { block.sub(1).read() } != 0;
        if engine {
            let _ = LIVE.try_with(|l| l.set(l.get() - layout.size() as isize));
        }
        // SAFETY: as above, with the layout that it was allocated with.
        unsafe { System.dealloc(block.sub(head), whole) }
    }
}
