//! What a router must not fall for, by the numbers of docs/wccp-conformance.md.

use super::codec::tests::{signed, squid_hia, unhex};
use super::codec::{Assignment, Capabilities, GRE, HASH, L2, MASK, Message, ServiceKey, parse};
use super::group::State;
use super::{Faults, GroupConf, Wccp};
use crate::wccp::assign::{PacketKey, RedirectList};
use std::net::Ipv4Addr;
use tidegate::time::{Duration, Instant};

const T: Duration = Duration::from_secs(10);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const CACHE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
const PASSWORD: &[u8] = b"secret12";

/// Group 80 with the password of the golden message.
fn router() -> Wccp {
    with(|_| {})
}

fn with(change: impl FnOnce(&mut GroupConf)) -> Wccp {
    let mut conf = GroupConf {
        key: ServiceKey { kind: 1, id: 80 },
        password: Some(PASSWORD.to_vec()),
        offer: Capabilities { forward: GRE | L2, assignment: HASH | MASK, packet_return: GRE | L2 },
        redirect_list: RedirectList::default(),
        redirect_in: vec![0],
        redirect_out: vec![],
        interval: T,
        router_id: ROUTER,
        faults: Faults::default(),
    };
    change(&mut conf);
    Wccp::new(vec![conf])
}

fn at(secs: u64) -> Instant {
    Instant::from_millis(secs * 1000)
}

fn give(w: &mut Wccp, datagram: &[u8], now: Instant) -> Option<Vec<u8>> {
    w.handle_datagram(datagram, CACHE, ROUTER, now).map(|d| d.bytes)
}

/// Dropped without a word or a trace.
#[track_caller]
fn ignored(datagram: &[u8], why: &str) {
    let mut w = router();
    assert_eq!(give(&mut w, datagram, at(0)), None, "{why}");
    assert!(w.groups()[0].caches().is_empty() && w.groups()[0].service().is_none(), "{why}");
    let counted = w.malformed + w.unknown_service + w.groups()[0].stats.bad_security;
    assert_eq!(counted, 1, "{why}: counted once");
}

#[track_caller]
fn answered(datagram: &[u8]) -> Wccp {
    let mut w = router();
    assert!(give(&mut w, datagram, at(0)).is_some());
    assert_eq!(w.groups()[0].caches().len(), 1);
    w
}

/// A message of these components, signed: type and body each.
fn message(kind: u8, parts: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut m = vec![0, 0, 0, kind, 2, 0, 0, 0];
    for (kind, body) in parts {
        m.extend_from_slice(&kind.to_be_bytes());
        m.extend_from_slice(&(body.len() as u16).to_be_bytes());
        m.extend_from_slice(body);
    }
    sealed(m)
}

/// With its length and, if the security component stands where it should, its digest set right.
fn sealed(mut m: Vec<u8>) -> Vec<u8> {
    let len = (m.len() - 8) as u16;
    m[6..8].copy_from_slice(&len.to_be_bytes());
    if m.get(8..16) == Some(&[0, 0, 0, 20, 0, 0, 0, 1]) { signed(m, PASSWORD) } else { m }
}

/// The components of the golden HERE_I_AM: security, service, identity, view, capabilities.
fn parts() -> Vec<(u16, Vec<u8>)> {
    let whole = squid_hia();
    let mut rest = &whole[8..];
    let mut parts = vec![];
    while let Some((head, after)) = rest.split_first_chunk::<4>() {
        let (body, next) = after.split_at(usize::from(u16::from_be_bytes([head[2], head[3]])));
        parts.push((u16::from_be_bytes([head[0], head[1]]), body.to_vec()));
        rest = next;
    }
    parts
}

/// The golden HERE_I_AM with one component changed.
fn changed(kind: u16, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut parts = parts();
    change(&mut parts.iter_mut().find(|p| p.0 == kind).unwrap().1);
    message(10, &parts)
}

/// A cache that echoes what it is told.
struct Speaker {
    receive_id: u32,
    change: u32,
}

impl Speaker {
    fn hello(&self) -> Vec<u8> {
        changed(5, |view| view[12..16].copy_from_slice(&self.receive_id.to_be_bytes()))
    }

    fn speak(&mut self, w: &mut Wccp, now: Instant) {
        let answer = give(w, &self.hello(), now).unwrap();
        // Header, security with digest, service: the router identity's body begins at 64.
        let word = |at: usize| u32::from_be_bytes(answer[at..at + 4].try_into().unwrap());
        self.receive_id = word(68);
        self.change = word(88);
    }

    fn usable(w: &mut Wccp, now: Instant) -> Self {
        let mut s = Self { receive_id: 0, change: 0 };
        s.speak(w, now);
        s.speak(w, now);
        assert_eq!(w.groups()[0].caches()[0].state, State::Usable);
        s
    }

    /// REDIRECT_ASSIGN: everything to index 0 of a list of one, but for what `change` does to the body.
    fn assign(&self, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut body = unhex("0a630002 00000007 00000001 0a630001 00000000 00000000 00000001 0a630002");
        body[16..20].copy_from_slice(&self.receive_id.to_be_bytes());
        body[20..24].copy_from_slice(&self.change.to_be_bytes());
        body.extend_from_slice(&[0; 256]);
        change(&mut body);
        message(12, &[parts()[0].clone(), parts()[1].clone(), (6, body)])
    }
}

fn packet(dst: [u8; 4]) -> PacketKey {
    PacketKey { proto: 6, src: [10, 0, 0, 10].into(), dst: dst.into(), ports: Some((40000, 21)) }
}

fn redirects(w: &mut Wccp) -> bool {
    w.redirect(&packet([10, 1, 0, 10]), 0, 1, 60).is_some()
}

#[test]
fn n01_to_n03_lengths() {
    let whole = squid_hia();
    for len in 0..whole.len() {
        ignored(&whole[..len], "cut short");
    }
    ignored(&[&whole[..], &[0; 4]].concat(), "junk behind it");
}

#[test]
fn n04_n05_versions_and_types() {
    let set = |at: usize, bytes: &[u8]| {
        let mut m = squid_hia();
        m[at..at + bytes.len()].copy_from_slice(bytes);
        signed(m, PASSWORD)
    };
    for version in [0x0201u16, 0x0100, 4] {
        ignored(&set(4, &version.to_be_bytes()), "version");
    }
    // I_SEE_YOU and REMOVAL_QUERY are a router's own.
    for kind in [0u32, 7, 11, 13, 14, u32::MAX] {
        ignored(&set(0, &kind.to_be_bytes()), "type");
    }
}

#[test]
fn n06_to_n08_component_boundaries() {
    for left in 1..4 {
        ignored(&sealed([&squid_hia()[..], &vec![0; left]].concat()), "a component header cut off");
    }
    for len in [0xFFFFu16, 28, 1, 2, 3, 5] {
        let mut m = squid_hia();
        let at = m.len() - 26;
        m[at..at + 2].copy_from_slice(&len.to_be_bytes());
        ignored(&signed(m, PASSWORD), "the last component's length");
    }
}

#[test]
fn n09_unknown_components_are_skipped() {
    for kind in [9u16, 16, 99] {
        let mut all = parts();
        all.push((kind, vec![1, 2, 3, 4]));
        answered(&message(10, &all));
    }
}

#[test]
fn n10_to_n12_twice_missing_and_mixed() {
    for n in 0..4 {
        let mut all = parts();
        all.push(all[n].clone());
        ignored(&message(10, &all), "twice");
        let mut all = parts();
        all.remove(n);
        ignored(&message(10, &all), "missing");
    }
    let mut all = parts();
    all[1..].reverse();
    answered(&message(10, &all));
    // Security last: its digest is found where it is.
    let mut all = parts();
    all.rotate_left(1);
    let mut m = message(10, &all);
    let at = m.len() - 16;
    m[at..].fill(0);
    let mut key = PASSWORD.to_vec();
    key.extend_from_slice(&m);
    m[at..].copy_from_slice(&<md5::Md5 as md5::Digest>::digest(key));
    answered(&m);
}

#[test]
fn n13_to_n16_security() {
    for (body, why) in [
        (vec![0, 0, 0, 1], "MD5 without digest"),
        ([&[0; 4][..], &[7; 16]].concat(), "a digest with option none"),
        ([&[0, 0, 0, 2][..], &[0; 16]].concat(), "option 2"),
        (vec![0, 0, 0, 0], "none, where MD5 is set"),
    ] {
        ignored(&changed(0, |security| *security = body), why);
    }
    let whole = squid_hia();
    for bit in 0..whole.len() * 8 {
        let mut m = whole.clone();
        m[bit / 8] ^= 1 << (bit % 8);
        ignored(&m, "one bit");
    }
    let mut zero = whole.clone();
    zero[16..32].fill(0);
    ignored(&zero, "digest zero");
    let mut open = with(|conf| conf.password = None);
    assert_eq!(give(&mut open, &whole, at(0)), None, "MD5, where none is set");
    for password in [&b"s"[..], b"secret1", b"secret12"] {
        let mut w = with(|conf| conf.password = Some(password.to_vec()));
        assert!(give(&mut w, &signed(whole.clone(), password), at(0)).is_some());
        let mut other = password.to_vec();
        other[0] ^= 1;
        assert!(give(&mut w, &signed(whole.clone(), &other), at(0)).is_none());
    }
}

#[test]
fn n17_to_n19_services() {
    ignored(&changed(1, |s| s.truncate(20)), "20 bytes");
    ignored(&changed(1, |s| s.extend([0; 4])), "28 bytes");
    ignored(&changed(1, |s| s[0] = 2), "service type 2");
    ignored(&changed(1, |s| s[1] = 81), "dynamic 81");
    ignored(&changed(1, |s| s.copy_from_slice(&[&[0, 80][..], &[0; 22]].concat())), "standard 80");
    // Priority, flags, ports, protocol.
    for at_byte in [2, 3, 7, 9, 23] {
        let mut w = answered(&squid_hia());
        let mut parts = parts();
        parts[1].1[at_byte] ^= 1;
        parts[2].1[3] = 3;
        assert_eq!(give(&mut w, &message(10, &parts), at(1)), None, "byte {at_byte}");
        let group = &w.groups()[0];
        assert_eq!((group.stats.conflict, group.caches().len()), (1, 1), "the first description stays");
    }
}

#[test]
fn n21_counts() {
    for count in [2u32, 33, 0x1000_0000, 0x4000_0001, u32::MAX] {
        ignored(&changed(5, |v| v[4..8].copy_from_slice(&count.to_be_bytes())), "routers");
        ignored(&changed(5, |v| v[16..20].copy_from_slice(&count.to_be_bytes())), "caches");
    }
}

#[test]
fn n24_n25_first_contact_and_replay() {
    // Traffic Server lists no router first, Squid lists it with Receive ID 0: both are answered, neither usable.
    let none = changed(5, |v| *v = vec![0; 12]);
    for first in [none, squid_hia()] {
        assert_eq!(answered(&first).groups()[0].caches()[0].state, State::Pending);
    }
    let mut w = router();
    let mut s = Speaker::usable(&mut w, at(0));
    let old = s.hello();
    s.speak(&mut w, at(10));
    assert_eq!(give(&mut w, &old, at(34)), None);
    assert_eq!(w.groups()[0].stats.stale, 1);
    w.handle_timeout(at(40));
    assert!(w.groups()[0].caches().is_empty(), "a replay keeps nobody alive");
}

#[test]
fn n27_to_n29_assignments_that_do_not_hold() {
    let mut w = router();
    let s = Speaker::usable(&mut w, at(0));
    let less = |body: &mut Vec<u8>, at: usize| body[at] = body[at].wrapping_sub(1);
    give(&mut w, &s.assign(|body| less(body, 19)), at(1));
    assert!(!redirects(&mut w), "an old Receive ID");
    give(&mut w, &s.assign(|body| less(body, 23)), at(1));
    assert!(!redirects(&mut w), "an old change number");
    give(&mut w, &s.assign(|body| body[19] += 1), at(1));
    assert!(redirects(&mut w), "the next Receive ID: of one who assigns right behind a HERE_I_AM");
    assert_eq!((w.groups()[0].stats.stale, w.groups()[0].stats.assigned_ahead), (1, 1));
    give(&mut w, &s.assign(|body| body[15] = 9), at(2));
    assert!(!redirects(&mut w), "for another router only");

    let mut w = router();
    let mut s = Speaker::usable(&mut w, at(0));
    give(&mut w, &s.assign(|_| {}), at(1));
    // A newcomer changes the membership, and nobody assigns for 5 T.
    let second = |id: u32| {
        let mut parts = parts();
        parts[2].1[3] = 3;
        parts[3].1[12..16].copy_from_slice(&id.to_be_bytes());
        message(10, &parts)
    };
    let other = Ipv4Addr::new(10, 99, 0, 3);
    let answer = w.handle_datagram(&second(0), other, ROUTER, at(2)).unwrap().bytes;
    let id = u32::from_be_bytes(answer[68..72].try_into().unwrap());
    assert!(w.handle_datagram(&second(id), other, ROUTER, at(2)).is_some());
    for secs in [10, 30, 51] {
        s.speak(&mut w, at(secs));
        w.handle_timeout(at(secs));
        assert!(redirects(&mut w), "at {secs} s");
    }
    w.handle_timeout(at(52));
    // The newcomer's silence at 32 s was a change of its own.
    w.handle_timeout(at(82));
    assert!(!redirects(&mut w));
    assert_eq!(w.groups()[0].stats.flushed, 1);
}

#[test]
fn n32_n33_buckets() {
    for (bucket, fine) in [(0u8, true), (0x80, true), (0xff, true), (1, false), (126, false), (0xfe, false)] {
        let mut w = router();
        let s = Speaker::usable(&mut w, at(0));
        give(&mut w, &s.assign(|body| body[40] = bucket), at(1));
        assert_eq!((w.malformed == 0, w.groups()[0].table().is_some()), (fine, fine), "{bucket:#x}");
    }
    let mut w = router();
    let s = Speaker::usable(&mut w, at(0));
    let many = |body: &mut Vec<u8>| {
        body[24..28].copy_from_slice(&33u32.to_be_bytes());
        body.splice(32..32, [10; 32 * 4]);
    };
    give(&mut w, &s.assign(many), at(1));
    assert_eq!((w.malformed, w.groups()[0].table().is_some()), (1, false), "33 caches");
    give(&mut w, &s.assign(|body| body[32..].fill(0xff)), at(1));
    assert!(w.groups()[0].table().is_some() && !redirects(&mut w), "nobody's buckets");
    // The packet's bucket asks for the alternate hash; the service has none, so the key is 0.
    give(&mut w, &s.assign(|body| body[32 + (10 ^ 1 ^ 10)] = 0x80), at(1));
    let r = w.redirect(&packet([10, 1, 0, 10]), 0, 1, 60).unwrap();
    assert_eq!((r.cache, r.header), (CACHE, [3, 80, 0, 1]));
}

#[test]
fn n39_capabilities() {
    for (value, kept) in [(0u32, false), (3, false), (1, true), (2, true)] {
        let mut w = router();
        let asked = changed(8, |c| c[4..8].copy_from_slice(&value.to_be_bytes()));
        assert_eq!(give(&mut w, &asked, at(0)).is_some(), kept, "forwarding {value}");
        assert_eq!(w.groups()[0].stats.unsupported, u64::from(!kept));
    }
    ignored(&changed(8, |c| c[3] = 2), "2 bytes for forwarding");
    ignored(&changed(8, |c| c[3] = 0), "none");
    ignored(&changed(8, |c| c[19] = 8), "beyond the component");
    for kind in [4u8, 5, 77] {
        answered(&changed(8, |c| c.extend([0, kind, 0, 4, 0, 0, 0, 9])));
    }
}

#[test]
fn n41_n42_identities() {
    let bits = [0u8; 12];
    let set = |values: u32| {
        let value = [&bits[..], &[10, 99, 0, 2]].concat().repeat(values as usize);
        [&bits[..], &values.to_be_bytes(), &value].concat()
    };
    let masks = |sets: &[u32]| {
        let all: Vec<u8> = sets.iter().flat_map(|n| set(*n)).collect();
        [&(sets.len() as u32).to_be_bytes()[..], &all, &[0, 7, 0, 0]].concat()
    };
    let identity = |flags: u16, data: Vec<u8>| {
        changed(3, |i| {
            i.truncate(6);
            i.extend_from_slice(&flags.to_be_bytes());
            i.extend_from_slice(&data);
        })
    };
    let weight = |m: &[u8]| match parse(m) {
        Ok((_, Message::HereIAm(m))) => Some(m.weight.0),
        _ => None,
    };
    for sets in [&[][..], &[0], &[1], &[64], &[0, 64]] {
        assert_eq!(weight(&identity(2, masks(sets))), Some(7), "{sets:?}");
    }
    for flags in [0x0003, 0x8002] {
        assert_eq!(weight(&identity(flags, masks(&[0]))), Some(7), "{flags:#x}: a mask");
    }
    let hash = [&[0xff; 32][..], &[0, 9, 0, 0]].concat();
    for flags in [0x0000, 0x0001, 0x8000] {
        assert_eq!(weight(&identity(flags, hash.clone())), Some(9), "{flags:#x}: a hash");
    }
    answered(&identity(4, vec![]));
    answered(&identity(6, vec![0, 3, 0, 4, 0, 0, 0, 0]));
    ignored(&identity(4, vec![0; 4]), "bytes behind no data");
    ignored(&identity(6, vec![0, 3, 0, 8, 0, 0, 0, 0]), "extended data beyond its component");
    for count in [3u32, 0x1000_0001, u32::MAX] {
        let mut data = masks(&[1]);
        data[0..4].copy_from_slice(&count.to_be_bytes());
        ignored(&identity(2, data.clone()), "sets");
        data[0..4].copy_from_slice(&1u32.to_be_bytes());
        data[16..20].copy_from_slice(&count.to_be_bytes());
        ignored(&identity(2, data), "values");
    }
}

#[test]
fn n43_alternate_assignments() {
    let mut w = router();
    let s = Speaker::usable(&mut w, at(0));
    let alternate = |kind: u16, change: &dyn Fn(&mut Vec<u8>)| {
        let mut hash = vec![];
        s.assign(|body| hash = body.clone());
        let mut body = [&kind.to_be_bytes()[..], &(hash.len() as u16).to_be_bytes(), &hash].concat();
        change(&mut body);
        message(12, &[parts()[0].clone(), parts()[1].clone(), (13, body)])
    };
    for kind in [2, 7] {
        give(&mut w, &alternate(kind, &|_| {}), at(1));
    }
    give(&mut w, &alternate(0, &|body| body[3] -= 4), at(1));
    give(&mut w, &alternate(0, &|body| body.extend([0; 4])), at(1));
    assert_eq!((w.malformed, w.groups()[0].table().is_some()), (4, false));
    let both = [&alternate(0, &|_| {})[8 + 24 + 28..]].concat();
    let twice = sealed([&s.assign(|_| {})[..], &both].concat());
    give(&mut w, &twice, at(1));
    assert_eq!(w.malformed, 5, "both forms at once");
    // By mask, where the cache asked for hash.
    let mask = |body: &mut Vec<u8>| {
        body.truncate(4 + 24);
        body.extend_from_slice(&1u32.to_be_bytes());
        body.extend_from_slice(&[0; 12]);
        body.extend_from_slice(&1u32.to_be_bytes());
        body.extend_from_slice(&[&[0; 12][..], &[10, 99, 0, 2]].concat());
        let len = (body.len() - 4) as u16;
        body[2..4].copy_from_slice(&len.to_be_bytes());
    };
    let by_mask = alternate(1, &mask);
    assert!(matches!(parse(&by_mask), Ok((_, Message::RedirectAssign(m)))
        if matches!(m.assignment, Assignment::Mask(_))));
    give(&mut w, &by_mask, at(1));
    assert_eq!((w.groups()[0].stats.refused_assign, w.groups()[0].table().is_some()), (1, false));
    give(&mut w, &alternate(0, &|_| {}), at(1));
    assert!(redirects(&mut w), "the hash in its other form");
}

#[test]
fn n45_n46_commands() {
    let hello = |commands: &[u8]| {
        let mut all = parts();
        all.push((15, commands.to_vec()));
        message(10, &all)
    };
    answered(&hello(&[0, 9, 0, 0]));
    answered(&hello(&[0, 9, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]));
    ignored(&hello(&[0, 1, 0, 8, 10, 99, 0, 2, 0, 0, 0, 0]), "a farewell of 8 bytes");
    ignored(&hello(&[0, 1, 0, 8, 10, 99, 0, 2]), "cut off");
    ignored(&hello(&[0, 9, 0, 9, 0, 0, 0, 0]), "cut off, unknown");
    let mut w = router();
    let s = Speaker::usable(&mut w, at(0));
    let bye = |whom: u8| {
        let mut all = parts();
        all[3].1[12..16].copy_from_slice(&s.receive_id.to_be_bytes());
        all.push((15, vec![0, 1, 0, 4, 10, 99, 0, whom]));
        message(10, &all)
    };
    assert!(give(&mut w, &bye(2), at(1)).is_some_and(|m| m.ends_with(&[0, 2, 0, 4, 10, 99, 0, 2])));
    assert!(w.groups()[0].caches().is_empty());
    let mut w = router();
    Speaker::usable(&mut w, at(0));
    assert!(give(&mut w, &bye(3), at(1)).is_some_and(|m| !m.ends_with(&[0, 2, 0, 4, 10, 99, 0, 3])));
    assert_eq!(w.groups()[0].caches().len(), 1, "another's farewell");
}

#[test]
fn n54_a_router_that_stood_still_takes_its_cache_back() {
    let mut w = router();
    let mut s = Speaker::usable(&mut w, at(0));
    give(&mut w, &s.assign(|_| {}), at(1));
    // Forty seconds, then the datagram that waited in the socket is read before the timers.
    s.speak(&mut w, at(41));
    w.handle_timeout(at(41));
    assert!(redirects(&mut w));
    // The other way round, it is met anew.
    w.handle_timeout(at(85));
    assert!(!redirects(&mut w));
    s.speak(&mut w, at(85));
    s.speak(&mut w, at(86));
    give(&mut w, &s.assign(|_| {}), at(87));
    assert!(redirects(&mut w));
}

#[test]
fn n55_a_flood_of_bad_digests_disturbs_nobody() {
    let mut w = router();
    let mut s = Speaker::usable(&mut w, at(0));
    let mut bad = squid_hia();
    bad[16] ^= 1;
    for _ in 0..10_000 {
        assert!(give(&mut w, &bad, at(1)).is_none());
    }
    assert_eq!(w.groups()[0].stats.bad_security, 10_000);
    s.speak(&mut w, at(10));
    assert_eq!(w.groups()[0].caches().len(), 1);
}
