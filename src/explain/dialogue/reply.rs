//! What replies mean for announcements and transfers.

use super::{Answer, Part, Said, Session, Setup, Tag, Transfer, Who};
use crate::explain::words::clean;
use crate::ftp::Mode;
use crate::ftp::hostport::parse_passive;
use crate::ftp::line::Line;
use crate::ftp::pending::Match;
use crate::ftp::verb::Verb;

impl Session {
    pub(super) fn reply(&mut self, line: &Line<'_>, part: &Part<'_>, cut: bool) {
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
                        self.covered(code, part);
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
    pub(super) fn accepted(&self) -> Option<usize> {
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
