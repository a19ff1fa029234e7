use super::*;
use proptest::prelude::*;

const S1: SessionId = SessionId(1);
const S2: SessionId = SessionId(2);
const S3: SessionId = SessionId(3);

fn pair(n: u8) -> Pair {
    Pair { client: IpAddr::from([10, 0, 0, n]), server: IpAddr::from([192, 0, 2, 1]) }
}

fn ms(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

fn steering(ports: &[u16]) -> Steering {
    Steering::new(SteerConfig::new(ports.to_vec()))
}

fn free(_: &Pair, _: u16) -> bool {
    false
}

fn events(s: &mut Steering) -> Vec<SteerEvent> {
    std::iter::from_fn(|| s.poll_event()).collect()
}

#[test]
fn a_syn_finds_its_session_and_frees_the_port_least_recently_used_first() {
    let mut s = steering(&[2020, 2021, 2020]);
    assert_eq!(s.announce(pair(1), S1, ms(0), free), Announced::Port(2020));
    assert_eq!(s.announce(pair(1), S2, ms(1), free), Announced::Port(2021));
    assert_eq!(s.announce(pair(2), S3, ms(1), free), Announced::Port(2020));
    assert_eq!(s.syn(pair(1), 2020, ms(2)), SteerSyn::Used(S1));
    assert_eq!(s.syn(pair(1), 2020, ms(2)), SteerSyn::Unknown);
    assert_eq!(s.syn(pair(1), 2021, ms(3)), SteerSyn::Used(S2));
    assert_eq!(s.syn(pair(1), 2022, ms(3)), SteerSyn::Unknown);
    assert_eq!(s.announce(pair(1), S2, ms(4), free), Announced::Port(2020));
    assert_eq!(s.announce(pair(1), S1, ms(4), free), Announced::Port(2021));
    assert_eq!(s.stats(), SteerStats { steered: 5, waited: 0, refused: 0, quarantined: 0 });
}

#[test]
fn a_port_just_used_comes_last_again() {
    let mut s = steering(&[2020, 2021, 2022]);
    for port in [2020, 2021, 2022, 2020, 2021] {
        assert_eq!(s.announce(pair(1), S1, ms(0), free), Announced::Port(port));
        assert_eq!(s.syn(pair(1), port, ms(0)), SteerSyn::Used(S1));
    }
}

#[test]
fn a_port_whose_syn_did_not_come_is_quarantined_for_its_pair_alone() {
    let mut s = steering(&[2020]);
    assert_eq!(s.announce(pair(1), S1, ms(0), free), Announced::Port(2020));
    assert!(!s.is_quarantined(pair(1), 2020, ms(14_999)));
    assert!(s.is_quarantined(pair(1), 2020, ms(15_000)), "even before the timeout was handled");
    assert_eq!(s.poll_timeout().map(|t| t.0), Some(ms(15_000)));
    s.handle_timeout(ms(15_000), free);
    assert_eq!(events(&mut s), [SteerEvent::TimedOut { session: S1, pair: pair(1), port: 2020 }]);
    assert_eq!(s.syn(pair(1), 2020, ms(20_000)), SteerSyn::Quarantined);
    assert_eq!(s.announce(pair(2), S2, ms(20_000), free), Announced::Port(2020));
    assert_eq!(s.syn(pair(2), 2020, ms(20_000)), SteerSyn::Used(S2));
    assert_eq!(s.syn(pair(1), 2020, ms(74_999)), SteerSyn::Quarantined);
    assert_eq!(s.syn(pair(1), 2020, ms(75_000)), SteerSyn::Unknown);
    assert_eq!(s.announce(pair(1), S2, ms(75_000), free), Announced::Port(2020));
}

#[test]
fn a_new_announcement_supersedes_the_sessions_old_one() {
    let mut s = steering(&[2020, 2021]);
    assert_eq!(s.announce(pair(1), S1, ms(0), free), Announced::Port(2020));
    assert_eq!(s.announce(pair(1), S1, ms(1), free), Announced::Port(2021));
    assert_eq!(s.syn(pair(1), 2020, ms(2)), SteerSyn::Quarantined);
    s.withdraw(pair(1), S1, ms(3));
    assert_eq!(s.syn(pair(1), 2021, ms(4)), SteerSyn::Quarantined);
    assert_eq!(s.stats().quarantined, 2);
    assert_eq!(s.announce(pair(1), S1, ms(5), free), Announced::Waiting);
}

#[test]
fn those_that_wait_are_served_in_order_and_refused_in_time() {
    let mut s = steering(&[2020]);
    assert_eq!(s.announce(pair(1), S1, ms(0), free), Announced::Port(2020));
    assert_eq!(s.announce(pair(1), S2, ms(100), free), Announced::Waiting);
    assert_eq!(s.announce(pair(1), S3, ms(200), free), Announced::Waiting);
    s.handle_timeout(ms(300), free);
    assert_eq!(events(&mut s), []);
    assert_eq!(s.syn(pair(1), 2020, ms(400)), SteerSyn::Used(S1));
    assert_eq!(s.poll_timeout().map(|t| t.0), Some(ms(400)), "due at once");
    assert_eq!(s.announce(pair(1), S1, ms(400), free), Announced::Waiting, "nobody jumps the queue");
    s.handle_timeout(ms(400), free);
    assert_eq!(events(&mut s), [SteerEvent::Granted { session: S2, pair: pair(1), port: 2020 }]);
    assert_eq!(s.poll_timeout().map(|t| t.0), Some(ms(5200)));
    s.handle_timeout(ms(5200), free);
    assert_eq!(events(&mut s), [SteerEvent::Refused { session: S3, pair: pair(1) }]);
    s.withdraw(pair(1), S1, ms(5300));
    s.handle_timeout(ms(6000), free);
    assert_eq!(events(&mut s), []);
    assert_eq!(s.stats(), SteerStats { steered: 2, waited: 3, refused: 1, quarantined: 0 });
}

#[test]
fn a_port_that_a_flow_holds_is_not_named_and_asked_for_again() {
    let mut s = steering(&[2020, 2021]);
    let active = |p: &Pair, port: u16| *p == pair(1) && port == 2020;
    assert_eq!(s.announce(pair(1), S1, ms(0), active), Announced::Port(2021));
    assert_eq!(s.announce(pair(1), S2, ms(0), active), Announced::Waiting);
    assert_eq!(s.poll_timeout().map(|t| t.0), Some(ms(100)));
    s.handle_timeout(ms(100), active);
    assert_eq!(s.poll_timeout().map(|t| t.0), Some(ms(200)));
    s.handle_timeout(ms(200), free);
    assert_eq!(events(&mut s), [SteerEvent::Granted { session: S2, pair: pair(1), port: 2020 }]);
}

#[test]
fn limits_refuse_and_idle_pairs_are_forgotten() {
    let mut s = Steering::new(SteerConfig { pairs: 1, waiters: 1, ..SteerConfig::new(vec![2020]) });
    assert_eq!(s.announce(pair(1), S1, ms(0), free), Announced::Port(2020));
    assert_eq!(s.announce(pair(1), S2, ms(0), free), Announced::Waiting);
    assert_eq!(s.announce(pair(1), S3, ms(0), free), Announced::Refused);
    assert_eq!(s.announce(pair(2), S3, ms(0), free), Announced::Refused);
    assert_eq!(s.stats().refused, 2);
    s.withdraw(pair(1), S2, ms(0));
    assert_eq!(s.syn(pair(1), 2020, ms(1)), SteerSyn::Used(S1));
    let mut last = ms(1);
    while let Some((at, _)) = s.poll_timeout() {
        assert!(at > last, "no spinning");
        last = at;
        s.handle_timeout(at, free);
    }
    assert_eq!((s.pairs(), last), (0, ms(60_000)));
    assert_eq!(s.announce(pair(2), S3, last, free), Announced::Port(2020));
    assert_eq!(steering(&[]).announce(pair(1), S1, ms(0), free), Announced::Refused);
}

#[derive(Debug, Clone)]
enum Step {
    Announce(u8, u64),
    Withdraw(u8, u64),
    Syn(u8, u16),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u8..3, 1u64..6).prop_map(|(p, s)| Step::Announce(p, s)),
        1 => (1u8..3, 1u64..6).prop_map(|(p, s)| Step::Withdraw(p, s)),
        4 => (1u8..3, 2020u16..2023).prop_map(|(p, n)| Step::Syn(p, n)),
        3 => prop_oneof![0u64..100, 0u64..30_000, Just(80_000)].prop_map(Step::Pass),
    ]
}

proptest! {
    /// A SYN reaches the session that was told that port last, and none after that announcement ended.
    #[test]
    fn no_session_gets_anothers_connection(steps in prop::collection::vec(step(), 1..150)) {
        let mut s = steering(&[2020, 2021, 2022]);
        let mut now = 0u64;
        // What the clients were told: (pair, port) → (session, when); ended ones with their end.
        let mut told: BTreeMap<(Pair, u16), (SessionId, u64)> = BTreeMap::new();
        let mut ended: BTreeMap<(Pair, u16), u64> = BTreeMap::new();
        for step in steps {
            let before = told.clone();
            match step {
                Step::Announce(p, id) => {
                    for ((q, port), _) in before.iter().filter(|((q, _), v)| *q == pair(p) && v.0.0 == id) {
                        told.remove(&(*q, *port));
                        ended.insert((*q, *port), now);
                    }
                    if let Announced::Port(port) = s.announce(pair(p), SessionId(id), ms(now), free) {
                        let at = (pair(p), port);
                        prop_assert!(told.get(&at).is_none_or(|v| v.1 + 15_000 <= now), "busy port given");
                        prop_assert!(ended.get(&at).is_none_or(|end| end + 60_000 <= now), "quarantine broken");
                        told.insert(at, (SessionId(id), now));
                    }
                }
                Step::Withdraw(p, id) => {
                    s.withdraw(pair(p), SessionId(id), ms(now));
                    for ((q, port), _) in before.iter().filter(|((q, _), v)| *q == pair(p) && v.0.0 == id) {
                        told.remove(&(*q, *port));
                        ended.insert((*q, *port), now);
                    }
                }
                Step::Syn(p, port) => {
                    let at = (pair(p), port);
                    let want = match (told.get(&at), ended.get(&at)) {
                        (Some((session, _)), _) => SteerSyn::Used(*session),
                        (None, Some(end)) if now < end + 60_000 => SteerSyn::Quarantined,
                        _ => SteerSyn::Unknown,
                    };
                    prop_assert_eq!(s.is_quarantined(at.0, port, ms(now)), want == SteerSyn::Quarantined);
                    prop_assert_eq!(s.syn(at.0, port, ms(now)), want);
                    told.remove(&at);
                }
                Step::Pass(ahead) => now += ahead,
            }
            // As the worker does: every deadline at its time, then all events.
            for (at, (_, since)) in before {
                if since + 15_000 <= now && told.remove(&at).is_some() {
                    ended.insert(at, since + 15_000);
                }
            }
            loop {
                let due = s.poll_timeout().filter(|(at, _)| *at <= ms(now));
                let Some((at, _)) = due else { break };
                s.handle_timeout(at, free);
                for event in events(&mut s) {
                    if let SteerEvent::Granted { pair, port, session } = event {
                        let since = at.as_millis();
                        prop_assert!(!told.contains_key(&(pair, port)), "busy port granted");
                        prop_assert!(ended.get(&(pair, port)).is_none_or(|end| end + 60_000 <= since));
                        if since + 15_000 <= now {
                            ended.insert((pair, port), since + 15_000);
                        } else {
                            told.insert((pair, port), (session, since));
                        }
                    }
                }
            }
            prop_assert!(s.pairs() <= 2);
        }
    }
}
