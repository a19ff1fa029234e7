//! WCCP version 2.00 as an appliance ("web cache") speaks it, and the field codec for both directions.
//!
//! Source: draft-wilson-wrec-wccp-v2 (November 2001), with the readings of its bit pictures that peers use:
//! least significant bit first. UDP port 2048 at both ends.
//!
//! * [`message`] reads and writes datagrams; [`component`] and [`element`] are what they consist of;
//! * [`security`] is the password and the digest;
//! * [`assign`] chooses the cache for a packet and deals buckets to caches, [`mask`] does so by masks;
//! * [`Client`] is the state machine, of groups, each with its routers.

pub mod assign;
mod client;
mod codec;
pub mod component;
pub mod element;
mod error;
mod farm;
mod group;
pub mod mask;
pub mod message;
mod negotiate;
mod peer;
#[cfg(test)]
mod properties;
pub mod security;
mod settings;
mod table;

pub use client::{Client, Status, Transmit};
pub use error::{Ignored, ParseError};
pub use negotiate::Methods;
pub use peer::{PeerCounters, State};
pub use security::Password;
pub use settings::{Assignment, DEFAULT_MASK, GroupSettings, Method, Role, Settings, SettingsError};

/// The UDP port of both ends.
pub const PORT: u16 = 2048;

/// Most routers, and most caches, of one group.
pub const MAX_MEMBERS: usize = 32;
