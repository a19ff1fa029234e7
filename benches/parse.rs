//! Cost of finding out what a frame is: Ethernet, IPv4 and TCP, plain and inside WCCP's GRE.
#![allow(missing_docs, reason = "criterion's macro makes a public function")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::net::Ipv4Addr;
use tidegate::wire::tcp::{ACK, SYN, Segment, SynOptions};
use tidegate::wire::{build, eth, gre, parse_ip, tcp};

/// A frame with a TCP segment; `syn` has options and no payload.
fn frame(syn: bool, redirected: bool) -> Vec<u8> {
    let t = build::Tcp {
        src: ([10, 0, 0, 10], 40_000).into(),
        dst: ([10, 1, 0, 10], 21).into(),
        seq: 1,
        ack: 2,
        flags: if syn { SYN } else { ACK },
        window: 65_535,
        options: if syn {
            SynOptions { mss: Some(1460), window_scale: Some(7), sack: true, timestamps: false }
        } else {
            SynOptions::default()
        },
        ttl: 64,
        ip_id: 1,
    };
    let mut inner = vec![0; t.len()];
    t.emit(&mut inner);
    if !syn {
        inner.resize(1460, 7);
        build::finish(&mut inner);
    }
    let mut packet = inner;
    if redirected {
        let mut outer = vec![0; gre::OVERHEAD];
        outer.extend_from_slice(&packet);
        let (router, us) = (Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2));
        build::gre_v4(&mut outer, router, us, 1, gre::Redirect([1, 61, 0, 9]));
        packet = outer;
    }
    let mut f = vec![0; eth::HEADER];
    eth::emit(&mut f, [2; 6], [4; 6], &eth::Tags::default(), eth::TYPE_IPV4);
    f.extend_from_slice(&packet);
    f
}

/// As the engine does it.
fn plain(f: &[u8]) -> Option<Segment> {
    let l2 = eth::parse(f)?;
    let packet = f.get(l2.len..)?;
    tcp::parse(packet, &parse_ip(packet, 0).ok()?)
}

fn decapsulated(f: &[u8]) -> Option<Segment> {
    let l2 = eth::parse(f)?;
    let packet = f.get(l2.len..)?;
    let outer = parse_ip(packet, 0).ok()?;
    let (_, head) = gre::parse(outer.payload(packet)).ok()?;
    let inner = packet.get(outer.l4 + head..outer.end)?;
    tcp::parse(inner, &parse_ip(inner, 0).ok()?)
}

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    group.throughput(Throughput::Elements(1));
    for (name, syn, redirected) in [
        ("SYN", true, false),
        ("1460 bytes", false, false),
        ("SYN in GRE", true, true),
        ("1460 bytes in GRE", false, true),
    ] {
        let f = frame(syn, redirected);
        let read: fn(&[u8]) -> Option<Segment> = if redirected { decapsulated } else { plain };
        assert!(read(&f).is_some_and(|s| s.dst.port() == 21), "the frame cannot be read");
        group.bench_function(name, |b| b.iter(|| read(black_box(&f))));
    }
    group.bench_function("SYN with its options", |b| {
        let f = frame(true, false);
        b.iter(|| {
            let s = plain(black_box(&f))?;
            Some(s.syn_options(&f[eth::HEADER..]))
        });
    });
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
