//! A stateful packet filter between an inside and an outside: who may pass, under which addresses, and the FTP
//! sessions that open doors in it. IP packets in, IP packets out; how frames come and go is the engine's.

mod conn;
mod ftp;
mod icmp;
mod nat;
mod other;
mod packet;
mod pieces;
mod policy;
mod reject;
mod settings;
mod share;
mod side;
mod state;
mod table;
mod tcp;

pub use packet::{Along, Emit, Fate, Refused, Side};
pub use settings::{
    Action, Data, Filter, Forward, HELD, Limits, Masquerade, Nat, Protocol, Rule, Service, Settings,
    StaticNat, Timers,
};
pub use state::Firewall;

pub use crate::wire::Net;
