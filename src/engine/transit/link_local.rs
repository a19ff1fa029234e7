//! What a link needs to be a link, and what never leaves it: a bridge passes it whatever its policy is.

use crate::wire::{Fragment, IpPacket, be16, proto};
use std::net::{IpAddr, Ipv4Addr};

/// Protocol number of IGMP.
const IGMP: u8 = 2;
/// Ports of DHCP servers and clients (RFC 2131 4.1), of DHCPv6 clients and servers (RFC 8415 7.2).
const DHCP: [u16; 2] = [67, 68];
const DHCPV6: [u16; 2] = [546, 547];

/// Whether hosts of one link say this to each other so that the link works: neighbour and router discovery
/// (RFC 4890 4.4.1, without redirects), reports of groups (4.4.1; RFC 3376 4), and DHCP. None of it passes a
/// router. `ip` was parsed from `bytes`.
pub(super) fn is_needed(bytes: &[u8], ip: &IpPacket) -> bool {
    if ip.fragment != Fragment::None {
        return false;
    }
    let p = ip.payload(bytes);
    let kind = p.first().copied().unwrap_or(0);
    match ip.proto {
        // What came over a router has fewer hops left, and is not believed by anybody.
        proto::ICMPV6 if (133..=136).contains(&kind) => ip.ttl(bytes) == 255,
        proto::ICMPV6 if matches!(kind, 130..=132 | 143) => ip.ttl(bytes) == 1 && own_link(ip.src),
        IGMP => ip.is_v4() && ip.ttl(bytes) == 1 && ip.dst.is_multicast(),
        proto::UDP if p.len() >= 8 => {
            let ports = [be16(p, 0), be16(p, 2)];
            let all = |of: &[u16]| ports.iter().all(|port| of.contains(port));
            match ip.dst {
                // A server's answer to a client without an address goes to the address that it offers.
                IpAddr::V4(dst) => all(&DHCP) && (dst == Ipv4Addr::BROADCAST || ports == [67, 68]),
                IpAddr::V6(_) => all(&DHCPV6) && own_link(ip.src),
            }
        }
        _ => false,
    }
}

/// Whether an address is good on its link only.
fn own_link(a: IpAddr) -> bool {
    match a {
        IpAddr::V4(a) => a.is_link_local() || a.is_unspecified(),
        IpAddr::V6(a) => a.is_unicast_link_local() || a.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{build, nd, parse_ip};
    use std::net::Ipv6Addr;

    fn needed(b: &[u8]) -> bool {
        is_needed(b, &parse_ip(b, 0).unwrap())
    }

    #[test]
    fn neighbours_may_ask_and_answer_and_strangers_may_not() {
        let (a, b) = (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));
        assert!(needed(&nd::solicit([2; 6], a, b)) && needed(&nd::advert([2; 6], b, a, true)));
        let mut far = nd::solicit([2; 6], a, b);
        far[7] = 254;
        assert!(!needed(&far));
        let icmp = |kind: u8, src, hops| {
            let mut p = vec![0; 48];
            p[40] = kind;
            build::icmpv6(&mut p, src, nd::ALL_NODES, hops);
            needed(&p)
        };
        assert!(icmp(133, Ipv6Addr::UNSPECIFIED, 255) && icmp(134, a, 255));
        assert!(!icmp(137, a, 255), "a redirect is a policy's matter");
        assert!(icmp(143, a, 1) && !icmp(143, b, 1) && !icmp(143, a, 2) && !icmp(128, a, 255));
    }

    #[test]
    fn dhcp_passes_between_its_own_ports() {
        let udp = |src: ([u8; 4], u16), dst: ([u8; 4], u16)| {
            let mut p = vec![0; 40];
            build::udp_v4(&mut p, (src.0.into(), src.1), (dst.0.into(), dst.1), 7);
            needed(&p)
        };
        assert!(udp(([0; 4], 68), ([255; 4], 67)));
        assert!(udp(([10, 0, 0, 1], 67), ([10, 0, 0, 9], 68)));
        assert!(!udp(([10, 0, 0, 9], 68), ([10, 1, 0, 1], 67)), "to a server elsewhere a rule is asked");
        assert!(!udp(([0; 4], 68), ([255; 4], 69)) && !udp(([0; 4], 53), ([255; 4], 67)));
    }
}
