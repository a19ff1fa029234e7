//! Packets to our own addresses that nobody else is meant by: we are a host that serves nothing.

use super::super::super::drops::DropReason;
use super::super::super::turn::Turn;
use super::Router;
use crate::buf::Frame;
use crate::firewall::Side;
use crate::wire::icmp::{self, Icmp};
use crate::wire::{Fragment, IpPacket, build, parse_ip, proto, tcp};

impl Router {
    /// A packet to us: pings are answered, connections and datagrams refused.
    pub(super) fn local(&mut self, turn: &mut Turn<'_>, from: Side, frame: Frame, ip: &IpPacket) {
        if ip.fragment == Fragment::None {
            return self.whole(turn, from, frame, ip);
        }
        let failed = self.fragments.counts().1;
        let whole = self.fragments.add(turn.now, frame.bytes(), ip, false);
        self.given_up(failed);
        self.done(turn, from, frame);
        // What no frame holds has no answer that would fit one.
        let Some(frame) = whole.as_deref().and_then(Frame::from_bytes) else { return };
        match parse_ip(frame.bytes(), 0) {
            Ok(ip) => self.whole(turn, from, frame, &ip),
            Err(_) => self.drop(turn, from, frame, DropReason::BadIp),
        }
    }

    fn whole(&mut self, turn: &mut Turn<'_>, from: Side, mut frame: Frame, ip: &IpPacket) {
        if !ip.transport_checksum_ok(frame.bytes()) {
            return self.drop(turn, from, frame, DropReason::BadTransport);
        }
        match ip.proto {
            proto::ICMP | proto::ICMPV6 => match icmp::parse(frame.bytes(), ip) {
                Some(Icmp::EchoRequest) => {
                    build::echo_reply(frame.bytes_mut(), ip);
                    let reply = frame.bytes().to_vec();
                    self.done(turn, from, frame);
                    self.send(turn, from, &reply);
                }
                Some(_) => self.drop(turn, from, frame, DropReason::Unhandled),
                None => self.drop(turn, from, frame, DropReason::BadTransport),
            },
            proto::TCP => {
                let reset = tcp::parse(frame.bytes(), ip).and_then(|seg| build::reset_for(&seg));
                if let Some(reset) = reset.filter(|_| self.errors.may(turn.now)) {
                    let mut packet = vec![0; reset.len()];
                    reset.emit(&mut packet);
                    self.send(turn, from, &packet);
                }
                self.drop(turn, from, frame, DropReason::UnknownFlow);
            }
            other => {
                let kind = match (other, ip.is_v4()) {
                    (proto::UDP, true) => Some(icmp::NO_PORT_V4),
                    (proto::UDP, false) => Some(icmp::NO_PORT_V6),
                    (_, true) => Some(icmp::NO_PROTOCOL_V4),
                    (_, false) => None,
                };
                if let Some(kind) = kind {
                    let packet = frame.bytes().to_vec();
                    self.error(turn, from, kind, [0; 4], &packet, ip);
                }
                self.drop(turn, from, frame, DropReason::Unhandled);
            }
        }
    }

    /// Counts the packets in pieces that were given up since there were `before` of them.
    pub(super) fn given_up(&mut self, before: u64) {
        for _ in before..self.fragments.counts().1 {
            self.drops.count(DropReason::OuterFragment);
        }
    }
}
