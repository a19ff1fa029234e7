//! AF_PACKET through pnet on a veth pair in a network namespace of its own. Needs root.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests against a kernel take real time")]

mod io_lab;

use io_lab::{Lab, frame, raw_socket};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tidegate::buf::{BURST, Burst, Frame};
use tidegate::io::{Port, pnet, wait};

const OURS: [IpAddr; 1] = [IpAddr::V4(std::net::Ipv4Addr::new(10, 9, 0, 2))];

fn error() -> String {
    pnet::open("tga", &OURS).unwrap_err().to_string()
}

#[test]
fn frames_arrive_and_leave_byte_for_byte() {
    let lab = Lab::new();
    lab.exec("ip address add 10.9.0.9/24 dev tga");
    lab.inside(|| {
        let mut port = pnet::open("tga", &OURS).unwrap();
        let (mut tx, mut rx) = raw_socket("tgb");
        let mut burst = Burst::new();
        port.rx(&mut burst).unwrap();
        assert!(burst.is_empty() && !wait(port.poll_fd(), Duration::from_millis(5)));
        for (seed, len) in [18usize, 60, 61, 1514].into_iter().enumerate() {
            let sent = frame(len, seed as u32);
            tx.send_to(&sent, None).unwrap().unwrap();
            assert!(wait(port.poll_fd(), Duration::from_secs(2)));
            port.rx(&mut burst).unwrap();
            let got: Vec<_> = burst.drain().collect();
            assert_eq!(got.iter().map(Frame::bytes).collect::<Vec<_>>(), [&sent[..]]);
            assert!(port.tx_slots() >= BURST / 2);
            for back in got {
                port.tx(back);
            }
            port.flush().unwrap();
            assert_eq!(rx.next().unwrap(), sent);
        }
        let stats = port.stats();
        assert_eq!((stats.rx_frames, stats.tx_frames, stats.tx_lost, stats.rx_oversize), (4, 4, 0, 0));
    });
}

#[test]
fn tags_are_read_back_and_pushed() {
    Lab::new().inside(|| {
        let mut port = pnet::open("tga", &OURS).unwrap();
        let (mut tx, _) = raw_socket("tgb");
        let mut other = pnet::open("tgb", &OURS).unwrap();
        let mut burst = Burst::new();
        let one: &[u8] = &[0x81, 0, 0xe0, 100];
        let two: &[u8] = &[0x88, 0xa8, 0x20, 100, 0x81, 0, 0, 7];
        for (tags, len) in [(one, 60), (one, 1514), (two, 60), (two, 1506)] {
            let mut tagged = frame(len, 7);
            tagged.splice(12..12, tags.iter().copied());
            tx.send_to(&tagged, None).unwrap().unwrap();
            assert!(wait(port.poll_fd(), Duration::from_secs(2)));
            port.rx(&mut burst).unwrap();
            let got = burst.drain().next().unwrap();
            assert_eq!(got.bytes(), tagged, "{tags:x?}");
            // The way back, through a port of the other end, which so reads what this one has pushed.
            while wait(other.poll_fd(), Duration::ZERO) {
                other.rx(&mut burst).unwrap();
                burst.drain().for_each(drop);
            }
            port.tx(got);
            assert_eq!(port.stats().tx_lost, 0);
            assert!(wait(other.poll_fd(), Duration::from_secs(10)), "{tags:x?}, {len}");
            other.rx(&mut burst).unwrap();
            assert_eq!(burst.drain().next().unwrap().bytes(), tagged, "{tags:x?}");
        }
    });
}

#[test]
fn frames_of_the_host_are_not_received_and_long_ones_are_counted() {
    let lab = Lab::new();
    lab.inside(|| {
        let mut port = pnet::open("tga", &OURS).unwrap();
        let mac = port.info().mac;
        let (mut host, _) = raw_socket("tga");
        let (mut peer, _) = raw_socket("tgb");
        let mut own = frame(100, 1);
        own[6..12].copy_from_slice(&mac);
        host.send_to(&own, None).unwrap().unwrap();
        lab.exec("ip link set dev tga mtu 3000");
        lab.exec("ip link set dev tgb mtu 3000");
        peer.send_to(&frame(2500, 2), None).unwrap().unwrap();
        peer.send_to(&frame(1600, 2), None).unwrap().unwrap();
        peer.send_to(&frame(200, 3), None).unwrap().unwrap();
        let (mut burst, begin) = (Burst::new(), Instant::now());
        while burst.is_empty() && begin.elapsed() < Duration::from_secs(2) {
            port.rx(&mut burst).unwrap();
        }
        let got: Vec<_> = burst.drain().collect();
        assert_eq!(got.iter().map(Frame::bytes).collect::<Vec<_>>(), [frame(200, 3)]);
        assert_eq!(port.stats().rx_oversize, 2);
    });
}

#[test]
fn a_kernel_in_the_way_is_refused() {
    let lab = Lab::new();
    lab.inside(|| {
        assert!(pnet::open("tgnone", &OURS).unwrap_err().to_string().contains("no such network interface"));

        lab.exec("ip address add 10.9.0.2/24 dev tga");
        let text = error();
        assert_eq!(
            text,
            "tga: the kernel owns our address 10.9.0.2 and would answer in our place; \
             `ip address flush to 10.9.0.2 dev tga`"
        );
        lab.exec("ip address flush to 10.9.0.2 dev tga");
        pnet::open("tga", &OURS).unwrap();

        for family in ["ipv4", "ipv6"] {
            lab.exec(&format!("sysctl -qw net/{family}/conf/tga/forwarding=1"));
            let text = error();
            assert!(text.starts_with(&format!("tga: the kernel forwards {family} on it")), "{text}");
            assert!(text.contains(&format!("`sysctl -w net/{family}/conf/tga/forwarding=0`")), "{text}");
            lab.exec(&format!("sysctl -qw net/{family}/conf/tga/forwarding=0"));
        }

        lab.exec("ip link set dev tga mtu 1900");
        assert!(error().starts_with("tga: MTU too large: 1900 bytes"), "{}", error());
        lab.exec("ip link set dev tga mtu 1500");

        lab.exec("ip link set dev tga down");
        assert_eq!(error(), "tga: the interface is down; `ip link set dev tga up`");
    });
}

#[test]
fn a_missing_capability_is_named() {
    Lab::new().inside(|| {
        let mut sets = capabilities(None).unwrap();
        sets.effective.remove(CapabilitySet::NET_RAW);
        set_capabilities(None, sets).unwrap();
        assert!(
            error()
                .starts_with("tga: opening an AF_PACKET socket is not permitted: CAP_NET_RAW is missing; ")
        );
    });
}

#[test]
fn a_link_that_goes_down_comes_back_and_one_that_is_deleted_does_not() {
    let lab = Lab::new();
    lab.inside(|| {
        let mut port = pnet::open("tga", &OURS).unwrap();
        let mut burst = Burst::new();
        lab.exec("ip link set dev tga down");
        for _ in 0..10 {
            port.rx(&mut burst).unwrap();
        }
        assert!(!wait(port.poll_fd(), Duration::from_millis(5)), "the error does not stay");
        lab.exec("ip link set dev tga up");
        let (mut tx, _) = raw_socket("tgb");
        // The kernel takes the link up in its own time, and loses what is sent before.
        let arrived = (0..100).any(|_| {
            tx.send_to(&frame(80, 1), None).unwrap().unwrap();
            wait(port.poll_fd(), Duration::from_millis(100))
        });
        assert!(arrived, "nothing arrives any more");
        port.rx(&mut burst).unwrap();
        assert!(!burst.is_empty());
        lab.exec("ip link del tga");
        let text = (0..10).find_map(|_| port.rx(&mut burst).err()).unwrap().to_string();
        assert!(text.starts_with("tga: the interface is gone; "), "{text}");
    });
}
