//! Neighbour discovery (RFC 4861): solicitations and advertisements inside ICMPv6.
//!
//! ```text
//! | type 135 or 136 | code 0 | checksum | R S O flags | target 16 | options: type, length / 8, … |
//! ```

use super::eth::Mac;
use super::{Fragment, IpPacket, build, proto};
use std::net::{IpAddr, Ipv6Addr};

/// All nodes of the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Length of the packets that [`solicit`] and [`advert`] make.
pub const LEN: usize = build::IPV6_HEADER + 32;

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const SOURCE_LINK: u8 = 1;
const TARGET_LINK: u8 = 2;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
/// What routers let no packet from outside the link arrive with.
const HOP_LIMIT: u8 = 255;

/// A message that passed the checks of RFC 4861 sections 7.1.1 and 7.1.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nd {
    /// Who has `target`?
    Solicit {
        /// The address asked for.
        target: Ipv6Addr,
        /// Who asks; unspecified if it only looks whether the address is taken (RFC 4862 5.4).
        from: Ipv6Addr,
        /// The asking neighbour's MAC address, if it told.
        mac: Option<Mac>,
    },
    /// `target` is here.
    Advert {
        /// The address that it is about.
        target: Ipv6Addr,
        /// The MAC address that it has, if it is told.
        mac: Option<Mac>,
        /// Whether it replaces what was known.
        replaces: bool,
    },
}

/// Reads a solicitation or advertisement from a parsed ICMPv6 packet whose checksum is right. `None` if it
/// is neither, or not one that may be believed: it came from beyond the link, in pieces, behind extension
/// headers (RFC 6980), or contradicts itself.
pub fn parse(bytes: &[u8], ip: &IpPacket) -> Option<Nd> {
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (ip.src, ip.dst) else { return None };
    let plain = ip.l4 - ip.start == build::IPV6_HEADER && ip.fragment == Fragment::None;
    if ip.proto != proto::ICMPV6 || !plain || ip.ttl(bytes) != HOP_LIMIT {
        return None;
    }
    let (m, options) = ip.payload(bytes).split_first_chunk::<24>()?;
    if m[1] != 0 {
        return None;
    }
    let target = Ipv6Addr::from(*m.last_chunk::<16>()?);
    if target.is_multicast() || target.is_unspecified() {
        return None;
    }
    match m[0] {
        SOLICITATION => {
            let mac = link_option(options, SOURCE_LINK)?;
            if src.is_unspecified() && (mac.is_some() || dst != solicited_node(target)) {
                return None;
            }
            Some(Nd::Solicit { target, from: src, mac })
        }
        ADVERTISEMENT => {
            let mac = link_option(options, TARGET_LINK)?;
            if dst.is_multicast() && m[4] & SOLICITED != 0 {
                return None;
            }
            Some(Nd::Advert { target, mac, replaces: m[4] & OVERRIDE != 0 })
        }
        _ => None,
    }
}

/// The MAC address in the first option of a kind; the outer `None` if the options are malformed.
fn link_option(mut options: &[u8], kind: u8) -> Option<Option<Mac>> {
    let mut found = None;
    while let [k, units, ..] = *options {
        let len = usize::from(units) * 8;
        if len == 0 {
            return None;
        }
        let (option, rest) = options.split_at_checked(len)?;
        if k == kind && found.is_none() && len == 8 {
            found = option.last_chunk::<6>().copied();
        }
        options = rest;
    }
    options.is_empty().then_some(found)
}

/// A solicitation for `target` from a neighbour that is `mac` and `from`, as an IPv6 packet to the target's
/// solicited-node group.
pub fn solicit(mac: Mac, from: Ipv6Addr, target: Ipv6Addr) -> [u8; LEN] {
    message(SOLICITATION, 0, mac, SOURCE_LINK, from, solicited_node(target), target)
}

/// An advertisement that `target`, our address, is at `mac`, as an IPv6 packet to `dst`. `solicited` tells
/// that it answers somebody.
pub fn advert(mac: Mac, target: Ipv6Addr, dst: Ipv6Addr, solicited: bool) -> [u8; LEN] {
    let flags = OVERRIDE | if solicited { SOLICITED } else { 0 };
    message(ADVERTISEMENT, flags, mac, TARGET_LINK, target, dst, target)
}

fn message(
    kind: u8,
    flags: u8,
    mac: Mac,
    option: u8,
    src: Ipv6Addr,
    dst: Ipv6Addr,
    target: Ipv6Addr,
) -> [u8; LEN] {
    let mut b = [0; LEN];
    b[40] = kind;
    b[44] = flags;
    b[48..64].copy_from_slice(&target.octets());
    b[64] = option;
    b[65] = 1;
    b[66..72].copy_from_slice(&mac);
    build::icmpv6(&mut b, src, dst, HOP_LIMIT);
    b
}

/// The group that an address's solicitations go to (RFC 4291 section 2.7.1).
pub fn solicited_node(a: Ipv6Addr) -> Ipv6Addr {
    let [.., x, y, z] = a.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(x), u16::from_be_bytes([y, z]))
}

/// The Ethernet address of a group (RFC 2464 section 7).
pub fn group_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::parse_ip;
    use proptest::prelude::*;

    const US: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 2);
    const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    const MAC: Mac = [2, 0, 0, 0, 0, 7];

    fn read(b: &[u8]) -> Option<Nd> {
        let ip = parse_ip(b, 0).unwrap();
        assert!(ip.transport_checksum_ok(b));
        parse(b, &ip)
    }

    /// The packet with a change, its checksum right again.
    fn with(mut b: [u8; LEN], change: impl FnOnce(&mut [u8; LEN])) -> Option<Nd> {
        change(&mut b);
        let at = |i: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&b[i..i + 16]).unwrap());
        let (src, dst, hops) = (at(8), at(24), b[7]);
        build::icmpv6(&mut b, src, dst, hops);
        read(&b)
    }

    #[test]
    fn groups_and_their_macs() {
        // The example of RFC 4291 section 2.7.1.
        let a: Ipv6Addr = "4037::01:800:200e:8c6c".parse().unwrap();
        assert_eq!(solicited_node(a), "ff02::1:ff0e:8c6c".parse::<Ipv6Addr>().unwrap());
        assert_eq!(group_mac(solicited_node(a)), [0x33, 0x33, 0xff, 0x0e, 0x8c, 0x6c]);
        assert_eq!(group_mac(ALL_NODES), [0x33, 0x33, 0, 0, 0, 1]);
    }

    #[test]
    fn what_is_made_is_read_back() {
        let s = solicit(MAC, ROUTER, US);
        assert_eq!(read(&s), Some(Nd::Solicit { target: US, from: ROUTER, mac: Some(MAC) }));
        let a = advert(MAC, US, ROUTER, true);
        assert_eq!(read(&a), Some(Nd::Advert { target: US, mac: Some(MAC), replaces: true }));
        assert_eq!((s[7], a[44]), (255, 0x60));
    }

    #[test]
    fn what_contradicts_the_standard_is_not_believed() {
        let (s, a) = (solicit(MAC, ROUTER, US), advert(MAC, US, ROUTER, true));
        assert_eq!(with(s, |b| b[7] = 254), None, "from beyond the link");
        assert_eq!(with(s, |b| b[41] = 1), None, "a code");
        assert_eq!(with(s, |b| b[48] = 0xff), None, "a group as target");
        assert_eq!(with(s, |b| b[65] = 0), None, "an option without length");
        assert_eq!(with(s, |b| b[65] = 2), None, "an option beyond the end");
        assert_eq!(with(s, |b| b[8..24].fill(0)), None, "nobody, with an address");
        assert_eq!(with(a, |b| b[24..40].copy_from_slice(&ALL_NODES.octets())), None, "an answer to all");
        // Looking for a double (RFC 4862): nobody asks, and tells no MAC.
        let probe = |b: &mut [u8; LEN]| {
            b[8..24].fill(0);
            b[64] = 14;
        };
        let from = Ipv6Addr::UNSPECIFIED;
        assert_eq!(with(s, probe), Some(Nd::Solicit { target: US, from, mac: None }));
        let elsewhere = |b: &mut [u8; LEN]| {
            probe(b);
            b[24..40].copy_from_slice(&ALL_NODES.octets());
        };
        assert_eq!(with(s, elsewhere), None, "not to the target's group");
        // Behind an extension header.
        let mut long = a[..40].to_vec();
        long[6] = 60;
        long[4..6].copy_from_slice(&40u16.to_be_bytes());
        long.extend([58, 0, 1, 4, 0, 0, 0, 0]);
        long.extend(&a[40..]);
        assert_eq!(read(&long), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 4..64), kind in 133u8..138) {
            let mut b = vec![0; 40];
            b.extend(&bytes);
            b[40] = kind;
            build::icmpv6(&mut b, US, ROUTER, 255);
            let ip = parse_ip(&b, 0).unwrap();
            let _ = parse(&b, &ip);
        }
    }
}
