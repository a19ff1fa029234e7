//! The Telnet layer of a control connection (RFC 854, RFC 959 section 3, RFC 1123 section 4.1.2.12).
//!
//! The decoder takes Telnet's sequences out of a stream and yields what is left as slices of the input. It
//! agrees to no option. `CR NUL` stays as it is: servers differ in whether they undo it, so a file name
//! goes through byte for byte, and only [`collapse_cr_nul`] shows what the name means.

use std::borrow::Cow;

/// Interpret as command.
pub const IAC: u8 = 0xff;
/// What goes before a command that must overtake data in transfer (RFC 959 section 4.1.3): IAC IP IAC DM.
pub const SYNCH: [u8; 4] = [IAC, IP, IAC, DM];
/// Index in [`SYNCH`] of the byte that TCP's urgent pointer marks.
pub const SYNCH_URGENT: usize = 3;
/// Longest subnegotiation skipped, in bytes between IAC SB and IAC SE.
pub const MAX_SUBNEGOTIATION: u8 = 64;

const SE: u8 = 0xf0;
const DM: u8 = 0xf2;
const IP: u8 = 0xf4;
const EC: u8 = 0xf7;
const EL: u8 = 0xf8;
const GA: u8 = 0xf9;
const SB: u8 = 0xfa;
const WILL: u8 = 0xfb;
const WONT: u8 = 0xfc;
const DO: u8 = 0xfd;
const DONT: u8 = 0xfe;

/// What the decoder found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'i> {
    /// Bytes of the stream, never empty. A run ends after a LF at the latest.
    Data(&'i [u8]),
    /// The peer asked for an option: send it this refusal (`IAC DONT x` or `IAC WONT x`).
    Answer([u8; 3]),
    /// Half of a Synch: IP or DM.
    Synch,
    /// A subnegotiation longer than [`MAX_SUBNEGOTIATION`]; what follows counts as data.
    Runaway,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Text,
    Iac,
    Option(u8),
    Sub {
        seen: u8,
        iac: bool,
    },
}

/// Incremental decoder; may be cut at any byte.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    state: State,
    /// IP was the last thing seen: a DM is due, and may have left the stream as urgent data.
    after_ip: bool,
}

impl Decoder {
    /// The next piece; `input` is moved past what was used. `None` when it is used up.
    pub fn next<'i>(&mut self, input: &mut &'i [u8]) -> Option<Piece<'i>> {
        loop {
            let (&byte, rest) = input.split_first()?;
            match self.state {
                State::Text if byte == IAC => {
                    self.state = State::Iac;
                    *input = rest;
                }
                State::Text => {
                    self.after_ip = false;
                    return Some(Piece::Data(take_run(input, 0)));
                }
                State::Iac => {
                    if let Some(piece) = self.command(byte, rest, input) {
                        return Some(piece);
                    }
                }
                State::Option(verb) => {
                    self.state = State::Text;
                    *input = rest;
                    // Only requests are answered: every option is off already, and acknowledging a WONT
                    // or DONT would start a loop (RFC 854, "General considerations").
                    match verb {
                        WILL => return Some(Piece::Answer([IAC, DONT, byte])),
                        DO => return Some(Piece::Answer([IAC, WONT, byte])),
                        _ => {}
                    }
                }
                State::Sub { seen, iac } => {
                    *input = rest;
                    if iac && byte == SE {
                        self.state = State::Text;
                    } else if seen >= MAX_SUBNEGOTIATION {
                        self.state = State::Text;
                        return Some(Piece::Runaway);
                    } else {
                        // IAC IAC is a literal inside, so it must not arm the end mark.
                        self.state = State::Sub { seen: seen + 1, iac: !iac && byte == IAC };
                    }
                }
            }
        }
    }

    /// True in the middle of a sequence.
    #[must_use]
    pub fn is_mid_sequence(&self) -> bool {
        self.state != State::Text
    }

    /// The byte after an IAC.
    fn command<'i>(&mut self, byte: u8, rest: &'i [u8], input: &mut &'i [u8]) -> Option<Piece<'i>> {
        let after_ip = std::mem::take(&mut self.after_ip);
        self.state = State::Text;
        match byte {
            IAC => return Some(Piece::Data(take_run(input, 1))),
            WILL..=DONT => self.state = State::Option(byte),
            SB => self.state = State::Sub { seen: 0, iac: false },
            IP | DM => {
                self.after_ip = byte == IP;
                *input = rest;
                return Some(Piece::Synch);
            }
            SE..=GA => {}
            // No Telnet command. After IP the DM was lost as urgent data, and this is the command's first
            // letter. Anywhere else a client without Telnet sent a name with 0xff in it: keep the byte.
            _ => return if after_ip { None } else { Some(Piece::Data(&[IAC])) },
        }
        *input = rest;
        None
    }
}

/// A whole line without its Telnet sequences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stripped<'a> {
    /// What is meant: a doubled 0xff is one.
    pub text: Cow<'a, [u8]>,
    /// The line as it would be sent without the sequences: a doubled 0xff stays so.
    pub wire: Cow<'a, [u8]>,
    /// There were sequences other than a doubled 0xff.
    pub commands: bool,
    /// IP or DM was among them: half of a Synch.
    pub synch: bool,
    /// EC or EL was among them, which some servers obey and most do not (RFC 854).
    pub erases: bool,
    /// A sequence had no end.
    pub open: bool,
}

/// Takes the Telnet sequences out of a line, which is given without its end.
#[must_use]
pub fn strip(line: &[u8]) -> Stripped<'_> {
    let all = Cow::Borrowed(line);
    if !line.contains(&IAC) {
        let (text, wire) = (all.clone(), all);
        return Stripped { text, wire, commands: false, synch: false, erases: false, open: false };
    }
    let (mut text, mut wire) = (Vec::with_capacity(line.len()), Vec::with_capacity(line.len()));
    let (mut commands, mut synch, mut open) = (false, false, false);
    let (mut decoder, mut rest) = (Decoder::default(), line);
    loop {
        let before = rest.len();
        let piece = decoder.next(&mut rest);
        let used = before - rest.len();
        let Some(piece) = piece else {
            // A last 0xff belongs to a name: the line's end behind it is no command of Telnet's.
            let name = decoder.state == State::Iac;
            commands |= used > usize::from(name);
            if name {
                text.push(IAC);
                wire.push(IAC);
            }
            break;
        };
        match piece {
            Piece::Data(data) => {
                // One byte more was used than is meant: the first half of a doubled 0xff.
                let doubled = used == data.len() + 1 && data.first() == Some(&IAC);
                commands |= used != data.len() && !doubled;
                if doubled {
                    wire.push(IAC);
                }
                wire.extend_from_slice(data);
                text.extend_from_slice(data);
            }
            Piece::Answer(_) => commands = true,
            Piece::Synch => (commands, synch) = (true, true),
            Piece::Runaway => (commands, open) = (true, true),
        }
    }
    if commands {
        wire.clear();
        escape_into(&mut wire, &text);
    }
    let erases = commands && line.windows(2).any(|w| matches!(w, [IAC, EC | EL]));
    open |= !matches!(decoder.state, State::Text | State::Iac);
    Stripped { text: text.into(), wire: wire.into(), commands, synch, erases, open }
}

/// Appends `bytes` to `out` with every 0xff doubled.
pub fn escape_into(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len());
    for run in bytes.split_inclusive(|&b| b == IAC) {
        out.extend_from_slice(run);
        if run.last() == Some(&IAC) {
            out.push(IAC);
        }
    }
}

/// A name as meant: `CR NUL` is a CR (RFC 2640 section 3.1). For logs; the wire keeps what was sent.
#[must_use]
pub fn collapse_cr_nul(name: &[u8]) -> Cow<'_, [u8]> {
    if !name.windows(2).any(|pair| pair == b"\r\0") {
        return Cow::Borrowed(name);
    }
    let mut out = Vec::with_capacity(name.len());
    for &byte in name {
        if !(byte == 0 && out.last() == Some(&b'\r')) {
            out.push(byte);
        }
    }
    Cow::Owned(out)
}

/// Splits off the run that starts at the front: up to and with a LF, or up to an IAC; the first `sure`
/// bytes belong to it whatever they are.
fn take_run<'i>(input: &mut &'i [u8], sure: usize) -> &'i [u8] {
    let tail = input.get(sure..).unwrap_or_default();
    let end = match tail.iter().position(|&b| b == b'\n' || b == IAC) {
        Some(at) if tail.get(at) == Some(&b'\n') => sure + at + 1,
        Some(at) => sure + at,
        None => input.len(),
    };
    let (run, rest) = input.split_at(end);
    *input = rest;
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes, and shows that one byte at a time gives the same.
    fn decode(bytes: &[u8]) -> (Vec<u8>, Vec<[u8; 3]>, usize, usize) {
        let run = |chunk: usize| {
            let mut decoder = Decoder::default();
            let (mut data, mut answers, mut synch, mut runaway) = (Vec::new(), Vec::new(), 0, 0);
            for mut part in bytes.chunks(chunk) {
                while let Some(piece) = decoder.next(&mut part) {
                    match piece {
                        Piece::Data(d) => data.extend_from_slice(d),
                        Piece::Answer(a) => answers.push(a),
                        Piece::Synch => synch += 1,
                        Piece::Runaway => runaway += 1,
                    }
                }
            }
            (data, answers, synch, runaway)
        };
        let whole = run(bytes.len().max(1));
        for chunk in 1..5 {
            assert_eq!(run(chunk), whole, "chunks of {chunk}");
        }
        whole
    }

    #[test]
    fn doubled_iac_is_one_byte() {
        assert_eq!(decode(b"a\xff\xffb\xff\xff\xff\xff").0, b"a\xffb\xff\xff");
    }

    #[test]
    fn requests_are_refused_and_statements_swallowed() {
        let (data, answers, ..) = decode(b"A\xff\xfb\x01B\xff\xfd\x03C\xff\xfc\x01\xff\xfe\x03D");
        assert_eq!(data, b"ABCD");
        assert_eq!(answers, [[0xff, 0xfe, 1], [0xff, 0xfc, 3]]);
    }

    #[test]
    fn two_byte_commands_vanish_from_the_verb() {
        assert_eq!(decode(b"PO\xff\xf1RT\xff\xf7\xff\xf8\xff\xf9\xff\xf6 1\r\n").0, b"PORT 1\r\n");
    }

    #[test]
    fn synch_before_abor_is_seen() {
        let mut bytes = SYNCH.to_vec();
        bytes.extend_from_slice(b"ABOR\r\n");
        let (data, _, synch, _) = decode(&bytes);
        assert_eq!((data.as_slice(), synch), (&b"ABOR\r\n"[..], 2));
        assert_eq!(SYNCH.get(SYNCH_URGENT), Some(&DM));
    }

    #[test]
    fn synch_whose_mark_left_as_urgent_data() {
        assert_eq!(decode(b"\xff\xf4\xffABOR\r\n").0, b"ABOR\r\n");
    }

    #[test]
    fn a_line_is_stripped_and_what_is_no_sequence_stays() {
        let plain = strip(b"RETR a");
        assert!(!plain.commands && matches!(plain.text, Cow::Borrowed(_)));
        for (line, text, wire, commands) in [
            (&b"RETR a\xff\xffb"[..], &b"RETR a\xffb"[..], &b"RETR a\xff\xffb"[..], false),
            (b"RETR \xffa", b"RETR \xffa", b"RETR \xffa", false),
            (b"RETR a\xff", b"RETR a\xff", b"RETR a\xff", false),
            (b"RETR \xff\xff\xff\xff", b"RETR \xff\xff", b"RETR \xff\xff\xff\xff", false),
            (b"PO\xff\xf1RT x", b"PORT x", b"PORT x", true),
            (b"PO\xff\xf1\xff\xffRT", b"PO\xffRT", b"PO\xff\xffRT", true),
            (b"\xff\xfb\x01PASV", b"PASV", b"PASV", true),
            (b"PASV\xff\xf1", b"PASV", b"PASV", true),
        ] {
            let got = strip(line);
            assert_eq!((&*got.text, &*got.wire, got.commands), (text, wire, commands), "{line:?}");
            assert!(!got.synch && !got.erases && !got.open);
        }
        let got = strip(b"\xff\xf4\xff\xf2ABOR");
        assert!(got.commands && got.synch && &*got.text == b"ABOR");
        let got = strip(b"XXXX\xff\xf7\xff\xf7PORT 1");
        assert!(got.erases && &*got.text == b"XXXXPORT 1");
        assert!(strip(b"A\xff\xfaxyz").open && strip(b"A\xff\xfb").open);
    }

    #[test]
    fn lone_ff_in_a_latin1_name_is_kept() {
        assert_eq!(decode(b"RETR \xffa\r\n").0, b"RETR \xffa\r\n");
        assert_eq!(decode(b"RETR a\xff\r\n").0, b"RETR a\xff\r\n");
    }

    #[test]
    fn subnegotiation_is_skipped_with_a_limit() {
        assert_eq!(decode(b"a\xff\xfa\x18x\xff\xff\xf0y\xff\xf0b").0, b"ab");
        let mut long = b"\xff\xfa".to_vec();
        long.extend_from_slice(&[b'x'; 65]);
        long.extend_from_slice(b"NOOP\r\n");
        let (data, _, _, runaway) = decode(&long);
        assert_eq!((data.as_slice(), runaway), (&b"NOOP\r\n"[..], 1));
    }

    #[test]
    fn escape_undoes_decode() {
        let name = b"\xffa\xff\xffb\xff";
        let mut wire = Vec::new();
        escape_into(&mut wire, name);
        assert_eq!(wire, b"\xff\xffa\xff\xff\xff\xffb\xff\xff");
        assert_eq!(decode(&wire).0, name);
    }

    #[test]
    fn cr_nul_collapses_only_for_people() {
        assert_eq!(decode(b"a\r\0b").0, b"a\r\0b");
        assert_eq!(&*collapse_cr_nul(b"a\r\0b\0"), b"a\rb\0");
        assert!(matches!(collapse_cr_nul(b"ab"), Cow::Borrowed(_)));
    }
}
