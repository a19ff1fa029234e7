//! Inspected sessions that are idle: what the firewall keeps of them.

use crate::count;
use crate::ftp_net::{Net, logged_in, masquerade, settings};
use std::fs;
use std::path::Path;
use tidegate::time::Duration;

const SESSIONS: u16 = 200;
/// An IPv4 entry of the flow table (one cache line), of which a connection has two.
const SLOT: isize = 64;

fn net() -> Net {
    let mut o = masquerade(settings());
    (o.limits.sessions, o.limits.sessions_per_client) = (1000, 1000);
    let mut net = Net::new(o);
    net.around = count::within;
    net
}

/// Logs in this often, and lets time pass, so that nothing is under way.
fn round(net: &mut Net, first: u16) -> (isize, Vec<(usize, usize)>) {
    let before = count::live();
    let all = (0..SESSIONS).map(|n| logged_in(net, &format!("10.0.0.5:{}", first + n))).collect();
    net.pass(Duration::from_secs(5));
    net.events = Vec::new();
    net.fw.take_events(&mut net.events);
    ((count::live() - before) / isize::from(SESSIONS as i16), all)
}

#[test]
fn an_idle_inspected_session_costs_less_than_four_kilobytes_and_leaves_nothing() {
    let mut net = net();
    let (_, first) = round(&mut net, 10_000);
    let (each, second) = round(&mut net, 20_000);
    let each = each + 2 * SLOT;
    println!("bytes per idle inspected session, its entries of the flow table among them: {each}");
    let figures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("figures");
    fs::create_dir_all(&figures).unwrap();
    fs::write(figures.join("idle-inspected"), format!("an idle inspected session takes {each} bytes\n"))
        .unwrap();
    assert!((200..4096).contains(&each), "{each} bytes for an idle session");
    assert_eq!(net.fw.sessions(), usize::from(SESSIONS) * 2);
    for (c, s) in first.into_iter().chain(second) {
        net.close(c);
        net.close(s);
    }
    net.pass(Duration::from_secs(600));
    for (what, n) in net.fw.occupied() {
        assert_eq!(n, 0, "{what}");
    }
}
