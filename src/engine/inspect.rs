//! Redirected connections that stay between their ends: what is not ours to end goes through a firewall before it goes
//! back to its router, and what the firewall makes goes back the same way.
//!
//! ```text
//!  redirected ─ flow hit, SYN to a proxied service ─▶ session
//!             └ all else ─ which side? ─ firewall ─┬─ passes, perhaps edited ─▶ back as it came
//!                                                  ├─ taken in
//!                                                  └─ refused
//! ```
//! Clients are inside, servers outside. A firewall that stands in line sees by which interface a packet comes; here the
//! service group tells it, or the connection, or its ports.

use super::classify::Arrived;
use super::drops::DropReason;
use super::link::Out;
use super::origin::Origin;
use super::settings::InspectSettings;
use super::state::Redirected;
use super::turn::Turn;
use crate::buf::Frame;
use crate::event::Event;
use crate::firewall::{Along, Emit, Fate, Firewall, Side};
use crate::flow::{self, FlowTable};
use crate::rng::Keyed;
use crate::time::Instant;
use crate::wire::eth::Tags;
use crate::wire::icmp::{self, Icmp};
use crate::wire::{Fragment, IpPacket, parse_ip, proto, tcp};
use std::net::SocketAddr;
use std::sync::Arc;

/// How a packet came, and others of its connection go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    interface: usize,
    origin: Origin,
    tags: Tags,
}

/// Sessions that pass are numbered from here on, beyond those that end here.
const INSPECTED: u64 = 1 << 32;

/// The firewall that redirected packets go through.
pub(super) struct Inspect {
    firewall: Firewall<Way>,
    /// Control ports.
    control: Vec<u16>,
    /// Service groups of what servers send.
    reverse: Vec<u8>,
    emitted: Vec<Emit<Way>>,
    draining: bool,
}

impl Inspect {
    pub(super) fn new(settings: InspectSettings, flows: Arc<FlowTable>, keyed: Keyed) -> Self {
        let services = &settings.firewall.services;
        let control = services.iter().flat_map(|s| s.ports.iter().copied()).collect();
        let mut firewall = Firewall::new(settings.firewall, flows, keyed);
        firewall.number_from(INSPECTED);
        let reverse = settings.reverse;
        Self { firewall, control, reverse, emitted: Vec::new(), draining: false }
    }

    pub(super) fn drain(&mut self) {
        self.draining = true;
        self.firewall.drain();
    }

    pub(super) fn take_events(&mut self, to: &mut Vec<Event>) {
        self.firewall.take_events(to);
    }

    pub(super) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.firewall.poll_timeout()
    }

    pub(super) fn sessions(&self) -> usize {
        self.firewall.sessions()
    }

    pub(super) fn busy(&self) -> usize {
        self.firewall.busy()
    }

    pub(super) fn occupied(&self) -> Vec<(&'static str, usize)> {
        self.firewall.occupied()
    }

    pub(super) fn counters(&self) -> Vec<(String, u64)> {
        self.firewall.counters()
    }

    /// The side that a packet comes from; none if the firewall has nothing to do with it.
    fn side(&self, bytes: &[u8], ip: &IpPacket, origin: Origin) -> Option<Side> {
        let by_group = match origin {
            Origin::Gre { redirect, .. } if self.reverse.contains(&redirect.service()) => Some(Side::Outside),
            Origin::Gre { .. } => Some(Side::Inside),
            Origin::L2 { .. } | Origin::Static { .. } => None,
        };
        match ip.proto {
            // What comes in pieces is told by its group, or by its addresses being those of a session.
            proto::TCP if ip.fragment != Fragment::None => {
                by_group.or_else(|| self.firewall.side_of_hosts(ip.src, ip.dst))
            }
            proto::TCP => {
                let seg = tcp::parse(bytes, ip)?;
                if self.draining && seg.is_first() && self.control.contains(&seg.dst.port()) {
                    return None;
                }
                Some(self.of_segment(seg.src, seg.dst, by_group))
            }
            proto::ICMP | proto::ICMPV6 => match icmp::parse(bytes, ip)? {
                // An error goes to who sent what it quotes.
                Icmp::TcpError { src, dst, .. } => Some(self.of_segment(src, dst, None).other()),
                _ => None,
            },
            _ => None,
        }
    }

    fn of_segment(&self, src: SocketAddr, dst: SocketAddr, by_group: Option<Side>) -> Side {
        if self.control.contains(&dst.port()) {
            Side::Inside
        } else if self.control.contains(&src.port()) {
            Side::Outside
        } else {
            // What is of no connection and between no ends of a session is nobody's: any side will do.
            by_group.or_else(|| self.firewall.side_of(src, dst)).unwrap_or(Side::Inside)
        }
    }
}

impl Redirected {
    /// Has the firewall look at a redirected packet that is not ours. Gives it back if it is to go on.
    pub(super) fn inspect(&mut self, turn: &mut Turn<'_>, mut a: Arrived, ip: &IpPacket) -> Option<Arrived> {
        let (Some(inspect), Some(origin)) = (&mut self.inspect, a.origin) else { return Some(a) };
        let Some(side) = inspect.side(a.frame.bytes(), ip, origin) else { return Some(a) };
        // What will not reach its end is not to be believed.
        if matches!(origin, Origin::Static { .. }) && ip.ttl(a.frame.bytes()) <= 1 {
            return Some(a);
        }
        if self.link.guard.is_ours(turn.now, a.frame.bytes()) {
            self.drop(turn, a.interface, a.frame, DropReason::Loop);
            return None;
        }
        let owner = flow::owner(ip.src, ip.dst, self.owner_salt, usize::from(self.workers)) as u16;
        if owner != self.worker {
            self.hand_over(turn, a, owner);
            return None;
        }
        let way = Way { interface: a.interface, origin, tags: a.tags };
        match inspect.firewall.packet(turn.now, side, way, &mut a.frame, ip, &mut inspect.emitted) {
            Fate::Forward => return Some(a),
            Fate::Taken => self.done(turn, a.interface, a.frame),
            Fate::Refuse(why) => self.drop(turn, a.interface, a.frame, why.into()),
        }
        None
    }

    /// Does what is due of inspected connections.
    pub(super) fn inspect_timeout(&mut self, turn: &mut Turn<'_>) {
        if let Some(i) = &mut self.inspect
            && i.firewall.poll_timeout().is_some_and(|due| due.0 <= turn.now)
        {
            i.firewall.handle_timeout(turn.now, &mut i.emitted);
        }
        self.inspect_emits(turn);
    }

    /// Sends what the firewall made: as packets of the same direction came, else by its address.
    pub(super) fn inspect_emits(&mut self, turn: &mut Turn<'_>) {
        let Some(inspect) = &mut self.inspect else { return };
        let mut emitted = std::mem::take(&mut inspect.emitted);
        for Emit { along, packet, .. } in emitted.drain(..) {
            let way = match along {
                Along::Same(way) => Some(way),
                Along::Reverse(_) | Along::Routed => None,
            };
            let interface = way.map_or(0, |w| w.interface);
            let Some(frame) = self.frame_of(turn, interface, &packet) else { continue };
            match way {
                Some(Way { interface, origin, tags }) => {
                    self.send_back(turn, Arrived { interface, origin: Some(origin), tags, frame });
                }
                None => {
                    let (Some(tx), Ok(ip)) = (turn.tx.get_mut(interface), parse_ip(frame.bytes(), 0)) else {
                        continue;
                    };
                    self.link.guard.sent(turn.now, frame.bytes());
                    Out { now: turn.now, link: &mut self.link, tx, drops: &mut self.drops }.ip(frame, ip.dst);
                }
            }
        }
        if let Some(inspect) = &mut self.inspect {
            inspect.emitted = emitted;
        }
    }

    /// A frame of the interface's with this packet.
    fn frame_of(&mut self, turn: &mut Turn<'_>, interface: usize, packet: &[u8]) -> Option<Frame> {
        let tx = turn.tx.get_mut(interface)?;
        let mut out = Out { now: turn.now, link: &mut self.link, tx, drops: &mut self.drops };
        let Some(mut frame) = out.spare() else {
            out.drops.count(DropReason::TxFull);
            return None;
        };
        if !frame.set(packet) {
            out.drop(frame, DropReason::TooBig);
            return None;
        }
        Some(frame)
    }
}
