//! P: the stream of a control connection, with FTP's rules at work: what comes twice, what is marked, what closes.

use crate::e_life::port;
use crate::g_setup::{PORT, PORT_OUT, accepted};
use crate::net::Net;
use crate::packet::Packet;
use crate::setup::{at, case};
use crate::support::{ACK, PSH, Seg};
use tidegate::alg::rules::Profile::{Compat, Standard, Strict};
use tidegate::firewall::Side;

const ABORT: &[u8] = b"\xff\xf4\xff\xf2ABOR\r\n";

impl Net {
    /// What the client has sent so far.
    fn client_sent(&self) -> usize {
        self.conns[0].client.stream.len()
    }

    /// The client says this, the urgent mark behind so many bytes of it, told ahead or not.
    fn marked(&mut self, text: &[u8], behind: usize, foretells: bool) {
        self.conns[0].client.urgent = Some((self.client_sent() + 1 + behind) as u64);
        self.conns[0].client.foretells = foretells;
        self.c(text);
    }

    /// What the server's program reads if it gets urgent bytes apart from the others.
    fn read_apart(&self) -> Vec<u8> {
        self.conns[0].server.read_apart()
    }
}

/// A PORT lost behind the gateway comes again with another address, whole and in halves.
#[test]
fn p25_an_overlap_with_another_address_changes_nothing_and_is_told() {
    let evil = b"PORT 10,0,0,6,23,112\r\n";
    for profile in [Compat, Standard] {
        case(profile, |net| {
            let begin = net.client_sent();
            net.cut[1] = true;
            net.c(PORT);
            net.lost.clear();
            for (from, to) in [(0, evil.len()), (0, 12), (12, evil.len()), (5, evil.len() - 2)] {
                let c = &net.conns[0];
                let seg = Seg {
                    seq: c.client.manner.isn.wrapping_add(1 + (begin + from) as u32),
                    ack: c.server.manner.isn.wrapping_add(1 + c.server.stream.len() as u32),
                    flags: ACK | PSH,
                    window: 30_000,
                    payload: evil[from..to].to_vec(),
                    ..Seg::default()
                };
                let (src, dst) = net.near();
                net.give(Side::Inside, &Packet::new(src, dst, seg));
            }
            net.wait(20);
            let lost: Vec<u8> = net.lost.iter().flat_map(|s| s.payload.clone()).collect();
            assert!(!lost.is_empty() && !lost.windows(6).any(|w| w == b"23,112"), "{lost:?}");
            net.cut[1] = false;
            net.settle();
            net.wait(2000);
            net.server_gets(PORT_OUT);
            assert!(net.counter("conflicts") >= 3);
            let told: Vec<_> = net.events().iter().filter(|e| e["event"] == "conflict").cloned().collect();
            assert_eq!(told.len(), 1, "{told:?}");
            assert_eq!((&told[0]["from"], &told[0]["at"]), (&"client".into(), &begin.into()));
            net.nothing_is_open(&[6000]);
            accepted(net);
        });
    }
}

/// What is `PXORT` to us is that to a server as well, whatever it does with urgent bytes.
#[test]
fn p29_an_urgent_byte_makes_no_other_line() {
    for foretells in [false, true] {
        for profile in [Compat, Standard] {
            case(profile, |net| {
                net.marked(b"PXORT 10,0,0,5,19,137\r\n", 2, foretells);
                net.server_gets("PXORT 10,0,0,5,19,137\r\n");
                assert_eq!(net.read_apart(), net.conns[0].server.got);
                assert!(net.counter("urgent_cleared") > 0);
                net.s("200 whatever\r\n");
                net.client_gets("200 whatever\r\n");
                net.nothing_is_open(&[5001]);
                net.lives();
            });
        }
        // Within one that is announced, at any byte, the first and what is behind the last among them.
        for behind in [1, 3, 9, PORT.len(), PORT.len() + 1] {
            case(Standard, |net| {
                net.marked(PORT.as_bytes(), behind, foretells);
                net.server_gets(PORT_OUT);
                accepted(net);
                net.lives();
                assert_eq!(net.read_apart(), net.conns[0].server.got);
            });
        }
    }
}

#[test]
fn p30_the_synch_before_abor_keeps_its_mark() {
    for profile in [Compat, Standard, Strict] {
        // Behind the DM, and as many clients have it behind the IAC before it.
        for (behind, foretells) in [(4, false), (4, true), (3, false), (3, true)] {
            case(profile, |net| {
                port(net);
                net.marked(ABORT, behind, foretells);
                net.server_gets(ABORT);
                let got = &net.conns[0].server.got;
                let dm = got.iter().rposition(|b| *b == 0xf2).unwrap();
                let want = [&got[..dm], &got[dm + 1..]].concat();
                assert_eq!(net.read_apart(), want, "{behind} {foretells}");
                net.s("226 closed\r\n");
                net.client_gets("226 closed\r\n");
                net.lives();
                assert_eq!(net.counter("urgent_cleared"), 0);
            });
        }
    }
    // The same before another command is none.
    for profile in [Compat, Standard] {
        case(profile, |net| {
            net.marked(b"\xff\xf4\xff\xf2NOOP\r\n", 4, true);
            assert!(net.server_got().ends_with(b"NOOP\r\n"));
            assert_eq!(net.read_apart(), net.conns[0].server.got);
            net.s("200 ok\r\n");
            net.client_gets("200 ok\r\n");
        });
    }
}

#[test]
fn p31_a_client_that_closes_with_its_port() {
    case(Standard, |net| {
        net.conns[0].client.closes = true;
        net.c(PORT);
        net.server_gets(PORT_OUT);
        assert!(net.conns[0].server.peer_closed, "the FIN is not there");
        net.s("200 ok\r\n");
        net.client_gets("200 ok\r\n");
        let there = net.active(20, 5001).expect("the announced data connection");
        assert_eq!(there.dst, at(crate::setup::CLIENT, 5001));
    });
}
