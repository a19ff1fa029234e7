//! The elements that components are made of (draft-wilson-wrec-wccp-v2, 5.7).
//!
//! ```text
//!  Router ID element       8  Router ID, Receive ID
//!  Router Assignment      12  Router ID, Receive ID, Change Number
//!  Assignment Key          8  address of the designated cache, Change Number
//!  Mask                   12  source, destination, source port, destination port; 0 bits: any
//!  Value                  16  the same four and the cache
//!  Mask/Value Set     16+16n  Mask, count, Values
//!  Cache Identity        var  address, hash revision, flags, data by the flags' type
//! ```

use super::codec::{Field, Reader, Writer};
use super::error::ParseError;
use std::net::Ipv4Addr;

/// Identity flag: the assignment data is of the past.
const FLAG_HISTORICAL: u16 = 0x0001;
/// Identity flags: where the type of the assignment data is.
const FLAGS_TYPE: u16 = 0x0006;

/// A router and the last Receive ID known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterIdElement {
    /// What the router calls itself; not always the address that it is reached at.
    pub router_id: Ipv4Addr,
    /// Counts the router's messages; 0 means none was received.
    pub receive_id: u32,
}

/// A router in an assignment: what it must have sent last for the assignment to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterAssignment {
    /// The router and its Receive ID.
    pub router: RouterIdElement,
    /// Its Member Change Number.
    pub change: u32,
}

/// Names one assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssignmentKey {
    /// The designated cache.
    pub address: Ipv4Addr,
    /// Differs from one assignment to the next.
    pub change: u32,
}

impl AssignmentKey {
    /// What a router shows that has no assignment.
    pub const NONE: Self = Self { address: Ipv4Addr::UNSPECIFIED, change: 0 };
}

/// The bits of a packet that a mask assignment looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mask {
    /// Bits of the source address.
    pub source: u32,
    /// Bits of the destination address.
    pub destination: u32,
    /// Bits of the source port.
    pub source_port: u16,
    /// Bits of the destination port.
    pub destination_port: u16,
}

/// Masked bits that choose one cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// The bits to equal, laid out as the mask.
    pub bits: Mask,
    /// The cache that gets such packets.
    pub cache: Ipv4Addr,
}

/// One mask and the values under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskValueSet {
    /// The mask.
    pub mask: Mask,
    /// Compared in order.
    pub values: Vec<Value>,
}

/// A set of hash buckets, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bitmap(pub [u8; 32]);

impl Bitmap {
    /// Whether the bucket is in the set.
    pub fn contains(&self, bucket: u8) -> bool {
        self.0.get(usize::from(bucket / 8)).is_some_and(|byte| byte & (1 << (bucket % 8)) != 0)
    }

    /// Puts the bucket into the set.
    pub fn insert(&mut self, bucket: u8) {
        if let Some(byte) = self.0.get_mut(usize::from(bucket / 8)) {
            *byte |= 1 << (bucket % 8);
        }
    }

    /// Number of buckets in the set, 0 to 256.
    pub fn count(&self) -> u32 {
        self.0.iter().map(|byte| byte.count_ones()).sum()
    }
}

/// A cache as it describes itself, or as a router sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheIdentity {
    /// The address that the cache chose as its name.
    pub address: Ipv4Addr,
    /// Version of the hash function; 0.
    pub hash_revision: u16,
    /// The U bit: nothing is assigned now, the data is of the past.
    pub historical: bool,
    /// What is assigned to it.
    pub data: CacheData,
}

/// What is assigned to a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheData {
    /// Hash buckets.
    Hash {
        /// Which.
        buckets: Bitmap,
        /// Share of the buckets that the cache asks for, relative to the others' weights.
        weight: u16,
        /// 0.
        status: u16,
    },
    /// Masks and values.
    Mask {
        /// Which.
        sets: Vec<MaskValueSet>,
        /// As for hash.
        weight: u16,
        /// 0.
        status: u16,
    },
    /// Nothing.
    None,
    /// In the form of version 2.01; kept, not looked into.
    Extended {
        /// Its type.
        kind: u16,
        /// Its bytes, a multiple of 4.
        body: Vec<u8>,
    },
}

impl Field for RouterIdElement {
    const LEAST: usize = 8;
    fn read(r: &mut Reader<'_>) -> Result<Self, ParseError> {
        Ok(Self { router_id: r.ip()?, receive_id: r.u32()? })
    }
    fn write(&self, w: &mut Writer) {
        w.ip(self.router_id);
        w.u32(self.receive_id);
    }
}

impl Field for RouterAssignment {
    const LEAST: usize = 12;
    fn read(r: &mut Reader<'_>) -> Result<Self, ParseError> {
        Ok(Self { router: RouterIdElement::read(r)?, change: r.u32()? })
    }
    fn write(&self, w: &mut Writer) {
        self.router.write(w);
        w.u32(self.change);
    }
}

impl Field for AssignmentKey {
    const LEAST: usize = 8;
    fn read(r: &mut Reader<'_>) -> Result<Self, ParseError> {
        Ok(Self { address: r.ip()?, change: r.u32()? })
    }
    fn write(&self, w: &mut Writer) {
        w.ip(self.address);
        w.u32(self.change);
    }
}

impl Field for Mask {
    const LEAST: usize = 12;
    fn read(r: &mut Reader<'_>) -> Result<Self, ParseError> {
        Ok(Self {
            source: r.u32()?,
            destination: r.u32()?,
            source_port: r.u16()?,
            destination_port: r.u16()?,
        })
    }
    fn write(&self, w: &mut Writer) {
        w.u32(self.source);
        w.u32(self.destination);
        w.u16(self.source_port);
        w.u16(self.destination_port);
    }
}

impl Field for Value {
    const LEAST: usize = 16;
    fn read(r: &mut Reader<'_>) -> Result<Self, ParseError> {
        Ok(Self { bits: Mask::read(r)?, cache: r.ip()? })
    }
    fn write(&self, w: &mut Writer) {
        self.bits.write(w);
        w.ip(self.cache);
    }
}

impl Field for MaskValueSet {
    const LEAST: usize = 16;
    fn read(r: &mut Reader<'_>) -> Result<Self, ParseError> {
        Ok(Self { mask: Mask::read(r)?, values: r.list(usize::MAX)? })
    }
    fn write(&self, w: &mut Writer) {
        self.mask.write(w);
        w.list(&self.values);
    }
}

impl Field for CacheIdentity {
    const LEAST: usize = 8;
    fn read(r: &mut Reader<'_>) -> Result<Self, ParseError> {
        let address = r.ip()?;
        let hash_revision = r.u16()?;
        let flags = r.u16()?;
        let data = match (flags & FLAGS_TYPE) >> 1 {
            0 => CacheData::Hash { buckets: Bitmap(r.array()?), weight: r.u16()?, status: r.u16()? },
            1 => CacheData::Mask { sets: r.list(usize::MAX)?, weight: r.u16()?, status: r.u16()? },
            2 => CacheData::None,
            _ => extended(r)?,
        };
        Ok(Self { address, hash_revision, historical: flags & FLAG_HISTORICAL != 0, data })
    }
    fn write(&self, w: &mut Writer) {
        w.ip(self.address);
        w.u16(self.hash_revision);
        let kind: u16 = match self.data {
            CacheData::Hash { .. } => 0,
            CacheData::Mask { .. } => 1,
            CacheData::None => 2,
            CacheData::Extended { .. } => 3,
        };
        w.u16(kind << 1 | if self.historical { FLAG_HISTORICAL } else { 0 });
        match &self.data {
            CacheData::Hash { buckets, weight, status } => {
                w.bytes(&buckets.0);
                w.u16(*weight);
                w.u16(*status);
            }
            CacheData::Mask { sets, weight, status } => {
                w.list(sets);
                w.u16(*weight);
                w.u16(*status);
            }
            CacheData::None => {}
            CacheData::Extended { kind, body } => w.tlv(*kind, |w| w.bytes(body)),
        }
    }
}

/// The type 3 data: its own type and length say how far to go.
fn extended(r: &mut Reader<'_>) -> Result<CacheData, ParseError> {
    let kind = r.u16()?;
    let length = usize::from(r.u16()?);
    if kind > 3 {
        return Err(ParseError::DataType);
    }
    if !length.is_multiple_of(4) {
        return Err(ParseError::ComponentAlignment);
    }
    Ok(CacheData::Extended { kind, body: r.bytes(length)?.to_vec() })
}
