//! Choosing one method of each kind from what a router offers (draft-wilson-wrec-wccp-v2, 4.4 and 4.5).

use super::component::Capability;
use super::settings::{Assignment, Method, Settings};
use std::net::Ipv4Addr;

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

/// One method of each kind, each the first of our preference that the router offers; or why not. The group
/// has one way of assignment with all its routers: `agreed`, if there is another already.
pub(super) fn choose(
    settings: &Settings,
    router: Ipv4Addr,
    offered: &[Capability],
    agreed: Option<Assignment>,
) -> Result<Methods, String> {
    let offer = Offer::of(offered);
    let on_link = settings.is_on_link(router);
    let methods = |kind, preferred: &[Method], offered| {
        let possible: Vec<Method> =
            preferred.iter().copied().filter(|m| *m == Method::Gre || on_link).collect();
        if possible.is_empty() {
            return Err(format!("{kind}: we are set to L2, but the router is not on our network"));
        }
        first(kind, &possible, offered)
    };
    let forward = methods("forwarding", &settings.forward, offer.forward)?;
    let return_method = methods("return", &settings.return_method, offer.return_method)?;
    let assignment = match agreed {
        Some(agreed) if offer.assignment & agreed.bit() == 0 => {
            return Err(format!(
                "assignment: the router offers {}, the group's other routers use {}",
                names::<Assignment>(offer.assignment),
                agreed.name()
            ));
        }
        Some(agreed) => agreed,
        None => first("assignment", &settings.assignment, offer.assignment)?,
    };
    Ok(Methods { forward, return_method, assignment })
}

/// What came out otherwise than we would have liked best, for people.
pub(super) fn second_choices(settings: &Settings, methods: Methods) -> Option<String> {
    let second = [
        second("forwarding", &settings.forward, methods.forward),
        second("return", &settings.return_method, methods.return_method),
        second("assignment", &settings.assignment, methods.assignment),
    ];
    let told: Vec<String> = second.into_iter().flatten().collect();
    (!told.is_empty()).then(|| told.join("; "))
}

fn second<T: Bit + PartialEq>(kind: &str, preferred: &[T], chosen: T) -> Option<String> {
    let best = preferred.first().filter(|best| **best != chosen)?;
    Some(format!("{kind} by {}, not {}", chosen.name(), best.name()))
}

impl Methods {
    /// What a router gets that negotiates nothing.
    pub(super) const PLAIN: Self =
        Self { forward: Method::Gre, return_method: Method::Gre, assignment: Assignment::Hash };

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

impl std::fmt::Display for Methods {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { forward, return_method, assignment } = self;
        write!(
            f,
            "{} forwarding, {} return, {} assignment",
            forward.name(),
            return_method.name(),
            assignment.name()
        )
    }
}

/// A choice that has a bit and a name.
trait Bit: Copy + 'static {
    const ALL: &'static [Self];
    fn bit(self) -> u32;
    fn name(self) -> &'static str;
}

impl Bit for Method {
    const ALL: &'static [Self] = &[Self::Gre, Self::L2];
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
    const ALL: &'static [Self] = &[Self::Hash, Self::Mask];
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
        format!("{kind}: the router offers {}, we are set to {}", names::<T>(offered), ours.join(", "))
    })
}

/// The methods whose bits are set; the number if there is none that we know.
fn names<T: Bit>(bits: u32) -> String {
    let known: Vec<&str> = T::ALL.iter().filter(|m| bits & m.bit() != 0).map(|m| m.name()).collect();
    if known.is_empty() { format!("{bits:#x}") } else { known.join(", ") }
}
