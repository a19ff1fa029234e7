//! Two ends whose every byte the test decides, beside bystanders who must not notice.

use super::bystander::Bystander;
use super::client::{Ctl, passive_of};
use super::host::Host;
use super::meeting::Meeting;
use super::options::Options;
use super::world::World;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use std::net::{Ipv4Addr, SocketAddr};
use tidegate::event::What;
use tidegate::time::Duration;

/// The hostile server; its program is the test.
pub(crate) const EVIL: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 66);

/// A session between client 1 and a server of the test's.
pub(crate) struct Duel {
    pub(crate) w: World,
    pub(crate) c: Ctl,
    pub(crate) evil: usize,
    pub(crate) s: SocketHandle,
    /// What the client has received.
    pub(crate) told: Vec<u8>,
    /// What the server has.
    pub(crate) heard: Vec<u8>,
    /// Sessions with the good server: of another client, and of the same.
    others: [Bystander; 2],
}

impl Duel {
    /// Connected, and nothing said. Bystanders are in the middle of a transfer.
    pub(crate) fn new(by: Meeting) -> Self {
        Self::with(by.options())
    }

    pub(crate) fn with(mut o: Options) -> Self {
        o.clients = 2;
        let mut w = World::new(o);
        let mut others = [Bystander::new(&mut w, 0, 5001), Bystander::new(&mut w, 1, 5002)];
        while others.iter().any(|b| !b.reads()) {
            w.settle();
            others.iter_mut().for_each(|b| b.step(&mut w));
        }
        let evil = w.hosts.len();
        w.hosts.push(Host::new(EVIL, 1, 66));
        let s = w.hosts[evil].listen(21);
        let c = w.connect_at(1, 6001, w.at(evil, 21));
        w.settle();
        let mut duel = Self { w, c, evil, s, told: vec![], heard: vec![], others };
        duel.run();
        assert_eq!(
            (duel.w.state(&duel.c), duel.w.hosts[evil].state(s)),
            (State::Established, State::Established)
        );
        duel
    }

    /// As [`new`](Self::new), with the client logged in.
    pub(crate) fn logged_in(by: Meeting) -> Self {
        Self::logged_in_with(by.options())
    }

    pub(crate) fn logged_in_with(o: Options) -> Self {
        let mut d = Self::with(o);
        d.server(b"220 evil\r\n");
        d.client(b"USER u\r\n");
        d.server(b"331 go on\r\n");
        d.client(b"PASS p\r\n");
        d.server(b"230 in\r\n");
        assert_eq!(d.told(), "220 evil\r\n331 go on\r\n230 in\r\n");
        assert_eq!(d.heard(), "USER u\r\nPASS p\r\n");
        d
    }

    /// A port of the hostile server.
    pub(crate) fn evil_at(&self, port: u16) -> SocketAddr {
        self.w.at(self.evil, port)
    }

    /// Where the client was told to connect to just now.
    #[track_caller]
    pub(crate) fn told_where(&mut self) -> SocketAddr {
        let told = self.told();
        let to = passive_of(&told).unwrap_or_else(|| panic!("{told}"));
        assert!(!told.starts_with("227") || *to.ip() == EVIL, "{told}");
        self.evil_at(to.port())
    }

    /// The client says this line.
    #[track_caller]
    pub(crate) fn line(&mut self, line: &str) {
        self.client(format!("{line}\r\n").as_bytes());
    }

    /// The client says this, all of it.
    #[track_caller]
    pub(crate) fn client(&mut self, bytes: &[u8]) {
        self.say(self.c.host, self.c.socket, bytes);
    }

    /// The server says this, or what is taken of it before it is reset.
    #[track_caller]
    pub(crate) fn server(&mut self, bytes: &[u8]) {
        self.say(self.evil, self.s, bytes);
    }

    #[track_caller]
    fn say(&mut self, host: usize, socket: SocketHandle, bytes: &[u8]) {
        let mut at = 0;
        for _ in 0..10_000 {
            let h = &mut self.w.hosts[host];
            at += h.write(socket, &bytes[at..]);
            if at == bytes.len() || !h.socket(socket).may_send() {
                return self.run();
            }
            self.run();
        }
        // Nobody takes it: that, too, is an answer.
    }

    /// Lets everything happen that wants no time to pass but a little.
    pub(crate) fn run(&mut self) {
        self.w.pass(Duration::from_micros(200));
        let (client, server) = (self.c.host, self.evil);
        self.told.extend(self.w.hosts[client].read(self.c.socket));
        self.heard.extend(self.w.hosts[server].read(self.s));
        self.others.iter_mut().for_each(|b| b.step(&mut self.w));
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.w.now + time;
        while self.w.now < end {
            self.w.pass(Duration::from_millis(250));
            self.run();
        }
    }

    /// What the client has been told since the last call.
    pub(crate) fn told(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.told)).into_owned()
    }

    /// What the server has heard since the last call.
    pub(crate) fn heard(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.heard)).into_owned()
    }

    /// The client's and the server's end of the control connection.
    pub(crate) fn states(&mut self) -> (State, State) {
        (self.w.state(&self.c), self.w.hosts[self.evil].state(self.s))
    }

    /// Why the session ended, if it has.
    pub(crate) fn ended(&self) -> Option<String> {
        let evil = self.evil_at(21);
        let all = self.w.told(|e| match e {
            What::Session { state: "closed", reason, server, .. } if *server == evil => Some(reason.clone()),
            _ => None,
        });
        all.into_iter().next()
    }

    /// Every transfer of the bystanders is whole, and nothing of the duel stays behind.
    #[track_caller]
    pub(crate) fn over(mut self) {
        self.others.iter_mut().for_each(|b| b.finish(&mut self.w));
        let (client, server) = (self.c.host, self.evil);
        self.w.hosts[client].socket(self.c.socket).abort();
        self.w.hosts[server].socket(self.s).abort();
        self.w.pass(Duration::from_secs(12));
        assert_eq!((self.w.sessions(), self.w.remains().0), (2, 0));
        assert!(
            self.w.table.len() <= 2 * (2 + self.w.remains().1 + self.w.remains().2),
            "{}",
            self.w.table.len()
        );
    }
}
