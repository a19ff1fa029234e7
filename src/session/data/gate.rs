//! The gate: replies that wait for a relayed data connection.

use super::super::control::{CLIENT_DATA, Control, SERVER_DATA, Tag};
use super::super::reply::Gate;
use super::super::shared::Shared;
use super::Data;
use super::relay::Client;
use crate::event::Direction;
use crate::ftp::reply;
use crate::time::Instant;
use std::net::SocketAddr;

impl Control {
    /// Opens the gate when what it waited for has happened. True if it opened.
    pub(in crate::session) fn gate_service(&mut self, shared: &mut Shared) -> bool {
        let failed = match (&self.gate, &self.data) {
            (Gate::Open, _) => return false,
            (Gate::Connecting, Data::Relay(r)) => match r.state {
                Client::Failed => Some((r.via, r.client)),
                Client::Opened => None,
                _ if r.ended.is_some() => None,
                _ => return false,
            },
            (Gate::Delivering(_), Data::Relay(r)) if r.ended.is_some() && r.never_opened() => {
                let via = r.via;
                return self.gate_undelivered(shared, via);
            }
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
                    self.gate = Gate::Delivering(self.delivery_until(shared));
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
    pub(in crate::session) fn relay_undelivered(&mut self, shared: &mut Shared) -> bool {
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

    /// Until when a final reply waits for the client to have the data.
    pub(in crate::session) fn delivery_until(&self, shared: &Shared) -> Instant {
        let until = shared.now + shared.settings.timers.final_reply;
        match &self.data {
            // A client that has not come yet has its own time for that.
            Data::Relay(relay) => until.max(relay.client_until().unwrap_or(until)),
            _ => until,
        }
    }

    /// The server is done with a client that never came: its final reply would be untrue.
    fn gate_undelivered(&mut self, shared: &mut Shared, via: SocketAddr) -> bool {
        let end = self.gated_reply.min(self.gated.len());
        let rest = self.gated.split_off(end);
        self.gated.clear();
        self.gate = Gate::Open;
        let mut line = Vec::new();
        let text = format!("No data connection came to {via}.");
        reply::write(&mut line, 425, text.as_bytes());
        self.say_reply(shared, &line, "gateway");
        self.to_client.extend_from_slice(&rest);
        true
    }
}
