//! Replies of a server (RFC 959 section 4.2): a reader that keeps no text, a holder for the few replies
//! that are rewritten, and the writer of our own.

use super::command::is_blank;
use super::verb::Verb;

/// Most bytes of one reply, line ends included, unless the reader is told otherwise.
pub const MAX_REPLY: usize = 256 * 1024;
/// Most bytes of a reply that is held.
pub const MAX_HELD: usize = 64 * 1024;

/// What became of a transfer, from how its data connection ended (`complete`, `reset`, `aborted`, `failed`,
/// `refused`) and its final reply's code (0 if none came). What the server says outranks what was seen.
#[must_use]
pub const fn verdict(end: &'static str, code: u16, bytes: u64) -> &'static str {
    match code {
        426 | 451 => "aborted",
        400.. if bytes == 0 && code != 425 => "refused",
        400.. => "failed",
        _ => end,
    }
}

/// What a code's first digit says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// 1xx: begun, another reply follows.
    Preliminary,
    /// 2xx: done.
    Success,
    /// 3xx: done so far, another command is awaited.
    Intermediate,
    /// 4xx: failed for now.
    Transient,
    /// 5xx: failed.
    Permanent,
}

impl Class {
    /// The class of a code; `None` outside 100 to 599.
    #[must_use]
    pub const fn of(code: u16) -> Option<Self> {
        match code {
            100..=199 => Some(Self::Preliminary),
            200..=299 => Some(Self::Success),
            300..=399 => Some(Self::Intermediate),
            400..=499 => Some(Self::Transient),
            500..=599 => Some(Self::Permanent),
            _ => None,
        }
    }

    /// True when no other reply follows for the same command.
    #[must_use]
    pub const fn completes(self) -> bool {
        !matches!(self, Self::Preliminary)
    }
}

/// Which part of a reply a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first of several lines.
    First,
    /// Neither first nor last.
    Middle,
    /// The last of several lines.
    Last,
    /// No part of a reply: a line without code where one must be. May be passed on, means nothing.
    Stray,
    /// The reply has grown beyond the reader's limit; from here on every line gives this. Give up on the server.
    TooLong,
}

impl Part {
    /// True when the reply is complete.
    #[must_use]
    pub const fn ends(self) -> bool {
        matches!(self, Self::Whole | Self::Last)
    }
}

/// A line of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyLine<'a> {
    /// Which part.
    pub part: Part,
    /// The reply's code, 100 to 599; 0 for [`Part::Stray`].
    pub code: u16,
    /// The line without code and separator; all of it where it has none.
    pub text: &'a [u8],
    /// The reply began with another code and was ended by this line's, which is the awaited one.
    pub mismatched: bool,
}

/// Cuts a server's lines into replies. Holds no text.
#[derive(Debug, Clone)]
pub struct ReplyReader {
    open: Option<u16>,
    bytes: usize,
    limit: usize,
}

impl Default for ReplyReader {
    fn default() -> Self {
        Self::new(MAX_REPLY)
    }
}

impl ReplyReader {
    /// A reader for replies of up to `limit` bytes.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { open: None, bytes: 0, limit }
    }

    /// Takes the next line (without its end). `awaited` is the verb of the oldest command without an
    /// answer, if there is one.
    ///
    /// Several lines begin with `xyz-` and end with `xyz` and a blank, or `xyz` alone; what is between is
    /// free. A server that opens with one code and closes with another would be waited for in vain; so a
    /// line with another code ends the reply if that code answers `awaited` and the opening one does not.
    /// Nothing weaker will do: text between (a directory's welcome file, say) is in strangers' hands, and
    /// must not be able to end a reply.
    pub fn push<'a>(&mut self, line: &'a [u8], awaited: Option<Verb>) -> ReplyLine<'a> {
        let head = split_code(line);
        self.bytes = self.bytes.saturating_add(line.len() + 2);
        if self.bytes > self.limit {
            return ReplyLine {
                part: Part::TooLong,
                code: self.open.unwrap_or(0),
                text: line,
                mismatched: false,
            };
        }
        let Some(open) = self.open else {
            let Some((code, more, text)) = head else {
                // Counted on until a reply comes: such lines have no end either.
                return ReplyLine { part: Part::Stray, code: 0, text: line, mismatched: false };
            };
            if more {
                self.open = Some(code);
                return ReplyLine { part: Part::First, code, text, mismatched: false };
            }
            self.bytes = 0;
            return ReplyLine { part: Part::Whole, code, text, mismatched: false };
        };
        match head {
            Some((code, true, text)) if code == open => {
                ReplyLine { part: Part::Middle, code, text, mismatched: false }
            }
            Some((code, false, text)) if code == open || closes(awaited, open, code) => {
                (self.open, self.bytes) = (None, 0);
                ReplyLine { part: Part::Last, code, text, mismatched: code != open }
            }
            _ => ReplyLine { part: Part::Middle, code: open, text: line, mismatched: false },
        }
    }

    /// True between a first line and its last.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

/// The lines of one reply, kept until it is whole, for replies that are rewritten.
#[derive(Debug, Clone, Default)]
pub struct Held {
    text: Vec<u8>,
    ends: Vec<u32>,
    code: u16,
}

impl Held {
    /// Keeps a line's text. False, and nothing kept, when it would be more than [`MAX_HELD`].
    pub fn push(&mut self, line: &ReplyLine<'_>) -> bool {
        // Each line counts its bookkeeping too, or empty lines would be free.
        let total = self.text.len() + line.text.len() + 4 * (self.ends.len() + 1);
        let Ok(end) = u32::try_from(self.text.len() + line.text.len()) else { return false };
        if total > MAX_HELD {
            return false;
        }
        self.text.extend_from_slice(line.text);
        self.ends.push(end);
        self.code = line.code;
        true
    }

    /// The reply's code; 0 while empty.
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// The lines' texts in order.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator + Clone {
        (0..self.ends.len()).map(|i| {
            let start = i.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |&e| e as usize);
            let end = self.ends.get(i).map_or(start, |&e| e as usize);
            self.text.get(start..end).unwrap_or_default()
        })
    }

    /// True when nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.text.capacity() + 4 * self.ends.capacity()
    }

    /// Drops everything, memory too.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Appends a reply of one line: `code SP text CR LF`. CR, LF and NUL in `text` become blanks.
pub fn write(out: &mut Vec<u8>, code: u16, text: &[u8]) {
    write_code(out, code, b' ', text);
}

/// Appends a reply of several lines: `code-first`, each of `middle` after one SP (so that none can be taken
/// for a code), `code SP last`.
pub fn write_multi<'a>(
    out: &mut Vec<u8>,
    code: u16,
    first: &[u8],
    middle: impl IntoIterator<Item = &'a [u8]>,
    last: &[u8],
) {
    write_code(out, code, b'-', first);
    for line in middle {
        out.push(b' ');
        write_text(out, line);
    }
    write_code(out, code, b' ', last);
}

/// A line with neither NUL nor CR in it, for clients that would take one for the line's end; what follows would
/// be a reply that we have not seen. The text is none the worse for a blank.
#[must_use]
pub fn defused(line: &[u8]) -> Vec<u8> {
    line.iter().map(|&b| if matches!(b, b'\r' | 0) { b' ' } else { b }).collect()
}

/// The file's name that a server chose for STOU: `FILE: name` in the text of a 150 or 125 (RFC 1123 section
/// 4.1.2.9).
#[must_use]
pub fn stored_name(text: &[u8]) -> Option<&[u8]> {
    let name = text.get(6..).filter(|_| text.get(..6).is_some_and(|t| t.eq_ignore_ascii_case(b"FILE: ")))?;
    (!name.is_empty()).then_some(name)
}

/// Code, whether `-` follows it, and the text; `None` if the line has no code. Only the first digit is
/// limited: codes like 260 are not in RFC 959 but in the wild, and refusing them would leave a command
/// without its answer.
fn split_code(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (&[a @ b'1'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9'], rest) = line.split_first_chunk::<3>()? else {
        return None;
    };
    let code = u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0');
    match rest.split_first() {
        None => Some((code, false, rest)),
        Some((b'-', text)) => Some((code, true, text)),
        Some((&blank, text)) if is_blank(blank) => Some((code, false, text)),
        Some(_) => None,
    }
}

fn closes(awaited: Option<Verb>, open: u16, code: u16) -> bool {
    awaited.is_some_and(|verb| verb.is_own_completion(code) && !verb.is_own_completion(open))
}

fn write_code(out: &mut Vec<u8>, code: u16, separator: u8, text: &[u8]) {
    let code = code.min(999);
    out.extend([code / 100, code / 10 % 10, code % 10].map(|d| b'0' + d as u8));
    out.push(separator);
    write_text(out, text);
}

fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text.iter().map(|&b| if matches!(b, b'\r' | b'\n' | 0) { b' ' } else { b }));
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(lines: &[&str], awaited: Option<Verb>) -> Vec<(Part, u16)> {
        let mut reader = ReplyReader::default();
        lines
            .iter()
            .map(|l| {
                let line = reader.push(l.as_bytes(), awaited);
                (line.part, line.code)
            })
            .collect()
    }

    #[test]
    fn text_between_may_look_like_a_reply() {
        use Part::{First, Last, Middle};
        let got = parts(&["250-hi", "226 x", "200 files", "", "550 y", "250", "x"], Some(Verb::Cwd));
        let want = [(First, 250), (Middle, 250), (Middle, 250), (Middle, 250), (Middle, 250), (Last, 250)];
        assert_eq!(got.get(..6), Some(&want[..]));
        assert_eq!(got.last(), Some(&(Part::Stray, 0)));
    }

    #[test]
    fn the_hatch_needs_a_command() {
        assert_eq!(parts(&["230-a", "226 b"], None).last(), Some(&(Part::Middle, 230)));
        assert_eq!(parts(&["230-a", "226 b"], Some(Verb::Retr)).last(), Some(&(Part::Last, 226)));
    }

    #[test]
    fn codes_need_three_digits_and_a_separator() {
        for stray in ["", "22", "2200 x", "620 x", "020 x", "2x0 y", "220x", " 220 x"] {
            assert_eq!(parts(&[stray], None), [(Part::Stray, 0)], "{stray}");
        }
        assert_eq!(parts(&["260 x", "220\tx", "599"], None).len(), 3);
        assert!(parts(&["260 x", "220\tx", "599"], None).iter().all(|p| p.0 == Part::Whole));
    }

    #[test]
    fn held_lines_come_back_and_are_bounded() {
        let mut held = Held::default();
        let line = |text| ReplyLine { part: Part::Middle, code: 211, text, mismatched: false };
        assert!(held.push(&line(b"a")) && held.push(&line(b"")) && held.push(&line(b"bc")));
        assert_eq!(held.lines().collect::<Vec<_>>(), [&b"a"[..], b"", b"bc"]);
        assert_eq!((held.lines().next_back(), held.code()), (Some(&b"bc"[..]), 211));
        let mut count = 0;
        while held.push(&line(b"")) {
            count += 1;
        }
        assert!(count <= MAX_HELD / 4 && held.capacity() <= 2 * MAX_HELD);
        held.clear();
        assert!(held.is_empty() && held.capacity() == 0);
    }

    #[test]
    fn nothing_written_can_be_two_lines() {
        let mut out = Vec::new();
        write(&mut out, 501, b"a\r\nb\0c");
        write_multi(&mut out, 211, b"F", [&b"226 x"[..]], b"E");
        assert_eq!(out, b"501 a  b c\r\n211-F\r\n 226 x\r\n211 E\r\n");
    }

    #[test]
    fn classes() {
        assert_eq!(Class::of(150).map(Class::completes), Some(false));
        assert_eq!(Class::of(226).map(Class::completes), Some(true));
        assert_eq!((Class::of(99), Class::of(600)), (None, None));
    }
}
