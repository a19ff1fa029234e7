//! Positions in a stream, 64 bits wide, and their sequence numbers on the wire.
//!
//! Position 0 is the SYN, 1 the first byte of data; the FIN takes one behind the last byte.

/// The sequence number of a position.
pub(super) const fn wire(isn: u32, pos: u64) -> u32 {
    isn.wrapping_add(pos as u32)
}

/// The position of a sequence number: the one nearest to `near`, so less than 2^31 away. `None` in front of
/// the SYN.
pub(super) fn unwrap(isn: u32, seq: u32, near: u64) -> Option<u64> {
    let away = seq.wrapping_sub(wire(isn, near)) as i32;
    near.checked_add_signed(i64::from(away))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_position_survives_the_wire_however_often_it_wrapped(
            isn: u32, near in 0u64..1 << 40, away in -(1i64 << 31) + 1..1 << 31
        ) {
            let pos = near.checked_add_signed(away);
            let seq = wire(isn, near).wrapping_add(away as u32);
            prop_assert_eq!(unwrap(isn, seq, near), pos);
            if let Some(pos) = pos {
                prop_assert_eq!(wire(isn, pos), seq);
            }
        }
    }

    #[test]
    fn numbers_before_the_syn_have_no_position() {
        assert_eq!(unwrap(0, u32::MAX, 0), None);
        assert_eq!(unwrap(u32::MAX, 0, 0), Some(1));
        assert_eq!(unwrap(5, 5, 1 << 32), Some(1 << 32));
    }
}
