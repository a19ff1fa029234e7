//! What ends say and get, and data connections from either side.

use crate::net::{Net, shown_text};
use crate::packet::Packet;
use crate::setup::{CLIENT, OUTSIDE, SERVER, at};
use crate::support::{ACK, RST, SYN, Seg};
use std::net::SocketAddr;
use tidegate::firewall::Side;

/// The client logs in, as the rest of the catalogue presumes.
impl Net {
    pub(crate) fn log_in(&mut self) {
        self.s("220 ready\r\n");
        self.client_gets("220 ready\r\n");
        self.c("USER anna\r\n");
        self.server_gets("USER anna\r\n");
        self.s("331 password\r\n");
        self.client_gets("331 password\r\n");
        self.c("PASS geheim\r\n");
        self.server_gets("PASS geheim\r\n");
        self.s("230 welcome\r\n");
        self.client_gets("230 welcome\r\n");
    }

    /// The client says this, and the network comes to rest.
    pub(crate) fn c(&mut self, text: impl AsRef<[u8]>) {
        let on = self.on;
        self.conns[on].client.stream.extend_from_slice(text.as_ref());
        self.settle();
    }

    /// The server says this, and the network comes to rest.
    pub(crate) fn s(&mut self, text: impl AsRef<[u8]>) {
        let on = self.on;
        self.conns[on].server.stream.extend_from_slice(text.as_ref());
        self.settle();
    }

    /// What the server got since it was looked at last.
    pub(crate) fn server_got(&mut self) -> Vec<u8> {
        let c = &mut self.conns[self.on];
        let new = c.server.got[c.seen[1]..].to_vec();
        c.seen[1] = c.server.got.len();
        new
    }

    pub(crate) fn client_got(&mut self) -> Vec<u8> {
        let c = &mut self.conns[self.on];
        let new = c.client.got[c.seen[0]..].to_vec();
        c.seen[0] = c.client.got.len();
        new
    }

    #[track_caller]
    pub(crate) fn server_gets(&mut self, want: impl AsRef<[u8]>) {
        let got = self.server_got();
        assert_eq!(shown_text(&got), shown_text(want.as_ref()), "to the server");
    }

    #[track_caller]
    pub(crate) fn client_gets(&mut self, want: impl AsRef<[u8]>) {
        let got = self.client_got();
        assert_eq!(shown_text(&got), shown_text(want.as_ref()), "to the client");
    }

    /// The client gets one reply of one of these codes, whole, and it is returned.
    #[track_caller]
    pub(crate) fn client_gets_code(&mut self, codes: &[&str]) -> String {
        let got = shown_text(&self.client_got());
        assert!(codes.iter().any(|c| got.starts_with(c)), "to the client: {got:?}, not {codes:?}");
        assert!(got.ends_with("\\r\\n") && got.matches("\\r\\n").count() == 1, "to the client: {got:?}");
        got
    }

    /// A command and its reply pass as they are: the session lives, and its replies are matched.
    #[track_caller]
    pub(crate) fn lives(&mut self) {
        self.c("NOOP\r\n");
        self.server_gets("NOOP\r\n");
        self.s("200 alive\r\n");
        self.client_gets("200 alive\r\n");
    }

    /// An end resets the control connection.
    pub(crate) fn reset(&mut self, by_client: bool) {
        let ((near, far), c) = ((self.near(), self.far()), &self.conns[self.on]);
        let (from, to) = if by_client { (&c.client, &c.server) } else { (&c.server, &c.client) };
        let seg = Seg {
            seq: from.manner.isn.wrapping_add(1 + from.stream.len() as u32),
            ack: to.manner.isn.wrapping_add(1 + to.stream.len() as u32),
            flags: RST | ACK,
            ..Seg::default()
        };
        let (side, src, dst) =
            if by_client { (Side::Inside, near.0, near.1) } else { (Side::Outside, far.1, far.0) };
        self.give(side, &Packet::new(src, dst, seg));
        self.host(self.on, !by_client).reset = true;
        self.settle();
        assert!(self.host(self.on, by_client).reset, "the reset does not reach the other end");
    }

    /// Both ends were reset or closed.
    #[track_caller]
    pub(crate) fn ended(&self) {
        let c = &self.conns[self.on];
        for h in [&c.client, &c.server] {
            assert!(h.reset || h.peer_closed, "the {} has still a connection", h.name);
        }
    }
}

/// Data connections.
impl Net {
    /// Whether a SYN passes, and what it is behind the gateway.
    pub(crate) fn syn(&mut self, side: Side, src: SocketAddr, dst: SocketAddr) -> Option<Packet> {
        let seg =
            Seg { seq: 77_000, flags: SYN, window: 30_000, options: vec![2, 4, 5, 180], ..Seg::default() };
        let out = self.give(side, &Packet::new(src, dst, seg));
        let mut there: Vec<_> =
            out.into_iter().filter(|(s, p)| *s != side && p.seg.flags & SYN != 0).collect();
        assert!(there.len() < 2, "one SYN makes two");
        Some(there.pop()?.1)
    }

    /// The server's SYN from this port to the client's outside address.
    pub(crate) fn active(&mut self, from: u16, to: u16) -> Option<Packet> {
        self.syn(Side::Outside, at(SERVER, from), at(OUTSIDE, to))
    }

    /// The client's SYN to this port of the server.
    pub(crate) fn passive(&mut self, from: u16, to: u16) -> Option<Packet> {
        self.syn(Side::Inside, at(CLIENT, from), at(SERVER, to))
    }

    /// The server may connect to this outside port and reaches this port of the client; only once.
    #[track_caller]
    pub(crate) fn active_comes_once(&mut self, outside: u16, inside: u16) {
        let there = self.active(20, outside).expect("the announced data connection");
        assert_eq!((there.src, there.dst), (at(SERVER, 20), at(CLIENT, inside)));
        self.establish(Side::Outside, (at(SERVER, 20), at(OUTSIDE, outside)), &there);
        assert_eq!(self.active(2020, outside), None, "a second data connection");
    }

    /// The client may connect to this port of the server; only once.
    #[track_caller]
    pub(crate) fn passive_comes_once(&mut self, port: u16) {
        self.passive_comes_once_from(50_001, port);
    }

    /// Likewise, from this port of its own.
    #[track_caller]
    pub(crate) fn passive_comes_once_from(&mut self, from: u16, port: u16) {
        let there = self.passive(from, port).expect("the announced data connection");
        assert_eq!((there.src.ip(), there.dst), (at(OUTSIDE, 0).ip(), at(SERVER, port)));
        self.establish(Side::Inside, (at(CLIENT, from), at(SERVER, port)), &there);
        assert_eq!(self.passive(from + 1, port), None, "a second data connection");
    }

    /// Completes the handshake of a SYN that passed.
    pub(crate) fn establish(&mut self, side: Side, (src, dst): (SocketAddr, SocketAddr), there: &Packet) {
        let answer = Seg {
            seq: 99_000,
            ack: there.seg.seq.wrapping_add(1),
            flags: SYN | ACK,
            window: 30_000,
            options: vec![2, 4, 5, 180],
            ..Seg::default()
        };
        let out = self.give(side.other(), &Packet::new(there.dst, there.src, answer));
        assert_eq!(out.len(), 1, "the answer to the SYN");
        assert_eq!((out[0].1.src, out[0].1.dst), (dst, src), "the answer to the SYN");
        let third = Seg {
            seq: there.seg.seq.wrapping_add(1),
            ack: 99_001,
            flags: ACK,
            window: 30_000,
            ..Seg::default()
        };
        assert_eq!(self.give(side, &Packet::new(src, dst, third)).len(), 1, "the third segment");
    }

    /// A segment of a data connection from `src`; whether it passed.
    pub(crate) fn data(
        &mut self,
        side: Side,
        (src, dst): (SocketAddr, SocketAddr),
        seq: u32,
        ack: u32,
        text: &str,
    ) -> bool {
        let seg = Seg { seq, ack, flags: ACK, window: 30_000, payload: text.into(), ..Seg::default() };
        let out = self.give(side, &Packet::new(src, dst, seg));
        out.iter().any(|(s, p)| *s == side.other() && p.seg.payload == text.as_bytes())
    }

    /// The data connection's end is reset by the one that was asked.
    pub(crate) fn refuse_syn(&mut self, there: &Packet, side: Side) {
        let rst = Seg { ack: there.seg.seq.wrapping_add(1), flags: RST | ACK, ..Seg::default() };
        self.give(side.other(), &Packet::new(there.dst, there.src, rst));
    }

    /// Nobody may connect to either end of the example's data connections.
    #[track_caller]
    pub(crate) fn nothing_is_open(&mut self, ports: &[u16]) {
        for port in ports {
            assert_eq!(self.active(20, *port), None, "the server reaches {port}");
            assert_eq!(self.passive(50_777, *port), None, "the client reaches {port}");
        }
    }
}
