//! Half-open connections: what the server says reaches the client, and a flood costs little.

use crate::support::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use tidegate::session::Limits;
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

/// A half-open connection whose server has answered; our SYN at the server and our SYN-ACK at the client.
fn answered(w: &mut World) -> (Tcp, Tcp) {
    let ours = syn(w);
    w.host_sends(1, &segment(S, ours.src, 70_000, ours.seq.wrapping_add(1), 0x12));
    w.settle();
    let (mut client, server) = taken(w);
    assert_eq!((client.len(), server.len()), (1, 0));
    (ours, client.remove(0))
}

#[test]
fn a_server_that_answered_is_reset_when_the_record_goes() {
    let mut w = World::new(Options {
        limits: Limits { half_open: 2, ..Options::default().limits },
        ..Options::default()
    });
    for way in ["the client resets", "time is up", "others come"] {
        let (ours, theirs) = answered(&mut w);
        match way {
            "the client resets" => w.host_sends(0, &segment(C, S, 1001, 0, 4)),
            "time is up" => w.pass(Duration::from_secs(6)),
            _ => (0..2).for_each(|n| {
                let other = SocketAddrV4::new(Ipv4Addr::new(10, 0, n + 1, 1), 4000);
                w.host_sends(0, &segment(other, S, 5, 0, 2));
            }),
        }
        w.settle();
        let (client, server) = taken(&mut w);
        let resets: Vec<&Tcp> = server.iter().filter(|t| t.flags & 4 != 0).collect();
        assert_eq!(resets.len(), 1, "{way}: {server:?}");
        assert_eq!((resets[0].src, resets[0].seq), (ours.src, ours.seq.wrapping_add(1)), "{way}");
        assert!(client.is_empty(), "{way}: a source that may be forged got {client:?}");
        assert_eq!(theirs.flags, 0x12);
        w.pass(Duration::from_secs(6));
        taken(&mut w);
        assert_eq!((w.remains().0, w.table.len()), (0, 0));
    }
}

#[test]
fn a_client_that_begins_anew_before_the_server_answered_is_answered_on_its_newest_syn() {
    let mut w = World::new(Options::default());
    let ours = syn(&mut w);
    w.host_sends(0, &segment(C, S, 9000, 0, 2));
    w.settle();
    assert_eq!(taken(&mut w), (vec![], vec![ours.clone()]), "the server hears of the same connection");
    w.host_sends(1, &segment(S, ours.src, 70_000, ours.seq.wrapping_add(1), 0x12));
    w.settle();
    let (client, _) = taken(&mut w);
    assert_eq!((client.len(), client[0].flags, client[0].ack), (1, 0x12, 9001));
    w.host_sends(0, &segment(C, S, 9001, client[0].seq.wrapping_add(1), 0x10));
    w.settle();
    assert_eq!((w.sessions(), w.remains().0), (1, 0));
}

#[test]
fn a_client_that_begins_anew_after_the_answer_is_asked_and_a_forger_moves_nothing() {
    let mut w = World::new(Options::default());
    let (ours, theirs) = answered(&mut w);
    w.host_sends(0, &segment(C, S, 9000, 0, 2));
    w.settle();
    let (client, server) = taken(&mut w);
    assert!(server.is_empty());
    assert_eq!(
        (client.len(), client[0].flags, client[0].ack),
        (1, 0x10, 1001),
        "an acknowledgement of the old"
    );
    assert_eq!(client[0].seq, theirs.seq.wrapping_add(1));
    // Had it been a forger, the true client's last segment would still open the session. But it was not:
    w.host_sends(0, &segment(C, S, client[0].ack, 0, 4));
    w.settle();
    assert_eq!(taken(&mut w).1.iter().map(|t| (t.src, t.flags)).collect::<Vec<_>>(), [(ours.src, 4)]);
    w.host_sends(0, &segment(C, S, 9000, 0, 2));
    w.settle();
    assert_eq!((taken(&mut w).1.len(), w.remains().0), (1, 1));
}

#[test]
fn a_servers_answer_about_an_older_connection_is_reset_and_the_next_one_counts() {
    let mut w = World::new(Options::default());
    let ours = syn(&mut w);
    // It is in SYN-RECEIVED, or established, by another SYN of that port.
    for flags in [0x10, 0x12] {
        w.host_sends(1, &segment(S, ours.src, 500, 123, flags));
        w.settle();
        let (client, server) = taken(&mut w);
        assert!(client.is_empty(), "{client:?}");
        assert_eq!((server.len(), server[0].flags, server[0].seq), (1, 4, 123));
    }
    w.host_sends(1, &segment(S, ours.src, 70_000, ours.seq.wrapping_add(1), 0x12));
    w.settle();
    assert_eq!((taken(&mut w).0[0].flags, w.remains().0), (0x12, 1));
}

/// What a flood of SYNs from a hundred thousand addresses does while real sessions transfer: nothing.
fn flood(by: Meeting) {
    const FLOOD: u32 = 100_000;
    let mut o = Options { clients: 5, ..by.options() };
    o.limits.half_open = 128;
    // The server's own room; what the gateway gives up it must give up there as well.
    o.server.backlog = 160;
    let mut w = World::new(o);
    let mut real: Vec<Bystander> = (0..20).map(|n| Bystander::new(&mut w, n / 4, 5001 + n as u16)).collect();
    let to = w.at(w.server_host, 21);
    let mut most = 0;
    for n in 0..FLOOD {
        // As many networks as the caps per source cannot help against: 10,000 SYNs a second, in 10 seconds.
        let from: IpAddr = match by.six() {
            false => Ipv4Addr::from(0x0B00_0000 + n * 257).into(),
            true => Ipv6Addr::from(0x2001_0DB8 << 96 | u128::from(n) << 64 | 7).into(),
        };
        let from = SocketAddr::new(from, 1024 + (n % 60_000) as u16);
        w.host_sends(0, &segment(from, to, n, 0, 2));
        if n % 50 == 0 {
            w.pass(Duration::from_millis(5));
            real.iter_mut().for_each(|b| b.step(&mut w));
            w.strays.clear();
            assert!(w.remains().0 <= 128, "{:?}", w.remains());
            most = most.max(w.table.len());
        }
    }
    w.settle();
    assert_eq!((w.remains().0, w.counter("sessions_refused")), (128, 0));
    assert_eq!(w.counter("half_open_evicted"), u64::from(FLOOD) - 128);
    let done: Vec<usize> = real.iter().map(|b| b.done).collect();
    assert!(done.iter().all(|n| *n > 0), "transfers beside the flood: {done:?}");
    real.iter_mut().for_each(|b| b.finish(&mut w));
    assert_eq!((w.sessions(), w.server.accepted), (20, 20), "the flood became connections");
    let real = 2 * (20 + w.counter("translated") as usize);
    assert!(most <= 2 * 128 + real, "{most} entries of the flow table were in use");
    w.pass(Duration::from_secs(6));
    assert_eq!(w.remains().0, 0);
}

#[test]
fn a_flood_completes_nothing_keeps_little_and_hinders_nobody() {
    flood(Meeting::Gre);
}

#[test]
fn a_flood_over_ipv6_completes_nothing_keeps_little_and_hinders_nobody() {
    flood(Meeting::Six);
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
    // All but the oldest of the network are still there: a repeated SYN is repeated and nothing has to go for it.
    taken(&mut w);
    for (n, evicted) in [(99, 36), (36, 36), (35, 37)] {
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 50 + n), 4000 + u16::from(n));
        w.host_sends(0, &segment(from, S, u32::from(n), 0, 2));
        w.settle();
        assert_eq!((taken(&mut w).1.len(), w.remains().0), (1, 65), "{n}");
        assert_eq!(w.counter("half_open_evicted"), evicted, "{n}");
    }
}
