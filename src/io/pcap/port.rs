//! A capture file as a port.

use super::{LinkType, Reader, Record, Writer};
use crate::buf::{Burst, Frame};
use crate::io::pool::Pool;
use crate::io::port::{Port, PortError, PortInfo, PortStats};
use std::os::fd::BorrowedFd;
use std::path::Path;

/// The made-up addresses of frames that a capture holds without their Ethernet header.
const MADE_UP: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];

/// Receives what a capture file holds, in its order and by its clock, and writes what is sent to another.
#[derive(Debug)]
pub struct PcapPort {
    info: PortInfo,
    stats: PortStats,
    pool: Pool,
    reader: Reader,
    next: Option<Record>,
    output: Option<Writer>,
    output_error: Option<std::io::Error>,
    now_nanos: u64,
}

impl PcapPort {
    /// Plays `input`; what is sent goes to interface 0 of `output`, or nowhere.
    ///
    /// # Errors
    /// The file cannot be read, or its first record cannot.
    pub fn open(input: &Path, output: Option<Writer>, mac: [u8; 6]) -> Result<Self, PortError> {
        let mut reader = Reader::open(input)?;
        let next = reader.next().transpose()?;
        let info = PortInfo {
            name: input.display().to_string(),
            driver: "pcap",
            mac,
            mtu: 1500,
            attach: None,
            zero_copy: false,
        };
        let (stats, pool) = (PortStats::default(), Pool::default());
        Ok(Self { info, stats, pool, reader, next, output, output_error: None, now_nanos: 0 })
    }

    /// When the next frame was captured, in nanoseconds since 1970; `None` after the last.
    pub fn next_at(&self) -> Option<u64> {
        self.next.as_ref().map(|r| r.at_nanos)
    }

    /// Sets the clock, in nanoseconds since 1970: frames captured until then are received, and frames
    /// that are sent get this time.
    pub fn set_now(&mut self, now_nanos: u64) {
        self.now_nanos = now_nanos;
    }

    /// A record as a frame; `None` if it does not fit.
    fn frame(&mut self, record: &Record) -> Option<Frame> {
        let mut frame = self.pool.take();
        let fits = frame.set(&record.data)
            && (record.link == LinkType::Ethernet || {
                let kind: [u8; 2] = match record.data.first().map(|b| b >> 4) {
                    Some(6) => [0x86, 0xdd],
                    // Anything else is shown to the parser as IPv4, which will say what is wrong with it.
                    _ => [0x08, 0x00],
                };
                frame.push_front(14).is_some_and(|header| {
                    header[..12].copy_from_slice(&MADE_UP);
                    header[12..].copy_from_slice(&kind);
                    true
                })
            });
        if fits {
            return Some(frame);
        }
        self.pool.put(frame);
        None
    }
}

impl Port for PcapPort {
    fn info(&self) -> &PortInfo {
        &self.info
    }

    fn stats(&mut self) -> PortStats {
        self.stats
    }

    fn rx(&mut self, out: &mut Burst) -> Result<(), PortError> {
        while out.room() > 0 && self.next_at().is_some_and(|at| at <= self.now_nanos) {
            let Some(record) = self.next.take() else { break };
            match self.frame(&record) {
                Some(frame) => {
                    self.stats.rx_frames += 1;
                    self.stats.rx_bytes += frame.len() as u64;
                    if let Err(frame) = out.push(frame) {
                        self.pool.put(frame);
                    }
                }
                None => self.stats.rx_oversize += 1,
            }
            self.next = self.reader.next().transpose()?;
        }
        Ok(())
    }

    fn tx_slots(&mut self) -> usize {
        usize::from(u16::MAX)
    }

    fn alloc(&mut self) -> Option<Frame> {
        Some(self.pool.take())
    }

    fn tx(&mut self, frame: Frame) {
        let written = self.output.as_mut().map_or(Ok(()), |w| w.write(self.now_nanos, 0, frame.bytes()));
        match written {
            Ok(()) => {
                self.stats.tx_frames += 1;
                self.stats.tx_bytes += frame.len() as u64;
            }
            Err(e) => {
                self.stats.tx_lost += 1;
                self.output_error.get_or_insert(e);
            }
        }
        self.pool.put(frame);
    }

    fn recycle(&mut self, frame: Frame) {
        self.pool.put(frame);
    }

    fn flush(&mut self) -> Result<(), PortError> {
        let flushed = self.output.as_mut().map_or(Ok(()), Writer::flush);
        match self.output_error.take().or(flushed.err()) {
            None => Ok(()),
            Some(e) => Err(PortError {
                interface: self.info.name.clone(),
                what: format!("its output file cannot be written: {e}"),
                remedy: "check the disk's free space and the path's permissions".into(),
            }),
        }
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
