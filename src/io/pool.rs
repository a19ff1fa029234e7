//! Spare frames in ordinary memory, for the ports that have no area of their own.

use super::afxdp;
use super::port::PortStats;
use crate::buf::{Burst, Frame};

/// Spare frames kept at most: 2 MiB.
const SPARE: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Pool {
    spare: Vec<Frame>,
    /// Frames taken and not put back.
    held: i64,
}

impl Pool {
    /// An empty frame.
    pub(super) fn take(&mut self) -> Frame {
        self.held += 1;
        self.spare.pop().unwrap_or_else(Frame::heap)
    }

    /// How many frames were taken, less those that came back, from here or from others.
    pub(super) fn held(&self) -> i64 {
        self.held
    }

    /// Adds a copy of `bytes` to `out`, counted as received; or counted as too long, and false.
    pub(super) fn receive(&mut self, bytes: &[u8], stats: &mut PortStats, out: &mut Burst) -> bool {
        let mut frame = self.take();
        let fits = frame.set(bytes);
        if fits {
            self.deliver(frame, stats, out);
        } else {
            stats.rx_oversize += 1;
            self.put(frame);
        }
        fits
    }

    /// Adds a frame to `out`, which has room, and counts it as received.
    pub(super) fn deliver(&mut self, frame: Frame, stats: &mut PortStats, out: &mut Burst) {
        stats.rx_frames += 1;
        stats.rx_bytes += frame.len() as u64;
        if let Err(frame) = out.push(frame) {
            self.put(frame);
        }
    }

    /// Takes a frame back; one from an AF_XDP area is sent home.
    pub(super) fn put(&mut self, mut frame: Frame) {
        if frame.is_umem() {
            return afxdp::send_home(frame);
        }
        self.held -= 1;
        if self.spare.len() < SPARE {
            frame.reset();
            self.spare.push(frame);
        }
    }
}
