//! Sessions of captures, and of scripts, played again: both ends are hosts that react, the network cuts, loses, doubles
//! and swaps by a seed, and each says what it said once it has heard as many lines as it had. What both must get is
//! what the naive reading makes of what was said, in both directions.
//!
//! Each is played as it is, with the client behind a masquerade, and with the server inside, behind a forwarded port and
//! behind an address of its own: there the 227s are edited.
//!
//! `TG_REENACT_CASES` is the number of ways that each session is played in, `TG_P48_CASES` that of P48; a failure names
//! its own.

use crate::dialogue::denied_ranges;
use crate::differ::setting;
use crate::naive::{Naive, Said, compare};
use crate::net::Net;
use crate::recorded::{Recorded, sessions};
use crate::setup::{CLIENT, OUTSIDE, SERVER, Setup, at};
use crate::support::{Faults, Rng};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use tidegate::alg::rules::Profile;
use tidegate::firewall::{Action, Forward, Protocol, Side, StaticNat};
use tidegate::time::Duration;

/// Where the server is known outside when it is inside.
const PUBLIC: &str = "203.0.113.80";

/// Who is translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Nobody,
    /// The client, inside.
    Masquerade,
    /// The server, inside, by its control port.
    Forward,
    /// The server, inside, as a whole.
    OneToOne,
}

const PLACES: [Place; 4] = [Place::Nobody, Place::Masquerade, Place::Forward, Place::OneToOne];

/// The replies of a server's stream, line by line.
fn replies(stream: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let (mut all, mut open) = (Vec::new(), Vec::<Vec<u8>>::new());
    for line in stream.split_inclusive(|b| *b == b'\n') {
        open.push(line.to_vec());
        if line.get(..3) == open[0].get(..3) && line.get(3) != Some(&b'-') && is_end(line) {
            all.push(std::mem::take(&mut open));
        }
    }
    if !open.is_empty() {
        all.push(open);
    }
    all
}

/// Whether a reply may end with this line.
fn is_end(line: &[u8]) -> bool {
    line.len() > 4 && line[..3].iter().all(u8::is_ascii_digit) && matches!(line[3], b' ' | b'\r' | b'\n')
}

/// What the naive reading makes of a session; none if it leaves something open.
fn read(recorded: &Recorded, naive: &mut Naive) -> Option<()> {
    let mut replies = replies(&recorded.stream(false)).into_iter();
    for line in replies.next()? {
        naive.server_says(&line)?;
    }
    for command in recorded.stream(true).split_inclusive(|b| *b == b'\n') {
        let mut said = Said { command: command.to_vec(), noise: Vec::new(), mark: None, reply: Vec::new() };
        for reply in replies.by_ref() {
            if reply[0].starts_with(b"1") {
                said.mark.get_or_insert_default().extend(reply.concat());
            } else {
                said.reply = reply;
                break;
            }
        }
        naive.breath();
        naive.says(&said)?;
    }
    // What nobody asked for.
    replies.flatten().try_for_each(|line| naive.server_says(&line))
}

/// How much of a stream counts as heard: of commands every line, of replies the ends, as lines before them may go.
fn heard(of_client: bool, stream: &[u8]) -> usize {
    stream.split_inclusive(|b| *b == b'\n').filter(|l| l.ends_with(b"\n") && (of_client || is_end(l))).count()
}

/// The setting of a session, and what comes of it.
fn staged(recorded: &Recorded, place: Place, setup: &mut Setup) -> Naive {
    let (client, server): (SocketAddr, SocketAddr) = recorded.ends.unwrap();
    (setup.client, setup.server) = (client, server);
    setup.rules().setups_per_second = 10_000;
    setup.rules().commands_per_second = 10_000;
    (setup.rules().first_command, setup.rules().login) =
        (Duration::from_secs(36_000), Duration::from_secs(36_000));
    setup.settings.limits.alg.line_time = Duration::from_secs(400);
    setup.settings.timers.control_idle = Duration::from_secs(36_000);
    setup.settings.timers.expectation = Duration::from_secs(3600);
    setup.settings.filter.default = Action::Allow;
    let told = if place == Place::Masquerade { OUTSIDE.parse().unwrap() } else { client.ip() };
    if place != Place::Masquerade {
        setup.settings.nat.masquerade = None;
    }
    if let (SocketAddr::V4(inside), SocketAddr::V4(outside)) = (server, at(PUBLIC, 21)) {
        let nat = &mut setup.settings.nat;
        match place {
            Place::Forward => nat.forwards.push(Forward { protocol: Protocol::Tcp, outside, inside }),
            Place::OneToOne => {
                nat.one_to_one.push(StaticNat { inside: *inside.ip(), outside: *outside.ip() });
            }
            Place::Nobody | Place::Masquerade => {}
        }
    }
    if matches!(place, Place::Forward | Place::OneToOne) {
        setup.server = at(PUBLIC, server.port());
    }
    let public: IpAddr = setup.server.ip();
    let mut naive = Naive::new(client.ip(), told, public, &denied_ranges());
    assert_eq!(
        read(recorded, &mut naive),
        Some(()),
        "{}: it is not laid down what comes of it",
        recorded.name
    );
    naive
}

/// Plays a session in the way that the seed says.
fn play(recorded: &Recorded, place: Place, seed: u64) {
    let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9) ^ 0x00EE_AC70);
    let mut setup = Setup::new(Profile::Standard);
    setup.seed = seed;
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
    let naive = staged(recorded, place, &mut setup);
    let mut net = Net::empty(&setup);
    let manners = (setup.client_manner.clone(), setup.server_manner.clone());
    let sides = match place {
        Place::Nobody | Place::Masquerade => [Side::Inside, Side::Outside],
        Place::Forward | Place::OneToOne => [Side::Outside, Side::Inside],
    };
    assert!(net.open((sides[0], setup.client), (sides[1], setup.server), manners));
    let compared = |net: &Net| {
        let c = &net.conns[0];
        compare(&naive.to_server, &c.server.got).map_err(|e| format!("to the server, {e}"))?;
        compare(&naive.to_client, &c.client.got).map_err(|e| format!("to the client, {e}"))
    };
    // What was said so far, by the server and by the client.
    let mut said = [Vec::new(), Vec::new()];
    let mut next = 0;
    // A window that its scale rounds to nothing is served by probes, a byte at a time.
    let limit = net.now + 7_200_000;
    loop {
        while let Some((of_client, bytes)) = recorded.talk.get(next) {
            let (own, other) = (usize::from(*of_client), usize::from(!*of_client));
            let c = &mut net.conns[0];
            let from = if *of_client { &mut c.client } else { &mut c.server };
            if heard(!*of_client, &from.got) < heard(!*of_client, &said[other]) {
                break;
            }
            from.stream.extend(bytes);
            said[own].extend_from_slice(bytes);
            next += 1;
        }
        net.step(limit);
        let end = next == recorded.talk.len() && net.is_quiet();
        if end && compared(&net).is_ok() {
            return;
        }
        if net.now >= limit {
            compared(&net).unwrap_or_else(|e| panic!("{}: {e}", recorded.name));
            panic!("{}: no end, {next} of {}", recorded.name, recorded.talk.len());
        }
    }
}

/// Plays it in so many ways, wherever it can be.
#[allow(clippy::print_stderr, reason = "a failure is told")]
fn play_all(recorded: &Recorded, ways: u64) {
    let from = setting("TG_REENACT_FROM", 0);
    let v4 = recorded.ends.unwrap().0.is_ipv4();
    for seed in from..from + ways {
        for place in PLACES.into_iter().filter(|p| v4 || *p == Place::Nobody) {
            if let Err(why) = std::panic::catch_unwind(|| play(recorded, place, seed)) {
                eprintln!("{}, {place:?}: seed {seed}; TG_REENACT_FROM={seed} begins with it", recorded.name);
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

/// P48: every recorded session, and the scripted ones, in as many segmentations as there is time for; by hand 10^6.
#[test]
fn p48_a_recorded_session_in_any_segmentation() {
    let all: Vec<Recorded> = own().into_iter().chain(captured()).chain(scripted()).collect();
    let each = setting("TG_P48_CASES", 300) / all.len() as u64;
    for recorded in &all {
        play_all(recorded, each + 1);
    }
}

/// Captures of others, where they lie beside the project.
#[allow(clippy::print_stderr, reason = "what is not there is told")]
fn captured() -> Vec<Recorded> {
    const FILES: [&str; 9] = [
        "zeek--ipv4.pcap",
        "zeek--ipv6.pcap",
        "zeek--ipv6-multiline-reply.pcap",
        "zeek--retr.pcap",
        "zeek--pe.pcap",
        "zeek--bigtransfer.pcap",
        "suricata-verify--ftp-passive-mode.pcap",
        "suricata-verify--bug-3519--input.pcap",
        "suricata-verify--bug-4877--input.pcap",
    ];
    let root = std::env::var_os("TIDEGATE_CAPTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures"), PathBuf::from);
    if !root.is_dir() {
        eprintln!("not there: {}", root.display());
        return Vec::new();
    }
    FILES.iter().flat_map(|f| sessions(&[&root.join(f)])).collect()
}

#[test]
fn captured_sessions_are_the_same_behind_the_gateway() {
    let all = captured();
    assert!(all.is_empty() || all.len() >= 6, "{}", all.len());
    for recorded in &all {
        play_all(recorded, setting("TG_REENACT_CASES", 40) / 4);
    }
}

/// A session of these lines, the client's with `>` in front.
fn script(name: &str, (client, server): (&str, &str), lines: &[&str]) -> Recorded {
    let talk = lines.iter().map(|l| match l.strip_prefix('>') {
        Some(line) => (true, line.as_bytes().to_vec()),
        None => (false, l.as_bytes().to_vec()),
    });
    Recorded::new(name.to_owned(), (at(client, 40_001), at(server, 21)), talk.collect())
}

/// Replies to PASV and to EPSV as servers are known to write them, and commands as clients do.
fn scripted() -> Vec<Recorded> {
    const LOGIN: [&str; 6] = [
        "220-hello\r\n 227 of old\r\n",
        "220 ready\r\n",
        ">USER anna\r\n",
        "331 password\r\n",
        ">PASS geheim\r\n",
        "230-welcome\r\n 229 (|||1|)\r\n230 in\r\n",
    ];
    const PASSIVE: [&str; 12] = [
        "227 Entering Passive Mode (198,51,100,7,200,10).\r\n",
        "227 Entering passive mode. 198,51,100,7,200,11\r\n",
        "227 198,51,100,7,200,12\r\n",
        "227 =198,51,100,7,200,13\r\n",
        "227 IPv4 v2 (198,51,100,7,200,14)\r\n",
        "227 Entering Passive Mode( 198, 51,100,7 ,200,15).\r\n",
        "227-hello\r\n227 (0,0,0,0,200,16)\r\n",
        "227-(198,51,100,7,200,17)\r\n227 ok\r\n",
        "227 Entering Passive Mode (10,9,9,9,200,18).\r\n",
        "229 Extended (|||51219|)\r\n",
        "227 Entering Passive Mode (\r\n",
        "425 no\r\n",
    ];
    const EXTENDED: [&str; 8] = [
        "229 Entering Extended Passive Mode (|||51310|)\r\n",
        "229 Ext (|||51311|).\r\n",
        "229 Ext (!!!51312!)\r\n",
        "229 Ext (||51313|)\r\n",
        "229 Ext (|1|10.9.9.9|51314|)\r\n",
        "229-Ext\r\n229 (|||51315|)\r\n",
        "227 Entering Passive Mode (198,51,100,7,200,120).\r\n",
        "500 what\r\n",
    ];
    let transfer = |all: &mut Vec<&'static str>| {
        all.extend([">RETR f\r\n", "150 here\r\n", "226-a\r\n226 done\r\n"]);
    };
    let mut passive = LOGIN.to_vec();
    for reply in PASSIVE {
        passive.extend([">PASV\r\n", reply]);
        if !reply.contains("(\r\n") && reply.starts_with('2') {
            transfer(&mut passive);
        }
    }
    let mut extended = LOGIN.to_vec();
    for reply in EXTENDED {
        extended.extend([">EPSV\r\n", reply]);
        if reply.starts_with('2') {
            transfer(&mut extended);
        }
    }
    let mut active = LOGIN.to_vec();
    for line in [
        ">PORT 10,0,0,5,19,137\r\n",
        ">port 10,0,0,5,19,138\n",
        ">  Port 010,0,000,5,019,139  \r\n",
        ">EPRT |1|10.0.0.5|5004|\r\n",
        ">EPRT |1|10.0.0.5|5005\r\n",
    ] {
        active.extend([line, "200 ok\r\n"]);
        transfer(&mut active);
    }
    let end = [">ABOR\r\n", "226 nothing to do\r\n", ">QUIT\r\n", "221-by\r\n221 e\r\n"];
    for all in [&mut passive, &mut extended, &mut active] {
        all.extend(end);
    }
    let (v4, v6) = ((CLIENT, SERVER), ("2001:db8:1::5", "2001:db8:2::7"));
    vec![
        script("passive", v4, &passive),
        script("extended", v4, &extended),
        script("active", v4, &active),
        script("extended, IPv6", v6, &extended),
    ]
}

#[test]
fn scripted_sessions_get_what_the_naive_reading_says() {
    for recorded in &scripted() {
        play_all(recorded, setting("TG_REENACT_CASES", 40));
    }
}
