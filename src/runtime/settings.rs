//! From the checked configuration to the plain values of the engine, and to the engine itself.

mod filter;

use crate::config::{self, Config, MssClamp};
use crate::engine::{Engine, Net};
use crate::firewall::Side;
use crate::flow::FlowTable;
use crate::io::PortInfo;
use crate::rng::{Keyed, Purpose};
use crate::wire::eth::Tags;
use crate::{engine, session, wccp};
use std::collections::TryReserveError;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Slots of the flow table for a family that we have no address of.
const NO_SLOTS: usize = 64;

/// Why there can be no engine. The text is one line.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The service groups contradict each other.
    #[error("wccp: {0}")]
    Wccp(#[from] wccp::SettingsError),
    /// The flow table does not fit.
    #[error(
        "no memory for a flow table of {flows} flows: {error}; lower limits.flows, or give the host more"
    )]
    Memory {
        /// `limits.flows`.
        flows: usize,
        /// What the allocator said.
        error: TryReserveError,
    },
    /// As many interfaces are needed as are configured.
    #[error("the configuration is for {wanted} interfaces, not {given}; give it as many")]
    Interfaces {
        /// Configured.
        wanted: usize,
        /// There.
        given: usize,
    },
}

/// An engine on these ports, with a flow table of its own: the same for live ports and recorded ones. There is one
/// for each of [`Config::interfaces`], in their order.
///
/// # Errors
/// The service groups contradict each other, the flow table does not fit, or there are more or fewer ports.
pub fn build(config: &Config, ports: &[PortInfo], seed: [u8; 16]) -> Result<Engine, BuildError> {
    build_on(config, ports, seed, table(config, seed)?)
}

/// As [`build`], with the flow table of [`table`].
///
/// # Errors
/// The service groups contradict each other, or there are more or fewer ports.
pub fn build_on(
    config: &Config,
    ports: &[PortInfo],
    seed: [u8; 16],
    flows: Arc<FlowTable>,
) -> Result<Engine, BuildError> {
    Ok(Engine::new(engine(config, ports, seed)?, flows)?)
}

/// The flow table, which is the one large piece of memory that is taken at the start.
///
/// # Errors
/// There is not so much memory.
pub fn table(config: &Config, seed: [u8; 16]) -> Result<Arc<FlowTable>, BuildError> {
    let salt = Keyed::new(seed).value(Purpose::Salt, b"table", 0);
    let flows = config.limits.flows;
    // The table fills to three quarters, and a flow takes two slots.
    let slots = |served| if served { flows.saturating_mul(8) / 3 } else { NO_SLOTS };
    // Through a bridge goes whatever there is.
    let bridge = config.deployment == config::Deployment::Bridge;
    let v4 = bridge || config.interfaces().any(|i| i.v4.is_some());
    let v6 = bridge || config.interfaces().any(|i| i.v6.is_some());
    FlowTable::try_new(slots(v4), slots(v6), salt)
        .map(Arc::new)
        .map_err(|error| BuildError::Memory { flows, error })
}

/// What an engine on these ports obeys.
///
/// # Errors
/// There are more or fewer ports than interfaces.
pub fn engine(config: &Config, ports: &[PortInfo], seed: [u8; 16]) -> Result<engine::Settings, BuildError> {
    let place = match (ports, &config.outside) {
        ([port], None) => engine::Place::Redirected(Box::new(redirected(config, port))),
        ([inside, outside], Some(out)) => {
            engine::Place::Transit(Box::new(transit(config, inside, out, outside)))
        }
        _ => {
            let wanted = config.interfaces().count();
            return Err(BuildError::Interfaces { wanted, given: ports.len() });
        }
    };
    Ok(engine::Settings { place, seed })
}

fn redirected(config: &Config, port: &PortInfo) -> engine::RedirectedSettings {
    let interface = interface(&config.interface, port);
    let mtu = interface.mtu;
    engine::RedirectedSettings {
        wccp: config.wccp.as_ref().map(|w| wccp(config, w)),
        inspect: (!config.inspected.is_empty()).then(|| engine::InspectSettings {
            firewall: filter::firewall(config, mtu),
            reverse: reverse_groups(config),
        }),
        session: session::Settings {
            own: interface.own(),
            mtu,
            services: config.services.iter().map(|s| service(s, mtu, config.redirect_overhead())).collect(),
            limits: limits(&config.limits),
            timers: timers(&config.timers),
            worker: 0,
            workers: 1,
        },
        interface,
    }
}

fn reverse_groups(config: &Config) -> Vec<u8> {
    let groups = config.wccp.iter().flat_map(|w| &w.groups);
    groups.filter(|g| g.role == config::GroupRole::Reverse).map(|g| g.id).collect()
}

fn transit(
    config: &Config,
    inside: &PortInfo,
    out: &config::Interface,
    outside: &PortInfo,
) -> engine::TransitSettings {
    let route = |side, r: &config::Route| engine::Route {
        to: (r.network.address, r.network.prefix),
        side,
        next_hop: r.via,
    };
    let kind = match config.deployment {
        config::Deployment::Route => {
            let inside = config.interface.routes.iter().map(|r| route(Side::Inside, r));
            let outside = out.routes.iter().map(|r| route(Side::Outside, r));
            engine::Transit::Route { routes: inside.chain(outside).collect() }
        }
        _ => engine::Transit::Bridge,
    };
    let (inside, outside) = (interface(&config.interface, inside), interface(out, outside));
    let firewall = filter::firewall(config, inside.mtu);
    engine::TransitSettings { kind, inside, outside, firewall }
}

fn interface(i: &config::Interface, port: &PortInfo) -> engine::Interface {
    engine::Interface {
        name: i.name.clone(),
        mac: port.mac,
        mtu: i.mtu(port.mtu),
        vlan: i.vlan.as_deref().map(Tags::of_ids),
        v4: i.v4.map(|n| Net { address: n.address, prefix: n.prefix, next_hop: n.next_hop }),
        v6: i.v6.map(|n| Net { address: n.address, prefix: n.prefix, next_hop: n.next_hop }),
    }
}

fn wccp(config: &Config, w: &config::Wccp) -> wccp::Settings {
    wccp::Settings {
        // WCCP is configured with an IPv4 address of ours only.
        own_address: config.interface.v4.map_or(Ipv4Addr::UNSPECIFIED, |n| n.address),
        prefix: config.interface.v4.map_or(32, |n| n.prefix),
        routers: w.routers.clone(),
        // Its length was checked when it was read.
        password: w.password.as_ref().and_then(|p| wccp::Password::new(p.as_bytes()).ok()),
        forward: w.forward.iter().copied().map(method).collect(),
        return_method: w.return_method.iter().copied().map(method).collect(),
        assignment: w
            .assignment
            .iter()
            .map(|a| match a {
                config::Assignment::Hash => wccp::Assignment::Hash,
                config::Assignment::Mask => wccp::Assignment::Mask,
            })
            .collect(),
        mask: w.mask.unwrap_or(wccp::DEFAULT_MASK),
        here_i_am: w.here_i_am,
        groups: w
            .groups
            .iter()
            .map(|g| wccp::GroupSettings {
                id: g.id,
                role: match g.role {
                    config::GroupRole::Forward => wccp::Role::Forward,
                    config::GroupRole::Reverse => wccp::Role::Reverse,
                },
                ports: g.ports.clone(),
                priority: g.priority,
                protocol: 6,
            })
            .collect(),
    }
}

const fn method(m: config::Method) -> wccp::Method {
    match m {
        config::Method::Gre => wccp::Method::Gre,
        config::Method::L2 => wccp::Method::L2,
    }
}

fn service(s: &config::Service, mtu: u16, overhead: u16) -> session::Service {
    session::Service {
        name: s.name.clone(),
        ports: s.ports.clone(),
        client_mode: match s.client_mode {
            config::ClientMode::Any => session::ClientMode::Any,
            config::ClientMode::Active => session::ClientMode::Active,
            config::ClientMode::Passive => session::ClientMode::Passive,
        },
        server_mode: match s.server_mode {
            config::ServerMode::Passive => session::ServerMode::Passive,
            config::ServerMode::Active => session::ServerMode::Active,
            config::ServerMode::Same => session::ServerMode::Same,
        },
        upstream_source: match s.upstream_source {
            config::UpstreamSource::Own => session::UpstreamSource::Own,
            config::UpstreamSource::Client => session::UpstreamSource::Client,
        },
        server_ports: s.server_ports.clone(),
        data_source: match s.data_source {
            config::DataSource::Server => session::DataSource::Server,
            config::DataSource::Own => session::DataSource::Own,
        },
        data_ports: s.data_ports.clone(),
        active_source_port: s.active_source_port,
        ftps: match s.ftps {
            config::Ftps::Refuse => session::Ftps::Refuse,
            config::Ftps::Opaque => session::Ftps::Opaque,
        },
        mss_clamp: match s.mss_clamp {
            MssClamp::Auto => Some(mtu - 40 - overhead),
            MssClamp::Bytes(n) => Some(n),
            MssClamp::Off => None,
        },
    }
}

fn limits(l: &config::Limits) -> session::Limits {
    session::Limits {
        sessions: l.sessions,
        half_open: l.half_open,
        half_open_per_source: l.half_open_per_source,
        per_client: l.per_client,
        line: l.line,
        reply: l.reply,
        commands: l.commands,
        relay_buffer: l.relay_buffer,
        relays: l.relay_buffers,
        relays_per_client: l.relays_per_client,
        over_limit: match l.over_limit {
            config::OverLimit::Return => session::OverLimit::Return,
            config::OverLimit::Reset => session::OverLimit::Reset,
        },
    }
}

fn timers(t: &config::Timers) -> session::Timers {
    session::Timers {
        connect: t.connect,
        greeting: t.greeting,
        login: t.login,
        control_idle: t.control_idle,
        data_stall: t.data_stall,
        data_wait: t.data_wait,
        final_reply: t.final_reply,
        steer_timeout: t.steer_timeout,
        steer_wait: t.steer_wait,
        quarantine: t.quarantine,
        time_wait: t.time_wait,
    }
}
