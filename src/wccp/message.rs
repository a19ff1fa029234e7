//! The four messages (draft-wilson-wrec-wccp-v2, 5.1 to 5.5): a header and components.
//!
//! ```text
//!   0                   4         6         8
//!  +-------------------+---------+---------+
//!  | type 10..13       | 0x0200  | length  |  length: bytes after these 8
//!  +---------+---------+---------+---------+
//!  | type    | length  | body …             |  component; length: bytes after these 4
//!  +---------+---------+--------------------+
//! ```
//! Components are taken in any order and sent in the documented one. A datagram must be exactly as long as
//! its header says. Unknown components are skipped and counted.

use super::codec::{Field, Reader, Writer};
use super::component::{
    AlternateAssignment, AssignmentInfo, CacheView, Capability, Command, RouterIdentity, RouterQuery,
    RouterView, Service, read_capabilities, read_commands, read_map, write_capabilities, write_commands,
};
use super::element::{CacheIdentity, MaskValueSet};
use super::error::ParseError;
use super::security::{DIGEST_LEN, Password, digest, same};

/// Version 2.00.
const VERSION: u16 = 0x0200;
/// Bytes of the message header.
const HEADER: usize = 8;
/// Where the digest is in what we send: message header, component header, option.
const DIGEST_AT: usize = HEADER + 4 + 4;
/// The longest UDP payload over IPv4.
const LONGEST: usize = 65_507;

/// Component types.
mod part {
    pub(super) const SECURITY: usize = 0;
    pub(super) const SERVICE: usize = 1;
    pub(super) const ROUTER_IDENTITY: usize = 2;
    pub(super) const CACHE_IDENTITY: usize = 3;
    pub(super) const ROUTER_VIEW: usize = 4;
    pub(super) const CACHE_VIEW: usize = 5;
    pub(super) const ASSIGNMENT: usize = 6;
    pub(super) const QUERY: usize = 7;
    pub(super) const CAPABILITY: usize = 8;
    pub(super) const ALTERNATE: usize = 13;
    pub(super) const MAP: usize = 14;
    pub(super) const COMMAND: usize = 15;
    pub(super) const ADDRESS_TABLE: usize = 17;
    /// One more than the last that is kept.
    pub(super) const KEPT: usize = 16;
}

/// A message, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A cache tells a router of itself.
    HereIAm(HereIAm),
    /// A router's answer.
    ISeeYou(ISeeYou),
    /// The designated cache tells routers who gets what.
    RedirectAssign(RedirectAssign),
    /// A router asks a cache that has fallen silent.
    RemovalQuery(RemovalQuery),
}

/// HERE_I_AM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HereIAm {
    /// The group.
    pub service: Service,
    /// The cache.
    pub identity: CacheIdentity,
    /// What it sees.
    pub view: CacheView,
    /// What it chose; empty: the component is absent, which asks for GRE, hash, GRE.
    pub capabilities: Vec<Capability>,
    /// Empty: the component is absent.
    pub commands: Vec<Command>,
}

/// I_SEE_YOU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ISeeYou {
    /// The group.
    pub service: Service,
    /// The router, and whom it answers.
    pub identity: RouterIdentity,
    /// What it sees.
    pub view: RouterView,
    /// The hash assignment in force, which few routers send.
    pub assignment: Option<AssignmentInfo>,
    /// The mask assignment in force.
    pub map: Option<Vec<MaskValueSet>>,
    /// What it offers; empty: the component is absent, which offers GRE, hash, GRE.
    pub capabilities: Vec<Capability>,
    /// Empty: the component is absent.
    pub commands: Vec<Command>,
}

/// REDIRECT_ASSIGN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectAssign {
    /// The group.
    pub service: Service,
    /// The assignment in one of its forms.
    pub assignment: Redirect,
}

/// The two forms of an assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redirect {
    /// By hash, the older form.
    Info(AssignmentInfo),
    /// By hash or mask.
    Alternate(AlternateAssignment),
}

/// REMOVAL_QUERY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemovalQuery {
    /// The group.
    pub service: Service,
    /// Who asks whom.
    pub query: RouterQuery,
}

/// A datagram whose header and component boundaries are right; nothing of it is believed yet.
#[derive(Debug, Clone)]
pub struct Envelope<'a> {
    datagram: &'a [u8],
    kind: Kind,
    parts: [Option<(usize, &'a [u8])>; part::KEPT],
    unknown: u64,
}

/// An envelope whose security was checked.
#[derive(Debug, Clone)]
pub struct Verified<'a>(Envelope<'a>);

/// The message would not fit into a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message would have {0} bytes, more than a datagram holds")]
pub struct TooLong(pub usize);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    HereIAm = 10,
    ISeeYou = 11,
    RedirectAssign = 12,
    RemovalQuery = 13,
}

/// Opens, verifies and decodes in one go; `password` is ours, `None` if the group has none.
pub fn parse(datagram: &[u8], password: Option<&Password>) -> Result<Message, ParseError> {
    Envelope::open(datagram)?.verify(password)?.decode()
}

impl<'a> Envelope<'a> {
    /// Checks the header and finds the components.
    pub fn open(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let mut header = Reader::new(datagram.get(..HEADER).ok_or(ParseError::TooShort)?);
        let kind = match header.u32()? {
            10 => Kind::HereIAm,
            11 => Kind::ISeeYou,
            12 => Kind::RedirectAssign,
            13 => Kind::RemovalQuery,
            _ => return Err(ParseError::UnknownMessage),
        };
        if header.u16()? != VERSION {
            return Err(ParseError::Version);
        }
        let length = usize::from(header.u16()?);
        match (datagram.len() - HEADER).cmp(&length) {
            std::cmp::Ordering::Less => return Err(ParseError::LengthBeyondEnd),
            std::cmp::Ordering::Greater => return Err(ParseError::TrailingBytes),
            std::cmp::Ordering::Equal => {}
        }
        let mut envelope = Self { datagram, kind, parts: [None; part::KEPT], unknown: 0 };
        envelope.split()?;
        Ok(envelope)
    }

    /// Which service the message is for, before anything is verified: to choose the password by.
    pub fn service(&self) -> Result<Service, ParseError> {
        Service::read(self.need(part::SERVICE)?)
    }

    /// Number of components that were skipped because their type is unknown.
    pub const fn unknown_components(&self) -> u64 {
        self.unknown
    }

    /// Checks the security component against our password (`None`: the group has none).
    pub fn verify(self, password: Option<&Password>) -> Result<Verified<'a>, ParseError> {
        let mut r = self.need(part::SECURITY)?;
        let option = r.u32().map_err(|_| ParseError::SecurityLength)?;
        match (option, r.left()) {
            (0, 0) | (1, DIGEST_LEN) => {}
            (0 | 1, _) => return Err(ParseError::SecurityLength),
            _ => return Err(ParseError::SecurityUnknown),
        }
        match (password, option) {
            (None, 0) => {}
            (Some(password), 1) => {
                let received = r.array()?;
                let at = self.parts[part::SECURITY].map_or(0, |(at, _)| at + 4);
                if !same(&received, &digest(self.datagram, at, password)) {
                    return Err(ParseError::Digest);
                }
            }
            _ => return Err(ParseError::SecurityDiffers),
        }
        Ok(Verified(self))
    }

    fn split(&mut self) -> Result<(), ParseError> {
        let mut at = HEADER;
        while let Some(rest) = self.datagram.get(at..).filter(|rest| !rest.is_empty()) {
            let (head, rest) = rest.split_first_chunk::<4>().ok_or(ParseError::ComponentHeader)?;
            let kind = usize::from(u16::from_be_bytes([head[0], head[1]]));
            let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let body = rest.get(..length).ok_or(ParseError::ComponentBeyondEnd)?;
            if !length.is_multiple_of(4) {
                return Err(ParseError::ComponentAlignment);
            }
            at += 4;
            match kind {
                part::ADDRESS_TABLE => return Err(ParseError::AddressTable),
                9..=12 => self.unknown += 1,
                _ => match self.parts.get_mut(kind) {
                    Some(Some(_)) => return Err(ParseError::DuplicateComponent),
                    Some(place) => *place = Some((at, body)),
                    None => self.unknown += 1,
                },
            }
            at += length;
        }
        Ok(())
    }

    fn part(&self, kind: usize) -> Option<Reader<'a>> {
        self.parts.get(kind).copied().flatten().map(|(_, body)| Reader::new(body))
    }

    fn need(&self, kind: usize) -> Result<Reader<'a>, ParseError> {
        self.part(kind).ok_or(ParseError::MissingComponent)
    }

    fn capabilities(&self) -> Result<Vec<Capability>, ParseError> {
        self.part(part::CAPABILITY).map_or(Ok(Vec::new()), read_capabilities)
    }

    fn commands(&self) -> Result<Vec<Command>, ParseError> {
        self.part(part::COMMAND).map_or(Ok(Vec::new()), read_commands)
    }
}

impl Verified<'_> {
    /// Reads every field.
    pub fn decode(&self) -> Result<Message, ParseError> {
        let envelope = &self.0;
        let service = envelope.service()?;
        Ok(match envelope.kind {
            Kind::HereIAm => {
                let mut identity = envelope.need(part::CACHE_IDENTITY)?;
                let message = HereIAm {
                    service,
                    identity: CacheIdentity::read(&mut identity)?,
                    view: CacheView::read(envelope.need(part::CACHE_VIEW)?)?,
                    capabilities: envelope.capabilities()?,
                    commands: envelope.commands()?,
                };
                identity.finish()?;
                Message::HereIAm(message)
            }
            Kind::ISeeYou => Message::ISeeYou(ISeeYou {
                service,
                identity: RouterIdentity::read(envelope.need(part::ROUTER_IDENTITY)?)?,
                view: RouterView::read(envelope.need(part::ROUTER_VIEW)?)?,
                assignment: envelope.part(part::ASSIGNMENT).map(AssignmentInfo::read).transpose()?,
                map: envelope.part(part::MAP).map(read_map).transpose()?,
                capabilities: envelope.capabilities()?,
                commands: envelope.commands()?,
            }),
            Kind::RedirectAssign => {
                let info = envelope.part(part::ASSIGNMENT).map(AssignmentInfo::read).transpose()?;
                let alternate = envelope.part(part::ALTERNATE).map(AlternateAssignment::read).transpose()?;
                let assignment = match (info, alternate) {
                    (Some(info), None) => Redirect::Info(info),
                    (None, Some(alternate)) => Redirect::Alternate(alternate),
                    (Some(_), Some(_)) => return Err(ParseError::TwoAssignments),
                    (None, None) => return Err(ParseError::MissingComponent),
                };
                Message::RedirectAssign(RedirectAssign { service, assignment })
            }
            Kind::RemovalQuery => Message::RemovalQuery(RemovalQuery {
                service,
                query: RouterQuery::read(envelope.need(part::QUERY)?)?,
            }),
        })
    }
}

impl Message {
    /// The datagram's payload, signed if there is a password.
    ///
    /// # Errors
    /// When it would have more than 65507 bytes.
    pub fn emit(&self, password: Option<&Password>) -> Result<Vec<u8>, TooLong> {
        let mut w = Writer::default();
        w.u32(self.kind() as u32);
        w.u16(VERSION);
        w.u16(0);
        tlv(&mut w, part::SECURITY, |w| {
            w.u32(u32::from(password.is_some()));
            if password.is_some() {
                w.bytes(&[0; DIGEST_LEN]);
            }
        });
        tlv(&mut w, part::SERVICE, |w| self.service().write(w));
        match self {
            Self::HereIAm(m) => {
                tlv(&mut w, part::CACHE_IDENTITY, |w| m.identity.write(w));
                tlv(&mut w, part::CACHE_VIEW, |w| m.view.write(w));
                extras(&mut w, &m.capabilities, &m.commands);
            }
            Self::ISeeYou(m) => {
                tlv(&mut w, part::ROUTER_IDENTITY, |w| m.identity.write(w));
                tlv(&mut w, part::ROUTER_VIEW, |w| m.view.write(w));
                if let Some(info) = &m.assignment {
                    tlv(&mut w, part::ASSIGNMENT, |w| info.write(w));
                }
                if let Some(sets) = &m.map {
                    tlv(&mut w, part::MAP, |w| w.list(sets));
                }
                extras(&mut w, &m.capabilities, &m.commands);
            }
            Self::RedirectAssign(m) => match &m.assignment {
                Redirect::Info(info) => tlv(&mut w, part::ASSIGNMENT, |w| info.write(w)),
                Redirect::Alternate(alternate) => tlv(&mut w, part::ALTERNATE, |w| alternate.write(w)),
            },
            Self::RemovalQuery(m) => tlv(&mut w, part::QUERY, |w| m.query.write(w)),
        }
        finish(w, password)
    }

    /// The service that the message is about.
    pub const fn service(&self) -> &Service {
        match self {
            Self::HereIAm(m) => &m.service,
            Self::ISeeYou(m) => &m.service,
            Self::RedirectAssign(m) => &m.service,
            Self::RemovalQuery(m) => &m.service,
        }
    }

    const fn kind(&self) -> Kind {
        match self {
            Self::HereIAm(_) => Kind::HereIAm,
            Self::ISeeYou(_) => Kind::ISeeYou,
            Self::RedirectAssign(_) => Kind::RedirectAssign,
            Self::RemovalQuery(_) => Kind::RemovalQuery,
        }
    }
}

fn tlv(w: &mut Writer, kind: usize, body: impl FnOnce(&mut Writer)) {
    w.tlv(u16::try_from(kind).unwrap_or(u16::MAX), body);
}

fn extras(w: &mut Writer, capabilities: &[Capability], commands: &[Command]) {
    if !capabilities.is_empty() {
        tlv(w, part::CAPABILITY, |w| write_capabilities(capabilities, w));
    }
    if !commands.is_empty() {
        tlv(w, part::COMMAND, |w| write_commands(commands, w));
    }
}

/// Fills in the length, then the digest over everything.
fn finish(w: Writer, password: Option<&Password>) -> Result<Vec<u8>, TooLong> {
    let mut bytes = w.0;
    let total = bytes.len();
    let length = match u16::try_from(total - HEADER) {
        Ok(length) if total <= LONGEST => length,
        _ => return Err(TooLong(total)),
    };
    if let Some(field) = bytes.get_mut(6..HEADER) {
        field.copy_from_slice(&length.to_be_bytes());
    }
    if let Some(password) = password {
        let sum = digest(&bytes, DIGEST_AT, password);
        if let Some(field) = bytes.get_mut(DIGEST_AT..DIGEST_AT + DIGEST_LEN) {
            field.copy_from_slice(&sum);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
