//! Active data connections: the server connects to where the client told it.

use crate::ftp_net::*;

const LISTENS: &str = "10.0.0.5:5001";
const PORT: &str = "PORT 10,0,0,5,19,137\r\n";

#[test]
fn the_server_may_come_after_its_200_from_any_port_and_once() {
    let mut net = Net::new(settings());
    let (c, s) = logged_in(&mut net, CLIENT);
    net.listen(Inside, LISTENS);
    net.say(c, PORT);
    let early = net.connect(Outside, "198.51.100.7:20", LISTENS);
    assert!(!net.end(early).open, "before it was accepted");
    net.say(s, "200 ok\r\n");
    let other = net.connect(Outside, "198.51.100.8:20", LISTENS);
    assert!(!net.end(other).open, "another host");
    let data = net.connect(Outside, "198.51.100.7:40000", LISTENS);
    assert!(net.end(data).open, "{:?}", net.expectations());
    let second = net.connect(Outside, "198.51.100.7:40001", LISTENS);
    assert!(!net.end(second).open, "a second one");
    exchange(&mut net, c, s, "STOR a\r\n", "150 go\r\n");
    let d = net.accepted(LISTENS).unwrap();
    net.say(d, "12345");
    net.close(d);
    net.close(data);
    exchange(&mut net, c, s, "", "226 done\r\n");
    net.pass(tidegate::time::Duration::from_secs(30));
    assert_eq!(net.transfers(), [("STOR".to_owned(), 5, "complete", 226)]);
}

#[test]
fn a_refused_port_opens_nothing() {
    let mut net = Net::new(settings());
    let (c, s) = logged_in(&mut net, CLIENT);
    net.listen(Inside, LISTENS);
    exchange(&mut net, c, s, PORT, "500 no\r\n");
    let data = net.connect(Outside, "198.51.100.7:20", LISTENS);
    assert!(!net.end(data).open);
    assert_eq!(net.count("expectations_opened"), 0);
    assert_eq!(net.occupied("expectations"), 0);
}

#[test]
fn a_source_port_may_be_demanded() {
    let mut o = settings();
    o.services[0].active_source_ports = vec![20];
    let mut net = Net::new(o);
    let (c, s) = logged_in(&mut net, CLIENT);
    net.listen(Inside, LISTENS);
    exchange(&mut net, c, s, PORT, "200 ok\r\n");
    let wrong = net.connect(Outside, "198.51.100.7:40000", LISTENS);
    assert!(!net.end(wrong).open && net.end(wrong).reset);
    let right = net.connect(Outside, "198.51.100.7:20", LISTENS);
    assert!(net.end(right).open, "the announcement stands");
    assert_eq!(net.count("source_ports_refused"), 1);
}

#[test]
fn extended_commands_serve_ipv6() {
    let mut net = Net::new(settings());
    let (c, s) = logged_in_at(&mut net, "[2001:db8::5]:40000", "[2001:db8:1::7]:21");
    net.listen(Inside, "[2001:db8::5]:5001");
    net.listen(Outside, "[2001:db8:1::7]:50000");
    exchange(&mut net, c, s, "EPRT |2|2001:db8::5|5001|\r\n", "200 ok\r\n");
    let data = net.connect(Outside, "[2001:db8:1::7]:20", "[2001:db8::5]:5001");
    assert!(net.end(data).open);
    exchange(&mut net, c, s, "EPSV\r\n", "229 Extended (|||50000|)\r\n");
    let data = net.connect(Inside, "[2001:db8::5]:41000", "[2001:db8:1::7]:50000");
    assert!(net.end(data).open);
}
