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
    flaws: Flaws,
}

/// What a capture holds that is no whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flaws {
    /// Packets of which the capture holds the beginning only. They are received as they are.
    pub cut: u64,
    /// Records shorter than their link header. They are left out.
    pub headless: u64,
}

impl PcapPort {
    /// Plays `input`; what is sent goes nowhere, unless [`send_to`](Self::send_to) says otherwise.
    ///
    /// # Errors
    /// The file cannot be read, or its first record cannot.
    pub fn open(input: &Path, mac: [u8; 6]) -> Result<Self, PortError> {
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
        let flaws = Flaws::default();
        let (output, output_error) = (None, None);
        Ok(Self { info, stats, pool, reader, next, output, output_error, now_nanos: 0, flaws })
    }

    /// What is sent goes to interface 0 of `output` from now on.
    pub fn send_to(&mut self, output: Writer) {
        self.output = Some(output);
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

    /// What was flawed in what has been read so far.
    pub fn flaws(&self) -> Flaws {
        self.flaws
    }

    /// A record as a frame with an Ethernet header; `None`, and counted, if that cannot be.
    fn frame(&mut self, record: &Record) -> Option<Frame> {
        let Some(packet) = record.link.packet(&record.data) else {
            self.flaws.headless += 1;
            return None;
        };
        let mut frame = self.pool.take();
        let fits = if record.link == LinkType::Ethernet {
            frame.set(&record.data)
        } else {
            frame.set(packet.payload)
                && frame.push_front(14).is_some_and(|header| {
                    header[..12].copy_from_slice(&MADE_UP);
                    if let Some(from) = packet.from {
                        header[6..12].copy_from_slice(&from);
                    }
                    header[12..].copy_from_slice(&packet.ethertype.to_be_bytes());
                    true
                })
        };
        if !fits {
            self.stats.rx_oversize += 1;
            self.pool.put(frame);
            return None;
        }
        self.flaws.cut += u64::from(record.is_cut());
        Some(frame)
    }
}

impl Port for PcapPort {
    fn info(&self) -> &PortInfo {
        &self.info
    }

    fn stats(&mut self) -> PortStats {
        PortStats { held: self.pool.held(), ..self.stats }
    }

    fn rx(&mut self, out: &mut Burst) -> Result<(), PortError> {
        while out.room() > 0 && self.next_at().is_some_and(|at| at <= self.now_nanos) {
            let Some(record) = self.next.take() else { break };
            if let Some(frame) = self.frame(&record) {
                self.pool.deliver(frame, &mut self.stats, out);
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
