//! Lines of a control connection, with a limit.
//!
//! A LF ends a line and a CR before it belongs to the end. Any other CR is an ordinary byte, never an end:
//! where parsers disagree on that, text of an argument becomes a command.

/// Default limit of a line, in bytes without its end.
pub const DEFAULT_LIMIT: usize = 4096;
/// How much of an overlong line is shown, in bytes.
pub const HEAD: usize = 64;

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its bytes, without the end.
    pub bytes: &'a [u8],
    /// It ended in CR LF, not in a bare LF.
    pub crlf: bool,
    /// A Telnet IP or DM came since the line before: regenerate it before ABOR and STAT.
    pub synch: bool,
}

impl Line<'_> {
    /// True when a NUL is in it other than in `CR NUL`. Servers take it as a LF, as the end, or as a byte.
    #[must_use]
    pub fn has_nul(&self) -> bool {
        let mut before = 0;
        self.bytes.iter().any(|&b| {
            let bad = b == 0 && before != b'\r';
            before = b;
            bad
        })
    }

    /// True when a CR is in it that no NUL follows.
    #[must_use]
    pub fn has_bare_cr(&self) -> bool {
        self.bytes.windows(2).any(|pair| matches!(pair, [b'\r', next] if *next != 0))
            || self.bytes.last() == Some(&b'\r')
    }
}

/// A line, or the news that one was too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// A line.
    Line(Line<'a>),
    /// A line longer than the limit, told once, as soon as it is known; the rest of it is skipped.
    Overlong {
        /// Its first [`HEAD`] bytes (or the limit's number, if that is less).
        head: &'a [u8],
    },
}

/// Where a finished line's bytes are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found<'i> {
    Input { content: &'i [u8] },
    Stored,
    OverlongInput { head: &'i [u8] },
    OverlongStored,
}

/// The splitter. Holds at most limit + 1 bytes, and no memory at all while no line is half received.
#[derive(Debug, Clone)]
pub struct Lines {
    part: Vec<u8>,
    limit: usize,
    skipping: bool,
    /// `part` was handed out as a whole line; the next call drops it.
    spent: bool,
}

impl Default for Lines {
    fn default() -> Self {
        Self::new(DEFAULT_LIMIT)
    }
}

impl Lines {
    /// A splitter for lines of up to `limit` bytes (at least 1), without their ends.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { part: Vec::new(), limit: limit.clamp(1, usize::MAX - 2), skipping: false, spent: false }
    }

    /// The next line; `input` is moved past what was used. `None` when it is used up. A line that lies
    /// whole in `input` is not copied. To apply back-pressure, stop calling and keep the rest of `input`.
    pub fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Option<Item<'s>> {
        let found = self.advance(input)?;
        Some(self.present(found))
    }

    /// What came of a line that has no end yet; for the end of the stream and for time limits.
    #[must_use]
    pub fn partial(&self) -> &[u8] {
        if self.spent { &[] } else { &self.part }
    }

    /// True while a line is half received, also while an overlong one is skipped.
    #[must_use]
    pub fn is_mid_line(&self) -> bool {
        self.skipping || !self.partial().is_empty()
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.part.capacity()
    }

    /// One step without a borrow of `self`, so that callers may loop over it.
    pub(super) fn advance<'i>(&mut self, input: &mut &'i [u8]) -> Option<Found<'i>> {
        self.release();
        if self.skipping {
            self.skip(input);
        }
        if input.is_empty() {
            return None;
        }
        // The limit, a CR, and the LF: no more need be looked at to decide.
        let most = (self.limit + 2).saturating_sub(self.part.len()).min(input.len());
        let (window, beyond) = input.split_at(most);
        let (content, rest, ended) = match find_lf(window) {
            Some(lf) => (window.get(..lf).unwrap_or_default(), input.get(lf + 1..).unwrap_or_default(), true),
            None => (window, beyond, false),
        };
        *input = rest;
        let total = self.part.len() + content.len();
        let cr = content.last().or(self.part.last()) == Some(&b'\r');
        if total > self.limit + usize::from(cr) || total > self.limit + 1 {
            if !ended {
                self.skip(input);
            }
            return Some(self.overlong(content));
        }
        if ended && self.part.is_empty() {
            return Some(Found::Input { content });
        }
        self.store(content);
        self.spent = ended;
        ended.then_some(Found::Stored)
    }

    /// Drops the line handed out last.
    pub(super) fn release(&mut self) {
        if self.spent {
            self.part = Vec::new();
            self.spent = false;
        }
    }

    /// Turns what [`Self::advance`] found into an item.
    pub(super) fn present<'s, 'i: 's>(&'s self, found: Found<'i>) -> Item<'s> {
        match found {
            Found::Input { content } => whole(content),
            Found::Stored => whole(&self.part),
            Found::OverlongInput { head } => Item::Overlong { head },
            Found::OverlongStored => Item::Overlong { head: &self.part },
        }
    }

    /// Moves past the rest of an overlong line, as far as it is here.
    fn skip(&mut self, input: &mut &[u8]) {
        let lf = find_lf(input);
        self.skipping = lf.is_none();
        *input = lf.and_then(|lf| input.get(lf + 1..)).unwrap_or_default();
    }

    fn overlong<'i>(&mut self, content: &'i [u8]) -> Found<'i> {
        let head = self.limit.min(HEAD);
        if self.part.is_empty() {
            return Found::OverlongInput { head: content.get(..head).unwrap_or(content) };
        }
        let missing = head.saturating_sub(self.part.len());
        self.store(content.get(..missing).unwrap_or(content));
        self.part.truncate(head);
        self.spent = true;
        Found::OverlongStored
    }

    /// Appends; grows by doubling, but never beyond what a line can need.
    fn store(&mut self, bytes: &[u8]) {
        let need = self.part.len() + bytes.len();
        if need > self.part.capacity() {
            let roomy = self.part.capacity().saturating_mul(2).max(64).min(self.limit + 1);
            self.part.reserve_exact(roomy.max(need) - self.part.len());
        }
        self.part.extend_from_slice(bytes);
    }
}

fn find_lf(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&b| b == b'\n')
}

fn whole(content: &[u8]) -> Item<'_> {
    let (bytes, crlf) = match content.strip_suffix(b"\r") {
        Some(bytes) => (bytes, true),
        None => (content, false),
    };
    Item::Line(Line { bytes, crlf, synch: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Ok(line)` or `Err(head of an overlong one)`, with the segments' size given.
    fn split(limit: usize, bytes: &[u8], chunk: usize) -> Vec<Result<Vec<u8>, Vec<u8>>> {
        let mut lines = Lines::new(limit);
        let mut out = Vec::new();
        for mut part in bytes.chunks(chunk) {
            while let Some(item) = lines.next(&mut part) {
                out.push(match item {
                    Item::Line(line) => Ok(line.bytes.to_vec()),
                    Item::Overlong { head } => Err(head.to_vec()),
                });
            }
            assert!(lines.capacity() <= limit + 1);
        }
        out
    }

    #[test]
    fn limit_counts_bytes_without_the_end() {
        for chunk in 1..12 {
            assert_eq!(split(4, b"abcd\r\nabcd\nx\n", chunk).len(), 3);
            let got = split(4, b"abcde\r\nabcd\r\r\nabcd\rx\nab\n", chunk);
            let long = || Err(b"abcd".to_vec());
            assert_eq!(got, [long(), long(), long(), Ok(b"ab".to_vec())], "chunk {chunk}");
        }
    }

    #[test]
    fn whole_lines_are_borrowed_from_the_input() {
        let bytes = b"NOOP\r\nQUIT\r\n";
        let mut lines = Lines::default();
        let mut input = &bytes[..];
        while let Some(Item::Line(line)) = lines.next(&mut input) {
            assert!(bytes.as_ptr_range().contains(&line.bytes.as_ptr()));
        }
        assert_eq!(lines.capacity(), 0);
    }

    #[test]
    fn memory_goes_when_the_line_is_done() {
        let mut lines = Lines::default();
        let mut input = &b"NO"[..];
        assert_eq!(lines.next(&mut input), None);
        assert_eq!((lines.partial(), lines.is_mid_line()), (&b"NO"[..], true));
        input = b"OP\r\n";
        assert!(matches!(lines.next(&mut input), Some(Item::Line(l)) if l.bytes == b"NOOP" && l.crlf));
        assert!(!lines.is_mid_line());
        assert_eq!(lines.next(&mut input), None);
        assert_eq!(lines.capacity(), 0);
    }

    #[test]
    fn nul_and_bare_cr_are_flagged() {
        let line = |bytes| Line { bytes, crlf: true, synch: false };
        assert!(line(b"a\0b").has_nul() && line(b"\0").has_nul() && line(b"a\r\0\0").has_nul());
        assert!(!line(b"a\r\0b").has_nul() && !line(b"ab").has_nul());
        assert!(line(b"a\rb").has_bare_cr() && line(b"a\r").has_bare_cr() && line(b"\r\r\0").has_bare_cr());
        assert!(!line(b"a\r\0").has_bare_cr());
    }
}
