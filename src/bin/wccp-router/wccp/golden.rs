//! What Apache Traffic Server's WCCP client and this router once said to each other, said again.

use super::assign::{PacketKey, RedirectList};
use super::codec::tests::unhex;
use super::codec::{Capabilities, GRE, HASH, L2, MASK, Message, ServiceKey, parse};
use super::group::State;
use super::{Faults, GroupConf, Wccp};
use std::net::Ipv4Addr;
use tidegate::time::{Duration, Instant};

const BY_HASH: &str = include_str!("../../../../tests/data/wccp/traffic-server-hash.txt");
const BY_MASK: &str = include_str!("../../../../tests/data/wccp/traffic-server-mask.txt");
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const CACHE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

/// The lines of a file: time in milliseconds, sender, datagram.
fn lines(text: &str) -> Vec<(u64, Ipv4Addr, Vec<u8>)> {
    let line = |line: &str| {
        let mut words = line.split(' ');
        let (secs, millis) = words.next()?.split_once('.')?;
        let time = secs.parse::<u64>().ok()? * 1000 + millis.parse::<u64>().ok()?;
        Some((time, words.next()?.parse().ok()?, unhex(words.next()?)))
    };
    text.lines().filter(|l| !l.starts_with('#')).map(|l| line(l).unwrap()).collect()
}

fn router() -> Wccp {
    Wccp::new(vec![GroupConf {
        key: ServiceKey { kind: 1, id: 80 },
        password: Some(b"secret1".to_vec()),
        offer: Capabilities { forward: GRE | L2, assignment: HASH | MASK, packet_return: GRE | L2 },
        redirect_list: RedirectList::default(),
        redirect_in: vec![0],
        redirect_out: vec![],
        interval: Duration::from_secs(10),
        router_id: ROUTER,
        faults: Faults::default(),
    }])
}

/// Gives the router what the client sent, wants from it, byte for byte, what it answered then; `seen` looks
/// at it after each message of the client's.
fn replay(text: &str, mut seen: impl FnMut(u64, &mut Wccp)) -> Wccp {
    let mut w = router();
    let mut answers = vec![];
    for (millis, from, datagram) in lines(text) {
        let now = Instant::from_millis(millis);
        if from == CACHE {
            assert!(answers.is_empty(), "the router says more than it did");
            answers.extend(w.handle_datagram(&datagram, from, ROUTER, now));
            seen(millis / 1000, &mut w);
            continue;
        }
        if answers.is_empty() {
            // A word of its own accord; the capture's clock is a little off.
            let due = w.poll_timeout();
            assert!(due.since(now).max(now.since(due)) < Duration::from_millis(20), "{due:?} for {now:?}");
            answers = w.handle_timeout(due);
        }
        assert_eq!(answers.remove(0).bytes, datagram, "at {millis} ms");
    }
    w
}

fn cache_of(w: &mut Wccp, last: u8) -> Option<Ipv4Addr> {
    let (src, dst) = (Ipv4Addr::new(10, 0, 0, last), Ipv4Addr::new(10, 1, 0, 10));
    w.redirect(&PacketKey { proto: 6, src, dst, ports: Some((40000, 2121)) }, 0, 1, 60).map(|r| r.cache)
}

#[test]
fn traffic_server_joins_assigns_and_is_forgotten() {
    for (text, share) in [(BY_HASH, (256, 256)), (BY_MASK, (1, 1))] {
        let mut states = vec![];
        let mut w = replay(text, |secs, w| {
            let all = (0..=255).all(|last| cache_of(w, last) == Some(CACHE));
            states.push((secs, w.groups()[0].caches()[0].state, all));
        });
        use State::{Pending, Usable};
        let expected = [
            (0, Pending, false),
            (10, Usable, false),
            (20, Usable, false),
            (25, Usable, true),
            (30, Usable, true),
            (40, Usable, true),
        ];
        assert_eq!(states, expected);
        let group = &w.groups()[0];
        assert_eq!(group.table().unwrap().share(CACHE), share);
        assert_eq!((group.stats.assigned, group.stats.stale, group.stats.bad_security), (1, 0, 0));
        assert_eq!(group.caches()[0].state, State::Queried, "killed at 45 s, asked at 65 s");
        let due = w.poll_timeout();
        assert!(w.handle_timeout(due).is_empty());
        assert!(w.groups()[0].caches().is_empty() && cache_of(&mut w, 10).is_none());
    }
}

#[test]
fn its_messages_are_read_whole() {
    for text in [BY_HASH, BY_MASK] {
        for (_, _, datagram) in lines(text).iter().filter(|l| l.1 == CACHE) {
            let (_, message) = parse(datagram).unwrap();
            match message {
                Message::HereIAm(m) => assert_eq!((m.cache, m.shutdown), (CACHE, None)),
                Message::RedirectAssign(m) => assert_eq!((m.key, m.routers.len()), ((CACHE, 2), 1)),
            }
        }
    }
}
