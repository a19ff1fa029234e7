use super::*;
use crate::wire::tcp::{ACK, FIN, PSH, RST, SYN, URG};

const LEG: Conn = Conn(0);
const US: &str = "10.1.0.10:21";
const PEER: &str = "10.0.0.10:5001";
const BUFFERS: Buffers = Buffers { rx: 4096, tx: 4096 };

/// What was sent, as (segment, payload, SACK edges).
#[derive(Default)]
struct Sent(Vec<(Segment, Vec<u8>, Vec<u32>)>);

impl Outlet for Sent {
    fn slots(&self) -> usize {
        64
    }
    fn send(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8]) -> bool) -> bool {
        let mut b = vec![0; len];
        if fill(&mut b) {
            let ip = parse_ip(&b, 0).unwrap();
            assert!(ip.transport_checksum_ok(&b));
            let seg = tcp::parse(&b, &ip).unwrap();
            let mut edges = Vec::new();
            for (kind, at, len) in seg.options(&b) {
                if kind == 5 {
                    let e = b[at + 2..at + len].chunks(4);
                    edges.extend(e.map(|e| u32::from_be_bytes(e.try_into().unwrap())));
                }
            }
            self.0.push((seg, b[seg.payload..seg.end].to_vec(), edges));
        }
        true
    }
}

impl Sent {
    fn take(&mut self) -> Vec<(Segment, Vec<u8>, Vec<u32>)> {
        std::mem::take(&mut self.0)
    }
}

/// A segment of the peer's.
fn segment(seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let t = build::Tcp {
        src: PEER.parse().unwrap(),
        dst: US.parse().unwrap(),
        seq,
        ack,
        flags,
        window: 4096,
        options: SynOptions::default(),
        ttl: 60,
        ip_id: 1,
    };
    let mut b = vec![0; t.len()];
    t.emit(&mut b);
    b.extend_from_slice(payload);
    build::finish(&mut b);
    b
}

struct Leg {
    stack: Stack,
    sent: Sent,
    now: Instant,
    /// Next numbers: the peer's, ours.
    peer: u32,
    own: u32,
}

impl Leg {
    /// A connection that the peer opened, established.
    fn open(peer_isn: u32, own_isn: u32) -> Self {
        Self::with(peer_isn, own_isn, BUFFERS, None)
    }

    fn with(peer_isn: u32, own_isn: u32, buffers: Buffers, window_scale: Option<u8>) -> Self {
        let now = Instant::from_millis(5000);
        let mut stack = Stack::new(now, 1500, 7);
        let peer_options = SynOptions { mss: Some(1460), window_scale, sack: true, timestamps: false };
        let h = Handshake { peer_isn, peer_window: 4096, peer_options, own_isn };
        assert!(stack.accepted(now, LEG, US.parse().unwrap(), PEER.parse().unwrap(), buffers, &h));
        let mut leg = Self {
            stack,
            sent: Sent::default(),
            now,
            peer: peer_isn.wrapping_add(1),
            own: own_isn.wrapping_add(1),
        };
        leg.receive(0, ACK, b"");
        assert_eq!(leg.stack.state(LEG), ConnState::Open);
        leg.sent.take();
        leg
    }

    fn receive(&mut self, ahead: u32, flags: u8, payload: &[u8]) {
        let mut p = segment(self.peer.wrapping_add(ahead), self.own, flags, payload);
        self.stack.receive(self.now, &mut p, &mut self.sent);
        self.stack.poll(self.now, &mut self.sent);
    }

    fn later(&mut self, time: Duration) {
        self.now += time;
        self.stack.poll(self.now, &mut self.sent);
    }

    fn read(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        self.stack.read(LEG, |b| {
            all.extend_from_slice(b);
            b.len()
        });
        all
    }
}

/// Numbers in the middle, and just before they wrap on either side.
const ISNS: [(u32, u32); 4] = [(1000, 900_000), (u32::MAX, 5), (77, u32::MAX), (u32::MAX - 2, u32::MAX - 3)];

#[test]
fn a_handshake_that_was_made_outside_is_taken_over_with_its_numbers() {
    for (peer_isn, own_isn) in ISNS {
        let mut l = Leg::open(peer_isn, own_isn);
        l.receive(0, ACK | PSH, b"USER x\r\n");
        assert_eq!(l.read(), b"USER x\r\n");
        assert_eq!(l.stack.write(LEG, b"331 ok\r\n"), 8);
        l.later(Duration::from_millis(20));
        let sent = l.sent.take();
        let (seg, bytes, _) = sent.iter().find(|(_, b, _)| !b.is_empty()).unwrap();
        assert_eq!((seg.seq, seg.ack, &bytes[..]), (l.own, l.peer.wrapping_add(8), &b"331 ok\r\n"[..]));
        assert!(sent.iter().all(|(s, ..)| !s.has(SYN)), "a second SYN-ACK");
        (l.peer, l.own) = (l.peer.wrapping_add(8), l.own.wrapping_add(8));
        l.receive(0, ACK, b"");
        assert!(l.stack.flushed(LEG));
        assert_eq!(l.stack.delivered(LEG), 8);
        // The end, in order: their FIN, ours, their ACK.
        l.receive(0, ACK | FIN, b"");
        assert!(l.stack.at_end(LEG));
        l.stack.close(LEG);
        l.later(Duration::from_millis(1));
        let fin = l.sent.take().into_iter().find(|(s, ..)| s.has(FIN)).unwrap().0;
        assert_eq!((fin.seq, fin.ack), (l.own, l.peer.wrapping_add(1)));
        (l.peer, l.own) = (l.peer.wrapping_add(1), l.own.wrapping_add(1));
        l.receive(0, ACK, b"");
        assert_eq!(l.stack.state(LEG), ConnState::Closed);
        assert_eq!(l.stack.numbers(LEG), Some((l.own, l.peer)));
    }
}

#[test]
fn a_connection_of_ours_is_taken_over_and_its_last_ack_is_sent_then() {
    for (peer_isn, own_isn) in ISNS {
        let now = Instant::from_millis(1);
        let (mut stack, mut sent) = (Stack::new(now, 1500, 7), Sent::default());
        let peer_options =
            SynOptions { mss: Some(1460), window_scale: Some(7), sack: true, timestamps: false };
        let h = Handshake { peer_isn, peer_window: 4096, peer_options, own_isn };
        assert!(stack.connected(now, LEG, US.parse().unwrap(), PEER.parse().unwrap(), BUFFERS, &h));
        assert_eq!(sent.0.len(), 0);
        stack.poll(now, &mut sent);
        let all = sent.take();
        assert_eq!(all.len(), 1, "{all:?}");
        let ack = all[0].0;
        assert_eq!((ack.seq, ack.ack, ack.flags), (own_isn.wrapping_add(1), peer_isn.wrapping_add(1), ACK));
    }
}

#[test]
fn sack_edges_are_the_peers_numbers_and_theirs_are_shifted_back() {
    for (peer_isn, own_isn) in ISNS {
        let mut l = Leg::open(peer_isn, own_isn);
        // A hole: the peer is told what came behind it, in its own numbers.
        l.receive(100, ACK, &[7; 50]);
        let sent = l.sent.take();
        let (seg, _, edges) = sent.iter().find(|(.., e)| !e.is_empty()).unwrap();
        assert_eq!(seg.ack, l.peer);
        assert_eq!(edges[..], [l.peer.wrapping_add(100), l.peer.wrapping_add(150)]);
        l.receive(0, ACK, &[6; 100]);
        assert_eq!(l.read(), [&[6; 100][..], &[7; 50]].concat());
    }
}

#[test]
fn the_urgent_mark_goes_with_its_byte_whenever_that_is_sent() {
    for (peer_isn, own_isn) in ISNS {
        let mut l = Leg::open(peer_isn, own_isn);
        l.stack.set_no_delay(LEG);
        l.stack.write(LEG, b"\xff\xf4\xff\xf2");
        l.stack.mark_urgent(LEG);
        l.later(Duration::ZERO);
        l.stack.write(LEG, b"ABOR\r\n");
        l.later(Duration::ZERO);
        let urgent = |s: &Segment| s.has(URG);
        let sent: Vec<bool> = l.sent.take().iter().map(|(s, ..)| urgent(s)).collect();
        assert_eq!(sent, [true, false]);
        // Both are lost.
        l.later(Duration::from_secs(3));
        let again = l.sent.take();
        let first = again.iter().find(|(s, b, _)| !b.is_empty() && s.seq == l.own).unwrap();
        assert!(urgent(&first.0), "sent again without its mark");
        l.own = l.own.wrapping_add(10);
        l.receive(0, ACK, b"");
        l.stack.write(LEG, b"NOOP\r\n");
        l.later(Duration::ZERO);
        assert!(l.sent.take().iter().all(|(s, ..)| !urgent(s)));
    }
}

#[test]
fn an_idle_connection_lives_and_an_unanswered_one_does_not() {
    let mut l = Leg::open(1, 2);
    l.stack.set_timeout(LEG, Duration::from_secs(60));
    for _ in 0..100 {
        l.later(Duration::from_secs(10));
    }
    assert_eq!((l.stack.state(LEG), l.sent.take().len()), (ConnState::Open, 0));
    l.stack.write(LEG, b"x");
    for _ in 0..59 {
        l.later(Duration::from_secs(1));
    }
    assert_eq!(l.stack.state(LEG), ConnState::Open);
    l.later(Duration::from_secs(3));
    assert_eq!(l.stack.state(LEG), ConnState::Reset);
    assert!(l.sent.take().iter().any(|(s, ..)| s.has(RST)));
}

#[test]
fn an_ipv6_connection_is_as_any_other_and_headers_before_its_segments_are_no_matter() {
    let (us, peer): (SocketAddr, SocketAddr) =
        ("[2001:db8:1::10]:21".parse().unwrap(), "[2001:db8::10]:5001".parse().unwrap());
    let now = Instant::from_millis(5000);
    let mut stack = Stack::new(now, 1500, 7);
    let peer_options = SynOptions { mss: Some(1440), window_scale: None, sack: true, timestamps: false };
    let h = Handshake { peer_isn: 100, peer_window: 4096, peer_options, own_isn: 900 };
    assert!(stack.accepted(now, LEG, us, peer, BUFFERS, &h));
    let mut sent = Sent::default();
    let segment = |seq: u32, ack: u32, flags: u8, payload: &[u8], extended: bool| {
        let options = SynOptions::default();
        let t = build::Tcp { src: peer, dst: us, seq, ack, flags, window: 4096, options, ttl: 60, ip_id: 0 };
        let mut b = vec![0; t.len()];
        t.emit(&mut b);
        b.extend_from_slice(payload);
        build::finish(&mut b);
        if extended {
            // Hop-by-hop options, destination options, then TCP.
            b[6] = 0;
            let length = (b.len() - 40 + 16) as u16;
            b[4..6].copy_from_slice(&length.to_be_bytes());
            b.splice(40..40, [60, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0]);
        }
        b
    };
    for (p, extended) in [(&b""[..], false), (b"USER a\r\n", false), (b"PASS b\r\n", true)] {
        let seq = if extended { 109 } else { 101 };
        let mut b = segment(seq, 901, ACK, p, extended);
        assert!(parse_ip(&b, 0).unwrap().transport_checksum_ok(&b));
        stack.receive(now, &mut b, &mut sent);
        stack.poll(now, &mut sent);
    }
    let mut all = Vec::new();
    stack.read(LEG, |b| {
        all.extend_from_slice(b);
        b.len()
    });
    assert_eq!(all, b"USER a\r\nPASS b\r\n");
    sent.take();
    let long = vec![7; 3000];
    assert_eq!(stack.write(LEG, &long), 3000);
    stack.poll(now, &mut sent);
    let got = sent.take();
    assert_eq!((got[0].0.src, got[0].0.dst, got[0].0.ack), (us, peer, 117));
    assert!(got.iter().all(|(_, p, _)| p.len() <= 1440) && got[0].1.len() == 1440);
    // Our own connection, with our SYN.
    let data = SocketAddr::new(us.ip(), 20);
    assert!(stack.connect(now, Conn(1), data, peer, BUFFERS, 77, None));
    stack.poll(now, &mut sent);
    let syn = sent.take().pop().unwrap().0;
    assert_eq!((syn.seq, syn.flags, syn.src, syn.dst), (77, SYN, data, peer));
}

/// The sender fills the window that it was given first. What scaling rounds off has moved its edge back since.
#[test]
fn a_fin_is_believed_with_all_that_is_before_it_only() {
    const SIZE: usize = 1 << 20;
    const PIECE: usize = 1449;
    let mut l = Leg::with(1000, 5000, Buffers { rx: SIZE, tx: 4096 }, Some(7));
    let bytes: Vec<u8> = (0..SIZE).map(|n| (n % 251) as u8).collect();
    let mut got = Vec::new();
    // The last segment comes until it is acknowledged with its FIN, as a sender sends it.
    for _ in 0..3 {
        for (n, piece) in bytes.chunks(PIECE).enumerate() {
            let last = (n + 1) * PIECE >= SIZE;
            l.receive((n * PIECE) as u32, if last { ACK | FIN } else { ACK }, piece);
            l.later(Duration::from_millis(20));
        }
        if l.stack.at_end(LEG) {
            break;
        }
        got.extend(l.read());
    }
    got.extend(l.read());
    assert!(l.stack.at_end(LEG));
    assert_eq!(got.len(), SIZE);
    assert!(got == bytes);
}

/// A copy of our last acknowledgement reaches a peer that is done, and that answers with a reset.
#[test]
fn a_reset_after_both_ends_are_acknowledged_takes_nothing_back() {
    let mut l = Leg::open(100, 900);
    l.stack.close(LEG);
    l.later(Duration::from_millis(1));
    // Their FIN, which acknowledges ours.
    l.own = l.own.wrapping_add(1);
    l.receive(0, ACK | FIN, b"");
    assert_eq!(l.stack.state(LEG), ConnState::Closed);
    l.receive(1, RST, b"");
    assert_eq!(l.stack.state(LEG), ConnState::Closed, "it was over");
    assert!(l.stack.at_end(LEG));
    // Before that a reset is one: our FIN is not acknowledged yet.
    let mut l = Leg::open(100, 900);
    l.stack.close(LEG);
    l.later(Duration::from_millis(1));
    l.receive(0, ACK | FIN, b"");
    l.receive(1, RST, b"");
    assert_eq!(l.stack.state(LEG), ConnState::Reset);
}
