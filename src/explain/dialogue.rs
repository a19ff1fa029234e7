//! What was said on a control connection, read by the gateway's own parser.

use super::Spot;
use super::stream::{Assembler, Piece};
use super::words::{clean, masked};
use crate::ftp::Mode;
use crate::ftp::command::{Command, Foreign, foreign_first_line, starts_tls};
use crate::ftp::hostport::{EpsvArg, parse_eprt, parse_epsv, parse_lprt, parse_port};
use crate::ftp::line::Line;
use crate::ftp::pending::Pending;
use crate::ftp::reader::{Input, Reader};
use crate::ftp::reply::{Held, ReplyReader};
use crate::ftp::tls::Records;
use crate::ftp::verb::Verb;
use std::net::{IpAddr, SocketAddr};

mod cover;
mod reply;

pub(super) use cover::Hidden;

/// Longest line, in bytes.
const LINE: usize = 8192;

/// Who spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Client,
    Server,
    /// Nobody: a remark.
    Note,
}

/// A line of the timeline.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) spot: Spot,
    pub(super) who: Who,
    pub(super) code: Option<u16>,
    pub(super) text: String,
}

/// How an announcement of a data connection went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// No answer yet.
    Asked,
    Accepted,
    /// 4xx or 5xx.
    Refused,
    /// Accepted, but no address and port in it.
    NoAddress,
    /// The capture cut it off.
    Cut,
}

/// PASV, PORT and their like.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) verb: Verb,
    pub(super) asked: Spot,
    pub(super) answered: Option<Spot>,
    pub(super) code: u16,
    pub(super) said: Said,
    /// The address in the text, if there is one, and the port.
    pub(super) address: Option<IpAddr>,
    pub(super) port: Option<u16>,
    /// The command's argument or the reply's text.
    pub(super) text: String,
    /// The announcement before it that stays in force if this one is refused.
    pub(super) before: Option<usize>,
}

impl Setup {
    pub(super) fn passive(&self) -> bool {
        self.verb.is_passive_setup()
    }
}

/// A reply to a transfer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) spot: Spot,
    pub(super) code: u16,
    pub(super) text: String,
    /// Where in the server's stream it ends.
    pub(super) end: u64,
}

/// RETR, STOR, LIST and their like.
#[derive(Debug, Clone)]
pub(super) struct Transfer {
    /// `None`: its command was not captured.
    pub(super) verb: Option<Verb>,
    pub(super) name: String,
    pub(super) setup: Option<usize>,
    pub(super) asked: Spot,
    pub(super) begun: Option<Answer>,
    pub(super) done: Option<Answer>,
    pub(super) aborted: Option<Spot>,
}

#[derive(Debug, Clone, Copy)]
enum Tag {
    Setup(usize),
    Transfer(usize),
    Other,
}

#[derive(Debug)]
struct Side {
    assembler: Assembler,
    reader: Reader,
    /// Bytes came.
    spoke: bool,
    /// Bytes before the next ones are missing: they may be the rest of a line.
    torn: bool,
    /// It is encrypted.
    records: Option<Records>,
}

impl Side {
    fn new() -> Self {
        Self {
            assembler: Assembler::default(),
            reader: Reader::new(LINE),
            spoke: false,
            torn: false,
            records: None,
        }
    }
}

/// A control connection's dialogue.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) conn: usize,
    /// Which end of the connection is the client: 0 for `a`.
    pub(super) client: usize,
    /// The beginning was not captured.
    pub(super) mid: bool,
    /// Client and server.
    sides: [Side; 2],
    pending: Pending<Tag>,
    replies_in: ReplyReader,
    held: Held,
    first_text: String,
    more_lines: u32,
    pub(super) entries: Vec<Entry>,
    pub(super) setups: Vec<Setup>,
    pub(super) transfers: Vec<Transfer>,
    current: Option<usize>,
    /// When the last announcement was asked for that was accepted.
    pub(super) last_accepted: u64,
    /// Where nothing can be read: behind AUTH, or from the start.
    pub(super) hidden: Vec<Hidden>,
    pub(super) foreign: Option<Foreign>,
    pub(super) closing: Option<Spot>,
    pub(super) user: Option<String>,
    pub(super) commands: u64,
    pub(super) replies: u64,
    /// Lines with a code.
    pub(super) reply_lines: u64,
    /// Payload that was not captured, in bytes.
    pub(super) lost: u64,
    pub(super) lost_at: Option<Spot>,
    /// A repetition differs from what was sent first.
    pub(super) conflict: Option<Spot>,
    show_secrets: bool,
    /// Entries were left out.
    pub(super) shortened: bool,
}

/// What a segment of a control connection brings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) spot: Spot,
    pub(super) from_client: bool,
    /// Where the payload begins in its direction's stream.
    pub(super) at: i64,
    pub(super) payload: &'a [u8],
    pub(super) len: u32,
    /// What is acknowledged of the client's and of the server's stream.
    pub(super) acked: [u64; 2],
    /// Keep texts; else only count.
    pub(super) keep: bool,
}

impl Session {
    pub(super) fn new(conn: usize, client: usize, mid: bool, show_secrets: bool) -> Self {
        let mut sides = [Side::new(), Side::new()];
        for side in &mut sides {
            side.torn = mid;
            if !mid {
                side.assembler.begin();
            }
        }
        Self {
            conn,
            client,
            mid,
            sides,
            pending: Pending::default(),
            replies_in: ReplyReader::default(),
            held: Held::default(),
            first_text: String::new(),
            more_lines: 0,
            entries: Vec::new(),
            setups: Vec::new(),
            transfers: Vec::new(),
            current: None,
            last_accepted: 0,
            hidden: Vec::new(),
            foreign: None,
            closing: None,
            user: None,
            commands: 0,
            replies: 0,
            reply_lines: 0,
            lost: 0,
            lost_at: None,
            conflict: None,
            show_secrets,
            shortened: false,
        }
    }

    /// How much is kept for the report.
    pub(super) fn weight(&self) -> usize {
        self.entries.len() + self.setups.len() + self.transfers.len()
    }

    /// Which ends were heard: client and server.
    pub(super) fn spoke(&self) -> [bool; 2] {
        [self.sides[0].spoke, self.sides[1].spoke]
    }

    /// A segment of either end.
    pub(super) fn segment(&mut self, part: &Part<'_>) {
        let from = usize::from(!part.from_client);
        // What it acknowledges was said before it.
        self.drain(1 - from, part, false);
        let side = &mut self.sides[from];
        side.assembler.push(part.at, part.payload, part.len);
        if side.assembler.conflict && self.conflict.is_none() && side.records.is_none() {
            self.conflict = Some(part.spot);
        }
        self.drain(from, part, false);
    }

    /// The capture, or the connection, is over.
    pub(super) fn finish(&mut self, spot: Spot, keep: bool) {
        let part = Part { spot, from_client: true, at: 0, payload: &[], len: 0, acked: [u64::MAX; 2], keep };
        for side in [0, 1] {
            self.drain(side, &part, true);
        }
    }

    fn drain(&mut self, side: usize, part: &Part<'_>, end: bool) {
        while let Some(piece) = self.sides[side].assembler.next(part.acked[side], end) {
            if self.foreign.is_some() {
                continue;
            }
            match (piece, &mut self.sides[side].records) {
                (Piece::Bytes(bytes), Some(_)) => self.encrypted(side, &bytes, part),
                (Piece::Lost(n), Some(records)) => records.skip(n),
                (Piece::Bytes(bytes), None) => self.bytes(side, &bytes, part),
                (Piece::Lost(n), None) => self.gap(side, n, part),
            }
        }
    }

    fn bytes(&mut self, side: usize, bytes: &[u8], part: &Part<'_>) {
        if side == 0 && !self.sides[0].spoke && !self.mid && starts_tls(bytes) {
            self.hide(part.spot, false);
            return self.note(part, "TLS from the first byte: nothing of this connection can be read");
        }
        self.sides[side].spoke = true;
        let mut input = bytes;
        while self.foreign.is_none() {
            if self.sides[side].records.is_some() {
                return self.encrypted(side, input, part);
            }
            let (bytes, crlf, synch) = match self.sides[side].reader.next(&mut input) {
                Some(Input::Line(line)) => (line.bytes.to_vec(), line.crlf, line.synch),
                Some(Input::Overlong { head }) => ([head, b"..."].concat(), true, false),
                Some(Input::Answer(_) | Input::Runaway) => continue,
                None => return,
            };
            let line = Line { bytes: &bytes, crlf, synch };
            if side == 0 { self.command(&line, part, false) } else { self.reply(&line, part, false) }
        }
    }

    /// Bytes that the capture does not hold.
    fn gap(&mut self, side: usize, n: u64, part: &Part<'_>) {
        self.lost = self.lost.saturating_add(n);
        self.lost_at.get_or_insert(part.spot);
        let partial = self.sides[side].reader.partial().to_vec();
        self.sides[side].reader = Reader::new(LINE);
        let line = Line { bytes: &partial, crlf: true, synch: false };
        if !partial.is_empty() {
            if side == 0 { self.command(&line, part, true) } else { self.reply(&line, part, true) }
        }
        self.sides[side].torn = true;
        if side == 1 {
            self.replies_in = ReplyReader::default();
        }
        let who = if side == 0 { "client" } else { "server" };
        self.note(part, &format!("{n} bytes of the {who} were not captured"));
    }

    fn note(&mut self, part: &Part<'_>, text: &str) {
        self.entry(part, Who::Note, None, text.to_owned());
    }

    fn entry(&mut self, part: &Part<'_>, who: Who, code: Option<u16>, text: String) {
        if part.keep {
            self.entries.push(Entry { spot: part.spot, who, code, text });
        } else {
            self.shortened = true;
        }
    }

    fn command(&mut self, line: &Line<'_>, part: &Part<'_>, cut: bool) {
        if self.commands == 0 && !self.mid && !cut {
            match foreign_first_line(line.bytes) {
                None | Some(Foreign::Unknown) => {}
                Some(who) => {
                    self.foreign = Some(who);
                    return self.note(part, "the client does not speak FTP");
                }
            }
        }
        let torn = std::mem::take(&mut self.sides[0].torn);
        let parsed = Command::parse(line, Mode::Lenient);
        if torn && !matches!(parsed, Ok(Some(c)) if c.verb != Verb::Other) {
            // It may be the end of a password.
            let n = line.bytes.len();
            return self.note(part, &format!("the rest of a line of the client, {n} bytes"));
        }
        let command = match parsed {
            Ok(None) => return,
            Ok(Some(command)) => command,
            Err(_) => {
                self.commands += 1;
                let _ = self.pending.push(Verb::Other, Tag::Other);
                let shown = if self.show_secrets { clean(line.bytes) } else { masked(line.bytes) };
                return self.entry(part, Who::Client, None, shown);
            }
        };
        self.commands += 1;
        let shown = if command.is_secret() && !self.show_secrets && command.has_argument {
            let site = if command.verb == Verb::Site { "PSWD " } else { "" };
            format!("{} {site}****", clean(command.verb_text))
        } else {
            clean(line.bytes)
        };
        let shown = if cut { format!("{shown} (cut off here)") } else { shown };
        self.entry(part, Who::Client, None, shown);
        let argument = command.argument;
        if command.verb == Verb::User {
            self.user = Some(clean(argument));
        }
        let tag = if part.keep { self.tag(&command, part, cut) } else { Tag::Other };
        if command.verb == Verb::Abor
            && let Some(t) = self.transfers.last_mut().filter(|t| t.done.is_none())
        {
            t.aborted = Some(part.spot);
        }
        // Beyond the bound replies are matched no longer; a client that sends so much awaits none.
        let _ = self.pending.push(command.verb, tag);
    }

    fn tag(&mut self, command: &Command<'_>, part: &Part<'_>, cut: bool) -> Tag {
        let (verb, argument) = (command.verb, command.argument);
        if verb.is_data_setup() && !(verb == Verb::Epsv && parse_epsv(argument) == Ok(EpsvArg::All)) {
            let at = match verb {
                _ if cut => None,
                Verb::Port => parse_port(argument).ok().map(SocketAddr::V4),
                Verb::Eprt => parse_eprt(argument, Mode::Lenient).ok(),
                Verb::Lprt => parse_lprt(argument).ok(),
                _ => None,
            };
            self.setups.push(Setup {
                verb,
                asked: part.spot,
                answered: None,
                code: 0,
                said: if cut && verb.is_active_setup() { Said::Cut } else { Said::Asked },
                address: at.map(|a| a.ip()),
                port: at.map(|a| a.port()),
                text: clean(argument),
                before: self.accepted(),
            });
            self.current = Some(self.setups.len() - 1);
            return Tag::Setup(self.setups.len() - 1);
        }
        if verb.is_transfer() {
            self.transfers.push(Transfer {
                verb: Some(verb),
                name: clean(argument),
                setup: self.current,
                asked: part.spot,
                begun: None,
                done: None,
                aborted: None,
            });
            return Tag::Transfer(self.transfers.len() - 1);
        }
        Tag::Other
    }
}
