//! Capture files against tshark's opinion of them.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::process::Command;
use tidegate::io::pcap::{Format, LinkType, Reader, Writer};

fn run(command: &mut Command) -> String {
    let out = command.output().expect("the program is installed (apt-get install tshark)");
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn tshark_reads_what_we_write_and_we_read_what_editcap_writes() {
    let dir = tempfile::tempdir().unwrap();
    let frames: [&[u8]; 2] = [&[0x11; 61], &[0x22; 1514]];
    for name in ["a.pcap", "a.pcapng"] {
        let path = dir.path().join(name);
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = Writer::to_file(file, Format::of(&path), &["inside"]).unwrap();
        for (i, frame) in frames.iter().enumerate() {
            writer.write(1_700_000_000_000_000_001 + i as u64, 0, frame).unwrap();
        }
        drop(writer);
        let fields = ["-T", "fields", "-e", "frame.time_epoch", "-e", "frame.len", "-e", "frame.encap_type"];
        let seen = run(Command::new("tshark").arg("-r").arg(&path).args(fields));
        assert_eq!(seen, "1700000000.000000001\t61\t1\n1700000000.000000002\t1514\t1\n", "{name}");

        for (format, nanos) in [("pcap", 0), ("nsecpcap", 1), ("pcapng", 1)] {
            let other = dir.path().join("b");
            run(Command::new("editcap").args(["-F", format]).arg(&path).arg(&other));
            let got: Vec<_> = Reader::open(&other).unwrap().map(Result::unwrap).collect();
            assert_eq!(got.iter().map(|r| r.data.as_slice()).collect::<Vec<_>>(), frames, "{format}");
            assert_eq!(
                (got[0].at_nanos, got[0].link),
                (1_700_000_000_000_000_000 + nanos, LinkType::Ethernet)
            );
        }
    }
}
