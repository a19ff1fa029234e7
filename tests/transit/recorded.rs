//! Recordings of a worker with two interfaces.

use crate::support::net::Network;
use crate::support::options::{Options, ROUTED, engine, masquerade};
use tidegate::firewall::Action;
use tidegate::record::{About, Case, RecordWriter, RecordedInterface, Verdict, verify};

#[test]
fn two_interfaces_are_recorded_and_replayed_and_a_change_is_named() {
    let o = masquerade(Action::Allow);
    let dir = std::env::temp_dir().join(format!("tidegate-transit-{}", std::process::id()));
    let interface = |name: &str, mac: &str| RecordedInterface {
        name: name.into(),
        driver: "mem".into(),
        mac: mac.into(),
        mtu: 1500,
    };
    let about = About {
        config: String::new(),
        recorded: "two ports in memory".into(),
        interfaces: vec![
            interface("inside0", "02:09:00:00:00:01"),
            interface("outside0", "02:09:00:00:00:02"),
        ],
    };
    let (recorder, writer) = RecordWriter::start(&dir, 1 << 30, about).unwrap();
    let mut n = Network::new(&o);
    n.record(recorder);
    let mut c = n.login(0, 40_000, (ROUTED, 21).into());
    let (_, reply) = n.active(&mut c, "PORT", 5001);
    assert!(reply.starts_with("200"));
    assert!(n.cmd(&mut c, "QUIT").starts_with("221"));
    n.worker.finish_recording();
    writer.finish().unwrap();
    let case = Case::open(&dir).unwrap();
    assert_eq!(case.manifest().interface.len(), 2);
    assert!(case.manifest().frames_out > 10);
    assert_eq!(verify(&case, &mut engine(&o)).unwrap(), Verdict::Same);
    let differs = |o: &Options| match verify(&case, &mut engine(o)).unwrap() {
        Verdict::Differs(d) => (d.kind, d.turn),
        Verdict::Same => panic!("no difference"),
    };
    let mut other = o.clone();
    other.firewall.services[0].alg = false;
    assert_eq!(differs(&other).0, "event");
    let mut other = o.clone();
    other.firewall.nat.masquerade = None;
    assert_eq!(differs(&other).0, "egress frame", "of the second interface");
    std::fs::remove_dir_all(&dir).unwrap();
}
