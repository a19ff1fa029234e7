//! Setting a data connection up: the server is asked to listen or told where to connect to, then the client
//! is answered.

use super::super::control::{Control, Tag};
use super::super::settings::{DataSource, ServerMode};
use super::super::shared::Shared;
use super::{ClientEnd, Data, Named, Plan, Ready, ServerEnd, Side, Waiting};
use crate::event::What;
use crate::flow::{Announced, ExpectKey, Expected, Leg};
use crate::ftp::lossy;
use crate::ftp::verb::Verb;
use crate::ftp::{hostport, reply};
use std::net::SocketAddr;

impl Control {
    /// Sets the server's side up, for a client that listens at `client` or will connect (`None`).
    pub(in crate::session) fn data_setup(
        &mut self,
        shared: &mut Shared,
        asked: Verb,
        client: Option<SocketAddr>,
    ) -> &'static str {
        self.data_supersede(shared);
        let server_opens = match shared.settings.services[self.service].server_mode {
            ServerMode::Passive => false,
            ServerMode::Active => true,
            ServerMode::Same => client.is_some(),
        };
        if server_opens {
            return self.name_to_server(shared, asked, client);
        }
        let verb = if self.server_epsv { Verb::Epsv } else { Verb::Pasv };
        self.to_server.extend_from_slice(verb.name().as_bytes());
        self.to_server.extend_from_slice(b"\r\n");
        let tag = match client {
            Some(client) => Tag::Active { asked, client },
            None => Tag::Passive { asked },
        };
        let _ = self.pending.push(verb, tag);
        "converted"
    }

    /// Tells the server where to connect to. The expectation is there before.
    fn name_to_server(
        &mut self,
        shared: &mut Shared,
        asked: Verb,
        client: Option<SocketAddr>,
    ) -> &'static str {
        if client.is_none()
            && let Err(why) = shared.relay_room(self.client.ip())
        {
            return self.refuse_data(shared, asked, why);
        }
        let ours = match shared.lease_to_name(self.service, self.client.ip(), self.server.ip()) {
            Ok(ours) => ours,
            Err(why) => return self.refuse_data(shared, asked, why),
        };
        let (opener, opened, port) = (self.server.ip(), ours.end.ip(), ours.end.port());
        let leg = shared.upstream_leg(self.service);
        let key = ExpectKey { client: opener, server: opened, port, leg };
        let until = shared.now + shared.settings.timers.data_wait;
        let expected = Expected { session: self.id, deadline: until, detail: Side::Server };
        if let Err(e) = shared.expectations.insert(key, expected) {
            shared.give_back(&ours);
            return self.refuse_data(shared, asked, &e.to_string());
        }
        self.data = Data::Named(Named { asked, client, server: ServerEnd::Opens { ours, key, until } });
        let verb = if self.server_port && ours.end.is_ipv4() { Verb::Port } else { Verb::Eprt };
        write_named(&mut self.to_server, verb, ours.end);
        let _ = self.pending.push(verb, Tag::Named);
        "converted"
    }

    /// A refusal of a set-up command, in its turn.
    fn refuse_data(&mut self, shared: &mut Shared, asked: Verb, why: &str) -> &'static str {
        self.expectation(shared, "refused", self.server, None, why);
        self.answer(shared, asked, 425, &format!("No data connection: {why}."));
        "refused"
    }

    /// The server knows no PORT: the same with EPRT (RFC 2428 section 2 is for IPv4, too). False if nothing is
    /// to be named.
    pub(in crate::session) fn name_again(&mut self) -> bool {
        let Data::Named(named) = &self.data else { return false };
        write_named(&mut self.to_server, Verb::Eprt, named.server.shown());
        true
    }

    /// The server will connect to what it was told.
    pub(in crate::session) fn named_ready(&mut self, shared: &mut Shared) {
        let Data::Named(Named { asked, client, server }) = std::mem::replace(&mut self.data, Data::None)
        else {
            return self.no_data(shared, "it was given up");
        };
        match client {
            Some(at) => self.active_done(shared, asked, at, server),
            None => self.steer(shared, asked, server),
        }
    }

    /// The server refused to connect.
    pub(in crate::session) fn named_refused(&mut self, shared: &mut Shared) {
        if let Data::Named(named) = std::mem::replace(&mut self.data, Data::None) {
            self.server_end_drop(shared, &named.server);
            let shown = (named.client.unwrap_or(self.server), named.server.shown());
            self.expectation(shared, "refused", shown.0, Some(shown.1), "the server will not connect");
        }
    }

    /// The server listens for a passive client.
    pub(in crate::session) fn passive_ready(&mut self, shared: &mut Shared, asked: Verb, port: u16) {
        let remote = SocketAddr::new(self.server.ip(), port);
        let ours = match shared.upstream_leg(self.service) {
            // The client's own segments go on, whatever port it will choose.
            Leg::Redirected => None,
            Leg::Direct => match shared.lease_to_open(self.service, self.client.ip(), remote) {
                Ok(ours) => Some(ours),
                Err(why) => return self.no_data(shared, why),
            },
        };
        self.steer(shared, asked, ServerEnd::Listens { remote, ours });
    }

    /// Finds a port to announce to a passive client.
    fn steer(&mut self, shared: &mut Shared, asked: Verb, server: ServerEnd) {
        if shared.settings.services[self.service].data_source == DataSource::Own {
            // A port of ours that no other connection with this client uses.
            let lease = match shared.lease_to_announce(self.client.ip()) {
                Ok(lease) => lease,
                Err(why) => {
                    self.server_end_drop(shared, &server);
                    return self.no_data(shared, why);
                }
            };
            let key = self.client_key(lease.end, Leg::Direct);
            let until = shared.now + shared.settings.timers.data_wait;
            let client = ClientEnd::Opens { announced: lease.end, key, until, lease: Some(lease) };
            return self.announce(shared, asked, Plan { client, server });
        }
        let pair = self.pair();
        let active = &shared.active;
        let answer = shared.steering[self.service]
            .announce(pair, self.id, shared.now, |pair, port| active.contains_key(&(*pair, port)));
        match answer {
            Announced::Port(port) => self.announce_steered(shared, asked, port, server),
            Announced::Waiting => {
                let shown = server.shown();
                self.data = Data::Waiting(Waiting { asked, server });
                let why = "all data ports of this pair are busy";
                self.expectation(shared, "waiting", self.server, Some(shown), why);
            }
            Announced::Refused => {
                self.server_end_drop(shared, &server);
                self.no_data(shared, "all data ports of this pair are busy");
            }
        }
    }

    /// A port came free for an announcement that waited, or none did (`None`).
    pub(in crate::session) fn steered(&mut self, shared: &mut Shared, port: Option<u16>) {
        if !self.data.is_waiting() {
            return;
        }
        let Data::Waiting(Waiting { asked, server }) = std::mem::replace(&mut self.data, Data::None) else {
            return;
        };
        match port {
            Some(port) => self.announce_steered(shared, asked, port, server),
            None => {
                self.server_end_drop(shared, &server);
                self.no_data(shared, "all data ports of this pair are busy");
            }
        }
    }

    fn announce_steered(&mut self, shared: &mut Shared, asked: Verb, port: u16, server: ServerEnd) {
        let announced = SocketAddr::new(self.server.ip(), port);
        let key = self.client_key(announced, Leg::Redirected);
        let until = shared.now + shared.settings.timers.steer_timeout;
        let client = ClientEnd::Opens { announced, key, until, lease: None };
        self.announce(shared, asked, Plan { client, server });
    }

    fn client_key(&self, announced: SocketAddr, leg: Leg) -> ExpectKey {
        let (client, server, port) = (self.client.ip(), announced.ip(), announced.port());
        ExpectKey { client, server, port, leg }
    }

    fn announce(&mut self, shared: &mut Shared, asked: Verb, mut plan: Plan) {
        let ClientEnd::Opens { announced, key, until, .. } = plan.client else { return };
        let expected = Expected { session: self.id, deadline: until, detail: Side::Client };
        if let Err(e) = shared.expectations.insert(key, expected) {
            // What stands under this key, if anything does, is another's.
            self.client_end_give_back(shared, &plan.client);
            self.server_end_drop(shared, &plan.server);
            return self.no_data(shared, &e.to_string());
        }
        if let ServerEnd::Opens { key, until, .. } = &mut plan.server {
            // A wait for a port has taken of its time.
            *until = shared.expect_longer(key, *until);
        }
        self.data = Data::Ready(Ready(plan));
        self.expectation(shared, "opened", announced, Some(plan.server.shown()), "");
        let mut line = Vec::new();
        match (asked, announced) {
            (Verb::Pasv, SocketAddr::V4(at)) => hostport::write_227(&mut line, at),
            _ => hostport::write_229(&mut line, announced.port()),
        }
        self.say_reply(shared, &line, "edited");
    }

    /// A refusal of a data connection.
    pub(in crate::session) fn no_data(&mut self, shared: &mut Shared, why: &str) {
        self.expectation(shared, "refused", self.server, None, why);
        let mut line = Vec::new();
        reply::write(&mut line, 425, format!("No data connection: {why}.").as_bytes());
        self.say_reply(shared, &line, "gateway");
    }

    /// The server listens for a client that listens, too.
    pub(in crate::session) fn active_ready(
        &mut self,
        shared: &mut Shared,
        asked: Verb,
        client: SocketAddr,
        port: u16,
    ) {
        let remote = SocketAddr::new(self.server.ip(), port);
        match shared.lease_to_open(self.service, self.client.ip(), remote) {
            Ok(ours) => {
                let server = ServerEnd::Listens { remote, ours: Some(ours) };
                self.active_done(shared, asked, client, server);
            }
            Err(why) => self.no_data(shared, why),
        }
    }

    fn active_done(&mut self, shared: &mut Shared, asked: Verb, client: SocketAddr, server: ServerEnd) {
        self.data = Data::Ready(Ready(Plan { client: ClientEnd::Listens(client), server }));
        self.expectation(shared, "opened", client, Some(server.shown()), "");
        let mut line = Vec::new();
        reply::write(&mut line, 200, format!("{} command successful.", asked.name()).as_bytes());
        self.say_reply(shared, &line, "gateway");
    }

    /// Says a whole reply of one line and reports it.
    pub(in crate::session) fn say_reply(&mut self, shared: &mut Shared, line: &[u8], source: &'static str) {
        self.say(line);
        let code = line.get(..3).and_then(|c| std::str::from_utf8(c).ok()).and_then(|c| c.parse().ok());
        let text = lossy(line.get(4..).unwrap_or_default()).trim_end().to_owned();
        shared.event(What::Reply { session: self.id, code: code.unwrap_or(0), text, source });
    }
}

fn write_named(out: &mut Vec<u8>, verb: Verb, at: SocketAddr) {
    match (verb, at) {
        (Verb::Port, SocketAddr::V4(at)) => hostport::write_port(out, at),
        _ => hostport::write_eprt(out, at),
    }
}
