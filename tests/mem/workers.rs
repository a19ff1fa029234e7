//! Two engines with a ring between them do what one does.

use crate::support::*;
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use tidegate::time::Duration;

/// As a network card would that knows nothing of owners: by the addresses and ports, inner ones too, so
/// that a flow's direction stays in order.
fn by_ports(frame: &[u8], workers: usize) -> usize {
    let ip = frame.get(14..).unwrap_or_default();
    let inner = if ip.first() == Some(&0x45) && ip.len() > 52 && ip[9] == 47 { &ip[28..] } else { ip };
    let hash =
        inner.iter().skip(12).take(12).fold(7u32, |h, b| h.wrapping_mul(31).wrapping_add(u32::from(*b)));
    (hash >> 4) as usize % workers
}

fn file(n: u8) -> Vec<u8> {
    (0..20_000u32 + u32::from(n) * 777).map(|i| (i ^ u32::from(n)) as u8).collect()
}

/// Several sessions of several clients, side by side.
fn play(workers: u16) -> World {
    let mut o = Options { workers, clients: 4, ..Options::default() };
    for n in 0..4 {
        o.server.files.insert(format!("f{n}"), file(n));
    }
    let mut w = World::new(o);
    w.spread = by_ports;
    // How many frames a turn takes decides how many one acknowledgement answers.
    w.burst = 1;
    w.pass(Duration::from_secs(3));
    w.watch();
    let mut all: Vec<Ctl> = (0..8u16).map(|n| w.login(usize::from(n % 4), 5001 + n)).collect();
    for (n, c) in all.iter_mut().enumerate() {
        let k = n as u8 % 4;
        let verb = ["PASV", "EPSV"][n / 4];
        assert!(w.fetch(c, verb, &format!("RETR f{k}")) == file(k));
        w.store(c, verb, &format!("STOR g{n}"), &file(k));
        assert!(w.server.conf.files[&format!("g{n}")] == file(k));
        let d = w.active(c, ["EPRT", "PORT"][n / 4]);
        assert_eq!(&w.cmd(c, &format!("RETR f{k}"))[..3], "150");
        assert!(w.read_all(c, d) == file(k));
        assert_eq!(&w.reply(c)[..3], "226");
        assert_eq!(&w.cmd(c, "AUTH TLS")[..3], "534");
    }
    // Mid-flow segments of nobody's, and a SYN that is reset.
    for n in 0..8 {
        let from = SocketAddrV4::new([10, 0, 0, 70 + n].into(), 4000);
        w.host_sends(0, &segment(from, SocketAddrV4::new(SERVER, 21), 1, 1, 0x10));
        w.host_sends(
            1,
            &segment(
                SocketAddrV4::new(SERVER, 9),
                SocketAddrV4::new(GATEWAY, 40_000 + u16::from(n)),
                1,
                0,
                2,
            ),
        );
    }
    w.settle();
    for c in &mut all {
        assert_eq!(&w.cmd(c, "QUIT")[..3], "221");
        let s = c.socket;
        w.hosts[c.host].socket(s).close();
    }
    w.pass(Duration::from_secs(2));
    assert_eq!(w.sessions(), 0);
    w
}

type Line = (u8, u32, u32, Vec<u8>);

/// What the gateway sent, by flow: flags, numbers from the flow's first ones on, payload, in order. Own
/// ports are told apart by the connection's other end and their order.
fn flows(w: &World) -> BTreeMap<(String, String), Vec<Line>> {
    let mut own: BTreeMap<(SocketAddrV4, u16), usize> = BTreeMap::new();
    let mut count: BTreeMap<SocketAddrV4, usize> = BTreeMap::new();
    let mut first: BTreeMap<(String, String), (u32, Option<u32>)> = BTreeMap::new();
    let mut all: BTreeMap<(String, String), Vec<Line>> = BTreeMap::new();
    for (hop, packet) in w.seen.iter().flatten() {
        if *hop != Hop::FromGateway || packet[0] != 0x45 {
            continue;
        }
        let (gre, inner) = if packet[9] == 47 { ("returned ", &packet[28..]) } else { ("", &packet[..]) };
        let Some(t) = tcp_of(inner) else { continue };
        let src = if *t.src.ip() == GATEWAY && t.dst.port() != 9 {
            let n = *own.entry((t.dst, t.src.port())).or_insert_with(|| {
                let c = count.entry(t.dst).or_default();
                *c += 1;
                *c
            });
            format!("own {n}")
        } else {
            t.src.to_string()
        };
        let key = (format!("{gre}{src}"), t.dst.to_string());
        let (isn, peer) = first.entry(key.clone()).or_insert((t.seq, None));
        let ack = if t.flags & 0x10 != 0 { t.ack.wrapping_sub(*peer.get_or_insert(t.ack)) } else { 0 };
        let line = (t.flags, t.seq.wrapping_sub(*isn), ack, t.payload);
        all.entry(key).or_default().push(line);
    }
    all
}

#[test]
fn two_engines_with_a_ring_send_for_each_flow_what_one_sends() {
    let (one, two) = (play(1), play(2));
    let (a, b) = (flows(&one), flows(&two));
    let only = |x: &BTreeMap<_, _>, y: &BTreeMap<_, _>| -> Vec<(String, String)> {
        x.keys().filter(|k| !y.contains_key(*k)).cloned().collect()
    };
    assert_eq!((only(&a, &b), only(&b, &a)), (vec![], vec![]));
    for (key, lines) in &a {
        let other = &b[key];
        assert_eq!(lines.len(), other.len(), "{key:?}");
        for (n, (l, m)) in lines.iter().zip(other).enumerate() {
            assert!(
                l == m,
                "{key:?}, segment {n}: {:?} with one engine, {:?} with two",
                (l.0, l.1, l.2, l.3.len()),
                (m.0, m.1, m.2, m.3.len())
            );
        }
    }
    assert!(a.len() > 40, "only {} flows", a.len());
    for (n, g) in two.gates.iter().enumerate() {
        assert!(g.crossed > 30, "only {} items crossed the ring to worker {n}", g.crossed);
        let sessions = g.engine.counters().into_iter().find(|(n, _)| n == "sessions").unwrap().1;
        assert!(sessions > 0, "worker {n} had no session");
    }
    assert_eq!(one.counter("returned"), two.counter("returned"));
    assert_eq!(one.counter("translated"), two.counter("translated"));
}

#[test]
fn a_port_of_our_own_address_is_found_by_the_worker_that_gave_it() {
    let mut o = Options { workers: 2, clients: 4, ..Options::default() };
    o.service.data_source = tidegate::session::DataSource::Own;
    o.server.files.insert("f".into(), file(1));
    let mut w = World::new(o);
    w.gateway_shows = true;
    w.spread = by_ports;
    for n in 0..8 {
        let mut c = w.login(usize::from(n % 4), 5001 + n);
        assert!(w.fetch(&mut c, "PASV", "RETR f") == file(1));
    }
}

/// The `n`th client's SYN, and the ICMP error that our SYN for it gets on its way.
fn refused(w: &mut World, n: u8) -> (SocketAddrV4, Vec<u8>) {
    let from = SocketAddrV4::new([10, 0, 0, 70 + n].into(), 4000);
    let to = SocketAddrV4::new([10, 1, 0, 99].into(), 21);
    w.host_sends(0, &segment(from, to, 1000, 0, 2));
    w.settle();
    let (_, quoted) = w.strays.pop().unwrap();
    let router = [10, 1, 0, 1].into();
    (from, tidegate::wire::icmp::error_v4(router, GATEWAY, (3, 13), [0; 4], &quoted).unwrap())
}

#[test]
fn an_icmp_error_reaches_the_worker_whose_syn_it_quotes() {
    for spread in [(|_, _| 0) as fn(&[u8], usize) -> usize, |_, _| 1] {
        let mut w = World::new(Options { workers: 2, ..Options::default() });
        w.spread = spread;
        for n in 0..6 {
            let (from, error) = refused(&mut w, n);
            w.host_sends(1, &error);
            w.settle();
            let (leg, told) = w.strays.pop().unwrap();
            assert_eq!((leg, told[9], &told[16..20]), (0, 1, &from.ip().octets()[..]));
            assert_eq!(w.remains().0, 0);
        }
    }
}

/// The way to the owner leads over the packet, not over the frame that it came in: that had other headers.
#[test]
fn an_icmp_error_in_pieces_reaches_its_owner() {
    for spread in [(|_, _| 0) as fn(&[u8], usize) -> usize, |_, _| 1] {
        let mut w = World::new(Options { workers: 2, ..Options::default() });
        w.spread = spread;
        for n in 0..6 {
            let (from, error) = refused(&mut w, n);
            let mut pieces = vec![];
            crate::frag::fragment(&error, &crate::packet::Ipv4::parse(&error).unwrap(), 60, |p| {
                pieces.push([&GW_MAC[..], &ROUTER_MAC, &[8, 0], p].concat());
            });
            assert!(pieces.len() > 1);
            pieces.iter().for_each(|p| w.gateway_gets(p));
            w.settle();
            let (leg, told) = w.strays.pop().unwrap();
            assert_eq!((leg, told[9], &told[16..20]), (0, 1, &from.ip().octets()[..]));
            assert_eq!((w.remains().0, w.counter("drop_not_for_us") + w.counter("drop_bad_ip")), (0, 0));
        }
    }
}

#[test]
fn a_redirected_icmp_error_reaches_its_owner() {
    for spread in [(|_, _| 0) as fn(&[u8], usize) -> usize, |_, _| 1] {
        let mut o = Options { workers: 2, ..Options::default() };
        o.server.files.insert("f".into(), file(1));
        let mut w = World::new(o);
        let mut c = w.login(0, 5001);
        // A path that takes 1,000 bytes, and says so to the server, as which the segment was sent.
        w.loss = Some(Box::new(|h, p| h == Hop::ToHost(0) && p.len() > 1000));
        w.watch();
        let d = w.active(&mut c, "PORT");
        assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
        w.pass(Duration::from_millis(100));
        let long = |(h, p): &&(Hop, Vec<u8>)| *h == Hop::FromGateway && p.len() > 1000;
        let lost = w.seen.as_ref().unwrap().iter().find(long).unwrap().1.clone();
        let router = [10, 0, 0, 1].into();
        let error = tidegate::wire::icmp::error_v4(router, SERVER, (3, 4), [0, 0, 3, 232], &lost).unwrap();
        let mut outer = [&[0; 28][..], &error].concat();
        let header = tidegate::wire::gre::Redirect([1, 61, 0, 9]);
        tidegate::wire::build::gre_v4(&mut outer, ROUTER, GATEWAY, 9, header);
        w.spread = spread;
        w.gateway_gets(&[&GW_MAC[..], &ROUTER_MAC, &[8, 0], &outer].concat());
        w.settle();
        w.spread = by_ports;
        assert!(w.read_all(&c, d) == file(1));
        assert_eq!(w.counter("drop_not_for_us") + w.counter("drop_bad_ip"), 0);
    }
}

/// A message of WCCP that no frame holds, in pieces to the worker that does not speak it.
#[test]
fn a_long_message_reaches_the_worker_that_speaks() {
    let mut w = World::new(Options { workers: 2, mask: Some(0x1F41), ..Options::default() });
    w.spread = |_, _| 1;
    w.watch();
    w.pass(Duration::from_secs(3));
    let long = |(h, p): &&(Hop, Vec<u8>)| *h == Hop::ToGateway && p[9] == 17 && p[6] & 0x20 != 0;
    assert!(w.seen.iter().flatten().any(|s| long(&s)), "no answer in pieces");
    assert_eq!((w.counter("drop_outer_fragment"), w.counter("drop_bad_ip")), (0, 0));
    w.pass(Duration::from_secs(10));
    assert_eq!(w.router.wccp.groups()[0].table().unwrap().share(GATEWAY), (128, 128));
}

/// A server's segment that meets an entry just being written waits for its owner, and is nobody's on no account.
#[test]
fn an_entry_that_is_being_written_is_not_taken_for_none() {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use tidegate::flow::{FlowKey, Leg, Lookup};
    let mut w = World::new(Options { workers: 2, ..Options::default() });
    w.watch();
    w.login(0, 5001);
    let ours =
        w.segments(Hop::FromGateway).into_iter().find(|t| t.dst == SocketAddrV4::new(SERVER, 21)).unwrap();
    let key = FlowKey::tcp(ours.dst.into(), ours.src.into(), Leg::Direct, 0).unwrap();
    let Lookup::Hit(slot, entry) = w.table.lookup(&key) else { panic!() };
    let table = w.table.clone();
    let (stop, busy) = (AtomicBool::new(false), w.table.stats().busy);
    let ack = segment(ours.dst, ours.src, ours.ack, ours.seq, 0x10);
    std::thread::scope(|s| {
        s.spawn(|| {
            while !stop.load(Relaxed) {
                table.update(slot, &entry);
            }
        });
        // Two threads meet within thousands of looks, seldom within tens.
        for n in 0..300_000 {
            w.spread = if n % 2 == 0 { |_, _| 0 } else { |_, _| 1 };
            w.gateway_gets(&[&GW_MAC[..], &ROUTER_MAC, &[8, 0], &ack].concat());
            w.settle();
            if w.table.stats().busy > busy + 20 {
                break;
            }
        }
        stop.store(true, Relaxed);
    });
    assert!(w.table.stats().busy > busy, "the entry was never found in change");
    let lost = ["drop_unhandled", "drop_unknown_flow", "returned"].map(|n| w.counter(n));
    assert_eq!(lost, [0; 3]);
}

#[test]
fn any_worker_may_receive_what_one_worker_answers() {
    // All frames come to the worker that does not speak WCCP.
    let mut w = World::new(Options { workers: 2, ..Options::default() });
    w.spread = |_, _| 1;
    w.pass(Duration::from_secs(10));
    let status = w.gates[0].engine.registry().unwrap().len();
    assert_eq!(status, 0);
    assert!(w.router.wccp.groups()[0].table().is_some(), "the gateway fell out of its group");
    assert_eq!(w.router.wccp.groups()[0].caches().len(), 1);
    let mut c = w.login(0, 5001);
    assert!(w.fetch(&mut c, "PASV", "LIST").is_empty());
}

#[test]
fn every_worker_returns_to_what_the_router_calls_itself() {
    let id = std::net::Ipv4Addr::new(10, 1, 0, 1);
    for workers in [1, 2] {
        let mut w = World::new(Options { workers, router_id: id, ..Options::default() });
        w.spread = by_ports;
        w.watch();
        for n in 0..8 {
            let from = SocketAddrV4::new([10, 0, 0, 70 + n].into(), 4000);
            w.host_sends(0, &segment(from, SocketAddrV4::new(SERVER, 21), 1, 1, 0x10));
        }
        w.settle();
        let seen = w.seen.iter().flatten();
        let returned: Vec<&[u8]> = seen
            .filter(|(h, p)| *h == Hop::FromGateway && p[0] == 0x45 && p[9] == 47)
            .map(|(_, p)| &p[16..20])
            .collect();
        assert_eq!(returned, [&id.octets()[..]; 8]);
        assert_eq!(w.router.wccp.groups()[0].stats.returned, 8);
        for (n, g) in w.gates.iter().enumerate() {
            let own = g.engine.counters().into_iter().find(|(n, _)| n == "returned").unwrap().1;
            assert!(own > 0, "worker {n} returned nothing");
        }
    }
}
