//! The simulated world.

mod bystander;
mod check;
mod client;
mod host;
mod server;
mod way;
mod world;

pub(crate) use crate::router::Oversize;
pub(crate) use bystander::Bystander;
pub(crate) use check::{sum, tcp_of};
pub(crate) use client::Ctl;
pub(crate) use way::Way;
pub(crate) use world::{
    CLIENT, GATEWAY, GW_MAC, Hop, Options, PORTS, ROUTER, ROUTER_MAC, SERVER, Tcp, World, segment,
};
