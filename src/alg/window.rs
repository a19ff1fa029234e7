//! The receiver's window, told to the sender in the sender's own numbers.
//!
//! A window is the position behind the last byte that may be sent, its right edge. The receiver's edge is of the
//! delivered stream; less what edits have added, it is the sender's. It is not moved left because of an edit, as a
//! sender could have used it up (RFC 9293 3.8.6): what then is too much waits here. So does the rest of a line that is
//! held: it is ours already, and need not wait for a receiver that has not seen its begin ([`Offer`]).

/// How far the sender may go for our own sake, in its numbers: what is held of a line has room here, whatever the receiver
/// has.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Offer {
    /// As far as the line may go.
    pub(super) least: u64,
    /// As far as there is room.
    pub(super) most: u64,
}

/// One direction's window.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window {
    /// The furthest right edge that the receiver gave.
    right: u64,
    /// The one that it gave last.
    latest: u64,
    /// The furthest that the sender was told since the receiver last took back, in its numbers.
    told: u64,
    /// The furthest that it ever was told.
    given: u64,
    /// How far the field is shifted (RFC 7323 2.2), at most 14.
    pub(super) scale: u8,
}

impl Window {
    /// Notes what a SYN says, which is not scaled: `field` bytes from the first one on.
    pub(super) fn open(&mut self, field: u16) {
        self.right = 1 + u64::from(field);
        self.latest = self.right;
        self.told = self.right;
        self.given = self.right;
    }

    /// Notes what the receiver says, `ack` and right edge being of the delivered stream; true if it gave more
    /// than ever.
    pub(super) fn heard(&mut self, ack: u64, field: u16) -> bool {
        let edge = ack + (u64::from(field) << self.scale);
        let more = edge > self.right;
        let shrunk = edge < self.latest;
        self.latest = edge;
        self.right = self.right.max(edge);
        if shrunk {
            // Its own doing: what it takes back, the sender is told.
            self.told = 0;
        }
        more
    }

    /// The field that tells a sender with acknowledgement `ack` its right edge. `o` and `n` are one position in
    /// both streams, behind all edits.
    pub(super) fn tell(&mut self, ack: u64, o: u64, n: u64, offer: Offer) -> u16 {
        let mut edge = (self.latest + o).saturating_sub(n).max(self.told);
        if edge < offer.least {
            // Rounded up where that can be kept: a scaled window has steps larger than a line.
            let step = |len: u64| len.div_ceil(1 << self.scale) << self.scale;
            let up = ack + step(offer.least.saturating_sub(ack));
            edge = edge.max(if up <= offer.most { up } else { offer.least.min(offer.most) });
        }
        let field = u16::try_from(edge.saturating_sub(ack) >> self.scale).unwrap_or(u16::MAX);
        if edge >= ack {
            self.told = self.told.max(ack + (u64::from(field) << self.scale));
        }
        self.given = self.given.max(self.told);
        field
    }

    /// The field that goes with an acknowledgement that came late and moves nothing: `heard` is of the delivered
    /// stream, `ack` what the sender is told.
    pub(super) fn late(&self, heard: u64, field: u16, ack: u64, o: u64, n: u64) -> u16 {
        let edge = (heard + (u64::from(field) << self.scale) + o).saturating_sub(n);
        u16::try_from(edge.saturating_sub(ack) >> self.scale).unwrap_or(u16::MAX)
    }

    /// How far the sender may send, in its numbers: it need not heed what was taken back.
    pub(super) fn given(&self) -> u64 {
        self.given
    }

    /// How far the delivered stream may be sent.
    pub(super) fn right(&self) -> u64 {
        self.right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_edits_the_field_stays_as_it_is() {
        for scale in 0..=14 {
            let mut w = Window { scale, ..Window::default() };
            w.open(100);
            for (ack, field) in [(1, 100), (50, 65535), (60, 65535), (60, 0), (70, 1), (70, 0), (80, 77)] {
                w.heard(ack, field);
                assert_eq!(w.tell(ack, 5, 5, Offer::default()), field, "{scale} {ack} {field}");
            }
        }
    }

    #[test]
    fn growth_is_taken_off_and_rounded_down() {
        let mut w = Window { scale: 14, ..Window::default() };
        w.heard(100, 3);
        assert_eq!(w.tell(100, 100, 100, Offer::default()), 3);
        // Ten more bytes are in front of the edge than the sender knows of, at an acknowledgement beyond that.
        w.heard(20_000, 3);
        assert_eq!(w.tell(19_990, 19_990, 20_000, Offer::default()), 3);
        w.heard(40_000, 3);
        assert_eq!(w.tell(39_990, 39_990, 40_020, Offer::default()), 2);
    }

    #[test]
    fn an_edit_never_takes_back_what_was_told() {
        let mut w = Window::default();
        w.open(20);
        assert_eq!(w.tell(1, 1, 1, Offer::default()), 20);
        w.heard(1, 20);
        assert_eq!(w.tell(1, 21, 29, Offer::default()), 20);
        w.heard(29, 20);
        assert_eq!(w.tell(21, 21, 29, Offer::default()), 20);
        // The receiver itself may.
        w.heard(29, 5);
        assert_eq!(w.tell(21, 21, 29, Offer::default()), 5);
    }

    #[test]
    fn what_was_given_once_may_be_sent() {
        let mut w = Window::default();
        w.open(20);
        assert!(!w.heard(5, 3) && w.heard(9, 30));
        assert!(!w.heard(9, 3));
        assert_eq!((w.right(), w.given()), (39, 21));
    }

    #[test]
    fn an_offer_of_ours_opens_a_closed_window_and_stays() {
        let offer = |least, most| Offer { least, most };
        let mut w = Window::default();
        w.open(10);
        assert_eq!(w.tell(11, 11, 1, offer(4097, 200_000)), 4086);
        // The line is whole: what was told stands, whatever the receiver has.
        w.heard(1, 10);
        assert_eq!(w.tell(11, 11, 1, Offer::default()), 4086);
        assert_eq!(w.given(), 4097);
        // More of the receiver's stays more, and no more than there is room for is offered.
        assert_eq!(w.tell(11, 11, 1, offer(20, 200_000)), 4086);
        let mut w = Window::default();
        w.open(10);
        assert_eq!(w.tell(11, 11, 1, offer(4097, 300)), 289);
        // In steps of 16 KiB a line takes a whole one, if that can be kept.
        for (most, field) in [(200_000, 1), (16_000, 0)] {
            let mut w = Window { scale: 14, ..Window::default() };
            w.open(10);
            assert_eq!(w.tell(11, 11, 1, offer(4097, most)), field);
        }
    }
}
