//! Frames in and out: one trait, [`Port`], and its implementations.

pub mod afxdp;
pub mod link;
mod port;

pub use port::{Attach, Port, PortError, PortInfo, PortStats};
