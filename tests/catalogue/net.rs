//! Hosts around a firewall, and a network between them that cuts, swaps, doubles and loses.

use crate::host::{Host, Manner};
use crate::packet::{Packet, Pieces};
use crate::path::Paths;
use crate::setup::Setup;
use crate::support::{ACK, FIN, Faults, RST, Rng, SYN, Seg};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use tidegate::buf::Frame;
use tidegate::event::Event;
use tidegate::firewall::{Fate, Firewall, Side};
use tidegate::flow::FlowTable;
use tidegate::rng::Keyed;
use tidegate::time::Instant;
use tidegate::wire;

/// One control connection: its two hosts and the addresses that they know.
pub(crate) struct Conn {
    pub(crate) client: Host,
    pub(crate) server: Host,
    pub(crate) sides: [Side; 2],
    /// Client and server as the client knows them.
    pub(crate) near: [SocketAddr; 2],
    /// Client and server as the server knows them.
    pub(crate) far: [SocketAddr; 2],
    swapped: [Option<Seg>; 2],
    /// What the test has looked at of what client and server got.
    pub(crate) seen: [usize; 2],
}

enum Flight {
    /// To the firewall, from this side.
    Packet(Side, Vec<u8>),
    /// To a host of this connection.
    Host(usize, bool, Seg),
}

pub(crate) struct Net {
    pub(crate) fw: Firewall<()>,
    /// Milliseconds.
    pub(crate) now: u64,
    pub(crate) conns: Vec<Conn>,
    /// The connection that the short forms are about.
    pub(crate) on: usize,
    /// What came out and is for no host, in order.
    pub(crate) stray: Vec<(Side, Vec<u8>)>,
    /// What the firewall told of.
    pub(crate) log: Vec<serde_json::Value>,
    /// Nothing reaches clients, servers any more; what would have is kept here.
    pub(crate) cut: [bool; 2],
    pub(crate) lost: Vec<Seg>,
    pub(crate) faults: Faults,
    /// What the links carry.
    pub(crate) paths: Paths,
    rng: Rng,
    queue: VecDeque<(u64, Flight)>,
    ids: u16,
    pieces: Pieces,
    tells: bool,
}

impl Net {
    /// A firewall with one control connection through it, its handshake done.
    pub(crate) fn new(setup: &Setup) -> Self {
        let mut net = Self::empty(setup);
        let manners = (setup.client_manner.clone(), setup.server_manner.clone());
        assert!(net.open((Side::Inside, setup.client), (Side::Outside, setup.server), manners));
        net
    }

    /// A firewall.
    pub(crate) fn empty(setup: &Setup) -> Self {
        let flows = Arc::new(FlowTable::new(4096, 1024, 1));
        Self {
            fw: Firewall::new(setup.settings.clone(), flows, Keyed::new([3; 16])),
            now: 1000,
            conns: Vec::new(),
            on: 0,
            stray: Vec::new(),
            log: Vec::new(),
            cut: [false; 2],
            lost: Vec::new(),
            faults: setup.faults,
            paths: Paths::default(),
            rng: Rng(setup.seed),
            queue: VecDeque::new(),
            ids: 0,
            pieces: Pieces::default(),
            tells: std::env::var_os("TG_NET_TRACE").is_some(),
        }
    }

    /// One more control connection, which the short forms are about from now on; whether its handshake passed.
    pub(crate) fn open(
        &mut self,
        (inside, client): (Side, SocketAddr),
        (outside, server): (Side, SocketAddr),
        (cm, sm): (Manner, Manner),
    ) -> bool {
        let (cm_scaled, sm_scaled) = (cm.clone(), sm.clone());
        let chost = Host::new("client", cm.clone(), sm.clone(), Vec::new(), self.rng.next());
        let shost = Host::new("server", sm, cm, Vec::new(), self.rng.next());
        let (syn, mut answer) = (chost.syn(), shost.syn());
        let out = self.give(inside, &Packet::new(client, server, syn.clone()));
        let [(side, there)] = &out[..] else { return false };
        assert_eq!((*side, &there.seg), (outside, &syn), "the SYN");
        let far = [there.src, there.dst];
        answer.ack = syn.seq.wrapping_add(1);
        answer.flags |= ACK;
        let out = self.give(outside, &Packet::new(far[1], far[0], answer.clone()));
        assert_eq!(
            out,
            [(inside, Packet { ttl: out[0].1.ttl, ..Packet::new(server, client, answer.clone()) })]
        );
        let third = Seg {
            seq: answer.ack,
            ack: answer.seq.wrapping_add(1),
            flags: ACK,
            window: first_window(&cm_scaled, &sm_scaled),
            // Timestamps, where both have them.
            options: stamps(&syn, &answer),
            ..Seg::default()
        };
        let out = self.give(inside, &Packet::new(client, server, third));
        assert_eq!(out.len(), 1, "the third segment");
        let mut conn = Conn {
            client: chost,
            server: shost,
            sides: [inside, outside],
            near: [client, server],
            far,
            swapped: [None, None],
            seen: [0, 0],
        };
        (conn.client.closes, conn.server.closes) = (false, false);
        self.on = self.conns.len();
        self.conns.push(conn);
        true
    }

    /// The client's control address, as the server knows it.
    pub(crate) fn client_outside(&self) -> SocketAddr {
        self.far().0
    }

    /// Client and server, as the client knows them.
    pub(crate) fn near(&self) -> (SocketAddr, SocketAddr) {
        let c = &self.conns[self.on];
        (c.near[0], c.near[1])
    }

    /// Client and server, as the server knows them.
    pub(crate) fn far(&self) -> (SocketAddr, SocketAddr) {
        let c = &self.conns[self.on];
        (c.far[0], c.far[1])
    }

    /// Puts a segment into the firewall at once, and gives what comes out at once for nobody of the hosts.
    pub(crate) fn give(&mut self, side: Side, packet: &Packet) -> Vec<(Side, Packet)> {
        self.ids = self.ids.wrapping_add(1);
        let bytes = packet.build(self.ids);
        self.raw(side, &bytes)
            .into_iter()
            .filter_map(|(side, bytes)| Some((side, Packet::parse(&bytes)?)))
            .collect()
    }

    /// Likewise with bytes.
    pub(crate) fn raw(&mut self, side: Side, bytes: &[u8]) -> Vec<(Side, Vec<u8>)> {
        let before = self.stray.len();
        self.through(side, bytes);
        self.stray.split_off(before)
    }

    fn through(&mut self, side: Side, bytes: &[u8]) {
        let mut frame = Frame::from_bytes(bytes).expect("longer than a frame");
        let Ok(ip) = wire::parse_ip(frame.bytes(), 0) else { return };
        let mut out = Vec::new();
        let now = Instant::from_millis(self.now);
        let fate = self.fw.packet(now, side, (), &mut frame, &ip, &mut out);
        self.say(|| format!("{side:?} {} fate {fate:?}, {} besides", shown(bytes), out.len()));
        if fate == Fate::Forward {
            let bytes = frame.bytes().to_vec();
            self.leaves(side.other(), bytes);
        }
        for emit in out {
            self.leaves(emit.to, emit.packet);
        }
    }

    /// A packet that came out at this side.
    fn leaves(&mut self, side: Side, bytes: Vec<u8>) {
        if let Some(error) = self.paths.refuses(side, &bytes) {
            self.say(|| format!("    → {side:?} {} (too big)", shown(&bytes)));
            return self.through(side, &error);
        }
        let Some(bytes) = self.pieces.take(&bytes) else { return };
        let Some(p) = Packet::parse(&bytes) else {
            if !self.hears(side, &bytes) {
                self.stray.push((side, bytes));
            }
            return;
        };
        for i in 0..self.conns.len() {
            let c = &self.conns[i];
            let to_server = side == c.sides[1] && p.src == c.far[0] && p.dst == c.far[1];
            let to_client = side == c.sides[0] && p.src == c.near[1] && p.dst == c.near[0];
            if (to_server || to_client) && p.seg.flags & SYN == 0 {
                self.say(|| format!("    → {side:?} {}", shown(&bytes)));
                if self.cut[usize::from(to_server)] {
                    return self.lost.push(p.seg);
                }
                return self.put(|seg| Flight::Host(i, to_server, seg), p.seg);
            }
        }
        self.say(|| format!("    → {side:?} {} (nobody's)", shown(&bytes)));
        self.stray.push((side, bytes));
    }

    fn put(&mut self, what: impl Fn(Seg) -> Flight, seg: Seg) {
        let bad = self.now < self.faults.until;
        if bad && self.rng.chance(self.faults.loss) {
            return;
        }
        if bad && self.rng.chance(self.faults.duplicate) {
            let late = if self.faults.reorder > 0 { self.rng.below(40) } else { 0 };
            self.push(self.now + 2 + late, what(seg.clone()));
        }
        let late = if bad && self.rng.chance(self.faults.reorder) { self.rng.below(60) } else { 0 };
        self.push(self.now + 2 + late, what(seg));
    }

    fn push(&mut self, at: u64, flight: Flight) {
        let place = self.queue.partition_point(|f| f.0 <= at);
        self.queue.insert(place, (at, flight));
    }

    /// A host's segment goes on its way to the firewall.
    fn send(&mut self, i: usize, to_server: bool, seg: Seg) {
        let side = usize::from(to_server);
        if !self.faults.swap {
            return self.carry(i, to_server, seg);
        }
        match self.conns[i].swapped[side].take() {
            None => self.conns[i].swapped[side] = Some(seg),
            Some(first) => {
                self.carry(i, to_server, seg);
                self.carry(i, to_server, first);
            }
        }
    }

    fn carry(&mut self, i: usize, to_server: bool, seg: Seg) {
        let c = &self.conns[i];
        let (side, src, dst) =
            if to_server { (c.sides[0], c.near[0], c.near[1]) } else { (c.sides[1], c.far[1], c.far[0]) };
        self.ids = self.ids.wrapping_add(1);
        let id = self.ids;
        self.put(|seg| Flight::Packet(side, Packet::new(src, dst, seg).build(id)), seg);
    }

    fn flush(&mut self) {
        for i in 0..self.conns.len() {
            for side in [0, 1] {
                if let Some(seg) = self.conns[i].swapped[side].take() {
                    self.carry(i, side == 1, seg);
                }
            }
        }
    }

    /// All that happens now; then the clock goes on, to `limit` at most.
    pub(crate) fn step(&mut self, limit: u64) {
        self.turn();
        self.advance(limit);
    }

    fn turn(&mut self) {
        for i in 0..self.conns.len() {
            for to_server in [true, false] {
                let now = self.now;
                for seg in self.host(i, !to_server).poll(now) {
                    self.send(i, to_server, seg);
                }
            }
        }
        self.flush();
        while self.queue.front().is_some_and(|f| f.0 <= self.now) {
            match self.queue.pop_front().unwrap().1 {
                Flight::Packet(side, bytes) => self.through(side, &bytes),
                Flight::Host(i, is_server, seg) => {
                    let now = self.now;
                    let host = self.host(i, is_server);
                    if host.reset {
                        continue;
                    }
                    if let Some(answer) = host.take(now, &seg) {
                        self.send(i, !is_server, answer);
                    }
                }
            }
        }
        self.flush();
        self.due();
    }

    fn advance(&mut self, limit: u64) {
        let hosts = self.conns.iter().flat_map(|c| [c.client.deadline(), c.server.deadline()]).flatten();
        let due = self.fw.poll_timeout().map(|t| t.0.as_millis().max(self.now + 1));
        let next = hosts.chain(self.queue.front().map(|f| f.0)).chain(due).min().unwrap_or(limit);
        // Hosts that acknowledge in part think again every 10 ms.
        let partial = self.conns.iter().any(|c| c.client.manner.partial || c.server.manner.partial);
        let most = if partial { self.now + 10 } else { limit };
        self.now = next.max(self.now + 1).min(most.max(self.now + 1)).min(limit.max(self.now + 1));
    }

    fn due(&mut self) {
        let now = Instant::from_millis(self.now);
        if self.fw.poll_timeout().is_some_and(|t| t.0 <= now) {
            let mut out = Vec::new();
            self.fw.handle_timeout(now, &mut out);
            for emit in out {
                self.leaves(emit.to, emit.packet);
            }
            let again = self.fw.poll_timeout();
            assert!(again.is_none_or(|t| t.0 > now), "a deadline that stays: {again:?}");
        }
    }

    pub(crate) fn host(&mut self, i: usize, server: bool) -> &mut Host {
        let c = &mut self.conns[i];
        if server { &mut c.server } else { &mut c.client }
    }

    /// Nothing is on its way, and every host's bytes are acknowledged.
    pub(crate) fn is_quiet(&self) -> bool {
        self.queue.is_empty()
            && self.conns.iter().all(|c| [&c.client, &c.server].iter().all(|h| h.reset || h.is_done()))
    }

    /// Runs until nothing happens any more, two seconds at most.
    pub(crate) fn settle(&mut self) {
        let limit = self.now + 2000;
        self.turn();
        while !self.is_quiet() && self.now < limit {
            self.advance(limit);
            self.turn();
        }
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, millis: u64) {
        let limit = self.now + millis;
        while self.now < limit {
            self.step(limit);
        }
        self.turn();
    }

    /// Told with `TG_NET_TRACE` set only.
    #[allow(clippy::print_stderr, reason = "asked for")]
    fn say(&self, text: impl Fn() -> String) {
        if self.tells {
            eprintln!("{:6} {}", self.now, text());
        }
    }

    /// Events so far, as programs read them.
    pub(crate) fn events(&mut self) -> &[serde_json::Value] {
        let mut events: Vec<Event> = Vec::new();
        self.fw.take_events(&mut events);
        self.log.extend(events.iter().map(|e| serde_json::to_value(&e.what).unwrap()));
        &self.log
    }

    /// The sum of the counters whose names contain this.
    pub(crate) fn counter(&self, part: &str) -> u64 {
        self.fw.counters().iter().filter(|c| c.0.contains(part)).map(|c| c.1).sum()
    }

    /// What must hold at the end of every case.
    pub(crate) fn finish(&mut self) {
        let log = format!("{:?}", self.events());
        assert!(!log.contains("geheim"), "a password in the events: {log}");
    }
}

/// The window that a client tells first, scaled as both agreed.
fn first_window(client: &Manner, server: &Manner) -> u16 {
    let scale = if server.scale.is_some() { client.scale.unwrap_or(0) } else { 0 };
    (client.room.min(65_535) >> scale) as u16
}

fn stamps(syn: &Seg, answer: &Seg) -> Vec<u8> {
    match (syn.timestamps(), answer.timestamps()) {
        (Some(_), Some((value, _))) => {
            let mut o = vec![1, 1, 8, 10, 0, 0, 0, 1];
            o.extend(value.to_be_bytes());
            o
        }
        _ => Vec::new(),
    }
}

pub(crate) fn shown_text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn shown(bytes: &[u8]) -> String {
    match synopsis(bytes) {
        Some(text) => text,
        None => format!("{} bytes", bytes.len()),
    }
}

fn synopsis(bytes: &[u8]) -> Option<String> {
    let p = std::panic::catch_unwind(|| Packet::parse(bytes)).ok()??;
    let s = &p.seg;
    let flag = |bit: u8, name: &'static str| if s.flags & bit != 0 { name } else { "" };
    let flags = [flag(SYN, "S"), flag(ACK, "A"), flag(FIN, "F"), flag(RST, "R")].concat();
    Some(format!(
        "{} → {} {flags} {}+{} ack {} {}",
        p.src,
        p.dst,
        s.seq,
        s.payload.len(),
        s.ack,
        shown_text(&s.payload)
    ))
}
