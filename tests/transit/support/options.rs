//! What the engine of a test is made of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use tidegate::alg;
use tidegate::engine::{Engine, Interface, Net, Place, Route, Settings, Transit, TransitSettings};
use tidegate::firewall::{self, Action, Filter, Limits, Masquerade, Nat, Service, Timers};
use tidegate::flow::FlowTable;
use tidegate::time::Duration;

pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
/// The server beyond a bridge.
pub(crate) const BRIDGED: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 20);
/// The server beyond a route.
pub(crate) const ROUTED: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
/// Our addresses.
pub(crate) const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
pub(crate) const INSIDE6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
pub(crate) const OUTSIDE6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 51, 0, 0, 0, 1);
/// A router outside, to everywhere else.
pub(crate) const BEYOND: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 254);
pub(crate) const BEYOND6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 51, 0, 0, 0, 0xfe);
pub(crate) const INSIDE_MAC: [u8; 6] = [2, 9, 0, 0, 0, 1];
pub(crate) const OUTSIDE_MAC: [u8; 6] = [2, 9, 0, 0, 0, 2];

/// What the engine is made of.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) bridge: bool,
    pub(crate) firewall: firewall::Settings,
    pub(crate) mtu: [u16; 2],
    pub(crate) routes: Vec<Route>,
    pub(crate) seed: u8,
    /// Frames that fit on the way to a side.
    pub(crate) room: usize,
}

/// A bridge with this default, FTP read.
pub(crate) fn bridge(default: Action) -> Options {
    Options {
        bridge: true,
        firewall: firewall::Settings {
            filter: Filter { default, rules: vec![], data: vec![] },
            nat: Nat::default(),
            services: vec![ftp()],
            hop: false,
            limits: Limits {
                connections: 1000,
                sessions: 100,
                sessions_per_client: 50,
                held: tidegate::firewall::HELD,
                expectations: 1000,
                expectations_per_client: 100,
                alg: alg::Limits::default(),
            },
            timers: timers(),
        },
        mtu: [1500; 2],
        routes: vec![],
        seed: 1,
        room: 4096,
    }
}

/// A route with this default, FTP read, nothing translated.
pub(crate) fn route(default: Action) -> Options {
    let mut o = bridge(default);
    o.bridge = false;
    o.firewall.hop = true;
    o
}

/// The same, everything from inside under our outside address.
pub(crate) fn masquerade(default: Action) -> Options {
    let mut o = route(default);
    o.firewall.nat.masquerade =
        Some(Masquerade { sources: vec![], address: OUTSIDE, ports: 40_000..=50_000 });
    o
}

fn ftp() -> Service {
    Service {
        name: "ftp".into(),
        ports: vec![21],
        alg: true,
        rules: alg::rules::Settings {
            name: "ftp".into(),
            profile: alg::rules::Profile::Standard,
            ftps: alg::rules::Ftps::Opaque,
            ccc: alg::rules::Ccc::Allow,
            client_mode: tidegate::alg::rules::ClientMode::Any,
            denied_ports: vec![],
            commands: 16,
            setups_per_second: 100,
            failed_logins: 50,
            prompt_refusals: 5,
            commands_per_second: 1000,
            first_command: tidegate::time::Duration::from_secs(60),
            login: tidegate::time::Duration::from_secs(300),
            reply: 65_536,
            default_data_port: false,
            fxp: Vec::new(),
        },
        active_source_ports: vec![],
        data_ports: vec![],
        data_bypasses: false,
        mss_clamp: None,
    }
}

fn timers() -> Timers {
    let s = Duration::from_secs;
    Timers {
        established: s(7440),
        transitory: s(240),
        udp: s(300),
        icmp: s(60),
        expectation: s(30),
        orphan: s(60),
        steer_wait: s(5),
        steer_timeout: s(15),
        quarantine: s(60),
        greeting: s(30),
        control_idle: s(300),
    }
}

pub(crate) fn settings(o: &Options) -> Settings {
    let [v4, v6] = [!o.bridge; 2];
    let net4 = |address, next_hop| v4.then_some(Net { address, prefix: 24, next_hop });
    let net6 = |address, next_hop| v6.then_some(Net { address, prefix: 64, next_hop });
    let place = TransitSettings {
        kind: match o.bridge {
            true => Transit::Bridge,
            false => Transit::Route { routes: o.routes.clone() },
        },
        inside: Interface {
            name: "inside0".into(),
            mac: INSIDE_MAC,
            mtu: o.mtu[0],
            vlan: None,
            v4: net4(INSIDE, None),
            v6: net6(INSIDE6, None),
        },
        outside: Interface {
            name: "outside0".into(),
            mac: OUTSIDE_MAC,
            mtu: o.mtu[1],
            vlan: None,
            v4: net4(OUTSIDE, Some(BEYOND)),
            v6: net6(OUTSIDE6, Some(BEYOND6)),
        },
        firewall: o.firewall.clone(),
    };
    Settings { place: Place::Transit(Box::new(place)), seed: [o.seed; 16] }
}

pub(crate) fn engine(o: &Options) -> Engine {
    let table = Arc::new(FlowTable::new(1 << 12, 1 << 12, u64::from(o.seed)));
    Engine::new(settings(o), table).unwrap()
}

/// The address of a side's host with this number in its network, as hosts take it.
pub(crate) fn host6(side: usize, host: u16) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0, 0, [0, 51][side], 0, 0, 0, host).into()
}
