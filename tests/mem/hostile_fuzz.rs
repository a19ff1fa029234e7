//! Random dialogues: any bytes from either end in any pieces. Nothing panics, nothing stays behind, no
//! connection goes where it must not, and a bystander's transfers are whole.

use crate::support::*;
use proptest::prelude::*;
use smoltcp::socket::tcp::State;
use tidegate::time::Duration;

/// Dialogues of one world, side by side.
const SIDE_BY_SIDE: usize = 64;

/// What an end may say; numbers in them are close to what means something.
const WORDS: &[&[u8]] = &[
    b"USER u\r\n",
    b"PASS p\r\n",
    b"PASV\r\n",
    b"EPSV\r\n",
    b"EPSV ALL\r\n",
    b"PORT 10,0,0,11,200,10\r\n",
    b"PORT 10,0,0,10,0,22\r\n",
    b"EPRT |1|10.0.0.11|51210|\r\n",
    b"EPRT |2|fd00::b|51210|\r\n",
    b"EPRT |2|fd00::a|51210|\r\n",
    b"RETR f\r\n",
    b"STOR f\r\n",
    b"LIST\r\n",
    b"ABOR\r\n",
    b"\xff\xf4\xff\xf2ABOR\r\n",
    b"QUIT\r\n",
    b"FEAT\r\n",
    b"AUTH TLS\r\n",
    b"NOOP\r\n",
    b"220 hi\r\n",
    b"220-hi\r\n",
    b"120 wait\r\n",
    b"331 go\r\n",
    b"230 in\r\n",
    b"150 here\r\n",
    b"226 done\r\n",
    b"225 done\r\n",
    b"426 cut\r\n",
    b"421 bye\r\n",
    b"500 what\r\n",
    b"211-f\r\n",
    b"211 e\r\n",
    b"229 (|||51210|)\r\n",
    b"229 (|||22|)\r\n",
    b"227 (10,0,0,99,200,10)\r\n",
    b"227-(10,0,0,99,200,10)\r\n",
    b"227",
    b"\r",
    b"\n",
    b"\0",
    b"\xff",
    b"\xff\xfb\x01",
    b"\xff\xfa\x18",
    b"\xff\xf0",
    b" ",
    b"PO",
    b"RT ",
];

#[derive(Debug, Clone)]
enum Act {
    /// An end says something, in pieces of so many bytes.
    Say(bool, Vec<u8>, usize),
    /// An end closes its half, or resets.
    End(bool, bool),
    /// The client connects where it was told to, if it was.
    Data,
    /// Time passes in which the gateway stands still.
    Pass(u16),
}

fn act() -> impl Strategy<Value = Act> {
    let words = prop::collection::vec(any::<prop::sample::Index>(), 1..8)
        .prop_map(|all| all.iter().flat_map(|w| w.get(WORDS).to_vec()).collect::<Vec<u8>>());
    let bytes = prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        12 => (any::<bool>(), words, 1usize..60).prop_map(|(who, what, n)| Act::Say(who, what, n)),
        3 => (any::<bool>(), bytes, 1usize..60).prop_map(|(who, what, n)| Act::Say(who, what, n)),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(who, reset)| Act::End(who, reset)),
        2 => Just(Act::Data),
        1 => (0u16..3000).prop_map(Act::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_dialogues(
        dialogues in prop::collection::vec(prop::collection::vec(act(), 0..24), SIDE_BY_SIDE),
        logged_in in any::<u64>(),
        by in prop::sample::select(&Meeting::ALL[..]),
    ) {
        // A router that waits less long than the gateway may stand still passes it by, and hands its connections to
        // servers that know nothing of them and reset them.
        let mut o = Options { clients: 2, here_i_am: STILL * 2, ..by.options() };
        o.limits.per_client = 1000;
        let mut w = World::new(o);
        let mut good = Bystander::new(&mut w, 0, 5001);
        let evil = w.hosts.len();
        w.hosts.push(Host::new(EVIL, 1, 66));
        let servers: Vec<_> = dialogues.iter().map(|_| w.hosts[evil].listen(21)).collect();
        let at = w.at(evil, 21);
        let clients: Vec<_> = (0..dialogues.len()).map(|n| w.connect_at(1, 6001 + n as u16, at)).collect();
        w.watch();
        w.settle();
        // Which server socket a client met is the stack's choice, and does not matter.
        let mut heard = vec![vec![]; dialogues.len()];
        let mut told = vec![vec![]; dialogues.len()];
        for (n, s) in servers.iter().enumerate() {
            if logged_in >> n & 1 == 1 {
                w.hosts[evil].write(*s, b"220 hi\r\n230 in\r\n");
            }
        }
        let most = dialogues.iter().map(Vec::len).max().unwrap_or(0);
        let mut ports = 20_000u16;
        for step in 0..most {
            let mut still = Duration::ZERO;
            for (n, d) in dialogues.iter().enumerate() {
                let end = |client: bool| if client { (1, clients[n].socket) } else { (evil, servers[n]) };
                match d.get(step) {
                    None => {}
                    Some(Act::Say(who, what, size)) => {
                        let (host, socket) = end(*who);
                        for piece in what.chunks(*size) {
                            w.hosts[host].write(socket, piece);
                            w.hosts[host].poll(w.now);
                        }
                    }
                    Some(Act::End(who, reset)) => {
                        let (host, socket) = end(*who);
                        match reset {
                            true => w.hosts[host].socket(socket).abort(),
                            false => w.hosts[host].socket(socket).close(),
                        }
                    }
                    Some(Act::Data) => {
                        let text = String::from_utf8_lossy(&told[n]).into_owned();
                        let mut named = text.lines().filter(|l| l.starts_with(by.told_passive()));
                        if let Some(to) = named.next_back().and_then(passive_of) {
                            ports += 1;
                            let to = w.at(evil, to.port());
                            w.hosts[1].connect(ports, to);
                        }
                    }
                    Some(Act::Pass(ms)) => still = STILL.min(still + Duration::from_millis((*ms).into())),
                }
            }
            w.stand_still(still);
            good.step(&mut w);
            for n in 0..dialogues.len() {
                let (c, s) = (clients[n].socket, servers[n]);
                told[n].extend(w.hosts[1].read(c));
                heard[n].extend(w.hosts[evil].read(s));
            }
        }
        good.finish(&mut w);
        for n in 0..dialogues.len() {
            w.hosts[1].socket(clients[n].socket).abort();
            w.hosts[evil].socket(servers[n]).abort();
        }
        w.pass(Duration::from_secs(80));
        prop_assert_eq!((w.sessions(), w.remains().0), (1, 0));
        // Nobody was connected to but servers, and clients at an address of their own.
        let of = |host: usize| w.at(host, 0).ip();
        for t in w.segments_any(Hop::FromGateway).iter().filter(|t| t.flags == 2) {
            let to = t.dst.ip();
            let allowed = to == of(w.server_host) || to == of(evil) || (to == of(1) && t.dst.port() == 51_210);
            prop_assert!(allowed, "a SYN to {}", t.dst);
        }
        // The server never hears where a client listens, nor a client of an address but its server's.
        for (heard, told) in heard.iter().zip(&told) {
            let heard = String::from_utf8_lossy(heard);
            let setup = |l: &str| l.starts_with("PORT ") || l.starts_with("EPRT ");
            prop_assert!(!heard.lines().any(setup), "{:?}", heard.lines().find(|l| setup(l)));
            let told = String::from_utf8_lossy(told);
            let foreign = |l: &str| l.starts_with("227") && l.contains("10,0,0,99");
            prop_assert!(!told.lines().any(foreign), "{:?}", told.lines().find(|l| foreign(l)));
        }
        prop_assert!(w.hosts[1].state(clients[0].socket) == State::Closed);
    }
}
