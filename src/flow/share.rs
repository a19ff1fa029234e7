//! How much each client holds of what all share.

use super::key::Salted;
use crate::wire::Network;
use hashbrown::HashMap;
use std::net::IpAddr;

/// What each client holds of something; a client that holds nothing is not remembered.
#[derive(Debug)]
pub struct Shares {
    held: HashMap<Network, u32, Salted>,
    total: usize,
}

impl Shares {
    /// Nobody holds anything.
    pub fn new(salt: u64) -> Self {
        Self { held: HashMap::with_hasher(Salted::new(salt)), total: 0 }
    }

    /// How many this client holds.
    pub fn of(&self, client: IpAddr) -> usize {
        self.held.get(&Network::of_client(client)).map_or(0, |n| *n as usize)
    }

    /// How many all of them hold.
    pub const fn total(&self) -> usize {
        self.total
    }

    /// How many clients hold any.
    pub fn clients(&self) -> usize {
        self.held.len()
    }

    /// One more for this client.
    pub fn take(&mut self, client: IpAddr) {
        *self.held.entry(Network::of_client(client)).or_insert(0) += 1;
        self.total += 1;
    }

    /// One less.
    pub fn give(&mut self, client: IpAddr) {
        let of = Network::of_client(client);
        let Some(n) = self.held.get_mut(&of) else { return };
        *n -= 1;
        self.total -= 1;
        if *n == 0 {
            self.held.remove(&of);
        }
    }

    /// Gives memory back while nobody holds anything.
    pub fn shrink(&mut self) {
        if self.total == 0 {
            self.held.shrink_to_fit();
        }
    }
}
