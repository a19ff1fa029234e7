//! How a connection begins: what its SYNs say is noted, and what could not be kept true is taken out of them.

use super::half::Half;
use super::options::OptionList;
use super::syn::Syn;
use super::{Alg, Direction, Incoming, Note, Outgoing, Output, State, What, pass};
use crate::time::Instant;
use crate::wire::tcp::{ACK, FIN, RST, SYN, URG};

impl Alg {
    /// A segment before both SYNs came.
    pub(super) fn opening(&mut self, now: Instant, dir: Direction, seg: &Incoming<'_>, out: &mut Output) {
        let asks = dir == Direction::ToServer && seg.flags & (SYN | ACK | RST) == SYN;
        let answers = self.state == State::Asked
            && dir == Direction::ToClient
            && seg.flags & (SYN | ACK | RST) == SYN | ACK
            && seg.ack == self.to_server.isn.wrapping_add(1);
        if !asks && !answers {
            if self.state == State::New {
                self.state = State::Opaque;
                out.notes.push(Note { dir, at: 0, what: What::Unknown });
            } else if seg.flags & (SYN | ACK | RST) == SYN | ACK && dir == Direction::ToClient {
                // It answers another SYN than the last one. To pass it would be a connection that is not read; so it
                // gets what a client gives that did not ask (RFC 9293 3.10.7.3).
                out.notes.push(Note { dir, at: 0, what: What::Unknown });
                return self.refuse(dir, seg, out);
            }
            // The rest is for the ends to judge: before its SYN is answered, nobody takes a client's bytes.
            return pass(dir, seg, out);
        }
        let mut options = seg.options;
        let found = options.strip_syn();
        if found.signed {
            self.state = State::Opaque;
            out.notes.push(Note { dir, at: 0, what: What::Signed });
            return pass(dir, seg, out);
        }
        if found.multipath || found.fast_open {
            out.notes.push(Note { dir, at: 0, what: What::Stripped });
        }
        if !seg.payload.is_empty() {
            out.notes.push(Note { dir, at: 0, what: What::SynData });
        }
        *self.half(dir) = Half {
            isn: seg.seq,
            decided: 1,
            kept_at: 1,
            nxt: 1,
            una: 1,
            acked: 1,
            stamp: options.timestamps().map(|(value, _)| (value, now)),
            newest: options.timestamps().map(|(value, _)| value),
            ..Half::default()
        };
        let said = Syn::new(seg.window, &options);
        if answers {
            self.to_server.heed(&said, &self.asked);
            self.to_client.heed(&self.asked, &said);
            self.sack = said.sack && self.asked.sack;
            self.state = State::Open;
        } else {
            self.asked = said;
            self.state = State::Asked;
        }
        begin(dir, seg, options, out);
    }

    /// A SYN of a connection that stands. One that was lost behind us comes again, and goes on as it did the first time;
    /// another is for its receiver to question (RFC 5961 section 4). What either carries was read by nobody, so it stays here.
    pub(super) fn opening_again(
        &mut self,
        now: Instant,
        dir: Direction,
        seg: &Incoming<'_>,
        out: &mut Output,
    ) {
        let answers = dir == Direction::ToClient
            && seg.flags & (SYN | ACK | RST) == SYN | ACK
            && seg.ack == self.to_server.isn.wrapping_add(1);
        if answers && !self.taken && seg.seq != self.to_client.isn {
            // A server that begins anew, or makes its numbers of the time (SYN cookies): the newest one counts.
            self.state = State::Asked;
            return self.opening(now, dir, seg, out);
        }
        let mut options = seg.options;
        options.strip_syn();
        begin(dir, seg, options, out);
    }
}

/// A SYN goes on, with these options and no payload.
fn begin(dir: Direction, seg: &Incoming<'_>, options: OptionList, out: &mut Output) {
    out.segments.push(Outgoing {
        dir,
        seq: seg.seq,
        ack: seg.ack,
        flags: seg.flags & !(FIN | URG),
        window: seg.window,
        urgent: 0,
        options,
        payload: Vec::new(),
        verbatim: false,
    });
}
