//! The program: files, standard input, forms of output, exit status.

use crate::tape::{Shot, Tape, Wire};
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A pcap file of this link type, its headers in front of every packet.
fn pcap(path: &Path, link: u32, header: &[u8], shots: &[Shot]) -> PathBuf {
    let mut out = Vec::new();
    out.extend(0xa1b2_3c4d_u32.to_le_bytes());
    out.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0]);
    out.extend(link.to_le_bytes());
    for shot in shots {
        let len = (header.len() + shot.packet.len()) as u32;
        out.extend(((shot.at / 1_000_000_000) as u32).to_le_bytes());
        out.extend(((shot.at % 1_000_000_000) as u32).to_le_bytes());
        out.extend(len.to_le_bytes());
        out.extend((len + shot.missing as u32).to_le_bytes());
        out.extend(header);
        out.extend(&shot.packet);
    }
    std::fs::write(path, out).unwrap();
    path.to_owned()
}

const ETHERNET: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];

fn good() -> Tape {
    let mut t = Tape::new();
    let mut w = t.login();
    t.ask(&mut w, "PASV", "227 Entering Passive Mode (198,51,100,7,200,10)");
    t.transfer(&mut w, &mut Wire::new("203.0.113.9:40002", "198.51.100.7:51210"), 1, "RETR down");
    t
}

fn bad() -> Tape {
    let mut t = Tape::new();
    let mut w = t.login();
    t.ask(&mut w, "RETR f", "550 No such file.");
    t
}

fn run(args: &[&str], input: Option<&[u8]>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.arg("explain").args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.unwrap_or_default().to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap();
    out
}

fn text(out: &Output) -> String {
    String::from_utf8(out.stdout.clone()).unwrap()
}

#[test]
fn exit_status_tells_what_was_found() {
    let dir = tempfile::tempdir().unwrap();
    let good = pcap(&dir.path().join("good.pcap"), 1, &ETHERNET, &good().shots);
    let bad = pcap(&dir.path().join("bad.pcap"), 1, &ETHERNET, &bad().shots);
    let (good, bad) = (good.to_str().unwrap(), bad.to_str().unwrap());
    let out = run(&[good], None);
    assert_eq!((out.status.code(), out.stderr.len()), (Some(0), 0), "{}", text(&out));
    assert!(text(&out).ends_with("1 FTP session, 1 transfer, 0 failed\n"));
    assert!(!text(&out).contains('\x1b'), "no colours for a pipe");
    let out = run(&[bad], None);
    assert_eq!(out.status.code(), Some(1));
    assert!(
        text(&out).contains("reply_550: the server answered RETR f (frame 16) with 550"),
        "{}",
        text(&out)
    );
    // Damaged in the middle: what was there is told, and where it ends.
    let whole = std::fs::read(good).unwrap();
    let cut = dir.path().join("cut.pcap");
    std::fs::write(&cut, &whole[..whole.len() - 3]).unwrap();
    let out = run(&[cut.to_str().unwrap()], None);
    let error = String::from_utf8(out.stderr.clone()).unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(error.contains("cut.pcap: at byte ") && error.lines().count() == 1, "{error}");
    assert!(text(&out).contains("< 227 Entering Passive Mode"));
    for args in [&["/nowhere.pcap"][..], &[], &["-", "-"], &["--port", "0", good], &["--port", "x", good]] {
        let out = run(args, None);
        let error = String::from_utf8(out.stderr).unwrap();
        assert_eq!((out.status.code(), error.lines().count()), (Some(2), 1), "{args:?}: {error}");
    }
}

#[test]
fn from_standard_input_and_from_all_link_types() {
    let dir = tempfile::tempdir().unwrap();
    let cooked = [0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 7, 0, 0, 8, 0];
    let cooked2 = [8, 0, 0, 0, 0, 0, 0, 3, 0, 1, 4, 6, 2, 0, 0, 0, 0, 9, 0, 0];
    let forms: [(u32, &[u8]); 5] =
        [(1, &ETHERNET), (113, &cooked), (276, &cooked2), (101, &[]), (0, &[2, 0, 0, 0])];
    let mut first: Option<Value> = None;
    for (link, header) in forms {
        let file = pcap(&dir.path().join("x.pcap"), link, header, &good().shots);
        let out = run(&["--json", "-"], Some(&std::fs::read(&file).unwrap()));
        assert_eq!(out.status.code(), Some(0), "link type {link}");
        let value: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(value["files"][0]["name"], "standard input");
        assert_eq!(value["sessions"][0]["transfers"][0]["data"]["to_client"], 3000);
        let first = first.get_or_insert_with(|| value["sessions"].clone());
        assert_eq!(*first, value["sessions"], "link type {link}");
    }
}

#[test]
fn several_files_are_merged_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let all = good().shots;
    let side = |client: bool| -> Vec<Shot> {
        let mine = |s: &&Shot| (s.packet[12..16] == [203, 0, 113, 9]) == client;
        all.iter().filter(mine).cloned().collect()
    };
    let a = pcap(&dir.path().join("client.pcap"), 1, &ETHERNET, &side(true));
    let b = pcap(&dir.path().join("server.pcap"), 101, &[], &side(false));
    let out = run(&[b.to_str().unwrap(), a.to_str().unwrap(), "--json"], None);
    let value: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((out.status.code(), &value["v"]), (Some(0), &Value::from(1)));
    let session = &value["sessions"][0];
    assert_eq!(
        (&session["one_sided"], &session["transfers"][0]["outcome"]),
        (&Value::Null, &Value::from("done"))
    );
    assert_eq!((&session["first"]["file"], &session["first"]["frame"]), (&Value::from(1), &Value::from(1)));
    let out = run(&[b.to_str().unwrap(), a.to_str().unwrap()], None);
    assert!(text(&out).contains("[1]      1  - SYN 203.0.113.9:40001"), "{}", text(&out));
}

#[test]
fn passwords_are_masked_unless_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let file = pcap(&dir.path().join("x.pcap"), 1, &ETHERNET, &good().shots);
    for json in [&["--json"][..], &[]] {
        let masked = text(&run(&[&[file.to_str().unwrap()], json].concat(), None));
        assert!(masked.contains("PASS ****") && !masked.contains("hunter2"), "{masked}");
        let shown = text(&run(&[&[file.to_str().unwrap(), "--show-secrets"], json].concat(), None));
        assert!(shown.contains("PASS hunter2"), "{shown}");
    }
}

/// Filters are Wireshark's, and open the frames that the cause names.
#[test]
fn tshark_opens_the_spot_by_the_filter() {
    let dir = tempfile::tempdir().unwrap();
    let mut t = Tape::new();
    let mut w = t.login();
    t.ask(&mut w, "PASV", "227 Entering Passive Mode (198,51,100,7,200,10)");
    for _ in 0..3 {
        t.syn(&Wire::new("203.0.113.9:40002", "198.51.100.7:51210"));
        t.wait(2.0);
    }
    t.ask(&mut w, "QUIT", "221 Bye");
    let file = pcap(&dir.path().join("x.pcap"), 1, &ETHERNET, &t.shots);
    let out = run(&["--json", file.to_str().unwrap()], None);
    let value: Value = serde_json::from_slice(&out.stdout).unwrap();
    let cause = &value["sessions"][0]["transfers"][0]["cause"];
    let tshark = Command::new("tshark")
        .args(["-r", file.to_str().unwrap(), "-T", "fields", "-e", "frame.number", "-Y"])
        .arg(cause["filter"].as_str().unwrap())
        .output()
        .expect("the program is installed (apt-get install tshark)");
    let shown: Vec<u64> =
        String::from_utf8(tshark.stdout).unwrap().lines().map(|l| l.parse().unwrap()).collect();
    let named: Vec<u64> =
        cause["frames"].as_array().unwrap().iter().map(|f| f["frame"].as_u64().unwrap()).collect();
    assert!(named.len() == 4 && named.iter().all(|n| shown.contains(n)), "{named:?} {shown:?}");
    assert!(shown.len() < t.frames() as usize / 2);
}

/// What is shown of a file on a terminal of so many columns (util-linux's `script` makes one).
fn on_terminal(columns: u16, file: &str, no_color: &str) -> String {
    let program = env!("CARGO_BIN_EXE_tidegate");
    let line = format!("stty cols {columns} && exec '{program}' explain '{file}'");
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).env("NO_COLOR", no_color).stdin(Stdio::null());
    text(&command.output().expect("script, of util-linux"))
}

#[test]
fn colours_and_columns_are_for_terminals() {
    let dir = tempfile::tempdir().unwrap();
    let mut t = Tape::new();
    let mut w = t.login();
    t.ask(&mut w, "RETR f", &format!("550 {}", "no ".repeat(80)));
    let file = pcap(&dir.path().join("long.pcap"), 1, &ETHERNET, &t.shots);
    let file = file.to_str().unwrap();
    let reply = |shown: &str| {
        let line = shown.lines().find(|l| l.contains("< 550 no no ")).unwrap_or_else(|| panic!("{shown}"));
        line.trim_end_matches('\r').to_owned()
    };
    let piped = text(&run(&[file], None));
    assert!(!piped.contains('\x1b') && reply(&piped).chars().count() > 240, "{piped}");
    for columns in [60, 100] {
        // An empty NO_COLOR is none (<https://no-color.org>).
        let coloured = on_terminal(columns, file, "");
        assert!(
            coloured.contains("\x1b[1mSession 1: ") && reply(&coloured).contains("m< 550 "),
            "{coloured}"
        );
        let plain = on_terminal(columns, file, "1");
        assert!(!plain.contains('\x1b'), "{plain}");
        let cut = reply(&plain);
        assert_eq!((cut.chars().count(), cut.chars().last()), (usize::from(columns), Some('…')), "{cut}");
    }
}
