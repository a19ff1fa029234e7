//! The report for people.

use super::report::{Cause, FrameRef, Moment, Report, Session, Transfer};
use std::fmt::Write as _;

/// How it may look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// With colours (ANSI).
    pub colour: bool,
    /// Lines are cut at so many columns; `None`: not at all.
    pub columns: Option<usize>,
}

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const BLUE: &str = "\x1b[34m";
const RESET: &str = "\x1b[0m";

/// Writes the report as text.
#[must_use]
pub fn human(report: &Report, style: Style) -> String {
    let mut page = Page { out: String::new(), style, files: report.files.len() };
    for (n, file) in report.files.iter().enumerate() {
        let mark = if page.files > 1 { format!("[{n}] ") } else { String::new() };
        let span = match (file.first, file.last) {
            (Some(first), Some(last)) => {
                format!(", {} to {}", short(first), short(last))
            }
            _ => String::new(),
        };
        page.line("", &format!("{mark}{}: {} frames{span}", file.name, file.frames));
    }
    for note in &report.notes {
        page.line(DIM, &format!("  note: {note}"));
    }
    for session in &report.sessions {
        page.session(session);
    }
    page.line("", "");
    let transfers =
        report.sessions.iter().flat_map(|s| &s.transfers).filter(|t| t.outcome != "unused").count();
    let last = format!(
        "{}, {}, {} failed",
        many(report.sessions.len(), "FTP session"),
        many(transfers, "transfer"),
        report.failed
    );
    page.line(if report.failed > 0 { RED } else { BOLD }, &last);
    page.out
}

struct Page {
    out: String,
    style: Style,
    files: usize,
}

impl Page {
    fn line(&mut self, colour: &str, text: &str) {
        self.pieces(&[(colour, text)]);
    }

    /// One line of pieces, each in its colour, as long as the page is wide.
    fn pieces(&mut self, pieces: &[(&str, &str)]) {
        let mut left = self.style.columns.unwrap_or(usize::MAX).max(20);
        for (colour, text) in pieces {
            let long = text.chars().count() > left;
            let shown: String = if long {
                text.chars().take(left.saturating_sub(1)).chain(['…']).collect()
            } else {
                (*text).to_owned()
            };
            left -= shown.chars().count().min(left);
            if self.style.colour && !colour.is_empty() {
                let _ = write!(self.out, "{colour}{shown}{RESET}");
            } else {
                self.out += &shown;
            }
            if left == 0 {
                break;
            }
        }
        let trimmed = self.out.trim_end_matches(' ').len();
        self.out.truncate(trimmed);
        self.out.push('\n');
    }

    /// A paragraph, never cut: causes and filters are to be read and copied whole.
    fn whole(&mut self, indent: &str, colour: &str, text: &str) {
        let width = self.style.columns.map_or(usize::MAX, |c| c.max(40) - indent.len());
        let mut line = String::new();
        for word in text.split(' ') {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                self.unbounded(colour, &format!("{indent}{line}"));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line += word;
        }
        self.unbounded(colour, &format!("{indent}{line}"));
    }

    fn unbounded(&mut self, colour: &str, text: &str) {
        let columns = self.style.columns.take();
        self.line(colour, text);
        self.style.columns = columns;
    }

    fn session(&mut self, s: &Session) {
        self.line("", "");
        let user = s.user.as_ref().map(|u| format!(", user {u}")).unwrap_or_default();
        let title = format!("Session {}: {} → {}{user}", s.session, s.client, s.server);
        self.line(BOLD, &title);
        let side = s.one_sided.map(|side| format!("; only the {side}'s packets")).unwrap_or_default();
        let facts = format!(
            "  {}, {:.3} s, {} to {}, {}, {}{side}",
            short(s.start),
            s.seconds,
            self.frame(s.first),
            self.frame(s.last),
            many(s.commands as usize, "command"),
            match s.replies {
                1 => "1 reply".to_owned(),
                n => format!("{n} replies"),
            }
        );
        self.line(DIM, &facts);
        for remark in &s.remarks {
            self.line(YELLOW, &format!("  {remark}"));
        }
        if !s.timeline.is_empty() {
            self.line(DIM, &format!("  {:>10} {:>8}", "seconds", "frame"));
        }
        for moment in &s.timeline {
            self.moment(moment);
        }
        let told = || s.transfers.iter().filter(|t| t.outcome != "unused");
        if told().next().is_some() {
            self.line(BOLD, "  Transfers");
        }
        for transfer in told() {
            self.transfer(transfer);
        }
    }

    fn moment(&mut self, m: &Moment) {
        let frame = if self.files > 1 {
            format!("[{}] {:>6}", m.at.file, m.at.frame)
        } else {
            m.at.frame.to_string()
        };
        let (sign, colour) = match (m.what, m.code) {
            ("command", _) => (">", BLUE),
            ("reply", Some(400..)) => ("<", RED),
            ("reply", _) => ("<", GREEN),
            ("data", _) => ("=", YELLOW),
            ("tcp", _) => ("-", DIM),
            _ => ("*", DIM),
        };
        let code = m.code.map(|c| format!("{c} ")).unwrap_or_default();
        let head = format!("  {:>10.6} {frame:>8}  ", m.seconds);
        let indent = if m.what == "data" { "    " } else { "" };
        let text = format!("{indent}{sign} {code}{}", m.text);
        self.pieces(&[(DIM, &head), (colour, &text)]);
    }

    fn transfer(&mut self, t: &Transfer) {
        let mut what = match t.verb {
            Some(verb) => {
                let name: String = t.name.chars().take(80).collect();
                let more = if name.len() < t.name.len() { "…" } else { "" };
                format!("{verb} {name}{more}").trim_end().to_owned()
            }
            None if t.command_at.is_some() => "(command not captured)".to_owned(),
            None => "(no transfer asked for)".to_owned(),
        };
        if t.mode == "unknown" {
            what = "(not readable)".to_owned();
        }
        let to = t.announced.map(|a| format!(" {a}")).unwrap_or_default();
        let bytes = t.data.as_ref().map(|d| {
            let sum = d.to_client + d.to_server;
            let missed =
                if d.missed > 0 { format!(" ({} more not captured)", d.missed) } else { String::new() };
            format!(", {sum} bytes{missed} in {:.3} s", d.seconds)
        });
        let mode = if t.mode == "none" { "not announced" } else { t.mode };
        let reply = t.reply.map(|r| format!(", {r}")).unwrap_or_default();
        let bytes = bytes.unwrap_or_else(|| ", no data connection in the capture".into());
        let colour = match t.outcome {
            "done" => GREEN,
            "failed" => RED,
            _ => YELLOW,
        };
        let text = format!("{}  {what}  {mode}{to}{bytes}{reply}: {}", t.transfer, t.outcome);
        self.whole("    ", colour, &text);
        if let Some(cause) = &t.cause {
            self.cause(cause);
        }
    }

    fn cause(&mut self, cause: &Cause) {
        self.whole("        ", "", &format!("{}: {}.", cause.code, cause.text.trim_end_matches('.')));
        let file = match cause.frames.first() {
            Some(at) if self.files > 1 => format!(" in [{}]", at.file),
            _ => String::new(),
        };
        self.unbounded(DIM, &format!("        filter{file}: {}", cause.filter));
    }

    fn frame(&self, at: FrameRef) -> String {
        if self.files > 1 {
            format!("frame {} of [{}]", at.frame, at.file)
        } else {
            format!("frame {}", at.frame)
        }
    }
}

fn many(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A time of day, to the millisecond.
fn short(nanos: u64) -> String {
    let text = crate::time::rfc3339(nanos);
    text.get(..23).unwrap_or(&text).replace('T', " ")
}
