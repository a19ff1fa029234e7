//! A control connection between two ends that take what comes, the rules between them, and doors that note what is
//! asked of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use tidegate::alg::rules::{Doors, Ends, Guesses, Log, NoDoor, Rules, Transfer, Why};
use tidegate::alg::{Alg, Direction, Incoming, Limits, Note, OptionList, Output};
use tidegate::event::{SessionId, What};
use tidegate::ftp::hostport::DEFAULT_DENIED_PORTS;
use tidegate::time::{Duration, Instant};
use tidegate::wire::tcp::{ACK, FIN, PSH, RST, SYN};

pub(crate) use Direction::{ToClient, ToServer};
pub(crate) use tidegate::alg::rules::{Ccc, Ftps, Profile, Settings};

/// Sequence numbers that wrap soon.
const ISN: [u32; 2] = [u32::MAX - 40, u32::MAX - 90];

/// How what an end says is cut into segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As it says it.
    Whole,
    /// One byte a segment.
    Bytes,
    /// In segments of seven bytes, every two swapped.
    Swapped,
    /// As it says it, each twice.
    Twice,
}

pub(crate) const WAYS: [Way; 4] = [Way::Whole, Way::Bytes, Way::Swapped, Way::Twice];

/// Doors that let in what they are asked for.
#[derive(Debug, Default)]
pub(crate) struct FakeDoors {
    /// What was asked, in words.
    pub(crate) asked: Vec<String>,
    /// Addresses that others are told instead, by their own.
    pub(crate) told: BTreeMap<SocketAddr, SocketAddr>,
    /// The answer to the next questions.
    pub(crate) no: Option<NoDoor>,
    /// Announcements that were not let stand, and why.
    pub(crate) refused: Vec<String>,
    /// Replies that began a transfer.
    pub(crate) begun: usize,
    stands: bool,
    reserved: bool,
}

impl FakeDoors {
    fn place(&self, at: SocketAddr) -> Result<SocketAddr, NoDoor> {
        self.no.map_or_else(|| Ok(self.told.get(&at).copied().unwrap_or(at)), Err)
    }

    /// What an operator would see, without what closes nothing.
    pub(crate) fn story(&self) -> Vec<&str> {
        self.asked.iter().map(String::as_str).filter(|a| !a.starts_with("close")).collect()
    }
}

impl Doors for FakeDoors {
    fn reserve(&mut self, _now: Instant, at: SocketAddr) -> Result<SocketAddr, NoDoor> {
        if self.no != Some(NoDoor::Wait) {
            self.asked.push(format!("reserve {at}"));
        }
        let told = self.place(at)?;
        (self.reserved, self.stands) = (true, false);
        Ok(told)
    }

    fn default_port(&mut self, _now: Instant) -> Result<(), NoDoor> {
        self.asked.push("default port".to_owned());
        self.no.map_or(Ok(()), Err)?;
        self.stands = true;
        Ok(())
    }

    fn open(&mut self, _now: Instant) {
        self.asked.push("open".to_owned());
        self.stands = self.reserved;
    }

    fn listen(&mut self, _now: Instant, at: SocketAddr) -> Result<SocketAddr, NoDoor> {
        if self.no != Some(NoDoor::Wait) {
            self.asked.push(format!("listen {at}"));
        }
        let told = self.place(at)?;
        self.stands = true;
        Ok(told)
    }

    fn close(&mut self, _now: Instant, why: Why) {
        self.asked.push(format!("close {why:?}"));
        (self.reserved, self.stands) = (false, false);
    }

    fn transfer(&mut self, _now: Instant, t: &Transfer) {
        let one_way = if t.one_way { " one way" } else { "" };
        self.asked.push(format!("transfer {} {}{one_way}", t.verb.name(), t.name).trim_end().to_owned());
    }

    fn refused(&mut self, _now: Instant, at: SocketAddr, active: bool, why: &'static str) {
        let whose = if active { "client" } else { "server" };
        self.refused.push(format!("the {whose}'s {at}: {why}"));
    }

    fn transfer_begun(&mut self, _now: Instant) {
        self.begun += 1;
    }

    fn transfer_over(&mut self, _now: Instant, code: u16) {
        self.asked.push(format!("over {code}"));
        self.stands &= code >= 400;
    }

    fn has_door(&self) -> bool {
        self.stands
    }
}

/// One end's view of the other's stream.
#[derive(Debug, Default)]
struct Inbox {
    got: Vec<u8>,
    early: BTreeMap<u32, u8>,
    reset: bool,
}

pub(crate) struct Rig {
    pub(crate) alg: Alg,
    pub(crate) rules: Rules,
    pub(crate) settings: Settings,
    pub(crate) doors: FakeDoors,
    pub(crate) log: Log,
    pub(crate) guesses: Guesses,
    pub(crate) now: u64,
    pub(crate) notes: Vec<Note>,
    /// Nobody acknowledges anything.
    pub(crate) mute: bool,
    way: Way,
    /// Bytes that each direction's sender has sent.
    sent: [u32; 2],
    /// Bytes of each direction that its receiver took.
    taken: [u32; 2],
    /// What came to the server, and to the client.
    inbox: [Inbox; 2],
    verbatim: bool,
}

pub(crate) fn settings(profile: Profile) -> Settings {
    Settings {
        name: "ftp".to_owned(),
        profile,
        ftps: Ftps::Opaque,
        ccc: Ccc::Allow,
        client_mode: tidegate::alg::rules::ClientMode::Any,
        denied_ports: DEFAULT_DENIED_PORTS.to_vec(),
        commands: 64,
        setups_per_second: 20,
        failed_logins: 50,
        prompt_refusals: 5,
        commands_per_second: 1000,
        first_command: tidegate::time::Duration::from_secs(60),
        login: tidegate::time::Duration::from_secs(300),
        reply: 256 << 10,
        default_data_port: false,
        fxp: Vec::new(),
    }
}

/// Ends that know each other by their own addresses.
pub(crate) fn plain() -> Ends {
    let (client, server) = ("10.0.0.5:40000".parse().unwrap(), "198.51.100.7:21".parse().unwrap());
    Ends { client, client_told: client, server, server_told: server }
}

fn side(dir: Direction) -> usize {
    usize::from(dir == ToClient)
}

impl Rig {
    pub(crate) fn new(settings: Settings, ends: Ends, way: Way) -> Self {
        let mut rig = Self {
            alg: Alg::new(Limits::default()),
            rules: Rules::new(SessionId(7), ends, &settings),
            settings,
            doors: FakeDoors::default(),
            log: Log::default(),
            guesses: Guesses::default(),
            now: 1000,
            notes: Vec::new(),
            mute: false,
            way,
            sent: [0; 2],
            taken: [0; 2],
            inbox: Default::default(),
            verbatim: true,
        };
        let options = OptionList::new(&[2, 4, 5, 180, 1, 1, 4, 2]);
        let syn = Incoming { seq: ISN[0], flags: SYN, window: 60_000, options, ..Incoming::default() };
        rig.segment(ToServer, &syn);
        let answer = Incoming { seq: ISN[1], ack: ISN[0].wrapping_add(1), flags: SYN | ACK, ..syn };
        rig.segment(ToClient, &answer);
        rig.put(ToServer, 0, b"", ACK);
        rig
    }

    /// With the addresses that 10.0.0.5:5001 and its like become outside.
    pub(crate) fn outside(mut self, own: &str, told: &str) -> Self {
        self.doors.told.insert(own.parse().unwrap(), told.parse().unwrap());
        self
    }

    /// Past greeting and login, of which nothing is kept.
    pub(crate) fn logged_in(mut self) -> Self {
        self.server(b"220 hello\r\n");
        self.client(b"USER a\r\n");
        self.server(b"331 more\r\n");
        self.client(b"PASS b\r\n");
        self.server(b"230 in\r\n");
        self.forget();
        self
    }

    pub(crate) fn forget(&mut self) {
        self.doors.asked.clear();
        self.log.events.clear();
        self.inbox[0].got.clear();
        self.inbox[1].got.clear();
    }

    pub(crate) fn client(&mut self, bytes: &[u8]) {
        self.say(ToServer, bytes);
    }

    pub(crate) fn server(&mut self, bytes: &[u8]) {
        self.say(ToClient, bytes);
    }

    /// The client says that, and the server gets it so.
    pub(crate) fn passes(&mut self, bytes: &[u8]) {
        self.client(bytes);
        assert_eq!(text(&self.at_server()), text(bytes), "{:?}", self.way);
    }

    /// The client says that, and gets this, and the server nothing.
    pub(crate) fn answered(&mut self, bytes: &[u8], answer: &str) {
        self.client(bytes);
        assert_eq!(text(&self.at_server()), "", "{:?}", self.way);
        assert_eq!(text(&self.at_client()), answer, "{:?} {:?}", self.way, text(bytes));
    }

    /// The server says that, and the client gets it so.
    pub(crate) fn replies(&mut self, bytes: &[u8]) {
        self.server(bytes);
        assert_eq!(text(&self.at_client()), text(bytes), "{:?}", self.way);
    }

    /// What came to the server since it was asked last.
    pub(crate) fn at_server(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.inbox[0].got)
    }

    pub(crate) fn at_client(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.inbox[1].got)
    }

    pub(crate) fn is_reset(&self) -> bool {
        self.inbox.iter().all(|i| i.reset)
    }

    /// Whether nothing was ever sent that did not come so.
    pub(crate) fn only_verbatim(&self) -> bool {
        self.verbatim
    }

    pub(crate) fn way(&self) -> Way {
        self.way
    }

    pub(crate) fn why(&self) -> Option<&'static str> {
        self.rules.ended().map(|e| e.1)
    }

    /// Commands and replies told of, in words.
    pub(crate) fn told(&self) -> Vec<String> {
        let word = |what: &What| match what {
            What::Command { verb, argument, action, rule, .. } => {
                let rule = rule.map_or_else(String::new, |r| format!(", {r}"));
                Some(format!("{verb} {argument}").trim_end().to_owned() + &format!(" [{action}{rule}]"))
            }
            What::Reply { code, source, .. } => Some(format!("{code} [{source}]")),
            What::Session { state, reason, .. } => Some(format!("{state}: {reason}")),
            What::Expectation { state, client_side, .. } => Some(format!("{client_side} {state}")),
            _ => None,
        };
        self.log.events.iter().filter_map(word).collect()
    }

    fn say(&mut self, dir: Direction, bytes: &[u8]) {
        let from = self.sent[side(dir)];
        self.sent[side(dir)] += bytes.len() as u32;
        let piece = match self.way {
            Way::Whole | Way::Twice => 1400,
            Way::Bytes => 1,
            Way::Swapped => 7,
        };
        let mut pieces: Vec<(u32, &[u8])> =
            bytes.chunks(piece).enumerate().map(|(i, c)| (from + (i * piece) as u32, c)).collect();
        if self.way == Way::Swapped {
            pieces.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1));
        }
        for (at, piece) in pieces {
            for _ in 0..if self.way == Way::Twice { 2 } else { 1 } {
                self.put(dir, at, piece, ACK | PSH);
            }
        }
    }

    /// The client sends its last bytes again, and they are others.
    pub(crate) fn again(&mut self, bytes: &[u8]) {
        self.put(ToServer, self.sent[0] - bytes.len() as u32, bytes, ACK | PSH);
    }

    pub(crate) fn fin(&mut self, dir: Direction) {
        self.put(dir, self.sent[side(dir)], b"", ACK | FIN);
    }

    fn put(&mut self, dir: Direction, at: u32, payload: &[u8], flags: u8) {
        let other = dir.back();
        // Its stream and its acknowledgement, as this end knows them.
        let seg = Incoming {
            seq: ISN[side(dir)].wrapping_add(1).wrapping_add(at),
            ack: ISN[side(other)].wrapping_add(1).wrapping_add(self.taken[side(other)]),
            flags,
            window: 60_000,
            payload,
            ..Incoming::default()
        };
        self.segment(dir, &seg);
    }

    fn segment(&mut self, dir: Direction, seg: &Incoming<'_>) {
        self.now += 1;
        let mut out = Output::default();
        let now = Instant::from_millis(self.now);
        let mut editor = self.rules.with(&self.settings, &mut self.doors, &mut self.log, &mut self.guesses);
        self.alg.segment(now, dir, seg, &mut editor, &mut out);
        self.out(out);
    }

    fn out(&mut self, out: Output) {
        for note in out.notes {
            let ends = self.rules.note(&self.settings, &note, &mut self.log);
            self.notes.push(note);
            if ends {
                let mut out = Output::default();
                self.alg.end(&mut out);
                self.out(out);
            }
        }
        let mut heard = [false; 2];
        for o in &out.segments {
            let i = side(o.dir);
            self.verbatim &= o.verbatim || o.payload.is_empty();
            let inbox = &mut self.inbox[i];
            inbox.reset |= o.flags & RST != 0;
            if o.flags & SYN != 0 || o.payload.is_empty() {
                continue;
            }
            heard[i] = true;
            let base = ISN[i].wrapping_add(1);
            for (k, byte) in o.payload.iter().enumerate() {
                let at = o.seq.wrapping_sub(base).wrapping_add(k as u32);
                if at >= self.taken[i] {
                    inbox.early.insert(at, *byte);
                }
            }
            while let Some(byte) = inbox.early.remove(&self.taken[i]) {
                inbox.got.push(byte);
                self.taken[i] += 1;
            }
        }
        for dir in Direction::BOTH {
            if heard[side(dir)] && !self.mute && !self.is_reset() {
                // Who got something says so.
                self.put(dir.back(), self.sent[side(dir.back())], b"", ACK);
            }
        }
    }

    /// Lets time pass, and what is due with it.
    pub(crate) fn wait(&mut self, time: Duration) {
        let until = self.now + time.as_millis() as u64;
        let due = |rig: &Self| rig.alg.next_deadline().into_iter().chain(rig.rules.next_deadline()).min();
        while let Some(at) = due(self).map(Instant::as_millis).filter(|at| *at <= until) {
            self.now = self.now.max(at);
            let mut out = Output::default();
            let mut editor =
                self.rules.with(&self.settings, &mut self.doors, &mut self.log, &mut self.guesses);
            self.alg.timeout(Instant::from_millis(self.now), &mut editor, &mut out);
            self.out(out);
        }
        self.now = until;
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'")
}

/// Runs it with these rules, each way.
pub(crate) fn each_way(settings: &Settings, run: impl Fn(Rig)) {
    WAYS.iter().for_each(|way| run(Rig::new(settings.clone(), plain(), *way)));
}

/// Runs it with a profile, logged in, each way.
pub(crate) fn within(profile: Profile, run: impl Fn(Rig)) {
    each_way(&settings(profile), |rig| run(rig.logged_in()));
}

pub(crate) const PROFILES: [Profile; 3] = [Profile::Compat, Profile::Standard, Profile::Strict];
