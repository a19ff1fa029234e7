//! What the fuzz targets do with an input. `tests/fuzz_corpora.rs` runs the same over the small corpora that are kept
//! here; `fuzz/README.md` says how to look for more.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed check is a finding"
)]

pub mod capture;
pub mod config;
pub mod control;
pub mod edits;
pub mod frame;
mod input;
mod packets;
pub mod wccp;
