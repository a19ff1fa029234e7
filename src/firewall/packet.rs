//! What goes in and what comes out.

/// Where a packet comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The protected side.
    Inside,
    /// The other.
    Outside,
}

impl Side {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Inside => Self::Outside,
            Self::Outside => Self::Inside,
        }
    }

    /// Its name in events.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Inside => "inside",
            Self::Outside => "outside",
        }
    }
}

/// How a packet of ours is to leave: as others of its connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Along<W> {
    /// As the last packet that went the same direction.
    Same(W),
    /// There was none yet: the reverse of how the last packet of the other direction came.
    Reverse(W),
    /// By its destination address; nothing else is known.
    Routed,
}

/// An IP packet to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emit<W> {
    /// Out of which side.
    pub to: Side,
    /// How.
    pub along: Along<W>,
    /// The packet, checksums right; perhaps longer than the way takes.
    pub packet: Vec<u8>,
}

/// Why a packet does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No rule and no expectation allows it.
    Policy,
    /// It belongs to no connection.
    NoConnection,
    /// A checksum is wrong in a control connection.
    Checksum,
    /// Headers that make no sense, overlapping fragments among them.
    Malformed,
    /// A table is full.
    Full,
    /// The source has its share of a table.
    Share,
    /// No address or port is left to translate to.
    NoPort,
    /// A rule about FTP.
    Ftp,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes to the other side, as it stands in the frame now (translated there, if at all).
    Forward,
    /// It was taken in; what goes out for it, if anything, is among the emitted.
    Taken,
    /// It does not pass. What answers it, if anything, is among the emitted.
    Refuse(Refused),
}
