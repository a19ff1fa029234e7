//! Whose address servers see, who opens data connections, and what of it the reverse groups make possible.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;
use tidegate::config::{Config, Ftps, parse};

const BASE: &str = r#"version = 1
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
ports = [21, 20, 2020, 2021]
[[service]]
name = "ftp"
ports = [21]
data_ports = [2020, 2021]
"#;

fn file(reverse: Option<&str>, keys: &str) -> Result<Config, String> {
    let group = reverse.map_or_else(String::new, |ports| {
        format!("[[wccp.group]]\nid = 62\nrole = \"reverse\"\nports = {ports}\n[[service]]")
    });
    let text = if reverse.is_some() { BASE.replace("[[service]]", &group) } else { BASE.to_owned() };
    parse(&format!("{text}{keys}\n"), Path::new("t.toml"))
        .map_err(|e| e.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

#[track_caller]
fn refused(reverse: Option<&str>, keys: &str, want: &[&str]) {
    let got = file(reverse, keys).unwrap_err();
    assert_eq!(got.lines().count(), want.len(), "{got}");
    for (line, want) in got.lines().zip(want) {
        assert!(line.starts_with("t.toml:") && line.contains(want), "{line}\nlacks {want}");
        assert!(line.contains("; "), "no remedy: {line}");
    }
}

const CLIENT: &str = "upstream_source = \"client\"\n";

#[test]
fn servers_answers_to_a_clients_address_need_a_reverse_group() {
    for mode in ["passive", "active", "same"] {
        refused(
            None,
            &format!("{CLIENT}server_mode = {mode:?}"),
            &["t.toml:18: key `service.upstream_source`: servers would answer clients directly"],
        );
    }
}

#[test]
fn a_list_needs_the_control_port() {
    let want = "t.toml:20: key `service.ports`: upstream_source = \"client\", and control port 21 is in no group of role \
                \"reverse\"";
    refused(Some("[20]"), &format!("{CLIENT}server_mode = \"active\""), &[want]);
}

#[test]
fn a_list_needs_the_servers_data_port() {
    let want = "t.toml:20: key `service.ports`: servers open data connections from port 20 (that of control port 21 \
                less one), which is in no group of role \"reverse\"";
    refused(Some("[21]"), &format!("{CLIENT}server_mode = \"active\""), &[want]);
}

#[test]
fn a_list_does_not_go_together_with_a_passive_server() {
    let want = |line, mode: &str| {
        format!(
            "t.toml:{line}: key `service.server_mode`: upstream_source = \"client\" with server_mode = {mode:?}: a \
                 passive server's data connections come from ports that no list can name"
        )
    };
    // The default counts like a written value; it stands nowhere, so the section is named.
    refused(Some("[21, 20]"), CLIENT, &[&want(18, "passive")]);
    refused(Some("[21, 20]"), &format!("{CLIENT}server_mode = \"passive\""), &[&want(23, "passive")]);
    refused(Some("[21, 20]"), &format!("{CLIENT}server_mode = \"same\""), &[&want(23, "same")]);
}

#[test]
fn what_is_possible_is_taken() {
    for mode in ["passive", "active", "same"] {
        let own = file(None, &format!("server_mode = {mode:?}")).unwrap();
        assert!(own.services[0].server_ports.is_empty());
        let all = file(Some("\"all\""), &format!("{CLIENT}server_mode = {mode:?}")).unwrap();
        assert!(all.services[0].server_ports.is_empty() && all.notes.is_empty(), "{:?}", all.notes);
    }
    let list = file(Some("[21, 20]"), &format!("{CLIENT}server_mode = \"active\"")).unwrap();
    assert_eq!(list.services[0].server_ports, [20]);
    assert!(list.notes.is_empty(), "{:?}", list.notes);
    let same = format!("{CLIENT}server_mode = \"same\"\nclient_mode = \"active\"");
    assert_eq!(file(Some("[21, 20]"), &same).unwrap().services[0].server_ports, [20]);
    let more = file(Some("[21, 20, 990]"), &format!("{CLIENT}server_mode = \"active\"")).unwrap();
    assert_eq!(more.notes, ["wccp.group 62: no service uses port 990; the router sends it for nothing"]);
    let idle = file(Some("[21, 20]"), "").unwrap();
    assert_eq!(
        idle.notes,
        ["wccp.group 62: no service has upstream_source = \"client\"; the router sends it for nothing"]
    );
}

#[test]
fn a_routers_policy_for_what_servers_send_is_called_for() {
    let policy = |keys: &str| {
        let (head, rest) = BASE.split_once("[wccp]").unwrap();
        let service = rest.split_once("[[service]]").unwrap().1;
        let text = format!("{}[[service]]{service}{keys}\n", head.replace("\"wccp\"", "\"static\""));
        parse(&text, Path::new("t.toml")).unwrap().notes
    };
    let note = |what: &str| {
        format!(
            "service ftp: upstream_source = \"client\" needs a second policy on the router, on the servers' side, that \
             sends {what} to the gateway"
        )
    };
    let all = note("everything that servers send to clients (passive servers choose their data ports)");
    let list = note("what servers send to clients from ports 20, 21");
    for (keys, want) in [
        ("server_mode = \"passive\"", &all),
        ("server_mode = \"same\"", &all),
        ("server_mode = \"active\"", &list),
        ("server_mode = \"same\"\nclient_mode = \"active\"", &list),
    ] {
        assert!(policy(&format!("{CLIENT}{keys}")).contains(want), "{keys}");
        assert!(policy(keys).iter().all(|n| !n.contains("second policy")), "{keys}");
    }
}

#[test]
fn encrypted_sessions_need_the_clients_address_toward_servers() {
    let want = "t.toml:18: key `service.ftps`: ftps = \"opaque\" with upstream_source = \"own\": what is announced inside \
                TLS cannot be changed";
    refused(None, "ftps = \"opaque\"", &[want]);
    let opaque = format!("{CLIENT}server_mode = \"active\"\nftps = \"opaque\"");
    let config = file(Some("[21, 20]"), &opaque).unwrap();
    assert_eq!((config.services[0].ftps, config.notes.len()), (Ftps::Opaque, 0));
    let config =
        file(Some("\"all\""), &format!("{CLIENT}ftps = \"opaque\"\nclient_mode = \"passive\"")).unwrap();
    assert!(
        config.notes.iter().any(|n| n.contains("does not hold for encrypted sessions")),
        "{:?}",
        config.notes
    );
}

/// A file for a router's policy, of which nothing is known here but that it brings both directions.
fn policy(address: &str, keys: &str) -> Result<Config, String> {
    let text = format!(
        "version = 1\n[deployment]\nkind = \"static\"\n[[interface]]\nname = \"eth1\"\n{address}\n[[service]]\n\
         name = \"ftp\"\nports = [21]\ndata_ports = [2020, 2021]\n{keys}\n"
    );
    parse(&text, Path::new("t.toml"))
        .map_err(|e| e.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

#[test]
fn with_a_routers_policy_encrypted_sessions_need_the_clients_address_as_well() {
    let v4 = "address = [\"10.9.0.2/24\"]\nnext_hop = \"10.9.0.1\"";
    let both = "address = [\"10.9.0.2/24\", \"fd00::2/64\"]\nnext_hop = [\"10.9.0.1\", \"fd00::1\"]";
    for address in [v4, both] {
        for own in ["", "upstream_source = \"own\"\n"] {
            let got = policy(address, &format!("{own}ftps = \"opaque\"")).unwrap_err();
            let want = "key `service.ftps`: ftps = \"opaque\" with upstream_source = \"own\": what is announced inside";
            assert!(got.contains(want) && got.lines().count() == 1, "{got}");
            assert!(got.contains("write upstream_source = \"client\", or ftps = \"refuse\""), "{got}");
        }
        // No list of ports limits what a policy may bring.
        for mode in ["passive", "active", "same"] {
            let keys = format!("{CLIENT}server_mode = {mode:?}\nftps = \"opaque\"");
            let config = policy(address, &keys).unwrap();
            let service = &config.services[0];
            assert_eq!((service.ftps, service.server_ports.len()), (Ftps::Opaque, 0), "{mode}");
            let others = config.notes.iter().filter(|n| !n.contains("needs a second policy")).count();
            assert_eq!(others, 0, "{mode}: {:?}", config.notes);
        }
        let noted = policy(address, &format!("{CLIENT}ftps = \"opaque\"\nclient_mode = \"active\"")).unwrap();
        assert!(noted.notes.iter().any(|n| n.contains("does not hold for encrypted sessions")), "{noted:?}");
    }
}
