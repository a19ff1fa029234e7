//! What a port loses before the engine sees it, or behind it, is told while the gateway runs.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use tidegate::buf::{Burst, Frame};
use tidegate::config;
use tidegate::event::What;
use tidegate::io::{Port, PortError, PortInfo, PortStats};
use tidegate::runtime::settings;
use tidegate::time::Instant;
use tidegate::worker::{Idle, Worker};

const CONFIG: &str = r#"version = 1
[deployment]
kind = "static"
[[interface]]
name = "lossy0"
address = ["10.9.0.2/24"]
next_hop = "10.9.0.1"
[[service]]
name = "ftp"
ports = [21]
data_ports = [2020]
"#;

/// A port with nothing but counters.
struct Lossy(PortInfo, Arc<Mutex<PortStats>>);

impl Port for Lossy {
    fn info(&self) -> &PortInfo {
        &self.0
    }
    fn stats(&mut self) -> PortStats {
        *self.1.lock().unwrap()
    }
    fn rx(&mut self, _: &mut Burst) -> Result<(), PortError> {
        Ok(())
    }
    fn tx_slots(&mut self) -> usize {
        0
    }
    fn alloc(&mut self) -> Option<Frame> {
        None
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

#[test]
fn lost_frames_are_told_once_a_minute_each_kind_for_itself() {
    let config = config::parse(CONFIG, Path::new("t.toml")).unwrap();
    let (name, mac) = ("lossy0".to_owned(), [2, 0, 0, 0, 0, 1]);
    let info = PortInfo { name, driver: "test", mac, mtu: 1500, attach: None, zero_copy: false };
    let engine = settings::build(&config, &info, [1; 16]).unwrap();
    let stats = Arc::new(Mutex::new(PortStats::default()));
    let mut worker = Worker::new(engine, vec![Box::new(Lossy(info, Arc::clone(&stats)))], Idle::Spin);
    let mut at = |second: u64, change: &dyn Fn(&mut PortStats)| {
        change(&mut stats.lock().unwrap());
        let mut told = Vec::new();
        let now = Instant::from_millis(second * 1_000);
        worker
            .step(now, &[], &mut |event| {
                if let What::Warning { kind, subject, text } = event.what {
                    assert_eq!(subject, "lossy0");
                    told.push(format!("{kind} {}", text.split(' ').next().unwrap()));
                }
            })
            .unwrap();
        told
    };
    assert_eq!(at(10, &|_| {}), [""; 0]);
    assert_eq!(at(12, &|s| s.rx_lost = 5), ["rx_lost 5"]);
    assert_eq!(
        at(14, &|s| (s.rx_lost, s.tx_lost) = (7, 1)),
        ["tx_lost 1"],
        "the first is told a minute later"
    );
    assert_eq!(at(16, &|s| s.rx_oversize = 3), ["offload_on 3"]);
    assert_eq!(at(71, &|s| s.rx_lost = 9), [""; 0]);
    assert_eq!(at(73, &|_| {}), ["rx_lost 4"]);
    assert_eq!(at(200, &|_| {}), [""; 0], "what has been told is not told again");
}
