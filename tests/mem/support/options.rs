//! What a world is made of, and its gateways.

use super::second;
use super::server::ServerConf;
use super::way::Way;
use super::world::{GATEWAY, GATEWAY6, GW_MAC, Gate, PORTS, ROUTER, ROUTER6};
use crate::router::Oversize;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tidegate::engine::{self, Engine, Net, Place, RedirectedSettings};
use tidegate::firewall;
use tidegate::flow::FlowTable;
use tidegate::session::{
    ClientMode, DataSource, Ftps, Limits, OverLimit, Own, ServerMode, Service, Settings, Timers,
    UpstreamSource,
};
use tidegate::time::Duration;
use tidegate::wccp as library;

/// What a world is made of.
pub(crate) struct Options {
    pub(crate) seed: u8,
    pub(crate) workers: u16,
    pub(crate) clients: u8,
    pub(crate) service: Service,
    pub(crate) more: Vec<Service>,
    /// Control connections stay between their ends: instead of `service`.
    pub(crate) inspect: Option<firewall::Settings>,
    pub(crate) limits: Limits,
    pub(crate) timers: Timers,
    pub(crate) server: ServerConf,
    /// Ports that the router's redirect list leaves out.
    pub(crate) denied: Vec<u16>,
    /// Source ports of a reverse group on the server's leg, empty for all; none for no such group.
    pub(crate) reverse: Option<Vec<u16>>,
    /// What the router calls itself.
    pub(crate) router_id: Ipv4Addr,
    /// Time between two HERE_I_AMs. The router passes a gateway by that was silent for three of them, if it
    /// redirects by a policy as well.
    pub(crate) here_i_am: Duration,
    /// How the router redirects.
    pub(crate) way: Way,
    /// The gateway has an IPv6 address as well, and clients use IPv6 ([`Way::Policy`] only).
    pub(crate) six: bool,
    /// Packets are shared out by this mask instead of by hash.
    pub(crate) mask: Option<u32>,
    /// The router does not redirect what comes from the gateway.
    pub(crate) exclude_in: bool,
    /// A second router between the same networks, which redirects in its way.
    pub(crate) second: Option<Way>,
    /// What the router does with packets that GRE makes too long.
    pub(crate) oversize: Oversize,
    /// Slots of the flow table.
    pub(crate) table: usize,
}

impl Default for Options {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self {
            seed: 1,
            workers: 1,
            clients: 1,
            service: Service {
                name: "ftp".into(),
                ports: vec![21],
                client_mode: ClientMode::Any,
                server_mode: ServerMode::Passive,
                upstream_source: UpstreamSource::Own,
                server_ports: vec![],
                data_source: DataSource::Server,
                data_ports: PORTS[2..].to_vec(),
                active_source_port: 20,
                ftps: Ftps::Refuse,
                mss_clamp: Some(1432),
            },
            more: vec![],
            inspect: None,
            limits: Limits {
                sessions: 1000,
                half_open: 256,
                half_open_per_source: 64,
                per_client: 100,
                over_limit: OverLimit::Return,
                line: 4096,
                reply: 262_144,
                commands: 64,
                relay_buffer: 65_536,
                relays: 16,
                relays_per_client: 1000,
            },
            timers: Timers {
                connect: s(5),
                greeting: s(30),
                login: s(60),
                control_idle: s(300),
                data_stall: s(60),
                data_wait: s(30),
                final_reply: s(10),
                steer_timeout: s(15),
                steer_wait: s(5),
                quarantine: s(60),
                time_wait: s(10),
            },
            server: ServerConf::default(),
            denied: vec![],
            reverse: None,
            router_id: ROUTER,
            here_i_am: s(1),
            way: Way::Gre,
            six: false,
            mask: None,
            exclude_in: true,
            second: None,
            oversize: Oversize::Icmp,
            table: 1 << 14,
        }
    }
}

/// The gateway's worker of this number.
pub(crate) fn gate(o: &Options, worker: u16, table: &Arc<FlowTable>) -> Gate {
    let service = o.inspect.is_none().then(|| o.service.clone());
    let services: Vec<Service> = service.into_iter().chain(o.more.clone()).collect();
    let reverse = o.reverse.iter().map(|_| 62).collect();
    let engine = Engine::new(
        engine::Settings {
            place: Place::Redirected(Box::new(RedirectedSettings {
                interface: engine::Interface {
                    name: "mem0".into(),
                    mac: GW_MAC,
                    mtu: 1500,
                    vlan: None,
                    v4: Some(Net { address: GATEWAY, prefix: 24, next_hop: Some(ROUTER) }),
                    v6: o.six.then_some(Net { address: GATEWAY6, prefix: 64, next_hop: Some(ROUTER6) }),
                },
                wccp: (o.way != Way::Policy).then(|| library::Settings {
                    own_address: GATEWAY,
                    prefix: 24,
                    routers: std::iter::once(ROUTER).chain(o.second.map(|_| second::ADDRESS)).collect(),
                    password: library::Password::new(b"secret1").ok(),
                    forward: o.second.map_or_else(|| o.way.forward(), |_| Way::either()),
                    return_method: o.second.map_or_else(|| o.way.back(), |_| Way::either()),
                    assignment: vec![match o.mask {
                        Some(_) => library::Assignment::Mask,
                        None => library::Assignment::Hash,
                    }],
                    mask: o.mask.unwrap_or(library::DEFAULT_MASK),
                    here_i_am: o.here_i_am,
                    groups: std::iter::once(group(61, library::Role::Forward, PORTS.to_vec()))
                        .chain(o.reverse.iter().map(|ports| group(62, library::Role::Reverse, ports.clone())))
                        .collect(),
                }),
                inspect: o.inspect.clone().map(|firewall| engine::InspectSettings { firewall, reverse }),
                session: Settings {
                    own: Own { v4: Some(GATEWAY), v6: o.six.then_some(GATEWAY6) },
                    mtu: 1500,
                    services,
                    limits: o.limits.clone(),
                    timers: o.timers.clone(),
                    worker,
                    workers: o.workers,
                },
            })),
            seed: [o.seed; 16],
        },
        table.clone(),
    );
    Gate { engine: engine.unwrap(), ring: VecDeque::new(), crossed: 0 }
}

fn group(id: u8, role: library::Role, ports: Vec<u16>) -> library::GroupSettings {
    library::GroupSettings { id, role, ports, priority: 240, protocol: 6 }
}
