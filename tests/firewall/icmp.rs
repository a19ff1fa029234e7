//! ICMP errors go with the connection that they are about (RFC 5508 section 4, RFC 5927).

use crate::support::*;
use tidegate::firewall::{Action, Forward, Nat, Protocol, Refused, Settings, StaticNat};
use tidegate::wire::{parse_ip, parse_quoted};

const CLIENT: &str = "10.0.0.5:40000";
const SERVER: &str = "198.51.100.7:80";
const NAME: &str = "203.0.113.1:40000";
const ROUTER: &str = "192.0.2.254";

fn natted() -> Rig {
    Rig::new(Settings { nat: masquerade(), ..settings(Action::Drop, vec![outward()]) })
}

/// The packet that an error quotes, and who it goes from and to.
fn quoted(error: &[u8]) -> (std::net::IpAddr, std::net::IpAddr, Vec<u8>) {
    let ip = parse_ip(error, 0).unwrap();
    (ip.src, ip.dst, error[ip.l4 + 8..].to_vec())
}

#[test]
fn errors_about_translated_segments_reach_their_sender_as_about_its_own() {
    for (kind, rest) in [((3, 1), [0; 4]), ((3, 4), [0, 0, 5, 0]), ((11, 0), [0; 4]), ((12, 0), [0; 4])] {
        let mut rig = natted();
        rig.open(IN, CLIENT, SERVER);
        let sent = seg(at(CLIENT), at(SERVER), ACK, 1001, 5001, b"hello there");
        let left = rig.send(IN, &sent).passed(OUT);
        assert_eq!(ends(&left).0, at(NAME));
        // All of it, or no more than the eight bytes that RFC 792 asks for.
        for take in [1500, 28] {
            let got = rig.send(OUT, &error(ROUTER, kind, rest, &left, take)).passed(IN);
            let (from, to, quote) = quoted(&got);
            assert_eq!((from.to_string(), to), (ROUTER.to_owned(), at(CLIENT).ip()));
            assert_eq!(got[20..22], [kind.0, kind.1]);
            assert_eq!(got[24..28], rest);
            assert_eq!(quote, sent[..take.min(sent.len())], "as it was sent, checksums and all");
        }
        assert_eq!(rig.count("icmp_errors"), 2);
    }
}

#[test]
fn errors_about_datagrams_and_pings_do_so_too() {
    let mut rig = natted();
    let sent = [
        udp(at("10.0.0.5:5000"), at("198.51.100.7:53"), b"query"),
        echo("10.0.0.5", "198.51.100.7", 9, false),
    ];
    for packet in sent {
        // Somebody else has the port and the identifier already.
        let mut other = packet.clone();
        other[15] = 6;
        other[10..12].copy_from_slice(&[0; 2]);
        let sum = tidegate::wire::checksum::Sum::new().bytes(&other[..20]).checksum();
        other[10..12].copy_from_slice(&sum.to_be_bytes());
        if other[9] == 17 {
            other[26..28].fill(0);
        }
        rig.send(IN, &other).passed(OUT);
        let left = rig.send(IN, &packet).passed(OUT);
        assert_ne!(ends(&left).0.port(), ends(&packet).0.port());
        let got = rig.send(OUT, &error("198.51.100.7", (3, 3), [0; 4], &left, 1500)).passed(IN);
        let (_, to, quote) = quoted(&got);
        assert_eq!((to.to_string(), quote), ("10.0.0.5".to_owned(), packet));
    }
}

#[test]
fn errors_from_inside_do_not_show_inside_addresses() {
    let (inside, outside) = ("10.0.0.9:21".parse().unwrap(), "203.0.113.1:2121".parse().unwrap());
    let nat = Nat { forwards: vec![Forward { protocol: Protocol::Tcp, outside, inside }], ..masquerade() };
    let mut rig = Rig::new(Settings { nat, ..settings(Action::Drop, vec![rule("all", Action::Allow)]) });
    let sent = syn("198.51.100.7:1025", "203.0.113.1:2121");
    let left = rig.send(OUT, &sent).passed(IN);
    assert_eq!(ends(&left).1, at("10.0.0.9:21"));
    // The server itself, and a router before it.
    for from in ["10.0.0.9", "10.0.7.1"] {
        let got = rig.send(IN, &error(from, (3, 3), [0; 4], &left, 1500)).passed(OUT);
        let (from, to, quote) = quoted(&got);
        assert_eq!((from.to_string(), to.to_string()), ("203.0.113.1".to_owned(), "198.51.100.7".to_owned()));
        assert_eq!(quote, sent);
    }
}

#[test]
fn errors_of_one_to_one_translation_go_both_ways() {
    let (inside, outside) = ("10.0.0.9".parse().unwrap(), "203.0.113.9".parse().unwrap());
    let nat = Nat { one_to_one: vec![StaticNat { inside, outside }], ..Nat::default() };
    let mut rig = Rig::new(Settings { nat, ..settings(Action::Drop, vec![rule("all", Action::Allow)]) });
    let sent = syn("10.0.0.9:1025", SERVER);
    let left = rig.send(IN, &sent).passed(OUT);
    let got = rig.send(OUT, &error(ROUTER, (11, 0), [0; 4], &left, 1500)).passed(IN);
    assert_eq!(quoted(&got).2, sent);
    let sent = syn("198.51.100.7:1025", "203.0.113.9:22");
    let left = rig.send(OUT, &sent).passed(IN);
    let got = rig.send(IN, &error("10.0.0.9", (3, 13), [0; 4], &left, 1500)).passed(OUT);
    assert_eq!((quoted(&got).0.to_string(), quoted(&got).2), ("203.0.113.9".to_owned(), sent));
}

#[test]
fn where_nothing_is_translated_errors_of_both_families_pass_unchanged() {
    for (client, server, router, kind) in [
        (CLIENT, SERVER, ROUTER, (3, 4)),
        ("[2001:db8:1::5]:40000", "[2001:db8:2::7]:80", "2001:db8:3::1", (2, 0)),
    ] {
        let mut rig = Rig::new(settings(Action::Drop, vec![outward()]));
        rig.open(IN, client, server);
        let sent = seg(at(client), at(server), ACK, 1001, 5001, b"hello there");
        let it = error(router, kind, [0, 0, 5, 0], &sent, 1500);
        assert_eq!(rig.send(OUT, &it).passed(IN), it);
        // The other way as well, and about what is not TCP.
        let answer = seg(at(server), at(client), ACK, 5001, 1001, b"hello");
        let it = error(&at(client).ip().to_string(), kind, [0, 0, 5, 0], &answer, 1500);
        assert_eq!(rig.send(IN, &it).passed(OUT), it);
        let datagram = udp(at(client), at(server), b"x");
        rig.send(IN, &datagram).passed(OUT);
        let it = error(router, kind, [0, 0, 5, 0], &datagram, 1500);
        assert_eq!(rig.send(OUT, &it).passed(IN), it);
    }
}

#[test]
fn what_nobody_sent_brings_no_error_in() {
    let mut rig = natted();
    rig.open(IN, CLIENT, SERVER);
    let forged = [
        // Of other ports, another remote end, in the other direction, to somebody else.
        seg(at("203.0.113.1:40001"), at(SERVER), ACK, 1001, 5001, b"x"),
        seg(at(NAME), at("198.51.100.8:80"), ACK, 1001, 5001, b"x"),
        seg(at(SERVER), at(NAME), ACK, 5001, 1001, b"x"),
        seg(at(CLIENT), at(SERVER), ACK, 1001, 5001, b"x"),
        udp(at(NAME), at(SERVER), b"x"),
        echo("203.0.113.1", "198.51.100.7", 7, false),
    ];
    for packet in &forged {
        rig.send(OUT, &error(ROUTER, (3, 1), [0; 4], packet, 1500)).refused(Refused::NoConnection);
    }
    // It quotes what was sent, and is addressed to another.
    let right = seg(at(NAME), at(SERVER), ACK, 1001, 5001, b"x");
    let mut astray = error(ROUTER, (3, 1), [0; 4], &right, 1500);
    astray[19] = 2;
    astray[10..12].fill(0);
    let sum = tidegate::wire::checksum::Sum::new().bytes(&astray[..20]).checksum();
    astray[10..12].copy_from_slice(&sum.to_be_bytes());
    rig.send(OUT, &astray).refused(Refused::NoConnection);
    // Cut off within the ports.
    rig.send(OUT, &error(ROUTER, (3, 1), [0; 4], &right, 22)).refused(Refused::NoConnection);
    rig.send(OUT, &error(ROUTER, (3, 1), [0; 4], &right, 1500)).passed(IN);
}

#[test]
fn under_allow_strange_errors_pass_where_nothing_is_translated() {
    let strange = error(ROUTER, (3, 1), [0; 4], &syn(CLIENT, SERVER), 1500);
    let mut open = Rig::new(settings(Action::Allow, vec![]));
    assert_eq!(open.send(OUT, &strange).passed(IN), strange);
    let mut natted = Rig::new(Settings { nat: masquerade(), ..settings(Action::Allow, vec![]) });
    natted.send(OUT, &strange).refused(Refused::NoConnection);
}

#[test]
fn a_redirect_is_for_its_own_link_only() {
    let redirect = |rig: &mut Rig| {
        rig.open(IN, CLIENT, SERVER);
        let sent = seg(at(CLIENT), at(SERVER), ACK, 1001, 5001, b"x");
        rig.send(OUT, &error(ROUTER, (5, 1), [192, 0, 2, 9], &sent, 1500))
    };
    redirect(&mut Rig::new(settings(Action::Drop, vec![outward()]))).passed(IN);
    let hop = Settings { hop: true, ..settings(Action::Drop, vec![outward()]) };
    redirect(&mut Rig::new(hop)).refused(Refused::Policy);
}

#[test]
fn quotations_are_parsed_as_far_as_they_go() {
    let sent = syn(CLIENT, SERVER);
    let it = error(ROUTER, (3, 1), [0; 4], &sent, 1500);
    let mut rig = natted();
    for cut in 28..it.len() {
        let mut short = it[..cut].to_vec();
        short[2..4].copy_from_slice(&(cut as u16).to_be_bytes());
        short[10..12].fill(0);
        let sum = tidegate::wire::checksum::Sum::new().bytes(&short[..20]).checksum();
        short[10..12].copy_from_slice(&sum.to_be_bytes());
        assert!(parse_quoted(&short, 28, cut).is_none_or(|q| q.end == cut));
        rig.send(OUT, &short).refused(Refused::NoConnection);
    }
}
