//! The whole engine in memory: hosts with TCP stacks of their own, a router that speaks WCCP, and frames
//! between them on a virtual clock.
//!
//! ```text
//!  clients 10.0.0.x ── leg 0 ─┐                ┌─ leg 1 ── server 10.1.0.10
//!                             └── router ──────┘
//!                                   │ leg 2
//!                              engine(s) 10.9.0.2
//! ```
//!
//! The router is the lab's, which is written apart from the library. Every frame that an engine sends is
//! checked by an independent parser.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

include!("lab_router.rs");

mod support;

mod control;
mod crosstalk;
mod data;
mod documented;
mod fail_open;
mod garbage;
mod half;
mod hostile_client;
mod hostile_fuzz;
mod hostile_server;
mod inspect;
mod ipv6_modes;
mod ipv6_sessions;
mod ipv6_wire;
mod local;
mod modes;
mod mtu;
mod opaque;
mod r000;
mod routers;
mod segments;
mod shares;
mod standstill;
mod steering;
mod volume;
mod ways;
mod wccp_long;
mod workers;
