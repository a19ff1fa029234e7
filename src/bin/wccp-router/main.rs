//! A router for the lab: forwards IPv4 and IPv6 between AF_PACKET legs, redirects by WCCP version 2, and routes
//! by policy.
//!
//! The kernel that it runs on has no address on these legs; the router answers ARP, neighbour discovery and ping
//! itself.
//!
//! ```text
//!  leg → impair → router ─┬─ forward ── arp ── outbox → leg
//!                         ├─ policy: another next hop, while that one answers
//!                         ├─ wccp redirect ── gre ── frag
//!                         └─ for itself: ARP, neighbour discovery, ping, WCCP messages, returned GRE
//! ```
#![deny(unsafe_code)]
#![allow(unreachable_pub, reason = "nothing is reachable from outside a program")]

mod arp;
mod config;
mod frag;
mod gre;
mod impair;
mod ipv6;
mod leg;
mod outbox;
mod packet;
mod policy;
mod router;
mod status;
mod wccp;

use clap::Parser;
use impair::Line;
use leg::Leg;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use outbox::Batch;
use policy::{Policies, Policy};
use router::{LegConf, Router};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tidegate::time::{Duration, Instant};
use wccp::{Faults, GroupConf, Wccp};

/// Routes between interfaces in userspace and redirects by WCCP version 2 or by policy.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Configuration file (TOML).
    #[arg(long, required_unless_present = "get")]
    config: Option<PathBuf>,
    /// Keep this file up to date with counters and states, once a second and at the end.
    #[arg(long)]
    status: Option<PathBuf>,
    /// Route nothing: print one value of the status file, named like /groups/0/counters/redirected.
    #[arg(long, requires = "status", conflicts_with = "config")]
    get: Option<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match (&args.get, &args.status) {
        (Some(pointer), Some(path)) => get(path, pointer),
        _ => run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            complain(&message);
            ExitCode::from(2)
        }
    }
}

#[allow(clippy::print_stderr, reason = "the one line for people when the router cannot work")]
fn complain(message: &str) {
    eprintln!("wccp-router: {message}");
}

#[allow(clippy::print_stdout, reason = "the value asked for is the program's output")]
fn get(path: &Path, pointer: &str) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let all: serde_json::Value =
        serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    match all.pointer(pointer).ok_or_else(|| format!("{}: there is no {pointer}", path.display()))? {
        serde_json::Value::String(text) => println!("{text}"),
        other => println!("{other}"),
    }
    Ok(())
}

fn run(args: &Args) -> Result<(), String> {
    let config = config::load(args.config.as_deref().unwrap_or(Path::new("wccp-router.toml")))?;
    let mut legs = vec![];
    let mut confs = vec![];
    for leg in &config.leg {
        let (address, prefix) = leg.network()?;
        let v6 = leg.network6()?;
        let open = Leg::open(&leg.name, leg.tags()?).map_err(|e| e.to_string())?;
        let mtu = leg.mtu.or_else(|| leg::interface_mtu(&leg.name)).unwrap_or(1500).clamp(576, 1800);
        let (name, mac) = (leg.name.clone(), open.mac());
        confs.push(LegConf { name, mac, address, prefix, v6, mtu, exclude_in: leg.exclude_in });
        legs.push(open);
    }
    let wccp = Wccp::new(groups(&config, &confs)?);
    let policies = config.policy.iter().map(|p| p.rule(&confs).map(Policy::new)).collect::<Result<_, _>>()?;
    let mut router = Router::new(confs, wccp, config.oversize.into());
    router.policies = Policies(policies);
    router.routes = config.route.iter().map(config::RouteSection::parse).collect::<Result<_, _>>()?;
    let lines = config.leg.iter().map(|l| l.impair.map(Line::new)).collect();
    turn_until_told(router, legs, lines, args)
}

fn groups(config: &config::Config, legs: &[LegConf]) -> Result<Vec<GroupConf>, String> {
    let interval = config.wccp.interval()?;
    let highest = legs.iter().map(|l| l.address).max();
    let router_id = config.wccp.router_id.or(highest).ok_or("there is no leg")?;
    let indexes = |names: &[String]| config::leg_indexes(names, legs).map_err(|e| format!("wccp.group: {e}"));
    config
        .wccp
        .group
        .iter()
        .map(|g| {
            Ok(GroupConf {
                key: g.key(),
                password: g.password()?,
                offer: g.offer(),
                redirect_list: g.redirect_list()?,
                redirect_in: indexes(&g.redirect_in)?,
                redirect_out: indexes(&g.redirect_out)?,
                interval,
                router_id,
                faults: Faults {
                    trust_all: g.fault_trust_all,
                    assign_nothing: g.fault_assign_nothing,
                    describe_otherwise: g.fault_describe_otherwise,
                },
            })
        })
        .collect()
}

fn turn_until_told(
    mut router: Router,
    mut legs: Vec<Leg>,
    mut lines: Vec<Option<Line>>,
    args: &Args,
) -> Result<(), String> {
    let stop = Arc::new(AtomicBool::new(false));
    let report = Arc::new(AtomicBool::new(false));
    for (signal, flag) in [(SIGTERM, &stop), (SIGINT, &stop), (SIGUSR1, &report)] {
        signal_hook::flag::register(signal, Arc::clone(flag)).map_err(|e| e.to_string())?;
    }
    let mut out: Vec<Batch> = legs.iter().map(Leg::batch).collect();
    let clock = Clock::start();
    let mut next_report = Instant::ZERO;
    loop {
        let mut busy = false;
        for at in 0..legs.len() {
            let count = legs[at].receive().map_err(|e| e.to_string())?;
            busy |= count > 0;
            let now = clock.now();
            for index in 0..count {
                let frame = legs[at].frame(index);
                match &mut lines[at] {
                    _ if frame.is_empty() => {}
                    Some(line) => line.push(frame, now),
                    None => router.handle_frame(at, frame, now, &mut out),
                }
            }
            for _ in 0..leg::RX_BATCH {
                let Some(mut frame) = lines[at].as_mut().and_then(|line| line.due(now)) else { break };
                router.handle_frame(at, &mut frame, now, &mut out);
                busy = true;
            }
            send_all(&mut legs, &mut out)?;
        }
        let now = clock.now();
        router.handle_timeout(now, &mut out);
        send_all(&mut legs, &mut out)?;
        let stopping = stop.load(Ordering::Relaxed);
        if now >= next_report || stopping || report.swap(false, Ordering::Relaxed) {
            next_report = now + Duration::from_secs(1);
            if let Some(path) = &args.status {
                let stats: Vec<_> = legs.iter().map(|l| l.stats).collect();
                let overflow = out.iter().map(|b| b.overflow).sum();
                let lines: Vec<_> = lines.iter().map(|l| l.as_ref().map(|l| l.stats)).collect();
                let value = status::render(&router, &stats, &lines, overflow, now);
                status::write(path, &value).map_err(|e| format!("{}: {e}", path.display()))?;
            }
        }
        if stopping {
            return Ok(());
        }
        if !busy {
            let held = lines.iter().flatten().map(Line::poll_timeout);
            let due = held.chain([router.wccp.poll_timeout()]).min().unwrap_or(now);
            wait(&legs, due.since(now));
        }
    }
}

fn send_all(legs: &mut [Leg], out: &mut [Batch]) -> Result<(), String> {
    for (leg, batch) in legs.iter_mut().zip(out) {
        if batch.len() > 0 {
            leg.send(batch).map_err(|e| e.to_string())?;
        }
    }
    Ok(())
}

/// Sleeps until a frame comes, at most until `due` or 50 ms: a signal may have come just before.
fn wait(legs: &[Leg], due: Duration) {
    let mut fds: Vec<_> = legs.iter().map(|leg| PollFd::new(leg.poll_fd(), PollFlags::POLLIN)).collect();
    let limit = due.as_millis().min(50) as u16;
    let _ = poll(&mut fds, PollTimeout::from(limit));
}

/// The only clock.
struct Clock(std::time::Instant);

impl Clock {
    #[allow(clippy::disallowed_methods, reason = "the loop of the program is where time comes from")]
    fn start() -> Self {
        Self(std::time::Instant::now())
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}
