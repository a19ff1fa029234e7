//! The port of a capture that is played: behind it stand a router that redirects, and neighbours that answer.

use super::wrap::{LeftOut, ROUTER, Redirection};
use crate::buf::{Burst, Frame};
use crate::io::pcap::{Flaws, PcapPort};
use crate::io::{Port, PortError, PortInfo, PortStats};
use crate::wire::arp::{self, Arp};
use crate::wire::nd::{self, Nd};
use crate::wire::{Fragment, IpPacket, eth, parse_ip, proto};
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::BorrowedFd;

/// Packets that came in and may still come back; more of them are not looked for.
const AWAITED: usize = 4096;

/// The port.
#[derive(Debug)]
pub(super) struct Stage {
    capture: PcapPort,
    redirection: Redirection,
    /// Captured frames whose time has come.
    due: VecDeque<Frame>,
    /// Frames for the next look.
    coming: VecDeque<Vec<u8>>,
    /// Packets that may come back, as often as they came in.
    awaited: BTreeMap<Vec<u8>, u32>,
    /// The one that was fed last.
    last: Vec<u8>,
    /// Pieces of a returned packet.
    pieces: Vec<u8>,
    /// Captured frames that carry no IP packet.
    pub(super) not_ip: u64,
    /// Captured packets longer than the link takes.
    pub(super) too_long: u64,
    /// Captured packets of a kind that is not redirected so.
    pub(super) not_redirected: u64,
    /// Packets that came back as they went in.
    pub(super) unchanged: u64,
}

impl Stage {
    pub(super) fn new(capture: PcapPort, redirection: Redirection) -> Self {
        Self {
            capture,
            redirection,
            due: VecDeque::new(),
            coming: VecDeque::new(),
            awaited: BTreeMap::new(),
            last: Vec::new(),
            pieces: Vec::new(),
            not_ip: 0,
            too_long: 0,
            not_redirected: 0,
            unchanged: 0,
        }
    }

    /// When the next frame was captured, in nanoseconds since 1970.
    pub(super) fn next_at(&self) -> Option<u64> {
        self.capture.next_at()
    }

    /// What is flawed in the capture.
    pub(super) fn flaws(&self) -> Flaws {
        self.capture.flaws()
    }

    /// Reads what was captured until `at`.
    pub(super) fn load(&mut self, at: u64) -> Result<(), PortError> {
        self.capture.set_now(at);
        let mut burst = Burst::new();
        // What stands before a damaged place is good.
        let read = self.capture.rx(&mut burst);
        self.due.extend(burst.drain());
        read
    }

    /// The time that sent frames get.
    pub(super) fn set_now(&mut self, at: u64) {
        self.capture.set_now(at);
    }

    /// Puts the next captured packet before us, redirected; `None` if no frame is due, `Some(false)` if it
    /// is nothing that is redirected.
    pub(super) fn feed(&mut self) -> Option<bool> {
        let frame = self.due.pop_front()?;
        let frames = self.redirection.frames(frame.bytes());
        let fed = frames.is_ok();
        match frames {
            Err(LeftOut::NotIp) => self.not_ip += 1,
            Err(LeftOut::TooLong) => self.too_long += 1,
            Err(LeftOut::NotRedirected) => self.not_redirected += 1,
            Ok(_) => {}
        }
        for wrapped in frames.into_iter().flatten() {
            self.coming.push_back(wrapped);
        }
        if fed {
            let key = self.redirection.awaited(frame.bytes());
            if self.awaited.len() < AWAITED || self.awaited.contains_key(&key) {
                *self.awaited.entry(key.clone()).or_default() += 1;
            }
            self.last = key;
        }
        self.capture.recycle(frame);
        Some(fed)
    }

    /// A frame from the link itself.
    pub(super) fn push(&mut self, kind: u16, packet: &[u8], to: eth::Mac) {
        self.coming.push_back(self.redirection.between(to, kind, packet));
    }

    /// Answers for every neighbour, and looks whether a packet has come back.
    fn sent(&mut self, frame: &[u8]) {
        let Some(l2) = eth::parse(frame) else { return };
        let packet = frame.get(l2.len..).unwrap_or_default();
        if l2.ethertype == eth::TYPE_ARP {
            if let Some(a) = arp::parse(packet).filter(|a| a.request && a.sender != a.target) {
                let answer = Arp {
                    request: false,
                    sender_mac: ROUTER,
                    sender: a.target,
                    target_mac: a.sender_mac,
                    target: a.sender,
                };
                self.push(eth::TYPE_ARP, &arp::emit(&answer), a.sender_mac);
            }
            return;
        }
        let Ok(ip) = parse_ip(packet, 0) else { return };
        if let Some(Nd::Solicit { target, from, mac: Some(mac) }) = nd::parse(packet, &ip) {
            return self.push(eth::TYPE_IPV6, &nd::advert(ROUTER, target, from, true), mac);
        }
        let whole = match ip.fragment {
            Fragment::First | Fragment::Later if self.redirection.back_in_gre() && ip.proto == proto::GRE => {
                match self.gather(frame, packet, l2, &ip) {
                    Some(whole) => whole,
                    None => return,
                }
            }
            _ => frame.to_vec(),
        };
        let key = self.redirection.returned(&whole);
        self.unchanged += u64::from(self.take(&key));
    }

    /// No longer waits for the packet that was fed last.
    pub(super) fn forget(&mut self) {
        let key = std::mem::take(&mut self.last);
        self.take(&key);
    }

    /// Whether this packet was waited for; once less from now on.
    fn take(&mut self, key: &[u8]) -> bool {
        let Some(count) = self.awaited.get_mut(key) else { return false };
        *count -= 1;
        if *count == 0 {
            self.awaited.remove(key);
        }
        true
    }

    /// Puts the pieces of a packet together, which we send one behind the other.
    fn gather(&mut self, frame: &[u8], packet: &[u8], l2: eth::L2, ip: &IpPacket) -> Option<Vec<u8>> {
        if ip.fragment == Fragment::First {
            self.pieces = frame.get(..l2.len + ip.end)?.to_vec();
            return None;
        }
        self.pieces.extend(ip.payload(packet));
        let more = packet.get(6)? & 0x20 != 0;
        if more || self.pieces.len() > usize::from(u16::MAX) {
            return None;
        }
        let mut whole = std::mem::take(&mut self.pieces);
        let total = (whole.len().checked_sub(l2.len)?) as u16;
        let head = whole.get_mut(l2.len..l2.len + 20)?;
        head[2..4].copy_from_slice(&total.to_be_bytes());
        head[6..8].fill(0);
        head[10..12].fill(0);
        let sum = crate::wire::checksum::Sum::new().bytes(head).checksum();
        head[10..12].copy_from_slice(&sum.to_be_bytes());
        Some(whole)
    }
}

impl Port for Stage {
    fn info(&self) -> &PortInfo {
        self.capture.info()
    }

    fn stats(&mut self) -> PortStats {
        self.capture.stats()
    }

    fn rx(&mut self, out: &mut Burst) -> Result<(), PortError> {
        while out.room() > 0 {
            let Some(bytes) = self.coming.pop_front() else { break };
            if let Some(mut frame) = self.capture.alloc()
                && frame.set(&bytes)
                && let Err(frame) = out.push(frame)
            {
                self.capture.recycle(frame);
            }
        }
        Ok(())
    }

    fn tx_slots(&mut self) -> usize {
        self.capture.tx_slots()
    }

    fn alloc(&mut self) -> Option<Frame> {
        self.capture.alloc()
    }

    fn tx(&mut self, frame: Frame) {
        self.sent(frame.bytes());
        self.capture.tx(frame);
    }

    fn recycle(&mut self, frame: Frame) {
        self.capture.recycle(frame);
    }

    fn flush(&mut self) -> Result<(), PortError> {
        self.capture.flush()
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
