//! Translation: one address for many, one for one, ports that lead inside, and back again (RFC 4787, 5382, 5508).

use crate::support::*;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use tidegate::firewall::{Action, Fate, Forward, Masquerade, Nat, Protocol, Refused, Settings, StaticNat};
use tidegate::time::Duration;

const SERVER: &str = "198.51.100.7:80";

fn natted(nat: Nat) -> Settings {
    Settings { nat, hop: true, ..settings(Action::Drop, vec![outward()]) }
}

fn few(ports: std::ops::RangeInclusive<u16>) -> Nat {
    let address = "203.0.113.1".parse().unwrap();
    Nat { masquerade: Some(Masquerade { sources: vec![], address, ports }), ..Nat::default() }
}

fn forward(protocol: Protocol, outside: &str, inside: &str) -> Forward {
    Forward { protocol, outside: outside.parse().unwrap(), inside: inside.parse().unwrap() }
}

#[test]
fn a_port_is_kept_and_one_that_is_taken_is_another_towards_that_remote_only() {
    let mut rig = Rig::new(natted(masquerade()));
    let (first, _) = rig.open(IN, "10.0.0.5:40000", SERVER);
    assert_eq!(first, at("203.0.113.1:40000"));
    let (second, _) = rig.open(IN, "10.0.0.6:40000", SERVER);
    assert_eq!(second.ip(), first.ip());
    assert!(second.port() >= 49152, "{second}");
    // Another port of the same host is another remote end, and so is another host.
    for other in ["198.51.100.7:81", "198.51.100.8:80"] {
        assert_eq!(rig.open(IN, "10.0.0.6:40000", other).0, first, "{other}");
    }
    // All of them get what is theirs.
    let back = seg(at(SERVER), second, ACK, 5001, 1001, b"x");
    assert_eq!(ends(&rig.send(OUT, &back).passed(IN)).1, at("10.0.0.6:40000"));
    let back = seg(at("198.51.100.8:80"), first, ACK, 5001, 1001, b"x");
    assert_eq!(ends(&rig.send(OUT, &back).passed(IN)).1, at("10.0.0.6:40000"));
    let back = seg(at(SERVER), first, ACK, 5001, 1001, b"x");
    assert_eq!(ends(&rig.send(OUT, &back).passed(IN)).1, at("10.0.0.5:40000"));
}

#[test]
fn no_two_connections_share_their_names_outside_and_exhaustion_is_refused() {
    let mut rig = Rig::new(natted(few(50_000..=50_009)));
    let mut seen = BTreeSet::new();
    // Ports of the range are tried as well as each one's own.
    for n in 0..11 {
        let src = format!("10.0.0.{}:40000", 5 + n);
        let (name, to) = ends(&rig.send(IN, &syn(&src, SERVER)).passed(OUT));
        assert!(seen.insert((name, to)), "{name} is given twice");
        assert!(n == 0 || (50_000..=50_009).contains(&name.port()));
    }
    let refused = rig.send(IN, &syn("10.0.0.99:40000", SERVER));
    assert_eq!(refused.fate, Fate::Refuse(Refused::NoPort));
    assert_eq!((rig.count("nat_exhausted"), rig.in_use("outside ports")), (1, 11));
    assert_eq!(rig.in_use("connections"), 11);
    // Toward another remote there is plenty.
    rig.send(IN, &syn("10.0.0.99:40000", "198.51.100.8:80")).passed(OUT);
    rig.wait(Duration::from_secs(500));
    rig.is_empty();
}

#[test]
fn a_port_rests_before_somebody_else_gets_it() {
    let mut rig = Rig::new(natted(few(50_000..=50_000)));
    rig.send(IN, &syn("10.0.0.5:40000", SERVER)).passed(OUT);
    rig.send(IN, &syn("10.0.0.6:40000", SERVER)).passed(OUT);
    // Nobody answers: both are forgotten after four minutes, and their ports rest two more.
    rig.wait(Duration::from_secs(242));
    assert_eq!((rig.in_use("connections"), rig.in_use("resting outside ports")), (0, 2));
    assert_eq!(rig.send(IN, &syn("10.0.0.7:40000", SERVER)).fate, Fate::Refuse(Refused::NoPort));
    rig.wait(Duration::from_secs(121));
    assert_eq!(ends(&rig.send(IN, &syn("10.0.0.7:40000", SERVER)).passed(OUT)).0, at("203.0.113.1:40000"));
}

#[test]
fn random_ports_cannot_be_foretold_and_depend_on_the_seed_alone() {
    let ports = || {
        let mut rig = Rig::new(natted(masquerade()));
        let port = |n: u8| {
            let src = SocketAddr::from(([10, 0, 1, n], 40_000));
            ends(&rig.send(IN, &seg(src, at(SERVER), SYN, 1, 0, b"")).passed(OUT)).0.port()
        };
        (0..50u8).map(port).collect::<Vec<_>>()
    };
    let all = ports();
    assert_eq!(all, ports());
    let steps: BTreeSet<_> = all[1..].windows(2).map(|w| w[1].wrapping_sub(w[0])).collect();
    assert!(steps.len() > 40, "{all:?}");
}

#[test]
fn nobody_outside_reaches_what_masquerade_hides() {
    let mut rig = Rig::new(Settings { nat: masquerade(), ..settings(Action::Allow, vec![]) });
    // By its own address, or by that of all.
    rig.send(OUT, &syn("198.51.100.7:1025", "10.0.0.5:22")).refused_with(Refused::Policy);
    rig.send(OUT, &syn("198.51.100.7:1025", "203.0.113.1:22")).refused_with(Refused::NoConnection);
    rig.send(OUT, &udp(at("198.51.100.7:53"), at("203.0.113.1:22"), b"x")).refused(Refused::NoConnection);
    rig.send(OUT, &udp(at("198.51.100.7:53"), at("10.0.0.5:22"), b"x")).refused(Refused::Policy);
    // What belongs to no connection does not leave under its own name either, though all is allowed.
    rig.send(IN, &seg(at("10.0.0.5:1"), at(SERVER), ACK, 1, 1, b"")).refused(Refused::NoConnection);
    rig.send(OUT, &seg(at(SERVER), at("203.0.113.1:1"), ACK, 1, 1, b"")).refused(Refused::NoConnection);
    assert!(rig.fw.translates_to("203.0.113.1".parse().unwrap()));
    assert!(!rig.fw.translates_to("203.0.113.2".parse().unwrap()));
}

#[test]
fn who_is_no_source_of_masquerade_and_ipv6_pass_as_they_are() {
    let mut nat = masquerade();
    nat.masquerade.as_mut().unwrap().sources = vec![("10.0.0.0".parse().unwrap(), 24)];
    let mut rig = Rig::new(natted(nat));
    for (src, dst) in [("10.0.1.5:40000", SERVER), ("[2001:db8:1::5]:40000", "[2001:db8:2::7]:80")] {
        assert_eq!(rig.open(IN, src, dst), (at(src), at(dst)));
    }
    assert_eq!(rig.open(IN, "10.0.0.5:40000", SERVER).0, at("203.0.113.1:40000"));
}

#[test]
fn one_to_one_works_both_ways_and_keeps_ports() {
    let (inside, outside) = ("10.0.0.9".parse().unwrap(), "203.0.113.9".parse().unwrap());
    let nat = Nat { one_to_one: vec![StaticNat { inside, outside }], ..masquerade() };
    let mut rig = Rig::new(Settings { nat, ..settings(Action::Drop, vec![rule("all", Action::Allow)]) });
    assert_eq!(rig.open(IN, "10.0.0.9:40000", SERVER), (at("203.0.113.9:40000"), at(SERVER)));
    assert_eq!(
        rig.open(OUT, "198.51.100.7:1025", "203.0.113.9:22"),
        (at("198.51.100.7:1025"), at("10.0.0.9:22"))
    );
    let got = rig.send(OUT, &udp(at("198.51.100.7:53"), at("203.0.113.9:53"), b"x")).passed(IN);
    assert_eq!(ends(&got), (at("198.51.100.7:53"), at("10.0.0.9:53")));
    let got = rig.send(OUT, &echo("198.51.100.7", "203.0.113.9", 5, false)).passed(IN);
    assert_eq!(ends(&got), (at("198.51.100.7:5"), at("10.0.0.9:5")));
}

#[test]
fn a_port_leads_inside_where_a_rule_allows_the_outside_name() {
    let mut nat = masquerade();
    nat.forwards = vec![
        forward(Protocol::Tcp, "203.0.113.1:2121", "10.0.0.9:21"),
        forward(Protocol::Udp, "203.0.113.1:53", "10.0.0.9:5353"),
    ];
    let mut open = rule("open", Action::Allow);
    (open.from, open.ports) = (Some(OUT), vec![2121..=2121, 53..=53]);
    let mut rig = Rig::new(Settings { nat: nat.clone(), ..settings(Action::Drop, vec![outward(), open]) });
    assert_eq!(
        rig.open(OUT, "198.51.100.7:1025", "203.0.113.1:2121"),
        (at("198.51.100.7:1025"), at("10.0.0.9:21"))
    );
    let (client, name) = (at("198.51.100.7:53"), at("203.0.113.1:53"));
    assert_eq!(ends(&rig.send(OUT, &udp(client, name, b"q")).passed(IN)), (client, at("10.0.0.9:5353")));
    assert_eq!(ends(&rig.send(IN, &udp(at("10.0.0.9:5353"), client, b"a")).passed(OUT)), (name, client));
    rig.send(OUT, &syn("198.51.100.7:1025", "203.0.113.1:2122")).refused(Refused::Policy);
    // The port of a forward is nobody else's: who has it as a source gets another.
    assert_ne!(rig.open(IN, "10.0.0.5:2121", SERVER).0, at("203.0.113.1:2121"));
    // A forward alone allows nothing.
    let mut rig = Rig::new(natted(nat));
    rig.send(OUT, &syn("198.51.100.7:1025", "203.0.113.1:2121")).refused(Refused::Policy);
}

#[test]
fn an_inside_host_reaches_an_inside_server_by_its_outside_name() {
    let mut nat = masquerade();
    nat.forwards = vec![forward(Protocol::Tcp, "203.0.113.1:21", "10.0.0.9:2021")];
    let mut rig = Rig::new(natted(nat));
    let got = rig.send(IN, &syn("10.0.0.5:40000", "203.0.113.1:21"));
    assert_eq!((got.fate, got.out.len(), got.out[0].to), (Fate::Taken, 1, IN));
    // The server answers us, not its neighbour, whom it would reset.
    assert_eq!(ends(&got.out[0].packet), (at("203.0.113.1:40000"), at("10.0.0.9:2021")));
    assert_eq!(got.out[0].packet[8], 63);
    let back = seg(at("10.0.0.9:2021"), at("203.0.113.1:40000"), SYN | ACK, 5000, 1001, b"");
    let got = rig.send(IN, &back);
    assert_eq!((got.fate, got.out[0].to), (Fate::Taken, IN));
    assert_eq!(ends(&got.out[0].packet), (at("203.0.113.1:21"), at("10.0.0.5:40000")));
    rig.wait(Duration::from_secs(500));
    rig.is_empty();
}

#[test]
fn an_inside_end_has_one_name_towards_all_for_udp_and_echo() {
    let mut rig = Rig::new(natted(masquerade()));
    let name =
        |rig: &mut Rig, src: &str, dst: &str| ends(&rig.send(IN, &udp(at(src), at(dst), b"q")).passed(OUT)).0;
    assert_eq!(name(&mut rig, "10.0.0.5:5000", "198.51.100.7:53"), at("203.0.113.1:5000"));
    let other = name(&mut rig, "10.0.0.6:5000", "198.51.100.8:53");
    assert_ne!(other.port(), 5000, "the name is the first one's toward everybody");
    for remote in ["198.51.100.7:53", "198.51.100.7:54", "192.0.2.1:53"] {
        assert_eq!(name(&mut rig, "10.0.0.6:5000", remote), other);
        let back = rig.send(OUT, &udp(at(remote), other, b"a")).passed(IN);
        assert_eq!(ends(&back), (at(remote), at("10.0.0.6:5000")));
    }
    // Who was not asked does not get in by it.
    rig.send(OUT, &udp(at("192.0.2.9:53"), other, b"a")).refused(Refused::Policy);
    let ping = |rig: &mut Rig, src: &str| {
        ends(&rig.send(IN, &echo(src, "198.51.100.7", 7, false)).passed(OUT)).0.port()
    };
    assert_eq!(ping(&mut rig, "10.0.0.5"), 7);
    let id = ping(&mut rig, "10.0.0.6");
    assert_ne!(id, 7);
    for (id, to) in [(7, "10.0.0.5:7"), (id, "10.0.0.6:7")] {
        let back = rig.send(OUT, &echo("198.51.100.7", "203.0.113.1", id, true)).passed(IN);
        assert_eq!(ends(&back).1, at(to));
    }
    rig.wait(Duration::from_secs(400));
    rig.is_empty();
}

#[test]
fn what_has_no_ports_is_one_hosts_toward_each_remote_address() {
    let mut rig = Rig::new(natted(masquerade()));
    let gre = |src: &str, dst: &str| {
        let mut b = udp(at(src), at(dst), b"what is in it is for the ends");
        b[9] = 47;
        b[10..12].fill(0);
        let sum = tidegate::wire::checksum::Sum::new().bytes(&b[..20]).checksum();
        b[10..12].copy_from_slice(&sum.to_be_bytes());
        b
    };
    let there = rig.send(IN, &gre("10.0.0.5:1", "198.51.100.7:2")).passed(OUT);
    assert_eq!(ends(&there), (at("203.0.113.1:0"), at("198.51.100.7:0")));
    assert_eq!(there[20..], gre("10.0.0.5:1", "198.51.100.7:2")[20..]);
    let back = rig.send(OUT, &gre("198.51.100.7:3", "203.0.113.1:4")).passed(IN);
    assert_eq!(ends(&back), (at("198.51.100.7:0"), at("10.0.0.5:0")));
    rig.send(IN, &gre("10.0.0.6:1", "198.51.100.7:2")).refused(Refused::NoPort);
    rig.send(IN, &gre("10.0.0.6:1", "198.51.100.8:2")).passed(OUT);
    rig.wait(Duration::from_secs(400));
    rig.is_empty();
}

#[test]
fn a_datagram_without_checksum_stays_without() {
    let mut rig = Rig::new(natted(masquerade()));
    let mut packet = udp(at("10.0.0.5:5000"), at("198.51.100.7:53"), b"q");
    packet[26..28].fill(0);
    let got = rig.send(IN, &packet).passed(OUT);
    assert_eq!((ends(&got).0, &got[26..28]), (at("203.0.113.1:5000"), &[0, 0][..]));
}

#[test]
fn a_checksum_that_was_wrong_does_not_become_right() {
    let mut rig = Rig::new(natted(masquerade()));
    rig.open(IN, "10.0.0.5:40000", SERVER);
    let mut bad = seg(at("10.0.0.5:40000"), at(SERVER), ACK, 1001, 5001, b"data");
    bad[40] ^= 1;
    let mut frame = tidegate::buf::Frame::from_bytes(&bad).unwrap();
    let ip = tidegate::wire::parse_ip(&bad, 0).unwrap();
    assert_eq!(rig.fw.packet(rig.now, IN, 7, &mut frame, &ip, &mut vec![]), Fate::Forward);
    assert!(!is_valid(frame.bytes()));
}
