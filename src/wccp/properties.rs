//! Whatever comes in, nothing panics; whatever we write, we read again.

use super::component::*;
use super::element::*;
use super::message::*;
use super::*;
use crate::time::{Duration, Instant};
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::Ipv4Addr;

const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

fn ip() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from)
}

fn service() -> impl Strategy<Value = Service> {
    (any::<bool>(), any::<(u8, u8, u8, u32)>(), any::<[u16; 8]>()).prop_map(|(dynamic, rest, ports)| {
        let kind = if dynamic { ServiceKind::Dynamic } else { ServiceKind::Standard };
        let (id, priority, protocol, flags) = rest;
        Service { kind, id, priority, protocol, flags: ServiceFlags(flags), ports }
    })
}

fn router() -> impl Strategy<Value = RouterIdElement> {
    (ip(), any::<u32>()).prop_map(|(router_id, receive_id)| RouterIdElement { router_id, receive_id })
}

fn key() -> impl Strategy<Value = AssignmentKey> {
    (ip(), any::<u32>()).prop_map(|(address, change)| AssignmentKey { address, change })
}

fn mask() -> impl Strategy<Value = Mask> {
    any::<(u32, u32, u16, u16)>().prop_map(|(source, destination, source_port, destination_port)| Mask {
        source,
        destination,
        source_port,
        destination_port,
    })
}

fn sets() -> impl Strategy<Value = Vec<MaskValueSet>> {
    let value = (mask(), ip()).prop_map(|(bits, cache)| Value { bits, cache });
    vec((mask(), vec(value, 0..5)).prop_map(|(mask, values)| MaskValueSet { mask, values }), 0..4)
}

fn aligned() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u32>(), 0..4).prop_map(|words| words.iter().flat_map(|word| word.to_be_bytes()).collect())
}

fn identity() -> impl Strategy<Value = CacheIdentity> {
    let data = prop_oneof![
        (any::<[u8; 32]>(), any::<(u16, u16)>()).prop_map(|(bits, (weight, status))| CacheData::Hash {
            buckets: Bitmap(bits),
            weight,
            status
        }),
        (sets(), any::<(u16, u16)>()).prop_map(|(sets, (weight, status))| CacheData::Mask {
            sets,
            weight,
            status
        }),
        Just(CacheData::None),
        (0..4u16, aligned()).prop_map(|(kind, body)| CacheData::Extended { kind, body }),
    ];
    (ip(), any::<u16>(), any::<bool>(), data).prop_map(|(address, hash_revision, historical, data)| {
        CacheIdentity { address, hash_revision, historical, data }
    })
}

fn table() -> impl Strategy<Value = HashTable> {
    (vec(ip(), 0..=32), vec(any::<(u8, bool, bool)>(), 256)).prop_map(|(caches, dice)| {
        let mut table = HashTable { caches, ..HashTable::empty() };
        let count = u8::try_from(table.caches.len()).unwrap();
        for (bucket, (index, alternate, assigned)) in table.buckets.iter_mut().zip(dice) {
            if assigned && count > 0 {
                *bucket = Bucket::Cache { index: index % count, alternate };
            }
        }
        table
    })
}

fn routers() -> impl Strategy<Value = Vec<RouterAssignment>> {
    let named = (router(), any::<u32>()).prop_map(|(router, change)| RouterAssignment { router, change });
    vec(named, 0..=32)
}

fn info() -> impl Strategy<Value = AssignmentInfo> {
    (key(), routers(), table()).prop_map(|(key, routers, table)| AssignmentInfo { key, routers, table })
}

fn capabilities() -> impl Strategy<Value = Vec<Capability>> {
    let one = prop_oneof![
        any::<u32>().prop_map(Capability::Forward),
        any::<u32>().prop_map(Capability::Assignment),
        any::<u32>().prop_map(Capability::Return),
        (4..u16::MAX, aligned()).prop_map(|(kind, value)| Capability::Other { kind, value }),
    ];
    vec(one, 0..6)
}

fn commands() -> impl Strategy<Value = Vec<Command>> {
    let one = prop_oneof![
        ip().prop_map(Command::Shutdown),
        ip().prop_map(Command::ShutdownResponse),
        (3..u16::MAX, aligned()).prop_map(|(kind, data)| Command::Other { kind, data }),
    ];
    vec(one, 0..4)
}

fn i_see_you() -> impl Strategy<Value = ISeeYou> {
    let identity = (router(), ip(), vec(ip(), 0..=32))
        .prop_map(|(router, sent_to, received_from)| RouterIdentity { router, sent_to, received_from });
    let view = (any::<u32>(), key(), vec(ip(), 0..=32), vec(self::identity(), 0..6))
        .prop_map(|(change, key, routers, caches)| RouterView { change, key, routers, caches });
    let assignment = prop_oneof![Just(None), info().prop_map(Some)];
    let map = prop_oneof![Just(None), sets().prop_map(Some)];
    (service(), identity, view, assignment, map, capabilities(), commands()).prop_map(
        |(service, identity, view, assignment, map, capabilities, commands)| ISeeYou {
            service,
            identity,
            view,
            assignment,
            map,
            capabilities,
            commands,
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let view = (any::<u32>(), vec(router(), 0..=32), vec(ip(), 0..=32))
        .prop_map(|(change, routers, caches)| CacheView { change, routers, caches });
    let here = (service(), identity(), view, capabilities(), commands()).prop_map(
        |(service, identity, view, capabilities, commands)| {
            Message::HereIAm(HereIAm { service, identity, view, capabilities, commands })
        },
    );
    let alternate = (
        key(),
        routers(),
        prop_oneof![table().prop_map(AlternateBody::Hash), sets().prop_map(AlternateBody::Mask)],
    )
        .prop_map(|(key, routers, body)| AlternateAssignment { key, routers, body });
    let redirect = prop_oneof![info().prop_map(Redirect::Info), alternate.prop_map(Redirect::Alternate)];
    let query = (service(), router(), ip(), ip()).prop_map(|(service, router, sent_to, target)| {
        Message::RemovalQuery(RemovalQuery { service, query: RouterQuery { router, sent_to, target } })
    });
    prop_oneof![
        here,
        i_see_you().prop_map(Message::ISeeYou),
        (service(), redirect).prop_map(|(service, assignment)| Message::RedirectAssign(RedirectAssign {
            service,
            assignment
        })),
        query,
    ]
}

fn password() -> impl Strategy<Value = Option<Password>> {
    prop_oneof![Just(None), vec(any::<u8>(), 1..=8).prop_map(|bytes| Password::new(&bytes).ok())]
}

fn settings() -> Settings {
    Settings {
        own_address: OWN,
        prefix: 24,
        routers: vec![ROUTER],
        password: None,
        forward: vec![Method::Gre, Method::L2],
        return_method: vec![Method::Gre, Method::L2],
        assignment: vec![Assignment::Mask, Assignment::Hash],
        mask: DEFAULT_MASK,
        here_i_am: Duration::from_secs(10),
        groups: vec![group()],
    }
}

fn group() -> GroupSettings {
    GroupSettings { id: 61, role: Role::Forward, ports: vec![21], priority: 240, protocol: 6 }
}

/// Feeds the datagrams to a client, a second and a timeout between them; it must stay within its bounds.
fn feed(datagrams: &[Vec<u8>]) {
    let mut client = Client::new(settings()).unwrap();
    let mut events = Vec::new();
    let mut now = Instant::ZERO;
    client.handle_timeout(now, &mut events);
    for datagram in datagrams {
        now += Duration::from_secs(1);
        client.handle_datagram(now, ROUTER, datagram, &mut events);
        client.handle_timeout(now, &mut events);
        let sent = std::iter::from_fn(|| client.poll_transmit()).count();
        assert!(sent <= 6, "{sent} messages at once");
        assert!(client.poll_timeout().is_none_or(|(at, _)| at > now), "a timer that stays due");
    }
    client.shutdown(now, &mut events);
    client.handle_timeout(now + Duration::from_secs(30), &mut events);
    assert!(client.is_left());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_again(message in message(), password in password()) {
        let datagram = message.emit(password.as_ref()).unwrap();
        prop_assert_eq!(parse(&datagram, password.as_ref()), Ok(message));
    }

    #[test]
    fn arbitrary_bytes(bytes in vec(any::<u8>(), 0..600), kind in 10u8..14) {
        let _ = parse(&bytes, None);
        let mut framed = vec![0, 0, 0, kind, 2, 0];
        framed.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
        framed.extend(&bytes);
        let _ = parse(&framed, None);
        feed(&[bytes, framed]);
    }

    #[test]
    fn mutated_messages(
        message in message(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut datagram = message.emit(None).unwrap();
        for (at, byte) in changes {
            let at = at.index(datagram.len());
            datagram[at] = byte;
        }
        let _ = parse(&datagram, None);
        // Cut to length, so that not all of them fail at the header.
        datagram.truncate(8 + cut.index(datagram.len() - 7));
        let length = u16::try_from(datagram.len() - 8).unwrap();
        datagram[6..8].copy_from_slice(&length.to_be_bytes());
        if let Ok(message) = parse(&datagram, None) {
            let again = message.emit(None).unwrap();
            prop_assert_eq!(parse(&again, None), Ok(message));
        }
    }

    #[test]
    fn any_well_formed_answers(
        messages in vec((i_see_you(), any::<[bool; 5]>(), 1u32..4), 0..30),
    ) {
        let fit = |(mut message, [service, ours, listed, offer, key], way): (ISeeYou, [bool; 5], u32)| {
            if service {
                message.service = group().service();
            }
            if ours {
                message.identity.received_from = vec![OWN];
            }
            if listed && let Some(cache) = message.view.caches.first_mut() {
                cache.address = OWN;
            }
            if offer {
                message.capabilities = vec![Capability::Forward(way), Capability::Assignment(way)];
            }
            if key {
                message.view.key = AssignmentKey { address: OWN, change: 1 };
            }
            Message::ISeeYou(message).emit(None).unwrap()
        };
        let datagrams: Vec<Vec<u8>> = messages.into_iter().map(fit).collect();
        feed(&datagrams);
    }
}
