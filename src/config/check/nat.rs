//! Address translation: what fits the outside interface, and each other.

use crate::config::checked::{Interface, Masquerade, Nat, PortForward};
use crate::config::raw::RawNat;
use crate::config::reader::Source;

pub(super) fn nat(source: &Source<'_>, raw: RawNat, outside: Option<&Interface>) -> Nat {
    let own = outside.and_then(|i| i.v4).map(|n| n.address);
    let masquerade = raw.masquerade.and_then(|m| {
        if m.address.or(own).is_none() && outside.is_some() {
            let what = "the outside interface has no IPv4 address";
            source.error(
                &m.place,
                what,
                "give it one, or write the address, as masquerade = \"203.0.113.10\"",
            );
        }
        Some(Masquerade { address: m.address.or(own)?, sources: m.sources, ports: m.ports })
    });
    let mut nat = Nat { masquerade, ..Nat::default() };
    for s in raw.one_to_one {
        let (inside, outside) = (s.value.inside, s.value.outside);
        if nat.one_to_one.iter().any(|o| o.inside == inside || o.outside == outside) {
            let what = format!("{inside} or {outside} is translated already");
            source.error(&s.place, what, "list each address once");
        }
        let many = nat.masquerade.as_ref().map(|m| m.address);
        if Some(outside) == own || Some(outside) == many {
            let what = format!("{outside} stands for others already");
            let remedy = "give the host an outside address of its own, or write [[nat.forward]]";
            source.error(&s.place, what, remedy);
        }
        nat.one_to_one.push(s.value);
    }
    for f in raw.forwards {
        let same = |o: &&PortForward| o.protocol == f.value.protocol && o.outside == f.value.outside;
        if let Some(other) = nat.forwards.iter().find(same) {
            let what = format!("{} leads to {} already", f.value.outside, other.inside);
            source.error(&f.place, what, "list each port once");
        }
        if nat.one_to_one.iter().any(|o| o.outside == *f.value.outside.ip()) {
            let what = format!("all ports of {} lead inside by [[nat.static]]", f.value.outside.ip());
            source.error(&f.place, what, "take one of the two out");
        }
        nat.forwards.push(f.value);
    }
    nat
}
