//! Sessions of captures played again: both ends are hosts that react, the network cuts, loses, doubles and swaps by a
//! seed, and each says what it said once it has heard as many lines as it had. Both must get what the other said, with
//! exactly the edits that are due.
//!
//! `TG_REENACT_CASES` is the number of ways that each session is played in; a failure names its own.

use crate::differ::setting;
use crate::naive::{eprt, port};
use crate::net::{Net, shown_text};
use crate::recorded::{Recorded, sessions};
use crate::setup::{OUTSIDE, Setup};
use crate::support::{Faults, Rng};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use tidegate::alg::rules::Profile;
use tidegate::firewall::{Action, Side};
use tidegate::time::Duration;

/// What the server is to get of the client's stream.
fn due(stream: &[u8], client: IpAddr, told: IpAddr) -> Vec<u8> {
    let (IpAddr::V4(client), IpAddr::V4(told)) = (client, told) else { return stream.to_vec() };
    let mut out = Vec::new();
    for line in stream.split_inclusive(|b| *b == b'\n') {
        let text = String::from_utf8_lossy(line);
        let (verb, argument) = text.trim_end().split_once(' ').unwrap_or((text.trim_end(), ""));
        let target = match verb.to_ascii_uppercase().as_str() {
            "PORT" => port(argument),
            "EPRT" => eprt(argument),
            _ => Err(&[][..]),
        };
        match target {
            Ok((address, port)) if address == client.octets() && client != told => {
                let [a, b, c, d] = told.octets();
                let new = if verb.eq_ignore_ascii_case("PORT") {
                    format!("PORT {a},{b},{c},{d},{},{}\r\n", port >> 8, port & 255)
                } else {
                    format!("EPRT |1|{a}.{b}.{c}.{d}|{port}|\r\n")
                };
                out.extend(new.bytes());
            }
            _ => out.extend(line),
        }
    }
    out
}

fn lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|b| **b == b'\n').count()
}

/// Plays a session in the way that the seed says.
pub(crate) fn play(recorded: &Recorded, nat: bool, seed: u64) {
    let (client, server): (SocketAddr, SocketAddr) = recorded.ends.unwrap();
    let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9) ^ 0x00EE_AC70);
    let mut setup = Setup::new(Profile::Standard);
    (setup.client, setup.server, setup.seed) = (client, server, seed);
    setup.client_manner = crate::dialogue::manner(&mut rng);
    setup.server_manner = crate::dialogue::manner(&mut rng);
    let fault = |rng: &mut Rng| [0, 0, 5, 20][rng.below(4) as usize];
    setup.faults = Faults {
        loss: fault(&mut rng),
        duplicate: fault(&mut rng),
        reorder: fault(&mut rng),
        swap: rng.chance(10),
        until: 20_000,
    };
    setup.settings.limits.alg.line_time = Duration::from_secs(400);
    setup.settings.timers.control_idle = Duration::from_secs(36_000);
    setup.settings.timers.expectation = Duration::from_secs(3600);
    setup.settings.filter.default = Action::Allow;
    let told = if nat && client.is_ipv4() { OUTSIDE.parse().unwrap() } else { client.ip() };
    if !nat {
        setup.settings.nat.masquerade = None;
    }
    let mut net = Net::empty(&setup);
    let manners = (setup.client_manner.clone(), setup.server_manner.clone());
    assert!(net.open((Side::Inside, client), (Side::Outside, server), manners));
    let (up, down) = (recorded.stream(true), recorded.stream(false));
    let want = (due(&up, client.ip(), told), down);
    // Who has said and heard so much.
    let mut said = 0;
    let mut heard = [0, 0];
    let limit = net.now + 600_000;
    loop {
        while let Some((of_client, bytes)) = recorded.talk.get(said) {
            let c = &mut net.conns[0];
            let (from, other) = if *of_client { (&mut c.client, 0) } else { (&mut c.server, 1) };
            if lines(&from.got) < heard[other] {
                break;
            }
            from.stream.extend(bytes);
            heard[1 - other] += lines(bytes);
            said += 1;
        }
        net.step(limit);
        let c = &net.conns[0];
        let done = said == recorded.talk.len() && net.is_quiet();
        if done && c.server.got.len() >= want.0.len() && c.client.got.len() >= want.1.len() {
            break;
        }
        assert!(net.now < limit, "{}: no end, {said} of {}", recorded.name, recorded.talk.len());
    }
    let c = &net.conns[0];
    assert_eq!(shown_text(&c.server.got), shown_text(&want.0), "{}: to the server", recorded.name);
    assert_eq!(shown_text(&c.client.got), shown_text(&want.1), "{}: to the client", recorded.name);
}

/// Plays it in so many ways, with translation and without.
#[allow(clippy::print_stderr, reason = "a failure is told")]
fn play_all(recorded: &Recorded, ways: u64) {
    let from = setting("TG_REENACT_FROM", 0);
    for seed in from..from + ways {
        for nat in [false, true] {
            if let Err(why) = std::panic::catch_unwind(|| play(recorded, nat, seed)) {
                eprintln!("{}, nat {nat}: TG_REENACT_FROM={seed} TG_REENACT_CASES=1", recorded.name);
                std::panic::resume_unwind(why);
            }
        }
    }
}

/// The client legs of the project's own recordings: frames that came and frames that left.
fn own() -> Vec<Recorded> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps");
    let mut all = Vec::new();
    for case in ["static-ipv4", "static-ipv6", "l2"] {
        let files = ["worker0-in.pcapng", "worker0-out.pcapng"].map(|f| root.join(case).join(f));
        all.extend(sessions(&[&files[0], &files[1]]));
    }
    all
}

#[test]
fn recorded_sessions_are_the_same_behind_the_gateway() {
    let all = own();
    assert!(all.len() >= 3, "{:?}", all.iter().map(|s| &s.name).collect::<Vec<_>>());
    for recorded in &all {
        play_all(recorded, setting("TG_REENACT_CASES", 40));
    }
}

/// P48: one recorded session in as many segmentations as there is time for; by hand 10^6.
#[test]
fn p48_a_recorded_session_in_any_segmentation() {
    let all = own();
    play_all(&all[0], setting("TG_P48_CASES", 200));
}

/// Captures of others, where they lie beside the project.
#[test]
fn captured_sessions_are_the_same_behind_the_gateway() {
    let root = std::env::var_os("TIDEGATE_CAPTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures"), PathBuf::from);
    if !root.is_dir() {
        eprintln!("not run: there is no {}", root.display());
        return;
    }
    let mut played = 0;
    for file in [
        "zeek--ipv4.pcap",
        "zeek--ipv6.pcap",
        "zeek--ipv6-multiline-reply.pcap",
        "zeek--retr.pcap",
        "zeek--pe.pcap",
        "zeek--bigtransfer.pcap",
        "suricata-verify--ftp-passive-mode.pcap",
        "suricata-verify--bug-3519--input.pcap",
        "suricata-verify--bug-4877--input.pcap",
    ] {
        for recorded in sessions(&[&root.join(file)]) {
            play_all(&recorded, setting("TG_REENACT_CASES", 40) / 4);
            played += 1;
        }
    }
    assert!(played >= 6, "{played}");
}
