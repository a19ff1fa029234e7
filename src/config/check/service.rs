//! Services: their ports, and what redirection makes possible.

use crate::config::checked::{Ccc, ClientMode, DataSource, Deployment, Ftps, Inspected, Service};
use crate::config::raw::{RawInspected, RawProxied, RawService};
use crate::config::reader::{At, Source};
use crate::config::upstream::{self, Reverse};
use std::collections::BTreeSet;

/// All services, by what becomes of their control connections.
pub(in crate::config) struct Services {
    pub(in crate::config) proxied: Vec<Service>,
    pub(in crate::config) inspected: Vec<Inspected>,
}

impl Services {
    /// (Name, control ports, data ports) of each.
    fn all(&self) -> impl Iterator<Item = (&str, &[u16], &[u16])> {
        let proxied = self.proxied.iter().map(|s| (s.name.as_str(), &*s.ports, &*s.data_ports));
        proxied.chain(self.inspected.iter().map(|s| (s.name.as_str(), &*s.ports, &*s.data_ports)))
    }
}

pub(super) fn services(
    source: &Source<'_>,
    raw: &[RawService],
    kind: Option<Deployment>,
    redirected: Option<&BTreeSet<u16>>,
    reverse: Option<&Reverse>,
    notes: &mut Vec<String>,
) -> Services {
    let control: BTreeSet<u16> = raw.iter().flat_map(|s| s.ports().iter().map(|p| p.value)).collect();
    let mut done = Services { proxied: Vec::new(), inspected: Vec::new() };
    for s in raw {
        if let Some(name) = s.name().filter(|n| done.all().any(|(other, ..)| other == n.value)) {
            let what = format!("{:?} is there already", name.value);
            source.error(&name.place, what, "give each service a name of its own");
        }
        for port in s.ports() {
            if let Some(other) = done.all().find(|(_, ports, _)| ports.contains(&port.value)) {
                let what = format!("port {} belongs to service {:?} already", port.value, other.0);
                source.error(&port.place, what, "list each port in one service");
            }
            listed(source, port, "control port", redirected);
        }
        match s {
            // That it cannot be there has been said.
            RawService::Proxy(_) if kind.is_some_and(Deployment::in_line) => {}
            RawService::Proxy(s) => {
                let s = proxied(source, s, &control, &done, redirected, reverse, notes);
                done.proxied.push(s);
            }
            RawService::Inspect(s) => {
                separate(source, &s.data_ports, &control, &done, redirected);
                let s = inspected(source, s, kind, redirected, reverse, notes);
                done.inspected.push(s);
            }
        }
    }
    done
}

fn proxied(
    source: &Source<'_>,
    s: &RawProxied,
    control: &BTreeSet<u16>,
    earlier: &Services,
    redirected: Option<&BTreeSet<u16>>,
    reverse: Option<&Reverse>,
    notes: &mut Vec<String>,
) -> Service {
    data_ports(source, s, control, earlier, redirected, notes);
    let active = &s.active_source_port;
    if s.data_source == DataSource::Server && s.client_mode.allows_active() {
        listed(source, active, "source port of active data", redirected);
    }
    upstream::check(source, s, reverse);
    upstream::policy(s, reverse, notes);
    upstream::opaque(source, s, notes);
    Service {
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
    }
}

fn inspected(
    source: &Source<'_>,
    s: &RawInspected,
    kind: Option<Deployment>,
    redirected: Option<&BTreeSet<u16>>,
    reverse: Option<&Reverse>,
    notes: &mut Vec<String>,
) -> Inspected {
    if s.ftps == Ftps::Refuse && s.ccc.value != Ccc::Allow {
        let what =
            format!("ccc = {:?} with ftps = \"refuse\": nothing is ever encrypted", s.ccc.value.name());
        source.error(&s.ccc.place, what, "write ftps = \"opaque\", or take the key out");
    }
    if s.client_mode == ClientMode::Passive && s.default_data_port.value {
        let what = "default_data_port with client_mode = \"passive\": such transfers are active";
        source.error(&s.default_data_port.place, what, "take the key out, or write client_mode = \"any\"");
    }
    let mut inspected = Inspected {
        name: s.name.as_ref().map_or_else(String::new, |n| n.value.clone()),
        ports: s.ports.iter().map(|p| p.value).collect(),
        alg: s.alg,
        profile: s.profile,
        client_mode: s.client_mode,
        ftps: s.ftps,
        ccc: s.ccc.value,
        denied_ports: s.denied_ports.clone(),
        active_source_ports: s.active_source_ports.iter().map(|p| p.value).collect(),
        default_data_port: s.default_data_port.value,
        fxp: s.fxp.clone(),
        setups_per_second: s.setups_per_second,
        failed_logins: s.failed_logins,
        prompt_refusals: s.prompt_refusals,
        commands_per_second: s.commands_per_second,
        data_ports: s.data_ports.iter().map(|p| p.value).collect(),
        data_bypasses: false,
        mss_clamp: s.mss_clamp,
    };
    // Not an error: to see what it does it is switched off for a while, in a file that is whole.
    if !s.idle.is_empty() {
        let keys = s.idle.join(", ");
        notes.push(format!(
            "service {}: alg = false: {keys} mean nothing while no line is read",
            inspected.name
        ));
    }
    let unused = [
        ("fxp", !inspected.fxp.is_empty() && !s.client_mode.allows_active(), "active"),
        ("fxp", !inspected.fxp.is_empty() && !s.client_mode.allows_passive(), "passive"),
        ("data_ports", !inspected.data_ports.is_empty() && !s.client_mode.allows_passive(), "passive"),
        (
            "active_source_ports",
            !inspected.active_source_ports.is_empty() && !s.client_mode.allows_active(),
            "active",
        ),
    ];
    for (key, _, mode) in unused.into_iter().filter(|u| u.1) {
        let (name, word) = (&inspected.name, s.client_mode.name());
        notes.push(format!("service {name}: {key} is not used: client_mode = {word:?} refuses {mode} data"));
    }
    match (kind, reverse) {
        (Some(Deployment::Wccp), Some(reverse)) => {
            upstream::both_ways(source, s, &mut inspected, redirected, reverse, notes);
        }
        (Some(Deployment::Static), _) => notes.push(upstream::both_policies(&inspected)),
        _ => {}
    }
    if s.ccc.value == Ccc::Require && kind.is_some_and(|k| !k.in_line()) {
        notes.push(format!(
            "service {}: ccc = \"require\" holds for the data connections that come here; others go past us",
            inspected.name
        ));
    }
    inspected
}

fn data_ports(
    source: &Source<'_>,
    s: &RawProxied,
    control: &BTreeSet<u16>,
    earlier: &Services,
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
    separate(source, ports, control, earlier, redirected.filter(|_| needed));
}

/// Data ports are of one service each, and redirected.
fn separate(
    source: &Source<'_>,
    ports: &[At<u16>],
    control: &BTreeSet<u16>,
    earlier: &Services,
    redirected: Option<&BTreeSet<u16>>,
) {
    for port in ports {
        if control.contains(&port.value) {
            let what = format!("port {} is a control port", port.value);
            source.error(&port.place, what, "take it out; data needs ports of its own");
            continue;
        }
        if let Some(other) = earlier.all().find(|(_, _, data)| data.contains(&port.value)) {
            let what = format!("port {} is a data port of service {:?} already", port.value, other.0);
            source.error(&port.place, what, "give each service data ports of its own");
        }
        listed(source, port, "data port", redirected);
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
