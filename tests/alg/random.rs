//! Two hosts that react, and everything else by chance: dialogues, edits, segmentation, loss, duplication,
//! reordering, windows, options, sequence numbers near the wrap. Each host gets what the other sent with exactly
//! the decided edits.
//!
//! A failure names its case by number; `TG_ALG_FROM=that TG_ALG_CASES=1` runs it alone.

use crate::host::Manner;
use crate::support::{Faults, RAW_END, Rng, Rule, Table, WORDS, World};
use tidegate::alg::What;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn manner(rng: &mut Rng) -> Manner {
    let isn = match rng.below(3) {
        0 => rng.next() as u32,
        _ => u32::MAX - rng.below(300) as u32,
    };
    let mss = [48, 88, 536, 1460][rng.below(4) as usize];
    Manner {
        isn,
        mss,
        scale: [None, Some(0), Some(2), Some(14)][rng.below(4) as usize],
        sack: rng.chance(70),
        stamps: rng.chance(50),
        room: [24, 40, 200, 60_000, 60_000][rng.below(5) as usize],
        piece: [1, 3, 17, 60, 1460][rng.below(5) as usize],
        ragged: rng.chance(50),
        nagle: rng.chance(30),
        read_every: [0, 0, 0, 70][rng.below(4) as usize],
        partial: rng.chance(25),
    }
}

/// A stream, and what becomes of its lines. Lines of one stream are all different, so that a table tells them.
fn stream(rng: &mut Rng, side: &str, editor: &mut Table) -> Vec<u8> {
    let mut all = Vec::new();
    let lines = rng.below(9);
    for n in 0..lines {
        if rng.chance(8) {
            all.extend(raw(rng, side, n, editor));
            continue;
        }
        let word = ["PORT", "227", "NOOP", "USER x", "PO", "HOLD", "22", "EPRT"][rng.below(8) as usize];
        let long = "y".repeat(60);
        let fill = ["", " ", ",1,2,3", " 10,0,0,5,19,137", &long][rng.below(5) as usize];
        let end = if rng.chance(85) { "\r\n" } else { "\n" };
        let line = format!("{word} {side}{n}{fill}{end}").into_bytes();
        let new = match rng.below(4) {
            0 => format!("{word} {side}{n}\r\n"),
            1 => format!("{word} {side}{n}{fill} and {} more{end}", "z".repeat(rng.below(40) as usize)),
            2 => String::new(),
            _ => format!("first {side}{n}\r\nsecond{end}"),
        };
        let rule = match rng.below(10) {
            0..5 => Some(Rule::Replace(new.into_bytes())),
            5 => Some(Rule::Swallow(format!("@{side}{n} answered\r\n").into_bytes())),
            6 => Some(Rule::Hold(1 + rng.below(5) as u32)),
            _ => None,
        };
        // A line that nobody wants may have gone before it was whole.
        let rule = rule.filter(|_| WORDS.iter().any(|w| line.starts_with(w)));
        if let Some(rule) = rule {
            editor.rules.insert(line.clone(), rule);
        }
        all.extend(line);
    }
    all
}

/// A line and raw bytes behind it, which look like lines that would be edited.
fn raw(rng: &mut Rng, side: &str, n: u64, editor: &mut Table) -> Vec<u8> {
    let mut all = format!("RAW {side}{n}\r\n").into_bytes();
    editor.rules.insert(all.clone(), Rule::Raw([side == "c", side == "s"]));
    for part in 0..rng.below(4) {
        let line = format!("PORT {side}{n}.{part}\r\n").into_bytes();
        editor.rules.insert(line.clone(), Rule::Replace(b"never\r\n".to_vec()));
        all.extend(line);
        all.extend((0..rng.below(30)).map(|_| 128 + rng.below(128) as u8));
    }
    all.push(RAW_END);
    all
}

/// Takes the answers of ours, lines that begin with `@`, out of what a host got.
fn apart(got: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut rest, mut answers) = (Vec::new(), Vec::new());
    for line in got.split_inclusive(|b| matches!(*b, b'\n' | RAW_END)) {
        if line.starts_with(b"@") { answers.extend_from_slice(line) } else { rest.extend_from_slice(line) }
    }
    (rest, answers)
}

pub(crate) fn case(number: u64) {
    let mut rng = Rng(number.wrapping_mul(0x2545_F491_4F6C_DD1D));
    let mut editor = Table::default();
    let mut up = stream(&mut rng, "c", &mut editor);
    let mut down = stream(&mut rng, "s", &mut editor);
    let answers_come = editor.rules.values().any(|r| matches!(r, Rule::Swallow(_)));
    for (to_server, stream) in [(true, &mut up), (false, &mut down)] {
        // Between lines there is no place for answers where the last one has no end.
        if answers_come || !rng.chance(20) {
            continue;
        }
        let last: &[u8] = match rng.below(4) {
            0 => {
                let open = format!("RAW to server {to_server}\r\n").into_bytes();
                editor.rules.insert(open.clone(), Rule::Raw([to_server, !to_server]));
                stream.extend(open);
                b"\x16\x03\x01PORT x\r\nPORT"
            }
            1 => b"PORT 1",
            _ => b"QUI",
        };
        stream.extend_from_slice(last);
    }
    let (client, server) = (manner(&mut rng), manner(&mut rng));
    let fault = |rng: &mut Rng| [0, 0, 5, 20][rng.below(4) as usize];
    let faults = Faults {
        loss: fault(&mut rng),
        duplicate: fault(&mut rng),
        reorder: fault(&mut rng),
        swap: rng.chance(10),
        until: 20_000,
    };
    let mut world = World::new((client, server), (&up, &down), editor, faults, number);
    // An answer needs a stream that goes on.
    if rng.chance(50) || answers_come {
        (world.client.closes, world.server.closes) = (false, false);
        world.run();
        if answers_come {
            world.run_until(|w| w.alg.memory() == 0);
        }
        (world.client.closes, world.server.closes) = (true, true);
    }
    world.run();
    let (to_server, back_to_client) = world.editor.expected(&up);
    let (to_client, back_to_server) = world.editor.expected(&down);
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let (got, answers) = apart(&world.server.got);
    assert_eq!((text(&got), text(&answers)), (text(&to_server), text(&back_to_server)), "to the server");
    let (got, answers) = apart(&world.client.got);
    assert_eq!(
        (text(&got), text(&answers)),
        (text(&to_client), text(&back_to_client)),
        "to the client; {:?}",
        world.editor
    );
    let bad = world.notes.iter().find(|n| {
        !matches!(n.what, What::OldTimestamp | What::OutOfWindow | What::LateFull | What::UrgentCleared)
    });
    assert_eq!(bad, None);
    // What both ends have, nobody keeps.
    world.run_until(|w| w.alg.is_over());
    assert_eq!(world.alg.memory(), 0, "{:#?}", world.alg);
}

/// Where nothing is to be changed, every segment goes as it came, in the order in which it came.
#[test]
fn nothing_to_change_leaves_every_segment_as_it_is() {
    for number in 0..2000 {
        let mut rng = Rng(number ^ 0x00C0_FFEE);
        let text = |rng: &mut Rng| {
            let lines = rng.below(12);
            (0..lines)
                .map(|n| format!("NOOP {n}{}\r\n", "x".repeat(rng.below(90) as usize)))
                .collect::<String>()
        };
        let (up, down) = (text(&mut rng), text(&mut rng));
        let (client, server) = (manner(&mut rng), manner(&mut rng));
        let duplicate = [0, 10, 20][rng.below(3) as usize];
        let faults = Faults { duplicate, until: u64::MAX, ..Faults::default() };
        let streams = (up.as_bytes(), down.as_bytes());
        let mut world = World::new((client, server), streams, Table::default(), faults, number);
        world.run();
        assert_eq!((&world.server.got[..], &world.client.got[..]), streams, "{number}");
        assert_eq!((world.verbatim, world.left), (world.came, world.came), "{number}");
        assert_eq!(world.notes, [], "{number}");
    }
}

#[test]
fn hosts_get_exactly_what_was_decided_whatever_the_network_does() {
    let from = setting("TG_ALG_FROM", 0);
    let cases = setting("TG_ALG_CASES", 10_000);
    for number in from..from + cases {
        if let Err(why) = std::panic::catch_unwind(|| case(number)) {
            eprintln!("case {number} (TG_ALG_FROM={number} TG_ALG_CASES=1)");
            std::panic::resume_unwind(why);
        }
    }
}

/// Cases that once showed a fault.
#[test]
fn what_was_found_stays_mended() {
    // A keep-alive's byte, where an answer of ours had taken its place.
    case(20_011_431);
}
