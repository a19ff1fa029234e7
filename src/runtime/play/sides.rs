//! Which of a capture's hosts stand inside, and which outside.

use crate::config::Cidr;
use crate::config::Side;
use crate::io::pcap::Reader;
use crate::wire::eth::{self, Mac};
use crate::wire::{IpPacket, parse_ip, proto, tcp};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

/// The most hosts, and MAC addresses, that are told apart; more are taken for such as are seen for the first time.
const KNOWN: usize = 65_536;

/// What is known of the hosts.
#[derive(Debug, Default)]
pub(super) struct Sides {
    /// Networks that the user names; then nothing is guessed.
    inside: Vec<Cidr>,
    hosts: BTreeMap<IpAddr, Side>,
    macs: BTreeMap<Mac, Side>,
    control: Vec<u16>,
    /// Connections of hosts with themselves: (host, from port, to port) of what comes from inside.
    loops: BTreeSet<(IpAddr, u16, u16)>,
}

impl Sides {
    /// By the networks that are named to be inside; without any, by who sends the first SYN to a control port, and for
    /// what was begun before the capture, by who sends to one.
    pub(super) fn of(capture: &Path, inside: &[Cidr], control: &[u16]) -> Self {
        let mut sides = Self { inside: inside.to_vec(), control: control.to_vec(), ..Self::default() };
        if !inside.is_empty() {
            return sides;
        }
        for syns in [true, false] {
            // What is damaged is told when it is played.
            let records = Reader::open(capture).into_iter().flatten().map_while(Result::ok);
            for record in records {
                let Some(packet) = record.link.packet(&record.data) else { continue };
                if let Some((client, server)) = asks(packet.payload, control, syns) {
                    sides.meet(client, server);
                }
            }
        }
        sides
    }

    /// The side that a packet of a host to itself comes from: the client is inside. Who opens a connection other than to
    /// a control port is the client, but from the port that servers open data connections from.
    fn of_loop(&mut self, packet: &[u8], ip: &IpPacket) -> Side {
        let Some(seg) = tcp::parse(packet, ip) else { return Side::Inside };
        let (from, to) = (seg.src.port(), seg.dst.port());
        let (there, back) = ((ip.src, from, to), (ip.src, to, from));
        if self.control.contains(&to) || self.loops.contains(&there) {
            return Side::Inside;
        }
        if self.control.contains(&from) || self.loops.contains(&back) {
            return Side::Outside;
        }
        let by_server = self.control.iter().any(|c| from.checked_add(1) == Some(*c));
        if self.loops.len() < KNOWN {
            self.loops.insert(if by_server { back } else { there });
        }
        if by_server { Side::Outside } else { Side::Inside }
    }

    /// A client and its server. What one of them was before, it stays.
    fn meet(&mut self, client: IpAddr, server: IpAddr) {
        if client == server {
            return;
        }
        let (client_side, server_side) = match (self.hosts.get(&client), self.hosts.get(&server)) {
            (None, None) => (Side::Inside, Side::Outside),
            (Some(client), None) => (*client, other(*client)),
            (None, Some(server)) => (other(*server), *server),
            (Some(_), Some(_)) => return,
        };
        if self.hosts.len() < KNOWN {
            self.hosts.insert(client, client_side);
            self.hosts.insert(server, server_side);
        }
    }

    /// The side that a frame comes from. A host that nothing is known of is where its MAC address was seen, or else
    /// across from whom it sends to.
    pub(super) fn of_frame(&mut self, frame: &[u8]) -> Side {
        let Some(l2) = eth::parse(frame) else { return self.of_mac(frame) };
        let packet = frame.get(l2.len..).unwrap_or_default();
        let ip = match l2.ethertype {
            eth::TYPE_IPV4 | eth::TYPE_IPV6 => parse_ip(packet, 0).ok(),
            _ => None,
        };
        let Some(ip) = ip else { return self.of_mac(frame) };
        let (src, dst) = (ip.src, ip.dst);
        if src == dst && self.inside.is_empty() {
            return self.of_loop(packet, &ip);
        }
        let side = self.of_host(src).or_else(|| self.of_host(dst).map(other));
        let side = side.unwrap_or_else(|| self.of_mac(frame));
        if self.macs.len() < KNOWN {
            self.macs.insert(eth::src(frame), side);
        }
        side
    }

    /// The side that a packet comes from.
    pub(super) fn of_packet(&self, packet: &[u8]) -> Side {
        let ends = parse_ip(packet, 0).ok().map(|ip| (ip.src, ip.dst));
        let side = ends.and_then(|(src, dst)| self.of_host(src).or_else(|| self.of_host(dst).map(other)));
        side.unwrap_or(Side::Inside)
    }

    fn of_host(&self, host: IpAddr) -> Option<Side> {
        if self.inside.is_empty() {
            return self.hosts.get(&host).copied();
        }
        let within = self.inside.iter().any(|n| n.contains(host));
        Some(if within { Side::Inside } else { Side::Outside })
    }

    fn of_mac(&self, frame: &[u8]) -> Side {
        let known = |at: usize| {
            let mac: Mac = frame.get(at..at + 6)?.try_into().ok()?;
            self.macs.get(&mac).copied()
        };
        known(6).or_else(|| known(0).map(other)).unwrap_or(Side::Inside)
    }
}

/// Client and server of a segment to a control port; with `syns` only of what begins a connection.
fn asks(packet: &[u8], control: &[u16], syns: bool) -> Option<(IpAddr, IpAddr)> {
    // Behind tags, if there are any.
    let tags = (0..=2).map(|n| n * 4);
    let (packet, ip) =
        tags.filter_map(|at| packet.get(at..)).find_map(|p| Some((p, parse_ip(p, 0).ok()?)))?;
    let segment = |ip: &IpPacket| tcp::parse(packet, ip);
    let seg = Some(&ip).filter(|ip| ip.proto == proto::TCP).and_then(segment)?;
    let asks = control.contains(&seg.dst.port()) && !control.contains(&seg.src.port());
    (asks && (seg.is_first() || !syns)).then_some((ip.src, ip.dst))
}

/// The other side.
pub(super) const fn other(side: Side) -> Side {
    match side {
        Side::Inside => Side::Outside,
        Side::Outside => Side::Inside,
    }
}
