use super::*;
use crate::flow::entry::ByteMeter;
use crate::flow::key::Leg;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

fn key4(n: u16) -> FlowKey {
    let src = SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), n));
    let dst = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 21));
    FlowKey::tcp(src, dst, Leg::Redirected, 7).expect("one family")
}

fn key6(n: u16) -> FlowKey {
    let src = SocketAddr::from((Ipv6Addr::LOCALHOST, n));
    FlowKey::tcp(src, SocketAddr::from((Ipv6Addr::from(5), 21)), Leg::Direct, 0).expect("one family")
}

fn entry_for(key: &FlowKey, n: u32) -> Entry {
    let to = |v4: IpAddr, v6: IpAddr| if matches!(key, FlowKey::V4(_)) { v4 } else { v6 };
    let src = to(IpAddr::V4(n.into()), IpAddr::V6(u128::from(n).into()));
    let dst = to(IpAddr::V4((!n).into()), IpAddr::V6((!u128::from(n)).into()));
    let rewrite = Rewrite::new(key, (src, n as u16).into(), (dst, !n as u16).into());
    Entry {
        owner: (n % 3) as u16,
        next_hop: n as u16,
        id: n,
        epoch: n as u16,
        action: match n % 4 {
            0 => Action::Translate,
            1 => Action::Session { leg: (n % 16) as u8 },
            2 => Action::TimeWait,
            _ => Action::Reset,
        },
        flags: Flags::from_bits(n as u8),
        rewrite: rewrite.expect("one family"),
    }
}

/// Whether all parts of an entry come from one [`entry_for`].
fn is_whole(key: &FlowKey, entry: &Entry) -> bool {
    *entry == entry_for(key, entry.id)
}

#[test]
fn an_entry_comes_back_as_it_was_put_in_and_goes() {
    let table = FlowTable::new(64, 64, 1);
    for n in 0..20u16 {
        for key in [key4(n), key6(n)] {
            assert_eq!(table.lookup(&key), Lookup::Miss);
            let entry = entry_for(&key, u32::from(n) * 0x0101_0107);
            let slot = table.insert(&key, &entry, 5).expect("room");
            assert_eq!(table.lookup(&key), Lookup::Hit(slot, entry));
            assert_eq!(table.insert(&key, &entry, 5), Err(InsertError::Exists));
            let hash = table.prefetch(&key);
            assert_eq!(table.lookup_hashed(&key, hash), Lookup::Hit(slot, entry));
            let other = entry_for(&key, u32::from(n) + 1);
            assert!(table.update(slot, &other));
            assert_eq!(table.lookup(&key), Lookup::Hit(slot, other));
        }
    }
    assert_eq!(table.len(), 40);
    for n in 0..20u16 {
        let Lookup::Hit(slot, _) = table.lookup(&key4(n)) else { panic!("entry {n} is there") };
        assert!(table.remove(slot));
        assert!(!table.remove(slot));
        assert_eq!(table.lookup(&key4(n)), Lookup::Miss);
    }
    let want = TableStats { inserted: 40, removed: 20, full: 0, exists: 40, busy: 0, stale: 20 };
    assert_eq!(table.stats(), want);
}

#[test]
fn families_do_not_mix() {
    let table = FlowTable::new(4, 4, 1);
    let entry6 = entry_for(&key6(1), 1);
    assert_eq!(table.insert(&key4(1), &entry6, 0), Err(InsertError::Family));
    let slot = table.insert(&key4(1), &entry_for(&key4(1), 1), 0).expect("room");
    assert!(!table.update(slot, &entry6));
    assert!(table.view(slot, 0).is_some());
}

#[test]
fn the_limit_is_three_quarters_and_is_counted() {
    let table = FlowTable::new(16, 1, 1);
    assert_eq!(table.capacity(), 12 + 1);
    for n in 0..12 {
        table.insert(&key4(n), &entry_for(&key4(n), 0), 0).expect("room");
    }
    assert_eq!(table.insert(&key4(12), &entry_for(&key4(12), 0), 0), Err(InsertError::Full));
    assert_eq!((table.stats().full, table.len()), (1, 12));
    let Lookup::Hit(slot, _) = table.lookup(&key4(3)) else { panic!("it is there") };
    assert!(table.remove(slot));
    assert!(table.insert(&key4(12), &entry_for(&key4(12), 0), 0).is_ok());
}

#[test]
fn probing_ends_at_its_limit() {
    let table = FlowTable::with_probes(1024, 1, 1, 1).unwrap();
    let full = (0..200).filter(|n| table.insert(&key4(*n), &entry_for(&key4(*n), 0), 0).is_err()).count();
    assert!((1..60).contains(&full), "{full} of 200 keys share a home");
    assert_eq!(table.stats().full, full as u64);
    assert_eq!(table.len(), 200 - full);
}

#[test]
fn a_stale_reference_touches_nothing() {
    let table = FlowTable::new(1, 1, 1);
    let old = table.insert(&key4(1), &entry_for(&key4(1), 0), 9).expect("room");
    assert!(table.remove(old));
    let new = table.insert(&key4(2), &entry_for(&key4(2), 4), 9).expect("room");
    let before = table.view(new, 9).expect("there").live;
    assert!(!table.touch(old, 10, 77, Sticky::FIN));
    assert!(!table.update(old, &entry_for(&key4(1), 8)));
    assert!(!table.remove(old));
    assert!(table.view(old, 9).is_none());
    let view = table.view(new, 9).expect("there");
    assert_eq!((view.live, view.entry.id, view.key), (before, 4, key4(2)));
    assert_eq!(table.stats().stale, 3);
}

#[test]
fn segments_are_noted_once_a_tick_and_a_fin_always() {
    let table = FlowTable::new(4, 4, 1);
    let slot = table.insert(&key6(1), &entry_for(&key6(1), 0), 100).expect("room");
    let live = |now| table.view(slot, now).expect("there").live;
    assert_eq!(
        live(103),
        Live { idle: 3, first_seq: None, rst_seq: None, sticky: Sticky::NONE, ..live(103) }
    );
    let isn = u32::MAX - 1;
    assert!(table.touch(slot, 101, isn, Sticky::NONE));
    assert!(table.touch(slot, 101, isn.wrapping_add(10), Sticky::NONE));
    assert_eq!((live(101).first_seq, live(101).last_seq), (Some(isn), isn));
    assert!(table.touch(slot, 102, isn.wrapping_add(20), Sticky::NONE));
    assert!(table.touch(slot, 103, isn.wrapping_add(5), Sticky::NONE));
    assert_eq!((live(103).tick, live(103).last_seq), (103, isn.wrapping_add(20)));
    assert!(table.touch(slot, 90, isn, Sticky::NONE));
    assert_eq!((live(90).tick, live(90).idle), (103, 0));
    assert!(table.touch(slot, 103, isn.wrapping_add(31), Sticky::FIN));
    assert_eq!(live(103).last_seq, isn.wrapping_add(31));
    assert!(table.touch(slot, 104, 0x7777, Sticky::RST));
    assert!(table.touch(slot, 104, 0x7778, Sticky::RST));
    let last = live(104);
    assert_eq!((last.last_seq, last.rst_seq, last.tick), (isn.wrapping_add(31), Some(0x7778), 104));
    assert!(last.sticky.has(Sticky::FIN.with(Sticky::RST)));
    assert_eq!(ByteMeter::default().advance(&last), 30);
    assert!(table.update(slot, &entry_for(&key6(1), 5)));
    assert_eq!(live(104), last, "an update keeps what was seen");
}

#[test]
fn a_sweep_shows_each_owner_its_own_within_its_budget() {
    let table = FlowTable::new(32, 8, 1);
    for n in 0..15 {
        table.insert(&key4(n), &entry_for(&key4(n), u32::from(n)), 1).expect("room");
    }
    table.insert(&key6(0), &entry_for(&key6(0), 0), 1).expect("room");
    let (mut cursor, mut seen, mut laps, mut removed) = (SweepCursor::default(), Vec::new(), 0, 0);
    while laps < 2 {
        let swept = table.sweep(0, &mut cursor, 7, 4, |view| {
            assert_eq!((view.entry.owner, view.live.idle), (0, 3));
            assert!(is_whole(&view.key, &view.entry));
            seen.push(view.entry.id);
            if view.entry.id == 6 { Verdict::Remove } else { Verdict::Keep }
        });
        assert!(swept.examined <= 7);
        removed += swept.removed;
        laps += u32::from(swept.lap);
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 0, 0, 0, 3, 3, 6, 9, 9, 12, 12]);
    assert_eq!((removed, table.len()), (1, 15));
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u16, u32),
    Remove(u16),
    Update(u16, u32),
    Lookup(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0u16..40;
    prop_oneof![
        3 => (key.clone(), any::<u32>()).prop_map(|(k, n)| Step::Insert(k, n)),
        2 => key.clone().prop_map(Step::Remove),
        1 => (key.clone(), any::<u32>()).prop_map(|(k, n)| Step::Update(k, n)),
        2 => key.prop_map(Step::Lookup),
    ]
}

proptest! {
    #[test]
    fn behaves_like_a_map(steps in proptest::collection::vec(step(), 1..200), salt: u64) {
        let table = FlowTable::new(32, 32, salt);
        let mut model: BTreeMap<u16, (SlotRef, Entry)> = BTreeMap::new();
        let key = |k: u16| if k.is_multiple_of(2) { key4(k) } else { key6(k) };
        for step in steps {
            match step {
                Step::Insert(k, n) => {
                    let entry = entry_for(&key(k), n);
                    match table.insert(&key(k), &entry, 0) {
                        Ok(slot) => prop_assert!(model.insert(k, (slot, entry)).is_none()),
                        Err(InsertError::Exists) => prop_assert!(model.contains_key(&k)),
                        Err(_) => prop_assert!(false, "40 keys of two families fit"),
                    }
                }
                Step::Remove(k) => {
                    if let Some((slot, _)) = model.remove(&k) {
                        prop_assert!(table.remove(slot));
                    }
                }
                Step::Update(k, n) => {
                    if let Some((slot, entry)) = model.get_mut(&k) {
                        *entry = entry_for(&key(k), n);
                        prop_assert!(table.update(*slot, entry));
                    }
                }
                Step::Lookup(k) => {
                    let want = model.get(&k).map_or(Lookup::Miss, |(slot, entry)| Lookup::Hit(*slot, *entry));
                    prop_assert_eq!(table.lookup(&key(k)), want);
                }
            }
            prop_assert_eq!(table.len(), model.len());
        }
    }
}

/// Real threads on a tiny table: what the models show for a few steps, here for many.
#[test]
fn threads_see_whole_entries_and_never_miss_a_standing_one() {
    let table = FlowTable::new(16, 1, 3);
    let stand = table.insert(&key4(1000), &entry_for(&key4(1000), 1), 0).expect("room");
    let (stop, wins) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|s| {
        let writers: Vec<_> = (0..3u32)
            .map(|w| {
                let (table, wins) = (&table, &wins);
                s.spawn(move || {
                    for round in 0..20_000u32 {
                        let key = key4((round % 3) as u16);
                        if let Ok(slot) = table.insert(&key, &entry_for(&key, round * 3 + w), 0) {
                            wins.fetch_add(1, Ordering::Relaxed);
                            assert!(table.remove(slot), "nobody else removes it");
                        }
                    }
                })
            })
            .collect();
        let (table, stop) = (&table, &stop);
        s.spawn(move || {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                assert!(table.update(stand, &entry_for(&key4(1000), n)));
            }
        });
        s.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                match table.lookup(&key4(1000)) {
                    Lookup::Hit(slot, entry) => assert!(slot == stand && is_whole(&key4(1000), &entry)),
                    Lookup::Miss => panic!("a standing entry was missed"),
                    Lookup::Busy => {}
                }
                for n in 0..3 {
                    if let Lookup::Hit(_, entry) = table.lookup(&key4(n)) {
                        assert!(is_whole(&key4(n), &entry), "{entry:?}");
                    }
                }
            }
        });
        for writer in writers {
            writer.join().expect("a writer");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(wins.load(Ordering::Relaxed) > 0);
    assert_eq!(table.len(), 1);
}
