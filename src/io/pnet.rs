//! AF_PACKET, through the pnet crate: any driver, any kernel, slower than AF_XDP.
//!
//! The kernel sees each frame as well. So it must not own one of our addresses, or it would answer with
//! resets and unreachables, nor forward on the interface or a VLAN interface on it: [`open`] refuses both.
//! AF_PACKET hands frames over with their outer VLAN tag taken off and tells it apart (packet(7),
//! PACKET_AUXDATA). pnet does not ask for that, so receiving is done here, on pnet's socket.
//! How many frames the kernel dropped is not known: `rx_lost` stays 0.

use super::link::{self, HostAddress, Link};
use super::pool::Pool;
use super::port::{Port, PortError, PortInfo, PortStats};
use crate::buf::{Burst, Frame, MAX_FRAME};
use nix::errno::Errno as NixErrno;
use nix::libc;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, UnknownCmsg, recvmsg, setsockopt, sockopt as nix_sockopt,
};
use pnet::datalink::{self, Channel, DataLinkSender, MacAddr, NetworkInterface};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
use std::io::IoSliceMut;
use std::net::IpAddr;
use std::time::Duration;

/// Ethernet header and two VLAN tags.
const LINK_HEADER: usize = 14 + 2 * 4;
/// The largest MTU, in bytes, whose frames fit into a frame's memory.
pub const MAX_MTU: u32 = (MAX_FRAME - LINK_HEADER) as u32;
/// Bytes of socket buffer that are asked for, each way. The kernel may give less.
const SOCKET_BUFFER: usize = 4 << 20;
/// What one frame costs of the send buffer.
const FRAME_COST: usize = 2304;
/// The most frames taken for sending at once.
const TX_SLOTS: usize = 256;

/// Bytes read at once: what an offload has put together is longer than a frame, but at most this.
const READ: usize = 1 << 17;
/// A VLAN tag.
const TAG: usize = 4;
/// `struct tpacket_auxdata` of linux/if_packet.h with its header.
const AUX_ROOM: usize = 64;

/// Asks that the tag which the kernel takes off a frame be told.
#[derive(Debug, Clone, Copy)]
struct AuxData;
nix::setsockopt_impl!(AuxData, libc::SOL_PACKET, libc::PACKET_AUXDATA, bool, nix_sockopt::SetBool);

/// One interface by AF_PACKET.
pub struct PnetPort {
    info: PortInfo,
    stats: PortStats,
    pool: Pool,
    frame_limit: usize,
    tx_slots: usize,
    sender: Box<dyn DataLinkSender>,
    /// The socket that pnet works with, duplicated.
    fd: OwnedFd,
    /// The frame being read, behind room for a tag.
    read: Box<[u8]>,
}

/// Opens `interface`, whose gateway addresses are `ours`.
///
/// # Errors
/// What [`check`] refuses; the interface is missing or down, its MTU is above [`MAX_MTU`], `CAP_NET_RAW`
/// is missing.
pub fn open(interface: &str, ours: &[IpAddr]) -> Result<PnetPort, PortError> {
    let link = link::find_up(interface)?;
    if link.mtu > MAX_MTU {
        return Err(fault(
            interface,
            format!("MTU too large: {} bytes, frames of up to {MAX_MTU} fit", link.mtu),
            format!("`ip link set dev {interface} mtu 1500`"),
        ));
    }
    check(interface, ours)?;
    // Without a protocol it receives nothing until pnet has bound it to the interface.
    let fd = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None).map_err(
        |e| match e {
            Errno::PERM | Errno::ACCESS => fault(
                interface,
                "opening an AF_PACKET socket is not permitted: CAP_NET_RAW is missing",
                "run as root, or grant CAP_NET_RAW (AmbientCapabilities= in a systemd unit)",
            ),
            e => fault(interface, format!("no AF_PACKET socket: {e}"), "use a kernel with CONFIG_PACKET"),
        },
    )?;
    // Beyond the host's limit needs CAP_NET_ADMIN; within the limit is second best.
    if sockopt::set_socket_recv_buffer_size_force(&fd, SOCKET_BUFFER).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(&fd, SOCKET_BUFFER);
    }
    if sockopt::set_socket_send_buffer_size_force(&fd, SOCKET_BUFFER).is_err() {
        let _ = sockopt::set_socket_send_buffer_size(&fd, SOCKET_BUFFER);
    }
    // The kernel calls a socket writable while half its buffer is free.
    let tx_slots = sockopt::socket_send_buffer_size(&fd).unwrap_or(0) / 2 / FRAME_COST;
    setsockopt(&fd, AuxData, &true)
        .map_err(|e| fault(interface, format!("VLAN tags cannot be had: {e}"), "use Linux 3.14 or later"))?;
    let sender = channel(&link, &fd)?;
    let info = PortInfo {
        name: link.name,
        driver: "pnet",
        mac: link.mac,
        mtu: link.mtu as u16,
        attach: None,
        zero_copy: false,
    };
    Ok(PnetPort {
        info,
        stats: PortStats::default(),
        pool: Pool::default(),
        frame_limit: link.mtu as usize + LINK_HEADER,
        tx_slots: tx_slots.clamp(1, TX_SLOTS),
        sender,
        fd,
        read: vec![0; TAG + READ].into(),
    })
}

/// Whether the kernel would get in the way on `interface`.
///
/// # Errors
/// The interface, or a VLAN interface on it, carries one of our addresses, or the kernel forwards on it; it
/// does not exist.
pub fn check(interface: &str, ours: &[IpAddr]) -> Result<(), PortError> {
    let (base, all) = (link::find(interface)?, link::all(interface)?);
    // The kernel takes what is tagged into the VLAN interfaces.
    let here: Vec<&str> = link::takers(&base, &all, None).into_iter().map(|l| l.name.as_str()).collect();
    for HostAddress { interface, address } in link::addresses(interface)? {
        if ours.contains(&address) && here.contains(&interface.as_str()) {
            return Err(fault(
                &interface,
                format!("the kernel owns our address {address} and would answer in our place"),
                format!("`ip address flush to {address} dev {interface}`"),
            ));
        }
    }
    for interface in &here {
        for family in ["ipv4", "ipv6"] {
            let setting = format!("net/{family}/conf/{interface}/forwarding");
            // A family that the kernel does not have has no such file, and forwards nothing.
            if std::fs::read_to_string(format!("/proc/sys/{setting}")).is_ok_and(|v| v.trim() != "0") {
                return Err(fault(
                    interface,
                    format!("the kernel forwards {family} on it and would send each packet a second time"),
                    format!("`sysctl -w {setting}=0`, or use driver = \"af_xdp\""),
                ));
            }
        }
    }
    Ok(())
}

/// pnet's sending end over `fd`, which is bound to the interface by that and never waits.
fn channel(link: &Link, fd: &OwnedFd) -> Result<Box<dyn DataLinkSender>, PortError> {
    let lost = |e: std::io::Error| fault(&link.name, format!("AF_PACKET: {e}"), "see `ip link` and `dmesg`");
    let copy = fd.try_clone().map_err(lost)?;
    let [a, b, c, d, e, f] = link.mac;
    let interface = NetworkInterface {
        name: link.name.clone(),
        description: String::new(),
        index: link.index,
        mac: Some(MacAddr(a, b, c, d, e, f)),
        ips: Vec::new(),
        flags: 0,
    };
    let config = datalink::Config {
        read_buffer_size: 0,
        read_timeout: Some(Duration::ZERO),
        write_timeout: Some(Duration::ZERO),
        promiscuous: true,
        // pnet closes it, also when it fails.
        socket_fd: Some(copy.into_raw_fd()),
        ..datalink::Config::default()
    };
    match datalink::channel(&interface, config).map_err(lost)? {
        Channel::Ethernet(sender, _) => Ok(sender),
        _ => Err(fault(&link.name, "pnet gave no Ethernet channel", "use driver = \"af_xdp\"")),
    }
}

/// The tag that the kernel took off, as it stood in the frame (`struct tpacket_auxdata`).
fn tag_of(message: &UnknownCmsg) -> Option<[u8; TAG]> {
    const VLAN_VALID: u32 = 1 << 4;
    const TPID_VALID: u32 = 1 << 6;
    let UnknownCmsg { cmsg_header, data_bytes } = message;
    if cmsg_header.cmsg_level != libc::SOL_PACKET || cmsg_header.cmsg_type != libc::PACKET_AUXDATA {
        return None;
    }
    let half = |at: usize| Some(u16::from_ne_bytes(data_bytes.get(at..at + 2)?.try_into().ok()?));
    let status = u32::from_ne_bytes(data_bytes.get(..4)?.try_into().ok()?);
    let tpid = if status & TPID_VALID != 0 { half(18)? } else { 0x8100 };
    let ([a, b], [c, d]) = (tpid.to_be_bytes(), half(16)?.to_be_bytes());
    (status & VLAN_VALID != 0).then_some([a, b, c, d])
}

impl PnetPort {
    /// Reads one frame into `read`; where it stands there.
    fn next(&mut self) -> Result<std::ops::Range<usize>, NixErrno> {
        let mut aux = [0; AUX_ROOM];
        let room = self.read.get_mut(TAG..).unwrap_or_default();
        let mut room = [IoSliceMut::new(room)];
        let got = recvmsg::<()>(self.fd.as_raw_fd(), &mut room, Some(&mut aux), MsgFlags::MSG_DONTWAIT)?;
        let end = TAG + got.bytes.min(READ);
        let tag = got.cmsgs()?.find_map(|c| match c {
            ControlMessageOwned::Unknown(message) => tag_of(&message),
            _ => None,
        });
        Ok(match tag {
            Some(tag) if end >= TAG + 12 => {
                self.read.copy_within(TAG..TAG + 12, 0);
                self.read[12..12 + TAG].copy_from_slice(&tag);
                0..end
            }
            _ => TAG..end,
        })
    }

    /// After an error of the socket: whether the interface is gone, or only was down for a while.
    fn look(&self) -> Result<(), PortError> {
        // Reading the error clears it; left there it would end every wait at once.
        let _ = sockopt::socket_error(&self.fd);
        link::find(&self.info.name)
            .map(drop)
            .map_err(|_| fault(&self.info.name, "the interface is gone", "bring it back and start again"))
    }
}

impl Port for PnetPort {
    fn info(&self) -> &PortInfo {
        &self.info
    }

    fn stats(&mut self) -> PortStats {
        PortStats { held: self.pool.held(), ..self.stats }
    }

    fn rx(&mut self, out: &mut Burst) -> Result<(), PortError> {
        /// Frames of the kernel's own that are skipped in one turn.
        const SKIPS: usize = 64;
        let mut skips = 0;
        while out.room() > 0 && skips < SKIPS {
            let place = match self.next() {
                Ok(place) => place,
                Err(NixErrno::EAGAIN | NixErrno::EINTR) => break,
                Err(_) => return self.look(),
            };
            let bytes = self.read.get(place).unwrap_or_default();
            // AF_PACKET shows what other programs and the kernel send on the interface as well.
            if bytes.get(6..12).is_some_and(|source| *source == self.info.mac) {
                skips += 1;
            } else if bytes.len() > self.frame_limit {
                self.stats.rx_oversize += 1;
                skips += 1;
            } else {
                self.pool.receive(bytes, &mut self.stats, out);
            }
        }
        Ok(())
    }

    fn tx_slots(&mut self) -> usize {
        let mut fds = [PollFd::new(&self.fd, PollFlags::OUT)];
        match poll(&mut fds, Some(&Timespec::default())) {
            Ok(_) if fds[0].revents().contains(PollFlags::OUT) => self.tx_slots,
            _ => 0,
        }
    }

    fn alloc(&mut self) -> Option<Frame> {
        Some(self.pool.take())
    }

    fn tx(&mut self, frame: Frame) {
        match self.sender.send_to(frame.bytes(), None) {
            Some(Ok(())) => {
                self.stats.tx_frames += 1;
                self.stats.tx_bytes += frame.len() as u64;
            }
            _ => self.stats.tx_lost += 1,
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
        Some(self.fd.as_fd())
    }
}

impl std::fmt::Debug for PnetPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PnetPort")
            .field("info", &self.info)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

fn fault(interface: &str, what: impl Into<String>, remedy: impl Into<String>) -> PortError {
    PortError { interface: interface.into(), what: what.into(), remedy: remedy.into() }
}
