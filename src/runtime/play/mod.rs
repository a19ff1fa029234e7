//! A capture played to the gateway: what would it have done, had a router redirected these packets to it?
//!
//! ```text
//!   capture ─▶ wrapped as redirected ─▶ engine ─▶ returned as it was? ─▶ file
//!              one packet a turn, by the capture's clock
//! ```
//!
//! Nobody is at the other end: servers do not answer, but every neighbour answers ARP and ND.

mod passing;
mod sides;
mod stage;
mod wrap;

pub use passing::{Became, Passed, pass};

use super::events::json_line;
use super::settings;
use crate::config::{Cidr, Config, GroupRole, Method};
use crate::engine::Engine;
use crate::event::Event;
use crate::io::pcap::{Format, PcapPort, Writer};
use crate::io::{Port as _, PortError, PortInfo};
use crate::time::{Duration, Instant};
use crate::wire::arp::{self, Arp};
use crate::wire::{eth, nd};
use crate::worker::{Idle, Worker};
use serde::Serialize;
use sides::Sides;
use stage::Stage;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{BufWriter, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use wrap::{Form, ROUTER, Redirection};

/// Our MAC address in a play.
const US: eth::Mac = [0x02, 0, 0, 0, 0, 0xfe];
/// The link's MTU.
const MTU: u16 = 1500;
/// Seed of a configuration without one: two plays of one capture give the same.
const SEED: [u8; 16] = *b"tidegate replays";
/// The clock begins here, so that nothing has to lie before zero.
const BEGIN: Instant = Instant::from_millis(1_000);
/// The longest pause of a capture that is waited through; longer ones are made this long. It is longer than
/// any timer usually is, and bounds the work that a lying clock can make.
const LONGEST_PAUSE: Duration = Duration::from_secs(1_200);
/// The most time that is waited through in one play, however many pauses there are.
const LONGEST_PLAY: Duration = Duration::from_secs(30 * 86_400);
/// How long the gateway is watched after the last packet.
const AFTER: Duration = Duration::from_secs(120);

/// What to play and where results go.
#[derive(Debug, Clone)]
pub struct Play {
    /// The capture.
    pub capture: PathBuf,
    /// Where the frames that the gateway sends are written to.
    pub out: Option<PathBuf>,
    /// Where events are written to, as JSON lines.
    pub events: Option<PathBuf>,
    /// Networks inside; if none, who sends the first SYN to a control port is inside.
    pub inside: Vec<Cidr>,
}

/// What became of a capture's packets. Each fed packet was returned, dropped or kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Records of the capture that could be read.
    pub records: u64,
    /// Records that carry no IP packet: no router redirects those.
    pub not_ip: u64,
    /// Records longer than a frame, or than the link takes: an offload put them together.
    pub too_long: u64,
    /// Records shorter than their link header.
    pub headless: u64,
    /// IPv6 packets where routers redirect by WCCP, which knows IPv4 only.
    pub not_redirected: u64,
    /// Packets of which the capture holds the beginning only; they are fed.
    pub cut: u64,
    /// Packets that were fed.
    pub fed: u64,
    /// Packets that the gateway kept: of sessions, for itself, or pieces not all of which came.
    pub kept: u64,
    /// Packets that it returned to the router.
    pub returned: u64,
    /// How many of these came back as they went in.
    pub unchanged: u64,
    /// Packets that it dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Frames that it sent, returned ones among them.
    pub sent: u64,
    /// Events.
    pub events: u64,
    /// The most bytes of memory that the process ever had in use, if the kernel tells.
    pub peak_memory: Option<u64>,
    /// Why the rest of the capture could not be read.
    pub error: Option<String>,
}

impl Report {
    /// Whether everything that came back came back as it was.
    pub fn is_clean(&self) -> bool {
        self.unchanged == self.returned
    }
}

/// Why nothing could be played. The text is one line with a remedy.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// The capture or the output.
    #[error(transparent)]
    Port(#[from] PortError),
    /// A file cannot be written.
    #[error("{}: cannot be written: {error}; check the path and the disk", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file would be read and written at once, or written by two.
    #[error("{}: it is the capture itself, or named twice; give --out and --events files of their own", .0.display())]
    Same(PathBuf),
    /// There can be no gateway with this configuration.
    #[error(transparent)]
    Build(#[from] settings::BuildError),
}

/// Plays a capture to a gateway with this configuration. A capture that is damaged is played up to there.
///
/// # Errors
/// The capture's beginning cannot be read, or a file cannot be written, or two of them are one.
pub fn play(config: &Config, what: &Play) -> Result<Report, PlayError> {
    let info = PortInfo {
        name: config.interface.name.clone(),
        driver: "replay",
        mac: US,
        mtu: MTU,
        attach: None,
        zero_copy: false,
    };
    let mut engine = settings::build(config, &[info], config.worker.seed.unwrap_or(SEED))?;
    let redirection = redirection(config, what);
    if let Form::L2 { back_in_gre } = redirection.form {
        // Nobody here speaks WCCP and could agree to it.
        engine.presume_l2(!back_in_gre);
    }
    let mut capture = PcapPort::open(&what.capture, US)?;
    // Only now: a file that is written is emptied first.
    let (out, events) = outputs(what)?;
    if let Some((file, path)) = out {
        let writer = Writer::to_file(file, Format::of(path), &[&config.interface.name]);
        capture.send_to(writer.map_err(unwritable(path))?);
    }
    let mut events = events.map(|(file, path)| (BufWriter::new(file), path));
    let mut player = Player::new(engine, capture, redirection);
    let mut failed = None;
    player.run(config, |line| {
        if let Some((file, _)) = &mut events
            && failed.is_none()
        {
            failed = writeln!(file, "{line}").err();
        }
    })?;
    if let Some((mut file, path)) = events {
        failed.map_or_else(|| file.flush(), Err).map_err(unwritable(path))?;
    }
    Ok(player.report)
}

fn unwritable(file: &Path) -> impl FnOnce(std::io::Error) -> PlayError {
    let file = file.to_owned();
    move |error| PlayError::File { file, error }
}

type Output<'a> = Option<(File, &'a Path)>;

/// The files to write, for frames and for events, open and empty. Names and passwords of users may stand in
/// either. Nothing is emptied unless they and the capture are files of their own.
fn outputs(what: &Play) -> Result<(Output<'_>, Output<'_>), PlayError> {
    let open = |path: &'_ Path| {
        // Emptied later, when it is known not to be the capture.
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
    };
    let capture = std::fs::metadata(&what.capture).ok().map(|m| (m.dev(), m.ino()));
    let mut found = Vec::new();
    for path in [&what.out, &what.events] {
        let path = path.as_deref();
        // Before anything is made.
        let there = path.and_then(|p| std::fs::metadata(p).ok()).map(|m| (m.dev(), m.ino()));
        if let (Some(path), true) = (path, there.is_some() && there == capture) {
            return Err(PlayError::Same(path.to_owned()));
        }
        found.push(path.map(|p| open(p).map(|file| (file, p)).map_err(unwritable(p))).transpose()?);
    }
    let mut known: Vec<_> = capture.into_iter().collect();
    let mut empty = Vec::new();
    for (file, path) in found.iter().flatten() {
        let meta = file.metadata().map_err(unwritable(path))?;
        // A terminal or a pipe may well be named twice.
        if meta.is_file() {
            let id = (meta.dev(), meta.ino());
            if known.contains(&id) {
                return Err(PlayError::Same((*path).to_owned()));
            }
            known.push(id);
            empty.push((file, path));
        }
    }
    for (file, path) in empty {
        file.set_len(0).map_err(unwritable(path))?;
        // One that was there keeps its mode otherwise, and there are passwords in it.
        file.set_permissions(Permissions::from_mode(0o600)).map_err(unwritable(path))?;
    }
    let events = found.pop().flatten();
    Ok((found.pop().flatten(), events))
}

fn redirection(config: &Config, what: &Play) -> Redirection {
    // WCCP is configured with an IPv4 address of ours only.
    let us = config.interface.v4.map_or(Ipv4Addr::UNSPECIFIED, |n| n.address);
    let form = config.wccp.as_ref().map_or(Form::Policy, |w| {
        let of = |role| w.groups.iter().find(|g| g.role == role).map(|g| g.id);
        let (group, reverse) = (of(GroupRole::Forward).unwrap_or(0), of(GroupRole::Reverse));
        // One of them sends it all.
        let router = w.routers.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED);
        match w.forward.first() {
            Some(Method::L2) => Form::L2 { back_in_gre: w.return_method.first() != Some(&Method::L2) },
            _ => Form::Gre { router, us, group, reverse },
        }
    });
    let tags = config.interface.vlan.as_deref().map(eth::Tags::of_ids).unwrap_or_default();
    let control: Vec<u16> = config.control_ports().collect();
    let sides = Sides::of(&what.capture, &what.inside, &control);
    Redirection { sides, form, mac: US, tags, mtu: usize::from(config.interface.mtu(MTU)) }
}

struct Player {
    worker: Worker<Stage>,
    /// The gateway's time, and the capture's that it stands for.
    now: Instant,
    at: u64,
    /// The capture's first time.
    origin: u64,
    /// How much more is waited through.
    left: Duration,
    report: Report,
}

impl Player {
    fn new(engine: Engine, capture: PcapPort, redirection: Redirection) -> Self {
        let origin = capture.next_at().unwrap_or(0);
        let stage = Box::new(Stage::new(capture, redirection));
        let worker = Worker::new(engine, vec![stage], Idle::Adaptive);
        Self { worker, now: BEGIN, at: origin, origin, left: LONGEST_PLAY, report: Report::default() }
    }

    fn run(&mut self, config: &Config, mut post: impl FnMut(String)) -> Result<(), PortError> {
        self.introduce(config);
        self.step(&mut post)?;
        while let Some(at) = self.stage().next_at() {
            let pause = Duration::from_nanos(at.saturating_sub(self.at)).min(LONGEST_PAUSE).min(self.left);
            self.left = self.left.saturating_sub(pause);
            self.pass(self.now + pause, &mut post)?;
            self.at = self.at.max(at);
            if let Err(error) = self.stage().load(at) {
                self.report.error = Some(error.to_string());
            }
            while self.feed(&mut post)? {}
            if self.report.error.is_some() {
                break;
            }
        }
        self.pass(self.now + AFTER, &mut post)?;
        let s = self.stage();
        let (flaws, stats) = (s.flaws(), s.stats());
        let (not_ip, too_long, unchanged) = (s.not_ip, s.too_long, s.unchanged);
        let not_redirected = s.not_redirected;
        let r = &mut self.report;
        (r.cut, r.headless, r.not_ip) = (flaws.cut, flaws.headless, not_ip);
        r.records = stats.rx_frames + r.headless + stats.rx_oversize;
        r.too_long = stats.rx_oversize + too_long;
        (r.unchanged, r.sent, r.not_redirected) = (unchanged, stats.tx_frames, not_redirected);
        r.peak_memory = super::os::peak_memory();
        Ok(())
    }

    /// The only port there is.
    fn stage(&mut self) -> &mut Stage {
        &mut self.worker.ports_mut()[0]
    }

    /// The routers ask for us, so that we know them.
    fn introduce(&mut self, config: &Config) {
        let i = &config.interface;
        if let Some(n) = i.v4 {
            let routers = config.wccp.iter().flat_map(|w| w.routers.iter().copied());
            for sender in n.next_hop.into_iter().chain(routers) {
                let a =
                    Arp { request: true, sender_mac: ROUTER, sender, target_mac: [0; 6], target: n.address };
                self.stage().push(eth::TYPE_ARP, &arp::emit(&a), eth::BROADCAST);
            }
        }
        if let Some((n, hop)) = i.v6.and_then(|n| Some((n, n.next_hop?))) {
            let group = nd::group_mac(nd::solicited_node(n.address));
            self.stage().push(eth::TYPE_IPV6, &nd::solicit(ROUTER, hop, n.address), group);
        }
    }

    /// Lets time pass until `end`, with everything that becomes due.
    fn pass(&mut self, end: Instant, post: &mut impl FnMut(String)) -> Result<(), PortError> {
        while let Some((due, _)) = self.worker.engine().poll_timeout(self.now) {
            // What is due at once and stays due shall not stop the clock.
            let due = due.max(self.now + Duration::from_millis(1));
            if due > end {
                break;
            }
            self.now = due;
            self.step(post)?;
        }
        self.now = end;
        Ok(())
    }

    /// One packet, and what becomes of it. False if none is due.
    fn feed(&mut self, post: &mut impl FnMut(String)) -> Result<bool, PortError> {
        let Some(fed) = self.stage().feed() else { return Ok(false) };
        if !fed {
            return Ok(true);
        }
        let before = self.worker.engine().counters();
        self.step(post)?;
        self.report.fed += 1;
        let mut outcome = None;
        for ((name, new), (_, old)) in self.worker.engine().counters().into_iter().zip(before) {
            if new > old && (name == "returned" || name.starts_with("drop_")) {
                outcome = Some(name);
                break;
            }
        }
        match outcome.as_deref() {
            Some("returned") => self.report.returned += 1,
            Some(name) => {
                let reason = name.trim_start_matches("drop_").to_owned();
                *self.report.dropped.entry(reason).or_default() += 1;
                self.stage().forget();
            }
            None => {
                self.report.kept += 1;
                self.stage().forget();
            }
        }
        Ok(true)
    }

    fn step(&mut self, post: &mut impl FnMut(String)) -> Result<(), PortError> {
        let wall_at_zero = self.origin.saturating_sub(BEGIN.as_nanos());
        let now = self.now;
        self.stage().set_now(wall_at_zero.saturating_add(now.as_nanos()));
        let events = &mut self.report.events;
        self.worker.step(now, &[], &mut |event: Event| {
            *events += 1;
            post(json_line(0, &event, wall_at_zero));
        })?;
        Ok(())
    }
}
