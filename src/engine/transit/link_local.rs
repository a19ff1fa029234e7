//! What a link needs to be a link, and what never leaves it: a bridge passes it whatever its policy is, unless a rule is
//! about it. (Of ICMPv6 the firewall knows by itself.)

use crate::wire::{Fragment, IpPacket, be16, proto, udp};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Protocol number of IGMP.
const IGMP: u8 = 2;
/// Ports of DHCP servers and clients (RFC 2131 4.1), of DHCPv6 servers and clients (RFC 8415 7.2).
const SERVER: u16 = 67;
const CLIENT: u16 = 68;
const SERVER_V6: u16 = 547;
const CLIENT_V6: u16 = 546;
/// All DHCPv6 relay agents and servers of a link (RFC 8415 7.1).
const AGENTS_V6: Ipv6Addr = Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 1, 2);
/// What DHCP's options begin with, and where (RFC 2131 3).
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const COOKIE_AT: usize = 236;
/// The longest message: what fits into a frame of the usual size.
const LONGEST: usize = 1472;
/// Options of DHCP: what fills up, what ends them, and the type of a message (RFC 2132 3.1, 3.2, 9.6).
const PAD: u8 = 0;
const END: u8 = 255;
const TYPE: u8 = 53;

/// Whether hosts of one link say this to each other so that the link works: reports of groups (RFC 3376 4), and
/// DHCP. None of it passes a router. `ip` was parsed from `bytes`.
pub(super) fn is_needed(bytes: &[u8], ip: &IpPacket) -> bool {
    if ip.fragment != Fragment::None {
        return false;
    }
    match (ip.proto, ip.src, ip.dst) {
        (IGMP, ..) => ip.is_v4() && ip.ttl(bytes) == 1 && ip.dst.is_multicast(),
        (proto::UDP, src, dst) => {
            let Some(d) = udp::parse(bytes, ip).filter(|d| d.end - d.payload <= LONGEST) else {
                return false;
            };
            let (ports, message) = ((d.src_port, d.dst_port), &bytes[d.payload..d.end]);
            match (src, dst) {
                (IpAddr::V4(src), IpAddr::V4(dst)) => is_dhcp(ports, src, dst, message),
                (IpAddr::V6(src), IpAddr::V6(dst)) => is_dhcpv6(ports, src, dst, message),
                _ => false,
            }
        }
        _ => false,
    }
}

/// What a client without an address asks all, or one that renews its address and did not hear from its server; and
/// what a server answers to all, or to the very address that it offers or the client has (RFC 2131 4.1).
fn is_dhcp(ports: (u16, u16), src: Ipv4Addr, dst: Ipv4Addr, m: &[u8]) -> bool {
    let Some((head, rest)) = m.split_at_checked(COOKIE_AT) else { return false };
    let Some(options) = rest.strip_prefix(&COOKIE) else { return false };
    let address = |at: usize| Ipv4Addr::new(head[at], head[at + 1], head[at + 2], head[at + 3]);
    let (client, offered, relay) = (address(12), address(16), address(24));
    // Of stations with MAC addresses: the link has no others.
    if !matches!(head[1], 1 | 6) || head[2] != 6 {
        return false;
    }
    let Some(kind) = message_type(options) else { return false };
    match (ports, head[0]) {
        ((CLIENT, SERVER), 1) => {
            dst.is_broadcast()
                && (src.is_unspecified() || src == client)
                && relay.is_unspecified()
                && matches!(kind, 1 | 3 | 4 | 8)
        }
        ((SERVER, CLIENT), 2) => {
            let named = !dst.is_unspecified() && (dst == offered || dst == client);
            (dst.is_broadcast() || named)
                && !(src.is_unspecified() || src.is_broadcast() || src.is_multicast())
                && matches!(kind, 2 | 5 | 6)
        }
        _ => false,
    }
}

/// What clients and servers of one link say, by their addresses of that link (RFC 8415 7.1, 13 to 18).
fn is_dhcpv6(ports: (u16, u16), src: Ipv6Addr, dst: Ipv6Addr, m: &[u8]) -> bool {
    let (Some(kind), Some(options)) = (m.first(), m.get(4..)) else { return false };
    let here = dst.is_unicast_link_local();
    let said = match ports {
        (CLIENT_V6, SERVER_V6) => (here || dst == AGENTS_V6) && matches!(kind, 1 | 3..=6 | 8 | 9 | 11),
        (SERVER_V6, CLIENT_V6) => here && matches!(kind, 2 | 7 | 10),
        _ => false,
    };
    said && src.is_unicast_link_local() && are_options_v6(options)
}

/// The type of a message, if its options are such and end.
fn message_type(mut options: &[u8]) -> Option<u8> {
    let mut kind = None;
    loop {
        match options {
            [PAD, rest @ ..] => options = rest,
            [END, ..] => return kind,
            [code, len, rest @ ..] => {
                let value = rest.get(..usize::from(*len))?;
                if *code == TYPE {
                    kind = Some(*value.first().filter(|_| value.len() == 1 && kind.is_none())?);
                }
                options = &rest[value.len()..];
            }
            _ => return None,
        }
    }
}

/// Whether there are options, and nothing else.
fn are_options_v6(mut options: &[u8]) -> bool {
    let some = !options.is_empty();
    while let Some(rest) = options.get(4..) {
        let Some(next) = rest.get(usize::from(be16(options, 2))..) else { return false };
        options = next;
    }
    some && options.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{build, parse_ip};

    const OFFERED: [u8; 4] = [10, 0, 0, 9];

    fn udp(src: ([u8; 4], u16), dst: ([u8; 4], u16), message: &[u8]) -> bool {
        let mut p = vec![0; 28 + message.len()];
        p[28..].copy_from_slice(message);
        build::udp_v4(&mut p, (src.0.into(), src.1), (dst.0.into(), dst.1), 7);
        is_needed(&p, &parse_ip(&p, 0).unwrap())
    }

    /// A message of DHCP as RFC 2131 draws it, for a client that has an address, and one that is offered.
    fn message(op: u8, client: [u8; 4], offered: [u8; 4], options: &[u8]) -> Vec<u8> {
        let mut m = vec![0; 240];
        m[..3].copy_from_slice(&[op, 1, 6]);
        m[12..16].copy_from_slice(&client);
        m[16..20].copy_from_slice(&offered);
        m[236..].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
        m.extend(options);
        m
    }

    fn ask(src: [u8; 4], client: [u8; 4]) -> bool {
        udp((src, 68), ([255; 4], 67), &message(1, client, [0; 4], &[53, 1, 3, 255]))
    }

    fn answer(dst: [u8; 4], client: [u8; 4], offered: [u8; 4]) -> bool {
        udp(([10, 0, 0, 1], 67), (dst, 68), &message(2, client, offered, &[53, 1, 5, 0, 51, 0, 255, 0]))
    }

    #[test]
    fn a_client_asks_all_and_is_answered_at_the_address_that_it_gets() {
        assert!(ask([0; 4], [0; 4]) && ask(OFFERED, OFFERED));
        assert!(!ask(OFFERED, [0; 4]) && !ask(OFFERED, [10, 0, 0, 8]), "who asks says so in the message");
        assert!(answer(OFFERED, [0; 4], OFFERED) && answer([255; 4], [0; 4], OFFERED));
        assert!(answer(OFFERED, OFFERED, [0; 4]), "it has asked about what else there is");
        assert!(!answer([10, 0, 0, 8], [0; 4], OFFERED), "another host is not offered it");
        assert!(!answer([0; 4], [0; 4], [0; 4]));
        let renewal = message(1, OFFERED, [0; 4], &[53, 1, 3, 255]);
        assert!(!udp((OFFERED, 68), ([10, 1, 0, 1], 67), &renewal), "to a server elsewhere a rule is asked");
    }

    #[test]
    fn what_is_not_dhcp_is_not_needed_whatever_its_ports() {
        let offer = message(2, [0; 4], OFFERED, &[53, 1, 2, 255]);
        let from = |src: [u8; 4], port, m: &[u8]| udp((src, port), (OFFERED, 68), m);
        let server = [10, 0, 0, 1];
        assert!(from(server, 67, &offer));
        assert!(!from(server, 53, &offer) && !from(server, 68, &offer) && !from([0; 4], 67, &offer));
        assert!(!from(server, 67, &[7; 300]) && !from(server, 67, &[]) && !from(server, 67, &offer[..240]));
        for (at, value) in [(0, 1), (0, 3), (1, 0), (2, 7), (236, 0), (242, 1)] {
            let mut other = offer.clone();
            other[at] = value;
            assert!(!from(server, 67, &other), "{at}");
        }
        for options in [
            &[53, 1, 2][..],
            &[255],
            &[53, 2, 2, 2, 255],
            &[53, 1, 2, 53, 1, 2, 255],
            &[53, 1, 2, 12, 9, 255],
            &[53, 1],
        ] {
            assert!(!from(server, 67, &message(2, [0; 4], OFFERED, options)), "{options:?}");
        }
        let long = message(2, [0; 4], OFFERED, &[&[53, 1, 2, 255][..], &[0; 1300]].concat());
        assert!(!from(server, 67, &long));
        let mut relayed = message(1, [0; 4], [0; 4], &[53, 1, 1, 255]);
        assert!(udp(([0; 4], 68), ([255; 4], 67), &relayed));
        relayed[24..28].copy_from_slice(&server);
        assert!(!udp(([0; 4], 68), ([255; 4], 67), &relayed), "a relay asks its server, not all");
    }

    #[test]
    fn dhcpv6_stays_on_the_link_by_its_addresses() {
        let udp = |src: (&str, u16), dst: (&str, u16), message: &[u8]| {
            let (s, d): (Ipv6Addr, Ipv6Addr) = (src.0.parse().unwrap(), dst.0.parse().unwrap());
            let len = (8 + message.len()) as u16;
            let head =
                [&[0x60, 0, 0, 0][..], &len.to_be_bytes(), &[17, 1], &s.octets(), &d.octets()].concat();
            let ports = [src.1.to_be_bytes(), dst.1.to_be_bytes(), len.to_be_bytes(), [0, 1]].concat();
            let p = [&head[..], &ports, message].concat();
            is_needed(&p, &parse_ip(&p, 0).unwrap())
        };
        let said = |kind: u8| [kind, 1, 2, 3, 0, 1, 0, 2, 7, 7, 0, 6, 0, 0];
        let client = |src, dst, kind| udp((src, 546), (dst, 547), &said(kind));
        let server = |src, dst, kind| udp((src, 547), (dst, 546), &said(kind));
        assert!(client("fe80::1", "ff02::1:2", 1) && client("fe80::1", "fe80::2", 3));
        assert!(server("fe80::2", "fe80::1", 7) && server("fe80::2", "fe80::1", 2));
        assert!(!client("fd00::1", "ff02::1:2", 1) && !client("fe80::1", "fd00::2", 3));
        assert!(!client("fe80::1", "ff02::1", 1) && !server("fe80::2", "ff02::1:2", 7));
        assert!(!server("fe80::2", "fd00::1", 7) && !server("fd00::2", "fe80::1", 7));
        assert!(!client("fe80::1", "ff02::1:2", 7) && !server("fe80::2", "fe80::1", 1));
        assert!(!client("fe80::1", "ff02::1:2", 12), "what relays say is for a server elsewhere");
        for message in [&[][..], &[1], &[1, 0, 0, 0], &[1; 80], &said(1)[..9], &said(1)[..13]] {
            assert!(!udp(("fe80::1", 546), ("ff02::1:2", 547), message), "{message:?}");
        }
    }
}
