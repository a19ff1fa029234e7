//! What the rules obey: plain values, checked by whoever made them.

use crate::time::Duration;
use crate::wire::Net;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

/// How much is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Whatever has one meaning only; nothing is refused for its form.
    Compat,
    /// What real clients and servers send; what no two parsers agree about is refused.
    #[default]
    Standard,
    /// To the letter; what is not ends the connection.
    Strict,
}

/// What becomes of AUTH TLS and AUTH SSL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ftps {
    /// Answered with 534, naming the policy.
    Refuse,
    /// Passed on; behind the 234 the connection is not read.
    #[default]
    Opaque,
}

/// What becomes of a connection that is encrypted and then clear again (RFC 4217 12.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ccc {
    /// It is read again.
    #[default]
    Allow,
    /// Both ends are reset at the first clear byte.
    Deny,
    /// It is read again, and until then no data connection is admitted, not even by a static rule.
    Require,
}

/// Which data modes clients may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientMode {
    /// Active and passive.
    #[default]
    Any,
    /// PORT and its like; PASV and its like are refused.
    Active,
    /// PASV and its like; PORT and its like are refused.
    Passive,
}

/// Rules of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The service's name, for events.
    pub name: String,
    /// How much is let through.
    pub profile: Profile,
    /// What becomes of AUTH.
    pub ftps: Ftps,
    /// What becomes of a connection that is clear again.
    pub ccc: Ccc,
    /// Which data modes clients may use.
    pub client_mode: ClientMode,
    /// Ports that no data connection goes to, beside those below 1024.
    pub denied_ports: Vec<RangeInclusive<u16>>,
    /// Commands without an answer; the next one waits. 1 to 64.
    pub commands: usize,
    /// Commands that announce data connections, a second; beyond, the session ends with 421.
    pub setups_per_second: u32,
    /// Refused logins of one client; with so many it gets 421, and its next sessions too. None are counted if 0, and by
    /// the rules of [`Profile::Compat`].
    pub failed_logins: u32,
    /// Refused logins of one client that are told at once; further ones are told late.
    pub prompt_refusals: u32,
    /// Commands of any kind, a second, with a second's worth at once; beyond, they wait, or under strict rules the session
    /// ends with 421.
    pub commands_per_second: u32,
    /// From the greeting to the client's first line; then the session ends with 421.
    pub first_command: Duration,
    /// From the greeting to the login; likewise.
    pub login: Duration,
    /// Bytes of one reply; beyond, the session ends with 421.
    pub reply: usize,
    /// Without PORT or PASV the server connects from port 20 to the client's control port (RFC 959 3.2). Else 425.
    pub default_data_port: bool,
    /// Servers, as clients know them, whose data connections may go to another of them; none if a PORT may name only
    /// the client itself.
    pub fxp: Vec<Net>,
}

impl Settings {
    /// With how many refused logins a client is turned away, if ever.
    #[must_use]
    pub fn most_failed_logins(&self) -> Option<u32> {
        (self.failed_logins > 0 && self.profile != Profile::Compat).then_some(self.failed_logins)
    }
}

/// Whose addresses the two ends of the control connection have, to each other and to themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The client, as it knows itself.
    pub client: SocketAddr,
    /// The client, as the server knows it; what PORT tells the server.
    pub client_told: SocketAddr,
    /// The server, as it knows itself.
    pub server: SocketAddr,
    /// The server, as the client knows it; what a 227 tells the client.
    pub server_told: SocketAddr,
}
