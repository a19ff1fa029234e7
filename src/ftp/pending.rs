//! Which reply answers which command.
//!
//! Replies come in the order of the commands (RFC 959 section 5.4), with few exceptions: NOOP and STAT may
//! be answered in the middle of a transfer, and ABOR together with the transfer it ends gives one, two or
//! three replies. A reply means nothing without its command: a 227 opens nothing unless PASV awaits it.

use super::reply::Class;
use super::verb::Verb;
use std::collections::VecDeque;

/// Most commands without an answer; then a caller stops reading commands.
pub const MAX: usize = 64;
/// Room kept while nothing is outstanding; a client that waits for each answer needs no more.
const IDLE_CAPACITY: usize = 4;

/// A command without its completing reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<T> {
    /// Its verb.
    pub verb: Verb,
    /// The caller's own.
    pub tag: T,
    /// A 1xx came for it.
    pub begun: bool,
    /// Another half of an aborted transfer's replies has come: this one may never.
    loose: bool,
}

impl<T> Entry<T> {
    /// Whether it may never get an answer of its own: an ABOR, or the transfer it ended.
    #[must_use]
    pub const fn is_loose(&self) -> bool {
        self.loose
    }
}

/// What a reply is.
#[derive(Debug, PartialEq, Eq)]
pub enum Match<T> {
    /// A 1xx for the oldest command, which stays ([`Pending::front`]).
    Preliminary,
    /// It completes this command, which is taken out.
    Done(Entry<T>),
    /// 421: the server closes. Takes no command out.
    Closing,
    /// One more reply to an ABOR that had its own.
    Extra,
    /// No command awaits it: the greeting, or a server out of step.
    Unsolicited,
}

/// A reply's meaning.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome<T> {
    /// What it is.
    pub what: Match<T>,
    /// A command now known to get no answer of its own: an ABOR or the transfer it ended, where the server
    /// gave one reply for both.
    pub skipped: Option<Entry<T>>,
}

/// Commands without an answer, oldest first.
#[derive(Debug, Clone)]
pub struct Pending<T> {
    queue: VecDeque<Entry<T>>,
    /// An ABOR was answered just now; one 225 or 226 that fits nothing may follow.
    extra: bool,
}

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), extra: false }
    }
}

impl<T> Pending<T> {
    /// Adds the command that was sent last.
    ///
    /// # Errors
    /// Gives the tag back when [`MAX`] are outstanding.
    pub fn push(&mut self, verb: Verb, tag: T) -> Result<(), T> {
        if self.is_full() {
            return Err(tag);
        }
        self.queue.push_back(Entry { verb, tag, begun: false, loose: false });
        Ok(())
    }

    /// Finds the command that a reply with `code` (100 to 599) answers.
    pub fn on_reply(&mut self, code: u16) -> Outcome<T> {
        if code == 421 {
            return Outcome { what: Match::Closing, skipped: None };
        }
        let extra = self.is_extra(code);
        self.extra = false;
        if extra {
            return Outcome { what: Match::Extra, skipped: None };
        }
        let skipped = if self.passes_over(code) { self.queue.pop_front() } else { None };
        let what = self.assign(code);
        if self.queue.is_empty() && self.queue.capacity() > IDLE_CAPACITY {
            self.queue = VecDeque::new();
        }
        Outcome { what, skipped }
    }

    /// The command that [`on_reply`](Self::on_reply) would find, which stays.
    #[must_use]
    pub fn whose(&self, code: u16) -> Option<&Entry<T>> {
        if code == 421 || self.is_extra(code) {
            return None;
        }
        let first = usize::from(self.passes_over(code));
        self.queue.get(first + self.place(first, code))
    }

    /// Takes the oldest command out, as one that the caller has answered.
    pub fn pop(&mut self) -> Option<Entry<T>> {
        self.queue.pop_front()
    }

    /// Drops `which` of the commands, as ones that get no answer any more (what may never get one of its own:
    /// [`Entry::is_loose`]). How many of them `count`.
    pub fn drop_such(
        &mut self,
        which: impl Fn(&Entry<T>) -> bool,
        count: impl Fn(&Entry<T>) -> bool,
    ) -> usize {
        let counted = self.queue.iter().filter(|e| which(e) && count(e)).count();
        self.queue.retain(|e| !which(e));
        counted
    }

    /// Gives back the memory that is kept for the next command.
    pub fn release(&mut self) {
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    /// Room for so many commands is kept.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.queue.capacity()
    }

    /// The oldest command.
    #[must_use]
    pub fn front(&self) -> Option<&Entry<T>> {
        self.queue.front()
    }

    /// The oldest command, to change its tag.
    pub fn front_mut(&mut self) -> Option<&mut Entry<T>> {
        self.queue.front_mut()
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Entry<T>> {
        self.queue.iter()
    }

    /// The verb that the next reply is expected to answer.
    #[must_use]
    pub fn awaited(&self) -> Option<Verb> {
        self.front().map(|e| e.verb)
    }

    /// How many are outstanding.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// True when none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// True when no more may be sent.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.queue.len() >= MAX
    }

    fn assign(&mut self, code: u16) -> Match<T> {
        let at = self.place(0, code);
        let Some(front) = self.queue.front_mut() else { return Match::Unsolicited };
        if Class::of(code) == Some(Class::Preliminary) {
            front.begun = true;
            return Match::Preliminary;
        }
        let transfer = front.verb.is_transfer();
        let Some(entry) = self.queue.remove(at) else { return Match::Unsolicited };
        if entry.verb == Verb::Abor {
            self.extra = true;
            // Answered before its transfer: the transfer's own reply may follow, or not.
            if let Some(front) = self.queue.front_mut().filter(|_| at > 0) {
                front.loose = true;
            }
        } else if transfer && at == 0 {
            // Its transfer is over: the ABOR's own reply may follow, or not.
            if let Some(abort) = self.queue.iter_mut().find(|e| e.verb == Verb::Abor) {
                abort.loose = true;
            }
        }
        Match::Done(entry)
    }

    /// Whether `code` is one reply more to an ABOR that had its own.
    fn is_extra(&self, code: u16) -> bool {
        self.extra && matches!(code, 225 | 226) && !self.fits_front(code)
    }

    /// Whether the oldest command gets no answer of its own, as `code` fits it not.
    fn passes_over(&self, code: u16) -> bool {
        self.queue.len() > 1 && !self.fits_front(code) && self.queue.front().is_some_and(|e| e.loose)
    }

    fn fits_front(&self, code: u16) -> bool {
        self.queue.front().is_some_and(|e| e.verb.is_own_completion(code))
    }

    /// How far behind the command at `first` the one is that `code` answers. Behind a transfer stand some that may
    /// be answered during it.
    fn place(&self, first: usize, code: u16) -> usize {
        let Some(front) = self.queue.get(first) else { return 0 };
        // Before its 1xx a transfer may be refused with any 4xx or 5xx.
        let refusal = !front.begun && code >= 400;
        let own = !front.verb.is_transfer() || refusal || front.verb.is_own_completion(code);
        if own || Class::of(code) == Some(Class::Preliminary) {
            return 0;
        }
        let behind = self.queue.iter().skip(first).enumerate().skip(1);
        let overtakes = |e: &Entry<T>| {
            matches!(e.verb, Verb::Noop | Verb::Stat | Verb::Abor) && e.verb.is_own_completion(code)
        };
        behind.filter(|(_, e)| overtakes(e)).map(|(at, _)| at).next().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(verbs: &[Verb]) -> Pending<usize> {
        let mut pending = Pending::default();
        for (i, &verb) in verbs.iter().enumerate() {
            pending.push(verb, i).unwrap();
        }
        pending
    }

    /// Each reply as `>n` (preliminary for n), `n` (done), `x`, `?`, `!` (closing), with `-n` for skipped.
    fn play(verbs: &[Verb], codes: &[u16]) -> String {
        let mut pending = sent(verbs);
        let words: Vec<String> = codes
            .iter()
            .map(|&code| {
                let whose = pending.whose(code).map(|e| e.tag);
                let Outcome { what, skipped } = pending.on_reply(code);
                match &what {
                    Match::Preliminary => assert_eq!(whose, pending.front().map(|e| e.tag)),
                    Match::Done(e) => assert_eq!(whose, Some(e.tag)),
                    Match::Closing | Match::Extra | Match::Unsolicited => assert_eq!(whose, None),
                }
                let what = match what {
                    Match::Preliminary => format!(">{}", pending.front().unwrap().tag),
                    Match::Done(e) => e.tag.to_string(),
                    Match::Closing => "!".into(),
                    Match::Extra => "x".into(),
                    Match::Unsolicited => "?".into(),
                };
                skipped.map_or(what.clone(), |s| format!("-{} {what}", s.tag))
            })
            .collect();
        words.join(" ")
    }

    use Verb::{Abor, Noop, Other, Pwd, Quit, Rest, Retr, Stat, Stor, Type};

    #[test]
    fn in_order() {
        assert_eq!(play(&[Type, Rest, Retr, Quit], &[200, 350, 150, 226, 221]), "0 1 >2 2 3");
        assert_eq!(play(&[Other, Pwd], &[599, 257]), "0 1");
        assert_eq!(play(&[], &[220, 150]), "? ?");
    }

    #[test]
    fn a_421_takes_nothing() {
        assert_eq!(play(&[Retr], &[421, 150, 226]), "! >0 0");
        assert_eq!(play(&[], &[421]), "!");
    }

    #[test]
    fn noop_and_stat_during_a_transfer() {
        assert_eq!(play(&[Retr, Noop], &[150, 200, 226]), ">0 1 0");
        assert_eq!(play(&[Retr, Noop], &[150, 226, 200]), ">0 0 1");
        assert_eq!(play(&[Stor, Stat, Noop], &[150, 213, 200, 226]), ">0 1 2 0");
        assert_eq!(play(&[Retr, Noop], &[150, 500, 426]), ">0 1 0");
        // No 1xx at all.
        assert_eq!(play(&[Retr, Noop], &[200, 226]), "1 0");
    }

    #[test]
    fn nothing_else_overtakes_a_transfer() {
        assert_eq!(play(&[Retr, Pwd], &[150, 257]), ">0 0");
        assert_eq!(play(&[Retr, Noop], &[500, 200]), "0 1");
    }

    #[test]
    fn abor_with_two_replies() {
        assert_eq!(play(&[Retr, Abor, Pwd], &[150, 426, 226, 257]), ">0 0 1 2");
        assert_eq!(play(&[Retr, Abor, Pwd], &[150, 226, 225, 257]), ">0 0 1 2");
        assert_eq!(play(&[Retr, Abor, Pwd], &[150, 225, 426, 257]), ">0 1 0 2");
        assert_eq!(play(&[Abor, Pwd], &[225, 257]), "0 1");
    }

    #[test]
    fn abor_with_one_reply() {
        assert_eq!(play(&[Retr, Abor, Pwd], &[150, 226, 257]), ">0 0 -1 2");
        assert_eq!(play(&[Retr, Abor, Pwd], &[150, 225, 257]), ">0 1 -0 2");
        assert_eq!(play(&[Retr, Abor, Retr], &[150, 426, 150, 226]), ">0 0 -1 >2 2");
    }

    #[test]
    fn abor_with_three_replies() {
        assert_eq!(play(&[Retr, Abor, Pwd], &[150, 426, 226, 225, 257]), ">0 0 1 x 2");
        assert_eq!(play(&[Abor], &[225, 226, 226]), "0 x ?");
        // A transfer's own 226 is never taken for a late one.
        assert_eq!(play(&[Abor, Retr], &[225, 226]), "0 1");
    }

    #[test]
    fn bounded_and_small_when_idle() {
        let mut pending = sent(&[Noop; MAX]);
        assert!(pending.is_full());
        assert_eq!(pending.push(Noop, 99), Err(99));
        for i in 0..MAX {
            assert!(matches!(pending.on_reply(200).what, Match::Done(e) if e.tag == i));
        }
        assert!(pending.is_empty() && pending.queue.capacity() <= IDLE_CAPACITY);
    }
}
