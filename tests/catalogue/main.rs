//! The catalogue of cases of an FTP gateway that reads and edits packets, written from what must come of each, by
//! people who did not read how the gateway does it: real IP packets in, real IP packets out, TCP hosts that react
//! at both ends. `docs/conformance.md` lists the cases.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test that cannot go on has failed")]

#[path = "../alg/host.rs"]
mod host;
#[allow(dead_code, reason = "it serves the tests of the core as well")]
#[path = "../alg/support.rs"]
mod support;

mod dialogue;
mod differ;
mod e_fxp;
mod e_life;
mod e_ports;
mod g_replies;
mod g_setup;
mod naive;
mod net;
mod p_packets;
mod p_paths;
mod p_stream;
mod packet;
mod path;
mod recorded;
mod reenact;
mod s_bounds;
mod s_lines;
mod s_pace;
mod setup;
mod table;
mod talk;
