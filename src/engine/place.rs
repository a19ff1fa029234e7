//! The engine, wherever it stands.

use super::settings::{Place, Settings, Transit};
use super::state::Redirected;
use super::transit::{Bridge, Router};
use super::turn::Turn;
use crate::flow::FlowTable;
use crate::rng::Keyed;
use crate::session::Registry;
use crate::time::Instant;
use crate::wccp;
use std::sync::Arc;

/// The pure core of one worker.
pub struct Engine(Box<dyn Core>);

/// What a kind of engine does; each method as [`Engine`]'s.
pub(super) trait Core: Send {
    fn turn(&mut self, turn: &mut Turn<'_>);
    fn poll_timeout(&self, now: Instant) -> Option<(Instant, &'static str)>;
    fn sessions(&self) -> usize;
    fn busy(&self) -> usize;
    fn occupied(&self) -> Vec<(&'static str, usize)>;
    fn counters(&self) -> Vec<(String, u64)>;

    fn registry(&self) -> Option<&Registry> {
        None
    }

    fn has_left(&self) -> bool {
        true
    }

    fn presume_l2(&mut self, _return_l2: bool) {}
}

impl Engine {
    /// An engine. Workers of one gateway share `flows` and have the same settings but for their number.
    ///
    /// # Errors
    /// The service groups' settings contradict each other.
    pub fn new(settings: Settings, flows: Arc<FlowTable>) -> Result<Self, wccp::SettingsError> {
        let keyed = Keyed::new(settings.seed);
        Ok(Self(match settings.place {
            Place::Redirected(s) => Box::new(Redirected::new(*s, keyed, flows)?),
            Place::Transit(s) => match s.kind.clone() {
                Transit::Bridge => Box::new(Bridge::new(*s, keyed, flows)),
                Transit::Route { routes } => Box::new(Router::new(*s, routes, keyed, flows)),
            },
        }))
    }

    /// Takes what came in, does what is due, gives what goes out. The turn has one interface, or those of
    /// [`TransitSettings`](super::TransitSettings).
    pub fn turn(&mut self, turn: &mut Turn<'_>) {
        self.0.turn(turn);
    }

    /// Takes routers to forward by MAC address, and to take back so if `return_l2`, until they themselves have
    /// agreed to something: for packets of routers that nobody can speak to.
    pub fn presume_l2(&mut self, return_l2: bool) {
        self.0.presume_l2(return_l2);
    }

    /// When the next turn is due without input, and why.
    pub fn poll_timeout(&self, now: Instant) -> Option<(Instant, &'static str)> {
        self.0.poll_timeout(now)
    }

    /// Sessions that live.
    pub fn sessions(&self) -> usize {
        self.0.sessions()
    }

    /// Sessions and data connections that live, half-open ones included.
    pub fn busy(&self) -> usize {
        self.0.busy()
    }

    /// The sessions that end here, to look at; in line there are none.
    pub fn registry(&self) -> Option<&Registry> {
        self.0.registry()
    }

    /// What is in use of everything that has a limit, by name: all 0 when nothing goes on. The flow table's
    /// entries are those of all workers.
    pub fn occupied(&self) -> Vec<(&'static str, usize)> {
        self.0.occupied()
    }

    /// Whether the routers know that we leave (or time ran out), after [`Control::Leave`](super::Control::Leave).
    pub fn has_left(&self) -> bool {
        self.0.has_left()
    }

    /// Counts by name, in a fixed order.
    pub fn counters(&self) -> Vec<(String, u64)> {
        self.0.counters()
    }
}
