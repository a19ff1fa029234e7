//! A model of an end host's TCP, written from RFC 9293, 7323 and 2018, that reacts: it retransmits, acknowledges
//! selectively, keeps windows and timestamps. It panics when the other side, as it sees it, breaks TCP.

use crate::support::{ACK, FIN, PSH, RST, Rng, SYN, Seg, URG};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How a host behaves.
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    pub(crate) isn: u32,
    pub(crate) mss: usize,
    pub(crate) scale: Option<u8>,
    pub(crate) sack: bool,
    pub(crate) stamps: bool,
    /// Bytes that it takes before its program reads them.
    pub(crate) room: usize,
    /// Largest segment that it sends; random below, if `ragged`.
    pub(crate) piece: usize,
    pub(crate) ragged: bool,
    /// No small segment while one is unacknowledged (RFC 896).
    pub(crate) nagle: bool,
    /// Its program reads every so many milliseconds; 0 for at once.
    pub(crate) read_every: u64,
    /// What it acknowledges may lag behind what it has.
    pub(crate) partial: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            isn: 1000,
            mss: 1460,
            scale: None,
            sack: true,
            stamps: false,
            room: 60_000,
            piece: 1460,
            ragged: false,
            nagle: false,
            read_every: 0,
            partial: false,
        }
    }
}

pub(crate) struct Host {
    pub(crate) name: &'static str,
    pub(crate) manner: Manner,
    peer: Manner,
    rng: Rng,
    /// All that it sends; position 1 is its first byte.
    pub(crate) stream: Vec<u8>,
    pub(crate) closes: bool,
    pub(crate) una: u64,
    pub(crate) nxt: u64,
    /// What is unacknowledged goes again at once, in segments of the size that it sends now (RFC 1191 section 6.5).
    pub(crate) again: bool,
    right: u64,
    sacked: Vec<(u64, u64)>,
    repeats: u32,
    rto: Option<u64>,
    tries: u32,
    /// What it got, in order.
    pub(crate) got: Vec<u8>,
    early: BTreeMap<u64, u8>,
    pub(crate) peer_closed: bool,
    fin_early: Option<u64>,
    read: u64,
    next_read: u64,
    told_ack: u64,
    told_right: u64,
    stamp: u32,
    pub(crate) reset: bool,
    pub(crate) sent: u64,
    repeated: Option<(u64, u64)>,
    /// What its peer says comes in the order in which it was said: then a window that was given is not taken back, as
    /// its peer never does that.
    pub(crate) in_order: bool,
    /// Behind the urgent byte of what it sends.
    pub(crate) urgent: Option<u64>,
    /// Segments in front of that byte tell of it as well.
    pub(crate) foretells: bool,
    /// Bytes that were marked urgent before they were here.
    marked: BTreeSet<u64>,
}

impl Host {
    pub(crate) fn new(name: &'static str, manner: Manner, peer: Manner, stream: Vec<u8>, seed: u64) -> Self {
        let right = 1 + peer.room.min(65535) as u64;
        let told_right = 1 + manner.room.min(65535) as u64;
        Self {
            name,
            rng: Rng(seed),
            stream,
            closes: true,
            una: 1,
            nxt: 1,
            again: false,
            right,
            sacked: Vec::new(),
            repeats: 0,
            rto: None,
            tries: 0,
            got: Vec::new(),
            early: BTreeMap::new(),
            peer_closed: false,
            fin_early: None,
            read: 0,
            next_read: 0,
            told_ack: 1,
            told_right,
            stamp: 0,
            reset: false,
            sent: 0,
            repeated: None,
            in_order: false,
            urgent: None,
            foretells: false,
            marked: BTreeSet::new(),
            manner,
            peer,
        }
    }

    /// The options of its SYN.
    pub(crate) fn syn(&self) -> Seg {
        let m = &self.manner;
        let mut options = vec![2, 4, (m.mss >> 8) as u8, m.mss as u8];
        if m.sack {
            options.extend([1, 1, 4, 2]);
        }
        if let Some(scale) = m.scale {
            options.extend([1, 3, 3, scale]);
        }
        if m.stamps {
            options.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0]);
        }
        let window = m.room.min(65535) as u16;
        Seg { seq: m.isn, flags: SYN, window, options, ..Seg::default() }
    }

    fn end(&self) -> u64 {
        1 + self.stream.len() as u64
    }

    /// Everything went and came.
    pub(crate) fn is_done(&self) -> bool {
        self.una == self.end() + u64::from(self.closes) && (self.peer_closed || !self.closes)
    }

    fn next_in(&self) -> u64 {
        1 + self.got.len() as u64 + u64::from(self.peer_closed)
    }

    fn scales(&self) -> bool {
        self.manner.scale.is_some() && self.peer.scale.is_some()
    }

    fn stamps(&self) -> bool {
        self.manner.stamps && self.peer.stamps
    }

    fn segment(&mut self, now: u64, pos: u64, flags: u8, payload: Vec<u8>) -> Seg {
        let mut ack = self.next_in();
        if self.manner.partial && ack > self.told_ack {
            ack = self.told_ack + 1 + self.rng.below(ack - self.told_ack);
        }
        self.told_ack = self.told_ack.max(ack);
        let buffered = self.got.len() as u64 - self.read;
        let room = (self.manner.room as u64).saturating_sub(buffered) + (self.next_in() - self.told_ack);
        let scale = if self.scales() { self.manner.scale.unwrap() } else { 0 };
        // Rounded up, so that it does not shrink by rounding.
        let field = room.max(self.told_right.saturating_sub(self.told_ack)).div_ceil(1 << scale).min(65535);
        self.told_right = self.told_right.max(self.told_ack + (field << scale));
        let mut options = Vec::new();
        if self.stamps() {
            options.extend([1, 1, 8, 10]);
            options.extend((now as u32 + 1).to_be_bytes());
            options.extend(self.stamp.to_be_bytes());
        }
        if self.manner.sack && self.peer.sack {
            let mut blocks: Vec<(u64, u64)> = Vec::new();
            for &at in self.early.keys() {
                match blocks.last_mut() {
                    Some(b) if b.1 == at => b.1 += 1,
                    _ => blocks.push((at, at + 1)),
                }
            }
            if let Some(repeated) = self.repeated.take() {
                blocks.insert(0, repeated);
            }
            blocks.truncate(3);
            if !blocks.is_empty() {
                options.extend([1, 1, 5, 2 + 8 * blocks.len() as u8]);
                for (l, r) in blocks {
                    options.extend(self.peer.isn.wrapping_add(l as u32).to_be_bytes());
                    options.extend(self.peer.isn.wrapping_add(r as u32).to_be_bytes());
                }
            }
        }
        self.sent += 1;
        let reach = if self.foretells { u64::from(u16::MAX) } else { payload.len() as u64 };
        let ahead = self.urgent.map_or(0, |up| up.saturating_sub(pos));
        let urgent = if ahead > 0 && ahead <= reach { ahead as u16 } else { 0 };
        Seg {
            seq: self.manner.isn.wrapping_add(pos as u32),
            ack: self.peer.isn.wrapping_add(self.told_ack as u32),
            flags: flags | ACK | if urgent > 0 { URG } else { 0 },
            window: field as u16,
            options,
            payload,
            urgent,
        }
    }

    /// Takes a segment; gives what it says to it at once.
    pub(crate) fn take(&mut self, now: u64, seg: &Seg) -> Option<Seg> {
        assert!(seg.flags & SYN == 0, "{}: a SYN", self.name);
        let near = self.next_in();
        let away = seg.seq.wrapping_sub(self.peer.isn.wrapping_add(near as u32)) as i32;
        let at = near.checked_add_signed(i64::from(away)).expect("a sequence number in front of the SYN");
        let end = at + seg.payload.len() as u64 + u64::from(seg.flags & FIN != 0);
        if seg.flags & RST != 0 {
            assert_eq!(at, near, "{}: a reset that TCP does not believe", self.name);
            self.reset = true;
            return None;
        }
        assert!(seg.flags & ACK != 0, "{}: {seg:?}", self.name);
        assert!(
            seg.payload.len() + seg.options.len() <= self.manner.mss,
            "{}: {} bytes, its mss is {}",
            self.name,
            seg.payload.len(),
            self.manner.mss
        );
        let stamp = seg.timestamps();
        assert_eq!(stamp.is_some(), self.stamps(), "{}: timestamps {seg:?}", self.name);
        if let Some((value, echo)) = stamp {
            assert!(u64::from(echo) <= now + 1, "{}: an echo from the future", self.name);
            if (value.wrapping_sub(self.stamp) as i32) < 0 {
                return Some(self.segment(now, self.nxt, 0, Vec::new()));
            }
            if at <= self.told_ack {
                self.stamp = value;
            }
        }
        self.check(at, &seg.payload);
        // A FIN needs no room.
        let over = at + seg.payload.len() as u64 > self.told_right.max(near + 1);
        assert!(seg.payload.is_empty() || !over, "{}: its window is overrun", self.name);
        // Acceptable (RFC 9293 3.10.7.4), or only answered.
        let acceptable = at <= self.told_right + 1 && (end > near || (end == at && at >= near));
        if !acceptable {
            if !seg.payload.is_empty() && end <= near {
                self.repeated = Some((at, end));
            }
            return Some(self.segment(now, self.nxt, 0, Vec::new()));
        }
        if seg.flags & URG != 0 {
            let byte = at + u64::from(seg.urgent.max(1)) - 1;
            if byte >= near {
                self.marked.insert(byte);
            }
        }
        self.acknowledged(now, seg);
        if at == end {
            return None;
        }
        for (pos, byte) in (at..).zip(&seg.payload) {
            if pos >= near {
                self.early.insert(pos, *byte);
            }
        }
        if seg.flags & FIN != 0 {
            self.fin_early = Some(end - 1);
        }
        while let Some(byte) = self.early.remove(&(1 + self.got.len() as u64)) {
            self.got.push(byte);
        }
        if self.fin_early == Some(1 + self.got.len() as u64) {
            self.peer_closed = true;
        }
        if self.manner.read_every == 0 {
            self.read = self.got.len() as u64;
        }
        Some(self.segment(now, self.nxt, 0, Vec::new()))
    }

    /// What a program reads that gets urgent bytes apart from the stream, as is the rule unless it asks otherwise: a byte
    /// that was ever marked is not there.
    pub(crate) fn read_apart(&self) -> Vec<u8> {
        let here = |(pos, byte): (u64, &u8)| (!self.marked.contains(&pos)).then_some(*byte);
        (1..).zip(&self.got).filter_map(here).collect()
    }

    /// What comes again must be what came first.
    fn check(&self, at: u64, payload: &[u8]) {
        for (pos, byte) in (at..).zip(payload) {
            let first = match pos.checked_sub(1).and_then(|i| self.got.get(i as usize)) {
                // What a keep-alive carries is nothing.
                Some(_) if payload.len() == 1 && pos + 1 == self.next_in() => None,
                Some(first) => Some(*first),
                None => self.early.get(&pos).copied(),
            };
            assert!(first.is_none_or(|f| f == *byte), "{}: other bytes at {pos}", self.name);
        }
    }

    fn acknowledged(&mut self, now: u64, seg: &Seg) {
        let away = seg.ack.wrapping_sub(self.manner.isn.wrapping_add(self.nxt as u32)) as i32;
        assert!(away <= 0, "{}: an acknowledgement of what it has not sent", self.name);
        let ack = self.nxt - u64::from(away.unsigned_abs());
        for (l, r) in seg.sack() {
            let off =
                |e: u32| i64::from(e.wrapping_sub(self.manner.isn.wrapping_add(self.nxt as u32)) as i32);
            assert!(off(l) < off(r) && off(r) <= 0, "{}: a range that was not sent", self.name);
            let (l, r) = (self.nxt.saturating_add_signed(off(l)), self.nxt.saturating_add_signed(off(r)));
            if r > ack {
                self.sacked.push((l.max(ack), r));
            }
        }
        let scale = if self.scales() { self.peer.scale.unwrap() } else { 0 };
        let right = ack + (u64::from(seg.window) << scale);
        if ack >= self.una {
            // The field is rounded down.
            let kept = right + (1 << scale) > self.right;
            assert!(
                !self.in_order || kept,
                "{}: its window's edge went from {} to {right}",
                self.name,
                self.right
            );
            self.right = self.right.max(right);
        }
        if ack > self.una {
            self.una = ack;
            self.repeats = 0;
            self.tries = 0;
            self.rto = (self.una < self.nxt).then_some(now + 300);
            self.sacked.retain(|s| s.1 > ack);
        } else if ack == self.una && self.una < self.nxt && seg.payload.is_empty() {
            self.repeats += 1;
        }
    }

    /// What it sends of its own accord.
    pub(crate) fn poll(&mut self, now: u64) -> Vec<Seg> {
        let mut out = Vec::new();
        if self.reset {
            return out;
        }
        if self.manner.read_every > 0 && now >= self.next_read {
            self.next_read = now + self.manner.read_every;
            let was_full = self.got.len() as u64 - self.read + 1 > self.manner.room as u64 / 2;
            self.read = self.got.len() as u64;
            if was_full {
                out.push(self.segment(now, self.nxt, 0, Vec::new()));
            }
        }
        if self.told_ack < self.next_in() && self.manner.partial {
            out.push(self.segment(now, self.nxt, 0, Vec::new()));
        }
        if std::mem::take(&mut self.again) {
            let mut from = self.una;
            while from < self.nxt {
                let to = (from + self.size()).min(self.nxt);
                out.push(self.data(now, from, to));
                from = to;
            }
            self.rto = Some(now + 300);
        }
        let due = self.rto.is_some_and(|at| at <= now);
        if self.una < self.nxt && (due || self.repeats == 3) {
            if due {
                self.tries += 1;
                self.sacked.clear();
                assert!(self.tries < 60, "{}: gave up at {} of {}", self.name, self.una, self.end());
            }
            self.repeats = 4;
            self.rto = Some(now + 300 * u64::from(self.tries.clamp(1, 4)));
            let mut from = self.una;
            while let Some(s) = self.sacked.iter().find(|s| s.0 <= from && from < s.1) {
                from = s.1;
            }
            if from >= self.nxt {
                from = self.una;
            }
            let to = (from + self.size()).min(self.nxt);
            out.push(self.data(now, from, to));
        }
        loop {
            let closed = u64::from(self.closes);
            let room = self.right.saturating_sub(self.nxt);
            let size = self.size().min(self.end().saturating_sub(self.nxt)).min(room);
            let fin = self.closes && self.nxt + size == self.end();
            if self.nxt == self.end() + closed || (size == 0 && !fin) {
                break;
            }
            let small = (size as usize) < self.manner.piece && !self.manner.ragged;
            if self.manner.nagle && small && self.una < self.nxt && !fin {
                break;
            }
            let to = self.nxt + size + u64::from(fin);
            out.push(self.data(now, self.nxt, to));
            self.nxt = to;
            if self.rto.is_none() {
                self.rto = Some(now + 300);
            }
        }
        // A window of nothing is asked about, with a byte beyond it.
        if self.una == self.nxt && self.nxt < self.end() && self.right <= self.nxt {
            match self.rto {
                Some(at) if at <= now => {
                    out.push(self.data(now, self.nxt, self.nxt + 1));
                    self.nxt += 1;
                    self.rto = Some(now + 500);
                }
                Some(_) => {}
                None => self.rto = Some(now + 500),
            }
        }
        out
    }

    /// When it wants to be polled.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let read = (self.manner.read_every > 0 && !self.is_done()).then_some(self.next_read);
        self.rto.into_iter().chain(read).chain(self.again.then_some(0)).min()
    }

    fn size(&mut self) -> u64 {
        let most = self.manner.piece.min(self.peer.mss - if self.stamps() { 12 } else { 0 }) as u64;
        if self.manner.ragged { 1 + self.rng.below(most) } else { most }
    }

    fn data(&mut self, now: u64, from: u64, to: u64) -> Seg {
        let fin = to > self.end();
        let bytes = self.stream[(from - 1) as usize..(to.min(self.end()) - 1) as usize].to_vec();
        // Ranges would not fit beside the payload everywhere: data goes without.
        let early = std::mem::take(&mut self.early);
        let seg = self.segment(now, from, PSH | if fin { FIN } else { 0 }, bytes);
        self.early = early;
        seg
    }
}

/// Frames on their way, each at its time.
#[derive(Default)]
pub(crate) struct Queue {
    frames: VecDeque<(u64, bool, bool, Seg)>,
}

impl Queue {
    /// `arrived`: it has passed the ALG. `to_server`: which way.
    pub(crate) fn push(&mut self, at: u64, arrived: bool, to_server: bool, seg: Seg) {
        let place = self.frames.partition_point(|f| f.0 <= at);
        self.frames.insert(place, (at, arrived, to_server, seg));
    }

    pub(crate) fn next_at(&self) -> Option<u64> {
        self.frames.front().map(|f| f.0)
    }

    pub(crate) fn pop(&mut self, now: u64) -> Option<(bool, bool, Seg)> {
        if self.next_at()? > now {
            return None;
        }
        self.frames.pop_front().map(|(_, arrived, to_server, seg)| (arrived, to_server, seg))
    }
}
