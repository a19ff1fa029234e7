//! One turn as a line of the log.

use crate::engine::{Control, Item, Origin, Router};
use crate::event::{Event, What};
use crate::time::Instant;
use crate::wire::eth;
use crate::wire::gre::Redirect;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// What one turn was made of and what came of it; frames and events stand in files of their own, in order,
/// and only their numbers here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TurnLine {
    /// Counted from 1.
    pub(super) turn: u64,
    /// Nanoseconds on the worker's clock.
    pub(super) now: u64,
    /// Frames received, for each interface.
    #[serde(rename = "in")]
    pub(super) rx: Vec<usize>,
    /// Frames that could be sent, for each interface.
    pub(super) slots: Vec<usize>,
    /// Empty frames at hand, for each interface.
    pub(super) spare: Vec<usize>,
    /// Frames sent, for each interface.
    pub(super) out: Vec<usize>,
    /// Events told.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) events: usize,
    /// The operator's wishes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) control: Vec<ControlWord>,
    /// What came from other workers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) handoff: Vec<HandoffLine>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(b: &bool) -> bool {
    !b
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ControlWord {
    Drain,
    Leave,
}

impl From<Control> for ControlWord {
    fn from(control: Control) -> Self {
        match control {
            Control::Drain => Self::Drain,
            Control::Leave => Self::Leave,
        }
    }
}

impl From<ControlWord> for Control {
    fn from(word: ControlWord) -> Self {
        match word {
            ControlWord::Drain => Self::Drain,
            ControlWord::Leave => Self::Leave,
        }
    }
}

/// What another worker handed over; bytes are written as hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum HandoffLine {
    Packet {
        interface: usize,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        router: Option<Ipv4Addr>,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        redirect: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        l2: String,
        #[serde(default, skip_serializing_if = "String::is_empty", rename = "static")]
        policy: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        tags: String,
        packet: String,
    },
    Neighbour {
        interface: usize,
        bytes: String,
    },
    Router {
        address: Ipv4Addr,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<Ipv4Addr>,
        #[serde(default, skip_serializing_if = "is_false")]
        forward_l2: bool,
        #[serde(default, skip_serializing_if = "is_false")]
        return_l2: bool,
    },
}

impl HandoffLine {
    pub(super) fn new(item: &Item) -> Self {
        match item {
            Item::Packet { interface, origin, tags, packet } => {
                let (mut from, mut redirect, mut l2, mut policy) = (None, "".into(), "".into(), "".into());
                match origin {
                    None => {}
                    Some(Origin::Gre { router, redirect: header }) => {
                        (from, redirect) = (Some(*router), hex(&header.0));
                    }
                    Some(Origin::L2 { router }) => l2 = hex(router),
                    Some(Origin::Static { from }) => policy = hex(from),
                }
                let (interface, tags, packet) = (*interface, hex(tags.bytes()), hex(packet));
                Self::Packet { interface, router: from, redirect, l2, policy, tags, packet }
            }
            Item::Neighbour { interface, bytes } => {
                Self::Neighbour { interface: *interface, bytes: hex(bytes) }
            }
            Item::Router(r) => Self::Router {
                address: r.address,
                id: r.id,
                forward_l2: r.forward_l2,
                return_l2: r.return_l2,
            },
        }
    }

    /// What it was; `None` if the line does not say it.
    pub(super) fn item(&self) -> Option<Item> {
        Some(match self {
            Self::Packet { interface, router, redirect, l2, policy, tags, packet } => {
                let origin = match (router, redirect.as_str(), l2.as_str(), policy.as_str()) {
                    (None, "", "", "") => None,
                    (Some(router), redirect, "", "") => {
                        let redirect = Redirect(unhex(redirect)?.try_into().ok()?);
                        Some(Origin::Gre { router: *router, redirect })
                    }
                    (None, "", l2, "") => Some(Origin::L2 { router: unhex(l2)?.try_into().ok()? }),
                    (None, "", "", from) => Some(Origin::Static { from: unhex(from)?.try_into().ok()? }),
                    _ => return None,
                };
                // The tags of a frame that has just these.
                let mut frame = vec![0; 12];
                frame.extend(unhex(tags)?);
                frame.extend(eth::TYPE_IPV4.to_be_bytes());
                let l2 = eth::parse(&frame).filter(|l2| l2.len == frame.len())?;
                let (tags, packet) = (eth::tags(&frame, l2), unhex(packet)?);
                Item::Packet { interface: *interface, origin, tags, packet }
            }
            Self::Neighbour { interface, bytes } => {
                Item::Neighbour { interface: *interface, bytes: unhex(bytes)? }
            }
            &Self::Router { address, id, forward_l2, return_l2 } => {
                Item::Router(Router { address, id, forward_l2, return_l2 })
            }
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |b: u8| char::from(b).to_digit(16);
    let byte = |p: &[u8; 2]| Some((digit(p[0])? * 16 + digit(p[1])?) as u8);
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

/// The line of an event: as in an event file, without the time of day.
pub(super) fn event_line(turn: u64, event: &Event) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        turn: u64,
        at_ns: u64,
        #[serde(flatten)]
        what: &'a What,
    }
    let line = Line { turn, at_ns: event.at.as_nanos(), what: &event.what };
    // Only a map with keys that are no strings could fail, and there is none.
    serde_json::to_string(&line).unwrap_or_default()
}

impl TurnLine {
    pub(super) fn now(&self) -> Instant {
        Instant::from_nanos(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::eth::Tags;

    #[test]
    fn what_another_worker_handed_over_survives_the_line() {
        let frame = [&[0; 12][..], &[0x81, 0, 0, 7, 8, 0]].concat();
        let tags = eth::tags(&frame, eth::parse(&frame).unwrap());
        let router = Ipv4Addr::new(10, 9, 0, 1);
        let packet = vec![0x45, 0, 0xff];
        for item in [
            Item::Packet {
                interface: 0,
                origin: Some(Origin::Gre { router, redirect: Redirect([1, 61, 2, 3]) }),
                tags,
                packet: packet.clone(),
            },
            Item::Packet {
                interface: 0,
                origin: Some(Origin::L2 { router: [2, 0, 0, 0, 9, 1] }),
                tags,
                packet: packet.clone(),
            },
            Item::Packet {
                interface: 0,
                origin: Some(Origin::Static { from: [2, 0, 0, 0, 9, 1] }),
                tags,
                packet: packet.clone(),
            },
            Item::Packet { interface: 1, origin: None, tags: Tags::default(), packet: packet.clone() },
            Item::Neighbour { interface: 2, bytes: packet },
            Item::Router(Router {
                address: router,
                id: Some(Ipv4Addr::new(10, 1, 0, 1)),
                forward_l2: true,
                return_l2: false,
            }),
        ] {
            let text = serde_json::to_string(&HandoffLine::new(&item)).unwrap();
            let line: HandoffLine = serde_json::from_str(&text).unwrap();
            assert_eq!(line.item(), Some(item), "{text}");
        }
        for bad in [
            r#"{"kind":"packet","interface":0,"packet":"4"}"#,
            r#"{"kind":"packet","interface":0,"packet":"4g"}"#,
            r#"{"kind":"packet","interface":0,"packet":"45","tags":"81"}"#,
            r#"{"kind":"packet","interface":0,"packet":"45","router":"10.9.0.1"}"#,
            r#"{"kind":"packet","interface":0,"packet":"45","l2":"0200"}"#,
            r#"{"kind":"packet","interface":0,"packet":"45","l2":"020000000901","static":"020000000901"}"#,
            r#"{"kind":"neighbour","interface":0,"bytes":"4"}"#,
        ] {
            assert_eq!(serde_json::from_str::<HandoffLine>(bad).unwrap().item(), None, "{bad}");
        }
    }
}
