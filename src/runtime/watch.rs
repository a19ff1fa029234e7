//! Keeps the XDP program's list of the host's addresses current, where the host shares the interface.

use super::os::FLAG_INTERVAL;
use crate::event::What;
use crate::io::PortError;
use crate::io::afxdp::Addresses;
use crate::io::link::{self, AddressChanges};
use crate::time::Duration;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Looks without a change being told, so that one that was not told is seen at last: one in so many.
const LOOK_ANYWAY: u32 = 40;
/// Rest after a look: a host whose addresses change all the time costs us no more than this allows.
const REST: Duration = Duration::from_millis(20);

/// A thread that watches. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct HostWatch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl HostWatch {
    /// Begins to watch for `interface`, on which `own` are our addresses. What goes wrong, and the host
    /// taking an address of ours, is told once.
    ///
    /// # Errors
    /// The kernel does not tell of changes, or gives no thread.
    pub(super) fn start(
        interface: &str,
        own: Vec<IpAddr>,
        addresses: Addresses,
        warn: impl Fn(What) + Send + 'static,
    ) -> Result<Self, PortError> {
        // Before the first look, so that no change falls between the two.
        let changes = AddressChanges::subscribe(interface)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut watch = Watch { interface: interface.to_owned(), own, addresses, ill: None, taken: false };
        let thread = std::thread::Builder::new().name("addresses".to_owned()).spawn(move || {
            let mut quiet = 0;
            while !stopped.load(Ordering::Acquire) {
                if quiet == 0 {
                    watch.look(&warn);
                    std::thread::sleep(REST);
                }
                quiet = if changes.wait(FLAG_INTERVAL) { 0 } else { (quiet + 1) % LOOK_ANYWAY };
            }
        });
        match thread {
            Ok(thread) => Ok(Self { stop, thread: Some(thread) }),
            Err(e) => Err(PortError {
                interface: interface.to_owned(),
                what: format!("no thread to watch the host's addresses: {e}"),
                remedy: "raise the limit of processes (`ulimit -u`)".to_owned(),
            }),
        }
    }
}

impl Drop for HostWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Watch {
    interface: String,
    own: Vec<IpAddr>,
    addresses: Addresses,
    /// What went wrong at the last look.
    ill: Option<String>,
    /// Whether the host had an address of ours at the last look.
    taken: bool,
}

impl Watch {
    fn look(&mut self, warn: &impl Fn(What)) {
        let subject = || self.interface.clone();
        let host = match link::addresses(&self.interface) {
            Ok(host) => host,
            Err(e) => return self.ails(e.to_string(), warn),
        };
        let taken = host.iter().find(|a| self.own.contains(&a.address));
        if let Some(taken) = taken.filter(|_| !self.taken) {
            let text = format!(
                "{} has our address {}: the host's own connections to it fail; `ip address flush to {} dev {}`",
                taken.interface, taken.address, taken.address, taken.interface
            );
            warn(What::Warning { kind: "address_taken", subject: subject(), text });
        }
        self.taken = taken.is_some();
        match self.addresses.set_host(host.into_iter().map(|a| a.address)) {
            Ok(()) => self.ill = None,
            Err(e) => self.ails(e.to_string(), warn),
        }
    }

    fn ails(&mut self, text: String, warn: &impl Fn(What)) {
        if self.ill.as_ref() != Some(&text) {
            self.ill = Some(text.clone());
            warn(What::Warning { kind: "host_addresses", subject: self.interface.clone(), text });
        }
    }
}
