//! Models of the flow table's protocol: interleavings (up to three preemptions) and permitted reorderings
//! of a few steps.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test flow_loom` (with a target directory of its own).
#![cfg(loom)]

use loom::sync::Arc;
use loom::thread;
use std::net::{Ipv4Addr, SocketAddr};
use tidegate::flow::{
    Action, Entry, Flags, FlowKey, FlowTable, InsertError, Leg, Lookup, Rewrite, SlotRef, Sticky,
    SweepCursor, Verdict,
};

const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn key(n: u16) -> FlowKey {
    FlowKey::tcp((A, n).into(), (B, 21).into(), Leg::Redirected, 0).expect("one family")
}

/// Its id, addresses and ports all tell `n`, so that a torn one shows.
fn entry(key: &FlowKey, n: u16) -> Entry {
    let to = |n: u16| SocketAddr::from((Ipv4Addr::from(u32::from(n)), n));
    Entry {
        owner: n,
        next_hop: n,
        id: u32::from(n),
        epoch: n,
        action: Action::Translate,
        flags: Flags::NONE,
        rewrite: Rewrite::new(key, to(n), to(!n)).expect("one family"),
    }
}

fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// The ids of all live entries.
fn ids(table: &FlowTable) -> Vec<u32> {
    let mut ids = Vec::new();
    for owner in 0..10 {
        table.sweep(owner, &mut SweepCursor::default(), usize::MAX, 0, |view| {
            ids.push(view.entry.id);
            Verdict::Keep
        });
    }
    ids
}

fn hit(table: &FlowTable, key: &FlowKey) -> Option<(SlotRef, Entry)> {
    match table.lookup(key) {
        Lookup::Hit(slot, entry) => Some((slot, entry)),
        Lookup::Miss => None,
        Lookup::Busy => panic!("nothing is updating"),
    }
}

#[test]
fn of_two_claims_of_one_key_one_succeeds() {
    explore(3, || {
        let table = Arc::new(FlowTable::new(2, 1, 1));
        let other = table.clone();
        let twin = thread::spawn(move || other.insert(&key(1), &entry(&key(1), 2), 0));
        let mine = table.insert(&key(1), &entry(&key(1), 3), 0);
        let twin = twin.join().expect("the twin");
        assert!(mine.is_ok() != twin.is_ok(), "{mine:?} {twin:?}");
        let lost = if mine.is_ok() { twin } else { mine };
        assert_eq!(lost, Err(InsertError::Exists));
        let winner = if mine.is_ok() { 3 } else { 2 };
        assert_eq!(ids(&table), [winner]);
        assert_eq!(hit(&table, &key(1)).map(|(_, e)| e), Some(entry(&key(1), winner as u16)));
        assert_eq!(table.len(), 1);
    });
}

/// The first slot of the path is freed while two workers put the same key in: one may have passed it,
/// the other takes it.
#[test]
fn a_freed_slot_nearer_home_makes_no_second_entry() {
    explore(3, || {
        let table = Arc::new(FlowTable::new(2, 1, 1));
        let near = table.insert(&key(9), &entry(&key(9), 9), 0).expect("room");
        let other = table.clone();
        let twin = thread::spawn(move || {
            assert!(other.remove(near));
            other.insert(&key(1), &entry(&key(1), 2), 0)
        });
        let mine = table.insert(&key(1), &entry(&key(1), 3), 0);
        let twin = twin.join().expect("the twin");
        assert!(mine.is_ok() || twin.is_ok(), "{mine:?} {twin:?}");
        assert!(mine.is_err() || twin.is_err(), "two entries of one key");
        assert_eq!(ids(&table), [if mine.is_ok() { 3 } else { 2 }]);
    });
}

#[test]
fn an_insertion_is_seen_whole_and_hides_no_standing_entry() {
    explore(3, || {
        let table = Arc::new(FlowTable::new(2, 1, 1));
        table.insert(&key(1), &entry(&key(1), 1), 0).expect("room");
        let other = table.clone();
        let writer = thread::spawn(move || other.insert(&key(2), &entry(&key(2), 2), 0).is_ok());
        if let Some((_, found)) = hit(&table, &key(2)) {
            assert_eq!(found, entry(&key(2), 2));
        }
        assert_eq!(hit(&table, &key(1)).map(|(_, e)| e), Some(entry(&key(1), 1)));
        assert!(writer.join().expect("the writer"));
        assert_eq!(hit(&table, &key(2)).map(|(_, e)| e), Some(entry(&key(2), 2)));
    });
}

#[test]
fn an_update_is_seen_whole_and_never_as_a_miss() {
    explore(3, || {
        let table = Arc::new(FlowTable::new(1, 1, 1));
        let slot = table.insert(&key(1), &entry(&key(1), 1), 0).expect("room");
        let other = table.clone();
        let owner = thread::spawn(move || {
            assert!(other.update(slot, &entry(&key(1), 2)));
        });
        match table.lookup(&key(1)) {
            Lookup::Hit(at, found) => {
                assert_eq!(at, slot);
                assert!(found == entry(&key(1), 1) || found == entry(&key(1), 2), "torn: {found:?}");
            }
            Lookup::Miss => panic!("a standing entry was missed"),
            Lookup::Busy => {}
        }
        owner.join().expect("the owner");
        assert_eq!(hit(&table, &key(1)).map(|(_, e)| e), Some(entry(&key(1), 2)));
    });
}

/// One slot only: removed and taken by another key under a reader's eyes.
#[test]
fn a_reused_slot_never_gives_the_other_keys_entry() {
    explore(3, || {
        let table = Arc::new(FlowTable::new(1, 1, 1));
        let slot = table.insert(&key(1), &entry(&key(1), 1), 0).expect("room");
        let other = table.clone();
        let owner = thread::spawn(move || {
            assert!(other.remove(slot));
            other.insert(&key(2), &entry(&key(2), 2), 0).expect("the freed slot");
        });
        match table.lookup(&key(1)) {
            Lookup::Hit(at, found) => assert_eq!((at, found), (slot, entry(&key(1), 1))),
            Lookup::Miss | Lookup::Busy => {}
        }
        owner.join().expect("the owner");
        assert_eq!(ids(&table), [2]);
        assert!(hit(&table, &key(1)).is_none());
    });
}

/// A worker holds a reference while the slot is removed and reused in the same tick.
#[test]
fn a_late_touch_never_marks_the_next_entry() {
    explore(3, || {
        let table = Arc::new(FlowTable::new(1, 1, 1));
        let slot = table.insert(&key(1), &entry(&key(1), 1), 7).expect("room");
        let other = table.clone();
        let late = thread::spawn(move || other.touch(slot, 8, 4711, Sticky::FIN));
        assert!(table.remove(slot));
        let next = table.insert(&key(2), &entry(&key(2), 2), 7).expect("the freed slot");
        let _ = late.join().expect("the late worker");
        let live = table.view(next, 7).expect("there").live;
        assert_eq!((live.tick, live.first_seq, live.sticky), (7, None, Sticky::NONE));
        assert_ne!(live.last_seq, 4711);
    });
}

/// Marks set during an update are kept, and no touch of a standing entry fails.
#[test]
fn marks_survive_an_update() {
    explore(3, || {
        let table = Arc::new(FlowTable::new(1, 1, 1));
        let slot = table.insert(&key(1), &entry(&key(1), 1), 7).expect("room");
        let other = table.clone();
        let owner = thread::spawn(move || assert!(other.update(slot, &entry(&key(1), 2))));
        assert!(table.touch(slot, 8, 100, Sticky::FIN));
        owner.join().expect("the owner");
        let view = table.view(slot, 8).expect("there");
        assert_eq!(view.entry, entry(&key(1), 2));
        assert!(view.live.sticky.has(Sticky::FIN));
        assert_eq!((view.live.tick, view.live.first_seq, view.live.last_seq), (8, Some(100), 100));
    });
}

/// Two workers note the two last segments; the higher sequence number and both marks stay.
#[test]
fn two_touches_keep_the_higher_sequence_number_and_both_marks() {
    explore(2, || {
        let table = Arc::new(FlowTable::new(1, 1, 1));
        let slot = table.insert(&key(1), &entry(&key(1), 1), 7).expect("room");
        assert!(table.touch(slot, 7, 10, Sticky::NONE));
        let other = table.clone();
        let worker = thread::spawn(move || assert!(other.touch(slot, 8, 30, Sticky::FIN)));
        assert!(table.touch(slot, 8, 20, Sticky::NONE));
        assert!(table.touch(slot, 8, 25, Sticky::RST));
        worker.join().expect("the other worker");
        let live = table.view(slot, 8).expect("there").live;
        assert_eq!((live.tick, live.first_seq, live.last_seq, live.rst_seq), (8, Some(10), 30, Some(25)));
        assert!(live.sticky.has(Sticky::FIN.with(Sticky::RST)));
    });
}
