//! Reading pcap and pcapng.

use super::LinkType;
use crate::io::PortError;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

/// The most bytes of one record. No more is ever allocated on a file's word.
pub const MAX_RECORD: usize = 256 * 1024;
/// The most interfaces of one pcapng section.
const MAX_INTERFACES: usize = 4096;
/// The most bytes of a pcapng block that is taken into memory: a record with its options.
const MAX_BLOCK: usize = MAX_RECORD + 64 * 1024;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// One packet of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When, in nanoseconds since 1970.
    pub at_nanos: u64,
    /// Bytes on the wire, as the file says. More than `data` has where the capture cut the packet.
    pub original_len: u32,
    /// What `data` begins with.
    pub link: LinkType,
    /// The packet, at most [`MAX_RECORD`] bytes.
    pub data: Vec<u8>,
    /// The number of the interface in its pcapng section; 0 in a pcap file.
    pub interface: u32,
}

impl Record {
    /// Whether the capture holds only the packet's beginning (`tcpdump -s`).
    pub fn is_cut(&self) -> bool {
        (self.data.len() as u64) < u64::from(self.original_len)
    }
}

/// A capture file being read: an iterator that ends after the first error.
pub struct Reader {
    name: String,
    input: Box<dyn Read + Send>,
    /// Bytes read so far, and where the record at hand began.
    offset: u64,
    start: u64,
    big_endian: bool,
    kind: Kind,
    ended: bool,
}

enum Kind {
    Pcap { link: LinkType, nanos_per_tick: u64 },
    PcapNg { interfaces: Vec<Interface>, last_nanos: u64 },
}

struct Interface {
    link: u16,
    snap_len: u32,
    /// `if_tsresol`: a power of ten, or of two with the top bit set.
    resolution: u8,
    /// `if_tsoffset` in seconds.
    offset: i64,
}

impl Reader {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be opened, or is no capture, or of a link type that is not known here.
    pub fn open(path: &Path) -> Result<Self, PortError> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|e| PortError {
            interface: name.clone(),
            what: format!("cannot be opened: {e}"),
            remedy: "check the path and its permissions".into(),
        })?;
        Self::new(&name, Box::new(BufReader::new(file)))
    }

    /// Reads from anything; `name` is what errors call it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn new(name: &str, input: Box<dyn Read + Send>) -> Result<Self, PortError> {
        let kind = Kind::PcapNg { interfaces: Vec::new(), last_nanos: 0 };
        let mut reader =
            Self { name: name.into(), input, offset: 0, start: 0, big_endian: false, kind, ended: false };
        let magic: [u8; 4] = reader.array()?;
        let (big_endian, nanos_per_tick) = match magic {
            [0xa1, 0xb2, 0xc3, 0xd4] => (true, 1000),
            [0xa1, 0xb2, 0x3c, 0x4d] => (true, 1),
            [0xd4, 0xc3, 0xb2, 0xa1] => (false, 1000),
            [0x4d, 0x3c, 0xb2, 0xa1] => (false, 1),
            [0x0a, 0x0d, 0x0d, 0x0a] => {
                reader.section()?;
                return Ok(reader);
            }
            _ => return Err(reader.error("neither pcap nor pcapng", "unpack it, or convert it with editcap")),
        };
        reader.big_endian = big_endian;
        let header: [u8; 20] = reader.array()?;
        // The upper bits tell of frame check sequences.
        let number = (reader.u32(&header, 16) & 0xffff) as u16;
        let link = reader.link(number)?;
        reader.kind = Kind::Pcap { link, nanos_per_tick };
        Ok(reader)
    }

    fn record(&mut self) -> Result<Option<Record>, PortError> {
        if let Kind::Pcap { link, nanos_per_tick } = self.kind {
            return self.pcap_record(link, nanos_per_tick);
        }
        loop {
            self.start = self.offset;
            let Some(head) = self.head::<4>()? else { return Ok(None) };
            // The same in both byte orders.
            if head == SECTION_HEADER.to_be_bytes() {
                self.section()?;
                continue;
            }
            let kind = self.u32(&head, 0);
            let len_bytes: [u8; 4] = self.array()?;
            let len = self.u32(&len_bytes, 0);
            if len < 12 || !len.is_multiple_of(4) {
                return Err(self.malformed("a block of an impossible length"));
            }
            let body_len = len as usize - 12;
            if !matches!(kind, INTERFACE_DESCRIPTION | OLD_PACKET | SIMPLE_PACKET | ENHANCED_PACKET) {
                self.skip(body_len as u64)?;
                self.trailer(len)?;
                continue;
            }
            if body_len > MAX_BLOCK {
                return Err(self.malformed("a record of more than 256 KiB"));
            }
            let body = self.vec(body_len)?;
            self.trailer(len)?;
            if kind == INTERFACE_DESCRIPTION {
                self.interface(&body)?;
            } else {
                return self.packet(kind, &body).map(Some);
            }
        }
    }

    fn pcap_record(&mut self, link: LinkType, nanos_per_tick: u64) -> Result<Option<Record>, PortError> {
        self.start = self.offset;
        let Some(head) = self.head::<16>()? else { return Ok(None) };
        let (seconds, ticks) = (u64::from(self.u32(&head, 0)), u64::from(self.u32(&head, 4)));
        let (len, original_len) = (self.u32(&head, 8), self.u32(&head, 12));
        self.check_len(len)?;
        let data = self.vec(len as usize)?;
        // Both factors are below 2^32, so this cannot overflow.
        let at_nanos = seconds * 1_000_000_000 + ticks * nanos_per_tick;
        Ok(Some(Record { at_nanos, original_len, link, data, interface: 0 }))
    }

    /// The rest of a section header, whose type has been read. Begins anew.
    fn section(&mut self) -> Result<(), PortError> {
        let head: [u8; 8] = self.array()?;
        self.big_endian = match head[4..8] {
            [0x1a, 0x2b, 0x3c, 0x4d] => true,
            [0x4d, 0x3c, 0x2b, 0x1a] => false,
            _ => return Err(self.malformed("a section header without byte-order magic")),
        };
        let len = self.u32(&head, 0);
        if len < 28 || !len.is_multiple_of(4) {
            return Err(self.malformed("a section header of an impossible length"));
        }
        self.skip(u64::from(len) - 16)?;
        self.trailer(len)?;
        match &mut self.kind {
            Kind::PcapNg { interfaces, .. } => interfaces.clear(),
            Kind::Pcap { .. } => {}
        }
        Ok(())
    }

    fn interface(&mut self, body: &[u8]) -> Result<(), PortError> {
        let Some((fixed, mut options)) = body.split_first_chunk::<8>() else {
            return Err(self.malformed("an interface description that is too short"));
        };
        let mut interface =
            Interface { link: self.u16(fixed, 0), snap_len: self.u32(fixed, 4), resolution: 6, offset: 0 };
        while let Some((head, rest)) = options.split_first_chunk::<4>() {
            let (code, len) = (self.u16(head, 0), usize::from(self.u16(head, 2)));
            let Some(value) = rest.get(..len).filter(|_| code != 0) else { break };
            match (code, value) {
                (9, [resolution]) => interface.resolution = *resolution,
                (14, value) if len == 8 => {
                    let (first, second) = (u64::from(self.u32(value, 0)), u64::from(self.u32(value, 4)));
                    let both = if self.big_endian { first << 32 | second } else { second << 32 | first };
                    interface.offset = both as i64;
                }
                _ => {}
            }
            options = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        }
        match &mut self.kind {
            Kind::PcapNg { interfaces, .. } if interfaces.len() < MAX_INTERFACES => {
                interfaces.push(interface)
            }
            _ => return Err(self.malformed("more than 4096 interfaces")),
        }
        Ok(())
    }

    fn packet(&mut self, kind: u32, body: &[u8]) -> Result<Record, PortError> {
        let fixed_len = if kind == SIMPLE_PACKET { 4 } else { 20 };
        let Some((fixed, rest)) = body.split_at_checked(fixed_len) else {
            return Err(self.malformed("a packet block that is too short"));
        };
        let number = match kind {
            SIMPLE_PACKET => 0,
            OLD_PACKET => u32::from(self.u16(fixed, 0)),
            _ => self.u32(fixed, 0),
        };
        let Kind::PcapNg { interfaces, last_nanos } = &self.kind else {
            return Err(self.malformed("a packet block in a pcap file"));
        };
        let Some(interface) = interfaces.get(number as usize) else {
            return Err(self.malformed(&format!("a packet of interface {number}, which is not described")));
        };
        let (at_nanos, len, original_len) = if kind == SIMPLE_PACKET {
            // It has no time and no captured length: the packet, cut at the snap length, fills the block.
            let original = self.u32(fixed, 0);
            let snap = if interface.snap_len == 0 { u32::MAX } else { interface.snap_len };
            (*last_nanos, original.min(snap), original)
        } else {
            let ticks = u64::from(self.u32(fixed, 4)) << 32 | u64::from(self.u32(fixed, 8));
            (interface.nanos(ticks), self.u32(fixed, 12), self.u32(fixed, 16))
        };
        let link = interface.link;
        self.check_len(len)?;
        let link = self.link(link)?;
        let Some(data) = rest.get(..len as usize) else {
            return Err(self.malformed("a packet longer than its block"));
        };
        if let Kind::PcapNg { last_nanos, .. } = &mut self.kind {
            *last_nanos = at_nanos;
        }
        Ok(Record { at_nanos, original_len, link, data: data.to_vec(), interface: number })
    }

    fn check_len(&self, len: u32) -> Result<(), PortError> {
        if len as usize > MAX_RECORD {
            return Err(self.malformed("a record of more than 256 KiB"));
        }
        Ok(())
    }

    fn link(&self, number: u16) -> Result<LinkType, PortError> {
        LinkType::from_number(number).ok_or_else(|| {
            self.error(
                &format!("link type {number} is not supported"),
                "capture on an Ethernet interface; known are 0, 1, 101, 108, 113, 228, 229 and 276",
            )
        })
    }

    fn trailer(&mut self, len: u32) -> Result<(), PortError> {
        let again: [u8; 4] = self.array()?;
        if self.u32(&again, 0) == len {
            Ok(())
        } else {
            Err(self.malformed("a block whose two lengths differ"))
        }
    }

    /// The first bytes of a record, or `None` at the end of the file.
    fn head<const N: usize>(&mut self) -> Result<Option<[u8; N]>, PortError> {
        let mut head = [0; N];
        let got = self.fill(&mut head)?;
        if got == 0 {
            return Ok(None);
        }
        if got < N { Err(self.cut()) } else { Ok(Some(head)) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PortError> {
        let mut bytes = [0; N];
        if self.fill(&mut bytes)? < N { Err(self.cut()) } else { Ok(bytes) }
    }

    /// `len` is bounded by the callers.
    fn vec(&mut self, len: usize) -> Result<Vec<u8>, PortError> {
        let mut bytes = vec![0; len];
        if self.fill(&mut bytes)? < len { Err(self.cut()) } else { Ok(bytes) }
    }

    fn skip(&mut self, mut len: u64) -> Result<(), PortError> {
        let mut waste = [0; 4096];
        while len > 0 {
            let part = len.min(4096) as usize;
            if self.fill(&mut waste[..part])? < part {
                return Err(self.cut());
            }
            len -= part as u64;
        }
        Ok(())
    }

    /// Reads until `room` is full or the file ends.
    fn fill(&mut self, room: &mut [u8]) -> Result<usize, PortError> {
        let mut got = 0;
        while got < room.len() {
            match self.input.read(&mut room[got..]) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    return Err(self.error(&format!("cannot be read: {e}"), "check the file and its disk"));
                }
            }
        }
        self.offset += got as u64;
        Ok(got)
    }

    fn u16(&self, bytes: &[u8], at: usize) -> u16 {
        let field = bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).unwrap_or_default();
        if self.big_endian { u16::from_be_bytes(field) } else { u16::from_le_bytes(field) }
    }

    fn u32(&self, bytes: &[u8], at: usize) -> u32 {
        let field = bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).unwrap_or_default();
        if self.big_endian { u32::from_be_bytes(field) } else { u32::from_le_bytes(field) }
    }

    fn cut(&self) -> PortError {
        self.error("the file ends in the middle of a record", "copy it again, or mend it with editcap")
    }

    fn malformed(&self, what: &str) -> PortError {
        self.error(what, "the file is damaged: capture or copy it again")
    }

    fn error(&self, what: &str, remedy: &str) -> PortError {
        PortError {
            interface: self.name.clone(),
            what: format!("at byte {}: {what}", self.start),
            remedy: remedy.into(),
        }
    }
}

impl Interface {
    fn nanos(&self, ticks: u64) -> u64 {
        let (ticks, exponent) = (u128::from(ticks), u32::from(self.resolution & 0x7f));
        let nanos = if self.resolution & 0x80 != 0 {
            // Below 2^94, so a finer resolution than 2^-94 leaves nothing.
            (ticks * 1_000_000_000).checked_shr(exponent).unwrap_or(0)
        } else if exponent <= 9 {
            ticks * 10u128.pow(9 - exponent)
        } else {
            10u128.checked_pow(exponent - 9).map_or(0, |unit| ticks / unit)
        };
        let shifted = i128::try_from(nanos)
            .unwrap_or(i128::MAX)
            .saturating_add(i128::from(self.offset) * 1_000_000_000);
        u64::try_from(shifted.max(0)).unwrap_or(u64::MAX)
    }
}

impl Iterator for Reader {
    type Item = Result<Record, PortError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.record().transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reader({} at byte {})", self.name, self.offset)
    }
}
