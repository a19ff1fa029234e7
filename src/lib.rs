//! tidegate: an FTP gateway on raw packets in userspace.
//!
//! One frame's way through the crate, from NIC to NIC:
//!
//! ```text
//!  io (AF_XDP, pnet, capture, memory) → worker → engine ─┬─ flow     a flow table hit: rewrite in place
//!   ▲                                                    ├─ session  FTP control connections, tcp, ftp
//!   │                                                    ├─ wccp     the service group's state machine
//!   └───────────────── tx ◄──────────────────────────────┴─ neigh    ARP, next hops, ping
//! ```
//!
//! Everything from [`engine`] down is a function of (frames, now, settings, seed): no clock, socket,
//! thread or random source. `tests/layering.rs` holds the modules to that and to the edges drawn in
//! `docs/architecture.md`.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod alg;
pub mod buf;
pub mod cli;
pub mod config;
pub mod engine;
pub mod event;
pub mod explain;
pub mod firewall;
pub mod flow;
pub mod frag;
pub mod ftp;
pub mod io;
pub mod neigh;
pub mod record;
pub mod rng;
pub mod runtime;
pub mod session;
pub mod tcp;
pub mod time;
pub mod wccp;
pub mod wire;
pub mod worker;
