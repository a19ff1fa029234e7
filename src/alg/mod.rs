//! Lines of a control connection read and edited in flight, while TCP stays between the end hosts.
//!
//! ```text
//!              segment ─┬─ acknowledgement ─▶ the other direction: log, window, options ─┐ mapped
//!                       └─ payload ─▶ half ─▶ parse ◀──▶ editor                          │
//!                                      │        └─▶ log: what became of which bytes      │
//!                                      └─ early, held, kept ─▶ emit ─────────────────────┴─▶ segments
//! ```
//! The two directions are independent but for two things: an acknowledgement travels with the other direction's
//! bytes, and an answer of the editor's is put into them.
//!
//! A line that may have to change and is not whole yet stays here, and its sender is told that it arrived; from
//! then on it is ours to bring it to the receiver. All else stays between the ends: their acknowledgements, their
//! retransmissions, their windows. See `docs/decisions.md` for why.
//!
//! Time is an argument. Every queue has a limit in [`Limits`]; what is beyond is dropped as if the network had lost
//! it, which TCP mends, and a [`Note`] tells of it.

mod acked;
mod editor;
mod emit;
mod half;
mod log;
mod offset;
mod opening;
mod options;
mod parse;
mod rto;
pub mod rules;
mod segment;
mod syn;
mod urgent;
mod window;

pub use editor::{Editor, End, Line, Raw, Verdict};
pub use options::{OptionList, Stripped};
pub use segment::{CWR, Direction, Incoming, Note, Outgoing, Output, What};

use crate::time::{Duration, Instant};
use crate::wire::tcp::{ACK, FIN, PSH, RST, SYN, URG};
use emit::{Head, Went};
use half::{Half, Late, Tail, Taken};
use offset::{unwrap, wire};
use syn::Syn;

/// A path, or an end, that claims to carry less is not believed (RFC 791 has 68 bytes, 40 of them headers).
const LEAST_MSS: usize = 28;

/// Bounds of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a line, its end included.
    pub line: usize,
    /// How long a line may stay.
    pub line_time: Duration,
    /// Bytes that came before their turn.
    pub late_bytes: usize,
    /// Segments that did.
    pub late_segments: usize,
    /// Bytes that are held, or decided and not acknowledged, as they came and as they went out.
    pub kept: usize,
    /// Edits that are not acknowledged.
    pub edits: usize,
    /// Bytes of answers of ours that wait for the end of a line.
    pub answers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line: 4096,
            line_time: Duration::from_secs(30),
            late_bytes: 64 << 10,
            late_segments: 16,
            kept: 256 << 10,
            edits: 256,
            answers: 16 << 10,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// No SYN yet.
    #[default]
    New,
    /// The client's SYN came.
    Asked,
    /// Both did.
    Open,
    /// Nothing is read or changed.
    Opaque,
    /// We have reset both ends.
    Dead,
}

/// One control connection.
#[derive(Debug, Clone, Default)]
pub struct Alg {
    limits: Limits,
    state: State,
    /// What the client's SYN said.
    asked: Syn,
    /// Both ends take selective acknowledgements.
    sack: bool,
    /// The client has acknowledged the server's SYN.
    taken: bool,
    to_server: Half,
    to_client: Half,
}

impl Alg {
    /// A connection whose first SYN is still to come.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Takes a segment, and gives what is to be sent. What `editor` decides is done.
    pub fn segment(
        &mut self,
        now: Instant,
        dir: Direction,
        seg: &Incoming<'_>,
        editor: &mut dyn Editor,
        out: &mut Output,
    ) {
        let first = out.segments.len();
        match self.state {
            State::Dead => self.refuse(dir, seg, out),
            State::Opaque => pass(dir, seg, out),
            State::New | State::Asked => self.opening(now, dir, seg, out),
            State::Open if seg.flags & SYN != 0 => self.opening_again(now, dir, seg, out),
            State::Open if seg.flags & RST != 0 => self.reset_came(dir, seg, out),
            State::Open => self.open(now, dir, seg, editor, out),
        }
        let same = |o: &&mut Outgoing| o.dir == dir && o.is(seg);
        if let Some(same) = out.segments.iter_mut().skip(first).find(same) {
            same.verbatim = true;
        }
    }

    /// When [`timeout`](Self::timeout) is to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let half = |h: &Half| {
            // With the log full nothing is decided, however late it is: an acknowledgement will lead to it.
            let line = match h.state {
                Tail::Held(until) if h.log.len() < self.limits.edits => Some(until),
                _ => None,
            };
            line.into_iter().chain(h.rto.deadline()).min()
        };
        half(&self.to_server).into_iter().chain(half(&self.to_client)).min()
    }

    /// Does what is due: lines that came to no end, and bytes of ours that did not arrive.
    pub fn timeout(&mut self, now: Instant, editor: &mut dyn Editor, out: &mut Output) {
        if self.state != State::Open {
            return;
        }
        if let Some(said) = editor.due(now) {
            let limits = self.limits;
            self.to_client.answer(Direction::ToClient, said, &limits, out);
        }
        if !self.settle(now, editor, out) {
            return;
        }
        for dir in Direction::BOTH {
            let head = self.head(dir, ACK | PSH | URG);
            match self.half(dir).rto.due(now) {
                Ok(true) => self.half(dir).again(now, dir, head, out),
                Ok(false) => {}
                Err(()) => {
                    let at = self.half(dir).decided.saturating_sub(1);
                    out.notes.push(Note { dir, at, what: What::GaveUp });
                    return self.reset(out);
                }
            }
        }
        self.finish(now, editor, out);
    }

    /// Sequence and acknowledgement number that an ICMP error quotes of a segment that left toward `dir`, as that
    /// segment's sender knows them. `None` if it cannot have left: the error is forged (RFC 5927 4.1).
    #[must_use]
    pub fn icmp_quote(&self, dir: Direction, seq: u32, ack: Option<u32>) -> Option<(u32, Option<u32>)> {
        if self.state != State::Open {
            return Some((seq, ack));
        }
        let (half, back) = (self.half_ref(dir), self.half_ref(dir.back()));
        let at = unwrap(half.isn, seq, half.nxt).filter(|at| *at <= half.nxt)?;
        let seq = wire(half.isn, half.log.rev(at, log::Round::Floor));
        // What the quoted segment acknowledged is the other direction's, whose sender stands where this one goes.
        let ack = ack.map(|ack| match unwrap(back.isn, ack, back.acked) {
            Some(at) => wire(back.isn, back.log.fwd(at, log::Round::Floor).min(back.nxt)),
            None => ack,
        });
        Some((seq, ack))
    }

    /// Notes what a path toward `dir` carries in one segment, options and payload together, in bytes. A quoted
    /// segment's numbers tell before, by [`icmp_quote`](Self::icmp_quote), whether that is to be believed.
    pub fn path_limit(&mut self, dir: Direction, bytes: usize) {
        let half = self.half(dir);
        half.mss = half.mss.min(bytes.max(LEAST_MSS));
    }

    /// Ends the connection at both ends, with resets that each believes.
    pub fn end(&mut self, out: &mut Output) {
        if self.state == State::Open {
            self.reset(out);
        }
        self.die();
    }

    /// Whether both ends have closed, and know it of each other, or were reset by us.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Dead || (self.to_server.is_done() && self.to_client.is_done())
    }

    /// Whether nothing is read or changed in this connection.
    #[must_use]
    pub fn is_opaque(&self) -> bool {
        self.state == State::Opaque
    }

    /// Bytes of memory held beyond the value itself; none while both ends have everything.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.to_server.memory() + self.to_client.memory()
    }

    /// Edits of a direction that its receiver has not acknowledged.
    #[must_use]
    pub fn edits_in_flight(&self, dir: Direction) -> usize {
        self.half_ref(dir).log.len()
    }

    fn half(&mut self, dir: Direction) -> &mut Half {
        match dir {
            Direction::ToServer => &mut self.to_server,
            Direction::ToClient => &mut self.to_client,
        }
    }

    fn half_ref(&self, dir: Direction) -> &Half {
        match dir {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        }
    }

    /// A segment of a connection that stands.
    fn open(
        &mut self,
        now: Instant,
        dir: Direction,
        seg: &Incoming<'_>,
        editor: &mut dyn Editor,
        out: &mut Output,
    ) {
        let half = self.half_ref(dir);
        // A segment without acknowledgement is none (RFC 9293 3.10.7.4).
        let (true, Some(at)) = (seg.flags & ACK != 0, unwrap(half.isn, seg.seq, half.next_in())) else {
            return;
        };
        // Beyond the window nothing is believed, an acknowledgement neither (RFC 9293 3.10.7.4): its receiver would not.
        if half.is_beyond(at) {
            out.notes.push(Note { dir, at: at - 1, what: What::OutOfWindow });
            return self.acknowledge(dir, at, out);
        }
        let limits = self.limits;
        let back = self.half(dir.back());
        let Some(told) = back.heard(now, seg.ack, seg.window, &limits) else {
            let at = back.decided - 1;
            return out.notes.push(Note { dir: dir.back(), at, what: What::BadAck });
        };
        self.taken |= dir == Direction::ToServer;
        let back = self.half(dir.back());
        let mut head = Head { ack: told.ack, flags: seg.flags, window: told.window, options: seg.options };
        back.map_sack(seg.ack, &mut head.options);
        let half = self.half(dir);
        half.see(at, seg.options.timestamps());
        let idle = half.acked >= half.next_in() && at + 1 == half.next_in();
        if idle && seg.payload.len() <= 1 && seg.flags & (FIN | URG) == 0 {
            // A keep-alive: its byte, if there is one, is not of the stream, and must not become a part of it. Or
            // the last byte again, which says as much. It goes along where it stands in for itself.
            let stands = !half.log.is_edited(at) && half.log.fwd(at, log::Round::Floor) + 1 == half.una;
            let plain = half.una == half.nxt && half.tail.is_empty() && stands;
            let garbage = if plain { seg.payload } else { &[] };
            half.bare(dir, half.una - 1, head, garbage, out);
        } else if !self.payload(now, dir, at, seg, head, told.news, editor, out) {
            return;
        }
        self.finish(now, editor, out);
    }

    /// Takes in what a segment carries. False if the connection ended over it.
    #[allow(clippy::too_many_arguments, reason = "a segment, and what is known of it")]
    fn payload(
        &mut self,
        now: Instant,
        dir: Direction,
        at: u64,
        seg: &Incoming<'_>,
        head: Head,
        news: bool,
        editor: &mut dyn Editor,
        out: &mut Output,
    ) -> bool {
        let limits = self.limits;
        let half = self.half(dir);
        let (before, next_in) = (half.before(at), half.next_in());
        let end = at + seg.payload.len() as u64;
        let taken = half.take(now, dir, at, seg, &limits, out);
        if taken == Taken::InOrder && seg.flags & URG != 0 {
            half.mark(dir, at, seg.urgent, out);
        }
        if taken == Taken::InOrder && !self.settle(now, editor, out) {
            return false;
        }
        let half = self.half(dir);
        if taken == Taken::InOrder && seg.payload.is_empty() && seg.flags & FIN == 0 {
            half.bare(dir, half.place(at), head, &[], out);
            return true;
        }
        let went = match taken {
            Taken::InOrder => half.forward(now, dir, seg, before, head, out),
            Taken::Early | Taken::Refused => Went::Waits,
        };
        let quiet = Head { flags: ACK, ..head };
        if went == Went::Waits {
            if half.una == half.nxt && half.window.right() <= half.nxt {
                half.probe(dir, quiet, out);
            } else if news {
                half.bare(dir, half.nxt, quiet, &[], out);
            }
        }
        // What the receiver will not answer, we do: a gap, so that it is filled; what was here before.
        if went == Went::Old || taken != Taken::InOrder || (went == Went::Waits && end <= next_in) {
            self.acknowledge(dir, at, out);
        }
        while let Some(late) = self.half(dir).ripe() {
            if !self.ripe(now, dir, &late, editor, out) {
                return false;
            }
        }
        true
    }

    /// Takes in an early segment whose turn has come.
    fn ripe(
        &mut self,
        now: Instant,
        dir: Direction,
        late: &Late,
        editor: &mut dyn Editor,
        out: &mut Output,
    ) -> bool {
        let limits = self.limits;
        // Its acknowledgement and its age are those of now: else its receiver would take it for an old one.
        let head = self.head(dir, late.flags & !RST);
        let options = head.options;
        let seg = late.segment(head.ack, head.window, options);
        let half = self.half(dir);
        let before = half.before(late.at);
        half.take(now, dir, late.at, &seg, &limits, out);
        if late.flags & URG != 0 {
            half.mark(dir, late.at, late.urgent, out);
        }
        if !self.settle(now, editor, out) {
            return false;
        }
        self.half(dir).forward(now, dir, &seg, before, head, out);
        true
    }

    /// Shows the editor what there is, until it decides nothing more. False if it ended the connection.
    fn settle(&mut self, now: Instant, editor: &mut dyn Editor, out: &mut Output) -> bool {
        let limits = self.limits;
        let mut progress = true;
        while progress {
            progress = false;
            for dir in Direction::BOTH {
                let parsed = self.half(dir).parse(now, dir, editor, &limits);
                progress |= parsed.progress;
                for _ in 0..parsed.lost {
                    let at = self.half(dir).decided - 1;
                    out.notes.push(Note { dir, at, what: What::AnswerLost });
                }
                if let Some(at) = parsed.unmarked {
                    out.notes.push(Note { dir, at, what: What::UrgentCleared });
                }
                for answer in parsed.answers {
                    self.half(dir.back()).answer(dir.back(), answer, &limits, out);
                }
                if parsed.reset {
                    self.reset(out);
                    return false;
                }
            }
        }
        true
    }

    /// Sends what can be sent, acknowledges what we own, and sets the timers.
    fn finish(&mut self, now: Instant, editor: &mut dyn Editor, out: &mut Output) {
        // An acknowledgement may have made room in the log.
        if !self.settle(now, editor, out) {
            return;
        }
        for dir in Direction::BOTH {
            let head = self.head(dir, ACK | PSH | URG);
            let half = self.half(dir);
            half.pump(now, dir, head, out);
            // What stays here nobody else acknowledges; nor what was taken out behind all that is.
            let holds = !half.tail.is_empty() && half.acked < half.next_in();
            if holds {
                half.own();
            }
            if half.settled() || holds {
                let at = half.next_in();
                self.acknowledge(dir, at, out);
            }
            let half = self.half(dir);
            let outstanding = half.una < half.owned();
            half.rto.set(now, outstanding);
        }
    }

    /// Tells the sender of `dir` how far its stream has come, and what came early, the newest of it at `newest`.
    fn acknowledge(&mut self, dir: Direction, newest: u64, out: &mut Output) {
        let mut head = self.head(dir.back(), ACK);
        let half = self.half_ref(dir);
        if self.sack && !half.late.is_empty() {
            let blocks = half.early(newest).into_iter();
            let blocks: Vec<_> = blocks.map(|(l, r)| (wire(half.isn, l), wire(half.isn, r))).collect();
            head.options = OptionList::ours(head.options.timestamps(), &blocks);
        }
        let back = self.half(dir.back());
        back.bare(dir.back(), back.nxt, head, &[], out);
    }

    /// What a segment of ours toward `dir` says beside its bytes.
    fn head(&mut self, dir: Direction, flags: u8) -> Head {
        let stamps = self.half_ref(dir).newest.zip(self.half_ref(dir.back()).newest);
        let limits = self.limits;
        let back = self.half(dir.back());
        let (ack, window) = (wire(back.isn, back.acked), back.tell(back.acked, &limits));
        Head { ack, flags, window, options: OptionList::ours(stamps, &[]) }
    }

    fn reset_came(&mut self, dir: Direction, seg: &Incoming<'_>, out: &mut Output) {
        let (half, back) = (self.half_ref(dir), self.half_ref(dir.back()));
        let Some(at) = unwrap(half.isn, seg.seq, half.next_in()) else { return pass(dir, seg, out) };
        let exact = at == half.next_in() || at == half.acked;
        let ack = if seg.flags & ACK != 0 { back.told(seg.ack).unwrap_or(seg.ack) } else { seg.ack };
        let head = Head { ack, flags: seg.flags, window: seg.window, options: seg.options };
        let place = half.place_reset(at);
        self.half(dir).bare(dir, place, head, seg.payload, out);
        if exact {
            self.die();
        }
    }

    /// Ends the connection at both ends.
    fn reset(&mut self, out: &mut Output) {
        for dir in Direction::BOTH {
            let head = Head { options: OptionList::default(), ..self.head(dir, RST | ACK) };
            let half = self.half(dir);
            // What is on its way may or may not have arrived, and only the exact number is believed (RFC 5961 3.2).
            half.bare(dir, half.nxt, head, &[], out);
            if half.una != half.nxt {
                half.bare(dir, half.una, head, &[], out);
            }
        }
        self.die();
    }

    fn die(&mut self) {
        self.state = State::Dead;
        (self.to_server, self.to_client) = (Half::default(), Half::default());
    }

    /// Tells an end of a dead connection that it is dead.
    fn refuse(&self, dir: Direction, seg: &Incoming<'_>, out: &mut Output) {
        if seg.flags & RST == 0 && seg.flags & ACK != 0 {
            let flags = RST;
            let reset = Incoming { seq: seg.ack, ack: 0, flags, window: 0, urgent: 0, ..Incoming::default() };
            pass(dir.back(), &reset, out);
        }
    }
}

/// Sends a segment on as it came.
fn pass(dir: Direction, seg: &Incoming<'_>, out: &mut Output) {
    out.segments.push(Outgoing {
        dir,
        seq: seg.seq,
        ack: seg.ack,
        flags: seg.flags,
        window: seg.window,
        urgent: seg.urgent,
        options: seg.options,
        payload: seg.payload.to_vec(),
        verbatim: false,
    });
}
