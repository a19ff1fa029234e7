//! Many sessions at once, and what the engine keeps of them: nothing. An allocator counts what it allocates.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(unsafe_code, reason = "an allocator can be written in no other way")]

include!("../mem/lab_router.rs");

mod count;
#[path = "../firewall/ftp_net.rs"]
#[allow(dead_code, reason = "a part of it is needed here")]
mod ftp_net;
mod hostile;
mod inspected;
#[path = "../transit/support/craft.rs"]
#[allow(dead_code, reason = "a part of it is needed here")]
mod line_craft;
#[path = "../transit/support/options.rs"]
#[allow(dead_code, reason = "a part of it is needed here")]
mod line_options;
#[path = "../mem/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "a part of it is needed here")]
mod support;
mod transit;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use support::{Bystander, Options, World};
use tidegate::time::Duration;

const SESSIONS: usize = 200;
const TRANSFERS: usize = 3;

fn world(addresses: u8) -> World {
    let mut o = Options { clients: addresses, ..Options::default() };
    o.limits.per_client = 256;
    o.limits.half_open_per_source = 256;
    o.limits.relays = 256;
    o.server.backlog = SESSIONS + 8;
    let mut w = World::new(o);
    w.around = count::within;
    w
}

/// What a round has to have used, as far as it lasts from one look to the next.
const IN_USE: [&str; 8] = [
    "sessions",
    "sockets",
    "data flows",
    "relays",
    "expectations",
    "own ports",
    "timers",
    "entries of the flow table",
];

/// What is in use, by name; frames of the port among it, beyond those that a turn is given anyway.
fn occupied(w: &World) -> Vec<(&'static str, usize)> {
    let mut all = w.gates[0].engine.occupied();
    all.push(("frames", w.frames_held.unsigned_abs()));
    all
}

/// Every session connects, makes its transfers and quits; then 15 s pass. Gives the engine's live bytes.
fn round(w: &mut World, addresses: usize, round: u16) -> isize {
    let mut all: Vec<Bystander> = (0..SESSIONS)
        .map(|n| {
            let mut b = Bystander::new(w, n % addresses, 5000 + round * 256 + n as u16);
            (b.pace, b.wants, b.mixed) = (usize::MAX, TRANSFERS, true);
            b
        })
        .collect();
    let (mut most, mut busy) = (0, BTreeMap::new());
    for turn in 0.. {
        assert!(
            turn < 200_000,
            "{} sessions are not done",
            all.iter().filter(|b| b.done < TRANSFERS).count()
        );
        all.iter_mut().for_each(|b| b.step(w));
        w.pass(Duration::from_millis(1));
        w.events.clear();
        most = most.max(w.sessions());
        for (what, n) in occupied(w) {
            let most = busy.entry(what).or_insert(0);
            *most = n.max(*most);
        }
        if w.sessions() == 0 && all.iter().all(|b| b.done == TRANSFERS) {
            break;
        }
    }
    assert_eq!(most, SESSIONS, "they were not there at once");
    w.pass(Duration::from_secs(15));
    // What is counted is counted: each was in use meanwhile.
    for what in IN_USE {
        assert!(busy[what] > 0, "{what}: {busy:?}");
    }
    for (what, n) in occupied(w) {
        assert_eq!(n, 0, "{what} after 15 s");
    }
    assert_eq!((w.counter("refused"), w.counter("sessions_refused"), w.counter("late_syns")), (0, 0, 0));
    w.refresh();
    count::live()
}

#[test]
fn sessions_leave_nothing_behind() {
    for addresses in [1, 50] {
        let mut w = world(addresses);
        let after: Vec<isize> = (0..3).map(|n| round(&mut w, usize::from(addresses), n)).collect();
        println!("{addresses} client addresses: live bytes after each round {after:?}");
        assert!(after[1] == after[0] && after[2] == after[0], "{after:?}");
        let wanted = (SESSIONS * 3) as u64;
        assert_eq!(
            (w.counter("sessions"), w.counter("translated"), w.counter("relayed")),
            (wanted, wanted * 2, wanted)
        );
        drop(w);
    }
}

#[test]
fn an_idle_session_costs_a_few_kilobytes() {
    let mut w = world(1);
    let before = count::live();
    let all: Vec<_> = (0..SESSIONS).map(|n| w.login(0, 5000 + n as u16)).collect();
    w.forget_events();
    let each = (count::live() - before) / all.len() as isize;
    println!("bytes per idle session: {each}");
    // Where those find it who do not see what a passing test says.
    let figures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("figures");
    fs::create_dir_all(&figures).unwrap();
    fs::write(figures.join("idle-session"), format!("an idle session takes {each} bytes\n")).unwrap();
    assert!((1000..16_384).contains(&each), "{each} bytes for an idle session");
}
