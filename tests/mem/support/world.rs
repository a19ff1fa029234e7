//! Hosts, router and engines on one virtual clock.

use super::check::{self, Tcp};
use super::host::Host;
use super::options::{Options, gate};
use super::second::{self, Second};
use super::server::FtpServer;
use super::way::Way;
use crate::ipv6::{Discovery, addr6_at};
use crate::outbox::Batch;
use crate::packet::ethertype;
use crate::router::{LegConf, Router};
use crate::wccp::assign::RedirectList;
use crate::wccp::codec::{Capabilities, HASH, MASK, ServiceKey};
use crate::wccp::{Faults, GroupConf, Wccp};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use tidegate::buf::{Burst, Frame};
use tidegate::engine::{Control, Engine, Item, Turn, Tx};
use tidegate::event::{Event, What};
use tidegate::flow::FlowTable;
use tidegate::time::{Duration, Instant};

pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 10);
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
pub(crate) const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 9, 0, 0, 0, 2);
pub(crate) const ROUTER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 9, 0, 0, 0, 1);
pub(crate) const CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 10);
pub(crate) const SERVER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 10);
pub(crate) const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub(crate) const GW_MAC: [u8; 6] = [2, 9, 0, 0, 0, 2];
pub(crate) const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// How long engines stand still in tests.
pub(crate) const STILL: Duration = Duration::from_secs(3);
pub(crate) const PORTS: [u16; 8] = [21, 20, 2020, 2021, 2022, 2023, 2024, 2025];

/// Where a packet is on its way, for those who look at or lose packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hop {
    /// A host sends it on this leg.
    FromHost(usize),
    /// It reaches the hosts of this leg.
    ToHost(usize),
    /// It reaches the engine; the Ethernet header is off.
    ToGateway,
    /// The engine sends it; the Ethernet header is off.
    FromGateway,
}

/// One worker: an engine and what has come for it.
pub(crate) struct Gate {
    pub(crate) engine: Engine,
    pub(crate) ring: VecDeque<Item>,
    /// Items that others gave to it.
    pub(crate) crossed: usize,
}

type Loss = Box<dyn FnMut(Hop, &[u8]) -> bool>;

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) seed: u8,
    /// Clients connect over IPv6.
    pub(crate) six: bool,
    /// The gateway told all nodes where its IPv6 address is.
    pub(crate) announced6: bool,
    pub(crate) gates: Vec<Gate>,
    pub(crate) table: Arc<FlowTable>,
    pub(crate) router: Router,
    pub(super) batches: Vec<Batch>,
    pub(crate) second: Option<Second>,
    /// Whether a host's packet goes by the second router.
    pub(crate) by_second: fn(&[u8]) -> bool,
    pub(crate) hosts: Vec<Host>,
    /// Index of the server's host.
    pub(crate) server_host: usize,
    pub(crate) server: FtpServer,
    pub(crate) events: Vec<Event>,
    pub(crate) loss: Option<Loss>,
    /// Packets that passed, if they are wanted.
    pub(crate) seen: Option<Vec<(Hop, Vec<u8>)>>,
    /// Where the gateway's last frame went.
    pub(crate) last_mac: [u8; 6],
    /// Packets to addresses that no host has, by leg.
    pub(crate) strays: Vec<(usize, Vec<u8>)>,
    /// Which worker the network card gives a packet to.
    pub(crate) spread: fn(&[u8], usize) -> usize,
    /// The client may see the gateway's address.
    pub(crate) gateway_shows: bool,
    /// The router redirects what comes from the engine as if the ends had sent it (no `exclude in`).
    pub(crate) again: bool,
    /// Frames with wrong checksums come in, so translated ones go out.
    pub(crate) damaged: bool,
    /// Frames that came for the engines.
    pub(super) rx: VecDeque<(usize, Vec<u8>)>,
    /// The most frames of one turn.
    pub(crate) burst: usize,
    /// Turns of the engines in which something came.
    pub(crate) turns: usize,
    /// After so many of them the engines stand still for [`STILL`]: they have no turns, and everybody else goes on.
    pub(crate) still_after: usize,
    still_until: Instant,
    /// How many frames may wait for them meanwhile; others are lost.
    pub(crate) waits: usize,
    /// Told when an engine begins and ends a turn.
    pub(crate) around: fn(bool),
    /// Room in the transmit ring in one turn.
    pub(crate) slots: usize,
    /// Frames that the engines were given and have not given back, less those of their own making.
    pub(crate) frames_held: isize,
}

impl World {
    pub(crate) fn new(o: Options) -> Self {
        #[allow(clippy::print_stdout, reason = "shown when a test fails")]
        {
            println!("seed {}, {:?}, {:?}, IPv6 {}", o.seed, o.way, o.service.upstream_source, o.six);
        }
        let table = Arc::new(FlowTable::new(o.table, if o.six { o.table } else { 8 }, u64::from(o.seed)));
        let gates = (0..o.workers).map(|w| gate(&o, w, &table)).collect();
        let leg = |n: u8, net: [u8; 3], exclude_in| LegConf {
            name: format!("leg{n}"),
            mac: [2, 0, 0, 0, 0, n],
            address: Ipv4Addr::new(net[0], net[1], net[2], 1),
            prefix: 24,
            v6: Some((Ipv6Addr::new(0xfd00, 0, 0, net[1].into(), 0, 0, 0, 1), 64)),
            mtu: 1500,
            exclude_in,
        };
        let legs =
            vec![leg(0, [10, 0, 0], false), leg(1, [10, 1, 0], false), leg(2, [10, 9, 0], o.exclude_in)];
        let group = |id, leg, deny_ports| GroupConf {
            key: ServiceKey { kind: 1, id },
            password: Some(b"secret1".to_vec()),
            offer: Capabilities { assignment: if o.mask.is_some() { MASK } else { HASH }, ..o.way.offer() },
            redirect_list: RedirectList { deny_ports, ..RedirectList::default() },
            redirect_in: if o.exclude_in { vec![leg] } else { vec![leg, 2] },
            redirect_out: vec![],
            interval: o.here_i_am,
            router_id: o.router_id,
            faults: Faults::default(),
        };
        let reverse = o.reverse.iter().map(|_| group(62, 1, vec![]));
        let wccp = Wccp::new(std::iter::once(group(61, 0, o.denied.clone())).chain(reverse).collect());
        let mut hosts: Vec<Host> = (0..o.clients)
            .map(|n| Host::new(Ipv4Addr::new(10, 0, 0, 10 + n), 0, u64::from(o.seed) * 100 + u64::from(n)))
            .collect();
        let server_host = hosts.len();
        hosts.push(Host::new(SERVER, 1, u64::from(o.seed) * 100 + 99));
        let mut world = Self {
            now: Instant::from_millis(1000),
            seed: o.seed,
            six: o.six,
            announced6: false,
            gates,
            table,
            router: Router::new(legs, wccp, o.oversize),
            batches: second::batches(),
            second: o.second.map(Second::new),
            by_second: |_| false,
            hosts,
            server_host,
            server: FtpServer::new(o.server.clone()),
            events: vec![],
            loss: None,
            seen: None,
            last_mac: [0; 6],
            strays: vec![],
            spread: |_, _| 0,
            gateway_shows: false,
            again: false,
            damaged: false,
            rx: VecDeque::new(),
            burst: 64,
            turns: 0,
            still_after: usize::MAX,
            still_until: Instant::ZERO,
            waits: 4096,
            around: |_| {},
            slots: 256,
            frames_held: 0,
        };
        if o.way == Way::Policy {
            let hop = if o.six { GATEWAY6.into() } else { GATEWAY.into() };
            world.router.policies = Way::policies(&o, hop);
            world.pass(Duration::from_secs(2));
            return world;
        }
        world.pass(o.here_i_am * 8);
        // What is shared out waits until every router lists us.
        let joined = world.router.wccp.groups().iter().all(|g| g.table().is_some());
        assert!(joined, "the gateway has not joined: {:?}", world.events);
        world
    }

    /// A counter of the engines', summed up.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let all = self.gates.iter().flat_map(|g| g.engine.counters());
        let found: Vec<u64> = all.filter(|(n, _)| n == name).map(|(_, v)| v).collect();
        assert!(!found.is_empty(), "no counter {name}");
        found.iter().sum()
    }

    pub(crate) fn sessions(&self) -> usize {
        self.gates.iter().map(|g| g.engine.sessions()).sum()
    }

    /// (half-open connections, data flows, TIME-WAITs).
    pub(crate) fn remains(&self) -> (usize, usize, usize) {
        let each = self.gates.iter().map(|g| g.engine.registry().unwrap().remains());
        each.fold((0, 0, 0), |a, r| (a.0 + r.0, a.1 + r.1, a.2 + r.2))
    }

    #[allow(dead_code, reason = "for the tests of scale")]
    /// End hosts and server as at the beginning, and no events: nothing of the past is kept but by the engine.
    pub(crate) fn refresh(&mut self) {
        for h in &mut self.hosts {
            *h = Host::new(h.address, h.leg, u64::from(self.seed) * 100 + u64::from(h.address.octets()[3]));
        }
        self.server = FtpServer::new(self.server.conf.clone());
        self.forget_events();
    }

    #[allow(dead_code, reason = "for the tests of scale")]
    pub(crate) fn forget_events(&mut self) {
        self.events = Vec::new();
        self.strays = Vec::new();
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        while self.now < end {
            self.now = self.next(end);
            self.settle();
        }
    }

    /// Lets time pass in which the engines stand still, and everybody else goes on.
    pub(crate) fn stand_still(&mut self, time: Duration) {
        self.still_until = self.now + time;
        self.pass(time);
    }

    fn stands_still(&mut self) -> bool {
        if self.turns == self.still_after {
            self.still_after = usize::MAX;
            self.still_until = self.now + STILL;
        }
        self.now < self.still_until
    }

    /// Lets time pass until `f` gives something.
    #[track_caller]
    pub(crate) fn until<T>(
        &mut self,
        limit: Duration,
        what: &str,
        mut f: impl FnMut(&mut Self) -> Option<T>,
    ) -> T {
        let end = self.now + limit;
        loop {
            self.settle();
            if let Some(t) = f(self) {
                self.settle();
                return t;
            }
            if self.now >= end {
                let tail = self.events.len().saturating_sub(12);
                panic!(
                    "seed {}: no {what} in {limit:?}; last events: {:#?}",
                    self.seed,
                    &self.events[tail..]
                );
            }
            self.now = self.next(end);
        }
    }

    fn next(&mut self, end: Instant) -> Instant {
        let now = self.now;
        let mut at = end.min(now + Duration::from_millis(250)).min(self.router.wccp.poll_timeout());
        at = self.second.iter().fold(at, |at, s| at.min(s.router.wccp.poll_timeout()));
        if now < self.still_until {
            at = at.min(self.still_until);
        }
        for g in self.gates.iter().filter(|_| now >= self.still_until) {
            if let Some((due, _)) = g.engine.poll_timeout(now) {
                at = at.min(due);
            }
        }
        for h in &mut self.hosts {
            if let Some(due) = h.due(now) {
                at = at.min(due);
            }
        }
        at.max(now + Duration::from_micros(100))
    }

    /// Moves everything that moves without time passing.
    pub(crate) fn settle(&mut self) {
        self.gates_turn(&[], true);
        for round in 0.. {
            assert!(round < 50_000, "seed {}: the network does not come to rest", self.seed);
            self.server.step(&mut self.hosts[self.server_host]);
            let mut moved = false;
            for i in 0..self.hosts.len() {
                self.hosts[i].poll(self.now);
                while let Some(p) = self.hosts[i].wire.tx.pop_front() {
                    moved = true;
                    self.host_sends(self.hosts[i].leg, &p);
                }
            }
            self.router.handle_timeout(self.now, &mut self.batches);
            moved |= self.deliver();
            moved |= self.on_second(|w| {
                w.router.handle_timeout(w.now, &mut w.batches);
                w.deliver()
            });
            moved |= self.gates_turn(&[], false);
            moved |= self.deliver();
            moved |= self.server.step(&mut self.hosts[self.server_host]);
            if !moved {
                return;
            }
        }
    }

    /// Tells every worker something.
    pub(crate) fn control(&mut self, control: &[Control]) {
        self.gates_turn(control, true);
        self.settle();
    }

    /// Sends an IP packet on a leg as some host there would.
    pub(crate) fn host_sends(&mut self, leg: usize, packet: &[u8]) {
        if self.lost(Hop::FromHost(leg), packet) {
            return;
        }
        if self.second.is_some() && (self.by_second)(packet) {
            self.on_second(|w| w.router_gets(leg, packet));
        } else {
            self.router_gets(leg, packet);
        }
    }

    fn router_gets(&mut self, leg: usize, packet: &[u8]) {
        let mut frame =
            [&self.router.legs()[leg].mac[..], &[2, 1, 0, 0, 0, leg as u8], &ethertype(packet), packet]
                .concat();
        self.router.handle_frame(leg, &mut frame, self.now, &mut self.batches);
        self.deliver();
    }

    /// Hands the engine a frame as it is.
    pub(crate) fn gateway_gets(&mut self, frame: &[u8]) {
        if self.now < self.still_until && self.rx.len() >= self.waits {
            return;
        }
        let n = self.gates.len();
        let worker = (self.spread)(frame, n);
        self.rx.push_back((worker, frame.to_vec()));
    }

    fn lost(&mut self, hop: Hop, packet: &[u8]) -> bool {
        if let Some(mut loss) = self.loss.take() {
            let lost = loss(hop, packet);
            self.loss = Some(loss);
            if lost {
                return true;
            }
        }
        if let Some(seen) = &mut self.seen {
            seen.push((hop, packet.to_vec()));
        }
        false
    }

    /// Takes what the router sends to where it goes.
    pub(super) fn deliver(&mut self) -> bool {
        let mut moved = false;
        for leg in 0..3 {
            let mut frames = Vec::new();
            let batch = &mut self.batches[leg];
            assert_eq!(batch.overflow, 0, "the router's batch is too small");
            for i in 0..batch.len() {
                frames.push(batch.frame(i).to_vec());
            }
            batch.clear();
            for f in frames {
                moved = true;
                match (leg, &f[12..14]) {
                    (2, _) => {
                        if !self.lost(Hop::ToGateway, &f[14..]) {
                            self.gateway_gets(&f);
                        }
                    }
                    (_, [8, 6]) => self.answer_arp(leg, &f),
                    (_, [0x86, 0xDD]) if f[20] == 58 && f[54] == 135 => self.answer_nd(leg, &f[14..]),
                    _ => self.host_gets(leg, &f[14..]),
                }
            }
        }
        moved
    }

    /// Every address of a leg answers; packets for those without a host are strays.
    fn answer_arp(&mut self, leg: usize, f: &[u8]) {
        if f[20..22] != [0, 1] {
            return;
        }
        let mac = [2, 1, 0, 0, 0, leg as u8];
        let mut reply =
            [&f[6..12], &mac, &[8, 6], &f[14..20], &[0, 2], &mac, &f[38..42], &f[22..28], &f[28..32]]
                .concat();
        self.router.handle_frame(leg, &mut reply, self.now, &mut self.batches);
        self.deliver();
    }

    fn answer_nd(&mut self, leg: usize, asked: &[u8]) {
        let address = |at: usize| addr6_at(asked, at);
        let mac = [2, 1, 0, 0, 0, leg as u8];
        let answer = Discovery { solicitation: false, target: address(48), mac: Some(mac) };
        let packet = answer.packet(address(48), address(8));
        let mut frame = [&self.router.legs()[leg].mac[..], &mac, &[0x86, 0xDD], &packet].concat();
        self.router.handle_frame(leg, &mut frame, self.now, &mut self.batches);
        self.deliver();
    }

    fn host_gets(&mut self, leg: usize, packet: &[u8]) {
        if self.lost(Hop::ToHost(leg), packet) {
            return;
        }
        let address = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
        let (src, dst): (IpAddr, IpAddr) = if packet[0] >> 4 == 6 {
            (addr6_at(packet, 8).into(), addr6_at(packet, 24).into())
        } else {
            (address(12).into(), address(16).into())
        };
        let ours = src == IpAddr::V4(GATEWAY) || src == IpAddr::V6(GATEWAY6);
        assert!(leg != 0 || self.gateway_shows || !ours, "a client sees the gateway");
        match self.hosts.iter_mut().find(|h| h.has(dst)) {
            Some(h) => h.wire.rx.push_back(packet.to_vec()),
            None => self.strays.push((leg, packet.to_vec())),
        }
    }

    /// Gives the engines what has come, in the order of its coming; what one hands to another goes first.
    fn gates_turn(&mut self, control: &[Control], always: bool) -> bool {
        let mut moved = false;
        if self.stands_still() {
            return moved;
        }
        if always {
            (0..self.gates.len()).for_each(|w| self.gate_turn(w, control, vec![]));
        }
        while !self.stands_still() {
            if let Some(w) = self.gates.iter().position(|g| !g.ring.is_empty()) {
                self.gate_turn(w, &[], vec![]);
            } else if let Some((w, _)) = self.rx.front() {
                let (w, mut frames) = (*w, vec![]);
                while frames.len() < self.burst
                    && let Some((_, f)) = self.rx.pop_front_if(|(to, _)| *to == w)
                {
                    frames.push(f);
                }
                self.gate_turn(w, &[], frames);
            } else {
                return moved;
            }
            moved = true;
            self.turns += 1;
        }
        moved
    }

    fn gate_turn(&mut self, w: usize, control: &[Control], frames: Vec<Vec<u8>>) {
        let gate = &mut self.gates[w];
        let mut rx = [Burst::new()];
        for f in frames {
            if let Some(f) = Frame::from_bytes(&f) {
                rx[0].push(f).unwrap();
            }
        }
        let spare = (0..64.min(self.slots)).map(|_| Frame::heap()).collect();
        let mut tx = [Tx { slots: self.slots, spare, out: vec![], done: vec![] }];
        let mut handoff_in = gate.ring.drain(..).collect();
        let mut handoff_out = Vec::new();
        let given = rx[0].len() + tx[0].spare.len();
        (self.around)(true);
        gate.engine.turn(&mut Turn {
            now: self.now,
            rx: &mut rx,
            tx: &mut tx,
            handoff_in: &mut handoff_in,
            handoff_out: &mut handoff_out,
            control,
            events: &mut self.events,
        });
        (self.around)(false);
        let [tx] = tx;
        assert!(rx[0].is_empty() && handoff_in.is_empty());
        // Frames of a port come back to it: none is lost. (What is handed over, or was put together from pieces,
        // becomes a frame of its own.)
        let back = tx.spare.len() + tx.out.len() + tx.done.len();
        self.frames_held += given as isize - back as isize;
        assert!(back >= given, "a frame was lost");
        assert!(tx.out.len() <= self.slots, "more was sent than there is room");
        for (to, item) in handoff_out {
            assert!(usize::from(to) < self.gates.len() && usize::from(to) != w, "handed to worker {to}");
            self.gates[usize::from(to)].ring.push_back(item);
            self.gates[usize::from(to)].crossed += 1;
        }
        for f in tx.out {
            self.gateway_sent(f.bytes());
        }
    }

    /// A frame of the engine's: checked, and on its way.
    pub(super) fn gateway_sent(&mut self, frame: &[u8]) {
        let mut bytes = frame.to_vec();
        check::frame(&bytes, !self.damaged);
        self.last_mac.copy_from_slice(&bytes[..6]);
        self.announced6 |= bytes[..6] == [0x33, 0x33, 0, 0, 0, 1] && bytes.get(54) == Some(&136);
        if self.lost(Hop::FromGateway, &bytes[14..]) {
            return;
        }
        if bytes[..6] != ROUTER_MAC {
            let mut bytes = bytes.clone();
            self.on_second(|w| {
                w.router.handle_frame(2, &mut bytes, w.now, &mut w.batches);
                w.deliver();
            });
        }
        if bytes[..6] == second::MAC {
            return;
        }
        let from = match Ipv4Addr::new(bytes[26], bytes[27], bytes[28], bytes[29]) {
            CLIENT if self.again => 0,
            SERVER if self.again => 1,
            _ => 2,
        };
        bytes[..6].copy_from_slice(&self.router.legs()[from].mac);
        self.router.handle_frame(from, &mut bytes, self.now, &mut self.batches);
        self.deliver();
    }

    /// The gateway dies and begins anew, knowing nothing.
    pub(crate) fn restart(&mut self, o: &Options) {
        self.table = Arc::new(FlowTable::new(o.table, if o.six { o.table } else { 8 }, u64::from(o.seed)));
        self.gates = (0..o.workers).map(|w| gate(o, w, &self.table)).collect();
        self.rx.clear();
    }

    /// From now on packets are kept.
    pub(crate) fn watch(&mut self) {
        self.seen = Some(Vec::new());
    }

    /// TCP segments that passed a hop since [`watch`](Self::watch).
    pub(crate) fn segments(&self, hop: Hop) -> Vec<Tcp> {
        let seen = self.seen.iter().flatten().filter(|(h, _)| *h == hop);
        seen.filter_map(|(_, p)| check::tcp_of(p)).collect()
    }

    /// Events of which `f` makes something.
    pub(crate) fn told<T>(&self, f: impl FnMut(&What) -> Option<T>) -> Vec<T> {
        self.events.iter().map(|e| &e.what).filter_map(f).collect()
    }
}
