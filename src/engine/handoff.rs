//! What one worker hands to another.

use super::origin::Origin;
use super::routers::Router;
use crate::wire::eth::Tags;

/// Something on its way to the worker that can do something about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A packet for the worker that can do something about it: its session's owner, the owner of the session
    /// whose segment an ICMP error quotes, the worker that speaks WCCP.
    Packet {
        /// Index of the interface that it came in on.
        interface: usize,
        /// How it was redirected; none if it came to our own address.
        origin: Option<Origin>,
        /// Tags of the frame that it came in.
        tags: Tags,
        /// The IP packet, whole (the inner one, if it was redirected); perhaps longer than a frame.
        packet: Vec<u8>,
    },
    /// An ARP frame or a packet of neighbour discovery, answered already: every worker keeps neighbours of
    /// its own.
    Neighbour {
        /// Index of the interface that it came in on.
        interface: usize,
        /// The frame.
        bytes: Vec<u8>,
    },
    /// What is known of a router now, from the worker that speaks WCCP with it.
    Router(Router),
}
