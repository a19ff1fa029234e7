//! AF_XDP: frames by shared-memory rings, steered to us by an XDP program.
//!
//! ```text
//!             fill ──► kernel ──► receive            chunks for receiving: fill, then receive ring
//!   free list ┤                          ├─ Frame    chunks in the program
//!             completion ◄── kernel ◄── transmit     chunks for sending: transmit, then completion ring
//! ```
//!
//! The socket works in copy mode, which every driver has. Needs Linux 5.18 (XDP programs that see
//! frames in fragments), `CAP_NET_RAW`, `CAP_NET_ADMIN` and `CAP_BPF`.
#![allow(unsafe_code)]

mod program;
mod ring;
mod socket;
mod steer;
mod sys;
mod umem;

pub use steer::{Addresses, Steering};
pub use umem::{ChunkCount, send_home};

use super::link::{self, Link};
use super::port::{Attach, Port, PortError, PortInfo, PortStats};
use crate::buf::{BURST, Burst, CHUNK, Chunk, Frame, HEADROOM};
use program::{Oversize, Program};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::xdp::{XdpDesc, XdpDescOptions};
use socket::Socket;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use umem::Umem;

/// `XDP_PACKET_HEADROOM` of linux/bpf.h: what the kernel leaves free in front of a received frame.
const XDP_HEADROOM: usize = 256;
/// How many entries a ring may have; powers of two among them. The kernel takes no more.
pub const RING_SIZES: RangeInclusive<u32> = 64..=32_768;
/// Ethernet header and two VLAN tags.
const LINK_HEADER: usize = 14 + 2 * 4;
/// The shortest frame that can be sent: an Ethernet header.
const MIN_FRAME: usize = 14;
/// The largest MTU, in bytes, whose frames fit into a chunk with two VLAN tags.
pub const MAX_MTU: u32 = (CHUNK - XDP_HEADROOM - LINK_HEADER) as u32;
/// Empty turns between two looks at whether the interface is still there.
const LOOK_EVERY: u32 = 256;

/// A remedy for what cannot be.
const REPORT: &str = "report this";

const _: () = assert!(XDP_HEADROOM >= HEADROOM && MAX_MTU >= 1500);

/// How to open a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The interface's name.
    pub interface: String,
    /// Its receive queue, from 0. [`open_all`] takes all queues instead.
    pub queue: u32,
    /// Which ways to attach the XDP program are tried, in this order.
    pub attach: &'static [Attach],
    /// Entries of the receive and the fill ring: a power of two, see [`RING_SIZES`].
    pub rx_ring: u32,
    /// Entries of the transmit and the completion ring: likewise.
    pub tx_ring: u32,
    /// Chunks of 2,048 bytes: 256 to 1,048,576. At most half of them lie ready for receiving.
    pub chunks: u32,
    /// Which frames are for us.
    pub steering: Steering,
    /// The card is to take in frames for other stations as well.
    pub promiscuous: bool,
}

impl Options {
    /// Queue 0 of `interface`, rings of 2,048 entries, 16 MiB of chunks; all frames. Attached in the driver
    /// if that can be, in the generic path otherwise.
    pub fn new(interface: &str) -> Self {
        let steering = Steering::default();
        let attach = &[Attach::Native, Attach::Generic];
        let interface = interface.into();
        Self {
            interface,
            queue: 0,
            attach,
            rx_ring: 2048,
            tx_ring: 2048,
            chunks: 8192,
            steering,
            promiscuous: false,
        }
    }

    fn check(&self) -> Result<(), PortError> {
        for (what, size) in [("rx_ring", self.rx_ring), ("tx_ring", self.tx_ring)] {
            if !size.is_power_of_two() || !RING_SIZES.contains(&size) {
                let what = format!("{what} = {size} is no ring size");
                return Err(fault(&self.interface, what, "use a power of two from 64 to 32768"));
            }
        }
        if !(256..=1 << 20).contains(&self.chunks) {
            let what = format!("chunks = {} is out of range", self.chunks);
            return Err(fault(&self.interface, what, "use 256 to 1048576"));
        }
        Ok(())
    }
}

/// One receive queue of one interface.
///
/// The XDP program stays attached until the last port of its interface is dropped.
#[derive(Debug)]
pub struct AfXdpPort {
    info: PortInfo,
    stats: PortStats,
    socket: Socket,
    umem: Umem,
    /// Chunks that may lie ready for receiving.
    rx_share: u32,
    /// The longest frame that the link takes.
    frame_limit: usize,
    empty_turns: u32,
    /// Frames in ordinary memory, of other ports, that ended here.
    swallowed: i64,
    /// The program counts for the interface: the port of its first queue tells it.
    oversize: Option<Oversize>,
    /// Likewise.
    addresses: Option<Addresses>,
    /// Keeps the card taking in the groups that neighbours ask for our addresses by, or everything.
    _groups: Option<OwnedFd>,
    _program: Arc<Program>,
}

/// Opens one queue.
///
/// # Errors
/// Each with its own text and remedy: the interface is missing or down, its MTU is above [`MAX_MTU`],
/// another XDP program is attached, the queue is taken or does not exist, a capability is missing,
/// memory cannot be locked, the kernel is too old, the options are out of range.
pub fn open(options: &Options) -> Result<AfXdpPort, PortError> {
    let link = usable_link(options)?;
    let mut ports = open_queues(&link, options, options.queue..options.queue + 1)?;
    ports.pop().ok_or_else(|| fault(&options.interface, "no queue was opened", REPORT))
}

/// Opens every receive queue that the interface uses, each as a port with rings and chunks of its own.
///
/// # Errors
/// As [`open`].
pub fn open_all(options: &Options) -> Result<Vec<AfXdpPort>, PortError> {
    let link = usable_link(options)?;
    open_queues(&link, options, 0..rx_queues(&link))
}

/// How many receive queues an interface uses now; where its driver does not tell, how many it was made with.
pub fn rx_queues(link: &Link) -> u32 {
    rx_queues_told(link).unwrap_or(link.rx_queues).max(1)
}

/// How many receive queues an interface's driver says that it uses; `None` if it does not tell, or not now.
pub fn rx_queues_told(link: &Link) -> Option<u32> {
    sys::rx_queues_in_use(&link.name)
}

fn usable_link(options: &Options) -> Result<Link, PortError> {
    options.check()?;
    let link = link::find_up(&options.interface)?;
    if link.mtu > MAX_MTU {
        return Err(fault(
            &link.name,
            format!("MTU too large: {} bytes, frames of up to {MAX_MTU} fit", link.mtu),
            format!("`ip link set dev {} mtu 1500`", link.name),
        ));
    }
    Ok(link)
}

fn open_queues(
    link: &Link,
    options: &Options,
    queues: std::ops::Range<u32>,
) -> Result<Vec<AfXdpPort>, PortError> {
    let mut opened = Vec::new();
    for queue in queues {
        let mut umem = Umem::new(options.chunks).map_err(|e| {
            let what = format!("no memory for {} chunks: {e}", options.chunks);
            fault(&link.name, what, "use fewer chunks, or more memory")
        })?;
        let mut socket = Socket::open(link, queue, options, &umem)?;
        let rx_share = options.rx_ring.min(options.chunks / 2);
        // Before the program is attached, so that the first frame finds a chunk.
        refill(&mut socket, &mut umem, rx_share);
        opened.push((queue, socket, umem));
    }
    let frame_limit = link.mtu as usize + LINK_HEADER;
    let sockets: Vec<_> = opened.iter().map(|(queue, socket, _)| (*queue, socket.fd.as_fd())).collect();
    let steering = &options.steering;
    let host: Vec<IpAddr> = if steering.shared {
        link::addresses(&link.name)?.into_iter().map(|a| a.address).collect()
    } else {
        Vec::new()
    };
    // A NIC takes in only the groups that somebody on the host has joined.
    let groups: Vec<_> = steering.own.iter().filter_map(|a| solicited_group(*a)).collect();
    let mut groups = sys::join(link.index, &groups, options.promiscuous).map_err(|e| {
        fault(&link.name, format!("taking in other stations' frames, or IPv6's groups, failed: {e}"), REPORT)
    })?;
    let (program, oversize, addresses) = program::attach(link, frame_limit as u32, options, &host, &sockets)?;
    let (program, mut oversize) = (Arc::new(program), Some(oversize));
    let mut addresses = Some(addresses);
    let port = |(_, socket, umem)| AfXdpPort {
        info: PortInfo {
            name: link.name.clone(),
            driver: "af_xdp",
            mac: link.mac,
            mtu: link.mtu as u16,
            attach: Some(program.attach()),
            zero_copy: false,
        },
        stats: PortStats::default(),
        socket,
        umem,
        rx_share: options.rx_ring.min(options.chunks / 2),
        frame_limit,
        empty_turns: 0,
        swallowed: 0,
        oversize: oversize.take(),
        addresses: addresses.take(),
        _groups: groups.take(),
        _program: Arc::clone(&program),
    };
    Ok(opened.into_iter().map(port).collect())
}

impl AfXdpPort {
    /// The XDP program's list of addresses, to be kept current; once, from the interface's first port.
    pub fn take_addresses(&mut self) -> Option<Addresses> {
        self.addresses.take()
    }

    /// Where this port's chunks are.
    pub fn chunks(&self) -> ChunkCount {
        self.umem.count()
    }

    /// Takes back the chunks that were sent, and those that other ports sent home.
    fn reap(&mut self) {
        let completion = &mut self.socket.completion;
        if completion.available() > 0 {
            while let Some(address) = completion.pop() {
                self.umem.take_tx(address);
            }
            completion.release();
        }
        self.umem.collect();
    }

    /// Queues a chunk that [`Umem::give_tx`] gave the address of.
    fn queue(&mut self, address: u64, start: usize, len: usize) {
        let desc =
            XdpDesc { addr: address + start as u64, len: len as u32, options: XdpDescOptions::empty() };
        if self.socket.tx.push(desc) {
            self.stats.tx_frames += 1;
            self.stats.tx_bytes += len as u64;
        } else {
            self.umem.take_tx(address);
            self.stats.tx_lost += 1;
        }
    }

    /// Sends a copy, in a chunk of ours.
    fn send_copy(&mut self, bytes: &[u8]) {
        let room = HEADROOM..HEADROOM + bytes.len();
        let Some(Chunk::Umem(chunk)) = self.umem.lend() else {
            self.stats.tx_lost += 1;
            return;
        };
        match chunk.get_mut(room) {
            Some(room) => room.copy_from_slice(bytes),
            None => {
                self.stats.tx_lost += 1;
                return self.umem.put_back(chunk);
            }
        }
        match self.umem.give_tx(chunk) {
            Ok(address) => self.queue(address, HEADROOM, bytes.len()),
            Err(chunk) => self.umem.put_back(chunk),
        }
    }

    /// Whether the interface is gone for good: unregistering it unbinds the socket.
    fn look(&self) -> Result<(), PortError> {
        match sockopt::socket_error(&self.socket.fd) {
            Ok(Err(Errno::NETDOWN)) => Err(gone(&self.info.name)),
            _ => Ok(()),
        }
    }
}

impl Port for AfXdpPort {
    fn info(&self) -> &PortInfo {
        &self.info
    }

    fn stats(&mut self) -> PortStats {
        if let Ok(kernel) = sockopt::xdp_statistics(&self.socket.fd) {
            self.stats.rx_lost = kernel.rx_dropped.saturating_add(kernel.rx_ring_full.unwrap_or(0));
        }
        if let Some(oversize) = &self.oversize {
            self.stats.rx_oversize = oversize.read();
        }
        self.umem.collect();
        self.stats.held = i64::from(self.umem.count().out) - self.swallowed;
        self.stats
    }

    fn rx(&mut self, out: &mut Burst) -> Result<(), PortError> {
        let got = (self.socket.rx.available() as usize).min(out.room());
        for _ in 0..got {
            let Some(desc) = self.socket.rx.pop() else { break };
            let len = desc.len as usize;
            let Some((chunk, start)) = self.umem.take_rx(desc.addr, len) else { continue };
            let Some(frame) = Frame::from_chunk(chunk, start, len) else { continue };
            self.stats.rx_frames += 1;
            self.stats.rx_bytes += len as u64;
            if let Err(frame) = out.push(frame) {
                self.recycle(frame);
            }
        }
        if got > 0 {
            self.empty_turns = 0;
            self.socket.rx.release();
        } else {
            self.empty_turns += 1;
            if self.empty_turns.is_multiple_of(LOOK_EVERY) {
                self.look()?;
            }
        }
        refill(&mut self.socket, &mut self.umem, self.rx_share);
        Ok(())
    }

    fn tx_slots(&mut self) -> usize {
        self.reap();
        self.socket.tx.room().min(self.umem.count().free) as usize
    }

    fn alloc(&mut self) -> Option<Frame> {
        self.umem.lend().map(Frame::new)
    }

    fn tx(&mut self, frame: Frame) {
        if !(MIN_FRAME..=self.frame_limit).contains(&frame.len()) {
            self.stats.tx_lost += 1;
            return self.recycle(frame);
        }
        let (chunk, start, len) = frame.into_chunk();
        match chunk {
            Chunk::Umem(chunk) => match self.umem.give_tx(chunk) {
                Ok(address) => self.queue(address, start, len),
                Err(foreign) => {
                    self.send_copy(&foreign[start..start + len]);
                    self.umem.put_back(foreign);
                }
            },
            Chunk::Heap(bytes) => {
                self.swallowed += 1;
                self.send_copy(&bytes[start..start + len]);
            }
        }
    }

    fn recycle(&mut self, frame: Frame) {
        match frame.into_chunk().0 {
            Chunk::Umem(chunk) => self.umem.put_back(chunk),
            Chunk::Heap(_) => self.swallowed += 1,
        }
    }

    fn flush(&mut self) -> Result<(), PortError> {
        /// Calls that may end without the kernel taking a frame before we leave it for the next turn.
        const STALLS: u32 = 2;
        self.socket.tx.publish();
        let mut stalls = 0;
        loop {
            let before = self.socket.tx.pending();
            // In copy mode one call sends some 32 frames and then says EAGAIN, so it takes several.
            if before == 0 || stalls > STALLS || !self.socket.tx.needs_wakeup() {
                return Ok(());
            }
            match sys::kick_tx(&self.socket.fd) {
                Ok(()) | Err(Errno::AGAIN | Errno::BUSY | Errno::NOBUFS | Errno::INTR) => {}
                // The link is down: the frames wait in the ring until it is back, or never.
                Err(Errno::NETDOWN) => return self.look(),
                Err(_) => return Err(gone(&self.info.name)),
            }
            // A full completion ring stops the kernel as well.
            self.reap();
            if self.socket.tx.pending() == before {
                stalls += 1;
            }
        }
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.fd.as_fd())
    }
}

/// Gives the kernel chunks to receive into, up to `share` in all, and wakes it if it asks for that.
fn refill(socket: &mut Socket, umem: &mut Umem, share: u32) {
    // Not for each frame: the shared index is worth a batch.
    let missing = share.saturating_sub(umem.count().rx);
    if missing >= (BURST as u32).min(share / 2) || umem.count().rx == 0 {
        for _ in 0..missing.min(socket.fill.room()) {
            let Some(address) = umem.give_rx() else { break };
            if !socket.fill.push(address) {
                break;
            }
        }
        socket.fill.publish();
    }
    if socket.fill.needs_wakeup() {
        // Only a nudge: what it may say (nothing to receive, say) is found out by receiving.
        let _ = sys::kick_rx(&socket.fd);
    }
}

/// Tries again for half a second until the outcome is `good`; the last outcome. For opening only.
fn patiently<T>(mut attempt: impl FnMut() -> T, good: impl Fn(&T) -> bool) -> T {
    for _ in 0..25 {
        let outcome = attempt();
        if good(&outcome) {
            return outcome;
        }
        crate::io::wait([], std::time::Duration::from_millis(20));
    }
    attempt()
}

/// The multicast MAC address of an address's solicited-node group (RFC 4291 section 2.7.1, RFC 2464 section 7).
fn solicited_group(address: IpAddr) -> Option<[u8; 6]> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(a) => {
            let [.., x, y, z] = a.octets();
            Some([0x33, 0x33, 0xff, x, y, z])
        }
    }
}

fn gone(interface: &str) -> PortError {
    fault(interface, "the interface is gone", "bring it back and start again")
}

fn fault(interface: &str, what: impl Into<String>, remedy: impl Into<String>) -> PortError {
    PortError { interface: interface.into(), what: what.into(), remedy: remedy.into() }
}

fn denied(interface: &str, doing: &str, capability: &str) -> PortError {
    fault(
        interface,
        format!("{doing} is not permitted: {capability} is missing"),
        "run as root, or grant CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF (AmbientCapabilities= in a systemd unit)",
    )
}
