//! A port in memory: what is pushed into its handle is received, what is sent can be taken out there.

use super::pool::Pool;
use super::port::{Port, PortError, PortInfo, PortStats};
use crate::buf::{Burst, Frame};
use crossbeam::queue::ArrayQueue;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// The port's end of a wire in memory.
#[derive(Debug)]
pub struct MemPort {
    info: PortInfo,
    stats: PortStats,
    pool: Pool,
    wire: Arc<Wire>,
}

/// The other end. Clones are the same end.
#[derive(Debug, Clone)]
pub struct MemHandle {
    wire: Arc<Wire>,
}

#[derive(Debug)]
struct Wire {
    toward_port: ArrayQueue<Vec<u8>>,
    from_port: ArrayQueue<Vec<u8>>,
}

/// A port with MTU 1500 and its handle; each direction holds up to `capacity` frames, at least one.
pub fn pair(name: &str, mac: [u8; 6], capacity: usize) -> (MemPort, MemHandle) {
    let capacity = capacity.max(1);
    let wire =
        Arc::new(Wire { toward_port: ArrayQueue::new(capacity), from_port: ArrayQueue::new(capacity) });
    let info = PortInfo { name: name.into(), driver: "mem", mac, mtu: 1500, attach: None, zero_copy: false };
    let port = MemPort { info, stats: PortStats::default(), pool: Pool::default(), wire: Arc::clone(&wire) };
    (port, MemHandle { wire })
}

impl MemHandle {
    /// Puts a frame on the wire toward the port; false if the queue is full.
    pub fn push(&self, frame: &[u8]) -> bool {
        self.wire.toward_port.push(frame.to_vec()).is_ok()
    }

    /// The next frame that the port has sent.
    pub fn take(&self) -> Option<Vec<u8>> {
        self.wire.from_port.pop()
    }

    /// Frames that the port has not received yet.
    pub fn waiting(&self) -> usize {
        self.wire.toward_port.len()
    }
}

impl Port for MemPort {
    fn info(&self) -> &PortInfo {
        &self.info
    }

    fn stats(&mut self) -> PortStats {
        PortStats { held: self.pool.held(), ..self.stats }
    }

    fn rx(&mut self, out: &mut Burst) -> Result<(), PortError> {
        while out.room() > 0 {
            let Some(bytes) = self.wire.toward_port.pop() else { break };
            self.pool.receive(&bytes, &mut self.stats, out);
        }
        Ok(())
    }

    fn tx_slots(&mut self) -> usize {
        self.wire.from_port.capacity() - self.wire.from_port.len()
    }

    fn alloc(&mut self) -> Option<Frame> {
        Some(self.pool.take())
    }

    fn tx(&mut self, frame: Frame) {
        if self.wire.from_port.push(frame.bytes().to_vec()).is_ok() {
            self.stats.tx_frames += 1;
            self.stats.tx_bytes += frame.len() as u64;
        } else {
            self.stats.tx_lost += 1;
        }
        self.pool.put(frame);
    }

    fn recycle(&mut self, frame: Frame) {
        self.pool.put(frame);
    }

    fn flush(&mut self) -> Result<(), PortError> {
        Ok(())
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buf::MAX_FRAME;

    #[test]
    fn frames_pass_in_order_and_full_queues_count() {
        let (mut port, handle) = pair("mem0", [2, 0, 0, 0, 0, 9], 2);
        assert!(handle.push(b"one") && handle.push(&[7; MAX_FRAME + 1]) && !handle.push(b"three"));
        let mut burst = Burst::new();
        port.rx(&mut burst).unwrap();
        assert_eq!((burst.len(), handle.waiting(), port.stats().rx_oversize), (1, 0, 1));
        assert_eq!(port.tx_slots(), 2);
        port.tx(burst.drain().next().unwrap());
        port.tx(Frame::from_bytes(b"two").unwrap());
        assert_eq!(port.tx_slots(), 0);
        port.tx(Frame::from_bytes(b"lost").unwrap());
        assert_eq!(handle.take().unwrap(), b"one");
        assert_eq!(handle.take().unwrap(), b"two");
        assert_eq!(handle.take(), None);
        let stats = port.stats();
        assert_eq!((stats.rx_frames, stats.tx_frames, stats.tx_bytes, stats.tx_lost), (1, 2, 6, 1));
    }
}
