//! How hostile ends meet the gateway.

use super::options::Options;
use super::way::Way;
use super::world::World;
use std::net::SocketAddr;
use tidegate::session::UpstreamSource;

/// A way of redirection, an address toward servers and a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meeting {
    /// In GRE; servers see the gateway.
    Gre,
    /// By MAC address; servers see the gateway.
    L2,
    /// In GRE, with what servers send as well; they see clients.
    Spoofed,
    /// By a router's policy, over IPv6; servers see the gateway.
    Six,
    /// By a router's policy, over IPv6, with what servers send as well; they see clients.
    SixSpoofed,
}

impl Meeting {
    pub(crate) const ALL: [Self; 5] = [Self::Gre, Self::L2, Self::Spoofed, Self::Six, Self::SixSpoofed];

    pub(crate) fn options(self) -> Options {
        let mut o = Options::default();
        if self == Self::L2 {
            o.way = Way::L2;
        }
        if self.six() {
            (o.way, o.six) = (Way::Policy, true);
            o.service.mss_clamp = None;
        }
        if self.spoofed() {
            o.service.upstream_source = UpstreamSource::Client;
            o.reverse = Some(vec![]);
        }
        o
    }

    /// Clients use IPv6.
    pub(crate) fn six(self) -> bool {
        matches!(self, Self::Six | Self::SixSpoofed)
    }

    /// Servers see clients' addresses.
    pub(crate) fn spoofed(self) -> bool {
        matches!(self, Self::Spoofed | Self::SixSpoofed)
    }

    /// Asks for a passive data connection.
    pub(crate) fn passive(self) -> &'static str {
        if self.six() { "EPSV" } else { "PASV" }
    }

    /// What a client is told for that by [`EVIL`](super::EVIL)'s name, but for the port.
    pub(crate) fn told_passive(self) -> &'static str {
        if self.six() {
            "229 Entering Extended Passive Mode (|||20"
        } else {
            "227 Entering Passive Mode (10,1,0,66,7,"
        }
    }
}

impl World {
    /// A port of a host, at its address of the family that clients use.
    pub(crate) fn at(&self, host: usize, port: u16) -> SocketAddr {
        let h = &self.hosts[host];
        if self.six { (h.address6, port).into() } else { (h.address, port).into() }
    }

    /// The PORT, or over IPv6 the EPRT, by which a host names a port of its own.
    pub(crate) fn names(&self, host: usize, port: u16) -> String {
        let h = &self.hosts[host];
        if self.six {
            return format!("EPRT |2|{}|{port}|", h.address6);
        }
        let address = h.address.to_string().replace('.', ",");
        format!("PORT {address},{},{}", port >> 8, port & 255)
    }
}
