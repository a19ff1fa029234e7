//! Fragments: they wait for the whole, and go on as they came unless something is to be changed.

use crate::support::*;
use std::net::{IpAddr, SocketAddr};
use tidegate::firewall::{Action, Fate, Refused, Settings, Side};
use tidegate::time::Duration;
use tidegate::wire::build::split_v4;
use tidegate::wire::{Fragment, parse_ip};

const INSIDE: &str = "10.0.0.5:5000";
const OUTSIDE: &str = "198.51.100.7:53";

/// A long datagram of either family, and its pieces of `mtu` bytes.
fn cut(src: SocketAddr, dst: SocketAddr, len: usize, mtu: usize, id: u16) -> (Vec<u8>, Vec<Vec<u8>>) {
    let data: Vec<u8> = (0..len).map(|n| (n * 7 + n / 256) as u8).collect();
    let mut whole = udp(src, dst, &data);
    if let (IpAddr::V6(_), IpAddr::V6(_)) = (src.ip(), dst.ip()) {
        // Hop-by-hop options, then the fragment header.
        let room = (mtu - 56) & !7;
        let parts = whole[40..].chunks(room).enumerate().map(|(n, part)| {
            let more = (n + 1) * room < whole.len() - 40;
            let mut piece = whole[..40].to_vec();
            piece[4..6].copy_from_slice(&((16 + part.len()) as u16).to_be_bytes());
            piece[6] = 0;
            piece.extend([44, 0, 1, 4, 0, 0, 0, 0]);
            let word = (n * room) as u16 | u16::from(more);
            piece.extend([17, 0, (word >> 8) as u8, word as u8, 0, 0, (id >> 8) as u8, id as u8]);
            piece.extend(part);
            piece
        });
        let parts = parts.collect();
        return (whole, parts);
    }
    whole[4..6].copy_from_slice(&id.to_be_bytes());
    whole[6..8].fill(0);
    whole[10..12].fill(0);
    let sum = tidegate::wire::checksum::Sum::new().bytes(&whole[..20]).checksum();
    whole[10..12].copy_from_slice(&sum.to_be_bytes());
    let (mut first, mut parts) = (whole.clone(), vec![]);
    while let Some(rest) = split_v4(&mut first, mtu) {
        parts.push(std::mem::replace(&mut first, rest));
    }
    parts.push(first);
    (whole, parts)
}

/// What comes of pieces, sent in this order: each but the last is taken in silently.
fn send_all(rig: &mut Rig, from: Side, pieces: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let (last, before) = pieces.split_last().unwrap();
    for piece in before {
        let got = rig.send(from, piece);
        assert_eq!((got.fate, got.out.len()), (Fate::Taken, 0));
    }
    let got = rig.send(from, last);
    assert_eq!(got.fate, Fate::Taken);
    assert!(got.out.iter().all(|e| e.to == from.other()));
    got.out.into_iter().map(|e| e.packet).collect()
}

#[test]
fn pieces_in_any_order_go_on_byte_for_byte_once_they_are_decided_about() {
    for (src, dst) in [(INSIDE, OUTSIDE), ("[2001:db8:1::5]:5000", "[2001:db8:2::7]:53")] {
        let mut rig = Rig::new(settings(Action::Drop, vec![outward()]));
        let (_, pieces) = cut(at(src), at(dst), 3000, 1280, 1);
        assert_eq!(pieces.len(), 3);
        assert_eq!(parse_ip(&pieces[0], 0).unwrap().fragment, Fragment::First);
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
            let sent: Vec<_> = order.iter().map(|n| pieces[*n].clone()).collect();
            assert_eq!(send_all(&mut rig, IN, &sent), sent);
        }
        // And said twice.
        let sent = [&pieces[0], &pieces[0], &pieces[2], &pieces[1]].map(Clone::clone);
        assert_eq!(send_all(&mut rig, IN, &sent), [&sent[0], &sent[2], &sent[3]].map(Clone::clone));
        // The answer's, too; and what nobody allowed does not pass in pieces either.
        let (_, back) = cut(at(dst), at(src), 3000, 1280, 2);
        assert_eq!(send_all(&mut rig, OUT, &back), back);
        let mut strange = at(dst);
        strange.set_port(54);
        let (_, pieces) = cut(strange, at(src), 3000, 1280, 3);
        for piece in &pieces[..2] {
            assert_eq!(rig.send(OUT, piece).fate, Fate::Taken);
        }
        rig.send(OUT, &pieces[2]).refused(Refused::Policy);
        assert_eq!((rig.in_use("datagrams in pieces"), rig.count("datagrams_joined")), (0, 7));
    }
}

#[test]
fn a_hop_counts_for_every_piece() {
    let mut rig = Rig::new(Settings { hop: true, ..settings(Action::Drop, vec![outward()]) });
    let (_, pieces) = cut(at(INSIDE), at(OUTSIDE), 3000, 1280, 1);
    let got = send_all(&mut rig, IN, &pieces);
    assert_eq!(got.len(), 3);
    for (a, b) in got.iter().zip(&pieces) {
        assert_eq!((a[8], &a[12..]), (63, &b[12..]));
        assert!(is_valid(a));
    }
}

#[test]
fn what_is_translated_goes_on_whole() {
    let mut rig = Rig::new(Settings { nat: masquerade(), ..settings(Action::Drop, vec![outward()]) });
    let (whole, pieces) = cut(at(INSIDE), at(OUTSIDE), 3000, 1280, 1);
    let got = send_all(&mut rig, IN, &[2, 0, 1].map(|n: usize| pieces[n].clone()));
    assert_eq!(got.len(), 1);
    assert_eq!(ends(&got[0]), (at("203.0.113.1:5000"), at(OUTSIDE)));
    assert_eq!(got[0][28..], whole[28..]);
    assert!(is_valid(&got[0]));
    let (whole, pieces) = cut(at(OUTSIDE), at("203.0.113.1:5000"), 60_000, 1280, 1);
    assert!(pieces.len() > 40);
    let got = send_all(&mut rig, OUT, &pieces);
    assert_eq!((ends(&got[0]).1, &got[0][28..]), (at(INSIDE), &whole[28..]));
    rig.wait(Duration::from_secs(400));
    rig.is_empty();
}

#[test]
fn overlapping_pieces_kill_their_datagram() {
    for (src, dst) in [(INSIDE, OUTSIDE), ("[2001:db8:1::5]:5000", "[2001:db8:2::7]:53")] {
        let mut rig = Rig::new(settings(Action::Allow, vec![]));
        let (_, pieces) = cut(at(src), at(dst), 3000, 1280, 1);
        let (_, others) = cut(at(src), at(dst), 3000, 900, 1);
        assert_eq!(rig.send(IN, &pieces[0]).fate, Fate::Taken);
        rig.send(IN, &others[1]).refused(Refused::Malformed);
        for piece in &pieces[1..] {
            let got = rig.send(IN, piece);
            assert!(got.out.is_empty() && got.fate != Fate::Forward);
        }
        assert_eq!((rig.count("datagrams_joined"), rig.count("datagrams_given_up")), (0, 1));
        rig.wait(Duration::from_secs(6));
        rig.is_empty();
    }
}

#[test]
fn a_first_piece_that_hides_the_header_is_dropped() {
    let mut rig = Rig::new(settings(Action::Allow, vec![]));
    let data = [7; 100];
    let mut whole = seg(at(INSIDE), at(OUTSIDE), SYN, 1, 0, &data);
    whole[6..8].fill(0);
    whole[10..12].fill(0);
    let sum = tidegate::wire::checksum::Sum::new().bytes(&whole[..20]).checksum();
    whole[10..12].copy_from_slice(&sum.to_be_bytes());
    for mtu in [28, 36] {
        let mut first = whole.clone();
        let rest = split_v4(&mut first, mtu).unwrap();
        rig.send(IN, &first).refused(Refused::Malformed);
        // What begins within the header as well (RFC 3128).
        rig.send(IN, &rest).refused(Refused::Malformed);
    }
    let mut first = whole.clone();
    let rest = split_v4(&mut first, 44).unwrap();
    assert_eq!(send_all(&mut rig, IN, &[first.clone(), rest.clone()]), [first, rest]);
}

#[test]
fn what_waits_is_bounded_and_given_up() {
    let mut rig = Rig::new(settings(Action::Allow, vec![]));
    for id in 0..1000 {
        let (_, pieces) = cut(at(INSIDE), at(OUTSIDE), 2000, 1280, id);
        assert_eq!(rig.send(IN, &pieces[0]).fate, Fate::Taken);
        assert!(rig.in_use("datagrams in pieces") <= 64);
    }
    // The other side has room of its own.
    let (_, pieces) = cut(at(OUTSIDE), at(INSIDE), 2000, 1280, 1);
    assert_eq!(send_all(&mut rig, OUT, &pieces), pieces);
    rig.wait(Duration::from_secs(6));
    assert_eq!(rig.in_use("datagrams in pieces"), 0);
    assert_eq!(rig.count("datagrams_given_up"), 1000);
}

#[test]
fn a_flood_of_one_source_takes_no_others_places() {
    let mut rig = Rig::new(settings(Action::Allow, vec![]));
    let flood = |rig: &mut Rig, ids: std::ops::Range<u16>| {
        for id in ids {
            let (_, pieces) = cut(at("10.0.0.66:9"), at(OUTSIDE), 2000, 1280, id);
            assert_eq!(rig.send(IN, &pieces[0]).fate, Fate::Taken);
        }
    };
    flood(&mut rig, 0..200);
    let waiting = |host: u8| {
        let src = SocketAddr::from(([10, 0, 1, host], 5000));
        cut(src, at(OUTSIDE), 2000, 1280, 7).1
    };
    for host in 0..40 {
        assert_eq!(rig.send(IN, &waiting(host)[0]).fate, Fate::Taken);
        flood(&mut rig, 200..300);
    }
    assert_eq!(rig.in_use("datagrams in pieces"), 64);
    for host in 0..40 {
        let got = rig.send(IN, &waiting(host)[1]);
        assert_eq!(got.out.len(), 2, "{host}");
    }
}
