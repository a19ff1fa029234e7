//! What each end of a dialogue must get, said as plainly as can be: whole lines, one after the other, as if every
//! command waited for the reply to the one before. No TCP, no packets, no firewall; and nothing of the gateway's code.
//! The profile is the standard one, TLS passes, and families are not translated.
//!
//! Where what is to come of something is not laid down, the answer is `None`: such dialogues are not played. These are
//! AUTH, PBSZ, PROT and CCC, LPRT and LPSV, REIN, PASV and PORT of IPv6, features that a gateway may hide, what follows
//! QUIT, commands before the greeting, NUL in other commands than transfers, and Telnet commands of more than two bytes.

use std::net::IpAddr;

/// A command, and what the server answers if it gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    /// The line, with its end.
    pub(crate) command: Vec<u8>,
    /// Lines that are no replies, before the reply.
    pub(crate) noise: Vec<Vec<u8>>,
    /// A preliminary reply.
    pub(crate) mark: Option<Vec<u8>>,
    /// The lines of the final reply.
    pub(crate) reply: Vec<Vec<u8>>,
}

/// A part of what an end gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// These bytes.
    Exact(Vec<u8>),
    /// One of these.
    OneOf(Vec<Vec<u8>>),
    /// A reply of one or several lines with this last one.
    Ends(Vec<u8>),
    /// A line of ours with one of these codes.
    Own(&'static [&'static str]),
}

/// What was announced last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// Nothing.
    None,
    /// The server may connect to this port outside, and reaches this one inside.
    Active(u16, u16),
    /// The client may connect to this port of the server.
    Passive(u16),
    /// A data connection came of it and lives.
    Used,
    /// What there was is not laid down.
    Unsure,
}

#[derive(Debug, Clone)]
pub(crate) struct Naive {
    /// The client's address, and that by which the server knows it.
    client: IpAddr,
    told: IpAddr,
    /// The server's, as the client knows it.
    server: IpAddr,
    /// Ports that are denied beside those below 1024.
    denied: Vec<(u16, u16)>,
    greeted: bool,
    logged_in: bool,
    refusals: usize,
    /// The client has said something.
    spoke: bool,
    /// A transfer was asked for in this breath, and nobody came for its data.
    spent: bool,
    epsv_all: bool,
    /// The client has said QUIT.
    quit: bool,
    ports: Vec<u16>,
    pub(crate) door: Door,
    pub(crate) to_server: Vec<Item>,
    pub(crate) to_client: Vec<Item>,
    /// What the server answers to each line that it gets.
    pub(crate) replies: Vec<Vec<u8>>,
    /// Doors as they were opened, in order.
    pub(crate) opened: Vec<Door>,
}

/// What becomes of a command.
enum Fate {
    Forward(Vec<Item>),
    Answer(&'static [&'static str]),
}

const TRANSFERS: [&str; 7] = ["RETR", "STOR", "STOU", "APPE", "LIST", "NLST", "MLSD"];

impl Naive {
    pub(crate) fn new(client: IpAddr, told: IpAddr, server: IpAddr, denied: &[(u16, u16)]) -> Self {
        Self {
            client,
            told,
            server,
            denied: denied.to_vec(),
            greeted: false,
            logged_in: false,
            refusals: 0,
            spoke: false,
            spent: false,
            epsv_all: false,
            quit: false,
            ports: Vec::new(),
            door: Door::None,
            to_server: Vec::new(),
            to_client: Vec::new(),
            replies: Vec::new(),
            opened: Vec::new(),
        }
    }

    /// What was said before has all been answered.
    pub(crate) fn breath(&mut self) {
        self.spent = false;
    }

    /// The server says a line that answers nothing.
    pub(crate) fn server_says(&mut self, line: &[u8]) -> Option<()> {
        self.greeted |= line.starts_with(b"220 ");
        self.to_client.push(Item::Exact(line.to_vec()));
        Some(())
    }

    /// The client says a line, and the server answers it, if it gets it; without a reply, never.
    pub(crate) fn says(&mut self, said: &Said) -> Option<()> {
        if !self.greeted || self.quit {
            return None;
        }
        let clean = without_telnet(&said.command)?;
        let (verb, argument) = words(&clean)?;
        // Who begins with something else may not be taken for a client of FTP.
        if !self.spoke && !matches!(verb.as_str(), "USER" | "NOOP" | "SYST" | "HELP") {
            return None;
        }
        self.spoke = true;
        match self.command(&said.command, &clean, &verb, &argument)? {
            Fate::Answer(codes) => self.to_client.push(Item::Own(codes)),
            Fate::Forward(items) => {
                self.to_server.extend(items);
                self.replies.push(said.bytes());
                for line in said.noise.iter().chain(&said.mark) {
                    self.to_client.push(Item::Exact(line.clone()));
                }
                if said.reply.is_empty() {
                    return Some(());
                }
                let code = String::from_utf8(said.reply.last()?.get(..3)?.to_vec()).ok()?;
                self.reply(&verb, &argument, &code, &said.reply)?;
            }
        }
        Some(())
    }

    fn command(&mut self, raw: &[u8], clean: &[u8], verb: &str, argument: &str) -> Option<Fate> {
        let forward = |line: Vec<u8>| Some(Fate::Forward(vec![Item::Exact(line)]));
        if raw.contains(&0) {
            let is_transfer = self.logged_in && TRANSFERS.contains(&verb);
            return is_transfer.then_some(Fate::Answer(&["501"]));
        }
        let setup = matches!(verb, "PORT" | "EPRT" | "PASV" | "EPSV");
        if setup && !self.logged_in {
            return if matches!(verb, "PORT" | "EPRT") { Some(Fate::Answer(&["530"])) } else { None };
        }
        let (family, others) = if self.client.is_ipv4() { ("1", "2") } else { ("2", "1") };
        match verb {
            // What becomes of them without translation between families is left open.
            "PASV" | "PORT" if self.client.is_ipv6() => None,
            "EPSV" if argument.eq_ignore_ascii_case("ALL") => {
                self.epsv_all = true;
                Some(Fate::Answer(&["200"]))
            }
            "PASV" if self.epsv_all => Some(self.not_set_up(&["500"])),
            "PORT" | "EPRT" if self.epsv_all => Some(self.not_set_up(&["500", "503"])),
            "EPSV" if !argument.is_empty() && argument != family => {
                Some(self.not_set_up(if is_number(argument) { &["522"] } else { &["501"] }))
            }
            "PASV" if !argument.is_empty() => None,
            "PASV" | "EPSV" => {
                self.door = Door::None;
                if clean.ends_with(b"\r\n") { forward(raw.to_vec()) } else { None }
            }
            "PORT" | "EPRT" => {
                let target = if verb == "PORT" { port(argument) } else { eprt(argument, others) };
                let (address, port) = match target {
                    Ok(target) => target,
                    Err(codes) => return Some(self.not_set_up(codes)),
                };
                if address != self.client {
                    return Some(self.not_set_up(&["501", "504"]));
                }
                if port == 0 {
                    return Some(self.not_set_up(&["501"]));
                }
                if self.is_denied(port) {
                    return Some(self.not_set_up(&["504"]));
                }
                // A port that was used a moment ago may rest.
                if self.ports.contains(&port) {
                    return None;
                }
                self.ports.push(port);
                self.door = Door::None;
                if verb == "PORT" {
                    return forward(format!("PORT {}\r\n", numbers(self.told, port)?).into_bytes());
                }
                let line = format!("EPRT |{family}|{}|{port}|\r\n", self.told);
                // The client's own delimiter may stand, and all of it where there is nothing to change.
                let same = line.replace('|', &argument.chars().next()?.to_string());
                let mut all = vec![line.into_bytes(), same.into_bytes()];
                if self.told == self.client && raw.ends_with(b"\r\n") {
                    all.push(raw.to_vec());
                }
                Some(Fate::Forward(vec![Item::OneOf(all)]))
            }
            _ if TRANSFERS.contains(&verb) => match self.door {
                _ if !self.logged_in => None,
                Door::Unsure => None,
                // It may have gone before the one before was answered.
                Door::None if self.spent => None,
                Door::None => Some(Fate::Answer(&["425"])),
                _ => forward(raw.to_vec()),
            },
            "USER" => {
                self.door = Door::None;
                forward(raw.to_vec())
            }
            // Of these more would have to be said.
            "REIN" | "AUTH" | "LPRT" | "LPSV" | "CCC" | "PROT" | "PBSZ" => None,
            _ if !raw.ends_with(b"\r\n") || raw != clean || verb.is_empty() => None,
            _ => forward(raw.to_vec()),
        }
    }

    /// Whether what was announced before stands is not laid down.
    fn not_set_up(&mut self, codes: &'static [&'static str]) -> Fate {
        if self.door != Door::None {
            self.door = Door::Unsure;
        }
        Fate::Answer(codes)
    }

    fn reply(&mut self, verb: &str, argument: &str, code: &str, lines: &[Vec<u8>]) -> Option<()> {
        let pass = |to: &mut Vec<Item>| to.extend(lines.iter().map(|l| Item::Exact(l.clone())));
        match verb {
            "PASV" | "EPSV" if code == "227" || code == "229" => {
                let found = if code == "227" {
                    lines.iter().rev().find_map(|l| tuple(&l[4..])).map(|t| t.1)
                } else {
                    extended(lines.last()?)
                };
                let Some(port) = found else {
                    self.to_client.push(Item::Own(&["425", "502"]));
                    return Some(());
                };
                if port == 0 || self.is_denied(port) {
                    self.to_client.push(Item::Own(&["425"]));
                    return Some(());
                }
                let right = if verb == "PASV" {
                    format!("({})", numbers(self.server, port)?)
                } else {
                    format!("(|||{port}|)")
                };
                let canonical = if verb == "PASV" {
                    format!("227 Entering Passive Mode {right}.\r\n")
                } else {
                    format!("229 Entering Extended Passive Mode {right}\r\n")
                };
                let line = String::from_utf8(lines.last()?.clone()).ok()?;
                // What every program reads rightly stays: one line, parentheses, and no other number before them.
                let before = line[4..].split('(').next()?;
                let stays = lines.len() == 1
                    && (line.contains(&right) || (verb == "EPSV" && has_other_delimiter(&line, port)))
                    && (verb == "PASV") == (code == "227")
                    && !before.contains(|c: char| c.is_ascii_digit());
                if stays {
                    pass(&mut self.to_client);
                } else if lines.len() > 1 {
                    self.to_client.push(Item::Ends(canonical.into_bytes()));
                } else {
                    self.to_client.push(Item::Exact(canonical.into_bytes()));
                }
                self.opens(Door::Passive(port));
                return Some(());
            }
            "PASV" | "EPSV" if code.starts_with(['1', '2', '3']) => return None,
            "PORT" | "EPRT" => match code {
                "200" => {
                    let port = *self.ports.last()?;
                    self.opens(Door::Active(port, port));
                }
                _ if code.starts_with(['4', '5']) => {}
                _ => return None,
            },
            "USER" | "PASS" | "ACCT" => match code {
                "230" | "232" => self.logged_in = true,
                "331" | "332" => self.logged_in = false,
                "530" => {
                    self.refusals += 1;
                    if self.refusals > 2 || (verb == "USER" && self.logged_in) {
                        return None;
                    }
                    self.logged_in = false;
                }
                _ if self.logged_in => {}
                _ => return None,
            },
            "QUIT" => {
                self.quit = true;
                if matches!(self.door, Door::Active(..) | Door::Passive(_)) {
                    self.door = Door::Unsure;
                }
            }
            // Whether it came in time is not known.
            "ABOR" if self.door != Door::None => self.door = Door::Unsure,
            "FEAT" if code == "211" && !is_plain(lines) => return None,
            _ if TRANSFERS.contains(&verb) => match (code.as_bytes()[0], self.door) {
                // Nobody came for it, and the transfer is over.
                (b'2', Door::Active(..) | Door::Passive(_)) => {
                    self.door = Door::None;
                    self.spent = true;
                }
                (_, Door::Used) => self.door = Door::Unsure,
                (b'4' | b'5', Door::Passive(_)) => {}
                _ => self.door = Door::Unsure,
            },
            _ if code.starts_with(['1', '6']) => return None,
            _ => {}
        }
        let _ = argument;
        pass(&mut self.to_client);
        Some(())
    }

    fn opens(&mut self, door: Door) {
        self.door = door;
        self.opened.push(door);
    }

    /// A port that no data connection goes to.
    pub(crate) fn is_denied(&self, port: u16) -> bool {
        port < 1024 || port == 21 || self.denied.iter().any(|d| (d.0..=d.1).contains(&port))
    }
}

impl Said {
    /// All that the server says to it.
    fn bytes(&self) -> Vec<u8> {
        self.noise.iter().chain(&self.mark).chain(&self.reply).flatten().copied().collect()
    }
}

/// The line without its Telnet commands (those of two bytes); none if there are others.
fn without_telnet(line: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut bytes = line.iter();
    while let Some(b) = bytes.next() {
        match b {
            0xFF => match bytes.next()? {
                0xF1 => {}
                _ => return None,
            },
            b => out.push(*b),
        }
    }
    Some(out)
}

/// The verb in upper case, and the rest, of a line without its end.
fn words(line: &[u8]) -> Option<(String, String)> {
    let text: String = line.iter().map(|b| char::from(*b)).collect();
    let text = text.strip_suffix('\n')?;
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.contains(['\r', '\n']) {
        return None;
    }
    let text = text.trim_start_matches(' ');
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    Some((verb.to_ascii_uppercase(), rest.to_owned()))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Where a client listens, or the codes of the refusal.
type Target = Result<(IpAddr, u16), &'static [&'static str]>;

/// The argument of PORT.
fn port(argument: &str) -> Target {
    let fields: Vec<&str> = argument.trim_end_matches(' ').split(',').collect();
    let numbers: Vec<u8> =
        fields.iter().filter(|f| is_number(f) && f.len() <= 3).filter_map(|f| f.parse().ok()).collect();
    match numbers[..] {
        [a, b, c, d, p, q] if fields.len() == 6 => Ok(([a, b, c, d].into(), u16::from_be_bytes([p, q]))),
        _ => Err(&["501"]),
    }
}

/// The six numbers of an address and a port.
fn numbers(address: IpAddr, port: u16) -> Option<String> {
    let IpAddr::V4(address) = address else { return None };
    let [a, b, c, d] = address.octets();
    Some(format!("{a},{b},{c},{d},{},{}", port >> 8, port & 255))
}

/// Features written as RFC 2389 has them, none of which a gateway has a reason to hide.
fn is_plain(lines: &[Vec<u8>]) -> bool {
    const HIDDEN: [&str; 10] =
        ["MODE Z", "CCC", "SSCN", "CPSV", "HOST", "LPRT", "LPSV", "MIC", "ENC", "CONF"];
    let [first, features @ .., last] = lines else { return false };
    let plain = |l: &Vec<u8>| {
        l[0] == b' ' && l[1].is_ascii_graphic() && !HIDDEN.iter().any(|h| l[1..].starts_with(h.as_bytes()))
    };
    first.starts_with(b"211-") && last.starts_with(b"211 ") && features.iter().all(plain)
}

/// The argument of EPRT, the family of which is not that of these.
fn eprt(argument: &str, others: &str) -> Target {
    let Some(delimiter) = argument.chars().next() else { return Err(&["501"]) };
    if !delimiter.is_ascii_graphic() || delimiter.is_ascii_alphanumeric() || ".:".contains(delimiter) {
        return Err(&["501"]);
    }
    let mut fields: Vec<&str> = argument[1..].split(delimiter).collect();
    if fields.last() == Some(&"") {
        fields.pop();
    }
    let [family, address, port] = fields[..] else { return Err(&["501"]) };
    if !matches!(family, "1" | "2") {
        return Err(if is_number(family) { &["522"] } else { &["501"] });
    }
    let address: Option<IpAddr> = address.parse().ok();
    let Some(address) = address.filter(|a| family != others && a.is_ipv4() == (family == "1")) else {
        return Err(&["501", "522"]);
    };
    if !is_number(port) {
        return Err(&["501"]);
    }
    Ok((address, port.parse().map_err(|_| &["501"][..])?))
}

/// The first six numbers with commas between them.
fn tuple(text: &[u8]) -> Option<([u8; 4], u16)> {
    (0..text.len()).find_map(|at| {
        let mut rest = &text[at..];
        let mut numbers = Vec::new();
        for n in 0..6 {
            let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            numbers.push(std::str::from_utf8(&rest[..digits]).ok()?.parse::<u8>().ok()?);
            rest = &rest[digits..];
            if n < 5 {
                rest = rest.trim_ascii_start().strip_prefix(b",")?.trim_ascii_start();
            }
        }
        let [a, b, c, d, p, q] = numbers[..] else { return None };
        Some(([a, b, c, d], u16::from_be_bytes([p, q])))
    })
}

/// The port of a 229: what stands before the last delimiter in the parentheses.
fn extended(line: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(line).ok()?;
    let inner = text.split_once('(')?.1.split_once(')')?.0;
    let delimiter = inner.chars().next()?;
    inner.trim_matches(delimiter).split(delimiter).next_back()?.parse().ok()
}

/// Whether a 229 is right but for its delimiter, which may be any (RFC 2428 section 3).
fn has_other_delimiter(line: &str, port: u16) -> bool {
    ["!", "#", "$"].iter().any(|d| line.contains(&format!("({d}{d}{d}{port}{d})")))
}

/// Whether an end got all of this and no more; else what is wrong.
pub(crate) fn compare(items: &[Item], got: &[u8]) -> Result<(), String> {
    let mut rest = got;
    let shown = |b: &[u8]| b.escape_ascii().to_string();
    for (n, item) in items.iter().enumerate() {
        let wrong = || Err(format!("item {n} is to be {}, and there is {}", show(item), shown(rest)));
        let line_len = rest.iter().position(|b| *b == b'\n').map_or(rest.len(), |i| i + 1);
        let line = &rest[..line_len];
        let used = match item {
            Item::Exact(bytes) if rest.starts_with(bytes) => bytes.len(),
            Item::OneOf(all) => match all.iter().find(|b| rest.starts_with(b)) {
                Some(bytes) => bytes.len(),
                None => return wrong(),
            },
            Item::Own(codes) if line.ends_with(b"\r\n") && line.get(3) == Some(&b' ') => {
                if !codes.iter().any(|c| line.starts_with(c.as_bytes())) {
                    return wrong();
                }
                line_len
            }
            Item::Ends(last) => {
                let mut at = 0;
                let mut end = None;
                for l in rest.split_inclusive(|b| *b == b'\n') {
                    at += l.len();
                    if l == &last[..] {
                        end = Some(at);
                        break;
                    }
                    if l.get(..4) == Some(&[last[0], last[1], last[2], b' ']) {
                        break;
                    }
                }
                match end {
                    Some(end) => end,
                    None => return wrong(),
                }
            }
            _ => return wrong(),
        };
        rest = &rest[used..];
    }
    if rest.is_empty() { Ok(()) } else { Err(format!("too much: {}", shown(rest))) }
}

fn show(item: &Item) -> String {
    match item {
        Item::Exact(b) | Item::Ends(b) => b.escape_ascii().to_string(),
        Item::OneOf(all) => all.iter().map(|b| b.escape_ascii().to_string()).collect::<Vec<_>>().join(" or "),
        Item::Own(codes) => format!("{codes:?} of ours"),
    }
}
