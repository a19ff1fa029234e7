//! Receivers with less room than a line has bytes: the sender is not made to wait for them.

use crate::host::Manner;
use crate::rig::{Rig, ToClient, ToServer, one, to_client, to_server};
use crate::support::{ACK, Faults, Table, World};

fn line(bytes: usize) -> String {
    format!("PORT {}\r\n", "1".repeat(bytes - 7))
}

#[test]
fn a_line_longer_than_the_window_comes_at_once() {
    for room in [1, 10, 30] {
        for (old, new) in [(200, 200), (200, 260), (200, 40), (4096, 4000)] {
            let (old, new) = (line(old), line(new).replace('1', "2"));
            let manner = Manner::default();
            let server = Manner { isn: 77, room, ..manner.clone() };
            let editor = Table::replace(&[(&old, &new)]);
            let streams = (old.as_bytes(), &b"200 ok\r\n"[..]);
            let mut world = World::new((manner, server), streams, editor, Faults::default(), 7);
            (world.client.closes, world.server.closes) = (false, false);
            world.run();
            assert_eq!(world.server.got, new.as_bytes());
            // A trip for each windowful, of 20 ms there and back, and nobody had to ask.
            let trips = (new.len() / room + 3) as u64;
            assert!(world.now < 20 * trips + 100, "{room} {} ms", world.now);
            assert!(world.came <= 3 * trips + 10, "{room} {} segments", world.came);
            // It may become impatient for the last of it; to be asked for each byte would be much more.
            assert!(world.client.sent < 20 + trips / 20, "{room}: the client sent {}", world.client.sent);
        }
    }
}

#[test]
fn the_window_is_open_as_far_as_a_line_may_go_while_one_is_held() {
    let mut rig = Rig::with((1000, 5000), 10, &[], Table::replace(&[]));
    // A line's first bytes stay here, and its sender is told to go on.
    let told = one(rig.up(1, "PORT 1,2,3"));
    assert_eq!((told.dir, told.ack, told.window), (ToClient, 11, 4096 - 10));
    // What the receiver says meanwhile does not close it.
    let got = rig.put(ToClient, 1, 1, ACK, b"");
    assert!(got.iter().all(|g| g.dir != ToClient || g.window == 4096 - 10), "{got:?}");
    let told = one(rig.up(11, &"1".repeat(90)));
    assert_eq!((told.ack, told.window), (101, 4096 - 100));
    let got = rig.up(101, "\r\nNOOP\r\n");
    assert_eq!(to_server(&got), [(1, "PORT 1,2,3")]);
    // Each acknowledgement takes the next piece with it; what was told is not taken back.
    let mut edge = 101 + 4096 - 100;
    for at in (11..109).step_by(10) {
        let got = rig.put(ToClient, 1, at, ACK, b"");
        assert_eq!(to_server(&got)[0].0, at);
        for g in got.iter().filter(|g| g.dir == ToClient) {
            assert!(g.ack + i64::from(g.window) >= edge, "{g:?}");
            edge = g.ack + i64::from(g.window);
        }
    }
    rig.put(ToClient, 1, 109, ACK, b"");
    assert_eq!((rig.alg.memory(), rig.alg.next_deadline()), (0, None));
    // What came behind the line waits for the receiver alone.
    rig.put(ToServer, 109, 1, ACK, b"NOOP 1234567890\r\n");
    let got = rig.put(ToClient, 1, 119, ACK, b"");
    assert_eq!((to_server(&got), to_client(&got)), (vec![(119, "67890\r\n")], vec![(1, 119, "")]));
}

/// The room that is offered is there: a line as long as lines may be, and its window used up.
#[test]
fn what_is_offered_is_taken() {
    let mut rig = Rig::with((1000, 5000), 10, &[], Table::replace(&[]));
    let mut at = 1;
    let mut window = 10;
    let text = line(4096);
    while at <= 4096 {
        let take = window.min(4097 - at);
        assert!(take > 0, "closed at {at}");
        let got = rig.up(at, &text[at as usize - 1..(at + take) as usize - 1]);
        at += take;
        if let Some(g) = got.iter().find(|g| g.dir == ToClient) {
            assert_eq!(g.ack, at);
            window = i64::from(g.window);
        }
    }
    assert_eq!((rig.notes.len(), rig.editor.seen.len()), (0, 1));
}
