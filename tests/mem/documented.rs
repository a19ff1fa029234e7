//! What an operator is told of, and what there is.

use crate::support::*;

#[test]
fn every_counter_stands_in_the_operations_page() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    let listed = page.split_once("## All counters").unwrap().1.split_once("\n## ").unwrap().0;
    let w = World::new(Options::default());
    for (name, _) in w.gates[0].engine.counters() {
        let family = ["drop_", "wccp_"].iter().find(|f| name.starts_with(**f));
        let shown = family.map_or_else(|| format!("`{name}`"), |f| format!("`{f}…`"));
        assert!(listed.contains(&shown), "{shown} is not in docs/operations.md");
    }
}
