//! Dialogues by chance through the whole stack, over a network that loses, doubles, swaps and cuts, with sequence
//! numbers around their wrap; what both ends get is compared with what the naive reading says, and so is who may connect.
//!
//! Of IPv4 and IPv6, with masquerading and without, in the standard profile, from greeting to QUIT. Not in it is what the
//! naive reading leaves open (see there), other profiles, and servers behind a translation; these are in the catalogue
//! and in `reenact`.
//!
//! A failure is made smaller, and names its case by number; `TG_DIFF_FROM=that TG_DIFF_CASES=1` runs it alone.

use crate::dialogue::{Case, Step, follow};
use crate::host::Manner;
use crate::naive::{Door, Naive, compare};
use crate::net::Net;
use crate::packet::Packet;
use crate::setup::{OUTSIDE, Setup, at};
use crate::support::{ACK, Faults, RST, Rng, Seg};
use std::cell::Cell;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tidegate::alg::rules::Profile;
use tidegate::firewall::Side;
use tidegate::time::Duration;

/// Virtual time in which a step must be over, in milliseconds.
const PATIENCE: u64 = 300_000;

struct Play<'a> {
    net: Net,
    naive: Naive,
    case: &'a Case,
    rng: Rng,
    /// Lines that the server has answered, and those that it will answer at their time.
    served: usize,
    later: Vec<(u64, usize)>,
    from: u16,
    /// The data connection that lives: who opened it.
    last: Option<(Side, (SocketAddr, SocketAddr))>,
}

impl Setup {
    /// What a case asks for; nothing of it runs out of time.
    pub(crate) fn of(case: &Case) -> Self {
        let mut s = Self::new(Profile::Standard);
        (s.client_manner, s.server_manner) = (case.client.clone(), case.server.clone());
        (s.faults, s.seed) = (case.faults, case.seed);
        let [client, server, ..] = case.hosts();
        (s.client, s.server) = (at(client, 40_001), at(server, 21));
        s.settings.limits.alg.line_time = Duration::from_secs(400);
        s.settings.timers.expectation = Duration::from_secs(3600);
        s.settings.timers.control_idle = Duration::from_secs(36_000);
        s.rules().setups_per_second = 10_000;
        s.rules().commands_per_second = 10_000;
        (s.rules().first_command, s.rules().login) =
            (Duration::from_secs(36_000), Duration::from_secs(36_000));
        if !case.nat {
            s.settings.nat.masquerade = None;
        }
        s
    }
}

/// Plays a case; what is wrong, if anything.
fn play(case: &Case) -> Result<(), String> {
    let mut p = Play {
        net: Net::new(&Setup::of(case)),
        naive: case.naive(),
        case,
        rng: Rng(case.seed ^ 0x5E17),
        served: 0,
        later: Vec::new(),
        from: 50_000,
        last: None,
    };
    for (n, step) in case.steps.iter().enumerate() {
        let door = p.naive.door;
        follow(&mut p.naive, step).ok_or("not laid down")?;
        let wrong = match step {
            Step::Says(all) => {
                for one in all {
                    p.net.conns[0].client.stream.extend(&one.command);
                }
                p.run()
            }
            Step::Server(line) => {
                p.net.conns[0].server.stream.extend(line);
                p.run()
            }
            Step::Connect => p.connect(door),
            Step::Close => {
                p.close();
                Ok(())
            }
        };
        wrong.map_err(|e| format!("step {n}: {e}"))?;
        p.closed().map_err(|e| format!("after step {n}: {e}"))?;
    }
    p.net.finish();
    Ok(())
}

impl Play<'_> {
    /// Until everybody has said and got everything.
    fn run(&mut self) -> Result<(), String> {
        let limit = self.net.now + PATIENCE;
        loop {
            self.server_answers();
            let next = self.later.first().map_or(limit, |l| l.0);
            self.net.step(next);
            self.server_answers();
            if self.served == self.naive.replies.len() && self.later.is_empty() && self.net.is_quiet() {
                let right = self.compare();
                if right.is_ok() || self.net.now >= limit {
                    return right;
                }
            }
            if self.net.now >= limit {
                self.compare()?;
                return Err("no rest".into());
            }
        }
    }

    fn server_answers(&mut self) {
        let server = &mut self.net.conns[0].server;
        let lines = server.got.iter().filter(|b| **b == b'\n').count();
        while self.served < lines.min(self.naive.replies.len()) {
            let last = self.later.last().map_or(0, |l| l.0);
            let at = (self.net.now + self.rng.below(self.case.thinks + 1)).max(last);
            self.later.push((at, self.served));
            self.served += 1;
        }
        while self.later.first().is_some_and(|l| l.0 <= self.net.now) {
            let reply = self.naive.replies[self.later.remove(0).1].clone();
            server.stream.extend(reply);
        }
    }

    fn compare(&self) -> Result<(), String> {
        let c = &self.net.conns[0];
        compare(&self.naive.to_server, &c.server.got).map_err(|e| format!("to the server, {e}"))?;
        compare(&self.naive.to_client, &c.client.got).map_err(|e| format!("to the client, {e}"))
    }

    /// The client's address outside.
    fn outside(&self) -> &'static str {
        if self.case.nat { OUTSIDE } else { self.case.hosts()[0] }
    }

    fn attempt(&mut self, door: Door) -> Option<Packet> {
        self.from += 1;
        let [client, server, ..] = self.case.hosts();
        match door {
            Door::Active(out, _) => {
                let to = at(self.outside(), out);
                self.net.syn(Side::Outside, at(server, self.from), to)
            }
            Door::Passive(port) => self.net.syn(Side::Inside, at(client, self.from), at(server, port)),
            _ => None,
        }
    }

    fn connect(&mut self, door: Door) -> Result<(), String> {
        let [client, server, other_client, other_server] = self.case.hosts();
        // Somebody else, or somewhere else.
        let strange = match door {
            Door::Active(out, _) => {
                let to = at(self.outside(), out);
                self.net.syn(Side::Outside, at(other_server, 20), to)
            }
            Door::Passive(port) => self.net.syn(Side::Inside, at(other_client, 50_000), at(server, port)),
            _ => None,
        };
        if strange.is_some() {
            return Err(format!("a stranger comes in by {door:?}"));
        }
        let Some(there) = self.attempt(door) else { return Err(format!("{door:?} is closed")) };
        let (side, ends, want) = match door {
            Door::Active(out, inside) => {
                let ends = (at(server, self.from), at(self.outside(), out));
                (Side::Outside, ends, at(client, inside))
            }
            Door::Passive(port) => {
                (Side::Inside, (at(client, self.from), at(server, port)), at(server, port))
            }
            _ => return Err(format!("{door:?} is none")),
        };
        if there.dst != want {
            return Err(format!("{door:?} leads to {}", there.dst));
        }
        self.net.establish(side, ends, &there);
        self.last = Some((side, ends));
        Ok(())
    }

    /// The one that opened the data connection resets it.
    fn close(&mut self) {
        if let Some((side, (src, dst))) = self.last.take() {
            let seg = Seg { seq: 77_001, ack: 99_001, flags: RST | ACK, ..Default::default() };
            self.net.give(side, &Packet::new(src, dst, seg));
        }
    }

    /// Whatever was announced before, and does not stand, is closed.
    fn closed(&mut self) -> Result<(), String> {
        if self.naive.door == Door::Unsure {
            return Ok(());
        }
        let all = self.naive.opened.clone();
        let past = match self.naive.door {
            Door::Active(..) | Door::Passive(_) => &all[..all.len() - 1],
            _ => &all[..],
        };
        for door in past.iter().rev().take(2) {
            if *door != self.naive.door && self.attempt(*door).is_some() {
                return Err(format!("{door:?} is open, and {:?} is what stands", self.naive.door));
            }
        }
        Ok(())
    }
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// What is wrong with a case; a panic is.
pub(crate) fn fails(case: &Case) -> Option<String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| play(case)));
    QUIET.set(false);
    match result {
        Ok(Ok(())) => None,
        Ok(Err(why)) => Some(why),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            Some(text.or(panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default())
        }
    }
}

/// The smallest case that we find that fails, and how.
fn shrink(case: &Case, why: String) -> (Case, String) {
    let (mut best, mut reason) = (case.clone(), why);
    loop {
        let smaller = candidates(&best).into_iter().filter(Case::is_decided);
        let Some((case, why)) = smaller.into_iter().find_map(|c| fails(&c).map(|why| (c, why))) else {
            return (best, reason);
        };
        (best, reason) = (case, why);
    }
}

/// Everything that is simpler by one thing.
fn candidates(case: &Case) -> Vec<Case> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Case)| {
        let mut c = case.clone();
        change(&mut c);
        if format!("{c:?}") != format!("{case:?}") {
            all.push(c);
        }
    };
    with(&|c| c.faults = Faults::default());
    with(&|c| c.client = Manner::default());
    with(&|c| c.server = Manner { isn: 5000, ..Manner::default() });
    with(&|c| c.thinks = 0);
    with(&|c| (c.client.ragged, c.client.partial, c.client.nagle) = (false, false, false));
    with(&|c| (c.server.ragged, c.server.partial, c.server.nagle) = (false, false, false));
    for n in (0..case.steps.len()).rev() {
        with(&|c| _ = c.steps.remove(n));
        if let Step::Says(says) = &case.steps[n] {
            for k in 0..says.len() {
                with(&|c| {
                    if let Step::Says(says) = &mut c.steps[n] {
                        says.remove(k);
                    }
                });
                with(&|c| {
                    if let Step::Says(says) = &mut c.steps[n] {
                        says[k].noise.clear();
                    }
                });
            }
        }
    }
    all
}

/// A case for people.
fn told(case: &Case) -> String {
    let mut text = format!(
        "nat {}, IPv6 {}, thinks {}, {:?}\nclient {:?}\nserver {:?}\n",
        case.nat, case.v6, case.thinks, case.faults, case.client, case.server
    );
    let shown = |b: &[u8]| b.escape_ascii().to_string();
    for step in &case.steps {
        match step {
            Step::Says(all) => {
                for s in all {
                    let parts: Vec<String> =
                        s.noise.iter().chain(&s.mark).chain(&s.reply).map(|l| shown(l)).collect();
                    text += &format!("  C> {}    S> {}\n", shown(&s.command), parts.join(" "));
                }
                text += "  .\n";
            }
            Step::Server(line) => text += &format!("  S> {}\n", shown(line)),
            other => text += &format!("  {other:?}\n"),
        }
    }
    text
}

pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

#[test]
fn whatever_is_said_both_ends_get_what_the_naive_reading_says() {
    let from = setting("TG_DIFF_FROM", 0);
    let upto = from + setting("TG_DIFF_CASES", 2000);
    let next = AtomicU64::new(from);
    let failed = AtomicBool::new(false);
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    std::thread::scope(|scope| {
        for _ in 0..setting("TG_DIFF_THREADS", threads) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= upto || failed.load(Ordering::Relaxed) {
                        return;
                    }
                    let case = Case::random(number);
                    if let Some(why) = fails(&case)
                        && !failed.swap(true, Ordering::Relaxed)
                    {
                        let (small, reason) = shrink(&case, why.clone());
                        eprintln!(
                            "case {number}: {why}\nTG_DIFF_FROM={number} TG_DIFF_CASES=1 runs it; smaller:\n{}{reason}",
                            told(&small)
                        );
                    }
                }
            });
        }
    });
    assert!(!failed.into_inner(), "see above");
}
