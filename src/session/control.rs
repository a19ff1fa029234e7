//! One session: its legs, its lines, and the order in which things are done.

use super::data::Data;
use super::half::{CONTROL_BUFFER, Opened};
use super::opaque::Cover;
use super::reply::Gate;
use super::shared::{Shared, redirected};
use crate::event::{SessionId, What};
use crate::flow::{Pair, SlotRef, TimerId};
use crate::ftp::line::Line;
use crate::ftp::reader::{Input, Reader};
use crate::ftp::reply::{Held, ReplyReader, defused};
use crate::ftp::{command, pending::Pending, verb::Verb};
use crate::rng::Purpose;
use crate::tcp::{Buffers, Conn, ConnState, Outlet, Stack};
use crate::time::{Duration, Instant};
use crate::wire::tcp::{ACK, Segment};
use std::net::SocketAddr;

/// The control connection with the client; legs have these numbers in the flow table, too.
pub(super) const CLIENT: Conn = Conn(0);
/// The control connection with the server.
pub(super) const SERVER: Conn = Conn(1);
/// A relayed data connection with the client.
pub(super) const CLIENT_DATA: Conn = Conn(2);
/// And with the server.
pub(super) const SERVER_DATA: Conn = Conn(3);

/// Bytes waiting for a leg beyond which nothing more is read that would add to them.
const HIGH_WATER: usize = 8 * 1024;
/// Rounds of one service call; what is left waits for the next.
const ROUNDS: usize = 32;

/// How far back a control connection's numbers are looked for; larger than any buffer of one.
const LOOP_SPAN: u32 = 64 * 1024;

/// How long a client has to take the last words of a session that ends by itself.
const LAST_CALL: Duration = Duration::from_secs(10);

/// What a command's answer is for.
#[derive(Debug)]
pub(super) enum Tag {
    /// Passed on; its reply is passed back.
    Plain,
    /// PASV or EPSV of the client's; the reply is turned into what it asked.
    Passive {
        /// What the client asked.
        asked: Verb,
    },
    /// PORT or EPRT of the client's; the server was asked to be passive.
    Active {
        /// What the client asked.
        asked: Verb,
        /// Where the client listens.
        client: SocketAddr,
    },
    /// PORT or EPRT of ours, for whatever the client asked.
    Named,
    /// AUTH, passed on.
    Auth,
    /// FEAT; the reply is filtered.
    Feat,
    /// A transfer.
    Transfer,
    /// Answered by us, when its turn comes.
    Local(Box<[u8]>),
    /// The client has its answer already: the server's is dropped.
    Swallowed,
}

impl Tag {
    /// Whether a data connection is being set up with the server.
    pub(super) fn sets_up(&self) -> bool {
        matches!(self, Self::Passive { .. } | Self::Active { .. } | Self::Named)
    }
}

/// A transfer under way, for its event.
#[derive(Debug, Clone)]
pub(super) struct Transfer {
    pub(super) verb: Verb,
    pub(super) name: String,
    pub(super) code: Option<u16>,
}

/// One session.
pub(super) struct Session {
    pub(super) client_lines: Reader,
    pub(super) server_lines: Reader,
    pub(super) client_unread: Vec<u8>,
    server_unread: Vec<u8>,
    pub(super) ctl: Control,
}

/// All of a session but what reads lines.
pub(super) struct Control {
    pub(super) id: SessionId,
    pub(super) index: u32,
    pub(super) service: usize,
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
    pub(super) own: SocketAddr,
    client_slot: SlotRef,
    server_slot: SlotRef,
    pub(super) stack: Stack,
    pub(super) to_client: Vec<u8>,
    pub(super) to_server: Vec<u8>,
    /// Index in `to_server` behind a byte that is to be urgent.
    pub(super) urgent_at: Option<usize>,
    pub(super) pending: Pending<Tag>,
    pub(super) replies: ReplyReader,
    /// Most commands without an answer.
    commands: usize,
    pub(super) held: Held,
    /// The server understands EPSV, as far as we know.
    pub(super) server_epsv: bool,
    /// The server understands PORT, as far as we know.
    pub(super) server_port: bool,
    pub(super) epsv_all: bool,
    pub(super) cover: Cover,
    pub(super) logged_in: bool,
    pub(super) greeted: bool,
    pub(super) first_line: bool,
    pub(super) data: Data,
    /// Translated data connections that lived when last looked at.
    pub(super) flows: Vec<u32>,
    pub(super) transfer: Option<Transfer>,
    pub(super) gate: Gate,
    pub(super) gated: Vec<u8>,
    /// Index in `gated` of a final reply that came before the client's data connection stood.
    pub(super) gated_final: Option<usize>,
    /// Index in `gated` behind a final reply that waits for the client to have the data.
    pub(super) gated_reply: usize,
    /// The last whole line or data. Bytes alone are nothing: one a minute would keep a session for ever.
    pub(super) activity: Instant,
    /// Since when the greeting, then the login, is waited for.
    stage: Instant,
    /// Why it ends, once that is decided.
    pub(super) ending: Option<&'static str>,
    /// Until when an ending session's client may take its last words.
    last_call: Instant,
    /// A command that has to wait for the transfer before it, as it came.
    pub(super) deferred: Option<(Verb, Vec<u8>)>,
    client_shut: bool,
    server_shut: bool,
    /// A relay has ended; its connections are removed once the stack has said their last word.
    pub(super) relay_gone: bool,
    /// Segments came in and have not been looked at.
    pub(super) waits_for_service: bool,
    pub(super) timer: Option<TimerId>,
}

impl Session {
    /// The session of a completed handshake; `None` if the stack refuses it.
    pub(super) fn new(shared: &mut Shared, id: SessionId, index: u32, o: &Opened) -> Option<Self> {
        let now = shared.now;
        let seed = shared.keyed.value(Purpose::Stack, &super::shared::tuple_bytes(o.server, o.client), id.0);
        let mut stack = Stack::new(now, usize::from(shared.settings.mtu), seed);
        let buffers = Buffers { rx: CONTROL_BUFFER, tx: CONTROL_BUFFER };
        if !stack.accepted(now, CLIENT, o.server, o.client, buffers, &o.toward_client)
            || !stack.connected(now, SERVER, o.own, o.server, buffers, &o.toward_server)
        {
            return None;
        }
        for leg in [CLIENT, SERVER] {
            stack.set_no_delay(leg);
        }
        let limits = &shared.settings.limits;
        let line = limits.line;
        Some(Self {
            client_lines: Reader::new(line),
            server_lines: Reader::new(line),
            client_unread: Vec::new(),
            server_unread: Vec::new(),
            ctl: Control {
                id,
                index,
                service: o.service,
                client: o.client,
                server: o.server,
                own: o.own,
                client_slot: o.client_slot,
                server_slot: o.server_slot,
                stack,
                to_client: Vec::new(),
                to_server: Vec::new(),
                urgent_at: None,
                pending: Pending::default(),
                replies: ReplyReader::new(limits.reply),
                commands: limits.commands,
                held: Held::default(),
                server_epsv: true,
                server_port: true,
                epsv_all: false,
                cover: Cover::Clear,
                logged_in: false,
                greeted: false,
                first_line: true,
                data: Data::None,
                flows: Vec::new(),
                transfer: None,
                gate: Gate::Open,
                gated: Vec::new(),
                gated_final: None,
                gated_reply: 0,
                activity: now,
                stage: now,
                ending: None,
                last_call: now + LAST_CALL,
                deferred: None,
                client_shut: false,
                server_shut: false,
                relay_gone: false,
                waits_for_service: false,
                timer: None,
            },
        })
    }

    /// Does all that can be done now. False when the session is over.
    pub(super) fn service(&mut self, shared: &mut Shared, out: &mut dyn Outlet) -> bool {
        for round in 0.. {
            if round == ROUNDS {
                shared.counters.service_cut += 1;
                break;
            }
            let moved = if self.ctl.is_opaque() {
                self.ctl.opaque_service(shared)
            } else {
                self.read_client(shared) | self.read_server(shared)
            };
            let moved = moved | self.ctl.relay_service(shared) | self.ctl.gate_service(shared);
            let moved = moved | self.ctl.flush();
            if !moved {
                break;
            }
        }
        self.shut();
        self.ctl.stack.poll(shared.now, out);
        self.ctl.timeouts(shared);
        // What the timeouts decided goes out now, not at the next frame.
        self.ctl.flush();
        self.shut();
        self.ctl.relay_service(shared);
        self.ctl.stack.poll(shared.now, out);
        if std::mem::take(&mut self.ctl.relay_gone) && !matches!(self.ctl.data, Data::Relay(_)) {
            self.ctl.stack.remove(CLIENT_DATA);
            self.ctl.stack.remove(SERVER_DATA);
        }
        !self.ctl.over()
    }

    fn read_client(&mut self, shared: &mut Shared) -> bool {
        if !self.ctl.defers()
            && let Some((_, bytes)) = self.ctl.deferred.take()
        {
            self.ctl.on_command(shared, &Line { bytes: &bytes, crlf: true, synch: false });
            self.watch_client(shared);
            return true;
        }
        if self.client_unread.is_empty() {
            let room = &mut self.client_unread;
            self.ctl.stack.read(CLIENT, |b| {
                room.extend_from_slice(b);
                b.len()
            });
        }
        self.watch_client(shared);
        if self.client_unread.is_empty() {
            return false;
        }
        if self.ctl.first_line && command::starts_tls(&self.client_unread) {
            self.ctl.refuse_foreign(shared);
        }
        if self.ctl.holds_commands() {
            return false;
        }
        let bytes = std::mem::take(&mut self.client_unread);
        let mut rest = &bytes[..];
        while !self.ctl.holds_commands() {
            match self.client_lines.next(&mut rest) {
                None => break,
                Some(Input::Line(line)) => {
                    self.ctl.activity = shared.now;
                    self.ctl.on_command(shared, &line);
                }
                Some(Input::Overlong { .. }) if self.ctl.first_line => self.ctl.refuse_foreign(shared),
                Some(Input::Overlong { .. }) => self.ctl.answer(shared, Verb::Other, 500, "Line too long."),
                Some(Input::Answer(bytes)) => self.ctl.to_client.extend_from_slice(&bytes),
                Some(Input::Runaway) => self.ctl.give_up(shared, "telnet subnegotiation without end"),
            }
        }
        self.client_unread = rest.to_vec();
        self.watch_client(shared);
        true
    }

    fn read_server(&mut self, shared: &mut Shared) -> bool {
        // The second is for a server that asks for Telnet options without end and does not read our answers.
        let waiting = self.ctl.to_client.len() + self.ctl.gated.len();
        if waiting > HIGH_WATER || self.ctl.to_server.len() > HIGH_WATER {
            return false;
        }
        if self.server_unread.is_empty() {
            let room = &mut self.server_unread;
            self.ctl.stack.read(SERVER, |b| {
                room.extend_from_slice(b);
                b.len()
            });
        }
        if self.server_unread.is_empty() {
            return false;
        }
        let bytes = std::mem::take(&mut self.server_unread);
        let mut rest = &bytes[..];
        while let Some(input) = self.server_lines.next(&mut rest) {
            match input {
                Input::Line(line) if line.has_nul() || line.has_bare_cr() => {
                    self.ctl.on_reply_line(shared, &defused(line.bytes));
                }
                Input::Line(line) => self.ctl.on_reply_line(shared, line.bytes),
                Input::Overlong { .. } => self.ctl.give_up(shared, "line of the server too long"),
                Input::Answer(bytes) => self.ctl.to_server.extend_from_slice(&bytes),
                Input::Runaway => self.ctl.give_up(shared, "telnet subnegotiation without end"),
            }
            if matches!(self.ctl.cover, Cover::Agreed(_)) {
                self.cover(shared, !rest.is_empty());
                return true;
            }
            if self.ctl.ending.is_some() {
                return true;
            }
            self.ctl.activity = shared.now;
        }
        true
    }

    /// Passes the end of one leg on to the other, when everything before it has been.
    fn shut(&mut self) {
        let c = &mut self.ctl;
        let (client, server) = (c.stack.state(CLIENT), c.stack.state(SERVER));
        if client == ConnState::Reset {
            c.abandon("reset by the client");
        }
        if server == ConnState::Reset && c.ending.is_none() {
            c.abandon("reset by the server");
        }
        if c.ending.is_some() && !c.client_shut && c.to_client.is_empty() {
            c.client_shut = true;
            c.stack.close(CLIENT);
        }
        if !c.server_shut && c.stack.at_end(CLIENT) && self.client_unread.is_empty() && c.to_server.is_empty()
        {
            c.server_shut = true;
            c.stack.close(SERVER);
        }
        let drained = self.server_unread.is_empty() && c.to_client.is_empty() && c.gated.is_empty();
        if !c.client_shut && c.stack.at_end(SERVER) && drained {
            c.client_shut = true;
            c.stack.close(CLIENT);
        }
    }
}

impl Control {
    /// The ends of the session's data connections.
    pub(super) fn pair(&self) -> Pair {
        Pair { client: self.client.ip(), server: self.server.ip() }
    }

    /// Whether a segment that came for leg `leg` is one that the other leg sent: it fits that one's numbers and
    /// not the peer's, which acknowledges what this leg sent.
    pub(super) fn is_ours(&self, leg: u8, seg: &Segment) -> bool {
        // Only the client's own address on both legs makes their segments look alike.
        if self.own != self.client {
            return false;
        }
        let (this, other) = match leg {
            0 => (CLIENT, SERVER),
            1 => (SERVER, CLIENT),
            _ => return false,
        };
        let fits = |seq: u32, expected: u32| expected.wrapping_sub(seq) <= LOOP_SPAN;
        let (Some((_, peer)), Some((ours, acked))) = (self.stack.numbers(this), self.stack.numbers(other))
        else {
            return false;
        };
        let of_peer = seg.seq.wrapping_add(LOOP_SPAN).wrapping_sub(peer) <= 2 * LOOP_SPAN;
        fits(seg.seq, ours) && (!seg.has(ACK) || fits(seg.ack, acked)) && !of_peer
    }

    /// Gives a session up: both ends are reset, at once.
    pub(super) fn abandon(&mut self, why: &'static str) {
        self.ending.get_or_insert(why);
        self.stack.abort(CLIENT);
        self.stack.abort(SERVER);
    }

    /// Ends a session whose peer sends without end: the client is told why, the server is reset.
    pub(super) fn give_up(&mut self, shared: &mut Shared, why: &'static str) {
        if self.ending.is_none() {
            shared.counters.runaways += 1;
            self.farewell(shared, format!("421 Connection closed: {why}.\r\n").as_bytes(), why);
        }
    }

    /// Commands wait while a data connection is being set up (its replies must not be mixed up with
    /// theirs), while too many are unanswered, and while too much waits to be sent.
    fn holds_commands(&self) -> bool {
        self.pending.is_full()
            || !self.greeted
            || self.ending.is_some()
            || self.deferred.is_some()
            || self.awaits_auth()
            || self.pending.len() >= self.commands
            || self.to_server.len() > HIGH_WATER
            || self.to_client.len() + self.gated.len() > HIGH_WATER
            || self.pending.iter().any(|e| e.tag.sets_up())
    }

    /// Whether the command that was put off has to wait longer.
    fn defers(&self) -> bool {
        match &self.deferred {
            Some((Verb::Auth, _)) => self.auth_too_early(),
            _ => self.sets_up_too_early(),
        }
    }

    /// A new data connection may not be set up while a transfer is unanswered: the server will see to it
    /// only afterwards. Nor while an announcement waits for a port, nor before it is known whether a login
    /// succeeded.
    pub(super) fn sets_up_too_early(&self) -> bool {
        self.data.is_waiting()
            || self.gate != Gate::Open
            || self.pending.iter().any(|e| {
                matches!(e.tag, Tag::Transfer | Tag::Swallowed)
                    || matches!(e.verb, Verb::User | Verb::Pass | Verb::Acct)
            })
    }

    /// Writes what waits into the legs. True if anything went.
    fn flush(&mut self) -> bool {
        let sent = self.stack.write(CLIENT, &self.to_client);
        self.to_client.drain(..sent);
        let mut moved = sent > 0;
        while !self.to_server.is_empty() {
            let end = self.urgent_at.unwrap_or(self.to_server.len());
            let sent = self.stack.write(SERVER, &self.to_server[..end]);
            if sent == 0 {
                break;
            }
            self.to_server.drain(..sent);
            moved = true;
            if let Some(at) = &mut self.urgent_at {
                *at -= sent;
                if *at == 0 {
                    self.urgent_at = None;
                    self.stack.mark_urgent(SERVER);
                }
            }
        }
        for queue in [&mut self.to_client, &mut self.to_server, &mut self.gated] {
            if queue.is_empty() && queue.capacity() > 0 {
                *queue = Vec::new();
            }
        }
        moved
    }

    /// The legs are closed, or the session is ending and nothing more can be said.
    fn over(&self) -> bool {
        let closed = |c| matches!(self.stack.state(c), ConnState::Closed | ConnState::Reset);
        // A transfer may outlive the control connection that asked for it (RFC 959 4.1.1, QUIT).
        let moving = self.data.is_live_relay() && self.ending.is_none();
        closed(CLIENT) && closed(SERVER) && !moving
    }

    /// Ends what has waited too long.
    fn timeouts(&mut self, shared: &mut Shared) {
        if self.ending.is_some() {
            if shared.now >= self.last_call {
                self.stack.abort(CLIENT);
                self.stack.abort(SERVER);
            }
            return;
        }
        self.data_expire(shared);
        if shared.now >= self.deadline(shared) {
            if self.data_moving(shared) {
                self.activity = shared.now;
                return;
            }
            let text: &[u8] = match (self.is_opaque(), self.greeted) {
                // Whoever reads TLS can make nothing of a line.
                (true, _) => b"",
                (_, true) => b"421 Timeout: the connection is closed.\r\n",
                (_, false) => b"421 The server gave no greeting.\r\n",
            };
            self.farewell(shared, text, "timeout");
        }
    }

    /// The server greeted, and the client has its time to log in; or it asked for patience with 120.
    pub(super) fn greet(&mut self, shared: &Shared, done: bool) {
        if !self.greeted {
            self.greeted = done;
            self.stage = shared.now;
        }
    }

    /// The last words of a session that ends by itself.
    pub(super) fn farewell(&mut self, shared: &Shared, text: &[u8], why: &'static str) {
        self.to_client.extend_from_slice(text);
        self.flush();
        self.ending = Some(why);
        self.last_call = shared.now + LAST_CALL;
        self.stack.abort(SERVER);
    }

    fn deadline(&self, shared: &Shared) -> Instant {
        if self.ending.is_some() {
            return self.last_call;
        }
        let t = &shared.settings.timers;
        match (self.greeted, self.logged_in) {
            _ if self.is_opaque() => self.activity + self.opaque_idle(shared),
            (false, _) => self.stage + t.greeting,
            (true, false) => self.stage + t.login,
            (true, true) => self.activity + t.control_idle,
        }
    }

    /// When the session wants to be served without input.
    pub(super) fn next_timeout(&mut self, shared: &Shared) -> Instant {
        let mut at = self.deadline(shared);
        if let Some(stack) = self.stack.poll_at(shared.now) {
            at = at.min(stack);
        }
        if let Some(data) = self.data_deadline(shared) {
            at = at.min(data);
        }
        at
    }

    /// Puts the session's connections and ports away.
    pub(super) fn finish(&mut self, shared: &mut Shared) {
        self.data_session_ends(shared);
        let ends = [(CLIENT, self.client_slot), (SERVER, self.server_slot)];
        let upstream = shared.upstream_key(self.service, self.server, self.own);
        let keys = [redirected(self.client, self.server), upstream];
        for ((conn, slot), key) in ends.into_iter().zip(keys) {
            let orderly = self.stack.state(conn) == ConnState::Closed;
            match key {
                Some(key) if orderly => shared.time_wait(slot, &key, self.stack.numbers(conn)),
                _ => {
                    shared.table.remove(slot);
                }
            }
        }
        shared.release_control(self.server, self.own);
        if let Some(t) = self.timer.take() {
            shared.wheel.cancel(t);
        }
        self.session_event(shared, "closed", self.ending.unwrap_or("closed by both ends"));
    }

    /// Reports the session's state.
    pub(super) fn session_event(&self, shared: &mut Shared, state: &'static str, reason: &str) {
        let service = shared.settings.services.get(self.service).map_or_else(String::new, |s| s.name.clone());
        shared.event(What::Session {
            session: Some(self.id),
            state,
            client: self.client,
            server: self.server,
            service,
            reason: reason.to_owned(),
        });
    }
}
