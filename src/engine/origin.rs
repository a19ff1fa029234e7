//! How a packet for somebody else came to us, which is how it goes back.

use crate::wire::eth::Mac;
use crate::wire::gre::Redirect;
use std::net::Ipv4Addr;

/// The way that a redirected packet came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// In GRE from a router, under the redirect header that is echoed when it is returned
    /// (draft-wilson-wrec-wccp-v2, 4.12.1).
    Gre {
        /// The router, as the outer source address names it.
        router: Ipv4Addr,
        /// The redirect header.
        redirect: Redirect,
    },
    /// By WCCP's L2 forwarding: only the destination MAC was rewritten (4.12.2).
    L2 {
        /// The router's MAC.
        router: Mac,
    },
    /// By a router's policy, without any protocol: to that router we are a hop.
    Static {
        /// The MAC that it came from.
        from: Mac,
    },
}
