//! Spare frames in ordinary memory, for the ports that have no area of their own.

use super::afxdp;
use crate::buf::Frame;

/// Spare frames kept at most: 2 MiB.
const SPARE: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Pool {
    spare: Vec<Frame>,
}

impl Pool {
    /// An empty frame.
    pub(super) fn take(&mut self) -> Frame {
        self.spare.pop().unwrap_or_else(Frame::heap)
    }

    /// Takes a frame back; one from an AF_XDP area is sent home.
    pub(super) fn put(&mut self, mut frame: Frame) {
        if frame.is_umem() {
            afxdp::send_home(frame);
        } else if self.spare.len() < SPARE {
            frame.reset();
            self.spare.push(frame);
        }
    }
}
