//! The fields of WCCP version 2 messages as a router reads and writes them.
//!
//! Written apart from the appliance's codec in the library on purpose: two readings of the protocol
//! that must understand each other find mistakes that one reading shared by both ends would hide.
//! Layouts: draft-wilson-wrec-wccp-v2-03, sections 5.1 to 5.7.

use crate::packet::{addr_at, be16};
use md5::{Digest, Md5};
use std::net::Ipv4Addr;

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
    /// What it asks for.
    pub capabilities: Capabilities,
    /// It leaves: the address in its SHUTDOWN command.
    pub shutdown: Option<Ipv4Addr>,
}

/// REDIRECT_ASSIGN with a hash assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectAssign {
    /// The group's description.
    pub service: Service,
    /// Assignment key: designated cache and its number.
    pub key: (Ipv4Addr, u32),
    /// Routers it is for: Receive ID and member change number as last heard from each.
    pub routers: Vec<(RouterElement, u32)>,
    /// Caches by index.
    pub caches: Vec<Ipv4Addr>,
    /// Which cache each bucket goes to.
    pub buckets: Box<[u8; BUCKETS]>,
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
        let capabilities = found.optional(8).map_or(Ok(Capabilities::default()), parse_capabilities)?;
        let shutdown = found.optional(15).map_or(Ok(None), parse_command)?;
        Message::HereIAm(HereIAm { service, cache, weight, change, routers, capabilities, shutdown })
    } else {
        Message::RedirectAssign(parse_assignment(service, found.take(6)?)?)
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

/// A usable cache in an I_SEE_YOU.
#[derive(Debug, Clone, Copy)]
pub struct Listed {
    /// Which cache.
    pub addr: Ipv4Addr,
    /// Bitmap of its buckets, if there is an assignment.
    pub buckets: Option<[u8; 32]>,
    /// Weight and status as the cache gave them.
    pub weight: (u16, u16),
}

/// What an I_SEE_YOU says.
#[derive(Debug)]
pub struct ISeeYou<'a> {
    /// The group's description.
    pub service: Service,
    /// The router's own ID and the Receive ID of this message.
    pub router: RouterElement,
    /// The address that the cache had sent to.
    pub sent_to: Ipv4Addr,
    /// The cache it is for.
    pub cache: Ipv4Addr,
    /// Member change number.
    pub member_change: u32,
    /// Assignment key last accepted.
    pub key: (Ipv4Addr, u32),
    /// Routers named by the caches.
    pub routers: &'a [Ipv4Addr],
    /// Usable caches.
    pub caches: &'a [Listed],
    /// What the router offers, as bit masks.
    pub offer: Capabilities,
    /// The cache whose shutdown is acknowledged.
    pub shutdown: Option<Ipv4Addr>,
}

/// Writes an I_SEE_YOU.
pub fn i_see_you(m: &ISeeYou<'_>, password: Option<&[u8]>) -> Vec<u8> {
    let mut w = Writer::new(I_SEE_YOU, password.is_some(), &m.service);
    w.component(2, |w| {
        w.addr(m.router.id).u32(m.router.receive_id).addr(m.sent_to).u32(1).addr(m.cache);
    });
    w.component(4, |w| {
        w.u32(m.member_change).addr(m.key.0).u32(m.key.1);
        w.u32(m.routers.len() as u32);
        m.routers.iter().for_each(|r| {
            w.addr(*r);
        });
        w.u32(m.caches.len() as u32);
        for c in m.caches {
            let historical = u16::from(c.buckets.is_none());
            w.addr(c.addr).u16(0).u16(historical);
            w.0.extend_from_slice(&c.buckets.unwrap_or([0; 32]));
            w.u16(c.weight.0).u16(c.weight.1);
        }
    });
    w.component(8, |w| {
        let values = [m.offer.forward, m.offer.assignment, m.offer.packet_return];
        for (kind, value) in (1u16..).zip(values) {
            w.u16(kind).u16(4).u32(value);
        }
    });
    if let Some(cache) = m.shutdown {
        w.component(15, |w| {
            w.u16(2).u16(4).addr(cache);
        });
    }
    w.finish(password)
}

/// Writes a REMOVAL_QUERY: `router` is this router and the Receive ID that it expects next.
pub fn removal_query(
    service: Service,
    router: RouterElement,
    sent_to: Ipv4Addr,
    target: Ipv4Addr,
    password: Option<&[u8]>,
) -> Vec<u8> {
    let mut w = Writer::new(REMOVAL_QUERY, password.is_some(), &service);
    w.component(7, |w| {
        w.addr(router.id).u32(router.receive_id).addr(sent_to).addr(target);
    });
    w.finish(password)
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
    let weight = match be16(b, 6) & 6 {
        0 if b.len() == 44 => (be16(b, 40), be16(b, 42)),
        0 => return Err(Malformed::Length),
        // Mask sets and others are not used here: their cache is admitted by its capabilities or not.
        _ => (0, 0),
    };
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
    if r.0.is_empty() { Ok((change, routers)) } else { Err(Malformed::Length) }
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
    let key = (r.addr()?, r.u32()?);
    let n = r.count(12)?;
    let routers = (0..n).map(|_| Ok((r.router()?, r.u32()?))).collect::<Result<_, _>>()?;
    let n = r.count(4)?;
    if n > MAX_CACHES {
        return Err(Malformed::Value);
    }
    let caches: Vec<_> = (0..n).map(|_| r.addr()).collect::<Result<_, _>>()?;
    let buckets: [u8; BUCKETS] = r.0.try_into().map_err(|_| Malformed::Length)?;
    if buckets.iter().any(|b| *b != UNASSIGNED && usize::from(b & 0x7f) >= caches.len()) {
        return Err(Malformed::Value);
    }
    Ok(RedirectAssign { service, key, routers, caches, buckets: Box::new(buckets) })
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

    /// A count of elements of `size` bytes, which must all be there.
    fn count(&mut self, size: usize) -> Result<usize, Malformed> {
        let n = self.u32()? as usize;
        if n > self.0.len() / size { Err(Malformed::Length) } else { Ok(n) }
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn new(kind: u32, secured: bool, service: &Service) -> Self {
        let mut w = Self(Vec::with_capacity(256));
        w.u32(kind).u16(VERSION).u16(0);
        w.component(0, |w| {
            w.u32(u32::from(secured));
            w.0.extend_from_slice(if secured { &[0; 16] } else { &[] });
        });
        w.component(1, |w| w.0.extend_from_slice(&service.0));
        w
    }

    fn component(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        self.u16(kind).u16(0);
        let start = self.0.len();
        body(self);
        let len = (self.0.len() - start) as u16;
        self.0[start - 2..start].copy_from_slice(&len.to_be_bytes());
    }

    fn u16(&mut self, v: u16) -> &mut Self {
        self.0.extend_from_slice(&v.to_be_bytes());
        self
    }

    fn u32(&mut self, v: u32) -> &mut Self {
        self.0.extend_from_slice(&v.to_be_bytes());
        self
    }

    fn addr(&mut self, v: Ipv4Addr) -> &mut Self {
        self.u32(v.to_bits())
    }

    fn finish(mut self, password: Option<&[u8]>) -> Vec<u8> {
        let len = (self.0.len() - 8) as u16;
        self.0[6..8].copy_from_slice(&len.to_be_bytes());
        if let Some(password) = password {
            // Header (8), component header (4), option (4): the digest lies at 16.
            let digest = md5_of(password, &self.0);
            self.0[16..32].copy_from_slice(&digest);
        }
        self.0
    }
}

#[cfg(test)]
pub(super) mod tests;
