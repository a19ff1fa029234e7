//! Inspected FTP sessions: control connections that are edited in flight, and the doors that they open.

use super::packet::{Emit, Fate, Side};
use super::settings::Settings;
use crate::alg::Direction;
use crate::event::Event;
use crate::rng::Keyed;
use crate::time::Instant;
use crate::wire::{IpPacket, Segment};
use std::net::{IpAddr, SocketAddr};

/// A control connection as its two ends see it, and each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Path {
    /// The client, as it knows itself.
    pub(super) client: SocketAddr,
    /// The client, as the server knows it.
    pub(super) client_told: SocketAddr,
    /// The server, as it knows itself.
    pub(super) server: SocketAddr,
    /// The server, as the client knows it.
    pub(super) server_told: SocketAddr,
    /// Where the client is.
    pub(super) client_side: Side,
    /// Where the server is.
    pub(super) server_side: Side,
}

/// Outside ports for inside ends, where addresses are translated; else an end's own address is what the others know.
pub(super) trait Ports {
    /// What `end` (it will listen, for somebody at `remote`) is called by those who know its host as `told`; taken until
    /// it is given back. `end` itself if `told` is its own address. None if no port is left.
    fn take(&mut self, now: Instant, end: SocketAddr, told: IpAddr, remote: IpAddr) -> Option<SocketAddr>;
    /// It is not used, or no more.
    fn give_back(&mut self, now: Instant, told: SocketAddr, remote: IpAddr);
}

/// A data connection that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Admitted {
    /// Its source, as it is to be known where it goes; where the port is taken there, another is as good. As it came if
    /// that is all that is known: then the firewall translates as it always does.
    pub(super) src: SocketAddr,
    /// Its destination, as it knows itself.
    pub(super) dst: SocketAddr,
    /// Its number: for [`Sessions::data_over`], [`Sessions::one_way`] and [`Gone::Data`].
    pub(super) data: u32,
    /// The way its payload may go is to be asked, by [`Sessions::one_way`], before each payload (E25 of strict).
    pub(super) one_way: bool,
}

/// What a SYN of no known connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syn {
    /// Announced, or allowed by a static data rule: it passes, this once.
    Admitted(Admitted),
    /// It does not pass, whatever the policy says, and is best answered with a reset.
    Refused,
    /// Nothing that FTP knows of: the policy decides. If that refuses, tell [`Sessions::refused`].
    Unknown,
}

/// A connection that the firewall must forget: its entries go, resets are among the emitted for a control connection,
/// and are the caller's to send for one of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    /// The control connection of a session.
    Control(u32),
    /// A data connection.
    Data(u32),
}

/// How a data connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Over {
    /// Payload bytes toward the server, toward the client.
    pub(super) bytes: [u64; 2],
    /// `complete`, `reset`, `aborted`, `failed`.
    pub(super) verdict: &'static str,
    /// Nobody answered its SYN, or a reset did: the announcement stands again.
    pub(super) unanswered: bool,
}

/// All inspected sessions.
#[derive(Debug)]
pub(super) struct Sessions<W> {
    _way: Option<W>,
}

#[allow(unused_variables, clippy::todo, reason = "the frame of what is being built")]
impl<W: Copy> Sessions<W> {
    pub(super) fn new(settings: &Settings, keyed: Keyed) -> Self {
        todo!()
    }
    /// The SYN of an admitted connection to a service's port; it is to be given to [`segment`](Self::segment) next. The
    /// session's number, or none if there are too many even of those that are told so.
    pub(super) fn begin(&mut self, now: Instant, service: usize, path: Path) -> Option<u32> {
        todo!()
    }
    /// A segment of a control connection, as it came (the MSS of a SYN clamped already), its checksum right.
    /// [`Fate::Forward`]: it goes as it is, but for what the caller translates. What is emitted goes as it is: translated,
    /// its time to live counted.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn segment(
        &mut self,
        now: Instant,
        session: u32,
        dir: Direction,
        way: W,
        packet: &[u8],
        ip: &IpPacket,
        seg: &Segment,
        ports: &mut dyn Ports,
        out: &mut Vec<Emit<W>>,
    ) -> Fate {
        todo!()
    }
    /// Whether a control connection is over, or reset: a SYN of the same ends begins another one, after
    /// [`end`](Self::end).
    pub(super) fn is_over(&self, session: u32) -> bool {
        todo!()
    }
    /// What an ICMP error quotes of a segment that left toward `dir`, as its sender knows it; none if it is forged.
    pub(super) fn quoted(&mut self, session: u32, dir: Direction, seq: u32, mtu: Option<u16>) -> Option<u32> {
        todo!()
    }
    /// The control connection is gone: ended, or forgotten by the connection table.
    pub(super) fn end(&mut self, now: Instant, session: u32, why: &'static str, ports: &mut dyn Ports) {
        todo!()
    }
    /// A SYN of no known connection, as it came.
    pub(super) fn expected(&mut self, now: Instant, from: Side, src: SocketAddr, dst: SocketAddr) -> Syn {
        todo!()
    }
    /// The policy refused a SYN that was [unknown](Syn::Unknown): there may be a reason to tell.
    pub(super) fn refused(&mut self, now: Instant, from: Side, src: SocketAddr, dst: SocketAddr) {
        todo!()
    }
    /// The only way that payload of a data connection may go now; both if none.
    pub(super) fn one_way(&self, data: u32) -> Option<Direction> {
        todo!()
    }
    /// An admitted data connection is over.
    pub(super) fn data_over(&mut self, now: Instant, data: u32, over: Over, ports: &mut dyn Ports) {
        todo!()
    }
    /// What is due.
    pub(super) fn handle_timeout(&mut self, now: Instant, ports: &mut dyn Ports, out: &mut Vec<Emit<W>>) {
        todo!()
    }
    pub(super) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        todo!()
    }
    pub(super) fn take_events(&mut self, to: &mut Vec<Event>) {
        todo!()
    }
    /// What the firewall must forget; to be asked after each call until there is none. [`end`](Self::end) is not called
    /// for a control connection that is named here; [`data_over`](Self::data_over) is, for one of data.
    pub(super) fn poll_gone(&mut self) -> Option<Gone> {
        todo!()
    }
    /// Begins no session any more: their SYNs are not admitted.
    pub(super) fn drain(&mut self) {
        todo!()
    }
    /// Data connections that live.
    pub(super) fn data_len(&self) -> usize {
        todo!()
    }
    pub(super) fn counters(&self) -> Vec<(&'static str, u64)> {
        todo!()
    }
    pub(super) fn occupied(&self) -> Vec<(&'static str, usize)> {
        todo!()
    }
    pub(super) fn len(&self) -> usize {
        todo!()
    }
}
