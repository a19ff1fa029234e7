//! Frames in and out: one trait, [`Port`], and its implementations.

mod port;

pub use port::{Attach, Port, PortError, PortInfo, PortStats};
