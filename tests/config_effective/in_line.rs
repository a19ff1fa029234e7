//! Bridge, route and inspected services: what a file becomes, and how it is shown.

use super::small;
use std::path::Path;
use std::time::Duration;
use tidegate::config::{
    Ccc, Cidr, ClientMode, Config, Deployment, Driver, Ftps, IpProtocol, MssClamp, Profile, RuleAction, Side,
    parse,
};

const ROUTE: &str = r#"version = 1
[deployment]
kind = "route"
[[interface]]
name = "out0"
role = "outside"
driver = "pnet"
address = ["203.0.113.9/24", "2001:db8:b::9/64"]
next_hop = ["203.0.113.1", "2001:db8:b::1"]
[[interface]]
name = "in0"
role = "inside"
vlan = [7]
address = ["10.0.0.1/24", "2001:db8:a::1/64"]
next_hop = "10.0.0.253"
[[route]]
network = "10.1.0.0/16"
via = "10.0.0.254"
[[route]]
network = "198.51.100.0/24"
via = "203.0.113.2"
[firewall]
default = "deny"
refuse_with = "reject"
[[firewall.rule]]
name = "ftp"
action = "allow"
from = "inside"
protocol = "tcp"
source = ["10.0.0.0/24", "2001:db8:a::/64"]
destination = ["198.51.100.0/24", "2001:db8::7"]
ports = [21, "8000-8100"]
[[firewall.rule]]
name = "gre"
action = "drop"
protocol = 47
[[firewall.rule]]
name = "rest"
action = "deny"
from = "outside"
protocol = "icmp"
[[firewall.data]]
name = "ftps"
servers = ["198.51.100.7"]
ports = ["50000-50100"]
[[firewall.data]]
name = "any"
servers = ["198.51.100.8"]
ports = [50000]
session = "any"
[nat]
masquerade = true
sources = ["10.0.0.0/24"]
ports = "50000-50999"
[[nat.static]]
inside = "10.0.0.80"
outside = "203.0.113.80"
[[nat.forward]]
outside = "203.0.113.9:2121"
inside = "10.0.0.21:21"
[[nat.forward]]
protocol = "udp"
outside = "203.0.113.9:69"
inside = "10.0.0.21:69"
[[service]]
name = "ftp"
ports = [21, 2121]
alg = false
profile = "strict"
ftps = "opaque"
ccc = "require"
denied_ports = [3306, "6000-6063"]
active_source_ports = [20]
default_data_port = true
fxp = ["198.51.100.0/24", "203.0.113.80"]
setups_per_second = 3
commands_per_second = 7
[limits]
expectations = 100
expectations_per_client = 7
connections = 5000
per_client = 5
line = "1KiB"
[timers]
expectation = "30s"
first_command = "20s"
login = "2m"
established = "3h"
transitory = "5m"
udp = "90s"
icmp = "61s"
orphan = "0s"
"#;

const WCCP: &str = r#"version = 1
[deployment]
kind = "wccp"
[[interface]]
name = "eth1"
address = ["10.9.0.2/24"]
next_hop = "10.9.0.1"
[wccp]
routers = ["10.9.0.1"]
password = "secret1"
[[wccp.group]]
id = 61
ports = [21, 20, 2020, 2100]
[[wccp.group]]
id = 62
role = "reverse"
ports = REVERSE
[[service]]
name = "ftp"
ports = [21]
handling = "inspect"
KEYS
[[service]]
name = "other"
ports = [2100]
client_mode = "active"
"#;

fn route() -> Config {
    parse(ROUTE, Path::new("t.toml")).unwrap()
}

fn wccp(reverse: &str, keys: &str) -> Config {
    parse(&WCCP.replace("REVERSE", reverse).replace("KEYS", keys), Path::new("t.toml")).unwrap()
}

#[test]
fn every_written_value_arrives() {
    let c = route();
    assert_eq!(c.deployment, Deployment::Route);
    let names: Vec<&str> = c.interfaces().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["in0", "out0"], "inside is first, wherever it is written");
    let out = c.outside.as_ref().unwrap();
    assert_eq!((c.interface.driver, out.driver), (Driver::AfXdp, Driver::Pnet));
    assert_eq!((&c.interface.vlan, &out.vlan), (&Some(vec![7]), &None));
    assert_eq!(c.interface.v4.unwrap().next_hop, Some("10.0.0.253".parse().unwrap()));
    assert_eq!(c.interface.v6.unwrap().next_hop, None, "inside needs none");
    assert_eq!(out.next_hops().len(), 2);
    let routes = |i: &tidegate::config::Interface| {
        i.routes.iter().map(|r| format!("{} {}", r.network, r.via)).collect::<Vec<_>>()
    };
    assert_eq!(routes(&c.interface), ["10.1.0.0/16 10.0.0.254"]);
    assert_eq!(routes(out), ["198.51.100.0/24 203.0.113.2"]);
    let f = c.firewall.as_ref().unwrap();
    assert_eq!((f.default, f.refuse_with), (RuleAction::Deny, RuleAction::Reject));
    let [ftp, gre, rest] = &f.rules[..] else { panic!("{:?}", f.rules) };
    assert_eq!(
        (ftp.name.as_str(), ftp.action, ftp.from, ftp.protocol),
        ("ftp", RuleAction::Allow, Some(Side::Inside), IpProtocol::Tcp)
    );
    assert_eq!((ftp.source.len(), ftp.destination[1].prefix), (2, 128), "an address is a network of one");
    assert_eq!(ftp.ports, [21..=21, 8000..=8100]);
    assert_eq!((gre.action, gre.from, gre.protocol), (RuleAction::Drop, None, IpProtocol::Number(47)));
    assert_eq!((rest.action, rest.protocol), (RuleAction::Deny, IpProtocol::Icmp));
    assert_eq!((f.data[0].needs_session, f.data[1].needs_session), (true, false));
    assert_eq!((f.data[0].servers[0].prefix, &f.data[0].ports), (32, &vec![50_000..=50_100]));
    let m = c.nat.masquerade.as_ref().unwrap();
    assert_eq!(m.address.to_string(), "203.0.113.9", "the outside interface's");
    assert_eq!((m.sources.len(), &m.ports), (1, &(50_000..=50_999)));
    assert_eq!(c.nat.one_to_one[0].outside.to_string(), "203.0.113.80");
    assert_eq!(c.nat.forwards[0].protocol, IpProtocol::Tcp);
    assert_eq!((c.nat.forwards[1].protocol, c.nat.forwards[1].inside.port()), (IpProtocol::Udp, 69));
    assert!(c.services.is_empty());
    let s = &c.inspected[0];
    assert_eq!((&s.ports, s.alg, s.profile), (&vec![21, 2121], false, Profile::Strict));
    assert_eq!(
        (s.ftps, s.ccc, &s.denied_ports),
        (Ftps::Opaque, Ccc::Require, &vec![3306..=3306, 6000..=6063])
    );
    assert_eq!((&s.active_source_ports, s.default_data_port, s.setups_per_second), (&vec![20], true, 3));
    assert_eq!(
        s.fxp.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["198.51.100.0/24", "203.0.113.80/32"]
    );
    assert_eq!(s.commands_per_second, 7);
    assert_eq!((s.mss_clamp, s.data_bypasses), (MssClamp::Off, false));
    assert_eq!(
        (c.limits.expectations, c.limits.expectations_per_client, c.limits.connections),
        (100, 7, 5000)
    );
    assert_eq!((c.limits.per_client, c.limits.line), (5, 1024));
    let s = Duration::from_secs;
    assert_eq!((c.timers.expectation, c.timers.established, c.timers.transitory), (s(30), s(10_800), s(300)));
    assert_eq!((c.timers.udp, c.timers.icmp, c.timers.orphan), (s(90), s(61), s(0)));
    assert_eq!((c.timers.first_command, c.timers.login), (s(20), s(120)));
    assert_eq!(
        c.notes,
        [
            "service ftp: alg = false: active_source_ports, ccc, commands_per_second, default_data_port, denied_ports, \
             ftps, fxp, profile, setups_per_second mean nothing while no line is read"
        ]
    );
    let on = parse(&ROUTE.replace("alg = false", "alg = true"), Path::new("t.toml")).unwrap();
    assert_eq!(on.notes, [""; 0]);
    let bare = "[[service]]\nname = \"ftp\"\nports = [21]\nalg = false\n";
    let bare = ROUTE.split_once("[[service]]").unwrap().0.to_owned() + bare;
    assert_eq!(parse(&bare, Path::new("t.toml")).unwrap().notes, [""; 0]);
}

#[test]
fn what_is_left_out_has_the_documented_value() {
    let text = "version = 1\n[deployment]\nkind = \"bridge\"\n[[interface]]\nname = \"a\"\nrole = \"inside\"\n\
                [[interface]]\nname = \"b\"\nrole = \"outside\"\n[[service]]\nname = \"ftp\"\nports = [21]\n";
    let c = parse(text, Path::new("t.toml")).unwrap();
    let f = c.firewall.as_ref().unwrap();
    assert_eq!((f.default, f.refuse_with, f.rules.len()), (RuleAction::Deny, RuleAction::Drop, 0));
    let s = &c.inspected[0];
    assert_eq!((s.alg, s.profile, s.ftps, s.ccc), (true, Profile::Standard, Ftps::Opaque, Ccc::Allow));
    assert_eq!(s.client_mode, ClientMode::Any);
    assert_eq!((s.active_source_ports.len(), s.default_data_port, s.setups_per_second), (0, false, 10));
    assert!(s.fxp.is_empty());
    let fxp = |value: &str| parse(&format!("{text}fxp = {value}\n"), Path::new("t.toml")).unwrap();
    assert_eq!(
        (fxp("false").inspected[0].fxp.len(), &fxp("true").inspected[0].fxp[..]),
        (0, &Cidr::EVERY[..])
    );
    assert!(fxp("true").effective_toml().contains("fxp = true "));
    assert_eq!(s.commands_per_second, 20);
    let passive =
        parse(&format!("{text}client_mode = \"passive\"\nfxp = true\n"), Path::new("t.toml")).unwrap();
    assert_eq!(passive.inspected[0].client_mode, ClientMode::Passive);
    assert_eq!(
        passive.notes,
        ["service ftp: fxp is not used: client_mode = \"passive\" refuses active data"]
    );
    assert_eq!(parse(&passive.effective_toml(), Path::new("t.toml")).unwrap(), passive);
    assert_eq!(s.denied_ports, tidegate::ftp::hostport::DEFAULT_DENIED_PORTS, "proxied services' too");
    // What browsers block against slipstreaming, beside those below 1024.
    for port in [1719, 1720, 1723, 5060, 5061, 6566, 10_080] {
        assert!(s.denied_ports.iter().any(|r| r.contains(&port)), "{port}");
    }
    let (s, t) = (Duration::from_secs, &c.timers);
    assert_eq!((t.expectation, t.established, t.transitory), (s(60), s(7_440), s(240)));
    assert_eq!((t.udp, t.icmp, t.orphan), (s(300), s(60), s(10)));
    assert_eq!((t.first_command, t.login), (s(60), s(300)));
    assert_eq!((c.limits.expectations, c.limits.expectations_per_client), (16_384, 64));
    let again = parse(&c.effective_toml(), Path::new("t.toml")).unwrap();
    assert_eq!(again, c);
    for idle in ["relay_buffer", "steer_", "quarantine"] {
        assert!(!c.effective_toml().contains(idle), "nothing is shown that has no use");
    }
}

#[test]
fn the_effective_forms_mean_the_same() {
    for config in [route(), wccp("\"all\"", "data_ports = [2020]\nmss_clamp = 1300")] {
        let shown = config.effective_toml();
        let mut again =
            parse(&shown.replace("[wccp]\n", "[wccp]\npassword = \"secret1\"\n"), &config.file).unwrap();
        again.notes.clone_from(&config.notes);
        assert_eq!(again, config, "{shown}");
        let toml: toml::Table = shown.parse().unwrap();
        let mut json = config.effective_json();
        json.as_object_mut().unwrap().remove("notes");
        assert_eq!(serde_json::to_value(toml).unwrap(), json);
    }
    let json = route().effective_json();
    assert_eq!(json["firewall"]["rule"][0]["ports"], serde_json::json!([21, "8000-8100"]));
    assert_eq!(json["nat"]["forward"][1]["protocol"], "udp");
    assert_eq!(json["interface"][1]["role"], "outside");
}

#[test]
fn a_recording_holds_no_profile_of_either_interface() {
    let text = ROUTE.replace("driver = \"pnet\"", "nic_profile = \"mine.toml\"");
    let c = parse(&text, Path::new("t.toml")).unwrap();
    let shown = c.recorded_toml([7; 16]);
    assert!(!shown.contains("mine.toml") && parse(&shown, Path::new("u.toml")).is_ok(), "{shown}");
}

#[test]
fn what_goes_past_us_is_noted() {
    let c = wccp("\"all\"", "data_ports = [2020]");
    assert_eq!((c.notes.len(), c.inspected[0].data_bypasses), (0, false), "{:?}", c.notes);
    let c = wccp("\"all\"", "");
    assert!(c.inspected[0].data_bypasses);
    assert_eq!(
        c.notes[0],
        "service ftp: passive data connections go past us (event `data not redirected`): no router redirects the ports \
         that servers choose; with data_ports they are steered"
    );
    let c = wccp("[21]", "");
    assert!(c.inspected[0].data_bypasses);
    assert_eq!(
        c.notes,
        [
            "service ftp: passive data connections go past us (event `data not redirected`): the reverse group lists ports; \
             with ports = \"all\" there and data_ports here they are steered",
            "service ftp: active data connections from port 20 go past us: it is not in groups of both roles",
            "wccp.group 61: no service uses port 2020; the router sends it for nothing",
        ]
    );
    let c = wccp("[21, 20, 990]", "ccc = \"require\"");
    assert_eq!(
        c.notes[1..],
        [
            "service ftp: ccc = \"require\" holds for the data connections that come here; others go past us",
            "wccp.group 61: no service uses port 2020; the router sends it for nothing",
            "wccp.group 62: no service uses port 990; the router sends it for nothing",
        ]
    );
    // A router's policy shows nowhere whether it is there.
    let text = WCCP.replace("KEYS", "").replace("\"wccp\"", "\"static\"");
    let (head, _) = text.split_once("[wccp]").unwrap();
    let (_, tail) = text.split_once("[[service]]").unwrap();
    let c = parse(&format!("{head}[[service]]{tail}"), Path::new("t.toml")).unwrap();
    assert_eq!(
        c.notes[0],
        "service ftp: handling = \"inspect\" needs two policies on the router: on the clients' side for what they send to \
         ports 20, 21, on the servers' side for what servers send to clients from ports 20, 21; passive data connections \
         pass by us, unless the policies send everything"
    );
}

/// GRE takes its part on the way back as well.
#[test]
fn the_clamp_of_what_is_inspected_knows_the_way_back() {
    assert_eq!((small().redirect_overhead(), small().return_overhead()), (28, 28));
    let with = |methods: &str| {
        parse(
            &WCCP
                .replace("REVERSE", "\"all\"")
                .replace("KEYS", "")
                .replace("[wccp]\n", &format!("[wccp]\n{methods}\n")),
            Path::new("t.toml"),
        )
        .unwrap()
        .return_overhead()
    };
    assert_eq!(with("forward = [\"l2\"]"), 28, "gre is how packets go back if nothing is said");
    assert_eq!(with("forward = [\"l2\"]\nreturn = [\"l2\"]"), 0);
    assert_eq!(with("forward = [\"gre\"]\nreturn = [\"l2\"]"), 28);
}
