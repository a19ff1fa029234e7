//! Capture files: pcap and pcapng, read and written, and a port that plays one.
//!
//! Own code, because reading has to be bounded whatever a file says, and an error has to name the place.
//! (draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.)

mod link;
mod port;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use link::{LinkType, Packet};
pub use port::{Flaws, PcapPort};
pub use reader::{MAX_RECORD, Reader, Record};
pub use writer::{Format, Writer};
