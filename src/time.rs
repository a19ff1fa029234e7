//! Time as a value: nanoseconds since an origin that the caller chose.
//!
//! Nothing in this module reads a clock; the worker's loop does, once a turn, and passes the value down.

use core::ops::{Add, AddAssign, Sub};
pub use core::time::Duration;
use serde::{Deserialize, Serialize};

/// A point in time, in nanoseconds since an arbitrary origin (the worker's start, or a recording's).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Instant(u64);

/// Length of one coarse tick in nanoseconds: flow slots store times as a number of these.
pub const TICK_NANOS: u64 = 100_000_000;

impl Instant {
    /// The origin.
    pub const ZERO: Self = Self(0);
    /// Later than any time that will be reached.
    pub const FAR_FUTURE: Self = Self(u64::MAX);

    /// From nanoseconds since the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// From milliseconds since the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Microseconds since the origin, rounded down.
    pub const fn as_micros(self) -> u64 {
        self.0 / 1000
    }

    /// Milliseconds since the origin, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Coarse ticks (100 ms) since the origin; wraps after 13 years.
    pub const fn tick(self) -> u32 {
        (self.0 / TICK_NANOS) as u32
    }

    /// Time passed since `earlier`; zero if `earlier` is later than `self`.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        let nanos = u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub for Instant {
    type Output = Duration;
    fn sub(self, rhs: Self) -> Duration {
        self.since(rhs)
    }
}

/// RFC 3339 with nanoseconds, in UTC, of nanoseconds since 1970.
#[must_use]
pub fn rfc3339(nanos: u64) -> String {
    let (seconds, fraction) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // The civil calendar counted from 1 March of year 0, so that leap days come last in a year.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:09}Z")
}

/// Events of a [`Pace`] that may come at once.
const BURST: u32 = 50;
/// Time that earns another one.
const EVERY: Duration = Duration::from_millis(10);

/// A bound on how often something is done (as RFC 1812 4.3.2.8 asks of errors): 50 times at once, 100 times a second.
#[derive(Debug, Default)]
pub struct Pace {
    /// What was done counts up to here in time; how far that is ahead of now is the burst that is used up.
    until: Instant,
}

impl Pace {
    /// Whether it may be done now; it is counted then.
    pub fn may(&mut self, now: Instant) -> bool {
        let from = self.until.max(now);
        if from.since(now) >= EVERY * BURST {
            return false;
        }
        self.until = from + EVERY;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        assert_eq!(Instant::FAR_FUTURE + Duration::from_secs(1), Instant::FAR_FUTURE);
        assert_eq!(Instant::ZERO.since(Instant::from_millis(5)), Duration::ZERO);
        assert_eq!((Instant::from_millis(7) - Instant::from_millis(5)).as_millis(), 2);
    }

    #[test]
    fn times_follow_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (68_169_599, "1972-02-28T23:59:59"),
            (68_169_600, "1972-02-29T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_800, "2000-03-01T00:00:00"),
            (4_107_542_400, "2100-03-01T00:00:00"),
            (4_107_542_399, "2100-02-28T23:59:59"),
            (1_735_689_599, "2024-12-31T23:59:59"),
        ] {
            assert_eq!(rfc3339(seconds * 1_000_000_000), format!("{text}.000000000Z"));
        }
    }

    #[test]
    fn a_burst_passes_and_then_as_many_as_time_earns() {
        let mut p = Pace::default();
        let at = Instant::from_millis(1000);
        assert_eq!((0..1000).filter(|_| p.may(at)).count(), 50);
        assert_eq!((0..1000).filter(|i| p.may(at + Duration::from_millis(*i))).count(), 100);
        assert_eq!((0..1000).filter(|_| p.may(at + Duration::from_secs(60))).count(), 50);
    }
}
