//! An interface that the host uses too: which frames come to us and which go to the kernel. Needs root.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests against a kernel take real time")]

mod io_lab;

use io_lab::{Lab, raw_socket};
use pnet::datalink::{DataLinkReceiver, DataLinkSender};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};
use tidegate::buf::Burst;
use tidegate::io::afxdp::{self, AfXdpPort, Options, Steering};
use tidegate::io::{Port, link};

const OURS: [u8; 4] = [10, 9, 0, 2];
const HOST: [u8; 4] = [10, 9, 0, 9];
const FOREIGN: [u8; 4] = [198, 51, 100, 7];
const OURS6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const HOST6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
const FOREIGN6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
const BROADCAST: [u8; 6] = [0xff; 6];
const OTHER: [u8; 6] = [2, 0xaa, 0, 0, 0, 1];

fn options(by_mac: bool, vlan: Option<Vec<u16>>) -> Options {
    let own = vec![IpAddr::from(OURS), IpAddr::from(OURS6)];
    let steering = Steering { shared: true, by_mac, own, vlan };
    Options { rx_ring: 128, tx_ring: 128, chunks: 512, steering, ..Options::new("tga") }
}

fn eth(dst: [u8; 6], tags: &[(u16, u16)], kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = dst.to_vec();
    bytes.extend([2, 0, 0, 0, 0, 1]);
    for (tpid, id) in tags {
        bytes.extend(tpid.to_be_bytes());
        bytes.extend((0xe000 | id).to_be_bytes());
    }
    bytes.extend(kind.to_be_bytes());
    bytes.extend(payload);
    bytes.resize(bytes.len().max(60), 0);
    bytes
}

/// IPv4; `fragment` is the offset in units of 8.
fn v4(dst: [u8; 4], proto: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0x45, 0, 0, (20 + payload.len()) as u8, 0, 1];
    p.extend(fragment.to_be_bytes());
    p.extend([64, proto, 0, 0, 10, 9, 0, 1]);
    p.extend(dst);
    p.extend(payload);
    p
}

fn v6(dst: [u8; 16], next: u8, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0x60, 0, 0, 0, 0, payload.len() as u8, next, 255];
    p.extend([0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    p.extend(dst);
    p.extend(payload);
    p
}

fn arp(operation: u8, target: [u8; 4]) -> Vec<u8> {
    let mut p = vec![0, 1, 8, 0, 6, 4, 0, operation, 2, 0, 0, 0, 0, 1, 10, 9, 0, 1, 0, 0, 0, 0, 0, 0];
    p.extend(target);
    p
}

/// Neighbour discovery about `target`: 135 asks, 136 tells.
fn nd(dst: [u8; 16], kind: u8, target: [u8; 16]) -> Vec<u8> {
    let mut p = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    p.extend(target);
    v6(dst, 58, &p)
}

fn solicited_node(address: [u8; 16]) -> ([u8; 6], [u8; 16]) {
    let [x, y, z] = [address[13], address[14], address[15]];
    ([0x33, 0x33, 0xff, x, y, z], [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, x, y, z])
}

/// Both sides of the fork.
struct Fork {
    port: AfXdpPort,
    send: Box<dyn DataLinkSender>,
    kernel: Box<dyn DataLinkReceiver>,
}

impl Fork {
    fn open(options: &Options) -> Self {
        let port = afxdp::open(options).unwrap();
        // A tap sees what the program has passed on.
        let (_, kernel) = raw_socket("tga");
        let (send, _) = raw_socket("tgb");
        Self { port, send, kernel }
    }

    /// Who gets the frame: exactly one of the two must.
    fn comes_to_us(&mut self, frame: &[u8]) -> bool {
        self.send.send_to(frame, None).unwrap().unwrap();
        // The frame behind it is surely the kernel's, so that nothing has to be waited for.
        let mut last = eth(BROADCAST, &[], 0x88b5, b"last");
        last[20..28].copy_from_slice(&nonce().to_be_bytes());
        self.send.send_to(&last, None).unwrap().unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut passed = 0;
        loop {
            let seen = self.kernel.next().unwrap();
            if seen == last {
                break;
            }
            // A tap shows frames without their outer tag, and the kernel's own frames too.
            let bare = frame.len() > 16 && matches!(frame[12..14], [0x81, 0] | [0x88, 0xa8]);
            let bare = if bare { [&frame[..12], &frame[16..]].concat() } else { frame.to_vec() };
            passed += usize::from(seen == bare);
            assert!(Instant::now() < deadline);
        }
        let mut burst = Burst::new();
        while passed == 0 && burst.is_empty() && Instant::now() < deadline {
            self.port.rx(&mut burst).unwrap();
        }
        self.port.rx(&mut burst).unwrap();
        let got: Vec<_> = burst.drain().collect();
        assert_eq!(got.len() + passed, 1, "one of the two gets {frame:02x?}, once");
        assert!(got.iter().all(|f| f.bytes() == frame), "unchanged");
        got.len() == 1
    }
}

fn nonce() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The interface's end with the host's addresses.
fn shared_lab() -> Lab {
    let lab = Lab::new();
    lab.exec("sysctl -qw net.ipv6.conf.tga.disable_ipv6=0");
    lab.exec("ip address add 10.9.0.9/24 dev tga");
    lab.exec("ip address add 2001:db8:9::9/64 dev tga nodad");
    lab
}

#[test]
fn what_is_for_us_comes_to_us_and_all_else_to_the_kernel() {
    let lab = shared_lab();
    lab.inside(|| {
        let mac = link::find("tga").unwrap().mac;
        let mut fork = Fork::open(&options(false, None));
        let (group, group_ip) = solicited_node(OURS6);
        let lease = [0, 67, 0, 68, 0, 8, 0, 0];
        let cases: [(&str, bool, Vec<u8>); 24] = [
            ("IPv4 to us", true, eth(mac, &[], 0x0800, &v4(OURS, 6, 0, &[0; 20]))),
            ("first fragment", true, eth(mac, &[], 0x0800, &v4(OURS, 47, 0x2000, &[0; 24]))),
            ("last fragment", true, eth(mac, &[], 0x0800, &v4(OURS, 47, 3, &[0; 24]))),
            ("IPv4 to the host", false, eth(mac, &[], 0x0800, &v4(HOST, 6, 0, &[0; 20]))),
            ("IPv4 to a stranger", false, eth(mac, &[], 0x0800, &v4(FOREIGN, 6, 0, &[0; 20]))),
            ("a lease", false, eth(mac, &[], 0x0800, &v4(FOREIGN, 17, 0, &lease))),
            ("broadcast", false, eth(BROADCAST, &[], 0x0800, &v4([255; 4], 17, 0, &[0; 8]))),
            ("ARP for us", true, eth(BROADCAST, &[], 0x0806, &arp(1, OURS))),
            ("ARP reply to us", true, eth(mac, &[], 0x0806, &arp(2, OURS))),
            ("ARP for the host", false, eth(BROADCAST, &[], 0x0806, &arp(1, HOST))),
            ("ARP reply to the host", false, eth(mac, &[], 0x0806, &arp(2, HOST))),
            ("IPv6 to us", true, eth(mac, &[], 0x86dd, &v6(OURS6, 6, &[0; 20]))),
            ("IPv6 fragment to us", true, eth(mac, &[], 0x86dd, &v6(OURS6, 44, &[0; 24]))),
            ("hop-by-hop to us", true, eth(mac, &[], 0x86dd, &v6(OURS6, 0, &[0; 24]))),
            ("IPv6 to the host", false, eth(mac, &[], 0x86dd, &v6(HOST6, 6, &[0; 20]))),
            ("IPv6 to a stranger", false, eth(mac, &[], 0x86dd, &v6(FOREIGN6, 6, &[0; 20]))),
            ("solicitation for us", true, eth(group, &[], 0x86dd, &nd(group_ip, 135, OURS6))),
            ("another of our group", false, {
                let mut target = HOST6;
                target[13..].copy_from_slice(&OURS6[13..]);
                target[0] = 0xfd;
                eth(group, &[], 0x86dd, &nd(group_ip, 135, target))
            }),
            ("advertisement to us", true, eth(mac, &[], 0x86dd, &nd(OURS6, 136, FOREIGN6))),
            ("advertisement to all", false, {
                let all = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
                eth([0x33, 0x33, 0, 0, 0, 1], &[], 0x86dd, &nd(all, 136, FOREIGN6))
            }),
            ("another protocol", false, eth(mac, &[], 0x88cc, &[0; 40])),
            (
                "three tags",
                false,
                eth(mac, &[(0x88a8, 1), (0x8100, 2), (0x8100, 3)], 0x0800, &v4(OURS, 6, 0, &[0; 20])),
            ),
            ("one tag", true, eth(mac, &[(0x8100, 100)], 0x0800, &v4(OURS, 6, 0, &[0; 20]))),
            ("two tags", true, eth(mac, &[(0x88a8, 100), (0x8100, 7)], 0x86dd, &v6(OURS6, 6, &[0; 20]))),
        ];
        for (name, ours, frame) in cases {
            assert_eq!(fork.comes_to_us(&frame), ours, "{name}");
        }
        // Cut anywhere, a frame is the kernel's, or ours if the address is there; it is never lost.
        for whole in [
            eth(mac, &[(0x88a8, 1), (0x8100, 2)], 0x0800, &v4(HOST, 17, 0, &lease)),
            eth(mac, &[], 0x86dd, &nd(solicited_node(HOST6).1, 135, HOST6)),
        ] {
            // Of shorter ones the kernel itself cannot take the tag off.
            for cut in 20..whole.len() {
                assert!(!fork.comes_to_us(&whole[..cut]), "{cut}");
            }
        }
    });
}

#[test]
fn with_redirection_to_our_mac_strangers_are_ours_and_the_host_stays_the_hosts() {
    let lab = shared_lab();
    lab.inside(|| {
        let mac = link::find("tga").unwrap().mac;
        let mut fork = Fork::open(&options(true, None));
        let mut addresses = fork.port.take_addresses().unwrap();
        let lease = [0, 67, 0, 68, 0, 8, 0, 0];
        let late = [10, 9, 0, 77];
        let local = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        let cases: [(&str, bool, Vec<u8>); 12] = [
            ("redirected", true, eth(mac, &[], 0x0800, &v4(FOREIGN, 6, 0, &[0; 20]))),
            ("a fragment", true, eth(mac, &[], 0x0800, &v4(FOREIGN, 6, 3, &[0; 20]))),
            (
                "in two tags",
                true,
                eth(mac, &[(0x88a8, 1), (0x8100, 2)], 0x0800, &v4(FOREIGN, 6, 0, &[0; 20])),
            ),
            ("to another MAC", false, eth(OTHER, &[], 0x0800, &v4(FOREIGN, 6, 0, &[0; 20]))),
            ("to the host", false, eth(mac, &[], 0x0800, &v4(HOST, 6, 0, &[0; 20]))),
            ("multicast", false, eth(mac, &[], 0x0800, &v4([224, 0, 0, 5], 89, 0, &[0; 20]))),
            ("a lease", false, eth(mac, &[], 0x0800, &v4(late, 17, 0, &lease))),
            ("ARP for a stranger", false, eth(mac, &[], 0x0806, &arp(1, FOREIGN))),
            ("redirected, IPv6", true, eth(mac, &[], 0x86dd, &v6(FOREIGN6, 6, &[0; 20]))),
            ("to the host, IPv6", false, eth(mac, &[], 0x86dd, &v6(HOST6, 6, &[0; 20]))),
            ("to a neighbour", false, eth(mac, &[], 0x86dd, &v6(local, 6, &[0; 20]))),
            ("to us", true, eth(mac, &[], 0x0800, &v4(OURS, 6, 0, &[0; 20]))),
        ];
        for (name, ours, frame) in cases {
            assert_eq!(fork.comes_to_us(&frame), ours, "{name}");
        }
        // An address that the host gains is the host's from then on, one that it loses is not.
        let to_late = eth(mac, &[], 0x0800, &v4(late, 6, 0, &[0; 20]));
        assert!(fork.comes_to_us(&to_late));
        addresses.set_host([late.into(), IpAddr::from(OURS)]).unwrap();
        assert!(!fork.comes_to_us(&to_late));
        assert!(fork.comes_to_us(&eth(mac, &[], 0x0800, &v4(HOST, 6, 0, &[0; 20]))));
        assert!(fork.comes_to_us(&eth(mac, &[], 0x0800, &v4(OURS, 6, 0, &[0; 20]))), "ours stays ours");
        let many = (0..5000u32).map(|n| IpAddr::from(Ipv4Addr::from_bits(n)));
        let error = addresses.set_host(many).unwrap_err().to_string();
        assert!(error.starts_with("tga: the host has 5000 addresses; 4096 can be told apart; "), "{error}");
        addresses.set_host((0..4000u128).map(|n| IpAddr::from(Ipv6Addr::from_bits(n)))).unwrap();
    });
}

#[test]
fn frames_with_other_tags_than_configured_are_the_kernels() {
    let lab = shared_lab();
    lab.inside(|| {
        let mac = link::find("tga").unwrap().mac;
        let packet = v4(OURS, 6, 0, &[0; 20]);
        let depths: [&[(u16, u16)]; 5] = [
            &[],
            &[(0x8100, 100)],
            &[(0x8100, 200)],
            &[(0x88a8, 100), (0x8100, 200)],
            &[(0x88a8, 100), (0x8100, 201)],
        ];
        for (vlan, ours) in
            [(vec![], 0), (vec![100], 1), (vec![200], 2), (vec![100, 200], 3), (vec![100, 201], 4)]
        {
            let mut fork = Fork::open(&options(false, Some(vlan.clone())));
            for (n, tags) in depths.iter().enumerate() {
                let came = fork.comes_to_us(&eth(mac, tags, 0x0800, &packet));
                assert_eq!(came, n == ours, "{tags:?} with {vlan:?}");
            }
        }
    });
}

#[test]
fn what_an_offload_put_together_is_dropped_for_us_only() {
    let lab = shared_lab();
    lab.exec("ip link set dev tgb mtu 3000");
    lab.inside(|| {
        let mac = link::find("tga").unwrap().mac;
        let mut fork = Fork::open(&options(false, None));
        // veth lets long frames pass when the receiver's MTU is larger than the program was told.
        lab.exec("ip link set dev tga mtu 3000");
        let mut long = eth(mac, &[], 0x0800, &v4(HOST, 6, 0, &[0; 20]));
        long.resize(2500, 0);
        assert!(!fork.comes_to_us(&long), "the host may have its offloads");
        let mut long = eth(mac, &[], 0x0800, &v4(OURS, 6, 0, &[0; 20]));
        long.resize(2500, 0);
        fork.send.send_to(&long, None).unwrap().unwrap();
        assert!(fork.comes_to_us(&eth(mac, &[], 0x0800, &v4(OURS, 6, 0, &[0; 20]))));
        assert_eq!(fork.port.stats().rx_oversize, 1);
    });
}
