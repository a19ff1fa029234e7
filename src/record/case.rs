//! A case on disk: its sums checked, its logs read turn by turn. Whatever the files say, memory stays flat.

use super::manifest::{Manifest, sum};
use super::names;
use super::turn::TurnLine;
use crate::buf::{BURST, MAX_FRAME};
use crate::io::PortError;
use crate::io::pcap::{LinkType, Reader as Capture};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

/// The longest line of a log: a packet from another worker in hexadecimal digits, 64 of them.
const MAX_LINE: u64 = 1 << 20;
/// The most spare frames of a turn; each takes memory.
const MAX_SPARE: usize = 4_096;
/// The most frames that leave in a turn: as many as the largest ring takes.
const MAX_OUT: usize = 32_768;
/// The most bytes of a turn's events, as text.
const MAX_EVENTS: usize = 64 << 20;
/// Configuration and counters are small.
const MAX_SMALL: u64 = 1 << 20;

/// Why a case cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}; {remedy}", file.display())]
pub struct CaseError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// A case whose files are those that its manifest lists.
#[derive(Debug)]
pub struct Case {
    dir: PathBuf,
    manifest: Manifest,
    config: String,
}

impl Case {
    /// Opens the case in a directory and checks the sums of its files.
    ///
    /// # Errors
    /// The manifest or a file is missing, malformed, of another version or not what was recorded.
    pub fn open(dir: &Path) -> Result<Self, CaseError> {
        let manifest = Manifest::load(dir)?;
        let case = Self { dir: dir.to_owned(), manifest, config: String::new() };
        case.check()?;
        let config = case.small(names::CONFIG)?;
        Ok(Self { config, ..case })
    }

    fn check(&self) -> Result<(), CaseError> {
        let m = &self.manifest;
        let of = |what: String, remedy: &str| Err(self.error(names::MANIFEST, what, remedy));
        if m.workers != 1 || !(1..=2).contains(&m.interface.len()) {
            let what = format!("{} workers and {} interfaces were recorded", m.workers, m.interface.len());
            return of(what, "one worker with one interface or two can be replayed");
        }
        for interface in &m.interface {
            if interface.mac().is_none() {
                return of(format!("{:?} is no MAC address", interface.mac), "write it as 02:00:00:00:00:01");
            }
            if !(576..=9_216).contains(&interface.mtu) {
                return of(format!("no interface has an MTU of {}", interface.mtu), "write 576 to 9216");
            }
        }
        if let Some(f) = m.file.iter().find(|f| !names::ALL.contains(&f.name.as_str())) {
            return of(
                format!("lists {:?}, which is not known", f.name),
                "replay it with the tidegate that recorded it",
            );
        }
        for name in names::ALL {
            let Some(listed) = m.file.iter().find(|f| f.name == name) else {
                return of(format!("does not list {name}"), "record the case again");
            };
            let (bytes, sha256) = sum(&self.dir.join(name)).map_err(|e| {
                self.error(
                    name,
                    format!("cannot be read: {e}"),
                    "bring the file back, or record the case again",
                )
            })?;
            if (bytes, &sha256) != (listed.bytes, &listed.sha256) {
                let what = format!(
                    "is not what was recorded: {bytes} bytes with SHA-256 {sha256}, the manifest has {} bytes with {}",
                    listed.bytes, listed.sha256
                );
                return Err(self.error(name, what, "bring the file back, or record the case again"));
            }
        }
        Ok(())
    }

    /// Its name: the directory's.
    pub fn name(&self) -> String {
        let name = self.dir.canonicalize().ok().and_then(|d| d.file_name().map(ToOwned::to_owned));
        name.map_or_else(|| self.dir.display().to_string(), |n| n.to_string_lossy().into_owned())
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The configuration that was in use, as TOML, and the file it stands in.
    pub fn config(&self) -> (&str, PathBuf) {
        (&self.config, self.dir.join(names::CONFIG))
    }

    /// The counters at the end.
    pub(super) fn counters(&self) -> Result<Vec<(String, u64)>, CaseError> {
        let bad = |what: String| self.error(names::COUNTERS, what, "record the case again");
        let text = self.small(names::COUNTERS)?;
        let all: serde_json::Map<String, Value> =
            serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        all.into_iter()
            .map(|(name, n)| {
                n.as_u64().map(|n| (name.clone(), n)).ok_or_else(|| bad(format!("{name} is no number")))
            })
            .collect()
    }

    fn small(&self, name: &str) -> Result<String, CaseError> {
        let (path, mut text) = (self.dir.join(name), String::new());
        File::open(&path)
            .and_then(|f| f.take(MAX_SMALL).read_to_string(&mut text))
            .map_err(|e| self.error(name, format!("cannot be read: {e}"), "record the case again"))?;
        Ok(text)
    }

    pub(super) fn error(&self, name: &str, what: String, remedy: &str) -> CaseError {
        CaseError { file: self.dir.join(name), what, remedy: remedy.to_owned() }
    }
}

/// A frame as recorded.
pub(super) struct RecordedTurn {
    pub(super) line: TurnLine,
    /// Frames for each interface, as `line.rx` and `line.out` count them.
    pub(super) rx: Vec<Vec<Vec<u8>>>,
    pub(super) out: Vec<Vec<Vec<u8>>>,
    pub(super) events: Vec<Value>,
}

/// Reads a case's logs side by side.
pub(super) struct Logs<'a> {
    case: &'a Case,
    turns: BufReader<File>,
    ingress: Capture,
    egress: Capture,
    events: BufReader<File>,
    turn: u64,
    now: u64,
}

const BROKEN: &str = "the files of the case do not belong together; record it again";

impl<'a> Logs<'a> {
    pub(super) fn open(case: &'a Case) -> Result<Self, CaseError> {
        let lines = |name| {
            let file = File::open(case.dir.join(name))
                .map_err(|e| case.error(name, format!("cannot be opened: {e}"), "record the case again"))?;
            Ok::<_, CaseError>(BufReader::new(file))
        };
        let capture = |name| Capture::open(&case.dir.join(name)).map_err(from_capture);
        Ok(Self {
            case,
            turns: lines(names::TURNS)?,
            ingress: capture(names::INGRESS)?,
            egress: capture(names::EGRESS)?,
            events: lines(names::EVENTS)?,
            turn: 0,
            now: 0,
        })
    }

    /// The next turn; `None` when all files are at their end.
    pub(super) fn next(&mut self) -> Result<Option<RecordedTurn>, CaseError> {
        let Some(text) = line(self.case, names::TURNS, &mut self.turns)? else {
            return self.end().map(|()| None);
        };
        self.turn += 1;
        let n = self.turn;
        let bad =
            |what: String, remedy: &str| self.case.error(names::TURNS, format!("line {n}: {what}"), remedy);
        let line: TurnLine = serde_json::from_str(&text)
            .map_err(|e| bad(e.to_string(), "replay it with the tidegate that recorded it"))?;
        let interfaces = self.case.manifest.interface.len();
        let lists = [&line.rx, &line.slots, &line.spare, &line.out];
        let sound = line.turn == n
            && line.now >= self.now
            && lists.iter().all(|l| l.len() == interfaces)
            && line.rx.iter().all(|n| *n <= BURST)
            && line.spare.iter().all(|n| *n <= MAX_SPARE)
            && line.out.iter().zip(&line.slots).all(|(out, slots)| out <= slots && *out <= MAX_OUT);
        if !sound {
            return Err(bad("numbers that no worker writes".to_owned(), BROKEN));
        }
        self.now = line.now;
        let rx = frames(self.case, names::INGRESS, &mut self.ingress, &line.rx, line.now)?;
        let out = frames(self.case, names::EGRESS, &mut self.egress, &line.out, line.now)?;
        let (mut events, mut room) = (Vec::new(), MAX_EVENTS);
        for _ in 0..line.events {
            let text = self::line(self.case, names::EVENTS, &mut self.events)?
                .ok_or_else(|| self.case.error(names::EVENTS, "ends too early".to_owned(), BROKEN))?;
            // A value takes more than its text, but not without bound.
            room = room.checked_sub(text.len()).ok_or_else(|| {
                let what = format!("has more than {MAX_EVENTS} bytes in turn {n}, which no worker writes");
                self.case.error(names::EVENTS, what, BROKEN)
            })?;
            let event = serde_json::from_str(&text)
                .map_err(|e| self.case.error(names::EVENTS, e.to_string(), "record the case again"))?;
            events.push(event);
        }
        Ok(Some(RecordedTurn { line, rx, out, events }))
    }

    fn end(&mut self) -> Result<(), CaseError> {
        let more = |name| Err(self.case.error(name, "goes on behind the last turn".to_owned(), BROKEN));
        if self.ingress.next().is_some() {
            return more(names::INGRESS);
        }
        if self.egress.next().is_some() {
            return more(names::EGRESS);
        }
        if line(self.case, names::EVENTS, &mut self.events)?.is_some() {
            return more(names::EVENTS);
        }
        if self.turn != self.case.manifest.turns {
            let what = format!("has {} turns, the manifest says {}", self.turn, self.case.manifest.turns);
            return Err(self.case.error(names::TURNS, what, BROKEN));
        }
        Ok(())
    }
}

fn from_capture(e: PortError) -> CaseError {
    CaseError { file: e.interface.into(), what: e.what, remedy: e.remedy }
}

fn line(case: &Case, name: &str, from: &mut BufReader<File>) -> Result<Option<String>, CaseError> {
    let mut text = String::new();
    let got = from
        .take(MAX_LINE)
        .read_line(&mut text)
        .map_err(|e| case.error(name, format!("cannot be read: {e}"), "record the case again"))?;
    if got > 0 && !text.ends_with('\n') {
        return Err(case.error(name, "ends in the middle of a line".to_owned(), "record the case again"));
    }
    Ok((got > 0).then_some(text))
}

fn frames(
    case: &Case,
    name: &str,
    from: &mut Capture,
    counts: &[usize],
    now: u64,
) -> Result<Vec<Vec<Vec<u8>>>, CaseError> {
    let mut all = Vec::new();
    for (interface, &count) in counts.iter().enumerate() {
        let mut frames = Vec::new();
        for _ in 0..count {
            let bad = |what: &str| case.error(name, what.to_owned(), BROKEN);
            let record = from.next().ok_or_else(|| bad("ends too early"))?.map_err(from_capture)?;
            if record.at_nanos != now
                || record.interface as usize != interface
                || record.link != LinkType::Ethernet
                || record.is_cut()
                || record.data.len() > MAX_FRAME
            {
                return Err(bad("a frame that is of no turn"));
            }
            frames.push(record.data);
        }
        all.push(frames);
    }
    Ok(all)
}
