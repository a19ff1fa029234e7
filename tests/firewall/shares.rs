//! Tables that all share: nobody fills one for the others, and what nobody answered gives way.

use crate::support::*;
use std::net::SocketAddr;
use tidegate::firewall::{Action, Fate, Refused};
use tidegate::time::Duration;

const DNS: &str = "198.51.100.7:53";
const WEB: &str = "198.51.100.7:80";

fn host(n: usize, port: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], port as u16))
}

/// A firewall with room for 64 connections that are not TCP, and for 24 that are.
fn rig() -> Rig {
    let mut s = settings(Action::Drop, vec![outward()]);
    s.limits.connections = 64;
    Rig::with_table(s, 64)
}

fn asks(rig: &mut Rig, src: SocketAddr) -> Fate {
    rig.send(IN, &udp(src, at(DNS), b"?")).fate
}

fn is_answered(rig: &mut Rig, src: SocketAddr) -> bool {
    rig.send(OUT, &udp(at(DNS), src, b"!")).fate == Fate::Forward
}

#[test]
fn a_host_that_is_answered_much_leaves_room_for_others() {
    let mut rig = rig();
    for n in 0..200 {
        let src = host(1, 1024 + n);
        let fate = asks(&mut rig, src);
        assert_eq!(fate, if n < 56 { Fate::Forward } else { Fate::Refuse(Refused::Share) }, "{n}");
        assert_eq!(is_answered(&mut rig, src), n < 56);
    }
    assert_eq!((rig.count("connections_over_share"), rig.count("connections_table_full")), (144, 0));
    assert_eq!(asks(&mut rig, host(2, 1024)), Fate::Forward);
    assert!(is_answered(&mut rig, host(2, 1024)));
    rig.wait(Duration::from_secs(301));
    rig.is_empty();
}

#[test]
fn a_host_that_nobody_answers_takes_its_own_places_only() {
    let mut rig = rig();
    for n in 0..60 {
        assert_eq!(asks(&mut rig, host(1, 1024 + n)), Fate::Forward);
    }
    assert_eq!(asks(&mut rig, host(2, 1024)), Fate::Forward);
    for n in 0..5000 {
        asks(&mut rig, host(1, 2000 + n));
        assert!(rig.in_use("connections other than TCP") <= 64);
    }
    assert!(is_answered(&mut rig, host(2, 1024)), "it waited all the time");
    assert!(!is_answered(&mut rig, host(1, 1024)), "the flood's own first ones have gone");
}

#[test]
fn in_a_full_table_the_oldest_that_nobody_answered_gives_way() {
    let mut rig = rig();
    for n in 0..64 {
        assert_eq!(asks(&mut rig, host(n, 1024)), Fate::Forward);
        assert!(n % 2 == 0 || is_answered(&mut rig, host(n, 1024)));
    }
    for n in 0..32 {
        assert_eq!(asks(&mut rig, host(1000 + n, 1024)), Fate::Forward);
        assert!(is_answered(&mut rig, host(1000 + n, 1024)));
    }
    assert_eq!((rig.count("connections_gave_way"), rig.in_use("connections other than TCP")), (32, 64));
    for n in 0..64 {
        assert_eq!(is_answered(&mut rig, host(n, 1024)), n % 2 == 1, "{n}");
    }
    // All have been answered now.
    assert_eq!(asks(&mut rig, host(2000, 1024)), Fate::Refuse(Refused::Full));
    assert_eq!(rig.count("connections_table_full"), 1);
    rig.wait(Duration::from_secs(301));
    rig.is_empty();
}

#[test]
fn a_host_that_connects_much_leaves_room_for_others() {
    let mut rig = rig();
    for n in 0..21 {
        rig.open(IN, &host(1, 1024 + n).to_string(), WEB);
    }
    for n in 21..100 {
        rig.send(IN, &syn(&host(1, 1024 + n).to_string(), WEB)).refused(Refused::Share);
    }
    assert_eq!(rig.count("connections_over_share"), 79);
    rig.open(IN, &host(2, 1024).to_string(), WEB);
    // What is over is nobody's.
    let (src, dst) = (host(1, 1024), at(WEB));
    rig.send(IN, &seg(src, dst, FIN | ACK, 1001, 5001, b"")).passed(OUT);
    rig.send(OUT, &seg(dst, src, FIN | ACK, 5001, 1002, b"")).passed(IN);
    rig.open(IN, &host(1, 2000).to_string(), WEB);
    rig.wait(Duration::from_secs(20_000));
    rig.is_empty();
}

#[test]
fn handshakes_that_are_answered_and_never_completed_give_way() {
    let mut rig = rig();
    let hosts = 24;
    for n in 0..hosts {
        let src = host(n, 1024);
        if n % 2 == 0 {
            rig.open(IN, &src.to_string(), WEB);
            continue;
        }
        rig.send(IN, &seg(src, at(WEB), SYN, 1000, 0, b"")).passed(OUT);
    }
    rig.wait(Duration::from_secs(2));
    for n in (1..hosts).step_by(2) {
        rig.send(OUT, &seg(at(WEB), host(n, 1024), SYN | ACK, 5000, 1001, b"")).passed(IN);
    }
    // An answer gives them the time to say that they got it.
    rig.wait(Duration::from_secs(2));
    rig.send(IN, &syn("10.1.0.1:1024", WEB)).refused(Refused::Full);
    // One does, and another sends something at once.
    rig.send(IN, &seg(host(1, 1024), at(WEB), ACK, 1001, 5001, b"")).passed(OUT);
    rig.send(IN, &seg(host(3, 1024), at(WEB), ACK | PSH, 1001, 5001, b"GET")).passed(OUT);
    rig.wait(Duration::from_secs(2));
    for n in 0..10 {
        rig.open(IN, &format!("10.1.0.{n}:1024"), WEB);
    }
    assert_eq!(rig.count("connections_gave_way"), 10);
    rig.wait(Duration::from_secs(10));
    rig.send(IN, &syn("10.1.0.99:1024", WEB)).refused(Refused::Full);
    for n in (0..hosts).filter(|n| n % 2 == 0 || *n < 4) {
        rig.send(IN, &seg(host(n, 1024), at(WEB), ACK, 1001, 5001, b"x")).passed(OUT);
    }
}
