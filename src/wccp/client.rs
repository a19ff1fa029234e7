//! The appliance's end of WCCP: all groups with all routers, without a socket or a clock.
//!
//! Call [`Client::handle_datagram`] for each payload that came to UDP port 2048 and
//! [`Client::handle_timeout`] when the time of [`Client::poll_timeout`] has come (it is due at once after
//! [`Client::new`]); after either, take everything from [`Client::poll_transmit`], then ask for the next
//! time. Datagrams must leave with DF clear and an IP identification other than 0: some routers drop others.

use super::error::{Ignored, ParseError};
use super::group::{Group, Outcome};
use super::message::{Envelope, Message};
use super::negotiate::Methods;
use super::peer::{PeerCounters, State};
use super::settings::{Settings, SettingsError};
use super::table::Table;
use crate::event::{Event, What};
use crate::time::{Duration, Instant};
use std::collections::VecDeque;
use std::net::Ipv4Addr;

/// No warning of one kind about one router comes more often.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// A datagram to send from our own address and port 2048 to port 2048.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// The router.
    pub to: Ipv4Addr,
    /// The UDP payload.
    pub payload: Vec<u8>,
}

/// The state machine.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    groups: Vec<Group>,
    leaving: bool,
    common: Common,
}

/// How a group stands with a router, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status<'a> {
    /// The group's number.
    pub group: u8,
    /// The router's configured address.
    pub router: Ipv4Addr,
    /// What it calls itself.
    pub router_id: Option<Ipv4Addr>,
    /// How far we have come.
    pub state: State,
    /// Why the state is what it is.
    pub reason: &'a str,
    /// What was agreed.
    pub methods: Option<Methods>,
    /// Usable caches that the router lists.
    pub caches: usize,
    /// Hash buckets, or values under the mask, that it redirects to us, as far as we can tell.
    pub assigned: u32,
    /// How many there are in all: 256 buckets, or as many values as the mask has.
    pub of: u32,
    /// The last Receive ID.
    pub receive_id: u32,
    /// Whether we are the one who assigns in this group.
    pub designated: bool,
    /// Messages.
    pub messages: PeerCounters,
}

/// What all groups write to.
#[derive(Debug)]
pub(super) struct Common {
    outbox: VecDeque<Transmit>,
    limit: usize,
    warned: Vec<(&'static str, Ipv4Addr, Instant)>,
    received: u64,
    unknown_components: u64,
    outbox_full: u64,
    parse: [u64; ParseError::ALL.len()],
    ignored: [u64; Ignored::ALL.len()],
}

impl Client {
    /// Nothing is sent before the first [`Client::handle_timeout`].
    ///
    /// # Errors
    /// When the settings cannot work.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        settings.check()?;
        let groups: Vec<Group> =
            settings.groups.iter().map(|group| Group::new(group.service(), &settings.routers)).collect();
        // A caller that never polls must not make us grow: what one timeout can produce, four times.
        let limit = groups.len() * settings.routers.len() * 4 + 16;
        let common = Common {
            outbox: VecDeque::new(),
            limit,
            warned: Vec::new(),
            received: 0,
            unknown_components: 0,
            outbox_full: 0,
            parse: [0; ParseError::ALL.len()],
            ignored: [0; Ignored::ALL.len()],
        };
        Ok(Self { settings, groups, leaving: false, common })
    }

    /// Takes a UDP payload that `from` sent to port 2048.
    pub fn handle_datagram(&mut self, now: Instant, from: Ipv4Addr, payload: &[u8], events: &mut Vec<Event>) {
        self.common.received += 1;
        let Some(router) = self.router(from) else {
            return self.common.ignore(Ignored::UnknownRouter);
        };
        let message = match self.decode(payload) {
            Ok(message) => message,
            Err(error) => return self.common.refuse(now, self.settings.routers[router], error, events),
        };
        let Some(index) = self.groups.iter().position(|group| group.is_about(message.service())) else {
            return self.common.ignore(Ignored::UnknownService);
        };
        let group = &mut self.groups[index];
        let mut outcome = Outcome { now, settings: &self.settings, common: &mut self.common, events };
        match message {
            Message::ISeeYou(message) => group.i_see_you(router, &message, &mut outcome),
            Message::RemovalQuery(message) => group.removal_query(router, &message, &mut outcome),
            Message::HereIAm(_) | Message::RedirectAssign(_) => self.common.ignore(Ignored::WrongMessage),
        }
    }

    /// Does what is due at `now`; cheap if nothing is.
    pub fn handle_timeout(&mut self, now: Instant, events: &mut Vec<Event>) {
        if self.poll_timeout().is_none_or(|(due, _)| due > now) {
            return;
        }
        for index in 0..self.groups.len() {
            // Anew for each: a group may take over what the one before has just dealt.
            let tables = self.tables();
            let mut outcome = Outcome { now, settings: &self.settings, common: &mut self.common, events };
            if let Some(group) = self.groups.get_mut(index) {
                group.handle_timeout(&tables, &mut outcome);
            }
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.common.outbox.pop_front()
    }

    /// When [`Client::handle_timeout`] is due next, and for what.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let t = self.settings.here_i_am;
        self.groups.iter().filter_map(|group| group.timeout(t)).min_by_key(|timer| timer.0)
    }

    /// Begins to leave all groups: routers are told up to three times, T/10 apart. Packets that still come
    /// must be served or returned until [`Client::is_left`].
    pub fn shutdown(&mut self, now: Instant, events: &mut Vec<Event>) {
        self.leaving = true;
        let mut outcome = Outcome { now, settings: &self.settings, common: &mut self.common, events };
        for group in &mut self.groups {
            group.shutdown(&mut outcome);
        }
    }

    /// Every router has let us go, or has been silent about it for 3 T.
    pub fn is_left(&self) -> bool {
        self.leaving && self.groups.iter().all(Group::is_left)
    }

    /// Whether GRE and control packets from this address are a router's: its configured address or what it
    /// calls itself.
    pub fn is_router(&self, address: Ipv4Addr) -> bool {
        self.router(address).is_some()
    }

    /// Where a packet that we decline goes back to in GRE: the ID of the router which sent it (by the outer
    /// source address), as it told us in this group, or else in another; its address if it never did.
    /// `None` if the address is not a router's.
    pub fn return_to(&self, service_id: u8, outer_source: Ipv4Addr) -> Option<Ipv4Addr> {
        let router = self.router(outer_source)?;
        let named = self.groups.iter().filter(|group| group.id() == service_id);
        let id = named.chain(&self.groups).find_map(|group| group.router_id(router));
        id.or_else(|| self.settings.routers.get(router).copied())
    }

    /// Every group with every router.
    pub fn status(&self) -> impl Iterator<Item = Status<'_>> {
        self.groups.iter().flat_map(Group::status)
    }

    /// Counters by name: `received`, `unknown_components`, `outbox_full`, every [`ParseError`], every
    /// [`Ignored`].
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let common = &self.common;
        let own = [
            ("received", common.received),
            ("unknown_components", common.unknown_components),
            ("outbox_full", common.outbox_full),
        ];
        let parse = ParseError::ALL.iter().map(|cause| cause.name()).zip(common.parse);
        let ignored = Ignored::ALL.iter().map(|cause| cause.name()).zip(common.ignored);
        own.into_iter().chain(parse).chain(ignored)
    }

    fn decode(&mut self, payload: &[u8]) -> Result<Message, ParseError> {
        let envelope = Envelope::open(payload)?;
        let unknown = envelope.unknown_components();
        let message = envelope.verify(self.settings.password.as_ref())?.decode()?;
        self.common.unknown_components += unknown;
        Ok(message)
    }

    /// The position of the router that has this address, or calls itself so in some group.
    fn router(&self, address: Ipv4Addr) -> Option<usize> {
        let configured = self.settings.routers.iter().position(|router| *router == address);
        configured.or_else(|| self.groups.iter().find_map(|group| group.router_called(address)))
    }

    /// The tables in force, so that groups with the same caches share one.
    fn tables(&self) -> Vec<Table> {
        self.groups.iter().filter_map(|group| group.table().cloned()).collect()
    }
}

impl Common {
    pub(super) fn send(&mut self, to: Ipv4Addr, payload: Vec<u8>) {
        if self.outbox.len() >= self.limit {
            self.outbox.pop_front();
            self.outbox_full += 1;
        }
        self.outbox.push_back(Transmit { to, payload });
    }

    pub(super) fn ignore(&mut self, cause: Ignored) {
        if let Some(counter) = self.ignored.get_mut(cause as usize) {
            *counter += 1;
        }
    }

    pub(super) fn warn(
        &mut self,
        now: Instant,
        kind: &'static str,
        router: Ipv4Addr,
        events: &mut Vec<Event>,
        text: impl FnOnce() -> String,
    ) {
        let known = self.warned.iter_mut().find(|entry| entry.0 == kind && entry.1 == router);
        match known {
            Some(entry) if now.since(entry.2) < WARN_EVERY => return,
            Some(entry) => entry.2 = now,
            None => self.warned.push((kind, router, now)),
        }
        let what = What::Warning { kind, subject: router.to_string(), text: text() };
        events.push(Event { at: now, what });
    }

    fn refuse(&mut self, now: Instant, router: Ipv4Addr, error: ParseError, events: &mut Vec<Event>) {
        if let Some(counter) = self.parse.get_mut(error as usize) {
            *counter += 1;
        }
        if matches!(error, ParseError::Digest | ParseError::SecurityDiffers) {
            self.warn(now, "md5_mismatch", router, events, || {
                format!(
                    "router {router}: {error}: set the same WCCP password at the router and in \
                     wccp.password_file (at most 7 characters work everywhere), or at neither"
                )
            });
        }
    }
}

#[cfg(test)]
mod tests;
