//! Up to 64 frames that are handled together.

use super::Frame;

/// The most frames of one burst.
pub const BURST: usize = 64;

/// A bounded list of frames in arrival order. Its memory is taken once, by [`new`](Self::new).
#[derive(Debug)]
pub struct Burst {
    frames: Vec<Frame>,
}

impl Default for Burst {
    /// An empty burst without memory: what stands in a burst's place while that is emptied.
    fn default() -> Self {
        Self { frames: Vec::new() }
    }
}

impl Burst {
    /// An empty burst.
    pub fn new() -> Self {
        Self { frames: Vec::with_capacity(BURST) }
    }

    /// Frames that still fit.
    pub fn room(&self) -> usize {
        BURST - self.frames.len()
    }

    /// Frames in the burst.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there is no frame.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Adds a frame, or gives it back when the burst is full.
    ///
    /// # Errors
    /// The frame itself, if there is no room.
    pub fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        if self.room() == 0 {
            return Err(frame);
        }
        self.frames.push(frame);
        Ok(())
    }

    /// The frames in order.
    pub fn iter(&self) -> core::slice::Iter<'_, Frame> {
        self.frames.iter()
    }

    /// The frames as a mutable slice.
    pub fn as_mut_slice(&mut self) -> &mut [Frame] {
        &mut self.frames
    }

    /// Takes all frames out, in order.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Frame> {
        self.frames.drain(..)
    }
}
