//! Sockets as they begin, and the SYNs that they are to have seen.

use super::{Buffers, Handshake};
use crate::wire::build;
use crate::wire::tcp::SynOptions;
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer};
use smoltcp::wire::IpListenEndpoint;
use std::net::SocketAddr;

/// A socket that waits for a SYN to `local`.
pub(super) fn listening(local: SocketAddr, buffers: Buffers) -> Option<Socket<'static>> {
    let mut socket = new_socket(buffers);
    let endpoint = IpListenEndpoint { addr: Some(local.ip().into()), port: local.port() };
    socket.listen(endpoint).ok()?;
    Some(socket)
}

/// A socket that does nothing yet.
pub(super) fn new_socket(b: Buffers) -> Socket<'static> {
    let mut s = Socket::new(SocketBuffer::new(vec![0; b.rx]), SocketBuffer::new(vec![0; b.tx]));
    s.set_congestion_control(CongestionControl::Cubic);
    // A burst is taken in as a whole before anything is sent: one acknowledgement for all of it, at once.
    // A later one would meet the peer's tail loss probe, which Linux sends after few milliseconds.
    s.set_ack_delay(None);
    s
}

/// A peer's SYN, or its SYN-ACK, as its handshake with us had it.
pub(super) fn peer_syn(local: SocketAddr, remote: SocketAddr, h: &Handshake, flags: u8, ack: u32) -> Vec<u8> {
    let options = SynOptions { timestamps: false, ..h.peer_options };
    let t = build::Tcp {
        src: remote,
        dst: local,
        seq: h.peer_isn,
        ack,
        flags,
        window: h.peer_window,
        options,
        ttl: build::TTL,
        ip_id: 0,
    };
    let mut b = vec![0; t.len()];
    t.emit(&mut b);
    b
}
