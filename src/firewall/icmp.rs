//! ICMP: queries are connections of their own (RFC 5508 section 3), errors go with the connection that they are about
//! (section 4).

use super::packet::{Emit, Refused, Side};
use super::policy::Begin;
use super::state::{Firewall, Went};
use super::tcp::{Passing, out_side};
use crate::wire::icmp::{Restated, TOO_BIG_V4, TOO_BIG_V6, restate};
use crate::wire::{Fragment, IpPacket, parse_quoted, proto};
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};

/// Where a quoted packet goes back to, and how its sender knows its ends.
struct Sender {
    to: Side,
    src: SocketAddr,
    dst: SocketAddr,
    seq: Option<u32>,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A query, with its identifier.
    Query(u16),
    /// The answer to one.
    Answer(u16),
    /// An error that quotes a packet.
    Error,
    /// What neighbours and routers of one link say to each other.
    Link,
    Other,
}

impl Kind {
    fn of(message: &[u8], v4: bool) -> Self {
        let (Some(kind), Some(id)) = (message.first(), message.get(4..6)) else { return Self::Other };
        let id = u16::from_be_bytes([id[0], id[1]]);
        match (v4, *kind) {
            (true, 8 | 13 | 15 | 17) | (false, 128) => Self::Query(id),
            (true, 0 | 14 | 16 | 18) | (false, 129) => Self::Answer(id),
            (true, 3..=5 | 11 | 12) | (false, 1..=4) => Self::Error,
            (false, 130..=137 | 143) => Self::Link,
            _ => Self::Other,
        }
    }
}

/// Whether a message can only have been sent on this link: by its hops, none of which it lost (RFC 4861 4, RFC 2710 3).
fn of_the_link(bytes: &[u8], ip: &IpPacket) -> bool {
    let kind = ip.payload(bytes).first().copied().unwrap_or_default();
    let src = if let IpAddr::V6(a) = ip.src { a } else { return false };
    match kind {
        133..=137 => ip.ttl(bytes) == 255,
        _ => ip.ttl(bytes) == 1 && (src.is_unicast_link_local() || src.is_unspecified()),
    }
}

impl<W: Copy + Eq + Debug> Firewall<W> {
    /// An ICMP or ICMPv6 message.
    pub(super) fn icmp(&mut self, p: &mut Passing<'_, W>, out: &mut Vec<Emit<W>>) -> Went {
        let kind = Kind::of(p.ip.payload(p.bytes), p.ip.proto == proto::ICMP);
        let it = |sport, dport| Begin {
            from: p.from,
            proto: p.ip.proto,
            src: SocketAddr::new(p.ip.src, sport),
            dst: SocketAddr::new(p.ip.dst, dport),
        };
        match kind {
            Kind::Query(id) => self.exchange(p, &it(id, 0), true, out),
            Kind::Answer(id) => self.exchange(p, &it(0, id), false, out),
            // Without it no IPv6 host beyond a bridge would be found; a router does not pass it on.
            Kind::Link if !self.settings.hop && of_the_link(p.bytes, p.ip) => {
                Went::Pass { to: p.from.other(), changed: false }
            }
            Kind::Error => match self.sender(p) {
                Some(sender) => self.error(p, &sender),
                None => self.unknown(&it(0, 0)),
            },
            // Nothing in it would tell one inside host's from another's.
            Kind::Link | Kind::Other if self.nat.concerns(&it(0, 0)) => Went::Refuse(Refused::NoConnection),
            Kind::Link | Kind::Other => self.exchange(p, &it(0, 0), true, out),
        }
    }

    /// Who sent the packet that an error quotes; none if it is of no connection, or cannot have been sent.
    fn sender(&mut self, p: &Passing<'_, W>) -> Option<Sender> {
        let at = p.ip.l4 + 8;
        let q = parse_quoted(p.bytes, at, p.ip.end)?;
        if q.fragment == Fragment::Later || q.is_v4() != p.ip.is_v4() || q.src != p.ip.dst {
            return None;
        }
        let head = q.payload(p.bytes);
        let (src, dst) = ends(&q, head)?;
        // It left to where the error comes from: what comes from there the other way tells how it was translated.
        if q.proto != proto::TCP {
            let (_, to, dst, src) = self.others.find(p.from, q.proto, dst, src)?;
            return Some(Sender { to, src, dst, seq: None });
        }
        let entry = self.known(p.from, dst, src)?;
        let mut seq = None;
        if let Some((session, dir)) = self.session_of(&entry) {
            let quoted = head.get(4..8)?;
            let quoted = u32::from_be_bytes([quoted[0], quoted[1], quoted[2], quoted[3]]);
            let own = self.sessions.quoted(
                session,
                dir.back(),
                quoted,
                mtu(p.ip.payload(p.bytes), p.ip.is_v4()),
            )?;
            seq = (own != quoted).then_some(own);
        }
        Some(Sender { to: out_side(&entry), src: entry.rewrite.dst(), dst: entry.rewrite.src(), seq })
    }

    fn error(&mut self, p: &mut Passing<'_, W>, sender: &Sender) -> Went {
        let at = p.ip.l4 + 8;
        let Some(q) = parse_quoted(p.bytes, at, p.ip.end) else { return Went::Refuse(Refused::Malformed) };
        let Some((src, dst)) = ends(&q, q.payload(p.bytes)) else { return Went::Refuse(Refused::Malformed) };
        // A redirect is about the link that it is on (RFC 1812 5.2.7.2).
        if self.settings.hop && p.ip.is_v4() && p.bytes.get(p.ip.l4) == Some(&5) {
            return Went::Refuse(Refused::Policy);
        }
        let from = match p.ip.src {
            // The other end itself says so.
            from if from == dst.ip() => sender.dst.ip(),
            // A router on its way: inside its address is nobody's business outside (RFC 5508 REQ-5).
            IpAddr::V4(from) if p.from == Side::Inside && sender.to == Side::Outside => {
                self.nat.outside_of(from).unwrap_or(from).into()
            }
            from => from,
        };
        self.counters.errors += 1;
        let same = (sender.src, sender.dst, from) == (src, dst, p.ip.src) && sender.seq.is_none();
        if same {
            return Went::Pass { to: sender.to, changed: false };
        }
        if !p.ip.transport_checksum_ok(p.bytes) {
            return Went::Refuse(Refused::Malformed);
        }
        let what = Restated { src: sender.src, dst: sender.dst, from, seq: sender.seq };
        if !restate(p.bytes, p.ip, at, &what) {
            return Went::Refuse(Refused::Malformed);
        }
        Went::Pass { to: sender.to, changed: true }
    }
}

/// The ends of a quoted packet, as connections are told apart by.
fn ends(q: &IpPacket, head: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (sport, dport) = match q.proto {
        proto::TCP | proto::UDP => {
            let ports = head.get(..4)?;
            (u16::from_be_bytes([ports[0], ports[1]]), u16::from_be_bytes([ports[2], ports[3]]))
        }
        proto::ICMP | proto::ICMPV6 => match Kind::of(head, q.proto == proto::ICMP) {
            Kind::Query(id) => (id, 0),
            Kind::Answer(id) => (0, id),
            _ => (0, 0),
        },
        _ => (0, 0),
    };
    Some((SocketAddr::new(q.src, sport), SocketAddr::new(q.dst, dport)))
}

/// What the next hop carries, if the message tells.
fn mtu(message: &[u8], v4: bool) -> Option<u16> {
    let kind = (*message.first()?, *message.get(1)?);
    let value = u32::from_be_bytes(*message.get(4..8)?.first_chunk::<4>()?);
    let mtu = match kind {
        TOO_BIG_V4 if v4 => value & 0xFFFF,
        TOO_BIG_V6 if !v4 => value,
        _ => return None,
    };
    (mtu != 0).then(|| mtu.min(0xFFFF) as u16)
}
