//! Causes in words: what the dialogue shows, and what the capture does not.

use super::super::Spot;
use super::super::conn::Connection;
use super::super::dialogue::{Said, Setup, Transfer};
use super::super::report::CODES;
use super::{Case, Finding, PATIENCE};

/// Longest name of a file in a sentence, in characters.
const NAME: usize = 60;

impl Case<'_> {
    pub(super) fn finding(&self, code: &str, text: String, mut spots: Vec<Spot>) -> Finding {
        debug_assert!(CODES.contains(&code) || code.starts_with("reply_"), "{code}");
        spots.sort_by_key(|s| s.order);
        spots.dedup();
        Finding { code: code.to_owned(), text, spots }
    }

    /// "frame 12", with the file's name if there are several.
    pub(super) fn at(&self, spot: Spot) -> String {
        match self.names.get(usize::from(spot.file)).filter(|_| self.names.len() > 1) {
            Some(name) => format!("frame {} of {name}", spot.frame),
            None => format!("frame {}", spot.frame),
        }
    }

    pub(super) fn reply(&self, transfer: &Transfer, code: u16) -> Finding {
        let (mut spots, mut text) = (vec![transfer.asked], String::new());
        if let Some(done) = &transfer.done {
            spots.push(done.spot);
            text = format!(
                "the server answered {} ({}) with {code} {}",
                self.what(transfer),
                self.at(done.spot),
                done.text
            );
        }
        let why = match code {
            425 if self.setup.is_none() => ": no PORT or PASV came before it",
            425 if self.data.is_none() && self.setup.is_some_and(Setup::passive) => {
                ": no SYN of the client to the announced port is in this capture"
            }
            425 if self.data.is_none() => {
                ": no SYN of the server to the client's port is in this capture, so it is lost before this point or was \
                 never sent"
            }
            426 => ": the server gave the data connection up",
            550 | 553 => " (it is about the file, not about the connection)",
            530 => " (the user is not logged in, or may not do this)",
            _ => "",
        };
        let text =
            if text.ends_with('.') && !why.is_empty() { text.trim_end_matches('.').to_owned() } else { text };
        self.finding(&format!("reply_{code}"), text + why, spots)
    }

    pub(super) fn setup_refused(&self, setup: &Setup) -> Finding {
        let spot = setup.answered.unwrap_or(setup.asked);
        if !setup.passive() {
            if self.rewritten() {
                return self.alg_rewrote(setup);
            }
            if self.behind_nat() {
                return self.nat(setup);
            }
        }
        let code = if setup.passive() { "passive_refused" } else { "port_refused" };
        self.finding(
            code,
            format!(
                "the server refused {} ({}) with {} {} ({})",
                self.said(setup),
                self.at(setup.asked),
                setup.code,
                setup.text,
                self.at(spot)
            ),
            vec![setup.asked, spot],
        )
    }

    pub(super) fn no_address(&self, setup: &Setup) -> Finding {
        let spot = setup.answered.unwrap_or(setup.asked);
        self.finding(
            "passive_no_address",
            format!(
                "the server's reply to {} ({}) names no address and port: {}{}",
                setup.verb.name(),
                self.at(spot),
                if setup.code == 0 { String::new() } else { format!("{} ", setup.code) },
                setup.text
            ),
            vec![setup.asked, spot],
        )
    }

    pub(super) fn wrong_address(&self, setup: &Setup) -> Finding {
        let mut spots = vec![setup.answered.unwrap_or(setup.asked)];
        let address = setup.address.map(|a| a.to_string()).unwrap_or_default();
        let came = match self.data.filter(|d| Some(d.b.ip()) == setup.address) {
            Some(data) => {
                spots.push(data.first);
                format!("and the client's SYN went there in vain ({})", self.at(data.first))
            }
            None => "and no connection to it is in this capture".into(),
        };
        self.finding(
            "passive_wrong_address",
            format!(
                "the server's {} ({}) names {address}, which is not the server {} of the control connection, {came}: \
                 the server does not know the address that clients reach it by",
                setup.code,
                self.at(spots[0]),
                self.server().ip()
            ),
            spots,
        )
    }

    pub(super) fn nat(&self, setup: &Setup) -> Finding {
        let mut spots = vec![setup.asked];
        spots.extend(setup.answered);
        let address = setup.address.map(|a| a.to_string()).unwrap_or_default();
        let how = if setup.said == Said::Refused {
            format!("and the server refused it with {} {}", setup.code, setup.text)
        } else {
            "and no connection to it came about".to_owned()
        };
        self.finding(
            "port_behind_nat",
            format!(
                "the client is behind address translation: {} ({}) names {address}, which the server {} cannot reach, {how}",
                self.said(setup),
                self.at(setup.asked),
                self.server().ip()
            ),
            spots,
        )
    }

    pub(super) fn foreign(&self, setup: &Setup) -> Finding {
        let mut spots = vec![setup.asked];
        spots.extend(setup.answered);
        let address = setup.address.map(|a| a.to_string()).unwrap_or_default();
        self.finding(
            "port_foreign_address",
            format!(
                "{} ({}) names {address}, which is not the client {} of the control connection, and no connection to it \
                 came about",
                self.said(setup),
                self.at(setup.asked),
                self.client().ip()
            ),
            spots,
        )
    }

    pub(super) fn alg_rewrote(&self, setup: &Setup) -> Finding {
        let mut spots =
            vec![if setup.passive() { setup.answered.unwrap_or(setup.asked) } else { setup.asked }];
        let address = setup.address.map(|a| a.to_string()).unwrap_or_default();
        let text = match (self.session.conflict, self.other_leg) {
            (Some(conflict), _) => {
                spots.push(conflict);
                format!(
                    "something on the way rewrites FTP, badly: what was sent again ({}) differs from what was sent first",
                    self.at(conflict)
                )
            }
            (None, Some(other)) => format!(
                "an ALG on the way already rewrote {} ({}): the other capture of this connection says {other}, here it is \
                 {address}, which is not the end of this connection",
                self.said(setup),
                self.at(spots[0])
            ),
            _ => format!(
                "an ALG (or the client itself) already rewrote {} ({}): it names {address} in a packet that still comes \
                 from {}, so that the translator behind this point does not know it as the client's",
                self.said(setup),
                self.at(spots[0]),
                self.client().ip()
            ),
        };
        self.finding("alg_rewrote", text, spots)
    }

    pub(super) fn auth_hid_port(&self, data: &Connection, syn: Spot) -> Finding {
        let auth = self.session.auth_before(syn).unwrap_or(syn);
        self.finding(
            "auth_tls",
            format!(
                "after AUTH ({}) the control connection is encrypted: no firewall could read which port was announced, and \
                 the SYN from {} to {} ({}) was never answered",
                self.at(auth),
                data.a,
                data.b,
                self.at(syn)
            ),
            vec![auth, syn],
        )
    }

    pub(super) fn auth_hides(&self, transfer: &Transfer) -> Finding {
        let spot = self.session.hidden_behind(transfer.asked).unwrap_or(self.end);
        let text = format!("the control connection is encrypted from {} on", self.at(spot));
        self.finding("auth_tls", text, vec![spot])
    }

    pub(super) fn final_reply_lost(
        &self,
        transfer: &Transfer,
        data: &Connection,
        end: Option<Spot>,
    ) -> Finding {
        let bytes: u64 = data.flows.iter().map(|f| f.bytes).sum();
        let then = match end {
            Some(spot) => format!("the control connection ended ({}) without it", self.at(spot)),
            None => format!(
                "none came in the {} s after that",
                self.end.at.saturating_sub(data.last.at) / 1_000_000_000
            ),
        };
        let long = data.last.at.saturating_sub(transfer.asked.at) / 1_000_000_000;
        let idle = if long >= 60 {
            format!(" (the control connection was idle for {long} s: a firewall may have forgotten it)")
        } else {
            String::new()
        };
        let mut spots = vec![transfer.asked, data.last];
        spots.extend(end);
        self.finding(
            "final_reply_lost",
            format!(
                "all data of {} was transferred ({bytes} bytes, done in {}), but the server's final reply is missing: {then}{idle}",
                self.what(transfer),
                self.at(data.last)
            ),
            spots,
        )
    }

    /// The final reply was sent, and never arrived.
    pub(super) fn unheard(&self, transfer: &Transfer) -> Option<Finding> {
        let done = transfer.done.as_ref()?;
        let server = &self.control.flows[1 - self.session.client];
        let repeat = server.repeat.filter(|r| r.end <= done.end.max(r.end))?;
        let client_is_there = self.control.flows[self.session.client].segments > 0;
        let lasting = repeat.times >= 2 || (self.waited(repeat.last.at, PATIENCE));
        let this = server.acked < done.end && repeat.first.order > done.spot.order;
        (client_is_there && lasting && this).then(|| {
            self.finding(
                "final_reply_lost",
                format!(
                    "the server's final reply {} ({}) never reached the client: it was sent again {} times (until {}) and never \
                     acknowledged",
                    done.code,
                    self.at(done.spot),
                    repeat.times,
                    self.at(repeat.last)
                ),
                vec![done.spot, repeat.last],
            )
        })
    }

    pub(super) fn control_reset(&self, transfer: &Transfer, rst: Spot, by_client: bool) -> Finding {
        let who = if by_client { "client" } else { "server" };
        self.finding(
            "control_reset",
            format!(
                "the control connection was reset ({}, from the {who}'s address) before {} was answered",
                self.at(rst),
                self.what(transfer)
            ),
            vec![transfer.asked, rst],
        )
    }

    pub(super) fn control_closed(&self, transfer: &Transfer, fin: Spot, by_client: bool) -> Finding {
        let who = if by_client { "client" } else { "server" };
        self.finding(
            "control_closed",
            format!(
                "the {who} closed the control connection ({}) before {} was answered",
                self.at(fin),
                self.what(transfer)
            ),
            vec![transfer.asked, fin],
        )
    }

    pub(super) fn no_data_connection(&self, transfer: &Transfer) -> Finding {
        let who = if self.setup.is_some_and(Setup::passive) { "client" } else { "server" };
        let mut spots: Vec<Spot> = self.setup.and_then(|s| s.answered).into_iter().collect();
        spots.push(transfer.asked);
        self.finding(
            "no_data_connection",
            format!(
                "nothing followed {} ({}): no SYN of the {who} to the announced port is in this capture, and no final reply",
                self.what(transfer),
                self.at(transfer.asked)
            ),
            spots,
        )
    }

    pub(super) fn too_short(&self, last: Spot) -> Finding {
        let mut spots = vec![last];
        spots.extend(self.transfer.map(|t| t.asked));
        self.finding(
            "capture_too_short",
            format!(
                "the capture ends ({}) before it is clear what became of it: {:.1} s after {}",
                self.at(self.end),
                self.end.at.saturating_sub(last.at) as f64 / 1e9,
                self.at(last)
            ),
            spots,
        )
    }

    pub(super) fn one_side(&self) -> Finding {
        let spots = self.transfer.map(|t| t.asked).into_iter().collect();
        let missing = if self.session.spoke()[0] { "server" } else { "client" };
        self.finding("one_side_only", format!("the capture has no packets of the {missing}'s"), spots)
    }

    pub(super) fn payload_missing(&self) -> Finding {
        let spot = self.session.lost_at.unwrap_or(self.end);
        let mut spots: Vec<Spot> = self.setup.map(|s| s.answered.unwrap_or(s.asked)).into_iter().collect();
        spots.push(spot);
        self.finding(
            "payload_not_captured",
            format!(
                "payload not captured: the text that tells is cut off or missing in this capture (first at {}); capture with a \
                 larger snap length",
                self.at(spot)
            ),
            spots,
        )
    }

    fn what(&self, transfer: &Transfer) -> String {
        match (transfer.verb, transfer.name.char_indices().nth(NAME)) {
            (None, _) => "the transfer".to_owned(),
            (Some(verb), _) if transfer.name.is_empty() => verb.name().to_owned(),
            (Some(verb), None) => format!("{} {}", verb.name(), transfer.name),
            (Some(verb), Some((end, _))) => {
                format!("{} {}…", verb.name(), transfer.name.get(..end).unwrap_or_default())
            }
        }
    }

    fn said(&self, setup: &Setup) -> String {
        if setup.passive() || setup.text.is_empty() || setup.said == Said::Refused {
            return match setup.address.zip(setup.port).filter(|_| !setup.passive()) {
                Some((address, port)) => {
                    format!("{} to {}", setup.verb.name(), std::net::SocketAddr::new(address, port))
                }
                None => setup.verb.name().to_owned(),
            };
        }
        format!("{} {}", setup.verb.name(), setup.text)
    }
}
