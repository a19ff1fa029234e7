//! What the rules need of the world: data connections that are announced, let in, and forgotten.

use crate::ftp::verb::Verb;
use crate::time::Instant;
use std::net::SocketAddr;

/// Why a data connection cannot be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoDoor {
    /// No port is free at the moment; the line is to be held, and the question asked again.
    Wait,
    /// No port is free (425).
    Ports,
    /// The client has as many announced as it may (425).
    Client,
    /// The table of expectations is full (425).
    Full,
    /// The table of connections is full (425).
    Flows,
    /// Policy does not allow it (425 or 504), for this reason.
    Policy(&'static str),
}

/// Why an announcement ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Another one takes its place.
    Superseded,
    /// The server refused PORT, or the transfer ended without it.
    Unused,
    /// The client logs in anew, or leaves.
    Over,
    /// The connection is not read any more.
    Opaque,
}

/// A transfer that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Its verb.
    pub verb: Verb,
    /// Its argument, for people.
    pub name: String,
    /// Payload goes the verb's way only; else both ways may be used: under TLS (PROT P), and where it is not enforced.
    pub one_way: bool,
}

/// The data connections of one control connection. There is one announcement at a time.
///
/// Addresses are pinned before they come here: the client's is [`Ends::client`](super::Ends::client), the server's
/// [`Ends::server`](super::Ends::server). The one exception is what another server [offers](Doors::offer).
pub trait Doors {
    /// The client listens at `at` (as it knows itself), or what another server listens for there [is
    /// offered](Self::is_offered). Where is the server to connect to? Nothing may come yet: the server has not
    /// accepted it.
    ///
    /// # Errors
    /// There is no such door; nothing was reserved.
    fn reserve(&mut self, now: Instant, at: SocketAddr) -> Result<SocketAddr, NoDoor>;

    /// The client listens at the port of its control connection, without saying so (RFC 959 3.2): the server may connect
    /// there from the port below its own.
    ///
    /// # Errors
    /// There is no such door, and none was opened.
    fn default_port(&mut self, now: Instant) -> Result<(), NoDoor>;

    /// The server accepted what was [reserved](Self::reserve) last: its connection may come. It is called before
    /// the 200 goes on.
    fn open(&mut self, now: Instant);

    /// The server listens at `at` (as it knows itself). Where is the client to connect to? From now on it may;
    /// the line that tells it goes on afterwards.
    ///
    /// # Errors
    /// There is no such door, and none was opened.
    fn listen(&mut self, now: Instant, at: SocketAddr) -> Result<SocketAddr, NoDoor>;

    /// What the server [listens](Self::listen) for at `at`, and the client is told as `told`, may be named to another
    /// server by the same client's PORT, for a short time.
    fn offer(&mut self, _now: Instant, _at: SocketAddr, _told: SocketAddr) {}

    /// Whether the same client was [offered](Self::offer) `at` in another session, a short time ago. If so, it can be
    /// [reserved](Self::reserve) here: this server is to connect to that one.
    fn is_offered(&self, _now: Instant, _at: SocketAddr) -> bool {
        false
    }

    /// What was reserved or opened, and not used, is no more.
    fn close(&mut self, now: Instant, why: Why);

    /// An announcement at `at` (port 0 if it names none) is not let stand, since a rule does: nothing comes of it. `active`:
    /// it is the client's.
    fn refused(&mut self, now: Instant, at: SocketAddr, active: bool, why: &'static str);

    /// A transfer was asked for: its command goes on to the server. It is the one of the announcement that stands, or of
    /// the data connection that came of it.
    fn transfer(&mut self, now: Instant, transfer: &Transfer);

    /// The server has begun the transfer that was asked for first (RFC 959 4.2: a 1yz came).
    fn transfer_begun(&mut self, now: Instant);

    /// The transfer's final reply came.
    fn transfer_over(&mut self, now: Instant, code: u16);

    /// Whether what the server listens for does not come this way: the line that tells of it goes on as it is.
    fn is_elsewhere(&self) -> bool {
        false
    }

    /// Whether an announcement stands, or a data connection that came of it lives.
    fn has_door(&self) -> bool;
}
