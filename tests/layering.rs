//! Holds the source tree to its layers: which module may name which, and who may touch the host.
//!
//! The check is a function of (path, source) pairs. It runs on the tree as it stands, and on small sources
//! that each break one rule, so that it is seen to fail. The law is drawn for people in
//! `docs/architecture.md`; a test compares the two.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that cannot go on has failed")]

mod layering {
    pub(super) mod rules;
    pub(super) mod source;
}

use layering::rules::{LEAVES, MAX_LINES, MODULES, findings};
use std::fs;
use std::path::Path;

/// Every Rust file below `dir`, as (path with `/`, source), in order.
fn tree(root: &Path, dir: &str, found: &mut Vec<(String, String)>) {
    let mut entries: Vec<_> = fs::read_dir(root.join(dir)).unwrap().map(|e| e.unwrap()).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = format!("{dir}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            tree(root, &path, found);
        } else if path.ends_with(".rs") {
            found.push((path, fs::read_to_string(entry.path()).unwrap()));
        }
    }
}

fn check(files: &[(&str, &str)]) -> Vec<String> {
    findings(&files.iter().map(|(p, s)| ((*p).to_owned(), (*s).to_owned())).collect::<Vec<_>>())
}

/// That `source` at `path` is found fault with, at `line`, in words that hold `words`; and nothing else is.
#[track_caller]
fn breaks(path: &str, source: &str, line: usize, words: &str) {
    let found = check(&[(path, source)]);
    assert!(
        found.len() == 1 && found[0].starts_with(&format!("{path}:{line}: ")) && found[0].contains(words),
        "{path}: wanted one finding in line {line} with {words:?}, got {found:#?}"
    );
}

#[track_caller]
fn keeps(path: &str, source: &str) {
    assert_eq!(check(&[(path, source)]), Vec::<String>::new(), "{path}");
}

#[test]
fn the_tree_keeps_its_layers() {
    let mut files = Vec::new();
    for dir in ["benches", "src", "tests"] {
        tree(Path::new(env!("CARGO_MANIFEST_DIR")), dir, &mut files);
    }
    for file in ["src/lib.rs", "src/wire/mod.rs", "src/bin/wccp-router/main.rs"] {
        assert!(files.iter().any(|(p, _)| p == file), "{file} was not read");
    }
    let found = findings(&files);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_document_draws_the_same_law() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let text = fs::read_to_string(path).unwrap();
    let block = text.split("```edges\n").nth(1).unwrap().split("```").next().unwrap();
    let mut drawn = Vec::new();
    for line in block.lines() {
        let (from, to) = line.split_once('→').unwrap();
        drawn.push((from.trim().to_owned(), to.split_whitespace().map(str::to_owned).collect::<Vec<_>>()));
    }
    let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let mut law: Vec<_> = MODULES.iter().map(|(m, to)| ((*m).to_owned(), own(to))).collect();
    law.push(("all".to_owned(), own(LEAVES)));
    for (_, to) in drawn.iter_mut().chain(&mut law) {
        to.sort();
    }
    drawn.sort();
    law.sort();
    assert_eq!(drawn, law);
}

/// A module may only name modules further down, so the layers have no circle.
#[test]
fn the_law_has_no_circle() {
    for (at, (module, to)) in MODULES.iter().enumerate() {
        for target in *to {
            let below = MODULES.iter().position(|(m, _)| m == target);
            assert!(below.is_some_and(|b| b > at), "{module} → {target}");
        }
    }
}

#[test]
fn a_new_edge_is_found_however_it_is_written() {
    for source in [
        "use crate::io::Port;",
        "use crate::{wire, io::Port};",
        "use crate::{wire::{self, tcp}, time, io};",
        "fn f() { crate::io::open(); }",
        "fn f(_: &dyn crate :: io :: Port) {}",
        "use super::super::io;",
        "use super::super::{time, io};",
        "pub(in crate::io) fn f() {}",
        "macro_rules! m { () => { $crate::io::open() } }",
        "#[cfg(test)] mod tests { use crate::io; }",
        "mod tests { use super::super::super::io; }",
        "use tidegate::io::Port;",
        "const S: &str = \"\\\"\"; use crate::io; // \"",
    ] {
        breaks("src/engine/fast.rs", source, 1, "engine may not name io");
    }
    breaks("src/wire/mod.rs", "//! Bytes.\n\nuse crate::\n    buf;", 3, "wire may not name buf");
    breaks("src/wire/mod.rs", "use super::buf;", 1, "wire may not name buf");
    breaks("src/event.rs", "use crate::wire;", 1, "event may not name wire");
    breaks("src/main.rs", "fn main() { tidegate::engine::run() }", 1, "main may not name engine");
    breaks("src/engine/fast.rs", "use crate::*;", 1, "names the whole crate");
    breaks("src/engine/fast.rs", "use crate as all;", 1, "names the whole crate");
    breaks("src/engine/fast.rs", "use crate::{self as all};", 1, "names the whole crate");
}

#[test]
fn edges_of_the_law_are_kept() {
    keeps("src/engine/fast.rs", "use crate::{flow::Table, wire, time::Instant}; use super::super::event;");
    keeps("src/engine/fast.rs", "use crate::engine::slow; pub(crate) fn f() {} pub(super) fn g() {}");
    keeps("src/engine/fast.rs", "mod tests { use super::super::slow; }");
    keeps("src/wire/tcp/tests.rs", "use super::super::checksum;");
    keeps("src/main.rs", "fn main() { tidegate::cli::main() }");
    keeps(
        "src/engine/fast.rs",
        "// crate::io\n/* crate::io /* smoltcp */ unsafe */ const S: &str = \"crate::io\";",
    );
    keeps(
        "src/engine/fast.rs",
        "const S: &str = r#\"crate::io \" unsafe\"#; const C: char = '\"'; fn f<'a>() {}",
    );
    keeps("src/bin/wccp-router/main.rs", "use tidegate::time::Instant; use crate::arp; mod wccp;");
}

/// The lab's router is what the appliance is tried against: it must not share its reading of the protocol.
#[test]
fn the_lab_router_stands_alone() {
    let path = "src/bin/wccp-router/wccp/codec.rs";
    breaks(path, "use tidegate::wccp::Message;", 1, "wccp-router may not name tidegate::wccp");
    breaks(path, "use tidegate::{rng, wire};", 1, "wccp-router may not name tidegate::wire");
    keeps(path, "#[cfg(test)]\nmod joint { use tidegate::wccp::Client; }");
    let files = [
        ("src/bin/wccp-router/wccp/mod.rs", "#[cfg(test)]\nmod joint;"),
        ("src/bin/wccp-router/wccp/joint.rs", "use tidegate::wccp::Client;"),
    ];
    assert_eq!(check(&files), Vec::<String>::new());
}

#[test]
fn modules_that_nobody_listed_are_found() {
    breaks("src/cache/mod.rs", "", 1, "cache is not in the list of modules");
    breaks("src/cache.rs", "", 1, "cache is not in the list of modules");
    breaks("src/engine/mod.rs", "use crate::cache;", 1, "engine may not name cache");
    breaks("src/bin/probe.rs", "", 1, "bin/probe is not in the list of programs");
    keeps("src/rng.rs", "");
}

#[test]
fn the_stack_stays_behind_its_fence() {
    breaks("src/session/mod.rs", "use smoltcp::socket::tcp;", 1, "smoltcp");
    breaks("src/session/mod.rs", "#[cfg(test)] mod tests { use smoltcp::wire; }", 1, "smoltcp");
    keeps("src/tcp/stack.rs", "use smoltcp::socket::tcp;");
}

#[test]
fn the_host_is_touched_in_the_shell_only() {
    for name in ["libc", "nix", "rustix"] {
        let source = format!("use {name}::thing;");
        breaks("src/worker/mod.rs", &source, 1, name);
        breaks("src/tcp/stack.rs", &source, 1, name);
        keeps("src/io/link.rs", &source);
        keeps("src/runtime/os.rs", &source);
        keeps("src/bin/wccp-router/leg.rs", &source);
    }
    for source in ["use pnet::datalink;", "use ::aya::Ebpf;"] {
        breaks("src/runtime/os.rs", source, 1, "only in io");
        keeps("src/io/pnet.rs", source);
    }
    keeps("src/runtime/launch.rs", "use crate::io::{self, pnet}; fn f() { pnet::open() }");
    keeps("src/runtime/launch.rs", "fn f() { crate::io::pnet::open() }");
    for source in ["use std::net::{IpAddr, UdpSocket};", "use std::net::TcpStream;"] {
        breaks("src/engine/mod.rs", source, 1, "a socket");
        keeps("src/runtime/os.rs", source);
    }
}

#[test]
fn the_clock_is_read_at_the_top_only() {
    let clocks = ["fn f() { std::time::Instant::now(); }", "use std::time::{Duration, SystemTime};"];
    for source in clocks {
        breaks("src/engine/mod.rs", source, 1, "the clock");
        breaks("src/io/pcap/writer.rs", source, 1, "the clock");
        for path in
            ["src/worker/mod.rs", "src/runtime/os.rs", "src/cli/run.rs", "src/bin/wccp-router/main.rs"]
        {
            keeps(path, source);
        }
    }
    // What a test of real sockets waits for is real time; tests of the core have no such excuse.
    keeps("src/io/wait.rs", "#[cfg(test)]\nmod tests { fn f() { Instant::now(); } }");
    breaks("src/flow/wheel.rs", "#[cfg(test)]\nmod tests { fn f() { Instant::now(); } }", 2, "the clock");
    keeps("src/engine/mod.rs", "use crate::time::Instant; fn f(now: Instant) { now.later(); }");
}

#[test]
fn threads_and_chance_come_from_above() {
    for source in ["std::thread::spawn(f)", "use std::{fmt, thread}; thread::sleep(d)", "use std::thread;"] {
        let found = check(&[("src/engine/mod.rs", source)]);
        assert!(!found.is_empty() && found.iter().all(|f| f.contains("a thread")), "{source}: {found:?}");
        keeps("src/worker/mod.rs", source);
        keeps("src/runtime/events.rs", source);
    }
    // Threads are how a test of lock-free code looks for races.
    keeps("src/flow/slots.rs", "#[cfg(test)]\nmod tests { fn f() { std::thread::yield_now(); } }");
    keeps("src/engine/mod.rs", "/// Names a thread.\nfn f(thread: u8) -> u8 { thread }");
    breaks("src/session/mod.rs", "use std::hash::RandomState;", 1, "chance");
    breaks("src/wccp/mod.rs", "fn f() { getrandom::fill(b); }", 1, "chance");
    keeps("src/runtime/os.rs", "fn f() { getrandom::fill(b); }");
}

#[test]
fn unsafe_code_stays_in_its_rooms() {
    let deny = "#![deny(unsafe_code)]";
    for path in ["src/engine/mod.rs", "src/flow/table.rs", "src/io/pnet.rs", "src/bin/wccp-router/leg.rs"] {
        breaks(path, "fn f() { unsafe { g() } }", 1, "unsafe");
        breaks(path, "#![allow(unsafe_code)]", 1, "unsafe");
        breaks(path, "#![expect(dead_code, unsafe_code)]", 1, "unsafe");
        keeps(path, deny);
    }
    for path in ["src/io/afxdp/ring.rs", "src/flow/prefetch.rs", "src/runtime/os.rs"] {
        keeps(path, "#![allow(unsafe_code)]\n// SAFETY: it is sound.\nfn f() { unsafe { g() } }");
    }
    breaks("src/io/afxdp/ring.rs", "fn f() {\n    unsafe { g() }\n}", 2, "SAFETY");
    keeps("src/io/afxdp/ring.rs", "// SAFETY: of both\n// lines.\n#[inline]\nunsafe impl Send for A {}");
    keeps("src/io/afxdp/ring.rs", "/// # Safety\n/// `p` is valid.\npub(super) unsafe fn f(p: *const u8) {}");
}

#[test]
fn long_files_are_found() {
    let long = "\n".repeat(MAX_LINES + 1);
    for path in ["src/engine/mod.rs", "src/engine/tests.rs", "tests/replay.rs", "benches/parse.rs"] {
        breaks(path, &long, MAX_LINES + 1, "lines");
        keeps(path, &long[1..]);
    }
}
