//! The gateway on an interface that its host uses too: both serve, and neither hears of the other. Needs root.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests against a kernel take real time")]

mod io_lab;

use io_lab::{Lab, enter, raw_socket, run};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tidegate::buf::{Burst, Frame};
use tidegate::io::{Port, link, pnet, wait};
use tidegate::wire::checksum::Sum;

const OURS: [u8; 4] = [10, 9, 0, 2];
const HOST: [u8; 4] = [10, 9, 0, 9];
const PEER: [u8; 4] = [10, 9, 0, 1];
const OURS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 2);
const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 9);
const PEER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1);
const PORT: u16 = 7777;

/// A host with `tga`, and a neighbour with `tgb` in another namespace.
struct Two {
    lab: Lab,
    peer: String,
    dir: tempfile::TempDir,
    /// The file of events, in that directory.
    events: &'static str,
}

impl Two {
    fn new() -> Self {
        let lab = Lab::new();
        let peer = format!("{}-peer", lab.name);
        run(&format!("ip netns add {peer}"));
        let two = Self { lab, peer, dir: tempfile::tempdir().unwrap(), events: "events.jsonl" };
        two.lab.exec("sysctl -qw net.ipv6.conf.tga.disable_ipv6=0");
        two.lab.exec(&format!("ip link set dev tgb netns {}", two.peer));
        two.lab.exec("ip address add 10.9.0.9/24 dev tga");
        two.lab.exec("ip address add 2001:db8:9::9/64 dev tga nodad");
        two.lab.exec("ip link set dev lo up");
        two.at_peer("ip link set dev tgb up");
        two.at_peer("ip address add 10.9.0.1/24 dev tgb");
        two.at_peer("ip address add 2001:db8:9::1/64 dev tgb nodad");
        two
    }

    fn at_peer(&self, line: &str) {
        run(&format!("ip netns exec {} {line}", self.peer));
    }

    /// The gateway, running, with these lines in its interface's section.
    fn gateway(&self, lines: &str) -> Gateway {
        let mut gateway = self.start(lines, &[], Stdio::inherit());
        gateway.sees("\"started\"");
        gateway
    }

    /// The gateway, not waited for, with more arguments.
    fn start(&self, lines: &str, arguments: &[&str], errors: Stdio) -> Gateway {
        let config = self.dir.path().join("t.toml");
        let text = format!(
            "version = 1\n[deployment]\nkind = \"static\"\n[[interface]]\nname = \"tga\"\n{lines}\n\
             address = [\"10.9.0.2/24\", \"2001:db8:9::2/64\"]\nnext_hop = [\"10.9.0.1\", \"2001:db8:9::1\"]\n\
             nic_profile = \"veth\"\n[[service]]\nname = \"ftp\"\nports = [21]\ndata_ports = [2020]\n\
             [events]\npath = \"{}\"\n",
            self.events
        );
        std::fs::write(&config, text).unwrap();
        let events = self.dir.path().join(self.events);
        if self.events == "events.jsonl" {
            let _ = std::fs::remove_file(&events);
        }
        // `ip netns exec` turns into the program, so this is its process.
        let process = Command::new("ip")
            .args(["netns", "exec", &self.lab.name, env!("CARGO_BIN_EXE_tidegate"), "--log", "error"])
            .args(["run", "--config", config.to_str().unwrap()])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .unwrap();
        Gateway { process, events }
    }

    /// The neighbour's raw end of the wire. This thread must be in its namespace.
    fn wire(&self) -> Wire {
        let mac = self.lab.inside(|| link::find("tga").unwrap().mac);
        Wire { port: pnet::open("tgb", &[]).unwrap(), mac }
    }
}

impl Drop for Two {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.peer]).status();
    }
}

struct Gateway {
    process: Child,
    events: std::path::PathBuf,
}

impl Gateway {
    /// Waits until the events tell of this.
    fn sees(&mut self, what: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let events = std::fs::read_to_string(&self.events).unwrap_or_default();
            if events.contains(what) {
                return;
            }
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{ended:?}, no {what} in {events}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Waits until it has ended: its status and what it wrote to standard error.
    fn ends(&mut self, within: Duration) -> (Option<i32>, String) {
        let deadline = Instant::now() + within;
        let status = loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                break status.code();
            }
            assert!(Instant::now() < deadline, "it still runs");
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut errors = String::new();
        if let Some(mut from) = self.process.stderr.take() {
            from.read_to_string(&mut errors).unwrap();
        }
        (status, errors)
    }

    fn kill(&mut self) {
        kill_process(Pid::from_child(&self.process), Signal::KILL).unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Wire {
    port: pnet::PnetPort,
    /// The host's MAC address, and ours.
    mac: [u8; 6],
}

const ME: [u8; 6] = [2, 0, 0, 0, 0, 1];

impl Wire {
    fn send(&mut self, frame: &[u8]) {
        self.port.tx(Frame::from_bytes(frame).unwrap());
    }

    /// The frames of some time, until one is wanted.
    fn hear(&mut self, time: Duration, wanted: impl Fn(&[u8]) -> bool) -> (Vec<Vec<u8>>, bool) {
        let (deadline, mut burst, mut all) = (Instant::now() + time, Burst::new(), Vec::new());
        while Instant::now() < deadline {
            wait(self.port.poll_fd(), Duration::from_millis(20));
            self.port.rx(&mut burst).unwrap();
            for frame in burst.drain() {
                all.push(frame.bytes().to_vec());
            }
            if all.iter().any(|f| wanted(f)) {
                return (all, true);
            }
        }
        (all, false)
    }

    /// Sends, and waits for the answer.
    fn ask(&mut self, what: &str, frame: &[u8], wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        self.send(frame);
        let (all, got) = self.hear(Duration::from_secs(5), &wanted);
        assert!(got, "{what}: no answer among {all:02x?}");
        all.into_iter().find(|f| wanted(f)).unwrap()
    }

    /// Sends, and hears no such answer for a while.
    fn silence(&mut self, what: &str, frame: &[u8], unwanted: impl Fn(&[u8]) -> bool) {
        self.send(frame);
        let (all, got) = self.hear(Duration::from_millis(300), unwanted);
        assert!(!got, "{what}: answered in {all:02x?}");
    }

    fn eth(&self, dst: [u8; 6], tags: &[u8], kind: u16, packet: &[u8]) -> Vec<u8> {
        let mut bytes = [&dst[..], &ME, tags, &kind.to_be_bytes(), packet].concat();
        bytes.resize(bytes.len().max(60), 0);
        bytes
    }

    fn v4(&self, packet: &[u8]) -> Vec<u8> {
        self.eth(self.mac, &[], 0x0800, packet)
    }
}

fn v4(proto: u8, dst: [u8; 4], fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0x45, 0, 0, 0, 0, 7];
    p[2..4].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
    p.extend(fragment.to_be_bytes());
    p.extend([64, proto, 0, 0]);
    p.extend(PEER);
    p.extend(dst);
    let sum = Sum::new().bytes(&p).checksum();
    p[10..12].copy_from_slice(&sum.to_be_bytes());
    p.extend(payload);
    p
}

fn echo() -> Vec<u8> {
    let mut p = vec![8, 0, 0, 0, 1, 2, 3, 4];
    p.extend([0x55; 32]);
    let sum = Sum::new().bytes(&p).checksum();
    p[2..4].copy_from_slice(&sum.to_be_bytes());
    p
}

fn tcp(dst: [u8; 4], port: u16) -> Vec<u8> {
    let mut p = [&40_000u16.to_be_bytes()[..], &port.to_be_bytes(), &[0, 0, 0, 1], &[0; 4]].concat();
    p.extend([0x50, 2, 0x20, 0, 0, 0, 0, 0]);
    let sum = Sum::new().pseudo(PEER.into(), dst.into(), 6, p.len()).bytes(&p).checksum();
    p[16..18].copy_from_slice(&sum.to_be_bytes());
    v4(6, dst, 0, &p)
}

fn icmp6(dst: Ipv6Addr, hops: u8, mut message: Vec<u8>) -> Vec<u8> {
    let sum = Sum::new().pseudo(PEER6.into(), dst.into(), 58, message.len()).bytes(&message).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let head = [0x60, 0, 0, 0, 0, message.len() as u8, 58, hops];
    [&head[..], &PEER6.octets(), &dst.octets(), &message].concat()
}

fn arp_for(target: [u8; 4]) -> Vec<u8> {
    [&[0, 1, 8, 0, 6, 4, 0, 1][..], &ME, &PEER, &[0; 6], &target].concat()
}

/// What stands behind the tags of a frame, if it is of this type.
fn behind(frame: &[u8], tags: &[u8], kind: u16) -> Option<Vec<u8>> {
    let head = 12 + tags.len();
    (frame.get(12..head)? == tags && frame.get(head..head + 2)? == kind.to_be_bytes())
        .then(|| frame[head + 2..].to_vec())
}

fn is_v4(frame: &[u8], src: [u8; 4], proto: u8) -> Option<Vec<u8>> {
    behind(frame, &[], 0x0800).filter(|p| p[12..16] == src && p[9] == proto).map(|p| p[20..].to_vec())
}

/// A service of the host: gives back one byte.
fn serve(name: &str, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    let (name, stop) = (name.to_owned(), Arc::clone(stop));
    std::thread::spawn(move || {
        enter(&name);
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)).unwrap();
        listener.set_nonblocking(true).unwrap();
        while !stop.load(Ordering::Relaxed) {
            let Ok((mut stream, _)) = listener.accept() else {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            };
            stream.set_nonblocking(false).unwrap();
            let mut byte = [0];
            let _ = stream.read_exact(&mut byte).and_then(|()| stream.write_all(&byte));
        }
    })
}

fn talk(to: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])
}

/// Collects what the kernel gets and sends on `tga`.
fn tap(name: &str, stop: &Arc<AtomicBool>, seen: &Arc<Mutex<Vec<Vec<u8>>>>) -> std::thread::JoinHandle<()> {
    let (name, stop, seen) = (name.to_owned(), Arc::clone(stop), Arc::clone(seen));
    let (ready, is_ready) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        enter(&name);
        let (_, mut kernel) = raw_socket("tga");
        ready.send(()).unwrap();
        while !stop.load(Ordering::Relaxed) {
            if let Ok(frame) = kernel.next() {
                seen.lock().unwrap().push(frame.to_vec());
            }
        }
    });
    is_ready.recv().unwrap();
    thread
}

/// Whether a frame is about one of our addresses.
fn about_us(frame: &[u8]) -> bool {
    let has =
        |address: &[u8]| frame.get(14..).is_some_and(|p| p.windows(address.len()).any(|w| w == address));
    has(&OURS) || has(&OURS6.octets())
}

#[test]
fn the_host_keeps_its_addresses_and_hears_nothing_of_ours() {
    let two = Two::new();
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut gateway = two.gateway("mode = \"shared\"");
    let threads = [serve(&two.lab.name, &stop), tap(&two.lab.name, &stop, &seen)];
    std::thread::scope(|s| {
        let peer = s.spawn(|| {
            enter(&two.peer);
            let mut wire = two.wire();
            // Ours: ARP, ping, in fragments too, and what any host answers to a port that is closed.
            let asked = wire.eth([0xff; 6], &[], 0x0806, &arp_for(OURS));
            let is_reply = |f: &[u8]| behind(f, &[], 0x0806).is_some_and(|p| p[7] == 2 && p[14..18] == OURS);
            let reply = wire.ask("ARP for us", &asked, is_reply);
            assert_eq!(reply[6..12], wire.mac);
            let ping = echo();
            let answered = |f: &[u8]| is_v4(f, OURS, 1).is_some_and(|p| p[0] == 0 && p[4..40] == ping[4..40]);
            let whole = wire.v4(&v4(1, OURS, 0, &ping));
            wire.ask("ping of ours", &whole, answered);
            let (first, last) =
                (wire.v4(&v4(1, OURS, 0x2000, &ping[..24])), wire.v4(&v4(1, OURS, 3, &ping[24..])));
            wire.send(&first);
            wire.ask("ping of ours in fragments", &last, answered);
            let syn = wire.v4(&tcp(OURS, PORT));
            let is_reset = |f: &[u8]| is_v4(f, OURS, 6).is_some_and(|p| p[13] & 4 != 0);
            wire.ask("a closed port of ours", &syn, is_reset);
            wire.silence("a second reset", &wire.v4(&v4(17, OURS, 0, &[0, 9, 0, 9, 0, 8, 0, 0])), |f| {
                is_reset(f) || is_v4(f, OURS, 1).is_some() || is_v4(f, HOST, 1).is_some()
            });
            // The same in IPv6, asked by neighbour discovery.
            let [.., x, y, z] = OURS6.octets();
            let group =
                Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(x), u16::from_be_bytes([y, z]));
            let message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &OURS6.octets(), &[1, 1], &ME].concat();
            let asked = wire.eth([0x33, 0x33, 0xff, x, y, z], &[], 0x86dd, &icmp6(group, 255, message));
            let of_ours = |f: &[u8], kind: u8| {
                behind(f, &[], 0x86dd).is_some_and(|p| p[8..24] == OURS6.octets() && p[40] == kind)
            };
            wire.ask("solicitation for us", &asked, |f| of_ours(f, 136));
            let message = vec![128, 0, 0, 0, 0, 1, 0, 1, 9, 9];
            let ping6 = wire.eth(wire.mac, &[], 0x86dd, &icmp6(OURS6, 64, message));
            wire.ask("ping of ours, IPv6", &ping6, |f| of_ours(f, 129));
            // The host's: its service and its ping.
            talk((HOST, PORT).into()).unwrap();
            talk((HOST6, PORT).into()).unwrap();
            let whole = wire.v4(&v4(1, HOST, 0, &ping));
            wire.ask("ping of the host", &whole, |f| is_v4(f, HOST, 1).is_some_and(|p| p[0] == 0));
            // What is redirected to the MAC address is ours: the gateway asks the server itself.
            let redirected = wire.v4(&tcp([198, 51, 100, 7], 21));
            let own_syn = |f: &[u8]| is_v4(f, OURS, 6).is_some_and(|p| p[13] & 2 != 0 && p[2..4] == [0, 21]);
            wire.ask("a session", &redirected, own_syn);
            // An address that the host gains is the host's.
            two.lab.exec("ip address add 10.9.0.77/24 dev tga");
            let deadline = Instant::now() + Duration::from_secs(5);
            while let Err(e) = talk(([10, 9, 0, 77], PORT).into()) {
                assert!(Instant::now() < deadline, "the host's new address: {e}");
            }
        });
        peer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    stop.store(true, Ordering::Relaxed);
    // Something for the tap, which waits for frames.
    two.lab.exec("ip neigh flush dev tga");
    for thread in threads {
        thread.join().unwrap();
    }
    let seen = seen.lock().unwrap();
    assert!(seen.len() > 20, "the tap saw {} frames", seen.len());
    let leaked: Vec<_> = seen.iter().filter(|f| about_us(f)).collect();
    assert!(leaked.is_empty(), "the kernel got or sent what is ours: {leaked:02x?}");

    // An address of ours in the kernel is wrong, and told.
    two.lab.exec("ip address add 10.9.0.2/32 dev lo");
    gateway.sees("\"address_taken\"");
    // However it ends, the program goes.
    assert!(two.lab.inside(|| link::find("tga").unwrap().xdp_program).is_some());
    gateway.kill();
    let deadline = Instant::now() + Duration::from_secs(5);
    while two.lab.inside(|| link::find("tga").unwrap().xdp_program).is_some() {
        assert!(Instant::now() < deadline, "the program is still attached");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn in_its_vlan_it_is_tagged_from_the_first_frame_and_deaf_to_others() {
    for (lines, ids, tags) in [
        ("mode = \"shared\"", "[100]", &[0x81, 0, 0, 100][..]),
        ("mode = \"shared\"", "[100, 200]", &[0x88, 0xa8, 0, 100, 0x81, 0, 0, 200]),
        ("driver = \"pnet\"", "[100]", &[0x81, 0, 0, 100]),
        ("driver = \"pnet\"", "[100, 200]", &[0x88, 0xa8, 0, 100, 0x81, 0, 0, 200]),
    ] {
        let two = Two::new();
        if lines.contains("pnet") {
            two.lab.exec("ip address flush dev tga");
        }
        std::thread::scope(|s| {
            let peer = s.spawn(|| {
                enter(&two.peer);
                let mut wire = two.wire();
                let _gateway = two.gateway(&format!("{lines}\nvlan = {ids}"));
                let (all, got) = wire.hear(Duration::from_secs(5), |f| {
                    behind(f, tags, 0x0806).is_some_and(|p| p[14..18] == OURS && p[24..28] == OURS)
                });
                assert!(got, "{ids}: no tagged announcement in {all:02x?}");
                let ours = all.iter().filter(|f| about_us(f));
                assert!(ours.clone().all(|f| f[12..12 + tags.len()] == *tags), "{ids}: {all:02x?}");
                let ask = |wire: &Wire, tags: &[u8]| wire.eth([0xff; 6], tags, 0x0806, &arp_for(OURS));
                let reply = |f: &[u8], tags: &[u8]| {
                    behind(f, tags, 0x0806).is_some_and(|p| p[7] == 2 && p[14..18] == OURS)
                };
                // Asking for the next hop it asks in its VLAN.
                let syn = wire.eth(wire.mac, tags, 0x0800, &tcp([198, 51, 100, 7], 21));
                wire.ask("a session", &syn, |f| {
                    behind(f, tags, 0x0806).is_some_and(|p| p[7] == 1 && p[24..28] == PEER)
                });
                wire.ask("ARP in the VLAN", &ask(&wire, tags), |f| reply(f, tags));
                for other in [&[][..], &[0x81, 0, 0, 101], &[0x88, 0xa8, 0, 100, 0x81, 0, 0, 201]] {
                    wire.silence("another VLAN", &ask(&wire, other), |f| reply(f, other) || reply(f, tags));
                }
            });
            peer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
    }
}

#[test]
fn it_ends_when_told_and_when_its_interface_goes_with_its_recording_whole() {
    for lines in ["mode = \"shared\"", "driver = \"pnet\""] {
        let two = Two::new();
        if lines.contains("pnet") {
            two.lab.exec("ip address flush dev tga");
        }
        for gone in [false, true] {
            let dir = two.dir.path().join(format!("recorded-{gone}"));
            let mut gateway = two.start(lines, &["--record", dir.to_str().unwrap()], Stdio::piped());
            gateway.sees("\"started\"");
            let (want, text) = if gone {
                two.lab.exec("ip link del tga");
                (Some(2), "tga: the interface is gone; bring it back and start again\n")
            } else {
                gateway.signal(Signal::TERM);
                (Some(0), "")
            };
            assert_eq!(
                gateway.ends(Duration::from_secs(10)),
                (want, text.to_owned()),
                "{lines}, gone: {gone}"
            );
            gateway_wrote_all(&gateway);
            assert!(dir.join("manifest.toml").exists(), "{lines}, gone: {gone}");
        }
    }
}

fn gateway_wrote_all(gateway: &Gateway) {
    let events = std::fs::read_to_string(&gateway.events).unwrap();
    let last: Vec<_> = events.lines().rev().take(2).collect();
    assert!(last[0].contains("\"summary\"") && last[1].contains("\"stopped\""), "{events}");
}

#[test]
fn a_reader_of_events_that_takes_nothing_does_not_keep_it() {
    let mut two = Two::new();
    let pipe = two.dir.path().join("pipe");
    run(&format!("mkfifo {}", pipe.display()));
    two.events = "pipe";
    // Its reader is there, and reads nothing; the pipe is filled, so that the first event waits.
    let read = || OpenOptions::new().read(true).custom_flags(libc_nonblock()).open(&pipe).unwrap();
    let reader = read();
    let mut filler = OpenOptions::new().write(true).custom_flags(libc_nonblock()).open(&pipe).unwrap();
    while filler.write(&[b' '; 4096]).is_ok() {}
    while filler.write(b" ").is_ok() {}
    let mut gateway = two.start("mode = \"shared\"", &[], Stdio::inherit());
    let attached = || two.lab.inside(|| link::find("tga").unwrap().xdp_program).is_some();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !attached() {
        assert!(Instant::now() < deadline, "it does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.ends(Duration::from_secs(10)).0, Some(0));
    drop(reader);

    // Without a reader, or without a directory, it does not start, and says so before it takes the interface.
    for (name, what) in [
        ("pipe", "a pipe that nobody reads; start its reader first"),
        ("no/e", "its directory does not exist; make it, or name another path"),
    ] {
        two.events = name;
        let path = two.dir.path().join(name);
        let mut gateway = two.start("mode = \"shared\"", &[], Stdio::piped());
        let line = format!("events.path {}: {what}\n", path.display());
        assert_eq!(gateway.ends(Duration::from_secs(10)), (Some(2), line));
    }
}

fn libc_nonblock() -> i32 {
    rustix::fs::OFlags::NONBLOCK.bits() as i32
}

/// Takes the XDP program of this id off, as `bpftool link detach` would.
const DETACH: &str = "
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
def bpf(command, attributes):
    return libc.syscall(321, command, attributes, len(attributes))
number = 0
while True:
    attributes = bytearray(number.to_bytes(4, 'little') + bytes(12))
    raw = (ctypes.c_char * 16).from_buffer(attributes)
    if bpf(31, raw) < 0:
        sys.exit('there is no such link')
    number = int.from_bytes(attributes[4:8], 'little')
    link = bpf(30, ctypes.create_string_buffer(number.to_bytes(4, 'little') + bytes(12), 16))
    info = ctypes.create_string_buffer(64)
    address = ctypes.addressof(info).to_bytes(8, 'little')
    asked = link.to_bytes(4, 'little') + (64).to_bytes(4, 'little') + address
    if link >= 0 and bpf(15, ctypes.create_string_buffer(asked, 16)) == 0:
        if int.from_bytes(info.raw[8:12], 'little') == int(sys.argv[1]):
            sys.exit(bpf(34, ctypes.create_string_buffer(link.to_bytes(4, 'little') + bytes(4), 8)))
";

#[test]
fn what_changes_under_it_is_told_and_what_makes_it_deaf_ends_it() {
    for lines in ["mode = \"shared\"", "driver = \"pnet\""] {
        let pnet = lines.contains("pnet");
        let two = Two::new();
        if pnet {
            two.lab.exec("ip address flush dev tga");
        }
        let mut gateway = two.gateway(lines);
        two.at_peer("ip link set dev tgb down");
        gateway.sees("\"link_down\"");
        two.at_peer("ip link set dev tgb up");
        two.lab.exec("ip link set dev tga mtu 1400");
        gateway.sees("the MTU was 1500 at the start and is 1400");
        two.lab.exec("ip link set dev tga mtu 1500");
        two.lab.exec("sysctl -qw net.ipv4.conf.tga.forwarding=1");
        gateway.sees("\"host_forwards\"");
        two.lab.exec("ip address add 10.9.0.2/32 dev tga");
        gateway.sees("\"address_taken\"");
        two.lab.exec("ip address flush to 10.9.0.2 dev tga");
        two.lab.exec("sysctl -qw net.ipv4.conf.tga.forwarding=0");
        gateway.signal(Signal::TERM);
        assert_eq!(gateway.ends(Duration::from_secs(10)).0, Some(0));

        let mut gateway = two.start(lines, &[], Stdio::piped());
        gateway.sees("\"started\"");
        two.lab.exec("ip link set dev tga address 02:00:00:00:00:77");
        let (status, errors) = gateway.ends(Duration::from_secs(10));
        assert!(status == Some(2) && errors.contains("and is 02:00:00:00:00:77;"), "{status:?}, {errors}");
        gateway_wrote_all(&gateway);
        if pnet {
            continue;
        }
        let mut gateway = two.start(lines, &[], Stdio::piped());
        gateway.sees("\"started\"");
        let program = two.lab.inside(|| link::find("tga").unwrap().xdp_program).unwrap().to_string();
        let detached = Command::new("python3").args(["-c", DETACH, &program]).status().unwrap();
        assert!(detached.success());
        let (status, errors) = gateway.ends(Duration::from_secs(10));
        assert!(
            status == Some(2) && errors.contains("our XDP program was taken off"),
            "{status:?}, {errors}"
        );
    }
}
