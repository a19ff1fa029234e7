//! Replies of the server: passed back as they come, or held and turned into what the client asked for.

use super::control::{Control, Tag};
use super::opaque::Cover;
use super::settings::Ftps;
use super::shared::Shared;
use crate::event::What;
use crate::ftp::feat::{self, Policy};
use crate::ftp::hostport::{self, PassiveError};
use crate::ftp::pending::Match;
use crate::ftp::reply::{self, Class, Part, ReplyLine};
use crate::ftp::verb::Verb;
use crate::ftp::{Mode, lossy, telnet};
use crate::time::Instant;

/// Whether replies go to the client or wait for a relayed data connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// They go.
    Open,
    /// A 1xx waits for the connection to the client.
    Connecting,
    /// A final reply waits for the client to have the data, at most until then.
    Delivering(Instant),
}

/// In the place of an address that nobody asked for.
const UNASKED: &[u8] = b"Nobody asked for an address.";

impl Control {
    /// Says something to the client: now, or when the gate opens.
    pub(super) fn say(&mut self, bytes: &[u8]) {
        let queue = if self.gate == Gate::Open { &mut self.to_client } else { &mut self.gated };
        telnet::escape_into(queue, bytes);
    }

    pub(super) fn open_gate(&mut self) {
        self.gate = Gate::Open;
        self.gated_final = None;
        self.to_client.append(&mut self.gated);
    }

    pub(super) fn on_reply_line(&mut self, shared: &mut Shared, line: &[u8]) {
        let awaited = self.pending.awaited();
        let l = self.replies.push(line, awaited);
        match l.part {
            Part::TooLong => return self.give_up(shared, "reply of the server too long"),
            Part::Stray => {
                if !matches!(self.pending.front().map(|e| &e.tag), Some(Tag::Swallowed)) {
                    self.pass_text(line);
                }
                return;
            }
            _ => {}
        }
        let hold = match self.pending.front().map(|e| &e.tag) {
            Some(tag) => (tag.sets_up() || matches!(tag, Tag::Feat | Tag::Auth)) && l.code != 421,
            None => false,
        };
        let swallow = matches!(self.pending.front().map(|e| &e.tag), Some(Tag::Swallowed)) && l.code != 421;
        if hold {
            if !self.held.push(&l) {
                return self.give_up(shared, "reply of the server too long to hold");
            }
        } else if !swallow {
            if matches!(l.part, Part::Whole | Part::First) {
                self.gate_for(shared, &l);
            }
            // A client could take it for the answer to its next PASV, and connect to wherever it says.
            if names_address(l.code, l.text) {
                shared.counters.unasked_addresses += 1;
                let head = line.len() - l.text.len();
                self.pass(&[line.get(..head).unwrap_or_default(), UNASKED].concat());
            } else if l.part == Part::Middle && l.text.len() == line.len() {
                self.pass_text(line);
            } else {
                self.pass(line);
            }
        }
        if l.part.ends() {
            self.on_reply(shared, &l, swallow);
        }
    }

    fn pass(&mut self, line: &[u8]) {
        let mut whole = Vec::with_capacity(line.len() + 2);
        whole.extend_from_slice(line);
        whole.extend_from_slice(b"\r\n");
        self.say(&whole);
    }

    /// Passes a line that is no reply. If it begins like one it gets the blank that the server owes (RFC 959
    /// 4.2): a client that looks at three digits only would take it for an answer.
    fn pass_text(&mut self, line: &[u8]) {
        match line.first_chunk::<3>() {
            Some(head) if head.iter().all(u8::is_ascii_digit) => self.pass(&[b" ", line].concat()),
            _ => self.pass(line),
        }
    }

    /// Closes the gate before the first line of a reply that has to wait for relayed data.
    fn gate_for(&mut self, shared: &mut Shared, l: &ReplyLine<'_>) {
        if !matches!(self.pending.front().map(|e| &e.tag), Some(Tag::Transfer)) {
            return;
        }
        let own = self.pending.front().is_some_and(|e| e.verb.is_own_completion(l.code));
        if self.gate == Gate::Connecting && own && Class::of(l.code) == Some(Class::Success) {
            // The server is done with a short transfer before the client is connected.
            self.gated_final.get_or_insert(self.gated.len());
        }
        if self.gate != Gate::Open {
            return;
        }
        match Class::of(l.code) {
            Some(Class::Preliminary) if self.relay_connect_client(shared) => self.gate = Gate::Connecting,
            // Not the answer to a NOOP in mid-transfer.
            Some(Class::Success) if own && self.relay_undelivered(shared) => {
                self.gate = Gate::Delivering(self.delivery_until(shared));
            }
            _ => {}
        }
    }

    fn on_reply(&mut self, shared: &mut Shared, l: &ReplyLine<'_>, swallowed: bool) {
        let held = std::mem::take(&mut self.held);
        // A server that does not know EPSV is asked again in the old way; the command stays unanswered.
        if let Some(front) = self.pending.front_mut()
            && front.verb == Verb::Epsv
            && matches!(front.tag, Tag::Passive { .. } | Tag::Active { .. })
            && matches!(l.code, 500..=504 | 520..=529)
            && self.server.is_ipv4()
        {
            front.verb = Verb::Pasv;
            self.server_epsv = false;
            self.to_server.extend_from_slice(b"PASV\r\n");
            return;
        }
        // Nor PORT.
        if let Some(front) = self.pending.front_mut()
            && front.verb == Verb::Port
            && matches!(front.tag, Tag::Named)
            && matches!(l.code, 500..=504)
            && self.name_again()
        {
            if let Some(front) = self.pending.front_mut() {
                front.verb = Verb::Eprt;
            }
            return;
        }
        let outcome = self.pending.on_reply(l.code);
        if let Some(skipped) = outcome.skipped
            && matches!(skipped.tag, Tag::Transfer | Tag::Swallowed)
        {
            self.transfer_replied(shared, 426);
        }
        let mut source = "server";
        let mut told = false;
        match outcome.what {
            Match::Unsolicited => {
                self.greet(shared, Class::of(l.code).is_some_and(Class::completes));
            }
            Match::Preliminary | Match::Extra => {}
            Match::Closing => self.greet(shared, true),
            Match::Done(entry) => match entry.tag {
                Tag::Plain | Tag::Local(_) => {
                    // Not only 230 and 232: 202 where a password was superfluous, and plain 200 from small servers.
                    let login = matches!(entry.verb, Verb::User | Verb::Pass | Verb::Acct);
                    if login && Class::of(l.code) == Some(Class::Success) {
                        self.logged_in = true;
                    }
                }
                Tag::Swallowed => self.transfer_replied(shared, l.code),
                Tag::Transfer => self.transfer_replied(shared, l.code),
                Tag::Auth => {
                    let mut out = Vec::new();
                    pass_held(&mut out, l.code, held.lines());
                    if l.code == 234 {
                        told = true;
                        self.cover = Cover::Agreed(out);
                    } else {
                        self.say(&out);
                    }
                }
                Tag::Feat => {
                    source = "edited";
                    let mut out = Vec::new();
                    if l.code == 211 {
                        let opaque = shared.settings.services[self.service].ftps == Ftps::Opaque;
                        let hide = if opaque { &[] } else { feat::FTPS };
                        feat::rewrite(&mut out, held.lines(), &Policy { hide, add: &[] });
                    } else if held.lines().any(|text| names_address(l.code, text)) {
                        shared.counters.unasked_addresses += 1;
                        reply::write(&mut out, l.code, UNASKED);
                    } else {
                        pass_held(&mut out, l.code, held.lines());
                    }
                    self.say(&out);
                }
                Tag::Passive { .. } | Tag::Active { .. } if l.code >= 300 => {
                    let mut out = Vec::new();
                    pass_held(&mut out, l.code, held.lines());
                    self.say(&out);
                }
                Tag::Named if l.code >= 300 => {
                    self.named_refused(shared);
                    let mut out = Vec::new();
                    pass_held(&mut out, l.code, held.lines());
                    self.say(&out);
                }
                Tag::Named => {
                    told = true;
                    // Whoever took EPRT for IPv4 was asked with PORT before.
                    self.server_port &= entry.verb == Verb::Port;
                    self.named_ready(shared);
                }
                Tag::Passive { asked } => {
                    told = true;
                    match hostport::parse_passive(l.code, held.lines(), Mode::Lenient) {
                        Ok(a) if shared.allows_port(a.port).is_err() => self.port_denied(shared),
                        Ok(a) => self.passive_ready(shared, asked, a.port),
                        Err(e) => self.no_port(shared, e),
                    }
                }
                Tag::Active { asked, client } => {
                    told = true;
                    match hostport::parse_passive(l.code, held.lines(), Mode::Lenient) {
                        Ok(a) if shared.allows_port(a.port).is_err() => self.port_denied(shared),
                        Ok(a) => self.active_ready(shared, asked, client, a.port),
                        Err(e) => self.no_port(shared, e),
                    }
                }
            },
        }
        if !swallowed && !told {
            shared.event(What::Reply { session: self.id, code: l.code, text: lossy(l.text), source });
        }
        self.local_answers(shared);
    }

    /// Our own answers whose turn has come.
    fn local_answers(&mut self, shared: &mut Shared) {
        while self.greeted && matches!(self.pending.front().map(|e| &e.tag), Some(Tag::Local(_))) {
            // The reply's own code takes exactly this entry out: it is no transfer and no ABOR.
            let Match::Done(entry) = self.pending.on_reply(550).what else { break };
            let Tag::Local(line) = entry.tag else { break };
            self.say(&line);
            let code = line.get(..3).and_then(|c| std::str::from_utf8(c).ok()).and_then(|c| c.parse().ok());
            let text = lossy(line.get(4..).unwrap_or_default()).trim_end().to_owned();
            shared.event(What::Reply { session: self.id, code: code.unwrap_or(0), text, source: "gateway" });
        }
    }

    fn no_port(&mut self, shared: &mut Shared, e: PassiveError) {
        let why = match e {
            PassiveError::Missing => "the server's reply names no port",
            PassiveError::ZeroPort => "the server's reply names port 0",
            PassiveError::Code => "the server did not answer the question",
        };
        self.no_data(shared, why);
    }

    /// The server listens where data connections are not opened to.
    fn port_denied(&mut self, shared: &mut Shared) {
        self.no_data(shared, "the server names a port that is not allowed");
    }
}

/// Whether a client might read an address or a port in a line of a reply.
fn names_address(code: u16, text: &[u8]) -> bool {
    let found = hostport::parse_passive(code, std::iter::once(text), Mode::Lenient);
    !matches!(found, Err(PassiveError::Missing | PassiveError::Code))
}

/// A held reply as it came, but for blanks that make it well formed.
fn pass_held<'a>(out: &mut Vec<u8>, code: u16, lines: impl DoubleEndedIterator<Item = &'a [u8]> + Clone) {
    let mut all = lines;
    let Some(last) = all.next_back() else { return };
    match all.next() {
        None => reply::write(out, code, last),
        Some(first) => reply::write_multi(out, code, first, all, last),
    }
}
