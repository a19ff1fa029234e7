//! Why a transfer failed: rules over what was seen, the first that holds decides.
//!
//! The order is that of a person who looks: what the ends said in clear words about the file itself, then what the
//! packets of the data connection show, then what the texts show, then what the server made of it.

mod data;
mod text;

use super::Spot;
use super::conn::Connection;
use super::data::ends;
use super::dialogue::{Said, Session, Setup, Transfer};
use std::net::{IpAddr, SocketAddr};

/// Nanoseconds without an answer after which a SYN counts as lost: initial retransmissions come after 1 s and 3 s.
const SYN_PATIENCE: u64 = 3_000_000_000;
/// Nanoseconds without any packet after which something that should come counts as missing.
const PATIENCE: u64 = 10_000_000_000;

/// What a rule found.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub(super) code: String,
    pub(super) text: String,
    pub(super) spots: Vec<Spot>,
}

/// A transfer, and all that bears on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) session: &'a Session,
    pub(super) control: &'a Connection,
    pub(super) transfer: Option<&'a Transfer>,
    pub(super) setup: Option<&'a Setup>,
    /// The data connection; of several, the one that got furthest.
    pub(super) data: Option<&'a Connection>,
    pub(super) guessed: bool,
    /// The last packet of the capture.
    pub(super) end: Spot,
    /// The same connection on the other side of an address translator says another address here.
    pub(super) other_leg: Option<SocketAddr>,
    /// Numbers of frames are told with their file's.
    pub(super) names: &'a [String],
}

/// How it went, and why.
pub(super) type Verdict = (&'static str, Option<Finding>);

impl<'a> Case<'a> {
    pub(super) fn judge(&self) -> Verdict {
        let Some(transfer) = self.transfer else { return self.without_transfer() };
        let code = transfer.done.as_ref().map(|d| d.code);
        match code {
            _ if transfer.aborted.is_some() && code.is_none_or(|c| c != 550) => ("aborted", None),
            Some(code) if code >= 400 => ("failed", Some(self.refused(transfer, code))),
            Some(_) => match self.unheard(transfer) {
                Some(lost) => ("failed", Some(lost)),
                None => ("done", None),
            },
            None => self.unanswered(transfer),
        }
    }

    /// An announcement that no transfer followed, or a connection of an encrypted session.
    fn without_transfer(&self) -> Verdict {
        if let Some(setup) = self.setup {
            if setup.said == Said::Refused {
                // Clients try one way after the other.
                let other_way = setup.before.is_some() || self.session.last_accepted > setup.asked.order;
                return if other_way {
                    ("unused", None)
                } else {
                    ("failed", Some(self.setup_refused(setup)))
                };
            }
            if setup.said == Said::NoAddress && setup.passive() {
                return ("failed", Some(self.no_address(setup)));
            }
        }
        match self.data {
            Some(_) => match self.data_fault() {
                Some(fault) if fault.code == "capture_too_short" => ("unknown", Some(fault)),
                // What becomes of a connection that nothing was asked of is no failure, once it is open.
                Some(fault) if self.guessed || self.data.is_some_and(|d| d.established.is_none()) => {
                    ("failed", Some(fault))
                }
                _ => (if self.guessed { "done" } else { "unused" }, None),
            },
            None => match self.setup {
                Some(setup) if self.wrong_passive() && setup.said == Said::Accepted => {
                    ("failed", Some(self.wrong_address(setup)))
                }
                _ => ("unused", None),
            },
        }
    }

    /// The server said no.
    fn refused(&self, transfer: &Transfer, code: u16) -> Finding {
        // These are about the data connection; others are about the file, the user or the command.
        if matches!(code, 421 | 425 | 426 | 451) {
            if let Some(fault) = self.data_fault().filter(|f| f.code != "capture_too_short") {
                return fault;
            }
            if let Some(fault) = self.text_fault() {
                return fault;
            }
        }
        match self.setup {
            Some(setup) if setup.said == Said::Refused && !matches!(code, 450 | 452 | 530 | 550..=553) => {
                self.setup_refused(setup)
            }
            _ => self.reply(transfer, code),
        }
    }

    /// No final reply came.
    fn unanswered(&self, transfer: &Transfer) -> Verdict {
        if self.session.hidden_behind(transfer.asked).is_some() {
            return ("unknown", Some(self.auth_hides(transfer)));
        }
        let mut fault = self.data_fault();
        if let (Some((data, _)), Some((rst, by_a))) = (self.data.and_then(|d| d.rst), self.control.rst)
            && rst.order < data.order
            && rst.order > transfer.asked.order
            && fault.as_ref().is_some_and(|f| f.code == "data_reset")
        {
            // Both ends drop the data connection of a session that is gone.
            fault = Some(self.control_reset(transfer, rst, by_a == (self.session.client == 0)));
        }
        if let Some(fault) = fault {
            let open = fault.code == "capture_too_short";
            return (if open { "unknown" } else { "failed" }, Some(fault));
        }
        if self.session.spoke() != [true, true] || self.control.one_sided() {
            return ("unknown", Some(self.one_side()));
        }
        if self.session.lost_at.is_some_and(|l| l.order > transfer.asked.order) {
            return ("unknown", Some(self.payload_missing()));
        }
        if let Some(setup) = self.setup.filter(|s| s.said == Said::Refused) {
            return ("failed", Some(self.setup_refused(setup)));
        }
        let complete =
            self.data.filter(|d| d.established.is_some() && d.flows.iter().any(|f| f.fin.is_some()));
        let late = |since: Spot| self.end.at.saturating_sub(since.at) >= PATIENCE;
        let fins = self.control.flows.iter().enumerate().filter_map(|(side, f)| Some((f.fin?, side)));
        let fin = fins.min_by_key(|(fin, _)| fin.order);
        // Who speaks to an end that has closed gets a RST: then the FIN was the end.
        let reset = self.control.rst.filter(|(rst, _)| fin.is_none_or(|(fin, _)| rst.order < fin.order));
        if let (Some(data), Some(end)) = (complete, reset.map(|r| r.0).or(fin.map(|f| f.0))) {
            return ("failed", Some(self.final_reply_lost(transfer, data, Some(end))));
        }
        if let Some((rst, by_a)) = reset {
            let by_client = by_a == (self.session.client == 0);
            return ("failed", Some(self.control_reset(transfer, rst, by_client)));
        }
        if let Some((fin, side)) = fin {
            let closed = || self.control_closed(transfer, fin, side == self.session.client);
            return ("failed", Some(self.text_fault().unwrap_or_else(closed)));
        }
        if let Some(data) = complete {
            return if late(data.last) {
                ("failed", Some(self.final_reply_lost(transfer, data, None)))
            } else {
                ("unknown", Some(self.too_short(data.last)))
            };
        }
        if self.data.is_none() && late(transfer.asked) {
            let fault = self.text_fault().unwrap_or_else(|| self.no_data_connection(transfer));
            return ("failed", Some(fault));
        }
        let said = transfer.begun.as_ref().map_or(transfer.asked, |b| b.spot);
        let last = self.data.map(|d| d.last).filter(|l| l.order > said.order).unwrap_or(said);
        ("unknown", Some(self.too_short(last)))
    }

    /// What the texts alone show to be wrong.
    fn text_fault(&self) -> Option<Finding> {
        let setup = self.setup?;
        if setup.said == Said::NoAddress && setup.passive() {
            return Some(self.no_address(setup));
        }
        if setup.said == Said::Cut {
            return Some(self.payload_missing());
        }
        if self.data.is_some_and(|d| d.established.is_some()) {
            return None;
        }
        if self.rewritten() {
            return Some(self.alg_rewrote(setup));
        }
        if self.wrong_passive() {
            return Some(self.wrong_address(setup));
        }
        if setup.said == Said::Accepted && self.behind_nat() {
            return Some(self.nat(setup));
        }
        if setup.said == Said::Accepted && self.foreign_active() {
            return Some(self.foreign(setup));
        }
        None
    }

    fn client(&self) -> SocketAddr {
        ends(self.session, self.control).0
    }

    fn server(&self) -> SocketAddr {
        ends(self.session, self.control).1
    }

    /// A passive reply names another host than the server. A server that is itself behind a translator names
    /// the address in front of it, rightly so.
    fn wrong_passive(&self) -> bool {
        let Some(setup) = self.setup.filter(|s| s.passive()) else { return false };
        let server = self.server().ip();
        setup.address.is_some_and(|a| a != server && (is_private(a) || !is_private(server)))
    }

    /// PORT names an address that the server cannot reach.
    fn behind_nat(&self) -> bool {
        let Some(setup) = self.setup.filter(|s| !s.passive()) else { return false };
        let (client, server) = (self.client().ip(), self.server().ip());
        let elsewhere = |a: IpAddr| a != client || !is_private(server);
        let meant = |a: IpAddr| !a.is_unspecified() && a.is_ipv4() == client.is_ipv4();
        setup.address.is_some_and(|a| meant(a) && is_private(a) && elsewhere(a))
    }

    /// PORT names an address in front of the translator that this client is still behind; or a repetition, or the
    /// other side of a translator, has another text that does not fit its own connection.
    fn rewritten(&self) -> bool {
        let Some(setup) = self.setup else { return false };
        let own = if setup.passive() { self.server().ip() } else { self.client().ip() };
        let fits = setup.address.is_none_or(|a| a == own);
        let ahead =
            !setup.passive() && setup.address.is_some_and(|a| a != own && !is_private(a) && is_private(own));
        let conflict = self.session.conflict.is_some_and(|c| c.order >= setup.asked.order);
        ahead || conflict || (self.other_leg.is_some() && !fits)
    }

    /// PORT names a third host.
    fn foreign_active(&self) -> bool {
        let Some(setup) = self.setup.filter(|s| !s.passive()) else { return false };
        setup.address.is_some_and(|a| a != self.client().ip())
    }
}

/// Not routed in the Internet: RFC 1918, RFC 6598, RFC 3927, RFC 4193, and addresses of one link or host.
pub(super) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(a) => {
            let o = a.octets();
            a.is_private()
                || a.is_loopback()
                || a.is_link_local()
                || a.is_unspecified()
                || (o[0] == 100 && o[1] & 0xC0 == 64)
        }
        IpAddr::V6(a) => {
            let first = a.segments()[0];
            a.is_loopback() || a.is_unspecified() || first & 0xFE00 == 0xFC00 || first & 0xFFC0 == 0xFE80
        }
    }
}
