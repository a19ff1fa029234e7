//! `docs/conformance.md` has every case, and names tests that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// (Case, the tests' cell, the result) of each row.
fn rows(text: &str) -> Vec<(String, String, String)> {
    text.lines()
        .filter_map(|l| {
            let cells: Vec<&str> = l.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
            let [case, _, test, result] = cells[..] else { return None };
            let (letter, number) = case.split_at(1);
            ("GPES".contains(letter) && number.parse::<u8>().is_ok())
                .then(|| (case.to_owned(), test.to_owned(), result.to_owned()))
        })
        .collect()
}

#[test]
fn every_case_is_in_the_table_once_and_its_tests_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/conformance.md")).unwrap();
    let rows = rows(&text);
    let cases: BTreeSet<&str> = rows.iter().map(|r| r.0.as_str()).collect();
    assert_eq!(cases.len(), rows.len(), "a case twice");
    for (letter, count) in [('G', 48), ('P', 48), ('E', 27), ('S', 26)] {
        for n in 1..=count {
            assert!(cases.contains(format!("{letter}{n}").as_str()), "{letter}{n} is missing");
        }
    }
    assert_eq!(rows.len(), 48 + 48 + 27 + 26);
    let mut named = BTreeSet::new();
    for (case, cell, result) in &rows {
        if cell == "none" {
            assert!(result.starts_with("not covered: "), "{case} has neither a test nor a reason");
            continue;
        }
        for test in cell.split("<br>") {
            let test = test.trim_matches('`');
            let (file, name) = test.split_once("::").unwrap_or_else(|| panic!("{case}: {test}"));
            let source =
                fs::read_to_string(root.join(file)).unwrap_or_else(|e| panic!("{case}: {file}: {e}"));
            assert!(source.contains(&format!("#[test]\nfn {name}(")), "{case}: {test} is not there");
            named.insert(name.to_owned());
        }
    }
    // And no case's test is left out.
    let files = [
        "g_setup",
        "g_replies",
        "e_fxp",
        "e_life",
        "e_ports",
        "s_lines",
        "s_bounds",
        "p_packets",
        "p_paths",
        "p_stream",
    ];
    for file in files {
        let source = fs::read_to_string(root.join(format!("tests/catalogue/{file}.rs"))).unwrap();
        for rest in source.split("#[test]\nfn ").skip(1) {
            let name = rest.split('(').next().unwrap();
            let is_case = name.as_bytes()[1].is_ascii_digit();
            assert!(!is_case || named.contains(name), "{name} is in no row");
        }
    }
}

/// The naive reading is worth something only while it knows nothing of what it is compared with.
#[test]
fn the_naive_reading_names_nothing_of_the_gateway() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/catalogue/naive.rs");
    let source = fs::read_to_string(path).unwrap();
    for word in ["tidegate", "crate::", "super::"] {
        assert!(!source.contains(word), "it names {word}");
    }
}
