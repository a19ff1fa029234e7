//! The WCCP appliance of requirement set R000, point by point.

use crate::support::*;
use std::net::SocketAddrV4;
use tidegate::event::What;
use tidegate::session::{ClientMode, DataSource};
use tidegate::time::Duration;

#[test]
fn r000_1_the_server_answers_the_syn_and_the_gateway_is_nowhere_to_be_seen() {
    let mut w = World::new(Options::default());
    w.watch();
    let mut c = w.login(0, 5001);
    let listing = w.fetch(&mut c, "PASV", "LIST");
    assert!(listing.is_empty());
    let to_client = w.segments(Hop::ToHost(0));
    let first = &to_client[0];
    assert_eq!(
        (first.src, first.dst, first.flags),
        (SocketAddrV4::new(SERVER, 21), SocketAddrV4::new(CLIENT, 5001), 0x12)
    );
    assert!(to_client.iter().all(|t| *t.src.ip() == SERVER), "another address than the server's");
    for (hop, packet) in w.seen.as_ref().unwrap() {
        if *hop == Hop::ToHost(0) {
            assert!(packet[12..16] != GATEWAY.octets() && packet[16..20] != GATEWAY.octets());
        }
    }
    // All that the client sent came by GRE.
    assert!(w.segments(Hop::ToGateway).iter().all(|t| *t.src.ip() == SERVER));
}

#[test]
fn r000_2_the_gateway_has_its_own_connection_to_the_original_address() {
    let mut w = World::new(Options::default());
    w.watch();
    w.login(0, 5001);
    let syns: Vec<Tcp> = w.segments(Hop::FromGateway).into_iter().filter(|t| t.flags == 0x02).collect();
    assert_eq!(syns.len(), 1);
    assert_eq!((*syns[0].src.ip(), syns[0].dst), (GATEWAY, SocketAddrV4::new(SERVER, 21)));
    let client_isn = w.segments(Hop::FromHost(0))[0].seq;
    let server_isn = w.segments(Hop::FromHost(1)).iter().find(|t| t.flags == 0x12).unwrap().seq;
    let ours = w.segments(Hop::ToHost(0))[0].seq;
    assert!(syns[0].seq != client_isn && ours != server_isn, "the legs share a sequence number");
    assert_eq!(w.server.accepted, 1);
}

fn own() -> Options {
    let mut o = Options::default();
    o.service.data_source = DataSource::Own;
    o
}

#[test]
fn r000_3_with_our_own_address_in_the_227_a_careful_client_refuses_and_a_careless_one_works() {
    let mut o = own();
    o.server.files.insert("f".into(), b"content".to_vec());
    let mut w = World::new(o);
    let mut c = w.login(0, 5001);
    let to = w.passive(&mut c, "PASV");
    assert_eq!(*to.ip(), GATEWAY, "a careful client compares this with its control connection's peer");
    assert_eq!(&w.cmd(&mut c, "EPSV")[..3], "502", "a 229 cannot name another address");
    w.gateway_shows = true;
    assert_eq!(w.fetch(&mut c, "PASV", "RETR f"), b"content");
}

#[test]
fn r000_4_passive_is_refused_and_the_session_goes_on_with_port_and_eprt() {
    let mut o = Options::default();
    o.service.client_mode = ClientMode::Active;
    o.server.files.insert("f".into(), b"content".to_vec());
    let mut w = World::new(o);
    let mut c = w.login(0, 5001);
    for verb in ["PASV", "EPSV"] {
        let reply = w.cmd(&mut c, verb);
        assert!(reply.starts_with("502 ") && reply.contains("client_mode"), "{reply}");
    }
    for verb in ["PORT", "EPRT"] {
        let d = w.active(&mut c, verb);
        assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
        assert_eq!(w.read_all(&c, d), b"content");
        assert_eq!(&w.reply(&mut c)[..3], "226");
    }
}

#[test]
fn r000_5_active_data_comes_from_the_servers_address_and_the_configured_port() {
    for port in [21, 2020, 20] {
        let mut o = Options::default();
        o.service.active_source_port = port;
        let mut w = World::new(o);
        let mut c = w.login(0, 5001);
        let d = w.active(&mut c, "PORT");
        w.watch();
        assert_eq!(&w.cmd(&mut c, "LIST")[..3], "150");
        let syn = w.segments(Hop::ToHost(0)).into_iter().find(|t| t.flags == 0x02).unwrap();
        assert_eq!(syn.src, SocketAddrV4::new(SERVER, port));
        w.read_all(&c, d);
        assert_eq!(&w.reply(&mut c)[..3], "226");
    }
}

#[test]
fn r000_6_the_clients_answer_is_redirected_and_data_is_exact_and_ends_close_both_legs() {
    let mut o = Options::default();
    let file: Vec<u8> = (0..100_000u32).flat_map(u32::to_be_bytes).collect();
    o.server.files.insert("f".into(), file.clone());
    let mut w = World::new(o);
    let mut c = w.login(0, 5001);
    w.watch();
    for (what, want) in [("RETR f", &file[..]), ("LIST", b"f\r\n")] {
        let d = w.active(&mut c, "PORT");
        assert_eq!(&w.cmd(&mut c, what)[..3], "150");
        assert!(w.read_all(&c, d) == want);
        assert_eq!(&w.reply(&mut c)[..3], "226");
    }
    let redirected: Vec<Vec<u8>> = gre_inner(&w);
    let answers =
        redirected.iter().filter_map(|p| tcp_of(p)).filter(|t| t.flags == 0x12 && t.dst.port() == 20);
    assert_eq!(answers.count(), 2, "the SYN-ACKs came by redirection");
    w.pass(Duration::from_secs(1));
    let fins = |w: &World, hop| w.segments(hop).iter().filter(|t| t.flags & 1 != 0).count();
    assert!(fins(&w, Hop::ToHost(0)) == 2 && fins(&w, Hop::FromHost(0)) == 2);
    assert!(fins(&w, Hop::ToHost(1)) == 2 && fins(&w, Hop::FromHost(1)) == 2);
    // A reset of the client's ends the server's leg with a reset.
    let d = w.active(&mut c, "PORT");
    assert_eq!(&w.cmd(&mut c, "STOR g")[..3], "150");
    w.hosts[0].socket(d).abort();
    assert_eq!(&w.reply(&mut c)[..3], "426");
    let rst = w.segments(Hop::ToHost(1)).into_iter().filter(|t| t.flags & 4 != 0 && t.dst.port() != 21);
    assert_eq!(rst.count(), 1);
    assert!(!w.server.conf.files.contains_key("g"), "a cut upload was taken for whole");
}

/// Inner packets that came to the gateway by GRE.
fn gre_inner(w: &World) -> Vec<Vec<u8>> {
    let seen = w.seen.iter().flatten().filter(|(h, p)| *h == Hop::ToGateway && p[9] == 47);
    seen.map(|(_, p)| p[28..].to_vec()).collect()
}

#[test]
fn r000_7_a_data_port_that_is_not_redirected_gives_425_with_its_number_in_time() {
    let o = Options { denied: vec![20], ..Options::default() };
    let limit = o.timers.connect;
    let mut w = World::new(o);
    let mut c = w.login(0, 5001);
    w.active(&mut c, "PORT");
    let asked = w.now;
    let reply = w.cmd(&mut c, "LIST");
    assert!(reply.starts_with("425 ") && reply.contains("port 20 "), "{reply}");
    assert!(w.now.since(asked) <= limit + Duration::from_millis(500), "after {:?}", w.now.since(asked));
    let told = w.told(|e| match e {
        What::Expectation { state: "expired", reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert!(told.len() == 1 && told[0].contains("port 20 "), "{told:?}");
    assert_eq!(&w.cmd(&mut c, "NOOP")[..3], "200", "the session lives");
    let to = w.passive(&mut c, "PASV");
    let d = w.data(&mut c, to);
    assert_eq!(&w.cmd(&mut c, "LIST")[..3], "150");
    w.read_all(&c, d);
    assert_eq!(&w.reply(&mut c)[..3], "226");
}

#[test]
fn r000_8_with_data_source_own_active_data_comes_from_our_address() {
    let mut o = own();
    o.server.files.insert("f".into(), b"content".to_vec());
    let mut w = World::new(o);
    w.gateway_shows = true;
    let mut c = w.login(0, 5001);
    let d = w.active(&mut c, "EPRT");
    w.watch();
    assert_eq!(&w.cmd(&mut c, "RETR f")[..3], "150");
    let syn = w.segments(Hop::ToHost(0)).into_iter().find(|t| t.flags == 0x02).unwrap();
    assert_eq!(syn.src, SocketAddrV4::new(GATEWAY, 20));
    assert_eq!(w.read_all(&c, d), b"content");
    assert_eq!(&w.reply(&mut c)[..3], "226");
}

#[test]
fn r000_9_packets_of_unknown_flows_go_back_to_the_router_and_reach_the_server() {
    let mut w = World::new(Options::default());
    let from = SocketAddrV4::new([10, 0, 0, 77].into(), 4000);
    w.watch();
    for port in PORTS {
        w.host_sends(0, &segment(from, SocketAddrV4::new(SERVER, port), 1, 1, 0x10));
    }
    w.settle();
    let sent: Vec<Tcp> = w.segments(Hop::FromHost(0)).into_iter().filter(|t| t.src == from).collect();
    let got: Vec<Tcp> = w.segments(Hop::ToHost(1)).into_iter().filter(|t| t.src == from).collect();
    assert_eq!(sent.len(), 8);
    assert_eq!(got, sent);
    assert_eq!(w.counter("returned"), 8);
    assert_eq!(w.router.wccp.groups()[0].stats.returned, 8);
}

#[test]
fn r000_11_wccp_with_bridge_or_route_is_refused_with_a_message() {
    for kind in ["bridge", "route"] {
        let text = format!(
            "version = 1\n[deployment]\nkind = \"{kind}\"\n[[interface]]\nname = \"e\"\ndriver = \"af_xdp\"\n\
             address = [\"10.9.0.2/24\"]\nnext_hop = \"10.9.0.1\"\n[wccp]\nrouters = [\"10.9.0.1\"]\n\
             [[wccp.group]]\nid = 61\nrole = \"forward\"\nports = [21, 20]\n[[service]]\nname = \"ftp\"\nports = [21]\n"
        );
        let errors = tidegate::config::parse(&text, std::path::Path::new("t.toml")).unwrap_err();
        let all = errors.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(all.contains("wccp") && all.contains(kind) && all.contains("t.toml:"), "{all}");
    }
}
