//! The XDP program: loaded, given its sockets, attached by a BPF link.
//!
//! The link ends when its file descriptor is closed, so however the process dies the interface goes
//! back to the kernel.

use super::steer::{self, Addresses};
use super::{Options, denied, fault, patiently};
use crate::io::link::{self, Link};
use crate::io::{Attach, PortError};
use aya::maps::{Array, HashMap, MapData, MapError, XskMap};
use aya::programs::links::FdLink;
use aya::programs::{ProgramError, Xdp, XdpError, XdpMode};
use aya::{EbpfError, EbpfLoader};
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;
use std::error::Error;
use std::net::IpAddr;

/// `EOPNOTSUPP`, `EINVAL`, `ERANGE` and others on a native attach only mean: try the generic way.
/// These do not.
const FINAL: [Errno; 4] = [Errno::PERM, Errno::ACCESS, Errno::BUSY, Errno::EXIST];

/// An attached program. Dropping it takes the program off the interface.
#[derive(Debug)]
pub(super) struct Program {
    attach: Attach,
    _link: FdLink,
}

impl Program {
    /// How the program is attached.
    pub(super) fn attach(&self) -> Attach {
        self.attach
    }
}

/// The counter of frames that were dropped for being longer than the MTU allows.
pub(super) struct Oversize(Array<MapData, u64>);

impl Oversize {
    /// Frames dropped so far.
    pub(super) fn read(&self) -> u64 {
        self.0.get(&0, 0).unwrap_or(0)
    }
}

impl std::fmt::Debug for Oversize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Oversize({})", self.read())
    }
}

/// Loads the program, tells it what to steer, names it `sockets` as (queue, socket), and attaches it to
/// `link`, the ways of `options` in their order. `host` are the host's addresses.
///
/// # Errors
/// Another program is attached, a capability is missing, or the kernel refuses for another reason.
pub(super) fn attach(
    link: &Link,
    frame_limit: u32,
    options: &Options,
    host: &[IpAddr],
    sockets: &[(u32, BorrowedFd<'_>)],
) -> Result<(Program, Oversize, Addresses), PortError> {
    let steering = &options.steering;
    // The kernel ends a link some time after its process did: a restart must live with that.
    let other = patiently(
        || link::find(&link.name),
        |found| found.as_ref().map_or(true, |l| l.xdp_program.is_none()),
    )?;
    if let Some(id) = other.xdp_program {
        return Err(occupied(link, &format!(" (id {id})")));
    }
    let queues = sockets.iter().map(|s| s.0 + 1).max().unwrap_or(1);
    let mut object = EbpfLoader::new()
        .map_max_entries("sockets", queues)
        .load(aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tidegate_xdp.o")))
        .map_err(|e| refused(link, "loading the XDP program", &e, ebpf_errno(&e)))?;
    let filled = fill_maps(&mut object, steering.settings(frame_limit, link.mac), sockets);
    let addresses = filled
        .and_then(|()| object.take_map("addresses").ok_or(MapError::ElementNotFound))
        .and_then(|map| Addresses::new(&link.name, HashMap::try_from(map)?, &steering.own));
    let mut addresses =
        addresses.map_err(|e| refused(link, "filling the XDP program's maps", &e, source_errno(&e)))?;
    addresses.set_host(host.iter().copied())?;
    let oversize = object
        .take_map("oversize")
        .ok_or(MapError::ElementNotFound)
        .and_then(Array::try_from)
        .map_err(|e| refused(link, "finding the XDP program's counter", &e, None))?;
    let program: &mut Xdp = object
        .program_mut("tidegate_xdp")
        .ok_or(ProgramError::NotLoaded)
        .and_then(TryInto::try_into)
        .map_err(|e| refused(link, "finding the XDP program", &e, None))?;
    program.load().map_err(|e| refused(link, "loading the XDP program", &e, program_errno(&e)))?;
    let (attach, fd_link) = attach_in_order(program, link, options.attach)?;
    Ok((Program { attach, _link: fd_link }, Oversize(oversize), addresses))
}

fn attach_in_order(program: &mut Xdp, link: &Link, ways: &[Attach]) -> Result<(Attach, FdLink), PortError> {
    let mut ways = ways.iter().peekable();
    while let Some(&way) = ways.next() {
        let mode = match way {
            Attach::Native => XdpMode::Driver,
            Attach::Generic => XdpMode::Skb,
        };
        match attach_as(program, link, mode) {
            Ok(fd_link) => return Ok((way, fd_link)),
            Err(e) if program_errno(&e).is_some_and(|no| FINAL.contains(&no)) => {
                return Err(not_attached(link, &e));
            }
            Err(e) if ways.peek().is_some() => {
                tracing::info!(interface = link.name, "no {way:?} XDP ({e}); the next way is tried");
            }
            Err(e) if way == Attach::Native => {
                return Err(fault(
                    &link.name,
                    format!("the driver takes no XDP program ({e})"),
                    "write attach = \"auto\" or \"generic\" into the NIC profile (interface.nic_profile)",
                ));
            }
            Err(e) => return Err(not_attached(link, &e)),
        }
    }
    Err(fault(&link.name, "no way to attach the XDP program is allowed", super::REPORT))
}

fn fill_maps(
    object: &mut aya::Ebpf,
    settings: [u32; 8],
    sockets: &[(u32, BorrowedFd<'_>)],
) -> Result<(), MapError> {
    steer::set(object.map_mut("settings").ok_or(MapError::ElementNotFound)?, settings)?;
    let mut map = XskMap::try_from(object.map_mut("sockets").ok_or(MapError::ElementNotFound)?)?;
    for (queue, socket) in sockets {
        map.set(*queue, socket.as_raw_fd(), 0)?;
    }
    Ok(())
}

fn attach_as(program: &mut Xdp, link: &Link, mode: XdpMode) -> Result<FdLink, ProgramError> {
    let id = program.attach_to_if_index(link.index, mode)?;
    let attached = program.take_link(id)?;
    // A netlink attachment (what aya falls back to) would outlive the process. Dropping it detaches.
    FdLink::try_from(attached).map_err(|_| ProgramError::NotAttached)
}

fn not_attached(link: &Link, error: &ProgramError) -> PortError {
    match (error, program_errno(error)) {
        (_, Some(Errno::BUSY | Errno::EXIST)) => occupied(link, ""),
        (ProgramError::NotAttached, _) => fault(
            &link.name,
            "the kernel cannot attach an XDP program by a BPF link, and any other way it would stay when tidegate dies",
            "use Linux 5.18 or later, or driver = \"pnet\"",
        ),
        (_, errno) => refused(link, "attaching the XDP program", error, errno),
    }
}

fn occupied(link: &Link, which: &str) -> PortError {
    fault(
        &link.name,
        format!("another XDP program{which} is attached"),
        format!(
            "stop the program that it belongs to, or take it off with `ip link set dev {} xdp off`",
            link.name
        ),
    )
}

fn refused(link: &Link, doing: &str, error: &dyn Error, errno: Option<Errno>) -> PortError {
    if matches!(errno, Some(Errno::PERM | Errno::ACCESS)) {
        return denied(&link.name, doing, "CAP_BPF and CAP_NET_ADMIN (CAP_SYS_ADMIN before Linux 5.8)");
    }
    let mut text = format!("{doing} failed: {error}");
    let mut source = error.source();
    while let Some(e) = source {
        text.push_str(&format!(": {e}"));
        source = e.source();
    }
    fault(
        &link.name,
        text,
        "use Linux 5.18 or later with CONFIG_BPF_SYSCALL and CONFIG_XDP_SOCKETS, or driver = \"pnet\"",
    )
}

fn ebpf_errno(error: &EbpfError) -> Option<Errno> {
    match error {
        EbpfError::MapError(e) => source_errno(e),
        EbpfError::ProgramError(e) => program_errno(e),
        e => source_errno(e),
    }
}

fn program_errno(error: &ProgramError) -> Option<Errno> {
    match error {
        ProgramError::XdpError(XdpError::NetlinkError(e)) => e.raw_os_error().map(Errno::from_raw_os_error),
        ProgramError::SyscallError(e) => io_errno(&e.io_error),
        ProgramError::LoadError { io_error, .. } => io_errno(io_error),
        e => source_errno(e),
    }
}

/// The first system error among an error's causes.
fn source_errno(error: &(dyn Error + 'static)) -> Option<Errno> {
    let mut next = Some(error);
    while let Some(e) = next {
        if let Some(io) = e.downcast_ref::<std::io::Error>() {
            return io_errno(io);
        }
        if let Some(call) = e.downcast_ref::<aya::sys::SyscallError>() {
            return io_errno(&call.io_error);
        }
        next = e.source();
    }
    None
}

fn io_errno(error: &std::io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}
