//! Frames of every kind that captures and hostile peers hold, redirected to the gateway in GRE and by MAC
//! address: each is kept, returned as it came, or dropped for a counted reason. `tests/data/frames/make.py`
//! says what the files hold.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};
use tidegate::config::{self, Config};
use tidegate::io::pcap::{LinkType, Reader, Record};
use tidegate::runtime::play::{Passed, Play, Report, pass, play};

const INTERFACE: &str = "version = 1\n[deployment]\nkind = \"KIND\"\n[[interface]]\nname = \"eth1\"\n\
                         address = [\"10.9.0.2/24\", \"2001:db8:9::2/64\"]\n\
                         next_hop = [\"10.9.0.1\", \"2001:db8:9::1\"]\n";
const WCCP: &str = "[wccp]\nrouters = [\"10.9.0.1\"]\n[[wccp.group]]\nid = 61\nports = [21, 20, 2020]\n";
const SERVICE: &str = "[[service]]\nname = \"ftp\"\nports = [21]\ndata_ports = [2020]\n";

/// A line for each file, see [`line`].
const GRE: &[&str] = &[
    "cut: 12 = 0 + 1 + bad_gre 1, bad_ip 10",
    "ethernet: 4 = 0 + 3 + bad_gre 1",
    "gre-headers: 17 = 1 + 4 + bad_gre 9, bad_ip 2, loop 1",
    "ip-fragments: 9 = 1 + 8 + ",
    "ip-headers: 20 = 0 + 12 + bad_gre 3, bad_ip 5",
    "ipv6: 0 = 0 + 0 + ",
    "linux-cooked: 3 = 1 + 1 + bad_ip 1",
    "linux-cooked-2: 4 = 1 + 2 + bad_ip 1",
    "long: 12 = 0 + 10 + outer_fragment 2",
    "loop: 1 = 0 + 1 + ",
    "null: 2 = 0 + 2 + ",
    "raw-ip: 4 = 1 + 1 + bad_gre 1, bad_ip 1",
    "tcp-headers: 22 = 9 + 8 + bad_transport 5",
    "to-us: 9 = 1 + 8 + ",
];

const BY_MAC: &[&str] = &[
    "cut: 12 = 0 + 1 + bad_ip 11",
    "ethernet: 5 = 1 + 3 + bad_ip 1",
    "gre-headers: 17 = 0 + 17 + ",
    "ip-fragments: 9 = 1 + 8 + ",
    "ip-headers: 20 = 0 + 7 + bad_ip 8, not_for_us 3, ttl_exceeded 2",
    "ipv6: 16 = 5 + 6 + bad_ip 4, bad_transport 1",
    "linux-cooked: 4 = 2 + 1 + bad_ip 1",
    "linux-cooked-2: 5 = 2 + 2 + bad_ip 1",
    "long: 6 = 0 + 6 + ",
    "loop: 2 = 1 + 1 + ",
    "null: 6 = 4 + 2 + ",
    "raw-ip: 5 = 2 + 1 + bad_ip 2",
    "tcp-headers: 22 = 9 + 8 + bad_transport 5",
    "to-us: 9 = 2 + 0 + bad_transport 2, unhandled 4, unknown_flow 1",
];

/// The same to the gateway's MAC address, from a router that redirects by WCCP.
const BY_L2: &[&str] = &[
    "cut: 12 = 0 + 1 + bad_ip 11",
    "ethernet: 4 = 0 + 3 + bad_ip 1",
    "gre-headers: 17 = 0 + 17 + ",
    "ip-fragments: 9 = 1 + 8 + ",
    "ip-headers: 20 = 0 + 9 + bad_ip 8, not_for_us 3",
    "ipv6: 0 = 0 + 0 + ",
    "linux-cooked: 3 = 1 + 1 + bad_ip 1",
    "linux-cooked-2: 4 = 1 + 2 + bad_ip 1",
    "long: 6 = 0 + 6 + ",
    "loop: 1 = 0 + 1 + ",
    "null: 2 = 0 + 2 + ",
    "raw-ip: 4 = 1 + 1 + bad_ip 2",
    "tcp-headers: 22 = 9 + 8 + bad_transport 5",
    "to-us: 9 = 4 + 0 + bad_transport 2, unhandled 2, unknown_flow 1",
];

fn gre() -> Config {
    parse(&[&INTERFACE.replace("KIND", "wccp"), WCCP, SERVICE].concat())
}

fn by_mac() -> Config {
    parse(&[&INTERFACE.replace("KIND", "static"), SERVICE].concat())
}

fn parse(text: &str) -> Config {
    config::parse(text, Path::new("t.toml")).unwrap()
}

fn files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/frames");
    let all = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<_> = all.filter(|p| p.extension().is_some_and(|e| e == "pcap")).collect();
    files.sort_by_key(|p| p.file_stem().map(ToOwned::to_owned));
    assert!(files.len() >= 14, "{files:?}");
    files
}

/// Plays twice, and looks whether both plays were the same.
fn played(config: &Config, capture: &Path) -> Report {
    let dir = tempfile::tempdir().unwrap();
    let mut plays = Vec::new();
    for n in 0..2 {
        let out = dir.path().join(format!("{n}.pcapng"));
        let events = dir.path().join(format!("{n}.jsonl"));
        let what = Play {
            capture: capture.into(),
            out: Some(out.clone()),
            events: Some(events.clone()),
            inside: Vec::new(),
        };
        let mut report = play(config, &what).unwrap();
        report.peak_memory = None;
        plays.push((report, std::fs::read(out).unwrap(), std::fs::read(events).unwrap()));
    }
    assert_eq!(plays[0], plays[1], "{}", capture.display());
    plays.swap_remove(0).0
}

/// A line: file, packets fed, kept, returned, dropped by reason.
fn line(file: &Path, r: &Report) -> String {
    let name = file.file_stem().unwrap().to_string_lossy();
    let dropped: Vec<_> = r.dropped.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
    assert_eq!(r.returned, r.unchanged, "{name}: everything that goes back goes back as it came");
    assert_eq!(r.fed, r.kept + r.returned + r.dropped.values().sum::<u64>(), "{name}: nothing is lost");
    assert_eq!(r.records, r.fed + r.not_ip + r.too_long + r.headless + r.not_redirected, "{name}");
    assert_eq!(r.error, None, "{name}");
    format!("{name}: {} = {} + {} + {}", r.fed, r.kept, r.returned, dropped.join(", "))
}

#[test]
fn in_gre_every_packet_is_kept_returned_as_it_came_or_dropped_with_a_reason() {
    let config = gre();
    let got: Vec<_> = files().iter().map(|f| line(f, &played(&config, f))).collect();
    assert_eq!(got, GRE, "{got:#?}");
}

#[test]
fn by_mac_every_packet_is_kept_passed_on_as_it_came_or_dropped_with_a_reason() {
    let config = by_mac();
    let got: Vec<_> = files().iter().map(|f| line(f, &played(&config, f))).collect();
    assert_eq!(got, BY_MAC, "{got:#?}");
}

#[test]
fn by_l2_packets_come_back_as_they_came_and_ipv6_is_told_to_be_left_out() {
    let text = [&INTERFACE.replace("KIND", "wccp"), WCCP, SERVICE].concat();
    let l2 = |back: &str| {
        let methods = format!("forward = [\"l2\"]\nreturn = [\"{back}\"]\n[[wccp.group]]");
        parse(&text.replace("[[wccp.group]]", &methods))
    };
    for back in ["l2", "gre"] {
        let got: Vec<_> = files().iter().map(|f| line(f, &played(&l2(back), f))).collect();
        assert_eq!(got, BY_L2, "{back}: {got:#?}");
    }
    let six = files().into_iter().find(|f| f.ends_with("ipv6.pcap")).unwrap();
    for config in [l2("l2"), gre()] {
        let report = played(&config, &six);
        assert_eq!((report.records, report.not_redirected, report.fed), (16, 16, 0));
    }
}

#[test]
fn time_that_a_capture_claims_is_waited_through_up_to_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("years.pcap");
    // A frame that is no IP, every 20 minutes for a year: no more turns than 30 days of them need.
    let mut bytes = [0xa1b2_c3d4u32.to_le_bytes(), [2, 0, 4, 0], [0; 4], [0; 4]].concat();
    bytes.extend([65_535u32.to_le_bytes(), 1u32.to_le_bytes()].concat());
    for n in 0..26_280u32 {
        bytes.extend([1_000 + n * 1_200, 0, 60, 60].iter().flat_map(|w| w.to_le_bytes()));
        bytes.extend([&[2; 12][..], &[0x88, 0xb5], &[0; 46]].concat());
    }
    std::fs::write(&file, bytes).unwrap();
    let events = dir.path().join("events.jsonl");
    let what = Play { capture: file, out: None, events: Some(events.clone()), inside: Vec::new() };
    let report = play(&gre(), &what).unwrap();
    assert_eq!((report.records, report.not_ip, report.error), (26_280, 26_280, None));
    let last = std::fs::read_to_string(events).unwrap();
    let last: serde_json::Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    let days = last["at_ns"].as_u64().unwrap() / 86_400_000_000_000;
    assert!(days <= 30, "{days} days were waited through: {last}");
}

#[test]
fn a_damaged_capture_is_played_up_to_there() {
    let dir = tempfile::tempdir().unwrap();
    let damaged = dir.path().join("x.pcap");
    let whole = std::fs::read(&files()[0]).unwrap();
    std::fs::write(&damaged, &whole[..whole.len() - 1]).unwrap();
    let what = Play { capture: damaged.clone(), out: None, events: None, inside: Vec::new() };
    let report = play(&gre(), &what).unwrap();
    let all = play(&gre(), &Play { capture: files()[0].clone(), ..what.clone() }).unwrap();
    assert_eq!(report.records, all.records - 1);
    let error = report.error.unwrap();
    assert!(
        error.contains("x.pcap: at byte ") && error.contains("ends in the middle of a record"),
        "{error}"
    );
    std::fs::write(&damaged, b"nothing of the kind").unwrap();
    let error = play(&gre(), &what).unwrap_err().to_string();
    assert!(error.ends_with("neither pcap nor pcapng; unpack it, or convert it with editcap"), "{error}");
}

const IN_LINE: &str = "version = 1\n[deployment]\nkind = \"bridge\"\n[[interface]]\nname = \"in0\"\nrole = \"inside\"\n\
                       [[interface]]\nname = \"out0\"\nrole = \"outside\"\n[firewall]\ndefault = \"allow\"\n[[service]]\n\
                       name = \"ftp\"\nports = [21]\n";

/// What a bridge that lets all pass does not pass as it came.
const BRIDGED: &[&str] = &[
    "cut 1: left_out headless",
    "cut 2: left_out headless",
    "ethernet 5: left_out headless",
    "ethernet 12: left_out headless",
    "gre-headers 17: taken",
    "ip-fragments 1: taken",
    "ip-fragments 2: dropped drop_checksum",
    "ip-fragments 3: dropped drop_malformed",
    "ip-fragments 4: dropped drop_malformed",
    "ip-fragments 5: dropped drop_malformed",
    "ip-fragments 6: dropped drop_malformed",
    "ip-fragments 7: dropped drop_malformed",
    "ip-fragments 8: dropped drop_malformed",
    "ipv6 7: dropped drop_malformed",
    "ipv6 8: dropped drop_malformed",
    "ipv6 11: dropped drop_malformed",
    "ipv6 14: dropped drop_ftp_rule",
    "ipv6 15: dropped drop_ftp_rule",
    "linux-cooked 7: left_out headless",
    "linux-cooked-2 7: left_out headless",
    "long 9: dropped drop_too_big",
    "long 10: dropped drop_too_big",
    "long 11: dropped drop_too_big",
    "long 12: dropped drop_too_big",
    "long 13: left_out too_long",
    "long 14: left_out too_long",
    "long 15: left_out too_long",
    "long 16: left_out too_long",
    "null 8: left_out headless",
    "raw-ip 6: left_out headless",
    "tcp-headers 1: dropped drop_malformed",
    "tcp-headers 2: dropped drop_malformed",
    "tcp-headers 3: dropped drop_malformed",
    "tcp-headers 4: dropped drop_malformed",
    "tcp-headers 5: dropped drop_checksum",
    "tcp-headers 16: changed",
];

/// Passes a capture through twice, and looks whether both were the same: what was told, and the frames that came out.
fn passed(config: &Config, capture: &Path, inside: &[&str]) -> (Passed, Vec<Vec<u8>>) {
    let dir = tempfile::tempdir().unwrap();
    let inside: Vec<_> = inside.iter().map(|n| config::Cidr::parse(n).unwrap()).collect();
    let mut plays = Vec::new();
    for n in 0..2 {
        let out = dir.path().join(format!("{n}.pcapng"));
        let what =
            Play { capture: capture.into(), out: Some(out.clone()), events: None, inside: inside.clone() };
        let mut report = pass(config, &what).unwrap();
        report.peak_memory = None;
        let frames = Reader::open(&out).unwrap().map(|r| r.unwrap().data).collect();
        plays.push((report, frames));
    }
    assert!(plays[0] == plays[1], "{}", capture.display());
    plays.swap_remove(0)
}

#[test]
fn through_a_bridge_every_frame_passes_as_it_came_or_is_named() {
    let mut got = Vec::new();
    for file in files() {
        let (r, sent) = passed(&parse(IN_LINE), &file, &[]);
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let fed = r.same + r.changed + r.taken + r.dropped.values().sum::<u64>();
        assert_eq!(fed, r.inside + r.outside, "{name}: nothing is lost");
        assert_eq!(r.records, fed + r.left_out.values().sum::<u64>(), "{name}");
        let named: Vec<u64> = r.frames.iter().map(|b| b.frame).collect();
        let records = Reader::open(&file).unwrap().map(Result::unwrap).zip(1..);
        // As an Ethernet frame, whatever was in front of it in the capture.
        let bare = |r: Record| {
            if r.link == LinkType::Ethernet {
                r.data
            } else {
                r.link.packet(&r.data).unwrap().payload.to_vec()
            }
        };
        let want: Vec<Vec<u8>> = records.filter(|(_, n)| !named.contains(n)).map(|(r, _)| bare(r)).collect();
        let mut rest = sent.iter();
        for frame in &want {
            assert!(rest.any(|s| s.ends_with(frame)), "{name}: a frame did not come out as it went in");
        }
        // The firewall's other counters are its own tests' business.
        let reason = |why: &[String]| {
            let named = why
                .iter()
                .filter(|w| w.starts_with("drop_") || matches!(w.as_str(), "too_long" | "headless"));
            named.map(String::as_str).collect::<Vec<_>>().join("+")
        };
        let named = r.frames.iter().map(|b| format!("{name} {}: {} {}", b.frame, b.became, reason(&b.why)));
        got.extend(named.map(|line| line.trim_end().to_owned()));
    }
    assert_eq!(got, BRIDGED, "{got:#?}");
}

/// `--inside` says who is where, whoever begins.
#[test]
fn the_inner_side_is_named_or_found() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.pcap");
    let mut bytes = [0xa1b2_c3d4u32.to_le_bytes(), [2, 0, 4, 0], [0; 4], [0; 4]].concat();
    bytes.extend([65_535u32.to_le_bytes(), 1u32.to_le_bytes()].concat());
    let (client, server) = ([10, 0, 0, 5], [198, 51, 100, 7]);
    for (n, (src, dst, ports, flags)) in [
        (client, server, (40_000, 21), 2),
        (server, client, (21, 40_000), 0x12),
        (client, server, (40_000, 21), 0x10),
        (server, client, (20, 40_001), 2),
    ]
    .into_iter()
    .enumerate()
    {
        let frame = syn(src, dst, ports, flags);
        let len = u32::try_from(frame.len()).unwrap();
        bytes.extend([n as u32, 0, len, len].iter().flat_map(|w| w.to_le_bytes()));
        bytes.extend(frame);
    }
    std::fs::write(&file, bytes).unwrap();
    let sides = |inside: &[&str]| {
        // Behind the end of the capture a session whose greeting never came is given up, with resets.
        let (r, sent) = passed(&parse(IN_LINE), &file, inside);
        assert_eq!((r.same, r.frames.len(), sent.len() as u64), (4, 0, r.same + r.made), "{r:?}");
        (r.inside, r.outside)
    };
    assert_eq!(sides(&[]), (2, 2), "who sends the first SYN to a control port is inside");
    assert_eq!(sides(&["198.51.100.0/24"]), (2, 2));
    assert_eq!(sides(&["192.0.2.0/24"]), (0, 4), "nobody is");
    // What the default of a filter refuses is named, with the rule's counter.
    let (r, _) = passed(&parse(&IN_LINE.replace("\"allow\"", "\"deny\"")), &file, &[]);
    assert_eq!(
        (r.same, r.dropped.get("policy"), r.dropped.get("no_connection")),
        (0, Some(&2), Some(&2)),
        "{r:?}"
    );
    let named: Vec<(u64, &str, &str)> = r.frames.iter().map(|b| (b.frame, b.from, b.became)).collect();
    assert_eq!(named[..2], [(1, "inside", "dropped"), (2, "outside", "dropped")]);
}

fn syn(src: [u8; 4], dst: [u8; 4], ports: (u16, u16), flags: u8) -> Vec<u8> {
    let mut p = vec![0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0];
    p.extend([src, dst].concat());
    p.extend([ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat());
    p.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    let sum = |parts: &[&[u8]]| {
        let all = parts.concat();
        let words = all.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
        let n: u32 = words.sum();
        !(((n >> 16) + (n & 0xffff)) as u16)
    };
    let head = sum(&[&p[..20]]).to_be_bytes();
    p[10..12].copy_from_slice(&head);
    let tcp = sum(&[&p[12..20], &[0, 6, 0, 20], &p[20..]]).to_be_bytes();
    p[36..38].copy_from_slice(&tcp);
    [&[2, 0, 0, 0, 0, dst[0]][..], &[2, 0, 0, 0, 0, src[0]], &[8, 0], &p].concat()
}
