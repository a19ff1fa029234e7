//! A control connection through the core and FTP's rules, in pieces that the input chooses. No peer makes a door for
//! others, and no announcement goes on as it was written.

use super::input::Input;
use std::cell::RefCell;
use std::net::SocketAddr;
use tidegate::alg::rules::{
    Ccc, Doors, Ends, Ftps, Guesses, Log, NoDoor, Profile, Rules, Settings, Transfer, Why,
};
use tidegate::alg::{Alg, Direction, Editor, Incoming, Limits, Line, OptionList, Output, Raw, Verdict};
use tidegate::event::SessionId;
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
        self.door(at, SERVER, SERVER)
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
    acked: [u32; 2],
    got: [Vec<u8>; 2],
    fin: [bool; 2],
    /// Every line to the server was judged so far.
    judged: bool,
    looked: usize,
    standard: bool,
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
    let doors = Given { turn: 0, loose: profile == Profile::Compat };
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
        acked: [1, 1],
        got: Default::default(),
        fin: [false, false],
        judged: true,
        looked: 0,
        standard: profile != Profile::Compat,
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
            assert!(o.payload.len() == 1 || known[..again] == o.payload[..again], "other bytes at {at}");
            self.got[to].extend_from_slice(o.payload.get(known.len()..).unwrap_or_default());
            self.acked[to] = have;
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
        if !self.judged || !self.standard {
            return;
        }
        let new = &self.got[0][self.looked..];
        let Some(end) = new.iter().rposition(|b| *b == b'\n') else { return };
        for line in new[..=end].split_inclusive(|b| *b == b'\n') {
            let verb = line.get(..5).unwrap_or_default().to_ascii_uppercase();
            if matches!(&verb[..], b"PORT " | b"EPRT ") {
                let told = [&b"PORT 198,51,100,99,"[..], b"EPRT |1|198.51.100.99|"];
                assert!(told.iter().any(|t| line.starts_with(t)), "{:?}", String::from_utf8_lossy(line));
            }
        }
        self.looked += end + 1;
    }
}
