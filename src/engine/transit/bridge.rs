//! A bump in the wire: frames of one interface go out of the other.
//!
//! ```text
//!  frame ─ header ─┬─ no IP, ARP ─────────────────────────────────────────────▶ as it came
//!                  └─ IP behind at most two tags ─┬─ what the link needs, no rule ▶ as it came
//!                                                 └─ firewall ─┬─ passes ──────▶ as it came, or as edited
//!                                                              ├─ taken in
//!                                                              └─ refused
//! ```
//! With two interfaces there is nothing to learn about who is where: what comes from one side is for the other,
//! frames to the groups that bridges keep to themselves (01-80-C2-00-00-0X: spanning tree, LLDP, pause) among
//! them, for to the network we are a wire. Nothing is ever sent back to where it came from but what the firewall
//! answers in an end's name.

use super::super::drops::{DropReason, Drops};
use super::super::place::Core;
use super::super::settings::TransitSettings;
use super::super::turn::Turn;
use super::{Counts, SIDES, index, link_local, obey};
use crate::buf::Frame;
use crate::firewall::{Action, Along, Emit, Fate, Firewall, Side};
use crate::flow::FlowTable;
use crate::rng::Keyed;
use crate::time::Instant;
use crate::wire::eth::{self, L2, Mac, Tags};
use crate::wire::{build, parse_ip};
use std::sync::Arc;

/// The header that a packet came behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    dst: Mac,
    src: Mac,
    tags: Tags,
}

impl Way {
    /// Its VLANs, as a number.
    fn link(self) -> u32 {
        self.tags.ids().fold(1, |all, id| all << 12 | u32::from(id))
    }

    const fn reverse(self) -> Self {
        Self { dst: self.src, src: self.dst, tags: self.tags }
    }
}

/// The core of a bridge.
pub(in crate::engine) struct Bridge {
    firewall: Firewall<Way>,
    flows: Arc<FlowTable>,
    drops: Drops,
    counts: Counts,
    /// Packets of ours that are to leave.
    emitted: Vec<Emit<Way>>,
    /// What stands behind the packet in its frame.
    trailer: Vec<u8>,
    /// The MTU of each side.
    mtu: [u16; 2],
    /// What no rule is about passes, so what cannot be read does as well.
    open: bool,
}

impl Bridge {
    pub(in crate::engine) fn new(settings: TransitSettings, keyed: Keyed, flows: Arc<FlowTable>) -> Self {
        let open = settings.firewall.filter.default == Action::Allow;
        Self {
            firewall: Firewall::new(settings.firewall, flows.clone(), keyed).with_links(Way::link),
            flows,
            drops: Drops::default(),
            counts: Counts::default(),
            emitted: Vec::new(),
            trailer: Vec::new(),
            mtu: [settings.inside.mtu, settings.outside.mtu],
            open,
        }
    }

    fn frame(&mut self, turn: &mut Turn<'_>, from: Side, frame: Frame) {
        match eth::parse(frame.bytes()) {
            Some(l2) if matches!(l2.ethertype, eth::TYPE_IPV4 | eth::TYPE_IPV6) => {
                self.packet(turn, from, frame, l2);
            }
            Some(_) => self.cross(turn, from, frame),
            None if frame.len() < eth::HEADER => self.drop(turn, from, frame, DropReason::Ethernet),
            // A host that takes so many tags off would get what no rule has seen.
            None if !self.open => self.drop(turn, from, frame, DropReason::HiddenTags),
            None => self.cross(turn, from, frame),
        }
    }

    fn packet(&mut self, turn: &mut Turn<'_>, from: Side, mut frame: Frame, l2: L2) {
        let bytes = frame.bytes();
        let way = Way { dst: eth::dst(bytes), src: eth::src(bytes), tags: eth::tags(bytes, l2) };
        let parsed = parse_ip(&bytes[l2.len..], 0);
        let Some(ip) = parsed.ok().filter(|ip| ip.is_v4() == (l2.ethertype == eth::TYPE_IPV4)) else {
            return match self.open {
                true => self.cross(turn, from, frame),
                false => self.drop(turn, from, frame, DropReason::BadIp),
            };
        };
        let packet = &bytes[l2.len..];
        if link_local::is_needed(packet, &ip) && !self.firewall.is_ruled(from, packet, &ip) {
            return self.cross(turn, from, frame);
        }
        self.trailer.clear();
        self.trailer.extend_from_slice(&bytes[l2.len + ip.end..]);
        frame.pull_front(l2.len);
        frame.truncate(ip.end);
        match self.firewall.packet(turn.now, from, way, &mut frame, &ip, &mut self.emitted) {
            Fate::Forward => {
                // Whatever fills a frame up is the sender's; behind another packet it would mean nothing.
                if frame.len() == ip.end
                    && let Some(room) = frame.grow(self.trailer.len())
                {
                    room.copy_from_slice(&self.trailer);
                }
                match frame.push_front(l2.len) {
                    Some(room) => {
                        eth::emit(room, way.dst, way.src, &way.tags, l2.ethertype);
                        self.cross(turn, from, frame);
                    }
                    None => self.drop(turn, from, frame, DropReason::TooBig),
                }
            }
            Fate::Taken => self.done(turn, from, frame),
            Fate::Refuse(why) => self.drop(turn, from, frame, why.into()),
        }
        self.emit(turn);
    }

    /// Sends a whole frame out of the other interface.
    fn cross(&mut self, turn: &mut Turn<'_>, from: Side, frame: Frame) {
        let to = index(from.other());
        if frame.len() > usize::from(self.mtu[to]) + eth::HEADER + 4 * eth::MAX_TAGS {
            return self.drop(turn, from, frame, DropReason::TooBig);
        }
        match turn.tx.get_mut(to) {
            Some(tx) if tx.slots > 0 => {
                tx.slots -= 1;
                tx.out.push(frame);
                self.counts.forwarded[index(from)] += 1;
            }
            _ => self.drop(turn, from, frame, DropReason::TxFull),
        }
    }

    /// Sends what the firewall made.
    fn emit(&mut self, turn: &mut Turn<'_>) {
        for Emit { to, along, mut packet } in self.emitted.drain(..) {
            let way = match along {
                Along::Same(way) => way,
                Along::Reverse(way) => way.reverse(),
                Along::Routed => {
                    self.drops.count(DropReason::NoWay);
                    continue;
                }
            };
            let (mtu, Some(tx)) = (usize::from(self.mtu[index(to)]), turn.tx.get_mut(index(to))) else {
                continue;
            };
            let kind =
                if packet.first().is_some_and(|b| b >> 4 == 6) { eth::TYPE_IPV6 } else { eth::TYPE_IPV4 };
            loop {
                let rest = build::split_v4(&mut packet, mtu);
                let head = eth::header_len(&way.tags);
                let Some(mut frame) = (tx.slots > 0).then(|| tx.spare.pop()).flatten() else {
                    self.drops.count(DropReason::TxFull);
                    break;
                };
                frame.reset();
                let fits = packet.len() <= mtu;
                match frame.grow(head + packet.len()).filter(|_| fits) {
                    Some(room) => {
                        eth::emit(room, way.dst, way.src, &way.tags, kind);
                        room[head..].copy_from_slice(&packet);
                        tx.slots -= 1;
                        tx.out.push(frame);
                        self.counts.injected += 1;
                    }
                    None => {
                        self.drops.count(DropReason::TooBig);
                        tx.done.push(frame);
                    }
                }
                match rest {
                    Some(rest) => packet = rest,
                    None => break,
                }
            }
        }
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
}

impl Core for Bridge {
    fn turn(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        obey(&mut self.firewall, turn);
        for side in SIDES {
            let Some(burst) = turn.rx.get_mut(index(side)) else { continue };
            let mut burst = std::mem::take(burst);
            for frame in burst.drain() {
                self.frame(turn, side, frame);
            }
            turn.rx[index(side)] = burst;
        }
        if self.firewall.poll_timeout().is_some_and(|due| due.0 <= now) {
            self.firewall.handle_timeout(now, &mut self.emitted);
            self.emit(turn);
        }
        self.firewall.take_events(turn.events);
        self.drops.tell(now, turn.events);
    }

    fn poll_timeout(&self, _: Instant) -> Option<(Instant, &'static str)> {
        self.firewall.poll_timeout()
    }

    fn sessions(&self) -> usize {
        self.firewall.sessions()
    }

    fn busy(&self) -> usize {
        self.firewall.busy()
    }

    fn occupied(&self) -> Vec<(&'static str, usize)> {
        let mut all = self.firewall.occupied();
        all.push(("entries of the flow table", self.flows.len()));
        all
    }

    fn counters(&self) -> Vec<(String, u64)> {
        let mut all = self.counts.list(&self.drops);
        all.extend(self.firewall.counters());
        all
    }
}
