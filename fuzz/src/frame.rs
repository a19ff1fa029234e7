//! Frames, one after the other, into the engine as each deployment has it: behind a router, and in line. What it sends is
//! well formed.

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
const US_OUTSIDE: eth::Mac = [2, 0, 0, 0, 0, 3];
const ROUTER: eth::Mac = [2, 0, 0, 0, 0, 2];
/// Frames of one input.
const MOST: usize = 64;

const ONE: &str = "[[interface]]\nname = \"eth1\"\naddress = [\"10.9.0.2/24\", \"2001:db8:9::2/64\"]\n\
                   next_hop = [\"10.9.0.1\", \"2001:db8:9::1\"]\n";
const WCCP: &str = "[deployment]\nkind = \"wccp\"\n[wccp]\nrouters = [\"10.9.0.1\"]\n\
                    [[wccp.group]]\nid = 61\nports = [21, 20, 2020]\n";
const WCCP_ALL: &str = "[deployment]\nkind = \"wccp\"\n[wccp]\nrouters = [\"10.9.0.1\"]\n\
                        [[wccp.group]]\nid = 61\nports = [21, 20, 2020]\n\
                        [[wccp.group]]\nid = 62\nrole = \"reverse\"\nports = [21]\n";
const STATIC: &str = "[deployment]\nkind = \"static\"\n";
const PROXY: &str = "[[service]]\nname = \"ftp\"\nports = [21]\ndata_ports = [2020]\n";
const BRIDGE: &str = "[deployment]\nkind = \"bridge\"\n[[interface]]\nname = \"in0\"\nrole = \"inside\"\n\
                      [[interface]]\nname = \"out0\"\nrole = \"outside\"\n";
const ROUTE: &str = "[deployment]\nkind = \"route\"\n[[interface]]\nname = \"in0\"\nrole = \"inside\"\n\
                     address = [\"10.0.0.1/24\", \"2001:db8:a::1/64\"]\n\
                     [[interface]]\nname = \"out0\"\nrole = \"outside\"\n\
                     address = [\"10.9.0.2/24\", \"2001:db8:9::2/64\"]\n\
                     next_hop = [\"10.9.0.1\", \"2001:db8:9::1\"]\n[nat]\nmasquerade = true\n";
const FILTER: &str = "[firewall]\ndefault = \"deny\"\n[[firewall.rule]]\nname = \"ftp\"\naction = \"allow\"\n\
                      from = \"inside\"\nprotocol = \"tcp\"\nports = [21, 7]\n";
const INSPECT: &str = "[[service]]\nname = \"ftp\"\nports = [21]\nhandling = \"inspect\"\n";

/// The deployments: sections, interfaces, whether packets come in GRE.
fn deployments() -> [(String, usize, bool); 6] {
    [
        ([STATIC, ONE, PROXY].concat(), 1, false),
        ([WCCP, ONE, PROXY].concat(), 1, true),
        ([BRIDGE, FILTER, INSPECT].concat(), 2, false),
        ([ROUTE, FILTER, INSPECT].concat(), 2, false),
        ([STATIC, ONE, INSPECT].concat(), 1, false),
        ([WCCP_ALL, ONE, INSPECT].concat(), 1, true),
    ]
}

pub fn body(data: &[u8]) {
    let mut input = Input::new(data);
    let how = usize::from(input.u8());
    let all = deployments();
    let (text, ports, gre) = &all[how % all.len()];
    let mut engine = engine(text, *ports);
    let mut now = Instant::from_millis(1000);
    for _ in 0..MOST {
        if input.is_empty() {
            break;
        }
        let op = input.u8();
        let frame = match op & 3 {
            0 => input.counted().to_vec(),
            1 => {
                now += Duration::from_millis(u64::from(input.u16()) * 10);
                Vec::new()
            }
            _ if *gre => ethernet(&in_gre(&packet(&mut input))),
            _ => ethernet(&packet(&mut input)),
        };
        turn(&mut engine, now, *ports, usize::from(op >> 7), &frame);
    }
    assert!(engine.occupied().iter().all(|(_, n)| *n < 1 << 20));
}

fn engine(text: &str, ports: usize) -> Engine {
    let text = format!("version = 1\n{text}[limits]\nflows = 256\n");
    let config = config::parse(&text, Path::new("fuzz.toml")).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let names = if ports == 1 { &["eth1"][..] } else { &["in0", "out0"] };
    let port = |(n, name): (usize, &&str)| PortInfo {
        name: (*name).into(),
        driver: "mem",
        mac: if n == 0 { US } else { US_OUTSIDE },
        mtu: 1500,
        attach: None,
        zero_copy: false,
    };
    let infos: Vec<_> = names.iter().enumerate().map(port).collect();
    settings::build(&config, &infos, [7; 16]).unwrap()
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

fn turn(engine: &mut Engine, now: Instant, ports: usize, at: usize, frame: &[u8]) {
    let mut frame = frame.to_vec();
    let at = at.min(ports - 1);
    if at == 1 && frame.starts_with(&US) {
        frame[..6].copy_from_slice(&US_OUTSIDE);
    }
    let mut rx: Vec<Burst> = (0..ports).map(|_| Burst::new()).collect();
    if let Some(frame) = Frame::from_bytes(&frame) {
        rx[at].push(frame).unwrap();
    }
    let spare = || (0..8).map(|_| Frame::heap()).collect();
    let mut tx: Vec<Tx> =
        (0..ports).map(|_| Tx { slots: 8, spare: spare(), out: vec![], done: vec![] }).collect();
    let given = rx.iter().map(Burst::len).sum::<usize>() + 8 * ports;
    engine.turn(&mut Turn {
        now,
        rx: &mut rx,
        tx: &mut tx,
        handoff_in: &mut Vec::new(),
        handoff_out: &mut Vec::new(),
        control: &[],
        events: &mut Vec::new(),
    });
    let back: usize = tx.iter().map(|t| t.spare.len() + t.out.len() + t.done.len()).sum();
    assert!(back >= given, "a frame was lost");
    for sent in tx.iter().flat_map(|t| &t.out) {
        let bytes = sent.bytes();
        let l2 = eth::parse(bytes).unwrap();
        // What is passed on goes as it came; what is ours is whole.
        if !matches!(l2.ethertype, eth::TYPE_IPV4 | eth::TYPE_IPV6) || bytes.len() == frame.len() {
            continue;
        }
        let ip = parse_ip(bytes, l2.len).unwrap();
        assert!(ip.transport_checksum_ok(bytes), "{bytes:x?}");
    }
    assert!(tx.iter().all(|t| t.out.len() <= 8), "more was sent than there is room");
}
