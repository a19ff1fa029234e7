//! Data connections: every byte in every mode, and every way to end.

use crate::support::*;
use smoltcp::socket::tcp::State;
use std::net::SocketAddrV4;
use tidegate::event::{Direction, Path, What};
use tidegate::time::Duration;

fn bytes(n: usize) -> Vec<u8> {
    (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn with_file(n: usize) -> Options {
    let mut o = Options::default();
    o.server.files.insert("f".into(), bytes(n));
    o
}

#[test]
fn every_mode_carries_every_size_both_ways_and_is_reported_so() {
    for n in [0, 1, 1432, 200_000] {
        let mut w = World::new(with_file(n));
        let mut c = w.login(0, 5001);
        let mut want = Vec::new();
        for verb in ["PASV", "EPSV", "PORT", "EPRT"] {
            let active = matches!(verb, "PORT" | "EPRT");
            if active {
                let d = w.active(&mut c, verb);
                assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
                assert!(w.read_all(&c, d) == bytes(n), "{verb} {n}");
                assert_eq!(&w.reply(&mut c)[..3], "226");
                let d = w.active(&mut c, verb);
                assert_eq!(&w.cmd(&mut c, "STOR g")[..3], "150");
                w.write_all(&c, d, &bytes(n));
                assert_eq!(&w.reply(&mut c)[..3], "226");
            } else {
                assert!(w.fetch(&mut c, verb, "RETR f") == bytes(n), "{verb} {n}");
                w.store(&mut c, verb, "STOR g", &bytes(n));
            }
            assert!(w.server.conf.files.remove("g") == Some(bytes(n)), "{verb} {n}");
            let path = if active { Path::Relayed } else { Path::Translated };
            want.push((Direction::Download, path, n as u64, "complete", 226));
            want.push((Direction::Upload, path, n as u64, "complete", 226));
        }
        w.pass(Duration::from_secs(2));
        let told = w.told(|e| match e {
            What::Transfer { direction, path, bytes, verdict, code, .. } => {
                Some((*direction, *path, *bytes, *verdict, *code))
            }
            _ => None,
        });
        assert_eq!(told, want);
        assert_eq!((w.counter("translated"), w.counter("relayed")), (4, 4));
        w.cmd(&mut c, "QUIT");
        let s = c.socket;
        w.hosts[0].socket(s).close();
        w.pass(Duration::from_secs(12));
        assert_eq!((w.remains(), w.sessions(), w.table.len()), ((0, 0, 0), 0, 0), "something stayed behind");
    }
}

#[test]
fn a_server_without_epsv_is_asked_in_the_old_way_and_not_again() {
    let mut o = with_file(10);
    o.server.epsv = false;
    let mut w = World::new(o);
    let mut c = w.login(0, 5001);
    assert_eq!(w.fetch(&mut c, "EPSV", "RETR f"), bytes(10));
    assert_eq!(w.fetch(&mut c, "PASV", "RETR f"), bytes(10));
    let d = w.active(&mut c, "PORT");
    assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
    assert_eq!(w.read_all(&c, d), bytes(10));
    assert_eq!(
        w.server.lines(0)[2..],
        ["EPSV", "PASV", "RETR f", "PASV", "RETR f", "PASV", "RETR f"].map(String::from)
    );
}

#[test]
fn an_active_syn_without_answer_gives_425_with_the_port() {
    let mut w = World::new(with_file(10));
    let mut c = w.login(0, 5001);
    w.active(&mut c, "PORT");
    w.loss = Some(Box::new(|hop, p| hop == Hop::ToHost(0) && tcp_of(p).is_some_and(|t| t.src.port() == 20)));
    let asked = w.now;
    let reply = w.cmd(&mut c, "RETR f");
    assert!(reply.starts_with("425 ") && reply.contains("10.1.0.10:20"), "{reply}");
    assert!(w.now.since(asked) < Duration::from_secs(6));
    w.loss = None;
    w.pass(Duration::from_secs(1));
    assert_eq!(w.poll_reply(&mut c), None, "the server's own word on it came, too");
    assert_eq!(&w.cmd(&mut c, "NOOP")[..3], "200");
    let d = w.active(&mut c, "PORT");
    assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
    assert_eq!(w.read_all(&c, d), bytes(10));
    assert_eq!(&w.reply(&mut c)[..3], "226");
}

#[test]
fn a_refused_active_syn_gives_425() {
    let mut w = World::new(with_file(10));
    let mut c = w.login(0, 5001);
    assert_eq!(&w.cmd(&mut c, "PORT 10,0,0,10,100,1")[..3], "200");
    let reply = w.cmd(&mut c, "RETR f");
    assert!(reply.starts_with("425 "), "{reply}");
    assert_eq!(&w.cmd(&mut c, "NOOP")[..3], "200");
}

#[test]
fn a_clash_of_active_source_ports_takes_the_next_port_or_425() {
    let mut o = with_file(300_000);
    o.service.data_ports = vec![2020];
    let mut w = World::new(o);
    let mut all = Vec::new();
    for n in 0..3 {
        let mut c = w.login(0, 5001 + n);
        let d = w.hosts[0].listen(25_601);
        assert_eq!(&w.cmd(&mut c, "PORT 10,0,0,10,100,1")[..3], "200");
        w.watch();
        let reply = w.cmd(&mut c, "RETR f");
        let syns: Vec<u16> =
            w.segments(Hop::ToHost(0)).iter().filter(|t| t.flags == 2).map(|t| t.src.port()).collect();
        match n {
            0 => assert_eq!((&reply[..3], syns), ("150", vec![20])),
            1 => assert_eq!((&reply[..3], syns), ("150", vec![2020])),
            _ => assert_eq!((&reply[..3], syns), ("425", vec![])),
        }
        all.push((c, d));
    }
    all.pop();
    for (mut c, d) in all {
        assert!(w.read_all(&c, d) == bytes(300_000));
        assert_eq!(&w.reply(&mut c)[..3], "226");
    }
}

#[test]
fn a_reset_is_not_an_end_of_file() {
    for verb in ["PASV", "PORT"] {
        let mut o = with_file(50_000);
        o.server.reset_after = Some(20_000);
        let mut w = World::new(o);
        let mut c = w.login(0, 5001);
        let d = if verb == "PORT" {
            w.active(&mut c, verb)
        } else {
            let to = w.passive(&mut c, verb);
            w.data(&mut c, to)
        };
        w.watch();
        assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
        let reply = w.reply(&mut c);
        assert_eq!(reply, "426 Failure reading.\r\n", "the server's word outranks ours");
        w.pass(Duration::from_secs(1));
        let to_client: Vec<Tcp> =
            w.segments(Hop::ToHost(0)).into_iter().filter(|t| t.src.port() != 21).collect();
        assert!(to_client.iter().any(|t| t.flags & 4 != 0), "{verb}: no reset");
        assert!(to_client.iter().all(|t| t.flags & 1 == 0), "{verb}: a FIN");
        assert_eq!(w.hosts[0].state(d), State::Closed);
        let verdicts = w.told(|e| match e {
            What::Transfer { verdict, code, .. } => Some((*verdict, *code)),
            _ => None,
        });
        assert_eq!(verdicts.len(), 1);
        assert!(verdicts[0].0 != "complete" && verdicts[0].1 == 426, "{verdicts:?}");
    }
}

#[test]
fn a_clients_reset_reaches_the_server_as_one() {
    for verb in ["PASV", "PORT"] {
        let mut w = World::new(Options::default());
        let mut c = w.login(0, 5001);
        let d = if verb == "PORT" {
            w.active(&mut c, verb)
        } else {
            let to = w.passive(&mut c, verb);
            w.data(&mut c, to)
        };
        assert_eq!(&w.cmd(&mut c, "STOR g")[..3], "150");
        w.until(Duration::from_secs(2), "connection", |w| {
            (w.hosts[0].state(d) == State::Established).then_some(())
        });
        w.hosts[0].write(d, &bytes(5000));
        w.settle();
        w.watch();
        w.hosts[0].socket(d).abort();
        assert_eq!(w.reply(&mut c), "426 Reset.\r\n");
        let to_server: Vec<Tcp> =
            w.segments(Hop::ToHost(1)).into_iter().filter(|t| t.dst.port() != 21).collect();
        assert!(to_server.iter().any(|t| t.flags & 4 != 0) && to_server.iter().all(|t| t.flags & 1 == 0));
    }
}

#[test]
fn the_final_reply_of_a_relayed_download_comes_behind_the_data_and_the_first_one_does_not() {
    // The client's first answers get lost, so that the server is done before the client is connected.
    let mut w = World::new(with_file(3000));
    let mut c = w.login(0, 5001);
    let d = w.active(&mut c, "PORT");
    let mut lost = 0;
    w.loss = Some(Box::new(move |hop, p| {
        // Its first SYN and the first data.
        let of_data = |t: Tcp| t.src.port() == 20 && (t.flags & 2 != 0 || !t.payload.is_empty());
        let hit = hop == Hop::ToHost(0) && tcp_of(p).is_some_and(of_data);
        lost += usize::from(hit);
        hit && matches!(lost, 1 | 3)
    }));
    w.send(&c, b"RETR f\r\n");
    let (mut got, mut replies) = (Vec::new(), Vec::new());
    let c = &mut c;
    w.until(Duration::from_secs(20), "transfer", |w| {
        got.extend(w.hosts[0].read(d));
        while let Some(r) = w.poll_reply(c) {
            if r.starts_with("150") {
                assert!(got.is_empty(), "the 150 waited for the data");
            } else {
                assert!(got.len() == 3000, "{r:?} came before the data: {} bytes", got.len());
            }
            replies.push(r);
        }
        if w.hosts[0].at_end(d) && w.hosts[0].state(d) == State::CloseWait {
            w.hosts[0].socket(d).close();
        }
        (replies.len() == 2).then_some(())
    });
    assert!(got == bytes(3000));
}

#[test]
fn the_final_reply_is_held_back_no_longer_than_its_time() {
    let mut w = World::new(with_file(3000));
    let mut c = w.login(0, 5001);
    w.active(&mut c, "PORT");
    w.loss = Some(Box::new(|hop, p| {
        hop == Hop::ToHost(0) && tcp_of(p).is_some_and(|t| t.src.port() == 20 && !t.payload.is_empty())
    }));
    assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
    let asked = w.now;
    assert_eq!(&w.reply(&mut c)[..3], "226");
    let took = w.now.since(asked);
    assert!((Duration::from_secs(9)..Duration::from_secs(11)).contains(&took), "{took:?}");
}

#[test]
fn a_translated_transfers_final_reply_does_not_wait() {
    let mut w = World::new(with_file(3000));
    let mut c = w.login(0, 5001);
    let to = w.passive(&mut c, "PASV");
    let d = w.data(&mut c, to);
    assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
    let asked = w.now;
    assert_eq!(&w.reply(&mut c)[..3], "226");
    assert!(w.now.since(asked) < Duration::from_millis(50));
    assert!(w.read_all(&c, d) == bytes(3000));
}

#[test]
fn the_servers_refusal_reaches_the_client_in_every_mode() {
    let mut w = World::new(Options::default());
    let mut c = w.login(0, 5001);
    w.passive(&mut c, "PASV");
    assert_eq!(w.cmd(&mut c, "RETR nothing"), "550 No such file.\r\n");
    w.active(&mut c, "PORT");
    assert_eq!(w.cmd(&mut c, "RETR nothing"), "550 No such file.\r\n");
    assert_eq!(&w.cmd(&mut c, "NOOP")[..3], "200");
}

#[test]
fn n51_the_mss_is_clamped_toward_the_client_on_every_connection() {
    let mut w = World::new(with_file(10));
    w.watch();
    let mut c = w.login(0, 5001);
    w.fetch(&mut c, "PASV", "RETR f");
    let d = w.active(&mut c, "PORT");
    assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
    w.read_all(&c, d);
    let offers: Vec<(u16, Option<u16>)> = w
        .segments(Hop::ToHost(0))
        .iter()
        .filter(|t| t.flags & 2 != 0)
        .map(|t| (t.src.port(), t.mss))
        .collect();
    assert_eq!(offers.len(), 3);
    assert!(offers.iter().all(|(_, mss)| mss.is_some_and(|m| m <= 1432)), "{offers:?}");
}

#[test]
fn a_clamp_that_is_off_is_off_on_every_connection() {
    let mut o = with_file(10);
    o.service.mss_clamp = None;
    let mut w = World::new(o);
    w.watch();
    let mut c = w.login(0, 5001);
    w.fetch(&mut c, "PASV", "RETR f");
    let offers: Vec<Option<u16>> =
        w.segments(Hop::ToHost(0)).iter().filter(|t| t.flags & 2 != 0).map(|t| t.mss).collect();
    assert_eq!(offers, [Some(1460), Some(1460)]);
}

#[test]
fn abor_stops_a_transfer_in_every_mode() {
    for verb in ["PASV", "PORT"] {
        let mut w = World::new(with_file(1_000_000));
        let mut c = w.login(0, 5001);
        let d = if verb == "PORT" {
            w.active(&mut c, verb)
        } else {
            let to = w.passive(&mut c, verb);
            w.data(&mut c, to)
        };
        assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
        w.pass(Duration::from_millis(50));
        assert_eq!(&w.cmd(&mut c, "ABOR")[..3], "426");
        assert_eq!(&w.reply(&mut c)[..3], "226");
        w.pass(Duration::from_secs(1));
        w.hosts[0].read(d);
        w.pass(Duration::from_secs(1));
        assert_eq!(w.hosts[0].state(d), State::Closed, "{verb}");
        assert_eq!(&w.cmd(&mut c, "NOOP")[..3], "200");
        let verdicts = w.told(|e| match e {
            What::Transfer { verdict, .. } => Some(*verdict),
            _ => None,
        });
        assert_eq!(verdicts, ["aborted"], "{verb}");
    }
}

#[test]
fn a_port_used_again_at_once_is_a_new_connection() {
    // The client uses the same source port to the same steered port while the old flow rests.
    let mut o = with_file(10);
    o.service.data_ports = vec![2020];
    let mut w = World::new(o);
    let mut c = w.login(0, 5001);
    let from = SocketAddrV4::new(CLIENT, 26_000);
    for round in 0..2 {
        let to = w.passive(&mut c, "PASV");
        let d = w.hosts[0].connect(from.port(), to);
        assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
        assert_eq!(w.read_all(&c, d), bytes(10), "round {round}");
        assert_eq!(&w.reply(&mut c)[..3], "226");
        w.pass(Duration::from_secs(1));
        assert_eq!(w.hosts[0].state(d), State::Closed);
    }
}

#[test]
fn loss_on_every_hop_changes_nothing_in_what_arrives() {
    for verb in ["PASV", "PORT"] {
        let mut w = World::new(with_file(60_000));
        let mut n = u32::from(w.seed);
        w.loss = Some(Box::new(move |_, p| {
            n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            p[9] != 17 && n >> 24 < 3
        }));
        let mut c = w.connect(0, 5001);
        let mut lines = vec![w.reply(&mut c)];
        for line in ["USER u", "PASS p"] {
            lines.push(w.cmd(&mut c, line));
        }
        let d = if verb == "PORT" {
            w.active(&mut c, verb)
        } else {
            let to = w.passive(&mut c, verb);
            w.data(&mut c, to)
        };
        assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
        assert!(w.read_all(&c, d) == bytes(60_000), "{verb}");
        assert_eq!(&w.reply(&mut c)[..3], "226");
    }
}
