//! Nothing that a capture holds makes it panic, hang, or grow.

use crate::tape::{Shot, Tape, Wire, check, explain};
use proptest::prelude::*;
use tidegate::explain::{Explainer, Frame, Settings, Style, human};
use tidegate::wire::eth;

fn sample() -> Tape {
    let mut t = Tape::new();
    let mut w = t.login();
    t.ask(&mut w, "PASV", "227 Entering Passive Mode (198,51,100,7,200,10)");
    let mut d = Wire::new("203.0.113.9:40002", "198.51.100.7:51210");
    t.transfer(&mut w, &mut d, 1, "RETR down");
    t.ask(&mut w, "PORT 203,0,113,9,200,11", "200 Fine");
    t.syn(&Wire::new("198.51.100.7:20", "203.0.113.9:51211"));
    t.ask(&mut w, "LIST", "425 No.");
    t.say(&mut w, 0, b"\xff\xf4\xff\xf2ABOR\r\n");
    t.close(&mut w, 0);
    t
}

fn told(shots: &[Shot]) {
    let report = explain(shots, &["a", "b"], &[21]);
    check(&report);
    let text = human(&report, Style { colour: true, columns: Some(80) });
    assert!(!text.is_empty() && serde_json::to_string(&report).is_ok());
}

proptest! {
    // Eight times PROPTEST_CASES, 2048 if that is not set.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases * 8))]

    #[test]
    fn random_frames(frames in proptest::collection::vec(
        (any::<u16>(), proptest::collection::vec(any::<u8>(), 0..120), 0usize..2000, any::<u64>()), 0..20)) {
        let mut e = Explainer::new(Settings { names: vec!["a".into()], ports: vec![21], show_secrets: true });
        for (n, (kind, packet, missing, at_nanos)) in frames.iter().enumerate() {
            let types = [eth::TYPE_IPV4, eth::TYPE_IPV6, eth::TYPE_VLAN, *kind];
            let ethertype = types[usize::from(kind % 4)];
            e.frame(&Frame { file: kind % 3, number: n as u64, interface: 0, at_nanos: *at_nanos, ethertype, packet, missing: *missing });
        }
        let report = e.finish();
        check(&report);
        let text = human(&report, Style { colour: false, columns: None });
        prop_assert!(text.ends_with("failed\n"));
    }

    #[test]
    fn mutated_captures(changes in proptest::collection::vec((any::<usize>(), any::<usize>(), any::<u8>()), 1..40),
                        swaps in proptest::collection::vec((any::<usize>(), any::<usize>()), 0..10),
                        cuts in proptest::collection::vec((any::<usize>(), any::<usize>(), any::<bool>()), 0..10)) {
        let mut t = sample();
        let n = t.shots.len();
        for (frame, at, value) in changes {
            let packet = &mut t.shots[frame % n].packet;
            let at = at % packet.len();
            packet[at] = value;
            // Header checksums stay right, or most would be left out at once.
            if packet.len() >= 20 {
                packet[10..12].fill(0);
            }
        }
        for (a, b) in swaps {
            t.shots.swap(a % n, b % n);
        }
        for (frame, to, told) in cuts {
            let shot = &mut t.shots[frame % n];
            let to = to % (shot.packet.len() + 1);
            if told {
                shot.missing += shot.packet.len() - to;
            }
            shot.packet.truncate(to);
        }
        for (i, shot) in t.shots.iter_mut().enumerate() {
            shot.file = (i % 2) as u16;
        }
        told(&t.shots);
    }

    #[test]
    fn any_subset_in_any_order(order in proptest::collection::vec(any::<prop::sample::Index>(), 0..120)) {
        let t = sample();
        let shots: Vec<Shot> = order.iter().map(|i| i.get(&t.shots).clone()).collect();
        told(&shots);
    }

    #[test]
    fn any_words(words in proptest::collection::vec((any::<bool>(), proptest::sample::select(vec![
        "PASV\r\n", "EPSV\r\n", "EPSV ALL\r\n", "PORT 203,0,113,9,200,11\r\n", "PORT 1\r\n", "EPRT |2|::1|2000|\r\n", "RETR x\r\n",
        "STOR y\r\n", "LIST\r\n", "ABOR\r\n", "NOOP\r\n", "AUTH TLS\r\n", "QUIT\r\n", "USER a\r\n", "PA", "\r\n", "\n", "220 hi\r\n",
        "227 (198,51,100,7,200,10)\r\n", "229 (|||51210|)\r\n", "200 ok\r\n", "150 go\r\n", "226 done\r\n", "425 no\r\n", "550 no\r\n",
        "421 bye\r\n", "227-a\r\n", "234 tls\r\n", "99 x\r\n", "\u{ff}\u{0}\u{1b}[2J\r\n"])), 0..60)) {
        let mut t = Tape::new();
        let mut w = Wire::new("203.0.113.9:40001", "198.51.100.7:21");
        t.open(&mut w);
        for (n, (server, word)) in words.into_iter().enumerate() {
            t.say(&mut w, usize::from(server), word);
            if n % 7 == 3 {
                t.syn(&Wire::new("203.0.113.9:40002", "198.51.100.7:51210"));
            }
            if n % 11 == 5 {
                t.syn(&Wire::new("198.51.100.7:20", "203.0.113.9:51211"));
            }
        }
        told(&t.shots);
    }
}

#[test]
fn a_flood_of_connections_is_bounded_and_said_so() {
    let mut t = Tape::new();
    let mut w = t.login();
    let mut template = t.shots[0].packet.clone();
    let mut e = Explainer::new(Settings { names: vec!["a".into()], ports: vec![21], show_secrets: false });
    let mut number = 0;
    let mut feed = |e: &mut Explainer, packet: &[u8], at_nanos: u64| {
        number += 1;
        let ethertype = eth::TYPE_IPV4;
        e.frame(&Frame { file: 0, number, interface: 0, at_nanos, ethertype, packet, missing: 0 });
    };
    for shot in &t.shots {
        feed(&mut e, &shot.packet, shot.at);
    }
    // SYNs of ever other addresses and ports, none to an FTP port.
    template[22..24].copy_from_slice(&8080u16.to_be_bytes());
    for n in 0..100_000u32 {
        template[12..16].copy_from_slice(&(0x0A00_0000 + n).to_be_bytes());
        template[10..12].fill(0);
        feed(&mut e, &template, t.now + u64::from(n));
    }
    // The session that began before goes on.
    let from = t.shots.len();
    t.now += 1_000_000_000;
    t.ask(&mut w, "PASV", "227 Entering Passive Mode (198,51,100,7,200,10)");
    t.transfer(&mut w, &mut Wire::new("203.0.113.9:40002", "198.51.100.7:51210"), 1, "RETR down");
    for shot in &t.shots[from..] {
        feed(&mut e, &shot.packet, shot.at);
    }
    let report = e.finish();
    assert_eq!(report.connections, 100_002);
    assert!(report.notes.iter().any(|n| n.contains("old connections forgotten")), "{:?}", report.notes);
    assert_eq!(report.sessions[0].transfers[0].outcome, "done");
}

#[test]
fn a_flood_of_lines_is_bounded_and_counted() {
    let mut t = Tape::new();
    let mut w = t.login();
    let lines = "NOOP\r\n".repeat(200);
    for _ in 0..1_100 {
        t.say(&mut w, 0, &lines);
    }
    let report = t.explain();
    assert_eq!(report.sessions[0].commands, 220_002, "all are counted");
    assert!(report.sessions[0].timeline.len() <= 200_100, "not all are told");
    assert!(report.notes.iter().any(|n| n.contains("told in part")), "{:?}", report.notes);
}

#[test]
fn many_announcements_for_many_connections_take_no_longer_than_that() {
    let mut t = Tape::new();
    let mut w = t.login();
    for n in 0..40u32 {
        // Each asks for a port that all connections go to, some without saying which.
        let lines = "PORT 203,0,113,9,200,10\r\nPASV\r\nRETR f\r\nEPRT |1|203.0.113.9|51210|\r\nPORT 1\r\n"
            .repeat(50);
        t.say(&mut w, 0, &lines);
        for k in 0..50 {
            let from = format!("198.51.100.7:{}", 2000 + n * 50 + k);
            t.syn(&Wire::new(&from, "203.0.113.9:51210"));
        }
    }
    let report = t.explain();
    check(&report);
    assert!(report.sessions[0].transfers.len() >= 2000);
    // One connection's addresses and ports over and over, with other numbers.
    let mut d = Wire::new("203.0.113.9:40002", "198.51.100.7:51210");
    for n in 0..20_000u32 {
        d.next[0] = n.wrapping_mul(0x9E37_79B9);
        t.syn(&d);
    }
    let report = t.explain();
    assert!(report.notes.iter().any(|n| n.contains("old connections forgotten")), "{:?}", report.notes);
}
