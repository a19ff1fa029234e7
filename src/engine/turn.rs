//! One turn: everything that goes into a worker's core and comes out of it.

use super::handoff::Item;
use super::settings::Control;
use crate::buf::{Burst, Frame};
use crate::event::Event;
use crate::time::Instant;

/// The sending side of one interface in one turn.
#[derive(Debug, Default)]
pub struct Tx {
    /// Frames that may still be sent in this turn.
    pub slots: usize,
    /// Empty frames to build packets in.
    pub spare: Vec<Frame>,
    /// Frames to send, in order.
    pub out: Vec<Frame>,
    /// Frames that came in or were taken and are not sent.
    pub done: Vec<Frame>,
}

/// One turn of a worker.
#[derive(Debug)]
pub struct Turn<'a> {
    /// The time, read once.
    pub now: Instant,
    /// Received frames, an entry for each interface; they are taken out.
    pub rx: &'a mut [Burst],
    /// The sending side, an entry for each interface.
    pub tx: &'a mut [Tx],
    /// Packets from other workers; they are taken out.
    pub handoff_in: &'a mut Vec<Item>,
    /// Packets for other workers.
    pub handoff_out: &'a mut Vec<(u16, Item)>,
    /// What the operator wants.
    pub control: &'a [Control],
    /// Events of this turn, in order.
    pub events: &'a mut Vec<Event>,
}
