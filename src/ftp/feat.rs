//! The list of a server's features (RFC 2389), without what the gateway cannot serve.

use super::command::{is_blank, trim_blanks};
use super::reply;

/// Features never shown: server-to-server TLS helpers, the long address forms, RFC 2228's wrapped commands.
pub const NEVER: &[&str] = &["SSCN", "CPSV", "LPRT", "LPSV", "MIC", "ENC", "CONF", "ADAT"];
/// Features of FTPS, to hide where it is refused and to add where it is terminated for a server without.
pub const FTPS: &[&str] = &["AUTH", "PBSZ", "PROT", "CCC"];

/// What to take away and what to add. A name matches a feature whose first words are the same, whatever the
/// case: `AUTH` matches `AUTH TLS`, `MODE Z` matches `MODE Z` but not `MODE B`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Policy<'p> {
    /// To hide, beside [`NEVER`].
    pub hide: &'p [&'p str],
    /// To add at the end if the server lacks them.
    pub add: &'p [&'p str],
}

/// Appends a clean reply to FEAT. `lines` are the texts of all lines of the server's reply, without codes;
/// the first and last are no features. An empty iterator stands for a server that has no FEAT.
///
/// Read leniently: any number of blanks before a feature, a code before each, empty lines.
pub fn rewrite<'x, 'a: 'x, 'p: 'x, I>(out: &mut Vec<u8>, lines: I, policy: &Policy<'p>)
where
    I: DoubleEndedIterator<Item = &'a [u8]> + Clone,
{
    let mut features = lines;
    features.next();
    features.next_back();
    let features = features.map(|f| -> &'x [u8] { trim_blanks(f) }).filter(|f| !f.is_empty());
    let shown = features.clone().filter(|f| !is_hidden(f, policy));
    let added = policy.add.iter().filter(|name| !features.clone().any(|f| matches(f, name)));
    let mut all = shown.chain(added.map(|name| -> &'x [u8] { name.as_bytes() })).peekable();
    if all.peek().is_none() {
        reply::write(out, 211, b"No features.");
    } else {
        reply::write_multi(out, 211, b"Features:", all, b"End");
    }
}

/// Whether a line of a reply to FEAT, without its code, is one that [`rewrite`] leaves out: [`NEVER`] with the rest.
#[must_use]
pub fn is_hidden(line: &[u8], policy: &Policy<'_>) -> bool {
    is_named(line, NEVER) || is_named(line, policy.hide)
}

/// Whether a line of a reply to FEAT, without its code, is one of these features.
#[must_use]
pub fn is_named(line: &[u8], names: &[&str]) -> bool {
    names.iter().any(|name| matches(line, name))
}

/// True when the feature's first words are the name's words.
fn matches(feature: &[u8], name: &str) -> bool {
    let mut words = feature.split(|&b| is_blank(b)).filter(|w| !w.is_empty());
    name.split(' ').all(|want| words.next().is_some_and(|w| w.eq_ignore_ascii_case(want.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(lines: &[&str], policy: &Policy<'_>) -> String {
        let mut out = Vec::new();
        rewrite(&mut out, lines.iter().map(|l| l.as_bytes()), policy);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn some_features_are_never_shown() {
        let got = run(&["x", " sscn", " LPRT", " UTF8", " REST STREAM", "y"], &Policy::default());
        assert_eq!(got, "211-Features:\r\n UTF8\r\n REST STREAM\r\n211 End\r\n");
    }

    #[test]
    fn words_match_whole() {
        let policy = Policy { hide: &["MODE Z", "AUTH"], add: &[] };
        let got = run(&["x", " MODE B", " mode  z", " AUTHOR", " AUTH TLS", "y"], &policy);
        assert_eq!(got, "211-Features:\r\n MODE B\r\n AUTHOR\r\n211 End\r\n");
    }

    #[test]
    fn nothing_left_is_one_line() {
        assert_eq!(run(&["no features"], &Policy::default()), "211 No features.\r\n");
        assert_eq!(run(&[], &Policy { hide: &[], add: &["EPSV"] }), "211-Features:\r\n EPSV\r\n211 End\r\n");
    }

    #[test]
    fn what_the_gateway_adds_is_not_hidden_and_not_doubled() {
        let policy = Policy { hide: FTPS, add: &["AUTH TLS", "EPSV"] };
        assert_eq!(
            run(&["x", " AUTH SSL", " epsv", "y"], &policy),
            "211-Features:\r\n epsv\r\n AUTH TLS\r\n211 End\r\n"
        );
    }
}
