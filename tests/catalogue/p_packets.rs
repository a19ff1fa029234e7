//! P: packets that are not what they seem. The cases of the stream itself are in `tests/alg`.

use crate::g_setup::{PORT, PORT_OUT, accepted};
use crate::net::Net;
use crate::packet::{Packet, piece};
use crate::setup::{CLIENT, SERVER, Setup, WAYS, at, case, case_with};
use crate::support::{ACK, PSH, Seg};
use tidegate::alg::rules::Profile::Standard;
use tidegate::firewall::{Action, Side};

impl Net {
    /// The client's next segment, made by hand: its host knows nothing of it.
    fn by_hand(&self, payload: &[u8]) -> Packet {
        let c = &self.conns[0];
        let seg = Seg {
            seq: c.client.manner.isn.wrapping_add(1 + c.client.stream.len() as u32),
            ack: c.server.manner.isn.wrapping_add(1 + c.server.stream.len() as u32),
            flags: ACK | PSH,
            window: 30_000,
            payload: payload.to_vec(),
            ..Seg::default()
        };
        Packet::new(self.near().0, self.near().1, seg)
    }

    /// The client's host knows of it from now on: it has sent it.
    fn says_now(&mut self, payload: &[u8]) {
        self.conns[0].client.stream.extend(payload);
        self.settle();
    }
}

/// The lines are rewritten however they are cut: `tests/alg/lines.rs`.
#[test]
fn p23_of_two_ports_in_one_segment_the_second_one_stands() {
    case(Standard, |net| {
        net.c("PORT 10,0,0,5,19,137\r\nPORT 10,0,0,5,19,138\r\n");
        net.server_gets("PORT 203,0,113,9,19,137\r\nPORT 203,0,113,9,19,138\r\n");
        net.s("200 one\r\n");
        net.client_gets("200 one\r\n");
        net.nothing_is_open(&[5001, 5002]);
        net.s("200 two\r\n");
        net.client_gets("200 two\r\n");
        net.nothing_is_open(&[5001]);
        net.active_comes_once(5002, 5002);
        net.nothing_is_open(&[5001]);
    });
}

#[test]
fn p26_a_segment_with_a_wrong_checksum_was_never_there() {
    case(Standard, |net| {
        let mut bytes = net.by_hand(b"PORT 10,0,0,5,19,137\r\n").build(9);
        bytes[36] ^= 0x55;
        assert_eq!(net.raw(Side::Inside, &bytes), []);
        net.settle();
        net.server_gets("");
        net.c("NOOP\r\n");
        net.server_gets("NOOP\r\n");
        net.s("200 ok\r\n");
        net.client_gets("200 ok\r\n");
        net.nothing_is_open(&[5001]);
    });
}

/// A router drops it, so the server never has it; what the client sends then is what counts.
#[test]
fn p28_a_segment_that_dies_here_was_never_there() {
    case(Standard, |net| {
        let mut dying = net.by_hand(b"PORT 10,0,0,5,19,137\r\n");
        dying.ttl = 1;
        let out = net.raw(Side::Inside, &dying.build(9));
        assert!(out.iter().all(|o| o.0 == Side::Inside), "it went on: {out:?}");
        net.settle();
        net.server_gets("");
        net.c("NOOP\r\n");
        net.server_gets("NOOP\r\n");
        net.s("200 ok\r\n");
        net.client_gets("200 ok\r\n");
        net.nothing_is_open(&[5001]);
    });
    // What has few hops left, where the client's packets have many, is for us alone: it goes no further and is not read.
    for (hop, ttl) in [(true, 2), (true, 3), (false, 1), (false, 2)] {
        case_with(
            Standard,
            |s| s.settings.hop = hop,
            |net| {
                let mut dying = net.by_hand(b"PORT 10,0,0,5,19,137\r\n");
                dying.ttl = ttl;
                assert_eq!(net.raw(Side::Inside, &dying.build(9)), [], "{hop} {ttl}");
                net.settle();
                net.server_gets("");
                assert_eq!(net.counter("dying_segments"), 1);
                net.c("DELE a\r\n");
                net.server_gets("DELE a\r\n");
                net.s("200 ok\r\n");
                net.client_gets("200 ok\r\n");
                net.nothing_is_open(&[5001]);
            },
        );
    }
    // With one more it goes on: then it is what the server gets, whoever sends what afterwards.
    for (hop, ttl) in [(true, 4), (false, 3)] {
        case_with(
            Standard,
            |s| s.settings.hop = hop,
            |net| {
                let mut near = net.by_hand(b"NOOP 1\r\n");
                near.ttl = ttl;
                net.cut[1] = true;
                net.give(Side::Inside, &near);
                net.wait(20);
                assert!(net.lost.iter().any(|s| s.payload == b"NOOP 1\r\n"), "{hop} {ttl}");
                net.cut[1] = false;
                net.says_now(b"DELE a\r\n");
                net.wait(3000);
                net.server_gets("NOOP 1\r\n");
                assert_eq!(net.counter("dying_segments"), 0);
            },
        );
    }
}

#[test]
fn p37_fragments_are_read_as_one_and_overlaps_are_dropped() {
    for (size, backwards) in [(8, false), (24, false), (24, true), (32, true)] {
        case(Standard, |net| {
            // Small first pieces, with less than a TCP header, are an attack of their own.
            let mut pieces = net.by_hand(PORT.as_bytes()).pieces(77, size, false);
            if backwards {
                pieces.reverse();
            }
            net.cut[0] = true;
            for p in pieces {
                net.raw(Side::Inside, &p);
            }
            net.wait(50);
            if size < 20 {
                net.server_gets("");
            }
            net.conns[0].client.stream.extend(PORT.bytes());
            net.step(net.now + 1);
            net.cut[0] = false;
            net.settle();
            net.server_gets(PORT_OUT);
            accepted(net);
        });
    }
    case(Standard, |net| {
        net.cut[0] = true;
        let p = net.by_hand(PORT.as_bytes());
        let whole = p.pieces(78, 24, false);
        net.raw(Side::Inside, &whole[0]);
        // Over the end of the first piece: another address.
        net.raw(Side::Inside, &piece(&p, 78, 16, b"\x75\x30\0\0\0\0\0\0PORT 10,", true, false));
        net.raw(Side::Inside, &whole[1]);
        // The overlap is dropped: what is left is one line, or nothing.
        net.conns[0].client.stream.extend(PORT.bytes());
        net.step(net.now + 1);
        net.cut[0] = false;
        net.settle();
        net.server_gets(PORT_OUT);
        accepted(net);
    });
}

#[test]
fn p38_ipv6_with_extension_headers_and_fragments() {
    let line = b"EPRT |2|2001:db8:1::5|5001|\r\n";
    for way in WAYS {
        let mut net = Net::new(&Setup::v6(Standard).way(way));
        net.log_in();
        net.cut[0] = true;
        for p in net.by_hand(line).pieces(79, 24, true) {
            net.raw(Side::Inside, &p);
        }
        net.wait(50);
        net.server_gets(line);
        net.cut[0] = false;
        net.says_now(line);
        let (server, client) = (at("2001:db8:2::7", 20), at("2001:db8:1::5", 5001));
        assert_eq!(net.syn(Side::Outside, server, client), None);
        net.s("200 ok\r\n");
        net.client_gets("200 ok\r\n");
        assert!(net.syn(Side::Outside, server, client).is_some());
        net.c("EPSV\r\n");
        net.server_gets("EPSV\r\n");
        net.s("229 Entering Extended Passive Mode (|||51210|)\r\n");
        net.client_gets("229 Entering Extended Passive Mode (|||51210|)\r\n");
        let (client, server) = (at("2001:db8:1::5", 50_001), at("2001:db8:2::7", 51_210));
        assert!(net.syn(Side::Inside, client, server).is_some());
        assert_eq!(net.syn(Side::Inside, at("2001:db8:1::5", 50_002), at("2001:db8:2::7", 51_211)), None);
        net.finish();
    }
}

/// Another gateway takes over in the midst of a session: nothing is known, so all passes, and nothing is opened.
#[test]
fn p43_a_session_that_began_elsewhere_passes_unread() {
    case_with(
        Standard,
        |s| {
            s.settings.nat.masquerade = None;
            s.settings.filter.default = Action::Allow;
        },
        |net| {
            let mut setup = Setup::new(Standard);
            setup.settings.nat.masquerade = None;
            setup.settings.filter.default = Action::Allow;
            net.fw = Net::empty(&setup).fw;
            net.c(PORT);
            net.server_gets(PORT);
            net.s("200 ok\r\n");
            net.client_gets("200 ok\r\n");
            net.c("PASV\r\n");
            net.server_gets("PASV\r\n");
            net.s("227 =198,51,100,7,200,10\r\n");
            net.client_gets("227 =198,51,100,7,200,10\r\n");
            assert_eq!(net.fw.sessions(), 0);
        },
    );
    // Under default deny there is nothing to pass.
    case(Standard, |net| {
        net.fw = Net::empty(&Setup::new(Standard)).fw;
        let (src, dst) = (at(CLIENT, 40_001), at(SERVER, 21));
        let seg = Seg { seq: 5, ack: 6, flags: ACK, window: 1000, payload: PORT.into(), ..Seg::default() };
        assert!(net.give(Side::Inside, &Packet::new(src, dst, seg)).iter().all(|o| o.0 == Side::Inside));
        net.nothing_is_open(&[5001]);
    });
}

/// Only one direction comes this way: it passes unread, and nothing breaks.
#[test]
fn p47_one_direction_alone_opens_nothing() {
    for to_server in [true, false] {
        let mut setup = Setup::new(Standard);
        setup.settings.nat.masquerade = None;
        setup.settings.filter.default = Action::Allow;
        let mut net = Net::empty(&setup);
        let (client, server) = (at(CLIENT, 40_001), at(SERVER, 21));
        let (side, src, dst) =
            if to_server { (Side::Inside, client, server) } else { (Side::Outside, server, client) };
        let lines = if to_server {
            "USER a\r\nPASS b\r\nPORT 10,0,0,5,19,137\r\n"
        } else {
            "220 a\r\n331 b\r\n230 c\r\n200 d\r\n"
        };
        let syn = Seg {
            seq: 100,
            flags: if to_server { 2 } else { 2 | ACK },
            ack: 900,
            window: 1000,
            ..Seg::default()
        };
        net.give(side, &Packet::new(src, dst, syn));
        let mut seq = 101;
        for line in lines.split_inclusive('\n') {
            let seg = Seg { seq, ack: 900, flags: ACK, window: 1000, payload: line.into(), ..Seg::default() };
            let out = net.give(side, &Packet::new(src, dst, seg));
            assert!(out.iter().all(|o| o.1.seg.payload.is_empty() || o.1.seg.payload == line.as_bytes()));
            seq += line.len() as u32;
            net.wait(100);
        }
        let told = net.events().iter().any(|e| e["event"] == "expectation" && e["state"] == "opened");
        assert!(!told);
    }
}
