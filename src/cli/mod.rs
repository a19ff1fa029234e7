//! The command line: arguments, logging, exit status.
//!
//! Exit status: 0 done, 1 the work found a failure, 2 bad usage, configuration or unreadable input, with one
//! line on standard error for each thing that is wrong.

mod args;
mod check;
mod explain;
mod play;
mod replay;

use crate::config::EventTarget;
use crate::runtime::launch::{self, RecordOptions, RunOptions};
use crate::runtime::play::Play;
use args::{Args, Command};
use clap::Parser as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// The work found a failure.
const FOUND: u8 = 1;
/// Bad usage, configuration or input.
const BAD_INPUT: u8 = 2;

/// Reads the process's arguments and does what they say.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    let filter = match filter(&args) {
        Ok(filter) => filter,
        Err(error) => return fail(&format!("--log: {error}; write as info or tidegate::session=debug")),
    };
    // Standard output is for results and events.
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_env_filter(filter)
        .with_target(false)
        .init();
    match args.command {
        Command::Check { config } => check::run(&config, args.json),
        Command::Explain { captures, ports, show_secrets } => {
            let ports = if ports.is_empty() { vec![21] } else { ports };
            explain::run(&explain::Options { captures, ports, show_secrets, json: args.json })
        }
        Command::Replay { config: Some(config), capture: Some(capture), out, events, inside, .. } => {
            play::run(&config, &Play { capture, out, events, inside }, args.json)
        }
        Command::Replay { verify, .. } => replay::run(&verify, args.json),
        Command::Run { config, force, record, record_limit } => {
            let mut config = match crate::config::load(&config) {
                Ok(config) => config,
                Err(errors) => return fail(&errors.to_string()),
            };
            if args.json {
                config.events = EventTarget::Stdout;
            }
            for note in &config.notes {
                tracing::warn!("{note}");
            }
            let record = record.map(|dir| RecordOptions { dir, limit: record_limit });
            match launch::run(config, RunOptions { record, force }) {
                Ok(code) => code,
                Err(error) => fail(&error.to_string()),
            }
        }
    }
}

/// Help and version go to standard output; anything else is one line on standard error.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return print(&error.render().to_string());
    }
    let text = error.render().to_string();
    let what = text.lines().map(str::trim).take_while(|l| !l.starts_with("Usage:")).filter(|l| !l.is_empty());
    let what = what.collect::<Vec<_>>().join(" ");
    if what.starts_with("error:") {
        fail(&format!("{}; try `tidegate --help`", what.trim_start_matches("error:").trim()))
    } else {
        // No subcommand at all: the help itself is the answer.
        fail("no command; try `tidegate --help`")
    }
}

fn filter(args: &Args) -> Result<EnvFilter, String> {
    let text = args.log.as_deref().unwrap_or(match args.verbose {
        0 => "info",
        1 => "debug",
        _ => "trace",
    });
    EnvFilter::try_new(text).map_err(|e| e.to_string())
}

/// Writes a result; a reader that went away is no failure of ours.
fn print(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => fail(&format!("standard output: {e}; mend it")),
        _ => ExitCode::SUCCESS,
    }
}

fn fail(text: &str) -> ExitCode {
    // If standard error is gone too, the exit status still tells.
    let _ = writeln!(io::stderr().lock(), "{text}");
    ExitCode::from(BAD_INPUT)
}
