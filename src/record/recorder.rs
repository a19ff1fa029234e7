//! The worker's end of a recording: takes turns, never waits.

use super::manifest::Ended;
use crate::buf::{Burst, Frame};
use crate::engine::{Control, Item, Tx};
use crate::event::Event;
use crate::time::Instant;
use crossbeam::channel::{Receiver, Sender, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Turns on their way to the writer.
pub const QUEUE_TURNS: usize = 8_192;
/// Bytes of frames on their way to the writer.
pub const QUEUE_BYTES: usize = 64 << 20;
/// What a turn and a frame cost in the files beyond the frame's bytes, about.
const TURN_BYTES: u64 = 120;
const FRAME_BYTES: u64 = 36;

/// One turn on its way to the writer.
#[derive(Debug, Default)]
pub(super) struct TurnRecord {
    pub(super) turn: u64,
    pub(super) now: Instant,
    pub(super) rx: Vec<Vec<Vec<u8>>>,
    /// (slots, spare frames) for each interface.
    pub(super) room: Vec<(usize, usize)>,
    pub(super) handoff: Vec<Item>,
    pub(super) control: Vec<Control>,
    pub(super) out: Vec<Vec<Vec<u8>>>,
    pub(super) events: Vec<Event>,
    /// Bytes of its frames.
    pub(super) held: usize,
}

/// How it ended, and what the engine had counted by then.
#[derive(Debug)]
pub(super) struct End {
    pub(super) ended: Ended,
    pub(super) counters: Vec<(String, u64)>,
}

/// What both ends share beyond the queues.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Bytes in the queue.
    pub(super) held: AtomicUsize,
    /// The writer could not go on.
    pub(super) failed: AtomicBool,
}

/// The other end, for the writer.
pub(super) struct Tail {
    pub(super) turns: Receiver<TurnRecord>,
    pub(super) end: Receiver<End>,
    pub(super) shared: Arc<Shared>,
}

/// Why a recording ended before the gateway did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its limit is reached.
    Limit,
    /// The writer could not keep up.
    Overflow,
    /// The files cannot be written.
    Failed,
}

impl Why {
    /// What it means and what to do, for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Limit => "the recording has reached its limit and has ended; allow more by --record-limit",
            Self::Overflow => {
                "the recording has ended, turns came faster than they could be written; record to a faster disk, \
                 or less traffic"
            }
            Self::Failed => {
                "the recording cannot be written and has ended; see the log, make room on the disk"
            }
        }
    }
}

/// Takes a worker's turns. One that has ended takes nothing more.
#[derive(Debug)]
pub struct Recorder {
    queues: Option<(Sender<TurnRecord>, Sender<End>)>,
    shared: Arc<Shared>,
    record: TurnRecord,
    turn: u64,
    bytes: u64,
    limit: u64,
}

impl Recorder {
    /// A recorder whose files may become about `limit` bytes, and the end that the writer needs.
    pub(super) fn new(limit: u64) -> (Self, Tail) {
        let (turns_in, turns) = bounded(QUEUE_TURNS);
        let (end_in, end) = bounded(1);
        let shared = Arc::new(Shared::default());
        let recorder = Self {
            queues: Some((turns_in, end_in)),
            shared: Arc::clone(&shared),
            record: TurnRecord::default(),
            turn: 0,
            bytes: 0,
            limit,
        };
        (recorder, Tail { turns, end, shared })
    }

    /// Takes what goes into a turn. `Some` if the recording ends here, without this turn, which
    /// [`after`](Self::after) then need not be told; `counters` are those before the turn.
    pub fn before(
        &mut self,
        now: Instant,
        rx: &[Burst],
        tx: &[Tx],
        handoff: &[Item],
        control: &[Control],
        counters: impl FnOnce() -> Vec<(String, u64)>,
    ) -> Option<Why> {
        let (turns, _) = self.queues.as_ref()?;
        let why = if self.shared.failed.load(Ordering::Acquire) {
            Some((Why::Failed, Ended::Stop))
        } else if self.bytes >= self.limit {
            Some((Why::Limit, Ended::Limit))
        } else if turns.is_full() || self.shared.held.load(Ordering::Acquire) >= QUEUE_BYTES {
            Some((Why::Overflow, Ended::Overflow))
        } else {
            None
        };
        if let Some((why, ended)) = why {
            self.end(ended, counters());
            return Some(why);
        }
        self.turn += 1;
        self.record = TurnRecord {
            turn: self.turn,
            now,
            rx: rx.iter().map(|burst| copy(burst.iter())).collect(),
            room: tx.iter().map(|t| (t.slots, t.spare.len())).collect(),
            handoff: handoff.to_vec(),
            control: control.to_vec(),
            ..TurnRecord::default()
        };
        None
    }

    /// Takes what came out of the turn.
    pub fn after(&mut self, tx: &[Tx], events: &[Event]) {
        let Some((turns, _)) = &self.queues else { return };
        let mut record = std::mem::take(&mut self.record);
        record.out = tx.iter().map(|t| copy(t.out.iter())).collect();
        record.events = events.to_vec();
        let frames = || record.rx.iter().chain(&record.out).flatten();
        let held: usize = frames().map(Vec::len).sum();
        let texts = record.events.len() as u64 * 2 * TURN_BYTES;
        self.bytes += held as u64 + frames().count() as u64 * FRAME_BYTES + TURN_BYTES + texts;
        record.held = held;
        self.shared.held.fetch_add(held, Ordering::AcqRel);
        // There was room before the turn, and nobody else puts anything in.
        let _ = turns.try_send(record);
    }

    /// Ends the recording because the gateway stops; nothing happens if it has ended.
    pub fn finish(&mut self, counters: Vec<(String, u64)>) {
        self.end(Ended::Stop, counters);
    }

    fn end(&mut self, ended: Ended, counters: Vec<(String, u64)>) {
        if let Some((_, end)) = self.queues.take() {
            // There is room for one, and only one is ever sent.
            let _ = end.try_send(End { ended, counters });
        }
    }
}

fn copy<'a>(frames: impl Iterator<Item = &'a Frame>) -> Vec<Vec<u8>> {
    frames.map(|f| f.bytes().to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_ends_the_recording_before_the_turn_that_does_not_fit() {
        let (mut recorder, tail) = Recorder::new(u64::MAX);
        let mut told = Vec::new();
        for i in 0..QUEUE_TURNS as u64 + 2 {
            let why =
                recorder.before(Instant::from_millis(i), &[], &[], &[], &[], || vec![("turns".into(), i)]);
            told.extend(why);
            if why.is_none() {
                recorder.after(&[], &[]);
            }
        }
        recorder.finish(Vec::new());
        assert_eq!(told, [Why::Overflow], "it is told once");
        assert_eq!(tail.turns.iter().count(), QUEUE_TURNS);
        let end = tail.end.try_recv().unwrap();
        assert_eq!((end.ended, end.counters), (Ended::Overflow, vec![("turns".into(), QUEUE_TURNS as u64)]));
    }

    #[test]
    fn frames_that_wait_are_bounded_in_bytes() {
        let (mut recorder, tail) = Recorder::new(u64::MAX);
        let tx =
            Tx { out: (0..64).map(|_| Frame::from_bytes(&[7; 1500]).unwrap()).collect(), ..Tx::default() };
        let tx = [tx];
        let mut turns = 0;
        while recorder.before(Instant::ZERO, &[], &tx, &[], &[], Vec::new).is_none() {
            recorder.after(&tx, &[]);
            turns += 1;
        }
        assert_eq!(turns, QUEUE_BYTES.div_ceil(64 * 1500));
        assert_eq!(tail.end.try_recv().unwrap().ended, Ended::Overflow);
    }
}
