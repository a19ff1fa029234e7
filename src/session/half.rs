//! Half-open control connections: a record each, no sockets, no buffers, no timers of our own but one.
//!
//! ```text
//!  client        us                  server
//!   SYN ───────▶ record ──── SYN ──▶            repeated when the client repeats its SYN
//!   ◀─ SYN-ACK ─ answered ◀─ SYN-ACK
//!   ACK ───────▶ session ─── ACK ──▶            only now, so a flood is no connection at the server
//! ```
//! Server RST: RST as the server. ICMP: the same ICMP about the client's SYN. Silence: silence.
//!
//! A record that goes without having become a session tells its server, if that has answered: else the
//! server would keep its own half of a flood, and a port of ours could not be used again at once.

use super::shared::{Shared, Timer, redirected, send};
use crate::flow::{Salted, Slab, SlotRef, TimerId};
use crate::rng::Purpose;
use crate::tcp::{Handshake, Outlet};
use crate::wire::Network;
use crate::wire::build::{TTL, Tcp};
use crate::wire::icmp;
use crate::wire::tcp::{ACK, RST, SYN, Segment, SynOptions};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// Buffer of a control leg, each way, in bytes.
pub(super) const CONTROL_BUFFER: usize = 1024;
/// Leg number of the client's side of a half-open connection in the flow table.
pub(super) const LEG_HALF_CLIENT: u8 = 8;
/// And of the server's side.
pub(super) const LEG_HALF_SERVER: u8 = 9;

/// SYN options packed: MSS, window scale (0xFF none), bit 0 SACK.
#[derive(Debug, Clone, Copy)]
struct Packed {
    mss: u16,
    scale: u8,
    sack: bool,
}

impl Packed {
    fn of(o: SynOptions) -> Self {
        Self { mss: o.mss.unwrap_or(0), scale: o.window_scale.unwrap_or(0xFF), sack: o.sack }
    }

    fn options(self) -> SynOptions {
        SynOptions {
            mss: (self.mss != 0).then_some(self.mss),
            window_scale: (self.scale != 0xFF).then_some(self.scale),
            sack: self.sack,
            timestamps: false,
        }
    }
}

/// What the server answered.
#[derive(Debug, Clone, Copy)]
struct Answer {
    isn: u32,
    window: u16,
    options: Packed,
}

/// One end of a connection, smaller than a [`SocketAddr`]: IPv6 scopes and flow labels play no part here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    ip: IpAddr,
    port: u16,
}

impl From<SocketAddr> for End {
    fn from(a: SocketAddr) -> Self {
        Self { ip: a.ip(), port: a.port() }
    }
}

impl From<End> for SocketAddr {
    fn from(e: End) -> Self {
        Self::new(e.ip, e.port)
    }
}

/// One half-open connection.
#[derive(Debug)]
pub(super) struct Half {
    client: End,
    server: End,
    /// Where our side of the server's leg leaves from.
    own: End,
    client_slot: SlotRef,
    server_slot: SlotRef,
    timer: Option<TimerId>,
    client_isn: u32,
    own_isn_client: u32,
    own_isn_server: u32,
    answer: Option<Answer>,
    client_options: Packed,
    client_window: u16,
    service: u16,
}

// The design promises a flood's cost: no more than this for each SYN.
const _: () = assert!(size_of::<Half>() <= 128);

/// What a completed handshake hands to its session.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
    pub(super) own: SocketAddr,
    pub(super) service: usize,
    pub(super) client_slot: SlotRef,
    pub(super) server_slot: SlotRef,
    pub(super) toward_client: Handshake,
    pub(super) toward_server: Handshake,
}

/// All of a worker's half-open connections.
pub(super) struct Halves {
    items: Slab<Half>,
    /// Oldest first, each with our number toward its server, which tells a record from the next of its place;
    /// records that have gone on are skipped.
    order: VecDeque<(u32, u32)>,
    by_prefix: HashMap<Network, VecDeque<(u32, u32)>, Salted>,
}

impl Halves {
    pub(super) fn new(salt: u64) -> Self {
        Self {
            items: Slab::default(),
            order: VecDeque::new(),
            by_prefix: HashMap::with_hasher(Salted::new(salt)),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Takes a record out, and out of its prefix's count: prefixes without records must not pile up in a flood.
    fn take(&mut self, id: u32) -> Option<Half> {
        let half = self.items.remove(id)?;
        let of = Network::of_source(half.client.ip);
        if let Some(queue) = self.by_prefix.get_mut(&of) {
            queue.retain(|e| e.0 != id);
            if queue.is_empty() {
                self.by_prefix.remove(&of);
            }
        }
        Some(half)
    }

    /// Whether a segment that came for leg `leg` is one that we sent on the other (see
    /// [`Registry::is_ours`](super::Registry::is_ours)).
    pub(super) fn is_ours(&self, id: u32, leg: u8, seg: &Segment) -> bool {
        let Some(h) = self.items.get(id).filter(|h| h.own == h.client) else { return false };
        let near = |isn: u32| seg.seq.wrapping_sub(isn) <= 1;
        match leg {
            LEG_HALF_CLIENT => near(h.own_isn_server) && !near(h.client_isn),
            _ => near(h.own_isn_client) && !h.answer.is_some_and(|a| near(a.isn)),
        }
    }

    /// Gives memory back; there must be none.
    pub(super) fn shrink(&mut self) {
        self.items.shrink();
        self.order = VecDeque::new();
        self.by_prefix.clear();
        self.by_prefix.shrink_to_fit();
    }

    fn is(&self, (id, isn): (u32, u32)) -> bool {
        self.items.get(id).is_some_and(|h| h.own_isn_server == isn)
    }
}

impl Shared {
    /// A client's SYN to a service. False if it cannot be served now.
    pub(super) fn half_open(
        &mut self,
        halves: &mut Halves,
        service: usize,
        seg: &Segment,
        options: SynOptions,
        out: &mut dyn Outlet,
    ) -> bool {
        let (client, server) = (End::from(seg.src), End::from(seg.dst));
        self.make_room(halves, Network::of_source(client.ip), out);
        let Some(own) = self.lease_control(service, seg.src, seg.dst) else { return false };
        let keys = (redirected(seg.src, seg.dst), self.upstream_key(service, seg.dst, own));
        let (Some(ck), Some(sk)) = keys else { return false };
        let Some(client_slot) = self.claim(&ck, &self.session_entry(&ck, LEG_HALF_CLIENT, 0)) else {
            self.release_control_unused(seg.dst, own);
            return false;
        };
        let Some(server_slot) = self.claim(&sk, &self.session_entry(&sk, LEG_HALF_SERVER, 0)) else {
            self.table.remove(client_slot);
            self.release_control_unused(seg.dst, own);
            return false;
        };
        let own_isn_server = self.isn(own, seg.dst);
        let half = Half {
            client,
            server,
            own: own.into(),
            client_slot,
            server_slot,
            timer: None,
            client_isn: seg.seq,
            own_isn_client: self.isn(seg.dst, seg.src),
            own_isn_server,
            answer: None,
            client_options: Packed::of(options),
            client_window: seg.window,
            service: service as u16,
        };
        let id = halves.items.insert(half);
        self.table.update(client_slot, &self.session_entry(&ck, LEG_HALF_CLIENT, id));
        self.table.update(server_slot, &self.session_entry(&sk, LEG_HALF_SERVER, id));
        let at = self.now + self.settings.timers.connect;
        let timer = self.wheel.insert(at, Timer::Half(id));
        halves.order.push_back((id, own_isn_server));
        halves.by_prefix.entry(Network::of_source(client.ip)).or_default().push_back((id, own_isn_server));
        if let Some(h) = halves.items.get_mut(id) {
            h.timer = timer;
            send(out, &h.syn(self));
        }
        true
    }

    /// A segment of a half-open connection from its client. Gives the session's parts when it is proven.
    pub(super) fn half_from_client(
        &mut self,
        halves: &mut Halves,
        id: u32,
        seg: &Segment,
        options: SynOptions,
        out: &mut dyn Outlet,
    ) -> Option<Opened> {
        let h = halves.items.get_mut(id)?;
        if (h.client, h.server) != (seg.src.into(), seg.dst.into()) {
            return None;
        }
        if seg.has(RST) {
            let next = h.client_isn.wrapping_add(1);
            if seg.seq == next || (h.answer.is_none() && seg.seq == h.client_isn) {
                self.half_end(halves, id, out);
            }
            return None;
        }
        if seg.has(SYN | ACK) {
            return None;
        }
        if seg.has(SYN) {
            match (h.answer, seg.seq == h.client_isn) {
                (Some(_), true) => send(out, &h.syn_ack(self)),
                // Whoever began anew does not know our numbers and resets them, which ends this record; a
                // forger's SYN moves nothing (RFC 5961 4.2).
                (Some(_), false) => send(out, &h.challenge(self)),
                (None, same) => {
                    if !same {
                        // Nothing was said to the client yet, so its newest SYN is the one that counts.
                        h.client_isn = seg.seq;
                        h.client_options = Packed::of(options);
                        h.client_window = seg.window;
                        h.own_isn_client = self.isn(seg.dst, seg.src);
                    }
                    let h = &*h;
                    send(out, &h.syn(self));
                }
            }
            return None;
        }
        let a = h.answer?;
        let next = (h.client_isn.wrapping_add(1), h.own_isn_client.wrapping_add(1));
        if !seg.has(ACK) || seg.ack != next.1 || seg.seq != next.0 {
            // Not the ACK of our SYN-ACK: say where we are (RFC 9293 3.10.7.4), or reset what was never sent.
            if seg.has(ACK) && seg.ack != next.1 {
                let r = Tcp { seq: seg.ack, flags: RST, ..h.syn_ack(self) };
                send(out, &Tcp { ack: 0, options: SynOptions::default(), ..r });
            }
            return None;
        }
        let opened = Opened {
            client: h.client.into(),
            server: h.server.into(),
            own: h.own.into(),
            service: usize::from(h.service),
            client_slot: h.client_slot,
            server_slot: h.server_slot,
            toward_client: Handshake {
                peer_isn: h.client_isn,
                peer_window: h.client_window,
                peer_options: h.client_options.options(),
                own_isn: h.own_isn_client,
            },
            toward_server: Handshake {
                peer_isn: a.isn,
                peer_window: a.window,
                peer_options: a.options.options(),
                own_isn: h.own_isn_server,
            },
        };
        let gone = halves.take(id);
        if let Some(t) = gone.and_then(|h| h.timer) {
            self.wheel.cancel(t);
        }
        Some(opened)
    }

    /// A segment of a half-open connection from its server.
    pub(super) fn half_from_server(
        &mut self,
        halves: &mut Halves,
        id: u32,
        seg: &Segment,
        options: SynOptions,
        out: &mut dyn Outlet,
    ) {
        let Some(h) = halves.items.get_mut(id) else { return };
        if (h.server, h.own) != (seg.src.into(), seg.dst.into()) {
            return;
        }
        let acks_us = seg.has(ACK) && seg.ack == h.own_isn_server.wrapping_add(1);
        if seg.has(RST) {
            if acks_us && h.answer.is_none() {
                let refused = Tcp {
                    seq: 0,
                    ack: h.client_isn.wrapping_add(1),
                    flags: RST | ACK,
                    window: 0,
                    options: SynOptions::default(),
                    ..h.syn_ack(self)
                };
                send(out, &refused);
                self.half_end(halves, id, out);
            } else if h.answer.is_some_and(|a| seg.seq == a.isn.wrapping_add(1)) {
                let reset = Tcp {
                    seq: h.own_isn_client.wrapping_add(1),
                    ack: 0,
                    flags: RST,
                    window: 0,
                    options: SynOptions::default(),
                    ..h.syn_ack(self)
                };
                send(out, &reset);
                h.answer = None;
                self.half_end(halves, id, out);
            }
            return;
        }
        if seg.has(ACK) && !acks_us && h.answer.is_none() {
            // The server still has an older connection here: its answer is reset, and the next SYN finds it
            // gone (RFC 9293 3.10.7.3).
            let h = &*h;
            send(out, &h.toward_server(self, RST, seg.ack, 0));
            return;
        }
        if seg.has(SYN | ACK) && acks_us && h.answer.is_none_or(|a| a.isn == seg.seq) {
            h.answer = Some(Answer { isn: seg.seq, window: seg.window, options: Packed::of(options) });
            let h = &*h;
            send(out, &h.syn_ack(self));
        }
    }

    /// An ICMP error about our SYN: the client gets the same about its own.
    pub(super) fn half_icmp(
        &mut self,
        halves: &mut Halves,
        id: u32,
        from: IpAddr,
        kind: (u8, u8),
        seq: u32,
        out: &mut dyn Outlet,
    ) {
        let Some(h) = halves.items.get(id).filter(|h| h.own_isn_server == seq && h.answer.is_none()) else {
            return;
        };
        let syn = Tcp {
            src: h.client.into(),
            dst: h.server.into(),
            seq: h.client_isn,
            ack: 0,
            flags: SYN,
            window: h.client_window,
            options: h.client_options.options(),
            ttl: TTL,
            ip_id: 0,
        };
        let mut quoted = vec![0; syn.len()];
        syn.emit(&mut quoted);
        // A router's link-local address means nothing on the client's link (RFC 4291 2.5.6).
        let from = if is_link_local(from) { h.server.ip } else { from };
        let Some(error) = icmp::error(from, h.client.ip, kind, [0; 4], &quoted) else { return };
        out.send(error.len(), &mut |b| {
            b.copy_from_slice(&error);
            true
        });
        // Host and network unreachable may pass (RFC 1122 4.2.3.9, RFC 5461 2); others mean no.
        let refused = match h.client.ip {
            IpAddr::V4(_) => kind.0 == 3 && matches!(kind.1, 2 | 3 | 9 | 10 | 13),
            IpAddr::V6(_) => kind.0 == 1 && matches!(kind.1, 1 | 4 | 5 | 6),
        };
        if refused {
            self.half_end(halves, id, out);
        }
    }

    /// A proven connection that there is no place for: both ends are reset.
    pub(super) fn half_refuse(&mut self, o: &Opened, out: &mut dyn Outlet) {
        for (src, dst, h) in [(o.server, o.client, &o.toward_client), (o.own, o.server, &o.toward_server)] {
            let seq = h.own_isn.wrapping_add(1);
            let (window, options) = (0, SynOptions::default());
            send(out, &Tcp { src, dst, seq, ack: 0, flags: RST, window, options, ttl: TTL, ip_id: 0 });
        }
        self.table.remove(o.client_slot);
        self.table.remove(o.server_slot);
        self.release_control_unused(o.server, o.own);
    }

    /// The record's time is up, or it is not wanted any more. A server that has answered is reset; the client
    /// is left in silence, for it may never have asked.
    pub(super) fn half_end(&mut self, halves: &mut Halves, id: u32, out: &mut dyn Outlet) {
        let Some(h) = halves.take(id) else { return };
        if h.answer.is_some() {
            send(out, &h.toward_server(self, RST, h.own_isn_server.wrapping_add(1), 0));
        }
        if let Some(t) = h.timer {
            self.wheel.cancel(t);
        }
        self.table.remove(h.client_slot);
        self.table.remove(h.server_slot);
        self.release_control_unused(h.server.into(), h.own.into());
    }

    fn make_room(&mut self, halves: &mut Halves, of: Network, out: &mut dyn Outlet) {
        let limits = (self.settings.limits.half_open, self.settings.limits.half_open_per_source);
        while let Some(&first) = halves.order.front() {
            if halves.is(first) {
                if halves.items.len() < limits.0 {
                    break;
                }
                self.counters.half_open_evicted += 1;
                self.half_end(halves, first.0, out);
            }
            halves.order.pop_front();
        }
        // An old record at the front must not keep the records of a flood that have gone on.
        if halves.order.len() > 2 * limits.0.max(halves.items.len()) + 64 {
            let items = &halves.items;
            halves.order.retain(|&(id, isn)| items.get(id).is_some_and(|h| h.own_isn_server == isn));
        }
        let mut evict = Vec::new();
        if let Some(mut queue) = halves.by_prefix.remove(&of) {
            queue.retain(|&e| halves.is(e));
            while queue.len() >= limits.1 {
                evict.extend(queue.pop_front());
            }
            if !queue.is_empty() {
                halves.by_prefix.insert(of, queue);
            }
        }
        for (id, _) in evict {
            self.counters.half_open_evicted += 1;
            self.half_end(halves, id, out);
        }
    }
}

fn is_link_local(a: IpAddr) -> bool {
    matches!(a, IpAddr::V6(a) if a.is_unicast_link_local())
}

impl Half {
    /// Our SYN to the server, the same each time.
    fn syn(&self, shared: &Shared) -> Tcp {
        let limit = shared.settings.mss(self.server.ip);
        let clamp = shared.upstream_clamp(usize::from(self.service));
        let options = SynOptions {
            mss: Some(clamp.map_or(limit, |c| c.min(limit))),
            window_scale: Some(0),
            sack: true,
            timestamps: false,
        };
        Tcp {
            window: CONTROL_BUFFER as u16,
            options,
            ..self.toward_server(shared, SYN, self.own_isn_server, 0)
        }
    }

    fn toward_server(&self, shared: &Shared, flags: u8, seq: u32, ack: u32) -> Tcp {
        Tcp {
            src: self.own.into(),
            dst: self.server.into(),
            seq,
            ack,
            flags,
            window: 0,
            options: SynOptions::default(),
            ttl: TTL,
            ip_id: shared.ip_id(self.server.ip, seq),
        }
    }

    /// Our acknowledgement of what we know of the client, as the server.
    fn challenge(&self, shared: &Shared) -> Tcp {
        Tcp {
            seq: self.own_isn_client.wrapping_add(1),
            flags: ACK,
            options: SynOptions::default(),
            ..self.syn_ack(shared)
        }
    }

    /// Our SYN-ACK to the client, as the server.
    fn syn_ack(&self, shared: &Shared) -> Tcp {
        let offered = self.client_options;
        let limit = shared.settings.mss(self.client.ip);
        let clamp = shared.settings.services.get(usize::from(self.service)).and_then(|s| s.mss_clamp);
        Tcp {
            src: self.server.into(),
            dst: self.client.into(),
            seq: self.own_isn_client,
            ack: self.client_isn.wrapping_add(1),
            flags: SYN | ACK,
            window: CONTROL_BUFFER as u16,
            options: SynOptions {
                mss: Some(clamp.map_or(limit, |c| c.min(limit))),
                window_scale: (offered.scale != 0xFF).then_some(0),
                sack: offered.sack,
                timestamps: false,
            },
            ttl: TTL,
            ip_id: shared.ip_id(self.client.ip, self.own_isn_client),
        }
    }
}

impl Shared {
    /// An IP identification that says nothing about how much we send.
    fn ip_id(&self, to: IpAddr, what: u32) -> u16 {
        let b = match to {
            IpAddr::V4(a) => a.octets(),
            IpAddr::V6(_) => [0; 4],
        };
        self.keyed.value(Purpose::IpId, &b, u64::from(what)) as u16
    }
}

#[cfg(test)]
mod tests;
