//! The library's appliance and this router, each written from the protocol alone, on one virtual clock.

mod ways;

use super::assign::{PacketKey, RedirectList};
use super::codec::{Capabilities, GRE, HASH, L2, ServiceKey};
use super::group::State as Seen;
use super::{Faults, GroupConf, Wccp};
use std::net::Ipv4Addr;
use tidegate::event::Event;
use tidegate::time::{Duration, Instant};
use tidegate::wccp::{Assignment, Client, GroupSettings, Method, Password, Role, Settings, State};

const T: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(100);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const A: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const B: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 3);

struct Both {
    now: Instant,
    router: Wccp,
    /// Other routers of the same groups, by address.
    more: Vec<(Ipv4Addr, Wccp)>,
    clients: Vec<Client>,
    events: Vec<Event>,
    /// Whether a datagram of this length, on its way to (true) or from the router, gets lost.
    lost: fn(bool, usize) -> bool,
    /// Messages may be refused.
    lenient: bool,
}

fn router(password: Option<&[u8]>) -> Wccp {
    Wccp::new(vec![conf(61, password)])
}

/// Group 62 redirects what enters on leg 1, all others what enters on leg 0.
fn conf(id: u8, password: Option<&[u8]>) -> GroupConf {
    GroupConf {
        key: ServiceKey { kind: 1, id },
        password: password.map(<[u8]>::to_vec),
        offer: Capabilities { forward: GRE | L2, assignment: HASH, packet_return: GRE | L2 },
        redirect_list: RedirectList::default(),
        redirect_in: vec![usize::from(id == 62)],
        redirect_out: vec![],
        interval: T,
        router_id: ROUTER,
        faults: Faults::default(),
    }
}

fn client(own_address: Ipv4Addr, password: Option<&[u8]>) -> Client {
    Client::new(settings(own_address, password)).unwrap()
}

fn settings(own_address: Ipv4Addr, password: Option<&[u8]>) -> Settings {
    Settings {
        own_address,
        prefix: 24,
        routers: vec![ROUTER],
        password: password.map(|p| Password::new(p).unwrap()),
        forward: vec![Method::Gre],
        return_method: vec![Method::Gre],
        assignment: vec![Assignment::Hash],
        mask: tidegate::wccp::DEFAULT_MASK,
        here_i_am: T,
        groups: vec![GroupSettings {
            id: 61,
            role: Role::Forward,
            ports: vec![21, 20, 2020],
            priority: 240,
            protocol: 6,
        }],
    }
}

impl Both {
    fn new(addresses: &[Ipv4Addr], password: Option<&[u8]>) -> Self {
        let clients = addresses.iter().map(|a| client(*a, password)).collect();
        let (now, router) = (Instant::ZERO, router(password));
        Self { now, router, more: vec![], clients, events: vec![], lost: |_, _| false, lenient: false }
    }

    /// Lets `time` pass; all datagrams arrive at once. `alive` are the clients that take part.
    fn pass(&mut self, addresses: &[Ipv4Addr], time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            let mut to_clients = self.router.handle_timeout(self.now);
            to_clients.extend(self.more.iter_mut().flat_map(|(_, r)| r.handle_timeout(self.now)));
            for (client, addr) in self.clients.iter_mut().zip(addresses) {
                client.handle_timeout(self.now, &mut self.events);
                while let Some(t) = client.poll_transmit() {
                    let other = self.more.iter_mut().find(|(at, _)| *at == t.to).map(|(_, r)| r);
                    let router = if t.to == ROUTER { Some(&mut self.router) } else { other };
                    if let Some(router) = router.filter(|_| !(self.lost)(true, t.payload.len())) {
                        to_clients.extend(router.handle_datagram(&t.payload, *addr, t.to, self.now));
                    }
                }
            }
            for d in to_clients {
                let at = addresses.iter().position(|a| *a == d.to);
                if let Some(client) = at.and_then(|at| self.clients.get_mut(at))
                    && !(self.lost)(false, d.bytes.len())
                {
                    client.handle_datagram(self.now, d.from, &d.bytes, &mut self.events);
                }
            }
        }
        assert_eq!(self.router.malformed, 0, "the router could not read a message");
        for client in &self.clients {
            for (name, count) in client.counters() {
                let harmless = self.lenient || matches!(name, "received") || count == 0;
                assert!(harmless, "the appliance counted {count} {name}");
            }
        }
    }

    fn state(&self, at: usize) -> State {
        self.clients[at].status().next().unwrap().state
    }

    fn cache_of(&mut self, src: [u8; 4]) -> Option<Ipv4Addr> {
        let key =
            PacketKey { proto: 6, src: src.into(), dst: [10, 1, 0, 10].into(), ports: Some((40000, 21)) };
        self.router.redirect(&key, 0, 1, 60).map(|r| r.cache)
    }
}

#[test]
fn one_appliance_joins_gets_everything_and_keeps_it() {
    for password in [None, Some(&b"secret1"[..]), Some(&b"secret12"[..])] {
        let mut both = Both::new(&[A], password);
        both.pass(&[A], T * 6);
        assert_eq!(both.state(0), State::Assigned);
        assert_eq!(both.clients[0].status().next().unwrap().assigned, 256);
        for last in 0..=255 {
            assert_eq!(both.cache_of([10, 0, 0, last]), Some(A));
        }
        let key = both.router.groups()[0].assignment_key();
        both.pass(&[A], T * 30);
        let group = &both.router.groups()[0];
        assert_eq!((both.state(0), group.caches()[0].state), (State::Assigned, Seen::Usable));
        assert_eq!((group.assignment_key(), group.stats.assigned), (key, 1), "nothing is assigned twice");
        assert_eq!((group.stats.stale, group.stats.removal_query, group.stats.flushed), (0, 0, 0));
    }
}

#[test]
fn another_password_never_gets_in() {
    let mut both = Both::new(&[A], Some(b"secret1"));
    both.router = router(Some(b"secret2"));
    both.pass(&[A], T * 6);
    assert!(both.router.groups()[0].stats.bad_security > 3 && both.router.groups()[0].caches().is_empty());
    assert_eq!(both.cache_of([10, 0, 0, 10]), None);
}

#[test]
fn two_appliances_share_and_the_second_takes_over() {
    let addresses = [A, B];
    let mut both = Both::new(&addresses, Some(b"secret1"));
    both.pass(&addresses, T * 8);
    assert_eq!((both.state(0), both.state(1)), (State::Assigned, State::Assigned));
    let of_a = (0..=255u8).filter(|n| both.cache_of([10, 0, 0, *n]) == Some(A)).count();
    let of_b = (0..=255u8).filter(|n| both.cache_of([10, 0, 0, *n]) == Some(B)).count();
    assert_eq!((of_a, of_b), (128, 128));
    // The designated one dies without a word.
    both.clients[0] = client(Ipv4Addr::new(10, 9, 0, 99), Some(b"secret1"));
    both.clients.swap(0, 1);
    both.clients.truncate(1);
    both.pass(&[B], T * 3);
    let of_b = (0..=255u8).filter(|n| both.cache_of([10, 0, 0, *n]) == Some(B)).count();
    assert_eq!((of_b, both.router.groups()[0].caches().len()), (128, 1), "the others are forwarded");
    both.pass(&[B], T * 4);
    let of_b = (0..=255u8).filter(|n| both.cache_of([10, 0, 0, *n]) == Some(B)).count();
    assert_eq!(of_b, 256);
}

/// A router with group 61 and reverse group 62 of these ports, and three appliances with all buckets dealt.
fn both_ways(reverse_ports: &[u16], redirect_list: RedirectList) -> (Both, [Ipv4Addr; 3]) {
    let addresses = [A, B, Ipv4Addr::new(10, 9, 0, 200)];
    let mut both = Both::new(&[], None);
    both.router = Wccp::new(vec![conf(61, None), GroupConf { redirect_list, ..conf(62, None) }]);
    for address in addresses {
        let mut settings = settings(address, None);
        let ports = reverse_ports.to_vec();
        settings.groups.push(GroupSettings {
            id: 62,
            role: Role::Reverse,
            ports,
            priority: 240,
            protocol: 6,
        });
        both.clients.push(Client::new(settings).unwrap());
    }
    both.pass(&addresses, T * 8);
    (both, addresses)
}

#[test]
fn n52_all_connections_of_a_client_come_to_one_appliance_in_both_directions() {
    let (mut both, addresses) = both_ways(&[21, 20], RedirectList::default());
    let mut share = [0; 3];
    // Clients and servers from a walk through the address space (Knuth's multiplier), the same each time.
    for n in 1..2000u32 {
        let client = Ipv4Addr::from(n.wrapping_mul(2_654_435_761));
        let server = Ipv4Addr::from(!n.wrapping_mul(2_246_822_519));
        let mut at = |src, dst, ports, in_leg| {
            let key = PacketKey { proto: 6, src, dst, ports: Some(ports) };
            both.router.redirect(&key, in_leg, 1 - in_leg, 60).map(|r| r.cache)
        };
        let caches = [
            at(client, server, (40000, 21), 0),
            at(client, server, (40001, 20), 0),
            at(server, client, (21, 40000), 1),
            at(server, client, (20, 40001), 1),
        ];
        let first = caches[0].unwrap();
        assert_eq!(caches, [Some(first); 4], "{client} and {server}");
        share[addresses.iter().position(|a| *a == first).unwrap()] += 1;
        assert_eq!(at(server, client, (40001, 20), 1), None, "the reverse group's ports are source ports");
        assert_eq!(at(server, client, (2020, 40001), 1), None, "an unlisted port");
    }
    assert!(share.iter().all(|n| *n > 400), "{share:?}");
}

#[test]
fn a_reverse_group_of_all_ports_is_limited_by_the_routers_redirect_list() {
    let clients = vec![(Ipv4Addr::new(10, 0, 0, 0), 24)];
    let list = RedirectList { permit_to: clients, ..RedirectList::default() };
    let (mut both, _) = both_ways(&[], list);
    let service = both.router.groups()[1].service().unwrap();
    assert_eq!((service.flags(), service.ports().count()), (2, 0), "destination hash, no ports");
    let mut at = |src: [u8; 4], dst: [u8; 4], ports, in_leg| {
        let key = PacketKey { proto: 6, src: src.into(), dst: dst.into(), ports: Some(ports) };
        both.router.redirect(&key, in_leg, 1 - in_leg, 60).map(|r| r.cache)
    };
    let (client, server) = ([10, 0, 0, 7], [10, 1, 0, 10]);
    let there = at(client, server, (40000, 21), 0);
    assert!(there.is_some());
    assert_eq!(at(server, client, (50123, 40001), 1), there, "a passive data connection's answer");
    assert_eq!(at(server, [10, 5, 0, 7], (50123, 40001), 1), None, "to somebody who is no client");
}

#[test]
fn a_farewell_ends_redirection_at_once() {
    let mut both = Both::new(&[A], Some(b"secret1"));
    both.pass(&[A], T * 6);
    let now = both.now;
    both.clients[0].shutdown(now, &mut vec![]);
    both.pass(&[A], T / 5);
    assert!(both.clients[0].is_left(), "acknowledged");
    assert_eq!((both.cache_of([10, 0, 0, 10]), both.router.groups()[0].caches().len()), (None, 0));
}

#[test]
fn a_lost_i_see_you_is_mended_by_the_removal_query() {
    let mut both = Both::new(&[A], None);
    both.pass(&[A], T * 6);
    both.lost = |to_router, _| !to_router;
    both.pass(&[A], T);
    both.lost = |_, _| false;
    both.pass(&[A], T * 3);
    let group = &both.router.groups()[0];
    assert_eq!(group.caches().len(), 1);
    assert!(group.stats.removal_query >= 1 && group.stats.stale >= 1);
    assert_eq!((both.state(0), group.caches()[0].state), (State::Assigned, Seen::Usable));
    assert_eq!(both.cache_of([10, 0, 0, 10]), Some(A));
}

#[test]
fn a_router_that_restarts_gets_its_assignment_back() {
    let mut both = Both::new(&[A], Some(b"secret1"));
    both.pass(&[A], T * 6);
    both.router = router(Some(b"secret1"));
    both.pass(&[A], T * 8);
    assert_eq!(both.state(0), State::Assigned);
    assert_eq!(both.cache_of([10, 0, 0, 10]), Some(A));
}

#[test]
fn a_cut_line_ends_redirection_after_three_intervals_and_heals() {
    let mut both = Both::new(&[A], Some(b"secret1"));
    both.pass(&[A], T * 6);
    both.lost = |_, _| true;
    both.pass(&[A], T * 4);
    assert_eq!((both.cache_of([10, 0, 0, 10]), both.state(0)), (None, State::Silent));
    both.lost = |_, _| false;
    both.pass(&[A], T * 8);
    assert_eq!((both.cache_of([10, 0, 0, 10]), both.state(0)), (Some(A), State::Assigned));
}
