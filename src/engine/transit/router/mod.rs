//! A router between an inside and an outside network, each with addresses of ours that the kernel does not have.
//!
//! ```text
//!  frame to our MAC ─┬─ ARP, neighbour discovery ─────────────────────────────────▶ answered, learnt from
//!                    └─ packet ─┬─ a source that cannot be there ─────────────────▶ dropped
//!                               ├─ to our address inside, or from inside to ours ──▶ answered as a host does
//!                               └─ for the other side, or translated ─ firewall ─┬─ passes ─ hop, MTU ─▶ its next hop
//!                                                                                ├─ passes, to us ────▶ answered
//!                                                                                ├─ taken in
//!                                                                                └─ refused
//! ```
//! What comes from one side is for the other: a packet whose destination is where it came from is dropped (hosts of
//! one network need no router, and no redirects are sent), and so is a packet to all.

mod errors;
mod local;
mod ways;

use self::ways::Ways;
use super::super::drops::{DropReason, Drops};
use super::super::guard::LoopGuard;
use super::super::link::{self, Link, Out};
use super::super::local::LONGEST_DATAGRAM;
use super::super::neighbour::is_nd;
use super::super::place::Core;
use super::super::settings::{Route, TransitSettings};
use super::super::turn::Turn;
use super::{Counts, SIDES, index, obey};
use crate::buf::Frame;
use crate::event::Event;
use crate::firewall::{Emit, Fate, Firewall, Nat, Refused, Side};
use crate::flow::FlowTable;
use crate::frag::Reassembly;
use crate::rng::Keyed;
use crate::time::{Duration, Instant, Pace};
use crate::wire::arp;
use crate::wire::eth::{self, Tags};
use crate::wire::{Fragment, IpPacket, build, icmp, parse_ip, proto};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// What became of a packet that was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// It left, or was counted as lost.
    Done,
    /// The link does not take it, and it may not be cut.
    TooLong,
}

/// The core of a router.
pub(in crate::engine) struct Router {
    firewall: Firewall<()>,
    flows: Arc<FlowTable>,
    links: [Link; 2],
    ways: Ways,
    drops: Drops,
    counts: Counts,
    /// Bounds the errors and resets that we send of our own.
    errors: Pace,
    /// Pieces of packets to us.
    fragments: Reassembly,
    /// Packets of the firewall's that are to leave.
    emitted: Vec<Emit<()>>,
    /// Outside addresses besides our own that we answer for, in order.
    besides: Vec<Ipv4Addr>,
    backlog: bool,
    announced: bool,
}

impl Router {
    pub(in crate::engine) fn new(
        settings: TransitSettings,
        routes: Vec<Route>,
        keyed: Keyed,
        flows: Arc<FlowTable>,
    ) -> Self {
        let besides = translated(&settings.firewall.nat, settings.outside.v4.map(|n| n.address));
        let mut links = [settings.inside, settings.outside].map(|i| Link::new(i, LoopGuard::new(keyed)));
        for route in &routes {
            links[index(route.side)].neighbours.keep(route.next_hop);
        }
        Self {
            firewall: Firewall::new(settings.firewall, flows.clone(), keyed),
            flows,
            links,
            ways: Ways::new(routes),
            drops: Drops::default(),
            counts: Counts::default(),
            errors: Pace::default(),
            fragments: Reassembly::new(LONGEST_DATAGRAM),
            emitted: Vec::new(),
            besides,
            backlog: false,
            announced: false,
        }
    }

    /// One side's way out.
    fn out<'a>(&'a mut self, turn: &'a mut Turn<'_>, side: Side) -> Option<Out<'a>> {
        let (link, tx) = (&mut self.links[index(side)], turn.tx.get_mut(index(side))?);
        Some(Out { now: turn.now, link, tx, drops: &mut self.drops })
    }

    fn frame(&mut self, turn: &mut Turn<'_>, from: Side, mut frame: Frame) {
        let Some(l2) = eth::parse(frame.bytes()) else {
            return self.drop(turn, from, frame, DropReason::Ethernet);
        };
        let (link, tags) = (&mut self.links[index(from)], eth::tags(frame.bytes(), l2));
        if !link.is_our_vlan(&tags) {
            return self.drop(turn, from, frame, DropReason::NotForUs);
        }
        match l2.ethertype {
            eth::TYPE_ARP => return self.arp(turn, from, frame, l2.len, tags),
            eth::TYPE_IPV4 | eth::TYPE_IPV6 => {}
            _ => return self.drop(turn, from, frame, DropReason::NotForUs),
        }
        let (to, source) = (eth::dst(frame.bytes()), eth::src(frame.bytes()));
        let group = l2.ethertype == eth::TYPE_IPV6 && link.hears(to);
        if to != link.settings.mac && !group {
            return self.drop(turn, from, frame, DropReason::NotForUs);
        }
        frame.pull_front(l2.len);
        let parsed = parse_ip(frame.bytes(), 0);
        let Some(ip) = parsed.ok().filter(|ip| ip.is_v4() == (l2.ethertype == eth::TYPE_IPV4)) else {
            return self.drop(turn, from, frame, DropReason::BadIp);
        };
        // What stands behind the packet fills a short frame up and is not sent on.
        frame.truncate(ip.end);
        link.came(turn.now, ip.src, source);
        if group || link.settings.own().is(ip.dst) {
            link.tags = if group { link.tags } else { tags };
            if is_nd(frame.bytes(), &ip) {
                return self.nd(turn, from, frame, &ip, tags);
            }
        }
        if group {
            return self.drop(turn, from, frame, DropReason::NotForUs);
        }
        self.packet(turn, from, frame, &ip);
    }

    fn arp(&mut self, turn: &mut Turn<'_>, from: Side, frame: Frame, at: usize, tags: Tags) {
        let parsed = arp::parse(&frame.bytes()[at..]);
        let (link, Some(tx)) = (&mut self.links[index(from)], turn.tx.get_mut(index(from))) else { return };
        tx.done.push(frame);
        let besides = |a: Ipv4Addr| from == Side::Outside && self.besides.binary_search(&a).is_ok();
        Out { now: turn.now, link, tx, drops: &mut self.drops }.arp_came(parsed, tags, besides);
    }

    fn nd(&mut self, turn: &mut Turn<'_>, from: Side, frame: Frame, ip: &IpPacket, tags: Tags) {
        if !ip.transport_checksum_ok(frame.bytes()) {
            return self.drop(turn, from, frame, DropReason::BadTransport);
        }
        let Some(mut out) = self.out(turn, from) else { return };
        out.nd_came(frame.bytes(), ip, tags);
        out.tx.done.push(frame);
    }

    fn packet(&mut self, turn: &mut Turn<'_>, from: Side, frame: Frame, ip: &IpPacket) {
        let ours = self.is_ours(ip.dst);
        if !ways::is_routable(ip.src) || self.is_ours(ip.src) {
            return self.drop(turn, from, frame, DropReason::BadSource);
        }
        // Answers must go back to where it comes from (RFC 3704 2.2).
        if self.ways.hop(&self.links, from, ip.src, true).is_none() {
            return self.drop(turn, from, frame, DropReason::Spoofed);
        }
        // Our outside address may be others' as well: the firewall knows whose.
        if ours && !self.is_shared(ip.dst) {
            return self.local(turn, from, frame, ip);
        }
        if !ours && !self.may_cross(from, ip) {
            return self.drop(turn, from, frame, DropReason::NoRoute);
        }
        self.cross(turn, from, frame, ip);
    }

    /// Whether a packet from one side can be for the other.
    fn may_cross(&self, from: Side, ip: &IpPacket) -> bool {
        let scoped = ways::stays(ip.src) || ways::stays(ip.dst);
        let back = || self.ways.hop(&self.links, from, ip.dst, false).is_some();
        ways::is_routable(ip.dst) && !scoped && (self.is_besides(ip.dst) || !back())
    }

    /// A packet that the firewall decides about.
    fn cross(&mut self, turn: &mut Turn<'_>, from: Side, mut frame: Frame, ip: &IpPacket) {
        let to = from.other();
        let mtu = self.links[index(to)].settings.mtu;
        // An error quotes the packet as it came, which the firewall may change; that is rare.
        let error = errors::about(frame.bytes(), ip, mtu).map(|e| (e, frame.bytes().to_vec()));
        let fate = self.firewall.packet(turn.now, from, (), &mut frame, ip, &mut self.emitted);
        // The firewall counts the hop, so nothing passes it without one that is left.
        let expired = fate == Fate::Refuse(Refused::Malformed)
            && matches!(error, Some(((.., DropReason::TtlExceeded), _)));
        match fate {
            Fate::Forward => match (self.destination(&frame), error) {
                (Some(dst), _) if self.is_ours(dst) => self.here(turn, from, frame),
                (Some(_), Some((error, original))) => self.sorry(turn, from, frame, error, &original, ip),
                (Some(dst), None) => self.forward(turn, from, frame, ip, dst),
                (None, _) => self.drop(turn, from, frame, DropReason::BadIp),
            },
            Fate::Refuse(why) if self.is_ours(ip.dst) && (expired || nobody(why, ip)) => {
                self.here(turn, from, frame);
            }
            Fate::Refuse(why) => match error.filter(|_| expired) {
                Some((error, original)) => self.sorry(turn, from, frame, error, &original, ip),
                None => self.drop(turn, from, frame, why.into()),
            },
            Fate::Taken => self.done(turn, from, frame),
        }
        self.emit(turn);
    }

    /// A packet that the firewall let through and that is for us.
    fn here(&mut self, turn: &mut Turn<'_>, from: Side, frame: Frame) {
        match parse_ip(frame.bytes(), 0) {
            Ok(ip) => self.local(turn, from, frame, &ip),
            Err(_) => self.drop(turn, from, frame, DropReason::BadIp),
        }
    }

    /// Tells the sender why its packet, `original`, goes no further.
    fn sorry(
        &mut self,
        turn: &mut Turn<'_>,
        from: Side,
        frame: Frame,
        (kind, rest, reason): errors::Error,
        original: &[u8],
        ip: &IpPacket,
    ) {
        self.error(turn, from, kind, rest, original, ip);
        self.drop(turn, from, frame, reason);
    }

    /// Sends a packet on its way. `ip` is what it was when it came.
    fn forward(&mut self, turn: &mut Turn<'_>, from: Side, frame: Frame, ip: &IpPacket, dst: IpAddr) {
        let to = from.other();
        let way = self.ways.hop(&self.links, to, dst, true);
        if ways::means_all(&self.links[index(to)], dst) {
            return self.drop(turn, from, frame, DropReason::NoRoute);
        }
        let Some(hop) = way.filter(|_| !self.is_besides(dst)) else {
            // Whose addresses were translated is not told of what is behind them.
            if dst == ip.dst {
                let kind = if ip.is_v4() { icmp::NO_ROUTE_V4 } else { icmp::NO_ROUTE_V6 };
                let original = frame.bytes().to_vec();
                self.error(turn, from, kind, [0; 4], &original, ip);
            }
            return self.drop(turn, from, frame, DropReason::NoRoute);
        };
        let mtu = usize::from(self.links[index(to)].settings.mtu);
        let Some(mut out) = self.out(turn, to) else { return };
        if frame.len() > mtu {
            out.in_pieces(frame, hop, mtu);
        } else if let Err(frame) = out.try_ip(frame, hop) {
            let packet = frame.bytes().to_vec();
            self.drop(turn, to, frame, DropReason::NoNeighbour);
            return self.unreachable(turn, to, &packet);
        }
        self.counts.forwarded[index(from)] += 1;
    }

    /// Sends what the firewall made.
    fn emit(&mut self, turn: &mut Turn<'_>) {
        let (mut emitted, mut too_long) = (std::mem::take(&mut self.emitted), Vec::new());
        for Emit { to, packet, .. } in emitted.drain(..) {
            match link::ends(&packet) {
                // A piece of a packet to us has come in pieces to the firewall.
                Some((_, dst)) if self.is_ours(dst) => {
                    if let Some(frame) = Frame::from_bytes(&packet) {
                        self.here(turn, to.other(), frame);
                    }
                }
                _ => {
                    self.counts.injected += 1;
                    if self.send(turn, to, &packet) == Sent::TooLong {
                        too_long.push((to, packet));
                    }
                }
            }
        }
        self.emitted = emitted;
        for (to, packet) in too_long {
            self.too_long(turn, to, &packet);
        }
    }

    /// Sends a packet that is not in a frame out of one side, in pieces if it has to be and may be.
    fn send(&mut self, turn: &mut Turn<'_>, to: Side, packet: &[u8]) -> Sent {
        let mtu = usize::from(self.links[index(to)].settings.mtu);
        let dst = parse_ip(packet, 0).map(|ip| ip.dst);
        let hop = dst.ok().and_then(|dst| self.ways.hop(&self.links, to, dst, true));
        let Some(hop) = hop else {
            self.drops.count(DropReason::NoRoute);
            return Sent::Done;
        };
        let Some(mut out) = self.out(turn, to) else { return Sent::Done };
        let mut rest = Some(packet.to_vec());
        while let Some(mut piece) = rest {
            rest = build::split_v4(&mut piece, mtu);
            if piece.len() > mtu {
                out.drops.count(DropReason::TooBig);
                return Sent::TooLong;
            }
            let Some(mut frame) = out.spare() else {
                out.drops.count(DropReason::TxFull);
                break;
            };
            if frame.set(&piece) {
                out.ip(frame, hop);
            } else {
                out.drop(frame, DropReason::TooBig);
            }
        }
        Sent::Done
    }

    /// Whether the address is ours, on whichever side.
    fn is_ours(&self, a: IpAddr) -> bool {
        self.links.iter().any(|l| l.settings.own().is(a))
    }

    /// Whether the address is ours, and others' that it is translated for.
    fn is_shared(&self, a: IpAddr) -> bool {
        matches!(a, IpAddr::V4(a) if self.links[1].settings.v4.is_some_and(|n| n.address == a)
            && self.firewall.translates_to(a))
    }

    /// Whether it is an outside address that we answer for and that is not ours.
    fn is_besides(&self, a: IpAddr) -> bool {
        matches!(a, IpAddr::V4(a) if self.besides.binary_search(&a).is_ok())
    }

    fn destination(&self, frame: &Frame) -> Option<IpAddr> {
        link::ends(frame.bytes()).map(|ends| ends.1)
    }

    fn done(&mut self, turn: &mut Turn<'_>, from: Side, frame: Frame) {
        if let Some(tx) = turn.tx.get_mut(index(from)) {
            tx.done.push(frame);
        }
    }

    fn drop(&mut self, turn: &mut Turn<'_>, from: Side, frame: Frame, reason: DropReason) {
        self.drops.count(reason);
        self.done(turn, from, frame);
    }

    fn timeouts(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        let failed = self.fragments.counts().1;
        self.fragments.expire(now);
        self.given_up(failed);
        if self.firewall.poll_timeout().is_some_and(|due| due.0 <= now) {
            self.firewall.handle_timeout(now, &mut self.emitted);
            self.emit(turn);
        }
        self.backlog = false;
        for side in SIDES {
            let Some(mut out) = self.out(turn, side) else { continue };
            let lost = out.neighbours();
            let backlog = out.backlog();
            self.backlog |= backlog;
            for packet in lost {
                self.unreachable(turn, side, &packet);
            }
        }
    }
}

/// Whether a packet to an address that is translated may come in, but nobody stands behind it. (Segments the firewall
/// answers itself.)
fn nobody(why: Refused, ip: &IpPacket) -> bool {
    why == Refused::NoConnection && ip.proto != proto::TCP && ip.fragment == Fragment::None
}

/// The outside addresses that a translation uses, but for our own, in order.
fn translated(nat: &Nat, own: Option<Ipv4Addr>) -> Vec<Ipv4Addr> {
    let masquerade = nat.masquerade.iter().map(|m| m.address);
    let all = masquerade
        .chain(nat.one_to_one.iter().map(|s| s.outside))
        .chain(nat.forwards.iter().map(|f| *f.outside.ip()));
    let mut all: Vec<_> = all.filter(|a| Some(*a) != own).collect();
    all.sort_unstable();
    all.dedup();
    all
}

impl Core for Router {
    fn turn(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        if !self.announced {
            self.announced = true;
            let besides = self.besides.clone();
            for (side, more) in SIDES.into_iter().zip([&[][..], &besides]) {
                if let Some(mut out) = self.out(turn, side) {
                    out.announce(more);
                }
            }
        }
        obey(&mut self.firewall, turn);
        for side in SIDES {
            let Some(burst) = turn.rx.get_mut(index(side)) else { continue };
            let mut burst = std::mem::take(burst);
            for frame in burst.drain() {
                self.frame(turn, side, frame);
            }
            turn.rx[index(side)] = burst;
        }
        self.timeouts(turn);
        self.firewall.take_events(turn.events);
        for link in &mut self.links {
            while let Some(what) = link.neighbours.poll_event() {
                turn.events.push(Event { at: now, what });
            }
        }
        self.drops.tell(now, turn.events);
    }

    fn poll_timeout(&self, now: Instant) -> Option<(Instant, &'static str)> {
        let backlog = self.backlog.then_some((now + Duration::from_millis(1), "packets wait for room"));
        let pieces = self.fragments.poll_timeout().map(|at| (at, "pieces of a packet do not come"));
        let [inside, outside] = &self.links;
        let links = [inside.neighbours.poll_timeout(), outside.neighbours.poll_timeout()];
        links.into_iter().chain([backlog, pieces, self.firewall.poll_timeout()]).flatten().min_by_key(|t| t.0)
    }

    fn sessions(&self) -> usize {
        self.firewall.sessions()
    }

    fn busy(&self) -> usize {
        self.firewall.busy()
    }

    fn occupied(&self) -> Vec<(&'static str, usize)> {
        let mut all = self.firewall.occupied();
        all.extend([
            ("entries of the flow table", self.flows.len()),
            ("fragmented packets", self.fragments.len()),
            ("packets that wait for a neighbour", self.links.iter().map(Link::waiting).sum()),
        ]);
        all
    }

    fn counters(&self) -> Vec<(String, u64)> {
        let mut all = self.counts.list(&self.drops);
        all.push(("reassembled".into(), self.fragments.counts().0));
        all.push(("neighbours_untold".into(), self.links.iter().map(|l| l.neighbours.untold()).sum()));
        all.extend(self.firewall.counters());
        all
    }
}
