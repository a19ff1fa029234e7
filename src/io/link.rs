//! What the kernel says about network interfaces: `RTM_GETLINK` over netlink.
//!
//! Not /sys/class/net, which shows the network namespace that mounted it rather than the one we are in.

use super::PortError;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink, recv, sendto, socket_with,
};
use std::net::IpAddr;
use std::time::Duration;

const NLMSG_DONE: u16 = 3;
const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLM_F_REQUEST_DUMP: u16 = 0x1 | 0x300;
/// What is listed changed while it was listed.
const NLM_F_DUMP_INTR: u16 = 0x10;
/// Groups of linux/rtnetlink.h: links (1), IPv4 and IPv6 addresses (5 and 9), and settings of interfaces, their
/// forwarding among them (24 and 25).
const GROUPS: u32 = 1 | 1 << 4 | 1 << 8 | 1 << 23 | 1 << 24;
const IFF_UP: u32 = 1;
const IFF_LOWER_UP: u32 = 1 << 16;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;

/// One network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number of it, above 0.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC address; zeros if it has none.
    pub mac: [u8; 6],
    /// MTU in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Whether it is set up (which says nothing about a cable).
    pub up: bool,
    /// Whether it has a carrier: a cable, and somebody at its other end.
    pub carrier: bool,
    /// Receive queues that it was made with; fewer may be in use.
    pub rx_queues: u32,
    /// The XDP program attached to it: its id, 0 if the kernel does not tell.
    pub xdp_program: Option<u32>,
    /// What kind of software device it is: `veth`, `vlan`, `bridge`; empty for a NIC.
    pub kind: String,
    /// The tag's id, of a VLAN.
    pub vlan: Option<u16>,
    /// The interface that it sits upon, for a VLAN say.
    pub parent: Option<u32>,
}

/// An address of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAddress {
    /// The interface that carries it, without an address's label (`eth1`, not `eth1:0`).
    pub interface: String,
    /// The address.
    pub address: IpAddr,
}

/// All IPv4 and IPv6 addresses of this network namespace. `about` is as for [`all`].
///
/// # Errors
/// The kernel cannot be asked.
pub fn addresses(about: &str) -> Result<Vec<HostAddress>, PortError> {
    let entries = getifaddrs().map_err(|e| no_netlink(about, "addresses", &e))?;
    let address = |a: &SockaddrStorage| {
        let v4 = a.as_sockaddr_in().map(|a| IpAddr::from(a.ip()));
        v4.or_else(|| a.as_sockaddr_in6().map(|a| IpAddr::from(a.ip())))
    };
    let host = entries.filter_map(|e| {
        let interface = unlabelled(&e.interface_name).to_owned();
        Some(HostAddress { address: address(e.address.as_ref()?)?, interface })
    });
    Ok(host.collect())
}

/// The interface of a name that getifaddrs(3) gives, which is an IPv4 address's label if it has one.
pub fn unlabelled(name: &str) -> &str {
    name.split_once(':').map_or(name, |(interface, _)| interface)
}

/// Those of `links` that get what comes in by `interface`: itself and the VLAN interfaces on it, or, if `tags`
/// are given, those that frames with these tags, outer first, belong to.
pub fn takers<'a>(interface: &'a Link, links: &'a [Link], tags: Option<&[u16]>) -> Vec<&'a Link> {
    let on = |parents: &[&Link], id: Option<u16>| -> Vec<&'a Link> {
        let of = |l: &&Link| parents.iter().any(|p| l.parent == Some(p.index) && l.index != p.index);
        let fits = |l: &&Link| l.kind == "vlan" && id.is_none_or(|id| l.vlan == Some(id));
        links.iter().filter(of).filter(fits).collect()
    };
    if let Some(tags) = tags {
        return tags.iter().fold(vec![interface], |parents, id| on(&parents, Some(*id)));
    }
    // A VLAN in a VLAN; deeper ones are not looked behind.
    let outer = on(&[interface], None);
    let inner = on(&outer, None);
    [vec![interface], outer, inner].concat()
}

/// Tells when interfaces, their settings or the host's addresses change.
#[derive(Debug)]
pub struct Changes {
    socket: OwnedFd,
}

impl Changes {
    /// Listens from now on, in this network namespace. `about` is as for [`all`].
    ///
    /// # Errors
    /// The kernel does not let us.
    pub fn subscribe(about: &str) -> Result<Self, PortError> {
        let open = || {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
            bind(&socket, &netlink::SocketAddrNetlink::new(0, GROUPS))?;
            Ok(socket)
        };
        Ok(Self { socket: open().map_err(|e: Errno| no_netlink(about, "changes", &e))? })
    }

    /// Waits until something changed, or for `timeout`; true in the first case. What has changed is to be
    /// looked up by [`all`] and [`addresses`], so it does not matter if the kernel could not tell it all.
    pub fn wait(&self, timeout: Duration) -> bool {
        if !super::wait([self.socket.as_fd()], timeout) {
            return false;
        }
        let mut waste = [0u8; 4096];
        // Bounded: a host that changes faster than we read is seen again at the next call.
        for _ in 0..64 {
            if recv(&self.socket, &mut waste[..], RecvFlags::empty()) == Err(Errno::AGAIN) {
                break;
            }
        }
        true
    }
}

/// The interface of this name.
///
/// # Errors
/// There is none in this network namespace, or the kernel cannot be asked.
pub fn find(name: &str) -> Result<Link, PortError> {
    all(name)?.into_iter().find(|l| l.name == name).ok_or_else(|| PortError {
        interface: name.into(),
        what: "no such network interface".into(),
        remedy: "see `ip link` for the names in this network namespace".into(),
    })
}

/// As [`find`], for an interface that frames can go through.
///
/// # Errors
/// As [`find`]; and when the interface is down.
pub fn find_up(name: &str) -> Result<Link, PortError> {
    let link = find(name)?;
    if !link.up {
        return Err(PortError {
            interface: name.into(),
            what: "the interface is down".into(),
            remedy: format!("`ip link set dev {name} up`"),
        });
    }
    Ok(link)
}

/// All interfaces of this network namespace. `about` is the interface that an error is put down to.
///
/// # Errors
/// The kernel cannot be asked.
pub fn all(about: &str) -> Result<Vec<Link>, PortError> {
    dump().map_err(|e| no_netlink(about, "interfaces", &e))
}

fn no_netlink(about: &str, what: &str, error: &dyn std::fmt::Display) -> PortError {
    PortError {
        interface: about.into(),
        what: format!("the kernel does not list its {what} over netlink: {error}"),
        remedy: "allow AF_NETLINK sockets (a sandbox or seccomp profile may forbid them)".into(),
    }
}

/// All links. A list that changed while it was read is read again, a few times.
fn dump() -> rustix::io::Result<Vec<Link>> {
    let mut read = dump_once()?;
    for _ in 0..4 {
        if read.1 {
            break;
        }
        read = dump_once()?;
    }
    Ok(read.0)
}

/// All links, and whether none came or went meanwhile.
fn dump_once() -> rustix::io::Result<(Vec<Link>, bool)> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let mut request = [0u8; 32]; // nlmsghdr (16) and an empty ifinfomsg (16)
    request[0..4].copy_from_slice(&32u32.to_ne_bytes());
    request[4..6].copy_from_slice(&RTM_GETLINK.to_ne_bytes());
    request[6..8].copy_from_slice(&NLM_F_REQUEST_DUMP.to_ne_bytes());
    sendto(&socket, &request, SendFlags::empty(), &netlink::SocketAddrNetlink::new(0, 0))?;
    let mut links = Vec::new();
    let mut whole = true;
    let mut buffer = vec![0u8; 64 * 1024];
    loop {
        let (got, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = &buffer[..got.min(64 * 1024)];
        while let Some((kind, body, next)) = message(rest) {
            whole &= u16_at(rest, 6).is_some_and(|flags| flags & NLM_F_DUMP_INTR == 0);
            match kind {
                NLMSG_DONE => return Ok((links, whole)),
                NLMSG_ERROR => {
                    let code = u32_at(body, 0).unwrap_or(0).wrapping_neg();
                    return Err(rustix::io::Errno::from_raw_os_error(code as i32));
                }
                RTM_NEWLINK => links.extend(parse_link(body)),
                _ => {}
            }
            rest = next;
        }
        if got == 0 {
            return Ok((links, whole));
        }
    }
}

/// The first netlink message of `bytes`: (type, body, what follows).
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let len = u32_at(bytes, 0)? as usize;
    let kind = u16_at(bytes, 4)?;
    let body = bytes.get(16..len)?;
    Some((kind, body, bytes.get(len.next_multiple_of(4)..).unwrap_or(&[])))
}

/// An `ifinfomsg` and its attributes.
fn parse_link(body: &[u8]) -> Option<Link> {
    let (index, flags) = (u32_at(body, 4)?, u32_at(body, 8)?);
    let (up, carrier) = (flags & IFF_UP != 0, flags & IFF_LOWER_UP != 0);
    let mut link = Link { index, up, carrier, ..Link::default() };
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_ADDRESS => link.mac = value.try_into().unwrap_or_default(),
            IFLA_MTU => link.mtu = u32_at(value, 0)?,
            IFLA_LINK => link.parent = u32_at(value, 0),
            IFLA_NUM_RX_QUEUES => link.rx_queues = u32_at(value, 0)?,
            IFLA_LINKINFO => {
                link.kind =
                    attributes(value).find(|a| a.0 == IFLA_INFO_KIND).map(|a| text(a.1)).unwrap_or_default();
                let data = attributes(value).find(|a| a.0 == IFLA_INFO_DATA).filter(|_| link.kind == "vlan");
                let mut of_vlan = attributes(data.map_or(&[], |a| a.1));
                link.vlan = of_vlan.find(|a| a.0 == IFLA_VLAN_ID).and_then(|a| u16_at(a.1, 0));
            }
            IFLA_XDP => {
                let attached = attributes(value)
                    .any(|a| a.0 == IFLA_XDP_ATTACHED && a.1.first().is_some_and(|v| *v != 0));
                let id = attributes(value).find(|a| a.0 == IFLA_XDP_PROG_ID).and_then(|a| u32_at(a.1, 0));
                link.xdp_program = attached.then(|| id.unwrap_or(0));
            }
            _ => {}
        }
    }
    Some(link)
}

/// The route attributes of `bytes`, as (type without flags, value), up to the first that does not fit.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & 0x3fff;
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_found_and_strangers_are_not() {
        let lo = find("lo").unwrap();
        assert!(lo.index > 0 && lo.mtu >= 1280, "{lo:?}");
        let missing = find("tg-none").unwrap_err().to_string();
        assert!(missing.starts_with("tg-none: no such network interface; "), "{missing}");
    }

    #[test]
    fn takers_are_found_by_their_tags() {
        let link = |index, parent, vlan: Option<u16>| Link {
            index,
            parent,
            vlan,
            kind: if vlan.is_some() { "vlan".into() } else { String::new() },
            ..Link::default()
        };
        let links = [
            link(1, None, None),
            link(2, Some(1), Some(100)),
            link(3, Some(1), Some(101)),
            link(4, Some(2), Some(200)),
            link(5, Some(4), Some(300)),
            link(6, Some(1), None),
            link(7, None, None),
            link(8, Some(7), Some(100)),
        ];
        let of = |tags: Option<&[u16]>| {
            takers(&links[0], &links, tags).iter().map(|l| l.index).collect::<Vec<_>>()
        };
        assert_eq!(of(None), [1, 2, 3, 4]);
        assert_eq!(of(Some(&[])), [1]);
        assert_eq!(of(Some(&[100])), [2]);
        assert_eq!(of(Some(&[100, 200])), [4]);
        assert_eq!(of(Some(&[101, 200])), [0; 0]);
        assert_eq!((unlabelled("eth1:0"), unlabelled("eth1")), ("eth1", "eth1"));
    }

    #[test]
    fn cut_messages_end_quietly() {
        let mut whole = vec![0u8; 16];
        whole[4] = 7;
        for (kind, value) in [(IFLA_IFNAME, &b"tg0\0"[..]), (IFLA_MTU, &1400u32.to_ne_bytes()[..])] {
            whole.extend((4 + value.len() as u16).to_ne_bytes());
            whole.extend(kind.to_ne_bytes());
            whole.extend(value);
        }
        let link = parse_link(&whole).unwrap();
        assert_eq!((link.name.as_str(), link.mtu, link.index), ("tg0", 1400, 7));
        for cut in 0..whole.len() {
            let _ = parse_link(&whole[..cut]);
            let _ = message(&whole[..cut]);
        }
    }
}
