//! `tidegate explain`: what happened in these captures, and why did a transfer fail?

use super::{BAD_INPUT, FOUND, fail, print};
use crate::explain::{Explainer, Frame, Report, Settings, Style, human};
use crate::io::PortError;
use crate::io::pcap::{Reader, Record};
use serde_json::json;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Most captures at once: each is an open file.
const MAX_FILES: usize = 256;

/// What was asked for.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) captures: Vec<PathBuf>,
    pub(super) ports: Vec<u16>,
    pub(super) show_secrets: bool,
    pub(super) json: bool,
}

/// A capture being read, with its next record.
struct Source {
    reader: Reader,
    next: Option<Record>,
    number: u64,
}

pub(super) fn run(options: &Options) -> ExitCode {
    if options.captures.len() > MAX_FILES {
        return fail(&format!(
            "{} captures; {MAX_FILES} at most, merge them with mergecap",
            options.captures.len()
        ));
    }
    if options.captures.iter().filter(|c| is_stdin(c)).count() > 1 {
        return fail("- stands for standard input, which can be read once; name it once");
    }
    let (report, errors) = match read(options) {
        Ok(done) => done,
        Err(error) => return fail(&error.to_string()),
    };
    let shown =
        if options.json { print(&format!("{:#}\n", json!(report))) } else { print(&human(&report, style())) };
    for error in &errors {
        fail(&error.to_string());
    }
    if !errors.is_empty() {
        return ExitCode::from(BAD_INPUT);
    }
    if report.failed > 0 { ExitCode::from(FOUND) } else { shown }
}

/// The report, and what could not be read to its end.
fn read(options: &Options) -> Result<(Report, Vec<PortError>), PortError> {
    let mut sources = Vec::new();
    let mut errors = Vec::new();
    for capture in &options.captures {
        let reader = if is_stdin(capture) {
            Reader::new("standard input", Box::new(io::BufReader::new(io::stdin())))?
        } else {
            Reader::open(capture)?
        };
        let mut source = Source { reader, next: None, number: 0 };
        source.advance(&mut errors);
        sources.push(source);
    }
    let names = options
        .captures
        .iter()
        .map(|c| if is_stdin(c) { "standard input".to_owned() } else { c.display().to_string() });
    let mut explainer = Explainer::new(Settings {
        names: names.collect(),
        ports: options.ports.clone(),
        show_secrets: options.show_secrets,
    });
    // The earliest of all next records; each capture stays in its own order.
    while let Some(file) = earliest(&sources) {
        let Some(source) = sources.get_mut(file) else { break };
        let Some(record) = source.next.take() else { break };
        if let Some(packet) = record.link.packet(&record.data) {
            explainer.frame(&Frame {
                file: file as u16,
                number: source.number,
                interface: record.interface,
                at_nanos: record.at_nanos,
                ethertype: packet.ethertype,
                packet: packet.payload,
                missing: (record.original_len as usize).saturating_sub(record.data.len()),
            });
        }
        source.advance(&mut errors);
    }
    Ok((explainer.finish(), errors))
}

fn earliest(sources: &[Source]) -> Option<usize> {
    let at = |s: &Source| s.next.as_ref().map(|r| r.at_nanos);
    let waiting = sources.iter().enumerate().filter_map(|(i, s)| at(s).map(|t| (t, i)));
    waiting.min().map(|(_, i)| i)
}

impl Source {
    fn advance(&mut self, errors: &mut Vec<PortError>) {
        match self.reader.next() {
            Some(Ok(record)) => {
                self.number += 1;
                self.next = Some(record);
            }
            Some(Err(error)) => errors.push(error),
            None => {}
        }
    }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Colours and columns are for terminals (<https://no-color.org>).
fn style() -> Style {
    if !io::stdout().is_terminal() {
        return Style { colour: false, columns: None };
    }
    let colour = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    Style { colour, columns: crate::runtime::os::terminal_columns() }
}
