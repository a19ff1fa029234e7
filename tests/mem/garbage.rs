//! Frames that no peer should send: nothing panics, nothing grows.

use crate::support::*;
use proptest::prelude::*;
use tidegate::wire::build;

/// Frames of a real session, as they came to the gateway.
fn real(by: Meeting) -> Vec<Vec<u8>> {
    let mut o = by.options();
    o.server.files.insert("f".into(), vec![1; 5000]);
    let mut w = World::new(o);
    w.watch();
    let mut c = w.login(0, 5001);
    w.fetch(&mut c, "EPSV", "RETR f");
    let d = w.active(&mut c, "PORT");
    w.cmd(&mut c, "RETR f");
    w.read_all(&c, d);
    w.cmd(&mut c, "QUIT");
    let all = w.seen.take().unwrap().into_iter().filter(|(h, _)| *h == Hop::ToGateway);
    all.map(|(_, p)| {
        let ethertype = match p[0] >> 4 {
            4 => [8, 0],
            6 => [0x86, 0xDD],
            _ => [8, 6],
        };
        [&GW_MAC[..], &ROUTER_MAC, &ethertype, &p].concat()
    })
    .collect()
}

/// Makes checksums right again, so that what was changed is looked at.
fn mend(frame: &mut [u8]) {
    if frame.len() >= 74 && frame[12..15] == [0x86, 0xDD, 0x60] && frame[20] == 6 {
        return build::finish(&mut frame[14..]);
    }
    if frame.len() < 34 || frame[14] != 0x45 {
        return;
    }
    let ip = &mut frame[14..];
    if ip[9] == 47 && ip.len() > 68 && ip[28] == 0x45 {
        build::finish(&mut ip[28..]);
        let n = ip.len() as u16;
        ip[2..4].copy_from_slice(&n.to_be_bytes());
        ip[10..12].fill(0);
        let c = !sum(&[&ip[..20]]);
        ip[10..12].copy_from_slice(&c.to_be_bytes());
    } else if ip[9] == 6 && ip.len() >= 40 {
        build::finish(ip);
    }
}

fn bounded(w: &World) {
    let (halves, flows, waits) = w.remains();
    assert!(halves <= 256 && flows <= 2000 && waits <= 2000, "{:?}", w.remains());
    assert!(w.sessions() <= 1000 && w.table.len() <= 1 << 14);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(
        by in prop::sample::select(&Meeting::ALL[..]),
        frames in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..200), 0u8..7), 100),
    ) {
        let mut w = World::new(by.options());
        w.gateway_shows = true;
        // ICMPv6 that comes by MAC address goes back as it came.
        w.damaged = !matches!(by, Meeting::Gre | Meeting::Spoofed);
        for (mut bytes, kind) in frames {
            let head: &[u8] = match kind {
                0 => &[],
                1 => &[8, 0],
                2 => &[8, 6],
                3 => &[0x86, 0xDD],
                // TCP, and what stands before it or speaks of it.
                4 => &[0x86, 0xDD, 0x60, 0, 0, 0, 0, 60, 6, 64],
                5 => &[0x86, 0xDD, 0x60, 0, 0, 0, 0, 60, (bytes.len() % 61) as u8, 64],
                _ => &[8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 47],
            };
            if kind > 0 {
                bytes = [&GW_MAC[..], &ROUTER_MAC, head, &bytes].concat();
            }
            mend(&mut bytes);
            w.gateway_gets(&bytes);
        }
        w.settle();
        bounded(&w);
        let mut c = w.login(0, 5001);
        prop_assert!(w.fetch(&mut c, by.passive(), "LIST").is_empty());
    }

    #[test]
    fn damaged_frames_of_a_session(
        by in prop::sample::select(&Meeting::ALL[..]),
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0u8..6, any::<bool>()), 400)
    ) {
        let real = real(by);
        let mut o = by.options();
        // Changed SYNs that go back as they came fill the server's room; it keeps them.
        o.server.backlog = 400;
        let mut w = World::new(o);
        // Where TCP begins: behind GRE, the IP header of either family, or Ethernet's and that.
        let tcp = match by {
            Meeting::Gre | Meeting::Spoofed => 62,
            Meeting::L2 => 34,
            Meeting::Six | Meeting::SixSpoofed => 54,
        };
        let _c = w.login(0, 5001);
        w.damaged = true;
        // A changed source address may be a client's: it gets what anybody gets from us.
        w.gateway_shows = true;
        for (which, at, value, kind, mended) in changes {
            let mut f = which.get(&real).clone();
            let at = at.index(f.len());
            match kind {
                0 => f.truncate(at),
                // What a router brings by MAC address goes back to the address that it came from.
                1 if tcp == 62 || !(6..12).contains(&at) => f[at] ^= value,
                // Into the TCP header: flags, offsets, numbers.
                2 if f.len() >= tcp + 20 => f[tcp + at % 20] = value,
                3 => f.extend(std::iter::repeat_n(value, at.min(1514 - f.len()))),
                4 if f.len() > 54 => f[12 + at % 42] = value,
                _ => {}
            }
            if mended {
                mend(&mut f);
            }
            w.gateway_gets(&f);
            if value < 16 {
                w.settle();
            }
        }
        w.settle();
        bounded(&w);
        w.pass(tidegate::time::Duration::from_secs(30));
        bounded(&w);
        // A damaged reset may have ended the session for us alone. Our next port may be that connection's, about
        // which this server's stack is silent, where RFC 9293 3.10.7.4 wants an answer: it hears of the end by
        // speaking itself.
        if w.sessions() == 0 && w.server.accepted > 0 {
            (0..w.server.accepted).for_each(|n| w.server.say(n, b"421 Timeout.\r\n"));
            w.pass(tidegate::time::Duration::from_secs(1));
        }
        let mut c = w.login(0, 5002);
        prop_assert!(w.fetch(&mut c, by.passive(), "LIST").is_empty());
    }
}
