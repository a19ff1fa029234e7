//! `tidegate replay --config`: what would the gateway have done with this capture?

use super::{BAD_INPUT, FOUND, fail, print};
use crate::config;
use crate::runtime::play::{self, Passed, Play, Report};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

pub(super) fn run(file: &Path, what: &Play, json: bool) -> ExitCode {
    let config = match config::load(file) {
        Ok(config) => config,
        Err(errors) => return fail(&errors.to_string()),
    };
    let capture = &what.capture;
    if config.deployment.in_line() {
        match play::pass(&config, what) {
            Ok(r) => tell(capture, &r, passed, json, (r.error.as_ref(), r.is_clean())),
            Err(error) => fail(&error.to_string()),
        }
    } else {
        match play::play(&config, what) {
            Ok(r) => tell(capture, &r, human, json, (r.error.as_ref(), r.is_clean())),
            Err(error) => fail(&error.to_string()),
        }
    }
}

/// Prints a report. `end` has the error that ended the capture before its end, and whether all went well.
fn tell<R: Serialize>(
    capture: &Path,
    report: &R,
    human: fn(&Path, &R) -> String,
    json: bool,
    end: (Option<&String>, bool),
) -> ExitCode {
    let shown = if json {
        let mut value = json!(report);
        value["capture"] = json!(capture);
        print(&format!("{value:#}\n"))
    } else {
        print(&human(capture, report))
    };
    match end {
        (Some(error), _) => {
            fail(error);
            ExitCode::from(BAD_INPUT)
        }
        (None, true) => shown,
        (None, false) => ExitCode::from(FOUND),
    }
}

fn passed(capture: &Path, r: &Passed) -> String {
    let mut text = format!(
        "{}: {} records, {} from inside, {} from outside\n",
        capture.display(),
        r.records,
        r.inside,
        r.outside
    );
    let mut row = |name: &str, n: u64, note: &str| {
        let _ = writeln!(text, "  {name:<12}{n:>9}  {note}");
    };
    let reasons = |map: &BTreeMap<String, u64>| {
        map.iter().map(|(reason, n)| format!("{reason} {n}")).collect::<Vec<_>>().join(", ")
    };
    row("same", r.same, "passed as they were");
    row("changed", r.changed, "");
    row("taken", r.taken, "nothing left for them at once");
    row("dropped", r.dropped.values().sum(), &reasons(&r.dropped));
    row("left out", r.left_out.values().sum(), &reasons(&r.left_out));
    row("cut short", r.cut, "in the capture");
    row("made", r.made, "frames besides");
    row("events", r.events, "");
    for b in &r.frames {
        let _ = writeln!(text, "  frame {:>7}  {:<8} {:<9} {}", b.frame, b.from, b.became, b.why.join(", "));
    }
    let other = r.frames.len();
    let _ = writeln!(text, "{} passed as they were, {other} otherwise", r.same);
    text
}

fn human(capture: &Path, r: &Report) -> String {
    let mut text = format!("{}: {} records, {} packets redirected\n", capture.display(), r.records, r.fed);
    let mut row = |name: &str, n: u64, note: &str| {
        let _ = writeln!(text, "  {name:<12}{n:>9}  {note}");
    };
    row("kept", r.kept, "of sessions, for the gateway itself, or pieces of packets");
    row("returned", r.returned, &format!("{} as they came", r.unchanged));
    let reasons: Vec<_> = r.dropped.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
    row("dropped", r.dropped.values().sum(), &reasons.join(", "));
    let left_out = format!(
        "no IP {}, too long {}, without header {}, IPv6 {} (WCCP redirects IPv4 only)",
        r.not_ip, r.too_long, r.headless, r.not_redirected
    );
    row("left out", r.not_ip + r.too_long + r.headless + r.not_redirected, &left_out);
    row("cut short", r.cut, "in the capture");
    row("sent", r.sent, "frames");
    row("events", r.events, "");
    let _ = writeln!(
        text,
        "{} returned unchanged, {} changed",
        r.unchanged,
        r.returned - r.unchanged.min(r.returned)
    );
    text
}
