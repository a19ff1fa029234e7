//! Commands of a client (RFC 959 section 5.3).

use super::line::Line;
use super::verb;
pub use super::verb::Verb;
use super::{Mode, lossy, secret};
use crate::event::Direction;

/// One command. The argument is what was sent, byte for byte: a file name may begin and end with blanks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command<'a> {
    /// What it is.
    pub verb: Verb,
    /// The verb as sent: 1 to 8 letters and digits, a letter first.
    pub verb_text: &'a [u8],
    /// What follows exactly one blank after the verb; empty when nothing does.
    pub argument: &'a [u8],
    /// A blank followed the verb, so an empty argument was meant (`PASS `).
    pub has_argument: bool,
    /// The line.
    pub line: &'a [u8],
}

/// Why a line is no command to act on or to pass on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A NUL: servers disagree whether it is a byte, a LF or the end.
    Nul,
    /// Strict: a CR inside the line.
    BareCr,
    /// Strict: no CR before the LF.
    BareLf,
    /// Strict: blanks before the verb, or an empty line.
    Blank,
    /// The verb is not 1 to 8 letters and digits.
    Verb,
}

impl Fault {
    /// The reply to give: code and text.
    #[must_use]
    pub const fn reply(self) -> (u16, &'static str) {
        match self {
            Self::Nul => (501, "NUL in a command is not allowed."),
            Self::BareCr => (500, "CR inside a command is not allowed."),
            Self::BareLf => (500, "Commands must end in CR LF."),
            Self::Blank => (500, "Blanks before a command are not allowed."),
            Self::Verb => (500, "Command not understood."),
        }
    }
}

impl<'a> Command<'a> {
    /// Parses a line. `Ok(None)` is a line of blanks only, to be ignored.
    ///
    /// # Errors
    /// What makes the line unfit, with the reply it deserves. Nothing of such a line may be passed on.
    pub fn parse(line: &Line<'a>, mode: Mode) -> Result<Option<Self>, Fault> {
        if line.has_nul() {
            return Err(Fault::Nul);
        }
        let text = skip_blanks(line.bytes);
        if mode == Mode::Strict {
            if text.len() != line.bytes.len() || text.is_empty() {
                return Err(Fault::Blank);
            }
            if line.has_bare_cr() {
                return Err(Fault::BareCr);
            }
            if !line.crlf {
                return Err(Fault::BareLf);
            }
        }
        if text.is_empty() {
            return Ok(None);
        }
        // Some servers take VT and FF for a blank; a verb that ended elsewhere for us than for them would
        // be a way past every rule about verbs.
        let end = text.iter().position(|&b| is_blank(b)).unwrap_or(text.len());
        let (verb_text, rest) = text.split_at(end);
        let well_formed = verb_text.len() <= verb::MAX_LEN
            && verb_text.first().is_some_and(u8::is_ascii_alphabetic)
            && verb_text.iter().all(u8::is_ascii_alphanumeric);
        if !well_formed {
            return Err(Fault::Verb);
        }
        Ok(Some(Self {
            verb: Verb::of(verb_text),
            verb_text,
            argument: rest.get(1..).unwrap_or_default(),
            has_argument: !rest.is_empty(),
            line: line.bytes,
        }))
    }

    /// True when the verb uses a data connection.
    #[must_use]
    pub const fn is_transfer(&self) -> bool {
        self.verb.is_transfer()
    }

    /// Which way the payload goes.
    #[must_use]
    pub const fn direction(&self) -> Option<Direction> {
        self.verb.direction()
    }

    /// True when the argument must not be logged: a secret verb, or `SITE PSWD`.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        let site_password = || first_word(self.argument).eq_ignore_ascii_case(b"PSWD");
        self.verb.is_secret() || (self.verb == Verb::Site && site_password())
    }

    /// The argument for people: `****` where it must not be seen.
    #[must_use]
    pub fn shown(&self) -> String {
        // A server may take a CR for the end of the line, and another command may follow.
        let more = self.argument.contains(&b'\r');
        match (self.is_secret(), more) {
            (true, _) => "****".to_owned(),
            (false, true) => secret::shown(self.argument),
            (false, false) => lossy(self.argument),
        }
    }

    /// Appends the canonical line: verb as sent, one SP and the argument if there was one, CR LF. Bytes
    /// 0xff are not doubled here.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.verb_text);
        if self.has_argument {
            out.push(b' ');
            out.extend_from_slice(self.argument);
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// What speaks on a connection that should speak FTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// HTTP or one of its relatives (RTSP, SIP).
    Http,
    /// SSH.
    Ssh,
    /// A TLS record: implicit FTPS, or a mistake.
    Tls,
    /// SMTP.
    Smtp,
    /// Nothing known, and no FTP either.
    Unknown,
}

/// True when a client's first bytes are a TLS handshake record. It has no line end to wait for, so this is
/// asked before lines are looked at.
#[must_use]
pub fn starts_tls(first: &[u8]) -> bool {
    matches!(first, [0x16] | [0x16, 0x03, ..])
}

/// Judges a client's first line that is not empty: `None` when it is FTP. A connection found foreign once
/// stays so: what follows in it may be FTP's words in a stranger's mouth, to open a data connection.
#[must_use]
pub fn foreign_first_line(line: &[u8]) -> Option<Foreign> {
    if starts_tls(line) {
        return Some(Foreign::Tls);
    }
    let text = skip_blanks(line);
    let mut words = text.split(|&b| is_blank(b));
    let first = words.next().unwrap_or_default();
    if first.get(..4).is_some_and(|head| head.eq_ignore_ascii_case(b"SSH-")) {
        return Some(Foreign::Ssh);
    }
    let last = words.next_back().unwrap_or_default();
    if [&b"HTTP/"[..], b"RTSP/", b"SIP/"].iter().any(|tag| last.starts_with(tag)) {
        return Some(Foreign::Http);
    }
    let is = |names: &[&str]| names.iter().any(|n| first.eq_ignore_ascii_case(n.as_bytes()));
    if is(&[
        "GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "CONNECT", "TRACE", "PATCH", "PROPFIND", "PRI",
    ]) {
        return Some(Foreign::Http);
    }
    if is(&["EHLO", "HELO", "LHLO", "MAIL"]) {
        return Some(Foreign::Smtp);
    }
    (Verb::of(first) == Verb::Other).then_some(Foreign::Unknown)
}

/// What stands before the first blank that is not in front.
#[must_use]
pub fn first_word(line: &[u8]) -> &[u8] {
    skip_blanks(line).split(|&b| is_blank(b)).next().unwrap_or_default()
}

/// What a control connection may hold between words: SP, HT, VT, FF.
pub(super) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c)
}

/// Without the blanks in front.
pub(super) fn skip_blanks(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|&b| !is_blank(b)).unwrap_or(bytes.len());
    bytes.get(start..).unwrap_or_default()
}

/// Without the blanks at both ends.
pub(super) fn trim_blanks(bytes: &[u8]) -> &[u8] {
    let bytes = skip_blanks(bytes);
    let end = bytes.iter().rposition(|&b| !is_blank(b)).map_or(0, |at| at + 1);
    bytes.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Option<Command<'_>>, Fault> {
        Command::parse(&Line { bytes, crlf: true, synch: false }, Mode::Lenient)
    }

    #[test]
    fn the_argument_begins_after_one_blank() {
        let c = parse(b"retr  a b ").unwrap().unwrap();
        assert_eq!((c.verb, c.verb_text, c.argument), (Verb::Retr, &b"retr"[..], &b" a b "[..]));
        let c = parse(b"PASS ").unwrap().unwrap();
        assert!(c.has_argument && c.argument.is_empty() && c.is_secret());
        assert!(!parse(b"PASS").unwrap().unwrap().has_argument);
    }

    #[test]
    fn other_blanks_end_a_verb_and_leave_as_sp() {
        for blank in [b'\t', 0x0b, 0x0c] {
            let line = [b"PORT".as_slice(), &[blank], b"1,2,3,4,5,6"].concat();
            let c = parse(&line).unwrap().unwrap();
            assert_eq!(c.verb, Verb::Port);
            let mut out = Vec::new();
            c.write(&mut out);
            assert_eq!(out, b"PORT 1,2,3,4,5,6\r\n");
        }
    }

    #[test]
    fn odd_verbs_are_faults() {
        for line in [&b"PO\xffRT x"[..], b"P-RT", b"ABCDEFGHI", b"1ABC", b"PORT\r1,2"] {
            assert_eq!(parse(line), Err(Fault::Verb));
        }
        assert_eq!(parse(b"XSHA256 f").unwrap().unwrap().verb, Verb::Other);
        assert_eq!(parse(b"  \t"), Ok(None));
    }

    #[test]
    fn secrets() {
        assert!(parse(b"site PSWD old new").unwrap().unwrap().is_secret());
        assert!(parse(b"ADAT x").unwrap().unwrap().is_secret());
        assert!(!parse(b"SITE CHMOD 600 f").unwrap().unwrap().is_secret());
        assert!(!parse(b"USER me").unwrap().unwrap().is_secret());
    }

    #[test]
    fn strangers_are_known_by_their_first_line() {
        for (line, who) in [
            (&b"GET / HTTP/1.1"[..], Foreign::Http),
            (b"post /x", Foreign::Http),
            (b"NOOP sip:x SIP/2.0", Foreign::Http),
            (b"SSH-2.0-OpenSSH_9", Foreign::Ssh),
            (b"\x16\x03\x01\x02\x00", Foreign::Tls),
            (b"EHLO me", Foreign::Smtp),
            (b"hello", Foreign::Unknown),
        ] {
            assert_eq!(foreign_first_line(line), Some(who), "{line:?}");
        }
        for line in [&b"USER x"[..], b" auth tls", b"FEAT", b"HOST h", b"QUIT"] {
            assert_eq!(foreign_first_line(line), None, "{line:?}");
        }
        assert!(starts_tls(b"\x16") && !starts_tls(b"") && !starts_tls(b"\x16U"));
    }
}
