//! A capture played through a bridge or a route: what would have passed, changed, or stayed?
//!
//! ```text
//!   record ─▶ from which side? ─▶ engine ─▶ out of the other side: as it was?
//!                one frame a turn, by the capture's clock
//! ```
//! A bridge gets the frames themselves. A route gets their packets from neighbours that answer for every address.

use super::sides::{Sides, other};
use super::{BEGIN, LONGEST_PAUSE, LONGEST_PLAY, MTU, Play, PlayError, SEED, outputs, unwritable};
use crate::buf::{Burst, Frame};
use crate::config::{Config, Deployment, Side};
use crate::engine::{Engine, Turn, Tx};
use crate::event::Event;
use crate::io::PortInfo;
use crate::io::pcap::{Format, LinkType, Reader, Record, Writer};
use crate::runtime::events::json_line;
use crate::runtime::settings;
use crate::time::{Duration, Instant};
use crate::wire::arp::{self, Arp};
use crate::wire::nd::{self, Nd};
use crate::wire::{build, eth, parse_ip};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{BufWriter, Write as _};

/// Our MAC addresses, inside and outside, and those of everybody else there.
const OURS: [eth::Mac; 2] = [[0x02, 0, 0, 0, 0, 0xfe], [0x02, 0, 0, 0, 1, 0xfe]];
const THEIRS: [eth::Mac; 2] = [[0x02, 0, 0, 0, 0, 1], [0x02, 0, 0, 0, 1, 1]];
/// The made-up addresses of frames that a capture holds without their Ethernet header.
const MADE_UP: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
/// Turns at one time: neighbours ask back, and are answered.
const ROUNDS: usize = 8;
/// Frames to spare in a turn.
const SPARE: usize = 128;
/// How long the gateway is watched after the last frame.
const AFTER: Duration = Duration::from_secs(120);
/// Counts of what goes on all the time; other counts tell why a frame did not pass as it was.
const USUAL: [&str; 13] = [
    "made",
    "connections",
    "connections_unread",
    "data_connections",
    "other_connections",
    "sessions",
    "session_packets",
    "commands",
    "replies",
    "expectations_opened",
    "expectations_used",
    "expectations_superseded",
    "expectations_expired",
];

/// What became of a capture. Each fed frame passed as it was, passed changed, was taken in, or was dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Passed {
    /// Records of the capture that could be read.
    pub records: u64,
    /// Records that are fed, by the side that they come from.
    pub inside: u64,
    /// Likewise.
    pub outside: u64,
    /// Records of which the capture holds the beginning only; they are fed.
    pub cut: u64,
    /// Frames that passed as they were (through a route: but for the hop).
    pub same: u64,
    /// Frames that passed changed, or with others in their place.
    pub changed: u64,
    /// Frames that were taken in: nothing left for them at once.
    pub taken: u64,
    /// Frames that were dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Records that were not fed, by reason: `no_ip` (through a route), `too_long` (an offload put them together),
    /// `headless`.
    pub left_out: BTreeMap<String, u64>,
    /// Frames that were sent besides.
    pub made: u64,
    /// Frames that were sent, in all.
    pub sent: u64,
    /// Events.
    pub events: u64,
    /// Every record that did not pass as it was, in order.
    pub frames: Vec<Became>,
    /// The most bytes of memory that the process ever had in use, if the kernel tells.
    pub peak_memory: Option<u64>,
    /// Why the rest of the capture could not be read.
    pub error: Option<String>,
}

/// What became of one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Became {
    /// Its number in the capture, from 1, as Wireshark counts.
    pub frame: u64,
    /// `inside` or `outside`, where it came from.
    pub from: &'static str,
    /// `changed`, `taken`, `dropped`, `left_out`.
    pub became: &'static str,
    /// Why: counters that it moved, such as `drop_policy` or `repaired`.
    pub why: Vec<String>,
}

impl Passed {
    /// Whether everything passed as it was.
    pub fn is_clean(&self) -> bool {
        self.frames.is_empty() && self.made == 0
    }
}

/// Plays a capture through a bridge or route with this configuration. A capture that is damaged is played up to there.
///
/// # Errors
/// As [`play`](super::play).
pub fn pass(config: &Config, what: &Play) -> Result<Passed, PlayError> {
    let ports: Vec<PortInfo> = config.interfaces().zip(OURS).map(|(i, mac)| port(&i.name, mac)).collect();
    let engine = settings::build(config, &ports, config.worker.seed.unwrap_or(SEED))?;
    let mut records = Reader::open(&what.capture)?;
    let control: Vec<u16> = config.control_ports().collect();
    let sides = Sides::of(&what.capture, &what.inside, &control);
    // Only now: a file that is written is emptied first.
    let (out, events) = outputs(what)?;
    let names: Vec<&str> = config.interfaces().map(|i| i.name.as_str()).collect();
    let out = out.map(|(file, path)| {
        Writer::to_file(file, Format::of(path), &names).map(|w| (w, path)).map_err(unwritable(path))
    });
    let mut out = out.transpose()?;
    let mut events = events.map(|(file, path)| (BufWriter::new(file), path));
    let mut player = Player {
        engine,
        route: config.deployment == Deployment::Route,
        sides,
        now: BEGIN,
        at: 0,
        origin: 0,
        left: LONGEST_PLAY,
        report: Passed::default(),
        told: Vec::new(),
        sent: Vec::new(),
    };
    let mut number = 0;
    loop {
        match records.next() {
            None => break,
            Some(Err(error)) => {
                player.report.error = Some(error.to_string());
                break;
            }
            Some(Ok(record)) => {
                number += 1;
                player.record(number, &record);
            }
        }
        player.write(&mut out, &mut events)?;
    }
    let end = player.now + AFTER;
    player.wait(end);
    player.write(&mut out, &mut events)?;
    if let Some((mut writer, path)) = out {
        writer.flush().map_err(unwritable(path))?;
    }
    if let Some((mut file, path)) = events {
        file.flush().map_err(unwritable(path))?;
    }
    player.report.peak_memory = crate::runtime::os::peak_memory();
    Ok(player.report)
}

fn port(name: &str, mac: eth::Mac) -> PortInfo {
    PortInfo { name: name.to_owned(), driver: "replay", mac, mtu: MTU, attach: None, zero_copy: false }
}

struct Player {
    engine: Engine,
    route: bool,
    sides: Sides,
    /// The gateway's time, and the capture's that it stands for.
    now: Instant,
    at: u64,
    /// The capture's first time.
    origin: u64,
    /// How much more is waited through.
    left: Duration,
    report: Passed,
    told: Vec<Event>,
    /// What was sent and not written yet: when, out of which side.
    sent: Vec<(Instant, usize, Vec<u8>)>,
}

impl Player {
    fn record(&mut self, number: u64, record: &Record) {
        let r = &mut self.report;
        r.records += 1;
        if number == 1 {
            (self.origin, self.at) = (record.at_nanos, record.at_nanos);
        }
        let pause = Duration::from_nanos(record.at_nanos.saturating_sub(self.at));
        let pause = pause.min(LONGEST_PAUSE).min(self.left);
        self.left = self.left.saturating_sub(pause);
        self.at = self.at.max(record.at_nanos);
        self.wait(self.now + pause);
        let frame = match ethernet(record) {
            Ok(frame) => frame,
            Err(why) => return self.left_out(number, Side::Inside, why),
        };
        let from = self.sides.of_frame(&frame);
        let frame = if self.route {
            match ip_of(&frame) {
                Some(packet) => between(index(from), packet),
                None => return self.left_out(number, from, "no_ip"),
            }
        } else {
            frame
        };
        if Frame::from_bytes(&frame).is_none() {
            return self.left_out(number, from, "too_long");
        }
        self.report.cut += u64::from(record.is_cut());
        match from {
            Side::Inside => self.report.inside += 1,
            Side::Outside => self.report.outside += 1,
        }
        self.feed(number, from, &frame);
    }

    fn left_out(&mut self, frame: u64, from: Side, why: &str) {
        *self.report.left_out.entry(why.to_owned()).or_default() += 1;
        self.report.frames.push(Became {
            frame,
            from: from.name(),
            became: "left_out",
            why: vec![why.into()],
        });
    }

    /// One frame, and what becomes of it.
    fn feed(&mut self, number: u64, from: Side, frame: &[u8]) {
        let before = self.engine.counters();
        let first = self.sent.len();
        self.turns(Some((index(from), frame)));
        let to = index(other(from));
        let out = self.sent.get(first..).unwrap_or_default();
        let of_packets = out.iter().filter(|(_, _, f)| !asks_neighbours(f)).count() as u64;
        let same = out.iter().any(|(_, side, f)| *side == to && self.is_same(frame, f));
        let changed = out.iter().any(|(_, side, f)| *side == to && !asks_neighbours(f));
        let why: Vec<String> = moved(&before, &self.engine.counters());
        let r = &mut self.report;
        if same {
            r.same += 1;
            r.made += of_packets - 1;
            // Something else may have come of it.
            if of_packets > 1 {
                r.frames.push(Became { frame: number, from: from.name(), became: "changed", why });
            }
            return;
        }
        let dropped = why.iter().find_map(|w| w.strip_prefix("drop_")).map(str::to_owned);
        let became = match dropped {
            _ if changed => {
                r.changed += 1;
                r.made += of_packets - 1;
                "changed"
            }
            Some(reason) => {
                *r.dropped.entry(reason).or_default() += 1;
                r.made += of_packets;
                "dropped"
            }
            None => {
                r.taken += 1;
                r.made += of_packets;
                "taken"
            }
        };
        r.frames.push(Became { frame: number, from: from.name(), became, why });
    }

    /// Whether what came out is what went in; through a route all but hop, header checksum and MAC addresses.
    fn is_same(&self, fed: &[u8], sent: &[u8]) -> bool {
        if !self.route {
            return fed == sent;
        }
        let (Some(fed), Some(sent)) = (ip_of(fed), ip_of(sent)) else { return false };
        let mut fed = fed.to_vec();
        let Ok(ip) = parse_ip(&fed, 0) else { return false };
        fed.truncate(ip.end);
        build::hop(&mut fed, &ip) && fed == sent
    }

    /// Turns at this time until nothing more comes of them.
    fn turns(&mut self, frame: Option<(usize, &[u8])>) {
        let mut coming: Vec<(usize, Vec<u8>)> =
            frame.map(|(side, f)| (side, f.to_vec())).into_iter().collect();
        for _ in 0..ROUNDS {
            let sent = self.turn(&coming);
            coming = sent.iter().filter_map(|(side, f)| Some((*side, answer(*side, f)?))).collect();
            self.sent.extend(sent.into_iter().map(|(side, f)| (self.now, side, f)));
            if coming.is_empty() {
                break;
            }
        }
    }

    fn turn(&mut self, coming: &[(usize, Vec<u8>)]) -> Vec<(usize, Vec<u8>)> {
        let mut rx = [Burst::new(), Burst::new()];
        for (side, bytes) in coming {
            if let (Some(frame), Some(burst)) = (Frame::from_bytes(bytes), rx.get_mut(*side)) {
                // There is room for more than neighbours can answer.
                let _ = burst.push(frame);
            }
        }
        let tx = || Tx { slots: SPARE, spare: (0..SPARE).map(|_| Frame::heap()).collect(), ..Tx::default() };
        let mut tx = [tx(), tx()];
        self.engine.turn(&mut Turn {
            now: self.now,
            rx: &mut rx,
            tx: &mut tx,
            handoff_in: &mut Vec::new(),
            handoff_out: &mut Vec::new(),
            control: &[],
            events: &mut self.told,
        });
        let of = |(side, tx): (usize, &Tx)| -> Vec<(usize, Vec<u8>)> {
            tx.out.iter().map(|f| (side, f.bytes().to_vec())).collect()
        };
        tx.iter().enumerate().flat_map(of).collect()
    }

    /// Lets time pass until `end`, with everything that becomes due.
    fn wait(&mut self, end: Instant) {
        while let Some((due, _)) = self.engine.poll_timeout(self.now) {
            // What is due at once and stays due shall not stop the clock.
            let due = due.max(self.now + Duration::from_millis(1));
            if due > end {
                break;
            }
            self.now = due;
            let first = self.sent.len();
            self.turns(None);
            let made = self.sent.iter().skip(first).filter(|(_, _, f)| !asks_neighbours(f)).count();
            self.report.made += made as u64;
        }
        self.now = end;
    }

    fn write(
        &mut self,
        out: &mut Option<(Writer, &std::path::Path)>,
        events: &mut Option<(BufWriter<std::fs::File>, &std::path::Path)>,
    ) -> Result<(), PlayError> {
        let wall_at_zero = self.origin.saturating_sub(BEGIN.as_nanos());
        self.report.sent += self.sent.len() as u64;
        for (at, side, frame) in self.sent.drain(..) {
            if let Some((writer, path)) = out {
                let at = wall_at_zero.saturating_add(at.as_nanos());
                writer.write(at, side as u32, &frame).map_err(unwritable(path))?;
            }
        }
        self.report.events += self.told.len() as u64;
        for event in self.told.drain(..) {
            if let Some((file, path)) = events {
                writeln!(file, "{}", json_line(0, &event, wall_at_zero)).map_err(unwritable(path))?;
            }
        }
        Ok(())
    }
}

/// Counters that grew, but for those that always do.
fn moved(before: &[(String, u64)], after: &[(String, u64)]) -> Vec<String> {
    let grew = before.iter().zip(after).filter(|(old, new)| new.1 > old.1).map(|(_, new)| new.0.clone());
    grew.filter(|name| !USUAL.contains(&name.as_str()) && !name.starts_with("forwarded_")).collect()
}

const fn index(side: Side) -> usize {
    match side {
        Side::Inside => 0,
        Side::Outside => 1,
    }
}

/// A record as an Ethernet frame.
///
/// # Errors
/// It is shorter than its link header.
fn ethernet(record: &Record) -> Result<Vec<u8>, &'static str> {
    if record.link == LinkType::Ethernet {
        return if record.data.len() < eth::HEADER { Err("headless") } else { Ok(record.data.clone()) };
    }
    let packet = record.link.packet(&record.data).ok_or("headless")?;
    let from = packet.from.unwrap_or([2, 0, 0, 0, 0, 1]);
    Ok([&MADE_UP[..6], &from, &packet.ethertype.to_be_bytes(), packet.payload].concat())
}

/// The IP packet of a frame.
fn ip_of(frame: &[u8]) -> Option<&[u8]> {
    let l2 = eth::parse(frame)?;
    matches!(l2.ethertype, eth::TYPE_IPV4 | eth::TYPE_IPV6).then(|| frame.get(l2.len..)).flatten()
}

/// A frame with this packet from somebody on a side to us.
fn between(side: usize, packet: &[u8]) -> Vec<u8> {
    let kind = if packet.first().is_some_and(|b| b >> 4 == 6) { eth::TYPE_IPV6 } else { eth::TYPE_IPV4 };
    [&OURS[side][..], &THEIRS[side], &kind.to_be_bytes(), packet].concat()
}

/// Whether a frame of ours speaks of neighbours only.
fn asks_neighbours(frame: &[u8]) -> bool {
    let Some(l2) = eth::parse(frame) else { return false };
    let packet = frame.get(l2.len..).unwrap_or_default();
    let ours = OURS.contains(&eth::src(frame));
    ours && (l2.ethertype == eth::TYPE_ARP
        || parse_ip(packet, 0).is_ok_and(|ip| nd::parse(packet, &ip).is_some()))
}

/// What a neighbour says to a frame of ours.
fn answer(side: usize, frame: &[u8]) -> Option<Vec<u8>> {
    if !asks_neighbours(frame) {
        return None;
    }
    let l2 = eth::parse(frame)?;
    let packet = frame.get(l2.len..)?;
    let (kind, body, to) = if l2.ethertype == eth::TYPE_ARP {
        let a = arp::parse(packet).filter(|a| a.request && a.sender != a.target)?;
        let answer = Arp {
            request: false,
            sender_mac: THEIRS[side],
            sender: a.target,
            target_mac: a.sender_mac,
            target: a.sender,
        };
        (eth::TYPE_ARP, arp::emit(&answer).to_vec(), a.sender_mac)
    } else {
        let ip = parse_ip(packet, 0).ok()?;
        let Some(Nd::Solicit { target, from, mac: Some(mac) }) = nd::parse(packet, &ip) else { return None };
        (eth::TYPE_IPV6, nd::advert(THEIRS[side], target, from, true).to_vec(), mac)
    };
    Some([&to[..], &THEIRS[side], &kind.to_be_bytes(), &body].concat())
}
