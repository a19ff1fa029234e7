//! Who may begin what, and what the others are told.

use crate::support::*;
use tidegate::event::What;
use tidegate::firewall::{Action, Fate, Protocol, Refused, Rule};
use tidegate::time::Duration;

/// Source and destination of each family: one inside, one outside.
const PAIRS: [(&str, &str); 2] =
    [("10.0.0.5:40000", "198.51.100.7:80"), ("[2001:db8:1::5]:40000", "[2001:db8:2::7]:80")];

fn begin(protocol: u8, src: &str, dst: &str) -> Vec<u8> {
    let (s, d) = (at(src), at(dst));
    match protocol {
        6 => syn(src, dst),
        17 => udp(s, d, b"x"),
        _ => echo(&s.ip().to_string(), &d.ip().to_string(), 77, false),
    }
}

fn answer(protocol: u8, src: &str, dst: &str) -> Vec<u8> {
    let (s, d) = (at(src), at(dst));
    match protocol {
        6 => seg(s, d, SYN | ACK, 5000, 1001, b""),
        17 => udp(s, d, b"y"),
        _ => echo(&s.ip().to_string(), &d.ip().to_string(), 77, true),
    }
}

#[test]
fn every_protocol_of_both_families_obeys_each_action() {
    for (inside, outside) in PAIRS {
        for protocol in [6u8, 17, 1] {
            for (action, from) in
                [Action::Allow, Action::Drop, Action::Reject].into_iter().flat_map(|a| [(a, IN), (a, OUT)])
            {
                let what = format!("{inside} protocol {protocol} {action:?} from {from:?}");
                let opposite = if action == Action::Allow { Action::Drop } else { Action::Allow };
                let one = Rule { from: Some(from), ..rule("one", action) };
                let mut rig = Rig::new(settings(opposite, vec![one]));
                let (src, dst) = if from == IN { (inside, outside) } else { (outside, inside) };
                let packet = begin(protocol, src, dst);
                let got = rig.send(from, &packet);
                assert_eq!(rig.count("rule:one"), 1, "{what}");
                if action == Action::Allow {
                    assert_eq!(got.passed(from.other()), packet, "{what}");
                    // What answers needs no rule.
                    let back = answer(protocol, dst, src);
                    assert_eq!(rig.send(from.other(), &back).passed(from), back, "{what}");
                    continue;
                }
                assert_eq!(got.fate, Fate::Refuse(Refused::Policy), "{what}");
                let told =
                    matches!(&rig.events()[..], [What::Firewall { rule, count: 1, .. }] if rule == "one");
                assert!(told, "{what}");
                if action == Action::Drop {
                    assert!(got.out.is_empty(), "{what}");
                    continue;
                }
                let [emit] = &got.out[..] else { panic!("{what}: {:?}", got.out) };
                assert!(is_reversed(emit, from), "{what}");
                let (s, d) = ends(&emit.packet);
                assert_eq!(
                    (s.ip(), d.ip()),
                    (at(dst).ip(), at(src).ip()),
                    "{what}: it is the destination that answers"
                );
                if protocol == 6 {
                    let reset = segment(&emit.packet);
                    assert_eq!(
                        (reset.flags, reset.ack, reset.src, reset.dst),
                        (RST | ACK, 1001, at(dst), at(src))
                    );
                } else {
                    let v4 = at(src).is_ipv4();
                    let message = &emit.packet[if v4 { 20 } else { 40 }..];
                    assert_eq!(message[..2], if v4 { [3, 13] } else { [1, 1] }, "{what}");
                    assert_eq!(&message[8..28], &packet[..20], "{what}: it quotes what came");
                }
            }
        }
    }
}

#[test]
fn the_first_rule_that_fits_decides_not_the_best() {
    let narrow = Rule { ports: vec![80..=80], protocol: Protocol::Tcp, ..rule("narrow", Action::Drop) };
    let wide = rule("wide", Action::Allow);
    let packet = syn("10.0.0.5:40000", "198.51.100.7:80");
    let mut rig = Rig::new(settings(Action::Drop, vec![narrow.clone(), wide.clone()]));
    rig.send(IN, &packet).refused(Refused::Policy);
    let mut rig = Rig::new(settings(Action::Drop, vec![wide, narrow]));
    rig.send(IN, &packet).passed(OUT);
}

#[test]
fn under_deny_only_a_syn_begins_a_connection() {
    for (inside, outside) in PAIRS {
        let mut rig = Rig::new(settings(Action::Drop, vec![outward()]));
        for flags in [ACK, SYN | ACK, FIN | ACK, RST, PSH | ACK, FIN, 0, SYN | RST, SYN | FIN] {
            let packet = seg(at(inside), at(outside), flags, 1000, 1, b"");
            rig.send(IN, &packet).refused(Refused::NoConnection);
        }
        assert_eq!(rig.flows.len(), 0);
        rig.send(IN, &syn(inside, outside)).passed(OUT);
        assert_eq!(rig.flows.len(), 2);
        // An answer is to that connection only.
        for (s, d) in [("198.51.100.7:81", inside), (outside, "10.0.0.5:40001"), ("198.51.100.8:80", inside)]
        {
            if at(s).is_ipv4() == at(d).is_ipv4() {
                rig.send(OUT, &answer(6, s, d)).refused(Refused::NoConnection);
            }
        }
    }
}

#[test]
fn under_allow_unknown_connections_pass_unread_and_unchanged() {
    let mut rig = Rig::new(settings(Action::Allow, vec![]));
    for (inside, outside) in PAIRS {
        for flags in [ACK, SYN | ACK, FIN | ACK, RST, PSH | ACK, SYN | FIN] {
            for (from, s, d) in [(IN, inside, outside), (OUT, outside, inside)] {
                let packet = seg(at(s), at(d), flags, 1000, 1, b"data");
                assert_eq!(rig.send(from, &packet).passed(from.other()), packet);
            }
        }
    }
    assert_eq!((rig.flows.len(), rig.count("connections_unread")), (0, 24));
}

#[test]
fn a_syn_with_a_fin_does_not_come_past_a_rule() {
    let deny = Rule { ports: vec![3306..=3306], protocol: Protocol::Tcp, ..rule("db", Action::Drop) };
    let mut rig = Rig::new(settings(Action::Allow, vec![deny]));
    for odd in [SYN | FIN, SYN | RST] {
        let packet = seg(at("198.51.100.7:2000"), at("10.0.0.5:3306"), odd, 1000, 1, b"");
        rig.send(OUT, &packet).refused(Refused::NoConnection);
    }
}

#[test]
fn refusals_are_told_once_a_second_with_their_number() {
    let mut rig = Rig::new(settings(Action::Drop, vec![]));
    for port in 0..5 {
        rig.send(OUT, &syn(&format!("198.51.100.7:{}", 2000 + port), "10.0.0.5:22")).refused(Refused::Policy);
    }
    let first = rig.events();
    assert!(
        matches!(&first[..], [What::Firewall { rule, count: 1, action: "dropped", from: "outside", protocol: 6, source, .. }]
        if rule == "default" && source.port() == 2000),
        "{first:?}"
    );
    rig.wait(Duration::from_millis(1500));
    let rest = rig.events();
    assert!(
        matches!(&rest[..], [What::Firewall { count: 4, source, destination, .. }]
        if source.port() == 2004 && *destination == at("10.0.0.5:22")),
        "{rest:?}"
    );
    rig.wait(Duration::from_secs(5));
    assert!(rig.events().is_empty());
    assert_eq!(rig.count("rule:default"), 5);
    rig.is_empty();
}

#[test]
fn answers_to_what_is_rejected_are_paced_and_never_go_to_a_crowd() {
    let mut rig = Rig::new(settings(Action::Reject, vec![]));
    let answers = (0..500).filter(|n| {
        let got = rig.send(OUT, &syn(&format!("198.51.100.7:{}", 2000 + n), "10.0.0.5:22"));
        !got.out.is_empty()
    });
    assert_eq!(answers.count(), 50);
    rig.wait(Duration::from_secs(10));
    for (s, d) in [
        ("10.0.0.5:53", "224.0.0.251:53"),
        ("10.0.0.5:53", "255.255.255.255:53"),
        ("[fe80::1]:53", "[ff02::fb]:53"),
    ] {
        rig.send(OUT, &udp(at(s), at(d), b"x")).refused(Refused::Policy);
    }
}

#[test]
fn neighbour_discovery_crosses_a_bridge_and_no_router() {
    let mut solicitation = echo("fe80::1", "ff02::1:ff00:5", 0, false);
    (solicitation[7], solicitation[40]) = (255, 135);
    let fix = |b: &mut Vec<u8>| {
        b[42..44].fill(0);
        let head = [&b[8..40], &(b.len() as u32 - 40).to_be_bytes(), &[0, 0, 0, 58]].concat();
        let mut sum: u32 = head
            .iter()
            .chain(&b[40..])
            .enumerate()
            .map(|(i, v)| u32::from(*v) << if i % 2 == 0 { 8 } else { 0 })
            .sum();
        while sum > 0xFFFF {
            sum = (sum & 0xFFFF) + (sum >> 16);
        }
        b[42..44].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    };
    fix(&mut solicitation);
    let mut rig = Rig::new(settings(Action::Drop, vec![]));
    assert_eq!(rig.send(OUT, &solicitation).passed(IN), solicitation);
    // One that was passed on before is of no link.
    let mut far = solicitation.clone();
    far[7] = 254;
    rig.send(OUT, &far).refused(Refused::Policy);
    let mut rig = Rig::new(tidegate::firewall::Settings { hop: true, ..settings(Action::Drop, vec![]) });
    rig.send(OUT, &solicitation).refused(Refused::Policy);
}
