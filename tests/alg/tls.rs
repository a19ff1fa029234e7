//! Encrypted connections as OpenSSL makes them, clear again behind CCC, with every way of closing.

use tidegate::ftp::tls::{Records, Seen};

/// One connection: what each end sent, and where its clear text begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) bytes: Vec<u8>,
    pub(crate) clear: Option<usize>,
}

/// The recorded ones, each with its name, client and server.
pub(crate) fn recorded() -> Vec<(String, [Stream; 2])> {
    let mut all: Vec<(String, [Stream; 2])> = Vec::new();
    for line in include_str!("../data/tls/streams.txt").lines() {
        let (mark, text) = line.split_once(' ').unwrap();
        let Some(side) = ["=", ">", "<"].iter().position(|m| mark.starts_with(m)).unwrap().checked_sub(1)
        else {
            all.push((text.to_owned(), Default::default()));
            continue;
        };
        let stream = &mut all.last_mut().unwrap().1[side];
        if mark.len() == 2 {
            stream.clear.get_or_insert(stream.bytes.len());
        }
        stream.bytes.extend(bytes(text));
    }
    all
}

/// What one of them said, in order: to the server or not, and the bytes; `merged`: what an end says in a row at once.
pub(crate) fn flights(name: &str, merged: bool) -> Vec<(bool, Vec<u8>)> {
    let mut all: Vec<(bool, Vec<u8>)> = Vec::new();
    let text = include_str!("../data/tls/streams.txt");
    let begin = text.lines().skip_while(|l| l.strip_prefix("= ") != Some(name)).skip(1);
    for line in begin.take_while(|l| !l.starts_with('=')) {
        let (mark, text) = line.split_once(' ').unwrap();
        let to_server = mark.starts_with('>');
        match all.last_mut().filter(|last| merged && last.0 == to_server) {
            Some(last) => last.1.extend(bytes(text)),
            None => all.push((to_server, bytes(text))),
        }
    }
    all
}

fn bytes(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn clear_text_is_found_however_tls_was_closed_and_the_stream_is_cut() {
    let all = recorded();
    assert_eq!(all.len(), 12);
    for (name, streams) in &all {
        for (side, stream) in streams.iter().enumerate() {
            for piece in (1..40).chain([536, 1460, stream.bytes.len()]) {
                let mut records = Records::default();
                let mut at = 0;
                let found = stream.bytes.chunks(piece).find_map(|part| {
                    let Seen::Clear(n) = records.next(part) else {
                        at += part.len();
                        return None;
                    };
                    Some(at + n)
                });
                assert_eq!(found, stream.clear, "{name}, side {side}, pieces of {piece}");
                assert!(found.is_some() && !records.is_lost());
                let closes = name.split(", ").nth(1).unwrap().contains(["client", "server"][side]);
                // From 1.3 on an alert looks like anything else.
                assert_eq!(records.is_closing(), closes && !name.starts_with("TLSv1_3"), "{name} {side}");
            }
        }
    }
}
