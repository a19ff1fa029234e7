//! A worker that panics ends the process: nothing may catch it and go on half dead, for the router, or the
//! kernel, takes over only when the process is gone.
//!
//! A program of its own, without the test harness, which would catch the panic: it starts itself once more, and that
//! process runs a worker on its main thread as `tidegate run` does, on a port that breaks.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::{Command, ExitCode};
use std::{env, fs};
use tidegate::buf::{Burst, Frame};
use tidegate::config;
use tidegate::io::{Port, PortError, PortInfo, PortStats};
use tidegate::runtime::settings;
use tidegate::time::{Duration, Instant};
use tidegate::worker::{Idle, Wish, Worker};

/// Tells the second process what it is.
const CHILD: &str = "TIDEGATE_TEST_WORKER_PANICS";

const CONFIG: &str = r#"version = 1
[deployment]
kind = "static"
[[interface]]
name = "bad0"
address = ["10.9.0.2/24"]
next_hop = "10.9.0.1"
[[service]]
name = "ftp"
ports = [21]
data_ports = [2020]
"#;

/// A port that breaks at the third look, if it is to break.
struct Bad {
    info: PortInfo,
    looks: u32,
    breaks: bool,
}

impl Port for Bad {
    fn info(&self) -> &PortInfo {
        &self.info
    }
    fn stats(&mut self) -> PortStats {
        PortStats::default()
    }
    fn rx(&mut self, _: &mut Burst) -> Result<(), PortError> {
        self.looks += 1;
        assert!(!self.breaks || self.looks < 3, "a broken port");
        Ok(())
    }
    fn tx_slots(&mut self) -> usize {
        8
    }
    fn alloc(&mut self) -> Option<Frame> {
        Some(Frame::heap())
    }
    fn tx(&mut self, _: Frame) {}
    fn recycle(&mut self, _: Frame) {}
    fn flush(&mut self) -> Result<(), PortError> {
        Ok(())
    }
    fn poll_fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        None
    }
}

fn main() -> ExitCode {
    if let Some(mode) = env::var_os(CHILD) {
        work(mode == "breaks");
        return ExitCode::SUCCESS;
    }
    let run = |mode: &str| Command::new(env::current_exe().unwrap()).env(CHILD, mode).output().unwrap();
    let sound = run("sound");
    assert!(sound.status.success(), "a worker whose port is sound ends in order: {sound:?}");
    let broken = run("breaks");
    assert!(!broken.status.success(), "the process went on: {broken:?}");
    assert!(String::from_utf8_lossy(&broken.stderr).contains("a broken port"), "{broken:?}");

    // What is shipped does not even unwind, whichever thread it is.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    assert_eq!(manifest["profile"]["release"]["panic"].as_str(), Some("abort"));
    ExitCode::SUCCESS
}

/// Runs a worker until it is told to stop, after a while.
fn work(breaks: bool) {
    let config = config::parse(CONFIG, Path::new("t.toml")).unwrap();
    let info = PortInfo {
        name: "bad0".into(),
        driver: "test",
        mac: [2, 0, 0, 0, 0, 1],
        mtu: 1500,
        attach: None,
        zero_copy: false,
    };
    let engine = settings::build(&config, &info, [1; 16]).unwrap();
    let mut worker = Worker::new(engine, vec![Box::new(Bad { info, looks: 0, breaks })], Idle::Spin);
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
