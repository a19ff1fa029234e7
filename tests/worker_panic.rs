//! A worker that panics ends the process: nothing may catch it and go on half dead, for the router, or the
//! kernel, takes over only when the process is gone.
//!
//! A program of its own, without the test harness, which would catch the panic: it starts itself once more, and that
//! process runs a worker on its main thread as `tidegate run` does, on a port that breaks. It speaks as much of the
//! harness's language as `cargo test` and nextest need to list, choose and count its tests.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "that is how a test tells that it passed")]

mod worker_port;

use std::path::Path;
use std::process::{Command, ExitCode, Output};
use std::{env, fs};
use tidegate::time::{Duration, Instant};
use tidegate::worker::Wish;

/// Tells the second process what it is.
const CHILD: &str = "TIDEGATE_TEST_WORKER_PANICS";

const TESTS: [(&str, fn()); 3] = [
    ("a_worker_whose_port_is_sound_ends_in_order", sound),
    ("a_worker_that_panics_ends_the_process", broken),
    ("what_is_shipped_does_not_unwind", shipped),
];

fn main() -> ExitCode {
    if let Some(mode) = env::var_os(CHILD) {
        work(mode == "breaks");
        return ExitCode::SUCCESS;
    }
    let (mut flags, mut names) = (Vec::new(), Vec::new());
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--format" | "--color" | "--skip" | "--test-threads" => drop(args.next()),
            a if a.starts_with('-') => flags.push(arg),
            _ => names.push(arg),
        }
    }
    let has = |flag: &str| flags.iter().any(|f| f == flag);
    let named = |test: &str| {
        names.is_empty() || names.iter().any(|n| if has("--exact") { test == n } else { test.contains(n) })
    };
    // None is ignored.
    let wanted = TESTS.iter().filter(|t| named(t.0) && !has("--ignored"));
    if has("--list") {
        wanted.for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let mut passed = 0;
    for (name, test) in wanted {
        // One that fails ends this process as well.
        test();
        println!("test {name} ... ok");
        passed += 1;
    }
    let left = TESTS.len() - passed;
    println!("\ntest result: ok. {passed} passed; 0 failed; 0 ignored; 0 measured; {left} filtered out");
    ExitCode::SUCCESS
}

fn run(mode: &str) -> Output {
    Command::new(env::current_exe().unwrap()).env(CHILD, mode).output().unwrap()
}

fn sound() {
    let ended = run("sound");
    assert!(ended.status.success(), "{ended:?}");
}

fn broken() {
    let ended = run("breaks");
    assert!(!ended.status.success(), "the process went on: {ended:?}");
    assert!(String::from_utf8_lossy(&ended.stderr).contains("a broken port"), "{ended:?}");
}

/// What is shipped does not even unwind, whichever thread it is.
fn shipped() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    assert_eq!(manifest["profile"]["release"]["panic"].as_str(), Some("abort"));
}

/// Runs a worker until it is told to stop, after a while.
fn work(breaks: bool) {
    let mut worker = worker_port::worker(std::sync::Arc::default(), breaks);
    let mut turns = 0;
    worker
        .run(
            || Instant::from_millis(1000),
            || {
                turns += 1;
                Wish { drain: false, stop: turns > 100 }
            },
            |_| {},
            Duration::from_secs(1),
        )
        .unwrap();
}
