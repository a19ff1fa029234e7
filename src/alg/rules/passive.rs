//! Where the server says that it listens: 227, 228, 229.

use super::refusal::{self, Refusal};
use super::setup::BEHIND;
use super::{NoDoor, With};
use crate::ftp::hostport::{self, Announced, PassiveError};
use crate::ftp::verb::Verb;
use crate::time::Instant;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

/// What becomes of such a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It goes on as it came.
    Same,
    /// This goes on instead.
    New(Vec<u8>),
    /// It names nothing that may be used, which the client is told.
    Nothing(Refusal),
    /// It waits.
    Wait,
    /// It breaks a strict rule, and the session with it.
    Broken(&'static str),
}

impl With<'_> {
    /// Judges a reply with `code`, one of 227 to 229, to `asked`. `lines` are its texts; `due`: it cannot wait.
    pub(super) fn announced<'t>(
        &mut self,
        now: Instant,
        asked: Verb,
        code: u16,
        lines: impl DoubleEndedIterator<Item = &'t [u8]> + Clone,
        due: bool,
    ) -> Told {
        let ends = self.rules.ends;
        let commas = || lines.clone().flatten().filter(|b| **b == b',').count();
        if self.is_strict() && code == 227 && commas() != 5 {
            self.log.counters.unnamed += 1;
            let why = "the server's 227 has not exactly five commas";
            self.doors.refused(now, SocketAddr::new(ends.server.ip(), 0), false, why);
            return Told::Broken(why);
        }
        let named = match hostport::parse_passive(code, lines.clone(), self.mode()) {
            Ok(named) => named,
            Err(e) => {
                self.log.counters.unnamed += 1;
                self.doors.refused(now, SocketAddr::new(ends.server.ip(), 0), false, reason(e));
                return match e {
                    // A client goes on with PASV.
                    PassiveError::Missing if self.is_strict() && code == 229 => {
                        Told::Nothing(refusal::NO_229)
                    }
                    _ if self.is_strict() => Told::Broken("the server's announcement names no port"),
                    _ => Told::Nothing(Refusal::announcement(e)),
                };
            }
        };
        let at = SocketAddr::new(ends.server.ip(), named.port);
        if self.is_denied(named.port) || named.port == ends.server.port() {
            self.log.counters.denied_ports += 1;
            self.doors.refused(now, at, false, "the port is not allowed");
            if self.is_privileged(named.port) {
                return Told::Broken("the server announced a privileged port");
            }
            return Told::Nothing(refusal::SERVER_PORT);
        }
        let last = lines.clone().next_back().unwrap_or_default();
        if self.is_strict() && code == 227 && hostport::behind_227(lines.clone()).len() > BEHIND {
            let why = "the server's 227 goes on behind the address";
            self.doors.refused(now, at, false, why);
            return Told::Broken(why);
        }
        let told = match self.doors.listen(now, at) {
            Ok(told) => told,
            Err(NoDoor::Wait) if !due => return Told::Wait,
            Err(no) => {
                if no == NoDoor::Wait {
                    self.doors.refused(now, at, false, "no port is free");
                }
                return Told::Nothing(Refusal { code: 425, ..self.no_door(no) });
            }
        };
        if self.may_exchange() {
            self.doors.offer(now, at, told);
        }
        if self.doors.is_elsewhere() {
            return Told::Same;
        }
        if named.address.is_some_and(|a| a != at.ip() && a != told.ip()) {
            self.log.counters.pinned_addresses += 1;
        }
        let (same, new) = Self::write(asked, code, named, told, last);
        // Some clients read the first line only, and some the last.
        if same && lines.clone().nth(1).is_none() {
            return Told::Same;
        }
        if told == at && named.address.is_none_or(|a| a == told.ip()) {
            self.log.counters.repaired += 1;
        }
        Told::New(new)
    }

    /// The reply that the client is to get, and whether it has that already.
    fn write(asked: Verb, code: u16, named: Announced, told: SocketAddr, last: &[u8]) -> (bool, Vec<u8>) {
        let mut new = Vec::new();
        let same = match (asked, told) {
            (Verb::Epsv, _) => {
                hostport::write_229(&mut new, told.port());
                code == 229 && named.port == told.port() && hostport::is_plain_229(last, told.port())
            }
            (Verb::Lpsv, _) => {
                hostport::write_228(&mut new, told);
                code == 228 && named == Announced { port: told.port(), address: Some(told.ip()) }
            }
            (_, SocketAddr::V4(told)) => {
                hostport::write_227(&mut new, told);
                let wanted = Announced { port: told.port(), address: Some(IpAddr::V4(*told.ip())) };
                code == 227 && named == wanted && hostport::is_plain_227(last, told)
            }
            // A 227 has no place for an IPv6 address, and who asks for one over IPv6 looks at the port only.
            (_, SocketAddr::V6(told)) => {
                let address = match named.address {
                    Some(IpAddr::V4(a)) => a,
                    _ => Ipv4Addr::UNSPECIFIED,
                };
                hostport::write_227(&mut new, SocketAddrV4::new(address, told.port()));
                code == 227 && named.port == told.port()
            }
        };
        (same, new)
    }
}

fn reason(e: PassiveError) -> &'static str {
    match e {
        PassiveError::Missing => "the server's reply names no port",
        PassiveError::ZeroPort => "the server's reply names port 0",
        PassiveError::Code => "the server did not answer the question",
    }
}
