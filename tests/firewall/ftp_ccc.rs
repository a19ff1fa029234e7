//! Sessions that have to be clear again before any data passes (`ccc = "require"`).

use crate::ftp_net::*;
use tidegate::alg::rules::Ccc;
use tidegate::firewall::{Action, Data, Forward, Protocol, Settings, StaticNat};

const PASSIVE: &str = "198.51.100.7:50000";
const ACTIVE: &str = "10.0.0.5:5001";
const REPLY: &str = "227 Entering Passive Mode (198,51,100,7,195,80)\r\n";

fn require(mut o: Settings) -> Settings {
    o.services[0].rules.ccc = Ccc::Require;
    o
}

fn static_rule(mut o: Settings, ports: std::ops::RangeInclusive<u16>, needs_session: bool) -> Settings {
    let servers = vec![("198.51.100.7".parse().unwrap(), 32)];
    let (name, ports) = ("passive range".to_owned(), vec![ports]);
    o.filter.data.push(Data { name, servers, ports, needs_session });
    o
}

fn open_to_all(mut o: Settings) -> Settings {
    o.filter.default = Action::Allow;
    o
}

fn encrypted(net: &mut Net, client: &str) -> (usize, usize) {
    let (c, s) = logged_in(net, client);
    exchange(net, c, s, "AUTH TLS\r\n", "234 go\r\n");
    net.say(c, "\u{16}\u{3}\u{1}\0\u{5}hello");
    net.say(s, "\u{16}\u{3}\u{1}\0\u{5}hello");
    (c, s)
}

/// Both ends close TLS.
fn clear_again(net: &mut Net, c: usize, s: usize) {
    net.say(c, "\u{17}\u{3}\u{3}\0\u{3}CCC");
    net.say(s, "\u{17}\u{3}\u{3}\0\u{3}200\u{15}\u{3}\u{3}\0\u{2}ab");
    net.say(c, "\u{15}\u{3}\u{3}\0\u{2}ab");
}

/// Tries a connection; whether it stands.
fn passes(net: &mut Net, side: tidegate::firewall::Side, from: &str, to: &str) -> bool {
    let end = net.connect(side, from, to);
    net.end(end).open
}

/// Every policy that would let data pass: by default, by a rule, by a static data rule, and redirected, where there is no
/// filter and no hop.
fn policies() -> Vec<(&'static str, Settings)> {
    let mut ruled = settings();
    ruled.filter.rules.extend([allow("range", None, 50000), allow("active", None, 5001)]);
    let mut redirected = open_to_all(settings());
    (redirected.hop, redirected.filter.rules) = (false, Vec::new());
    vec![
        ("deny", settings()),
        ("deny, a rule", ruled),
        ("deny, a data rule", static_rule(settings(), 50000..=50099, true)),
        ("deny, a data rule that needs no session", static_rule(settings(), 50000..=50099, false)),
        ("allow", open_to_all(settings())),
        ("allow, a data rule", static_rule(open_to_all(settings()), 50000..=50099, true)),
        ("redirected", redirected),
    ]
}

#[test]
fn no_policy_lets_data_pass_before_the_connection_is_clear_again() {
    for (name, policy) in policies() {
        let before = |o: Settings| {
            let mut net = Net::new(o);
            net.listen(Outside, PASSIVE);
            net.listen(Inside, ACTIVE);
            let (c, s) = encrypted(&mut net, CLIENT);
            let there = passes(&mut net, Inside, "10.0.0.5:41000", PASSIVE);
            net.pass(tidegate::time::Duration::from_secs(2));
            let back = passes(&mut net, Outside, "198.51.100.7:20", ACTIVE);
            (net, c, s, there, back)
        };
        let (mut net, c, s, there, back) = before(require(policy.clone()));
        assert!(!there && !back, "{name}");
        let why = ("refused", "ccc required".to_owned());
        assert_eq!(net.expectations(), [why.clone(), why], "{name}");
        assert_eq!(net.count("encrypted_refused"), 2, "{name}");
        clear_again(&mut net, c, s);
        let (_, reply) = exchange(&mut net, c, s, "PASV\r\n", REPLY);
        assert_eq!(reply, REPLY, "{name}");
        assert!(passes(&mut net, Inside, "10.0.0.5:41001", PASSIVE), "{name}: it is clear");
        exchange(&mut net, c, s, "PORT 10,0,0,5,19,137\r\n", "200 ok\r\n");
        assert!(passes(&mut net, Outside, "198.51.100.7:20", ACTIVE), "{name}: it is clear");
        // The policy is what it would be without.
        let (_, _, _, there, back) = before(policy.clone());
        let open = policy.filter.default == Action::Allow || policy.filter.rules.len() > 1;
        assert_eq!((there, back), (open || !policy.filter.data.is_empty(), open), "{name}");
    }
}

#[test]
fn other_hosts_other_services_and_clear_sessions_are_not_concerned() {
    let mut o = require(open_to_all(settings()));
    o.services[0].ports = vec![21, 2121];
    let mut net = Net::new(o);
    for at in [PASSIVE, "198.51.100.8:50000", "198.51.100.7:22", "198.51.100.7:2121"] {
        net.listen(Outside, at);
    }
    net.listen(Inside, "10.0.0.5:22");
    net.listen(Inside, "10.0.0.5:113");
    let (c, s) = encrypted(&mut net, CLIENT);
    assert!(passes(&mut net, Inside, "10.0.0.5:41000", "198.51.100.8:50000"), "another server");
    assert!(passes(&mut net, Inside, "10.0.0.6:41000", PASSIVE), "another client");
    assert!(passes(&mut net, Inside, "10.0.0.5:41001", "198.51.100.7:22"), "SSH");
    assert!(passes(&mut net, Outside, "198.51.100.7:41001", "10.0.0.5:113"), "and back");
    assert!(!passes(&mut net, Outside, "198.51.100.7:20", "10.0.0.5:22"), "from the port of active data");
    assert!(passes(&mut net, Inside, "10.0.0.5:41002", "198.51.100.7:2121"), "a control port");
    // What a session that is read announced is its.
    let (c2, s2) = logged_in(&mut net, "10.0.0.5:40001");
    exchange(&mut net, c2, s2, "PASV\r\n", REPLY);
    assert!(passes(&mut net, Inside, "10.0.0.5:41003", PASSIVE));
    assert!(!passes(&mut net, Inside, "10.0.0.5:41004", PASSIVE), "and that was it");
    // Two that are encrypted: the last one to go lets go.
    let (c3, _) = encrypted(&mut net, "10.0.0.5:40002");
    net.abort(c3);
    assert!(!passes(&mut net, Inside, "10.0.0.5:41005", PASSIVE));
    net.abort(c);
    assert!(passes(&mut net, Inside, "10.0.0.5:41006", PASSIVE), "the session is over");
    let _ = s;
}

#[test]
fn a_static_rule_for_low_ports_is_about_data_too() {
    let mut net = Net::new(require(static_rule(open_to_all(settings()), 989..=989, false)));
    net.listen(Outside, "198.51.100.7:989");
    encrypted(&mut net, CLIENT);
    assert!(!passes(&mut net, Inside, "10.0.0.5:41000", "198.51.100.7:989"));
    assert!(passes(&mut net, Inside, "10.0.0.6:41000", "198.51.100.7:989"));
}

#[test]
fn what_a_forwarded_port_leads_to_counts() {
    let forward = |outside: &str, inside: &str| Forward {
        protocol: Protocol::Tcp,
        outside: outside.parse().unwrap(),
        inside: inside.parse().unwrap(),
    };
    let mut o = require(open_to_all(settings()));
    o.nat.forwards = vec![
        forward("203.0.113.9:2121", "10.0.0.20:21"),
        forward("203.0.113.9:2122", "10.0.0.21:21"),
        forward("203.0.113.9:50000", "10.0.0.20:50000"),
        forward("203.0.113.9:50001", "10.0.0.30:50000"),
        forward("203.0.113.9:8022", "10.0.0.20:22"),
    ];
    let mut net = Net::new(o);
    for at in ["10.0.0.20:21", "10.0.0.21:21", "10.0.0.20:50000", "10.0.0.30:50000", "10.0.0.20:22"] {
        net.listen(Inside, at);
    }
    let c = net.connect(Outside, "198.51.100.50:40000", "203.0.113.9:2121");
    let s = net.accepted("10.0.0.20:21").unwrap();
    net.say(s, "220 ready\r\n");
    exchange(&mut net, c, s, "AUTH TLS\r\n", "234 go\r\n");
    let mut to = |port: u16| {
        let to = format!("203.0.113.9:{port}");
        passes(&mut net, Outside, &format!("198.51.100.50:{port}"), &to)
    };
    assert!(!to(50000), "the server's");
    assert!(to(50001), "another host's");
    assert!(to(8022), "SSH");
    assert!(to(2121) && to(2122), "control ports");
}

#[test]
fn hosts_with_an_address_of_their_own_outside_are_known_by_both() {
    let mut o = require(open_to_all(settings()));
    o.nat.one_to_one =
        vec![StaticNat { inside: "10.0.0.5".parse().unwrap(), outside: "203.0.113.5".parse().unwrap() }];
    let mut net = Net::new(o);
    net.listen(Inside, ACTIVE);
    let (c, _) = encrypted(&mut net, CLIENT);
    assert!(!passes(&mut net, Outside, "198.51.100.7:20", "203.0.113.5:5001"));
    assert_eq!(net.expectations().last().unwrap().1, "ccc required");
    net.abort(c);
    assert!(passes(&mut net, Outside, "198.51.100.7:20", "203.0.113.5:5001"));
}
