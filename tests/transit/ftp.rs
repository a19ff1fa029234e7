//! Whole FTP sessions of hosts with TCP stacks of their own, through a bridge and through a route.

use crate::support::craft::{frame, syn};
use crate::support::net::{IN, Network, OUT};
use crate::support::options::{
    BRIDGED, CLIENT, INSIDE_MAC, OUTSIDE, OUTSIDE_MAC, Options, ROUTED, bridge, host6, masquerade, route,
};
use std::net::{IpAddr, SocketAddr};
use tidegate::firewall::{Action, Protocol, Rule, Side};
use tidegate::time::Duration;

/// Control connections from inside may be begun, nothing else.
fn guarded(mut o: Options) -> Options {
    o.firewall.filter.rules = vec![Rule {
        name: "ftp".into(),
        action: Action::Allow,
        from: Some(Side::Inside),
        protocol: Protocol::Tcp,
        source: vec![],
        destination: vec![],
        ports: vec![21..=21],
    }];
    o
}

fn file() -> Vec<u8> {
    (0..100_000u32).map(|i| (i * 7 + i / 251) as u8).collect()
}

fn network(o: &Options) -> Network {
    let mut n = Network::new(o);
    n.nodes[1].server.as_mut().unwrap().conf.files.insert("f".into(), file());
    n
}

fn server(o: &Options) -> IpAddr {
    if o.bridge { BRIDGED.into() } else { ROUTED.into() }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The line that begins with this, of what passed on a side.
fn line_of(all: &[u8], verb: &str) -> String {
    text(all).lines().find(|l| l.starts_with(verb)).unwrap_or_default().to_owned()
}

#[test]
fn an_active_transfer_passes_once_and_its_port_is_told_as_it_is_known_outside() {
    let o = guarded(masquerade(Action::Drop));
    let mut n = network(&o);
    let mut c = n.login(0, 40_000, (ROUTED, 21).into());
    let unannounced =
        frame(OUTSIDE_MAC, n.nodes[1].mac, &[], &syn((ROUTED, 20).into(), (OUTSIDE, 5001).into(), 1));
    assert!(n.exchange(OUT, &unannounced)[IN].is_empty(), "nothing was announced");
    let (listener, reply) = n.active(&mut c, "PORT", 5001);
    assert!(reply.starts_with("200"), "{reply}");
    let (said, heard) =
        (line_of(&n.payload(IN, false, 21), "PORT"), line_of(&n.payload(OUT, true, 21), "PORT"));
    assert_eq!(said, "PORT 10,0,0,10,19,137");
    assert!(heard.starts_with("PORT 198,51,100,1,"), "{heard}");
    assert_ne!(said.len(), heard.len());
    let (got, last) = n.fetch(&mut c, listener, "f");
    assert_eq!((got == file(), &last[..3]), (true, "226"));
    // What is said after it comes in both ends' own numbers.
    assert_eq!(n.cmd(&mut c, "NOOP"), "200 Got NOOP");
    let delta = n.payload(OUT, true, 21).len() as i64 - n.payload(IN, false, 21).len() as i64;
    assert_eq!(delta, heard.len() as i64 - said.len() as i64, "the rest is unchanged");
    assert_ne!(delta, 0);
    // The announcement is used up.
    let told: SocketAddr = port_of(&heard);
    n.run(Duration::from_secs(1));
    let again = frame(OUTSIDE_MAC, n.nodes[1].mac, &[], &syn((ROUTED, 20).into(), told, 1));
    let before = n.syns(IN, true).len();
    n.push(OUT, &again);
    n.run(Duration::from_millis(10));
    assert_eq!(n.syns(IN, true).len(), before, "a second use");
    assert_eq!(before, 1);
    assert!(n.cmd(&mut c, "QUIT").starts_with("221"));
}

/// What a PORT line names.
fn port_of(line: &str) -> SocketAddr {
    let n: Vec<u8> = line[5..].trim().split(',').map(|n| n.parse().unwrap()).collect();
    (std::net::Ipv4Addr::new(n[0], n[1], n[2], n[3]), u16::from(n[4]) << 8 | u16::from(n[5])).into()
}

#[test]
fn every_mode_passes_where_only_control_connections_are_allowed() {
    for o in [bridge(Action::Drop), route(Action::Drop), masquerade(Action::Drop)] {
        let o = guarded(o);
        for (verb, six) in [
            ("PORT", false),
            ("PASV", false),
            ("EPRT", false),
            ("EPSV", false),
            ("EPRT", true),
            ("EPSV", true),
        ] {
            let mut n = network(&o);
            let to = match (six, o.bridge) {
                (false, _) => server(&o),
                (true, false) => host6(OUT, 10),
                (true, true) => host6(IN, 20),
            };
            let mut c = n.login(0, 40_000, (to, 21).into());
            let data = if matches!(verb, "PORT" | "EPRT") {
                let (listener, reply) = n.active(&mut c, verb, 5001);
                assert!(reply.starts_with("200"), "{verb}: {reply}");
                listener
            } else {
                let to = n.passive(&mut c, verb);
                n.data(&c, 5002, to)
            };
            let (got, last) = n.fetch(&mut c, data, "f");
            assert_eq!((got == file(), &last[..3]), (true, "226"), "{verb} {six} bridge {}", o.bridge);
        }
    }
}

#[test]
fn without_the_alg_the_same_transfers_fail() {
    for mut o in [bridge(Action::Drop), masquerade(Action::Drop)] {
        o = guarded(o);
        o.firewall.services[0].alg = false;
        for verb in ["PORT", "PASV"] {
            let mut n = network(&o);
            let mut c = n.login(0, 40_000, (server(&o), 21).into());
            let side = if verb == "PORT" {
                let _ = n.active(&mut c, "PORT", 5001);
                n.say(&c, b"RETR f\r\n");
                IN
            } else {
                let to = n.passive(&mut c, verb);
                n.data(&c, 5002, to);
                OUT
            };
            n.run(Duration::from_secs(5));
            let data = n.syns(side, true).into_iter().filter(|s| s.3 != 21).count();
            assert_eq!(data, 0, "{verb}");
        }
    }
}

#[test]
fn a_bridge_changes_no_byte_of_a_session() {
    let mut n = network(&guarded(bridge(Action::Drop)));
    n.tags = vec![0x88, 0xA8, 0, 7, 0x81, 0, 0x60, 5];
    let mut c = n.login(0, 40_000, (BRIDGED, 21).into());
    let (listener, _) = n.active(&mut c, "PORT", 5001);
    let (got, _) = n.fetch(&mut c, listener, "f");
    assert!(got == file());
    let to = n.passive(&mut c, "PASV");
    let data = n.data(&c, 5002, to);
    assert!(n.fetch(&mut c, data, "f").0 == file());
    assert!(n.cmd(&mut c, "QUIT").starts_with("221"));
    n.run(Duration::from_secs(1));
    for (from, to) in [(IN, OUT), (OUT, IN)] {
        let of = |side, sent| -> Vec<&Vec<u8>> {
            n.seen.iter().filter(|s| s.side == side && s.sent == sent).map(|s| &s.frame).collect()
        };
        assert_eq!(of(from, false), of(to, true), "in order, byte for byte");
    }
    assert_eq!(n.counter("made"), 0);
}

#[test]
fn lost_frames_are_made_up_for() {
    for o in [guarded(bridge(Action::Drop)), guarded(masquerade(Action::Drop))] {
        for seed in 1..9u64 {
            let mut n = network(&o);
            // Its stack gives a connection up that loses much of a long file.
            let short = file()[..8000].to_vec();
            n.nodes[1].server.as_mut().unwrap().conf.files.insert("f".into(), short.clone());
            let mut state = seed;
            n.loss = Some(Box::new(move |s| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                s.frame[12..14] == [8, 0] && (state >> 33).is_multiple_of(12)
            }));
            let mut c = n.login(0, 40_000, (server(&o), 21).into());
            let (listener, reply) = n.active(&mut c, "PORT", 5001);
            assert!(reply.starts_with("200"), "{reply}");
            let (got, last) = n.fetch(&mut c, listener, "f");
            assert!(got == short && last.starts_with("226"), "seed {seed}: {last}");
            let to = n.passive(&mut c, "EPSV");
            let data = n.data(&c, 5002, to);
            assert!(n.fetch(&mut c, data, "f").0 == short);
        }
    }
}

#[test]
fn others_cannot_use_what_was_announced() {
    let o = guarded(masquerade(Action::Drop));
    let mut n = network(&o);
    let mut c = n.login(0, 40_000, (ROUTED, 21).into());
    let (listener, _) = n.active(&mut c, "PORT", 5001);
    let told = port_of(&line_of(&n.payload(OUT, true, 21), "PORT"));
    let stranger: IpAddr = "198.51.100.66".parse().unwrap();
    let theirs = frame(OUTSIDE_MAC, [2, 0, 0, 0, 1, 0x66], &[], &syn((stranger, 20).into(), told, 1));
    assert!(n.exchange(OUT, &theirs)[IN].is_empty());
    let (got, _) = n.fetch(&mut c, listener, "f");
    assert!(got == file());
    let ours =
        frame(INSIDE_MAC, [2, 0, 0, 0, 0, 0x66], &[], &syn((CLIENT, 999).into(), (ROUTED, 2000).into(), 1));
    assert!(n.exchange(IN, &ours)[OUT].is_empty());
}
