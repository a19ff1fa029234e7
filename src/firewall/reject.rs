//! Answers to what may not pass, and what is told of it.

use super::packet::{Along, Emit, Refused};
use super::policy::{Begin, Decision};
use super::settings::{Action, Filter};
use super::state::{Firewall, Went};
use super::tcp::Passing;
use crate::event::{Event, What};
use crate::time::{Duration, Instant};
use crate::wire::{build, icmp, is_host, proto, tcp};
use std::fmt::Debug;

/// Communication administratively prohibited (RFC 1812 5.2.7.1).
const PROHIBITED_V4: (u8, u8) = (3, 13);
/// The same (RFC 4443 3.1).
const PROHIBITED_V6: (u8, u8) = (1, 1);
/// At most one event in this time for each rule.
const TELL: Duration = Duration::from_secs(1);

impl<W: Copy + Eq + Debug> Firewall<W> {
    /// What a rule, or the default, does not allow.
    pub(super) fn refuse(
        &mut self,
        p: &Passing<'_, W>,
        it: &Begin,
        decision: Decision,
        out: &mut Vec<Emit<W>>,
    ) -> Went {
        self.rules.refused(p.now, it, decision);
        if decision.action == Action::Reject {
            match it.proto {
                proto::TCP => self.reset(p, out),
                _ => self.prohibited(p, out),
            }
        }
        Went::Refuse(Refused::Policy)
    }

    /// Answers a TCP segment with a reset, as its destination would.
    pub(super) fn reset(&mut self, p: &Passing<'_, W>, out: &mut Vec<Emit<W>>) {
        let reset = tcp::parse(p.bytes, p.ip).and_then(|seg| build::reset_for(&seg));
        if let Some(reset) = reset.filter(|_| is_host(p.ip.src) && is_host(p.ip.dst) && self.pace.may(p.now))
        {
            let mut packet = vec![0; reset.len()];
            reset.emit(&mut packet);
            out.push(Emit { to: p.from, along: Along::Reverse(p.way), packet });
        }
    }

    /// Answers a packet with an error, in the name of whom it was for: we may have no address.
    fn prohibited(&mut self, p: &Passing<'_, W>, out: &mut Vec<Emit<W>>) {
        let kind = if p.ip.is_v4() { PROHIBITED_V4 } else { PROHIBITED_V6 };
        if !is_host(p.ip.src) || !is_host(p.ip.dst) || !self.pace.may(p.now) {
            return;
        }
        if let Some(packet) = icmp::error(p.ip.dst, p.ip.src, kind, [0; 4], p.bytes) {
            out.push(Emit { to: p.from, along: Along::Reverse(p.way), packet });
        }
    }
}

/// What became of packets by rule. The default stands behind the rules.
#[derive(Debug)]
pub(super) struct Rules {
    lines: Vec<Line>,
    events: Vec<Event>,
    /// When the first line that has something to tell may.
    next: Option<Instant>,
}

#[derive(Debug)]
struct Line {
    name: String,
    hits: u64,
    /// Since the last event.
    untold: u64,
    told: Option<Instant>,
    last: Option<(Begin, &'static str)>,
}

impl Rules {
    pub(super) fn new(filter: &Filter) -> Self {
        let names = filter.rules.iter().map(|r| r.name.as_str()).chain(["default"]);
        let line = |name: &str| Line { name: name.to_owned(), hits: 0, untold: 0, told: None, last: None };
        Self { lines: names.map(line).collect(), events: Vec::new(), next: None }
    }

    /// A rule decided.
    pub(super) fn hit(&mut self, rule: Option<usize>) {
        let at = rule.unwrap_or(self.lines.len() - 1);
        if let Some(line) = self.lines.get_mut(at) {
            line.hits += 1;
        }
    }

    fn refused(&mut self, now: Instant, it: &Begin, decision: Decision) {
        let at = decision.rule.unwrap_or(self.lines.len() - 1);
        let Some(line) = self.lines.get_mut(at) else { return };
        line.untold += 1;
        line.last = Some((*it, if decision.action == Action::Reject { "rejected" } else { "dropped" }));
        self.tell(now);
    }

    /// Tells what may be told.
    pub(super) fn tell(&mut self, now: Instant) {
        self.next = None;
        for line in &mut self.lines {
            let Some((it, action)) = line.last else { continue };
            if let Some(at) = line.told.map(|at| at + TELL).filter(|at| *at > now) {
                self.next = Some(self.next.map_or(at, |next| next.min(at)));
                continue;
            }
            line.last = None;
            line.told = Some(now);
            let what = What::Firewall {
                rule: line.name.clone(),
                action,
                from: it.from.word(),
                protocol: it.proto,
                source: it.src,
                destination: it.dst,
                count: std::mem::take(&mut line.untold),
            };
            self.events.push(Event { at: now, what });
        }
    }

    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    pub(super) fn take_events(&mut self, to: &mut Vec<Event>) {
        to.append(&mut self.events);
    }

    /// Packets that each rule decided about, by its name.
    pub(super) fn hits(&self) -> impl Iterator<Item = (&str, u64)> {
        self.lines.iter().map(|l| (l.name.as_str(), l.hits))
    }
}
