//! Services, shown.

use super::{Block, many, noted, plain};
use crate::config::checked::{Ccc, Ftps, Inspected, MssClamp, Profile, Service};
use crate::config::units::Cidr;
use serde_json::json;

/// `auto`: what an automatic clamp comes to.
pub(super) fn proxied(s: &Service, auto: &str) -> Block {
    many(
        "service",
        vec![
            plain("name", s.name.as_str()),
            plain("ports", json!(s.ports)),
            noted("handling", "proxy", "control connections end here on both sides"),
            plain("client_mode", s.client_mode.name()),
            noted("server_mode", s.server_mode.name(), "of the data connections with servers"),
            noted("upstream_source", s.upstream_source.name(), "whose address servers see"),
            noted("data_source", s.data_source.name(), "whose address clients see on data connections"),
            noted("data_ports", json!(s.data_ports), "named to passive clients instead of the server's port"),
            noted("active_source_port", s.active_source_port, "toward active clients"),
            ftps(s.ftps),
            clamp(s.mss_clamp, auto),
        ],
    )
}

/// `redirected`: by a router.
pub(super) fn inspected(s: &Inspected, redirected: bool, auto: &str) -> Block {
    let profile = match s.profile {
        Profile::Compat => "nothing is refused for its form",
        Profile::Standard => "what no two programs agree about is refused",
        Profile::Strict => "what is not to the letter ends the connection",
    };
    let ccc = match s.ccc {
        Ccc::Allow => "what is clear again is read again",
        Ccc::Deny => "what is clear again is reset",
        Ccc::Require => "no data connection while it is encrypted",
    };
    let sources = if s.active_source_ports.is_empty() { "any" } else { "of active data connections" };
    let mut entries = vec![
        plain("name", s.name.as_str()),
        plain("ports", json!(s.ports)),
        noted("handling", "inspect", "control connections pass through and are edited"),
        noted("alg", s.alg, if s.alg { "" } else { "nothing is read: no data connection is expected" }),
        noted("profile", s.profile.name(), profile),
        plain("client_mode", s.client_mode.name()),
        ftps(s.ftps),
        noted("ccc", s.ccc.name(), ccc),
        noted("denied_ports", super::firewall::ports(&s.denied_ports), "no data connection goes there"),
        noted("active_source_ports", json!(s.active_source_ports), sources),
        noted("default_data_port", s.default_data_port, "transfers without PORT and PASV"),
        fxp(&s.fxp),
        noted("setups_per_second", s.setups_per_second, "PORT, PASV and the like, of one session"),
    ];
    if s.profile != Profile::Compat {
        entries.push(noted("commands_per_second", s.commands_per_second, "of any kind, of one session"));
        entries.push(noted("failed_logins", s.failed_logins, "of one client; then 421 for 15 minutes"));
        entries.push(noted("prompt_refusals", s.prompt_refusals, "of those; more are told late"));
    }
    if redirected {
        let told = if s.data_ports.is_empty() {
            "the server's own port is told"
        } else {
            "named to passive clients instead of the server's port"
        };
        entries.push(noted("data_ports", json!(s.data_ports), told));
        entries.push(clamp(s.mss_clamp, auto));
    }
    many("service", entries)
}

fn ftps(ftps: Ftps) -> super::Entry {
    match ftps {
        Ftps::Refuse => noted("ftps", "refuse", "AUTH is answered with 534"),
        Ftps::Opaque => noted("ftps", "opaque", "AUTH TLS and all behind it is passed on unread"),
    }
}

fn fxp(servers: &[Cidr]) -> super::Entry {
    match servers {
        [] => noted("fxp", false, "a PORT may name the client only"),
        all if all == Cidr::EVERY => {
            noted("fxp", true, "and a port that any other server named to the client")
        }
        some => noted("fxp", super::firewall::networks(some), "servers that may send files to each other"),
    }
}

fn clamp(clamp: MssClamp, auto: &str) -> super::Entry {
    match clamp {
        MssClamp::Auto => noted("mss_clamp", "auto", auto),
        MssClamp::Bytes(n) => plain("mss_clamp", n),
        MssClamp::Off => plain("mss_clamp", "off"),
    }
}
