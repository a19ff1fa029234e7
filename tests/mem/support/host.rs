//! An end host: a TCP stack on a leg of the router.

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant as StackInstant;
use smoltcp::wire::{HardwareAddress, IpCidr};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tidegate::time::Instant;

#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) rx: VecDeque<Vec<u8>>,
    pub(crate) tx: VecDeque<Vec<u8>>,
}

pub(crate) struct RxToken(Vec<u8>);
pub(crate) struct TxToken<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::Device for Wire {
    type RxToken<'a> = RxToken;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _: StackInstant) -> Option<(RxToken, TxToken<'_>)> {
        Some((RxToken(self.rx.pop_front()?), TxToken(&mut self.tx)))
    }

    fn transmit(&mut self, _: StackInstant) -> Option<TxToken<'_>> {
        Some(TxToken(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut c = DeviceCapabilities::default();
        c.medium = Medium::Ip;
        c.max_transmission_unit = 1500;
        c
    }
}

impl phy::RxToken for RxToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut b = vec![0; len];
        let r = f(&mut b);
        self.0.push_back(b);
        r
    }
}

/// A host with an address of each family.
pub(crate) struct Host {
    pub(crate) address: Ipv4Addr,
    pub(crate) address6: Ipv6Addr,
    pub(crate) leg: usize,
    pub(crate) wire: Wire,
    iface: Interface,
    pub(crate) sockets: SocketSet<'static>,
}

impl Host {
    pub(crate) fn new(address: Ipv4Addr, leg: usize, seed: u64) -> Self {
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut wire = Wire::default();
        let mut iface = Interface::new(config, &mut wire, StackInstant::ZERO);
        let o = address.octets();
        let of_leg = |host: u8| Ipv6Addr::new(0xfd00, 0, 0, o[1].into(), 0, 0, 0, host.into());
        let address6 = of_leg(o[3]);
        iface.update_ip_addrs(|a| a.push(IpCidr::new(address.into(), 24)).unwrap());
        iface.update_ip_addrs(|a| a.push(IpCidr::new(address6.into(), 64)).unwrap());
        iface.routes_mut().add_default_ipv4_route(Ipv4Addr::new(o[0], o[1], o[2], 1)).unwrap();
        iface.routes_mut().add_default_ipv6_route(of_leg(1)).unwrap();
        Self { address, address6, leg, wire, iface, sockets: SocketSet::new(Vec::new()) }
    }

    /// Whether a packet for this address is for the host.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        address == IpAddr::V4(self.address) || address == IpAddr::V6(self.address6)
    }

    pub(crate) fn poll(&mut self, now: Instant) {
        self.iface.poll(at(now), &mut self.wire, &mut self.sockets);
    }

    pub(crate) fn due(&mut self, now: Instant) -> Option<Instant> {
        let due = self.iface.poll_at(at(now), &self.sockets)?;
        Some(Instant::from_nanos(due.total_micros() as u64 * 1000))
    }

    pub(crate) fn listen(&mut self, port: u16) -> SocketHandle {
        let mut s = socket();
        s.listen(port).unwrap();
        self.sockets.add(s)
    }

    pub(crate) fn connect(&mut self, port: u16, to: impl Into<SocketAddr>) -> SocketHandle {
        let (mut s, to) = (socket(), to.into());
        s.connect(self.iface.context(), (to.ip(), to.port()), port).unwrap();
        self.sockets.add(s)
    }

    pub(crate) fn socket(&mut self, h: SocketHandle) -> &mut Socket<'static> {
        self.sockets.get_mut(h)
    }

    pub(crate) fn state(&mut self, h: SocketHandle) -> State {
        self.socket(h).state()
    }

    /// Writes what fits; gives how much.
    pub(crate) fn write(&mut self, h: SocketHandle, bytes: &[u8]) -> usize {
        self.socket(h).send_slice(bytes).unwrap_or(0)
    }

    /// Reads all that is there.
    pub(crate) fn read(&mut self, h: SocketHandle) -> Vec<u8> {
        let mut all = Vec::new();
        while let Ok(n @ 1..) = self.socket(h).recv(|b| {
            all.extend_from_slice(b);
            (b.len(), b.len())
        }) {
            let _ = n;
        }
        all
    }

    /// The peer has closed and all was read.
    pub(crate) fn at_end(&mut self, h: SocketHandle) -> bool {
        let s = self.socket(h);
        !s.may_recv() && s.recv_queue() == 0 && s.state() != State::SynSent
    }
}

fn socket() -> Socket<'static> {
    let mut s = Socket::new(SocketBuffer::new(vec![0; 65_535]), SocketBuffer::new(vec![0; 65_535]));
    s.set_nagle_enabled(false);
    s
}

fn at(now: Instant) -> StackInstant {
    StackInstant::from_micros(now.as_micros() as i64)
}
