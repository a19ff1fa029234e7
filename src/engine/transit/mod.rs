//! The engine in line, between an inside and an outside interface: as a bridge, or as a router.

mod bridge;
mod link_local;
mod router;

pub(super) use bridge::Bridge;
pub(super) use router::Router;

use super::drops::{DropReason, Drops};
use super::settings::Control;
use super::turn::Turn;
use crate::event::{Event, What};
use crate::firewall::{Firewall, Side};
use std::fmt::Debug;

/// Both sides, in the order of a turn's interfaces.
const SIDES: [Side; 2] = [Side::Inside, Side::Outside];

/// The index of a side's interface in a turn.
const fn index(side: Side) -> usize {
    match side {
        Side::Inside => 0,
        Side::Outside => 1,
    }
}

/// What an operator wants of a firewall in line. There is nobody to be told that we leave.
fn obey<W: Copy + Eq + Debug>(firewall: &mut Firewall<W>, turn: &mut Turn<'_>) {
    for control in turn.control {
        if *control == Control::Drain {
            firewall.drain();
            let what = What::Gateway { state: "draining", text: String::new() };
            turn.events.push(Event { at: turn.now, what });
        }
    }
}

/// Counts of what went through, by name.
#[derive(Debug, Default)]
struct Counts {
    /// Frames or packets that went from one side to the other, by side that they came from.
    forwarded: [u64; 2],
    /// Packets that we made.
    injected: u64,
}

impl Counts {
    fn list(&self, drops: &Drops) -> Vec<(String, u64)> {
        let mut all = vec![
            ("forwarded_out".to_owned(), self.forwarded[index(Side::Inside)]),
            ("forwarded_in".to_owned(), self.forwarded[index(Side::Outside)]),
            ("made".to_owned(), self.injected),
        ];
        let drop = |r: &DropReason| (format!("drop_{}", r.name()), drops.of(*r));
        all.extend(DropReason::ALL.iter().map(drop));
        all
    }
}
