//! The simulated world.

mod bulk;
mod bystander;
mod check;
mod client;
mod duel;
mod host;
mod meeting;
mod options;
pub(crate) mod second;
mod server;
mod way;
mod world;

pub(crate) use crate::router::Oversize;
pub(crate) use bulk::{Bulk, opening, scale_of};
pub(crate) use bystander::Bystander;
pub(crate) use check::{Tcp, Tcp6, segment, sum, tcp_any_of, tcp_of, tcp6_of};
pub(crate) use client::{Ctl, passive_of};
pub(crate) use duel::{Duel, EVIL};
pub(crate) use host::Host;
pub(crate) use meeting::Meeting;
pub(crate) use options::Options;
pub(crate) use second::MAC as SECOND_MAC;
pub(crate) use way::Way;
pub(crate) use world::{
    CLIENT, CLIENT6, GATEWAY, GATEWAY6, GW_MAC, Hop, PORTS, ROUTER, ROUTER_MAC, ROUTER6, SERVER, SERVER6,
    STILL, World,
};
