//! The engine in line, between an inside and an outside interface.

use super::settings::TransitSettings;
use super::turn::Turn;
use crate::flow::FlowTable;
use crate::rng::Keyed;
use crate::time::Instant;
use std::sync::Arc;

/// The core of a worker in line.
pub(super) struct InLine {}

#[allow(unused_variables, clippy::todo, clippy::unused_self, reason = "the frame of what is being built")]
impl InLine {
    pub(super) fn new(settings: TransitSettings, keyed: Keyed, flows: Arc<FlowTable>) -> Self {
        todo!()
    }

    pub(super) fn turn(&mut self, turn: &mut Turn<'_>) {
        todo!()
    }

    pub(super) fn poll_timeout(&self, now: Instant) -> Option<(Instant, &'static str)> {
        todo!()
    }

    pub(super) fn sessions(&self) -> usize {
        todo!()
    }

    pub(super) fn busy(&self) -> usize {
        todo!()
    }

    pub(super) fn occupied(&self) -> Vec<(&'static str, usize)> {
        todo!()
    }

    pub(super) fn counters(&self) -> Vec<(String, u64)> {
        todo!()
    }
}
