//! Inspected sessions whose ends send what they may and acknowledge nothing: what is held of one of them, and of many.

use crate::count;
use crate::ftp_net::{Inside, Net, Outside, SERVER, addr, packet_with, settings};
use std::fs;
use std::path::Path;
use tidegate::time::Duration;
use tidegate::wire::tcp::{ACK, PSH, SYN};

/// What one session may hold: both directions' 256 KiB of lines, twice that as buffers double, 64 KiB of what came early,
/// their edits, and the rules' 64 commands and a held reply.
const MOST_OF_ONE: isize = 1536 << 10;
/// What all may: see `Limits::held`.
const MOST_OF_ALL: isize = 512 << 20;
/// A segment's payload.
const SIZE: usize = 1440;

/// Both ends of a control connection, and how far each has sent.
struct Hostile {
    client: std::net::SocketAddr,
    sent: [u32; 2],
}

impl Hostile {
    /// A client's packet (or the server's), of which only what it has is acknowledged: nothing, but for the login.
    fn put(&mut self, net: &mut Net, of_client: bool, ahead: u32, payload: &[u8], acks: bool) {
        let (own, other) = if of_client { (0, 1) } else { (1, 0) };
        let server = addr(SERVER);
        let ends = if of_client { (self.client, server) } else { (server, self.client) };
        let ack = if acks { self.sent[other] } else { 1001 };
        let bytes = packet_with(ends, (self.sent[own].wrapping_add(ahead), ack), ACK | PSH, &[], payload);
        _ = net.put(if of_client { Inside } else { Outside }, bytes);
        if ahead == 0 {
            self.sent[own] = self.sent[own].wrapping_add(payload.len() as u32);
        }
    }

    /// Windows of a gigabyte, and a login.
    fn new(net: &mut Net, client: &str) -> Self {
        let (client, server) = (addr(client), addr(SERVER));
        const OPTIONS: [u8; 8] = [2, 4, 5, 180, 1, 3, 3, 14];
        _ = net.put(Inside, packet_with((client, server), (1000, 0), SYN, &OPTIONS, b""));
        _ = net.put(Outside, packet_with((server, client), (1000, 1001), SYN | ACK, &OPTIONS, b""));
        let mut all = Self { client, sent: [1001, 1001] };
        all.put(net, true, 0, b"", true);
        for (of_client, line) in [
            (false, "220 a\r\n"),
            (true, "USER a\r\n"),
            (false, "331 b\r\n"),
            (true, "PASS b\r\n"),
            (false, "230 c\r\n"),
        ] {
            all.put(net, of_client, 0, line.as_bytes(), true);
            all.put(net, !of_client, 0, b"", true);
        }
        all
    }

    fn stream(&mut self, net: &mut Net, of_client: bool, bytes: &[u8]) {
        for part in bytes.chunks(SIZE) {
            self.put(net, of_client, 0, part, false);
        }
    }

    /// All that an end can send, and no end acknowledges.
    fn fill(&mut self, net: &mut Net) {
        let line = |head: &str, of: u8, len: usize| {
            let mut line = head.as_bytes().to_vec();
            line.resize(len - 2, of);
            line.extend(b"\r\n");
            line
        };
        // Replies, then one that is not whole: answers of ours wait for its end.
        for _ in 0..40 {
            self.stream(net, false, &line("200 ", b'y', 4000));
        }
        self.stream(net, false, b"2");
        for _ in 0..600 {
            self.put(net, true, 0, b"RETR a\0b\r\n", false);
        }
        // Commands that are changed, and held when 64 are without an answer.
        for _ in 0..80 {
            self.stream(net, true, &line("NOOP ", b'x', 4000));
        }
        for _ in 0..40 {
            let mut changed = line("NO", b'z', 4000);
            changed.splice(1..1, [0xFF, 0xF1]);
            self.stream(net, true, &changed);
        }
        // And what comes early.
        for n in 1..20 {
            for of_client in [true, false] {
                self.put(net, of_client, 8000 + n * 2000, &[b'e'; SIZE], false);
            }
        }
    }
}

fn net() -> Net {
    let mut o = settings();
    (o.limits.sessions, o.limits.sessions_per_client) = (10_000, 10_000);
    let mut net = Net::new(o);
    net.around = count::within;
    net
}

/// What the firewall holds in its own reckoning.
fn reckoned(net: &Net) -> isize {
    net.occupied("bytes of inspected sessions' lines") as isize
}

#[test]
fn a_hostile_session_holds_no_more_than_its_caps() {
    let mut net = net();
    let mut one = Hostile::new(&mut net, "10.0.0.5:4000");
    let before = (count::live(), reckoned(&net));
    one.fill(&mut net);
    net.clear();
    let held = count::live() - before.0;
    println!("bytes that a hostile inspected session holds: {held}, {} by its own count", reckoned(&net));
    let figures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("figures");
    fs::create_dir_all(&figures).unwrap();
    fs::write(figures.join("hostile-inspected"), format!("a hostile inspected session holds {held} bytes\n"))
        .unwrap();
    // It has come near to its caps, and is where it says to be.
    assert!((400 << 10..MOST_OF_ONE).contains(&held), "{held}");
    assert!((held - reckoned(&net)).abs() < 64 << 10, "{held}, {}", reckoned(&net));
    // More of it changes nothing.
    one.fill(&mut net);
    net.clear();
    assert!(count::live() - before.0 < MOST_OF_ONE);
    net.pass(Duration::from_secs(2000));
    for (what, n) in net.fw.occupied() {
        assert_eq!(n, 0, "{what}");
    }
}

#[test]
fn hostile_sessions_together_hold_no_more_than_all_may() {
    let mut net = net();
    let mut good = Hostile::new(&mut net, "10.0.1.5:4000");
    let (before, mut most) = (count::live(), 0);
    for n in 0..700 {
        let mut one = Hostile::new(&mut net, &format!("10.0.0.5:{}", 10_000 + n));
        one.fill(&mut net);
        net.clear();
        most = most.max(count::live() - before);
        if net.count("held_ended") > 5 {
            break;
        }
    }
    println!("bytes that hostile inspected sessions hold together: {most}");
    assert!((200 << 20..MOST_OF_ALL).contains(&most), "{most}");
    assert!(net.count("held_ended") > 0, "none was ended");
    // Who holds little is served as before.
    let at = net.left.len();
    good.put(&mut net, true, 0, b"NOOP\r\n", true);
    assert!(net.left[at..].iter().any(|(side, p)| *side == Outside && p.ends_with(b"NOOP\r\n")));
}
