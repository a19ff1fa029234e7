//! Every refusal of a configuration, with its exact words: what stands where, and what to do.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that cannot go on has failed")]

#[path = "config_errors/addresses.rs"]
mod addresses;
#[path = "config_errors/in_line.rs"]
mod in_line;
#[path = "config_errors/sharing.rs"]
mod sharing;

use std::path::Path;
use tidegate::config::{ConfigErrors, parse};

const GOOD: &str = r#"version = 1
[deployment]
kind = "wccp"
[[interface]]
name = "eth1"
driver = "af_xdp"
address = ["10.9.0.2/24"]
next_hop = "10.9.0.1"
[wccp]
routers = ["10.9.0.1"]
forward = ["gre", "l2"]
[[wccp.group]]
id = 61
role = "forward"
ports = [21, 20, 2020, 2021]
[[service]]
name = "ftp"
ports = [21]
data_ports = [2020, 2021]
active_source_port = 20
"#;

fn errors(text: &str) -> Vec<String> {
    match parse(text, Path::new("t.toml")) {
        Ok(_) => Vec::new(),
        Err(ConfigErrors(errors)) => errors.iter().map(|e| e.to_string()).collect(),
    }
}

/// Changes one place of the good configuration (which must be there) and wants exactly these errors.
#[track_caller]
fn refuses(from: &str, to: &str, wanted: &[&str]) {
    assert_eq!(GOOD.matches(from).count(), 1, "{from:?} is not in the good configuration exactly once");
    assert_eq!(errors(&GOOD.replacen(from, to, 1)), wanted, "after {from:?} became {to:?}");
}

#[test]
fn the_good_configuration_is_good() {
    assert_eq!(errors(GOOD), Vec::<String>::new());
}

#[test]
fn what_is_not_toml_or_not_known_is_refused() {
    refuses(
        "kind = \"wccp\"",
        "kind = ",
        &[
            "t.toml:3: not TOML: string values must be quoted, expected literal string; mend the syntax at this line",
        ],
    );
    refuses(
        "version = 1",
        "version = 2",
        &["t.toml:1: key `version`: 2 is out of range; write a whole number from 1 to 1"],
    );
    refuses("version = 1\n", "", &["t.toml:1: key `version`: missing; write version = 1 at the top"]);
    refuses(
        "kind =",
        "kin =",
        &[
            "t.toml:2: key `deployment.kind`: missing; write kind = \"wccp\", \"static\", \"bridge\" or \"route\"",
            "t.toml:3: key `deployment.kin`: unknown key; known here: kind",
        ],
    );
    refuses(
        "[deployment]",
        "[nonsense]\na = 1\n[deployment]",
        &[
            "t.toml:2: key `nonsense`: unknown key; known here: bridge, deployment, events, firewall, interface, \
         limits, nat, route, service, timers, version, wccp, worker",
        ],
    );
}

#[test]
fn several_errors_are_told_at_once_in_the_order_of_the_file() {
    let text =
        GOOD.replace("eth1", "a/b").replace("id = 61", "id = 7").replace("20\n", "70000\ncolour = 1\n");
    assert_eq!(
        errors(&text),
        [
            "t.toml:5: key `interface.name`: \"a/b\" cannot be an interface; see `ip link` for the names",
            "t.toml:13: key `wccp.group.id`: 7 is out of range; write a whole number from 51 to 255",
            "t.toml:20: key `service.active_source_port`: 70000 is out of range; write a whole number from 1 to 65535",
            "t.toml:21: key `service.colour`: unknown key; known here: active_source_port, client_mode, data_ports, \
         data_source, ftps, handling, mss_clamp, name, ports, server_mode, upstream_source",
        ]
    );
}

#[test]
fn an_empty_file_names_every_section_that_is_missing() {
    assert_eq!(
        errors(""),
        [
            "t.toml:1: key `version`: missing; write version = 1 at the top",
            "t.toml:1: key `deployment`: missing; add [deployment] with kind = \"wccp\", \"static\", \"bridge\" or \"route\"",
            "t.toml:1: key `interface`: missing; add an [[interface]] section with name, address and next_hop",
            "t.toml:1: key `service`: missing; add a [[service]] section with name and ports",
        ]
    );
}

/// R000.11
#[test]
fn wccp_with_bridge_or_route_is_refused() {
    let why = "WCCP redirection of FTP does not go together with bridge or route, where every packet passes \
               through anyway";
    let kind = format!(
        "t.toml:3: key `deployment.kind`: {why}; write kind = \"wccp\" alone, or take the [wccp] section out"
    );
    refuses("kind = \"wccp\"", "kind = \"bridge\"", &[&kind]);
    refuses("kind = \"wccp\"", "kind = \"route\"", &[&kind]);
    refuses("kind = \"wccp\"", "kind = [\"wccp\", \"bridge\"]", &[&kind]);
    let role = format!(
        "t.toml:6: key `interface.role`: inside and outside belong to bridge and route; {why}; take the key out"
    );
    refuses("driver =", "role = \"inside\"\ndriver =", &[&role]);
    let section = format!("t.toml:9: key `bridge`: {why}; take this section out, or use no WCCP");
    refuses("[wccp]", "[bridge]\n[wccp]", &[&section]);
}

#[test]
fn what_is_not_built_yet_is_refused_by_name() {
    refuses(
        "kind = \"wccp\"",
        "kind = \"host\"",
        &[
            "t.toml:3: key `deployment.kind`: \"host\" is not built yet; possible now: \"wccp\" or \"static\" or \
           \"bridge\" or \"route\"",
        ],
    );
    for (section, key, value, now) in [
        ("service", "handling", "tunnel", "\"proxy\" or \"inspect\""),
        ("service", "ftps", "terminate", "\"refuse\" or \"opaque\""),
        ("service", "ftps", "require", "\"refuse\" or \"opaque\""),
    ] {
        refuses(
            "name = \"ftp\"",
            &format!("{key} = {value:?}\nname = \"ftp\""),
            &[&format!("t.toml:17: key `{section}.{key}`: {value:?} is not built yet; possible now: {now}")],
        );
    }
    refuses(
        "[wccp]",
        "[[interface]]\nname = \"eth2\"\n[wccp]",
        &["t.toml:9: key `interface`: several interfaces are not built yet; possible now: one [[interface]]"],
    );
    refuses(
        "[\"10.9.0.2/24\"]",
        "[\"10.9.0.2/24\", \"10.9.0.3/24\"]",
        &[
            "t.toml:7: key `interface.address`: several IPv4 addresses are not built yet; possible now: one of each family",
        ],
    );
    refuses(
        "[wccp]",
        "[worker]\ncpu = [0, 1]\n[wccp]",
        &["t.toml:10: key `worker.cpu`: several workers are not built yet; possible now: one"],
    );
}

/// R000.7 in its first half: a port that no router redirects.
#[test]
fn a_port_that_no_group_lists_is_refused() {
    let remedy = "add it to the ports of a [[wccp.group]], or use a port that is there";
    refuses(
        "data_ports = [2020, 2021]",
        "data_ports = [2020, 2026]",
        &[&format!(
            "t.toml:19: key `service.data_ports`: data port 2026 is in no group of role \"forward\", so no router \
         redirects it; {remedy}"
        )],
    );
    refuses(
        "active_source_port = 20",
        "active_source_port = 2025",
        &[&format!(
            "t.toml:20: key `service.active_source_port`: source port of active data 2025 is in no group of role \
         \"forward\", so no router redirects it; {remedy}"
        )],
    );
    refuses(
        "ports = [21]\n",
        "ports = [21, 2121]\n",
        &[&format!(
            "t.toml:18: key `service.ports`: control port 2121 is in no group of role \"forward\", so no router \
         redirects it; {remedy}"
        )],
    );
    // The default counts like a written value; it stands nowhere, so the section is named.
    let text = GOOD.replace("active_source_port = 20\n", "").replace("21, 20, ", "21, ");
    assert_eq!(
        errors(&text),
        [format!(
            "t.toml:16: key `service.active_source_port`: source port of active data 20 is in no group of role \
         \"forward\", so no router redirects it; {remedy}"
        )]
    );
}

#[test]
fn groups_are_bounded_and_distinct() {
    refuses(
        "[21, 20, 2020, 2021]",
        "[21, 20, 2020, 2021, 2022, 2023, 2024, 2025, 2026]",
        &[
            "t.toml:15: key `wccp.group.ports`: 9 ports, but a service group has room for 8; put the rest into \
         another [[wccp.group]]",
        ],
    );
    refuses(
        "[[service]]",
        "[[wccp.group]]\nid = 61\nports = [2021, 2022]\n[[service]]",
        &[
            "t.toml:17: key `wccp.group.id`: group 61 is there already; give each group an id of its own",
            "t.toml:18: key `wccp.group.ports`: port 2021 is in group 61 already; list each port in one group",
        ],
    );
    refuses(
        "[21, 20, 2020, 2021]",
        "[21, 20, 2020, 2021, 20]",
        &["t.toml:15: key `wccp.group.ports`: names the same entry twice; take one of them out"],
    );
    refuses(
        "id = 61",
        "id = 50",
        &["t.toml:13: key `wccp.group.id`: 50 is out of range; write a whole number from 51 to 255"],
    );
    refuses(
        "id = 61",
        "id = 61\npriority = 256",
        &["t.toml:14: key `wccp.group.priority`: 256 is out of range; write a whole number from 0 to 255"],
    );
    refuses(
        "[21, 20, 2020, 2021]",
        "\"all\"",
        &[
            "t.toml:15: key `wccp.group.ports`: \"all\" is for groups of role \"reverse\"; list ports",
            "t.toml:18: key `service.ports`: control port 21 is in no group of role \"forward\", so no router \
         redirects it; add it to the ports of a [[wccp.group]], or use a port that is there",
            "t.toml:19: key `service.data_ports`: data port 2020 is in no group of role \"forward\", so no router \
         redirects it; add it to the ports of a [[wccp.group]], or use a port that is there",
            "t.toml:19: key `service.data_ports`: data port 2021 is in no group of role \"forward\", so no router \
         redirects it; add it to the ports of a [[wccp.group]], or use a port that is there",
            "t.toml:20: key `service.active_source_port`: source port of active data 20 is in no group of role \
         \"forward\", so no router redirects it; add it to the ports of a [[wccp.group]], or use a port that is \
         there",
        ],
    );
}

#[test]
fn reverse_groups_do_not_overlap_and_do_not_replace_forward_ones() {
    let second = |ports: &str, third: &str| {
        format!("[[wccp.group]]\nid = 62\nrole = \"reverse\"\nports = {ports}\n{third}[[service]]")
    };
    let third = |ports: &str| format!("[[wccp.group]]\nid = 63\nrole = \"reverse\"\nports = {ports}\n");
    // The other direction's ports may be the same.
    assert_eq!(errors(&GOOD.replacen("[[service]]", &second("[21, 20]", ""), 1)), [""; 0]);
    assert_eq!(errors(&GOOD.replacen("[[service]]", &second("\"all\"", ""), 1)), [""; 0]);
    refuses(
        "[[service]]",
        &second("[21, 20]", &third("[20]")),
        &["t.toml:23: key `wccp.group.ports`: port 20 is in group 62 already; list each port in one group"],
    );
    let keep = "keep one reverse group if it is for all ports";
    for (one, two, what) in
        [("\"all\"", "[20]", "all"), ("[20]", "\"all\"", "ports"), ("\"all\"", "\"all\"", "ports")]
    {
        refuses(
            "[[service]]",
            &second(one, &third(two)),
            &[&format!("t.toml:23: key `wccp.group.ports`: group 62 redirects {what} already; {keep}")],
        );
    }
    refuses(
        "[[service]]",
        &second("[]", ""),
        &[
            "t.toml:19: key `wccp.group.ports`: the list is empty; write the servers' ports, as ports = [21, 20], or \
         ports = \"all\"",
        ],
    );
    refuses(
        "[[service]]",
        &second("\"every\"", ""),
        &["t.toml:19: key `wccp.group.ports`: is a string; write a list of ports, as [21]"],
    );
    let reverse_only = GOOD.replace("role = \"forward\"", "role = \"reverse\"");
    assert_eq!(
        errors(&reverse_only).first().map(String::as_str),
        Some(
            "t.toml:9: key `wccp.group`: no group of role \"forward\"; add a [[wccp.group]] with id and ports"
        )
    );
}

#[test]
fn methods_masks_and_routers_are_lists_that_make_sense() {
    let line = "forward = [\"gre\", \"l2\"]";
    let write = "write a list, as";
    refuses(
        line,
        "forward = [\"l3\"]",
        &["t.toml:11: key `wccp.forward`: \"l3\" is no choice here; write \"gre\" or \"l2\""],
    );
    refuses(
        line,
        "return = []",
        &[&format!("t.toml:11: key `wccp.return`: names no method; {write} [\"gre\"]")],
    );
    refuses(
        line,
        "assignment = []",
        &[&format!("t.toml:11: key `wccp.assignment`: names no method; {write} [\"hash\"]")],
    );
    refuses(
        line,
        "assignment = [\"mask\", \"mask\"]",
        &["t.toml:11: key `wccp.assignment`: names the same entry twice; take one of them out"],
    );
    refuses(
        line,
        "mask = 0x1741",
        &["t.toml:11: key `wccp.mask`: is for mask assignment, which wccp.assignment does not name; write \
         assignment = [\"hash\", \"mask\"], or take the key out"],
    );
    refuses(
        line,
        "assignment = [\"mask\"]\nmask = 0xFF",
        &["t.toml:12: key `wccp.mask`: 0xff has 8 bits; take 1 to 7, as 0x1741: routers have room for few \
         values"],
    );
    refuses(
        line,
        "assignment = [\"mask\"]\nmask = 0",
        &["t.toml:12: key `wccp.mask`: 0 is out of range; write a whole number from 1 to 4294967295"],
    );
    let routers = "routers = [\"10.9.0.1\"]";
    refuses(
        routers,
        "routers = [\"10.9.0.1\", \"10.9.0.1\"]",
        &["t.toml:10: key `wccp.routers`: names the same entry twice; take one of them out"],
    );
    refuses(
        routers,
        "routers = []",
        &["t.toml:10: key `wccp.routers`: the list is empty; write the router's address, as routers = \
         [\"10.9.0.1\"]"],
    );
    let many: Vec<String> = (1..=34).filter(|n| *n != 2).map(|n| format!("\"10.9.0.{n}\"")).collect();
    refuses(
        routers,
        &format!("routers = [{}]", many.join(", ")),
        &["t.toml:10: key `wccp.routers`: a group has at most 32 routers; take the others out"],
    );
    // GRE crosses networks, MAC addresses do not.
    let far = GOOD.replace(routers, "routers = [\"10.9.0.1\", \"10.8.0.1\"]");
    assert_eq!(errors(&far), [""; 0]);
    assert_eq!(
        errors(&far.replace(line, "forward = [\"l2\"]\nreturn = [\"l2\", \"gre\"]")),
        [
            "t.toml:10: key `wccp.routers`: 10.8.0.1 is not on our network, which wccp.forward = [\"l2\"] needs; \
          write the router's address on our network, or allow \"gre\""
        ]
    );
    assert_eq!(
        errors(&far.replace("10.8.0.1", "10.9.0.2")),
        [
            "t.toml:10: key `wccp.routers`: 10.9.0.2 is our own address; write the router's address, or another \
          interface.address"
        ]
    );
}

#[test]
fn services_do_not_share_ports() {
    let second = "\n[[service]]\nname = \"ftp\"\nports = [21]\ndata_ports = [2021]\n";
    assert_eq!(
        errors(&format!("{GOOD}{second}")),
        [
            "t.toml:23: key `service.name`: \"ftp\" is there already; give each service a name of its own",
            "t.toml:24: key `service.ports`: port 21 belongs to service \"ftp\" already; list each port in one service",
            "t.toml:25: key `service.data_ports`: port 2021 is a data port of service \"ftp\" already; give each \
         service data ports of its own",
        ]
    );
    refuses(
        "data_ports = [2020, 2021]",
        "data_ports = [2020, 21]",
        &[
            "t.toml:19: key `service.data_ports`: port 21 is a control port; take it out; data needs ports of its own",
        ],
    );
    refuses(
        "data_ports = [2020, 2021]",
        "data_ports = []",
        &[
            "t.toml:16: key `service.data_ports`: no port for passive data; write ports of a [[wccp.group]] that \
         passive clients are steered to, as [2020, 2021], or client_mode = \"active\"",
        ],
    );
    refuses(
        "name = \"ftp\"",
        "name = \"f t p\"",
        &[
            "t.toml:17: key `service.name`: \"f t p\" cannot be a name in events; write 1 to 32 letters, digits, _ or -",
        ],
    );
    refuses(
        "active_source_port",
        "mss_clamp = 9000\nactive_source_port",
        &["t.toml:20: key `service.mss_clamp`: 9000 is out of range; write a whole number from 216 to 1460"],
    );
    refuses(
        "active_source_port",
        "mss_clamp = \"on\"\nactive_source_port",
        &[
            "t.toml:20: key `service.mss_clamp`: no such clamp; write \"auto\", \"off\" or a whole number from 216 to \
         1460",
        ],
    );
}

#[test]
fn numbers_sizes_and_durations_have_ranges() {
    refuses(
        "forward =",
        "here_i_am = \"50ms\"\nforward =",
        &[
            "t.toml:11: key `wccp.here_i_am`: \"50ms\" is out of range; write a duration from \"100ms\" to \"60s\", a \
         number with us, ms, s, m or h",
        ],
    );
    refuses(
        "forward =",
        "here_i_am = 10\nforward =",
        &[
            "t.toml:11: key `wccp.here_i_am`: is a whole number; write a duration from \"100ms\" to \"60s\", a number \
         with us, ms, s, m or h",
        ],
    );
    refuses(
        "[wccp]",
        "[timers]\nlogin = \"soon\"\n[wccp]",
        &[
            "t.toml:10: key `timers.login`: \"soon\" is not a duration; write a duration from \"100ms\" to \"24h\", a \
         number with us, ms, s, m or h",
        ],
    );
    refuses(
        "[wccp]",
        "[limits]\nflows = 3\nline = \"1 page\"\n[wccp]",
        &[
            "t.toml:10: key `limits.flows`: 3 is out of range; write a whole number from 64 to 16777216",
            "t.toml:11: key `limits.line`: not a size in range; write bytes from 512 to 65536, or as \"256KiB\"",
        ],
    );
    refuses(
        "[wccp]",
        "[worker]\nseed = \"abc\"\nidle = \"sleep\"\n[wccp]",
        &[
            "t.toml:10: key `worker.seed`: is no seed; write 32 hexadecimal digits, or take the key out",
            "t.toml:11: key `worker.idle`: \"sleep\" is no choice here; write \"adaptive\" or \"spin\"",
        ],
    );
    refuses(
        "[wccp]",
        "[events]\npath = \"\"\n[wccp]",
        &["t.toml:10: key `events.path`: is empty; write a path, or \"-\" for standard output"],
    );
    refuses(
        "forward = [\"gre\", \"l2\"]",
        "forward = []",
        &["t.toml:11: key `wccp.forward`: names no method; write a list, as [\"gre\"]"],
    );
}

#[test]
fn passwords_are_bounded_and_their_files_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.toml");
    let key = dir.path().join("wccp.key");
    let shown = key.display();
    let at =
        |line: u32, key: &str, rest: &str| vec![format!("{}:{line}: key `{key}`: {rest}", file.display())];
    let check = |more: &str| match parse(&GOOD.replacen("forward =", &format!("{more}\nforward ="), 1), &file)
    {
        Ok(_) => Vec::new(),
        Err(ConfigErrors(e)) => e.iter().map(|e| e.to_string()).collect::<Vec<_>>(),
    };
    let mode = |m| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(m)).unwrap();
    let remedy = "WCCP takes 1 to 8; 7 suits all routers";

    assert_eq!(
        check("password = \"ninechars\""),
        at(11, "wccp.password", &format!("the password has 9 bytes; {remedy}"))
    );
    assert_eq!(
        check("password = \"\""),
        at(11, "wccp.password", &format!("the password has 0 bytes; {remedy}"))
    );
    assert_eq!(
        check("password = \"a b\""),
        at(
            11,
            "wccp.password",
            "the password has a character that is not printable ASCII; use letters, digits and punctuation"
        )
    );
    assert_eq!(
        check("password = \"a\"\npassword_file = \"b\""),
        at(12, "wccp.password_file", "stands beside wccp.password; keep one of the two")
    );
    assert_eq!(
        check("password_file = \"wccp.key\""),
        at(
            11,
            "wccp.password_file",
            &format!(
                "cannot read {shown}: No such file or directory (os error 2); write the path of a readable file"
            )
        )
    );
    std::fs::write(&key, "secret1\n").unwrap();
    mode(0o640);
    assert_eq!(
        check("password_file = \"wccp.key\""),
        at(11, "wccp.password_file", &format!("{shown} can be read by other users; chmod 600 {shown}"))
    );
    mode(0o600);
    assert_eq!(check("password_file = \"wccp.key\""), Vec::<String>::new());
    std::fs::write(&key, "123456789\n").unwrap();
    assert_eq!(
        check("password_file = \"wccp.key\""),
        at(11, "wccp.password_file", &format!("the password has 9 bytes; {remedy}"))
    );
    assert_eq!(
        check("password_file = \"/dev/zero\""),
        at(11, "wccp.password_file", "/dev/zero is not a regular file; write the path of a file")
    );
}

#[test]
fn a_routers_policy_and_wccp_do_not_go_together() {
    refuses(
        "kind = \"wccp\"",
        "kind = \"static\"",
        &[
            "t.toml:9: key `wccp`: WCCP does not go together with kind = \"static\", where the router negotiates \
             nothing; take the section out, or write kind = \"wccp\"",
        ],
    );
    let (head, rest) = GOOD.split_once("[wccp]").unwrap();
    let policy =
        format!("{head}{}", &rest[rest.find("[[service]]").unwrap()..]).replace("\"wccp\"", "\"static\"");
    assert_eq!(errors(&policy), Vec::<String>::new());
    assert_eq!(
        errors(&policy.replace("next_hop = \"10.9.0.1\"\n", "")),
        ["t.toml:4: key `interface.next_hop`: missing; write the router's address on this network, as \
             next_hop = \"10.9.0.1\""]
    );
}

#[test]
fn what_becomes_of_too_many_is_one_of_two_words() {
    refuses(
        "[[service]]",
        "[limits]\nover_limit = \"drop\"\n[[service]]",
        &["t.toml:17: key `limits.over_limit`: \"drop\" is no choice here; write \"return\" or \"reset\""],
    );
}
