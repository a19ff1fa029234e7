//! The fence around the embedded TCP stack: connections that a session terminates.
//!
//! One [`Stack`] per session (the stack scans all its sockets for each segment and resets strangers, so
//! it is fed only segments that the flow table gave to this session). What the fence adds: sequence
//! numbers of our choice (RFC 6528) by a constant shift, connections that begin with a handshake made
//! outside the stack, urgent data, an MSS limit, and marks of FIN and RST that the stack does not keep.

mod device;
mod stack;

pub use device::Outlet;
pub use stack::{Buffers, Conn, ConnState, Handshake, Stack};
