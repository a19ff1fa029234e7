//! When to send again what we answer for (RFC 6298).

use crate::time::{Duration, Instant};

const FIRST: Duration = Duration::from_secs(1);
const LEAST: Duration = Duration::from_millis(200);
const MOST: Duration = Duration::from_secs(60);
/// So often it is sent again before both ends are told that the connection is dead.
const TRIES: u8 = 8;

/// One direction's retransmission timer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rto {
    deadline: Option<Instant>,
    tries: u8,
    /// Smoothed round trip and its variation; none measured yet.
    measured: Option<(Duration, Duration)>,
    /// What was sent for the first time and not again, up to where, and when.
    sample: Option<(u64, Instant)>,
}

impl Rto {
    /// When it fires.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Notes that bytes up to `end` left for the first time.
    pub(super) fn sent(&mut self, now: Instant, end: u64) {
        if self.sample.is_none() {
            self.sample = Some((end, now));
        }
    }

    /// Notes that something left again: what comes back tells no round trip (Karn's rule).
    pub(super) fn again(&mut self) {
        self.sample = None;
    }

    /// Notes that bytes up to `una` arrived.
    pub(super) fn arrived(&mut self, now: Instant, una: u64) {
        self.tries = 0;
        self.deadline = None;
        if let Some((end, at)) = self.sample
            && end <= una
        {
            self.sample = None;
            let trip = now.since(at);
            self.measured = Some(match self.measured {
                None => (trip, trip / 2),
                Some((mean, var)) => {
                    let off = mean.abs_diff(trip);
                    ((mean * 7 + trip) / 8, (var * 3 + off) / 4)
                }
            });
        }
    }

    /// The receiver lives and has no room: waiting for it is no failure.
    pub(super) fn alive(&mut self) {
        self.tries = 0;
    }

    /// Runs while something is `outstanding`.
    pub(super) fn set(&mut self, now: Instant, outstanding: bool) {
        if !outstanding {
            self.deadline = None;
        } else if self.deadline.is_none() {
            self.deadline = Some(now + self.interval());
        }
    }

    /// Whether it is time; the next one comes later. An error when it was tried often enough.
    pub(super) fn due(&mut self, now: Instant) -> Result<bool, ()> {
        if self.deadline.is_none_or(|at| at > now) {
            return Ok(false);
        }
        if self.tries >= TRIES {
            return Err(());
        }
        self.tries += 1;
        self.deadline = Some(now + self.interval());
        Ok(true)
    }

    fn interval(&self) -> Duration {
        let base = self.measured.map_or(FIRST, |(mean, var)| mean + var * 4).clamp(LEAST, MOST);
        (base * (1 << self.tries.min(TRIES))).min(MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    #[test]
    fn a_measured_trip_shortens_the_wait_to_its_floor() {
        let mut rto = Rto::default();
        rto.sent(ms(0), 10);
        rto.set(ms(0), true);
        assert_eq!(rto.deadline(), Some(ms(1000)));
        rto.arrived(ms(20), 10);
        assert_eq!(rto.deadline(), None);
        rto.set(ms(20), true);
        assert_eq!(rto.deadline(), Some(ms(220)));
    }

    #[test]
    fn waits_double_and_end() {
        let mut rto = Rto::default();
        rto.set(ms(0), true);
        let mut waits = Vec::new();
        let mut now = ms(0);
        while let Some(at) = rto.deadline() {
            waits.push((at - now).as_millis());
            now = at;
            if rto.due(now).is_err() {
                break;
            }
        }
        assert_eq!(waits, [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000]);
    }

    #[test]
    fn what_was_sent_again_measures_nothing() {
        let mut rto = Rto::default();
        rto.sent(ms(0), 10);
        rto.again();
        rto.arrived(ms(5), 10);
        rto.set(ms(5), true);
        assert_eq!(rto.deadline(), Some(ms(1005)));
    }
}
