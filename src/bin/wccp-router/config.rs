//! The router's configuration file.

use crate::impair::Impairment;
use crate::policy::{Prefix, Rule};
use crate::router::{LegConf, Oversize};
use crate::wccp::assign::{Network, RedirectList};
use crate::wccp::codec::{Capabilities, GRE, HASH, L2, MASK, ServiceKey};
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use tidegate::time::Duration;

/// The file as written. Keys that are not known are errors.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The interfaces.
    pub leg: Vec<Leg>,
    /// Networks behind neighbours, in order.
    #[serde(default)]
    pub route: Vec<RouteSection>,
    /// The rules of policy routing, in order.
    #[serde(default)]
    pub policy: Vec<PolicySection>,
    /// The service groups.
    #[serde(default)]
    pub wccp: WccpSection,
    /// `fragment` or `icmp`: what happens when GRE makes a packet too long.
    #[serde(default)]
    pub oversize: OversizeName,
}

/// One interface.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leg {
    /// Interface name.
    pub name: String,
    /// Address and prefix length, `10.0.0.1/24`.
    pub address: String,
    /// IPv6 address and prefix length, `fd00::1/64`.
    pub address6: Option<String>,
    /// IDs of the VLAN tags on this leg, the outer one first: 802.1Q with one, 802.1ad around 802.1Q with two.
    #[serde(default)]
    pub vlan: Vec<u16>,
    /// MTU in bytes; the interface's own if it is not given.
    pub mtu: Option<usize>,
    /// Never redirect what enters here.
    #[serde(default)]
    pub exclude_in: bool,
    /// How bad the line into this leg is.
    pub impair: Option<Impairment>,
}

/// A network that is not on a leg.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSection {
    /// `10.1.0.0/16` or `2001:db8::/32`.
    pub network: String,
    /// The neighbour behind whom it is, on the network of a leg.
    pub via: String,
}

/// One rule of policy routing, for TCP.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySection {
    /// Names of legs on which packets enter; none: any.
    #[serde(default, rename = "in")]
    pub in_legs: Vec<String>,
    /// Where they come from, `10.0.0.0/24`.
    pub from: Option<String>,
    /// Where they go.
    pub to: Option<String>,
    /// Destination ports; none: any.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// Source ports; none: any.
    #[serde(default)]
    pub source_ports: Vec<u16>,
    /// Whom they are given to, on the network of a leg.
    pub next_hop: String,
    /// How long the next hop may be silent before packets go straight on; `1500ms` if it is not given.
    pub dead_after: Option<String>,
}

/// What holds for all groups.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WccpSection {
    /// Router ID; the highest address of a leg if it is not given.
    pub router_id: Option<Ipv4Addr>,
    /// T, `10s` or `500ms`; 10 s if it is not given.
    pub here_i_am: Option<String>,
    /// The groups.
    #[serde(default)]
    pub group: Vec<GroupSection>,
}

/// One group.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSection {
    /// Number of a dynamic service, or 0 with `standard = true`.
    pub id: u8,
    /// A standard service.
    #[serde(default)]
    pub standard: bool,
    /// File with the password, 1 to 8 bytes, in its first line.
    pub password_file: Option<String>,
    /// Names of legs: redirect what enters there.
    #[serde(default)]
    pub redirect_in: Vec<String>,
    /// Names of legs: redirect what leaves there.
    #[serde(default)]
    pub redirect_out: Vec<String>,
    /// The redirect list: ports that are not redirected.
    #[serde(default)]
    pub deny_ports: Vec<u16>,
    /// The redirect list: networks, `10.0.0.0/24`, that packets must come from; none: any.
    #[serde(default)]
    pub permit_from: Vec<String>,
    /// The redirect list: networks that packets must go to; none: any.
    #[serde(default)]
    pub permit_to: Vec<String>,
    /// `gre`, `l2`.
    pub forward: Option<Vec<Method>>,
    /// `gre`, `l2`.
    #[serde(rename = "return")]
    pub packet_return: Option<Vec<Method>>,
    /// `hash`, `mask`; `hash` if it is not given.
    pub assignment: Option<Vec<Assignment>>,
    /// On purpose: answer whoever asks, whatever the digest.
    #[serde(default)]
    pub fault_trust_all: bool,
    /// On purpose: never take an assignment.
    #[serde(default)]
    pub fault_assign_nothing: bool,
    /// On purpose: answer with another description of the service than the caches'.
    #[serde(default)]
    pub fault_describe_otherwise: bool,
}

/// A forwarding or return method.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// GRE tunnel.
    Gre,
    /// Same segment, MAC address rewritten.
    L2,
}

/// How packets are shared out.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Assignment {
    /// By hash.
    Hash,
    /// By mask.
    Mask,
}

/// See [`Oversize`].
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OversizeName {
    /// Cut the outer packet.
    #[default]
    Fragment,
    /// Answer with ICMP.
    Icmp,
}

impl From<OversizeName> for Oversize {
    fn from(name: OversizeName) -> Self {
        match name {
            OversizeName::Fragment => Self::Fragment,
            OversizeName::Icmp => Self::Icmp,
        }
    }
}

/// Reads a configuration file.
///
/// # Errors
/// A line for people: the file, and what is wrong in it.
pub fn load(path: &Path) -> Result<Config, String> {
    let at = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| format!("{at}: {e}"))?;
    let config: Config = toml::from_str(&text).map_err(|e| format!("{at}: {e}"))?;
    if config.leg.is_empty() {
        return Err(format!("{at}: there is no [[leg]]"));
    }
    Ok(config)
}

impl Leg {
    /// The IPv6 address and its prefix length, if there is one.
    ///
    /// # Errors
    /// A line for people.
    pub fn network6(&self) -> Result<Option<(Ipv6Addr, u8)>, String> {
        let Some(text) = &self.address6 else { return Ok(None) };
        let parsed = text.split_once('/').and_then(|(a, p)| Some((a.parse().ok()?, p.parse().ok()?)));
        parsed
            .filter(|(_, prefix)| *prefix <= 128)
            .map(Some)
            .ok_or_else(|| format!("leg {}: address6 \"{text}\" is not like fd00::1/64", self.name))
    }

    /// The bytes of the tags, as they stand between the MAC addresses and the EtherType.
    ///
    /// # Errors
    /// A line for people.
    pub fn tags(&self) -> Result<Vec<u8>, String> {
        if self.vlan.len() > 2 || self.vlan.iter().any(|id| !(1..=4094).contains(id)) {
            return Err(format!(
                "leg {}: vlan is one or two IDs from 1 to 4094, the outer one first",
                self.name
            ));
        }
        let types: &[u16] = if self.vlan.len() == 2 { &[0x88a8, 0x8100] } else { &[0x8100] };
        Ok(types.iter().zip(&self.vlan).flat_map(|(t, id)| [*t, *id]).flat_map(u16::to_be_bytes).collect())
    }

    /// Address and prefix length.
    ///
    /// # Errors
    /// A line for people.
    pub fn network(&self) -> Result<(Ipv4Addr, u8), String> {
        network(&self.address)
            .ok_or_else(|| format!("leg {}: address \"{}\" is not like 10.0.0.1/24", self.name, self.address))
    }
}

/// An address and the length of its prefix, written with a slash between them.
fn network(text: &str) -> Option<Network> {
    let (address, prefix) = text.split_once('/')?;
    Some((address.parse().ok()?, prefix.parse().ok()?)).filter(|(_, prefix)| *prefix <= 32)
}

impl RouteSection {
    /// The network, and the neighbour's address.
    ///
    /// # Errors
    /// A line for people.
    pub fn parse(&self) -> Result<(Prefix, IpAddr), String> {
        let network = self.network.parse();
        let network = network.map_err(|()| format!("route: \"{}\" is not like 10.0.0.0/24", self.network))?;
        let via = self.via.parse().map_err(|_| format!("route: via \"{}\" is no address", self.via))?;
        Ok((network, via))
    }
}

impl PolicySection {
    /// The rule, with legs by number.
    ///
    /// # Errors
    /// A line for people.
    pub fn rule(&self, legs: &[LegConf]) -> Result<Rule, String> {
        let network = |text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => {
                text.parse().map(Some).map_err(|()| format!("policy: \"{text}\" is not like 10.0.0.0/24"))
            }
        };
        let next_hop = self.next_hop.parse();
        Ok(Rule {
            in_legs: leg_indexes(&self.in_legs, legs).map_err(|e| format!("policy: {e}"))?,
            from: network(&self.from)?,
            to: network(&self.to)?,
            ports: self.ports.clone(),
            source_ports: self.source_ports.clone(),
            next_hop: next_hop
                .map_err(|_| format!("policy: next_hop \"{}\" is no address", self.next_hop))?,
            dead_after: duration(self.dead_after.as_deref().unwrap_or("1500ms"))
                .map_err(|e| format!("policy: dead_after {e}"))?,
        })
    }
}

impl WccpSection {
    /// T.
    ///
    /// # Errors
    /// A line for people.
    pub fn interval(&self) -> Result<Duration, String> {
        duration(self.here_i_am.as_deref().unwrap_or("10s")).map_err(|e| format!("wccp: here_i_am {e}"))
    }
}

/// The numbers of the legs with these names.
///
/// # Errors
/// A line for people: there is no such leg.
pub fn leg_indexes(names: &[String], legs: &[LegConf]) -> Result<Vec<usize>, String> {
    let index = |name: &String| {
        legs.iter().position(|l| l.name == *name).ok_or_else(|| format!("there is no leg \"{name}\""))
    };
    names.iter().map(index).collect()
}

fn duration(text: &str) -> Result<Duration, String> {
    let seconds = match text.strip_suffix("ms") {
        Some(ms) => ms.parse::<f64>().map(|ms| ms / 1000.0),
        None => text.trim_end_matches('s').parse::<f64>(),
    };
    seconds
        .ok()
        .filter(|s| (0.01..=3600.0).contains(s))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("\"{text}\" is not a time from 10ms to 3600s"))
}

impl GroupSection {
    /// Which group.
    pub fn key(&self) -> ServiceKey {
        ServiceKey { kind: u8::from(!self.standard), id: self.id }
    }

    /// What the router offers.
    pub fn offer(&self) -> Capabilities {
        let mask = |methods: &Option<Vec<Method>>| match methods {
            None => GRE | L2,
            Some(list) => list.iter().fold(0, |m, method| {
                m | match method {
                    Method::Gre => GRE,
                    Method::L2 => L2,
                }
            }),
        };
        Capabilities {
            forward: mask(&self.forward),
            assignment: match &self.assignment {
                None => HASH,
                Some(list) => list.iter().fold(0, |m, method| {
                    m | match method {
                        Assignment::Hash => HASH,
                        Assignment::Mask => MASK,
                    }
                }),
            },
            packet_return: mask(&self.packet_return),
        }
    }

    /// What is redirected of the service's packets.
    ///
    /// # Errors
    /// A line for people: not a network.
    pub fn redirect_list(&self) -> Result<RedirectList, String> {
        let networks = |list: &[String]| {
            let one = |text: &String| {
                network(text).ok_or_else(|| format!("group {}: \"{text}\" is not like 10.0.0.0/24", self.id))
            };
            list.iter().map(one).collect::<Result<Vec<_>, _>>()
        };
        Ok(RedirectList {
            permit_from: networks(&self.permit_from)?,
            permit_to: networks(&self.permit_to)?,
            deny_ports: self.deny_ports.clone(),
        })
    }

    /// The password, if there is one.
    ///
    /// # Errors
    /// A line for people: no such file, or not 1 to 8 bytes.
    pub fn password(&self) -> Result<Option<Vec<u8>>, String> {
        let Some(path) = &self.password_file else { return Ok(None) };
        let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
        let line = text.lines().next().unwrap_or_default().as_bytes().to_vec();
        if line.is_empty() || line.len() > 8 {
            return Err(format!("{path}: a WCCP password has 1 to 8 bytes"));
        }
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> Result<Config, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn a_whole_file_is_understood() {
        let c = section(
            "oversize = 'icmp'\n[[leg]]\nname='a'\naddress='10.0.0.1/24'\naddress6='fd00::1/64'\n[[leg]]\nname='g'\n\
             address='10.9.0.1/24'\nexclude_in=true\nvlan=[7,100]\n[wccp]\nhere_i_am='500ms'\n[[wccp.group]]\nid=61\n\
             redirect_in=['a']\nforward=['gre']\nassignment=['mask']\ndeny_ports=[2021]\npermit_to=['10.0.0.0/24']\n",
        )
        .unwrap();
        assert_eq!(c.wccp.interval(), Ok(Duration::from_millis(500)));
        assert_eq!(c.leg[0].network(), Ok((Ipv4Addr::new(10, 0, 0, 1), 24)));
        assert_eq!(c.leg[0].network6(), Ok(Some(("fd00::1".parse().unwrap(), 64))));
        assert_eq!(c.leg[0].tags(), Ok(vec![]));
        assert_eq!(c.leg[1].tags(), Ok(vec![0x88, 0xa8, 0, 7, 0x81, 0, 0, 100]));
        let offer = c.wccp.group[0].offer();
        assert_eq!((offer.forward, offer.assignment, offer.packet_return), (GRE, MASK, GRE | L2));
        assert_eq!(c.wccp.group[0].key(), ServiceKey { kind: 1, id: 61 });
        let list = c.wccp.group[0].redirect_list().unwrap();
        assert_eq!((list.deny_ports, list.permit_from), (vec![2021], vec![]));
        assert_eq!(list.permit_to, [(Ipv4Addr::new(10, 0, 0, 0), 24)]);
    }

    #[test]
    fn mistakes_are_errors() {
        assert!(section("[[leg]]\nname='a'\naddress='1.2.3.4/8'\nspeed=1\n").is_err());
        for bad in ["10.0.0.1", "10.0.0.1/33", "10.0.0/24", "x/y"] {
            let leg = Leg { name: "a".into(), address: bad.into(), ..Leg::default() };
            assert!(leg.network().is_err(), "{bad}");
        }
        for bad in [vec![0], vec![4095], vec![1, 2, 3]] {
            let leg = Leg { vlan: bad.clone(), ..Leg::default() };
            assert!(leg.tags().is_err(), "{bad:?}");
        }
        for bad in ["fd00::1", "fd00::1/129", "10.0.0.1/24"] {
            let leg = Leg { address6: Some(bad.into()), ..Leg::default() };
            assert!(leg.network6().is_err(), "{bad}");
        }
        let good = PolicySection { next_hop: "10.9.0.2".into(), ..PolicySection::default() };
        assert!(good.rule(&[]).is_ok());
        let wrong = PolicySection { next_hop: "gateway".into(), ..PolicySection::default() };
        assert!(wrong.rule(&[]).unwrap_err().contains("gateway"));
        let route =
            |network: &str, via: &str| RouteSection { network: network.into(), via: via.into() }.parse();
        assert!(route("fd00::/16", "fd01::1").is_ok());
        assert!(route("10.0.0.0", "10.0.0.1").is_err() && route("10.0.0.0/8", "there").is_err());
        let wrong = PolicySection { from: Some("10.0.0.1".into()), ..good };
        assert!(wrong.rule(&[]).unwrap_err().contains("10.0.0.1"));
        for bad in ["", "0s", "fast", "-1s", "1h"] {
            let s = WccpSection { here_i_am: Some(bad.into()), ..WccpSection::default() };
            assert!(s.interval().is_err(), "{bad}");
        }
    }
}
