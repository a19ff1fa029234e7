//! TIME-WAIT as small records: the last acknowledgement again for whoever missed it (RFC 9293 3.6.1).

use super::shared::{Shared, Timer, send};
use crate::flow::{Action, FlowKey, Slab, SlotRef, TimerId};
use crate::tcp::Outlet;
use crate::wire::build::{TTL, Tcp};
use crate::wire::tcp::{ACK, FIN, RST, SYN, Segment, SynOptions};
use std::net::SocketAddr;

/// One connection that is over.
#[derive(Debug)]
struct Wait {
    slot: SlotRef,
    seq: u32,
    ack: u32,
    timer: Option<TimerId>,
}

/// All of a worker's.
#[derive(Debug, Default)]
pub(super) struct Waits {
    items: Slab<Wait>,
}

impl Waits {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Gives memory back while there are none.
    pub(super) fn shrink(&mut self) {
        self.items.shrink();
    }

    /// Forgets a record whose place is taken; gives its timer, which must not meet the number's next use.
    pub(super) fn forget(&mut self, id: u32) -> Option<TimerId> {
        self.items.remove(id)?.timer
    }
}

impl Shared {
    /// Turns a session's slot into a TIME-WAIT for the configured time.
    /// `numbers` are the next to send and the next expected; without them the slot just goes.
    pub(super) fn time_wait(&mut self, slot: SlotRef, key: &FlowKey, numbers: Option<(u32, u32)>) {
        let Some((seq, ack)) = numbers else {
            self.table.remove(slot);
            return;
        };
        let id = self.waits.items.insert(Wait { slot, seq, ack, timer: None });
        let mut entry = self.session_entry(key, 0, id);
        entry.action = Action::TimeWait;
        let at = self.now + self.settings.timers.time_wait;
        let timer = self.wheel.insert(at, Timer::Wait(id));
        if timer.is_none() || !self.table.update(slot, &entry) {
            self.waits.items.remove(id);
            self.table.remove(slot);
            return;
        }
        if let Some(w) = self.waits.items.get_mut(id) {
            w.timer = timer;
        }
    }

    /// The end of a TIME-WAIT.
    pub(super) fn wait_over(&mut self, id: u32) {
        if let Some(w) = self.waits.items.remove(id) {
            self.table.remove(w.slot);
        }
    }

    /// A segment for a connection in TIME-WAIT. True if it opens a new connection in its place.
    pub(super) fn wait_segment(
        &mut self,
        id: u32,
        slot: SlotRef,
        seg: &Segment,
        out: &mut dyn Outlet,
    ) -> bool {
        let Some(w) = self.waits.items.get_mut(id).filter(|w| w.slot == slot) else {
            self.table.remove(slot);
            return seg.is_first();
        };
        if seg.is_first() {
            if let Some(t) = w.timer {
                self.wheel.cancel(t);
            }
            self.waits.items.remove(id);
            self.table.remove(slot);
            return true;
        }
        if seg.has(RST) {
            return false;
        }
        if seg.flags & (FIN | SYN) != 0 || !seg.is_empty() {
            if seg.has(FIN) && !crate::wire::tcp::before(seg.seq_end(), w.ack) {
                // The end of a peer that we did not wait for.
                w.ack = seg.seq_end();
            }
            send(out, &ack_as(seg.dst, seg.src, w.seq, w.ack));
        }
        false
    }
}

fn ack_as(src: SocketAddr, dst: SocketAddr, seq: u32, ack: u32) -> Tcp {
    Tcp { src, dst, seq, ack, flags: ACK, window: 0, options: SynOptions::default(), ttl: TTL, ip_id: 0 }
}
