//! Passive announcements that are steered: a router redirects a list of ports, and the client is told one of them.

use super::Side;
use super::doors::{Door, Doorman, name};
use super::shared::{Shared, expect_key};
use crate::alg::rules::NoDoor;
use crate::flow::{Announced as Answer, Pair, SteerEvent, Steering};
use crate::time::Instant;
use std::net::SocketAddr;

/// Whether a port cannot be named to this pair: it is expected, or a data connection leaves from it.
macro_rules! in_use {
    ($shared:expr) => {{
        let (expected, leaving) = (&$shared.expected, &$shared.leaving);
        move |pair: &Pair, port: u16| {
            let to = SocketAddr::new(pair.server, port);
            let is_expected = |side| expected.get(&expect_key(side, pair.client, to)).is_some();
            leaving.contains_key(&(*pair, port)) || is_expected(Side::Inside) || is_expected(Side::Outside)
        }
    }};
}

impl Shared {
    /// What is due of steering; sessions that got, or will not get, a port, and those whose time is up.
    pub(super) fn steering_due(&mut self, now: Instant) {
        let mut steering = std::mem::take(&mut self.steering);
        for s in &mut steering {
            s.handle_timeout(now, in_use!(self));
        }
        self.steering = steering;
    }
}

impl Doorman<'_> {
    pub(super) fn steering(&mut self) -> Option<&mut Steering> {
        let steers = self.shared.services.get(self.service).is_some_and(|s| !s.data_ports.is_empty());
        if steers { self.shared.steering.get_mut(self.service) } else { None }
    }

    /// A port of the service's list, if it has one.
    pub(super) fn steer(&mut self, now: Instant, at: SocketAddr) -> Result<Option<u16>, NoDoor> {
        if self.steering().is_none() {
            return Ok(None);
        }
        let (pair, name) = (self.path.pair(), name(self.session));
        let answer = {
            let shared = &mut *self.shared;
            let Some(steering) = shared.steering.get_mut(self.service) else { return Ok(None) };
            steering.announce(pair, name, now, in_use!(shared))
        };
        match answer {
            Answer::Port(port) => Ok(Some(port)),
            Answer::Waiting => {
                let ends = (self.path.client, Some(at));
                self.shared.expectation(now, self.id, "waiting", ends, "no port is free");
                self.state.door = Door::Waiting(at);
                Err(NoDoor::Wait)
            }
            Answer::Refused => Err(self.refuse(now, at, false, NoDoor::Ports)),
        }
    }

    /// What became of steering. True if a line waits for it.
    pub(super) fn steered(&mut self, now: Instant, event: SteerEvent) -> bool {
        match (event, &self.state.door) {
            (SteerEvent::Granted { port, .. }, Door::Waiting(at)) => {
                self.state.door = Door::Granted(*at, port);
                true
            }
            (SteerEvent::Refused { .. }, Door::Waiting(at)) => {
                self.state.door = Door::InVain(*at);
                true
            }
            (SteerEvent::TimedOut { port, .. }, Door::Open(a)) if !a.active && a.told.port() == port => {
                self.drop_door(now, "expired", "no SYN came; is the port in the router's redirect list?");
                false
            }
            _ => false,
        }
    }

    pub(super) fn withdraw(&mut self, now: Instant) {
        let (pair, name) = (self.path.pair(), name(self.session));
        if let Some(steering) = self.steering() {
            steering.withdraw(pair, name, now);
        }
    }
}
