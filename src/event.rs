//! What happened, as values: any layer returns them, the runtime writes them out.
//!
//! The JSON form is documented in `docs/events.md`; `v` is its version. Fields are only added.

use crate::time::Instant;
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Version of the JSON form.
pub const SCHEMA_VERSION: u32 = 1;

/// Number of a session, unique in one run of one worker set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

/// One event with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, on the worker's clock.
    pub at: Instant,
    /// What.
    pub what: What,
}

/// Which way a transfer's bytes went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the server to the client.
    Download,
    /// From the client to the server.
    Upload,
}

/// How a data connection is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// By translation in the flow table.
    Translated,
    /// By copying between two stacks.
    Relayed,
}

/// The kinds of events. Every text is for people; every other field is for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// A session began, was refused, or ended.
    Session {
        /// The session; absent when none was made.
        session: Option<SessionId>,
        /// `open`, `refused`, `closed`.
        state: &'static str,
        /// The client's control address.
        client: SocketAddr,
        /// The server's control address.
        server: SocketAddr,
        /// Name of the service.
        service: String,
        /// Why, in a few words.
        reason: String,
    },
    /// The client sent a command.
    Command {
        /// The session.
        session: SessionId,
        /// The verb as sent.
        verb: String,
        /// The argument, `****` for PASS and ACCT; bytes that are not UTF-8 are replaced.
        argument: String,
        /// What we did: `forwarded`, `converted`, `refused`, `answered`.
        action: &'static str,
        /// The rule that refused it, of inspected sessions.
        #[serde(skip_serializing_if = "Option::is_none")]
        rule: Option<&'static str>,
    },
    /// A reply went to the client.
    Reply {
        /// The session.
        session: SessionId,
        /// The code.
        code: u16,
        /// The text of its last line.
        text: String,
        /// `server`, `gateway` (ours) or `edited`.
        source: &'static str,
    },
    /// A data connection was announced, used, or went away.
    Expectation {
        /// The session.
        session: SessionId,
        /// `opened`, `used`, `expired`, `superseded`, `refused`, `waiting`, `elsewhere`.
        state: &'static str,
        /// The address that the client was told, or told us.
        client_side: SocketAddr,
        /// The address at the server's side.
        server_side: Option<SocketAddr>,
        /// Why, in a few words.
        reason: String,
    },
    /// A transfer ended.
    Transfer {
        /// The session.
        session: SessionId,
        /// The verb that caused it (`RETR`, `STOR`, `LIST`…), empty if none was seen.
        verb: String,
        /// Its argument.
        name: String,
        /// Which way.
        direction: Direction,
        /// How it was carried.
        path: Path,
        /// `passive` or `active` at the client's side.
        client_mode: &'static str,
        /// Payload bytes carried.
        bytes: u64,
        /// Milliseconds from the data connection's SYN to its end.
        duration_ms: u64,
        /// `complete`, `reset`, `aborted`, `failed`, `refused`.
        verdict: &'static str,
        /// The code of the final reply, 0 if none came.
        code: u16,
    },
    /// Packets were dropped; repeated drops of one reason are counted into one event a second.
    Drop {
        /// The reason's name in the table of reasons.
        reason: &'static str,
        /// How many since the last event of this reason.
        count: u64,
        /// What it means and what to do.
        text: &'static str,
    },
    /// The state of a service group at a router changed.
    Wccp {
        /// The group's number.
        group: u8,
        /// The router.
        router: Ipv4Addr,
        /// `init`, `seen`, `usable`, `assigned`, `silent`, `left`, `rejected`.
        state: &'static str,
        /// Why, in a few words.
        reason: String,
    },
    /// Something that an operator should mend. At most once a minute for each (kind, subject).
    Warning {
        /// Stable short name: `offload_on`, `router_silent`, `no_assignment`, `md5_mismatch`, …
        kind: &'static str,
        /// What it is about: an interface, a router.
        subject: String,
        /// What is wrong and what to do.
        text: String,
    },
    /// A worker or the whole gateway changed state.
    Gateway {
        /// `started`, `draining`, `stopped`.
        state: &'static str,
        /// Details for people.
        text: String,
    },
    /// A rule of the firewall, or its default, kept something out. One event a second for each rule.
    Firewall {
        /// The rule's name; `default` where none fits.
        rule: String,
        /// `dropped`, `rejected`.
        action: &'static str,
        /// Where it came from: `inside`, `outside`.
        from: &'static str,
        /// Its IP protocol number.
        protocol: u8,
        /// The last one's source; port 0 where the protocol has none.
        source: SocketAddr,
        /// Its destination.
        destination: SocketAddr,
        /// How many since the last event of this rule.
        count: u64,
    },
    /// An end of an inspected control connection sent bytes again that were others; told once a session.
    Conflict {
        /// The session.
        session: SessionId,
        /// Whose bytes they are: `client`, `server`.
        from: &'static str,
        /// How many bytes of that end's stream stand before the segment that brought them.
        at: u64,
    },
    /// Something about a neighbour (next hop).
    Neighbour {
        /// Its address.
        address: IpAddr,
        /// `resolved`, `moved` (to another MAC address), `unreachable`.
        state: &'static str,
    },
}
