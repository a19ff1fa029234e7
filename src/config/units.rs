//! Values with units, as configuration files write them: durations, sizes, addresses with a prefix.

use crate::time::Duration;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An own address and the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    /// The address itself, host part included.
    pub address: IpAddr,
    /// Length of the network's prefix in bits: 0 to 32, in IPv6 to 128.
    pub prefix: u8,
}

impl Cidr {
    /// Networks that every address is on.
    pub const EVERY: [Self; 2] = [
        Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix: 0 },
        Self { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), prefix: 0 },
    ];

    /// Reads `10.9.0.2/24` and `2001:db8:9::2/64`; without a prefix, or with one that is too long, there is
    /// no answer.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let address: IpAddr = address.parse().ok()?;
        let prefix = prefix.parse().ok().filter(|p| *p <= width(address))?;
        Some(Self { address, prefix })
    }

    /// Bits of the host part that `other`, of the same family, has; none if it is on another network.
    fn host_of(self, other: IpAddr) -> Option<u128> {
        let hosts = u32::from(width(self.address) - self.prefix);
        let (own, other) = (bits(self.address), bits(other));
        let mask = u128::MAX.checked_shl(hosts).unwrap_or(0);
        ((own ^ other) & mask == 0).then_some(other & !mask)
    }

    /// The network itself: the address without its host part.
    #[must_use]
    pub fn first(self) -> Self {
        let hosts = u32::from(width(self.address) - self.prefix);
        let mask = u128::MAX.checked_shl(hosts).unwrap_or(0);
        let address = match self.address {
            IpAddr::V4(a) => IpAddr::V4((a.to_bits() & (mask as u32)).into()),
            IpAddr::V6(a) => IpAddr::V6((a.to_bits() & mask).into()),
        };
        Self { address, ..self }
    }

    /// Whether the two networks have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// Whether `other` is on the same network.
    pub fn contains(self, other: IpAddr) -> bool {
        self.address.is_ipv4() == other.is_ipv4() && self.host_of(other).is_some()
    }

    /// Whether `other` is this network's own address, its broadcast address, or the anycast address of its
    /// routers (RFC 4291 section 2.6.1). Networks of two addresses (RFC 3021, RFC 6164) and of one have none.
    pub fn is_edge(self, other: IpAddr) -> bool {
        let hosts = u32::from(width(self.address) - self.prefix);
        let all = !u128::MAX.checked_shl(hosts).unwrap_or(0);
        let broadcast = |host| self.address.is_ipv4() && host == all;
        hosts > 1 && self.contains(other) && self.host_of(other).is_some_and(|h| h == 0 || broadcast(h))
    }
}

const fn width(a: IpAddr) -> u8 {
    if a.is_ipv4() { 32 } else { 128 }
}

const fn bits(a: IpAddr) -> u128 {
    match a {
        IpAddr::V4(a) => a.to_bits() as u128,
        IpAddr::V6(a) => a.to_bits(),
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Reads `500ms`, `10s`, `0.5s`, `5m`, `2h`, `250us`: a number and a unit, nothing between. A fraction must
/// come to whole microseconds: rounding would hide a slip of the decimal point.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let (whole, rest) = split_number(text)?;
    // (digits behind the point as a number, the power of ten that they are parts of, unit)
    let (part, scale, unit) = match rest.strip_prefix('.') {
        Some(behind) => {
            let (part, unit) = split_number(behind)?;
            let places = u32::try_from(behind.len() - unit.len()).ok()?;
            (part, 10_u64.checked_pow(places)?, unit)
        }
        None => (0, 1, rest),
    };
    let micros: u64 = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        _ => return None,
    };
    let part = part.checked_mul(micros).filter(|p| p.is_multiple_of(scale))? / scale;
    Some(Duration::from_micros(whole.checked_mul(micros)?.checked_add(part)?))
}

/// A duration in the largest unit that shows it as a whole number; seconds up to two minutes.
pub(super) fn show_duration(d: Duration) -> String {
    let us = u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    match us {
        0 => "0s".to_owned(),
        _ if us % 1_000 != 0 => format!("{us}us"),
        _ if us % 1_000_000 != 0 => format!("{}ms", us / 1_000),
        _ if us.is_multiple_of(3_600_000_000) => format!("{}h", us / 3_600_000_000),
        _ if us.is_multiple_of(60_000_000) && us > 120_000_000 => format!("{}m", us / 60_000_000),
        _ => format!("{}s", us / 1_000_000),
    }
}

/// Reads `4096`, `256KiB`, `1MiB`: bytes, or powers of 1024.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text)?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_shown() {
        for (text, ms, shown) in [
            ("500ms", 500, "500ms"),
            ("10s", 10_000, "10s"),
            ("120s", 120_000, "120s"),
            ("900s", 900_000, "15m"),
            ("90s", 90_000, "90s"),
            ("2h", 7_200_000, "2h"),
            ("0s", 0, "0s"),
            ("0.5s", 500, "500ms"),
            ("1.050s", 1_050, "1050ms"),
            ("1.5m", 90_000, "90s"),
            ("0.25h", 900_000, "15m"),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)), "{text}");
            assert_eq!(show_duration(Duration::from_millis(ms)), shown);
        }
        assert_eq!(show_duration(Duration::from_micros(1_500)), "1500us");
        assert_eq!(parse_duration("0.000001s"), Some(Duration::from_micros(1)));
        assert_eq!(parse_duration("1.5ms"), Some(Duration::from_micros(1_500)));
    }

    #[test]
    fn what_is_no_duration_is_not_guessed_at() {
        for bad in [
            "",
            "s",
            "10",
            "10 s",
            "-1s",
            "10sec",
            "99999999999999999999s",
            "9999999999999999h",
            ".5s",
            "1.s",
            "1.5",
            "1..5s",
            "1.5.5s",
            "1.-5s",
            "1,5s",
            "0.0000001s",
            "1.5us",
            "0.99999999999999999999s",
            "0.00000000000000000000s",
            "1.9999999999999999999h",
        ] {
            assert_eq!(parse_duration(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!(parse_size("4096"), Some(4096));
        assert_eq!(parse_size("256KiB"), Some(262_144));
        for bad in ["", "KiB", "1 KiB", "1KB", "99999999999GiB"] {
            assert_eq!(parse_size(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn networks_know_their_edges() {
        let net = Cidr::parse("10.9.0.2/24").unwrap();
        let a = |t: &str| t.parse::<IpAddr>().unwrap();
        assert!(net.contains(a("10.9.0.255")) && !net.contains(a("10.9.1.1")) && !net.contains(a("::1")));
        assert!(net.is_edge(a("10.9.0.0")) && net.is_edge(a("10.9.0.255")));
        assert!(!net.is_edge(a("10.9.0.1")) && !net.is_edge(a("10.9.1.0")));
        assert!(!Cidr::parse("10.0.0.0/31").unwrap().is_edge(a("10.0.0.0")));
        assert!(Cidr::parse("0.0.0.0/0").unwrap().contains(a("255.255.255.255")));
        assert_eq!(net.to_string(), "10.9.0.2/24");
        let six = Cidr::parse("2001:db8:9::2/64").unwrap();
        assert!(six.contains(a("2001:db8:9::ffff")) && !six.contains(a("2001:db8:9:1::1")));
        assert!(six.is_edge(a("2001:db8:9::")) && !six.is_edge(a("2001:db8:9:0:ffff:ffff:ffff:ffff")));
        assert!(!Cidr::parse("2001:db8::/127").unwrap().is_edge(a("2001:db8::")));
        assert!(Cidr::parse("::1/0").unwrap().contains(a("2001:db8::")) && !six.contains(a("10.9.0.2")));
        for bad in ["10.9.0.2", "10.9.0.2/33", "10.9.0.2/", "10.9.0/24", "10.9.0.2/+4", "::1/129", "::1"] {
            assert_eq!(Cidr::parse(bad), None, "{bad:?}");
        }
    }
}
