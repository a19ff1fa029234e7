//! A control connection through the core and FTP's rules, in pieces that the input chooses. No peer makes a door for
//! others, and no announcement goes on as it was written.

use super::input::Input;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use tidegate::alg::rules::{
    Ccc, Doors, Ends, Ftps, Guesses, Log, NoDoor, Profile, Rules, Settings, Transfer, Why,
};
use tidegate::alg::{Alg, Direction, Editor, Incoming, Limits, Line, OptionList, Output, Raw, Verdict};
use tidegate::event::SessionId;
use tidegate::ftp::telnet::strip;
use tidegate::time::{Duration, Instant};
use tidegate::wire::tcp::{ACK, FIN, PSH, RST, SYN};

/// Turns of one input.
const MOST: usize = 300;
const CLIENT: &str = "10.9.9.9:40000";
const TOLD: &str = "198.51.100.99:40000";
const SERVER: &str = "192.0.2.7:21";
/// What either end says, by number; more comes from the input itself.
const WORDS: [&[u8]; 48] = [
    b"220 hi\r\n",
    b"220-hi\r\n",
    b"USER u\r\n",
    b"331 go on\r\n",
    b"PASS p\r\n",
    b"230 in\r\n",
    b"230-in\r\n",
    b"530 no\r\n",
    b"PASV\r\n",
    b"EPSV\r\n",
    b"EPSV ALL\r\n",
    b"LPSV\r\n",
    b"227 Entering Passive Mode (192,0,2,7,195,80).\r\n",
    b"227 Entering Passive Mode (10,1,1,1,195,80).\r\n",
    b"227-x\r\n",
    b"229 ok (|||50000|)\r\n",
    b"PORT 10,9,9,9,156,66\r\n",
    b"PORT 10,9,9,8,156,66\r\n",
    b"PORT 10,9,9,9,0,21\r\n",
    b"EPRT |1|10.9.9.9|40002|\r\n",
    b"LPRT 4,4,10,9,9,9,2,156,66\r\n",
    b"200 ok\r\n",
    b"500 no\r\n",
    b"RETR f\r\n",
    b"STOR f\r\n",
    b"LIST\r\n",
    b"150 here\r\n",
    b"226 done\r\n",
    b"425 no\r\n",
    b"426 cut\r\n",
    b"ABOR\r\n",
    b"\xff\xf4\xff\xf2ABOR\r\n",
    b"225 ok\r\n",
    b"FEAT\r\n",
    b"211-f\r\n AUTH TLS\r\n211 e\r\n",
    b"SYST\r\n",
    b"215 UNIX\r\n",
    b"AUTH TLS\r\n",
    b"234 go\r\n",
    b"\x16\x03\x01\x00\x02ab",
    b"\x17\x03\x03\x00\x06\r\n227 ",
    b"\x15\x03\x03\x00\x02ab",
    b"QUIT\r\n",
    b"421 bye\r\n",
    b"NOOP\r\n",
    b"PROT P\r\n",
    b"REIN\r\n",
    b"STAT\r\n",
];

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Doors that are free, or not, in turn.
struct Given {
    turn: u16,
    loose: bool,
    /// Ports that the client is to be told of, and was not.
    untold: VecDeque<u16>,
}

impl Given {
    fn door(&mut self, at: SocketAddr, host: &str, own: &str) -> Result<SocketAddr, NoDoor> {
        assert_eq!(at.ip(), self::at(own).ip(), "a door for another's address");
        assert!(self.loose || at.port() >= 1024, "a door for port {}", at.port());
        self.turn = self.turn.wrapping_add(1);
        match self.turn % 7 {
            3 => Err(NoDoor::Wait),
            5 => Err(NoDoor::Full),
            _ => Ok(SocketAddr::new(self::at(host).ip(), 20_000 + self.turn % 9 * 4321)),
        }
    }
}

impl Doors for Given {
    fn reserve(&mut self, _: Instant, at: SocketAddr) -> Result<SocketAddr, NoDoor> {
        self.door(at, TOLD, CLIENT)
    }
    fn open(&mut self, _: Instant) {}
    fn default_port(&mut self, _: Instant) -> Result<(), NoDoor> {
        self.turn = self.turn.wrapping_add(1);
        if self.turn & 1 == 0 { Ok(()) } else { Err(NoDoor::Ports) }
    }
    fn listen(&mut self, _: Instant, at: SocketAddr) -> Result<SocketAddr, NoDoor> {
        let told = self.door(at, SERVER, SERVER)?;
        self.untold.push_back(told.port());
        Ok(told)
    }
    fn close(&mut self, _: Instant, _: Why) {}
    fn transfer(&mut self, _: Instant, _: &Transfer) {}
    fn refused(&mut self, _: Instant, _: SocketAddr, _: bool, _: &'static str) {}
    fn transfer_begun(&mut self, _: Instant) {}
    fn transfer_over(&mut self, _: Instant, _: u16) {}
    fn has_door(&self) -> bool {
        self.turn & 1 == 0
    }
}

struct Ftp {
    rules: Rules,
    settings: Settings,
    doors: Given,
    log: Log,
    guesses: Guesses,
}

struct Shared(RefCell<Ftp>);

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&mut dyn Editor) -> T) -> T {
        let ftp = &mut *self.0.borrow_mut();
        act(&mut ftp.rules.with(&ftp.settings, &mut ftp.doors, &mut ftp.log, &mut ftp.guesses))
    }
}

impl Editor for Shared {
    fn wants(&self, dir: Direction, start: &[u8]) -> bool {
        self.with(|e| e.wants(dir, start))
    }
    fn line(&mut self, now: Instant, dir: Direction, line: Line<'_>) -> Verdict {
        self.with(|e| e.line(now, dir, line))
    }
    fn passed(&mut self, now: Instant, dir: Direction, line: Line<'_>) {
        self.with(|e| e.passed(now, dir, line));
    }
    fn is_raw(&self, dir: Direction) -> bool {
        self.with(|e| e.is_raw(dir))
    }
    fn raw(&mut self, now: Instant, dir: Direction, bytes: &[u8]) -> Raw {
        self.with(|e| e.raw(now, dir, bytes))
    }
    fn takes_answer(&self, dir: Direction) -> bool {
        self.with(|e| e.takes_answer(dir))
    }
}

struct Talk {
    alg: Alg,
    ftp: Shared,
    now: Instant,
    sent: [u32; 2],
    /// By the numbers that it has, what the other end of each is known to have got.
    una: [u32; 2],
    got: [Vec<u8>; 2],
    fin: [bool; 2],
    /// Every line was judged so far.
    judged: bool,
    /// How much of what either end got was looked at.
    looked: [usize; 2],
    strict: bool,
    /// The code of a reply of several lines that the client has not got the last one of.
    within: Option<[u8; 3]>,
}

const ISN: [u32; 2] = [u32::MAX - 300, 70_000];

pub fn body(data: &[u8]) {
    let mut input = Input::new(data);
    let how = input.u8();
    let profile = [Profile::Standard, Profile::Strict, Profile::Compat][usize::from(how % 3)];
    let settings = Settings {
        name: "ftp".into(),
        profile,
        ftps: if how & 0x10 == 0 { Ftps::Opaque } else { Ftps::Refuse },
        ccc: [Ccc::Allow, Ccc::Deny, Ccc::Require][usize::from(how >> 5) % 3],
        client_mode: tidegate::alg::rules::ClientMode::Any,
        denied_ports: vec![6000..=6063],
        commands: 16,
        setups_per_second: 5,
        failed_logins: 50,
        prompt_refusals: 5,
        commands_per_second: 5,
        first_command: tidegate::time::Duration::from_secs(60),
        login: tidegate::time::Duration::from_secs(300),
        reply: 4096,
        default_data_port: how & 4 != 0,
        fxp: Vec::new(),
    };
    let ends =
        Ends { client: at(CLIENT), client_told: at(TOLD), server: at(SERVER), server_told: at(SERVER) };
    let rules = Rules::new(SessionId(1), ends, &settings);
    let doors = Given { untold: VecDeque::new(), turn: 0, loose: profile == Profile::Compat };
    let mut talk = Talk {
        alg: Alg::new(Limits::default()),
        ftp: Shared(RefCell::new(Ftp {
            rules,
            settings,
            doors,
            log: Log::default(),
            guesses: Guesses::default(),
        })),
        now: Instant::from_millis(1000),
        sent: [1, 1],
        una: ISN,
        got: Default::default(),
        fin: [false, false],
        judged: true,
        looked: [0, 0],
        strict: profile == Profile::Strict,
        within: None,
    };
    talk.open();
    for _ in 0..MOST {
        if input.is_empty() || talk.alg.is_over() {
            break;
        }
        talk.step(&mut input);
        talk.check(data.len());
    }
    // Whatever was held comes to an end.
    for _ in 0..40 {
        let Some(at) = talk.deadline() else { break };
        talk.wait(at);
    }
    talk.check(data.len());
}

impl Talk {
    fn open(&mut self) {
        let options = [2, 4, 5, 180];
        let head = |seq, ack, flags| Incoming {
            seq,
            ack,
            flags,
            window: 60_000,
            options: OptionList::new(&options),
            ..Incoming::default()
        };
        self.put(Direction::ToServer, &head(ISN[0], 0, SYN));
        self.put(Direction::ToClient, &head(ISN[1], ISN[0].wrapping_add(1), SYN | ACK));
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let op = input.u8();
        let dir = if op & 1 == 0 { Direction::ToServer } else { Direction::ToClient };
        let words = |n: u8| WORDS[usize::from(n) % WORDS.len()].to_vec();
        let said = match op >> 1 & 7 {
            0..=3 => words(input.u8()),
            4 => [words(input.u8()), words(input.u8())].concat(),
            5 => {
                let n = usize::from(input.u8());
                input.bytes(n).to_vec()
            }
            6 if op & 0x80 != 0 => return self.close(dir),
            6 => {
                let some = usize::from(input.u8());
                let word = words(input.u8());
                word[..some % word.len()].to_vec()
            }
            _ => {
                let until = self.now + Duration::from_millis(u64::from(input.u8()) * 100);
                while let Some(at) = self.deadline().filter(|at| *at <= until) {
                    self.wait(at);
                }
                self.now = self.now.max(until);
                return;
            }
        };
        let piece = [4000, 1, 3, 11][usize::from(op >> 4 & 3)];
        for part in said.chunks(piece) {
            self.say(dir, part, op & 0x40 != 0);
        }
    }

    fn say(&mut self, dir: Direction, part: &[u8], twice: bool) {
        let side = usize::from(dir == Direction::ToClient);
        if self.fin[side] {
            return;
        }
        let seq = ISN[side].wrapping_add(self.sent[side]);
        self.sent[side] += part.len() as u32;
        let ack = ISN[1 - side].wrapping_add(1 + self.got[1 - side].len() as u32);
        let seg =
            Incoming { seq, ack, flags: ACK | PSH, window: 60_000, payload: part, ..Incoming::default() };
        self.put(dir, &seg);
        if twice {
            self.put(dir, &seg);
        }
        for dir in Direction::BOTH {
            self.tell(dir, ACK);
        }
    }

    /// A segment without payload.
    fn tell(&mut self, dir: Direction, flags: u8) {
        let side = usize::from(dir == Direction::ToClient);
        let seq = ISN[side].wrapping_add(self.sent[side] + u32::from(self.fin[side] && flags & FIN == 0));
        let ack = ISN[1 - side].wrapping_add(1 + self.got[1 - side].len() as u32);
        self.put(dir, &Incoming { seq, ack, flags, window: 60_000, ..Incoming::default() });
    }

    fn close(&mut self, dir: Direction) {
        let side = usize::from(dir == Direction::ToClient);
        self.fin[side] = true;
        self.tell(dir, ACK | FIN);
    }

    fn deadline(&self) -> Option<Instant> {
        if self.alg.is_over() {
            return None;
        }
        self.alg.next_deadline().into_iter().chain(self.ftp.0.borrow().rules.ended().map(|e| e.0)).min()
    }

    fn wait(&mut self, at: Instant) {
        self.now = self.now.max(at);
        let mut out = Output::default();
        let ended = self.ftp.0.borrow().rules.ended();
        if ended.is_some_and(|(at, _)| at <= self.now) {
            self.alg.end(&mut out);
            self.take(&out);
            assert!(self.alg.is_over());
            // As its owner does.
            self.now += Duration::from_millis(1);
            return;
        }
        self.alg.timeout(self.now, &mut self.ftp, &mut out);
        self.take(&out);
        assert!(self.alg.next_deadline().is_none_or(|at| at > self.now), "a deadline that stays");
    }

    fn put(&mut self, dir: Direction, seg: &Incoming<'_>) {
        self.now += Duration::from_millis(1);
        let mut out = Output::default();
        if seg.flags & ACK != 0 {
            self.una[usize::from(dir == Direction::ToServer)] = seg.ack;
        }
        self.alg.segment(self.now, dir, seg, &mut self.ftp, &mut out);
        self.take(&out);
    }

    fn take(&mut self, out: &Output) {
        for o in out.segments.iter().filter(|o| o.flags & (SYN | RST) == 0) {
            let to = usize::from(o.dir == Direction::ToClient);
            let have = 1 + self.got[to].len() as u32;
            let at = o.seq.wrapping_sub(ISN[to]);
            if o.payload.is_empty() || at > have {
                assert!(o.payload.is_empty(), "a gap: {at}, {have}");
                continue;
            }
            let known = &self.got[to][(at as usize - 1).min(self.got[to].len())..];
            let again = known.len().min(o.payload.len());
            let keeps_alive = o.payload.len() == 1 && o.seq.wrapping_add(1) == self.una[to];
            assert!(keeps_alive || known[..again] == o.payload[..again], "other bytes at {at}");
            self.got[to].extend_from_slice(o.payload.get(known.len()..).unwrap_or_default());
        }
        let ftp = &mut *self.ftp.0.borrow_mut();
        let ends = out.notes.iter().any(|note| ftp.rules.note(&ftp.settings, note, &mut ftp.log));
        if ends {
            self.alg.end(&mut Output::default());
        }
        self.judged &= !ftp.rules.is_opaque();
    }

    fn check(&mut self, input: usize) {
        let ftp = self.ftp.0.borrow();
        let held = self.alg.memory() + ftp.rules.memory();
        assert!(held <= (64 << 10) + 8 * input, "{held} bytes are held");
        assert!(ftp.rules.ended().is_none() || !ftp.rules.is_opaque() || !self.judged);
        if !self.judged {
            return;
        }
        drop(ftp);
        let whole = |got: &[u8]| got.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
        let [to_server, to_client] = [0, 1].map(|to| {
            let new = &self.got[to][self.looked[to]..];
            let len = whole(new);
            self.looked[to] += len;
            new[..len].to_vec()
        });
        for line in to_server.split(|b| *b == b'\n') {
            // Servers differ in what ends a command, and in whether they know Telnet.
            for part in [line, &strip(line).text].iter().flat_map(|l| l.split(|b| matches!(b, 0 | b'\r'))) {
                assert!(!tells_of_others(part), "{:?}", String::from_utf8_lossy(line));
            }
        }
        let untold = &mut self.ftp.0.borrow_mut().doors.untold;
        for line in to_client.split(|b| *b == b'\n') {
            let ends = match (self.within, line.split_first_chunk()) {
                (None, Some((code, [b'-', ..]))) => {
                    self.within = Some(*code);
                    false
                }
                (Some(open), Some((code, [b' ', ..]))) if open == *code => {
                    self.within = None;
                    true
                }
                (open, _) => open.is_none(),
            };
            let told = announces(line) && untold.front().is_some_and(|port| names(line, *port));
            // One that nobody asked for opens nothing; strict rules let none through.
            assert!(told || !(self.strict && ends && announces(line)), "{:?}", String::from_utf8_lossy(line));
            if told {
                untold.pop_front();
            }
        }
        assert!(untold.is_empty() || self.alg.is_over(), "the client was not told of {untold:?}");
    }
}

/// Whether some server reads this as an announcement of an address that is not the one we tell.
fn tells_of_others(part: &[u8]) -> bool {
    let blank = |b: &u8| matches!(b, b' ' | b'\t' | 0x0b | 0x0c);
    let from = part.iter().position(|b| !blank(b)).unwrap_or(part.len());
    let part = part[from..].to_ascii_uppercase();
    let own: &[u8] = match part.get(..4) {
        Some(b"PORT") => b" 198,51,100,99,",
        Some(b"EPRT") => b" |1|198.51.100.99|",
        Some(b"LPRT") => b" 4,4,198,51,100,99,2,",
        _ => return false,
    };
    part.get(4).is_none_or(blank) && !part[4..].starts_with(own)
}

/// Whether this looks like a line that names an address or a port.
fn announces(line: &[u8]) -> bool {
    [&b"227 "[..], b"228 ", b"229 "].iter().any(|code| line.starts_with(code))
}

/// Whether such a line names our port, and no other address than the server's.
fn names(line: &[u8], port: u16) -> bool {
    let [high, low] = port.to_be_bytes();
    let within = |form: String| line.windows(form.len()).any(|w| w == form.as_bytes());
    match line[2] {
        b'7' => within(format!("(192,0,2,7,{high},{low})")),
        b'8' => within(format!("(4,4,192,0,2,7,2,{high},{low})")),
        _ => line
            .windows(3)
            .any(|d| d == [d[0]; 3] && within(format!("({0}{0}{0}{port}{0})", char::from(d[0])))),
    }
}
