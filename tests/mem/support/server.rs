//! A scripted FTP server on a host's stack. It obeys its configuration, not good manners.

use super::host::Host;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

/// How the server behaves.
#[derive(Clone)]
pub(crate) struct ServerConf {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) greeting: Vec<u8>,
    /// One more control port.
    pub(crate) second_port: Option<u16>,
    /// Whether EPSV is known.
    pub(crate) epsv: bool,
    /// Whole replies to verbs, instead of what the server would say.
    pub(crate) answers: Vec<(&'static str, Vec<u8>)>,
    /// Resets a download's data connection after so many bytes, then says 426.
    pub(crate) reset_after: Option<usize>,
    /// Control connections that may be in the making at a time.
    pub(crate) backlog: usize,
    /// Says the final reply of a download in this way.
    pub(crate) done: &'static [u8],
    /// Source port of active data connections; an own one each time if it is none.
    pub(crate) data_from: Option<u16>,
    /// Whether PORT is known.
    pub(crate) port: bool,
    /// Agrees to AUTH and goes on with records that end in a zero byte: each comes back backwards.
    pub(crate) tls: bool,
}

impl Default for ServerConf {
    fn default() -> Self {
        Self {
            files: BTreeMap::new(),
            greeting: b"220 scripted\r\n".to_vec(),
            second_port: None,
            epsv: true,
            answers: Vec::new(),
            reset_after: None,
            backlog: 8,
            done: b"226 Transfer complete.\r\n",
            data_from: Some(20),
            port: true,
            tls: false,
        }
    }
}

enum Job {
    Send(Vec<u8>, usize),
    Take(String, Vec<u8>),
}

struct Session {
    ctl: SocketHandle,
    input: Vec<u8>,
    out: Vec<u8>,
    data: Option<SocketHandle>,
    /// What PORT or EPRT named.
    target: Option<SocketAddr>,
    /// Said when the data connection stands.
    begins: Option<&'static [u8]>,
    job: Option<Job>,
    greeted: bool,
    closing: bool,
    covered: bool,
}

/// The server.
pub(crate) struct FtpServer {
    pub(crate) conf: ServerConf,
    listeners: Vec<SocketHandle>,
    sessions: Vec<Session>,
    /// The port that was listened at last.
    pub(crate) ports: u16,
    /// Lines that came in, without their ends, with the session's number.
    pub(crate) log: Vec<(usize, Vec<u8>)>,
    /// Control connections that reached the established state.
    pub(crate) accepted: usize,
    /// Says one byte at a time.
    pub(crate) trickle: bool,
}

impl FtpServer {
    pub(crate) fn new(conf: ServerConf) -> Self {
        Self {
            conf,
            listeners: vec![],
            sessions: vec![],
            ports: 30_000,
            log: vec![],
            accepted: 0,
            trickle: false,
        }
    }

    /// The verbs and arguments of a session.
    pub(crate) fn lines(&self, session: usize) -> Vec<String> {
        let of = self.log.iter().filter(|(s, _)| *s == session);
        of.map(|(_, l)| String::from_utf8_lossy(l).into_owned()).collect()
    }

    /// Ends a session's control connection with a reset.
    pub(crate) fn abort(&mut self, host: &mut Host, session: usize) {
        host.socket(self.sessions[session].ctl).abort();
    }

    /// Says something unasked.
    pub(crate) fn say(&mut self, session: usize, bytes: &[u8]) {
        self.sessions[session].out.extend(bytes);
    }

    /// Control connections that have not ended.
    pub(crate) fn live(&self, host: &mut Host) -> usize {
        self.sessions.iter().filter(|s| host.state(s.ctl) != State::Closed).count()
    }

    /// Does what can be done; true if something was.
    pub(crate) fn step(&mut self, host: &mut Host) -> bool {
        let mut moved = false;
        while self.listeners.len() < self.conf.backlog {
            // Every other one at the second port.
            let even = (self.accepted + self.listeners.len()).is_multiple_of(2);
            let port = self.conf.second_port.filter(|_| even).unwrap_or(21);
            self.listeners.push(host.listen(port));
        }
        let mut i = 0;
        while i < self.listeners.len() {
            match host.state(self.listeners[i]) {
                State::Listen | State::SynReceived => i += 1,
                _ => {
                    let ctl = self.listeners.remove(i);
                    self.accepted += 1;
                    moved = true;
                    self.sessions.push(Session {
                        ctl,
                        input: vec![],
                        out: vec![],
                        data: None,
                        target: None,
                        begins: None,
                        job: None,
                        greeted: false,
                        closing: false,
                        covered: false,
                    });
                }
            }
        }
        for n in 0..self.sessions.len() {
            moved |= self.serve(host, n);
        }
        moved
    }

    fn serve(&mut self, host: &mut Host, n: usize) -> bool {
        let mut moved = false;
        if !self.sessions[n].greeted {
            self.sessions[n].greeted = true;
            let g = self.conf.greeting.clone();
            self.sessions[n].out.extend(g);
            moved = true;
        }
        let ctl = self.sessions[n].ctl;
        let got = host.read(ctl);
        moved |= !got.is_empty();
        self.sessions[n].input.extend(got);
        while self.sessions[n].covered
            && let Some(end) = self.sessions[n].input.iter().position(|b| *b == 0)
        {
            let mut record: Vec<u8> = self.sessions[n].input.drain(..=end).collect();
            record.reverse();
            self.sessions[n].out.extend(record);
            moved = true;
        }
        while !self.sessions[n].covered
            && let Some(end) = self.sessions[n].input.iter().position(|b| *b == b'\n')
        {
            let mut line: Vec<u8> = self.sessions[n].input.drain(..=end).collect();
            while matches!(line.last(), Some(b'\r' | b'\n')) {
                line.pop();
            }
            self.log.push((n, line.clone()));
            self.command(host, n, &line);
            moved = true;
        }
        moved |= self.work(host, n);
        let s = &mut self.sessions[n];
        if !s.out.is_empty() {
            let most = if self.trickle { 1 } else { s.out.len() };
            let idle = !self.trickle || host.socket(ctl).send_queue() == 0;
            let sent = if idle { host.write(ctl, &s.out[..most]) } else { 0 };
            s.out.drain(..sent);
            moved |= sent > 0;
        }
        if (s.closing || host.at_end(ctl)) && s.out.is_empty() && host.socket(ctl).may_send() {
            host.socket(ctl).close();
            moved = true;
        }
        moved
    }

    fn command(&mut self, host: &mut Host, n: usize, line: &[u8]) {
        let text = String::from_utf8_lossy(line).into_owned();
        let (verb, argument) = text.split_once(' ').unwrap_or((&text, ""));
        let verb = verb.trim_start_matches(|c: char| !c.is_ascii_alphabetic()).to_ascii_uppercase();
        let missing = verb == "RETR" && !self.conf.files.contains_key(argument);
        let said = self.conf.answers.iter().find(|(v, _)| *v == verb).map(|(_, a)| a.clone());
        let reply: Vec<u8> = if let Some(said) = said {
            said
        } else {
            match verb.as_str() {
                "USER" => b"331 Password.\r\n".to_vec(),
                "PASS" => b"230 In.\r\n".to_vec(),
                "EPSV" if !self.conf.epsv => b"500 EPSV not understood.\r\n".to_vec(),
                "EPSV" | "PASV" => {
                    self.ports += 1;
                    let port = self.ports;
                    self.sessions[n].data = Some(host.listen(port));
                    self.sessions[n].target = None;
                    if verb == "EPSV" {
                        format!("229 Extended (|||{port}|)\r\n").into_bytes()
                    } else {
                        let o = host.address.octets();
                        let (h, l) = (port >> 8, port & 255);
                        format!("227 Passive ({},{},{},{},{h},{l}).\r\n", o[0], o[1], o[2], o[3]).into_bytes()
                    }
                }
                "PORT" if !self.conf.port => b"502 PORT not implemented.\r\n".to_vec(),
                "PORT" | "EPRT" => match target_of(argument) {
                    Some(at) => {
                        let s = &mut self.sessions[n];
                        (s.target, s.data) = (Some(at), None);
                        format!("200 {verb} ok.\r\n").into_bytes()
                    }
                    None => b"501 Where?\r\n".to_vec(),
                },
                "RETR" | "LIST" | "STOR"
                    if !missing && self.sessions[n].data.is_none() && !self.calls(host, n) =>
                {
                    b"425 Use PASV first.\r\n".to_vec()
                }
                "RETR" => match self.conf.files.get(argument) {
                    Some(f) => {
                        self.sessions[n].job = Some(Job::Send(f.clone(), 0));
                        b"150 Here it comes.\r\n".to_vec()
                    }
                    None => b"550 No such file.\r\n".to_vec(),
                },
                "LIST" => {
                    let list: String = self.conf.files.keys().map(|f| format!("{f}\r\n")).collect();
                    self.sessions[n].job = Some(Job::Send(list.into_bytes(), 0));
                    b"150 Here it comes.\r\n".to_vec()
                }
                "STOR" | "APPE" => {
                    let so_far = if verb == "APPE" { self.conf.files.get(argument).cloned() } else { None };
                    self.sessions[n].job = Some(Job::Take(argument.to_owned(), so_far.unwrap_or_default()));
                    b"150 Go on.\r\n".to_vec()
                }
                "ABOR" => {
                    let s = &mut self.sessions[n];
                    let had = s.job.take().is_some();
                    s.begins = None;
                    if let Some(d) = s.data.take() {
                        host.socket(d).abort();
                    }
                    if had {
                        b"426 Aborted.\r\n226 Abort done.\r\n".to_vec()
                    } else {
                        b"225 Nothing.\r\n".to_vec()
                    }
                }
                "AUTH" if self.conf.tls => {
                    self.sessions[n].covered = true;
                    b"234 Go on.\r\n".to_vec()
                }
                "QUIT" => {
                    self.sessions[n].closing = true;
                    b"221 Bye.\r\n".to_vec()
                }
                "FEAT" => {
                    b"211-Features:\r\n EPSV\r\n AUTH TLS\r\n PBSZ\r\n PROT\r\n SIZE\r\n211 End\r\n".to_vec()
                }
                "HELP" => b"214-Help\r\n 226 not an end\r\nmore\r\n214 Done\r\n".to_vec(),
                _ => [b"200 Got ", line, b"\r\n"].concat(),
            }
        };
        let s = &mut self.sessions[n];
        if s.begins.is_some() && s.job.is_some() && reply.starts_with(b"150") {
            return;
        }
        s.begins = s.begins.filter(|_| s.job.is_some());
        s.out.extend(reply);
    }

    /// Opens the data connection that the client asked for. False if it asked for none.
    fn calls(&mut self, host: &mut Host, n: usize) -> bool {
        let Some(to) = self.sessions[n].target.take() else { return false };
        self.ports += 1;
        let data = host.connect(self.conf.data_from.unwrap_or(self.ports), to);
        host.socket(data).set_timeout(Some(smoltcp::time::Duration::from_secs(20)));
        let s = &mut self.sessions[n];
        s.data = Some(data);
        s.begins = Some(b"150 Here it comes.\r\n");
        true
    }

    fn work(&mut self, host: &mut Host, n: usize) -> bool {
        let s = &mut self.sessions[n];
        let (Some(data), Some(job)) = (s.data, &mut s.job) else { return false };
        match host.state(data) {
            State::Listen | State::SynReceived | State::SynSent => return false,
            State::Closed if s.begins.is_some() => {
                (s.data, s.job, s.begins) = (None, None, None);
                s.out.extend_from_slice(b"425 Can't open data connection.\r\n");
                return true;
            }
            _ => s.out.extend_from_slice(s.begins.take().unwrap_or_default()),
        }
        match job {
            Job::Send(bytes, at) => {
                let end = self.conf.reset_after.map_or(bytes.len(), |n| n.min(bytes.len()));
                let sent = host.write(data, &bytes[*at..end]);
                *at += sent;
                if !host.socket(data).may_send() {
                    s.out.extend_from_slice(b"426 Connection closed.\r\n");
                } else if *at < end {
                    return sent > 0;
                } else if self.conf.reset_after.is_some() {
                    if host.socket(data).send_queue() > 0 {
                        return sent > 0;
                    }
                    host.socket(data).abort();
                    s.out.extend_from_slice(b"426 Failure reading.\r\n");
                } else {
                    host.socket(data).close();
                    s.out.extend_from_slice(self.conf.done);
                }
                s.job = None;
                s.data = None;
                true
            }
            Job::Take(name, got) => {
                let new = host.read(data);
                let moved = !new.is_empty();
                got.extend(new);
                if !host.at_end(data) {
                    return moved;
                }
                let orderly = host.state(data) == State::CloseWait;
                let (name, got) = (std::mem::take(name), std::mem::take(got));
                if orderly {
                    self.conf.files.insert(name, got);
                    host.socket(data).close();
                    s.out.extend_from_slice(b"226 Stored.\r\n");
                } else {
                    s.out.extend_from_slice(b"426 Reset.\r\n");
                }
                s.job = None;
                s.data = None;
                true
            }
        }
    }
}

/// The argument of PORT or EPRT.
fn target_of(argument: &str) -> Option<SocketAddr> {
    if let Some(inner) = argument.strip_prefix("|1|").or_else(|| argument.strip_prefix("|2|")) {
        let (address, port) = inner.trim_end_matches('|').split_once('|')?;
        return Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?));
    }
    let n: Vec<u8> = argument.split(',').map_while(|n| n.parse().ok()).collect();
    let [a, b, c, d, high, low] = n[..] else { return None };
    Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low])))
}
