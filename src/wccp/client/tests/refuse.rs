//! What must change nothing, and what must be said about it.

use super::*;

/// Delivers to an assigned client; nothing may follow but one count.
#[track_caller]
fn counts_only(lab: &mut Lab, payload: &[u8], counter: &str) {
    let before = lab.counter(counter);
    let status: Vec<String> = lab.client.status().map(|status| format!("{status:?}")).collect();
    let timeout = lab.client.poll_timeout();
    lab.client.handle_datagram(at(lab.now), ROUTER, payload, &mut lab.events);
    assert_eq!(lab.counter(counter), before + 1, "{counter}");
    assert_eq!(lab.client.status().map(|status| format!("{status:?}")).collect::<Vec<_>>(), status);
    assert_eq!(lab.client.poll_timeout(), timeout);
    assert_eq!(lab.client.poll_transmit(), None);
    assert!(lab.states().is_empty());
}

#[test]
fn n05_messages_for_routers() {
    let mut lab = Lab::assigned();
    let password = lab.routers[0].password.clone();
    let sent: Vec<Message> = lab.routers[0].log.iter().map(|entry| entry.1.clone()).collect();
    let here = sent.iter().find(|message| matches!(message, Message::HereIAm(_))).unwrap();
    let assign = sent.iter().find(|message| matches!(message, Message::RedirectAssign(_))).unwrap();
    for message in [here, assign] {
        counts_only(&mut lab, &message.emit(password.as_ref()).unwrap(), "wrong_message");
    }
}

#[test]
fn n14_wrong_digest_changes_nothing_and_warns_once_a_minute() {
    let mut lab = Lab::assigned();
    let good = lab.forged(|_| {});
    for bit in (0..good.len() * 8).filter(|bit| !(8 * 8..16 * 8).contains(bit)) {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let status: Vec<String> = lab.client.status().map(|status| format!("{status:?}")).collect();
        lab.client.handle_datagram(at(lab.now), ROUTER, &bad, &mut lab.events);
        let after: Vec<String> = lab.client.status().map(|status| format!("{status:?}")).collect();
        assert_eq!(after, status, "bit {bit}");
    }
    assert!(lab.counter("digest") > 900);
    assert_eq!(lab.warnings(), [(21_000, "md5_mismatch")]);
    lab.routers[0].password = Some(Password::new(b"secret2").unwrap());
    let other = lab.forged(|_| {});
    counts_only(&mut lab, &other, "digest");
    lab.now += 59_999;
    lab.client.handle_datagram(at(lab.now), ROUTER, &other, &mut lab.events);
    assert_eq!(lab.warnings().len(), 1);
    lab.now += 1;
    lab.client.handle_datagram(at(lab.now), ROUTER, &other, &mut lab.events);
    assert_eq!(lab.warnings().len(), 2);
    lab.now = 21_000;
    lab.deliver(&good);
    assert_eq!(lab.client.status().next().unwrap().receive_id, 5, "the genuine one is taken");
}

#[test]
fn n15_one_end_without_password() {
    let mut lab = Lab::assigned();
    lab.routers[0].password = None;
    let plain = lab.forged(|_| {});
    counts_only(&mut lab, &plain, "security_differs");
    assert_eq!(lab.warnings(), [(21_000, "md5_mismatch")]);

    let mut lab = Lab::with(Settings { password: None, ..settings(&[ROUTER]) }, &[(ROUTER, ROUTER_ID)]);
    let signed = lab.forged(|_| {});
    counts_only(&mut lab, &signed, "security_differs");
}

#[test]
fn n18_unknown_service() {
    let mut lab = Lab::assigned();
    let standard = lab.forged(|message| message.service.kind = ServiceKind::Standard);
    counts_only(&mut lab, &standard, "unknown_service");
    let other = lab.forged(|message| message.service.id = 62);
    counts_only(&mut lab, &other, "unknown_service");
}

#[test]
fn n19_another_description_of_the_service() {
    let changes: [fn(&mut Service); 4] = [
        |service| service.ports[7] = 1,
        |service| service.flags = ServiceFlags(0x0012),
        |service| service.priority = 1,
        |service| service.protocol = 17,
    ];
    let mut lab = Lab::assigned();
    for change in changes {
        let payload = lab.forged(|message| change(&mut message.service));
        counts_only(&mut lab, &payload, "service_differs");
    }
    assert_eq!(lab.warnings(), [(21_000, "group_conflict")]);
}

#[test]
fn n20_messages_for_other_caches() {
    let mut lab = Lab::assigned();
    for list in [vec![], vec![Ipv4Addr::new(10, 9, 0, 3)]] {
        let payload = lab.forged(|message| message.identity.received_from = list);
        counts_only(&mut lab, &payload, "not_for_us");
    }
}

#[test]
fn n22_a_sender_that_is_not_configured() {
    let mut lab = Lab::assigned();
    let payload = lab.forged(|_| {});
    let stranger = Ipv4Addr::new(10, 9, 0, 99);
    lab.client.handle_datagram(at(lab.now), stranger, &payload, &mut lab.events);
    assert_eq!(lab.counter("unknown_router"), 1);
    assert_eq!(lab.client.status().next().unwrap().receive_id, 4);
    lab.client.handle_datagram(at(lab.now), ROUTER_ID, &payload, &mut lab.events);
    assert_eq!(lab.client.status().next().unwrap().receive_id, 5, "its own name for itself is good");
}

#[test]
fn n23_receive_ids() {
    let mut lab = Lab::assigned();
    let last = |lab: &Lab| lab.client.status().next().unwrap().receive_id;
    for id in [9, 9, 0x7FFF_FFFF, 0xFFFF_FFF0, u32::MAX, 1, 3] {
        let payload = lab.forged(|message| message.identity.router.receive_id = id);
        lab.deliver(&payload);
        assert_eq!(last(&lab), id);
    }
    assert!(lab.warnings().is_empty(), "jumps, repetition and the wrap are in order");
    let zero = lab.forged(|message| message.identity.router.receive_id = 0);
    counts_only(&mut lab, &zero, "receive_id_zero");
    let back = lab.forged(|message| message.identity.router.receive_id = 2);
    lab.deliver(&back);
    assert_eq!(last(&lab), 2, "followed");
    let kinds: Vec<&str> = lab.warnings().iter().map(|warning| warning.1).collect();
    assert_eq!(kinds, ["receive_id_zero", "receive_id_back"]);
    assert_eq!(lab.state(), "assigned");
}

#[test]
fn n39_what_routers_offer() {
    let offer = |forward| vec![Capability::Forward(forward)];
    let unknown = Capability::Other { kind: 77, value: vec![] };
    let timers = Capability::Other { kind: 4, value: vec![0, 0, 3, 232] };
    for (offers, joined) in [
        (vec![], true),
        (vec![unknown, timers], true),
        (offer(3), true),
        (offer(2), false),
        (offer(0), false),
        (vec![Capability::Assignment(2)], false),
        (vec![Capability::Return(2)], false),
    ] {
        let mut lab = Lab::new();
        lab.routers[0].offers = offers.clone();
        lab.run_until(9_000);
        let expected = if joined { "usable" } else { "rejected" };
        assert_eq!(lab.state(), expected, "{offers:?}");
        let sent = lab.routers[0].here_i_ams();
        let last = &sent[sent.len() - 1].1.capabilities;
        let one_each = [Capability::Forward(1), Capability::Assignment(1), Capability::Return(1)];
        let expected: &[Capability] = if joined && !offers.is_empty() { &one_each } else { &[] };
        assert_eq!(last, expected, "{offers:?}");
        let warned: Vec<&str> = lab.warnings().iter().map(|warning| warning.1).collect();
        assert_eq!(warned, if joined { vec![] } else { vec!["router_rejected"] });
    }
}

#[test]
fn n39_our_order_of_preference_decides() {
    let both = vec![Method::L2, Method::Gre];
    let mut lab = Lab::with(Settings { forward: both, ..settings(&[ROUTER]) }, &[(ROUTER, ROUTER_ID)]);
    lab.routers[0].offers = vec![Capability::Forward(3)];
    lab.run_until(9_000);
    let methods = lab.client.status().next().unwrap().methods.unwrap();
    assert_eq!((methods.forward, methods.return_method), (Method::L2, Method::Gre));
    assert_eq!(lab.routers[0].here_i_ams()[1].1.capabilities[0], Capability::Forward(2));
}

#[test]
fn a_rejected_router_is_tried_again_when_it_has_forgotten_us() {
    let mut lab = Lab::new();
    lab.routers[0].offers = vec![Capability::Forward(2)];
    lab.run_until(34_999);
    assert_eq!(lab.routers[0].here_i_ams().len(), 1);
    lab.run_until(75_000);
    assert_eq!(lab.routers[0].here_i_ams().len(), 3);
    assert_eq!(lab.states(), [(0, "init"), (0, "rejected")]);
    lab.routers[0].offers = vec![];
    lab.run_until(110_000);
    assert_eq!(lab.states()[2..], [(105_000, "seen"), (105_000, "usable")]);
}

#[test]
fn n40_an_offer_that_changes() {
    let mut lab = Lab::assigned();
    lab.routers[0].offers = vec![Capability::Forward(3)];
    lab.run_until(31_000);
    assert_eq!(lab.state(), "assigned", "what was agreed is still offered");
    lab.routers[0].offers = vec![Capability::Forward(2)];
    lab.run_until(41_000);
    assert_eq!(lab.states(), [(40_000, "rejected")]);
    assert_eq!(lab.client.status().next().unwrap().methods, None);
}

#[test]
fn n46_commands_that_are_not_for_us_to_obey() {
    let mut lab = Lab::assigned();
    for command in [
        Command::Other { kind: 9, data: vec![0; 8] },
        Command::Other { kind: 2, data: vec![] },
        Command::Shutdown(OWN),
        Command::ShutdownResponse(OWN),
    ] {
        let payload = lab.forged(|message| message.commands = vec![command]);
        lab.deliver(&payload);
        assert_eq!(lab.state(), "assigned", "a confirmation that was not asked for");
    }
}

#[test]
fn n55_a_flood_of_bad_digests_costs_nothing_but_counts() {
    let mut lab = Lab::assigned();
    lab.routers[0].password = Some(Password::new(b"wrong").unwrap());
    let bad = lab.forged(|_| {});
    lab.routers[0].password = Some(Password::new(b"secret1").unwrap());
    for _ in 0..10_000 {
        lab.client.handle_datagram(at(lab.now), ROUTER, &bad, &mut lab.events);
    }
    assert_eq!(lab.counter("digest"), 10_000);
    assert_eq!((lab.events.len(), lab.client.poll_transmit()), (1, None));
    lab.run_until(60_000);
    assert_eq!(lab.state(), "assigned");
}

#[test]
fn answers_never_make_a_storm() {
    let mut lab = Lab::assigned();
    lab.routers[0].mute = true;
    let before = lab.routers[0].here_i_ams().len();
    for turn in 0..1_000 {
        let payload = lab.forged(|message| {
            if turn % 2 == 0 {
                message.view.caches.clear();
            }
            message.identity.router.router_id = Ipv4Addr::new(192, 0, 2, (turn % 200) as u8);
        });
        lab.deliver(&payload);
    }
    assert_eq!(lab.routers[0].here_i_ams().len(), before + 1);
}

#[test]
fn a_caller_that_never_polls_does_not_make_us_grow() {
    let mut client = Client::new(settings(&[ROUTER])).unwrap();
    let mut events = Vec::new();
    for turn in 0..1_000 {
        client.handle_timeout(at(turn * T), &mut events);
    }
    assert_eq!(std::iter::from_fn(|| client.poll_transmit()).count(), 20);
    assert_eq!(client.counters().find(|counter| counter.0 == "outbox_full"), Some(("outbox_full", 980)));
}

#[test]
fn settings_that_cannot_work() {
    let good = settings(&[ROUTER]);
    let group = good.groups[0].clone();
    let refuse = |change: &dyn Fn(&mut Settings)| {
        let mut bad = settings(&[ROUTER]);
        change(&mut bad);
        Client::new(bad).unwrap_err()
    };
    assert_eq!(refuse(&|s| s.routers.clear()), SettingsError::Routers(0));
    assert_eq!(refuse(&|s| s.routers = vec![ROUTER; 2]), SettingsError::RouterTwice(ROUTER));
    assert_eq!(refuse(&|s| s.groups.clear()), SettingsError::NoGroup);
    assert_eq!(refuse(&|s| s.groups.push(group.clone())), SettingsError::GroupTwice(61));
    let nine = |s: &mut Settings| s.groups[0].ports = vec![1; 9];
    assert_eq!(refuse(&nine), SettingsError::Ports { group: 61, ports: 9 });
    assert_eq!(refuse(&|s| s.groups[0].ports[1] = 0), SettingsError::PortZero(61));
    assert_eq!(refuse(&|s| s.forward.clear()), SettingsError::NoMethod("forward"));
    assert_eq!(refuse(&|s| s.mask = 0), SettingsError::Mask(0));
    assert_eq!(refuse(&|s| s.mask = 0xFF), SettingsError::Mask(0xFF));
    assert_eq!(refuse(&|s| s.here_i_am = Duration::ZERO), SettingsError::Interval);
    let reverse = GroupSettings { role: Role::Reverse, ..group.clone() }.service();
    assert_eq!(reverse.flags, ServiceFlags(0x0032));
    let all = GroupSettings { role: Role::Reverse, ports: vec![], ..group }.service();
    assert_eq!((all.flags, all.ports), (ServiceFlags(0x0002), [0; 8]));
}
