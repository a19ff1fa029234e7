//! Bridge and route, the firewall, translation, and services that are inspected.

use super::errors;

const BRIDGE: &str = r#"version = 1
[deployment]
kind = "bridge"
[[interface]]
name = "in0"
role = "inside"
[[interface]]
name = "out0"
role = "outside"
[[service]]
name = "ftp"
ports = [21]
"#;

const ROUTE: &str = r#"version = 1
[deployment]
kind = "route"
[[interface]]
name = "in0"
role = "inside"
address = ["10.0.0.1/24", "2001:db8:a::1/64"]
[[interface]]
name = "out0"
role = "outside"
address = ["203.0.113.9/24", "2001:db8:b::9/64"]
next_hop = ["203.0.113.1", "2001:db8:b::1"]
[[route]]
network = "10.1.0.0/16"
via = "10.0.0.254"
[firewall]
[[firewall.rule]]
name = "ftp"
action = "allow"
protocol = "tcp"
ports = [21]
[[firewall.data]]
name = "ftps"
servers = ["198.51.100.7"]
ports = ["50000-50100"]
[nat]
masquerade = true
[[nat.static]]
inside = "10.0.0.80"
outside = "203.0.113.80"
[[nat.forward]]
outside = "203.0.113.9:2121"
inside = "10.0.0.21:21"
[[service]]
name = "ftp"
ports = [21]
handling = "inspect"
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
[[wccp.group]]
id = 61
ports = [21, 20, 2020]
[[wccp.group]]
id = 62
role = "reverse"
ports = "all"
[[service]]
name = "ftp"
ports = [21]
handling = "inspect"
data_ports = [2020]
"#;

/// Changes one place of a good configuration (which must be there once) and wants exactly these errors.
#[track_caller]
fn refuses(good: &str, from: &str, to: &str, wanted: &[&str]) {
    assert_eq!(good.matches(from).count(), 1, "{from:?} is not in the good configuration exactly once");
    let wanted: Vec<String> = wanted.iter().map(|w| format!("t.toml:{w}")).collect();
    assert_eq!(errors(&good.replacen(from, to, 1)), wanted, "after {from:?} became {to:?}");
}

#[test]
fn the_good_ones_are_good() {
    for good in [BRIDGE, ROUTE, WCCP] {
        assert_eq!(errors(good), [""; 0], "{good}");
    }
}

#[test]
fn there_are_two_interfaces_with_a_role_each() {
    let second = "[[interface]]\nname = \"out0\"\nrole = \"outside\"\n";
    refuses(
        BRIDGE,
        second,
        "",
        &[
            "1: key `interface`: one interface, where packets pass from one to another; add the other [[interface]], with \
           its role",
        ],
    );
    refuses(
        BRIDGE,
        second,
        &format!("{second}{second}"),
        &[
            "10: key `interface`: a third interface; keep one with role = \"inside\" and one with role = \"outside\"",
        ],
    );
    refuses(
        BRIDGE,
        "\"outside\"",
        "\"inside\"",
        &[
            "9: key `interface.role`: both interfaces have the role \"inside\"; write \"inside\" at the one and \
           \"outside\" at the other",
        ],
    );
    refuses(
        BRIDGE,
        "role = \"outside\"\n",
        "",
        &["7: key `interface.role`: missing; write role = \"inside\" or \"outside\""],
    );
    refuses(
        BRIDGE,
        "out0",
        "in0",
        &[
            "8: key `interface.name`: \"in0\" is the other interface already; write the names of two interfaces",
        ],
    );
    let none = &BRIDGE[..BRIDGE.find("[[interface]]").unwrap()];
    assert_eq!(
        errors(none)[0],
        "t.toml:1: key `interface`: missing; add two [[interface]] sections, one with role = \"inside\" and one with \
         role = \"outside\""
    );
}

#[test]
fn a_bridge_has_no_address_and_takes_every_frame() {
    let with = |key: &str| format!("name = \"in0\"\n{key}");
    for (key, wanted) in [
        ("address = [\"10.0.0.1/24\"]", "address`: a bridge has no address of its own; take the key out"),
        ("next_hop = \"10.0.0.1\"", "next_hop`: a bridge has no address of its own; take the key out"),
        ("vlan = [7]", "vlan`: a bridge leaves every frame its own tags; take the key out"),
        (
            "mode = \"shared\"",
            "mode`: a bridge or route takes every frame of its interfaces; write mode = \"dedicated\", or take the key \
             out",
        ),
    ] {
        refuses(BRIDGE, "name = \"in0\"", &with(key), &[&format!("6: key `interface.{wanted}")]);
    }
    refuses(
        BRIDGE,
        "[[service]]",
        "[nat]\nmasquerade = true\n[[route]]\nnetwork = \"10.1.0.0/16\"\nvia = \"10.0.0.254\"\n[[service]]",
        &[
            "10: key `nat`: addresses are translated by deployments of kind = \"route\" only; take the section out, or \
             write deployment.kind = \"route\"",
            "12: key `route`: other networks are known to deployments of kind = \"route\" only; take these sections \
             out, or write deployment.kind = \"route\"",
        ],
    );
}

#[test]
fn the_sides_of_a_route_have_networks_of_their_own() {
    refuses(
        ROUTE,
        "\"203.0.113.9/24\", ",
        "\"10.0.0.9/8\", ",
        &[
            "11: key `interface.address`: 10.0.0.9/8 is on the network of the other interface, 10.0.0.1/24; give each \
             side a network of its own, or deploy with kind = \"bridge\"",
            "12: key `interface.next_hop`: 203.0.113.1 is no host on the network of 10.0.0.9/8; write the router's address \
             on this network",
        ],
    );
    refuses(
        ROUTE,
        "next_hop = [\"203.0.113.1\", \"2001:db8:b::1\"]\n",
        "",
        &["8: key `interface.next_hop`: missing; write the router's address on this network, as next_hop = \
             \"10.9.0.1\""],
    );
    let route = |wanted: &str| format!("14: key `route.network`: {wanted}");
    refuses(
        ROUTE,
        "10.1.0.0/16",
        "10.1.0.1/16",
        &[&route("\"10.1.0.1/16\" has a host part; write \"10.1.0.0/16\"")],
    );
    refuses(
        ROUTE,
        "10.1.0.0/16",
        "10.0.0.128/25",
        &[&route("10.0.0.128/25 is a part of our own network 10.0.0.1/24; take it out")],
    );
    let via = |wanted: &str| format!("15: key `route.via`: {wanted}");
    refuses(
        ROUTE,
        "10.0.0.254",
        "10.7.0.254",
        &[&via(
            "10.7.0.254 is on the network of neither interface; write the address of a router on one of them",
        )],
    );
    refuses(
        ROUTE,
        "10.0.0.254",
        "2001:db8:a::2",
        &[&via(
            "2001:db8:a::2 and 10.1.0.0/16 are of different families; write a router of the network's family",
        )],
    );
    refuses(
        ROUTE,
        "10.0.0.254",
        "10.0.0.1",
        &[&via("10.0.0.1 is no other host on the network of 10.0.0.1/24; write the router's address")],
    );
    refuses(
        ROUTE,
        "[firewall]\n",
        "[[route]]\nnetwork = \"10.1.0.0/16\"\nvia = \"203.0.113.2\"\n[firewall]\n",
        &["17: key `route.network`: 10.1.0.0/16 is there already; list each network once"],
    );
}

#[test]
fn rules_of_the_firewall_make_sense() {
    let ports = "protocol = \"tcp\"\nports = [21]\n";
    refuses(
        ROUTE,
        ports,
        "ports = [21]\n",
        &[
            "20: key `firewall.rule.ports`: ports are of TCP and UDP; write protocol = \"tcp\" or \"udp\" beside it, or \
             take the key out",
        ],
    );
    refuses(
        ROUTE,
        ports,
        "protocol = 300\n",
        &["20: key `firewall.rule.protocol`: 300 is out of range; write a whole number from 0 to 255"],
    );
    for (range, what) in [("9-8", "\"9-8\""), ("0-5", "\"0-5\""), ("5", "\"5\""), ("1-70000", "\"1-70000\"")]
    {
        refuses(
            ROUTE,
            ports,
            &format!("protocol = \"tcp\"\nports = [{range:?}]\n"),
            &[&format!(
                "21: key `firewall.rule.ports`: {what} is no range of ports; write it as \"8000-8100\""
            )],
        );
    }
    refuses(
        ROUTE,
        ports,
        "source = [\"10.0.0.0/24\"]\ndestination = [\"2001:db8::/32\"]\n",
        &[
            "17: key `firewall.rule`: no packet fits: source and destination are of different families; write networks \
             of one family, or two rules",
        ],
    );
    refuses(
        ROUTE,
        ports,
        "from = \"above\"\nsource = []\ncolour = 1\n",
        &[
            "20: key `firewall.rule.from`: \"above\" is no choice here; write \"inside\" or \"outside\"",
            "21: key `firewall.rule.source`: the list is empty; write a list of networks, as [\"10.0.0.0/24\"]",
            "22: key `firewall.rule.colour`: unknown key; known here: action, destination, from, name, ports, protocol, \
             source",
        ],
    );
    refuses(
        ROUTE,
        "[[firewall.data]]\n",
        "[[firewall.rule]]\nname = \"ftp\"\naction = \"pass\"\n[[firewall.data]]\n",
        &[
            "23: key `firewall.rule.name`: \"ftp\" is there already; give each rule a name of its own",
            "24: key `firewall.rule.action`: \"pass\" is no choice here; write \"allow\" or \"deny\" or \"drop\" or \
             \"reject\"",
        ],
    );
    refuses(
        ROUTE,
        "[firewall]\n",
        "[firewall]\ndefault = \"drop\"\nrefuse_with = \"deny\"\n",
        &[
            "17: key `firewall.default`: \"drop\" is no choice here; write \"deny\" or \"allow\"",
            "18: key `firewall.refuse_with`: \"deny\" is no choice here; write \"drop\" or \"reject\"",
        ],
    );
    refuses(
        ROUTE,
        "servers = [\"198.51.100.7\"]\n",
        "",
        &["22: key `firewall.data.servers`: missing; write the servers, as servers = [\"198.51.100.7\"]"],
    );
}

#[test]
fn an_address_is_translated_one_way_only() {
    refuses(
        ROUTE,
        "masquerade = true",
        "masquerade = 5",
        &["27: key `nat.masquerade`: is a whole number; write an IPv4 address, as \"203.0.113.9\""],
    );
    refuses(
        ROUTE,
        "masquerade = true",
        "masquerade = false\nports = \"50000-50010\"\nsources = [\"10.0.0.0/24\"]",
        &[
            "28: key `nat.ports`: is for masquerading; write masquerade = true, or take the key out",
            "29: key `nat.sources`: is for masquerading; write masquerade = true, or take the key out",
        ],
    );
    refuses(
        ROUTE,
        "masquerade = true",
        "masquerade = true\nsources = [\"2001:db8::/32\"]",
        &["28: key `nat.sources`: 2001:db8::/32 is of IPv6, which is not translated; take it out"],
    );
    refuses(
        ROUTE,
        "203.0.113.80",
        "203.0.113.9",
        &[
            "28: key `nat.static`: 203.0.113.9 stands for others already; give the host an outside address of its own, \
             or write [[nat.forward]]",
            "31: key `nat.forward`: all ports of 203.0.113.9 lead inside by [[nat.static]]; take one of the two out",
        ],
    );
    let again = "[[nat.static]]\ninside = \"10.0.0.80\"\noutside = \"203.0.113.81\"\n[[nat.forward]]\n\
                 outside = \"203.0.113.9:2121\"\ninside = \"10.0.0.22:21\"\n[[service]]";
    refuses(
        ROUTE,
        "[[service]]",
        again,
        &[
            "34: key `nat.static`: 10.0.0.80 or 203.0.113.81 is translated already; list each address once",
            "37: key `nat.forward`: 203.0.113.9:2121 leads to 10.0.0.21:21 already; list each port once",
        ],
    );
    refuses(
        ROUTE,
        "203.0.113.9:2121",
        "203.0.113.9",
        &["32: key `nat.forward.outside`: \"203.0.113.9\" is no IPv4 address with a port; write it as \
             \"203.0.113.9:2121\""],
    );
    refuses(
        ROUTE,
        "address = [\"203.0.113.9/24\", \"2001:db8:b::9/64\"]\nnext_hop = [\"203.0.113.1\", \"2001:db8:b::1\"]",
        "address = [\"2001:db8:b::9/64\"]\nnext_hop = \"2001:db8:b::1\"",
        &[
            "27: key `nat.masquerade`: the outside interface has no IPv4 address; give it one, or write the address, as \
             masquerade = \"203.0.113.10\"",
        ],
    );
}

/// R000.11, the other way round.
#[test]
fn proxying_needs_a_router_that_redirects() {
    let why = "12: key `service.handling`: ends TCP here, in the names of clients and servers, which needs a router that \
               redirects their packets; a bridge or route leaves TCP between its ends; write handling = \"inspect\", or \
               deployment.kind = \"wccp\" or \"static\"";
    refuses(BRIDGE, "ports = [21]", "handling = \"proxy\"\nports = [21]", &[why]);
    // Its other keys are those of such a service, and no fault besides.
    refuses(
        BRIDGE,
        "ports = [21]",
        "handling = \"proxy\"\nclient_mode = \"any\"\ndata_ports = [2020]\nports = [21]",
        &[why],
    );
}

#[test]
fn a_transfer_without_an_announcement_is_active() {
    refuses(
        BRIDGE,
        "ports = [21]",
        "ports = [21]\nclient_mode = \"passive\"\ndefault_data_port = true",
        &[
            "14: key `service.default_data_port`: default_data_port with client_mode = \"passive\": such transfers are active; \
           take the key out, or write client_mode = \"any\"",
        ],
    );
}

#[test]
fn keys_go_with_a_handling() {
    refuses(
        WCCP,
        "data_ports = [2020]",
        "data_ports = [2020]\nserver_mode = \"same\"\nupstream_source = \"client\"",
        &[
            "22: key `service.server_mode`: is for control connections that end here, handling = \"proxy\"; take the key \
             out",
            "23: key `service.upstream_source`: is for control connections that end here, handling = \"proxy\"; take the \
             key out",
        ],
    );
    refuses(
        WCCP,
        "\"inspect\"",
        "\"proxy\"\nalg = true\nccc = \"deny\"\nfxp = true",
        &[
            "21: key `service.alg`: is for control connections that are edited in flight; take the key out, or write \
             handling = \"inspect\"",
            "22: key `service.ccc`: is for control connections that are edited in flight; take the key out, or write \
             handling = \"inspect\"",
            "23: key `service.fxp`: is for control connections that are edited in flight; take the key out, or write \
             handling = \"inspect\"",
        ],
    );
    refuses(
        BRIDGE,
        "ports = [21]",
        "ports = [21]\ndata_ports = [2020]\nmss_clamp = 1400",
        &[
            "13: key `service.data_ports`: is for packets that a router redirects; here all of them pass; take the key \
             out",
            "14: key `service.mss_clamp`: is for packets that a router redirects; here all of them pass; take the key \
             out",
        ],
    );
    refuses(
        BRIDGE,
        "ports = [21]",
        "ports = [21]\nftps = \"refuse\"\nccc = \"require\"\nsetups_per_second = 0\nalg = 1\nprofile = \"lax\"\nfxp = [\"1.2.3.4/24\"]",
        &[
            "14: key `service.ccc`: ccc = \"require\" with ftps = \"refuse\": nothing is ever encrypted; write ftps = \
             \"opaque\", or take the key out",
            "15: key `service.setups_per_second`: 0 is out of range; write a whole number from 1 to 1000",
            "16: key `service.alg`: is a whole number; write true or false",
            "17: key `service.profile`: \"lax\" is no choice here; write \"compat\" or \"standard\" or \"strict\"",
            "18: key `service.fxp`: \"1.2.3.4/24\" has a host part; write \"1.2.3.0/24\"",
        ],
    );
    refuses(
        WCCP,
        "[[service]]",
        "[firewall]\n[nat]\n[[service]]",
        &[
            "17: key `firewall`: routers redirect what they let through, and it goes on; nothing is refused here; take \
             the section out, or write deployment.kind = \"bridge\" or \"route\"",
            "18: key `nat`: addresses are translated by deployments of kind = \"route\" only; take the section out, or \
             write deployment.kind = \"route\"",
        ],
    );
}

#[test]
fn bounds_and_times_are_of_something_that_is_there() {
    refuses(
        BRIDGE,
        "[[service]]",
        "[limits]\nrelay_buffer = \"64KiB\"\ncommands = 100\n[timers]\nconnect = \"3s\"\nudp = \"3s\"\n[[service]]",
        &[
            "11: key `limits.relay_buffer`: is for services of handling = \"proxy\", and all have handling = \"inspect\"; \
             take the key out",
            "12: key `limits.commands`: of inspected sessions 64 commands at most are remembered; write a whole number \
             from 1 to 64",
            "14: key `timers.connect`: is for services of handling = \"proxy\", and all have handling = \"inspect\"; take \
             the key out",
        ],
    );
    refuses(
        WCCP,
        "data_ports = [2020]\n",
        "[timers]\nsteer_wait = \"1s\"\ncontrol_idle = \"60s\"\n",
        &[
            "22: key `timers.steer_wait`: is for data ports that passive clients are steered to, and no service has any; \
             take the key out, or write data_ports",
        ],
    );
    for good in [BRIDGE, ROUTE] {
        let at = good.lines().count();
        let text =
            format!("{good}[timers]\nsteer_timeout = \"1s\"\nsteer_wait = \"1s\"\nquarantine = \"1s\"\n");
        let keys = ["steer_timeout", "steer_wait", "quarantine"];
        let wanted: Vec<String> = keys
            .iter()
            .enumerate()
            .map(|(n, key)| {
                format!(
                    "t.toml:{}: key `timers.{key}`: is for data ports that passive clients are steered to, and no service has \
                     any; take the key out",
                    at + 2 + n
                )
            })
            .collect();
        assert_eq!(errors(&text), wanted);
    }
    refuses(
        WCCP,
        "handling = \"inspect\"\ndata_ports = [2020]\n",
        "data_ports = [2020]\n[timers]\nexpectation = \"3s\"\n",
        &[
            "22: key `timers.expectation`: is for services of handling = \"inspect\", and all have handling = \"proxy\"; \
             take the key out",
        ],
    );
}

#[test]
fn what_is_inspected_comes_both_ways() {
    let reverse = "[[wccp.group]]\nid = 62\nrole = \"reverse\"\nports = \"all\"\n";
    refuses(
        WCCP,
        reverse,
        "",
        &[
            "15: key `service.ports`: handling = \"inspect\" needs both directions of a connection, and no group of role \
             \"reverse\" brings what servers send; add a [[wccp.group]] of role \"reverse\" with ports = [21, 20] or ports \
             = \"all\", or write handling = \"proxy\"",
        ],
    );
    refuses(
        WCCP,
        "ports = \"all\"",
        "ports = [20]",
        &[
            "19: key `service.ports`: handling = \"inspect\" needs both directions of a connection, and control port 21 is \
             in no group of role \"reverse\"; add it to the ports of the reverse group, or write ports = \"all\" there",
            "21: key `service.data_ports`: what servers send on passive data connections comes from ports that no list can \
             name, so nothing can be steered; write ports = \"all\" in the reverse group, or take the key out",
        ],
    );
    refuses(
        WCCP,
        "data_ports = [2020]",
        "data_ports = [2020, 2021]",
        &[
            "21: key `service.data_ports`: data port 2021 is in no group of role \"forward\", so no router redirects it; \
             add it to the ports of a [[wccp.group]], or use a port that is there",
        ],
    );
    // Names and ports are unique among services of both kinds.
    refuses(
        WCCP,
        "data_ports = [2020]\n",
        "data_ports = [2020]\n[[service]]\nname = \"ftp\"\nports = [20, 21]\ndata_ports = [2020]\n",
        &[
            "23: key `service.name`: \"ftp\" is there already; give each service a name of its own",
            "24: key `service.ports`: port 21 belongs to service \"ftp\" already; list each port in one service",
            "25: key `service.data_ports`: port 2020 is a data port of service \"ftp\" already; give each service data \
             ports of its own",
        ],
    );
}
