//! The flow table: hits, misses, bursts with and without prefetch, insertion and removal.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use tidegate::flow::{
    Action, Entry, Flags, FlowKey, FlowTable, Leg, Lookup, Rewrite, Sticky, SweepCursor, Verdict,
};

const FLOWS: u32 = 500_000;
const BURST: usize = 64;

fn key(n: u32) -> FlowKey {
    let src = SocketAddr::from((Ipv4Addr::from(0x0A00_0000 + n / 60_000), 1024 + (n % 60_000) as u16));
    FlowKey::tcp(src, ([192, 0, 2, 1], 21).into(), Leg::Redirected, 0).expect("one family")
}

fn entry(key: &FlowKey, n: u32) -> Entry {
    Entry {
        owner: 0,
        next_hop: 0,
        id: n,
        epoch: 0,
        action: Action::Translate,
        flags: Flags::NONE,
        rewrite: Rewrite::identity(key),
    }
}

fn bench(c: &mut Criterion) {
    let table = FlowTable::new(1 << 20, 1, 1);
    for n in 0..FLOWS {
        table.insert(&key(n), &entry(&key(n), n), 0).expect("room");
    }
    // Steps far apart, so that neither caches nor the adjacent-line prefetcher help.
    let order: Vec<FlowKey> = (0..FLOWS).map(|n| key((n as u64 * 7_919_377 % FLOWS as u64) as u32)).collect();
    let strangers: Vec<FlowKey> = (0..FLOWS).map(|n| key(n + FLOWS)).collect();
    let mut group = c.benchmark_group("flow_table");

    group.throughput(Throughput::Elements(BURST as u64));
    let mut at = 0;
    let mut burst = |keys: &'static [FlowKey]| {
        at = (at + BURST) % (keys.len() - BURST);
        &keys[at..at + BURST]
    };
    let (order, strangers): (&'static [FlowKey], &'static [FlowKey]) = (order.leak(), strangers.leak());
    group.bench_function("hit", |b| {
        b.iter(|| {
            for key in burst(order) {
                let Lookup::Hit(slot, entry) = table.lookup(key) else { panic!("a flow was missed") };
                black_box((table.touch(slot, 1, 5, Sticky::NONE), entry));
            }
        });
    });
    group.bench_function("hit_prefetched", |b| {
        b.iter(|| {
            let keys = burst(order);
            let hashes: [u64; BURST] = core::array::from_fn(|i| table.prefetch(&keys[i]));
            for (key, hash) in keys.iter().zip(hashes) {
                let Lookup::Hit(slot, entry) = table.lookup_hashed(key, hash) else {
                    panic!("a flow was missed")
                };
                black_box((table.touch(slot, 1, 5, Sticky::NONE), entry));
            }
        });
    });
    group.bench_function("miss", |b| {
        b.iter(|| {
            for key in burst(strangers) {
                black_box(table.lookup(key));
            }
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("insert_remove", |b| {
        let mut n = 0;
        b.iter(|| {
            n = (n + 1) % strangers.len();
            let slot = table.insert(&strangers[n], &entry(&strangers[n], 1), 0).expect("room");
            assert!(table.remove(slot));
        });
    });
    group.throughput(Throughput::Elements(4096));
    group.bench_function("sweep_4096", |b| {
        let mut cursor = SweepCursor::default();
        b.iter(|| {
            black_box(table.sweep(0, &mut cursor, 4096, 9, |view| {
                black_box(view.live.idle);
                Verdict::Keep
            }))
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
