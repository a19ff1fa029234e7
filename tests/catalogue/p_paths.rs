//! P: paths that carry less than the hosts think, behind edits that changed lengths.

use crate::net::Net;
use crate::packet::Packet;
use crate::path::{router, too_big};
use crate::setup::{OUTSIDE, Setup, Way};
use crate::support::{ACK, PSH, Seg};
use tidegate::alg::rules::Profile::Standard;
use tidegate::firewall::Side;

/// How a session is had: its family, whether there are timestamps, and how the network treats it.
#[derive(Debug, Clone, Copy)]
struct Kind {
    v6: bool,
    stamps: bool,
    way: Way,
}

const KINDS: [Kind; 5] = [
    Kind { v6: false, stamps: false, way: Way::Whole },
    Kind { v6: false, stamps: true, way: Way::Whole },
    Kind { v6: false, stamps: false, way: Way::Duplicated },
    Kind { v6: true, stamps: false, way: Way::Whole },
    Kind { v6: true, stamps: true, way: Way::Duplicated },
];

impl Kind {
    /// What the narrow path carries: of IPv6 none carries less (RFC 8200 section 5).
    fn mtu(self) -> usize {
        if self.v6 { 1280 } else { 576 }
    }

    /// An announcement of the client and how the server gets it: longer.
    fn active(self) -> (&'static str, &'static str) {
        if self.v6 {
            ("EPRT |2|2001:db8:1::5|5001\r\n", "EPRT |2|2001:db8:1::5|5001|\r\n")
        } else {
            ("PORT 10,0,0,5,19,137\r\n", "PORT 203,0,113,9,19,137\r\n")
        }
    }

    /// A command, the server's announcement and how the client gets that: longer.
    fn passive(self) -> (&'static str, &'static str, &'static str) {
        if self.v6 {
            ("EPSV\r\n", "229 Ext (||51210|)\r\n", "229 Entering Extended Passive Mode (|||51210|)\r\n")
        } else {
            (
                "PASV\r\n",
                "227 =198,51,100,7,200,10\r\n",
                "227 Entering Passive Mode (198,51,100,7,200,10).\r\n",
            )
        }
    }

    /// A session, logged in.
    fn session(self) -> Net {
        let setup = if self.v6 { Setup::v6(Standard) } else { Setup::new(Standard) };
        let mut setup = setup.way(self.way);
        for manner in [&mut setup.client_manner, &mut setup.server_manner] {
            manner.stamps = self.stamps;
            manner.mss = if self.v6 { 1440 } else { 1460 };
            manner.piece = manner.mss;
        }
        let mut net = Net::new(&setup);
        assert_eq!(net.near() == net.far(), self.v6, "translated in IPv4");
        net.log_in();
        net
    }

    /// One whose numbers differ at both ends, in both directions.
    fn edited(self) -> Net {
        let mut net = self.session();
        let ((command, there), (ask, reply, back)) = (self.active(), self.passive());
        net.c(command);
        net.server_gets(there);
        net.s("200 ok\r\n");
        net.client_gets("200 ok\r\n");
        net.c(ask);
        net.server_gets(ask);
        net.s(reply);
        net.client_gets(back);
        net
    }
}

/// A little more than 1300 bytes of commands, and what they are answered.
fn commands() -> (String, String) {
    let all: String = ["a", "b", "c"].map(|name| format!("DELE {}\r\n", name.repeat(430))).concat();
    (all, "250 gone\r\n".repeat(3))
}

/// As much in one reply.
fn reply() -> String {
    let lines: String = (0..24).map(|n| format!(" {n:02} {}\r\n", "y".repeat(48))).collect();
    format!("211-status\r\n{lines}211 end\r\n")
}

impl Net {
    /// One end says more than a narrow path carries in one segment.
    #[track_caller]
    fn says_much(&mut self, to_server: bool) {
        if to_server {
            let (all, answers) = commands();
            self.c(&all);
            self.server_gets(&all);
            self.s(&answers);
            self.client_gets(&answers);
        } else {
            self.c("STAT\r\n");
            self.server_gets("STAT\r\n");
            self.s(reply());
            self.client_gets(reply());
        }
    }
}

/// Behind edits of both directions a router says that a segment is too big: its sender hears of its own segment, and
/// sends smaller ones, which pass.
#[test]
fn p39_an_error_about_a_translated_segment_is_about_the_senders_own() {
    for kind in KINDS {
        for (to_server, quotes) in [(true, 548), (false, 548), (true, 48), (false, 48), (true, 1500)] {
            let mut net = kind.edited();
            let side = if to_server { Side::Outside } else { Side::Inside };
            net.paths.narrow(side, kind.mtu());
            // Of IPv4 no more than a header and eight bytes; of IPv6 as much as fits (RFC 4443 section 2.4).
            net.paths.quotes = match (quotes, kind.v6) {
                (48, false) => 28,
                (1500, true) => 1232,
                _ => quotes,
            };
            let host = net.host(0, !to_server);
            let next = host.manner.isn.wrapping_add(1 + host.stream.len() as u32);
            net.says_much(to_server);
            let told = net.paths.told.clone();
            let (near, far) = (net.near(), net.far());
            let (src, dst) = if to_server { near } else { (far.1, far.0) };
            let copies = if kind.way == Way::Duplicated { 4 } else { 1 };
            assert!((1..=copies).contains(&told.len()), "{kind:?} {to_server} {quotes}: {told:?}");
            // What an inside router is called is not shown outside, where addresses are translated.
            let from = match (to_server, kind.v6) {
                (false, false) => OUTSIDE.parse().unwrap(),
                _ => router(side, !kind.v6),
            };
            for t in &told {
                assert_eq!((t.from, t.to, t.mtu), (from, src.ip(), kind.mtu()));
                assert_eq!((t.src, t.dst, t.seq), (src, dst, next), "{kind:?} {to_server} {quotes}");
            }
            // Nothing of it is too big any more.
            net.says_much(to_server);
            net.says_much(!to_server);
            assert_eq!(net.paths.told, told, "{kind:?} {to_server} {quotes}");
            net.lives();
            net.finish();
        }
    }
}

/// What quotes a segment that nobody sent reaches nobody, and makes no segment smaller.
#[test]
fn p39_an_error_about_what_was_not_sent_changes_nothing() {
    for kind in KINDS {
        let mut net = kind.edited();
        let (src, dst) = net.far();
        let host = net.host(0, false);
        let next = host.manner.isn.wrapping_add(1 + host.stream.len() as u32);
        for seq in [next.wrapping_add(500_000), next.wrapping_add(1400), next.wrapping_sub(500_000)] {
            let seg = Seg { seq, ack: 1, flags: ACK | PSH, payload: vec![b'x'; 1200], ..Seg::default() };
            let quote = Packet::new(src, dst, seg).build(5);
            let error = too_big(router(Side::Outside, !kind.v6), src.ip(), kind.mtu(), &quote[..548]);
            assert_eq!(net.raw(Side::Outside, &error), [], "{kind:?} {seq}");
        }
        assert_eq!(net.paths.told, []);
        net.cut[1] = true;
        let (all, _) = commands();
        net.conns[0].client.stream.extend(all.bytes());
        net.wait(20);
        let most = net.lost.iter().map(|s| s.payload.len()).max();
        assert_eq!(most, Some(all.len()), "{kind:?}: in one segment");
        net.cut[1] = false;
        net.wait(3000);
        net.server_gets(all);
        net.finish();
    }
}

/// The segment that is too big has the edit in it: what its sender made fit does not fit with it, and is cut again here.
/// Nothing is fragmented, and DF stays, which the path looks at.
#[test]
fn p18_what_an_edit_makes_longer_still_fits_the_path() {
    for kind in KINDS {
        for to_server in [true, false] {
            let mut net = kind.session();
            let side = if to_server { Side::Outside } else { Side::Inside };
            net.paths.narrow(side, kind.mtu());
            let ((command, there), (ask, announced, back)) = (kind.active(), kind.passive());
            let (all, answers) = commands();
            let mut told = Vec::new();
            for turn in 0..3 {
                if to_server {
                    net.c(format!("{command}{all}"));
                    net.server_gets(format!("{there}{all}"));
                    net.s(format!("200 ok\r\n{answers}"));
                    net.client_gets(format!("200 ok\r\n{answers}"));
                } else {
                    net.c(format!("{ask}STAT\r\n"));
                    net.server_gets(format!("{ask}STAT\r\n"));
                    net.s(format!("{announced}{}", reply()));
                    net.client_gets(format!("{back}{}", reply()));
                }
                if turn == 0 {
                    told = net.paths.told.clone();
                    assert!(!told.is_empty(), "{kind:?} {to_server}: it fitted at once");
                }
                assert_eq!(net.paths.told, told, "{kind:?} {to_server}: too big again");
            }
            // The sender keeps its own size: full segments, of which the edit leaves more than one.
            let fits = kind.mtu() - if kind.v6 { 60 } else { 40 } - if kind.stamps { 12 } else { 0 };
            assert_eq!(net.host(0, !to_server).manner.piece, fits);
            net.lives();
            net.finish();
        }
    }
}
