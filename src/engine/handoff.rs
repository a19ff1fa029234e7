//! What one worker hands to another: a packet whose session the other owns.

use crate::wire::eth::Tags;
use crate::wire::gre::Redirect;
use std::net::Ipv4Addr;

/// A packet on its way to its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Index of the interface that it came in on.
    pub interface: usize,
    /// The router that redirected it and its redirect header; none if it came to our own address.
    pub origin: Option<(Ipv4Addr, Redirect)>,
    /// Tags of the frame that it came in.
    pub tags: Tags,
    /// The IP packet (the inner one, if it was redirected).
    pub packet: Vec<u8>,
}
