//! Frames in and out: one trait, [`Port`], and its implementations.

pub mod afxdp;
pub mod link;
pub mod mem;
pub mod pcap;
pub mod pnet;
mod pool;
mod port;
mod wait;

pub use port::{Attach, Port, PortError, PortInfo, PortStats};
pub use wait::wait;
