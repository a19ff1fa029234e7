//! Frames, one after the other, into the engine as each deployment has it: behind a router, and in line. What it sends is
//! well formed.

use super::input::Input;
use super::packets::{Came, packet};
use std::net::Ipv4Addr;
use std::path::Path;
use tidegate::buf::{Burst, Frame};
use tidegate::config::{self, Limits};
use tidegate::engine::{Engine, Turn, Tx};
use tidegate::io::PortInfo;
use tidegate::runtime::settings;
use tidegate::time::{Duration, Instant};
use tidegate::wire::arp::{self, Arp};
use tidegate::wire::gre::{self, Redirect};
use tidegate::wire::nd::{self, Nd};
use tidegate::wire::{build, eth, parse_ip};

const US: eth::Mac = [2, 0, 0, 0, 0, 1];
const US_OUTSIDE: eth::Mac = [2, 0, 0, 0, 0, 3];
const ROUTER: eth::Mac = [2, 0, 0, 0, 0, 2];
/// Frames of one input.
const MOST: usize = 64;
const MTU: usize = 1500;

const ONE: &str = "[[interface]]\nname = \"eth1\"\naddress = [\"10.9.0.2/24\", \"2001:db8:9::2/64\"]\n\
                   next_hop = [\"10.9.0.1\", \"2001:db8:9::1\"]\n";
const WCCP: &str = "[deployment]\nkind = \"wccp\"\n[wccp]\nrouters = [\"10.9.0.1\"]\n\
                    [[wccp.group]]\nid = 61\nports = [21, 20, 2020]\n";
const WCCP_ALL: &str = "[deployment]\nkind = \"wccp\"\n[wccp]\nrouters = [\"10.9.0.1\"]\n\
                        [[wccp.group]]\nid = 61\nports = [21, 20, 2020]\n\
                        [[wccp.group]]\nid = 62\nrole = \"reverse\"\nports = [21]\n";
const STATIC: &str = "[deployment]\nkind = \"static\"\n";
// Limits are so low that some inputs reach them.
const PROXY: &str = "[[service]]\nname = \"ftp\"\nports = [21]\ndata_ports = [2020]\n\
                     [limits]\nflows = 64\nsessions = 2\nhalf_open = 2\n";
const BRIDGE: &str = "[deployment]\nkind = \"bridge\"\n[[interface]]\nname = \"in0\"\nrole = \"inside\"\n\
                      [[interface]]\nname = \"out0\"\nrole = \"outside\"\n";
const ROUTE: &str = "[deployment]\nkind = \"route\"\n[[interface]]\nname = \"in0\"\nrole = \"inside\"\n\
                     address = [\"10.0.0.1/24\", \"2001:db8:a::1/64\"]\n\
                     [[interface]]\nname = \"out0\"\nrole = \"outside\"\n\
                     address = [\"10.9.0.2/24\", \"2001:db8:9::2/64\"]\n\
                     next_hop = [\"10.9.0.1\", \"2001:db8:9::1\"]\n[nat]\nmasquerade = true\n";
const FILTER: &str = "[firewall]\ndefault = \"deny\"\n[[firewall.rule]]\nname = \"ftp\"\naction = \"allow\"\n\
                      from = \"inside\"\nprotocol = \"tcp\"\nports = [21, 7]\n";
const INSPECT: &str = "[[service]]\nname = \"ftp\"\nports = [21]\nhandling = \"inspect\"\n\
                       [limits]\nflows = 64\nsessions = 2\nexpectations = 2\nconnections = 64\n";

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
    let (mut engine, limits) = engine(text, *ports);
    let mut now = Instant::from_millis(1000);
    let mut came = Came::default();
    for frames in 1..=MOST {
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
        let asked = turn(&mut engine, now, *ports, usize::from(op >> 7), &frame, &mut came);
        for (at, answer) in asked {
            turn(&mut engine, now, *ports, at, &answer, &mut came);
        }
        for (what, n) in engine.occupied() {
            assert!(n <= most(what, frames, &limits), "{what}: {n} after {frames} frames");
        }
    }
}

/// What a neighbour says that we ask for its MAC address: without that, little would be sent.
fn neighbour(frame: &[u8]) -> Option<Vec<u8>> {
    let l2 = eth::parse(frame)?;
    let us = eth::src(frame);
    let (ethertype, answer) = match l2.ethertype {
        eth::TYPE_ARP => {
            let asked = arp::parse(&frame[l2.len..]).filter(|a| a.request && a.sender_mac == us)?;
            let answer = Arp {
                request: false,
                sender_mac: ROUTER,
                sender: asked.target,
                target_mac: us,
                target: asked.sender,
            };
            (eth::TYPE_ARP, arp::emit(&answer).to_vec())
        }
        eth::TYPE_IPV6 => {
            let ip = parse_ip(frame, l2.len).ok()?;
            let Nd::Solicit { target, from, mac } = nd::parse(frame, &ip)? else { return None };
            mac.filter(|mac| *mac == us)?;
            (eth::TYPE_IPV6, nd::advert(ROUTER, target, from, true).to_vec())
        }
        _ => return None,
    };
    let mut out = [us, ROUTER].concat();
    out.extend(ethertype.to_be_bytes());
    out.extend(answer);
    Some(out)
}

/// How many there may be of what is counted: what the configuration says, or else a few for each frame.
fn most(what: &str, frames: usize, limits: &Limits) -> usize {
    match what {
        "sessions" => limits.sessions,
        "half-open connections" => limits.half_open,
        "expectations" => limits.expectations,
        "connections" => limits.flows,
        "connections other than TCP" => limits.connections,
        _ if what.starts_with("bytes") => frames * MTU,
        _ => frames * 8,
    }
}

fn engine(text: &str, ports: usize) -> (Engine, Limits) {
    let text = format!("version = 1\n{text}");
    let config = config::parse(&text, Path::new("fuzz.toml")).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let names = if ports == 1 { &["eth1"][..] } else { &["in0", "out0"] };
    let port = |(n, name): (usize, &&str)| PortInfo {
        name: (*name).into(),
        driver: "mem",
        mac: if n == 0 { US } else { US_OUTSIDE },
        mtu: MTU as u16,
        attach: None,
        zero_copy: false,
    };
    let infos: Vec<_> = names.iter().enumerate().map(port).collect();
    let engine = settings::build(&config, &infos, [7; 16]).unwrap();
    (engine, config.limits)
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

fn turn(
    engine: &mut Engine,
    now: Instant,
    ports: usize,
    at: usize,
    frame: &[u8],
    came: &mut Came,
) -> Vec<(usize, Vec<u8>)> {
    came.take(frame);
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
        came.explain(sent.bytes());
    }
    assert!(tx.iter().all(|t| t.out.len() <= 8), "more was sent than there is room");
    let sent = tx.iter().enumerate().flat_map(|(at, t)| t.out.iter().map(move |f| (at, f)));
    sent.filter_map(|(at, f)| Some((at, neighbour(f.bytes())?))).collect()
}
