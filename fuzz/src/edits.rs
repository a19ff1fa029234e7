//! The core that edits lines in flight, alone: any segments, any acknowledgements, an editor that decides by what it is
//! shown. Nothing panics, what is held is bounded, and no byte that may be on its way becomes another one.

use super::input::Input;
use std::collections::BTreeMap;
use tidegate::alg::{Alg, Direction, Editor, End, Incoming, Limits, Line, OptionList, Output, Raw, Verdict};
use tidegate::time::{Duration, Instant};
use tidegate::wire::tcp::{ACK, FIN, RST, SYN, URG};

const LIMITS: Limits = Limits {
    line: 48,
    line_time: Duration::from_secs(3),
    late_bytes: 256,
    late_segments: 4,
    kept: 1024,
    edits: 6,
    answers: 64,
};
/// What a connection may hold: twice the limits, and what vectors take on top.
const MEMORY: usize = 16 << 10;
/// No window is larger (RFC 7323 2.3). What came behind a gap leaves its place there, without its bytes.
const WINDOW: u32 = 1 << 30;
/// Segments of one input.
const MOST: usize = 400;

/// Decides by a line's first byte. `r` makes the rest of its direction raw, up to a 4; `b` both.
#[derive(Default)]
struct ByFirst {
    raw: [bool; 2],
    held: u32,
}

impl Editor for ByFirst {
    fn wants(&self, _: Direction, start: &[u8]) -> bool {
        start.first().is_some_and(|b| b & 1 == 0)
    }

    fn line(&mut self, _: Instant, dir: Direction, line: Line<'_>) -> Verdict {
        assert!(!line.bytes.is_empty() && line.bytes.len() <= LIMITS.kept);
        assert_eq!(line.end == End::Whole, line.bytes.ends_with(b"\n") && line.bytes.len() <= LIMITS.line);
        let side = usize::from(dir == Direction::ToClient);
        match line.bytes[0] {
            b'r' => self.raw[side] = true,
            b'b' => self.raw = [true, true],
            b'R' if line.end != End::Overlong && line.end != End::Late => {
                return Verdict::Replace(line.bytes.iter().rev().copied().cycle().take(3).collect());
            }
            b'L' if line.end == End::Whole => return Verdict::Replace([line.bytes, line.bytes].concat()),
            b'D' if line.end == End::Whole => return Verdict::Replace(Vec::new()),
            b'S' if line.end == End::Whole => return Verdict::Swallow(b"no\n".to_vec()),
            b'H' if self.held < 3 => {
                self.held += 1;
                return Verdict::Hold;
            }
            b'X' => return Verdict::Reset,
            b'x' => return Verdict::Swallow(b"unfit\n".to_vec()),
            _ => {}
        }
        self.held = 0;
        Verdict::Keep
    }

    fn passed(&mut self, _: Instant, _: Direction, line: Line<'_>) {
        assert!(line.bytes.len() <= LIMITS.line);
    }

    fn is_raw(&self, dir: Direction) -> bool {
        self.raw[usize::from(dir == Direction::ToClient)]
    }

    fn raw(&mut self, _: Instant, dir: Direction, bytes: &[u8]) -> Raw {
        assert!(!bytes.is_empty());
        match bytes.iter().position(|b| matches!(*b, 4 | 5)) {
            None => Raw::All,
            Some(at) if bytes[at] == 5 => Raw::Reset,
            Some(at) => {
                self.raw[usize::from(dir == Direction::ToClient)] = false;
                // More than there are is as many as there are.
                Raw::LinesAfter(if at == 7 { 1000 } else { at + 1 })
            }
        }
    }
}

/// One direction, as a network behind the core sees it.
#[derive(Default)]
struct Seen {
    isn: u32,
    /// Behind the last byte that the sender sent in order, as it counts.
    sent: u32,
    bytes: BTreeMap<u32, u8>,
    /// The furthest acknowledgement that the receiver gave, as it counts: what is before it, nobody looks at.
    acked: u32,
    high: u32,
}

struct Run {
    alg: Alg,
    editor: ByFirst,
    now: Instant,
    seen: [Seen; 2],
}

pub fn body(data: &[u8]) {
    let mut input = Input::new(data);
    let (client, server) = (near_wrap(&mut input), near_wrap(&mut input));
    let options = input.u8();
    let mut run = Run {
        alg: Alg::new(LIMITS),
        editor: ByFirst::default(),
        now: Instant::from_millis(1000),
        seen: [client, server].map(|isn| Seen { isn, sent: 1, acked: 1, high: 1, ..Seen::default() }),
    };
    let mut syn = vec![2, 4, 0, 88, 1, 3, 3, options & 15];
    if options & 16 != 0 {
        syn.extend([1, 1, 4, 2]);
    }
    let window = if options & 32 != 0 { 40 } else { 2000 };
    let head = |seq, ack, flags| Incoming { seq, ack, flags, window, ..Incoming::default() };
    let first = Incoming { options: OptionList::new(&syn), ..head(client, 0, SYN) };
    run.put(Direction::ToServer, &first);
    let answer =
        Incoming { options: OptionList::new(&syn), ..head(server, client.wrapping_add(1), SYN | ACK) };
    run.put(Direction::ToClient, &answer);
    for _ in 0..MOST {
        if input.is_empty() {
            break;
        }
        run.step(&mut input, window);
    }
}

fn near_wrap(input: &mut Input<'_>) -> u32 {
    let n = u32::from(input.u8());
    if n & 1 == 0 { n * 1000 } else { u32::MAX - n }
}

impl Run {
    fn step(&mut self, input: &mut Input<'_>, window: u16) {
        let op = input.u8();
        let dir = if op & 1 == 0 { Direction::ToServer } else { Direction::ToClient };
        let (side, other) = (usize::from(op & 1), usize::from(op & 1 == 0));
        let (isn, next) = (self.seen[side].isn, self.seen[side].sent);
        let (peer, high, acked) = (self.seen[other].isn, self.seen[other].high, self.seen[other].acked);
        let ack_of = |n: u8| match n {
            // All that it was sent, a part, or nonsense.
            0..128 => high,
            128..250 => acked.max(high.saturating_sub(u32::from(n - 128))),
            _ => high.wrapping_add(u32::from(n)),
        };
        match op >> 1 & 7 {
            0..=3 => {
                // In order, again, or early.
                let off = if op & 0x40 == 0 { 0 } else { i32::from(input.u8() as i8) };
                let ack = ack_of(if op & 0x80 == 0 { 0 } else { input.u8() });
                let len = usize::from(input.u8() & 63);
                let payload = input.bytes(len);
                let flags = ACK | if op & 0x30 == 0x30 { input.u8() & (FIN | URG) } else { 0 };
                let at = next.saturating_add_signed(off).max(1);
                let seg = Incoming {
                    seq: isn.wrapping_add(at),
                    ack: peer.wrapping_add(ack),
                    flags,
                    window,
                    urgent: u16::from(flags & URG),
                    payload,
                    ..Incoming::default()
                };
                if at <= next {
                    self.seen[side].sent = next.max(at + payload.len() as u32);
                }
                self.put(dir, &seg);
            }
            4 => {
                let (ack, window) = (ack_of(input.u8()), u16::from(input.u8()));
                let (seq, ack) = (isn.wrapping_add(next), peer.wrapping_add(ack));
                self.put(dir, &Incoming { seq, ack, flags: ACK, window, ..Incoming::default() });
            }
            5 => {
                self.now += Duration::from_millis(u64::from(input.u8()) * 20);
                if self.alg.next_deadline().is_some_and(|at| at <= self.now) {
                    let mut out = Output::default();
                    self.alg.timeout(self.now, &mut self.editor, &mut out);
                    assert!(self.alg.next_deadline().is_none_or(|at| at > self.now), "a deadline that stays");
                    self.look(&out);
                }
            }
            6 => {
                let seg = Incoming {
                    seq: input.u32(),
                    ack: input.u32(),
                    flags: input.u8(),
                    window: input.u16(),
                    urgent: input.u16(),
                    options: OptionList::new(input.bytes(12)),
                    payload: input.bytes(9),
                };
                // A reset that is believed ends it; what a forger acknowledged is what the core must take as such.
                self.forge(dir, &seg);
            }
            _ => {
                let (seq, ack) = (input.u32(), input.u32());
                let _ = self.alg.icmp_quote(dir, seq, Some(ack));
                let _ = self.alg.icmp_quote(dir, isn.wrapping_add(next), None);
                self.alg.path_limit(dir, usize::from(input.u16()));
            }
        }
    }

    /// A segment with any numbers: afterwards it is not known what the ends have.
    fn forge(&mut self, dir: Direction, seg: &Incoming<'_>) {
        let side = usize::from(dir == Direction::ToClient);
        let ack = seg.ack.wrapping_sub(self.seen[1 - side].isn);
        if ack <= self.seen[1 - side].high && seg.flags & (RST | SYN) == 0 {
            self.seen[1 - side].acked = self.seen[1 - side].acked.max(ack);
        }
        let mut out = Output::default();
        self.alg.segment(self.now, dir, seg, &mut self.editor, &mut out);
        if seg.flags & (RST | SYN) == 0 {
            self.look(&out);
        }
    }

    fn put(&mut self, dir: Direction, seg: &Incoming<'_>) {
        let side = usize::from(dir == Direction::ToClient);
        let mut out = Output::default();
        self.alg.segment(self.now, dir, seg, &mut self.editor, &mut out);
        let ack = seg.ack.wrapping_sub(self.seen[1 - side].isn);
        if seg.flags & (ACK | RST) == ACK && ack <= self.seen[1 - side].high {
            self.seen[1 - side].acked = self.seen[1 - side].acked.max(ack);
        }
        self.look(&out);
    }

    fn look(&mut self, out: &Output) {
        assert!(self.alg.memory() <= MEMORY, "{} bytes are held", self.alg.memory());
        assert!(out.segments.len() < 200 && out.notes.len() < 200);
        if self.alg.is_opaque() {
            return;
        }
        for sent in out.segments.iter().filter(|s| s.flags & (SYN | RST) == 0) {
            let seen = &mut self.seen[usize::from(sent.dir == Direction::ToClient)];
            let at = sent.seq.wrapping_sub(seen.isn);
            let end = at.wrapping_add(sent.payload.len() as u32);
            // A keep-alive carries nothing that counts.
            if sent.payload.len() > 1 || end > seen.high {
                for (pos, byte) in (at..).zip(&sent.payload) {
                    if pos < seen.acked {
                        continue;
                    }
                    let first = *seen.bytes.entry(pos).or_insert(*byte);
                    assert_eq!(first, *byte, "another byte at {pos} {:?}", sent.dir);
                }
            }
            assert!(end <= seen.high.saturating_add(WINDOW), "{at} is far behind {}", seen.high);
            seen.high = seen.high.max(end + u32::from(sent.flags & FIN != 0));
        }
    }
}
