//! Two sides with hosts on them, and the firewall between. TCP ends do the least that TCP is: they number, acknowledge, and
//! take what comes in order.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tidegate::buf::Frame;
use tidegate::event::{Event, What};
use tidegate::firewall::{
    Action, Emit, Fate, Filter, Firewall, Limits, Masquerade, Nat, Protocol, Rule, Service, Settings, Side,
    Timers,
};
use tidegate::flow::FlowTable;
use tidegate::rng::Keyed;
use tidegate::time::{Duration, Instant};
use tidegate::wire::tcp::{ACK, FIN, PSH, RST, SYN};
use tidegate::wire::{build, parse_ip, tcp};

pub(crate) use Side::{Inside, Outside};

pub(crate) const CLIENT: &str = "10.0.0.5:40000";
pub(crate) const OTHER: &str = "10.0.0.6:40000";
pub(crate) const SERVER: &str = "198.51.100.7:21";
pub(crate) const GATE: &str = "203.0.113.9";

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// One service at port 21; from inside TCP to port 21 is allowed, and nothing else.
pub(crate) fn settings() -> Settings {
    let seconds = Duration::from_secs;
    Settings {
        filter: Filter {
            default: Action::Drop,
            rules: vec![allow("control", Some(Inside), 21)],
            data: Vec::new(),
        },
        nat: Nat::default(),
        services: vec![service()],
        hop: true,
        limits: Limits {
            connections: 1000,
            sessions: 100,
            sessions_per_client: 50,
            held: tidegate::firewall::HELD,
            expectations: 1000,
            expectations_per_client: 64,
            alg: tidegate::alg::Limits::default(),
        },
        timers: Timers {
            established: seconds(7440),
            transitory: seconds(240),
            udp: seconds(300),
            icmp: seconds(60),
            expectation: seconds(60),
            orphan: seconds(10),
            steer_wait: seconds(5),
            steer_timeout: seconds(15),
            quarantine: seconds(60),
            greeting: seconds(120),
            control_idle: seconds(900),
        },
    }
}

pub(crate) fn allow(name: &str, from: Option<Side>, port: u16) -> Rule {
    Rule {
        name: name.to_owned(),
        action: Action::Allow,
        from,
        protocol: Protocol::Tcp,
        source: Vec::new(),
        destination: Vec::new(),
        ports: vec![port..=port],
    }
}

pub(crate) fn service() -> Service {
    use tidegate::alg::rules::{Ccc, Ftps, Profile};
    Service {
        name: "ftp".to_owned(),
        ports: vec![21],
        alg: true,
        rules: tidegate::alg::rules::Settings {
            name: "ftp".to_owned(),
            profile: Profile::Standard,
            ftps: Ftps::Opaque,
            ccc: Ccc::Allow,
            client_mode: tidegate::alg::rules::ClientMode::Any,
            denied_ports: Vec::new(),
            commands: 64,
            setups_per_second: 1000,
            failed_logins: 50,
            prompt_refusals: 5,
            commands_per_second: 1000,
            first_command: tidegate::time::Duration::from_secs(60),
            login: tidegate::time::Duration::from_secs(300),
            reply: 256 << 10,
            default_data_port: false,
            fxp: Vec::new(),
        },
        active_source_ports: Vec::new(),
        data_ports: Vec::new(),
        data_bypasses: false,
        mss_clamp: None,
    }
}

/// Everybody inside is known as [`GATE`] outside.
pub(crate) fn masquerade(mut settings: Settings) -> Settings {
    settings.nat.masquerade =
        Some(Masquerade { sources: Vec::new(), address: GATE.parse().unwrap(), ports: 49152..=65535 });
    settings
}

#[derive(Debug)]
pub(crate) struct End {
    side: Side,
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
    isn: u32,
    nxt: u32,
    rcv: u32,
    pub(crate) open: bool,
    pub(crate) reset: bool,
    pub(crate) closed: bool,
    /// It takes and acknowledges nothing but resets.
    deaf: bool,
    pub(crate) got: Vec<u8>,
}

pub(crate) struct Net {
    pub(crate) fw: Firewall<u8>,
    pub(crate) now: Instant,
    ends: Vec<End>,
    listeners: Vec<(Side, SocketAddr)>,
    /// Hosts whose ports are closed without a word.
    pub(crate) silent: bool,
    queue: VecDeque<(Side, Vec<u8>)>,
    /// All that left the firewall.
    pub(crate) left: Vec<(Side, Vec<u8>)>,
    pub(crate) events: Vec<Event>,
    /// Told when the firewall begins to work, and when it has done so.
    pub(crate) around: fn(bool),
}

fn packet(src: SocketAddr, dst: SocketAddr, seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let options: &[u8] = if flags & SYN != 0 { &[2, 4, 5, 180] } else { &[] };
    packet_with((src, dst), (seq, ack), flags, options, payload)
}

/// A segment with these options.
pub(crate) fn packet_with(
    (src, dst): (SocketAddr, SocketAddr),
    (seq, ack): (u32, u32),
    flags: u8,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let ip = if src.is_ipv4() { 20 } else { 40 };
    let mut b = vec![0; ip];
    match (src.ip(), dst.ip()) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            (b[0], b[6], b[8], b[9]) = (0x45, 0x40, 64, 6);
            b[12..16].copy_from_slice(&s.octets());
            b[16..20].copy_from_slice(&d.octets());
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            (b[0], b[6], b[7]) = (0x60, 6, 64);
            b[8..24].copy_from_slice(&s.octets());
            b[24..40].copy_from_slice(&d.octets());
        }
        _ => panic!("one family"),
    }
    b.extend(src.port().to_be_bytes());
    b.extend(dst.port().to_be_bytes());
    b.extend(seq.to_be_bytes());
    b.extend(ack.to_be_bytes());
    b.extend([(5 + options.len() as u8 / 4) << 4, flags, 0xFF, 0, 0, 0, 0, 0]);
    b.extend(options);
    b.extend(payload);
    build::finish(&mut b);
    b
}

impl Net {
    pub(crate) fn new(settings: Settings) -> Self {
        Self::with_slots(settings, 4096)
    }

    /// With a flow table of so many slots, three quarters of which can be filled.
    pub(crate) fn with_slots(settings: Settings, slots: usize) -> Self {
        let flows = Arc::new(FlowTable::new(slots, slots, 1));
        Self {
            fw: Firewall::new(settings, flows, Keyed::new([7; 16])),
            now: Instant::from_millis(1000),
            ends: Vec::new(),
            listeners: Vec::new(),
            silent: false,
            queue: VecDeque::new(),
            left: Vec::new(),
            events: Vec::new(),
            around: |_| {},
        }
    }

    pub(crate) fn listen(&mut self, side: Side, at: &str) {
        self.listeners.push((side, addr(at)));
    }

    pub(crate) fn end(&self, i: usize) -> &End {
        &self.ends[i]
    }

    /// What an end got since the last call.
    pub(crate) fn got(&mut self, i: usize) -> String {
        String::from_utf8(std::mem::take(&mut self.ends[i].got)).unwrap()
    }

    /// Tries to open a connection.
    pub(crate) fn connect(&mut self, side: Side, from: &str, to: &str) -> usize {
        let isn = 1_000_000 * (self.ends.len() as u32 + 1);
        let (local, peer) = (addr(from), addr(to));
        let end = End {
            side,
            local,
            peer,
            isn,
            nxt: isn.wrapping_add(1),
            rcv: 0,
            open: false,
            reset: false,
            closed: false,
            deaf: false,
            got: Vec::new(),
        };
        self.ends.push(end);
        let i = self.ends.len() - 1;
        self.syn(i);
        i
    }

    /// Sends an end's SYN, perhaps again.
    pub(crate) fn syn(&mut self, i: usize) {
        let e = &self.ends[i];
        let p = packet(e.local, e.peer, e.isn, 0, SYN, &[]);
        self.put(e.side, p);
        self.run();
    }

    /// The end that a listener has, of its last connection.
    pub(crate) fn accepted(&self, at: &str) -> Option<usize> {
        self.ends.iter().rposition(|e| e.local == addr(at) && e.open)
    }

    /// The end of a listener that talks to this one.
    pub(crate) fn find(&self, at: &str, peer: SocketAddr) -> usize {
        self.ends.iter().rposition(|e| e.local == addr(at) && e.peer == peer).unwrap()
    }

    /// The end that came last.
    pub(crate) fn newest(&self) -> usize {
        self.ends.len() - 1
    }

    pub(crate) fn say(&mut self, i: usize, text: &str) {
        self.send(i, ACK | PSH, text.as_bytes());
    }

    /// From now on an end takes and acknowledges nothing.
    pub(crate) fn deafen(&mut self, i: usize) {
        self.ends[i].deaf = true;
    }

    pub(crate) fn close(&mut self, i: usize) {
        self.send(i, ACK | FIN, &[]);
    }

    pub(crate) fn abort(&mut self, i: usize) {
        self.send(i, ACK | RST, &[]);
    }

    /// Ends from this one on are gone: their hosts know nothing of them.
    pub(crate) fn forget(&mut self, first: usize) {
        self.ends.truncate(first);
    }

    /// The segment that an end would send next, with a time to live of its own; it is not sent.
    pub(crate) fn segment(&self, i: usize, ttl: u8, text: &str) -> Vec<u8> {
        let e = &self.ends[i];
        let mut p = packet(e.local, e.peer, e.nxt, e.rcv, ACK | PSH, text.as_bytes());
        p[8] = ttl;
        build::finish(&mut p);
        p
    }

    /// A segment of an end's without a payload; it is not sent.
    pub(crate) fn bare(&self, i: usize, flags: u8) -> Vec<u8> {
        let e = &self.ends[i];
        packet(e.local, e.peer, e.nxt, e.rcv, flags, b"")
    }

    /// Somebody else says in an end's name that it resets, `off` bytes away from where it is, and before, that it is there.
    pub(crate) fn forge_reset(&mut self, i: usize, off: u32) {
        let e = &self.ends[i];
        let (side, at) = (e.side, e.nxt.wrapping_add(off));
        let forged = [ACK, RST].map(|flags| packet(e.local, e.peer, at, e.rcv, flags, b""));
        for bytes in forged {
            self.put(side, bytes);
            self.run();
            self.pass(Duration::from_millis(200));
        }
    }

    fn send(&mut self, i: usize, flags: u8, payload: &[u8]) {
        let e = &mut self.ends[i];
        let p = packet(e.local, e.peer, e.nxt, e.rcv, flags, payload);
        e.nxt = e.nxt.wrapping_add(payload.len() as u32 + u32::from(flags & FIN != 0));
        let side = e.side;
        self.put(side, p);
        self.run();
    }

    /// A packet comes from a side; one that nobody believes reaches nobody.
    pub(crate) fn put(&mut self, from: Side, mut bytes: Vec<u8>) -> Fate {
        bytes.shrink_to_fit();
        let mut frame = Frame::from_bytes(&bytes).unwrap();
        let ip = parse_ip(frame.bytes(), 0).unwrap();
        let mut out = Vec::new();
        (self.around)(true);
        let fate = self.fw.packet(self.now, from, 1, &mut frame, &ip, &mut out);
        (self.around)(false);
        self.send_out(out);
        if fate == Fate::Forward && ip.transport_checksum_ok(&bytes) {
            self.leave(from.other(), frame.bytes().to_vec());
        }
        self.fw.take_events(&mut self.events);
        fate
    }

    fn send_out(&mut self, out: Vec<Emit<u8>>) {
        for e in out {
            self.leave(e.to, e.packet);
        }
    }

    fn leave(&mut self, to: Side, packet: Vec<u8>) {
        let ip = parse_ip(&packet, 0).unwrap();
        assert!(ip.transport_checksum_ok(&packet), "a wrong checksum");
        self.left.push((to, packet.clone()));
        self.queue.push_back((to, packet));
    }

    fn run(&mut self) {
        while let Some((side, packet)) = self.queue.pop_front() {
            self.arrive(side, &packet);
        }
    }

    fn arrive(&mut self, side: Side, bytes: &[u8]) {
        let ip = parse_ip(bytes, 0).unwrap();
        let Some(seg) = tcp::parse(bytes, &ip) else { return };
        let found = self.ends.iter().rposition(|e| e.side == side && e.local == seg.dst && e.peer == seg.src);
        let Some(i) = found else { return self.stranger(side, &seg) };
        let e = &mut self.ends[i];
        if seg.flags & RST != 0 {
            // As RFC 5961 3.2 has it; a SYN's answer by what it acknowledges.
            let exact = if e.open { seg.seq == e.rcv } else { seg.ack == e.nxt };
            e.reset |= exact;
            e.open &= !exact;
            return;
        }
        if seg.flags & SYN != 0 {
            if seg.flags & ACK != 0 && !e.open {
                (e.rcv, e.open) = (seg.seq.wrapping_add(1), true);
            }
            if e.open {
                self.send(i, ACK, &[]);
            }
            return;
        }
        if seg.seq != e.rcv || e.deaf {
            return;
        }
        e.got.extend(&bytes[seg.payload..seg.end]);
        e.rcv = e.rcv.wrapping_add(seg.len() as u32);
        let fin = seg.flags & FIN != 0;
        if fin {
            e.rcv = e.rcv.wrapping_add(1);
            e.closed = true;
        }
        if fin || !seg.is_empty() {
            self.send(i, ACK, &[]);
        }
    }

    fn stranger(&mut self, side: Side, seg: &tcp::Segment) {
        let listens = self.listeners.contains(&(side, seg.dst));
        if seg.is_first() && listens {
            let isn = 77_000_000 + 1_000_000 * self.ends.len() as u32;
            let rcv = seg.seq.wrapping_add(1);
            self.ends.push(End {
                side,
                local: seg.dst,
                peer: seg.src,
                isn,
                nxt: isn,
                rcv,
                open: true,
                reset: false,
                closed: false,
                deaf: false,
                got: Vec::new(),
            });
            let i = self.ends.len() - 1;
            self.send(i, SYN | ACK, &[]);
            self.ends[i].nxt = isn.wrapping_add(1);
        } else if !self.silent
            && let Some(reset) = build::reset_for(seg)
        {
            let mut b = vec![0; reset.len()];
            reset.emit(&mut b);
            self.put(side, b);
        }
    }

    /// What left, and what was told of, goes: nobody gets it.
    #[allow(dead_code, reason = "it is for those that count memory")]
    pub(crate) fn clear(&mut self) {
        (self.left, self.queue, self.events) = (Vec::new(), VecDeque::new(), Vec::new());
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some((at, _)) = self.fw.poll_timeout().filter(|(at, _)| *at <= until) {
            self.now = self.now.max(at);
            let mut out = Vec::new();
            (self.around)(true);
            self.fw.handle_timeout(self.now, &mut out);
            (self.around)(false);
            self.send_out(out);
            self.fw.take_events(&mut self.events);
            self.run();
        }
        self.now = until;
    }

    pub(crate) fn count(&self, name: &str) -> u64 {
        let all = self.fw.counters();
        all.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no counter {name}: {all:?}")).1
    }

    pub(crate) fn occupied(&self, name: &str) -> usize {
        self.fw.occupied().iter().find(|(n, _)| *n == name).unwrap().1
    }

    /// States and reasons of expectations so far.
    pub(crate) fn expectations(&self) -> Vec<(&'static str, String)> {
        let of = |e: &Event| match &e.what {
            What::Expectation { state, reason, .. } => Some((*state, reason.clone())),
            _ => None,
        };
        self.events.iter().filter_map(of).collect()
    }

    /// Every announcement so far is counted as it was told, and has one end, or stands.
    #[track_caller]
    pub(crate) fn sums(&self) {
        let told = self.expectations();
        // Of SYNs that nobody announced.
        let stray = |why: &str| {
            let whys = [
                "control channel encrypted",
                "ccc required",
                "nothing is announced there",
                "no place for its SYN",
            ];
            whys.contains(&why) || why.starts_with("static rule") || why.starts_with("active data may not")
        };
        let told = |state: &str| told.iter().filter(|(s, why)| *s == state && !stray(why)).count() as u64;
        let count = |what: &str| self.count(&format!("expectations_{what}"));
        for state in ["opened", "reopened", "used", "expired", "superseded", "refused", "elsewhere"] {
            assert_eq!(count(state), told(state), "{state}: {:?}", self.expectations());
        }
        assert_eq!(count("waited"), told("waiting"));
        let ends = ["used", "expired", "superseded", "refused", "elsewhere"].map(count).iter().sum::<u64>();
        let stand = self.occupied("expectations") as u64;
        let all = count("announced") + count("reopened");
        assert_eq!(all, ends + stand, "{:?}, {stand} stand", self.expectations());
    }

    /// Verb, direction's bytes, verdict and code of transfers so far.
    pub(crate) fn transfers(&self) -> Vec<(String, u64, &'static str, u16)> {
        let of = |e: &Event| match &e.what {
            What::Transfer { verb, bytes, verdict, code, .. } => {
                Some((verb.clone(), *bytes, *verdict, *code))
            }
            _ => None,
        };
        self.events.iter().filter_map(of).collect()
    }
}

/// A control connection that is logged in: the client's end, the server's.
pub(crate) fn logged_in(net: &mut Net, client: &str) -> (usize, usize) {
    logged_in_at(net, client, SERVER)
}

pub(crate) fn logged_in_at(net: &mut Net, client: &str, server: &str) -> (usize, usize) {
    if !net.listeners.contains(&(Outside, addr(server))) {
        net.listen(Outside, server);
    }
    let c = net.connect(Inside, client, server);
    assert!(net.end(c).open, "the control connection stands");
    let s = net.accepted(server).unwrap();
    net.say(s, "220 ready\r\n");
    exchange(net, c, s, "USER a\r\n", "331 password\r\n");
    exchange(net, c, s, "PASS b\r\n", "230 in\r\n");
    (c, s)
}

/// A command and its reply; gives how each arrived.
#[track_caller]
pub(crate) fn exchange(net: &mut Net, c: usize, s: usize, command: &str, reply: &str) -> (String, String) {
    net.got(c);
    net.got(s);
    net.say(c, command);
    let command = net.got(s);
    if !reply.is_empty() {
        net.say(s, reply);
    }
    (command, net.got(c))
}
