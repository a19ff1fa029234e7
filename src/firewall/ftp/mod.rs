//! Inspected FTP sessions: control connections that are edited in flight, and the doors that they open.

mod data;
mod doors;
mod exchange;
mod held;
mod run;
mod session;
mod shared;
mod statics;
mod steered;
mod turned;
mod wire;

use super::packet::{Emit, Fate, Refused, Side};
use super::settings::Settings;
use crate::alg::rules::{self, Ends, Guesses, Log, Rules};
use crate::alg::{Alg, Direction, Incoming, Output};
use crate::event::{Event, SessionId};
use crate::flow::{Shares, Slab, Steering};
use crate::rng::{Keyed, Purpose};
use crate::time::Instant;
use crate::wire::build::{IPV4_HEADER, IPV6_HEADER};
use crate::wire::{IpPacket, Segment};
use held::Held;
use session::{Mind, Session};
use shared::{Shared, Timer, expect_key};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use turned::Turned;
use wire::Style;

/// A control connection as its two ends see it, and each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Path {
    /// The client, as it knows itself.
    pub(super) client: SocketAddr,
    /// The client, as the server knows it.
    pub(super) client_told: SocketAddr,
    /// The server, as it knows itself.
    pub(super) server: SocketAddr,
    /// The server, as the client knows it.
    pub(super) server_told: SocketAddr,
    /// Where the client is.
    pub(super) client_side: Side,
    /// Where the server is.
    pub(super) server_side: Side,
}

/// Outside ports for inside ends, where addresses are translated; else an end's own address is what the others know.
pub(super) trait Ports {
    /// What `end` (it will listen, for somebody at `remote`) is called by those who know its host as `told`; taken until
    /// it is given back. `end` itself if `told` is its own address. None if no port is left.
    fn take(&mut self, now: Instant, end: SocketAddr, told: IpAddr, remote: IpAddr) -> Option<SocketAddr>;
    /// It is not used, or no more.
    fn give_back(&mut self, now: Instant, told: SocketAddr, remote: IpAddr);
}

/// A data connection that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Admitted {
    /// Its source, as it is to be known where it goes; where the port is taken there, another is as good.
    pub(super) src: SocketAddr,
    /// Its destination, as it knows itself.
    pub(super) dst: SocketAddr,
    /// The side that its destination is on.
    pub(super) to: Side,
    /// Its number: for [`Sessions::data_over`], [`Sessions::one_way`] and [`Gone::Data`].
    pub(super) data: u32,
    /// Number of its session's service.
    pub(super) service: usize,
    /// The way its payload may go is to be asked, by [`Sessions::one_way`], before each payload (E25 of strict).
    pub(super) one_way: bool,
    /// Who opened it is the client.
    pub(super) by_client: bool,
}

/// What a SYN of no known connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syn {
    /// Announced, or allowed by a static data rule: it passes, this once.
    Admitted(Admitted),
    /// It does not pass, whatever the policy says, and is best answered with a reset.
    Refused,
    /// A static data rule lets it in without a session: it passes as if a rule of the policy allowed it.
    Allowed,
    /// Nothing that FTP knows of: the policy decides. If that refuses, tell [`Sessions::refused`].
    Unknown,
}

/// A connection that the firewall must forget: its entries go, resets are among the emitted for a control connection,
/// and are the caller's to send for one of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    /// The control connection of a session.
    Control(u32),
    /// A data connection.
    Data(u32),
}

/// How a data connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Over {
    /// When: of what is silent since a reset, when that came.
    pub(super) at: Instant,
    /// Payload bytes toward the server, toward the client.
    pub(super) bytes: [u64; 2],
    /// `complete`, `reset`, `aborted`, `failed`.
    pub(super) verdict: &'static str,
    /// Nobody answered its SYN, or a reset did: the announcement stands again.
    pub(super) unanswered: bool,
}

/// All inspected sessions.
#[derive(Debug)]
pub(super) struct Sessions<W> {
    slots: Slab<Box<Session<W>>>,
    /// Live sessions of each client, and those that are turned away.
    clients: Shares,
    turned: Shares,
    shared: Shared,
    /// What they hold of their lines.
    held: Held,
    /// What the rules obey, by service.
    rule_sets: Vec<rules::Settings>,
    log: Log,
    /// Refused logins of all clients.
    guesses: Guesses,
    output: Output,
    /// Half-open sessions and ended ones, oldest first: they give way when places are scarce.
    opening: VecDeque<(u32, SessionId)>,
    closing: VecDeque<(u32, SessionId)>,
    /// The number of the session that began last.
    numbered: u64,
    draining: bool,
    /// When it was last told that one was turned away.
    turned_told: Option<Instant>,
}

impl<W: Copy> Sessions<W> {
    pub(super) fn new(settings: &Settings, keyed: Keyed) -> Self {
        let shared = Shared::new(settings, keyed);
        let salt = keyed.value(Purpose::Salt, b"inspected clients", 0);
        Self {
            slots: Slab::default(),
            clients: Shares::new(salt),
            turned: Shares::new(salt),
            held: Held::new(settings.limits.held, settings.limits.sessions),
            rule_sets: settings.services.iter().map(|s| s.rules.clone()).collect(),
            shared,
            log: Log::default(),
            guesses: Guesses::default(),
            output: Output::default(),
            opening: VecDeque::new(),
            closing: VecDeque::new(),
            numbered: 0,
            draining: false,
            turned_told: None,
        }
    }

    /// Counts sessions from here on, so that their numbers are nobody else's.
    pub(super) fn number_from(&mut self, first: u64) {
        self.numbered = self.numbered.max(first);
    }

    /// The SYN of an admitted connection to a service's port, for which the table of connections is `full`; it is to be given to [`segment`](Self::segment) next. The
    /// session's number, or none if there are too many even of those that are told so.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        service: usize,
        path: Path,
        full: Option<Refused>,
        ports: &mut dyn Ports,
        out: &mut Vec<Emit<W>>,
    ) -> Option<u32> {
        let client = path.client.ip();
        let guesses = self.guesses.count(now, client);
        let most = self.rule_sets.get(service).and_then(rules::Settings::most_failed_logins);
        let why = match (most, full) {
            (Some(most), _) if guesses >= most => Some(turned::GUESSER),
            (_, Some(Refused::Share)) => Some(turned::TOO_MANY_CONNECTIONS_OF_CLIENT),
            (_, Some(_)) => Some(turned::TOO_MANY_CONNECTIONS),
            (_, None) => self.crowded(now, client, ports, out),
        };
        if self.draining || (why.is_some() && !self.may_turn(client)) {
            self.shared.counters.sessions_refused += 1;
            return None;
        }
        let id = SessionId(self.numbered + 1);
        let mind = match why {
            Some(why) => Mind::Turned(Turned::new(why)),
            None => {
                let ends = Ends {
                    client: path.client,
                    client_told: path.client_told,
                    server: path.server,
                    server_told: path.server_told,
                };
                Mind::Rules(Rules::new(id, ends, self.rule_sets.get(service)?))
            }
        };
        let alg = Alg::new(self.shared.limits.alg);
        let number = self.slots.insert(Box::new(Session::new(now, id, service, path, alg, mind)));
        self.numbered = id.0;
        if why.is_some() {
            self.shared.counters.sessions_refused += 1;
            self.turned.take(client);
        } else {
            self.opening.push_back((number, id));
            self.shared.counters.sessions += 1;
            self.clients.take(client);
            self.shared.pair(&path, number, true);
        }
        self.arm(number);
        Some(number)
    }

    /// A segment of a control connection, as it came (the MSS of a SYN clamped already), its checksum right.
    /// [`Fate::Forward`]: it goes as it is, but for what the caller translates. What is emitted goes as it is: translated,
    /// its time to live counted.
    #[allow(clippy::too_many_arguments, reason = "a segment, and what is known of it")]
    pub(super) fn segment(
        &mut self,
        now: Instant,
        session: u32,
        dir: Direction,
        way: W,
        packet: &[u8],
        ip: &IpPacket,
        seg: &Segment,
        ports: &mut dyn Ports,
        out: &mut Vec<Emit<W>>,
    ) -> Fate {
        let hop = self.shared.hop;
        let Some(s) = self.slots.get_mut(session) else { return Fate::Refuse(Refused::NoConnection) };
        if hop && ip.ttl(packet) <= 1 {
            // It goes no further, so it was never said.
            return Fate::Refuse(Refused::Malformed);
        }
        if !s.wears(dir, Style::of(way, packet, ip, hop)) {
            self.shared.counters.dying_segments += 1;
            return Fate::Refuse(Refused::Ftp);
        }
        if !s.is_over() {
            (s.last, s.spoke) = (now, now);
        }
        let incoming = Incoming::new(packet, seg);
        self.run(now, session, ports, |alg, editor, output| alg.segment(now, dir, &incoming, editor, output));
        self.opens(now, session, dir, seg);
        let fate = self.emit(session, Some(dir), out);
        self.closes(now, session, dir, seg, ports);
        self.weigh(now, session, ports, out);
        self.arm(session);
        fate
    }

    /// Whether a control connection is over, or reset: a SYN of the same ends begins another one, after
    /// [`end`](Self::end).
    pub(super) fn is_over(&self, session: u32) -> bool {
        self.slots.get(session).is_none_or(|s| s.is_over())
    }

    /// Whether a client is only told that it is not served.
    pub(super) fn is_turned(&self, session: u32) -> bool {
        self.slots.get(session).is_some_and(|s| matches!(s.mind, Mind::Turned(_)))
    }

    /// How many may be told so at a time; nobody, where nobody is served.
    pub(super) fn turned_places(&self) -> usize {
        let serves = self.shared.services.iter().any(|s| s.alg);
        if serves { run::spare(self.shared.limits.sessions) } else { 0 }
    }

    /// Says whether the table of connections has no room for passive data connections, for active ones, of the session
    /// whose segment comes next.
    pub(super) const fn set_full(&mut self, full: [bool; 2]) {
        self.shared.full = full;
    }

    /// Who would open a session's data connections: passive ones, active ones.
    pub(super) fn openers(&self, session: u32) -> [Option<IpAddr>; 2] {
        let path = self.slots.get(session).map(|s| s.path);
        [path.map(|p| p.client.ip()), path.map(|p| p.server.ip())]
    }

    /// Whether a control connection's bytes are followed, TLS or not, so that the session knows their numbers.
    pub(super) fn is_read(&self, session: u32) -> bool {
        self.slots.get(session).is_some_and(|s| !s.alg.is_opaque())
    }

    /// What an ICMP error quotes of a segment that left toward `dir`, as its sender knows it; none if it is forged.
    pub(super) fn quoted(&mut self, session: u32, dir: Direction, seq: u32, mtu: Option<u16>) -> Option<u32> {
        let session = self.slots.get_mut(session)?;
        let (seq, _) = session.alg.icmp_quote(dir, seq, None)?;
        if let Some(mtu) = mtu {
            let headers = 20 + if session.path.client.is_ipv4() { IPV4_HEADER } else { IPV6_HEADER };
            session.alg.path_limit(dir, usize::from(mtu).saturating_sub(headers));
        }
        Some(seq)
    }

    /// The control connection is gone: ended, or forgotten by the connection table.
    pub(super) fn end(&mut self, now: Instant, session: u32, why: &'static str, ports: &mut dyn Ports) {
        self.finish(now, session, why, false, ports);
        self.forget(session);
    }

    /// A SYN of no known connection, as it came; `reached` is where it would go to by the policy.
    pub(super) fn expected(
        &mut self,
        now: Instant,
        from: Side,
        src: SocketAddr,
        dst: SocketAddr,
        reached: SocketAddr,
    ) -> Syn {
        let expected = self.shared.expected.get(&expect_key(from, src.ip(), dst)).copied();
        if let Some(expected) = expected
            && expected.detail.open
            && now <= expected.deadline
        {
            return self.admit_expected(now, expected.detail.session, src, dst);
        }
        if self.is_quarantined(now, src, dst) {
            self.shared.counters.late_syns += 1;
            return Syn::Refused;
        }
        if let Some(number) = self.bars(src, dst, reached) {
            self.explain(now, number, src, dst);
            return Syn::Refused;
        }
        self.admit_static(now, from, src, dst)
    }

    /// The side of `src` in a session with `dst`, as packets between them show the two.
    pub(super) fn side_of(&self, src: IpAddr, dst: IpAddr) -> Option<Side> {
        let path = self.shared.sessions_of(src, dst).find_map(|n| self.slots.get(n)).map(|s| s.path)?;
        let client = (path.client.ip(), path.server_told.ip()) == (src, dst);
        Some(if client { path.client_side } else { path.server_side })
    }

    /// The policy refused a SYN that was [unknown](Syn::Unknown): there may be a reason to tell.
    pub(super) fn refused(&mut self, now: Instant, src: SocketAddr, dst: SocketAddr) {
        self.explain_refusal(now, src, dst);
    }

    /// The only way that payload of a data connection may go now; both if none.
    pub(super) fn one_way(&self, data: u32) -> Option<Direction> {
        self.shared.datas.get(data)?.one_way()
    }

    /// An admitted data connection is over.
    pub(super) fn data_over(&mut self, now: Instant, data: u32, over: Over, ports: &mut dyn Ports) {
        let owner = self.shared.datas.get(data).and_then(|d| d.session);
        let Some(number) = owner else { return self.shared.orphan_over(now, data, over, ports) };
        if let Some(session) = self.slots.get_mut(number) {
            session.last = session.last.max(now);
        }
        self.at_doors(number, ports, |doors| doors.data_over(now, data, over));
        self.arm(number);
    }

    /// What is due.
    pub(super) fn handle_timeout(&mut self, now: Instant, ports: &mut dyn Ports, out: &mut Vec<Emit<W>>) {
        self.shared.full = [false; 2];
        self.shared.steering_due(now);
        self.steered(now, ports, out);
        let mut due = Vec::new();
        self.shared.wheel.expire(now, |timer| due.push(timer));
        for timer in due {
            match timer {
                Timer::Data(data) => {
                    if let Some(conn) = self.shared.datas.get_mut(data).filter(|c| !c.is_ended()) {
                        conn.timer = None;
                        self.shared.counters.orphans_ended += 1;
                        self.shared.gone.push_back(Gone::Data(data));
                    }
                }
                Timer::Session(number) => {
                    self.session_due(now, number, ports, out);
                    self.count(number);
                }
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let wheel = self.shared.wheel.next_deadline().map(|at| (at, "inspected session"));
        let steering = self.shared.steering.iter().filter_map(Steering::poll_timeout);
        steering.chain(wheel).min_by_key(|(at, _)| *at)
    }

    pub(super) fn take_events(&mut self, to: &mut Vec<Event>) {
        to.append(&mut self.shared.events);
    }

    /// What the firewall must forget; to be asked after each call until there is none. [`end`](Self::end) is not called
    /// for a control connection that is named here; [`data_over`](Self::data_over) is, for one of data.
    pub(super) fn poll_gone(&mut self) -> Option<Gone> {
        let gone = self.shared.gone.pop_front()?;
        if let Gone::Control(number) = gone {
            self.forget(number);
        }
        Some(gone)
    }

    /// Begins no session any more: their SYNs are not admitted.
    pub(super) fn drain(&mut self) {
        self.draining = true;
    }

    /// Data connections that live.
    pub(super) fn data_len(&self) -> usize {
        self.shared.datas.iter().filter(|d| !d.is_ended()).count()
    }

    pub(super) fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut all = self.shared.counters.named();
        all.extend(self.log.counters.named());
        all
    }

    pub(super) fn occupied(&self) -> Vec<(&'static str, usize)> {
        vec![
            ("inspected sessions", self.slots.len()),
            ("expectations", self.shared.announced.total()),
            ("inspected data connections", self.shared.datas.len()),
            ("steered pairs", self.shared.steering.iter().map(Steering::pairs).sum()),
            ("inspection timers", self.shared.wheel.len()),
            ("session pairs", self.shared.pairs.len()),
            ("bytes of inspected sessions' lines", self.held.total()),
            ("inspected clients with refused logins", self.guesses.len()),
        ]
    }

    /// Sessions that live.
    pub(super) fn len(&self) -> usize {
        self.slots.iter().filter(|s| !s.is_over()).count()
    }
}
