//! A small network around a worker in line.
#![allow(dead_code, reason = "hosts and servers can more than is asked of them here")]

#[path = "../../mem/support/host.rs"]
pub(crate) mod host;
#[path = "../../mem/support/server.rs"]
pub(crate) mod server;

pub(crate) mod check;
pub(crate) mod client;
pub(crate) mod craft;
pub(crate) mod net;
pub(crate) mod options;
