//! Settings for unit tests.

use super::settings::{
    ClientMode, DataSource, Ftps, Limits, OverLimit, Own, ServerMode, Service, Settings, Timers,
    UpstreamSource,
};
use crate::time::Duration;
use std::net::Ipv4Addr;

/// One service, small bounds, ten seconds for everything.
pub(super) fn settings() -> Settings {
    let s = Duration::from_secs(10);
    Settings {
        own: Own { v4: Some(Ipv4Addr::new(10, 9, 0, 2)), v6: None },
        mtu: 1500,
        services: vec![Service {
            name: "ftp".into(),
            ports: vec![21],
            client_mode: ClientMode::Any,
            server_mode: ServerMode::Passive,
            upstream_source: UpstreamSource::Own,
            server_ports: vec![],
            data_source: DataSource::Server,
            data_ports: vec![2020],
            active_source_port: 20,
            ftps: Ftps::Refuse,
            mss_clamp: None,
        }],
        limits: Limits {
            sessions: 10,
            half_open: 64,
            half_open_per_source: 8,
            per_client: 10,
            over_limit: OverLimit::Return,
            line: 1024,
            reply: 262_144,
            commands: 64,
            relay_buffer: 4096,
            relays: 1,
            relays_per_client: 1,
        },
        timers: Timers {
            connect: s,
            greeting: s,
            login: s,
            control_idle: s,
            data_stall: s,
            data_wait: s,
            final_reply: s,
            steer_timeout: s,
            steer_wait: s,
            quarantine: s,
            time_wait: s,
        },
        worker: 0,
        workers: 1,
    }
}
