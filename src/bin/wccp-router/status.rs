//! The router's state as a JSON file, for scripts and people.

use crate::impair::ImpairStats;
use crate::leg::LegStats;
use crate::policy::Policy;
use crate::router::Router;
use crate::wccp::Group;
use crate::wccp::codec::MASK;
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::path::Path;
use tidegate::time::Instant;

/// The whole state.
pub fn render(
    router: &Router,
    legs: &[LegStats],
    lines: &[Option<ImpairStats>],
    overflow: u64,
    now: Instant,
) -> Value {
    let legs: Vec<_> = router
        .legs()
        .iter()
        .zip(legs)
        .zip(lines)
        .map(|((conf, s), line)| {
            json!({
                "name": conf.name, "address": conf.address.to_string(), "mtu": conf.mtu,
                "address6": conf.v6.map(|(addr, _)| addr.to_string()),
                "rx_frames": s.rx_frames, "rx_bytes": s.rx_bytes, "rx_tagged": s.rx_tagged,
                "rx_oversize": s.rx_oversize,
                "tx_frames": s.tx_frames, "tx_bytes": s.tx_bytes, "tx_lost": s.tx_lost,
                "impaired": line,
            })
        })
        .collect();
    json!({
        "uptime_ms": now.as_millis(),
        "counters": router.counters,
        "batch_overflow": overflow,
        "wccp_malformed": router.wccp.malformed,
        "wccp_unknown_service": router.wccp.unknown_service,
        "legs": legs,
        "policies": router.policies.0.iter().map(|p| policy(p, now)).collect::<Vec<_>>(),
        "groups": router.wccp.groups().iter().map(group).collect::<Vec<_>>(),
    })
}

/// Replaces the file at once, so that a reader never sees half of it.
///
/// # Errors
/// The directory cannot be written.
pub fn write(path: &Path, value: &Value) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    fs::write(&fresh, format!("{value:#}\n"))?;
    fs::rename(&fresh, path)
}

fn policy(p: &Policy, now: Instant) -> Value {
    json!({ "next_hop": p.rule.next_hop.to_string(), "alive": p.alive(now), "counters": p.stats })
}

fn group(g: &Group) -> Value {
    let caches: Vec<_> = g
        .caches()
        .iter()
        .map(|c| {
            let (assigned, of) = g.table().map_or((0, 0), |t| t.share(c.addr));
            let by_mask = c.methods.assignment == MASK;
            // By hash all is 256 buckets; by mask as many values as were dealt.
            json!({
                "address": c.addr.to_string(), "state": c.state,
                "buckets": if by_mask { 0 } else { assigned },
                "assignment": if by_mask { "mask" } else { "hash" },
                "assigned": assigned, "of": of,
                "forward": if c.methods.forward == 2 { "l2" } else { "gre" },
                "return": if c.methods.packet_return == 2 { "l2" } else { "gre" },
            })
        })
        .collect();
    let (designated, number) = g.assignment_key();
    json!({
        "id": g.conf.key.id,
        "kind": if g.conf.key.kind == 0 { "standard" } else { "dynamic" },
        "ports": g.service().map(|s| s.ports().collect::<Vec<_>>()),
        "flags": g.service().map(|s| s.flags()),
        "priority": g.service().map(|s| s.priority()),
        "member_change": g.member_change(),
        "assignment_key": { "cache": designated.to_string(), "change": number },
        "assigned": g.table().is_some(),
        "caches": caches,
        "counters": g.stats,
    })
}
