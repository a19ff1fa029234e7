//! Every pair of data modes over IPv6, with either address toward the server.

use crate::modes::{bytes, carries, leaves_nothing, open, server_opens};
use crate::support::*;
use std::net::IpAddr;
use tidegate::event::What;
use tidegate::session::{ServerMode, UpstreamSource};

/// The verbs of IPv6.
const VERBS: [&str; 2] = ["EPSV", "EPRT"];

/// Source ports of servers' that the router's policy sends to the gateway, none for all; no such policy where
/// the server sees the gateway's address.
type Back = Option<&'static [u16]>;

fn options(back: Back, mode: ServerMode) -> Options {
    let mut o = Options { way: Way::Policy, six: true, ..Options::default() };
    o.service.mss_clamp = None;
    o.service.server_mode = mode;
    o.reverse = back.map(<[u16]>::to_vec);
    if back.is_some() {
        o.service.upstream_source = UpstreamSource::Client;
    }
    o
}

/// All that can be, with the verbs that the client may use.
fn all() -> Vec<(Back, ServerMode, &'static [&'static str])> {
    let mut all: Vec<(Back, ServerMode, &'static [&'static str])> = Vec::new();
    for mode in [ServerMode::Passive, ServerMode::Active, ServerMode::Same] {
        all.push((None, mode, &VERBS));
        all.push((Some(&[]), mode, &VERBS));
    }
    // What needs a passive server is not redirected by these.
    all.push((Some(&[21, 20]), ServerMode::Active, &VERBS));
    all.push((Some(&[21, 20]), ServerMode::Same, &VERBS[1..]));
    all
}

#[test]
fn every_pair_of_modes_carries_every_size_both_ways_and_is_reported_so() {
    for (back, mode, verbs) in all() {
        for n in [0, 1, 1440, 200_000] {
            let at = format!("{back:?} {mode:?} {n}");
            let mut o = options(back, mode);
            o.server.files.insert("f".into(), bytes(n));
            let mut w = World::new(o);
            let c = carries(&mut w, mode, verbs, n, &at);
            let ends = w.told(|e| match e {
                What::Expectation { state: "opened", client_side, server_side, .. } => {
                    Some((client_side.ip(), server_side.map(|s| s.ip())))
                }
                _ => None,
            });
            assert!(ends.len() >= 3 * verbs.len(), "{at}: {ends:?}");
            assert!(ends.iter().all(|(c, s)| c.is_ipv6() && s.is_none_or(|s| s.is_ipv6())), "{at}: {ends:?}");
            leaves_nothing(&mut w, c, &at);
        }
    }
}

#[test]
fn each_end_meets_the_address_that_it_should_and_is_asked_in_the_words_of_ipv6() {
    for (back, mode, verbs) in all() {
        let at = format!("{back:?} {mode:?}");
        let mut o = options(back, mode);
        o.server.files.insert("f".into(), bytes(5000));
        let mut w = World::new(o);
        w.watch();
        let mut c = w.login(0, 5001);
        for verb in verbs {
            let d = open(&mut w, &mut c, verb);
            assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150", "{at} {verb}");
            assert!(w.read_all(&c, d) == bytes(5000), "{at} {verb}");
            assert_eq!(&w.reply(&mut c)[..3], "226", "{at} {verb}");
        }
        let from = if back.is_some() { CLIENT6 } else { GATEWAY6 };
        let sent = w.server.lines(0);
        let setups: Vec<&String> = sent.iter().filter(|l| l.starts_with('E') || l.starts_with('P')).collect();
        // After PASS, one for each transfer.
        for (line, verb) in setups[1..].iter().zip(verbs) {
            if server_opens(mode, verb) {
                assert!(line.starts_with(&format!("EPRT |2|{from}|")), "{at} {verb}: {line}");
            } else {
                assert_eq!(*line, "EPSV", "{at} {verb}");
            }
        }
        assert_eq!(setups.len(), 1 + verbs.len(), "{at}: {sent:?}");
        let (to_server, to_client) = (w.segments6(Hop::ToHost(1)), w.segments6(Hop::ToHost(0)));
        let only = |s: &[Tcp6], ip: IpAddr| s.len() > 10 && s.iter().all(|t| t.src.ip() == ip);
        assert!(only(&to_server, from.into()) && only(&to_client, SERVER6.into()), "{at}");
        let syn = to_server.iter().find(|t| t.flags == 2 && t.dst.port() == 21).unwrap();
        assert_eq!(syn.src.port() == 5001, back.is_some(), "{at}: with the client's address comes its port");
        assert!(w.segments(Hop::FromGateway).is_empty(), "{at}: families do not mix");
    }
}

#[test]
fn a_server_that_connects_from_elsewhere_reaches_the_client_where_all_comes_to_us() {
    for back in [None, Some(&[][..])] {
        for verb in VERBS {
            let mut o = options(back, ServerMode::Active);
            o.server.files.insert("f".into(), bytes(10));
            o.server.data_from = None;
            let mut w = World::new(o);
            let mut c = w.login(0, 5001);
            let d = open(&mut w, &mut c, verb);
            assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150", "{back:?} {verb}");
            assert!(w.read_all(&c, d) == bytes(10), "{back:?} {verb}");
            assert_eq!(&w.reply(&mut c)[..3], "226", "{back:?} {verb}");
        }
    }
}
