//! The forms that captures come in: other ports, tunnels, two places, halves.

use crate::tape::{Shot, Tape, Wire, check, explain};
use tidegate::explain::{Explainer, Frame, Report, Settings};
use tidegate::wire::{build, eth, gre::Redirect};

const PASV: &str = "227 Entering Passive Mode (198,51,100,7,200,10)";

/// A session that works, with its server on this port.
fn session(port: u16) -> Tape {
    let mut t = Tape::new();
    let mut w = t.login_of("203.0.113.9:40001", &format!("198.51.100.7:{port}"));
    t.ask(&mut w, "PASV", PASV);
    t.transfer(&mut w, &mut Wire::new("203.0.113.9:40002", "198.51.100.7:51210"), 1, "RETR down");
    t.ask(&mut w, "QUIT", "221 Bye");
    t.close(&mut w, 1);
    t
}

/// The same, whatever was around its packets.
fn same(got: &Report) {
    check(got);
    assert_eq!((got.sessions.len(), got.failed), (1, 0), "{got:#?}");
    let s = &got.sessions[0];
    let t = &s.transfers[0];
    assert_eq!((s.commands, s.replies, t.outcome), (5, 7, "done"));
    assert_eq!(t.data.as_ref().unwrap().to_client, 3000);
}

#[test]
fn any_port_by_the_greeting() {
    let t = session(2200);
    same(&t.explain());
    same(&explain(&t.shots, &["a"], &[2200]));
    // Without the greeting only --port tells.
    let middle = &t.shots[6..];
    assert_eq!(explain(middle, &["a"], &[21]).sessions.len(), 0);
    assert_eq!(explain(middle, &["a"], &[2200]).sessions.len(), 1);
}

#[test]
fn what_greets_alike_is_not_ftp() {
    let mut t = Tape::new();
    let mut w = Wire::new("203.0.113.9:40001", "198.51.100.7:25");
    t.open(&mut w);
    t.say(&mut w, 1, "220 mail.example ESMTP\r\n");
    t.say(&mut w, 0, "EHLO me\r\n");
    t.say(&mut w, 1, "250 Hello\r\n");
    let mut web = Wire::new("203.0.113.9:40002", "198.51.100.7:21");
    t.open(&mut web);
    t.say(&mut web, 0, "POST / HTTP/1.1\r\nPORT 10,0,0,5,13,61\r\n");
    let report = t.explain();
    assert_eq!((report.sessions.len(), report.failed), (0, 0), "{report:#?}");
}

#[test]
fn in_vlans_and_tunnels() {
    let t = session(21);
    let wrap = |packet: &[u8]| {
        let mut gre = vec![0; tidegate::wire::gre::OVERHEAD];
        gre.extend(packet);
        let ends = ("10.9.0.1".parse().unwrap(), "10.9.0.2".parse().unwrap());
        build::gre_v4(&mut gre, ends.0, ends.1, 7, Redirect([1, 61, 0, 0]));
        gre
    };
    let plain_gre = |packet: &[u8]| {
        let mut gre = wrap(packet);
        // Protocol IPv4, no redirect header, and a key instead of it.
        gre[20..28].copy_from_slice(&[0x20, 0, 0x08, 0, 0, 0, 0, 42]);
        gre
    };
    let tagged = |packet: &[u8]| [&[0, 100, 0x81, 0, 0, 7, 0x08, 0], packet].concat();
    type Form<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
    let forms: [(u16, Form<'_>); 4] = [
        (eth::TYPE_IPV4, &wrap),
        (eth::TYPE_IPV4, &plain_gre),
        (eth::TYPE_QINQ, &tagged),
        (eth::TYPE_QINQ, &|p| tagged(&plain_gre(p))),
    ];
    for (ethertype, form) in forms {
        let mut e =
            Explainer::new(Settings { names: vec!["a".into()], ports: vec![21], show_secrets: false });
        for (n, shot) in t.shots.iter().enumerate() {
            e.frame(&Frame {
                file: 0,
                number: n as u64 + 1,
                interface: 0,
                at_nanos: shot.at,
                ethertype,
                packet: &form(&shot.packet),
                missing: 0,
            });
        }
        same(&e.finish());
    }
}

#[test]
fn the_same_packet_at_two_places_counts_once() {
    let t = session(21);
    // Behind a router, a millisecond later, in another file.
    let hop = |s: &Shot| {
        let mut packet = s.packet.clone();
        packet[8] -= 1;
        build::finish(&mut packet);
        Shot { at: s.at + 1_000_000, packet, missing: 0, file: 1 }
    };
    let mut both: Vec<Shot> = t.shots.iter().flat_map(|s| [s.clone(), hop(s)]).collect();
    both.sort_by_key(|s| s.at);
    let report = explain(&both, &["near", "far"], &[21]);
    same(&report);
    assert_eq!(report.copies, t.frames());
    assert_eq!(report.sessions[0].transfers[0].data.as_ref().unwrap().repeated, 0);
    // And in one file, as `-i any` has them: the very same bytes twice.
    let mut both: Vec<Shot> = t.shots.clone();
    both.extend(t.shots.iter().map(|s| Shot { at: s.at + 20_000, ..s.clone() }));
    both.sort_by_key(|s| s.at);
    let report = explain(&both, &["any"], &[21]);
    same(&report);
    assert_eq!(report.copies, t.frames());
    // A SYN that is dropped between the two places was sent three times, not six, nor once.
    let mut dropped = Tape::new();
    let mut w = dropped.login();
    dropped.ask(&mut w, "PASV", PASV);
    for _ in 0..3 {
        dropped.syn(&Wire::new("203.0.113.9:40002", "198.51.100.7:51210"));
        dropped.wait(1.0);
    }
    let mut both: Vec<Shot> = dropped.shots.iter().flat_map(|s| [s.clone(), hop(s)]).collect();
    both.sort_by_key(|s| s.at);
    let report = explain(&both, &["near", "far"], &[21]);
    let cause = report.sessions[0].transfers[0].cause.clone().unwrap();
    assert!(cause.code == "syn_dropped" && cause.text.contains("sent 3 times"), "{cause:?}");
}

#[test]
fn from_the_middle_of_a_session() {
    let t = session(21);
    // From the PASV on.
    let report = explain(&t.shots[11..], &["a"], &[21]);
    check(&report);
    let s = &report.sessions[0];
    assert!(s.from_the_middle && s.remarks[0].contains("begun before the capture"), "{s:#?}");
    assert_eq!((s.commands, s.transfers[0].outcome, s.transfers[0].verb), (3, "done", Some("RETR")));
    assert_eq!(s.client.port(), 40001);
    // From the middle of the data connection on: nothing can be said about the announcement.
    for from in 0..t.shots.len() {
        let report = explain(&t.shots[from..], &["a"], &[21]);
        check(&report);
        assert_eq!(report.failed, 0, "from {from}: {report:#?}");
    }
}

#[test]
fn cut_off_anywhere_a_good_session_shows_no_failure() {
    let t = session(21);
    for to in 0..t.shots.len() {
        let report = explain(&t.shots[..to], &["a"], &[21]);
        check(&report);
        assert_eq!(report.failed, 0, "to {to}: {report:#?}");
    }
}

#[test]
fn one_side_only() {
    let t = session(21);
    let client = |s: &&Shot| s.packet[12..16] == [203, 0, 113, 9];
    let mine: Vec<Shot> = t.shots.iter().filter(client).cloned().collect();
    let report = explain(&mine, &["a"], &[21]);
    check(&report);
    let s = &report.sessions[0];
    assert_eq!((s.commands, s.replies, s.one_sided), (5, 0, Some("client")));
    let retr = s.transfers.iter().find(|t| t.verb == Some("RETR")).unwrap();
    assert_eq!((retr.outcome, retr.cause.as_ref().unwrap().code.as_str()), ("unknown", "one_side_only"));
    let theirs: Vec<Shot> = t.shots.iter().filter(|s| !client(s)).cloned().collect();
    let report = explain(&theirs, &["a"], &[21]);
    check(&report);
    let s = &report.sessions[0];
    assert_eq!((s.commands, s.replies, s.one_sided), (0, 7, Some("server")));
    assert_eq!((s.client.port(), report.failed), (40001, 0));
    assert_eq!((s.transfers[0].outcome, s.transfers[0].reply), ("done", Some(226)));
    assert_eq!(s.transfers[0].data.as_ref().unwrap().to_client, 3000);
}

#[test]
fn two_sessions_on_the_same_numbers_one_after_the_other() {
    let mut first = session(21);
    let mut second = session(21);
    for shot in &mut second.shots {
        shot.at += 100_000_000_000;
        // Another first sequence number at both ends.
        let from_client = shot.packet[12..16] == [203, 0, 113, 9];
        for (at, client) in [(24, from_client), (28, !from_client)] {
            let n = u32::from_be_bytes(shot.packet[at..at + 4].try_into().unwrap());
            let more = if client { 1_000_000_007 } else { 2_000_000_011 };
            if n != 0 || at == 24 {
                shot.packet[at..at + 4].copy_from_slice(&n.wrapping_add(more).to_be_bytes());
            }
        }
        build::finish(&mut shot.packet);
    }
    first.shots.extend(second.shots);
    let report = first.explain();
    check(&report);
    assert_eq!((report.sessions.len(), report.failed), (2, 0), "{report:#?}");
    for s in &report.sessions {
        assert_eq!((s.commands, s.transfers[0].data.as_ref().unwrap().to_client), (5, 3000));
    }
}

#[test]
fn an_offloaded_packet_has_no_length_yet() {
    let mut t = session(21);
    for shot in &mut t.shots {
        // The total length, and the header's checksum, are left to the card.
        shot.packet[2..4].fill(0);
        shot.packet[10..12].fill(0);
    }
    same(&t.explain());
}
