//! Data connections: announced, then translated in the flow table or relayed.
//!
//! Either end of one may open it or listen. Where one opens and the other listens, the SYN goes through and the
//! flow table translates; where both open or both listen, we are the other end of each and copy.
//!
//! | client | server | what becomes of it |
//! |---|---|---|
//! | opens (PASV, EPSV) | listens | translated |
//! | listens (PORT, EPRT) | opens | translated |
//! | listens | listens | relayed: we open both |
//! | opens | opens | relayed: we take both |
//!
//! The entry exists before the line that announces it is released; a flow lives on when its session ends.

mod arrive;
mod flow;
mod gate;
mod meet;
mod relay;
mod setup;

use super::control::{Control, Tag, Transfer};
use super::lease::Lease;
use super::reply::Gate;
use super::shared::Shared;
use crate::event::{Direction, Path, What};
use crate::flow::ExpectKey;
use crate::ftp::reply;
use crate::ftp::verb::Verb;
use crate::time::Instant;
pub(super) use flow::DataFlow;
use relay::Relay;
use std::net::SocketAddr;

/// Said when there is no place for a connection.
const TABLE_FULL: &str = "the flow table is full";

/// Whose SYN is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The client's.
    Client,
    /// The server's.
    Server,
}

/// The client's side of a data connection that is set up.
#[derive(Debug, Clone, Copy)]
enum ClientEnd {
    /// It will open one to what it was told.
    Opens { announced: SocketAddr, key: ExpectKey, until: Instant, lease: Option<Lease> },
    /// It listens.
    Listens(SocketAddr),
}

/// The server's side.
#[derive(Debug, Clone, Copy)]
enum ServerEnd {
    /// It listens; we open from `ours`, or the client's own segments go there as the client's.
    Listens { remote: SocketAddr, ours: Option<Lease> },
    /// It will open one to what we named.
    Opens { ours: Lease, key: ExpectKey, until: Instant },
}

impl ServerEnd {
    /// What events show of it: where it listens, or what it was told.
    const fn shown(&self) -> SocketAddr {
        match self {
            Self::Listens { remote, .. } => *remote,
            Self::Opens { ours, .. } => ours.end,
        }
    }
}

/// Both sides.
#[derive(Debug, Clone, Copy)]
struct Plan {
    client: ClientEnd,
    server: ServerEnd,
}

impl Plan {
    const fn client_shown(&self) -> SocketAddr {
        match self.client {
            ClientEnd::Opens { announced, .. } => announced,
            ClientEnd::Listens(at) => at,
        }
    }

    const fn client_listens(&self) -> bool {
        matches!(self.client, ClientEnd::Listens(_))
    }

    /// Until when the sides that open have to come.
    fn until(&self) -> Option<Instant> {
        let client = if let ClientEnd::Opens { until, .. } = self.client { Some(until) } else { None };
        let server = if let ServerEnd::Opens { until, .. } = self.server { Some(until) } else { None };
        client.into_iter().chain(server).min()
    }
}

/// A session's data connection, as far as it has got.
pub(super) enum Data {
    /// None is set up.
    None,
    /// The server was told where to connect to and has not answered.
    Named(Named),
    /// The server's side is ready; a port to announce is awaited.
    Waiting(Waiting),
    /// Set up on both sides.
    Ready(Ready),
    /// Translated; the flow's number.
    Flow(u32),
    /// Relayed.
    Relay(Box<Relay>),
}

/// See [`Data::Named`].
pub(super) struct Named {
    asked: Verb,
    /// Where the client listens, if it does.
    client: Option<SocketAddr>,
    server: ServerEnd,
}

/// See [`Data::Waiting`].
pub(super) struct Waiting {
    asked: Verb,
    server: ServerEnd,
}

/// See [`Data::Ready`].
pub(super) struct Ready(Plan);

impl Data {
    /// Whether a reply to the client waits for a port.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self, Self::Waiting(_))
    }

    /// Whether bytes of a relay may still pass.
    pub(super) fn is_live_relay(&self) -> bool {
        matches!(self, Self::Relay(r) if r.is_live())
    }
}

impl Control {
    pub(super) fn expectation(
        &mut self,
        shared: &mut Shared,
        state: &'static str,
        client_side: SocketAddr,
        server_side: Option<SocketAddr>,
        reason: &str,
    ) {
        let reason = reason.to_owned();
        shared.event(What::Expectation { session: self.id, state, client_side, server_side, reason });
    }

    /// A transfer's verb was sent. Or why it cannot be served.
    pub(super) fn data_begins(&mut self, shared: &mut Shared) -> Result<(), &'static str> {
        match &mut self.data {
            Data::Flow(id) => {
                match shared.flow_of(*id, self.id).filter(|f| !f.is_told()) {
                    Some(flow) => flow.begins(self.transfer.as_ref()),
                    None => self.data = Data::None,
                }
                Ok(())
            }
            Data::Ready(Ready(Plan { client, server })) => match (*client, server) {
                (ClientEnd::Listens(client), ServerEnd::Listens { remote, ours: Some(ours) }) => {
                    let (remote, ours) = (*remote, *ours);
                    self.relay_start(shared, client, ours, remote)
                }
                (_, ServerEnd::Opens { key, until, .. }) => {
                    // Only now will it: its time begins here.
                    *until = shared.expect_longer(key, *until);
                    Ok(())
                }
                _ => Ok(()),
            },
            Data::Relay(_) => {
                self.relay_begins(shared);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The final reply to a transfer came (or will never).
    pub(super) fn transfer_replied(&mut self, shared: &mut Shared, code: u16) {
        let Some(mut transfer) = self.transfer.take() else { return };
        transfer.code = Some(code);
        let active = matches!(&self.data, Data::Ready(Ready(p)) if p.client_listens());
        match &self.data {
            Data::Flow(id) => {
                let id = *id;
                if shared.flow_replied(id, self.id, &transfer) {
                    return;
                }
                self.data = Data::None;
            }
            Data::Relay(_) => {
                self.transfer = Some(transfer);
                if matches!(self.gate, Gate::Delivering(_)) {
                    self.gated_reply = self.gated.len();
                }
                return self.relay_replied(shared, code);
            }
            Data::Ready(Ready(plan)) if code == 425 => {
                let plan = *plan;
                if let ServerEnd::Opens { .. } = plan.server {
                    let why = self.absent_server(shared, plan.server.shown());
                    self.data_drop(shared, "expired", &why);
                }
            }
            _ => {}
        }
        self.tell_unmet(shared, transfer, active, code);
    }

    /// Reports a transfer that had no data connection.
    fn tell_unmet(&self, shared: &mut Shared, transfer: Transfer, active: bool, code: u16) {
        shared.event(What::Transfer {
            session: self.id,
            verb: transfer.verb.name().to_owned(),
            name: transfer.name,
            direction: transfer.verb.direction().unwrap_or(Direction::Download),
            path: Path::Translated,
            client_mode: if active { "active" } else { "passive" },
            bytes: 0,
            duration_ms: 0,
            verdict: reply::verdict("complete", code, 0),
            code,
        });
    }

    /// Why a server that was told to connect may not have come.
    fn absent_server(&self, shared: &Shared, named: SocketAddr) -> String {
        let ports = &shared.settings.services[self.service].server_ports;
        match ports.as_slice() {
            [] => format!("no connection of the server came to {named}"),
            ports => {
                let list = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
                format!(
                    "no connection of the server came to {named}: only those from port {list} are redirected to \
                     the gateway; does the server connect from another one?"
                )
            }
        }
    }

    /// A new PASV, EPSV, PORT or EPRT replaces what was set up.
    pub(super) fn data_supersede(&mut self, shared: &mut Shared) {
        self.data_drop(shared, "superseded", "replaced by a new one");
    }

    /// The control connection can no longer be read: nothing is expected from here on.
    pub(super) fn data_covered(&mut self, shared: &mut Shared) {
        if !matches!(self.data, Data::Flow(_) | Data::Relay(_)) {
            self.data_drop(shared, "superseded", "the control channel is encrypted");
        }
    }

    /// ABOR: what is not connected yet will not be.
    pub(super) fn data_abort(&mut self, shared: &mut Shared) {
        match &self.data {
            Data::Waiting(_) => {
                self.data_drop(shared, "superseded", "aborted");
                self.no_data(shared, "aborted");
            }
            Data::Ready(Ready(Plan { client: ClientEnd::Opens { .. }, .. })) => {
                self.data_drop(shared, "superseded", "aborted");
            }
            Data::Ready(Ready(Plan { server: ServerEnd::Opens { .. }, .. })) if self.transfer.is_some() => {
                self.data_drop(shared, "superseded", "aborted");
            }
            Data::Relay(_) => self.relay_abort(shared),
            _ => {}
        }
    }

    /// The session ends; a connected flow goes on by itself.
    pub(super) fn data_session_ends(&mut self, shared: &mut Shared) {
        if let Data::Flow(id) = self.data {
            shared.flow_orphaned(id, self.id, &mut self.transfer);
        }
        self.data_drop(shared, "superseded", "the session ended");
    }

    fn data_drop(&mut self, shared: &mut Shared, state: &'static str, why: &str) {
        match std::mem::replace(&mut self.data, Data::None) {
            Data::None | Data::Flow(_) => {}
            Data::Named(Named { server, .. }) => self.server_end_drop(shared, &server),
            Data::Waiting(Waiting { server, .. }) => {
                shared.steering[self.service].withdraw(self.pair(), self.id, shared.now);
                self.server_end_drop(shared, &server);
            }
            Data::Ready(Ready(plan)) => {
                self.client_end_drop(shared, &plan.client);
                self.server_end_drop(shared, &plan.server);
                self.expectation(shared, state, plan.client_shown(), Some(plan.server.shown()), why);
            }
            Data::Relay(relay) => self.relay_drop(shared, relay),
        }
    }

    fn client_end_drop(&mut self, shared: &mut Shared, end: &ClientEnd) {
        if let ClientEnd::Opens { key, .. } = end {
            shared.expectations.remove(key);
        }
        self.client_end_give_back(shared, end);
    }

    /// Gives back the port that was to be announced, which nothing is expected at.
    fn client_end_give_back(&mut self, shared: &mut Shared, end: &ClientEnd) {
        if let ClientEnd::Opens { lease, .. } = end {
            shared.steering[self.service].withdraw(self.pair(), self.id, shared.now);
            if let Some(lease) = lease {
                shared.give_back(lease);
            }
        }
    }

    fn server_end_drop(&mut self, shared: &mut Shared, end: &ServerEnd) {
        match end {
            ServerEnd::Listens { ours, .. } => {
                if let Some(ours) = ours {
                    shared.give_back_unused(ours);
                }
            }
            ServerEnd::Opens { ours, key, .. } => {
                shared.expectations.remove(key);
                shared.give_back(ours);
            }
        }
    }

    /// The time of a steered port is up.
    pub(super) fn steered_out(&mut self, shared: &mut Shared, port: u16) {
        let announced = match &self.data {
            Data::Ready(Ready(Plan { client: ClientEnd::Opens { announced, .. }, .. })) => *announced,
            Data::Relay(relay) => return self.relay_steered_out(shared, relay.awaits_port(port)),
            _ => return,
        };
        if announced.port() == port {
            self.client_absent(shared);
        }
    }

    fn client_absent(&mut self, shared: &mut Shared) {
        self.data_drop(shared, "expired", "no SYN came; is the port in the router's redirect list?");
    }

    /// Ends what has waited too long for its SYN.
    pub(super) fn data_expire(&mut self, shared: &mut Shared) {
        let Data::Ready(Ready(plan)) = &self.data else { return };
        let plan = *plan;
        if matches!(plan.client, ClientEnd::Opens { until, .. } if shared.now >= until) {
            return self.client_absent(shared);
        }
        if matches!(plan.server, ServerEnd::Opens { until, .. } if shared.now >= until) {
            let why = self.absent_server(shared, plan.server.shown());
            self.data_drop(shared, "expired", &why);
            if self.transfer_failed(shared, &why)
                && let Some(transfer) = self.transfer.take()
            {
                self.tell_unmet(shared, transfer, plan.client_listens(), 425);
            }
        }
    }

    /// What a transfer needed is not there, and the server has not said so: we do, and drop its own word on it.
    /// False if no transfer waits.
    fn transfer_failed(&mut self, shared: &mut Shared, why: &str) -> bool {
        let front = self.pending.front_mut().filter(|e| matches!(e.tag, Tag::Transfer));
        let Some(front) = front else { return false };
        front.tag = Tag::Swallowed;
        let mut line = Vec::new();
        reply::write(&mut line, 425, format!("No data connection: {why}.").as_bytes());
        self.say_reply(shared, &line, "gateway");
        true
    }

    /// Translated flow `id` was opened by the server and the client has not answered.
    pub(super) fn data_unanswered(
        &mut self,
        shared: &mut Shared,
        id: u32,
        via: SocketAddr,
        client: SocketAddr,
    ) {
        let port = via.port();
        let why =
            format!("no answer to the data connection from {via}; is port {port} redirected to the gateway?");
        self.expectation(shared, "expired", client, Some(via), &why);
        if matches!(self.data, Data::Flow(at) if at == id) {
            self.data = Data::None;
            if self.transfer_failed(shared, &why) {
                // Reported with the flow.
                self.transfer = None;
            }
        }
    }

    /// Whether data is under way, so that silence on the control connection is no idleness.
    pub(super) fn data_moving(&self, shared: &Shared) -> bool {
        match &self.data {
            Data::Flow(id) => shared.flow_moves(*id, self.id),
            Data::Relay(r) => r.is_live(),
            _ => false,
        }
    }

    /// When something about data is due.
    pub(super) fn data_deadline(&self, shared: &Shared) -> Option<Instant> {
        match &self.data {
            Data::Relay(r) => Some(match self.gate {
                Gate::Delivering(until) => until.min(r.deadline(shared)),
                _ => r.deadline(shared),
            }),
            Data::Ready(Ready(plan)) => plan.until(),
            _ => None,
        }
    }
}

impl Shared {
    /// Gives what is expected a new time, from now on; the new deadline, or the old one if it is expected no
    /// more.
    fn expect_longer(&mut self, key: &ExpectKey, until: Instant) -> Instant {
        let Some(mut expected) = self.expectations.remove(key) else { return until };
        expected.deadline = self.now + self.settings.timers.data_wait;
        let deadline = expected.deadline;
        match self.expectations.insert(*key, expected) {
            Ok(()) => deadline,
            Err(_) => until,
        }
    }
}
