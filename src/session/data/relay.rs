//! Relayed data connections: two stacks' connections joined by copying.
//!
//! Both ends listen (PORT at the client's side, PASV at the server's): we connect to the server when the
//! verb goes out, and to the client when the server says that it begins. The client's 1xx waits until that
//! connection stands. Both ends connect (PASV at the client's side, PORT at the server's): each is taken when
//! it comes, and what the first sends waits for the second.
//!
//! The final reply waits until the client has the data. A reset is never turned into a FIN.

use super::super::control::{CLIENT_DATA, Control, SERVER, SERVER_DATA, Tag};
use super::super::reply::Gate;
use super::super::shared::Shared;
use super::{ClientEnd, Data, Lease, Plan, ServerEnd, Side, TABLE_FULL};
use crate::event::{Direction, Path, What};
use crate::flow::{ExpectKey, FlowKey, SlotRef};
use crate::ftp::reply;
use crate::ftp::verb::Verb;
use crate::tcp::{Buffers, Conn, ConnState, Stack};
use crate::time::{Duration, Instant};
use std::net::SocketAddr;

/// Buffer for the way that only carries acknowledgements, in bytes.
const SMALL_BUFFER: usize = 4096;

/// How long a connection that is to be reset stays open: the reset must not overtake our handshake's last
/// segment, or the server's program never sees that there was a connection.
const MEETING: Duration = Duration::from_millis(10);

/// How far a relay has got with the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    /// Not asked for yet.
    Unopened,
    /// It will open its connection itself.
    Awaited,
    /// Being opened, until then.
    Opening(Instant),
    /// Open, or closed again.
    Opened,
    /// It could not be opened, or did not come.
    Failed,
}

/// A place in the flow table and its key.
type Place = (SlotRef, FlowKey);

/// One relayed data connection.
pub(in crate::session) struct Relay {
    /// The client's side as events show it: where it listens, or what it was told.
    pub(super) client: SocketAddr,
    /// Whom we speak as toward the client.
    pub(super) via: SocketAddr,
    pub(super) state: Client,
    pub(super) client_place: Option<Place>,
    /// The server's side as events show it.
    pub(super) remote: SocketAddr,
    pub(super) server_place: Option<Place>,
    /// SYNs that have not come, and until when they may.
    pub(super) client_awaited: Option<(ExpectKey, Instant)>,
    pub(super) server_awaited: Option<(ExpectKey, Instant)>,
    pub(super) ours: Lease,
    pub(super) announced: Option<Lease>,
    up: u64,
    down: u64,
    started: Instant,
    pub(super) progress: Instant,
    pub(super) client_shut: bool,
    server_shut: bool,
    pub(super) aborted: bool,
    /// Since when the server's side of an aborted relay is open.
    met: Option<Instant>,
    pub(super) ended: Option<(Instant, &'static str)>,
    pub(super) direction: Option<Direction>,
    /// The client listens.
    active: bool,
}

impl Relay {
    pub(super) fn new(plan: &Plan, ours: Lease, via: SocketAddr, now: Instant) -> Self {
        let active = matches!(plan.client, ClientEnd::Listens(_));
        Self {
            client: plan.client_shown(),
            via,
            state: if active { Client::Unopened } else { Client::Awaited },
            client_place: None,
            remote: plan.server.shown(),
            server_place: None,
            client_awaited: None,
            server_awaited: None,
            ours,
            announced: None,
            up: 0,
            down: 0,
            started: now,
            progress: now,
            client_shut: false,
            server_shut: false,
            aborted: false,
            met: None,
            ended: None,
            direction: None,
            active,
        }
    }

    /// Whether bytes may still pass.
    pub(super) fn is_live(&self) -> bool {
        self.ended.is_none()
    }

    /// Whether the client's SYN to this port is what is missing.
    pub(super) fn awaits_port(&self, port: u16) -> bool {
        self.client_awaited.is_some_and(|(key, _)| key.port == port)
    }

    /// Until when the client may come, if it has not.
    pub(super) fn client_until(&self) -> Option<Instant> {
        self.client_awaited.map(|(_, until)| until)
    }

    /// The client never had a connection.
    pub(super) fn never_opened(&self) -> bool {
        matches!(self.state, Client::Awaited | Client::Failed)
    }

    pub(super) fn deadline(&self, shared: &Shared) -> Instant {
        if let Some((at, _)) = self.ended {
            return at + shared.settings.timers.final_reply;
        }
        if let Some(met) = self.met {
            return met + MEETING;
        }
        let idle = match self.state {
            Client::Opening(until) => until,
            _ => self.progress + shared.settings.timers.data_stall,
        };
        let awaited = [self.client_awaited, self.server_awaited].into_iter().flatten();
        awaited.map(|(_, until)| until).fold(idle, Instant::min)
    }
}

impl Control {
    /// Both listen: opens the server's side. Or why it cannot be.
    pub(super) fn relay_start(
        &mut self,
        shared: &mut Shared,
        client: SocketAddr,
        ours: Lease,
        remote: SocketAddr,
    ) -> Result<(), &'static str> {
        shared.relay_take(self.client.ip())?;
        let begun = self.relay_open(shared, client, ours, remote);
        if begun.is_err() {
            shared.relay_give(self.client.ip(), self.id);
        }
        begun
    }

    fn relay_open(
        &mut self,
        shared: &mut Shared,
        client: SocketAddr,
        ours: Lease,
        remote: SocketAddr,
    ) -> Result<(), &'static str> {
        let key = shared.upstream_key(self.service, remote, ours.end).ok_or(TABLE_FULL)?;
        let entry = shared.session_entry(&key, SERVER_DATA.0, self.index);
        let server_slot = shared.claim(&key, &entry).ok_or(TABLE_FULL)?;
        let direction = self.transfer.as_ref().and_then(|t| t.verb.direction());
        let buffers = buffers(shared, Side::Server, direction);
        let isn = shared.isn(ours.end, remote);
        let mss = shared.upstream_clamp(self.service);
        if !self.stack.connect(shared.now, SERVER_DATA, ours.end, remote, buffers, isn, mss) {
            shared.table.remove(server_slot);
            return Err("the session's stack has no room");
        }
        self.stack.set_timeout(SERVER_DATA, shared.settings.timers.data_stall);
        shared.counters.relayed += 1;
        let server = ServerEnd::Listens { remote, ours: Some(ours) };
        let plan = Plan { client: ClientEnd::Listens(client), server };
        let mut relay = Relay::new(&plan, ours, self.server, shared.now);
        relay.server_place = Some((server_slot, key));
        relay.direction = direction;
        self.data = Data::Relay(Box::new(relay));
        Ok(())
    }

    /// Opens the client's side, from the server's address. False if there is no relay.
    pub(in crate::session) fn relay_connect_client(&mut self, shared: &mut Shared) -> bool {
        let ports = self.active_ports(shared);
        let source = self.active_source(shared, self.client.ip());
        let pair = self.pair();
        let Data::Relay(relay) = &mut self.data else { return false };
        if relay.state != Client::Unopened || relay.aborted {
            return relay.state == Client::Failed && relay.active;
        }
        relay.state = Client::Failed;
        let Some(from) = source else { return true };
        let clamp = shared.settings.services[self.service].mss_clamp;
        for port in ports {
            let via = SocketAddr::new(from, port);
            let Some(key) = FlowKey::tcp(relay.client, via, shared.client_leg(via), 0) else { continue };
            shared.flow_make_room(&key);
            let entry = shared.session_entry(&key, CLIENT_DATA.0, self.index);
            let Some(slot) = shared.claim(&key, &entry) else { continue };
            let buffers = buffers(shared, Side::Client, relay.direction);
            let isn = shared.isn(via, relay.client);
            if !self.stack.connect(shared.now, CLIENT_DATA, via, relay.client, buffers, isn, clamp) {
                shared.table.remove(slot);
                continue;
            }
            self.stack.set_timeout(CLIENT_DATA, shared.settings.timers.data_stall);
            relay.client_place = Some((slot, key));
            relay.via = via;
            relay.state = Client::Opening(shared.now + shared.settings.timers.connect);
            *shared.active.entry((pair, port)).or_insert(0) += 1;
            break;
        }
        true
    }

    /// Moves data and ends. True if something happened.
    pub(in crate::session) fn relay_service(&mut self, shared: &mut Shared) -> bool {
        let absent = self.relay_expire(shared);
        let Data::Relay(relay) = &mut self.data else { return absent };
        let mut moved = absent;
        let stack = &mut self.stack;
        if let Client::Opening(until) = relay.state {
            match stack.state(CLIENT_DATA) {
                ConnState::Opening if shared.now < until => {}
                ConnState::Opening | ConnState::Reset => {
                    relay.state = Client::Failed;
                    stack.abort(CLIENT_DATA);
                    moved = true;
                }
                ConnState::Open | ConnState::Closed => {
                    relay.state = Client::Opened;
                    moved = true;
                }
            }
        }
        if relay.ended.is_none() {
            let met = relay.server_awaited.is_none();
            // A side that has not come is as one that is opening.
            let server = if met { stack.state(SERVER_DATA) } else { ConnState::Opening };
            let awaited = relay.state == Client::Awaited;
            let client = if awaited { ConnState::Opening } else { stack.state(CLIENT_DATA) };
            let opened = relay.state == Client::Opened;
            if opened && met {
                moved |= copy(stack, relay, shared.now, server, client);
            }
            let end = match (server, client) {
                (ConnState::Closed, ConnState::Closed) if opened => Some("complete"),
                (ConnState::Reset, _) if opened => Some("reset"),
                (_, ConnState::Reset) if opened => Some("reset"),
                // A server that is busy sending, or waits for us to connect, does not read the ABOR: it gets its
                // connection, and a reset on it.
                (ConnState::Open, _) if relay.aborted => {
                    let met = *relay.met.get_or_insert(shared.now);
                    (shared.now >= met + MEETING).then_some("aborted")
                }
                // The server's side failed: its reply says why, and outranks what we could say.
                (ConnState::Reset, _) => Some("failed"),
                _ if relay.state == Client::Failed => Some("failed"),
                _ if relay.aborted && relay.server_place.is_none() => Some("aborted"),
                _ if shared.now >= relay.progress + shared.settings.timers.data_stall => Some("failed"),
                _ => None,
            };
            if let Some(end) = end {
                relay.ended = Some((shared.now, if relay.aborted { "aborted" } else { end }));
                if end != "complete" {
                    stack.abort(CLIENT_DATA);
                    stack.abort(SERVER_DATA);
                }
                self.relay_expects_no_more(shared);
                moved = true;
            }
        }
        let replied = self.transfer.as_ref().is_none_or(|t| t.code.is_some())
            || self.stack.state(SERVER) != ConnState::Open;
        let Data::Relay(relay) = &self.data else { return moved };
        let Some((at, _)) = relay.ended else { return moved };
        if self.gate == Gate::Open && replied {
            self.relay_finish(shared);
            return true;
        }
        if shared.now >= at + shared.settings.timers.final_reply {
            self.open_gate();
            if let Some(front) = self.pending.front_mut().filter(|e| matches!(e.tag, Tag::Transfer)) {
                front.tag = Tag::Swallowed;
                self.say_reply(shared, b"451 The server gave no final reply.\r\n", "gateway");
            }
            self.relay_finish(shared);
            return true;
        }
        moved
    }

    /// The final reply came.
    pub(super) fn relay_replied(&mut self, shared: &mut Shared, code: u16) {
        let Data::Relay(relay) = &mut self.data else { return };
        if code >= 400 && relay.ended.is_none() {
            let open = |c: Conn| self.stack.exists(c) && self.stack.state(c) != ConnState::Closed;
            let met = relay.server_awaited.is_none();
            let verdict = match relay.state {
                Client::Unopened | Client::Awaited => "refused",
                _ if !met => "failed",
                _ if open(CLIENT_DATA) || open(SERVER_DATA) => "aborted",
                _ => "complete",
            };
            relay.ended = Some((shared.now, verdict));
            let (client, named) = (relay.client, relay.ours.end);
            self.relay_expects_no_more(shared);
            self.stack.abort(CLIENT_DATA);
            self.stack.abort(SERVER_DATA);
            if !met && code == 425 {
                let why = self.absent_server(shared, named);
                self.expectation(shared, "expired", client, Some(named), &why);
            }
        }
    }

    /// ABOR: the client wants no more of it.
    pub(super) fn relay_abort(&mut self, shared: &mut Shared) {
        if let Data::Relay(relay) = &mut self.data
            && relay.ended.is_none()
        {
            if relay.state == Client::Opened && relay.server_place.is_some() {
                relay.met = Some(shared.now);
            }
            relay.aborted = true;
            self.stack.abort(CLIENT_DATA);
            relay.progress = shared.now;
            self.relay_expects_no_more(shared);
            if self.gate != Gate::Open {
                self.open_gate();
            }
        }
    }

    fn relay_finish(&mut self, shared: &mut Shared) {
        if let Data::Relay(relay) = std::mem::replace(&mut self.data, Data::None) {
            self.relay_drop(shared, relay);
        }
    }

    /// Puts a relay away and reports it.
    pub(super) fn relay_drop(&mut self, shared: &mut Shared, relay: Box<Relay>) {
        let code = self.transfer.as_ref().and_then(|t| t.code).unwrap_or(0);
        // A client that has everything and just has not closed its end yet.
        let delivered =
            relay.client_shut && self.stack.flushed(CLIENT_DATA) && self.stack.at_end(SERVER_DATA);
        let end = match relay.ended {
            Some((_, end)) => end,
            None if delivered && (200..300).contains(&code) => "complete",
            None => "aborted",
        };
        if end != "complete" {
            self.stack.abort(CLIENT_DATA);
            self.stack.abort(SERVER_DATA);
        }
        for (conn, place) in [(SERVER_DATA, relay.server_place), (CLIENT_DATA, relay.client_place)] {
            let Some((slot, key)) = place else { continue };
            if end == "complete" {
                shared.time_wait(slot, &key, self.stack.numbers(conn));
            } else {
                shared.table.remove(slot);
            }
        }
        for (key, _) in relay.client_awaited.into_iter().chain(relay.server_awaited) {
            shared.expectations.remove(&key);
        }
        if relay.client_awaited.is_some() {
            shared.steering[self.service].withdraw(self.pair(), self.id, shared.now);
        }
        shared.give_back(&relay.ours);
        if let Some(announced) = &relay.announced {
            shared.give_back(announced);
        }
        if relay.active && relay.client_place.is_some() {
            shared.active_ends(self.pair(), relay.via.port());
        }
        shared.relay_give(self.client.ip(), self.id);
        self.relay_gone = true;
        let transfer = self.transfer.take();
        let verb = transfer.as_ref().map(|t| t.verb);
        if verb.is_none() && relay.up + relay.down == 0 {
            // Connected and closed again, and nothing asked for: no transfer.
            return;
        }
        let direction = verb.and_then(Verb::direction).unwrap_or(if relay.up > relay.down {
            Direction::Upload
        } else {
            Direction::Download
        });
        let bytes = if direction == Direction::Upload { relay.up } else { relay.down };
        shared.event(What::Transfer {
            session: self.id,
            verb: verb.map_or_else(String::new, |v| v.name().to_owned()),
            name: transfer.map_or_else(String::new, |t| t.name),
            direction,
            path: Path::Relayed,
            client_mode: if relay.active { "active" } else { "passive" },
            bytes,
            duration_ms: relay.ended.map_or(shared.now, |e| e.0).since(relay.started).as_millis() as u64,
            verdict: reply::verdict(end, code, bytes),
            code,
        });
    }
}

/// Copies both ways and passes ends on. True if something moved.
fn copy(stack: &mut Stack, relay: &mut Relay, now: Instant, server: ConnState, client: ConnState) -> bool {
    let down = if relay.aborted { 0 } else { stack.pump(SERVER_DATA, CLIENT_DATA) };
    let up = stack.pump(CLIENT_DATA, SERVER_DATA);
    relay.down += down as u64;
    relay.up += up as u64;
    let mut moved = down + up > 0;
    if moved {
        relay.progress = now;
    }
    if !relay.client_shut && server != ConnState::Reset && stack.at_end(SERVER_DATA) {
        relay.client_shut = true;
        stack.close(CLIENT_DATA);
        moved = true;
    }
    // Before it is open, closing would be giving up.
    if !relay.server_shut
        && server == ConnState::Open
        && client != ConnState::Reset
        && stack.at_end(CLIENT_DATA)
        && stack.readable(CLIENT_DATA) == 0
    {
        relay.server_shut = true;
        stack.close(SERVER_DATA);
        moved = true;
    }
    moved
}

/// Large for the way that the data goes; both ways until that is known.
pub(super) fn buffers(shared: &Shared, side: Side, direction: Option<Direction>) -> Buffers {
    let bulk = shared.settings.limits.relay_buffer;
    let small = |way| if direction == Some(way) { SMALL_BUFFER } else { bulk };
    match side {
        Side::Client => Buffers { rx: small(Direction::Download), tx: small(Direction::Upload) },
        Side::Server => Buffers { rx: small(Direction::Upload), tx: small(Direction::Download) },
    }
}
