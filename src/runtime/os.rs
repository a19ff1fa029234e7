//! What only the operating system can do or tell: clocks, cores, signals, capabilities, interface facts.
//!
//! Linux's interface ioctls have no safe wrapper in the crates in use; they are here and nowhere else.
#![allow(unsafe_code)]

use crate::time::{Duration, Instant};
use nix::libc;
use rustix::time::{ClockId, clock_gettime};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The monotonic clock, counted from the moment this was made. Copies agree.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: u64,
}

impl Clock {
    /// A clock that shows [`Instant::ZERO`] now.
    pub fn start() -> Self {
        Self { origin: nanos(ClockId::Monotonic) }
    }

    /// The time now.
    pub fn now(&self) -> Instant {
        Instant::from_nanos(nanos(ClockId::Monotonic).saturating_sub(self.origin))
    }

    /// The time of day, in nanoseconds since 1970, at [`Instant::ZERO`] as the two clocks stand now. It
    /// moves when the time of day is set.
    pub fn wall_at_zero(&self) -> u64 {
        nanos(ClockId::Realtime).saturating_sub(self.now().as_nanos())
    }
}

fn nanos(clock: ClockId) -> u64 {
    let t = clock_gettime(clock);
    u64::try_from(t.tv_sec)
        .unwrap_or(0)
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(t.tv_nsec).unwrap_or(0))
}

/// Columns of the terminal that standard output is; `None` if it is none, or does not know.
pub fn terminal_columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// Pins the calling thread to a core: `wanted`, or the last one that the process may use. Returns the core.
///
/// # Errors
/// The core does not exist or is not allowed to this process; the text names the ones that are.
pub fn pin(wanted: Option<usize>) -> Result<usize, String> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let core = match wanted {
        None => cores.last(),
        Some(id) => cores.iter().find(|c| c.id == id),
    };
    let allowed = cores.iter().map(|c| c.id.to_string()).collect::<Vec<_>>().join(", ");
    match core.copied() {
        Some(core) if core_affinity::set_for_current(core) => Ok(core.id),
        _ => Err(format!("cannot pin the worker; write one of the cores {allowed} as worker.cpu")),
    }
}

/// What signals asked for. SIGTERM or SIGINT: drain, then stop; a second one: stop now; a third: what it does
/// to any program. SIGHUP: reopen files.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    drain: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    reopen: Arc<AtomicBool>,
}

impl Signals {
    /// Takes the signals over from now on; they no longer end the process by themselves.
    ///
    /// # Errors
    /// The kernel refuses a handler or a thread.
    pub fn watch() -> io::Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let signals = Self::default();
        let mut iter = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let seen = signals.clone();
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in &mut iter {
                if signal == SIGHUP {
                    seen.reopen.store(true, Ordering::Release);
                } else if seen.drain.swap(true, Ordering::AcqRel) && seen.stop.swap(true, Ordering::AcqRel) {
                    // Whatever we wait for then, nobody wants to wait for it.
                    let _ = signal_hook::low_level::emulate_default_handler(signal);
                }
            }
        })?;
        Ok(signals)
    }

    /// Whether to take no new sessions and end when the last one has.
    pub fn drain(&self) -> bool {
        self.drain.load(Ordering::Acquire)
    }

    /// Whether to end now.
    pub fn stop(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// The flag that SIGHUP sets, for whoever reopens files to take.
    pub fn reopen_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.reopen)
    }
}

/// A capability of a process (capabilities(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Interfaces, XDP programs.
    NetAdmin,
    /// Raw sockets.
    NetRaw,
    /// eBPF programs and maps; `CAP_SYS_ADMIN` includes it.
    Bpf,
}

impl Capability {
    const fn mask(self) -> u64 {
        const SYS_ADMIN: u64 = 1 << 21;
        match self {
            Self::NetAdmin => 1 << 12,
            Self::NetRaw => 1 << 13,
            Self::Bpf => 1 << 39 | SYS_ADMIN,
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::NetRaw => "CAP_NET_RAW",
            Self::Bpf => "CAP_BPF",
        })
    }
}

/// The most bytes of memory that this process ever had in use; `None` without /proc.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?.trim().strip_suffix("kB")?;
    kib.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Blocks of this many bytes and more are the system's again as soon as they are freed: a relay's buffers, a
/// table that was replaced.
#[cfg(target_env = "gnu")]
const LARGE_BLOCK: i32 = 64 << 10;

/// Keeps large blocks out of the heap, for good.
///
/// Unasked, glibc raises the bound to the size of the largest block that was ever freed (mallopt(3)); from then
/// on relays' buffers come from the heap, and whatever small block lies above them keeps them from going back.
/// Other C libraries do not do this, and are left alone.
pub(super) fn give_large_blocks_back() {
    // SAFETY: takes two numbers by value; the allocator locks what it changes.
    #[cfg(target_env = "gnu")]
    unsafe {
        // Fails only for a bound of many megabytes.
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BLOCK);
    }
}

/// Those of `needed` that this process has not in effect.
///
/// # Errors
/// `/proc/self/status` cannot be read.
pub fn missing_capabilities(needed: &[Capability]) -> io::Result<Vec<Capability>> {
    Ok(missing_in(&std::fs::read_to_string("/proc/self/status")?, needed))
}

fn missing_in(status: &str, needed: &[Capability]) -> Vec<Capability> {
    let effective = status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    needed.iter().copied().filter(|c| effective & c.mask() == 0).collect()
}

/// Bytes of an interface's MTU.
///
/// # Errors
/// There is no such interface, or the kernel refuses a socket.
pub fn mtu(interface: &str) -> io::Result<u32> {
    let mut request = IfReq::new(interface, IfData { mtu: 0 })?;
    let socket = any_socket()?;
    // SAFETY: SIOCGIFMTU reads the name and writes an int into the union, which lies inside `request`.
    unsafe { siocgifmtu(socket.as_raw_fd(), &raw mut request) }?;
    // SAFETY: the kernel has just written this member, and every bit pattern is an int.
    let mtu = unsafe { request.data.mtu };
    Ok(u32::try_from(mtu).unwrap_or(0))
}

/// Asks one of ethtool's yes-or-no or flag-word questions (`ETHTOOL_G…` with a `struct ethtool_value`).
/// `None` if the driver does not know the question.
///
/// # Errors
/// There is no such interface, or the kernel refuses a socket.
pub(super) fn ethtool_value(interface: &str, question: u32) -> io::Result<Option<u32>> {
    let mut value = EthtoolValue { cmd: question, data: 0 };
    let mut request = IfReq::new(interface, IfData { pointer: (&raw mut value).cast() })?;
    let socket = any_socket()?;
    // SAFETY: for the questions of this form the kernel reads and writes one `ethtool_value` through the
    // pointer; `value` outlives the call and is not used during it.
    match unsafe { siocethtool(socket.as_raw_fd(), &raw mut request) } {
        Ok(_) => Ok(Some(value.data)),
        Err(nix::Error::EOPNOTSUPP | nix::Error::EINVAL) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// `struct ethtool_value` (linux/ethtool.h).
#[repr(C)]
struct EthtoolValue {
    cmd: u32,
    data: u32,
}

/// `struct ifreq` (linux/if.h) with the two members in use; the rest is the kernel's size.
#[repr(C)]
struct IfReq {
    name: [u8; libc::IFNAMSIZ],
    data: IfData,
}

#[repr(C)]
union IfData {
    mtu: libc::c_int,
    pointer: *mut libc::c_void,
    _size: [u64; 3],
}

const _: () = assert!(size_of::<IfReq>() == size_of::<libc::ifreq>());

impl IfReq {
    fn new(interface: &str, data: IfData) -> io::Result<Self> {
        let mut name = [0; libc::IFNAMSIZ];
        // One byte stays zero: the kernel wants the name terminated.
        match name.get_mut(..interface.len()) {
            Some(room) if interface.len() < libc::IFNAMSIZ => room.copy_from_slice(interface.as_bytes()),
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        }
        Ok(Self { name, data })
    }
}

nix::ioctl_readwrite_bad!(
    /// SIOCGIFMTU (netdevice(7)).
    siocgifmtu,
    0x8921,
    IfReq
);
nix::ioctl_readwrite_bad!(
    /// SIOCETHTOOL (linux/sockios.h).
    siocethtool,
    0x8946,
    IfReq
);

fn any_socket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?)
}

/// How long a thread that waits for work sleeps at most before it looks at flags again.
pub(super) const FLAG_INTERVAL: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_effective_set() {
        use Capability::{Bpf, NetAdmin, NetRaw};
        let all = [NetAdmin, NetRaw, Bpf];
        let status = |hex: &str| format!("Name:\tx\nCapPrm:\t000001ffffffffff\nCapEff:\t{hex}\nCapBnd:\t0\n");
        assert_eq!(missing_in(&status("000001ffffffffff"), &all), []);
        assert_eq!(missing_in(&status("0000000000000000"), &all), all);
        assert_eq!(missing_in(&status("0000000000003000"), &all), [Bpf]);
        assert_eq!(missing_in(&status("0000008000001000"), &all), [NetRaw]);
        assert_eq!(missing_in(&status("0000000000203000"), &all), [], "CAP_SYS_ADMIN includes CAP_BPF");
        assert_eq!(missing_in("", &all), all);
    }

    #[test]
    fn the_loopback_interface_has_an_mtu_and_others_have_none() {
        assert!(mtu("lo").unwrap() >= 576);
        assert_eq!(mtu("no-such-if").unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert_eq!(mtu("a-name-of-16-byt").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        // ETHTOOL_GLINK is answered by every driver.
        assert!(ethtool_value("lo", 0x0a).unwrap().is_some());
        assert_eq!(ethtool_value("no-such-if", 0x0a).unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn memory_in_use_is_more_than_none() {
        assert!(peak_memory().unwrap() > 100_000);
    }

    #[test]
    fn the_clock_begins_at_zero_and_goes_on() {
        let clock = Clock::start();
        let first = clock.now();
        assert!(first.as_millis() < 10_000);
        assert!(clock.now() >= first);
        assert!(clock.wall_at_zero() > 1_600_000_000_000_000_000);
    }

    #[test]
    fn pinning_to_a_core_that_is_not_there_names_those_that_are() {
        let core = std::thread::spawn(|| pin(None)).join().unwrap().unwrap();
        let error = std::thread::spawn(|| pin(Some(100_000))).join().unwrap().unwrap_err();
        assert!(error.contains(&core.to_string()) && error.contains("worker.cpu"), "{error}");
    }
}
