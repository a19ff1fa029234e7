//! Masks, layer 2 and several routers: both ends against each other.

use super::super::codec::MASK;
use super::*;
use tidegate::event::What;

const SECOND: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 254);
const BOTH_WAYS: [Assignment; 2] = [Assignment::Mask, Assignment::Hash];

fn offering(conf: GroupConf, assignment: u32) -> GroupConf {
    GroupConf { offer: Capabilities { assignment, ..conf.offer }, ..conf }
}

/// Which appliance gets the packets of this client, on their way to a server or back.
fn cache_of(router: &mut Wccp, client: Ipv4Addr, back: bool) -> Option<Ipv4Addr> {
    let server = Ipv4Addr::new(203, 0, 113, 9);
    let (src, dst, ports) = if back { (server, client, (21, 40000)) } else { (client, server, (40000, 21)) };
    let leg = usize::from(back);
    let packet = PacketKey { proto: 6, src, dst, ports: Some(ports) };
    router.redirect(&packet, leg, 1 - leg, 60).map(|r| r.cache)
}

/// Addresses spread over the whole address space.
fn clients() -> impl Iterator<Item = Ipv4Addr> {
    (1..1500u32).map(|n| Ipv4Addr::from(n.wrapping_mul(2_654_435_761)))
}

fn warnings(both: &Both) -> Vec<&'static str> {
    let kind = |e: &Event| if let What::Warning { kind, .. } = &e.what { Some(*kind) } else { None };
    both.events.iter().filter_map(kind).collect()
}

#[test]
fn three_appliances_share_by_mask_in_both_directions() {
    let addresses = [A, B, Ipv4Addr::new(10, 9, 0, 200)];
    let mut both = Both::new(&[], Some(b"secret1"));
    let key = Some(&b"secret1"[..]);
    both.router = Wccp::new(vec![offering(conf(61, key), MASK), offering(conf(62, key), HASH | MASK)]);
    for address in addresses {
        let mut settings = Settings { assignment: BOTH_WAYS.to_vec(), ..settings(address, key) };
        let forward = settings.groups[0].clone();
        settings.groups.push(GroupSettings { id: 62, role: Role::Reverse, ports: vec![21, 20], ..forward });
        both.clients.push(Client::new(settings).unwrap());
    }
    both.pass(&addresses, T * 8);
    let mut share = [0; 3];
    for client in clients() {
        let there = cache_of(&mut both.router, client, false);
        assert!(there.is_some() && there == cache_of(&mut both.router, client, true), "{client}");
        share[addresses.iter().position(|a| Some(*a) == there).unwrap()] += 1;
    }
    assert!(share.iter().all(|n| *n > 300), "{share:?}");
    let told: Vec<_> = both.clients.iter().flat_map(|c| c.status().map(|s| (s.assigned, s.of))).collect();
    let seen: Vec<_> = both.router.groups().iter().map(|g| g.table().unwrap().share(A)).collect();
    assert_eq!(seen, [(22, 64), (22, 64)]);
    assert_eq!(told, [(22, 64), (22, 64), (21, 64), (21, 64), (21, 64), (21, 64)]);
    assert_eq!(warnings(&both), [""; 0]);

    // One dies: its values are forwarded at once, and dealt to the others 1.5 T later.
    both.clients.remove(1);
    both.pass(&[A, addresses[2]], T * 3);
    assert_eq!(both.router.groups()[0].table().unwrap().share(A), (22, 43));
    assert!(clients().any(|client| cache_of(&mut both.router, client, false).is_none()));
    both.pass(&[A, addresses[2]], T * 5);
    assert!(clients().all(|client| cache_of(&mut both.router, client, false).is_some_and(|c| c != B)));
    assert_eq!(both.router.groups()[0].table().unwrap().share(A), (32, 64));
    assert_eq!(both.router.groups()[0].stats.assigned, 2);
}

#[test]
fn a_router_of_the_other_kind_only_is_told_and_left_alone() {
    let mut both = Both::new(&[A], None);
    both.router = Wccp::new(vec![offering(conf(61, None), MASK)]);
    // The router asks where we are, but we leave it alone.
    both.lenient = true;
    both.pass(&[A], T * 6);
    assert_eq!((both.state(0), warnings(&both)), (State::Rejected, vec!["router_rejected"]));
    let why = both.clients[0].status().next().unwrap().reason.to_owned();
    assert_eq!(why, "assignment: the router offers mask, we are set to hash");
    assert!(both.router.groups()[0].table().is_none());
}

#[test]
fn layer_2_there_and_gre_back() {
    for (offered, preferred, agreed) in [
        ((GRE | L2, GRE), vec![Method::L2, Method::Gre], (Method::L2, Method::Gre)),
        ((L2, L2), vec![Method::Gre, Method::L2], (Method::L2, Method::L2)),
        ((GRE, GRE | L2), vec![Method::L2, Method::Gre], (Method::Gre, Method::L2)),
        ((GRE | L2, GRE | L2), vec![Method::Gre, Method::L2], (Method::Gre, Method::Gre)),
    ] {
        let mut both = Both::new(&[], None);
        let offer = Capabilities { forward: offered.0, packet_return: offered.1, assignment: HASH };
        both.router = Wccp::new(vec![GroupConf { offer, ..conf(61, None) }]);
        let settings = Settings { forward: preferred.clone(), return_method: preferred, ..settings(A, None) };
        both.clients.push(Client::new(settings).unwrap());
        both.pass(&[A], T * 6);
        let methods = both.clients[0].status().next().unwrap().methods.unwrap();
        assert_eq!((methods.forward, methods.return_method), agreed, "{offered:?}");
        let packet = PacketKey {
            proto: 6,
            src: Ipv4Addr::new(10, 0, 0, 10),
            dst: Ipv4Addr::new(10, 1, 0, 10),
            ports: Some((40000, 21)),
        };
        let sent = both.router.redirect(&packet, 0, 1, 60).unwrap();
        assert_eq!((sent.cache, sent.l2), (A, agreed.0 == Method::L2), "{offered:?}");
    }
}

/// Two routers and their appliances, all assigned.
fn two_routers(addresses: &[Ipv4Addr]) -> Both {
    let mut both = Both::new(&[], Some(b"secret1"));
    let second = GroupConf { router_id: SECOND, ..conf(61, Some(b"secret1")) };
    both.more.push((SECOND, Wccp::new(vec![second])));
    for address in addresses {
        let settings = Settings { routers: vec![ROUTER, SECOND], ..settings(*address, Some(b"secret1")) };
        both.clients.push(Client::new(settings).unwrap());
    }
    both.pass(addresses, T * 8);
    both
}

#[test]
fn two_routers_get_one_assignment_and_redirect_alike() {
    let mut both = two_routers(&[A, B]);
    assert!(both.clients.iter().flat_map(Client::status).all(|s| s.state == State::Assigned));
    let keys = [&both.router, &both.more[0].1].map(|r| r.groups()[0].assignment_key());
    assert_eq!(keys[0], keys[1]);
    for client in clients() {
        let there = cache_of(&mut both.router, client, false);
        assert!(there.is_some() && there == cache_of(&mut both.more[0].1, client, false), "{client}");
    }
    assert_eq!(warnings(&both), [""; 0]);
}

#[test]
fn when_a_router_dies_or_disagrees_the_other_goes_on() {
    let mut both = two_routers(&[A]);
    let before = both.router.groups()[0].assignment_key().1;
    let dead = both.more.pop().unwrap();
    both.pass(&[A], T * 8);
    let states: Vec<State> = both.clients[0].status().map(|s| s.state).collect();
    assert_eq!(states, [State::Assigned, State::Silent]);
    assert_eq!(both.router.groups()[0].assignment_key().1, before + 1, "one that lists the live one alone");
    assert_eq!(cache_of(&mut both.router, Ipv4Addr::new(10, 0, 0, 10), false), Some(A));
    // It comes back as if it had not been away, its numbers old.
    both.more.push(dead);
    both.pass(&[A], T * 8);
    assert!(both.clients[0].status().all(|s| s.state == State::Assigned));

    let disagreeing = |conf: GroupConf| {
        let mut both = Both::new(&[], Some(b"secret1"));
        both.more.push((SECOND, Wccp::new(vec![conf])));
        let settings = Settings { routers: vec![ROUTER, SECOND], ..settings(A, Some(b"secret1")) };
        both.clients.push(Client::new(settings).unwrap());
        both
    };
    // Another password.
    let faults = Faults { trust_all: true, ..Faults::default() };
    let mut both = disagreeing(GroupConf { faults, router_id: SECOND, ..conf(61, Some(b"other")) });
    both.lenient = true;
    both.pass(&[A], T * 8);
    let states: Vec<State> = both.clients[0].status().map(|s| s.state).collect();
    assert_eq!(states, [State::Assigned, State::Silent]);
    assert!(warnings(&both).contains(&"md5_mismatch"), "{:?}", warnings(&both));
    assert_eq!(cache_of(&mut both.router, Ipv4Addr::new(10, 0, 0, 10), false), Some(A));
    assert_eq!(cache_of(&mut both.more[0].1, Ipv4Addr::new(10, 0, 0, 10), false), None);
}

#[test]
fn a_cache_that_one_router_does_not_see_gets_nothing_from_either() {
    let mut both = two_routers(&[A]);
    // It knows the first router only.
    both.clients.push(client(B, Some(b"secret1")));
    both.pass(&[A, B], T * 8);
    for router in [&mut both.router, &mut both.more[0].1] {
        assert!(clients().all(|client| cache_of(router, client, false) == Some(A)));
    }
    assert_eq!(
        warnings(&both),
        ["cache_left_out", "no_assignment"],
        "the one that assigns, the one left out"
    );
    let usable = both.router.groups()[0].caches().iter().filter(|c| c.usable()).count();
    assert_eq!(usable, 2, "the router itself would give it something");
}

#[test]
fn n40_an_offer_that_changes_never_moves_packets_to_another_method() {
    let mut both = Both::new(&[], None);
    let offer = |forward| Capabilities { forward, packet_return: GRE, assignment: HASH };
    let conf = |forward| GroupConf { offer: offer(forward), ..conf(61, None) };
    both.router = Wccp::new(vec![conf(GRE)]);
    both.lenient = true;
    let forward = vec![Method::L2, Method::Gre];
    both.clients.push(Client::new(Settings { forward, ..settings(A, None) }).unwrap());
    both.pass(&[A], T * 6);
    let packet = PacketKey {
        proto: 6,
        src: Ipv4Addr::new(10, 0, 0, 10),
        dst: Ipv4Addr::new(10, 1, 0, 10),
        ports: Some((40000, 21)),
    };
    let by_l2 = |both: &mut Both| both.router.redirect(&packet, 0, 1, 60).map(|r| r.l2);
    assert_eq!(by_l2(&mut both), Some(false));
    // Now what the appliance would have liked best is offered, too: it stays with what it has.
    both.router.groups[0].conf.offer = offer(GRE | L2);
    both.pass(&[A], T * 10);
    assert_eq!((by_l2(&mut both), both.state(0)), (Some(false), State::Assigned));
    // Now only that: the router answers no more to who asks for GRE; both forget each other, and join anew.
    both.router.groups[0].conf.offer = offer(L2);
    let mut seen = vec![];
    for _ in 0..20 {
        both.pass(&[A], T / 2);
        seen.push(by_l2(&mut both));
    }
    seen.dedup();
    assert_eq!(seen, [Some(false), None, Some(true)], "never from one to the other without a pause");
}

#[test]
fn n19_a_router_with_another_description_is_told_and_the_other_goes_on() {
    let mut both = Both::new(&[], None);
    both.lenient = true;
    let second = GroupConf { router_id: SECOND, ..conf(61, None) };
    both.more.push((SECOND, Wccp::new(vec![second])));
    // Somebody with other ports was first at the second router.
    let other = Settings { routers: vec![SECOND], ..settings(B, None) };
    let mut groups = other.groups.clone();
    groups[0].ports = vec![80];
    both.clients.push(Client::new(Settings { groups, ..other }).unwrap());
    both.pass(&[B], T);
    let settings = Settings { routers: vec![ROUTER, SECOND], ..settings(A, None) };
    both.clients.push(Client::new(settings).unwrap());
    both.pass(&[B, A], T * 8);
    let states: Vec<State> = both.clients[1].status().map(|s| s.state).collect();
    assert_eq!(states, [State::Assigned, State::Silent], "the router does not answer what contradicts it");
    assert!(both.more[0].1.groups()[0].stats.conflict > 3);
    assert!(warnings(&both).contains(&"router_silent"));
}

#[test]
fn n54_either_end_may_stand_still_or_start_anew() {
    let mut both = two_routers(&[A, B]);
    let whole = |both: &mut Both| {
        clients().all(|c| cache_of(&mut both.router, c, false).is_some())
            && clients().all(|c| cache_of(&mut both.more[0].1, c, false).is_some())
    };
    assert!(whole(&mut both));
    // A router is restarted: its Receive IDs and change numbers begin anew, and so does what it knows.
    both.router = router(Some(b"secret1"));
    both.pass(&[A, B], T * 8);
    assert!(whole(&mut both), "after a restart of a router");
    // Both at once.
    both.router = router(Some(b"secret1"));
    let second = GroupConf { router_id: SECOND, ..conf(61, Some(b"secret1")) };
    both.more[0].1 = Wccp::new(vec![second]);
    both.pass(&[A, B], T * 8);
    assert!(whole(&mut both), "after a restart of both");
    // The appliances stand still for 40 s while the routers' time goes on.
    let routers_alone = |both: &mut Both| {
        both.now += T * 4;
        let now = both.now;
        both.router.handle_timeout(now);
        both.more[0].1.handle_timeout(now);
    };
    routers_alone(&mut both);
    assert!(!whole(&mut both), "they were forgotten");
    both.pass(&[A, B], T * 8);
    assert!(whole(&mut both), "after the appliances slept");
    // Everybody's clock jumps, as after a suspended machine; the appliances' timers are first.
    both.now += T * 4;
    both.pass(&[A, B], T * 10);
    assert!(whole(&mut both), "after everybody slept");
    let keys = [&both.router, &both.more[0].1].map(|r| r.groups()[0].assignment_key());
    assert_eq!(keys[0], keys[1]);
}
