use super::*;
use crate::buf::{Burst, Frame, MAX_FRAME};
use crate::io::Port;
use proptest::prelude::*;
use std::io::{Cursor, Write};
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn written(format: Format, records: &[(u64, u32, &[u8])]) -> Vec<u8> {
    let out = Shared::default();
    let mut writer = Writer::new(Box::new(out.clone()), format, &["inside", "out"]).unwrap();
    for (at, interface, frame) in records {
        writer.write(*at, *interface, frame).unwrap();
    }
    writer.flush().unwrap();
    out.0.lock().unwrap().to_vec()
}

fn read(bytes: &[u8]) -> Result<Vec<Record>, String> {
    let reader = Reader::new("x.pcap", Box::new(Cursor::new(bytes.to_vec()))).map_err(|e| e.to_string())?;
    reader.collect::<Result<_, _>>().map_err(|e| e.to_string())
}

/// A classic pcap file with one record, each word put down by `word` and `half`.
fn pcap(magic: u32, link: u32, len: u32, original: u32, data: &[u8], big: bool) -> Vec<u8> {
    let word = |w: u32| if big { w.to_be_bytes() } else { w.to_le_bytes() };
    let mut bytes = word(magic).to_vec();
    bytes.extend(if big { [0, 2, 0, 4] } else { [2, 0, 4, 0] });
    for w in [0, 0, 65_535, link, 3, 5, len, original] {
        bytes.extend(word(w));
    }
    bytes.extend(data);
    bytes
}

#[test]
fn both_formats_come_back_as_written() {
    let at = 1_700_000_000_123_456_789;
    let frames: [(u64, u32, &[u8]); 3] =
        [(at, 0, b"an odd one, it is."), (at + 1, 1, b""), (at + 2, 1, &[7; 1600])];
    for format in [Format::Pcap, Format::PcapNg] {
        let got = read(&written(format, &frames)).unwrap();
        assert_eq!(got.len(), 3);
        for (record, (at, interface, data)) in got.iter().zip(frames) {
            let interface = if format == Format::PcapNg { interface } else { 0 };
            let want = Record {
                at_nanos: at,
                original_len: data.len() as u32,
                link: LinkType::Ethernet,
                data: data.into(),
                interface,
            };
            assert_eq!(*record, want);
        }
    }
}

#[test]
fn byte_orders_resolutions_and_link_types_of_pcap() {
    for big in [false, true] {
        for (magic, nanos) in [(0xa1b2_c3d4, 3_000_005_000), (0xa1b2_3c4d, 3_000_000_005)] {
            for (number, link) in [
                (1, LinkType::Ethernet),
                (101, LinkType::RawIp),
                (228, LinkType::RawIp),
                (229, LinkType::RawIp),
                (0x1400_0001, LinkType::Ethernet),
            ] {
                let got = read(&pcap(magic, number, 3, 3, b"abc", big)).unwrap();
                assert_eq!(
                    (got[0].at_nanos, got[0].link, got[0].data.as_slice()),
                    (nanos, link, &b"abc"[..])
                );
            }
        }
    }
}

#[test]
fn big_endian_pcapng_with_its_own_clock() {
    let mut bytes = Vec::new();
    let block = |bytes: &mut Vec<u8>, kind: u32, body: &[u8]| {
        bytes.extend(kind.to_be_bytes());
        bytes.extend((body.len() as u32 + 12).to_be_bytes());
        bytes.extend(body);
        bytes.extend((body.len() as u32 + 12).to_be_bytes());
    };
    let section = [&[0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0][..], &[0xff; 8]].concat();
    block(&mut bytes, 0x0a0d_0d0a, &section);
    // Raw IP, resolution 2^-10 s, 100 seconds later.
    let interface = [
        &[0, 101, 0, 0, 0, 0, 0, 0][..],
        &[0, 9, 0, 1, 0x8a, 0, 0, 0],
        &[0, 14, 0, 8, 0, 0, 0, 0, 0, 0, 0, 100],
        &[0, 0, 0, 0],
    ]
    .concat();
    block(&mut bytes, 1, &interface);
    block(&mut bytes, 0xbad, &[0; 40_000]);
    block(
        &mut bytes,
        6,
        &[&[0; 8][..], &1536u32.to_be_bytes(), &[0, 0, 0, 2, 0, 0, 0, 2, 0x45, 9, 0, 0]].concat(),
    );
    block(&mut bytes, 3, &[0, 0, 0, 3, 0x60, 1, 2, 0]);
    let got = read(&bytes).unwrap();
    assert_eq!((got[0].at_nanos, got[0].data.as_slice()), (101_500_000_000, &[0x45, 9][..]));
    assert_eq!((got[1].at_nanos, got[1].data.as_slice()), (101_500_000_000, &[0x60, 1, 2][..]));
    assert!(got.iter().all(|r| r.link == LinkType::RawIp));
}

#[test]
fn errors_name_file_place_and_remedy() {
    let whole = pcap(0xa1b2_c3d4, 1, 3, 3, b"abc", false);
    let cases: [(&[u8], &str); 7] = [
        (b"", "x.pcap: at byte 0: the file ends in the middle of a record; "),
        (b"\x1f\x8b\x08\x00", "x.pcap: at byte 0: neither pcap nor pcapng; unpack it"),
        (&whole[..42], "x.pcap: at byte 24: the file ends in the middle of a record; "),
        (&pcap(0xa1b2_c3d4, 113, 3, 3, b"abc", false), "x.pcap: at byte 0: link type 113 is not supported; "),
        (
            &pcap(0xa1b2_c3d4, 1, 3, 9, b"abc", true),
            "x.pcap: at byte 24: a packet of 9 bytes was cut to 3; capture",
        ),
        (
            &pcap(0xa1b2_c3d4, 1, u32::MAX, u32::MAX, b"abc", true),
            "x.pcap: at byte 24: a record of more than 256 KiB; the file is damaged",
        ),
        (
            &[&written(Format::PcapNg, &[])[..28], b"\x06\0\0\0\x0e\0\0\0"].concat(),
            "x.pcap: at byte 28: a block of an impossible length; ",
        ),
    ];
    for (bytes, want) in cases {
        let got = read(bytes).unwrap_err();
        assert!(got.starts_with(want), "{got}");
    }
    let missing = Reader::open(std::path::Path::new("/nowhere/x.pcap")).unwrap_err().to_string();
    assert!(missing.starts_with("/nowhere/x.pcap: cannot be opened: "), "{missing}");
}

#[test]
fn a_capture_plays_by_its_clock_and_raw_ip_gets_a_header() {
    let dir = tempfile::tempdir().unwrap();
    let (input, output) = (dir.path().join("in.pcap"), dir.path().join("out.pcapng"));
    let mut bytes = pcap(0xa1b2_3c4d, 101, 20, 20, &[0x45; 20], false);
    bytes.extend([4, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0, 40, 0, 0, 0]);
    bytes.extend([0x60; 40]);
    let long = MAX_FRAME as u32 + 1;
    bytes.extend([5u32, 0, long, long].iter().flat_map(|w| w.to_le_bytes()));
    bytes.extend(vec![0x45; long as usize]);
    std::fs::write(&input, bytes).unwrap();

    let writer = Writer::create(&output, &["eth0"]).unwrap();
    let mut port = PcapPort::open(&input, Some(writer), [2; 6]).unwrap();
    let mut burst = Burst::new();
    port.rx(&mut burst).unwrap();
    assert!(burst.is_empty(), "nothing before its time");
    assert_eq!(port.next_at(), Some(3_000_000_005));
    port.set_now(3_000_000_005);
    port.rx(&mut burst).unwrap();
    let first = burst.drain().next().unwrap();
    assert_eq!((&first.bytes()[12..15], first.len()), (&[0x08, 0, 0x45][..], 34));
    port.tx(first);
    port.set_now(9_000_000_000);
    port.rx(&mut burst).unwrap();
    assert_eq!((burst.len(), port.stats().rx_oversize, port.next_at()), (1, 1, None));
    assert_eq!(burst.drain().next().unwrap().bytes()[12..15], [0x86, 0xdd, 0x60]);
    port.tx(Frame::from_bytes(&[1; 60]).unwrap());
    port.flush().unwrap();
    let sent: Vec<_> = Reader::open(&output).unwrap().map(Result::unwrap).collect();
    assert_eq!(
        sent.iter().map(|r| (r.at_nanos, r.data.len())).collect::<Vec<_>>(),
        [(3_000_000_005, 34), (9_000_000_000, 60)]
    );
}

fn seed_file(which: u8) -> Vec<u8> {
    let records: [(u64, u32, &[u8]); 2] = [(5, 0, &[1; 61]), (6, 1, &[2; 99])];
    match which % 3 {
        0 => written(Format::Pcap, &records),
        1 => written(Format::PcapNg, &records),
        _ => pcap(0xa1b2_c3d4, 101, 40, 40, &[0x60; 40], true),
    }
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400), which in any::<u8>()) {
        let _ = read(&bytes);
        let _ = read(&[&seed_file(which)[..28], &bytes].concat());
    }

    #[test]
    fn damaged_files_never_panic(
        which in any::<u8>(),
        hits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = seed_file(which);
        for (at, value) in hits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        // Whatever comes out was in the file.
        if let Ok(records) = read(&bytes) {
            prop_assert!(records.iter().map(|r| r.data.len()).sum::<usize>() <= bytes.len());
        }
    }
}
