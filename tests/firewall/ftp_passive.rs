//! Passive data connections: the client connects to where the server told it.

use crate::ftp_net::*;
use tidegate::time::Duration;

const REPLY: &str = "227 Entering Passive Mode (198,51,100,7,195,80)\r\n";
const DATA: &str = "198.51.100.7:50000";

#[test]
fn an_announced_connection_passes_once_and_no_other_does() {
    let mut net = Net::new(settings());
    let (c, s) = logged_in(&mut net, CLIENT);
    net.listen(Outside, DATA);
    let early = net.connect(Inside, "10.0.0.5:41000", DATA);
    assert!(!net.end(early).open, "before it was announced");
    let (_, reply) = exchange(&mut net, c, s, "PASV\r\n", REPLY);
    assert!(reply.contains("(198,51,100,7,195,80)"), "{reply}");
    let other = net.connect(Inside, "10.0.0.6:41001", DATA);
    assert!(!net.end(other).open, "another host");
    let wrong = net.connect(Inside, "10.0.0.5:41001", "198.51.100.7:50001");
    assert!(!net.end(wrong).open, "another port");
    let data = net.connect(Inside, "10.0.0.5:41002", DATA);
    assert!(net.end(data).open, "the announced one");
    let second = net.connect(Inside, "10.0.0.5:41003", DATA);
    assert!(!net.end(second).open, "a second one");
    // Its SYN comes again: the same connection.
    net.syn(data);
    exchange(&mut net, c, s, "RETR a.bin\r\n", "150 here\r\n");
    let d = net.accepted(DATA).unwrap();
    net.say(d, &"x".repeat(1000));
    net.close(d);
    net.close(data);
    let (_, reply) = exchange(&mut net, c, s, "", "226 done\r\n");
    assert_eq!(reply, "226 done\r\n");
    net.pass(Duration::from_secs(30));
    assert_eq!(net.end(data).got.len(), 1000);
    assert_eq!(net.transfers(), [("RETR".to_owned(), 1000, "complete", 226)]);
    assert_eq!(net.count("expectations_opened"), 1);
    assert_eq!(net.count("expectations_used"), 1);
    assert_eq!(net.occupied("expectations"), 0);
}

#[test]
fn what_nobody_connects_to_expires_and_a_new_one_replaces_an_old_one() {
    let mut net = Net::new(settings());
    let (c, s) = logged_in(&mut net, CLIENT);
    net.listen(Outside, DATA);
    net.listen(Outside, "198.51.100.7:50001");
    exchange(&mut net, c, s, "PASV\r\n", REPLY);
    exchange(&mut net, c, s, "PASV\r\n", "227 Entering Passive Mode (198,51,100,7,195,81)\r\n");
    let old = net.connect(Inside, "10.0.0.5:41000", DATA);
    assert!(!net.end(old).open);
    net.pass(Duration::from_millis(59_900));
    net.pass(Duration::from_millis(200));
    let late = net.connect(Inside, "10.0.0.5:41001", "198.51.100.7:50001");
    assert!(!net.end(late).open);
    assert_eq!(net.count("expectations_superseded"), 1);
    assert_eq!(net.count("expectations_expired"), 1);
    assert_eq!(net.occupied("expectations"), 0);
}

#[test]
fn a_refused_transfer_leaves_the_announcement_and_an_unanswered_connection_too() {
    let mut net = Net::new(settings());
    let (c, s) = logged_in(&mut net, CLIENT);
    exchange(&mut net, c, s, "PASV\r\n", REPLY);
    exchange(&mut net, c, s, "RETR none\r\n", "550 no such file\r\n");
    assert_eq!(net.transfers(), [("RETR".to_owned(), 0, "refused", 550)]);
    // Nobody listens: the host answers with a reset.
    let first = net.connect(Inside, "10.0.0.5:41000", DATA);
    assert!(net.end(first).reset);
    net.pass(Duration::from_secs(1));
    net.listen(Outside, DATA);
    let second = net.connect(Inside, "10.0.0.5:41001", DATA);
    assert!(net.end(second).open, "{:?}", net.expectations());
}

#[test]
fn a_reset_of_the_control_connection_ends_what_is_expected_and_soon_what_is_under_way() {
    let mut net = Net::new(settings());
    let (c, s) = logged_in(&mut net, CLIENT);
    net.listen(Outside, DATA);
    net.listen(Outside, "198.51.100.7:50001");
    exchange(&mut net, c, s, "PASV\r\n", REPLY);
    let data = net.connect(Inside, "10.0.0.5:41000", DATA);
    let d = net.accepted(DATA).unwrap();
    exchange(&mut net, c, s, "RETR a\r\n", "150 here\r\n");
    exchange(&mut net, c, s, "EPSV\r\n", "229 Extended (|||50001|)\r\n");
    net.abort(c);
    assert!(net.end(s).reset);
    let late = net.connect(Inside, "10.0.0.5:41001", "198.51.100.7:50001");
    assert!(!net.end(late).open);
    net.say(d, "more");
    assert_eq!(net.got(data), "more");
    net.pass(Duration::from_millis(10_100));
    net.say(d, "too late");
    assert_eq!(net.got(data), "");
    assert_eq!(net.count("orphans_ended"), 1);
}

#[test]
fn a_reset_that_nobody_believes_ends_nothing() {
    for off in [40, 70_000, 1 << 30] {
        let mut net = Net::new(settings());
        let (c, s) = logged_in(&mut net, CLIENT);
        net.listen(Outside, DATA);
        exchange(&mut net, c, s, "PASV\r\n", REPLY);
        net.forge_reset(c, off);
        net.forge_reset(s, off);
        assert!(net.end(c).open && net.end(s).open);
        let data = net.connect(Inside, "10.0.0.5:41000", DATA);
        let d = net.accepted(DATA).unwrap();
        exchange(&mut net, c, s, "RETR a\r\n", "150 here\r\n");
        net.forge_reset(d, off);
        // Longer than a connection that is over stays known.
        for _ in 0..4 {
            net.pass(Duration::from_secs(50));
            net.say(d, "x");
        }
        assert_eq!(net.got(data), "xxxx", "{off}");
        exchange(&mut net, c, s, "", "226 done\r\n");
        exchange(&mut net, c, s, "NOOP\r\n", "200 here\r\n");
    }
}

#[test]
fn a_reset_of_a_transfer_is_told_when_silence_shows_that_it_was_believed() {
    for forged in [true, false] {
        let mut net = Net::new(settings());
        let (c, s) = logged_in(&mut net, CLIENT);
        net.listen(Outside, DATA);
        exchange(&mut net, c, s, "PASV\r\n", REPLY);
        let data = net.connect(Inside, "10.0.0.5:41000", DATA);
        let d = net.accepted(DATA).unwrap();
        exchange(&mut net, c, s, "RETR a\r\n", "150 here\r\n");
        net.pass(Duration::from_millis(200));
        net.say(d, &"x".repeat(1000));
        if forged {
            net.forge_reset(data, 5000);
        } else {
            net.abort(d);
        }
        let left = net.left.len();
        net.syn(data);
        assert_eq!(net.left.len(), left, "a second SYN does not pass where the first was");
        if forged {
            net.say(d, &"x".repeat(1000));
            net.pass(Duration::from_secs(5));
            net.syn(data);
            net.say(d, &"x".repeat(1000));
            net.close(d);
            net.close(data);
        }
        exchange(&mut net, c, s, "", "226 done\r\n");
        net.pass(Duration::from_secs(245));
        let (bytes, verdict) = if forged { (3000, "complete") } else { (1000, "reset") };
        assert_eq!(net.transfers(), [("RETR".to_owned(), bytes, verdict, 226)]);
    }
}

#[test]
fn an_announced_connection_may_have_the_ends_of_one_that_was_just_reset() {
    let mut net = Net::new(settings());
    let (c, s) = logged_in(&mut net, CLIENT);
    net.listen(Outside, DATA);
    for _ in 0..3 {
        exchange(&mut net, c, s, "PASV\r\n", REPLY);
        let data = net.connect(Inside, "10.0.0.5:41000", DATA);
        assert!(net.end(data).open);
        exchange(&mut net, c, s, "RETR a\r\n", "150 here\r\n");
        let d = net.accepted(DATA).unwrap();
        net.abort(d);
        exchange(&mut net, c, s, "", "426 aborted\r\n");
        net.forget(data);
    }
}

#[test]
fn a_transfer_goes_on_after_quit() {
    let mut net = Net::new(settings());
    let (c, s) = logged_in(&mut net, CLIENT);
    net.listen(Outside, DATA);
    exchange(&mut net, c, s, "PASV\r\n", REPLY);
    let data = net.connect(Inside, "10.0.0.5:41000", DATA);
    exchange(&mut net, c, s, "RETR a\r\n", "150 here\r\n");
    exchange(&mut net, c, s, "QUIT\r\n", "");
    net.close(c);
    net.close(s);
    net.pass(Duration::from_secs(60));
    let d = net.accepted(DATA).unwrap();
    net.say(d, "the rest");
    assert_eq!(net.got(data), "the rest");
    net.close(d);
    net.close(data);
    net.pass(Duration::from_secs(30));
    assert_eq!(net.transfers(), [("RETR".to_owned(), 8, "complete", 0)]);
    assert_eq!(net.fw.busy(), 0);
}
