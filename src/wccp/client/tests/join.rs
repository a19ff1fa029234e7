//! Joining, being assigned, being asked, leaving, sleeping.

use super::*;

#[test]
fn joins_is_assigned_and_leaves() {
    let mut lab = Lab::new();
    assert_eq!(lab.client.poll_timeout().unwrap().0, Instant::ZERO);
    lab.run_until(9_999);
    assert_eq!(lab.states(), [(0, "init"), (0, "seen"), (0, "usable")]);
    {
        let sent = lab.routers[0].here_i_ams();
        assert_eq!(sent.len(), 2, "the second at once, then every T");
        let (first, second) = (sent[0].1, sent[1].1);
        assert_eq!(first.view, CacheView { change: 0, routers: vec![], caches: vec![] });
        assert!(first.capabilities.is_empty() && first.identity.historical);
        assert_eq!(second.view.routers, [RouterIdElement { router_id: ROUTER_ID, receive_id: 1 }]);
        let ours = [Capability::Forward(1), Capability::Assignment(1), Capability::Return(1)];
        assert_eq!(second.capabilities, ours);
        assert_eq!(second.service.flags, ServiceFlags(0x0011));
        assert_eq!(second.service.ports, [21, 20, 2020, 0, 0, 0, 0, 0]);
    }
    lab.run_until(14_999);
    assert!(lab.routers[0].assignments().is_empty());
    lab.run_until(15_000);
    {
        let made = lab.routers[0].assignments();
        assert_eq!(made.len(), 1);
        assert_eq!(made[0].1.key, AssignmentKey { address: OWN, change: 1 });
        assert_eq!(made[0].1.table.buckets_of(OWN).count(), 256);
        let router = RouterIdElement { router_id: ROUTER_ID, receive_id: 3 };
        assert_eq!(made[0].1.routers, [RouterAssignment { router, change: 2 }]);
    }
    lab.run_until(100_000);
    assert_eq!(lab.states()[3..], [(20_000, "assigned")]);
    assert_eq!(lab.routers[0].assignments().len(), 1, "it is shown, so it is not sent again");
    assert_eq!(lab.routers[0].here_i_ams().len(), 12);
    let last = lab.routers[0].here_i_ams().last().unwrap().1.clone();
    assert!(!last.identity.historical);
    assert!(matches!(last.identity.data, CacheData::Hash { buckets, .. } if buckets.count() == 256));
    assert_eq!(last.view.caches, [OWN]);
    assert!(lab.warnings().is_empty());
    let status = lab.client.status().next().unwrap();
    assert_eq!((status.assigned, status.caches, status.designated), (256, 1, true));
    assert_eq!(status.methods.unwrap().forward, Method::Gre);
    assert!(!lab.client.is_left());

    lab.client.shutdown(at(lab.now), &mut lab.events);
    lab.exchange();
    assert!(lab.client.is_left());
    assert_eq!(lab.states().last(), Some(&(100_000, "left")));
    let last = lab.routers[0].here_i_ams().last().unwrap().1.clone();
    assert_eq!(last.commands, [Command::Shutdown(OWN)]);
    assert_eq!(lab.client.poll_timeout(), None);
    assert!(lab.routers[0].caches.is_empty());
}

#[test]
fn n45_a_shutdown_that_nobody_confirms_ends_after_3_t() {
    for confirms in [None, Some(Ipv4Addr::new(10, 9, 0, 77))] {
        let mut lab = Lab::assigned();
        lab.routers[0].confirms = confirms;
        let before = lab.routers[0].here_i_ams().len();
        lab.client.shutdown(at(lab.now), &mut lab.events);
        lab.exchange();
        lab.run_until(50_999);
        assert!(!lab.client.is_left());
        let times: Vec<u64> = lab.routers[0].here_i_ams()[before..].iter().map(|sent| sent.0).collect();
        assert_eq!(times, [21_000, 22_000, 23_000]);
        lab.run_until(51_000);
        assert!(lab.client.is_left());
        assert_eq!(lab.states(), [(51_000, "left")]);
    }
}

#[test]
fn leaving_before_the_router_answered_needs_no_message() {
    let mut lab = Lab::new();
    lab.client.shutdown(at(0), &mut lab.events);
    assert!(lab.client.is_left());
    assert_eq!(lab.client.poll_transmit(), None);
}

#[test]
fn a_router_that_calls_itself_otherwise_is_met_anew() {
    let mut lab = Lab::assigned();
    let renamed = Ipv4Addr::new(192, 0, 2, 77);
    let made = lab.routers[0].assignments().len();
    lab.routers[0].id = renamed;
    lab.routers[0].caches.clear();
    lab.routers[0].key = AssignmentKey::NONE;
    lab.run_until(90_000);
    assert_eq!(lab.states().iter().map(|s| s.1).collect::<Vec<_>>(), ["seen", "usable", "assigned"]);
    let made = &lab.routers[0].assignments()[made..];
    assert!(!made.is_empty() && made.iter().all(|a| a.1.routers[0].router.router_id == renamed));
    let last = lab.routers[0].here_i_ams().last().unwrap().1;
    assert_eq!(last.view.routers[0].router_id, renamed);
}

#[test]
fn a_silent_router_is_named_once_and_taken_back() {
    let mut lab = Lab::new();
    lab.routers[0].mute = true;
    lab.run_until(29_999);
    assert_eq!(lab.states(), [(0, "init")]);
    assert!(lab.warnings().is_empty());
    lab.run_until(89_999);
    assert_eq!(lab.states(), [(0, "init"), (30_000, "silent")]);
    assert_eq!(lab.warnings(), [(30_000, "router_silent")]);
    lab.run_until(95_000);
    assert_eq!(lab.warnings(), [(30_000, "router_silent"), (90_000, "router_silent")]);
    lab.routers[0].mute = false;
    lab.run_until(130_000);
    let states: Vec<&str> = lab.states()[2..].iter().map(|state| state.1).collect();
    assert_eq!(states, ["seen", "usable", "assigned"]);
}

#[test]
fn an_assigned_router_that_dies_is_dropped_from_the_view() {
    let mut lab = Lab::assigned();
    lab.routers[0].mute = true;
    lab.run_until(50_999);
    assert!(lab.states().is_empty(), "the third HERE_I_AM left at 50 s and may still be answered");
    lab.run_until(51_000);
    assert_eq!(lab.states(), [(51_000, "silent")]);
    assert_eq!(lab.warnings(), [(51_000, "router_silent")]);
    assert_eq!(lab.client.return_to(61, ROUTER_ID), Some(ROUTER_ID), "its packets still find back");
    lab.run_until(60_500);
    let sent = lab.routers[0].here_i_ams();
    assert!(sent[sent.len() - 1].1.view.routers.is_empty());
    assert!(sent[sent.len() - 1].1.view.change > sent[sent.len() - 3].1.view.change);
}

#[test]
fn n26_two_changes_make_one_assignment() {
    let mut lab = Lab::assigned();
    lab.run_until(29_000);
    lab.routers[0].add_cache(Ipv4Addr::new(10, 9, 0, 3));
    lab.run_until(39_000);
    lab.routers[0].add_cache(Ipv4Addr::new(10, 9, 0, 4));
    lab.run_until(54_999);
    assert_eq!(lab.routers[0].assignments().len(), 1);
    lab.run_until(100_000);
    let made = lab.routers[0].assignments();
    assert_eq!(made.len(), 2);
    assert_eq!(made[1].0, 55_000, "1.5 T after the view of 40 s");
    assert_eq!(made[1].1.key, AssignmentKey { address: OWN, change: 2 });
    assert_eq!(made[1].1.table.caches.len(), 3);
    assert_eq!(made[1].1.table.buckets_of(OWN).count(), 86);
}

#[test]
fn an_assignment_that_is_not_shown_is_sent_again_after_t() {
    let mut lab = Lab::new();
    lab.routers[0].obeys = false;
    lab.run_until(46_000);
    let made = lab.routers[0].assignments();
    assert_eq!(made.iter().map(|made| made.0).collect::<Vec<_>>(), [15_000, 25_000, 35_000, 45_000]);
    assert!(made.iter().all(|made| made.1.key.change == 1));
    assert_eq!(made[3].1.routers[0].router.receive_id, 6, "the last one each time");
    lab.run_until(49_999);
    assert!(lab.warnings().is_empty());
    lab.run_until(119_000);
    assert_eq!(lab.warnings(), [(50_000, "no_assignment"), (110_000, "no_assignment")]);
}

#[test]
fn n31_a_view_without_us_starts_over() {
    let mut lab = Lab::assigned();
    lab.run_until(29_000);
    lab.routers[0].remove_cache(OWN);
    lab.run_until(44_999);
    assert_eq!(lab.states(), [(30_000, "seen"), (30_000, "assigned")]);
    assert_eq!(lab.routers[0].assignments().len(), 1);
    lab.run_until(45_000);
    assert_eq!(lab.routers[0].assignments().len(), 2);
    assert_eq!(lab.routers[0].assignments()[1].1.key.change, 2);
}

#[test]
fn n44_removal_queries() {
    let mut lab = Lab::assigned();
    let ours = lab.routers[0].service;
    let router = RouterIdElement { router_id: ROUTER_ID, receive_id: 77 };
    let query = |service: Service, target| {
        let query = RouterQuery { router, sent_to: ROUTER, target };
        let message = Message::RemovalQuery(RemovalQuery { service, query });
        message.emit(Some(&Password::new(b"secret1").unwrap())).unwrap()
    };
    let before = lab.routers[0].here_i_ams().len();
    lab.routers[0].mute = true;
    lab.deliver(&query(ours, Ipv4Addr::new(10, 9, 0, 3)));
    assert_eq!(lab.counter("not_for_us"), 1);
    let stranger = Ipv4Addr::new(10, 9, 0, 99);
    lab.client.handle_datagram(at(lab.now), stranger, &query(ours, OWN), &mut lab.events);
    assert_eq!(lab.counter("unknown_router"), 1);
    assert_eq!(lab.client.poll_transmit(), None);
    lab.deliver(&query(ours, OWN));
    lab.deliver(&query(ours, OWN));
    assert_eq!(lab.counter("query_busy"), 1);
    lab.run_until(29_999);
    let sent = &lab.routers[0].here_i_ams()[before..];
    assert_eq!(sent.iter().map(|sent| sent.0).collect::<Vec<_>>(), [21_000, 22_000, 23_000]);
    assert!(sent.iter().all(|each| each.1 == sent[0].1 && each.1.view.routers == [router]));
}

#[test]
fn n54_forty_seconds_of_sleep() {
    let mut lab = Lab::assigned();
    lab.sleep(40_000);
    lab.run_until(62_000);
    let states: Vec<&str> = lab.states().iter().map(|state| state.1).collect();
    assert_eq!(states[0], "init", "not silent: the router could not answer what was never sent");
    assert!(states.contains(&"usable") || states.contains(&"assigned"), "{states:?}");
    assert!(lab.warnings().is_empty());
    lab.run_until(90_000);
    assert_eq!(lab.state(), "assigned");
    assert_eq!(lab.routers[0].key.address, OWN);
}

#[test]
fn n30_a_foreign_assignment_is_replaced_after_t() {
    let mut lab = Lab::assigned();
    let other = AssignmentKey { address: Ipv4Addr::new(10, 9, 0, 200), change: 9 };
    for turn in 0..6 {
        lab.routers[0].key = other;
        lab.run_until(31_000 + turn * 20_000);
    }
    let made = lab.routers[0].assignments();
    assert!(made.len() >= 5, "we are the lowest: {}", made.len());
    assert_eq!(made[1].0, 40_000, "T after it was seen at 30 s");
    assert!(lab.warnings().iter().any(|warning| warning.1 == "assignment_conflict"));
}

#[test]
fn a_lower_cache_that_is_listed_is_left_alone() {
    let mut lab = Lab::assigned();
    let lower = Ipv4Addr::new(10, 9, 0, 1);
    lab.routers[0].add_cache(lower);
    lab.routers[0].key = AssignmentKey { address: lower, change: 1 };
    lab.routers[0].table = HashTable::empty().deal(&[(lower, 1), (OWN, 1)]);
    lab.run_until(120_000);
    assert_eq!(lab.routers[0].assignments().len(), 1);
    let status = lab.client.status().next().unwrap();
    assert_eq!((status.state, status.assigned, status.designated), (State::Assigned, 128, false));
}

#[test]
fn a_restart_does_not_reuse_the_number_of_an_assignment() {
    for (before, after) in [(41, 42), (u32::MAX, 1)] {
        let mut lab = Lab::new();
        lab.routers[0].key = AssignmentKey { address: OWN, change: before };
        lab.run_until(16_000);
        assert_eq!(lab.routers[0].assignments()[0].1.key.change, after, "0 is skipped");
    }
}

#[test]
fn an_assignment_waits_for_the_answer_that_is_under_way() {
    let mut lab = Lab::new();
    lab.run_until(9_000);
    lab.routers[0].mute = true;
    lab.run_until(19_999);
    assert!(lab.routers[0].assignments().is_empty(), "its Receive ID might be stale on arrival");
    lab.routers[0].mute = false;
    lab.run_until(20_000);
    assert_eq!(lab.routers[0].assignments().len(), 1);
    assert_eq!(lab.routers[0].key, AssignmentKey { address: OWN, change: 1 });
}

#[test]
fn where_declined_packets_go() {
    let mut lab = Lab::new();
    assert_eq!(lab.client.return_to(61, ROUTER), Some(ROUTER), "before it told us its ID");
    assert!(!lab.client.is_router(ROUTER_ID));
    lab.run_until(1_000);
    assert_eq!(lab.client.return_to(61, ROUTER), Some(ROUTER_ID));
    assert_eq!(lab.client.return_to(99, ROUTER_ID), Some(ROUTER_ID), "the service ID is only a hint");
    assert_eq!(lab.client.return_to(61, Ipv4Addr::new(10, 9, 0, 66)), None);
    assert!(lab.client.is_router(ROUTER_ID) && lab.client.is_router(ROUTER));
}
