//! Memory for frames: owned chunks with headroom, and bursts of them.

mod burst;
mod frame;

pub use burst::{BURST, Burst};
pub use frame::{CHUNK, Chunk, Frame, HEADROOM, MAX_FRAME};
