//! What is for ourselves, ICMP apart: WCCP, and what we send of our own.

use super::drops::DropReason;
use super::handoff::Item;
use super::link::Out;
use super::state::Engine;
use super::turn::Turn;
use crate::buf::Frame;
use crate::rng::Purpose;
use crate::wccp;
use crate::wire::{IpPacket, build, proto, udp};
use std::net::{IpAddr, Ipv4Addr};

impl Engine {
    /// A UDP packet to our address, its checksum right.
    pub(super) fn udp(&mut self, turn: &mut Turn<'_>, interface: usize, frame: Frame, ip: &IpPacket) {
        let datagram = udp::parse(frame.bytes(), ip);
        match (datagram, ip.src, &mut self.wccp) {
            (None, ..) => self.drops.count(DropReason::BadTransport),
            (Some(d), IpAddr::V4(from), Some(w)) if d.dst_port == wccp::PORT => {
                w.handle_datagram(turn.now, from, &frame.bytes()[d.payload..d.end], turn.events);
                self.tell_routers(turn);
            }
            (Some(d), IpAddr::V4(_), None) if d.dst_port == wccp::PORT => {
                let tags = self.link.tags;
                return self.hand_frame(turn, interface, frame, &tags, 0);
            }
            _ => self.drops.count(DropReason::Unhandled),
        }
        if let Some(tx) = turn.tx.get_mut(interface) {
            tx.done.push(frame);
        }
    }

    /// Learns what the groups know of their routers, and tells the other workers where that is news.
    pub(super) fn tell_routers(&mut self, turn: &mut Turn<'_>) {
        let Some(w) = &self.wccp else { return };
        self.routers.refresh(w, |router| {
            for to in 1..self.workers {
                turn.handoff_out.push((to, Item::Router(router)));
            }
        });
    }

    pub(super) fn send_wccp(&mut self, turn: &mut Turn<'_>) {
        let Some(tx) = turn.tx.first_mut() else { return };
        let mut out = Out { now: turn.now, link: &mut self.link, tx, drops: &mut self.drops };
        while let Some(t) = self.wccp.as_mut().and_then(wccp::Client::poll_transmit) {
            let Some(own) = out.link.settings.v4.map(|n| n.address) else { break };
            let id = ip_id(&self.keyed, t.to, &mut self.ip_id);
            let Some(mut frame) = out.spare() else {
                out.drops.count(DropReason::TxFull);
                continue;
            };
            match frame.grow(build::UDP_V4 + t.payload.len()) {
                Some(room) => {
                    room[build::UDP_V4..].copy_from_slice(&t.payload);
                    build::udp_v4(room, (own, wccp::PORT), (t.to, wccp::PORT), id);
                    out.ip(frame, t.to.into());
                }
                None => out.drop(frame, DropReason::TooBig),
            }
        }
    }
}

/// The next identification of a packet that may be fragmented; never 0, and different each time, for
/// routers take two datagrams with one identification for one.
pub(super) fn ip_id(keyed: &crate::rng::Keyed, to: Ipv4Addr, ordinal: &mut u64) -> u16 {
    *ordinal += 1;
    let start = keyed.value(Purpose::IpId, &to.octets(), 0) as u16;
    match start.wrapping_add(*ordinal as u16) {
        0 => {
            *ordinal += 1;
            1
        }
        id => id,
    }
}

/// Whether the packet carries something that is read here.
pub(super) fn is_local(protocol: u8) -> bool {
    matches!(protocol, proto::ICMP | proto::ICMPV6 | proto::UDP)
}
