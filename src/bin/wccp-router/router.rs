//! The router: one frame in, any number of frames out. No clock and no socket in here.

use crate::arp::{BROADCAST, Lookup, Mac, Message, Neighbours};
use crate::frag::{Reassembly, fragment};
use crate::gre::{self, encapsulation};
use crate::outbox::Batch;
use crate::packet::{
    ETH_LEN, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ipv4, PROTO_GRE, PROTO_ICMP, PROTO_UDP, be16,
    checksum, decrement_ttl, ethertype, icmp, ipv4_header, udp_header,
};
use crate::policy::{Policies, Prefix, Seen};
use crate::wccp::assign::{PacketKey, contains};
use crate::wccp::codec::PORT;
use crate::wccp::{Datagram, Redirection, Wccp};
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tidegate::time::{Duration, Instant};

/// ICMP errors that may be sent in a second.
const ICMP_PER_SECOND: u32 = 100;

/// What the engine knows of a leg.
#[derive(Debug, Clone)]
pub struct LegConf {
    /// Interface name.
    pub name: String,
    /// The interface's MAC address.
    pub mac: Mac,
    /// The router's address there.
    pub address: Ipv4Addr,
    /// Length of the network's prefix in bits.
    pub prefix: u8,
    /// The router's IPv6 address there and the length of its prefix in bits.
    pub v6: Option<(Ipv6Addr, u8)>,
    /// MTU in bytes.
    pub mtu: usize,
    /// Never redirect what enters here.
    pub exclude_in: bool,
}

impl LegConf {
    fn network_has(&self, addr: IpAddr) -> bool {
        match addr {
            IpAddr::V4(addr) => contains((self.address, self.prefix), addr),
            IpAddr::V6(_) => self.v6.is_some_and(|(own, len)| Prefix { addr: own.into(), len }.has(addr)),
        }
    }
}

/// What is done with an encapsulated packet that is longer than the gateway leg's MTU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oversize {
    /// The outer packet is cut.
    Fragment,
    /// The inner packet's sender is told to send shorter ones, if it forbade cutting.
    Icmp,
}

/// What was forwarded and what was not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Packets forwarded to where they were addressed.
    pub forwarded: u64,
    /// Packets redirected to a cache.
    pub redirected: u64,
    /// Packets given to the next hop of a policy.
    pub policy_routed: u64,
    /// Packets that a cache gave back, forwarded.
    pub returned: u64,
    /// Packets that entered on a leg that is excluded from redirection and were forwarded.
    pub excluded: u64,
    /// Outer packets that had to be cut.
    pub fragmented: u64,
    /// Frames that are no whole IP or ARP, or for another MAC address.
    pub drop_not_ours: u64,
    /// IP headers that are wrong.
    pub drop_malformed: u64,
    /// No leg leads there.
    pub drop_no_route: u64,
    /// Time to live or hop limit used up.
    pub drop_ttl: u64,
    /// Longer than the MTU and not to be cut.
    pub drop_too_big: u64,
    /// The neighbour does not answer ARP or neighbour discovery.
    pub drop_no_neighbour: u64,
    /// For the router itself, and nothing that it does.
    pub drop_local: u64,
    /// GRE that is not WCCP's, or not from a cache.
    pub drop_gre: u64,
}

/// The engine.
pub struct Router {
    legs: Vec<LegConf>,
    neighbours: Vec<Neighbours>,
    /// The service groups.
    pub wccp: Wccp,
    /// The policy rules.
    pub policies: Policies,
    /// Networks that are not on a leg, and the neighbour behind whom they are; the first that fits.
    pub routes: Vec<(Prefix, IpAddr)>,
    /// Counters.
    pub counters: Counters,
    oversize: Oversize,
    reassembly: Reassembly,
    ident: u16,
    icmp_left: u32,
    icmp_refill: Instant,
}

impl Router {
    /// A router with these legs and groups.
    pub fn new(legs: Vec<LegConf>, wccp: Wccp, oversize: Oversize) -> Self {
        let neighbours = legs.iter().map(|_| Neighbours::default()).collect();
        Self {
            legs,
            neighbours,
            wccp,
            policies: Policies::default(),
            routes: vec![],
            counters: Counters::default(),
            oversize,
            reassembly: Reassembly::default(),
            ident: 0,
            icmp_left: ICMP_PER_SECOND,
            icmp_refill: Instant::ZERO,
        }
    }

    /// The legs.
    pub fn legs(&self) -> &[LegConf] {
        &self.legs
    }

    /// Takes a frame that came in on leg number `leg`; `out` has one batch for each leg.
    pub fn handle_frame(&mut self, leg: usize, frame: &mut [u8], now: Instant, out: &mut [Batch]) {
        let Some((head, body)) = frame.split_first_chunk_mut::<ETH_LEN>() else {
            self.counters.drop_not_ours += 1;
            return;
        };
        let ours = head[..6] == self.legs[leg].mac;
        match be16(head, 12) {
            ETHERTYPE_ARP if ours || head[..6] == BROADCAST => self.handle_arp(leg, body, now, out),
            ETHERTYPE_IPV4 if ours => self.handle_ipv4(leg, body, now, out),
            ETHERTYPE_IPV6 if ours || head[..2] == [0x33, 0x33] => self.handle_ipv6(leg, body, now, out),
            _ => self.counters.drop_not_ours += 1,
        }
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut [Batch]) {
        if now >= self.icmp_refill {
            self.icmp_left = ICMP_PER_SECOND;
            self.icmp_refill = now + Duration::from_secs(1);
        }
        for leg in 0..self.legs.len() {
            let due = self.neighbours[leg].tick(now);
            for addr in due.ask {
                self.ask(leg, addr, out);
            }
            for packet in due.failed {
                self.counters.drop_no_neighbour += 1;
                self.send_error(&packet, (3, 1, 0), now, out);
                self.send_error6(&packet, (1, 3, 0), now, out);
            }
        }
        for hop in self.policies.due(now) {
            if let Some(leg) = self.route(hop) {
                self.ask(leg, hop, out);
            }
        }
        for datagram in self.wccp.handle_timeout(now) {
            self.send_datagram(&datagram, now, out);
        }
    }

    fn handle_arp(&mut self, leg: usize, body: &[u8], now: Instant, out: &mut [Batch]) {
        let Some(m) = Message::parse(body) else {
            self.counters.drop_not_ours += 1;
            return;
        };
        let conf = &self.legs[leg];
        let for_us = m.target.1 == conf.address;
        if !conf.network_has(m.sender.1.into()) || m.sender.1 == conf.address {
            return;
        }
        if for_us && m.request {
            let reply = Message { request: false, sender: (conf.mac, conf.address), target: m.sender };
            out[leg].push(&[&reply.frame(m.sender.0)]);
        }
        self.learn(leg, m.sender.1.into(), m.sender.0, for_us, now, out);
    }

    /// Notes where a neighbour is, and sends what waited for it. Strangers are noted only if `create`.
    fn learn(&mut self, leg: usize, addr: IpAddr, mac: Mac, create: bool, now: Instant, out: &mut [Batch]) {
        self.policies.heard(addr, now);
        for packet in self.neighbours[leg].learn(addr, mac, create, now) {
            self.emit(leg, mac, &[&packet], out);
        }
    }

    fn handle_ipv4(&mut self, leg: usize, packet: &mut [u8], now: Instant, out: &mut [Batch]) {
        let Some(ip) = Ipv4::parse(packet) else {
            self.counters.drop_malformed += 1;
            return;
        };
        let packet = &mut packet[..ip.total];
        if !self.legs.iter().any(|l| l.address == ip.dst) {
            return self.forward(leg, packet, &ip, now, out);
        }
        if !ip.is_fragment() {
            return self.handle_local(packet, &ip, now, out);
        }
        if let Some(whole) = self.reassembly.push(packet, &ip, now)
            && let Some(ip) = Ipv4::parse(&whole)
        {
            self.handle_local(&whole, &ip, now, out);
        }
    }

    fn handle_local(&mut self, packet: &[u8], ip: &Ipv4, now: Instant, out: &mut [Batch]) {
        let payload = &packet[ip.header..ip.total];
        match ip.proto {
            PROTO_ICMP if payload.len() >= 8 && payload[0] == 8 && checksum(&[payload]) == 0 => {
                let word = u32::from_be_bytes([payload[4], payload[5], payload[6], payload[7]]);
                self.send_own(ip.dst, ip.src, PROTO_ICMP, &[&icmp(0, 0, word, &payload[8..])], now, out);
            }
            PROTO_UDP if be16(payload, 2) == PORT => {
                let len = usize::from(be16(payload, 4));
                let Some(message) = payload.get(8..len) else {
                    self.counters.drop_malformed += 1;
                    return;
                };
                if let Some(answer) = self.wccp.handle_datagram(message, ip.src, ip.dst, now) {
                    self.send_datagram(&answer, now, out);
                }
            }
            PROTO_GRE => self.handle_return(payload, ip.src, now, out),
            _ => self.counters.drop_local += 1,
        }
    }

    fn handle_return(&mut self, gre: &[u8], cache: Ipv4Addr, now: Instant, out: &mut [Batch]) {
        let Ok((header, inner, ip)) = gre::decapsulate(gre) else {
            self.counters.drop_gre += 1;
            return;
        };
        if !self.wccp.returned(cache, header) {
            self.counters.drop_gre += 1;
            return;
        }
        self.counters.returned += 1;
        // The time to live was lowered when the packet was redirected.
        match self.route(ip.dst.into()) {
            Some(leg) => self.send(leg, ip.dst.into(), &[inner], now, out),
            None => self.counters.drop_no_route += 1,
        }
    }

    fn forward(&mut self, in_leg: usize, packet: &mut [u8], ip: &Ipv4, now: Instant, out: &mut [Batch]) {
        if ip.ttl <= 1 {
            self.counters.drop_ttl += 1;
            return self.send_error(packet, (11, 0, 0), now, out);
        }
        let Some(out_leg) = self.route(ip.dst.into()) else {
            self.counters.drop_no_route += 1;
            return self.send_error(packet, (3, 0, 0), now, out);
        };
        let excluded = self.legs[in_leg].exclude_in;
        if !excluded {
            let key = PacketKey { proto: ip.proto, src: ip.src, dst: ip.dst, ports: ip.ports(packet) };
            if let Some(to) = self.wccp.redirect(&key, in_leg, out_leg, packet.len()) {
                return self.redirect(&to, packet, ip, now, out);
            }
        }
        let hop = self.policy(in_leg, ip.proto, (ip.src.into(), ip.dst.into()), ip.ports(packet), now);
        let (out_leg, next) = hop.unwrap_or((out_leg, ip.dst.into()));
        let mtu = self.legs[out_leg].mtu;
        if packet.len() > mtu && ip.dont_fragment() {
            self.counters.drop_too_big += 1;
            return self.send_error(packet, (3, 4, mtu as u32), now, out);
        }
        decrement_ttl(packet);
        self.count_forwarded(hop.is_some(), excluded);
        self.send(out_leg, next, &[packet], now, out);
    }

    /// The leg and next hop that a policy has for a packet. What entered on an excluded leg has none.
    fn policy(
        &mut self,
        in_leg: usize,
        proto: u8,
        (src, dst): (IpAddr, IpAddr),
        ports: Option<(u16, u16)>,
        now: Instant,
    ) -> Option<(usize, IpAddr)> {
        if self.legs[in_leg].exclude_in {
            return None;
        }
        let hop = self.policies.next_hop(&Seen { proto, src, dst, ports }, in_leg, now)?;
        Some((self.route(hop)?, hop))
    }

    fn count_forwarded(&mut self, by_policy: bool, excluded: bool) {
        self.counters.policy_routed += u64::from(by_policy);
        self.counters.forwarded += u64::from(!by_policy);
        self.counters.excluded += u64::from(excluded);
    }

    fn redirect(&mut self, to: &Redirection, packet: &mut [u8], ip: &Ipv4, now: Instant, out: &mut [Batch]) {
        let cache = IpAddr::from(to.cache);
        let Some(leg) = self.route(cache) else {
            self.counters.drop_no_route += 1;
            return;
        };
        let mtu = self.legs[leg].mtu;
        let too_big = packet.len() + gre::OVERHEAD > mtu;
        if !to.l2 && too_big && ip.dont_fragment() && self.oversize == Oversize::Icmp {
            self.counters.drop_too_big += 1;
            return self.send_error(packet, (3, 4, (mtu - gre::OVERHEAD) as u32), now, out);
        }
        decrement_ttl(packet);
        self.counters.redirected += 1;
        if to.l2 {
            return self.send(leg, cache, &[packet], now, out);
        }
        let id = self.next_ident();
        let source = self.legs[leg].address;
        let head = encapsulation(source, to.cache, packet.len(), id, packet[1], to.header);
        self.send(leg, cache, &[&head, packet], now, out);
    }

    /// The leg that leads to `addr`.
    fn route(&self, addr: IpAddr) -> Option<usize> {
        let next = self.neighbour(addr);
        self.legs.iter().position(|l| l.network_has(next))
    }

    /// `addr` itself if it is on the network of a leg, or the neighbour behind whom it is.
    fn neighbour(&self, addr: IpAddr) -> IpAddr {
        if self.legs.iter().any(|l| l.network_has(addr)) {
            return addr;
        }
        self.routes.iter().find(|(network, _)| network.has(addr)).map_or(addr, |(_, via)| *via)
    }

    /// Sends a packet, laid out in `parts`, to a neighbour or toward one behind it; cuts it if it is too long and may
    /// be cut.
    fn send(&mut self, leg: usize, to: IpAddr, parts: &[&[u8]], now: Instant, out: &mut [Batch]) {
        let next = self.neighbour(to);
        let mac = match self.neighbours[leg].lookup(next, now) {
            Lookup::Known(mac) => mac,
            Lookup::Stale(mac) => {
                self.ask(leg, next, out);
                mac
            }
            Lookup::Unknown { ask } => {
                self.neighbours[leg].hold(next, parts.concat());
                if ask {
                    self.ask(leg, next, out);
                }
                return;
            }
            Lookup::Full => {
                self.counters.drop_no_neighbour += 1;
                return;
            }
        };
        self.emit(leg, mac, parts, out);
    }

    fn emit(&mut self, leg: usize, mac: Mac, parts: &[&[u8]], out: &mut [Batch]) {
        let conf = &self.legs[leg];
        let mut head = [0u8; ETH_LEN];
        head[..6].copy_from_slice(&mac);
        head[6..12].copy_from_slice(&conf.mac);
        head[12..].copy_from_slice(&ethertype(parts.first().copied().unwrap_or_default()));
        let total: usize = parts.iter().map(|p| p.len()).sum();
        if total > conf.mtu {
            self.counters.fragmented += 1;
            let whole = parts.concat();
            if let Some(ip) = Ipv4::parse(&whole) {
                fragment(&whole, &ip, conf.mtu, |piece| out[leg].push(&[&head, piece]));
            }
            return;
        }
        match parts {
            [one] => out[leg].push(&[&head, one]),
            [one, two] => out[leg].push(&[&head, one, two]),
            _ => out[leg].push(&[&head, &parts.concat()]),
        }
    }

    fn ask(&mut self, leg: usize, addr: IpAddr, out: &mut [Batch]) {
        let addr = match addr {
            IpAddr::V4(addr) => addr,
            IpAddr::V6(addr) => return self.solicit(leg, addr, out),
        };
        let conf = &self.legs[leg];
        let m = Message { request: true, sender: (conf.mac, conf.address), target: ([0; 6], addr) };
        out[leg].push(&[&m.frame(BROADCAST)]);
    }

    fn send_own(
        &mut self,
        src: Ipv4Addr,
        dst: Ipv4Addr,
        proto: u8,
        parts: &[&[u8]],
        now: Instant,
        out: &mut [Batch],
    ) {
        let Some(leg) = self.route(dst.into()) else { return };
        let payload = parts.concat();
        let id = self.next_ident();
        let head = ipv4_header(src, dst, proto, payload.len(), id, 64, 0);
        self.send(leg, dst.into(), &[&head, &payload], now, out);
    }

    fn send_datagram(&mut self, d: &Datagram, now: Instant, out: &mut [Batch]) {
        let head = udp_header(d.from, d.to, (PORT, PORT), &d.bytes);
        self.send_own(d.from, d.to, PROTO_UDP, &[&head, &d.bytes], now, out);
    }

    /// Tells the sender of `packet` what happened to it: (type, code, second word); RFC 1122 3.2.2.
    fn send_error(&mut self, packet: &[u8], what: (u8, u8, u32), now: Instant, out: &mut [Batch]) {
        let Some(ip) = Ipv4::parse(packet) else { return };
        let silent = ip.frag_offset() != 0
            || ip.src.is_unspecified()
            || ip.src.is_multicast()
            || ip.src.is_broadcast()
            || (ip.proto == PROTO_ICMP && !matches!(packet.get(ip.header), Some(0 | 8)));
        if silent || self.icmp_left == 0 {
            return;
        }
        let Some(leg) = self.route(ip.src.into()) else { return };
        self.icmp_left -= 1;
        let quote = &packet[..ip.total.min(ip.header + 8)];
        let message = icmp(what.0, what.1, what.2, quote);
        self.send_own(self.legs[leg].address, ip.src, PROTO_ICMP, &[&message], now, out);
    }

    /// Never zero: some routers take a second packet with identification 0 for a duplicate.
    fn next_ident(&mut self) -> u16 {
        self.ident = self.ident.wrapping_add(1).max(1);
        self.ident
    }
}

// The paths are written out because tests/mem takes this file in by path, too.
#[path = "router/v6.rs"]
mod v6;

#[cfg(test)]
#[path = "router/tests.rs"]
mod tests;
