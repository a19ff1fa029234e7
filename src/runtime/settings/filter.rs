//! What the firewall obeys, in line and where packets are redirected.

use crate::alg;
use crate::config::{self, Config, Deployment, IpProtocol, MssClamp, RuleAction};
use crate::firewall::{
    Action, Data, Filter, Forward, HELD, Limits, Masquerade, Nat, Protocol, Rule, Service, Settings, Side,
    StaticNat, Timers,
};
use std::net::IpAddr;

/// What a firewall obeys. `mtu`: of the interface that routers redirect to.
pub(super) fn firewall(config: &Config, mtu: u16) -> Settings {
    let room = mtu.saturating_sub(40 + config.return_overhead());
    Settings {
        filter: filter(config.firewall.as_ref()),
        nat: nat(&config.nat),
        services: config.inspected.iter().map(|s| service(config, s, room)).collect(),
        hop: config.deployment == Deployment::Route,
        limits: limits(&config.limits),
        timers: timers(&config.timers),
    }
}

/// Without a filter all passes: what a router redirects goes on.
fn filter(f: Option<&config::Firewall>) -> Filter {
    let Some(f) = f else {
        return Filter { default: Action::Allow, rules: Vec::new(), data: Vec::new() };
    };
    let refusal = match f.refuse_with {
        RuleAction::Reject => Action::Reject,
        _ => Action::Drop,
    };
    let action = |a| match a {
        RuleAction::Allow => Action::Allow,
        RuleAction::Deny => refusal,
        RuleAction::Drop => Action::Drop,
        RuleAction::Reject => Action::Reject,
    };
    Filter {
        default: action(f.default),
        rules: f
            .rules
            .iter()
            .map(|r| Rule {
                name: r.name.clone(),
                action: action(r.action),
                from: r.from.map(side),
                protocol: protocol(r.protocol),
                source: nets(&r.source),
                destination: nets(&r.destination),
                ports: r.ports.clone(),
            })
            .collect(),
        data: f
            .data
            .iter()
            .map(|d| Data {
                name: d.name.clone(),
                servers: nets(&d.servers),
                ports: d.ports.clone(),
                needs_session: d.needs_session,
            })
            .collect(),
    }
}

const fn side(s: config::Side) -> Side {
    match s {
        config::Side::Inside => Side::Inside,
        config::Side::Outside => Side::Outside,
    }
}

const fn protocol(p: IpProtocol) -> Protocol {
    match p {
        IpProtocol::Any => Protocol::Any,
        IpProtocol::Tcp => Protocol::Tcp,
        IpProtocol::Udp => Protocol::Udp,
        IpProtocol::Icmp => Protocol::Icmp,
        IpProtocol::Number(n) => Protocol::Number(n),
    }
}

fn nets(list: &[config::Cidr]) -> Vec<(IpAddr, u8)> {
    list.iter().map(|c| (c.address, c.prefix)).collect()
}

fn nat(n: &config::Nat) -> Nat {
    Nat {
        masquerade: n.masquerade.as_ref().map(|m| Masquerade {
            sources: nets(&m.sources),
            address: m.address,
            ports: m.ports.clone(),
        }),
        one_to_one: n.one_to_one.iter().map(|s| StaticNat { inside: s.inside, outside: s.outside }).collect(),
        forwards: n
            .forwards
            .iter()
            .map(|f| Forward { protocol: protocol(f.protocol), outside: f.outside, inside: f.inside })
            .collect(),
    }
}

/// `room`: the largest segment that fits what is redirected.
fn service(config: &Config, s: &config::Inspected, room: u16) -> Service {
    // Control connections are no transfers.
    let control = config.control_ports().filter(|p| *p >= 1024).map(|p| p..=p);
    let rules = alg::rules::Settings {
        name: s.name.clone(),
        profile: match s.profile {
            config::Profile::Compat => alg::rules::Profile::Compat,
            config::Profile::Standard => alg::rules::Profile::Standard,
            config::Profile::Strict => alg::rules::Profile::Strict,
        },
        ftps: match s.ftps {
            config::Ftps::Refuse => alg::rules::Ftps::Refuse,
            config::Ftps::Opaque => alg::rules::Ftps::Opaque,
        },
        ccc: match s.ccc {
            config::Ccc::Allow => alg::rules::Ccc::Allow,
            config::Ccc::Deny => alg::rules::Ccc::Deny,
            config::Ccc::Require => alg::rules::Ccc::Require,
        },
        client_mode: match s.client_mode {
            config::ClientMode::Any => alg::rules::ClientMode::Any,
            config::ClientMode::Active => alg::rules::ClientMode::Active,
            config::ClientMode::Passive => alg::rules::ClientMode::Passive,
        },
        denied_ports: s.denied_ports.iter().cloned().chain(control).collect(),
        commands: config.limits.commands,
        setups_per_second: s.setups_per_second,
        failed_logins: s.failed_logins,
        prompt_refusals: s.prompt_refusals,
        commands_per_second: s.commands_per_second,
        first_command: config.timers.first_command,
        login: config.timers.login,
        reply: config.limits.reply,
        default_data_port: s.default_data_port,
        fxp: nets(&s.fxp),
    };
    Service {
        name: s.name.clone(),
        ports: s.ports.clone(),
        alg: s.alg,
        rules,
        active_source_ports: s.active_source_ports.clone(),
        data_ports: s.data_ports.clone(),
        data_bypasses: s.data_bypasses,
        mss_clamp: match s.mss_clamp {
            MssClamp::Auto if config.return_overhead() > 0 => Some(room),
            // Nothing is put around packets: what the ends say fits.
            MssClamp::Auto | MssClamp::Off => None,
            MssClamp::Bytes(n) => Some(n),
        },
    }
}

fn limits(l: &config::Limits) -> Limits {
    Limits {
        connections: l.connections,
        sessions: l.sessions,
        sessions_per_client: l.per_client,
        held: HELD,
        expectations: l.expectations,
        expectations_per_client: l.expectations_per_client,
        alg: alg::Limits { line: l.line, ..alg::Limits::default() },
    }
}

fn timers(t: &config::Timers) -> Timers {
    Timers {
        established: t.established,
        transitory: t.transitory,
        udp: t.udp,
        icmp: t.icmp,
        expectation: t.expectation,
        orphan: t.orphan,
        steer_wait: t.steer_wait,
        steer_timeout: t.steer_timeout,
        quarantine: t.quarantine,
        greeting: t.greeting,
        control_idle: t.control_idle,
    }
}
