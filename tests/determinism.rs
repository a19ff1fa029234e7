//! The same frames at the same times make the same frames, byte for byte; another seed makes others. And what a
//! worker records of that replays the same, also when the recording ended early.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that cannot go on has failed")]

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tidegate::config::{self, Config};
use tidegate::io::pcap::Reader;
use tidegate::io::{Port as _, PortInfo, mem};
use tidegate::record::{About, Ended, Manifest, RecordWriter, RecordedInterface, Recorder, Verdict};
use tidegate::runtime::{replay, settings};
use tidegate::time::{Duration, Instant};
use tidegate::worker::{Idle, Wish, Worker};

/// What came in, turn by turn, when a case was recorded.
struct Input {
    config: Config,
    mac: [u8; 6],
    turns: Vec<(Instant, Vec<Vec<u8>>)>,
}

fn input(case: &str) -> Input {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps").join(case);
    let text = fs::read_to_string(dir.join("config.toml")).unwrap();
    let mut frames = Reader::open(&dir.join("worker0-in.pcapng")).unwrap();
    let turns = fs::read_to_string(dir.join("worker0-turns.jsonl")).unwrap();
    let turns = turns.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let count = line["in"][0].as_u64().unwrap();
        let now = Instant::from_nanos(line["now"].as_u64().unwrap());
        (now, (0..count).map(|_| frames.next().unwrap().unwrap().data).collect())
    });
    Input {
        config: config::parse(&text, &dir.join("config.toml")).unwrap(),
        mac: Manifest::load(&dir).unwrap().interface[0].mac().unwrap(),
        turns: turns.collect(),
    }
}

/// What a worker sends, and tells, on this input.
fn run(input: &Input, seed: [u8; 16], recorder: Option<Recorder>) -> (Vec<Vec<u8>>, Vec<String>) {
    run_on(input, seed, recorder, 1500)
}

fn run_on(
    input: &Input,
    seed: [u8; 16],
    recorder: Option<Recorder>,
    mtu: u16,
) -> (Vec<Vec<u8>>, Vec<String>) {
    let (port, handle) = mem::pair("gw0", input.mac, 4096);
    let info = PortInfo { mtu, ..port.info().clone() };
    let engine = settings::build(&input.config, &[info], seed).unwrap();
    let mut worker = Worker::new(engine, vec![Box::new(port)], Idle::Spin);
    if let Some(recorder) = recorder {
        worker.record(recorder);
    }
    let (at, sent, mut told) = (Cell::new(0), RefCell::new(Vec::new()), Vec::new());
    let take = || sent.borrow_mut().extend(std::iter::from_fn(|| handle.take()));
    let clock = || {
        take();
        let n = at.replace(at.get() + 1);
        let Some((now, frames)) = input.turns.get(n) else { return input.turns.last().unwrap().0 };
        assert!(frames.iter().all(|f| handle.push(f)));
        *now
    };
    let wish = || Wish { stop: at.get() > input.turns.len(), drain: false };
    worker.run(clock, wish, |event| told.push(format!("{event:?}")), Duration::ZERO).unwrap();
    worker.finish_recording();
    let held: Vec<i64> = worker.ports_mut().iter_mut().map(|p| p.stats().held).collect();
    assert!(held[0] > 0, "frames that lie ready are out of their port");
    assert_eq!(worker.frames_held(), 0, "of {held:?}");
    (sent.into_inner(), told)
}

fn seed(input: &Input) -> [u8; 16] {
    input.config.worker.seed.unwrap()
}

#[test]
fn the_same_input_gives_the_same_output_and_another_seed_another() {
    for case in ["passive", "active", "two-sessions"] {
        let input = input(case);
        let first = run(&input, seed(&input), None);
        assert!(first.0.len() > 40 && first.1.len() > 10, "{case}: nothing happened");
        assert!(first.1.iter().any(|e| e.contains("226")), "{case}: no transfer");
        // In another thread, whose hashers of the standard library would have other keys.
        let second = std::thread::scope(|s| s.spawn(|| run(&input, seed(&input), None)).join().unwrap());
        assert!(first == second, "{case}");
        let mut other = seed(&input);
        other[0] ^= 1;
        assert_ne!(first.0, run(&input, other, None).0, "{case}");
    }
}

/// Each frame with an 802.1Q tag: priority 1, VLAN 5.
fn tagged(frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x81, 0, 0x20, 5], &frame[12..]].concat()
}

#[test]
fn the_tags_of_what_comes_in_are_on_what_goes_out() {
    for case in ["passive", "active", "not-ours"] {
        let plain = input(case);
        let (untagged, told) = run(&plain, seed(&plain), None);
        let mut other = input(case);
        for frame in other.turns.iter_mut().flat_map(|t| &mut t.1) {
            *frame = tagged(frame);
        }
        let (sent, same) = run(&other, seed(&other), None);
        assert!(told == same && sent.len() == untagged.len(), "{case}");
        // Until the first frame came in there was no tag to know.
        let first = sent.iter().position(|f| f[12..14] == [0x81, 0]).unwrap();
        assert!(first < 4, "{case}: tags came late");
        for (n, (with, without)) in sent.iter().zip(&untagged).enumerate() {
            let want = if n < first { without.clone() } else { tagged(without) };
            assert_eq!(*with, want, "{case}: frame {n}");
        }
    }
}

/// Tags as a configured VLAN has them: of no priority.
fn in_vlan(ids: &[u16], frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame[..12].to_vec();
    for (n, id) in ids.iter().enumerate() {
        bytes.extend(if n + 1 < ids.len() { [0x88, 0xa8] } else { [0x81, 0] });
        bytes.extend(id.to_be_bytes());
    }
    [&bytes, &frame[12..]].concat()
}

#[test]
fn in_a_configured_vlan_every_frame_is_tagged_from_the_first() {
    for case in ["passive", "active", "not-ours"] {
        for ids in [&[5][..], &[7, 5]] {
            let plain = input(case);
            let mut other = input(case);
            other.config.interface.vlan = Some(ids.to_vec());
            // What lies beneath two tags is the same as on a link with room for eight bytes less.
            let mut narrow = run(&plain, seed(&plain), None);
            if ids.len() == 2 {
                narrow = run_on(&plain, seed(&plain), None, 1492);
            }
            for frame in other.turns.iter_mut().flat_map(|t| &mut t.1) {
                *frame = in_vlan(ids, frame);
            }
            let (sent, told) = run(&other, seed(&other), None);
            assert_eq!(told, narrow.1, "{case} {ids:?}");
            let want: Vec<_> = narrow.0.iter().map(|f| in_vlan(ids, f)).collect();
            assert!(sent == want, "{case} {ids:?}");
        }
    }
}

#[test]
fn frames_of_another_vlan_are_not_for_us() {
    let mut other = input("passive");
    let alone = {
        let mut silent = input("passive");
        silent.config.interface.vlan = Some(vec![6]);
        silent.turns.iter_mut().for_each(|t| t.1.clear());
        run(&silent, seed(&silent), None)
    };
    for (ids, vlan) in
        [(&[][..], &[6][..]), (&[5], &[6]), (&[6, 5], &[6]), (&[6], &[6, 5]), (&[6, 5], &[5, 6])]
    {
        let frames = input("passive").turns;
        other.config.interface.vlan = Some(vlan.to_vec());
        other.turns = frames;
        for frame in other.turns.iter_mut().flat_map(|t| &mut t.1) {
            *frame = in_vlan(ids, frame);
        }
        let (sent, told) = run(&other, seed(&other), None);
        // What it says and sends is what it would in silence, in its own VLAN.
        assert_eq!(told, alone.1, "{ids:?} for {vlan:?}");
        assert_eq!(sent.len(), alone.0.len(), "{ids:?} for {vlan:?}");
    }
}

fn record(dir: &Path, limit: u64, input: &Input) -> Manifest {
    let about = About {
        config: input.config.recorded_toml(seed(input)),
        recorded: "memory".to_owned(),
        interfaces: vec![RecordedInterface {
            name: "gw0".to_owned(),
            driver: "mem".to_owned(),
            mac: RecordedInterface::show_mac(input.mac),
            mtu: 1500,
        }],
    };
    let (recorder, writer) = RecordWriter::start(dir, limit, about).unwrap();
    let (sent, told) = run(input, seed(input), Some(recorder));
    let recorded = writer.finish().unwrap().manifest;
    let ended = told.iter().filter(|e| e.contains("recording_ended")).count();
    assert_eq!(ended, usize::from(recorded.ended != Ended::Stop));
    if recorded.ended == Ended::Stop {
        assert_eq!(recorded.frames_out, sent.len() as u64);
        assert_eq!(recorded.frames_in, input.turns.iter().map(|t| t.1.len() as u64).sum::<u64>());
    }
    recorded
}

#[test]
fn a_recording_replays_the_same_also_one_that_was_cut() {
    let input = input("passive");
    let dir = tempfile::tempdir().unwrap();
    let of = |name: &str| -> PathBuf { dir.path().join(name) };
    let whole = record(&of("whole"), u64::MAX, &input);
    assert_eq!(whole.ended, Ended::Stop);
    let size: u64 = whole.file.iter().map(|f| f.bytes).sum();
    for name in ["whole", "cut"] {
        if name == "cut" {
            let cut = record(&of("cut"), size / 2, &input);
            assert_eq!(cut.ended, Ended::Limit);
            let cut_size: u64 = cut.file.iter().map(|f| f.bytes).sum();
            assert!(
                cut.turns < whole.turns && cut_size > size / 3 && cut_size < size * 2 / 3,
                "{cut_size} of {size}"
            );
        }
        assert_eq!(replay::verify(&of(name)).unwrap().1, Verdict::Same, "{name}");
        // Only the owner may read what passwords stand in.
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&of(name)), 0o700);
        for file in fs::read_dir(of(name)).unwrap().map(Result::unwrap) {
            assert_eq!(mode(&file.path()), 0o600, "{:?}", file.file_name());
        }
    }
    let about = About { config: String::new(), recorded: String::new(), interfaces: Vec::new() };
    let error = RecordWriter::start(&of("whole"), 1, about).unwrap_err().to_string();
    assert!(error.contains("not empty"), "{error}");
}
