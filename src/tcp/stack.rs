//! One session's stack and its connections.

use super::device::{Device, Outlet, capabilities};
use crate::time::{Duration, Instant};
use crate::wire::tcp::{self, Segment, SynOptions};
use crate::wire::{build, parse_ip};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{Socket, State};
use smoltcp::time::Instant as StackInstant;
use smoltcp::wire::{HardwareAddress, IpCidr, IpEndpoint, Ipv4Address, Ipv6Address};
use socket::{listening, new_socket, peer_syn};
use std::net::SocketAddr;

/// Names a connection of a stack: 0 to 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conn(pub u8);

/// The most connections of one session: two control legs, two data legs.
pub(super) const CONNS: usize = 4;
/// The addresses that the stack believes to be its own; they never leave the stack (RFC 7600 section 4.8, and
/// of the discard prefix of RFC 6666).
const DUMMY: Ipv4Address = Ipv4Address::new(192, 0, 0, 8);
const DUMMY_V6: Ipv6Address = Ipv6Address::new(0x0100, 0, 0, 0, 0, 0, 0, 8);

/// Sizes of a connection's buffers, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffers {
    /// What was received and not yet read.
    pub rx: usize,
    /// What was written and not yet acknowledged.
    pub tx: usize,
}

/// A handshake that was made outside the stack, to be taken over by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// The peer's initial sequence number.
    pub peer_isn: u32,
    /// The window in the peer's SYN.
    pub peer_window: u16,
    /// The options in the peer's SYN; timestamps are not taken over.
    pub peer_options: SynOptions,
    /// Our initial sequence number, as it was sent.
    pub own_isn: u32,
}

/// What a connection can still do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnState {
    /// Not yet established.
    Opening,
    /// Established; perhaps one way is closed.
    Open,
    /// Both ways closed in order.
    Closed,
    /// Reset by the peer, or given up after too many retransmissions.
    Reset,
}

/// What the fence keeps of a connection.
pub(super) struct Link {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    handle: SocketHandle,
    own_isn: u32,
    /// Added to the stack's sequence numbers on the way out.
    shift: Option<u32>,
    /// The stack's SYN was already sent by somebody else.
    swallow_syn: bool,
    mss: Option<u16>,
    /// How long written data may stay unacknowledged.
    timeout: Option<smoltcp::time::Duration>,
    /// Wire sequence number behind the urgent byte.
    urgent: Option<u32>,
    /// Bytes written so far.
    written: u64,
    established: bool,
    fin_in: bool,
    rst_in: bool,
    /// Both ends' FINs are acknowledged. A reset then is the answer of a peer that has forgotten to a packet that
    /// came late or twice, and takes nothing back (RFC 1337).
    over: bool,
    /// Highest numbers on the wire, for a TIME-WAIT record.
    snd_nxt: u32,
    rcv_nxt: u32,
}

impl Link {
    pub(super) fn outbound(&mut self, packet: &mut [u8], seg: &mut Segment) -> bool {
        let syn = seg.has(tcp::SYN);
        let shift = match self.shift {
            Some(s) => s,
            None if syn => *self.shift.insert(self.own_isn.wrapping_sub(seg.seq)),
            None => return false,
        };
        if syn && self.swallow_syn {
            return false;
        }
        tcp::shift(packet, seg, shift, 0);
        if syn && let Some(mss) = self.mss {
            tcp::clamp_mss(packet, seg, mss);
        }
        if let Some(at) = self.urgent {
            let offset = at.wrapping_sub(seg.seq);
            // Segments behind the urgent byte have a negative offset. The mark stays until it is acknowledged:
            // a retransmission needs it as well.
            if offset <= 0xFFFF && offset > 0 && !seg.is_empty() {
                tcp::set_urgent(packet, seg, offset as u16);
            }
        }
        if tcp::before(self.snd_nxt, seg.seq_end()) || syn {
            self.snd_nxt = seg.seq_end();
        }
        if seg.has(tcp::ACK) {
            self.rcv_nxt = seg.ack;
        }
        true
    }
}

/// A session's stack.
pub struct Stack {
    iface: Interface,
    sockets: SocketSet<'static>,
    links: [Option<Link>; CONNS],
    mtu: usize,
    origin: Instant,
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stack({} connections)", self.links.iter().flatten().count())
    }
}

/// A device of which only the capabilities are asked, when the interface is made.
struct Nowhere(DeviceCapabilities);

impl smoltcp::phy::Device for Nowhere {
    type RxToken<'a> = super::device::RxToken<'a>;
    type TxToken<'a> = super::device::TxToken<'a>;
    fn receive(&mut self, _: StackInstant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        None
    }
    fn transmit(&mut self, _: StackInstant) -> Option<Self::TxToken<'_>> {
        None
    }
    fn capabilities(&self) -> DeviceCapabilities {
        self.0.clone()
    }
}

struct Discard;

impl Outlet for Discard {
    fn slots(&self) -> usize {
        1
    }
    fn send(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8]) -> bool) -> bool {
        fill(&mut vec![0; len]);
        true
    }
}

impl Stack {
    /// A stack whose packets are at most `mtu` bytes; `seed` feeds the stack's own generator.
    pub fn new(now: Instant, mtu: usize, seed: u64) -> Self {
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        debug_assert_eq!(capabilities(mtu).medium, Medium::Ip);
        let mut iface = Interface::new(config, &mut Nowhere(capabilities(mtu)), StackInstant::ZERO);
        // Speaking as anybody needs both: any address accepted, and a route through an own one.
        iface.set_any_ip(true);
        iface.update_ip_addrs(|a| {
            let _ = a.push(IpCidr::new(DUMMY.into(), 32));
            let _ = a.push(IpCidr::new(DUMMY_V6.into(), 128));
        });
        let _ = iface.routes_mut().add_default_ipv4_route(DUMMY);
        let _ = iface.routes_mut().add_default_ipv6_route(DUMMY_V6);
        Self { iface, sockets: SocketSet::new(Vec::new()), links: [const { None }; CONNS], mtu, origin: now }
    }

    /// Takes over a connection whose peer spoke first: we answered its SYN already.
    /// `local` is whom we speak as.
    pub fn accepted(
        &mut self,
        now: Instant,
        conn: Conn,
        local: SocketAddr,
        remote: SocketAddr,
        buffers: Buffers,
        h: &Handshake,
    ) -> bool {
        let Some(socket) = listening(local, buffers) else { return false };
        self.install(conn, socket, local, remote, h.own_isn, true, None);
        let syn = peer_syn(local, remote, h, tcp::SYN, 0);
        self.swallowed(now, &syn);
        self.links[usize::from(conn.0)].as_ref().is_some_and(|l| l.shift.is_some())
    }

    /// Answers a SYN that has just come: the SYN-ACK goes out at once, with the initial number of `h`.
    /// `local` is whom we speak as, `mss` the most that our SYN-ACK may offer.
    #[allow(clippy::too_many_arguments)] // one connection's parameters
    pub fn accept(
        &mut self,
        now: Instant,
        conn: Conn,
        local: SocketAddr,
        remote: SocketAddr,
        buffers: Buffers,
        h: &Handshake,
        mss: Option<u16>,
        out: &mut dyn Outlet,
    ) -> bool {
        let Some(socket) = listening(local, buffers) else { return false };
        self.install(conn, socket, local, remote, h.own_isn, false, mss);
        let mut syn = peer_syn(local, remote, h, tcp::SYN, 0);
        self.receive(now, &mut syn, out);
        self.poll(now, out);
        self.socket(conn).is_some_and(|s| s.state() == State::SynReceived)
    }

    /// Takes over a connection that we opened and whose peer has answered.
    pub fn connected(
        &mut self,
        now: Instant,
        conn: Conn,
        local: SocketAddr,
        remote: SocketAddr,
        buffers: Buffers,
        h: &Handshake,
    ) -> bool {
        if !self.connect(now, conn, local, remote, buffers, h.own_isn, None) {
            return false;
        }
        if let Some(l) = &mut self.links[usize::from(conn.0)] {
            l.swallow_syn = true;
        }
        self.drive(now, None, &mut Discard);
        let mut syn_ack = peer_syn(local, remote, h, tcp::SYN | tcp::ACK, h.own_isn.wrapping_add(1));
        // The answer (our third packet) must not be lost: it is sent at the next poll, not in this one.
        self.receive(now, &mut syn_ack, &mut Discard);
        self.socket(conn).is_some_and(|s| s.state() == State::Established)
    }

    /// Opens a connection with our own SYN.
    #[allow(clippy::too_many_arguments)] // one connection's parameters
    pub fn connect(
        &mut self,
        now: Instant,
        conn: Conn,
        local: SocketAddr,
        remote: SocketAddr,
        buffers: Buffers,
        own_isn: u32,
        mss: Option<u16>,
    ) -> bool {
        let mut socket = new_socket(buffers);
        let _ = self.iface.poll_at(self.stack_time(now), &self.sockets);
        let (r, l): (IpEndpoint, IpEndpoint) = (remote.into(), local.into());
        if socket.connect(self.iface.context(), r, l).is_err() {
            return false;
        }
        self.install(conn, socket, local, remote, own_isn, false, mss);
        true
    }

    #[allow(clippy::too_many_arguments)] // one connection's parameters
    fn install(
        &mut self,
        conn: Conn,
        socket: Socket<'static>,
        local: SocketAddr,
        remote: SocketAddr,
        own_isn: u32,
        swallow_syn: bool,
        mss: Option<u16>,
    ) {
        self.remove(conn);
        let handle = self.sockets.add(socket);
        self.links[usize::from(conn.0)] = Some(Link {
            local,
            remote,
            handle,
            own_isn,
            shift: None,
            swallow_syn,
            mss,
            timeout: None,
            urgent: None,
            written: 0,
            established: false,
            fin_in: false,
            rst_in: false,
            over: false,
            snd_nxt: own_isn,
            rcv_nxt: 0,
        });
    }

    /// Hands an IP packet with a TCP segment to its connection and sends what comes of it at once.
    /// The packet's acknowledgement is changed in place. Checksums must have been verified.
    pub fn receive(&mut self, now: Instant, packet: &mut [u8], out: &mut dyn Outlet) {
        // The stack reads no extension headers but the first kind, and would answer them.
        if let Some(mut plain) = build::without_extensions(packet) {
            return self.receive(now, &mut plain, out);
        }
        if !self.inbound(packet) {
            return;
        }
        // The stack cuts off what is beyond its window, and its window's edge may have moved back since the sender heard of
        // it, by what scaling rounds off; a FIN behind what was cut off it would believe, and the stream would end short.
        let fin = build::fin_apart(packet);
        self.ingress(now, packet, out);
        if let Some(fin) = fin {
            self.ingress(now, &fin, out);
        }
        self.marks();
    }

    fn ingress(&mut self, now: Instant, packet: &[u8], out: &mut dyn Outlet) {
        let mut device = Device { rx: Some(packet), out, links: &mut self.links, mtu: self.mtu };
        let at = to_stack(self.origin, now);
        self.iface.poll_ingress_single(at, &mut device, &mut self.sockets);
    }

    fn swallowed(&mut self, now: Instant, packet: &[u8]) {
        let mut p = packet.to_vec();
        self.receive(now, &mut p, &mut Discard);
        self.drive(now, None, &mut Discard);
    }

    /// Sends what is due: data, acknowledgements, retransmissions.
    pub fn poll(&mut self, now: Instant, out: &mut dyn Outlet) {
        self.drive(now, None, out);
    }

    fn drive(&mut self, now: Instant, rx: Option<&[u8]>, out: &mut dyn Outlet) {
        self.arm_timeouts();
        let at = to_stack(self.origin, now);
        let mut device = Device { rx, out, links: &mut self.links, mtu: self.mtu };
        // One call sends at most one packet a socket; it says whether there may be more.
        while self.iface.poll_egress(at, &mut device, &mut self.sockets) != smoltcp::iface::PollResult::None {
            if device.out.slots() == 0 {
                break;
            }
        }
        self.marks();
    }

    /// When [`poll`](Self::poll) is next due without input.
    pub fn poll_at(&mut self, now: Instant) -> Option<Instant> {
        self.arm_timeouts();
        let at = self.iface.poll_at(self.stack_time(now), &self.sockets)?;
        let micros = u64::try_from(at.total_micros()).unwrap_or(0);
        Some((self.origin + Duration::from_micros(micros)).max(now))
    }

    /// What a connection can still do; `Closed` for one that does not exist.
    pub fn state(&self, conn: Conn) -> ConnState {
        let (Some(link), Some(socket)) = (self.link(conn), self.socket(conn)) else {
            return ConnState::Closed;
        };
        match socket.state() {
            State::SynSent | State::SynReceived | State::Listen => ConnState::Opening,
            State::Closed if !link.established => ConnState::Reset,
            State::Closed if link.rst_in || !link.fin_in => ConnState::Reset,
            State::Closed | State::TimeWait => ConnState::Closed,
            _ => ConnState::Open,
        }
    }

    /// Whether the peer has sent its FIN and everything before it has been read.
    pub fn at_end(&self, conn: Conn) -> bool {
        match (self.link(conn), self.socket(conn)) {
            (Some(l), Some(s)) => l.fin_in && s.recv_queue() == 0 && !l.rst_in,
            _ => true,
        }
    }

    /// Reads received bytes through `f`, which gives how many it took; 0 if there are none.
    pub fn read(&mut self, conn: Conn, f: impl FnOnce(&[u8]) -> usize) -> usize {
        let Some(socket) = self.socket_mut(conn) else { return 0 };
        let taken = socket.recv(|b| {
            let n = f(b).min(b.len());
            (n, n)
        });
        // The ways to fail are "finished" and "no such state": nothing to read, both.
        taken.unwrap_or_default()
    }

    /// Bytes received and not yet read.
    pub fn readable(&self, conn: Conn) -> usize {
        self.socket(conn).map_or(0, Socket::recv_queue)
    }

    /// Writes as much as fits; gives how much that was.
    pub fn write(&mut self, conn: Conn, bytes: &[u8]) -> usize {
        let n = self.socket_mut(conn).and_then(|s| s.send_slice(bytes).ok()).unwrap_or(0);
        if let Some(l) = &mut self.links[usize::from(conn.0)] {
            l.written += n as u64;
        }
        n
    }

    /// Room for [`write`](Self::write), 0 when nothing can be written any more.
    pub fn writable(&self, conn: Conn) -> usize {
        self.socket(conn).map_or(0, |s| if s.may_send() { s.send_capacity() - s.send_queue() } else { 0 })
    }

    /// Whether all that was written has been acknowledged.
    pub fn flushed(&self, conn: Conn) -> bool {
        self.socket(conn).is_none_or(|s| s.send_queue() == 0)
    }

    /// Marks the last byte written so far as urgent (RFC 9293 3.8.5); its segment gets the pointer
    /// whenever it is sent.
    pub fn mark_urgent(&mut self, conn: Conn) {
        if let Some(l) = &mut self.links[usize::from(conn.0)] {
            l.urgent = Some(l.own_isn.wrapping_add(1).wrapping_add(l.written as u32));
        }
    }

    /// Copies from one connection to another what is there and fits; gives how much that was.
    pub fn pump(&mut self, from: Conn, to: Conn) -> usize {
        let mut total = 0;
        // Twice: a ring's content lies in up to two pieces.
        for _ in 0..2 {
            let room = self.writable(to);
            if room == 0 || self.readable(from) == 0 {
                break;
            }
            let (Some(f), Some(t)) = (self.link(from), self.link(to)) else { break };
            let (f, t) = (f.handle, t.handle);
            // Both sockets live in one set, so the bytes go by way of a small buffer.
            let mut piece = [0u8; 16 * 1024];
            let n = piece.len().min(room);
            let Ok(n) = self.sockets.get_mut::<Socket<'_>>(f).recv_slice(&mut piece[..n]) else { break };
            let sent = self.sockets.get_mut::<Socket<'_>>(t).send_slice(&piece[..n]).unwrap_or(0);
            debug_assert_eq!(sent, n, "the room was asked for");
            if let Some(l) = &mut self.links[usize::from(to.0)] {
                l.written += sent as u64;
            }
            total += sent;
        }
        total
    }

    /// Sends a FIN behind what was written.
    pub fn close(&mut self, conn: Conn) {
        if let Some(s) = self.socket_mut(conn) {
            s.close();
        }
    }

    /// Resets the connection.
    pub fn abort(&mut self, conn: Conn) {
        if let Some(s) = self.socket_mut(conn) {
            s.abort();
        }
    }

    /// Gives up when written data stays unacknowledged for so long.
    pub fn set_timeout(&mut self, conn: Conn, timeout: Duration) {
        if let Some(l) = &mut self.links[usize::from(conn.0)] {
            l.timeout = Some(smoltcp::time::Duration::from_micros(timeout.as_micros() as u64));
        }
    }

    /// The stack's own timeout runs from the last segment that came, also while nothing is to be said, and
    /// would end a connection for being idle. So it is on only while written data is unacknowledged; the
    /// stack begins to count anew with the first byte written.
    fn arm_timeouts(&mut self) {
        for link in self.links.iter().flatten() {
            let socket = self.sockets.get_mut::<Socket<'_>>(link.handle);
            let waits = socket.send_queue() > 0 || socket.state() == State::SynSent;
            socket.set_timeout(link.timeout.filter(|_| waits));
        }
    }

    /// Sends small writes at once (RFC 1122 4.2.3.4's algorithm off).
    pub fn set_no_delay(&mut self, conn: Conn) {
        if let Some(s) = self.socket_mut(conn) {
            s.set_nagle_enabled(false);
        }
    }

    /// Forgets a connection and frees its buffers.
    pub fn remove(&mut self, conn: Conn) {
        if let Some(l) = self.links[usize::from(conn.0)].take() {
            self.sockets.remove(l.handle);
        }
    }

    /// Sockets that the stack holds, with their buffers.
    pub fn sockets(&self) -> usize {
        self.sockets.iter().count()
    }

    /// Whether the connection exists.
    pub fn exists(&self, conn: Conn) -> bool {
        self.link(conn).is_some()
    }

    /// (next sequence number to send, next expected) as on the wire: what a TIME-WAIT record needs.
    pub fn numbers(&self, conn: Conn) -> Option<(u32, u32)> {
        self.link(conn).map(|l| (l.snd_nxt, l.rcv_nxt))
    }

    /// Bytes written to it and acknowledged by its peer.
    pub fn delivered(&self, conn: Conn) -> u64 {
        match (self.link(conn), self.socket(conn)) {
            (Some(l), Some(s)) => l.written - s.send_queue() as u64,
            _ => 0,
        }
    }

    fn inbound(&mut self, packet: &mut [u8]) -> bool {
        let Ok(ip) = parse_ip(packet, 0) else { return false };
        let Some(mut seg) = tcp::parse(packet, &ip) else { return false };
        let Some(link) = self.links.iter_mut().flatten().find(|l| l.local == seg.dst && l.remote == seg.src)
        else {
            return true;
        };
        if link.urgent.is_some_and(|at| seg.has(tcp::ACK) && !tcp::before(seg.ack, at)) {
            link.urgent = None;
        }
        if let Some(shift) = link.shift {
            tcp::shift(packet, &mut seg, 0, shift.wrapping_neg());
        }
        if seg.has(tcp::RST) && !link.over {
            link.rst_in = true;
        }
        true
    }

    /// Brings the marks up to date with what the stack thinks.
    fn marks(&mut self) {
        for link in self.links.iter_mut().flatten() {
            let state = self.sockets.get::<Socket<'_>>(link.handle).state();
            if matches!(state, State::Established) {
                link.established = true;
            }
            if matches!(state, State::CloseWait | State::Closing | State::LastAck | State::TimeWait) {
                link.fin_in = true;
                link.established = true;
            }
            link.over |= state == State::TimeWait;
            // A reset out of the window changes nothing.
            if state != State::Closed {
                link.rst_in = false;
            }
        }
    }

    fn stack_time(&self, now: Instant) -> StackInstant {
        to_stack(self.origin, now)
    }

    fn link(&self, conn: Conn) -> Option<&Link> {
        self.links[usize::from(conn.0)].as_ref()
    }

    fn socket(&self, conn: Conn) -> Option<&Socket<'static>> {
        self.link(conn).map(|l| self.sockets.get::<Socket<'static>>(l.handle))
    }

    fn socket_mut(&mut self, conn: Conn) -> Option<&mut Socket<'static>> {
        let handle = self.link(conn)?.handle;
        Some(self.sockets.get_mut::<Socket<'static>>(handle))
    }
}

/// The stack counts microseconds since it was made.
fn to_stack(origin: Instant, now: Instant) -> StackInstant {
    StackInstant::from_micros(i64::try_from(now.since(origin).as_micros()).unwrap_or(i64::MAX))
}

mod path;
mod socket;
#[cfg(test)]
mod tests;
