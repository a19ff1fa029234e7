//! What the stack sends through and receives from: one packet at a time, fixed up on its way.

use super::stack::Link;
use crate::buf::MAX_FRAME;
use crate::wire::{self, parse_ip, tcp};
use smoltcp::phy::{self, Checksum, DeviceCapabilities, Medium};
use smoltcp::time::Instant as StackInstant;

/// Where packets go: IP packets without a link header.
pub trait Outlet {
    /// Packets that can be sent now.
    fn slots(&self) -> usize;

    /// Sends a packet of `len` bytes that `fill` writes; `fill` gives false to take it back.
    /// False if it was not sent.
    fn send(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8]) -> bool) -> bool;
}

/// The stack's device for the time of one poll.
pub(super) struct Device<'a> {
    pub(super) rx: Option<&'a [u8]>,
    pub(super) out: &'a mut dyn Outlet,
    pub(super) links: &'a mut [Option<Link>],
    pub(super) mtu: usize,
}

pub(super) struct RxToken<'a>(&'a [u8]);

pub(super) struct TxToken<'a> {
    out: &'a mut dyn Outlet,
    links: &'a mut [Option<Link>],
}

impl phy::Device for Device<'_> {
    type RxToken<'a>
        = RxToken<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = TxToken<'a>
    where
        Self: 'a;

    fn receive(&mut self, _now: StackInstant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        let rx = self.rx.take()?;
        Some((RxToken(rx), TxToken { out: &mut *self.out, links: &mut *self.links }))
    }

    fn transmit(&mut self, _now: StackInstant) -> Option<TxToken<'_>> {
        (self.out.slots() > 0).then_some(TxToken { out: &mut *self.out, links: &mut *self.links })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.mtu)
    }
}

pub(super) fn capabilities(mtu: usize) -> DeviceCapabilities {
    let mut c = DeviceCapabilities::default();
    c.medium = Medium::Ip;
    c.max_transmission_unit = mtu;
    // The engine verified what comes in, before it chose the session.
    c.checksum.tcp = Checksum::Tx;
    c.checksum.ipv4 = Checksum::Tx;
    c
}

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let Self { out, links } = self;
        // The stack's writer gives a result and runs once, whether there is room or not. So it writes here, and
        // what does not fit out (an answer while receiving) is lost: the stack retransmits what matters.
        let mut room = [0; MAX_FRAME];
        let Some(packet) = room.get_mut(..len) else { return f(&mut vec![0; len]) };
        let result = f(packet);
        out.send(len, &mut |frame| {
            frame.copy_from_slice(packet);
            outbound(frame, links)
        });
        result
    }
}

/// Fixes up a packet that the stack made; false if it must not be sent.
fn outbound(packet: &mut [u8], links: &mut [Option<Link>]) -> bool {
    let Ok(ip) = parse_ip(packet, 0) else { return false };
    let Some(mut seg) = wire::tcp::parse(packet, &ip) else { return false };
    let Some(link) = links.iter_mut().flatten().find(|l| l.local == seg.src && l.remote == seg.dst) else {
        // A reset for a segment of a connection that is gone: its number came from that segment.
        return seg.has(tcp::RST);
    };
    link.outbound(packet, &mut seg)
}
