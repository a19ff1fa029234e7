//! Reads each section of the file: values are typed here, and judged one by one; what two values mean
//! together is judged in `check`.

mod firewall;
mod interface;
mod limits;
mod service;
mod wccp;

use super::checked::{Deployment, EventTarget, Firewall, Idle, Limits, Timers, WorkerSettings};
use super::reader::Choice::{Is, NotBuilt};
use super::reader::{At, Item, Place, Section, Source};
use super::units::Cidr;
pub(super) use firewall::RawNat;
pub(super) use interface::{RawInterface, RawRoute};
use service::section_name;
pub(super) use service::{RawInspected, RawProxied, RawService};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
pub(super) use wccp::{RawGroup, RawWccp};

/// The file as written, value by value. `None` stands for a key that is missing or wrong; it is noted then.
pub(super) struct Raw {
    pub(super) deployment: Option<Deployment>,
    pub(super) interfaces: Vec<RawInterface>,
    pub(super) routes: Vec<RawRoute>,
    pub(super) wccp: Option<RawWccp>,
    pub(super) services: Vec<RawService>,
    pub(super) firewall: Firewall,
    pub(super) nat: Option<RawNat>,
    pub(super) limits: Limits,
    pub(super) timers: Timers,
    /// The keys of the last two that are written.
    pub(super) bounds: Vec<Place>,
    pub(super) worker: WorkerSettings,
    pub(super) events: EventTarget,
}

const PORTS: &str = "a list of ports, as [21]";
const IN_LINE: &str = "WCCP redirection of FTP does not go together with bridge or route, where every packet \
                       passes through anyway";

/// Reads the whole document.
pub(super) fn read(source: &Source<'_>) -> Raw {
    let mut root = source.root();
    root.need("version", "write version = 1 at the top", |i| i.integer(1..=1));
    let wccp = root.take("wccp");
    let kind = deployment(&mut root, wccp.is_some());
    // In-line sections next to [wccp] are a misunderstanding that deserves more than "unknown key".
    if wccp.is_some() {
        for key in ["bridge", "route"] {
            if let Some(item) = root.take(key) {
                item.wrong::<()>(IN_LINE, "take this section out, or use no WCCP");
            }
        }
    }
    let interfaces = interface::interfaces(source, &mut root, kind, wccp.is_some());
    let routes = interface::routes(&mut root, kind);
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
    let services = service::services(source, &mut root, kind);
    let (firewall, nat) = filter(&mut root, kind);
    let mut bounds = Vec::new();
    let limits = section(&mut root, "limits", Limits::default(), |s| {
        bounds.extend(s.written());
        limits::limits(s)
    });
    let timers = section(&mut root, "timers", Timers::default(), |s| {
        bounds.extend(s.written());
        limits::timers(s)
    });
    let raw = Raw {
        deployment: kind,
        interfaces,
        routes,
        wccp,
        services,
        firewall,
        nat,
        limits,
        timers,
        bounds,
        worker: section(&mut root, "worker", WorkerSettings::default(), worker),
        events: section(&mut root, "events", EventTarget::Stdout, |s| events(source, s)),
    };
    root.finish();
    raw
}

/// `Some` if the kind is one that can run.
fn deployment(root: &mut Section<'_, '_>, wccp: bool) -> Option<Deployment> {
    let remedy = "add [deployment] with kind = \"wccp\", \"static\", \"bridge\" or \"route\"";
    let mut s = root.need("deployment", remedy, Item::section)?;
    let remedy = "write kind = \"wccp\", \"static\", \"bridge\" or \"route\"";
    let kind = s.need("kind", remedy, |item| {
        let in_line = item.is_array() || item.is_string("bridge") || item.is_string("route");
        if in_line && (wccp || item.is_array()) {
            return item.wrong(IN_LINE, "write kind = \"wccp\" alone, or take the [wccp] section out");
        }
        let now = [Deployment::Wccp, Deployment::Static, Deployment::Bridge, Deployment::Route]
            .map(|k| (k.name(), Is(k)));
        item.choice(&[now.as_slice(), &[("host", NotBuilt)]].concat())
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

/// What passes between two interfaces; redirected packets are as routers let them through.
fn filter(root: &mut Section<'_, '_>, kind: Option<Deployment>) -> (Firewall, Option<RawNat>) {
    let one_armed = kind.is_some_and(|k| !k.in_line());
    let (mut filter, mut nat) = (Firewall::default(), None);
    if let Some(item) = root.take("firewall") {
        if one_armed {
            let what = "routers redirect what they let through, and it goes on; nothing is refused here";
            item.wrong::<()>(
                what,
                "take the section out, or write deployment.kind = \"bridge\" or \"route\"",
            );
        } else if let Some(mut s) = item.section() {
            filter = firewall::firewall(&mut s);
            s.finish();
        }
    }
    if let Some(item) = root.take("nat") {
        if kind.is_some_and(|k| k != Deployment::Route) {
            let what = "addresses are translated by deployments of kind = \"route\" only";
            item.wrong::<()>(what, "take the section out, or write deployment.kind = \"route\"");
        } else if let Some(mut s) = item.section() {
            nat = Some(firewall::nat(&mut s));
            s.finish();
        }
    }
    (filter, nat)
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

impl Default for WorkerSettings {
    fn default() -> Self {
        Self { cpu: None, idle: Idle::Adaptive, seed: None }
    }
}
