//! Whether what servers send reaches us, as a service wants it.

use super::checked::{ClientMode, Ftps, Group, GroupRole, Service, UpstreamSource};
use super::raw::{RawService, RawWccp};
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
pub(super) fn check(source: &Source<'_>, s: &RawService, reverse: Option<&Reverse>) {
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
pub(super) fn policy(s: &RawService, reverse: Option<&Reverse>, notes: &mut Vec<String>) {
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
pub(super) fn opaque(source: &Source<'_>, s: &RawService, notes: &mut Vec<String>) {
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
pub(super) fn server_ports(s: &RawService, reverse: Option<&Reverse>) -> Vec<u16> {
    match reverse {
        Some(Reverse::Ports(listed)) if s.upstream_source.value == UpstreamSource::Client => {
            data_ports(s).map(|(port, _)| port).filter(|port| listed.contains(port)).collect()
        }
        _ => Vec::new(),
    }
}

/// What a reverse group is there for in vain.
pub(super) fn idle(group: &Group, services: &[Service]) -> Option<String> {
    let id = group.id;
    let mut of_clients = services.iter().filter(|s| s.upstream_source == UpstreamSource::Client).peekable();
    if of_clients.peek().is_none() {
        return Some(format!(
            "wccp.group {id}: no service has upstream_source = \"client\"; the router sends it for nothing"
        ));
    }
    let used: Vec<u16> = of_clients.flat_map(|s| s.ports.iter().chain(&s.server_ports).copied()).collect();
    let idle: Vec<String> = group.ports.iter().filter(|p| !used.contains(p)).map(u16::to_string).collect();
    (!idle.is_empty()).then(|| {
        let list = idle.join(", ");
        format!("wccp.group {id}: no service uses port {list}; the router sends it for nothing")
    })
}

/// The ports that servers open data connections from (RFC 959 section 5.2: the control port less one), each
/// with its control port.
fn data_ports(s: &RawService) -> impl Iterator<Item = (u16, &At<u16>)> {
    s.ports.iter().filter(|p| p.value > 1).map(|p| (p.value - 1, p))
}
