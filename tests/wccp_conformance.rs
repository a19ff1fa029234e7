//! The table of WCCP's negative cases has every row, and names tests that exist and are about it.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;

/// The rows that a test's name claims: `n05_…`, `n14_n15_…`, `n27_to_n29_…`.
fn rows(name: &str) -> Vec<u32> {
    let mut rows: Vec<u32> = vec![];
    let mut range = false;
    for word in name.split('_') {
        match word.strip_prefix('n').and_then(|digits| digits.parse().ok()) {
            Some(row) if range => rows.extend(rows.last().unwrap() + 1..=row),
            Some(row) => rows.push(row),
            None if word == "to" && !range => range = true,
            None => break,
        }
    }
    rows
}

#[test]
fn names_claim_rows() {
    assert_eq!(rows("n05_messages_for_routers"), [5]);
    assert_eq!(rows("n14_n15_n16_digests"), [14, 15, 16]);
    assert_eq!(rows("n27_to_n29_assignments"), [27, 28, 29]);
    assert_eq!(rows("to_be_sure"), [0; 0]);
}

#[test]
fn every_row_has_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/wccp-conformance.md")).unwrap();
    let mut next = 1;
    for line in text.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| Row")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [row, stimulus, tests, result] = cells[..] else { panic!("four cells: {line}") };
        assert_eq!(row.parse(), Ok(next), "{line}");
        next += 1;
        assert!(!stimulus.is_empty() && !result.is_empty(), "row {row}");
        let named: Vec<&str> = tests.split('`').filter(|t| t.contains("::")).collect();
        assert!(!named.is_empty(), "row {row} names no test");
        for test in named {
            let (file, name) = test.split_once("::").unwrap();
            let source = fs::read_to_string(root.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
            let found = source.find(&format!("fn {name}()")).unwrap_or_else(|| panic!("no {test}"));
            assert!(source[..found].trim_end().ends_with("#[test]"), "{test} is no test");
            assert!(rows(name).contains(&(next - 1)), "{test} is not about row {row}");
        }
    }
    assert_eq!(next, 56, "all rows");
}
