//! What a port loses before the engine sees it, or behind it, is told while the gateway runs.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that cannot go on has failed")]

mod worker_port;

use std::sync::{Arc, Mutex};
use tidegate::event::What;
use tidegate::io::PortStats;
use tidegate::time::Instant;

#[test]
fn lost_frames_are_told_once_a_minute_each_kind_for_itself() {
    let stats = Arc::new(Mutex::new(PortStats::default()));
    let mut worker = worker_port::worker(Arc::clone(&stats), false);
    let mut at = |second: u64, change: &dyn Fn(&mut PortStats)| {
        change(&mut stats.lock().unwrap());
        let mut told = Vec::new();
        let now = Instant::from_millis(second * 1_000);
        worker
            .step(now, &[], &mut |event| {
                if let What::Warning { kind, subject, text } = event.what {
                    assert_eq!(subject, worker_port::NAME);
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
