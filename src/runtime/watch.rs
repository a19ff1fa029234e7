//! Watches what the gateway was started on: the interface, the host's addresses, what the host forwards.
//!
//! What makes the gateway useless or wrong ends it, so that the routers go on without it; of anything else that
//! was refused at the start there is a warning. Where the host shares the interface, the XDP program's list of
//! the host's addresses is kept current.

use super::os::{Clock, FLAG_INTERVAL};
use super::preflight;
use crate::event::What;
use crate::io::afxdp::{self, Addresses};
use crate::io::link::{self, Changes, HostAddress, Link};
use crate::io::{PortError, pnet};
use crate::time::{Duration, Instant};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

/// Looks without a change being told, for what nobody tells of (queues, a program that is taken off): one in so
/// many waits.
const LOOK_ANYWAY: u32 = 8;
/// Least rest after a look.
const REST: Duration = Duration::from_millis(20);
/// Rest after a look, in looks: a host where something changes all the time costs us a part of a core.
const REST_LOOKS: u32 = 20;
/// What ends the gateway is looked at again after this time: a list that the kernel gives while it changes may
/// lack what is there.
const SURE: Duration = Duration::from_millis(300);
/// Least time between two warnings of one kind.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// What the host must not forward.
#[derive(Debug, Clone)]
pub(super) enum Forwarding {
    /// It does not matter.
    Any,
    /// Nothing: it would send each packet a second time (AF_PACKET).
    Twice,
    /// Nothing that has these tags: it could not be told from what is redirected to our MAC address.
    ByMac(Option<Vec<u16>>),
}

/// What to watch.
#[derive(Debug)]
pub(super) struct Ground {
    /// The interface's name.
    pub(super) interface: String,
    /// Whether it is opened by AF_XDP, with a program and one queue.
    pub(super) af_xdp: bool,
    /// Its MAC address and MTU as the gateway knows them.
    pub(super) mac: [u8; 6],
    pub(super) mtu: u16,
    /// Our addresses.
    pub(super) own: Vec<IpAddr>,
    /// What the host must not forward.
    pub(super) forwarding: Forwarding,
    /// The XDP program's list of the host's addresses, to be kept current.
    pub(super) addresses: Option<Addresses>,
}

/// A thread that watches.
#[derive(Debug)]
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    over: Arc<OnceLock<PortError>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    /// The kernel does not tell of changes or interfaces, or gives no thread.
    pub(super) fn start(
        ground: Ground,
        clock: Clock,
        warn: impl Fn(What) + Send + 'static,
    ) -> Result<Self, PortError> {
        // Before the first look, so that no change falls between the two.
        let changes = Changes::subscribe(&ground.interface)?;
        let link = link::find(&ground.interface)?;
        let interface = ground.interface.clone();
        let mut watcher = Watcher::new(ground, link);
        let (stop, over) = (Arc::new(AtomicBool::new(false)), Arc::new(OnceLock::new()));
        let (stopped, found) = (Arc::clone(&stop), Arc::clone(&over));
        let thread = std::thread::Builder::new().name("watch".to_owned()).spawn(move || {
            let mut quiet = 0;
            while !stopped.load(Ordering::Acquire) {
                if quiet == 0 {
                    let began = clock.now();
                    if watcher.look(began, &warn).is_err() {
                        std::thread::sleep(SURE);
                        let sure = watcher.look(clock.now(), &warn);
                        // The end itself takes the program off.
                        if let (Err(e), false) = (sure, stopped.load(Ordering::Acquire)) {
                            let _ = found.set(e);
                            return;
                        }
                    }
                    std::thread::sleep(REST.max(clock.now().since(began) * REST_LOOKS));
                }
                quiet = if changes.wait(FLAG_INTERVAL) { 0 } else { (quiet + 1) % LOOK_ANYWAY };
            }
        });
        match thread {
            Ok(thread) => Ok(Self { stop, over, thread: Some(thread) }),
            Err(e) => Err(PortError {
                interface,
                what: format!("no thread to watch it: {e}"),
                remedy: "raise the limit of processes (`ulimit -u`)".to_owned(),
            }),
        }
    }

    /// Whether what was found ends the gateway.
    pub(super) fn is_over(&self) -> bool {
        self.over.get().is_some()
    }

    /// The gateway ends: what is found from now on is its own doing. To be called before the port is given back.
    pub(super) fn leave(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Ends the watch.
    ///
    /// # Errors
    /// What ends the gateway.
    pub(super) fn finish(mut self) -> Result<(), PortError> {
        self.end();
        let over = std::mem::take(&mut self.over);
        Arc::into_inner(over).and_then(OnceLock::into_inner).map_or(Ok(()), Err)
    }

    fn end(&mut self) {
        self.leave();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}

struct Watcher {
    ground: Ground,
    /// The kernel's number of the interface, and the program that we attached (0: not known).
    index: u32,
    program: u32,
    told: Told,
    /// What could not be found out at the last look.
    ill: Option<String>,
}

/// What was told last, and when. A state that holds is told once; one that changes too fast, once it stays.
#[derive(Debug, Default)]
struct Told {
    state: BTreeMap<&'static str, Option<String>>,
    at: BTreeMap<&'static str, Instant>,
}

impl Told {
    /// Whether `state` of this kind (`None`: all is well) is to be told now.
    fn news(&mut self, kind: &'static str, state: Option<&str>, now: Instant) -> bool {
        let old = self.state.get(kind).and_then(Option::as_deref);
        if old == state || self.at.get(kind).is_some_and(|at| now.since(*at) < WARN_EVERY) {
            return false;
        }
        self.state.insert(kind, state.map(str::to_owned));
        self.at.insert(kind, now);
        true
    }
}

impl Watcher {
    fn new(ground: Ground, link: Link) -> Self {
        let program = link.xdp_program.filter(|_| ground.af_xdp).unwrap_or(0);
        Self { ground, index: link.index, program, told: Told::default(), ill: None }
    }

    fn look(&mut self, now: Instant, warn: &impl Fn(What)) -> Result<(), PortError> {
        match (link::all(&self.ground.interface), link::addresses(&self.ground.interface)) {
            (Ok(links), Ok(host)) => {
                let link = links.into_iter().find(|l| l.index == self.index);
                let queues = link.as_ref().filter(|_| self.ground.af_xdp).and_then(afxdp::rx_queues_told);
                self.fatal(link.as_ref(), queues)?;
                if let Some(link) = link {
                    self.of_link(&link, now, warn);
                    self.of_host(&link.name, host, now, warn);
                }
            }
            (Err(e), _) | (_, Err(e)) => self.ails(e.to_string(), warn),
        }
        Ok(())
    }

    /// What ends the gateway: frames for us no longer reach us.
    ///
    /// `queues` is what the driver told; it tells nothing while it is being reset.
    fn fatal(&self, link: Option<&Link>, queues: Option<u32>) -> Result<(), PortError> {
        let over = |what: String, remedy: String| {
            Err(PortError { interface: self.ground.interface.clone(), what, remedy })
        };
        let Some(link) = link else {
            return over("the interface is gone".to_owned(), "bring it back and start again".to_owned());
        };
        if link.mac != self.ground.mac {
            let what = format!(
                "its MAC address was {} at the start and is {}; frames to the old one are lost",
                show(self.ground.mac),
                show(link.mac)
            );
            return over(what, "start again".to_owned());
        }
        // 0: the kernel does not tell which.
        if self.program != 0 && link.xdp_program != Some(0) && link.xdp_program != Some(self.program) {
            let what = match link.xdp_program {
                None => "our XDP program was taken off".to_owned(),
                Some(other) => format!("our XDP program was replaced by another (id {other})"),
            };
            return over(what, "find out by whom, and start again".to_owned());
        }
        if let Some(queues) = queues.filter(|n| *n > 1) {
            let remedy = format!("run `ethtool -L {} combined 1` and start again", link.name);
            return over(format!("it has {queues} receive queues now, and one worker serves one"), remedy);
        }
        Ok(())
    }

    fn of_link(&mut self, link: &Link, now: Instant, warn: &impl Fn(What)) {
        let (name, started) = (&link.name, self.ground.mtu);
        let works = match (link.up, link.carrier) {
            (true, true) => None,
            (false, _) => Some(format!("the interface is down; run `ip link set dev {name} up`")),
            (true, false) => Some(
                "the interface has no carrier; see to its cable, and to what is at its other end".to_owned(),
            ),
        };
        let known_down = self.told.state.get("link_down").is_some_and(Option::is_some);
        if self.told.news("link_down", works.as_deref(), now) {
            match works {
                Some(text) => self.warn("link_down", text, warn),
                None if known_down => self.warn("link_up", "the interface works again".to_owned(), warn),
                None => {}
            }
        }
        let mtu = (link.mtu != u32::from(started)).then(|| {
            format!(
                "the MTU was {started} at the start and is {}; what is longer than either is dropped: run `ip link set \
                 dev {name} mtu {started}`, or start again",
                link.mtu
            )
        });
        self.tell("link_changed", mtu, now, warn);
    }

    /// `name` is what the interface is called now.
    fn of_host(&mut self, name: &str, host: Vec<HostAddress>, now: Instant, warn: &impl Fn(What)) {
        let taken = host.iter().find(|a| self.ground.own.contains(&a.address)).map(|taken| {
            let consequence = match &self.ground.forwarding {
                Forwarding::Twice => "it resets our connections",
                _ => "the host's own connections to it fail",
            };
            format!(
                "{} has our address {}: {consequence}; `ip address flush to {} dev {}`",
                taken.interface, taken.address, taken.address, taken.interface
            )
        });
        self.tell("address_taken", taken, now, warn);
        let forwards = match &self.ground.forwarding {
            Forwarding::Any => None,
            // Of our addresses it has been told.
            Forwarding::Twice => pnet::check(name, &[]).err().map(|e| e.to_string()),
            Forwarding::ByMac(vlan) => preflight::forwarded(name, vlan.as_deref())
                .first()
                .map(|f| format!("{}; {}", f.what(), f.remedy())),
        };
        self.tell("host_forwards", forwards, now, warn);
        let Some(addresses) = &mut self.ground.addresses else {
            self.ill = None;
            return;
        };
        match addresses.set_host(host.into_iter().map(|a| a.address)) {
            Ok(()) => self.ill = None,
            Err(e) => self.ails(e.to_string(), warn),
        }
    }

    /// Tells what is wrong, once; `None`: nothing is.
    fn tell(&mut self, kind: &'static str, wrong: Option<String>, now: Instant, warn: &impl Fn(What)) {
        if self.told.news(kind, wrong.as_deref(), now)
            && let Some(text) = wrong
        {
            self.warn(kind, text, warn);
        }
    }

    fn ails(&mut self, text: String, warn: &impl Fn(What)) {
        if self.ill.as_ref() != Some(&text) {
            self.ill = Some(text.clone());
            self.warn("host_addresses", text, warn);
        }
    }

    fn warn(&self, kind: &'static str, text: String, warn: &impl Fn(What)) {
        warn(What::Warning { kind, subject: self.ground.interface.clone(), text });
    }
}

fn show(mac: [u8; 6]) -> String {
    mac.map(|b| format!("{b:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn link() -> Link {
        let (up, carrier, xdp_program) = (true, true, Some(17));
        Link {
            index: 4,
            name: "eth1".into(),
            mac: [2; 6],
            mtu: 1500,
            up,
            carrier,
            xdp_program,
            ..Link::default()
        }
    }

    fn watcher() -> Watcher {
        let ground = Ground {
            interface: "eth1".into(),
            af_xdp: true,
            mac: [2; 6],
            mtu: 1500,
            own: vec![[10, 9, 0, 2].into()],
            forwarding: Forwarding::Any,
            addresses: None,
        };
        Watcher::new(ground, link())
    }

    #[test]
    fn what_keeps_frames_from_us_ends_the_gateway() {
        let w = watcher();
        let fatal =
            |link: Option<Link>, queues| w.fatal(link.as_ref(), Some(queues)).err().map(|e| e.to_string());
        assert_eq!(fatal(Some(link()), 1), None);
        assert_eq!(fatal(Some(Link { xdp_program: Some(0), ..link() }), 1), None, "the kernel does not tell");
        assert!(w.fatal(Some(&link()), None).is_ok(), "the driver does not tell");
        assert_eq!(fatal(None, 1).unwrap(), "eth1: the interface is gone; bring it back and start again");
        assert_eq!(
            fatal(Some(Link { mac: [3; 6], ..link() }), 1).unwrap(),
            "eth1: its MAC address was 02:02:02:02:02:02 at the start and is 03:03:03:03:03:03; frames to the old one \
             are lost; start again"
        );
        assert_eq!(
            fatal(Some(Link { xdp_program: None, ..link() }), 1).unwrap(),
            "eth1: our XDP program was taken off; find out by whom, and start again"
        );
        assert_eq!(
            fatal(Some(Link { xdp_program: Some(18), ..link() }), 1).unwrap(),
            "eth1: our XDP program was replaced by another (id 18); find out by whom, and start again"
        );
        assert_eq!(
            fatal(Some(link()), 4).unwrap(),
            "eth1: it has 4 receive queues now, and one worker serves one; run `ethtool -L eth1 combined 1` and start \
             again"
        );
    }

    #[test]
    fn a_state_is_told_once_and_one_that_flaps_once_a_minute() {
        let mut w = watcher();
        let told = RefCell::new(Vec::new());
        let warn = |what| {
            let What::Warning { kind, text, .. } = what else { panic!("no warning") };
            told.borrow_mut().push((kind, text));
        };
        let at = Instant::from_millis;
        let (good, down) = (link(), Link { carrier: false, ..link() });
        w.of_link(&link(), at(0), &warn);
        assert_eq!(told.take(), [], "all is well");
        for t in 1..100 {
            w.of_link(if t % 2 == 1 { &down } else { &good }, at(t * 1_000), &warn);
        }
        let kinds: Vec<_> = told.take().into_iter().map(|t| t.0).collect();
        // At 1 s, and a minute later, when it happens to work.
        assert_eq!(kinds, ["link_down", "link_up"]);
        w.of_link(&Link { up: false, ..link() }, at(200_000), &warn);
        w.of_link(&Link { mtu: 1400, ..link() }, at(300_000), &warn);
        w.of_link(&Link { mtu: 1400, ..link() }, at(400_000), &warn);
        let texts: Vec<_> = told.take().into_iter().map(|(kind, text)| format!("{kind}: {text}")).collect();
        assert_eq!(
            texts,
            [
                "link_down: the interface is down; run `ip link set dev eth1 up`",
                "link_up: the interface works again",
                "link_changed: the MTU was 1500 at the start and is 1400; what is longer than either is dropped: run \
                 `ip link set dev eth1 mtu 1500`, or start again",
            ]
        );
    }

    #[test]
    fn an_address_of_ours_that_the_host_gains_is_told() {
        let mut w = watcher();
        let told = RefCell::new(0);
        let warn = |_| *told.borrow_mut() += 1;
        let host = |last| vec![HostAddress { interface: "lo".into(), address: [10, 9, 0, last].into() }];
        for (t, last, n) in [(0, 3, 0), (1_000, 2, 1), (2_000, 2, 1), (70_000, 3, 1), (140_000, 2, 2)] {
            w.of_host("eth1", host(last), Instant::from_millis(t), &warn);
            assert_eq!(*told.borrow(), n, "at {t} ms");
        }
    }
}
