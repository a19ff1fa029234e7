//! From what was read to the report.

use super::cause::{Case, Finding, is_private};
use super::conn::{Connection, Connections};
use super::data::{Finder, Unit, announced, ends};
use super::dialogue::{Said, Session, Setup, Who};
use super::report::{self, FrameRef, Moment, Report};
use super::{Explainer, Spot};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Frames that a filter lists.
const LISTED: usize = 6;
/// How far apart one SYN is seen on both sides of a translator, in nanoseconds; clocks may differ.
const SAME: u64 = 5_000_000_000;
/// Transfers of one session that are told.
const MAX_TRANSFERS: usize = 20_000;

pub(super) fn report(all: Explainer) -> Report {
    let mut finder = Finder::new(&all.conns);
    let twins = twins(&all.sessions, &all.conns);
    let mut sessions = Vec::new();
    for (i, session) in all.sessions.iter().enumerate() {
        let Some(control) = all.conns.get(session.conn) else { continue };
        // Nothing but a piece of another protocol, or a port that was knocked at and nothing more.
        if session.foreign.is_some() && session.replies == 0 && session.commands == 0 {
            continue;
        }
        let units = finder.units(session, control);
        let twin = twins.get(&i).and_then(|t| all.sessions.get(*t).map(|s| (*t, s)));
        let view = View { all: &all, session, control, twin };
        sessions.push(view.report(sessions.len() + 1, units));
    }
    let failed = sessions.iter().flat_map(|s| &s.transfers).filter(|t| t.outcome == "failed").count();
    Report {
        v: report::VERSION,
        notes: notes(&all),
        files: all.files.clone(),
        sessions,
        failed,
        copies: all.copies,
        connections: all.conns.iter().count() as u64 + all.conns.forgotten,
    }
}

fn notes(all: &Explainer) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |what: &str, n: u64| {
        if n > 0 {
            notes.push(format!("{what}: {n}"));
        }
    };
    note("packets seen at two places, each counted once", all.copies);
    note("fragments of IP packets, left out", all.pieces);
    note("packets left out because a header in them cannot be", all.damaged);
    note("packets left out because the capture cut off their TCP header", all.headless);
    note("frames cut short by the capture", all.files.iter().map(|f| f.cut).sum());
    note("old connections forgotten, as there are too many at once", all.conns.forgotten);
    note("control connections not read, as there are too many", all.not_read);
    let shortened = all.sessions.iter().filter(|s| s.shortened).count();
    note("sessions told in part, as there is too much to tell", shortened as u64);
    notes
}

/// Sessions that are one connection, seen on both sides of an address translator: it keeps the numbers of the SYNs.
fn twins(sessions: &[Session], conns: &Connections) -> BTreeMap<usize, usize> {
    let mut by_isns: BTreeMap<(u32, u32), (usize, &Connection)> = BTreeMap::new();
    let mut twins = BTreeMap::new();
    for (i, session) in sessions.iter().enumerate() {
        let Some(control) = conns.get(session.conn).filter(|c| c.syn_count > 0 && c.syn_ack.is_some()) else {
            continue;
        };
        let [Some(a), Some(b)] = [control.flows[0].isn(), control.flows[1].isn()] else { continue };
        match by_isns.get(&(a, b)) {
            // Written by a tool, numbers are the same in all sessions: a translator changes an address, at once.
            Some((first, other)) => {
                let other_address = (control.a.ip(), control.b.ip()) != (other.a.ip(), other.b.ip());
                if other_address && control.first.at.saturating_sub(other.first.at) < SAME {
                    twins.insert(i, *first);
                    twins.entry(*first).or_insert(i);
                }
            }
            None => {
                by_isns.insert((a, b), (i, control));
            }
        }
    }
    twins
}

struct View<'a> {
    all: &'a Explainer,
    session: &'a Session,
    control: &'a Connection,
    /// The same connection on the other side of a translator.
    twin: Option<(usize, &'a Session)>,
}

impl View<'_> {
    fn report(&self, number: usize, units: Vec<Unit>) -> report::Session {
        let (session, control) = (self.session, self.control);
        let (client, server) = ends(session, control);
        let entries = session.entries.iter().map(|e| {
            let what = match e.who {
                Who::Client => "command",
                Who::Server => "reply",
                Who::Note => "note",
            };
            (e.spot, self.moment(e.spot, what, e.code, e.text.clone()))
        });
        // A frame's text comes before its FIN.
        let mut timeline: Vec<_> = entries.chain(self.control_moments()).collect();
        let (mut transfers, mut told) = (Vec::new(), 0);
        for unit in units.iter().take(MAX_TRANSFERS) {
            for id in &unit.conns {
                timeline.extend(self.data_moments(*id));
            }
            let mut transfer = self.transfer(unit);
            if transfer.outcome != "unused" {
                told += 1;
                transfer.transfer = told;
            }
            transfers.push(transfer);
        }
        // Entries of one frame stay as they are.
        timeline.sort_by_key(|(spot, _)| spot.order);
        let one_sided = match (control.one_sided(), session.spoke()) {
            (true, [true, _]) => Some("client"),
            (true, [_, true]) => Some("server"),
            _ => None,
        };
        report::Session {
            session: number,
            client,
            server,
            first: refer(control.first),
            last: refer(control.last),
            start: control.first.at,
            seconds: seconds(control.first.at, control.last.at),
            user: session.user.clone(),
            commands: session.commands,
            replies: session.replies,
            reply_lines: session.reply_lines,
            from_the_middle: session.mid,
            one_sided,
            encrypted: session.first_hidden().map(refer),
            clear_again: session.clear_again().map(refer),
            remarks: self.remarks(),
            timeline: timeline.into_iter().map(|(_, m)| m).collect(),
            transfers,
        }
    }

    fn remarks(&self) -> Vec<String> {
        let (session, control) = (self.session, self.control);
        let mut remarks = Vec::new();
        if session.mid {
            remarks.push("it had begun before the capture did".into());
        }
        if control.syn_count > 0 && control.established.is_none() {
            remarks.push(match (control.rst, control.syn_ack) {
                (Some((rst, false)), _) => {
                    format!("the server refused the connection with RST (frame {})", rst.frame)
                }
                (_, Some(answer)) => format!("the server's answer (frame {}) was not taken up", answer.frame),
                _ => format!("the client's {} SYN got no answer", control.syn_count),
            });
        }
        if session.lost > 0 {
            remarks.push(format!("payload not captured: {} bytes of the control connection", session.lost));
        }
        if let Some(conflict) = session.conflict {
            remarks.push(format!(
                "what was sent again in frame {} differs from what was sent first",
                conflict.frame
            ));
        }
        if let Some((other, twin)) = self.twin {
            let pairs = session.setups.iter().zip(&twin.setups);
            let changed = pairs.filter(|(a, b)| (a.address, a.port) != (b.address, b.port)).count();
            let what = if changed > 0 {
                format!(", and {changed} announced addresses differ: something between rewrites FTP")
            } else {
                String::new()
            };
            remarks.push(format!(
                "session {} is the same connection on the other side of a translator{what}",
                other + 1
            ));
        }
        let (client, server) = ends(session, control);
        let third = |s: &&Setup| {
            let elsewhere =
                |a: IpAddr| a != client.ip() && a != server.ip() && !a.is_unspecified() && !is_private(a);
            !s.passive() && s.said == Said::Accepted && s.address.is_some_and(elsewhere)
        };
        if let Some((setup, address)) = session.setups.iter().find(third).and_then(|s| Some((s, s.address?)))
        {
            remarks.push(format!(
                "{} in frame {} names a third host, {address}, and the server accepted it",
                setup.verb.name(),
                setup.asked.frame
            ));
        }
        if let Some(closing) = session.closing {
            remarks.push(format!("the server ended the session with 421 (frame {})", closing.frame));
        }
        remarks
    }

    fn transfer(&self, unit: &Unit) -> report::Transfer {
        let (session, control) = (self.session, self.control);
        let transfer = unit.transfer.and_then(|t| session.transfers.get(t));
        let setup = unit.setup.and_then(|s| session.setups.get(s));
        // The one that got furthest.
        let furthest = |c: &&Connection| {
            (
                c.established.is_some(),
                c.flows.iter().map(|f| f.bytes).sum::<u64>(),
                std::cmp::Reverse(c.first.order),
            )
        };
        let data = unit.conns.iter().filter_map(|id| self.all.conns.get(*id)).max_by_key(furthest);
        let other = self.twin.zip(unit.setup).and_then(|((_, twin), i)| twin.setups.get(i));
        let other_leg = other
            .zip(setup)
            .filter(|(o, s)| (o.address, o.port) != (s.address, s.port))
            .and_then(|(o, _)| Some(SocketAddr::new(o.address?, o.port?)));
        let case = Case {
            session,
            control,
            transfer,
            setup,
            data,
            guessed: unit.guessed,
            end: self.all.last,
            other_leg,
            names: &self.all.settings.names,
        };
        let (outcome, finding) = case.judge();
        let mode = match setup {
            Some(setup) if setup.passive() => "passive",
            Some(_) => "active",
            None if unit.guessed => "unknown",
            None => "none",
        };
        report::Transfer {
            transfer: 0,
            verb: transfer.and_then(|t| t.verb).map(crate::ftp::verb::Verb::name),
            name: transfer.map(|t| t.name.clone()).unwrap_or_default(),
            mode,
            announced: setup.and_then(|s| announced(s, session, control)),
            announced_at: setup.map(|s| {
                match s.answered.filter(|_| s.passive() && s.said != Said::Refused) {
                    Some(answered) => refer(answered),
                    None => refer(s.asked),
                }
            }),
            command_at: transfer.map(|t| refer(t.asked)),
            data: data.map(|d| self.data(d, setup)),
            outcome,
            reply: transfer.and_then(|t| t.done.as_ref()).map(|d| d.code),
            cause: finding.map(|f| self.cause(f, data)),
        }
    }

    fn data(&self, data: &Connection, setup: Option<&Setup>) -> report::Data {
        // The announced port is the server's of a passive one and the client's of an active one.
        let server_is_b = match setup.and_then(|s| Some((s.passive(), s.port?))) {
            Some((passive, port)) if data.a.port() == port && data.b.port() != port => !passive,
            Some((passive, _)) => passive,
            None => data.b.ip() == ends(self.session, self.control).1.ip(),
        };
        let (to_client, to_server) = if server_is_b { (1, 0) } else { (0, 1) };
        report::Data {
            from: data.a,
            to: data.b,
            first: refer(data.first),
            last: refer(data.last),
            seconds: seconds(data.first.at, data.last.at),
            established: data.established.is_some(),
            to_client: data.flows[to_client].bytes,
            to_server: data.flows[to_server].bytes,
            missed: data.flows.iter().map(super::stream::Flow::missed).sum(),
            repeated: data.flows.iter().map(|f| f.repeated).sum(),
        }
    }

    /// What the control connection itself did, besides carrying lines.
    fn control_moments(&self) -> Vec<(Spot, Moment)> {
        let control = self.control;
        let mut out = Vec::new();
        let mut tell = |spot: Spot, text: String| out.push((spot, self.moment(spot, "tcp", None, text)));
        if let Some(syn) = control.syns.first() {
            let times =
                if control.syn_count > 1 { format!(", {} times", control.syn_count) } else { String::new() };
            tell(*syn, format!("SYN {} → {}{times}", control.a, control.b));
        }
        if let Some((rst, by_a)) = control.rst {
            tell(rst, format!("RST from {}", if by_a { control.a } else { control.b }));
        }
        for (from, flow) in [control.a, control.b].into_iter().zip(&control.flows) {
            if let Some(fin) = flow.fin {
                tell(fin, format!("FIN from {from}"));
            }
        }
        if let Some(complaint) = control.complaint {
            tell(complaint.spot, format!("ICMP {:?} from {}", complaint.what.kind, complaint.what.from));
        }
        out
    }

    fn data_moments(&self, id: usize) -> Vec<(Spot, Moment)> {
        let Some(data) = self.all.conns.get(id) else { return Vec::new() };
        let mut out = Vec::new();
        let mut tell = |spot: Spot, text: String| out.push((spot, self.moment(spot, "data", None, text)));
        let both = format!("{} → {}", data.a, data.b);
        for (n, syn) in data.syns.iter().enumerate() {
            let again = if n > 0 { " again" } else { "" };
            tell(*syn, format!("SYN {both}{again}"));
        }
        if !data.opener_known() {
            tell(data.first, format!("in the middle of {} and {}", data.a, data.b));
        }
        if let Some(answer) = data.syn_ack {
            tell(answer, format!("SYN-ACK from {}", data.b));
        }
        for (from, flow) in [(data.a, &data.flows[0]), (data.b, &data.flows[1])] {
            if let (Some(first), Some(last)) = (flow.first_data, flow.last_data) {
                let missed = match flow.missed() {
                    0 => String::new(),
                    n => format!(", {n} more not captured"),
                };
                let again = match flow.repeated {
                    0 => String::new(),
                    n => format!(", {n} segments again"),
                };
                let span = if last.frame == first.frame {
                    String::new()
                } else {
                    format!(" until frame {}", last.frame)
                };
                tell(first, format!("data from {from}: {} bytes{span}{missed}{again}", flow.bytes));
            }
            if let Some(closed) = flow.closed_window {
                tell(closed, format!("{from} closed its window"));
            }
            if let Some(fin) = flow.fin {
                tell(fin, format!("FIN from {from}"));
            }
        }
        if let Some((rst, by_a)) = data.rst {
            tell(rst, format!("RST from {}", if by_a { data.a } else { data.b }));
        }
        if let Some(complaint) = data.complaint {
            let (kind, code) = complaint.what.kind;
            tell(complaint.spot, format!("ICMP type {kind} code {code} from {}", complaint.what.from));
        }
        if data.established.is_none()
            && data.syn_ack.is_none()
            && data.rst.is_none()
            && data.complaint.is_none()
        {
            tell(data.last, "no answer".into());
        }
        out
    }

    fn moment(&self, spot: Spot, what: &'static str, code: Option<u16>, text: String) -> Moment {
        Moment { at: refer(spot), seconds: seconds(self.control.first.at, spot.at), what, code, text }
    }

    fn cause(&self, finding: Finding, data: Option<&Connection>) -> report::Cause {
        let file = finding.spots.first().map_or(0, |s| s.file);
        let here = finding.spots.iter().filter(|s| s.file == file).take(LISTED);
        let mut parts: Vec<String> = data.map(conversation).into_iter().collect();
        parts.extend(here.map(|s| format!("frame.number == {}", s.frame)));
        report::Cause {
            code: finding.code,
            text: finding.text,
            frames: finding.spots.iter().take(LISTED).map(|s| refer(*s)).collect(),
            filter: parts.join(" || "),
        }
    }
}

/// A display filter for all packets of a connection.
fn conversation(c: &Connection) -> String {
    let family = |a: IpAddr| if a.is_ipv4() { "ip" } else { "ipv6" };
    let (a, b) = (c.a, c.b);
    format!(
        "({}.addr == {} && {}.addr == {} && tcp.port == {} && tcp.port == {})",
        family(a.ip()),
        a.ip(),
        family(b.ip()),
        b.ip(),
        a.port(),
        b.port()
    )
}

fn refer(spot: Spot) -> FrameRef {
    FrameRef { file: spot.file, frame: spot.frame }
}

/// Rounded to microseconds: more would be noise in JSON.
fn seconds(from: u64, to: u64) -> f64 {
    (to.saturating_sub(from) / 1000) as f64 / 1e6
}
