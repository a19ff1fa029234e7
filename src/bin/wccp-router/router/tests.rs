use super::*;
use crate::packet::{PROTO_TCP, addr_at};
use crate::wccp::codec::{Capabilities, GRE, HASH, ServiceKey};
use crate::wccp::group::tests::settled_wccp;

#[path = "tests/v6.rs"]
mod v6;

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 10);
const CACHE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
const NOW: Instant = Instant::from_millis(100);

fn mac(n: u8) -> Mac {
    [2, 0, 0, 0, 0, n]
}

struct Net {
    router: Router,
    out: Vec<Batch>,
}

impl Net {
    fn new(wccp: Wccp, oversize: Oversize) -> Self {
        let leg = |n: u8, third: [u8; 3], exclude_in| LegConf {
            name: format!("leg{n}"),
            mac: mac(n),
            address: Ipv4Addr::new(third[0], third[1], third[2], 1),
            prefix: 24,
            v6: Some((Ipv6Addr::new(0xfd00, 0, 0, third[1].into(), 0, 0, 0, 1), 64)),
            mtu: 1500,
            exclude_in,
        };
        let legs = vec![leg(0, [10, 0, 0], false), leg(1, [10, 1, 0], false), leg(2, [10, 99, 0], true)];
        let mut router = Router::new(legs, wccp, oversize);
        for (leg, addr) in [(0, CLIENT), (1, SERVER), (2, CACHE)] {
            router.neighbours[leg].learn(addr.into(), mac(0x10 + leg as u8), true, NOW);
        }
        Self { router, out: (0..3).map(|_| Batch::new()).collect() }
    }

    fn plain() -> Self {
        Self::new(Wccp::new(vec![]), Oversize::Fragment)
    }

    /// Gives `packet` to leg `leg` and returns what leaves, as (leg, destination MAC, packet).
    fn pass(&mut self, leg: usize, packet: &[u8]) -> Vec<(usize, Mac, Vec<u8>)> {
        let mut frame = [&mac(leg as u8)[..], &mac(0x10 + leg as u8), &ethertype(packet), packet].concat();
        self.router.handle_frame(leg, &mut frame, NOW, &mut self.out);
        self.taken()
    }

    fn taken(&mut self) -> Vec<(usize, Mac, Vec<u8>)> {
        let mut all = vec![];
        for (leg, batch) in self.out.iter_mut().enumerate() {
            for i in 0..batch.len() {
                let f = batch.frame(i);
                assert_eq!(f[6..12], mac(leg as u8));
                all.push((leg, f[..6].try_into().unwrap(), f[14..].to_vec()));
            }
            batch.clear();
        }
        all
    }
}

fn tcp(src: Ipv4Addr, dst: Ipv4Addr, ports: (u16, u16), payload: usize, dont_fragment: bool) -> Vec<u8> {
    let mut p = ipv4_header(src, dst, PROTO_TCP, 20 + payload, 1, 64, 0).to_vec();
    p.extend_from_slice(&ports.0.to_be_bytes());
    p.extend_from_slice(&ports.1.to_be_bytes());
    p.extend((0..16 + payload).map(|i| i as u8));
    if dont_fragment {
        p[6] = 0x40;
        p[10..12].fill(0);
        let sum = checksum(&[&p[..20]]);
        p[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    p
}

fn offer() -> Capabilities {
    Capabilities { forward: GRE, assignment: HASH, packet_return: GRE }
}

fn redirecting(oversize: Oversize) -> Net {
    Net::new(settled_wccp(offer()), oversize)
}

#[test]
fn a_packet_is_forwarded_with_one_less_to_live() {
    let mut net = Net::plain();
    let sent = tcp(CLIENT, SERVER, (1, 21), 3, true);
    let out = net.pass(0, &sent);
    let mut expected = sent.clone();
    decrement_ttl(&mut expected);
    assert_eq!(out, [(1, mac(0x11), expected)]);
    assert_eq!(net.router.counters.forwarded, 1);
}

#[test]
fn networks_behind_a_neighbour_are_reached_through_it() {
    let far = Ipv4Addr::new(192, 0, 2, 7);
    let mut net = Net::plain();
    assert!(
        net.pass(0, &tcp(CLIENT, far, (40000, 21), 10, true)).iter().all(|(leg, ..)| *leg == 0),
        "an error"
    );
    net.router.routes = vec![("192.0.2.0/24".parse().unwrap(), SERVER.into())];
    let there = net.pass(0, &tcp(CLIENT, far, (40000, 21), 10, true));
    assert_eq!(there.iter().map(|(leg, mac, _)| (*leg, *mac)).collect::<Vec<_>>(), [(1, mac(0x11))]);
    let back = net.pass(1, &tcp(far, CLIENT, (21, 40000), 10, true));
    assert_eq!(back.iter().map(|(leg, mac, _)| (*leg, *mac)).collect::<Vec<_>>(), [(0, mac(0x10))]);
}

#[test]
fn padding_and_foreign_frames_go_nowhere() {
    let mut net = Net::plain();
    let mut padded = tcp(CLIENT, SERVER, (1, 21), 0, true);
    let len = padded.len();
    padded.extend_from_slice(&[0xee; 6]);
    assert_eq!(net.pass(0, &padded)[0].2.len(), len, "Ethernet padding is no part of the packet");
    let mut frame = [&mac(9)[..], &mac(8), &[8, 0], &padded].concat();
    net.router.handle_frame(0, &mut frame, NOW, &mut net.out);
    assert!(net.taken().is_empty());
    assert_eq!(net.router.counters.drop_not_ours, 1);
    for len in 0..padded.len() {
        net.pass(0, &padded[..len]);
    }
}

#[test]
fn errors_are_told_to_the_sender() {
    let mut net = Net::plain();
    let mut dying = tcp(CLIENT, SERVER, (1, 21), 0, true);
    while Ipv4::parse(&dying).unwrap().ttl > 1 {
        decrement_ttl(&mut dying);
    }
    let out = net.pass(0, &dying);
    assert_eq!((out[0].0, out[0].2[9], &out[0].2[20..22]), (0, PROTO_ICMP, &[11u8, 0][..]));
    assert_eq!(addr_at(&out[0].2, 12), Ipv4Addr::new(10, 0, 0, 1));
    assert_eq!(&out[0].2[28..56], &dying[..28], "the start of the packet is quoted");
    let lost = tcp(CLIENT, Ipv4Addr::new(192, 0, 2, 1), (1, 21), 0, true);
    assert_eq!(&net.pass(0, &lost)[0].2[20..22], &[3, 0]);
    for _ in 0..300 {
        net.pass(0, &lost);
    }
    assert!(net.pass(0, &lost).is_empty(), "errors are limited");
    net.router.handle_timeout(NOW + Duration::from_secs(1), &mut net.out);
    assert_eq!(net.pass(0, &lost).len(), 1);
}

#[test]
fn it_answers_arp_and_ping_for_its_own_addresses_only() {
    let mut net = Net::plain();
    let ask = |addr| Message { request: true, sender: (mac(0x10), CLIENT), target: ([0; 6], addr) };
    let mut frame = ask(Ipv4Addr::new(10, 0, 0, 1)).frame(BROADCAST);
    net.router.handle_frame(0, &mut frame, NOW, &mut net.out);
    let answer = Message::parse(&net.taken()[0].2).unwrap();
    assert_eq!((answer.request, answer.sender), (false, (mac(0), Ipv4Addr::new(10, 0, 0, 1))));
    let mut frame = ask(SERVER).frame(BROADCAST);
    net.router.handle_frame(0, &mut frame, NOW, &mut net.out);
    assert!(net.taken().is_empty());

    let echo = icmp(8, 0, 0x1234_0001, b"payload");
    let mut ping =
        ipv4_header(CLIENT, Ipv4Addr::new(10, 99, 0, 1), PROTO_ICMP, echo.len(), 1, 64, 0).to_vec();
    ping.extend_from_slice(&echo);
    let out = net.pass(0, &ping);
    assert_eq!((out[0].0, addr_at(&out[0].2, 12)), (0, Ipv4Addr::new(10, 99, 0, 1)));
    assert_eq!(&out[0].2[20..], &icmp(0, 0, 0x1234_0001, b"payload")[..]);
}

#[test]
fn packets_wait_for_an_unknown_neighbour() {
    let mut net = Net::plain();
    let far = Ipv4Addr::new(10, 1, 0, 77);
    let out = net.pass(0, &tcp(CLIENT, far, (1, 21), 0, true));
    let asked = Message::parse(&out[0].2).unwrap();
    assert_eq!((out.len(), out[0].0, asked.target.1), (1, 1, far));
    let reply =
        Message { request: false, sender: (mac(0x77), far), target: (mac(1), Ipv4Addr::new(10, 1, 0, 1)) };
    net.router.handle_frame(1, &mut reply.frame(mac(1)), NOW, &mut net.out);
    let out = net.taken();
    assert_eq!((out.len(), out[0].1, addr_at(&out[0].2, 16)), (1, mac(0x77), far));
}

#[test]
fn what_the_group_wants_goes_to_the_cache_in_gre() {
    let mut net = redirecting(Oversize::Fragment);
    let sent = tcp(CLIENT, SERVER, (1, 21), 5, true);
    let out = net.pass(0, &sent);
    let (leg, to, outer) = &out[0];
    let ip = Ipv4::parse(outer).unwrap();
    assert_eq!((*leg, *to, ip.src, ip.dst), (2, mac(0x12), Ipv4Addr::new(10, 99, 0, 1), CACHE));
    assert!(!ip.dont_fragment() && ip.id != 0);
    let (header, inner, _) = gre::decapsulate(&outer[20..]).unwrap();
    // Service 80 hashes the destination: 10 ^ 1 ^ 0 ^ 10.
    assert_eq!(header, [1, 80, 0, 1]);
    let mut expected = sent.clone();
    decrement_ttl(&mut expected);
    assert_eq!(inner, expected, "as the router would have forwarded it");
    assert_eq!(net.pass(0, &tcp(CLIENT, SERVER, (1, 22), 5, true))[0].0, 1, "another port");
    assert_eq!(net.pass(2, &tcp(CLIENT, SERVER, (1, 21), 5, true))[0].0, 1, "entered on the gateway's leg");
    assert_eq!((net.router.counters.redirected, net.router.counters.excluded), (1, 1));
}

#[test]
fn a_returned_packet_is_forwarded_untouched_and_not_redirected_again() {
    let mut net = redirecting(Oversize::Fragment);
    let inner = tcp(CLIENT, SERVER, (1, 21), 1460, true);
    let outer_of = |src, inner: &[u8]| {
        let head = encapsulation(src, Ipv4Addr::new(10, 99, 0, 1), inner.len(), 9, 0, [1, 80, 0, 1]);
        [&head[..], inner].concat()
    };
    let outer = outer_of(CACHE, &inner);
    assert!(outer.len() > 1500);
    let mut pieces = vec![];
    fragment(&outer, &Ipv4::parse(&outer).unwrap(), 1500, |p| pieces.push(p.to_vec()));
    assert!(net.pass(2, &pieces[0]).is_empty());
    let out = net.pass(2, &pieces[1]);
    assert!(out == [(1, mac(0x11), inner.clone())]);
    assert_eq!((net.router.counters.returned, net.router.wccp.groups()[0].stats.returned), (1, 1));
    let stranger = outer_of(Ipv4Addr::new(10, 99, 0, 7), &inner[..inner.len()]);
    let mut p = stranger.clone();
    p.truncate(60);
    assert!(net.pass(2, &p).is_empty());
    let small = outer_of(Ipv4Addr::new(10, 99, 0, 7), &tcp(CLIENT, SERVER, (1, 21), 0, true));
    assert!(net.pass(2, &small).is_empty());
    assert_eq!(net.router.counters.drop_gre, 1, "not a cache");
}

#[test]
fn too_long_for_gre_is_cut_or_told() {
    let full = tcp(CLIENT, SERVER, (1, 21), 1460, true);
    let mut net = redirecting(Oversize::Fragment);
    let out = net.pass(0, &full);
    assert_eq!((out.len(), net.router.counters.fragmented), (2, 1));
    let mut r = Reassembly::default();
    let whole = out.iter().filter_map(|(_, _, p)| r.push(p, &Ipv4::parse(p).unwrap(), NOW)).last().unwrap();
    assert_eq!(gre::decapsulate(&whole[20..]).unwrap().1.len(), full.len());

    let mut net = redirecting(Oversize::Icmp);
    let out = net.pass(0, &full);
    assert_eq!((out.len(), out[0].0, &out[0].2[20..28][..2]), (1, 0, &[3u8, 4][..]));
    assert_eq!(be16(&out[0].2, 26), 1472, "the MTU inside the tunnel");
    let soft = tcp(CLIENT, SERVER, (1, 21), 1460, false);
    assert_eq!(net.pass(0, &soft).len(), 2, "may be cut, so it is cut");
    assert_eq!(net.router.wccp.groups()[0].conf.key, ServiceKey { kind: 1, id: 80 });
}
