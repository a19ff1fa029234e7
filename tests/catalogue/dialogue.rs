//! Dialogues by chance: what clients and servers say, well and badly, one command at a time or several.

use crate::host::Manner;
use crate::naive::{Door, Naive, Said};
use crate::setup::{CLIENT, OTHER_CLIENT, OTHER_SERVER, OUTSIDE, SERVER, at};
use crate::support::{Faults, Rng};

/// One thing that happens, after the one before it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The client says these at once; the server answers each that it gets.
    Says(Vec<Said>),
    /// The server says a line that answers nothing.
    Server(Vec<u8>),
    /// The announced data connection comes, after others that were not announced.
    Connect,
    /// It is reset.
    Close,
}

/// All that a run depends on.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) steps: Vec<Step>,
    pub(crate) client: Manner,
    pub(crate) server: Manner,
    pub(crate) faults: Faults,
    /// The client has another address outside.
    pub(crate) nat: bool,
    /// Both are of IPv6.
    pub(crate) v6: bool,
    /// The server thinks, for up to so many milliseconds.
    pub(crate) thinks: u64,
    pub(crate) seed: u64,
}

impl Case {
    pub(crate) fn naive(&self) -> Naive {
        let [client, server, ..] = self.hosts();
        let told = if self.nat { OUTSIDE } else { client };
        Naive::new(at(client, 0).ip(), at(told, 0).ip(), at(server, 0).ip(), &denied_ranges())
    }

    /// Client, server, and two that have nothing to do with it, inside and outside.
    pub(crate) fn hosts(&self) -> [&'static str; 4] {
        if self.v6 {
            ["2001:db8:1::5", "2001:db8:2::7", "2001:db8:1::6", "2001:db8:2::8"]
        } else {
            [CLIENT, SERVER, OTHER_CLIENT, OTHER_SERVER]
        }
    }

    /// Whether it is laid down what comes of every step.
    pub(crate) fn is_decided(&self) -> bool {
        let mut naive = self.naive();
        self.steps.iter().all(|s| follow(&mut naive, s).is_some())
    }

    pub(crate) fn random(number: u64) -> Self {
        let mut rng = Rng(number.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ 0x000D_1A10_64E5);
        let fault = |rng: &mut Rng| [0, 0, 0, 5, 20][rng.below(5) as usize];
        let mut case = Self {
            steps: Vec::new(),
            client: manner(&mut rng),
            server: manner(&mut rng),
            faults: Faults {
                loss: fault(&mut rng),
                duplicate: fault(&mut rng),
                reorder: fault(&mut rng),
                swap: rng.chance(10),
                until: 20_000,
            },
            nat: rng.chance(80),
            v6: rng.chance(25),
            thinks: [0, 0, 30][rng.below(3) as usize],
            seed: number,
        };
        case.nat &= !case.v6;
        let mut naive = case.naive();
        for step in opening(&mut rng) {
            follow(&mut naive, &step).expect("the login");
            case.steps.push(step);
        }
        for _ in 0..2 + rng.below(6) {
            let step = step(&mut rng, &naive, case.v6);
            if follow(&mut naive, &step).is_some() {
                case.steps.push(step);
            }
        }
        case
    }
}

/// Ports that are denied beside those below 1024.
pub(crate) fn denied_ranges() -> Vec<(u16, u16)> {
    crate::setup::denied().iter().map(|r| (*r.start(), *r.end())).collect()
}

/// The naive reading of a step.
pub(crate) fn follow(naive: &mut Naive, step: &Step) -> Option<()> {
    match step {
        Step::Says(all) => {
            naive.breath();
            all.iter().try_for_each(|s| naive.says(s))
        }
        Step::Server(line) => naive.server_says(line),
        Step::Connect => {
            matches!(naive.door, Door::Active(..) | Door::Passive(_)).then(|| naive.door = Door::Used)
        }
        Step::Close => (naive.door == Door::Used).then(|| naive.door = Door::Unsure),
    }
}

pub(crate) fn manner(rng: &mut Rng) -> Manner {
    let isn = match rng.below(3) {
        0 => rng.next() as u32,
        _ => u32::MAX - rng.below(600) as u32,
    };
    Manner {
        isn,
        mss: [88, 536, 1460, 1460][rng.below(4) as usize],
        scale: [None, Some(0), Some(2), Some(14)][rng.below(4) as usize],
        sack: rng.chance(70),
        stamps: rng.chance(50),
        // Lines that are held whole and do not fit a window at all come by probes only, in their own time.
        room: [5000, 9000, 60_000, 60_000, 60_000][rng.below(5) as usize],
        piece: [1, 3, 17, 60, 1460, 1460, 1460][rng.below(7) as usize],
        ragged: rng.chance(40),
        nagle: rng.chance(30),
        read_every: [0, 0, 0, 0, 70][rng.below(5) as usize],
        partial: rng.chance(15),
    }
}

fn pick<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
    of[rng.below(of.len() as u64) as usize]
}

fn said(command: impl Into<Vec<u8>>, reply: &str) -> Said {
    let reply = reply.split_inclusive('\n').map(|l| l.as_bytes().to_vec()).collect();
    Said { command: command.into(), noise: Vec::new(), mark: None, reply }
}

/// The greeting and a login, most of the time.
fn opening(rng: &mut Rng) -> Vec<Step> {
    let mut steps = Vec::new();
    if rng.chance(20) {
        steps.push(Step::Server(b"220-first\r\n".to_vec()));
        steps.push(Step::Server(b"second 227 (1,2,3,4,5,6)\r\n".to_vec()));
    }
    steps.push(Step::Server(b"220 ready\r\n".to_vec()));
    if rng.chance(5) {
        return steps;
    }
    if rng.chance(10) {
        steps.push(Step::Says(vec![said("USER a\r\n", "331 more\r\n"), said("PASS b\r\n", "530 no\r\n")]));
    }
    let login = vec![
        said("USER anna\r\n", pick(rng, &["331 password\r\n", "331-a\r\n b\r\n331 password\r\n"])),
        said("PASS geheim\r\n", pick(rng, &["230 in\r\n", "230-a\r\n 227 b\r\n230 in\r\n"])),
    ];
    match rng.below(3) {
        0 => steps.extend(login.into_iter().map(|s| Step::Says(vec![s]))),
        _ => steps.push(Step::Says(login)),
    }
    steps
}

fn step(rng: &mut Rng, naive: &Naive, v6: bool) -> Step {
    match rng.below(12) {
        0 => Step::Server(garbage(rng)),
        1..=3 => Step::Connect,
        4 => Step::Close,
        _ => {
            // One command that is laid down after the other.
            let (mut naive, mut all) = (naive.clone(), Vec::new());
            for _ in 0..1 + rng.below(5) {
                let one = exchange(rng, v6);
                let mut after = naive.clone();
                if after.says(&one).is_some() {
                    naive = after;
                    all.push(one);
                }
            }
            Step::Says(all)
        }
    }
}

/// A line of a server that is no reply to anything.
fn garbage(rng: &mut Rng) -> Vec<u8> {
    pick(
        rng,
        &[
            "999 x\r\n",
            "2 x\r\n",
            "22x\r\n",
            "hello\r\n",
            "421 soon\r\n",
            " 227 (198,51,100,7,200,10)\r\n",
            "PORT 198,51,100,7,200,10\r\n",
        ],
    )
    .as_bytes()
    .to_vec()
}

const PLAIN: &[&str] = &[
    "NOOP",
    "SYST",
    "PWD",
    "CWD dir",
    "TYPE I",
    "TYPE A",
    "SIZE f",
    "MDTM f",
    "DELE  x ",
    "noop",
    "Cwd ..",
    "FOO bar",
    "PORTX 10,0,0,5,19,137",
    "PASVX",
    "EPSVX",
    "XPWD",
    "MKD größe",
    "STAT f",
    "MODE S",
    "STRU F",
    "ALLO 12",
    "227 Entering Passive Mode (10,0,0,5,200,10)",
    "PO",
    "SITE CHMOD 644 f",
    "HELP",
    "OPTS UTF8 ON",
];

const REPLIES: &[&str] = &[
    "200 ok\r\n",
    "250 done\r\n",
    "257 \"/\"\r\n",
    "500 what\r\n",
    "502 not here\r\n",
    "550 no\r\n",
    "550 227 Entering Passive Mode (198,51,100,7,200,10)\r\n",
    "213 4\r\n",
    "200\r\n",
    "215-UNIX\r\n Type: L8\r\n227-no\r\n215 end\r\n",
    "214-help\r\n\r\n  PORT PASV\r\n2145 x\r\n214\r\n",
];

fn exchange(rng: &mut Rng, v6: bool) -> Said {
    let port = 10_000 + rng.below(30_000) as u16;
    let mut one = match rng.below(20) {
        0 if rng.chance(15) => said("QUIT\r\n", pick(rng, &["221 bye\r\n", "221-a\r\n221 b\r\n"])),
        1 if rng.chance(50) => {
            said("ABOR\r\n", pick(rng, &["226 done\r\n", "225 nothing to do\r\n", "500 what\r\n"]))
        }
        2 if rng.chance(20) => said(
            "FEAT\r\n",
            pick(
                rng,
                &["211-Features:\r\n MDTM\r\n REST STREAM\r\n AUTH TLS\r\n211 End\r\n", "500 what\r\n"],
            ),
        ),
        0..=4 => plain(rng),
        5..=7 => said(
            if v6 { setup_v6(rng, port) } else { setup(rng, port) },
            pick(rng, &["200 ok\r\n", "200 ok\r\n", "500 no\r\n", "425 no\r\n"]),
        ),
        8..=10 if !v6 => said(pick(rng, &["PASV\r\n", "PASV\r\n", "pasv\r\n"]), &passive(rng, port)),
        8..=13 => {
            const ALL: [&str; 7] =
                ["EPSV\r\n", "EPSV\r\n", "epsv\r\n", "EPSV 1\r\n", "EPSV 2\r\n", "EPSV 3\r\n", "EPSV x\r\n"];
            let command = pick(rng, &ALL);
            said(command, &extended(rng, port))
        }
        14 if rng.chance(20) => said("EPSV ALL\r\n", "500 never\r\n"),
        14 => said("USER b\r\n", pick(rng, &["331 password\r\n", "230 in\r\n"])),
        15 => said(
            pick(rng, &["PASS x\r\n", "PASS\r\n", "PASS \r\n"]),
            pick(rng, &["230 in\r\n", "230 in\r\n", "503 first\r\n"]),
        ),
        16 => said(b"STOR a\0b\r\n".to_vec(), "250 never\r\n"),
        _ => transfer(rng),
    };
    if rng.chance(8) {
        one.noise.push(garbage(rng));
    }
    one
}

fn plain(rng: &mut Rng) -> Said {
    let mut line = pick(rng, PLAIN).as_bytes().to_vec();
    if rng.chance(10) {
        let n = 1 + rng.below(200) as usize;
        line.extend(std::iter::repeat_n(b'x', n));
    }
    if rng.chance(10) {
        line.extend([b' ', 0xE9, 0x80, b'\t', 0xC3]);
    }
    line.extend(b"\r\n");
    said(line, pick(rng, REPLIES))
}

fn transfer(rng: &mut Rng) -> Said {
    let command =
        pick(rng, &["RETR f\r\n", "LIST\r\n", "STOR f\r\n", "nlst -a\r\n", "MLSD\r\n", "APPE f\r\n"]);
    let mut one = said(
        command,
        pick(rng, &["226 done\r\n", "226 done\r\n", "550 no\r\n", "426 broke\r\n", "226-a\r\n226 b\r\n"]),
    );
    if one.reply[0].starts_with(b"226") || one.reply[0].starts_with(b"426") {
        one.mark = rng.chance(80).then(|| b"150 here\r\n".to_vec());
    }
    one
}

/// PORT and EPRT, right and wrong.
fn setup(rng: &mut Rng, port: u16) -> Vec<u8> {
    let (high, low) = (port >> 8, port & 255);
    let denied = pick(rng, &["22", "80", "1023", "3306", "5905", "0", "65536", "8080"]);
    let line = match rng.below(18) {
        0..=3 => format!("PORT 10,0,0,5,{high},{low}\r\n"),
        4 => format!("port 10,0,0,5,{high},{low}\n"),
        5 => format!("PORT 010,0,000,5,{high:03},{low:03}\r\n"),
        6 => format!("PORT 10,0,0,5,{high},{low}  \r\n"),
        7 => format!("  Port 10,0,0,5,{high},{low}\r\n"),
        8 => format!("PORT 10,0,0,6,{high},{low}\r\n"),
        9 => pick(rng, &["PORT\r\n", "PORT 10,0,0,5,,22\r\n", "PORT ,,,,,\r\n", "PORT 10,0,0,5,19\r\n"])
            .to_owned(),
        10 => format!("PORT 10,0,0,5,{high},{low},1\r\n"),
        11 => format!("PORT 10,0,0,5,{high},{}\r\n", 256 + low),
        12 => format!("EPRT |1|10.0.0.5|{denied}|\r\n"),
        13 => format!("EPRT !1!10.0.0.5!{port}!\r\n"),
        14 => format!("EPRT |1|10.0.0.5|{port}\r\n"),
        15 => format!("EPRT |{}|10.0.0.5|{port}|\r\n", pick(rng, &["2", "3", "x", "1|1"])),
        _ => format!("EPRT |1|10.0.0.5|{port}|\r\n"),
    };
    let mut line = line.into_bytes();
    if rng.chance(10) {
        let at = rng.below(5) as usize;
        line.splice(at..at, [0xFF, 0xF1]);
    }
    line
}

/// EPRT of IPv6, right and wrong.
fn setup_v6(rng: &mut Rng, port: u16) -> Vec<u8> {
    let denied = pick(rng, &["22", "1023", "3306", "0", "65536"]);
    let line = match rng.below(12) {
        0..=3 => format!("EPRT |2|2001:db8:1::5|{port}|\r\n"),
        4 => format!("eprt |2|2001:DB8:1:0:0:0:0:5|{port}|\r\n"),
        5 => format!("EPRT !2!2001:db8:1::5!{port}!\r\n"),
        6 => format!("EPRT |2|2001:db8:1::5|{port}\r\n"),
        7 => format!("EPRT |2|2001:db8:1::6|{port}|\r\n"),
        8 => format!("EPRT |1|10.0.0.5|{port}|\r\n"),
        9 => format!("EPRT |2|2001:db8:1::5|{denied}|\r\n"),
        10 => format!("EPRT |{}|2001:db8:1::5|{port}|\r\n", pick(rng, &["1", "3", "x", "2|2"])),
        _ => {
            pick(rng, &["EPRT\r\n", "EPRT |2|fe80::|5001|\r\n", "EPRT |2|2001:db8:1::5:5001\r\n"]).to_owned()
        }
    };
    line.into_bytes()
}

/// What servers answer to PASV.
fn passive(rng: &mut Rng, port: u16) -> String {
    let host =
        pick(rng, &["198,51,100,7", "198,51,100,7", "198,51,100,7", "0,0,0,0", "10,9,9,9", "127,0,0,1"]);
    let tuple = format!("{host},{},{}", port >> 8, port & 255);
    match rng.below(18) {
        0..=4 => format!("227 Entering Passive Mode ({tuple}).\r\n"),
        5 => format!("227 Entering passive mode. {tuple}\r\n"),
        6 => format!("227 {tuple}\r\n"),
        7 => format!("227 ={tuple}\r\n"),
        8 => format!("227 IPv4 v2 ({tuple})\r\n"),
        9 => format!("227 Entering Passive Mode( {}).\r\n", tuple.replacen(',', " , ", 2)),
        10 => format!("227-hello\r\n227 ({tuple})\r\n"),
        11 => format!("227-({tuple})\r\n227 ok\r\n"),
        12 => "227 Entering Passive Mode (\r\n".to_owned(),
        13 => "227 Entering Passive Mode (198,51,100,7,0,0).\r\n".to_owned(),
        14 => format!(
            "227 Entering Passive Mode (198,51,100,7,{}).\r\n",
            pick(rng, &["0,22", "12,234", "3,255"])
        ),
        15 => format!("229 Extended (|||{port}|)\r\n"),
        _ => pick(rng, &["425 no\r\n", "500 what\r\n", "530 no\r\n"]).to_owned(),
    }
}

/// What servers answer to EPSV.
fn extended(rng: &mut Rng, port: u16) -> String {
    match rng.below(14) {
        0..=4 => format!("229 Entering Extended Passive Mode (|||{port}|)\r\n"),
        5 => format!("229 Ext (|||{port}|).\r\n"),
        6 => format!("229 Ext (||{port}|)\r\n"),
        7 => format!("229 Ext (|1|10.9.9.9|{port}|)\r\n"),
        8 => format!("227 Entering Passive Mode (198,51,100,7,{},{}).\r\n", port >> 8, port & 255),
        9 => format!("229 Ext (|||{}|)\r\n", pick(rng, &["0", "22", "3306"])),
        10 => "229 Ext\r\n".to_owned(),
        11 => format!("229-Ext\r\n229 (|||{port}|)\r\n"),
        _ => pick(rng, &["500 what\r\n", "522 no\r\n", "425 no\r\n"]).to_owned(),
    }
}
