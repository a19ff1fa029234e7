//! TCP connections: how they stand, end, rest and are forgotten.

use crate::support::*;
use std::net::SocketAddr;
use tidegate::firewall::{Action, Fate, Refused, Settings};
use tidegate::time::Duration;

const CLIENT: &str = "10.0.0.5:40000";
const SERVER: &str = "198.51.100.7:80";

fn rig() -> Rig {
    Rig::new(settings(Action::Drop, vec![outward()]))
}

fn up(flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    seg(at(CLIENT), at(SERVER), flags, seq, ack, b"")
}

fn down(flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    seg(at(SERVER), at(CLIENT), flags, seq, ack, b"")
}

/// Whether the connection is known: an unknown one's segment does not pass.
fn is_known(rig: &mut Rig) -> bool {
    rig.send(OUT, &down(ACK, 5001, 1001)).fate == Fate::Forward
}

fn close(rig: &mut Rig) {
    rig.send(IN, &up(FIN | ACK, 1001, 5001)).passed(OUT);
    rig.send(OUT, &down(FIN | ACK, 5001, 1002)).passed(IN);
    rig.send(IN, &up(ACK, 1002, 5002)).passed(OUT);
}

#[test]
fn a_closed_connection_rests_two_minutes_and_is_forgotten() {
    let mut rig = rig();
    rig.open(IN, CLIENT, SERVER);
    close(&mut rig);
    rig.wait(Duration::from_secs(115));
    assert!(is_known(&mut rig), "late segments are still its");
    rig.wait(Duration::from_secs(6));
    assert!(!is_known(&mut rig));
    rig.is_empty();
}

#[test]
fn an_open_connection_may_be_silent_for_two_hours() {
    let mut rig = rig();
    rig.open(IN, CLIENT, SERVER);
    rig.wait(Duration::from_secs(7400));
    assert!(is_known(&mut rig));
    rig.wait(Duration::from_secs(7400));
    assert!(is_known(&mut rig), "a segment gave it new time");
    rig.wait(Duration::from_secs(7500));
    assert!(!is_known(&mut rig));
    rig.is_empty();
}

#[test]
fn what_is_half_open_or_half_closed_waits_four_minutes() {
    let mut half = rig();
    half.send(IN, &up(SYN, 1000, 0)).passed(OUT);
    half.wait(Duration::from_secs(245));
    half.is_empty();
    let mut half = rig();
    half.open(IN, CLIENT, SERVER);
    half.send(IN, &up(FIN | ACK, 1001, 5001)).passed(OUT);
    half.wait(Duration::from_secs(230));
    assert!(is_known(&mut half), "the other half goes on");
    half.wait(Duration::from_secs(230));
    assert!(is_known(&mut half), "and each segment gives it time");
    half.wait(Duration::from_secs(250));
    assert!(!is_known(&mut half));
}

#[test]
fn a_syn_that_is_said_again_is_the_same_connection_and_another_is_another() {
    let mut rig = rig();
    for _ in 0..3 {
        rig.send(IN, &up(SYN, 1000, 0)).passed(OUT);
    }
    assert_eq!((rig.count("connections"), rig.flows.len()), (1, 2));
    // Who gave up and begins anew says another number.
    rig.send(IN, &up(SYN, 900_000_000, 0)).passed(OUT);
    assert_eq!((rig.count("connections"), rig.flows.len()), (2, 2));
}

#[test]
fn a_new_syn_after_the_end_opens_anew_and_is_asked_about_anew() {
    let mut rig = rig();
    rig.open(IN, CLIENT, SERVER);
    close(&mut rig);
    rig.open(IN, CLIENT, SERVER);
    assert_eq!((rig.count("connections"), rig.count("rule:outward"), rig.flows.len()), (2, 2, 2));
    // The other end may not.
    close(&mut rig);
    rig.send(OUT, &down(SYN, 77, 0)).refused(Refused::Policy);
}

#[test]
fn a_syn_within_an_open_connection_is_for_its_receiver_to_judge() {
    let mut rig = rig();
    rig.open(IN, CLIENT, SERVER);
    let again = up(SYN, 400_000, 0);
    assert_eq!(rig.send(IN, &again).passed(OUT), again);
    assert!(is_known(&mut rig));
    assert_eq!(rig.count("connections"), 1);
}

#[test]
fn after_a_reset_whose_number_may_be_right_silence_ends_a_connection() {
    for (seq, ends) in [(1001, true), (1001 + 4000, true), (1001 + (1 << 24), false), (3_000_000_000, false)]
    {
        let mut rig = rig();
        rig.open(IN, CLIENT, SERVER);
        let reset = up(RST, seq, 0);
        assert_eq!(rig.send(IN, &reset).passed(OUT), reset, "who gets it judges it");
        rig.wait(Duration::from_secs(4));
        // What ended makes room for another from inside.
        rig.send(IN, &up(SYN, 70_000, 0)).passed(OUT);
        assert_eq!(rig.count("connections"), if ends { 2 } else { 1 }, "{seq}");
    }
}

#[test]
fn a_reset_and_silence_leave_four_minutes() {
    let mut rig = rig();
    rig.open(IN, CLIENT, SERVER);
    // It may have been silent for long before.
    rig.wait(Duration::from_secs(1000));
    rig.send(OUT, &down(RST, 5001, 0)).passed(IN);
    rig.wait(Duration::from_secs(235));
    assert_eq!(rig.in_use("connections"), 1);
    rig.wait(Duration::from_secs(10));
    rig.is_empty();
}

#[test]
fn what_is_said_after_a_reset_takes_it_back() {
    let mut rig = rig();
    rig.open(IN, CLIENT, SERVER);
    for (n, off) in [0, 1_000, 1 << 30].into_iter().enumerate() {
        // Anybody can say in an end's name where it is, and then that it resets.
        rig.send(IN, &up(ACK, 1001 + off, 5001)).passed(OUT);
        rig.wait(Duration::from_millis(200));
        for _ in 0..3 {
            rig.send(IN, &up(RST, 1001 + off, 0)).passed(OUT);
        }
        rig.wait(Duration::from_millis(200));
        // A SYN as well is for its receiver to judge.
        if n == 1 {
            rig.send(IN, &up(SYN, 70_000, 0)).passed(OUT);
        }
        rig.send(OUT, &down(ACK, 5001, 1001)).passed(IN);
        rig.wait(Duration::from_secs(4));
        rig.send(IN, &up(SYN, 70_000, 0)).passed(OUT);
        assert_eq!(rig.count("connections"), 1);
        rig.wait(Duration::from_secs(7000));
        assert!(is_known(&mut rig), "{off}");
    }
}

#[test]
fn so_does_what_is_said_in_the_same_moment() {
    for by_receiver in [true, false] {
        let mut rig = rig();
        rig.open(IN, CLIENT, SERVER);
        rig.send(IN, &up(RST, 1001, 0)).passed(OUT);
        if by_receiver {
            rig.send(OUT, &down(ACK, 5001, 1001)).passed(IN);
        } else {
            rig.send(IN, &up(ACK, 1001, 5001)).passed(OUT);
        }
        rig.wait(Duration::from_secs(4));
        rig.send(IN, &up(SYN, 70_000, 0)).passed(OUT);
        assert_eq!(rig.count("connections"), 1, "it is for its receiver to judge");
        rig.wait(Duration::from_secs(7000));
        assert!(is_known(&mut rig), "{by_receiver}");
    }
}

#[test]
fn a_full_table_takes_what_is_silent_since_its_reset() {
    let mut rig = Rig::with_table(settings(Action::Drop, vec![outward()]), 64);
    let client = |n: usize| at(&format!("10.0.{n}.5:30000"));
    for n in 0..24 {
        rig.open(IN, &client(n).to_string(), SERVER);
    }
    for n in 0..2 {
        rig.send(IN, &seg(client(n), at(SERVER), RST, 1001, 0, b"")).passed(OUT);
    }
    rig.wait(Duration::from_secs(1));
    rig.send(OUT, &seg(at(SERVER), client(0), ACK, 5001, 1001, b"")).passed(IN);
    rig.send(IN, &syn("10.1.0.1:20000", SERVER)).refused(Refused::Full);
    rig.wait(Duration::from_secs(3));
    rig.open(IN, "10.1.0.1:20000", SERVER);
    rig.wait(Duration::from_secs(4));
    rig.send(IN, &syn("10.1.0.2:20000", SERVER)).refused(Refused::Full);
    for n in (0..24).filter(|n| *n != 1) {
        rig.send(OUT, &seg(at(SERVER), client(n), ACK, 5001, 1001, b"")).passed(IN);
    }
}

#[test]
fn a_reset_that_its_receiver_will_not_believe_ends_nothing() {
    let mut rig = rig();
    rig.open(IN, CLIENT, SERVER);
    let mut bad = up(RST, 1001, 0);
    bad[37] ^= 0xFF;
    let mut frame = tidegate::buf::Frame::from_bytes(&bad).unwrap();
    let ip = tidegate::wire::parse_ip(&bad, 0).unwrap();
    let now = rig.now;
    assert_eq!(rig.fw.packet(now, IN, 7, &mut frame, &ip, &mut vec![]), Fate::Forward);
    rig.wait(Duration::from_secs(4));
    rig.send(IN, &up(SYN, 70_000, 0)).passed(OUT);
    assert_eq!(rig.count("connections"), 1);
}

#[test]
fn a_refused_connection_is_over_if_the_refusal_is_about_its_syn() {
    for (flags, ack, over) in [(RST | ACK, 1001, true), (RST | ACK, 1002, false), (RST, 0, false)] {
        let mut rig = rig();
        rig.send(IN, &up(SYN, 1000, 0)).passed(OUT);
        rig.send(OUT, &down(flags, 0, ack)).passed(IN);
        rig.send(IN, &up(SYN, 1000, 0)).passed(OUT);
        assert_eq!(rig.count("connections"), if over { 2 } else { 1 }, "{flags:02x} {ack}");
    }
}

#[test]
fn two_ends_that_open_at_once_have_one_connection() {
    let mut rig = rig();
    rig.send(IN, &up(SYN, 1000, 0)).passed(OUT);
    rig.send(OUT, &down(SYN, 5000, 0)).passed(IN);
    rig.send(IN, &up(SYN | ACK, 1000, 5001)).passed(OUT);
    rig.send(OUT, &down(SYN | ACK, 5000, 1001)).passed(IN);
    rig.send(IN, &up(ACK, 1001, 5001)).passed(OUT);
    rig.wait(Duration::from_secs(1000));
    assert!(is_known(&mut rig), "it is an open one");
    assert_eq!(rig.count("connections"), 1);
}

#[test]
fn a_full_table_takes_first_what_is_over_then_what_nobody_answered_and_never_what_lives() {
    let mut rig = Rig::with_table(settings(Action::Drop, vec![outward()]), 64);
    let limit = rig.flows.capacity() / 4;
    let client = |n: usize| format!("10.0.{n}.5:30000");
    for n in 0..limit {
        rig.open(IN, &client(n), SERVER);
    }
    let full = rig.send(IN, &syn("10.1.0.5:20000", SERVER));
    full.refused(Refused::Full);
    assert_eq!(rig.count("connections_table_full"), 1);
    // One closes: there is place for one.
    let (src, dst) = (at(&client(3)), at(SERVER));
    rig.send(IN, &seg(src, dst, FIN | ACK, 1001, 5001, b"")).passed(OUT);
    rig.send(OUT, &seg(dst, src, FIN | ACK, 5001, 1002, b"")).passed(IN);
    rig.send(IN, &syn("10.1.0.5:20000", SERVER)).passed(OUT);
    rig.send(IN, &syn("10.1.1.5:20001", SERVER)).refused(Refused::Full);
    // That one is never answered; it is old enough now to give way.
    rig.wait(Duration::from_secs(4));
    rig.send(IN, &syn("10.1.1.5:20001", SERVER)).passed(OUT);
    rig.send(IN, &syn("10.1.2.5:20002", SERVER)).refused(Refused::Full);
    assert_eq!(rig.count("connections_gave_way"), 2);
    for n in (0..limit).filter(|n| *n != 3) {
        rig.send(IN, &seg(at(&client(n)), dst, ACK, 1001, 5001, b"x")).passed(OUT);
    }
}

#[test]
fn where_all_is_allowed_a_full_table_keeps_nobody_out() {
    let mut rig = Rig::with_table(settings(Action::Allow, vec![]), 64);
    for n in 0..100 {
        rig.open(IN, &format!("10.0.{n}.5:30000"), SERVER);
    }
    assert_eq!((rig.count("connections"), rig.count("connections_table_full")), (24, 76));
}

#[test]
fn the_two_crossings_of_a_bridge_do_not_meet() {
    // A router on a stick: what left by the outside comes back there, in the same direction.
    let mut rig = Rig::new(settings(Action::Drop, vec![rule("all", Action::Allow)]));
    rig.open(IN, CLIENT, SERVER);
    rig.open(OUT, CLIENT, SERVER);
    assert_eq!((rig.count("connections"), rig.flows.len()), (2, 4));
    rig.send(IN, &up(ACK, 1001, 5001)).passed(OUT);
    rig.send(OUT, &up(ACK, 1001, 5001)).passed(IN);
    rig.send(OUT, &down(ACK, 5001, 1001)).passed(IN);
    rig.send(IN, &down(ACK, 5001, 1001)).passed(OUT);
}

#[test]
fn a_hop_counts_and_nothing_else_changes() {
    let mut rig = Rig::new(Settings { hop: true, ..settings(Action::Allow, vec![]) });
    for (s, d) in [(CLIENT, SERVER), ("[2001:db8:1::5]:40000", "[2001:db8:2::7]:80")] {
        for packet in [syn(s, d), udp(at(s), at(d), b"x"), seg(at(d), at(s), ACK, 1, 1, b"y")] {
            let mut got = rig.send(IN, &packet).passed(OUT);
            let ttl = if at(s).is_ipv4() { 8 } else { 7 };
            assert_eq!(got[ttl], 63);
            got[ttl] = 64;
            if at(s).is_ipv4() {
                got[10..12].copy_from_slice(&packet[10..12]);
            }
            assert_eq!(got, packet);
        }
    }
}

#[test]
fn tables_are_empty_when_all_is_over_and_bounded_whatever_comes() {
    let mut s = settings(Action::Drop, vec![outward()]);
    s.limits.connections = 50;
    let mut rig = Rig::with_table(s, 128);
    for n in 0..5000u32 {
        let src = SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 1024 + (n % 7) as u16));
        let _ = rig.send(IN, &seg(src, at(SERVER), SYN, n, 0, b""));
        let _ = rig.send(IN, &udp(src, at("198.51.100.7:53"), b"x"));
    }
    assert!(rig.flows.len() <= rig.flows.capacity());
    assert!(rig.in_use("connections other than TCP") <= 50);
    assert!(rig.count("connections_table_full") > 4000);
    rig.wait(Duration::from_secs(10_000));
    rig.is_empty();
}
