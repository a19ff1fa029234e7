//! What becomes of announcements: each is told of, counted, and has one end.

use crate::ftp_net::*;
use tidegate::time::Duration;

const REPLY: &str = "227 Entering Passive Mode (198,51,100,7,195,80)\r\n";
const DATA: &str = "198.51.100.7:50000";
const LISTENS: &str = "10.0.0.5:5001";
const PORT: &str = "PORT 10,0,0,5,19,137\r\n";

#[test]
fn whoever_refuses_an_announcement_it_is_told_and_counted() {
    let mut net = Net::new(settings());
    let (c, s) = logged_in(&mut net, CLIENT);
    let all = [
        ("PORT 10,0,0,6,19,137\r\n", "", "the address is not the client's own"),
        ("PORT 10,0,0,5,0,137\r\n", "", "the port is not allowed"),
        ("PORT 10,0,0,5,19\r\n", "", "it names no address and port"),
        ("EPRT |2|2001:db8::5|5001|\r\n", "", "the address is of another family"),
        ("PASV\r\n", "227 Entering Passive Mode\r\n", "the server's reply names no port"),
        ("PASV\r\n", "227 Entering Passive Mode (198,51,100,7,0,0)\r\n", "the server's reply names port 0"),
        ("PASV\r\n", "227 Entering Passive Mode (198,51,100,7,0,22)\r\n", "the port is not allowed"),
        ("EPSV\r\n", "229 Extended (|||21|)\r\n", "the port is not allowed"),
        (PORT, "500 no\r\n", "the server refused it"),
    ];
    for (n, (command, reply, why)) in all.into_iter().enumerate() {
        exchange(&mut net, c, s, command, reply);
        assert_eq!(net.expectations().len(), n + 1, "{command} {reply}");
        assert_eq!(net.expectations().last().unwrap(), &("refused", why.to_owned()), "{command} {reply}");
        assert_eq!(net.count("expectations_refused"), n as u64 + 1, "{command} {reply}");
        net.sums();
    }
    // What the client gives up itself is no refusal.
    exchange(&mut net, c, s, PORT, "");
    net.abort(c);
    assert_eq!(net.expectations().last().unwrap(), &("superseded", "the session ended".to_owned()));
    net.sums();
}

#[test]
fn what_meets_nobody_is_opened_again_and_not_twice() {
    let mut net = Net::new(settings());
    let (c, s) = logged_in(&mut net, CLIENT);
    exchange(&mut net, c, s, "PASV\r\n", REPLY);
    for n in 0..3 {
        net.connect(Inside, &format!("10.0.0.5:4100{n}"), DATA);
        net.sums();
    }
    assert_eq!((net.count("expectations_opened"), net.count("expectations_reopened")), (1, 3));
    net.listen(Outside, DATA);
    let data = net.connect(Inside, "10.0.0.5:41009", DATA);
    assert!(net.end(data).open);
    let states: Vec<_> = net.expectations().into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, ["opened", "used", "reopened", "used", "reopened", "used", "reopened", "used"]);
    net.sums();
}

/// Both ways to announce: how, and who comes then.
fn announce(net: &mut Net, c: usize, s: usize, active: bool) {
    if active {
        exchange(net, c, s, PORT, "200 ok\r\n");
    } else {
        exchange(net, c, s, "PASV\r\n", REPLY);
    }
}

fn comes(net: &mut Net, active: bool) -> bool {
    net.listen(Outside, DATA);
    net.listen(Inside, LISTENS);
    let data = if active {
        net.connect(Outside, "198.51.100.7:20", LISTENS)
    } else {
        net.connect(Inside, "10.0.0.5:41000", DATA)
    };
    net.end(data).open
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_transfer_that_has_begun_is_waited_for() {
    for active in [false, true] {
        for begun in ["150 here\r\n", "125 already\r\n", "150-here\r\n150 it is\r\n"] {
            let mut net = Net::new(settings());
            let (c, s) = logged_in(&mut net, CLIENT);
            announce(&mut net, c, s, active);
            net.pass(seconds(50));
            exchange(&mut net, c, s, "RETR a\r\n", begun);
            net.pass(seconds(600));
            assert!(comes(&mut net, active), "{begun}{:?}", net.expectations());
            exchange(&mut net, c, s, "", "226 done\r\n");
            net.sums();
        }
        // Nothing said so.
        let mut net = Net::new(settings());
        let (c, s) = logged_in(&mut net, CLIENT);
        announce(&mut net, c, s, active);
        exchange(&mut net, c, s, "RETR a\r\n", "");
        net.pass(seconds(61));
        assert!(!comes(&mut net, active));
        assert_eq!(net.count("expectations_expired"), 1);
    }
}

#[test]
fn it_is_waited_for_until_the_transfer_or_the_session_ends() {
    for active in [false, true] {
        for (after, passes) in [(59, true), (61, false)] {
            let mut net = Net::new(settings());
            let (c, s) = logged_in(&mut net, CLIENT);
            announce(&mut net, c, s, active);
            exchange(&mut net, c, s, "RETR a\r\n", "150 here\r\n");
            net.pass(seconds(300));
            // A client may try again, for as long as after an announcement.
            exchange(&mut net, c, s, "", "425 nobody came\r\n");
            net.pass(seconds(after));
            assert_eq!(comes(&mut net, active), passes, "{after}");
            net.sums();
        }
        for end in ["226 done\r\n", ""] {
            let mut net = Net::new(settings());
            let (c, s) = logged_in(&mut net, CLIENT);
            announce(&mut net, c, s, active);
            exchange(&mut net, c, s, "RETR a\r\n", "150 here\r\n");
            if end.is_empty() {
                net.pass(seconds(901));
                assert!(net.end(c).reset, "idle");
            } else {
                exchange(&mut net, c, s, "", end);
            }
            assert!(!comes(&mut net, active), "{end}");
            assert_eq!(net.occupied("expectations"), 0);
            net.sums();
        }
    }
}

#[test]
fn what_met_nobody_until_the_transfer_was_over_has_its_minute_and_no_more() {
    let mut net = Net::new(settings());
    let (c, s) = logged_in(&mut net, CLIENT);
    net.silent = true;
    exchange(&mut net, c, s, "PASV\r\n", REPLY);
    exchange(&mut net, c, s, "RETR a\r\n", "150 here\r\n");
    let data = net.connect(Inside, "10.0.0.5:41000", DATA);
    exchange(&mut net, c, s, "", "425 nobody came\r\n");
    net.silent = false;
    net.syn(data);
    assert!(net.end(data).reset);
    assert_eq!(net.expectations().last().unwrap().0, "reopened");
    net.pass(seconds(61));
    assert!(!comes(&mut net, false));
    assert_eq!(net.count("expectations_expired"), 1);
    net.sums();
}
