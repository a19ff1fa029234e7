//! Which side a packet comes from, where no interface tells it: by the connections and sessions that are known.

use super::packet::Side;
use super::state::Firewall;
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};

impl<W: Copy + Eq + Debug> Firewall<W> {
    /// The side that a TCP segment comes from: that of its connection, or of its sender in a session of the two hosts.
    pub fn side_of(&self, src: SocketAddr, dst: SocketAddr) -> Option<Side> {
        let known = [Side::Inside, Side::Outside].into_iter().find(|s| self.known(*s, src, dst).is_some());
        known.or_else(|| self.side_of_hosts(src.ip(), dst.ip()))
    }

    /// The side of `src` in a session of the two hosts.
    pub fn side_of_hosts(&self, src: IpAddr, dst: IpAddr) -> Option<Side> {
        self.sessions.side_of(src, dst)
    }
}
