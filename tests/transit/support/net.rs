//! Hosts inside and outside, and a worker between them, on one virtual clock.

use super::check;
use super::host::Host;
use super::options::{BEYOND, BEYOND6, INSIDE_MAC, OUTSIDE_MAC, Options, engine};
use super::server::{FtpServer, ServerConf};
use etherparse::{NetSlice, SlicedPacket};
use std::net::{IpAddr, Ipv4Addr};
use tidegate::buf::MAX_FRAME;
use tidegate::event::{Event, What};
use tidegate::io::mem::{self, MemHandle, MemPort};
use tidegate::record::Recorder;
use tidegate::time::{Duration, Instant};
use tidegate::wire::{nd, parse_ip};
use tidegate::worker::{Idle, Worker};

pub(crate) const IN: usize = 0;
pub(crate) const OUT: usize = 1;

/// A host on one side.
pub(crate) struct Node {
    pub(crate) host: Host,
    pub(crate) side: usize,
    pub(crate) mac: [u8; 6],
    pub(crate) server: Option<FtpServer>,
}

/// A frame on the wire of a side: whether the engine sent it, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) side: usize,
    pub(crate) sent: bool,
    pub(crate) frame: Vec<u8>,
}

type Loss = Box<dyn FnMut(&Seen) -> bool>;

pub(crate) struct Network {
    pub(crate) now: Instant,
    pub(crate) worker: Worker<MemPort>,
    pub(crate) wires: [MemHandle; 2],
    pub(crate) nodes: Vec<Node>,
    pub(crate) events: Vec<Event>,
    pub(crate) seen: Vec<Seen>,
    /// Whether a frame gets lost.
    pub(crate) loss: Option<Loss>,
    bridge: bool,
    /// Hosts' frames get these tags.
    pub(crate) tags: Vec<u8>,
    pub(crate) turns: usize,
    /// After so many turns the worker has none for three seconds, while everybody else goes on.
    pub(crate) still_after: usize,
    pub(crate) still_until: Instant,
}

impl Network {
    /// A network with an inside client and an outside server: nodes 0 and 1.
    pub(crate) fn new(o: &Options) -> Self {
        let mut n = Self::empty(o);
        let server = if o.bridge { super::options::BRIDGED } else { super::options::ROUTED };
        n.add(IN, super::options::CLIENT, None);
        n.add(OUT, server, Some(ServerConf::default()));
        n
    }

    pub(crate) fn empty(o: &Options) -> Self {
        let (inside, a) = mem::pair("inside0", INSIDE_MAC, o.room);
        let (outside, b) = mem::pair("outside0", OUTSIDE_MAC, o.room);
        let worker = Worker::new(engine(o), vec![Box::new(inside), Box::new(outside)], Idle::Spin);
        Self {
            now: Instant::from_millis(1000),
            worker,
            wires: [a, b],
            nodes: vec![],
            events: vec![],
            seen: vec![],
            loss: None,
            bridge: o.bridge,
            tags: vec![],
            turns: 0,
            still_after: usize::MAX,
            still_until: Instant::ZERO,
        }
    }

    pub(crate) fn record(&mut self, recorder: Recorder) {
        self.worker.record(recorder);
    }

    pub(crate) fn add(&mut self, side: usize, address: Ipv4Addr, server: Option<ServerConf>) -> usize {
        let n = self.nodes.len() as u8;
        let host = Host::new(address, side, 100 + u64::from(n));
        let server = server.map(FtpServer::new);
        self.nodes.push(Node { host, side, mac: [2, 0, 0, 0, side as u8, 10 + n], server });
        self.nodes.len() - 1
    }

    /// Puts a frame on a side's wire, toward the engine.
    pub(crate) fn push(&mut self, side: usize, frame: &[u8]) {
        let seen = Seen { side, sent: false, frame: frame.to_vec() };
        if self.loss.as_mut().is_some_and(|loss| loss(&seen)) {
            return;
        }
        assert!(self.wires[side].push(frame) && frame.len() <= MAX_FRAME);
        self.seen.push(seen);
    }

    /// Puts a frame on a side's wire and gives what the engine sends at once, by side.
    pub(crate) fn exchange(&mut self, side: usize, frame: &[u8]) -> [Vec<Vec<u8>>; 2] {
        self.push(side, frame);
        self.turn();
        [IN, OUT].map(|side| self.taken(side))
    }

    /// A turn of the worker, unless it stands still.
    pub(crate) fn turn(&mut self) -> bool {
        if self.turns == self.still_after {
            self.still_until = self.now + Duration::from_secs(3);
        }
        self.turns += 1;
        if self.now < self.still_until {
            return false;
        }
        let events = &mut self.events;
        self.worker.step(self.now, &[], &mut |e| events.push(e)).unwrap()
    }

    fn taken(&mut self, side: usize) -> Vec<Vec<u8>> {
        let frames: Vec<Vec<u8>> = std::iter::from_fn(|| self.wires[side].take()).collect();
        for frame in &frames {
            check::frame(frame);
            self.seen.push(Seen { side, sent: true, frame: frame.clone() });
        }
        frames
    }

    /// One round; false if nothing moved.
    pub(crate) fn step(&mut self) -> bool {
        let mut moved = false;
        for i in 0..self.nodes.len() {
            let node = &mut self.nodes[i];
            node.host.poll(self.now);
            if let Some(server) = &mut node.server {
                moved |= server.step(&mut node.host);
                node.host.poll(self.now);
            }
            while let Some(packet) = self.nodes[i].host.wire.tx.pop_front() {
                moved = true;
                if let Some(frame) = self.framed(i, &packet) {
                    self.push(self.nodes[i].side, &frame);
                }
            }
        }
        moved |= self.turn();
        for side in [IN, OUT] {
            for frame in self.taken(side) {
                moved = true;
                let seen = Seen { side, sent: true, frame };
                if self.loss.as_mut().is_none_or(|loss| !loss(&seen)) {
                    self.deliver(side, &seen.frame);
                }
            }
        }
        moved
    }

    /// A host's packet in a frame: to the router, or to whom it is for beyond a bridge.
    fn framed(&self, node: usize, packet: &[u8]) -> Option<Vec<u8>> {
        let n = &self.nodes[node];
        let to = match self.bridge {
            false => [INSIDE_MAC, OUTSIDE_MAC][n.side],
            true => {
                let dst = parse_ip(packet, 0).unwrap().dst;
                self.nodes.iter().find(|n| n.host.has(dst))?.mac
            }
        };
        Some(super::craft::frame(to, n.mac, &self.tags, packet))
    }

    /// Gives a frame of the engine's to whom it is for; asks are answered.
    fn deliver(&mut self, side: usize, frame: &[u8]) {
        if frame[12..14] == [8, 6] {
            return self.answer_arp(side, frame);
        }
        let Some(packet) = check::ip_of(frame) else { return };
        let mac = |n: &Node| n.side == side && n.mac[..] == frame[..6];
        let Some(node) = self.nodes.iter_mut().find(|n| mac(n)) else {
            return self.answer_nd(side, packet);
        };
        node.host.wire.rx.push_back(packet.to_vec());
    }

    fn answer_arp(&mut self, side: usize, frame: &[u8]) {
        let target = Ipv4Addr::from(<[u8; 4]>::try_from(&frame[38..42]).unwrap());
        if frame[20..22] != [0, 1] || frame[28..32] == frame[38..42] {
            return;
        }
        let Some(mac) = self.mac_of(side, target.into()) else { return };
        let head = [&frame[6..12], &mac, &[8, 6], &[0, 1, 8, 0, 6, 4, 0, 2], &mac, &target.octets()].concat();
        let reply = [&head[..], &frame[22..32]].concat();
        self.push(side, &reply);
    }

    fn answer_nd(&mut self, side: usize, packet: &[u8]) {
        let Ok(ip) = parse_ip(packet, 0) else { return };
        let Some(nd::Nd::Solicit { target, from, mac: Some(asker) }) = nd::parse(packet, &ip) else { return };
        if let Some(mac) = self.mac_of(side, target.into()) {
            let advert = nd::advert(mac, target, from, true);
            self.push(side, &super::craft::frame(asker, mac, &[], &advert));
        }
    }

    fn mac_of(&self, side: usize, a: IpAddr) -> Option<[u8; 6]> {
        let beyond = side == OUT && (a == IpAddr::V4(BEYOND) || a == IpAddr::V6(BEYOND6));
        let node = || self.nodes.iter().find(|n| n.side == side && n.host.has(a)).map(|n| n.mac);
        if beyond { Some([2, 0, 0, 0, 1, 0xFE]) } else { node() }
    }

    /// Goes on until `done`, or panics when `seconds` have passed.
    pub(crate) fn until(&mut self, seconds: u64, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now + Duration::from_secs(seconds);
        while !done(self) {
            let last: Vec<_> =
                if self.now < end { Vec::new() } else { self.seen.iter().rev().take(40).collect() };
            let shown = last.iter().rev().map(|s| {
                format!("{} {} {}\n", s.side, if s.sent { "<-" } else { "->" }, check::show(&s.frame))
            });
            let shown: String = shown.collect();
            assert!(self.now < end, "nothing came of it; events: {:#?}\n{shown}", self.events);
            self.pass(end);
        }
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.pass(end);
        }
    }

    fn pass(&mut self, end: Instant) {
        if self.step() {
            // A little for everybody's way.
            self.now += Duration::from_micros(50);
            return;
        }
        let now = self.now;
        let hosts = self.nodes.iter_mut().filter_map(|n| n.host.due(now)).min();
        let engine = self.worker.engine().poll_timeout(now).map(|t| t.0);
        let engine = if now < self.still_until { Some(self.still_until) } else { engine };
        let next = [hosts, engine].into_iter().flatten().min().unwrap_or(end);
        self.now = next.max(now + Duration::from_micros(100)).min(end.max(now + Duration::from_micros(100)));
    }

    pub(crate) fn counter(&self, name: &str) -> u64 {
        let counters = self.worker.engine().counters();
        let found = counters.iter().find(|c| c.0 == name);
        found.unwrap_or_else(|| panic!("no counter {name} in {counters:?}")).1
    }

    /// Events of a kind, as they are written.
    pub(crate) fn told(&self, kind: &str) -> Vec<String> {
        let lines = self.events.iter().map(|e| format!("{:?}", e.what));
        lines.filter(|l| l.starts_with(kind)).collect()
    }

    pub(crate) fn warnings(&self) -> Vec<&What> {
        self.events.iter().map(|e| &e.what).filter(|w| matches!(w, What::Warning { .. })).collect()
    }

    /// TCP payload that the engine sent on a side or got from it, from a source port or to it.
    pub(crate) fn payload(&self, side: usize, sent: bool, port: u16) -> Vec<u8> {
        let mut all = Vec::new();
        for s in self.seen.iter().filter(|s| s.side == side && s.sent == sent) {
            let Some(packet) = check::ip_of(&s.frame) else { continue };
            let Ok(p) = SlicedPacket::from_ip(packet) else { continue };
            if let Some(etherparse::TransportSlice::Tcp(t)) = p.transport
                && (t.destination_port() == port || t.source_port() == port)
            {
                all.extend_from_slice(t.payload());
            }
        }
        all
    }

    /// SYNs without ACK that the engine sent on a side: source and destination ports, addresses.
    pub(crate) fn syns(&self, side: usize, sent: bool) -> Vec<(IpAddr, u16, IpAddr, u16)> {
        let mut all = Vec::new();
        for s in self.seen.iter().filter(|s| s.side == side && s.sent == sent) {
            let Some(packet) = check::ip_of(&s.frame) else { continue };
            let Ok(p) = SlicedPacket::from_ip(packet) else { continue };
            let (src, dst): (IpAddr, IpAddr) = match &p.net {
                Some(NetSlice::Ipv4(v)) => {
                    (v.header().source_addr().into(), v.header().destination_addr().into())
                }
                Some(NetSlice::Ipv6(v)) => {
                    (v.header().source_addr().into(), v.header().destination_addr().into())
                }
                _ => continue,
            };
            if let Some(etherparse::TransportSlice::Tcp(t)) = p.transport
                && t.syn()
                && !t.ack()
            {
                all.push((src, t.source_port(), dst, t.destination_port()));
            }
        }
        all
    }
}
