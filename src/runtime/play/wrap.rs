//! Captured packets, made into what a router's redirection would bring us.

use super::sides::Sides;
use crate::config::Side;
use crate::wire::eth::{self, Mac, Tags};
use crate::wire::gre::{self, Redirect};
use crate::wire::{build, parse_ip, proto};
use std::net::Ipv4Addr;

/// The router's MAC address, and every other neighbour's.
pub(super) const ROUTER: Mac = [0x02, 0, 0, 0, 0, 1];
/// The identification of outer packets: a router counts, we need one that is not 0.
const IP_ID: u16 = 0x7467;

/// How packets are redirected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// In GRE with a redirect header of this service group; of the second, if there is one, what servers send.
    Gre { router: Ipv4Addr, us: Ipv4Addr, group: u8, reverse: Option<u8> },
    /// To our MAC address, by a router that redirects by WCCP; it takes back so, or in GRE.
    L2 { back_in_gre: bool },
    /// To our MAC address, by a router's policy, to which we are a hop on the way.
    Policy,
}

/// Why a captured frame is not played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeftOut {
    /// It carries no IP packet.
    NotIp,
    /// The packet is longer than the link takes.
    TooLong,
    /// It is IPv6, and service groups are of IPv4.
    NotRedirected,
}

/// The redirecting router.
#[derive(Debug)]
pub(super) struct Redirection {
    /// Clients are inside.
    pub(super) sides: Sides,
    pub(super) form: Form,
    /// Our MAC address.
    pub(super) mac: Mac,
    /// What stands between MAC addresses and type.
    pub(super) tags: Tags,
    /// Bytes that an IP packet on the link may have.
    pub(super) mtu: usize,
}

impl Redirection {
    /// The frames that bring us the packet of a captured frame.
    ///
    /// # Errors
    /// No router would redirect it so.
    pub(super) fn frames(&self, captured: &[u8]) -> Result<Vec<Vec<u8>>, LeftOut> {
        let packet = ip_packet(captured).ok_or(LeftOut::NotIp)?;
        let kind = if packet.first().is_some_and(|b| b >> 4 == 6) { eth::TYPE_IPV6 } else { eth::TYPE_IPV4 };
        if kind == eth::TYPE_IPV6 && self.form != Form::Policy {
            return Err(LeftOut::NotRedirected);
        }
        let Form::Gre { router, us, group, reverse } = self.form else {
            // What stands behind a packet fills a short frame up.
            let len = parse_ip(packet, 0).map_or(packet.len(), |ip| ip.end);
            return if len > self.mtu { Err(LeftOut::TooLong) } else { Ok(vec![self.frame(kind, packet)]) };
        };
        let is_gre = parse_ip(packet, 0).is_ok_and(|ip| ip.is_v4() && ip.proto == proto::GRE);
        let mut outer = Vec::with_capacity(packet.len() + gre::OVERHEAD);
        if is_gre {
            // Redirected already, by another router to another gateway: it gets our addresses.
            outer.extend(packet);
            readdress(&mut outer, router, us);
        } else {
            outer.resize(gre::OVERHEAD, 0);
            outer.extend(packet);
            let of_server = reverse.filter(|_| self.sides.of_packet(packet) == Side::Outside);
            let group = of_server.unwrap_or(group);
            // A dynamic service, and the bucket does not matter.
            build::gre_v4(&mut outer, router, us, IP_ID, Redirect([0x01, group, 0, 0]));
        }
        let mut frames = Vec::new();
        while let Some(rest) = build::split_v4(&mut outer, self.mtu) {
            frames.push(self.frame(eth::TYPE_IPV4, &outer));
            outer = rest;
        }
        frames.push(self.frame(eth::TYPE_IPV4, &outer));
        Ok(frames)
    }

    fn frame(&self, kind: u16, packet: &[u8]) -> Vec<u8> {
        self.between(self.mac, kind, packet)
    }

    /// A frame from the router to anybody.
    pub(super) fn between(&self, to: Mac, kind: u16, packet: &[u8]) -> Vec<u8> {
        let head = eth::header_len(&self.tags);
        let mut frame = vec![0; head];
        eth::emit(&mut frame, to, ROUTER, &self.tags, kind);
        frame.extend(packet);
        frame
    }

    /// Whether packets go back to the router in GRE.
    pub(super) fn back_in_gre(&self) -> bool {
        matches!(self.form, Form::Gre { .. } | Form::L2 { back_in_gre: true })
    }

    /// What must come out if this captured packet is returned, in the form of [`returned`](Self::returned).
    pub(super) fn awaited(&self, captured: &[u8]) -> Vec<u8> {
        // A captured packet that is in GRE already is played as it is only where GRE is what we expect.
        self.bare(captured, matches!(self.form, Form::Gre { .. }))
    }

    /// What does come out in a frame of ours; empty for what is no returned packet.
    pub(super) fn returned(&self, sent: &[u8]) -> Vec<u8> {
        self.bare(sent, self.back_in_gre())
    }

    fn bare(&self, frame: &[u8], in_gre: bool) -> Vec<u8> {
        let Some(packet) = ip_packet(frame) else { return Vec::new() };
        let inner = match parse_ip(packet, 0) {
            Ok(ip) if in_gre && ip.is_v4() && ip.proto == proto::GRE => {
                match gre::parse(ip.payload(packet)) {
                    Ok((_, head)) => ip.payload(packet).get(head..).unwrap_or_default(),
                    Err(_) => packet,
                }
            }
            _ => packet,
        };
        let Ok(ip) = parse_ip(inner, 0) else { return inner.to_vec() };
        let mut inner = inner.get(..ip.end).unwrap_or_default().to_vec();
        if self.form == Form::Policy {
            // A hop on the way lowers the time to live, and the header's checksum with it.
            if ip.is_v4() {
                inner[8] = 0;
                inner[10..12].fill(0);
            } else {
                inner[7] = 0;
            }
        }
        inner
    }
}

/// The IP packet of a frame, whatever is wrong with it.
fn ip_packet(frame: &[u8]) -> Option<&[u8]> {
    let l2 = eth::parse(frame)?;
    matches!(l2.ethertype, eth::TYPE_IPV4 | eth::TYPE_IPV6).then(|| frame.get(l2.len..)).flatten()
}

/// New addresses for an IPv4 packet.
fn readdress(packet: &mut [u8], src: Ipv4Addr, dst: Ipv4Addr) {
    let header = usize::from(packet.first().map_or(0, |b| b & 0x0F)) * 4;
    if let Some(head) = packet.get_mut(..header).filter(|h| h.len() >= 20) {
        head[12..16].copy_from_slice(&src.octets());
        head[16..20].copy_from_slice(&dst.octets());
        head[10..12].fill(0);
        let sum = crate::wire::checksum::Sum::new().bytes(head).checksum();
        head[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}
