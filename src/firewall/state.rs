//! The firewall.

use super::ftp::Sessions;
use super::packet::{Emit, Fate, Side};
use super::settings::Settings;
use crate::buf::Frame;
use crate::event::Event;
use crate::flow::FlowTable;
use crate::rng::Keyed;
use crate::time::Instant;
use crate::wire::IpPacket;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A firewall. `W` is how a packet came, as far as packets of ours have to leave likewise.
#[derive(Debug)]
pub struct Firewall<W> {
    sessions: Sessions<W>,
    settings: Settings,
    flows: Arc<FlowTable>,
}

#[allow(unused_variables, clippy::todo, reason = "the frame of what is being built")]
impl<W: Copy + Eq + std::fmt::Debug> Firewall<W> {
    /// A firewall whose TCP connections are in `flows`.
    pub fn new(settings: Settings, flows: Arc<FlowTable>, keyed: Keyed) -> Self {
        Self { sessions: Sessions::new(&settings, keyed), settings, flows }
    }

    /// Takes an IP packet from one side that is for the other; the frame begins with it and ends where it ends. It may be a
    /// fragment. What is to be sent besides, or instead, is added to `out`.
    pub fn packet(
        &mut self,
        now: Instant,
        from: Side,
        way: W,
        frame: &mut Frame,
        ip: &IpPacket,
        out: &mut Vec<Emit<W>>,
    ) -> Fate {
        todo!()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Emit<W>>) {
        todo!()
    }

    /// When something is due, and what.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        todo!()
    }

    /// Begins no inspected session any more.
    pub fn drain(&mut self) {
        todo!()
    }

    /// Events since the last call, in order.
    pub fn take_events(&mut self, to: &mut Vec<Event>) {
        todo!()
    }

    /// Whether an outside address is one that we translate to: the engine answers ARP for it.
    pub fn translates_to(&self, outside: Ipv4Addr) -> bool {
        todo!()
    }

    /// Counts by name, in a fixed order.
    pub fn counters(&self) -> Vec<(String, u64)> {
        todo!()
    }

    /// What is in use of everything that has a limit.
    pub fn occupied(&self) -> Vec<(&'static str, usize)> {
        todo!()
    }

    /// Inspected sessions that live.
    pub fn sessions(&self) -> usize {
        todo!()
    }

    /// Sessions and their data connections that live.
    pub fn busy(&self) -> usize {
        todo!()
    }
}
