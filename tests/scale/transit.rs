//! What passes in line costs no memory: frames of a connection that stands are forwarded without an allocation.

use crate::count;
use crate::line_craft::{frame, who_has};
use crate::line_options::{
    BRIDGED, CLIENT, INSIDE, INSIDE_MAC, OUTSIDE, OUTSIDE_MAC, Options, ROUTED, bridge, engine, masquerade,
    route,
};
use etherparse::PacketBuilder;
use std::net::Ipv4Addr;
use tidegate::buf::{Burst, Frame};
use tidegate::engine::{Engine, Turn, Tx};
use tidegate::firewall::Action;
use tidegate::time::{Duration, Instant};

const A: [u8; 6] = [2, 0, 0, 0, 0, 0xA];
const B: [u8; 6] = [2, 0, 0, 0, 1, 0xB];

struct Line {
    engine: Engine,
    now: Instant,
    rx: Vec<Burst>,
    tx: Vec<Tx>,
    pool: Vec<Frame>,
}

impl Line {
    fn new(o: &Options) -> Self {
        Self {
            engine: engine(o),
            now: Instant::from_millis(1000),
            rx: vec![Burst::new(), Burst::new()],
            tx: vec![Tx::default(), Tx::default()],
            pool: (0..256).map(|_| Frame::heap()).collect(),
        }
    }

    /// One turn with copies of a frame: how many left on each side, and what the engine allocated for it.
    fn turn(&mut self, side: usize, bytes: &[u8], copies: usize) -> ([usize; 2], usize) {
        self.now += Duration::from_micros(10);
        for _ in 0..copies {
            let mut f = self.pool.pop().unwrap();
            assert!(f.set(bytes) && self.rx[side].push(f).is_ok());
        }
        for tx in &mut self.tx {
            tx.slots = 512;
            while tx.spare.len() < 8 {
                tx.spare.push(self.pool.pop().unwrap_or_else(Frame::heap));
            }
        }
        let (mut none, mut events) = ((Vec::new(), Vec::new()), Vec::new());
        let before = count::made();
        count::within(true);
        self.engine.turn(&mut Turn {
            now: self.now,
            rx: &mut self.rx,
            tx: &mut self.tx,
            handoff_in: &mut none.0,
            handoff_out: &mut none.1,
            control: &[],
            events: &mut events,
        });
        count::within(false);
        let left = [self.tx[0].out.len(), self.tx[1].out.len()];
        for tx in &mut self.tx {
            for mut f in tx.out.drain(..).chain(tx.done.drain(..)) {
                f.reset();
                self.pool.push(f);
            }
        }
        (left, count::made() - before)
    }
}

/// A segment of a connection with a port that is no service's.
fn segment(
    src: (Ipv4Addr, u16),
    dst: (Ipv4Addr, u16),
    seq: u32,
    ack: Option<u32>,
    syn: bool,
    len: usize,
) -> Vec<u8> {
    let mut b = PacketBuilder::ipv4(src.0.octets(), dst.0.octets(), 64).tcp(src.1, dst.1, seq, 8192);
    if syn {
        b = b.syn();
    }
    if let Some(ack) = ack {
        b = b.ack(ack);
    }
    let mut out = Vec::new();
    b.write(&mut out, &vec![7; len]).unwrap();
    out
}

#[test]
fn frames_in_line_are_forwarded_without_an_allocation() {
    for (o, name) in [
        (bridge(Action::Allow), "bridge"),
        (route(Action::Allow), "route"),
        (masquerade(Action::Allow), "masquerade"),
    ] {
        let mut l = Line::new(&o);
        let server = if o.bridge { BRIDGED } else { ROUTED };
        let told = if name == "masquerade" { OUTSIDE } else { CLIENT };
        let (inward, outward) = if o.bridge { (A, B) } else { (INSIDE_MAC, OUTSIDE_MAC) };
        l.turn(0, &who_has(INSIDE, CLIENT, A), 1);
        l.turn(1, &who_has(OUTSIDE, ROUTED, B), 1);
        let out = |p: &[u8]| frame(if o.bridge { B } else { inward }, A, &[], p);
        let back = |p: &[u8]| frame(if o.bridge { A } else { outward }, B, &[], p);
        let (c, s, t) = ((CLIENT, 40_000), (server, 8080), (told, 40_000));
        assert_eq!(l.turn(0, &out(&segment(c, s, 100, None, true, 0)), 1).0, [0, 1], "{name}");
        assert_eq!(l.turn(1, &back(&segment(s, t, 500, Some(101), true, 0)), 1).0, [1, 0], "{name}");
        assert_eq!(l.turn(0, &out(&segment(c, s, 101, Some(501), false, 0)), 1).0, [0, 1], "{name}");
        let (data, ack) = (
            back(&segment(s, t, 501, Some(101), false, 1400)),
            out(&segment(c, s, 101, Some(501), false, 0)),
        );
        let mut made = 0;
        for round in 0..200 {
            for (side, bytes, want) in [(1, &data, [64, 0]), (0, &ack, [0, 64])] {
                let (left, more) = l.turn(side, bytes, 64);
                assert_eq!(left, want, "{name}");
                // The first turns find out how much room they need.
                made += if round < 10 { 0 } else { more };
            }
        }
        assert_eq!(made, 0, "{name}: allocations for 24,320 frames");
    }
}
