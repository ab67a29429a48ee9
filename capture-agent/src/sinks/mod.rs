//! Where records go: one bounded queue, one thread, one destination.

pub mod console;
pub mod delivery;
pub mod encode;
pub mod file;
pub mod json;
pub mod logfmt;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use capture_common::Stream;
use tokio_util::sync::CancellationToken;

use self::delivery::{Sink, SinkError};
use crate::pipeline::record::{Account, Content, Origin, Record};

/// Bytes of records that may wait for a sink.
const QUEUE_BYTES: u64 = 16 << 20;
/// Bytes beyond them that are kept for containers that hold little of the queue: one that floods it costs the others
/// nothing.
const RESERVE: u64 = 4 << 20;
/// How much of the queue is little: as much as 16 containers may hold of the reserve at once.
const LITTLE: u64 = RESERVE / 16;
/// What a record costs beyond its message, in the queue's count.
const RECORD_BYTES: u64 = 128;
/// How long the reader waits for a full queue while the ring buffer has room for what comes meanwhile.
const PATIENCE: Duration = Duration::from_millis(500);
/// Value of the `reason` label, and of a gap's, for records that find a full queue.
pub const QUEUE_FULL: &str = "queue_full";
/// How often dropped records are spoken of.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// How long the sink may take for what is left when the agent ends.
const GRACE: Duration = Duration::from_secs(5);

/// The way to a sink.
pub struct Queue {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// Signalled when something was put in, or the queue was closed.
    filled: Condvar,
    /// Signalled when something was taken out, or done.
    emptied: Condvar,
}

#[derive(Default)]
struct State {
    batches: std::collections::VecDeque<(u64, Vec<Record>)>,
    bytes: u64,
    writing: bool,
    closed: bool,
    abandoned: bool,
    /// What was dropped since the last batch that found room, by container and stream.
    gaps: HashMap<(Arc<str>, Stream), Gap>,
    last_warning: Option<Instant>,
}

/// Records that found no room.
struct Gap {
    origin: Arc<Origin>,
    timestamp: i64,
    completed: u64,
    position: u64,
    bytes: u64,
}

impl Queue {
    /// Starts the sink's thread. `broken` is cancelled when the destination is gone for good: a closed pipe.
    ///
    /// # Errors
    ///
    /// Where no thread can be started.
    pub fn start(sink: Box<dyn Sink>, broken: CancellationToken) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), filled: Condvar::new(), emptied: Condvar::new() });
        let thread = thread::Builder::new().name(format!("sink-{}", sink.name())).spawn({
            let shared = Arc::clone(&shared);
            move || run(&shared, sink, &broken)
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Hands records to the sink. Where the queue is full, waits a moment if `may_wait`; then records of containers that
    /// hold much of it are dropped, and counted.
    pub fn deliver(&self, records: Vec<Record>, may_wait: bool) {
        let bytes: u64 = records.iter().map(cost).sum();
        let state = self.shared.lock();
        let full = |state: &mut State| state.bytes > 0 && state.bytes + bytes > QUEUE_BYTES && !state.abandoned;
        let patience = if may_wait { PATIENCE } else { Duration::ZERO };
        let (mut state, _) =
            self.shared.emptied.wait_timeout_while(state, patience, full).unwrap_or_else(PoisonError::into_inner);
        if state.abandoned {
            state.drop_records(&records);
            return;
        }
        let (accepted, dropped) = if full(&mut state) { state.share(records) } else { (records, Vec::new()) };
        // Marks of what was dropped before; what is dropped now follows what is accepted now.
        let accepted = state.fill_gaps(accepted);
        state.drop_records(&dropped);
        if !accepted.is_empty() {
            let bytes = hold(&accepted);
            state.bytes += bytes;
            state.batches.push_back((bytes, accepted));
            self.shared.filled.notify_one();
        }
    }

    /// Waits until the sink has finished, at most for a grace period; says what it could not take.
    pub fn finish(&mut self) {
        let deadline = Instant::now() + GRACE;
        let mut state = self.shared.lock();
        state.closed = true;
        self.shared.filled.notify_one();
        while state.writing || !state.batches.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.abandoned = true;
                let records: usize = state.batches.iter().map(|(_, records)| records.len()).sum();
                tracing::warn!(
                    records,
                    "the sink did not take everything within {} s; the rest is dropped",
                    GRACE.as_secs()
                );
                for (_, records) in state.batches.drain(..) {
                    count_dropped(&records);
                }
                return;
            }
            state = self.shared.emptied.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    /// What a full queue takes of a batch, and what it does not.
    fn share(&self, records: Vec<Record>) -> (Vec<Record>, Vec<Record>) {
        let mut total = self.bytes;
        let mut held: HashMap<*const Account, u64> = HashMap::new();
        records.into_iter().partition(|record| {
            let account = &record.origin.account;
            let held = held.entry(Arc::as_ptr(account)).or_insert_with(|| account.queued.load(Relaxed));
            *held += cost(record);
            // Beyond its little a container stays beyond it: within a batch nothing overtakes what was dropped.
            let is_accepted = *held <= LITTLE && total + cost(record) <= QUEUE_BYTES + RESERVE;
            if is_accepted {
                total += cost(record);
            } else {
                *held = u64::MAX / 2;
            }
            is_accepted
        })
    }

    /// Counts what finds no room, and remembers where it is missing.
    fn drop_records(&mut self, records: &[Record]) {
        if records.is_empty() {
            return;
        }
        count_dropped(records);
        for record in records {
            let key = (Arc::clone(&record.origin.container_id), record.stream);
            let gap = self.gaps.entry(key).or_insert_with(|| Gap {
                origin: Arc::clone(&record.origin),
                timestamp: record.timestamp,
                completed: record.completed,
                position: record.position,
                bytes: 0,
            });
            gap.bytes += record.stream_bytes();
        }
        let now = Instant::now();
        if self.last_warning.is_none_or(|last| now.saturating_duration_since(last) > WARNING_INTERVAL) {
            self.last_warning = Some(now);
            tracing::warn!(records = records.len(), "the sink is too slow and its queue is full: records are dropped");
        }
    }

    /// Puts a mark before the first records after a gap.
    fn fill_gaps(&mut self, records: Vec<Record>) -> Vec<Record> {
        if self.gaps.is_empty() {
            return records;
        }
        let marks = self.gaps.drain().map(|((_, stream), gap)| Record {
            origin: gap.origin,
            stream,
            timestamp: gap.timestamp,
            completed: gap.completed,
            position: gap.position,
            attributes: None,
            content: Content::Gap { bytes: gap.bytes, reason: Some(QUEUE_FULL) },
        });
        marks.chain(records).collect()
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(shared: &Shared, mut sink: Box<dyn Sink>, broken: &CancellationToken) {
    let mut last_error: Option<Instant> = None;
    loop {
        let mut state = shared.lock();
        let (bytes, records) = loop {
            if let Some(batch) = state.batches.pop_front() {
                break batch;
            }
            if state.closed {
                return;
            }
            state = shared.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.writing = true;
        drop(state);

        match sink.write(&records) {
            Ok(receipt) => {
                let mut refused = vec![false; records.len()];
                for refusal in &receipt.refused {
                    refused[refusal.index] = true;
                }
                let of = |is_refused: bool| records.iter().zip(&refused).filter(move |(_, is)| **is == is_refused);
                count_delivered(of(false).map(|(record, _)| record));
                count_dropped(of(true).map(|(record, _)| record));
            }
            Err(error) => {
                count_dropped(&records);
                if matches!(error, SinkError::Closed { .. }) {
                    broken.cancel();
                } else if last_error.is_none_or(|last| last.elapsed() > WARNING_INTERVAL) {
                    last_error = Some(Instant::now());
                    tracing::error!(sink = sink.name(), %error, "records cannot be written and are dropped until they can");
                }
            }
        }

        release(&records);
        let mut state = shared.lock();
        state.writing = false;
        state.bytes -= bytes;
        shared.emptied.notify_all();
    }
}

/// What a record takes of the queue.
fn cost(record: &Record) -> u64 {
    record.stream_bytes() + RECORD_BYTES
}

/// Books records as held by their containers; gives their sum.
fn hold(records: &[Record]) -> u64 {
    let mut sum = 0;
    for (account, bytes) in runs(records) {
        account.queued.fetch_add(bytes, Relaxed);
        sum += bytes;
    }
    sum
}

/// Takes [`hold`] back.
fn release(records: &[Record]) {
    for (account, bytes) in runs(records) {
        account.queued.fetch_sub(bytes, Relaxed);
    }
}

/// Neighbours of one container, and what they cost together.
fn runs(records: &[Record]) -> impl Iterator<Item = (&Account, u64)> {
    records
        .chunk_by(|a, b| Arc::ptr_eq(&a.origin, &b.origin))
        .filter_map(|run| Some((&*run.first()?.origin.account, run.iter().map(cost).sum())))
}

fn count_delivered<'a>(records: impl IntoIterator<Item = &'a Record>) {
    for record in records {
        let account = &record.origin.account.streams[record.stream as usize];
        let lines = record.lines();
        if lines > 0 {
            account.lines.fetch_add(lines, Relaxed);
            account.delivered.fetch_add(record.stream_bytes(), Relaxed);
        }
    }
}

fn count_dropped<'a>(records: impl IntoIterator<Item = &'a Record>) {
    for record in records {
        record.origin.account.streams[record.stream as usize].dropped.fetch_add(record.stream_bytes(), Relaxed);
    }
}

#[cfg(test)]
mod tests;
