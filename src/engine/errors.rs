//! ICMP errors of our own: where we are a hop, or know that a packet cannot pass.

use super::classify::Arrived;
use super::drops::DropReason;
use super::link::Out;
use super::state::Redirected;
use super::turn::Turn;
use crate::tcp::Outlet as _;
use crate::wire::{Fragment, IpPacket, icmp, proto};

impl Redirected {
    /// Drops a packet whose time to live is used up here, and tells who sent it; the packet is as it came.
    pub(super) fn expired(&mut self, turn: &mut Turn<'_>, a: Arrived, ip: &IpPacket) {
        let kind = if ip.is_v4() { icmp::TIME_EXCEEDED_V4 } else { icmp::TIME_EXCEEDED_V6 };
        self.error(turn, a.interface, kind, [0; 4], a.frame.bytes(), ip);
        self.drop(turn, a.interface, a.frame, DropReason::TtlExceeded);
    }

    /// Sends an error about `packet`, which is as it came, to who sent it; none where none is allowed.
    pub(super) fn error(
        &mut self,
        turn: &mut Turn<'_>,
        interface: usize,
        kind: (u8, u8),
        rest: [u8; 4],
        packet: &[u8],
        ip: &IpPacket,
    ) {
        let Some(own) = self.link.settings.own().for_peer(ip.src) else { return };
        if !deserves_error(packet, ip) || !self.errors.may(turn.now) {
            return;
        }
        let Some(error) = icmp::error(own, ip.src, kind, rest, packet) else { return };
        let Some(tx) = turn.tx.get_mut(interface) else { return };
        Out { now: turn.now, link: &mut self.link, tx, drops: &mut self.drops }.send(error.len(), &mut |b| {
            b.copy_from_slice(&error);
            true
        });
    }
}

/// What no error is sent about (RFC 1812 4.3.2.7, RFC 4443 2.4): other errors, later fragments, and what no
/// single host sent.
pub(super) fn deserves_error(packet: &[u8], ip: &IpPacket) -> bool {
    let kind = ip.payload(packet).first().copied();
    let error = match ip.proto {
        proto::ICMP => !matches!(kind, Some(0 | 8)),
        proto::ICMPV6 => kind.is_none_or(|k| k < 128),
        _ => false,
    };
    let host = !(ip.src.is_multicast() || ip.src.is_unspecified() || ip.src.is_loopback());
    !error && host && ip.fragment != Fragment::Later
}
