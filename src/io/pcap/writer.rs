//! Writing pcap and pcapng, Ethernet, in nanoseconds.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Which file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The classic one, with nanoseconds. It does not tell interfaces apart.
    Pcap,
    /// The newer one, with an interface for each record.
    PcapNg,
}

impl Format {
    /// By the file's extension: `.pcap` is [`Pcap`](Self::Pcap), all else [`PcapNg`](Self::PcapNg).
    pub fn of(path: &Path) -> Self {
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("pcap")) {
            Self::Pcap
        } else {
            Self::PcapNg
        }
    }
}

/// A capture file being written, little-endian.
pub struct Writer {
    out: Box<dyn Write + Send>,
    format: Format,
    interfaces: u32,
}

impl Writer {
    /// Writes to an open, empty file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn to_file(file: File, format: Format, interfaces: &[&str]) -> io::Result<Self> {
        Self::new(Box::new(BufWriter::new(file)), format, interfaces)
    }

    /// Writes to anything. Records name `interfaces` by their place in the list.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn new(mut out: Box<dyn Write + Send>, format: Format, interfaces: &[&str]) -> io::Result<Self> {
        let mut bytes = Vec::new();
        match format {
            Format::Pcap => {
                bytes.extend(0xa1b2_3c4du32.to_le_bytes());
                bytes.extend([2, 0, 4, 0]);
                bytes.extend([0; 8]);
                bytes.extend(262_144u32.to_le_bytes());
                bytes.extend(1u32.to_le_bytes());
            }
            Format::PcapNg => {
                let mut section = Vec::new();
                section.extend(0x1a2b_3c4du32.to_le_bytes());
                section.extend([1, 0, 0, 0]);
                section.extend(u64::MAX.to_le_bytes());
                block(&mut bytes, 0x0a0d_0d0a, &section);
                for name in interfaces {
                    let mut body = vec![1, 0, 0, 0];
                    body.extend(262_144u32.to_le_bytes());
                    option(&mut body, 2, name.as_bytes());
                    option(&mut body, 9, &[9]);
                    body.extend([0; 4]);
                    block(&mut bytes, 1, &body);
                }
            }
        }
        out.write_all(&bytes)?;
        Ok(Self { out, format, interfaces: interfaces.len() as u32 })
    }

    /// Appends an Ethernet frame.
    ///
    /// # Errors
    /// The output cannot be written; there is no such interface; the frame is longer than 256 KiB.
    pub fn write(&mut self, at_nanos: u64, interface: u32, frame: &[u8]) -> io::Result<()> {
        if frame.len() > super::MAX_RECORD || (self.format == Format::PcapNg && interface >= self.interfaces)
        {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let len = (frame.len() as u32).to_le_bytes();
        let mut bytes = Vec::with_capacity(frame.len() + 40);
        match self.format {
            Format::Pcap => {
                let seconds = u32::try_from(at_nanos / 1_000_000_000).unwrap_or(u32::MAX);
                bytes.extend(seconds.to_le_bytes());
                bytes.extend(((at_nanos % 1_000_000_000) as u32).to_le_bytes());
                bytes.extend(len);
                bytes.extend(len);
                bytes.extend(frame);
            }
            Format::PcapNg => {
                let mut body = Vec::with_capacity(frame.len() + 24);
                body.extend(interface.to_le_bytes());
                body.extend(((at_nanos >> 32) as u32).to_le_bytes());
                body.extend((at_nanos as u32).to_le_bytes());
                body.extend(len);
                body.extend(len);
                body.extend(frame);
                block(&mut bytes, 6, &body);
            }
        }
        self.out.write_all(&bytes)
    }

    /// Brings everything written so far to the file.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writer({:?})", self.format)
    }
}

/// Adds a block: type, length, padded body, length again.
fn block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let padded = body.len().next_multiple_of(4);
    let len = (padded as u32 + 12).to_le_bytes();
    out.extend(kind.to_le_bytes());
    out.extend(len);
    out.extend(body);
    out.resize(out.len() + padded - body.len(), 0);
    out.extend(len);
}

/// Adds an option: code, length, padded value.
fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(1024)];
    out.extend(code.to_le_bytes());
    out.extend((value.len() as u16).to_le_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}
