//! FTP services: which connections are ours, and how they are treated.

use crate::config::units::Cidr;
use std::ops::RangeInclusive;

/// An FTP service whose control connections end here on both sides (`handling = "proxy"`).
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

/// An FTP service whose control connections stay between their ends, and are read and edited in flight
/// (`handling = "inspect"`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// Its name in events, 1 to 32 bytes of `a-z A-Z 0-9 _ -`.
    pub name: String,
    /// Control ports; where routers redirect, each is in a group of either role.
    pub ports: Vec<u16>,
    /// Lines are read; else control connections are connections as any other.
    pub alg: bool,
    /// How much of FTP is let through.
    pub profile: Profile,
    /// How clients may open data connections.
    pub client_mode: ClientMode,
    /// What becomes of control connections that want to be encrypted.
    pub ftps: Ftps,
    /// What becomes of those that are clear again.
    pub ccc: Ccc,
    /// Ports that no data connection goes to, beside those below 1024 and control ports.
    pub denied_ports: Vec<RangeInclusive<u16>>,
    /// Source ports that active data connections must have; any if empty.
    pub active_source_ports: Vec<u16>,
    /// Transfers without PORT and PASV are let in from port 20 to the client's control port (RFC 959 3.2).
    pub default_data_port: bool,
    /// Servers that may send files to each other, as clients know them, without host parts; none if a PORT may name
    /// only the client itself.
    pub fxp: Vec<Cidr>,
    /// Commands that announce data connections, of one session in a second: 1 to 1000.
    pub setups_per_second: u32,
    /// Logins of one client that servers may refuse before it is turned away: 0 to 1,000,000; none are counted if 0,
    /// and by the profile `Compat`.
    pub failed_logins: u32,
    /// Those that are told at once; further ones are told late.
    pub prompt_refusals: u32,
    /// Commands of any kind, of one session in a second: 1 to 10000.
    pub commands_per_second: u32,
    /// Ports that passive data connections are steered to; none if the server's own are told, and where packets are
    /// not redirected.
    pub data_ports: Vec<u16>,
    /// Passive data connections do not come here: routers redirect neither their ports nor all.
    pub data_bypasses: bool,
    /// The MSS that is let through; [`MssClamp::Off`] where packets are not redirected.
    pub mss_clamp: MssClamp,
}

/// How much of FTP is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// What has one meaning only; nothing is refused for its form.
    Compat,
    /// What real clients and servers send.
    Standard,
    /// To the letter.
    Strict,
}

impl Profile {
    /// The word in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compat => "compat",
            Self::Standard => "standard",
            Self::Strict => "strict",
        }
    }
}

/// What becomes of an encrypted control connection that is clear again (RFC 4217 section 12.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ccc {
    /// It is read again.
    Allow,
    /// Both ends are reset.
    Deny,
    /// It is read again, and no data connection is let in before.
    Require,
}

impl Ccc {
    /// The word in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Require => "require",
        }
    }
}
