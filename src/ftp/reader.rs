//! A control connection's stream as lines: the Telnet layer and the splitter together.

use super::line::{self, Line, Lines};
use super::telnet::{Decoder, Piece};

/// What came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input<'a> {
    /// A line.
    Line(Line<'a>),
    /// A line beyond the limit; told once, the rest of it is skipped.
    Overlong {
        /// Its first bytes, [`line::HEAD`] at most.
        head: &'a [u8],
    },
    /// Send these bytes back: the refusal of a Telnet option.
    Answer([u8; 3]),
    /// A Telnet subnegotiation without an end.
    Runaway,
}

/// Reads commands from a client, or replies from a server. Idle, it holds no memory beyond itself.
#[derive(Debug, Clone)]
pub struct Reader {
    /// `None`: 0xff is a byte like others, for peers that do not speak Telnet.
    telnet: Option<Decoder>,
    lines: Lines,
    synch: bool,
}

impl Reader {
    /// A reader for lines of up to `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { telnet: Some(Decoder::default()), lines: Lines::new(limit), synch: false }
    }

    /// The same without the Telnet layer.
    #[must_use]
    pub fn without_telnet(limit: usize) -> Self {
        Self { telnet: None, ..Self::new(limit) }
    }

    /// The next item; `input` is moved past what was used. `None` when it is used up. To apply
    /// back-pressure, stop calling and keep the rest of `input`.
    pub fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Option<Input<'s>> {
        let found = loop {
            let Some(telnet) = &mut self.telnet else {
                break self.lines.advance(input)?;
            };
            match telnet.next(input) {
                Some(Piece::Data(mut run)) => {
                    // A run has one LF at most and that at its end: it is used up, whatever it gives.
                    if let Some(found) = self.lines.advance(&mut run) {
                        break found;
                    }
                }
                Some(Piece::Answer(bytes)) => return Some(Input::Answer(bytes)),
                Some(Piece::Synch) => self.synch = true,
                Some(Piece::Runaway) => return Some(Input::Runaway),
                None => {
                    self.lines.release();
                    return None;
                }
            }
        };
        Some(match self.lines.present(found) {
            line::Item::Line(line) => Input::Line(Line { synch: std::mem::take(&mut self.synch), ..line }),
            line::Item::Overlong { head } => Input::Overlong { head },
        })
    }

    /// What came of a line that has no end yet.
    #[must_use]
    pub fn partial(&self) -> &[u8] {
        self.lines.partial()
    }

    /// True while a line or a Telnet sequence is half received. At a switch to TLS this must be false, and
    /// no input left over, or clear text would be taken for protected text (RFC 4217 section 15).
    #[must_use]
    pub fn is_mid_line(&self) -> bool {
        self.lines.is_mid_line() || self.telnet.as_ref().is_some_and(Decoder::is_mid_sequence)
    }

    /// Bytes of memory held beyond the reader itself.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.lines.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synch_marks_the_line_after_it_and_no_other() {
        let bytes = b"NOOP\r\n\xff\xf4\xff\xf2ABOR\r\nPWD\r\n";
        for chunk in 1..bytes.len() {
            let mut reader = Reader::new(64);
            let mut seen = Vec::new();
            for mut part in bytes.chunks(chunk) {
                while let Some(item) = reader.next(&mut part) {
                    let Input::Line(line) = item else { panic!("{item:?}") };
                    seen.push((line.bytes.to_vec(), line.synch));
                }
            }
            let want = [(b"NOOP".to_vec(), false), (b"ABOR".to_vec(), true), (b"PWD".to_vec(), false)];
            assert_eq!(seen, want, "chunk {chunk}");
        }
    }

    #[test]
    fn without_telnet_ff_is_a_byte() {
        let mut reader = Reader::without_telnet(64);
        let mut input = &b"RETR \xff\xfb\x01\r\n"[..];
        assert!(matches!(reader.next(&mut input), Some(Input::Line(l)) if l.bytes == b"RETR \xff\xfb\x01"));
    }

    #[test]
    fn a_sequence_cut_in_two_is_not_a_boundary() {
        let mut reader = Reader::new(64);
        let mut input = &b"AUTH TLS\r\n\xff"[..];
        assert!(matches!(reader.next(&mut input), Some(Input::Line(_))));
        assert_eq!(reader.next(&mut input), None);
        assert!(reader.is_mid_line());
    }
}
