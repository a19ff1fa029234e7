//! What the fuzz targets do, over the small inputs that are kept under `fuzz/corpus`: those that reach far, and what was
//! found.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::path::Path;

/// Runs a target over its corpus.
fn run(target: &str, body: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 3, "{target} has {} inputs", files.len());
    for file in files {
        let data = std::fs::read(&file).unwrap();
        if let Err(why) = std::panic::catch_unwind(|| body(&data)) {
            eprintln!("{}", file.display());
            std::panic::resume_unwind(why);
        }
    }
    body(b"");
}

#[test]
fn frames() {
    run("frame", fuzz::frame::body);
}

#[test]
fn control_connections() {
    run("control", fuzz::control::body);
}

#[test]
fn edits() {
    run("edits", fuzz::edits::body);
}

#[test]
fn wccp_messages() {
    run("wccp", fuzz::wccp::body);
}

#[test]
fn configurations() {
    run("config", fuzz::config::body);
}

#[test]
fn captures() {
    run("capture", fuzz::capture::body);
}
