//! One worker's loop.

use crate::buf::Burst;
use crate::engine::{Control, Engine, Turn, Tx};
use crate::event::{Event, What};
use crate::io::{self, Port, PortError};
use crate::record::Recorder;
use crate::time::{Duration, Instant};

/// Frames kept ready to build packets in, for each interface.
const SPARE: usize = 64;
/// Longest wait without input: signals are looked at as often, and the engine has a turn as often.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// Turns without work before the worker waits instead of looking again.
const PATIENCE: u32 = 4;
/// How often the ports' counters are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Least time between two warnings about the same thing.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// What a worker does when nothing comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// Waits in the kernel; costs nothing, answers some microseconds later.
    Adaptive,
    /// Keeps looking; takes a whole core.
    Spin,
}

/// What the outside wants at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wish {
    /// Begin no sessions and leave the service groups.
    pub drain: bool,
    /// Stop now.
    pub stop: bool,
}

/// How far a stop has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// Since then.
    Draining(Instant),
    /// The routers are being told; the state machine bounds the time.
    Leaving,
}

/// A counter of a port that is told when it grows: how far it was told, and when.
type Growth = (u64, Option<Instant>);

#[derive(Debug, Clone, Copy, Default)]
struct Told {
    oversize: Growth,
    rx_lost: Growth,
    tx_lost: Growth,
}

/// How much a counter has grown since it was told; `None` if it has not, or it was told a short time ago.
fn grown(told: &mut Growth, count: u64, now: Instant) -> Option<u64> {
    let (seen, at) = *told;
    let due = at.is_none_or(|at| now.since(at) >= WARN_EVERY);
    (count > seen && due).then(|| {
        *told = (count, Some(now));
        count - seen
    })
}

/// One worker: an engine and the ports that it serves.
pub struct Worker<P: Port + ?Sized = dyn Port> {
    engine: Engine,
    ports: Vec<Box<P>>,
    rx: Vec<Burst>,
    tx: Vec<Tx>,
    idle: Idle,
    events: Vec<Event>,
    /// What has been told of each port.
    told: Vec<Told>,
    looked: Instant,
    /// When the engine had its last turn.
    turned: Option<Instant>,
    recorder: Option<Recorder>,
}

impl<P: Port + ?Sized> Worker<P> {
    /// A worker for `ports`, whose order is that of the engine's interfaces.
    pub fn new(engine: Engine, ports: Vec<Box<P>>, idle: Idle) -> Self {
        Self {
            rx: ports.iter().map(|_| Burst::new()).collect(),
            tx: ports.iter().map(|_| Tx::default()).collect(),
            told: vec![Told::default(); ports.len()],
            events: Vec::new(),
            looked: Instant::ZERO,
            turned: None,
            recorder: None,
            engine,
            ports,
            idle,
        }
    }

    /// Records all turns from now on; to be replayed, from the first.
    pub fn record(&mut self, recorder: Recorder) {
        self.recorder = Some(recorder);
    }

    /// Ends a recording, if there is one, with the counters as they are now.
    pub fn finish_recording(&mut self) {
        if let Some(mut recorder) = self.recorder.take() {
            recorder.finish(self.engine.counters());
        }
    }

    /// Runs until `wish` says stop, or until a drain is over: sessions live on for at most `drain_timeout`,
    /// then the routers are told (three HERE_I_AM intervals at most).
    /// `clock` is read once a turn; `post` takes the events.
    ///
    /// # Errors
    /// A port is gone.
    pub fn run(
        &mut self,
        clock: impl Fn() -> Instant,
        mut wish: impl FnMut() -> Wish,
        mut post: impl FnMut(Event),
        drain_timeout: Duration,
    ) -> Result<(), PortError> {
        let mut phase = Phase::Running;
        let mut quiet = 0;
        loop {
            let now = clock();
            let w = wish();
            if w.stop {
                return Ok(());
            }
            let mut control = Vec::new();
            match phase {
                Phase::Running if w.drain => {
                    control.push(Control::Drain);
                    phase = Phase::Draining(now);
                }
                // Live sessions need the router's redirection, so the groups are left when they are over.
                Phase::Draining(since) if self.engine.busy() == 0 || now.since(since) >= drain_timeout => {
                    control.push(Control::Leave);
                    phase = Phase::Leaving;
                }
                _ => {}
            }
            let worked = self.step(now, &control, &mut post)?;
            if phase == Phase::Leaving && control.is_empty() && self.engine.has_left() {
                return Ok(());
            }
            quiet = if worked { 0 } else { quiet + 1 };
            if self.idle == Idle::Adaptive && quiet > PATIENCE {
                self.wait(clock());
            }
        }
    }

    /// One pass at `now`, with a turn of the engine if there is anything to do; `post` takes the events. True
    /// if a frame came in or went out.
    ///
    /// # Errors
    /// A port is gone.
    pub fn step(
        &mut self,
        now: Instant,
        control: &[Control],
        post: &mut impl FnMut(Event),
    ) -> Result<bool, PortError> {
        let worked = self.turn(now, control)?;
        self.look(now);
        self.events.drain(..).for_each(post);
        Ok(worked)
    }

    fn turn(&mut self, now: Instant, control: &[Control]) -> Result<bool, PortError> {
        let (mut worked, several) = (false, self.ports.len() > 1);
        for ((port, rx), tx) in self.ports.iter_mut().zip(&mut self.rx).zip(&mut self.tx) {
            port.rx(rx)?;
            worked |= !rx.is_empty();
            tx.slots = port.tx_slots();
            while tx.spare.len() < SPARE.min(tx.slots) {
                let Some(frame) = port.alloc() else { break };
                tx.spare.push(frame);
            }
            // What comes from another port takes a frame of this one's to be sent, beside those that lie ready.
            if several {
                tx.slots = tx.slots.min(port.tx_slots());
            }
        }
        // A look that finds nothing is no turn: a recording holds every turn there was, and a worker that
        // spins makes no more of them than one that waits.
        let due = |at: &Instant| *at <= now;
        let rest = self.turned.is_some_and(|at| now.since(at) < LONGEST_WAIT);
        if !worked && control.is_empty() && rest && !self.engine.poll_timeout(now).is_some_and(|t| due(&t.0))
        {
            return Ok(false);
        }
        self.turned = Some(now);
        let mut none = (Vec::new(), Vec::new());
        let mut ended = None;
        if let Some(recorder) = &mut self.recorder {
            let counters = || self.engine.counters();
            ended = recorder.before(now, &self.rx, &self.tx, &none.0, control, counters);
        }
        self.engine.turn(&mut Turn {
            now,
            rx: &mut self.rx,
            tx: &mut self.tx,
            handoff_in: &mut none.0,
            handoff_out: &mut none.1,
            control,
            events: &mut self.events,
        });
        if let Some(why) = ended {
            self.recorder = None;
            let text = why.text().to_owned();
            let what = What::Warning { kind: "recording_ended", subject: "recording".to_owned(), text };
            self.events.push(Event { at: now, what });
        } else if let Some(recorder) = &mut self.recorder {
            recorder.after(&self.tx, &self.events);
        }
        for (port, tx) in self.ports.iter_mut().zip(&mut self.tx) {
            worked |= !tx.out.is_empty();
            for frame in tx.out.drain(..) {
                port.tx(frame);
            }
            for frame in tx.done.drain(..) {
                port.recycle(frame);
            }
            port.flush()?;
        }
        Ok(worked)
    }

    fn wait(&self, now: Instant) {
        let due = self.engine.poll_timeout(now).map_or(LONGEST_WAIT, |(at, _)| at.since(now));
        if !due.is_zero() {
            io::wait(self.ports.iter().filter_map(|p| p.poll_fd()), due.min(LONGEST_WAIT));
        }
    }

    /// Tells of frames that the ports dropped, or the kernel before them: the engine never saw these.
    fn look(&mut self, now: Instant) {
        if now.since(self.looked) < LOOK {
            return;
        }
        self.looked = now;
        for (port, told) in self.ports.iter_mut().zip(&mut self.told) {
            let (stats, name) = (port.stats(), port.info().name.clone());
            let mut tell = |kind, text: String| {
                let what = What::Warning { kind, subject: name.clone(), text };
                self.events.push(Event { at: now, what });
            };
            if let Some(n) = grown(&mut told.oversize, stats.rx_oversize, now) {
                let text = format!(
                    "{n} frames longer than the MTU at the start came in and were dropped; if the MTU has been \
                     raised since, start again; else switch off what merges segments: ethtool -K {name} gro off \
                     lro off (and at the sender's end of a veth: tso off gso off)"
                );
                tell("offload_on", text);
            }
            if let Some(n) = grown(&mut told.rx_lost, stats.rx_lost, now) {
                let text = format!(
                    "{n} frames came in faster than they were taken, and were dropped; use larger rings in the NIC \
                     profile, idle = \"spin\", or a core of its own (worker.cpu)"
                );
                tell("rx_lost", text);
            }
            if let Some(n) = grown(&mut told.tx_lost, stats.tx_lost, now) {
                let text = format!(
                    "{n} frames could not be sent and were dropped; see `ip -s link show dev {name}` for what it \
                     says of itself, and lower its load"
                );
                tell("tx_lost", text);
            }
        }
    }

    /// The engine, to look at.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Frames that are out of their ports, beyond those that lie ready for the next turn: between two turns none.
    pub fn frames_held(&mut self) -> u64 {
        let ready = |rx: &Burst, tx: &Tx| (rx.len() + tx.spare.len()) as i64;
        let held = self.ports.iter_mut().zip(self.rx.iter().zip(&self.tx));
        let held: i64 = held.map(|(port, (rx, tx))| port.stats().held - ready(rx, tx)).sum();
        u64::try_from(held).unwrap_or(0)
    }

    /// The ports, for their counters.
    pub fn ports_mut(&mut self) -> &mut [Box<P>] {
        &mut self.ports
    }
}
