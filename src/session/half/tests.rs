use super::*;
use crate::flow::{FlowTable, Lookup};
use crate::rng::Keyed;
use crate::session::fixture::settings;
use crate::time::{Duration, Instant};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

struct Nowhere;

impl Outlet for Nowhere {
    fn slots(&self) -> usize {
        1
    }
    fn send(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8]) -> bool) -> bool {
        fill(&mut vec![0; len])
    }
}

fn shared() -> Shared {
    Shared::new(settings(), Arc::new(FlowTable::new(1 << 12, 8, 1)), Keyed::new([3; 16]))
}

fn syn(client: SocketAddrV4, seq: u32) -> Segment {
    Segment {
        src: client.into(),
        dst: "10.1.0.10:21".parse().unwrap(),
        seq,
        ack: 0,
        flags: SYN,
        window: 1000,
        start: 20,
        payload: 40,
        end: 40,
    }
}

#[test]
fn an_old_record_at_the_front_keeps_no_trace_of_those_that_have_gone() {
    let (mut shared, mut halves) = (shared(), Halves::new(1));
    let old = SocketAddrV4::new(Ipv4Addr::new(172, 16, 0, 1), 4000);
    assert!(shared.half_open(&mut halves, 0, &syn(old, 1), SynOptions::default(), &mut Nowhere));
    for n in 0..5000u32 {
        let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, n as u8), (1024 + n) as u16);
        assert!(shared.half_open(&mut halves, 0, &syn(from, n), SynOptions::default(), &mut Nowhere));
        assert!(halves.order.len() < 256, "{} entries for {} records", halves.order.len(), halves.len());
    }
    assert_eq!(halves.len(), 9);
    assert_eq!(
        halves.items.get(0).map(|h| SocketAddr::from(h.client)),
        Some(old.into()),
        "the old one was evicted"
    );
}

#[test]
fn a_time_wait_that_made_room_does_not_end_another() {
    let mut shared = shared();
    let now = Instant::from_millis(1000);
    shared.now = now;
    let keys = ["10.0.0.1:5000", "10.0.0.2:5000"]
        .map(|c| redirected(c.parse().unwrap(), "10.1.0.10:21".parse().unwrap()).unwrap());
    let slots = keys.map(|k| shared.claim(&k, &shared.session_entry(&k, 0, 0)).unwrap());
    shared.time_wait(slots[0], &keys[0], Some((1, 2)));
    shared.now = now + Duration::from_secs(5);
    // A new connection takes the first one's place; the second's record gets the same number.
    assert!(shared.claim(&keys[0], &shared.session_entry(&keys[0], 0, 0)).is_some());
    shared.time_wait(slots[1], &keys[1], Some((1, 2)));
    let mut fired = 0;
    shared.wheel.expire(now + Duration::from_secs(14), |_| fired += 1);
    assert_eq!((fired, shared.waits.len()), (0, 1));
    assert!(matches!(shared.table.lookup(&keys[1]), Lookup::Hit(..)));
    shared.wheel.expire(now + Duration::from_secs(16), |_| fired += 1);
    assert_eq!(fired, 1);
}

/// Keeps what is sent.
struct Kept(Vec<Vec<u8>>);

impl Outlet for Kept {
    fn slots(&self) -> usize {
        1
    }
    fn send(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8]) -> bool) -> bool {
        let mut packet = vec![0; len];
        let sent = fill(&mut packet);
        self.0.push(packet);
        sent
    }
}

#[test]
fn a_fin_that_comes_in_time_wait_is_acknowledged_however_often_it_comes() {
    let mut shared = shared();
    let client: SocketAddrV4 = "10.0.0.1:5000".parse().unwrap();
    let key = redirected(client.into(), "10.1.0.10:21".parse().unwrap()).unwrap();
    let slot = shared.claim(&key, &shared.session_entry(&key, 0, 0)).unwrap();
    shared.time_wait(slot, &key, Some((100, 200)));
    let Lookup::Hit(_, entry) = shared.table.lookup(&key) else { panic!("it has no place") };
    // The peer's end comes after all, with its last three bytes; then again; then something older.
    for (seq, payload, ack) in [(200, 3, 204), (200, 3, 204), (150, 0, 204)] {
        let fin = Segment {
            seq,
            ack: 100,
            flags: crate::wire::tcp::FIN | ACK,
            end: 40 + payload,
            ..syn(client, seq)
        };
        let mut out = Kept(Vec::new());
        assert!(!shared.wait_segment(entry.id, slot, &fin, &mut out));
        let ip = crate::wire::parse_ip(&out.0[0], 0).unwrap();
        let answer = crate::wire::tcp::parse(&out.0[0], &ip).unwrap();
        assert_eq!((answer.src, answer.dst), (fin.dst, fin.src));
        assert_eq!((answer.flags, answer.seq, answer.ack, out.0.len()), (ACK, 100, ack, 1));
    }
}
