//! An FTP client on a host's stack, by hand.

use super::net::Network;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use std::net::{IpAddr, SocketAddr};
use tidegate::time::Duration;

/// A control connection.
pub(crate) struct Ctl {
    pub(crate) node: usize,
    pub(crate) socket: SocketHandle,
    /// The client's port.
    pub(crate) port: u16,
    pub(crate) server: IpAddr,
    input: Vec<u8>,
}

impl Network {
    /// Connects and takes the greeting.
    pub(crate) fn login(&mut self, node: usize, port: u16, to: SocketAddr) -> Ctl {
        let socket = self.nodes[node].host.connect(port, to);
        let mut c = Ctl { node, socket, port, server: to.ip(), input: vec![] };
        assert_eq!(self.reply(&mut c), "220 scripted");
        assert!(self.cmd(&mut c, "USER anonymous").starts_with("331"));
        assert!(self.cmd(&mut c, "PASS me@").starts_with("230"));
        c
    }

    /// Says a line and gives the reply.
    pub(crate) fn cmd(&mut self, c: &mut Ctl, line: &str) -> String {
        self.say(c, format!("{line}\r\n").as_bytes());
        self.reply(c)
    }

    pub(crate) fn say(&mut self, c: &Ctl, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            at += self.nodes[c.node].host.write(c.socket, &bytes[at..]);
            self.run(Duration::from_millis(1));
        }
    }

    /// The next reply, its last line.
    pub(crate) fn reply(&mut self, c: &mut Ctl) -> String {
        let mut found = None;
        self.until(60, |n| {
            c.input.extend(n.nodes[c.node].host.read(c.socket));
            while let Some(end) = c.input.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = c.input.drain(..=end).collect();
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                let last = text.len() > 3 && text.as_bytes()[..3].iter().all(u8::is_ascii_digit);
                if last && text.as_bytes()[3] == b' ' {
                    found = Some(text);
                    return true;
                }
            }
            false
        });
        found.unwrap()
    }

    /// Announces a port that is listened at, by PORT or EPRT; gives the listening socket and the port.
    pub(crate) fn active(&mut self, c: &mut Ctl, verb: &str, port: u16) -> (SocketHandle, String) {
        let socket = self.nodes[c.node].host.listen(port);
        let own = self.nodes[c.node].host.address;
        let own6 = self.nodes[c.node].host.address6;
        let line = match (verb, c.server) {
            ("PORT", _) => {
                let [a, b, d, e] = own.octets();
                format!("PORT {a},{b},{d},{e},{},{}", port >> 8, port & 255)
            }
            (_, IpAddr::V4(_)) => format!("EPRT |1|{own}|{port}|"),
            (_, IpAddr::V6(_)) => format!("EPRT |2|{own6}|{port}|"),
        };
        let reply = self.cmd(c, &line);
        (socket, reply)
    }

    /// Asks for a passive port: where to connect to.
    pub(crate) fn passive(&mut self, c: &mut Ctl, verb: &str) -> SocketAddr {
        let reply = self.cmd(c, verb);
        passive_of(&reply, c.server).unwrap_or_else(|| panic!("{reply}"))
    }

    /// Connects a data connection.
    pub(crate) fn data(&mut self, c: &Ctl, from: u16, to: SocketAddr) -> SocketHandle {
        self.nodes[c.node].host.connect(from, to)
    }

    /// Asks for a file and reads it from the data connection; the final reply comes with it.
    pub(crate) fn fetch(&mut self, c: &mut Ctl, data: SocketHandle, name: &str) -> (Vec<u8>, String) {
        let first = self.cmd(c, &format!("RETR {name}"));
        if !first.starts_with("150") {
            return (vec![], first);
        }
        let mut got = Vec::new();
        self.until(120, |n| {
            got.extend(n.nodes[c.node].host.read(data));
            n.nodes[c.node].host.at_end(data)
        });
        self.nodes[c.node].host.socket(data).close();
        let last = self.reply(c);
        (got, last)
    }

    /// Whether a connection of a host's stands.
    pub(crate) fn is_open(&mut self, node: usize, socket: SocketHandle) -> bool {
        self.nodes[node].host.state(socket) == State::Established
    }
}

/// What a 227 or 229 tells.
pub(crate) fn passive_of(reply: &str, server: IpAddr) -> Option<SocketAddr> {
    if reply.starts_with("229") {
        let port = reply.split('|').nth(3)?.parse().ok()?;
        return Some(SocketAddr::new(server, port));
    }
    let inner = reply.split_once('(')?.1.split_once(')')?.0;
    let n: Vec<u8> = inner.split(',').map(|n| n.parse().ok()).collect::<Option<_>>()?;
    let [a, b, c, d, h, l] = n[..] else { return None };
    Some(SocketAddr::new(IpAddr::from([a, b, c, d]), u16::from(h) << 8 | u16::from(l)))
}
