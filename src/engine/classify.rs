//! What a received frame is, and who gets it.

use super::drops::DropReason;
use super::handoff::Item;
use super::link::Out;
use super::local::is_local;
use super::origin::Origin;
use super::state::Redirected;
use super::turn::Turn;
use crate::buf::Frame;
use crate::flow::{self, Action, Entry, Flags, FlowKey, Leg, Lookup, Rewrite, SlotRef, Sticky};
use crate::session::{SynVerdict, port_owner};
use crate::time::Instant;
use crate::wire::eth::{self, Mac, Tags};
use crate::wire::gre;
use crate::wire::icmp::{self, Icmp};
use crate::wire::tcp::{self, Segment};
use crate::wire::{Fragment, IpPacket, build, is_host, parse_ip, proto};
use std::net::IpAddr;

/// A packet with what is known of its way here. The frame begins with the IP packet.
pub(super) struct Arrived {
    pub(super) interface: usize,
    /// How it was redirected; none if it came to our own address.
    pub(super) origin: Option<Origin>,
    pub(super) tags: Tags,
    pub(super) frame: Frame,
}

impl Redirected {
    pub(super) fn frame(&mut self, turn: &mut Turn<'_>, interface: usize, mut frame: Frame) {
        let Some(l2) = eth::parse(frame.bytes()) else {
            return self.drop(turn, interface, frame, DropReason::Ethernet);
        };
        let tags = eth::tags(frame.bytes(), l2);
        if !self.link.is_our_vlan(&tags) {
            return self.drop(turn, interface, frame, DropReason::NotForUs);
        }
        match l2.ethertype {
            eth::TYPE_ARP => return self.arp(turn, interface, frame, l2),
            eth::TYPE_IPV4 | eth::TYPE_IPV6 => {}
            _ => return self.drop(turn, interface, frame, DropReason::NotForUs),
        }
        let to = eth::dst(frame.bytes());
        let group = l2.ethertype == eth::TYPE_IPV6 && self.link.hears(to);
        if to != self.link.settings.mac && !group {
            return self.drop(turn, interface, frame, DropReason::NotForUs);
        }
        let from = eth::src(frame.bytes());
        frame.pull_front(l2.len);
        let Ok(mut ip) = parse_ip(frame.bytes(), 0) else {
            return self.drop(turn, interface, frame, DropReason::BadIp);
        };
        if ip.is_v4() != (l2.ethertype == eth::TYPE_IPV4) {
            return self.drop(turn, interface, frame, DropReason::BadIp);
        }
        // What stands behind the packet fills a short frame up and is not sent on.
        frame.truncate(ip.end);
        self.link.came(turn.now, ip.src, from);
        if group && ip.dst.is_multicast() {
            return self.grouped(turn, interface, frame, &ip, tags);
        }
        if group || !self.link.settings.own().is(ip.dst) {
            return match self.by_mac(from, &ip).filter(|_| !group) {
                Some(origin) => {
                    let origin = Some(origin);
                    self.passing(turn, Arrived { interface, origin, tags, frame }, &ip);
                }
                None => self.drop(turn, interface, frame, DropReason::NotForUs),
            };
        }
        self.link.tags = tags;
        let pieces = ip.fragment != Fragment::None;
        if pieces {
            let Some(whole) = self.reassemble(turn, interface, frame, &ip) else { return };
            frame = whole;
            match parse_ip(frame.bytes(), 0) {
                Ok(parsed) => ip = parsed,
                Err(_) => return self.drop(turn, interface, frame, DropReason::BadIp),
            }
        }
        self.ours(turn, Arrived { interface, origin: None, tags, frame }, &ip, pieces);
    }

    /// A packet to our own address. `told`: it was in pieces, or another worker has seen it.
    fn ours(&mut self, turn: &mut Turn<'_>, a: Arrived, ip: &IpPacket, told: bool) {
        if !is_host(ip.src) || self.link.settings.own().is(ip.src) {
            return self.drop(turn, a.interface, a.frame, DropReason::BadSource);
        }
        match ip.proto {
            proto::GRE => self.redirected(turn, a, ip),
            proto::TCP => self.tcp(turn, a, ip),
            p if is_local(p) && !ip.transport_checksum_ok(a.frame.bytes()) => {
                self.drop(turn, a.interface, a.frame, DropReason::BadTransport);
            }
            // Neighbour discovery is never in pieces (RFC 6980).
            proto::ICMPV6 if !told && self.nd(turn, a.interface, a.frame.bytes(), ip, a.tags) => {
                self.done(turn, a.interface, a.frame)
            }
            proto::ICMP | proto::ICMPV6 => self.icmp(turn, a, ip),
            proto::UDP => self.udp(turn, a, ip),
            _ => self.drop(turn, a.interface, a.frame, DropReason::Unhandled),
        }
    }

    /// A packet to a group of ours, where neighbours ask and tell.
    fn grouped(&mut self, turn: &mut Turn<'_>, interface: usize, frame: Frame, ip: &IpPacket, tags: Tags) {
        if !ip.transport_checksum_ok(frame.bytes()) {
            return self.drop(turn, interface, frame, DropReason::BadTransport);
        }
        if !self.nd(turn, interface, frame.bytes(), ip, tags) {
            return self.drop(turn, interface, frame, DropReason::NotForUs);
        }
        self.done(turn, interface, frame);
    }

    /// Takes a fragment; gives the whole packet when it is there.
    fn reassemble(
        &mut self,
        turn: &mut Turn<'_>,
        interface: usize,
        frame: Frame,
        ip: &IpPacket,
    ) -> Option<Frame> {
        let failed = self.fragments.counts().1;
        let router = matches!(ip.src, IpAddr::V4(from) if self.routers.find(from).is_some());
        let whole = self.fragments.add(turn.now, frame.bytes(), ip, router);
        self.given_up(failed);
        if let Some(tx) = turn.tx.get_mut(interface) {
            tx.done.push(frame);
        }
        let whole = whole?;
        let frame = Frame::from_bytes(&whole);
        if frame.is_none() {
            self.long_datagram(turn, interface, whole);
        }
        frame
    }

    /// Gives up datagrams whose pieces do not come.
    pub(super) fn pieces_expire(&mut self, now: Instant) {
        let failed = self.fragments.counts().1;
        self.fragments.expire(now);
        self.given_up(failed);
    }

    /// Counts the datagrams that were given up since there were `before` of them.
    fn given_up(&mut self, before: u64) {
        for _ in before..self.fragments.counts().1 {
            self.drops.count(DropReason::OuterFragment);
        }
    }

    fn redirected(&mut self, turn: &mut Turn<'_>, mut a: Arrived, outer: &IpPacket) {
        // WCCP redirects in GRE over IPv4 only.
        let IpAddr::V4(router) = outer.src else {
            return self.drop(turn, a.interface, a.frame, DropReason::BadGre);
        };
        if self.routers.find(router).is_none() {
            if self.worker != 0 {
                // A router's own name for itself is known first where WCCP is spoken.
                return self.hand_over(turn, a, 0);
            }
            return self.drop(turn, a.interface, a.frame, DropReason::StrangeRouter);
        }
        let Ok((redirect, head)) = gre::parse(outer.payload(a.frame.bytes())) else {
            return self.drop(turn, a.interface, a.frame, DropReason::BadGre);
        };
        a.frame.pull_front(outer.l4 + head);
        let Ok(ip) = parse_ip(a.frame.bytes(), 0) else {
            return self.drop(turn, a.interface, a.frame, DropReason::BadIp);
        };
        a.frame.truncate(ip.end);
        a.origin = Some(Origin::Gre { router, redirect });
        self.passing(turn, a, &ip);
    }

    /// How a packet for somebody else came, that has no redirect header to tell it; none if it is none of ours.
    fn by_mac(&self, from: Mac, ip: &IpPacket) -> Option<Origin> {
        // A host that sends to a group or to itself through us is no router's doing.
        if !is_host(ip.src) || !is_host(ip.dst) {
            return None;
        }
        match () {
            () if self.by_policy => Some(Origin::Static { from }),
            () if self.routers.forward_l2() => Some(Origin::L2 { router: from }),
            () => None,
        }
    }

    /// A redirected packet: it is for somebody else.
    fn passing(&mut self, turn: &mut Turn<'_>, arrived: Arrived, ip: &IpPacket) {
        if self.link.settings.own().is(ip.src) {
            return self.drop(turn, arrived.interface, arrived.frame, DropReason::Loop);
        }
        if ip.fragment != Fragment::None {
            return self.give_back(turn, arrived, ip);
        }
        match ip.proto {
            proto::TCP => self.tcp(turn, arrived, ip),
            proto::ICMP | proto::ICMPV6 if ip.transport_checksum_ok(arrived.frame.bytes()) => {
                let strange = match icmp::parse(arrived.frame.bytes(), ip) {
                    Some(error @ Icmp::TcpError { .. }) => self.quoted(turn, arrived, ip, &error),
                    _ => Some(arrived),
                };
                if let Some(arrived) = strange {
                    self.give_back(turn, arrived, ip);
                }
            }
            _ => self.give_back(turn, arrived, ip),
        }
    }

    /// Something from another worker.
    pub(super) fn handed(&mut self, turn: &mut Turn<'_>, item: Item) {
        match item {
            Item::Packet { interface, origin, tags, packet } => {
                let Some(frame) = Frame::from_bytes(&packet) else {
                    return self.long_datagram(turn, interface, packet);
                };
                let Ok(ip) = parse_ip(frame.bytes(), 0) else { return };
                let a = Arrived { interface, origin, tags, frame };
                match origin {
                    Some(_) => self.passing(turn, a, &ip),
                    None => self.ours(turn, a, &ip, true),
                }
            }
            Item::Neighbour { bytes, .. } => self.neighbour_seen(turn.now, &bytes),
            Item::Router(router) => self.routers.put(router),
        }
    }

    fn tcp(&mut self, turn: &mut Turn<'_>, a: Arrived, ip: &IpPacket) {
        let Some(seg) = tcp::parse(a.frame.bytes(), ip) else {
            return self.drop(turn, a.interface, a.frame, DropReason::BadTransport);
        };
        let leg = if a.origin.is_some() { Leg::Redirected } else { Leg::Direct };
        let Some(key) = FlowKey::tcp(seg.src, seg.dst, leg, 0) else {
            return self.drop(turn, a.interface, a.frame, DropReason::BadIp);
        };
        match self.flows.lookup(&key) {
            Lookup::Hit(slot, entry) => self.hit(turn, a, ip, &seg, slot, &entry),
            Lookup::Busy => {
                let owner = self.owner(&a, &seg);
                self.hand_over(turn, a, owner);
            }
            Lookup::Miss => self.miss(turn, a, ip, &seg),
        }
    }

    fn hit(
        &mut self,
        turn: &mut Turn<'_>,
        mut a: Arrived,
        ip: &IpPacket,
        seg: &Segment,
        slot: SlotRef,
        entry: &Entry,
    ) {
        if entry.action == Action::Translate {
            let again = seg.is_first() && a.origin.is_some();
            if again && entry.owner != self.worker {
                return self.hand_over(turn, a, entry.owner);
            }
            if again && self.sessions.flow_reopened(turn.now, entry.id, slot) {
                return self.miss(turn, a, ip, seg);
            }
            return self.translate(turn, a, ip, seg, slot, entry);
        }
        if entry.owner != self.worker {
            return self.hand_over(turn, a, entry.owner);
        }
        if self.is_ours(turn.now, &a) {
            return self.drop(turn, a.interface, a.frame, DropReason::Loop);
        }
        if !ip.transport_checksum_ok(a.frame.bytes()) {
            return self.drop(turn, a.interface, a.frame, DropReason::BadTransport);
        }
        let now = turn.now;
        let Some(tx) = turn.tx.get_mut(a.interface) else { return };
        let mut out = Out { now, link: &mut self.link, tx, drops: &mut self.drops };
        match entry.action {
            Action::TimeWait => {
                if self.sessions.wait_segment(now, entry.id, slot, seg, &mut out) {
                    return self.miss(turn, a, ip, seg);
                }
            }
            Action::Session { leg } => {
                if a.origin.is_some() && self.sessions.is_ours(entry.id, leg, seg) {
                    return out.drop(a.frame, DropReason::Loop);
                }
                self.sessions.segment(now, entry.id, leg, seg, a.frame.bytes_mut(), &mut out);
            }
            Action::Translate | Action::Reset => {
                if let Some(r) = build::reset_for(seg) {
                    crate::tcp::Outlet::send(&mut out, r.len(), &mut |b| {
                        r.emit(b);
                        true
                    });
                }
            }
        }
        out.tx.done.push(a.frame);
    }

    fn translate(
        &mut self,
        turn: &mut Turn<'_>,
        mut a: Arrived,
        ip: &IpPacket,
        seg: &Segment,
        slot: SlotRef,
        entry: &Entry,
    ) {
        let hop = entry.flags.has(Flags::HOP);
        if hop && ip.ttl(a.frame.bytes()) <= 1 {
            return self.expired(turn, a, ip);
        }
        let bytes = a.frame.bytes_mut();
        if seg.has(tcp::SYN) && entry.flags.has(Flags::CLAMP_MSS) {
            // GRE takes its part of every segment that the client sends.
            tcp::clamp_mss(bytes, seg, self.clamp);
        }
        let (head, rest) = bytes.split_at_mut(seg.start);
        let applied = match (&entry.rewrite, rest.first_chunk_mut::<20>()) {
            (Rewrite::V4(r), Some(tcp)) => head.first_chunk_mut().is_some_and(|ip| r.apply(ip, tcp, hop)),
            (Rewrite::V6(r), Some(tcp)) => head.first_chunk_mut().is_some_and(|ip| r.apply(ip, tcp, hop)),
            _ => false,
        };
        if !applied {
            return self.drop(turn, a.interface, a.frame, DropReason::BadTransport);
        }
        let mut marks = Sticky::NONE;
        if seg.has(tcp::FIN) {
            marks = marks.with(Sticky::FIN);
        }
        if seg.has(tcp::RST) {
            marks = marks.with(Sticky::RST);
        }
        let end = if seg.has(tcp::RST) { seg.seq } else { seg.seq_end() };
        self.flows.touch(slot, turn.now.tick(), end, marks);
        let dst = entry.rewrite.dst();
        let Some(tx) = turn.tx.get_mut(a.interface) else { return };
        Out { now: turn.now, link: &mut self.link, tx, drops: &mut self.drops }.ip(a.frame, dst.ip());
        if marks != Sticky::NONE && entry.owner == self.worker {
            self.sessions.flow_marked(turn.now, entry.id);
        }
    }

    fn miss(&mut self, turn: &mut Turn<'_>, mut a: Arrived, ip: &IpPacket, seg: &Segment) {
        if seg.is_first() {
            let owner = self.owner(&a, seg);
            if owner != self.worker {
                return self.hand_over(turn, a, owner);
            }
            if self.is_ours(turn.now, &a) {
                return self.drop(turn, a.interface, a.frame, DropReason::Loop);
            }
            if !ip.transport_checksum_ok(a.frame.bytes()) {
                return self.drop(turn, a.interface, a.frame, DropReason::BadTransport);
            }
            let options = seg.syn_options(a.frame.bytes());
            let now = turn.now;
            let Some(tx) = turn.tx.get_mut(a.interface) else { return };
            let mut out = Out { now, link: &mut self.link, tx, drops: &mut self.drops };
            match self.sessions.syn(now, seg, options, a.origin.is_some(), &mut out) {
                SynVerdict::Taken => return out.tx.done.push(a.frame),
                SynVerdict::Forward => {
                    let leg = if a.origin.is_some() { Leg::Redirected } else { Leg::Direct };
                    if let Some(key) = FlowKey::tcp(seg.src, seg.dst, leg, 0)
                        && let Lookup::Hit(slot, entry) = self.flows.lookup(&key)
                    {
                        return self.translate(turn, a, ip, seg, slot, &entry);
                    }
                }
                SynVerdict::NotOurs => {}
            }
        }
        if a.origin.is_some() {
            if !self.sessions.may_be_torn(turn.now, seg) {
                return self.give_back(turn, a, ip);
            }
            // Its two directions may come to different workers.
            let owner = self.owner(&a, seg);
            if owner != self.worker {
                return self.hand_over(turn, a, owner);
            }
            if self.is_ours(turn.now, &a) || !ip.transport_checksum_ok(a.frame.bytes()) {
                return self.give_back(turn, a, ip);
            }
            let now = turn.now;
            let Some(tx) = turn.tx.get_mut(a.interface) else { return };
            let mut out = Out { now, link: &mut self.link, tx, drops: &mut self.drops };
            if self.sessions.torn(now, seg, &mut out) {
                return out.tx.done.push(a.frame);
            }
            return self.give_back(turn, a, ip);
        }
        // To our own address, and of no connection: what any host answers.
        let now = turn.now;
        let Some(tx) = turn.tx.get_mut(a.interface) else { return };
        let mut out = Out { now, link: &mut self.link, tx, drops: &mut self.drops };
        if ip.transport_checksum_ok(a.frame.bytes_mut())
            && let Some(r) = build::reset_for(seg)
        {
            crate::tcp::Outlet::send(&mut out, r.len(), &mut |b| {
                r.emit(b);
                true
            });
        }
        out.drop(a.frame, DropReason::UnknownFlow);
    }

    /// Whether we sent this packet in somebody else's name, and a router redirected it back to us.
    fn is_ours(&mut self, now: Instant, a: &Arrived) -> bool {
        a.origin.is_some() && self.link.guard.is_ours(now, a.frame.bytes())
    }

    /// The worker that has to do with a segment whose entry does not tell it.
    fn owner(&self, a: &Arrived, seg: &Segment) -> u16 {
        // A port of our own tells who gave it; its other end is not the pair that the session is known by.
        let given = if a.origin.is_none() { port_owner(seg.dst.port(), self.workers) } else { None };
        let pair =
            || flow::owner(seg.src.ip(), seg.dst.ip(), self.owner_salt, usize::from(self.workers)) as u16;
        given.unwrap_or_else(pair)
    }

    /// Hands a packet to another worker.
    pub(super) fn hand_over(&mut self, turn: &mut Turn<'_>, a: Arrived, to: u16) {
        let Arrived { interface, origin, tags, frame } = a;
        if to == self.worker {
            // Nobody writes our entries while we read them, so it is another's, and not known whose. What has an
            // entry is never returned to its router: the end host would reset it. It is said again.
            return self.drop(turn, interface, frame, DropReason::Handoff);
        }
        let packet = frame.bytes().to_vec();
        turn.handoff_out.push((to, Item::Packet { interface, origin, tags, packet }));
        self.done(turn, interface, frame);
    }

    pub(super) fn done(&mut self, turn: &mut Turn<'_>, interface: usize, frame: Frame) {
        if let Some(tx) = turn.tx.get_mut(interface) {
            tx.done.push(frame);
        }
    }

    pub(super) fn drop(&mut self, turn: &mut Turn<'_>, interface: usize, frame: Frame, reason: DropReason) {
        self.drops.count(reason);
        if let Some(tx) = turn.tx.get_mut(interface) {
            tx.done.push(frame);
        }
    }
}
