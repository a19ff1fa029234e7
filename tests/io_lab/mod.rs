//! A network namespace with a pair of Ethernet ends, for the tests of frame I/O. Needs root.
#![allow(dead_code, reason = "each test file uses its part")]

use pnet::datalink::{self, Channel, ChannelType, Config, DataLinkReceiver, DataLinkSender};
use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A namespace with `tga` and `tgb`, wired to each other, up, without offloads and without IPv6.
pub(crate) struct Lab {
    pub(crate) name: String,
}

impl Lab {
    pub(crate) fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test makes network namespaces: run it as root");
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tgio-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        run(&format!("ip netns add {name}"));
        let lab = Self { name };
        lab.exec("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
        lab.exec("ip link add tga type veth peer name tgb");
        for end in ["tga", "tgb"] {
            lab.exec(&format!(
                "ethtool -K {end} tso off gso off gro off tx off rx off txvlan off rxvlan off"
            ));
            lab.exec(&format!("ip link set dev {end} up"));
        }
        lab
    }

    /// Runs a command line in the namespace; it must succeed.
    pub(crate) fn exec(&self, line: &str) -> String {
        run(&format!("ip netns exec {} {line}", self.name))
    }

    /// Runs `work` on a thread that is inside the namespace.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|s| {
            let thread = s.spawn(|| {
                enter(&self.name);
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Moves this thread into a namespace.
pub(crate) fn enter(name: &str) {
    let ns = File::open(format!("/run/netns/{name}")).unwrap();
    let kind = rustix::thread::LinkNameSpaceType::Network;
    rustix::thread::move_into_link_name_space(ns.as_fd(), Some(kind)).unwrap();
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

pub(crate) fn run(line: &str) -> String {
    let mut words = line.split_whitespace();
    let out = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(out.status.success(), "`{line}` failed: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// An ordinary AF_PACKET socket on `interface` of this thread's namespace.
pub(crate) fn raw_socket(interface: &str) -> (Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>) {
    let interface = datalink::interfaces().into_iter().find(|i| i.name == interface).unwrap();
    let config = Config {
        read_buffer_size: 1 << 16,
        read_timeout: Some(Duration::from_secs(2)),
        write_timeout: Some(Duration::from_secs(2)),
        channel_type: ChannelType::Layer2,
        ..Config::default()
    };
    match datalink::channel(&interface, config).unwrap() {
        Channel::Ethernet(tx, rx) => (tx, rx),
        _ => panic!("an Ethernet channel was asked for"),
    }
}

/// A frame of `len` bytes, different for each `seed`, of a type that no kernel answers.
pub(crate) fn frame(len: usize, seed: u32) -> Vec<u8> {
    let mut bytes = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x88, 0xb5];
    bytes.extend(seed.to_be_bytes());
    bytes.resize_with(len, {
        let mut x = seed;
        move || {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 24) as u8
        }
    });
    bytes
}
