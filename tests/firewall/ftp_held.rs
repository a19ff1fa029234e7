//! What all sessions hold of lines is bounded: who keeps it from the others goes.

use crate::ftp_net::*;
use std::net::SocketAddr;
use tidegate::alg::rules::Ftps;
use tidegate::event::What;
use tidegate::time::Duration;
use tidegate::wire::tcp::SYN;

/// What all may hold here, 100 sessions of them; a share is a hundredth.
const MOST: usize = 512 << 10;
/// Lines of a thousand bytes that are much for one to hold (with what buffers double, 64 KB), and such as are not.
const MUCH: usize = 33;
const LITTLE: usize = 3;
const WHY: &str = "inspected sessions hold too much";
const HELD: &str = "421 Closed by rule held: Too much is held for other sessions; try again later.\r\n";

/// The client's end, the server's.
type Session = (usize, usize);

fn net() -> Net {
    let mut o = settings();
    (o.limits.held, o.limits.sessions_per_client) = (MOST, 100);
    Net::new(o)
}

fn held(net: &Net) -> usize {
    net.occupied("bytes of inspected sessions' lines")
}

fn ended(net: &Net) -> u64 {
    net.count("held_ended")
}

fn replies(net: &mut Net, s: usize, lines: usize) {
    let line = format!("200 {}\r\n", "y".repeat(994));
    for _ in 0..lines {
        net.say(s, &line);
    }
}

/// A session whose client takes no more of what its server says: so many lines.
fn keeps(net: &mut Net, client: &str, lines: usize) -> Session {
    let (c, s) = logged_in(net, client);
    net.deafen(c);
    replies(net, s, lines);
    (c, s)
}

/// As many of those as there may be, and such as hold little until all hold too much.
fn spend(net: &mut Net) -> (Vec<Session>, Vec<Session>) {
    let much: Vec<_> = (0..8).map(|n| keeps(net, &format!("10.0.1.{n}:1000"), MUCH)).collect();
    assert!((MOST - 16_000..MOST).contains(&held(net)), "{}", held(net));
    let mut little = Vec::new();
    while held(net) <= MOST {
        little.push(keeps(net, &format!("10.0.2.{}:1000", little.len()), LITTLE));
    }
    assert_eq!(ended(net), 0, "nobody had to go so far");
    (much, little)
}

/// What a newcomer is told.
fn greeted(net: &mut Net, client: &str) -> String {
    let c = net.connect(Inside, client, SERVER);
    assert!(net.end(c).open);
    let s = net.find(SERVER, net.end(c).local);
    net.say(s, "220 ready\r\n");
    net.got(c)
}

/// Clients whose sessions ended for others, in order.
fn gone(net: &Net) -> Vec<SocketAddr> {
    let of = |what: &What| match what {
        What::Session { state: "closed", client, reason, .. } if reason == WHY => Some(*client),
        _ => None,
    };
    net.events.iter().filter_map(|e| of(&e.what)).collect()
}

#[test]
fn who_keeps_much_and_falls_silent_keeps_newcomers_out_for_ten_seconds() {
    let mut net = net();
    let idle: Vec<_> = (0..10).map(|n| logged_in(&mut net, &format!("10.0.3.{n}:1000"))).collect();
    net.pass(Duration::from_secs(5));
    let (much, little) = spend(&mut net);
    net.pass(Duration::from_secs(8));
    assert_eq!(greeted(&mut net, "10.0.4.1:1000"), HELD);
    assert_eq!((ended(&net), gone(&net)), (0, vec![]));
    net.pass(Duration::from_secs(2));
    assert_eq!(greeted(&mut net, "10.0.4.2:1000"), "220 ready\r\n");
    // One was enough: of the biggest the one that has been silent for longest. Both its ends know.
    assert_eq!((ended(&net), gone(&net)), (1, vec![addr("10.0.1.0:1000")]));
    assert!(held(&net) <= MOST - 60_000, "what it held is free at once");
    let (c, s) = much[0];
    assert!(net.end(c).reset && net.end(s).reset);
    for (c, s) in much[1..].iter().chain(&little).chain(&idle) {
        assert!(!net.end(*c).reset && !net.end(*s).reset, "{}", net.end(*c).local);
    }
    for (c, s) in idle {
        assert_eq!(exchange(&mut net, c, s, "NOOP\r\n", "200 ok\r\n").1, "200 ok\r\n");
    }
    let sessions = net.occupied("inspected sessions");
    net.pass(Duration::from_secs(11));
    assert_eq!(net.occupied("inspected sessions"), sessions - 1, "it is forgotten in its time");
}

/// Nobody's words are the others' fault: before one that speaks goes, those go that are silent.
#[test]
fn who_speaks_goes_only_if_nobody_is_silent() {
    let mut net = net();
    let (c, s) = logged_in(&mut net, CLIENT);
    let (much, little) = spend(&mut net);
    net.pass(Duration::from_secs(11));
    // It holds more than its share for a moment, as its client's acknowledgements are on their way.
    net.deafen(c);
    replies(&mut net, s, 10);
    assert!(!net.end(c).reset && !net.end(s).reset);
    assert_eq!(gone(&net), vec![addr("10.0.1.0:1000")]);
    // Others speak all the time. When all hold too much again the first that does is the one.
    let mut more = 100;
    loop {
        for (_, s) in much[1..].iter().chain([&(c, s)]) {
            replies(&mut net, *s, 1);
        }
        if ended(&net) > 1 {
            break;
        }
        keeps(&mut net, &format!("10.0.5.{more}:1000"), LITTLE);
        more += 1;
        net.pass(Duration::from_secs(5));
    }
    assert_eq!(gone(&net), vec![addr("10.0.1.0:1000"), addr("10.0.1.1:1000")]);
    // Who holds little may be silent or speak.
    for (c, s) in little {
        replies(&mut net, s, 1);
        assert!(!net.end(c).reset && !net.end(s).reset);
    }
    assert_eq!(ended(&net), 2);
}

#[test]
fn one_look_ends_eight_at_most() {
    let mut o = settings();
    (o.limits.held, o.limits.sessions, o.limits.sessions_per_client) = (2 * MOST, 200, 200);
    let mut net = Net::new(o);
    // Some who hold more than a share, and then many who hold less: more than can go at once would have to.
    let little: Vec<_> = (0..65).map(|n| logged_in(&mut net, &format!("10.0.2.{n}:1000"))).collect();
    for n in 0..130 {
        keeps(&mut net, &format!("10.0.1.{n}:1000"), 5);
    }
    for (c, s) in little {
        net.deafen(c);
        replies(&mut net, s, LITTLE);
    }
    let needed = (held(&net) - 2 * MOST).div_ceil(8000) as u64;
    assert!((17..=32).contains(&needed) && ended(&net) == 0, "{needed}, {}", ended(&net));
    net.pass(Duration::from_secs(10));
    // It is looked when a session asks whether it may begin, and when its first segment is weighed.
    let after = [1, 2, 3].map(|n| {
        let ends = (addr(&format!("10.0.6.{n}:1000")), addr(SERVER));
        _ = net.put(Inside, packet_with(ends, (1000, 0), SYN, &[], &[]));
        ended(&net)
    });
    assert_eq!(after, [16, needed, needed]);
    assert!(held(&net) <= 2 * MOST);
}

#[test]
fn a_session_that_went_holds_nothing() {
    let mut o = settings();
    (o.limits.held, o.limits.sessions) = (50_000, 10);
    // So that lists of features are judged whole.
    o.services[0].rules.ftps = Ftps::Refuse;
    let mut net = Net::new(o);
    let (c, s) = logged_in(&mut net, CLIENT);
    let idle = held(&net);
    net.say(c, "FEAT\r\n");
    net.say(s, "211-Features\r\n");
    while ended(&net) == 0 {
        net.say(s, " y\r\n");
    }
    assert!(net.end(c).reset && net.end(s).reset);
    assert!(held(&net) <= idle && net.occupied("inspected sessions") == 1, "{}", held(&net));
}
