//! What one direction's receiver says of it, told to its sender.

use super::Limits;
use super::half::{Half, Tail};
use super::log::Round;
use super::offset::{unwrap, wire};
use super::options::OptionList;
use super::window::Offer;
use crate::time::Instant;

/// An acknowledgement in the sender's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) ack: u32,
    pub(super) window: u16,
    /// It says more than the one before.
    pub(super) news: bool,
}

impl Half {
    /// Takes in acknowledgement and window. `None`: it acknowledges what was never sent.
    pub(super) fn heard(&mut self, now: Instant, ack: u32, window: u16, limits: &Limits) -> Option<Told> {
        let ack = unwrap(self.isn, ack, self.nxt).filter(|ack| *ack <= self.nxt)?;
        if ack < self.una {
            let told = self.log.rev(ack, Round::Floor).max(self.own_ack);
            let window = self.window.late(ack, window, told, self.decided, self.end());
            return Some(Told { ack: wire(self.isn, told), window, news: false });
        }
        let mut news = self.window.heard(ack, window);
        if ack > self.una {
            news = true;
            self.una = ack;
            self.rto.arrived(now, ack);
            self.log.prune(ack);
            self.forget();
            self.forget_mark();
        } else if self.window.right() <= ack {
            self.rto.alive();
        }
        // Rounded down: an edit is not acknowledged before all of it is.
        let told = self.log.rev(ack, Round::Floor).max(self.own_ack);
        self.acked = self.acked.max(told);
        Some(Told { ack: wire(self.isn, told), window: self.tell(told, limits), news })
    }

    /// Takes notice of edits that left nothing to deliver behind what is acknowledged; true if the sender does not
    /// know of it yet.
    pub(super) fn settled(&mut self) -> bool {
        let through = self.log.rev(self.una, Round::Floor);
        let news = through > self.acked;
        if news {
            self.acked = through;
            self.log.prune(self.una);
        }
        news
    }

    /// An acknowledgement alone, in the sender's numbers.
    pub(super) fn told(&self, ack: u32) -> Option<u32> {
        let ack = unwrap(self.isn, ack, self.nxt)?;
        Some(wire(self.isn, self.log.rev(ack, Round::Floor).max(self.own_ack)))
    }

    /// The window field that goes with the acknowledgement of `acked`.
    pub(super) fn tell(&mut self, acked: u64, limits: &Limits) -> u16 {
        let end = self.end();
        let offer = match self.state {
            Tail::Held(_) => Offer {
                least: self.decided + limits.line as u64,
                most: self.decided + limits.kept.saturating_sub(self.kept.len() + self.log.old()) as u64,
            },
            _ => Offer::default(),
        };
        self.window.tell(acked, self.decided, end, offer)
    }

    /// Maps the acknowledged ranges of a segment of the receiver's, whose acknowledgement is `ack`.
    pub(super) fn map_sack(&self, ack: u32, options: &mut OptionList) {
        let Some(ack) = unwrap(self.isn, ack, self.nxt) else { return };
        options.map_sack(|left, right| {
            let left = unwrap(self.isn, left, self.una)?;
            let right = unwrap(self.isn, right, self.una).filter(|right| *right <= self.nxt)?;
            let repeated = right <= ack;
            let (mut left, right) = (self.log.rev(left, Round::Ceil), self.log.rev(right, Round::Floor));
            if !repeated {
                left = left.max(self.own_ack);
            }
            (left < right).then(|| (wire(self.isn, left), wire(self.isn, right)))
        });
    }

    /// Lets go of bytes that the receiver acknowledged, but not of a part of an edit.
    fn forget(&mut self) {
        let keep = self.log.whole(self.una).min(self.end());
        let gone = (keep - self.kept_at) as usize;
        if gone >= self.kept.len() {
            self.kept = Vec::new();
        } else {
            self.kept.drain(..gone);
        }
        self.kept_at = keep;
    }
}
