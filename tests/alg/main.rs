//! The packet-level core: its catalogue of cases, and hosts that react around it.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test that cannot go on has failed")]

mod answers;
mod ccc;
mod host;
mod lines;
mod opening;
mod packets;
mod random;
mod raw;
mod rig;
mod small;
mod support;
mod talk;
mod tight;
mod tls;
mod urgent;
mod ways;
