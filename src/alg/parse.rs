//! Lines found in a direction's bytes, shown to the editor, and what it decides done.

use super::Limits;
use super::editor::{Editor, End, Line, Raw, Verdict};
use super::half::{Half, Tail};
use super::segment::{Direction, Note, Output, What};
use super::urgent::{SYNCH_LINE, is_synch};
use crate::time::Instant;
use std::collections::VecDeque;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// Something was decided.
    pub(super) progress: bool,
    /// Lines for the sender, in order.
    pub(super) answers: Vec<Vec<u8>>,
    /// So many answers found no place: their stream ended in the midst of a line.
    pub(super) lost: usize,
    /// An urgent mark was taken off there.
    pub(super) unmarked: Option<u64>,
    /// The editor wants an end.
    pub(super) reset: bool,
}

impl Half {
    /// Decides what can be decided.
    pub(super) fn parse(
        &mut self,
        now: Instant,
        dir: Direction,
        editor: &mut dyn Editor,
        limits: &Limits,
    ) -> Parsed {
        self.look(dir, editor);
        let mut parsed = Parsed { progress: self.release_answers(), ..Parsed::default() };
        let tail = std::mem::take(&mut self.tail);
        let mut rest = &tail[..];
        while !rest.is_empty() && self.log.len() < limits.edits {
            if matches!(self.state, Tail::Raw(_)) {
                let raw = match editor.raw(now, dir, rest) {
                    Raw::All => rest.len(),
                    Raw::LinesAfter(raw) => {
                        self.state = Tail::Fresh;
                        raw.min(rest.len())
                    }
                    Raw::Reset => {
                        parsed.reset = true;
                        break;
                    }
                };
                let (went, left) = rest.split_at(raw);
                let from = self.decided;
                self.keep(went);
                self.unmark(from, false, &mut parsed);
                rest = left;
                parsed.progress |= raw > 0;
                self.gap(dir, editor);
                parsed.progress |= self.release_answers();
                continue;
            }
            let lf = rest.iter().position(|b| *b == b'\n').map(|lf| lf + 1);
            if matches!(self.state, Tail::Passing(_)) {
                let (went, left) = rest.split_at(lf.unwrap_or(rest.len()));
                let from = self.decided;
                self.pass(now, dir, went, lf.is_some(), editor, limits);
                self.unmark(from, editor.reads(dir), &mut parsed);
                rest = left;
                parsed.progress = true;
                self.look(dir, editor);
                continue;
            }
            if matches!(self.state, Tail::Skipping) {
                let (taken, left) = rest.split_at(lf.unwrap_or(rest.len()));
                let from = self.decided;
                self.replace(taken, &[]);
                self.unmark(from, true, &mut parsed);
                if lf.is_some() {
                    self.state = Tail::Fresh;
                    self.look(dir, editor);
                }
                rest = left;
                parsed.progress = true;
                continue;
            }
            let overdue = matches!(self.state, Tail::Held(until) if until <= now);
            let whole = lf.filter(|len| *len <= limits.line);
            let end = match whole {
                Some(_) => End::Whole,
                None if rest.len() >= limits.line => End::Overlong,
                None if self.fin.is_some() => End::Closed,
                None if overdue => End::Late,
                None if editor.wants(dir, rest) => {
                    self.hold(now, limits);
                    break;
                }
                None => {
                    self.state = Tail::Passing(Vec::new());
                    continue;
                }
            };
            let (bytes, left) = rest.split_at(whole.unwrap_or(rest.len()));
            let unfinished = matches!(end, End::Overlong | End::Late);
            let from = self.decided;
            match editor.line(now, dir, Line { bytes, at: from - 1, end, due: overdue }) {
                Verdict::Hold if end == End::Whole && !overdue => {
                    self.hold(now, limits);
                    break;
                }
                Verdict::Until(at) if end == End::Whole && !overdue => {
                    self.state = Tail::Held(at);
                    break;
                }
                Verdict::Keep if unfinished => {
                    self.state = Tail::Passing(Vec::new());
                    continue;
                }
                Verdict::Keep => {
                    if dir == Direction::ToServer && is_synch(bytes) {
                        self.urgent.synch(from);
                    }
                    self.keep(bytes);
                }
                Verdict::Replace(new) if !unfinished => self.replace(bytes, &new),
                Verdict::Swallow(answer) => {
                    parsed.answers.push(answer);
                    if unfinished {
                        self.state = Tail::Skipping;
                        continue;
                    }
                    self.replace(bytes, &[]);
                }
                _ => {
                    parsed.reset = true;
                    break;
                }
            }
            self.unmark(from, editor.reads(dir), &mut parsed);
            self.state = Tail::Fresh;
            rest = left;
            parsed.progress = true;
            self.look(dir, editor);
        }
        if rest.is_empty() && self.is_cut() {
            parsed.lost = std::mem::take(&mut self.answers).len();
            if let Tail::Passing(head) = &mut self.state {
                *head = Vec::new();
            }
        }
        self.tail = if rest.len() == tail.len() { tail } else { rest.to_vec() };
        parsed
    }

    /// Puts a line into the stream toward the receiver, as soon as it stands between lines.
    pub(super) fn answer(&mut self, dir: Direction, answer: Vec<u8>, limits: &Limits, out: &mut Output) {
        if answer.is_empty() {
            return;
        }
        let waiting: usize = self.answers.iter().map(Vec::len).sum();
        let closed =
            self.fin_out().is_some_and(|fin| self.nxt > fin) || (self.tail.is_empty() && self.is_cut());
        // Who asks on and takes nothing has no right to more.
        let full = self.log.len() >= limits.edits
            || waiting + answer.len() > limits.answers
            || self.kept.len() + waiting + answer.len() > limits.kept;
        if closed || full {
            out.notes.push(Note { dir, at: self.decided.saturating_sub(1), what: What::AnswerLost });
        } else {
            self.answers.push_back(answer);
            self.release_answers();
        }
    }

    fn pass(
        &mut self,
        now: Instant,
        dir: Direction,
        bytes: &[u8],
        ends: bool,
        editor: &mut dyn Editor,
        limits: &Limits,
    ) {
        let begin = self.decided;
        self.keep(bytes);
        let Tail::Passing(head) = &mut self.state else { return };
        let at = begin - 1 - head.len() as u64;
        let is_begin = head.len() < SYNCH_LINE;
        let room = limits.line.saturating_sub(head.len()).min(bytes.len());
        head.extend_from_slice(&bytes[..room]);
        if dir == Direction::ToServer && is_begin && is_synch(head) {
            self.urgent.synch(at + 1);
        }
        if ends {
            let head = std::mem::take(head);
            let end = if head.ends_with(b"\n") { End::Whole } else { End::Overlong };
            self.state = Tail::Fresh;
            editor.passed(now, dir, Line { bytes: &head, at, end, due: false });
            self.release_answers();
        }
    }

    /// Asks whether lines end where one would begin.
    fn look(&mut self, dir: Direction, editor: &dyn Editor) {
        if matches!(self.state, Tail::Fresh | Tail::Held(_)) && editor.is_raw(dir) {
            self.state = Tail::Raw(false);
        }
        self.gap(dir, editor);
    }

    /// Asks whether an answer may stand between raw bytes.
    fn gap(&mut self, dir: Direction, editor: &dyn Editor) {
        if let Tail::Raw(open) = &mut self.state {
            *open = editor.takes_answer(dir);
        }
    }

    /// Whether the sender closed where no line of ours can stand any more: in the midst of one that was passing, or
    /// of what is raw.
    fn is_cut(&self) -> bool {
        self.fin.is_some() && self.is_closed_to_answers()
    }

    fn is_closed_to_answers(&self) -> bool {
        matches!(self.state, Tail::Passing(_) | Tail::Raw(false))
    }

    /// What begins at `from` is decided: urgent marks in it stay or go.
    fn unmark(&mut self, from: u64, reads: bool, parsed: &mut Parsed) {
        if self.settle_mark(from, reads) {
            parsed.unmarked = Some(from - 1);
        }
    }

    fn hold(&mut self, now: Instant, limits: &Limits) {
        if !matches!(self.state, Tail::Held(_)) {
            self.state = Tail::Held(now + limits.line_time);
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        self.decided += bytes.len() as u64;
    }

    fn replace(&mut self, old: &[u8], new: &[u8]) {
        if old == new {
            return self.keep(old);
        }
        self.log.push(self.decided, old, self.end(), new.len());
        self.kept.extend_from_slice(new);
        self.decided += old.len() as u64;
    }

    /// Answers stand between lines only: not in the midst of one that is passing, nor of what is raw.
    fn release_answers(&mut self) -> bool {
        if self.answers.is_empty() || self.is_closed_to_answers() {
            return false;
        }
        for answer in std::mem::take(&mut self.answers) {
            self.log.push(self.decided, &[], self.end(), answer.len());
            self.kept.extend_from_slice(&answer);
            self.answered = self.end();
        }
        self.answers = VecDeque::new();
        true
    }
}
