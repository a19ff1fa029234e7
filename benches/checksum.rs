//! Cost of checksums: over whole segments, and brought up to date after an edit.
#![allow(missing_docs, reason = "criterion's macro makes a public function")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tidegate::wire::checksum::{Sum, add, delta16, delta32, patch};

fn whole(c: &mut Criterion) {
    let mut group = c.benchmark_group("checksum");
    for size in [20, 64, 536, 1460, 1461] {
        let bytes: Vec<u8> = (0..size).map(|i| (i * 7) as u8).collect();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(BenchmarkId::from_parameter(size), &bytes, |b, bytes| {
            b.iter(|| Sum::new().bytes(black_box(bytes)).checksum());
        });
    }
    group.finish();
}

fn incremental(c: &mut Criterion) {
    let mut group = c.benchmark_group("checksum_update");
    group.throughput(Throughput::Elements(1));
    group.bench_function("two addresses and two ports", |b| {
        b.iter(|| {
            let d = add(
                delta32(black_box(0x0A00_000A), 0x0A09_0002),
                delta32(black_box(0x0A01_000A), 0x0A01_0063),
            );
            let d = add(d, add(delta16(black_box(40_000), 12_345), delta16(black_box(2020), 30_001)));
            patch(black_box(0x1234), d)
        });
    });
    group.bench_function("a known delta", |b| b.iter(|| patch(black_box(0x1234), black_box(0x0F0F))));
    group.finish();
}

criterion_group!(benches, whole, incremental);
criterion_main!(benches);
