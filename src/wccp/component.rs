//! The components of messages (draft-wilson-wrec-wccp-v2, 5.6): a type, a length, and what is here.

use super::MAX_MEMBERS;
use super::codec::{Field, Reader, Writer};
use super::element::{AssignmentKey, CacheIdentity, MaskValueSet, RouterAssignment, RouterIdElement};
use super::error::ParseError;
use std::net::Ipv4Addr;

/// Who defined a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceKind {
    /// Well known; only 0 (HTTP) exists, and nothing but its number is sent.
    Standard,
    /// Described by its caches.
    Dynamic,
}

/// What a service looks at and how (the 32-bit flags of a service).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServiceFlags(pub u32);

impl ServiceFlags {
    /// Hash the source address.
    pub const SOURCE: u32 = 0x0001;
    /// Hash the destination address.
    pub const DESTINATION: u32 = 0x0002;
    /// Hash the source port.
    pub const SOURCE_PORT: u32 = 0x0004;
    /// Hash the destination port.
    pub const DESTINATION_PORT: u32 = 0x0008;
    /// The list of ports counts; without this every port belongs to the service.
    pub const PORTS: u32 = 0x0010;
    /// The listed ports are source ports.
    pub const PORTS_SOURCE: u32 = 0x0020;
    /// The four hash flags again, eight bits up, for the alternate hash.
    pub const ALTERNATE_SHIFT: u32 = 8;

    /// Whether all bits of `bits` are set.
    pub const fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }
}

/// Which packets a group redirects. Caches of one group must send it byte for byte the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// Standard or dynamic; part of the group's name.
    pub kind: ServiceKind,
    /// The group's number.
    pub id: u8,
    /// Groups of higher priority are tried first.
    pub priority: u8,
    /// IP protocol.
    pub protocol: u8,
    /// What to hash and what the ports mean.
    pub flags: ServiceFlags,
    /// Up to eight ports; the list ends at the first 0.
    pub ports: [u16; 8],
}

/// The router's part of an I_SEE_YOU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterIdentity {
    /// The router's name and the number of this message.
    pub router: RouterIdElement,
    /// The address that the cache sent to.
    pub sent_to: Ipv4Addr,
    /// The caches that this message is for.
    pub received_from: Vec<Ipv4Addr>,
}

/// Who is in the group, as a router sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterView {
    /// Changes when the set of usable caches or of routers changes.
    pub change: u32,
    /// The assignment that the router took last.
    pub key: AssignmentKey,
    /// Routers that caches named.
    pub routers: Vec<Ipv4Addr>,
    /// Usable caches.
    pub caches: Vec<CacheIdentity>,
}

/// Who is in the group, as a cache sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheView {
    /// Changes when one of the lists changes.
    pub change: u32,
    /// Routers heard, each with the number of its last message.
    pub routers: Vec<RouterIdElement>,
    /// Caches that routers named.
    pub caches: Vec<Ipv4Addr>,
}

/// Who gets the packets of one hash bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bucket {
    /// Nobody: the router forwards them.
    Unassigned,
    /// A cache.
    Cache {
        /// Its position in the list of caches, 0 to 31.
        index: u8,
        /// Hash once more with the alternate flags to find the cache.
        alternate: bool,
    },
}

/// Caches and the 256 buckets that are dealt to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashTable {
    /// At most 32; buckets name them by position.
    pub caches: Vec<Ipv4Addr>,
    /// One for each value of the hash.
    pub buckets: Box<[Bucket; 256]>,
}

/// A hash assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignmentInfo {
    /// Its name.
    pub key: AssignmentKey,
    /// The routers that it is for.
    pub routers: Vec<RouterAssignment>,
    /// The assignment.
    pub table: HashTable,
}

/// An assignment in the newer form, which can also be by mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlternateAssignment {
    /// Its name.
    pub key: AssignmentKey,
    /// The routers that it is for.
    pub routers: Vec<RouterAssignment>,
    /// The assignment.
    pub body: AlternateBody,
}

/// What an alternate assignment assigns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlternateBody {
    /// By hash.
    Hash(HashTable),
    /// By masks and values, tried in order.
    Mask(Vec<MaskValueSet>),
}

/// A router asks a cache whether it is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterQuery {
    /// The router, and the Receive ID that it wants to see in the answer.
    pub router: RouterIdElement,
    /// Where the cache's last HERE_I_AM was sent to.
    pub sent_to: Ipv4Addr,
    /// The cache that is asked.
    pub target: Ipv4Addr,
}

/// One capability. A router offers sets of bits, a cache answers with one bit each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capability {
    /// How redirected packets travel: 1 GRE, 2 layer 2.
    Forward(u32),
    /// How packets are shared out: 1 hash, 2 mask.
    Assignment(u32),
    /// How declined packets travel back: 1 GRE, 2 layer 2.
    Return(u32),
    /// Any other; not looked into.
    Other {
        /// Its type.
        kind: u16,
        /// Its value; a multiple of 4 bytes when we send it.
        value: Vec<u8>,
    },
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The cache with this address leaves.
    Shutdown(Ipv4Addr),
    /// The router has let the cache with this address go.
    ShutdownResponse(Ipv4Addr),
    /// Any other; not looked into.
    Other {
        /// Its type.
        kind: u16,
        /// Its data; a multiple of 4 bytes when we send it.
        data: Vec<u8>,
    },
}

impl Service {
    pub(super) fn read(mut r: Reader<'_>) -> Result<Self, ParseError> {
        let kind = match r.u8()? {
            0 => ServiceKind::Standard,
            1 => ServiceKind::Dynamic,
            _ => return Err(ParseError::ServiceType),
        };
        let (id, priority, protocol) = (r.u8()?, r.u8()?, r.u8()?);
        let flags = ServiceFlags(r.u32()?);
        let mut ports = [0; 8];
        for port in &mut ports {
            *port = r.u16()?;
        }
        r.finish()?;
        Ok(Self { kind, id, priority, protocol, flags, ports })
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.u8(match self.kind {
            ServiceKind::Standard => 0,
            ServiceKind::Dynamic => 1,
        });
        w.bytes(&[self.id, self.priority, self.protocol]);
        w.u32(self.flags.0);
        for port in self.ports {
            w.u16(port);
        }
    }
}

impl RouterIdentity {
    pub(super) fn read(mut r: Reader<'_>) -> Result<Self, ParseError> {
        let identity = Self {
            router: RouterIdElement::read(&mut r)?,
            sent_to: r.ip()?,
            received_from: r.list(MAX_MEMBERS)?,
        };
        r.finish()?;
        Ok(identity)
    }

    pub(super) fn write(&self, w: &mut Writer) {
        self.router.write(w);
        w.ip(self.sent_to);
        w.list(&self.received_from);
    }
}

impl RouterView {
    pub(super) fn read(mut r: Reader<'_>) -> Result<Self, ParseError> {
        let view = Self {
            change: r.u32()?,
            key: AssignmentKey::read(&mut r)?,
            routers: r.list(MAX_MEMBERS)?,
            caches: r.list(MAX_MEMBERS)?,
        };
        r.finish()?;
        Ok(view)
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.u32(self.change);
        self.key.write(w);
        w.list(&self.routers);
        w.list(&self.caches);
    }
}

impl CacheView {
    pub(super) fn read(mut r: Reader<'_>) -> Result<Self, ParseError> {
        let view = Self { change: r.u32()?, routers: r.list(MAX_MEMBERS)?, caches: r.list(MAX_MEMBERS)? };
        r.finish()?;
        Ok(view)
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.u32(self.change);
        w.list(&self.routers);
        w.list(&self.caches);
    }
}

impl HashTable {
    fn read(r: &mut Reader<'_>) -> Result<Self, ParseError> {
        let caches: Vec<Ipv4Addr> = r.list(MAX_MEMBERS)?;
        let bytes: [u8; 256] = r.array()?;
        let mut buckets = Box::new([Bucket::Unassigned; 256]);
        for (bucket, byte) in buckets.iter_mut().zip(bytes) {
            // The low seven bits are the index: 0xFF alone stands for nobody (Cisco's form).
            *bucket = match byte {
                0xFF => Bucket::Unassigned,
                _ if usize::from(byte & 0x7F) < caches.len() => {
                    Bucket::Cache { index: byte & 0x7F, alternate: byte & 0x80 != 0 }
                }
                _ => return Err(ParseError::BucketIndex),
            };
        }
        Ok(Self { caches, buckets })
    }

    fn write(&self, w: &mut Writer) {
        w.list(&self.caches);
        for bucket in self.buckets.iter() {
            w.u8(match bucket {
                Bucket::Unassigned => 0xFF,
                Bucket::Cache { index, alternate } => index & 0x7F | u8::from(*alternate) << 7,
            });
        }
    }
}

impl AssignmentInfo {
    pub(super) fn read(mut r: Reader<'_>) -> Result<Self, ParseError> {
        let info = Self {
            key: AssignmentKey::read(&mut r)?,
            routers: r.list(MAX_MEMBERS)?,
            table: HashTable::read(&mut r)?,
        };
        r.finish()?;
        Ok(info)
    }

    pub(super) fn write(&self, w: &mut Writer) {
        self.key.write(w);
        w.list(&self.routers);
        self.table.write(w);
    }
}

impl AlternateAssignment {
    pub(super) fn read(mut r: Reader<'_>) -> Result<Self, ParseError> {
        let kind = r.u16()?;
        let length = usize::from(r.u16()?);
        if length != r.left() {
            return Err(ParseError::AssignmentLength);
        }
        let key = AssignmentKey::read(&mut r)?;
        let routers = r.list(MAX_MEMBERS)?;
        let body = match kind {
            0 => AlternateBody::Hash(HashTable::read(&mut r)?),
            1 => AlternateBody::Mask(r.list(usize::MAX)?),
            _ => return Err(ParseError::AssignmentType),
        };
        r.finish()?;
        Ok(Self { key, routers, body })
    }

    pub(super) fn write(&self, w: &mut Writer) {
        let kind = match self.body {
            AlternateBody::Hash(_) => 0,
            AlternateBody::Mask(_) => 1,
        };
        w.tlv(kind, |w| {
            self.key.write(w);
            w.list(&self.routers);
            match &self.body {
                AlternateBody::Hash(table) => table.write(w),
                AlternateBody::Mask(sets) => w.list(sets),
            }
        });
    }
}

impl RouterQuery {
    pub(super) fn read(mut r: Reader<'_>) -> Result<Self, ParseError> {
        let query = Self { router: RouterIdElement::read(&mut r)?, sent_to: r.ip()?, target: r.ip()? };
        r.finish()?;
        Ok(query)
    }

    pub(super) fn write(&self, w: &mut Writer) {
        self.router.write(w);
        w.ip(self.sent_to);
        w.ip(self.target);
    }
}

/// Masks and values in force, as a router reports them (the Assignment Map).
pub(super) fn read_map(mut r: Reader<'_>) -> Result<Vec<MaskValueSet>, ParseError> {
    let sets = r.list(usize::MAX)?;
    r.finish()?;
    Ok(sets)
}

/// Elements are stepped over by their own lengths: types that we do not know may have any.
pub(super) fn read_capabilities(mut r: Reader<'_>) -> Result<Vec<Capability>, ParseError> {
    let mut list = Vec::new();
    while r.left() > 0 {
        let (kind, value) = tlv(&mut r).ok_or(ParseError::CapabilityBeyondEnd)?;
        let bits = || <[u8; 4]>::try_from(value).map(u32::from_be_bytes);
        list.push(match kind {
            1 => Capability::Forward(bits().map_err(|_| ParseError::CapabilityLength)?),
            2 => Capability::Assignment(bits().map_err(|_| ParseError::CapabilityLength)?),
            3 => Capability::Return(bits().map_err(|_| ParseError::CapabilityLength)?),
            _ => Capability::Other { kind, value: value.to_vec() },
        });
    }
    Ok(list)
}

pub(super) fn write_capabilities(list: &[Capability], w: &mut Writer) {
    for capability in list {
        match capability {
            Capability::Forward(bits) => w.tlv(1, |w| w.u32(*bits)),
            Capability::Assignment(bits) => w.tlv(2, |w| w.u32(*bits)),
            Capability::Return(bits) => w.tlv(3, |w| w.u32(*bits)),
            Capability::Other { kind, value } => w.tlv(*kind, |w| w.bytes(value)),
        }
    }
}

pub(super) fn read_commands(mut r: Reader<'_>) -> Result<Vec<Command>, ParseError> {
    let mut list = Vec::new();
    while r.left() > 0 {
        let (kind, data) = tlv(&mut r).ok_or(ParseError::CommandBeyondEnd)?;
        let address = <[u8; 4]>::try_from(data).map(Ipv4Addr::from);
        list.push(match (kind, address) {
            (1, Ok(address)) => Command::Shutdown(address),
            (2, Ok(address)) => Command::ShutdownResponse(address),
            _ => Command::Other { kind, data: data.to_vec() },
        });
    }
    Ok(list)
}

pub(super) fn write_commands(list: &[Command], w: &mut Writer) {
    for command in list {
        match command {
            Command::Shutdown(address) => w.tlv(1, |w| w.ip(*address)),
            Command::ShutdownResponse(address) => w.tlv(2, |w| w.ip(*address)),
            Command::Other { kind, data } => w.tlv(*kind, |w| w.bytes(data)),
        }
    }
}

fn tlv<'a>(r: &mut Reader<'a>) -> Option<(u16, &'a [u8])> {
    let kind = r.u16().ok()?;
    let length = r.u16().ok()?;
    Some((kind, r.bytes(usize::from(length)).ok()?))
}
