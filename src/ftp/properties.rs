//! What holds for any bytes in any segmentation.

use super::Mode;
use super::command::{Command, Verb, foreign_first_line};
use super::line::DEFAULT_LIMIT;
use super::pending::{MAX, Pending};
use super::reader::{Input, Reader};
use super::reply::{Held, MAX_HELD, Part, ReplyReader};
use super::{feat, hostport, telnet};
use proptest::prelude::*;
use std::net::{SocketAddr, SocketAddrV4};

/// Bytes as a hostile or clumsy peer would choose them: mostly what the grammar gives a meaning to.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        4 => prop::sample::select(vec![
            "\r\n", "\n", "\r", "\0", "\r\0", " ", "\t", ",", "(", ")", "|", "-", ".", ":", "%",
            "PORT ", "EPRT ", "EPSV", "LPRT ", "PASS ", "RETR ", "227 ", "227-", "228 (", "229 ", "211-", "211 ", "226",
            "10,0,0,5,19,137", "|1|10.0.0.5|5001|", "|2|::1|5001|", "4,4,10,0,0,5,2,19,137", "(|||51210|)",
        ]).prop_map(|s| s.as_bytes().to_vec()),
        2 => prop::sample::select(vec![&b"\xff"[..], b"\xff\xff", b"\xff\xfa", b"\xff\xf0", b"\xff\xfb", b"\xff\xf4", b"\xff\xf2"])
            .prop_map(<[u8]>::to_vec),
        2 => prop::collection::vec(any::<u8>(), 0..12),
        1 => (any::<u8>(), 1usize..90).prop_map(|(b, n)| vec![b; n]),
        1 => "[0-9]{1,6}".prop_map(String::into_bytes),
    ];
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

/// Everything the reader says, in words that do not depend on how data was cut.
fn read(bytes: &[u8], cuts: &[usize], limit: usize, telnet: bool) -> (Vec<String>, Vec<u8>) {
    let mut reader = if telnet { Reader::new(limit) } else { Reader::without_telnet(limit) };
    let mut all = Vec::new();
    let mut rest = bytes;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let cut = cuts.next().map_or(rest.len(), |&c| c.clamp(1, rest.len()));
        let (mut segment, after) = rest.split_at(cut);
        while let Some(input) = reader.next(&mut segment) {
            all.push(format!("{input:?}"));
            if let Input::Line(line) = input {
                assert!(line.bytes.len() <= limit);
                assert!(!line.bytes.contains(&b'\n'));
            }
            assert!(reader.capacity() <= limit + 1);
        }
        assert!(segment.is_empty());
        assert!(reader.capacity() <= limit + 1);
        if !reader.is_mid_line() {
            assert_eq!(reader.capacity(), 0);
        }
        rest = after;
    }
    (all, reader.partial().to_vec())
}

proptest! {
    #[test]
    fn segmentation_changes_nothing(
        bytes in stream(),
        cuts in prop::collection::vec(1usize..20, 1..10),
        limit in prop_oneof![Just(1), Just(5), Just(70), Just(DEFAULT_LIMIT)],
        telnet: bool,
    ) {
        let whole = read(&bytes, &[], limit, telnet);
        prop_assert_eq!(&read(&bytes, &cuts, limit, telnet), &whole);
        prop_assert_eq!(&read(&bytes, &[1], limit, telnet), &whole);
    }

    #[test]
    fn a_command_written_is_the_command_read(bytes in stream()) {
        let mut reader = Reader::without_telnet(DEFAULT_LIMIT);
        let mut input = &bytes[..];
        while let Some(item) = reader.next(&mut input) {
            let Input::Line(line) = item else { continue };
            let _ = foreign_first_line(line.bytes);
            let _ = Command::parse(&line, Mode::Strict);
            let Ok(Some(command)) = Command::parse(&line, Mode::Lenient) else { continue };
            let mut out = Vec::new();
            command.write(&mut out);
            let mut again = Reader::without_telnet(DEFAULT_LIMIT);
            let mut wire = &out[..];
            let Some(Input::Line(line)) = again.next(&mut wire) else { panic!("no line") };
            prop_assert!(wire.is_empty());
            let second = Command::parse(&line, Mode::Lenient).unwrap().unwrap();
            prop_assert_eq!(command.verb, second.verb);
            prop_assert_eq!(command.verb_text, second.verb_text);
            prop_assert_eq!(command.argument, second.argument);
        }
    }

    #[test]
    fn escaping_is_undone_by_decoding(bytes in prop::collection::vec(any::<u8>(), 0..60), cut in 1usize..9) {
        let mut wire = Vec::new();
        telnet::escape_into(&mut wire, &bytes);
        let mut decoder = telnet::Decoder::default();
        let mut out = Vec::new();
        for mut segment in wire.chunks(cut) {
            while let Some(piece) = decoder.next(&mut segment) {
                let telnet::Piece::Data(run) = piece else { panic!("{piece:?}") };
                out.extend_from_slice(run);
            }
        }
        prop_assert_eq!(out, bytes);
    }

    #[test]
    fn arguments_never_panic_and_what_is_accepted_round_trips(bytes in stream()) {
        for mode in [Mode::Lenient, Mode::Strict] {
            if let Ok(at) = hostport::parse_eprt(&bytes, mode) {
                let mut out = Vec::new();
                hostport::write_eprt(&mut out, at);
                prop_assert_eq!(hostport::parse_eprt(&out[5..], Mode::Lenient).is_err(), true, "the line's end is no argument");
                prop_assert_eq!(hostport::parse_eprt(&out[5..out.len() - 2], Mode::Strict), Ok(at));
            }
            for code in [227, 228, 229] {
                if let Ok(a) = hostport::parse_passive(code, [&bytes[..]].into_iter(), mode) {
                    prop_assert!(a.port != 0);
                }
            }
        }
        let _ = hostport::parse_epsv(&bytes);
        for at in [hostport::parse_lprt(&bytes).ok(), hostport::parse_port(&bytes).ok().map(SocketAddr::V4)] {
            prop_assert!(at.is_none_or(|a| a.port() != 0));
        }
    }

    #[test]
    fn every_address_survives_every_form(ip: [u8; 4], port in 1u16.., six: [u8; 16]) {
        let v4 = SocketAddrV4::new(ip.into(), port);
        let mut out = Vec::new();
        hostport::write_port(&mut out, v4);
        prop_assert!(out.len() <= 30);
        prop_assert_eq!(hostport::parse_port(&out[5..out.len() - 2]), Ok(v4));
        out.clear();
        hostport::write_227(&mut out, v4);
        let text = &out[4..out.len() - 2];
        let got = hostport::parse_passive(227, [text].into_iter(), Mode::Strict).unwrap();
        prop_assert_eq!((got.port, got.address), (port, Some((*v4.ip()).into())));
        let v6 = SocketAddr::new(std::net::IpAddr::from(six).to_canonical(), port);
        out.clear();
        hostport::write_eprt(&mut out, v6);
        prop_assert_eq!(hostport::parse_eprt(&out[5..out.len() - 2], Mode::Strict), Ok(v6));
    }

    #[test]
    fn replies_are_bounded_and_features_come_out_clean(bytes in stream(), verb in prop::sample::select(Verb::ALL)) {
        let (mut reader, mut cutter, mut held) = (Reader::new(64), ReplyReader::default(), Held::default());
        let mut input = &bytes[..];
        while let Some(item) = reader.next(&mut input) {
            let Input::Line(line) = item else { continue };
            let line = cutter.push(line.bytes, Some(verb));
            prop_assert!(line.part == Part::Stray || (100..600).contains(&line.code));
            prop_assert_eq!(cutter.is_open(), matches!(line.part, Part::First | Part::Middle));
            held.push(&line);
        }
        prop_assert!(held.capacity() <= 2 * MAX_HELD);
        let mut out = Vec::new();
        feat::rewrite(&mut out, held.lines(), &feat::Policy { hide: feat::FTPS, add: &["EPSV"] });
        // One reply and no more, whatever the server's lines held.
        let mut cutter = ReplyReader::default();
        let mut parts = Vec::new();
        for line in out.split(|&b| b == b'\n') {
            if let Some(line) = line.strip_suffix(b"\r") {
                parts.push(cutter.push(line, Some(Verb::Feat)).part);
            }
        }
        let last = parts.pop();
        prop_assert!(last.is_some_and(Part::ends));
        prop_assert!(!parts.iter().any(|p| p.ends() || *p == Part::Stray));
    }

    #[test]
    fn no_command_is_lost_or_answered_twice(
        moves in prop::collection::vec(
            prop_oneof![
                prop::sample::select(Verb::ALL).prop_map(Ok),
                prop::sample::select(vec![Verb::Retr, Verb::Abor, Verb::Noop, Verb::Stat]).prop_map(Ok),
                (100u16..600).prop_map(Err),
                prop::sample::select(vec![150u16, 200, 213, 225, 226, 227, 426, 500]).prop_map(Err),
            ],
            0..200,
        ),
    ) {
        let mut pending = Pending::default();
        let (mut sent, mut gone) = (0u32, std::collections::BTreeSet::new());
        for step in moves {
            match step {
                Ok(verb) => {
                    if pending.push(verb, sent).is_ok() {
                        sent += 1;
                    } else {
                        prop_assert_eq!(pending.len(), MAX);
                    }
                }
                Err(code) => {
                    let outcome = pending.on_reply(code);
                    if let super::pending::Match::Done(entry) = outcome.what {
                        prop_assert!(gone.insert(entry.tag));
                    }
                    if let Some(entry) = outcome.skipped {
                        prop_assert!(gone.insert(entry.tag));
                    }
                }
            }
            let left: Vec<u32> = pending.iter().map(|e| e.tag).collect();
            prop_assert!(left.is_sorted());
            prop_assert_eq!(left.len() + gone.len(), sent as usize);
        }
    }
}
