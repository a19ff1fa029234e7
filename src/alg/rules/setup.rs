//! Commands that set up data connections: PORT, EPRT, LPRT; PASV, EPSV, LPSV.

use super::refusal::{self, Refusal};
use super::{ClientMode, NoDoor, Tag, Why, With};
use crate::alg::editor::{Line, Verdict};
use crate::ftp::Mode;
use crate::ftp::command::{Command, Verb};
use crate::ftp::hostport::{self, ArgError, EpsvArg};
use crate::ftp::telnet::Stripped;
use crate::time::{Duration, Instant};
use crate::wire::within;
use std::net::SocketAddr;

/// A client that names so many addresses of others is shown the door by strict rules.
const FOREIGN: u8 = 3;
/// More bytes than these behind the numbers of an announcement are another command to somebody, by strict rules.
pub(super) const BEHIND: usize = 8;

impl With<'_> {
    pub(super) fn setup(
        &mut self,
        now: Instant,
        command: &Command<'_>,
        clean: &Stripped<'_>,
        line: &Line<'_>,
        plain: bool,
    ) -> Verdict {
        let verb = command.verb;
        if !self.rules.logged_in && !self.is_compat() {
            self.log.counters.before_login += 1;
            return self.refuse(now, clean, line, refusal::LOGIN_FIRST);
        }
        if !self.rate(now) {
            self.log.counters.too_fast += 1;
            return self.end(now, refusal::SETUP_RATE, "announcements too fast");
        }
        if self.is_strict() && matches!(verb, Verb::Lprt | Verb::Lpsv | Verb::Cpsv) {
            return self.refuse(now, clean, line, refusal::LONG_FORM);
        }
        if self.rules.epsv_all && verb != Verb::Epsv {
            return self.refuse(now, clean, line, refusal::EPSV_ALL);
        }
        match self.settings.client_mode {
            ClientMode::Passive if verb.is_active_setup() => {
                return self.refuse(now, clean, line, refusal::NO_ACTIVE);
            }
            ClientMode::Active if verb.is_passive_setup() => {
                return self.refuse(now, clean, line, refusal::NO_PASSIVE);
            }
            _ => {}
        }
        let at = match verb {
            Verb::Port => hostport::parse_port(command.argument).map(SocketAddr::from),
            Verb::Eprt => hostport::parse_eprt(command.argument, self.mode()),
            Verb::Lprt => hostport::parse_lprt(command.argument),
            _ => return self.passive(now, command, clean, line, plain),
        };
        match at {
            Ok(_) if self.is_strict() && hostport::behind_port(command.argument).len() > BEHIND => {
                if self.cannot_answer() && !line.due {
                    return Verdict::Hold;
                }
                self.log.counters.unnamed += 1;
                let why = "an announcement goes on behind its numbers";
                self.doors.refused(now, SocketAddr::new(self.rules.ends.client.ip(), 0), true, why);
                self.refuse_for_good(now, clean, line, refusal::BEHIND, why)
            }
            Ok(at) => self.active(now, command, at, clean, line, plain),
            Err(e) => {
                if self.cannot_answer() && !line.due {
                    return Verdict::Hold;
                }
                self.log.counters.unnamed += 1;
                let nowhere = SocketAddr::new(self.rules.ends.client.ip(), 0);
                self.doors.refused(now, nowhere, true, "it names no address and port");
                let refusal = Refusal::argument(e);
                if self.is_strict() && e == ArgError::Syntax {
                    return self.refuse_for_good(now, clean, line, refusal, "an announcement that is none");
                }
                self.refuse(now, clean, line, refusal)
            }
        }
    }

    fn passive(
        &mut self,
        now: Instant,
        command: &Command<'_>,
        clean: &Stripped<'_>,
        line: &Line<'_>,
        plain: bool,
    ) -> Verdict {
        let ipv4 = self.rules.ends.client.is_ipv4();
        if command.verb == Verb::Epsv {
            match hostport::parse_epsv(command.argument) {
                Ok(EpsvArg::All) => {
                    if self.cannot_answer() && !line.due {
                        return Verdict::Hold;
                    }
                    self.rules.epsv_all = true;
                    let verb = crate::ftp::lossy(command.verb_text);
                    self.command_event(&verb, command.shown(), "answered", None);
                    return self.answer(now, 200, "EPSV ALL ok.");
                }
                Ok(asked) if !asked.fits(ipv4) => {
                    return self.refuse(now, clean, line, Refusal::family(Verb::Epsv, ipv4));
                }
                Ok(_) => {}
                Err(e) => return self.refuse(now, clean, line, Refusal::argument(e)),
            }
        }
        if !self.rules.awaits(|t| *t == Tag::Transfer) {
            self.doors.close(now, Why::Superseded);
        }
        self.forward(command, Tag::Passive, !plain)
    }

    fn active(
        &mut self,
        now: Instant,
        command: &Command<'_>,
        at: SocketAddr,
        clean: &Stripped<'_>,
        line: &Line<'_>,
        plain: bool,
    ) -> Verdict {
        let (verb, client) = (command.verb, self.rules.ends.client);
        if at.is_ipv4() != client.is_ipv4() {
            if self.cannot_answer() && !line.due {
                return Verdict::Hold;
            }
            self.doors.refused(now, at, true, "the address is of another family");
            return self.refuse(now, clean, line, Refusal::family(verb, client.is_ipv4()));
        }
        // Their forms have no zone; the client's address may have one in other places.
        let exchange = at.ip() != client.ip() && self.is_exchange(now, at);
        if at.ip() != client.ip() && !exchange {
            if self.cannot_answer() && !line.due {
                return Verdict::Hold;
            }
            self.log.counters.foreign_addresses += 1;
            self.doors.refused(now, at, true, "the address is not the client's own");
            self.rules.foreign = self.rules.foreign.saturating_add(1);
            if self.is_strict() && self.rules.foreign >= FOREIGN {
                let why = "addresses of others were announced";
                return self.refuse_for_good(now, clean, line, refusal::OWN_ADDRESS, why);
            }
            return self.refuse(now, clean, line, refusal::OWN_ADDRESS);
        }
        if self.is_denied(at.port()) {
            if self.cannot_answer() && !line.due {
                return Verdict::Hold;
            }
            self.log.counters.denied_ports += 1;
            self.doors.refused(now, at, true, "the port is not allowed");
            let refusal = Refusal::argument(ArgError::Port);
            if self.is_privileged(at.port()) {
                return self.refuse_for_good(now, clean, line, refusal, "a privileged port was announced");
            }
            return self.refuse(now, clean, line, refusal);
        }
        let told = match self.doors.reserve(now, at) {
            Ok(told) => told,
            Err(NoDoor::Wait) if !line.due => return self.wait(),
            Err(no) => {
                let refusal = self.no_door(no);
                return self.refuse(now, clean, line, refusal);
            }
        };
        let mut new = Vec::new();
        match (verb, told) {
            (Verb::Port, SocketAddr::V4(told)) => hostport::write_port(&mut new, told),
            (Verb::Lprt, _) => hostport::write_lprt(&mut new, told),
            _ => hostport::write_eprt(&mut new, told),
        }
        self.log.counters.exchanges += u64::from(exchange);
        let keeps = told == at && plain && is_plain(command, &new);
        if !keeps && told == at {
            self.log.counters.repaired += 1;
        }
        self.forward_as(command, Tag::Active, (!keeps).then_some(new))
    }

    /// Whether the server may be told to connect to another one: what that one listens for was told to the same client,
    /// in a session that is read as this one is.
    fn is_exchange(&self, now: Instant, at: SocketAddr) -> bool {
        self.may_exchange() && self.doors.is_offered(now, at)
    }

    /// Whether the server is one that may exchange files with others, and the client is logged in there.
    pub(super) fn may_exchange(&self) -> bool {
        let server = self.rules.ends.server_told.ip();
        self.rules.logged_in && self.settings.fxp.iter().any(|net| within(server, net))
    }

    /// Whether no data connection goes to a port.
    pub(super) fn is_denied(&self, port: u16) -> bool {
        self.is_privileged(port) || hostport::check_port(port, &self.settings.denied_ports).is_err()
    }

    /// Whether strict rules end the session over a port that was announced. For them 1024 is the last one of those.
    pub(super) fn is_privileged(&self, port: u16) -> bool {
        self.is_strict() && port <= 1024
    }

    /// The reply that says so.
    pub(super) fn no_door(&mut self, no: NoDoor) -> Refusal {
        self.log.counters.no_room += 1;
        match no {
            NoDoor::Wait | NoDoor::Ports => refusal::DATA_PORTS,
            NoDoor::Client => refusal::PER_CLIENT,
            NoDoor::Full => refusal::EXPECTATIONS,
            NoDoor::Flows => refusal::CONNECTIONS,
            NoDoor::Policy(why) => Refusal::policy(why),
        }
    }

    /// Takes an announcement into account. False if there are more than the rate, with a second's worth at once.
    fn rate(&mut self, now: Instant) -> bool {
        let rules = &mut *self.rules;
        if rules.charged {
            return true;
        }
        rules.charged = true;
        let step = Duration::from_nanos(1_000_000_000 / u64::from(self.settings.setups_per_second.max(1)));
        let due = rules.next_setup.max(now);
        if due > now + Duration::from_secs(1) {
            return false;
        }
        rules.next_setup = due + step;
        true
    }
}

/// Whether every parser reads the announcement as we do.
fn is_plain(command: &Command<'_>, canonical: &[u8]) -> bool {
    let argument = |line: &'_ [u8]| line.get(5..line.len() - 2).unwrap_or_default().to_vec();
    if command.argument == argument(canonical) {
        return true;
    }
    // An address may be spelled in ways that mean the same, and any delimiter will do.
    let [delimiter, proto, ..] = command.argument else { return false };
    let whole = hostport::parse_eprt(command.argument, Mode::Strict);
    let family = if *proto == b'1' { 4 } else { 6 };
    let blanks = command.argument.iter().any(u8::is_ascii_whitespace);
    command.verb == Verb::Eprt
        && !blanks
        && command.argument.get(2) == Some(delimiter)
        && whole.is_ok_and(|at| (at.is_ipv4() && family == 4) || (at.is_ipv6() && family == 6))
        && !leading_zeros(command.argument, *delimiter)
}

/// Octal to some, decimal to others.
fn leading_zeros(argument: &[u8], delimiter: u8) -> bool {
    let last = argument.split(|b| *b == delimiter).rfind(|f| !f.is_empty()).unwrap_or_default();
    last.len() > 1 && last.first() == Some(&b'0')
}
