//! What the two SYNs agree on.

use super::LEAST_MSS;
use super::half::Half;
use super::options::OptionList;
use crate::wire::tcp;

/// Payload that everybody takes who names no size (RFC 9293 3.7.1).
const DEFAULT_MSS: usize = 536;

/// What a SYN says.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Syn {
    window: u16,
    mss: usize,
    scale: Option<u8>,
    pub(super) sack: bool,
    stamps: bool,
}

impl Syn {
    pub(super) fn new(window: u16, options: &OptionList) -> Self {
        let said = tcp::syn_options(options.as_slice());
        let mss = said.mss.map_or(DEFAULT_MSS, usize::from).max(LEAST_MSS);
        Self { window, mss, scale: said.window_scale, sack: said.sack, stamps: said.timestamps }
    }
}

impl Half {
    /// Notes what the receiver said in its SYN, and what the sender said in its own.
    pub(super) fn heed(&mut self, receiver: &Syn, sender: &Syn) {
        self.window.open(receiver.window);
        self.mss = receiver.mss;
        if sender.scale.is_some() {
            self.window.scale = receiver.scale.unwrap_or(0);
        }
        if !(receiver.stamps && sender.stamps) {
            (self.stamp, self.newest) = (None, None);
        }
    }
}
