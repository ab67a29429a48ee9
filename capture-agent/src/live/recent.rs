//! The last records of each container, within a bound on all of them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::delivery::{Batch, Tap};
use crate::pipeline::record::{Content, Record};

/// What a container is to have at least; where there are more containers than that allows for, those that have been
/// silent for longest are forgotten.
const LEAST_SHARE: u64 = 4 << 10;

/// Recent records.
#[derive(Debug)]
pub(super) struct Recent {
    /// In bytes of memory.
    capacity: u64,
    /// What one container may have, as things were after the last look.
    share: u64,
    containers: HashMap<Arc<str>, Kept>,
}

/// The last records of one container, in their order.
#[derive(Debug, Default)]
struct Kept {
    records: VecDeque<Record>,
    bytes: u64,
}

impl Recent {
    pub(super) fn new(capacity: u64) -> Self {
        Self { capacity, share: capacity, containers: HashMap::new() }
    }

    /// Takes copies of what is to be kept of batches, the oldest first. Of a flood only the end is looked at closely.
    pub(super) fn absorb(&mut self, batches: &[Batch]) {
        let mut new: HashMap<&Arc<str>, (Vec<&Record>, u64)> = HashMap::new();
        for record in batches.iter().rev().flat_map(|batch| batch.iter().rev()) {
            let (records, bytes) = new.entry(&record.origin.container_id).or_default();
            if *bytes < self.share {
                *bytes += record.memory();
                records.push(record);
            }
        }
        for (id, (records, bytes)) in new {
            let kept = self.containers.entry(Arc::clone(id)).or_default();
            // Read from the end.
            kept.records.extend(records.into_iter().rev().map(own));
            kept.bytes += bytes;
        }
        self.forget_the_silent();
        self.share = self.fair_share();
        for kept in self.containers.values_mut() {
            kept.shrink(self.share);
        }
    }

    /// All of them, by their time.
    pub(super) fn records(&self) -> Vec<Record> {
        let mut records: Vec<_> = self.containers.values().flat_map(|kept| &kept.records).cloned().collect();
        // Stable: what one container wrote at one instant stays in its order.
        records.sort_by_key(|record| record.timestamp);
        records
    }

    fn forget_the_silent(&mut self) {
        let most = usize::try_from(self.capacity / LEAST_SHARE).unwrap_or(usize::MAX).max(1);
        let Some(surplus) = self.containers.len().checked_sub(most).filter(|surplus| *surplus > 0) else { return };
        let last = |kept: &Kept| kept.records.back().map_or(0, |record| record.timestamp);
        let mut silent: Vec<_> = self.containers.iter().map(|(id, kept)| (last(kept), Arc::clone(id))).collect();
        silent.sort_unstable();
        for (_, id) in silent.into_iter().take(surplus) {
            self.containers.remove(&id);
        }
    }

    /// The largest share with which all of them are within the bound: who has less leaves the rest to the others.
    fn fair_share(&self) -> u64 {
        let mut sizes: Vec<_> = self.containers.values().map(|kept| kept.bytes).collect();
        sizes.sort_unstable();
        let (mut left, mut share) = (self.capacity, self.capacity);
        for (place, size) in sizes.iter().enumerate() {
            share = left / (sizes.len() - place) as u64;
            if *size > share {
                return share;
            }
            left -= size;
        }
        share.max(left)
    }
}

impl Kept {
    fn shrink(&mut self, share: u64) {
        while self.bytes > share
            && let Some(oldest) = self.records.pop_front()
        {
            self.bytes -= oldest.memory();
        }
    }
}

/// A copy that keeps nothing else in memory: a payload lies among others in a larger piece.
fn own(record: &Record) -> Record {
    let mut record = record.clone();
    match &mut record.content {
        Content::Line { message: data, .. } | Content::Lines { data, .. } => *data = Bytes::copy_from_slice(data),
        Content::Gap { .. } => {}
    }
    record
}

/// Keeps what is recent up to date.
pub(super) struct Recorder<'a> {
    pub(super) tap: &'a Tap,
    pub(super) recent: &'a Mutex<Recent>,
    pub(super) interval: Duration,
}

impl Recorder<'_> {
    /// Until the agent ends.
    pub(super) async fn run(&self, ending: &CancellationToken) {
        let mut interval = tokio::time::interval(self.interval);
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = ending.cancelled() => return,
            }
            let taken = self.tap.take();
            if !taken.batches.is_empty() {
                self.recent.lock().unwrap_or_else(PoisonError::into_inner).absorb(&taken.batches);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use capture_common::Stream;

    use super::*;
    use crate::pipeline::record::Origin;

    fn record(id: &str, number: i64, size: usize) -> Record {
        let origin = Arc::new(Origin::new(id.into(), None, Arc::default()));
        let message = Bytes::from(vec![b'x'; size]);
        let content = Content::Line { message, newline: true, partial: false, omitted: 0 };
        Record {
            origin,
            stream: Stream::Stdout,
            timestamp: number,
            completed: 0,
            position: 0,
            content,
            attributes: None,
        }
    }

    fn of(recent: &Recent, id: &str) -> Vec<i64> {
        let records = recent.records();
        records.iter().filter(|record| *record.origin.container_id == *id).map(|record| record.timestamp).collect()
    }

    #[test]
    fn a_flood_takes_its_share_and_leaves_the_quiet_ones_theirs() {
        let size = record("a", 0, 1000).memory();
        let mut recent = Recent::new(20 * size);
        recent.absorb(&[Arc::new(vec![record("quiet", 0, 1000), record("quiet", 1, 1000)])]);
        for flood in 0..10 {
            let batch: Vec<_> = (0..100).map(|number| record("noisy", 2 + 100 * flood + number, 1000)).collect();
            recent.absorb(&[Arc::new(batch)]);
        }
        assert_eq!(of(&recent, "quiet"), [0, 1]);
        assert_eq!(of(&recent, "noisy"), (984..1002).collect::<Vec<_>>(), "the last ones, in order");
        recent.absorb(&[Arc::new((0..30).map(|number| record("other", 2000 + number, 1000)).collect())]);
        assert_eq!((of(&recent, "other").len(), of(&recent, "noisy").len(), of(&recent, "quiet").len()), (9, 9, 2));
    }

    #[test]
    fn the_bound_holds_whatever_comes() {
        let mut recent = Recent::new(64 << 10);
        for round in 0..200 {
            let batch = (0..5).map(|number| record(&format!("c{}", round * 5 + number), round, 700)).collect();
            recent.absorb(&[Arc::new(batch)]);
            let bytes: u64 = recent.containers.values().map(|kept| kept.bytes).sum();
            let held: u64 = recent.records().iter().map(Record::memory).sum();
            assert_eq!(bytes, held);
            assert!(held <= 64 << 10 && recent.containers.len() <= 16, "{held} {}", recent.containers.len());
        }
        assert!(!of(&recent, "c999").is_empty(), "the latest is there");
    }
}
