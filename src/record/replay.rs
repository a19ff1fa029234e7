//! Feeds a recording to an engine and compares what comes out.

use super::case::{Case, CaseError, Logs, RecordedTurn};
use super::fields::{self, Differs};
use super::names;
use super::turn::{HandoffLine, event_line};
use crate::buf::{Burst, Frame};
use crate::engine::{Control, Engine, Item, Turn, Tx};
use crate::event::Event;
use serde::Serialize;
use serde_json::Value;
use std::fmt;

/// The first thing that a replay did otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `egress frame`, `event` or `counter`.
    pub kind: &'static str,
    /// Which frame or event, counted from 1 over the whole recording (a frame's number in Wireshark).
    pub number: Option<u64>,
    /// In which turn.
    pub turn: Option<u64>,
    /// The frame's or event's field, the counter's name, or empty if all of it is missing or too much.
    pub field: String,
    /// What the replay gave.
    pub is: String,
    /// What was recorded.
    pub expected: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)?;
        if let Some(n) = self.number {
            write!(f, " {n}")?;
        }
        if let Some(turn) = self.turn {
            write!(f, " (turn {turn})")?;
        }
        f.write_str(":")?;
        if !self.field.is_empty() {
            write!(f, " {}", self.field)?;
        }
        write!(f, " is {}, expected {}", self.is, self.expected)
    }
}

/// How a replay went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Frames, events and counters are the recorded ones.
    Same,
    /// They are not.
    Differs(Box<Difference>),
}

/// Replays a case on `engine`, which must be made from the case's own configuration and interfaces and have
/// had no turn. Ends at the first difference.
///
/// # Errors
/// The case's files cannot be read or contradict each other.
pub fn verify(case: &Case, engine: &mut Engine) -> Result<Verdict, CaseError> {
    let mut logs = Logs::open(case)?;
    let interfaces = case.manifest().interface.len();
    let mut replay = Replay {
        rx: (0..interfaces).map(|_| Burst::new()).collect(),
        tx: (0..interfaces).map(|_| Tx::default()).collect(),
        pool: Vec::new(),
        frames: 0,
        events: 0,
    };
    while let Some(turn) = logs.next()? {
        let handoff: Option<Vec<Item>> = turn.line.handoff.iter().map(HandoffLine::item).collect();
        let handoff = handoff.ok_or_else(|| {
            let what = format!("line {}: a packet that no worker hands over", turn.line.turn);
            case.error(names::TURNS, what, "record the case again")
        })?;
        if let Some(difference) = replay.turn(engine, &turn, handoff) {
            return Ok(Verdict::Differs(Box::new(difference)));
        }
    }
    let difference = counters(&engine.counters(), &case.counters()?);
    Ok(difference.map_or(Verdict::Same, |d| Verdict::Differs(Box::new(d))))
}

struct Replay {
    rx: Vec<Burst>,
    tx: Vec<Tx>,
    /// Frames that are not in use.
    pool: Vec<Frame>,
    /// Egress frames and events compared so far.
    frames: u64,
    events: u64,
}

impl Replay {
    fn turn(
        &mut self,
        engine: &mut Engine,
        turn: &RecordedTurn,
        mut handoff: Vec<Item>,
    ) -> Option<Difference> {
        let line = &turn.line;
        let pool = &mut self.pool;
        // Where a received frame lies in its chunk does not matter to the engine: what it pushes in front is
        // never more than what it took off there plus what the smallest headroom holds.
        for (burst, frames) in self.rx.iter_mut().zip(&turn.rx) {
            for bytes in frames {
                let mut frame = pool.pop().unwrap_or_else(Frame::heap);
                // The log's reader let no frame pass that is too long, and no more than fit.
                if frame.set(bytes) {
                    let _ = burst.push(frame);
                }
            }
        }
        for (tx, (slots, spare)) in self.tx.iter_mut().zip(line.slots.iter().zip(&line.spare)) {
            tx.slots = *slots;
            tx.spare.truncate(*spare);
            while tx.spare.len() < *spare {
                let mut frame = pool.pop().unwrap_or_else(Frame::heap);
                frame.reset();
                tx.spare.push(frame);
            }
        }
        let control: Vec<Control> = line.control.iter().map(|&c| c.into()).collect();
        let mut events = Vec::new();
        engine.turn(&mut Turn {
            now: line.now(),
            rx: &mut self.rx,
            tx: &mut self.tx,
            handoff_in: &mut handoff,
            handoff_out: &mut Vec::new(),
            control: &control,
            events: &mut events,
        });
        let mut first = None;
        for (tx, expected) in self.tx.iter_mut().zip(&turn.out) {
            let differs = frames(&tx.out, expected);
            first = first.or_else(|| differs.map(|(n, d)| of("egress frame", self.frames + n, line.turn, d)));
            self.frames += expected.len() as u64;
            self.pool.append(&mut tx.out);
            self.pool.append(&mut tx.done);
        }
        // More than a turn needs are not worth keeping.
        self.pool.truncate(1024);
        let differs = event_difference(line.turn, &events, &turn.events);
        first = first.or_else(|| differs.map(|(n, d)| of("event", self.events + n, line.turn, d)));
        self.events += turn.events.len() as u64;
        first
    }
}

fn of(kind: &'static str, number: u64, turn: u64, d: Differs) -> Difference {
    let Differs { field, is, expected } = d;
    Difference { kind, number: Some(number), turn: Some(turn), field, is, expected }
}

/// The first frame that differs, counted from 1, and how.
fn frames(is: &[Frame], expected: &[Vec<u8>]) -> Option<(u64, Differs)> {
    let (mut is, mut expected) = (is.iter(), expected.iter());
    let mut n = 0;
    loop {
        n += 1;
        let differs = match (is.next(), expected.next()) {
            (None, None) => return None,
            (Some(a), Some(b)) => fields::difference(a.bytes(), b),
            (Some(a), None) => Some(whole(fields::summary(a.bytes()), "none".to_owned())),
            (None, Some(b)) => Some(whole("missing".to_owned(), fields::summary(b))),
        };
        if let Some(d) = differs {
            return Some((n, d));
        }
    }
}

fn event_difference(turn: u64, is: &[Event], expected: &[Value]) -> Option<(u64, Differs)> {
    let (mut is, mut expected) = (is.iter(), expected.iter());
    let mut n = 0;
    loop {
        n += 1;
        let line = is.next().map(|e| event_line(turn, e));
        let differs = match (line, expected.next()) {
            (None, None) => return None,
            (Some(a), Some(b)) => {
                let a: Value = serde_json::from_str(&a).unwrap_or_default();
                keys(&a, b)
            }
            (Some(a), None) => Some(whole(a, "none".to_owned())),
            (None, Some(b)) => Some(whole("missing".to_owned(), b.to_string())),
        };
        if let Some(d) = differs {
            return Some((n, d));
        }
    }
}

fn whole(is: String, expected: String) -> Differs {
    Differs { field: String::new(), is, expected }
}

/// The first key in which two events differ, their kind before all others.
fn keys(is: &Value, expected: &Value) -> Option<Differs> {
    let (Some(a), Some(b)) = (is.as_object(), expected.as_object()) else {
        return (is != expected).then(|| whole(is.to_string(), expected.to_string()));
    };
    let kind = expected.get("event").and_then(Value::as_str).unwrap_or("event");
    let names = ["event"].into_iter().chain(b.keys().chain(a.keys()).map(String::as_str));
    for name in names {
        let (x, y) = (a.get(name), b.get(name));
        if x != y {
            let show = |v: Option<&Value>| v.map_or_else(|| "absent".to_owned(), Value::to_string);
            let field = if name == "event" { "event".to_owned() } else { format!("{kind}.{name}") };
            return Some(Differs { field, is: show(x), expected: show(y) });
        }
    }
    None
}

fn counters(is: &[(String, u64)], expected: &[(String, u64)]) -> Option<Difference> {
    let value = |of: &[(String, u64)], name: &str| of.iter().find(|c| c.0 == name).map(|c| c.1);
    let names = is.iter().chain(expected).map(|c| c.0.as_str());
    for name in names {
        let (x, y) = (value(is, name), value(expected, name));
        // A count that an older program did not keep was 0 in it.
        if x.unwrap_or(0) != y.unwrap_or(0) {
            let show = |n: Option<u64>| n.map_or_else(|| "absent".to_owned(), |n| n.to_string());
            return Some(Difference {
                kind: "counter",
                number: None,
                turn: None,
                field: name.to_owned(),
                is: show(x),
                expected: show(y),
            });
        }
    }
    None
}
