use super::*;
use crate::session::fixture::settings;
use std::net::Ipv6Addr;

const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const RANGE: usize = (BORROWED_PORTS.1 - BORROWED_PORTS.0) as usize + 1;

fn client(n: u16) -> IpAddr {
    Ipv4Addr::from_bits(0x0A00_0000 + u32::from(n)).into()
}

fn client6(network: u16, host: u16) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, host).into()
}

fn secs(s: u64) -> Instant {
    Instant::from_millis(s * 1000)
}

/// Ports rest a minute.
fn leases() -> Leases {
    let mut s = settings();
    s.own.v6 = Some(Ipv6Addr::LOCALHOST);
    s.timers.quarantine = Duration::from_secs(60);
    Leases::new(&s, Keyed::new([3; 16]))
}

type Take = fn(&mut Leases, IpAddr, IpAddr, Instant) -> Result<Lease, &'static str>;

fn to_one_port(l: &mut Leases, client: IpAddr, server: IpAddr, now: Instant) -> Result<Lease, &'static str> {
    l.open(client, SocketAddr::new(server, 40_000), now)
}

#[test]
fn a_client_that_burns_its_share_goes_without_alone_until_it_has_rested() {
    let kinds: [(&str, Take, usize, u64); 3] = [
        ("opened", to_one_port, EXPECTATIONS / PARTS, 10),
        ("awaited", Leases::await_from, 55_295 / PARTS, 60),
        ("borrowed", Leases::borrow, RANGE, 60),
    ];
    for (kind, take, share, rest) in kinds {
        let mut l = leases();
        for n in 0..share {
            // All that an announcement needs to be over is the next one.
            let lease =
                take(&mut l, client(1), SERVER, secs(1)).unwrap_or_else(|e| panic!("{kind} {n}: {e}"));
            l.give(&lease, secs(1));
        }
        assert_eq!(take(&mut l, client(1), SERVER, secs(1)), Err(NONE_LEFT), "{kind}");
        let elsewhere = Ipv4Addr::new(192, 0, 2, 2).into();
        assert_eq!(take(&mut l, client(1), elsewhere, secs(1)), Err(NONE_LEFT), "{kind}: another server");
        let another = take(&mut l, client(2), SERVER, secs(1));
        assert!(another.is_ok(), "{kind}: another client of the same server: {another:?}");
        assert!(take(&mut l, client(1), SERVER, secs(rest)).is_err(), "{kind}");
        assert!(take(&mut l, client(1), SERVER, secs(rest + 1)).is_ok(), "{kind}");
    }
}

#[test]
fn ports_given_back_out_of_turn_leave_nothing_due_behind() {
    let kinds: [Take; 3] = [to_one_port, Leases::await_from, Leases::borrow];
    for take in kinds {
        let mut l = leases();
        let two = [1, 2].map(|n| take(&mut l, client(n), SERVER, secs(100)).unwrap());
        // A relay ends now; a translated connection ended when it was last heard of.
        l.give(&two[0], secs(200));
        l.give(&two[1], secs(190));
        let (mut now, mut rounds) = (secs(200), 0);
        l.expire(now);
        while let Some(at) = l.next_deadline() {
            assert!(at > now, "{at:?} is not after {now:?}");
            now = at;
            l.expire(now);
            rounds += 1;
            assert!(rounds < 10, "there is always something due");
        }
        assert!(now <= secs(260), "{now:?}");
    }
}

#[test]
fn many_clients_of_one_server_borrow_more_than_one_could() {
    let mut l = leases();
    let mut before = Vec::new();
    for now in 0..180 {
        // A thousand a second, each of a transfer of a second.
        for lease in before.drain(..) {
            l.give(&lease, secs(now));
        }
        for n in 0..1000 {
            before.push(l.borrow(client(n % 50), SERVER, secs(now)).expect("every client has its own ports"));
        }
        l.expire(secs(now));
    }
    let mut ends: Vec<SocketAddr> = before.iter().map(|lease| lease.end).collect();
    ends.sort_unstable();
    ends.dedup();
    assert_eq!(ends.len(), 1000, "no two share an end");
}

#[test]
fn of_one_client_no_port_is_in_two_connections_with_one_server() {
    let mut l = leases();
    let mut ends: Vec<SocketAddr> =
        (0..RANGE).map(|_| l.borrow(client(1), SERVER, secs(1)).expect("free").end).collect();
    ends.sort_unstable();
    ends.dedup();
    assert_eq!(ends.len(), RANGE);
    assert!(ends.iter().all(|e| e.ip() == client(1)));
}

#[test]
fn a_network_of_ipv6_is_one_client() {
    let mut l = leases();
    let server = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1).into();
    for n in 0..RANGE {
        assert!(l.borrow(client6(1, n as u16), server, secs(1)).is_ok(), "{n}");
    }
    assert_eq!(l.borrow(client6(1, 60_000), server, secs(1)), Err(NONE_LEFT));
    assert!(l.borrow(client6(2, 1), server, secs(1)).is_ok(), "the next network");
}

#[test]
fn when_all_has_rested_nothing_is_remembered() {
    let mut l = leases();
    for n in 0..20 {
        let borrowed = l.borrow(client(n), SERVER, secs(1)).expect("free");
        let awaited = l.await_from(client(n), SERVER, secs(1)).expect("free");
        let opened = to_one_port(&mut l, client(n), SERVER, secs(1)).expect("free");
        l.give(&borrowed, secs(2));
        l.give(&awaited, secs(2));
        l.own.give_unused(client(n), opened.remote, opened.end, secs(2));
    }
    assert_eq!((l.own.held.total(), l.borrowed.held.clients()), (0, 20));
    let mut due = 0;
    while let Some(at) = l.next_deadline() {
        l.expire(at);
        due += 1;
        assert!(due < 100, "an end");
    }
    assert_eq!((l.borrowed.held.total(), l.awaited.held.total(), l.borrowed.ports.remotes()), (0, 0, 0));
    assert!(l.borrowed.resting.capacity() == 0 && l.awaited.resting.capacity() == 0);
}
