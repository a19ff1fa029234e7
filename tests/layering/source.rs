//! Rust source as far as the rules need it: tokens with their lines, what is test code, which paths
//! lead to the crate's root.

/// A token of code: an identifier, a number, `::`, or one other character.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) text: String,
    /// Line, from 1.
    pub(crate) line: usize,
    /// Whether it is only compiled for tests.
    pub(crate) test: bool,
    /// Modules written in this file that it lies in.
    pub(crate) depth: usize,
}

/// The tokens of `source`, without comments and literals of text.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let code: Vec<char> = blanked(source).chars().collect();
    let (mut out, mut at, mut line) = (Vec::new(), 0, 1);
    while let Some(&c) = code.get(at) {
        let begin = at;
        at += 1;
        if c == '\n' {
            line += 1;
        }
        if c.is_whitespace() {
            continue;
        }
        if is_word(c) {
            while code.get(at).is_some_and(|&c| is_word(c)) {
                at += 1;
            }
        } else if c == ':' && code.get(at) == Some(&':') {
            at += 1;
        }
        out.push(Token { text: code[begin..at].iter().collect(), line, test: false, depth: 0 });
    }
    mark_modules(&mut out);
    mark_tests(&mut out);
    out
}

/// Names of the modules that stand in files of their own and are only compiled for tests.
pub(crate) fn test_files(tokens: &[Token]) -> Vec<String> {
    let declared = |w: &&[Token]| w[0].text == "mod" && w[2].text == ";" && w[0].test;
    tokens.windows(3).filter(declared).map(|w| w[1].text.clone()).collect()
}

/// A name that stands directly below the root of a crate.
pub(crate) struct Named<'a> {
    pub(crate) name: &'a str,
    /// The token that the path begins with.
    pub(crate) at: &'a Token,
    /// Whether it was reached by this library's name, as other crates call it.
    pub(crate) by_name: bool,
}

/// Everything that paths name directly below the crate's root; `file_depth` is how many modules deep the
/// file itself is. `*`, `self` or nothing stand for the whole crate.
pub(crate) fn named_at_root(tokens: &[Token], file_depth: usize) -> Vec<Named<'_>> {
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
    let (mut out, mut i) = (Vec::new(), 0);
    while i < tokens.len() {
        let at = &tokens[i];
        let follows = i > 0 && text(i - 1) == "::";
        let by_name = text(i) == "tidegate" && text(i + 1) == "::";
        let mut end = i + 1;
        let root = match text(i) {
            _ if follows => false,
            "crate" | "tidegate" => text(i) == "crate" || by_name,
            "super" => {
                let mut up = 1;
                while text(end) == "::" && text(end + 1) == "super" {
                    (up, end) = (up + 1, end + 2);
                }
                text(end) == "::" && up >= file_depth.saturating_add(at.depth)
            }
            _ => false,
        };
        // `pub(crate)` names nothing.
        let visibility = text(i) == "crate" && i > 1 && text(i - 1) == "(" && text(i + 1) == ")";
        if root && !visibility {
            let heads = if text(end) == "::" { heads(tokens, end + 1) } else { vec![""] };
            out.extend(heads.into_iter().map(|name| Named { name, at, by_name }));
        }
        i = end;
    }
    out
}

/// The first names of a path, or of each path in a group, that begins at token `i`.
fn heads(tokens: &[Token], i: usize) -> Vec<&str> {
    let Some(first) = tokens.get(i) else { return vec![""] };
    if first.text != "{" {
        return vec![&first.text];
    }
    let (mut out, mut depth, mut head) = (Vec::new(), 1, true);
    for token in &tokens[i + 1..] {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 1 => head = true,
            name if head => {
                out.push(name);
                head = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The source with comments and the insides of literals of text replaced by blanks; lines stay where they are.
fn blanked(source: &str) -> String {
    let s: Vec<char> = source.chars().collect();
    let (mut out, mut i) = (String::with_capacity(source.len()), 0);
    while i < s.len() {
        let end = match s[i] {
            '/' if s.get(i + 1) == Some(&'/') => {
                i + s[i..].iter().position(|&c| c == '\n').unwrap_or(s.len() - i)
            }
            '/' if s.get(i + 1) == Some(&'*') => comment_end(&s, i),
            '"' => text_end(&s, i),
            'r' if i == 0 || !is_word(s[i - 1]) || (s[i - 1] == 'b' || s[i - 1] == 'c') => raw_end(&s, i),
            '\'' => char_end(&s, i),
            _ => i,
        };
        if end == i {
            out.push(s[i]);
            i += 1;
        } else {
            out.extend(s[i..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            i = end;
        }
    }
    out
}

/// Comments of this kind nest.
fn comment_end(s: &[char], begin: usize) -> usize {
    let (mut i, mut depth) = (begin, 0);
    while i + 1 < s.len() {
        match (s[i], s[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    s.len()
}

fn text_end(s: &[char], begin: usize) -> usize {
    let mut i = begin + 1;
    while i < s.len() && s[i] != '"' {
        i += if s[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(s.len())
}

fn raw_end(s: &[char], begin: usize) -> usize {
    let hashes = s[begin + 1..].iter().take_while(|&&c| c == '#').count();
    let open = begin + 1 + hashes;
    if s.get(open) != Some(&'"') {
        return begin;
    }
    let closes =
        |i: usize| s[i] == '"' && s[i + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes;
    (open + 1..s.len()).find(|&i| closes(i)).map_or(s.len(), |i| i + 1 + hashes)
}

/// A literal of one character; a lifetime is none.
fn char_end(s: &[char], i: usize) -> usize {
    if s.get(i + 1) == Some(&'\\') {
        let close = s.iter().skip(i + 3).position(|&c| c == '\'');
        return close.map_or(s.len(), |n| i + 3 + n + 1);
    }
    if s.get(i + 2) == Some(&'\'') { i + 3 } else { i }
}

fn mark_modules(tokens: &mut [Token]) {
    let mut open = Vec::new();
    for i in 0..tokens.len() {
        match tokens[i].text.as_str() {
            "{" => open.push(i > 1 && tokens[i - 2].text == "mod"),
            "}" => {
                open.pop();
            }
            _ => {}
        }
        tokens[i].depth = open.iter().filter(|m| **m).count();
    }
}

/// Marks what follows `#[cfg(test)]` or `#[cfg(all(test, ...))]`, up to the end of the item.
fn mark_tests(tokens: &mut [Token]) {
    let mut i = 0;
    while i < tokens.len() {
        let is = |at: usize, words: &[&str]| {
            words.iter().enumerate().all(|(n, w)| tokens.get(at + n).is_some_and(|t| t.text == *w))
        };
        if !is(i, &["#", "[", "cfg", "(", "test"]) && !is(i, &["#", "[", "cfg", "(", "all", "(", "test"]) {
            i += 1;
            continue;
        }
        let end = item_end(tokens, i);
        tokens[i..end].iter_mut().for_each(|t| t.test = true);
        i = end;
    }
}

/// Behind the item that begins at token `i` with its attributes.
fn item_end(tokens: &[Token], i: usize) -> usize {
    let mut depth = 0_i32;
    for (n, token) in tokens.iter().enumerate().skip(i) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                // A use's group is followed by its semicolon, which is found then.
                if depth == 0 && tokens.get(n + 1).is_none_or(|t| t.text != ";") {
                    return n + 1;
                }
            }
            ";" if depth == 0 => return n + 1,
            _ => {}
        }
    }
    tokens.len()
}
