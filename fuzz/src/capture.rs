//! A capture file, read and explained.

use tidegate::explain::{Explainer, Frame, Settings, Style, human};
use tidegate::io::pcap::Reader;

/// More records say nothing new.
const RECORDS: u64 = 2000;

pub fn body(data: &[u8]) {
    let input = std::io::Cursor::new(data.to_vec());
    let Ok(mut reader) = Reader::new("fuzz", Box::new(input)) else { return };
    let mut explainer =
        Explainer::new(Settings { names: vec!["fuzz".into()], ports: vec![2121], show_secrets: false });
    let mut number = 0;
    while let Some(Ok(record)) = reader.next() {
        number += 1;
        if number > RECORDS {
            break;
        }
        let Some(packet) = record.link.packet(&record.data) else { continue };
        explainer.frame(&Frame {
            file: 0,
            number,
            interface: record.interface,
            at_nanos: record.at_nanos,
            ethertype: packet.ethertype,
            packet: packet.payload,
            missing: (record.original_len as usize).saturating_sub(record.data.len()),
        });
    }
    let report = explainer.finish();
    assert!(!human(&report, Style { colour: true, columns: Some(100) }).is_empty());
}
