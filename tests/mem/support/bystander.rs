//! A session that minds its own business while others misbehave: it fetches one file again and again.

use super::client::{Ctl, passive_of};
use super::world::World;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use tidegate::time::Duration;

/// The file that bystanders fetch.
pub(crate) const FILE: &str = "bystander";

enum Step {
    Greeting,
    User,
    Pass,
    Passive,
    Asked(SocketHandle),
    Reading(SocketHandle),
    Closing,
    Quit,
    Gone,
}

/// One such session.
pub(crate) struct Bystander {
    ctl: Ctl,
    step: Step,
    got: Vec<u8>,
    /// The most bytes read in one step, so that a transfer lasts as long as the others' misdeeds.
    pub(crate) pace: usize,
    /// Transfers done and found identical.
    pub(crate) done: usize,
    /// How many it wants; then it quits.
    pub(crate) wants: usize,
    /// Every third transfer is active.
    pub(crate) mixed: bool,
    listening: Option<SocketHandle>,
}

impl Bystander {
    /// Connects client `client` from `port`; the server has [`FILE`] from now on.
    pub(crate) fn new(w: &mut World, client: usize, port: u16) -> Self {
        w.server.conf.files.entry(FILE.into()).or_insert_with(contents);
        let ctl = w.connect(client, port);
        let (step, wants) = (Step::Greeting, usize::MAX);
        Self { ctl, step, got: vec![], pace: 1500, done: 0, wants, mixed: false, listening: None }
    }

    /// Whether it is in the middle of a transfer.
    pub(crate) fn reads(&self) -> bool {
        matches!(self.step, Step::Reading(_)) && !self.got.is_empty()
    }

    /// Whether it has done all it wanted and quit.
    pub(crate) fn gone(&self) -> bool {
        matches!(self.step, Step::Gone)
    }

    /// Does what can be done now, without time passing.
    #[track_caller]
    pub(crate) fn step(&mut self, w: &mut World) {
        if let Step::Reading(d) = self.step {
            return self.read(w, d);
        }
        let Some(reply) = w.poll_reply(&mut self.ctl) else { return };
        let ctl = &mut self.ctl;
        let (code, line, next) = match self.step {
            Step::Greeting => ("220", "USER by".to_owned(), Step::User),
            Step::User => ("331", "PASS stander".to_owned(), Step::Pass),
            Step::Pass => ("230", self.ask(w), Step::Passive),
            Step::Passive if self.listening.is_some() => {
                let Some(socket) = self.listening.take() else { return };
                ("200", format!("RETR {FILE}"), Step::Asked(socket))
            }
            Step::Passive => {
                let to = passive_of(&reply).unwrap_or_else(|| panic!("{reply}"));
                let to = if w.six { w.at(w.server_host, to.port()) } else { to.into() };
                let port = ctl.fresh_port();
                let socket = w.hosts[ctl.host].connect(port, to);
                ("22", format!("RETR {FILE}"), Step::Asked(socket))
            }
            Step::Asked(d) => ("150", String::new(), Step::Reading(d)),
            Step::Reading(_) | Step::Gone => return,
            Step::Closing if self.done + 1 == self.wants => {
                self.done += 1;
                ("226", "QUIT".to_owned(), Step::Quit)
            }
            Step::Closing => {
                self.done += 1;
                ("226", self.ask(w), Step::Passive)
            }
            Step::Quit => {
                w.hosts[ctl.host].socket(ctl.socket).close();
                ("221", String::new(), Step::Gone)
            }
        };
        let ctl = &self.ctl;
        assert!(reply.starts_with(code), "{code} was due: {reply}");
        if !line.is_empty() {
            let line = line + "\r\n";
            assert_eq!(w.hosts[ctl.host].write(ctl.socket, line.as_bytes()), line.len());
        }
        self.step = next;
    }

    /// What sets up the next transfer.
    fn ask(&mut self, w: &mut World) -> String {
        if !self.mixed || self.done % 3 != 2 {
            return if w.six { "EPSV" } else { "PASV" }.to_owned();
        }
        let port = self.ctl.fresh_port();
        self.listening = Some(w.hosts[self.ctl.host].listen(port));
        w.names(self.ctl.host, port)
    }

    fn read(&mut self, w: &mut World, d: SocketHandle) {
        let (host, got, pace) = (&mut w.hosts[self.ctl.host], &mut self.got, self.pace);
        let _ = host.socket(d).recv(|b| {
            let n = b.len().min(pace);
            got.extend_from_slice(&b[..n]);
            (n, ())
        });
        let opened = !matches!(host.state(d), State::SynSent | State::Listen | State::SynReceived);
        if opened && host.at_end(d) {
            assert_eq!(host.state(d), State::CloseWait, "a bystander's data connection was reset");
            host.socket(d).close();
            assert!(*got == contents(), "a bystander got {} bytes", got.len());
            got.clear();
            self.step = Step::Closing;
        }
    }

    /// Lets it come to the end of a transfer, and of one more if it has none yet. Panics if it cannot.
    #[track_caller]
    pub(crate) fn finish(&mut self, w: &mut World) {
        let done = self.done;
        self.pace = usize::MAX;
        w.until(Duration::from_secs(20), "bystander's transfer", |w| {
            self.step(w);
            (self.done > done).then_some(())
        });
    }
}

fn contents() -> Vec<u8> {
    (0..60_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 23) as u8).collect()
}
