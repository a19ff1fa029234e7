//! The firewall, packet by packet: who may pass, under which addresses, and what is remembered of it. Packets are made
//! by etherparse, and their checksums checked by a sum of this test's own.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod ftp_active;
mod ftp_ccc;
mod ftp_doors;
mod ftp_full;
mod ftp_held;
mod ftp_nat;
mod ftp_net;
mod ftp_passive;
mod ftp_random;
mod ftp_resets;
mod ftp_told;
mod icmp;
mod nat;
mod pieces;
mod policy;
mod random;
mod shares;
mod support;
mod tcp;
