//! The program as a script sees it: exit status, one line for each error, nothing else.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const GOOD: &str = r#"version = 1
[deployment]
kind = "wccp"
[[interface]]
name = "tg-none"
address = ["10.9.0.2/24"]
next_hop = "10.9.0.1"
[wccp]
routers = ["10.9.0.1"]
[[wccp.group]]
id = 61
ports = [21, 20, 2020]
[[service]]
name = "ftp"
ports = [21]
data_ports = [2020]
"#;

fn tidegate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate")).args(args).output().unwrap()
}

fn file(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("t.toml");
    std::fs::write(&path, text).unwrap();
    path
}

fn stderr(o: &Output) -> Vec<String> {
    String::from_utf8(o.stderr.clone()).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn check_prints_the_effective_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), GOOD);
    let out = tidegate(&["check", "--config", path.to_str().unwrap()]);
    assert_eq!((out.status.code(), stderr(&out)), (Some(0), vec![]));
    let shown = String::from_utf8(out.stdout).unwrap();
    assert!(shown.contains("steer_timeout = \"15s\""), "{shown}");
    assert!(shown.contains("# NIC profile generic: off must be tso, gso, gro, lro, tx"), "{shown}");
    // What it prints is a configuration again.
    let path = file(dir.path(), &shown);
    assert_eq!(tidegate(&["check", "--config", path.to_str().unwrap()]).status.code(), Some(0));

    let out = tidegate(&["--json", "check", "--config", path.to_str().unwrap()]);
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((out.status.code(), &json["wccp"]["group"][0]["priority"]), (Some(0), &240.into()));
}

#[test]
fn check_shows_what_the_router_has_to_do_for_servers_packets() {
    let dir = tempfile::tempdir().unwrap();
    let (head, rest) = GOOD.split_once("[wccp]").unwrap();
    let service = rest.split_once("[[service]]").unwrap().1;
    let head = head.replace("\"wccp\"", "\"static\"");
    let path = file(dir.path(), &format!("{head}[[service]]{service}upstream_source = \"client\"\n"));
    let out = tidegate(&["check", "--config", path.to_str().unwrap()]);
    let said = [out.stdout, out.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(
        said.contains("service ftp: upstream_source = \"client\" needs a second policy on the router"),
        "{said}"
    );
    assert_eq!(out.status.code(), Some(0));
}

#[test]
fn errors_are_a_line_each_and_status_2() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &GOOD.replace("id = 61", "id = 1").replace("[2020]", "[2021]"));
    let p = path.display();
    let lines = [
        format!("{p}:11: key `wccp.group.id`: 1 is out of range; write a whole number from 51 to 255"),
        format!(
            "{p}:16: key `service.data_ports`: data port 2021 is in no group of role \"forward\", so no router \
             redirects it; add it to the ports of a [[wccp.group]], or use a port that is there"
        ),
    ];
    for command in ["check", "run"] {
        let out = tidegate(&[command, "--config", path.to_str().unwrap()]);
        assert_eq!((out.status.code(), stderr(&out)), (Some(2), lines.to_vec()), "{command}");
        assert!(out.stdout.is_empty());
    }
    let out = tidegate(&["check", "--json", "--config", path.to_str().unwrap()]);
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((out.status.code(), stderr(&out)), (Some(2), lines.to_vec()));
    assert_eq!((&json["errors"][1]["line"], &json["errors"][1]["column"]), (&16.into(), &15.into()));
}

#[test]
fn a_missing_file_and_a_missing_profile_are_named() {
    let out = tidegate(&["check", "--config", "/nonexistent/t.toml"]);
    assert_eq!(out.status.code(), Some(2));
    assert_eq!(
        stderr(&out),
        [
            "/nonexistent/t.toml: cannot be read: No such file or directory (os error 2); give --config the path of a \
         configuration file"
        ]
    );
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &GOOD.replace("next_hop", "nic_profile = \"my.toml\"\nnext_hop"));
    let out = tidegate(&["check", "--config", path.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(2));
    assert_eq!(
        stderr(&out),
        [format!(
            "{}: cannot be read: No such file or directory (os error 2); write \"generic\", \"veth\" or a profile's \
         path as interface.nic_profile",
            dir.path().join("my.toml").display()
        )]
    );
}

#[test]
fn bad_usage_is_one_line_and_status_2() {
    for (args, line) in [
        (&[][..], "no command; try `tidegate --help`"),
        (&["dance"][..], "unrecognized subcommand 'dance'; try `tidegate --help`"),
        (
            &["check"][..],
            "the following required arguments were not provided: --config <FILE>; try `tidegate --help`",
        ),
        (
            &["replay"][..],
            "the following required arguments were not provided: <--config <FILE>|--verify <DIR>...>; try `tidegate \
             --help`",
        ),
        (
            &["run", "--config", "x", "--record", "y", "--record-limit", "0"][..],
            "invalid value '0' for '--record-limit <SIZE>': write bytes, or a number with KiB, MiB or GiB, as 64MiB \
             For more information, try '--help'.; try `tidegate --help`",
        ),
    ] {
        let out = tidegate(args);
        assert_eq!((out.status.code(), stderr(&out)), (Some(2), vec![line.to_owned()]), "{args:?}");
    }
    let out = tidegate(&["--log", "a=b=c", "check", "--config", "x"]);
    assert_eq!((out.status.code(), stderr(&out).len()), (Some(2), 1));
}

#[test]
fn help_teaches_with_examples_and_names_only_what_is_built() {
    let out = tidegate(&["--help"]);
    let help = String::from_utf8(out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(0));
    assert!(help.contains("tidegate check --config tidegate.toml"), "{help}");
    for later in ["bench", "ctl"] {
        assert!(!help.contains(later), "{help}");
    }
    for (command, option) in
        [("run", "--config"), ("check", "--config"), ("replay", "--verify"), ("explain", "client.pcapng")]
    {
        let help = String::from_utf8(tidegate(&[command, "--help"]).stdout).unwrap();
        assert!(help.contains(&format!("Example:\n  tidegate {command} {option}")), "{help}");
    }
}

#[test]
fn run_refuses_an_interface_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), GOOD);
    let out = tidegate(&["--log", "error", "run", "--config", path.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(2));
    let lines = stderr(&out);
    assert_eq!(lines.last().unwrap(), "tg-none: no such interface; see `ip link` and mend interface.name");
}

#[test]
fn replay_plays_a_capture_and_says_what_became_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = file(dir.path(), GOOD);
    let capture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/frames/tcp-headers.pcap");
    let (out, events) = (dir.path().join("out.pcapng"), dir.path().join("events.jsonl"));
    let run = |more: &[&str]| {
        let paths = [config.to_str().unwrap(), capture, out.to_str().unwrap(), events.to_str().unwrap()];
        let args = [
            "replay", "--config", paths[0], paths[1], "--out", paths[2], "--events", paths[3], "--log", "off",
        ];
        tidegate(&[&args, more].concat())
    };
    let o = run(&[]);
    assert_eq!((o.status.code(), stderr(&o)), (Some(0), Vec::<String>::new()));
    let text = String::from_utf8(o.stdout).unwrap();
    assert!(text.contains("22 records, 22 packets redirected"), "{text}");
    assert!(text.ends_with("8 returned unchanged, 0 changed\n"), "{text}");
    let o = run(&["--json"]);
    let report: serde_json::Value = serde_json::from_slice(&o.stdout).unwrap();
    assert_eq!(report["returned"], 8);
    let lines = std::fs::read_to_string(&events).unwrap();
    assert_eq!(lines.lines().count() as u64, report["events"].as_u64().unwrap());
    assert!(lines.starts_with("{\"v\":1,\"time\":\"1970-01-01T00:16:40"), "by the capture's clock: {lines}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&events).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(std::fs::metadata(&out).unwrap().len() > 1000);

    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&out).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "passwords go to servers");

    for (args, want) in [
        (vec!["replay"], "the following required arguments were not provided"),
        (vec!["replay", "--config", "x.toml"], "the following required arguments were not provided"),
        (
            vec!["replay", "--config", config.to_str().unwrap(), "/nowhere.pcap"],
            "/nowhere.pcap: cannot be opened",
        ),
        (vec!["replay", "--config", "/nowhere.toml", capture], "/nowhere.toml"),
    ] {
        let o = tidegate(&args);
        assert_eq!(o.status.code(), Some(2), "{args:?}");
        assert!(stderr(&o).len() == 1 && stderr(&o)[0].contains(want), "{args:?}: {:?}", stderr(&o));
    }
}

#[test]
fn replay_never_writes_over_what_it_reads() {
    let dir = tempfile::tempdir().unwrap();
    let config = file(dir.path(), GOOD);
    let capture = dir.path().join("x.pcap");
    let whole =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/frames/tcp-headers.pcap")).unwrap();
    std::fs::write(&capture, &whole).unwrap();
    let link = dir.path().join("hard.pcap");
    std::fs::hard_link(&capture, &link).unwrap();
    let other = dir.path().join("other");
    let [x, hard, other] = [&capture, &link, &other].map(|p| p.to_str().unwrap());
    for (args, named) in [
        (&["--out", x][..], x),
        (&["--events", x], x),
        (&["--out", hard], hard),
        (&["--out", other, "--events", other], other),
    ] {
        let all = [&["replay", "--config", config.to_str().unwrap(), x, "--log", "off"], args].concat();
        let o = tidegate(&all);
        let line = format!(
            "{named}: it is the capture itself, or named twice; give --out and --events files of their own"
        );
        assert_eq!((o.status.code(), stderr(&o)), (Some(2), vec![line]), "{args:?}");
        assert!(std::fs::read(&capture).unwrap() == whole, "{args:?}: the capture is destroyed");
    }
    // What cannot be read leaves the output alone.
    std::fs::write(other, "old").unwrap();
    let missing = ["replay", "--config", config.to_str().unwrap(), "/nowhere.pcap", "--out", other];
    assert_eq!(tidegate(&missing).status.code(), Some(2));
    assert_eq!(std::fs::read_to_string(other).unwrap(), "old");
}
