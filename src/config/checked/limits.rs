//! Bounds and times.

use crate::time::Duration;

/// Upper bounds. What happens at each is defined and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sessions at once.
    pub sessions: usize,
    /// Control connections that a client has begun and the server or client has not completed.
    pub half_open: usize,
    /// The same, for one /24 or /64 of clients.
    pub half_open_per_source: usize,
    /// Sessions at once of one client: an IPv4 address or an IPv6 /64.
    pub per_client: usize,
    /// What becomes of a client that there is no session for.
    pub over_limit: OverLimit,
    /// Connections in the flow table (each takes a slot per direction).
    pub flows: usize,
    /// Bytes of one command or reply line, with its line end.
    pub line: usize,
    /// Bytes of one reply with all its lines.
    pub reply: usize,
    /// Commands of one session whose final reply has not come.
    pub commands: usize,
    /// Bytes of one buffer of a relayed transfer.
    pub relay_buffer: usize,
    /// Relayed transfers at once.
    pub relay_buffers: usize,
    /// Those of one client.
    pub relays_per_client: usize,
    /// Announced data connections of inspected sessions.
    pub expectations: usize,
    /// Those of one client: an IPv4 address or an IPv6 /64.
    pub expectations_per_client: usize,
    /// Connections that are followed and not in the flow table.
    pub connections: usize,
}

/// What becomes of a SYN that would be one session too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverLimit {
    /// It goes back to the router, and so to the server itself.
    Return,
    /// It is answered with a reset, as the server.
    Reset,
}

impl OverLimit {
    /// The word in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Return => "return",
            Self::Reset => "reset",
        }
    }
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Until the server completes a TCP connection.
    pub connect: Duration,
    /// From there to the server's greeting.
    pub greeting: Duration,
    /// From the greeting to the client's first command, of an inspected session.
    pub first_command: Duration,
    /// From the greeting until the client is logged in.
    pub login: Duration,
    /// A control connection without a command, reply or live data connection.
    pub control_idle: Duration,
    /// A data connection on which no byte moves in either direction.
    pub data_stall: Duration,
    /// From an announced data connection, not steered, to its SYN.
    pub data_wait: Duration,
    /// From the end of a transfer's data to its final reply.
    pub final_reply: Duration,
    /// From a steered announcement to the client's SYN.
    pub steer_timeout: Duration,
    /// How long a 227 or 229 waits for a free data port before it becomes a 425.
    pub steer_wait: Duration,
    /// How long a steered port stays unused after its announcement ended without a SYN.
    pub quarantine: Duration,
    /// How long a closed connection's addresses are remembered.
    pub time_wait: Duration,
    /// How long sessions may go on after SIGTERM.
    pub drain_timeout: Duration,
    /// From an announced data connection of an inspected session to its SYN.
    pub expectation: Duration,
    /// TCP connections that pass, without a segment.
    pub established: Duration,
    /// Those that are not established yet, or closing.
    pub transitory: Duration,
    /// UDP that passes, without a packet.
    pub udp: Duration,
    /// ICMP queries that pass.
    pub icmp: Duration,
    /// A data connection whose control connection was reset.
    pub orphan: Duration,
}
