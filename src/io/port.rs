//! What a worker needs of a network interface, whatever drives it.

use crate::buf::{Burst, Frame};
use std::os::fd::BorrowedFd;

/// How an XDP program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attach {
    /// In the NIC driver.
    Native,
    /// In the kernel's generic path (slower; any driver).
    Generic,
}

/// What an open port is and how it works, for the log and for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortInfo {
    /// The interface's name, or the file's.
    pub name: String,
    /// `af_xdp`, `pnet`, `pcap` or `mem`.
    pub driver: &'static str,
    /// The interface's own MAC address.
    pub mac: [u8; 6],
    /// MTU in bytes, without the Ethernet header.
    pub mtu: u16,
    /// How the XDP program is attached; `None` for other drivers.
    pub attach: Option<Attach>,
    /// Whether the kernel hands over frames without copying them.
    pub zero_copy: bool,
}

/// Counters of a port since it was opened, and what is out of it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortStats {
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames that the kernel dropped before we saw them (ring full, no buffer).
    pub rx_lost: u64,
    /// Received frames longer than the MTU allows: an offload is on.
    pub rx_oversize: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames that could not be sent (ring full, link down, refused).
    pub tx_lost: u64,
    /// Frames that the program holds now: received or allocated, and neither sent nor taken back. One that ended up at
    /// another port counts at both, so that their sum is right; with two ports it may be less than none.
    pub held: i64,
}

/// Why a port could not be opened or went away. The text names the interface and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{interface}: {what}; {remedy}")]
pub struct PortError {
    /// Which interface or file.
    pub interface: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// One interface as a worker sees it: bursts in, bursts out, never blocking except in `poll_fd` waits.
///
/// Per turn the worker calls [`rx`](Self::rx), then [`tx_slots`](Self::tx_slots) once, lets the engine
/// work, then [`tx`](Self::tx) with at most that many frames, and [`flush`](Self::flush).
pub trait Port: Send {
    /// What this port is.
    fn info(&self) -> &PortInfo;

    /// Counters so far.
    fn stats(&mut self) -> PortStats;

    /// Appends received frames to `out`, as many as there are and fit.
    ///
    /// # Errors
    /// The interface is gone or down for good; a passing fault is not an error.
    fn rx(&mut self, out: &mut Burst) -> Result<(), PortError>;

    /// How many frames [`tx`](Self::tx) can surely take now: ring space and free buffers, whichever is less.
    fn tx_slots(&mut self) -> usize;

    /// An empty frame to build a packet in, from this port's own memory. Within the number that
    /// [`tx_slots`](Self::tx_slots) gave there always is one.
    fn alloc(&mut self) -> Option<Frame>;

    /// Sends one frame. A frame in foreign memory is copied. Beyond `tx_slots` it is dropped and counted.
    fn tx(&mut self, frame: Frame);

    /// Takes back a frame that is not to be sent.
    fn recycle(&mut self, frame: Frame);

    /// Makes the kernel look at what was queued by [`tx`](Self::tx).
    ///
    /// # Errors
    /// As [`rx`](Self::rx).
    fn flush(&mut self) -> Result<(), PortError>;

    /// What to wait on until frames arrive; `None` if there is nothing to wait on (files, memory).
    fn poll_fd(&self) -> Option<BorrowedFd<'_>>;
}
