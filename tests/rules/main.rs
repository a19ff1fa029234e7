//! FTP's rules in an inspected connection: each dialogue whole, one byte a segment, in swapped segments, and twice.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test that cannot go on has failed")]

mod active;
mod bounds;
mod cover;
mod dialogue;
mod first;
mod logins;
mod passive;
mod random;
mod rig;
mod strict;
