//! Recorded cases pass, and every kind of change in one is noticed and named.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use tidegate::io::pcap::Reader;
use tidegate::record::{Ended, Manifest};
use tidegate::wire::{gre, parse_ip, proto, tcp};

const INGRESS: &str = "worker0-in.pcapng";
const EGRESS: &str = "worker0-out.pcapng";

fn pcaps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps")
}

fn cases() -> Vec<PathBuf> {
    let mut all: Vec<_> =
        fs::read_dir(pcaps()).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    all.sort();
    all
}

/// A copy of a case, to be changed.
struct Copy(PathBuf, #[expect(dead_code, reason = "the directory lives as long")] TempDir);

impl Copy {
    fn of(case: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let to = dir.path().join(case);
        fs::create_dir(&to).unwrap();
        for file in fs::read_dir(pcaps().join(case)).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
        Self(to, dir)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// So that it is the comparison that fails, not the sum.
    fn sum(&self) {
        let mut manifest = Manifest::load(&self.0).unwrap();
        manifest.sum(&self.0).unwrap();
        manifest.save(&self.0).unwrap();
    }

    fn edit(&self, name: &str, change: impl FnOnce(&str) -> String) {
        let text = fs::read_to_string(self.file(name)).unwrap();
        let changed = change(&text);
        assert_ne!(text, changed, "nothing was changed in {name}");
        fs::write(self.file(name), changed).unwrap();
    }

    /// Frames of a capture, each with its place in the file.
    fn frames(&self, name: &str) -> Vec<(usize, Vec<u8>)> {
        let file = fs::read(self.file(name)).unwrap();
        let mut from = 0;
        Reader::open(&self.file(name))
            .unwrap()
            .map(|record| {
                let data = record.unwrap().data;
                let at = from + file[from..].windows(data.len()).position(|w| w == data).unwrap();
                from = at + data.len();
                (at, data)
            })
            .collect()
    }

    fn flip(&self, name: &str, at: usize) {
        let mut file = fs::read(self.file(name)).unwrap();
        file[at] ^= 0x04;
        fs::write(self.file(name), file).unwrap();
    }

    /// Exit status, standard output, standard error.
    fn verify(&self) -> (i32, String, String) {
        verify(&[&self.0], &[])
    }

    /// That it fails with a line that begins and goes on so, after "(turn N): " the field.
    #[track_caller]
    fn fails(&self, what: &str, field: &str) -> String {
        let (status, out, err) = self.verify();
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!((status, err.as_str(), lines.len(), lines[1]), (1, "", 2, "0 passed, 1 failed"), "{out}");
        let name = self.0.file_name().unwrap().to_str().unwrap();
        let rest =
            lines[0].strip_prefix(&format!("case {name}: {what} (turn ")).unwrap_or_else(|| panic!("{out}"));
        let (turn, rest) = rest.split_once("): ").unwrap();
        assert!(turn.parse::<u64>().unwrap() > 0);
        assert!(rest.starts_with(field) && rest.contains(" is ") && rest.contains(", expected "), "{out}");
        out
    }
}

fn verify(dirs: &[&Path], more: &[&str]) -> (i32, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["replay", "--verify"])
        .args(dirs)
        .args(more)
        .output()
        .unwrap();
    let text = |b: Vec<u8>| String::from_utf8(b).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

#[test]
fn all_recorded_cases_pass() {
    let all = cases();
    let names: Vec<&str> = all.iter().map(|c| c.file_name().unwrap().to_str().unwrap()).collect();
    let needed = ["active", "passive", "upload", "refused-login", "abort", "two-sessions", "not-ours"];
    for needed in needed.into_iter().chain(["bridge", "route", "route-ccc"]) {
        assert!(names.contains(&needed), "{needed} is not among {names:?}");
    }
    let dirs: Vec<&Path> = all.iter().map(PathBuf::as_path).collect();
    let (status, out, err) = verify(&dirs, &[]);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    assert_eq!(out.lines().last(), Some(format!("{} passed, 0 failed", all.len()).as_str()));
    for case in all {
        let manifest = Manifest::load(&case).unwrap();
        assert!(manifest.pins.len() > 20, "{} does not say what it pins", case.display());
        assert_eq!(manifest.ended, Ended::Stop);
        assert!(manifest.frames_in > 10 && manifest.frames_out > 10 && manifest.events > 4);
        let size: u64 = manifest.file.iter().map(|f| f.bytes).sum();
        assert!(size < 300 << 10, "{} has {size} bytes", case.display());
    }
}

#[test]
fn a_flipped_bit_in_what_the_client_sent_is_named() {
    let case = Copy::of("upload");
    // The first segment of the upload: redirected, to a data port, with bytes in it.
    let payload = case.frames(INGRESS).into_iter().find_map(|(at, frame)| {
        let outer = parse_ip(&frame, 14).ok().filter(|ip| ip.proto == proto::GRE)?;
        let (_, head) = gre::parse(outer.payload(&frame)).ok()?;
        let inner = parse_ip(&frame, outer.l4 + head).ok()?;
        let segment = tcp::parse(&frame, &inner)?;
        ((2020..=2025).contains(&segment.dst.port()) && !segment.is_empty()).then_some(at + inner.end - 1)
    });
    case.flip(INGRESS, payload.unwrap());
    case.sum();
    let (_, out, _) = case.verify();
    let number =
        out.strip_prefix("case upload: egress frame ").unwrap().split(' ').next().unwrap().to_owned();
    case.fails(&format!("egress frame {number}"), "tcp.payload[");
}

#[test]
fn a_flipped_bit_in_any_egress_frame_is_named_also_in_the_last() {
    let case = Copy::of("passive");
    let frames = case.frames(EGRESS);
    let last = frames.len();
    let middle = (last / 2..last).find(|&n| frames[n - 1].1[12..14] == [8, 0]).unwrap();
    // The upper byte of the IP identification; then the last byte of the very last frame.
    case.flip(EGRESS, frames[middle - 1].0 + 14 + 4);
    case.sum();
    case.fails(&format!("egress frame {middle}"), "ip.id is 0x");

    let case = Copy::of("passive");
    let (at, frame) = &frames[last - 1];
    case.flip(EGRESS, at + frame.len() - 1);
    case.sum();
    case.fails(&format!("egress frame {last}"), "");
    case.flip(EGRESS, at + frame.len() - 1);
    case.flip(EGRESS, *at);
    case.sum();
    case.fails(&format!("egress frame {last}"), "eth.dst is ");
}

#[test]
fn another_seed_is_noticed() {
    let case = Copy::of("active");
    case.edit("config.toml", |text| {
        let at = text.find("seed = \"").unwrap() + 8;
        let digit = if &text[at..=at] == "0" { "1" } else { "0" };
        format!("{}{digit}{}", &text[..at], &text[at + 1..])
    });
    case.sum();
    let (_, out, _) = case.verify();
    let number =
        out.strip_prefix("case active: egress frame ").unwrap().split(' ').next().unwrap().to_owned();
    case.fails(&format!("egress frame {number}"), "ip.id is 0x");
}

#[test]
fn other_events_and_counters_are_named() {
    let case = Copy::of("refused-login");
    let events = fs::read_to_string(case.file("worker0-events.jsonl")).unwrap();
    let number = 1 + events.lines().position(|l| l.contains("\"code\":530")).unwrap();
    case.edit("worker0-events.jsonl", |t| t.replacen("\"code\":530", "\"code\":531", 1));
    case.sum();
    let out = case.fails(&format!("event {number}"), "reply.code");
    assert!(out.contains("reply.code is 530, expected 531"), "{out}");

    let case = Copy::of("refused-login");
    case.edit("worker0-counters.json", |t| t.replacen("\"sessions\": 1,", "\"sessions\": 2,", 1));
    case.sum();
    let (status, out, _) = case.verify();
    assert_eq!(
        (status, out.lines().next()),
        (1, Some("case refused-login: counter: sessions is 1, expected 2"))
    );
    let (status, out, _) = verify(&[&case.0], &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &json["failed"]), (1, &1.into()));
    assert_eq!(json["cases"][0]["difference"]["field"], "sessions");
}

#[test]
fn a_file_that_is_not_the_recorded_one_fails_by_its_sum() {
    for name in [
        "config.toml",
        "worker0-turns.jsonl",
        INGRESS,
        EGRESS,
        "worker0-events.jsonl",
        "worker0-counters.json",
    ] {
        let case = Copy::of("refused-login");
        case.flip(name, fs::metadata(case.file(name)).unwrap().len() as usize / 2);
        let (status, out, err) = case.verify();
        assert_eq!((status, out.as_str()), (2, "0 passed, 1 failed\n"));
        assert!(
            err.contains(&format!("{name}: is not what was recorded: ")) && err.contains("SHA-256"),
            "{err}"
        );
    }
}

#[test]
fn what_is_not_known_is_an_error_with_a_remedy() {
    type Change = fn(&Copy);
    let changes: [(Change, &str); 10] = [
        (|c| fs::remove_file(c.file("manifest.toml")).unwrap(), "manifest.toml: cannot be read"),
        (|c| fs::remove_file(c.file(EGRESS)).unwrap(), "worker0-out.pcapng: cannot be read"),
        (
            |c| c.edit("manifest.toml", |t| t.replace("format = 1", "format = 2\nnew = 1")),
            "format 2 are not known",
        ),
        (
            |c| c.edit("manifest.toml", |t| format!("surprise = 1\n{t}")),
            "manifest.toml: line 1: unknown field `surprise`",
        ),
        (
            |c| c.edit("manifest.toml", |t| t.replace("workers = 1", "workers = 2")),
            "2 workers and 1 interfaces",
        ),
        (
            |c| c.edit("worker0-turns.jsonl", |t| t.replacen("\"now\"", "\"then\"", 1)),
            "worker0-turns.jsonl: line 1: unknown field",
        ),
        (
            |c| c.edit("worker0-turns.jsonl", |t| t.replacen("\"spare\":[", "\"spare\":[9999", 2)),
            "numbers that no worker writes",
        ),
        (
            |c| {
                let more = |t: &str| t.replacen("\"slots\":[", "\"slots\":[99999", 1);
                c.edit("worker0-turns.jsonl", |t| more(t).replacen("\"out\":[", "\"out\":[99990", 1));
            },
            "numbers that no worker writes",
        ),
        (
            |c| {
                let long = format!("\"{}\"\n", "x".repeat(1_000_000));
                c.edit("worker0-events.jsonl", |t| long.repeat(70) + t);
                c.edit("worker0-turns.jsonl", |t| {
                    let (first, rest) = t.split_once('\n').unwrap();
                    let mut line: serde_json::Value = serde_json::from_str(first).unwrap();
                    line["events"] = 70.into();
                    format!("{line}\n{rest}")
                });
            },
            "has more than 67108864 bytes in turn 1",
        ),
        (|c| c.edit("config.toml", |t| t.replace("[limits]", "[limits]\nnew = 1")), "config.toml:"),
    ];
    for (change, wanted) in changes {
        let case = Copy::of("refused-login");
        change(&case);
        if case.file("manifest.toml").exists()
            && case.file(EGRESS).exists()
            && !wanted.contains("format")
            && !wanted.contains("surprise")
        {
            case.sum();
        }
        let (status, out, err) = case.verify();
        assert_eq!((status, out.as_str()), (2, "0 passed, 1 failed\n"), "{wanted}");
        assert!(err.contains(wanted) && err.contains("; ") && err.lines().count() == 1, "{wanted}: {err}");
    }
}

#[test]
fn cases_keep_no_secret_readable_and_no_path_of_a_host() {
    for case in cases() {
        for file in fs::read_dir(&case).unwrap().map(Result::unwrap) {
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o111, 0);
        }
        let config = fs::read_to_string(case.join("config.toml")).unwrap();
        assert!(!config.contains('/') || !config.contains("password_file"), "{config}");
    }
}
