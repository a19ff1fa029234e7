//! The pure core of a worker: frames and the time in, frames and events out.
//!
//! ```text
//!  rx ─ parse ─ to us? ─┬─ ARP, ping, WCCP ─────────────────────────────▶ answer
//!                       ├─ GRE from a router ─ inner packet ─┬─ flow hit ─▶ rewrite, forward
//!                       └─ TCP to our address ───────────────┤─ session ──▶ its stack
//!                                                            ├─ SYN ──────▶ data connection, new session
//!                                                            └─ not ours ─▶ back to the router, header echoed
//! ```
//! [`Engine::turn`] is a function of the engine's state and its [`Turn`]: no clock, no socket, no chance.

mod back;
mod classify;
mod drops;
mod errors;
mod guard;
mod handoff;
mod icmp;
mod inspect;
mod link;
mod local;
mod neighbour;
mod origin;
mod place;
mod routers;
mod settings;
mod state;
mod transit;
mod turn;

pub use drops::{DropReason, Drops};
pub use handoff::Item;
pub use origin::Origin;
pub use place::Engine;
pub use routers::Router;
pub use settings::{
    Control, InspectSettings, Interface, Net, Place, RedirectedSettings, Route, Settings, Transit,
    TransitSettings,
};
pub use turn::{Turn, Tx};
