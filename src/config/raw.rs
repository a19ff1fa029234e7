//! Reads each section of the file: values are typed here, and judged one by one; what two values mean
//! together is judged in `check`.

mod wccp;

use super::checked::{
    ClientMode, DataSource, Deployment, Driver, EventTarget, Ftps, Idle, Limits, Mode, MssClamp,
    NicProfileName, OverLimit, ServerMode, Timers, UpstreamSource, WorkerSettings,
};
use super::reader::Choice::{Is, NotBuilt};
use super::reader::{At, Item, Place, Section, Source};
use super::units::Cidr;
use crate::time::Duration;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
pub(super) use wccp::{RawGroup, RawWccp};

/// The file as written, value by value. `None` stands for a key that is missing or wrong; it is noted then.
pub(super) struct Raw {
    pub(super) deployment: Option<Deployment>,
    pub(super) interface: Option<RawInterface>,
    pub(super) wccp: Option<RawWccp>,
    pub(super) services: Vec<RawService>,
    pub(super) limits: Limits,
    pub(super) timers: Timers,
    pub(super) worker: WorkerSettings,
    pub(super) events: EventTarget,
}

pub(super) struct RawInterface {
    pub(super) name: Option<String>,
    pub(super) driver: Driver,
    pub(super) mode: At<Mode>,
    pub(super) vlan: Option<Vec<u16>>,
    /// Those that could be read.
    pub(super) addresses: Vec<At<Cidr>>,
    pub(super) next_hops: Vec<At<IpAddr>>,
    /// All that was written was right, value by value.
    pub(super) sound: bool,
    pub(super) nic_profile: NicProfileName,
}

pub(super) struct RawService {
    pub(super) name: Option<At<String>>,
    pub(super) ports: Vec<At<u16>>,
    pub(super) client_mode: ClientMode,
    pub(super) server_mode: At<ServerMode>,
    pub(super) upstream_source: At<UpstreamSource>,
    pub(super) data_source: DataSource,
    pub(super) data_ports: Option<Vec<At<u16>>>,
    pub(super) data_ports_place: Place,
    pub(super) active_source_port: At<u16>,
    pub(super) ftps: At<Ftps>,
    pub(super) mss_clamp: MssClamp,
}

const PORTS: &str = "a list of ports, as [21]";
const IN_LINE: &str = "WCCP redirection of FTP does not go together with bridge or route, where every packet \
                       passes through anyway";

/// Reads the whole document.
pub(super) fn read(source: &Source<'_>) -> Raw {
    let mut root = source.root();
    root.need("version", "write version = 1 at the top", |i| i.integer(1..=1));
    // In-line sections next to [wccp] are a misunderstanding that deserves more than "unknown key".
    for key in ["bridge", "route"] {
        if let Some(item) = root.take(key) {
            item.wrong::<()>(IN_LINE, "take this section out, or use no WCCP");
        }
    }
    let wccp = root.take("wccp");
    let kind = deployment(&mut root, wccp.is_some());
    let interface = interface(source, &mut root);
    let wccp = match (wccp, kind) {
        (Some(item), Some(Deployment::Static)) => item.wrong(
            "WCCP does not go together with kind = \"static\", where the router negotiates nothing",
            "take the section out, or write kind = \"wccp\"",
        ),
        (Some(item), _) => item.section().map(wccp::section),
        (None, Some(Deployment::Wccp)) => {
            let place = root.place_of("wccp");
            source.error(
                &place,
                "missing",
                "add a [wccp] section with routers and at least one [[wccp.group]]",
            );
            None
        }
        (None, _) => None,
    };
    let services = services(source, &mut root);
    let raw = Raw {
        deployment: kind,
        interface,
        wccp,
        services,
        limits: section(&mut root, "limits", Limits::default(), limits),
        timers: section(&mut root, "timers", Timers::default(), timers),
        worker: section(&mut root, "worker", WorkerSettings::default(), worker),
        events: section(&mut root, "events", EventTarget::Stdout, |s| events(source, s)),
    };
    root.finish();
    raw
}

/// `Some` if the kind is one that can run.
fn deployment(root: &mut Section<'_, '_>, wccp: bool) -> Option<Deployment> {
    let remedy = "add [deployment] with kind = \"wccp\" or \"static\"";
    let mut s = root.need("deployment", remedy, Item::section)?;
    let kind = s.need("kind", "write kind = \"wccp\" or \"static\"", |item| {
        let in_line = item.is_array() || item.is_string("bridge") || item.is_string("route");
        if in_line && (wccp || item.is_array()) {
            return item.wrong(IN_LINE, "write kind = \"wccp\" alone, or take the [wccp] section out");
        }
        let now = [Deployment::Wccp, Deployment::Static].map(|k| (k.name(), Is(k)));
        let later = ["bridge", "route", "host"].map(|k| (k, NotBuilt));
        item.choice(&[now.as_slice(), later.as_slice()].concat())
    });
    s.finish();
    kind
}

fn section<T>(
    root: &mut Section<'_, '_>,
    key: &'static str,
    default: T,
    read: impl FnOnce(&mut Section<'_, '_>) -> T,
) -> T {
    let Some(mut s) = root.take(key).and_then(Item::section) else { return default };
    let value = read(&mut s);
    s.finish();
    value
}

fn interface(source: &Source<'_>, root: &mut Section<'_, '_>) -> Option<RawInterface> {
    let remedy = "add an [[interface]] section with name, address and next_hop";
    let mut all = root.need("interface", remedy, Item::sections)?.into_iter();
    let Some(mut s) = all.next() else {
        source.error(&root.place_of("interface"), "the list is empty", remedy);
        return None;
    };
    for extra in all {
        source.error(
            extra.place(),
            "several interfaces are not built yet",
            "possible now: one [[interface]]",
        );
    }
    let name = s.need("name", "write the interface's name, as name = \"eth1\"", interface_name);
    if let Some(role) = s.take("role") {
        role.wrong::<()>(
            format!("inside and outside belong to bridge and route; {IN_LINE}"),
            "take the key out",
        );
    }
    let driver = s.or("driver", Driver::AfXdp, |i| {
        i.choice(&[("af_xdp", Is(Driver::AfXdp)), ("pnet", Is(Driver::Pnet))])
    });
    let default = At { value: Mode::Dedicated, place: s.place_of("mode") };
    let mode = s.or("mode", default, |i| {
        i.at(|i| i.choice(&[Mode::Dedicated, Mode::Shared].map(|m| (m.name(), Is(m)))))
    });
    let vlan = s.take("vlan").and_then(vlan);
    let remedy = "write our own address and prefix, as address = [\"10.9.0.2/24\"]";
    let addresses = s.need("address", remedy, |i| one_a_family(&i, own_address, |c| c.address));
    let remedy = "write the router's address on this network, as next_hop = \"10.9.0.1\"";
    let next_hops = s.need("next_hop", remedy, |i| {
        if i.is_array() { one_a_family(&i, host, |a| *a) } else { i.at(host).map(|a| vec![a]) }
    });
    let nic_profile = s.or("nic_profile", NicProfileName::Generic, |i| {
        let text = i.string("\"generic\", \"veth\" or the path of a profile")?;
        Some(match text.as_str() {
            "generic" => NicProfileName::Generic,
            "veth" => NicProfileName::Veth,
            path => NicProfileName::File(relative(source, path)),
        })
    });
    s.finish();
    let sound = addresses.is_some() && next_hops.is_some();
    let (addresses, next_hops) = (addresses.unwrap_or_default(), next_hops.unwrap_or_default());
    Some(RawInterface { name, driver, mode, vlan, addresses, next_hops, sound, nic_profile })
}

/// One id, or two of which the first is the outer tag's.
fn vlan(item: Item<'_, '_>) -> Option<Vec<u16>> {
    const WANTED: &str = "a list of one or two VLAN ids, as [100]";
    let items = item.items(WANTED)?;
    if items.is_empty() {
        return item.wrong("the list is empty", "take the key out, or write the id of the VLAN, as [100]");
    }
    if items.len() > 2 {
        return item.wrong("more than two tags", "write the outer and the inner tag's id, as [100, 200]");
    }
    // A list with a wrong id would be another VLAN.
    items.into_iter().map(|i| i.number(1..=4094)).collect()
}

fn interface_name(item: Item<'_, '_>) -> Option<String> {
    let name = item.string("an interface's name")?;
    // The kernel's own rule (dev_valid_name): 15 bytes, no slash, colon or white space.
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if name.is_empty() || name.len() > 15 || name.starts_with('.') || name.contains(bad) {
        return item.wrong(format!("{name:?} cannot be an interface"), "see `ip link` for the names");
    }
    Some(name)
}

/// The only entry of a list, where several would be right but are not built yet.
fn one<T>(item: Item<'_, '_>, what: &str, read: impl Fn(Item<'_, '_>) -> Option<T>) -> Option<At<T>> {
    let items = item.items("a list with one entry")?;
    match items.len() {
        0 => item.wrong("the list is empty", "write one entry"),
        1 => items.into_iter().next()?.at(read),
        _ => item.wrong(format!("several {what} are not built yet"), "possible now: one"),
    }
}

/// A list with at most one entry of each address family; none if an entry is wrong or one too many.
fn one_a_family<T>(
    item: &Item<'_, '_>,
    read: impl Fn(Item<'_, '_>) -> Option<T>,
    address: impl Fn(&T) -> IpAddr,
) -> Option<Vec<At<T>>> {
    let items = item.items("a list with one address of each family")?;
    if items.is_empty() {
        return item.wrong("the list is empty", "write one entry");
    }
    let mut list: Vec<At<T>> = Vec::new();
    for item in items {
        let again = |a: IpAddr| list.iter().any(|e| address(&e.value).is_ipv4() == a.is_ipv4());
        let source = item.source();
        let value = item.at(&read)?;
        let family = address(&value.value);
        if again(family) {
            let family = if family.is_ipv4() { "IPv4" } else { "IPv6" };
            let what = format!("several {family} addresses are not built yet");
            source.error(&value.place, what, "possible now: one of each family");
            return None;
        }
        list.push(value);
    }
    Some(list)
}

fn own_address(item: Item<'_, '_>) -> Option<Cidr> {
    let text = item.string("an address with its prefix, as \"10.9.0.2/24\"")?;
    let Some(cidr) = Cidr::parse(&text) else {
        return item.wrong(
            format!("{text:?} is no address with a prefix"),
            "write it as \"10.9.0.2/24\" or \"2001:db8:9::2/64\"",
        );
    };
    let a = cidr.address;
    if matches!(a, IpAddr::V6(a) if a.is_unicast_link_local()) {
        let remedy = "write an address that servers beyond the router can answer";
        return item.wrong(format!("{a} is good on its link only"), remedy);
    }
    if !is_host(a) || cidr.is_edge(a) {
        return item.wrong(format!("{a} is no host's address"), "write the address that routers reach us by");
    }
    Some(cidr)
}

fn is_host(a: IpAddr) -> bool {
    let odd = match a {
        IpAddr::V4(a) => a.is_broadcast(),
        IpAddr::V6(a) => a.to_ipv4_mapped().is_some(),
    };
    !(odd || a.is_unspecified() || a.is_multicast() || a.is_loopback())
}

fn host(item: Item<'_, '_>) -> Option<IpAddr> {
    let text = item.string("an address, as \"10.9.0.1\"")?;
    match text.parse().ok().filter(|a| is_host(*a)) {
        None => item.wrong(format!("{text:?} is no host's address"), "write it as \"10.9.0.1\""),
        a => a,
    }
}

fn port(item: Item<'_, '_>) -> Option<u16> {
    item.number(1..=65_535)
}

fn services(source: &Source<'_>, root: &mut Section<'_, '_>) -> Vec<RawService> {
    let remedy = "add a [[service]] section with name and ports";
    let Some(all) = root.need("service", remedy, Item::sections) else { return Vec::new() };
    if all.is_empty() {
        source.error(&root.place_of("service"), "the list is empty", remedy);
    }
    all.into_iter().map(service).collect()
}

fn service(mut s: Section<'_, '_>) -> RawService {
    let name = s.need("name", "write a name for events, as name = \"ftp\"", |i| i.at(service_name));
    let ports = s.need("ports", "write the control ports, as ports = [21]", |i| {
        let ports = i.set(PORTS, port)?;
        if i.items(PORTS)?.is_empty() {
            return i.wrong("the list is empty", "write the control ports, as ports = [21]");
        }
        Some(ports)
    });
    s.or("handling", (), |i| i.choice(&[("proxy", Is(())), ("inspect", NotBuilt), ("tunnel", NotBuilt)]));
    let client_mode = s.or("client_mode", ClientMode::Any, |i| {
        i.choice(&[ClientMode::Any, ClientMode::Active, ClientMode::Passive].map(|m| (m.name(), Is(m))))
    });
    let default = At { value: ServerMode::Passive, place: s.place_of("server_mode") };
    let modes = [ServerMode::Passive, ServerMode::Active, ServerMode::Same].map(|m| (m.name(), Is(m)));
    let server_mode = s.or("server_mode", default, |i| i.at(|i| i.choice(&modes)));
    let default = At { value: UpstreamSource::Own, place: s.place_of("upstream_source") };
    let sources = [UpstreamSource::Own, UpstreamSource::Client].map(|u| (u.name(), Is(u)));
    let upstream_source = s.or("upstream_source", default, |i| i.at(|i| i.choice(&sources)));
    let data_source = s.or("data_source", DataSource::Server, |i| {
        i.choice(&[DataSource::Server, DataSource::Own].map(|d| (d.name(), Is(d))))
    });
    let data_ports_place = s.place_of("data_ports");
    let data_ports = s.take("data_ports").map(|i| i.set(PORTS, port).unwrap_or_default());
    let default = At { value: 20, place: s.place_of("active_source_port") };
    let active_source_port = s.or("active_source_port", default, |i| i.at(port));
    let default = At { value: Ftps::Refuse, place: s.place_of("ftps") };
    let now = [Ftps::Refuse, Ftps::Opaque].map(|f| (f.name(), Is(f)));
    let later = ["terminate", "require"].map(|k| (k, NotBuilt));
    let ftps = s.or("ftps", default, |i| i.at(|i| i.choice(&[now.as_slice(), later.as_slice()].concat())));
    let mss_clamp = s.or("mss_clamp", MssClamp::Auto, |i| {
        if i.is_string("auto") {
            Some(MssClamp::Auto)
        } else if i.is_string("off") {
            Some(MssClamp::Off)
        } else if i.is_integer() {
            i.number(216..=1460).map(MssClamp::Bytes)
        } else {
            i.wrong("no such clamp", "write \"auto\", \"off\" or a whole number from 216 to 1460")
        }
    });
    s.finish();
    RawService {
        name,
        ports: ports.unwrap_or_default(),
        client_mode,
        server_mode,
        upstream_source,
        data_source,
        data_ports,
        data_ports_place,
        active_source_port,
        ftps,
        mss_clamp,
    }
}

fn service_name(item: Item<'_, '_>) -> Option<String> {
    let name = item.string("a name")?;
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if name.is_empty() || name.len() > 32 || !name.bytes().all(good) {
        let remedy = "write 1 to 32 letters, digits, _ or -";
        return item.wrong(format!("{name:?} cannot be a service's name"), remedy);
    }
    Some(name)
}

fn limits(s: &mut Section<'_, '_>) -> Limits {
    let d = Limits::default();
    Limits {
        sessions: s.or("sessions", d.sessions, |i| i.number(1..=1_000_000)),
        half_open: s.or("half_open", d.half_open, |i| i.number(1..=1_000_000)),
        half_open_per_source: s
            .or("half_open_per_source", d.half_open_per_source, |i| i.number(1..=1_000_000)),
        per_client: s.or("per_client", d.per_client, |i| i.number(1..=1_000_000)),
        over_limit: s.or("over_limit", d.over_limit, |i| {
            i.choice(&[OverLimit::Return, OverLimit::Reset].map(|o| (o.name(), Is(o))))
        }),
        flows: s.or("flows", d.flows, |i| i.number(64..=16_777_216)),
        line: s.or("line", d.line, |i| i.size(512..=65_536)),
        reply: s.or("reply", d.reply, |i| i.size(4_096..=16 << 20)),
        commands: s.or("commands", d.commands, |i| i.number(1..=4_096)),
        relay_buffer: s.or("relay_buffer", d.relay_buffer, |i| i.size(16_384..=16 << 20)),
        relay_buffers: s.or("relay_buffers", d.relay_buffers, |i| i.number(2..=65_536)),
        relays_per_client: s.or("relays_per_client", d.relays_per_client, |i| i.number(1..=65_536)),
    }
}

fn timers(s: &mut Section<'_, '_>) -> Timers {
    let d = Timers::default();
    let mut timer = |key, default, least| {
        s.or(key, default, |i| i.duration(Duration::from_millis(least)..=Duration::from_secs(86_400)))
    };
    Timers {
        connect: timer("connect", d.connect, 100),
        greeting: timer("greeting", d.greeting, 100),
        login: timer("login", d.login, 100),
        control_idle: timer("control_idle", d.control_idle, 100),
        data_stall: timer("data_stall", d.data_stall, 100),
        data_wait: timer("data_wait", d.data_wait, 100),
        final_reply: timer("final_reply", d.final_reply, 100),
        steer_timeout: timer("steer_timeout", d.steer_timeout, 100),
        steer_wait: timer("steer_wait", d.steer_wait, 0),
        quarantine: timer("quarantine", d.quarantine, 0),
        time_wait: timer("time_wait", d.time_wait, 100),
        drain_timeout: timer("drain_timeout", d.drain_timeout, 0),
    }
}

fn worker(s: &mut Section<'_, '_>) -> WorkerSettings {
    let cpu = s.take("cpu").and_then(|i| one(i, "workers", |i| i.number(0..=4_095)));
    let idle =
        s.or("idle", Idle::Adaptive, |i| i.choice(&[Idle::Adaptive, Idle::Spin].map(|m| (m.name(), Is(m)))));
    let seed = s.take("seed").and_then(|item| {
        let text = item.string("32 hexadecimal digits")?;
        let seed = (text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit()))
            .then(|| u128::from_str_radix(&text, 16).ok())
            .flatten();
        if seed.is_none() {
            return item.wrong("is no seed", "write 32 hexadecimal digits, or take the key out");
        }
        seed.map(u128::to_be_bytes)
    });
    WorkerSettings { cpu: cpu.map(|c| c.value), idle, seed }
}

fn events(source: &Source<'_>, s: &mut Section<'_, '_>) -> EventTarget {
    s.or("path", EventTarget::Stdout, |item| {
        let path = item.string("a path, or \"-\" for standard output")?;
        if path.is_empty() {
            return item.wrong("is empty", "write a path, or \"-\" for standard output");
        }
        Some(if path == "-" { EventTarget::Stdout } else { EventTarget::File(relative(source, &path)) })
    })
}

/// Paths in the file start at the file's own directory, wherever the program was started; absolute, so that
/// the effective configuration means the same in another place.
pub(super) fn relative(source: &Source<'_>, path: &str) -> PathBuf {
    let joined = source.file().parent().unwrap_or(Path::new("")).join(path);
    std::path::absolute(&joined).unwrap_or(joined)
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 10_000,
            half_open: 10_000,
            half_open_per_source: 256,
            per_client: 256,
            over_limit: OverLimit::Return,
            flows: 65_536,
            line: 4_096,
            reply: 262_144,
            commands: 64,
            relay_buffer: 262_144,
            relay_buffers: 256,
            relays_per_client: 128,
        }
    }
}

impl Default for Timers {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self {
            connect: s(30),
            greeting: s(120),
            login: s(300),
            control_idle: s(900),
            data_stall: s(600),
            data_wait: s(60),
            final_reply: s(300),
            steer_timeout: s(15),
            steer_wait: s(5),
            quarantine: s(60),
            time_wait: s(10),
            drain_timeout: s(30),
        }
    }
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self { cpu: None, idle: Idle::Adaptive, seed: None }
    }
}
