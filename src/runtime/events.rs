//! Events out of the workers: a bounded queue, a thread that writes JSON lines and logs, and sums for the end.
//!
//! The form of the lines is described in `docs/events.md`. Passwords never get here: the session layer puts
//! `****` in their place before it makes the event.

use super::os::{Clock, FLAG_INTERVAL};
use crate::config::EventTarget;
use crate::event::{Event, SCHEMA_VERSION, What};
use crate::time::{Duration, Instant};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use nix::libc;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Events on their way to the writer; beyond that they are counted and lost.
pub const QUEUE: usize = 8_192;
/// Lines gathered into one batch.
const BATCH: usize = 256;
/// Bytes of one write: a reader that takes so much is alive.
const PIECE: usize = 4_096;
/// How long the end waits for a reader that takes nothing, and at most for one that is slow once the end is
/// wanted at once.
const STALL: Duration = Duration::from_secs(2);

struct Record {
    worker: u16,
    event: Event,
}

/// The end that workers put events into. Never blocks; copies share one queue.
#[derive(Clone)]
pub struct EventSink {
    queue: Sender<Record>,
    lost: Arc<AtomicU64>,
}

impl EventSink {
    /// Hands an event over. When the queue is full the event is counted as lost and `false` comes back; the
    /// count appears in the file as `events_lost`.
    pub fn post(&self, worker: u16, event: Event) -> bool {
        match self.queue.try_send(Record { worker, event }) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }
}

/// Why there is nothing to write events to. The text is one line.
#[derive(Debug, thiserror::Error)]
#[error("events.path {}: {what}; {remedy}", path.display())]
pub struct EventsError {
    path: PathBuf,
    what: String,
    remedy: &'static str,
}

/// What events are written to, open.
pub struct EventOutput {
    target: EventTarget,
    out: Box<dyn Write + Send>,
}

impl EventOutput {
    /// Opens the target; never waits for a pipe's reader.
    ///
    /// # Errors
    /// It cannot be opened, or is a pipe without a reader.
    pub fn open(target: EventTarget) -> Result<Self, EventsError> {
        let out = open(&target)?;
        Ok(Self { target, out })
    }
}

/// The writing thread. Drop all sinks, then call [`finish`](Self::finish).
pub struct EventWriter {
    done: Receiver<Summary>,
    /// Pieces written.
    taken: Arc<AtomicU64>,
}

impl EventWriter {
    /// Starts the thread. `reopen` set to true makes it open its file again (after a rotation); it is then
    /// set back.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        output: EventOutput,
        clock: Clock,
        reopen: Arc<AtomicBool>,
    ) -> io::Result<(EventSink, Self)> {
        let (queue, records) = bounded(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let sink = EventSink { queue, lost: Arc::clone(&lost) };
        let writer = Writer::new(output, clock, reopen, lost);
        let taken = Arc::clone(&writer.taken);
        let (tell, done) = bounded(1);
        std::thread::Builder::new().name("events".to_owned()).spawn(move || {
            // There is room for it, and if nobody waits any more it is not wanted.
            let _ = tell.send(writer.run(&records));
        })?;
        Ok((sink, Self { done, taken }))
    }

    /// Waits until every event is written and gives the sums; all sinks must be gone. `None` if the reader
    /// takes nothing for two seconds, or, while `hurry` says so, is not done within two seconds.
    pub fn finish(self, hurry: impl Fn() -> bool) -> Option<Summary> {
        /// How often it is looked whether the reader takes anything.
        const LOOK: Duration = Duration::from_millis(50);
        let mut taken = 0;
        let mut looks = 0;
        while looks < STALL.as_millis() / LOOK.as_millis() {
            match self.done.recv_timeout(LOOK) {
                Ok(summary) => return Some(summary),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
            looks += 1;
            let now = self.taken.load(Ordering::Relaxed);
            if now != taken && !hurry() {
                looks = 0;
            }
            taken = now;
        }
        None
    }
}

/// Sums over all events, whether or not they could be written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Counts by name, as `session.open`, `transfer.complete`, `transfer.bytes.download`, `drop.no_owner`.
    pub counters: BTreeMap<String, u64>,
    /// Events that were lost because the queue was full or the file could not be written.
    pub lost: u64,
}

impl Summary {
    fn add(&mut self, what: &What) {
        match what {
            What::Session { state, .. } => self.count("session", state, 1),
            What::Command { action, .. } => self.count("command", action, 1),
            What::Reply { source, .. } => self.count("reply", source, 1),
            What::Expectation { state, .. } => self.count("expectation", state, 1),
            What::Transfer { verdict, direction, bytes, .. } => {
                self.count("transfer", verdict, 1);
                self.count("transfer.bytes", word(*direction), *bytes);
            }
            What::Drop { reason, count, .. } => self.count("drop", reason, *count),
            What::Wccp { state, .. } => self.count("wccp", state, 1),
            What::Warning { kind, .. } => self.count("warning", kind, 1),
            What::Gateway { state, .. } => self.count("gateway", state, 1),
            What::Firewall { action, count, .. } => self.count("firewall", action, *count),
            What::Conflict { from, .. } => self.count("conflict", from, 1),
            What::Neighbour { state, .. } => self.count("neighbour", state, 1),
        }
    }

    fn count(&mut self, kind: &str, state: &str, n: u64) {
        let sum = self.counters.entry(format!("{kind}.{state}")).or_default();
        *sum = sum.saturating_add(n);
    }

    /// The sums for people, a line.
    pub fn human(&self) -> String {
        let mut text = String::new();
        for (name, n) in &self.counters {
            let _ = write!(text, "{name} {n}, ");
        }
        let _ = write!(text, "events lost {}", self.lost);
        text
    }
}

/// The line of one event, without a line end. `wall_at_zero` is nanoseconds since 1970 at [`Instant::ZERO`].
pub fn json_line(worker: u16, event: &Event, wall_at_zero: u64) -> String {
    line(Some(worker), event.at, wall_at_zero, &event.what)
}

/// An event for people: one line, whatever peers put into it.
pub fn human(what: &What) -> String {
    let text = match what {
        What::Session { session, state, client, server, service, reason } => {
            let number = session.map_or_else(|| "-".to_owned(), |s| s.0.to_string());
            format!("session {number} {state}: {client} to {server}, service {service}{}", because(reason))
        }
        What::Command { session, verb, argument, action, rule } => {
            let space = if argument.is_empty() { "" } else { " " };
            let rule = rule.map_or_else(String::new, |r| format!(" by rule {r}"));
            format!("session {}: {verb}{space}{argument} ({action}{rule})", session.0)
        }
        What::Reply { session, code, text, source } => {
            format!("session {}: {code} {text} ({source})", session.0)
        }
        What::Expectation { session, state, client_side, server_side, reason } => {
            let other = server_side.map_or_else(String::new, |s| format!(" for {s}"));
            format!("session {}: data connection {state}: {client_side}{other}{}", session.0, because(reason))
        }
        What::Transfer { session, verb, name, bytes, duration_ms, verdict, code, client_mode, .. } => {
            format!(
                "session {}: {verb} {name:?} {verdict}: {bytes} bytes in {duration_ms} ms, {client_mode}, reply {code}",
                session.0
            )
        }
        What::Drop { reason, count, text } => format!("dropped {count} ({reason}): {text}"),
        What::Wccp { group, router, state, reason } => {
            format!("service group {group} at {router} is {state}{}", because(reason))
        }
        What::Warning { kind, text, .. } => format!("{kind}: {text}"),
        What::Gateway { state, text } => format!("{state}{}", because(text)),
        What::Firewall { rule, action, from, protocol, source, destination, count } => {
            format!(
                "{action} {count} from {from}: {source} to {destination}, protocol {protocol} (rule {rule})"
            )
        }
        What::Conflict { session, from, at } => {
            format!("session {}: the {from} sent other bytes in place of those at {at}", session.0)
        }
        What::Neighbour { address, state } => format!("neighbour {address} is {state}"),
    };
    // Peers choose file names and texts: no line breaks, no terminal sequences.
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    safe
}

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" ({reason})") }
}

const fn word(direction: crate::event::Direction) -> &'static str {
    match direction {
        crate::event::Direction::Download => "download",
        crate::event::Direction::Upload => "upload",
    }
}

fn log(what: &What) {
    match what {
        What::Command { .. } | What::Reply { .. } | What::Expectation { .. } | What::Neighbour { .. } => {
            tracing::debug!("{}", human(what));
        }
        What::Warning { .. } | What::Drop { .. } | What::Conflict { .. } => tracing::warn!("{}", human(what)),
        What::Session { .. }
        | What::Transfer { .. }
        | What::Wccp { .. }
        | What::Gateway { .. }
        | What::Firewall { .. } => {
            tracing::info!("{}", human(what));
        }
    }
}

/// What only the writer itself has to say.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Own<'a> {
    EventsLost {
        count: u64,
    },
    Summary {
        #[serde(flatten)]
        sums: &'a Summary,
    },
}

fn line(worker: Option<u16>, at: Instant, wall_at_zero: u64, what: &impl Serialize) -> String {
    #[derive(Serialize)]
    struct Line<'a, W> {
        v: u32,
        time: String,
        at_ns: u64,
        worker: Option<u16>,
        #[serde(flatten)]
        what: &'a W,
    }
    let at_ns = at.as_nanos();
    let time = crate::time::rfc3339(wall_at_zero.saturating_add(at_ns));
    let line = Line { v: SCHEMA_VERSION, time, at_ns, worker, what };
    // Only a map with keys that are no strings could fail, and there is none.
    serde_json::to_string(&line).unwrap_or_default()
}

fn open(target: &EventTarget) -> Result<Box<dyn Write + Send>, EventsError> {
    let EventTarget::File(path) = target else { return Ok(Box::new(io::stdout())) };
    // Names of users and files stand in it: nobody else's business. A pipe is opened without waiting for its
    // reader; later it is the writing thread that waits, and nobody else.
    let opened = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .and_then(|file| waiting(&file).map(|()| file));
    opened.map(|file| Box::new(file) as Box<dyn Write + Send>).map_err(|error| {
        let pipe = std::fs::metadata(path).is_ok_and(|m| m.file_type().is_fifo());
        let (what, remedy) = match error.raw_os_error() {
            Some(libc::ENXIO) if pipe => ("a pipe that nobody reads".to_owned(), "start its reader first"),
            Some(libc::ENOENT) => {
                ("its directory does not exist".to_owned(), "make it, or name another path")
            }
            _ => (format!("cannot be opened: {error}"), "check the path and its permissions"),
        };
        EventsError { path: path.clone(), what, remedy }
    })
}

/// Makes writes wait again.
fn waiting(file: &File) -> io::Result<()> {
    let flags = fcntl_getfl(file)?;
    Ok(fcntl_setfl(file, flags.difference(OFlags::NONBLOCK))?)
}

struct Writer {
    target: EventTarget,
    out: Box<dyn Write + Send>,
    clock: Clock,
    reopen: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
    summary: Summary,
    /// Pieces written.
    taken: Arc<AtomicU64>,
    /// Whether the last write failed midway and left half a line.
    torn: bool,
}

impl Writer {
    fn new(output: EventOutput, clock: Clock, reopen: Arc<AtomicBool>, lost: Arc<AtomicU64>) -> Self {
        let EventOutput { target, out } = output;
        let (summary, taken) = (Summary::default(), Arc::default());
        Self { target, out, clock, reopen, lost, summary, taken, torn: false }
    }

    fn run(mut self, records: &Receiver<Record>) -> Summary {
        loop {
            let first = records.recv_timeout(FLAG_INTERVAL);
            if self.reopen.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            let wall = self.clock.wall_at_zero();
            let mut batch = String::new();
            let mut lines = 0;
            let more = records.try_iter().take(BATCH - 1);
            for record in first.iter().chain(more.collect::<Vec<_>>().iter()) {
                self.summary.add(&record.event.what);
                log(&record.event.what);
                batch.push_str(&json_line(record.worker, &record.event, wall));
                batch.push('\n');
                lines += 1;
            }
            self.write_lost(wall);
            self.write(&batch, lines);
            if matches!(first, Err(RecvTimeoutError::Disconnected)) {
                self.write_lost(wall);
                let sums = self.summary.clone();
                let last = line(None, self.clock.now(), wall, &Own::Summary { sums: &sums });
                self.write(&format!("{last}\n"), 0);
                return self.summary;
            }
        }
    }

    fn write_lost(&mut self, wall: u64) {
        let count = self.lost.swap(0, Ordering::Relaxed);
        if count > 0 {
            self.summary.lost = self.summary.lost.saturating_add(count);
            tracing::warn!("{count} events lost: the queue was full or the file could not be written");
            let text = line(None, self.clock.now(), wall, &Own::EventsLost { count });
            self.write(&format!("{text}\n"), 0);
        }
    }

    fn write(&mut self, batch: &str, lines: u64) {
        if batch.is_empty() {
            return;
        }
        let start = if self.torn { "\n" } else { "" };
        let text = format!("{start}{batch}");
        let written = text.as_bytes().chunks(PIECE).try_for_each(|piece| {
            self.out.write_all(piece)?;
            self.out.flush()?;
            self.taken.fetch_add(1, Ordering::Relaxed);
            Ok::<_, io::Error>(())
        });
        self.torn = written.is_err();
        if let Err(error) = written {
            tracing::debug!("cannot write events: {error}");
            self.lost.fetch_add(lines, Ordering::Relaxed);
        }
    }

    fn reopen(&mut self) {
        match open(&self.target) {
            Ok(out) => {
                self.out = out;
                self.torn = false;
            }
            Err(error) => tracing::warn!("going on with the old event file: {error}"),
        }
    }
}

#[cfg(test)]
mod tests;
