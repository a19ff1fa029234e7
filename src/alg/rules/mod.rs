//! FTP's rules for a connection that is edited in flight: what each line means, and what becomes of it.
//!
//! ```text
//!  client's line ─ command ─┬─ on its way ────────────────▶ pending   commands without an answer, oldest first
//!                           ├─ setup: PORT EPRT PASV … ───▶ doors     data connections
//!                           └─ refused, answered ─▶ in its turn among the replies
//!  server's line ─ reply ─── whose answer? ─┬─ as it came
//!                                           ├─ passive: 227 228 229, pinned and written anew where they must be
//!                                           └─ cover: 234, then records until the connection is clear again
//! ```
//! A line is judged whole, its Telnet sequences taken out. A reply means nothing without the command that it answers,
//! so no text of a server's opens anything by itself. The first lines must be FTP's: where they are not, the
//! connection goes by unread, and nothing is ever opened for it.
//!
//! Refusals are replies that name the rule. They take their turn: while earlier commands are without their answers, ours
//! waits behind the reply before it.

mod command;
mod cover;
mod doors;
mod guesses;
mod log;
mod logins;
mod pace;
mod passive;
mod refusal;
mod reply;
mod settings;
mod setup;
mod tls;

pub use doors::{Doors, NoDoor, Transfer, Why};
pub use guesses::Guesses;
pub use log::{Counters, Log};
pub use settings::{Ccc, ClientMode, Ends, Ftps, Profile, Settings};

use super::editor::{Editor, End, Line, Raw, Verdict};
use super::segment::{self, Direction, Note};
use crate::event::{SessionId, What};
use crate::ftp::Mode;
use crate::ftp::pending::{Entry, Pending};
use crate::ftp::reply::{Held, ReplyReader};
use crate::ftp::telnet::{self, Stripped};
use crate::time::{Duration, Instant};
use cover::Cover;
use pace::Pace;
use refusal::Refusal;
use std::cell::Cell;

/// How long a client may read its 421 before the reset.
const FAREWELL: Duration = Duration::from_secs(1);

/// The rules' knowledge of one control connection.
#[derive(Debug)]
pub struct Rules {
    session: SessionId,
    ends: Ends,
    cover: Cover,
    pending: Pending<Tag>,
    replies: ReplyReader,
    /// Lines of a reply that is judged whole.
    held: Option<Box<HeldReply>>,
    /// What the client is told before its end, if it could not be told at once.
    farewell: Option<Box<[u8]>>,
    ended: Option<(Instant, &'static str)>,
    /// When the next announcement is due, by the rate that is allowed (a leaky bucket).
    next_setup: Instant,
    pace: Pace,
    greeted: bool,
    /// The client has said something that is FTP.
    spoke: bool,
    logged_in: bool,
    epsv_all: bool,
    protected: bool,
    /// The client's line at hand was asked about before.
    waiting: bool,
    /// It has been counted against the rate of announcements.
    charged: bool,
    /// A server's line is going by while it comes: no answer of ours can be put behind it.
    passing: Cell<bool>,
    /// A refused login is told to the client then.
    tells_at: Option<Instant>,
    /// It was told that bytes came again as others.
    told_conflict: bool,
    foreign: u8,
}

/// What the answer to a command means.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tag {
    /// Nothing to us.
    Plain,
    /// The place that is reserved may be connected to.
    Active,
    /// It names where the server listens.
    Passive,
    /// It begins or ends a transfer.
    Transfer,
    /// The connection becomes encrypted.
    Auth,
    /// The list of features.
    Feat,
    /// The data connections are protected, or not.
    Prot(bool),
    /// The server's system, which strict rules mask.
    System,
    /// It is ours, and waits for its turn.
    Local(Box<[u8]>),
}

/// A reply that is judged whole.
#[derive(Debug, Default)]
struct HeldReply {
    /// As it came.
    raw: Vec<u8>,
    /// Its texts.
    lines: Held,
}

/// The rules at work: an [`Editor`] for one call into the core.
pub struct With<'a> {
    rules: &'a mut Rules,
    settings: &'a Settings,
    doors: &'a mut dyn Doors,
    log: &'a mut Log,
    guesses: &'a mut Guesses,
}

impl Rules {
    /// Of a connection whose first SYN is still to come.
    #[must_use]
    pub fn new(session: SessionId, ends: Ends, settings: &Settings) -> Self {
        Self {
            session,
            ends,
            cover: Cover::Clear,
            pending: Pending::default(),
            replies: ReplyReader::new(settings.reply),
            held: None,
            farewell: None,
            ended: None,
            next_setup: Instant::ZERO,
            pace: Pace::default(),
            greeted: false,
            spoke: false,
            logged_in: false,
            epsv_all: false,
            protected: false,
            waiting: false,
            charged: false,
            passing: Cell::new(false),
            tells_at: None,
            told_conflict: false,
            foreign: 0,
        }
    }

    /// The editor for one call into the core. The guesses are those of all sessions.
    pub fn with<'a>(
        &'a mut self,
        settings: &'a Settings,
        doors: &'a mut dyn Doors,
        log: &'a mut Log,
        guesses: &'a mut Guesses,
    ) -> With<'a> {
        With { rules: self, settings, doors, log, guesses }
    }

    /// Takes a note of the core. True: both ends are to be reset ([`Alg::end`](super::Alg::end)), for the reason that
    /// [`ended`](Self::ended) gives.
    pub fn note(&mut self, settings: &Settings, note: &Note, log: &mut Log) -> bool {
        let c = &mut log.counters;
        let count = match note.what {
            segment::What::Conflict => &mut c.conflicts,
            segment::What::OutOfWindow => &mut c.out_of_window,
            segment::What::OldTimestamp => &mut c.old_timestamps,
            segment::What::LateFull | segment::What::Full => &mut c.dropped_segments,
            segment::What::BadAck => &mut c.bad_acks,
            segment::What::UrgentCleared => &mut c.urgent_cleared,
            segment::What::AnswerLost => &mut c.answers_lost,
            segment::What::GaveUp => &mut c.gave_up,
            segment::What::Signed | segment::What::Unknown => &mut c.unreadable,
            segment::What::SynData | segment::What::Stripped => &mut c.stripped_syns,
        };
        *count += 1;
        if note.what == segment::What::Conflict && !std::mem::replace(&mut self.told_conflict, true) {
            let from = match note.dir {
                Direction::ToServer => "client",
                Direction::ToClient => "server",
            };
            log.events.push(What::Conflict { session: self.session, from, at: note.at });
        }
        if matches!(note.what, segment::What::Signed | segment::What::Unknown) {
            self.cover = Cover::Blind;
        }
        let ends = note.what == segment::What::Conflict
            && settings.profile == Profile::Strict
            && self.cover.is_clear();
        let why = match note.what {
            segment::What::GaveUp => Some("a receiver did not take what was held for it"),
            segment::What::Conflict if ends => Some("the stream was edited on its way"),
            _ => None,
        };
        if let (Some(why), None) = (why, self.ended) {
            c.ended += 1;
            self.ended = Some((Instant::ZERO, why));
        }
        ends
    }

    /// A rule has ended the session: from this time on both ends are to be reset
    /// ([`Alg::end`](super::Alg::end)), unless they are over before, and why. The client may be reading its 421 until then.
    #[must_use]
    pub fn ended(&self) -> Option<(Instant, &'static str)> {
        self.ended
    }

    /// Whether no data connection is to be admitted, static rules' included: `ccc = "require"`, and the connection is
    /// encrypted, or nobody knows what it is.
    #[must_use]
    pub fn admits_nothing(&self, settings: &Settings) -> bool {
        settings.ccc == Ccc::Require && !self.cover.is_clear()
    }

    /// Whether the connection is not read: encrypted, or not FTP.
    #[must_use]
    pub fn is_opaque(&self) -> bool {
        !self.cover.is_clear()
    }

    /// Bytes of memory held beyond the value itself; none while no command is without its answer.
    #[must_use]
    pub fn memory(&self) -> usize {
        let local = |e: &Entry<Tag>| if let Tag::Local(text) = &e.tag { text.len() } else { 0 };
        let held =
            self.held.as_ref().map_or(0, |h| size_of::<HeldReply>() + h.raw.capacity() + h.lines.capacity());
        self.pending.capacity() * size_of::<Entry<Tag>>()
            + self.pending.iter().map(local).sum::<usize>()
            + held
            + self.farewell.as_ref().map_or(0, |f| f.len())
            + self.cover.memory()
    }

    /// Lets go of what waits for answers: none come any more, or none that mean anything.
    pub fn let_go(&mut self) {
        (self.pending, self.held) = (Pending::default(), None);
    }

    /// Whether any command without an answer has such a tag.
    fn awaits(&self, tag: impl Fn(&Tag) -> bool) -> bool {
        self.pending.iter().any(|e| tag(&e.tag))
    }
}

impl Editor for With<'_> {
    fn wants(&self, dir: Direction, start: &[u8]) -> bool {
        let rules = &*self.rules;
        if rules.ended.is_some() {
            return true;
        }
        if rules.cover.is_blind() {
            return false;
        }
        match dir {
            Direction::ToServer => self.wants_command(start),
            Direction::ToClient => {
                let wants = self.wants_reply();
                rules.passing.set(!wants);
                wants
            }
        }
    }

    fn line(&mut self, now: Instant, dir: Direction, line: Line<'_>) -> Verdict {
        if dir == Direction::ToClient {
            self.rules.passing.set(false);
        }
        if self.rules.ended.is_some() {
            return self.after_end(dir, &line);
        }
        if self.rules.cover.is_blind() {
            return Verdict::Keep;
        }
        let verdict = match dir {
            Direction::ToServer => {
                self.rules.pace.wake();
                self.command_line(now, &line)
            }
            Direction::ToClient => self.reply_line(now, &line),
        };
        if dir == Direction::ToServer {
            self.rules.waiting = verdict == Verdict::Hold;
            self.rules.charged &= self.rules.waiting;
            self.rules.pace.paid &= self.rules.waiting;
        }
        verdict
    }

    fn passed(&mut self, now: Instant, dir: Direction, line: Line<'_>) {
        if dir == Direction::ToClient {
            self.rules.passing.set(false);
        }
        if self.rules.ended.is_some() || self.rules.cover.is_blind() {
            return;
        }
        match dir {
            Direction::ToServer => self.command_passed(now),
            Direction::ToClient => self.reply_passed(now, &line),
        }
    }

    fn is_raw(&self, dir: Direction) -> bool {
        self.rules.ended.is_none() && self.rules.cover.is_raw(dir)
    }

    fn due(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.rules.pace.wake();
        self.impatient(now)
    }

    fn reads(&self, _dir: Direction) -> bool {
        !self.rules.cover.is_blind()
    }

    fn raw(&mut self, now: Instant, dir: Direction, bytes: &[u8]) -> Raw {
        self.covered(now, dir, bytes)
    }

    fn takes_answer(&self, dir: Direction) -> bool {
        dir == Direction::ToClient && self.rules.cover.takes_reply()
    }
}

impl With<'_> {
    fn mode(&self) -> Mode {
        if self.is_strict() { Mode::Strict } else { Mode::Lenient }
    }

    fn is_strict(&self) -> bool {
        self.settings.profile == Profile::Strict
    }

    fn is_compat(&self) -> bool {
        self.settings.profile == Profile::Compat
    }

    /// Ends the session with a 421 to the client. The verdict is about a client's line.
    fn end(&mut self, now: Instant, refusal: Refusal, why: &'static str) -> Verdict {
        Verdict::Swallow(self.farewell(now, refusal, why))
    }

    /// The 421 that the client is to get, and the end of the session soon.
    fn farewell(&mut self, now: Instant, refusal: Refusal, why: &'static str) -> Vec<u8> {
        self.told(refusal.code, refusal.said(), "gateway");
        self.over(now + FAREWELL, why);
        self.doors.close(now, Why::Over);
        refusal.line()
    }

    /// Ends the session with resets.
    fn violation(&mut self, now: Instant, why: &'static str) -> Verdict {
        self.over(now, why);
        self.doors.close(now, Why::Over);
        Verdict::Reset
    }

    fn over(&mut self, at: Instant, why: &'static str) {
        let rules = &mut *self.rules;
        if rules.ended.is_none() {
            self.log.counters.ended += 1;
            rules.ended = Some((at, why));
        }
        rules.let_go();
    }

    /// Nothing goes either way any more but what the client is to be told.
    fn after_end(&mut self, dir: Direction, line: &Line<'_>) -> Verdict {
        let left = self.rules.farewell.take().map(Vec::from).unwrap_or_default();
        match dir {
            Direction::ToServer => Verdict::Swallow(left),
            Direction::ToClient if matches!(line.end, End::Whole | End::Closed) => Verdict::Replace(left),
            Direction::ToClient => Verdict::Reset,
        }
    }

    /// The connection is not FTP: from now on it goes by, and nothing is opened for it.
    fn not_ftp(&mut self, now: Instant, why: &'static str) -> Verdict {
        self.log.counters.not_ftp += 1;
        self.session_event("refused", why);
        if self.is_strict() || (!self.is_compat() && !self.rules.greeted) {
            return self.violation(now, why);
        }
        self.blind(now);
        Verdict::Keep
    }

    fn blind(&mut self, now: Instant) {
        self.doors.close(now, Why::Opaque);
        let rules = &mut *self.rules;
        rules.cover = Cover::Blind;
        rules.let_go();
    }

    fn event(&mut self, what: What) {
        self.log.events.push(what);
    }

    fn session_event(&mut self, state: &'static str, why: &str) {
        let Ends { client, server_told, .. } = self.rules.ends;
        self.event(What::Session {
            session: Some(self.rules.session),
            state,
            client,
            server: server_told,
            service: self.settings.name.clone(),
            reason: why.to_owned(),
        });
    }

    /// A reply went to the client.
    fn told(&mut self, code: u16, text: String, source: &'static str) {
        let session = self.rules.session;
        self.event(What::Reply { session, code, text, source });
    }
}

/// A line without its end, without Telnet, and whether its end is CR LF.
fn cleaned<'a>(line: &Line<'a>) -> (Stripped<'a>, bool) {
    let text = line.bytes.strip_suffix(b"\n").unwrap_or(line.bytes);
    let (text, crlf) = match text.strip_suffix(b"\r") {
        Some(text) => (text, true),
        None => (text, false),
    };
    (telnet::strip(text), crlf)
}
