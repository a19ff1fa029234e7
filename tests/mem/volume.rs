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

#[test]
fn five_gib_through_the_flow_table_are_reported_to_the_byte() {
    const SIZE: u64 = 5 << 30;
    // A MiB goes by unseen between two segments, which is what a busy worker's neighbour would have forwarded.
    const STEP: u64 = 1 << 20;
    let mut o = Options::default();
    o.server.answers.push(("RETR", b"150 Here.\r\n226 There.\r\n".to_vec()));
    let mut w = World::new(o);
    let mut c = w.login(0, 5001);
    let to = w.passive(&mut c, "PASV");
    // The ends of the data connection have no stacks: their segments are made here.
    w.loss = Some(Box::new(|hop, p| {
        matches!(hop, Hop::ToHost(_)) && tcp_of(p).is_some_and(|t| t.src.port() != 21 && t.dst.port() != 21)
    }));
    let (client, isn) = (SocketAddrV4::new(CLIENT, 26_000), (7_000, u32::MAX - 90_000));
    w.watch();
    w.host_sends(0, &segment(client, to, isn.0, 0, 2));
    w.settle();
    let syn = w.segments(Hop::FromGateway).into_iter().find(|t| t.flags == 2).unwrap();
    w.seen = None;
    let (own, server) = (syn.src, syn.dst);
    w.host_sends(1, &segment(server, own, isn.1, isn.0 + 1, 0x12));
    w.host_sends(0, &segment(client, to, isn.0 + 1, isn.1.wrapping_add(1), 0x10));
    assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
    assert_eq!(&w.reply(&mut c)[..3], "226");
    let at = |n: u64| isn.1.wrapping_add(1).wrapping_add(n as u32);
    for n in 1..SIZE / STEP {
        w.host_sends(1, &segment(server, own, at(n * STEP), isn.0 + 1, 0x10));
        w.host_sends(0, &segment(client, to, isn.0 + 1, at(n * STEP), 0x10));
        w.pass(Duration::from_millis(1));
    }
    assert_eq!(transfers(&w), [], "it has not ended");
    w.host_sends(1, &segment(server, own, at(SIZE), isn.0 + 1, 0x11));
    w.host_sends(0, &segment(client, to, isn.0 + 1, at(SIZE + 1), 0x11));
    w.host_sends(1, &segment(server, own, at(SIZE + 1), isn.0 + 2, 0x10));
    w.pass(Duration::from_secs(1));
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
