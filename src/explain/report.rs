//! What comes out: values for programs (`--json`), from which the text for people is made.
//!
//! Fields are only added; `v` is the form's version. Causes' codes are stable.

use serde::Serialize;
use std::net::SocketAddr;

/// Version of the JSON form.
pub const VERSION: u32 = 1;

/// All codes of causes but `reply_` with the code of a reply. `docs/explain.md` says what each means.
pub const CODES: &[&str] = &[
    "syn_dropped",
    "syn_reset",
    "syn_ack_lost",
    "data_unreachable",
    "data_reset",
    "data_stalled",
    "zero_window",
    "mtu_black_hole",
    "passive_wrong_address",
    "passive_no_address",
    "passive_refused",
    "port_behind_nat",
    "port_foreign_address",
    "port_refused",
    "alg_rewrote",
    "auth_tls",
    "final_reply_lost",
    "control_reset",
    "control_closed",
    "no_data_connection",
    "capture_too_short",
    "one_side_only",
    "payload_not_captured",
];

/// Everything about some captures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// [`VERSION`].
    pub v: u32,
    /// The captures, in the order given.
    pub files: Vec<File>,
    /// FTP sessions, by the time of their first packet.
    pub sessions: Vec<Session>,
    /// Transfers that failed, in all sessions.
    pub failed: usize,
    /// What was left out, and why.
    pub notes: Vec<String>,
    /// Packets that were seen at two places, and counted once.
    pub copies: u64,
    /// TCP connections.
    pub connections: u64,
}

/// A capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct File {
    /// As it was called.
    pub name: String,
    /// Its frames.
    pub frames: u64,
    /// Frames of which the capture holds a part only.
    pub cut: u64,
    /// First and last frame, in nanoseconds since 1970.
    pub first: Option<u64>,
    /// See `first`.
    pub last: Option<u64>,
}

/// A frame of a capture, numbered as Wireshark does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FrameRef {
    /// Which of [`Report::files`], from 0.
    pub file: u16,
    /// Its number in it, from 1.
    pub frame: u64,
}

/// One control connection and its data connections.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Session {
    /// From 1.
    pub session: usize,
    /// Ends of the control connection.
    pub client: SocketAddr,
    /// See `client`.
    pub server: SocketAddr,
    /// Its first and last frame.
    pub first: FrameRef,
    /// See `first`.
    pub last: FrameRef,
    /// When it began, in nanoseconds since 1970.
    pub start: u64,
    /// From its first packet to its last, in seconds.
    pub seconds: f64,
    /// The name after the last USER.
    pub user: Option<String>,
    /// Commands and replies; a reply of several lines is one.
    pub commands: u64,
    /// See `commands`.
    pub replies: u64,
    /// Lines of replies that begin with a code.
    pub reply_lines: u64,
    /// It had begun before the capture did.
    pub from_the_middle: bool,
    /// Only this end's packets were captured: `client` or `server`.
    pub one_sided: Option<&'static str>,
    /// The frame from which on it is encrypted.
    pub encrypted: Option<FrameRef>,
    /// The frame from which on it is clear again (CCC).
    pub clear_again: Option<FrameRef>,
    /// What stands out, for people.
    pub remarks: Vec<String>,
    /// What happened, in order.
    pub timeline: Vec<Moment>,
    /// Transfers, and announcements that came to nothing.
    pub transfers: Vec<Transfer>,
}

/// A line of the timeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Moment {
    /// Where.
    #[serde(flatten)]
    pub at: FrameRef,
    /// Seconds since the session's first packet.
    pub seconds: f64,
    /// `command`, `reply`, `data` (a data connection), `tcp` (the control connection itself) or `note`.
    pub what: &'static str,
    /// A reply's code.
    pub code: Option<u16>,
    /// Text.
    pub text: String,
}

/// One transfer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Transfer {
    /// From 1, in the session; 0 where `outcome` is `unused`.
    pub transfer: usize,
    /// `RETR`, `LIST` and so on; none for an announcement without a transfer, or behind encryption.
    pub verb: Option<&'static str>,
    /// The command's argument.
    pub name: String,
    /// `passive`, `active`, `none` (not announced) or `unknown`.
    pub mode: &'static str,
    /// Where the data connection was to go, by the text.
    pub announced: Option<SocketAddr>,
    /// The frame of the announcement: the reply to PASV, or the PORT.
    pub announced_at: Option<FrameRef>,
    /// The frame of the transfer's command.
    pub command_at: Option<FrameRef>,
    /// The data connection.
    pub data: Option<Data>,
    /// `done`, `failed`, `aborted` (the client sent ABOR), `unused` (announced, and nothing came of it) or
    /// `unknown` (the capture does not tell).
    pub outcome: &'static str,
    /// The final reply's code.
    pub reply: Option<u16>,
    /// Why it failed, or why that is not known.
    pub cause: Option<Cause>,
}

/// A data connection.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Data {
    /// Who opened it, and to where.
    pub from: SocketAddr,
    /// See `from`.
    pub to: SocketAddr,
    /// Its first and last frame.
    pub first: FrameRef,
    /// See `first`.
    pub last: FrameRef,
    /// Seconds between them.
    pub seconds: f64,
    /// It was opened.
    pub established: bool,
    /// Different bytes of payload that the capture shows, to the client and to the server.
    pub to_client: u64,
    /// See `to_client`.
    pub to_server: u64,
    /// Bytes that were sent, as acknowledgements and later packets show, but are not in the capture.
    pub missed: u64,
    /// Segments with payload that were sent again.
    pub repeated: u64,
}

/// Why a transfer failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// A stable code, see `docs/explain.md`.
    pub code: String,
    /// One sentence.
    pub text: String,
    /// The frames that show it, the earliest first.
    pub frames: Vec<FrameRef>,
    /// A display filter of Wireshark that opens the spot in the file of the first of these frames.
    pub filter: String,
}
