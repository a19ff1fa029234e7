//! Cost of reading control lines and of the address parsers.
#![allow(missing_docs, reason = "criterion's macro makes a public function")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tidegate::ftp::Mode;
use tidegate::ftp::command::Command;
use tidegate::ftp::hostport;
use tidegate::ftp::reader::{Input, Reader};

fn lines(c: &mut Criterion) {
    let mut group = c.benchmark_group("ftp_line");
    let session =
        b"USER anonymous\r\nPASS guest@example.org\r\nTYPE I\r\nCWD /pub/some/directory\r\nEPSV\r\n\
                    RETR a-file-with-a-longer-name-1.0.tar.gz\r\n"
            .repeat(10);
    group.throughput(Throughput::Elements(60));
    for (name, chunk) in [("whole segments", session.len()), ("cut every 7 bytes", 7)] {
        group.bench_function(name, |b| {
            let mut reader = Reader::new(4096);
            b.iter(|| {
                let mut count = 0;
                for mut segment in session.chunks(chunk) {
                    while let Some(input) = reader.next(&mut segment) {
                        if let Input::Line(line) = input {
                            count += usize::from(
                                black_box(Command::parse(&line, Mode::Lenient)).is_ok_and(|c| c.is_some()),
                            );
                        }
                    }
                }
                assert_eq!(count, 60);
            });
        });
    }
    group.finish();
}

fn host_port(c: &mut Criterion) {
    let mut group = c.benchmark_group("ftp_hostport");
    group.bench_function("PORT", |b| b.iter(|| hostport::parse_port(black_box(b"198,51,100,7,200,10"))));
    group.bench_function("EPRT", |b| {
        b.iter(|| hostport::parse_eprt(black_box(b"|2|2001:db8::1|51210|"), Mode::Lenient))
    });
    for (name, code, text) in [
        ("227", 227, &b"Entering Passive Mode (198,51,100,7,200,10)."[..]),
        ("229", 229, b"Entering Extended Passive Mode (|||51210|)"),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| hostport::parse_passive(code, [black_box(text)].into_iter(), Mode::Lenient))
        });
    }
    group.finish();
}

criterion_group!(benches, lines, host_port);
criterion_main!(benches);
