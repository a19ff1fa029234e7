//! A gateway that stands still for seconds, as a paused virtual machine does or one that is swapped out, while
//! everybody else goes on: afterwards transfers go on, too.

use crate::support::*;
use tidegate::time::Duration;

#[test]
fn transfers_outlive_a_standstill_at_any_moment() {
    for by in Meeting::ALL {
        // What comes meanwhile waits for the engine, or a ring is full at once and nearly all of it is lost.
        for waits in [4096, 4] {
            let mut moment = 0;
            loop {
                // The router waits longer than this for a gateway's sign of life, as routers do by default.
                let mut w = World::new(Options { here_i_am: Duration::from_secs(10), ..by.options() });
                (w.waits, w.still_after) = (waits, w.turns + moment);
                let mut good = Bystander::new(&mut w, 0, 5001);
                (good.mixed, good.wants, good.pace) = (true, 3, 20_000);
                let (first, end) = (w.turns, w.now + Duration::from_secs(60));
                while !good.gone() {
                    good.step(&mut w);
                    w.pass(Duration::from_millis(1));
                    assert!(w.now < end, "{by:?}: {} transfers, still after {moment} turns", good.done);
                }
                assert_eq!(good.done, 3);
                if w.turns - first < moment {
                    break;
                }
                moment += 3;
            }
            assert!(moment > 50, "{moment} turns");
        }
    }
}
