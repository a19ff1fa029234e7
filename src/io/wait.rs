//! Waiting for frames.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;
use std::time::Duration;

/// Sleeps until one of `fds` (see [`Port::poll_fd`](super::Port::poll_fd)) has something to read or an
/// error to tell, or until `timeout` has passed; true in the first case. A signal may end it early.
/// Without any `fds` it sleeps for the whole timeout.
pub fn wait<'a>(fds: impl IntoIterator<Item = BorrowedFd<'a>>, timeout: Duration) -> bool {
    let mut set: Vec<_> = fds.into_iter().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    let limit = Timespec::try_from(timeout).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
    poll(&mut set, Some(&limit)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "it is real time that is waited for")]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::time::Instant;

    #[test]
    fn waits_for_the_timeout_or_the_first_byte() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let begin = Instant::now();
        assert!(!wait([reader.as_fd()], Duration::from_millis(30)));
        assert!(!wait([], Duration::from_millis(30)));
        assert!(begin.elapsed() >= Duration::from_millis(60));
        writer.write_all(b"x").unwrap();
        let begin = Instant::now();
        assert!(wait([reader.as_fd()], Duration::from_secs(20)));
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}
