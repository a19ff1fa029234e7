//! The example of the catalogue as settings: who is where, what is allowed, and in which ways a case is run.

use crate::host::Manner;
use crate::net::Net;
use crate::support::Faults;
use std::net::{IpAddr, SocketAddr};
use tidegate::alg;
use tidegate::alg::rules::{Ccc, Ftps, Profile, Settings as Rules};
use tidegate::firewall::{
    Action, Filter, Limits, Masquerade, Nat, Protocol, Rule, Service, Settings, Side, Timers,
};
use tidegate::time::Duration;

pub(crate) const CLIENT: &str = "10.0.0.5";
pub(crate) const OTHER_CLIENT: &str = "10.0.0.6";
pub(crate) const OUTSIDE: &str = "203.0.113.9";
pub(crate) const SERVER: &str = "198.51.100.7";
pub(crate) const OTHER_SERVER: &str = "198.51.100.8";
pub(crate) const STRANGER: &str = "192.0.2.99";

/// `"10.0.0.5"` and a port.
pub(crate) fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse::<IpAddr>().unwrap(), port)
}

/// A control connection and the gateway in its way.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) settings: Settings,
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
    pub(crate) client_manner: Manner,
    pub(crate) server_manner: Manner,
    pub(crate) faults: Faults,
    pub(crate) seed: u64,
}

/// How both ends send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Whole,
    Bytes,
    Swapped,
    SwappedBytes,
    Duplicated,
}

pub(crate) const WAYS: [Way; 5] = [Way::Whole, Way::Bytes, Way::Swapped, Way::SwappedBytes, Way::Duplicated];

impl Setup {
    /// A client inside, masqueraded, and a server outside, under default deny.
    pub(crate) fn new(profile: Profile) -> Self {
        Self {
            settings: settings(profile),
            client: at(CLIENT, 40_001),
            server: at(SERVER, 21),
            client_manner: Manner { isn: 1000, ..Manner::default() },
            server_manner: Manner { isn: 7_000_000, ..Manner::default() },
            faults: Faults::default(),
            seed: 7,
        }
    }

    /// The same in IPv6, where nothing is translated.
    pub(crate) fn v6(profile: Profile) -> Self {
        let mut s = Self::new(profile);
        s.client = at("2001:db8:1::5", 40_001);
        s.server = at("2001:db8:2::7", 21);
        s
    }

    pub(crate) fn service(&mut self) -> &mut Service {
        &mut self.settings.services[0]
    }

    pub(crate) fn rules(&mut self) -> &mut Rules {
        &mut self.settings.services[0].rules
    }

    /// Sends in this way.
    pub(crate) fn way(mut self, way: Way) -> Self {
        let piece = match way {
            Way::Whole | Way::Duplicated => 1460,
            Way::Bytes | Way::SwappedBytes => 1,
            Way::Swapped => 5,
        };
        self.client_manner.piece = piece;
        self.server_manner.piece = piece;
        self.faults = Faults {
            duplicate: if way == Way::Duplicated { 100 } else { 0 },
            swap: matches!(way, Way::Swapped | Way::SwappedBytes),
            until: u64::MAX,
            ..Faults::default()
        };
        self
    }
}

fn settings(profile: Profile) -> Settings {
    let rules = Rules {
        name: "ftp".to_owned(),
        profile,
        ftps: Ftps::Opaque,
        ccc: Ccc::Allow,
        client_mode: tidegate::alg::rules::ClientMode::Any,
        denied_ports: denied(),
        commands: 64,
        setups_per_second: 10,
        failed_logins: 50,
        prompt_refusals: 5,
        commands_per_second: 20,
        first_command: tidegate::time::Duration::from_secs(60),
        login: tidegate::time::Duration::from_secs(300),
        reply: 256 << 10,
        default_data_port: false,
        fxp: Vec::new(),
    };
    let service = Service {
        name: "ftp".to_owned(),
        ports: vec![21],
        alg: true,
        rules,
        active_source_ports: Vec::new(),
        data_ports: Vec::new(),
        data_bypasses: false,
        mss_clamp: None,
    };
    let control = Rule {
        name: "control".to_owned(),
        action: Action::Allow,
        from: Some(Side::Inside),
        protocol: Protocol::Tcp,
        source: Vec::new(),
        destination: Vec::new(),
        ports: vec![21..=21],
    };
    Settings {
        filter: Filter { default: Action::Drop, rules: vec![control], data: Vec::new() },
        nat: Nat {
            masquerade: Some(Masquerade {
                sources: Vec::new(),
                address: OUTSIDE.parse().unwrap(),
                ports: 49_152..=65_535,
            }),
            ..Nat::default()
        },
        services: vec![service],
        hop: true,
        limits: Limits {
            connections: 1000,
            sessions: 1000,
            sessions_per_client: 200,
            held: tidegate::firewall::HELD,
            expectations: 1000,
            expectations_per_client: 64,
            alg: alg::Limits::default(),
        },
        timers: Timers {
            established: Duration::from_secs(7440),
            transitory: Duration::from_secs(240),
            udp: Duration::from_secs(300),
            icmp: Duration::from_secs(60),
            expectation: Duration::from_secs(60),
            orphan: Duration::from_secs(10),
            steer_wait: Duration::from_secs(5),
            steer_timeout: Duration::from_secs(15),
            quarantine: Duration::from_secs(60),
            greeting: Duration::from_secs(120),
            control_idle: Duration::from_secs(900),
        },
    }
}

/// Ports that no data connection goes to: those of the defaults.
pub(crate) fn denied() -> Vec<std::ops::RangeInclusive<u16>> {
    tidegate::ftp::hostport::DEFAULT_DENIED_PORTS.to_vec()
}

/// What failed, when a test ends in the midst of it.
struct Tell(String);

impl Drop for Tell {
    #[allow(clippy::print_stderr, reason = "a failure is told")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in this way: {}", self.0);
        }
    }
}

/// Runs a case in every way, its session logged in.
pub(crate) fn case(profile: Profile, test: impl Fn(&mut Net)) {
    case_with(profile, |_| {}, test);
}

/// Likewise, with other settings.
pub(crate) fn case_with(profile: Profile, change: impl Fn(&mut Setup), test: impl Fn(&mut Net)) {
    bare(profile, change, |net| {
        net.log_in();
        test(net);
    });
}

/// Runs a case in every way from the first segment behind the handshake.
pub(crate) fn bare(profile: Profile, change: impl Fn(&mut Setup), test: impl Fn(&mut Net)) {
    for way in WAYS {
        let _tell = Tell(format!("{way:?}, {profile:?}"));
        let mut setup = Setup::new(profile).way(way);
        change(&mut setup);
        let mut net = Net::new(&setup);
        test(&mut net);
        net.finish();
    }
}
