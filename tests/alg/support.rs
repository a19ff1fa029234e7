//! What all these tests use: segments, numbers from a seed, editors, a connection with two hosts around the core.

use crate::host::{Host, Manner, Queue};
use std::collections::BTreeMap;
use tidegate::alg::{
    Alg, Direction, Editor, End, Incoming, Limits, Line, Note, OptionList, Outgoing, Output, Raw, Verdict,
};
use tidegate::time::{Duration, Instant};
pub(crate) use tidegate::wire::tcp::{ACK, FIN, PSH, RST, SYN, URG};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seg {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Seg {
    pub(crate) fn incoming(&self) -> Incoming<'_> {
        Incoming {
            seq: self.seq,
            ack: self.ack,
            flags: self.flags,
            window: self.window,
            urgent: self.urgent,
            options: OptionList::new(&self.options),
            payload: &self.payload,
        }
    }

    pub(crate) fn of(o: &Outgoing) -> Self {
        Self {
            seq: o.seq,
            ack: o.ack,
            flags: o.flags,
            window: o.window,
            urgent: o.urgent,
            options: o.options.as_slice().to_vec(),
            payload: o.payload.clone(),
        }
    }

    fn option(&self, wanted: u8) -> Option<&[u8]> {
        let mut rest = &self.options[..];
        while let [kind, tail @ ..] = rest {
            match kind {
                0 => break,
                1 => rest = tail,
                _ => {
                    let len = usize::from(*tail.first()?);
                    if *kind == wanted {
                        return rest.get(2..len);
                    }
                    rest = rest.get(len..)?;
                }
            }
        }
        None
    }

    pub(crate) fn timestamps(&self) -> Option<(u32, u32)> {
        let b = self.option(8)?;
        Some((u32::from_be_bytes(b[..4].try_into().unwrap()), u32::from_be_bytes(b[4..].try_into().unwrap())))
    }

    pub(crate) fn sack(&self) -> Vec<(u32, u32)> {
        let word = |b: &[u8]| u32::from_be_bytes(b.try_into().unwrap());
        self.option(5)
            .map(|b| b.chunks(8).map(|c| (word(&c[..4]), word(&c[4..]))).collect())
            .unwrap_or_default()
    }
}

/// A SACK option of these ranges, counted from `base`.
pub(crate) fn sack(base: u32, blocks: &[(u32, u32)]) -> Vec<u8> {
    let mut o = vec![1, 1, 5, 2 + 8 * blocks.len() as u8];
    for (l, r) in blocks {
        o.extend(base.wrapping_add(*l).to_be_bytes());
        o.extend(base.wrapping_add(*r).to_be_bytes());
    }
    o
}

/// Numbers from a seed (xorshift64*).
#[derive(Debug, Clone)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.next() % n }
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Decides by a table of lines; what begins like none of them, or like a word of `words`, is kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) rules: BTreeMap<Vec<u8>, Rule>,
    /// Lines asked about and their ends, in order; passed ones too.
    pub(crate) seen: Vec<(Direction, Vec<u8>, End)>,
    pub(crate) passed: Vec<Vec<u8>>,
    /// Whether the bytes to the server, and those to the client, are raw now.
    pub(crate) raw: [bool; 2],
    /// Raw bytes, as they were shown.
    pub(crate) shown: [Vec<u8>; 2],
    asked: BTreeMap<(bool, u64), (u32, Instant)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rule {
    Replace(Vec<u8>),
    Swallow(Vec<u8>),
    /// Is held until it was asked so often, or for 20 s; then kept.
    Hold(u32),
    /// Is held for ever.
    Never,
    Reset,
    /// Is kept, and what follows it, in these directions (to the server, to the client), is raw, up to and with the
    /// next [`RAW_END`].
    Raw([bool; 2]),
}

pub(crate) const WORDS: [&[u8]; 7] = [b"PORT", b"EPRT", b"227", b"229", b"HOLD", b"RAW", b"\xff\xf4"];
/// Ends what is raw.
pub(crate) const RAW_END: u8 = 4;

/// How many of these are raw.
pub(crate) fn raw_of(bytes: &[u8]) -> Raw {
    bytes.iter().position(|b| *b == RAW_END).map_or(Raw::All, |end| Raw::LinesAfter(end + 1))
}

impl Table {
    pub(crate) fn new(rules: &[(&str, Rule)]) -> Self {
        let rules = rules.iter().map(|(l, r)| (l.as_bytes().to_vec(), r.clone())).collect();
        Self { rules, ..Self::default() }
    }

    pub(crate) fn replace(rules: &[(&str, &str)]) -> Self {
        let rules: Vec<_> = rules.iter().map(|(l, r)| (*l, Rule::Replace(r.as_bytes().to_vec()))).collect();
        Self::new(&rules)
    }

    /// What a receiver is to get of `stream`, and what its sender is to be answered.
    pub(crate) fn expected(&self, stream: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (mut out, mut back) = (Vec::new(), Vec::new());
        let mut raw = false;
        for line in stream.split_inclusive(|b| matches!(*b, b'\n' | RAW_END)) {
            if raw {
                raw = !line.ends_with(&[RAW_END]);
                out.extend_from_slice(line);
                continue;
            }
            match self.rules.get(line) {
                Some(Rule::Raw(_)) => {
                    raw = true;
                    out.extend_from_slice(line);
                }
                Some(Rule::Replace(new)) => out.extend_from_slice(new),
                Some(Rule::Swallow(answer)) => back.extend_from_slice(answer),
                _ => out.extend_from_slice(line),
            }
        }
        (out, back)
    }
}

impl Editor for Table {
    fn wants(&self, _dir: Direction, start: &[u8]) -> bool {
        WORDS.iter().any(|w| start.starts_with(w) || w.starts_with(start))
    }

    fn line(&mut self, now: Instant, dir: Direction, line: Line<'_>) -> Verdict {
        let rule = self.rules.get(line.bytes).cloned();
        let first = self.asked.entry((dir == Direction::ToServer, line.at)).or_insert((0, now));
        first.0 += 1;
        if let Some(Rule::Hold(times)) = rule
            && first.0 < times
            && now.since(first.1).as_secs() < 20
            && line.end == End::Whole
        {
            return Verdict::Hold;
        }
        self.seen.push((dir, line.bytes.to_vec(), line.end));
        match rule {
            Some(Rule::Replace(new)) => Verdict::Replace(new),
            Some(Rule::Swallow(answer)) => Verdict::Swallow(answer),
            Some(Rule::Never) => Verdict::Hold,
            Some(Rule::Reset) => Verdict::Reset,
            Some(Rule::Raw(which)) => {
                for (raw, on) in self.raw.iter_mut().zip(which) {
                    *raw |= on;
                }
                Verdict::Keep
            }
            Some(Rule::Hold(_)) | None => Verdict::Keep,
        }
    }

    fn passed(&mut self, _now: Instant, _dir: Direction, line: Line<'_>) {
        self.passed.push(line.bytes.to_vec());
    }

    fn is_raw(&self, dir: Direction) -> bool {
        self.raw[usize::from(dir == Direction::ToClient)]
    }

    fn raw(&mut self, _now: Instant, dir: Direction, bytes: &[u8]) -> Raw {
        let side = usize::from(dir == Direction::ToClient);
        assert!(self.raw[side] && !bytes.is_empty());
        let raw = raw_of(bytes);
        self.raw[side] = raw == Raw::All;
        let end = if let Raw::LinesAfter(end) = raw { end } else { bytes.len() };
        self.shown[side].extend_from_slice(&bytes[..end]);
        raw
    }
}

/// What the network does, each in percent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) loss: u64,
    pub(crate) duplicate: u64,
    pub(crate) reorder: u64,
    /// Swaps every two neighbours of a direction on their way to the ALG.
    pub(crate) swap: bool,
    /// After so many milliseconds the network loses nothing more, so that the test ends.
    pub(crate) until: u64,
}

/// Two hosts around the core.
pub(crate) struct World {
    pub(crate) alg: Alg,
    pub(crate) editor: Table,
    pub(crate) client: Host,
    pub(crate) server: Host,
    pub(crate) notes: Vec<Note>,
    /// Segments that came to the core.
    pub(crate) came: u64,
    /// Segments that left the core, and those of them that were what came.
    pub(crate) left: u64,
    pub(crate) verbatim: u64,
    pub(crate) now: u64,
    faults: Faults,
    rng: Rng,
    queue: Queue,
    swapped: [Option<Seg>; 2],
    tells: bool,
}

impl World {
    pub(crate) fn new(
        (client, server): (Manner, Manner),
        (up, down): (&[u8], &[u8]),
        editor: Table,
        faults: Faults,
        seed: u64,
    ) -> Self {
        let mut world = Self {
            // Hosts that send a byte at a time over a bad line take longer than people.
            alg: Alg::new(Limits { line_time: Duration::from_secs(200), ..Limits::default() }),
            editor,
            client: Host::new("client", client.clone(), server.clone(), up.to_vec(), seed ^ 1),
            server: Host::new("server", server, client, down.to_vec(), seed ^ 2),
            notes: Vec::new(),
            came: 0,
            left: 0,
            verbatim: 0,
            now: 0,
            faults,
            rng: Rng(seed),
            queue: Queue::default(),
            swapped: [None, None],
            tells: std::env::var_os("TG_ALG_TRACE").is_some(),
        };
        // What is doubled comes again later.
        let in_order = faults.reorder == 0 && faults.duplicate == 0 && !faults.swap;
        (world.client.in_order, world.server.in_order) = (in_order, in_order);
        let syn = world.client.syn();
        let mut answer = world.server.syn();
        answer.ack = syn.seq.wrapping_add(1);
        answer.flags |= ACK;
        let mut third =
            Seg { seq: answer.ack, ack: answer.seq.wrapping_add(1), flags: ACK, ..Seg::default() };
        third.window = syn.window;
        for (dir, seg) in [(Direction::ToServer, syn), (Direction::ToClient, answer)] {
            let mut out = Output::default();
            world.alg.segment(Instant::ZERO, dir, &seg.incoming(), &mut world.editor, &mut out);
            assert_eq!(out.segments.iter().map(Seg::of).collect::<Vec<_>>(), [seg]);
            assert!(out.notes.is_empty() && out.segments[0].verbatim);
        }
        world
    }

    fn send(&mut self, to_server: bool, seg: Seg) {
        let side = usize::from(to_server);
        if !self.faults.swap {
            return self.put(false, to_server, seg);
        }
        match self.swapped[side].take() {
            None => self.swapped[side] = Some(seg),
            Some(first) => {
                self.put(false, to_server, seg);
                self.put(false, to_server, first);
            }
        }
    }

    fn flush(&mut self) {
        for side in [0, 1] {
            if let Some(seg) = self.swapped[side].take() {
                self.put(false, side == 1, seg);
            }
        }
    }

    fn put(&mut self, arrived: bool, to_server: bool, seg: Seg) {
        let bad = self.now < self.faults.until;
        if bad && self.rng.chance(self.faults.loss) {
            return;
        }
        if bad && self.rng.chance(self.faults.duplicate) {
            let late = self.rng.below(40);
            self.queue.push(self.now + 5 + late, arrived, to_server, seg.clone());
        }
        let late = if bad && self.rng.chance(self.faults.reorder) { self.rng.below(60) } else { 0 };
        self.queue.push(self.now + 5 + late, arrived, to_server, seg);
    }

    fn out(&mut self, out: Output) {
        self.left += out.segments.len() as u64;
        self.verbatim += out.segments.iter().filter(|o| o.verbatim).count() as u64;
        if !out.notes.is_empty() {
            self.say(|| format!("{:?}", out.notes));
        }
        self.notes.extend(&out.notes);
        for o in &out.segments {
            self.put(true, o.dir == Direction::ToServer, Seg::of(o));
        }
    }

    fn core(&mut self, to_server: bool, seg: &Seg) {
        let dir = if to_server { Direction::ToServer } else { Direction::ToClient };
        let mut out = Output::default();
        let now = Instant::from_millis(self.now);
        self.came += 1;
        self.trace("core", to_server, seg);
        self.alg.segment(now, dir, &seg.incoming(), &mut self.editor, &mut out);
        if !out.segments.iter().all(|o| o.verbatim) {
            self.say(|| format!("{seg:?} left as {:?}", out.segments));
        }
        self.out(out);
    }

    pub(crate) fn done(&self) -> bool {
        let reset = self.client.reset && self.server.reset;
        reset || (self.client.is_done() && self.server.is_done())
    }

    /// Runs until both hosts have everything. Panics if that takes an hour.
    pub(crate) fn run(&mut self) {
        self.run_until(Self::done);
    }

    pub(crate) fn run_until(&mut self, until: impl Fn(&Self) -> bool) {
        while !until(self) {
            for (to_server, segs) in [(true, self.client.poll(self.now)), (false, self.server.poll(self.now))]
            {
                for seg in segs {
                    self.send(to_server, seg);
                }
            }
            self.flush();
            while let Some((arrived, to_server, seg)) = self.queue.pop(self.now) {
                if !arrived {
                    self.core(to_server, &seg);
                    continue;
                }
                self.trace("     host", to_server, &seg);
                let host = if to_server { &mut self.server } else { &mut self.client };
                if host.reset {
                    continue;
                }
                if let Some(answer) = host.take(self.now, &seg) {
                    self.send(!to_server, answer);
                }
            }
            self.flush();
            let now = Instant::from_millis(self.now);
            if self.alg.next_deadline().is_some_and(|at| at <= now) {
                let mut out = Output::default();
                self.alg.timeout(now, &mut self.editor, &mut out);
                self.out(out);
                assert!(self.alg.next_deadline().is_none_or(|at| at > now), "a deadline that stays");
            }
            let alg = self.alg.next_deadline().map(Instant::as_millis);
            let times = [self.queue.next_at(), alg, self.client.deadline(), self.server.deadline()];
            let next = times.into_iter().flatten().min().unwrap_or(self.now + 10);
            // Hosts that acknowledge in part think again every 10 ms.
            self.now = next.clamp(self.now + 1, self.now + 10);
            assert!(self.now < 3_000_000, "no end: {:?}", self.state());
        }
    }

    /// What comes where.
    fn trace(&self, whom: &str, to_server: bool, seg: &Seg) {
        self.say(|| {
            let (from, to) =
                if to_server { (&self.client, &self.server) } else { (&self.server, &self.client) };
            let at = seg.seq.wrapping_sub(from.manner.isn) as i32;
            let ack = seg.ack.wrapping_sub(to.manner.isn) as i32;
            let text = String::from_utf8_lossy(&seg.payload);
            let (name, fin) = (to.name, seg.flags & FIN != 0);
            format!("{whom} → {name} {at} ack {ack} win {} fin {fin} {text:?}", seg.window)
        });
    }

    /// Told with `TG_ALG_TRACE` set only.
    #[allow(clippy::print_stderr, reason = "asked for")]
    fn say(&self, text: impl Fn() -> String) {
        if self.tells {
            eprintln!("{:6} {}", self.now, text());
        }
    }

    fn state(&self) -> String {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        format!(
            "client got {:?}, server got {:?}, notes {:?}, alg {:#?}",
            text(&self.client.got),
            text(&self.server.got),
            self.notes,
            self.alg
        )
    }
}
