//! The system calls of AF_XDP that are not plain safe functions elsewhere.

use nix::libc;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use std::ptr::NonNull;

/// A shared memory mapping that ends with this value.
#[derive(Debug)]
pub(super) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is plain memory of the process; nothing about it belongs to a thread.
unsafe impl Send for Mapping {}
// SAFETY: this type itself never reads or writes the memory; those who do say why they may.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Zeroed memory of our own, page-aligned, backed by pages at once.
    pub(super) fn anonymous(len: usize) -> rustix::io::Result<Self> {
        // SAFETY: a null hint lets the kernel choose the place, so no memory in use is replaced.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::POPULATE,
            )
        }?;
        Self::from_raw(base.cast(), len)
    }

    /// The ring of the AF_XDP socket `fd` that is mapped at `offset`.
    pub(super) fn ring(fd: BorrowedFd<'_>, len: usize, offset: u64) -> rustix::io::Result<Self> {
        // SAFETY: as above; the kernel checks offset and length against the ring.
        let base = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::POPULATE,
                fd,
                offset,
            )
        }?;
        Self::from_raw(base.cast(), len)
    }

    fn from_raw(base: *mut u8, len: usize) -> rustix::io::Result<Self> {
        Ok(Self { base: NonNull::new(base).ok_or(Errno::NOMEM)?, len })
    }

    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and len are those of a mapping that this value owns; what points into it holds
        // this value (see `ring`), or is known to be gone (see `umem`).
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok());
    }
}

/// A new AF_XDP socket.
pub(super) fn xdp_socket() -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None)
}

/// Has the interface take in frames to these multicast addresses, or to `everybody`, until the descriptor is
/// closed. `None` if it need not.
pub(super) fn join(
    interface: u32,
    groups: &[[u8; 6]],
    everybody: bool,
) -> rustix::io::Result<Option<OwnedFd>> {
    if groups.is_empty() && !everybody {
        return Ok(None);
    }
    // Without a protocol the socket itself receives nothing.
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let groups = groups.iter().map(|g| (libc::PACKET_MR_MULTICAST, *g));
    for (kind, group) in groups.chain(everybody.then_some((libc::PACKET_MR_PROMISC, [0; 6]))) {
        let mut address = [0; 8];
        address[..6].copy_from_slice(&group);
        let request = libc::packet_mreq {
            mr_ifindex: interface as i32,
            mr_type: kind as u16,
            mr_alen: 6,
            mr_address: address,
        };
        // SAFETY: the option takes a packet_mreq, which is read during the call; the length is its own.
        let done = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_ADD_MEMBERSHIP,
                (&raw const request).cast(),
                size_of::<libc::packet_mreq>() as libc::socklen_t,
            )
        };
        if done != 0 {
            return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL));
        }
    }
    Ok(Some(socket))
}

/// Has the kernel look at the transmit ring.
pub(super) fn kick_tx(fd: impl AsFd) -> rustix::io::Result<()> {
    send(fd, &[], SendFlags::DONTWAIT).map(drop)
}

/// Has the driver look at the fill ring.
pub(super) fn kick_rx(fd: impl AsFd) -> rustix::io::Result<()> {
    recv(fd, &mut [0u8; 0][..], RecvFlags::DONTWAIT).map(drop)
}

/// `struct ethtool_channels` of linux/ethtool.h.
#[repr(C)]
#[derive(Default)]
struct Channels {
    command: u32,
    max: [u32; 4],
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

/// `struct ifreq` with a pointer argument.
#[repr(C)]
struct Request {
    name: [u8; 16],
    data: *mut Channels,
    rest: [u8; 16],
}

const _: () = assert!(size_of::<Channels>() == 36 && size_of::<Request>() == 40);

/// How many receive queues the driver uses now; `None` if it does not tell.
pub(super) fn rx_queues_in_use(interface: &str) -> Option<u32> {
    const SIOCETHTOOL: Opcode = 0x8946;
    const ETHTOOL_GCHANNELS: u32 = 0x3c;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()?;
    let mut channels = Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() };
    let mut request = Request { name: [0; 16], data: &raw mut channels, rest: [0; 16] };
    request
        .name
        .get_mut(..interface.len().min(15))?
        .copy_from_slice(&interface.as_bytes()[..interface.len().min(15)]);
    // SAFETY: SIOCETHTOOL takes an ifreq whose pointer leads to the command's structure; both are laid
    // out as the kernel has them (sizes asserted above) and live until the call returns.
    unsafe { ioctl(&socket, Updater::<SIOCETHTOOL, Request>::new(&mut request)) }.ok()?;
    // SAFETY: reads the local variable through the pointer that the kernel wrote through.
    let answer = unsafe { request.data.read() };
    Some(answer.rx.saturating_add(answer.combined)).filter(|n| *n > 0)
}
