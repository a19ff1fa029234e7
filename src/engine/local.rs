//! What is for ourselves, ICMP apart: WCCP, and what we send of our own.

use super::classify::Arrived;
use super::drops::DropReason;
use super::handoff::Item;
use super::link::Out;
use super::state::Redirected;
use super::turn::Turn;
use crate::rng::Purpose;
use crate::wccp;
use crate::wire::{IpPacket, build, parse_ip, proto, udp};
use std::net::{IpAddr, Ipv4Addr};

/// The longest packet to us that is put together, in bytes: 32 caches and 128 values under a mask take 5.3 KB.
pub(super) const LONGEST_DATAGRAM: usize = 8192;

impl Redirected {
    /// A UDP packet to our address, its checksum right.
    pub(super) fn udp(&mut self, turn: &mut Turn<'_>, a: Arrived, ip: &IpPacket) {
        let datagram = udp::parse(a.frame.bytes(), ip);
        match (datagram, ip.src, &mut self.wccp) {
            (None, ..) => self.drops.count(DropReason::BadTransport),
            (Some(d), IpAddr::V4(from), Some(w)) if d.dst_port == wccp::PORT => {
                w.handle_datagram(turn.now, from, &a.frame.bytes()[d.payload..d.end], turn.events);
                self.tell_routers(turn);
            }
            (Some(d), IpAddr::V4(_), None) if d.dst_port == wccp::PORT && self.worker != 0 => {
                return self.hand_over(turn, a, 0);
            }
            _ => self.drops.count(DropReason::Unhandled),
        }
        self.done(turn, a.interface, a.frame);
    }

    /// Takes a packet to us that came in pieces and that no frame holds: only an I_SEE_YOU is that long, of a
    /// group with many caches, or shared out by mask.
    pub(super) fn long_datagram(&mut self, turn: &mut Turn<'_>, interface: usize, whole: Vec<u8>) {
        let parsed = parse_ip(&whole, 0).ok().filter(|ip| ip.proto == proto::UDP);
        let datagram =
            parsed.and_then(|ip| Some((ip.src, udp::parse(&whole, &ip)?, ip.transport_checksum_ok(&whole))));
        match (datagram, &mut self.wccp) {
            (Some((IpAddr::V4(from), d, true)), Some(w)) if d.dst_port == wccp::PORT => {
                w.handle_datagram(turn.now, from, &whole[d.payload..d.end], turn.events);
                self.tell_routers(turn);
            }
            (Some((IpAddr::V4(_), d, true)), None) if d.dst_port == wccp::PORT && self.worker != 0 => {
                let item = Item::Packet { interface, origin: None, tags: self.link.tags, packet: whole };
                turn.handoff_out.push((0, item));
            }
            _ => self.drops.count(DropReason::OuterFragment),
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
            let mut packet = vec![0; build::UDP_V4];
            packet.extend_from_slice(&t.payload);
            build::udp_v4(&mut packet, (own, wccp::PORT), (t.to, wccp::PORT), id);
            let mtu = usize::from(out.link.settings.mtu);
            let mut left = Some(packet);
            // An assignment by mask with many values or routers is longer than a frame.
            while let Some(mut piece) = left {
                left = build::split_v4(&mut piece, mtu);
                let Some(mut frame) = out.spare() else {
                    out.drops.count(DropReason::TxFull);
                    break;
                };
                if frame.set(&piece) {
                    out.ip(frame, t.to.into());
                } else {
                    out.drop(frame, DropReason::TooBig);
                }
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
