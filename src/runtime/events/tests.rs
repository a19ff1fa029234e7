use super::*;
use crate::event::{Direction, Path, SessionId};
use std::net::{Ipv4Addr, SocketAddr};

/// One of each kind. A kind that is missing here makes `kind` fail to compile.
fn one_of_each() -> Vec<What> {
    let a: SocketAddr = "10.0.0.1:1234".parse().unwrap();
    let session = SessionId(7);
    let text = || "why".to_owned();
    vec![
        What::Session {
            session: Some(session),
            state: "open",
            client: a,
            server: a,
            service: text(),
            reason: text(),
        },
        What::Command {
            session,
            verb: "PASS".to_owned(),
            argument: "****".to_owned(),
            action: "refused",
            rule: Some("line-end"),
        },
        What::Reply { session, code: 230, text: text(), source: "server" },
        What::Expectation { session, state: "opened", client_side: a, server_side: Some(a), reason: text() },
        What::Transfer {
            session,
            verb: "RETR".to_owned(),
            name: "a\u{1b}[2J\nb".to_owned(),
            direction: Direction::Download,
            path: Path::Translated,
            client_mode: "passive",
            bytes: 1000,
            duration_ms: 12,
            verdict: "complete",
            code: 226,
        },
        What::Drop { reason: "no_owner", count: 3, text: "nobody wants it" },
        What::Wccp { group: 61, router: Ipv4Addr::new(10, 9, 0, 1), state: "usable", reason: text() },
        What::Warning { kind: "offload_on", subject: "eth1".to_owned(), text: text() },
        What::Gateway { state: "started", text: text() },
        What::Firewall {
            rule: text(),
            action: "dropped",
            from: "outside",
            protocol: 6,
            source: a,
            destination: a,
            count: 3,
        },
        What::Conflict { session, from: "client", at: 42 },
        What::Neighbour { address: a.ip(), state: "resolved" },
    ]
}

const fn kind(what: &What) -> &'static str {
    match what {
        What::Session { .. } => "session",
        What::Command { .. } => "command",
        What::Reply { .. } => "reply",
        What::Expectation { .. } => "expectation",
        What::Transfer { .. } => "transfer",
        What::Drop { .. } => "drop",
        What::Wccp { .. } => "wccp",
        What::Warning { .. } => "warning",
        What::Gateway { .. } => "gateway",
        What::Firewall { .. } => "firewall",
        What::Conflict { .. } => "conflict",
        What::Neighbour { .. } => "neighbour",
    }
}

fn to_file(path: &std::path::Path) -> Result<EventOutput, EventsError> {
    EventOutput::open(EventTarget::File(path.to_owned()))
}

fn event(what: What) -> Event {
    Event { at: Instant::from_millis(1_500), what }
}

#[test]
fn every_field_of_every_event_is_documented_in_its_section() {
    let doc = include_str!("../../../docs/events.md");
    let section = |name: &str| {
        let start = doc.find(&format!("\n### `{name}`\n")).unwrap_or_else(|| panic!("no section for {name}"));
        let rest = &doc[start + 5..];
        &rest[..rest.find("\n##").unwrap_or(rest.len())]
    };
    let common = ["v", "time", "at_ns", "worker", "event"];
    for name in common {
        assert!(section("every line").contains(&format!("| `{name}` |")), "{name} of every line");
    }
    let mut values: Vec<serde_json::Value> = one_of_each()
        .into_iter()
        .map(|what| {
            let name = kind(&what);
            let value: serde_json::Value = serde_json::from_str(&json_line(0, &event(what), 0)).unwrap();
            assert_eq!(value["event"], name);
            value
        })
        .collect();
    let sums = Summary::default();
    for own in [Own::EventsLost { count: 1 }, Own::Summary { sums: &sums }] {
        values.push(serde_json::from_str(&line(None, Instant::ZERO, 0, &own)).unwrap());
    }
    assert_eq!(
        values.len(),
        doc.matches("\n### `").count() - 1,
        "a section for an event that does not exist"
    );
    for value in values {
        let name = value["event"].as_str().unwrap();
        for field in value.as_object().unwrap().keys().filter(|f| !common.contains(&f.as_str())) {
            assert!(section(name).contains(&format!("| `{field}` |")), "field {field} of {name}");
        }
    }
}

#[test]
fn a_line_has_its_documented_form() {
    let what = What::Gateway { state: "started", text: "x".to_owned() };
    assert_eq!(
        json_line(0, &event(what), 1_700_000_000_000_000_001),
        r#"{"v":1,"time":"2023-11-14T22:13:21.500000001Z","at_ns":1500000000,"worker":0,"event":"gateway","state":"started","text":"x"}"#
    );
}

#[test]
fn lines_for_people_are_one_line_without_terminal_sequences() {
    for what in one_of_each() {
        assert!(human(&what).chars().all(|c| !c.is_control()), "{}", human(&what));
    }
    assert_eq!(human(&one_of_each()[1]), "session 7: PASS **** (refused by rule line-end)");
    let reply =
        What::Reply { session: SessionId(1), code: 220, text: "a\x1b[2J".to_owned(), source: "server" };
    assert_eq!(human(&reply), "session 1: 220 a\\u{1b}[2J (server)");
}

#[test]
fn events_reach_the_file_the_sums_and_a_reopened_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    let reopen = Arc::new(AtomicBool::new(false));
    let (sink, writer) =
        EventWriter::start(to_file(&path).unwrap(), Clock::start(), Arc::clone(&reopen)).unwrap();
    let all = one_of_each();
    let n = all.len();
    for what in all {
        assert!(sink.clone().post(0, event(what)));
    }
    let lines = |p: &std::path::Path| std::fs::read_to_string(p).unwrap_or_default().lines().count();
    let wait = |done: &dyn Fn() -> bool| {
        for _ in 0..500 {
            if done() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("nothing came within 5 s");
    };
    wait(&|| lines(&path) == n);
    let old = dir.path().join("events.jsonl.1");
    std::fs::rename(&path, &old).unwrap();
    reopen.store(true, Ordering::Release);
    wait(&|| path.exists());
    assert!(sink.post(0, event(What::Drop { reason: "no_owner", count: 4, text: "t" })));
    drop(sink);
    let summary = writer.finish(|| false).unwrap();
    assert_eq!((lines(&old), lines(&path)), (n, 2), "the last line is the summary");
    assert_eq!(summary.lost, 0);
    for (name, n) in [("session.open", 1), ("drop.no_owner", 7), ("transfer.bytes.download", 1000)] {
        assert_eq!(summary.counters.get(name), Some(&n), "{name}");
    }
    let last = std::fs::read_to_string(&path).unwrap();
    let last: serde_json::Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["counters"]["drop.no_owner"]), (&"summary".into(), &7.into()));
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_full_queue_counts_and_says_so() {
    let (queue, records) = bounded(2);
    let lost = Arc::new(AtomicU64::new(0));
    let sink = EventSink { queue, lost: Arc::clone(&lost) };
    let what = || event(What::Gateway { state: "started", text: String::new() });
    assert_eq!([(); 5].map(|()| sink.post(0, what())), [true, true, false, false, false]);
    drop(sink);
    let dir = tempfile::tempdir().unwrap();
    let writer = Writer::new(to_file(&dir.path().join("e")).unwrap(), Clock::start(), Arc::default(), lost);
    let summary = writer.run(&records);
    assert_eq!((summary.lost, summary.counters["gateway.started"]), (3, 2));
    let text = std::fs::read_to_string(dir.path().join("e")).unwrap();
    assert_eq!(text.matches(r#""event":"events_lost","count":3"#).count(), 1, "{text}");
    assert_eq!(text.lines().count(), 4);
}

#[test]
fn a_target_that_takes_nothing_loses_events_but_not_sums() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (queue, records) = bounded(8);
    let lost = Arc::new(AtomicU64::new(0));
    let sink = EventSink { queue, lost: Arc::clone(&lost) };
    sink.post(0, event(What::Gateway { state: "started", text: String::new() }));
    drop(sink);
    let output = EventOutput { target: EventTarget::Stdout, out: Box::new(Full) };
    let writer = Writer::new(output, Clock::start(), Arc::default(), lost);
    let summary = writer.run(&records);
    assert_eq!((summary.lost, summary.counters["gateway.started"]), (1, 1));
}

#[test]
fn a_target_that_cannot_be_opened_is_named_with_a_remedy_and_nobody_waits_for_a_reader() {
    let dir = tempfile::tempdir().unwrap();
    let error = |path: &std::path::Path| {
        let text = to_file(path).err().unwrap().to_string();
        text.strip_prefix(&format!("events.path {}: ", path.display())).unwrap().to_owned()
    };
    let missing = dir.path().join("no/such.jsonl");
    assert_eq!(error(&missing), "its directory does not exist; make it, or name another path");
    assert!(error(dir.path()).ends_with("; check the path and its permissions"), "{}", error(dir.path()));
    let pipe = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(error(&pipe), "a pipe that nobody reads; start its reader first");

    // With a reader that then takes nothing: the end does not wait for it.
    let reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&pipe).unwrap();
    let (sink, writer) = EventWriter::start(to_file(&pipe).unwrap(), Clock::start(), Arc::default()).unwrap();
    for _ in 0..QUEUE {
        sink.post(0, event(What::Gateway { state: "started", text: "x".repeat(100) }));
    }
    drop(sink);
    let clock = Clock::start();
    assert_eq!(writer.finish(|| false), None);
    let waited = clock.now().as_millis();
    assert!((1_900..20_000).contains(&waited), "{waited} ms");
    drop(reader);
}
