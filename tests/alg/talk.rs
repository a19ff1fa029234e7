//! A dialogue through the core and FTP's rules, one thing said after the other, in segments of any size.

use crate::support::{ACK, PSH, RST, SYN, Seg};
use std::cell::RefCell;
use std::net::SocketAddr;
use tidegate::alg::rules::{
    Ccc, Doors, Ends, Ftps, Guesses, Log, NoDoor, Profile, Rules, Settings, Transfer, Why,
};
use tidegate::alg::{Alg, Direction, Editor, Limits, Line, Output, Raw, Verdict};
use tidegate::event::{SessionId, What};
use tidegate::time::{Duration, Instant};

/// How segments come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Plain,
    /// Each twice.
    Twice,
    /// Every two neighbours swapped.
    Swapped,
}

/// Doors that note what they are asked, and give ports with more digits than were asked for.
#[derive(Debug, Default)]
pub(crate) struct Noted(pub(crate) Vec<String>);

impl Doors for Noted {
    fn reserve(&mut self, _: Instant, at: SocketAddr) -> Result<SocketAddr, NoDoor> {
        self.0.push(format!("reserve {at}"));
        Ok("198.51.100.99:50123".parse().unwrap())
    }

    fn default_port(&mut self, _: Instant) -> Result<(), NoDoor> {
        Err(NoDoor::Full)
    }

    fn open(&mut self, _: Instant) {
        self.0.push("open".into());
    }

    fn listen(&mut self, _: Instant, at: SocketAddr) -> Result<SocketAddr, NoDoor> {
        self.0.push(format!("listen {at}"));
        Ok("198.51.100.200:50123".parse().unwrap())
    }

    fn close(&mut self, _: Instant, why: Why) {
        self.0.push(format!("close {why:?}"));
    }

    fn transfer(&mut self, _: Instant, transfer: &Transfer) {
        self.0.push(format!("transfer {} {}", transfer.name, transfer.one_way));
    }

    fn refused(&mut self, _: Instant, at: SocketAddr, _: bool, why: &'static str) {
        self.0.push(format!("refused {at}: {why}"));
    }

    fn transfer_begun(&mut self, _: Instant) {}

    fn transfer_over(&mut self, _: Instant, code: u16) {
        self.0.push(format!("over {code}"));
    }

    fn has_door(&self) -> bool {
        true
    }
}

struct Ftp {
    rules: Rules,
    settings: Settings,
    doors: Noted,
    log: Log,
    guesses: Guesses,
}

impl Ftp {
    fn with<T>(&mut self, act: impl FnOnce(&mut dyn Editor) -> T) -> T {
        act(&mut self.rules.with(&self.settings, &mut self.doors, &mut self.log, &mut self.guesses))
    }
}

struct Shared(RefCell<Ftp>);

impl Editor for Shared {
    fn wants(&self, dir: Direction, start: &[u8]) -> bool {
        self.0.borrow_mut().with(|e| e.wants(dir, start))
    }

    fn line(&mut self, now: Instant, dir: Direction, line: Line<'_>) -> Verdict {
        self.0.get_mut().with(|e| e.line(now, dir, line))
    }

    fn passed(&mut self, now: Instant, dir: Direction, line: Line<'_>) {
        self.0.get_mut().with(|e| e.passed(now, dir, line));
    }

    fn is_raw(&self, dir: Direction) -> bool {
        self.0.borrow_mut().with(|e| e.is_raw(dir))
    }

    fn raw(&mut self, now: Instant, dir: Direction, bytes: &[u8]) -> Raw {
        self.0.get_mut().with(|e| e.raw(now, dir, bytes))
    }

    fn takes_answer(&self, dir: Direction) -> bool {
        self.0.borrow_mut().with(|e| e.takes_answer(dir))
    }
}

/// Client and server around the core.
pub(crate) struct Talk {
    alg: Alg,
    ftp: Shared,
    now: Instant,
    piece: usize,
    order: Order,
    /// What each end has sent: to the server, to the client.
    sent: [u32; 2],
    /// What came to the server, to the client.
    pub(crate) got: [Vec<u8>; 2],
    /// How much, all in all.
    got_all: [u32; 2],
    /// Both ends were reset.
    pub(crate) reset: bool,
}

const ISN: [u32; 2] = [u32::MAX - 3000, 70_000];
const BOTH: [Direction; 2] = Direction::BOTH;

fn side(dir: Direction) -> usize {
    usize::from(dir == Direction::ToClient)
}

impl Talk {
    pub(crate) fn new(ccc: Ccc, piece: usize, order: Order) -> Self {
        Self::of(ccc, Profile::Standard, piece, order)
    }

    pub(crate) fn of(ccc: Ccc, profile: Profile, piece: usize, order: Order) -> Self {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let settings = Settings {
            name: "ftp".into(),
            profile,
            ftps: Ftps::Opaque,
            ccc,
            client_mode: tidegate::alg::rules::ClientMode::Any,
            denied_ports: vec![],
            commands: 64,
            setups_per_second: 100,
            failed_logins: 50,
            prompt_refusals: 5,
            commands_per_second: 10000,
            first_command: tidegate::time::Duration::from_secs(60),
            login: tidegate::time::Duration::from_secs(300),
            reply: 65_536,
            default_data_port: false,
            fxp: Vec::new(),
        };
        let ends = Ends {
            client: at("10.9.9.9:40000"),
            client_told: at("198.51.100.99:40000"),
            server: at("10.0.0.200:21"),
            server_told: at("198.51.100.200:21"),
        };
        let rules = Rules::new(SessionId(1), ends, &settings);
        let ftp = Shared(RefCell::new(Ftp {
            rules,
            settings,
            doors: Noted::default(),
            log: Log::default(),
            guesses: Guesses::default(),
        }));
        let mut talk = Self {
            alg: Alg::new(Limits::default()),
            ftp,
            now: Instant::from_millis(1000),
            piece,
            order,
            sent: [1, 1],
            got: Default::default(),
            got_all: [0, 0],
            reset: false,
        };
        let options = vec![2, 4, 5, 180, 1, 1, 4, 2];
        let syn = Seg { seq: ISN[0], flags: SYN, window: 60_000, options: options.clone(), ..Seg::default() };
        let ack = ISN[0].wrapping_add(1);
        let answer = Seg { seq: ISN[1], ack, flags: SYN | ACK, window: 60_000, options, ..Seg::default() };
        talk.put(Direction::ToServer, &syn);
        talk.put(Direction::ToClient, &answer);
        talk
    }

    /// A session up to where the server has agreed to TLS.
    pub(crate) fn agreed(ccc: Ccc, piece: usize, order: Order) -> Self {
        let mut talk = Self::new(ccc, piece, order);
        talk.down(b"220 ready\r\n");
        talk.up(b"AUTH TLS\r\n");
        talk.down(b"234 go on\r\n");
        talk.forget();
        talk
    }

    /// Forgets what came.
    pub(crate) fn forget(&mut self) {
        self.got = Default::default();
        self.ftp.0.get_mut().log.events.clear();
    }

    /// The client says something.
    pub(crate) fn up(&mut self, bytes: &[u8]) {
        self.say(Direction::ToServer, bytes);
    }

    /// The server does.
    pub(crate) fn down(&mut self, bytes: &[u8]) {
        self.say(Direction::ToClient, bytes);
    }

    pub(crate) fn say(&mut self, dir: Direction, bytes: &[u8]) {
        let mut segments = Vec::new();
        let mut at = self.sent[side(dir)];
        for part in bytes.chunks(self.piece) {
            segments.push((at, part));
            at += part.len() as u32;
        }
        match self.order {
            Order::Plain => {}
            Order::Twice => segments = segments.into_iter().flat_map(|s| [s, s]).collect(),
            Order::Swapped => segments.chunks_mut(2).for_each(<[_]>::reverse),
        }
        for (at, part) in segments {
            if self.reset {
                return;
            }
            let seq = ISN[side(dir)].wrapping_add(at);
            self.sent[side(dir)] = self.sent[side(dir)].max(at + part.len() as u32);
            let ack = self.acked(dir);
            let (window, payload) = (60_000, part.to_vec());
            self.put(dir, &Seg { seq, ack, flags: ACK | PSH, window, payload, ..Seg::default() });
            // Whoever got something says so.
            for dir in BOTH {
                let (seq, ack) = (ISN[side(dir)].wrapping_add(self.sent[side(dir)]), self.acked(dir));
                self.put(dir, &Seg { seq, ack, flags: ACK, window, ..Seg::default() });
            }
        }
    }

    /// What the sender of `dir` acknowledges.
    fn acked(&self, dir: Direction) -> u32 {
        let other = side(dir.back());
        ISN[other].wrapping_add(1 + self.got_all[other])
    }

    fn put(&mut self, dir: Direction, seg: &Seg) {
        let mut out = Output::default();
        self.alg.segment(self.now, dir, &seg.incoming(), &mut self.ftp, &mut out);
        assert_eq!(out.notes, []);
        self.take(&out);
        self.now += Duration::from_millis(1);
    }

    fn take(&mut self, out: &Output) {
        for o in &out.segments {
            let to = side(o.dir);
            self.reset |= o.flags & RST != 0;
            let at = o.seq.wrapping_sub(ISN[to]);
            let have = 1 + self.got_all[to];
            assert!(at <= have || o.payload.is_empty(), "a gap: {at}, {have}");
            if at > have {
                continue;
            }
            let new = o.payload.get((have - at) as usize..).unwrap_or_default();
            if o.flags & SYN == 0 {
                self.got_all[to] += new.len() as u32;
                self.got[to].extend_from_slice(new);
            }
        }
    }

    /// Time passes, with what is due in it.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.alg.next_deadline().filter(|at| *at <= end) {
            self.now = at;
            let mut out = Output::default();
            self.alg.timeout(at, &mut self.ftp, &mut out);
            self.take(&out);
        }
        self.now = end;
    }

    pub(crate) fn text(&self, dir: Direction) -> String {
        String::from_utf8_lossy(&self.got[side(dir)]).into_owned()
    }

    /// What happened to the session: states and reasons.
    pub(crate) fn states(&mut self) -> Vec<String> {
        let of = |w: &What| match w {
            What::Session { state, reason, .. } => Some(format!("{state}: {reason}")),
            _ => None,
        };
        self.ftp.0.get_mut().log.events.iter().filter_map(of).collect()
    }

    pub(crate) fn doors(&mut self) -> Vec<String> {
        std::mem::take(&mut self.ftp.0.get_mut().doors.0)
    }

    pub(crate) fn admits_nothing(&mut self) -> bool {
        let ftp = self.ftp.0.get_mut();
        ftp.rules.admits_nothing(&ftp.settings)
    }

    pub(crate) fn is_opaque(&mut self) -> bool {
        self.ftp.0.get_mut().rules.is_opaque()
    }

    pub(crate) fn count(&mut self, name: &str) -> u64 {
        self.ftp.0.get_mut().log.counters.named().find(|(n, _)| *n == name).unwrap().1
    }

    pub(crate) fn memory(&mut self) -> usize {
        self.alg.memory() + self.ftp.0.get_mut().rules.memory()
    }
}
