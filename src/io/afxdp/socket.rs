//! One AF_XDP socket: its four rings, bound to one queue of one interface.

use super::ring::{Consumer, Producer};
use super::sys::{self, Mapping};
use super::umem::Umem;
use super::{Options, denied, fault, patiently};
use crate::buf::CHUNK;
use crate::io::PortError;
use crate::io::link::Link;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING,
    XDP_UMEM_PGOFF_FILL_RING, XdpDesc, XdpRingOffset, XdpUmemReg, XdpUmemRegFlags,
};
use rustix::net::{bind, sockopt};
use std::os::fd::AsFd;
use std::sync::Arc;

const _: () = assert!(size_of::<XdpDesc>() == 16 && size_of::<XdpUmemReg>() == 32);

/// An open socket. The rings hold their own mappings.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) rx: Consumer<XdpDesc>,
    pub(super) fill: Producer<u64>,
    pub(super) tx: Producer<XdpDesc>,
    pub(super) completion: Consumer<u64>,
    pub(super) fd: OwnedFd,
}

impl Socket {
    /// Opens a socket over `umem` and binds it to `queue` of `link`, in copy mode.
    ///
    /// # Errors
    /// A missing capability, a queue that is taken or does not exist, not enough memory to lock.
    pub(super) fn open(link: &Link, queue: u32, options: &Options, umem: &Umem) -> Result<Self, PortError> {
        let name = &link.name;
        let fd = sys::xdp_socket().map_err(|e| match e {
            Errno::PERM | Errno::ACCESS => denied(name, "opening an AF_XDP socket", "CAP_NET_RAW"),
            Errno::AFNOSUPPORT => fault(
                name,
                "the kernel has no AF_XDP",
                "use a kernel with CONFIG_XDP_SOCKETS, or driver = \"pnet\"",
            ),
            e => fault(name, format!("no AF_XDP socket: {e}"), "raise the limit of open files (`ulimit -n`)"),
        })?;
        let rings = Self::rings(&fd, options, umem).map_err(|e| match e {
            Errno::NOBUFS | Errno::NOMEM => fault(
                name,
                format!("{} bytes of frame memory cannot be locked: {e}", umem.area().1),
                "raise the limit (`ulimit -l unlimited`, LimitMEMLOCK=infinity), grant CAP_IPC_LOCK, or use fewer chunks",
            ),
            e => fault(name, format!("setting up the AF_XDP rings failed: {e}"), "use Linux 5.18 or later"),
        })?;
        let flags = SocketAddrXdpFlags::XDP_COPY | SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP;
        let address = SocketAddrXdp::new(flags, link.index, queue);
        // The kernel frees a queue some time after its socket was closed: a restart must live with that.
        patiently(|| bind(&fd, &address), |bound| *bound != Err(Errno::BUSY)).map_err(|e| match e {
            Errno::BUSY => fault(
                name,
                format!("queue {queue} is taken by another AF_XDP socket"),
                "stop the program that holds it (`ss --xdp -p` names it)",
            ),
            Errno::INVAL => fault(
                name,
                format!("there is no queue {queue}"),
                format!("see `ethtool -l {name}` for how many queues there are"),
            ),
            Errno::PERM | Errno::ACCESS => denied(name, "binding an AF_XDP socket", "CAP_NET_RAW"),
            e => {
                fault(name, format!("binding to queue {queue} failed: {e}"), "see the kernel's log (`dmesg`)")
            }
        })?;
        let (rx, fill, tx, completion) = rings;
        Ok(Self { rx, fill, tx, completion, fd })
    }

    #[allow(clippy::type_complexity, reason = "taken apart by the one caller")]
    fn rings(
        fd: &OwnedFd,
        options: &Options,
        umem: &Umem,
    ) -> rustix::io::Result<(Consumer<XdpDesc>, Producer<u64>, Producer<XdpDesc>, Consumer<u64>)> {
        let (addr, len) = umem.area();
        let flags = XdpUmemRegFlags::empty();
        // No headroom of ours: in aligned chunks XDP's own 256 bytes lie in front of each received frame,
        // and they serve as well (see `buf::HEADROOM`).
        let area = XdpUmemReg { addr, len, chunk_size: CHUNK as u32, headroom: 0, flags, tx_metadata_len: 0 };
        sockopt::set_xdp_umem_reg(fd, area)?;
        sockopt::set_xdp_umem_fill_ring_size(fd, options.rx_ring)?;
        sockopt::set_xdp_umem_completion_ring_size(fd, options.tx_ring)?;
        sockopt::set_xdp_rx_ring_size(fd, options.rx_ring)?;
        sockopt::set_xdp_tx_ring_size(fd, options.tx_ring)?;
        let at = sockopt::xdp_mmap_offsets(fd)?;
        let map = |at: &XdpRingOffset, entry: usize, size: u32, offset: u64| {
            let len = usize::try_from(at.desc).map_err(|_| Errno::OVERFLOW)? + entry * size as usize;
            Mapping::ring(fd.as_fd(), len, offset).map(Arc::new)
        };
        let rx = map(&at.rx, size_of::<XdpDesc>(), options.rx_ring, XDP_PGOFF_RX_RING)?;
        let tx = map(&at.tx, size_of::<XdpDesc>(), options.tx_ring, XDP_PGOFF_TX_RING)?;
        let fill = map(&at.fr, size_of::<u64>(), options.rx_ring, XDP_UMEM_PGOFF_FILL_RING)?;
        let completion = map(&at.cr, size_of::<u64>(), options.tx_ring, XDP_UMEM_PGOFF_COMPLETION_RING)?;
        // SAFETY: the kernel has mapped rings of exactly these entry types and sizes, at the offsets that
        // it told; integers and descriptors of integers take any bytes; each mapping was just made, so
        // nobody else is on our side of it.
        let rings = unsafe {
            (
                Consumer::over(rx, &at.rx, options.rx_ring),
                Producer::over(fill, &at.fr, options.rx_ring),
                Producer::over(tx, &at.tx, options.tx_ring),
                Consumer::over(completion, &at.cr, options.tx_ring),
            )
        };
        match rings {
            (Some(rx), Some(fill), Some(tx), Some(completion)) => Ok((rx, fill, tx, completion)),
            _ => Err(Errno::INVAL),
        }
    }
}
