//! The whole engine in memory: hosts with TCP stacks of their own, a router that speaks WCCP, and frames
//! between them on a virtual clock.
//!
//! ```text
//!  clients 10.0.0.x ── leg 0 ─┐                ┌─ leg 1 ── server 10.1.0.10
//!                             └── router ──────┘
//!                                   │ leg 2
//!                              engine(s) 10.9.0.2
//! ```
//!
//! The router is the lab's, which is written apart from the library. Every frame that an engine sends is
//! checked by an independent parser.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

// The lab router names its own modules from the root of its crate.
macro_rules! router_modules {
    ($($name:ident = $path:literal;)*) => {
        $(
            #[path = $path]
            #[allow(dead_code, unreachable_pub, unused_imports, reason = "tests need a part of the router")]
            mod $name;
        )*
    };
}
router_modules! {
    arp = "../../src/bin/wccp-router/arp.rs";
    frag = "../../src/bin/wccp-router/frag.rs";
    gre = "../../src/bin/wccp-router/gre.rs";
    ipv6 = "../../src/bin/wccp-router/ipv6.rs";
    outbox = "../../src/bin/wccp-router/outbox.rs";
    packet = "../../src/bin/wccp-router/packet.rs";
    policy = "../../src/bin/wccp-router/policy.rs";
    router = "../../src/bin/wccp-router/router.rs";
    wccp = "../../src/bin/wccp-router/wccp/mod.rs";
}

mod support;

mod control;
mod data;
mod fail_open;
mod garbage;
mod half;
mod ipv6_sessions;
mod ipv6_wire;
mod local;
mod modes;
mod mtu;
mod opaque;
mod r000;
mod routers;
mod steering;
mod ways;
mod wccp_long;
mod workers;
