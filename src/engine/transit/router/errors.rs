//! ICMP errors of a router (RFC 1812 4.3, RFC 4443).

use super::super::super::drops::DropReason;
use super::super::super::errors::deserves_error;
use super::super::super::turn::Turn;
use super::super::index;
use super::Router;
use crate::buf::Frame;
use crate::firewall::{Fate, Side};
use crate::wire::{IpPacket, icmp, parse_ip};

/// Type and code, the four bytes of the type's own, and why.
pub(super) type Error = ((u8, u8), [u8; 4], DropReason);

/// What stands against sending a packet that came on to a link that takes packets of `mtu` bytes.
pub(super) fn about(packet: &[u8], ip: &IpPacket, mtu: u16) -> Option<Error> {
    if ip.ttl(packet) <= 1 {
        let kind = if ip.is_v4() { icmp::TIME_EXCEEDED_V4 } else { icmp::TIME_EXCEEDED_V6 };
        return Some((kind, [0; 4], DropReason::TtlExceeded));
    }
    let whole = !ip.is_v4() || ip.dont_fragment(packet);
    if ip.end - ip.start <= usize::from(mtu) || !whole {
        return None;
    }
    let kind = if ip.is_v4() { icmp::TOO_BIG_V4 } else { icmp::TOO_BIG_V6 };
    let [a, b] = mtu.to_be_bytes();
    Some((kind, [0, 0, a, b], DropReason::TooBig))
}

impl Router {
    /// Sends an error about `packet`, which is as it came, to who sent it; none where none is allowed.
    pub(super) fn error(
        &mut self,
        turn: &mut Turn<'_>,
        to: Side,
        kind: (u8, u8),
        rest: [u8; 4],
        packet: &[u8],
        ip: &IpPacket,
    ) {
        let Some(own) = self.links[index(to)].settings.own().for_peer(ip.src) else { return };
        if !deserves_error(packet, ip) || !self.errors.may(turn.now) {
            return;
        }
        if let Some(error) = icmp::error(own, ip.src, kind, rest, packet) {
            self.send(turn, to, &error);
        }
    }

    /// A packet could not leave by `side`, for no neighbour answers.
    pub(super) fn unreachable(&mut self, turn: &mut Turn<'_>, side: Side, packet: &[u8]) {
        let six = packet.first().is_some_and(|b| b >> 4 == 6);
        let kind = if six { icmp::NO_HOST_V6 } else { icmp::NO_HOST_V4 };
        self.behind(turn, side, packet, kind, [0; 4]);
    }

    /// A packet that the firewall let through is too long for `side`.
    pub(super) fn too_long(&mut self, turn: &mut Turn<'_>, side: Side, packet: &[u8]) {
        let six = packet.first().is_some_and(|b| b >> 4 == 6);
        let [a, b] = self.links[index(side)].settings.mtu.to_be_bytes();
        let kind = if six { icmp::TOO_BIG_V6 } else { icmp::TOO_BIG_V4 };
        self.behind(turn, side, packet, kind, [0, 0, a, b]);
    }

    /// Tells the sender of a packet that has passed the firewall what became of it. It may have been translated, so
    /// that is told as by a router behind us: through the firewall, which knows what it was.
    fn behind(&mut self, turn: &mut Turn<'_>, side: Side, packet: &[u8], kind: (u8, u8), rest: [u8; 4]) {
        let Ok(ip) = parse_ip(packet, 0) else { return };
        let Some(own) = self.links[index(side)].settings.own().for_peer(ip.src) else { return };
        // What we sent ourselves nobody else has to know.
        if self.is_ours(ip.src) && !self.is_shared(ip.src)
            || !deserves_error(packet, &ip)
            || !self.errors.may(turn.now)
        {
            return;
        }
        let Some(mut frame) =
            icmp::error(own, ip.src, kind, rest, packet).as_deref().and_then(Frame::from_bytes)
        else {
            return;
        };
        let Ok(ip) = parse_ip(frame.bytes(), 0) else { return };
        let fate = self.firewall.packet(turn.now, side, (), &mut frame, &ip, &mut self.emitted);
        let packet = frame.bytes().to_vec();
        let ours = self.destination(&frame).is_none_or(|dst| self.is_ours(dst));
        if fate == Fate::Forward && !ours {
            self.send(turn, side.other(), &packet);
        }
        // What answers an error is an error of a session's, and short.
        self.emit(turn);
    }
}
