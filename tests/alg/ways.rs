//! A dialogue run in every way that a stream may be cut.

use crate::host::Manner;
use crate::support::{Faults, Table, World};

pub(crate) const TUPLE: &str = "PORT 10,0,0,5,19,137\r\n";
pub(crate) const NAT: &str = "PORT 192,168,100,200,200,100\r\n";
pub(crate) const SMALL: &str = "PORT 1,1,1,1,1,1\r\n";
pub(crate) const R227: &str = "227 Entering Passive Mode (10,0,0,200,200,10).\r\n";
pub(crate) const N227: &str = "227 Entering Passive Mode (1,2,3,4,5,6).\r\n";

/// Runs a dialogue in every way; both ends must get exactly what was decided, and every line is decided once.
pub(crate) fn every_way(up: &str, down: &str, rules: &[(&str, &str)], manner: &Manner) {
    for (piece, nagle, swap, duplicate) in [
        (1460, false, false, 0),
        (1, false, false, 0),
        (1, true, false, 0),
        (7, false, true, 0),
        (1, false, true, 0),
        (1460, false, false, 100),
        (1, false, false, 100),
    ] {
        let manner = Manner { piece, nagle, ..manner.clone() };
        let server = Manner { isn: manner.isn ^ 0x0055_AA00, ..manner.clone() };
        let faults = Faults { duplicate, swap, until: u64::MAX, ..Faults::default() };
        let streams = (up.as_bytes(), down.as_bytes());
        let mut world = World::new((manner, server), streams, Table::replace(rules), faults, 7);
        world.run();
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let want = (world.editor.expected(streams.0).0, world.editor.expected(streams.1).0);
        assert_eq!(text(&world.server.got), text(&want.0), "{piece} {swap} {duplicate}");
        assert_eq!(text(&world.client.got), text(&want.1), "{piece} {swap} {duplicate}");
        // Each line is decided once.
        for (line, _) in rules {
            let times = world.editor.seen.iter().filter(|s| s.1 == line.as_bytes()).count();
            let there = (up.to_owned() + down).matches(line).count();
            assert_eq!(times, there, "{line:?} {piece} {swap} {duplicate}");
        }
    }
}

pub(crate) fn ten(line: &str) -> String {
    (0..10).map(|n| format!("{line} {n}\r\n")).collect()
}
