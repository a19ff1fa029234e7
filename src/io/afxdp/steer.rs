//! What the XDP program is told: which frames are ours, and which addresses are the host's.

use super::fault;
use crate::io::PortError;
use aya::maps::{Array, HashMap, MapData, MapError};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The most addresses, ours and the host's, that the program can tell apart (`addresses` in
/// `bpf/tidegate_xdp.c`).
const MAX_ADDRESSES: usize = 4096;
/// `OURS` and `HOSTS` of the program.
const OURS: u32 = 1;
const HOSTS: u32 = 2;
/// `ANY_TAGS` of the program.
const ANY_TAGS: u32 = 3;

/// Which frames of an interface are for us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Steering {
    /// Whether the host uses the interface as well: what is not for us goes to it. Otherwise everything is
    /// for us, and the rest of this does not matter.
    pub shared: bool,
    /// Whether packets are redirected to the interface's MAC address: what comes there for an address that
    /// is not the host's is for us.
    pub by_mac: bool,
    /// Our addresses.
    pub own: Vec<IpAddr>,
    /// The ids of the VLAN tags that our frames have, outer first, none to two of them; `None` for
    /// whatever tags there are.
    pub vlan: Option<Vec<u16>>,
}

impl Steering {
    /// `struct settings` of the program.
    pub(super) fn settings(&self, frame_limit: u32, mac: [u8; 6]) -> [u32; 8] {
        let [a, b, c, d, e, f] = mac;
        let id = |n: usize| self.vlan.as_ref().and_then(|v| v.get(n)).map_or(0, |id| u32::from(*id));
        [
            frame_limit,
            u32::from(self.shared),
            u32::from(self.by_mac),
            u32::from_ne_bytes([a, b, c, d]),
            u32::from(u16::from_ne_bytes([e, f])),
            self.vlan.as_ref().map_or(ANY_TAGS, |v| v.len() as u32),
            id(0),
            id(1),
        ]
    }
}

/// The program's list of addresses. It begins with ours; the host's change while we run.
pub struct Addresses {
    interface: String,
    map: HashMap<MapData, [u8; 16], u32>,
    own: BTreeSet<[u8; 16]>,
    host: BTreeSet<[u8; 16]>,
}

impl Addresses {
    pub(super) fn new(
        interface: &str,
        mut map: HashMap<MapData, [u8; 16], u32>,
        own: &[IpAddr],
    ) -> Result<Self, MapError> {
        let own: BTreeSet<_> = own.iter().map(|a| key(*a)).collect();
        for address in &own {
            map.insert(address, OURS, 0)?;
        }
        Ok(Self { interface: interface.into(), map, own, host: BTreeSet::new() })
    }

    /// Makes `host` the host's addresses. What is ours stays ours.
    ///
    /// # Errors
    /// There are more than 4,096, or the kernel refuses one; those before it are in effect.
    pub fn set_host(&mut self, host: impl IntoIterator<Item = IpAddr>) -> Result<(), PortError> {
        let new: BTreeSet<_> = host.into_iter().map(key).filter(|a| !self.own.contains(a)).collect();
        let refused = |e: MapError| {
            let what = format!("the XDP program cannot be told of the host's addresses: {e}");
            fault(&self.interface, what, "grant CAP_BPF, and memory for BPF maps")
        };
        for gone in self.host.difference(&new) {
            // One that is gone already is what was wanted.
            match self.map.remove(gone) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(e) => return Err(refused(e)),
            }
        }
        self.host.retain(|a| new.contains(a));
        if self.own.len() + new.len() > MAX_ADDRESSES {
            let what = format!("the host has {} addresses; {MAX_ADDRESSES} can be told apart", new.len());
            return Err(fault(&self.interface, what, "use mode = \"dedicated\" on an interface of its own"));
        }
        for address in new {
            if !self.host.contains(&address) {
                self.map.insert(address, HOSTS, 0).map_err(refused)?;
                self.host.insert(address);
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Addresses({}: {} ours, {} the host's)", self.interface, self.own.len(), self.host.len())
    }
}

/// Tells the program its settings.
pub(super) fn set(map: &mut aya::maps::Map, settings: [u32; 8]) -> Result<(), MapError> {
    Array::<_, [u32; 8]>::try_from(map)?.set(0, settings, 0)
}

/// `struct address` of the program.
fn key(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
        IpAddr::V6(a) => a.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_laid_out_as_the_program_reads_them() {
        let mac = [2, 3, 4, 5, 6, 7];
        let any = Steering::default().settings(1522, mac);
        assert_eq!(any, [1522, 0, 0, 0x0504_0302u32.to_le(), 0x0706u32.to_le(), 3, 0, 0]);
        let two = Steering { shared: true, by_mac: true, vlan: Some(vec![100, 7]), ..Steering::default() };
        assert_eq!(two.settings(1522, mac)[1..3], [1, 1]);
        assert_eq!(two.settings(1522, mac)[5..], [2, 100, 7]);
        let none = Steering { vlan: Some(vec![]), ..Steering::default() };
        assert_eq!(none.settings(1, mac)[5..], [0, 0, 0]);
    }

    #[test]
    fn ipv4_addresses_are_mapped() {
        let key = key("10.9.0.2".parse().unwrap());
        assert_eq!(key, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 9, 0, 2]);
    }
}
