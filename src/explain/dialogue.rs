//! What was said on a control connection, read by the gateway's own parser.

use super::Spot;
use super::stream::{Assembler, Piece};
use super::words::{clean, masked};
use crate::ftp::Mode;
use crate::ftp::command::{Command, Foreign, foreign_first_line, starts_tls};
use crate::ftp::hostport::{EpsvArg, parse_eprt, parse_epsv, parse_lprt, parse_passive, parse_port};
use crate::ftp::line::Line;
use crate::ftp::pending::{Match, Pending};
use crate::ftp::reader::{Input, Reader};
use crate::ftp::reply::{Held, ReplyReader};
use crate::ftp::verb::Verb;
use std::net::{IpAddr, SocketAddr};

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
}

impl Side {
    fn new() -> Self {
        Self { assembler: Assembler::default(), reader: Reader::new(LINE), spoke: false, torn: false }
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
    /// From here on nothing can be read; by AUTH, or by TLS from the start.
    pub(super) encrypted: Option<Spot>,
    pub(super) auth: Option<Spot>,
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
            encrypted: None,
            auth: None,
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
        if side.assembler.conflict && self.conflict.is_none() && self.encrypted.is_none() {
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
            if self.encrypted.is_some() || self.foreign.is_some() {
                continue;
            }
            match piece {
                Piece::Bytes(bytes) => self.bytes(side, &bytes, part),
                Piece::Lost(n) => self.gap(side, n, part),
            }
        }
    }

    fn bytes(&mut self, side: usize, bytes: &[u8], part: &Part<'_>) {
        if side == 0 && !self.sides[0].spoke && !self.mid && starts_tls(bytes) {
            self.encrypted = Some(part.spot);
            return self.note(part, "TLS from the first byte: nothing of this connection can be read");
        }
        self.sides[side].spoke = true;
        let mut lines: Vec<(Vec<u8>, bool, bool)> = Vec::new();
        let mut input = bytes;
        let reader = &mut self.sides[side].reader;
        while let Some(item) = reader.next(&mut input) {
            match item {
                Input::Line(line) => lines.push((line.bytes.to_vec(), line.crlf, line.synch)),
                Input::Overlong { head } => lines.push(([head, b"..."].concat(), true, false)),
                Input::Answer(_) | Input::Runaway => {}
            }
        }
        for (bytes, crlf, synch) in lines {
            if self.encrypted.is_some() || self.foreign.is_some() {
                return;
            }
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

    fn reply(&mut self, line: &Line<'_>, part: &Part<'_>, cut: bool) {
        let awaited = self.pending.awaited();
        let got = self.replies_in.push(line.bytes, awaited);
        let coded = |l: &[u8]| l.first_chunk::<3>().is_some_and(|c| c.iter().all(u8::is_ascii_digit));
        self.reply_lines += u64::from(coded(line.bytes));
        use crate::ftp::reply::Part as P;
        match got.part {
            P::Stray => {
                let text = clean(line.bytes);
                // A reply without a code is none; but the announcement that it was to be came to nothing.
                if let Some(Tag::Setup(i)) = self.pending.front().map(|e| e.tag)
                    && let Some(setup) =
                        self.setups.get_mut(i).filter(|s| s.said == Said::Asked && s.passive())
                {
                    (setup.said, setup.answered, setup.text) =
                        (Said::NoAddress, Some(part.spot), text.clone());
                }
                if !text.is_empty() {
                    self.entry(part, Who::Server, None, text);
                }
                return;
            }
            P::TooLong => return,
            P::Whole | P::First => {
                self.first_text = clean(got.text);
                self.more_lines = 0;
                self.held.clear();
            }
            P::Middle | P::Last => self.more_lines += 1,
        }
        let (code, text) = (got.code, clean(got.text));
        if matches!(code, 227..=229) && !self.held.push(&got) {
            self.held.clear();
        }
        if !got.part.ends() && !cut {
            return;
        }
        self.replies += 1;
        let mut shown = match self.more_lines {
            0 => self.first_text.clone(),
            n if self.first_text.is_empty() => format!("({} lines) {text}", n + 1),
            1 => format!("{} (and 1 more line)", self.first_text),
            n => format!("{} (and {n} more lines)", self.first_text),
        };
        if cut {
            shown += " (cut off here)";
        }
        let text = if got.part == P::Last && !text.is_empty() { text } else { self.first_text.clone() };
        self.entry(part, Who::Server, Some(code), shown);
        self.on_reply(code, text, part, cut);
        self.held.clear();
    }

    fn on_reply(&mut self, code: u16, text: String, part: &Part<'_>, cut: bool) {
        let end = self.sides[1].assembler.position();
        let answer = Answer { spot: part.spot, code, text, end };
        let outcome = self.pending.on_reply(code);
        match outcome.what {
            Match::Preliminary => {
                if let Some(Tag::Transfer(t)) = self.pending.front().map(|e| e.tag)
                    && let Some(t) = self.transfers.get_mut(t)
                {
                    t.begun = Some(answer);
                }
            }
            Match::Done(entry) => match entry.tag {
                Tag::Setup(i) => self.set_up(i, &answer, cut),
                Tag::Transfer(i) => self.transferred(i, answer),
                Tag::Other => {
                    if entry.verb == Verb::Auth && matches!(code, 234 | 334) {
                        self.encrypted = Some(part.spot);
                        self.auth = Some(part.spot);
                        self.note(part, "from here on the control connection is encrypted");
                    }
                }
            },
            Match::Closing => {
                self.closing = Some(part.spot);
                if let Some(t) = self.transfers.last_mut().filter(|t| t.done.is_none()) {
                    t.done = Some(answer);
                }
            }
            Match::Extra => {}
            Match::Unsolicited => self.unasked(answer, part, cut),
        }
    }

    /// A reply whose command was not captured.
    fn unasked(&mut self, answer: Answer, part: &Part<'_>, cut: bool) {
        let incomplete = self.mid || self.lost > 0 || !self.sides[0].spoke;
        if !incomplete || !part.keep {
            return;
        }
        let verb = match answer.code {
            227 => Verb::Pasv,
            228 => Verb::Lpsv,
            229 => Verb::Epsv,
            125 | 150 => {
                self.transfers.push(Transfer {
                    verb: None,
                    name: String::new(),
                    setup: self.current,
                    asked: part.spot,
                    begun: Some(answer),
                    done: None,
                    aborted: None,
                });
                return;
            }
            code => {
                let open = self.transfers.len().checked_sub(1);
                let ends = matches!(code, 226 | 250 | 425 | 426 | 450..=452 | 550..=553);
                if let Some(i) = open.filter(|_| ends)
                    && self.transfers.get(i).is_some_and(|t| t.done.is_none() && t.verb.is_none())
                {
                    self.transferred(i, answer);
                }
                return;
            }
        };
        self.setups.push(Setup {
            verb,
            asked: part.spot,
            answered: None,
            code: 0,
            said: Said::Asked,
            address: None,
            port: None,
            text: String::new(),
            before: None,
        });
        self.current = Some(self.setups.len() - 1);
        self.set_up(self.setups.len() - 1, &answer, cut);
    }

    /// The announcement that is in force.
    fn accepted(&self) -> Option<usize> {
        self.current.filter(|i| self.setups.get(*i).is_some_and(|s| s.said == Said::Accepted))
    }

    fn set_up(&mut self, i: usize, answer: &Answer, cut: bool) {
        let Some(setup) = self.setups.get_mut(i).filter(|s| matches!(s.said, Said::Asked | Said::Cut)) else {
            return;
        };
        (setup.answered, setup.code) = (Some(answer.spot), answer.code);
        if answer.code >= 400 {
            setup.said = Said::Refused;
            setup.text = answer.text.clone();
            if let Some(before) = setup.before.filter(|_| self.current == Some(i)) {
                self.current = Some(before);
            }
        } else if setup.passive() {
            setup.text = answer.text.clone();
            match parse_passive(answer.code, self.held.lines(), Mode::Lenient) {
                // Of a number that is cut off the rest might be missing.
                _ if cut => setup.said = Said::Cut,
                Ok(at) => {
                    (setup.said, setup.address, setup.port) = (Said::Accepted, at.address, Some(at.port));
                }
                Err(_) => setup.said = Said::NoAddress,
            }
        } else if setup.said != Said::Cut {
            setup.said = if setup.port.is_some() { Said::Accepted } else { Said::NoAddress };
        }
        if setup.said == Said::Accepted {
            self.last_accepted = self.last_accepted.max(setup.asked.order);
        }
    }

    fn transferred(&mut self, i: usize, answer: Answer) {
        let Some(transfer) = self.transfers.get_mut(i) else { return };
        let done = answer.code < 400;
        transfer.done = Some(answer);
        // A listener is used once; a client's announcement stays until the next (RFC 959 section 5.1).
        let setup = transfer.setup.and_then(|s| self.setups.get(s));
        if done && setup.is_some_and(Setup::passive) && transfer.setup == self.current {
            self.current = None;
        }
    }
}
