//! What all these tests use: packets, a firewall between two sides, and a look at what comes out.

use etherparse::PacketBuilder;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tidegate::alg;
use tidegate::buf::Frame;
use tidegate::event::{Event, What};
use tidegate::firewall::{
    Action, Along, Emit, Fate, Filter, Firewall, Limits, Masquerade, Nat, Protocol, Refused, Rule, Service,
    Settings, Side, Timers,
};
use tidegate::flow::FlowTable;
use tidegate::rng::Keyed;
use tidegate::time::{Duration, Instant};
pub(crate) use tidegate::wire::tcp::{ACK, FIN, PSH, RST, SYN};
use tidegate::wire::{parse_ip, tcp};

pub(crate) const IN: Side = Side::Inside;
pub(crate) const OUT: Side = Side::Outside;

pub(crate) fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn rule(name: &str, action: Action) -> Rule {
    Rule {
        name: name.to_owned(),
        action,
        from: None,
        protocol: Protocol::Any,
        source: vec![],
        destination: vec![],
        ports: vec![],
    }
}

/// Allows what comes from inside.
pub(crate) fn outward() -> Rule {
    Rule { from: Some(IN), ..rule("outward", Action::Allow) }
}

pub(crate) fn masquerade() -> Nat {
    let address = "203.0.113.1".parse().unwrap();
    Nat { masquerade: Some(Masquerade { sources: vec![], address, ports: 49152..=65535 }), ..Nat::default() }
}

/// A filter with these rules and this default; nothing else.
pub(crate) fn settings(default: Action, rules: Vec<Rule>) -> Settings {
    let secs = Duration::from_secs;
    Settings {
        filter: Filter { default, rules, data: vec![] },
        nat: Nat::default(),
        services: vec![],
        hop: false,
        limits: Limits {
            connections: 1000,
            sessions: 100,
            sessions_per_client: 100,
            held: tidegate::firewall::HELD,
            expectations: 100,
            expectations_per_client: 100,
            alg: alg::Limits::default(),
        },
        timers: Timers {
            established: secs(7440),
            transitory: secs(240),
            udp: secs(300),
            icmp: secs(60),
            expectation: secs(60),
            orphan: secs(10),
            steer_wait: secs(5),
            steer_timeout: secs(15),
            quarantine: secs(60),
            greeting: secs(60),
            control_idle: secs(900),
        },
    }
}

pub(crate) fn service(ports: Vec<u16>) -> Service {
    Service {
        name: "ftp".to_owned(),
        ports,
        alg: true,
        rules: alg::rules::Settings {
            name: "ftp".to_owned(),
            profile: alg::rules::Profile::Standard,
            ftps: alg::rules::Ftps::Opaque,
            ccc: alg::rules::Ccc::Allow,
            client_mode: tidegate::alg::rules::ClientMode::Any,
            denied_ports: vec![],
            commands: 64,
            setups_per_second: 20,
            failed_logins: 50,
            prompt_refusals: 5,
            commands_per_second: 1000,
            first_command: tidegate::time::Duration::from_secs(60),
            login: tidegate::time::Duration::from_secs(300),
            reply: 256 << 10,
            default_data_port: false,
            fxp: Vec::new(),
        },
        active_source_ports: vec![],
        data_ports: vec![],
        data_bypasses: false,
        mss_clamp: None,
    }
}

/// What a packet came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) fate: Fate,
    /// The frame as it is to be forwarded.
    pub(crate) packet: Vec<u8>,
    pub(crate) out: Vec<Emit<u8>>,
}

impl Got {
    /// What goes on, by whichever way: the frame, or the one packet that was emitted.
    #[track_caller]
    pub(crate) fn passed(self, to: Side) -> Vec<u8> {
        match self.fate {
            Fate::Forward => {
                assert!(self.out.is_empty(), "{:?}", self.out);
                self.packet
            }
            Fate::Taken => {
                let [emit] = &self.out[..] else { panic!("one packet is to go on: {:?}", self.out) };
                assert_eq!(emit.to, to);
                emit.packet.clone()
            }
            fate @ Fate::Refuse(_) => panic!("{fate:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn refused(self, why: Refused) {
        assert_eq!((self.fate, &self.out[..]), (Fate::Refuse(why), &[][..]));
    }

    /// The same, and its sender is told by a reset.
    #[track_caller]
    pub(crate) fn refused_with(self, why: Refused) {
        assert_eq!(self.fate, Fate::Refuse(why));
        assert_eq!(segment(&self.out[0].packet).flags & RST, RST);
    }
}

pub(crate) struct Rig {
    pub(crate) fw: Firewall<u8>,
    pub(crate) now: Instant,
    pub(crate) flows: Arc<FlowTable>,
}

impl Rig {
    pub(crate) fn new(settings: Settings) -> Self {
        Self::with_table(settings, 1024)
    }

    pub(crate) fn with_table(settings: Settings, slots: usize) -> Self {
        let flows = Arc::new(FlowTable::new(slots, slots, 7));
        let fw = Firewall::new(settings, flows.clone(), Keyed::new([9; 16]));
        Self { fw, now: Instant::from_millis(1000), flows }
    }

    #[track_caller]
    pub(crate) fn send(&mut self, from: Side, packet: &[u8]) -> Got {
        let mut frame = Frame::from_bytes(packet).unwrap();
        let ip = parse_ip(packet, 0).unwrap();
        let mut out = vec![];
        let fate = self.fw.packet(self.now, from, 7, &mut frame, &ip, &mut out);
        for emit in &out {
            assert!(is_valid(&emit.packet), "a checksum of {:02x?}", emit.packet);
        }
        let packet = frame.bytes().to_vec();
        if fate == Fate::Forward {
            assert!(is_valid(&packet), "a checksum of {packet:02x?}");
        }
        Got { fate, packet, out }
    }

    /// Time goes by; what was emitted meanwhile.
    pub(crate) fn wait(&mut self, time: Duration) -> Vec<Emit<u8>> {
        let until = self.now + time;
        let mut out = vec![];
        for _ in 0..1_000_000 {
            match self.fw.poll_timeout() {
                Some((at, _)) if at <= until => {
                    self.now = self.now.max(at);
                    self.fw.handle_timeout(self.now, &mut out);
                }
                _ => {
                    self.now = until;
                    return out;
                }
            }
        }
        panic!("it is never done: {:?}", self.fw.poll_timeout());
    }

    pub(crate) fn events(&mut self) -> Vec<What> {
        let mut events: Vec<Event> = vec![];
        self.fw.take_events(&mut events);
        events.into_iter().map(|e| e.what).collect()
    }

    pub(crate) fn count(&self, name: &str) -> u64 {
        let all = self.fw.counters();
        all.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no counter {name}: {all:?}")).1
    }

    pub(crate) fn in_use(&self, name: &str) -> usize {
        let all = self.fw.occupied();
        all.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("nothing is called {name}: {all:?}")).1
    }

    /// All that is remembered is gone.
    #[track_caller]
    pub(crate) fn is_empty(&self) {
        assert_eq!(self.fw.occupied().iter().filter(|(_, n)| *n > 0).collect::<Vec<_>>(), vec![] as Vec<&_>);
        assert_eq!(self.flows.len(), 0);
        assert_eq!(self.fw.poll_timeout(), None);
    }

    /// A connection from `src` to `dst` is opened; its ends as the other one sees them. Numbers begin at 1000 and 5000.
    #[track_caller]
    pub(crate) fn open(&mut self, from: Side, src: &str, dst: &str) -> (SocketAddr, SocketAddr) {
        let (src, dst) = (at(src), at(dst));
        let there = self.send(from, &seg(src, dst, SYN, 1000, 0, b""));
        let to = match &there.out[..] {
            [emit] => emit.to,
            _ => from.other(),
        };
        let there = ends(&there.passed(to));
        let back = self.send(to, &seg(there.1, there.0, SYN | ACK, 5000, 1001, b"")).passed(from);
        assert_eq!(ends(&back), (dst, src), "the answer comes from whom was asked");
        self.send(from, &seg(src, dst, ACK, 1001, 5001, b"")).passed(to);
        there
    }
}

/// How a packet that goes back to where it came from leaves.
pub(crate) fn is_reversed(emit: &Emit<u8>, to: Side) -> bool {
    emit.to == to && emit.along == Along::Reverse(7)
}

fn ip(src: SocketAddr, dst: SocketAddr) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    match (src.ip(), dst.ip()) {
        (IpAddr::V4(s), IpAddr::V4(d)) => PacketBuilder::ipv4(s.octets(), d.octets(), 64),
        (IpAddr::V6(s), IpAddr::V6(d)) => PacketBuilder::ipv6(s.octets(), d.octets(), 64),
        _ => panic!("two families"),
    }
}

/// A TCP segment.
pub(crate) fn seg(src: SocketAddr, dst: SocketAddr, flags: u8, seq: u32, ack: u32, data: &[u8]) -> Vec<u8> {
    let mut b = ip(src, dst).tcp(src.port(), dst.port(), seq, 8192);
    for (flag, set) in [
        (SYN, (|b| b.syn()) as fn(etherparse::PacketBuilderStep<etherparse::TcpHeader>) -> _),
        (FIN, |b| b.fin()),
        (RST, |b| b.rst()),
        (PSH, |b| b.psh()),
    ] {
        if flags & flag != 0 {
            b = set(b);
        }
    }
    if flags & ACK != 0 {
        b = b.ack(ack);
    }
    let mut out = vec![];
    b.write(&mut out, data).unwrap();
    out
}

pub(crate) fn syn(src: &str, dst: &str) -> Vec<u8> {
    seg(at(src), at(dst), SYN, 1000, 0, b"")
}

pub(crate) fn udp(src: SocketAddr, dst: SocketAddr, data: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    ip(src, dst).udp(src.port(), dst.port()).write(&mut out, data).unwrap();
    out
}

/// An echo request, or the reply to one.
pub(crate) fn echo(src: &str, dst: &str, id: u16, reply: bool) -> Vec<u8> {
    let (src, dst) = (SocketAddr::new(src.parse().unwrap(), 0), SocketAddr::new(dst.parse().unwrap(), 0));
    let (b, mut out) = (ip(src, dst), vec![]);
    match (src.is_ipv4(), reply) {
        (true, false) => b.icmpv4_echo_request(id, 1).write(&mut out, b"ping"),
        (true, true) => b.icmpv4_echo_reply(id, 1).write(&mut out, b"ping"),
        (false, false) => b.icmpv6_echo_request(id, 1).write(&mut out, b"ping"),
        (false, true) => b.icmpv6_echo_reply(id, 1).write(&mut out, b"ping"),
    }
    .unwrap();
    out
}

/// An ICMP error from `src` about `quoted`, of which it says no more than `take` bytes.
pub(crate) fn error(src: &str, kind: (u8, u8), rest: [u8; 4], quoted: &[u8], take: usize) -> Vec<u8> {
    let src: IpAddr = src.parse().unwrap();
    let to = parse_ip(quoted, 0).unwrap().src;
    let quoted = &quoted[..take.min(quoted.len())];
    let (b, mut out) = (ip(SocketAddr::new(src, 0), SocketAddr::new(to, 0)), vec![]);
    if src.is_ipv4() {
        b.icmpv4_raw(kind.0, kind.1, rest).write(&mut out, quoted).unwrap();
    } else {
        b.icmpv6_raw(kind.0, kind.1, rest).write(&mut out, quoted).unwrap();
    }
    out
}

/// Source and destination of a packet; ports of TCP and UDP, identifiers of echo messages on both ends, else 0.
pub(crate) fn ends(packet: &[u8]) -> (SocketAddr, SocketAddr) {
    let ip = parse_ip(packet, 0).unwrap();
    let p = ip.payload(packet);
    let word = |at: usize| u16::from_be_bytes([p[at], p[at + 1]]);
    let (s, d) = match ip.proto {
        6 | 17 => (word(0), word(2)),
        1 | 58 => (word(4), word(4)),
        _ => (0, 0),
    };
    (SocketAddr::new(ip.src, s), SocketAddr::new(ip.dst, d))
}

pub(crate) fn segment(packet: &[u8]) -> tidegate::wire::Segment {
    tcp::parse(packet, &parse_ip(packet, 0).unwrap()).unwrap()
}

/// RFC 1071, from the text.
fn sum(parts: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = parts.concat();
    let mut sum: u64 = 0;
    for pair in bytes.chunks(2) {
        sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum as u16
}

/// Whether the header's and, of what is whole, the transport's checksum are right.
pub(crate) fn is_valid(packet: &[u8]) -> bool {
    let (header, protocol, whole, addresses) = if packet[0] >> 4 == 4 {
        let fragment = u16::from_be_bytes([packet[6], packet[7]]) & 0x3FFF != 0;
        (usize::from(packet[0] & 15) * 4, packet[9], !fragment, &packet[12..20])
    } else {
        // Extension headers are for the parser's own tests.
        (40, packet[6], true, &packet[8..40])
    };
    if packet[0] >> 4 == 4 && sum(&[&packet[..header]]) != 0xFFFF {
        return false;
    }
    let t = &packet[header..];
    let pseudo = [addresses, &(t.len() as u32).to_be_bytes(), &[0, 0, 0, protocol]].concat();
    match protocol {
        _ if !whole => true,
        6 | 58 => sum(&[&pseudo, t]) == 0xFFFF,
        17 => t[6..8] == [0, 0] || sum(&[&pseudo, t]) == 0xFFFF,
        1 => sum(&[t]) == 0xFFFF,
        _ => true,
    }
}
