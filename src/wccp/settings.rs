//! What the client is told: plain values, checked once.

use super::component::{Service, ServiceFlags, ServiceKind};
use super::mask::is_dealable;
use super::{MAX_MEMBERS, Password};
use crate::time::Duration;
use std::net::Ipv4Addr;

/// The mask that routers' makers use themselves: six bits, 64 values.
pub const DEFAULT_MASK: u32 = 0x1741;

/// Most bits of a mask: more than 128 values do not fit into many routers' tables.
pub(super) const MASK_BITS: u32 = 7;

/// How packets travel between router and appliance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// In GRE (0x883E).
    Gre,
    /// By rewriting the destination MAC address.
    L2,
}

/// How packets are shared out among appliances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assignment {
    /// By 256 hash buckets.
    Hash,
    /// By masks and values.
    Mask,
}

/// Which direction of the clients' connections a group redirects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// From clients: the ports are destination ports, the hash is of the source address.
    Forward,
    /// To clients: the ports are source ports, the hash is of the destination address. Both roles hash the
    /// client's address, so both directions of a connection reach the same appliance.
    Reverse,
}

/// One service group, always of the dynamic kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    /// Its number; 51 to 255 (routers reserve the lower ones for standard services).
    pub id: u8,
    /// Its direction.
    pub role: Role,
    /// Up to eight ports; none: all ports of the protocol.
    pub ports: Vec<u16>,
    /// Groups of higher priority are tried first; usually 240.
    pub priority: u8,
    /// IP protocol; 6 for TCP.
    pub protocol: u8,
}

/// Everything that the client needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address that routers know us by and send GRE to.
    pub own_address: Ipv4Addr,
    /// Length in bits of our own network's prefix: only a router in it can use L2 methods.
    pub prefix: u8,
    /// The routers' addresses, 1 to 32.
    pub routers: Vec<Ipv4Addr>,
    /// The password of all groups, if they have one.
    pub password: Option<Password>,
    /// Forwarding methods in order of preference.
    pub forward: Vec<Method>,
    /// Return methods in order of preference.
    pub return_method: Vec<Method>,
    /// Assignment methods in order of preference.
    pub assignment: Vec<Assignment>,
    /// The bits of the client's address that a mask assignment looks at, 1 to 7 of them.
    pub mask: u32,
    /// The protocol's T: 10 s with real routers. All other times are multiples of it.
    pub here_i_am: Duration,
    /// The groups, each number once.
    pub groups: Vec<GroupSettings>,
}

/// Settings that no client can work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No router, or more than 32.
    #[error("a group has 1 to 32 routers, not {0}")]
    Routers(usize),
    /// The same router twice.
    #[error("the router {0} is listed twice")]
    RouterTwice(Ipv4Addr),
    /// No group.
    #[error("there is no group")]
    NoGroup,
    /// The same number twice.
    #[error("group {0} is listed twice")]
    GroupTwice(u8),
    /// More ports than a service can describe.
    #[error("group {group} lists {ports} ports, a service describes at most 8")]
    Ports {
        /// The group.
        group: u8,
        /// How many.
        ports: usize,
    },
    /// Port 0 would end the list.
    #[error("group {0} lists port 0")]
    PortZero(u8),
    /// A method list is empty.
    #[error("there is no {0} method")]
    NoMethod(&'static str),
    /// The mask has no bit, or more than 7.
    #[error("the mask {0:#x} has not 1 to 7 bits")]
    Mask(u32),
    /// T is shorter than 10 ms.
    #[error("the HERE_I_AM interval is below 10 ms")]
    Interval,
}

impl GroupSettings {
    /// The group's description on the wire.
    pub fn service(&self) -> Service {
        let mut flags = match self.role {
            Role::Forward => ServiceFlags::SOURCE,
            Role::Reverse => ServiceFlags::DESTINATION,
        };
        if !self.ports.is_empty() {
            flags |= ServiceFlags::PORTS;
            if self.role == Role::Reverse {
                flags |= ServiceFlags::PORTS_SOURCE;
            }
        }
        let mut ports = [0; 8];
        for (place, port) in ports.iter_mut().zip(&self.ports) {
            *place = *port;
        }
        Service {
            kind: ServiceKind::Dynamic,
            id: self.id,
            priority: self.priority,
            protocol: self.protocol,
            flags: ServiceFlags(flags),
            ports,
        }
    }
}

impl Settings {
    /// Whether this router is on our own network.
    pub fn is_on_link(&self, router: Ipv4Addr) -> bool {
        let shift = 32 - u32::from(self.prefix.min(32));
        u64::from(router.to_bits()) >> shift == u64::from(self.own_address.to_bits()) >> shift
    }

    /// The first thing that is wrong, if any.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.routers.is_empty() || self.routers.len() > MAX_MEMBERS {
            return Err(SettingsError::Routers(self.routers.len()));
        }
        if let Some(twice) = first_twice(&self.routers) {
            return Err(SettingsError::RouterTwice(twice));
        }
        if self.groups.is_empty() {
            return Err(SettingsError::NoGroup);
        }
        let ids: Vec<u8> = self.groups.iter().map(|group| group.id).collect();
        if let Some(twice) = first_twice(&ids) {
            return Err(SettingsError::GroupTwice(twice));
        }
        for group in &self.groups {
            if group.ports.len() > 8 {
                return Err(SettingsError::Ports { group: group.id, ports: group.ports.len() });
            }
            if group.ports.contains(&0) {
                return Err(SettingsError::PortZero(group.id));
            }
        }
        let empty = [
            (self.forward.is_empty(), "forward"),
            (self.return_method.is_empty(), "return"),
            (self.assignment.is_empty(), "assignment"),
        ];
        if let Some((_, name)) = empty.iter().find(|(empty, _)| *empty) {
            return Err(SettingsError::NoMethod(name));
        }
        if !is_dealable(self.mask) {
            return Err(SettingsError::Mask(self.mask));
        }
        if self.here_i_am < Duration::from_millis(10) {
            return Err(SettingsError::Interval);
        }
        Ok(())
    }
}

fn first_twice<T: PartialEq + Copy>(list: &[T]) -> Option<T> {
    list.iter().enumerate().find(|&(at, item)| list.iter().take(at).any(|other| other == item)).map(|f| *f.1)
}
