//! Doors that are steered, bypassed, static, encrypted, or too many.

use crate::ftp_net::*;
use tidegate::event::What;
use tidegate::firewall::{Action, Data, Side};
use tidegate::time::Duration;

const REPLY: &str = "227 Entering Passive Mode (198,51,100,7,195,80)\r\n";
const DATA: &str = "198.51.100.7:50000";
const STEERED: &str = "(198,51,100,7,7,228)";

fn steered() -> Net {
    let mut o = settings();
    o.services[0].data_ports = vec![2020];
    Net::new(o)
}

#[test]
fn a_steered_client_is_told_a_listed_port_and_reaches_the_real_one() {
    let mut net = steered();
    let (c, s) = logged_in(&mut net, CLIENT);
    net.listen(Outside, DATA);
    let (_, reply) = exchange(&mut net, c, s, "PASV\r\n", REPLY);
    assert!(reply.contains(STEERED), "{reply}");
    let real = net.connect(Inside, "10.0.0.5:41000", DATA);
    assert!(!net.end(real).open, "its own port was not told");
    let data = net.connect(Inside, "10.0.0.5:41001", "198.51.100.7:2020");
    assert!(net.end(data).open);
    let d = net.accepted(DATA).unwrap();
    net.say(d, "bytes");
    assert_eq!(net.got(data), "bytes");
}

#[test]
fn a_port_whose_client_did_not_come_rests_and_the_next_announcement_waits_or_is_refused() {
    let mut net = steered();
    let (c, s) = logged_in(&mut net, CLIENT);
    net.listen(Outside, DATA);
    exchange(&mut net, c, s, "PASV\r\n", REPLY);
    let (c2, s2) = logged_in(&mut net, "10.0.0.5:40001");
    let (_, reply) = exchange(&mut net, c2, s2, "PASV\r\n", REPLY);
    assert_eq!(reply, "", "it waits: the port is announced to the same client");
    assert_eq!(net.expectations().last().unwrap().0, "waiting");
    net.pass(Duration::from_millis(5100));
    assert_eq!(&net.got(c2)[..4], "425 ");
    // The first one's time is up, and a late SYN meets a reset, whoever it is of.
    net.pass(Duration::from_secs(10));
    assert_eq!(net.expectations().last().unwrap().0, "expired");
    let late = net.connect(Inside, "10.0.0.5:41001", "198.51.100.7:2020");
    assert!(net.end(late).reset && !net.end(late).open);
    assert_eq!(net.count("late_syns"), 1);
    // Another client is another pair.
    let (c3, s3) = logged_in(&mut net, OTHER);
    let (_, reply) = exchange(&mut net, c3, s3, "PASV\r\n", REPLY);
    assert!(reply.contains(STEERED), "{reply}");
}

#[test]
fn a_line_that_waits_goes_on_when_a_port_is_free() {
    let mut net = steered();
    let (c, s) = logged_in(&mut net, CLIENT);
    let (c2, s2) = logged_in(&mut net, "10.0.0.5:40001");
    net.listen(Outside, DATA);
    exchange(&mut net, c, s, "PASV\r\n", REPLY);
    let (_, reply) = exchange(&mut net, c2, s2, "PASV\r\n", REPLY);
    assert_eq!(reply, "");
    let data = net.connect(Inside, "10.0.0.5:41001", "198.51.100.7:2020");
    assert!(net.end(data).open);
    net.pass(Duration::from_millis(200));
    let reply = net.got(c2);
    assert!(reply.contains(STEERED), "{reply}");
    let data = net.connect(Inside, "10.0.0.5:41002", "198.51.100.7:2020");
    assert!(net.end(data).open);
    assert_eq!(net.count("expectations_waited"), 1);
}

#[test]
fn data_that_goes_another_way_is_told_of_and_its_line_is_not_touched() {
    let mut o = settings();
    o.services[0].data_bypasses = true;
    let mut net = Net::new(o);
    let (c, s) = logged_in(&mut net, CLIENT);
    let odd = "227 Passive 198,51,100,7,195,80\r\n";
    let (_, reply) = exchange(&mut net, c, s, "PASV\r\n", odd);
    assert_eq!(reply, odd);
    assert_eq!(net.expectations(), [("elsewhere", "data not redirected".to_owned())]);
    assert_eq!(net.count("not_redirected"), 1);
    let (command, _) = exchange(&mut net, c, s, "RETR a\r\n", "150 here\r\n");
    assert_eq!(command, "RETR a\r\n", "there is a data connection, elsewhere");
    exchange(&mut net, c, s, "", "226 done\r\n");
    // Active data is followed.
    net.listen(Inside, "10.0.0.5:5001");
    exchange(&mut net, c, s, "PORT 10,0,0,5,19,137\r\n", "200 ok\r\n");
    let data = net.connect(Outside, "198.51.100.7:20", "10.0.0.5:5001");
    assert!(net.end(data).open);
}

fn with_static(needs_session: bool) -> tidegate::firewall::Settings {
    let mut o = settings();
    o.filter.data.push(Data {
        name: "passive range".to_owned(),
        servers: vec![("198.51.100.7".parse().unwrap(), 32)],
        ports: vec![50000..=50099],
        needs_session,
    });
    o
}

fn encrypted(net: &mut Net) -> (usize, usize) {
    let (c, s) = logged_in(net, CLIENT);
    exchange(net, c, s, "AUTH TLS\r\n", "234 go\r\n");
    (c, s)
}

#[test]
fn an_encrypted_session_has_no_data_and_it_is_told_why() {
    let mut net = Net::new(settings());
    encrypted(&mut net);
    net.listen(Outside, DATA);
    let data = net.connect(Inside, "10.0.0.5:41000", DATA);
    assert!(!net.end(data).open);
    assert_eq!(net.expectations().last().unwrap(), &("refused", "control channel encrypted".to_owned()));
    assert_eq!(net.count("encrypted_refused"), 1);
}

#[test]
fn a_static_rule_lets_encrypted_sessions_have_data_in_its_range_while_they_live() {
    let mut net = Net::new(with_static(true));
    net.listen(Outside, DATA);
    net.listen(Outside, "198.51.100.7:50100");
    let none = net.connect(Inside, "10.0.0.5:41000", DATA);
    assert!(!net.end(none).open, "no session");
    let (c, _) = encrypted(&mut net);
    let data = net.connect(Inside, "10.0.0.5:41001", DATA);
    assert!(net.end(data).open);
    let d = net.accepted(DATA).unwrap();
    net.say(d, "sealed");
    let out = net.connect(Inside, "10.0.0.5:41002", "198.51.100.7:50100");
    assert!(!net.end(out).open, "beyond the range");
    let other = net.connect(Inside, "10.0.0.6:41002", DATA);
    assert!(!net.end(other).open, "another client");
    net.close(d);
    net.close(data);
    net.pass(Duration::from_secs(30));
    assert_eq!(net.transfers(), [(String::new(), 6, "complete", 0)]);
    net.abort(c);
    let late = net.connect(Inside, "10.0.0.5:41003", DATA);
    assert!(!net.end(late).open, "the session is gone");
    let mut net = Net::new(with_static(false));
    net.listen(Outside, DATA);
    let free = net.connect(Inside, "10.0.0.5:41000", DATA);
    assert!(net.end(free).open, "this rule needs no session");
}

#[test]
fn a_full_house_is_told_in_ftp_and_the_others_go_on() {
    let mut o = settings();
    (o.limits.sessions, o.limits.sessions_per_client) = (3, 2);
    let mut net = Net::new(o);
    let (c, s) = logged_in(&mut net, "10.0.0.5:40000");
    logged_in(&mut net, "10.0.0.5:40001");
    for (client, why) in
        [("10.0.0.5:40002", "Too many sessions of this client"), ("10.0.0.7:40000", "Too many sessions;")]
    {
        if client.starts_with("10.0.0.7") {
            logged_in(&mut net, OTHER);
        }
        let one = net.connect(Inside, client, SERVER);
        let its = net.accepted(SERVER).unwrap();
        net.say(its, "220-hello\r\n220 ready\r\n");
        let told = net.got(one);
        assert!(told.starts_with("421 ") && told.contains(why), "{told}");
        assert_eq!(told.matches("\r\n").count(), 1);
        net.say(one, "USER a\r\n");
        assert_eq!(net.got(its), "");
        net.pass(Duration::from_secs(11));
        assert!(net.end(one).reset && net.end(its).reset, "nobody closed");
    }
    assert_eq!(net.count("sessions_refused"), 2);
    assert_eq!(exchange(&mut net, c, s, "NOOP\r\n", "200 ok\r\n").1, "200 ok\r\n");
    let told = |e: &&tidegate::event::Event| matches!(&e.what, What::Session { state: "refused", .. });
    assert_eq!(net.events.iter().filter(told).count(), 2);
}

#[test]
fn announcements_of_a_client_are_bounded() {
    let mut o = settings();
    o.limits.expectations_per_client = 3;
    let mut net = Net::new(o);
    let mut answers = String::new();
    for n in 0..4 {
        let (c, s) = logged_in(&mut net, &format!("10.0.0.5:4000{n}"));
        let port = 80 + n;
        let reply = format!("227 Entering Passive Mode (198,51,100,7,195,{port})\r\n");
        answers += &exchange(&mut net, c, s, "PASV\r\n", &reply).1[..3];
        answers += " ";
    }
    assert_eq!(answers, "227 227 227 425 ");
    assert_eq!(net.count("expectations_refused"), 1);
    let (c, s) = logged_in(&mut net, OTHER);
    assert_eq!(&exchange(&mut net, c, s, "PASV\r\n", REPLY).1[..3], "227", "another client");
}

#[test]
fn clear_downloads_carry_nothing_upward_where_that_is_strict() {
    let mut o = settings();
    o.services[0].rules.profile = tidegate::alg::rules::Profile::Strict;
    let mut net = Net::new(o);
    let (c, s) = logged_in(&mut net, CLIENT);
    net.listen(Outside, DATA);
    exchange(&mut net, c, s, "PASV\r\n", REPLY);
    let data = net.connect(Inside, "10.0.0.5:41000", DATA);
    let d = net.accepted(DATA).unwrap();
    exchange(&mut net, c, s, "RETR a\r\n", "150 here\r\n");
    net.say(data, "upward");
    assert_eq!(net.got(d), "");
    net.say(d, "down");
    assert_eq!(net.got(data), "down");
    assert_eq!(net.count("data_wrong_way"), 1);
}

#[test]
fn silence_ends_a_session_but_not_while_data_flows() {
    let mut net = Net::new(settings());
    let (c, s) = logged_in(&mut net, CLIENT);
    net.listen(Outside, DATA);
    exchange(&mut net, c, s, "PASV\r\n", REPLY);
    let data = net.connect(Inside, "10.0.0.5:41000", DATA);
    let d = net.accepted(DATA).unwrap();
    exchange(&mut net, c, s, "RETR a\r\n", "150 here\r\n");
    net.pass(Duration::from_secs(2000));
    assert!(net.end(data).open && !net.end(c).reset, "data lives");
    net.close(d);
    net.close(data);
    exchange(&mut net, c, s, "", "226 done\r\n");
    net.pass(Duration::from_secs(899));
    assert!(!net.end(c).reset);
    net.pass(Duration::from_secs(2));
    assert!(net.end(c).reset && net.end(s).reset);
    assert_eq!(net.count("idle_timeouts"), 1);
    // A server that never greets.
    let c = net.connect(Inside, "10.0.0.5:40009", SERVER);
    net.pass(Duration::from_secs(121));
    assert!(net.end(c).reset);
    assert_eq!(net.count("greeting_timeouts"), 1);
    net.pass(Duration::from_secs(20));
    assert_eq!((net.fw.busy(), net.occupied("inspected sessions"), net.occupied("session pairs")), (0, 0, 0));
    assert_eq!(net.occupied("inspection timers"), 0);
}

#[test]
fn a_segment_that_would_not_arrive_is_not_read() {
    let mut net = Net::new(settings());
    let (c, s) = logged_in(&mut net, CLIENT);
    net.listen(Inside, "10.0.0.5:5001");
    let spent = net.segment(c, 2, "PORT 10,0,0,5,19,137\r\n");
    net.put(Side::Inside, spent);
    assert_eq!(net.count("dying_segments"), 1);
    net.say(c, "NOOP\r\n");
    assert_eq!(net.got(s), "NOOP\r\n");
}

#[test]
fn policy_that_allows_all_lets_data_pass_and_still_tells_of_it() {
    let mut o = settings();
    o.filter.default = Action::Allow;
    let mut net = Net::new(o);
    let (c, s) = logged_in(&mut net, CLIENT);
    net.listen(Outside, DATA);
    exchange(&mut net, c, s, "PASV\r\n", REPLY);
    let data = net.connect(Inside, "10.0.0.5:41000", DATA);
    let d = net.accepted(DATA).unwrap();
    exchange(&mut net, c, s, "RETR a\r\n", "150 here\r\n");
    net.say(d, "down");
    net.close(d);
    net.close(data);
    exchange(&mut net, c, s, "", "226 done\r\n");
    net.pass(Duration::from_secs(30));
    assert_eq!(net.transfers(), [("RETR".to_owned(), 4, "complete", 226)]);
}
