//! Random dialogues and random bytes.

use crate::rig::{PROFILES, Rig, WAYS, Way, plain, settings};

/// Numbers from a seed.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// Commands with the replies that an ordinary server gives, none of which has to change.
const PLAIN: &[(&str, &str)] = &[
    ("NOOP", "200 ok"),
    ("CWD 227 (1,2,3,4,5,6)", "250-PORT 1,2,3,4,5,6\r\n227 x\r\n250 ok"),
    ("TYPE I", "200 Type set to I"),
    ("SIZE a", "213 17"),
    ("STAT", "211-Status\r\n x\r\n211 End"),
    ("FEAT", "211-Features\r\n EPSV\r\n AUTH TLS\r\n211 End"),
    ("EPSV", "229 Entering Extended Passive Mode (|||51210|)"),
    ("PASV", "227 Entering Passive Mode (198,51,100,7,200,10)."),
    ("PASV", "500 what?"),
    ("port 10,0,0,5,19,137", "200 PORT command successful"),
    ("EPRT |1|10.0.0.5|5001|", "200 ok"),
    ("EPRT !1!10.0.0.5!5001!", "500 no"),
    ("SITE CHMOD 600 f", "502 no"),
    ("XYZZY plugh", "500 nothing happens"),
    ("OPTS UTF8 ON", "202 always"),
    ("PWD", "257 \"/\" is current"),
    ("AUTH TLS", "500 no"),
    ("ABOR", "225 ok"),
];

#[test]
fn nothing_to_change_changes_nothing() {
    for seed in 0..600u64 {
        let mut rng = Rng(seed);
        let way = WAYS[rng.below(4)];
        let profile = PROFILES[rng.below(2)];
        let mut rig = Rig::new(settings(profile), plain(), way).logged_in();
        for _ in 0..rng.below(20) + 1 {
            let (mut commands, mut replies) = (String::new(), String::new());
            for _ in 0..rng.below(3) + 1 {
                let (command, reply) = PLAIN[rng.below(PLAIN.len())];
                if command.starts_with("AUTH") && !commands.is_empty() {
                    continue;
                }
                commands += &format!("{command}\r\n");
                replies += &format!("{reply}\r\n");
                if command.starts_with("AUTH") {
                    break;
                }
            }
            // PORT waits for a PASV before it.
            let crossed = commands.contains("PASV") || commands.contains("EPSV");
            let active = commands.contains("port") || commands.contains("EPRT");
            if crossed && active {
                continue;
            }
            rig.passes(commands.as_bytes());
            rig.replies(replies.as_bytes());
            // The rate of announcements is another matter.
            rig.wait(tidegate::time::Duration::from_secs(1));
        }
        assert_eq!(rig.why(), None, "seed {seed}");
        assert!(way != Way::Whole || rig.only_verbatim(), "seed {seed}");
        assert_eq!((rig.rules.memory(), rig.alg.memory()), (0, 0), "seed {seed}");
    }
}

const WORDS: &[&str] = &[
    "PORT ",
    "EPRT ",
    "PASV",
    "EPSV",
    "EPSV ALL",
    "LPRT ",
    "LPSV",
    "AUTH TLS",
    "USER a",
    "PASS b",
    "RETR x",
    "LIST",
    "ABOR",
    "QUIT",
    "NOOP",
    "FEAT",
    "SYST",
    "REIN",
    "PROT P",
    "CCC",
    "10,0,0,5,19,137",
    "|1|10.0.0.5|5001|",
    "\r\n",
    "\r\n",
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "\u{ff}",
    "(",
    ")",
    "|||51210|)",
];
const SAID: &[&str] = &[
    "220 ",
    "220-",
    "227 ",
    "227-",
    "229 ",
    "228 ",
    "230 ",
    "331 ",
    "530 ",
    "200 ",
    "150 ",
    "226 ",
    "425 ",
    "421 ",
    "234 ",
    "211-",
    "211 ",
    "550 ",
    "999 ",
    "(198,51,100,7,200,10)",
    "198,51,100,7,200,10",
    "(|||51210|)",
    "(4,4,198,51,100,7,2,200,10)",
    "\r\n",
    "\r\n",
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "-",
];

#[test]
fn no_bytes_do_harm() {
    for seed in 0..3000u64 {
        let mut rng = Rng(seed ^ 0x5eed);
        let profile = PROFILES[rng.below(3)];
        let way = WAYS[rng.below(4)];
        let mut rig = Rig::new(settings(profile), plain(), way);
        if rng.below(2) == 0 {
            rig = rig.logged_in();
        }
        for _ in 0..rng.below(30) {
            let mut bytes = Vec::new();
            let words = if rng.below(2) == 0 { WORDS } else { SAID };
            for _ in 0..rng.below(8) {
                match rng.below(20) {
                    0 => bytes.push(rng.below(256) as u8),
                    1 => bytes.extend([255, 240 + rng.below(16) as u8]),
                    _ => bytes.extend(rng.pick(words).as_bytes()),
                }
            }
            if words.len() == WORDS.len() {
                rig.client(&bytes);
            } else {
                rig.server(&bytes);
            }
            assert!(rig.rules.memory() < 512 << 10, "seed {seed}");
            if rng.below(10) == 0 {
                rig.wait(tidegate::time::Duration::from_secs(rng.below(40) as u64));
            }
            // Nothing is let in but the two ends, and no port that is not allowed.
            for asked in &rig.doors.asked {
                if let Some(at) = asked.strip_prefix("reserve ").or_else(|| asked.strip_prefix("listen ")) {
                    let at: std::net::SocketAddr = at.parse().unwrap();
                    assert!(at.port() >= 1024);
                    let own = if asked.starts_with('r') { plain().client } else { plain().server };
                    assert_eq!(at.ip(), own.ip(), "seed {seed}");
                }
            }
        }
    }
}
