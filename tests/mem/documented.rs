//! What an operator is told of, and what there is.

use crate::support::*;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tidegate::config;
use tidegate::engine::Engine;
use tidegate::flow::FlowTable;
use tidegate::io::PortInfo;
use tidegate::runtime::settings;

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

/// A chapter of the operations page.
fn chapter(title: &str) -> String {
    let page = page("operations.md");
    page.split_once(&format!("## {title}\n")).unwrap().1.split("\n## ").next().unwrap().to_owned()
}

/// What stands for a counter in the tables: those of one family stand together.
fn shown(name: &str) -> String {
    for (family, whole) in [("drop_", "`drop_…`"), ("wccp_", "`wccp_…`"), ("rule:", "`rule:NAME`")] {
        if name.starts_with(family) {
            return whole.to_owned();
        }
    }
    format!("`{name}`")
}

#[test]
fn every_counter_stands_in_the_operations_page() {
    let listed = chapter("All counters");
    let w = World::new(Options::default());
    for (name, _) in w.gates[0].engine.counters() {
        assert!(listed.contains(&shown(&name)), "{} is not in docs/operations.md", shown(&name));
    }
}

/// The counters of an engine that obeys this file, its interfaces being these.
fn counters(text: &str, interfaces: &[&str]) -> Vec<String> {
    let config = config::parse(text, Path::new("t.toml")).unwrap();
    let port = |name: &&str| PortInfo {
        name: (*name).to_owned(),
        driver: "mem",
        mac: GW_MAC,
        mtu: 1500,
        attach: None,
        zero_copy: false,
    };
    let ports: Vec<_> = interfaces.iter().map(port).collect();
    let settings = settings::engine(&config, &ports, [1; 16]).unwrap();
    let engine = Engine::new(settings, Arc::new(FlowTable::new(1 << 8, 1 << 8, 1))).unwrap();
    engine.counters().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn so_does_every_counter_of_the_filter_of_the_nat_and_of_inspected_sessions() {
    let own = chapter("Counters of the filter and of inspected sessions");
    let common = chapter("All counters");
    let bridge = "version = 1
[deployment]
kind = \"bridge\"
[[interface]]
name = \"in0\"
role = \"inside\"
[[interface]]
name = \"out0\"
role = \"outside\"
[[firewall.rule]]
name = \"ftp\"
action = \"allow\"
protocol = \"tcp\"
ports = [21]
[[service]]
name = \"ftp\"
ports = [21]
";
    let route = bridge
        .replace("\"bridge\"", "\"route\"")
        .replace("role = \"inside\"", "role = \"inside\"\naddress = [\"10.0.0.1/24\"]")
        .replace(
            "role = \"outside\"",
            "role = \"outside\"\naddress = [\"203.0.113.9/24\"]\nnext_hop = \"203.0.113.1\"",
        )
        + "[nat]\nmasquerade = true\n";
    let redirected = "version = 1
[deployment]
kind = \"static\"
[[interface]]
name = \"in0\"
address = [\"10.9.0.2/24\"]
next_hop = \"10.9.0.1\"
[[service]]
name = \"ftp\"
ports = [21]
handling = \"inspect\"
";
    for (kind, names) in [
        ("bridge", counters(bridge, &["in0", "out0"])),
        ("route", counters(&route, &["in0", "out0"])),
        ("static", counters(redirected, &["in0"])),
    ] {
        assert!(names.iter().any(|n| n == "expectations_opened"), "{kind} inspects nothing");
        for name in names {
            // What engines of every kind have stands once.
            let shared = kind == "static"
                || name.starts_with("drop_")
                || name == "reassembled"
                || name == "neighbours_untold";
            let there = own.contains(&shown(&name)) || (shared && common.contains(&shown(&name)));
            assert!(there, "{kind}: {} is not in docs/operations.md", shown(&name));
        }
    }
}

/// Why an inspected session, an expectation or a data connection came to nothing is said in literals that begin with a small
/// letter and have several words; what a reply says begins with a capital.
#[test]
fn every_reason_stands_in_the_events_page() {
    let page = page("events.md").split_whitespace().collect::<Vec<_>>().join(" ");
    let labels = [
        "inspected clients",
        "inspected session",
        "steered pairs",
        "inspection timers",
        "session pairs",
        "bytes of",
    ];
    let mut found = 0;
    for folder in ["src/alg/rules", "src/firewall/ftp"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for file in fs::read_dir(folder).unwrap() {
            let file = file.unwrap().path();
            let text = fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            for line in
                code.lines().filter(|l| !l.trim_start().starts_with("//") && !l.contains("reason = \""))
            {
                for literal in line.split('"').skip(1).step_by(2) {
                    let reason = literal.split('{').next().unwrap().trim_end();
                    let begins = literal.starts_with(|c: char| c.is_ascii_lowercase());
                    if !begins
                        || !literal.contains(' ')
                        || labels.iter().any(|l| literal.starts_with(l))
                        || literal.starts_with("inspected data")
                    {
                        continue;
                    }
                    found += 1;
                    assert!(
                        page.contains(&format!("`{reason}")),
                        "{}: {reason:?} is not in docs/events.md",
                        file.display()
                    );
                }
            }
        }
    }
    assert!(found > 50, "only {found} reasons were found");
}
