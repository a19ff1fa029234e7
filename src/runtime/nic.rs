//! NIC profiles: what is known about a card, and whether an interface is set up that way.

use super::os::ethtool_value;
use crate::config::NicProfileName;
use crate::event::What;
use crate::io::Attach;
use crate::io::afxdp::RING_SIZES;
use serde::Deserialize;
use std::io;
use std::path::PathBuf;

/// What is known about a kind of card. Files of this form are in `nic-profiles/`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NicProfile {
    version: u32,
    /// Its name, for people.
    pub name: String,
    /// Offloads that must be off.
    pub off: Vec<Offload>,
    /// Which XDP attachment to try.
    pub attach: AttachWish,
    /// AF_XDP ring sizes.
    pub rings: Rings,
    /// Advice for people.
    pub notes: Notes,
}

/// Descriptors in each AF_XDP ring: powers of two, see [`RING_SIZES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rings {
    /// Receive (and fill).
    pub rx: u32,
    /// Transmit (and completion).
    pub tx: u32,
}

/// Advice for people.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notes {
    /// Where the interrupts should go.
    pub irq: String,
}

/// Which XDP attachment to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttachWish {
    /// In the driver; if it cannot, generic.
    Auto,
    /// In the driver only.
    Native,
    /// In the kernel's generic path only.
    Generic,
}

impl AttachWish {
    /// The attachments to try, in order.
    pub const fn order(self) -> &'static [Attach] {
        match self {
            Self::Auto => &[Attach::Native, Attach::Generic],
            Self::Native => &[Attach::Native],
            Self::Generic => &[Attach::Generic],
        }
    }
}

/// An offload, by the name that `ethtool -K` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are ethtool's")]
pub enum Offload {
    Rx,
    Tx,
    Tso,
    Gso,
    Gro,
    Lro,
    RxVlan,
    TxVlan,
}

impl Offload {
    /// The name that `ethtool -K` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rx => "rx",
            Self::Tx => "tx",
            Self::Tso => "tso",
            Self::Gso => "gso",
            Self::Gro => "gro",
            Self::Lro => "lro",
            Self::RxVlan => "rxvlan",
            Self::TxVlan => "txvlan",
        }
    }

    /// The question to ask (linux/ethtool.h) and the bits of the answer that mean "on".
    const fn question(self) -> (u32, u32) {
        const GFLAGS: u32 = 0x25;
        match self {
            Self::Rx => (0x14, u32::MAX),
            Self::Tx => (0x16, u32::MAX),
            Self::Tso => (0x1e, u32::MAX),
            Self::Gso => (0x23, u32::MAX),
            Self::Gro => (0x2b, u32::MAX),
            Self::TxVlan => (GFLAGS, 1 << 7),
            Self::RxVlan => (GFLAGS, 1 << 8),
            Self::Lro => (GFLAGS, 1 << 15),
        }
    }

    /// Whether it is on; a driver that does not know it has it off.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn is_on(self, interface: &str) -> io::Result<bool> {
        let (question, bits) = self.question();
        Ok(ethtool_value(interface, question)?.is_some_and(|answer| answer & bits != 0))
    }
}

/// Why a NIC profile cannot be used. The text is one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}; {remedy}", file.display())]
pub struct NicProfileError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong, with the line where there is one.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl NicProfile {
    /// The profile of this name; a file is read.
    ///
    /// # Errors
    /// The file cannot be read or is no profile.
    pub fn load(name: &NicProfileName) -> Result<Self, NicProfileError> {
        match name {
            NicProfileName::Generic => {
                Self::parse(include_str!("../../nic-profiles/generic.toml"), "generic.toml".into())
            }
            NicProfileName::Veth => {
                Self::parse(include_str!("../../nic-profiles/veth.toml"), "veth.toml".into())
            }
            NicProfileName::File(path) => {
                use std::io::Read as _;
                let mut text = String::new();
                let read = std::fs::File::open(path).and_then(|f| f.take(1 << 16).read_to_string(&mut text));
                match read {
                    Ok(_) => Self::parse(&text, path.clone()),
                    Err(e) => Err(NicProfileError {
                        file: path.clone(),
                        what: format!("cannot be read: {e}"),
                        remedy: "write \"generic\", \"veth\" or a profile's path as interface.nic_profile"
                            .to_owned(),
                    }),
                }
            }
        }
    }

    fn parse(text: &str, file: PathBuf) -> Result<Self, NicProfileError> {
        let wrong = |what: String| NicProfileError {
            file: file.clone(),
            what,
            remedy: "compare it with nic-profiles/generic.toml".to_owned(),
        };
        let profile: Self = toml::from_str(text).map_err(|e| {
            let start = e.span().map_or(0, |s| s.start);
            let line = 1 + text.bytes().take(start).filter(|b| *b == b'\n').count();
            wrong(format!("line {line}: {}", e.message().replace('\n', ", ")))
        })?;
        if profile.version != 1 {
            return Err(wrong(format!("version {} is not known", profile.version)));
        }
        for size in [profile.rings.rx, profile.rings.tx] {
            if !size.is_power_of_two() || !RING_SIZES.contains(&size) {
                let (least, most) = (RING_SIZES.start(), RING_SIZES.end());
                return Err(wrong(format!("ring size {size} is no power of two from {least} to {most}")));
            }
        }
        Ok(profile)
    }

    /// The offloads that must be off and are on.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn on_but_must_be_off(&self, interface: &str) -> io::Result<Vec<Offload>> {
        let mut on = Vec::new();
        for offload in &self.off {
            if offload.is_on(interface)? {
                on.push(*offload);
            }
        }
        Ok(on)
    }
}

/// The warning that names offloads which are on, with the command that turns them off.
pub fn offload_warning(interface: &str, on: &[Offload]) -> Option<What> {
    if on.is_empty() {
        return None;
    }
    let names = on.iter().map(|o| o.name()).collect::<Vec<_>>().join(", ");
    let switches = on.iter().map(|o| format!(" {} off", o.name())).collect::<String>();
    Some(What::Warning {
        kind: "offload_on",
        subject: interface.to_owned(),
        text: format!("{interface}: {names} must be off; run `ethtool -K {interface}{switches}`"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profiles_that_come_along_are_profiles() {
        let generic = NicProfile::load(&NicProfileName::Generic).unwrap();
        assert_eq!((generic.name.as_str(), generic.attach), ("generic", AttachWish::Auto));
        assert!(generic.off.contains(&Offload::Gro));
        let veth = NicProfile::load(&NicProfileName::Veth).unwrap();
        assert!(!veth.off.contains(&Offload::Gro) && veth.off.contains(&Offload::Tx));
        assert_eq!(veth.attach.order(), [Attach::Native]);
    }

    #[test]
    fn a_bad_profile_names_its_line() {
        let good = include_str!("../../nic-profiles/generic.toml");
        let error = |from: &str, to: &str| {
            assert!(good.contains(from));
            NicProfile::parse(&good.replace(from, to), "p.toml".into()).unwrap_err().to_string()
        };
        assert_eq!(
            error("\"tso\"", "\"warp\""),
            "p.toml: line 7: unknown variant `warp`, expected one of `rx`, `tx`, `tso`, `gso`, `gro`, `lro`, \
             `rxvlan`, `txvlan`; compare it with nic-profiles/generic.toml"
        );
        assert_eq!(
            error("rx = 2048", "rx = 2000"),
            "p.toml: ring size 2000 is no power of two from 64 to 32768; compare it with nic-profiles/generic.toml"
        );
        assert!(
            error("rx = 2048", "rx = 65536").contains("ring size 65536 is no power of two from 64 to 32768")
        );
        assert_eq!(
            error("version = 1", "version = 2"),
            "p.toml: version 2 is not known; compare it with nic-profiles/generic.toml"
        );
    }

    #[test]
    fn the_warning_holds_the_command() {
        let Some(What::Warning { kind, subject, text }) =
            offload_warning("eth1", &[Offload::Tso, Offload::RxVlan])
        else {
            panic!("no warning")
        };
        assert_eq!((kind, subject.as_str()), ("offload_on", "eth1"));
        assert_eq!(text, "eth1: tso, rxvlan must be off; run `ethtool -K eth1 tso off rxvlan off`");
        assert_eq!(offload_warning("eth1", &[]), None);
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        let generic = NicProfile::load(&NicProfileName::Generic).unwrap();
        assert!(generic.on_but_must_be_off("no-such-if").is_err());
        assert!(generic.on_but_must_be_off("lo").is_ok());
    }
}
