//! A long connection between two ends that do nothing else: the one sends full segments as far as the other's window
//! goes, the other compares every byte and acknowledges every second segment.
//!
//! Their frames are made after ones that the router has passed, and go to the engine in whole bursts.

use super::check::{self, sum};
use super::world::{Hop, World};
use etherparse::TcpOptionElement;
use std::collections::VecDeque;
use std::net::SocketAddr;
use tidegate::buf::{Burst, Frame};
use tidegate::engine::{Turn, Tx};
use tidegate::time::Duration;
use tidegate::wire::build;
use tidegate::wire::tcp::SynOptions;

/// Payload of a full segment.
const FULL: usize = 1460;
/// Segments after which the bytes are the same again; a prime, so that powers of two are no period.
const PERIOD: usize = 509;
/// What the ends' windows count.
const SCALE: u8 = 4;
/// Ethernet, IPv4 and TCP.
const HEADERS: usize = 14 + 20 + 20;
/// Of so many frames the independent parser sees one.
const SAMPLE: u64 = 16;
/// How long a burst takes at a gigabit a second.
const STEP: Duration = Duration::from_micros(768);

/// The bytes, and the sums of whole segments of them.
struct Text {
    bytes: Vec<u8>,
    sums: Vec<u16>,
}

impl Text {
    fn new() -> Self {
        let mut x = 1u32;
        let mut bytes: Vec<u8> = std::iter::repeat_with(|| {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            (x >> 11) as u8
        })
        .take(FULL * PERIOD)
        .collect();
        let sums = bytes.chunks(FULL).map(|s| sum(&[s])).collect();
        bytes.extend_from_within(..FULL);
        Self { bytes, sums }
    }

    fn at(&self, offset: u64, len: usize) -> &[u8] {
        let at = (offset % (FULL * PERIOD) as u64) as usize;
        &self.bytes[at..at + len]
    }

    /// Of the bytes that the sender sends together.
    fn sum(&self, offset: u64, len: usize) -> u16 {
        let whole = (offset / FULL as u64 % PERIOD as u64) as usize;
        if len == FULL { self.sums[whole] } else { sum(&[self.at(offset, len)]) }
    }
}

/// One end's segments: a frame without payload, as the engine gets it.
struct Form {
    frame: Vec<u8>,
    /// What an answer to it has for addresses and ports.
    answer: [u8; 12],
}

impl Form {
    fn new(mut frame: Vec<u8>) -> Self {
        let ip = frame.len() - 40;
        let answer = [16, 12, 22, 20].map(|at| ip + at);
        let parts = [&frame[answer[0]..][..4], &frame[answer[1]..][..4], &frame[answer[2]..][..2]];
        let answer = [&parts.concat(), &frame[answer[3]..][..2]].concat().try_into().unwrap();
        // The widest window that a header tells.
        frame[ip + 34..ip + 36].fill(0xFF);
        Self { frame, answer }
    }

    /// The frame with other numbers and this payload, of this sum.
    fn fill(&self, into: &mut Frame, (seq, ack): (Option<u32>, Option<u32>), payload: &[u8], of: u16) {
        into.reset();
        let (ip, tcp) = (self.frame.len() - 40, self.frame.len() - 20);
        let b = into.grow(self.frame.len() + payload.len()).unwrap();
        b[..self.frame.len()].copy_from_slice(&self.frame);
        b[self.frame.len()..].copy_from_slice(payload);
        for (at, number) in [(tcp + 4, seq), (tcp + 8, ack)] {
            if let Some(n) = number {
                b[at..at + 4].copy_from_slice(&n.to_be_bytes());
            }
        }
        if !payload.is_empty() {
            b[ip + 2..ip + 4].copy_from_slice(&(40 + payload.len() as u16).to_be_bytes());
            b[ip + 10..ip + 12].fill(0);
            let of_header = !sum(&[&b[ip..tcp]]);
            b[ip + 10..ip + 12].copy_from_slice(&of_header.to_be_bytes());
        }
        b[tcp + 16..tcp + 18].fill(0);
        let len = (20 + payload.len() as u16).to_be_bytes();
        let whole = !sum(&[&b[ip + 12..ip + 20], &[0, 6], &len, &b[tcp..tcp + 20], &of.to_be_bytes()]);
        b[tcp + 16..tcp + 18].copy_from_slice(&whole.to_be_bytes());
    }
}

/// A connection that carries so many bytes from one end to the other.
pub(crate) struct Bulk {
    size: u64,
    text: Text,
    data: Form,
    ack: Form,
    /// The number of the first byte, as it is sent and as it is received.
    first: (u32, u32),
    sent: u64,
    acked: u64,
    window: u64,
    /// What the window counts that the sender is told.
    pub(crate) scale: u8,
    got: u64,
    /// Bytes that were received and are still to be acknowledged, each time.
    acks: VecDeque<u64>,
    odd: bool,
    frames: u64,
}

impl Bulk {
    /// `data` and `ack` are frames of the two ends without payload, `first` the sequence numbers of the first byte
    /// at the sender and at the receiver.
    pub(crate) fn new(size: u64, data: Vec<u8>, ack: Vec<u8>, first: (u32, u32)) -> Self {
        let (text, data, ack) = (Text::new(), Form::new(data), Form::new(ack));
        let (sent, acked, got, frames) = (0, 0, 0, 0);
        let (acks, odd) = (VecDeque::new(), false);
        Self { size, text, data, ack, first, sent, acked, window: 8192, scale: SCALE, got, acks, odd, frames }
    }

    /// A frame that an end sends now.
    fn next(&mut self, acks: bool, into: &mut Frame) -> bool {
        if acks && let Some(got) = self.acks.pop_front() {
            let ack = self.first.1.wrapping_add(got as u32);
            self.ack.fill(into, (None, Some(ack)), &[], 0);
            return true;
        }
        let len = (self.size - self.sent).min(FULL as u64);
        if len == 0 || self.sent + len > self.acked + self.window {
            return false;
        }
        let payload = self.text.at(self.sent, len as usize);
        let of = self.text.sum(self.sent, len as usize);
        self.data.fill(into, (Some(self.first.0.wrapping_add(self.sent as u32)), None), payload, of);
        self.sent += len;
        true
    }

    /// Takes a frame that the engine sent; false if it is not of this connection.
    fn take(&mut self, frame: &[u8]) -> bool {
        if frame.len() < HEADERS || frame[12..15] != [8, 0, 0x45] || frame[23] != 6 {
            return false;
        }
        let number = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
        let (to_sender, to_receiver) = (frame[26..38] == self.data.answer, frame[26..38] == self.ack.answer);
        if !to_sender && !to_receiver {
            return false;
        }
        self.frames += 1;
        if self.frames.is_multiple_of(SAMPLE) {
            check::frame(frame, true);
        }
        if to_sender {
            let acked = number(42).wrapping_sub(self.first.0.wrapping_add(self.acked as u32));
            if acked <= 1 << 30 {
                self.acked += u64::from(acked);
                self.window = u64::from(number(46) & 0xFFFF) << self.scale;
            }
            assert!(self.acked <= self.sent, "what was not sent is acknowledged");
            return true;
        }
        let payload = &frame[14 + 20 + usize::from(frame[46] >> 4) * 4..];
        assert_eq!(number(38), self.first.1.wrapping_add(self.got as u32), "after {} bytes", self.got);
        assert!(payload == self.text.at(self.got, payload.len()), "other bytes, after {}", self.got);
        self.got += payload.len() as u64;
        self.odd = !self.odd;
        if !self.odd {
            self.acks.push_back(self.got);
        }
        true
    }
}

impl World {
    /// What the gateway gets when a host sends this: the frame.
    pub(crate) fn as_passed(&mut self, leg: usize, packet: &[u8]) -> Vec<u8> {
        self.watch();
        self.host_sends(leg, packet);
        self.settle();
        let seen = self.seen.take().unwrap();
        let (_, passed) = seen.into_iter().find(|(hop, _)| *hop == Hop::ToGateway).unwrap();
        [&super::world::GW_MAC[..], &super::world::ROUTER_MAC, &[8, 0], &passed].concat()
    }

    /// Carries all of it; the router goes on with what it does of itself.
    pub(crate) fn carry(&mut self, b: &mut Bulk) {
        let (mut rx, mut tx, mut pool) = ([Burst::new()], [Tx::default()], Vec::<Frame>::new());
        let mut idle = 0;
        while b.got < b.size || b.acked < b.size {
            while rx[0].room() > 0 {
                let mut frame = pool.pop().unwrap_or_else(Frame::heap);
                // Acknowledgements come first, and leave room for data.
                let some = match self.rx.pop_front() {
                    Some((_, f)) => frame.set(&f),
                    None => b.next(rx[0].len() < 48, &mut frame),
                };
                if !some {
                    pool.push(frame);
                    break;
                }
                rx[0].push(frame).unwrap();
            }
            let before = (b.got, b.acked);
            tx[0].slots = self.slots;
            tx[0].spare.resize_with(64, || pool.pop().unwrap_or_else(Frame::heap));
            self.gates[0].engine.turn(&mut Turn {
                now: self.now,
                rx: &mut rx,
                tx: &mut tx,
                handoff_in: &mut vec![],
                handoff_out: &mut vec![],
                control: &[],
                events: &mut self.events,
            });
            for f in &tx[0].out {
                if !b.take(f.bytes()) {
                    self.gateway_sent(f.bytes());
                }
            }
            let Tx { out, done, .. } = &mut tx[0];
            for mut f in out.drain(..).chain(done.drain(..)) {
                // Spare frames are empty.
                f.reset();
                pool.push(f);
            }
            // A single segment is acknowledged when no other follows.
            if b.odd && b.got == before.0 {
                b.odd = false;
                b.acks.push_back(b.got);
            }
            self.now += STEP;
            self.router.handle_timeout(self.now, &mut self.batches);
            self.deliver();
            idle = if before == (b.got, b.acked) { idle + 1 } else { 0 };
            assert!(idle < 20_000, "nothing moves after {} bytes, {} sent", b.got, b.sent);
        }
    }
}

/// A SYN, or the answer to one, of an end with a wide window.
pub(crate) fn opening(src: SocketAddr, dst: SocketAddr, seq: u32, ack: u32, flags: u8) -> Vec<u8> {
    let options =
        SynOptions { mss: Some(FULL as u16), window_scale: Some(SCALE), sack: true, timestamps: false };
    let t = build::Tcp { src, dst, seq, ack, flags, window: 0xFFFF, options, ttl: 60, ip_id: 7 };
    let mut b = vec![0; t.len()];
    t.emit(&mut b);
    b
}

/// The window scale in a SYN.
pub(crate) fn scale_of(packet: &[u8]) -> u8 {
    let sliced = etherparse::SlicedPacket::from_ip(packet).unwrap();
    let Some(etherparse::TransportSlice::Tcp(t)) = sliced.transport else { panic!("no TCP") };
    let scale = t.options_iterator().find_map(|o| match o {
        Ok(TcpOptionElement::WindowScale(n)) => Some(n),
        _ => None,
    });
    scale.unwrap_or(0)
}
