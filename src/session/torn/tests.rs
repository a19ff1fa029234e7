use super::*;
use proptest::prelude::*;

fn ends(n: u16) -> (SocketAddr, SocketAddr) {
    (SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 40_000)), SocketAddr::from(([192, 0, 2, 1], 21)))
}

fn word(end: u32, wants: u32) -> Word {
    Word { end, wants }
}

fn at(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

#[test]
fn ends_that_contradict_each_other_in_turn_are_torn_and_the_other_is_told_what_it_waits_for() {
    let mut t = Torn::new(1);
    let (client, server) = (word(1000, 2_000_000_000), word(3_000_000_000, 4_000_000));
    assert_eq!(t.hears(at(0), ends(1), true, client), None);
    assert_eq!(t.hears(at(1), ends(1), false, server), None);
    assert_eq!(t.hears(at(2), ends(1), true, client), None);
    assert_eq!(t.hears(at(3), ends(1), false, server), Some(client.wants));
    // What comes late begins from nothing.
    assert_eq!(t.hears(at(4), ends(1), true, client), None);
}

#[test]
fn one_end_alone_proves_nothing_however_often_it_speaks() {
    let mut t = Torn::new(1);
    t.hears(at(0), ends(1), false, word(3_000_000_000, 4_000_000));
    assert!((0..100).all(|n| t.hears(at(n), ends(1), true, word(1000, 2_000_000_000)).is_none()));
}

#[test]
fn a_word_that_fits_clears_what_a_stranger_said() {
    let mut t = Torn::new(1);
    let (client, server, forged) = (word(1000, 5000), word(5100, 1000), word(77, 2_000_000_000));
    for n in 0..50 {
        assert_eq!(t.hears(at(n), ends(1), true, client), None);
        assert_eq!(t.hears(at(n), ends(1), true, forged), None);
        assert_eq!(t.hears(at(n), ends(1), false, server), None);
        assert_eq!(t.hears(at(n), ends(1), true, client), None);
    }
}

#[test]
fn what_is_looked_at_is_bounded_and_forgotten() {
    let mut t = Torn::new(1);
    for n in 0..=LOOKED_AT as u16 + 100 {
        t.hears(at(u64::from(n)), ends(n), true, word(1, 2));
    }
    assert_eq!((t.talks.len(), t.order.len()), (LOOKED_AT, LOOKED_AT));
    assert!(!t.talks.contains_key(&ends(100)) && t.talks.contains_key(&ends(101)));
    let mut looks = 0;
    while let Some(due) = t.next_deadline() {
        t.expire(due);
        looks += 1;
        assert!(looks <= LOOKED_AT, "an end");
    }
    assert_eq!((t.talks.capacity(), t.order.capacity()), (0, 0));
}

proptest! {
    /// Whatever is lost, doubled or late: ends of one connection are never torn apart.
    #[test]
    fn ends_of_one_connection_always_agree(
        client_isn: u32,
        server_isn: u32,
        steps in prop::collection::vec((any::<bool>(), 0u32..70_000, 0u32..100_000, 0u32..100_000), 1..200),
    ) {
        let mut t = Torn::new(1);
        // How far each end has sent.
        let (mut c, mut s) = (0u32, 0u32);
        for (of_client, sends, behind, back) in steps {
            let (own, other) = if of_client { (&mut c, s) } else { (&mut s, c) };
            *own += sends;
            // A repetition of something older, which wants what it wanted then.
            let (end, wants) = (own.saturating_sub(back), other.saturating_sub(behind));
            let (own_isn, other_isn) =
                if of_client { (client_isn, server_isn) } else { (server_isn, client_isn) };
            let word = Word { end: own_isn.wrapping_add(end), wants: other_isn.wrapping_add(wants) };
            prop_assert_eq!(t.hears(at(0), ends(1), of_client, word), None);
        }
    }
}
