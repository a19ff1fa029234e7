//! The firewall.

use super::conn::Conn;
use super::ftp::Sessions;
use super::nat::Nat;
use super::other::Others;
use super::packet::{Along, Emit, Fate, Refused, Side};
use super::pieces::{Pieces, Taken};
use super::policy::Begin;
use super::reject::Rules;
use super::settings::Settings;
use super::share::Shared;
use super::tcp::Passing;
use crate::buf::Frame;
use crate::event::Event;
use crate::flow::{FlowTable, Salted, Slab, Wheel};
use crate::rng::{Keyed, Purpose};
use crate::time::{Duration, Instant, Pace};
use crate::wire::{Fragment, IpPacket, build, parse_ip, proto};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// A look at a TCP connection.
    Conn(u32),
    /// The end of another one.
    Other(u32),
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Went {
    /// It goes out of this side as it stands now; something but its time to live is changed.
    Pass { to: Side, changed: bool },
    /// It was taken in.
    Taken,
    /// It does not pass.
    Refuse(Refused),
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counters {
    /// TCP connections that began.
    pub(super) connections: u64,
    /// Data connections among them.
    pub(super) data: u64,
    /// Connections that are not TCP.
    pub(super) others: u64,
    /// Connections that found no place.
    pub(super) table_full: u64,
    /// Such whose source has its share.
    pub(super) over_share: u64,
    /// Such as were over, or half open, and gave theirs.
    pub(super) gave_way: u64,
    /// Packets that sessions made.
    pub(super) emitted: u64,
    /// Payload against the direction of its transfer.
    pub(super) one_way: u64,
    /// ICMP errors that went on with the connection that they are about.
    pub(super) errors: u64,
    /// Packets that passed unread, of connections whose begin was not seen.
    pub(super) unread: u64,
}

/// A firewall. `W` is how a packet came, as far as packets of ours have to leave likewise.
#[derive(Debug)]
pub struct Firewall<W> {
    pub(super) sessions: Sessions<W>,
    pub(super) settings: Settings,
    pub(super) flows: Arc<FlowTable>,
    pub(super) conns: Slab<Conn>,
    /// Control connections by their session's number.
    pub(super) by_session: HashMap<u32, u32, Salted>,
    /// Data connections by their numbers there, and how their SYNs came.
    pub(super) by_data: HashMap<u32, (u32, W), Salted>,
    /// Connections that are over, in the order of their ends, and such as do not stand yet, in the order in which they
    /// came so far; they may have gone on since.
    pub(super) over: VecDeque<(u32, u64)>,
    /// Those of them that were turned away: their places are for others that are.
    pub(super) over_turned: VecDeque<(u32, u64)>,
    pub(super) half_open: VecDeque<(Instant, u32, u64)>,
    /// What each source has of the flow table: of IPv4, of IPv6.
    pub(super) shared: [Shared; 2],
    pub(super) others: Others,
    pub(super) wheel: Wheel<Timer>,
    pub(super) nat: Nat,
    pub(super) rules: Rules,
    pub(super) pace: Pace,
    pub(super) counters: Counters,
    pub(super) ordinal: u64,
    pieces: Pieces,
    link: fn(W) -> u32,
}

impl<W: Copy + Eq + Debug> Firewall<W> {
    /// A firewall whose TCP connections are in `flows`.
    pub fn new(settings: Settings, flows: Arc<FlowTable>, keyed: Keyed) -> Self {
        let salt_of = |n| keyed.value(Purpose::Salt, b"firewall", n);
        let salt = Salted::new(salt_of(0));
        let sessions = Sessions::new(&settings, keyed);
        let shared = [false, true].map(|six| {
            // A connection takes two entries. Some are for clients that are told that there are no more.
            let size = flows.room(six) / 2;
            Shared::new(size - sessions.turned_places().min(size / 8), salt_of(1 + u64::from(six)))
        });
        let timers = flows.capacity() + settings.limits.connections;
        Self {
            sessions,
            conns: Slab::default(),
            by_session: HashMap::with_hasher(salt),
            by_data: HashMap::with_hasher(salt),
            over: VecDeque::new(),
            over_turned: VecDeque::new(),
            half_open: VecDeque::new(),
            shared,
            others: Others::new(settings.limits.connections, salt_of(3)),
            wheel: Wheel::new(Duration::from_millis(10), 4096, timers),
            nat: Nat::new(settings.nat.clone(), keyed),
            rules: Rules::new(&settings.filter),
            pace: Pace::default(),
            counters: Counters::default(),
            ordinal: 0,
            pieces: Pieces::new(),
            link: |_| 0,
            settings,
            flows,
        }
    }

    /// Says which link a packet is on, by how it came: where several cross each other here, as VLANs do, a piece of one
    /// is none of another's datagram.
    #[must_use]
    pub fn with_links(self, link: fn(W) -> u32) -> Self {
        Self { link, ..self }
    }

    /// Takes an IP packet from one side that is for the other; the frame begins with it and ends where it ends. It may be a
    /// fragment. What is to be sent besides, or instead, is added to `out`.
    pub fn packet(
        &mut self,
        now: Instant,
        from: Side,
        way: W,
        frame: &mut Frame,
        ip: &IpPacket,
        out: &mut Vec<Emit<W>>,
    ) -> Fate {
        if ip.fragment != Fragment::None {
            return self.piece(now, from, way, frame.bytes(), ip, out);
        }
        let mut passing = Passing { now, from, way, bytes: frame.bytes_mut(), ip };
        let went = self.whole(&mut passing, out);
        match self.counted(went, frame.bytes_mut(), ip) {
            Went::Pass { to, .. } if to == from.other() => Fate::Forward,
            Went::Pass { to, .. } => {
                out.push(Emit { to, along: Along::Routed, packet: frame.bytes().to_vec() });
                Fate::Taken
            }
            Went::Taken => Fate::Taken,
            Went::Refuse(why) => Fate::Refuse(why),
        }
    }

    /// A fragment: it goes on when its datagram is whole and decided about.
    fn piece(
        &mut self,
        now: Instant,
        from: Side,
        way: W,
        bytes: &[u8],
        ip: &IpPacket,
        out: &mut Vec<Emit<W>>,
    ) -> Fate {
        let (mut packet, pieces) = match self.pieces.add(now, from, (self.link)(way), bytes, ip) {
            Taken::Whole { packet, pieces } => (packet, pieces),
            Taken::Waits => return Fate::Taken,
            Taken::Bad => return Fate::Refuse(Refused::Malformed),
        };
        let Ok(ip) = parse_ip(&packet, 0) else { return Fate::Refuse(Refused::Malformed) };
        let went = self.whole(&mut Passing { now, from, way, bytes: &mut packet, ip: &ip }, out);
        match went {
            // As they came, but for the hop.
            Went::Pass { to, changed: false } if to == from.other() => {
                for mut packet in pieces {
                    let parsed = parse_ip(&packet, 0);
                    if parsed.is_ok_and(|ip| self.counted(went, &mut packet, &ip) == went) {
                        out.push(Emit { to, along: Along::Same(way), packet });
                    }
                }
                Fate::Taken
            }
            Went::Pass { to, .. } => match self.counted(went, &mut packet, &ip) {
                Went::Refuse(why) => Fate::Refuse(why),
                _ => {
                    let along = if to == from.other() { Along::Same(way) } else { Along::Routed };
                    out.push(Emit { to, along, packet });
                    Fate::Taken
                }
            },
            Went::Taken => Fate::Taken,
            Went::Refuse(why) => Fate::Refuse(why),
        }
    }

    fn whole(&mut self, p: &mut Passing<'_, W>, out: &mut Vec<Emit<W>>) -> Went {
        match p.ip.proto {
            proto::TCP => self.tcp(p, out),
            proto::ICMP | proto::ICMPV6 => self.icmp(p, out),
            _ => self.other(p, out),
        }
    }

    /// Counts a hop where we are one.
    fn counted(&self, went: Went, bytes: &mut [u8], ip: &IpPacket) -> Went {
        match went {
            Went::Pass { .. } if self.settings.hop && !build::hop(bytes, ip) => {
                Went::Refuse(Refused::Malformed)
            }
            _ => went,
        }
    }

    /// A packet of no known connection that begins none.
    pub(super) fn unknown(&mut self, it: &Begin) -> Went {
        if !self.passes_unread(it) {
            return Went::Refuse(Refused::NoConnection);
        }
        self.counters.unread += 1;
        Went::Pass { to: it.from.other(), changed: false }
    }

    /// Counts a connection that found no place.
    pub(super) const fn no_room(&mut self, why: Refused) {
        match why {
            Refused::Share => self.counters.over_share += 1,
            _ => self.counters.table_full += 1,
        }
    }

    /// Whether packets between these ends pass though nothing is known of them.
    pub(super) fn passes_unread(&self, it: &Begin) -> bool {
        self.settings.filter.passes_unknown(it) && !self.nat.concerns(it)
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Emit<W>>) {
        let mut due = Vec::new();
        self.wheel.expire(now, |timer| due.push(timer));
        for timer in due {
            match timer {
                Timer::Conn(id) => self.look(now, id),
                Timer::Other(id) => self.other_ends(now, id),
            }
        }
        self.pieces.expire(now);
        self.nat.expire(now);
        if self.rules.poll_timeout().is_some_and(|at| at <= now) {
            self.rules.tell(now);
        }
        let before = out.len();
        self.sessions.handle_timeout(now, &mut self.nat, out);
        self.counters.emitted += (out.len() - before) as u64;
        self.gone(now, out);
        if self.conns.is_empty() && self.others.len() == 0 {
            self.conns.shrink();
            self.wheel.shrink();
            (self.over, self.half_open) = (VecDeque::new(), VecDeque::new());
            self.over_turned = VecDeque::new();
            self.shared.iter_mut().for_each(Shared::shrink);
        }
    }

    /// When something is due, and what.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let of = |at: Option<Instant>, what| at.map(|at| (at, what));
        [
            of(self.wheel.next_deadline(), "a connection is looked at"),
            of(self.pieces.poll_timeout(), "pieces of a packet do not come"),
            of(self.nat.poll_timeout(), "a port has rested"),
            of(self.rules.poll_timeout(), "a rule's hits are told"),
            self.sessions.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|due| due.0)
    }

    /// Numbers sessions from here on: for who has other sessions beside those of the firewall.
    pub fn number_from(&mut self, first: u64) {
        self.sessions.number_from(first);
    }

    /// Begins no inspected session any more.
    pub fn drain(&mut self) {
        self.sessions.drain();
    }

    /// Events since the last call, in order.
    pub fn take_events(&mut self, to: &mut Vec<Event>) {
        self.rules.take_events(to);
        self.sessions.take_events(to);
    }

    /// Whether an outside address is one that we translate to: the engine answers ARP for it.
    pub fn translates_to(&self, outside: Ipv4Addr) -> bool {
        self.nat.is_outside(outside)
    }

    /// Counts by name, in a fixed order. `rule:NAME` are packets that a rule decided about.
    pub fn counters(&self) -> Vec<(String, u64)> {
        let c = &self.counters;
        let (joined, given_up) = self.pieces.counts();
        let own = [
            ("connections", c.connections),
            ("data_connections", c.data),
            ("other_connections", c.others),
            ("connections_table_full", c.table_full),
            ("connections_over_share", c.over_share),
            ("connections_gave_way", c.gave_way),
            ("connections_unread", c.unread),
            ("session_packets", c.emitted),
            ("data_wrong_way", c.one_way),
            ("icmp_errors", c.errors),
            ("datagrams_joined", joined),
            ("datagrams_given_up", given_up),
            ("nat_exhausted", self.nat.exhausted()),
        ];
        let own = own.into_iter().chain(self.sessions.counters()).map(|(name, n)| (name.to_owned(), n));
        own.chain(self.rules.hits().map(|(name, n)| (format!("rule:{name}"), n))).collect()
    }

    /// What is in use of everything that has a limit.
    pub fn occupied(&self) -> Vec<(&'static str, usize)> {
        let (ports, resting) = self.nat.occupied();
        let own = [
            ("connections", self.conns.len()),
            ("connections other than TCP", self.others.len()),
            ("outside ports", ports),
            ("resting outside ports", resting),
            ("datagrams in pieces", self.pieces.len()),
            ("connection timers", self.wheel.len()),
            (
                "connections that may give way",
                self.over.len() + self.over_turned.len() + self.half_open.len(),
            ),
        ];
        own.into_iter().chain(self.sessions.occupied()).collect()
    }

    /// Inspected sessions that live.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Sessions and their data connections that live.
    pub fn busy(&self) -> usize {
        self.sessions.len() + self.sessions.data_len()
    }
}
