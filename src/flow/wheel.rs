//! A hashed timer wheel, for everything of a worker that waits: sessions, expectations, neighbours.
//!
//! A timer's time is rounded up to a whole number of steps (the resolution) and filed under that number
//! modulo the number of buckets. A timer that is put off stays where it is filed and is re-filed when its
//! bucket comes round: putting off, which happens with every segment, costs one store. Timers never fire
//! early, and at most one step late. Timers that are due together fire in the order of their steps, those
//! of one step in the order in which they were set. After the slab has grown to its working size nothing
//! allocates.

use crate::time::{Duration, Instant};

/// Names a timer; of no use any more once it has fired or been cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimerId {
    index: u32,
    generation: u32,
}

/// The wheel. `T` says what is to be done.
#[derive(Debug)]
pub struct Wheel<T> {
    nodes: Vec<Node<T>>,
    free: u32,
    buckets: Box<[u32]>,
    /// One bit for each bucket that is not empty.
    occupied: Box<[u64]>,
    due: Vec<(u64, u64, u32)>,
    resolution: u64,
    /// The last step that was expired.
    step: u64,
    /// Ordinal of the next setting.
    order: u64,
    len: usize,
    limit: usize,
    refused: u64,
    /// The generation that nodes begin with.
    first: u32,
}

#[derive(Debug)]
struct Node<T> {
    what: Option<T>,
    generation: u32,
    /// When to fire; not before `filed`.
    step: u64,
    /// The step it is filed under.
    filed: u64,
    order: u64,
    prev: u32,
    next: u32,
}

const NIL: u32 = u32::MAX;

impl<T: Copy> Wheel<T> {
    /// A wheel with this resolution (at least one nanosecond; 10 ms is a good one), `buckets` buckets (rounded
    /// up to a power of two, 64 or more) and at most `limit` timers (at most 2^32 - 2).
    pub fn new(resolution: Duration, buckets: usize, limit: usize) -> Self {
        let count = buckets.clamp(64, 1 << 24).next_power_of_two();
        Self {
            nodes: Vec::new(),
            free: NIL,
            buckets: vec![NIL; count].into(),
            occupied: vec![0; count / 64].into(),
            due: Vec::new(),
            resolution: u64::try_from(resolution.as_nanos()).unwrap_or(u64::MAX).max(1),
            step: 0,
            order: 0,
            len: 0,
            limit: limit.min(NIL as usize - 1),
            refused: 0,
            first: 0,
        }
    }

    /// Sets a timer; none, counted, if there are too many. A time that has passed fires at the next step.
    pub fn insert(&mut self, at: Instant, what: T) -> Option<TimerId> {
        if self.len >= self.limit {
            self.refused += 1;
            return None;
        }
        let step = self.step_of(at);
        let index = match self.nodes.get(self.free as usize) {
            Some(node) => {
                let index = self.free;
                self.free = node.next;
                index
            }
            None => {
                let (generation, prev, next) = (self.first, NIL, NIL);
                let blank = Node { what: None, generation, step: 0, filed: 0, order: 0, prev, next };
                self.nodes.push(blank);
                self.nodes.len() as u32 - 1
            }
        };
        let order = self.next_order();
        let node = &mut self.nodes[index as usize];
        node.what = Some(what);
        node.step = step;
        node.order = order;
        let generation = node.generation;
        self.file(index);
        self.len += 1;
        Some(TimerId { index, generation })
    }

    /// Takes a timer back; none if it has fired or been cancelled.
    pub fn cancel(&mut self, id: TimerId) -> Option<T> {
        self.standing(id)?;
        self.unfile(id.index);
        Some(self.release(id.index)).flatten()
    }

    /// Sets a timer anew; false if it has fired or been cancelled.
    pub fn rearm(&mut self, id: TimerId, at: Instant) -> bool {
        let step = self.step_of(at);
        if self.standing(id).is_none() {
            return false;
        }
        let order = self.next_order();
        let node = &mut self.nodes[id.index as usize];
        node.step = step;
        node.order = order;
        if step < node.filed {
            self.unfile(id.index);
            self.file(id.index);
        }
        true
    }

    /// Fires what is due at `now`.
    pub fn expire(&mut self, now: Instant, mut fire: impl FnMut(T)) {
        let upto = now.as_nanos() / self.resolution;
        if upto <= self.step {
            return;
        }
        let mut due = core::mem::take(&mut self.due);
        let from = self.step;
        // After a long sleep one lap meets every bucket.
        let last = upto.min(from + self.buckets.len() as u64);
        self.step = upto;
        let mut step = from + 1;
        while let Some(at) = self.next_occupied(step).filter(|at| *at <= last) {
            self.collect(at, upto, &mut due);
            step = at + 1;
        }
        due.sort_unstable();
        for (_, _, index) in due.drain(..) {
            if let Some(what) = self.release(index) {
                fire(what);
            }
        }
        self.due = due;
    }

    /// When to call [`Self::expire`] next: nothing is due before. Earlier than the first timer if that was put
    /// off or is more than a lap away; expiring then re-files it. None if there are no timers.
    pub fn next_deadline(&self) -> Option<Instant> {
        let step = self.next_occupied(self.step + 1)?;
        Some(Instant::from_nanos(step.saturating_mul(self.resolution)))
    }

    /// Gives memory back while no timer is set.
    pub fn shrink(&mut self) {
        if self.is_empty() {
            // Names given so far must not mean timers to come.
            let used = self.nodes.iter().map(|n| n.generation).max();
            self.first = used.map_or(self.first, |g| g.wrapping_add(1));
            (self.nodes, self.due, self.free) = (Vec::new(), Vec::new(), NIL);
        }
    }

    /// How many timers are set.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none is set.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many timers were refused.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    fn standing(&self, id: TimerId) -> Option<&Node<T>> {
        self.nodes.get(id.index as usize).filter(|n| n.generation == id.generation && n.what.is_some())
    }

    fn step_of(&self, at: Instant) -> u64 {
        at.as_nanos().div_ceil(self.resolution).max(self.step + 1)
    }

    fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    const fn bucket_of(&self, step: u64) -> usize {
        step as usize & (self.buckets.len() - 1)
    }

    fn file(&mut self, index: u32) {
        let step = self.nodes[index as usize].step;
        let bucket = self.bucket_of(step);
        let head = core::mem::replace(&mut self.buckets[bucket], index);
        let node = &mut self.nodes[index as usize];
        node.filed = step;
        node.prev = NIL;
        node.next = head;
        if let Some(next) = self.nodes.get_mut(head as usize) {
            next.prev = index;
        }
        self.occupied[bucket / 64] |= 1 << (bucket % 64);
    }

    fn unfile(&mut self, index: u32) {
        let Node { prev, next, filed, .. } = self.nodes[index as usize];
        if let Some(next) = self.nodes.get_mut(next as usize) {
            next.prev = prev;
        }
        if let Some(prev) = self.nodes.get_mut(prev as usize) {
            prev.next = next;
            return;
        }
        let bucket = self.bucket_of(filed);
        self.buckets[bucket] = next;
        if next == NIL {
            self.occupied[bucket / 64] &= !(1 << (bucket % 64));
        }
    }

    /// Takes what is due out of the bucket of `step`, and re-files what was put off.
    fn collect(&mut self, step: u64, upto: u64, due: &mut Vec<(u64, u64, u32)>) {
        let mut index = self.buckets[self.bucket_of(step)];
        while let Some(node) = self.nodes.get(index as usize) {
            let (next, when, order, filed) = (node.next, node.step, node.order, node.filed);
            if when <= upto {
                self.unfile(index);
                due.push((when, order, index));
            } else if filed != when {
                self.unfile(index);
                self.file(index);
            }
            index = next;
        }
    }

    /// Gives a node, which is in no bucket, back.
    fn release(&mut self, index: u32) -> Option<T> {
        let node = &mut self.nodes[index as usize];
        node.generation = node.generation.wrapping_add(1);
        node.next = self.free;
        self.free = index;
        self.len -= 1;
        node.what.take()
    }

    /// The first step from `step` on, within a lap, whose bucket is not empty.
    fn next_occupied(&self, step: u64) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        let (start, words) = (self.bucket_of(step), self.occupied.len());
        for i in 0..=words {
            let at = (start / 64 + i) % words;
            let mut word = self.occupied[at];
            if i == 0 {
                word &= u64::MAX << (start % 64);
            } else if i == words {
                word &= !(u64::MAX << (start % 64));
            }
            if word != 0 {
                let bucket = at * 64 + word.trailing_zeros() as usize;
                let ahead = bucket.wrapping_sub(start) & (self.buckets.len() - 1);
                return Some(step + ahead as u64);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const MS: u64 = 1_000_000;

    fn fired(wheel: &mut Wheel<u32>, ms: u64) -> Vec<u32> {
        let mut out = Vec::new();
        wheel.expire(Instant::from_millis(ms), |what| out.push(what));
        out
    }

    #[test]
    fn names_from_before_memory_was_given_back_mean_nothing() {
        let mut w = Wheel::new(Duration::from_millis(10), 64, 8);
        let old: Vec<_> = (0..3).map(|n| w.insert(Instant::from_millis(10), n).expect("room")).collect();
        w.shrink();
        assert_eq!(w.len(), 3, "nothing is given back while a timer is set");
        w.cancel(old[1]);
        let again = w.insert(Instant::from_millis(20), 7).expect("room");
        w.expire(Instant::from_millis(100), |_| {});
        w.shrink();
        assert_eq!(w.nodes.capacity(), 0);
        w.insert(Instant::from_millis(200), 9).expect("room");
        for id in old.into_iter().chain([again]) {
            assert!(w.cancel(id).is_none() && !w.rearm(id, Instant::from_millis(500)));
        }
        let mut fired = vec![];
        w.expire(Instant::from_millis(300), |n| fired.push(n));
        assert_eq!(fired, [9]);
    }

    #[test]
    fn timers_fire_in_order_never_early_and_once() {
        let mut wheel = Wheel::new(Duration::from_millis(10), 64, 10);
        for (at, what) in [(25, 1), (11, 2), (25, 3), (5000, 4)] {
            wheel.insert(Instant::from_millis(at), what).expect("room");
        }
        assert_eq!(wheel.next_deadline(), Some(Instant::from_millis(20)));
        assert!(fired(&mut wheel, 19).is_empty());
        assert_eq!(fired(&mut wheel, 24), [2]);
        assert_eq!(fired(&mut wheel, 30), [1, 3]);
        assert!(fired(&mut wheel, 4999).is_empty());
        assert_eq!(fired(&mut wheel, 900_000), [4]);
        assert_eq!((wheel.len(), wheel.next_deadline()), (0, None));
    }

    #[test]
    fn the_limit_is_counted_and_a_late_id_does_nothing() {
        let mut wheel = Wheel::new(Duration::from_millis(10), 64, 1);
        let first = wheel.insert(Instant::from_millis(5), 1).expect("room");
        assert_eq!(wheel.insert(Instant::from_millis(5), 2), None);
        assert_eq!(wheel.refused(), 1);
        assert_eq!(fired(&mut wheel, 10), [1]);
        let second = wheel.insert(Instant::from_millis(50), 3).expect("room");
        assert!(!wheel.rearm(first, Instant::from_millis(90)));
        assert_eq!(wheel.cancel(first), None);
        assert_eq!(wheel.cancel(second), Some(3));
        assert!(fired(&mut wheel, 100).is_empty());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u64),
        Cancel(prop::sample::Index),
        Rearm(prop::sample::Index, u64),
        Expire(u64),
        Sleep,
    }

    fn step() -> impl Strategy<Value = Step> {
        let ahead = || prop_oneof![0u64..300, 0u64..3000];
        prop_oneof![
            4 => ahead().prop_map(Step::Insert),
            1 => any::<prop::sample::Index>().prop_map(Step::Cancel),
            2 => (any::<prop::sample::Index>(), ahead()).prop_map(|(i, a)| Step::Rearm(i, a)),
            3 => (0u64..100).prop_map(Step::Expire),
            1 => Just(Step::Sleep),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_a_sorted_map(steps in prop::collection::vec(step(), 1..150)) {
            let mut wheel = Wheel::new(Duration::from_millis(10), 64, 1000);
            // What the model holds: (step, ordinal) → (id, what).
            let mut model: BTreeMap<(u64, u64), (TimerId, u32)> = BTreeMap::new();
            let (mut now, mut done, mut order) = (0u64, 0u64, 0u64);
            for (n, step) in steps.into_iter().enumerate() {
                order += 1;
                let key_for = |ms: u64, done: u64| (ms.div_ceil(10).max(done + 1), order);
                match step {
                    Step::Insert(ahead) => {
                        let id = wheel.insert(Instant::from_millis(now + ahead), n as u32).expect("room");
                        model.insert(key_for(now + ahead, done), (id, n as u32));
                    }
                    Step::Cancel(which) if !model.is_empty() => {
                        let key = *which.get(&model.keys().copied().collect::<Vec<_>>());
                        let (id, what) = model.remove(&key).expect("chosen from it");
                        prop_assert_eq!(wheel.cancel(id), Some(what));
                    }
                    Step::Rearm(which, ahead) if !model.is_empty() => {
                        let key = *which.get(&model.keys().copied().collect::<Vec<_>>());
                        let (id, what) = model.remove(&key).expect("chosen from it");
                        prop_assert!(wheel.rearm(id, Instant::from_millis(now + ahead)));
                        model.insert(key_for(now + ahead, done), (id, what));
                    }
                    Step::Cancel(_) | Step::Rearm(..) => {}
                    Step::Expire(_) | Step::Sleep => {
                        now = match step {
                            Step::Expire(ahead) => now + ahead,
                            _ => wheel.next_deadline().map_or(now, |at| now.max(at.as_millis())),
                        };
                        done = done.max(now / 10);
                        let mut want = Vec::new();
                        while let Some(first) = model.first_entry().filter(|e| e.key().0 <= done) {
                            want.push(first.remove().1);
                        }
                        let got = fired(&mut wheel, now);
                        prop_assert_eq!(got, want);
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
                let (soonest, told) = (model.keys().next().map(|k| k.0 * 10 * MS), wheel.next_deadline());
                prop_assert_eq!(soonest.is_some(), told.is_some());
                if let (Some(soonest), Some(told)) = (soonest, told) {
                    prop_assert!(told.as_nanos() <= soonest && told.as_nanos() > done * 10 * MS);
                }
            }
        }
    }
}
