//! A worker that stands still for three seconds, as in a paused virtual machine, while everybody else goes on.

use crate::support::check;
use crate::support::craft::{frame, udp, who_has};
use crate::support::net::{IN, Network, OUT};
use crate::support::options::{
    BRIDGED, CLIENT, INSIDE_MAC, OUTSIDE, OUTSIDE_MAC, ROUTED, bridge, host6, masquerade, route,
};
use std::net::{IpAddr, SocketAddr};
use tidegate::event::What;
use tidegate::firewall::Action;
use tidegate::time::Duration;
use tidegate::wire::nd;

#[test]
fn a_passive_and_an_active_transfer_outlive_it_at_any_moment() {
    let file: Vec<u8> = (0..100_000u32).map(|i| (i * 7 + i / 251) as u8).collect();
    let ways = [
        (bridge(Action::Allow), IpAddr::from(BRIDGED)),
        (route(Action::Allow), ROUTED.into()),
        (route(Action::Allow), host6(OUT, 10)),
        (masquerade(Action::Allow), ROUTED.into()),
    ];
    for (o, server) in ways {
        let mut still_after = 0;
        loop {
            let mut n = Network::new(&o);
            n.nodes[1].server.as_mut().unwrap().conf.files.insert("f".into(), file.clone());
            n.still_after = still_after;
            let mut c = n.login(0, 40_000, SocketAddr::new(server, 21));
            let to = n.passive(&mut c, "EPSV");
            let data = n.data(&c, 40_001, to);
            let (got, last) = n.fetch(&mut c, data, "f");
            assert_eq!((got == file, &last[..3]), (true, "226"), "passive, after {still_after} turns");
            let (data, _) = n.active(&mut c, "EPRT", 40_002);
            let (got, last) = n.fetch(&mut c, data, "f");
            assert_eq!((got == file, &last[..3]), (true, "226"), "active, after {still_after} turns");
            assert!(n.cmd(&mut c, "QUIT").starts_with("221"));
            if n.turns < still_after {
                break;
            }
            still_after += 1;
        }
        assert!(still_after > 50, "{still_after} turns");
    }
}

#[test]
fn neighbours_whose_time_comes_meanwhile_cost_no_transfer() {
    for server in [IpAddr::from(ROUTED), host6(OUT, 10)] {
        for idle in 57..=61 {
            for turns in 0..12 {
                let mut n = Network::new(&route(Action::Allow));
                n.nodes[1].server.as_mut().unwrap().conf.files.insert("f".into(), vec![7; 9000]);
                let mut c = n.login(0, 40_000, SocketAddr::new(server, 21));
                n.run(Duration::from_secs(idle));
                n.still_after = n.turns + turns;
                let to = n.passive(&mut c, "EPSV");
                let data = n.data(&c, 40_001, to);
                let (got, last) = n.fetch(&mut c, data, "f");
                assert_eq!((got.len(), &last[..3]), (9000, "226"), "{idle} s and {turns} turns, {server}");
                assert!(n.now < n.still_until + Duration::from_secs(4), "it took until {:?}", n.now);
                assert_eq!(n.counter("drop_no_neighbour"), 0);
            }
        }
    }
}

#[test]
fn who_answered_meanwhile_is_not_given_up_though_other_frames_came_before() {
    for server in [IpAddr::from(ROUTED), host6(OUT, 10)] {
        let six = server.is_ipv6();
        let mut n = Network::new(&route(Action::Allow));
        n.run(Duration::from_millis(5));
        // Asked three times; the answer to the last question comes in the standstill, behind more than one burst.
        n.loss = Some(Box::new(|s| s.sent && s.side == OUT));
        let client = if six { host6(IN, 10) } else { CLIENT.into() };
        let packet = udp((client, 5000).into(), (server, 7).into(), 64, b"x");
        let f = frame(INSIDE_MAC, n.nodes[0].mac, &[], &packet);
        n.push(IN, &f);
        n.run(Duration::from_millis(2500));
        n.loss = None;
        n.seen.clear();
        let (now, mac) = (n.now, n.nodes[1].mac);
        let others = frame([2, 0, 0, 0, 7, 7], mac, &[], &packet);
        (0..200).for_each(|_| n.push(OUT, &others));
        let answer = match server {
            IpAddr::V4(_) => who_has(OUTSIDE, ROUTED, mac),
            IpAddr::V6(target) => {
                let IpAddr::V6(us) = host6(OUT, 1) else { panic!() };
                frame(OUTSIDE_MAC, mac, &[], &nd::advert(mac, target, us, true))
            }
        };
        n.push(OUT, &answer);
        n.now = now + Duration::from_secs(3);
        n.run(Duration::from_millis(10));
        let mut sent = n.seen.iter().filter(|s| s.sent && s.side == OUT);
        assert!(sent.any(|s| check::ip_of(&s.frame).is_some_and(|p| p.ends_with(b"x"))), "{server}");
        assert_eq!(n.counter("drop_no_neighbour"), 0);
        let given_up =
            |e: &&tidegate::event::Event| matches!(e.what, What::Neighbour { state: "unreachable", .. });
        assert_eq!(n.events.iter().find(given_up), None);
    }
}
