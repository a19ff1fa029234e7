//! ICMP and ICMPv6: pings, and errors about what we sent, in our own name or in others'.
//!
//! An error quotes the packet that could not pass. A session's own segment is the session's business. The
//! segment of a translated connection means nothing to who sent it, for it has other addresses by now: the
//! quoted headers are turned back and the error goes on to that end (RFC 5508 section 4.2).

use super::classify::Arrived;
use super::drops::DropReason;
use super::link::Out;
use super::state::Redirected;
use super::turn::Turn;
use crate::event::{Event, What};
use crate::flow::{Action, FlowKey, Leg, Lookup};
use crate::time::{Duration, Instant};
use crate::wire::icmp::{self, Icmp};
use crate::wire::{IpPacket, build};
use std::net::Ipv4Addr;

/// How long a router's complaint about the size of our packets is believed (RFC 1191 section 6.3).
const BELIEVED: Duration = Duration::from_secs(600);
/// The least that any path takes (RFC 791 3.1 asks hosts for as much); less is forged.
const LEAST: u16 = 576;

/// What is known of the paths to routers: how large a packet may be.
#[derive(Debug, Default)]
pub(super) struct Paths(Vec<(Ipv4Addr, u16, Instant)>);

impl Paths {
    /// Bytes that a packet to `router` may have, where the link takes `mtu`.
    pub(super) fn mtu(&self, now: Instant, router: Ipv4Addr, mtu: u16) -> u16 {
        let known = self.0.iter().find(|p| p.0 == router && now.since(p.2) < BELIEVED);
        known.map_or(mtu, |p| p.1.min(mtu))
    }

    /// Believes that the path to `router` takes `told` bytes. The new size if it is news. The caller lets in
    /// routers only, so there are not many.
    fn learn(&mut self, now: Instant, router: Ipv4Addr, told: u16, mtu: u16) -> Option<u16> {
        // Routers before RFC 1191 tell no size.
        let size = told.max(LEAST);
        let before = self.mtu(now, router, mtu);
        if size >= mtu || size > before {
            return None;
        }
        self.0.retain(|p| p.0 != router);
        self.0.push((router, size, now));
        (size < before).then_some(size)
    }
}

impl Redirected {
    /// An ICMP or ICMPv6 packet to our address, its checksum right.
    pub(super) fn icmp(&mut self, turn: &mut Turn<'_>, mut a: Arrived, ip: &IpPacket) {
        let parsed = icmp::parse(a.frame.bytes(), ip);
        if let Some(Icmp::GreError { kind, mtu, .. }) = parsed
            && kind == icmp::TOO_BIG_V4
        {
            let (told, link) = (u16::try_from(mtu).unwrap_or(u16::MAX), self.link.settings.mtu);
            let Some(router) = self.returned_to(&parsed, told.max(LEAST)) else {
                return self.drop(turn, a.interface, a.frame, DropReason::StrangeError);
            };
            if let Some(size) = self.paths.learn(turn.now, router, told, link) {
                turn.events.push(Event { at: turn.now, what: smaller(router, size) });
            }
        }
        if let Some(error @ Icmp::TcpError { .. }) = parsed {
            if let Some(a) = self.quoted(turn, a, ip, &error) {
                self.done(turn, a.interface, a.frame);
            }
            return;
        }
        let Some(tx) = turn.tx.get_mut(a.interface) else { return };
        let mut out = Out { now: turn.now, link: &mut self.link, tx, drops: &mut self.drops };
        match parsed {
            Some(Icmp::EchoRequest) => {
                build::echo_reply(a.frame.bytes_mut(), ip);
                a.frame.truncate(ip.end);
                a.frame.pull_front(ip.start);
                out.ip(a.frame, ip.src);
            }
            Some(Icmp::GreError { .. } | Icmp::TcpError { .. }) => out.tx.done.push(a.frame),
            Some(Icmp::Other) => out.drop(a.frame, DropReason::Unhandled),
            None => out.drop(a.frame, DropReason::BadTransport),
        }
    }

    /// An error about a TCP segment, to us or on its way to somebody else. Gives it back if the segment is
    /// none that we sent.
    pub(super) fn quoted(
        &mut self,
        turn: &mut Turn<'_>,
        mut a: Arrived,
        ip: &IpPacket,
        error: &Icmp,
    ) -> Option<Arrived> {
        let Icmp::TcpError { quoted, src, dst, .. } = *error else { return Some(a) };
        // Quoted is what we sent: the answering direction's key finds its owner.
        let leg = if a.origin.is_some() { Leg::Redirected } else { Leg::Direct };
        let Some(key) = FlowKey::tcp(dst, src, leg, 0) else { return Some(a) };
        let Lookup::Hit(_, entry) = self.flows.lookup(&key) else { return Some(a) };
        match entry.action {
            Action::Session { .. } if entry.owner != self.worker => {
                self.hand_over(turn, a, entry.owner);
            }
            Action::Session { leg } => {
                let tx = turn.tx.get_mut(a.interface)?;
                let mut out = Out { now: turn.now, link: &mut self.link, tx, drops: &mut self.drops };
                self.sessions.icmp(turn.now, entry.id, leg, ip.src, error, &mut out);
                out.tx.done.push(a.frame);
            }
            Action::Translate => {
                // The answering direction's new addresses are those that the quoted segment had before.
                let (was_src, was_dst) = (entry.rewrite.dst(), entry.rewrite.src());
                let bytes = a.frame.bytes_mut();
                // Both change nothing where they fail, and the first changes nothing else but the hops: what is
                // given back goes back with its own quotation.
                if !build::hop(bytes, ip) || !icmp::requote(bytes, ip, quoted, was_src, was_dst) {
                    return Some(a);
                }
                let tx = turn.tx.get_mut(a.interface)?;
                self.errors_mapped += 1;
                Out { now: turn.now, link: &mut self.link, tx, drops: &mut self.drops }
                    .ip(a.frame, was_src.ip());
            }
            Action::TimeWait | Action::Reset => return Some(a),
        }
        None
    }

    /// The router that we sent the quoted GRE packet to; none if it cannot be a packet of ours that `size` bytes
    /// are too few for. Who cannot see our packets is at least to know what they look like.
    fn returned_to(&self, error: &Option<Icmp>, size: u16) -> Option<Ipv4Addr> {
        let Some(Icmp::GreError { src, dst, len, wccp, .. }) = *error else { return None };
        let own = self.link.settings.v4.is_some_and(|n| n.address == src);
        let fits = len <= size || len > self.link.settings.mtu;
        (own && wccp && !fits && self.routers.find(dst).is_some()).then_some(dst)
    }
}

fn smaller(router: Ipv4Addr, size: u16) -> What {
    let text = format!(
        "packets to router {router} may have {size} bytes only; what goes back to it is cut. Give the way \
         between router and gateway an MTU of 1500, or more"
    );
    What::Warning { kind: "path_mtu", subject: router.to_string(), text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_believed_within_bounds_and_for_a_time() {
        let (router, at) = (Ipv4Addr::new(10, 9, 0, 1), Instant::from_millis);
        let mut p = Paths::default();
        assert_eq!(p.learn(at(0), router, 1500, 1500), None, "as large as ever");
        assert_eq!(p.learn(at(0), router, 1400, 1500), Some(1400));
        assert_eq!(p.learn(at(1), router, 1400, 1500), None, "no news");
        assert_eq!(p.learn(at(1), router, 1450, 1500), None, "growing is found out by time alone");
        assert_eq!(p.learn(at(2), router, 68, 1500), Some(576));
        assert_eq!(p.learn(at(3), router, 0, 1500), None);
        assert_eq!((p.mtu(at(4), router, 1500), p.0.len()), (576, 1));
        assert_eq!(p.mtu(at(4), Ipv4Addr::new(10, 9, 0, 3), 1500), 1500);
        assert_eq!(p.mtu(at(600_003), router, 1500), 1500);
    }
}
