//! Neighbours ask for us and answer us: ARP and neighbour discovery.

use super::drops::DropReason;
use super::handoff::Item;
use super::link::{Link, Out};
use super::state::Redirected;
use super::turn::Turn;
use crate::buf::Frame;
use crate::neigh::Heard;
use crate::time::Instant;
use crate::wire::arp::{self, Arp};
use crate::wire::eth::{self, L2, Tags};
use crate::wire::nd::{self, Nd};
use crate::wire::{IpPacket, parse_ip, proto};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

impl Redirected {
    pub(super) fn announce(&mut self, turn: &mut Turn<'_>) {
        let Some(tx) = turn.tx.first_mut() else { return };
        Out { now: turn.now, link: &mut self.link, tx, drops: &mut self.drops }.announce(&[]);
    }

    pub(super) fn arp(&mut self, turn: &mut Turn<'_>, interface: usize, frame: Frame, l2: L2) {
        let bytes = frame.bytes();
        let (parsed, tags) = (arp::parse(&bytes[l2.len..]), eth::tags(bytes, l2));
        let copy = if self.workers > 1 { bytes.to_vec() } else { Vec::new() };
        let Some(tx) = turn.tx.get_mut(interface) else { return };
        tx.done.push(frame);
        let mut out = Out { now: turn.now, link: &mut self.link, tx, drops: &mut self.drops };
        if out.arp_came(parsed, tags, |_| false) {
            self.tell_neighbour(turn, interface, copy);
        }
    }

    /// An ICMPv6 packet, its checksum right, that a group of ours or our address got. True if it was neighbour
    /// or router discovery.
    pub(super) fn nd(
        &mut self,
        turn: &mut Turn<'_>,
        interface: usize,
        packet: &[u8],
        ip: &IpPacket,
        tags: Tags,
    ) -> bool {
        if !is_nd(packet, ip) {
            return false;
        }
        let Some(tx) = turn.tx.get_mut(interface) else { return true };
        let mut out = Out { now: turn.now, link: &mut self.link, tx, drops: &mut self.drops };
        let told = out.nd_came(packet, ip, tags);
        if told && self.workers > 1 {
            let mut bytes = [&[0; 12], tags.bytes(), &eth::TYPE_IPV6.to_be_bytes()].concat();
            bytes.extend_from_slice(ip.bytes(packet));
            self.tell_neighbour(turn, interface, bytes);
        }
        true
    }

    /// Tells the other workers what a neighbour said: each keeps neighbours of its own.
    fn tell_neighbour(&self, turn: &mut Turn<'_>, interface: usize, bytes: Vec<u8>) {
        for to in (0..self.workers).filter(|w| *w != self.worker) {
            turn.handoff_out.push((to, Item::Neighbour { interface, bytes: bytes.clone() }));
        }
    }

    /// A frame that another worker has answered: only learnt from.
    pub(super) fn neighbour_seen(&mut self, now: Instant, bytes: &[u8]) {
        let Some(l2) = eth::parse(bytes) else { return };
        let (tags, rest) = (eth::tags(bytes, l2), &bytes[l2.len..]);
        if l2.ethertype == eth::TYPE_ARP {
            if let Some(a) = arp::parse(rest) {
                self.link.learn_arp(now, &a, tags);
            }
        } else if let Ok(ip) = parse_ip(rest, 0)
            && let Some(message) = nd::parse(rest, &ip)
        {
            self.link.learn_nd(now, &message, tags);
        }
    }
}

impl Link {
    fn learn_arp(&mut self, now: Instant, a: &Arp, tags: Tags) {
        let sender = IpAddr::V4(a.sender);
        let for_us = self.settings.own().is(a.target.into());
        let heard = if a.request && for_us && self.is_neighbour(sender) { Heard::Asks } else { Heard::Says };
        self.neighbours.learn(now, sender, a.sender_mac, tags, heard);
    }

    fn learn_nd(&mut self, now: Instant, message: &Nd, tags: Tags) {
        let own = self.settings.own();
        let (address, mac, heard) = match *message {
            Nd::Solicit { target, from, mac } => {
                let asks = own.is(target.into()) && self.is_neighbour(from.into());
                (from, mac, if asks { Heard::Asks } else { Heard::Says })
            }
            Nd::Advert { target, mac, replaces } => {
                (target, mac, if replaces { Heard::Says } else { Heard::Adds })
            }
        };
        if let Some(mac) = mac.filter(|_| !own.is(address.into())) {
            self.neighbours.learn(now, address.into(), mac, tags, heard);
        }
    }
}

/// Whether an ICMPv6 packet is of neighbour or router discovery.
pub(super) fn is_nd(packet: &[u8], ip: &IpPacket) -> bool {
    ip.proto == proto::ICMPV6 && matches!(packet.get(ip.l4), Some(133..=137))
}

impl Out<'_> {
    /// Tells the link where our addresses are, and `more` that we answer for: gratuitous ARP (RFC 5227 section 3)
    /// and an unsolicited advertisement (RFC 4861 section 7.2.6).
    pub(super) fn announce(&mut self, more: &[Ipv4Addr]) {
        let (mac, tags) = (self.link.settings.mac, self.link.tags);
        let (v4, v6) = (self.link.settings.v4, self.link.settings.v6);
        for us in v4.map(|n| n.address).into_iter().chain(more.iter().copied()) {
            let a = Arp { request: true, sender_mac: mac, sender: us, target_mac: [0; 6], target: us };
            self.arp(&a, eth::BROADCAST, tags);
        }
        if let Some(us) = v6.map(|n| n.address) {
            self.tell_all(us, tags);
        }
    }

    /// An ARP packet (none: it was malformed) has come: is learnt from, and answered if it asks for our address, or
    /// one that we answer for besides. Whether it is of interest to other workers.
    pub(super) fn arp_came(
        &mut self,
        parsed: Option<Arp>,
        tags: Tags,
        besides: impl Fn(Ipv4Addr) -> bool,
    ) -> bool {
        // Who says that it is at a group's address wants our answer to reach everybody.
        let Some(a) = parsed.filter(|a| a.sender_mac[0] & 1 == 0) else {
            self.drops.count(DropReason::Ethernet);
            return false;
        };
        let Some(ours) = self.link.settings.v4.map(|n| n.address) else {
            self.drops.count(DropReason::NotForUs);
            return false;
        };
        let for_us = a.target == ours;
        if for_us {
            self.link.tags = tags;
        }
        self.link.learn_arp(self.now, &a, tags);
        let answered = for_us || besides(a.target);
        if a.request && answered && a.sender != a.target {
            let mac = self.link.settings.mac;
            let answer = Arp {
                request: false,
                sender_mac: mac,
                sender: a.target,
                target_mac: a.sender_mac,
                target: a.sender,
            };
            self.arp(&answer, a.sender_mac, tags);
        }
        for_us || a.sender == a.target
    }

    /// A packet of [`is_nd`] has come, its checksum right: is learnt from, and answered if it asks for our address.
    /// Whether it is of interest to other workers.
    pub(super) fn nd_came(&mut self, packet: &[u8], ip: &IpPacket, tags: Tags) -> bool {
        let Some(message) = nd::parse(packet, ip) else {
            self.drops.count(DropReason::Unhandled);
            return false;
        };
        let Some(ours) = self.link.settings.v6.map(|n| n.address) else { return false };
        self.link.learn_nd(self.now, &message, tags);
        match message {
            Nd::Solicit { target, from, mac } if target == ours && from != ours => {
                self.link.tags = tags;
                self.answer(ours, from, mac, tags);
                true
            }
            Nd::Solicit { .. } => false,
            Nd::Advert { .. } => true,
        }
    }

    /// Answers a solicitation for our address.
    fn answer(&mut self, ours: Ipv6Addr, from: Ipv6Addr, mac: Option<eth::Mac>, tags: Tags) {
        if from.is_unspecified() {
            // Somebody wants our address for itself (RFC 4861 section 7.2.4).
            return self.tell_all(ours, tags);
        }
        let packet = nd::advert(self.link.settings.mac, ours, from, true);
        match mac {
            Some(mac) => self.packet(&packet, mac, tags, eth::TYPE_IPV6),
            None => match self.spare() {
                Some(mut frame) => {
                    if frame.set(&packet) {
                        return self.ip(frame, from.into());
                    }
                    self.tx.done.push(frame);
                }
                None => self.drops.count(DropReason::TxFull),
            },
        }
    }

    fn tell_all(&mut self, ours: Ipv6Addr, tags: Tags) {
        let packet = nd::advert(self.link.settings.mac, ours, nd::ALL_NODES, false);
        self.packet(&packet, nd::group_mac(nd::ALL_NODES), tags, eth::TYPE_IPV6);
    }
}
