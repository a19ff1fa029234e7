//! What must hold before an interface is opened, found out without opening it.

use super::nic::{NicProfile, NicProfileError, Offload, offload_warning};
use super::os::{self, Capability};
use crate::config::{Config, Deployment, Driver, Interface, Mode};
use crate::event::What;
use crate::io::link;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use std::fmt;
use std::net::IpAddr;

/// The largest MTU that frame memory and the path to the router are laid out for, in bytes.
const MAX_MTU: u32 = 1500;
/// The least MTU of IPv4 hosts (RFC 791); a redirected packet would not fit below it.
const MIN_MTU: u32 = 576;
/// The least MTU of a link that IPv6 is used on (RFC 8200 section 5).
const MIN_MTU_V6: u32 = 1280;

/// Remedies where the host would lose an interface that it uses: by redirection, and in line, where none is shared.
const OWN_INTERFACE: &str = "use an interface of its own, or mode = \"shared\", or give --force";
const OWN_IN_LINE: &str = "use an interface of its own, or give --force";

/// A reason not to start. The text is one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{subject}: {what}; {remedy}")]
pub struct Refusal {
    /// What it is about: an interface, or the program.
    pub subject: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// Reasons not to start, all that were found. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusals(pub Vec<Refusal>);

impl std::error::Error for Refusals {}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Refusal::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// What is fit to start with.
#[derive(Debug)]
pub struct Ready {
    /// The cards' profiles, in the order of the interfaces.
    pub profiles: Vec<NicProfile>,
    /// What the operator should mend although work can begin.
    pub warnings: Vec<What>,
}

/// What the kernel says about an interface and itself; apart from the judgement, so that it can be tested.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Facts {
    exists: bool,
    up: bool,
    mtu: u32,
    /// The kernel's own addresses, each with its interface; without IPv6's link-local ones, which every
    /// interface has and no host is known by.
    addresses: Vec<(String, IpAddr)>,
    default_route: bool,
    /// What the kernel forwards of that which comes in to us as well.
    forwarded: Vec<Forwarded>,
    /// Whether the card takes VLAN tags out of frames.
    tags_taken_out: bool,
    missing: Vec<Capability>,
}

/// An interface, and a family, as the kernel calls it, that it forwards when it comes in by that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Forwarded {
    interface: String,
    family: &'static str,
}

impl Forwarded {
    /// What is wrong with it where packets are redirected to our MAC address.
    pub(super) fn what(&self) -> String {
        format!(
            "the host forwards {} that comes in by the interface; where packets are redirected to our MAC address \
             these cannot be told apart, and the host's would be taken",
            self.family
        )
    }

    /// The command that ends it.
    pub(super) fn remedy(&self) -> String {
        format!("`sysctl -w net/{}/conf/{}/forwarding=0`", self.family, self.interface)
    }
}

/// What the kernel forwards of frames on `name` that have the tags of `vlan`, see [`link::takers`].
pub(super) fn forwarded(name: &str, vlan: Option<&[u16]>) -> Vec<Forwarded> {
    let (Ok(base), Ok(all)) = (link::find(name), link::all(name)) else { return Vec::new() };
    let mut found = Vec::new();
    for taker in link::takers(&base, &all, vlan) {
        for family in ["ipv4", "ipv6"] {
            // A family that the kernel does not have has no such file, and forwards nothing.
            let setting = format!("/proc/sys/net/{family}/conf/{}/forwarding", taker.name);
            if std::fs::read_to_string(setting).is_ok_and(|v| v.trim() != "0") {
                found.push(Forwarded { interface: taker.name.clone(), family });
            }
        }
    }
    found
}

/// Looks whether `run` may begin. With `force` an interface that the host itself uses is accepted.
///
/// # Errors
/// Everything that stands against it.
pub fn check(config: &Config, force: bool) -> Result<Ready, Refusals> {
    let (mut refusals, mut profiles, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    let facts: Vec<Facts> = config.interfaces().map(gather).collect();
    refusals.extend(unequal(config, &facts));
    for (interface, facts) in config.interfaces().zip(&facts) {
        // What the program lacks it lacks for each of them.
        for refusal in judge(config, interface, force, facts) {
            if !refusals.contains(&refusal) {
                refusals.push(refusal);
            }
        }
        match NicProfile::load(&interface.nic_profile) {
            Ok(profile) => {
                let on = match refusals.is_empty() {
                    true => profile.on_but_must_be_off(&interface.name).unwrap_or_default(),
                    false => Vec::new(),
                };
                warnings.extend(offload_warning(&interface.name, &on));
                profiles.push(profile);
            }
            Err(NicProfileError { file, what, remedy }) => {
                refusals.push(Refusal { subject: file.display().to_string(), what, remedy });
            }
        }
    }
    if refusals.is_empty() { Ok(Ready { profiles, warnings }) } else { Err(Refusals(refusals)) }
}

/// A bridge cannot cut what is too long for its other side, nor has it an address to say so.
fn unequal(config: &Config, facts: &[Facts]) -> Option<Refusal> {
    let [inside, outside] = facts else { return None };
    let known = config.deployment == Deployment::Bridge && inside.exists && outside.exists;
    let name = &config.outside.as_ref()?.name;
    (known && inside.mtu != outside.mtu).then(|| Refusal {
        subject: name.clone(),
        what: format!("its MTU is {}, that of {} {}", outside.mtu, config.interface.name, inside.mtu),
        remedy: format!(
            "run `ip link set dev {name} mtu {}`: both sides of a bridge are one link",
            inside.mtu
        ),
    })
}

fn gather(i: &Interface) -> Facts {
    let name = i.name.as_str();
    let needed: &[Capability] = match i.driver {
        Driver::AfXdp => &[Capability::NetAdmin, Capability::NetRaw, Capability::Bpf],
        Driver::Pnet => &[Capability::NetRaw],
    };
    let mut facts = Facts {
        // Without /proc the kernel's own refusal comes later, when the socket is opened.
        missing: os::missing_capabilities(needed).unwrap_or_default(),
        default_route: ["/proc/self/net/route", "/proc/self/net/ipv6_route"]
            .iter()
            .filter_map(|file| std::fs::read_to_string(file).ok())
            .any(|routes| has_default_route(&routes, name)),
        forwarded: forwarded(name, i.vlan.as_deref()),
        tags_taken_out: Offload::RxVlan.is_on(name).unwrap_or(false),
        ..Facts::default()
    };
    if let Ok(mtu) = os::mtu(name) {
        facts.exists = true;
        facts.mtu = mtu;
    }
    for a in getifaddrs().into_iter().flatten() {
        let interface = link::unlabelled(&a.interface_name).to_owned();
        facts.up |= interface == name && a.flags.contains(InterfaceFlags::IFF_UP);
        let Some(address) = a.address else { continue };
        let v4 = address.as_sockaddr_in().map(|s| IpAddr::V4(s.ip()));
        let v6 = address.as_sockaddr_in6().map(|s| s.ip()).filter(|a| !a.is_unicast_link_local());
        if let Some(ip) = v4.or(v6.map(IpAddr::V6)) {
            facts.addresses.push((interface, ip));
        }
    }
    facts
}

/// Whether the kernel's table (`route` or `ipv6_route` of proc(5)) has a default route by this interface.
fn has_default_route(table: &str, name: &str) -> bool {
    table.lines().any(|line| {
        let f: Vec<&str> = line.split_whitespace().collect();
        match f.as_slice() {
            // Interface, destination, gateway, flags, use, metric, …, mask.
            [i, "00000000", _, _, _, _, _, "00000000", ..] => *i == name,
            // Destination, its length, source, its length, next hop, metric, use, flags…, interface. The
            // kernel's own unreachable entries look alike, but their interface is lo.
            [dst, "00", _, _, _, _, _, _, _, i] => *i == name && dst.bytes().all(|b| b == b'0'),
            _ => false,
        }
    })
}

fn judge(config: &Config, i: &Interface, force: bool, facts: &Facts) -> Vec<Refusal> {
    let name = i.name.as_str();
    let mut refusals = Vec::new();
    let mut refuse = |subject: &str, what: String, remedy: String| {
        refusals.push(Refusal { subject: subject.to_owned(), what, remedy });
    };
    if !facts.missing.is_empty() {
        let list = facts.missing.iter().map(Capability::to_string).collect::<Vec<_>>();
        let set = list.join(",").to_lowercase();
        refuse(
            "tidegate",
            format!("missing {}", list.join(", ")),
            format!(
                "start as root, or run `setcap {set}+ep` on the program, or set AmbientCapabilities={} in its \
                 systemd unit",
                list.join(" ")
            ),
        );
    }
    if !facts.exists {
        refuse(name, "no such interface".to_owned(), "see `ip link` and mend interface.name".to_owned());
        return refusals;
    }
    if !facts.up {
        refuse(name, "the interface is down".to_owned(), format!("run `ip link set dev {name} up`"));
    }
    let least = if i.v6.is_some() { MIN_MTU_V6 } else { MIN_MTU };
    // What a second tag takes is taken from the packets.
    let room = u16::try_from(facts.mtu).map_or(facts.mtu, |mtu| i.mtu(mtu).into());
    if room < least || facts.mtu > MAX_MTU {
        let least = least + facts.mtu - room;
        refuse(
            name,
            format!("MTU {} is not from {least} to {MAX_MTU}", facts.mtu),
            format!("run `ip link set dev {name} mtu {MAX_MTU}`"),
        );
    }
    let own = i.addresses();
    let alone = i.mode == Mode::Dedicated && !force;
    let own_interface = if config.deployment.in_line() { OWN_IN_LINE } else { OWN_INTERFACE };
    for (interface, address) in &facts.addresses {
        if let Some((own, prefix)) = own.iter().find(|(a, _)| a == address) {
            refuse(
                interface,
                format!("the kernel has our address {own}, and would reset our connections"),
                format!("run `ip address delete {own}/{prefix} dev {interface}`"),
            );
        } else if interface == name && alone {
            refuse(
                name,
                format!("the host itself uses the interface, with address {address}, and would lose it"),
                own_interface.to_owned(),
            );
        }
    }
    if facts.default_route && alone {
        refuse(
            name,
            "the host's default route goes by the interface, and would be lost".to_owned(),
            own_interface.to_owned(),
        );
    }
    if i.mode == Mode::Shared && config.by_mac() && !force {
        for forwarded in &facts.forwarded {
            refuse(
                &forwarded.interface,
                forwarded.what(),
                format!(
                    "use an interface of its own, redirection by GRE, {}, or give --force",
                    forwarded.remedy()
                ),
            );
        }
    }
    let bridge = config.deployment == Deployment::Bridge;
    let tagged = bridge || i.vlan.as_ref().is_some_and(|v| !v.is_empty());
    if tagged && i.driver == Driver::AfXdp && facts.tags_taken_out {
        refuse(
            name,
            match bridge {
                true => "the card takes VLAN tags out of frames (rxvlan), and they would be lost",
                false => "the card takes VLAN tags out of frames (rxvlan), so none would be of our VLAN",
            }
            .to_owned(),
            format!("run `ethtool -K {name} rxvlan off`, or use driver = \"pnet\""),
        );
    }
    refusals
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::path::Path;

    const TEXT: &str = "version = 1\n[deployment]\nkind = \"wccp\"\n[[interface]]\nname = \"NAME\"\n\
                        address = [\"10.9.0.2/24\", \"2001:db8:9::2/64\"]\n\
                        next_hop = [\"10.9.0.1\", \"fe80::1\"]\n[wccp]\nrouters = [\"10.9.0.1\"]\n\
                        [[wccp.group]]\nid = 61\nports = [21, 20, 2020]\n[[service]]\nname = \"ftp\"\nports = [21]\n\
                        data_ports = [2020]\n";

    fn config(name: &str) -> Config {
        crate::config::parse(&TEXT.replace("NAME", name), Path::new("t.toml")).unwrap()
    }

    fn good() -> Facts {
        let addresses = vec![
            ("lo".to_owned(), Ipv4Addr::LOCALHOST.into()),
            ("lo".to_owned(), Ipv6Addr::LOCALHOST.into()),
            ("eth0".to_owned(), Ipv4Addr::new(10, 1, 1, 1).into()),
        ];
        Facts { exists: true, up: true, mtu: 1500, addresses, ..Facts::default() }
    }

    fn judge_first(config: &Config, force: bool, facts: &Facts) -> Vec<Refusal> {
        judge(config, &config.interface, force, facts)
    }

    fn told(force: bool, change: impl FnOnce(&mut Facts)) -> Vec<String> {
        let mut facts = good();
        change(&mut facts);
        judge_first(&config("eth1"), force, &facts).iter().map(Refusal::to_string).collect()
    }

    #[test]
    fn every_refusal_has_its_words() {
        assert_eq!(told(false, |_| {}), [""; 0]);
        assert_eq!(
            told(false, |f| f.exists = false),
            ["eth1: no such interface; see `ip link` and mend interface.name"]
        );
        assert_eq!(
            told(false, |f| f.up = false),
            ["eth1: the interface is down; run `ip link set dev eth1 up`"]
        );
        for mtu in [1279, 1501, 9000] {
            assert_eq!(
                told(false, |f| f.mtu = mtu),
                [format!("eth1: MTU {mtu} is not from 1280 to 1500; run `ip link set dev eth1 mtu 1500`")]
            );
        }
        assert_eq!(told(false, |f| f.mtu = 1280), [""; 0]);
        let of = |from: &str, to: &str, mtu, tags_taken_out| {
            let text = TEXT.replace("NAME", "eth1").replace(from, to);
            let config = crate::config::parse(&text, Path::new("t.toml")).unwrap();
            let facts = Facts { mtu, tags_taken_out, ..good() };
            judge_first(&config, false, &facts).iter().map(Refusal::to_string).collect::<Vec<_>>()
        };
        let v4 = |mtu| {
            of(
                ", \"2001:db8:9::2/64\"]\nnext_hop = [\"10.9.0.1\", \"fe80::1\"]",
                "]\nnext_hop = \"10.9.0.1\"",
                mtu,
                false,
            )
        };
        assert_eq!(v4(576), [""; 0]);
        assert_eq!(v4(575), ["eth1: MTU 575 is not from 576 to 1500; run `ip link set dev eth1 mtu 1500`"]);
        let two = |mtu| of("[wccp]", "vlan = [100, 200]\n[wccp]", mtu, false);
        assert_eq!(two(1288), [""; 0]);
        assert_eq!(
            two(1287),
            ["eth1: MTU 1287 is not from 1288 to 1500; run `ip link set dev eth1 mtu 1500`"]
        );
        assert_eq!(
            of("[wccp]", "vlan = [100]\n[wccp]", 1500, true),
            [
                "eth1: the card takes VLAN tags out of frames (rxvlan), so none would be of our VLAN; run `ethtool -K eth1 \
                 rxvlan off`, or use driver = \"pnet\""
            ]
        );
        for without in ["[wccp]", "driver = \"pnet\"\nvlan = [100]\n[wccp]"] {
            assert_eq!(of("[wccp]", without, 1500, true), [""; 0], "{without}");
        }
        assert_eq!(
            told(false, |f| f.missing = vec![Capability::NetRaw, Capability::Bpf]),
            [
                "tidegate: missing CAP_NET_RAW, CAP_BPF; start as root, or run `setcap cap_net_raw,cap_bpf+ep` on the \
             program, or set AmbientCapabilities=CAP_NET_RAW CAP_BPF in its systemd unit"
            ]
        );
    }

    #[test]
    fn an_interface_that_the_host_uses_needs_force() {
        let address =
            |f: &mut Facts| f.addresses.push(("eth1".to_owned(), Ipv4Addr::new(10, 9, 0, 7).into()));
        assert_eq!(
            told(false, address),
            [
                "eth1: the host itself uses the interface, with address 10.9.0.7, and would lose it; use an interface \
             of its own, or mode = \"shared\", or give --force"
            ]
        );
        assert_eq!(told(true, address), [""; 0]);
        assert_eq!(
            told(false, |f| f.default_route = true),
            [
                "eth1: the host's default route goes by the interface, and would be lost; use an interface of its own, \
             or mode = \"shared\", or give --force"
            ]
        );
        assert_eq!(told(true, |f| f.default_route = true), [""; 0]);
        // Our own address in the kernel is wrong anywhere, and no force helps.
        let own = |f: &mut Facts| f.addresses.push(("eth0".to_owned(), Ipv4Addr::new(10, 9, 0, 2).into()));
        assert_eq!(
            told(true, own),
            [
                "eth0: the kernel has our address 10.9.0.2, and would reset our connections; run `ip address delete \
             10.9.0.2/24 dev eth0`"
            ]
        );
    }

    #[test]
    fn a_shared_interface_may_be_the_hosts_but_what_it_forwards_cannot_be_told_from_the_redirected() {
        let told = |text: &str, force: bool, change: &dyn Fn(&mut Facts)| {
            let config = crate::config::parse(text, Path::new("t.toml")).unwrap();
            let mut facts = good();
            change(&mut facts);
            judge_first(&config, force, &facts).iter().map(Refusal::to_string).collect::<Vec<_>>()
        };
        let gre = "version = 1\n[deployment]\nkind = \"wccp\"\n[[interface]]\nname = \"eth1\"\nmode = \"shared\"\n\
                   address = [\"10.9.0.2/24\"]\nnext_hop = \"10.9.0.1\"\n[wccp]\nrouters = [\"10.9.0.1\"]\n\
                   [[wccp.group]]\nid = 61\nports = [21, 20, 2020]\n[[service]]\nname = \"ftp\"\nports = [21]\n\
                   data_ports = [2020]\n";
        let (head, rest) = gre.split_once("[wccp]").unwrap();
        let (_, service) = rest.split_once("[[service]]").unwrap();
        let by_mac = format!("{}[[service]]{service}", head.replace("wccp", "static"));
        let own = |f: &mut Facts| f.addresses.push(("eth1".to_owned(), Ipv4Addr::new(10, 9, 0, 2).into()));
        for text in [gre, &by_mac] {
            let used = |f: &mut Facts| {
                f.addresses.push(("eth1".to_owned(), Ipv4Addr::new(10, 9, 0, 7).into()));
                f.default_route = true;
            };
            assert_eq!(told(text, false, &used), [""; 0]);
            assert!(told(text, true, &own)[0].contains("the kernel has our address 10.9.0.2"));
        }
        let forwards =
            |f: &mut Facts| f.forwarded = vec![Forwarded { interface: "eth1".into(), family: "ipv4" }];
        assert_eq!(told(gre, false, &forwards), [""; 0]);
        assert_eq!(told(&by_mac, true, &forwards), [""; 0]);
        assert_eq!(
            told(&by_mac, false, &forwards),
            [
                "eth1: the host forwards ipv4 that comes in by the interface; where packets are redirected to our MAC \
                 address these cannot be told apart, and the host's would be taken; use an interface of its own, \
                 redirection by GRE, `sysctl -w net/ipv4/conf/eth1/forwarding=0`, or give --force"
            ]
        );
        assert_eq!(told(&by_mac.replace("mode = \"shared\"\n", ""), false, &forwards), [""; 0]);
    }

    #[test]
    fn default_routes_are_found_in_the_kernels_tables() {
        let v4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                  eth0\t00000000\t0101010A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                  eth1\t0000090A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        assert!(has_default_route(v4, "eth0") && !has_default_route(v4, "eth1"));
        let zero = "0".repeat(32);
        let v6 = format!(
            "{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth1\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n"
        );
        assert!(has_default_route(&v6, "eth1") && !has_default_route(&v6, "eth0"));
    }

    #[test]
    fn a_bridge_is_one_link_and_loses_no_tags() {
        let text = "version = 1\n[deployment]\nkind = \"bridge\"\n[[interface]]\nname = \"eth1\"\nrole = \"inside\"\n\
                    [[interface]]\nname = \"eth2\"\nrole = \"outside\"\n[[service]]\nname = \"ftp\"\nports = [21]\n\
                    handling = \"inspect\"\n";
        let config = crate::config::parse(text, Path::new("t.toml")).unwrap();
        let facts = |mtu| Facts { mtu, ..good() };
        assert_eq!(unequal(&config, &[facts(1500), facts(1500)]), None);
        assert_eq!(
            unequal(&config, &[facts(1500), facts(1400)]).unwrap().to_string(),
            "eth2: its MTU is 1400, that of eth1 1500; run `ip link set dev eth2 mtu 1500`: both sides of a bridge are \
             one link"
        );
        let taken_out = Facts { tags_taken_out: true, ..good() };
        let told = |facts: &Facts| -> Vec<String> {
            judge(&config, config.outside.as_ref().unwrap(), false, facts)
                .iter()
                .map(Refusal::to_string)
                .collect()
        };
        assert_eq!(
            told(&taken_out),
            [
                "eth2: the card takes VLAN tags out of frames (rxvlan), and they would be lost; run `ethtool -K eth2 \
                 rxvlan off`, or use driver = \"pnet\""
            ]
        );
        assert_eq!(
            told(&Facts { default_route: true, ..good() }),
            [
                "eth2: the host's default route goes by the interface, and would be lost; use an interface of its own, \
                 or give --force"
            ]
        );
    }

    #[test]
    fn the_loopback_interface_is_the_hosts_and_too_wide() {
        let error = check(&config("lo"), false).unwrap_err().to_string();
        assert!(error.contains("lo: the host itself uses the interface, with address 127.0.0.1"), "{error}");
        let error = check(&config("tg-none"), false).unwrap_err().to_string();
        assert!(
            error.ends_with("tg-none: no such interface; see `ip link` and mend interface.name"),
            "{error}"
        );
    }
}
