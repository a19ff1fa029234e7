//! Mask assignment, and what else is negotiated.

use super::super::super::mask::{Side, holder, lookup, share};
use super::*;

const SECOND: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 11);
const SECOND_ID: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const BY_MASK: Capability = Capability::Assignment(2);

fn masked() -> Settings {
    Settings { assignment: vec![Assignment::Mask, Assignment::Hash], ..settings(&[ROUTER]) }
}

/// A lab whose routers offer mask assignment alone.
fn lab(settings: Settings, routers: &[(Ipv4Addr, Ipv4Addr)]) -> Lab {
    let mut lab = Lab::with(settings, routers);
    for router in &mut lab.routers {
        router.offers = vec![BY_MASK];
    }
    lab
}

fn status(lab: &Lab) -> (State, u32, u32) {
    let status = lab.client.status().next().unwrap();
    (status.state, status.assigned, status.of)
}

fn last_reason(lab: &Lab) -> &str {
    lab.client.status().next().unwrap().reason
}

#[test]
fn values_of_the_configured_mask_are_dealt() {
    for (mask, tells) in [(DEFAULT_MASK, true), (DEFAULT_MASK, false), (0x0F00, true), (1, true)] {
        let of = 1 << mask.count_ones();
        let mut lab = lab(Settings { mask, ..masked() }, &[(ROUTER, ROUTER_ID)]);
        lab.routers[0].tells_map = tells;
        lab.run_until(21_000);
        let router = &lab.routers[0];
        assert!(router.assignments().is_empty());
        let made = router.mask_assignments();
        assert_eq!((made.len(), made[0].0), (1, 15_000));
        let AlternateBody::Mask(sets) = &made[0].1.body else { panic!("a hash") };
        assert_eq!((sets.len(), sets[0].mask, share(sets, OWN)), (1, Side::Source.mask(mask), (of, of)));
        assert_eq!(status(&lab), (State::Assigned, of, of), "told by the map: {tells}");
        assert_eq!(last_reason(&lab), format!("{of} of {of} values are ours"));
        // Before anything is agreed the HERE_I_AM is as any; then it names the mask, and no values.
        let sent = router.here_i_ams();
        assert!(matches!(sent[0].1.identity.data, CacheData::Hash { .. }));
        let set = MaskValueSet { mask: Side::Source.mask(mask), values: vec![] };
        let named = CacheData::Mask { sets: vec![set], weight: 0, status: 0 };
        assert!(sent[1..].iter().all(|m| m.1.identity.data == named));
        assert_eq!(sent.last().unwrap().1.capabilities[1], BY_MASK);
    }
}

#[test]
fn the_second_choice_is_taken_and_told() {
    let hash_first = Settings { assignment: vec![Assignment::Hash, Assignment::Mask], ..masked() };
    let mut lab = lab(hash_first, &[(ROUTER, ROUTER_ID)]);
    lab.run_until(21_000);
    assert_eq!(status(&lab), (State::Assigned, 64, 64));
    assert_eq!(lab.warnings(), [(0, "second_choice")]);
    let told = lab.events.iter().find_map(|event| match &event.what {
        What::Warning { text, .. } => Some(text.clone()),
        _ => None,
    });
    assert!(told.unwrap().contains("assignment by mask, not hash"));
}

#[test]
fn three_caches_share_the_values_in_both_directions() {
    let mut both = masked();
    both.groups.push(GroupSettings { id: 62, role: Role::Reverse, ports: vec![], ..both.groups[0].clone() });
    let mut lab = lab(both, &[(ROUTER, ROUTER_ID)]);
    let others = [3, 4].map(|n| Ipv4Addr::new(10, 9, 0, n));
    lab.run_until(28_000);
    // The groups learn of the newcomers in different orders.
    lab.routers[0].add_cache(others[0]);
    lab.routers[1].add_cache(others[1]);
    lab.run_until(58_000);
    assert_ne!(lab.routers[0].map[0].values, lab.routers[1].map[0].values);
    lab.routers[0].add_cache(others[1]);
    lab.routers[1].add_cache(others[0]);
    lab.run_until(130_000);
    let (forward, reverse) = (&lab.routers[0].map, &lab.routers[1].map);
    assert_eq!(forward[0].mask, Side::Source.mask(DEFAULT_MASK));
    assert_eq!(reverse[0].mask, Side::Destination.mask(DEFAULT_MASK));
    let mut shares = [OWN, others[0], others[1]].map(|cache| share(forward, cache).0);
    shares.sort_unstable();
    assert_eq!(shares, [21, 21, 22]);
    for n in 0..=255u8 {
        let (client, server) = (Ipv4Addr::new(172, 16, n, n.wrapping_mul(7)), Ipv4Addr::new(203, 0, 113, 5));
        let there = lookup(forward, &super::several::assign_fields(client, server));
        assert!(there.is_some());
        assert_eq!(there, lookup(reverse, &super::several::assign_fields(server, client)), "{client}");
    }
}

#[test]
fn a_newcomer_takes_only_its_share_of_values() {
    let mut lab = lab(masked(), &[(ROUTER, ROUTER_ID)]);
    lab.routers[0].add_cache(Ipv4Addr::new(10, 9, 0, 3));
    lab.run_until(28_000);
    let before = lab.routers[0].map.clone();
    lab.routers[0].add_cache(Ipv4Addr::new(10, 9, 0, 4));
    lab.run_until(60_000);
    let of = |sets: &[MaskValueSet], v: u32| holder(sets, Side::Source, v).unwrap();
    let moved = before[0].values.iter().filter(|v| {
        let bits = v.bits.source;
        of(&before, bits) != of(&lab.routers[0].map, bits)
    });
    assert_eq!(moved.count(), 21);
}

#[test]
fn a_map_that_is_not_what_was_sent_is_told_and_mended() {
    let mut lab = lab(masked(), &[(ROUTER, ROUTER_ID)]);
    lab.run_until(21_000);
    lab.events.clear();
    let sent = lab.routers[0].mask_assignments().len();
    // The router lost half of what it was sent.
    lab.routers[0].map[0].values.truncate(32);
    lab.run_until(30_000);
    assert_eq!(status(&lab), (State::Assigned, 32, 32), "what the router does counts, not what we asked");
    assert_eq!(lab.warnings(), [(30_000, "assignment_differs")]);
    lab.run_until(51_000);
    assert_eq!(lab.routers[0].mask_assignments().len(), sent + 1, "once, after T");
    assert_eq!(status(&lab), (State::Assigned, 64, 64));
}

#[test]
fn a_foreign_mask_assignment_is_counted_from_the_map() {
    let mut lab = lab(masked(), &[(ROUTER, ROUTER_ID)]);
    let lower = Ipv4Addr::new(10, 9, 0, 1);
    lab.routers[0].add_cache(lower);
    lab.routers[0].key = AssignmentKey { address: lower, change: 5 };
    let value = |bits, cache| Value { bits: Side::Source.mask(bits), cache };
    let values = vec![value(0, lower), value(1, OWN), value(2, lower), value(3, lower)];
    lab.routers[0].map = vec![MaskValueSet { mask: Side::Source.mask(3), values }];
    lab.run_until(60_000);
    assert_eq!(status(&lab), (State::Assigned, 1, 4));
    assert!(lab.routers[0].mask_assignments().is_empty(), "the lower address assigns");
}

#[test]
fn all_routers_of_a_group_share_out_in_one_way() {
    let two = Settings { routers: vec![ROUTER, SECOND], ..masked() };
    let mut lab = Lab::with(two.clone(), &[(ROUTER, ROUTER_ID), (SECOND, SECOND_ID)]);
    lab.routers[0].offers = vec![Capability::Assignment(3)];
    lab.routers[1].offers = vec![Capability::Assignment(1)];
    lab.run_until(30_000);
    let states: Vec<_> = lab.client.status().map(|s| (s.state, s.reason.to_owned())).collect();
    assert_eq!(states[0].0, State::Assigned);
    let why = "assignment: the router offers hash, the group's other routers use mask";
    assert_eq!(states[1], (State::Rejected, why.to_owned()));
    // Where both can, both do, with one assignment for both.
    let mut lab = Lab::with(two, &[(ROUTER, ROUTER_ID), (SECOND, SECOND_ID)]);
    for router in &mut lab.routers {
        router.offers = vec![Capability::Assignment(3)];
    }
    lab.run_until(30_000);
    assert!(lab.client.status().all(|s| (s.state, s.assigned, s.of) == (State::Assigned, 64, 64)));
    for router in &lab.routers {
        let ids: Vec<u32> =
            router.mask_assignments()[0].1.routers.iter().map(|r| r.router.receive_id).collect();
        assert_eq!(ids.len(), 2);
    }
    assert_eq!(lab.routers[0].map, lab.routers[1].map);
}

#[test]
fn l2_needs_a_router_on_our_own_network() {
    let far = Ipv4Addr::new(10, 8, 0, 1);
    let l2 = Settings { forward: vec![Method::L2], ..settings(&[far]) };
    let mut lab = Lab::with(l2, &[(far, ROUTER_ID)]);
    lab.routers[0].offers = vec![Capability::Forward(3)];
    lab.run_until(1_000);
    assert_eq!(lab.state(), "rejected");
    assert_eq!(last_reason(&lab), "forwarding: we are set to L2, but the router is not on our network");
    let either = Settings { forward: vec![Method::L2, Method::Gre], ..settings(&[far]) };
    let mut lab = Lab::with(either, &[(far, ROUTER_ID)]);
    lab.routers[0].offers = vec![Capability::Forward(3)];
    lab.run_until(21_000);
    let methods = lab.client.status().next().unwrap().methods.unwrap();
    assert_eq!((lab.state(), methods.forward), ("assigned", Method::Gre));
}

#[test]
fn forward_and_return_are_chosen_apart_and_both_lists_are_named() {
    let l2 = Settings { forward: vec![Method::L2, Method::Gre], ..settings(&[ROUTER]) };
    let mut lab = Lab::with(l2, &[(ROUTER, ROUTER_ID)]);
    lab.routers[0].offers = vec![Capability::Forward(2), Capability::Return(1)];
    lab.run_until(0);
    assert_eq!(lab.states().last(), Some(&(0, "usable")));
    let seen = lab.events.iter().find_map(|event| match &event.what {
        What::Wccp { state: "seen", reason, .. } => Some(reason.as_str()),
        _ => None,
    });
    assert_eq!(seen, Some("the router answered: L2 forwarding, GRE return, hash assignment"));
    let l2 = Settings { return_method: vec![Method::L2], ..settings(&[ROUTER]) };
    let mut lab = Lab::with(l2, &[(ROUTER, ROUTER_ID)]);
    lab.run_until(1_000);
    assert_eq!(last_reason(&lab), "return: the router offers GRE, we are set to L2");
    lab.routers[0].offers = vec![Capability::Return(8)];
    lab.run_until(40_000);
    assert_eq!(lab.client.status().next().unwrap().state, State::Rejected);
}
