//! The engine, wherever it stands.

use super::settings::{Place, Settings};
use super::state::Redirected;
use super::transit::InLine;
use super::turn::Turn;
use crate::flow::FlowTable;
use crate::rng::Keyed;
use crate::session::Registry;
use crate::time::Instant;
use crate::wccp;
use std::sync::Arc;

/// The pure core of one worker.
pub struct Engine(Kind);

enum Kind {
    Redirected(Box<Redirected>),
    InLine(Box<InLine>),
}

impl Engine {
    /// An engine. Workers of one gateway share `flows` and have the same settings but for their number.
    ///
    /// # Errors
    /// The service groups' settings contradict each other.
    pub fn new(settings: Settings, flows: Arc<FlowTable>) -> Result<Self, wccp::SettingsError> {
        let keyed = Keyed::new(settings.seed);
        Ok(Self(match settings.place {
            Place::Redirected(s) => Kind::Redirected(Box::new(Redirected::new(*s, keyed, flows)?)),
            Place::Transit(s) => Kind::InLine(Box::new(InLine::new(*s, keyed, flows))),
        }))
    }

    /// Takes what came in, does what is due, gives what goes out. The turn has one interface, or those of
    /// [`TransitSettings`](super::TransitSettings).
    pub fn turn(&mut self, turn: &mut Turn<'_>) {
        match &mut self.0 {
            Kind::Redirected(e) => e.turn(turn),
            Kind::InLine(e) => e.turn(turn),
        }
    }

    /// Takes routers to forward by MAC address, and to take back so if `return_l2`, until they themselves have
    /// agreed to something: for packets of routers that nobody can speak to.
    pub fn presume_l2(&mut self, return_l2: bool) {
        if let Kind::Redirected(e) = &mut self.0 {
            e.presume_l2(return_l2);
        }
    }

    /// When the next turn is due without input, and why.
    pub fn poll_timeout(&self, now: Instant) -> Option<(Instant, &'static str)> {
        match &self.0 {
            Kind::Redirected(e) => e.poll_timeout(now),
            Kind::InLine(e) => e.poll_timeout(now),
        }
    }

    /// Sessions that live.
    pub fn sessions(&self) -> usize {
        match &self.0 {
            Kind::Redirected(e) => e.sessions(),
            Kind::InLine(e) => e.sessions(),
        }
    }

    /// Sessions and data connections that live, half-open ones included.
    pub fn busy(&self) -> usize {
        match &self.0 {
            Kind::Redirected(e) => e.busy(),
            Kind::InLine(e) => e.busy(),
        }
    }

    /// The sessions that end here, to look at; in line there are none.
    pub fn registry(&self) -> Option<&Registry> {
        match &self.0 {
            Kind::Redirected(e) => Some(e.registry()),
            Kind::InLine(_) => None,
        }
    }

    /// What is in use of everything that has a limit, by name: all 0 when nothing goes on. The flow table's
    /// entries are those of all workers.
    pub fn occupied(&self) -> Vec<(&'static str, usize)> {
        match &self.0 {
            Kind::Redirected(e) => e.occupied(),
            Kind::InLine(e) => e.occupied(),
        }
    }

    /// Whether the routers know that we leave (or time ran out), after [`Control::Leave`](super::Control::Leave).
    pub fn has_left(&self) -> bool {
        match &self.0 {
            Kind::Redirected(e) => e.has_left(),
            Kind::InLine(_) => true,
        }
    }

    /// Counts by name, in a fixed order.
    pub fn counters(&self) -> Vec<(String, u64)> {
        match &self.0 {
            Kind::Redirected(e) => e.counters(),
            Kind::InLine(e) => e.counters(),
        }
    }
}
