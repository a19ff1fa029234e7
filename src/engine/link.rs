//! The way out: from an IP packet to a frame for the right neighbour.

use super::drops::{DropReason, Drops};
use super::state::Interface;
use super::turn::Tx;
use crate::buf::Frame;
use crate::neigh::{Neighbours, Resolution};
use crate::tcp::Outlet;
use crate::time::Instant;
use crate::wire::arp::{self, Arp};
use crate::wire::eth::{self, Tags};
use std::collections::VecDeque;
use std::net::Ipv4Addr;

/// Packets that wait for an ARP answer, of all neighbours together.
const WAITING: usize = 256;

/// An interface's way out, kept between turns.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) settings: Interface,
    pub(super) neighbours: Neighbours,
    waiting: VecDeque<(Ipv4Addr, Vec<u8>)>,
    /// Tags of what comes in: ours go out with the same.
    pub(super) tags: Tags,
}

impl Link {
    pub(super) fn new(settings: Interface) -> Self {
        Self { settings, neighbours: Neighbours::new(1024), waiting: VecDeque::new(), tags: Tags::default() }
    }

    /// Where a packet to `dst` goes next.
    pub(super) fn hop(&self, dst: Ipv4Addr) -> Ipv4Addr {
        let s = &self.settings;
        let mask = u32::MAX.checked_shl(32 - u32::from(s.prefix)).unwrap_or(0);
        let on_link = (dst.to_bits() ^ s.address.to_bits()) & mask == 0;
        if on_link { dst } else { s.next_hop }
    }
}

/// An interface's way out in one turn.
pub(super) struct Out<'a> {
    pub(super) now: Instant,
    pub(super) link: &'a mut Link,
    pub(super) tx: &'a mut Tx,
    pub(super) drops: &'a mut Drops,
}

impl Out<'_> {
    /// Sends a frame that holds an IP packet to `dst`'s next hop.
    pub(super) fn ip(&mut self, mut frame: Frame, dst: Ipv4Addr) {
        let hop = self.link.hop(dst);
        match self.link.neighbours.resolve(self.now, hop) {
            Resolution::Known(mac, tags) => {
                let head = eth::header_len(&tags);
                let Some(room) = frame.push_front(head) else { return self.drop(frame, DropReason::TooBig) };
                eth::emit(room, mac, self.link.settings.mac, &tags, eth::TYPE_IPV4);
                self.raw(frame);
            }
            Resolution::Asked => {
                if self.link.waiting.len() < WAITING {
                    self.link.waiting.push_back((hop, frame.bytes().to_vec()));
                    self.tx.done.push(frame);
                } else {
                    self.drop(frame, DropReason::NeighbourQueue);
                }
            }
            Resolution::Unreachable => self.drop(frame, DropReason::NoNeighbour),
        }
    }

    /// Sends a whole frame.
    pub(super) fn raw(&mut self, frame: Frame) {
        if self.tx.slots == 0 {
            return self.drop(frame, DropReason::TxFull);
        }
        self.tx.slots -= 1;
        self.tx.out.push(frame);
    }

    pub(super) fn drop(&mut self, frame: Frame, reason: DropReason) {
        self.drops.count(reason);
        self.tx.done.push(frame);
    }

    /// An empty frame, if one may still be sent.
    pub(super) fn spare(&mut self) -> Option<Frame> {
        if self.tx.slots == 0 {
            return None;
        }
        // A burst of SYNs asks for more than one frame each; those that they came in are free by then.
        self.tx.spare.pop().or_else(|| {
            let mut frame = self.tx.done.pop()?;
            frame.reset();
            Some(frame)
        })
    }

    /// Sends an ARP packet.
    pub(super) fn arp(&mut self, a: &Arp, dst: eth::Mac, tags: Tags) {
        let Some(mut frame) = self.spare() else { return self.drops.count(DropReason::TxFull) };
        let head = eth::header_len(&tags);
        let Some(room) = frame.grow(head + arp::LEN) else { return };
        eth::emit(room, dst, self.link.settings.mac, &tags, eth::TYPE_ARP);
        room[head..].copy_from_slice(&arp::emit(a));
        self.raw(frame);
    }

    /// Sends the requests that are due, and what waited for answers that have come.
    pub(super) fn neighbours(&mut self) {
        self.link.neighbours.handle_timeout(self.now);
        while let Some(target) = self.link.neighbours.poll_request() {
            let a = Arp {
                request: true,
                sender_mac: self.link.settings.mac,
                sender: self.link.settings.address,
                target_mac: [0; 6],
                target,
            };
            let tags = self.link.tags;
            self.arp(&a, eth::BROADCAST, tags);
        }
        for _ in 0..self.link.waiting.len() {
            let Some((hop, packet)) = self.link.waiting.pop_front() else { break };
            match self.link.neighbours.resolve(self.now, hop) {
                Resolution::Asked => self.link.waiting.push_back((hop, packet)),
                Resolution::Unreachable => self.drops.count(DropReason::NoNeighbour),
                Resolution::Known(..) => match self.spare() {
                    Some(mut frame) => {
                        if frame.set(&packet) {
                            self.ip(frame, hop);
                        }
                    }
                    None => {
                        self.link.waiting.push_front((hop, packet));
                        break;
                    }
                },
            }
        }
    }

    /// Whether packets wait for room to be sent, not for an answer.
    pub(super) fn backlog(&self) -> bool {
        self.tx.slots == 0 && !self.link.waiting.is_empty()
    }
}

impl Outlet for Out<'_> {
    fn slots(&self) -> usize {
        self.tx.slots.min(self.tx.spare.len())
    }

    fn send(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8]) -> bool) -> bool {
        let Some(mut frame) = self.spare() else {
            self.drops.count(DropReason::TxFull);
            return false;
        };
        let keep = frame.grow(len).is_some_and(fill);
        let bytes = frame.bytes();
        if !keep || bytes.len() < 20 {
            frame.reset();
            self.tx.spare.push(frame);
            return keep;
        }
        let dst = Ipv4Addr::new(bytes[16], bytes[17], bytes[18], bytes[19]);
        self.ip(frame, dst);
        true
    }
}
