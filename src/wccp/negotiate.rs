//! Choosing one method of each kind from what a router offers (draft-wilson-wrec-wccp-v2, 4.4 and 4.5).

use super::component::Capability;
use super::settings::{Assignment, Method, Settings};

/// What was agreed with one router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Methods {
    /// How redirected packets come.
    pub forward: Method,
    /// How declined packets go back.
    pub return_method: Method,
    /// How packets are shared out.
    pub assignment: Assignment,
}

/// The bits of GRE or hash: what a router offers that says nothing.
const DEFAULT: u32 = 1;

/// One method of each kind, each the first of our preference that the router offers; or why not.
pub(super) fn choose(settings: &Settings, offered: &[Capability]) -> Result<Methods, String> {
    let offer = Offer::of(offered);
    Ok(Methods {
        forward: first("forwarding", &settings.forward, offer.forward)?,
        return_method: first("return", &settings.return_method, offer.return_method)?,
        assignment: first("assignment", &settings.assignment, offer.assignment)?,
    })
}

impl Methods {
    /// Whether a router's offer still contains what was agreed.
    pub(super) fn are_in(&self, offered: &[Capability]) -> bool {
        let offer = Offer::of(offered);
        offer.forward & self.forward.bit() != 0
            && offer.return_method & self.return_method.bit() != 0
            && offer.assignment & self.assignment.bit() != 0
    }

    /// Our answer: exactly one bit each.
    pub(super) fn capabilities(&self) -> Vec<Capability> {
        vec![
            Capability::Forward(self.forward.bit()),
            Capability::Assignment(self.assignment.bit()),
            Capability::Return(self.return_method.bit()),
        ]
    }
}

/// A router's three sets of bits.
struct Offer {
    forward: u32,
    return_method: u32,
    assignment: u32,
}

impl Offer {
    fn of(capabilities: &[Capability]) -> Self {
        let mut offer = Self { forward: DEFAULT, return_method: DEFAULT, assignment: DEFAULT };
        for capability in capabilities {
            match capability {
                Capability::Forward(bits) => offer.forward = *bits,
                Capability::Assignment(bits) => offer.assignment = *bits,
                Capability::Return(bits) => offer.return_method = *bits,
                Capability::Other { .. } => {}
            }
        }
        offer
    }
}

/// A choice that has a bit and a name.
trait Bit: Copy {
    fn bit(self) -> u32;
    fn name(self) -> &'static str;
}

impl Bit for Method {
    fn bit(self) -> u32 {
        match self {
            Self::Gre => 1,
            Self::L2 => 2,
        }
    }
    fn name(self) -> &'static str {
        match self {
            Self::Gre => "GRE",
            Self::L2 => "L2",
        }
    }
}

impl Bit for Assignment {
    fn bit(self) -> u32 {
        match self {
            Self::Hash => 1,
            Self::Mask => 2,
        }
    }
    fn name(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Mask => "mask",
        }
    }
}

fn first<T: Bit>(kind: &str, preferred: &[T], offered: u32) -> Result<T, String> {
    preferred.iter().copied().find(|choice| offered & choice.bit() != 0).ok_or_else(|| {
        let ours: Vec<&str> = preferred.iter().map(|choice| choice.name()).collect();
        format!("{kind}: the router offers {offered:#x}, we are set to {}", ours.join(", "))
    })
}
