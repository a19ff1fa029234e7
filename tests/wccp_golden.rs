//! WCCP messages that other programs sent, field by field and byte for byte; and ours, as tshark reads them.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use tidegate::wccp::component::{
    AlternateAssignment, AlternateBody, AssignmentInfo, CacheView, Capability, Command, HashTable,
    RouterIdentity, RouterQuery, RouterView, Service, ServiceFlags, ServiceKind,
};
use tidegate::wccp::element::{
    AssignmentKey, Bitmap, CacheData, CacheIdentity, Mask, MaskValueSet, RouterAssignment, RouterIdElement,
    Value,
};
use tidegate::wccp::message::{HereIAm, ISeeYou, Message, Redirect, RedirectAssign, RemovalQuery, parse};
use tidegate::wccp::{ParseError, Password};

/// Squid 5.7, HERE_I_AM, password `secret12`.
const G1: &str = "
0000000a020000980000001400000001cc2102dd3c77e211c03c870aa1400ee4
000100180150f00600000012001508490000000000000000000000000003002c
0a63000200000000000000000000000000000000000000000000000000000000
0000000000000000271000000005001400000001000000010a63000100000000
0000000000080018000100040000000100020004000000010003000400000001";
/// traffic_wccp 9.2.5, HERE_I_AM after joining, password `secret1`.
const G2: &str = "
0000000a0200009c0000001400000001eb441ed2dc6fe5630d8de8815ff04c92
000100180150f00600000011001508490000000000000000000000000003002c
0a63000200000000000000000000000000000000000000000000000000000000
0000000000000000000000000005001800000002000000010a63000100000002
000000010a630002000800180001000400000001000200040000000100030004
00000001";
/// traffic_wccp 9.2.5, REDIRECT_ASSIGN by mask, password `secret1`.
const G3: &str = "
0000000c020000780000001400000001bc801c5824bd02960796ef62ac4b03a5
000100180150f0060000001100150849000000000000000000000000000d0040
0001003c0a63000200000002000000010a630001000000030000000200000001
000000000000000000000000000000010000000000000000000000000a630002";
/// The first I_SEE_YOU of a test router that traffic_wccp accepted, password `secret1`.
const G4: &str = "
0000000b020000800000001400000001c435fd2664497d7c44b53948b7f8e010
000100180150f006000000110015084900000000000000000000000000020014
0a630001000000010a630001000000010a630002000400140000000100000000
0000000000000000000000000008001800010004000000010002000400000001
0003000400000001";
/// REMOVAL_QUERY before its digest is filled in.
const G5: &str = "
0000000d02000048000000140000000100000000000000000000000000000000
000100180150f006000000120015000000000000000000000000000000070010
0a630001000000050a6300010a630002";
/// traffic_wccp's cache identity with mask data.
const MASK_OF_TRAFFIC_WCCP: &str = "0a630002 0000 0002 00000001 000000000000000000000000 00000001 \
     0000000000000000 0000 0000 0a630002 0000 0000";
/// Squid's cache identity with mask data.
const MASK_OF_SQUID: &str = "0a630002 0000 0002 00000001 00000000 00001741 0000 0000 00000000 0000 0000";

const CACHE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
}

fn password(text: &str) -> Option<Password> {
    Some(Password::new(text.as_bytes()).unwrap())
}

fn service(flags: u32, ports: &[u16]) -> Service {
    let mut list = [0; 8];
    list[..ports.len()].copy_from_slice(ports);
    Service {
        kind: ServiceKind::Dynamic,
        id: 80,
        priority: 240,
        protocol: 6,
        flags: ServiceFlags(flags),
        ports: list,
    }
}

fn unassigned(weight: u16) -> CacheIdentity {
    let data = CacheData::Hash { buckets: Bitmap([0; 32]), weight, status: 0 };
    CacheIdentity { address: CACHE, hash_revision: 0, historical: false, data }
}

fn gre_and_hash() -> Vec<Capability> {
    vec![Capability::Forward(1), Capability::Assignment(1), Capability::Return(1)]
}

fn router(receive_id: u32) -> RouterIdElement {
    RouterIdElement { router_id: ROUTER, receive_id }
}

fn g1() -> Message {
    Message::HereIAm(HereIAm {
        service: service(0x12, &[21, 2121]),
        identity: unassigned(10_000),
        view: CacheView { change: 1, routers: vec![router(0)], caches: vec![] },
        capabilities: gre_and_hash(),
        commands: vec![],
    })
}

fn g2() -> Message {
    Message::HereIAm(HereIAm {
        service: service(0x11, &[21, 2121]),
        identity: unassigned(0),
        view: CacheView { change: 2, routers: vec![router(2)], caches: vec![CACHE] },
        capabilities: gre_and_hash(),
        commands: vec![],
    })
}

fn g3() -> Message {
    let all = Mask { source: 0, destination: 0, source_port: 0, destination_port: 0 };
    Message::RedirectAssign(RedirectAssign {
        service: service(0x11, &[21, 2121]),
        assignment: Redirect::Alternate(AlternateAssignment {
            key: AssignmentKey { address: CACHE, change: 2 },
            routers: vec![RouterAssignment { router: router(3), change: 2 }],
            body: AlternateBody::Mask(vec![MaskValueSet {
                mask: all,
                values: vec![Value { bits: all, cache: CACHE }],
            }]),
        }),
    })
}

fn g4() -> Message {
    Message::ISeeYou(ISeeYou {
        service: service(0x11, &[21, 2121]),
        identity: RouterIdentity { router: router(1), sent_to: ROUTER, received_from: vec![CACHE] },
        view: RouterView { change: 1, key: AssignmentKey::NONE, routers: vec![], caches: vec![] },
        assignment: None,
        map: None,
        capabilities: gre_and_hash(),
        commands: vec![],
    })
}

fn g5() -> Message {
    Message::RemovalQuery(RemovalQuery {
        service: service(0x12, &[21]),
        query: RouterQuery { router: router(5), sent_to: ROUTER, target: CACHE },
    })
}

/// Every field by value, and the same bytes again.
#[track_caller]
fn golden(hex: &str, length: usize, secret: &str, expected: &Message) {
    let datagram = bytes(hex);
    assert_eq!(datagram.len(), length);
    let secret = password(secret);
    assert_eq!(parse(&datagram, secret.as_ref()).as_ref(), Ok(expected));
    assert_eq!(expected.emit(secret.as_ref()).unwrap(), datagram);
}

#[test]
fn g1_here_i_am_of_squid() {
    golden(G1, 160, "secret12", &g1());
}

#[test]
fn g2_here_i_am_of_traffic_wccp() {
    golden(G2, 164, "secret1", &g2());
}

#[test]
fn g3_redirect_assign_of_traffic_wccp() {
    golden(G3, 128, "secret1", &g3());
}

#[test]
fn g4_i_see_you() {
    golden(G4, 136, "secret1", &g4());
}

#[test]
fn g5_removal_query_gets_the_known_digests() {
    for (secret, digest) in
        [("secret1", "fd33d89e315dcab8678ad8e22517bec3"), ("secret12", "d83df85951ee931a00468aaf4b7e5a87")]
    {
        let mut signed = bytes(G5);
        assert_eq!(signed.len(), 80);
        assert_eq!(parse(&signed, password(secret).as_ref()), Err(ParseError::Digest), "n14: digest zero");
        signed[16..32].copy_from_slice(&bytes(digest));
        assert_eq!(parse(&signed, password(secret).as_ref()), Ok(g5()));
        assert_eq!(g5().emit(password(secret).as_ref()).unwrap(), signed);
    }
}

/// A HERE_I_AM without security whose identity component has this body.
/// A whole exchange of another make's cache with another make's router: both ends' messages.
#[test]
fn an_exchange_of_traffic_wccp_is_read_by_both_ends() {
    let files = [
        include_str!("data/wccp/traffic-server-hash.txt"),
        include_str!("data/wccp/traffic-server-mask.txt"),
    ];
    for (file, mask) in files.iter().zip([false, true]) {
        let mut told = Vec::new();
        for line in file.lines().filter(|line| !line.starts_with('#')) {
            let datagram = bytes(line.rsplit(' ').next().unwrap());
            match parse(&datagram, password("secret1").as_ref()).unwrap() {
                Message::HereIAm(m) => {
                    assert_eq!(m.identity.address, Ipv4Addr::new(10, 9, 0, 2));
                    told.push("HIA");
                }
                Message::ISeeYou(m) => {
                    assert_eq!(m.view.caches.len(), usize::from(told.len() > 1));
                    let assigned = told.contains(&"RA");
                    assert_eq!(m.map.is_some(), assigned && mask);
                    assert_eq!(m.view.key.change, if assigned { 2 } else { 0 });
                    told.push("ISY");
                }
                Message::RedirectAssign(m) => {
                    assert_eq!(matches!(m.assignment, Redirect::Alternate(_)), mask);
                    told.push("RA");
                }
                Message::RemovalQuery(_) => told.push("RQ"),
            }
        }
        let expected = ["HIA", "ISY", "HIA", "ISY", "HIA", "ISY", "RA", "HIA", "ISY", "HIA", "ISY", "RQ"];
        assert_eq!(told, expected);
    }
}

fn with_identity(body: &[u8]) -> Vec<u8> {
    let mut datagram = g1().emit(None).unwrap();
    let start = 8 + 8 + 28;
    let length = u16::try_from(body.len()).unwrap();
    let mut component = vec![0, 3];
    component.extend(length.to_be_bytes());
    component.extend(body);
    datagram.splice(start..start + 4 + 44, component);
    let length = u16::try_from(datagram.len() - 8).unwrap();
    datagram[6..8].copy_from_slice(&length.to_be_bytes());
    datagram
}

#[test]
fn mask_identities_of_both_programs() {
    let empty = Mask { source: 0, destination: 0, source_port: 0, destination_port: 0 };
    let one_value = vec![Value { bits: empty, cache: CACHE }];
    let cases = [
        (MASK_OF_TRAFFIC_WCCP, 48, MaskValueSet { mask: empty, values: one_value }),
        (MASK_OF_SQUID, 32, MaskValueSet { mask: Mask { destination: 0x1741, ..empty }, values: vec![] }),
    ];
    for (hex, length, set) in cases {
        let body = bytes(hex);
        assert_eq!(body.len(), length);
        let datagram = with_identity(&body);
        let Ok(Message::HereIAm(message)) = parse(&datagram, None) else { panic!("not taken: {hex}") };
        let data = CacheData::Mask { sets: vec![set], weight: 0, status: 0 };
        let expected = CacheIdentity { address: CACHE, hash_revision: 0, historical: false, data };
        assert_eq!(message.identity, expected);
        assert_eq!(Message::HereIAm(message).emit(None).unwrap(), datagram);
    }
}

#[test]
fn n42_flags_of_the_identity() {
    let mask_body = bytes(MASK_OF_SQUID);
    let hash_body = bytes(G2)[8 + 24 + 28 + 4..][..44].to_vec();
    for (flags, historical, body) in [
        (0x0001u16, true, &hash_body),
        (0x0003, true, &mask_body),
        (0x8000, false, &hash_body),
        (0x8002, false, &mask_body),
    ] {
        let mut body = body.clone();
        body[6..8].copy_from_slice(&flags.to_be_bytes());
        let Ok(Message::HereIAm(message)) = parse(&with_identity(&body), None) else { panic!("{flags:#x}") };
        assert_eq!(message.identity.historical, historical, "{flags:#x}");
        assert_eq!(matches!(message.identity.data, CacheData::Mask { .. }), flags & 2 != 0, "{flags:#x}");
    }
}

/// Messages that between them have every component and data type that tshark knows for version 2.00.
fn for_tshark() -> Vec<(Message, Option<Password>)> {
    let mut bitmap = Bitmap::default();
    (0..=255).step_by(3).for_each(|bucket| bitmap.insert(bucket));
    let cache = |n| Ipv4Addr::new(10, 99, 0, n);
    let hash = |n| CacheIdentity {
        address: cache(n),
        hash_revision: 0,
        historical: false,
        data: CacheData::Hash { buckets: bitmap, weight: 10_000, status: 0 },
    };
    let mask = Mask { source: 0x1741, destination: 0, source_port: 0, destination_port: 0 };
    let values = |count: u32| {
        (0..count).map(|n| Value { bits: Mask { source: n, ..mask }, cache: cache(2) }).collect::<Vec<_>>()
    };
    let sets = vec![MaskValueSet { mask, values: values(64) }, MaskValueSet { mask, values: values(0) }];
    let masked = CacheIdentity {
        data: CacheData::Mask { sets: sets.clone(), weight: 0, status: 0 },
        historical: true,
        ..hash(4)
    };
    let ftp = service(0x11, &[21, 20, 2020]);
    let farm: Vec<(Ipv4Addr, u16)> = (2..=33).map(|n| (cache(n), 0)).collect();
    let info = AssignmentInfo {
        key: AssignmentKey { address: CACHE, change: 7 },
        routers: vec![RouterAssignment { router: router(9), change: 4 }],
        table: HashTable::empty().deal(&farm),
    };
    let alternate = AlternateAssignment {
        key: info.key,
        routers: info.routers.clone(),
        body: AlternateBody::Mask(sets.clone()),
    };
    let here = |identity, commands| {
        let view = CacheView { change: 3, routers: vec![router(8)], caches: vec![CACHE, cache(3)] };
        Message::HereIAm(HereIAm { service: ftp, identity, view, capabilities: gre_and_hash(), commands })
    };
    let key = info.key;
    let see = |caches, map| {
        Message::ISeeYou(ISeeYou {
            service: ftp,
            identity: RouterIdentity { router: router(9), sent_to: ROUTER, received_from: vec![CACHE] },
            view: RouterView { change: 4, key, routers: vec![ROUTER], caches },
            assignment: None,
            map,
            capabilities: vec![Capability::Forward(3), Capability::Assignment(3), Capability::Return(3)],
            commands: vec![Command::ShutdownResponse(CACHE)],
        })
    };
    let assign = |assignment| Message::RedirectAssign(RedirectAssign { service: ftp, assignment });
    vec![
        (g1(), password("secret12")),
        (g2(), password("secret1")),
        (g3(), password("secret1")),
        (g4(), password("secret1")),
        (g5(), password("secret1")),
        (here(hash(2), vec![]), None),
        (here(hash(2), vec![Command::Shutdown(CACHE)]), password("x")),
        (here(masked.clone(), vec![]), None),
        (see(farm.iter().map(|m| CacheIdentity { address: m.0, ..hash(2) }).collect(), None), None),
        (see(vec![masked], Some(sets)), None),
        (assign(Redirect::Info(info)), None),
        (assign(Redirect::Alternate(alternate)), password("secret1")),
    ]
}

#[test]
fn what_is_written_is_read_again() {
    for (message, secret) in for_tshark() {
        let datagram = message.emit(secret.as_ref()).unwrap();
        assert_eq!(parse(&datagram, secret.as_ref()), Ok(message));
    }
}

/// A capture file (link type: raw IPv4) of the datagrams, UDP 2048 to 2048.
fn capture(datagrams: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xA1B2_C3D4u32, 2 | 4 << 16, 0, 0, 65_535, 101] {
        file.extend(word.to_le_bytes());
    }
    for (number, datagram) in (1u16..).zip(datagrams) {
        let udp = u16::try_from(8 + datagram.len()).unwrap();
        let total = 20 + udp;
        for word in [u32::from(number), 0, u32::from(total), u32::from(total)] {
            file.extend(word.to_le_bytes());
        }
        file.extend([0x45, 0]);
        file.extend(total.to_be_bytes());
        file.extend(number.to_be_bytes());
        file.extend([0, 0, 64, 17, 0, 0]);
        file.extend(CACHE.octets());
        file.extend(ROUTER.octets());
        for half in [2048, 2048, udp, 0] {
            file.extend(half.to_be_bytes());
        }
        file.extend(datagram);
    }
    file
}

fn tshark(file: &std::path::Path, arguments: &[&str]) -> Option<String> {
    let output = std::process::Command::new("tshark").arg("-r").arg(file).args(arguments).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn tshark_finds_nothing_wrong() {
    let datagrams: Vec<Vec<u8>> =
        for_tshark().iter().map(|(message, secret)| message.emit(secret.as_ref()).unwrap()).collect();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("emitted.pcap");
    std::fs::write(&file, capture(&datagrams)).unwrap();
    let wrong = "_ws.malformed || wccp.length_bad || wccp.assignment_length_bad || \
                 wccp.capability_element.length.invalid || wccp.service_info_priority.nonzero";
    let Some(complaints) = tshark(&file, &["-Y", wrong]) else {
        assert!(std::env::var_os("CI").is_none(), "tshark must be installed where CI is set");
        eprintln!("tshark is not installed: nothing was checked");
        return;
    };
    assert_eq!(complaints, "");
    let types = tshark(&file, &["-T", "fields", "-e", "wccp.message"]).unwrap();
    let types: Vec<&str> = types.lines().collect();
    assert_eq!(types, ["10", "10", "12", "11", "13", "10", "10", "10", "11", "11", "12", "12"]);
    let buckets = tshark(&file, &["-Y", "wccp.bucket", "-T", "fields", "-e", "wccp.bucket"]).unwrap();
    assert_eq!(buckets.trim().split(',').count(), 256);
    // The check itself must be able to fail: a header that promises four bytes more.
    let mut broken = datagrams[5].clone();
    let length = u16::try_from(broken.len() - 8 + 4).unwrap();
    broken[6..8].copy_from_slice(&length.to_be_bytes());
    let file = directory.path().join("broken.pcap");
    std::fs::write(&file, capture(&[broken])).unwrap();
    assert_ne!(tshark(&file, &["-Y", wrong]).unwrap(), "");
}
