//! FTP's grammar: bytes in, values out; no state of a session, no policy.
//!
//! ```text
//!  control stream ─ reader ─┬─ telnet   IAC sequences taken out, refusals offered
//!                           └─ line     bounded lines ─┬─ command   verb and argument ─┐
//!                                                      └─ reply     code, parts, text ─┼─ pending  which reply is whose
//!                              hostport  PORT EPRT LPRT 227 228 229 ─┤                  │
//!                              feat      the list of features, filtered                ┘
//!                              tls       where an encrypted stream is clear again
//! ```
//!
//! Everything borrows from the input where it can. Whatever a peer sends, nothing here panics, and memory
//! is bounded by the limits given. What the gateway sends is always written anew in one canonical form.
#![forbid(unsafe_code)]

pub mod command;
pub mod feat;
pub mod hostport;
pub mod line;
pub mod pending;
pub mod reader;
pub mod reply;
pub mod secret;
pub mod telnet;
pub mod tls;
pub mod verb;

/// Bytes of a peer as people may see them; whoever writes them out escapes what is no text.
#[must_use]
pub fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

/// How much deviation from the RFCs is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// What real clients and servers send, as far as it has one meaning only.
    #[default]
    Lenient,
    /// RFC 959, 1123, 2428 to the letter.
    Strict,
}
