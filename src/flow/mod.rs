//! Flows and what belongs to them: the shared table, timers, ports, expectations, steering.
//!
//! ```text
//!  frame ─▶ key ─▶ table ─┬─ hit, translate ─▶ rewrite, touch ─▶ out      any worker
//!                         ├─ hit, session ───▶ its owner
//!                         └─ miss ─┬─ expect: an announced data connection
//!                                  └─ steer: a port of the group's own list    its owner
//! ```
//!
//! The table is shared by all workers; everything else here belongs to one worker and is sans-IO: `now` is
//! an argument, what is due is asked for.

pub mod entry;
pub mod expect;
pub mod key;
pub mod ports;
pub mod prefetch;
pub mod rewrite;
mod share;
mod slab;
mod slots;
pub mod steer;
mod sync;
pub mod table;
pub mod wheel;

pub use entry::{Action, ByteMeter, Entry, Flags, FlowView, Live, Sticky};
pub use expect::{ExpectError, ExpectKey, ExpectStats, Expectations, Expected};
pub use key::{FlowKey, KeyHasher, KeyV4, KeyV6, Leg, Salted, owner};
pub use ports::{PortAllocator, PortStats, Remote};
pub use rewrite::{Rewrite, RewriteV4, RewriteV6};
pub use share::Shares;
pub use slab::Slab;
pub use steer::{Announced, Pair, SteerConfig, SteerEvent, SteerStats, SteerSyn, Steering};
pub use table::{FlowTable, InsertError, Lookup, SlotRef, SweepCursor, Swept, TableStats, Verdict};
pub use wheel::{TimerId, Wheel};
