//! Each cause, made on purpose: the exact code, the frames that show it, the filter that opens the spot.

use crate::tape::{Tape, Wire, explain};
use tidegate::explain::report::CODES;
use tidegate::wire::tcp::{ACK, PSH, SYN};

const C2: &str = "203.0.113.9:40002";
const PASV: &str = "227 Entering Passive Mode (198,51,100,7,200,10)";
const DATA: &str = "198.51.100.7:51210";

/// A session up to the answer to PASV; the control connection and the answer's frame.
fn passive(t: &mut Tape) -> (Wire, u64) {
    let mut w = t.login();
    let (_, n) = t.ask(&mut w, "PASV", PASV);
    (w, n)
}

#[test]
fn syn_dropped() {
    let mut t = Tape::new();
    let (mut w, pasv) = passive(&mut t);
    let d = Wire::new(C2, DATA);
    let mut syns = vec![pasv, t.syn(&d)];
    for pause in [1.0, 2.0] {
        t.wait(pause);
        syns.push(t.syn(&d));
    }
    t.wait(5.0);
    t.ask(&mut w, "QUIT", "221 Bye");
    t.close(&mut w, 1);
    let cause = t.cause("failed", "syn_dropped", &syns);
    assert!(cause.text.contains("client's SYN") && cause.text.contains("sent 3 times"), "{}", cause.text);
    let conversation =
        "(ip.addr == 203.0.113.9 && ip.addr == 198.51.100.7 && tcp.port == 40002 && tcp.port == 51210)";
    assert!(cause.filter.starts_with(conversation), "{}", cause.filter);
}

#[test]
fn syn_of_a_server_dropped() {
    let mut t = Tape::new();
    let mut w = t.login();
    let (_, ok) = t.ask(&mut w, "PORT 203,0,113,9,200,10", "200 Fine");
    t.say(&mut w, 0, "RETR f\r\n");
    let d = Wire::new("198.51.100.7:20", "203.0.113.9:51210");
    let mut frames = vec![ok, t.syn(&d)];
    t.wait(1.0);
    frames.push(t.syn(&d));
    t.wait(30.0);
    t.say(&mut w, 1, "425 Failed to establish connection.\r\n");
    let cause = t.cause("failed", "syn_dropped", &frames);
    assert!(cause.text.contains("server's SYN"), "{}", cause.text);
}

#[test]
fn reset_by_the_host() {
    let mut t = Tape::new();
    let (mut w, _) = passive(&mut t);
    let mut d = Wire::new(C2, DATA);
    let syn = t.syn(&d);
    d.next[0] = d.next[0].wrapping_add(1);
    d.next[1] = 0;
    let rst = t.rst(&d, 1);
    t.ask(&mut w, "QUIT", "221 Bye");
    t.cause("failed", "syn_reset", &[syn, rst]);
}

#[test]
fn refused_by_icmp() {
    let mut t = Tape::new();
    let (mut w, _) = passive(&mut t);
    let syn = t.syn(&Wire::new(C2, DATA));
    let icmp = t.icmp("192.0.2.1", (3, 13), [0; 4], syn);
    t.ask(&mut w, "QUIT", "221 Bye");
    let cause = t.cause("failed", "data_unreachable", &[syn, icmp]);
    assert!(cause.text.contains("192.0.2.1") && cause.text.contains("a filter forbids it"), "{}", cause.text);
}

#[test]
fn answer_to_a_syn_lost() {
    let mut t = Tape::new();
    passive(&mut t);
    let d = Wire::new(C2, DATA);
    let syn = t.syn(&d);
    let mut answered = d;
    answered.next[0] = d.next[0].wrapping_add(1);
    let answer = t.segment(&answered, 1, d.next[1], SYN | ACK, 64_000, b"");
    t.wait(1.0);
    t.syn(&d);
    t.segment(&answered, 1, d.next[1], SYN | ACK, 64_000, b"");
    t.wait(5.0);
    t.cause("failed", "syn_ack_lost", &[syn, answer]);
}

#[test]
fn wrong_address_in_227() {
    let mut t = Tape::new();
    let mut w = t.login();
    let (_, pasv) = t.ask(&mut w, "PASV", "227 Entering Passive Mode (10,0,0,7,200,10)");
    let d = Wire::new(C2, "10.0.0.7:51210");
    let syn = t.syn(&d);
    t.wait(1.0);
    t.syn(&d);
    t.wait(20.0);
    t.ask(&mut w, "QUIT", "221 Bye");
    let cause = t.cause("failed", "passive_wrong_address", &[pasv, syn]);
    assert!(cause.text.contains("10.0.0.7") && cause.text.contains("198.51.100.7"), "{}", cause.text);
}

#[test]
fn wrong_address_that_the_client_does_not_heed_is_no_fault() {
    let mut t = Tape::new();
    let mut w = t.login();
    t.ask(&mut w, "PASV", "227 Entering Passive Mode (10,0,0,7,200,10)");
    t.transfer(&mut w, &mut Wire::new(C2, DATA), 1, "RETR f");
    assert_eq!(t.transfers()[0].outcome, "done");
}

#[test]
fn reply_227_without_a_tuple() {
    let mut t = Tape::new();
    let mut w = t.login();
    let (asked, answered) = t.ask(&mut w, "PASV", "227 Entering Passive Mode (");
    t.ask(&mut w, "QUIT", "221 Bye");
    let cause = t.cause("failed", "passive_no_address", &[asked, answered]);
    assert!(cause.text.contains("227 Entering Passive Mode ("), "{}", cause.text);
}

#[test]
fn port_from_behind_nat() {
    // Seen at the server: PORT names an inner address.
    let mut t = Tape::new();
    let mut w = t.login();
    let (port, ok) = t.ask(&mut w, "PORT 192,168,1,5,200,10", "200 Fine");
    t.ask(&mut w, "RETR f", "425 Cannot open data connection.");
    let cause = t.cause("failed", "port_behind_nat", &[port, ok]);
    assert!(cause.text.contains("192.168.1.5"), "{}", cause.text);
    // The same, refused at once.
    let mut t = Tape::new();
    let mut w = t.login();
    let (port, no) = t.ask(&mut w, "PORT 192,168,1,5,200,10", "500 Illegal PORT command.");
    t.ask(&mut w, "RETR f", "425 Use PORT or PASV first.");
    t.cause("failed", "port_behind_nat", &[port, no]);
    // And seen at the client, whose own address that is.
    let mut t = Tape::new();
    let mut w = t.login_of("192.168.1.5:40001", "198.51.100.7:21");
    let (port, ok) = t.ask(&mut w, "PORT 192,168,1,5,200,10", "200 Fine");
    t.say(&mut w, 0, "RETR f\r\n");
    t.wait(60.0);
    t.say(&mut w, 1, "425 Cannot open data connection.\r\n");
    t.cause("failed", "port_behind_nat", &[port, ok]);
}

#[test]
fn an_alg_rewrote_it_already() {
    // The address of the far side, in a packet that still comes from the near one.
    let mut t = Tape::new();
    let mut w = t.login_of("192.168.1.5:40001", "198.51.100.7:21");
    let (port, _) = t.ask(&mut w, "PORT 203,0,113,9,200,10", "200 Fine");
    t.say(&mut w, 0, "RETR f\r\n");
    t.wait(30.0);
    t.say(&mut w, 1, "425 Cannot open data connection.\r\n");
    let cause = t.cause("failed", "alg_rewrote", &[port]);
    assert!(cause.text.contains("203.0.113.9") && cause.text.contains("192.168.1.5"), "{}", cause.text);

    // A repetition that says something else.
    let mut t = Tape::new();
    let mut w = t.login();
    let at = w.next[0];
    let first = t.send(&mut w, 0, b"PORT 203,0,113,9,200,10\r\n");
    t.wait(1.0);
    let again = t.segment(&w, 0, at, PSH | ACK, 64_000, b"PORT 192,0,2,200,200,10\r\n");
    t.say(&mut w, 1, "200 Fine\r\n");
    t.ask(&mut w, "RETR f", "425 Cannot open data connection.");
    t.cause("failed", "alg_rewrote", &[first, again]);
}

#[test]
fn an_alg_rewrote_it_between_two_captures() {
    let mut inside = Tape::new();
    let mut w = inside.login_of("10.0.0.5:40001", "198.51.100.7:21");
    inside.ask(&mut w, "PORT 10,0,0,5,200,10", "200 Fine");
    inside.ask(&mut w, "RETR f", "425 No.");
    let mut outside = Tape::new();
    outside.now += 1_000_000;
    let mut w = outside.login_of("203.0.113.9:40001", "198.51.100.7:21");
    outside.ask(&mut w, "PORT 192,0,2,200,200,10", "200 Fine");
    outside.ask(&mut w, "RETR f", "425 No.");
    let mut all = inside.shots.clone();
    all.extend(outside.shots.into_iter().map(|s| crate::tape::Shot { file: 1, ..s }));
    all.sort_by_key(|s| s.at);
    let report = explain(&all, &["inside.pcap", "outside.pcap"], &[21]);
    assert_eq!((report.sessions.len(), report.failed), (2, 2));
    let causes: Vec<_> = report.sessions.iter().map(|s| s.transfers[0].cause.clone().unwrap()).collect();
    assert_eq!(causes[0].code, "port_behind_nat", "inside it was right as far as can be seen");
    assert_eq!((causes[1].code.as_str(), causes[1].frames[0].file), ("alg_rewrote", 1));
    assert!(
        causes[1].text.contains("10.0.0.5:51210") && causes[1].text.contains("of outside.pcap"),
        "{causes:#?}"
    );
    assert!(
        report.sessions[1].remarks[0].contains("1 announced addresses differ"),
        "{:?}",
        report.sessions[1].remarks
    );
}

#[test]
fn port_refused() {
    let mut t = Tape::new();
    let mut w = t.login();
    let (port, no) = t.ask(&mut w, "PORT 203,0,113,9,200,10", "500 PORT not allowed.");
    t.ask(&mut w, "RETR f", "425 Use PASV first.");
    t.cause("failed", "port_refused", &[port, no]);
}

#[test]
fn a_refused_announcement_leaves_the_one_before_in_force() {
    let mut t = Tape::new();
    let mut w = t.login();
    t.ask(&mut w, "PORT 203,0,113,9,200,10", "200 Fine");
    t.ask(&mut w, "EPRT |2|::1|2000|", "522 Use (1).");
    let mut d = Wire::new("198.51.100.7:20", "203.0.113.9:51210");
    t.transfer(&mut w, &mut d, 0, "RETR f");
    let transfers = t.transfers();
    assert_eq!((transfers.len(), transfers[0].outcome), (1, "done"), "{transfers:#?}");
    assert_eq!(transfers[0].data.as_ref().unwrap().to_client, 3000);
}

#[test]
fn over_ipv6() {
    let mut t = Tape::new();
    let mut w = t.login_of("[2001:db8::9]:40001", "[2001:db8:1::7]:21");
    let (_, epsv) = t.ask(&mut w, "EPSV", "229 Extended (|||51210|)");
    let d = Wire::new("[2001:db8::9]:40002", "[2001:db8:1::7]:51210");
    let mut syns = vec![epsv, t.syn(&d)];
    t.wait(1.0);
    syns.push(t.syn(&d));
    t.wait(5.0);
    t.ask(&mut w, "QUIT", "221 Bye");
    let cause = t.cause("failed", "syn_dropped", &syns);
    assert!(
        cause.filter.starts_with("(ipv6.addr == 2001:db8::9 && ipv6.addr == 2001:db8:1::7"),
        "{}",
        cause.filter
    );
}

#[test]
fn a_third_host_is_named_even_if_nothing_comes_of_it() {
    let mut t = Tape::new();
    let mut w = t.login();
    let (port, _) = t.ask(&mut w, "PORT 192,0,2,80,0,80", "200 Fine");
    let report = t.explain();
    let want = format!("PORT in frame {port} names a third host, 192.0.2.80, and the server accepted it");
    assert_eq!((report.failed, &report.sessions[0].remarks), (0, &vec![want]));
    t.ask(&mut w, "LIST", "425 No.");
    t.cause("failed", "port_foreign_address", &[port, port + 2]);
}

#[test]
fn a_refused_try_before_one_that_works_is_no_failure() {
    let mut t = Tape::new();
    let mut w = t.login();
    t.ask(&mut w, "EPSV", "500 EPSV not understood.");
    t.ask(&mut w, "PASV", PASV);
    t.transfer(&mut w, &mut Wire::new(C2, DATA), 1, "RETR f");
    assert_eq!(t.explain().failed, 0);
}

#[test]
fn replies_425_426_and_550() {
    let mut t = Tape::new();
    let (mut w, _) = passive(&mut t);
    let (retr, no) = t.ask(&mut w, "RETR f", "425 Cannot open data connection.");
    t.cause("failed", "reply_425", &[retr, no]);

    let mut t = Tape::new();
    let (mut w, _) = passive(&mut t);
    let mut d = Wire::new(C2, DATA);
    t.open(&mut d);
    let (retr, _) = t.ask(&mut w, "RETR f", "150 Here it comes.");
    t.say(&mut d, 1, [7; 1000]);
    t.close(&mut d, 1);
    let no = t.say(&mut w, 1, "426 Connection closed; transfer aborted.\r\n");
    t.cause("failed", "reply_426", &[retr, no]);

    let mut t = Tape::new();
    let (mut w, _) = passive(&mut t);
    t.open(&mut Wire::new(C2, DATA));
    let (retr, no) = t.ask(&mut w, "RETR f", "550 No such file.");
    let cause = t.cause("failed", "reply_550", &[retr, no]);
    assert!(cause.text.contains("RETR f") && cause.text.contains("550 No such file"), "{}", cause.text);

    let mut t = Tape::new();
    let mut w = t.login();
    let (retr, no) = t.ask(&mut w, "RETR f", "425 Use PORT or PASV first.");
    let cause = t.cause("failed", "reply_425", &[retr, no]);
    assert!(cause.text.contains("no PORT or PASV"), "{}", cause.text);
}

#[test]
fn auth_tls() {
    let mut t = Tape::new();
    let mut w = t.login();
    let (_, auth) = t.ask(&mut w, "AUTH TLS", "234 Go ahead.");
    t.say(&mut w, 0, b"\x16\x03\x01\x00\x05hello");
    t.say(&mut w, 1, b"\x16\x03\x03\x00\x05hello");
    let d = Wire::new(C2, DATA);
    let syn = t.syn(&d);
    t.wait(1.0);
    t.syn(&d);
    t.wait(5.0);
    t.say(&mut w, 0, b"\x17\x03\x03\x00\x05QUIT.");
    let cause = t.cause("failed", "auth_tls", &[auth, syn]);
    assert!(cause.text.contains("encrypted"), "{}", cause.text);
    let report = t.explain();
    assert_eq!(report.sessions[0].encrypted.unwrap().frame, auth);
    assert_eq!(report.sessions[0].commands, 3, "nothing behind it is read");
}

#[test]
fn a_reset_behind_the_end_of_an_encrypted_file_is_none() {
    for whole in [true, false] {
        let mut t = Tape::new();
        let mut w = t.login();
        t.ask(&mut w, "AUTH TLS", "234 Go ahead.");
        t.say(&mut w, 0, b"\x16\x03\x01\x00\x05hello");
        let mut d = Wire::new(C2, DATA);
        let syn = t.open(&mut d);
        t.say(&mut d, 1, [7; 1000]);
        if whole {
            t.fin(&mut d, 1);
        }
        let rst = t.rst(&d, 0);
        if whole {
            assert_eq!(t.explain().failed, 0, "closed with TLS's last words unread");
        } else {
            t.cause("failed", "data_reset", &[syn, rst]);
        }
    }
}

#[test]
fn final_reply_lost() {
    let all_but_the_reply = || {
        let mut t = Tape::new();
        let (mut w, _) = passive(&mut t);
        let mut d = Wire::new(C2, DATA);
        t.open(&mut d);
        let (retr, _) = t.ask(&mut w, "RETR f", "150 Here it comes.");
        t.say(&mut d, 1, [7; 1000]);
        t.close(&mut d, 1);
        let last = t.frames();
        (t, w, retr, last)
    };
    // Never seen here; the client gives up, or only waits.
    let (mut t, mut w, retr, last) = all_but_the_reply();
    t.wait(300.0);
    let fin = t.fin(&mut w, 0);
    let cause = t.cause("failed", "final_reply_lost", &[retr, last, fin]);
    assert!(cause.text.contains("1000 bytes"), "{}", cause.text);
    let (mut t, mut w, retr, last) = all_but_the_reply();
    t.wait(60.0);
    t.say(&mut w, 0, "NOOP\r\n");
    t.cause("failed", "final_reply_lost", &[retr, last]);
    // Seen here, but not by the client.
    let (mut t, mut w, ..) = all_but_the_reply();
    let at = w.next[1];
    let done = t.send(&mut w, 1, b"226 Done.\r\n");
    let mut again = 0;
    for pause in [0.3, 0.6, 1.2] {
        t.wait(pause);
        again = t.segment(&w, 1, at, PSH | ACK, 64_000, b"226 Done.\r\n");
    }
    t.cause("failed", "final_reply_lost", &[done, again]);
}

#[test]
fn reset_in_the_middle_of_a_file() {
    for sender in [0, 1] {
        let mut t = Tape::new();
        let (mut w, _) = passive(&mut t);
        let mut d = Wire::new(C2, DATA);
        let syn = t.open(&mut d);
        t.ask(&mut w, "RETR f", "150 Here it comes.");
        t.say(&mut d, 1, [7; 1000]);
        let rst = t.rst(&d, sender);
        t.say(&mut w, 1, "426 Failure writing.\r\n");
        let cause = t.cause("failed", "data_reset", &[syn, rst]);
        let who = ["client's", "server's"][sender];
        assert!(cause.text.contains(who) && cause.text.contains("1000 bytes"), "{}", cause.text);
    }
}

#[test]
fn zero_window() {
    let mut t = Tape::new();
    let (mut w, _) = passive(&mut t);
    let mut d = Wire::new(C2, DATA);
    t.open(&mut d);
    t.ask(&mut w, "RETR f", "150 Here it comes.");
    t.say(&mut d, 1, [7; 1000]);
    t.send(&mut d, 1, &[7; 1000]);
    let closed = t.segment(&d, 0, d.next[0], ACK, 0, b"");
    let mut last = closed;
    for pause in [1.0, 2.0, 4.0, 8.0] {
        t.wait(pause);
        t.segment(&d, 1, d.next[1].wrapping_sub(1), ACK, 64_000, b"");
        last = t.segment(&d, 0, d.next[0], ACK, 0, b"");
    }
    let cause = t.cause("failed", "zero_window", &[closed, last]);
    assert!(cause.text.contains("client 203.0.113.9:40002"), "{}", cause.text);
}

#[test]
fn a_window_that_opens_again_is_no_fault() {
    let mut t = Tape::new();
    let (mut w, _) = passive(&mut t);
    let mut d = Wire::new(C2, DATA);
    t.open(&mut d);
    t.ask(&mut w, "RETR f", "150 Here it comes.");
    t.send(&mut d, 1, &[7; 1000]);
    t.segment(&d, 0, d.next[0], ACK, 0, b"");
    t.wait(60.0);
    t.segment(&d, 0, d.next[0], ACK, 900, b"");
    t.close(&mut d, 1);
    t.say(&mut w, 1, "226 Done.\r\n");
    assert_eq!(t.explain().failed, 0);
}

/// Full segments that are never acknowledged, on a connection that carried `before` bytes.
fn stuck(before: &[usize]) -> (Tape, u64, u64, u64) {
    let mut t = Tape::new();
    let (mut w, _) = passive(&mut t);
    let mut d = Wire::new(C2, DATA);
    t.open(&mut d);
    t.ask(&mut w, "RETR f", "150 Here it comes.");
    for n in before {
        t.say(&mut d, 1, vec![7; *n]);
    }
    let at = d.next[1];
    let sent = t.send(&mut d, 1, &[7; 1460]);
    let (mut first, mut last) = (0, 0);
    for pause in [0.3, 0.6, 1.2, 2.4, 4.8] {
        t.wait(pause);
        last = t.segment(&d, 1, at, PSH | ACK, 64_000, &[7; 1460]);
        first = if first == 0 { last } else { first };
    }
    (t, sent, first, last)
}

#[test]
fn mtu_black_hole() {
    let (t, _, first, last) = stuck(&[100]);
    let cause = t.cause("failed", "mtu_black_hole", &[first, last]);
    assert!(cause.text.contains("1460 bytes") && cause.text.contains("no ICMP"), "{}", cause.text);
    // The router does say so.
    let (mut t, sent, first, last) = stuck(&[]);
    let said = t.icmp("192.0.2.1", (3, 4), [0, 0, 0x05, 0x78], sent);
    let cause = t.cause("failed", "mtu_black_hole", &[first, last, said]);
    assert!(cause.text.contains("1400 bytes pass"), "{}", cause.text);
    // Such segments passed before: it is the path that is gone.
    let (t, _, first, last) = stuck(&[1460, 1460]);
    t.cause("failed", "data_stalled", &[first, last]);
}

#[test]
fn capture_too_short() {
    let mut t = Tape::new();
    let (w, _) = passive(&mut t);
    let mut before = t.clone();
    let syn = before.syn(&Wire::new(C2, DATA));
    before.cause("unknown", "capture_too_short", &[syn]);
    assert_eq!(before.explain().failed, 0, "it may yet come");

    let (mut w, mut d) = (w, Wire::new(C2, DATA));
    t.open(&mut d);
    let (retr, _) = t.ask(&mut w, "RETR f", "150 Here it comes.");
    t.say(&mut d, 1, [7; 1000]);
    t.cause("unknown", "capture_too_short", &[retr, t.frames()]);
}

#[test]
fn the_control_connection_goes_first() {
    let mut t = Tape::new();
    let (mut w, _) = passive(&mut t);
    let (retr, _) = t.ask(&mut w, "RETR f", "150 Here it comes.");
    let mut closed = t.clone();
    let rst = t.rst(&w, 1);
    t.cause("failed", "control_reset", &[retr, rst]);
    let mut gone = w;
    let fin = closed.fin(&mut gone, 0);
    let cause = closed.cause("failed", "control_closed", &[retr, fin]);
    assert!(cause.text.contains("client closed"), "{}", cause.text);
    // Both ends drop the data connection of a session that is gone.
    let mut dropped = Tape::new();
    let (mut both, _) = passive(&mut dropped);
    let mut data = Wire::new(C2, DATA);
    dropped.open(&mut data);
    let (asked, _) = dropped.ask(&mut both, "RETR f", "150 Here it comes.");
    let first = dropped.rst(&both, 1);
    dropped.rst(&data, 1);
    dropped.cause("failed", "control_reset", &[asked, first]);
    // A command to an end that has closed is answered with RST; the end was before.
    let mut late = t.clone();
    late.shots.pop();
    let fin = late.fin(&mut w, 1);
    late.send(&mut w, 0, b"NOOP\r\n");
    late.rst(&w, 1);
    let cause = late.cause("failed", "control_closed", &[retr, fin]);
    assert!(cause.text.contains("server closed"), "{}", cause.text);
}

#[test]
fn nothing_follows_the_announcement() {
    let mut t = Tape::new();
    let (mut w, pasv) = passive(&mut t);
    let (retr, _) = t.ask(&mut w, "RETR f", "150 Here it comes.");
    t.wait(60.0);
    t.say(&mut w, 0, "NOOP\r\n");
    t.cause("failed", "no_data_connection", &[pasv, retr]);
}

#[test]
fn payload_that_was_not_captured() {
    let mut t = Tape::new();
    let mut w = t.login();
    let (_, pasv) = t.ask(&mut w, "PASV", PASV);
    // The capture keeps 68 bytes of each frame, without its Ethernet header: 40 are headers.
    let shot = &mut t.shots[pasv as usize - 1];
    shot.missing = shot.packet.len() - 68;
    shot.packet.truncate(68);
    let mut failing = t.clone();
    let mut control = w;
    let (retr, _) = failing.ask(&mut control, "RETR f", "425 Cannot open.");
    let cause = failing.cause("failed", "payload_not_captured", &[pasv]);
    assert!(cause.text.contains("payload not captured") && retr > 0, "{}", cause.text);
    // One that works is found all the same, by its hosts.
    t.transfer(&mut w, &mut Wire::new(C2, DATA), 1, "RETR f");
    let transfers = t.transfers();
    assert_eq!((transfers[0].outcome, transfers[0].data.as_ref().unwrap().to_client), ("done", 3000));
    let report = t.explain();
    let text = tidegate::explain::human(&report, tidegate::explain::Style { colour: false, columns: None });
    assert!(text.contains("payload not captured: 21 bytes") && text.contains("(cut off here)"), "{text}");
}

#[test]
fn an_abort_is_no_failure() {
    let mut t = Tape::new();
    let (mut w, _) = passive(&mut t);
    let mut d = Wire::new(C2, DATA);
    t.open(&mut d);
    t.ask(&mut w, "RETR f", "150 Here it comes.");
    t.say(&mut d, 1, [7; 1000]);
    t.say(&mut w, 0, b"\xff\xf4\xff\xf2ABOR\r\n");
    t.rst(&d, 0);
    t.say(&mut w, 1, "426 Closed.\r\n226 Abort done.\r\n");
    let transfers = t.transfers();
    assert_eq!((transfers[0].outcome, transfers[0].cause.is_none()), ("aborted", true), "{transfers:#?}");
}

#[test]
fn codes_are_told_in_the_document() {
    let text = include_str!("../../docs/explain.md");
    for code in CODES {
        assert!(text.contains(&format!("| `{code}` |")), "docs/explain.md does not name {code}");
    }
}
