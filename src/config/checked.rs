//! The configuration as the program uses it: every value has a type that cannot be wrong.

use crate::time::Duration;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// Outer IPv4 header, GRE header, redirect header.
const GRE_OVERHEAD: u16 = 28;

/// A whole configuration, all defaults filled in. Made by [`load`](super::load) and
/// [`parse`](super::parse) only, so whoever holds one need not check it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file that it came from.
    pub file: PathBuf,
    /// How packets come to us.
    pub deployment: Deployment,
    /// The interface that frames come and go by.
    pub interface: Interface,
    /// The service groups; there if and only if the deployment is [`Deployment::Wccp`].
    pub wccp: Option<Wccp>,
    /// At least one service; no port belongs to two of them.
    pub services: Vec<Service>,
    /// Upper bounds of tables and buffers.
    pub limits: Limits,
    /// How long things may take.
    pub timers: Timers,
    /// The worker's core and manners.
    pub worker: WorkerSettings,
    /// Where events go.
    pub events: EventTarget,
    /// What is allowed but probably not meant, a line each, for the operator.
    pub notes: Vec<String>,
}

impl Config {
    /// The service whose control port this is.
    pub fn service_for_port(&self, port: u16) -> Option<&Service> {
        self.services.iter().find(|s| s.ports.contains(&port))
    }

    /// All interfaces, the inside one first.
    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        std::iter::once(&self.interface)
    }

    /// Whether packets are redirected to the interface's MAC address, so that what comes there may be for
    /// anybody.
    pub fn by_mac(&self) -> bool {
        match &self.wccp {
            Some(w) => w.forward.contains(&Method::L2),
            None => self.deployment == Deployment::Static,
        }
    }

    /// Bytes that redirection puts around a packet on its way to us.
    pub fn redirect_overhead(&self) -> u16 {
        match &self.wccp {
            Some(w) if w.forward.contains(&Method::Gre) => GRE_OVERHEAD,
            _ => 0,
        }
    }
}

/// How packets come to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deployment {
    /// Routers redirect what WCCP has told them to.
    Wccp,
    /// A router's policy sends packets to our MAC address; nothing is negotiated.
    Static,
}

impl Deployment {
    /// The word in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wccp => "wccp",
            Self::Static => "static",
        }
    }
}

/// One interface and what we are on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's name for it, 1 to 15 bytes.
    pub name: String,
    /// What carries its frames.
    pub driver: Driver,
    /// Whether the host uses it as well.
    pub mode: Mode,
    /// The VLAN ids of our frames' tags, outer first, one or two; `None` for whatever tags come in.
    pub vlan: Option<Vec<u16>>,
    /// Our IPv4 network; there is one of at least one family.
    pub v4: Option<Network<Ipv4Addr>>,
    /// Our IPv6 network.
    pub v6: Option<Network<Ipv6Addr>>,
    /// What is known about the card.
    pub nic_profile: NicProfileName,
}

/// What we are in one address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network<A> {
    /// Our own address, never the kernel's.
    pub address: A,
    /// Length of its network's prefix in bits.
    pub prefix: u8,
    /// The router that all we send goes to; on our network (in IPv6 perhaps by its link-local address), not
    /// our address.
    pub next_hop: A,
}

impl Interface {
    /// The largest IP packet, in bytes, on an interface of this MTU. Drivers keep room for one tag of a VLAN
    /// beyond the MTU, but for no two, so these have to fit into it.
    pub fn mtu(&self, of_link: u16) -> u16 {
        match self.vlan.as_deref() {
            Some([_, _]) => of_link.saturating_sub(8),
            _ => of_link,
        }
    }

    /// Our addresses with the lengths of their prefixes.
    pub fn addresses(&self) -> Vec<(IpAddr, u8)> {
        let v4 = self.v4.map(|n| (n.address.into(), n.prefix));
        v4.into_iter().chain(self.v6.map(|n| (n.address.into(), n.prefix))).collect()
    }

    /// The routers' addresses, in the same order.
    pub fn next_hops(&self) -> Vec<IpAddr> {
        let v4 = self.v4.map(|n| n.next_hop.into());
        v4.into_iter().chain(self.v6.map(|n| n.next_hop.into())).collect()
    }
}

/// What carries frames between an interface and us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// AF_XDP rings.
    AfXdp,
    /// AF_PACKET by the pnet crate.
    Pnet,
}

/// Who uses an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// We alone: every frame is taken.
    Dedicated,
    /// The host as well: what is not for us is the kernel's.
    Shared,
}

impl Mode {
    /// The word in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dedicated => "dedicated",
            Self::Shared => "shared",
        }
    }
}

impl Driver {
    /// The word in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AfXdp => "af_xdp",
            Self::Pnet => "pnet",
        }
    }
}

/// Which NIC profile to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NicProfileName {
    /// Any card (`nic-profiles/generic.toml`).
    Generic,
    /// One end of a veth pair (`nic-profiles/veth.toml`).
    Veth,
    /// A file of one's own, relative to the configuration file.
    File(PathBuf),
}

/// Most routers of a group.
pub(super) const MAX_ROUTERS: usize = 32;

/// WCCP; it needs an IPv4 address of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wccp {
    /// The routers that redirect to us, 1 to 32, none of them our own address.
    pub routers: Vec<Ipv4Addr>,
    /// The password of all groups; `None` for no security.
    pub password: Option<Password>,
    /// How redirected packets may come, in order of preference; at least one.
    pub forward: Vec<Method>,
    /// How declined packets may go back, likewise.
    pub return_method: Vec<Method>,
    /// How packets may be shared out among gateways, likewise.
    pub assignment: Vec<Assignment>,
    /// The bits of the client's address that mask assignment looks at, 1 to 7 of them; `None` if mask
    /// assignment is not among the possible.
    pub mask: Option<u32>,
    /// Time between two HERE_I_AM messages, 100 ms to 60 s.
    pub here_i_am: Duration,
    /// At least one group; ids and ports are unique.
    pub groups: Vec<Group>,
}

impl Wccp {
    /// The group that brings us what clients send to this port.
    pub fn group_for_port(&self, port: u16) -> Option<&Group> {
        self.groups.iter().find(|g| g.role == GroupRole::Forward && g.ports.contains(&port))
    }
}

/// How packets travel between a router and us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// In GRE.
    Gre,
    /// By MAC address, on our own network.
    L2,
}

impl Method {
    /// The word in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gre => "gre",
            Self::L2 => "l2",
        }
    }
}

/// How packets are shared out among gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assignment {
    /// By a hash of the client's address.
    Hash,
    /// By some bits of the client's address.
    Mask,
}

impl Assignment {
    /// The word in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Mask => "mask",
        }
    }
}

/// A dynamic service group on TCP. Either role hashes the client's address, so that both directions of a
/// client's connections come to the same gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The service id, 51 to 255.
    pub id: u8,
    /// Which direction it redirects.
    pub role: GroupRole,
    /// The priority; routers try higher ones first.
    pub priority: u8,
    /// Up to eight ports, each once (the list of a service group has room for eight). None: every port, which
    /// only a reverse group may say.
    pub ports: Vec<u16>,
}

/// Which direction a group redirects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupRole {
    /// From clients: destination ports, hashed on the source address.
    Forward,
    /// To clients: source ports, hashed on the destination address.
    Reverse,
}

impl GroupRole {
    /// The word in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Reverse => "reverse",
        }
    }
}

/// A WCCP password: 1 to 8 bytes of printable ASCII. It does not show when printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password {
    pub(super) bytes: Vec<u8>,
    /// The file it was read from; `None` if it stood in the configuration itself.
    pub file: Option<PathBuf>,
}

impl Password {
    /// The bytes, unpadded.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(****)")
    }
}

/// An FTP service: which connections are ours and how they are treated. Control connections are
/// terminated (`handling = "proxy"`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name in events, 1 to 32 bytes of `a-z A-Z 0-9 _ -`.
    pub name: String,
    /// Control ports; each is in a service group.
    pub ports: Vec<u16>,
    /// How clients may open data connections.
    pub client_mode: ClientMode,
    /// Who opens data connections between us and servers.
    pub server_mode: ServerMode,
    /// Whose address servers see.
    pub upstream_source: UpstreamSource,
    /// Source ports of servers' data connections that are redirected to us; none if all of them reach us.
    pub server_ports: Vec<u16>,
    /// Whose address the data connections of clients see.
    pub data_source: DataSource,
    /// Ports named to passive clients; each is in a service group. May be empty if `client_mode` is
    /// `Active` or `data_source` is `Own`.
    pub data_ports: Vec<u16>,
    /// Source port of data connections toward active clients. In a service group, unless `client_mode` is
    /// `Passive` or `data_source` is `Own`.
    pub active_source_port: u16,
    /// What becomes of control connections that want to be encrypted.
    pub ftps: Ftps,
    /// The MSS that is allowed toward redirected clients.
    pub mss_clamp: MssClamp,
}

/// Which data modes clients may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientMode {
    /// Active and passive.
    Any,
    /// PORT and EPRT; PASV and EPSV are refused.
    Active,
    /// PASV and EPSV; PORT and EPRT are refused.
    Passive,
}

impl ClientMode {
    /// The word in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Active => "active",
            Self::Passive => "passive",
        }
    }

    /// Whether PASV and EPSV are allowed.
    pub const fn allows_passive(self) -> bool {
        !matches!(self, Self::Active)
    }

    /// Whether PORT and EPRT are allowed.
    pub const fn allows_active(self) -> bool {
        !matches!(self, Self::Passive)
    }
}

/// Who opens data connections between us and servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerMode {
    /// We do: servers get EPSV or PASV.
    Passive,
    /// Servers do: they get PORT or EPRT.
    Active,
    /// As between the client and us.
    Same,
}

impl ServerMode {
    /// The word in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passive => "passive",
            Self::Active => "active",
            Self::Same => "same",
        }
    }

    /// Whether servers may be asked to listen, with such clients.
    pub const fn may_listen(self, client: ClientMode) -> bool {
        match self {
            Self::Passive => true,
            Self::Active => false,
            Self::Same => client.allows_passive(),
        }
    }

    /// Whether servers may be asked to connect, with such clients.
    pub const fn may_connect(self, client: ClientMode) -> bool {
        match self {
            Self::Passive => false,
            Self::Active => true,
            Self::Same => client.allows_active(),
        }
    }
}

/// Whose address servers see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamSource {
    /// Ours.
    Own,
    /// The client's, with its port. Servers' answers are redirected to us.
    Client,
}

impl UpstreamSource {
    /// The word in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Client => "client",
        }
    }
}

/// Whose address data connections toward clients have at our end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataSource {
    /// The server's: clients never see us.
    Server,
    /// Our own: the 227 names it, EPSV is refused.
    Own,
}

impl DataSource {
    /// The word in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Own => "own",
        }
    }
}

/// What becomes of control connections that want to be encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ftps {
    /// AUTH is answered with 534.
    Refuse,
    /// AUTH TLS is passed on, then bytes; data connections go past us.
    Opaque,
}

impl Ftps {
    /// The word in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Opaque => "opaque",
        }
    }
}

/// The largest MSS toward a redirected client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MssClamp {
    /// The interface's MTU less 28 (GRE, redirect header, outer IPv4) less 40.
    Auto,
    /// This many bytes, 216 to 1460.
    Bytes(u16),
    /// As the ends announce it; large segments then arrive as fragments.
    Off,
}

/// Upper bounds. What happens at each is defined and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sessions at once.
    pub sessions: usize,
    /// Control connections that a client has begun and the server or client has not completed.
    pub half_open: usize,
    /// The same, for one /24 or /64 of clients.
    pub half_open_per_source: usize,
    /// Sessions at once of one client: an IPv4 address or an IPv6 /64.
    pub per_client: usize,
    /// What becomes of a client that there is no session for.
    pub over_limit: OverLimit,
    /// Connections in the flow table (each takes a slot per direction).
    pub flows: usize,
    /// Bytes of one command or reply line, with its line end.
    pub line: usize,
    /// Bytes of one reply with all its lines.
    pub reply: usize,
    /// Commands of one session whose final reply has not come.
    pub commands: usize,
    /// Bytes of one buffer of a relayed transfer.
    pub relay_buffer: usize,
    /// Relayed transfers at once.
    pub relay_buffers: usize,
    /// Those of one client.
    pub relays_per_client: usize,
}

/// What becomes of a SYN that would be one session too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverLimit {
    /// It goes back to the router, and so to the server itself.
    Return,
    /// It is answered with a reset, as the server.
    Reset,
}

impl OverLimit {
    /// The word in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Return => "return",
            Self::Reset => "reset",
        }
    }
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Until the server completes a TCP connection.
    pub connect: Duration,
    /// From there to the server's greeting.
    pub greeting: Duration,
    /// From the greeting until the client is logged in.
    pub login: Duration,
    /// A control connection without a command, reply or live data connection.
    pub control_idle: Duration,
    /// A data connection on which no byte moves in either direction.
    pub data_stall: Duration,
    /// From an announced data connection, not steered, to its SYN.
    pub data_wait: Duration,
    /// From the end of a transfer's data to its final reply.
    pub final_reply: Duration,
    /// From a steered announcement to the client's SYN.
    pub steer_timeout: Duration,
    /// How long a 227 or 229 waits for a free data port before it becomes a 425.
    pub steer_wait: Duration,
    /// How long a steered port stays unused after its announcement ended without a SYN.
    pub quarantine: Duration,
    /// How long a closed connection's addresses are remembered.
    pub time_wait: Duration,
    /// How long sessions may go on after SIGTERM.
    pub drain_timeout: Duration,
}

/// The worker's core and manners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerSettings {
    /// The core to pin to; `None`: the last one that the process may use.
    pub cpu: Option<usize>,
    /// What it does when there is nothing to do.
    pub idle: Idle,
    /// Seed of sequence numbers, ports and IP ids; `None`: a fresh random one each start.
    pub seed: Option<[u8; 16]>,
}

/// What a worker does when no frame is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// Waits longer and longer, up to a bound; an idle gateway costs nearly nothing.
    Adaptive,
    /// Polls without end: lowest latency, a whole core.
    Spin,
}

impl Idle {
    /// The word in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::Spin => "spin",
        }
    }
}

/// Where events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventTarget {
    /// Standard output (`-`).
    Stdout,
    /// Appended to this file; relative paths start at the configuration file's directory.
    File(PathBuf),
}
