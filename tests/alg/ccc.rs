//! Connections that become encrypted and clear again (CCC), through the core and FTP's rules.

use crate::talk::{Order, Talk};
use crate::tls::{Stream, flights, recorded};
use tidegate::alg::Direction::{ToClient, ToServer};
use tidegate::alg::rules::{Ccc, Profile};
use tidegate::time::Duration;

const R227: &str = "227 Entering Passive Mode (10,0,0,200,200,10).\r\n";
const N227: &str = "227 Entering Passive Mode (198,51,100,200,195,203).\r\n";

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3, 0, body.len() as u8][..], body].concat()
}

fn hello() -> Vec<u8> {
    record(22, b"hello")
}

fn data() -> Vec<u8> {
    record(23, b"\r\nPASV\r\n227 (1,2,3,4,5,6)\r\n")
}

fn alert() -> Vec<u8> {
    record(21, &[7; 26])
}

/// Ways to say things: what is said at once, and how it is cut.
fn ways() -> Vec<(usize, Order)> {
    let orders = [Order::Plain, Order::Twice, Order::Swapped];
    [1, 2, 3, 7, 100, 1460].iter().flat_map(|p| orders.map(|o| (*p, o))).collect()
}

#[test]
fn t14_what_openssl_sends_is_followed_and_read_again_behind_it() {
    for (name, streams) in recorded() {
        for (piece, order) in ways() {
            // What one end says in a row comes in a row, or each record by itself.
            for merged in [false, true] {
                let mut talk = Talk::agreed(Ccc::Allow, piece, order);
                for (to_server, bytes) in flights(&name, merged) {
                    talk.say(if to_server { ToServer } else { ToClient }, &bytes);
                }
                let case = format!("{name}, pieces of {piece}, {order:?}, {merged}");
                assert_eq!(talk.got[0], streams[0].bytes, "{case}");
                let Stream { bytes, clear } = &streams[1];
                let want = [&bytes[..clear.unwrap()], N227.as_bytes()].concat();
                assert!(talk.got[1] == want, "{case}: {:?}", talk.text(ToClient));
                assert_eq!(talk.states(), ["clear: ccc"], "{case}");
                let doors = ["close Opaque", "close Superseded", "listen 10.0.0.200:51210", "close Over"];
                assert_eq!(talk.doors(), doors, "{case}");
                assert!(!talk.is_opaque() && !talk.reset);
                talk.down(b"221 bye\r\n");
                assert_eq!(talk.memory(), 0, "{case}");
            }
        }
    }
}

/// Every way to close: who sends an alert, when, and what shares a segment with it.
#[test]
fn every_way_to_close_ends_at_the_right_byte() {
    let closes: [&[(bool, Vec<u8>)]; 6] = [
        &[(false, [data(), alert()].concat()), (true, alert())],
        &[(false, data()), (true, alert()), (false, alert())],
        &[(true, alert()), (false, [data(), alert()].concat())],
        &[(false, [data(), alert()].concat())],
        &[(false, data()), (true, alert())],
        &[(false, data())],
    ];
    for close in closes {
        for (piece, order) in ways() {
            let mut talk = Talk::agreed(Ccc::Allow, piece, order);
            for (to_server, bytes) in [(true, hello()), (false, hello()), (true, data())].iter().chain(close)
            {
                talk.say(if *to_server { ToServer } else { ToClient }, bytes);
            }
            talk.forget();
            talk.up(b"PORT 10,9,9,9,156,64\r\n");
            assert_eq!(talk.text(ToServer), "PORT 198,51,100,99,195,203\r\n");
            talk.down(b"200 ok\r\n");
            talk.up(b"RETR f\r\n");
            talk.down(b"150 here\r\n226 done\r\n");
            assert_eq!(talk.text(ToClient), "200 ok\r\n150 here\r\n226 done\r\n");
            let doors = ["close Opaque", "reserve 10.9.9.9:40000", "open", "transfer f false", "over 226"];
            assert_eq!(talk.doors(), doors, "{piece} {order:?}");
        }
    }
}

/// The server's alert comes late, in front of its first clear reply: one direction is clear before the other.
#[test]
fn directions_become_clear_each_for_itself() {
    for (piece, order) in ways() {
        let mut talk = Talk::agreed(Ccc::Require, piece, order);
        talk.up(&hello());
        talk.down(&hello());
        talk.up(&[alert(), b"PASV\r\n".to_vec()].concat());
        assert!(talk.is_opaque() && talk.admits_nothing());
        assert_eq!(talk.states(), [""; 0]);
        talk.forget();
        talk.down(&[data(), alert(), R227.as_bytes().to_vec()].concat());
        assert_eq!(talk.got[1], [data(), alert(), N227.as_bytes().to_vec()].concat(), "{piece} {order:?}");
        assert!(!talk.is_opaque() && !talk.admits_nothing());
        assert_eq!(talk.states(), ["clear: ccc: the requirement is met"]);
    }
}

/// A client that speaks clear text has done with TLS: our answer need not wait for the server's first clear byte, for which
/// the client itself would wait.
#[test]
fn an_answer_of_ours_to_the_first_clear_command_comes_at_once() {
    for (piece, order) in ways() {
        let mut talk = Talk::agreed(Ccc::Allow, piece, order);
        talk.up(&hello());
        talk.down(&[hello(), data()].concat());
        talk.forget();
        talk.up(b"EPSV ALL\r\n");
        assert_eq!(
            (talk.text(ToServer), talk.text(ToClient)),
            (String::new(), "200 EPSV ALL ok.\r\n".into())
        );
        // An alert that was still on its way, and a reply.
        talk.down(&alert());
        talk.up(b"NOOP\r\n");
        talk.down(b"200 ok\r\n");
        assert_eq!(talk.got[1], [b"200 EPSV ALL ok.\r\n".to_vec(), alert(), b"200 ok\r\n".to_vec()].concat());
        // Not in the midst of a record.
        let mut talk = Talk::agreed(Ccc::Allow, piece, order);
        talk.up(&hello());
        talk.down(&data()[..9]);
        talk.up(b"EPSV ALL\r\n");
        assert_eq!(talk.text(ToClient), String::from_utf8_lossy(&data()[..9]));
        talk.down(&data()[9..]);
        assert_eq!(talk.got[1], [&data()[..], b"200 EPSV ALL ok.\r\n"].concat());
    }
}

#[test]
fn deny_resets_both_ends_at_the_first_clear_byte() {
    for (piece, order) in ways() {
        for to_server in [true, false] {
            let mut talk = Talk::agreed(Ccc::Deny, piece, order);
            talk.up(&hello());
            talk.down(&[hello(), data(), alert()].concat());
            assert!(!talk.reset && talk.states().is_empty());
            talk.forget();
            let dir = if to_server { ToServer } else { ToClient };
            talk.say(dir, &[alert(), b"PASV\r\n".to_vec()].concat());
            assert!(talk.reset, "{piece} {order:?}");
            assert_eq!(talk.states(), ["refused: ccc denied"]);
            // Nothing clear has left.
            assert!(!talk.text(dir).contains("PASV"));
        }
    }
}

#[test]
fn require_admits_nothing_while_it_is_not_known_to_be_clear() {
    let mut talk = Talk::new(Ccc::Require, 1460, Order::Plain);
    talk.down(b"220 ready\r\n");
    assert!(!talk.admits_nothing());
    talk.up(b"AUTH TLS\r\n");
    talk.down(b"234 go on\r\n");
    assert!(talk.admits_nothing());
    let why = "ccc required: no data connection before the control channel is clear again";
    assert_eq!(talk.states(), [format!("encrypted: {why}")]);
    // What is no TLS, though it begins as such, is never known to be clear.
    talk.up(&[hello(), vec![0x17, 0x03, 0x09, 0, 1], b"\r\nPASV\r\n".to_vec()].concat());
    talk.down(&[hello(), R227.as_bytes().to_vec()].concat());
    assert!(talk.admits_nothing() && talk.is_opaque());
    assert_eq!(talk.doors(), ["close Opaque"]);
    assert!(talk.text(ToClient).ends_with(R227));
}

/// S17, S18: text that would be taken for protected.
#[test]
fn s17_s18_text_around_auth_ends_the_session() {
    let reset = |act: &dyn Fn(&mut Talk), piece| {
        for ccc in [Ccc::Allow, Ccc::Deny, Ccc::Require] {
            let mut talk = Talk::new(ccc, piece, Order::Plain);
            talk.down(b"220 ready\r\n");
            act(&mut talk);
            talk.pass(Duration::from_secs(2));
            assert_eq!(talk.count("injected"), 1, "{piece} {ccc:?}");
            assert!(!talk.text(ToServer).contains("USER") && !talk.text(ToClient).contains("331"));
            assert!(talk.doors().iter().all(|d| d.starts_with("close")));
        }
    };
    for piece in [1, 3, 1460] {
        reset(&|t| t.up(b"AUTH TLS\r\nUSER x\r\n"), piece);
        reset(
            &|t| {
                t.up(b"AUTH TLS\r\nUS");
                t.down(b"234 go\r\n");
                t.up(b"ER x\r\n");
            },
            piece,
        );
        reset(
            &|t| {
                t.up(b"AUTH TLS\r\n");
                t.down(b"234 go\r\n331 x\r\n");
            },
            piece,
        );
        reset(
            &|t| {
                t.up(b"AUTH TLS\r\n");
                t.down(b"234 go\r\n");
                t.up(b"USER x\r\n");
            },
            piece,
        );
    }
}

#[test]
fn a_refused_auth_changes_nothing_and_a_second_one_is_another() {
    let mut talk = Talk::new(Ccc::Allow, 1460, Order::Plain);
    talk.down(b"220 ready\r\n");
    talk.up(b"AUTH TLS\r\n");
    talk.down(b"502 no\r\n");
    assert!(!talk.is_opaque());
    for _ in 0..3 {
        talk.up(b"AUTH TLS\r\n");
        talk.down(b"234 go\r\n");
        talk.up(&hello());
        talk.down(&data());
        assert!(talk.is_opaque());
        talk.up(b"PASV\r\n");
        talk.down(R227.as_bytes());
        assert!(!talk.is_opaque() && talk.text(ToClient).ends_with(N227));
    }
    assert_eq!((talk.count("encrypted"), talk.count("clear_again")), (3, 3));
}

/// Replies that fit no clear command open nothing, as ever.
#[test]
fn what_nobody_asked_for_in_clear_text_opens_nothing() {
    for profile in [Profile::Compat, Profile::Standard, Profile::Strict] {
        let mut talk = Talk::of(Ccc::Allow, profile, 1460, Order::Plain);
        talk.down(b"220 ready\r\n");
        talk.up(b"AUTH TLS\r\n");
        talk.down(b"234 go\r\n");
        talk.up(&hello());
        talk.down(&data());
        talk.forget();
        talk.up(b"NOOP\r\n");
        talk.down(R227.as_bytes());
        assert!(talk.doors().iter().all(|d| d.starts_with("close")), "{profile:?}");
    }
}

/// A long encrypted connection is held nowhere.
#[test]
fn a_long_encrypted_connection_holds_no_memory() {
    let mut talk = Talk::agreed(Ccc::Allow, 1460, Order::Plain);
    talk.up(&hello());
    let idle = talk.memory();
    assert!(idle <= 128, "{idle}");
    for _ in 0..300 {
        talk.up(&data().repeat(40));
        talk.down(&data().repeat(40));
        assert_eq!(talk.memory(), idle);
    }
}
