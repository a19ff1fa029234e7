//! Frames on their way out, gathered per leg until a batch is sent.

/// Room for one frame in bytes: MTU 1500, the Ethernet header, and some.
pub const FRAME_ROOM: usize = 2048;
/// Length of the two MAC addresses, behind which VLAN tags stand.
pub const MACS: usize = 12;
/// Frames that a leg's batch holds; a batch is sent after at most 64 received frames.
pub const BATCH: usize = 256;

/// The frames for one leg.
pub struct Batch {
    bytes: Box<[u8]>,
    lengths: [u16; BATCH],
    count: usize,
    tags: Vec<u8>,
    /// Frames that found no room.
    pub overflow: u64,
}

impl Batch {
    /// An empty batch with its memory.
    pub fn new() -> Self {
        Self {
            bytes: vec![0; FRAME_ROOM * BATCH].into(),
            lengths: [0; BATCH],
            count: 0,
            tags: vec![],
            overflow: 0,
        }
    }

    /// An empty batch that puts these VLAN tags behind the MAC addresses of every frame.
    pub fn tagged(tags: Vec<u8>) -> Self {
        Self { tags, ..Self::new() }
    }

    /// Adds a frame made of `parts` laid end to end.
    pub fn push(&mut self, parts: &[&[u8]]) {
        let total: usize = parts.iter().map(|p| p.len()).sum::<usize>() + self.tags.len();
        if self.count == BATCH || total > FRAME_ROOM {
            self.overflow += 1;
            return;
        }
        let room = &mut self.bytes[self.count * FRAME_ROOM..][..total];
        let mut at = 0;
        for part in parts {
            room[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        if !self.tags.is_empty() && at >= MACS {
            room.copy_within(MACS..at, MACS + self.tags.len());
            room[MACS..MACS + self.tags.len()].copy_from_slice(&self.tags);
        }
        self.lengths[self.count] = total as u16;
        self.count += 1;
    }

    /// How many frames wait.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The frame number `index`; empty beyond the last.
    pub fn frame(&self, index: usize) -> &[u8] {
        let len = if index < self.count { usize::from(self.lengths[index]) } else { 0 };
        &self.bytes[index.min(BATCH - 1) * FRAME_ROOM..][..len]
    }

    /// Forgets all frames.
    pub fn clear(&mut self) {
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_batch_counts_what_it_cannot_take() {
        let mut batch = Batch::new();
        for _ in 0..BATCH {
            batch.push(&[b"head", b"tail"]);
        }
        assert_eq!((batch.len(), batch.overflow), (BATCH, 0));
        batch.push(&[b"one too many"]);
        assert_eq!((batch.len(), batch.overflow), (BATCH, 1));
        assert_eq!(batch.frame(BATCH - 1), b"headtail");
        batch.clear();
        batch.push(&[&[0; FRAME_ROOM], &[0]]);
        assert_eq!((batch.len(), batch.overflow), (0, 2));
    }

    #[test]
    fn tags_stand_behind_the_addresses() {
        let mut batch = Batch::tagged(vec![0x81, 0, 0, 7]);
        batch.push(&[b"addresses.", b"..", b"\x08\0packet"]);
        assert_eq!(batch.frame(0), b"addresses...\x81\0\0\x07\x08\0packet");
        batch.push(&[&[0; FRAME_ROOM - 3]]);
        assert_eq!((batch.len(), batch.overflow), (1, 1));
    }
}
