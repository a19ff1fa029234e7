//! Ends that make their segments by hand: they cut, repeat, overlap and acknowledge where it suits them. What is
//! taken for a command or a reply never depends on it.

use crate::support::*;
use etherparse::PacketBuilder;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use tidegate::event::What;
use tidegate::session::ServerMode;
use tidegate::time::Duration;

const ACK: u8 = 0x10;

/// A client and a server without stacks.
fn ends(six: bool) -> (SocketAddr, SocketAddr) {
    if six {
        let host = |net, n| Ipv6Addr::new(0xfd00, 0, 0, net, 0, 0, 0, n);
        return ((host(0, 0x77), 4000).into(), (host(1, 0x99), 21).into());
    }
    ((Ipv4Addr::new(10, 0, 0, 77), 4000).into(), (Ipv4Addr::new(10, 1, 0, 99), 21).into())
}

/// The line by which the client names a port of its own.
fn names(six: bool) -> &'static str {
    if six { "EPRT |2|fd00::77|51210|\r\n" } else { "PORT 10,0,0,77,200,10\r\n" }
}

/// One end of a control connection.
struct End {
    leg: usize,
    at: SocketAddr,
    peer: SocketAddr,
    /// Number of its first byte.
    own: u32,
    /// Number of the first byte that it is sent.
    theirs: u32,
    /// How much it has said.
    said: u32,
    /// What it was sent.
    got: Vec<u8>,
    /// How much of that it has read.
    read: usize,
    /// Where each segment to it began, and its length.
    parts: Vec<(usize, usize)>,
    /// It acknowledges all that comes.
    polite: bool,
}

/// How bytes are sent whose part behind `cut` has a meaning of its own.
#[derive(Debug, Clone, Copy)]
enum Form {
    Whole,
    /// In two segments.
    Cut,
    /// Whole, and then its second part again.
    Again,
    /// The first part, then twice the second.
    CutAgain,
    /// The second part first.
    Behind,
    /// The second part first, and then whole.
    BehindWhole,
    /// The second part by itself, again and again, before the first.
    Insisting,
}

const FORMS: [Form; 7] =
    [Form::Whole, Form::Cut, Form::Again, Form::CutAgain, Form::Behind, Form::BehindWhole, Form::Insisting];

/// A session between two such ends.
struct Hands {
    w: World,
    client: End,
    server: End,
}

impl Hands {
    fn new(by: Meeting) -> Self {
        let mut w = World::new(by.options());
        let (c, s) = ends(by.six());
        let end = |leg, at, peer, own| End {
            leg,
            at,
            peer,
            own,
            theirs: 0,
            said: 0,
            got: vec![],
            read: 0,
            parts: vec![],
            polite: true,
        };
        w.host_sends(0, &segment(c, s, 1000, 0, 2));
        w.settle();
        let ours = w.strays.drain(..).find_map(|(_, p)| tcp_any_of(&p)).unwrap();
        w.host_sends(1, &segment(s, ours.src, 70_000, ours.seq.wrapping_add(1), 0x12));
        w.settle();
        let answer = w.strays.drain(..).find_map(|(_, p)| tcp_any_of(&p)).unwrap();
        assert_eq!(ours.src.ip() == c.ip(), by.spoofed());
        let (mut client, mut server) = (end(0, c, s, 1001), end(1, s, ours.src, 70_001));
        client.theirs = answer.seq.wrapping_add(1);
        server.theirs = ours.seq.wrapping_add(1);
        let mut h = Self { w, client, server };
        h.segment(true, 0, ACK, b"");
        assert_eq!(h.w.sessions(), 1);
        for (line, code) in [("", "220"), ("USER u\r\n", "331"), ("PASS p\r\n", "230")] {
            h.say(true, line.as_bytes());
            h.say(false, format!("{code} x\r\n").as_bytes());
            assert_eq!((h.heard(false), h.heard(true)), (line.into(), format!("{code} x\r\n")));
        }
        h
    }

    fn end(&mut self, client: bool) -> &mut End {
        if client { &mut self.client } else { &mut self.server }
    }

    /// A segment of an end's, `at` bytes behind its first one, as it is on the wire.
    fn packet(&mut self, client: bool, at: u32, flags: u8, bytes: &[u8]) -> Vec<u8> {
        let e = self.end(client);
        let ack = e.theirs.wrapping_add(e.got.len() as u32);
        let (ports, seq) = ((e.at.port(), e.peer.port()), e.own.wrapping_add(at));
        let mut b = match (e.at, e.peer) {
            (SocketAddr::V6(at), SocketAddr::V6(peer)) => {
                PacketBuilder::ipv6(at.ip().octets(), peer.ip().octets(), 60).tcp(ports.0, ports.1, seq, 8192)
            }
            (SocketAddr::V4(at), SocketAddr::V4(peer)) => {
                PacketBuilder::ipv4(at.ip().octets(), peer.ip().octets(), 60).tcp(ports.0, ports.1, seq, 8192)
            }
            _ => panic!("of two families"),
        }
        .ack(ack);
        if flags & 0x20 != 0 {
            b = b.urg(bytes.len() as u16);
        }
        if flags & 4 != 0 {
            b = b.rst();
        }
        let mut packet = Vec::new();
        b.write(&mut packet, bytes).unwrap();
        packet
    }

    fn segment(&mut self, client: bool, at: u32, flags: u8, bytes: &[u8]) {
        let packet = self.packet(client, at, flags, bytes);
        let leg = self.end(client).leg;
        self.w.host_sends(leg, &packet);
        self.run();
    }

    /// Takes in what has come for the ends; a byte that was sent once is never sent otherwise.
    fn run(&mut self) {
        for _ in 0..20 {
            self.w.pass(Duration::from_micros(500));
            let strays = std::mem::take(&mut self.w.strays);
            if strays.is_empty() {
                return;
            }
            for (leg, p) in strays {
                let Some(t) = tcp_any_of(&p) else { continue };
                let e = self.end(leg == 0);
                if t.src != e.peer || t.dst != e.at {
                    continue;
                }
                assert_eq!(t.flags & 0x26, 0, "a reset, a SYN or urgent data: {t:?}");
                let at = t.seq.wrapping_sub(e.theirs) as usize;
                assert!(at <= e.got.len(), "a hole before {t:?}");
                let known = t.payload.len().min(e.got.len() - at);
                assert_eq!(t.payload[..known], e.got[at..at + known], "sent otherwise than before");
                e.got.extend_from_slice(&t.payload[known..]);
                if t.payload.is_empty() {
                    continue;
                }
                e.parts.push((at, t.payload.len()));
                if e.polite {
                    let (said, client) = (e.said, leg == 0);
                    let packet = self.packet(client, said, ACK, b"");
                    self.w.host_sends(leg, &packet);
                }
            }
        }
    }

    /// An end says this in one segment.
    fn say(&mut self, client: bool, bytes: &[u8]) {
        self.say_in(Form::Whole, client, bytes, 0);
    }

    fn say_in(&mut self, form: Form, client: bool, bytes: &[u8], cut: usize) {
        let (first, second) = bytes.split_at(cut);
        let at = self.end(client).said;
        let behind = at + cut as u32;
        let order: &[(u32, &[u8])] = match form {
            Form::Whole => &[(at, bytes)],
            Form::Cut => &[(at, first), (behind, second)],
            Form::Again => &[(at, bytes), (behind, second)],
            Form::CutAgain => &[(at, first), (behind, second), (behind, second)],
            Form::Behind => &[(behind, second), (at, first)],
            Form::BehindWhole => &[(behind, second), (at, bytes)],
            Form::Insisting => &[(behind, second), (behind, second), (behind, second), (at, first)],
        };
        for (at, bytes) in order {
            self.segment(client, *at, ACK, bytes);
        }
        self.end(client).said += bytes.len() as u32;
        self.run();
    }

    /// What an end has received since the last call.
    fn heard(&mut self, client: bool) -> String {
        self.run();
        let e = self.end(client);
        let new = String::from_utf8_lossy(&e.got[e.read..]).into_owned();
        e.read = e.got.len();
        new
    }

    /// Commands as they were understood.
    fn commands(&self) -> Vec<String> {
        self.w.told(|e| match e {
            What::Command { verb, argument, .. } => Some(format!("{verb} {argument}").trim_end().to_owned()),
            _ => None,
        })
    }

    /// Data connections that were announced.
    fn opened(&self) -> u64 {
        self.w.told(|e| matches!(e, What::Expectation { state: "opened", .. }).then_some(())).len() as u64
    }
}

/// What the client is told for PASV or EPSV by [`ends`]' server, but for the port.
fn told_passive(by: Meeting) -> &'static str {
    if by.six() {
        "229 Entering Extended Passive Mode (|||20"
    } else {
        "227 Entering Passive Mode (10,1,0,99,7,"
    }
}

#[test]
fn a_reply_in_an_error_text_is_none_wherever_a_segment_begins() {
    for by in Meeting::ALL {
        // CERT VU#328867: the attacker has the server say this, and lets a segment begin where it likes.
        let trap = if by.six() {
            "229 Entering Extended Passive Mode (|||51210|)"
        } else {
            "227 Entering Passive Mode (10,1,0,99,200,10)"
        };
        let answer = told_passive(by);
        let asked = format!("{}\r\n", by.passive());
        for form in FORMS {
            for behind in [false, true] {
                let mut h = Hands::new(by);
                h.say(true, format!("NLST {trap}\r\n").as_bytes());
                assert_eq!(h.heard(false), format!("NLST {trap}\r\n"));
                if behind {
                    // A PASV that waits for its own answer does not take this one.
                    h.say(true, asked.as_bytes());
                }
                h.client.polite = false;
                h.say_in(form, false, format!("550 {trap}: no such file\r\n").as_bytes(), 4);
                let told = format!("550 {trap}: no such file\r\n");
                assert_eq!(h.heard(true), told, "{by:?} {form:?}");
                assert_eq!((h.opened(), h.w.counter("unasked_addresses")), (0, 0), "{by:?} {form:?}");
                // The client takes the first four bytes only: what is sent again begins with the trap.
                let (start, said) = (h.client.got.len() - told.len(), h.client.said);
                let mut taken = std::mem::take(&mut h.client.got);
                let rest = taken.split_off(start + 4);
                h.client.got = taken;
                h.segment(true, said, ACK, b"");
                h.client.parts.clear();
                h.w.pass(Duration::from_secs(3));
                h.client.got.extend(rest);
                h.run();
                assert!(
                    h.client.parts.iter().any(|(at, _)| *at == start + 4),
                    "{by:?} {form:?}: {:?}",
                    h.client.parts
                );
                h.client.polite = true;
                h.segment(true, said, ACK, b"");
                assert_eq!((h.opened(), h.w.counter("steered")), (0, 0), "{by:?} {form:?}");
                if !behind {
                    h.say(true, asked.as_bytes());
                }
                assert_eq!(h.heard(false), "EPSV\r\n", "{by:?} {form:?}");
                h.say(false, b"229 Extended (|||51211|)\r\n");
                let told = h.heard(true);
                assert!(told.starts_with(answer), "{by:?} {form:?}: {told}");
                assert_eq!((h.opened(), h.w.counter("steered")), (1, 1), "{by:?} {form:?}");
            }
        }
    }
}

#[test]
fn a_command_in_a_file_name_is_none_wherever_a_segment_begins() {
    // Whoever writes an address that a client follows chooses its file names (and, by the MSS, its segments).
    let four = [
        ("RETR PORT 10,0,0,77,200,10\r\n", 5),
        ("CWD /x/EPRT |1|10.0.0.77|51210|\r\n", 7),
        ("NOOP PASV\r\n", 5),
        ("RETR a PORT 10,0,0,77,200,10\r\n", 6),
    ];
    let six = [
        ("RETR EPRT |2|fd00::77|51210|\r\n", 5),
        ("CWD /x/EPRT |2|fd00::77|51210|\r\n", 7),
        ("NOOP EPSV\r\n", 5),
    ];
    let all = Meeting::ALL.into_iter().flat_map(|by| {
        let names = if by.six() { &six[..] } else { &four };
        names.iter().map(move |(name, cut)| (by, *name, *cut))
    });
    for (by, name, cut) in all {
        for form in FORMS {
            let mut h = Hands::new(by);
            h.server.polite = false;
            h.say_in(form, true, name.as_bytes(), cut);
            assert_eq!(h.heard(false), name, "{form:?}");
            assert_eq!(h.heard(true), "", "{form:?}");
            // The server takes the harmless part only: what is sent again is the same.
            let (start, said) = (h.server.got.len() - name.len(), h.server.said);
            let rest = h.server.got.split_off(start + cut);
            h.segment(false, said, ACK, b"");
            h.server.parts.clear();
            h.w.pass(Duration::from_secs(3));
            h.server.got.extend(rest);
            h.run();
            assert!(
                h.server.parts.iter().any(|(at, _)| *at == start + cut),
                "{form:?}: {:?}",
                h.server.parts
            );
            h.server.polite = true;
            h.say(false, b"550 no\r\n");
            assert_eq!((h.heard(true), h.heard(false)), ("550 no\r\n".into(), String::new()), "{form:?}");
            assert_eq!(h.commands()[2..], [name.trim_end()], "{form:?}");
            assert_eq!(h.opened(), 0, "{form:?}");
        }
    }
}

#[test]
fn bytes_that_come_twice_and_differ_are_read_as_they_are_passed_on() {
    for by in Meeting::ALL {
        // In order: what was taken stays, and what is new behind it is a line of its own.
        let mut h = Hands::new(by);
        let at = h.client.said;
        h.segment(true, at, ACK, b"NOOP a\r\n");
        h.segment(true, at, ACK, names(by.six()).as_bytes());
        h.client.said += names(by.six()).len() as u32;
        assert_eq!(h.heard(false), "NOOP a\r\n");
        h.say(false, b"200 ok\r\n");
        assert_eq!(h.heard(true), "200 ok\r\n500 Command not understood.\r\n");
        assert_eq!((h.opened(), h.commands()[2..].len()), (0, 1));
        // Out of order: one of two versions, and the same one is looked at and passed on.
        for hidden in [false, true] {
            let named = names(by.six());
            let (held, filler) = (format!("x\r\n{named}"), format!("{}\r\n", "y".repeat(named.len() + 1)));
            let (held, filler) = if hidden { (filler, held) } else { (held, filler) };
            let mut h = Hands::new(by);
            let at = h.client.said;
            h.segment(true, at + 5, ACK, held.as_bytes());
            h.segment(true, at, ACK, format!("NOOP {filler}").as_bytes());
            h.segment(true, at + 5, ACK, held.as_bytes());
            h.client.said += 5 + held.len() as u32;
            let heard = h.heard(false);
            let commands = h.commands()[2..].to_vec();
            // A held byte may be replaced; what was looked at is what went out.
            match &commands[..] {
                [noop] => assert_eq!(heard, format!("{noop}\r\n")),
                [noop, port] => {
                    assert_eq!(
                        (&noop[..], &port[..], &heard[..]),
                        ("NOOP x", named.trim_end(), "NOOP x\r\nEPSV\r\n")
                    );
                }
                other => panic!("{other:?}"),
            }
            // Whichever it was, it stays.
            h.segment(true, at + 5, ACK, filler.as_bytes());
            h.segment(true, at + 5, ACK, held.as_bytes());
            assert_eq!((h.heard(false), h.commands().len()), (String::new(), 2 + commands.len()));
        }
    }
}

#[test]
fn replies_that_come_twice_and_differ_are_read_as_they_are_passed_on() {
    for by in Meeting::ALL {
        let (a, b) =
            ("200 first\r\n", if by.six() { "229 (|||51210|)\r\n" } else { "227 (10,1,0,99,200,10)\r\n" });
        for (first, second) in [(a, b), (b, a)] {
            let mut h = Hands::new(by);
            h.say(true, format!("{}\r\n", by.passive()).as_bytes());
            assert_eq!(h.heard(false), "EPSV\r\n");
            let at = h.server.said;
            h.segment(false, at, ACK, first.as_bytes());
            let told = h.heard(true);
            // An answer was given: no repetition in other words is another one.
            h.segment(false, at, ACK, &second.as_bytes()[..11]);
            assert_eq!(h.heard(true), "");
            let steered = u64::from(first == b);
            assert_eq!(told.starts_with(told_passive(by)), first == b, "{by:?}: {told}");
            assert_eq!((h.w.counter("steered"), h.opened()), (steered, steered));
        }
    }
}

#[test]
fn segments_that_no_end_would_take_are_not_read() {
    for by in Meeting::ALL {
        let evil = names(by.six()).as_bytes();
        let mut h = Hands::new(by);
        let at = h.client.said;
        // A wrong checksum.
        let mut damaged = h.packet(true, at, ACK, evil);
        damaged[if by.six() { 56 } else { 36 }] ^= 0x40;
        h.w.damaged = true;
        h.w.host_sends(0, &damaged);
        h.run();
        h.w.damaged = false;
        // Beyond the window, before it, and a reset that is nowhere in it.
        h.segment(true, at + 100_000, ACK, evil);
        h.segment(true, at.wrapping_sub(evil.len() as u32), ACK, evil);
        h.segment(true, at + 100_000, 4, b"");
        h.segment(false, 200_000, 4, b"");
        assert_eq!((h.heard(false), h.heard(true), h.opened()), (String::new(), String::new(), 0));
        assert_eq!(h.w.sessions(), 1);
        // Its real bytes at the same place.
        h.say(true, b"NOOP\r\n");
        assert_eq!(h.heard(false), "NOOP\r\n");
        assert_eq!(h.commands()[2..], ["NOOP"]);
    }
}

#[test]
fn an_urgent_byte_stays_in_its_place_and_is_urgent_no_more() {
    for by in Meeting::ALL {
        let mut h = Hands::new(by);
        let at = h.client.said;
        // Whoever takes the urgent byte out of the line reads PORT.
        let (before, behind) = names(by.six()).split_at(2);
        h.segment(true, at, 0x20, format!("{before}!").as_bytes());
        h.segment(true, at + 3, ACK, behind.as_bytes());
        h.client.said += 3 + behind.len() as u32;
        assert_eq!(
            (h.heard(false), h.heard(true)),
            (String::new(), "500 Command not understood.\r\n".into())
        );
        assert_eq!(h.opened(), 0);
        // Nor does it jump ahead, or stay urgent toward the server ([`Hands::run`] looks).
        let at = h.client.said;
        h.segment(true, at, 0x20, b"CWD a!");
        assert_eq!(h.heard(false), "");
        h.segment(true, at + 6, ACK, b"b\r\n");
        h.client.said += 9;
        assert_eq!(h.heard(false), "CWD a!b\r\n");
    }
}

#[test]
fn a_data_connection_that_another_opens_is_not_the_servers() {
    for by in Meeting::ALL {
        let mut o = Options { clients: 2, ..by.options() };
        o.service.server_mode = ServerMode::Active;
        o.server.files.insert("f".into(), vec![7; 1000]);
        let mut w = World::new(o);
        let thief = w.hosts.len();
        w.hosts.push(Host::new(EVIL, 1, 66));
        let mut c = w.login(0, 5001);
        let to = w.passive_any(&mut c, "EPSV");
        let named = w.server.lines(0).pop().unwrap();
        let port = match named.split('|').nth(3) {
            Some(port) => port.parse().unwrap(),
            None => {
                let n: Vec<u16> = named[5..].split(',').map(|n| n.parse().unwrap()).collect();
                n[4] << 8 | n[5]
            }
        };
        let ours: SocketAddr = match by {
            Meeting::Spoofed | Meeting::SixSpoofed => w.at(0, port),
            Meeting::Six => (GATEWAY6, port).into(),
            Meeting::Gre | Meeting::L2 => (GATEWAY, port).into(),
        };
        // Another server, with the right port as well, and another client.
        w.gateway_shows = true;
        for (host, port) in [(thief, 20), (thief, 4000), (1, 20)] {
            let s = w.hosts[host].connect(port, ours);
            w.pass(Duration::from_secs(1));
            assert_eq!(w.hosts[host].state(s), smoltcp::socket::tcp::State::Closed, "{host} {port}");
        }
        w.gateway_shows = false;
        let d = w.data(&mut c, to);
        assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
        assert!(w.read_all(&c, d) == vec![7; 1000]);
        assert_eq!(&w.reply(&mut c)[..3], "226");
    }
}
