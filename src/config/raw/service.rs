//! The sections `[[service]]`.

use super::firewall::{networks, port_range};
use super::{PORTS, port};
use crate::config::checked::{
    Ccc, ClientMode, DataSource, Deployment, Ftps, MssClamp, Profile, ServerMode, UpstreamSource,
};
use crate::config::reader::Choice::{self, Is, NotBuilt};
use crate::config::reader::{At, Item, Place, Section, Source};
use crate::config::units::Cidr;
use crate::ftp::hostport::DEFAULT_DENIED_PORTS;
use std::ops::RangeInclusive;

/// A service as written, by what becomes of its control connections.
pub(in crate::config) enum RawService {
    Proxy(RawProxied),
    Inspect(RawInspected),
}

pub(in crate::config) struct RawProxied {
    pub(in crate::config) name: Option<At<String>>,
    pub(in crate::config) ports: Vec<At<u16>>,
    pub(in crate::config) client_mode: ClientMode,
    pub(in crate::config) server_mode: At<ServerMode>,
    pub(in crate::config) upstream_source: At<UpstreamSource>,
    pub(in crate::config) data_source: DataSource,
    pub(in crate::config) data_ports: Option<Vec<At<u16>>>,
    pub(in crate::config) data_ports_place: Place,
    pub(in crate::config) active_source_port: At<u16>,
    pub(in crate::config) ftps: At<Ftps>,
    pub(in crate::config) mss_clamp: MssClamp,
}

pub(in crate::config) struct RawInspected {
    pub(in crate::config) name: Option<At<String>>,
    pub(in crate::config) ports: Vec<At<u16>>,
    pub(in crate::config) alg: bool,
    /// Keys beside it that are written and mean nothing without it.
    pub(in crate::config) idle: Vec<&'static str>,
    pub(in crate::config) profile: Profile,
    pub(in crate::config) client_mode: ClientMode,
    pub(in crate::config) ftps: Ftps,
    pub(in crate::config) ccc: At<Ccc>,
    pub(in crate::config) denied_ports: Vec<RangeInclusive<u16>>,
    pub(in crate::config) active_source_ports: Vec<At<u16>>,
    pub(in crate::config) default_data_port: At<bool>,
    pub(in crate::config) fxp: Vec<Cidr>,
    pub(in crate::config) setups_per_second: u32,
    pub(in crate::config) failed_logins: u32,
    pub(in crate::config) prompt_refusals: u32,
    pub(in crate::config) commands_per_second: u32,
    pub(in crate::config) data_ports: Vec<At<u16>>,
    pub(in crate::config) mss_clamp: MssClamp,
}

impl RawService {
    pub(in crate::config) fn name(&self) -> Option<&At<String>> {
        match self {
            Self::Proxy(s) => s.name.as_ref(),
            Self::Inspect(s) => s.name.as_ref(),
        }
    }

    pub(in crate::config) fn ports(&self) -> &[At<u16>] {
        match self {
            Self::Proxy(s) => &s.ports,
            Self::Inspect(s) => &s.ports,
        }
    }
}

/// Keys of services of the one kind and not of the other.
const PROXY_ONLY: [&str; 4] = ["active_source_port", "data_source", "server_mode", "upstream_source"];
const INSPECT_ONLY: [&str; 11] = [
    "active_source_ports",
    "alg",
    "ccc",
    "commands_per_second",
    "default_data_port",
    "denied_ports",
    "failed_logins",
    "fxp",
    "profile",
    "prompt_refusals",
    "setups_per_second",
];
/// Keys that mean nothing while lines are not read.
const ALG_ONLY: [&str; 14] = [
    "active_source_ports",
    "ccc",
    "client_mode",
    "commands_per_second",
    "data_ports",
    "default_data_port",
    "denied_ports",
    "failed_logins",
    "ftps",
    "fxp",
    "mss_clamp",
    "profile",
    "prompt_refusals",
    "setups_per_second",
];
/// Keys for packets that a router redirects.
const REDIRECTED_ONLY: [&str; 2] = ["data_ports", "mss_clamp"];

pub(super) fn services(
    source: &Source<'_>,
    root: &mut Section<'_, '_>,
    kind: Option<Deployment>,
) -> Vec<RawService> {
    let remedy = "add a [[service]] section with name and ports";
    let Some(all) = root.need("service", remedy, Item::sections) else { return Vec::new() };
    if all.is_empty() {
        source.error(&root.place_of("service"), "the list is empty", remedy);
    }
    all.into_iter().map(|s| service(s, kind)).collect()
}

fn service(mut s: Section<'_, '_>, kind: Option<Deployment>) -> RawService {
    let name = s.need("name", "write a name for events, as name = \"ftp\"", |i| i.at(section_name));
    let ports = s.need("ports", "write the control ports, as ports = [21]", |i| {
        let ports = i.set(PORTS, port)?;
        if i.items(PORTS)?.is_empty() {
            return i.wrong("the list is empty", "write the control ports, as ports = [21]");
        }
        Some(ports)
    });
    let ports = ports.unwrap_or_default();
    let in_line = kind.is_some_and(Deployment::in_line);
    let inspect = s.or("handling", in_line, |i| {
        let what = "ends TCP here, in the names of clients and servers, which needs a router that redirects their \
                    packets; a bridge or route leaves TCP between its ends";
        let remedy = "write handling = \"inspect\", or deployment.kind = \"wccp\" or \"static\"";
        if in_line && i.is_string("proxy") {
            i.wrong::<()>(what, remedy);
            return Some(false);
        }
        let proxy: &[(&str, Choice<bool>)] = if in_line { &[] } else { &[("proxy", Is(false))] };
        i.choice(&[proxy, &[("inspect", Is(true)), ("tunnel", NotBuilt)]].concat())
    });
    if !inspect {
        let what = "is for control connections that are edited in flight";
        s.refuse(&INSPECT_ONLY, what, "take the key out, or write handling = \"inspect\"");
        return RawService::Proxy(proxied(s, name, ports));
    }
    let what = "is for control connections that end here, handling = \"proxy\"";
    s.refuse(&PROXY_ONLY, what, "take the key out");
    if in_line {
        let what = "is for packets that a router redirects; here all of them pass";
        s.refuse(&REDIRECTED_ONLY, what, "take the key out");
    }
    RawService::Inspect(inspected(s, name, ports, in_line))
}

fn proxied(mut s: Section<'_, '_>, name: Option<At<String>>, ports: Vec<At<u16>>) -> RawProxied {
    let client_mode = s.or("client_mode", ClientMode::Any, client_mode);
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
    let ftps = s.or("ftps", default, |i| i.at(ftps));
    let mss_clamp = s.or("mss_clamp", MssClamp::Auto, mss_clamp);
    s.finish();
    RawProxied {
        name,
        ports,
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

fn inspected(
    mut s: Section<'_, '_>,
    name: Option<At<String>>,
    ports: Vec<At<u16>>,
    in_line: bool,
) -> RawInspected {
    const DENIED_PORTS: &str = "a list of ports, as [3306, \"6000-6063\"]";
    let alg = s.or("alg", true, |i| i.boolean());
    let written: Vec<Place> = if alg { Vec::new() } else { s.written() };
    let is_written = |key: &&str| written.iter().any(|p| p.key.ends_with(&format!(".{key}")));
    let idle = ALG_ONLY.into_iter().filter(is_written).collect();
    let profiles = [Profile::Compat, Profile::Standard, Profile::Strict].map(|p| (p.name(), Is(p)));
    let profile = s.or("profile", Profile::Standard, |i| i.choice(&profiles));
    let ftps = s.or("ftps", Ftps::Opaque, ftps);
    let default = At { value: Ccc::Allow, place: s.place_of("ccc") };
    let words = [Ccc::Allow, Ccc::Deny, Ccc::Require].map(|c| (c.name(), Is(c)));
    let ccc = s.or("ccc", default, |i| i.at(|i| i.choice(&words)));
    let denied_ports = s.or("denied_ports", DEFAULT_DENIED_PORTS.to_vec(), |i| {
        Some(i.set(DENIED_PORTS, port_range)?.into_iter().map(|p| p.value).collect())
    });
    let active_source_ports =
        s.or("active_source_ports", Vec::new(), |i| i.set("a list of ports, as [20]", port));
    let client_mode = s.or("client_mode", ClientMode::Any, client_mode);
    let default = At { value: false, place: s.place_of("default_data_port") };
    let default_data_port = s.or("default_data_port", default, |i| i.at(|i| i.boolean()));
    let fxp = s.or("fxp", Vec::new(), |i| {
        if i.is_boolean() {
            i.boolean().map(|on| if on { Cidr::EVERY.to_vec() } else { Vec::new() })
        } else {
            networks(i)
        }
    });
    let setups_per_second = s.or("setups_per_second", 10, |i| i.number(1..=1_000));
    if profile == Profile::Compat {
        let what = "profile = \"compat\" counts no failed logins";
        s.refuse(&["failed_logins", "prompt_refusals"], what, "take the key out, or write another profile");
        let what = "profile = \"compat\" has no rate of commands";
        s.refuse(&["commands_per_second"], what, "take the key out, or write another profile");
    }
    let failed_logins = s.or("failed_logins", 50, |i| i.number(0..=1_000_000));
    let prompt_refusals = s.or("prompt_refusals", 5, |i| i.number(0..=1_000_000));
    let commands_per_second = s.or("commands_per_second", 20, |i| i.number(1..=10_000));
    let (mut data_ports, mut clamp) = (Vec::new(), MssClamp::Off);
    if !in_line {
        data_ports = s.or("data_ports", data_ports, |i| i.set(PORTS, port));
        clamp = s.or("mss_clamp", MssClamp::Auto, mss_clamp);
    }
    s.finish();
    RawInspected {
        name,
        ports,
        alg,
        idle,
        profile,
        client_mode,
        ftps,
        ccc,
        denied_ports,
        active_source_ports,
        default_data_port,
        fxp,
        setups_per_second,
        failed_logins,
        prompt_refusals,
        commands_per_second,
        data_ports,
        mss_clamp: clamp,
    }
}

fn client_mode(item: Item<'_, '_>) -> Option<ClientMode> {
    item.choice(&[ClientMode::Any, ClientMode::Active, ClientMode::Passive].map(|m| (m.name(), Is(m))))
}

fn ftps(item: Item<'_, '_>) -> Option<Ftps> {
    let now = [Ftps::Refuse, Ftps::Opaque].map(|f| (f.name(), Is(f)));
    let later = ["terminate", "require"].map(|k| (k, NotBuilt));
    item.choice(&[now.as_slice(), later.as_slice()].concat())
}

fn mss_clamp(item: Item<'_, '_>) -> Option<MssClamp> {
    if item.is_string("auto") {
        Some(MssClamp::Auto)
    } else if item.is_string("off") {
        Some(MssClamp::Off)
    } else if item.is_integer() {
        item.number(216..=1460).map(MssClamp::Bytes)
    } else {
        item.wrong("no such clamp", "write \"auto\", \"off\" or a whole number from 216 to 1460")
    }
}

/// A name for events.
pub(super) fn section_name(item: Item<'_, '_>) -> Option<String> {
    let name = item.string("a name")?;
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if name.is_empty() || name.len() > 32 || !name.bytes().all(good) {
        let remedy = "write 1 to 32 letters, digits, _ or -";
        return item.wrong(format!("{name:?} cannot be a name in events"), remedy);
    }
    Some(name)
}
