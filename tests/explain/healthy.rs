//! Sessions that work give no cause, and are told as they were.

use crate::tape::{Tape, Wire, check, explain};
use std::path::Path;
use tidegate::explain::{Explainer, Frame, Report, Settings, Style, human};
use tidegate::io::pcap::Reader;

const PASV: &str = "227 Entering Passive Mode (198,51,100,7,200,10)";

#[test]
fn passive_and_active_both_ways() {
    let mut t = Tape::new();
    let mut w = t.login();
    t.ask(&mut w, "PASV", PASV);
    t.transfer(&mut w, &mut Wire::new("203.0.113.9:40002", "198.51.100.7:51210"), 1, "RETR down");
    t.ask(&mut w, "EPSV", "229 Extended (|||51211|)");
    t.transfer(&mut w, &mut Wire::new("203.0.113.9:40003", "198.51.100.7:51211"), 0, "STOR up");
    t.ask(&mut w, "PORT 203,0,113,9,200,10", "200 Fine");
    t.transfer(&mut w, &mut Wire::new("198.51.100.7:20", "203.0.113.9:51210"), 0, "LIST");
    t.ask(&mut w, "EPRT |1|203.0.113.9|51211|", "200 Fine");
    t.transfer(&mut w, &mut Wire::new("198.51.100.7:20", "203.0.113.9:51211"), 1, "APPE more");
    t.ask(&mut w, "QUIT", "221 Bye");
    t.close(&mut w, 1);
    let report = t.explain();
    check(&report);
    assert_eq!((report.failed, report.notes.len(), report.connections), (0, 0, 5));
    let s = &report.sessions[0];
    assert_eq!((s.commands, s.replies, s.user.as_deref()), (11, 16, Some("me")));
    assert!(!s.from_the_middle && s.one_sided.is_none() && s.remarks.is_empty(), "{s:#?}");
    let seen: Vec<_> = s
        .transfers
        .iter()
        .map(|t| {
            let d = t.data.as_ref().unwrap();
            (t.verb.unwrap(), t.mode, t.outcome, d.to_client, d.to_server, t.reply)
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("RETR", "passive", "done", 3000, 0, Some(226)),
            ("STOR", "passive", "done", 0, 3000, Some(226)),
            ("LIST", "active", "done", 3000, 0, Some(226)),
            ("APPE", "active", "done", 0, 3000, Some(226)),
        ]
    );
}

#[test]
fn the_timeline_reads_as_it_was() {
    let mut t = Tape::new();
    let mut w = t.login();
    t.ask(&mut w, "PASV", PASV);
    t.transfer(&mut w, &mut Wire::new("203.0.113.9:40002", "198.51.100.7:51210"), 1, "RETR down");
    let text = human(&t.explain(), Style { colour: false, columns: None });
    let want = [
        "- SYN 203.0.113.9:40001 → 198.51.100.7:21",
        "< 220 Welcome (and 1 more line)",
        "> USER me",
        "< 331 Password?",
        "> PASS ****",
        "< 230 In.",
        "> PASV",
        "< 227 Entering Passive Mode (198,51,100,7,200,10)",
        "    = SYN 203.0.113.9:40002 → 198.51.100.7:51210",
        "    = SYN-ACK from 198.51.100.7:51210",
        "> RETR down",
        "< 150 Here it comes.",
        "    = data from 198.51.100.7:51210: 3000 bytes until frame 29",
        "    = FIN from 198.51.100.7:51210",
        "    = FIN from 203.0.113.9:40002",
        "< 226 Done.",
    ];
    let is_moment = |l: &&str| l.get(..12).is_some_and(|n| n.trim().parse::<f64>().is_ok());
    let lines: Vec<&str> = text.lines().filter(is_moment).map(|l| &l[23..]).collect();
    assert_eq!(lines, want, "{text}");
    assert!(text.ends_with("\n1 FTP session, 1 transfer, 0 failed\n"), "{text}");
    let narrow = human(&t.explain(), Style { colour: true, columns: Some(60) });
    assert!(narrow.contains("\x1b[31m") || narrow.contains("\x1b[32m"));
    let plain: String = narrow.split('\x1b').map(|p| p.split_once('m').map_or(p, |(_, rest)| rest)).collect();
    for line in plain.lines().filter(|l| !l.contains("done") && !l.starts_with("    ")) {
        assert!(line.chars().count() <= 60, "{line}");
    }
}

#[test]
fn segmented_reordered_and_repeated_it_is_the_same_session() {
    let mut whole = Tape::new();
    let mut w = whole.login();
    whole.ask(&mut w, "PASV", PASV);
    whole.transfer(&mut w, &mut Wire::new("203.0.113.9:40002", "198.51.100.7:51210"), 1, "RETR down");
    let want = whole.explain();

    // One byte a segment.
    let mut bytes = Tape::new();
    let mut w = Wire::new("203.0.113.9:40001", "198.51.100.7:21");
    bytes.open(&mut w);
    let mut d = Wire::new("203.0.113.9:40002", "198.51.100.7:51210");
    let talk = [
        (1, "220-Welcome\r\n220 ready\r\n"),
        (0, "USER me\r\n"),
        (1, "331 Password?\r\n"),
        (0, "PASS hunter2\r\n"),
        (1, "230 In.\r\n"),
        (0, "PASV\r\n"),
        (1, "227 Entering Passive Mode (198,51,100,7,200,10)\r\n"),
    ];
    for (from, text) in talk {
        for byte in text.bytes() {
            bytes.say(&mut w, from, [byte]);
        }
    }
    bytes.transfer(&mut w, &mut d, 1, "RETR down");
    let got = bytes.explain();
    check(&got);
    let told = |r: &Report| -> Vec<(&'static str, Option<u16>, String)> {
        let moments = r.sessions[0].timeline.iter().filter(|m| m.what != "data");
        moments.map(|m| (m.what, m.code, m.text.clone())).collect()
    };
    assert_eq!(told(&got), told(&want));

    // Neighbours change places: nothing is lost, whatever the order of their telling.
    let mut swapped = whole.clone();
    for n in (4..swapped.shots.len() - 1).step_by(2) {
        let at = (swapped.shots[n].at, swapped.shots[n + 1].at);
        swapped.shots.swap(n, n + 1);
        (swapped.shots[n].at, swapped.shots[n + 1].at) = at;
    }
    let got = swapped.explain();
    assert_eq!((got.failed, got.sessions[0].commands, got.sessions[0].replies), (0, 4, 6));
    assert_eq!(
        got.sessions[0].transfers[0].data,
        want.sessions[0].transfers[0].data.clone().map(|mut d| {
            let new = got.sessions[0].transfers[0].data.clone().unwrap();
            (d.first, d.last, d.seconds) = (new.first, new.last, new.seconds);
            d
        })
    );

    // Every packet sent twice, with another identification: repetitions, not copies.
    let mut twice = whole.clone();
    twice.shots = whole
        .shots
        .iter()
        .flat_map(|s| {
            let mut again = s.clone();
            again.at += 300_000_000;
            [s.clone(), again]
        })
        .collect();
    twice.shots.sort_by_key(|s| s.at);
    let got = twice.explain();
    assert_eq!((got.failed, got.copies, got.sessions[0].commands, got.sessions[0].replies), (0, 0, 4, 6));
    let data = got.sessions[0].transfers[0].data.clone().unwrap();
    assert_eq!((data.to_client, data.repeated), (3000, 3));
}

/// Both files of a recording, by time.
fn recording(case: &Path) -> Report {
    let files = ["worker0-in.pcapng", "worker0-out.pcapng"];
    let mut records = Vec::new();
    for (file, name) in files.iter().enumerate() {
        let all = Reader::open(&case.join(name)).unwrap().map(Result::unwrap);
        records.extend(all.enumerate().map(|(n, r)| (r.at_nanos, file, n, r)));
    }
    records.sort_by_key(|(at, file, n, _)| (*at, *file, *n));
    let names = files.map(str::to_owned).to_vec();
    let mut explainer = Explainer::new(Settings { names, ports: vec![21], show_secrets: false });
    for (at, file, n, record) in &records {
        let packet = record.link.packet(&record.data).unwrap();
        explainer.frame(&Frame {
            file: *file as u16,
            number: *n as u64 + 1,
            interface: record.interface,
            at_nanos: *at,
            ethertype: packet.ethertype,
            packet: packet.payload,
            missing: 0,
        });
    }
    explainer.finish()
}

#[test]
fn the_gateways_own_recordings_hold_no_failure() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps");
    let mut cases: Vec<_> = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 16);
    for case in cases {
        let report = recording(&case);
        check(&report);
        assert_eq!(report.failed, 0, "{}: {report:#?}", case.display());
        // Two legs of each session, redirected in GRE, by MAC address or policy; with the client's address
        // toward the server both show the same four numbers. Through a bridge the packets themselves are the same.
        let legs = match case.file_name().unwrap().to_str().unwrap() {
            "not-ours" | "bridge" => 1,
            "two-sessions" => 4,
            _ => 2,
        };
        assert_eq!(report.sessions.len(), legs, "{}", case.display());
        for pair in report.sessions.chunks_exact(2) {
            let bytes = |s: usize| -> Vec<(Option<&str>, u64, u64, &str)> {
                let data = pair[s].transfers.iter().filter(|t| t.outcome != "unused");
                data.map(|t| {
                    let d = t.data.as_ref().unwrap_or_else(|| panic!("{}: {t:#?}", case.display()));
                    (t.verb, d.to_client, d.to_server, t.outcome)
                })
                .collect()
            };
            assert_eq!(bytes(0), bytes(1), "{}: both legs carry the same", case.display());
        }
    }
}

#[test]
fn sessions_of_one_host_at_once_are_kept_apart() {
    let mut t = Tape::new();
    let mut one = t.login_of("203.0.113.9:40001", "198.51.100.7:21");
    let mut two = t.login_of("203.0.113.9:41001", "198.51.100.7:21");
    t.ask(&mut one, "PASV", "227 (198,51,100,7,200,10)");
    t.ask(&mut two, "PASV", "227 (198,51,100,7,200,11)");
    let mut a = Wire::new("203.0.113.9:40002", "198.51.100.7:51211");
    let mut b = Wire::new("203.0.113.9:40003", "198.51.100.7:51210");
    t.transfer(&mut two, &mut a, 1, "RETR two");
    t.transfer(&mut one, &mut b, 1, "RETR one");
    let report = explain(&t.shots, &["a"], &[21]);
    let went = |n: usize| {
        let t = &report.sessions[n].transfers[0];
        (t.name.clone(), t.data.as_ref().unwrap().from.port())
    };
    assert_eq!((went(0), went(1)), (("one".into(), 40003), ("two".into(), 40002)));
}
