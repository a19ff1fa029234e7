//! What happened in captured FTP sessions, and why transfers failed. Frames in, a report out: no files, no clock.
//!
//! ```text
//!  frames ─ decode ─ legs ───────── conn ─┬─ dialogue  FTP of control connections, by the gateway's own parser
//!           VLAN,    seen at two    TCP,  │      │
//!           GRE, IP  places: once   stream└──────┴─ data  whose data connection is it ─ cause ─ report ─ text
//! ```
//!
//! What a capture holds is bounded in memory: connections, sessions and lines beyond the bounds are left out, and the
//! report says so.
#![forbid(unsafe_code)]

mod assemble;
mod cause;
mod conn;
mod data;
mod decode;
mod dialogue;
mod legs;
pub mod report;
mod stream;
mod text;
mod words;

use crate::ftp::command::{Foreign, foreign_first_line};
use crate::ftp::verb::Verb;
use conn::{Connections, Held, Role, Taken};
use decode::{Decoded, Segment};
use dialogue::{Part, Session};
use legs::Legs;
pub use report::Report;
pub use text::{Style, human};

/// Sessions that are read.
const MAX_SESSIONS: usize = 20_000;
/// Lines, announcements and transfers that are kept, in all sessions.
const MAX_KEPT: usize = 200_000;
/// What is held of a connection that may be FTP: segments, and bytes.
const MAX_UNDECIDED: (usize, usize) = (64, 16 * 1024);
/// Connections that are held so at once.
const MAX_GREETED: usize = 1024;

/// How to read captures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The captures' names, by [`Frame::file`].
    pub names: Vec<String>,
    /// Ports of FTP servers, for connections whose greeting was not captured.
    pub ports: Vec<u16>,
    /// Show passwords.
    pub show_secrets: bool,
}

/// A captured frame without its link header.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Which capture, an index into [`Settings::names`].
    pub file: u16,
    /// Its number there, from 1.
    pub number: u64,
    /// The interface there.
    pub interface: u32,
    /// When, in nanoseconds since 1970.
    pub at_nanos: u64,
    /// The type of `packet`; a VLAN tag's, if one is at its front.
    pub ethertype: u16,
    /// From behind the link header.
    pub packet: &'a [u8],
    /// Bytes that the capture cut off its end.
    pub missing: usize,
}

/// A place in the captures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Spot {
    /// By time, over all captures.
    order: u64,
    file: u16,
    frame: u64,
    at: u64,
}

/// Reads frames, by time, and tells at the end what they were.
#[derive(Debug)]
pub struct Explainer {
    settings: Settings,
    files: Vec<report::File>,
    legs: Legs,
    conns: Connections,
    sessions: Vec<Session>,
    kept: usize,
    greeted: usize,
    last: Spot,
    copies: u64,
    pieces: u64,
    damaged: u64,
    headless: u64,
    not_read: u64,
}

impl Explainer {
    /// An empty one.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let file = |name: &String| report::File { name: name.clone(), ..report::File::default() };
        let files = settings.names.iter().map(file).collect();
        Self {
            settings,
            files,
            legs: Legs::default(),
            conns: Connections::default(),
            sessions: Vec::new(),
            kept: 0,
            greeted: 0,
            last: Spot::default(),
            copies: 0,
            pieces: 0,
            damaged: 0,
            headless: 0,
            not_read: 0,
        }
    }

    /// The next frame. Frames of several captures come by their times.
    pub fn frame(&mut self, frame: &Frame<'_>) {
        let order = self.last.order + 1;
        let spot =
            Spot { order, file: frame.file, frame: frame.number, at: frame.at_nanos.max(self.last.at) };
        self.last = spot;
        if let Some(file) = self.files.get_mut(usize::from(frame.file)) {
            file.frames += 1;
            file.cut += u64::from(frame.missing > 0);
            file.first.get_or_insert(frame.at_nanos);
            file.last = Some(frame.at_nanos);
        }
        match decode::decode(frame.ethertype, frame.packet, frame.missing) {
            Decoded::Tcp(seg) => {
                let source = u64::from(frame.file) << 32 | u64::from(frame.interface);
                if self.legs.is_copy(&seg, source, frame.at_nanos) {
                    self.copies += 1;
                } else {
                    self.segment(spot, &seg);
                }
            }
            Decoded::Complaint(what) => self.conns.complain(spot, what),
            Decoded::Piece => self.pieces += 1,
            Decoded::Cut => self.headless += 1,
            Decoded::Damaged => self.damaged += 1,
            Decoded::Other => {}
        }
    }

    /// All frames were there.
    #[must_use]
    pub fn finish(mut self) -> Report {
        let end = self.last;
        for i in 0..self.sessions.len() {
            let keep = self.kept < MAX_KEPT;
            if let Some(session) = self.sessions.get_mut(i) {
                let before = session.weight();
                session.finish(end, keep);
                self.kept += session.weight() - before;
            }
        }
        assemble::report(self)
    }

    fn segment(&mut self, spot: Spot, seg: &Segment<'_>) {
        let taken = self.conns.take(spot, seg);
        let Some(conn) = self.conns.get_mut(taken.id) else { return };
        match &mut conn.role {
            Role::Plain => {}
            Role::Control(session) => {
                let session = *session;
                let held =
                    Held { spot, from_a: taken.from == 0, at: taken.at, payload: Vec::new(), len: seg.len };
                self.speak(taken.id, session, &held, seg.payload);
            }
            Role::Unknown => self.first(spot, seg, taken),
            Role::Greeted(_) => self.greeted(spot, seg, taken),
        }
    }

    /// A connection whose kind is not known yet.
    fn first(&mut self, spot: Spot, seg: &Segment<'_>, taken: Taken) {
        let Some(conn) = self.conns.get_mut(taken.id) else { return };
        let (a, b, known) = (conn.a, conn.b, conn.opener_known());
        let listed = |port: u16| self.settings.ports.contains(&port);
        // A server's data connections may come from its control port as well (RFC 959 has the one below).
        let server = match (listed(a.port()), listed(b.port())) {
            (_, true) => Some(1),
            (true, false) if !known => Some(0),
            _ => None,
        };
        if let Some(server) = server {
            let Some(session) = self.open(taken.id, 1 - server) else { return };
            let held =
                Held { spot, from_a: taken.from == 0, at: taken.at, payload: Vec::new(), len: seg.len };
            return self.speak(taken.id, session, &held, seg.payload);
        }
        if seg.len == 0 {
            return;
        }
        let by_opener = known && taken.from == 0;
        let full = self.greeted >= MAX_GREETED;
        let Some(conn) = self.conns.get_mut(taken.id) else { return };
        if by_opener || full || !greets(seg.payload) {
            conn.role = Role::Plain;
            return;
        }
        self.greeted += 1;
        conn.role = Role::Greeted(Vec::new());
        self.greeted(spot, seg, taken);
    }

    /// A connection that began with a greeting: the client's first line decides.
    fn greeted(&mut self, spot: Spot, seg: &Segment<'_>, taken: Taken) {
        let Some(conn) = self.conns.get_mut(taken.id) else { return };
        let over = conn.is_over();
        let Role::Greeted(held) = &mut conn.role else { return };
        if seg.len > 0 {
            held.push(Held {
                spot,
                from_a: taken.from == 0,
                at: taken.at,
                payload: seg.payload.to_vec(),
                len: seg.len,
            });
        }
        let server_is_a = held.first().is_some_and(|h| h.from_a);
        let mut line: Vec<u8> = Vec::new();
        for part in held.iter().filter(|h| h.from_a != server_is_a).take(64) {
            line.extend(&part.payload);
        }
        let size: usize = held.iter().map(|h| h.payload.len()).sum();
        let full = held.len() >= MAX_UNDECIDED.0 || size >= MAX_UNDECIDED.1;
        let whole = line.iter().position(|b| *b == b'\n');
        if whole.is_none() && !full && !over {
            return;
        }
        let held = std::mem::take(held);
        self.greeted = self.greeted.saturating_sub(1);
        conn.role = Role::Plain;
        if !is_ftp(line.get(..whole.unwrap_or(0)).unwrap_or_default()) {
            return;
        }
        let Some(session) = self.open(taken.id, usize::from(server_is_a)) else { return };
        for part in held {
            let payload = part.payload.clone();
            self.speak(taken.id, session, &part, &payload);
        }
    }

    /// Makes a session of a connection; `client` is the end that is the client, 0 for `a`.
    fn open(&mut self, id: usize, client: usize) -> Option<usize> {
        let conn = self.conns.get_mut(id)?;
        if self.sessions.len() >= MAX_SESSIONS {
            conn.role = Role::Plain;
            self.not_read += 1;
            return None;
        }
        let number = self.sessions.len();
        conn.role = Role::Control(number);
        self.sessions.push(Session::new(id, client, !conn.opener_known(), self.settings.show_secrets));
        Some(number)
    }

    fn speak(&mut self, id: usize, session: usize, what: &Held, payload: &[u8]) {
        let Some(conn) = self.conns.get(id) else { return };
        let Some(session) = self.sessions.get_mut(session) else { return };
        let client = session.client;
        let acked = [conn.flows[client].acked, conn.flows[1 - client].acked];
        let before = session.weight();
        session.segment(&Part {
            spot: what.spot,
            from_client: what.from_a == (client == 0),
            at: what.at,
            payload,
            len: what.len,
            acked,
            keep: self.kept < MAX_KEPT,
        });
        self.kept += session.weight() - before;
    }
}

/// Whether a server may be greeting a client of FTP with these bytes.
fn greets(bytes: &[u8]) -> bool {
    // One byte at a time it is a greeting until it is not.
    let fits = |code: &[u8; 3]| {
        let n = bytes.len().min(3);
        bytes.get(..n) == code.get(..n)
            && bytes.get(3).is_none_or(|b| matches!(b, b' ' | b'-' | b'\r' | b'\n'))
    };
    fits(b"220") || fits(b"120")
}

/// Whether a client of FTP says this first. What other protocols say as well, after the same greeting, is no proof.
fn is_ftp(line: &[u8]) -> bool {
    let verb = line.split(|b| matches!(b, b' ' | b'\r')).next().unwrap_or_default();
    let common = matches!(Verb::of(verb), Verb::Noop | Verb::Quit | Verb::Help | Verb::Other);
    let known: Option<Foreign> = foreign_first_line(line);
    known.is_none() && !common
}
