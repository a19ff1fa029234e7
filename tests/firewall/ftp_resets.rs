//! Resets that anybody may have sent: what lives goes on, and what is told of it is right.

use crate::ftp_net::*;
use tidegate::event::What;
use tidegate::firewall::Fate;
use tidegate::time::Duration;
use tidegate::wire::tcp::{ACK, PSH, RST, SYN};

const REPLY: &str = "227 Entering Passive Mode (198,51,100,7,195,80)\r\n";
const DATA: &str = "198.51.100.7:50000";
/// A signature that nobody can check here: MD5's, the authentication option's, padded.
const MD5: [u8; 20] = [1, 1, 19, 18, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7];
const AO: [u8; 16] = [29, 16, 1, 1, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7];

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A download of which the first 1000 bytes came: both ends of the control connection and of the data connection, the
/// client's first.
fn download(net: &mut Net) -> [usize; 4] {
    let (c, s) = logged_in(net, CLIENT);
    net.listen(Outside, DATA);
    exchange(net, c, s, "PASV\r\n", REPLY);
    let data = net.connect(Inside, "10.0.0.5:41000", DATA);
    let d = net.accepted(DATA).unwrap();
    exchange(net, c, s, "RETR a\r\n", "150 here\r\n");
    net.pass(Duration::from_millis(200));
    net.say(d, &"x".repeat(1000));
    [c, s, data, d]
}

fn told(verdict: &'static str, bytes: u64, code: u16) -> Vec<(String, u64, &'static str, u16)> {
    vec![("RETR".to_owned(), bytes, verdict, code)]
}

#[test]
fn a_transfer_that_goes_on_long_after_a_reset_is_told_whole() {
    for silence in [1, 5, 200] {
        for replied in [false, true] {
            let mut net = Net::new(settings());
            let [c, s, data, d] = download(&mut net);
            if replied {
                // All is on its way; the client takes its time.
                exchange(&mut net, c, s, "", "226 done\r\n");
            }
            net.forge_reset(data, 5000);
            net.pass(secs(silence));
            assert_eq!(net.transfers(), [], "{silence} s, {replied}");
            net.say(d, &"x".repeat(1000));
            // From then on it is as if nothing had been.
            net.pass(secs(1000));
            net.say(d, &"x".repeat(1000));
            net.close(d);
            net.close(data);
            if !replied {
                exchange(&mut net, c, s, "", "226 done\r\n");
            }
            net.pass(secs(1));
            assert_eq!(net.got(data).len(), 3000);
            assert_eq!(net.transfers(), told("complete", 3000, 226), "{silence} s, {replied}");
        }
    }
}

#[test]
fn so_is_one_whose_session_is_over() {
    let mut net = Net::new(settings());
    let [c, s, data, d] = download(&mut net);
    exchange(&mut net, c, s, "QUIT\r\n", "");
    net.close(c);
    net.close(s);
    net.forge_reset(d, 5000);
    net.pass(secs(9));
    net.say(d, &"x".repeat(1000));
    net.close(d);
    net.close(data);
    net.pass(secs(1));
    assert_eq!(net.transfers(), told("complete", 2000, 0));
}

/// Many a client closes so, when it has all.
#[test]
fn nor_when_one_end_had_closed_and_the_reply_is_there() {
    let mut net = Net::new(settings());
    let [c, s, data, d] = download(&mut net);
    net.close(d);
    exchange(&mut net, c, s, "", "226 done\r\n");
    net.abort(data);
    net.pass(secs(2));
    assert_eq!(net.transfers().len(), 1);
}

/// A client that was stopped resets all it has, and nothing more is to come.
#[test]
fn it_is_not_waited_for_long_when_its_session_is_over() {
    let mut net = Net::new(settings());
    let [c, s, data, _] = download(&mut net);
    net.close(c);
    net.close(s);
    net.abort(data);
    net.pass(secs(9));
    assert_eq!(net.transfers(), []);
    net.pass(secs(2));
    assert_eq!(net.transfers(), told("reset", 1000, 0));
}

#[test]
fn an_answer_in_the_same_moment_takes_a_reset_back() {
    // By the end that got it, by the other; with a wrong checksum it is none.
    for (answers, counts) in [([true, false], true), ([false, true], true), ([false, false], false)] {
        let mut net = Net::new(settings());
        let [c, s, data, d] = download(&mut net);
        let reset = net.bare(d, RST);
        net.put(Outside, reset);
        for (end, _) in [data, d].into_iter().zip(answers).filter(|(_, a)| *a) {
            net.say(end, "");
        }
        if !counts {
            let mut bad = net.bare(data, ACK);
            bad[37] ^= 0xFF;
            net.put(Inside, bad);
        }
        // Longer than what is silent since a reset stays known.
        net.pass(secs(300));
        let before = net.left.len();
        net.say(d, &"x".repeat(1000));
        assert_eq!(net.left.len() > before, counts, "{answers:?}");
        net.close(d);
        net.close(data);
        exchange(&mut net, c, s, "", "226 done\r\n");
        let expected = if counts { told("complete", 2000, 226) } else { told("reset", 1000, 226) };
        assert_eq!(net.transfers(), expected, "{answers:?}");
    }
}

#[test]
fn a_reset_is_told_as_soon_as_it_is_sure() {
    let aborted = |reply: &str| {
        let mut net = Net::new(settings());
        let [c, s, _, d] = download(&mut net);
        net.abort(d);
        exchange(&mut net, c, s, "", reply);
        net.pass(secs(2));
        (net, c, s)
    };
    // The server says that it failed.
    assert_eq!(aborted("426 aborted\r\n").0.transfers(), told("aborted", 1000, 426));
    assert_eq!(aborted("552 no room\r\n").0.transfers(), told("failed", 1000, 552));
    // It says that it is done, and the client goes on to the next one.
    let (mut net, c, s) = aborted("226 done\r\n");
    assert_eq!(net.transfers(), []);
    exchange(&mut net, c, s, "PASV\r\n", REPLY);
    net.connect(Inside, "10.0.0.5:41001", DATA);
    net.pass(secs(1));
    assert_eq!(net.transfers(), told("reset", 1000, 226));
    // Nothing more is heard of it.
    let (mut net, ..) = aborted("226 done\r\n");
    net.pass(secs(230));
    assert_eq!((net.transfers(), net.occupied("inspected data connections")), (vec![], 1));
    net.pass(secs(10));
    assert_eq!(net.transfers(), told("reset", 1000, 226));
    assert_eq!(net.occupied("inspected data connections"), 0);
    // But it ended when it was reset.
    let time = net.events.iter().find_map(|e| match e.what {
        What::Transfer { duration_ms, .. } => Some(duration_ms),
        _ => None,
    });
    assert_eq!(time, Some(200));
}

#[test]
fn clients_that_reset_what_they_have_read_are_never_refused_for_it() {
    let mut net = Net::new(settings());
    let [c, s, data, _] = download(&mut net);
    net.abort(data);
    exchange(&mut net, c, s, "", "226 done\r\n");
    for n in 0..60 {
        net.pass(secs(1));
        exchange(&mut net, c, s, "PASV\r\n", REPLY);
        let data = net.connect(Inside, &format!("10.0.0.5:{}", 41_001 + n), DATA);
        assert!(net.end(data).open, "{n}");
        exchange(&mut net, c, s, "RETR a\r\n", "150 here\r\n");
        net.abort(data);
        exchange(&mut net, c, s, "", "226 done\r\n");
    }
    assert!(net.occupied("inspected data connections") <= 3);
    assert!(net.transfers().len() >= 58);
}

/// A control connection, and the options that its ends' segments have: the client's, the server's.
struct Signed {
    net: Net,
    options: [Vec<u8>; 2],
}

impl Signed {
    fn begun(options: [&[u8]; 2]) -> Self {
        let mut net = Net::new(settings());
        net.silent = true;
        let mut signed = Self { net, options: options.map(<[u8]>::to_vec) };
        assert_eq!(signed.client(SYN, 1000, 0, b""), Fate::Forward);
        signed
    }

    /// The server has greeted.
    fn new(options: [&[u8]; 2]) -> Self {
        let mut signed = Self::begun(options);
        assert!(signed.server(SYN | ACK, 5000, 1001, b"") != Fate::Taken);
        signed.client(ACK, 1001, 5001, b"");
        signed.server(ACK | PSH, 5001, 1001, b"220 ready\r\n");
        assert!(signed.lives());
        signed
    }

    fn client(&mut self, flags: u8, seq: u32, ack: u32, payload: &[u8]) -> Fate {
        let ends = (addr(CLIENT), addr(SERVER));
        let options = self.options[0].clone();
        self.net.put(Inside, packet_with(ends, (seq, ack), flags, &options, payload))
    }

    fn server(&mut self, flags: u8, seq: u32, ack: u32, payload: &[u8]) -> Fate {
        let options = self.options[1].clone();
        self.forged(&options, flags, seq, ack, payload)
    }

    /// The server, or somebody in its name.
    fn forged(&mut self, options: &[u8], flags: u8, seq: u32, ack: u32, payload: &[u8]) -> Fate {
        let ends = (addr(SERVER), addr(CLIENT));
        self.net.put(Outside, packet_with(ends, (seq, ack), flags, options, payload))
    }

    /// What either end says reaches the other.
    fn lives(&mut self) -> bool {
        let before = self.net.left.len();
        self.client(ACK | PSH, 1001, 5012, b"NOOP\r\n");
        self.server(ACK | PSH, 5012, 1001, b"200 ok\r\n");
        let left = &self.net.left[before..];
        left.iter().map(|(side, _)| *side).collect::<Vec<_>>() == [Outside, Inside]
    }
}

#[test]
fn an_unsigned_reset_ends_no_signed_control_connection() {
    for signature in [&MD5[..], &AO[..]] {
        // The exact number, and one near to it.
        for seq in [5012, 5012 + 2000] {
            let mut c = Signed::new([signature, signature]);
            let before = c.net.left.len();
            c.forged(&[], RST, seq, 0, b"");
            assert_eq!(c.net.left.len(), before + 1, "who gets it judges it");
            c.net.pass(secs(2));
            assert!(c.lives());
            c.forged(&[], RST | ACK, seq, 1007, b"");
            c.net.pass(secs(500));
            assert!(c.lives(), "{seq}");
            // It may be signed, which nobody here can tell.
            c.forged(signature, RST, seq, 0, b"");
            c.net.pass(secs(5));
            assert!(c.lives(), "{seq}: it was not signed well");
            c.forged(signature, RST, seq, 0, b"");
            c.net.pass(secs(245));
            assert!(!c.lives(), "{seq}");
            assert_eq!(c.net.fw.sessions(), 0);
        }
    }
}

#[test]
fn who_does_not_sign_takes_any_reset() {
    // One end alone proves nothing: both have a key, or neither.
    for options in [[&[][..], &MD5[..]], [&MD5[..], &[]]] {
        let mut c = Signed::new(options);
        c.forged(&[], RST, 5012, 0, b"");
        c.net.pass(secs(245));
        assert!(!c.lives());
    }
    // A SYN-ACK that answers nothing makes nobody sign.
    let mut c = Signed::begun([&[][..], &[][..]]);
    c.forged(&MD5, SYN | ACK, 5000, 7, b"");
    c.client(RST, 1001, 0, b"");
    c.client(SYN, 1000, 0, b"");
    assert_eq!(c.net.count("connections"), 2);
    // The answer to a SYN.
    for (options, again) in [(&MD5[..], 1), (&[][..], 2)] {
        let mut c = Signed::begun([options, options]);
        c.forged(&[], RST | ACK, 0, 1001, b"");
        c.client(SYN, 1000, 0, b"");
        assert_eq!(c.net.count("connections"), again);
    }
}
