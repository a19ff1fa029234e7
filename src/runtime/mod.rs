//! The shell around the workers: preflight checks, cores, signals, events out, start and stop.

pub mod events;
pub mod launch;
pub mod nic;
pub mod os;
pub mod play;
pub mod preflight;
pub mod replay;
pub mod settings;
mod watch;
