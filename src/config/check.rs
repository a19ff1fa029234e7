//! What values mean together: everything that one key alone cannot tell.

mod interface;
mod nat;
mod service;

use super::checked::{
    Assignment, Config, DataSource, Deployment, Driver, Group, GroupRole, Method, Mode, Network, Password,
    Wccp,
};
use super::raw::{Raw, RawGroup, RawService, RawWccp, relative};
use super::reader::{Place, Source};
use super::units::Cidr;
use super::upstream::{self, Reverse};
pub(super) use service::Services;
use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::net::Ipv4Addr;
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
    let kind = raw.deployment;
    bounds(source, &raw);
    let redirected = raw.wccp.as_ref().map(forward);
    let reverse = raw.wccp.as_ref().map(Reverse::of);
    let services =
        service::services(source, &raw.services, kind, redirected.as_ref(), reverse.as_ref(), &mut notes);
    let routers = raw.wccp.as_ref().map(|w| w.routers.clone()).unwrap_or_default();
    let mode = raw.interfaces.first().map(|i| i.mode.place.clone());
    let interfaces = interface::interfaces(source, raw.interfaces, &raw.routes, &routers, kind);
    let (interface, outside) = interfaces.map_or((None, None), |(i, o)| (Some(i), o));
    if let (Some(i), Some(router)) = (&interface, routers.first())
        && i.v4.is_none()
    {
        let remedy = "add an IPv4 address to interface.address and its router to next_hop";
        source.error(&router.place, "WCCP and GRE speak IPv4, and we have no IPv4 address", remedy);
    }
    let own = interface.as_ref().and_then(|i| i.v4);
    let wccp = raw.wccp.and_then(|w| wccp(source, w, own, &services, &mut notes));
    let nat = raw.nat.map(|n| nat::nat(source, n, outside.as_ref())).unwrap_or_default();
    let deployment = kind?;
    if deployment == Deployment::Wccp && wccp.is_none() {
        return None;
    }
    let Services { proxied: services, inspected } = services;
    let config = Config {
        file: source.file().to_owned(),
        deployment,
        interface: interface?,
        outside,
        wccp,
        services,
        inspected,
        firewall: deployment.in_line().then_some(raw.firewall),
        nat,
        limits: raw.limits,
        timers: raw.timers,
        worker: raw.worker,
        events: raw.events,
        notes,
    };
    told_apart(source, &config, &mode?);
    Some(config)
}

/// Bounds and times of proxied sessions.
const OF_PROXIED: [&str; 11] = [
    "limits.half_open",
    "limits.half_open_per_source",
    "limits.over_limit",
    "limits.relay_buffer",
    "limits.relay_buffers",
    "limits.relays_per_client",
    "timers.connect",
    "timers.data_stall",
    "timers.data_wait",
    "timers.final_reply",
    "timers.time_wait",
];
/// Bounds and times of what passes through.
const OF_INSPECTED: [&str; 10] = [
    "limits.expectations",
    "limits.expectations_per_client",
    "limits.connections",
    "timers.expectation",
    "timers.first_command",
    "timers.established",
    "timers.transitory",
    "timers.udp",
    "timers.icmp",
    "timers.orphan",
];
/// Times of ports that passive clients are steered to.
const OF_STEERING: [&str; 3] = ["timers.steer_timeout", "timers.steer_wait", "timers.quarantine"];
/// Commands of an inspected session without an answer: its rules remember no more.
const INSPECTED_COMMANDS: usize = 64;

/// What bounds and times can be of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Uses {
    pub(super) proxied: bool,
    pub(super) inspected: bool,
    /// Passive data is steered to ports of a list, or may be.
    pub(super) steered: bool,
}

impl Uses {
    /// Whether a bound or time, `limits.sessions` for one, is of any use.
    pub(super) fn has(self, key: &str) -> bool {
        (self.proxied || !OF_PROXIED.contains(&key))
            && (self.inspected || !OF_INSPECTED.contains(&key))
            && (self.steered || !OF_STEERING.contains(&key))
    }
}

/// Notes bounds and times of something that there is none of.
fn bounds(source: &Source<'_>, raw: &Raw) {
    let proxied = raw.services.iter().any(|s| matches!(s, RawService::Proxy(_)));
    let inspected = raw.services.iter().any(|s| matches!(s, RawService::Inspect(_)));
    let lists = |s: &RawService| matches!(s, RawService::Inspect(s) if !s.data_ports.is_empty());
    let uses = Uses { proxied, inspected, steered: proxied || raw.services.iter().any(lists) };
    for place in &raw.bounds {
        if !(proxied || inspected) || uses.has(&place.key) {
            // What is wrong has been said.
        } else if OF_STEERING.contains(&place.key.as_str()) {
            let what = "is for data ports that passive clients are steered to, and no service has any";
            let in_line = raw.deployment.is_some_and(Deployment::in_line);
            let remedy = if in_line { "take the key out" } else { "take the key out, or write data_ports" };
            source.error(place, what, remedy);
        } else {
            let (is, has) = if proxied { ("inspect", "proxy") } else { ("proxy", "inspect") };
            let what = format!("is for services of handling = {is:?}, and all have handling = {has:?}");
            source.error(place, what, "take the key out");
        }
        if inspected && place.key == "limits.commands" && raw.limits.commands > INSPECTED_COMMANDS {
            let what = format!("of inspected sessions {INSPECTED_COMMANDS} commands at most are remembered");
            source.error(place, what, "write a whole number from 1 to 64");
        }
    }
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

fn wccp(
    source: &Source<'_>,
    raw: RawWccp,
    own: Option<Network<Ipv4Addr>>,
    services: &Services,
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
        let proxied = services.proxied.iter().any(|s| {
            s.ports.contains(p)
                || s.data_source == DataSource::Server
                    && (s.client_mode.allows_passive() && s.data_ports.contains(p)
                        || s.client_mode.allows_active() && s.active_source_port == *p)
        });
        let inspected = |s| upstream::ports_of_clients(s).any(|used| used == *p);
        proxied || services.inspected.iter().any(inspected)
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
