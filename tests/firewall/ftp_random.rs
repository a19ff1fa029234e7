//! Random dialogues: no data SYN passes that was not announced to who sends it, and whatever was announced passes at once.
//!
//! What was announced is read from what the ends got, by a reading of this test's own. `TG_DOORS_CASES` and
//! `TG_DOORS_FROM` choose how many dialogues are held, and the first one's seed.

use crate::ftp_net::*;
use std::net::SocketAddr;
use tidegate::time::{Duration, Instant};

const HOSTS: [&str; 2] = ["10.0.0.5", "10.0.0.6"];
const SERVER_IP: &str = "198.51.100.7";
const STRANGER: &str = "198.51.100.8";
/// Ports that servers and clients listen at.
const PORTS: std::ops::Range<u16> = 50_000..50_004;
const STEPS: usize = 60;

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn port(&mut self) -> u16 {
        PORTS.start + self.below(PORTS.len() as u64) as u16
    }
}

/// What an end was told, and may be used once.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    opener: &'static str,
    at: SocketAddr,
    /// Where it must lead: a host's own address.
    listener: SocketAddr,
    since: Instant,
    /// Something else has not been asked for since.
    last: bool,
}

/// One control connection as its two ends see it.
struct Dialogue {
    host: &'static str,
    c: usize,
    s: usize,
    /// Commands that the server has and has not answered.
    asked: Vec<String>,
    /// The code of a reply of several lines that is not whole.
    open: Option<String>,
    /// Where the client is, as the server was told, and as itself.
    port: Option<(SocketAddr, SocketAddr)>,
    /// Where the server said it is.
    said: Option<u16>,
    told: Option<Told>,
    /// What both ends got, for people.
    transcript: Vec<String>,
}

fn tuple(a: SocketAddr) -> String {
    let SocketAddr::V4(a) = a else { panic!("IPv4") };
    let [h1, h2, h3, h4] = a.ip().octets();
    format!("{h1},{h2},{h3},{h4},{},{}", a.port() / 256, a.port() % 256)
}

/// The six numbers that end a line, or the one of an extended form.
fn named(line: &str) -> Option<SocketAddr> {
    let numbers: Vec<u16> =
        line.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
    if line.starts_with("229") {
        return Some(SocketAddr::new(SERVER_IP.parse().unwrap(), *numbers.last()?));
    }
    let [h1, h2, h3, h4, p1, p2] = *numbers.last_chunk()?;
    format!("{h1}.{h2}.{h3}.{h4}:{}", p1 * 256 + p2).parse().ok()
}

impl Dialogue {
    fn begin(net: &mut Net, host: &'static str, port: u16) -> Self {
        let (c, s) = logged_in(net, &format!("{host}:{port}"));
        net.got(c);
        net.got(s);
        Self {
            host,
            c,
            s,
            asked: Vec::new(),
            open: None,
            port: None,
            said: None,
            told: None,
            transcript: Vec::new(),
        }
    }

    fn is_dead(&self, net: &Net) -> bool {
        net.end(self.c).reset || net.end(self.s).reset
    }

    /// Reads what both ends got.
    fn read(&mut self, net: &mut Net) {
        for line in net.got(self.s).lines() {
            let setup = ["PORT", "PASV", "EPSV", "QUIT", "USER", "REIN"].iter().any(|v| line.starts_with(v));
            // A transfer that is asked for may use it yet.
            let used = self.asked.iter().any(|c| c.starts_with("RETR") || c.starts_with("NLST"));
            self.told = self.told.take().filter(|_| !setup || used);
            self.told.iter_mut().for_each(|t| t.last &= !setup);
            if line.starts_with("PORT") {
                // Behind a translation only the host can be told from here, not its port.
                let own = SocketAddr::new(self.host.parse().unwrap(), 0);
                self.port = named(line).map(|told| (told, own));
            }
            self.transcript.push(format!("C {line}"));
            self.asked.push(line.to_owned());
        }
        for line in net.got(self.c).lines().map(str::to_owned).collect::<Vec<_>>() {
            self.transcript.push(format!("S {line}"));
            self.reply(net.now, &line);
        }
    }

    fn reply(&mut self, now: Instant, line: &str) {
        if let Some(code) = &self.open {
            if line.starts_with(&format!("{code} ")) {
                self.open = None;
            } else {
                return;
            }
        } else if line.get(3..4) == Some("-") {
            self.open = Some(line[..3].to_owned());
            return;
        }
        // What the gateway says itself is about commands that the server never got.
        let ours = line.starts_with("50") && line != "500 no" || line.contains("setup-first");
        if line.starts_with('1') || self.asked.is_empty() || ours {
            return;
        }
        let command = self.asked.remove(0);
        let passive = command.starts_with("PASV") || command.starts_with("EPSV");
        // Else the server has closed that again, or will.
        let last = !self.asked.iter().any(|c| ["PORT", "PASV", "EPSV"].iter().any(|v| c.starts_with(v)));
        if passive && (line.starts_with("227") || line.starts_with("229")) {
            let listener = SocketAddr::new(SERVER_IP.parse().unwrap(), self.said.unwrap());
            self.told = named(line).map(|at| Told { opener: self.host, at, listener, since: now, last });
        } else if command.starts_with("PORT") && line.starts_with('2') {
            let (at, listener) = self.port.unwrap();
            self.told = Some(Told { opener: SERVER_IP, at, listener, since: now, last });
        } else if line.starts_with('2') && (command.starts_with("RETR") || command.starts_with("NLST")) {
            // A transfer that ended well without it has no need of it.
            self.told.iter_mut().for_each(|t| t.last = false);
        }
    }

    fn command(&mut self, net: &mut Net, rng: &mut Rng) {
        let own = SocketAddr::new(self.host.parse().unwrap(), rng.port());
        let foreign = SocketAddr::new(HOSTS[rng.below(2) as usize].parse().unwrap(), rng.port());
        let text = match rng.below(12) {
            0..=2 => {
                format!("PORT {}", tuple(own))
            }
            3..=5 => "PASV".to_owned(),
            6 => "EPSV".to_owned(),
            7 => "RETR a".to_owned(),
            8 => format!("NLST 227 Passive ({})", tuple(foreign)),
            9 => format!("NOOP {}", tuple(foreign)),
            10 if foreign.ip() != own.ip() => format!("PORT {}", tuple(foreign)),
            _ => "NOOP".to_owned(),
        };
        net.say(self.c, &format!("{text}\r\n"));
        self.read(net);
    }

    fn answer(&mut self, net: &mut Net, rng: &mut Rng) {
        let port = rng.port();
        let at = SocketAddr::new(SERVER_IP.parse().unwrap(), port);
        let other = SocketAddr::new(STRANGER.parse().unwrap(), port);
        let asked = self.asked.first().cloned().unwrap_or_default();
        let passive = asked.starts_with("PASV") || asked.starts_with("EPSV");
        let text = match rng.below(10) {
            0 if self.asked.is_empty() => format!("227 Unasked ({})", tuple(at)),
            1 => format!("550 227 Passive ({})", tuple(at)),
            2 if !passive => format!("211-x\r\n227 Passive ({})\r\n211 end", tuple(at)),
            3 if passive => format!("227 Passive ({})", tuple(other)),
            4 => "500 no".to_owned(),
            _ if passive && asked.starts_with("PASV") => format!("227 Passive ({})", tuple(at)),
            _ if passive => format!("229 Extended (|||{port}|)"),
            _ if asked.starts_with("RETR") || asked.starts_with("NLST") => {
                ["550 none", "150 here\r\n226 done"][rng.below(2) as usize].to_owned()
            }
            _ => "200 ok".to_owned(),
        };
        if passive {
            self.said = Some(port);
        }
        // A greeting, as it were, or something nobody asked for.
        if !self.asked.is_empty() || rng.below(8) == 0 {
            net.say(self.s, &format!("{text}\r\n"));
        }
        self.read(net);
    }
}

/// One dialogue of two clients with one server; how many data connections passed, and how many did not.
fn hold(seed: u64) -> [usize; 2] {
    let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let nat = rng.below(2) == 0;
    let mut net = Net::new(if nat { masquerade(settings()) } else { settings() });
    for port in PORTS {
        net.listen(Outside, &format!("{SERVER_IP}:{port}"));
        net.listen(Outside, &format!("{STRANGER}:{port}"));
        HOSTS.iter().for_each(|h| net.listen(Inside, &format!("{h}:{port}")));
    }
    let mut next = 30_000;
    let mut fresh = || {
        next += 1;
        next
    };
    let mut all = HOSTS.map(|h| Dialogue::begin(&mut net, h, fresh()));
    let mut seen: Vec<Told> = Vec::new();
    let mut passed = [0; 2];
    for step in 0..STEPS {
        let i = rng.below(2) as usize;
        if all[i].is_dead(&net) {
            all[i] = Dialogue::begin(&mut net, HOSTS[i], fresh());
        }
        match rng.below(10) {
            0..=3 => all[i].command(&mut net, &mut rng),
            4..=7 => all[i].answer(&mut net, &mut rng),
            8 => net.pass(Duration::from_millis(rng.below(40_000))),
            _ => {}
        }
        all.iter_mut().for_each(|d| d.read(&mut net));
        seen.extend(all[i].told.clone());
        // Somebody tries: who was told, mostly, or who was not.
        let (opener, at) = match (rng.below(4), &all[i].told) {
            (0 | 1, Some(told)) => (told.opener, told.at),
            (2, _) if !seen.is_empty() => {
                let old = &seen[rng.below(seen.len() as u64) as usize];
                (old.opener, old.at)
            }
            (3, _) => {
                let opener = [HOSTS[0], HOSTS[1], SERVER_IP, STRANGER][rng.below(4) as usize];
                let inside = HOSTS.contains(&opener);
                let known = if nat { GATE } else { HOSTS[rng.below(2) as usize] };
                let host = if inside { SERVER_IP } else { known };
                (opener, SocketAddr::new(host.parse().unwrap(), rng.port()))
            }
            _ => continue,
        };
        let side = if HOSTS.contains(&opener) { Inside } else { Outside };
        let data = net.connect(side, &format!("{opener}:{}", fresh()), &at.to_string());
        let lives = |t: &&mut Option<Told>, now: Instant| {
            t.as_ref().is_some_and(|t| {
                t.opener == opener && t.at == at && now.since(t.since) <= Duration::from_secs(60)
            })
        };
        let now = net.now;
        let open = net.end(data).open;
        let what = format!("seed {seed}, step {step}, nat {nat}: {opener} to {at}");
        let held =
            all.iter().map(|d| format!("{}:\n {}\n", d.host, d.transcript.join("\n "))).collect::<String>();
        let told = all.iter_mut().map(|d| &mut d.told).find(|t| lives(t, now));
        match told {
            Some(slot) => {
                let told = slot.take().unwrap();
                if !open && !told.last {
                    continue;
                }
                assert!(open, "{what}: announced, and did not pass; {:?}\n{held}", net.expectations());
                let reached = net.newest();
                assert_eq!(net.end(reached).local.ip(), told.listener.ip(), "{what}");
                assert!([0, net.end(reached).local.port()].contains(&told.listener.port()), "{what}");
                net.say(data, &what);
                assert_eq!(net.got(reached), what, "reached another one");
            }
            None => assert!(!open, "{what}: not announced, and passed; {:?}\n{held}", net.expectations()),
        }
        passed[usize::from(!open)] += 1;
        net.abort(data);
    }
    net.sums();
    passed
}

#[test]
fn nothing_passes_but_what_was_announced() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |v| v.parse().expect("a number"));
    let (from, cases) = (number("TG_DOORS_FROM", 1), number("TG_DOORS_CASES", 400));
    let mut sum = [0; 2];
    for seed in from..from + cases {
        let one = hold(seed);
        (sum[0], sum[1]) = (sum[0] + one[0], sum[1] + one[1]);
    }
    println!("{cases} dialogues from seed {from}: {} connections passed, {} did not", sum[0], sum[1]);
    assert!(cases < 100 || (sum[0] > 100 && sum[1] > 100), "{sum:?}");
}
