//! The fields of WCCP version 2 messages as a router reads and writes them.
//!
//! Written apart from the appliance's codec in the library on purpose: two readings of the protocol
//! that must understand each other find mistakes that one reading shared by both ends would hide.
//! Layouts: draft-wilson-wrec-wccp-v2-03, sections 5.1 to 5.7.

mod write;

use crate::packet::{addr_at, be16};
use md5::{Digest, Md5};
use std::net::Ipv4Addr;
pub use write::{ISeeYou, Listed, Part, i_see_you, removal_query};

/// UDP port at both ends.
pub const PORT: u16 = 2048;
/// Buckets of a hash assignment.
pub const BUCKETS: usize = 256;
/// A bucket that no cache has.
pub const UNASSIGNED: u8 = 0xff;
/// Most caches in a group.
pub const MAX_CACHES: usize = 32;

const VERSION: u16 = 0x0200;
const HERE_I_AM: u32 = 10;
const I_SEE_YOU: u32 = 11;
const REDIRECT_ASSIGN: u32 = 12;
const REMOVAL_QUERY: u32 = 13;

/// Forwarding and return: GRE.
pub const GRE: u32 = 1;
/// Forwarding and return: rewriting the MAC address.
pub const L2: u32 = 2;
/// Assignment: hash.
pub const HASH: u32 = 1;
/// Assignment: mask.
pub const MASK: u32 = 2;

/// Which group: standard (0) or dynamic (1), and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceKey {
    /// 0 standard, 1 dynamic.
    pub kind: u8,
    /// Number of the service.
    pub id: u8,
}

/// The description of a service, as its component's 24 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service(pub [u8; 24]);

impl Service {
    /// Which group it describes.
    pub fn key(&self) -> ServiceKey {
        ServiceKey { kind: self.0[0], id: self.0[1] }
    }

    /// Priority among services, highest first; the standard services have 240.
    pub fn priority(&self) -> u8 {
        if self.0[0] == 0 { 240 } else { self.0[2] }
    }

    /// IP protocol; the standard service is HTTP.
    pub fn protocol(&self) -> u8 {
        if self.0[0] == 0 { 6 } else { self.0[3] }
    }

    /// The flags; the standard service hashes the destination address and has its ports defined.
    pub fn flags(&self) -> u32 {
        if self.0[0] == 0 { 0x12 } else { u32::from_be_bytes([self.0[4], self.0[5], self.0[6], self.0[7]]) }
    }

    /// The ports up to the first zero.
    pub fn ports(&self) -> impl Iterator<Item = u16> + '_ {
        let standard = (self.0[0] == 0).then_some(80);
        let listed = (0..8).map(|i| be16(&self.0, 8 + 2 * i)).take_while(|p| *p != 0);
        standard.into_iter().chain(listed)
    }
}

/// How the sender says who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    None,
    /// MD5 over password and message.
    Md5([u8; 16]),
}

/// One router that a cache lists, and the Receive ID it had from it last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterElement {
    /// Which router.
    pub id: Ipv4Addr,
    /// Its last Receive ID; 0 if none.
    pub receive_id: u32,
}

/// What a cache asks for, one bit each (or the defaults, if it says nothing).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// 1 GRE, 2 L2.
    pub forward: u32,
    /// 1 hash, 2 mask.
    pub assignment: u32,
    /// 1 GRE, 2 L2.
    pub packet_return: u32,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self { forward: GRE, assignment: HASH, packet_return: GRE }
    }
}

/// HERE_I_AM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HereIAm {
    /// The group's description.
    pub service: Service,
    /// The cache's identity.
    pub cache: Ipv4Addr,
    /// Weight and status, of a hash identity.
    pub weight: (u16, u16),
    /// The cache's view change number.
    pub change: u32,
    /// Routers it knows.
    pub routers: Vec<RouterElement>,
    /// What it asks for; `None` if it says nothing, which a first contact may do.
    pub capabilities: Option<Capabilities>,
    /// It leaves: the address in its SHUTDOWN command.
    pub shutdown: Option<Ipv4Addr>,
}

/// Bits of addresses and ports, of a mask or of a value under it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bits {
    /// Of the source address.
    pub src: u32,
    /// Of the destination address.
    pub dst: u32,
    /// Of the source and destination port.
    pub ports: (u16, u16),
}

/// A mask, and the caches for the values that packets may have under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskSet {
    /// The mask.
    pub mask: Bits,
    /// The first value that equals decides.
    pub values: Vec<(Bits, Ipv4Addr)>,
}

/// What is assigned, in one of two ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assignment {
    /// By hash.
    Hash {
        /// Caches by index.
        caches: Vec<Ipv4Addr>,
        /// Which cache each bucket goes to.
        buckets: Box<[u8; BUCKETS]>,
    },
    /// By masks, tried in order.
    Mask(Vec<MaskSet>),
}

impl Assignment {
    /// The capability that it needs.
    pub fn method(&self) -> u32 {
        match self {
            Self::Hash { .. } => HASH,
            Self::Mask(_) => MASK,
        }
    }
}

/// REDIRECT_ASSIGN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectAssign {
    /// The group's description.
    pub service: Service,
    /// Assignment key: designated cache and its number.
    pub key: (Ipv4Addr, u32),
    /// Routers it is for: Receive ID and member change number as last heard from each.
    pub routers: Vec<(RouterElement, u32)>,
    /// The assignment.
    pub assignment: Assignment,
}

/// What a cache sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Type 10.
    HereIAm(HereIAm),
    /// Type 12.
    RedirectAssign(RedirectAssign),
}

/// Why a datagram is not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Lengths that do not fit.
    Length,
    /// Not version 2.00.
    Version,
    /// A type that only routers send, or none at all.
    Type,
    /// A component twice.
    Twice,
    /// A component is missing.
    Missing,
    /// A value that the protocol does not allow.
    Value,
}

/// Reads what a cache sent.
///
/// # Errors
/// What [`Malformed`] lists. Nothing is allocated on the word of a count.
pub fn parse(datagram: &[u8]) -> Result<(Security, Message), Malformed> {
    let (head, body) = datagram.split_first_chunk::<8>().ok_or(Malformed::Length)?;
    if be16(head, 4) != VERSION {
        return Err(Malformed::Version);
    }
    let kind = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    if !matches!(kind, HERE_I_AM | REDIRECT_ASSIGN) {
        return Err(Malformed::Type);
    }
    if usize::from(be16(head, 6)) != body.len() {
        return Err(Malformed::Length);
    }
    let mut found = Components::default();
    let mut rest = body;
    while !rest.is_empty() {
        let (h, after) = rest.split_first_chunk::<4>().ok_or(Malformed::Length)?;
        let len = usize::from(be16(h, 2));
        if len % 4 != 0 || len > after.len() {
            return Err(Malformed::Length);
        }
        let (component, next) = after.split_at(len);
        found.put(be16(h, 0), component)?;
        rest = next;
    }
    let security = parse_security(found.take(0)?)?;
    let service = parse_service(found.take(1)?)?;
    let message = if kind == HERE_I_AM {
        let (cache, weight) = parse_identity(found.take(3)?)?;
        let (change, routers) = parse_view(found.take(5)?)?;
        let capabilities = found.optional(8).map(parse_capabilities).transpose()?;
        let shutdown = found.optional(15).map_or(Ok(None), parse_command)?;
        Message::HereIAm(HereIAm { service, cache, weight, change, routers, capabilities, shutdown })
    } else {
        let assign = match (found.optional(6), found.optional(13)) {
            (Some(body), None) => parse_assignment(service, body)?,
            (None, Some(body)) => parse_alternate(service, body)?,
            (Some(_), Some(_)) => return Err(Malformed::Twice),
            (None, None) => return Err(Malformed::Missing),
        };
        Message::RedirectAssign(assign)
    };
    Ok((security, message))
}

/// Whether `datagram` (already parsed) carries the digest of `password`.
pub fn digest_holds(datagram: &[u8], digest: &[u8; 16], password: &[u8]) -> bool {
    // The security component need not come first: find where its digest lies.
    let Some(at) = security_offset(datagram) else { return false };
    let mut copy = datagram.to_vec();
    copy[at..at + 16].fill(0);
    let expected = md5_of(password, &copy);
    expected.iter().zip(digest).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[derive(Default)]
struct Components<'a>([Option<&'a [u8]>; 16]);

impl<'a> Components<'a> {
    fn put(&mut self, kind: u16, body: &'a [u8]) -> Result<(), Malformed> {
        // Types that are not known are for others to understand.
        let Some(slot) = self.0.get_mut(usize::from(kind)) else { return Ok(()) };
        match slot.replace(body) {
            None => Ok(()),
            Some(_) => Err(Malformed::Twice),
        }
    }

    fn optional(&self, kind: usize) -> Option<&'a [u8]> {
        self.0.get(kind).copied().flatten()
    }

    fn take(&self, kind: usize) -> Result<&'a [u8], Malformed> {
        self.optional(kind).ok_or(Malformed::Missing)
    }
}

fn parse_security(b: &[u8]) -> Result<Security, Malformed> {
    match (b.first_chunk::<4>(), b.get(4..)) {
        (Some([0, 0, 0, 0]), Some([])) => Ok(Security::None),
        (Some([0, 0, 0, 1]), Some(digest)) => {
            digest.try_into().map(Security::Md5).map_err(|_| Malformed::Length)
        }
        _ => Err(Malformed::Value),
    }
}

fn parse_service(b: &[u8]) -> Result<Service, Malformed> {
    let bytes: [u8; 24] = b.try_into().map_err(|_| Malformed::Length)?;
    let zeros = bytes[2..].iter().all(|b| *b == 0);
    match bytes[0] {
        0 if zeros => Ok(Service(bytes)),
        1 => Ok(Service(bytes)),
        _ => Err(Malformed::Value),
    }
}

fn parse_identity(b: &[u8]) -> Result<(Ipv4Addr, (u16, u16)), Malformed> {
    if b.len() < 8 {
        return Err(Malformed::Length);
    }
    let cache = addr_at(b, 0);
    let mut r = Reader(&b[8..]);
    // How much follows depends on its type; where that is not known, neither is where it ends.
    let weight = match (be16(b, 6) & 6) >> 1 {
        0 => {
            r.skip(32)?;
            (r.u16()?, r.u16()?)
        }
        1 => {
            r.sets()?;
            (r.u16()?, r.u16()?)
        }
        2 => (0, 0),
        _ => {
            r.skip(2)?;
            let len = usize::from(r.u16()?);
            r.skip(len)?;
            (0, 0)
        }
    };
    r.end()?;
    if cache.is_unspecified() || cache.is_multicast() || cache.is_broadcast() {
        return Err(Malformed::Value);
    }
    Ok((cache, weight))
}

fn parse_view(b: &[u8]) -> Result<(u32, Vec<RouterElement>), Malformed> {
    let mut r = Reader(b);
    let change = r.u32()?;
    let n = r.count(8)?;
    let routers = (0..n).map(|_| r.router()).collect::<Result<_, _>>()?;
    let caches = r.count(4)?;
    r.skip(caches * 4)?;
    r.end()?;
    Ok((change, routers))
}

fn parse_capabilities(b: &[u8]) -> Result<Capabilities, Malformed> {
    let mut caps = Capabilities::default();
    let mut r = Reader(b);
    while !r.0.is_empty() {
        let (kind, len) = (r.u16()?, usize::from(r.u16()?));
        let field = match kind {
            1 => &mut caps.forward,
            2 => &mut caps.assignment,
            3 => &mut caps.packet_return,
            _ => {
                r.skip(len)?;
                continue;
            }
        };
        if len != 4 {
            return Err(Malformed::Length);
        }
        *field = r.u32()?;
    }
    Ok(caps)
}

fn parse_command(b: &[u8]) -> Result<Option<Ipv4Addr>, Malformed> {
    let mut r = Reader(b);
    let mut shutdown = None;
    while !r.0.is_empty() {
        let (kind, len) = (r.u16()?, usize::from(r.u16()?));
        match (kind, len) {
            (1, 4) => shutdown = Some(r.addr()?),
            (1, _) => return Err(Malformed::Length),
            _ => r.skip(len)?,
        }
    }
    Ok(shutdown)
}

fn parse_assignment(service: Service, b: &[u8]) -> Result<RedirectAssign, Malformed> {
    let mut r = Reader(b);
    let (key, routers) = r.assignment_head()?;
    let assignment = parse_hash(r)?;
    Ok(RedirectAssign { service, key, routers, assignment })
}

fn parse_alternate(service: Service, b: &[u8]) -> Result<RedirectAssign, Malformed> {
    let mut r = Reader(b);
    let (kind, len) = (r.u16()?, usize::from(r.u16()?));
    if len != r.0.len() {
        return Err(Malformed::Length);
    }
    let (key, routers) = r.assignment_head()?;
    let assignment = match kind {
        0 => parse_hash(r)?,
        1 => {
            let sets = r.sets()?;
            r.end()?;
            Assignment::Mask(sets)
        }
        _ => return Err(Malformed::Value),
    };
    Ok(RedirectAssign { service, key, routers, assignment })
}

fn parse_hash(mut r: Reader<'_>) -> Result<Assignment, Malformed> {
    let n = r.count(4)?;
    if n > MAX_CACHES {
        return Err(Malformed::Value);
    }
    let caches: Vec<_> = (0..n).map(|_| r.addr()).collect::<Result<_, _>>()?;
    let buckets: [u8; BUCKETS] = r.0.try_into().map_err(|_| Malformed::Length)?;
    if buckets.iter().any(|b| *b != UNASSIGNED && usize::from(b & 0x7f) >= caches.len()) {
        return Err(Malformed::Value);
    }
    Ok(Assignment::Hash { caches, buckets: Box::new(buckets) })
}

fn security_offset(datagram: &[u8]) -> Option<usize> {
    let mut at = 8;
    loop {
        let len = usize::from(be16(datagram.get(at..at + 4)?, 2));
        if be16(datagram, at) == 0 {
            return (len == 20 && datagram.len() >= at + 24).then_some(at + 8);
        }
        at += 4 + len;
    }
}

fn md5_of(password: &[u8], message: &[u8]) -> [u8; 16] {
    let mut key = [0u8; 8];
    key.iter_mut().zip(password).for_each(|(k, p)| *k = *p);
    Md5::new().chain_update(key).chain_update(message).finalize().into()
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn skip(&mut self, n: usize) -> Result<(), Malformed> {
        self.0 = self.0.get(n..).ok_or(Malformed::Length)?;
        Ok(())
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        let (b, rest) = self.0.split_first_chunk::<2>().ok_or(Malformed::Length)?;
        self.0 = rest;
        Ok(u16::from_be_bytes(*b))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        let (b, rest) = self.0.split_first_chunk::<4>().ok_or(Malformed::Length)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*b))
    }

    fn addr(&mut self) -> Result<Ipv4Addr, Malformed> {
        self.u32().map(Ipv4Addr::from_bits)
    }

    fn router(&mut self) -> Result<RouterElement, Malformed> {
        Ok(RouterElement { id: self.addr()?, receive_id: self.u32()? })
    }

    fn bits(&mut self) -> Result<Bits, Malformed> {
        Ok(Bits { src: self.u32()?, dst: self.u32()?, ports: (self.u16()?, self.u16()?) })
    }

    fn sets(&mut self) -> Result<Vec<MaskSet>, Malformed> {
        let n = self.count(16)?;
        let set = |r: &mut Self| {
            let mask = r.bits()?;
            let n = r.count(16)?;
            let values = (0..n).map(|_| Ok((r.bits()?, r.addr()?))).collect::<Result<_, _>>()?;
            Ok(MaskSet { mask, values })
        };
        (0..n).map(|_| set(self)).collect()
    }

    /// Assignment key, and the routers that the assignment is for.
    #[allow(clippy::type_complexity, reason = "two fields of one message")]
    fn assignment_head(&mut self) -> Result<((Ipv4Addr, u32), Vec<(RouterElement, u32)>), Malformed> {
        let key = (self.addr()?, self.u32()?);
        let n = self.count(12)?;
        let routers = (0..n).map(|_| Ok((self.router()?, self.u32()?))).collect::<Result<_, _>>()?;
        Ok((key, routers))
    }

    fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Length) }
    }

    /// A count of elements of `size` bytes, which must all be there.
    fn count(&mut self, size: usize) -> Result<usize, Malformed> {
        let n = self.u32()? as usize;
        if n > self.0.len() / size { Err(Malformed::Length) } else { Ok(n) }
    }
}

#[cfg(test)]
pub(super) mod tests;
