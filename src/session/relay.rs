//! Relayed data connections: two stacks' connections joined by copying.
//!
//! Both ends listen (PORT at the client's side, PASV at the server's): we connect to the server when the
//! verb goes out, and to the client when the server says that it begins. The client's 1xx waits until that
//! connection stands, the final reply until the client has the data. A reset is never turned into a FIN.

use super::control::{CLIENT_DATA, Control, SERVER, SERVER_DATA, Tag};
use super::data::{Data, verdict};
use super::reply::Gate;
use super::shared::{Shared, direct, redirected};
use crate::event::{Direction, Path, What};
use crate::flow::{Pair, SlotRef};
use crate::ftp::reply;
use crate::ftp::verb::Verb;
use crate::tcp::{Buffers, Conn, ConnState};
use crate::time::{Duration, Instant};
use std::net::SocketAddr;

/// Buffer for the way that only carries acknowledgements, in bytes.
const SMALL_BUFFER: usize = 4096;

/// How long a connection that is to be reset stays open: the reset must not overtake our handshake's last
/// segment, or the server's program never sees that there was a connection.
const MEETING: Duration = Duration::from_millis(10);

/// How far a relay has got with the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    /// Not asked for yet.
    Unopened,
    /// Being opened, until then.
    Opening(Instant),
    /// Open, or closed again.
    Opened,
    /// It could not be opened.
    Failed,
}

/// One relayed data connection.
pub(super) struct Relay {
    client: SocketAddr,
    own: SocketAddr,
    remote: SocketAddr,
    /// Whom we speak as toward the client.
    via: SocketAddr,
    client_slot: Option<SlotRef>,
    server_slot: SlotRef,
    state: Client,
    up: u64,
    down: u64,
    started: Instant,
    progress: Instant,
    client_shut: bool,
    server_shut: bool,
    aborted: bool,
    /// Since when the server's side of an aborted relay is open.
    met: Option<Instant>,
    ended: Option<(Instant, &'static str)>,
    direction: Option<Direction>,
}

impl Relay {
    /// Whether bytes may still pass.
    pub(super) fn is_live(&self) -> bool {
        self.ended.is_none()
    }

    pub(super) fn deadline(&self, shared: &Shared) -> Instant {
        if let Some((at, _)) = self.ended {
            return at + shared.settings.timers.final_reply;
        }
        if let Some(met) = self.met {
            return met + MEETING;
        }
        match self.state {
            Client::Opening(until) => until,
            _ => self.progress + shared.settings.timers.data_stall,
        }
    }
}

impl Control {
    /// Opens the server's side. False if there is no room for a relay.
    pub(super) fn relay_start(
        &mut self,
        shared: &mut Shared,
        client: SocketAddr,
        own: SocketAddr,
        remote: SocketAddr,
    ) -> bool {
        if shared.relays_full() {
            return false;
        }
        let Some(key) = direct(remote, own) else { return false };
        let entry = shared.session_entry(&key, SERVER_DATA.0, self.index);
        let Some(server_slot) = shared.claim(&key, &entry) else { return false };
        let direction = self.transfer.as_ref().and_then(|t| t.verb.direction());
        let bulk = shared.settings.limits.relay_buffer;
        let small = |way| if direction == Some(way) { SMALL_BUFFER } else { bulk };
        let buffers = Buffers { rx: small(Direction::Upload), tx: small(Direction::Download) };
        let isn = shared.isn(own, remote);
        if !self.stack.connect(shared.now, SERVER_DATA, own, remote, buffers, isn, None) {
            shared.table.remove(server_slot);
            return false;
        }
        self.stack.set_timeout(SERVER_DATA, shared.settings.timers.data_stall);
        shared.relays += 1;
        shared.counters.relayed += 1;
        self.data = Data::Relay(Box::new(Relay {
            client,
            own,
            remote,
            via: self.server,
            client_slot: None,
            server_slot,
            state: Client::Unopened,
            up: 0,
            down: 0,
            started: shared.now,
            progress: shared.now,
            client_shut: false,
            server_shut: false,
            aborted: false,
            met: None,
            ended: None,
            direction,
        }));
        true
    }

    /// Opens the client's side, from the server's address. False if there is no relay.
    pub(super) fn relay_connect_client(&mut self, shared: &mut Shared) -> bool {
        let Data::Relay(relay) = &mut self.data else { return false };
        if relay.state != Client::Unopened || relay.aborted {
            return relay.state == Client::Failed;
        }
        relay.state = Client::Failed;
        let service = &shared.settings.services[self.service];
        let own = service.data_source == super::settings::DataSource::Own;
        let ours = if own { shared.settings.own.for_peer(relay.client.ip()) } else { Some(self.server.ip()) };
        let Some(from) = ours else { return true };
        let first = service.active_source_port;
        let candidates: Vec<u16> = std::iter::once(first)
            .chain(service.data_ports.iter().copied().filter(|&p| p != first))
            .collect();
        let clamp = service.mss_clamp;
        for port in candidates {
            let via = SocketAddr::new(from, port);
            let key = if own { direct(relay.client, via) } else { redirected(relay.client, via) };
            let Some(key) = key else { continue };
            let entry = shared.session_entry(&key, CLIENT_DATA.0, self.index);
            let Some(slot) = shared.claim(&key, &entry) else { continue };
            let bulk = shared.settings.limits.relay_buffer;
            let small = |way| if relay.direction == Some(way) { SMALL_BUFFER } else { bulk };
            let buffers = Buffers { rx: small(Direction::Download), tx: small(Direction::Upload) };
            let isn = shared.isn(via, relay.client);
            if !self.stack.connect(shared.now, CLIENT_DATA, via, relay.client, buffers, isn, clamp) {
                shared.table.remove(slot);
                continue;
            }
            self.stack.set_timeout(CLIENT_DATA, shared.settings.timers.data_stall);
            relay.client_slot = Some(slot);
            relay.via = via;
            relay.state = Client::Opening(shared.now + shared.settings.timers.connect);
            let pair = Pair { client: relay.client.ip(), server: self.server.ip() };
            *shared.active.entry((pair, port)).or_insert(0) += 1;
            break;
        }
        true
    }

    /// Moves data and ends. True if something happened.
    pub(super) fn relay_service(&mut self, shared: &mut Shared) -> bool {
        let Data::Relay(relay) = &mut self.data else { return false };
        let mut moved = false;
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
            let (server, client) = (stack.state(SERVER_DATA), stack.state(CLIENT_DATA));
            let opened = relay.state == Client::Opened;
            if opened {
                let down = if relay.aborted { 0 } else { stack.pump(SERVER_DATA, CLIENT_DATA) };
                let up = stack.pump(CLIENT_DATA, SERVER_DATA);
                relay.down += down as u64;
                relay.up += up as u64;
                if down + up > 0 {
                    relay.progress = shared.now;
                    moved = true;
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
                _ if shared.now >= relay.progress + shared.settings.timers.data_stall => Some("failed"),
                _ => None,
            };
            if let Some(end) = end {
                relay.ended = Some((shared.now, if relay.aborted { "aborted" } else { end }));
                if end != "complete" {
                    stack.abort(CLIENT_DATA);
                    stack.abort(SERVER_DATA);
                }
                moved = true;
            }
        }
        let replied = self.transfer.as_ref().is_none_or(|t| t.code.is_some())
            || self.stack.state(SERVER) != ConnState::Open;
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

    /// Opens the gate when what it waited for has happened. True if it opened.
    pub(super) fn gate_service(&mut self, shared: &mut Shared) -> bool {
        let failed = match (&self.gate, &self.data) {
            (Gate::Open, _) => return false,
            (Gate::Connecting, Data::Relay(r)) => match r.state {
                Client::Failed => Some((r.via, r.client)),
                Client::Opened => None,
                _ if r.ended.is_some() => None,
                _ => return false,
            },
            (Gate::Delivering(until), Data::Relay(r)) => {
                let delivered =
                    self.stack.at_end(SERVER_DATA) && self.stack.flushed(CLIENT_DATA) && r.client_shut;
                if r.ended.is_none() && !delivered && shared.now < *until {
                    return false;
                }
                None
            }
            _ => None,
        };
        let Some((via, client)) = failed else {
            let undelivered = self.gate == Gate::Connecting && self.relay_undelivered(shared);
            match self.gated_final.take() {
                Some(at) if undelivered => {
                    // The 1xx may go, the final reply waits for the data.
                    let rest = self.gated.split_off(at);
                    self.to_client.append(&mut self.gated);
                    self.gated = rest;
                    self.gate = Gate::Delivering(shared.now + shared.settings.timers.final_reply);
                }
                _ => self.open_gate(),
            }
            return true;
        };
        // The 1xx that waited is not true any more; the server's own end of it is not for the client.
        self.gated.clear();
        self.gate = Gate::Open;
        if self.gated_final.take().is_some() {
            // That end has come already.
        } else if let Some(front) = self.pending.front_mut().filter(|e| matches!(e.tag, Tag::Transfer)) {
            front.tag = Tag::Swallowed;
        }
        let port = via.port();
        let text =
            format!("No answer to the data connection from {via}; is port {port} redirected to the gateway?");
        self.expectation(shared, "expired", client, Some(via), &text);
        let mut line = Vec::new();
        reply::write(&mut line, 425, text.as_bytes());
        self.say_reply(shared, &line, "gateway");
        true
    }

    /// Whether the client still lacks relayed data, so that a final reply has to wait.
    pub(super) fn relay_undelivered(&mut self, shared: &mut Shared) -> bool {
        let Data::Relay(relay) = &self.data else { return false };
        if relay.aborted || relay.ended.is_some() || relay.direction == Some(Direction::Upload) {
            return false;
        }
        if relay.state == Client::Unopened {
            // A server that says nothing before it is done.
            self.relay_connect_client(shared);
        }
        true
    }

    /// The final reply came.
    pub(super) fn relay_replied(&mut self, shared: &mut Shared, code: u16) {
        let Data::Relay(relay) = &mut self.data else { return };
        if code >= 400 && relay.ended.is_none() {
            let open = |c: Conn| self.stack.exists(c) && self.stack.state(c) != ConnState::Closed;
            let verdict = match relay.state {
                Client::Unopened => "refused",
                _ if open(CLIENT_DATA) || open(SERVER_DATA) => "aborted",
                _ => "complete",
            };
            relay.ended = Some((shared.now, verdict));
            self.stack.abort(CLIENT_DATA);
            self.stack.abort(SERVER_DATA);
        }
    }

    /// ABOR: the client wants no more of it.
    pub(super) fn relay_abort(&mut self, shared: &mut Shared) {
        if let Data::Relay(relay) = &mut self.data
            && relay.ended.is_none()
        {
            if relay.state == Client::Opened {
                relay.met = Some(shared.now);
            }
            relay.aborted = true;
            self.stack.abort(CLIENT_DATA);
            relay.progress = shared.now;
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
        for (conn, slot, key) in [
            (SERVER_DATA, Some(relay.server_slot), direct(relay.remote, relay.own)),
            (CLIENT_DATA, relay.client_slot, client_key(shared, &relay)),
        ] {
            let (Some(slot), Some(key)) = (slot, key) else { continue };
            if end == "complete" {
                shared.time_wait(slot, &key, self.stack.numbers(conn));
            } else {
                shared.table.remove(slot);
            }
        }
        shared.ports.release(relay.remote, relay.own, shared.now);
        let pair = Pair { client: relay.client.ip(), server: self.server.ip() };
        if relay.client_slot.is_some()
            && let Some(n) = shared.active.get_mut(&(pair, relay.via.port()))
        {
            *n -= 1;
            if *n == 0 {
                shared.active.remove(&(pair, relay.via.port()));
            }
        }
        shared.relays -= 1;
        self.relay_gone = true;
        let transfer = self.transfer.take();
        let verb = transfer.as_ref().map(|t| t.verb);
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
            client_mode: "active",
            bytes,
            duration_ms: relay.ended.map_or(shared.now, |e| e.0).since(relay.started).as_millis() as u64,
            verdict: verdict(end, code, bytes),
            code,
        });
    }
}

fn client_key(shared: &Shared, relay: &Relay) -> Option<crate::flow::FlowKey> {
    if shared.settings.own.is(relay.via.ip()) {
        direct(relay.client, relay.via)
    } else {
        redirected(relay.client, relay.via)
    }
}
