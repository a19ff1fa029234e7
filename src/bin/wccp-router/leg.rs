//! One leg of the router: AF_PACKET sockets on an interface, read and written in batches.
//!
//! A socket for one EtherType does not see the frames that this host sends (one for all types would),
//! so each leg has two: IPv4, on which everything is sent too, and ARP.

use crate::outbox::{BATCH, Batch, FRAME_ROOM};
use crate::packet::{ETHERTYPE_ARP, ETHERTYPE_IPV4};
use nix::errno::Errno;
use nix::sys::socket::{self, LinkAddr, MsgFlags, MultiHeaders, SockaddrLike, sockopt};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};
use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Frames that one read takes.
pub const RX_BATCH: usize = 64;
/// Kernel memory for frames not read yet: a 256 KiB TCP window is less than this in flight, many times.
const SOCKET_BUFFER: usize = 32 << 20;

/// What was counted on a leg.
#[derive(Debug, Clone, Copy, Default)]
pub struct LegStats {
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames longer than the room for one: an offload is on.
    pub rx_oversize: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames that could not be sent.
    pub tx_lost: u64,
}

/// An open leg.
pub struct Leg {
    name: String,
    mac: [u8; 6],
    index: usize,
    ip: OwnedFd,
    arp: OwnedFd,
    rx_headers: MultiHeaders<LinkAddr>,
    tx_headers: MultiHeaders<LinkAddr>,
    rx_bytes: Box<[u8]>,
    rx_lengths: [usize; RX_BATCH],
    /// Counters since the leg was opened.
    pub stats: LegStats,
}

/// Why a leg could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("{leg}: {what}")]
pub struct LegError {
    leg: String,
    what: String,
}

impl Leg {
    /// Opens the sockets of `name`.
    ///
    /// # Errors
    /// No such interface, or no right to open packet sockets (CAP_NET_RAW).
    pub fn open(name: &str) -> Result<Self, LegError> {
        let fail = |what: String| LegError { leg: name.to_owned(), what };
        let link = link_address(name).ok_or_else(|| fail("there is no such interface here".into()))?;
        let mac = link.addr().ok_or_else(|| fail("the interface has no MAC address".into()))?;
        let open =
            |ethertype| packet_socket(ethertype, &link).map_err(|e| fail(format!("packet socket: {e}")));
        let (ip, arp) = (open(ETHERTYPE_IPV4)?, open(ETHERTYPE_ARP)?);
        // Without CAP_NET_ADMIN the usual buffer stays; the router then only drops sooner.
        let _ = socket::setsockopt(&ip, sockopt::RcvBufForce, &SOCKET_BUFFER);
        let _ = socket::setsockopt(&ip, sockopt::SndBufForce, &SOCKET_BUFFER);
        Ok(Self {
            name: name.to_owned(),
            mac,
            index: link.ifindex(),
            ip,
            arp,
            rx_headers: MultiHeaders::preallocate(RX_BATCH, None),
            tx_headers: MultiHeaders::preallocate(RX_BATCH, None),
            rx_bytes: vec![0; RX_BATCH * FRAME_ROOM].into(),
            rx_lengths: [0; RX_BATCH],
            stats: LegStats::default(),
        })
    }

    /// The interface's MAC address.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// What to wait on: IPv4 and ARP.
    pub fn poll_fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.ip.as_fd(), self.arp.as_fd()]
    }

    /// Reads up to [`RX_BATCH`] frames and says how many; see [`frame`](Self::frame). ARP comes first.
    ///
    /// # Errors
    /// The interface is gone or down.
    pub fn receive(&mut self) -> Result<usize, LegError> {
        match self.receive_from(self.arp.as_raw_fd())? {
            0 => self.receive_from(self.ip.as_raw_fd()),
            n => Ok(n),
        }
    }

    /// The frame number `index` of the last batch, to be changed in place; empty if there is none.
    pub fn frame(&mut self, index: usize) -> &mut [u8] {
        let len = self.rx_lengths.get(index).copied().unwrap_or(0);
        let at = index.min(RX_BATCH - 1) * FRAME_ROOM;
        &mut self.rx_bytes[at..at + len]
    }

    /// Sends all of `batch` and empties it.
    ///
    /// # Errors
    /// The interface is gone or down.
    pub fn send(&mut self, batch: &mut Batch) -> Result<(), LegError> {
        const NO_ADDRESS: [Option<LinkAddr>; RX_BATCH] = [None; RX_BATCH];
        let mut sent = 0;
        while sent < batch.len() {
            let want = (batch.len() - sent).min(RX_BATCH);
            let slices: [[IoSlice<'_>; 1]; RX_BATCH] =
                std::array::from_fn(|i| [IoSlice::new(if i < want { batch.frame(sent + i) } else { &[] })]);
            let done = socket::sendmmsg(
                self.ip.as_raw_fd(),
                &mut self.tx_headers,
                &slices[..want],
                &NO_ADDRESS[..want],
                [],
                MsgFlags::empty(),
            )
            .map(Iterator::count);
            match done {
                Ok(n) => {
                    self.stats.tx_frames += n as u64;
                    self.stats.tx_bytes += (sent..sent + n).map(|i| batch.frame(i).len() as u64).sum::<u64>();
                    sent += n.max(1);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::ENETDOWN | Errno::ENXIO | Errno::ENODEV) => {
                    batch.clear();
                    return Err(LegError { leg: self.name.clone(), what: "the interface went down".into() });
                }
                // One frame was refused (too long, no memory): it is lost, the others still go.
                Err(_) => {
                    self.stats.tx_lost += 1;
                    sent += 1;
                }
            }
        }
        batch.clear();
        Ok(())
    }

    fn receive_from(&mut self, fd: i32) -> Result<usize, LegError> {
        let mut chunks = self.rx_bytes.chunks_exact_mut(FRAME_ROOM);
        let mut slices: [[IoSliceMut<'_>; 1]; RX_BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(chunks.next().unwrap_or_default())]);
        let results = match socket::recvmmsg(
            fd,
            &mut self.rx_headers,
            slices.iter_mut(),
            MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC,
            None,
        ) {
            Ok(results) => results,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(0),
            Err(e) => return Err(LegError { leg: self.name.clone(), what: format!("receive: {e}") }),
        };
        let mut count = 0;
        for message in results {
            // Between its creation and its binding the socket heard every interface of the namespace.
            let ours = message.address.is_none_or(|a| a.ifindex() == self.index);
            let whole = message.bytes <= FRAME_ROOM;
            self.stats.rx_frames += u64::from(ours);
            self.stats.rx_bytes += if ours { message.bytes as u64 } else { 0 };
            self.stats.rx_oversize += u64::from(ours && !whole);
            self.rx_lengths[count] = if ours && whole { message.bytes } else { 0 };
            count += 1;
        }
        Ok(count)
    }
}

fn packet_socket(ethertype: u16, link: &LinkAddr) -> nix::Result<OwnedFd> {
    let protocol = u32::from(ethertype.to_be());
    let protocol = std::num::NonZeroU32::new(protocol).map(Protocol::from_raw);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, protocol)
        .map_err(|e| Errno::from_raw(e.raw_os_error()))?;
    socket::bind(fd.as_raw_fd(), link)?;
    Ok(fd)
}

fn link_address(name: &str) -> Option<LinkAddr> {
    let found = nix::ifaddrs::getifaddrs().ok()?.find_map(|a| {
        let address = a.address.filter(|_| a.interface_name == name)?;
        address.as_link_addr().copied()
    })?;
    (found.len() > 0).then_some(found)
}

/// The MTU of interface `name`, if the system tells.
pub fn interface_mtu(name: &str) -> Option<usize> {
    fs::read_to_string(format!("/sys/class/net/{name}/mtu")).ok()?.trim().parse().ok()
}

const _: () = assert!(BATCH >= RX_BATCH);
