//! IPv6 in the router: forwarding, neighbour discovery, ping, error messages.

use super::{Batch, Instant, IpAddr, Ipv6Addr, Router};
use crate::arp::Mac;
use crate::ipv6::{
    Discovery, Ipv6, PROTO_ICMPV6, decrement_hops, icmp6, pseudo_checksum, quote, solicited_node,
};
use crate::packet::ethertype;

impl Router {
    pub(super) fn handle_ipv6(&mut self, leg: usize, packet: &mut [u8], now: Instant, out: &mut [Batch]) {
        let Some(ip) = Ipv6::parse(packet) else {
            self.counters.drop_malformed += 1;
            return;
        };
        let packet = &mut packet[..ip.total];
        let own = |l: &super::LegConf| l.v6.is_some_and(|(addr, _)| addr == ip.dst);
        if ip.dst.is_multicast() || self.legs.iter().any(own) {
            return self.handle_local6(leg, packet, &ip, now, out);
        }
        self.forward6(leg, packet, &ip, now, out);
    }

    /// Asks who has `addr`.
    pub(super) fn solicit(&mut self, leg: usize, addr: Ipv6Addr, out: &mut [Batch]) {
        let Some((own, _)) = self.legs[leg].v6 else { return };
        let (group, group_mac) = solicited_node(addr);
        let m = Discovery { solicitation: true, target: addr, mac: Some(self.legs[leg].mac) };
        self.push6(leg, group_mac, &m.packet(own, group), out);
    }

    /// Tells the sender of `packet`, if that is IPv6, what happened to it: (type, code, second word);
    /// RFC 4443 2.4.
    pub(super) fn send_error6(
        &mut self,
        packet: &[u8],
        what: (u8, u8, u32),
        now: Instant,
        out: &mut [Batch],
    ) {
        let Some(ip) = Ipv6::parse(packet) else { return };
        let error = ip.proto == PROTO_ICMPV6 && packet.get(ip.header).is_none_or(|kind| *kind < 128);
        let silent = error || ip.src.is_unspecified() || ip.src.is_multicast() || ip.dst.is_multicast();
        if silent || self.icmp_left == 0 {
            return;
        }
        let Some((leg, own)) = self.route(ip.src.into()).and_then(|l| Some((l, self.legs[l].v6?.0))) else {
            return;
        };
        self.icmp_left -= 1;
        let message = icmp6(own, ip.src, what, quote(&packet[..ip.total]), 64);
        self.send(leg, ip.src.into(), &[&message], now, out);
    }

    fn handle_local6(&mut self, leg: usize, packet: &[u8], ip: &Ipv6, now: Instant, out: &mut [Batch]) {
        let payload = &packet[ip.header..ip.total];
        match payload.first() {
            Some(135 | 136) if ip.proto == PROTO_ICMPV6 => {
                if let Some(m) = Discovery::parse(packet, ip) {
                    self.handle_discovery(leg, &m, ip, now, out);
                }
            }
            Some(128) if ip.proto == PROTO_ICMPV6 && payload.len() >= 8 && !ip.dst.is_multicast() => {
                if pseudo_checksum(ip.src, ip.dst, PROTO_ICMPV6, payload) != 0 {
                    self.counters.drop_malformed += 1;
                    return;
                }
                let word = u32::from_be_bytes([payload[4], payload[5], payload[6], payload[7]]);
                let answer = icmp6(ip.dst, ip.src, (129, 0, word), &payload[8..], 64);
                if let Some(leg) = self.route(ip.src.into()) {
                    self.send(leg, ip.src.into(), &[&answer], now, out);
                }
            }
            _ => self.counters.drop_local += 1,
        }
    }

    fn handle_discovery(&mut self, leg: usize, m: &Discovery, ip: &Ipv6, now: Instant, out: &mut [Batch]) {
        let Some((own, _)) = self.legs[leg].v6 else { return };
        if !m.solicitation {
            if let Some(mac) = m.mac.filter(|_| m.target != own) {
                self.learn(leg, m.target.into(), mac, false, now, out);
            }
            return;
        }
        // One that only checks whether we are still there need not say where its sender is (RFC 4861 4.3).
        let asked = m.target == own && !ip.src.is_unspecified() && ip.src != own;
        let Some(mac) = m.mac.or_else(|| self.neighbours[leg].mac_of(ip.src.into())).filter(|_| asked) else {
            return;
        };
        let answer = Discovery { solicitation: false, target: own, mac: Some(self.legs[leg].mac) };
        self.push6(leg, mac, &answer.packet(own, ip.src), out);
        self.learn(leg, ip.src.into(), mac, true, now, out);
    }

    fn forward6(&mut self, in_leg: usize, packet: &mut [u8], ip: &Ipv6, now: Instant, out: &mut [Batch]) {
        if ip.hops <= 1 {
            self.counters.drop_ttl += 1;
            return self.send_error6(packet, (3, 0, 0), now, out);
        }
        let Some(out_leg) = self.route(ip.dst.into()) else {
            self.counters.drop_no_route += 1;
            return self.send_error6(packet, (1, 0, 0), now, out);
        };
        let hop = self.policy(in_leg, ip.proto, (ip.src.into(), ip.dst.into()), ip.ports(packet), now);
        let (out_leg, next) = hop.unwrap_or((out_leg, IpAddr::V6(ip.dst)));
        let mtu = self.legs[out_leg].mtu;
        if packet.len() > mtu {
            self.counters.drop_too_big += 1;
            return self.send_error6(packet, (2, 0, mtu as u32), now, out);
        }
        decrement_hops(packet);
        self.count_forwarded(hop.is_some(), self.legs[in_leg].exclude_in);
        self.send(out_leg, next, &[packet], now, out);
    }

    fn push6(&mut self, leg: usize, to: Mac, packet: &[u8], out: &mut [Batch]) {
        out[leg].push(&[&to, &self.legs[leg].mac, &ethertype(packet), packet]);
    }
}
