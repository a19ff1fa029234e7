//! A table of connections that is full: who comes last is told so in FTP.

use crate::ftp_net::*;
use tidegate::firewall::Settings;
use tidegate::time::Duration;

const REPLY: &str = "227 Entering Passive Mode (198,51,100,7,195,80)\r\n";
const DATA: &str = "198.51.100.7:50000";
const WEB: &str = "198.51.100.7:80";
/// Of the 24 connections that 64 slots are for, three are for those that are turned away.
const PLACES: usize = 21;

fn small() -> Net {
    let mut o: Settings = settings();
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
    let mut o = settings();
    o.limits.sessions = 1;
    o.filter.rules.push(allow("web", Some(Inside), 80));
    let mut net = Net::with_slots(o, 64);
    net.listen(Outside, WEB);
    logged_in(&mut net, "10.0.0.5:40000");
    for n in 0..40 {
        let c = net.connect(Inside, &format!("10.0.0.6:{}", 41_000 + n), SERVER);
        assert!(net.end(c).open, "{n}");
        let s = net.accepted(SERVER).unwrap();
        net.say(s, "220 ready\r\n");
        assert_eq!(&net.got(c)[..4], "421 ");
        net.close(c);
        net.close(s);
    }
    fill(&mut net, 10);
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
