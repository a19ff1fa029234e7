//! What peers said, made fit to be shown.

use crate::ftp::secret;

/// Longest text in a report, in characters.
const TEXT: usize = 300;

/// A line that is no command, without what may be a password in it.
pub(super) fn masked(line: &[u8]) -> String {
    match secret::before(line) {
        Some(head) => format!("{}****", clean(head)),
        None => clean(line),
    }
}

/// Text of a peer for people: what a terminal would obey is written out, and it has an end.
pub(super) fn clean(bytes: &[u8]) -> String {
    let mut out = String::new();
    let bytes = bytes.get(..4 * TEXT).unwrap_or(bytes);
    for (n, c) in String::from_utf8_lossy(bytes).chars().enumerate() {
        if n == TEXT {
            out.push('…');
            break;
        }
        if c.is_control()
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
        {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}
