//! Several routers, several caches, several groups.

use super::*;

const SECOND: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 11);
const SECOND_ID: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

fn two_routers() -> Lab {
    Lab::with(settings(&[ROUTER, SECOND]), &[(ROUTER, ROUTER_ID), (SECOND, SECOND_ID)])
}

#[test]
fn every_router_is_listed_with_its_own_number() {
    let mut lab = two_routers();
    lab.run_until(45_000);
    for router in &lab.routers {
        let made = router.assignments();
        assert_eq!(made.len(), 1);
        let ids: Vec<Ipv4Addr> = made[0].1.routers.iter().map(|entry| entry.router.router_id).collect();
        assert_eq!(ids, [ROUTER_ID, SECOND_ID]);
        assert_eq!(router.key, AssignmentKey { address: OWN, change: 1 });
        assert_eq!(router.here_i_ams().last().unwrap().1.view.routers.len(), 2);
    }
    assert!(lab.client.status().all(|status| status.state == State::Assigned));
}

#[test]
fn n34_a_cache_that_only_one_router_sees_is_left_out() {
    let mut lab = two_routers();
    let (everywhere, here) = (Ipv4Addr::new(10, 9, 0, 3), Ipv4Addr::new(10, 9, 0, 4));
    lab.routers[0].add_cache(everywhere);
    lab.routers[1].add_cache(everywhere);
    lab.routers[0].add_cache(here);
    lab.run_until(30_000);
    for router in &lab.routers {
        assert_eq!(router.table.caches, [OWN, everywhere]);
    }
    assert_eq!(lab.warnings(), [(15_000, "cache_left_out")], "once, however long it lasts");
}

#[test]
fn where_a_lower_cache_assigns_we_are_silent() {
    let mut lab = two_routers();
    lab.run_until(25_000);
    // One router alone knows it, so it is in nobody's assignment of ours, but that router obeys it.
    let lower = Ipv4Addr::new(10, 9, 0, 1);
    lab.routers[0].add_cache(lower);
    lab.run_until(46_000);
    assert_eq!(lab.routers[0].assignments().len(), 2);
    lab.routers[0].key = AssignmentKey { address: lower, change: 1 };
    lab.run_until(120_000);
    assert_eq!(lab.routers[0].assignments().len(), 2, "no tug of war");
}

#[test]
fn n35_two_routers_with_one_id() {
    let mut lab = Lab::with(settings(&[ROUTER, SECOND]), &[(ROUTER, ROUTER_ID), (SECOND, ROUTER_ID)]);
    lab.run_until(25_000);
    let states: Vec<State> = lab.client.status().map(|status| status.state).collect();
    assert_eq!(states, [State::Assigned, State::Init]);
    assert_eq!(lab.warnings(), [(0, "router_id_conflict")]);
    assert!(lab.counter("router_id_taken") > 0);
}

#[test]
fn n36_the_second_router_dies() {
    let mut lab = two_routers();
    lab.run_until(25_000);
    let change = lab.routers[0].here_i_ams().last().unwrap().1.view.change;
    lab.routers[1].mute = true;
    lab.run_until(80_000);
    let made = lab.routers[0].assignments();
    let last = made.last().unwrap();
    assert_eq!(last.0, 66_000, "1.5 T after the third unanswered HERE_I_AM");
    assert_eq!(last.1.routers.len(), 1);
    assert_eq!(lab.routers[0].here_i_ams().last().unwrap().1.view.change, change + 1);
    assert_eq!(lab.routers[0].key.change, 2);
}

#[test]
fn one_router_without_common_methods_does_not_hurt_the_other() {
    let mut lab = two_routers();
    lab.routers[1].offers = vec![Capability::Forward(2)];
    lab.run_until(60_000);
    let states: Vec<State> = lab.client.status().map(|status| status.state).collect();
    assert_eq!(states, [State::Assigned, State::Rejected]);
}

#[test]
fn n37_n38_the_numerically_lowest_takes_over() {
    let mut lab = Lab::with(
        Settings { own_address: Ipv4Addr::new(10, 0, 1, 1), ..settings(&[ROUTER]) },
        &[(ROUTER, ROUTER_ID)],
    );
    let lower = Ipv4Addr::new(10, 0, 0, 9);
    lab.routers[0].add_cache(lower);
    lab.run_until(59_000);
    assert!(lab.routers[0].assignments().is_empty(), "10.0.0.9 is below 10.0.1.1");
    lab.routers[0].remove_cache(lower);
    lab.run_until(74_999);
    assert!(lab.routers[0].assignments().is_empty());
    lab.run_until(80_000);
    assert_eq!(lab.routers[0].assignments()[0].0, 75_000);
    assert_eq!(lab.state(), "assigned");
}

#[test]
fn both_directions_of_a_connection_reach_the_same_cache() {
    let mut both = settings(&[ROUTER]);
    both.groups.push(GroupSettings {
        id: 62,
        role: Role::Reverse,
        ports: vec![21, 20],
        ..both.groups[0].clone()
    });
    let mut lab = Lab::with(both, &[(ROUTER, ROUTER_ID)]);
    let others = [3, 4, 5].map(|n| Ipv4Addr::new(10, 9, 0, n));
    lab.run_until(28_000);
    // The groups learn of the newcomers in different orders.
    lab.routers[0].add_cache(others[0]);
    lab.routers[1].add_cache(others[2]);
    lab.run_until(58_000);
    assert_ne!(lab.routers[0].table, lab.routers[1].table);
    lab.routers[0].add_cache(others[2]);
    lab.routers[1].add_cache(others[0]);
    lab.run_until(88_000);
    lab.routers[1].add_cache(others[1]);
    lab.routers[0].add_cache(others[1]);
    lab.run_until(130_000);
    let (forward, reverse) = (&lab.routers[0], &lab.routers[1]);
    assert_eq!(forward.table.caches.len(), 4);
    for client in (0..=255u8).map(|n| Ipv4Addr::new(172, 16, n, n.wrapping_mul(7))) {
        let server = Ipv4Addr::new(203, 0, 113, 5);
        let out = assign_fields(client, server);
        let back = assign_fields(server, client);
        let there = forward.table.lookup(forward.service.primary_bucket(&out), 0);
        assert!(there.is_some());
        assert_eq!(there, reverse.table.lookup(reverse.service.primary_bucket(&back), 0));
    }
}

pub(super) fn assign_fields(source: Ipv4Addr, destination: Ipv4Addr) -> crate::wccp::assign::Fields {
    crate::wccp::assign::Fields { source, destination, source_port: 40_000, destination_port: 21 }
}
