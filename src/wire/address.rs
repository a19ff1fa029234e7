//! What an address is: one of a network, a host's, one of those that count as one.

use std::net::{IpAddr, Ipv4Addr};

/// A network: an address of it and the length of its prefix in bits. Bits behind the prefix do not count, nor do
/// those of a length beyond the family's.
pub type Net = (IpAddr, u8);

/// Whether an address is in a network; families never mix.
#[must_use]
pub fn within(a: IpAddr, (net, len): &Net) -> bool {
    let (a, net, width) = match (a, net) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (u128::from(a.to_bits()), u128::from(n.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => (a.to_bits(), n.to_bits(), 128),
        _ => return false,
    };
    // A prefix of no bits holds everything; a shift by the whole width would not do.
    let host = width - u32::from(*len).min(width);
    host >= 128 || a >> host == net >> host
}

/// Whether a single host can have this address (RFC 1122 3.2.1.3).
#[must_use]
pub fn is_host(a: IpAddr) -> bool {
    let broadcast = a == IpAddr::V4(Ipv4Addr::BROADCAST);
    !(a.is_multicast() || a.is_loopback() || a.is_unspecified() || broadcast)
}

/// Whose addresses count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    six: bool,
    prefix: u64,
}

impl Network {
    /// One client: an IPv4 address, or an IPv6 /64, of which one host takes as many addresses as it likes
    /// (RFC 4291 section 2.5.1, RFC 8981).
    #[must_use]
    pub fn of_client(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(a) => Self { six: false, prefix: a.to_bits().into() },
            IpAddr::V6(a) => Self { six: true, prefix: (a.to_bits() >> 64) as u64 },
        }
    }

    /// The network of a source that nothing was proven of: a /24, or a /64.
    #[must_use]
    pub fn of_source(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(a) => Self { six: false, prefix: (a.to_bits() & 0xFFFF_FF00).into() },
            IpAddr::V6(_) => Self::of_client(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Net {
        let (a, len) = text.split_once('/').unwrap();
        (a.parse().unwrap(), len.parse().unwrap())
    }

    #[test]
    fn networks_hold_their_own_family_only() {
        let v4: IpAddr = "10.1.2.3".parse().unwrap();
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        for (a, n, want) in [
            (v4, "10.0.0.0/8", true),
            (v4, "10.1.2.3/32", true),
            (v4, "10.1.2.2/32", false),
            (v4, "10.1.2.0/31", false),
            (v4, "0.0.0.0/0", true),
            (v4, "::/0", false),
            (v6, "::/0", true),
            (v6, "0.0.0.0/0", false),
            (v6, "2001:db8::/64", true),
            (v6, "2001:db8::2/127", false),
            (v6, "2001:db8::1/128", true),
        ] {
            assert_eq!(within(a, &net(n)), want, "{a} in {n}");
        }
    }
}
