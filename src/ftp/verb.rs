//! FTP's verbs and what is known about each.

use crate::event::Direction;

/// Longest verb that counts as one, in bytes.
pub const MAX_LEN: usize = 8;

macro_rules! verbs {
    ($($(#[$doc:meta])* $name:ident = $text:literal $(| $synonym:literal)*;)*) => {
        /// A verb that a gateway must know, and every other.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Verb {
            $($(#[$doc])* $name,)*
            /// Any other verb; never one that opens a data connection.
            Other,
        }

        impl Verb {
            /// Classifies `text`, whatever its case. RFC 775's synonyms (XCWD…) give the base verb.
            #[must_use]
            pub fn of(text: &[u8]) -> Self {
                let mut upper = [0; MAX_LEN];
                let Some(upper) = upper.get_mut(..text.len()) else { return Self::Other };
                upper.copy_from_slice(text);
                upper.make_ascii_uppercase();
                match core::str::from_utf8(upper) {
                    $(Ok($text $(| $synonym)*) => Self::$name,)*
                    _ => Self::Other,
                }
            }

            /// The verb in its canonical spelling; empty for [`Verb::Other`].
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Other => "",
                }
            }

            /// Every verb but [`Verb::Other`].
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

verbs! {
    /// User name (RFC 959).
    User = "USER";
    /// Password (RFC 959).
    Pass = "PASS";
    /// Account (RFC 959).
    Acct = "ACCT";
    /// Change directory (RFC 959).
    Cwd = "CWD" | "XCWD";
    /// Change to the parent (RFC 959).
    Cdup = "CDUP" | "XCUP";
    /// Structure mount (RFC 959).
    Smnt = "SMNT";
    /// Log out, back to the state after the greeting (RFC 959).
    Rein = "REIN";
    /// Log out and close (RFC 959).
    Quit = "QUIT";
    /// Data port, IPv4 (RFC 959).
    Port = "PORT";
    /// Passive mode, IPv4 (RFC 959).
    Pasv = "PASV";
    /// Data port, any family (RFC 2428).
    Eprt = "EPRT";
    /// Passive mode, any family (RFC 2428).
    Epsv = "EPSV";
    /// Data port, long form (RFC 1639).
    Lprt = "LPRT";
    /// Passive mode, long form (RFC 1639).
    Lpsv = "LPSV";
    /// Representation type (RFC 959).
    Type = "TYPE";
    /// File structure (RFC 959).
    Stru = "STRU";
    /// Transfer mode (RFC 959).
    Mode = "MODE";
    /// Retrieve a file (RFC 959).
    Retr = "RETR";
    /// Store a file (RFC 959).
    Stor = "STOR";
    /// Store under a name of the server's choice (RFC 959).
    Stou = "STOU";
    /// Append to a file (RFC 959).
    Appe = "APPE";
    /// Reserve space (RFC 959).
    Allo = "ALLO";
    /// Restart marker or offset (RFC 959, RFC 3659).
    Rest = "REST";
    /// Rename from (RFC 959).
    Rnfr = "RNFR";
    /// Rename to (RFC 959).
    Rnto = "RNTO";
    /// Abort the transfer (RFC 959).
    Abor = "ABOR";
    /// Delete a file (RFC 959).
    Dele = "DELE";
    /// Remove a directory (RFC 959).
    Rmd = "RMD" | "XRMD";
    /// Make a directory (RFC 959).
    Mkd = "MKD" | "XMKD";
    /// Print the directory (RFC 959).
    Pwd = "PWD" | "XPWD";
    /// List for people (RFC 959).
    List = "LIST";
    /// List of names (RFC 959).
    Nlst = "NLST";
    /// Server's own commands (RFC 959).
    Site = "SITE";
    /// Operating system (RFC 959).
    Syst = "SYST";
    /// Status, also during a transfer (RFC 959).
    Stat = "STAT";
    /// Help (RFC 959).
    Help = "HELP";
    /// Nothing (RFC 959).
    Noop = "NOOP";
    /// Features (RFC 2389).
    Feat = "FEAT";
    /// Options of a feature (RFC 2389).
    Opts = "OPTS";
    /// Language of the replies (RFC 2640).
    Lang = "LANG";
    /// Virtual host (RFC 7151).
    Host = "HOST";
    /// Time of last change (RFC 3659).
    Mdtm = "MDTM";
    /// Size as it would be transferred (RFC 3659).
    Size = "SIZE";
    /// Facts about one entry, on the control connection (RFC 3659).
    Mlst = "MLST";
    /// Facts about a directory's entries, on a data connection (RFC 3659).
    Mlsd = "MLSD";
    /// Security mechanism (RFC 2228).
    Auth = "AUTH";
    /// Security data (RFC 2228).
    Adat = "ADAT";
    /// Protection buffer size (RFC 2228).
    Pbsz = "PBSZ";
    /// Data protection level (RFC 2228).
    Prot = "PROT";
    /// Clear command channel (RFC 2228).
    Ccc = "CCC";
    /// Integrity protected command (RFC 2228).
    Mic = "MIC";
    /// Confidential command (RFC 2228).
    Conf = "CONF";
    /// Private command (RFC 2228).
    Enc = "ENC";
    /// Which side of a server-to-server transfer starts TLS (an extension).
    Sscn = "SSCN";
    /// Passive mode for a server-to-server transfer with TLS (an extension).
    Cpsv = "CPSV";
    /// Announces the transfer before PASV, for distributed servers (an extension).
    Pret = "PRET";
    /// The client's name (an extension).
    Clnt = "CLNT";
    /// The client's name, as a list of facts (an extension).
    Csid = "CSID";
    /// Set the time of last change (an extension).
    Mfmt = "MFMT";
    /// Set facts (an extension).
    Mff = "MFF";
    /// Hash of a file (an extension).
    Hash = "HASH";
    /// CRC of a file (an extension).
    Xcrc = "XCRC";
    /// Range of the next transfer (an extension).
    Rang = "RANG";
    /// Free space (an extension).
    Avbl = "AVBL";
    /// Join files at the server (an extension).
    Comb = "COMB";
}

impl Verb {
    /// Which way its data connection carries the payload; `None` when it uses none.
    #[must_use]
    pub const fn direction(self) -> Option<Direction> {
        match self {
            Self::Retr | Self::List | Self::Nlst | Self::Mlsd => Some(Direction::Download),
            Self::Stor | Self::Stou | Self::Appe => Some(Direction::Upload),
            _ => None,
        }
    }

    /// True when it uses a data connection.
    #[must_use]
    pub const fn is_transfer(self) -> bool {
        self.direction().is_some()
    }

    /// True when it announces a data connection, or asks for one to be announced.
    #[must_use]
    pub const fn is_data_setup(self) -> bool {
        self.is_active_setup() || self.is_passive_setup()
    }

    /// True when the client announces where it listens.
    #[must_use]
    pub const fn is_active_setup(self) -> bool {
        matches!(self, Self::Port | Self::Eprt | Self::Lprt)
    }

    /// True when the client asks where the server listens.
    #[must_use]
    pub const fn is_passive_setup(self) -> bool {
        matches!(self, Self::Pasv | Self::Epsv | Self::Lpsv | Self::Cpsv)
    }

    /// True when the argument must not be logged. Protected commands (RFC 2228) may hold a password: MIC
    /// is no more than an encoding.
    #[must_use]
    pub const fn is_secret(self) -> bool {
        matches!(self, Self::Pass | Self::Acct | Self::Adat | Self::Mic | Self::Conf | Self::Enc)
    }

    /// True when `code` is a completing reply of its own to this verb: one by which an answer out of order
    /// can be told from the answers to its neighbours. Refusals that any verb can get do not count, but for
    /// the verbs that are answered in the middle of a transfer (RFC 959 section 5.4, RFC 3659, RFC 2428).
    #[must_use]
    pub const fn is_own_completion(self, code: u16) -> bool {
        match self {
            Self::User | Self::Pass | Self::Acct => matches!(code, 202 | 230 | 232 | 331 | 332 | 530),
            Self::Cwd | Self::Cdup | Self::Dele | Self::Rmd | Self::Rnto => matches!(code, 200 | 250 | 550),
            Self::Mkd | Self::Pwd => matches!(code, 257 | 550),
            Self::Port | Self::Eprt | Self::Lprt => code == 200,
            Self::Pasv | Self::Epsv | Self::Lpsv | Self::Cpsv => matches!(code, 227..=229),
            Self::Rnfr | Self::Rest => matches!(code, 350 | 550),
            Self::Size | Self::Mdtm => matches!(code, 213 | 550),
            Self::Type | Self::Stru | Self::Mode | Self::Opts | Self::Pbsz | Self::Prot => code == 200,
            Self::Quit => code == 221,
            Self::Syst => code == 215,
            Self::Help => matches!(code, 211 | 214),
            Self::Feat => code == 211,
            Self::Mlst => matches!(code, 250 | 550),
            Self::Auth => matches!(code, 234 | 334),
            Self::Noop => matches!(code, 200 | 500..=503),
            Self::Stat => matches!(code, 211..=213 | 500..=504),
            Self::Abor => matches!(code, 225 | 226 | 500..=502),
            _ if self.is_transfer() => {
                matches!(code, 226 | 250 | 425 | 426 | 450..=452 | 521 | 522 | 550..=553)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_classifies_as_itself_in_any_case() {
        for &verb in Verb::ALL {
            assert_eq!(Verb::of(verb.name().as_bytes()), verb);
            assert_eq!(Verb::of(verb.name().to_lowercase().as_bytes()), verb);
            assert!(verb.name().len() <= MAX_LEN);
        }
        for (synonym, base) in [
            ("XCWD", Verb::Cwd),
            ("xpwd", Verb::Pwd),
            ("XMKD", Verb::Mkd),
            ("XRMD", Verb::Rmd),
            ("XCUP", Verb::Cdup),
        ] {
            assert_eq!(Verb::of(synonym.as_bytes()), base);
        }
    }

    #[test]
    fn near_misses_are_other() {
        for text in [&b""[..], b"PORTX", b"POR", b"PORT\0", b"RETR\xff", b"ABCDEFGHI", "ſIZE".as_bytes()] {
            assert_eq!(Verb::of(text), Verb::Other);
        }
        assert!(!Verb::Other.is_transfer() && !Verb::Other.is_data_setup());
    }

    #[test]
    fn verbs_without_data_are_no_transfers() {
        for verb in [Verb::Mlst, Verb::Stat, Verb::Size, Verb::Mdtm, Verb::Rest, Verb::Allo, Verb::Abor] {
            assert!(!verb.is_transfer());
        }
        assert_eq!(Verb::Appe.direction(), Some(Direction::Upload));
        assert_eq!(Verb::Mlsd.direction(), Some(Direction::Download));
    }
}
