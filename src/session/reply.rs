//! Replies of the server: passed back as they come, or held and turned into what the client asked for.

use super::control::{Control, Tag};
use super::opaque::Cover;
use super::settings::Ftps;
use super::shared::{Shared, lossy};
use crate::event::What;
use crate::ftp::feat::{self, Policy};
use crate::ftp::hostport::{self, PassiveError};
use crate::ftp::pending::Match;
use crate::ftp::reply::{self, Class, Part, ReplyLine};
use crate::ftp::verb::Verb;
use crate::ftp::{Mode, telnet};
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
            Part::TooLong => return self.abandon("reply of the server too long"),
            Part::Stray => {
                if !matches!(self.pending.front().map(|e| &e.tag), Some(Tag::Swallowed)) {
                    self.pass(line);
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
                return self.abandon("reply of the server too long to hold");
            }
        } else if !swallow {
            if matches!(l.part, Part::Whole | Part::First) {
                self.gate_for(shared, &l);
            }
            self.pass(line);
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
                if Class::of(l.code).is_some_and(Class::completes) {
                    self.greeted = true;
                }
            }
            Match::Preliminary | Match::Extra => {}
            Match::Closing => {
                self.greeted = true;
            }
            Match::Done(entry) => match entry.tag {
                Tag::Plain | Tag::Local(_) => {
                    if matches!(l.code, 230 | 232) {
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
                        Ok(a) => self.passive_ready(shared, asked, a.port),
                        Err(e) => self.no_port(shared, e),
                    }
                }
                Tag::Active { asked, client } => {
                    told = true;
                    match hostport::parse_passive(l.code, held.lines(), Mode::Lenient) {
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
        self.expectation(shared, "refused", self.client, None, why);
        let mut out = Vec::new();
        reply::write(&mut out, 425, format!("No data connection: {why}.").as_bytes());
        self.say_reply(shared, &out, "gateway");
    }
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
