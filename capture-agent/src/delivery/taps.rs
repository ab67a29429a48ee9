//! Whoever looks at records on their way to the sinks: a bounded ring for each, which the reader fills and never waits for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::pipeline::record::Record;

/// Records that were handed on together, shared with the sinks.
pub type Batch = Arc<Vec<Record>>;

/// All who look. While nobody does, a batch costs the reader one load of a flag.
#[derive(Debug, Default)]
pub struct Taps {
    is_watched: AtomicBool,
    rings: Mutex<Vec<Arc<Ring>>>,
}

/// One who looks; it is over when dropped.
#[derive(Debug)]
pub struct Tap {
    taps: Arc<Taps>,
    ring: Arc<Ring>,
}

/// What came since the last time.
#[derive(Debug, Default)]
pub struct Taken {
    /// In the order of delivery.
    pub batches: Vec<Batch>,
    /// Lines that came after these and found no room.
    pub missed: u64,
}

#[derive(Debug)]
struct Ring {
    /// In bytes, as queues of sinks count.
    capacity: u64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    taken: Taken,
    cost: u64,
}

impl Taps {
    /// Shows a batch of `lines` lines that takes `cost` bytes of a queue. Nothing is copied, and nobody is woken.
    pub(super) fn offer(&self, batch: &Batch, lines: u64, cost: u64) {
        if !self.is_watched.load(Ordering::Relaxed) {
            return;
        }
        for ring in &*self.rings.lock().unwrap_or_else(PoisonError::into_inner) {
            ring.push(batch, lines, cost);
        }
    }

    /// One more who looks, from the next batch on. Its ring holds up to `capacity` bytes.
    #[must_use]
    pub fn open(self: &Arc<Self>, capacity: u64) -> Tap {
        self.open_beside(capacity, None).0
    }

    /// As [`open`](Self::open); with it, what another one has not taken yet. Of the batches to come each is seen by both,
    /// and of those before none by the new one.
    #[must_use]
    pub fn open_beside(self: &Arc<Self>, capacity: u64, other: Option<&Tap>) -> (Tap, Taken) {
        let ring = Arc::new(Ring { capacity, held: Mutex::default() });
        let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        rings.push(Arc::clone(&ring));
        self.is_watched.store(true, Ordering::Relaxed);
        let taken = other.map(Tap::take).unwrap_or_default();
        drop(rings);
        (Tap { taps: Arc::clone(self), ring }, taken)
    }
}

impl Tap {
    /// Takes what came since the last time.
    #[must_use]
    pub fn take(&self) -> Taken {
        let mut held = self.ring.held.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *held).taken
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let mut rings = self.taps.rings.lock().unwrap_or_else(PoisonError::into_inner);
        rings.retain(|ring| !Arc::ptr_eq(ring, &self.ring));
        self.taps.is_watched.store(!rings.is_empty(), Ordering::Relaxed);
    }
}

impl Ring {
    fn push(&self, batch: &Batch, lines: u64, cost: u64) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // Once something was missed, all is until the next look: what is missed has one place.
        if held.taken.missed > 0 || (held.cost + cost > self.capacity && held.cost > 0) {
            held.taken.missed += lines;
            return;
        }
        held.cost += cost;
        held.taken.batches.push(Arc::clone(batch));
    }
}

#[cfg(test)]
mod tests {
    use capture_common::Stream;

    use super::*;
    use crate::pipeline::record::{Content, Origin};

    fn batch(text: &'static str) -> Batch {
        let origin = Arc::new(Origin::new("ab".repeat(32).into(), None, Arc::default()));
        let content = Content::Line { message: text.into(), newline: true, partial: false, omitted: 0 };
        let record = Record {
            origin,
            stream: Stream::Stdout,
            timestamp: 7,
            completed: 0,
            position: 0,
            content,
            attributes: None,
        };
        Arc::new(vec![record])
    }

    #[test]
    fn who_looks_sees_what_comes_from_then_on_and_what_finds_no_room_is_counted() {
        let taps = Arc::<Taps>::default();
        let batches = ["a", "b", "c", "d"].map(batch);
        taps.offer(&batches[0], 1, 100);
        let tap = taps.open(250);
        for batch in &batches[1..] {
            taps.offer(batch, 1, 100);
        }
        // The third would fit, were it not behind one that did not.
        taps.offer(&batches[0], 1, 1);
        let taken = tap.take();
        assert_eq!(taken.batches.len(), 2);
        assert!(taken.batches.iter().zip(&batches[1..]).all(|(a, b)| Arc::ptr_eq(a, b)));
        assert_eq!(taken.missed, 2);
        taps.offer(&batches[0], 1, 1000);
        let taken = tap.take();
        assert_eq!((taken.batches.len(), taken.missed), (1, 0), "a batch that is larger than the ring");
        assert!(tap.take().batches.is_empty());
    }

    #[test]
    fn nothing_is_held_when_nobody_looks_any_more() {
        let taps = Arc::<Taps>::default();
        let (tap, batch) = (taps.open(1000), batch("a"));
        taps.offer(&batch, 1, 1);
        assert_eq!(Arc::strong_count(&batch), 2);
        drop(tap);
        assert_eq!(Arc::strong_count(&batch), 1);
        taps.offer(&batch, 1, 1);
        assert_eq!(Arc::strong_count(&batch), 1);
        assert!(!taps.is_watched.load(Ordering::Relaxed));
    }

    #[test]
    fn of_two_the_second_goes_on_where_the_first_has_stopped() {
        let taps = Arc::<Taps>::default();
        let [before, after] = ["before", "after"].map(batch);
        let first = taps.open(1000);
        taps.offer(&before, 1, 1);
        let (second, taken) = taps.open_beside(1000, Some(&first));
        taps.offer(&after, 1, 1);
        assert!(Arc::ptr_eq(&taken.batches[0], &before) && taken.batches.len() == 1);
        for tap in [first, second] {
            let taken = tap.take();
            assert!(Arc::ptr_eq(&taken.batches[0], &after) && taken.batches.len() == 1);
        }
    }
}
