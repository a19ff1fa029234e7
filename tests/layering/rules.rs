//! The law, and the check of (path, source) pairs against it.

use super::source::{Token, named_at_root, test_files, tokens};

/// What each module may name, top to bottom; a module names only modules further down.
pub(crate) const MODULES: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("cli", &["config", "runtime", "record", "engine", "io", "explain"]),
    (
        "runtime",
        &[
            "config", "worker", "record", "io", "engine", "session", "firewall", "alg", "wccp", "flow",
            "wire", "buf",
        ],
    ),
    ("config", &["ftp"]),
    ("worker", &["record", "engine", "io", "buf", "flow"]),
    ("record", &["engine", "io", "wire", "buf"]),
    ("engine", &["session", "firewall", "wccp", "tcp", "flow", "wire", "buf", "neigh", "frag"]),
    ("session", &["tcp", "ftp", "flow", "wire"]),
    ("firewall", &["alg", "ftp", "flow", "wire", "buf", "frag"]),
    ("alg", &["ftp", "wire"]),
    ("explain", &["ftp", "wire"]),
    ("tcp", &["wire", "buf"]),
    ("ftp", &[]),
    ("flow", &["wire"]),
    ("wccp", &["wire"]),
    ("neigh", &["wire"]),
    ("frag", &["wire"]),
    ("io", &["buf"]),
    ("wire", &[]),
    ("buf", &[]),
];

/// What every module may name.
pub(crate) const LEAVES: &[&str] = &["time", "rng", "stats", "event"];

/// What the lab's router may name of the library: nothing that knows a packet or the protocol.
const LAB_ROUTER: &[&str] = &["time", "rng"];

/// No file is longer, its tests included.
pub(crate) const MAX_LINES: usize = 600;

/// Words that stand for something of the host, what it is, and the places that may use it.
const HOST: &[(&[&str], &str, &[&str])] = &[
    (&["smoltcp"], "smoltcp, only in tcp", &["src/tcp/"]),
    (
        &["libc", "nix", "rustix"],
        "the system's calls, only in io, runtime and programs",
        &["src/io/", "src/runtime/", "src/bin/"],
    ),
    (&["aya", "pnet"], "frames of the host, only in io", &["src/io/"]),
    (
        &["TcpListener", "TcpStream", "UdpSocket", "UnixListener", "UnixStream"],
        "a socket",
        &["src/io/", "src/runtime/", "src/cli/", "src/bin/"],
    ),
    (
        &["RandomState", "getrandom"],
        "chance, which comes from a seed",
        &["src/runtime/", "src/cli/", "src/bin/"],
    ),
];

const CLOCK: &[&str] = &["src/worker/", "src/runtime/", "src/cli/", "src/bin/"];
const THREADS: &[&str] = &["src/worker/", "src/runtime/", "src/record/writer.rs"];
const UNSAFE: &[&str] = &["src/io/afxdp/", "src/flow/prefetch.rs", "src/runtime/os.rs"];

/// What is wrong with the files, each as `path:line: what`, in their order.
pub(crate) fn findings(files: &[(String, String)]) -> Vec<String> {
    let read: Vec<_> =
        files.iter().map(|(path, source)| (path.as_str(), source.as_str(), tokens(source))).collect();
    // Files that only tests have: named by a declaration in another file.
    let tests: Vec<String> = read
        .iter()
        .flat_map(|(path, _, tokens)| {
            test_files(tokens).into_iter().map(|m| format!("{}{m}", folder_of(path)))
        })
        .collect();
    let is_test = |path: &str| {
        tests.iter().any(|t| path.strip_prefix(t.as_str()).is_some_and(|r| r == ".rs" || r.starts_with('/')))
    };
    let mut out = Vec::new();
    for (path, source, tokens) in &read {
        let mut say = |line: usize, what: String| out.push(format!("{path}:{line}: {what}"));
        let lines = source.lines().count();
        if lines > MAX_LINES {
            say(lines, format!("{lines} lines; {MAX_LINES} at most, divide it"));
        }
        if path.starts_with("src/") {
            let file = File { path, source, tokens, test: is_test(path) };
            file.edges(&mut say);
            file.host(&mut say);
            file.unsafe_code(&mut say);
        }
    }
    out
}

struct File<'a> {
    path: &'a str,
    source: &'a str,
    tokens: &'a [Token],
    test: bool,
}

impl File<'_> {
    fn within(&self, places: &[&str]) -> bool {
        places.iter().any(|p| self.path.starts_with(p))
    }

    fn edges(&self, say: &mut impl FnMut(usize, String)) {
        let parts: Vec<&str> = self.path.trim_end_matches(".rs").split('/').skip(1).collect();
        if let ["bin", program, ..] = parts[..] {
            if program != "wccp-router" {
                return say(1, format!("bin/{program} is not in the list of programs"));
            }
            for named in named_at_root(self.tokens, usize::MAX).iter().filter(|n| n.by_name) {
                if !(self.test || named.at.test || LAB_ROUTER.contains(&named.name)) {
                    say(named.at.line, format!("{program} may not name tidegate::{}", named.name));
                }
            }
            return;
        }
        let Some(&module) = parts.first() else { return };
        if module == "lib" {
            return;
        }
        let allowed = MODULES.iter().find(|(m, _)| *m == module).map(|(_, to)| *to);
        let Some(allowed) = allowed.or_else(|| LEAVES.contains(&module).then_some(&[])) else {
            return say(1, format!("{module} is not in the list of modules"));
        };
        let depth = parts.iter().filter(|p| **p != "mod").count();
        for named in named_at_root(self.tokens, depth) {
            match named.name {
                "" | "*" | "self" => say(named.at.line, format!("{module} names the whole crate")),
                name if name == module || allowed.contains(&name) || LEAVES.contains(&name) => {}
                name => say(named.at.line, format!("{module} may not name {name}")),
            }
        }
    }

    fn host(&self, say: &mut impl FnMut(usize, String)) {
        // Modules of ours that are called like a crate (`io::pnet`): a name stands for them where a path of
        // ours leads to it.
        let ours: Vec<&str> = (0..self.tokens.len())
            .filter(|&i| self.in_use_of(i, &["crate", "super", "self"]) || self.below_another(i))
            .map(|i| self.tokens[i].text.as_str())
            .collect();
        for (i, token) in self.tokens.iter().enumerate() {
            let text = |n: usize| self.tokens.get(n).map_or("", |t| t.text.as_str());
            let (before, behind) = (if i > 0 { text(i - 1) } else { "" }, text(i + 1));
            let test = self.test || token.test;
            for (words, what, places) in HOST {
                let named = words.contains(&token.text.as_str()) && !self.within(places);
                if named && (is_type(&token.text) || !ours.contains(&token.text.as_str())) {
                    say(token.line, format!("names {}: {what}", token.text));
                }
            }
            let clock = token.text == "SystemTime"
                || token.text == "Instant" && behind == "::" && text(i + 2) == "now";
            if clock && !self.within(CLOCK) && !(test && self.within(&["src/io/"])) {
                say(token.line, "reads the clock; time is an argument".to_owned());
            }
            let path = before == "::" || behind == "::" || self.in_use_of(i, &["std"]);
            if token.text == "thread" && path && !self.within(THREADS) && !test {
                say(token.line, "names a thread; those are made above".to_owned());
            }
        }
    }

    /// Whether token `i` stands in a `use` whose path begins with one of `roots`.
    fn in_use_of(&self, i: usize, roots: &[&str]) -> bool {
        let begin = self.tokens[..i].iter().rposition(|t| t.text == ";" || t.text == "use");
        begin.is_some_and(|b| {
            self.tokens[b].text == "use" && roots.contains(&self.tokens[b + 1].text.as_str())
        })
    }

    /// Whether token `i` continues a path, as `b` in `a::b`; in `use ::b` it begins one.
    fn below_another(&self, i: usize) -> bool {
        i > 1
            && self.tokens[i - 1].text == "::"
            && self.tokens[i - 2].text.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && self.tokens[i - 2].text != "use"
    }

    fn unsafe_code(&self, say: &mut impl FnMut(usize, String)) {
        for (i, token) in self.tokens.iter().enumerate() {
            let here = self.within(UNSAFE);
            match token.text.as_str() {
                "unsafe" if !here => say(token.line, "unsafe code has no place here".to_owned()),
                "unsafe" if !self.has_reason(token.line) => {
                    say(token.line, "unsafe without its reason: a comment // SAFETY: above".to_owned());
                }
                "unsafe_code" if !here => {
                    let level = self.tokens[..i]
                        .iter()
                        .rev()
                        .find(|t| ["allow", "expect", "deny", "forbid"].contains(&t.text.as_str()));
                    if level.is_some_and(|t| t.text == "allow" || t.text == "expect") {
                        say(token.line, "allows unsafe code, which has no place here".to_owned());
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether a reason stands in `line` or in the comments and attributes right above its statement.
    fn has_reason(&self, line: usize) -> bool {
        let lines: Vec<&str> = self.source.lines().collect();
        let reason = |l: &str| l.contains("SAFETY:") || l.contains("# Safety");
        lines[..line].iter().rev().take(12).take_while(|l| !l.trim().is_empty()).any(|l| reason(l))
    }
}

/// Types are named through paths, crates are not.
fn is_type(word: &str) -> bool {
    word.starts_with(char::is_uppercase)
}

/// The folder where a file's own modules stand, with a slash behind.
fn folder_of(path: &str) -> String {
    let stem = path.trim_end_matches(".rs");
    let (parent, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    match name {
        "mod" | "main" | "lib" => format!("{parent}/"),
        _ => format!("{stem}/"),
    }
}
