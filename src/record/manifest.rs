//! What a case is: the file that stands beside the recorded ones.

use super::case::CaseError;
use super::{FORMAT, names};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// A manifest is a page; more is something else.
const MAX_BYTES: u64 = 1 << 20;

/// Why a recording ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The gateway stopped.
    Stop,
    /// The limit on its size was reached.
    Limit,
    /// The writer could not keep up.
    Overflow,
}

impl Ended {
    /// The word in manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Limit => "limit",
            Self::Overflow => "overflow",
        }
    }
}

/// An interface as the engine knew it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedInterface {
    /// Its name.
    pub name: String,
    /// What carried its frames.
    pub driver: String,
    /// Its MAC address, as `02:00:00:00:00:01`.
    pub mac: String,
    /// MTU in bytes.
    pub mtu: u16,
}

impl RecordedInterface {
    /// The MAC address; `None` if it is not written as one.
    pub fn mac(&self) -> Option<[u8; 6]> {
        let mut mac = [0; 6];
        let mut parts = self.mac.split(':');
        for byte in &mut mac {
            *byte = parts.next().filter(|p| p.len() == 2).and_then(|p| u8::from_str_radix(p, 16).ok())?;
        }
        parts.next().is_none().then_some(mac)
    }

    /// A MAC address as it is written.
    pub fn show_mac(mac: [u8; 6]) -> String {
        mac.map(|b| format!("{b:02x}")).join(":")
    }
}

/// One file of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSum {
    /// Its name, without a path.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256, in hexadecimal digits.
    pub sha256: String,
}

/// What a case is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the form, [`FORMAT`].
    pub format: u32,
    /// Version of the program that recorded it.
    pub tidegate: String,
    /// What the case pins, a line; empty until somebody writes it.
    pub pins: String,
    /// What was recorded, a line.
    pub recorded: String,
    /// Why the recording ended.
    pub ended: Ended,
    /// How many workers there were.
    pub workers: u16,
    /// Turns in the log.
    pub turns: u64,
    /// Frames that came in.
    pub frames_in: u64,
    /// Frames that went out.
    pub frames_out: u64,
    /// Events.
    pub events: u64,
    /// The interfaces, in the order of the turns' lists.
    pub interface: Vec<RecordedInterface>,
    /// The files.
    pub file: Vec<FileSum>,
}

impl Manifest {
    /// Reads the manifest of the case in `dir`.
    ///
    /// # Errors
    /// There is none, it is malformed, or of another version.
    pub fn load(dir: &Path) -> Result<Self, CaseError> {
        let path = dir.join(names::MANIFEST);
        let error =
            |what: String, remedy: &str| CaseError { file: path.clone(), what, remedy: remedy.into() };
        let mut text = String::new();
        File::open(&path).and_then(|f| f.take(MAX_BYTES).read_to_string(&mut text)).map_err(|e| {
            let remedy = "give the directory of a recording whose gateway stopped in order";
            error(format!("cannot be read: {e}"), remedy)
        })?;
        let of = |key| text.parse::<toml::Table>().ok().and_then(|t: toml::Table| t.get(key).cloned());
        // First of all: another version may have other keys.
        if let Some(format) = of("format").filter(|f| f.as_integer() != Some(i64::from(FORMAT))) {
            let by = of("tidegate").and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
            let what = format!("recordings of format {format} are not known here, only {FORMAT}");
            return Err(error(
                what,
                &format!("replay it with the tidegate that recorded it ({by}), or record it again"),
            ));
        }
        toml::from_str(&text).map_err(|e| {
            let line = e.span().map_or(0, |s| text.get(..s.start).unwrap_or("").matches('\n').count() + 1);
            error(
                format!("line {line}: {}", e.message().replace('\n', " ")),
                "take back what was edited, or record it again",
            )
        })
    }

    /// Writes the manifest of the case in `dir`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self, dir: &Path) -> io::Result<()> {
        let text = toml::to_string(self).map_err(io::Error::other)?;
        let mut file = super::writer::create(&dir.join(names::MANIFEST))?;
        io::Write::write_all(&mut file, text.as_bytes())
    }

    /// Sums of the case's files as they are now.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn sum(&mut self, dir: &Path) -> io::Result<()> {
        self.file.clear();
        for name in names::ALL {
            let (bytes, sha256) = sum(&dir.join(name))?;
            self.file.push(FileSum { name: name.to_owned(), bytes, sha256 });
        }
        Ok(())
    }
}

/// Size and SHA-256 of a file.
pub(super) fn sum(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let (mut hash, mut bytes, mut piece) = (Sha256::new(), 0, vec![0; 64 * 1024]);
    loop {
        match file.read(&mut piece)? {
            0 => break,
            n => {
                bytes += n as u64;
                hash.update(piece.get(..n).unwrap_or_default());
            }
        }
    }
    Ok((bytes, hash.finalize().iter().map(|b| format!("{b:02x}")).collect()))
}
