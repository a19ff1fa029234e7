//! What the path takes: errors of the kind "too big" about segments of a stack.

use super::{Stack, State};
use crate::wire::tcp;
use std::net::SocketAddr;

impl Stack {
    /// A router says that the segment (source, destination) beginning at `seq` was too big for a path of
    /// `mtu` bytes. What is sent from now on fits, retransmissions too; of the session's other connections
    /// as well, for they share the stack. False if it is not about a segment that is on its way: then
    /// anybody may have said so (RFC 5927 section 7.2).
    pub fn too_big(&mut self, (src, dst): (SocketAddr, SocketAddr), seq: u32, mtu: usize) -> bool {
        let Some(link) = self.links.iter().flatten().find(|l| l.local == src && l.remote == dst) else {
            return false;
        };
        let socket = self.sockets.get::<smoltcp::socket::tcp::Socket<'_>>(link.handle);
        // A FIN on its way counts as a byte.
        let unacknowledged = u32::try_from(socket.send_queue()).unwrap_or(u32::MAX).saturating_add(1);
        let on_its_way = tcp::before(seq, link.snd_nxt) && link.snd_nxt.wrapping_sub(seq) <= unacknowledged;
        if !on_its_way || matches!(socket.state(), State::Listen | State::SynSent | State::SynReceived) {
            return false;
        }
        // Less than a host must take is forged or a mistake (RFC 791 3.1, RFC 8200 section 5), and 0 is said
        // by routers before RFC 1191.
        let least = if src.is_ipv4() { 576 } else { 1280 };
        let mtu = mtu.max(least);
        if mtu >= self.mtu {
            return false;
        }
        // The stack reads its MTU once, when it is made. Nothing else of it lasts: connections live apart, and
        // their numbers are ours, so the new one's generator may begin anywhere.
        let Self { iface, .. } = Self::new(self.origin, mtu, 0);
        (self.iface, self.mtu) = (iface, mtu);
        true
    }
}
