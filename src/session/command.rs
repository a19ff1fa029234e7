//! Commands of the client: passed on, turned into others, answered, or refused.

use super::control::{Control, Tag, Transfer};
use super::settings::{ClientMode, Ftps};
use super::shared::Shared;
use crate::event::{Event, What};
use crate::ftp::command::{Command, Fault, Foreign, foreign_first_line};
use crate::ftp::hostport::{self, ArgError, EpsvArg};
use crate::ftp::line::Line;
use crate::ftp::verb::Verb;
use crate::ftp::{Mode, lossy, reply, telnet};
use std::net::SocketAddr;

impl Control {
    pub(super) fn on_command(&mut self, shared: &mut Shared, line: &Line<'_>) {
        let parsed = match Command::parse(line, Mode::Lenient) {
            Ok(None) => return,
            // A CR that is not part of a name as RFC 2640 3.1 writes it: a server that takes it for the end of
            // the line would see a command that we have not.
            Ok(Some(_)) if line.has_bare_cr() => Err(Fault::BareCr),
            other => other,
        };
        if std::mem::take(&mut self.first_line) {
            let foreign = foreign_first_line(line.bytes).is_some_and(|f| f != Foreign::Unknown);
            // What is no command at all is no client of FTP's, whatever it says next.
            if foreign || parsed.is_err() {
                return self.refuse_foreign(shared);
            }
        }
        let command = match parsed {
            Ok(Some(command)) => command,
            Ok(None) => return,
            Err(fault) => {
                let (code, text) = fault.reply();
                return self.answer(shared, Verb::Other, code, text);
            }
        };
        let waits = match command.verb {
            Verb::Abor | Verb::Quit => false,
            Verb::Auth if self.passes_auth(shared) => self.auth_too_early(),
            verb => self.data.is_waiting() || (verb.is_data_setup() && self.sets_up_too_early()),
        };
        if waits {
            self.deferred = Some((command.verb, line.bytes.to_vec()));
            return;
        }
        let before = shared.events.len();
        let action = self.act(shared, &command, line.synch);
        let (verb, argument) = (lossy(command.verb_text), command.shown());
        let what = What::Command { session: self.id, verb, argument, action, rule: None };
        // Before our own answer to it, which is only known to be one now.
        shared.events.insert(before, Event { at: shared.now, what });
    }

    /// What began a connection to an FTP port and is not FTP.
    pub(super) fn refuse_foreign(&mut self, shared: &mut Shared) {
        shared.counters.not_ftp += 1;
        self.session_event(shared, "refused", "the client does not speak FTP");
        self.abandon("the client does not speak FTP");
    }

    fn act(&mut self, shared: &mut Shared, command: &Command<'_>, synch: bool) -> &'static str {
        match command.verb {
            verb if verb.is_data_setup() && !self.logged_in => {
                self.refuse(shared, verb, 530, "Log in first.")
            }
            Verb::Auth if self.passes_auth(shared) => self.auth(shared, command),
            // In clear text they mean nothing, and the server will say so.
            Verb::Pbsz | Verb::Prot | Verb::Ccc if self.passes_auth(shared) => {
                self.forward(command, Tag::Plain)
            }
            Verb::Adat | Verb::Mic | Verb::Conf | Verb::Enc if self.passes_auth(shared) => self.refuse(
                shared,
                command.verb,
                534,
                "Refused by policy: ftps = \"opaque\" is for AUTH TLS.",
            ),
            Verb::Auth
            | Verb::Adat
            | Verb::Pbsz
            | Verb::Prot
            | Verb::Ccc
            | Verb::Mic
            | Verb::Conf
            | Verb::Enc => self.refuse(shared, command.verb, 534, "Refused by policy: ftps = \"refuse\"."),
            Verb::Rein => self.refuse(shared, command.verb, 502, "REIN is not supported; reconnect instead."),
            Verb::Lprt | Verb::Lpsv => self.refuse(shared, command.verb, 502, "Use EPRT or EPSV."),
            Verb::Sscn | Verb::Cpsv => {
                self.refuse(shared, command.verb, 502, "Server to server transfers are refused.")
            }
            Verb::Pasv => self.passive(shared, Verb::Pasv),
            Verb::Epsv => match hostport::parse_epsv(command.argument) {
                Ok(EpsvArg::All) => {
                    self.epsv_all = true;
                    self.answer(shared, Verb::Epsv, 200, "EPSV ALL ok.");
                    "answered"
                }
                Ok(asked) if !asked.fits(self.client.is_ipv4()) => {
                    let (code, text) = hostport::other_family(Verb::Epsv, self.client.is_ipv4());
                    self.refuse(shared, Verb::Epsv, code, text)
                }
                Ok(_) => self.passive(shared, Verb::Epsv),
                Err(e) => self.refuse_argument(shared, Verb::Epsv, e),
            },
            Verb::Port => match hostport::parse_port(command.argument) {
                Ok(at) => self.active(shared, Verb::Port, at.into()),
                Err(e) => self.refuse_argument(shared, Verb::Port, e),
            },
            Verb::Eprt => match hostport::parse_eprt(command.argument, Mode::Lenient) {
                Ok(at) => self.active(shared, Verb::Eprt, at),
                Err(e) => self.refuse_argument(shared, Verb::Eprt, e),
            },
            Verb::Feat => self.forward(command, Tag::Feat),
            Verb::Abor => {
                if synch {
                    self.to_server.extend_from_slice(&telnet::SYNCH);
                    self.urgent_at = Some(self.to_server.len());
                }
                self.data_abort(shared);
                self.forward(command, Tag::Plain)
            }
            verb if verb.is_transfer() => {
                self.transfer = Some(Transfer { verb, name: lossy(command.argument), code: None });
                if let Err(why) = self.data_begins(shared) {
                    self.transfer = None;
                    return self.refuse(shared, verb, 425, &format!("No data connection: {why}."));
                }
                self.forward(command, Tag::Transfer)
            }
            _ => self.forward(command, Tag::Plain),
        }
    }

    fn passes_auth(&self, shared: &Shared) -> bool {
        shared.settings.services[self.service].ftps == Ftps::Opaque
    }

    pub(super) fn forward(&mut self, command: &Command<'_>, tag: Tag) -> &'static str {
        let mut text = Vec::with_capacity(command.line.len() + 2);
        command.write(&mut text);
        telnet::escape_into(&mut self.to_server, &text);
        // Never full here: commands are not read while it is.
        let _ = self.pending.push(command.verb, tag);
        "forwarded"
    }

    pub(super) fn refuse(&mut self, shared: &mut Shared, verb: Verb, code: u16, text: &str) -> &'static str {
        self.answer(shared, verb, code, text);
        "refused"
    }

    fn refuse_argument(&mut self, shared: &mut Shared, verb: Verb, e: ArgError) -> &'static str {
        let (code, text) = e.reply();
        self.refuse(shared, verb, code, text)
    }

    /// Answers a command ourselves, in its turn.
    pub(super) fn answer(&mut self, shared: &mut Shared, verb: Verb, code: u16, text: &str) {
        let mut line = Vec::new();
        reply::write(&mut line, code, text.as_bytes());
        if self.pending.is_empty() && !self.replies.is_open() && self.greeted {
            self.say_reply(shared, &line, "gateway");
        } else {
            let _ = self.pending.push(verb, Tag::Local(line.into()));
        }
    }

    fn passive(&mut self, shared: &mut Shared, asked: Verb) -> &'static str {
        let service = &shared.settings.services[self.service];
        let (mode, source) = (service.client_mode, service.data_source);
        if mode == ClientMode::Active {
            return self.refuse(
                shared,
                asked,
                502,
                "Refused by policy: client_mode = \"active\"; use PORT or EPRT.",
            );
        }
        if self.epsv_all && asked != Verb::Epsv {
            return self.refuse(shared, asked, 500, "Refused: EPSV ALL was sent.");
        }
        if asked == Verb::Pasv && self.client.is_ipv6() {
            return self.refuse(shared, asked, 502, "PASV names an IPv4 address; use EPSV.");
        }
        if asked == Verb::Epsv && source == super::settings::DataSource::Own {
            let other = if self.client.is_ipv6() { "EPRT" } else { "PASV" };
            let text = format!("Refused by policy: data_source = \"own\"; use {other}.");
            return self.refuse(shared, asked, 502, &text);
        }
        self.data_setup(shared, asked, None)
    }

    fn active(&mut self, shared: &mut Shared, asked: Verb, at: SocketAddr) -> &'static str {
        if shared.settings.services[self.service].client_mode == ClientMode::Passive {
            return self.refuse(
                shared,
                asked,
                502,
                "Refused by policy: client_mode = \"passive\"; use PASV or EPSV.",
            );
        }
        if self.epsv_all {
            return self.refuse(shared, asked, 500, "Refused: EPSV ALL was sent.");
        }
        if at.is_ipv4() != self.client.is_ipv4() {
            let (code, text) = hostport::other_family(asked, self.client.is_ipv4());
            return self.refuse(shared, asked, code, text);
        }
        if at.ip() != self.client.ip() {
            shared.counters.foreign_addresses += 1;
            let reason = "the address is not the client's own";
            self.expectation(shared, "refused", at, None, reason);
            return self.refuse(shared, asked, 504, "Refused: the address is not yours.");
        }
        if let Err(e) = shared.allows_port(at.port()) {
            self.expectation(shared, "refused", at, None, "the port is not allowed");
            return self.refuse_argument(shared, asked, e);
        }
        self.data_setup(shared, asked, Some(at))
    }
}
