//! What the two threads of a disk buffer share: which segments there are, and how far each has got.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::super::counters::{Counters, reason};
use super::super::fate::Sum;
use super::super::gaps::Gaps;
use super::super::load::Load;
use super::super::settings::DiskSettings;
use super::super::status::Level;
use super::frame::Point;
use super::origins::Accounts;
use super::segment::Segment;
use crate::pipeline::record::Record;

/// The files of a sink, and what is known of them.
pub(in crate::delivery) struct Store {
    state: Mutex<State>,
    changed: Condvar,
    pub(super) counters: Arc<Counters>,
    pub(super) accounts: Accounts,
    /// Goes with the process, however it ends.
    _lock: File,
}

pub(super) struct State {
    pub(super) settings: DiskSettings,
    /// The last one is being written, by this agent.
    pub(super) segments: VecDeque<Segment>,
    /// Where the next record will be.
    pub(super) tail: Point,
    /// What the reader has taken, or will never find.
    pub(super) loaded: Point,
    /// What is settled; an agent that is killed leaves this, or a little less, to the next.
    pub(super) settled: Point,
    /// What the reader has taken and is not done with.
    pub(super) in_hand: Option<Arc<Load>>,
    pub(super) pending: u64,
    pub(super) oldest: Option<i64>,
    /// What was removed before it was delivered, and has no mark yet.
    pub(super) gaps: Gaps,
    pub(super) nudged: bool,
    /// Nothing is written any more.
    pub(super) closed: bool,
    /// The reader is not waited for any more.
    pub(super) abandoned: bool,
}

/// A segment as far as it can be read.
pub(super) struct View {
    pub(super) segment: Segment,
    pub(super) is_last: bool,
    /// Where the written records end.
    pub(super) tail: Point,
}

impl Store {
    pub(super) fn new(
        settings: DiskSettings,
        segments: VecDeque<Segment>,
        tail: Point,
        settled: Point,
        counters: Arc<Counters>,
        lock: File,
    ) -> Self {
        let state = State {
            settings,
            segments,
            tail,
            loaded: settled,
            settled,
            in_hand: None,
            pending: 0,
            oldest: None,
            gaps: Gaps::default(),
            nudged: false,
            closed: false,
            abandoned: false,
        };
        let accounts = Accounts::default();
        Self { state: Mutex::new(state), changed: Condvar::new(), counters, accounts, _lock: lock }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to read, at most until a time.
    pub(super) fn wait<'a>(&self, state: MutexGuard<'a, State>, until: Instant) -> MutexGuard<'a, State> {
        let left = until.saturating_duration_since(Instant::now());
        self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Has the reader look up.
    pub(in crate::delivery) fn nudge(&self) {
        self.lock().nudged = true;
        self.changed.notify_all();
    }

    /// Goes on with other bounds.
    pub(in crate::delivery) fn adjust(&self, settings: DiskSettings) {
        self.lock().settings = settings;
    }

    /// The reader is not waited for any more: what it has in hand stays on disk, whatever becomes of it.
    pub(in crate::delivery) fn abandon(&self) {
        let mut state = self.lock();
        state.abandoned = true;
        if let Some(load) = state.in_hand.take() {
            load.let_go();
        }
        drop(state);
        self.changed.notify_all();
    }

    /// What is on disk and was not delivered.
    pub(in crate::delivery) fn kept(&self) -> Sum {
        let state = self.lock();
        state.tail.since(state.settled)
    }

    pub(in crate::delivery) fn level(&self) -> Level {
        let state = self.lock();
        let in_hand = state.in_hand.as_ref().map_or(0, |load| load.records().len() as u64);
        let records = state.tail.records - state.loaded.records + state.pending + in_hand;
        let bytes = if records > 0 { state.bytes() } else { 0 };
        Level { bytes, capacity: state.settings.capacity, records, oldest: state.oldest }
    }

    /// A segment was begun after the others; they go if they are settled.
    pub(super) fn begin_segment(&self, segment: Segment) {
        let mut state = self.lock();
        state.segments.push_back(segment);
        let gone = state.take_settled();
        drop(state);
        gone.iter().for_each(Segment::remove);
    }

    /// A frame was appended to the last segment.
    pub(super) fn appended(&self, length: u64, tail: Point) {
        let mut state = self.lock();
        if let Some(last) = state.segments.back_mut() {
            last.length = length;
        }
        state.tail = tail;
        drop(state);
        self.changed.notify_all();
    }

    /// Nothing will be appended any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// The segment that follows what the reader has taken, or goes on there.
    pub(super) fn view(&self, current: Option<&Path>) -> Option<View> {
        let state = self.lock();
        let place = current.and_then(|path| state.segments.iter().position(|segment| segment.path == path));
        let place = place.unwrap_or_default();
        let segment = state.segments.get(place)?.clone();
        Some(View { segment, is_last: place + 1 == state.segments.len(), tail: state.tail })
    }

    /// The path of the segment after one.
    pub(super) fn next(&self, current: &Path) -> Option<PathBuf> {
        let state = self.lock();
        let place = state.segments.iter().position(|segment| segment.path == current)?;
        state.segments.get(place + 1).map(|segment| segment.path.clone())
    }

    /// The reader has found what comes up to `end`, and nothing else after `expected`. Not where the writer has removed and
    /// counted it meanwhile: then from where it is to go on.
    pub(super) fn claim(&self, expected: Point, end: Point) -> Result<(), Point> {
        let mut state = self.lock();
        if state.loaded.records > expected.records {
            return Err(state.loaded);
        }
        state.loaded = end;
        Ok(())
    }

    /// Everything before a place is settled: segments that lie before it are removed.
    pub(super) fn settle(&self, settled: Point) {
        let mut state = self.lock();
        state.settled = settled;
        let gone = state.take_settled();
        drop(state);
        gone.iter().for_each(Segment::remove);
    }

    /// Everything is settled and nothing will be written: removes what is left.
    pub(super) fn clear(&self) {
        let mut state = self.lock();
        if state.settled.records == state.tail.records {
            let gone = std::mem::take(&mut state.segments);
            drop(state);
            gone.iter().for_each(Segment::remove);
        }
    }

    /// Removes the oldest segment but the one that is written; counts what of it was not taken by the reader, which
    /// `missing` are. Whether there was one.
    pub(super) fn evict(&self, missing: &[Record]) -> bool {
        let mut state = self.lock();
        if state.segments.len() < 2 {
            return false;
        }
        let Some(first) = state.segments.pop_front() else { return false };
        let next = state.segments.front().map_or(state.tail, |segment| segment.start);
        if next.records > state.loaded.records {
            let lost = next.since(state.loaded);
            self.counters.drop_sum(lost, reason::BUFFER_FULL);
            let loaded = state.loaded.records;
            // What the reader has taken since they were looked at is at their beginning.
            let taken = missing.len().saturating_sub((next.records - loaded) as usize);
            for record in missing.iter().skip(taken) {
                state.gaps.add(record, reason::BUFFER_FULL);
            }
            state.loaded = next;
            if state.in_hand.is_none() && state.pending == 0 {
                state.settled = next;
            }
        }
        drop(state);
        first.remove();
        true
    }
}

impl State {
    /// Takes out the segments whose records are all settled, but for the last.
    fn take_settled(&mut self) -> Vec<Segment> {
        let mut gone = Vec::new();
        while self.segments.get(1).is_some_and(|next| next.start.records <= self.settled.records) {
            gone.extend(self.segments.pop_front());
        }
        gone
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }
}
