use super::*;

/// HERE_I_AM of Squid 5.7: password `secret12`, dynamic 80, TCP to ports 21 and 2121, destination hash.
pub fn squid_hia() -> Vec<u8> {
    unhex(
        "0000000a020000980000001400000001cc2102dd3c77e211c03c870aa1400ee4\
         000100180150f00600000012001508490000000000000000000000000003002c\
         0a63000200000000000000000000000000000000000000000000000000000000\
         0000000000000000271000000005001400000001000000010a63000100000000\
         0000000000080018000100040000000100020004000000010003000400000001",
    )
}

/// HERE_I_AM of Traffic Server 9.2 after joining: password `secret1`, source hash, Receive ID 2.
pub fn ats_hia() -> Vec<u8> {
    unhex(
        "0000000a0200009c0000001400000001eb441ed2dc6fe5630d8de8815ff04c92\
         000100180150f00600000011001508490000000000000000000000000003002c\
         0a63000200000000000000000000000000000000000000000000000000000000\
         0000000000000000000000000005001800000002000000010a63000100000002\
         000000010a630002000800180001000400000001000200040000000100030004\
         00000001",
    )
}

/// Bytes of a hex string.
pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks_exact(2).map(|d| d[0] << 4 | d[1]).collect()
}

fn here_i_am(datagram: &[u8]) -> (Security, HereIAm) {
    match parse(datagram) {
        Ok((s, Message::HereIAm(m))) => (s, m),
        other => panic!("{other:?}"),
    }
}

/// The same message with its digest made anew.
pub fn signed(mut datagram: Vec<u8>, password: &[u8]) -> Vec<u8> {
    datagram[16..32].fill(0);
    let digest = md5_of(password, &datagram);
    datagram[16..32].copy_from_slice(&digest);
    datagram
}

#[test]
fn squids_here_i_am_is_read_field_by_field() {
    let datagram = squid_hia();
    assert_eq!(datagram.len(), 160);
    let (security, m) = here_i_am(&datagram);
    let Security::Md5(digest) = security else { panic!("no digest") };
    assert!(digest_holds(&datagram, &digest, b"secret12"));
    assert!(!digest_holds(&datagram, &digest, b"secret1"));
    assert_eq!(m.service.key(), ServiceKey { kind: 1, id: 80 });
    assert_eq!((m.service.priority(), m.service.protocol(), m.service.flags()), (240, 6, 0x12));
    assert_eq!(m.service.ports().collect::<Vec<_>>(), [21, 2121]);
    assert_eq!(m.cache, Ipv4Addr::new(10, 99, 0, 2));
    assert_eq!(m.weight, (10_000, 0));
    assert_eq!(m.change, 1);
    assert_eq!(m.routers, [RouterElement { id: Ipv4Addr::new(10, 99, 0, 1), receive_id: 0 }]);
    assert_eq!(m.capabilities, Some(Capabilities { forward: 1, assignment: 1, packet_return: 1 }));
    assert_eq!(m.shutdown, None);
}

#[test]
fn traffic_servers_here_i_am_is_read_field_by_field() {
    let datagram = ats_hia();
    assert_eq!(datagram.len(), 164);
    let (security, m) = here_i_am(&datagram);
    let Security::Md5(digest) = security else { panic!("no digest") };
    assert!(digest_holds(&datagram, &digest, b"secret1"));
    assert_eq!((m.service.flags(), m.weight, m.change), (0x11, (0, 0), 2));
    assert_eq!(m.routers, [RouterElement { id: Ipv4Addr::new(10, 99, 0, 1), receive_id: 2 }]);
}

#[test]
fn an_i_see_you_has_the_bytes_that_traffic_server_accepted() {
    let (_, m) = here_i_am(&ats_hia());
    let router = RouterElement { id: Ipv4Addr::new(10, 99, 0, 1), receive_id: 1 };
    let bytes = i_see_you(
        &ISeeYou {
            service: m.service,
            router,
            sent_to: router.id,
            cache: m.cache,
            member_change: 1,
            key: (Ipv4Addr::UNSPECIFIED, 0),
            routers: &[],
            caches: &[],
            map: None,
            offer: Capabilities::default(),
            shutdown: None,
        },
        Some(b"secret1"),
    );
    let golden = unhex(
        "0000000b020000800000001400000001c435fd2664497d7c44b53948b7f8e010\
         000100180150f006000000110015084900000000000000000000000000020014\
         0a630001000000010a630001000000010a630002000400140000000100000000\
         0000000000000000000000000008001800010004000000010002000400000001\
         0003000400000001",
    );
    assert_eq!(bytes, golden);
}

#[test]
fn a_removal_query_has_the_golden_bytes_and_digests() {
    let (_, m) = here_i_am(&squid_hia());
    let mut service = m.service;
    service.0[10..].fill(0);
    let router = RouterElement { id: Ipv4Addr::new(10, 99, 0, 1), receive_id: 5 };
    let query = |p| removal_query(service, router, router.id, m.cache, Some(p));
    let golden = unhex(
        "0000000d02000048000000140000000100000000000000000000000000000000\
         000100180150f006000000120015000000000000000000000000000000070010\
         0a630001000000050a6300010a630002",
    );
    let mut bare = query(b"secret1");
    assert_eq!(bare[16..32], unhex("fd33d89e315dcab8678ad8e22517bec3"));
    assert_eq!(query(b"secret12")[16..32], unhex("d83df85951ee931a00468aaf4b7e5a87"));
    bare[16..32].fill(0);
    assert_eq!(bare, golden);
}

#[test]
fn every_cut_and_every_wrong_length_is_an_error() {
    for whole in [squid_hia(), ats_hia()] {
        for len in 0..whole.len() {
            assert!(parse(&whole[..len]).is_err(), "{len} bytes");
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert_eq!(parse(&longer), Err(Malformed::Length));
        // A wrong length anywhere must not panic; most are errors.
        for at in (8..whole.len()).step_by(2) {
            for value in [0u16, 1, 3, 4, 0x7fff, 0xffff] {
                let mut bad = whole.clone();
                bad[at..at + 2].copy_from_slice(&value.to_be_bytes());
                let _ = parse(&bad);
            }
        }
    }
}

#[test]
fn what_is_not_for_a_router_is_refused_by_its_reason() {
    let with = |at: usize, bytes: &[u8]| {
        let mut d = squid_hia();
        d[at..at + bytes.len()].copy_from_slice(bytes);
        parse(&d).map(|_| ())
    };
    assert_eq!(with(4, &[2, 1]), Err(Malformed::Version));
    assert_eq!(with(0, &[0, 0, 0, 11]), Err(Malformed::Type));
    assert_eq!(with(0, &[0, 0, 0, 7]), Err(Malformed::Type));
    assert_eq!(with(12, &[0, 0, 0, 2]), Err(Malformed::Value), "security option 2");
    assert_eq!(with(36, &[2]), Err(Malformed::Value), "service type 2");
    assert_eq!(with(32, &[0, 0]), Err(Malformed::Twice), "security twice");
    assert_eq!(with(32, &[0, 99]), Err(Malformed::Missing), "no service");
    assert_eq!(with(64, &[0, 0, 0, 0]), Err(Malformed::Value), "cache 0.0.0.0");
}

#[test]
fn counts_that_promise_too_much_are_errors() {
    let mut d = squid_hia();
    for count in [2u32, 0x2000_0001, 0x4000_0001, 0xffff_ffff] {
        d[116..120].copy_from_slice(&count.to_be_bytes());
        assert_eq!(parse(&d), Err(Malformed::Length), "{count} routers");
    }
}

#[test]
fn unknown_components_and_capabilities_are_skipped() {
    let mut d = squid_hia();
    d.extend_from_slice(&[0, 99, 0, 4, 1, 2, 3, 4]);
    let len = (d.len() - 8) as u16;
    d[6..8].copy_from_slice(&len.to_be_bytes());
    let d = signed(d, b"secret12");
    let (security, m) = here_i_am(&d);
    let Security::Md5(digest) = security else { panic!("no digest") };
    assert!(digest_holds(&d, &digest, b"secret12"));
    assert_eq!(m.capabilities, Some(Capabilities::default()));
    let caps = unhex("0004000400000bb80001000400000002 004d0000");
    let read = parse_capabilities(&caps);
    assert_eq!(read.map(|c| (c.forward, c.assignment)), Ok((2, 1)));
    assert_eq!(parse_capabilities(&unhex("000100020001")), Err(Malformed::Length));
    assert_eq!(parse_capabilities(&unhex("00010004")), Err(Malformed::Length));
}

#[test]
fn an_assignment_must_fit_its_own_counts() {
    let service = here_i_am(&squid_hia()).1.service;
    let mut body = unhex("0a630002 00000007 00000001 0a630001 00000003 00000002 00000001 0a630002");
    body.extend_from_slice(&[0; BUCKETS]);
    let m = parse_assignment(service, &body).unwrap();
    assert_eq!(m.key, (Ipv4Addr::new(10, 99, 0, 2), 7));
    let router = RouterElement { id: Ipv4Addr::new(10, 99, 0, 1), receive_id: 3 };
    let Assignment::Hash { caches, .. } = m.assignment else { panic!() };
    assert_eq!((m.routers, caches), (vec![(router, 2)], vec![Ipv4Addr::new(10, 99, 0, 2)]));
    for (bucket, fine) in [(0u8, true), (0x80, true), (0xff, true), (1, false), (0x81, false), (0xfe, false)]
    {
        let mut b = body.clone();
        *b.last_mut().unwrap() = bucket;
        assert_eq!(parse_assignment(service, &b).is_ok(), fine, "bucket {bucket:#x}");
    }
    assert_eq!(parse_assignment(service, &body[..body.len() - 1]), Err(Malformed::Length));
    let mut many = body[..body.len() - 264].to_vec();
    many.extend_from_slice(&33u32.to_be_bytes());
    many.extend_from_slice(&[10; 33 * 4 + BUCKETS]);
    assert_eq!(parse_assignment(service, &many), Err(Malformed::Value));
}
