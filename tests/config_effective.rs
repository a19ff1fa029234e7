//! What a good configuration becomes: defaults, notes, and an effective form that means the same.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that cannot go on has failed")]

#[path = "config_effective/in_line.rs"]
mod in_line;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;
use tidegate::config::{
    Assignment, ClientMode, Config, DataSource, Deployment, Driver, EventTarget, Ftps, GroupRole, Idle,
    Method, Mode, MssClamp, NicProfileName, OverLimit, ServerMode, UpstreamSource, load, parse,
};

const SMALL: &str = r#"version = 1
[deployment]
kind = "wccp"
[[interface]]
name = "eth1"
address = ["10.9.0.2/24"]
next_hop = "10.9.0.1"
[wccp]
routers = ["10.9.0.1"]
[[wccp.group]]
id = 61
ports = [21, 20, 2020]
[[service]]
name = "ftp"
ports = [21]
data_ports = [2020]
"#;

const FULL: &str = r#"version = 1
[deployment]
kind = "wccp"
[[interface]]
name = "eth1"
driver = "pnet"
mode = "dedicated"
vlan = [100, 7]
address = ["10.9.0.2/24"]
next_hop = "10.9.0.1"
nic_profile = "cards/mine.toml"
[wccp]
routers = ["10.9.0.3", "10.8.0.3"]
password_file = "wccp.key"
forward = ["gre", "l2"]
return = ["gre"]
assignment = ["hash", "mask"]
mask = 0xF00
here_i_am = "0.5s"
[[wccp.group]]
id = 61
role = "forward"
priority = 200
ports = [21, 20, 2020, 2021, 2022, 2023, 2024, 2025]
[[wccp.group]]
id = 255
ports = [2121, 3000]
[[wccp.group]]
id = 62
role = "reverse"
priority = 100
ports = "all"
[[service]]
name = "ftp"
ports = [21]
handling = "proxy"
client_mode = "any"
server_mode = "passive"
upstream_source = "own"
data_source = "server"
data_ports = [2020, 2021, 2022, 2023, 2024, 2025]
active_source_port = 21
ftps = "refuse"
mss_clamp = 1400
[[service]]
name = "other"
ports = [2121]
client_mode = "active"
server_mode = "same"
upstream_source = "client"
ftps = "opaque"
mss_clamp = "off"
[limits]
over_limit = "reset"
sessions = 7
line = "8KiB"
[timers]
connect = "1500ms"
quarantine = "0s"
[worker]
cpu = [1]
idle = "spin"
seed = "00112233445566778899aabbccddeeff"
[events]
path = "events.jsonl"
"#;

fn small() -> Config {
    parse(SMALL, Path::new("t.toml")).unwrap()
}

/// A directory that holds the full configuration and its key file.
fn full() -> (tempfile::TempDir, Config) {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("wccp.key");
    std::fs::write(&key, "secret12\r\n").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let file = dir.path().join("t.toml");
    std::fs::write(&file, FULL).unwrap();
    let config = load(&file).unwrap();
    (dir, config)
}

#[test]
fn defaults_are_the_documented_ones() {
    let c = small();
    let w = c.wccp.as_ref().unwrap();
    assert_eq!(c.interface.driver, Driver::AfXdp);
    assert_eq!((c.interface.mode, &c.interface.vlan), (Mode::Dedicated, &None));
    assert_eq!(c.interface.nic_profile, NicProfileName::Generic);
    assert_eq!(w.here_i_am, Duration::from_secs(10));
    assert_eq!(w.groups[0].priority, 240);
    assert_eq!((w.forward.as_slice(), w.return_method.as_slice()), (&[Method::Gre][..], &[Method::Gre][..]));
    assert_eq!((w.assignment.as_slice(), w.mask), (&[Assignment::Hash][..], None));
    assert_eq!(c.services[0].client_mode, ClientMode::Any);
    assert_eq!(c.services[0].data_source, DataSource::Server);
    assert_eq!(c.services[0].active_source_port, 20);
    assert_eq!(c.services[0].mss_clamp, MssClamp::Auto);
    assert_eq!((c.limits.sessions, c.limits.flows, c.limits.line), (10_000, 65_536, 4_096));
    assert_eq!(c.limits.over_limit, OverLimit::Return);
    assert_eq!(c.timers.steer_timeout, Duration::from_secs(15));
    assert_eq!(c.timers.control_idle, Duration::from_secs(900));
    assert_eq!((c.worker.cpu, c.worker.idle, c.worker.seed), (None, Idle::Adaptive, None));
    assert_eq!(c.events, EventTarget::Stdout);
    assert_eq!(c.notes, ["wccp: no password; whoever can send from the router's address can redirect"]);
}

#[test]
fn a_shared_interface_arrives_and_is_shown() {
    let text = SMALL.replace("[[interface]]\n", "[[interface]]\nmode = \"shared\"\n");
    let c = parse(&text, Path::new("t.toml")).unwrap();
    assert_eq!(c.interface.mode, Mode::Shared);
    let again = parse(&c.effective_toml(), Path::new("t.toml")).unwrap();
    assert_eq!(again.interface, c.interface);
    assert_eq!(again.interface.mode.name(), "shared");
}

#[test]
fn every_written_value_arrives() {
    let (dir, c) = full();
    let w = c.wccp.as_ref().unwrap();
    assert_eq!(c.interface.driver, Driver::Pnet);
    assert_eq!((c.interface.mode, &c.interface.vlan), (Mode::Dedicated, &Some(vec![100, 7])));
    assert_eq!(c.interface.nic_profile, NicProfileName::File(dir.path().join("cards/mine.toml")));
    assert_eq!(c.interface.addresses(), [(Ipv4Addr::new(10, 9, 0, 2).into(), 24)]);
    assert_eq!(c.interface.v6, None);
    assert_eq!(w.routers, [Ipv4Addr::new(10, 9, 0, 3), Ipv4Addr::new(10, 8, 0, 3)]);
    assert_eq!(w.forward, [Method::Gre, Method::L2]);
    assert_eq!(w.return_method, [Method::Gre]);
    assert_eq!((w.assignment.as_slice(), w.mask), (&[Assignment::Hash, Assignment::Mask][..], Some(0xF00)));
    assert_eq!(w.password.as_ref().unwrap().as_bytes(), b"secret12");
    assert_eq!(w.here_i_am, Duration::from_millis(500));
    assert_eq!((w.groups[0].id, w.groups[0].priority), (61, 200));
    assert_eq!(w.group_for_port(3000).unwrap().id, 255);
    let reverse = &w.groups[2];
    assert_eq!((reverse.role, reverse.priority, reverse.ports.len()), (GroupRole::Reverse, 100, 0));
    assert_eq!(w.group_for_port(5000), None, "all ports of servers, not of clients");
    assert_eq!(c.service_for_port(2121).unwrap().name, "other");
    assert_eq!(c.service_for_port(2020), None);
    assert_eq!(c.services[0].active_source_port, 21);
    assert_eq!(c.services[0].mss_clamp, MssClamp::Bytes(1400));
    assert_eq!(c.services[1].mss_clamp, MssClamp::Off);
    assert_eq!(
        (c.services[0].server_mode, c.services[0].upstream_source),
        (ServerMode::Passive, UpstreamSource::Own)
    );
    assert_eq!(
        (c.services[1].server_mode, c.services[1].upstream_source),
        (ServerMode::Same, UpstreamSource::Client)
    );
    assert_eq!((c.services[0].ftps, c.services[1].ftps), (Ftps::Refuse, Ftps::Opaque));
    assert!(c.services[1].server_ports.is_empty(), "a group of all ports leaves none out");
    assert_eq!((c.limits.sessions, c.limits.line), (7, 8_192));
    assert_eq!(c.limits.over_limit, OverLimit::Reset);
    assert_eq!(c.timers.connect, Duration::from_millis(1500));
    assert_eq!(c.timers.quarantine, Duration::ZERO);
    assert_eq!((c.worker.cpu, c.worker.idle), (Some(1), Idle::Spin));
    assert_eq!(c.worker.seed.unwrap()[..3], [0x00, 0x11, 0x22]);
    assert_eq!(c.events, EventTarget::File(dir.path().join("events.jsonl")));
    assert_eq!(
        c.notes,
        [
            "service other: client_mode does not hold for encrypted sessions (ftps = \"opaque\")",
            "wccp.forward: 10.8.0.3 is not on our network; \"l2\" is not agreed with it",
            "wccp.group 255: no service uses port 3000; the router sends it for nothing",
            "wccp: a password of 8 bytes; some routers use only 7 and then refuse every message",
        ]
    );
}

#[test]
fn the_effective_configuration_means_the_same_and_shows_no_password() {
    let (_dir, full) = full();
    for config in [small(), full] {
        let shown = config.effective_toml();
        assert!(!shown.contains("secret12"), "{shown}");
        // Elsewhere, too: paths are absolute.
        let mut again = parse(&shown, Path::new("/elsewhere/u.toml")).unwrap();
        again.file.clone_from(&config.file);
        again.notes.clone_from(&config.notes);
        assert_eq!(again, config, "{shown}");
        assert!(!format!("{config:?}").contains("115, 101, 99, 114, 101, 116"), "the password's bytes show");
    }
}

#[test]
fn both_effective_forms_hold_the_same_keys_and_values() {
    let (_dir, config) = full();
    let toml: toml::Table = config.effective_toml().parse().unwrap();
    let mut json = config.effective_json();
    assert_eq!(json.as_object_mut().unwrap().remove("notes").unwrap().as_array().unwrap().len(), 4);
    assert_eq!(serde_json::to_value(toml).unwrap(), json);
    assert_eq!(json["wccp"]["group"][1]["id"], 255);
}

#[test]
fn own_data_source_and_active_clients_need_no_data_ports() {
    let own = SMALL.replace("data_ports = [2020]", "data_source = \"own\"\nclient_mode = \"passive\"");
    let c = parse(&own, Path::new("t.toml")).unwrap();
    assert_eq!(c.notes[0], "wccp.group 61: no service uses port 20, 2020; the router sends it for nothing");
    let own = SMALL.replace("data_ports = [2020]", "data_source = \"own\"\ndata_ports = [4000]");
    let c = parse(&own, Path::new("t.toml")).unwrap();
    assert_eq!(
        c.notes[0],
        "service ftp: data_ports is not used: data_source = \"own\" names ports of our own address"
    );
    let active = SMALL.replace("data_ports = [2020]", "client_mode = \"active\"\ndata_ports = [4000]");
    let c = parse(&active, Path::new("t.toml")).unwrap();
    assert_eq!(
        c.notes[0],
        "service ftp: data_ports is not used: client_mode = \"active\" refuses passive data"
    );
}

#[test]
fn two_families_are_kept_apart_and_shown_again() {
    let both = SMALL
        .replace("[\"10.9.0.2/24\"]", "[\"2001:db8:9::2/64\", \"10.9.0.2/24\"]")
        .replace("next_hop = \"10.9.0.1\"", "next_hop = [\"10.9.0.1\", \"fe80::1\"]");
    let c = parse(&both, Path::new("t.toml")).unwrap();
    let six = c.interface.v6.unwrap();
    assert_eq!((six.address, six.prefix), ("2001:db8:9::2".parse().unwrap(), 64));
    assert_eq!(six.next_hop, Some("fe80::1".parse::<Ipv6Addr>().unwrap()));
    assert_eq!(c.interface.v4.unwrap().next_hop, Some(Ipv4Addr::new(10, 9, 0, 1)));
    let shown = c.effective_toml();
    assert!(shown.contains("next_hop = [\"10.9.0.1\", \"fe80::1\"]"), "{shown}");
    assert_eq!(parse(&shown, Path::new("t.toml")).unwrap().interface, c.interface);
}

#[test]
fn an_inline_password_that_others_can_read_is_noted() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.toml");
    std::fs::write(&file, SMALL.replace("[[wccp.group]]", "password = \"abc\"\n[[wccp.group]]")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let note =
        format!("wccp.password: other users can read it; chmod 600 {}, or use password_file", file.display());
    assert_eq!(load(&file).unwrap().notes, [note]);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(load(&file).unwrap().notes, [""; 0]);
}

#[test]
fn unreadable_files_are_one_line_too() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.toml");
    let remedy = "give --config the path of a configuration file";
    let shown = file.display();
    assert_eq!(
        load(&file).unwrap_err().to_string(),
        format!("{shown}: cannot be read: No such file or directory (os error 2); {remedy}")
    );
    std::fs::write(&file, [0xff, 0xfe]).unwrap();
    assert_eq!(load(&file).unwrap_err().to_string(), format!("{shown}: is not UTF-8 text; {remedy}"));
    std::fs::write(&file, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert_eq!(
        load(&file).unwrap_err().to_string(),
        format!("{shown}: is larger than 1048576 bytes; {remedy}")
    );
}

#[test]
fn a_routers_policy_has_no_group_and_its_clamp_knows_no_gre() {
    let (head, rest) = SMALL.split_once("[wccp]").unwrap();
    let text =
        format!("{head}{}", &rest[rest.find("[[service]]").unwrap()..]).replace("\"wccp\"", "\"static\"");
    let c = parse(&text, Path::new("t.toml")).unwrap();
    assert_eq!((c.deployment, c.wccp.is_none(), c.redirect_overhead()), (Deployment::Static, true, 0));
    let small = parse(SMALL, Path::new("t.toml")).unwrap();
    let l2 = SMALL.replace("[wccp]\n", "[wccp]\nforward = [\"l2\"]\n");
    assert_eq!(
        parse(&l2, Path::new("t.toml")).unwrap().redirect_overhead(),
        0,
        "GRE return is not in the way"
    );
    let either = SMALL.replace("[wccp]\n", "[wccp]\nforward = [\"l2\", \"gre\"]\n");
    assert_eq!(parse(&either, Path::new("t.toml")).unwrap().redirect_overhead(), small.redirect_overhead());
    assert_eq!(small.redirect_overhead(), 28);
    let shown = c.effective_toml();
    assert!(shown.contains("kind = \"static\"") && !shown.contains("[wccp]"), "{shown}");
    assert!(shown.contains("# MTU - 40"), "{shown}");
    let again = parse(&shown, Path::new("t.toml")).unwrap();
    assert_eq!(again.effective_toml(), shown);
}
