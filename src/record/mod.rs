//! Recordings of a worker's turns, and their replay.
//!
//! ```text
//!  worker ── turn (what went in, what came out) ──▶ Recorder ══ bounded queue ══▶ RecordWriter ──▶ a directory
//!                                                                                                      │
//!  "case X: egress frame 17 (turn 41): tcp.seq is … expected …" ◀── verify ◀── Case::open ◀────────────┘
//! ```
//! A worker's core is a function of its turns, so a recording holds exactly what a turn is made of: its time,
//! the frames that came in, the room to send, packets from other workers, the operator's wishes. What came
//! out is kept beside it, to be compared. The form of the directory is described in `docs/recordings.md`.

mod case;
mod fields;
mod manifest;
mod recorder;
mod replay;
mod turn;
mod writer;

pub use case::{Case, CaseError};
pub use manifest::{Ended, FileSum, Manifest, RecordedInterface};
pub use recorder::{QUEUE_BYTES, QUEUE_TURNS, Recorder, Why};
pub use replay::{Difference, Verdict, verify};
pub use writer::{About, RecordWriter, Recorded};

/// Version of the form of recordings.
pub const FORMAT: u32 = 1;

/// Names of a case's files.
mod names {
    pub(super) const MANIFEST: &str = "manifest.toml";
    pub(super) const CONFIG: &str = "config.toml";
    pub(super) const TURNS: &str = "worker0-turns.jsonl";
    pub(super) const INGRESS: &str = "worker0-in.pcapng";
    pub(super) const EGRESS: &str = "worker0-out.pcapng";
    pub(super) const EVENTS: &str = "worker0-events.jsonl";
    pub(super) const COUNTERS: &str = "worker0-counters.json";
    /// All that a manifest lists.
    pub(super) const ALL: [&str; 6] = [CONFIG, TURNS, INGRESS, EGRESS, EVENTS, COUNTERS];
}
