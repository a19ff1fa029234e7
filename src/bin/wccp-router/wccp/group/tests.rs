use super::*;
use crate::wccp::codec::tests::{ats_hia, squid_hia};
use crate::wccp::codec::{BUCKETS, GRE, HASH, L2, Message, Security, parse};
use crate::wccp::{Redirection, Wccp};

const T: Duration = Duration::from_secs(10);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const CACHE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 3);

fn conf() -> GroupConf {
    GroupConf {
        key: ServiceKey { kind: 1, id: 80 },
        password: None,
        offer: Capabilities { forward: GRE | L2, assignment: HASH, packet_return: GRE | L2 },
        redirect_list: RedirectList::default(),
        redirect_in: vec![0],
        redirect_out: vec![],
        interval: T,
        router_id: ROUTER,
        faults: Faults::default(),
    }
}

/// A cache that does what it should.
struct Peer {
    addr: Ipv4Addr,
    receive_id: u32,
    member_change: u32,
}

impl Peer {
    fn new(addr: Ipv4Addr) -> Self {
        Self { addr, receive_id: 0, member_change: 0 }
    }

    fn hello(&self) -> HereIAm {
        let (_, Message::HereIAm(mut m)) = parse(&squid_hia()).unwrap() else { panic!() };
        m.cache = self.addr;
        m.routers = vec![RouterElement { id: ROUTER, receive_id: self.receive_id }];
        m
    }

    /// Says HERE_I_AM and reads the answer; whether there was one.
    fn speak(&mut self, g: &mut Group, now: Instant) -> bool {
        let Some(answer) = g.handle_here_i_am(&self.hello(), self.addr, ROUTER, now) else { return false };
        assert_eq!((answer.from, answer.to), (ROUTER, self.addr));
        let word = |at: usize| u32::from_be_bytes(answer.bytes[at..at + 4].try_into().unwrap());
        // Header 8, security 8, service 28, then the router identity: its Receive ID is at 52.
        self.receive_id = word(52);
        self.member_change = word(72);
        assert_ne!(self.receive_id, 0);
        true
    }

    fn assign(&self, caches: &[Ipv4Addr], key: u32) -> RedirectAssign {
        RedirectAssign {
            service: self.hello().service,
            key: (self.addr, key),
            routers: vec![(RouterElement { id: ROUTER, receive_id: self.receive_id }, self.member_change)],
            assignment: Assignment::Hash {
                caches: caches.to_vec(),
                buckets: Box::new(std::array::from_fn(|b| (b % caches.len()) as u8)),
            },
        }
    }

    /// Joins and assigns all buckets to itself.
    fn settled(g: &mut Group, now: Instant) -> Self {
        let mut p = Self::new(CACHE);
        assert!(p.speak(g, now) && p.speak(g, now) && p.speak(g, now));
        g.handle_assign(p.assign(&[CACHE], 2), p.addr);
        assert_eq!(g.assignment_key(), (CACHE, 2));
        p
    }
}

/// A router's groups with one cache, 10.99.0.2, that has all buckets of dynamic service 80.
pub(crate) fn settled_wccp(offer: Capabilities) -> Wccp {
    let mut w = Wccp::new(vec![GroupConf { offer, ..conf() }]);
    Peer::settled(&mut w.groups[0], Instant::ZERO);
    w
}

fn packet(dst: [u8; 4]) -> PacketKey {
    PacketKey { proto: 6, src: [10, 0, 0, 10].into(), dst: dst.into(), ports: Some((40000, 21)) }
}

fn at(secs: u64) -> Instant {
    Instant::from_millis(secs * 1000)
}

#[test]
fn a_cache_becomes_usable_by_its_echo_and_gets_packets_by_its_assignment() {
    let mut g = Group::new(conf());
    let mut p = Peer::new(CACHE);
    assert!(p.speak(&mut g, at(0)));
    assert_eq!((g.caches()[0].state, p.receive_id, p.member_change), (State::Pending, 1, 1));
    assert!(p.speak(&mut g, at(10)));
    assert_eq!((g.caches()[0].state, p.receive_id, p.member_change), (State::Usable, 2, 2));
    assert!(g.choose(&packet([10, 1, 0, 1])).is_none(), "usable is not assigned");
    g.handle_assign(p.assign(&[CACHE], 2), CACHE);
    let (choice, methods) = g.choose(&packet([10, 1, 0, 1])).unwrap();
    assert_eq!((choice.cache, choice.primary, methods.forward), (CACHE, 10 ^ 1 ^ 1, GRE));
    assert!(p.speak(&mut g, at(20)));
    assert_eq!(p.member_change, 2, "nothing changed");
}

#[test]
fn traffic_servers_first_contact_lists_no_router_and_its_echo_is_accepted() {
    let mut g = Group::new(conf());
    let (_, Message::HereIAm(mut m)) = parse(&ats_hia()).unwrap() else { panic!() };
    m.routers.clear();
    assert!(g.handle_here_i_am(&m, CACHE, ROUTER, at(0)).is_some());
    assert_eq!(g.caches()[0].state, State::Pending);
    m.routers = vec![RouterElement { id: ROUTER, receive_id: 1 }];
    assert!(g.handle_here_i_am(&m, CACHE, ROUTER, at(10)).is_some());
    assert_eq!(g.caches()[0].state, State::Usable);
    assert_eq!((g.stats.here_i_am, g.stats.first_contact), (2, 1));
}

#[test]
fn squid_that_never_learns_an_id_stays_pending_and_alive() {
    let mut g = Group::new(conf());
    let p = Peer::new(CACHE);
    for n in 0..10 {
        assert!(g.handle_here_i_am(&p.hello(), CACHE, ROUTER, at(n * 10)).is_some());
        assert!(g.handle_timeout(at(n * 10)).is_empty());
    }
    assert_eq!((g.caches().len(), g.caches()[0].state, g.member_change()), (1, State::Pending, 1));
}

#[test]
fn an_old_receive_id_neither_answers_nor_keeps_alive() {
    let mut g = Group::new(conf());
    let mut p = Peer::new(CACHE);
    p.speak(&mut g, at(0));
    let old = p.hello();
    p.speak(&mut g, at(10));
    assert!(g.handle_here_i_am(&old, CACHE, ROUTER, at(20)).is_none());
    assert_eq!(g.stats.stale, 1);
    assert_eq!(g.handle_timeout(at(35)).len(), 1, "silent since 10 s, so queried at 35 s");
}

#[test]
fn silence_is_queried_at_two_and_a_half_intervals_and_ends_at_three() {
    let mut g = Group::new(conf());
    let mut p = Peer::settled(&mut g, at(0));
    assert_eq!(g.poll_timeout(), at(25));
    assert!(g.handle_timeout(Instant::from_millis(24_999)).is_empty());
    let query = g.handle_timeout(at(25));
    assert_eq!((query.len(), g.caches()[0].state), (1, State::Queried));
    let expected = removal_query(
        p.hello().service,
        RouterElement { id: ROUTER, receive_id: p.receive_id },
        ROUTER,
        CACHE,
        None,
    );
    assert_eq!(query[0].bytes, expected, "it names the Receive ID that the router expects");
    assert!(g.handle_timeout(at(26)).is_empty(), "one query");
    assert!(g.choose(&packet([10, 1, 0, 1])).is_some(), "still redirected");
    assert!(p.speak(&mut g, at(27)));
    assert_eq!(g.caches()[0].state, State::Usable);
    g.handle_timeout(at(52));
    assert!(g.handle_timeout(Instant::from_millis(56_999)).is_empty() && g.caches().len() == 1);
    g.handle_timeout(at(57));
    assert!(g.caches().is_empty() && g.choose(&packet([10, 1, 0, 1])).is_none());
    assert_eq!((g.service().is_none(), g.member_change()), (true, 3));
    assert_eq!(g.poll_timeout(), Instant::FAR_FUTURE);
}

#[test]
fn a_lost_cache_loses_its_buckets_and_the_other_keeps_its_own() {
    let mut g = Group::new(conf());
    let (mut a, mut b) = (Peer::new(CACHE), Peer::new(OTHER));
    for _ in 0..2 {
        a.speak(&mut g, at(0));
        b.speak(&mut g, at(0));
    }
    a.speak(&mut g, at(0));
    g.handle_assign(a.assign(&[CACHE, OTHER], 5), CACHE);
    let even = packet([0, 0, 0, 2]);
    let odd = packet([0, 0, 0, 3]);
    assert_eq!(g.choose(&even).map(|c| c.0.cache), Some(CACHE));
    assert_eq!(g.choose(&odd).map(|c| c.0.cache), Some(OTHER));
    let before = g.member_change();
    b.speak(&mut g, at(20));
    g.handle_timeout(at(30));
    assert_eq!((g.choose(&even), g.caches().len()), (None, 1));
    assert_eq!(g.choose(&odd).map(|c| c.0.cache), Some(OTHER));
    assert_eq!(g.member_change(), before + 1);
    g.handle_timeout(at(79));
    b.speak(&mut g, at(79));
    // Nobody assigned anew within five intervals of the change at 30 s.
    g.handle_timeout(at(80));
    assert_eq!((g.choose(&odd), g.stats.flushed), (None, 1));
    assert_eq!(g.assignment_key().1, 0, "a key without its table would look like an assignment in force");
}

#[test]
fn assignments_need_a_member_this_router_and_fresh_numbers() {
    let mut g = Group::new(conf());
    let mut p = Peer::new(CACHE);
    p.speak(&mut g, at(0));
    p.speak(&mut g, at(1));
    let good = p.assign(&[CACHE], 1);
    g.handle_assign(good.clone(), OTHER);
    assert_eq!((g.stats.refused_assign, g.table().is_some()), (1, false), "a stranger");
    let mut old = good.clone();
    old.routers[0].0.receive_id -= 1;
    g.handle_assign(old, CACHE);
    assert_eq!((g.stats.stale, g.table().is_some()), (1, false), "old Receive ID");
    let mut old = good.clone();
    old.routers[0].1 -= 1;
    g.handle_assign(old, CACHE);
    assert_eq!((g.stats.refused_assign, g.table().is_some()), (2, false), "old change number");
    let mut ahead = good.clone();
    ahead.routers[0].0.receive_id += 1;
    g.handle_assign(ahead, CACHE);
    assert_eq!((g.stats.assigned, g.stats.assigned_ahead, g.table().is_some()), (1, 1, true));
    g.handle_assign(good.clone(), CACHE);
    assert_eq!((g.stats.assigned, g.stats.assigned_ahead), (2, 1));
    let mut foreign = good.clone();
    foreign.routers[0].0.id = OTHER;
    g.handle_assign(foreign, CACHE);
    assert!(g.table().is_none(), "for other routers only: this one forwards");
    assert_eq!(g.caches()[0].state, State::Usable);
}

#[test]
fn another_description_and_unsupported_methods_are_ignored() {
    let mut only_gre = conf();
    only_gre.offer.forward = GRE;
    let mut g = Group::new(only_gre);
    let mut m = Peer::new(OTHER).hello();
    let asks = |forward| Some(Capabilities { forward, ..Capabilities::default() });
    m.capabilities = asks(L2);
    assert!(g.handle_here_i_am(&m, OTHER, ROUTER, at(0)).is_none());
    m.capabilities = asks(GRE | L2);
    assert!(g.handle_here_i_am(&m, OTHER, ROUTER, at(0)).is_none(), "one bit, no more");
    m.capabilities = Some(Capabilities { assignment: 2, ..Capabilities::default() });
    assert!(g.handle_here_i_am(&m, OTHER, ROUTER, at(0)).is_none());
    assert_eq!((g.stats.unsupported, g.caches().len()), (3, 0));
    Peer::new(CACHE).speak(&mut g, at(0));
    let mut m = Peer::new(OTHER).hello();
    m.service.0[9] ^= 1;
    assert!(g.handle_here_i_am(&m, OTHER, ROUTER, at(0)).is_none());
    assert_eq!((g.stats.conflict, g.caches().len()), (1, 1));
}

#[test]
fn a_farewell_is_acknowledged_every_time_and_ends_redirection_at_once() {
    let mut g = Group::new(conf());
    let p = Peer::settled(&mut g, at(0));
    let mut bye = p.hello();
    bye.shutdown = Some(OTHER);
    assert!(g.handle_here_i_am(&bye, CACHE, ROUTER, at(1)).is_some());
    assert_eq!(g.caches().len(), 1, "a farewell in another's name is none");
    let mut p = p;
    p.receive_id += 1;
    let mut bye = p.hello();
    bye.shutdown = Some(CACHE);
    for _ in 0..2 {
        let answer = g.handle_here_i_am(&bye, CACHE, ROUTER, at(2)).unwrap();
        let tail = &answer.bytes[answer.bytes.len() - 12..];
        assert_eq!(tail, [0, 15, 0, 8, 0, 2, 0, 4, 10, 99, 0, 2].as_slice());
        assert!(g.caches().is_empty() && g.table().is_none());
    }
    let mut stale = Peer::new(CACHE);
    stale.speak(&mut g, at(3));
    let mut bye = stale.hello();
    bye.routers[0].receive_id += 7;
    bye.shutdown = Some(CACHE);
    assert!(g.handle_here_i_am(&bye, CACHE, ROUTER, at(3)).is_none(), "a replayed farewell");
    assert_eq!(g.caches().len(), 1);
}

#[test]
fn a_restarted_cache_gets_no_packets_until_it_is_usable_again() {
    let mut g = Group::new(conf());
    let _before = Peer::settled(&mut g, at(0));
    let change = g.member_change();
    let mut again = Peer::new(CACHE);
    again.speak(&mut g, at(5));
    assert_eq!((g.choose(&packet([10, 1, 0, 1])), g.member_change()), (None, change + 1));
    again.speak(&mut g, at(6));
    assert!(g.choose(&packet([10, 1, 0, 1])).is_some());
    assert_eq!(g.member_change(), change + 2);
}

#[test]
fn the_thirty_third_cache_is_refused() {
    let mut g = Group::new(conf());
    for n in 0..33u8 {
        let mut p = Peer::new(Ipv4Addr::new(10, 99, 1, n + 1));
        assert_eq!(p.speak(&mut g, at(0)), n < 32);
    }
    assert_eq!((g.caches().len(), g.stats.too_many), (32, 1));
}

#[test]
fn packets_from_a_cache_and_listed_ports_are_let_through() {
    let mut c = conf();
    c.redirect_list.deny_ports = vec![2121];
    let mut g = Group::new(c);
    Peer::settled(&mut g, at(0));
    assert!(g.wants(&packet([1; 4]), 0, 1) && !g.wants(&packet([1; 4]), 1, 0));
    assert!(g.choose(&PacketKey { src: CACHE, ..packet([1; 4]) }).is_none());
    assert!(g.choose(&PacketKey { ports: Some((40000, 2121)), ..packet([1; 4]) }).is_none());
    assert_eq!(g.stats.denied, 1);
    assert!(g.choose(&packet([1; 4])).is_some());
}

#[test]
fn security_is_checked_before_anything_changes() {
    let with = |password: Option<&[u8]>| {
        let mut w = Wccp::new(vec![GroupConf { password: password.map(<[u8]>::to_vec), ..conf() }]);
        let answered = w.handle_datagram(&squid_hia(), CACHE, ROUTER, at(0)).is_some();
        (answered, w.groups()[0].caches().len(), w.groups()[0].stats.bad_security)
    };
    assert_eq!(with(Some(b"secret12")), (true, 1, 0));
    assert_eq!(with(Some(b"secret1")), (false, 0, 1));
    assert_eq!(with(None), (false, 0, 1));
    let mut w = Wccp::new(vec![GroupConf { key: ServiceKey { kind: 0, id: 80 }, ..conf() }]);
    assert!(w.handle_datagram(&squid_hia(), CACHE, ROUTER, at(0)).is_none());
    assert_eq!((w.unknown_service, w.malformed), (1, 0));
    assert!(w.handle_datagram(b"junk", CACHE, ROUTER, at(0)).is_none());
    assert_eq!(w.malformed, 1);
    assert!(matches!(parse(&squid_hia()), Ok((Security::Md5(_), _))));
}

#[test]
fn faults_do_what_they_say() {
    let faulty = Faults { trust_all: true, ..Faults::default() };
    let mut w = Wccp::new(vec![GroupConf { faults: faulty, password: Some(b"other".to_vec()), ..conf() }]);
    let answer = w.handle_datagram(&squid_hia(), CACHE, ROUTER, at(0)).unwrap();
    assert_eq!((w.groups()[0].stats.bad_security, answer.bytes[15]), (1, 1), "answered, signed with its own");
    let faults = Faults { assign_nothing: true, ..Faults::default() };
    let mut g = Group::new(GroupConf { faults, ..conf() });
    let mut p = Peer::new(CACHE);
    assert!(p.speak(&mut g, at(0)) && p.speak(&mut g, at(1)));
    g.handle_assign(p.assign(&[CACHE], 1), CACHE);
    assert!(g.table().is_none() && g.assignment_key().1 == 0);
}

#[test]
fn the_redirect_header_names_service_and_buckets() {
    let mut w = settled_wccp(conf().offer);
    let r = w.redirect(&packet([10, 1, 0, 10]), 0, 1, 60);
    let header = [1, 80, 0, 1];
    assert_eq!(r, Some(Redirection { group: 0, cache: CACHE, l2: false, header }));
    assert_eq!((w.groups[0].stats.redirected, w.groups[0].stats.redirected_bytes), (1, 60));
    assert!(w.returned(CACHE, header) && !w.returned(OTHER, header));
    assert_eq!(w.groups[0].stats.returned, 1);
    assert_eq!(BUCKETS, 256);
}
