//! Malformed datagrams, each with the one cause that it must be refused for.

use super::*;
use crate::wccp::component::{Bucket, HashTable};
use crate::wccp::element::CacheData;
use std::net::Ipv4Addr;

type Part = (u16, Vec<u8>);

const NONE: [u8; 4] = [0; 4];
const SERVICE: [u8; 24] = [1, 61, 240, 6, 0, 0, 0, 0x11, 0, 21, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn words(list: &[u32]) -> Vec<u8> {
    list.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A message of these components, lengths as they are.
fn raw(kind: u32, parts: &[Part]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, part) in parts {
        body.extend(kind.to_be_bytes());
        body.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
        body.extend(part);
    }
    let mut message = kind.to_be_bytes().to_vec();
    message.extend([2, 0]);
    message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    message.extend(body);
    message
}

/// The components of a good I_SEE_YOU with one cache that has hash data.
fn see() -> Vec<Part> {
    let mut view = words(&[7, 0x0A09_0002, 3, 1, 0x0A09_0001, 1]);
    view.extend(words(&[0x0A09_0002, 0]));
    view.extend([0xFF; 32]);
    view.extend([0, 10, 0, 0]);
    vec![
        (0, NONE.to_vec()),
        (1, SERVICE.to_vec()),
        (2, words(&[0xC000_0201, 5, 0x0A09_0001, 1, 0x0A09_0002])),
        (4, view),
        (8, vec![0, 1, 0, 4, 0, 0, 0, 3]),
        (15, vec![0, 2, 0, 4, 10, 9, 0, 2]),
    ]
}

/// The components of a good HERE_I_AM.
fn here() -> Vec<Part> {
    let identity = [words(&[0x0A09_0002, 0]), vec![0; 36]].concat();
    let view = words(&[1, 1, 0xC000_0201, 5, 1, 0x0A09_0002]);
    vec![(0, NONE.to_vec()), (1, SERVICE.to_vec()), (3, identity), (5, view)]
}

/// The components of a good REDIRECT_ASSIGN for one router and these caches and buckets.
fn assign(caches: u32, buckets: [u8; 256]) -> Vec<Part> {
    let mut info = words(&[0x0A09_0002, 1, 1, 0xC000_0201, 5, 7, caches]);
    info.extend((0..caches).flat_map(|n| (0x0A09_0002 + n).to_be_bytes()));
    info.extend(buckets);
    vec![(0, NONE.to_vec()), (1, SERVICE.to_vec()), (6, info)]
}

fn query() -> Vec<Part> {
    vec![(0, NONE.to_vec()), (1, SERVICE.to_vec()), (7, words(&[0xC000_0201, 5, 1, 2]))]
}

fn good() -> [(u32, Vec<Part>); 4] {
    [(10, here()), (11, see()), (12, assign(2, [1; 256])), (13, query())]
}

fn cause(datagram: &[u8]) -> ParseError {
    parse(datagram, None).unwrap_err()
}

/// A good I_SEE_YOU with another body for one component.
fn see_with(kind: u16, body: Vec<u8>) -> Vec<u8> {
    let mut parts = see();
    match parts.iter_mut().find(|part| part.0 == kind) {
        Some(part) => part.1 = body,
        None => parts.push((kind, body)),
    }
    raw(11, &parts)
}

#[test]
fn the_good_ones_are_good() {
    for (kind, parts) in good() {
        let datagram = raw(kind, &parts);
        let message = parse(&datagram, None).unwrap();
        assert_eq!(message.emit(None).unwrap(), datagram, "{kind}");
    }
}

#[test]
fn n01_shorter_than_a_header() {
    for length in 0..8 {
        assert_eq!(cause(&raw(11, &see())[..length]), ParseError::TooShort);
    }
}

#[test]
fn n02_n03_header_length_is_exact() {
    let datagram = raw(11, &see());
    for length in 8..datagram.len() {
        assert_eq!(cause(&datagram[..length]), ParseError::LengthBeyondEnd, "{length}");
    }
    for junk in 1..9 {
        let longer = [datagram.clone(), vec![0; junk]].concat();
        assert_eq!(cause(&longer), ParseError::TrailingBytes, "{junk}");
    }
}

#[test]
fn n04_other_versions() {
    for version in [0x0201u16, 0x0100, 4, 0] {
        let mut datagram = raw(11, &see());
        datagram[4..6].copy_from_slice(&version.to_be_bytes());
        assert_eq!(cause(&datagram), ParseError::Version);
    }
}

#[test]
fn n05_other_types() {
    for kind in [0, 7, 8, 9, 14, u32::MAX, 0x0A00_0000] {
        assert_eq!(cause(&raw(kind, &see())), ParseError::UnknownMessage);
    }
}

#[test]
fn n06_component_header_cut_off() {
    for left in 1..4 {
        let mut datagram = raw(11, &see());
        datagram.extend(vec![0; left]);
        let length = u16::try_from(datagram.len() - 8).unwrap();
        datagram[6..8].copy_from_slice(&length.to_be_bytes());
        assert_eq!(cause(&datagram), ParseError::ComponentHeader);
    }
}

#[test]
fn n07_component_length_beyond_end() {
    for (kind, parts) in good() {
        let datagram = raw(kind, &parts);
        let last = datagram.len() - parts.last().unwrap().1.len() - 2;
        for length in [u16::MAX, u16::try_from(datagram.len() - last - 2).unwrap() + 4] {
            let mut bad = datagram.clone();
            bad[last..last + 2].copy_from_slice(&length.to_be_bytes());
            assert_eq!(cause(&bad), ParseError::ComponentBeyondEnd);
        }
    }
}

#[test]
fn n08_component_length_is_a_multiple_of_4() {
    for extra in 1..4 {
        assert_eq!(cause(&see_with(99, vec![0; 4 + extra])), ParseError::ComponentAlignment);
        assert_eq!(cause(&see_with(2, vec![0; 20 + extra])), ParseError::ComponentAlignment);
    }
}

#[test]
fn n09_unknown_components_are_skipped_and_counted() {
    let expected = parse(&raw(11, &see()), None).unwrap();
    let mut parts = see();
    for (place, kind) in [(0, 9), (2, 16), (4, 99), (5, 12), (6, 0xFFFF)] {
        parts.insert(place, (kind, vec![0xEE; 8]));
    }
    let datagram = raw(11, &parts);
    assert_eq!(parse(&datagram, None).unwrap(), expected);
    assert_eq!(Envelope::open(&datagram).unwrap().unknown_components(), 5);
    assert_eq!(cause(&see_with(17, vec![0; 8])), ParseError::AddressTable);
}

#[test]
fn n10_duplicates() {
    for (kind, parts) in good() {
        for part in &parts {
            let twice = [parts.clone(), vec![part.clone()]].concat();
            assert_eq!(cause(&raw(kind, &twice)), ParseError::DuplicateComponent, "{kind} {}", part.0);
        }
    }
}

#[test]
fn n11_missing_components() {
    for (kind, parts) in good() {
        for missing in (0..parts.len()).filter(|&at| !matches!(parts[at].0, 8 | 15)) {
            let mut fewer = parts.clone();
            fewer.remove(missing);
            assert_eq!(cause(&raw(kind, &fewer)), ParseError::MissingComponent, "{kind} {missing}");
        }
        assert_eq!(cause(&raw(kind, &[])), ParseError::MissingComponent);
    }
    let both = [assign(2, [1; 256]), vec![alternate(1, 0)]].concat();
    assert_eq!(cause(&raw(12, &both)), ParseError::TwoAssignments);
}

#[test]
fn n12_any_order() {
    for (kind, parts) in good() {
        let expected = parse(&raw(kind, &parts), None);
        for turn in 0..parts.len() {
            let mut other = parts.clone();
            other.rotate_left(turn);
            assert_eq!(parse(&raw(kind, &other), None), expected);
            other.reverse();
            assert_eq!(parse(&raw(kind, &other), None), expected);
        }
    }
}

#[test]
fn n13_security_option_and_length() {
    for (body, expected) in [
        (words(&[1]), ParseError::SecurityLength),
        (words(&[0, 0, 0, 0, 0]), ParseError::SecurityLength),
        (words(&[1, 0, 0, 0]), ParseError::SecurityLength),
        (vec![], ParseError::SecurityLength),
        (words(&[2]), ParseError::SecurityUnknown),
        (words(&[2, 0, 0, 0, 0]), ParseError::SecurityUnknown),
        (words(&[1, 0, 0, 0, 0]), ParseError::SecurityDiffers),
    ] {
        assert_eq!(cause(&see_with(0, body)), expected);
    }
}

#[test]
fn n14_n15_n16_digests() {
    let message = parse(&raw(11, &see()), None).unwrap();
    for length in [1, 7, 8] {
        let password = Password::new(&b"abcdefgh"[..length]).unwrap();
        let datagram = message.emit(Some(&password)).unwrap();
        assert_eq!(parse(&datagram, Some(&password)).as_ref(), Ok(&message));
        assert_eq!(parse(&datagram, None), Err(ParseError::SecurityDiffers));
        let other = Password::new(b"abcdefgX").unwrap();
        assert_eq!(parse(&datagram, Some(&other)), Err(ParseError::Digest));
        for bit in 0..datagram.len() * 8 {
            let mut bad = datagram.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&bad, Some(&password)).is_err(), "bit {bit}");
        }
        // The digest is found wherever the component is.
        let split = 8 + 24;
        let mut moved = [&datagram[..8], &datagram[split..], &datagram[8..split]].concat();
        let at = moved.len() - 16;
        let sum = digest(&moved, at, &password);
        moved[at..].copy_from_slice(&sum);
        assert_eq!(parse(&moved, Some(&password)).as_ref(), Ok(&message));
    }
    let password = Password::new(b"x").unwrap();
    assert_eq!(parse(&raw(11, &see()), Some(&password)), Err(ParseError::SecurityDiffers));
}

#[test]
fn n17_service() {
    assert_eq!(cause(&see_with(1, SERVICE[..20].to_vec())), ParseError::ComponentShort);
    assert_eq!(cause(&see_with(1, [&SERVICE[..], &NONE].concat())), ParseError::ComponentExcess);
    let mut kind = SERVICE.to_vec();
    kind[0] = 2;
    assert_eq!(cause(&see_with(1, kind)), ParseError::ServiceType);
}

#[test]
fn n21_counts() {
    let identity = |count| see_with(2, words(&[1, 5, 1, count, 2]));
    let routers = |count| see_with(4, words(&[7, 0, 0, count, 1, 0]));
    let caches = |count| see_with(4, words(&[7, 0, 0, 0, count, 1, 0]));
    for count in [0x4000_0001, u32::MAX, 0x8000_0000, 3] {
        for datagram in [identity(count), routers(count), caches(count)] {
            assert_eq!(cause(&datagram), ParseError::CountBeyondEnd);
        }
        let view = words(&[1, count, 1, 5, 0]);
        let mut parts = here();
        parts[3].1 = view;
        assert_eq!(cause(&raw(10, &parts)), ParseError::CountBeyondEnd);
    }
    assert_eq!(cause(&identity(0)), ParseError::ComponentExcess);
    let many = [vec![1, 5, 1, 33], vec![9; 33]].concat();
    assert_eq!(cause(&see_with(2, words(&many))), ParseError::TooMany);
    let most = [vec![1, 5, 1, 32], vec![9; 32]].concat();
    assert!(parse(&see_with(2, words(&most)), None).is_ok());
}

#[test]
fn n32_buckets() {
    let with = |caches, byte| {
        let mut buckets = [0xFF; 256];
        buckets[200] = byte;
        parse(&raw(12, &assign(caches, buckets)), None)
    };
    for byte in (2..=0x7F).chain(0x82..=0xFE) {
        assert_eq!(with(2, byte), Err(ParseError::BucketIndex), "{byte:#x}");
    }
    for byte in (0..=126).chain(0x80..=0xFE) {
        assert_eq!(with(0, byte), Err(ParseError::BucketIndex), "{byte:#x}");
    }
    assert!(with(0, 0xFF).is_ok());
    assert_eq!(with(33, 0), Err(ParseError::TooMany));
    for byte in 32..=126 {
        assert_eq!(with(32, byte), Err(ParseError::BucketIndex));
    }
    for (byte, index, alternate) in [(0x80, 0, true), (0x81, 1, true), (1, 1, false)] {
        let Ok(Message::RedirectAssign(RedirectAssign { assignment: Redirect::Info(info), .. })) =
            with(2, byte)
        else {
            panic!("{byte:#x} was refused");
        };
        assert_eq!(info.table.buckets[200], Bucket::Cache { index, alternate });
        assert_eq!(info.table.buckets[199], Bucket::Unassigned);
    }
}

#[test]
fn n39_capabilities() {
    for kind in 1..=3 {
        for body in [vec![0, kind, 0, 2, 0, 1, 0, 99, 0, 0, 0, 0], vec![0, kind, 0, 0]] {
            let cause = cause(&see_with(8, body));
            assert!(matches!(cause, ParseError::CapabilityLength | ParseError::CapabilityBeyondEnd));
        }
        assert_eq!(cause(&see_with(8, vec![0, kind, 0, 0])), ParseError::CapabilityLength);
        assert_eq!(cause(&see_with(8, vec![0, kind, 0, 8, 0, 0, 0, 1])), ParseError::CapabilityBeyondEnd);
    }
    assert_eq!(cause(&see_with(8, vec![0, 77, 0xFF, 0xFF])), ParseError::CapabilityBeyondEnd);
    let mixed = vec![0, 77, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 4, 0, 0, 0, 1, 0, 4, 0, 0, 0, 2];
    let Ok(Message::ISeeYou(message)) = parse(&see_with(8, mixed), None) else { panic!("refused") };
    let expected = [
        Capability::Other { kind: 77, value: vec![1, 2, 3, 4, 5, 6, 7, 8] },
        Capability::Other { kind: 4, value: vec![] },
        Capability::Forward(2),
    ];
    assert_eq!(message.capabilities, expected, "stepped over by their own lengths");
}

/// One mask/value set with `values` values.
fn set(values: u32) -> Vec<u32> {
    let mut set = vec![0x1741, 0, 0, values];
    (0..values).for_each(|value| set.extend([value, 0, 0, 0x0A09_0002]));
    set
}

/// A view with one cache identity of these words, then another with no data.
fn view_with(identity: &[u32]) -> Vec<u8> {
    let view = [vec![7, 0, 0, 0, 2], identity.to_vec(), vec![0x0A09_0003, 0x0004]].concat();
    see_with(4, words(&view))
}

#[test]
fn n41_cache_identities_are_walked() {
    for sets in [vec![], vec![0], vec![1], vec![64], vec![0, 64], vec![2, 0]] {
        let mut identity = vec![0x0A09_0002, 0x0002, u32::try_from(sets.len()).unwrap()];
        sets.iter().for_each(|&values| identity.extend(set(values)));
        identity.push(9 << 16);
        let Ok(Message::ISeeYou(message)) = parse(&view_with(&identity), None) else { panic!("{sets:?}") };
        let CacheData::Mask { sets: read, weight: 9, status: 0 } = &message.view.caches[0].data else {
            panic!("{sets:?}");
        };
        assert_eq!(read.iter().map(|set| set.values.len() as u32).collect::<Vec<_>>(), sets);
        assert_eq!(message.view.caches[1].address, Ipv4Addr::new(10, 9, 0, 3));
        assert_eq!(message.view.caches[1].data, CacheData::None);
    }
    let extended = view_with(&[0x0A09_0002, 0x0006, 3 << 16 | 8, 1, 2]);
    let Ok(Message::ISeeYou(message)) = parse(&extended, None) else { panic!("refused") };
    assert_eq!(message.view.caches[0].data, CacheData::Extended { kind: 3, body: words(&[1, 2]) });
    for (identity, expected) in [
        (vec![1, 2, u32::MAX, 0], ParseError::CountBeyondEnd),
        (vec![1, 2, 1, 0, 0, 0, 0x1000_0001, 0], ParseError::CountBeyondEnd),
        (vec![1, 6, 4 << 16, 0], ParseError::DataType),
        (vec![1, 6, 3 << 16 | 2, 0], ParseError::ComponentAlignment),
        (vec![1, 6, 3 << 16 | 0xFFFC, 0], ParseError::ComponentShort),
        (vec![1, 0, 0], ParseError::ComponentShort),
    ] {
        assert_eq!(cause(&view_with(&identity)), expected, "{identity:?}");
    }
}

fn alternate(kind: u32, wrong: u32) -> Part {
    let body = [vec![0x0A09_0002, 1, 0, 1], set(1)].concat();
    let length = u32::try_from(body.len() * 4).unwrap() + wrong;
    (13, words(&[vec![kind << 16 | length], body].concat()))
}

#[test]
fn n43_alternate_assignments() {
    let with = |part| raw(12, &[(0, NONE.to_vec()), (1, SERVICE.to_vec()), part]);
    assert!(parse(&with(alternate(1, 0)), None).is_ok());
    assert_eq!(cause(&with(alternate(1, 4))), ParseError::AssignmentLength);
    assert_eq!(cause(&with((13, words(&[1 << 16])))), ParseError::ComponentShort);
    for kind in [2, 7] {
        assert_eq!(cause(&with(alternate(kind, 0))), ParseError::AssignmentType);
    }
}

#[test]
fn n46_command_extension() {
    for body in [vec![0, 1, 0, 8, 10, 9, 0, 2], vec![0, 9, 0xFF, 0xFF]] {
        assert_eq!(cause(&see_with(15, body)), ParseError::CommandBeyondEnd);
    }
    let body = vec![0, 1, 0, 0, 0, 9, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 4, 10, 9, 0, 2];
    let Ok(Message::ISeeYou(message)) = parse(&see_with(15, body), None) else { panic!("refused") };
    let expected = [
        Command::Other { kind: 1, data: vec![] },
        Command::Other { kind: 9, data: vec![1, 2, 3, 4, 5, 6, 7, 8] },
        Command::Shutdown(Ipv4Addr::new(10, 9, 0, 2)),
    ];
    assert_eq!(message.commands, expected);
}

#[test]
fn n53_thirty_two_caches_need_more_than_one_frame() {
    let farm: Vec<(Ipv4Addr, u16)> = (2..34).map(|n| (Ipv4Addr::new(10, 9, 0, n), 1)).collect();
    let table = HashTable::empty().deal(&farm);
    let Ok(Message::ISeeYou(mut message)) = parse(&raw(11, &see()), None) else { panic!("refused") };
    message.view.caches = farm
        .iter()
        .map(|member| CacheIdentity {
            address: member.0,
            hash_revision: 0,
            historical: false,
            data: CacheData::Hash { buckets: table.buckets_of(member.0), weight: 1, status: 0 },
        })
        .collect();
    let message = Message::ISeeYou(message);
    let datagram = message.emit(None).unwrap();
    assert!(datagram.len() > 1500);
    assert_eq!(parse(&datagram, None), Ok(message));
}

#[test]
fn what_no_datagram_holds_is_not_sent() {
    let Ok(Message::HereIAm(mut message)) = parse(&raw(10, &here()), None) else { panic!("refused") };
    let mut with = |length| {
        message.commands = vec![Command::Other { kind: 9, data: vec![0; length] }];
        Message::HereIAm(message.clone()).emit(None)
    };
    assert!(with(60_000).is_ok());
    assert!(matches!(with(65_532), Err(TooLong(_))));
    assert!(matches!(with(200_000), Err(TooLong(_))));
}
