//! One frame: a slice of an owned chunk, with room in front for headers that are pushed.

use core::fmt;

/// Bytes of one chunk: a quarter page would not take a frame of 1,518 bytes with headroom, a page wastes.
pub const CHUNK: usize = 2048;
/// Bytes kept free in front of a frame, for headers that are pushed: Ethernet + two tags + IPv4 + GRE +
/// redirect header are 50. A frame received through AF_XDP has 256: the kernel's own headroom lies inside
/// the chunk and is free again once the frame is ours.
pub const HEADROOM: usize = 128;
/// The longest frame that a chunk takes.
pub const MAX_FRAME: usize = CHUNK - HEADROOM;

/// The memory of a frame.
///
/// `Umem` memory belongs to an AF_XDP socket: it was carved once from the socket's area and must go back to
/// that socket's port by `tx` or `recycle`. The area is unmapped when its port is dropped, unless a chunk
/// of it is still out; then it stays mapped.
pub enum Chunk {
    /// Ordinary memory.
    Heap(Box<[u8; CHUNK]>),
    /// A chunk of an AF_XDP area (see `io::afxdp`).
    Umem(&'static mut [u8; CHUNK]),
}

impl Chunk {
    fn bytes(&self) -> &[u8; CHUNK] {
        match self {
            Self::Heap(b) => b,
            Self::Umem(b) => b,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8; CHUNK] {
        match self {
            Self::Heap(b) => b,
            Self::Umem(b) => b,
        }
    }
}

/// A frame: `len` bytes beginning at `start` of its chunk.
pub struct Frame {
    chunk: Chunk,
    start: u16,
    len: u16,
}

impl Frame {
    /// An empty frame in ordinary memory.
    pub fn heap() -> Self {
        Self::new(Chunk::Heap(Box::new([0; CHUNK])))
    }

    /// An empty frame in `chunk`, with [`HEADROOM`] bytes in front.
    pub fn new(chunk: Chunk) -> Self {
        Self { chunk, start: HEADROOM as u16, len: 0 }
    }

    /// A frame in ordinary memory with these bytes; `None` if they are more than [`MAX_FRAME`].
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut f = Self::heap();
        f.set(bytes).then_some(f)
    }

    /// The frame that lies at `start..start + len` of `chunk`; `None` if that is not inside the chunk.
    pub fn from_chunk(chunk: Chunk, start: usize, len: usize) -> Option<Self> {
        (start <= CHUNK && len <= CHUNK - start).then_some(Self {
            chunk,
            start: start as u16,
            len: len as u16,
        })
    }

    /// Gives up the memory, with where the frame lay in it: (chunk, start, length).
    pub fn into_chunk(self) -> (Chunk, usize, usize) {
        (self.chunk, usize::from(self.start), usize::from(self.len))
    }

    /// The frame's bytes.
    pub fn bytes(&self) -> &[u8] {
        let (s, l) = (usize::from(self.start), usize::from(self.len));
        &self.chunk.bytes()[s..s + l]
    }

    /// The frame's bytes, to be edited in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let (s, l) = (usize::from(self.start), usize::from(self.len));
        &mut self.chunk.bytes_mut()[s..s + l]
    }

    /// Bytes in the frame.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether the frame holds no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the memory belongs to an AF_XDP area.
    pub fn is_umem(&self) -> bool {
        matches!(self.chunk, Chunk::Umem(_))
    }

    /// Empties the frame and puts its start back to [`HEADROOM`].
    pub fn reset(&mut self) {
        self.start = HEADROOM as u16;
        self.len = 0;
    }

    /// Replaces the content; false, with the frame left empty, if it does not fit.
    pub fn set(&mut self, bytes: &[u8]) -> bool {
        self.reset();
        match self.grow(bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    /// Adds `n` bytes behind the end and gives them out to be written; `None` if there is no room.
    pub fn grow(&mut self, n: usize) -> Option<&mut [u8]> {
        let end = usize::from(self.start) + usize::from(self.len);
        if n > CHUNK - end {
            return None;
        }
        self.len += n as u16;
        Some(&mut self.chunk.bytes_mut()[end..end + n])
    }

    /// Adds `n` bytes in front and gives them out to be written; `None` if the headroom is smaller.
    pub fn push_front(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > usize::from(self.start) {
            return None;
        }
        self.start -= n as u16;
        self.len += n as u16;
        let s = usize::from(self.start);
        Some(&mut self.chunk.bytes_mut()[s..s + n])
    }

    /// Takes `n` bytes off the front; false, with nothing changed, if the frame is shorter.
    pub fn pull_front(&mut self, n: usize) -> bool {
        if n > self.len() {
            return false;
        }
        self.start += n as u16;
        self.len -= n as u16;
        true
    }

    /// Cuts the frame to `len` bytes; longer frames than that only.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len() {
            self.len = len as u16;
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} bytes at {})", self.len, self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushing_and_pulling_keep_the_middle() {
        let mut f = Frame::from_bytes(b"middle").unwrap();
        f.push_front(4).unwrap().copy_from_slice(b"head");
        f.grow(4).unwrap().copy_from_slice(b"tail");
        assert_eq!(f.bytes(), b"headmiddletail");
        assert!(f.pull_front(4));
        f.truncate(6);
        assert_eq!(f.bytes(), b"middle");
        assert!(!f.pull_front(7));
        assert!(f.push_front(HEADROOM + 1).is_none());
        assert!(Frame::from_bytes(&[0; MAX_FRAME + 1]).is_none());
    }
}
