//! A table of connections that is full: who comes last is told so in FTP, and what is over takes nothing from others.

use crate::ftp_net::*;
use tidegate::firewall::Fate;
use tidegate::time::Duration;
use tidegate::wire::tcp::SYN;

const REPLY: &str = "227 Entering Passive Mode (198,51,100,7,195,80)\r\n";
const DATA: &str = "198.51.100.7:50000";
const WEB: &str = "198.51.100.7:80";
/// Of the 24 connections that 64 slots are for, three are for those that are turned away.
const PLACES: usize = 21;

fn small() -> Net {
    small_for(100)
}

/// For so many sessions.
fn small_for(sessions: usize) -> Net {
    let mut o = settings();
    o.limits.sessions = sessions;
    o.filter.rules.push(allow("web", Some(Inside), 80));
    let mut net = Net::with_slots(o, 64);
    net.listen(Outside, WEB);
    net.listen(Outside, DATA);
    net
}

/// Connections of so many hosts that have nothing to do with FTP.
fn fill(net: &mut Net, count: usize) -> Vec<usize> {
    let ends: Vec<_> = (0..count).map(|n| net.connect(Inside, &format!("10.0.1.{n}:1000"), WEB)).collect();
    assert!(ends.iter().all(|e| net.end(*e).open));
    ends
}

/// One of them ends.
fn leave_one(net: &mut Net, web: usize) {
    let from = net.end(web).local;
    let its = net.find(WEB, from);
    net.close(web);
    net.close(its);
}

#[test]
fn control_connections_are_told_by_a_421_and_beyond_that_reset() {
    let mut net = small();
    let web = fill(&mut net, PLACES);
    let plain = net.connect(Inside, "10.0.2.1:1000", WEB);
    assert!(!net.end(plain).open && !net.end(plain).reset);
    net.listen(Outside, SERVER);
    for n in 0..3 {
        let c = net.connect(Inside, &format!("10.0.0.{n}:40000"), SERVER);
        assert!(net.end(c).open);
        let s = net.accepted(SERVER).unwrap();
        net.say(s, "220 ready\r\n");
        assert_eq!(net.got(c), "421 Closed by rule connections: Too many connections; try again later.\r\n");
    }
    let c = net.connect(Inside, "10.0.0.9:40000", SERVER);
    assert!(net.end(c).reset && !net.end(c).open);
    assert_eq!(net.count("sessions_refused"), 4);
    assert!(net.count("connections_table_full") >= 5);
    // Those who were turned away leave room for others who are: after 10 s they are reset, and known for 10 s more.
    net.pass(Duration::from_secs(21));
    let c = net.connect(Inside, "10.0.0.10:40000", SERVER);
    assert!(net.end(c).open);
    let s = net.accepted(SERVER).unwrap();
    net.say(s, "220 ready\r\n");
    assert_eq!(&net.got(c)[..4], "421 ");
    assert_eq!(net.fw.sessions(), 1, "nobody is served");
    leave_one(&mut net, web[0]);
    logged_in(&mut net, "10.0.0.11:40000");
    assert!(net.end(web[1]).open);
}

/// One after the other they are no more than a few at a time; what they leave behind is in nobody's way.
#[test]
fn however_many_were_turned_away_others_find_a_place() {
    let mut net = small_for(1);
    logged_in(&mut net, "10.0.0.5:40000");
    for n in 0..40 {
        is_turned_away(&mut net, &format!("10.0.0.6:{}", 41_000 + n));
    }
    fill(&mut net, 10);
}

/// A client that is told so, and closes.
fn is_turned_away(net: &mut Net, client: &str) {
    let c = net.connect(Inside, client, SERVER);
    assert!(net.end(c).open, "{client}");
    let s = net.find(SERVER, net.end(c).local);
    net.say(s, "220 ready\r\n");
    assert_eq!(&net.got(c)[..4], "421 ");
    net.close(c);
    net.close(s);
}

/// What has ended is known for a while, as its last segments may be lost: those who are turned away take each other's places.
#[test]
fn who_is_turned_away_makes_nobody_else_forgotten() {
    let mut net = small_for(1);
    logged_in(&mut net, CLIENT);
    let over = fill(&mut net, 5);
    for web in &over {
        leave_one(&mut net, *web);
    }
    let live: Vec<_> =
        (0..PLACES - 6).map(|n| net.connect(Inside, &format!("10.0.3.{n}:1000"), WEB)).collect();
    for n in 0..40 {
        is_turned_away(&mut net, &format!("10.0.0.6:{}", 41_000 + n));
    }
    for end in over.into_iter().chain(live) {
        let last = net.segment(end, 64, "");
        assert_eq!(net.put(Inside, last), Fate::Forward, "{}", net.end(end).local);
    }
}

#[test]
fn places_for_those_who_are_turned_away_are_for_nobody_else() {
    let mut net = small();
    net.listen(Outside, SERVER);
    fill(&mut net, PLACES);
    // They have a place each beside those.
    for n in 0..3 {
        is_turned_away(&mut net, &format!("10.0.1.{n}:40000"));
    }
    let plain = net.connect(Inside, "10.0.2.1:1000", WEB);
    assert!(!net.end(plain).open);
    is_turned_away(&mut net, "10.0.2.1:40000");
}

#[test]
fn announcements_are_refused_while_there_is_no_place_for_what_they_announce() {
    let mut net = small();
    let (c, s) = logged_in(&mut net, CLIENT);
    let web = fill(&mut net, PLACES - 1);
    let told = "425 Refused by rule connections: The table of connections is full.\r\n";
    for (n, (command, reply)) in
        [("PASV\r\n", REPLY), ("EPSV\r\n", "229 Extended (|||50000|)\r\n"), ("PORT 10,0,0,5,19,137\r\n", "")]
            .into_iter()
            .enumerate()
    {
        assert_eq!(exchange(&mut net, c, s, command, reply).1, told, "{command}");
        let why = ("refused", "the table of connections is full".to_owned());
        assert_eq!(net.expectations().last(), Some(&why), "{command}");
        assert_eq!(net.count("expectations_refused"), n as u64 + 1);
    }
    leave_one(&mut net, web[0]);
    assert_eq!(exchange(&mut net, c, s, "PASV\r\n", REPLY).1, REPLY);
    let data = net.connect(Inside, "10.0.0.5:41000", DATA);
    assert!(net.end(data).open);
    net.sums();
}

#[test]
fn a_data_connection_that_finds_no_place_is_reset_and_may_come_again() {
    let mut net = small();
    let (c, s) = logged_in(&mut net, CLIENT);
    let web = fill(&mut net, PLACES - 2);
    assert_eq!(exchange(&mut net, c, s, "PASV\r\n", REPLY).1, REPLY);
    let last = net.connect(Inside, "10.0.2.1:1000", WEB);
    assert!(net.end(last).open);
    let data = net.connect(Inside, "10.0.0.5:41000", DATA);
    assert!(net.end(data).reset);
    let states: Vec<_> = net.expectations().into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, ["opened", "used", "refused", "reopened"], "{:?}", net.expectations());
    assert_eq!(net.count("data_refused"), 1);
    leave_one(&mut net, web[0]);
    let data = net.connect(Inside, "10.0.0.5:41001", DATA);
    assert!(net.end(data).open);
    net.sums();
}

/// What is said behind an end takes no memory, however often it is said.
#[test]
fn resets_behind_an_end_are_not_remembered() {
    let mut o = settings();
    o.filter.rules.push(allow("web", Some(Inside), 80));
    let mut net = Net::new(o);
    for at in [WEB, DATA] {
        net.listen(Outside, at);
    }
    let mut ends = Vec::new();
    // Control connections that both ends closed, that one reset, and that we ended: of that one nobody else knew so far.
    let closed = logged_in(&mut net, "10.0.0.1:40000");
    net.close(closed.0);
    net.close(closed.1);
    let reset = logged_in(&mut net, "10.0.0.2:40000");
    net.abort(reset.0);
    let turned = net.connect(Inside, "10.0.0.3:40000", SERVER);
    let ours = (turned, net.accepted(SERVER).unwrap());
    net.say(ours.1, "SSH-2.0-a\r\n");
    net.abort(ours.0);
    ends.extend([closed, reset, ours]);
    // Others that one end reset, and that both closed.
    for (n, port) in [1000, 1001].into_iter().enumerate() {
        let c = net.connect(Inside, &format!("10.0.1.1:{port}"), WEB);
        let s = net.accepted(WEB).unwrap();
        net.close(c);
        if n == 0 {
            net.close(s);
        } else {
            net.abort(s);
        }
        ends.push((c, s));
    }
    let (c, s) = logged_in(&mut net, CLIENT);
    exchange(&mut net, c, s, "PASV\r\n", REPLY);
    let data = net.connect(Inside, "10.0.0.5:41000", DATA);
    let other = net.accepted(DATA).unwrap();
    net.abort(data);
    ends.push((data, other));
    net.pass(Duration::from_secs(2));
    let list = |net: &Net| net.occupied("connections that may give way");
    let before = list(&net);
    assert!(before > 0);
    for _ in 0..200 {
        for (a, b) in &ends {
            net.abort(*a);
            net.abort(*b);
        }
    }
    assert!(list(&net) <= before, "{before}, {}", list(&net));
}

/// Its handshake may be anybody's, so it does not take a place for as long as a greeting may.
#[test]
fn who_is_turned_away_and_does_not_come_leaves_its_place_after_ten_seconds() {
    let mut o = settings();
    o.limits.sessions = 1;
    let mut net = Net::new(o);
    logged_in(&mut net, "10.0.0.6:40000");
    // Nobody answers the server.
    net.silent = true;
    for n in 0..16 {
        let ends = (addr(&format!("10.0.0.5:{}", 41_000 + n)), addr(SERVER));
        _ = net.put(Inside, packet_with(ends, (1000, 0), SYN, &[], &[]));
    }
    let comes = |net: &mut Net, port: u16| {
        let c = net.connect(Inside, &format!("10.0.0.5:{port}"), SERVER);
        (net.end(c).open, net.end(c).reset)
    };
    assert_eq!(comes(&mut net, 42_000), (false, true), "as many as one client may have");
    net.pass(Duration::from_millis(9900));
    assert_eq!(comes(&mut net, 42_001), (false, true));
    net.pass(Duration::from_millis(200));
    assert_eq!(comes(&mut net, 42_002), (true, false));
    // Ten more, and nothing is known of them.
    net.pass(Duration::from_secs(11));
    assert_eq!(net.occupied("inspected sessions"), 2);
}
