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
}

impl Bystander {
    /// Connects client `client` from `port`; the server has [`FILE`] from now on.
    pub(crate) fn new(w: &mut World, client: usize, port: u16) -> Self {
        w.server.conf.files.entry(FILE.into()).or_insert_with(contents);
        let ctl = w.connect(client, port);
        Self { ctl, step: Step::Greeting, got: vec![], pace: 1500, done: 0 }
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
            Step::Pass => ("230", "PASV".to_owned(), Step::Passive),
            Step::Passive => {
                let to = passive_of(&reply).unwrap_or_else(|| panic!("{reply}"));
                let port = ctl.fresh_port();
                let socket = w.hosts[ctl.host].connect(port, to);
                ("227", format!("RETR {FILE}"), Step::Asked(socket))
            }
            Step::Asked(d) => ("150", String::new(), Step::Reading(d)),
            Step::Reading(_) => return,
            Step::Closing => {
                self.done += 1;
                ("226", "PASV".to_owned(), Step::Passive)
            }
        };
        assert!(reply.starts_with(code), "{code} was due: {reply}");
        if !line.is_empty() {
            let line = line + "\r\n";
            assert_eq!(w.hosts[ctl.host].write(ctl.socket, line.as_bytes()), line.len());
        }
        self.step = next;
    }

    fn read(&mut self, w: &mut World, d: SocketHandle) {
        let (host, got, pace) = (&mut w.hosts[self.ctl.host], &mut self.got, self.pace);
        let _ = host.socket(d).recv(|b| {
            let n = b.len().min(pace);
            got.extend_from_slice(&b[..n]);
            (n, ())
        });
        if host.state(d) != State::SynSent && host.at_end(d) {
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
