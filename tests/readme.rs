//! The README's configuration is one that loads, and says what the text around it says.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tidegate::config::{Deployment, Driver, EventTarget, Group, UpstreamSource, parse};

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The blocks of that language, in order.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let open = format!("```{language}\n");
    text.split(open.as_str()).skip(1).map(|b| b.split("```").next().unwrap()).collect()
}

#[test]
fn the_sample_configuration_loads() {
    let text = readme();
    let samples = blocks(&text, "toml");
    assert_eq!(samples.len(), 3);
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("wccp.key");
    fs::write(&key, "s3cret\n").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let file = dir.path().join("tidegate.toml");
    let config = parse(samples[0], &file).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.notes, Vec::<String>::new(), "nothing to remark on");
    assert_eq!(config.interface.driver, Driver::AfXdp);
    assert_eq!(config.events, EventTarget::File(dir.path().join("events.jsonl")));
    let wccp = config.wccp.as_ref().unwrap();
    assert!(wccp.password.is_some());

    // The other kind differs by its deployment section and by having no group.
    let wccp_kind = "[deployment]\nkind = \"wccp\"\n";
    let (head, rest) = samples[0].split_once("[wccp]").unwrap();
    let policy = format!("{head}{}", &rest[rest.find("[[service]]").unwrap()..]);
    assert!(policy.contains(wccp_kind));
    let policy = parse(&policy.replace(wccp_kind, samples[2]), &file).unwrap_or_else(|e| panic!("{e}"));
    assert!(policy.deployment == Deployment::Static && policy.notes.is_empty());

    // With the client's address toward servers: what the second sample adds to the first.
    let (reverse, keys) = samples[1].split_once("[[service]]\n# ...\n").unwrap();
    let both = samples[0].replacen("[[service]]\n", &format!("{reverse}[[service]]\n"), 1).replacen(
        "\n[events]",
        &format!("{keys}\n[events]"),
        1,
    );
    let spoofing = parse(&both, &file).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(spoofing.notes, Vec::<String>::new(), "nothing to remark on");
    assert_eq!(spoofing.services[0].upstream_source, UpstreamSource::Client);

    let back = &spoofing.wccp.as_ref().unwrap().groups[1];

    // The redirect lists for the router name their groups' ports, each and no other.
    for (list, group) in [("TIDEGATE", &wccp.groups[0]), ("TIDEGATE-BACK", back)] {
        lists_all_ports(&text, list, group);
    }
}

/// The access list of this name and the lines about the group say what the configuration says.
fn lists_all_ports(text: &str, list: &str, group: &Group) {
    let mut listed = Vec::new();
    let head = format!("ip access-list extended {list}\n");
    let lines = text.split_once(head.as_str()).unwrap().1.lines();
    for line in lines.take_while(|l| l.trim().starts_with("permit tcp ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let port = |i: usize| words[i].parse::<u16>().unwrap();
        let at = words.iter().position(|w| *w == "eq" || *w == "range").unwrap();
        listed.extend(port(at + 1)..=port(if words[at] == "range" { at + 2 } else { at + 1 }));
    }
    listed.sort_unstable();
    let mut ports = group.ports.clone();
    ports.sort_unstable();
    assert_eq!(listed, ports);
    assert!(text.contains(&format!("ip wccp {} redirect in", group.id)));
}

/// The samples of docs/inspect.md, put into files that differ from them by what stands around only.
#[test]
fn the_samples_of_inspected_services_load() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/inspect.md")).unwrap();
    let samples = blocks(&text, "toml");
    let [service, groups, firewall, nat] = samples[..] else { panic!("{}", samples.len()) };
    let side = |name: &str, role: &str, address: &str, hop: &str| {
        format!("[[interface]]\nname = {name:?}\nrole = {role:?}\naddress = [{address:?}]\n{hop}\n")
    };
    let route = format!(
        "version = 1\n[deployment]\nkind = \"route\"\n{}{}{firewall}{nat}{service}",
        side("in0", "inside", "10.0.0.1/24", ""),
        side("out0", "outside", "203.0.113.9/24", "next_hop = \"203.0.113.1\""),
    );
    let route = parse(&route, Path::new("t.toml")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(route.notes, Vec::<String>::new(), "nothing to remark on");
    assert!(route.nat.masquerade.is_some() && route.firewall.unwrap().rules.len() == 1);
    // What is said of the usual list is that list.
    let usual = parse(
        "version = 1\n[deployment]\nkind = \"bridge\"\n[[interface]]\nname = \"a\"\nrole = \"inside\"\n[[interface]]\n\
         name = \"b\"\nrole = \"outside\"\n[[service]]\nname = \"ftp\"\nports = [21]\n",
        Path::new("t.toml"),
    );
    let named = usual.unwrap().inspected[0].denied_ports.clone();
    let told = text.split_once("these are denied:").unwrap().1.split_once(".\n").unwrap().0;
    let told: Vec<&str> = told.split(',').map(str::trim).collect();
    let shown = named.iter().map(|r| {
        if r.start() == r.end() { r.start().to_string() } else { format!("{}-{}", r.start(), r.end()) }
    });
    assert_eq!(shown.collect::<Vec<_>>(), told);
    let wccp = format!(
        "version = 1\n[deployment]\nkind = \"wccp\"\n[[interface]]\nname = \"eth1\"\naddress = [\"10.9.0.2/24\"]\n\
         next_hop = \"10.9.0.1\"\n[wccp]\nrouters = [\"10.9.0.1\"]\npassword = \"secret1\"\n{groups}"
    );
    let wccp = parse(&wccp, Path::new("t.toml")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((wccp.notes, wccp.inspected[0].data_bypasses), (Vec::<String>::new(), false));
}

#[test]
fn documents_that_are_linked_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, folder) in [
        ("README.md", ""),
        ("CONTRIBUTING.md", ""),
        ("CHANGELOG.md", ""),
        ("docs/architecture.md", "docs"),
        ("docs/decisions.md", "docs"),
        ("docs/requirements.md", "docs"),
        ("docs/inspect.md", "docs"),
    ] {
        let text = fs::read_to_string(root.join(name)).unwrap();
        for link in text.split("](").skip(1).map(|l| l.split(')').next().unwrap()) {
            let path = link.split('#').next().unwrap();
            let outside = path.is_empty() || path.contains("://");
            assert!(outside || root.join(folder).join(path).exists(), "{name} links to {link}");
        }
    }
}

/// The Rust files of a folder, with all below it.
fn rust_files(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, all);
        } else if path.extension().is_some_and(|e| e == "rs") {
            all.push(path);
        }
    }
}

/// Names of the tests in Rust source: functions behind `#[test]`, in `proptest!` as well.
fn tests_of(text: &str) -> impl Iterator<Item = &str> {
    text.split("#[test]").skip(1).filter_map(|rest| {
        let (attributes, rest) = rest.split_once("fn ")?;
        let attributes = attributes.lines().map(str::trim).all(|l| l.is_empty() || l.starts_with("#["));
        attributes.then(|| rest.split(['(', '<']).next().unwrap())
    })
}

/// Whether this may be a function's name of which nobody thinks that it is a setting or a word.
fn is_test_name(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    word.chars().all(plain) && word.matches('_').count() >= 3
}

/// The table of requirements names files and tests that exist.
#[test]
fn requirements_name_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/requirements.md")).unwrap();
    let words = || text.split('`').skip(1).step_by(2);
    let paths: Vec<&str> = words().filter(|w| w.starts_with("scripts/") || w.starts_with("tests/")).collect();
    assert!(!paths.is_empty());
    for path in paths {
        assert!(root.join(path).exists(), "docs/requirements.md names {path}");
    }
    let mut files = Vec::new();
    ["src", "tests"].iter().for_each(|folder| rust_files(&root.join(folder), &mut files));
    let sources: Vec<String> = files.iter().map(|p| fs::read_to_string(p).unwrap()).collect();
    let known: BTreeSet<&str> = sources.iter().flat_map(|text| tests_of(text)).collect();
    let tests: Vec<&str> = words().filter(|w| is_test_name(w)).collect();
    assert!(tests.iter().filter(|t| t.starts_with("r000_")).count() >= 10, "{tests:?}");
    for test in tests {
        assert!(known.contains(test), "docs/requirements.md names {test}");
    }
}
