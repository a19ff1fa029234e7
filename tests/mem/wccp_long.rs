//! WCCP messages that one frame does not hold.

use crate::support::*;
use crate::wccp::Wccp;
use std::net::Ipv4Addr;
use tidegate::event::What;
use tidegate::time::Duration;
use tidegate::wccp::component::{CacheView, Service};
use tidegate::wccp::element::{Bitmap, CacheData, CacheIdentity, RouterIdElement};
use tidegate::wccp::message::{HereIAm, Message, parse};
use tidegate::wccp::{GroupSettings, Password, Role};

/// Packets on this hop that are fragments.
fn fragments(w: &World, hop: Hop) -> usize {
    let piece = |p: &[u8]| p[0] == 0x45 && (p[6] & 0x3F, p[7]) != (0, 0);
    w.seen.iter().flatten().filter(|(h, p)| *h == hop && piece(p)).count()
}

fn assigned(w: &World) -> Vec<String> {
    w.told(|what| match what {
        What::Wccp { state: "assigned", reason, .. } => Some(reason.clone()),
        _ => None,
    })
}

/// Every message that the client took was one.
fn nothing_was_refused(w: &World) {
    for name in ["count_beyond_end", "too_many", "digest", "component_beyond_end", "unknown_router"] {
        assert_eq!(w.counter(&format!("wccp_{name}")), 0, "{name}");
    }
    assert_eq!(w.counter("drop_outer_fragment") + w.counter("drop_too_big"), 0);
}

fn service() -> Service {
    let ports = PORTS.to_vec();
    GroupSettings { id: 61, role: Role::Forward, ports, priority: 240, protocol: 6 }.service()
}

/// Another cache of the group says HERE_I_AM, with the Receive ID of its last answer, which is returned.
fn speak(w: &mut World, cache: Ipv4Addr, receive_id: u32) -> u32 {
    let password = Password::new(b"secret1").unwrap();
    let buckets = Bitmap::default();
    let message = HereIAm {
        service: service(),
        identity: CacheIdentity {
            address: cache,
            hash_revision: 0,
            historical: true,
            data: CacheData::Hash { buckets, weight: 10_000, status: 0 },
        },
        view: CacheView {
            change: 1,
            routers: vec![RouterIdElement { router_id: ROUTER, receive_id }],
            caches: vec![],
        },
        capabilities: vec![],
        commands: vec![],
    };
    let bytes = Message::HereIAm(message).emit(Some(&password)).unwrap();
    let answer = w.router.wccp.handle_datagram(&bytes, cache, ROUTER, w.now).unwrap().bytes;
    match parse(&answer, Some(&password)) {
        Ok(Message::ISeeYou(m)) => m.identity.router.receive_id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn n53_thirty_two_caches_in_an_answer_of_two_fragments() {
    let mut w = World::new(Options::default());
    w.watch();
    for n in 0..31 {
        let cache = Ipv4Addr::new(10, 9, 0, 100 + n);
        let id = speak(&mut w, cache, 0);
        speak(&mut w, cache, id);
    }
    w.pass(Duration::from_millis(2900));
    assert!(fragments(&w, Hop::ToGateway) >= 4, "answers in two fragments each");
    nothing_was_refused(&w);
    let table = w.router.wccp.groups()[0].table().unwrap();
    assert_eq!(table.share(GATEWAY), (8, 256), "the gateway has read who is there, and shares with all");
}

#[test]
fn n53_masks_that_take_two_frames_each_way() {
    for (mask, of, fragmented) in [(0x1741, 64, false), (0x1F41, 128, true)] {
        let mut w = World::new(Options { mask: Some(mask), ..Options::default() });
        assert_eq!(assigned(&w), [format!("{of} of {of} values are ours")]);
        assert_eq!(w.router.wccp.groups()[0].table().unwrap().share(GATEWAY), (of, of));
        nothing_was_refused(&w);
        w.watch();
        w.pass(Duration::from_secs(2));
        assert!(fragments(&w, Hop::ToGateway) > 0, "values in the view and in the map");
        // The router is restarted and knows nothing: all is said again.
        let conf = w.router.wccp.groups()[0].conf.clone();
        w.router.wccp = Wccp::new(vec![conf]);
        w.pass(Duration::from_secs(8));
        assert_eq!(fragments(&w, Hop::FromGateway) > 0, fragmented, "{of} values");
        assert_eq!(w.router.wccp.groups()[0].table().unwrap().share(GATEWAY), (of, of));
        w.login(0, 5001);
    }
}
