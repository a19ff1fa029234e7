//! Control connections that an earlier run of the gateway left torn in two.
//!
//! With the client's address toward servers both legs of a session show the same four numbers. When the gateway
//! dies and begins anew, what either end sends is returned, and so reaches the other end, which has another
//! connection of this name: it answers with an acknowledgement, is answered so itself, and neither ends before
//! its own patience does. A connection that was made past us looks the same segment by segment, and must go
//! on. But its two ends agree about how far they are, and those of a torn one do not.

use super::opaque::OPAQUE_IDLE;
use super::registry::Registry;
use super::settings::UpstreamSource;
use super::shared::{Shared, reset, send};
use crate::event::What;
use crate::flow::Salted;
use crate::tcp::Outlet;
use crate::time::{Duration, Instant};
use crate::wire::build::{TTL, Tcp};
use crate::wire::tcp::{ACK, RST, SYN, Segment, SynOptions};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// How often one end must contradict the other's last word, with no word between that fits.
const STRIKES: u8 = 3;
/// How far the two may be apart in what is under way: more than a control connection ever has there.
const SPAN: u32 = 1 << 20;
/// Connections that are looked at at a time; the oldest goes.
const LOOKED_AT: usize = 4096;
/// How long each is.
const LOOK: Duration = Duration::from_secs(60);

/// The last that was heard from one end: behind its data, and what it wants next.
#[derive(Debug, Clone, Copy)]
struct Word {
    end: u32,
    wants: u32,
}

impl Word {
    fn fits(self, other: Self) -> bool {
        let near = |a: u32, b: u32| a.wrapping_sub(b).wrapping_add(SPAN) <= 2 * SPAN;
        near(self.wants, other.end) && near(other.wants, self.end)
    }
}

/// What passed of one connection.
#[derive(Debug, Default)]
struct Talk {
    client: Option<Word>,
    server: Option<Word>,
    /// Who spoke last: the client?
    last: Option<bool>,
    strikes: u8,
}

/// All connections that are looked at.
pub(super) struct Torn {
    talks: HashMap<(SocketAddr, SocketAddr), Talk, Salted>,
    /// Since when, oldest first.
    order: VecDeque<(Instant, (SocketAddr, SocketAddr))>,
    begun: Option<Instant>,
    /// When one was told of: one a second, as whoever can speak for both ends makes as many as they like.
    told: Option<Instant>,
}

impl Torn {
    pub(super) fn new(salt: u64) -> Self {
        Self {
            talks: HashMap::with_hasher(Salted::new(salt)),
            order: VecDeque::new(),
            begun: None,
            told: None,
        }
    }

    /// Forgets what has been looked at for long enough.
    pub(super) fn expire(&mut self, now: Instant) {
        self.begun.get_or_insert(now);
        if self.order.is_empty() {
            return;
        }
        while let Some((_, ends)) = self.order.pop_front_if(|(at, _)| now.since(*at) >= LOOK) {
            self.talks.remove(&ends);
        }
        if self.order.is_empty() {
            self.talks.shrink_to_fit();
            self.order.shrink_to_fit();
        }
    }

    /// When [`expire`](Self::expire) may have something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.order.front().map(|(at, _)| *at + LOOK)
    }

    /// Notes a word of the client (or else the server). What the other end wants next, if the two are torn.
    fn hears(
        &mut self,
        now: Instant,
        ends: (SocketAddr, SocketAddr),
        of_client: bool,
        word: Word,
    ) -> Option<u32> {
        if !self.talks.contains_key(&ends) {
            if self.order.len() >= LOOKED_AT
                && let Some((_, oldest)) = self.order.pop_front()
            {
                self.talks.remove(&oldest);
            }
            self.order.push_back((now, ends));
        }
        let talk = self.talks.entry(ends).or_default();
        let turn = talk.last.replace(of_client) != Some(of_client);
        let other = if of_client { talk.server } else { talk.client };
        *(if of_client { &mut talk.client } else { &mut talk.server }) = Some(word);
        let other = other?;
        if word.fits(other) {
            talk.strikes = 0;
            return None;
        }
        // One that speaks twice has said nothing new about the other.
        talk.strikes += u8::from(turn);
        if talk.strikes < STRIKES {
            return None;
        }
        // Its time is kept in the order until that is over.
        *talk = Talk::default();
        Some(other.wants)
    }
}

impl Shared {
    /// Client and server of a segment on a control connection that both legs of a session of ours may have had;
    /// and whether the client sends it.
    fn ends_of(&self, seg: &Segment) -> Option<((SocketAddr, SocketAddr), bool)> {
        let ours = |port| {
            let service = self.settings.service(port).and_then(|at| self.settings.services.get(at));
            service.is_some_and(|s| s.upstream_source == UpstreamSource::Client)
        };
        if ours(seg.dst.port()) {
            Some(((seg.src, seg.dst), true))
        } else {
            ours(seg.src.port()).then_some(((seg.dst, seg.src), false))
        }
    }
}

impl Registry {
    /// Whether a redirected segment of no flow may be of a session that an earlier run of the gateway had:
    /// [`torn`](Self::torn) wants to see it then. As long after the start as such a session may be silent.
    pub fn may_be_torn(&mut self, now: Instant, seg: &Segment) -> bool {
        let shared = &mut self.shared;
        let begun = *shared.torn.begun.get_or_insert(now);
        let silent = OPAQUE_IDLE.max(shared.settings.timers.control_idle);
        seg.has(ACK)
            && !seg.has(SYN)
            && !seg.has(RST)
            && now.since(begun) < silent
            && shared.ends_of(seg).is_some()
    }

    /// Looks at such a segment; its checksums are right. True if its connection is torn: then both ends were
    /// reset, with the numbers that they wait for, and the segment is to go no further.
    pub fn torn(&mut self, now: Instant, seg: &Segment, out: &mut dyn Outlet) -> bool {
        let shared = &mut self.shared;
        shared.now = now;
        let Some((ends, of_client)) = shared.ends_of(seg) else { return false };
        let word = Word { end: seg.seq_end(), wants: seg.ack };
        let Some(seq) = shared.torn.hears(now, ends, of_client, word) else { return false };
        reset(seg, out);
        let (src, dst, options) = (seg.src, seg.dst, SynOptions::default());
        send(out, &Tcp { src, dst, seq, ack: 0, flags: RST, window: 0, options, ttl: TTL, ip_id: 0 });
        shared.counters.torn += 1;
        if shared.torn.told.is_some_and(|at| now.since(at) < Duration::from_secs(1)) {
            return true;
        }
        shared.torn.told = Some(now);
        let (client, server) = ends;
        let service = shared.settings.service(server.port());
        let service = service.and_then(|at| shared.settings.services.get(at)).map(|s| s.name.clone());
        shared.event(What::Session {
            session: None,
            state: "torn",
            client,
            server,
            service: service.unwrap_or_default(),
            reason: "both ends were reset: each contradicts the other, as those of a session do that the gateway had before it began".to_owned(),
        });
        true
    }
}

#[cfg(test)]
mod tests;
