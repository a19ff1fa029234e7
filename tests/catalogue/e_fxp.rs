//! E: what one server listens for is named to another (FXP).

use crate::e_life::{R227, pasv, says};
use crate::e_ports::{INSIDE_SERVER, PUBLISHED, join, join_at, published};
use crate::g_setup::refused;
use crate::net::Net;
use crate::setup::{CLIENT, OTHER_CLIENT, OTHER_SERVER, SERVER, STRANGER, Setup, at, case_with};
use tidegate::alg::rules::Ccc;
use tidegate::alg::rules::Profile::Standard;
use tidegate::firewall::{Action, Nat, Side};

const P: u16 = 51_210;
/// What [`R227`] names.
const PORT_THERE: &str = "PORT 198,51,100,7,200,10\r\n";

/// Every server may send to every other.
fn fxp(s: &mut Setup) {
    s.rules().fxp = vec![("0.0.0.0".parse().unwrap(), 0), ("::".parse().unwrap(), 0)];
}

/// The same, and there is a server inside.
fn across(s: &mut Setup) {
    fxp(s);
    published(s);
}

/// States of expectations so far.
fn told(net: &mut Net) -> Vec<String> {
    let all = net.events().iter().filter(|e| e["event"] == "expectation");
    all.map(|e| format!("{} {}", e["session"], e["state"].as_str().unwrap())).collect()
}

#[test]
fn e22_a_server_inside_connects_to_one_outside() {
    case_with(Standard, across, |net| {
        pasv(net, R227);
        join_at(net, at(CLIENT, 40_002), (Side::Inside, at(PUBLISHED, 21)));
        net.c(PORT_THERE);
        net.server_gets(PORT_THERE);
        let (server, there) = (at(INSIDE_SERVER, 20), at(SERVER, P));
        assert_eq!(net.syn(Side::Inside, server, there), None, "before the 200");
        net.s("200 ok\r\n");
        net.client_gets("200 ok\r\n");
        // The client gave it away, and nobody else had it.
        assert_eq!(net.passive(50_001, P), None, "the client itself");
        assert_eq!(net.syn(Side::Inside, at(OTHER_CLIENT, 20), there), None);
        assert_eq!(net.syn(Side::Inside, server, at(SERVER, P + 1)), None);
        assert_eq!(net.syn(Side::Inside, server, at(OTHER_SERVER, P)), None);
        assert_eq!(net.syn(Side::Outside, at(SERVER, 20), at(PUBLISHED, P)), None, "the other way");
        // As if all were ordinary: one listens, one connects, and each end is told its transfer is fine.
        says(net, "RETR f\r\n", "150 here\r\n");
        let syn = net.syn(Side::Inside, server, there).expect("the announced data connection");
        assert_eq!((syn.src.ip(), syn.dst), (at(PUBLISHED, 0).ip(), there));
        net.establish(Side::Inside, (server, there), &syn);
        assert!(net.data(Side::Inside, (server, there), 77_001, 99_001, "the file"));
        assert_eq!(net.syn(Side::Inside, at(INSIDE_SERVER, 2020), there), None, "a second one");
        says(net, "NOOP\r\n", "226 done\r\n");
        net.on = 0;
        says(net, "STOR f\r\n", "150 here\r\n");
        assert_eq!(told(net), ["1 opened", "2 opened", "1 superseded", "1 refused", "2 used"]);
        assert_eq!((net.counter("exchanges"), net.counter("foreign")), (1, 0));
    });
}

#[test]
fn e22_a_server_outside_connects_to_one_inside() {
    let port = "PORT 10,0,0,80,200,10\r\n";
    for (command, reply, named, translated) in [
        (
            "PASV\r\n",
            "227 Entering Passive Mode (10,0,0,80,200,10).\r\n",
            port,
            "PORT 203,0,113,80,200,10\r\n",
        ),
        // A 229 has no address: the client takes the one that it knows.
        (
            "EPSV\r\n",
            "229 Entering Extended Passive Mode (|||51210|)\r\n",
            "EPRT |1|203.0.113.80|51210|\r\n",
            "EPRT |1|203.0.113.80|51210|\r\n",
        ),
    ] {
        case_with(Standard, across, |net| {
            join_at(net, at(CLIENT, 40_002), (Side::Inside, at(PUBLISHED, 21)));
            says(net, command, reply);
            net.on = 0;
            net.c(named);
            net.server_gets(translated);
            assert_eq!(net.syn(Side::Outside, at(SERVER, 20), at(PUBLISHED, P)), None, "before the 200");
            net.s("200 ok\r\n");
            net.client_gets("200 ok\r\n");
            assert_eq!(net.syn(Side::Outside, at(STRANGER, 20), at(PUBLISHED, P)), None);
            let (from, to) = (at(SERVER, 20), at(PUBLISHED, P));
            let syn = net.syn(Side::Outside, from, to).expect("the announced data connection");
            assert_eq!((syn.src, syn.dst), (from, at(INSIDE_SERVER, P)));
            net.establish(Side::Outside, (from, to), &syn);
            assert_eq!(net.syn(Side::Outside, at(SERVER, 2020), to), None, "a second one");
        });
    }
}

/// Their data does not come through us, so nothing is opened, and the client's own opening goes.
#[test]
fn e22_servers_on_one_side_need_no_opening() {
    case_with(Standard, fxp, |net| {
        pasv(net, R227);
        join(net, at(CLIENT, 40_002), at(OTHER_SERVER, 21));
        says(net, PORT_THERE, "200 ok\r\n");
        says(net, "RETR f\r\n", "150 here\r\n");
        assert_eq!(net.passive(50_001, P), None, "the client itself");
        assert_eq!(net.syn(Side::Outside, at(OTHER_SERVER, 20), at(SERVER, P)), None);
        says(net, "NOOP\r\n", "226 done\r\n");
        net.on = 0;
        says(net, "STOR f\r\n", "150 here\r\n");
        net.s("226 done\r\n");
        net.client_gets("226 done\r\n");
        assert_eq!(told(net), ["1 opened", "2 elsewhere", "1 superseded", "1 refused"]);
    });
}

/// Where routers redirect: a client is steered to a port that is nobody's, or its 227 is left alone as its data goes past.
#[test]
fn e22_what_the_client_was_steered_to_is_named_as_the_server_has_it() {
    for (steered, there) in [(true, "7,228"), (false, "200,10")] {
        let redirected = |s: &mut Setup| {
            fxp(s);
            (s.settings.nat, s.settings.filter.default) = (Nat::default(), Action::Allow);
            s.service().data_ports.extend(steered.then_some(2020));
            s.service().data_bypasses = !steered;
        };
        case_with(Standard, redirected, |net| {
            net.c("PASV\r\n");
            net.server_gets("PASV\r\n");
            net.s(R227);
            net.client_gets(R227.replace("200,10", there));
            join(net, at(CLIENT, 40_002), at(OTHER_SERVER, 21));
            net.c(PORT_THERE.replace("200,10", there));
            net.server_gets(PORT_THERE);
            net.s("200 ok\r\n");
            net.client_gets("200 ok\r\n");
            says(net, "RETR f\r\n", "150 here\r\n");
            if steered {
                assert_eq!(net.passive(50_001, 2020), None, "the client itself");
            }
            assert_eq!(told(net).last().unwrap(), if steered { "1 superseded" } else { "2 elsewhere" });
        });
    }
}

#[test]
fn e22_what_expires_is_gone() {
    for (wait, passes) in [(59_000, true), (61_000, false)] {
        case_with(Standard, across, |net| {
            pasv(net, R227);
            join_at(net, at(CLIENT, 40_002), (Side::Inside, at(PUBLISHED, 21)));
            says(net, PORT_THERE, "200 ok\r\n");
            net.wait(wait);
            let syn = net.syn(Side::Inside, at(INSIDE_SERVER, 20), at(SERVER, P));
            assert_eq!(syn.is_some(), passes, "{wait}");
        });
    }
    // The 227 may be named for half a minute.
    for (wait, passes) in [(28_000, true), (31_000, false)] {
        case_with(Standard, across, |net| {
            join_at(net, at(CLIENT, 40_002), (Side::Inside, at(PUBLISHED, 21)));
            net.on = 0;
            pasv(net, R227);
            net.wait(wait);
            net.on = 1;
            net.c(PORT_THERE);
            if passes {
                net.server_gets(PORT_THERE);
            } else {
                net.server_gets("");
                net.client_gets_code(&["504"]);
            }
        });
    }
}

/// A bounce is one with the setting as without it: nothing but what that client was told by that server just before.
#[test]
fn e22_nothing_else_can_be_named() {
    let lines = [
        "PORT 198,51,100,7,200,11\r\n",
        "PORT 198,51,100,8,200,10\r\n",
        "PORT 192,0,2,99,200,10\r\n",
        "PORT 10,0,0,6,200,10\r\n",
        "PORT 198,51,100,7,0,22\r\n",
    ];
    for line in lines {
        case_with(Standard, fxp, |net| {
            pasv(net, R227);
            join(net, at(CLIENT, 40_002), at(OTHER_SERVER, 21));
            _ = refused(net, line, &["504"]);
            assert!(net.counter("foreign") > 0, "{:?}", net.fw.counters());
            net.on = 0;
            net.passive_comes_once(P);
        });
    }
    // In its own session; by another client; to a server that is not among them; when it is used; when the client asked
    // for something else; when the session is gone.
    case_with(Standard, fxp, |net| {
        pasv(net, R227);
        _ = refused(net, PORT_THERE, &["504"]);
    });
    case_with(Standard, fxp, |net| {
        pasv(net, R227);
        join(net, at(OTHER_CLIENT, 40_002), at(OTHER_SERVER, 21));
        _ = refused(net, PORT_THERE, &["504"]);
    });
    for server in [SERVER, OTHER_SERVER] {
        let one = |s: &mut Setup| s.rules().fxp = vec![(server.parse().unwrap(), 32)];
        case_with(Standard, one, |net| {
            pasv(net, R227);
            join(net, at(CLIENT, 40_002), at(OTHER_SERVER, 21));
            _ = refused(net, PORT_THERE, &["504"]);
        });
    }
    case_with(Standard, fxp, |net| {
        pasv(net, R227);
        net.passive_comes_once(P);
        join(net, at(CLIENT, 40_002), at(OTHER_SERVER, 21));
        _ = refused(net, PORT_THERE, &["504"]);
    });
    case_with(Standard, fxp, |net| {
        pasv(net, R227);
        pasv(net, "227 Entering Passive Mode (198,51,100,7,200,11).\r\n");
        join(net, at(CLIENT, 40_002), at(OTHER_SERVER, 21));
        _ = refused(net, PORT_THERE, &["504"]);
    });
    case_with(Standard, fxp, |net| {
        pasv(net, R227);
        net.reset(true);
        join(net, at(CLIENT, 40_002), at(OTHER_SERVER, 21));
        _ = refused(net, PORT_THERE, &["504"]);
    });
}

/// Before a stream that has to be clear again is, its server takes no data from another one either.
#[test]
fn e22_a_server_whose_stream_has_to_be_clear_lends_nothing_before() {
    const HELLO: &str = "\u{16}\u{3}\u{3}\0\u{5}hello";
    const ALERT: &str = "\u{15}\u{3}\u{3}\0\u{2}ab";
    let (from, there) = (at(INSIDE_SERVER, 20), at(SERVER, P));
    for ccc in [Ccc::Require, Ccc::Allow] {
        let setup = |s: &mut Setup| {
            across(s);
            s.rules().ccc = ccc;
        };
        let agreed = |net: &mut Net| {
            pasv(net, R227);
            join_at(net, at(CLIENT, 40_002), (Side::Inside, at(PUBLISHED, 21)));
            says(net, PORT_THERE, "200 ok\r\n");
        };
        // The lender's.
        case_with(Standard, setup, |net| {
            agreed(net);
            net.on = 0;
            says(net, "AUTH TLS\r\n", "234 go\r\n");
            says(net, HELLO, HELLO);
            if ccc == Ccc::Require {
                for _ in 0..2 {
                    assert_eq!(net.syn(Side::Inside, from, there), None, "encrypted");
                }
                let last = net.events().iter().rfind(|e| e["event"] == "expectation").unwrap();
                assert_eq!((&last["state"], &last["reason"]), (&"refused".into(), &"ccc required".into()));
                assert_eq!(net.counter("encrypted_refused"), 2);
                // One half is not enough.
                net.c(ALERT);
                net.c("NOOP\r\n");
                assert_eq!(net.syn(Side::Inside, from, there), None, "half encrypted");
                net.s(ALERT);
                net.s("200 ok\r\n");
            }
            assert!(net.syn(Side::Inside, from, there).is_some(), "{ccc:?}");
        });
        // The other one's: what it announced is gone for good.
        case_with(Standard, setup, |net| {
            agreed(net);
            says(net, "AUTH TLS\r\n", "234 go\r\n");
            says(net, HELLO, HELLO);
            assert_eq!(net.syn(Side::Inside, from, there), None, "{ccc:?}");
            says(net, ALERT, ALERT);
            says(net, "NOOP\r\n", "200 ok\r\n");
            assert_eq!(net.syn(Side::Inside, from, there), None, "{ccc:?}");
        });
    }
}

/// Of two servers that are told of it the first that agrees has it; one that refuses takes nothing away.
#[test]
fn e22_it_is_given_once() {
    case_with(Standard, across, |net| {
        pasv(net, R227);
        join_at(net, at(CLIENT, 40_002), (Side::Inside, at(PUBLISHED, 21)));
        says(net, PORT_THERE, "500 Illegal PORT command.\r\n");
        assert_eq!(net.syn(Side::Inside, at(INSIDE_SERVER, 20), at(SERVER, P)), None);
        net.on = 0;
        net.passive_comes_once(P);
    });
    case_with(Standard, across, |net| {
        pasv(net, R227);
        join_at(net, at(CLIENT, 40_002), (Side::Inside, at(PUBLISHED, 21)));
        says(net, PORT_THERE, "200 ok\r\n");
        join(net, at(CLIENT, 40_003), at(OTHER_SERVER, 21));
        _ = refused(net, PORT_THERE, &["504"]);
        assert!(net.syn(Side::Inside, at(INSIDE_SERVER, 20), at(SERVER, P)).is_some());
    });
    // Both were told before either agreed.
    case_with(Standard, across, |net| {
        pasv(net, R227);
        join(net, at(CLIENT, 40_003), at(OTHER_SERVER, 21));
        join_at(net, at(CLIENT, 40_002), (Side::Inside, at(PUBLISHED, 21)));
        net.c(PORT_THERE);
        net.on = 1;
        says(net, PORT_THERE, "200 ok\r\n");
        net.on = 2;
        net.s("200 ok\r\n");
        assert_eq!(net.syn(Side::Inside, at(INSIDE_SERVER, 20), at(SERVER, P)), None, "the second");
        assert_eq!(told(net), ["1 opened", "2 elsewhere", "1 superseded", "3 refused"]);
    });
}
