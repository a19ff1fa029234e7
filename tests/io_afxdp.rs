//! AF_XDP on a real interface: a veth pair in a network namespace of its own. Needs root.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests against a kernel take real time")]

mod io_lab;

use io_lab::{Lab, frame, raw_socket};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tidegate::buf::{Burst, Frame, MAX_FRAME};
use tidegate::io::afxdp::{self, AfXdpPort, Options};
use tidegate::io::{Attach, Port, link};

fn small() -> Options {
    Options { rx_ring: 128, tx_ring: 128, chunks: 512, ..Options::new("tga") }
}

/// Receives until there are `want` frames, or no more for two seconds.
fn receive(port: &mut AfXdpPort, want: usize) -> Vec<Frame> {
    let mut burst = Burst::new();
    let mut got = Vec::new();
    let mut last = Instant::now();
    while got.len() < want && last.elapsed() < Duration::from_secs(2) {
        port.rx(&mut burst).unwrap();
        if !burst.is_empty() {
            last = Instant::now();
        }
        got.extend(burst.drain());
    }
    got
}

fn error(options: &Options) -> String {
    afxdp::open(options).unwrap_err().to_string()
}

#[test]
fn frames_arrive_and_leave_byte_for_byte() {
    Lab::new().inside(|| {
        let mut port = afxdp::open(&small()).unwrap();
        assert_eq!(port.info().attach, Some(Attach::Native), "veth has native XDP");
        assert_eq!(port.info().mac, link::find("tga").unwrap().mac);
        assert_eq!((port.info().mtu, port.info().zero_copy), (1500, false));
        let (mut tx, mut rx) = raw_socket("tgb");
        for (seed, len) in [14usize + 4, 60, 61, 1514].into_iter().enumerate() {
            let sent = frame(len, seed as u32);
            tx.send_to(&sent, None).unwrap().unwrap();
            let mut got = receive(&mut port, 1);
            assert_eq!(got.len(), 1, "{len} bytes arrived");
            let mut back = got.remove(0);
            assert_eq!(back.bytes(), sent);
            assert!(back.is_umem() && back.push_front(tidegate::buf::HEADROOM).is_some());
            assert!(back.pull_front(tidegate::buf::HEADROOM));
            // Its own memory, then a frame in ordinary memory.
            assert!(port.tx_slots() >= 2);
            port.tx(back);
            port.tx(Frame::from_bytes(&frame(len, 1000 + seed as u32)).unwrap());
            port.flush().unwrap();
            assert_eq!(rx.next().unwrap(), sent);
            assert_eq!(rx.next().unwrap(), frame(len, 1000 + seed as u32));
        }
        let stats = port.stats();
        assert_eq!((stats.rx_frames, stats.tx_frames), (4, 8));
        assert_eq!((stats.rx_lost, stats.tx_lost, stats.rx_oversize), (0, 0, 0));
        assert_eq!(stats.tx_bytes, 2 * stats.rx_bytes);
    });
}

#[test]
fn without_native_xdp_the_generic_path_is_used_and_reported() {
    let lab = Lab::new();
    lab.exec("ip link set dev lo mtu 1500 up");
    lab.inside(|| {
        let mut port = afxdp::open(&Options { interface: "lo".into(), ..small() }).unwrap();
        assert_eq!(port.info().attach, Some(Attach::Generic), "loopback has no native XDP");
        let (mut tx, _rx) = raw_socket("lo");
        tx.send_to(&frame(300, 5), None).unwrap().unwrap();
        assert_eq!(receive(&mut port, 1).pop().unwrap().bytes(), frame(300, 5));
        drop(port);
        assert!(without_program("lo"));

        // Where only one way is wanted it is that one, or none.
        let only = |attach| Options { attach, ..small() };
        let port = afxdp::open(&only(&[Attach::Generic])).unwrap();
        assert_eq!(port.info().attach, Some(Attach::Generic), "though the driver would take it");
        drop(port);
        let refused = error(&Options { interface: "lo".into(), ..only(&[Attach::Native]) });
        assert!(refused.starts_with("lo: the driver takes no XDP program ("), "{refused}");
        assert!(
            refused.contains("; write attach = \"auto\" or \"generic\" into the NIC profile"),
            "{refused}"
        );
        assert!(without_program("lo"));
    });
}

#[test]
fn tags_stay_in_the_frame() {
    Lab::new().inside(|| {
        let mut port = afxdp::open(&small()).unwrap();
        let (mut tx, _rx) = raw_socket("tgb");
        let mut tagged = frame(1514, 7);
        tagged.splice(12..12, [0x81, 0, 0, 5, 0x81, 0, 0, 9]);
        tx.send_to(&tagged[..1518], None).unwrap().unwrap();
        assert_eq!(receive(&mut port, 1).pop().unwrap().bytes(), &tagged[..1518]);
    });
}

/// Takes a burst in and sends its frames back, drops them, or answers with new ones, in turn.
fn turn(port: &mut AfXdpPort, burst: &mut Burst) -> usize {
    port.rx(burst).unwrap();
    let (got, mut slots) = (burst.len(), port.tx_slots());
    for (i, frame) in burst.drain().enumerate() {
        match (i % 3, slots) {
            (0, 1..) => {
                slots -= 1;
                port.tx(frame);
            }
            (1, 1..) => {
                slots -= 1;
                let mut own = port.alloc().expect("within the slots there is a chunk");
                assert!(own.set(frame.bytes()));
                port.tx(own);
                port.recycle(frame);
            }
            _ => port.recycle(frame),
        }
    }
    port.flush().unwrap();
    got
}

#[test]
fn chunks_are_all_accounted_for_after_100_000_frames() {
    const FRAMES: u32 = 100_000;
    // Fewer than there surely are chunks ready for receiving, so that none may be lost.
    const WINDOW: u32 = 48;
    Lab::new().inside(|| {
        let mut port = afxdp::open(&small()).unwrap();
        let whole = port.chunks().total();
        let mut burst = Burst::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        let seen = AtomicU32::new(0);
        std::thread::scope(|s| {
            // A new thread inherits the namespace of the thread that starts it.
            s.spawn(|| {
                let (mut tx, _) = raw_socket("tgb");
                for seed in 0..FRAMES {
                    while seed >= seen.load(Ordering::Relaxed) + WINDOW && Instant::now() < deadline {
                        std::thread::yield_now();
                    }
                    tx.send_to(&frame(64 + (seed % 900) as usize, seed), None).unwrap().unwrap();
                }
            });
            while seen.load(Ordering::Relaxed) < FRAMES && Instant::now() < deadline {
                let got = turn(&mut port, &mut burst);
                seen.fetch_add(got as u32, Ordering::Relaxed);
                let count = port.chunks();
                assert_eq!((count.total(), count.out), (whole, 0), "{count:?}");
            }
        });
        let stats = port.stats();
        assert_eq!((stats.rx_frames, stats.rx_lost, stats.tx_lost), (u64::from(FRAMES), 0, 0), "{stats:?}");
        assert!(stats.tx_frames > u64::from(FRAMES) / 3, "{stats:?}");

        // More than the rings hold, with nobody looking.
        let (mut tx, _) = raw_socket("tgb");
        for seed in 0..2000 {
            tx.send_to(&frame(200, seed), None).unwrap().unwrap();
        }
        let (mut got, mut last) = (0, Instant::now());
        while last.elapsed() < Duration::from_millis(200) && Instant::now() < deadline {
            match turn(&mut port, &mut burst) {
                0 => {}
                more => (got, last) = (got + more, Instant::now()),
            }
        }
        assert!(got >= 64 && port.stats().rx_lost > 0, "{got} received, {:?}", port.stats());
        while port.chunks().tx > 0 && Instant::now() < deadline {
            turn(&mut port, &mut burst);
        }
        let count = port.chunks();
        assert_eq!((count.total(), count.out, count.tx), (whole, 0, 0), "{count:?}");
    });
}

#[test]
fn a_full_ring_drops_and_counts_and_recovers() {
    Lab::new().inside(|| {
        let mut port = afxdp::open(&small()).unwrap();
        let whole = port.chunks();
        let slots = port.tx_slots();
        assert_eq!(slots, 128);
        for seed in 0..200 {
            port.tx(Frame::from_bytes(&frame(100, seed)).unwrap());
        }
        assert_eq!((port.stats().tx_frames, port.stats().tx_lost), (128, 72));
        port.tx(Frame::from_bytes(&[0; MAX_FRAME]).unwrap());
        port.tx(Frame::heap());
        assert_eq!(port.stats().tx_lost, 74, "too long and too short frames are refused");
        port.flush().unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while port.tx_slots() < 128 && Instant::now() < deadline {
            port.flush().unwrap();
        }
        assert_eq!(port.tx_slots(), 128);
        assert_eq!(port.chunks(), whole);
    });
}

#[test]
fn frames_longer_than_the_mtu_are_counted() {
    let lab = Lab::new();
    lab.exec("ip link set dev tgb mtu 3000");
    lab.inside(|| {
        let mut port = afxdp::open(&small()).unwrap();
        // The sending end cuts at its own MTU only; veth lets it pass when the receiver's is larger.
        let (mut tx, _rx) = raw_socket("tgb");
        lab.exec("ip link set dev tga mtu 3000");
        tx.send_to(&frame(2500, 1), None).unwrap().unwrap();
        tx.send_to(&frame(100, 2), None).unwrap().unwrap();
        let got = receive(&mut port, 1);
        assert_eq!(got[0].bytes(), frame(100, 2));
        assert_eq!(port.stats().rx_oversize, 1);
    });
}

#[test]
fn every_queue_gets_a_port() {
    let lab = Lab::new();
    lab.exec("ip link del tga");
    lab.exec(
        "ip link add tga numrxqueues 3 numtxqueues 3 type veth peer name tgb numrxqueues 3 numtxqueues 3",
    );
    lab.exec("ip link set dev tga up");
    lab.exec("ip link set dev tgb up");
    lab.exec("ethtool -L tga rx 2 tx 2");
    lab.inside(|| {
        let ports = afxdp::open_all(&small()).unwrap();
        assert_eq!(ports.len(), 2);
        drop(ports);
        assert!(without_program("tga"));
    });
}

#[test]
fn a_port_whose_interface_goes_away_says_so() {
    let lab = Lab::new();
    lab.inside(|| {
        let mut port = afxdp::open(&small()).unwrap();
        lab.exec("ip link del tga");
        let mut burst = Burst::new();
        let error = (0..1000).find_map(|_| port.rx(&mut burst).err()).expect("an error within 1000 turns");
        assert!(error.to_string().starts_with("tga: the interface is gone; "), "{error}");
    });
}

#[test]
fn start_up_mistakes_have_their_own_texts() {
    let lab = Lab::new();
    lab.inside(|| {
        let missing = Options::new("tgnone");
        assert!(error(&missing).starts_with("tgnone: no such network interface; "), "{}", error(&missing));

        let odd = Options { rx_ring: 100, ..small() };
        assert!(error(&odd).starts_with("tga: rx_ring = 100 is no ring size; "), "{}", error(&odd));

        let queue = Options { queue: 9, ..small() };
        assert!(error(&queue).starts_with("tga: there is no queue 9; "), "{}", error(&queue));

        lab.exec("ip link set dev tga down");
        assert_eq!(error(&small()), "tga: the interface is down; `ip link set dev tga up`");
        lab.exec("ip link set dev tga up");

        lab.exec(&format!("ip link set dev tga mtu {}", afxdp::MAX_MTU + 1));
        let want = format!(
            "tga: MTU too large: {} bytes, frames of up to {} fit; `ip link set dev tga mtu 1500`",
            afxdp::MAX_MTU + 1,
            afxdp::MAX_MTU
        );
        assert_eq!(error(&small()), want);
        lab.exec("ip link set dev tga mtu 1500");

        let port = afxdp::open(&small()).unwrap();
        let taken = error(&small());
        assert!(taken.starts_with("tga: queue 0 is taken by another AF_XDP socket; "), "{taken}");
        drop(port);
    });
}

#[test]
fn another_program_is_named_with_the_remedy() {
    let lab = Lab::new();
    lab.exec("ip link del tga");
    lab.exec(
        "ip link add tga numrxqueues 2 numtxqueues 2 type veth peer name tgb numrxqueues 2 numtxqueues 2",
    );
    lab.exec("ip link set dev tga up");
    lab.inside(|| {
        let _first = afxdp::open(&small()).unwrap();
        let text = error(&Options { queue: 1, ..small() });
        assert!(text.starts_with("tga: another XDP program (id "), "{text}");
        assert!(text.ends_with("`ip link set dev tga xdp off`"), "{text}");
    });
}

#[test]
fn a_missing_capability_is_named() {
    let lab = Lab::new();
    let without = |lost: CapabilitySet| {
        lab.inside(move || {
            let mut sets = capabilities(None).unwrap();
            sets.effective.remove(lost);
            set_capabilities(None, sets).unwrap();
            error(&small())
        })
    };
    let raw = without(CapabilitySet::NET_RAW);
    assert!(
        raw.starts_with("tga: opening an AF_XDP socket is not permitted: CAP_NET_RAW is missing; "),
        "{raw}"
    );
    let bpf = without(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN);
    assert!(bpf.contains("the XDP program is not permitted: CAP_BPF and CAP_NET_ADMIN"), "{bpf}");
    let admin = without(CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN);
    assert!(admin.contains("the XDP program is not permitted: CAP_BPF and CAP_NET_ADMIN"), "{admin}");
}

/// Whether `interface` loses its XDP program within two seconds (the kernel ends links a little later).
fn without_program(interface: &str) -> bool {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        if link::find(interface).unwrap().xdp_program.is_none() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Not a test: the process that the next one kills.
#[test]
#[ignore = "run by killed_process_leaves_no_program"]
fn role_hold_a_port() {
    let _port = afxdp::open(&small()).unwrap();
    println!("holding");
    std::thread::sleep(Duration::from_secs(30));
}

#[test]
fn killed_process_leaves_no_program() {
    let lab = Lab::new();
    let mut child = Command::new("ip")
        .args(["netns", "exec", &lab.name])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "role_hold_a_port", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let held = lines.map_while(Result::ok).any(|l| l.contains("holding"));
    let attached = lab.inside(|| link::find("tga").unwrap().xdp_program);
    // `ip netns exec` turns into the program, so this is its process id.
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    assert!(held && attached.is_some(), "the child held a port");
    assert!(lab.inside(|| without_program("tga")), "the program is still attached");
}
