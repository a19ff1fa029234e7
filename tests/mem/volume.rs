//! Sizes beyond what a sequence number counts.

use crate::support::*;
use std::net::SocketAddrV4;
use tidegate::event::What;
use tidegate::time::Duration;

/// (bytes, verdict) of the transfers that ended.
fn transfers(w: &World) -> Vec<(u64, &'static str)> {
    w.told(|e| match e {
        What::Transfer { bytes, verdict, .. } => Some((*bytes, *verdict)),
        _ => None,
    })
}

/// A session whose data connection has ends without stacks, at these ports of client and server: what is of it
/// reaches no host's stack.
fn bare(mut o: Options) -> (World, Ctl) {
    o.server.answers.push(("RETR", b"150 Here.\r\n226 There.\r\n".to_vec()));
    let mut w = World::new(o);
    let c = w.login(0, 5001);
    w.loss = Some(Box::new(|hop, p| {
        matches!(hop, Hop::ToHost(_)) && tcp_of(p).is_some_and(|t| t.src.port() != 21 && t.dst.port() != 21)
    }));
    (w, c)
}

/// The SYNs that the gateway sends while `f` happens, but for control connections, with their packets.
fn syns(w: &mut World, f: impl FnOnce(&mut World)) -> Vec<(Tcp, Vec<u8>)> {
    w.watch();
    f(w);
    w.settle();
    let seen = w.seen.take().unwrap();
    let sent = seen.into_iter().filter(|(hop, _)| *hop == Hop::FromGateway);
    let parsed = sent.filter_map(|(_, p)| Some((tcp_of(&p)?, p)));
    parsed.filter(|(t, _)| t.flags & 2 != 0 && t.dst.port() != 21).collect()
}

#[test]
fn five_gib_through_the_flow_table_are_reported_to_the_byte() {
    const SIZE: u64 = 5 << 30;
    let (mut w, mut c) = bare(Options::default());
    let to = w.passive(&mut c, "PASV");
    let (client, isn) = (SocketAddrV4::new(CLIENT, 26_000), (7_000, u32::MAX - 90_000));
    let syns = syns(&mut w, |w| w.host_sends(0, &opening(client.into(), to.into(), isn.0, 0, 2)));
    let (own, server) = (syns[0].0.src, syns[0].0.dst);
    w.host_sends(1, &opening(server.into(), own.into(), isn.1, isn.0 + 1, 0x12));
    let at = |n: u64| isn.1.wrapping_add(1).wrapping_add(n as u32);
    let ack = w.as_passed(0, &segment(client, to, isn.0 + 1, at(0), 0x10));
    let data = w.as_passed(1, &segment(server, own, at(0), isn.0 + 1, 0x10));
    assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
    assert_eq!(&w.reply(&mut c)[..3], "226");
    w.carry(&mut Bulk::new(SIZE, data, ack, (at(0), at(0))));
    assert_eq!(transfers(&w), [], "it has not ended");
    w.host_sends(1, &segment(server, own, at(SIZE), isn.0 + 1, 0x11));
    w.host_sends(0, &segment(client, to, isn.0 + 1, at(SIZE + 1), 0x11));
    w.host_sends(1, &segment(server, own, at(SIZE + 1), isn.0 + 2, 0x10));
    w.pass(Duration::from_secs(1));
    assert_eq!(transfers(&w), [(SIZE, "complete")]);
}

#[test]
fn more_than_four_gib_through_a_relay_are_reported_to_the_byte() {
    const SIZE: u64 = (4 << 30) + 54_321;
    let mut o = Options::default();
    o.limits.relay_buffer = 262_144;
    let (mut w, mut c) = bare(o);
    let (client, isn) = (SocketAddrV4::new(CLIENT, 26_000), (7_000, 90_000));
    assert_eq!(&w.cmd(&mut c, "PORT 10,0,0,10,101,144")[..3], "200");
    let syns = syns(&mut w, |w| w.send(&c, b"RETR f\r\n"));
    let [(up, packet), (down, _)] = &syns[..] else { panic!("{syns:?}") };
    let (own, server, via) = (up.src, up.dst, down.src);
    assert_eq!((via, down.dst), (SocketAddrV4::new(SERVER, 20), client));
    w.host_sends(1, &opening(server.into(), own.into(), isn.1, up.seq.wrapping_add(1), 0x12));
    w.host_sends(0, &opening(client.into(), via.into(), isn.0, down.seq.wrapping_add(1), 0x12));
    w.settle();
    let (first, seen) = (isn.1 + 1, down.seq.wrapping_add(1));
    let data = w.as_passed(1, &segment(server, own, first, up.seq.wrapping_add(1), 0x10));
    let ack = w.as_passed(0, &segment(client, via, isn.0 + 1, seen, 0x10));
    assert_eq!(&w.reply(&mut c)[..3], "150");
    let mut bulk = Bulk::new(SIZE, data, ack, (first, seen));
    bulk.scale = scale_of(packet);
    w.carry(&mut bulk);
    let behind = |n: u32| n.wrapping_add(SIZE as u32);
    w.host_sends(1, &segment(server, own, behind(first), up.seq.wrapping_add(1), 0x11));
    w.settle();
    w.host_sends(0, &segment(client, via, isn.0 + 1, behind(seen).wrapping_add(1), 0x11));
    w.settle();
    w.host_sends(1, &segment(server, own, behind(first).wrapping_add(1), up.seq.wrapping_add(2), 0x10));
    assert_eq!(&w.reply(&mut c)[..3], "226");
    w.pass(Duration::from_secs(2));
    assert_eq!(transfers(&w), [(SIZE, "complete")]);
}

/// A relayed download while the client's leg begins `ahead` later; the numbers that leg began and ended with.
fn relayed(ahead: Duration) -> (u32, u32) {
    let file: Vec<u8> = (0..3u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 22) as u8).collect();
    let mut o = Options::default();
    o.server.files.insert("f".into(), file.clone());
    let mut w = World::new(o);
    w.now += ahead;
    // The router had forgotten us meanwhile.
    w.pass(Duration::from_secs(20));
    let mut c = w.login(0, 5001);
    let d = w.active(&mut c, "PORT");
    w.watch();
    assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
    assert!(w.read_all(&c, d) == file);
    assert_eq!(&w.reply(&mut c)[..3], "226");
    w.pass(Duration::from_secs(2));
    assert_eq!(transfers(&w), [(file.len() as u64, "complete")]);
    let leg: Vec<Tcp> = w.segments(Hop::ToHost(0)).into_iter().filter(|t| t.src.port() == 20).collect();
    (leg[0].seq, leg.last().unwrap().seq)
}

#[test]
fn a_relay_goes_on_where_sequence_numbers_begin_again() {
    let (first, _) = relayed(Duration::from_secs(0));
    // Initial numbers grow by one each 4 µs (RFC 6528): wait until they are a MiB below their end.
    let missing = u64::from((1u32 << 20).wrapping_neg().wrapping_sub(first));
    let (first, last) = relayed(Duration::from_micros(missing * 4));
    assert!(first > u32::MAX - (2 << 20) && last < 3 << 20, "from {first} to {last}");
}
