//! What a client is told when a rule says no. The reply names the rule, and so does the event: nobody takes it for the
//! server's own.

use crate::ftp::command::Fault;
use crate::ftp::hostport::{self, ArgError, PassiveError};
use crate::ftp::reply;
use crate::ftp::verb::Verb;

/// A rule's no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The reply's code. 421: the session ends.
    pub(super) code: u16,
    /// The rule's name; it stays what it is, and stands in `docs/ftp-rules.md`.
    pub(super) rule: &'static str,
    /// What is wrong, and where there is one, the remedy.
    pub(super) text: &'static str,
}

macro_rules! refusals {
    ($($name:ident = $code:literal $rule:literal $text:literal;)*) => {
        $(pub(super) const $name: Refusal = Refusal { code: $code, rule: $rule, text: $text };)*
        /// All that are named here.
        #[cfg(test)]
        const ALL: &[Refusal] = &[$($name),*];
    };
}

refusals! {
    LOGIN_FIRST = 530 "login-first" "Log in first.";
    SETUP_FIRST = 425 "setup-first" "Use PORT or PASV first.";
    LOCK_STEP = 503 "lock-step" "Commands before this one are without their answers.";
    COMMANDS = 421 "commands" "Too many commands without an answer.";
    AUTH_BOUNDARY = 421 "auth-boundary" "Bytes behind AUTH before TLS.";
    AUTH_MECHANISM = 504 "auth-mechanism" "Only AUTH TLS is passed on.";
    WRAPPED = 534 "auth-mechanism" "Only AUTH TLS is passed on.";
    FTPS = 534 "ftps" "Policy: ftps = \"refuse\".";
    TELNET = 500 "telnet" "Telnet commands within a command are not allowed.";
    TELNET_OPTION = 421 "telnet" "A Telnet option without an end.";
    VERB = 502 "verb" "The command is not one that is passed on.";
    REIN = 502 "verb" "REIN is not passed on; reconnect instead.";
    BETWEEN_SERVERS = 502 "verb" "No transfers from server to server.";
    LONG_FORM = 502 "verb" "Use EPRT or EPSV.";
    GREETING = 421 "greeting" "The server did not greet.";
    LINE_LENGTH = 500 "line-length" "The line is too long.";
    LINE_TIME = 421 "line-time" "A command must end in time.";
    NAME_LENGTH = 501 "name-length" "The name is too long.";
    REPLY_LENGTH = 421 "reply-length" "The server's reply is too long.";
    COMMAND_RATE = 421 "command-rate" "Too many commands a second.";
    FIRST_COMMAND = 421 "first-command" "No command came in time.";
    LOGIN_TIME = 421 "login-time" "The login took too long.";
    SETUP_RATE = 421 "setup-rate" "Too many announcements of data connections.";
    EPSV_ALL = 500 "epsv-all" "EPSV ALL was sent.";
    BEHIND = 501 "behind" "Too much behind the port.";
    OWN_ADDRESS = 504 "own-address" "The address is not yours.";
    NO_ACTIVE = 502 "client-mode" "Policy: client_mode = \"passive\"; use PASV or EPSV.";
    NO_PASSIVE = 502 "client-mode" "Policy: client_mode = \"active\"; use PORT or EPRT.";
    SERVER_PORT = 425 "port" "The server names a port that is not allowed.";
    NO_229 = 500 "announcement" "EPSV was not answered well; use PASV.";
    DATA_PORTS = 425 "data-ports" "No data port is free.";
    PER_CLIENT = 425 "expectations-per-client" "Too many data connections are announced for you.";
    EXPECTATIONS = 425 "expectations" "Too many data connections are announced.";
    CONNECTIONS = 425 "connections" "The table of connections is full.";
    FAILED_LOGINS = 421 "failed-logins" "Too many failed logins.";
}

impl Refusal {
    /// Of an argument.
    pub(super) const fn argument(e: ArgError) -> Self {
        let rule = match e {
            ArgError::Syntax => "argument",
            ArgError::Port => "port",
            ArgError::Protocol | ArgError::Family => "family",
        };
        let (code, text) = e.reply();
        Self { code, rule, text }
    }

    /// Of an address that is not of the control connection's family, which is IPv4 or not.
    pub(super) const fn family(verb: Verb, ipv4: bool) -> Self {
        let (code, text) = hostport::other_family(verb, ipv4);
        Self { code, rule: "family", text }
    }

    /// Of a line that is no command.
    pub(super) const fn fault(fault: Fault) -> Self {
        let rule = match fault {
            Fault::Nul => "nul",
            Fault::BareCr | Fault::BareLf => "line-end",
            Fault::Blank => "blank",
            Fault::Verb => "verb",
        };
        let (code, text) = fault.reply();
        Self { code, rule, text }
    }

    /// Of a server's announcement that names no port.
    pub(super) const fn announcement(e: PassiveError) -> Self {
        let text = match e {
            PassiveError::Missing => "The server's reply names no port.",
            PassiveError::ZeroPort => "The server's reply names port 0.",
            PassiveError::Code => "The server did not answer the question.",
        };
        Self { code: 425, rule: "announcement", text }
    }

    /// Whoever answers for the doors says no.
    pub(super) const fn policy(why: &'static str) -> Self {
        Self { code: 504, rule: "policy", text: why }
    }

    /// Likewise, and the session ends, for this reason.
    pub(super) const fn closing(self, why: &'static str) -> Self {
        Self { code: 421, text: why, ..self }
    }

    /// The reply's text.
    pub(super) fn said(self) -> String {
        let Self { code, rule, text } = self;
        let word = if code == 421 { "Closed" } else { "Refused" };
        let stop = if text.ends_with(['.', ')']) { "" } else { "." };
        format!("{word} by rule {rule}: {text}{stop}")
    }

    /// The reply.
    pub(super) fn line(self) -> Vec<u8> {
        let mut out = Vec::new();
        reply::write(&mut out, self.code, self.said().as_bytes());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_names_a_rule_that_is_documented() {
        let docs = include_str!("../../../docs/ftp-rules.md");
        let (_, table) = docs.split_once("## Names of rules").unwrap();
        let arguments = [ArgError::Syntax, ArgError::Port, ArgError::Protocol, ArgError::Family];
        let faults = [Fault::Nul, Fault::BareCr, Fault::BareLf, Fault::Blank, Fault::Verb];
        let announced = [PassiveError::Missing, PassiveError::ZeroPort, PassiveError::Code];
        let all = ALL
            .iter()
            .copied()
            .chain(arguments.map(Refusal::argument))
            .chain(faults.map(Refusal::fault))
            .chain(announced.map(Refusal::announcement))
            .chain([Refusal::family(Verb::Port, false), Refusal::policy("why")]);
        for r in all {
            assert!(table.contains(&format!("| `{}` |", r.rule)), "{r:?}");
            let line = r.line();
            assert!(line.is_ascii() && line.len() < 100, "{r:?}");
            assert!(line.starts_with(format!("{} ", r.code).as_bytes()) && r.code >= 421, "{r:?}");
            let ends = line.ends_with(b".\r\n") || line.ends_with(b")\r\n");
            assert!(ends && !line.ends_with(b"..\r\n"), "{r:?}");
        }
        assert_eq!(LOGIN_FIRST.line(), b"530 Refused by rule login-first: Log in first.\r\n");
        let closed = LOGIN_FIRST.closing("why").said();
        assert_eq!(closed, "Closed by rule login-first: why.");
    }
}
