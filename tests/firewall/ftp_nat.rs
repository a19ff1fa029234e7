//! Addresses in the lines, where they are translated.

use crate::ftp_net::*;
use std::net::SocketAddr;
use tidegate::time::Duration;

fn told(line: &str) -> SocketAddr {
    let digits: Vec<u16> = line
        .split(|c: char| !c.is_ascii_digit())
        .filter(|d| !d.is_empty())
        .map(|d| d.parse().unwrap())
        .collect();
    let n = &digits[digits.len() - 6..];
    format!("{}.{}.{}.{}:{}", n[0], n[1], n[2], n[3], n[4] * 256 + n[5]).parse().unwrap()
}

#[test]
fn a_masqueraded_client_is_told_by_its_outside_address() {
    let mut net = Net::new(masquerade(settings()));
    let (c, s) = logged_in(&mut net, CLIENT);
    assert_eq!(net.end(s).peer.ip().to_string(), GATE);
    net.listen(Inside, "10.0.0.5:5001");
    let (command, reply) = exchange(&mut net, c, s, "PORT 10,0,0,5,19,137\r\n", "200 ok\r\n");
    let at = told(&command);
    assert_eq!((at.ip().to_string().as_str(), reply.as_str()), (GATE, "200 ok\r\n"));
    let data = net.connect(Outside, "198.51.100.7:20", &at.to_string());
    assert!(net.end(data).open, "{:?}", net.expectations());
    exchange(&mut net, c, s, "RETR a\r\n", "150 here\r\n");
    net.say(data, "bytes");
    let d = net.accepted("10.0.0.5:5001").unwrap();
    assert_eq!(net.got(d), "bytes");
    assert_eq!(net.end(d).peer, addr("198.51.100.7:20"));
    net.close(data);
    net.close(d);
    exchange(&mut net, c, s, "", "226 done\r\n");
    exchange(&mut net, c, s, "NOOP\r\n", "200 ok\r\n");
    net.pass(Duration::from_secs(300));
    assert_eq!(net.transfers(), [("RETR".to_owned(), 5, "complete", 226)]);
}

#[test]
fn two_clients_with_the_same_port_are_told_apart() {
    let mut net = Net::new(masquerade(settings()));
    let (c, s) = logged_in(&mut net, CLIENT);
    let (c2, s2) = logged_in(&mut net, OTHER);
    net.listen(Inside, "10.0.0.5:5001");
    net.listen(Inside, "10.0.0.6:5001");
    let (one, _) = exchange(&mut net, c, s, "PORT 10,0,0,5,19,137\r\n", "200 ok\r\n");
    let (two, _) = exchange(&mut net, c2, s2, "PORT 10,0,0,6,19,137\r\n", "200 ok\r\n");
    assert_ne!(told(&one), told(&two));
    let data = net.connect(Outside, "198.51.100.7:20", &told(&two).to_string());
    assert!(net.end(data).open);
    assert!(net.accepted("10.0.0.6:5001").is_some() && net.accepted("10.0.0.5:5001").is_none());
}

#[test]
fn a_masqueraded_client_connects_passively() {
    let mut net = Net::new(masquerade(settings()));
    let (c, s) = logged_in(&mut net, CLIENT);
    net.listen(Outside, "198.51.100.7:50000");
    exchange(&mut net, c, s, "PASV\r\n", "227 Entering Passive Mode (198,51,100,7,195,80)\r\n");
    let data = net.connect(Inside, "10.0.0.5:41000", "198.51.100.7:50000");
    assert!(net.end(data).open);
    let d = net.accepted("198.51.100.7:50000").unwrap();
    assert_eq!(net.end(d).peer.ip().to_string(), GATE);
}

#[test]
fn no_port_left_is_answered_and_nothing_is_dropped() {
    let mut o = masquerade(settings());
    o.nat.masquerade.as_mut().unwrap().ports = 49152..=49153;
    let mut net = Net::new(o);
    let mut answers = Vec::new();
    for host in 1..=4 {
        let (c, s) = logged_in(&mut net, &format!("10.0.0.{host}:4000{host}"));
        net.say(c, &format!("PORT 10,0,0,{host},19,137\r\n"));
        let passed = !net.got(s).is_empty();
        answers.push((passed, net.got(c).chars().take(3).collect::<String>()));
    }
    assert!(answers[0].0, "{answers:?}");
    assert_eq!(answers[3].1, "425", "{answers:?}");
}
