//! Whether what servers send reaches us, as a service wants it.

use super::check::Services;
use super::checked::{ClientMode, Ftps, Group, GroupRole, Inspected, UpstreamSource};
use super::raw::{RawInspected, RawProxied, RawWccp};
use super::reader::{At, Source};
use std::collections::BTreeSet;

/// What the reverse groups bring.
#[derive(Debug)]
pub(super) enum Reverse {
    /// There is none.
    Nothing,
    /// What comes from these ports of servers.
    Ports(BTreeSet<u16>),
    /// Everything.
    All,
}

impl Reverse {
    /// Of all groups together.
    pub(super) fn of(wccp: &RawWccp) -> Self {
        let mut groups = wccp.groups.iter().filter(|g| g.role == GroupRole::Reverse).peekable();
        if groups.peek().is_none() {
            return Self::Nothing;
        }
        let mut ports = BTreeSet::new();
        for g in groups {
            if g.all {
                return Self::All;
            }
            ports.extend(g.ports.iter().map(|p| p.value));
        }
        Self::Ports(ports)
    }
}

/// Notes a service whose server's packets would go past us. `reverse` is none where no group decides what
/// reaches us.
pub(super) fn check(source: &Source<'_>, s: &RawProxied, reverse: Option<&Reverse>) {
    if s.upstream_source.value == UpstreamSource::Own {
        return;
    }
    let listed = match reverse {
        None | Some(Reverse::All) => return,
        Some(Reverse::Nothing) => {
            let what =
                "servers would answer clients directly: no group of role \"reverse\" redirects their packets";
            let remedy = "add a [[wccp.group]] of role \"reverse\": ports = [21, 20] with server_mode = \"active\", or \
                          ports = \"all\"; or write upstream_source = \"own\"";
            return source.error(&s.upstream_source.place, what, remedy);
        }
        Some(Reverse::Ports(listed)) => listed,
    };
    for port in s.ports.iter().filter(|p| !listed.contains(&p.value)) {
        let what = format!(
            "upstream_source = \"client\", and control port {} is in no group of role \"reverse\": servers' answers \
             would go past us",
            port.value
        );
        source.error(
            &port.place,
            what,
            "add it to the ports of the reverse group, or write ports = \"all\" there",
        );
    }
    if s.server_mode.value.may_listen(s.client_mode) {
        let what = format!(
            "upstream_source = \"client\" with server_mode = {:?}: a passive server's data connections come from \
             ports that no list can name, and its packets would go past us",
            s.server_mode.value.name()
        );
        let remedy = "write server_mode = \"active\", or ports = \"all\" in the reverse group";
        source.error(&s.server_mode.place, what, remedy);
    }
    if s.server_mode.value.may_connect(s.client_mode) {
        for (port, control) in data_ports(s).filter(|(port, _)| !listed.contains(port)) {
            let what = format!(
                "servers open data connections from port {port} (that of control port {} less one), which is in no \
                 group of role \"reverse\"",
                control.value
            );
            let remedy = "add it to the ports of the reverse group, or write ports = \"all\" there";
            source.error(&control.place, what, remedy);
        }
    }
}

/// Notes which policy a router needs for what servers send, where no group asks for it: nothing here shows whether it
/// is there, and without it every session fails.
pub(super) fn policy(s: &RawProxied, reverse: Option<&Reverse>, notes: &mut Vec<String>) {
    if s.upstream_source.value == UpstreamSource::Own || reverse.is_some() {
        return;
    }
    let name = s.name.as_ref().map_or("", |n| n.value.as_str());
    let what = if s.server_mode.value.may_listen(s.client_mode) {
        "everything that servers send to clients (passive servers choose their data ports)".to_owned()
    } else {
        let ports: BTreeSet<u16> = data_ports(s).flat_map(|(data, control)| [data, control.value]).collect();
        let list = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        format!("what servers send to clients from ports {list}")
    };
    notes.push(format!(
        "service {name}: upstream_source = \"client\" needs a second policy on the router, on the servers' side, that sends \
         {what} to the gateway"
    ));
}

/// Notes what becomes of encrypted sessions whose data connections we cannot see.
pub(super) fn opaque(source: &Source<'_>, s: &RawProxied, notes: &mut Vec<String>) {
    if s.ftps.value != Ftps::Opaque {
        return;
    }
    if s.upstream_source.value == UpstreamSource::Own {
        let what = "ftps = \"opaque\" with upstream_source = \"own\": what is announced inside TLS cannot be changed, so \
                    clients and servers meet each other for data, but the server would know the client by the \
                    gateway's address and refuse";
        let remedy = "write upstream_source = \"client\", or ftps = \"refuse\"";
        return source.error(&s.ftps.place, what, remedy);
    }
    if s.client_mode != ClientMode::Any {
        let name = s.name.as_ref().map_or("", |n| n.value.as_str());
        notes.push(format!(
            "service {name}: client_mode does not hold for encrypted sessions (ftps = \"opaque\")"
        ));
    }
}

/// Source ports of servers' data connections that reach us; none if all do.
pub(super) fn server_ports(s: &RawProxied, reverse: Option<&Reverse>) -> Vec<u16> {
    match reverse {
        Some(Reverse::Ports(listed)) if s.upstream_source.value == UpstreamSource::Client => {
            data_ports(s).map(|(port, _)| port).filter(|port| listed.contains(port)).collect()
        }
        _ => Vec::new(),
    }
}

/// Notes an inspected service one of whose directions would go past us, and what becomes of its data.
pub(super) fn both_ways(
    source: &Source<'_>,
    raw: &RawInspected,
    s: &mut Inspected,
    forward: Option<&BTreeSet<u16>>,
    reverse: &Reverse,
    notes: &mut Vec<String>,
) {
    const WHY: &str = "handling = \"inspect\" needs both directions of a connection";
    let name = s.name.clone();
    let active: Vec<u16> = active_ports(s).collect();
    match reverse {
        Reverse::Nothing => {
            let Some(port) = raw.ports.first() else { return };
            let what = format!("{WHY}, and no group of role \"reverse\" brings what servers send");
            let remedy = "add a [[wccp.group]] of role \"reverse\" with ports = [21, 20] or ports = \"all\", or write \
                          handling = \"proxy\"";
            source.error(&port.place, what, remedy);
        }
        Reverse::Ports(listed) => {
            for port in raw.ports.iter().filter(|p| !listed.contains(&p.value)) {
                let what =
                    format!("{WHY}, and control port {} is in no group of role \"reverse\"", port.value);
                let remedy = "add it to the ports of the reverse group, or write ports = \"all\" there";
                source.error(&port.place, what, remedy);
            }
            if let Some(port) = raw.data_ports.first() {
                let what = "what servers send on passive data connections comes from ports that no list can name, \
                            so nothing can be steered";
                let remedy = "write ports = \"all\" in the reverse group, or take the key out";
                source.error(&port.place, what, remedy);
            }
            s.data_bypasses = true;
            notes.push(format!(
                "service {name}: passive data connections go past us (event `data not redirected`): the reverse group \
                 lists ports; with ports = \"all\" there and data_ports here they are steered"
            ));
            let both = |p: &u16| listed.contains(p) && forward.is_some_and(|f| f.contains(p));
            let lost: Vec<String> = active.iter().filter(|p| !both(p)).map(u16::to_string).collect();
            if !lost.is_empty() {
                notes.push(format!(
                    "service {name}: active data connections from port {} go past us: it is not in groups of both \
                     roles",
                    lost.join(", ")
                ));
            }
        }
        Reverse::All if s.data_ports.is_empty() => {
            s.data_bypasses = true;
            notes.push(format!(
                "service {name}: passive data connections go past us (event `data not redirected`): no router \
                 redirects the ports that servers choose; with data_ports they are steered"
            ));
        }
        Reverse::All => {}
    }
}

/// Which policies a router needs, so that both directions of an inspected service come here.
pub(super) fn both_policies(s: &Inspected) -> String {
    let list = |ports: BTreeSet<u16>| ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    let clients = list(ports_of_clients(s).collect());
    format!(
        "service {}: handling = \"inspect\" needs two policies on the router: on the clients' side for what they send to \
         ports {clients}, on the servers' side for what servers send to clients from ports {}{}",
        s.name,
        list(ports_of_servers(s).collect()),
        if s.data_ports.is_empty() {
            "; passive data connections pass by us, unless the policies send everything"
        } else {
            " and, of passive data, from all"
        }
    )
}

/// Ports that clients send to: control, active data, steered data.
pub(super) fn ports_of_clients(s: &Inspected) -> impl Iterator<Item = u16> {
    s.ports.iter().chain(&s.data_ports).copied().chain(active_ports(s))
}

/// Ports that servers send from, but for passive data.
fn ports_of_servers(s: &Inspected) -> impl Iterator<Item = u16> {
    s.ports.iter().copied().chain(active_ports(s))
}

/// Ports that servers open active data connections from.
fn active_ports(s: &Inspected) -> impl Iterator<Item = u16> {
    let usual = s.ports.iter().filter(|_| s.active_source_ports.is_empty());
    let usual = usual.filter(|p| **p > 1).map(|p| p - 1);
    usual.chain(s.active_source_ports.iter().copied())
}

/// What a reverse group is there for in vain.
pub(super) fn idle(group: &Group, services: &Services) -> Option<String> {
    let id = group.id;
    let of_clients = services.proxied.iter().filter(|s| s.upstream_source == UpstreamSource::Client);
    let used: BTreeSet<u16> = of_clients
        .flat_map(|s| s.ports.iter().chain(&s.server_ports).copied())
        .chain(services.inspected.iter().flat_map(ports_of_servers))
        .collect();
    if used.is_empty() {
        return Some(format!(
            "wccp.group {id}: no service has upstream_source = \"client\"; the router sends it for nothing"
        ));
    }
    let idle: Vec<String> = group.ports.iter().filter(|p| !used.contains(p)).map(u16::to_string).collect();
    (!idle.is_empty()).then(|| {
        let list = idle.join(", ");
        format!("wccp.group {id}: no service uses port {list}; the router sends it for nothing")
    })
}

/// The ports that servers open data connections from (RFC 959 section 5.2: the control port less one), each
/// with its control port.
fn data_ports(s: &RawProxied) -> impl Iterator<Item = (u16, &At<u16>)> {
    s.ports.iter().filter(|p| p.value > 1).map(|p| (p.value - 1, p))
}
