//! Data connections that a control connection announced and that have not been seen yet.
//!
//! Nothing but an expectation lets a data connection begin. Each is good for one SYN, until its deadline.

use super::key::{Leg, Salted};
use crate::event::SessionId;
use crate::time::Instant;
use hashbrown::HashMap;
use std::net::IpAddr;

/// The connection that is expected, without the port that its opener will choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExpectKey {
    /// The end that opens, as its SYN will show it.
    pub client: IpAddr,
    /// The end that is opened to, as the SYN will show it.
    pub server: IpAddr,
    /// The port that is opened to, as the SYN will show it.
    pub port: u16,
    /// How the SYN will reach us.
    pub leg: Leg,
}

/// An expectation: `T` is what the session needs to make the flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected<T> {
    /// Whose it is.
    pub session: SessionId,
    /// Until when a SYN is taken.
    pub deadline: Instant,
    /// What the session needs.
    pub detail: T,
}

/// Why an expectation was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExpectError {
    /// There are too many in all.
    #[error("too many expected data connections")]
    Full,
    /// The session has too many.
    #[error("the session expects too many data connections")]
    SessionFull,
    /// The same connection is expected already; one SYN could not tell them apart.
    #[error("the same data connection is expected already")]
    Exists,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExpectStats {
    /// Expectations made.
    pub opened: u64,
    /// Those that their SYN used.
    pub used: u64,
    /// Those whose SYN came after the deadline.
    pub late: u64,
    /// Those refused for a limit or a clash.
    pub refused: u64,
}

/// All expectations of a worker.
#[derive(Debug)]
pub struct Expectations<T> {
    expected: HashMap<ExpectKey, Expected<T>, Salted>,
    by_session: HashMap<SessionId, Vec<ExpectKey>, Salted>,
    limit: usize,
    per_session: usize,
    stats: ExpectStats,
}

impl<T: Copy> Expectations<T> {
    /// At most `limit` in all and `per_session` for each session.
    pub fn new(limit: usize, per_session: usize, salt: u64) -> Self {
        let hash = Salted::new(salt);
        Self {
            expected: HashMap::with_hasher(hash),
            by_session: HashMap::with_hasher(hash),
            limit,
            per_session,
            stats: ExpectStats::default(),
        }
    }

    /// Expects a connection.
    pub fn insert(&mut self, key: ExpectKey, expected: Expected<T>) -> Result<(), ExpectError> {
        let error = if self.expected.contains_key(&key) {
            Some(ExpectError::Exists)
        } else if self.count(expected.session) >= self.per_session {
            Some(ExpectError::SessionFull)
        } else if self.expected.len() >= self.limit {
            Some(ExpectError::Full)
        } else {
            None
        };
        if let Some(error) = error {
            self.stats.refused += 1;
            return Err(error);
        }
        self.by_session.entry(expected.session).or_default().push(key);
        self.expected.insert(key, expected);
        self.stats.opened += 1;
        Ok(())
    }

    /// What a SYN was expected for; it is expected no more. None after the deadline as well.
    pub fn take(&mut self, key: &ExpectKey, now: Instant) -> Option<Expected<T>> {
        let expected = self.remove(key)?;
        if now > expected.deadline {
            self.stats.late += 1;
            return None;
        }
        self.stats.used += 1;
        Some(expected)
    }

    /// What a SYN would be expected for; it still is.
    pub fn get(&self, key: &ExpectKey) -> Option<&Expected<T>> {
        self.expected.get(key)
    }

    /// Expects a connection no more.
    pub fn remove(&mut self, key: &ExpectKey) -> Option<Expected<T>> {
        let expected = self.expected.remove(key)?;
        if let Some(keys) = self.by_session.get_mut(&expected.session) {
            keys.retain(|k| k != key);
            if keys.is_empty() {
                self.by_session.remove(&expected.session);
            }
        }
        Some(expected)
    }

    /// Expects nothing more for a session; gives how many there were.
    pub fn remove_session(&mut self, session: SessionId) -> usize {
        let keys = self.by_session.remove(&session).unwrap_or_default();
        for key in &keys {
            self.expected.remove(key);
        }
        keys.len()
    }

    /// Takes a session's SYNs until another deadline.
    pub fn put_off(&mut self, session: SessionId, deadline: Instant) {
        for key in self.by_session.get(&session).into_iter().flatten() {
            if let Some(expected) = self.expected.get_mut(key) {
                expected.deadline = deadline;
            }
        }
    }

    /// How many a session has.
    pub fn count(&self, session: SessionId) -> usize {
        self.by_session.get(&session).map_or(0, Vec::len)
    }

    /// Gives memory back while there are none.
    pub fn shrink(&mut self) {
        self.expected.shrink_to_fit();
        self.by_session.shrink_to_fit();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.expected.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.expected.is_empty()
    }

    /// Counts since the start.
    pub const fn stats(&self) -> ExpectStats {
        self.stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16) -> ExpectKey {
        let (client, server) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([192, 0, 2, 1]));
        ExpectKey { client, server, port, leg: Leg::Redirected }
    }

    fn expected(session: u64, detail: u8) -> Expected<u8> {
        Expected { session: SessionId(session), deadline: Instant::from_millis(1000), detail }
    }

    #[test]
    fn one_syn_takes_one_expectation() {
        let mut all = Expectations::new(10, 10, 1);
        all.insert(key(2020), expected(1, 7)).expect("room");
        assert_eq!(all.insert(key(2020), expected(2, 8)), Err(ExpectError::Exists));
        let direct = ExpectKey { leg: Leg::Direct, ..key(2020) };
        assert_eq!(all.take(&direct, Instant::ZERO), None);
        assert_eq!(all.take(&key(2020), Instant::from_millis(1000)), Some(expected(1, 7)));
        assert_eq!(all.take(&key(2020), Instant::from_millis(1000)), None);
        assert_eq!(all.stats(), ExpectStats { opened: 1, used: 1, late: 0, refused: 1 });
        assert_eq!((all.len(), all.count(SessionId(1))), (0, 0));
    }

    #[test]
    fn a_late_syn_takes_nothing() {
        let mut all = Expectations::new(10, 10, 1);
        all.insert(key(2020), expected(1, 7)).expect("room");
        assert_eq!(all.take(&key(2020), Instant::from_millis(1001)), None);
        assert_eq!((all.len(), all.stats().late), (0, 1));
    }

    #[test]
    fn limits_hold_in_all_and_for_each_session_and_an_end_frees_them() {
        let mut all = Expectations::new(3, 2, 1);
        all.insert(key(1), expected(1, 0)).expect("room");
        all.insert(key(2), expected(1, 0)).expect("room");
        assert_eq!(all.insert(key(3), expected(1, 0)), Err(ExpectError::SessionFull));
        all.insert(key(3), expected(2, 0)).expect("room");
        assert_eq!(all.insert(key(4), expected(3, 0)), Err(ExpectError::Full));
        assert_eq!(all.stats().refused, 2);
        assert_eq!(all.remove_session(SessionId(1)), 2);
        assert_eq!(all.take(&key(1), Instant::ZERO), None);
        assert_eq!(all.remove(&key(3)), Some(expected(2, 0)));
        assert!(all.is_empty());
        all.insert(key(1), expected(3, 0)).expect("room");
    }
}
