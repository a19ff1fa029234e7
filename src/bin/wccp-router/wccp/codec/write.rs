//! What a router sends.

use super::{Bits, Capabilities, I_SEE_YOU, MaskSet, REMOVAL_QUERY, RouterElement, Service, VERSION, md5_of};
use std::net::Ipv4Addr;

/// What is assigned to a cache; none: nothing yet.
#[derive(Debug, Clone)]
pub enum Part {
    /// Bitmap of its buckets.
    Buckets(Option<[u8; 32]>),
    /// Masks with its values.
    Values(Option<Vec<MaskSet>>),
}

/// A usable cache in an I_SEE_YOU.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Which cache.
    pub addr: Ipv4Addr,
    /// What is assigned to it.
    pub part: Part,
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
    /// The mask assignment in force.
    pub map: Option<&'a [MaskSet]>,
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
            w.addr(c.addr).u16(0);
            match &c.part {
                Part::Buckets(bitmap) => {
                    w.u16(u16::from(bitmap.is_none()));
                    w.0.extend_from_slice(&bitmap.unwrap_or([0; 32]));
                }
                Part::Values(sets) => {
                    w.u16(2 | u16::from(sets.is_none())).sets(sets.as_deref().unwrap_or_default());
                }
            }
            w.u16(c.weight.0).u16(c.weight.1);
        }
    });
    if let Some(sets) = m.map {
        w.component(14, |w| {
            w.sets(sets);
        });
    }
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

    fn bits(&mut self, b: Bits) -> &mut Self {
        self.u32(b.src).u32(b.dst).u16(b.ports.0).u16(b.ports.1)
    }

    fn sets(&mut self, sets: &[MaskSet]) -> &mut Self {
        self.u32(sets.len() as u32);
        for set in sets {
            self.bits(set.mask).u32(set.values.len() as u32);
            for (value, cache) in &set.values {
                self.bits(*value).addr(*cache);
            }
        }
        self
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
