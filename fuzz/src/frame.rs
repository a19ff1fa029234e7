//! Frames, one after the other, into the engine as each deployment has it. What it sends is well formed.

use super::input::Input;
use super::packets::packet;
use std::net::Ipv4Addr;
use std::path::Path;
use tidegate::buf::{Burst, Frame};
use tidegate::config;
use tidegate::engine::{Engine, Turn, Tx};
use tidegate::io::PortInfo;
use tidegate::runtime::settings;
use tidegate::time::{Duration, Instant};
use tidegate::wire::gre::{self, Redirect};
use tidegate::wire::{build, eth, parse_ip};

const US: eth::Mac = [2, 0, 0, 0, 0, 1];
const ROUTER: eth::Mac = [2, 0, 0, 0, 0, 2];
/// Frames of one input.
const MOST: usize = 64;

const INTERFACE: &str = "version = 1\n[[interface]]\nname = \"eth1\"\n\
                         address = [\"10.9.0.2/24\", \"2001:db8:9::2/64\"]\n\
                         next_hop = [\"10.9.0.1\", \"2001:db8:9::1\"]\n[limits]\nflows = 256\n";
const WCCP: &str = "[deployment]\nkind = \"wccp\"\n[wccp]\nrouters = [\"10.9.0.1\"]\n\
                    [[wccp.group]]\nid = 61\nports = [21, 20, 2020]\n";
const STATIC: &str = "[deployment]\nkind = \"static\"\n";
const SERVICE: &str = "[[service]]\nname = \"ftp\"\nports = [21]\ndata_ports = [2020]\n";

pub fn body(data: &[u8]) {
    let mut input = Input::new(data);
    let by_mac = input.u8() & 1 == 0;
    let mut engine = engine(if by_mac { STATIC } else { WCCP });
    let mut now = Instant::from_millis(1000);
    for _ in 0..MOST {
        if input.is_empty() {
            break;
        }
        let frame = match input.u8() & 3 {
            0 => input.counted().to_vec(),
            1 => {
                now += Duration::from_millis(u64::from(input.u16()) * 10);
                Vec::new()
            }
            // As routers send it: by policy, or redirected in GRE.
            _ if by_mac => ethernet(&packet(&mut input)),
            _ => ethernet(&in_gre(&packet(&mut input))),
        };
        turn(&mut engine, now, &frame);
    }
}

fn engine(deployment: &str) -> Engine {
    let text = [INTERFACE, deployment, SERVICE].concat();
    let config = config::parse(&text, Path::new("fuzz.toml")).unwrap();
    let port =
        PortInfo { name: "eth1".into(), driver: "mem", mac: US, mtu: 1500, attach: None, zero_copy: false };
    settings::build(&config, &[port], [7; 16]).unwrap()
}

fn ethernet(packet: &[u8]) -> Vec<u8> {
    let mut frame = [&US[..], &ROUTER].concat();
    let six = packet.first().is_some_and(|b| b >> 4 == 6);
    frame.extend((if six { eth::TYPE_IPV6 } else { eth::TYPE_IPV4 }).to_be_bytes());
    frame.extend_from_slice(packet);
    frame
}

fn in_gre(packet: &[u8]) -> Vec<u8> {
    let mut out = vec![0; gre::OVERHEAD];
    out.extend_from_slice(packet);
    let (router, us) = (Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2));
    build::gre_v4(&mut out, router, us, 1, Redirect([0, 61, 0, 0]));
    out
}

fn turn(engine: &mut Engine, now: Instant, frame: &[u8]) {
    let mut rx = [Burst::new()];
    if let Some(frame) = Frame::from_bytes(frame) {
        rx[0].push(frame).unwrap();
    }
    let spare = (0..8).map(|_| Frame::heap()).collect();
    let mut tx = [Tx { slots: 8, spare, out: vec![], done: vec![] }];
    let given = rx[0].len() + tx[0].spare.len();
    let mut events = Vec::new();
    engine.turn(&mut Turn {
        now,
        rx: &mut rx,
        tx: &mut tx,
        handoff_in: &mut Vec::new(),
        handoff_out: &mut Vec::new(),
        control: &[],
        events: &mut events,
    });
    let [tx] = tx;
    assert!(tx.out.len() <= 8, "more was sent than there is room");
    assert!(tx.spare.len() + tx.out.len() + tx.done.len() >= given, "a frame was lost");
    for sent in &tx.out {
        let bytes = sent.bytes();
        let l2 = eth::parse(bytes).unwrap();
        // What is passed on goes as it came; what is ours says so by its source, and is whole.
        if l2.ethertype == eth::TYPE_ARP || bytes.len() == frame.len() {
            continue;
        }
        let ip = parse_ip(bytes, l2.len).unwrap();
        assert!(ip.transport_checksum_ok(bytes), "{bytes:x?}");
    }
}
