//! The writing end of a recording: a thread that puts turns into files.

use super::manifest::{Manifest, RecordedInterface};
use super::recorder::{Recorder, Tail, TurnRecord};
use super::turn::{HandoffLine, TurnLine, event_line};
use super::{FORMAT, names};
use crate::io::pcap::{Format, Writer as Capture};
use crossbeam::channel::TryRecvError;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

/// What is recorded.
#[derive(Debug, Clone)]
pub struct About {
    /// The configuration in use, with its seed and password: all that a replay needs.
    pub config: String,
    /// What is recorded, a line for people.
    pub recorded: String,
    /// The interfaces, in the order of the worker's ports.
    pub interfaces: Vec<RecordedInterface>,
}

/// What was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Where.
    pub dir: PathBuf,
    /// Its manifest, as written.
    pub manifest: Manifest,
}

/// The writing thread. Finish or drop its [`Recorder`], then call [`finish`](Self::finish).
#[derive(Debug)]
pub struct RecordWriter {
    thread: JoinHandle<io::Result<Recorded>>,
}

impl RecordWriter {
    /// Makes `dir`, which must be new or empty, and starts the thread. The files may become about `limit`
    /// bytes in all. Directory and files are for their owner only.
    ///
    /// # Errors
    /// The directory is in use or cannot be written; no thread can be started.
    pub fn start(dir: &Path, limit: u64, about: About) -> io::Result<(Recorder, Self)> {
        match DirBuilder::new().recursive(true).mode(0o700).create(dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        if std::fs::read_dir(dir)?.next().is_some() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the directory is not empty"));
        }
        let files = Files::create(dir, &about)?;
        let (recorder, tail) = Recorder::new(limit);
        let dir = dir.to_owned();
        let run = move || {
            let shared = tail.shared.clone();
            let result = run(files, &tail, dir, about);
            if result.is_err() {
                shared.failed.store(true, Ordering::Release);
            }
            result
        };
        let thread = std::thread::Builder::new().name("record".to_owned()).spawn(run)?;
        Ok((recorder, Self { thread }))
    }

    /// Waits until all is written, the manifest last.
    ///
    /// # Errors
    /// Something could not be written. There is no manifest then.
    pub fn finish(self) -> io::Result<Recorded> {
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the writing thread is gone")))
    }
}

/// A new file that only its owner may read: names, passwords and contents stand in it.
pub(super) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

struct Files {
    turns: BufWriter<File>,
    ingress: Capture,
    egress: Capture,
    events: BufWriter<File>,
    sums: Sums,
}

#[derive(Default)]
struct Sums {
    turns: u64,
    frames_in: u64,
    frames_out: u64,
    events: u64,
}

impl Files {
    fn create(dir: &Path, about: &About) -> io::Result<Self> {
        create(&dir.join(names::CONFIG))?.write_all(about.config.as_bytes())?;
        let interfaces: Vec<&str> = about.interfaces.iter().map(|i| i.name.as_str()).collect();
        let capture = |name| {
            let out = Box::new(BufWriter::new(create(&dir.join(name))?));
            Capture::new(out, Format::PcapNg, &interfaces)
        };
        Ok(Self {
            turns: BufWriter::new(create(&dir.join(names::TURNS))?),
            ingress: capture(names::INGRESS)?,
            egress: capture(names::EGRESS)?,
            events: BufWriter::new(create(&dir.join(names::EVENTS))?),
            sums: Sums::default(),
        })
    }

    fn turn(&mut self, r: &TurnRecord) -> io::Result<()> {
        let line = TurnLine {
            turn: r.turn,
            now: r.now.as_nanos(),
            rx: r.rx.iter().map(Vec::len).collect(),
            slots: r.room.iter().map(|r| r.0).collect(),
            spare: r.room.iter().map(|r| r.1).collect(),
            out: r.out.iter().map(Vec::len).collect(),
            events: r.events.len(),
            control: r.control.iter().map(|&c| c.into()).collect(),
            handoff: r.handoff.iter().map(HandoffLine::new).collect(),
        };
        serde_json::to_writer(&mut self.turns, &line)?;
        self.turns.write_all(b"\n")?;
        let sums = &mut self.sums;
        sums.turns += 1;
        for (frames, capture, n) in [
            (&r.rx, &mut self.ingress, &mut sums.frames_in),
            (&r.out, &mut self.egress, &mut sums.frames_out),
        ] {
            for (interface, frames) in frames.iter().enumerate() {
                for frame in frames {
                    capture.write(line.now, interface as u32, frame)?;
                    *n += 1;
                }
            }
        }
        for event in &r.events {
            writeln!(self.events, "{}", event_line(r.turn, event))?;
            sums.events += 1;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.turns.flush()?;
        self.ingress.flush()?;
        self.egress.flush()?;
        self.events.flush()
    }
}

fn run(mut files: Files, tail: &Tail, dir: PathBuf, about: About) -> io::Result<Recorded> {
    loop {
        let record = match tail.turns.try_recv() {
            Ok(record) => record,
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                // Nothing to do: what is there shall be readable even if the process dies.
                files.flush()?;
                match tail.turns.recv() {
                    Ok(record) => record,
                    Err(_) => break,
                }
            }
        };
        files.turn(&record)?;
        tail.shared.held.fetch_sub(record.held, Ordering::AcqRel);
    }
    files.flush()?;
    let Ok(end) = tail.end.try_recv() else {
        return Err(io::Error::other("the worker went away without an end"));
    };
    let counters: serde_json::Map<_, _> = end.counters.into_iter().map(|(k, n)| (k, n.into())).collect();
    writeln!(create(&dir.join(names::COUNTERS))?, "{:#}", serde_json::Value::Object(counters))?;
    let mut manifest = Manifest {
        format: FORMAT,
        tidegate: env!("CARGO_PKG_VERSION").to_owned(),
        pins: String::new(),
        recorded: about.recorded,
        ended: end.ended,
        workers: 1,
        turns: files.sums.turns,
        frames_in: files.sums.frames_in,
        frames_out: files.sums.frames_out,
        events: files.sums.events,
        interface: about.interfaces,
        file: Vec::new(),
    };
    manifest.sum(&dir)?;
    manifest.save(&dir)?;
    Ok(Recorded { dir, manifest })
}
