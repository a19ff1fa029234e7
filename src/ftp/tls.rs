//! One direction of an encrypted control connection seen from outside: where its TLS records end, and clear text
//! begins (CCC, RFC 4217 section 5).
//!
//! A record says in its header how long it is, so its end is known without its key. At such an end either another
//! header follows, whose first byte is one of five that no line of FTP begins with, or the stream is clear again.
//! Nothing else tells: the alert that closes TLS may be missing, or come from one side only, and in TLS 1.3 it looks
//! like any other record. The server's 200 to CCC is encrypted still, and the alert behind it may share its segment.
//!
//! An SSLv2 hello, with which very old clients ask for TLS, has another framing and is not followed: such a stream
//! counts as [`Seen::Lost`].

/// Longest content of a record: 2^14 bytes, and 2048 for what encryption adds (RFC 5246 6.2.3, RFC 8446 5.2).
const LONGEST: u16 = (1 << 14) + 2048;
/// Types of records: change cipher spec, alert, handshake, application data, heartbeat.
const TYPES: std::ops::RangeInclusive<u8> = 0x14..=0x18;
/// An alert's type. Of TLS up to 1.2; later ones hide it.
const ALERT: u8 = 0x15;
/// Telnet's escape may begin a line.
const IAC: u8 = 0xff;

/// What bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Of records, all of them.
    Records,
    /// Of records up to here, bytes of those that were given; clear text begins behind them.
    Clear(usize),
    /// Neither records nor text. Where one of them would begin is not known, now and for good.
    Lost,
}

/// The follower of one direction, from the first byte behind the line that asked for TLS, or behind the 234.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Records {
    header: [u8; 5],
    /// Bytes of the header that came; 5 for a whole one.
    have: u8,
    /// Bytes of the content that are still to come.
    left: u16,
    whole: u64,
    lost: bool,
}

impl Records {
    /// Takes the direction's next bytes, in any pieces. Behind [`Seen::Clear`] nothing more is to be given.
    pub fn next(&mut self, bytes: &[u8]) -> Seen {
        let mut rest = bytes;
        while let [first, tail @ ..] = rest
            && !self.lost
        {
            if self.left > 0 {
                let skip = rest.len().min(usize::from(self.left));
                self.left -= skip as u16;
                self.ended();
                rest = &rest[skip..];
                continue;
            }
            if self.have == 0 && !TYPES.contains(first) {
                if first.is_ascii() || *first == IAC {
                    return Seen::Clear(bytes.len() - rest.len());
                }
                self.lost = true;
                break;
            }
            self.header[usize::from(self.have)] = *first;
            self.have += 1;
            rest = tail;
            self.head();
        }
        if self.lost { Seen::Lost } else { Seen::Records }
    }

    /// A follower of what is not followed.
    #[must_use]
    pub const fn lost() -> Self {
        Self { header: [0; 5], have: 0, left: 0, whole: 0, lost: true }
    }

    /// Passes over bytes that nobody has seen: they are of a record's content, or it is lost where the next one begins.
    pub fn skip(&mut self, bytes: u64) {
        if bytes > u64::from(self.left) {
            self.lost = true;
        } else if bytes > 0 {
            self.left -= bytes as u16;
            self.ended();
        }
    }

    /// Whole records so far. With none, what is not a record's begin was never encrypted.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.whole
    }

    /// Whether no record is under way: the next byte is a record's first, or clear.
    #[must_use]
    pub const fn is_between(&self) -> bool {
        self.have == 0 && !self.lost
    }

    /// Whether the last whole record was one that says so of itself to be an alert: probably the end of TLS.
    #[must_use]
    pub const fn is_closing(&self) -> bool {
        self.whole > 0 && self.have == 0 && self.header[0] == ALERT
    }

    /// Whether the stream is neither.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        self.lost
    }

    /// Looks at the header as far as it came.
    fn head(&mut self) {
        let [_, major, minor, high, low] = self.header;
        let len = u16::from_be_bytes([high, low]);
        self.lost = match self.have {
            2 => major != 3,
            3 => minor > 4,
            5 => len > LONGEST,
            _ => false,
        };
        if self.have == 5 && !self.lost {
            self.left = len;
            self.ended();
        }
    }

    fn ended(&mut self) {
        if self.left == 0 {
            self.have = 0;
            self.whole += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, minor: u8, len: usize) -> Vec<u8> {
        let mut out = vec![kind, 3, minor, (len >> 8) as u8, len as u8];
        out.extend((0..len).map(|i| (i * 7) as u8));
        out
    }

    /// Where clear text begins, the stream given in pieces of this size; `None` if it does not.
    fn clear(stream: &[u8], piece: usize) -> (Option<usize>, Records) {
        let mut records = Records::default();
        let mut at = 0;
        for part in stream.chunks(piece) {
            match records.next(part) {
                Seen::Clear(n) => return (Some(at + n), records),
                Seen::Records | Seen::Lost => at += part.len(),
            }
        }
        (None, records)
    }

    #[test]
    fn clear_text_begins_behind_a_record_however_the_stream_is_cut() {
        for minor in 0..=4 {
            for tail in [&b"PASV\r\n"[..], b"227 Entering", b"\xff\xf4\xff\xf2ABOR\r\n", b" ", b"\r\n"] {
                let mut stream = Vec::new();
                for (kind, len) in [(22, 300), (20, 1), (22, 40), (23, 0), (23, 1), (24, 19), (21, 26)] {
                    stream.extend(record(kind, minor, len));
                }
                let end = stream.len();
                stream.extend_from_slice(tail);
                for piece in 1..=stream.len() {
                    let (found, records) = clear(&stream, piece);
                    assert_eq!((found, records.count()), (Some(end), 7), "{piece}");
                    assert!(records.is_closing());
                }
                // Without its alert.
                let stream = [&record(23, minor, 16408)[..], tail].concat();
                let (found, records) = clear(&stream, 1000);
                assert_eq!((found, records.is_closing()), (Some(16413), false));
            }
        }
    }

    #[test]
    fn text_within_a_record_is_none() {
        let mut stream = vec![23, 3, 3, 0, 12];
        stream.extend_from_slice(b"\r\nPASV\r\n227 ");
        for piece in 1..=stream.len() {
            assert_eq!(clear(&stream, piece).0, None);
        }
        assert_eq!(clear(&stream[..4], 9).0, None);
    }

    #[test]
    fn what_is_no_record_and_no_text_is_lost_for_good() {
        let good = record(23, 3, 4);
        for bad in [
            &[0x16, 0x02, 0x00][..],
            &[0x16, b'P'],
            &[0x16, 0x03, 0x05],
            &[0x17, 0x03, 0x03, 0x48, 0x01],
            &[0x17, 0x03, 0x03, 0xff, 0xff],
            // An SSLv2 hello.
            &[0x80, 0x2e, 0x01, 0x03, 0x01],
            &[0xfe],
        ] {
            for front in [&good[..], &[]] {
                let stream = [front, bad, b"\r\nPASV\r\n", &good, b"PASV\r\n"].concat();
                for piece in 1..=stream.len() {
                    let (found, records) = clear(&stream, piece);
                    assert_eq!((found, records.is_lost()), (None, true), "{bad:?} {piece}");
                }
            }
        }
        // The longest there is.
        let stream = [&record(23, 3, usize::from(LONGEST))[..], b"x"].concat();
        assert_eq!(clear(&stream, 777).0, Some(5 + usize::from(LONGEST)));
    }

    #[test]
    fn what_nobody_saw_of_a_record_is_passed_over() {
        let stream = [record(22, 3, 9), record(23, 3, 300), b"PASV\r\n".to_vec()].concat();
        for seen in 0..=stream.len() {
            for gap in 0..=stream.len() - seen {
                let mut records = Records::default();
                let first = records.next(&stream[..seen]);
                records.skip(gap as u64);
                let inside = |from: usize, to: usize| from <= seen && seen + gap <= to;
                let within = gap == 0 || inside(5, 14) && seen < 14 || inside(19, 319) && seen < 319;
                assert_eq!(records.is_lost(), !within, "{seen} {gap}");
                if within && first == Seen::Records {
                    let found = records.next(&stream[seen + gap..]);
                    assert_eq!(found, Seen::Clear(319 - seen - gap), "{seen} {gap}");
                }
            }
        }
    }

    #[test]
    fn text_at_the_begin_was_never_encrypted() {
        let (found, records) = clear(b"USER x\r\n", 3);
        assert_eq!((found, records.count()), (Some(0), 0));
    }
}
