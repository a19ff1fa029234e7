//! What a link needs to be a link, and what never leaves it: a bridge passes it whatever its policy is. (Of ICMPv6
//! the firewall knows by itself.)

use crate::wire::{Fragment, IpPacket, be16, proto};
use std::net::{IpAddr, Ipv4Addr};

/// Protocol number of IGMP.
const IGMP: u8 = 2;
/// Ports of DHCP servers and clients (RFC 2131 4.1), of DHCPv6 clients and servers (RFC 8415 7.2).
const DHCP: [u16; 2] = [67, 68];
const DHCPV6: [u16; 2] = [546, 547];

/// Whether hosts of one link say this to each other so that the link works: reports of groups (RFC 3376 4), and
/// DHCP. None of it passes a router. `ip` was parsed from `bytes`.
pub(super) fn is_needed(bytes: &[u8], ip: &IpPacket) -> bool {
    if ip.fragment != Fragment::None {
        return false;
    }
    let p = ip.payload(bytes);
    match ip.proto {
        IGMP => ip.is_v4() && ip.ttl(bytes) == 1 && ip.dst.is_multicast(),
        proto::UDP if p.len() >= 8 => {
            let ports = [be16(p, 0), be16(p, 2)];
            let all = |of: &[u16]| ports.iter().all(|port| of.contains(port));
            match ip.dst {
                // A server's answer to a client without an address goes to the address that it offers.
                IpAddr::V4(dst) => all(&DHCP) && (dst == Ipv4Addr::BROADCAST || ports == [67, 68]),
                IpAddr::V6(_) => all(&DHCPV6) && matches!(ip.src, IpAddr::V6(a) if a.is_unicast_link_local()),
            }
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{build, parse_ip};

    fn needed(b: &[u8]) -> bool {
        is_needed(b, &parse_ip(b, 0).unwrap())
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
