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
                (0, LinkType::Loopback),
                (108, LinkType::Loopback),
                (113, LinkType::LinuxCooked),
                (276, LinkType::LinuxCooked2),
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

/// A block of a little-endian pcapng file.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let len = (body.len() as u32 + 12).to_le_bytes();
    [&kind.to_le_bytes()[..], &len, body, &len].concat()
}

/// An interface of this link type and resolution, and a packet of interface `n` at `ticks`.
fn described(link: u16, resolution: u8) -> Vec<u8> {
    let head = [&link.to_le_bytes()[..], &[0; 6]].concat();
    block(1, &[&head[..], &[9, 0, 1, 0, resolution, 0, 0, 0], &[0; 4]].concat())
}

fn packet(n: u32, ticks: u64, original: u32, data: &[u8; 4]) -> Vec<u8> {
    let words = [n, (ticks >> 32) as u32, ticks as u32, 4, original];
    block(6, &[&words.map(u32::to_le_bytes).concat()[..], data].concat())
}

fn section() -> Vec<u8> {
    block(0x0a0d_0d0a, &[&[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0][..], &[0xff; 8]].concat())
}

#[test]
fn interfaces_of_a_section_differ_in_link_type_and_clock() {
    let file = [
        section(),
        described(1, 6),
        described(113, 9),
        described(276, 3),
        described(108, 0x80 | 1),
        packet(3, 5, 4, &[1; 4]),
        packet(0, 7, 4, &[2; 4]),
        packet(2, 9, 4, &[3; 4]),
        packet(1, 11, 9, &[4; 4]),
        // A section begins anew: interface 0 is another one.
        section(),
        described(101, 9),
        packet(0, u64::MAX, 4, &[5; 4]),
    ]
    .concat();
    let got = read(&file).unwrap();
    let seen: Vec<_> = got.iter().map(|r| (r.link, r.at_nanos, r.data[0], r.is_cut())).collect();
    assert_eq!(
        seen,
        [
            (LinkType::Loopback, 2_500_000_000, 1, false),
            (LinkType::Ethernet, 7_000, 2, false),
            (LinkType::LinuxCooked2, 9_000_000, 3, false),
            (LinkType::LinuxCooked, 11, 4, true),
            (LinkType::RawIp, u64::MAX, 5, false),
        ]
    );
    let unknown =
        [section(), described(1, 6), described(189, 6), packet(0, 0, 4, &[0; 4]), packet(1, 0, 4, &[0; 4])];
    let mut reader = Reader::new("x", Box::new(Cursor::new(unknown.concat()))).unwrap();
    assert!(reader.next().unwrap().is_ok());
    let error = reader.next().unwrap().unwrap_err().to_string();
    assert!(error.contains("link type 189 is not supported"), "{error}");
    assert!(reader.next().is_none(), "nothing behind an error");
}

#[test]
fn cut_packets_are_kept_and_marked() {
    let got = read(&pcap(0xa1b2_c3d4, 1, 3, 9, b"abc", true)).unwrap();
    assert_eq!((got[0].data.as_slice(), got[0].original_len, got[0].is_cut()), (&b"abc"[..], 9, true));
    // Less on the wire than was captured: padding, or a lie; nothing is missing.
    let got = read(&pcap(0xa1b2_c3d4, 1, 3, 2, b"abc", false)).unwrap();
    assert_eq!((got[0].data.len(), got[0].is_cut()), (3, false));
}

/// A reader that ends nowhere: what is allocated must be bounded by us.
#[test]
fn lying_lengths_take_no_memory() {
    for len in [256 * 1024 + 1, 1 << 30, u32::MAX] {
        let error = read(&pcap(0xa1b2_c3d4, 1, len, 60, b"", false)).unwrap_err();
        assert!(error.contains("a record of more than 256 KiB"), "{error}");
    }
    // A whole record is promised and not there.
    let error = read(&pcap(0xa1b2_c3d4, 1, 256 * 1024, 60, b"abc", false)).unwrap_err();
    assert!(error.contains("ends in the middle of a record"), "{error}");
    for kind in [1, 2, 3, 6] {
        let head = [&section()[..], &u32::to_le_bytes(kind), &(u32::MAX - 3).to_le_bytes()].concat();
        let error = read(&head).unwrap_err();
        assert!(error.contains("a record of more than 256 KiB"), "{error}");
    }
    // A block that is not for us is skipped, however long, in pieces.
    let head = [&section()[..], &99u32.to_le_bytes(), &(u32::MAX - 3).to_le_bytes(), &[0; 100]].concat();
    assert!(read(&head).unwrap_err().contains("ends in the middle of a record"));
    let short =
        [section(), described(1, 6), block(6, &[&[0; 12][..], &400u32.to_le_bytes(), &[0; 8]].concat())];
    assert!(read(&short.concat()).unwrap_err().contains("a packet longer than its block"));
}

#[test]
fn errors_name_file_place_and_remedy() {
    let whole = pcap(0xa1b2_c3d4, 1, 3, 3, b"abc", false);
    let cases: [(&[u8], &str); 6] = [
        (b"", "x.pcap: at byte 0: the file ends in the middle of a record; "),
        (b"\x1f\x8b\x08\x00", "x.pcap: at byte 0: neither pcap nor pcapng; unpack it"),
        (&whole[..42], "x.pcap: at byte 24: the file ends in the middle of a record; "),
        (
            &pcap(0xa1b2_c3d4, 127, 3, 3, b"abc", false),
            "x.pcap: at byte 0: link type 127 is not supported; capture on an Ethernet interface; known are",
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

    let file = std::fs::File::create(&output).unwrap();
    let mut port = PcapPort::open(&input, [2; 6]).unwrap();
    port.send_to(Writer::to_file(file, Format::of(&output), &["eth0"]).unwrap());
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
    assert_eq!(port.flaws(), Flaws { cut: 0, headless: 0 });
    let sent: Vec<_> = Reader::open(&output).unwrap().map(Result::unwrap).collect();
    assert_eq!(
        sent.iter().map(|r| (r.at_nanos, r.data.len())).collect::<Vec<_>>(),
        [(3_000_000_005, 34), (9_000_000_000, 60)]
    );
}

#[test]
fn other_link_types_play_as_ethernet_and_flaws_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("in.pcap");
    let head = [0, 4, 0, 1, 0, 6, 2, 0, 0, 0, 0, 7, 0, 0, 8, 0];
    let mut bytes = pcap(0xa1b2_3c4d, 113, 36, 90, &[&head[..], &[0x45; 20]].concat(), false);
    for len in [3u32, 16] {
        bytes.extend([4, 0, len, len].iter().flat_map(|w| w.to_le_bytes()));
        bytes.extend(&head[..len as usize]);
    }
    std::fs::write(&input, bytes).unwrap();
    let mut port = PcapPort::open(&input, [2; 6]).unwrap();
    port.set_now(u64::MAX);
    let mut burst = Burst::new();
    port.rx(&mut burst).unwrap();
    let frames: Vec<_> = burst.drain().collect();
    assert_eq!(frames[0].bytes()[6..14], [2, 0, 0, 0, 0, 7, 8, 0]);
    assert_eq!((frames.len(), frames[0].len(), frames[1].len()), (2, 34, 14));
    assert_eq!(port.flaws(), Flaws { cut: 1, headless: 1 });
}

fn seed_file(which: u8) -> Vec<u8> {
    let records: [(u64, u32, &[u8]); 2] = [(5, 0, &[1; 61]), (6, 1, &[2; 99])];
    match which % 7 {
        3 => pcap(0xa1b2_3c4d, 113, 40, 90, &[1; 40], false),
        4 => pcap(0xa1b2_c3d4, 276, 40, 40, &[1; 40], true),
        5 => pcap(0xa1b2_c3d4, 0, 40, 40, &[2, 0, 0, 0].repeat(10), false),
        6 => [section(), described(1, 6), described(113, 0xff), packet(1, u64::MAX, 9, &[7; 4])].concat(),
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
            for record in &records {
                let _ = record.link.packet(&record.data);
            }
            prop_assert!(records.iter().map(|r| r.data.len()).sum::<usize>() <= bytes.len());
        }
    }
}
