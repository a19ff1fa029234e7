//! The memory of frames: one area, cut into chunks, shared with the kernel.
//!
//! A chunk is either a Rust reference or in the hands of the kernel or of the free list, never two of
//! these. A table says of each chunk which, and every change of hands is checked against it, so a
//! descriptor that names a chunk that the kernel does not hold is refused instead of trusted.
//!
//! Chunks travel as `&'static mut` references, and whoever still holds one when its port is closed may go
//! on using it: an area is unmapped only if no chunk of it is out then, and stays mapped otherwise.

use super::sys::Mapping;
use crate::buf::{CHUNK, Chunk, Frame};
use crossbeam::queue::ArrayQueue;
use std::mem::ManuallyDrop;
use std::sync::{Arc, Mutex, PoisonError};

/// Who has a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// The free list.
    Free,
    /// The kernel, to receive into, or it waits in the receive ring.
    Rx,
    /// The kernel, to send, or it waits in the completion ring.
    Tx,
    /// A [`Chunk`] somewhere in the program.
    Out,
}

/// How many chunks are where. The sum of all is the number of chunks, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChunkCount {
    /// In the free list.
    pub free: u32,
    /// With the kernel for receiving.
    pub rx: u32,
    /// With the kernel for sending.
    pub tx: u32,
    /// In frames that the program holds.
    pub out: u32,
}

impl ChunkCount {
    /// All chunks.
    pub fn total(&self) -> u32 {
        self.free + self.rx + self.tx + self.out
    }

    fn of(&mut self, holder: Holder) -> &mut u32 {
        match holder {
            Holder::Free => &mut self.free,
            Holder::Rx => &mut self.rx,
            Holder::Tx => &mut self.tx,
            Holder::Out => &mut self.out,
        }
    }
}

/// Where chunks come back to that ended up at another port, perhaps on another thread.
#[derive(Debug)]
struct Home {
    base: usize,
    len: usize,
    returned: ArrayQueue<u32>,
}

/// All areas of the process that are mapped.
static HOMES: Mutex<Vec<Arc<Home>>> = Mutex::new(Vec::new());

/// Gives a frame's memory back to the area that it is from; ordinary memory is freed.
///
/// For ports that get a frame from another port's area.
pub fn send_home(frame: Frame) {
    if let Chunk::Umem(chunk) = frame.into_chunk().0 {
        send_chunk_home(chunk);
    }
}

fn send_chunk_home(chunk: &'static mut [u8; CHUNK]) {
    let at = chunk.as_ptr() as usize;
    let homes = HOMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(home) = homes.iter().find(|h| (h.base..h.base + h.len).contains(&at)) {
        // The queue has a place for each chunk, so it takes this one.
        let fits = home.returned.push(((at - home.base) / CHUNK) as u32);
        debug_assert!(fits.is_ok());
    }
}

/// One area and its free list. Several sockets may draw on it.
#[derive(Debug)]
pub(super) struct Umem {
    area: ManuallyDrop<Mapping>,
    holders: Vec<Holder>,
    free: Vec<u32>,
    count: ChunkCount,
    home: Arc<Home>,
}

impl Umem {
    /// An area of `chunks` chunks.
    pub(super) fn new(chunks: u32) -> rustix::io::Result<Self> {
        let area = Mapping::anonymous(chunks as usize * CHUNK)?;
        let returned = ArrayQueue::new(chunks.max(1) as usize);
        let home = Arc::new(Home { base: area.base().as_ptr() as usize, len: area.len(), returned });
        HOMES.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&home));
        Ok(Self {
            area: ManuallyDrop::new(area),
            holders: vec![Holder::Free; chunks as usize],
            // Lowest first: the chunks used most stay warm in the cache.
            free: (0..chunks).rev().collect(),
            count: ChunkCount { free: chunks, ..ChunkCount::default() },
            home,
        })
    }

    /// Address and length for `XDP_UMEM_REG`.
    pub(super) fn area(&self) -> (u64, u64) {
        (self.home.base as u64, self.home.len as u64)
    }

    pub(super) fn count(&self) -> ChunkCount {
        self.count
    }

    /// Takes back what other ports sent home.
    pub(super) fn collect(&mut self) {
        while let Some(index) = self.home.returned.pop() {
            if self.pass(index, Holder::Out, Holder::Free) {
                self.free.push(index);
            }
        }
    }

    /// A free chunk for the program.
    pub(super) fn lend(&mut self) -> Option<Chunk> {
        let index = self.free.pop()?;
        self.pass(index, Holder::Free, Holder::Out).then(|| self.reference(index))
    }

    /// A free chunk for the kernel to receive into: its address in the area.
    pub(super) fn give_rx(&mut self) -> Option<u64> {
        let index = self.free.pop()?;
        self.pass(index, Holder::Free, Holder::Rx).then(|| u64::from(index) * CHUNK as u64)
    }

    /// What the kernel received at `address`: the chunk, and where in it the frame of `len` bytes begins.
    /// `None` for a descriptor that cannot be: a chunk that the kernel does not hold, a frame beyond its end.
    pub(super) fn take_rx(&mut self, address: u64, len: usize) -> Option<(Chunk, usize)> {
        let index = u32::try_from(address / CHUNK as u64).ok()?;
        let start = (address % CHUNK as u64) as usize;
        if len > CHUNK - start {
            if self.pass(index, Holder::Rx, Holder::Free) {
                self.free.push(index);
            }
            return None;
        }
        self.pass(index, Holder::Rx, Holder::Out).then(|| (self.reference(index), start))
    }

    /// A chunk that goes to the kernel to be sent: its address in the area.
    ///
    /// # Errors
    /// The chunk itself, if it is from another area.
    pub(super) fn give_tx(
        &mut self,
        chunk: &'static mut [u8; CHUNK],
    ) -> Result<u64, &'static mut [u8; CHUNK]> {
        match self.index_of(chunk) {
            Some(index) if self.pass(index, Holder::Out, Holder::Tx) => Ok(u64::from(index) * CHUNK as u64),
            _ => Err(chunk),
        }
    }

    /// The kernel has sent the chunk at `address`.
    pub(super) fn take_tx(&mut self, address: u64) {
        let Ok(index) = u32::try_from(address / CHUNK as u64) else { return };
        if self.pass(index, Holder::Tx, Holder::Free) {
            self.free.push(index);
        }
    }

    /// Puts a chunk of the program back: to the free list, or to the area that it is from.
    pub(super) fn put_back(&mut self, chunk: &'static mut [u8; CHUNK]) {
        match self.index_of(chunk) {
            Some(index) => {
                if self.pass(index, Holder::Out, Holder::Free) {
                    self.free.push(index);
                }
            }
            None => send_chunk_home(chunk),
        }
    }

    fn index_of(&self, chunk: &[u8; CHUNK]) -> Option<u32> {
        let offset = (chunk.as_ptr() as usize).checked_sub(self.home.base)?;
        (offset < self.home.len).then_some((offset / CHUNK) as u32)
    }

    /// Changes hands; false, with nothing changed, if the chunk is not in the hands `from`.
    fn pass(&mut self, index: u32, from: Holder, to: Holder) -> bool {
        let Some(holder) = self.holders.get_mut(index as usize).filter(|h| **h == from) else {
            return false;
        };
        *holder = to;
        *self.count.of(from) -= 1;
        *self.count.of(to) += 1;
        true
    }

    fn reference(&mut self, index: u32) -> Chunk {
        debug_assert_eq!(self.holders[index as usize], Holder::Out);
        // SAFETY: `pass` has checked the index, so the chunk is inside the area, which is
        // not unmapped while a chunk is `Out`;
        // the chunk was not `Out` before, so no other reference to it exists, and none is made until it
        // has come back (`give_tx`, `put_back`, `collect`, all of which consume the reference).
        // The kernel does not write to it: it has handed it over, or never had it.
        Chunk::Umem(unsafe {
            &mut *self.area.base().as_ptr().add(index as usize * CHUNK).cast::<[u8; CHUNK]>()
        })
    }
}

impl Drop for Umem {
    fn drop(&mut self) {
        self.collect();
        if self.count.out == 0 {
            HOMES.lock().unwrap_or_else(PoisonError::into_inner).retain(|h| !Arc::ptr_eq(h, &self.home));
            // SAFETY: done once, here. No reference into the area exists, as no chunk is out; what the
            // kernel still has it has pinned, whether or not it is mapped here.
            unsafe { ManuallyDrop::drop(&mut self.area) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inner(chunk: Chunk) -> &'static mut [u8; CHUNK] {
        match chunk {
            Chunk::Umem(c) => c,
            Chunk::Heap(_) => panic!("an area lends chunks of the area"),
        }
    }

    #[test]
    fn chunks_change_hands_and_none_is_lost() {
        let mut umem = Umem::new(8).unwrap();
        let address = umem.give_rx().unwrap();
        assert_eq!(umem.count(), ChunkCount { free: 7, rx: 1, tx: 0, out: 0 });
        let (chunk, start) = umem.take_rx(address + 256, CHUNK - 256).unwrap();
        assert_eq!(start, 256);
        assert!(umem.take_rx(address, 60).is_none(), "a second descriptor for the same chunk is refused");
        assert!(umem.take_rx(u64::MAX, 0).is_none());
        assert_eq!(umem.give_tx(inner(chunk)).unwrap(), address);
        assert_eq!(umem.count(), ChunkCount { free: 7, rx: 0, tx: 1, out: 0 });
        umem.take_tx(address + 300);
        umem.take_tx(address);
        let address = umem.give_rx().unwrap();
        assert!(umem.take_rx(address + 256, CHUNK - 255).is_none(), "a frame beyond the end of its chunk");
        assert_eq!(umem.count(), ChunkCount { free: 8, rx: 0, tx: 0, out: 0 });
    }

    #[test]
    fn lent_chunks_do_not_overlap_and_run_out() {
        let mut umem = Umem::new(4).unwrap();
        let mut lent: Vec<_> = std::iter::from_fn(|| umem.lend()).map(inner).collect();
        assert_eq!(lent.len(), 4);
        for (i, chunk) in lent.iter_mut().enumerate() {
            chunk.fill(i as u8);
        }
        for (i, chunk) in lent.iter().enumerate() {
            assert!(chunk.iter().all(|b| *b == i as u8));
        }
        for chunk in lent {
            umem.put_back(chunk);
        }
        assert_eq!(umem.count().free, 4);
    }

    #[test]
    fn a_foreign_chunk_finds_its_way_home() {
        let (mut one, mut two) = (Umem::new(2).unwrap(), Umem::new(2).unwrap());
        let chunk = inner(one.lend().unwrap());
        let chunk = two.give_tx(chunk).unwrap_err();
        two.put_back(chunk);
        let frame = Frame::new(one.lend().unwrap());
        std::thread::spawn(move || send_home(frame)).join().unwrap();
        assert_eq!((one.count().free, one.count().out), (0, 2));
        one.collect();
        assert_eq!((one.count().free, one.count().out, two.count().free), (2, 0, 2));
    }

    #[test]
    fn an_area_outlives_its_port_only_for_chunks_that_are_out() {
        let mapped = |base| HOMES.lock().unwrap().iter().any(|h| h.base == base);
        let mut umem = Umem::new(2).unwrap();
        let base = umem.home.base;
        let chunk = inner(umem.lend().unwrap());
        drop(umem);
        assert!(mapped(base));
        chunk.fill(3);
        send_home(Frame::new(Chunk::Umem(chunk)));

        let mut umem = Umem::new(2).unwrap();
        let base = umem.home.base;
        send_home(Frame::new(umem.lend().unwrap()));
        let home = Arc::clone(&umem.home);
        drop(umem);
        assert!(!HOMES.lock().unwrap().iter().any(|h| Arc::ptr_eq(h, &home)), "{base:#x} is gone");
    }
}
