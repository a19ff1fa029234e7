//! What values mean together: everything that one key alone cannot tell.

use super::checked::{
    Assignment, Config, DataSource, Deployment, Driver, Group, GroupRole, Interface, Method, Mode, Network,
    Password, Service, Wccp,
};
use super::raw::{Raw, RawGroup, RawInterface, RawService, RawWccp, relative};
use super::reader::{At, Place, Source};
use super::units::Cidr;
use super::upstream::{self, Reverse};
use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;

/// Room for ports in a service group (WCCP version 2, service information).
const GROUP_PORTS: usize = 8;
const PASSWORD_BYTES: usize = 8;
/// Six bits, the same as routers' makers take.
const DEFAULT_MASK: u32 = 0x1741;
const MASK_BITS: u32 = 7;

/// The configuration, if nothing was found wrong in it; what is wrong is noted in `source`.
pub(super) fn check(source: &Source<'_>, raw: Raw) -> Option<Config> {
    let mut notes = Vec::new();
    let forward = |w: &RawWccp| {
        let groups = w.groups.iter().filter(|g| g.role == GroupRole::Forward);
        groups.flat_map(|g| g.ports.iter().map(|p| p.value)).collect::<BTreeSet<u16>>()
    };
    let redirected = raw.wccp.as_ref().map(forward);
    let reverse = raw.wccp.as_ref().map(Reverse::of);
    let services = services(source, &raw.services, redirected.as_ref(), reverse.as_ref(), &mut notes);
    let routers = raw.wccp.as_ref().map(|w| w.routers.clone()).unwrap_or_default();
    let mode = raw.interface.as_ref().map(|i| i.mode.place.clone());
    let interface = raw.interface.and_then(|i| interface(source, i, &routers));
    if let (Some(i), Some(router)) = (&interface, routers.first())
        && i.v4.is_none()
    {
        let remedy = "add an IPv4 address to interface.address and its router to next_hop";
        source.error(&router.place, "WCCP and GRE speak IPv4, and we have no IPv4 address", remedy);
    }
    let own = interface.as_ref().and_then(|i| i.v4);
    let wccp = raw.wccp.and_then(|w| wccp(source, w, own, &services, &mut notes));
    let deployment = raw.deployment?;
    if deployment == Deployment::Wccp && wccp.is_none() {
        return None;
    }
    let config = Config {
        file: source.file().to_owned(),
        deployment,
        interface: interface?,
        wccp,
        services,
        limits: raw.limits,
        timers: raw.timers,
        worker: raw.worker,
        events: raw.events,
        notes,
    };
    told_apart(source, &config, &mode?);
    Some(config)
}

/// AF_PACKET hands over what is the host's as well, and redirected packets can be for anybody: only the XDP
/// program, which knows the host's addresses, tells them apart.
fn told_apart(source: &Source<'_>, config: &Config, mode: &Place) {
    let i = &config.interface;
    if i.mode == Mode::Shared && i.driver == Driver::Pnet && config.by_mac() {
        let what = "by driver = \"pnet\" the host's packets and those redirected to our MAC address are not told apart";
        source.error(mode, what, "use driver = \"af_xdp\", or an interface of its own");
    }
}

fn interface(source: &Source<'_>, raw: RawInterface, routers: &[At<Ipv4Addr>]) -> Option<Interface> {
    let ours = |router: &&At<Ipv4Addr>| raw.addresses.iter().any(|a| a.value.address == router.value);
    for router in routers.iter().filter(ours) {
        let what = format!("{} is our own address", router.value);
        source.error(&router.place, what, "write the router's address, or another interface.address");
    }
    let (mut v4, mut v6) = (None, None);
    for At { value: cidr, place } in &raw.addresses {
        let of_family = |a: &&At<IpAddr>| a.value.is_ipv4() == cidr.address.is_ipv4();
        let Some(next_hop) = raw.next_hops.iter().find(of_family) else {
            if let Some(other) = raw.next_hops.first().filter(|_| raw.sound) {
                let family = if cidr.address.is_ipv4() { "IPv4" } else { "IPv6" };
                let what = format!("no {family} router for {cidr}");
                let remedy = "list one of each family, as next_hop = [\"10.9.0.1\", \"2001:db8:9::1\"]";
                source.error(&other.place, what, remedy);
            }
            continue;
        };
        next_hop_fits(source, *cidr, next_hop);
        match (cidr.address, next_hop.value) {
            (IpAddr::V4(address), IpAddr::V4(next_hop)) => {
                v4 = Some(Network { address, prefix: cidr.prefix, next_hop });
            }
            (IpAddr::V6(address), IpAddr::V6(next_hop)) => {
                v6 = Some(Network { address, prefix: cidr.prefix, next_hop });
            }
            _ => source.error(place, "the families differ", "write addresses of one family"),
        }
    }
    for lone in &raw.next_hops {
        if raw.sound && !raw.addresses.iter().any(|a| a.value.address.is_ipv4() == lone.value.is_ipv4()) {
            let what = format!("we have no address of the family of {}", lone.value);
            source.error(&lone.place, what, "take it out, or add an own address to interface.address");
        }
    }
    if !raw.sound {
        return None;
    }
    Some(Interface {
        name: raw.name?,
        driver: raw.driver,
        mode: raw.mode.value,
        vlan: raw.vlan,
        v4,
        v6,
        nic_profile: raw.nic_profile,
    })
}

/// A router is another host of our network; in IPv6 it may be known by its link-local address.
fn next_hop_fits(source: &Source<'_>, cidr: Cidr, next_hop: &At<IpAddr>) {
    let a = next_hop.value;
    let link_local = matches!(a, IpAddr::V6(a) if a.is_unicast_link_local());
    let remedy = "write the router's address on this network";
    if a == cidr.address {
        source.error(&next_hop.place, format!("{a} is our own address"), remedy);
    } else if !link_local && (!cidr.contains(a) || cidr.is_edge(a)) {
        source.error(&next_hop.place, format!("{a} is no host on the network of {cidr}"), remedy);
    }
}

fn wccp(
    source: &Source<'_>,
    raw: RawWccp,
    own: Option<Network<Ipv4Addr>>,
    services: &[Service],
    notes: &mut Vec<String>,
) -> Option<Wccp> {
    own.iter().for_each(|own| by_mac(source, &raw, *own, notes));
    let mask = mask(source, &raw);
    if !raw.groups.iter().any(|g| g.role == GroupRole::Forward) {
        source.error(
            &raw.groups_place,
            "no group of role \"forward\"",
            "add a [[wccp.group]] with id and ports",
        );
    }
    let mut groups: Vec<Group> = Vec::new();
    for g in &raw.groups {
        groups.extend(group(source, g, &groups));
    }
    let used = |p: &u16| {
        services.iter().any(|s| {
            s.ports.contains(p)
                || s.data_source == DataSource::Server
                    && (s.client_mode.allows_passive() && s.data_ports.contains(p)
                        || s.client_mode.allows_active() && s.active_source_port == *p)
        })
    };
    for g in &groups {
        if g.role == GroupRole::Reverse {
            notes.extend(upstream::idle(g, services));
            continue;
        }
        let idle: Vec<String> =
            g.ports.iter().filter(|p| !used(p)).map(std::string::ToString::to_string).collect();
        if !idle.is_empty() {
            let list = idle.join(", ");
            notes.push(format!(
                "wccp.group {}: no service uses port {list}; the router sends it for nothing",
                g.id
            ));
        }
    }
    let password = password(source, &raw, notes);
    let routers: Vec<Ipv4Addr> = raw.routers.iter().map(|r| r.value).collect();
    let RawWccp { forward, return_method, assignment, here_i_am, .. } = raw;
    (!routers.is_empty()).then_some(Wccp {
        routers,
        password,
        forward,
        return_method,
        assignment,
        mask,
        here_i_am,
        groups,
    })
}

/// Packets travel by MAC address within one network only.
fn by_mac(source: &Source<'_>, raw: &RawWccp, own: Network<Ipv4Addr>, notes: &mut Vec<String>) {
    let on_link = |a: Ipv4Addr| Cidr { address: own.address.into(), prefix: own.prefix }.contains(a.into());
    let lists = [("forward", &raw.forward), ("return", &raw.return_method)];
    for router in raw.routers.iter().filter(|r| !on_link(r.value)) {
        for (key, _) in lists.iter().filter(|(_, list)| list.contains(&Method::L2)) {
            if lists.iter().any(|(k, list)| k == key && list.contains(&Method::Gre)) {
                notes.push(format!(
                    "wccp.{key}: {} is not on our network; \"l2\" is not agreed with it",
                    router.value
                ));
            } else {
                let what =
                    format!("{} is not on our network, which wccp.{key} = [\"l2\"] needs", router.value);
                source.error(
                    &router.place,
                    what,
                    "write the router's address on our network, or allow \"gre\"",
                );
            }
        }
    }
}

/// The mask that values are dealt of, if they may be.
fn mask(source: &Source<'_>, raw: &RawWccp) -> Option<u32> {
    let by_mask = raw.assignment.contains(&Assignment::Mask);
    let Some(mask) = &raw.mask else { return by_mask.then_some(DEFAULT_MASK) };
    if !by_mask {
        let what = "is for mask assignment, which wccp.assignment does not name";
        source.error(&mask.place, what, "write assignment = [\"hash\", \"mask\"], or take the key out");
    }
    if mask.value.count_ones() > MASK_BITS {
        let what = format!("{:#x} has {} bits", mask.value, mask.value.count_ones());
        source.error(&mask.place, what, "take 1 to 7, as 0x1741: routers have room for few values");
    }
    Some(mask.value)
}

fn group(source: &Source<'_>, raw: &RawGroup, earlier: &[Group]) -> Option<Group> {
    if let Some(id) = raw.id.as_ref().filter(|id| earlier.iter().any(|g| g.id == id.value)) {
        let what = format!("group {} is there already", id.value);
        source.error(&id.place, what, "give each group an id of its own");
    }
    if let Some(ninth) = raw.ports.get(GROUP_PORTS) {
        let what = format!("{} ports, but a service group has room for {GROUP_PORTS}", raw.ports.len());
        source.error(&ninth.place, what, "put the rest into another [[wccp.group]]");
    }
    let alike = || earlier.iter().filter(|g| g.role == raw.role);
    for port in &raw.ports {
        if let Some(other) = alike().find(|g| g.ports.contains(&port.value)) {
            let what = format!("port {} is in group {} already", port.value, other.id);
            source.error(&port.place, what, "list each port in one group");
        }
    }
    // Among reverse groups one of all ports is enough, and beside it there is nothing left for others.
    if let Some(other) = alike().find(|g| raw.all || g.ports.is_empty()) {
        let what = format!("group {} redirects {} already", other.id, if raw.all { "ports" } else { "all" });
        source.error(&raw.ports_place, what, "keep one reverse group if it is for all ports");
    }
    let ports: Vec<u16> = raw.ports.iter().map(|p| p.value).collect();
    if ports.is_empty() && !raw.all {
        // What is wrong with the list has been said.
        return None;
    }
    Some(Group { id: raw.id.as_ref()?.value, role: raw.role, priority: raw.priority, ports })
}

fn services(
    source: &Source<'_>,
    raw: &[RawService],
    redirected: Option<&BTreeSet<u16>>,
    reverse: Option<&Reverse>,
    notes: &mut Vec<String>,
) -> Vec<Service> {
    let control: BTreeSet<u16> = raw.iter().flat_map(|s| s.ports.iter().map(|p| p.value)).collect();
    let mut done: Vec<Service> = Vec::new();
    for s in raw {
        if let Some(name) = s.name.as_ref().filter(|n| done.iter().any(|d| d.name == n.value)) {
            let what = format!("{:?} is there already", name.value);
            source.error(&name.place, what, "give each service a name of its own");
        }
        for port in &s.ports {
            if let Some(other) = done.iter().find(|d| d.ports.contains(&port.value)) {
                let what = format!("port {} belongs to service {:?} already", port.value, other.name);
                source.error(&port.place, what, "list each port in one service");
            }
            listed(source, port, "control port", redirected);
        }
        data_ports(source, s, &control, &done, redirected, notes);
        let active = &s.active_source_port;
        if s.data_source == DataSource::Server && s.client_mode.allows_active() {
            listed(source, active, "source port of active data", redirected);
        }
        upstream::check(source, s, reverse);
        upstream::policy(s, reverse, notes);
        upstream::opaque(source, s, notes);
        done.push(Service {
            name: s.name.as_ref().map_or_else(String::new, |n| n.value.clone()),
            ports: s.ports.iter().map(|p| p.value).collect(),
            client_mode: s.client_mode,
            server_mode: s.server_mode.value,
            upstream_source: s.upstream_source.value,
            server_ports: upstream::server_ports(s, reverse),
            data_source: s.data_source,
            data_ports: s.data_ports.iter().flatten().map(|p| p.value).collect(),
            active_source_port: active.value,
            ftps: s.ftps.value,
            mss_clamp: s.mss_clamp,
        });
    }
    done
}

fn data_ports(
    source: &Source<'_>,
    s: &RawService,
    control: &BTreeSet<u16>,
    earlier: &[Service],
    redirected: Option<&BTreeSet<u16>>,
    notes: &mut Vec<String>,
) {
    let name = s.name.as_ref().map_or("", |n| n.value.as_str());
    let ports = s.data_ports.as_deref().unwrap_or_default();
    let needed = s.data_source == DataSource::Server && s.client_mode.allows_passive();
    if !needed {
        if !ports.is_empty() {
            let why = if s.data_source == DataSource::Own {
                "data_source = \"own\" names ports of our own address"
            } else {
                "client_mode = \"active\" refuses passive data"
            };
            notes.push(format!("service {name}: data_ports is not used: {why}"));
        }
    } else if ports.is_empty() {
        let remedy = "write ports of a [[wccp.group]] that passive clients are steered to, as [2020, 2021], or \
                      client_mode = \"active\"";
        source.error(&s.data_ports_place, "no port for passive data", remedy);
    }
    for port in ports {
        if control.contains(&port.value) {
            let what = format!("port {} is a control port", port.value);
            source.error(&port.place, what, "take it out; data needs ports of its own");
            continue;
        }
        if let Some(other) = earlier.iter().find(|d| d.data_ports.contains(&port.value)) {
            let what = format!("port {} is a data port of service {:?} already", port.value, other.name);
            source.error(&port.place, what, "give each service data ports of its own");
        }
        if needed {
            listed(source, port, "data port", redirected);
        }
    }
}

/// A port that no group lists is never redirected: its segments would reach the real server or client.
fn listed(source: &Source<'_>, port: &At<u16>, what: &str, redirected: Option<&BTreeSet<u16>>) {
    if redirected.is_some_and(|r| !r.contains(&port.value)) {
        let what =
            format!("{what} {} is in no group of role \"forward\", so no router redirects it", port.value);
        source.error(
            &port.place,
            what,
            "add it to the ports of a [[wccp.group]], or use a port that is there",
        );
    }
}

fn password(source: &Source<'_>, raw: &RawWccp, notes: &mut Vec<String>) -> Option<Password> {
    let (at, bytes, file) = match (&raw.password, &raw.password_file) {
        (None, None) => {
            notes.push(
                "wccp: no password; whoever can send from the router's address can redirect".to_owned(),
            );
            return None;
        }
        (Some(_), Some(file)) => {
            source.error(&file.place, "stands beside wccp.password", "keep one of the two");
            return None;
        }
        (Some(text), None) => {
            if fs::metadata(source.file()).is_ok_and(|m| m.permissions().mode() & 0o077 != 0) {
                let file = source.file().display();
                notes.push(format!(
                    "wccp.password: other users can read it; chmod 600 {file}, or use password_file"
                ));
            }
            (text, text.value.clone().into_bytes(), None)
        }
        (None, Some(file)) => {
            let path = relative(source, &file.value);
            match read_password(&path) {
                Ok(bytes) => (file, bytes, Some(path)),
                Err((what, remedy)) => {
                    source.error(&file.place, what, remedy);
                    return None;
                }
            }
        }
    };
    if bytes.is_empty() || bytes.len() > PASSWORD_BYTES {
        let what = format!("the password has {} bytes", bytes.len());
        source.error(&at.place, what, "WCCP takes 1 to 8; 7 suits all routers");
        return None;
    }
    if !bytes.iter().all(u8::is_ascii_graphic) {
        let what = "the password has a character that is not printable ASCII";
        source.error(&at.place, what, "use letters, digits and punctuation");
        return None;
    }
    if bytes.len() == PASSWORD_BYTES {
        notes.push(
            "wccp: a password of 8 bytes; some routers use only 7 and then refuse every message".to_owned(),
        );
    }
    Some(Password { bytes, file })
}

fn read_password(path: &std::path::Path) -> Result<Vec<u8>, (String, String)> {
    let shown = path.display();
    let unreadable = |e: std::io::Error| {
        (format!("cannot read {shown}: {e}"), "write the path of a readable file".to_owned())
    };
    let meta = fs::metadata(path).map_err(unreadable)?;
    if !meta.is_file() {
        return Err((format!("{shown} is not a regular file"), "write the path of a file".to_owned()));
    }
    if meta.permissions().mode() & 0o077 != 0 {
        return Err((format!("{shown} can be read by other users"), format!("chmod 600 {shown}")));
    }
    // A password is a few bytes; the bound keeps a wrong path from filling memory.
    let mut bytes = Vec::new();
    fs::File::open(path).and_then(|f| f.take(1024).read_to_end(&mut bytes)).map_err(unreadable)?;
    while bytes.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
        bytes.pop();
    }
    Ok(bytes)
}
