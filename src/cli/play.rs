//! `tidegate replay --config`: what would the gateway have done with this capture?

use super::{BAD_INPUT, FOUND, fail, print};
use crate::config;
use crate::runtime::play::{self, Play, Report};
use serde_json::json;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

pub(super) fn run(file: &Path, what: Play, json: bool) -> ExitCode {
    let config = match config::load(file) {
        Ok(config) => config,
        Err(errors) => return fail(&errors.to_string()),
    };
    let report = match play::play(&config, &what) {
        Ok(report) => report,
        Err(error) => return fail(&error.to_string()),
    };
    let shown = if json {
        let mut value = json!(report);
        value["capture"] = json!(what.capture);
        print(&format!("{value:#}\n"))
    } else {
        print(&human(&what.capture, &report))
    };
    if let Some(error) = &report.error {
        fail(error);
        return ExitCode::from(BAD_INPUT);
    }
    if report.is_clean() { shown } else { ExitCode::from(FOUND) }
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
