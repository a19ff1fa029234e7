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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        assert_eq!(Instant::FAR_FUTURE + Duration::from_secs(1), Instant::FAR_FUTURE);
        assert_eq!(Instant::ZERO.since(Instant::from_millis(5)), Duration::ZERO);
        assert_eq!((Instant::from_millis(7) - Instant::from_millis(5)).as_millis(), 2);
    }
}
