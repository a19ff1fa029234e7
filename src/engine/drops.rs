//! Why frames are dropped: one table, which makes the enum, the counters and the texts.

use crate::event::{Event, What};
use crate::firewall::Refused;
use crate::time::{Duration, Instant};

macro_rules! reasons {
    ($($name:ident = $id:literal, $text:literal;)*) => {
        /// Why a frame was dropped.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(usize)]
        pub enum DropReason {
            $(#[doc = $text] $name,)*
        }

        const TABLE: &[(&str, &str)] = &[$(($id, $text),)*];

        impl DropReason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

reasons! {
    Ethernet = "ethernet", "the frame is no Ethernet frame that we can read";
    NotForUs = "not_for_us", "the frame is for another station or protocol";
    BadIp = "bad_ip", "the IP header is malformed or its checksum is wrong";
    BadSource = "bad_source", "a packet to us that says that it comes from us, or from an address that no single host has";
    BadTransport = "bad_transport", "the TCP, UDP or ICMP header is malformed or its checksum is wrong (an offload at the sender may be on)";
    OuterFragment = "outer_fragment", "a packet to us in fragments that overlap, are too long or never came all";
    BadGre = "bad_gre", "a GRE packet that is not WCCP's, or is malformed";
    StrangeRouter = "strange_router", "a redirected packet from an address that is no configured router";
    StrangeError = "strange_error", "an ICMP error about a packet that we cannot have sent: it is not believed";
    Loop = "loop", "a packet of ours came back redirected; exclude what comes from the gateway: `ip wccp redirect exclude in`, or no policy, on the router's interface towards it";
    TtlExceeded = "ttl_exceeded", "the packet's time to live is used up";
    TxFull = "tx_full", "the transmit ring was full";
    NoNeighbour = "no_neighbour", "the next hop does not answer ARP";
    NoFamily = "no_family", "a packet of IPv6 (or IPv4) for which we have no address to send from; give the interface an address and a next_hop of each family that clients use";
    NeighbourQueue = "neighbour_queue", "too many packets wait for the next hop's ARP answer";
    TooBig = "too_big", "the packet does not fit into a frame with what has to be put around it";
    Unhandled = "unhandled", "a packet to our own address that nothing answers";
    Handoff = "handoff", "a packet that another worker has to take could not be given to it";
    UnknownFlow = "unknown_flow", "a segment to a port of ours that has no connection; answered with a reset";
    Policy = "policy", "no rule of the filter, and no announced data connection, lets the packet pass";
    NoConnection = "no_connection", "a packet of no connection that is known, and that can begin none";
    Checksum = "checksum", "a checksum is wrong in a control connection that is read (an offload at the sender may be on)";
    Malformed = "malformed", "a packet whose headers make no sense, or fragments that overlap";
    TableFull = "table_full", "there is no room for another connection; raise limits.flows or limits.connections";
    SourceShare = "source_share", "the source has so many connections that the rest of the table is kept for others; raise limits.flows or limits.connections if it is to have more";
    NoPort = "no_port", "no port is left to translate the connection to";
    FtpRule = "ftp_rule", "a rule about FTP forbids it";
    HiddenTags = "hidden_tags", "a frame with more than two VLAN tags, behind which nothing is looked at";
    NoWay = "no_way", "a packet of ours to an end of whom no frame has shown the way";
    NoRoute = "no_route", "no network behind the interface on the other side has the destination; see address, next_hop and the route sections";
    Spoofed = "spoofed", "a source address that belongs to the other side";
}

impl From<Refused> for DropReason {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Policy => Self::Policy,
            Refused::NoConnection => Self::NoConnection,
            Refused::Checksum => Self::Checksum,
            Refused::Malformed => Self::Malformed,
            Refused::Full => Self::TableFull,
            Refused::Share => Self::SourceShare,
            Refused::NoPort => Self::NoPort,
            Refused::Ftp => Self::FtpRule,
        }
    }
}

impl DropReason {
    /// Its stable name.
    pub fn name(self) -> &'static str {
        TABLE[self as usize].0
    }

    /// What it means, for people.
    pub fn text(self) -> &'static str {
        TABLE[self as usize].1
    }
}

/// Counts of drops; each reason tells at most one event a second.
#[derive(Debug)]
pub struct Drops {
    counts: [u64; TABLE.len()],
    told: [u64; TABLE.len()],
    last: [Option<Instant>; TABLE.len()],
    open: bool,
}

impl Default for Drops {
    fn default() -> Self {
        Self { counts: [0; TABLE.len()], told: [0; TABLE.len()], last: [None; TABLE.len()], open: false }
    }
}

impl Drops {
    /// Counts one.
    pub fn count(&mut self, reason: DropReason) {
        self.counts[reason as usize] += 1;
        // Other stations' frames are everyday life on a shared segment: counted, not told.
        self.open |= reason != DropReason::NotForUs;
    }

    /// How many of this reason.
    pub fn of(&self, reason: DropReason) -> u64 {
        self.counts[reason as usize]
    }

    /// Tells what has not been told, where its time has come.
    pub fn tell(&mut self, now: Instant, events: &mut Vec<Event>) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        for &reason in DropReason::ALL {
            let i = reason as usize;
            let new = self.counts[i] - self.told[i];
            if new == 0 || reason == DropReason::NotForUs {
                continue;
            }
            if self.last[i].is_some_and(|at| now.since(at) < Duration::from_secs(1)) {
                self.open = true;
                continue;
            }
            self.last[i] = Some(now);
            self.told[i] = self.counts[i];
            let what = What::Drop { reason: reason.name(), count: new, text: reason.text() };
            events.push(Event { at: now, what });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_once_a_second_with_all_that_came_between() {
        let (mut d, mut events) = (Drops::default(), Vec::new());
        for i in 0..10u64 {
            d.count(DropReason::BadGre);
            d.tell(Instant::from_millis(i * 300), &mut events);
        }
        let counts: Vec<u64> = events
            .iter()
            .map(|e| match e.what {
                What::Drop { reason: "bad_gre", count, .. } => count,
                _ => panic!(),
            })
            .collect();
        assert_eq!(counts, [1, 4, 4]);
        assert_eq!(d.of(DropReason::BadGre), 10);
    }
}
