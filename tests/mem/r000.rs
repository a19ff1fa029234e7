//! The WCCP appliance of requirement set R000, point by point.

use crate::support::*;
use std::net::SocketAddrV4;

#[test]
fn r000_1_the_server_answers_the_syn_and_the_gateway_is_nowhere_to_be_seen() {
    let mut w = World::new(Options::default());
    w.watch();
    let mut c = w.login(0, 5001);
    let listing = w.fetch(&mut c, "PASV", "LIST");
    assert!(listing.is_empty());
    let to_client = w.segments(Hop::ToHost(0));
    let first = &to_client[0];
    assert_eq!((first.src, first.dst, first.flags), (SocketAddrV4::new(SERVER, 21), SocketAddrV4::new(CLIENT, 5001), 0x12));
    assert!(to_client.iter().all(|t| *t.src.ip() == SERVER), "another address than the server's");
    for (hop, packet) in w.seen.as_ref().unwrap() {
        if *hop == Hop::ToHost(0) {
            assert!(packet[12..16] != GATEWAY.octets() && packet[16..20] != GATEWAY.octets());
        }
    }
    // All that the client sent came by GRE.
    assert!(w.segments(Hop::ToGateway).iter().all(|t| *t.src.ip() == SERVER));
}
