//! What peers said, made fit to be shown.

/// Longest text in a report, in characters.
const TEXT: usize = 300;

/// A line that is no command, without what may be a password in it.
pub(super) fn masked(line: &[u8]) -> String {
    let secret = |at: &usize| {
        let rest = line.get(*at..).unwrap_or_default();
        let word = |w: &[u8]| rest.get(..w.len()).is_some_and(|r| r.eq_ignore_ascii_case(w));
        word(b"PASS") || word(b"ACCT") || word(b"PSWD")
    };
    match (0..line.len()).find(secret) {
        Some(at) => format!("{}****", clean(line.get(..at + 4).unwrap_or_default())),
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
