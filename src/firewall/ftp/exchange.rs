//! Files that go from one server to another (FXP): the client tells the one where the other listens.
//!
//! ```text
//!   client ── PASV ──▶ X ── 227 X,p ──▶ client     X's port is offered to the client's other sessions, 30 s long
//!   client ── PORT X,p ──▶ Y ── 200 ──▶ client     Y may connect there, once; the client itself no more
//!              Y ═══════ data ═══════▶ X
//! ```
//! Nobody names a port here that its own server did not name to the same client just before, so a PORT reaches no third
//! host and no port that a server did not open for this. Where both servers are on one side their data does not come
//! through us, and nothing is opened for it.

use super::doors::{Announced, Door, Doorman};
use super::shared::Shared;
use super::{Path, Side};
use crate::alg::rules::NoDoor;
use crate::time::{Duration, Instant};
use std::net::{IpAddr, SocketAddr};

/// How long after the 227 a PORT may name its port.
const OFFERED: Duration = Duration::from_secs(30);

/// What a server listens for that another one may be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offer {
    /// Whose it is.
    session: u32,
    /// The listener, as it knows itself, and its side.
    at: SocketAddr,
    side: Side,
    /// What its host is called on the other side.
    known: IpAddr,
    /// What the client may call it.
    names: [SocketAddr; 2],
    until: Instant,
}

impl Offer {
    /// The session that told the client of it.
    pub(super) fn lender(&self) -> u32 {
        self.session
    }
}

impl Shared {
    /// What a session offered is not to be had any more.
    pub(super) fn withdraw_offer(
        &mut self,
        client: IpAddr,
        session: u32,
        offered: &mut Option<[SocketAddr; 2]>,
    ) {
        for name in offered.take().into_iter().flatten() {
            if self.offers.get(&(client, name)).is_some_and(|o| o.session == session) {
                self.offers.remove(&(client, name));
            }
        }
    }
}

impl Doorman<'_> {
    /// Offers what the server listens for: [`Doors::offer`](crate::alg::rules::Doors::offer).
    pub(super) fn make_offer(&mut self, now: Instant, at: SocketAddr, told: SocketAddr) {
        match &self.state.door {
            Door::Open(a) if !a.active => {}
            Door::Elsewhere => {}
            // The client has asked for something else since.
            _ => return,
        }
        let Path { client, server_told, server_side: side, .. } = *self.path;
        // To a client on its own side a 227 names the server as it knows itself, a 229 not at all.
        let names = [told, SocketAddr::new(server_told.ip(), told.port())];
        let (session, known, until) = (self.session, server_told.ip(), now + OFFERED);
        for name in names {
            let offer = Offer { session, at, side, known, names, until };
            self.shared.offers.insert((client.ip(), name), offer);
        }
        self.state.offered = Some(names);
    }

    /// What another session of the same client offers under this name.
    pub(super) fn offer_at(&self, now: Instant, name: SocketAddr) -> Option<&Offer> {
        let offer = self.shared.offers.get(&(self.path.client.ip(), name))?;
        (offer.session != self.session && now <= offer.until).then_some(offer)
    }

    /// Reserves what another session offers. Where the two servers are on one side nothing is expected here.
    pub(super) fn take_offer(&mut self, now: Instant, name: SocketAddr) -> Result<Announced, NoDoor> {
        let Some(offer) = self.offer_at(now, name).copied() else {
            return Err(NoDoor::Policy("the address is not yours"));
        };
        self.place(true)?;
        let (opener, side) = (self.path.server.ip(), self.path.server_side);
        let Offer { at, side: to, known, .. } = offer;
        let leased = side != to;
        let told = if leased { self.ports.take(now, at, known, opener).ok_or(NoDoor::Ports)? } else { at };
        let until = now + self.shared.timers.expectation;
        let a = Announced {
            active: true,
            at,
            to,
            told,
            opener,
            side,
            also: None,
            leased,
            of: Some(offer),
            until,
        };
        if leased && let Err(why) = self.expect(&a, false) {
            self.release(now, &a);
            return Err(why);
        }
        Ok(a)
    }

    /// The server has agreed to connect there. False if what was offered is not to be had any more; else nobody else
    /// gets it.
    pub(super) fn accept(&mut self, offer: &Offer) -> bool {
        let client = self.path.client.ip();
        let is_there = offer.names.iter().all(|name| self.shared.offers.get(&(client, *name)) == Some(offer));
        if is_there {
            self.shared.withdraw_offer(client, offer.session, &mut Some(offer.names));
            self.shared.lent.push(offer.session);
        }
        is_there
    }

    /// Another server connects to what this one listens for: the client does not.
    pub(super) fn lend(&mut self, now: Instant) {
        self.drop_door(now, "superseded", "another server is to connect there");
        self.state.door = Door::Elsewhere;
    }

    /// What is offered is not to be had any more.
    pub(super) fn withdraw_offer(&mut self) {
        let client = self.path.client.ip();
        self.shared.withdraw_offer(client, self.session, &mut self.state.offered);
    }
}
