//! One leg of the router: an AF_PACKET socket on an interface, read and written in batches.
//!
//! The kernel takes the outermost VLAN tag out of what it receives and tells of it beside the frame
//! (PACKET_AUXDATA, packet(7)); it is put back here, so that frames are as they were on the wire.

use crate::outbox::{BATCH, Batch, FRAME_ROOM, MACS};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    self, ControlMessageOwned, LinkAddr, MsgFlags, MultiHeaders, SockaddrLike, UnknownCmsg, sockopt,
};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};
use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Frames that one read takes.
pub const RX_BATCH: usize = 64;
/// Kernel memory for frames not read yet: a 256 KiB TCP window is less than this in flight, many times.
const SOCKET_BUFFER: usize = 32 << 20;
/// Room before each frame for the tag that is put back.
const TAG: usize = 4;
/// Room for one control message of 20 bytes with its header, with some to spare.
const CONTROL_ROOM: usize = 64;
/// Every EtherType.
const ETH_P_ALL: u16 = 3;
/// What the kernel says of a frame that this host sends.
const PACKET_OUTGOING: u8 = 4;

/// Asks the kernel to tell of VLAN tags.
#[derive(Clone)]
struct AuxData;
nix::setsockopt_impl!(AuxData, libc::SOL_PACKET, libc::PACKET_AUXDATA, bool, sockopt::SetBool);

/// What was counted on a leg.
#[derive(Debug, Clone, Copy, Default)]
pub struct LegStats {
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames received of which the kernel told a VLAN tag that it had taken out.
    pub rx_tagged: u64,
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
    socket: OwnedFd,
    tags: Vec<u8>,
    rx_headers: MultiHeaders<LinkAddr>,
    tx_headers: MultiHeaders<LinkAddr>,
    rx_bytes: Box<[u8]>,
    /// Where in its room each frame begins, and its length.
    rx_places: [(usize, usize); RX_BATCH],
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
    /// Opens the socket of `name`; `tags` are the VLAN tags that frames carry there.
    ///
    /// # Errors
    /// No such interface, or no right to open packet sockets (CAP_NET_RAW).
    pub fn open(name: &str, tags: Vec<u8>) -> Result<Self, LegError> {
        let fail = |what: String| LegError { leg: name.to_owned(), what };
        let link = link_address(name).ok_or_else(|| fail("there is no such interface here".into()))?;
        let mac = link.addr().ok_or_else(|| fail("the interface has no MAC address".into()))?;
        let socket = packet_socket(ETH_P_ALL, &link).map_err(|e| fail(format!("packet socket: {e}")))?;
        socket::setsockopt(&socket, AuxData, &true).map_err(|e| fail(format!("PACKET_AUXDATA: {e}")))?;
        // Without CAP_NET_ADMIN the usual buffer stays; the router then only drops sooner.
        let _ = socket::setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER);
        let _ = socket::setsockopt(&socket, sockopt::SndBufForce, &SOCKET_BUFFER);
        Ok(Self {
            name: name.to_owned(),
            mac,
            index: link.ifindex(),
            socket,
            tags,
            rx_headers: MultiHeaders::preallocate(RX_BATCH, Some(vec![0; CONTROL_ROOM])),
            tx_headers: MultiHeaders::preallocate(RX_BATCH, None),
            rx_bytes: vec![0; RX_BATCH * FRAME_ROOM].into(),
            rx_places: [(0, 0); RX_BATCH],
            stats: LegStats::default(),
        })
    }

    /// The interface's MAC address.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// What to wait on.
    pub fn poll_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// An empty batch for [`send`](Self::send), that puts the leg's tags on.
    pub fn batch(&self) -> Batch {
        Batch::tagged(self.tags.clone())
    }

    /// The frame number `index` of the last batch without the leg's tags, to be changed in place; empty if
    /// there is none, or if it carries other tags.
    pub fn frame(&mut self, index: usize) -> &mut [u8] {
        let (at, len) = self.rx_places.get(index).copied().unwrap_or((0, 0));
        let frame = &mut self.rx_bytes[index.min(RX_BATCH - 1) * FRAME_ROOM + at..][..len];
        untag(frame, &self.tags).unwrap_or_default()
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
                self.socket.as_raw_fd(),
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

    /// Reads up to [`RX_BATCH`] frames and says how many; see [`frame`](Self::frame).
    ///
    /// # Errors
    /// The interface is gone or down.
    pub fn receive(&mut self) -> Result<usize, LegError> {
        let mut chunks = self.rx_bytes.chunks_exact_mut(FRAME_ROOM);
        let mut slices: [[IoSliceMut<'_>; 1]; RX_BATCH] = std::array::from_fn(|_| {
            [IoSliceMut::new(chunks.next().and_then(|c| c.get_mut(TAG..)).unwrap_or_default())]
        });
        let results = match socket::recvmmsg(
            self.socket.as_raw_fd(),
            &mut self.rx_headers,
            slices.iter_mut(),
            MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC,
            None,
        ) {
            Ok(results) => results,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(0),
            Err(e) => return Err(LegError { leg: self.name.clone(), what: format!("receive: {e}") }),
        };
        let mut tags = [None; RX_BATCH];
        let mut count = 0;
        for message in results {
            // Between its creation and its binding the socket heard every interface of the namespace.
            let ours =
                message.address.is_none_or(|a| a.ifindex() == self.index && a.pkttype() != PACKET_OUTGOING);
            let whole = message.bytes <= FRAME_ROOM - TAG;
            self.stats.rx_frames += u64::from(ours);
            self.stats.rx_bytes += if ours { message.bytes as u64 } else { 0 };
            self.stats.rx_oversize += u64::from(ours && !whole);
            self.rx_places[count] = (TAG, if ours && whole { message.bytes } else { 0 });
            let tag = message.cmsgs().ok().and_then(|mut all| all.find_map(|c| tag_of(&c)));
            self.stats.rx_tagged += u64::from(ours && tag.is_some());
            tags[count] = tag;
            count += 1;
        }
        for (n, tag) in tags.iter().enumerate().take(count) {
            let (at, len) = self.rx_places[n];
            if let Some(tag) = tag.filter(|_| len >= MACS) {
                let room = &mut self.rx_bytes[n * FRAME_ROOM..][..at + len];
                room.copy_within(TAG..TAG + MACS, 0);
                room[MACS..MACS + TAG].copy_from_slice(&tag);
                self.rx_places[n] = (0, len + TAG);
            }
        }
        Ok(count)
    }
}

/// The tag that the kernel took out, as it stood in the frame (struct tpacket_auxdata, linux/if_packet.h).
fn tag_of(message: &ControlMessageOwned) -> Option<[u8; TAG]> {
    const VALID: u32 = 1 << 4;
    const TYPE_VALID: u32 = 1 << 6;
    let ControlMessageOwned::Unknown(UnknownCmsg { cmsg_header, data_bytes }) = message else { return None };
    let b = data_bytes.first_chunk::<20>()?;
    if cmsg_header.cmsg_level != libc::SOL_PACKET || cmsg_header.cmsg_type != libc::PACKET_AUXDATA {
        return None;
    }
    let status = u32::from_ne_bytes([b[0], b[1], b[2], b[3]]);
    let id = u16::from_ne_bytes([b[16], b[17]]).to_be_bytes();
    let kind = if status & TYPE_VALID != 0 { u16::from_ne_bytes([b[18], b[19]]) } else { 0x8100 };
    let kind = kind.to_be_bytes();
    (status & VALID != 0).then_some([kind[0], kind[1], id[0], id[1]])
}

/// A frame without `tags`; priorities do not matter. `None` if it carries others.
fn untag<'a>(frame: &'a mut [u8], tags: &[u8]) -> Option<&'a mut [u8]> {
    let found = frame.get(MACS..MACS + tags.len())?;
    let same = |(n, (a, b)): (usize, (&u8, &u8))| if n % 4 == 2 { (a ^ b) & 0x0f == 0 } else { a == b };
    if !found.iter().zip(tags).enumerate().all(same) {
        return None;
    }
    frame.copy_within(..MACS, tags.len());
    frame.get_mut(tags.len()..)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_the_leg_are_taken_off_and_others_refused() {
        let frame = b"to....from..\x88\xa8\xe0\x07\x81\0\0\x64\x08\0packet";
        let outer = [0x88, 0xa8, 0, 7];
        let both = [0x88, 0xa8, 0, 7, 0x81, 0, 0, 100];
        assert_eq!(untag(&mut frame.clone(), &both).as_deref(), Some(&b"to....from..\x08\0packet"[..]));
        let half = untag(&mut frame.clone(), &outer).map(|f| f.to_vec());
        assert_eq!(
            half.as_deref(),
            Some(&b"to....from..\x81\0\0\x64\x08\0packet"[..]),
            "the router drops it"
        );
        assert_eq!(untag(&mut frame.clone(), &[0x81, 0, 0, 7]), None, "another type");
        assert_eq!(untag(&mut frame.clone(), &[0x88, 0xa8, 1, 7]), None, "another ID");
        assert_eq!(untag(&mut frame.clone(), &[]).map(|f| f.len()), Some(frame.len()));
        assert_eq!(untag(&mut [0; 13], &outer), None);
    }
}
