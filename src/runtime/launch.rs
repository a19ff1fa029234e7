//! Starts and stops the gateway.

use super::events::{EventOutput, EventSink, EventWriter, EventsError};
use super::nic::NicProfile;
use super::os::{self, Clock, Signals};
use super::preflight::{self, Refusals};
use super::settings;
use super::watch::{Forwarding, Ground, Watch};
use crate::config::{Config, Deployment, Driver, Idle as ConfigIdle, Interface, Mode};
use crate::event::{Event, What};
use crate::io::{self, Port, PortError, PortInfo, afxdp, pnet};
use crate::record::{About, RecordWriter, RecordedInterface, Recorder};
use crate::worker::{Idle, Wish, Worker};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// What to record.
#[derive(Debug, Clone)]
pub struct RecordOptions {
    /// The directory, new or empty.
    pub dir: PathBuf,
    /// Bytes that the recording may take, about.
    pub limit: u64,
}

/// How to run, beyond the configuration.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Record every turn.
    pub record: Option<RecordOptions>,
    /// Take an interface that the host itself uses.
    pub force: bool,
}

/// Why it did not run, or did not go on. The text is one line for each reason.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Something stands against starting.
    #[error(transparent)]
    Refused(#[from] Refusals),
    /// The interface cannot be used, or went away.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The host refused something that is needed.
    #[error("{what}: {error}")]
    Host {
        /// What was tried.
        what: &'static str,
        /// What the host said.
        error: std::io::Error,
    },
    /// The recording could not be begun, or not be written to its end.
    #[error("--record {}: {error}; give a new directory on a disk with room", dir.display())]
    Record {
        /// The directory.
        dir: PathBuf,
        /// What the host said.
        error: std::io::Error,
    },
    /// There is nothing to write events to.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// There can be no engine with this configuration.
    #[error(transparent)]
    Build(#[from] settings::BuildError),
}

/// Runs until a signal ends it.
///
/// # Errors
/// It could not start, or an interface went away.
pub fn run(config: Config, options: RunOptions) -> Result<ExitCode, RunError> {
    os::give_large_blocks_back();
    let ready = preflight::check(&config, options.force)?;
    let host = |what| move |error| RunError::Host { what, error };
    let signals = Signals::watch().map_err(host("watching signals"))?;
    let seed = match config.worker.seed {
        Some(seed) => seed,
        None => random_seed().map_err(host("reading a seed"))?,
    };
    // What may fail for reasons of its own comes before the interface is taken from the kernel.
    let output = EventOutput::open(config.events.clone())?;
    let flows = settings::table(&config, seed)?;
    let (mut ports, mut lists) = (Vec::new(), Vec::new());
    for (interface, profile) in config.interfaces().zip(&ready.profiles) {
        let (port, addresses) = open(&config, interface, profile)?;
        ports.push(port);
        lists.push(addresses);
    }
    let infos: Vec<PortInfo> = ports.iter().map(|p| p.info().clone()).collect();
    let engine = settings::build_on(&config, &infos, seed, flows)?;
    let (recorder, recording) = match options.record {
        Some(record) => record_to(record, &config, &infos, seed).map(|(r, w)| (Some(r), Some(w)))?,
        None => (None, None),
    };

    let clock = Clock::start();
    let (sink, writer) = EventWriter::start(output, clock, signals.reopen_flag())
        .map_err(host("starting a thread for events"))?;
    for warning in ready.warnings {
        sink.post(0, Event { at: clock.now(), what: warning });
    }
    let mut watches = Vec::new();
    for ((interface, info), addresses) in config.interfaces().zip(&infos).zip(lists) {
        let sink = sink.clone();
        let warn = move |what| {
            sink.post(0, Event { at: clock.now(), what });
        };
        watches.push(Watch::start(ground(&config, interface, options.force, info, addresses), clock, warn)?);
    }
    // After the other threads have been started, which would stay on the worker's core.
    let cpu = os::pin(config.worker.cpu);
    started(&sink, clock, &infos, &cpu);
    if let Some((_, dir)) = &recording {
        let text = "passwords, names and contents of files go into the recording; keep it as you keep those";
        let (kind, subject, text) = ("recording", dir.display().to_string(), text.to_owned());
        sink.post(0, Event { at: clock.now(), what: What::Warning { kind, subject, text } });
    }
    let idle = match config.worker.idle {
        ConfigIdle::Adaptive => Idle::Adaptive,
        ConfigIdle::Spin => Idle::Spin,
    };
    let mut worker = Worker::new(engine, ports, idle);
    if let Some(recorder) = recorder {
        worker.record(recorder);
    }
    let result = worker.run(
        || clock.now(),
        || Wish { drain: signals.drain(), stop: signals.stop() || watches.iter().any(Watch::is_over) },
        |event| {
            sink.post(0, event);
        },
        config.timers.drain_timeout,
    );
    worker.finish_recording();
    stopped(&sink, clock, &mut worker);
    watches.iter().for_each(Watch::leave);
    drop(worker);
    // The watch posts events as well, and the writer ends when nobody can any more.
    let result = watches.into_iter().fold(result, |result, watch| result.and(watch.finish()));
    drop(sink);
    match writer.finish(|| signals.stop()) {
        Some(summary) => tracing::info!("{}", summary.human()),
        None => tracing::warn!("nobody takes the events: the last ones are lost"),
    }
    let recorded = recording.map_or(Ok(()), |(writer, dir)| finish(writer, dir));
    result?;
    recorded?;
    Ok(ExitCode::SUCCESS)
}

fn record_to(
    record: RecordOptions,
    config: &Config,
    infos: &[PortInfo],
    seed: [u8; 16],
) -> Result<(Recorder, (RecordWriter, PathBuf)), RunError> {
    let about = About {
        config: config.recorded_toml(seed),
        recorded: format!("{}, worker 0 of 1", each(infos, |i| format!("{} by {}", i.name, i.driver))),
        interfaces: infos.iter().map(recorded).collect(),
    };
    match RecordWriter::start(&record.dir, record.limit, about) {
        Ok((recorder, writer)) => Ok((recorder, (writer, record.dir))),
        Err(error) => Err(RunError::Record { dir: record.dir, error }),
    }
}

fn recorded(info: &PortInfo) -> RecordedInterface {
    RecordedInterface {
        name: info.name.clone(),
        driver: info.driver.to_owned(),
        mac: RecordedInterface::show_mac(info.mac),
        mtu: info.mtu,
    }
}

/// What there is to say of each port.
fn each(infos: &[PortInfo], say: impl Fn(&PortInfo) -> String) -> String {
    infos.iter().map(say).collect::<Vec<_>>().join(", ")
}

fn finish(writer: RecordWriter, dir: PathBuf) -> Result<(), RunError> {
    let recorded = writer.finish().map_err(|error| RunError::Record { dir, error })?;
    let m = &recorded.manifest;
    tracing::info!(
        "recorded {} turns, {} frames in, {} out, {} events to {} (ended by {})",
        m.turns,
        m.frames_in,
        m.frames_out,
        m.events,
        recorded.dir.display(),
        m.ended.name()
    );
    Ok(())
}

/// The port, and the list of the host's addresses that the XDP program wants to know where the host shares
/// the interface.
fn open(
    config: &Config,
    i: &Interface,
    profile: &NicProfile,
) -> Result<(Box<dyn Port>, Option<afxdp::Addresses>), PortError> {
    let (name, own) = (i.name.as_str(), own_addresses(i));
    match i.driver {
        Driver::AfXdp => {
            let mut o = afxdp::Options::new(name);
            o.attach = profile.attach.order();
            o.rx_ring = profile.rings.rx;
            o.tx_ring = profile.rings.tx;
            // What is for others goes through a bridge.
            o.promiscuous = config.deployment == Deployment::Bridge;
            let shared = i.mode == Mode::Shared;
            o.steering = afxdp::Steering { shared, by_mac: config.by_mac(), own, vlan: i.vlan.clone() };
            let mut ports = afxdp::open_all(&o)?;
            if ports.len() > 1 {
                return Err(PortError {
                    interface: name.to_owned(),
                    what: format!("it has {} receive queues, and one worker serves one", ports.len()),
                    remedy: format!("set one queue: ethtool -L {name} combined 1"),
                });
            }
            match ports.pop() {
                Some(mut port) => {
                    let addresses = port.take_addresses().filter(|_| shared);
                    Ok((Box::new(port), addresses))
                }
                None => Err(PortError {
                    interface: name.to_owned(),
                    what: "it has no receive queue".to_owned(),
                    remedy: "choose another interface".to_owned(),
                }),
            }
        }
        Driver::Pnet => Ok((Box::new(pnet::open(name, &own)?), None)),
    }
}

/// What the gateway stands on, to be watched.
fn ground(
    config: &Config,
    i: &Interface,
    force: bool,
    info: &PortInfo,
    addresses: Option<afxdp::Addresses>,
) -> Ground {
    let forwarding = match i.driver {
        Driver::Pnet => Forwarding::Twice,
        Driver::AfXdp if i.mode == Mode::Shared && config.by_mac() && !force => {
            Forwarding::ByMac(i.vlan.clone())
        }
        Driver::AfXdp => Forwarding::Any,
    };
    Ground {
        interface: info.name.clone(),
        af_xdp: i.driver == Driver::AfXdp,
        mac: info.mac,
        mtu: info.mtu,
        own: own_addresses(i),
        forwarding,
        addresses,
    }
}

fn own_addresses(interface: &Interface) -> Vec<IpAddr> {
    interface.addresses().into_iter().map(|(a, _)| a).collect()
}

fn started(sink: &EventSink, clock: Clock, infos: &[PortInfo], cpu: &Result<usize, String>) {
    let ports = each(infos, |info| {
        let attach = match info.attach {
            Some(io::Attach::Native) => ", XDP native",
            Some(io::Attach::Generic) => ", XDP generic",
            None => "",
        };
        let copy = match (info.attach, info.zero_copy) {
            (None, _) => "",
            (_, true) => ", zero copy",
            (_, false) => ", copy mode",
        };
        format!("{} by {}{attach}{copy}", info.name, info.driver)
    });
    let pinned = match cpu {
        Ok(core) => format!("on core {core}"),
        Err(why) => format!("not pinned to a core ({why})"),
    };
    let text = format!("{ports}, worker {pinned}");
    sink.post(0, Event { at: clock.now(), what: What::Gateway { state: "started", text } });
}

fn stopped(sink: &EventSink, clock: Clock, worker: &mut Worker) {
    let mut counters = worker.engine().counters();
    for port in worker.ports_mut() {
        let s = port.stats();
        counters.extend([
            ("rx_frames".to_owned(), s.rx_frames),
            ("rx_lost".to_owned(), s.rx_lost),
            ("rx_oversize".to_owned(), s.rx_oversize),
            ("tx_frames".to_owned(), s.tx_frames),
            ("tx_lost".to_owned(), s.tx_lost),
        ]);
    }
    counters.push(("frames_held".to_owned(), worker.frames_held()));
    let text = counters
        .iter()
        .filter(|c| c.1 > 0)
        .map(|(name, n)| format!("{name}={n}"))
        .collect::<Vec<_>>()
        .join(" ");
    sink.post(0, Event { at: clock.now(), what: What::Gateway { state: "stopped", text } });
}

fn random_seed() -> std::io::Result<[u8; 16]> {
    use std::io::Read as _;
    let mut seed = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(seed)
}
