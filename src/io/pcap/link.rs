//! What stands in front of a captured packet, by the link type of its capture.

/// IPv4 and IPv6 as EtherTypes.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// Local experimental use (IEEE 802): for what says of itself that it is neither.
const NEITHER: u16 = 0x88b5;
/// `ARPHRD_FRAD`, `ARPHRD_IEEE80211_RADIOTAP` and `ARPHRD_NETLINK` of linux/if_arp.h: of these devices alone
/// the protocol number is no EtherType.
const OTHER_NUMBERS: [u16; 3] = [770, 803, 824];

/// What a record's bytes begin with (<https://www.tcpdump.org/linktypes.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkType {
    /// 1: an Ethernet header.
    Ethernet,
    /// 101, 228, 229: an IPv4 or IPv6 header.
    RawIp,
    /// 113: Linux "cooked" v1, what `-i any` gives: 16 bytes.
    LinuxCooked,
    /// 276: Linux "cooked" v2: 20 bytes, the protocol first.
    LinuxCooked2,
    /// 0 and 108: the address family in 4 bytes. 0 has them in the order of whatever machine captured.
    Loopback,
}

/// A captured packet without its link header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// EtherType of `payload`; VLAN tags, if any, stand in `payload` and this is the tag's type.
    pub ethertype: u16,
    /// The sender's MAC address, where the header tells it.
    pub from: Option<[u8; 6]>,
    /// What stands behind the header.
    pub payload: &'a [u8],
}

impl LinkType {
    /// By the number in the file; `None` if it is not known here.
    pub(super) fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::Ethernet),
            101 | 228 | 229 => Some(Self::RawIp),
            113 => Some(Self::LinuxCooked),
            276 => Some(Self::LinuxCooked2),
            0 | 108 => Some(Self::Loopback),
            _ => None,
        }
    }

    /// Takes the header off; `None` if the record is shorter than its header.
    pub fn packet(self, data: &[u8]) -> Option<Packet<'_>> {
        let u16_at = |at: usize| Some(u16::from_be_bytes(data.get(at..at + 2)?.try_into().ok()?));
        let mac = |at: usize| data.get(at..at + 6).and_then(|m| <[u8; 6]>::try_from(m).ok());
        match self {
            Self::Ethernet => Some(Packet { ethertype: u16_at(12)?, from: mac(6), payload: data.get(14..)? }),
            Self::RawIp => Some(Packet { ethertype: by_version(data)?, from: None, payload: data }),
            Self::LinuxCooked => {
                let (device, len, protocol) = (u16_at(2)?, u16_at(4)?, u16_at(14)?);
                let payload = data.get(16..)?;
                let from = if len == 6 { mac(6) } else { None };
                Some(Packet { ethertype: cooked(device, protocol), from, payload })
            }
            Self::LinuxCooked2 => {
                let (protocol, device, len) = (u16_at(0)?, u16_at(8)?, *data.get(11)?);
                let payload = data.get(20..)?;
                let from = if len == 6 { mac(12) } else { None };
                Some(Packet { ethertype: cooked(device, protocol), from, payload })
            }
            Self::Loopback => {
                let (family, payload) = data.split_first_chunk::<4>()?;
                // Which byte order it is cannot be told but by the value, and all are small.
                let family = u32::from_be_bytes(*family).min(u32::from_le_bytes(*family));
                let ethertype = match family {
                    2 => IPV4,
                    // Linux; NetBSD and OpenBSD; FreeBSD; macOS.
                    10 | 24 | 28 | 30 => IPV6,
                    _ => NEITHER,
                };
                Some(Packet { ethertype, from: None, payload })
            }
        }
    }
}

/// Anything that is not IPv6 is shown to the parser as IPv4, which will say what is wrong with it.
fn by_version(data: &[u8]) -> Option<u16> {
    Some(if data.first()? >> 4 == 6 { IPV6 } else { IPV4 })
}

/// The meaning of a cooked header's protocol depends on the device: netlink's family 0 is no EtherType.
fn cooked(device: u16, protocol: u16) -> u16 {
    if OTHER_NUMBERS.contains(&device) { NEITHER } else { protocol }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [LinkType; 5] = [
        LinkType::Ethernet,
        LinkType::RawIp,
        LinkType::LinuxCooked,
        LinkType::LinuxCooked2,
        LinkType::Loopback,
    ];

    fn kind(link: LinkType, data: &[u8]) -> (u16, Option<[u8; 6]>, Vec<u8>) {
        let p = link.packet(data).unwrap();
        (p.ethertype, p.from, p.payload.to_vec())
    }

    #[test]
    fn cooked_headers_tell_protocol_and_sender() {
        let v1 = [0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 7, 0, 0, 8, 0, 0x45];
        assert_eq!(kind(LinkType::LinuxCooked, &v1), (0x0800, Some([2, 0, 0, 0, 0, 7]), vec![0x45]));
        let v2 = [0x86, 0xdd, 0, 0, 0, 0, 0, 3, 0, 1, 4, 6, 2, 0, 0, 0, 0, 9, 0, 0, 0x60];
        assert_eq!(kind(LinkType::LinuxCooked2, &v2), (0x86dd, Some([2, 0, 0, 0, 0, 9]), vec![0x60]));
        // Loopback has an address of zeros, tunnels none; netlink (824) counts families.
        let mut other = v1;
        other[5] = 0;
        other[2..4].copy_from_slice(&0xfffe_u16.to_be_bytes());
        assert_eq!(kind(LinkType::LinuxCooked, &other), (0x0800, None, vec![0x45]));
        // Ethernet, InfiniBand, PPP, raw IP, IP in IP, in IPv6, loopback, IPv6 in IPv4, GRE, GRE in IPv6, none.
        for device in [1, 32, 512, 519, 768, 769, 772, 776, 778, 823, 0xfffe_u16] {
            other[2..4].copy_from_slice(&device.to_be_bytes());
            assert_eq!(kind(LinkType::LinuxCooked, &other).0, 0x0800, "{device}");
        }
        for device in [770, 803, 824_u16] {
            other[2..4].copy_from_slice(&device.to_be_bytes());
            assert_eq!(kind(LinkType::LinuxCooked, &other).0, NEITHER, "{device}");
        }
    }

    #[test]
    fn loopback_families_in_both_byte_orders() {
        for (family, ethertype) in
            [(2, IPV4), (10, IPV6), (24, IPV6), (28, IPV6), (30, IPV6), (7, NEITHER), (0, NEITHER)]
        {
            for head in [u32::to_be_bytes(family), u32::to_le_bytes(family)] {
                let data = [&head[..], &[1, 2]].concat();
                assert_eq!(kind(LinkType::Loopback, &data), (ethertype, None, vec![1, 2]), "{family}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_tail_of_themselves_or_nothing(data in proptest::collection::vec(any::<u8>(), 0..40)) {
            for link in ALL {
                if let Some(p) = link.packet(&data) {
                    prop_assert!(data.ends_with(p.payload));
                }
            }
        }
    }
}
