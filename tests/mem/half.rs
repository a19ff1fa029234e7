//! Half-open connections: what the server says reaches the client, and a flood costs little.

use crate::support::*;
use std::net::{Ipv4Addr, SocketAddrV4};
use tidegate::time::Duration;
use tidegate::wire::icmp;

/// A client and a server without stacks: what they get are strays.
const C: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 77), 4000);
const S: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 99), 21);

/// TCP segments that came for hosts without a stack, by leg; they are taken out.
fn taken(w: &mut World) -> (Vec<Tcp>, Vec<Tcp>) {
    let of =
        |w: &World, leg| w.strays.iter().filter(|(l, _)| *l == leg).filter_map(|(_, p)| tcp_of(p)).collect();
    let both = (of(w, 0), of(w, 1));
    w.strays.clear();
    both
}

/// The client's SYN; our SYN at the server.
fn syn(w: &mut World) -> Tcp {
    w.host_sends(0, &segment(C, S, 1000, 0, 2));
    w.settle();
    let (client, mut server) = taken(w);
    assert!(client.is_empty(), "answered before the server has: {client:?}");
    assert_eq!(server.len(), 1);
    server.remove(0)
}

#[test]
fn the_last_ack_toward_the_server_waits_for_the_clients() {
    let mut w = World::new(Options::default());
    let ours = syn(&mut w);
    assert_eq!((*ours.src.ip(), ours.dst, ours.flags), (GATEWAY, S, 2));
    w.host_sends(1, &segment(S, ours.src, 70_000, ours.seq.wrapping_add(1), 0x12));
    w.settle();
    let (client, server) = taken(&mut w);
    assert!(server.is_empty(), "{server:?}");
    assert_eq!((client.len(), client[0].flags, client[0].ack, client[0].src), (1, 0x12, 1001, S));
    assert!(client[0].seq != 70_000);
    w.pass(Duration::from_secs(1));
    assert!(taken(&mut w).1.is_empty());
    w.host_sends(0, &segment(C, S, 1001, client[0].seq.wrapping_add(1), 0x10));
    w.settle();
    let (_, server) = taken(&mut w);
    assert_eq!((server.len(), server[0].flags, server[0].ack), (1, 0x10, 70_001));
    assert_eq!((server[0].seq, w.sessions()), (ours.seq.wrapping_add(1), 1));
}

#[test]
fn a_repeated_syn_is_repeated_and_a_repeated_syn_ack_as_well() {
    let mut w = World::new(Options::default());
    let ours = syn(&mut w);
    assert_eq!(syn(&mut w), ours);
    for _ in 0..2 {
        w.host_sends(1, &segment(S, ours.src, 70_000, ours.seq.wrapping_add(1), 0x12));
        w.settle();
    }
    let (client, server) = taken(&mut w);
    assert!(client.len() == 2 && client[0] == client[1] && server.is_empty());
    w.host_sends(0, &segment(C, S, 1000, 0, 2));
    w.settle();
    assert_eq!(taken(&mut w), (vec![client[0].clone()], vec![]));
    assert_eq!(w.remains().0, 1);
}

#[test]
fn a_servers_reset_is_the_clients_reset() {
    let mut w = World::new(Options::default());
    let ours = syn(&mut w);
    // One that acknowledges what we never sent is nobody's.
    w.host_sends(1, &segment(S, ours.src, 0, ours.seq, 0x14));
    w.settle();
    assert_eq!((taken(&mut w).0, w.remains().0), (vec![], 1));
    w.host_sends(1, &segment(S, ours.src, 0, ours.seq.wrapping_add(1), 0x14));
    w.settle();
    let (client, _) = taken(&mut w);
    assert_eq!((client.len(), client[0].src, client[0].flags, client[0].ack), (1, S, 0x14, 1001));
    assert_eq!((w.remains().0, w.table.len()), (0, 0));
}

#[test]
fn an_icmp_error_is_told_to_the_client_about_its_own_syn() {
    for (kind, over) in [((3, 13), true), ((3, 1), false), ((11, 0), false)] {
        let mut w = World::new(Options::default());
        w.host_sends(0, &segment(C, S, 1000, 0, 2));
        w.settle();
        let (_, quoted) = w.strays.pop().unwrap();
        let from = Ipv4Addr::new(10, 1, 0, 1);
        let error = icmp::error_v4(from, GATEWAY, kind, [0; 4], &quoted).unwrap();
        w.host_sends(1, &error);
        w.settle();
        let (leg, told) = w.strays.pop().unwrap();
        assert_eq!((leg, told[9], (told[20], told[21])), (0, 1, kind));
        assert_eq!((&told[12..16], &told[16..20]), (&from.octets()[..], &C.ip().octets()[..]));
        let inner = &told[28..];
        assert_eq!((&inner[12..16], &inner[16..20]), (&C.ip().octets()[..], &S.ip().octets()[..]));
        assert_eq!(inner[20..28], [15, 160, 0, 21, 0, 0, 3, 232], "ports 4000 and 21, number 1000");
        assert_eq!(sum(&[&told[20..]]), 0xFFFF);
        assert_eq!(w.remains().0, usize::from(!over));
    }
}

#[test]
fn silence_is_silence_and_ends() {
    let mut w = World::new(Options::default());
    syn(&mut w);
    w.pass(Duration::from_secs(6));
    assert_eq!(taken(&mut w), (vec![], vec![]));
    assert_eq!((w.remains().0, w.table.len()), (0, 0));
}

#[test]
fn an_ack_of_something_else_is_reset_and_leaves_the_half_alone() {
    let mut w = World::new(Options::default());
    let ours = syn(&mut w);
    w.host_sends(1, &segment(S, ours.src, 70_000, ours.seq.wrapping_add(1), 0x12));
    w.settle();
    let (client, _) = taken(&mut w);
    w.host_sends(0, &segment(C, S, 1001, client[0].seq.wrapping_add(5), 0x10));
    w.settle();
    let (reset, server) = taken(&mut w);
    assert_eq!((reset.len(), reset[0].flags, reset[0].seq), (1, 4, client[0].seq.wrapping_add(5)));
    assert!(server.is_empty() && w.remains().0 == 1 && w.sessions() == 0);
}

#[test]
fn a_flood_completes_nothing_keeps_little_and_hinders_nobody() {
    let mut w = World::new(Options::default());
    let mut files = Vec::new();
    for n in 0..5000u32 {
        // As many networks as the caps per source cannot help against.
        let from = SocketAddrV4::new(Ipv4Addr::from(0x0B00_0000 + n * 257), 1024 + n as u16);
        w.host_sends(0, &segment(from, S, n, 0, 2));
        if n % 50 == 0 {
            w.settle();
            for t in taken(&mut w).1 {
                assert_eq!(t.flags, 2, "the server side got more than SYNs: {t:?}");
                w.host_sends(1, &segment(S, t.src, 1, t.seq.wrapping_add(1), 0x12));
            }
        }
        if n == 2500 {
            let mut c = w.login(0, 5001);
            files.push(w.fetch(&mut c, "PASV", "LIST"));
        }
        assert!(w.remains().0 <= 256);
    }
    w.settle();
    for t in taken(&mut w).1 {
        assert_eq!(t.flags, 2, "the server side got more than SYNs: {t:?}");
    }
    assert_eq!((files.len(), w.sessions(), w.server.accepted), (1, 1, 1));
    assert_eq!(w.remains().0, 256);
    assert_eq!(w.counter("half_open_evicted"), 5000 - 256);
    assert!(w.table.len() < 600);
    w.pass(Duration::from_secs(6));
    assert_eq!(w.remains().0, 0);
}

#[test]
fn one_network_has_its_cap_and_its_oldest_goes() {
    let mut w = World::new(Options::default());
    for n in 0..100u16 {
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 50 + (n % 100) as u8), 4000 + n);
        w.host_sends(0, &segment(from, S, u32::from(n), 0, 2));
        w.settle();
    }
    let other = SocketAddrV4::new(Ipv4Addr::new(10, 0, 7, 1), 4000);
    w.host_sends(0, &segment(other, S, 1, 0, 2));
    w.settle();
    assert_eq!((w.remains().0, w.counter("half_open_evicted")), (65, 36));
    // The newest of the network is still there: its repeated SYN is repeated with the same number.
    let last = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 149), 4099);
    taken(&mut w);
    w.host_sends(0, &segment(last, S, 99, 0, 2));
    w.settle();
    assert_eq!((taken(&mut w).1.len(), w.remains().0), (1, 65));
}
