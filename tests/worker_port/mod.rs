//! A worker on a port that has nothing, with counters that a test sets, and that breaks where it is to.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tidegate::buf::{Burst, Frame};
use tidegate::config;
use tidegate::io::{Port, PortError, PortInfo, PortStats};
use tidegate::runtime::settings;
use tidegate::worker::{Idle, Worker};

/// The port's name.
pub(crate) const NAME: &str = "test0";

const CONFIG: &str = r#"version = 1
[deployment]
kind = "static"
[[interface]]
name = "test0"
address = ["10.9.0.2/24"]
next_hop = "10.9.0.1"
[[service]]
name = "ftp"
ports = [21]
data_ports = [2020]
"#;

/// A worker on such a port; with `breaks`, it panics at the third look.
pub(crate) fn worker(stats: Arc<Mutex<PortStats>>, breaks: bool) -> Worker {
    let config = config::parse(CONFIG, Path::new("t.toml")).unwrap();
    let (name, mac) = (NAME.to_owned(), [2, 0, 0, 0, 0, 1]);
    let info = PortInfo { name, driver: "test", mac, mtu: 1500, attach: None, zero_copy: false };
    let engine = settings::build(&config, std::slice::from_ref(&info), [1; 16]).unwrap();
    Worker::new(engine, vec![Box::new(Empty { info, stats, looks: 0, breaks })], Idle::Spin)
}

struct Empty {
    info: PortInfo,
    stats: Arc<Mutex<PortStats>>,
    looks: u32,
    breaks: bool,
}

impl Port for Empty {
    fn info(&self) -> &PortInfo {
        &self.info
    }
    fn stats(&mut self) -> PortStats {
        *self.stats.lock().unwrap()
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
    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
