//! FTP sessions whose control connection is terminated on both sides.
//!
//! ```text
//!  SYN ─▶ half (a record, no sockets) ─▶ session ─┬─ control   lines, commands, replies in order
//!                                                 ├─ data      announced, translated or relayed
//!                                                 └─ wait      TIME-WAIT, as small records
//! ```
//!
//! A [`Registry`] holds the sessions of one worker. The engine hands it segments that the flow table gave
//! to it and SYNs that nobody owns; it answers through an [`Outlet`](crate::tcp::Outlet) and with events.

mod command;
mod control;
mod data;
#[cfg(test)]
mod fixture;
mod half;
mod lease;
mod opaque;
mod registry;
mod reply;
mod settings;
mod shared;
mod torn;
mod wait;

pub use registry::{Registry, SynVerdict};
pub use settings::{
    ClientMode, DataSource, Ftps, Limits, OverLimit, Own, ServerMode, Service, Settings, Timers,
    UpstreamSource,
};
pub use shared::{Counters, port_owner};
