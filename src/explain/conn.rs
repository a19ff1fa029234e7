//! TCP connections as the capture has them, whatever they carry.

use super::Spot;
use super::decode::{Complaint, Segment};
use super::stream::Flow;
use crate::wire::tcp::{ACK, FIN, RST, SYN};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

/// Connections that are known at once; beyond that the oldest that no session needs is forgotten.
pub(super) const MAX: usize = 65_536;
/// And of one pair of addresses and ports.
const MAX_OF_PAIR: usize = 256;
/// Frames of one kind that a connection names.
const NAMED: usize = 4;
/// Numbers farther from what was seen belong to another connection with the same addresses.
const FAR: u32 = 1 << 25;

/// What a connection is to the report.
#[derive(Debug, Default)]
pub(super) enum Role {
    /// Nothing was said on it yet.
    #[default]
    Unknown,
    /// It began with a greeting as FTP servers send: what came since, until the client's first line tells.
    Greeted(Vec<Held>),
    /// A control connection: the number of its session.
    Control(usize),
    /// Something else; maybe a data connection.
    Plain,
}

/// A segment that waits for a decision.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) spot: Spot,
    pub(super) from_a: bool,
    pub(super) at: i64,
    pub(super) payload: Vec<u8>,
    pub(super) len: u32,
}

/// A complaint by ICMP about a segment of the connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Complained {
    pub(super) spot: Spot,
    pub(super) what: Complaint,
}

/// One connection between `a`, who opened it or was seen first, and `b`.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) a: SocketAddr,
    pub(super) b: SocketAddr,
    pub(super) first: Spot,
    pub(super) last: Spot,
    /// SYNs of `a`, the first few, and how many there were.
    pub(super) syns: Vec<Spot>,
    pub(super) syn_count: u32,
    pub(super) syn_ack: Option<Spot>,
    pub(super) syn_ack_count: u32,
    /// The handshake's end, or the first data.
    pub(super) established: Option<Spot>,
    /// The first RST and whether `a` sent it.
    pub(super) rst: Option<(Spot, bool)>,
    pub(super) complaint: Option<Complained>,
    /// What `a` and what `b` sent.
    pub(super) flows: [Flow; 2],
    pub(super) role: Role,
}

/// What a segment did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) id: usize,
    /// 0 if `a` sent it.
    pub(super) from: usize,
    /// Where its payload begins in the flow.
    pub(super) at: i64,
}

impl Connection {
    fn new(spot: Spot, seg: &Segment<'_>) -> Self {
        // The first segment seen may be an answer.
        let (a, b) = if seg.has(SYN | ACK) { (seg.dst, seg.src) } else { (seg.src, seg.dst) };
        Self {
            a,
            b,
            first: spot,
            last: spot,
            syns: Vec::new(),
            syn_count: 0,
            syn_ack: None,
            syn_ack_count: 0,
            established: None,
            rst: None,
            complaint: None,
            flows: [Flow::default(), Flow::default()],
            role: Role::Unknown,
        }
    }

    /// Whether it is known who opened it.
    pub(super) fn opener_known(&self) -> bool {
        self.syn_count > 0 || self.syn_ack.is_some()
    }

    /// Whether only one end's segments were captured.
    pub(super) fn one_sided(&self) -> bool {
        self.flows.iter().any(|f| f.segments == 0) && self.established.is_some()
    }

    /// Both ends are done with it.
    pub(super) fn is_over(&self) -> bool {
        self.rst.is_some() || self.flows.iter().all(|f| f.fin.is_some())
    }

    /// How badly a segment fits: the distance of its numbers from those seen. `None` if it fits not at all.
    fn fit(&self, seg: &Segment<'_>, from: usize) -> Option<u32> {
        if seg.is_first() {
            // A SYN with another number opens another connection; a repetition has the same.
            return match self.flows[from].isn() {
                Some(isn) => (isn == seg.seq && self.a == seg.src).then_some(0),
                None => None,
            };
        }
        if seg.has(SYN | ACK) && self.syn_count > 0 && self.a == seg.dst {
            let due = self.flows[0].isn().map(|i| i.wrapping_add(1));
            let again = self.flows[1].isn().is_none_or(|i| i == seg.seq);
            return (due == Some(seg.ack) && again).then_some(0);
        }
        let seq = self.flows[from].distance(seg.data_seq());
        let ack = if seg.has(ACK) { self.flows[1 - from].distance(seg.ack) } else { None };
        match (seq, ack) {
            (Some(s), Some(a)) => Some(s.max(a)),
            (Some(n), None) | (None, Some(n)) => Some(n),
            (None, None) => Some(FAR),
        }
    }

    fn take(&mut self, spot: Spot, seg: &Segment<'_>) -> (usize, i64) {
        let from = usize::from(seg.src != self.a);
        self.last = spot;
        if seg.has(RST) {
            if self.rst.is_none() {
                self.rst = Some((spot, from == 0));
            }
            self.flows[from].segments += 1;
            return (from, -1);
        }
        if seg.has(SYN) {
            self.flows[from].begin(seg.seq);
            if seg.has(ACK) {
                self.syn_ack.get_or_insert(spot);
                self.syn_ack_count = self.syn_ack_count.saturating_add(1);
            } else {
                self.syn_count = self.syn_count.saturating_add(1);
                if self.syns.len() < NAMED {
                    self.syns.push(spot);
                }
            }
        }
        let at = self.flows[from].sent(spot, seg.data_seq(), seg.len, seg.payload.len());
        if seg.has(FIN) {
            self.flows[from].finished(spot, at + i64::from(seg.len));
        }
        if seg.has(ACK) {
            self.flows[1 - from].acknowledged(spot, seg.ack);
            if !seg.has(SYN) && (from == 0 || self.syn_count == 0 || seg.len > 0) {
                self.established.get_or_insert(spot);
            }
        }
        if seg.window == 0 && !seg.has(SYN) && !seg.has(FIN) {
            self.flows[from].closed_window.get_or_insert(spot);
        } else {
            self.flows[from].closed_window = None;
        }
        (from, at)
    }
}

/// Connections of one pair of addresses and ports that a segment may belong to: a gateway with the client's address
/// has two at once, and ports are used again.
const LANES: usize = 8;

type Pair = (SocketAddr, SocketAddr);

/// All connections, and how many were forgotten.
#[derive(Debug, Default)]
pub(super) struct Connections {
    list: BTreeMap<usize, Connection>,
    by_pair: BTreeMap<Pair, Vec<usize>>,
    order: VecDeque<usize>,
    next: usize,
    pub(super) forgotten: u64,
}

/// Both directions have one key.
fn pair(x: SocketAddr, y: SocketAddr) -> Pair {
    if x <= y { (x, y) } else { (y, x) }
}

impl Connections {
    pub(super) fn get(&self, id: usize) -> Option<&Connection> {
        self.list.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: usize) -> Option<&mut Connection> {
        self.list.get_mut(&id)
    }

    /// In the order in which they began.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Connection)> {
        self.list.iter().map(|(id, c)| (*id, c))
    }

    /// Finds or makes the connection of a segment, and notes what the segment says.
    pub(super) fn take(&mut self, spot: Spot, seg: &Segment<'_>) -> Taken {
        let known = self.by_pair.get(&pair(seg.src, seg.dst)).map_or(&[][..], Vec::as_slice);
        let mut best: Option<(u32, usize)> = None;
        for &id in known.iter().rev().take(LANES) {
            let Some(c) = self.list.get(&id) else { continue };
            let fit = c.fit(seg, usize::from(seg.src != c.a));
            if let Some(fit) = fit
                && best.is_none_or(|(least, _)| fit < least)
            {
                best = Some((fit, id));
            }
        }
        // One that does not fit any belongs to the last one all the same: only a SYN opens another.
        let opens = seg.has(SYN);
        let id = match best {
            Some((fit, id)) if fit < FAR || !opens => id,
            _ => match known.last() {
                Some(&id) if !opens => id,
                _ => self.open(spot, seg),
            },
        };
        let (from, at) = self.list.get_mut(&id).map_or((0, -1), |c| c.take(spot, seg));
        Taken { id, from, at }
    }

    pub(super) fn complain(&mut self, spot: Spot, what: Complaint) {
        let id = self.by_pair.get(&pair(what.src, what.dst)).and_then(|l| l.last());
        if let Some(c) = id.and_then(|id| self.list.get_mut(id)) {
            c.complaint.get_or_insert(Complained { spot, what });
        }
    }

    fn open(&mut self, spot: Spot, seg: &Segment<'_>) -> usize {
        let key = pair(seg.src, seg.dst);
        let crowd = self.by_pair.get(&key).filter(|l| l.len() >= MAX_OF_PAIR);
        let oldest = crowd.and_then(|l| l.iter().copied().find(|id| !self.is_control(*id)));
        if let Some(oldest) = oldest {
            self.remove(oldest);
        }
        if self.list.len() >= MAX {
            self.forget();
        }
        let id = self.next;
        self.next += 1;
        self.list.insert(id, Connection::new(spot, seg));
        self.by_pair.entry(key).or_default().push(id);
        self.order.push_back(id);
        if self.order.len() > 2 * MAX {
            self.order.retain(|id| self.list.contains_key(id));
        }
        id
    }

    /// Drops the oldest that is no control connection; those are fewer than [`MAX`].
    fn forget(&mut self) {
        for _ in 0..self.order.len() {
            let Some(id) = self.order.pop_front() else { return };
            if self.is_control(id) {
                self.order.push_back(id);
            } else if self.remove(id) {
                return;
            }
        }
    }

    fn is_control(&self, id: usize) -> bool {
        self.list.get(&id).is_some_and(|c| matches!(c.role, Role::Control(_)))
    }

    fn remove(&mut self, id: usize) -> bool {
        let Some(c) = self.list.remove(&id) else { return false };
        let key = pair(c.a, c.b);
        if let Some(list) = self.by_pair.get_mut(&key) {
            list.retain(|other| *other != id);
            if list.is_empty() {
                self.by_pair.remove(&key);
            }
        }
        self.forgotten += 1;
        true
    }
}
