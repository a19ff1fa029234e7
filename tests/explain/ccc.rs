//! Control connections that are encrypted and then clear again (CCC).

use crate::tape::{Tape, Wire, check};

/// The first address is the client's of the tape.
const C2: &str = "203.0.113.9:40002";
const DATA: &str = "198.51.100.7:50000";

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3, 0, body.len() as u8][..], body].concat()
}

/// A session up to where the server has closed TLS, with its 200 to CCC in the same segment.
fn covered(t: &mut Tape) -> (Wire, u64) {
    let mut w = t.login();
    let (_, auth) = t.ask(&mut w, "AUTH TLS", "234 Go ahead.");
    t.say(&mut w, 0, record(22, b"hello"));
    t.say(&mut w, 1, record(22, b"hello"));
    t.say(&mut w, 0, record(23, b"\r\nPASV\r\nRETR nothing\r\n"));
    t.say(&mut w, 1, [record(23, b"\r\n227 (1,2,3,4,5,6)\r\n"), record(21, &[7; 26])].concat());
    (w, auth)
}

#[test]
fn the_dialogue_goes_on_where_it_is_clear() {
    let mut t = Tape::new();
    let (mut w, auth) = covered(&mut t);
    // The client's own alert shares a segment with its first clear command, byte by byte behind it.
    t.say(&mut w, 0, [record(21, &[9; 26]), b"P".to_vec()].concat());
    t.say(&mut w, 0, "ASV\r\n");
    let clear = t.say(&mut w, 1, "227 ok (198,51,100,7,195,80)\r\n");
    let mut d = Wire::new(C2, DATA);
    t.transfer(&mut w, &mut d, 1, "RETR real");
    let report = t.explain();
    check(&report);
    let session = &report.sessions[0];
    assert_eq!((session.encrypted.unwrap().frame, session.clear_again.unwrap().frame), (auth, clear));
    let transfers = t.transfers();
    let got: Vec<_> = transfers.iter().map(|x| (x.verb, &x.name[..], x.outcome)).collect();
    assert_eq!(got, [(Some("RETR"), "real", "done")]);
    assert_eq!(transfers[0].data.as_ref().unwrap().to_client, 3000);
    assert_eq!((session.commands, session.replies), (5, 7));
    let notes: Vec<_> = session.timeline.iter().filter(|m| m.text.contains("clear again")).collect();
    assert_eq!(notes.len(), 1);
}

#[test]
fn a_syn_that_is_lost_behind_it_is_no_matter_of_encryption() {
    let mut t = Tape::new();
    let (mut w, _) = covered(&mut t);
    let (_, answer) = t.ask(&mut w, "PASV", "227 ok (198,51,100,7,195,80)");
    let d = Wire::new(C2, DATA);
    let syn = t.syn(&d);
    t.wait(1.0);
    let second = t.syn(&d);
    t.wait(5.0);
    t.ask(&mut w, "RETR f", "425 Cannot connect.");
    t.cause("failed", "syn_dropped", &[answer, syn, second]);
}

#[test]
fn what_the_capture_lacks_of_a_record_does_not_matter() {
    for cut in [5, 6, 20] {
        let mut t = Tape::new();
        let mut w = t.login();
        t.ask(&mut w, "AUTH TLS", "234 Go ahead.");
        t.say(&mut w, 0, record(22, b"hello"));
        let long = t.say(&mut w, 1, record(23, &[b'x'; 200]));
        // Only its first bytes were captured.
        let shot = &mut t.shots[long as usize - 1];
        shot.packet.truncate(40 + cut);
        shot.missing = 205 - cut;
        t.ask(&mut w, "PASV", "227 ok (198,51,100,7,195,80)");
        let mut d = Wire::new(C2, DATA);
        t.transfer(&mut w, &mut d, 1, "RETR f");
        assert_eq!(t.transfers().iter().map(|x| x.outcome).collect::<Vec<_>>(), ["done"], "{cut}");
    }
    // Without a header nobody knows where the record ends.
    let mut t = Tape::new();
    let mut w = t.login();
    t.ask(&mut w, "AUTH TLS", "234 Go ahead.");
    t.say(&mut w, 0, record(22, b"hello"));
    let long = t.say(&mut w, 1, record(23, &[b'x'; 200]));
    let shot = &mut t.shots[long as usize - 1];
    shot.packet.truncate(44);
    shot.missing = 201;
    t.ask(&mut w, "PASV", "227 ok (198,51,100,7,195,80)");
    assert_eq!(t.explain().sessions[0].clear_again, None);
}

/// Connections of the encrypted part are taken for its data connections; those behind it are not.
#[test]
fn data_connections_are_guessed_while_it_is_encrypted_only() {
    let mut t = Tape::new();
    let mut w = t.login();
    t.ask(&mut w, "AUTH TLS", "234 Go ahead.");
    t.say(&mut w, 0, record(22, b"hello"));
    t.say(&mut w, 1, record(22, b"hello"));
    let mut hidden = Wire::new("203.0.113.9:41000", "198.51.100.7:51000");
    t.open(&mut hidden);
    t.say(&mut hidden, 1, [7; 100]);
    t.close(&mut hidden, 1);
    t.ask(&mut w, "NOOP", "200 ok");
    let mut stray = Wire::new("203.0.113.9:42000", "198.51.100.7:52000");
    t.open(&mut stray);
    t.say(&mut stray, 1, [7; 100]);
    t.close(&mut stray, 1);
    let transfers = t.transfers();
    assert_eq!(transfers.len(), 1, "{transfers:#?}");
    assert!(transfers[0].data.as_ref().unwrap().to.port() == 51000);
}

#[test]
fn what_openssl_sends_is_followed() {
    let text = include_str!("../data/tls/streams.txt");
    let mut tapes: Vec<(&str, Tape, Wire)> = Vec::new();
    for line in text.lines() {
        let (mark, rest) = line.split_once(' ').unwrap();
        if mark == "=" {
            let mut t = Tape::new();
            let mut w = t.login();
            t.ask(&mut w, "AUTH TLS", "234 Go ahead.");
            tapes.push((rest, t, w));
            continue;
        }
        let (_, t, w) = tapes.last_mut().unwrap();
        let bytes: Vec<u8> =
            (0..rest.len()).step_by(2).map(|at| u8::from_str_radix(&rest[at..at + 2], 16).unwrap()).collect();
        t.say(w, usize::from(mark.starts_with('<')), bytes);
    }
    assert_eq!(tapes.len(), 12);
    for (name, t, _) in &tapes {
        let report = t.explain();
        let session = &report.sessions[0];
        assert!(session.clear_again.is_some(), "{name}");
        let said: Vec<_> =
            session.timeline.iter().filter(|m| m.what == "command").map(|m| &m.text[..]).collect();
        assert_eq!(said, ["USER me", "PASS ****", "AUTH TLS", "PASV", "QUIT"], "{name}");
    }
}
