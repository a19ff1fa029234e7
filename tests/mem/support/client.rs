//! The client's end: commands and transfers, each driven until its result is there.

use super::host::Host;
use super::world::{SERVER, World};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use tidegate::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// A client's control connection.
pub(crate) struct Ctl {
    pub(crate) host: usize,
    pub(crate) socket: SocketHandle,
    pub(crate) input: Vec<u8>,
    next_port: u16,
    /// It speaks IPv6.
    six: bool,
}

impl Ctl {
    /// Takes a whole reply out of what has come.
    pub(crate) fn take_reply(&mut self) -> Option<String> {
        let mut end = 0;
        let mut code: Option<Vec<u8>> = None;
        while let Some(len) = self.input[end..].windows(2).position(|w| w == b"\r\n") {
            let line = &self.input[end..end + len];
            end += len + 2;
            let code = code.get_or_insert_with(|| line[..3].to_vec());
            if line.starts_with(code) && line.get(3) != Some(&b'-') {
                let whole: Vec<u8> = self.input.drain(..end).collect();
                return Some(String::from_utf8_lossy(&whole).into_owned());
            }
        }
        None
    }

    /// An own port that was not used before.
    pub(crate) fn fresh_port(&mut self) -> u16 {
        self.next_port += 1;
        self.next_port
    }
}

impl World {
    /// Connects a client to the server.
    pub(crate) fn connect(&mut self, client: usize, port: u16) -> Ctl {
        self.connect_to(client, port, 21)
    }

    /// Connects a client to another control port of the server.
    pub(crate) fn connect_to(&mut self, client: usize, port: u16, to: u16) -> Ctl {
        self.connect_at(client, port, self.at(self.server_host, to))
    }

    /// Connects a client to any server.
    pub(crate) fn connect_at(&mut self, client: usize, port: u16, to: impl Into<SocketAddr>) -> Ctl {
        let (to, six) = (to.into(), self.six);
        let socket = self.hosts[client].connect(port, to);
        Ctl { host: client, socket, input: vec![], next_port: 20_000 + (port % 400) * 100, six }
    }

    /// Connects and logs in.
    #[track_caller]
    pub(crate) fn login(&mut self, client: usize, port: u16) -> Ctl {
        let mut c = self.connect(client, port);
        assert_eq!(&self.reply(&mut c)[..3], "220");
        assert_eq!(&self.cmd(&mut c, "USER u")[..3], "331");
        assert_eq!(&self.cmd(&mut c, "PASS p")[..3], "230");
        c
    }

    pub(crate) fn host(&mut self, c: &Ctl) -> &mut Host {
        &mut self.hosts[c.host]
    }

    pub(crate) fn state(&mut self, c: &Ctl) -> State {
        let socket = c.socket;
        self.host(c).state(socket)
    }

    /// Reads what has come; gives a whole reply if there is one.
    pub(crate) fn poll_reply(&mut self, c: &mut Ctl) -> Option<String> {
        let new = self.hosts[c.host].read(c.socket);
        c.input.extend(new);
        c.take_reply()
    }

    /// The next reply.
    #[track_caller]
    pub(crate) fn reply(&mut self, c: &mut Ctl) -> String {
        self.until(LIMIT, "reply", |w| w.poll_reply(c))
    }

    #[track_caller]
    pub(crate) fn send(&mut self, c: &Ctl, bytes: &[u8]) {
        if self.state(c) == State::SynSent {
            self.settle();
        }
        let sent = self.hosts[c.host].write(c.socket, bytes);
        assert_eq!(sent, bytes.len());
    }

    /// Sends a line; gives the next reply.
    #[track_caller]
    pub(crate) fn cmd(&mut self, c: &mut Ctl, line: &str) -> String {
        self.send(c, format!("{line}\r\n").as_bytes());
        self.reply(c)
    }

    /// PASV or EPSV; where to connect to.
    #[track_caller]
    pub(crate) fn passive(&mut self, c: &mut Ctl, verb: &str) -> SocketAddrV4 {
        let reply = self.cmd(c, verb);
        passive_of(&reply).unwrap_or_else(|| panic!("{verb}: {reply}"))
    }

    /// The same of either family.
    #[track_caller]
    pub(crate) fn passive_any(&mut self, c: &mut Ctl, verb: &str) -> SocketAddr {
        let to = self.passive(c, verb);
        if c.six { self.at(self.server_host, to.port()) } else { to.into() }
    }

    /// Connects a data connection.
    #[track_caller]
    pub(crate) fn data(&mut self, c: &mut Ctl, to: impl Into<SocketAddr>) -> SocketHandle {
        let port = c.fresh_port();
        self.hosts[c.host].connect(port, to)
    }

    /// A whole download or listing over a passive connection; the bytes.
    #[track_caller]
    pub(crate) fn fetch(&mut self, c: &mut Ctl, verb: &str, what: &str) -> Vec<u8> {
        let to = self.passive_any(c, verb);
        let d = self.data(c, to);
        assert_eq!(&self.cmd(c, what)[..3], "150");
        let bytes = self.read_all(c, d);
        let done = self.reply(c);
        assert_eq!(&done[..3], "226", "{done}");
        bytes
    }

    /// A whole upload over a passive connection.
    #[track_caller]
    pub(crate) fn store(&mut self, c: &mut Ctl, verb: &str, what: &str, bytes: &[u8]) {
        let to = self.passive_any(c, verb);
        let d = self.data(c, to);
        assert_eq!(&self.cmd(c, what)[..3], "150");
        self.write_all(c, d, bytes);
        let done = self.reply(c);
        assert_eq!(&done[..3], "226", "{done}");
    }

    /// Listens as PORT or EPRT says; gives the socket.
    #[track_caller]
    pub(crate) fn active(&mut self, c: &mut Ctl, verb: &str) -> SocketHandle {
        let port = c.fresh_port();
        let socket = self.hosts[c.host].listen(port);
        let o = self.hosts[c.host].address.octets();
        let line = if c.six {
            format!("EPRT |2|{}|{port}|", self.hosts[c.host].address6)
        } else if verb == "PORT" {
            format!("PORT {},{},{},{},{},{}", o[0], o[1], o[2], o[3], port >> 8, port & 255)
        } else {
            format!("EPRT |1|{}|{port}|", Ipv4Addr::from(o))
        };
        let reply = self.cmd(c, &line);
        assert_eq!(&reply[..3], "200", "{line}: {reply}");
        socket
    }

    /// Reads a data connection to its end and closes it.
    #[track_caller]
    pub(crate) fn read_all(&mut self, c: &Ctl, d: SocketHandle) -> Vec<u8> {
        let mut all = Vec::new();
        let host = c.host;
        self.until(LIMIT, "end of data", |w| {
            let new = w.hosts[host].read(d);
            let h = &mut w.hosts[host];
            all.extend(new);
            (h.state(d) != State::Listen && h.state(d) != State::SynReceived && h.at_end(d)).then_some(())
        });
        assert_eq!(self.hosts[host].state(d), State::CloseWait, "the data connection was reset");
        self.hosts[host].socket(d).close();
        all
    }

    /// Writes to a data connection and closes it.
    #[track_caller]
    pub(crate) fn write_all(&mut self, c: &Ctl, d: SocketHandle, bytes: &[u8]) {
        let (mut at, host) = (0, c.host);
        self.until(LIMIT, "room for data", |w| {
            let h = &mut w.hosts[host];
            if matches!(h.state(d), State::Listen | State::SynReceived | State::SynSent) {
                return None;
            }
            at += h.write(d, &bytes[at..]);
            (at == bytes.len()).then_some(())
        });
        self.hosts[host].socket(d).close();
    }
}

/// What a 227 or 229 names; the address of a 229 is the server's.
pub(crate) fn passive_of(reply: &str) -> Option<SocketAddrV4> {
    let inner = reply.split_once('(')?.1.split_once(')')?.0;
    if reply.starts_with("229") {
        return Some(SocketAddrV4::new(SERVER, inner.trim_matches('|').parse().ok()?));
    }
    let n: Vec<u8> = inner.split(',').map(|n| n.parse().unwrap()).collect();
    (reply.starts_with("227") && n.len() == 6)
        .then(|| SocketAddrV4::new(Ipv4Addr::new(n[0], n[1], n[2], n[3]), u16::from_be_bytes([n[4], n[5]])))
}
