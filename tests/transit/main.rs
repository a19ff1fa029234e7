//! The engine in line, in memory: hosts with TCP stacks of their own inside and outside, frames between them and the
//! two ports of a worker on a virtual clock.
//!
//! ```text
//!  client 10.0.0.10 ── inside ── worker, engine ── outside ── server (bridge: 10.0.0.20, route: 198.51.100.10)
//! ```
//!
//! Every frame that the engine sends is checked by an independent parser.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

mod bridge;
mod ftp;
mod recorded;
mod route;
mod standstill;
