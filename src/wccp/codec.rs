//! A cursor to read big-endian fields and a buffer to write them; nothing here can panic on what a peer sent.

use super::error::ParseError;
use std::net::Ipv4Addr;

/// Reads one component's body from front to back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

/// Something with a fixed order of fields on the wire.
pub(super) trait Field: Sized {
    /// Least bytes that one takes; what a count is checked with before anything is reserved.
    const LEAST: usize;
    fn read(reader: &mut Reader<'_>) -> Result<Self, ParseError>;
    fn write(&self, writer: &mut Writer);
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], ParseError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(ParseError::ComponentShort)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], ParseError> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(ParseError::ComponentShort)?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, ParseError> {
        self.array::<1>().map(|[b]| b)
    }

    pub(super) fn u16(&mut self) -> Result<u16, ParseError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, ParseError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn ip(&mut self) -> Result<Ipv4Addr, ParseError> {
        self.array::<4>().map(Ipv4Addr::from)
    }

    /// A 32-bit count and that many elements, at most `limit`.
    pub(super) fn list<T: Field>(&mut self, limit: usize) -> Result<Vec<T>, ParseError> {
        let count = usize::try_from(self.u32()?).map_err(|_| ParseError::CountBeyondEnd)?;
        if count > self.left() / T::LEAST {
            return Err(ParseError::CountBeyondEnd);
        }
        if count > limit {
            return Err(ParseError::TooMany);
        }
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            list.push(T::read(self)?);
        }
        Ok(list)
    }

    /// All bytes must have been read.
    pub(super) fn finish(self) -> Result<(), ParseError> {
        if self.0.is_empty() { Ok(()) } else { Err(ParseError::ComponentExcess) }
    }
}

impl Field for Ipv4Addr {
    const LEAST: usize = 4;
    fn read(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        reader.ip()
    }
    fn write(&self, writer: &mut Writer) {
        writer.ip(*self);
    }
}

/// Collects a message.
#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn ip(&mut self, value: Ipv4Addr) {
        self.bytes(&value.octets());
    }

    /// A 32-bit count and the elements.
    pub(super) fn list<T: Field>(&mut self, list: &[T]) {
        self.u32(u32::try_from(list.len()).unwrap_or(u32::MAX));
        for element in list {
            element.write(self);
        }
    }

    /// A type, the length of what `body` writes, and that. A length that 16 bits cannot hold makes the
    /// whole message too long as well, which the message's own length check reports.
    pub(super) fn tlv(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        self.u16(kind);
        let length_at = self.0.len();
        self.u16(0);
        body(self);
        let length = u16::try_from(self.0.len() - length_at - 2).unwrap_or(u16::MAX);
        if let Some(field) = self.0.get_mut(length_at..length_at + 2) {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }
}
