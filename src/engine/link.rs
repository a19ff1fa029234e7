//! The way out: from an IP packet to a frame for the right neighbour.

use super::drops::{DropReason, Drops};
use super::guard::LoopGuard;
use super::settings::Interface;
use super::turn::Tx;
use crate::buf::Frame;
use crate::neigh::{Neighbours, Resolution};
use crate::tcp::Outlet;
use crate::time::Instant;
use crate::wire::arp::{self, Arp};
use crate::wire::eth::{self, Mac, Tags};
use crate::wire::{build, nd, within};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Packets that wait for a neighbour's answer, of all neighbours together.
const WAITING: usize = 256;
/// How many of these may wait for others than routers: whoever sends with addresses of our link that nobody has
/// must not keep out what waits for the router.
const WAITING_FOR_OTHERS: usize = 128;

/// An interface's way out, kept between turns.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) settings: Interface,
    pub(super) neighbours: Neighbours,
    waiting: VecDeque<(IpAddr, Vec<u8>)>,
    /// Tags of what comes in: ours go out with the same.
    pub(super) tags: Tags,
    /// Remembers what leaves in others' names.
    pub(super) guard: LoopGuard,
    /// Where the last packet came from, by which hop and when: in one turn it is looked at once.
    came: Option<(Instant, IpAddr, Mac)>,
}

impl Link {
    pub(super) fn new(settings: Interface, guard: LoopGuard) -> Self {
        let mut neighbours = Neighbours::new(1024);
        let four = settings.v4.and_then(|n| n.next_hop).map(IpAddr::from);
        let hops = [four, settings.v6.and_then(|n| n.next_hop).map(IpAddr::from)];
        hops.into_iter().flatten().for_each(|hop| neighbours.keep(hop));
        let tags = settings.vlan.unwrap_or_default();
        Self { settings, neighbours, waiting: VecDeque::new(), tags, guard, came: None }
    }

    /// Packets that wait for a neighbour's answer.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether frames with these tags can be for us.
    pub(super) fn is_our_vlan(&self, tags: &Tags) -> bool {
        self.settings.vlan.as_ref().is_none_or(|ours| ours.ids().eq(tags.ids()))
    }

    /// Where a packet to `dst` goes next; none if we have no address of its family, or know no way.
    pub(super) fn hop(&self, dst: IpAddr) -> Option<IpAddr> {
        let (net, next_hop, local) = match dst {
            IpAddr::V4(_) => {
                let n = self.settings.v4?;
                ((n.address.into(), n.prefix), n.next_hop.map(IpAddr::from), false)
            }
            IpAddr::V6(d) => {
                let n = self.settings.v6?;
                ((n.address.into(), n.prefix), n.next_hop.map(IpAddr::from), d.is_unicast_link_local())
            }
        };
        if local || within(dst, &net) { Some(dst) } else { next_hop }
    }

    /// Whether `address` is a neighbour's, not ours, on our link.
    pub(super) fn is_neighbour(&self, address: IpAddr) -> bool {
        !self.settings.own().is(address) && self.hop(address) == Some(address)
    }

    /// Takes in where a packet came from: its sender, or the next hop to it, should be known by this MAC address.
    pub(super) fn came(&mut self, now: Instant, src: IpAddr, from: Mac) {
        let Some(hop) = self.hop(src) else { return };
        // A router's burst is of one address, and what is learnt in a turn is not doubted in it.
        if self.came.replace((now, hop, from)) != Some((now, hop, from)) {
            self.neighbours.seen(now, hop, from);
        }
    }

    /// Whether frames to this group address of Ethernet are for us: neighbour discovery asks there.
    pub(super) fn hears(&self, mac: Mac) -> bool {
        self.settings.v6.is_some_and(|n| {
            mac == nd::group_mac(nd::ALL_NODES) || mac == nd::group_mac(nd::solicited_node(n.address))
        })
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
    pub(super) fn ip(&mut self, frame: Frame, dst: IpAddr) {
        if let Err(frame) = self.try_ip(frame, dst) {
            self.drop(frame, DropReason::NoNeighbour);
        }
    }

    /// As [`ip`](Self::ip).
    ///
    /// # Errors
    /// The frame, if the next hop does not answer.
    pub(super) fn try_ip(&mut self, frame: Frame, dst: IpAddr) -> Result<(), Frame> {
        let Some(hop) = self.link.hop(dst) else {
            self.drop(frame, DropReason::NoFamily);
            return Ok(());
        };
        match self.link.neighbours.resolve(self.now, hop) {
            Resolution::Known(mac, tags) => {
                let kind = if hop.is_ipv4() { eth::TYPE_IPV4 } else { eth::TYPE_IPV6 };
                self.at_mac(frame, mac, tags, kind);
            }
            Resolution::Asked => {
                let room = if self.link.neighbours.is_kept(hop) { WAITING } else { WAITING_FOR_OTHERS };
                if self.link.waiting.len() < room {
                    self.link.waiting.push_back((hop, frame.bytes().to_vec()));
                    self.tx.done.push(frame);
                } else {
                    self.drop(frame, DropReason::NeighbourQueue);
                }
            }
            Resolution::Unreachable => return Err(frame),
        }
        Ok(())
    }

    /// Sends a frame that holds a packet to a neighbour's MAC address.
    pub(super) fn at_mac(&mut self, mut frame: Frame, mac: Mac, tags: Tags, kind: u16) {
        let Some(room) = frame.push_front(eth::header_len(&tags)) else {
            return self.drop(frame, DropReason::TooBig);
        };
        eth::emit(room, mac, self.link.settings.mac, &tags, kind);
        self.raw(frame);
    }

    /// Sends an IPv4 packet that is larger than the way takes: what came in pieces goes back in pieces, for it
    /// does not fit with the headers around it.
    pub(super) fn in_pieces(&mut self, mut frame: Frame, dst: IpAddr, mtu: usize) {
        let mut first = frame.bytes().to_vec();
        let mut rest = build::split_v4(&mut first, mtu);
        if rest.is_none() {
            return self.drop(frame, DropReason::TooBig);
        }
        frame.truncate(first.len());
        frame.bytes_mut().copy_from_slice(&first);
        self.ip(frame, dst);
        while let Some(mut piece) = rest {
            rest = build::split_v4(&mut piece, mtu);
            let Some(mut frame) = self.spare() else { return self.drops.count(DropReason::TxFull) };
            if frame.set(&piece) {
                self.ip(frame, dst);
            } else {
                self.drop(frame, DropReason::TooBig);
            }
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

    /// Sends a packet that is not routed to a neighbour's MAC address.
    pub(super) fn packet(&mut self, packet: &[u8], mac: Mac, tags: Tags, kind: u16) {
        let Some(mut frame) = self.spare() else { return self.drops.count(DropReason::TxFull) };
        if frame.set(packet) {
            return self.at_mac(frame, mac, tags, kind);
        }
        self.tx.done.push(frame);
    }

    /// Sends an ARP packet.
    pub(super) fn arp(&mut self, a: &Arp, dst: Mac, tags: Tags) {
        self.packet(&arp::emit(a), dst, tags, eth::TYPE_ARP);
    }

    /// Asks who has `target` (nobody is asked in a family that we have no address of).
    fn ask(&mut self, target: IpAddr, tags: Option<Tags>) {
        let (mac, tags) = (self.link.settings.mac, tags.unwrap_or(self.link.tags));
        match (target, self.link.settings.v4, self.link.settings.v6) {
            (IpAddr::V4(target), Some(us), _) => {
                let sender = us.address;
                let a = Arp { request: true, sender_mac: mac, sender, target_mac: [0; 6], target };
                self.arp(&a, eth::BROADCAST, tags);
            }
            (IpAddr::V6(target), _, Some(us)) => {
                let group = nd::group_mac(nd::solicited_node(target));
                self.packet(&nd::solicit(mac, us.address, target), group, tags, eth::TYPE_IPV6);
            }
            _ => {}
        }
    }

    /// Sends the requests that are due, and what waited for answers that have come. Gives those that wait in vain.
    pub(super) fn neighbours(&mut self) -> Vec<Vec<u8>> {
        let mut lost = Vec::new();
        self.link.neighbours.handle_timeout(self.now);
        while let Some((target, tags)) = self.link.neighbours.poll_request() {
            self.ask(target, tags);
        }
        for _ in 0..self.link.waiting.len() {
            let Some((hop, packet)) = self.link.waiting.pop_front() else { break };
            match self.link.neighbours.resolve(self.now, hop) {
                Resolution::Asked => self.link.waiting.push_back((hop, packet)),
                Resolution::Unreachable => {
                    self.drops.count(DropReason::NoNeighbour);
                    lost.push(packet);
                }
                Resolution::Known(..) => match self.spare() {
                    Some(mut frame) => {
                        if frame.set(&packet) {
                            self.ip(frame, hop);
                        } else {
                            self.drop(frame, DropReason::TooBig);
                        }
                    }
                    None => {
                        self.link.waiting.push_front((hop, packet));
                        break;
                    }
                },
            }
        }
        lost
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
        let Some((src, dst)) = ends(bytes).filter(|_| keep) else {
            frame.reset();
            self.tx.spare.push(frame);
            return keep;
        };
        if !self.link.settings.own().is(src) {
            self.link.guard.sent(self.now, bytes);
        }
        self.ip(frame, dst);
        true
    }
}

/// Source and destination of an IP packet; none if it has no whole header.
pub(super) fn ends(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let v4 = |at: usize| Some(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?).into());
    let v6 = |at: usize| Some(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?).into());
    match packet.first()? >> 4 {
        4 => Some((v4(12)?, v4(16)?)),
        6 => Some((v6(8)?, v6(24)?)),
        _ => None,
    }
}
