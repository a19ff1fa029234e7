//! Passwords in lines that are no commands: a line that could not be read is shown without them all the same.

use super::lossy;

/// Words behind which a password stands, or the name of an account, which servers may ask for as one (RFC 959 4.1.1).
const WORDS: [&[u8]; 3] = [b"PASS", b"ACCT", b"PSWD"];

/// A line up to the first word behind which a password may stand, and that word; `None` if there is no such word. What is
/// no letter or digit does not part a word: programs differ in whether they see a NUL.
#[must_use]
pub fn before(line: &[u8]) -> Option<&[u8]> {
    let end = |at: usize, word: &[u8]| {
        let mut rest =
            line.iter().enumerate().skip(at).filter(|(n, b)| *n == at || b.is_ascii_alphanumeric());
        let mut last = None;
        for letter in word {
            last = Some(rest.next().filter(|(_, b)| b.eq_ignore_ascii_case(letter))?.0);
        }
        last
    };
    let first = |at| WORDS.iter().find_map(|word| end(at, word));
    let last = (0..line.len()).find_map(first)?;
    line.get(..=last)
}

/// A line, or a part of one, for people: `****` stands for what may be a password.
#[must_use]
pub fn shown(line: &[u8]) -> String {
    match before(line) {
        Some(head) => lossy(head) + "****",
        None => lossy(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_password_is_not_shown() {
        for (line, want) in [
            (&b"PASS ge\0heim"[..], "PASS****"),
            (b"\xEF\xBB\xBFpass geheim", "\u{feff}pass****"),
            (b"P\0A\0SS geheim", "P\0A\0SS****"),
            (b"NOOP\rPASS geheim", "NOOP\rPASS****"),
            (b"SITE\0PSWD old geheim", "SITE\0PSWD****"),
            (b"PA PAS acct x", "PA PAS acct****"),
            (b"PAS", "PAS"),
            (b"RETR a\0b", "RETR a\0b"),
            (b"", ""),
        ] {
            assert_eq!(shown(line), want);
        }
    }
}
